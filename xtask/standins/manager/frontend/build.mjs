// Writes the files of the real frontend's build: dist/index.html and an asset.
import { mkdirSync, writeFileSync } from "node:fs";

const page = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <title>OpenCode Manager (stand-in)</title>
  </head>
  <body>
    <h1>OpenCode Manager (stand-in)</h1>
    <p id="state">asking</p>
    <script type="module" src="/assets/index.js"></script>
  </body>
</html>
`;
const script = `const state = document.getElementById("state");
const response = await fetch("/api/health");
const { status, opencodeVersion } = await response.json();
state.textContent = "OpenCode " + opencodeVersion + ": " + status;
`;

mkdirSync("dist/assets", { recursive: true });
writeFileSync("dist/index.html", page);
writeFileSync("dist/assets/index.js", script);
