// Stands in for OpenCode Manager in a rehearsal: its settings, sign-in, health and proxy, without its pages.
import { Database } from "bun:sqlite";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { env, production } from "@opencode-manager/shared/config/env";
import { version } from "../../package.json";
import { Auth } from "./auth";
import { OpenCode } from "./opencode";

console.log(`Stand-in for OpenCode Manager ${version}: sign-in, health and proxy to OpenCode only`);
if (production && !env.auth.secret) {
  console.error("AUTH_SECRET is required in production mode");
  process.exit(1);
}

mkdirSync(dirname(env.database), { recursive: true });
for (const folder of ["repos", ".config/opencode"]) mkdirSync(join(env.workspace, folder), { recursive: true });
const seed = join(env.workspace, ".config/opencode/opencode.json");
if (!existsSync(seed)) await Bun.write(seed, JSON.stringify({ $schema: "https://opencode.ai/config.json" }, null, 2));

const database = new Database(env.database);
const auth = new Auth(database);
await auth.syncAdmin();

// Like upstream, listens once OpenCode answers or the wait for it times out.
const openCode = new OpenCode();
await openCode.start();
openCode.watch();

async function health(): Promise<Response> {
  const healthy = await openCode.healthy();
  const status = healthy ? "healthy" : openCode.error ? "unhealthy" : "degraded";
  const body = {
    status,
    timestamp: new Date().toISOString(),
    database: "connected",
    opencode: healthy ? "healthy" : "unhealthy",
    opencodePort: env.openCode.port,
    opencodeVersion: openCode.version,
    opencodeManagerVersion: version,
    ...(healthy || !openCode.error ? {} : { error: openCode.error }),
  };
  return Response.json(body, { status: status === "unhealthy" ? 503 : 200 });
}

async function api(request: Request, path: string, search: string): Promise<Response> {
  if (path === "/api/health") return health();
  if (path === "/api/auth-info/config") return auth.info();
  if (path === "/api/auth-info/me") return Response.json({ user: auth.session(request) });
  if (path.startsWith("/api/auth/")) return auth.handle(request, path.slice("/api/auth".length));
  if (!auth.session(request)) return Response.json({ error: "Unauthorized" }, { status: 401 });
  if (path.startsWith("/api/opencode/")) return openCode.forward(request, path.slice("/api/opencode".length) + search);
  if (path === "/api/repos" && request.method === "GET") return Response.json([]);
  return new Response("404 Not Found", { status: 404 });
}

// Serves a file of the built page, or the page itself for all other routes.
function page(path: string): Response {
  if (!production) return Response.json({ name: "OpenCode WebUI", version, status: "running" });
  const file = join("frontend/dist", normalize(path));
  return new Response(Bun.file(path !== "/" && existsSync(file) ? file : "frontend/dist/index.html"));
}

function allow(request: Request, response: Response): Response {
  const origin = request.headers.get("origin");
  response.headers.set("access-control-allow-origin", origin && env.auth.origins.includes(origin) ? origin : env.auth.origins[0]);
  response.headers.set("access-control-allow-credentials", "true");
  return response;
}

const server = Bun.serve({
  port: env.port,
  hostname: env.host,
  idleTimeout: 0,
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    if (request.method === "OPTIONS") {
      const headers = { "access-control-allow-methods": "GET,POST,PUT,DELETE,PATCH,OPTIONS", "access-control-allow-headers": "Content-Type,Authorization" };
      return allow(request, new Response(null, { status: 204, headers }));
    }
    return allow(request, pathname.startsWith("/api/") ? await api(request, pathname, search) : page(pathname));
  },
});
console.log(`OpenCode WebUI API running on http://${env.host}:${server.port}`);

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.on(signal, async () => {
    console.log(`${signal} received, shutting down gracefully...`);
    await openCode.stop();
    process.exit(0);
  });
}
