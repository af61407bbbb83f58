// What of the volume is state: which folders, what in them is left out, and which versions opened it last.
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../common.mjs";
import { among } from "./paths.mjs";
import { read, readTable } from "../settings/read.mjs";

export const DATA = "/data";
/** What was kept before updates, and the record of versions. */
export const KEPT = `${DATA}/kept`;
export const RECORD = `${KEPT}/versions.json`;
/** Folders of a backup and of a restore that are under way. */
export const SCRATCH = ".backup-";
export const STAGE = ".restore";

export const table = readTable();
const { folders, services, settings } = table;
/** What no backup holds. The homes of all services were once one. */
const CACHES = [...services.flatMap((service) => service.caches), "home/.cache", "home/.npm", "home/.bun"];
const MODELS = services.flatMap((service) => service.models);

/** Services whose state a newer version changes for good. */
export const migrating = services.filter((service) => service.migrates.length > 0);

/** The roots of a whole backup, as paths below DATA, and what is left out below them. */
export function whole(withModels) {
  const roots = folders.filter((name) => name !== "logs");
  return withModels ? { roots, without: CACHES } : { roots: roots.filter((root) => !MODELS.includes(root)), without: [...CACHES, ...MODELS] };
}

/** Those of a backup of what some services change when they are updated. */
export function migratingOnly(some) {
  return { roots: some.flatMap((service) => service.migrates), without: [...CACHES, ...MODELS, ...some.flatMap((service) => service.apart)] };
}

/** Where a path of a backup really is: a setting may move a folder. */
export function place(path) {
  const [folder, ...rest] = path.split("/");
  const usual = `${DATA}/${folder}`;
  const moved = settings.find((setting) => setting.form === "path" && setting.default === usual);
  return [(process.env[moved?.name] || usual).replace(/(?<=.)\/+$/, ""), ...rest].join("/");
}

/** Mount points of this container; `mountinfo` writes a space as \040. */
export function mounts() {
  const points = readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter(Boolean).map((line) => line.split(" ")[4]);
  return new Set(points.map((path) => path.replace(/\\(\d{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8)))));
}

/**
 * Gives all that lies below a root, folders before what is in them: `name` (in a backup), `path`, and `stat`. No link is
 * followed. `tell(path, why)` hears of what is left out though nothing says so.
 */
export function* walk({ root, path, without, mounted, tell = () => {} }) {
  const left = among([...without, `${root}/${STAGE}`]);
  function* visit(name, real) {
    const stat = attempt(() => lstatSync(real), real, tell);
    if (!stat || left.has(name)) return;
    if (name !== root && mounted.includes(real)) return tell(real, "it is a separate mount");
    if (real.includes("\ufffd")) return tell(real, "its name is not UTF-8");
    yield { name, path: real, stat };
    if (!stat.isDirectory()) return;
    for (const child of (attempt(() => readdirSync(real), real, tell) ?? []).sort()) yield* visit(`${name}/${child}`, `${real}/${child}`);
  }
  yield* visit(root, path);
}

/** Undefined when it is gone, or when it may not be read, which is told. */
export function attempt(action, path, tell) {
  try {
    return action();
  } catch (error) {
    if (error.code === "EACCES" || error.code === "EPERM") tell(path, "it may not be read");
    // ELOOP, ENXIO, ENOTDIR: another kind of file took its place.
    else if (!["ENOENT", "ELOOP", "ENXIO", "ENOTDIR"].includes(error.code)) throw error;
    return undefined;
  }
}

/** The services whose state a backup brings. */
export const servicesOf = ({ roots }) => migrating.filter(({ migrates }) => migrates.every((path) => roots.some((root) => path === root || path.startsWith(`${root}/`))));

/** The bytes of the files of a selection. */
export function measure({ roots, without }) {
  let bytes = 0;
  const mounted = [...mounts()];
  for (const root of roots) {
    for (const { stat } of walk({ root, path: place(root), without, mounted })) bytes += stat.isFile() ? stat.size : 0;
  }
  return bytes;
}

/** By service, the version that opened its state last. Former releases recorded Convex's only, beside its data. */
export function readVersions() {
  const recorded = JSON.parse(read(RECORD) ?? "{}");
  const convex = read(join(place("convex"), "backend-version"));
  return convex ? { ...recorded, convex } : recorded;
}

/** Replaces a file of the volume, and waits for the disk. The umask says whether the group may read it. */
export const keepFile = (path, text) => replaceFile(path, text, { mode: 0o660, flush: true });

export function writeVersions(versions) {
  mkdirSync(KEPT, { recursive: true, mode: 0o770 });
  keepFile(RECORD, `${JSON.stringify(versions, null, 2)}\n`);
  // A former release that is started on this volume looks here.
  if (versions.convex && existsSync(place("convex"))) keepFile(join(place("convex"), "backend-version"), `${versions.convex}\n`);
}
