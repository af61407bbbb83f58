// The certificate that the front serves: a copy of TLS_CERT_FILE and TLS_KEY_FILE, updated when both files are valid
// and match. Renewed files are loaded without a restart.
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { peek, replaceFile } from "../common.mjs";
import { RUNTIME } from "../settings/read.mjs";
import { checkTls } from "./tls.mjs";

const FRONT = `${RUNTIME}/front`;
const COPY = `${FRONT}/tls`;
/** Why the renewed files are not served, for `status`. */
export const PROBLEM = `${FRONT}/certificate-problem`;
const INTERVAL = 5_000; // milliseconds

/** Copies both files. If they are invalid, keeps the previous copy, records the reason, and returns false. */
export function takeCertificate({ TLS_CERT_FILE: certificate, TLS_KEY_FILE: key }) {
  const { problems } = checkTls(certificate, key);
  if (problems.length > 0) {
    if (!existsSync(COPY)) throw new Error(problems.join("; "));
    writeFileSync(PROBLEM, `${problems.join("; ")}\n`);
    return false;
  }
  mkdirSync(COPY, { recursive: true });
  for (const [name, file] of [["cert.pem", certificate], ["key.pem", key]]) {
    replaceFile(`${COPY}/${name}`, readFileSync(file), { mode: 0o600 });
  }
  rmSync(PROBLEM, { force: true });
  return true;
}

/** Polls the files until the process ends: changes in mounted folders are not reported. */
export function watchCertificate(settings) {
  const files = [settings.TLS_CERT_FILE, settings.TLS_KEY_FILE];
  const state = () => files.map((file) => statSync(file, { throwIfNoEntry: false })).map((it) => `${it?.ino} ${it?.size} ${it?.mtimeMs}`).join();
  let known = state();
  let reported = "";
  setInterval(() => {
    const now = state();
    if (now === known) return;
    try {
      if (takeCertificate(settings)) {
        known = now;
        process.kill(Number(readFileSync(`${FRONT}/nginx.pid`, "utf8")), "SIGHUP");
        console.log("the renewed certificate is served now");
      } else if (reported !== now) console.log(`the renewed certificate is not served: ${peek(PROBLEM)}`);
      // The second file may follow later, so keep checking, but report once.
      reported = now;
    } catch (error) {
      console.error(`cannot load the renewed certificate: ${error.message}`);
    }
  }, INTERVAL).unref();
}
