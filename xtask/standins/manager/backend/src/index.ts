// The Manager's outside, as much as a rehearsal asks about: settings that are refused, health, sign-in.
import { readFileSync } from "node:fs";

const port = Number(process.env.PORT ?? 5003);
const production = process.env.NODE_ENV === "production";
if (production && !process.env.AUTH_SECRET) {
  console.error("AUTH_SECRET is required in production");
  process.exit(1);
}

const openCode = `http://127.0.0.1:${process.env.OPENCODE_SERVER_PORT ?? 5551}/global/health`;

async function health(): Promise<Response> {
  const password = process.env.OPENCODE_SERVER_PASSWORD;
  const headers = password ? { authorization: `Basic ${btoa(`opencode:${password}`)}` } : {};
  const healthy = await fetch(openCode, { headers, signal: AbortSignal.timeout(2000) }).then(
    (response) => response.ok,
    () => false,
  );
  return Response.json({ status: healthy ? "healthy" : "degraded" });
}

Bun.serve({
  port,
  hostname: process.env.HOST ?? "0.0.0.0",
  fetch(request: Request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/api/health") return health();
    if (pathname.startsWith("/api/")) return Response.json({ error: "Unauthorized" }, { status: 401 });
    if (!production) return new Response("not found", { status: 404 });
    return new Response(readFileSync("frontend/dist/index.html"), { headers: { "content-type": "text/html" } });
  },
});
