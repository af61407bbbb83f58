// Closes the Manager's sign-up in its database: manager-accounts.mjs FILE EMAIL NOTE DIGEST. Upstream allows anybody to
// create an account; here a trigger refuses all but that of EMAIL. On a new volume, it waits until the Manager has
// created its tables.
import { existsSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";

const [file, email, note, digest] = process.argv.slice(2);
const PATIENCE = 180; // seconds

function close() {
  if (!existsSync(file)) return false;
  const database = new DatabaseSync(file, { timeout: 5000 });
  try {
    if (!database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'user'").get()) return false;
    // A trigger cannot have parameters.
    const literal = `'${email.toLowerCase().replaceAll("'", "''")}'`;
    database.exec(`BEGIN IMMEDIATE;
      DROP TRIGGER IF EXISTS mission_control_accounts;
      CREATE TRIGGER mission_control_accounts BEFORE INSERT ON "user" WHEN lower(NEW.email) <> ${literal}
      BEGIN SELECT RAISE(ABORT, 'sign-up is closed'); END;
      COMMIT;`);
    return true;
  } finally {
    database.close();
  }
}

for (let waited = 0; !close(); waited += 0.25) {
  if (waited > PATIENCE) throw new Error(`${file} has no user table after ${PATIENCE} s`);
  await sleep(250);
}

// The Manager listens once its account has the current password; NOTE records the digest of that password.
const answers = () => fetch(`http://127.0.0.1:${process.env.MANAGER_INNER_PORT}/api/health`).then(() => true, () => false);
for (let waited = 0; !(await answers()); waited += 0.5) {
  if (waited > PATIENCE) process.exit();
  await sleep(500);
}
writeFileSync(note, `${digest}\n`, { mode: 0o600 });
