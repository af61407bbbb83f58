// Detection of hung services.
import assert from "node:assert/strict";
import { test } from "node:test";
import { judge } from "../../../image/rootfs/opt/stack/lib/status/watch.mjs";

const service = { name: "a", hungAfter: 60, readyWithin: 30 };
const up = { begun: 1, ready: 2, note: 0, silence: "" };
const silent = { ...up, silence: "port 1 does not answer" };
const starting = { begun: 1, ready: 0, note: 0, silence: "" };

/** The index of the check that restarts it, or -1. */
function looks(...seen) {
  let known;
  return seen.flat().findIndex((now) => (known = judge(service, known, now)).hung);
}

const times = (count, seen) => Array(count).fill(seen);

for (const [what, expected, ...seen] of [
  ["answers", -1, times(50, up)],
  ["is silent for a minute", 7, times(2, up), times(20, silent)],
  ["is silent from the first check", 6, times(20, silent)],
  ["is silent for less than a minute, again and again", -1, times(9, [...times(5, silent), up]).flat()],
  ["is off, or waits", -1, times(50, { ...starting, begun: 0 })],
  ["takes three times as long to start as it should", 9, times(20, starting)],
  ["is ready just in time", -1, times(9, starting), times(20, up)],
  ["changes its note while it starts", -1, Array.from({ length: 50 }, (_, index) => ({ ...starting, note: index >> 2 }))],
  ["was restarted meanwhile", -1, times(6, silent), times(6, { ...silent, begun: 3, ready: 4 })],
]) {
  test(`a service that ${what}`, () => assert.equal(looks(...seen), expected));
}
