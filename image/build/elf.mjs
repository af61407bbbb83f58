// Reads ELF files (System V gABI).

// The first four bytes of every ELF file.
export const ELF = 0x7f454c46;
const PT_LOAD = 1;
const PT_DYNAMIC = 2;
const DT_NULL = 0n;
const DT_NEEDED = 1n;
const DT_STRTAB = 5n;

// The libraries that a file needs; none if it is not a 64-bit little-endian ELF file.
export function neededLibraries(bytes) {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== ELF || bytes[4] !== 2 || bytes[5] !== 1) return [];
  const segments = programHeaders(bytes);
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (!dynamic) return []; // linked statically
  const names = [];
  let strings;
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += 16) {
    const tag = bytes.readBigUInt64LE(at);
    const value = Number(bytes.readBigUInt64LE(at + 8));
    if (tag === DT_NULL) break;
    if (tag === DT_NEEDED) names.push(value);
    if (tag === DT_STRTAB) strings = value;
  }
  // The string table is given by its address in memory.
  const holds = ({ type, address, size }) => type === PT_LOAD && address <= strings && strings < address + size;
  const load = segments.find(holds);
  if (!load) return [];
  const start = strings - load.address + load.offset;
  return names.map((name) => bytes.toString("latin1", start + name, bytes.indexOf(0, start + name)));
}

function programHeaders(bytes) {
  const offset = Number(bytes.readBigUInt64LE(32));
  const [size, count] = [bytes.readUInt16LE(54), bytes.readUInt16LE(56)];
  return Array.from({ length: count }, (_, index) => {
    const at = offset + index * size;
    return {
      type: bytes.readUInt32LE(at),
      offset: Number(bytes.readBigUInt64LE(at + 8)),
      address: Number(bytes.readBigUInt64LE(at + 16)),
      size: Number(bytes.readBigUInt64LE(at + 32)),
    };
  });
}
