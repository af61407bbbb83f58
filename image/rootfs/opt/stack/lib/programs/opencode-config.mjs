// Writes the least important of OpenCode's configuration files: opencode-config.mjs FILE. It names the local
// llama.cpp, and the server of MODEL_BASE_URL; everything in it yields to what people write into opencode.json beside it.
import { writeJson } from "../common.mjs";
import { PATIENCE, modelSources } from "../model/sources.mjs";

const [file] = process.argv.slice(2);
const { endpoint, local } = modelSources(process.env);
const { primary } = endpoint ?? local;

// Keys are read from the environment by OpenCode, and are in no file.
function provider(name, { baseUrl, models }, key) {
  const described = ({ id, title, context, longest, images }) => [
    id,
    { name: title, tool_call: true, ...(images ? { attachment: true } : {}), limit: { context, output: longest } },
  ];
  return {
    npm: "@ai-sdk/openai-compatible",
    name,
    options: { baseURL: baseUrl, timeout: PATIENCE * 1000, ...(process.env[key] ? { apiKey: `{env:${key}}` } : {}) },
    models: Object.fromEntries(models.map(described)),
  };
}

const configuration = {
  $schema: "https://opencode.ai/config.json",
  autoupdate: false,
  share: "disabled",
  model: primary,
  small_model: primary,
  // OpenCode's own cloud, which needs no account: whoever wants it sets this to [] in opencode.json.
  disabled_providers: ["opencode"],
  provider: {
    llamacpp: provider("llama.cpp", local, "LLAMACPP_API_KEY"),
    ...(endpoint ? { endpoint: provider(new URL(endpoint.baseUrl).host, endpoint, "ENDPOINT_API_KEY") } : {}),
  },
};
writeJson(file, configuration);
