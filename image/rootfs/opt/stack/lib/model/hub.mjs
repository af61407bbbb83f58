// Resolves `hf:OWNER/REPO:QUANT` to files of a repository on the Hugging Face hub.
import { PROJECTOR, PART, stem } from "./models.mjs";

// llama.cpp's own defaults, which most repositories have.
const USUAL = ["Q4_K_M", "Q8_0"];
const same = (one, other) => one.toLowerCase() === other.toLowerCase();

/** The parts of a name that `spelled` has validated. */
export function parseHub(text) {
  const [, repository, quant] = /^hf:([^/]+\/[^/:]+)(?::(.+))?$/.exec(text);
  return { repository, quant };
}

/** A file's model: its name without folder and part, and its quantization, from the end of the name. */
function describe({ rfilename }) {
  const name = stem(rfilename).replace(PART, "");
  const [, quant = ""] = /[-._]((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP4\w*|B?F(?:16|32)))$/i.exec(name) ?? [];
  // Some repositories have a folder per quantization.
  return { name, quant: quant || rfilename.split("/").at(-2) || "" };
}

/**
 * Chooses the files of one model among the hub's `siblings`: its parts in order, and its projector if there is one.
 * Throws an `Error` that lists what the repository has instead.
 */
export function chooseFiles(siblings, wanted) {
  const files = siblings.filter(({ rfilename }) => /\.gguf$/i.test(rfilename));
  const projectors = files.filter(({ rfilename }) => PROJECTOR.test(stem(rfilename)));
  const models = files.filter((file) => !projectors.includes(file));
  if (models.length === 0) throw new Error("has no GGUF file: choose a repository whose name ends in GGUF");
  const quants = [...new Set(models.map((file) => describe(file).quant))].filter(Boolean).sort();
  const there = quants.length > 0 ? `; there are ${quants.join(", ")}` : "";
  let chosen = models;
  if (wanted) {
    chosen = models.filter((file) => same(describe(file).quant, wanted) || same(describe(file).name, wanted));
    if (chosen.length === 0) throw new Error(`has no model in ${wanted}${there}`);
  } else {
    const quant = USUAL.find((usual) => quants.some((one) => same(one, usual)));
    if (quant) chosen = models.filter((file) => same(describe(file).quant, quant));
  }
  const names = [...new Set(chosen.map((file) => describe(file).name))];
  if (names.length > 1) {
    const what = wanted ? `several models in ${wanted}: name one after the colon: ${names.join(", ")}` : `several models: name one after a colon${there}`;
    throw new Error(`has ${what}`);
  }
  chosen.sort((one, other) => (one.rfilename < other.rfilename ? -1 : 1));
  const parts = Number(PART.exec(stem(chosen[0].rfilename))?.[2] ?? 1);
  if (chosen.length !== parts) throw new Error(`has ${chosen.length} of the ${parts} parts of ${names[0]}`);
  const projector = ["F16", "BF16"].map((quant) => projectors.find((file) => same(describe(file).quant, quant))).find(Boolean) ?? projectors[0];
  return [...chosen, ...(projector ? [projector] : [])].map(checked);
}

/** Validates the hub's description of a file. Returns `path`, the local `name`, `sha256` and `size`. */
function checked({ rfilename, lfs }) {
  const name = rfilename.split("/").at(-1);
  if (!/^[\w .+@=,()-]+$/.test(name) || rfilename.split("/").includes("..")) throw new Error(`has a file with an invalid name, ${JSON.stringify(rfilename)}`);
  const sha256 = lfs?.sha256 ?? /^sha256:(.*)$/.exec(lfs?.oid ?? "")?.[1];
  if (!/^[0-9a-f]{64}$/.test(sha256 ?? "")) throw new Error(`has no SHA-256 for ${rfilename}`);
  if (!Number.isSafeInteger(lfs.size) || lfs.size <= 0) throw new Error(`has no size for ${rfilename}`);
  return { path: rfilename, name, sha256, size: lfs.size };
}
