// Added to Mission Control's functions: each signed-in person acts on the board as an agent of their own.
import { getAuthUserId } from "@convex-dev/auth/server";
import { mutationGeneric, queryGeneric } from "convex/server";

const TENANT = "default";

// The agent is known by `sessionKey`, a field that upstream leaves empty: so it can be renamed like any other.
async function agentOf(db, userId) {
  return db
    .query("agents")
    .withIndex("by_tenant", (q) => q.eq("tenantId", TENANT))
    .filter((q) => q.eq(q.field("sessionKey"), `user:${userId}`))
    .first();
}

/** The id of the caller's agent; null when there is none yet. */
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
