// Looks at Convex's data before a backend opens it: data of an older version is backed up first, data of a newer
// one is refused. The backend migrates what it opens, and no version goes back.
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fail } from "./fail.mjs";

const KEPT_BACKUPS = 3;
const folder = process.env.CONVEX_DATA_DIR;
const database = join(folder, "convex_local_backend.sqlite3");
const record = join(folder, "backend-version");
const backups = join(folder, "backups");
const { services } = JSON.parse(readFileSync("/opt/stack/services.json", "utf8"));
const ours = services.find(({ name }) => name === "convex").version;

// Releases sort by the day in their name: precompiled-2026-09-11-157eb19. Two of one day do not sort.
function day(version) {
  return /^precompiled-(\d{4}-\d{2}-\d{2})-/.exec(version)?.[1];
}

// How the data's version stands to ours: same, older, newer, or unknown.
function compare(theirs) {
  if (theirs === ours) return "same";
  const [a, b] = [day(theirs ?? ""), day(ours)];
  if (!a || !b || a === b) return "unknown";
  return a < b ? "older" : "newer";
}

function size(path) {
  return existsSync(path) ? statSync(path).size : 0;
}

// Stored files are never changed once written, so that the database alone is enough.
function backUp(theirs) {
  mkdirSync(backups, { recursive: true, mode: 0o700 });
  const needed = size(database) + size(`${database}-wal`);
  const { bavail, bsize } = statfsSync(backups);
  if (bavail * bsize < needed) {
    fail(`no room to back up the Convex database: ${Math.ceil(needed / 2 ** 20)} MiB are needed in ${backups}`);
  }
  const moment = new Date().toISOString().replace(/[-:]|\..*/g, "");
  const target = join(backups, `${moment}-${theirs ?? "unknown"}.sqlite3`);
  rmSync(`${target}.new`, { force: true });
  const source = new DatabaseSync(database);
  try {
    source.prepare("VACUUM INTO ?").run(`${target}.new`);
  } finally {
    source.close();
  }
  chmodSync(`${target}.new`, 0o600);
  renameSync(`${target}.new`, target);
  console.log(`backed up to ${target}`);
  const old = readdirSync(backups).filter((name) => name.endsWith(".sqlite3")).sort().slice(0, -KEPT_BACKUPS);
  for (const name of old) rmSync(join(backups, name));
}

mkdirSync(folder, { recursive: true });
const theirs = existsSync(record) ? readFileSync(record, "utf8").trim() : undefined;
if (existsSync(database)) {
  const order = compare(theirs);
  if (order === "newer" && process.env.CONVEX_ALLOW_DOWNGRADE_TO !== ours) {
    fail(
      `the data in ${folder} was last opened by Convex ${theirs}; this image has the older ${ours}, which may not understand it.\n` +
        `Start the newer image, or put a backup from ${backups} in the place of the database,\n` +
        `or set CONVEX_ALLOW_DOWNGRADE_TO=${ours} to try it all the same.`,
    );
  }
  if (order !== "same") {
    const known = theirs ? `Convex ${theirs}` : "a Convex of unknown version";
    console.log(`the data was last opened by ${known}; this is ${ours}`);
    try {
      backUp(theirs);
    } catch (error) {
      fail(`the Convex database could not be backed up, so the backend is not started: ${error.message}`);
    }
  }
}
if (theirs !== ours) {
  writeFileSync(`${record}.new`, `${ours}\n`);
  renameSync(`${record}.new`, record);
}
