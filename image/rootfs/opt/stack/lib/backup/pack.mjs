// Writes one root of a backup to stdout as entries of a tar archive, and reports to descriptor 3 as lines of JSON. It
// runs in a sandbox with this root and a scratch folder only, so that links planted by agents cannot lead elsewhere.
import { createHash } from "node:crypto";
import { closeSync, constants, createWriteStream, fstatSync, openSync, readSync, readlinkSync, rmSync, writeSync } from "node:fs";
import { once } from "node:events";
import { DatabaseSync, backup } from "node:sqlite";
import { attempt, walk } from "./state.mjs";
import { header, padding } from "./tar.mjs";

const { root, path, without, mounted, scratch } = JSON.parse(process.argv[2]);
const HEAD = Buffer.from("SQLite format 3\0");
/** Files up to this size are read again if they changed meanwhile. */
const AT_ONCE = 16 * 2 ** 20;
const TRIES = 3;

const send = (line) => writeSync(3, `${JSON.stringify(line)}\n`);
const leftOut = (file, why) => send({ left: file, why });
const output = createWriteStream(null, { fd: 1 });

async function put(chunk) {
  if (!output.write(chunk)) await once(output, "drain");
}

/** Opens a file without following a link and without blocking on a special file. */
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

/** Makes a consistent copy of a database, even while it is written. Undefined if the file is not a database. */
async function snapshot(file, number) {
  const copy = `${scratch}/${number}`;
  try {
    const database = new DatabaseSync(file, { timeout: 20_000 });
    try {
      // All pages in one step: a write between two steps would restart the copy.
      await backup(database, copy, { rate: 2 ** 30 });
    } finally {
      database.close();
    }
    return copy;
  } catch (error) {
    rmSync(copy, { force: true });
    // SQLITE_CORRUPT and SQLITE_NOTADB: perhaps a test file of a project. Copy it as a plain file.
    if ([11, 26].includes(error.errcode & 0xff)) return undefined;
    throw new Error(`${file}: ${error.message}`, { cause: error });
  }
}

/** Reads a small file, again if it changes meanwhile. Returns the last result. */
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

async function emit(entry, file, descriptor) {
  const { size } = fstatSync(descriptor);
  const digest = createHash("sha256");
  if (size <= AT_ONCE) {
    const content = readStill(descriptor);
    digest.update(content);
    await put(header({ ...entry, size: content.length }));
    await put(content);
    await put(padding(content.length));
  } else {
    await put(header({ ...entry, size }));
    let isShorter = false;
    for (let at = 0; at < size; ) {
      const chunk = Buffer.alloc(Math.min(2 ** 20, size - at));
      const got = isShorter ? 0 : readSync(descriptor, chunk, 0, chunk.length, at);
      if (got === 0 && !isShorter) {
        // The header with the length is already written, so fill up with zeros.
        leftOut(file, `it became shorter while it was read; its last ${size - at} bytes are zeros`);
        isShorter = true;
      }
      const part = isShorter ? chunk : chunk.subarray(0, got);
      digest.update(part);
      await put(part);
      at += part.length;
    }
    await put(padding(size));
  }
  send({ sum: [entry.name, digest.digest("hex")] });
}

// Copy databases first: files that their rows refer to exist by then, and are read afterwards.
const entries = (report) => walk({ root, path, without, mounted, report });
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
    await emit(entry, file, descriptor);
    closeSync(descriptor);
    if (copy) rmSync(copy);
  }
}
send({ databases: databases.size });
output.end();
