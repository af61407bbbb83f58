import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";

export default defineSchema({
  tasks: defineTable({ title: v.string(), status: v.string() }).index("by_status", ["status"]),
});
