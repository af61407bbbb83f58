// Compares the packages installed in the current folder with its lockfile: check-lockfile.mjs npm|pnpm ARCH [--prod]
// [IMPORTER...]
//
// npm and pnpm succeed if the download of an optional package fails, such as the native module of this architecture.
// ARCH is amd64, arm64 or `native`; an IMPORTER is a folder of pnpm's workspace.
import { readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fits, installedNpm, wantedNpm } from "./npm-lock.mjs";
import { installedPnpm, wantedPnpm } from "./pnpm-lock.mjs";

const [manager, arch, ...rest] = process.argv.slice(2);
const cpu = { amd64: "x64", arm64: "arm64", native: process.arch }[arch];
if (!cpu) throw new Error(`unknown architecture ${arch}`);
const prod = rest.includes("--prod");
const importers = rest.filter((word) => word !== "--prod");
const platform = { os: "linux", cpu, libc: "glibc" };
// Optional packages for another Node.js version are not installed either.
const onPlatform = (entry) => fits(entry, platform) && !(entry.optional && entry.engines?.node && !satisfies(entry.engines.node));

const MOST_LINES = 20;
const wrong = [];
if (manager === "npm") {
  const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
  for (const path of wantedNpm(packages, onPlatform, prod)) {
    const found = installedNpm(path);
    if (found !== packages[path].version) wrong.push(`${path} ${packages[path].version} ${found === undefined ? "is not installed" : `is installed as ${found}`}`);
  }
} else if (manager === "pnpm") {
  const installed = installedPnpm("node_modules/.pnpm");
  for (const id of wantedPnpm(readFileSync("pnpm-lock.yaml", "utf8"), onPlatform, prod, importers)) {
    if (!installed.has(id)) wrong.push(`${id} is not installed`);
  }
} else {
  throw new Error(`unknown package manager ${manager}`);
}

// With the semver package of Node.js's npm.
function satisfies(range) {
  const npm = realpathSync(join(dirname(process.execPath), "../lib/node_modules/npm/package.json"));
  return createRequire(npm)("semver").satisfies(process.version, range);
}

if (wrong.length > 0) {
  const lines = wrong.slice(0, MOST_LINES).map((line) => `  ${line}`);
  if (wrong.length > MOST_LINES) lines.push(`  and ${wrong.length - MOST_LINES} more`);
  const lockfile = manager === "npm" ? "package-lock.json" : "pnpm-lock.yaml";
  console.error(`the packages that ${manager} installed for ${cpu} differ from ${lockfile}:\n${lines.join("\n")}`);
  process.exit(1);
}
