// Compares what was installed in the current folder with its lockfile: check-lockfile.mjs npm|pnpm ARCH [--prod] [IMPORTER...]
//
// npm and pnpm go on, and end with 0, when the download of an optional package fails: without it, a native module of
// this very architecture is not there. ARCH is amd64, arm64 or `native`; an IMPORTER is a folder of pnpm's workspace.
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
// An optional package that asks for another Node.js is left out, too.
const onPlatform = (entry) => fits(entry, platform) && !(entry.optional && entry.engines?.node && !satisfies(entry.engines.node));

const TOLD = 20;
const wrong = [];
if (manager === "npm") {
  const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
  for (const path of wantedNpm(packages, onPlatform, prod)) {
    const found = installedNpm(path);
    if (found !== packages[path].version) wrong.push(`${path} ${packages[path].version} ${told(found)}`);
  }
} else if (manager === "pnpm") {
  const installed = installedPnpm("node_modules/.pnpm");
  for (const id of wantedPnpm(readFileSync("pnpm-lock.yaml", "utf8"), onPlatform, prod, importers)) {
    if (!installed.has(id)) wrong.push(`${id} is not installed`);
  }
} else {
  throw new Error(`unknown package manager ${manager}`);
}

function told(found) {
  return found === undefined ? "is not installed" : `is installed as ${found}`;
}

// By the semver of the npm that comes with this Node.js.
function satisfies(range) {
  const npm = realpathSync(join(dirname(process.execPath), "../lib/node_modules/npm/package.json"));
  return createRequire(npm)("semver").satisfies(process.version, range);
}

if (wrong.length > 0) {
  const lines = wrong.slice(0, TOLD).map((line) => `  ${line}`);
  if (wrong.length > TOLD) lines.push(`  and ${wrong.length - TOLD} more`);
  const lockfile = manager === "npm" ? "package-lock.json" : "pnpm-lock.yaml";
  console.error(`what ${manager} installed for ${cpu} is not what ${lockfile} holds:\n${lines.join("\n")}`);
  process.exit(1);
}
