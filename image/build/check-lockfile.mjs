// Compares the packages installed in the current folder with its lockfile: check-lockfile.mjs npm|pnpm ARCH [--prod]
// [IMPORTER...]
//
// npm and pnpm succeed if the download of an optional package fails, such as the native module of this architecture.
// ARCH is as in platform.mjs; an IMPORTER is a folder of pnpm's workspace.
import { readFileSync } from "node:fs";
import { installedNpm, wantedNpm } from "./npm-lock.mjs";
import { isFor } from "./platform.mjs";
import { installedPnpm, wantedPnpm } from "./pnpm-lock.mjs";

const [manager, arch, ...rest] = process.argv.slice(2);
const onPlatform = isFor(arch);
const prod = rest.includes("--prod");
const importers = rest.filter((word) => word !== "--prod");

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

if (wrong.length > 0) {
  const lines = wrong.slice(0, MOST_LINES).map((line) => `  ${line}`);
  if (wrong.length > MOST_LINES) lines.push(`  and ${wrong.length - MOST_LINES} more`);
  const lockfile = manager === "npm" ? "package-lock.json" : "pnpm-lock.yaml";
  console.error(`the packages that ${manager} installed for ${arch} differ from ${lockfile}:\n${lines.join("\n")}`);
  process.exit(1);
}
