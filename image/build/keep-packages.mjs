// Deletes packages that the named ones do not need: keep-packages.mjs NODE_MODULES NAME... Uses the lockfile inside
// NODE_MODULES. A named package that is not installed is an error.
import { existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { resolve } from "./npm-lock.mjs";

const [root, ...names] = process.argv.slice(2);
const { packages } = JSON.parse(readFileSync(join(root, ".package-lock.json"), "utf8"));

const kept = new Set();
const queue = names.map((name) => {
  const path = resolve(packages, name, "");
  if (!path) throw new Error(`${name} is not installed`);
  return path;
});
while (queue.length > 0) {
  const path = queue.pop();
  if (kept.has(path)) continue;
  kept.add(path);
  const { dependencies = {}, optionalDependencies = {}, peerDependencies = {} } = packages[path];
  for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
    const needed = resolve(packages, name, path);
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
// Remove scopes that are empty now.
for (const entry of readdirSync(root)) {
  if (entry.startsWith("@") && readdirSync(join(root, entry)).length === 0) rmSync(join(root, entry), { recursive: true });
}
rmSync(join(root, ".bin"), { recursive: true, force: true });
rmSync(join(root, ".package-lock.json"));
