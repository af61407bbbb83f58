// Reads the image's table and the settings and secrets of this start.
import { readFileSync } from "node:fs";

export const RUNTIME = "/run/stack";
export const SECRETS = "/data/secrets";

/** The table rendered from `stack.toml`: `services`, `settings`, `flavors`, and the `folders` of /data. */
export const readTable = () => JSON.parse(readFileSync("/opt/stack/stack.json", "utf8"));

/** The flavor of this image: the services it is `without`, and the settings it `needs`. */
export const flavorOf = ({ flavors }, { STACK_FLAVOR } = process.env) => flavors.find(({ name }) => name === STACK_FLAVOR) ?? { without: [], needs: [] };

/** The settings of this start. `docker exec` does not have them in its environment. */
export function readSettings() {
  const lines = readFileSync(`${RUNTIME}/settings`, "utf8").split("\n").filter(Boolean);
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
}

/** A secret by the name of its setting: the one that was set, or the generated one, or undefined. */
export const secret = (name) => read(`${RUNTIME}/secrets/${fileOf(name)}`) ?? read(`${SECRETS}/${fileOf(name)}`);

/** The file name of a secret: openclaw-gateway-token for OPENCLAW_GATEWAY_TOKEN. */
export const fileOf = (name) => name.toLowerCase().replaceAll("_", "-");

/** A file's text without trailing line breaks; undefined if the file does not exist. */
export function read(file) {
  try {
    return readFileSync(file, "utf8").replace(/\n+$/, "");
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw error;
  }
}
