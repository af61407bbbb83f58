// Writes the OpenCode configuration file with the lowest priority: opencode-config.mjs FILE. It configures llama.cpp
// and the server of MODEL_BASE_URL. Users' settings in opencode.json next to it override it.
import { writeJson } from "../common.mjs";
import { PATIENCE, modelSources } from "../model/sources.mjs";

const [file] = process.argv.slice(2);
const { endpoint, local } = modelSources(process.env);
const { primary } = endpoint ?? local;

// OpenCode reads keys from the environment; they are not written to the file.
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
  // OpenCode's cloud, which needs no account. To use it, set this to [] in opencode.json.
  disabled_providers: ["opencode"],
  provider: {
    llamacpp: provider("llama.cpp", local, "LLAMACPP_API_KEY"),
    ...(endpoint ? { endpoint: provider(new URL(endpoint.baseUrl).host, endpoint, "ENDPOINT_API_KEY") } : {}),
  },
};
writeJson(file, configuration);
