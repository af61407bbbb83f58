// Writes the least important of OpenCode's configuration files: opencode-config.mjs FILE. It names the local
// llama.cpp; everything in it yields to what people write into opencode.json beside it.
import { renameSync, writeFileSync } from "node:fs";

const [file] = process.argv.slice(2);
const { LLAMACPP_INNER_PORT, LLAMACPP_CTX_SIZE, LLAMACPP_API_KEY } = process.env;
const context = Number(LLAMACPP_CTX_SIZE);

const model = { name: "Local llama.cpp", tool_call: true };
// 0 stands for what the model was trained with, which is not known here.
if (context > 0) model.limit = { context, output: Math.min(8192, Math.floor(context / 4)) };

const configuration = {
  $schema: "https://opencode.ai/config.json",
  autoupdate: false,
  share: "disabled",
  model: "llamacpp/local",
  small_model: "llamacpp/local",
  // OpenCode's own cloud, which needs no account: whoever wants it sets this to [] in opencode.json.
  disabled_providers: ["opencode"],
  provider: {
    llamacpp: {
      npm: "@ai-sdk/openai-compatible",
      name: "llama.cpp",
      options: {
        baseURL: `http://127.0.0.1:${LLAMACPP_INNER_PORT}/v1`,
        // Read from the environment by OpenCode: the key is in no file.
        ...(LLAMACPP_API_KEY ? { apiKey: "{env:LLAMACPP_API_KEY}" } : {}),
      },
      models: { local: model },
    },
  },
};
writeFileSync(`${file}.new`, `${JSON.stringify(configuration, null, 2)}\n`);
renameSync(`${file}.new`, file);
