// The dashboard loads its editor from the image, or the build fails with a hint.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../standins/tests/support.mjs";

const program = new URL("../../../image/build/dashboard-editor.mjs", import.meta.url).pathname;
const CHUNK = "_next/static/chunks/pages/_app-1.js";

function run(context, script) {
  const parts = ["LICENSE", "ThirdPartyNotices.txt", "esm/no.js", "min/vs/loader.js", "min/vs/nls.messages.de.js", "min/vs/assets/css.worker-A.js", "min/vs/assets/ts.worker-B.js"];
  const root = temporaryFolder(context, {
    "dashboard/index.html": "<html></html>",
    [`dashboard/${CHUNK}`]: script,
    "package/package.json": JSON.stringify({ name: "monaco-editor", version: "0.54.0" }),
    ...Object.fromEntries(parts.map((part) => [`package/${part}`, part])),
  });
  const { status, stderr } = spawnSync(process.execPath, [program, join(root, "dashboard"), join(root, "package")], { encoding: "utf8" });
  return { root, status, stderr };
}

test("the CDN's URL is replaced by one of the image, with the files that browsers need", (context) => {
  const { root, status, stderr } = run(context, 'a={paths:{vs:"https://cdn.jsdelivr.net/npm/monaco-editor@0.54.0/min/vs"}}');
  assert.equal(status, 0, stderr);
  assert.equal(readFileSync(join(root, "dashboard", CHUNK), "utf8"), 'a={paths:{vs:"/_monaco/0.54.0/vs"}}');
  assert.deepEqual(readdirSync(join(root, "dashboard/_monaco/0.54.0/vs"), { recursive: true }).sort(), ["assets", "assets/ts.worker-B.js", "loader.js"]);
  const kept = join(root, "convex-editor/node_modules/monaco-editor");
  assert.ok(existsSync(join(kept, "package.json")) && existsSync(join(kept, "LICENSE")) && !existsSync(join(kept, "esm")));
});

test("unknown pages fail the build with a hint", (context) => {
  for (const [script, message] of [
    ['"https://cdn.jsdelivr.net/npm/monaco-editor@0.55.1/min/vs"', "cargo xtask bump monaco --to 0.55.1"],
    ['"https://cdn.jsdelivr.net/npm/monaco-editor@0.54.0/dev/vs"', `use cdn.jsdelivr.net in ${CHUNK}`],
    ['"https://cdn.jsdelivr.net/npm/monaco-editor@0.54.0/min/vs","https://cdn.jsdelivr.net/npm/other"', `use cdn.jsdelivr.net in ${CHUNK}`],
    ['"https://unpkg.com/monaco-editor@0.54.0/min/vs"', "no longer load their editor from cdn.jsdelivr.net"],
  ]) {
    const { status, stderr } = run(context, script);
    assert.equal(status, 1, script);
    assert.ok(stderr.includes(message), stderr);
  }
});
