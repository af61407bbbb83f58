// Checks the settings at start against the rendered table, and reports all errors together.
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { inspect } from "node:util";
import { collecting, isLoopback, spelled, wrong } from "./forms.mjs";
import { SECRETS, fileOf, flavorOf } from "./read.mjs";
import { checkTls } from "../access/tls.mjs";

/** Computed from the instance's name and secret; secrets.mjs generates it again if they changed. */
export const ADMIN_KEY = "CONVEX_SELF_HOSTED_ADMIN_KEY";

// Kubernetes sets such variables in every pod for each Service. A Service's name may start like a setting.
const SERVICE_ADDRESS = /^(tcp|udp|sctp):\/\//;
const SERVICE_LINK = /^(.+)_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/**
 * `kept(file)` returns the text of a file of SECRETS, or undefined. Returns `values` (all settings, with defaults and
 * derived ones), the secrets that are set (`given`) and kept (`made`), `isOn(service)`, `problems` and `notices`.
 */
export function checkSettings(table, environment, kept = () => undefined) {
  const [values, given, made, problems, notices] = [{}, {}, {}, [], []];
  const links = new Set();
  const attempt = collecting(problems);

  const switches = Object.fromEntries(table.services.map((service) => [service.name, service.switch]));
  const flavor = flavorOf(table, environment);

  // A default refers to settings earlier in the table. If one is wrong, the default is empty: one error is enough.
  const expand = (text) => {
    const parts = [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    if (parts.some((name) => values[name] === "")) return "";
    return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  };
  for (const { name, form, ...setting } of table.settings) {
    if (setting.secret) {
      const { from, value } = attempt(() => givenSecret(name, environment)) ?? {};
      if (value) given[name] = attempt(() => spelled(form, value), (why) => `${from}: ${why} (the value is not shown)`);
      continue;
    }
    let value = environment[name] || "";
    if (form === "port" && SERVICE_ADDRESS.test(value)) {
      links.add(name.slice(0, -"_PORT".length));
      value = "";
    }
    // A URL may contain a password.
    const shown = inspect(value.replace(/\/\/[^/]*@/, "//...@"));
    // With another model server, llama.cpp runs only if it is turned on explicitly.
    if (name === "LLAMACPP_ENABLED" && values.MODEL_BASE_URL) value ||= "false";
    value ||= expand(setting.default ?? "");
    values[name] = value && (attempt(() => spelled(form, value), (why) => `${name}=${shown}: ${why}`) ?? "");
    const leftOut = flavor.without.filter((service) => switches[service] === name).join(", ");
    if (leftOut) {
      if (environment[name] && values[name] === "true") problems.push(`${name}=true: this image is the flavor \`${flavor.name}\`, without ${leftOut}`);
      values[name] = "false";
    }
    if (name === "TLS_CERT_FILE") values.SCHEME = environment[name] ? "https" : "http";
  }
  for (const name of flavor.needs.filter((name) => !environment[name])) {
    problems.push(`${name} is not set: this image is the flavor \`${flavor.name}\`, without ${flavor.without.join(", ")}, and needs it`);
  }
  checkUnknown(table, environment, links, { problems, notices });

  const isOn = (service) => !switches[service] || values[switches[service]] === "true";
  for (const service of table.services.filter(({ name }) => isOn(name))) {
    for (const other of service.requires.filter((name) => values[switches[name]] === "false")) {
      problems.push(`${service.switch}=true: it does not work without ${switches[other]}=true; turn both on or both off`);
    }
  }
  checkPorts(table, values, isOn, problems);
  checkTogether(table, values, isOn, environment, problems, notices);

  // Kept secrets are checked, never silently replaced.
  for (const { name, form } of table.settings.filter((setting) => setting.generated && !(setting.name in given))) {
    const value = kept(fileOf(name));
    if (value === undefined || name === ADMIN_KEY) continue;
    const describe = (why) => `${SECRETS}/${fileOf(name)}: ${why}; restore it from a backup, or remove the file to generate a new one`;
    made[name] = attempt(() => (value === "" ? wrong("is empty") : spelled(form, value)), describe);
  }
  const token = (name) => given[name] ?? made[name];
  if (token("OPENCLAW_HOOKS_TOKEN") !== undefined && token("OPENCLAW_HOOKS_TOKEN") === token("OPENCLAW_GATEWAY_TOKEN")) {
    problems.push("OPENCLAW_GATEWAY_TOKEN and OPENCLAW_HOOKS_TOKEN are the same: leave one of them out to generate another one");
  }
  return { values, given, made, isOn, problems, notices };
}

const LARGEST_SECRET = 64 * 1024;

/** A secret's value, if it is set, and its source: the variable, or the file named by NAME_FILE. */
function givenSecret(name, environment) {
  const file = environment[`${name}_FILE`];
  if (!file) return { from: name, value: environment[name] };
  if (environment[name]) wrong(`${name} and ${name}_FILE are both set: leave one of them out`);
  const from = `${name}_FILE=${inspect(file)}`;
  if (!isReadable(file)) wrong(`${from}: there is no file that uid ${process.getuid()} can read`);
  if (statSync(file).size > LARGEST_SECRET) wrong(`${from}: the file is larger than 64 KiB`);
  // A trailing line break is not part of the secret.
  return { from, value: readFileSync(file, "utf8").replace(/\n$/, "") || wrong(`${from}: the file is empty`) };
}

function isReadable(file) {
  try {
    accessSync(file, constants.R_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/**
 * An unknown variable that looks like a setting is probably mistyped. An unknown NAME_FILE is an error, because its
 * secret would silently be missing; others get a notice, as they may be meant for one of the programs.
 */
function checkUnknown(table, environment, links, { problems, notices }) {
  const known = new Map(table.settings.map((setting) => [setting.name, setting]));
  const first = (name) => name.split("_", 1)[0];
  const prefixes = new Set([...known.keys()].map(first));
  for (const [name, value] of Object.entries(environment)) {
    const of = name.replace(/_FILE$/, "");
    if (!prefixes.has(first(name)) || !name.includes("_") || known.has(name) || (of !== name && known.get(of)?.secret)) continue;
    const link = SERVICE_LINK.exec(name)?.[1] ?? (SERVICE_ADDRESS.test(value) && name.replace(/_PORT$/, ""));
    if (link) links.add(link);
    else if (of === name) notices.push(`${name} is not a setting of this image; it is passed to the services unchanged`);
    else if (value && known.has(of)) problems.push(`${name}: ${of} is not a secret and cannot be read from a file; set ${of} itself`);
    else if (value) problems.push(`${name}: there is no secret named ${of}`);
  }
  for (const link of links) {
    const port = known.has(`${link}_PORT`) ? `, and ${link}_PORT has its default` : "";
    const service = fileOf(link);
    notices.push(`${link}_PORT and similar variables come from Kubernetes, for a Service named ${service}; they are ignored${port} (\`enableServiceLinks: false\` in the pod's spec removes them)`);
  }
}

/** Checks that there is a port, and that none is used twice. Programs behind the front have their own ports on the loopback interface. */
function checkPorts(table, values, isOn, problems) {
  const owners = new Map();
  const endpoints = (service) => service.endpoints.map((endpoint) => ({ ...endpoint, on: isOn(service.name) }));
  const all = table.services.flatMap(endpoints);
  for (const { setting, port, on } of all.filter((endpoint) => endpoint.port)) {
    values[setting.replace(/_PORT$/, "_INNER_PORT")] = String(port);
    if (on) owners.set(String(port), `the program behind ${setting}`);
  }
  if (!all.some((endpoint) => endpoint.on && endpoint.setting)) {
    const names = table.services.filter((service) => service.endpoints.some((endpoint) => endpoint.setting)).map((service) => service.switch);
    problems.push(`no service with a port is on: set at least one of ${names.join(", ")} to true`);
  }
  for (const { setting } of all.filter((endpoint) => endpoint.on && values[endpoint.setting])) {
    const port = values[setting];
    if (owners.has(port)) problems.push(`${setting}=${port}: ${owners.get(port)} already uses this port`);
    owners.set(port, setting);
  }
}

/** Rules between several settings. */
function checkTogether(table, values, isOn, environment, problems, notices) {
  const { LLAMACPP_MODEL: model, LLAMACPP_MODEL_URL: url, LLAMACPP_MODEL_SHA256: digest } = values;
  if (model && url) problems.push("LLAMACPP_MODEL and LLAMACPP_MODEL_URL are both set: leave one of them out");
  if (url && !environment.LLAMACPP_MODEL_SHA256) {
    problems.push("LLAMACPP_MODEL_URL is set without LLAMACPP_MODEL_SHA256: a download is refused if it cannot be checked");
  }
  if (digest && !environment.LLAMACPP_MODEL_URL) problems.push("LLAMACPP_MODEL_SHA256 is set without LLAMACPP_MODEL_URL");
  if (values.MODEL_BASE_URL && !values.MODEL_NAME) {
    problems.push("MODEL_BASE_URL is set without MODEL_NAME: the server lists its models at /models below this URL");
  }
  if (values.MODEL_NAME && !environment.MODEL_BASE_URL) problems.push("MODEL_NAME is set without MODEL_BASE_URL, the URL of its server");
  if (isOn("llamacpp") && model.startsWith("/") && !isReadable(model)) {
    problems.push(`LLAMACPP_MODEL=${model}: there is no file that uid ${process.getuid()} can read; mount one, or copy it into /data/models`);
  }

  // If ports are published beyond the loopback interface, the pages need the host name that browsers use.
  const { PUBLISH_ADDRESS: address, PUBLIC_HOST: host } = values;
  if (address && !isLoopback(address) && isLoopback(host)) {
    for (const { name } of table.settings.filter((setting) => setting.public && isOn(setting.public))) {
      if (values[name] && new URL(values[name]).hostname === host) {
        problems.push(`PUBLISH_ADDRESS=${address}: ${name} is still ${values[name]}; set it, or PUBLIC_HOST for all of them, to the name that browsers use`);
      }
    }
  }

  const { TLS_CERT_FILE: certificate, TLS_KEY_FILE: key } = values;
  const { TLS_CERT_FILE: certificateSet, TLS_KEY_FILE: keySet } = environment;
  if (certificate && key) {
    const found = checkTls(certificate, key, isLoopback(host) ? undefined : host);
    problems.push(...found.problems);
    notices.push(...found.notices);
  } else if (certificate && !keySet) problems.push("TLS_CERT_FILE is set without TLS_KEY_FILE, the file with its private key");
  else if (key && !certificateSet) problems.push("TLS_KEY_FILE is set without TLS_CERT_FILE, the file with the certificate and its chain");
}
