// `llama` without arguments: lists the models of the running server, and the programs that `llama NAME …` runs.
import { readdirSync } from "node:fs";
import { readSettings } from "../settings/read.mjs";
import { askLlama } from "../status/llama.mjs";

try {
  const { data = [] } = JSON.parse(await askLlama(readSettings(), "/v1/models", 5));
  for (const { id, status } of data) console.log(status?.value ? `${id}  ${status.value}` : id);
  if (data.length === 0) console.error("the server has no model; `status` shows why");
} catch (error) {
  console.error(`the server does not answer (${error.cause?.code ?? error.message}); \`status\` shows why`);
  process.exitCode = 1;
}
const names = readdirSync(process.argv[2]).flatMap((name) => /^llama-([\w-]+)$/.exec(name)?.[1] ?? []);
console.error(`Programs: ${names.map((name) => `llama ${name}`).join(", ")}`);
