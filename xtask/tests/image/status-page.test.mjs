// The server of the status page: its responses, and the escaping of all text.
import assert from "node:assert/strict";
import http from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { listen, page } from "../../../image/rootfs/opt/stack/lib/status/http.mjs";
import { temporaryFolder } from "../../standins/tests/support.mjs";

const hostile = `<img src=x onerror=alert(1)>"'&`;
const service = (more) => ({ name: "a", title: "A", version: "1", pinned: "1", link: "http://127.0.0.1:1/", state: "up", detail: null, hint: null, endpoints: [], ...more });
const machine = { memory: { used: 1, limit: null, kills: 0 }, disk: { total: 2, free: 1 }, tokensPerSecond: null, devices: null };
const status = (...services) => ({ title: "T", healthy: true, services, notices: [], machine, samples: [] });

test("every text is escaped", () => {
  const texts = { name: hostile, title: hostile, version: hostile, detail: hostile, hint: hostile, state: hostile, link: `http://h/${hostile}` };
  for (const [field, text] of Object.entries(texts)) {
    const html = page({ ...status(service({ [field]: text })), title: hostile });
    assert.ok(!html.includes("<img"), `${field} became markup`);
    assert.ok(!/href="[^"]*'/.test(html) && !html.includes(`${hostile}`), field);
  }
});

test("only a service that is up is linked, and only by a URL", () => {
  assert.match(page(status(service())), /href="http:\/\/127\.0\.0\.1:1\/"/);
  assert.doesNotMatch(page(status(service({ link: "javascript:alert(1)" }))), /javascript/);
  assert.doesNotMatch(page(status(service({ state: "failed" }))), /href="http:/);
});

test("the summary names the worst state", () => {
  assert.match(page(status(service())), /enabled services are up/);
  assert.match(page(status(service({ state: "starting" }))), /1 starting/);
  assert.match(page(status(service({ state: "starting" }), service({ state: "failed" }))), /1 failed/);
});

test("the socket serves the page, JSON and metrics, and nothing else", async (context) => {
  const socketPath = join(temporaryFolder(context), "http.sock");
  let asked = 0;
  const server = listen(socketPath, async () => (asked++, status(service())));
  context.after(() => server.close());
  const ask = (path, method = "GET") =>
    new Promise((resolve, reject) => {
      const request = http.request({ socketPath, path, method, agent: false }, async (response) => {
        const body = (await response.toArray()).join("");
        resolve({ code: response.statusCode, headers: response.headers, body });
      });
      request.on("error", reject).end();
    });
  if (!server.listening) await new Promise((resolve) => server.once("listening", resolve));

  const [html, json] = [await ask("/_stack"), await ask("/_stack.json")];
  assert.equal(html.code, 200);
  assert.match(html.headers["content-security-policy"], /^default-src 'none'; style-src 'sha256-/);
  assert.deepEqual(JSON.parse(json.body), status(service()));
  assert.equal(asked, 1, "two requests at once share one round");
  assert.equal((await ask("/_stack/alive")).code, 200);
  const health = await ask("/_stack/health");
  assert.deepEqual([health.code, health.body], [200, "healthy\n"]);
  assert.match((await ask("/metrics")).headers["content-type"], /^text\/plain; version=0\.0\.4/);
  assert.equal((await ask("/elsewhere")).code, 404);
  assert.equal((await ask("/_stack", "POST")).code, 405);
  assert.equal((await ask("/_stack", "HEAD")).body, "");
  assert.doesNotMatch(html.body, /(src|href)="(https?:)?\/\/(?!127\.0\.0\.1)/, "it loads something from elsewhere");
});
