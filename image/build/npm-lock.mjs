// What npm has to install of a package-lock.json (lockfileVersion 3): all that can be reached from the top through
// packages which fit the platform. What only a package of another platform needs is not installed either.
import { readFileSync } from "node:fs";
import { join } from "node:path";

// npm's rule for `os`, `cpu` and `libc`: a list names what is allowed, `!` what is not; an empty one allows all.
export function fits(entry, platform) {
  return Object.entries(platform).every(([field, wanted]) => {
    const list = [entry[field] ?? []].flat();
    if (list.includes(`!${wanted}`)) return false;
    const allowed = list.filter((word) => !word.startsWith("!"));
    return allowed.length === 0 || allowed.includes(wanted) || allowed.includes("any");
  });
}

// The paths of the packages that must be there.
export function wantedNpm(packages, onPlatform, prod) {
  const wanted = new Set();
  const queue = [["", { ...packages[""]?.dependencies, ...packages[""]?.optionalDependencies, ...packages[""]?.peerDependencies, ...(prod ? {} : packages[""]?.devDependencies) }]];
  while (queue.length > 0) {
    const [from, dependencies] = queue.pop();
    for (const name of Object.keys(dependencies)) {
      const path = resolve(packages, name, from);
      if (path === undefined || wanted.has(path)) continue;
      const entry = packages[path];
      // A link is a folder of the workspace, and a bundled package comes inside of another one's tarball.
      if (entry.link || entry.inBundle || !onPlatform(entry)) continue;
      wanted.add(path);
      const optionalPeers = entry.peerDependenciesMeta ?? {};
      const peers = Object.keys(entry.peerDependencies ?? {}).filter((peer) => !optionalPeers[peer]?.optional);
      queue.push([path, { ...entry.dependencies, ...entry.optionalDependencies, ...Object.fromEntries(peers.map((peer) => [peer, ""])) }]);
    }
  }
  return [...wanted].sort();
}

// Node's own resolution: from the innermost folder outwards.
function resolve(packages, name, from) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf("/node_modules/")))) {
    const path = folder === "" ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (path in packages) return path;
    if (folder === "") return undefined;
  }
}

// The version that is installed at a path.
export function installedNpm(path) {
  try {
    return JSON.parse(readFileSync(join(path, "package.json"), "utf8")).version;
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  }
}
