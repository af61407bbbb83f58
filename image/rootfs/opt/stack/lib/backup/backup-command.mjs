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
if (!toFolder && process.stdout.isTTY) end(2, "this is a terminal; type docker compose exec -T stack backup > FILE");
const selection = whole(options.includes("--with-models"));
// A terminal that goes away, or a stop, leaves no half file.
for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));
try {
  const { BACKUP_DIR: folder, BACKUP_KEEP: keep } = process.env;
  const held = toFolder
    ? await writeFile(folder || "/data/backups", "mission-control-", Number(keep || 7), selection)
    : await writeBackup(process.stdout, selection);
  for (const left of held.left) say(`not in it: ${left}`);
  say(`${held.files} files, ${held.databases} of them databases, ${size(held.bytes)} before compression${held.path ? `: ${held.path}` : ""}`);
  say(`it holds the keys and passwords of this stack: ${toFolder ? "only its owner can read it" : "let nobody else read the file (chmod 600 FILE)"}`);
} catch (error) {
  end(1, `no backup: ${reason(error)}`);
}
