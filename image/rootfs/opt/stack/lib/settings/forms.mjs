// Validates the values of settings: one function per form. It returns the normalized value, or throws a `Wrong` whose
// message completes "NAME=VALUE: ...".
import { createPrivateKey } from "node:crypto";
import { isIP, isIPv4, isIPv6 } from "node:net";

export class Wrong extends Error {}

export const wrong = (why) => {
  throw new Wrong(why);
};

/** Returns a function that runs an action and adds a `Wrong` to the problems, in the words of `describe`. */
export const collecting = (problems) => (action, describe = (why) => why) => {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof Wrong)) throw error;
    problems.push(describe(error.message));
    return undefined;
  }
};

const matching = (pattern, why, spell = (value) => value) => (value) => (pattern.test(value) ? spell(value) : wrong(why));
const lowerCase = (value) => value.toLowerCase();
const ofLength = (least, most) => (value) =>
  [...value].length >= least && [...value].length <= most ? value : wrong(`is not ${least} to ${most} characters long`);

// Normalizes like an address bar: lower case, the short form of an IPv6 address, no default port.
const asBrowsers = (address) => new URL(address);

/** Whether a host name or address is a loopback one. */
export const isLoopback = (host) => /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/.test(host);

function isHost(value) {
  const [, address] = /^\[([^%]*)\]$/.exec(value) ?? [];
  if (address !== undefined) return isIPv6(address);
  // Browsers treat a host that ends in a number as an IPv4 address.
  if (/(^|\.)\d+$/.test(value)) return isIPv4(value);
  return value.length <= 253 && value.split(".").every((label) => /^[a-z\d]([a-z\d-]{0,61}[a-z\d])?$/i.test(label));
}

function host(value) {
  if (isHost(value)) return asBrowsers(`http://${value}`).hostname;
  return wrong(isHost(value.replace(/:\d+$/, "")) ? "contains a port: leave it out" : "is not a host name or address (write an IPv6 address in brackets)");
}

function origin(value) {
  const [, name, port] = /^https?:\/\/(\[[^\]]*\]|[^:/]*)(?::([1-9]\d*))?$/i.exec(value) ?? [];
  if (name && isHost(name) && Number(port ?? 1) <= 65535) return asBrowsers(value).origin;
  return wrong("is not an origin: http:// or https://, a host, optionally a port, and nothing after it");
}

function network(value) {
  // A proxy on the engine's machine, whose address is known only when the container runs.
  if (value.toLowerCase() === "gateway") return "gateway";
  const [, address, bits] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(value) ?? [];
  const version = isIP(address ?? "");
  if (!version || Number(bits ?? 1) > (version === 4 ? 32 : 128)) return wrong("is not an address or CIDR block, such as 10.0.0.7 or 10.0.0.0/8, nor gateway");
  return Number(bits ?? 1) === 0 ? wrong("matches every address: list the trusted proxies") : value.toLowerCase();
}

// Separated by commas, without duplicates.
const listOf = (form) => (value) => {
  const problems = [];
  const attempt = collecting(problems);
  const items = value.split(",").map((item) => attempt(() => form(item.trim()), (why) => `${JSON.stringify(item.trim())} ${why}`));
  return problems.length > 0 ? wrong(problems.join("; ")) : [...new Set(items)].join(",");
};

