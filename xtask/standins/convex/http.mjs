// A small HTTP server: routes, upstream's error messages, and CORS headers.
import http from "node:http";
import util from "node:util";
import zlib from "node:zlib";

const unpack = { br: util.promisify(zlib.brotliDecompress), gzip: util.promisify(zlib.gunzip), deflate: util.promisify(zlib.inflate) };
const LARGEST_BODY = 64 * 1024 * 1024;

// An error response: JSON with a code and a message, like upstream.
export class HttpError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

async function readBody(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > LARGEST_BODY) throw new HttpError(413, "RequestTooLarge", "length limit exceeded");
    chunks.push(chunk);
  }
  const body = Buffer.concat(chunks);
  const encoding = request.headers["content-encoding"];
  if (!encoding || encoding === "identity") return body;
  if (!(encoding in unpack)) throw new HttpError(415, "UnsupportedEncoding", `unsupported content encoding ${encoding}`);
  return unpack[encoding](body).catch(() => {
    throw new HttpError(400, "BadBody", `the body is not ${encoding}`);
  });
}

// Upstream allows all requested headers.
function corsHeaders(request) {
  const { origin, "access-control-request-headers": wanted } = request.headers;
  if (!origin) return {};
  const headers = { "access-control-allow-origin": origin, "access-control-allow-credentials": "true", vary: "origin" };
  if (request.method === "OPTIONS") {
    headers["access-control-allow-methods"] = "GET,POST,OPTIONS,PATCH,DELETE,PUT";
    headers["access-control-max-age"] = "86400";
    if (wanted) headers["access-control-allow-headers"] = wanted;
  }
  return headers;
}

export function sendJson(response, value, status = 200) {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
}

export function sendText(response, text, status = 200) {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(text);
}

// `route(call)` answers, or returns false for unknown paths. A call has method, path, query, headers, body() and
// json().
export function serve({ route, cors, log }) {
  return http.createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://stand-in");
    const call = {
      method: request.method,
      path: pathname,
      query: searchParams,
      headers: request.headers,
      body: () => readBody(request),
      async json() {
        try {
          return JSON.parse((await readBody(request)).toString());
        } catch (error) {
          if (error instanceof HttpError) throw error;
          throw new HttpError(400, "BadJsonBody", `Failed to parse the request body as JSON: ${error.message}`);
        }
      },
    };
    try {
      if (cors) {
        for (const [name, value] of Object.entries(corsHeaders(request))) response.setHeader(name, value);
        if (request.method === "OPTIONS" && request.headers["access-control-request-method"]) {
          response.writeHead(200).end();
          return;
        }
      }
      if ((await route(call, response)) === false) sendText(response, "", 404);
    } catch (error) {
      const known = error instanceof HttpError;
      if (!known) log(`failed on ${request.method} ${pathname}: ${error.stack}`);
      if (response.headersSent) response.destroy();
      else if (known) sendJson(response, { code: error.code, message: error.message }, error.status);
      else sendJson(response, { code: "InternalServerError", message: "Your request couldn't be completed. Try again later." }, 500);
    }
  });
}
