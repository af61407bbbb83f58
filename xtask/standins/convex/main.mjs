#!/usr/bin/env -S node --disable-warning=ExperimentalWarning
// Stands in for convex-local-backend in a rehearsal: its flags, endpoints, keys and refusals.
import { helpText, parseFlags } from "./flags.mjs";
import { isAdminKey, issueAdminKey, readSecret } from "./keys.mjs";
import { serve } from "./http.mjs";
import { Backend } from "./backend.mjs";

const VERSION = "0.0.1-stand-in";

function log(message) {
  process.stdout.write(`${new Date().toISOString()} INFO ${message}\n`);
}

function fail(message) {
  process.stderr.write(`Error: ${message}\n`);
  process.exit(1);
}

function originOf(given, port, what) {
  const origin = given ?? `http://127.0.0.1:${port}`;
  // May be empty, because a backend may start before its URL is known.
  if (origin !== "" && !/^https?:\/\//.test(origin)) fail(`${what} url should start with https:// or http:// but got '${origin}'`);
  return origin;
}

async function main() {
  const asked = parseFlags(process.argv.slice(2), process.env);
  if (asked.kind === "help") return process.stdout.write(helpText());
  if (asked.kind === "version") return process.stdout.write(`convex-local-backend ${VERSION}\n`);
  if (asked.kind === "keygen") return process.stdout.write(`${issueAdminKey(readSecret(asked.secret), asked.name)}\n`);
  return start(asked.settings);
}

async function start(settings) {
  log("Starting a stand-in for the Convex backend: no real Convex is here");
  if (!settings.instanceSecret) fail("--instance-secret is required. Generate one with `openssl rand -hex 32`");
  if (settings.db !== "sqlite" || settings.s3Storage) fail("the stand-in keeps its state in SQLite and local files only");
  const secret = readSecret(settings.instanceSecret);
  const cloud = originOf(settings.convexOrigin, settings.port, "Origin");
  const site = originOf(settings.convexSite, settings.siteProxyPort, "Site");

  const backend = await Backend.open({
    name: settings.instanceName,
    secret,
    version: VERSION,
    cloud,
    site,
    database: settings.database,
    storage: settings.localStorage,
    log,
  });

  const servers = [
    serve({ route: (call, response) => backend.route(call, response), cors: true, log }),
    // Like upstream, the second port forwards to /http of the first one.
    serve({ route: (call, response) => backend.httpAction(call, call.path, response), cors: false, log }),
  ];
  servers[0].on("upgrade", (request, socket) => backend.upgrade(request, socket));
  for (const [index, port] of [settings.port, settings.siteProxyPort].entries()) {
    servers[index].on("error", (error) => fail(error.message));
    servers[index].listen(Number(port), settings.interface, () => log(`listening on ${settings.interface}:${port}`));
  }

  let stopping = false;
  // Like upstream, handles SIGINT only; SIGTERM keeps its default.
  process.on("SIGINT", async () => {
    if (stopping) process.exit(1);
    stopping = true;
    log("Received Ctrl-C signal!");
    log("Shutdown initiated, draining existing requests...");
    backend.close();
    await Promise.all(servers.map((server) => new Promise((closed) => server.close(closed))));
    backend.store.close();
    log("Server successfully shut down.");
    process.exit(0);
  });
}

// Unhandled errors of pushed functions must not end the backend.
process.on("unhandledRejection", (error) => log(`unhandled rejection: ${error?.stack ?? error}`));
main().catch((error) => fail(error.message));
