// Replaces the state with a backup. The backup is first unpacked to the same file system (staged) and checked. Then a
// journal of renames is written. If the process dies before the journal is complete, the old state stays; afterwards,
// the next start finishes the renames.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, closeSync, constants, fchmodSync, futimesSync, lstatSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import zlib from "node:zlib";
import { diskOf, size } from "../common.mjs";
import { FORMAT, HEAD, SUMS, sumLine } from "./backup.mjs";
import { among, isPlain } from "./paths.mjs";
import { DATA, RECORD, STAGE, mounts, place, readVersions, servicesOf, table, keepFile } from "./state.mjs";
import { Invalid, read } from "./tar.mjs";
import { compare } from "./versions.mjs";

const JOURNAL = `${DATA}/${STAGE}/journal`;
const LARGEST_HEAD = 2 ** 20;
const NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

const there = (path) => lstatSync(path, { throwIfNoEntry: false });

/** Where a root is staged: on the same mount, so that it can be renamed. */
function stageOf(root, mounted = mounts()) {
  const real = place(root);
  const apart = !real.startsWith(`${DATA}/`) || mounted.has(real);
  return `${apart ? real : DATA}/${STAGE}`;
}

/** Returns the head of a backup if this image can restore it. `warn` gets warnings. */
function checkHead(text, warn) {
  let head;
  try {
    head = JSON.parse(text);
  } catch {
    throw new Invalid("its head is damaged");
  }
  if (head?.format !== FORMAT) throw new Invalid(`its format is ${head?.format}, but this image reads ${FORMAT}: restore it with the image that made it, or a newer one`);
  const paths = (list) => Array.isArray(list) && list.every((path) => typeof path === "string" && isPlain(path.replace(/\*$/, "")));
  if (!paths(head.roots) || !paths(head.without) || typeof (head.versions ?? 0) !== "object") throw new Invalid("its head is damaged");
  for (const root of head.roots) {
    if (!table.folders.includes(root.split("/")[0])) throw new Invalid(`it contains ${root}, which this image does not know: it is from another release`);
  }
  const newer = [];
  for (const service of servicesOf(head)) {
    const theirs = head.versions[service.name];
    if (!theirs) continue;
    const order = compare(theirs, service.version);
    if (order > 0) newer.push(`${service.name} ${theirs} (this image has ${service.version})`);
    if (order === undefined) warn(`it is from ${service.name} ${theirs}; whether ${service.version} is newer is unknown`);
  }
  if (newer.length > 0) throw new Invalid(`it is from a newer release: ${newer.join(", ")}. Restore it with that image`);
  return head;
}

/** Unpacks a backup into the stages of its roots and checks it completely. Returns its head. Changes nothing else. */
export async function stage(source, warn) {
  const files = new Map();
  const modes = [];
  const made = new Set();
  let head;
  let sums;
  const mounted = mounts();
  const staged = (name) => {
    const root = head.roots.find((it) => name === it || name.startsWith(`${it}/`));
    return root && `${stageOf(root, mounted)}/new/${name}`;
  };
  const take = async ({ name, type, size: bytes, mode, mtime, link, body }) => {
    if (!head) {
      if (name !== HEAD || bytes > LARGEST_HEAD) throw new Invalid("it was not made by `backup`");
      const text = await buffer(body);
      files.set(name, createHash("sha256").update(text).digest("hex"));
      head = checkHead(text.toString(), warn);
      const { free } = diskOf(DATA);
      if (free < head.bytes) throw new Error(`not enough space: ${size(head.bytes)} is needed in ${DATA}, ${size(free)} is free`);
      return;
    }
    if (sums) throw new Invalid("there is data after its end");
    if (name === SUMS) {
      sums = (await buffer(body)).toString();
      return;
    }
    const path = isPlain(name) ? staged(name) : undefined;
    if (!path) throw new Invalid(`${JSON.stringify(name)} in it is outside the folders that it lists`);
    if (head.roots.includes(name)) {
      if (type !== "folder") throw new Invalid(`${name} in it is not a folder`);
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    } else if (!made.has(dirname(path))) {
      throw new Invalid(`${JSON.stringify(name)} in it is not in any folder of it`);
    }
    if (type === "folder") {
      mkdirSync(path, { mode: 0o700 });
      made.add(path);
      modes.push([path, mode]);
    } else if (type === "link") {
      symlinkSync(link, path);
    } else {
      const digest = createHash("sha256");
      const descriptor = openSync(path, NEW, 0o600);
      try {
        for await (const part of body) {
          digest.update(part);
          writeFileSync(descriptor, part);
        }
        fchmodSync(descriptor, mode);
        futimesSync(descriptor, mtime, mtime);
      } finally {
        closeSync(descriptor);
      }
      files.set(name, digest.digest("hex"));
    }
  };
  try {
    await pipeline(source, zlib.createZstdDecompress(), async (bytes) => {
      for await (const entry of read(bytes)) await take(entry);
    });
  } catch (error) {
    if (/^Z(STD)?_|^ERR_ZSTD|^ZSTD_/.test(error.code ?? "")) throw new Invalid(head ? "it is damaged" : "it was not made by `backup`, or is damaged");
    if (error.code === "EEXIST") throw new Invalid("it contains a name twice");
    throw error;
  }
  if (!sums) throw new Invalid("its end is missing");
  // Compare as sets of lines, in the format of sha256sum.
  const lines = [...files].map(([name, digest]) => sumLine(name, digest));
  if (lines.sort().join("") !== sums.split(/(?<=\n)/).sort().join("")) throw new Invalid("its contents do not match its digests: it is damaged");
  for (const [path, mode] of modes.reverse()) chmodSync(path, mode | 0o700);
  return head;
}

