// Installed packages match the lockfile: an incomplete installation is repeated, and then refused.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { installedNpm, wantedNpm } from "../../../image/build/npm-lock.mjs";
import { fits } from "../../../image/build/platform.mjs";
import { parse, wantedPnpm } from "../../../image/build/pnpm-lock.mjs";
import { listen, temporaryFolder } from "../../standins/tests/support.mjs";

const build = new URL("../../../image/build/", import.meta.url).pathname;
const platform = { os: "linux", cpu: "x64", libc: "glibc" };
const onPlatform = (entry) => fits(entry, platform);

test("platforms are matched by npm's rule", () => {
  for (const [entry, expected] of [
    [{}, true],
    [{ os: ["linux"], cpu: ["x64"], libc: ["glibc"] }, true],
    [{ os: ["!win32"], cpu: "x64" }, true],
    [{ os: ["!linux"] }, false],
    [{ cpu: ["arm64"] }, false],
    [{ libc: ["musl"] }, false],
    [{ cpu: ["any"] }, true],
  ]) assert.equal(fits(entry, platform), expected, JSON.stringify(entry));
});

test("dependencies of packages for other platforms are not expected", () => {
  const packages = {
    "": { dependencies: { top: "1" }, devDependencies: { tool: "1" } },
    "node_modules/top": { dependencies: { nested: "1" }, optionalDependencies: { native: "1", foreign: "1" }, peerDependencies: { peer: "1", rare: "1" }, peerDependenciesMeta: { rare: { optional: true } } },
    "node_modules/top/node_modules/nested": { version: "2.0.0" },
    "node_modules/nested": { version: "1.0.0" },
    "node_modules/native": { cpu: ["x64"], optional: true },
    "node_modules/foreign": { cpu: ["wasm32"], optional: true, dependencies: { helper: "1" } },
    "node_modules/helper": { optional: true },
    "node_modules/peer": {},
    "node_modules/rare": {},
    "node_modules/tool": { dev: true },
  };
  const wanted = ["node_modules/native", "node_modules/peer", "node_modules/top", "node_modules/top/node_modules/nested"];
  assert.deepEqual(wantedNpm(packages, onPlatform, true), wanted);
  assert.deepEqual(wantedNpm(packages, onPlatform, false), [...wanted, "node_modules/tool"].sort());
});

const PNPM = `lockfileVersion: '9.0'

settings:
  autoInstallPeers: true

importers:

  .:
    devDependencies:
      tool:
        specifier: ^1.0.0
        version: 1.0.0

  backend:
    dependencies:
      '@a/shared':
        specifier: workspace:*
        version: link:../shared
      '@b/top':
        specifier: ^1.0.0
        version: 1.0.0(peer@2.0.0)
      alias:
        specifier: npm:peer@2
        version: peer@2.0.0

packages:

  '@b/top@1.0.0':
    resolution: {integrity: sha512-x==}
    engines: {node: '>=18', npm: '>=6'}
    bundledDependencies:
      - inside

  native-arm64@1.0.0:
    resolution: {integrity: sha512-x==}
    cpu: [arm64]
    os: [linux]
    libc: [glibc]

  native-x64@1.0.0:
    resolution: {integrity: sha512-x==}
    cpu: [x64]
    os: [linux]
    libc: [glibc]

  peer@2.0.0:
    resolution: {integrity: sha512-x==}

  tool@1.0.0:
    resolution: {integrity: sha512-x==}

snapshots:

  '@b/top@1.0.0(peer@2.0.0)':
    dependencies:
      peer: 2.0.0
    optionalDependencies:
      native-arm64: 1.0.0
      native-x64: 1.0.0
    transitivePeerDependencies:
      - supports-color

  native-arm64@1.0.0:
    optional: true

  native-x64@1.0.0:
    optional: true

  peer@2.0.0: {}

  tool@1.0.0: {}
`;

test("pnpm's lockfile is parsed", () => {
  assert.deepEqual(parse(PNPM).packages["@b/top@1.0.0"].engines, { node: ">=18", npm: ">=6" });
  const production = ["@b/top@1.0.0", "native-x64@1.0.0", "peer@2.0.0"];
  assert.deepEqual(wantedPnpm(PNPM, onPlatform, true, ["backend"]), production);
  assert.deepEqual(wantedPnpm(PNPM, onPlatform, false, []), [...production, "tool@1.0.0"]);
  assert.throws(() => wantedPnpm(PNPM, onPlatform, true, ["frontend"]), /no importer frontend/);
  assert.throws(() => wantedPnpm(PNPM.replace("'9.0'", "'6.0'"), onPlatform, true, []), /lockfileVersion 6.0/);
  assert.throws(() => parse("a\n"), /unknown form/);
});

function tarball(context, manifest) {
  const folder = temporaryFolder(context, { "package/package.json": JSON.stringify(manifest) });
  return spawnSync("tar", ["--create", "--gzip", "--directory", folder, "package"]).stdout;
}

