import { useMutation, useQuery } from "convex/react";
import { anyApi } from "convex/server";
import { useState } from "react";
import { type Agent, type Message, type Task, TENANT } from "./board";

export default function TaskDetailPanel({ taskId, onClose }: { taskId: string; onClose: () => void }) {
  const tasks: Task[] | undefined = useQuery(anyApi.queries.listTasks, TENANT);
  const agents: Agent[] | undefined = useQuery(anyApi.queries.listAgents, TENANT);
  const messages: Message[] | undefined = useQuery(anyApi.queries.listMessages, { taskId, ...TENANT });
  const updateStatus = useMutation(anyApi.tasks.updateStatus);
  const archiveTask = useMutation(anyApi.tasks.archiveTask);
  const send = useMutation(anyApi.messages.send);
  const [comment, setComment] = useState("");
  // As upstream; the build changes this line.
  const currentUserAgent = agents?.find(a => a.name === "Manish");
  const task = tasks?.find(({ _id }) => _id === taskId);
  if (!task) return null;

  const act = { taskId, agentId: currentUserAgent?._id, ...TENANT };
  const disabled = !currentUserAgent;
  return (
    <div>
      <button aria-label="Close" onClick={onClose}>✕</button>
      <h2>{task.title}</h2>
      {!["done", "archived"].includes(task.status) && (
        <button disabled={disabled} onClick={() => void updateStatus({ ...act, status: "done" })}>Mark as Done</button>
      )}
      {task.status !== "archived" && (
        <button disabled={disabled} title="Archive Task" onClick={() => void archiveTask(act)}>Archive</button>
      )}
      <p>STATUS {task.status.replace("_", " ").toUpperCase()}</p>
      {messages?.map(({ _id, agentName, content }) => <p key={_id}>{agentName}: {content}</p>)}
      <textarea
        disabled={disabled}
        placeholder={disabled ? "Sign in as an agent to comment" : "Write a comment..."}
        value={comment}
        onChange={(event) => setComment(event.target.value)}
      />
      <button
        disabled={disabled || !comment}
        onClick={() => void send({ ...act, content: comment }).then(() => setComment(""))}
      >
        Send Comment
      </button>
    </div>
  );
}
