import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test as declare } from "node:test";
import { brotliCompressSync } from "node:zlib";
import { freePort, Program, run, temporaryFolder } from "./support.mjs";

const [major, minor] = process.versions.node.split(".").map(Number);
const old = major < 22 || (major === 22 && minor < 13);
const skip = old ? `Node.js ${process.version} has no node:sqlite; the image's own runs this stand-in in the rehearsal` : false;
const test = (name, body) => declare(name, { skip, timeout: 60_000 }, body);

const SCRIPT = "convex/main.mjs";
const SECRET = "5e".repeat(32);

const keygen = async (t, secret = SECRET) =>
  (await run(t, SCRIPT, ["keygen", "admin-key", "--instance-name", "mc", "--instance-secret", secret])).output.trim();

class Instance {
  static async start(t, folder = temporaryFolder(t)) {
    const instance = new Instance();
    instance.folder = folder;
    const [port, sitePort] = [await freePort(), await freePort()];
    instance.program = new Program(t, SCRIPT, ["db.sqlite3", "--instance-name", "mc", "--instance-secret", SECRET, "--port", String(port), "--site-proxy-port", String(sitePort), "--disable-beacon"], { cwd: folder });
    instance.url = `http://127.0.0.1:${port}`;
    instance.site = `http://127.0.0.1:${sitePort}`;
    instance.key = await keygen(t);
    await instance.program.ready(`${instance.url}/version`);
    return instance;
  }

  async ask(path, body, { key = this.key, brotli = false, ...headers } = {}) {
    const text = body && JSON.stringify(body);
    const response = await fetch(this.url + path, {
      method: body ? "POST" : "GET",
      headers: { ...(key && { authorization: `Convex ${key}` }), ...(brotli && { "content-encoding": "br" }), ...headers },
      body: brotli ? brotliCompressSync(text) : text,
    });
    const answer = await response.text();
    return { status: response.status, headers: response.headers, body: answer.startsWith("{") || answer.startsWith("[") ? JSON.parse(answer) : answer };
  }

  async run(kind, path, args) {
    return (await this.ask(`/api/${kind}`, { path, args, format: "json" })).body;
  }

  setEnvironment(changes) {
    return this.ask("/api/v1/update_environment_variables", { changes: Object.entries(changes).map(([name, value]) => ({ name, value })) });
  }

  pushRequest(modules, { schema = null, adminKey = this.key } = {}) {
    const module = (path, source) => ({ path, source, environment: "isolate" });
    const appDefinition = {
      definition: null,
      dependencies: [],
      schema: schema && module("schema.js", `export default { export: () => ${JSON.stringify(JSON.stringify(schema))} };`),
      changedModules: Object.entries(modules).map(([path, source]) => module(path, source)),
      unchangedModuleHashes: [],
      udfServerVersion: "1.31.7",
    };
    return { adminKey, dryRun: false, functions: "convex/", appDefinition, componentDefinitions: [], nodeDependencies: [] };
  }

  // The steps of the CLI: start, wait, finish.
  async push(modules, options) {
    const started = await this.ask("/api/deploy2/start_push", this.pushRequest(modules, options), { brotli: true, key: undefined });
    if (started.status !== 200) return started;
    const waited = await this.ask("/api/deploy2/wait_for_schema", { adminKey: this.key, schemaChange: started.body.schemaChange });
    if (waited.body.type !== "complete") return waited;
    return this.ask("/api/deploy2/finish_push", { adminKey: this.key, startPush: started.body, dryRun: false }, { brotli: true });
  }
}

