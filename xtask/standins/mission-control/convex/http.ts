import { httpActionGeneric, httpRouter } from "convex/server";

const http = httpRouter();

http.route({
  path: "/openclaw/event",
  method: "POST",
  handler: httpActionGeneric(async (_context, request) => {
    await request.json();
    return Response.json({ ok: true });
  }),
});

export default http;
