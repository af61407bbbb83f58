// `llama` without arguments: the models of the running server, and the programs that `llama NAME …` starts.
import { readdirSync } from "node:fs";
import { readSettings, secret } from "../settings/read.mjs";

const address = `http://127.0.0.1:${readSettings().LLAMACPP_INNER_PORT}/v1/models`;
try {
  const answer = await fetch(address, { headers: { Authorization: `Bearer ${secret("LLAMACPP_API_KEY")}` }, signal: AbortSignal.timeout(5000) });
  const { data = [], error } = await answer.json();
  for (const { id, status } of data) console.log(status?.value ? `${id}  ${status.value}` : id);
  if (data.length === 0) console.error(error?.message ?? "the server has no model; `status` shows why");
} catch (error) {
  console.error(`the server does not answer (${error.cause?.code ?? error.message}); \`status\` tells why`);
  process.exitCode = 1;
}
const names = readdirSync(process.argv[2]).flatMap((name) => /^llama-([\w-]+)$/.exec(name)?.[1] ?? []);
console.error(`Programs: ${names.map((name) => `llama ${name}`).join(", ")}`);
