// Updates between releases: saves the state of a service before a newer version opens it, and refuses to let an older
// version open newer state. A saved state is a backup of what the update changes.
import { createReadStream, existsSync, readdirSync } from "node:fs";
import { buffer } from "node:stream/consumers";
import zlib from "node:zlib";
import { diskOf, size } from "../common.mjs";
import { ENDING, HEAD, writeFile } from "./backup.mjs";
import { DATA, KEPT, measure, migrating, migratingOnly, readVersions, writeVersions } from "./state.mjs";
import { read } from "./tar.mjs";
import { compare } from "./versions.mjs";

const KEPT_STATES = 4;

export class Refused extends Error {}

/** What a start of this image would do: `updates` and `refusals` of the enabled services, each with `from` and `to`. */
export function foresee({ isOn, values }) {
  const allowed = (values.ALLOW_DOWNGRADE_TO ?? "").split(",");
  const versions = readVersions();
  const updates = [];
  const refusals = [];
  for (const service of migrating.filter(({ name }) => isOn(name))) {
    const [from, to] = [versions[service.name], service.version];
    if (from === to || measure(migratingOnly([service])) === 0) continue;
    const isNewer = from && compare(from, to) > 0 && !allowed.includes(to);
    (isNewer ? refusals : updates).push({ service, name: service.name, from: from ?? "an unknown version", to });
  }
  return { updates, refusals, versions };
}

/** Saves the state of some services. */
export async function keep(services, say) {
  const selection = migratingOnly(services);
  const needed = measure(selection);
  const { free } = diskOf(DATA);
  if (free < needed) {
    throw new Refused(`not enough space to save the state of ${services.map(({ name }) => name).join(", ")} before the update: ${size(needed)} is needed in ${DATA}, ${size(free)} is free`);
  }
  const { path, left } = await writeFile(KEPT, "", KEPT_STATES, selection);
  for (const file of left) say(`not saved: ${file}`);
  say(`the previous state was saved in ${path}; \`rollback\` restores it`);
}

/** Runs before services open their state: saves it if versions differ, or throws `Refused`. */
export async function takeOver({ isOn, values }, say) {
  const { updates, refusals, versions } = foresee({ isOn, values });
  if (refusals.length > 0) {
    throw new Refused(
      [
        "the data was last opened by newer versions than this image has, and it may not understand their changes:",
        ...refusals.map(({ name, from, to }) => `  - ${name}: ${from}, this image has ${to}`),
        "Start the newer image again, or restore the state from before the update (the current state is saved too):",
        "    docker compose run --rm stack rollback",
        `(with \`docker run\`: your own command with --rm, and rollback at the end), or set ALLOW_DOWNGRADE_TO=${refusals.map(({ to }) => to).join(",")}`,
      ].join("\n"),
    );
  }
  for (const { name, from, to } of updates) say(`${name}: ${from} last opened its data, this image has ${to}`);
  if (updates.length > 0) await keep(updates.map(({ service }) => service), say);
  const now = { ...versions };
  for (const { name, version } of migrating.filter((service) => isOn(service.name))) now[name] = version;
  if (migrating.some(({ name }) => now[name] !== versions[name])) writeVersions(now);
}

/** Saved states, newest first: `name`, `path`, and the `head` of the backup. */
export async function keptStates() {
  const names = existsSync(KEPT) ? readdirSync(KEPT).filter((name) => name.endsWith(ENDING)).sort().reverse() : [];
  const states = [];
  for (const name of names) states.push({ name: name.slice(0, -ENDING.length), path: `${KEPT}/${name}`, head: await headOf(`${KEPT}/${name}`) });
  return states.filter(({ head }) => head);
}

async function headOf(path) {
  const source = createReadStream(path);
  try {
    for await (const { name, body } of read(source.pipe(zlib.createZstdDecompress()))) {
      return name === HEAD ? JSON.parse(await buffer(body)) : undefined;
    }
  } catch {
    return undefined;
  } finally {
    source.destroy();
  }
}
