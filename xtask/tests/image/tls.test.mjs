// Checks of certificates and keys: each problem is reported with what to do.
import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { checkTls } from "../../../image/rootfs/opt/stack/lib/access/tls.mjs";
import { temporaryFolder } from "../../standins/tests/support.mjs";

// Enough DER for a certificate.
const der = (tag, ...parts) => {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 255];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
};
const text = (tag, value) => der(tag, Buffer.from(value));
const hex = (tag, value) => der(tag, Buffer.from(value, "hex"));
const sequence = (...parts) => der(0x30, ...parts);
const time = (date) => text(0x17, `${date.toISOString().slice(2, 19).replace(/[-:T]/g, "")}Z`);
const pem = (kind, body) => `-----BEGIN ${kind}-----\n${body.toString("base64").replace(/.{64}/g, "$&\n").trimEnd()}\n-----END ${kind}-----\n`;

const DAY = 24 * 3600 * 1000;
const NOW = new Date();
const [YESTERDAY, TOMORROW] = [new Date(NOW - DAY), new Date(NOW.getTime() + DAY)];

/** A key, and a self-signed certificate for box.lan. */
function pair(from = new Date(NOW - 2 * DAY), to = TOMORROW) {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = sequence(hex(0x06, "2a8648ce3d040302"));
  const name = sequence(der(0x31, sequence(hex(0x06, "550403"), text(0x0c, "box.lan"))));
  const names = sequence(sequence(hex(0x06, "551d11"), der(0x04, sequence(text(0x82, "box.lan"), hex(0x87, "0a000007")))));
  const validity = sequence(time(from), time(to));
  const key = publicKey.export({ type: "spki", format: "der" });
  const body = sequence(hex(0xa0, "020102"), hex(0x02, "01"), algorithm, name, validity, name, key, der(0xa3, names));
  const certificate = sequence(body, algorithm, der(0x03, Buffer.from([0]), sign("sha256", body, privateKey)));
  return { certificate: pem("CERTIFICATE", certificate), raw: certificate, key: privateKey };
}
const written = (key, more = {}) => key.export({ type: "pkcs8", format: "pem", ...more });

const folder = temporaryFolder({ after });
const [CERTIFICATE, KEY] = [join(folder, "certificate.pem"), join(folder, "key.pem")];
function check(certificate, key, host) {
  writeFileSync(CERTIFICATE, certificate);
  writeFileSync(KEY, key);
  return checkTls(CERTIFICATE, KEY, host);
}

const mine = pair();
const other = pair();

test("a matching pair is valid", () => {
  const chain = mine.certificate + other.certificate;
  for (const [certificate, key] of [
    [mine.certificate, written(mine.key)],
    [chain, written(mine.key)],
    [chain.replaceAll("\n", "\r\n"), written(mine.key).replaceAll("\n", "\r\n")],
    [`subject=box.lan\n${chain}`, mine.key.export({ type: "sec1", format: "pem" })],
    // Both in one file, as some servers expect.
    [mine.certificate + written(mine.key), mine.certificate + written(mine.key)],
  ]) {
    for (const host of [undefined, "box.lan", "10.0.0.7"]) assert.deepEqual(check(certificate, key, host), { problems: [], notices: [] });
  }
});

test("each problem is reported once, with its file", () => {
  const key = written(mine.key);
  const encrypted = written(mine.key, { cipher: "aes-256-cbc", passphrase: "x" });
  const legacy = mine.key.export({ type: "sec1", format: "pem", cipher: "aes-256-cbc", passphrase: "x" });
  const request = pem("CERTIFICATE REQUEST", Buffer.from("x"));
  const damaged = pem("CERTIFICATE", mine.raw.subarray(0, 200));
  const [expired, future] = [pair(undefined, YESTERDAY), pair(TOMORROW)];
  for (const [certificate, its, file, about] of [
    ["", key, CERTIFICATE, "empty"],
    [mine.raw, key, CERTIFICATE, "not a complete PEM"],
    [mine.certificate.slice(0, -30), key, CERTIFICATE, "not a complete PEM"],
    ["hello", key, CERTIFICATE, "not a complete PEM"],
    [request, key, CERTIFICATE, "no certificate but CERTIFICATE REQUEST"],
    [damaged, key, CERTIFICATE, "certificate 1 of 1 cannot be read"],
    [mine.certificate + damaged, key, CERTIFICATE, "certificate 2 of 2 cannot be read"],
    [other.certificate + mine.certificate, key, CERTIFICATE, "wrong order: the server's own certificate is number 2"],
    [other.certificate, key, KEY, "not the key of the certificate in TLS_CERT_FILE (CN=box.lan)"],
    [expired.certificate, written(expired.key), CERTIFICATE, "expired on"],
    [future.certificate, written(future.key), CERTIFICATE, "valid from"],
    [mine.certificate, "", KEY, "empty"],
    [mine.certificate, mine.certificate, KEY, "which belongs in TLS_CERT_FILE"],
    [mine.certificate, encrypted, KEY, "is encrypted"],
    [mine.certificate, legacy, KEY, "is encrypted"],
    [mine.certificate, pem("PRIVATE KEY", Buffer.from("hunter2")), KEY, "cannot be read as a private key"],
    [mine.certificate, pem("PUBLIC KEY", Buffer.from("x")), KEY, "no private key but PUBLIC KEY"],
  ]) {
    const { problems } = check(certificate, its);
    assert.equal(problems.length, 1, `${about}: ${problems}`);
    const name = file === KEY ? "TLS_KEY_FILE" : "TLS_CERT_FILE";
    assert.ok(problems[0].startsWith(`${name}=${file}: `) && problems[0].includes(about), `${about}: ${problems[0]}`);
    assert.ok(!problems[0].includes("hunter2"));
  }
  assert.equal(check(key, mine.certificate).problems.length, 2);
  assert.match(checkTls("/nowhere", KEY).problems[0], /^TLS_CERT_FILE=\/nowhere: uid \d+ cannot read it \(ENOENT\)$/);
  assert.match(checkTls(folder, KEY).problems[0], /cannot read it \(EISDIR\)$/);
});

test("a certificate for another name gives a notice only", () => {
  for (const host of ["other.lan", "10.0.0.8", "[fd00::1]"]) {
    const { problems, notices } = check(mine.certificate, written(mine.key), host);
    assert.deepEqual(problems, []);
    assert.match(notices[0], /not for PUBLIC_HOST=.*DNS:box\.lan/);
  }
});
