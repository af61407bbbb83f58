import { anyApi, httpActionGeneric, httpRouter } from "convex/server";
import { auth } from "./auth";

const http = httpRouter();

auth.addHttpRoutes(http);

// Upstream's own endpoint asks for no authentication either.
http.route({
  path: "/openclaw/event",
  method: "POST",
  handler: httpActionGeneric(async (context, request) => {
    await context.runMutation(anyApi.openclaw.receiveAgentEvent, await request.json());
    return Response.json({ ok: true });
  }),
});

export default http;
