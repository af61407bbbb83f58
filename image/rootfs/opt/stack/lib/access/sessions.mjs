// The sign-in to the whole stack: one password, a signed session in a cookie, a limit on guessing.
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

export const COOKIE = "mission_control_session";
/** Seconds that a session lasts. */
export const LIFETIME = 7 * 24 * 3600;
// Wrong passwords that one address, and all together, may send within a minute.
const GUESSES = 10;
const ALL_GUESSES = 100;
const MINUTE = 60_000;

const digest = (text) => createHash("sha256").update(text).digest();
const same = (a, b) => timingSafeEqual(digest(a), digest(b));

/** Sessions of one password: another password, or another secret, makes each of them void. */
export class Sessions {
  #key;

  constructor(secret, password) {
    this.#key = createHmac("sha256", secret).update(`session of ${password}`).digest();
  }

  #sign(text) {
    return createHmac("sha256", this.#key).update(text).digest("base64url");
  }

  /** A new session: `END.ID.SIGNATURE`, END in seconds since 1970. */
  begin(now = Date.now()) {
    const text = `${Math.floor(now / 1000) + LIFETIME}.${randomBytes(16).toString("base64url")}`;
    return `${text}.${this.#sign(text)}`;
  }

  /** The end and id of a session that is ours and goes on, or undefined. */
  read(value, now = Date.now()) {
    const [, text, end, id, signature] = /^((\d{1,12})\.([\w-]{1,64}))\.([\w-]{1,64})$/.exec(value ?? "") ?? [];
    if (text === undefined || !same(signature, this.#sign(text)) || Number(end) * 1000 <= now) return undefined;
    return { end: Number(end), id };
  }
}

/** Counts wrong passwords. */
export class Guesses {
  #wrong = [];

  /** Seconds to wait before this address may try again; 0 when it may. */
  wait(address, now = Date.now()) {
    this.#wrong = this.#wrong.filter((guess) => now - guess.at < MINUTE);
    const own = this.#wrong.filter((guess) => guess.address === address);
    const oldest = own.length >= GUESSES ? own[0] : this.#wrong.length >= ALL_GUESSES ? this.#wrong[0] : undefined;
    return oldest === undefined ? 0 : Math.ceil((oldest.at + MINUTE - now) / 1000);
  }

  note(address, now = Date.now()) {
    this.#wrong.push({ address, at: now });
  }
}

/** The session's value in a Cookie header, or undefined. */
export function sessionIn(header) {
  for (const part of (header ?? "").split(";")) {
    const [name, value] = part.trim().split("=", 2);
    if (name === COOKIE) return value;
  }
  return undefined;
}

/** Where the browser goes after signing in: a path of this port, whatever was asked for. */
export function destination(asked) {
  return /^\/(?![/\\])[^\s\\]*$/.test(asked ?? "") ? asked : "/";
}

/** A Set-Cookie header; without a value, one that ends the session. */
export function cookie(value, secure) {
  const end = value === undefined ? 0 : LIFETIME;
  return `${COOKIE}=${value ?? ""}; Path=/; Max-Age=${end}; HttpOnly; SameSite=Lax${secure ? "; Secure" : ""}`;
}

/** Whether this is the password. */
export function isPassword(given, password) {
  return same(given, password);
}
