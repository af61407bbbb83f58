import { mutationGeneric } from "convex/server";
import { v } from "convex/values";

const task = { taskId: v.id("tasks"), tenantId: v.string() };
const byAgent = { ...task, agentId: v.id("agents") };

export const createTask = mutationGeneric({
  args: { title: v.string(), description: v.string(), status: v.string(), tags: v.array(v.string()), tenantId: v.string() },
  handler: ({ db }, created) => db.insert("tasks", created),
});

export const updateStatus = mutationGeneric({
  args: { ...byAgent, status: v.string() },
  handler: ({ db }, { taskId, status }) => db.patch(taskId, { status }),
});

export const archiveTask = mutationGeneric({
  args: byAgent,
  handler: ({ db }, { taskId }) => db.patch(taskId, { status: "archived" }),
});

export const linkRun = mutationGeneric({
  args: { ...task, openclawRunId: v.string() },
  handler: ({ db }, { taskId, openclawRunId }) => db.patch(taskId, { openclawRunId }),
});
