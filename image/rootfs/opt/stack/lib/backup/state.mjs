// Defines the state on the volume: its folders, what is excluded, and the versions that opened it last.
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { replaceFile } from "../common.mjs";
import { among } from "./paths.mjs";
import { read, readTable } from "../settings/read.mjs";

export const DATA = "/data";
/** The states saved before updates, and the record of versions. */
export const KEPT = `${DATA}/kept`;
export const RECORD = `${KEPT}/versions.json`;
/** Temporary folders of a backup and of a restore. */
export const SCRATCH = ".backup-";
export const STAGE = ".restore";

export const table = readTable();
const { folders, services, settings } = table;
/** Excluded from all backups. /data/home was the shared home in earlier releases. */
const CACHES = [...services.flatMap((service) => service.caches), "home/.cache", "home/.npm", "home/.bun"];
const MODELS = services.flatMap((service) => service.models);

/** Services whose state a newer version migrates irreversibly. */
export const migrating = services.filter((service) => service.migrates.length > 0);

/** The roots of a full backup, as paths below DATA, and what to exclude below them (`without`). */
export function whole(withModels) {
  const roots = folders.filter((name) => name !== "logs");
  return withModels ? { roots, without: CACHES } : { roots: roots.filter((root) => !MODELS.includes(root)), without: [...CACHES, ...MODELS] };
}

/** The same for the state that some services migrate in an update. */
export function migratingOnly(some) {
  return { roots: some.flatMap((service) => service.migrates), without: [...CACHES, ...MODELS, ...some.flatMap((service) => service.apart)] };
}

/** The real place of a path of a backup: a setting may move a folder. */
export function place(path) {
  const [folder, ...rest] = path.split("/");
  const usual = `${DATA}/${folder}`;
  const moved = settings.find((setting) => setting.form === "path" && setting.default === usual);
  return [(process.env[moved?.name] || usual).replace(/(?<=.)\/+$/, ""), ...rest].join("/");
}

/** Mount points of this container. `mountinfo` writes a space as \040. */
export function mounts() {
  const points = readFileSync("/proc/self/mountinfo", "utf8").split("\n").filter(Boolean).map((line) => line.split(" ")[4]);
  return new Set(points.map((path) => path.replace(/\\(\d{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8)))));
}

/**
 * Yields everything below a root, folders before their contents: `name` (in a backup), `path`, and `stat`. Follows no
 * links. `report(path, why)` reports what is left out for other reasons than `without`.
 */
export function* walk({ root, path, without, mounted, report = () => {} }) {
  const left = among([...without, `${root}/${STAGE}`]);
  function* visit(name, real) {
    const stat = attempt(() => lstatSync(real), real, report);
    if (!stat || left.has(name)) return;
    if (name !== root && mounted.includes(real)) return report(real, "it is a separate mount");
    if (real.includes("\ufffd")) return report(real, "its name is not UTF-8");
    yield { name, path: real, stat };
    if (!stat.isDirectory()) return;
    for (const child of (attempt(() => readdirSync(real), real, report) ?? []).sort()) yield* visit(`${name}/${child}`, `${real}/${child}`);
  }
  yield* visit(root, path);
}

/** Returns undefined if the file is gone, or if it may not be read, which is reported. */
export function attempt(action, path, report) {
  try {
    return action();
  } catch (error) {
    if (error.code === "EACCES" || error.code === "EPERM") report(path, "it may not be read");
    // ELOOP, ENXIO, ENOTDIR: it was replaced by another kind of file.
    else if (!["ENOENT", "ELOOP", "ENXIO", "ENOTDIR"].includes(error.code)) throw error;
    return undefined;
  }
}

/** The services whose state a backup contains completely. */
export const servicesOf = ({ roots }) => migrating.filter(({ migrates }) => migrates.every((path) => roots.some((root) => path === root || path.startsWith(`${root}/`))));

/** The size of all files of a selection. */
export function measure({ roots, without }) {
  let bytes = 0;
  const mounted = [...mounts()];
  for (const root of roots) {
    for (const { stat } of walk({ root, path: place(root), without, mounted })) bytes += stat.isFile() ? stat.size : 0;
  }
  return bytes;
}

/** The version that opened each service's state last. Earlier releases recorded only Convex's, next to its data. */
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
  // Earlier releases look here.
  if (versions.convex && existsSync(place("convex"))) keepFile(join(place("convex"), "backend-version"), `${versions.convex}\n`);
}