// Functions as built by Convex's package: to the backend, a push is plain JavaScript.
const LIBRARY = `
const any = () => '{"type":"any"}';
const make = (kind, isPublic, handler, args = any) => Object.assign(() => undefined, {
  ["is" + kind]: true, isPublic, exportArgs: args, exportReturns: () => "null",
  ["invoke" + kind]: async (text) => JSON.stringify((await handler(JSON.parse(text)[0])) ?? null),
});
export const later = async (name, args) => JSON.parse(await Convex.asyncSyscall("1.0/" + name, JSON.stringify(args)));
export const query = (handler) => make("Query", true, handler);
export const mutation = (handler, args) => make("Mutation", true, handler, args);
export const internal = (handler) => make("Mutation", false, handler);
export const insert = (table, value) => later("insert", { table, value });
export const runMutation = (name, args) => later("actions/mutation", { name, args });
export async function all(table, source = {}) {
  const { queryId } = JSON.parse(Convex.syscall("1.0/queryStream", JSON.stringify({ query: { source: { type: "FullTableScan", tableName: table, order: "asc", ...source }, operators: [] } })));
  const found = [];
  for (;;) {
    const { value, done } = await later("queryStreamNext", { queryId });
    if (done) return found;
    found.push(value);
  }
}
`;
const NOTES = `
import { all, insert, internal, later, mutation, query } from "./_deps/library.js";
const args = () => JSON.stringify({ type: "object", value: { text: { fieldType: { type: "string" }, optional: false } } });
export const list = query(async () => (await all("notes")).map(({ text }) => text));
export const add = mutation(({ text }) => insert("notes", { text }), args);
export const addAndFail = mutation(async ({ text }) => { await insert("notes", { text }); throw new Error("no"); });
export const secret = internal(() => "seen");
export const plan = mutation(async ({ text }) => later("schedule", { name: "notes:add", ts: Date.now() / 1000 + 0.3, args: { text } }));
export const setting = query(() => process.env.COLOUR ?? "none");
`;
const HTTP = `
import { runMutation } from "./_deps/library.js";
const handler = { invokeHttpAction: async (request) => { await runMutation("notes:add", await request.json()); return Response.json({ ok: true }); } };
export default { isRouter: true, getRoutes: () => [["/event", "POST", handler]], lookup: (path, method) => path === "/event" && method === "POST" ? [handler, method, path] : null };
`;
const MODULES = { "_deps/library.js": LIBRARY, "notes.js": NOTES, "http.js": HTTP };
const event = (instance, body) => fetch(`${instance.site}/event`, { method: "POST", body: JSON.stringify(body) });

test("refuses invalid flags and invalid or missing secrets like the real one", async (t) => {
  const cases = [
    [["--no-such-flag"], 2, "unexpected argument '--no-such-flag' found"],
    [["--instance-name", "mc"], 2, "--instance-secret <INSTANCE_SECRET>"],
    [["--instance-secret", SECRET], 2, "--instance-name <INSTANCE_NAME>"],
    [["--convex-origin", "http://a"], 2, "--convex-site <CONVEX_SITE>"],
    [["--port", "70000"], 2, "invalid value '70000' for '--port <PORT>'"],
    [["--local-storage", "a", "--s3-storage"], 2, "cannot be used with"],
    [["one", "two"], 2, "unexpected argument 'two' found"],
    [[], 1, "--instance-secret is required"],
    [["--instance-name", "mc", "--instance-secret", "xyz"], 1, "Couldn't hexdecode key"],
    [["--instance-name", "mc", "--instance-secret", "ab"], 1, "Hex-decoded key was 1 bytes, not 32"],
    [["keygen", "admin-key", "--instance-name", "mc"], 2, "--instance-secret <INSTANCE_SECRET>"],
  ];
  const folder = temporaryFolder(t);
  for (const [words, wanted, message] of cases) {
    const { code, output } = await run(t, SCRIPT, words, { cwd: folder });
    assert.equal(code, wanted, `${words}: ${output}`);
    assert.ok(output.includes(message), output);
  }
});

test("accepts only keys of its own secret", async (t) => {
  const instance = await Instance.start(t);
  assert.match(instance.key, /^mc\|[0-9a-f]+$/);
  const status = async (key) => (await instance.ask("/api/check_admin_key", undefined, { key })).status;
  assert.equal(await status(instance.key), 200);
  assert.equal(await status(await keygen(t, "6f".repeat(32))), 401);
  assert.equal(await status(instance.key.replace("mc|", "other|")), 401);
  assert.equal(await status(`${instance.key.slice(0, -1)}${instance.key.endsWith("0") ? "1" : "0"}`), 401);
  assert.equal(await status(""), 403);
});

