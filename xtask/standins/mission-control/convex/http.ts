import { anyApi, httpActionGeneric, httpRouter } from "convex/server";
import { auth } from "./auth";

const http = httpRouter();

auth.addHttpRoutes(http);

// Without authentication, like upstream; the build adds it.
http.route({
  path: "/openclaw/event",
  method: "POST",
  handler: httpActionGeneric(async (context, request) => {
    await context.runMutation(anyApi.openclaw.receiveAgentEvent, await request.json());
    return Response.json({ ok: true });
  }),
});

export default http;
