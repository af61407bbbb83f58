import { mutationGeneric } from "convex/server";
import { v } from "convex/values";

export const send = mutationGeneric({
  args: { taskId: v.id("tasks"), agentId: v.id("agents"), tenantId: v.string(), content: v.string() },
  handler: async ({ db }, { taskId, agentId, tenantId, content }) => {
    await db.insert("messages", { taskId, fromAgentId: agentId, content, tenantId });
  },
});
