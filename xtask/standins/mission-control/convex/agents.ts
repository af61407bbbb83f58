import { mutationGeneric } from "convex/server";
import { v } from "convex/values";

export const createAgent = mutationGeneric({
  args: { name: v.string(), role: v.string(), level: v.string(), avatar: v.string(), status: v.string(), tenantId: v.string() },
  handler: ({ db }, agent) => db.insert("agents", agent),
});