/** The renames: `from` in a stage (or null) to `at`, after moving what exists there to `aside`. */
export function plan(head) {
  const moves = [];
  const left = among(head.without);
  const mounted = mounts();
  const keptBelow = (real) => [...mounted].some((point) => point.startsWith(`${real}/`));
  const list = (path) => (there(path)?.isDirectory() ? readdirSync(path) : []);
  for (const root of head.roots) {
    const stageFolder = stageOf(root, mounted);
    const visit = (name) => {
      const [at, from] = [place(name), `${stageFolder}/new/${name}`];
      if (left.has(name) || (name !== root && mounted.has(at))) return;
      // Visit the children if something below stays in place.
      if (name === root || ((left.below(name) || keptBelow(at)) && there(at)?.isDirectory())) {
        for (const child of new Set([...list(at), ...list(from)])) if (child !== STAGE) visit(`${name}/${child}`);
      } else {
        moves.push({ at, from: there(from) ? from : null, aside: `${stageFolder}/old-${moves.length}` });
      }
    };
    visit(root);
  }
  return moves;
}

/** Writes the journal. From here on the restore is decided, and `finish` completes it. */
export function commit(head) {
  const versions = { ...readVersions() };
  for (const { name } of servicesOf(head)) {
    if (head.versions[name]) versions[name] = head.versions[name];
    else delete versions[name];
  }
  const moves = plan(head);
  const record = `${DATA}/${STAGE}/versions.json`;
  mkdirSync(dirname(record), { recursive: true, mode: 0o700 });
  keepFile(record, `${JSON.stringify(versions, null, 2)}\n`);
  moves.push({ at: RECORD, from: record, aside: `${DATA}/${STAGE}/old-record` });
  sync(moves);
  keepFile(JOURNAL, JSON.stringify(moves));
  sync(moves);
}

/** Flushes the file systems involved. */
function sync(moves) {
  execFileSync("sync", ["--file-system", ...new Set(moves.map(({ aside }) => dirname(aside)))]);
}

/** Does the remaining renames of the journal, if there is one, and removes staged files. Returns whether there was one. */
export function finish() {
  const isDue = Boolean(there(JOURNAL));
  if (isDue) {
    const moves = JSON.parse(readFileSync(JOURNAL, "utf8"));
    for (const { at, from, aside } of moves) {
      if (from && !there(from)) continue;
      if (there(at)) {
        // If `aside` exists, the original was moved already, and this appeared later.
        if (there(aside)) rmSync(at, { recursive: true });
        else renameSync(at, aside);
      }
      if (!from) continue;
      mkdirSync(dirname(at), { recursive: true, mode: 0o700 });
      renameSync(from, at);
    }
    sync(moves);
    rmSync(JOURNAL);
  }
  discard();
  return isDue;
}

/** Removes staged files. */
export function discard() {
  const remove = (folder) => rmSync(folder, { recursive: true, force: true });
  for (const folder of new Set([...table.folders.map((folder) => stageOf(folder)), `${DATA}/${STAGE}`])) {
    try {
      remove(folder);
    } catch (error) {
      if (error.code !== "EACCES") throw error;
      // Parts of it are not readable for their owner.
      execFileSync("chmod", ["-R", "u+rwX", folder]);
      remove(folder);
    }
  }
}
