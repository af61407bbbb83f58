// The page at /_stack and its JSON, on a unix socket. Nothing in it comes from elsewhere: no script, no font, no
// picture, and every text is escaped.
import { createHash } from "node:crypto";
import { rmSync } from "node:fs";
import http from "node:http";

// Whoever reloads quickly, or many at once, cause one round of questions in this time.
const FRESH_MILLISECONDS = 1000;

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; }
table { border-collapse: collapse; width: 100%; margin-top: 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem 1rem .5rem 0; border-top: 1px solid #8884; }
th { font-weight: 600; border: 0; }
small { display: block; opacity: .75; overflow-wrap: anywhere; }
.state { white-space: nowrap; }
.state::before { content: "\\25CF"; margin-right: .4rem; color: #888; }
.up::before { color: #2a9d4a; }
.starting::before { color: #d9a400; }
.failed::before { color: #d43c3c; }
.failed { font-weight: 600; }
code { font-size: .9em; overflow-wrap: anywhere; }
footer { margin-top: 1.5rem; opacity: .75; }
`;

const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

const HEADERS = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`,
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
};

export function escape(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (character) => names[character]);
}

function row(service) {
  const title = escape(service.title);
  // A link is an address of settings that were checked; anything else would be no link.
  const linked = /^https?:\/\//.test(service.link ?? "") && ["up", "not configured"].includes(service.state);
  const name = linked ? `<a href="${escape(service.link)}">${title}</a>` : title;
  const detail = service.detail ? `<small>${escape(service.detail)}</small>` : "";
  const kind = service.state.replace(/[^a-z]/g, "-");
  return `<tr><td>${name}<small>${escape(service.name)}</small></td><td><span class="state ${kind}">${escape(service.state)}</span>${detail}</td><td><code>${escape(service.version ?? "")}</code></td></tr>`;
}

export function page(status) {
  const ill = status.services.filter((service) => service.state === "failed").length;
  const starting = status.services.filter((service) => service.state === "starting").length;
  let summary = "Everything that is switched on is up.";
  if (ill > 0) summary = `${ill} failed.`;
  else if (starting > 0) summary = `${starting} starting.`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>${escape(status.title)}</title>
<style>${STYLE}</style>
</head>
<body>
<h1>${escape(status.title)}</h1>
<p>${escape(summary)}</p>
<table>
<tr><th>service</th><th>state</th><th>version</th></tr>
${status.services.map(row).join("\n")}
</table>
<footer>The same for machines: <a href="/_stack.json">/_stack.json</a>. In the container: <code>status</code>.</footer>
</body>
</html>
`;
}

/** Serves on a socket until the process ends; gives the server. */
export function listen(socket, examineAll) {
  let asked = null;
  const fresh = () => {
    if (asked === null || performance.now() - asked.at > FRESH_MILLISECONDS) {
      asked = { at: performance.now(), status: examineAll() };
    }
    return asked.status;
  };

  const server = http.createServer(async (request, response) => {
    const reply = (code, type, body) => {
      response.writeHead(code, { ...HEADERS, "Content-Type": type, "Content-Length": Buffer.byteLength(body) });
      response.end(request.method === "HEAD" ? "" : body);
    };
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.setHeader("Allow", "GET, HEAD");
      return reply(405, "text/plain; charset=utf-8", "GET and HEAD only\n");
    }
    try {
      switch (request.url.split("?")[0]) {
        case "/_stack":
        case "/_stack/":
          return reply(200, "text/html; charset=utf-8", page(await fresh()));
        case "/_stack.json":
          return reply(200, "application/json", `${JSON.stringify(await fresh(), null, 2)}\n`);
        case "/_stack/alive":
          return reply(200, "text/plain; charset=utf-8", "alive\n");
        default:
          return reply(404, "text/plain; charset=utf-8", "no such page\n");
      }
    } catch (error) {
      console.error(error);
      return reply(500, "text/plain; charset=utf-8", "the state of the services could not be told\n");
    }
  });
  rmSync(socket, { force: true });
  process.on("SIGTERM", () => process.exit(0));
  return server.listen(socket);
}
