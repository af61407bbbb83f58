// Finding models in a folder, by URL, and by a name on the hub.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { chooseFiles } from "../../../image/rootfs/opt/stack/lib/model/hub.mjs";
import { scanModels } from "../../../image/rootfs/opt/stack/lib/model/models.mjs";
import { listen, temporaryFolder } from "../../standins/tests/support.mjs";

const script = fileURLToPath(new URL("../../../image/rootfs/opt/stack/lib/model/main.mjs", import.meta.url));

/** A GGUF file with a header and `weights` bytes of tensors. */
function gguf(architecture = "llama", weights = 64) {
  const u32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
  const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
  const string = (text) => Buffer.concat([u64(text.length), Buffer.from(text)]);
  const pair = (key, type, value) => Buffer.concat([string(key), u32(type), value]);
  const pairs = [
    pair("general.architecture", 8, string(architecture)),
    pair(`${architecture}.context_length`, 4, u32(4096)),
    pair("tokenizer.ggml.tokens", 9, Buffer.concat([u32(8), u64(2), string("a"), string("b".repeat(300))])),
    pair("tokenizer.ggml.scores", 9, Buffer.concat([u32(6), u64(2), Buffer.alloc(8)])),
  ];
  const tensor = (name, offset) => Buffer.concat([string(name), u32(1), u64(8), u32(0), u64(offset)]);
  const tensors = [tensor("first", 0), tensor("last", weights - 32)];
  const header = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(tensors.length), u64(pairs.length), ...pairs, ...tensors]);
  return Buffer.concat([header, Buffer.alloc(-header.length & 31), Buffer.alloc(weights, 7)]);
}

