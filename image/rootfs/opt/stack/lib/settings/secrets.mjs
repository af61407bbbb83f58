// Generates secrets once and keeps them in SECRETS, so that they move with the volume. None is printed, and none is put
// on a command line unless the program has no other way.
import { execFileSync } from "node:child_process";
import { createHash, createPublicKey, generateKeyPairSync, randomBytes } from "node:crypto";
import { chmodSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { ADMIN_KEY } from "./check.mjs";
import { RUNTIME, SECRETS, fileOf, read } from "./read.mjs";

/** The umask set by volume.sh decides whether group 0 can read them. */
const MODE = 0o660 & ~process.umask();

const make = {
  hex64: () => randomBytes(32).toString("hex"),
  token: () => randomBytes(32).toString("base64url"),
  jwt: () => generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ type: "pkcs8", format: "pem" }).trimEnd(),
};

/** Writes a file of SECRETS atomically: a full disk or a power cut never leaves half a secret. */
function keep(file, value) {
  const part = `${SECRETS}/.new.${file}`;
  try {
    writeFileSync(part, `${value}\n`, { mode: MODE, flush: true });
    renameSync(part, `${SECRETS}/${file}`);
  } catch (error) {
    rmSync(part, { force: true });
    error.doing = `cannot keep ${file} in ${SECRETS}`;
    throw error;
  }
}

/** Writes a file that is computed from `source`, unless the recorded digest shows that `source` is unchanged. */
function derived(file, source, how) {
  const digest = createHash("sha256").update(`${source}\n`).digest("hex");
  if (read(`${SECRETS}/${file}`) && read(`${SECRETS}/${file}.of`) === digest) return;
  // Remove the digest first, so that an interrupted change never leaves it next to the wrong file.
  rmSync(`${SECRETS}/${file}.of`, { force: true });
  keep(file, how());
  keep(`${file}.of`, digest);
}

/** Writes the secrets that were set to RUNTIME, and generates those that are neither set nor in SECRETS. */
export function makeSecrets(table, { values, given, made, isOn }) {
  for (const file of readdirSync(SECRETS).filter((name) => name.startsWith(".new."))) rmSync(`${SECRETS}/${file}`);
  for (const [name, value] of Object.entries(given)) writeFileSync(`${RUNTIME}/secrets/${fileOf(name)}`, `${value}\n`);
  for (const { name, generated } of table.settings) {
    if (!generated || name in given || name === ADMIN_KEY) continue;
    if (name in made) {
      const file = `${SECRETS}/${fileOf(name)}`;
      if (statSync(file).uid === process.getuid()) chmodSync(file, MODE);
    } else {
      made[name] = make[generated]();
      keep(fileOf(name), made[name]);
    }
  }
  const valueOf = (name) => given[name] ?? made[name];
  // The public key, as the key set (JWKS) that Convex's functions publish.
  derived("jwks", valueOf("JWT_PRIVATE_KEY"), () =>
    JSON.stringify({ keys: [{ use: "sig", ...createPublicKey(valueOf("JWT_PRIVATE_KEY")).export({ format: "jwk" }) }] }));
  if (!isOn("convex") || ADMIN_KEY in given) return;
  const [instance, secret] = [values.CONVEX_INSTANCE_NAME, valueOf("CONVEX_INSTANCE_SECRET")];
  // Only the backend can generate its admin key, and it accepts the secret only as a flag: during this call, `ps`
  // inside the container shows it.
  const keygen = ["keygen", "admin-key", "--instance-name", instance, "--instance-secret", secret];
  const options = { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] };
  derived(fileOf(ADMIN_KEY), `${instance} ${secret}`, () => execFileSync("/opt/convex/bin/convex-local-backend", keygen, options).trimEnd());
}
