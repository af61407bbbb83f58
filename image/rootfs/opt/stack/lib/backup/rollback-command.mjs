// rollback [NAME | --list]: see bin/rollback and update.mjs.
import { createReadStream } from "node:fs";
import { reason } from "../common.mjs";
import { commit, discard, finish, stage } from "./restore.mjs";
import { migrating, readVersions, servicesOf } from "./state.mjs";
import { keep, keptStates } from "./update.mjs";
import { choose } from "./versions.mjs";

const say = (line) => console.error(`[rollback] ${line}`);
const [asked] = process.argv.slice(2);
const describe = (versions) => Object.entries(versions).map(([name, version]) => `${name} ${version ?? "of an unknown version"}`).join(", ");
const states = await keptStates();

if (asked === "--list") {
  for (const { name, head } of states) console.log(`${name}  ${describe(head.versions)}`);
  if (states.length === 0) say("there is no saved state: no update has changed the state of a service");
} else {
  process.exitCode = await rollBack();
}

async function rollBack() {
  const ours = Object.fromEntries(migrating.map(({ name, version }) => [name, version]));
  const chosen = asked ? states.filter(({ name }) => name === asked) : choose(states, readVersions(), ours);
  if (chosen.length === 0) {
    say(`there is no saved state ${asked ? `named ${asked}` : "that this image can open"}; \`rollback --list\` shows all of them`);
    return 1;
  }
  // Once the journal is written, signals must not interrupt it.
  let isCommitted = false;
  process.on("exit", () => isCommitted || discard());
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.on(signal, () => isCommitted || process.exit(1));
  try {
    // Save the current state too, so that the rollback can be undone.
    await keep(migrating.filter(({ name }) => chosen.some(({ head }) => name in head.versions)), say);
    for (const { name, path } of chosen) {
      const head = await stage(createReadStream(path), say);
      commit(head);
      isCommitted = true;
      finish();
      isCommitted = false;
      say(`restored ${name}: ${describe(head.versions)}`);
    }
  } catch (error) {
    say(`not done: ${reason(error)}; the current state and all saved ones are unchanged`);
    return 1;
  }
  const now = readVersions();
  const isOlder = migrating.some(({ name, version }) => now[name] !== version);
  say(isOlder ? "start the image that this state is from: this one would update it again" : "start the stack now: docker compose up -d");
  return 0;
}
