// Helpers that several folders here use: files, sizes, messages, requests to the services.
import { execFile } from "node:child_process";
import { readFileSync, renameSync, statfsSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";

/** Runs a program. Returns `{ stdout, stderr }`, or throws an error that has both. */
export const run = promisify(execFile);

/** A file's trimmed text; "" if it cannot be read. */
export function peek(path) {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

/** The value in a JSON file; undefined if the file is missing or damaged. For files that can be made again. */
export function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/** Replaces a file at once: readers see the old content or the new one. */
export function replaceFile(path, content, options) {
  writeFileSync(`${path}.new`, content, options);
  renameSync(`${path}.new`, path);
}

export const writeJson = (path, value, options) => replaceFile(path, `${JSON.stringify(value, null, 2)}\n`, options);

/** The disk of a folder, in bytes. */
export function diskOf(folder) {
  const { bsize, blocks, bavail } = statfsSync(folder);
  return { total: bsize * blocks, free: bsize * bavail };
}

/** Why an operation failed, in a few words. */
export const reason = ({ code, message }) => ({ ENOSPC: "the disk is full", EPIPE: "the reader closed the pipe" })[code] ?? message;

/** Ends a service's program with a message, like `die` in service.sh. `status` shows its first line too. */
export function fail(message) {
  console.error(message);
  const { STACK_SERVICE } = process.env;
  if (STACK_SERVICE) {
    try {
      writeFileSync(`/run/stack/state/${STACK_SERVICE}/why`, `${message}\n`);
    } catch {
      // The log has it anyway.
    }
  }
  process.exit(1);
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Formats 1610612736 as 1.5 GiB. */
export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 1023.5 && unit < UNITS.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${value.toFixed(unit > 1 && value < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
}

/** The body of a service's response on its loopback port, as text. `seconds` is the time limit. */
export async function answerOf(port, path, { authorization, seconds = 3 } = {}) {
  const headers = authorization ? { Authorization: authorization } : {};
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers, signal: AbortSignal.timeout(seconds * 1000) });
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer.text();
}
