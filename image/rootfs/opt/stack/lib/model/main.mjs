// Finds the model that llama.cpp serves, and downloads it if needed: main.mjs FOLDER RESULT. Writes to RESULT
//   arguments    llama.cpp's arguments, one a line
//   environment  its variables
//   models.ini   its list of models, if no model is set and it serves all of FOLDER
//   state.json   `models`, and `problems`: files that look like models but cannot be used
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fail, readJson, writeJson } from "../common.mjs";
import { Checked, Refused, curl, ensure, shown } from "./download.mjs";
import { chooseFiles, parseHub } from "./hub.mjs";
import { PROJECTOR, projectorOf, readModel, scanModels, stem } from "./models.mjs";
import { cacheOfPrompts, longestAnswer, threads } from "./machine.mjs";

const [folder, result] = process.argv.slice(2);
const settings = process.env;
const records = join(folder, ".stack");
mkdirSync(records, { recursive: true });
const checked = new Checked(join(records, "checked.json"));

/** Sets the note on the status page, which is shown until the service is ready. */
function report(text) {
  if (settings.STACK_SERVICE) writeFileSync(`/run/stack/state/${settings.STACK_SERVICE}/note`, `${text}\n`);
  else console.log(text);
}

/** The model of LLAMACPP_MODEL_URL; its file name contains the digest. */
async function fromAddress(url, sha256) {
  const name = stem(shown(url)).replace(/[^A-Za-z0-9._-]/g, "-");
  const path = join(folder, `${name}-${sha256.slice(0, 12)}.gguf`);
  await ensure({ path, url, sha256 }, checked, report);
  return path;
}

/** The model of a name on the hub. The hub's first answer is recorded and used from then on. */
async function fromHub(name) {
  const { repository, quant } = parseHub(name);
  const file = join(records, "hub.json");
  const known = readJson(file) ?? {};
  const base = settings.HF_ENDPOINT.replace(/\/+$/, "");
  const header = settings.HF_TOKEN && `Authorization: Bearer ${settings.HF_TOKEN}`;
  if (!known[name]) {
    known[name] = await askHub(`${base}/api/models/${repository}/revision/main?blobs=true`, header, repository, quant);
    writeJson(file, known);
  }
  const { commit, files } = known[name];
  const paths = [];
  for (const { path, name: kept, sha256, size } of files) {
    const url = `${base}/${repository}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
    paths.push(join(folder, "hf", repository, kept));
    await ensure({ path: paths.at(-1), url, header, sha256, size }, checked, report);
  }
  return [paths[0], paths.find((path) => PROJECTOR.test(stem(path)))];
}

async function askHub(url, header, repository, quant) {
  report(`asking ${shown(url)}`);
  const { code, output } = await curl(url, header, ["--max-time", "60", "--max-filesize", "64M", "--write-out", "\n%{http_code} %{errormsg}"]);
  const [, body, status, why] = /^([^]*)\n(\d+) (.*)$/.exec(output) ?? [];
  const where = `${repository} at ${shown(settings.HF_ENDPOINT)}`;
  if (/^40[134]$/.test(status)) throw new Error(`there is no ${where}, or it requires HF_TOKEN (the server answers ${status})`);
  if (code !== 0 || status !== "200") throw new Error(`${where} cannot be requested: ${why || `the server answers ${status}`}`);
  let found;
  try {
    found = JSON.parse(body);
  } catch {
    throw new Error(`${where}: the response is not JSON; is HF_ENDPOINT right?`);
  }
  if (!/^[0-9a-f]{40}$/.test(found.sha) || !Array.isArray(found.siblings)) throw new Error(`${where}: the response does not describe a repository; is HF_ENDPOINT right?`);
  try {
    return { commit: found.sha, files: chooseFiles(found.siblings, quant) };
  } catch (error) {
    throw new Error(`${where} ${error.message}`);
  }
}

/** Serves one model, under any name. Its projector is the downloaded one, or one in the same folder. */
function serveOne(file, projector = projectorBeside(file)) {
  let context;
  try {
    ({ context } = readModel(file));
  } catch (error) {
    throw new Error(`${file} ${error.message}`);
  }
  writeJson(join(result, "state.json"), { models: [{ name: "local", file, mmproj: projector, context }], problems: [] });
  return ["--model", file, "--alias", "local", ...(projector ? ["--mmproj", projector] : [])];
}

function projectorBeside(file) {
  const near = readdirSync(dirname(file)).filter((name) => /\.gguf$/i.test(name)).map((name) => join(dirname(file), name));
  const projectors = near.filter((path) => PROJECTOR.test(stem(path)));
  return projectorOf(file, near.filter((path) => !projectors.includes(path)), projectors);
}

/** Serves all models of the folder by name. The first one is `local`, and stays so as long as its file exists. */
function serveAll() {
  const { models, problems } = scanModels(folder);
  const before = readJson(join(result, "state.json"))?.models[0]?.file;
  const first = Math.max(0, models.findIndex(({ file }) => file === before));
  const local = models.splice(first, 1).map((model) => ({ ...model, name: "local" }));
  const all = [...local, ...models];
  const section = ({ name, file, mmproj }) => [
    `[${name}]`, `model = ${file}`, ...(mmproj ? [`mmproj = ${mmproj}`] : []), ...(name === "local" ? ["load-on-startup = true"] : []),
  ];
  const ini = join(result, "models.ini");
  writeFileSync(ini, ["version = 1", ...all.flatMap(section), ""].join("\n"));
  writeJson(join(result, "state.json"), { models: all, problems });
  for (const problem of problems) console.log(problem);
  console.log(local.length > 0 ? `the model called \`local\` is ${local[0].file}` : `no model in ${folder} yet`);
  return ["--models-preset", ini];
}

async function choose() {
  const { LLAMACPP_MODEL: model, LLAMACPP_MODEL_URL: url } = settings;
  const refused = join(result, "refused");
  if (existsSync(refused)) throw new Error(readFileSync(refused, "utf8"));
  try {
    if (model?.startsWith("hf:")) return serveOne(...(await fromHub(model)));
    if (url) return serveOne(await fromAddress(url, settings.LLAMACPP_MODEL_SHA256));
    return model ? serveOne(model) : serveAll();
  } catch (error) {
    if (error instanceof Refused) writeFileSync(refused, error.message);
    throw error;
  }
}

/** llama.cpp's variables that fit this machine. Those that are already set win; an older llama.cpp ignores new ones. */
function fitting() {
  const context = Number(settings.LLAMACPP_CTX_SIZE) || Infinity;
  const all = { LLAMA_ARG_THREADS: threads(), LLAMA_ARG_CACHE_RAM: cacheOfPrompts(), LLAMA_ARG_N_PREDICT: longestAnswer(settings, context) };
  return Object.entries(all).filter(([name, value]) => value !== undefined && !settings[name]);
}

const lines = (texts) => texts.map((text) => `${text}\n`).join("");

try {
  writeFileSync(join(result, "environment"), lines(fitting().map((pair) => pair.join("="))));
  writeFileSync(join(result, "arguments"), lines(await choose()));
} catch (error) {
  fail(error.message);
}
