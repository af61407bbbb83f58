// All that start.sh does between the lock on the volume and the supervisor: checks the settings, makes the secrets,
// and writes what this start is made of to RUNTIME. Nothing is written before everything is right.
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { checkSettings } from "./settings/check.mjs";
import { removeLeftovers } from "./backup/backup.mjs";
import { finish } from "./backup/restore.mjs";
import { makeSecrets } from "./settings/secrets.mjs";
import { RUNTIME, SECRETS, read } from "./settings/read.mjs";
import { table } from "./backup/state.mjs";
import { oldProcessor } from "./status/measures.mjs";
import { Refused, takeOver } from "./backup/update.mjs";

// Exit codes of sysexits.h.
const [DATA_ERROR, CANNOT_CREATE, IO_ERROR, CONFIG] = [65, 73, 74, 78];
const STACK = "/opt/stack";
const SCAN = `${RUNTIME}/scan`;

function end(code, ...lines) {
  for (const line of lines) console.error(`[stack] ${line}`);
  process.exit(code);
}

/** The C library's words of an error of the file system. */
function reasonOf(error) {
  const [, reason] = /^\w+: (.*?), /.exec(error.message) ?? [];
  return reason && reason[0].toUpperCase() + reason.slice(1);
}

/** Does something with files; says what cannot be done and why, in the C library's words. */
function attempt(code, doing, action) {
  try {
    return action();
  } catch (error) {
    // Another error's message might quote a secret.
    return end(code, `not started: ${error.doing ?? doing}: ${reasonOf(error) ?? `${error.name} ${error.code ?? error.status ?? ""}`}`);
  }
}

/** The supervisor's folder. It may be mounted noexec: its scripts are links to those of the image. */
function supervise({ name, signal, stopWithin }, isOn) {
  const folder = `${SCAN}/${name}`;
  for (const made of [folder, `${folder}/log`, `${RUNTIME}/state/${name}`]) mkdirSync(made);
  for (const [script, from] of [["run", "run"], ["finish", "finish"], ["log/run", "log"]]) symlinkSync(`${STACK}/service/${from}`, `${folder}/${script}`);
  writeFileSync(`${folder}/notification-fd`, "3\n");
  writeFileSync(`${folder}/down-signal`, `${signal}\n`);
  writeFileSync(`${folder}/timeout-kill`, `${stopWithin * 1000}\n`);
  if (!isOn) writeFileSync(`${folder}/down`, "");
}

attempt(IO_ERROR, "what an interrupted backup or restore left cannot be put right", () => {
  removeLeftovers();
  if (finish()) console.log("[stack] a restore that was interrupted is complete now");
});
const kept = (file) => attempt(IO_ERROR, `cannot read ${SECRETS}/${file}`, () => read(`${SECRETS}/${file}`));
const checked = checkSettings(table, process.env, kept);
for (const notice of [...checked.notices, oldProcessor()].filter(Boolean)) console.log(`[stack] ${notice}`);
const { problems, values, isOn } = checked;
if (problems.length > 0) {
  end(CONFIG, `not started, because of ${problems.length} wrong setting(s):`, ...problems.map((problem) => `  - ${problem}`));
}

attempt(CANNOT_CREATE, "a folder of the volume cannot be made", () => {
  for (const folder of [...table.folders.map((name) => `/data/${name}`), values.CONVEX_DATA_DIR]) mkdirSync(folder, { recursive: true });
});
// A tmpfs, or a folder of the image that a restart finds as it was.
attempt(CANNOT_CREATE, `${RUNTIME} cannot be written; with a read-only root it has to be a tmpfs (--tmpfs ${RUNTIME})`, () => {
  mkdirSync(RUNTIME, { recursive: true });
  // `etc` may be the engine's; what is in it is written anew afterwards.
  for (const name of readdirSync(RUNTIME).filter((name) => name !== "etc")) rmSync(`${RUNTIME}/${name}`, { recursive: true });
  for (const name of ["secrets", "state", "scan", "scan/.s6-svscan"]) mkdirSync(`${RUNTIME}/${name}`);
  writeFileSync(`${RUNTIME}/settings`, Object.entries(values).map(([name, value]) => `${name}=${value}\n`).join(""));
  for (const service of table.services.filter(({ site }) => !site)) supervise(service, isOn(service.name));
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"]) symlinkSync(`${STACK}/lib/stop`, `${SCAN}/.s6-svscan/${signal}`);
});
try {
  await takeOver(checked, (line) => console.log(`[stack] ${line}`));
} catch (error) {
  if (!(error instanceof Refused)) end(IO_ERROR, `not started: the data cannot be taken over: ${reasonOf(error) ?? error.message}`);
  const lines = error.message.split("\n");
  end(DATA_ERROR, `not started: ${lines[0]}`, ...lines.slice(1));
}
attempt(IO_ERROR, "the secrets cannot be made", () => makeSecrets(table, checked));
