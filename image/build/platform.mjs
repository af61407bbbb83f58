// Which packages a platform can use: amd64, arm64, `native` (this machine), or `any` for those that all can.
import { realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

// Node.js's and npm's names. No package is for a processor `none`.
const CPUS = { amd64: "x64", arm64: "arm64", native: process.arch, any: "none" };

export function cpuOf(arch) {
  if (!(arch in CPUS)) throw new Error(`unknown architecture ${arch}`);
  return CPUS[arch];
}

// A test of lockfile entries. Optional packages for another Node.js version are not installed either.
export function isFor(arch) {
  const platform = { os: "linux", cpu: cpuOf(arch), libc: "glibc" };
  return (entry) => fits(entry, platform) && !(entry.optional && entry.engines?.node && !satisfies(entry.engines.node));
}

// npm's rule for `os`, `cpu` and `libc`: lists contain allowed values, or with `!` forbidden ones; an empty list allows
// all.
export function fits(entry, platform) {
  return Object.entries(platform).every(([field, wanted]) => {
    const list = [entry[field] ?? []].flat();
    if (list.includes(`!${wanted}`)) return false;
    const allowed = list.filter((word) => !word.startsWith("!"));
    return allowed.length === 0 || allowed.includes(wanted) || allowed.includes("any");
  });
}

// With the semver package of Node.js's npm.
function satisfies(range) {
  const npm = realpathSync(join(dirname(process.execPath), "../lib/node_modules/npm/package.json"));
  return createRequire(npm)("semver").satisfies(process.version, range);
}