test("models of a folder are listed with their projectors, and unusable files with a reason", (context) => {
  const folder = temporaryFolder(context, {
    "a.gguf": gguf(),
    "mmproj-model-f16.gguf": gguf("clip"),
    "half.gguf": gguf().subarray(0, 200),
    "cut.gguf": gguf("llama", 4096).subarray(0, -4000),
    "text.gguf": "hello",
    "odd;name.gguf": gguf(),
    "note.txt": "",
    ".hidden/x.gguf": gguf(),
    "sub/deep/See-4B-Q4_K_M.gguf": gguf(),
    "sub/deep/mmproj-See-4B-F16.gguf": gguf("clip"),
    "sub/deep/mmproj-other-F16.gguf": gguf("clip"),
    "sub/a.gguf": gguf(),
    "split/m-00001-of-00002.gguf": gguf(),
    "split/m-00002-of-00002.gguf": gguf(),
    "torn/t-00001-of-00003.gguf": gguf(),
    "torn/t-00003-of-00003.gguf": gguf(),
  });
  const { models, problems } = scanModels(folder);
  const projector = (file) => file && file.slice(folder.length + 1);
  assert.deepEqual(models.map(({ name, mmproj }) => [name, projector(mmproj)]), [
    ["a", "mmproj-model-f16.gguf"], ["m", undefined], ["sub-a", undefined], ["See-4B-Q4_K_M", "sub/deep/mmproj-See-4B-F16.gguf"],
  ]);
  assert.equal(models[0].context, 4096);
  assert.deepEqual(problems.map((line) => line.replace(/'/g, "")), [
    "cut.gguf is not complete: part of its weights is missing",
    "half.gguf is not complete: it ends within its header",
    "odd;name.gguf has a character in its name that llama.cpps list of models does not allow",
    "text.gguf is not a GGUF file",
    "torn/t-00001-of-00003.gguf lacks part 2 of 3: t-00002-of-00003.gguf does not exist",
  ]);
});

test("a projector alone is not a model, and unreadable files are reported", (context) => {
  const folder = temporaryFolder(context, { "x-mmproj.gguf": gguf("clip"), "clip.gguf": gguf("clip") });
  assert.deepEqual(scanModels(folder).models, []);
  assert.deepEqual(scanModels(folder).problems.map((line) => line.split(" ")[0]), ["clip.gguf", "x-mmproj.gguf"]);
  if (process.getuid() === 0) return;
  writeFileSync(join(folder, "secret.gguf"), gguf());
  chmodSync(join(folder, "secret.gguf"), 0);
  assert.match(scanModels(folder).problems.join("\n"), /secret.gguf cannot be read by uid \d+/);
});

const lfs = (rfilename) => ({ rfilename, lfs: { sha256: "a".repeat(64), size: 9, pointerSize: 1 } });

test("a name on the hub resolves to the files of one model", () => {
  const siblings = ["README.md", "M-Q4_K_M.gguf", "M-UD-Q4_K_XL.gguf", "M-BF16-00001-of-00002.gguf", "M-BF16-00002-of-00002.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "Q2_K/M.gguf"].map(lfs);
  const names = (quant, list = siblings) => chooseFiles(list, quant).map(({ name }) => name);
  assert.deepEqual(names("q4_k_m"), ["M-Q4_K_M.gguf", "mmproj-F16.gguf"]);
  assert.deepEqual(names(undefined), ["M-Q4_K_M.gguf", "mmproj-F16.gguf"]);
  assert.deepEqual(names("UD-Q4_K_XL"), ["M-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"]);
  assert.deepEqual(names("BF16"), ["M-BF16-00001-of-00002.gguf", "M-BF16-00002-of-00002.gguf", "mmproj-F16.gguf"]);
  assert.deepEqual(names("Q2_K"), ["M.gguf", "mmproj-F16.gguf"]);
  assert.deepEqual(names(undefined, [lfs("only.gguf")]), ["only.gguf"]);
  for (const [list, quant, why] of [
    [siblings, "Q9", /no model in Q9; there are BF16, Q2_K, Q4_K_M, UD-Q4_K_XL/],
    [[lfs("a-Q5_0.gguf"), lfs("b-Q5_1.gguf")], undefined, /several models/],
    [[lfs("a-Q5_0.gguf"), lfs("b-Q5_0.gguf")], "Q5_0", /several models in Q5_0: .*a-Q5_0, b-Q5_0/],
    [[lfs("model.safetensors")], undefined, /no GGUF file/],
    [[lfs("a-00001-of-00002.gguf")], undefined, /1 of the 2 parts/],
    [[{ rfilename: "a.gguf" }], undefined, /no SHA-256/],
    [[lfs("a\nb.gguf")], undefined, /invalid name/],
  ]) assert.throws(() => chooseFiles(list, quant), why);
});

/** Serves files by path; `behave` may handle a request itself. */
async function serve(context, files, behave = () => false) {
  const asked = [];
  const address = await listen(context, (request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    asked.push(`${pathname} ${request.headers.range ?? ""}`.trim());
    const content = files[decodeURIComponent(pathname)];
    if (behave(request, response, content)) return;
    if (content === undefined) return response.writeHead(404).end();
    const [, from] = /bytes=(\d+)-/.exec(request.headers.range ?? "") ?? [];
    if (from === undefined) return response.writeHead(200, { "content-length": content.length }).end(content);
    if (Number(from) >= content.length) return response.writeHead(416).end();
    response.writeHead(206, { "content-length": content.length - from, "content-range": `bytes ${from}-${content.length - 1}/${content.length}` }).end(content.subarray(from));
  });
  return { address, asked };
}

const digest = (content) => createHash("sha256").update(content).digest("hex");

async function run(folder, result, settings) {
  const child = spawn(process.execPath, [script, folder, result], { env: { PATH: process.env.PATH, ...settings }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  const code = await new Promise((resolve) => child.on("close", resolve));
  const text = (file) => (existsSync(join(result, file)) ? readFileSync(join(result, file), "utf8") : "");
  return { code, output, given: text("arguments").split("\n").filter(Boolean), state: JSON.parse(text("state.json") || "null"), ini: text("models.ini") };
}

const model = gguf("llama", 2 ** 20);

for (const ranges of [true, false]) {
  test(`an interrupted download ${ranges ? "is resumed" : "starts over if the server does not support ranges"}`, async (context) => {
    let cuts = 1;
    const { address, asked } = await serve(context, { "/m.gguf": model }, (request, response, content) => {
      if (!ranges) delete request.headers.range;
      if (cuts === 0) return false;
      cuts -= 1;
      response.writeHead(200, { "content-length": content.length });
      response.write(content.subarray(0, 500_000), () => response.destroy());
      return true;
    });
    const [folder, result] = [temporaryFolder(context), temporaryFolder(context)];
    const url = address.replace("//", "//user:hunter2@");
    const { code, output, given } = await run(folder, result, { LLAMACPP_MODEL_URL: `${url}/m.gguf?token=hunter2`, LLAMACPP_MODEL_SHA256: digest(model) });
    assert.equal(code, 0, output);
    const path = join(folder, `m-${digest(model).slice(0, 12)}.gguf`);
    assert.deepEqual(given, ["--model", path, "--alias", "local"]);
    assert.equal(digest(readFileSync(path)), digest(model));
    assert.ok(!output.includes("hunter2"), output);
    assert.match(asked[1], /bytes=\d+-$/);
    assert.equal(asked.length, ranges ? 2 : 3);
    assert.ok(!existsSync(`${path}.part`));
  });
}

test("a wrong digest is refused, and not downloaded again in this container", async (context) => {
  const { address, asked } = await serve(context, { "/m.gguf": model });
  const [folder, result] = [temporaryFolder(context), temporaryFolder(context)];
  const settings = { LLAMACPP_MODEL_URL: `${address}/m.gguf`, LLAMACPP_MODEL_SHA256: "0".repeat(64) };
  const first = await run(folder, result, settings);
  assert.match(first.output, /does not have the SHA-256 0000/);
  const second = await run(folder, result, settings);
  assert.deepEqual([second.code, second.output, asked.length], [1, first.output.split("\n").at(-2) + "\n", 1]);
});

test("the hub's first answer for a name is recorded and used from then on", async (context) => {
  const [one, two, projector] = [gguf(), gguf("llama", 128), gguf("clip")];
  const commit = "c".repeat(40);
  const parts = { "Q8/M-00001-of-00002.gguf": one, "Q8/M-00002-of-00002.gguf": two, "mmproj-F16.gguf": projector };
  const files = Object.fromEntries(Object.entries(parts).map(([name, content]) => [`/o/M-GGUF/resolve/${commit}/${name}`, content]));
  const siblings = Object.entries(parts).map(([rfilename, content]) => ({ rfilename, lfs: { sha256: digest(content), size: content.length, pointerSize: 1 } }));
  const api = "/api/models/o/M-GGUF/revision/main";
  files[api] = Buffer.from(JSON.stringify({ sha: commit, siblings: [{ rfilename: "README.md" }, ...siblings] }));
  const tokens = new Set();
  const { address, asked } = await serve(context, files, ({ headers }) => !tokens.add(headers.authorization));
  const [folder, result] = [temporaryFolder(context), temporaryFolder(context)];
  const settings = { LLAMACPP_MODEL: "hf:o/M-GGUF:Q8", HF_ENDPOINT: `${address}/`, HF_TOKEN: "hf_secret" };
  const at = (name) => join(folder, "hf/o/M-GGUF", name);
  const first = await run(folder, result, settings);
  assert.deepEqual(first.given, ["--model", at("M-00001-of-00002.gguf"), "--alias", "local", "--mmproj", at("mmproj-F16.gguf")], first.output);
  assert.deepEqual([...tokens], ["Bearer hf_secret"]);
  assert.ok(!first.output.includes("hf_secret"));

  asked.length = 0;
  assert.equal((await run(folder, result, settings)).code, 0);
  assert.deepEqual(asked, [], "a second start requests nothing");

  const changed = readFileSync(at("M-00002-of-00002.gguf"));
  changed[changed.length - 1] ^= 1;
  writeFileSync(at("M-00002-of-00002.gguf"), changed);
  assert.match((await run(folder, result, settings)).output, /M-00002-of-00002.gguf was changed after the download/);

  // A removed file is downloaded again and must have the recorded digest.
  rmSync(at("M-00002-of-00002.gguf"));
  rmSync(join(result, "refused"));
  files[`/o/M-GGUF/resolve/${commit}/Q8/M-00002-of-00002.gguf`] = changed;
  files[api] = Buffer.from("{}");
  assert.match((await run(folder, result, settings)).output, /does not have the SHA-256/);
});

test("a wrong hub and a missing repository are reported in one line", async (context) => {
  const { address } = await serve(context, { "/api/models/o/html/revision/main": Buffer.from("<html>") });
  for (const [name, why] of [["hf:o/html", /the response is not JSON; is HF_ENDPOINT right/], ["hf:o/none:Q8", /no o\/none at http.*requires HF_TOKEN \(the server answers 404\)/]]) {
    const { code, output } = await run(temporaryFolder(context), temporaryFolder(context), { LLAMACPP_MODEL: name, HF_ENDPOINT: address });
    assert.equal(code, 1);
    assert.match(output, why);
  }
});

test("all models of a folder are served by default, and `local` stays the same", async (context) => {
  const [folder, result] = [temporaryFolder(context), temporaryFolder(context)];
  const empty = await run(folder, result, {});
  assert.deepEqual([empty.given, empty.ini, empty.state.models], [["--models-preset", join(result, "models.ini")], "version = 1\n", []]);
  writeFileSync(join(folder, "z.gguf"), gguf());
  assert.match((await run(folder, result, {})).ini, /^version = 1\n\[local\]\nmodel = .*z.gguf\nload-on-startup = true\n$/);
  writeFileSync(join(folder, "a.gguf"), gguf());
  assert.deepEqual((await run(folder, result, {})).state.models.map(({ name, file }) => [name, file.slice(-6)]), [["local", "z.gguf"], ["a", "a.gguf"]]);
});

test("llama.cpp's variables fit the machine, unless they are set", async (context) => {
  const result = temporaryFolder(context);
  await run(temporaryFolder(context), result, { LLAMA_ARG_CACHE_RAM: "1", LLAMACPP_MAX_TOKENS: "77" });
  const variables = readFileSync(join(result, "environment"), "utf8");
  assert.match(variables, /^LLAMA_ARG_N_PREDICT=77$/m);
  assert.doesNotMatch(variables, /LLAMA_ARG_CACHE_RAM/);
});

test("an incomplete file is reported", async (context) => {
  const folder = temporaryFolder(context, { "m.gguf": model });
  truncateSync(join(folder, "m.gguf"), 1000);
  const { code, output } = await run(folder, temporaryFolder(context), { LLAMACPP_MODEL: join(folder, "m.gguf") });
  assert.deepEqual([code, output], [1, `${join(folder, "m.gguf")} is not complete: part of its weights is missing\n`]);
});
