// Downloads a file with a known SHA-256. It gets its name only when complete and checked. The check is recorded, so
// that a large model is read again only if its file changed, not at every start.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, createReadStream, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { diskOf, readJson, size, writeJson } from "../common.mjs";

// Seconds between attempts. After the last one, the supervisor restarts the service with its own pauses.
const PAUSES = [1, 5, 15, 30];
// curl's exit codes.
const [WRITE_ERROR, NO_RANGES] = [23, 33];

/** An error that another attempt would not fix, so that a large model is not downloaded again. */
export class Refused extends Error {}

const lengthOf = (path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

/** A URL without credentials and query. */
export const shown = (address) => address.replace(/[?#].*/, "").replace(/^(\w+:\/\/)[^/]*@/, "$1");

async function digestOf(path, report) {
  const hash = createHash("sha256");
  const [whole, step] = [lengthOf(path), 2 ** 30];
  let done = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) {
    hash.update(chunk);
    done += chunk.length;
    if (done % step < chunk.length) report(`checking ${basename(path)}: ${size(done)} of ${size(whole)}`);
  }
  return hash.digest("hex");
}

/** Identifies the state of a file without reading it. */
function stateOf(path) {
  const { size: bytes, ctimeMs, ino } = statSync(path);
  return `${bytes} ${ctimeMs} ${ino}`;
}

/** The record of checked files, kept as JSON: { PATH: { sha256, seen } }. */
export class Checked {
  constructor(file) {
    this.file = file;
    this.all = readJson(file) ?? {};
  }

  has = (path, sha256) => this.all[path]?.sha256 === sha256 && this.all[path].seen === stateOf(path);

  add(path, sha256) {
    this.all[path] = { sha256, seen: stateOf(path) };
    writeJson(this.file, this.all);
  }
}

/** Runs curl; `ps` does not show the URL and header, which may contain a password. Returns exit code and output. */
export async function curl(url, header, options) {
  const quoted = (text) => `"${text.replace(/[\\"]/g, "\\$&")}"`;
  const config = [`url = ${quoted(url)}`, ...(header ? [`header = ${quoted(header)}`] : [])].join("\n");
  const always = ["--config", "-", "--location", "--proto", "=http,https", "--connect-timeout", "20", "--speed-limit", "1024", "--speed-time", "60", "--no-progress-meter"];
  const child = spawn("curl", [...always, ...options], { stdio: ["pipe", "pipe", "inherit"] });
  child.stdin.end(config);
  const output = [];
  child.stdout.on("data", (chunk) => output.push(chunk));
  const code = await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
  return { code, output: Buffer.concat(output).toString() };
}

/** One attempt, which resumes the previous one. Returns the error, or null. */
async function tryOnce({ url, header }, part) {
  const { code, output } = await curl(url, header, ["--fail", "--continue-at", "-", "--write-out", "%{http_code} %{errormsg}", "--output", part]);
  const [, status, why] = /^(\d+) (.*)$/s.exec(output) ?? [];
  // 416: the file is already complete.
  if (code === 0 || status === "416") return null;
  if (code === NO_RANGES) {
    rmSync(part, { force: true });
    return "the server does not support resuming: the download starts over";
  }
  if (code === WRITE_ERROR) throw new Error(`not enough space for ${basename(part, ".part")} on the volume: ${size(diskOf(dirname(part)).free)} is free`);
  if (/^4(0[134]|10)$/.test(status)) throw new Error(`no model from ${shown(url)}: the server answers ${status}`);
  return why || `curl ended with ${code}`;
}

/** Makes sure that `file` (`path`, `url`, `header`, `sha256`, `size` if known) exists and is right; reports progress. */
export async function ensure(file, checked, report) {
  const { path, sha256 } = file;
  if (existsSync(path)) {
    if (checked.has(path, sha256)) return;
    report(`checking ${basename(path)}`);
    if ((await digestOf(path, report)) !== sha256) {
      throw new Refused(`${path} was changed after the download: its SHA-256 is not ${sha256}; remove the file and start again to download it`);
    }
    checked.add(path, sha256);
    return;
  }
  mkdirSync(dirname(path), { recursive: true });
  const part = `${path}.part`;
  const [missing, free] = [file.size - lengthOf(part), diskOf(dirname(path)).free];
  if (missing > free) throw new Error(`not enough space for ${basename(path)} on the volume: ${size(missing)} is needed, ${size(free)} is free`);
  const isRight = async () => {
    report(`checking ${basename(path)}`);
    return (await digestOf(part, report)) === sha256;
  };
  // The part may already be complete. If its digest is wrong, it may be the start of another file: download it once
  // more from the beginning.
  let started = lengthOf(part) > 0;
  while (!(started && (!file.size || missing === 0) && (await isRight()))) {
    await fetchPart(file, part, report);
    if (await isRight()) break;
    rmSync(part);
    if (!started) throw new Refused(`no model from ${shown(file.url)}: the download does not have the SHA-256 ${sha256}`);
    started = false;
  }
  const descriptor = openSync(part, "r");
  fsyncSync(descriptor);
  closeSync(descriptor);
  renameSync(part, path);
  checked.add(path, sha256);
}

async function fetchPart(file, part, report) {
  console.log(`downloading ${shown(file.url)}`);
  const update = () => {
    const now = lengthOf(part);
    const rate = file.size ? ` of ${size(file.size)}, ${Math.floor((100 * now) / file.size)} %` : " so far";
    report(`downloading ${basename(file.path)}: ${size(now)}${rate}`);
  };
  update();
  const progress = setInterval(update, 5000);
  try {
    let failure;
    for (const seconds of [...PAUSES, 0]) {
      failure = await tryOnce(file, part);
      if (!failure) return;
      console.log(failure);
      await pause(seconds * 1000);
    }
    throw new Error(`no model from ${shown(file.url)}: ${failure}`);
  } finally {
    clearInterval(progress);
  }
}
