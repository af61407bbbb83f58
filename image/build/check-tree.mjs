// Refuses a tree that must not become a layer: check-tree.mjs ROOT ARCH [FILE...]
//
// - an ELF file for another machine than ARCH (amd64, arm64): an x64 binary in an arm64 image;
// - a top-level path that `COPY --link` would put in the place of a symlink or a special folder of the base;
// - a FILE that is missing.
import { closeSync, lstatSync, openSync, readSync, readdirSync } from "node:fs";
import { join } from "node:path";

const [root, arch, ...wanted] = process.argv.slice(2);
const machines = { amd64: 0x3e, arm64: 0xb7 }; // e_machine of the ELF specification
if (!(arch in machines)) throw new Error(`unknown architecture ${arch}`);
const wrong = [];

for (const path of ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "tmp", "run", "var/run", "var/lock"]) {
  if (exists(join(root, path))) wrong.push(`/${path} would replace what the base image has there`);
}
for (const path of wanted) {
  if (!exists(join(root, path))) wrong.push(`/${path} is missing`);
}

const header = Buffer.alloc(20);
const folders = [root];
while (folders.length > 0) {
  const folder = folders.pop();
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) folders.push(path);
    else if (entry.isFile()) checkMachine(path);
  }
}

function exists(path) {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}

function checkMachine(path) {
  const file = openSync(path, "r");
  const length = readSync(file, header, 0, 20, 0);
  closeSync(file);
  if (length < 20 || header.readUInt32BE(0) !== 0x7f454c46) return;
  const machine = header.readUInt16LE(18);
  if (machine !== machines[arch]) {
    wrong.push(`${path.slice(root.length)} is for machine 0x${machine.toString(16)}, not ${arch}`);
  }
}

if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
