// Checks a tree before it becomes a layer: check-tree.mjs ROOT ARCH [FILE...]. It fails on
//
// - an ELF file for another architecture than ARCH (amd64, arm64; `any`: an ELF file for one of them)
// - a top-level path that `COPY --link` would put in place of a symlink or special folder of the base
// - a missing FILE
// - a FILE, or a program or library next to it, that needs a library which is neither next to it nor in the base or
//   /debian: it would fail at its start, and this machine may not be able to run it
import { closeSync, lstatSync, openSync, readFileSync, readSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { ELF, neededLibraries } from "./elf.mjs";

const [root, arch, ...wanted] = process.argv.slice(2);
const machines = { amd64: 0x3e, arm64: 0xb7, any: undefined }; // e_machine of the ELF specification
if (!(arch in machines)) throw new Error(`unknown architecture ${arch}`);
const wrong = [];

for (const path of ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "tmp", "run", "var/run", "var/lock"]) {
  if (exists(join(root, path))) wrong.push(`/${path} would replace a path of the base image`);
}
for (const path of wanted) {
  if (!exists(join(root, path))) wrong.push(`/${path} is missing`);
}

const header = Buffer.alloc(20);
for (const path of filesBelow(root)) {
  const file = openSync(path, "r");
  const length = readSync(file, header);
  closeSync(file);
  if (length < header.length || header.readUInt32BE(0) !== ELF) continue;
  const machine = header.readUInt16LE(18);
  if (machine !== machines[arch]) {
    wrong.push(`${path.slice(root.length)} is for machine 0x${machine.toString(16)}, not ${arch}`);
  }
}

// The base of the build machine has the same libraries as the image, in the folder of its architecture.
const system = new Set(["/usr/lib", "/debian/usr/lib"].filter(exists).flatMap((folder) => filesBelow(folder).map((file) => basename(file))));
for (const folder of new Set(wanted.map((path) => dirname(join(root, path))).filter(exists))) {
  const names = readdirSync(folder);
  for (const name of names) {
    const path = join(folder, name);
    const needed = lstatSync(path).isFile() ? neededLibraries(readFileSync(path)) : [];
    // The loader is part of libc; its name depends on the architecture.
    const missing = needed.filter((library) => !system.has(library) && !names.includes(library) && !library.startsWith("ld-linux"));
    if (missing.length > 0) wrong.push(`${path.slice(root.length)} needs ${missing.join(", ")}, which the image does not have`);
  }
}

function exists(path) {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

// Includes links in system folders, because libraries are usually requested by the name of a link.
function filesBelow(top) {
  const files = [];
  const folders = [top];
  while (folders.length > 0) {
    const folder = folders.pop();
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) folders.push(path);
      else if (entry.isFile() || (top !== root && entry.isSymbolicLink())) files.push(path);
    }
  }
  return files;
}

if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
