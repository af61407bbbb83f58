// The check of settings, with the image's own table.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { checkSettings } from "../../../image/rootfs/opt/stack/lib/settings/check.mjs";
import { Wrong, spelled } from "../../../image/rootfs/opt/stack/lib/settings/forms.mjs";
import { temporaryFolder } from "../../standins/tests/support.mjs";

const table = JSON.parse(readFileSync(new URL("../../../image/rootfs/opt/stack/stack.json", import.meta.url), "utf8"));
const check = (environment, kept = {}) => checkSettings(table, environment, (file) => kept[file]);

/** The errors of these settings. */
const problems = (environment, kept) => check(environment, kept).problems;

/** All values, given these settings, which must be valid. */
function values(environment) {
  const checked = check(environment);
  assert.deepEqual(checked.problems, [], JSON.stringify(environment));
  return checked.values;
}

function assertMessages(lines, ...parts) {
  assert.equal(lines.length, parts.length, `${parts}: ${lines}`);
  for (const part of parts) assert.ok(lines.some((line) => line.includes(part)), `${part}: ${lines}`);
}

const folder = temporaryFolder({ after });
function file(name, text) {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test("defaults apply when nothing is set", () => {
  const { given, isOn, notices, values: all } = check({});
  assert.deepEqual([given, notices], [{}, []]);
  assert.equal(all.LLAMACPP_PORT, "8080");
  assert.equal(all.MISSION_CONTROL_ORIGIN, "http://127.0.0.1:3000");
  assert.equal(all.CONVEX_SELF_HOSTED_URL, "http://127.0.0.1:13210");
  assert.equal(all.OPENCLAW_INNER_PORT, "28789");
  assert.deepEqual([all.ACCESS, all.ALLOWED_HOSTS, all.TRUSTED_PROXIES, all.SCHEME], ["auto", "", "", "http"]);
  assert.ok(table.services.every(({ name }) => isOn(name)));
  assert.ok(Object.values(all).every((value) => typeof value === "string"));
  // Compose passes on empty variables of .env.
  const empty = Object.fromEntries(table.settings.flatMap(({ name }) => [[name, ""], [`${name}_FILE`, ""]]));
  assert.deepEqual(check(empty).values, all);
});

test("defaults follow the settings they refer to", () => {
  const all = values({ CONVEX_BACKEND_PORT: "4210", PUBLIC_HOST: "Box.LAN", MANAGER_ORIGIN: "https://manager.box.lan", OPENCODE_ENABLED: "No", MISSION_CONTROL_PORT: "80" });
  assert.equal(all.CONVEX_CLOUD_ORIGIN, "http://box.lan:4210");
  assert.equal(all.CONVEX_SELF_HOSTED_URL, "http://127.0.0.1:13210");
  assert.equal(all.MANAGER_ORIGIN, "https://manager.box.lan");
  // Browsers omit the default port.
  assert.equal(all.MISSION_CONTROL_ORIGIN, "http://box.lan");
  // The Manager needs OpenCode, so it is off too.
  assert.deepEqual([all.OPENCODE_ENABLED, all.MANAGER_ENABLED], ["false", "false"]);
});

test("MODEL_BASE_URL turns llama.cpp off unless it is turned on explicitly", () => {
  const other = { MODEL_BASE_URL: "http://box.lan:11434/v1", MODEL_NAME: "qwen3:8b" };
  assert.deepEqual([{}, other, { ...other, LLAMACPP_ENABLED: "yes" }].map((given) => check(given).values.LLAMACPP_ENABLED), ["true", "false", "true"]);
});

test("a certificate makes all origins https", () => {
  // tls.test.mjs checks whether it can be served.
  const { values: all } = check({ TLS_CERT_FILE: "/nowhere", PUBLIC_HOST: "box.lan", OPENCLAW_PORT: "443", MANAGER_ORIGIN: "http://box.lan" });
  assert.deepEqual([all.SCHEME, all.MISSION_CONTROL_ORIGIN], ["https", "https://box.lan:3000"]);
  assert.deepEqual([all.OPENCLAW_ORIGIN, all.MANAGER_ORIGIN], ["https://box.lan", "http://box.lan"]);
  assert.ok(all.CONVEX_SELF_HOSTED_URL.startsWith("http://127.0.0.1:") && all.CONVEX_SITE_ORIGIN.startsWith("http://127.0.0.1:"));
});

test("each form in the table exists", () => {
  for (const { name, form } of table.settings) {
    try {
      spelled(form, "?");
    } catch (error) {
      assert.ok(error instanceof Wrong, `${name}: ${error}`);
    }
  }
});

test("values are normalized", () => {
  for (const [form, given, one] of [
    ["host", "BOX.Lan", "box.lan"],
    ["host", "[FE80:0:0::0001]", "[fe80::1]"],
    ["host", "[::ffff:10.0.0.1]", "[::ffff:a00:1]"],
    ["hosts", "A.lan, b.lan,a.LAN,[::1]", "a.lan,b.lan,[::1]"],
    ["networks", "10.0.0.0/8, FD00::/8,192.168.1.1", "10.0.0.0/8,fd00::/8,192.168.1.1"],
    ["networks", "Gateway,10.0.0.7", "gateway,10.0.0.7"],
    ["origin", "https://Box.lan:443", "https://box.lan"],
    ["origin", "HTTP://box.lan:80", "http://box.lan"],
    ["origin", "http://box.lan:443", "http://box.lan:443"],
    ["origin", "https://[FD00::1]:8443", "https://[fd00::1]:8443"],
    ["address", "FD00::1", "fd00::1"],
    ["access", "Always", "always"],
    ["bool", "YES", "true"],
    ["path", "/data/convex//", "/data/convex"],
    ["path", "/", "/"],
    ["model", "/data/models/a.gguf", "/data/models/a.gguf"],
    ["model", "HF:unsloth/Qwen3-4B-GGUF:UD-Q4_K_XL", "hf:unsloth/Qwen3-4B-GGUF:UD-Q4_K_XL"],
    ["hex64", "AB".repeat(32), "ab".repeat(32)],
    ["url", "https://x.y/m.gguf?a=b&c#d", "https://x.y/m.gguf?a=b&c#d"],
  ]) {
    assert.equal(spelled(form, given), one, `${form} ${given}`);
    assert.equal(spelled(form, one), one, `${form} ${one}`);
  }
});

test("accepted values are normalized and contain nothing that a configuration file would interpret", () => {
  const plain = ["token", "name", "bool", "port", "path", "origin", "host", "hosts", "networks", "address", "access", "email", "hex64"];
  const pieces = ["a", "Z", "0", "9", "10.0.0.1", "::1", "[", "]", ".", "-", "_", ":", "/", "//", "http://", "%", "@", ",", " ", "=", "true", "/8"];
  const nasty = ["\n", "\r", "\t", "\0", "\u0085", "\u2028", '"', "'", "`", "$", ";", "{", "}", "\\", "#", "|", "&", "<", "(", "*", "é"];
  // The same numbers in every run.
  let state = 7;
  const next = (limit) => (state = (state * 48271) % 0x7fffffff) % limit;
  let accepted = 0;
  for (let round = 0; round < 40_000; round += 1) {
    const form = plain[round % plain.length];
    const from = round % 3 === 0 ? [...pieces, ...nasty] : pieces;
    const value = Array.from({ length: 1 + next(5) }, () => from[next(from.length)]).join("");
    let one;
    try {
      one = spelled(form, value);
    } catch (error) {
      assert.ok(error instanceof Wrong, `${form} ${JSON.stringify(value)}: ${error}`);
      continue;
    }
    accepted += 1;
    assert.equal(spelled(form, one), one, `${form} ${JSON.stringify(value)}`);
    assert.match(one, form === "path" ? /^[\w .,:/@+=-]+$/ : /^[\w.,:/@+=~%[\]-]+$/, `${form} ${JSON.stringify(value)}`);
  }
  assert.ok(accepted > 1000, `only ${accepted} were accepted`);
});

test("an invalid value is reported once, with its name", () => {
  for (const [name, wrong] of Object.entries({
    LLAMACPP_PORT: ["0", "65536", "80a80", "-1", "08080", "8080 ", "$(id)", "tcp", "http://10.0.0.1:3000"],
    OPENCLAW_ENABLED: ["maybe", "truee", "2"],
    ACCESS: ["sometimes", "true", "1"],
    ALLOWED_HOSTS: ["box.lan:3000", "http://box.lan", "a,,b", "::1", "*.lan", "a b", "a;b", ",", "[::1"],
    TRUSTED_PROXIES: ["10.0.0.0/33", "fd00::/129", "0.0.0.0/0", "::/0", "proxy", "10.0.0", "10.0.0.1:80", "[::1]", "fe80::1%eth0", "10.0.0.0/"],
    TLS_CERT_FILE: ["cert.pem", "/a/../b", "/a\nb"],
    LLAMACPP_CTX_SIZE: ["many", "-5", "1e3"],
    LLAMACPP_GPU_LAYERS: ["some", "-1"],
    LLAMACPP_MODEL: ["model.gguf", "/data/../etc/shadow", "/a\nb", "/$(id)", "hf:owner", "hf:o/r:", "hf:o/r:Q4:1", "hf:o/../r", "hf:../r:Q4", "hf:o/r;id", "hf:o/r/file"],
    MODEL_BASE_URL: ["box.lan:11434", "ftp://x"],
    MISSION_CONTROL_ORIGIN: ["box.lan", "http://box.lan/", "ftp://box", "http://a b", "http://x:99999", "http://", "http://x:0", "http://x:", "https://u@x", "http://1.2.3", "http://::1"],
    CONVEX_SELF_HOSTED_URL: ["3210", "http://", "http://a\"b", "javascript:1", "http://a:99999"],
    CONVEX_INSTANCE_NAME: ["Name", "a b", "-a", "a;b", "../x"],
    PUBLISH_ADDRESS: ["localhost", "everywhere", "1.2.3", "256.0.0.1", "::g", "fe80::1%eth0"],
    PUBLIC_HOST: ["http://x", "a/b", "::1", "-", "1.2.3", "300.1.1.1", "a..b", "a-.b", "box.lan:80", "[1.2.3.4]", "[::1%lo]", "bücher.example", `${"a".repeat(64)}.b`],
    MANAGER_ADMIN_EMAIL: ["admin", "a@b", "a b@c.de"],
  })) {
    for (const value of wrong) {
      const lines = problems({ [name]: value, TLS_KEY_FILE: name.startsWith("TLS") ? "/nowhere" : "" });
      assert.equal(lines.length, 1, `${name}=${value}: ${lines}`);
      assert.ok(lines[0].startsWith(`${name}='`) || lines[0].startsWith(`${name}="`), lines[0]);
    }
  }
  assertMessages(problems({ ALLOWED_HOSTS: "box.lan,x:1,[::1]:2,::1" }), '"x:1" contains a port: leave it out; "[::1]:2" contains a port: leave it out; "::1" is not a host');
  // A password in a URL is not shown.
  const lines = problems({ LLAMACPP_MODEL_URL: "http://user:hunter2@host:99999/m", LLAMACPP_MODEL_SHA256: "a".repeat(64) });
  assertMessages(lines, "LLAMACPP_MODEL_URL");
  assert.ok(!lines[0].includes("hunter2"));
});

test("all errors are reported together", () => {
  assert.equal(problems({ LLAMACPP_PORT: "x", OPENCLAW_ENABLED: "x", MANAGER_ADMIN_EMAIL: "x", ACCESS_PASSWORD: "short", MANAGER_PORT_FILE: "/x" }).length, 5);
});

test("an invalid secret is reported without its value", () => {
  const given = file("given", "from-a-file\n");
  const pem = (type, options) => generateKeyPairSync(type, options).privateKey.export({ type: "pkcs8", format: "pem" }).trimEnd();
  for (const [environment, about] of [
    [{ CONVEX_INSTANCE_SECRET: "hunter2" }, "64 hexadecimal digits"],
    [{ MANAGER_ADMIN_PASSWORD: "hunter2" }, "8 to 128"],
    [{ ACCESS_PASSWORD: "hunter2-222" }, "12 to 128"],
    [{ OPENCLAW_GATEWAY_TOKEN: "hunter2\nx" }, "control character"],
    [{ OPENCLAW_GATEWAY_TOKEN: "hunter2\n" }, "ends with a line break"],
    [{ OPENCLAW_GATEWAY_TOKEN: "hunter2\r\n" }, "CRLF"],
    [{ OPENCLAW_GATEWAY_TOKEN_FILE: file("crlf", "hunter2\r\n") }, "CRLF"],
    [{ OPENCLAW_GATEWAY_TOKEN_FILE: file("lines", "hunter2\n\n") }, "ends with a line break"],
    [{ MANAGER_ADMIN_PASSWORD_FILE: file("mark", "\ufeffhunter2222") }, "byte order mark"],
    [{ MANAGER_ADMIN_PASSWORD_FILE: file("latin", Buffer.from("hunter2222\xe9", "latin1")) }, "not UTF-8"],
    [{ MANAGER_ADMIN_PASSWORD_FILE: file("large", "hunter2".repeat(10_000)) }, "larger"],
    [{ OPENCLAW_HOOKS_TOKEN: "hunter2\";deny all;" }, "letters, digits"],
    [{ CONVEX_SELF_HOSTED_ADMIN_KEY: "hunter2" }, "admin key"],
    [{ JWT_PRIVATE_KEY: "hunter2" }, "BEGIN PRIVATE KEY"],
    [{ JWT_PRIVATE_KEY: "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----" }, "cannot be read"],
    [{ JWT_PRIVATE_KEY: pem("ed25519") }, "not an RSA key"],
    [{ JWT_PRIVATE_KEY: pem("rsa", { modulusLength: 1024 }) }, "2048"],
    [{ OPENCLAW_GATEWAY_TOKEN: "hunter2", OPENCLAW_GATEWAY_TOKEN_FILE: given }, "both set"],
    [{ OPENCLAW_GATEWAY_TOKEN_FILE: "/nowhere" }, "no file"],
    [{ OPENCLAW_GATEWAY_TOKEN_FILE: folder }, "no file"],
    [{ OPENCLAW_GATEWAY_TOKEN_FILE: file("empty", "") }, "empty"],
    [{ OPENCLAW_TOKEN_FILE: given }, "no secret named OPENCLAW_TOKEN"],
    [{ MANAGER_PORT_FILE: given }, "not a secret and cannot be read from a file"],
  ]) {
    const lines = problems(environment);
    assertMessages(lines, about);
    assert.ok(lines[0].includes(Object.keys(environment)[0].replace(/_FILE$/, "")), lines[0]);
    assert.ok(!lines[0].includes("hunter2"), lines[0]);
  }
  const key = pem("rsa", { modulusLength: 2048 });
  const environment = { OPENCLAW_GATEWAY_TOKEN_FILE: given, JWT_PRIVATE_KEY_FILE: file("key", `${key}\n`), ACCESS_PASSWORD: "correct horse" };
  assert.deepEqual(check(environment).given, { ACCESS_PASSWORD: "correct horse", JWT_PRIVATE_KEY: key, OPENCLAW_GATEWAY_TOKEN: "from-a-file" });
});

test("kept secrets are checked, unless they are set", () => {
  for (const half of ["", "abc"]) {
    assertMessages(problems({}, { "convex-instance-secret": half }), "/data/secrets/convex-instance-secret");
    assert.deepEqual(problems({ CONVEX_INSTANCE_SECRET: "a".repeat(64) }, { "convex-instance-secret": half }), []);
  }
  assert.deepEqual(check({}, { "access-secret": "b".repeat(64) }).made, { ACCESS_SECRET: "b".repeat(64) });
});

test("the token of the gateway and that of its hooks must differ", () => {
  const same = "OPENCLAW_GATEWAY_TOKEN and OPENCLAW_HOOKS_TOKEN are the same";
  assertMessages(problems({ OPENCLAW_GATEWAY_TOKEN: "token", OPENCLAW_HOOKS_TOKEN: "token" }), same);
  assertMessages(problems({ OPENCLAW_GATEWAY_TOKEN: "token" }, { "openclaw-hooks-token": "token" }), same);
  assert.deepEqual(problems({ OPENCLAW_GATEWAY_TOKEN: "token", OPENCLAW_HOOKS_TOKEN: "other" }, { "openclaw-hooks-token": "token" }), []);
  // Two invalid tokens are not also reported as equal.
  assert.equal(problems({ OPENCLAW_GATEWAY_TOKEN: "a b", OPENCLAW_HOOKS_TOKEN: "a b" }).length, 2);
});

test("settings that contradict each other are reported", () => {
  const digest = "a".repeat(64);
  const origins = ["MISSION_CONTROL_ORIGIN", "CONVEX_CLOUD_ORIGIN", "MANAGER_ORIGIN", "OPENCLAW_ORIGIN"];
  for (const [environment, ...about] of [
    [{ MANAGER_PORT: "3000" }, "MISSION_CONTROL_PORT=3000"],
    [{ LLAMACPP_PORT: "15003" }, "LLAMACPP_PORT=15003: the program behind MANAGER_PORT"],
    [{ LLAMACPP_MODEL_URL: "https://x/m.gguf" }, "without LLAMACPP_MODEL_SHA256"],
    [{ LLAMACPP_MODEL_SHA256: digest }, "without LLAMACPP_MODEL_URL"],
    [{ LLAMACPP_MODEL: "/nowhere.gguf" }, "/nowhere.gguf"],
    [{ LLAMACPP_MODEL: "hf:o/r:Q8_0", LLAMACPP_MODEL_URL: "https://x/m.gguf", LLAMACPP_MODEL_SHA256: digest }, "both set"],
    [{ MODEL_BASE_URL: "http://box.lan/v1" }, "MODEL_BASE_URL is set without MODEL_NAME"],
    [{ MODEL_NAME: "m" }, "MODEL_NAME is set without MODEL_BASE_URL"],
    [{ LLAMACPP_MODEL: folder }, folder],
    [{ CONVEX_ENABLED: "false", CONVEX_DASHBOARD_ENABLED: "true" }, "CONVEX_DASHBOARD_ENABLED=true"],
    [{ OPENCODE_ENABLED: "false", MANAGER_ENABLED: "true" }, "MANAGER_ENABLED=true"],
    [
      { LLAMACPP_ENABLED: "false", OPENCODE_ENABLED: "false", OPENCLAW_ENABLED: "false", CONVEX_ENABLED: "false", MISSION_CONTROL_ENABLED: "false" },
      "no service with a port is on: set at least one of LLAMACPP_ENABLED, MANAGER_ENABLED,",
    ],
    [{ OPENCODE_ENABLED: "perhaps", MANAGER_ENABLED: "true" }, "OPENCODE_ENABLED='perhaps'"],
    [{ TLS_CERT_FILE: "/tls/cert.pem" }, "TLS_CERT_FILE is set without TLS_KEY_FILE"],
    [{ TLS_KEY_FILE: "/tls/key.pem" }, "TLS_KEY_FILE is set without TLS_CERT_FILE"],
    [{ TLS_CERT_FILE: "cert.pem", TLS_KEY_FILE: "/tls/key.pem" }, "TLS_CERT_FILE='cert.pem'"],
    [{ TLS_CERT_FILE: "/nowhere/cert.pem", TLS_KEY_FILE: "/nowhere/key.pem" }, "TLS_CERT_FILE=/nowhere", "TLS_KEY_FILE=/nowhere"],
    [{ PUBLISH_ADDRESS: "0.0.0.0" }, ...origins],
    [{ PUBLISH_ADDRESS: "::", PUBLIC_HOST: "localhost", MANAGER_ORIGIN: "https://box.lan" }, ...origins.filter((name) => name !== "MANAGER_ORIGIN")],
    [{ PUBLISH_ADDRESS: "0.0.0.0", MANAGER_ENABLED: "false" }, ...origins.filter((name) => name !== "MANAGER_ORIGIN")],
  ]) {
    assertMessages(problems(environment), ...about);
  }
  // A service that is off uses no port and loads no model.
  for (const right of [
    { MANAGER_PORT: "3000", MANAGER_ENABLED: "false" },
    { LLAMACPP_PORT: "15003", MANAGER_ENABLED: "false" },
    { LLAMACPP_MODEL: "/nowhere.gguf", LLAMACPP_ENABLED: "false" },
    { PUBLISH_ADDRESS: "0.0.0.0", PUBLIC_HOST: "box.lan" },
    { LLAMACPP_MODEL: "HF:o/r-GGUF:Q8_0" },
    { MODEL_BASE_URL: "http://box.lan:11434/v1", MODEL_NAME: "qwen3:8b", MODEL_API_KEY: "key" },
    { PUBLISH_ADDRESS: "127.0.0.9" },
    { PUBLISH_ADDRESS: "::1" },
  ]) {
    assert.deepEqual(problems(right), [], JSON.stringify(right));
  }
});

test("variables that Kubernetes sets for a Service are ignored", () => {
  const environment = {
    MISSION_CONTROL_PORT: "tcp://10.96.7.7:3000",
    MISSION_CONTROL_SERVICE_HOST: "10.96.7.7",
    MISSION_CONTROL_SERVICE_PORT: "3000",
    MISSION_CONTROL_SERVICE_PORT_HTTP: "3000",
    MISSION_CONTROL_PORT_3000_TCP: "tcp://10.96.7.7:3000",
    MISSION_CONTROL_PORT_3000_TCP_PROTO: "tcp",
    MISSION_CONTROL_PORT_3000_TCP_PORT: "3000",
    MISSION_CONTROL_PORT_3000_TCP_ADDR: "10.96.7.7",
    CONVEX_PORT: "tcp://[fd00::7]:3210",
    CONVEX_SERVICE_HOST: "fd00::7",
  };
  const checked = check(environment);
  assert.deepEqual(checked.problems, []);
  assert.equal(checked.values.MISSION_CONTROL_PORT, "3000");
  assert.equal(checked.values.MISSION_CONTROL_ORIGIN, "http://127.0.0.1:3000");
  assertMessages(checked.notices, "a Service named mission-control; they are ignored, and MISSION_CONTROL_PORT has its default", "a Service named convex; they are ignored (`enableServiceLinks: false`");
});

test("a name that looks mistyped gets a notice, an unrelated one does not", () => {
  const { problems: wrong, notices } = check({ LLAMACPP_CTX: "1", TLS_CERT: "x", PATH: "/bin", HOME: "/", ACCESSORY: "1", LLAMA_ARG_X: "1", MANAGER: "1" });
  assert.deepEqual(wrong, []);
  assertMessages(notices, "LLAMACPP_CTX is not a setting", "TLS_CERT is not a setting");
});

test("a flavor without llama.cpp requires another model server", () => {
  const remote = { STACK_FLAVOR: "remote" };
  assertMessages(problems(remote), "MODEL_BASE_URL is not set: this image is the flavor `remote`", "MODEL_NAME is not set");
  const model = { ...remote, MODEL_BASE_URL: "http://127.0.0.1:9/v1", MODEL_NAME: "x" };
  const { isOn, problems: none } = check(model);
  assert.deepEqual([none, isOn("llamacpp"), isOn("model"), isOn("opencode")], [[], false, false, true]);
  assertMessages(problems({ ...model, LLAMACPP_ENABLED: "yes" }), "LLAMACPP_ENABLED=true: this image is the flavor `remote`, without model, llamacpp");
  assert.deepEqual(problems({ ...model, LLAMACPP_ENABLED: "false", STACK_FLAVOR: "cpu" }), []);
});
