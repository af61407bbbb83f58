// rollback [NAME | --list]: see bin/rollback and update.mjs.
import { createReadStream } from "node:fs";
import { reason } from "../common.mjs";
import { commit, discard, finish, stage } from "./restore.mjs";
import { migrating, readVersions, servicesOf } from "./state.mjs";
import { keep, keptStates } from "./update.mjs";
import { choose } from "./versions.mjs";

const say = (line) => console.error(`[rollback] ${line}`);
const [asked] = process.argv.slice(2);
const told = (versions) => Object.entries(versions).map(([name, version]) => `${name} ${version ?? "of an unknown version"}`).join(", ");
const states = await keptStates();

if (asked === "--list") {
  for (const { name, head } of states) console.log(`${name}  ${told(head.versions)}`);
  if (states.length === 0) say("nothing was saved: no update has changed the state of a service");
} else {
  process.exitCode = await rollBack();
}

async function rollBack() {
  const ours = Object.fromEntries(migrating.map(({ name, version }) => [name, version]));
  const chosen = asked ? states.filter(({ name }) => name === asked) : choose(states, readVersions(), ours);
  if (chosen.length === 0) {
    say(`nothing was saved ${asked ? `under the name ${asked}` : "that this image could open"}; \`rollback --list\` shows what is`);
    return 1;
  }
  // From the journal on, nothing may end it.
  let isCommitted = false;
  process.on("exit", () => isCommitted || discard());
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.on(signal, () => isCommitted || process.exit(1));
  try {
    // Also what is there now, so that a second thought is possible.
    await keep(migrating.filter(({ name }) => chosen.some(({ head }) => name in head.versions)), say);
    for (const { name, path } of chosen) {
      const head = await stage(createReadStream(path), say);
      commit(head);
      isCommitted = true;
      finish();
      isCommitted = false;
      say(`restored ${name}: ${told(head.versions)}`);
    }
  } catch (error) {
    say(`not done: ${reason(error)}; the current state and all saved ones are unchanged`);
    return 1;
  }
  const now = readVersions();
  const isOlder = migrating.some(({ name, version }) => now[name] !== version);
  say(isOlder ? "start the image that this state is of: this one would update it again" : "start the stack now: docker compose up -d");
  return 0;
}
