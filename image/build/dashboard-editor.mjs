// Makes the dashboard load its editor (Monaco) from the image: dashboard-editor.mjs DASHBOARD PACKAGE. PACKAGE is
// Monaco's folder in node_modules; the files for browsers are copied to DASHBOARD/../convex-editor.
//
// Upstream's pages load it from a public CDN, which needs internet access and lets the CDN see who opens the dashboard.
// Fails if the pages need another version than the pinned one, or use the CDN in an unknown way.
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

const [dashboard, source] = process.argv.slice(2);
const SERVER = "cdn.jsdelivr.net";
const ADDRESS = /(?<=["'`])https:\/\/cdn\.jsdelivr\.net\/npm\/monaco-editor@([0-9.]+)\/min\/vs(?=["'`])/g;
// The dashboard edits TypeScript, JavaScript and JSON, in English.
const UNUSED = [/^assets\/(css|html)\.worker-.*\.js$/, /^nls\.messages\..*\.js$/];

function fail(why) {
  console.error(`the dashboard's pages ${why}`);
  process.exit(1);
}

const { name, version } = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
// The URL contains the version, so that browsers do not cache another one.
const place = `_monaco/${version}`;
let changed = 0;
for (const path of readdirSync(dashboard, { recursive: true }).filter((it) => /\.(js|html|json|css)$/.test(it))) {
  const file = join(dashboard, path);
  const before = readFileSync(file, "utf8");
  if (!before.includes(SERVER)) continue;
  const after = before.replace(ADDRESS, (_, wanted) => {
    if (wanted !== version) {
      fail(`want ${name} ${wanted}, image/npm/monaco has ${version}: set require = "=${wanted}" of [components.monaco] in stack.toml, then run cargo xtask bump monaco --to ${wanted}`);
    }
    changed += 1;
    return `/${place}/vs`;
  });
  if (after.includes(SERVER)) fail(`use ${SERVER} in ${path} in an unknown way: check what they load from there, and adapt build/dashboard-editor.mjs`);
  writeFileSync(file, after);
}
if (changed === 0) fail(`no longer load their editor from ${SERVER}: check where it comes from now; build/dashboard-editor.mjs and [components.monaco] may no longer be needed`);

const kept = join(dirname(dashboard), "convex-editor/node_modules", name);
mkdirSync(kept, { recursive: true });
for (const part of ["package.json", "LICENSE", "ThirdPartyNotices.txt", "min"]) cpSync(join(source, part), join(kept, part), { recursive: true });
const files = join(kept, "min/vs");
const unused = readdirSync(files, { recursive: true }).filter((path) => UNUSED.some((it) => it.test(path)));
for (const path of unused) rmSync(join(files, path));
mkdirSync(join(dashboard, dirname(place)));
symlinkSync(join("../../convex-editor/node_modules", name, "min"), join(dashboard, place));
