// Secrets are made once and kept in SECRETS, so that they move with the volume. None is printed, and none stands on a
// command line where its program has another way.
import { execFileSync } from "node:child_process";
import { createHash, createPublicKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { chmodSync, closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { ADMIN_KEY } from "./check.mjs";
import { RUNTIME, SECRETS, fileOf, read } from "./read.mjs";

/** The umask of volume.sh says whether group 0 reads them too. */
const MODE = 0o660 & ~process.umask();

const make = {
  hex64: () => randomBytes(32).toString("hex"),
  token: () => randomBytes(32).toString("base64url"),
  jwt: () => generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" }).trimEnd(),
};

/**
 * Writes a file of SECRETS whole or not at all: it gets its name when its last byte is on the disk, so that neither a
 * full disk nor a power cut leaves half a secret.
 */
function keep(file, value) {
  const part = `${SECRETS}/.new.${file}`;
  try {
    const descriptor = openSync(part, "w", MODE);
    try {
      writeFileSync(descriptor, `${value}\n`);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(part, `${SECRETS}/${file}`);
  } catch (error) {
    rmSync(part, { force: true });
    error.doing = `cannot keep ${file} in ${SECRETS}`;
    throw error;
  }
}

/** What follows from something else is made again when that changed; a digest tells what it was made from. */
function derived(file, source, how) {
  const digest = createHash("sha256").update(`${source}\n`).digest("hex");
  if (read(`${SECRETS}/${file}`) && read(`${SECRETS}/${file}.of`) === digest) return;
  // The digest goes first: without it, an old result would count as made from the new source.
  rmSync(`${SECRETS}/${file}.of`, { force: true });
  keep(file, how());
  keep(`${file}.of`, digest);
}

/** Keeps what was given for the time of this container, and makes what was neither given nor made before. */
export function makeSecrets(table, { values, given, made, isOn }) {
  for (const file of readdirSync(SECRETS).filter((name) => name.startsWith(".new."))) rmSync(`${SECRETS}/${file}`);
  for (const [name, value] of Object.entries(given)) writeFileSync(`${RUNTIME}/secrets/${fileOf(name)}`, `${value}\n`);
  for (const { name, generated } of table.settings) {
    if (!generated || name in given || name === ADMIN_KEY) continue;
    if (name in made) {
      const file = `${SECRETS}/${fileOf(name)}`;
      if (statSync(file).uid === process.getuid()) chmodSync(file, MODE);
    } else {
      // First whole, then kept: what dies half way leaves nothing.
      made[name] = make[generated]();
      keep(fileOf(name), made[name]);
    }
  }
  const valueOf = (name) => given[name] ?? made[name];
  // The public half of the key, as the key set that Convex's functions publish.
  derived("jwks", valueOf("JWT_PRIVATE_KEY"), () =>
    JSON.stringify({ keys: [{ use: "sig", ...createPublicKey(valueOf("JWT_PRIVATE_KEY")).export({ format: "jwk" }) }] }));
  if (!isOn("convex") || ADMIN_KEY in given) return;
  const [instance, secret] = [values.CONVEX_INSTANCE_NAME, valueOf("CONVEX_INSTANCE_SECRET")];
  // Only the backend itself can make its admin key, and it takes the secret as a flag and in no other way: for the
  // moment of this call, `ps` inside the container shows it.
  const keygen = ["keygen", "admin-key", "--instance-name", instance, "--instance-secret", secret];
  const options = { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] };
  derived(fileOf(ADMIN_KEY), `${instance} ${secret}`, () => execFileSync("/opt/convex/bin/convex-local-backend", keygen, options).trimEnd());
}
