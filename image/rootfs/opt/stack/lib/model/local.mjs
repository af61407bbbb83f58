// Whether `local`, the model that OpenClaw and OpenCode use, is available, and if not, why.
import { basename } from "node:path";
import { readJson } from "../common.mjs";
import { RUNTIME } from "../settings/read.mjs";
import { askLlama } from "../status/llama.mjs";

const NO_MODEL = "no model yet: set LLAMACPP_MODEL=hf:OWNER/REPO:QUANT, or put a .gguf file into /data/models";

/** The result of the service `model`; undefined until it is done. */
const foundModels = () => readJson(`${RUNTIME}/model/state.json`);

/** `state` and `detail` for the status page if `local` is not available, or null. */
export async function localTrouble(settings) {
  const found = foundModels();
  if (!found) return null;
  const local = found.models.find(({ name }) => name === "local");
  if (!local) return { state: "not configured", detail: [NO_MODEL, ...found.problems].join("; ") };
  // A single model is loaded before llama.cpp reports itself healthy.
  if (settings.LLAMACPP_MODEL || settings.LLAMACPP_MODEL_URL) return null;
  const router = await askLlama(settings, "/v1/models").then(JSON.parse, () => null);
  const listed = router?.data?.find(({ id }) => id === "local")?.status;
  if (listed?.failed) return { state: "failed", detail: `${local.file} cannot be loaded: llama.cpp's log shows why` };
  if (!listed || listed.value === "loading") return { state: "starting", detail: `loading ${basename(local.file)}` };
  return null;
}

/** Files that look like models but cannot be used. */
export const modelRemarks = () => foundModels()?.problems.join("; ") ?? "";
