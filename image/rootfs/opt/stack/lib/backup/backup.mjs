// Makes backups: of all state (`backup`), and of what an update changes (update.mjs).
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream, existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { pipeline } from "node:stream/promises";
import zlib from "node:zlib";
import { DATA, SCRATCH, measure, mounts, place, readVersions, servicesOf } from "./state.mjs";
import { END, header, padding } from "./tar.mjs";

export const HEAD = "stack-backup.json";
export const SUMS = "SHA256SUMS";
export const FORMAT = 1;
export const ENDING = ".tar.zst";

/** 20261125T134500.123Z: states that are kept within one second stay apart. */
export const moment = () => new Date().toISOString().replace(/[-:]/g, "");

/** As sha256sum writes it: a name with a line break or a backslash is escaped. */
export function sumLine(name, digest) {
  const escaped = name.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r");
  return `${escaped === name ? "" : "\\"}${digest}  ${escaped}\n`;
}

/** Writes a backup of a selection to a stream; gives what it holds. */
export async function writeBackup(output, { roots, without }) {
  const scratch = mkdtempSync(`${DATA}/${SCRATCH}`);
  const cleanUp = () => rmSync(scratch, { recursive: true, force: true });
  // A signal ends the program by way of `exit`.
  process.on("exit", cleanUp);
  const recorded = readVersions();
  const versions = Object.fromEntries(servicesOf({ roots }).map(({ name }) => [name, recorded[name] ?? null]));
  const held = { bytes: measure({ roots, without }), files: 0, databases: 0, left: [] };
  const sums = [];
  async function* entries() {
    const head = Buffer.from(`${JSON.stringify({ format: FORMAT, made: new Date().toISOString(), versions, roots, without, bytes: held.bytes }, null, 2)}\n`);
    yield* file(HEAD, head);
    const mounted = [...mounts()];
    for (const root of roots.filter((name) => existsSync(place(name)))) {
      yield* pack({ root, path: place(root), without, mounted, scratch }, (line) => {
        if (line.sum) sums.push(sumLine(...line.sum));
        if (line.left) held.left.push(`${line.left}: ${line.why}`);
        held.databases += line.databases ?? 0;
      });
    }
    held.files = sums.length;
    yield* file(SUMS, Buffer.from(`${sumLine(HEAD, createHash("sha256").update(head).digest("hex"))}${sums.join("")}`));
    yield END;
  }
  try {
    await pipeline(entries, zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } }), output);
  } finally {
    cleanUp();
  }
  return held;
}

function* file(name, content) {
  yield header({ name, size: content.length, mtime: Date.now() / 1000 });
  yield content;
  yield padding(content.length);
}

/** The entries of one root, from a process of its own that reaches nothing else. */
async function* pack(what, hear) {
  const command = '. /opt/stack/lib/service.sh; . /opt/stack/lib/walls.sh; within "$@"';
  const program = [process.execPath, "--disable-warning=ExperimentalWarning", "/opt/stack/lib/backup/pack.mjs", JSON.stringify(what)];
  const child = spawn("/bin/bash", ["-c", command, "within", what.path, what.scratch, "--", ...program], { stdio: ["ignore", "pipe", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  let said = "";
  child.stderr.on("data", (text) => (said += text));
  createInterface({ input: child.stdio[3] }).on("line", (line) => hear(JSON.parse(line)));
  yield* child.stdout;
  if ((await ended) !== 0) throw new Error(/^(?:Error|\w*Error): (.*)$/m.exec(said)?.[1] ?? (said.trim() || `reading ${what.path} failed`));
}

/** A backup as a file of a folder: it has its name when it is whole, and of its kind no more than `keep` stay. */
export async function writeFile(folder, prefix, keep, selection) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const own = (ending) => readdirSync(folder).filter((name) => name.startsWith(prefix) && name.endsWith(ending)).sort();
  for (const name of own(`${ENDING}.part`)) rmSync(`${folder}/${name}`);
  const path = `${folder}/${prefix}${moment()}${ENDING}`;
  const cleanUp = () => rmSync(`${path}.part`, { force: true });
  process.on("exit", cleanUp);
  const output = createWriteStream(`${path}.part`, { mode: 0o600, flush: true });
  const held = await writeBackup(output, selection).catch((error) => {
    cleanUp();
    throw error;
  });
  renameSync(`${path}.part`, path);
  for (const name of own(ENDING).slice(0, -keep)) rmSync(`${folder}/${name}`);
  return { path, ...held };
}

/** What a killed backup left; none is under way. */
export function removeLeftovers() {
  for (const name of readdirSync(DATA).filter((entry) => entry.startsWith(SCRATCH))) rmSync(`${DATA}/${name}`, { recursive: true, force: true });
}
