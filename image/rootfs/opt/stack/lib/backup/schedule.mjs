// Scheduled backups (BACKUP_EVERY). Runs in the status service, which reports a failed backup.
import { spawn } from "node:child_process";
import { readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { RUNTIME } from "../settings/read.mjs";

/** Why the last backup failed, for `status`. */
export const BACKUP_PROBLEM = `${RUNTIME}/status/backup-problem`;
const MINUTE = 60_000;
const UNITS = { m: MINUTE, h: 60 * MINUTE, d: 24 * 60 * MINUTE };
const AFTER_FAILURE = 60 * MINUTE;

export function scheduleBackups({ BACKUP_EVERY: every, BACKUP_DIR: folder }) {
  if (!every) return;
  const period = Number.parseInt(every, 10) * UNITS[every.at(-1)];
  let tried = 0;
  let isRunning = false;
  const tick = () => {
    const now = Date.now();
    if (isRunning || now - newest(folder) < period || now - tried < Math.min(period, AFTER_FAILURE)) return;
    tried = now;
    isRunning = true;
    let output = "";
    const child = spawn("/opt/stack/bin/backup", ["--keep"], { stdio: ["ignore", "ignore", "pipe"] });
    child.stderr.on("data", (text) => (output += text));
    child.on("close", (code) => {
      isRunning = false;
      process.stdout.write(output);
      if (code === 0) rmSync(BACKUP_PROBLEM, { force: true });
      else writeFileSync(BACKUP_PROBLEM, `the backup of ${new Date().toISOString()} failed: ${output.trim().split("\n").at(-1)}\n`);
    });
  };
  setInterval(tick, MINUTE / 2);
}

/** The time of the newest backup. */
function newest(folder) {
  try {
    const names = readdirSync(folder).filter((name) => /^mission-control-.*\.tar\.zst$/.test(name));
    return Math.max(0, ...names.map((name) => statSync(`${folder}/${name}`).mtimeMs));
  } catch {
    return 0;
  }
}
