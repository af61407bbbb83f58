// Finds the models of a folder, names them for llama.cpp's list, and explains why other files cannot be used.
import { accessSync, constants, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { readGguf } from "./gguf.mjs";

// A limit, because links may form a cycle.
const DEEPEST = 4;
export const PART = /-(\d{5})-of-(\d{5})$/;
// Files that are not models themselves, by the names that llama.cpp recognizes: image projectors, draft models.
export const PROJECTOR = /mmproj/i;
const DRAFT = /^(mtp|dspark|dflash|eagle3)-/i;
const NO_MODEL = "is a projector for images (mmproj), not a model";

export const stem = (file) => basename(file).replace(/\.gguf$/i, "");

function* filesBelow(folder, depth = 0) {
  let names = [];
  try {
    names = readdirSync(folder).sort();
  } catch {
    // An unreadable folder has no models.
  }
  for (const name of names) {
    if (name.startsWith(".")) continue;
    const path = join(folder, name);
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory() && depth < DEEPEST) yield* filesBelow(path, depth + 1);
    else if (found?.isFile() && /\.gguf$/i.test(name)) yield path;
  }
}

function readPart(path, which) {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) throw new Error(`${which}does not exist`);
  try {
    accessSync(path, constants.R_OK);
  } catch {
    throw new Error(`${which}cannot be read by uid ${process.getuid()}: run \`chmod a+r\` on it`);
  }
  try {
    return readGguf(path);
  } catch (error) {
    throw new Error(which + error.message);
  }
}

/** Reads a model's header. Throws if it cannot be used, or if parts of a split model are missing. */
export function readModel(file) {
  const [, part, parts = "1"] = PART.exec(stem(file)) ?? [];
  if (Number(part ?? 1) > 1) throw new Error(`is part ${Number(part)} of a split model: set its first part`);
  const header = readPart(file, "");
  if (header.architecture === "clip") throw new Error(NO_MODEL);
  for (let number = 2; number <= Number(parts); number += 1) {
    const path = file.replace(/-00001-of-/, `-${String(number).padStart(5, "0")}-of-`);
    readPart(path, `lacks part ${number} of ${Number(parts)}: ${basename(path)} `);
  }
  return header;
}

/** The projector of a model: one with its name, or the only one in a folder with only this model. */
export function projectorOf(file, models, projectors) {
  const beside = (path) => dirname(path) === dirname(file);
  // Without the quantization, which differs between model and projector.
  const name = stem(file).replace(PART, "").replace(/[-._](UD-)?(I?Q\d\w*|B?F(16|32))$/i, "").toLowerCase();
  const near = projectors.filter(beside);
  return near.find((path) => stem(path).toLowerCase().includes(name)) ?? (models.filter(beside).length === 1 ? near[0] : undefined);
}

/**
 * Returns `models` in the order of their paths, each with `name`, `file`, `mmproj` and `context`, and `problems`: a
 * line for each file that looks like a model but cannot be used.
 */
export function scanModels(folder) {
  const found = { models: [], problems: [] };
  const all = [...filesBelow(folder)].filter((file) => !DRAFT.test(basename(file)) && !(Number(PART.exec(stem(file))?.[1] ?? 1) > 1));
  const projectors = all.filter((file) => PROJECTOR.test(basename(file)));
  const good = new Map();
  for (const file of all.filter((path) => !projectors.includes(path))) {
    try {
      // llama.cpp's list of models has no quoting.
      if (/[;#\p{Cc}]/u.test(file)) throw new Error("has a character in its name that llama.cpp's list of models does not allow");
      good.set(file, readModel(file));
    } catch (error) {
      found.problems.push(`${relative(folder, file)} ${error.message}`);
    }
  }
  if (good.size === 0) found.problems.push(...projectors.map((file) => `${relative(folder, file)} ${NO_MODEL}`));
  const names = new Set(["local"]);
  for (const [file, { context }] of good) {
    const plain = (path) => path.replace(/\.gguf$/i, "").replace(PART, "").replace(/[^A-Za-z0-9._+-]/g, "-");
    let name = plain(basename(file));
    if (names.has(name)) name = plain(relative(folder, file));
    while (names.has(name)) name += "-";
    names.add(name);
    found.models.push({ name, file, mmproj: projectorOf(file, [...good.keys()], projectors), context });
  }
  return found;
}
