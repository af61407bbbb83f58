// The check of the server of MODEL_BASE_URL.
import assert from "node:assert/strict";
import { test } from "node:test";
import { endpointTrouble } from "../../../image/rootfs/opt/stack/lib/model/endpoint.mjs";
import { freePort, listen } from "../../standins/tests/support.mjs";

test("problems of the server of MODEL_BASE_URL are reported in one line", async (context) => {
  const base = await listen(context, (request, response) => {
    if (request.url === "/hangs/v1/models") return;
    if (request.url !== "/v1/models") return response.writeHead(404).end("{}");
    if (request.headers.authorization !== "Bearer right") return response.writeHead(401).end();
    response.end(JSON.stringify({ data: [{ id: "a" }, { id: "b" }] }));
  });
  for (const [url, name, key, expected] of [
    [undefined, undefined, undefined, null],
    [`${base}/v1/`, "b", "right", null],
    [`${base}/v1`, "c", "right", /has no MODEL_NAME=c; it has a, b$/],
    [`${base}/v1`, "b", "wrong", /refuses the MODEL_API_KEY \(401\)$/],
    [`${base}/v1`, "b", undefined, /refuses to answer without a MODEL_API_KEY/],
    [base, "b", "right", /\/models answers 404\): most end in \/v1$/],
    [`${base}/hangs/v1`, "b", "right", /does not answer within 3 s/],
    [`http://127.0.0.1:${await freePort()}/v1`, "b", "right", /does not answer \(ECONNREFUSED\)/],
  ]) {
    const trouble = await endpointTrouble({ MODEL_BASE_URL: url, MODEL_NAME: name }, key);
    if (expected) assert.match(trouble, expected);
    else assert.equal(trouble, null);
  }
});