// A registry with a package and its native one for this machine, whose download fails `failures` times.
async function registry(context, failures) {
  const native = { name: "native", version: "1.0.0", os: ["linux"], cpu: [process.arch] };
  const top = { name: "top", version: "1.0.0", optionalDependencies: { native: "1.0.0" } };
  const tarballs = { top: tarball(context, top), native: tarball(context, native) };
  const integrity = (name) => `sha512-${createHash("sha512").update(tarballs[name]).digest("base64")}`;
  const asked = { top: 0, native: 0 };
  const address = await listen(context, (request, response) => {
    const [, name, file] = request.url.split("/");
    if (file) {
      asked[name] += 1;
      response.writeHead(asked[name] <= (failures[name] ?? 0) ? 500 : 200).end(tarballs[name]);
      return;
    }
    const manifest = { ...{ top, native }[name], dist: { integrity: integrity(name), tarball: `${address}/${name}/${name}.tgz` } };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ name, "dist-tags": { latest: "1.0.0" }, versions: { "1.0.0": manifest } }));
  });
  const lock = {
    name: "x", lockfileVersion: 3, requires: true,
    packages: {
      "": { name: "x", dependencies: { top: "1.0.0" } },
      "node_modules/native": { version: "1.0.0", integrity: integrity("native"), os: native.os, cpu: native.cpu, optional: true },
      "node_modules/top": { version: "1.0.0", integrity: integrity("top"), optionalDependencies: top.optionalDependencies },
    },
  };
  return { address, lock, asked };
}

const NPM_CI = ["install.sh", "npm native --prod", "npm", "ci", "--ignore-scripts", "--omit=dev"];

// Also returns the versions that are installed at those paths of the checkout.
async function install(context, failures, [script, ...words] = NPM_CI, paths = []) {
  const { address, lock, asked } = await registry(context, failures);
  const checkout = temporaryFolder(context, {
    "package.json": JSON.stringify({ name: "x", dependencies: { top: "1.0.0" } }),
    "package-lock.json": JSON.stringify(lock),
  });
  const env = { ...process.env, npm_config_registry: address, npm_config_cache: temporaryFolder(context), npm_config_fetch_retries: "0", npm_config_audit: "false" };
  const child = spawn(join(build, script), words, { cwd: checkout, env });
  let said = "";
  child.stdout.on("data", (data) => (said += data));
  child.stderr.on("data", (data) => (said += data));
  const code = await new Promise((ended) => child.on("close", ended));
  return { code, said, asked, versions: paths.map((path) => installedNpm(join(checkout, path))) };
}

// Each waits for pauses between attempts.
describe("installations", { concurrency: true }, () => {
  test("an incomplete installation that npm reports as complete is repeated", async (context) => {
    const { code, said, asked } = await install(context, { native: 1 });
    assert.equal(code, 0, said);
    assert.match(said, /native 1\.0\.0 is not installed\ninstallation 1 of 3 failed or is incomplete/);
    assert.equal(asked.native, 2);
  });

  test("an installation that fails is repeated", async (context) => {
    const { code, said, asked } = await install(context, { top: 1 });
    assert.equal(code, 0, said);
    assert.match(said, /installation 1 of 3 failed or is incomplete/);
    assert.equal(asked.top, 2);
  });

  test("an installation that stays incomplete is refused with the missing package", async (context) => {
    const { code, said } = await install(context, { native: 99 });
    assert.equal(code, 1, said);
    assert.match(said, /the packages that npm installed for \w+ differ from package-lock.json:\n {2}node_modules\/native 1\.0\.0 is not installed/);
    assert.match(said, /installation 3 of 3 failed or is incomplete/);
  });

  test("packages of one architecture are installed apart from those that all can use", async (context) => {
    const paths = ["node_modules/top", "node_modules/native"];
    const everywhere = await install(context, {}, ["npm-ci.sh", "any"], paths);
    assert.deepEqual(everywhere.versions, ["1.0.0", undefined], everywhere.said);
    const ofOne = await install(context, {}, ["native-packages.sh", "native", "out"], paths.map((path) => join("out", path)));
    assert.deepEqual(ofOne.versions, [undefined, "1.0.0"], ofOne.said);
  });

  test("a failed download of a native package is repeated, and refused in the end", async (context) => {
    const codes = [1, 99].map(async (failures) => (await install(context, { native: failures }, ["native-packages.sh", "native", "out"])).code);
    assert.deepEqual(await Promise.all(codes), [0, 1]);
  });
});

test("a package of one architecture keeps its place, its name, and what only it needs", (context) => {
  const packages = {
    "": { dependencies: { top: "1.0.0" } },
    "node_modules/top": { version: "1.0.0", optionalDependencies: { alias: "npm:@a/native@1.0.0", foreign: "1.0.0" } },
    "node_modules/top/node_modules/alias": { name: "@a/native", version: "1.0.0", cpu: ["arm64"], optional: true, dependencies: { helper: "2.0.0" } },
    "node_modules/helper": { version: "2.0.0", integrity: "sha512-h", optional: true },
    "node_modules/foreign": { version: "1.0.0", cpu: ["x64"], optional: true },
  };
  const folder = temporaryFolder(context, { "package-lock.json": JSON.stringify({ packages }) });
  const { stdout, stderr } = spawnSync("node", [join(build, "native-lock.mjs"), "arm64", "."], { cwd: folder, encoding: "utf8" });
  const lock = JSON.parse(readFileSync(join(folder, "package-lock.json"), "utf8"));
  assert.equal(stdout, "native-0\tnode_modules/helper\nnative-1\tnode_modules/top/node_modules/alias\n", stderr);
  assert.deepEqual(lock.packages[""].dependencies, { "native-0": "npm:helper@2.0.0", "native-1": "npm:@a/native@1.0.0" });
  assert.deepEqual(lock.packages["node_modules/native-0"], { name: "helper", version: "2.0.0", integrity: "sha512-h" });
});
