// Merging the stack's configuration with the user's.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../../standins/tests/support.mjs";

const script = fileURLToPath(new URL("../../../image/rootfs/opt/stack/lib/programs/openclaw-config.mjs", import.meta.url));
const settings = {
  OPENCLAW_INNER_PORT: "28789",
  LLAMACPP_INNER_PORT: "18080",
  LLAMACPP_CTX_SIZE: "16384",
  CONVEX_SITE_INNER_PORT: "13211",
  ALLOWED_ORIGINS: "http://localhost:18789\nhttp://127.0.0.1:18789",
};

function makeFile(context, content) {
  const name = "openclaw.json";
  return join(temporaryFolder(context, content === undefined ? {} : { [name]: content }), name);
}

function run(file, changed = {}) {
  execFileSync(process.execPath, [script, file], { env: { ...settings, ...changed }, stdio: "pipe" });
  return JSON.parse(readFileSync(file, "utf8"));
}

test("a new file connects the services, has no secrets and is private", (context) => {
  const file = makeFile(context);
  const made = run(file);
  assert.equal(made.gateway.auth.token, "${OPENCLAW_GATEWAY_TOKEN}");
  assert.equal(made.hooks.token, "${OPENCLAW_HOOKS_TOKEN}");
  assert.equal(made.models.providers.llamacpp.baseUrl, "http://127.0.0.1:18080/v1");
  assert.equal(made.models.providers.llamacpp.models[0].contextWindow, 16384);
  assert.equal(made.agents.defaults.model.primary, "llamacpp/local");
  assert.equal(made.plugins.entries["mission-control"].config.url, "http://127.0.0.1:13211/openclaw/event");
  assert.equal(statSync(file).mode & 0o777, 0o600);
});

test("a second start does not write the file", (context) => {
  const file = makeFile(context);
  run(file);
  const before = statSync(file);
  run(file);
  assert.equal(statSync(file).ino, before.ino);
});

test("keys that connect the services are corrected, the user's choices stay", (context) => {
  const file = makeFile(context);
  const edited = run(file);
  edited.gateway.port = 1;
  edited.agents.defaults.model.primary = "openai/gpt";
  edited.agents.defaults.heartbeat.every = "1h";
  edited.channels = { telegram: { enabled: true } };
  edited.models.providers.openai = { baseUrl: "https://api.example/v1", models: [] };
  edited.hooks.mappings.push({ id: "mine", match: { path: "mine" }, action: "wake" });
  writeFileSync(file, JSON.stringify(edited));
  const made = run(file, { OPENCLAW_INNER_PORT: "19000", CONVEX_SITE_INNER_PORT: "4000" });
  assert.equal(made.gateway.port, 19000);
  assert.equal(made.plugins.entries["mission-control"].config.url, "http://127.0.0.1:4000/openclaw/event");
  assert.equal(made.agents.defaults.model.primary, "openai/gpt");
  assert.equal(made.agents.defaults.heartbeat.every, "1h");
  assert.deepEqual(made.channels, edited.channels);
  assert.deepEqual(Object.keys(made.models.providers).sort(), ["llamacpp", "openai"]);
  assert.deepEqual(made.hooks.mappings.map(({ id }) => id), ["mission-control", "mine"]);
});

test("models are listed with their context size", (context) => {
  const found = { models: [{ name: "local", file: "/data/models/small.gguf", context: 8192, mmproj: "/m" }, { name: "big", file: "/data/models/big.gguf" }] };
  const { llamacpp } = run(makeFile(context), { FOUND_MODELS: JSON.stringify(found), LLAMACPP_MAX_TOKENS: "3000" }).models.providers;
  assert.deepEqual(llamacpp.models.map((model) => [model.id, model.name, model.contextWindow, model.maxTokens, model.input.length]), [
    ["local", "small (llama.cpp)", 8192, 2048, 2], ["big", "big (llama.cpp)", 16384, 3000, 1],
  ]);
  assert.equal(llamacpp.timeoutSeconds, 3600);
});

test("the model of MODEL_BASE_URL is used while it is set", (context) => {
  const file = makeFile(context);
  run(file);
  const other = { MODEL_BASE_URL: "http://box.lan:11434/v1/", MODEL_NAME: "qwen3:8b", LLAMACPP_ENABLED: "false" };
  const { agents, models } = run(file, other);
  assert.equal(agents.defaults.model.primary, "endpoint/qwen3:8b");
  assert.deepEqual([models.providers.endpoint.baseUrl, models.providers.endpoint.apiKey], ["http://box.lan:11434/v1", "${ENDPOINT_API_KEY}"]);
  assert.equal(run(file, { ...other, MODEL_NAME: "qwen3:4b" }).agents.defaults.model.primary, "endpoint/qwen3:4b");
  const back = run(file);
  assert.deepEqual([back.agents.defaults.model.primary, Object.keys(back.models.providers)], ["llamacpp/local", ["llamacpp"]]);
  // The user's own choice stays.
  back.agents.defaults.model.primary = "openai/gpt";
  writeFileSync(file, JSON.stringify(back));
  assert.equal(run(file, other).agents.defaults.model.primary, "openai/gpt");
});

test("OpenCode gets the same models", (context) => {
  const folder = makeFile(context);
  const opencode = fileURLToPath(new URL("../../../image/rootfs/opt/stack/lib/programs/opencode-config.mjs", import.meta.url));
  const made = (changed) => {
    execFileSync(process.execPath, [opencode, folder], { env: { ...settings, ...changed } });
    return JSON.parse(readFileSync(folder, "utf8"));
  };
  const found = JSON.stringify({ models: [{ name: "local", file: "/x/a.gguf" }, { name: "b", file: "/x/b.gguf" }] });
  const { provider, model } = made({ FOUND_MODELS: found, LLAMACPP_API_KEY: "k", LLAMACPP_MAX_TOKENS: "99" });
  assert.deepEqual([model, Object.keys(provider.llamacpp.models), provider.llamacpp.models.b.limit], ["llamacpp/local", ["local", "b"], { context: 16384, output: 99 }]);
  assert.deepEqual(provider.llamacpp.options, { baseURL: "http://127.0.0.1:18080/v1", timeout: 3_600_000, apiKey: "{env:LLAMACPP_API_KEY}" });
  const other = made({ MODEL_BASE_URL: "http://box.lan/v1", MODEL_NAME: "m", ENDPOINT_API_KEY: "none" });
  assert.deepEqual([other.model, other.small_model, other.provider.endpoint.options.apiKey], ["endpoint/m", "endpoint/m", "{env:ENDPOINT_API_KEY}"]);
});

test("our outdated origins are removed, the user's stay", (context) => {
  const file = makeFile(context);
  const edited = run(file, { ALLOWED_ORIGINS: "https://old.example" });
  edited.gateway.controlUi.allowedOrigins.push("https://mine.example");
  writeFileSync(file, JSON.stringify(edited));
  const made = run(file, { ALLOWED_ORIGINS: "https://new.example" });
  assert.deepEqual(made.gateway.controlUi.allowedOrigins, ["https://mine.example", "https://new.example"]);
});

test("an invalid file is reported and left unchanged", (context) => {
  const file = makeFile(context, "{ broken");
  assert.throws(() => run(file), /cannot be read/);
  assert.equal(readFileSync(file, "utf8"), "{ broken");
});
