// Settings are checked against the rendered table, at start. Everything that is wrong is collected, so that people see
// all of it at once.
import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { inspect } from "node:util";
import { collecting, isLoopback, spelled, wrong } from "./forms.mjs";
import { SECRETS, fileOf, flavorOf } from "./read.mjs";
import { checkTls } from "../access/tls.mjs";

/** Follows from the instance's name and secret: it is checked by being made again. */
export const ADMIN_KEY = "CONVEX_SELF_HOSTED_ADMIN_KEY";

// What Kubernetes puts into the environment of every pod for a Service whose name is a setting's beginning.
const SERVICE_ADDRESS = /^(tcp|udp|sctp):\/\//;
const SERVICE_LINK = /^(.+)_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/**
 * `kept` gives the text of a file of SECRETS, or undefined.
 * Returns `values` (every setting, and what follows from them), `given` and `made` secrets by name, `isOn` by service,
 * `problems` and `notices`.
 */
export function checkSettings(table, environment, kept = () => undefined) {
  const [values, given, made, problems, notices] = [{}, {}, {}, [], []];
  const links = new Set();
  const attempt = collecting(problems);

  const switches = Object.fromEntries(table.services.map((service) => [service.name, service.switch]));
  const flavor = flavorOf(table, environment);

  // A default's parts stand earlier in the table. One that names what is wrong is empty, so that it is told once.
  const expand = (text) => {
    const parts = [...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    if (parts.some((name) => values[name] === "")) return "";
    return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  };
  for (const { name, form, ...setting } of table.settings) {
    if (setting.secret) {
      const { from, value } = attempt(() => givenSecret(name, environment)) ?? {};
      if (value) given[name] = attempt(() => spelled(form, value), (why) => `${from}: ${why} (what was given is not shown)`);
      continue;
    }
    let value = environment[name] || "";
    if (form === "port" && SERVICE_ADDRESS.test(value)) {
      links.add(name.slice(0, -"_PORT".length));
      value = "";
    }
    // An address may hold a password.
    const shown = inspect(value.replace(/\/\/[^/]*@/, "//...@"));
    // With a model of another server, llama.cpp is of no use unless it is asked for.
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
      problems.push(`${service.switch}=true: it is of no use without ${switches[other]}=true; turn both on or both off`);
    }
  }
  checkPorts(table, values, isOn, problems);
  checkTogether(table, values, isOn, environment, problems, notices);

  // What was kept is checked: another one in its place would be a surprise later.
  for (const { name, form } of table.settings.filter((setting) => setting.generated && !(setting.name in given))) {
    const value = kept(fileOf(name));
    if (value === undefined || name === ADMIN_KEY) continue;
    const tell = (why) => `${SECRETS}/${fileOf(name)}: ${why}; put the real one back, or remove the file to have a new one made`;
    made[name] = attempt(() => (value === "" ? wrong("is empty") : spelled(form, value)), tell);
  }
  const token = (name) => given[name] ?? made[name];
  if (token("OPENCLAW_HOOKS_TOKEN") !== undefined && token("OPENCLAW_HOOKS_TOKEN") === token("OPENCLAW_GATEWAY_TOKEN")) {
    problems.push("OPENCLAW_GATEWAY_TOKEN and OPENCLAW_HOOKS_TOKEN are the same: leave one of them out, and another one is made");
  }
  return { values, given, made, isOn, problems, notices };
}

const LARGEST_SECRET = 64 * 1024;

/** A secret's value, if somebody gave one, and where it is from: its variable, or the file that NAME_FILE names. */
function givenSecret(name, environment) {
  const file = environment[`${name}_FILE`];
  if (!file) return { from: name, value: environment[name] };
  if (environment[name]) wrong(`${name} and ${name}_FILE are both set: leave one of them out`);
  const from = `${name}_FILE=${inspect(file)}`;
  if (!isReadable(file)) wrong(`${from}: there is no file that uid ${process.getuid()} can read`);
  if (statSync(file).size > LARGEST_SECRET) wrong(`${from}: the file is larger than any secret`);
  // One line break at the end is the file's own.
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
 * A variable that looks like one of ours and is none is most likely mistyped. A wrong NAME_FILE would silently leave
 * its secret out, so that it is an error; others may be meant for one of the programs.
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
    else if (value) problems.push(`${name}: there is no secret of the name ${of}`);
  }
  for (const link of links) {
    const port = known.has(`${link}_PORT`) ? `, so that ${link}_PORT counts as not set` : "";
    const service = fileOf(link);
    notices.push(`${link}_PORT and its like come from Kubernetes, for a Service called ${service}; they are ignored${port} (\`enableServiceLinks: false\` in the pod's spec keeps them away)`);
  }
}

