// The packages of a package-lock.json (lockfileVersion 3) that npm must install: all that are reachable from the root
// through packages for the platform.
import { readFileSync } from "node:fs";
import { join } from "node:path";

// The paths of the packages that must be installed.
export function wantedNpm(packages, onPlatform, prod) {
  const wanted = new Set();
  const queue = [["", { ...packages[""]?.dependencies, ...packages[""]?.optionalDependencies, ...packages[""]?.peerDependencies, ...(prod ? {} : packages[""]?.devDependencies) }]];
  while (queue.length > 0) {
    const [from, dependencies] = queue.pop();
    for (const name of Object.keys(dependencies)) {
      const path = resolve(packages, name, from);
      if (path === undefined || wanted.has(path)) continue;
      const entry = packages[path];
      // Links are folders of the workspace, and bundled packages are part of another one's tarball.
      if (entry.link || entry.inBundle || !onPlatform(entry)) continue;
      wanted.add(path);
      const optionalPeers = entry.peerDependenciesMeta ?? {};
      const peers = Object.keys(entry.peerDependencies ?? {}).filter((peer) => !optionalPeers[peer]?.optional);
      queue.push([path, { ...entry.dependencies, ...entry.optionalDependencies, ...Object.fromEntries(peers.map((peer) => [peer, ""])) }]);
    }
  }
  return [...wanted].sort();
}

// The path of a package as Node.js resolves it: from the innermost folder outwards.
export function resolve(packages, name, from) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))) {
    const path = folder === "" ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (path in packages) return path;
    if (folder === "") return undefined;
  }
}

// The version installed at a path.
export function installedNpm(path) {
  try {
    return JSON.parse(readFileSync(join(path, "package.json"), "utf8")).version;
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  }
}
