// Writes one root of a backup to stdout, as entries of a tar archive, and what there is to tell of it to descriptor 3, a
// line of JSON each. It runs behind walls that hold this root and its scratch folder only: what agents left here, such
// as links that change while they are read, leads nowhere else.
import { createHash } from "node:crypto";
import { closeSync, constants, createWriteStream, fstatSync, openSync, readSync, readlinkSync, rmSync, writeSync } from "node:fs";
import { once } from "node:events";
import { DatabaseSync, backup } from "node:sqlite";
import { attempt, walk } from "./state.mjs";
import { header, padding } from "./tar.mjs";

const { root, path, without, mounted, scratch } = JSON.parse(process.argv[2]);
const HEAD = Buffer.from("SQLite format 3\0");
/** A file up to this size is read until it stood still meanwhile. */
const AT_ONCE = 16 * 2 ** 20;
const TRIES = 3;

const tell = (line) => writeSync(3, `${JSON.stringify(line)}\n`);
const leftOut = (file, why) => tell({ left: file, why });
const output = createWriteStream(null, { fd: 1 });

async function put(chunk) {
  if (!output.write(chunk)) await once(output, "drain");
}

/** What a special file would make wait, or a link lead astray, is not opened. */
function open(file, report = leftOut) {
  return attempt(() => openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK), file, report);
}

function isDatabase(file) {
  const descriptor = open(file, () => {});
  if (descriptor === undefined) return false;
  try {
    const head = Buffer.alloc(HEAD.length);
    return fstatSync(descriptor).isFile() && readSync(descriptor, head) === head.length && head.equals(HEAD);
  } finally {
    closeSync(descriptor);
  }
}

/** A copy of a database at one moment, whoever writes it meanwhile; undefined when it is none after all. */
async function snapshot(file, number) {
  const copy = `${scratch}/${number}`;
  try {
    const database = new DatabaseSync(file, { timeout: 20_000 });
    try {
      // All pages in one step: between two of them a writer would have it begin anew.
      await backup(database, copy, { rate: 2 ** 30 });
    } finally {
      database.close();
    }
    return copy;
  } catch (error) {
    rmSync(copy, { force: true });
    // SQLITE_CORRUPT and SQLITE_NOTADB: a file of somebody's project, perhaps; it is copied as it is.
    if ([11, 26].includes(error.errcode & 0xff)) return undefined;
    throw new Error(`${file}: ${error.message}`, { cause: error });
  }
}

const sha256 = () => createHash("sha256");

/** The whole of a small file that did not change while it was read, or its last reading. */
function readStill(descriptor) {
  for (let tries = 1; ; tries += 1) {
    const before = fstatSync(descriptor);
    const content = Buffer.alloc(before.size);
    let length = 0;
    for (let got; length < content.length; length += got) {
      got = readSync(descriptor, content, length, content.length - length, length);
      if (got === 0) break;
    }
    const after = fstatSync(descriptor);
    if ((after.mtimeMs === before.mtimeMs && after.size === before.size) || tries === TRIES) return content.subarray(0, length);
  }
}

async function emit(name, file, descriptor, stat = fstatSync(descriptor)) {
  const { size } = fstatSync(descriptor);
  const digest = sha256();
  const entry = { name, mode: stat.mode & 0o777, mtime: stat.mtimeMs / 1000 };
  if (size <= AT_ONCE) {
    const content = readStill(descriptor);
    digest.update(content);
    await put(header({ ...entry, size: content.length }));
    await put(content);
    await put(padding(content.length));
  } else {
    await put(header({ ...entry, size }));
    for (let at = 0; at < size; ) {
      const chunk = Buffer.alloc(Math.min(2 ** 20, size - at));
      const got = readSync(descriptor, chunk, 0, chunk.length, at);
      // What is no longer there is zeros: its length stands in the archive already.
      if (got === 0) leftOut(file, `it became shorter while it was read, and ends in ${size - at} zeros`);
      const part = got === 0 ? Buffer.alloc(Math.min(2 ** 20, size - at)) : chunk.subarray(0, got);
      digest.update(part);
      await put(part);
      at += part.length;
    }
    await put(padding(size));
  }
  tell({ sum: [name, digest.digest("hex")] });
}

// Databases first: what their rows name is written before them, so that it is there when the files are read.
const entries = (report) => walk({ root, path, without, mounted, tell: report });
const databases = new Map();
for (const { name, path: file, stat } of entries(() => {})) {
  if (!stat.isFile() || stat.size === 0 || !isDatabase(file)) continue;
  const copy = await snapshot(file, databases.size);
  if (copy) databases.set(name, copy);
}
const beside = /-(wal|shm|journal)$/;
for (const { name, path: file, stat } of entries(leftOut)) {
  const entry = { name, mode: stat.mode & 0o777, mtime: stat.mtimeMs / 1000 };
  if (stat.isDirectory()) {
    await put(header({ ...entry, type: "folder" }));
  } else if (stat.isSymbolicLink()) {
    const link = attempt(() => readlinkSync(file), file, leftOut);
    if (link) await put(header({ ...entry, type: "link", link }));
  } else if (stat.isFile() && !(beside.test(name) && databases.has(name.replace(beside, "")))) {
    const copy = databases.get(name);
    const descriptor = open(copy ?? file);
    if (descriptor === undefined) continue;
    await emit(name, file, descriptor, stat);
    closeSync(descriptor);
    if (copy) rmSync(copy);
  }
}
tell({ databases: databases.size });
output.end();
