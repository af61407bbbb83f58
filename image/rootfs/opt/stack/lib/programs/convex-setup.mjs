// Sets Mission Control's environment variables in Convex and deploys its functions, if they differ from the deployed
// ones.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fail } from "../common.mjs";

const PUSH_LIMIT = 90_000; // milliseconds
const REQUEST_LIMIT = 10_000;
// Stored in the deployment itself, so that a restored older database has the matching value.
const MARK = "MISSION_CONTROL_PUSHED";

const { CONVEX_SELF_HOSTED_URL, CONVEX_SELF_HOSTED_ADMIN_KEY, CONVEX_SITE_ORIGIN, JWKS, JWT_PRIVATE_KEY, MISSION_CONTROL_EVENT_TOKEN, MISSION_CONTROL_ORIGIN, RUNTIME } = process.env;
const source = "/opt/mission-control/push";
const cli = join(source, "node_modules/convex");

class SetupError extends Error {}

async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(new URL(path, CONVEX_SELF_HOSTED_URL), {
      method,
      headers: { authorization: `Convex ${CONVEX_SELF_HOSTED_ADMIN_KEY}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_LIMIT),
    });
  } catch (error) {
    throw new SetupError(`${path}: ${error.cause?.message ?? error.message}`);
  }
  const text = await response.text();
  if (!response.ok) throw new SetupError(`${path} answered ${response.status}: ${text.slice(0, 500)}`);
  return text === "" ? undefined : JSON.parse(text);
}

// A change makes all queries run again, so only send real changes.
async function changeEnvironment(have, want) {
  const changes = Object.entries(want)
    .filter(([name, value]) => have[name] !== value)
    .map(([name, value]) => ({ name, value }));
  if (changes.length === 0) return;
  await ask("POST", "/api/v1/update_environment_variables", { changes });
  console.log(`set in Convex: ${changes.map((change) => change.name).join(", ")}`);
}

// In the format of Convex Auth, which expects the key on one line. The event endpoint checks the token.
const variables = {
  JWT_PRIVATE_KEY: JWT_PRIVATE_KEY.trim().replace(/\s*\n\s*/g, " "),
  JWKS,
  SITE_URL: MISSION_CONTROL_ORIGIN,
  MISSION_CONTROL_EVENT_TOKEN,
};

// A digest of everything that the deployed functions depend on.
function fingerprint() {
  const hash = createHash("sha256");
  const add = (name, content) => hash.update(`${name}\0${content.length}\0`).update(content);
  const entries = readdirSync(join(source, "convex"), { recursive: true, withFileTypes: true });
  const functions = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)).sort();
  for (const path of [...functions, join(source, "package.json"), join(cli, "package.json")]) add(path, readFileSync(path));
  add("settings", JSON.stringify([variables, CONVEX_SITE_ORIGIN]));
  return hash.digest("hex");
}

// A digest of the functions that are deployed now.
async function deployed() {
  const { moduleHashes } = await ask("POST", "/api/get_config_hashes", { version: "1.0.0", adminKey: CONVEX_SELF_HOSTED_ADMIN_KEY });
  const lines = moduleHashes.map(({ path, hash, environment }) => `${path} ${hash} ${environment}`).sort();
  return createHash("sha256").update(lines.join("\n")).digest("hex");
}

// The Convex CLI writes next to its sources, which are read-only in the image.
function makeWorkFolder() {
  const work = join(RUNTIME, "convex-setup/push");
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(work, "home"), { recursive: true });
  cpSync(join(source, "convex"), join(work, "convex"), { recursive: true });
  cpSync(join(source, "package.json"), join(work, "package.json"));
  symlinkSync(join(source, "node_modules"), join(work, "node_modules"));
  return work;
}

// Runs `convex deploy`, and prints its output. An error contains the output.
async function deploy(work) {
  const environment = {
    PATH: process.env.PATH,
    HOME: join(work, "home"),
    TMPDIR: work,
    CI: "1", // no error reports, no prompts
    CONVEX_SELF_HOSTED_URL,
    CONVEX_SELF_HOSTED_ADMIN_KEY,
  };
  const words = [join(cli, "bin/main.js"), "deploy", "-y", "--typecheck", "disable", "--codegen", "disable"];
  const child = spawn(process.execPath, words, { cwd: work, env: environment, stdio: ["ignore", "pipe", "pipe"], timeout: PUSH_LIMIT, killSignal: "SIGKILL" });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (data) => {
      output += data;
      process.stdout.write(data);
    });
  }
  const [code, signal] = await once(child, "close");
  if (code === 0) return;
  const why = signal ? `took longer than ${PUSH_LIMIT / 1000} s` : `ended with ${code}`;
  throw Object.assign(new SetupError(`convex deploy ${why}`), { output });
}

async function setUp() {
  const { environmentVariables: have } = await ask("GET", "/api/v1/list_environment_variables");
  await changeEnvironment(have, variables);
  const wanted = fingerprint();
  if (have[MARK] === `${wanted}.${await deployed()}`) {
    console.log("Convex has these functions already");
    return;
  }
  const work = makeWorkFolder();
  try {
    await deploy(work);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  await changeEnvironment({}, { [MARK]: `${wanted}.${await deployed()}` });
}

function keep(output) {
  const file = "/data/logs/convex-setup.log";
  try {
    writeFileSync(file, output.replaceAll(CONVEX_SELF_HOSTED_ADMIN_KEY, "ADMIN_KEY"), { mode: 0o600 });
    return `its output is in ${file}`;
  } catch (error) {
    return `its output could not be saved: ${error.message}`;
  }
}

try {
  await setUp();
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  // The supervisor restarts it, with growing pauses.
  fail(`${error.message}; ${keep(`${new Date().toISOString()} ${error.message}\n${error.output ?? ""}\n`)}`);
}
