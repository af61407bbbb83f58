// Restarts services that hang. The supervisor only notices programs that exit.
import { statSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../common.mjs";
import { RUNTIME } from "../settings/read.mjs";

/** Seconds between checks, and the limit of one. Checks are counted rather than seconds, because a machine may sleep. */
const INTERVAL = 10;
/** A start may take this many times longer than the table says before it counts as hanging, as machines differ. */
const SLOW_START = 3;

/**
 * Updates what is known of a service after a check. `seen` has the times of its state files (0 if missing) and why it
 * does not answer. `hung` is the reason once that lasted too long. A service that waits or changes its note does not
 * hang.
 */
export function judge(service, before, seen) {
  const isFresh = !before || before.begun !== seen.begun || before.ready !== seen.ready;
  const news = isFresh || (!seen.ready && before.note !== seen.note);
  const looks = !seen.begun || news || (seen.ready && !seen.silence) ? 0 : before.looks + 1;
  const seconds = looks * INTERVAL;
  if (seen.ready) return { ...seen, looks, hung: seconds >= service.hungAfter && `${seen.silence}, for ${seconds} s` };
  return { ...seen, looks, hung: seconds >= SLOW_START * service.readyWithin && `not ready after ${seconds} s` };
}

const moment = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

async function look(service, silenceOf) {
  const state = `${RUNTIME}/state/${service.name}`;
  const [begun, ready, note] = ["begun", "ready", "note"].map((mark) => moment(`${state}/${mark}`));
  return { begun, ready, note, silence: begun && ready ? await silenceOf(service, INTERVAL) : "" };
}

/** Kills a service. Its supervisor may have been stopped too, and must continue to notice the exit. */
async function restart(service, why) {
  console.log(`${service.name} hangs: ${why}; it is restarted`);
  writeFileSync(`${RUNTIME}/state/${service.name}/why`, `${why}\n`);
  await run("pkill", ["-CONT", "-x", "s6-supervise"]).catch(() => {});
  await run("s6-svc", ["-k", `${RUNTIME}/scan/${service.name}`]);
}

/** Checks all services until the process ends. `silenceOf(service, seconds)` returns why one does not answer, or "". */
export async function watch(services, silenceOf) {
  const known = new Map();
  for (;;) {
    const begun = performance.now();
    const [seen] = await Promise.all([Promise.all(services.map((service) => look(service, silenceOf))), sleep(INTERVAL * 1000)]);
    // If even our own timers are late, the machine is too busy to judge.
    if (performance.now() - begun > 2 * INTERVAL * 1000) continue;
    for (const [index, service] of services.entries()) {
      const now = judge(service, known.get(service.name), seen[index]);
      if (!now.hung) known.set(service.name, now);
      // Forget it, so that a busy machine that takes long to end it does not restart it twice.
      else if (known.delete(service.name)) await restart(service, now.hung).catch((error) => console.error(`${service.name} cannot be restarted: ${error.message}`));
    }
  }
}