function url(value) {
  if (/^https?:\/\/[^/?#]/i.test(value) && !/[^A-Za-z0-9._~:/?#@!$&()*+,;=%[\]-]/.test(value) && URL.canParse(value)) return value;
  return wrong("is not a URL that starts with http:// or https://");
}

function bool(value) {
  if (/^(true|yes|on|1)$/i.test(value)) return "true";
  return /^(false|no|off|0)$/i.test(value) ? "false" : wrong("is neither true nor false");
}

function path(value) {
  if (!/^\/[A-Za-z0-9._/@+,=: -]*$/.test(value) || /(^|\/)\.\.(\/|$)/.test(value)) {
    return wrong("is not an absolute path of letters, digits and . _ / @ + , = : - and spaces, without ..");
  }
  return value.replace(/(?<=.)\/+$/, "");
}

function model(value) {
  if (!/^hf:/i.test(value)) return path(value);
  const part = "[A-Za-z0-9][\\w.-]*";
  const [, name] = new RegExp(`^hf:(${part}/${part}(:${part})?)$`, "i").exec(value) ?? [];
  return name && !name.includes("..") ? `hf:${name}` : wrong("is not hf:OWNER/REPO:QUANT, such as hf:unsloth/Qwen3-4B-Instruct-2507-GGUF:Q4_K_M");
}

function privateKey(value) {
  if (!/^-----BEGIN PRIVATE KEY-----[^]*-----END PRIVATE KEY-----$/.test(value)) {
    return wrong("is not a PKCS #8 key, which starts with -----BEGIN PRIVATE KEY-----");
  }
  let key;
  try {
    key = createPrivateKey(value);
  } catch {
    // The error might quote the key.
    return wrong("cannot be read as a private key");
  }
  if (key.asymmetricKeyType !== "rsa") return wrong("is not an RSA key, which RS256 signatures need");
  return key.asymmetricKeyDetails.modulusLength < 2048 ? wrong("is an RSA key of fewer than 2048 bits") : value;
}

const forms = {
  text: (value) => ([...value].length <= 4096 ? value : wrong("is longer than 4096 characters")),
  // Used in headers and configuration files without quoting.
  token: matching(/^[A-Za-z0-9._~+/=-]{1,4096}$/, "has other characters than letters, digits and - . _ ~ + / ="),
  "admin-key": matching(/^[A-Za-z0-9._:/-]+\|[A-Za-z0-9+/=_-]+$/, "is not an admin key of Convex: a name, | and letters and digits"),
  name: matching(/^[a-z][a-z0-9-]{0,62}$/, "is not a name of lowercase letters, digits and hyphens that starts with a letter"),
  bool,
  integer: matching(/^(0|[1-9]\d{0,8})$/, "is not a whole number"),
  seconds: matching(/^[1-9]\d{0,8}$/, "is not a number of seconds, 1 or more"),
  count: matching(/^[1-9]\d{0,3}$/, "is not a whole number from 1 to 9999"),
  interval: matching(/^[1-9]\d{0,3}[mhd]$/, "is not a number of minutes, hours or days, such as 30m, 12h or 1d"),
  layers: matching(/^(auto|all|0|[1-9]\d{0,8})$/, "is not auto, all or a whole number"),
  port: (value) => (/^[1-9]\d{0,4}$/.test(value) && Number(value) <= 65535 ? value : wrong("is not a port (1 to 65535)")),
  path,
  model,
  url,
  origin,
  host,
  hosts: listOf(host),
  networks: listOf(network),
  address: (value) => (isIP(value) && !value.includes("%") ? value.toLowerCase() : wrong("is not an address of this machine, such as 127.0.0.1, 0.0.0.0 or ::")),
  access: matching(/^(auto|always|never)$/i, "is not auto, always or never", lowerCase),
  email: matching(/^[A-Za-z0-9._%+-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.[A-Za-z]{2,}$/, "is not an e-mail address"),
  password: ofLength(8, 128),
  passphrase: ofLength(12, 128),
  sha256: matching(/^[0-9a-f]{64}$/i, "is not a SHA-256 (64 hexadecimal digits)", lowerCase),
  hex64: matching(/^[0-9a-f]{64}$/i, "is not 64 hexadecimal digits", lowerCase),
  pem: privateKey,
};

/** The normalized value, or a `Wrong`. */
export function spelled(form, value) {
  // U+FFFD stands for bytes that are not UTF-8.
  if (/[\ufeff\ufffd]/.test(value)) wrong("contains a byte order mark, or bytes that are not UTF-8: save it as UTF-8 text");
  if (value.includes("\r")) wrong("contains a carriage return (CRLF line ends): save it with LF");
  if (form !== "pem") {
    if (/^\P{Cc}+\n+$/u.test(value)) wrong("ends with a line break, as `echo` adds: remove it (`printf %s` adds none)");
    if (/\p{Cc}/u.test(value)) wrong("contains a line break or another control character");
  }
  return forms[form](value);
}
