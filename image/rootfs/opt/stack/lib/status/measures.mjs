// Measures memory and processor of the container and its services.
import { readdirSync, readlinkSync } from "node:fs";
import { peek } from "../common.mjs";
import { RUNTIME } from "../settings/read.mjs";

const PAGE = 4096;

const number = (text) => (/^\d+$/.test(text.trim()) ? Number(text) : null);
const field = (text, name) => number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1] ?? "");

/** Memory of the container in bytes, without inactive file cache; `limit` is null without one. */
export function memory(readFile = peek) {
  const [v2, v1] = ["/sys/fs/cgroup", "/sys/fs/cgroup/memory"];
  const isV2 = readFile(`${v2}/memory.current`) !== "";
  const used = number(readFile(isV2 ? `${v2}/memory.current` : `${v1}/memory.usage_in_bytes`));
  if (used === null) return null;
  const statistics = readFile(isV2 ? `${v2}/memory.stat` : `${v1}/memory.stat`);
  const cached = field(statistics, isV2 ? "inactive_file" : "total_inactive_file") ?? 0;
  const limit = number(readFile(isV2 ? `${v2}/memory.max` : `${v1}/memory.limit_in_bytes`));
  const kills = field(readFile(isV2 ? `${v2}/memory.events` : `${v1}/memory.oom_control`), "oom_kill");
  // cgroup v1 has a huge number if there is no limit.
  return { used: used - cached, limit: limit !== null && limit < 2 ** 60 ? limit : null, kills: kills ?? 0 };
}

/** The service of a process: from its environment, or, as nginx overwrites that, from its working folder. */
function serviceOf(pid) {
  const marked = /(?:^|\0)STACK_SERVICE=([^\0]*)/.exec(peek(`/proc/${pid}/environ`))?.[1];
  if (marked !== undefined) return marked;
  try {
    const [folder, name] = readlinkSync(`/proc/${pid}/cwd`).split(/\/(?=[^/]*$)/);
    return folder === `${RUNTIME}/scan` ? name : undefined;
  } catch {
    return undefined;
  }
}

/** Resident bytes of each service's processes. */
export function memoryOfServices() {
  const bytes = {};
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    const name = serviceOf(pid);
    if (name === undefined) continue;
    // Pages shared by several processes count once for each.
    bytes[name] = (bytes[name] ?? 0) + Number(peek(`/proc/${pid}/statm`).split(" ")[1] ?? 0) * PAGE;
  }
  return bytes;
}

/** Whether an x86 processor lacks AVX2; null for others. */
export function lacksAvx2(architecture = process.arch, readFile = peek) {
  if (architecture !== "x64") return null;
  const flags = /^flags\s*:(.*)$/m.exec(readFile("/proc/cpuinfo"))?.[1];
  return flags === undefined ? null : !/ avx2( |$)/.test(flags);
}

/** A notice on a processor without AVX2, or null. */
export const oldProcessor = () =>
  lacksAvx2() ? "this processor lacks AVX2: llama.cpp is slow, and a program that ends with signal 4 (ILL) was built for a newer one" : null;
