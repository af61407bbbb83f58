// With upstream's names and arguments, so that tests work with both.
import { type DataModelFromSchemaDefinition, queryGeneric, type QueryBuilder } from "convex/server";
import { v } from "convex/values";
import type schema from "./schema";

const query = queryGeneric as QueryBuilder<DataModelFromSchemaDefinition<typeof schema>, "public">;

export const listAgents = query({
  args: { tenantId: v.string() },
  handler: ({ db }, { tenantId }) =>
    db
      .query("agents")
      .withIndex("by_tenant", (q) => q.eq("tenantId", tenantId))
      .collect(),
});

export const listTasks = query({
  args: { tenantId: v.string() },
  handler: ({ db }, { tenantId }) =>
    db
      .query("tasks")
      .withIndex("by_tenant", (q) => q.eq("tenantId", tenantId))
      .collect(),
});

export const listMessages = query({
  args: { taskId: v.id("tasks"), tenantId: v.string() },
  handler: async ({ db }, { taskId }) => {
    const messages = await db
      .query("messages")
      .withIndex("by_task", (q) => q.eq("taskId", taskId))
      .collect();
    const named = messages.map(async (message) => {
      const agent = message.fromAgentId && (await db.get(message.fromAgentId));
      return { ...message, agentName: agent?.name ?? "OpenClaw" };
    });
    return Promise.all(named);
  },
});
