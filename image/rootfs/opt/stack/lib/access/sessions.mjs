// Sign-in to the whole stack: one password, signed session cookies, and a limit on guesses.
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto";

export const COOKIE = "mission_control_session";
/** Duration of a session in seconds. */
export const LIFETIME = 7 * 24 * 3600;
// Wrong passwords allowed within a minute, from one address and from all.
const GUESSES = 10;
const ALL_GUESSES = 100;
const MINUTE = 60_000;

const digest = (text) => createHash("sha256").update(text).digest();

/** Whether two texts are the same, compared in constant time. */
export const same = (a, b) => timingSafeEqual(digest(a), digest(b));

/** Sessions of one password. They end if the password or the secret changes. */
export class Sessions {
  #key;

  constructor(secret, password) {
    this.#key = createHmac("sha256", secret).update(`session of ${password}`).digest();
  }

  #sign(text) {
    return createHmac("sha256", this.#key).update(text).digest("base64url");
  }

  /** Creates a session: `END.ID.SIGNATURE`, END in seconds since 1970. */
  begin(now = Date.now()) {
    const text = `${Math.floor(now / 1000) + LIFETIME}.${randomBytes(16).toString("base64url")}`;
    return `${text}.${this.#sign(text)}`;
  }

  /** The end and id of a valid session, or undefined. */
  read(value, now = Date.now()) {
    const [, text, end, id, signature] = /^((\d{1,12})\.([\w-]{1,64}))\.([\w-]{1,64})$/.exec(value ?? "") ?? [];
    if (text === undefined || !same(signature, this.#sign(text)) || Number(end) * 1000 <= now) return undefined;
    return { end: Number(end), id };
  }
}

/** Counts wrong passwords of the last minute. */
export class Guesses {
  #wrong = [];

  /** Seconds until this address may try again; 0 if it may now. */
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

const IN_HEADER = new RegExp(`(?:^|;) *${COOKIE}=([^;]*)`);

/** The session in a Cookie header, or undefined. */
export const sessionIn = (header) => IN_HEADER.exec(header ?? "")?.[1];

/** Where the browser goes after signing in: always a path of this port. */
export function destination(asked) {
  return /^\/(?![/\\])[^\s\\]*$/.test(asked ?? "") ? asked : "/";
}

/** A Set-Cookie header; without a value, it deletes the cookie. */
export function cookie(value, secure) {
  const end = value === undefined ? 0 : LIFETIME;
  return `${COOKIE}=${value ?? ""}; Path=/; Max-Age=${end}; HttpOnly; SameSite=Lax${secure ? "; Secure" : ""}`;
}
