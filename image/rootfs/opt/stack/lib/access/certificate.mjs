// The certificate that the front serves: a copy of what TLS_CERT_FILE and TLS_KEY_FILE name, taken when both are right
// and belong together. Renewed files are taken up while all runs.
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { peek, replaceFile } from "../common.mjs";
import { RUNTIME } from "../settings/read.mjs";
import { checkTls } from "./tls.mjs";

const FRONT = `${RUNTIME}/front`;
const COPY = `${FRONT}/tls`;
/** Why renewed files are not served, for `status`. */
export const PROBLEM = `${FRONT}/certificate-problem`;
const INTERVAL = 5_000; // milliseconds

/** Copies both files; when they are wrong, the former copy stays, and the reason is kept. Tells whether they are served. */
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

/** Looks after the files until the process ends: a mounted folder tells no changes. */
export function watchCertificate(settings) {
  const files = [settings.TLS_CERT_FILE, settings.TLS_KEY_FILE];
  const state = () => files.map((file) => statSync(file, { throwIfNoEntry: false })).map((it) => `${it?.ino} ${it?.size} ${it?.mtimeMs}`).join();
  let known = state();
  let told = "";
  setInterval(() => {
    const now = state();
    if (now === known) return;
    try {
      if (takeCertificate(settings)) {
        known = now;
        process.kill(Number(readFileSync(`${FRONT}/nginx.pid`, "utf8")), "SIGHUP");
        console.log("the renewed certificate is served");
      } else if (told !== now) console.log(`the renewed certificate is not served: ${peek(PROBLEM)}`);
      // One of two files may come later: it is looked at again, and told once.
      told = now;
    } catch (error) {
      console.error(`the renewed certificate cannot be taken: ${error.message}`);
    }
  }, INTERVAL).unref();
}
