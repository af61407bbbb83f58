// Removes the lease of a killed gateway of another container: openclaw-leases.mjs STATE_FOLDER. Call it only while no
// gateway can run on that folder.
//
// OpenClaw records its owner in its database, by host name and process. It detects that a process of the same host is
// gone, but a new container has a new host name, and OpenClaw would wait five minutes.
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

const file = join(process.argv[2], "state/openclaw.sqlite");
if (existsSync(file)) {
  const database = new DatabaseSync(file);
  const known = database.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'state_leases'").get();
  if (known) {
    const { changes } = database
      .prepare("DELETE FROM state_leases WHERE json_valid(payload_json) AND json_extract(payload_json, '$.owner.host') <> ?")
      .run(hostname());
    if (changes > 0) console.log("removed the lease of a gateway that was killed with its container");
  }
  database.close();
}
