// restore < FILE: runs in the running container, or in a new one on the same volume. See restore.mjs.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { reason } from "../common.mjs";
import { checkSettings } from "../settings/check.mjs";
import { commit, discard, finish, stage } from "./restore.mjs";
import { makeSecrets } from "../settings/secrets.mjs";
import { RUNTIME, SECRETS, read, readSettings } from "../settings/read.mjs";
import { table } from "./state.mjs";
import { takeOver } from "./update.mjs";

const say = (line) => console.error(`[restore] ${line}`);
const isRunning = existsSync(`${RUNTIME}/pid`);
let isCommitted = false;
process.on("exit", () => {
  if (!isCommitted) discard();
});
// Once it has started to stop services, it must not be interrupted by signals.
let isStopping = false;
for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.on(signal, () => isStopping || process.exit(1));

if (process.stdin.isTTY) {
  say("stdin is a terminal; type docker compose exec -T stack restore < FILE");
  process.exit(2);
}
try {
  const head = await stage(process.stdin, say);
  say(`the backup of ${head.made} is complete`);
  isStopping = true;
  if (isRunning) {
    say("stopping the services");
    spawnSync("/opt/stack/lib/stop", ["services"], { stdio: ["ignore", "inherit", "inherit"] });
  }
  commit(head);
  isCommitted = true;
  finish();
  say("the state was replaced");
} catch (error) {
  say(`nothing was changed: ${reason(error)}`);
  if (isRunning && isStopping) start();
  process.exit(1);
}
if (isRunning) {
  try {
    await again();
  } catch (error) {
    say(`the services were not started: ${error.message}`);
    process.exit(1);
  }
  say("the services are starting; `status` shows their state");
} else {
  say("start the stack now: docker compose up -d");
}

/** Repeats what start.mjs does, with the settings and secrets of this container. */
async function again() {
  const given = readdirSync(`${RUNTIME}/secrets`).map((file) => [file.replaceAll("-", "_").toUpperCase(), read(`${RUNTIME}/secrets/${file}`)]);
  const checked = checkSettings(table, { ...readSettings(), ...Object.fromEntries(given) }, (file) => read(`${SECRETS}/${file}`));
  if (checked.problems.length > 0) throw new Error(checked.problems.join("; "));
  makeSecrets(table, checked);
  await takeOver(checked, say);
  start();
}

/** Starts the services that are not off. */
function start() {
  for (const name of readdirSync(`${RUNTIME}/scan`).filter((entry) => existsSync(`${RUNTIME}/scan/${entry}/run`))) {
    if (!existsSync(`${RUNTIME}/scan/${name}/down`)) spawnSync("s6-svc", ["-u", `${RUNTIME}/scan/${name}`]);
  }
}
