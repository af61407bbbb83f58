// Checks whether a certificate and key can be served: readable, in the right order, matching, and not expired.
import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { collecting, wrong } from "../settings/forms.mjs";

/** The blocks of a PEM file with their kinds. */
function blocks(name, file) {
  let text;
  try {
    text = readFileSync(file, "latin1");
  } catch (error) {
    wrong(`${name}=${file}: uid ${process.getuid()} cannot read it (${error.code})`);
  }
  if (text.trim() === "") wrong(`${name}=${file}: the file is empty`);
  const found = [...text.matchAll(/^-----BEGIN ([A-Z0-9 ]+)-----\r?$[^]*?^-----END \1-----\r?$/gm)].map(([block, kind]) => ({ kind, block }));
  if (found.length === 0) wrong(`${name}=${file}: is not a complete PEM file (-----BEGIN ... to -----END ...); convert other formats with openssl`);
  return found;
}

/** Describes what a file contains instead. */
const instead = ([{ kind }], pattern, other) => `but ${kind}${pattern.test(kind) ? `, which belongs in ${other}: are the two swapped?` : ""}`;

function certificates(file) {
  const found = blocks("TLS_CERT_FILE", file);
  const chain = found.filter(({ kind }) => kind === "CERTIFICATE");
  if (chain.length === 0) wrong(`TLS_CERT_FILE=${file}: contains no certificate ${instead(found, /PRIVATE KEY$/, "TLS_KEY_FILE")}`);
  return chain.map(({ block }, index) => {
    try {
      return new X509Certificate(block);
    } catch {
      wrong(`TLS_CERT_FILE=${file}: certificate ${index + 1} of ${chain.length} cannot be read: it is damaged`);
    }
  });
}

function privateKey(file) {
  const found = blocks("TLS_KEY_FILE", file);
  const key = found.find(({ kind }) => kind.endsWith("PRIVATE KEY"));
  if (!key) wrong(`TLS_KEY_FILE=${file}: contains no private key ${instead(found, /^CERTIFICATE$/, "TLS_CERT_FILE")}`);
  if (key.kind === "ENCRYPTED PRIVATE KEY" || /^Proc-Type:.*ENCRYPTED/m.test(key.block)) {
    wrong(`TLS_KEY_FILE=${file}: is encrypted, and its password cannot be entered; remove it: openssl pkey -in FILE -out NEW`);
  }
  try {
    return createPrivateKey(key.block);
  } catch {
    // The error might quote the key.
    wrong(`TLS_KEY_FILE=${file}: cannot be read as a private key: it is damaged, or of a type that OpenSSL does not support`);
  }
}

/** `host` is the name that browsers use, if it is known. */
export function checkTls(certificateFile, keyFile, host, now = new Date()) {
  const problems = [];
  const attempt = collecting(problems);
  const chain = attempt(() => certificates(certificateFile));
  const key = attempt(() => privateKey(keyFile));
  if (!chain) return { problems, notices: [] };
  const [first] = chain;
  if (key && !first.checkPrivateKey(key)) {
    const own = chain.findIndex((certificate) => certificate.checkPrivateKey(key));
    problems.push(
      own > 0
        ? `TLS_CERT_FILE=${certificateFile}: is in the wrong order: the server's own certificate is number ${own + 1}, but must be the first`
        : `TLS_KEY_FILE=${keyFile}: is not the key of the certificate in TLS_CERT_FILE (${first.subject?.replaceAll("\n", ", ") || "without a subject"})`,
    );
  } else if (new Date(first.validTo) <= now) problems.push(`TLS_CERT_FILE=${certificateFile}: expired on ${first.validTo}; renew it`);
  else if (new Date(first.validFrom) > now) problems.push(`TLS_CERT_FILE=${certificateFile}: is valid from ${first.validFrom} only; check this machine's clock`);
  const address = host?.replace(/^\[|\]$/g, "");
  const named = isIP(address ?? "") ? first.checkIP(address) : first.checkHost(host ?? "");
  const notices = named || host === undefined ? [] : [`TLS_CERT_FILE: the certificate is not for PUBLIC_HOST=${host} (it is for ${first.subjectAltName ?? "no name"}); browsers will refuse it`];
  return { problems, notices };
}
