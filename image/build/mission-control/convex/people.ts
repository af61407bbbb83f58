// Added to Mission Control's functions: each signed-in person has an agent on the board.
import { getAuthUserId } from "@convex-dev/auth/server";
import { mutationGeneric, queryGeneric } from "convex/server";

const TENANT = "default";

// The agent is identified by `sessionKey`, which upstream leaves empty, so that it can be renamed.
async function agentOf(db, userId) {
  return db
    .query("agents")
    .withIndex("by_tenant", (q) => q.eq("tenantId", TENANT))
    .filter((q) => q.eq(q.field("sessionKey"), `user:${userId}`))
    .first();
}

/** The id of the caller's agent; null if there is none yet. */
export const own = queryGeneric({
  args: {},
  handler: async (context) => {
    const userId = await getAuthUserId(context);
    return userId && ((await agentOf(context.db, userId))?._id ?? null);
  },
});

export const join = mutationGeneric({
  args: {},
  handler: async (context) => {
    const userId = await getAuthUserId(context);
    if (!userId || (await agentOf(context.db, userId))) return;
    const { name, email } = await context.db.get(userId);
    await context.db.insert("agents", {
      name: name || email?.split("@")[0] || "You",
      role: "Person",
      status: "active",
      level: "LEAD",
      avatar: "🧑",
      sessionKey: `user:${userId}`,
      tenantId: TENANT,
    });
  },
});
