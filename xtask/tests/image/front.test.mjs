// The front's configuration, for different settings.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { checkSettings } from "../../../image/rootfs/opt/stack/lib/settings/check.mjs";
import { fill, hostAddress, isLocal, knownHosts } from "../../../image/rootfs/opt/stack/lib/access/front.mjs";

const image = (file) => readFileSync(new URL(`../../../image/rootfs/opt/stack/${file}`, import.meta.url), "utf8");
const settings = (environment) => checkSettings(JSON.parse(image("stack.json")), environment).values;
const HERE = { host: "172.17.0.1", ipv6: true };
const secret = (name) => (name === "CONVEX_SELF_HOSTED_ADMIN_KEY" ? "mission-control|01ab" : `${name.toLowerCase().replaceAll("_", "-")}-value`);
const filled = (environment, here = HERE) => fill(image("nginx.conf"), JSON.parse(image("stack.json")), settings(environment), here, secret);
const LOCAL = { PUBLISH_ADDRESS: "127.0.0.1" };

test("a stack is local if all settings are", () => {
  assert.ok(isLocal(settings(LOCAL)));
  assert.ok(isLocal(settings({ PUBLISH_ADDRESS: "::1", ALLOWED_HOSTS: "localhost" })));
  const beyond = [{}, { PUBLISH_ADDRESS: "0.0.0.0", PUBLIC_HOST: "box.lan" }];
  beyond.push({ ...LOCAL, PUBLIC_HOST: "box.lan" }, { ...LOCAL, ALLOWED_HOSTS: "box.lan" }, { ...LOCAL, TRUSTED_PROXIES: "172.17.0.1" });
  beyond.push({ ...LOCAL, MISSION_CONTROL_ORIGIN: "https://mc.example.org" }, { ...LOCAL, CONVEX_CLOUD_ORIGIN: "https://mc.example.org" });
  for (const environment of beyond) assert.ok(!isLocal(settings(environment)), JSON.stringify(environment));
});

test("host names come from all settings that contain one", () => {
  const known = knownHosts(settings({ ...LOCAL, PUBLIC_HOST: "box.lan", ALLOWED_HOSTS: "Nas.lan,[fd00::1]", MANAGER_ORIGIN: "https://manager.example.org" }));
  assert.deepEqual(known, ["localhost", "127.0.0.1", "[::1]", "box.lan", "nas.lan", "[fd00::1]", "manager.example.org"]);
});

test("the front listens on every port, with IPv6 if the kernel has it", () => {
  const text = filled(LOCAL);
  for (const port of [8080, 5003, 5551, 18789, 3210, 3211, 6791, 3000]) {
    assert.match(text, new RegExp(`\\tlisten ${port};\\n\\t\\tlisten \\[::\\]:${port};`));
  }
  assert.doesNotMatch(text, /@[A-Z_]+[:@]/);
  assert.doesNotMatch(filled(LOCAL, { host: undefined, ipv6: false }), /\[::\]/);
});

test("with a certificate, every port uses TLS", () => {
  const values = { ...settings(LOCAL), TLS_CERT_FILE: "/c", TLS_KEY_FILE: "/k" };
  const text = fill(image("nginx.conf"), JSON.parse(image("stack.json")), values, HERE, secret);
  assert.equal(text.match(/listen (\[::\]:)?\d+ ssl;/g).length, 16);
  assert.doesNotMatch(text, /listen (\[::\]:)?\d+;/);
  assert.match(text, /ssl_certificate tls\/cert\.pem;/);
});

test("the port of a disabled service says so, unless another one uses it", () => {
  const off = { ...LOCAL, OPENCODE_ENABLED: "false", CONVEX_DASHBOARD_ENABLED: "false" };
  const says = (text) => [...text.matchAll(/listen (\d+);\n\t\t(?:listen .*\n\t\t)?return 503 '.*: (\w+) is false/g)].map(([, port, setting]) => `${port} ${setting}`);
  const text = filled(off);
  assert.deepEqual(says(text), ["5003 MANAGER_ENABLED", "5551 OPENCODE_ENABLED", "6791 CONVEX_DASHBOARD_ENABLED"]);
  assert.equal(text.match(/listen \d+;/g).length, 8);
  assert.match(text, /}\n}\n$/);
  // Moved to the port of another service, of a program behind the front, and of each other.
  assert.deepEqual(says(filled({ ...off, MANAGER_PORT: "3000" })), ["5551 OPENCODE_ENABLED", "6791 CONVEX_DASHBOARD_ENABLED"]);
  assert.deepEqual(says(filled({ ...off, MANAGER_PORT: "18080" })), ["5551 OPENCODE_ENABLED", "6791 CONVEX_DASHBOARD_ENABLED"]);
  assert.deepEqual(says(filled({ ...off, MANAGER_PORT: "5551" })), ["5551 MANAGER_ENABLED", "6791 CONVEX_DASHBOARD_ENABLED"]);
  // On the host's network.
  assert.deepEqual(says(filled(off, { host: undefined, ipv6: true })), []);
  assert.deepEqual(says(filled(LOCAL)), []);
});

test("only the host's own requests to a local stack need no sign-in", () => {
  const near = (text) => /map "(.*)" \$is_near/.exec(text)[1];
  assert.equal(near(filled(LOCAL)), "auto:1:$from_host:$forwarded");
  assert.equal(near(filled({})), "auto:0:$from_host:$forwarded");
  assert.equal(near(filled({ ...LOCAL, ACCESS: "always" })), "always:1:$from_host:$forwarded");
  assert.match(filled(LOCAL), /geo \$realip_remote_addr \$from_host {\n\t\tdefault 0;\n\t\t172\.17\.0\.1 1;/);
  assert.match(filled(LOCAL, { ...HERE, host: undefined }), /\$from_host {\n\t\tdefault 0;\n\t\t\n/);
});

test("forwarded headers are accepted from trusted proxies only", () => {
  const text = filled({ ...LOCAL, TRUSTED_PROXIES: "172.17.0.1,fd00::/8" });
  assert.match(text, /set_real_ip_from 172\.17\.0\.1;\n\t+set_real_ip_from fd00::\/8;/);
  assert.match(filled({ ...LOCAL, TRUSTED_PROXIES: "gateway" }), /set_real_ip_from 172\.17\.0\.1;/);
  for (const without of [filled(LOCAL), filled({ ...LOCAL, TRUSTED_PROXIES: "gateway" }, { ...HERE, host: undefined })]) {
    assert.doesNotMatch(without, /set_real_ip_from/);
  }
});

test("no value can break out of its place in the file", () => {
  const hostile = (name) => (name === "LLAMACPP_API_KEY" ? 'x" 1; } server {' : secret(name));
  assert.throws(() => fill(image("nginx.conf"), JSON.parse(image("stack.json")), settings(LOCAL), HERE, hostile), /not allowed in nginx/);
});

test("the host is the gateway of a bridge, and unknown otherwise", () => {
  const routes = "Iface\tDestination\tGateway\nlo\t0000007F\t00000000\neth0\t00000000\t010011AC\n";
  const pair = (_, what) => ({ ifindex: "2", iflink: "7" })[what];
  assert.equal(hostAddress(routes, pair), "172.17.0.1");
  assert.equal(hostAddress(routes, () => "2"), undefined);
  assert.equal(hostAddress(routes, () => ""), undefined);
  assert.equal(hostAddress("Iface\n", pair), undefined);
});
