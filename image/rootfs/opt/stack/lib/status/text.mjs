// Formats the status for a terminal.
import { size } from "../common.mjs";

/** A version, marked if it is not the image's own. */
export function version({ version, pinned, replaced, standIn }) {
  if (version === null) return "-";
  return version + (standIn ? " (stand-in)" : replaced ? ` (replaces ${pinned})` : "");
}

/** Measurements of the container, in one line. */
export function measures({ memory, disk, tokensPerSecond, devices }) {
  const parts = [];
  if (memory) parts.push(`memory ${size(memory.used)}${memory.limit ? ` of ${size(memory.limit)}` : ""}`);
  parts.push(`disk of /data ${size(disk.free)} free of ${size(disk.total)}`);
  if (tokensPerSecond !== null) parts.push(`last answer ${tokensPerSecond.toFixed(1)} tokens/s`);
  if (devices) parts.push(`llama.cpp's devices: ${devices.join(", ") || "the processor only"}`);
  return parts.join("; ");
}

export function asText(status) {
  const widths = [
    Math.max(...status.services.map(({ name }) => name.length)),
    14,
    Math.max(...status.services.map((service) => version(service).length)),
  ];
  const below = (text) => `${" ".repeat(widths[0])}  ${text}`;
  const lines = status.services.flatMap((service) => {
    const cells = [service.name, service.state, version(service)].map((cell, index) => cell.padEnd(widths[index]));
    const more = [service.detail, service.hint && `fix: ${service.hint}`].filter(Boolean);
    return [[...cells, service.memory ? size(service.memory) : ""].join("  ").trimEnd(), ...more.map(below)];
  });
  return [...lines, measures(status.machine), ...status.notices].join("\n");
}

/** One line that names unhealthy services; engines show it with the health state. */
export function asCheck(status) {
  const ill = status.services.filter(({ ill }) => ill);
  if (ill.length === 0) return "healthy";
  return ill.map((service) => `${service.name} ${service.state}${service.detail ? ` (${service.detail})` : ""}`).join("; ");
}
