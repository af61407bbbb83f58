// Turns an OpenClaw run into a task with messages.
import { type DataModelFromSchemaDefinition, mutationGeneric, type MutationBuilder } from "convex/server";
import { v } from "convex/values";
import type schema from "./schema";

const mutation = mutationGeneric as MutationBuilder<DataModelFromSchemaDefinition<typeof schema>, "public">;
const text = v.optional(v.union(v.string(), v.null()));
const TENANT = "default";
const CODING = /Using tool:\s*(bash|edit|exec)\b/;

export const receiveAgentEvent = mutation({
  args: {
    runId: v.string(),
    action: v.string(),
    sessionKey: text,
    agentId: text,
    timestamp: text,
    error: text,
    prompt: text,
    source: text,
    message: text,
    response: text,
    eventType: text,
    document: v.optional(v.object({ title: v.string(), content: v.string(), type: v.string(), path: v.optional(v.string()) })),
  },
  handler: async ({ db }, event) => {
    let task = await db
      .query("tasks")
      .withIndex("by_run", (q) => q.eq("openclawRunId", event.runId))
      .first();
    // The session key of a task created in the page contains its id.
    const named = /mission:(.+)$/.exec(event.sessionKey ?? "")?.[1];
    if (!task && named) {
      const id = db.normalizeId("tasks", named);
      task = id && (await db.get(id));
      if (task) await db.patch(task._id, { openclawRunId: event.runId });
    }
    if (!task && event.action === "start") {
      const id = await db.insert("tasks", {
        title: event.prompt?.slice(0, 80) || `Agent task ${event.runId.slice(0, 8)}`,
        description: event.prompt || `OpenClaw run ${event.runId}`,
        status: "in_progress",
        tags: ["openclaw"],
        sessionKey: event.sessionKey ?? undefined,
        openclawRunId: event.runId,
        tenantId: TENANT,
      });
      task = await db.get(id);
    }
    if (event.document) await db.insert("documents", { ...event.document, taskId: task?._id, tenantId: TENANT });
    if (!task) return;

    const say = (content: string) => db.insert("messages", { taskId: task._id, content, tenantId: task.tenantId });
    switch (event.action) {
      case "start":
        await say(`Started: ${event.prompt ?? "no prompt"}`);
        break;
      case "progress":
        await say(event.message ?? "Progress update");
        if (event.eventType === "tool:start" && CODING.test(event.message ?? "")) await db.patch(task._id, { usedCodingTools: true });
        break;
      case "end": {
        const asks = event.response?.includes("?") ?? false;
        await db.patch(task._id, { status: asks || task.usedCodingTools ? "review" : "done" });
        await say(`Completed: ${event.response ?? "no response"}`);
        break;
      }
      case "error":
        await db.patch(task._id, { status: "review" });
        await say(`Error: ${event.error ?? "unknown"}`);
        break;
    }
  },
});
