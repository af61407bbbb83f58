// The state of the services, for the `status` command, the image's health check (`--check`), programs (`--json`), and
// the page at /_stack (`--serve SOCKET`).
import { statSync } from "node:fs";
import http from "node:http";
import { PROBLEM, watchCertificate } from "../access/certificate.mjs";
import { endedSessions } from "../access/sign-in.mjs";
import { diskOf, peek, run } from "../common.mjs";
import { endpointTrouble } from "../model/endpoint.mjs";
import { localTrouble, modelRemarks } from "../model/local.mjs";
import { flavorOf, readSettings, readTable, RUNTIME, secret } from "../settings/read.mjs";
import { BACKUP_PROBLEM, scheduleBackups } from "../backup/schedule.mjs";
import { listen } from "./http.mjs";
import { hintFor } from "./hints.mjs";
import { memory, memoryOfServices, oldProcessor } from "./measures.mjs";
import { keepSamples, missingGpu, readSamples } from "./samples.mjs";
import { asCheck, asText } from "./text.mjs";
import { versionOf } from "./versions.mjs";
import { watch } from "./watch.mjs";

/** Bytes: with less free space, status shows a notice. */
const LITTLE_DISK = 1 << 30;
const table = readTable();
// Services that this flavor does not have are not listed as off.
const { without } = flavorOf(table);
table.services = table.services.filter(({ name }) => !without.includes(name));

/** The state in the supervisor, or null if it does not supervise the service yet. */
async function supervised(name) {
  const fields = ["up", "wantedup", "ready", "updownfor"];
  try {
    const { stdout } = await run("s6-svstat", ["-o", fields.join(","), `${RUNTIME}/scan/${name}`]);
    const [up, wanted, ready, seconds] = stdout.trim().split(" ");
    return { up: up === "true", wanted: wanted === "true", ready: ready === "true", seconds: Number(seconds) };
  } catch {
    return null;
  }
}

/** Requests one endpoint of a program directly, behind the front, within the table's time limit. */
function ask(endpoint, limit = endpoint.timeLimit) {
  const { port } = endpoint;
  const where = endpoint.socket ? { socketPath: `${RUNTIME}/${endpoint.socket}` } : { host: "127.0.0.1", port };
  const who = endpoint.socket ? "its socket" : `port ${port}`;
  const started = performance.now();
  return new Promise((resolve) => {
    const end = (found) => {
      const milliseconds = Math.round(performance.now() - started);
      resolve({ port, path: endpoint.path, ...found, milliseconds });
    };
    const signal = AbortSignal.timeout(limit * 1000);
    const request = http.get({ ...where, path: endpoint.path, agent: false, signal }, (response) => {
      response.destroy();
      const status = response.statusCode;
      end(endpoint.accept.includes(status) ? { ok: true, status } : { ok: false, reason: `${who} answers ${status}` });
    });
    request.on("error", ({ code, message }) => {
      const why = signal.aborted ? ` does not answer within ${limit} s` : `: ${code ?? message}`;
      end({ ok: false, reason: `${who}${why}` });
    });
  });
}

/** Requests all endpoints of a service; `silence` lists those that fail. */
async function askAll(service, limit) {
  const endpoints = await Promise.all(service.endpoints.filter(({ port, socket }) => port || socket).map((endpoint) => ask(endpoint, limit)));
  const silent = endpoints.filter((endpoint) => !endpoint.ok).map((endpoint) => endpoint.reason);
  return { endpoints, silence: silent.join("; ") };
}

/** Why a running service cannot be used: `state` and `detail`, or null. */
const troubles = { llamacpp: localTrouble };

/** Notes on a service that is up. */
const remarks = {
  front(settings) {
    const open = settings.ACCESS === "never" ? "ACCESS=never: everybody who reaches a port has access" : "";
    return [open, peek(PROBLEM)].filter(Boolean).join("; ");
  },
  llamacpp: modelRemarks,
};