test("keeps the environment after a kill, and shows it to admins only", async (t) => {
  const first = await Instance.start(t);
  assert.equal((await first.setEnvironment({ COLOUR: "blue", SIZE: "9" })).status, 200);
  assert.equal((await first.setEnvironment({ SIZE: undefined })).status, 200);
  assert.equal((await first.setEnvironment({ "9LIVES": "x" })).body.code, "EnvironmentVariableNameInvalid");
  assert.equal((await first.setEnvironment({ CONVEX_SITE_URL: "x" })).body.code, "EnvVarNameForbidden");
  await first.program.stop("SIGKILL");
  const second = await Instance.start(t, first.folder);
  assert.deepEqual((await second.ask("/api/list_environment_variables")).body, { environmentVariables: { COLOUR: "blue" } });
  assert.deepEqual(await second.run("query", "_system/cli/queryEnvironmentVariables", {}), { status: "success", value: [{ name: "COLOUR", value: "blue" }], logLines: [] });
  assert.equal((await second.ask("/api/list_environment_variables", undefined, { key: "" })).status, 403);
  const unasked = await second.ask("/api/query", { path: "_system/cli/queryEnvironmentVariables", args: {} }, { key: "" });
  assert.equal(unasked.body.status, "error");
});

test("has no HTTP action or function before a push, and keeps both afterwards", async (t) => {
  const instance = await Instance.start(t);
  assert.equal((await event(instance, { text: "too early" })).status, 404);
  assert.equal((await instance.run("query", "notes:list", {})).status, "error");

  const pushed = await instance.push(MODULES);
  assert.equal(pushed.status, 200);
  assert.deepEqual(pushed.body.componentDiffs[""].moduleDiff.added.sort(), Object.keys(MODULES).sort());
  assert.equal((await event(instance, { text: "one" })).status, 200);
  assert.deepEqual((await instance.run("query", "notes:list", {})).value, ["one"]);
  const calls = (await instance.ask("/__standin__/http_calls")).body;
  assert.deepEqual(calls.map(({ path, status }) => [path, status]), [["/event", 404], ["/event", 200]]);

  const hash = createHash("sha256").update(NOTES).digest("hex");
  const { moduleHashes } = (await instance.ask("/api/get_config_hashes", { adminKey: instance.key })).body;
  assert.equal(moduleHashes.find(({ path }) => path === "notes.js").hash, hash);
  const spec = (await instance.run("query", "_system/cli/modules:apiSpec", {})).value;
  assert.ok(spec.some(({ identifier }) => identifier === "notes.js:add"));
  assert.ok(spec.some(({ functionType, path }) => functionType === "HttpAction" && path === "/event"));

  await instance.program.stop("SIGINT");
  const again = await Instance.start(t, instance.folder);
  assert.equal((await event(again, { text: "two" })).status, 200);
  assert.deepEqual((await again.run("query", "notes:list", {})).value, ["one", "two"]);
});

test("refuses a push without a key, with a wrong key, or that does not load", async (t) => {
  const instance = await Instance.start(t);
  assert.equal((await instance.push(MODULES)).status, 200);
  const { adminKey, ...without } = instance.pushRequest(MODULES);
  assert.equal((await instance.ask("/api/deploy2/start_push", without)).status, 400);
  assert.equal((await instance.push(MODULES, { adminKey: "mc|00" })).status, 401);
  const broken = await instance.push({ ...MODULES, "notes.js": "export const x = ;" });
  assert.equal(broken.status, 400);
  assert.match(broken.body.message, /Failed to analyze notes.js/);
  assert.deepEqual((await instance.run("query", "notes:list", {})).value, [], "what was there still runs");
});

test("refuses an auth.config with a missing variable until it is set", async (t) => {
  const instance = await Instance.start(t);
  const modules = { ...MODULES, "auth.config.js": "export default { providers: [{ domain: process.env.ISSUER, applicationID: 'a' }] };" };
  const refused = await instance.push(modules);
  assert.deepEqual([refused.status, refused.body.code], [400, "AuthConfigMissingEnvironmentVariable"]);
  await instance.setEnvironment({ ISSUER: "http://127.0.0.1:1" });
  assert.equal((await instance.push(modules)).status, 200);
});

test("detects a push that is outdated by another one or by the environment", async (t) => {
  const instance = await Instance.start(t);
  const started = await instance.ask("/api/deploy2/start_push", instance.pushRequest(MODULES), { brotli: true });
  await instance.setEnvironment({ COLOUR: "red" });
  const finish = { adminKey: instance.key, startPush: started.body, dryRun: false };
  assert.equal((await instance.ask("/api/deploy2/finish_push", finish)).body.code, "RaceDetected");
  await instance.push(MODULES);
  assert.deepEqual((await instance.ask("/api/deploy2/wait_for_schema", { adminKey: instance.key, schemaChange: started.body.schemaChange })).body, { type: "raceDetected" });
});

