// The parts of backups: archives, paths, versions.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { among, isPlain } from "../../../image/rootfs/opt/stack/lib/backup/paths.mjs";
import { END, Invalid, header, padding, read } from "../../../image/rootfs/opt/stack/lib/backup/tar.mjs";
import { choose, compare } from "../../../image/rootfs/opt/stack/lib/backup/versions.mjs";

const long = `${"folder/".repeat(40)}ñame`;
const entries = [
  { name: "a", type: "folder", mode: 0o700, mtime: 1 },
  { name: "a/empty", content: "" },
  { name: "a/block", content: "x".repeat(512), mode: 0o644, mtime: 1764078300 },
  { name: "a/ünï\ncode", content: "1" },
  { name: `a/${long}`, content: "long" },
  { name: "a/link", type: "link", link: `../${long}` },
];
const archive = Buffer.concat([
  ...entries.flatMap(({ content = "", ...entry }) => [header({ ...entry, size: Buffer.byteLength(content) }), Buffer.from(content), padding(Buffer.byteLength(content))]),
  END,
]);

/** In chunks that match no boundary. */
function* chunks(bytes, size = 37) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all(bytes) {
  const found = [];
  for await (const { body, ...entry } of read((async function* () { yield* chunks(bytes); })())) {
    const parts = [];
    for await (const part of body) parts.push(part);
    found.push({ ...entry, content: Buffer.concat(parts).toString() });
  }
  return found;
}

test("an archive is read as it was written", async () => {
  const found = await all(archive);
  const expected = entries.map((entry) => ({ type: "file", mode: 0o600, mtime: 0, link: "", content: "", ...entry }));
  assert.deepEqual(found, expected.map((entry) => ({ ...entry, size: Buffer.byteLength(entry.content) })));
});

test("tar reads the archive", () => {
  const listed = execFileSync("tar", ["--quoting-style=literal", "-tf", "-"], { input: archive, encoding: "utf8" });
  assert.equal(listed, entries.map(({ name }) => `${name}\n`).join(""));
});

test("an archive of tar is read", async () => {
  const made = execFileSync("tar", ["--format=ustar", "-cf", "-", "-C", "/etc", "hostname"]);
  assert.deepEqual((await all(made)).map(({ name, type }) => [name, type]), [["hostname", "file"]]);
});

const hard = Buffer.from(header({ name: "h" }));
hard.write("1", 156);
for (const [what, bytes] of Object.entries({
  "a cut": archive.subarray(0, 2000),
  "a cut between entries": archive.subarray(0, 512),
  "another byte in a header": Buffer.concat([Buffer.from("A"), archive.subarray(1)]),
  "text": Buffer.from("x".repeat(1024)),
  "a hard link": hard,
})) {
  test(`${what} is not an archive`, () => assert.rejects(all(bytes), Invalid));
}

test("versions are ordered", () => {
  const day = (text) => `precompiled-${text}`;
  for (const [older, newer] of [
    ["2026.9.1", "2026.9.6"], ["2026.9.6", "2026.10.1"], ["2026.2.23-beta.1", "2026.2.23"], ["2026.2.2", "2026.2.2-3"],
    ["2026.2.2-3", "2026.2.2-12"], ["0.9.04", "v0.16.2"], ["v0.9.16", "v0.9.20"], ["1.2.15", "1.18.3"],
    [day("2026-09-11-157eb19"), day("2026-09-28-0c7cb5b")],
  ]) {
    assert.ok(compare(older, newer) < 0, `${older} ${newer}`);
    assert.ok(compare(newer, older) > 0, `${newer} ${older}`);
  }
  assert.equal(compare("1.0", "1.0"), 0);
  for (const [a, b] of [[day("2026-09-11-157eb19"), day("2026-09-11-0000000")], ["1.0", "main"], [undefined, "1.0"], [day("2026-09-11-1"), "1.0"]]) {
    assert.equal(compare(a, b), undefined, `${a} ${b}`);
  }
});

test("a rollback chooses the newest states that this image can open, or the one before the last update", () => {
  const state = (name, versions) => ({ name, head: { versions } });
  const states = [state("4", { a: "3" }), state("3", { a: "2", b: "1" }), state("2", { b: "1" }), state("1", { a: null })];
  for (const [versions, ours, expected] of [
    // An older image on newer data.
    [{ a: "3", b: "1" }, { a: "2", b: "1" }, ["3"]],
    [{ a: "3", b: "1" }, { a: "1", b: "1" }, ["1"]],
    [{ a: "3", b: "2" }, { a: "1", b: "1" }, ["1", "2"]],
    [{ b: "2" }, { b: "0" }, []],
    // The image that made the last update.
    [{ a: "4", b: "1" }, { a: "4", b: "1" }, ["4"]],
    [{ a: "3", b: "2" }, { a: "3", b: "2" }, ["3"]],
  ]) {
    assert.deepEqual(choose(states, versions, ours).map(({ name }) => name), expected, JSON.stringify({ versions, ours }));
  }
});

test("exclusions match a path, or the start of a name", () => {
  const { has, below } = among(["a/cache", "b/work*"]);
  for (const path of ["a/cache", "a/cache/x", "b/work", "b/workspace", "b/work-2/x"]) assert.ok(has(path), path);
  for (const path of ["a", "a/cached", "b", "b/wor", "a/x/cache"]) assert.ok(!has(path), path);
  assert.ok(below("a") && below("b") && !below("c") && !below("a/cache"));
});

test("no path leads out of its folder", () => {
  for (const path of ["a", "a/b.c", "a/..b", ".a", "a b\nc"]) assert.ok(isPlain(path), path);
  for (const path of ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.", "a\0b"]) assert.ok(!isPlain(path), JSON.stringify(path));
});
