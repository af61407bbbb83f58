// Merges this stack's settings into OpenClaw's configuration: openclaw-config.mjs FILE.
//
// Users edit the file too, by hand or in OpenClaw's pages. So it is merged key by key: keys that connect the services
// (`ours`) always win, as ports and tokens may change. All others (`firstChoice`) are only set if they are missing.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";
import { fail, readJson, replaceFile } from "../common.mjs";
import { PATIENCE, modelSources } from "../model/sources.mjs";

const [file] = process.argv.slice(2);
const settings = process.env;
const { endpoint, local } = modelSources(settings);

// A model in OpenClaw's format.
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
    // The front sets forwarded headers.
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
  // Requests of Mission Control's page name the session of their task; see allowedSessionKeyPrefixes below.
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
// The front rewrites /hooks/agent of Mission Control's page to this mapping. A run keeps the session of its task, by
// which Mission Control finds the task. The plain /hooks/agent would start a new session, and wake the main agent at
// the end. The text is from the owner, so it is not treated as untrusted.
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
// Lists: add our members if they are missing, and remove those that the previous start added and that are no longer
// ours. A file next to the configuration records them.
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
      // The default is every half hour, with a prompt that takes minutes on processors.
      heartbeat: { every: "0m" },
    },
  },
  // On slow processors, reading a long prompt takes longer than OpenClaw's default of 300 s.
  models: {
    mode: "merge",
    providers: { llamacpp: { timeoutSeconds: PATIENCE }, ...(endpoint ? { endpoint: { timeoutSeconds: PATIENCE } } : {}) },
  },
  // The image is updated as a whole, and the check would send version and platform.
  update: { checkOnStart: false },
  // Its log is on a tmpfs, which uses memory. The container's log has the same lines.
  logging: { maxFileBytes: 4 * 2 ** 20 },
};

function isTable(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

// Merges tables recursively; otherwise `stronger` replaces `weaker`.
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

// Replaces the file. A file that is itself a mount cannot be replaced, so it is written in place.
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
      fail(`${path} is mounted and cannot be written (${refused.code}): mount it writable for uid ${process.getuid()}, because this stack sets addresses in it`);
    }
  }
}

// The file may be JSON5. OpenClaw contains a parser.
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return createRequire("/opt/openclaw/node_modules/openclaw/package.json")("json5").parse(text);
  }
}

// Removes models of an earlier start that no longer exist: OpenClaw does not start with a provider without a key.
function withoutStale(theirs) {
  const kept = structuredClone(theirs);
  if (!endpoint) delete kept.models?.providers?.endpoint;
  const model = kept.agents?.defaults?.model;
  const stale = [endpoint?.primary !== model?.primary && "endpoint/", settings.LLAMACPP_ENABLED === "false" && "llamacpp/"];
  if (stale.some((prefix) => prefix && model?.primary?.startsWith(prefix))) delete model.primary;
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
// Leave an unchanged file alone, because it may have comments.
if (!isDeepStrictEqual(merged, theirs)) write(file, merged);
if (!isDeepStrictEqual(members, before)) write(note, members);
