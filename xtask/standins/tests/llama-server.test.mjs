import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { freePort, Program, run, temporaryFolder } from "./support.mjs";

const SCRIPT = "llama-server";

// The smallest GGUF header: magic, version 3, no tensors, no metadata.
function model(folder, name) {
  const header = Buffer.alloc(24);
  header.write("GGUF");
  header.writeUInt32LE(3, 4);
  writeFileSync(join(folder, name), header);
  return join(folder, name);
}

async function start(t, words, env) {
  const port = await freePort();
  const program = new Program(t, SCRIPT, ["--port", String(port), ...words], { env });
  const url = `http://127.0.0.1:${port}`;
  await program.ready(`${url}/health`);
  return { program, url };
}

const post = (url, body, headers = {}) => fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
const hello = { messages: [{ role: "user", content: "Hello there" }] };

test("refuses what the real one refuses", async (t) => {
  const cases = [
    [["--no-such-flag"], {}, "error: invalid argument: --no-such-flag"],
    [["--port", "many"], {}, 'error while handling argument "--port": stoi'],
    [["--port"], {}, "expected value for argument"],
    [[], { LLAMA_ARG_JINJA: "maybe" }, 'error while handling environment variable "LLAMA_ARG_JINJA": invalid boolean value'],
  ];
  for (const [words, env, message] of cases) {
    const { code, output } = await run(t, SCRIPT, words, { env });
    assert.equal(code, 1, output);
    assert.ok(output.includes(message), output);
  }
});

test("exits with 1 if the model is missing or not GGUF", async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, "page.gguf"), "<!doctype html>");
  for (const [name, message] of [["missing.gguf", "failed to open GGUF file"], ["page.gguf", "invalid magic characters"]]) {
    const { code, output } = await run(t, SCRIPT, ["--port", String(await freePort()), "-m", join(folder, name)]);
    assert.equal(code, 1);
    assert.ok(output.includes(message), output);
  }
});

test("answers 503 while loading, then with a model's name and usage", async (t) => {
  const port = await freePort();
  const program = new Program(t, SCRIPT, ["--port", String(port), "-m", model(temporaryFolder(t), "tiny.gguf"), "--alias", "local"]);
  const url = `http://127.0.0.1:${port}`;
  await program.ready(`${url}/health`, 503);
  await program.ready(`${url}/health`);
  const answer = await (await post(`${url}/v1/chat/completions`, hello)).json();
  assert.equal(answer.model, "local");
  assert.match(answer.choices[0].message.content, /stand-in.*Hello there/);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.equal((await (await fetch(`${url}/v1/models`)).json()).data[0].id, "local");
});

test("streams the same text as in a single response", async (t) => {
  const { url } = await start(t, ["-m", model(temporaryFolder(t), "tiny.gguf")]);
  const whole = await (await post(`${url}/v1/chat/completions`, hello)).json();
  const text = await (await post(`${url}/v1/chat/completions`, { ...hello, stream: true, stream_options: { include_usage: true } })).text();
  const events = text.split("\n\n").filter(Boolean).map((line) => line.replace(/^data: /, ""));
  assert.equal(events.pop(), "[DONE]");
  const chunks = events.map((event) => JSON.parse(event));
  assert.equal(chunks.flatMap(({ choices }) => choices.map(({ delta }) => delta.content ?? "")).join(""), whole.choices[0].message.content);
  assert.deepEqual(chunks.at(-1).usage, whole.usage);
});

test("cuts at a limit and refuses a prompt longer than the context", async (t) => {
  const { url } = await start(t, ["-m", model(temporaryFolder(t), "tiny.gguf")], { LLAMA_ARG_CTX_SIZE: "64" });
  const cut = await (await post(`${url}/v1/chat/completions`, { ...hello, max_tokens: 2 })).json();
  assert.deepEqual([cut.choices[0].finish_reason, cut.usage.completion_tokens], ["length", 2]);
  const refused = await post(`${url}/completion`, { prompt: "x".repeat(400) });
  assert.equal(refused.status, 400);
  assert.equal((await refused.json()).error.type, "exceed_context_size_error");
});

test("requires its key, except for health", async (t) => {
  const { url } = await start(t, ["-m", model(temporaryFolder(t), "tiny.gguf")], { LLAMA_API_KEY: "sesame" });
  assert.equal((await post(`${url}/v1/chat/completions`, hello)).status, 401);
  assert.equal((await post(`${url}/v1/chat/completions`, hello, { authorization: "Bearer sesame" })).status, 200);
});

test("is a router without a model", async (t) => {
  const folder = temporaryFolder(t);
  model(folder, "tiny.gguf");
  writeFileSync(join(folder, "broken.gguf"), "no model");
  writeFileSync(join(folder, "presets.ini"), `version = 1\n[local]\nmodel = ${join(folder, "tiny.gguf")}\n`);
  const { url } = await start(t, ["--models-dir", folder, "--models-preset", join(folder, "presets.ini")]);
  const listed = (await (await fetch(`${url}/v1/models`)).json()).data;
  assert.deepEqual(listed.map(({ id, status }) => [id, status.value]), [["broken", "unloaded"], ["local", "unloaded"], ["tiny", "unloaded"]]);
  for (const [name, status] of [["local", 200], [undefined, 400], ["none", 400], ["broken", 500], ["tiny", 200]]) {
    assert.equal((await post(`${url}/v1/chat/completions`, { ...hello, model: name })).status, status, name);
  }
});

test("a router reads its list at start and on request, and reports models that it cannot load", async (t) => {
  const folder = temporaryFolder(t);
  const presets = join(folder, "presets.ini");
  const write = (file) => writeFileSync(presets, `version = 1\n[local]\nmodel = ${join(folder, file)}\nload-on-startup = true\n`);
  writeFileSync(join(folder, "broken.gguf"), "no model");
  model(folder, "tiny.gguf");
  write("broken.gguf");
  const { url } = await start(t, ["--models-preset", presets]);
  const local = async (query = "") => (await (await fetch(`${url}/models${query}`)).json()).data[0].status;
  assert.deepEqual(await local(), { value: "unloaded", failed: true, exit_code: 1 });
  write("tiny.gguf");
  assert.equal((await local()).failed, true);
  assert.deepEqual(await local("?reload=1"), { value: "unloaded" });
  assert.equal((await post(`${url}/models/load`, { model: "local" })).status, 200);
  assert.deepEqual(await local(), { value: "loaded" });
  assert.equal((await post(`${url}/models/load`, { model: "local" })).status, 400);
  assert.equal((await post(`${url}/models/load`, { model: "none" })).status, 404);
});

test("allows other origins as configured", async (t) => {
  for (const [origins, allowed] of [["*", "http://elsewhere"], ["localhost", null], ["http://listed", "http://listed"]]) {
    const { url } = await start(t, [], { LLAMA_ARG_CORS_ORIGINS: origins });
    const answer = await fetch(`${url}/health`, { headers: { origin: "http://elsewhere" } });
    assert.equal(answer.headers.get("access-control-allow-origin"), allowed);
  }
});

test("stops with 0 on SIGTERM and SIGINT", async (t) => {
  for (const signal of ["SIGTERM", "SIGINT"]) {
    const { program } = await start(t, []);
    assert.equal((await program.stop(signal)).code, 0);
  }
});
