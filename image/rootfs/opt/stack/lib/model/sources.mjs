// The model servers that OpenClaw and OpenCode use: llama.cpp, and the server of MODEL_BASE_URL if it is set.
import { longestAnswer } from "./machine.mjs";

// Maximum seconds of a request, including its whole response. llama.cpp has the same limit.
export const PATIENCE = 3600;
const FALLBACK_CONTEXT = 32768;

/**
 * Returns `local` and, if MODEL_BASE_URL is set, `endpoint`, each with `baseUrl`, `models`, and `primary`, the default
 * model. FOUND_MODELS is the result of the service `model`, or empty until it is done.
 */
export function modelSources(settings) {
  const set = Number(settings.LLAMACPP_CTX_SIZE);
  const found = JSON.parse(settings.FOUND_MODELS || "null")?.models ?? [];
  if (found.length === 0) found.push({ name: "local" });
  const models = found.map(({ name, file, context: trained, mmproj }) => {
    const context = Math.min(set || Infinity, trained || Infinity);
    const known = Number.isFinite(context) ? context : FALLBACK_CONTEXT;
    const title = file ? `${file.replace(/^.*\/|\.gguf$/gi, "")} (llama.cpp)` : "Local llama.cpp";
    return { id: name, title, context: known, longest: longestAnswer(settings, known), images: Boolean(mmproj) };
  });
  const local = { baseUrl: `http://127.0.0.1:${settings.LLAMACPP_INNER_PORT}/v1`, models, primary: "llamacpp/local" };
  const { MODEL_BASE_URL: url, MODEL_NAME: id } = settings;
  if (!url) return { local };
  const context = Number(settings.MODEL_CTX_SIZE) || FALLBACK_CONTEXT;
  const longest = Math.min(Number(settings.LLAMACPP_MAX_TOKENS) || 8192, Math.floor(context / 4));
  const other = { id, title: id, context, longest, images: false };
  return { local, endpoint: { baseUrl: url.replace(/\/+$/, ""), models: [other], primary: `endpoint/${id}` } };
}
