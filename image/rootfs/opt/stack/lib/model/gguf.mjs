// Reads the header of a GGUF file. Throws an `Error` whose message completes "NAME ...", so that a file that is not a
// model, or is incomplete, is reported before llama.cpp fails on it.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

const CHUNK = 2 ** 20;
// Bytes of a value by type. Strings (8) and lists (9) have a length field.
const SIZES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const [STRING, LIST] = [8, 9];
// Longer strings are templates and lists of tokens, which are not used here.
const LONGEST_KEPT = 256;

class Reader {
  constructor(file) {
    this.file = file;
    this.size = fstatSync(file).size;
    this.buffer = Buffer.alloc(0);
    this.start = 0;
    this.position = 0;
  }

  take(length) {
    if (this.position + length > this.size) throw new Error("is not complete: it ends within its header");
    let offset = this.position - this.start;
    if (offset + length > this.buffer.length) {
      const buffer = Buffer.alloc(Math.max(CHUNK, length));
      this.buffer = buffer.subarray(0, readSync(this.file, buffer, 0, buffer.length, this.position));
      this.start = this.position;
      offset = 0;
    }
    this.position += length;
    return this.buffer.subarray(offset, offset + length);
  }

  u32 = () => this.take(4).readUInt32LE();

  u64() {
    const value = Number(this.take(8).readBigUInt64LE());
    if (!Number.isSafeInteger(value)) throw new Error("is not a model: its header has impossible sizes");
    return value;
  }

  skip(length) {
    if (this.position + length > this.size) throw new Error("is not complete: it ends within its header");
    this.position += length;
  }

  string() {
    const length = this.u64();
    if (length <= LONGEST_KEPT) return this.take(length).toString();
    this.skip(length);
    return undefined;
  }

  value(type) {
    if (type === STRING) return this.string();
    if (type === LIST) {
      const [of, count] = [this.u32(), this.u64()];
      if (SIZES[of]) this.skip(SIZES[of] * count);
      else for (let index = 0; index < count; index += 1) this.value(of);
      return undefined;
    }
    if (!SIZES[type]) throw new Error("is not a model: its header has a type that GGUF does not know");
    const bytes = this.take(SIZES[type]);
    return type === 4 ? bytes.readUInt32LE() : type === 2 ? bytes.readUInt16LE() : undefined;
  }
}

/** Returns `architecture` ("clip" is an image projector), the training's `context`, and `parts` of a split model. */
export function readGguf(path) {
  const file = openSync(path, "r");
  try {
    const reader = new Reader(file);
    if (reader.size < 24 || reader.take(4).toString("latin1") !== "GGUF") throw new Error("is not a GGUF file");
    const version = reader.u32();
    if (version < 2 || version > 3) throw new Error(`is GGUF version ${version}, which this llama.cpp does not support`);
    const [tensors, pairs] = [reader.u64(), reader.u64()];
    const meta = new Map();
    for (let index = 0; index < pairs; index += 1) {
      const key = reader.string();
      meta.set(key, reader.value(reader.u32()));
    }
    // A tensor's length depends on its type. That the last one starts within the file is enough to detect a cut file.
    let last = -1;
    for (let index = 0; index < tensors; index += 1) {
      reader.string();
      reader.skip(8 * reader.u32());
      reader.skip(4);
      last = Math.max(last, reader.u64());
    }
    const alignment = meta.get("general.alignment") || 32;
    const data = Math.ceil(reader.position / alignment) * alignment;
    if (last >= 0 && data + last >= reader.size) throw new Error("is not complete: part of its weights is missing");
    const architecture = meta.get("general.architecture");
    return { architecture, context: meta.get(`${architecture}.context_length`), parts: meta.get("split.count") ?? 1 };
  } finally {
    closeSync(file);
  }
}
