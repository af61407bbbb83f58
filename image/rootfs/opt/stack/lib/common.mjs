// What several folders here need: files that may not be there, sizes in words, and what our own services answer.
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";

/** Runs a program: `{ stdout, stderr }`, or an error that has them. */
export const run = promisify(execFile);

/** A file's text without blanks around it; "" when it cannot be read. */
export function peek(path) {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

/** Why something failed. */
export const reason = ({ code, message }) => ({ ENOSPC: "the disk is full", EPIPE: "the reader closed the pipe" })[code] ?? message;

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

/** 1610612736 as 1.5 GiB. */
export function size(bytes) {
  let [value, unit] = [bytes, 0];
  while (value >= 1023.5 && unit < UNITS.length - 1) [value, unit] = [value / 1024, unit + 1];
  return `${value.toFixed(unit > 1 && value < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
}

/** What a service answers on its port of the loopback, as text. `seconds` is the time limit, which a busy service needs. */
export async function answerOf(port, path, { authorization, seconds = 3 } = {}) {
  const headers = authorization ? { Authorization: authorization } : {};
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers, signal: AbortSignal.timeout(seconds * 1000) });
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer.text();
}
