// The sign-in: sessions, guesses, and redirects.
import assert from "node:assert/strict";
import { test } from "node:test";
import { cookie, destination, Guesses, LIFETIME, same, Sessions, sessionIn } from "../../../image/rootfs/opt/stack/lib/access/sessions.mjs";

const SECRET = "5f".repeat(32);
const NOW = Date.UTC(2026, 10, 25);

test("a session is valid until its end", () => {
  const sessions = new Sessions(SECRET, "a long password");
  const value = sessions.begin(NOW);
  const { end, id } = sessions.read(value, NOW);
  assert.equal(end, NOW / 1000 + LIFETIME);
  assert.match(id, /^[\w-]{22}$/);
  assert.ok(sessions.read(value, NOW + LIFETIME * 1000 - 1));
  assert.equal(sessions.read(value, NOW + LIFETIME * 1000), undefined);
  assert.notEqual(sessions.begin(NOW), value);
});

test("a session of another password or another secret is invalid", () => {
  const value = new Sessions(SECRET, "a long password").begin(NOW);
  assert.equal(new Sessions(SECRET, "another password").read(value, NOW), undefined);
  assert.equal(new Sessions("60".repeat(32), "a long password").read(value, NOW), undefined);
});

test("a changed session is invalid", () => {
  const sessions = new Sessions(SECRET, "a long password");
  const value = sessions.begin(NOW);
  const [end, id, signature] = value.split(".");
  const forged = [undefined, "", ".", "..", `${end}.${id}`, `${end}.${id}.`, `${Number(end) + 1}.${id}.${signature}`, `${end}.${id}x.${signature}`];
  forged.push(`${value}x`, value.slice(0, -2), ` ${value}`, `${end}.${id}.${"A".repeat(43)}`, `-1.${id}.${signature}`, `1e99.${id}.${signature}`, "x".repeat(100_000));
  for (const one of forged) assert.equal(sessions.read(one, NOW), undefined, one);
});

test("after ten wrong passwords of one address, or a hundred of all, attempts are delayed", () => {
  const guesses = new Guesses();
  for (let count = 0; count < 10; count += 1) {
    assert.equal(guesses.wait("192.0.2.1", NOW + count), 0);
    guesses.note("192.0.2.1", NOW + count);
  }
  assert.equal(guesses.wait("192.0.2.1", NOW + 10), 60);
  assert.equal(guesses.wait("192.0.2.1", NOW + 30_000), 30);
  assert.equal(guesses.wait("192.0.2.2", NOW + 10), 0);
  for (let count = 0; count < 90; count += 1) guesses.note(`192.0.2.${10 + count}`, NOW + 10);
  assert.equal(guesses.wait("192.0.2.2", NOW + 11), 60);
  assert.equal(guesses.wait("192.0.2.1", NOW + 60_010), 0);
});

test("the session is found among other cookies", () => {
  assert.equal(sessionIn("a=1; mission_control_session=x.y.z; b=2"), "x.y.z");
  assert.equal(sessionIn("mission_control_session=x"), "x");
  for (const header of [undefined, "", "a=1", "xmission_control_session=x", "mission_control_session2=x"]) assert.equal(sessionIn(header), undefined);
});

test("signing in redirects to a path of this port only", () => {
  for (const path of ["/", "/a/b?c=d&e", "/_stack"]) assert.equal(destination(path), path);
  for (const path of [undefined, "", "a", "//evil.example", "/\\evil.example", "https://evil.example", "/a\\b", "/a b", "/a\r\nSet-Cookie: x"]) {
    assert.equal(destination(path), "/", path);
  }
});

test("a cookie is not accessible to scripts and other sites", () => {
  assert.equal(cookie("v", false), `mission_control_session=v; Path=/; Max-Age=${LIFETIME}; HttpOnly; SameSite=Lax`);
  assert.ok(cookie("v", true).endsWith("; Secure"));
  assert.match(cookie(), /=; Path=\/; Max-Age=0;/);
});

test("only the exact password is accepted", () => {
  assert.ok(same("pässword", "pässword"));
  for (const other of ["", "p", "pässword ", "Pässword"]) assert.ok(!same(other, "pässword"));
});
