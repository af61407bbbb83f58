// Puts what this stack needs into OpenClaw's configuration: openclaw-config.mjs FILE.
//
// The file is also the user's, who edits it by hand or in OpenClaw's own pages. So it is merged key by key, and
// there are two kinds of keys. Those that join the services together are ours and win, or else a changed port or
// token would leave a file behind that no longer fits. The rest is a first choice that is given once and then left
// to the user, such as the model.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";
import { readJson, replaceFile } from "../common.mjs";
import { fail } from "../fail.mjs";
import { PATIENCE, modelSources } from "../model/sources.mjs";

const [file] = process.argv.slice(2);
const settings = process.env;
const { endpoint, local } = modelSources(settings);

// As OpenClaw describes a model.
const described = ({ id, title, context, longest, images }) => ({
  id,
  name: title,
  reasoning: false,
  input: images ? ["text", "image"] : ["text"],
  cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
  contextWindow: context,
  maxTokens: longest,
});
const provider = ({ baseUrl, models }, apiKey) => ({ baseUrl, apiKey, api: "openai-completions", models: models.map(described) });

const ours = {
  gateway: {
    mode: "local",
    port: Number(settings.OPENCLAW_INNER_PORT),
    bind: "loopback",
    // The front tells whom it passes on.
    trustedProxies: ["127.0.0.1", "::1"],
    auth: { mode: "token", token: "${OPENCLAW_GATEWAY_TOKEN}" },
    http: { endpoints: { chatCompletions: { enabled: true } } },
  },
  models: {
    providers: {
      llamacpp: provider(local, "${LLAMACPP_API_KEY}"),
      ...(endpoint ? { endpoint: provider(endpoint, "${ENDPOINT_API_KEY}") } : {}),
    },
  },
  // The page's requests name the session of their task, and may: hooks.allowedSessionKeyPrefixes, below.
  hooks: { enabled: true, token: "${OPENCLAW_HOOKS_TOKEN}", path: "/hooks", allowRequestSessionKey: true },
  plugins: {
    entries: {
      "mission-control": {
        enabled: true,
        hooks: { allowConversationAccess: true },
        config: { url: `http://127.0.0.1:${settings.CONVEX_SITE_INNER_PORT}/openclaw/event` },
      },
    },
  },
};
// What the page on port 3000 sends to /hooks/agent comes here (nginx/mission-control.conf). A run keeps the session of
// its task, by which Mission Control finds the task again; the plain /hooks/agent would give it a session of its own,
// and wake the main agent when it is done. The text is the owner's, not that of a stranger's mail.
const mapping = {
  id: "mission-control",
  match: { path: "mission-control" },
  action: "agent",
  name: "{{name}}",
  messageTemplate: "{{message}}",
  sessionKey: "{{sessionKey}}",
  sessionMode: "persistent",
  wakeMode: "now",
  deliver: false,
  allowUnsafeExternalContent: true,
};
// Lists: ours are put in when they are missing, and taken out when they are no longer ours. What the last start put in
// is in a file beside.
const members = {
  "gateway.controlUi.allowedOrigins": settings.ALLOWED_ORIGINS.split("\n"),
  "hooks.allowedSessionKeyPrefixes": ["mission:", "hook:"],
  "plugins.load.paths": ["/opt/stack/openclaw-plugin"],
};
const note = `${file}.members`;
const firstChoice = {
  agents: {
    defaults: {
      model: { primary: (endpoint ?? local).primary },
      workspace: "/data/openclaw/workspace",
      skipBootstrap: true,
      // Every half hour otherwise, with a prompt that takes a processor minutes to read.
      heartbeat: { every: "0m" },
    },
  },
  // Of one request, and until its first word: a slow processor reads a long prompt for longer than OpenClaw's 300 s.
  models: {
    mode: "merge",
    providers: { llamacpp: { timeoutSeconds: PATIENCE }, ...(endpoint ? { endpoint: { timeoutSeconds: PATIENCE } } : {}) },
  },
  // The check tells its version and platform to OpenClaw; the image is what gets updated here.
  update: { checkOnStart: false },
  // On the tmpfs, which is memory. The container's log has the same lines.
  logging: { maxFileBytes: 4 * 2 ** 20 },
};

function isTable(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// `stronger` over `weaker`, tables merged, everything else replaced.
function merge(weaker, stronger) {
  if (!isTable(weaker) || !isTable(stronger)) return stronger;
  const result = { ...weaker };
  for (const [key, value] of Object.entries(stronger)) result[key] = key in weaker ? merge(weaker[key], value) : value;
  return result;
}

function setMembers(table, [key, ...rest], values, before) {
  if (rest.length > 0) {
    if (!isTable(table[key])) table[key] = {};
    setMembers(table[key], rest, values, before);
  } else {
    const present = Array.isArray(table[key]) ? table[key] : [];
    const kept = present.filter((value) => values.includes(value) || !before.includes(value));
    table[key] = [...kept, ...values.filter((value) => !kept.includes(value))];
  }
}

// Whole or not at all; a file that is mounted by itself cannot be replaced, and is written where it is.
function write(path, value) {
  const text = `${JSON.stringify(value, null, 2)}\n`;
  try {
    replaceFile(path, text, { mode: 0o600 });
  } catch (error) {
    rmSync(`${path}.new`, { force: true });
    if (error.code !== "EBUSY") throw error;
    try {
      writeFileSync(path, text);
    } catch (refused) {
      fail(`${path} is mounted and cannot be written (${refused.code}), and this stack's addresses belong in it: mount it writable for uid ${process.getuid()}`);
    }
  }
}

// OpenClaw reads JSON5, with a parser that it brings.
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return createRequire("/opt/openclaw/node_modules/openclaw/package.json")("json5").parse(text);
  }
}

// What an earlier start chose, and is no longer there: a key that nobody sets any more would keep OpenClaw from starting.
function withoutStale(theirs) {
  const kept = structuredClone(theirs);
  if (!endpoint) delete kept.models?.providers?.endpoint;
  const model = kept.agents?.defaults?.model;
  const gone = [endpoint?.primary !== model?.primary && "endpoint/", settings.LLAMACPP_ENABLED === "false" && "llamacpp/"];
  if (gone.some((prefix) => prefix && model?.primary?.startsWith(prefix))) delete model.primary;
  return kept;
}

let theirs = {};
if (existsSync(file)) {
  try {
    theirs = parse(readFileSync(file, "utf8"));
  } catch (error) {
    fail(`${file} cannot be read: ${error.message}\nCorrect it, or move it away to start with a new one.`);
  }
}
const merged = merge(merge(firstChoice, withoutStale(theirs)), ours);
const before = readJson(note) ?? {};
for (const [path, values] of Object.entries(members)) setMembers(merged, path.split("."), values, before[path] ?? []);
const others = Array.isArray(merged.hooks.mappings) ? merged.hooks.mappings : [];
merged.hooks.mappings = [mapping, ...others.filter(({ id }) => id !== mapping.id)];
// A file that is right already is left alone, with its comments.
if (!isDeepStrictEqual(merged, theirs)) write(file, merged);
if (!isDeepStrictEqual(members, before)) write(note, members);
