// The packages of a pnpm-lock.yaml (lockfileVersion 9) that pnpm must install: all that are reachable from the
// importers through packages for the platform.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

// The packages that must be installed, as NAME@VERSION. No importer means all of them.
export function wantedPnpm(text, onPlatform, prod, importers) {
  const lock = parse(text);
  if (!String(lock.lockfileVersion).startsWith("9.")) throw new Error(`pnpm-lock.yaml has lockfileVersion ${lock.lockfileVersion}; only 9 is supported`);
  const fields = ["dependencies", "optionalDependencies", ...(prod ? [] : ["devDependencies"])];
  const wanted = new Set();
  const seen = new Set();
  const queue = [];
  const add = (name, version) => {
    if (version.startsWith("link:") || version.startsWith("file:")) return;
    // The version of an alias contains the real name.
    queue.push(`${name}@${version}` in (lock.snapshots ?? {}) ? `${name}@${version}` : version);
  };
  const folders = importers.length > 0 ? importers : Object.keys(lock.importers ?? {});
  for (const folder of folders) {
    const importer = lock.importers?.[folder];
    if (!importer) throw new Error(`pnpm-lock.yaml has no importer ${folder}`);
    for (const field of fields) {
      for (const [name, { version }] of Object.entries(importer[field] ?? {})) add(name, version);
    }
  }
  while (queue.length > 0) {
    const key = queue.pop();
    if (seen.has(key)) continue;
    seen.add(key);
    const snapshot = lock.snapshots?.[key];
    const id = key.split("(")[0];
    const entry = lock.packages?.[id];
    if (!snapshot || !entry) throw new Error(`pnpm-lock.yaml has no package ${key}`);
    if (!onPlatform({ ...entry, optional: snapshot.optional === "true" })) continue;
    wanted.add(id);
    for (const [name, version] of Object.entries({ ...snapshot.dependencies, ...snapshot.optionalDependencies })) add(name, version);
  }
  return [...wanted].sort();
}

// The packages in pnpm's virtual store, as NAME@VERSION.
export function installedPnpm(store) {
  const installed = new Set();
  const add = (folder) => {
    const file = join(folder, "package.json");
    if (!existsSync(file)) return;
    const { name, version } = JSON.parse(readFileSync(file, "utf8"));
    installed.add(`${name}@${version}`);
  };
  if (!existsSync(store)) return installed;
  for (const entry of readdirSync(store)) {
    const modules = join(store, entry, "node_modules");
    if (!existsSync(modules)) continue;
    for (const name of readdirSync(modules)) {
      if (!name.startsWith("@")) add(join(modules, name));
      else for (const scoped of readdirSync(join(modules, name))) add(join(modules, name, scoped));
    }
  }
  return installed;
}

// Parses the YAML that pnpm writes: maps by indentation, `{…}` and `[…]` on one line, plain and single-quoted words.
export function parse(text) {
  const root = {};
  const open = [{ indent: -1, map: root }];
  for (const line of text.split("\n")) {
    // Lists with an entry per line are peers and bundled packages, which are not needed here.
    if (line.trim() === "" || /^\s*(#|- )/.test(line) || line === "---") continue;
    const indent = line.length - line.trimStart().length;
    const found = /^('(?:[^']|'')+'|[^\s'][^:]*(?::[^\s:][^:]*)*):(?: (.*))?$/.exec(line.trim());
    if (!found) throw new Error(`pnpm-lock.yaml has a line of an unknown form: ${line.slice(0, 80)}`);
    while (open.at(-1).indent >= indent) open.pop();
    const { map } = open.at(-1);
    const key = word(found[1]);
    if (found[2] === undefined) {
      map[key] = {};
      open.push({ indent, map: map[key] });
    } else {
      map[key] = value(found[2]);
    }
  }
  return root;
}

function value(text) {
  if (text.startsWith("[") && text.endsWith("]")) return text.slice(1, -1).split(",").map((one) => word(one.trim())).filter((one) => one !== "");
  if (text.startsWith("{") && text.endsWith("}")) {
    const pairs = text.matchAll(/([\w-]+): ('(?:[^']|'')*'|[^,}]+)/g);
    return Object.fromEntries([...pairs].map(([, key, one]) => [key, word(one)]));
  }
  return word(text);
}

function word(text) {
  return text.startsWith("'") ? text.slice(1, -1).replaceAll("''", "'") : text;
}
