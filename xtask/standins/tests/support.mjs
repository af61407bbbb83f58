// Starts a stand-in on free ports in a temporary folder, and ends it with the test.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const standins = fileURLToPath(new URL("..", import.meta.url));

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export function temporaryFolder(test) {
  const folder = mkdtempSync(join(tmpdir(), "standin-"));
  test.after(() => rmSync(folder, { recursive: true, force: true }));
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