test("runs functions: arguments, transactions, internal ones, and the current environment", async (t) => {
  const instance = await Instance.start(t);
  await instance.push(MODULES);
  assert.match((await instance.run("mutation", "notes:add", { words: 1 })).errorMessage, /ArgumentValidationError/);
  assert.match((await instance.run("mutation", "notes:addAndFail", { text: "lost" })).errorMessage, /Uncaught Error: no/);
  assert.deepEqual((await instance.run("query", "notes:list", {})).value, []);
  assert.match((await instance.run("query", "notes:add", { text: "x" })).errorMessage, /defined as Mutation/);
  const secret = { path: "notes:secret", args: {} };
  assert.equal((await instance.ask("/api/mutation", secret, { key: "" })).body.status, "error");
  assert.equal((await instance.ask("/api/mutation", secret)).body.value, "seen");
  assert.equal((await instance.run("query", "notes:setting", {})).value, "none");
  await instance.setEnvironment({ COLOUR: "green" });
  assert.equal((await instance.run("query", "notes:setting", {})).value, "green");
});

test("runs scheduled functions, also after a restart", async (t) => {
  const first = await Instance.start(t);
  await first.push(MODULES);
  await first.run("mutation", "notes:plan", { text: "later" });
  await first.program.stop("SIGKILL");
  const second = await Instance.start(t, first.folder);
  const deadline = Date.now() + 5000;
  let notes = [];
  while (notes.length === 0 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    notes = (await second.run("query", "notes:list", {})).value;
  }
  assert.deepEqual(notes, ["later"]);
});

test("validates new and existing documents against the schema", async (t) => {
  const instance = await Instance.start(t);
  await instance.push(MODULES);
  await instance.run("mutation", "notes:add", { text: "words" });
  const schema = (type) => ({ schemaValidation: true, tables: [{ tableName: "notes", indexes: [], searchIndexes: [], vectorIndexes: [], documentType: { type: "object", value: { text: { fieldType: { type }, optional: false } } } }] });
  const refused = await instance.push(MODULES, { schema: schema("number") });
  assert.equal(refused.body.type, "failed");
  assert.equal(refused.body.tableName, "notes");
  assert.equal((await instance.push(MODULES, { schema: schema("string") })).status, 200);
  const wrong = { ...MODULES, "notes.js": `${NOTES}\nexport const bad = mutation(() => insert("notes", { text: 1 }));` };
  assert.equal((await instance.push(wrong, { schema: schema("string") })).status, 200);
  assert.match((await instance.run("mutation", "notes:bad", {})).errorMessage, /does not match the schema/);
});

test("sends changes to subscribers, and exits with 0 on SIGINT meanwhile", async (t) => {
  const instance = await Instance.start(t);
  await instance.push(MODULES);
  const socket = new WebSocket(`${instance.url.replace("http", "ws")}/api/1.31.7/sync`);
  const seen = [];
  let wake = () => undefined;
  socket.onmessage = ({ data }) => {
    for (const { type, value } of JSON.parse(data).modifications ?? []) if (type === "QueryUpdated") seen.push(value);
    wake();
  };
  const until = async (count) => {
    while (seen.length < count) await new Promise((resolve) => (wake = resolve));
  };
  await new Promise((resolve) => (socket.onopen = resolve));
  socket.send(JSON.stringify({ type: "Connect", sessionId: "s", connectionCount: 0, lastCloseReason: null }));
  socket.send(JSON.stringify({ type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [{ type: "Add", queryId: 0, udfPath: "notes:list", args: [{}] }] }));
  await until(1);
  await event(instance, { text: "news" });
  await until(2);
  assert.deepEqual(seen, [[], ["news"]]);
  const stopped = await instance.program.stop("SIGINT");
  assert.equal(stopped.code, 0, stopped.output);
});

test("is killed by SIGTERM, which upstream does not handle", async (t) => {
  const instance = await Instance.start(t);
  assert.equal((await instance.program.stop("SIGTERM")).signal, "SIGTERM");
});

test("allows requests of pages of other origins", async (t) => {
  const instance = await Instance.start(t);
  const asked = await fetch(`${instance.url}/api/query`, { method: "OPTIONS", headers: { origin: "http://page:3000", "access-control-request-method": "POST", "access-control-request-headers": "authorization" } });
  assert.equal(asked.status, 200);
  assert.equal(asked.headers.get("access-control-allow-origin"), "http://page:3000");
  assert.equal(asked.headers.get("access-control-allow-headers"), "authorization");
});
