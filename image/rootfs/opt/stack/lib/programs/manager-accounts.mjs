// Keeps the Manager's sign-up closed in its own database: manager-accounts.mjs FILE EMAIL NOTE DIGEST. Upstream makes an account for
// anybody who asks, also when the first one exists; here a trigger refuses every account but that of EMAIL. In a new
// volume it waits until the Manager has made its tables.
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
    // A trigger takes no parameters.
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
  if (waited > PATIENCE) throw new Error(`${file} has no table of users after ${PATIENCE} s`);
  await sleep(250);
}

// It listens when its account has the password that was set: NOTE keeps the digest of that.
const answers = () => fetch(`http://127.0.0.1:${process.env.MANAGER_INNER_PORT}/api/health`).then(() => true, () => false);
for (let waited = 0; !(await answers()); waited += 0.5) {
  if (waited > PATIENCE) process.exit();
  await sleep(500);
}
writeFileSync(note, `${digest}\n`, { mode: 0o600 });
