// What the real frontend's build leaves behind: dist/index.html.
import { mkdirSync, writeFileSync } from "node:fs";

mkdirSync("dist", { recursive: true });
writeFileSync("dist/index.html", "<!doctype html><title>OpenCode Manager (stand-in)</title>\n");
