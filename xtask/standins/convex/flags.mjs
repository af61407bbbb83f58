// The command line of convex-local-backend: upstream's flags, with clap's error messages.

const USAGE = "Usage: convex-local-backend [OPTIONS] [DB_SPEC] [COMMAND]";

// `takes` is the name of the value in clap's messages; a flag without it is a switch.
const FLAGS = {
  "--db": { takes: "DB", short: "-d", of: ["sqlite", "postgres-v5", "mysql-v5"], default: "sqlite" },
  "--interface": { takes: "INTERFACE", short: "-i", check: ipv4, default: "0.0.0.0" },
  "--port": { takes: "PORT", short: "-p", check: port, default: "3210" },
  "--site-proxy-port": { takes: "SITE_PROXY_PORT", check: port, default: "3211" },
  "--convex-origin": { takes: "CONVEX_ORIGIN", requires: "--convex-site" },
  "--convex-site": { takes: "CONVEX_SITE", requires: "--convex-origin" },
  "--convex-http-proxy": { takes: "CONVEX_HTTP_PROXY", check: url },
  "--instance-name": { takes: "INSTANCE_NAME", requires: "--instance-secret" },
  "--instance-secret": { takes: "INSTANCE_SECRET", requires: "--instance-name" },
  "--sentry-identifier": { takes: "SENTRY_IDENTIFIER" },
  "--local-storage": { takes: "LOCAL_STORAGE", default: "convex_local_storage" },
  "--s3-storage": {},
  "--do-not-require-ssl": {},
  "--disable-beacon": {},
  "--beacon-tag": { takes: "BEACON_TAG", default: "self-host" },
  "--beacon-fields": { takes: "BEACON_FIELDS", check: json },
  "--redact-logs-to-client": {},
  "--local-log-sink": { takes: "LOCAL_LOG_SINK" },
};
const KEY_FLAGS = {
  "--instance-name": { takes: "INSTANCE_NAME", required: true },
  "--instance-secret": { takes: "INSTANCE_SECRET", required: true },
};

class Refused extends Error {}

function ipv4(text) {
  if (!/^(\d{1,3}\.){3}\d{1,3}$/.test(text) || text.split(".").some((part) => Number(part) > 255)) {
    throw new Refused("invalid IPv4 address syntax");
  }
}

function port(text) {
  if (!/^\d+$/.test(text)) throw new Refused("invalid digit found in string");
  if (Number(text) > 65535) throw new Refused(`${text} is not in 0..=65535`);
}

function url(text) {
  if (!URL.canParse(text)) throw new Refused("relative URL without a base");
}

function json(text) {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new Refused(error.message);
  }
}

// Exits like clap: message on stderr, code 2.
function refuse(message) {
  process.stderr.write(`error: ${message}\n\n${USAGE}\n\nFor more information, try '--help'.\n`);
  process.exit(2);
}

function spell(name, flag) {
  return flag.takes ? `${name} <${flag.takes}>` : name;
}

// Parses flags and at most `positionals` other words, up to the first command word.
function read(words, flags, positionals, commands = []) {
  const values = {};
  const others = [];
  let onlyPositionals = false;
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index];
    if (onlyPositionals || !word.startsWith("-") || word === "-") {
      if (!onlyPositionals && commands.includes(word)) return { values, others, command: word, rest: words.slice(index + 1) };
      if (others.length === positionals) refuse(`unexpected argument '${word}' found`);
      others.push(word);
      continue;
    }
    if (word === "--") {
      onlyPositionals = true;
      continue;
    }
    const [given, inline] = word.startsWith("--") && word.includes("=")
      ? [word.slice(0, word.indexOf("=")), word.slice(word.indexOf("=") + 1)]
      : [word, undefined];
    const name = Object.keys(flags).find((known) => known === given || flags[known].short === given);
    if (!name) refuse(`unexpected argument '${given}' found`);
    const flag = flags[name];
    if (name in values) refuse(`the argument '${spell(name, flag)}' cannot be used multiple times`);
    if (!flag.takes) {
      if (inline !== undefined) refuse(`unexpected value '${inline}' for '${name}' found; no more were expected`);
      values[name] = true;
      continue;
    }
    let value = inline;
    if (value === undefined) {
      index += 1;
      value = words[index];
      if (value === undefined || value.startsWith("--")) {
        refuse(`a value is required for '${spell(name, flag)}' but none was supplied`);
      }
    }
    if (flag.of && !flag.of.includes(value)) {
      refuse(`invalid value '${value}' for '${spell(name, flag)}'\n  [possible values: ${flag.of.join(", ")}]`);
    }
    try {
      flag.check?.(value);
    } catch (error) {
      refuse(`invalid value '${value}' for '${spell(name, flag)}': ${error.message}`);
    }
    values[name] = value;
  }
  return { values, others };
}

function demand(missing) {
  if (missing.length === 0) return;
  refuse(`the following required arguments were not provided:\n${missing.map((line) => `  ${line}`).join("\n")}`);
}

// The requested action: `help`, `version`, `keygen` or `serve`, with its values.
export function parseFlags(words, environment) {
  if (words.some((word) => word === "--help" || word === "-h")) return { kind: "help" };
  if (words.some((word) => word === "--version" || word === "-V")) return { kind: "version" };
  const { values, others, command, rest } = read(words, FLAGS, 1, ["keygen"]);
  if (command) {
    if (rest[0] !== "admin-key") {
      refuse(rest[0] === undefined ? "'convex-local-backend keygen' requires a subcommand but one was not provided" : `unrecognized subcommand '${rest[0]}'`);
    }
    const key = read(rest.slice(1), KEY_FLAGS, 0).values;
    demand(Object.entries(KEY_FLAGS).filter(([name]) => !(name in key)).map(([name, flag]) => spell(name, flag)));
    return { kind: "keygen", name: key["--instance-name"], secret: key["--instance-secret"] };
  }
  demand(
    Object.keys(values)
      .map((name) => FLAGS[name].requires)
      .filter((needed) => needed && !(needed in values))
      .map((needed) => spell(needed, FLAGS[needed])),
  );
  if ("--local-storage" in values && "--s3-storage" in values) {
    refuse("the argument '--local-storage <LOCAL_STORAGE>' cannot be used with '--s3-storage'");
  }
  const beacon = environment.DISABLE_BEACON;
  if (beacon !== undefined && !/^(y|yes|t|true|on|1|n|no|f|false|off|0)$/i.test(beacon)) {
    refuse(`invalid value '${beacon}' for '--disable-beacon': value was not a boolean`);
  }
  const settings = { database: others[0] ?? "convex_local_backend.sqlite3" };
  for (const [name, flag] of Object.entries(FLAGS)) {
    const key = name.slice(2).replace(/-(.)/g, (_, letter) => letter.toUpperCase());
    settings[key] = values[name] ?? flag.default;
  }
  return { kind: "serve", settings };
}

export function helpText() {
  const lines = Object.entries(FLAGS).map(([name, flag]) => {
    const fallback = flag.default === undefined ? "" : ` [default: ${flag.default}]`;
    return `  ${flag.short ? `${flag.short}, ` : "    "}${spell(name, flag)}${fallback}`;
  });
  return `A stand-in for convex-local-backend: it keeps what it is given and runs pushed functions in Node.js\n\n${USAGE}\n\nCommands:\n  keygen  Generate keys without starting the server\n\nArguments:\n  [DB_SPEC]  [default: convex_local_backend.sqlite3]\n\nOptions:\n${lines.join("\n")}\n  -h, --help\n  -V, --version\n`;
}
