// Runs in start.sh after the volume is locked and before the supervisor: checks the settings, generates secrets, and
// writes the supervisor's folders to RUNTIME. It writes nothing unless all settings are valid.
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

/** The C library's text of a file system error. */
function reasonOf(error) {
  const [, reason] = /^\w+: (.*?), /.exec(error.message) ?? [];
  return reason && reason[0].toUpperCase() + reason.slice(1);
}

/** Runs an action on files. If it fails, ends with what could not be done and why. */
function attempt(code, doing, action) {
  try {
    return action();
  } catch (error) {
    // Messages of other errors might quote a secret.
    return end(code, `not started: ${error.doing ?? doing}: ${reasonOf(error) ?? `${error.name} ${error.code ?? error.status ?? ""}`}`);
  }
}

/** Makes a service's folder for the supervisor. RUNTIME may be mounted noexec, so scripts are links into the image. */
function supervise({ name, signal, stopWithin }, isOn) {
  const folder = `${SCAN}/${name}`;
  for (const made of [folder, `${folder}/log`, `${RUNTIME}/state/${name}`]) mkdirSync(made);
  for (const [script, from] of [["run", "run"], ["finish", "finish"], ["log/run", "log"]]) symlinkSync(`${STACK}/service/${from}`, `${folder}/${script}`);
  writeFileSync(`${folder}/notification-fd`, "3\n");
  writeFileSync(`${folder}/down-signal`, `${signal}\n`);
  writeFileSync(`${folder}/timeout-kill`, `${stopWithin * 1000}\n`);
  if (!isOn) writeFileSync(`${folder}/down`, "");
}

attempt(IO_ERROR, "an interrupted backup or restore cannot be cleaned up", () => {
  removeLeftovers();
  if (finish()) console.log("[stack] an interrupted restore was completed");
});
const kept = (file) => attempt(IO_ERROR, `cannot read ${SECRETS}/${file}`, () => read(`${SECRETS}/${file}`));
const checked = checkSettings(table, process.env, kept);
for (const notice of [...checked.notices, oldProcessor()].filter(Boolean)) console.log(`[stack] ${notice}`);
const { problems, values, isOn } = checked;
if (problems.length > 0) {
  end(CONFIG, `not started, because of ${problems.length} wrong setting(s):`, ...problems.map((problem) => `  - ${problem}`));
}

attempt(CANNOT_CREATE, "cannot create a folder of the volume", () => {
  for (const folder of [...table.folders.map((name) => `/data/${name}`), values.CONVEX_DATA_DIR]) mkdirSync(folder, { recursive: true });
});
// RUNTIME is a tmpfs, or a folder of the container that still has the files of the previous run.
attempt(CANNOT_CREATE, `cannot write ${RUNTIME}; with a read-only root it must be a tmpfs (--tmpfs ${RUNTIME})`, () => {
  mkdirSync(RUNTIME, { recursive: true });
  // `etc` may belong to the engine; name_user rewrites its files.
  for (const name of readdirSync(RUNTIME).filter((name) => name !== "etc")) rmSync(`${RUNTIME}/${name}`, { recursive: true });
  for (const name of ["secrets", "state", "scan", "scan/.s6-svscan"]) mkdirSync(`${RUNTIME}/${name}`);
  writeFileSync(`${RUNTIME}/settings`, Object.entries(values).map(([name, value]) => `${name}=${value}\n`).join(""));
  for (const service of table.services.filter(({ site }) => !site)) supervise(service, isOn(service.name));
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"]) symlinkSync(`${STACK}/lib/stop`, `${SCAN}/.s6-svscan/${signal}`);
});
try {
  await takeOver(checked, (line) => console.log(`[stack] ${line}`));
} catch (error) {
  if (!(error instanceof Refused)) end(IO_ERROR, `not started: cannot check which versions last opened the data: ${reasonOf(error) ?? error.message}`);
  const lines = error.message.split("\n");
  end(DATA_ERROR, `not started: ${lines[0]}`, ...lines.slice(1));
}
attempt(IO_ERROR, "cannot generate the secrets", () => makeSecrets(table, checked));
