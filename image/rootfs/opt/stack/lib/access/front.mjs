// Writes the front's configuration, /run/stack/front/nginx.conf, from the image's nginx.conf and the settings of this
// start. It replaces words between two @, and removes the part between `# begin X` and `# end X` if the service X is
// off. The port of such a service responds with a message, because compose publishes it anyway.
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { takeCertificate } from "./certificate.mjs";
import { peek } from "../common.mjs";
import { isLoopback } from "../settings/forms.mjs";
import { readSettings, readTable, RUNTIME, secret } from "../settings/read.mjs";

const FOLDER = `${RUNTIME}/front`;

const list = (text) => (text ?? "").split(",").filter(Boolean);

/** All host names of this stack, as in a Host header, without the port. */
export function knownHosts(settings) {
  const origins = Object.keys(settings).filter((name) => name.endsWith("_ORIGIN") && settings[name]);
  const named = origins.map((name) => new URL(settings[name]).hostname);
  return [...new Set(["localhost", "127.0.0.1", "[::1]", settings.PUBLIC_HOST, ...list(settings.ALLOWED_HOSTS), ...named])];
}

/** Whether only users of this machine can reach the stack, according to the settings. */
export function isLocal(settings) {
  return (
    Boolean(settings.PUBLISH_ADDRESS) &&
    isLoopback(settings.PUBLISH_ADDRESS) &&
    knownHosts(settings).every(isLoopback) &&
    list(settings.TRUSTED_PROXIES).length === 0
  );
}

/**
 * The source address of the host's own requests to a published port: the gateway, if the container's interface is one
 * end of a veth pair, as with bridges. On the host's own network the gateway is a router, and with a tunnel there is no
 * gateway: then the host's requests cannot be recognized, and the result is undefined.
 */
export function hostAddress(routes = peek("/proc/net/route"), link = (name, what) => peek(`/sys/class/net/${name}/${what}`)) {
  for (const line of routes.split("\n").slice(1)) {
    const [name, destination, gateway] = line.split("\t");
    if (destination !== "00000000" || gateway === "00000000") continue;
    const index = link(name, "ifindex");
    if (index === "" || index === link(name, "iflink")) return undefined;
    return gateway.match(/../g).reverse().map((byte) => parseInt(byte, 16)).join(".");
  }
  return undefined;
}

function authorization(secretOf, scheme, name, user) {
  // Only a service that is off has no secret. A random value then matches no request.
  const value = secretOf(name) ?? randomBytes(32).toString("hex");
  return scheme === "Basic" ? `Basic ${Buffer.from(`${user}:${value}`).toString("base64")}` : `${scheme} ${value}`;
}

/** The configuration as text. `here` describes the container's network, `secretOf(name)` returns a secret. */
export function fill(template, table, settings, here, secretOf) {
  const lines = (values, line) => values.map(line).join("\n\t\t");
  const tls = Boolean(settings.TLS_CERT_FILE);
  const proxies = list(settings.TRUSTED_PROXIES).map((block) => (block === "gateway" ? here.host : block)).filter(Boolean);
  const words = {
    ACCESS: settings.ACCESS,
    LOCAL: isLocal(settings) ? "1" : "0",
    OWN_PAGES: isLocal(settings) && settings.ACCESS !== "always" ? "1" : "0",
    HOSTS: lines(knownHosts(settings), (host) => `"${host}" 1;`),
    HOST_ADDRESS: here.host ? `${here.host} 1;` : "",
    PROXIES: lines(proxies, (block) => `${block} 1;`),
    REAL_IP: lines(proxies, (block) => `set_real_ip_from ${block};`),
    TLS: tls ? "ssl_certificate tls/cert.pem;\n\tssl_certificate_key tls/key.pem;\n\tssl_protocols TLSv1.2 TLSv1.3;\n\tssl_session_cache shared:tls:1m;" : "",
    LISTEN: (setting) => lines(here.ipv6 ? ["", "[::]:"] : [""], (address) => `listen ${address}${settings[setting]}${tls ? " ssl" : ""};`),
    AUTHORIZATION: (...parts) => authorization(secretOf, ...parts),
    // For the fragment of a URL, and for a JSON string.
    URI: (name) => encodeURIComponent(secretOf(name) ?? ""),
    JSON: (name) => (secretOf(name) ?? settings[name] ?? "").replace(/[^A-Za-z0-9]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`),
  };
  const off = table.services.filter((service) => service.switch && settings[service.switch] === "false");
  const part = ({ name }) => new RegExp(`^\\t# begin ${name}\\n[^]*?\\n\\t# end ${name}\\n`, "gm");
  const kept = off.reduce((text, service) => text.replace(part(service), ""), template);
  return kept.replace(/}\n$/, `${servers()}}\n`).replace(/@([A-Z_]+)(?::([^@\n]*))?@/g, (_, name, parameters) => {
    const word = words[name] ?? settings[name];
    if (word === undefined) throw new Error(`nginx.conf uses ${name}, which is not a setting`);
    const value = typeof word === "function" ? word(...parameters.split(":")) : word;
    // A quote would end the value, a dollar sign would start a variable.
    if (typeof word !== "string" || name in settings) {
      if (!/^([\w .,:;/+=|~[\]\n\t-]|%[0-9A-F]{2}|\\u[0-9a-f]{4})*$/.test(value)) throw new Error(`${parameters ?? name}: its value has characters that are not allowed in nginx's configuration`);
    }
    return value;
  });

  /** Servers for ports of disabled services. None on the host's network, where another program may use the port. */
  function servers() {
    if (!here.host) return "";
    const ports = (text) => [...text.matchAll(/@LISTEN:(\w+)@/g)].map(([, setting]) => setting);
    const taken = new Set([...table.services.flatMap(({ endpoints }) => endpoints.map(({ port }) => String(port))), ...ports(kept).map((name) => settings[name])]);
    const serversOf = (service) => ports((template.match(part(service)) ?? []).join("")).map((setting) => {
      if (taken.has(settings[setting])) return "";
      taken.add(settings[setting]);
      return `\n\tserver {\n\t\t@LISTEN:${setting}@\n\t\treturn 503 'This service is off: ${service.switch} is false.\\n';\n\t}\n`;
    });
    return off.flatMap(serversOf).join("");
  }
}

if (import.meta.main) {
  const settings = readSettings();
  const template = readFileSync("/opt/stack/nginx.conf", "utf8").replace(/^# @generated.*\n#\n/, "");
  mkdirSync(`${FOLDER}/temporary`, { recursive: true });
  mkdirSync(`${FOLDER}/deployment`, { recursive: true });
  if (settings.TLS_CERT_FILE) takeCertificate(settings);
  const write = (name, text) => writeFileSync(`${FOLDER}/${name}`, text, { mode: 0o600 });
  const key = secret("CONVEX_SELF_HOSTED_ADMIN_KEY");
  if (key) write("deployment/1.json", JSON.stringify({ name: settings.CONVEX_INSTANCE_NAME, url: "http://this.page.invalid", adminKey: key }));
  // Without IPv6 in the kernel, nginx fails to listen on it.
  const here = { host: hostAddress(), ipv6: existsSync("/proc/net/if_inet6") };
  write("nginx.conf", fill(template, readTable(), settings, here, secret));
}
