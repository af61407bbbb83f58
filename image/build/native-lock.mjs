// Writes a lockfile of the packages in the current folder's lockfile that only ARCH needs into the folder OUT:
// native-lock.mjs ARCH OUT. Prints their names there and their paths here. They have aliases, because a path may be
// nested, and the same package may be at several.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { wantedNpm } from "./npm-lock.mjs";
import { isFor } from "./platform.mjs";

const [arch, out] = process.argv.slice(2);
const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8"));
const everywhere = new Set(wantedNpm(packages, isFor("any"), true));
const paths = wantedNpm(packages, isFor(arch), true).filter((path) => !everywhere.has(path));

const root = { name: "native-packages", version: "1.0.0", dependencies: {} };
const lock = { name: root.name, version: root.version, lockfileVersion: 3, requires: true, packages: { "": root } };
for (const [at, path] of paths.entries()) {
  const alias = `native-${at}`;
  const { name = path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length), version, resolved, integrity } = packages[path];
  root.dependencies[alias] = `npm:${name}@${version}`;
  lock.packages[`node_modules/${alias}`] = { name, version, resolved, integrity };
  console.log(`${alias}\t${path}`);
}
writeFileSync(join(out, "package.json"), JSON.stringify(root));
writeFileSync(join(out, "package-lock.json"), JSON.stringify(lock));
