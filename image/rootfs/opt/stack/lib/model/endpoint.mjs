// Checks the server of MODEL_BASE_URL. Returns one line that says what is wrong and what to do, or null.
import { shown } from "./download.mjs";

export async function endpointTrouble({ MODEL_BASE_URL: url, MODEL_NAME: name }, key) {
  if (!url) return null;
  const about = (what) => `MODEL_BASE_URL=${shown(url)} ${what}`;
  let answer;
  try {
    const headers = key ? { authorization: `Bearer ${key}` } : {};
    answer = await fetch(`${url.replace(/\/+$/, "")}/models`, { headers, signal: AbortSignal.timeout(3000) });
  } catch (error) {
    const why = error.name === "TimeoutError" ? "within 3 s" : `(${error.cause?.code ?? error.message})`;
    return about(`does not answer ${why}: is the server running, and does it listen beyond its own loopback interface?`);
  }
  if (answer.status === 401 || answer.status === 403) return about(`refuses ${key ? "the" : "to answer without a"} MODEL_API_KEY (${answer.status})`);
  const listed = answer.ok ? (await answer.json().catch(() => null))?.data : undefined;
  if (!Array.isArray(listed)) return about(`is not the URL of an OpenAI-compatible API (/models answers ${answer.status}): most end in /v1`);
  const names = listed.map(({ id }) => id);
  return names.includes(name) ? null : about(`has no MODEL_NAME=${name}; it has ${names.slice(0, 8).join(", ") || "none"}`);
}