/** Two programs cannot have one port. Those behind the front have ports of their own, on the loopback. */
function checkPorts(table, values, isOn, problems) {
  const owners = new Map();
  const endpoints = (service) => service.endpoints.map((endpoint) => ({ ...endpoint, on: isOn(service.name) }));
  const all = table.services.flatMap(endpoints);
  for (const { setting, port, on } of all.filter((endpoint) => endpoint.port)) {
    values[setting.replace(/_PORT$/, "_INNER_PORT")] = String(port);
    if (on) owners.set(String(port), `the program behind ${setting}`);
  }
  for (const { setting } of all.filter((endpoint) => endpoint.on && values[endpoint.setting])) {
    const port = values[setting];
    if (owners.has(port)) problems.push(`${setting}=${port}: ${owners.get(port)} has this port already`);
    owners.set(port, setting);
  }
}

/** What one value says about another. */
function checkTogether(table, values, isOn, environment, problems, notices) {
  const { LLAMACPP_MODEL: model, LLAMACPP_MODEL_URL: url, LLAMACPP_MODEL_SHA256: digest } = values;
  if (model && url) problems.push("LLAMACPP_MODEL and LLAMACPP_MODEL_URL are both set: leave one of them out");
  if (url && !environment.LLAMACPP_MODEL_SHA256) {
    problems.push("LLAMACPP_MODEL_URL is set without LLAMACPP_MODEL_SHA256: what is downloaded is checked, or not downloaded");
  }
  if (digest && !environment.LLAMACPP_MODEL_URL) problems.push("LLAMACPP_MODEL_SHA256 is set without LLAMACPP_MODEL_URL");
  if (values.MODEL_BASE_URL && !values.MODEL_NAME) {
    problems.push("MODEL_BASE_URL is set without MODEL_NAME: its address with /models at the end lists the names that it has");
  }
  if (values.MODEL_NAME && !environment.MODEL_BASE_URL) problems.push("MODEL_NAME is set without MODEL_BASE_URL, the address of its server");
  if (isOn("llamacpp") && model.startsWith("/") && !isReadable(model)) {
    problems.push(`LLAMACPP_MODEL=${model}: there is no file that uid ${process.getuid()} can read; mount one, or copy it into /data/models`);
  }

  // Published beyond the loopback, browsers need to be told where everything is.
  const { PUBLISH_ADDRESS: address, PUBLIC_HOST: host } = values;
  if (address && !isLoopback(address) && isLoopback(host)) {
    for (const { name } of table.settings.filter((setting) => setting.public && isOn(setting.public))) {
      if (values[name] && new URL(values[name]).hostname === host) {
        problems.push(`PUBLISH_ADDRESS=${address}: ${name} is still ${values[name]}; set it, or PUBLIC_HOST for all of them, to what browsers use`);
      }
    }
  }

  const { TLS_CERT_FILE: certificate, TLS_KEY_FILE: key } = values;
  const { TLS_CERT_FILE: certificateSet, TLS_KEY_FILE: keySet } = environment;
  if (certificate && key) {
    const told = checkTls(certificate, key, isLoopback(host) ? undefined : host);
    problems.push(...told.problems);
    notices.push(...told.notices);
  } else if (certificate && !keySet) problems.push("TLS_CERT_FILE is set without TLS_KEY_FILE, the file of its private key");
  else if (key && !certificateSet) problems.push("TLS_KEY_FILE is set without TLS_CERT_FILE, the file of the certificate and its chain");
}
