// Replaces llama.cpp's server, with OpenAI's protocol: calling-model.mjs PORT CALLS. Makes the tool calls once per turn,
// then answers with their results.
import { createServer } from "node:http";

const [port, calls] = process.argv.slice(-2);
const toolCalls = Object.entries(JSON.parse(calls)).map(([name, its], index) => {
  return { index, id: `call_${index}`, type: "function", function: { name, arguments: JSON.stringify(its) } };
});

const server = createServer(async (request, response) => {
  if (request.url === "/end") return response.end("", () => process.exit());
  let body = "";
  for await (const part of request) body += part;
  if (!request.url.endsWith("/chat/completions")) return response.end('{"data": [{"id": "local"}], "status": "ok"}');
  const results = JSON.parse(body).messages.filter(({ role }) => role === "tool");
  const text = results.map(({ content }) => (typeof content === "string" ? content : content.map((part) => part.text).join(""))).join("\n");
  response.writeHead(200, { "content-type": "text/event-stream" });
  const send = (delta, finish_reason) => {
    const chunk = { id: "1", object: "chat.completion.chunk", created: 1, model: "local", choices: [{ index: 0, delta, finish_reason }] };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  if (results.length > 0) send({ role: "assistant", content: text }, "stop");
  else send({ role: "assistant", tool_calls: toolCalls }, "tool_calls");
  response.end("data: [DONE]\n\n");
});
server.listen(Number(port), "127.0.0.1");
// Nobody waits longer.
setTimeout(() => process.exit(1), 200_000);
