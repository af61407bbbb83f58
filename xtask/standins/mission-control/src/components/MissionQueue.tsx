import { useMutation, useQuery } from "convex/react";
import { anyApi } from "convex/server";
import { type FormEvent, useState } from "react";
import { type Agent, type Task, TENANT } from "./board";
import TaskDetailPanel from "./TaskDetailPanel";

const COLUMNS = ["inbox", "assigned", "in_progress", "review", "done"];

export default function MissionQueue() {
  const tasks: Task[] | undefined = useQuery(anyApi.queries.listTasks, TENANT);
  const agents: Agent[] | undefined = useQuery(anyApi.queries.listAgents, TENANT);
  const createAgent = useMutation(anyApi.agents.createAgent);
  const createTask = useMutation(anyApi.tasks.createTask);
  const updateStatus = useMutation(anyApi.tasks.updateStatus);
  const linkRun = useMutation(anyApi.tasks.linkRun);
  const [form, setForm] = useState("");
  const [selected, setSelected] = useState("");
  const [showArchived, setShowArchived] = useState(false);
  // As upstream; the build changes this line.
  const currentUserAgent = agents?.find(a => a.name === "Manish");
  if (!tasks || !agents) return <p>Loading</p>;

  const create = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const text = String(new FormData(event.currentTarget).get("text"));
    setForm("");
    if (form === "agent") await createAgent({ name: text, role: "Agent", level: "SPC", avatar: "", status: "active", ...TENANT });
    else setSelected(await createTask({ title: text, description: text, status: "inbox", tags: [], ...TENANT }));
  };
  const start = async (task: Task) => {
    if (!currentUserAgent) return;
    await updateStatus({ taskId: task._id, status: "in_progress", agentId: currentUserAgent._id, ...TENANT });
    const answer = await fetch("/hooks/agent", {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: "Bearer " },
      body: JSON.stringify({ message: task.title, sessionKey: `mission:${task._id}`, name: "MissionControl", wakeMode: "now" }),
    });
    if (answer.ok) await linkRun({ taskId: task._id, openclawRunId: (await answer.json()).runId, ...TENANT });
  };
  const shown = showArchived ? [...COLUMNS, "archived"] : COLUMNS;
  return (
    <>
      <button onClick={() => setForm("agent")}>+ Add Agent</button>
      <button onClick={() => setForm("task")}>+ Add Task</button>
      <button onClick={() => setShowArchived(!showArchived)}>{showArchived ? "Hide Archived" : "Show Archived"}</button>
      <p>AGENTS {agents.map(({ name }) => name).join(", ")}</p>
      {form && (
        <form onSubmit={create}>
          <input name="text" placeholder={form === "agent" ? "e.g. Nova" : "Task title"} required />
          <button type="submit">{form === "agent" ? "Create Agent" : "Create Task"}</button>
        </form>
      )}
      <p>MISSION QUEUE</p>
      <div className={showArchived ? "grid-cols-6" : "grid-cols-5"}>
        {tasks.filter(({ status }) => shown.includes(status)).map((task) => (
          <div key={task._id} onClick={() => setSelected(task._id)}>
            <h3>{task.title}</h3>
            <p>{task.status.replace("_", " ").toUpperCase()}</p>
            {["inbox", "assigned"].includes(task.status) && currentUserAgent && (
              <button title="Start task" onClick={(event) => { event.stopPropagation(); void start(task); }}>▶</button>
            )}
          </div>
        ))}
      </div>
      {selected && <TaskDetailPanel taskId={selected} onClose={() => setSelected("")} />}
    </>
  );
}
