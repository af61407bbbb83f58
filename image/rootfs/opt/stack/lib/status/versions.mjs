// Finds the versions that actually run: users may replace programs of the image, and a rehearsal uses stand-ins.
import { readFileSync, statSync } from "node:fs";
import { answerOf } from "../common.mjs";
import { secret } from "../settings/read.mjs";
import { askLlama } from "./llama.mjs";

/** Bytes: a stand-in names itself in its file; larger files are real programs. */
const LONGEST_STAND_IN = 1 << 20;

const get = (port, path, authorization) => answerOf(port, path, { authorization, seconds: 2 });
const ofPackage = (folder) => JSON.parse(readFileSync(`${folder}/package.json`, "utf8")).version;

/** How to get a program's version, where that is cheap. */
const versions = {
  convex: (settings) => get(settings.CONVEX_BACKEND_INNER_PORT, "/version"),
  llamacpp: async (settings) => JSON.parse(await askLlama(settings, "/props", 2)).build_info,
  manager: () => ofPackage("/opt/manager"),
  openclaw: () => ofPackage("/opt/openclaw/node_modules/openclaw"),
  opencode: async (settings) => {
    const password = Buffer.from(`opencode:${secret("OPENCODE_SERVER_PASSWORD")}`).toString("base64");
    return JSON.parse(await get(settings.OPENCODE_INNER_PORT, "/global/health", `Basic ${password}`)).version;
  },
};

/** Shortens a commit to its first digits. */
export const short = (version) => version?.replace(/\b([0-9a-f]{7})[0-9a-f]{33}\b/g, "$1") ?? null;

/** Whether a reported version matches the pin: v1.2.3 and 1.2.3, b11146 and b11146-0123abc; "unknown" matches all. */
export function fits(pinned, running) {
  const plain = (text) => text.replace(/^v/, "");
  return !running || running === "unknown" || plain(running) === plain(pinned) || plain(running).startsWith(`${plain(pinned)}-`);
}

const standIns = new Map();

function isStandIn(file) {
  if (!standIns.has(file)) {
    let found = false;
    try {
      found = statSync(file).size < LONGEST_STAND_IN && /stand-in|stands in for/i.test(readFileSync(file, "utf8"));
    } catch {
      // A missing file is reported by its service.
    }
    standIns.set(file, found);
  }
  return standIns.get(file);
}

/** Returns the running `version`, the image's `pinned` one, whether they differ (`replaced`), and `standIn`. */
export async function versionOf({ name, version: pinned, program }, isUp, settings) {
  const standIn = program !== null && isStandIn(program);
  let running;
  if (isUp && !standIn) running = await Promise.resolve(settings).then(versions[name] ?? (() => undefined)).catch(() => undefined);
  const replaced = pinned !== null && !fits(pinned, running);
  return { version: replaced ? running.trim().slice(0, 60) : short(pinned), pinned, replaced, standIn };
}
