// Requests to llama.cpp: its metrics, its devices, and the speed of its last answers.
import { answerOf, run } from "../common.mjs";
import { secret } from "../settings/read.mjs";

/** The body of llama.cpp's response to a request with its key, as text. */
export const askLlama = ({ LLAMACPP_INNER_PORT: port }, path, seconds) => answerOf(port, path, { authorization: `Bearer ${secret("LLAMACPP_API_KEY")}`, seconds });

/** llama.cpp's metrics: `{ name, help, type, model, value }` of each loaded model. */
export async function numbers(settings) {
  const { data } = JSON.parse(await askLlama(settings, "/v1/models"));
  const loaded = data.filter(({ status }) => !status || status.value === "loaded");
  const texts = await Promise.all(
    loaded.map(async ({ id }) => [id, await askLlama(settings, `/metrics?autoload=false&model=${encodeURIComponent(id)}`)]),
  );
  return texts.flatMap(([model, text]) => samples(text).map((sample) => ({ ...sample, model })));
}

/** Parses its metrics, without the averages since the last request: there are several clients. */
export function samples(text) {
  const about = {};
  const found = [];
  for (const line of text.split("\n")) {
    const [, what, subject, rest] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (what) (about[subject] ??= {})[what.toLowerCase()] = rest;
    const [, name, value] = /^([a-z_:]+) (\S+)$/.exec(line) ?? [];
    if (name && !name.endsWith("_tokens_seconds") && about[name]?.type) found.push({ name, ...about[name], value: Number(value) });
  }
  return found;
}

/** The speed since `before`, or if nothing was generated, the previous `last`; null before the first answer. */
export function speed(before, found) {
  const sum = (name) => found.filter((sample) => sample.name === `llamacpp:${name}`).reduce((all, { value }) => all + value, 0);
  const now = { tokens: sum("tokens_predicted_total"), seconds: sum("tokens_predicted_seconds_total") };
  // A restarted server counts from zero.
  const since = before && before.tokens <= now.tokens ? before : { tokens: 0, seconds: 0, last: before?.last };
  const [tokens, seconds] = [now.tokens - since.tokens, now.seconds - since.seconds];
  return { ...now, last: tokens > 0 && seconds > 0 ? tokens / seconds : (since.last ?? null) };
}

/** llama.cpp's descriptions of the devices besides the processor; null if it does not list them. */
export async function devices() {
  const env = { ...process.env, LD_LIBRARY_PATH: "/opt/llamacpp" };
  const { stdout, stderr } = await run("/opt/llamacpp/llama-server", ["--list-devices"], { env, timeout: 20_000 });
  return listed(`${stdout}\n${stderr}`);
}

export function listed(text) {
  const [, list] = /^Available devices:\n((?: .*\n?)*)/m.exec(text) ?? [];
  if (list === undefined) return null;
  return list.split("\n").map((line) => line.trim()).filter((line) => line !== "" && line !== "(none)");
}
