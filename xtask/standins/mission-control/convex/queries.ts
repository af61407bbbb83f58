// With upstream's names and arguments, so that tests work with both.
import { type DataModelFromSchemaDefinition, queryGeneric, type QueryBuilder } from "convex/server";
import { v } from "convex/values";
import type schema from "./schema";

const query = queryGeneric as QueryBuilder<DataModelFromSchemaDefinition<typeof schema>, "public">;

const allOf = (table: "agents" | "tasks") =>
  query({
    args: { tenantId: v.string() },
    handler: ({ db }, { tenantId }) =>
      db
        .query(table)
        .withIndex("by_tenant", (q) => q.eq("tenantId", tenantId))
        .collect(),
  });

export const listAgents = allOf("agents");
export const listTasks = allOf("tasks");

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