async function examine(service, settings) {
  const link = service.link?.replace(/\{([A-Z0-9_]+)\}/g, (_, name) => settings[name] ?? "") ?? null;
  const about = { name: service.name, title: service.title, critical: service.critical, link };
  const result = (state, detail = null, endpoints = []) => ({ ...about, state, detail, endpoints });

  if (service.switch && settings[service.switch] === "false") return result("off", `${service.switch}=false`);
  // The front serves the files of a site.
  const supervisedAs = service.site ? "front" : service.name;
  const state = `${RUNTIME}/state/${supervisedAs}`;
  const process = await supervised(supervisedAs);
  if (process === null) return result("starting", "not supervised yet");
  about.seconds = process.seconds;
  const failure = statSync(`${state}/failed`, { throwIfNoEntry: false }) && `cannot stay up: it ${peek(`${state}/last`)}`;
  if (!process.up) {
    if (failure) return result("failed", failure);
    if (!process.wanted) return result("off", "stopped by hand");
    return result("starting", peek(`${state}/last`) || null);
  }
  if (!process.ready) {
    const note = peek(`${state}/note`);
    if (failure) return result("failed", note ? `${failure}; ${note}` : failure);
    const { endpoints, silence } = note ? { endpoints: [], silence: note } : await askAll(service);
    if (process.seconds > service.readyWithin) {
      return result("failed", `not ready after ${process.seconds} s${silence ? `: ${silence}` : ""}`, endpoints);
    }
    return result("starting", silence || peek(`${state}/last`) || null, endpoints);
  }
  const { endpoints, silence } = await askAll(service);
  if (silence) return result("failed", silence, endpoints);
  const trouble = await troubles[service.name]?.(settings);
  if (trouble) return result(trouble.state, trouble.detail, endpoints);
  return result("up", remarks[service.name]?.(settings) || null, endpoints);
}

/** The state of every service; `ill` ones make the stack unhealthy. `healthy`: all enabled services are up. */
async function examineAll() {
  const settings = readSettings();
  const services = await Promise.all(table.services.map(async (service) => {
    const found = await examine(service, settings);
    // The start of some services counts only if their setting is set.
    const startCounts = service.startCounts === null || Boolean(settings[service.startCounts]);
    return { ...found, ill: found.state === "failed" || (found.state === "starting" && startCounts) };
  }));
  const notices = peek(`${RUNTIME}/landlock`) ? [] : ["this kernel has no Landlock: services and their agents can read each other's files"];
  return { title: table.title, healthy: !services.some(({ ill }) => ill), services, notices };
}

/** How often a service has exited by itself. */
const deaths = (name) => peek(`${RUNTIME}/state/${name}/deaths`).split("\n").filter(Boolean).length;

/** The same, with versions, measurements, notices and hints. */
async function describeAll() {
  const [settings, samples] = [readSettings(), readSamples()];
  const [status, bytes] = [await examineAll(), memoryOfServices()];
  const services = await Promise.all(
    status.services.map(async (found, index) => {
      const row = table.services[index];
      const seen = await versionOf(row, found.state === "up", settings);
      const kept = row.data.map((name) => samples.folders?.[name]).filter((size) => size !== undefined);
      const counted = row.site ? {} : { restarts: deaths(found.name) };
      const takes = { memory: found.state === "off" ? null : (bytes[found.name] ?? null), disk: kept.length > 0 ? kept.reduce((sum, size) => sum + size) : null };
      return { ...found, ...seen, hint: hintFor(row, found), ...counted, ...takes };
    }),
  );
  const machine = { memory: memory(), disk: diskOf("/data"), tokensPerSecond: samples.speed?.last ?? null, devices: samples.devices ?? null };
  const notices = [
    ...status.notices,
    peek(BACKUP_PROBLEM),
    await endpointTrouble(settings, secret("MODEL_API_KEY")),
    oldProcessor(),
    missingGpu(settings, machine.devices),
    machine.memory?.kills > 0 && `the kernel ended ${machine.memory.kills} processes because memory ran out: give the container more`,
    machine.disk.free < LITTLE_DISK && `the disk of /data is nearly full`,
  ].filter(Boolean);
  return { ...status, services, notices, machine, samples: samples.numbers ?? [] };
}

const [mode, argument] = process.argv.slice(2);
if (mode === "--serve" && argument) {
  const settings = readSettings();
  if (settings.TLS_CERT_FILE) watchCertificate(settings);
  // Fails at the start rather than at the first request.
  endedSessions();
  listen(argument, describeAll);
  keepSamples(settings);
  scheduleBackups(settings);
  const others = table.services.filter(({ name, site }) => !site && name !== "status");
  watch(others, async (service, seconds) => (await askAll(service, seconds)).silence);
} else if (mode === undefined || mode === "--check" || mode === "--json") {
  if (!statSync(`${RUNTIME}/pid`, { throwIfNoEntry: false })) {
    console.error("the services have not been started; the container's log shows why");
    process.exit(1);
  }
  const status = await (mode === "--check" ? examineAll : describeAll)();
  if (mode === "--json") console.log(JSON.stringify(status, null, 2));
  else if (mode === "--check") console.log(asCheck(status));
  else console.log(asText(status));
  process.exit(status.healthy ? 0 : 1);
} else {
  console.error("usage: status [--check | --json]");
  process.exit(2);
}
