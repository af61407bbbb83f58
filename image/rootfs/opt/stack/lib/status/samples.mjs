// Measurements that are too slow for every request: the status service takes them regularly and writes them to a file.
import { setTimeout as sleep } from "node:timers/promises";
import { readJson, run, writeJson } from "../common.mjs";
import { RUNTIME } from "../settings/read.mjs";
import { devices, numbers, speed } from "./llama.mjs";

const FILE = `${RUNTIME}/status/samples.json`;
const INTERVAL = 10_000;
/** Samples between two measurements of the folders, which read every file name. */
const FOLDERS_EVERY = 60;

/** Returns `devices`, `speed`, `folders` (bytes by name below /data) and `numbers`; each may be missing. */
export const readSamples = () => readJson(FILE) ?? {};

/** A notice if a GPU is required but missing, or null. */
export function missingGpu({ LLAMACPP_ENABLED, LLAMACPP_GPU_LAYERS: layers }, seen) {
  const wanted = LLAMACPP_ENABLED === "true" && layers !== "auto" && layers !== "0";
  if (!wanted || !seen || seen.length > 0) return null;
  return `LLAMACPP_GPU_LAYERS=${layers}, but llama.cpp sees no GPU: give the container one, and use a llama.cpp built for it`;
}

async function folders() {
  const { stdout } = await run("nice", ["-n", "19", "sh", "-c", "du -sxk /data/*/"], { timeout: 300_000 }).catch((error) => error);
  return Object.fromEntries([...(stdout ?? "").matchAll(/^(\d+)\t\/data\/([^/]+)\/$/gm)].map(([, size, name]) => [name, size * 1024]));
}

/** Takes samples until the process ends. */
export async function keepSamples(settings) {
  const kept = {};
  const isOn = settings.LLAMACPP_ENABLED === "true";
  if (isOn) kept.devices = await devices().catch(() => null);
  const trouble = missingGpu(settings, kept.devices);
  if (trouble) console.error(trouble);
  for (let look = 0; ; look += 1) {
    if (isOn) {
      // A busy or loading server may not answer: keep the previous numbers.
      kept.numbers = await numbers(settings).catch(() => kept.numbers);
      if (kept.numbers) kept.speed = speed(kept.speed, kept.numbers);
    }
    // Not in the first minute, while services start.
    if (look % FOLDERS_EVERY === 6) kept.folders = await folders();
    writeJson(FILE, kept);
    await sleep(INTERVAL);
  }
}
