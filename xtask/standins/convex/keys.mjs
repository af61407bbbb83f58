// The instance secret and its admin keys.
import crypto from "node:crypto";

// 64 hexadecimal digits, with upstream's two error messages.
export function readSecret(text) {
  if (!/^([0-9a-f]{2})*$/i.test(text)) throw new Error("Couldn't hexdecode key");
  const secret = Buffer.from(text, "hex");
  if (secret.length !== 32) throw new Error(`Hex-decoded key was ${secret.length} bytes, not 32`);
  return secret;
}

function sealingKey(secret, name) {
  return Buffer.from(crypto.hkdfSync("sha256", secret, "", `admin key of ${name}`, 16));
}

// `name|hex`, like upstream: a version byte and an authenticated ciphertext, different each time.
export function issueAdminKey(secret, name) {
  const nonce = crypto.randomBytes(12);
  const cipher = crypto.createCipheriv("aes-128-gcm", sealingKey(secret, name), nonce);
  const body = Buffer.concat([cipher.update(JSON.stringify({ member: 0, issued: Math.floor(Date.now() / 1000) })), cipher.final()]);
  return `${name}|${Buffer.concat([Buffer.of(1), nonce, body, cipher.getAuthTag()]).toString("hex")}`;
}

// Whether a key belongs to this secret and instance. The dashboard may add the prefix `prod:`.
export function isAdminKey(secret, name, key) {
  const [, given, sealed] = /^(?:[a-z]+:)?([^|]+)\|([0-9a-f]+)$/.exec(key ?? "") ?? [];
  if (given !== name) return false;
  const bytes = Buffer.from(sealed, "hex");
  if (bytes.length < 30 || bytes[0] !== 1) return false;
  const decipher = crypto.createDecipheriv("aes-128-gcm", sealingKey(secret, name), bytes.subarray(1, 13));
  decipher.setAuthTag(bytes.subarray(-16));
  try {
    Buffer.concat([decipher.update(bytes.subarray(13, -16)), decipher.final()]);
    return true;
  } catch {
    return false;
  }
}
