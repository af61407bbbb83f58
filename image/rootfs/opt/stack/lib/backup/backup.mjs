// Writes backups: of all state (`backup`), or of the state that an update changes (update.mjs).
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

/** The time as 20261125T134500.123Z. Milliseconds keep names unique. */
export const moment = () => new Date().toISOString().replace(/[-:]/g, "");

/** A line in the format of sha256sum, which escapes line breaks and backslashes in names. */
export function sumLine(name, digest) {
  const escaped = name.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\r", "\\r");
  return `${escaped === name ? "" : "\\"}${digest}  ${escaped}\n`;
}

/** Writes a backup of a selection to a stream. Returns a summary of its contents. */
export async function writeBackup(output, { roots, without }) {
  const scratch = mkdtempSync(`${DATA}/${SCRATCH}`);
  const cleanUp = () => rmSync(scratch, { recursive: true, force: true });
  // Signal handlers call `exit`.
  process.on("exit", cleanUp);
  const recorded = readVersions();
  const versions = Object.fromEntries(servicesOf({ roots }).map(({ name }) => [name, recorded[name] ?? null]));
  const summary = { bytes: measure({ roots, without }), files: 0, databases: 0, left: [] };
  const sums = [];
  async function* entries() {
    const head = Buffer.from(`${JSON.stringify({ format: FORMAT, made: new Date().toISOString(), versions, roots, without, bytes: summary.bytes }, null, 2)}\n`);
    yield* file(HEAD, head);
    const mounted = [...mounts()];
    for (const root of roots.filter((name) => existsSync(place(name)))) {
      yield* pack({ root, path: place(root), without, mounted, scratch }, (line) => {
        if (line.sum) sums.push(sumLine(...line.sum));
        if (line.left) summary.left.push(`${line.left}: ${line.why}`);
        summary.databases += line.databases ?? 0;
      });
    }
    summary.files = sums.length;
    yield* file(SUMS, Buffer.from(`${sumLine(HEAD, createHash("sha256").update(head).digest("hex"))}${sums.join("")}`));
    yield END;
  }
  try {
    await pipeline(entries, zlib.createZstdCompress({ params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } }), output);
  } finally {
    cleanUp();
  }
  return summary;
}

function* file(name, content) {
  yield header({ name, size: content.length, mtime: Date.now() / 1000 });
  yield content;
  yield padding(content.length);
}

/** The entries of one root, read by a sandboxed process that can access nothing else. */
async function* pack(what, report) {
  const command = '. /opt/stack/lib/service.sh; . /opt/stack/lib/sandbox.sh; within "$@"';
  const program = [process.execPath, "--disable-warning=ExperimentalWarning", "/opt/stack/lib/backup/pack.mjs", JSON.stringify(what)];
  const child = spawn("/bin/bash", ["-c", command, "within", what.path, what.scratch, "--", ...program], { stdio: ["ignore", "pipe", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  let errors = "";
  child.stderr.on("data", (text) => (errors += text));
  createInterface({ input: child.stdio[3] }).on("line", (line) => report(JSON.parse(line)));
  yield* child.stdout;
  if ((await ended) !== 0) throw new Error(/^(?:Error|\w*Error): (.*)$/m.exec(errors)?.[1] ?? (errors.trim() || `reading ${what.path} failed`));
}

/** Writes a backup to a folder, under its name once complete, and removes all but the newest `keep` with the prefix. */
export async function writeFile(folder, prefix, keep, selection) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const own = (ending) => readdirSync(folder).filter((name) => name.startsWith(prefix) && name.endsWith(ending)).sort();
  for (const name of own(`${ENDING}.part`)) rmSync(`${folder}/${name}`);
  const path = `${folder}/${prefix}${moment()}${ENDING}`;
  const cleanUp = () => rmSync(`${path}.part`, { force: true });
  process.on("exit", cleanUp);
  const output = createWriteStream(`${path}.part`, { mode: 0o600, flush: true });
  const summary = await writeBackup(output, selection).catch((error) => {
    cleanUp();
    throw error;
  });
  renameSync(`${path}.part`, path);
  for (const name of own(ENDING).slice(0, -keep)) rmSync(`${folder}/${name}`);
  return { path, ...summary };
}

/** Removes files of a killed backup. Call it only while no backup runs. */
export function removeLeftovers() {
  for (const name of readdirSync(DATA).filter((entry) => entry.startsWith(SCRATCH))) rmSync(`${DATA}/${name}`, { recursive: true, force: true });
}
