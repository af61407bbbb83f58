// Which files of a repository of Hugging Face's hub `hf:OWNER/REPO:QUANT` stands for.
import { PROJECTOR, PART, stem } from "./models.mjs";

// What llama.cpp itself takes first when nothing is said, and what most repositories have.
const USUAL = ["Q4_K_M", "Q8_0"];
const same = (one, other) => one.toLowerCase() === other.toLowerCase();

/** The parts of a name that `spelled` checked. */
export function parseHub(text) {
  const [, repository, quant] = /^hf:([^/]+\/[^/:]+)(?::(.+))?$/.exec(text);
  return { repository, quant };
}

/** A file's model: its name without folder and part, and how its weights are rounded, as the name's end says. */
function describe({ rfilename }) {
  const name = stem(rfilename).replace(PART, "");
  const [, quant = ""] = /[-._]((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP4\w*|B?F(?:16|32)))$/i.exec(name) ?? [];
  // Some repositories have a folder for each.
  return { name, quant: quant || rfilename.split("/").at(-2) || "" };
}

/**
 * Chooses among the hub's `siblings`: the files of one model, in the order of its parts, and its projector if there is one.
 * Throws an `Error` that says what there is instead.
 */
export function chooseFiles(siblings, wanted) {
  const files = siblings.filter(({ rfilename }) => /\.gguf$/i.test(rfilename));
  const projectors = files.filter(({ rfilename }) => PROJECTOR.test(stem(rfilename)));
  const models = files.filter((file) => !projectors.includes(file));
  if (models.length === 0) throw new Error("has no GGUF file: look for a repository whose name ends in GGUF");
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

/** What the hub says of a file, once it makes sense: `path`, `name` to keep it under, `sha256` and `size`. */
function checked({ rfilename, lfs }) {
  const name = rfilename.split("/").at(-1);
  if (!/^[\w .+@=,()-]+$/.test(name) || rfilename.split("/").includes("..")) throw new Error(`has a file with an impossible name, ${JSON.stringify(rfilename)}`);
  const sha256 = lfs?.sha256 ?? /^sha256:(.*)$/.exec(lfs?.oid ?? "")?.[1];
  if (!/^[0-9a-f]{64}$/.test(sha256 ?? "")) throw new Error(`has no SHA-256 for ${rfilename}`);
  if (!Number.isSafeInteger(lfs.size) || lfs.size <= 0) throw new Error(`has no size for ${rfilename}`);
  return { path: rfilename, name, sha256, size: lfs.size };
}
