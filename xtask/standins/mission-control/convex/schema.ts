import { authTables } from "@convex-dev/auth/server";
import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  ...authTables,
  agents: defineTable({
    name: v.string(),
    role: v.string(),
    status: v.string(),
    level: v.string(),
    avatar: v.string(),
    sessionKey: v.optional(v.string()),
    tenantId: v.string(),
  }).index("by_tenant", ["tenantId"]),
  tasks: defineTable({
    title: v.string(),
    description: v.string(),
    status: v.union(
      v.literal("inbox"),
      v.literal("assigned"),
      v.literal("in_progress"),
      v.literal("review"),
      v.literal("done"),
      v.literal("archived"),
    ),
    tags: v.array(v.string()),
    sessionKey: v.optional(v.string()),
    openclawRunId: v.optional(v.string()),
    usedCodingTools: v.optional(v.boolean()),
    tenantId: v.string(),
  })
    .index("by_tenant", ["tenantId"])
    .index("by_run", ["openclawRunId"]),
  messages: defineTable({ taskId: v.id("tasks"), fromAgentId: v.optional(v.id("agents")), content: v.string(), tenantId: v.string() }).index("by_task", ["taskId"]),
  documents: defineTable({
    title: v.string(),
    content: v.string(),
    type: v.string(),
    path: v.optional(v.string()),
    taskId: v.optional(v.id("tasks")),
    tenantId: v.string(),
  }).index("by_tenant", ["tenantId"]),
});
