// Tar archives (POSIX, with pax headers for long names) of files, folders and symbolic links only.

const BLOCK = 512;
const FLAGS = { file: "0", link: "2", folder: "5" };
const LONGEST_NAMES = 64 * 1024;

/** The archive is invalid; the message says why. */
export class Invalid extends Error {}

export const padding = (size) => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
export const END = Buffer.alloc(2 * BLOCK);

function block({ name, flag, size, mode, mtime, link }) {
  const header = Buffer.alloc(BLOCK);
  const number = (value, at, length) => header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  Buffer.from(name).copy(header, 0, 0, 100);
  number(mode, 100, 8);
  number(0, 108, 8);
  number(0, 116, 8);
  number(size < 8 ** 11 ? size : 0, 124, 12);
  number(Math.min(Math.max(Math.floor(mtime), 0), 8 ** 11 - 1), 136, 12);
  header.write(flag, 156, "latin1");
  Buffer.from(link).copy(header, 157, 0, 100);
  header.write("ustar\x0000", 257, "latin1");
  number(sum(header), 148, 7);
  header[155] = 0x20;
  return header;
}

/** The checksum: the sum of all bytes, with its own field counted as spaces. */
function sum(header) {
  let total = 0;
  for (let at = 0; at < BLOCK; at += 1) total += at >= 148 && at < 156 ? 0x20 : header[at];
  return total;
}

/** The header of an entry; `mtime` is in seconds. The content and its padding follow it. */
export function header({ name, type = "file", size = 0, mode = 0o600, mtime = 0, link = "" }) {
  const more = [];
  if (Buffer.byteLength(name) > 100) more.push(["path", name]);
  if (Buffer.byteLength(link) > 100) more.push(["linkpath", link]);
  if (size >= 8 ** 11) more.push(["size", size]);
  const text = Buffer.concat(more.map(([key, value]) => record(key, value)));
  const pax = { name: "pax", flag: "x", size: text.length, mode: 0o600, mtime: 0, link: "" };
  const before = more.length > 0 ? [block(pax), text, padding(text.length)] : [];
  return Buffer.concat([...before, block({ name, flag: FLAGS[type], size, mode, mtime, link })]);
}

/** A pax record `LENGTH KEY=VALUE\n`, where the length includes its own digits. */
function record(key, value) {
  const rest = Buffer.from(` ${key}=${value}\n`);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length += 1;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** Yields each entry. Its `body` must be read completely before the next entry. */
export async function* read(source) {
  const bytes = new Bytes(source);
  let more = {};
  for (;;) {
    const head = await bytes.take(BLOCK);
    if (head.every((byte) => byte === 0)) return bytes.rest();
    const text = (at, length) => head.toString("utf8", at, at + length).replace(/\0[^]*/, "");
    const number = (at, length) => {
      const digits = text(at, length).trim();
      return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : damaged();
    };
    if (number(148, 8) !== sum(head)) damaged();
    const flag = head.toString("latin1", 156, 157);
    const size = more.size ?? number(124, 12);
    if (flag === "x") {
      if (size > LONGEST_NAMES) damaged();
      more = records(await bytes.take(size));
      await bytes.take(padding(size).length);
      continue;
    }
    const type = Object.keys(FLAGS).find((name) => FLAGS[name] === flag);
    // Most programs end the name of a folder with a slash.
    const name = (more.path ?? text(0, 100)).replace(type === "folder" ? /\/$/ : /$/, "");
    if (!type) throw new Invalid(`${JSON.stringify(name)} in it is neither a file nor a folder nor a symbolic link`);
    yield { name, type, size, mode: number(100, 8) & 0o777, mtime: number(136, 12), link: more.linkpath ?? text(157, 100), body: bytes.stream(size) };
    await bytes.take(padding(size).length);
    more = {};
  }
}

function damaged() {
  throw new Invalid("it is damaged");
}

function records(bytes) {
  const found = {};
  for (let at = 0; at < bytes.length; ) {
    const length = Number(/^\d{1,6}(?= )/.exec(bytes.toString("latin1", at, at + 8))?.[0] ?? damaged());
    const [, key, value] = /^\d+ ([^=]+)=([^]*)\n$/.exec(bytes.toString("utf8", at, at + length)) ?? damaged();
    found[key] = key === "size" ? Number(value) : value;
    at += length;
  }
  return found;
}

/** Reads a stream by length. */
class Bytes {
  #source;
  #chunk = Buffer.alloc(0);

  constructor(source) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async *stream(length) {
    while (length > 0) {
      if (this.#chunk.length === 0) await this.#next();
      const part = this.#chunk.subarray(0, length);
      this.#chunk = this.#chunk.subarray(part.length);
      length -= part.length;
      if (part.length > 0) yield part;
    }
  }

  async take(length) {
    const parts = [];
    for await (const part of this.stream(length)) parts.push(part);
    return Buffer.concat(parts);
  }

  /** Reads to the end, so that the decompressor checks everything. */
  async rest() {
    while (!(await this.#source.next()).done);
  }

  async #next() {
    const { done, value } = await this.#source.next();
    if (done) throw new Invalid("its end is missing");
    this.#chunk = value;
  }
}
