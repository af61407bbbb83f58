// backup [--with-models] [--keep]: see bin/backup.
import { reason, size } from "../common.mjs";
import { writeBackup, writeFile } from "./backup.mjs";
import { whole } from "./state.mjs";

const options = process.argv.slice(2);
const say = (line) => console.error(`[backup] ${line}`);
function end(code, line) {
  say(line);
  process.exit(code);
}

const wrong = options.find((option) => !["--with-models", "--keep"].includes(option));
if (wrong) end(2, `${wrong}? usage: backup [--with-models] > FILE, or backup [--with-models] --keep to write into BACKUP_DIR`);
const toFolder = options.includes("--keep");
if (!toFolder && process.stdout.isTTY) end(2, "stdout is a terminal; type docker compose exec -T stack backup > FILE");
const selection = whole(options.includes("--with-models"));
// Run the exit handlers, which remove incomplete files.
for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
try {
  const { BACKUP_DIR: folder, BACKUP_KEEP: keep } = process.env;
  const made = toFolder
    ? await writeFile(folder || "/data/backups", "mission-control-", Number(keep || 7), selection)
    : await writeBackup(process.stdout, selection);
  for (const left of made.left) say(`not included: ${left}`);
  say(`${made.files} files, ${made.databases} of them databases, ${size(made.bytes)} before compression${made.path ? `: ${made.path}` : ""}`);
  say(`it contains the keys and passwords of this stack: ${toFolder ? "only its owner can read it" : "keep it private (chmod 600 FILE)"}`);
} catch (error) {
  end(1, `no backup: ${reason(error)}`);
}
