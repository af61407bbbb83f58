// For tests of Node.js programs: temporary folders, servers and running programs, which end with their test.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const standins = fileURLToPath(new URL("..", import.meta.url));

export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// Serves HTTP on a free port. Returns the URL.
export async function listen(test, handler) {
  const server = http.createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

// `files` has the contents of its files by path.
export function temporaryFolder(test, files = {}) {
  const folder = mkdtempSync(join(tmpdir(), "test-"));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
  return folder;
}

// Older versions of Node.js recognize modules only by the file name.
function module(test, script) {
  const path = join(standins, script);
  if (script.endsWith(".mjs")) return path;
  const copy = join(temporaryFolder(test), `${script}.mjs`);
  copyFileSync(path, copy);
  return copy;
}

export class Program {
  constructor(test, script, words, { cwd, env = {} } = {}) {
    this.output = "";
    this.child = spawn(process.execPath, [module(test, script), ...words], { cwd, env: { ...process.env, NODE_NO_WARNINGS: "1", ...env } });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (data) => (this.output += data));
    this.exited = once(this.child, "close").then(([code, signal]) => ({ code, signal, output: this.output }));
    test.after(() => this.child.kill("SIGKILL"));
  }

  async stop(signal) {
    this.child.kill(signal);
    return this.exited;
  }

  // Polls until the URL answers with this status.
  async ready(url, status = 200) {
    for (let tries = 0; tries < 100; tries += 1) {
      const answered = await fetch(url).then((response) => response.status, () => undefined);
      if (answered === status) return;
      if (this.child.exitCode !== null) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`${url} does not answer ${status}:\n${this.output}`);
  }
}

export function run(test, script, words, options) {
  return new Program(test, script, words, options).exited;
}
