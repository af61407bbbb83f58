// Serves the stack's own pages on a unix socket: /_stack, its JSON, metrics, and the sign-in.
import { rmSync } from "node:fs";
import http from "node:http";
import { size } from "../common.mjs";
import { asMetrics, TYPE } from "./metrics.mjs";
import { document, escape, HEADERS } from "./page.mjs";
import { route } from "../access/sign-in.mjs";
import { measures, version } from "./text.mjs";

// All requests within this time share one round of checks.
const FRESH_MILLISECONDS = 1000;
const TEXT = "text/plain; charset=utf-8";

function row(service) {
  const title = escape(service.title);
  const linked = /^https?:\/\//.test(service.link ?? "") && ["up", "not configured"].includes(service.state);
  const name = linked ? `<a href="${escape(service.link)}">${title}</a>` : title;
  const below = [service.detail, service.hint && `Fix: ${service.hint}`].filter(Boolean);
  const detail = below.map((text) => `<small>${escape(text)}</small>`).join("");
  const kind = service.state.replace(/[^a-z]/g, "-");
  return `<tr><td>${name}<small>${escape(service.name)}</small></td><td><span class="state ${kind}">${escape(service.state)}</span>${detail}</td><td><code>${escape(version(service))}</code></td><td>${service.memory ? escape(size(service.memory)) : ""}</td></tr>`;
}

export function page(status) {
  const ill = status.services.filter((service) => service.state === "failed").length;
  const starting = status.services.filter((service) => service.state === "starting").length;
  let summary = "All enabled services are up.";
  if (ill > 0) summary = `${ill} failed.`;
  else if (starting > 0) summary = `${starting} starting.`;
  const body = `<h1>${escape(status.title)}</h1>
<p>${escape(summary)}</p>
<table>
<tr><th>service</th><th>state</th><th>version</th><th>memory</th></tr>
${status.services.map(row).join("\n")}
</table>
${[measures(status.machine), ...status.notices].map((text) => `<p>${escape(text)}</p>`).join("\n")}
<footer>For programs: <a href="/_stack.json">/_stack.json</a>, <a href="/metrics">/metrics</a>. In the container: <code>status</code>. <a href="/_stack/sign-in">Sign in or out</a>.</footer>`;
  return document(status.title, body, '<meta http-equiv="refresh" content="5">\n');
}

/** Serves on a socket until the process ends. Returns the server. */
export function listen(socket, examineAll) {
  let asked = null;
  const fresh = () => {
    if (asked === null || performance.now() - asked.at > FRESH_MILLISECONDS) {
      asked = { at: performance.now(), status: examineAll() };
    }
    return asked.status;
  };

  const server = http.createServer(async (request, response) => {
    const reply = (code, type, body, headers = {}) => {
      response.writeHead(code, { ...HEADERS, "Content-Type": type, "Content-Length": Buffer.byteLength(body), ...headers });
      response.end(request.method === "HEAD" ? "" : body);
    };
    const path = request.url.split("?")[0];
    let failure = "the sign-in failed";
    try {
      if ((await route(request, path, reply)) !== false) return;
      if (!["GET", "HEAD"].includes(request.method)) return reply(405, TEXT, "GET and HEAD only\n", { Allow: "GET, HEAD" });
      failure = "the state of the services could not be determined";
      switch (path) {
        case "/_stack":
        case "/_stack/":
          return reply(200, "text/html; charset=utf-8", page(await fresh()));
        case "/_stack.json":
          return reply(200, "application/json", `${JSON.stringify(await fresh(), null, 2)}\n`);
        case "/_stack/alive":
          return reply(200, TEXT, "alive\n");
        // Open to everybody, so it answers one word only.
        case "/_stack/health": {
          const { healthy } = await fresh();
          return reply(healthy ? 200 : 503, TEXT, healthy ? "healthy\n" : "unhealthy\n");
        }
        case "/metrics":
          return reply(200, TYPE, asMetrics(await fresh()));
        default:
          return reply(404, TEXT, "no such page\n");
      }
    } catch (error) {
      console.error(error);
      return reply(500, TEXT, `${failure}: see the log of the container\n`);
    }
  });
  rmSync(socket, { force: true });
  process.on("SIGTERM", () => process.exit(0));
  return server.listen(socket);
}
