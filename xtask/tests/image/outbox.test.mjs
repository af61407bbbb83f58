// The queue between the gateway and Mission Control.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Outbox } from "../../../image/rootfs/opt/stack/openclaw-plugin/outbox.mjs";
import { listen } from "../../standins/tests/support.mjs";

// An endpoint that responds with the status of `answer`, or hangs.
async function endpoint(context, answer) {
  const received = [];
  const address = await listen(context, async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    assert.equal(request.headers.authorization, "Bearer token");
    received.push(JSON.parse(body));
    const status = answer(received.length);
    if (status !== "hang") response.writeHead(status).end("{}");
  });
  return { url: `${address}/openclaw/event`, received };
}

function makeOutbox(url, options = {}) {
  const lines = [];
  const log = (message) => lines.push(message);
  const outbox = new Outbox({ token: "token", warn: log, info: log, pauses: [10, 10], limit: 5000, ...options });
  outbox.url = url;
  return { outbox, lines };
}

async function until(condition) {
  for (let tries = 0; tries < 1000 && !condition(); tries += 1) await sleep(10);
  assert.ok(condition(), "timed out");
}

test("events arrive one by one, in order", async (context) => {
  const { url, received } = await endpoint(context, () => 200);
  const { outbox } = makeOutbox(url);
  for (let number = 0; number < 20; number += 1) outbox.put({ number });
  await until(() => received.length === 20);
  assert.deepEqual(received.map((event) => event.number), [...Array(20).keys()]);
});

test("put returns nothing to wait for, even if the endpoint hangs", async (context) => {
  const { url } = await endpoint(context, () => "hang");
  const { outbox } = makeOutbox(url);
  for (let number = 0; number < 1000; number += 1) assert.equal(outbox.put({ number }), undefined);
});

test("a hanging endpoint delays one event until its time limit, and does not block the queue", async (context) => {
  const { url, received } = await endpoint(context, (count) => (count === 1 ? "hang" : 200));
  const { outbox } = makeOutbox(url, { pauses: [], limit: 200 });
  outbox.put({ number: 1 });
  outbox.put({ number: 2 });
  await until(() => received.some((event) => event.number === 2));
});

test("a failed event is sent again before the next one", async (context) => {
  const { url, received } = await endpoint(context, (count) => (count < 3 ? 503 : 200));
  const { outbox, lines } = makeOutbox(url);
  outbox.put({ number: 1 });
  outbox.put({ number: 2 });
  await until(() => received.length === 4);
  assert.deepEqual(received.map((event) => event.number), [1, 1, 1, 2]);
  assert.deepEqual(lines, []);
});

test("404 is not final, as functions may be deployed later", async (context) => {
  const { url, received } = await endpoint(context, (count) => (count === 1 ? 404 : 200));
  makeOutbox(url).outbox.put({ number: 1 });
  await until(() => received.length === 2);
});

test("a refused event is not sent again", async (context) => {
  const { url, received } = await endpoint(context, () => 400);
  const { outbox, lines } = makeOutbox(url);
  outbox.put({ number: 1 });
  await until(() => lines.length === 1);
  await sleep(50);
  assert.equal(received.length, 1);
  assert.match(lines[0], /400/);
});

test("an outage is logged once, and its end with the number of lost events", async (context) => {
  let status = 500;
  const { url, received } = await endpoint(context, () => status);
  const { outbox, lines } = makeOutbox(url, { pauses: [] });
  for (let number = 0; number < 3; number += 1) outbox.put({ number });
  await until(() => received.length === 3);
  status = 200;
  outbox.put({ number: 3 });
  await until(() => lines.length === 2);
  assert.match(lines[0], /does not accept/);
  assert.match(lines[1], /again; 3 were lost/);
});

test("a full queue drops progress events before starts and ends", async (context) => {
  const { url, received } = await endpoint(context, (count) => (count === 1 ? "hang" : 200));
  const { outbox } = makeOutbox(url, { pauses: [], largest: 3, limit: 200 });
  outbox.put({ action: "start", number: 0 }); // on its way, and hanging
  outbox.put({ action: "start", number: 1 });
  outbox.put({ action: "progress", number: 2 });
  outbox.put({ action: "progress", number: 3 });
  outbox.put({ action: "end", number: 4 });
  outbox.put({ action: "end", number: 5 });
  outbox.put({ action: "end", number: 6 });
  assert.equal(outbox.length, 3);
  await until(() => received.length === 4);
  assert.deepEqual(received.map((event) => event.number), [0, 4, 5, 6]);
});
