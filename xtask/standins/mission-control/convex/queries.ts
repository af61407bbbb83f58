// By upstream's names and arguments, so that one test can ask either.
import { type DataModelFromSchemaDefinition, queryGeneric, type QueryBuilder } from "convex/server";
import { v } from "convex/values";
import type schema from "./schema";

const query = queryGeneric as QueryBuilder<DataModelFromSchemaDefinition<typeof schema>, "public">;

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
  handler: ({ db }, { taskId }) =>
    db
      .query("messages")
      .withIndex("by_task", (q) => q.eq("taskId", taskId))
      .collect(),
});
