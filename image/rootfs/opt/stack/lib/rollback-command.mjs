// rollback [NAME | --list]: see bin/rollback and update.mjs.
import { createReadStream } from "node:fs";
import { commit, discard, finish, servicesOf, stage } from "./restore.mjs";
import { migrating, readVersions } from "./state.mjs";
import { choose, keep, keptStates } from "./update.mjs";

const say = (line) => console.error(`[rollback] ${line}`);
const [asked] = process.argv.slice(2);
const told = (versions) => Object.entries(versions).map(([name, version]) => `${name} ${version ?? "of an unknown version"}`).join(", ");
const states = await keptStates();

if (asked === "--list") {
  for (const { name, head } of states) console.log(`${name}  ${told(Object.fromEntries(servicesOf(head).map((service) => [service.name, head.versions[service.name]])))}`);
  if (states.length === 0) say("nothing is kept: no update has changed the state of a service");
} else {
  process.exitCode = await rollBack();
}

async function rollBack() {
  const ours = Object.fromEntries(migrating.map(({ name, version }) => [name, version]));
  const state = asked ? states.find(({ name }) => name === asked) : choose(states, readVersions(), ours);
  if (!state) {
    say(asked ? `nothing is kept under the name ${asked}; \`rollback --list\` shows what is` : "nothing is kept that this image could open; `rollback --list` shows what is");
    return 1;
  }
  let isCommitted = false;
  process.on("exit", () => isCommitted || discard());
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.on(signal, () => isCommitted || process.exit(1));
  try {
    const head = await stage(createReadStream(state.path), say);
    const services = servicesOf(head);
    say(`bringing back ${state.name}: ${told(Object.fromEntries(services.map(({ name }) => [name, head.versions[name]])))}`);
    // Also what is there now, so that a second thought is possible.
    await keep(services, say);
    commit(head);
    isCommitted = true;
    finish();
    const newer = services.some(({ name, version }) => head.versions[name] !== version);
    say(newer ? "done. Start the image that this state is of: this one would update it again" : "done. Start the stack now: docker compose up -d");
    return 0;
  } catch (error) {
    say(`nothing was changed: ${error.message}`);
    return 1;
  }
}
