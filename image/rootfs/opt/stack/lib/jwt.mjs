// The key pair that signs Mission Control's sessions, in the forms that Convex Auth reads:
// `jwt.mjs new` prints a private key (PKCS #8), `jwt.mjs public` prints the key set of the one on standard input.
import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";

switch (process.argv[2]) {
  case "new": {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    process.stdout.write(privateKey.export({ type: "pkcs8", format: "pem" }));
    break;
  }
  case "public": {
    let key;
    try {
      key = createPrivateKey(readFileSync(0));
    } catch {
      // The reason would quote the key.
      fail("JWT_PRIVATE_KEY: cannot be read as a private key");
    }
    if (key.asymmetricKeyType !== "rsa") fail("JWT_PRIVATE_KEY: is no RSA key, and sessions are signed with RS256");
    process.stdout.write(`${JSON.stringify({ keys: [{ use: "sig", ...createPublicKey(key).export({ format: "jwk" }) }] })}\n`);
    break;
  }
  default:
    fail("usage: jwt.mjs new|public");
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
