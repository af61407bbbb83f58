// Restarts services that run and answer no more. The supervisor sees a program that died; one that hangs is seen here.
import { statSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../common.mjs";
import { RUNTIME } from "../settings/read.mjs";

/** Seconds between two looks, and of one question. Looks are counted, not seconds: a machine that slept comes back with one. */
const INTERVAL = 10;
/** A start may take this many times what the table allows before it counts as hanging: machines differ. */
const SLOW_START = 3;

const fresh = (before, seen) => !before || ["begun", "ready"].some((mark) => before[mark] !== seen[mark]);

/**
 * What is known of a service after a look: `seen` has the moments of its marks (0 for none) and why it is silent.
 * `hung` says for how long it has been, once that is too long. It does not hang while it waits, or says something new.
 */
export function judge(service, before, seen) {
  const news = fresh(before, seen) || (!seen.ready && before.note !== seen.note);
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

/** Its supervisor may have been stopped as well, and then does not see the death. */
async function restart(service, why) {
  console.log(`${service.name} hangs: ${why}; it is restarted`);
  writeFileSync(`${RUNTIME}/state/${service.name}/why`, `${why}\n`);
  await run("pkill", ["-CONT", "-x", "s6-supervise"]).catch(() => {});
  await run("s6-svc", ["-k", `${RUNTIME}/scan/${service.name}`]);
}

/** Looks at all services for ever. `silenceOf(service, seconds)` gives why it does not answer, or "". */
export async function watch(services, silenceOf) {
  const known = new Map();
  for (;;) {
    const begun = performance.now();
    const [seen] = await Promise.all([Promise.all(services.map((service) => look(service, silenceOf))), sleep(INTERVAL * 1000)]);
    // Who waits so long for timers of its own is on a machine that is too busy to tell.
    if (performance.now() - begun > 2 * INTERVAL * 1000) continue;
    for (const [index, service] of services.entries()) {
      const now = judge(service, known.get(service.name), seen[index]);
      if (!now.hung) known.set(service.name, now);
      // A busy machine takes a while to end it: it is looked at anew, not restarted again.
      else if (known.delete(service.name)) await restart(service, now.hung).catch((error) => console.error(`${service.name} cannot be restarted: ${error.message}`));
    }
  }
}
