// A hub on the loopback that truncates its first response and does not support ranges, and a download from it:
// hub.mjs MODEL. Prints the result.
import { spawnSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";

const content = readFileSync(process.argv.at(-1));
const sha256 = createHash("sha256").update(content).digest("hex");
const commit = "0123456789abcdef".repeat(3).slice(0, 40);
let asked = 0;
const server = createServer((request, response) => {
  if (request.url.startsWith("/api/")) {
    const siblings = [{ rfilename: "README.md" }, { rfilename: "Smoke-Q8_0.gguf", lfs: { sha256, size: content.length, pointerSize: 1 } }];
    return response.end(JSON.stringify({ sha: commit, siblings }));
  }
  if (request.url !== `/smoke/Smoke-GGUF/resolve/${commit}/Smoke-Q8_0.gguf`) return response.writeHead(404).end();
  asked += 1;
  response.writeHead(200, { "content-length": content.length });
  if (asked > 1) return response.end(content);
  response.write(content.subarray(0, content.length / 2), () => response.destroy());
});
server.listen(0, "127.0.0.1", () => {
  const found = "/tmp/found";
  mkdirSync(found, { recursive: true });
  const env = { PATH: process.env.PATH, LLAMACPP_MODEL: "hf:smoke/Smoke-GGUF:Q8_0", HF_ENDPOINT: `http://127.0.0.1:${server.address().port}` };
  const child = spawn("node", ["/opt/stack/lib/model/main.mjs", "/tmp/models", found], { env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (said += chunk));
  child.on("close", (code) => {
    const digest = spawnSync("sha256sum", ["/tmp/models/hf/smoke/Smoke-GGUF/Smoke-Q8_0.gguf"]).stdout.toString().slice(0, 64);
    console.log(JSON.stringify({ code, said, asked, right: digest === sha256 }));
    server.closeAllConnections();
    server.close();
  });
});
