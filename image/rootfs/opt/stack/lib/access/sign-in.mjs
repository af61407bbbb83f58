// The sign-in pages, on every port below /_stack/: the access check for the front, the form, and the sign-out.
import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { cookie, destination, Guesses, same, Sessions, sessionIn } from "./sessions.mjs";
import { escape, document } from "../status/page.mjs";
import { read, secret } from "../settings/read.mjs";

// Sessions ended by sign-out, one a line: end, id. Kept on the volume, so that they stay ended after a restart.
const FOLDER = "/data/access";
const ENDED = `${FOLDER}/signed-out`;
const LONGEST_FORM = 4096;

const guesses = new Guesses();
let ended;

/** The ids of ended sessions. The first use removes expired ones from the file. */
export function endedSessions() {
  if (ended) return ended;
  mkdirSync(FOLDER, { recursive: true });
  const lines = (read(ENDED) ?? "").split("\n").filter(Boolean);
  const live = lines.filter((line) => Number(line.split(" ")[0]) * 1000 > Date.now());
  if (live.length < lines.length) writeFileSync(ENDED, live.map((line) => `${line}\n`).join(""), { mode: 0o600 });
  ended = new Set(live.map((line) => line.split(" ")[1]));
  return ended;
}

// Read each time, so that a changed password applies at once.
const password = () => secret("ACCESS_PASSWORD");
const sessions = () => new Sessions(secret("ACCESS_SECRET"), password());

function sessionOf(request) {
  const session = sessions().read(sessionIn(request.headers.cookie));
  return session && !endedSessions().has(session.id) ? session : undefined;
}

function form(to, message) {
  return document("Sign in", `<h1>Sign in</h1>
<p>Enter the stack's password. On its machine, <code>docker compose exec stack secrets ACCESS_PASSWORD</code> prints it.</p>
${message ? `<p class="failed" role="alert">${escape(message)}</p>` : ""}
<form method="post" action="/_stack/sign-in">
<input type="hidden" name="to" value="${escape(to)}">
<p><label>Password <input type="password" name="password" autocomplete="current-password" required autofocus></label> <button>Sign in</button></p>
</form>`);
}

async function readForm(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > LONGEST_FORM) return undefined;
  }
  return new URLSearchParams(text);
}

async function signIn(request, reply) {
  const secure = request.headers["x-forwarded-proto"] === "https";
  const address = request.headers["x-real-ip"];
  const fields = await readForm(request);
  if (fields === undefined) return reply(413, "text/plain; charset=utf-8", "the form is too long\n");
  const to = destination(fields.get("to"));
  const wait = guesses.wait(address);
  if (wait > 0) return reply(429, "text/html; charset=utf-8", form(to, `Too many wrong passwords. Try again in ${wait} s.`), { "Retry-After": wait });
  if (!same(fields.get("password") ?? "", password())) {
    guesses.note(address);
    console.log(`a wrong password from ${address}`);
    return reply(403, "text/html; charset=utf-8", form(to, "Wrong password."));
  }
  reply(303, "text/plain; charset=utf-8", "signed in\n", { Location: to, "Set-Cookie": cookie(sessions().begin(), secure) });
}

function signOut(request, reply) {
  const session = sessionOf(request);
  if (session) {
    endedSessions().add(session.id);
    appendFileSync(ENDED, `${session.end} ${session.id}\n`, { mode: 0o600 });
  }
  reply(303, "text/plain; charset=utf-8", "signed out\n", { Location: "/_stack/sign-in", "Set-Cookie": cookie() });
}

/** Handles requests of the sign-in; returns false for all others. `reply(code, type, body, headers)` ends a request. */
export async function route(request, path, reply) {
  switch (`${request.method} ${path}`) {
    case "GET /_stack/access": {
      const signedIn = sessionOf(request) !== undefined;
      if (!signedIn && request.headers["x-near"] !== "1") return reply(401, "text/plain", "");
      return reply(204, "text/plain", "", signedIn ? { "X-Signed-In": "1" } : {});
    }
    case "GET /_stack/sign-in": {
      const to = /[?&]to=(.*)$/.exec(request.url)?.[1];
      if (sessionOf(request)) {
        const out = `<h1>Signed in</h1>\n<p><a href="${escape(destination(to))}">Continue</a></p>\n<form method="post" action="/_stack/sign-out"><p><button>Sign out</button></p></form>`;
        return reply(200, "text/html; charset=utf-8", document("Signed in", out));
      }
      return reply(200, "text/html; charset=utf-8", form(destination(to)));
    }
    case "POST /_stack/sign-in":
      return signIn(request, reply);
    case "POST /_stack/sign-out":
      return signOut(request, reply);
    default:
      return false;
  }
}
