// upgrade: see bin/upgrade.
import { diskOf, size } from "../common.mjs";
import { DATA, measure, migrating, migratingOnly } from "./state.mjs";
import { foresee } from "./update.mjs";

const { updates, refusals, versions } = foresee({ isOn: () => true, values: process.env });
const width = Math.max(...migrating.map(({ name }) => name.length));
const of = (list, name) => list.find((entry) => entry.name === name);
for (const { name, version } of migrating) {
  const change = of(updates, name) ?? of(refusals, name);
  const what = !change ? (versions[name] ? "unchanged" : "no data yet") : of(refusals, name) ? `REFUSED: the data is from the newer ${change.from}` : `updated from ${change.from}`;
  console.log(`${name.padEnd(width)}  ${version}  ${what}`);
}
if (refusals.length > 0) {
  console.log("This image is older than the data: restore a saved state with `rollback`, or start the newer image.");
  process.exitCode = 1;
} else if (updates.length === 0) {
  console.log("Nothing to do: this image opens the data unchanged.");
} else {
  const needed = measure(migratingOnly(updates.map(({ service }) => service)));
  const { free } = diskOf(DATA);
  console.log(`The next start saves the previous state first: up to ${size(needed)} in ${DATA}/kept, ${size(free)} is free.`);
  console.log("Type `docker compose up -d`. To go back, type `docker compose run --rm stack rollback` and start the previous image.");
  if (free < needed) process.exitCode = 1;
}
