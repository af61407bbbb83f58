// Deletes from a node_modules what the named packages do not need: keep-packages.mjs NODE_MODULES NAME...
//
// Works on the lockfile that npm leaves inside; a package that is named but not installed is an error.
import { existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const [root, ...names] = process.argv.slice(2);
const { packages } = JSON.parse(readFileSync(join(root, ".package-lock.json"), "utf8"));

// Node's own resolution: from the innermost folder outwards.
function find(name, from) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))) {
    const path = folder === "" ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (path in packages) return path;
    if (folder === "") return undefined;
  }
}

const kept = new Set();
const queue = names.map((name) => {
  const path = find(name, "");
  if (!path) throw new Error(`${name} is not installed`);
  return path;
});
while (queue.length > 0) {
  const path = queue.pop();
  if (kept.has(path)) continue;
  kept.add(path);
  const { dependencies = {}, optionalDependencies = {}, peerDependencies = {} } = packages[path];
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
    const needed = find(name, path);
    if (needed) queue.push(needed);
    else if (name in dependencies) throw new Error(`${path} needs ${name}, which is not installed`);
  }
}
for (const path of Object.keys(packages)) {
  const nested = [...kept].some((other) => other.startsWith(`${path}/node_modules/`));
  if (path !== "" && !kept.has(path) && !nested && existsSync(join(root, "..", path))) {
    rmSync(join(root, "..", path), { recursive: true });
  }
}
// A scope whose last package went is an empty folder.
for (const entry of readdirSync(root)) {
  if (entry.startsWith("@") && readdirSync(join(root, entry)).length === 0) rmSync(join(root, entry), { recursive: true });
}
rmSync(join(root, ".bin"), { recursive: true, force: true });
rmSync(join(root, ".package-lock.json"));
