// Reads the image's table and the settings and secrets of this start.
import { readFileSync } from "node:fs";

export const RUNTIME = "/run/stack";
export const SECRETS = "/data/secrets";

/** The table rendered from `stack.toml`: `services`, `settings`, `flavors`, and the `folders` of /data. */
export const readTable = () => JSON.parse(readFileSync("/opt/stack/stack.json", "utf8"));

/** The flavor of this image: the services it is `without`, and the settings it `needs`. */
export const flavorOf = ({ flavors }, { STACK_FLAVOR } = process.env) => flavors.find(({ name }) => name === STACK_FLAVOR) ?? { without: [], needs: [] };

/** The settings of this start, which `docker exec` does not have in its environment. */
export function readSettings() {
  const lines = readFileSync(`${RUNTIME}/settings`, "utf8").split("\n").filter(Boolean);
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
}

/** A secret by the name of its setting: the given one, or else the one that was made, or undefined. */
export const secret = (name) => read(`${RUNTIME}/secrets/${fileOf(name)}`) ?? read(`${SECRETS}/${fileOf(name)}`);

/** OPENCLAW_GATEWAY_TOKEN is kept as openclaw-gateway-token. */
export const fileOf = (name) => name.toLowerCase().replaceAll("_", "-");

/** A file's text without line breaks at its end; undefined when there is no such file. */
export function read(file) {
  try {
    return readFileSync(file, "utf8").replace(/\n+$/, "");
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw error;
  }
}
