// Conversion of the gateway's events to Mission Control's.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Runs } from "../../../image/rootfs/opt/stack/openclaw-plugin/runs.mjs";

const SESSION = "agent:main:openai:1";
const TIME = Date.UTC(2026, 10, 24, 6, 44);

function record(options = {}) {
  const sent = [];
  return { sent, runs: new Runs({ send: (event) => sent.push(event), responseLimit: 30, ...options }) };
}

// The gateway's events, as 2026.9.6 sends them.
function lifecycle(phase, data = {}, sessionKey = SESSION) {
  return { runId: "run-1", seq: 1, stream: "lifecycle", ts: TIME, data: { phase, ...data }, sessionKey, agentId: "main" };
}

function tool(phase, name) {
  return { runId: "run-1", seq: 2, stream: "tool", ts: TIME, data: { phase, name, toolCallId: "call-1" }, sessionKey: SESSION };
}

function input(runs, prompt, context = {}) {
  runs.onInput({ runId: "run-1", prompt }, { runId: "run-1", trigger: "user", sessionKey: SESSION, agentId: "main", ...context });
}

function actions(sent) {
  return sent.map((event) => event.action);
}

test("a run with a tool: start with its prompt, progress, end with its response", () => {
  const { runs, sent } = record();
  runs.onAgentEvent(lifecycle("start"));
  input(runs, "[Tue 2026-11-24 06:44 UTC] How full is the disk?");
  runs.onAgentEvent(tool("start", "exec"));
  runs.onAgentEvent(tool("result", "exec"));
  input(runs, "[Tue 2026-11-24 06:45 UTC] the second request of the same run");
  runs.onAgentEvent(lifecycle("end", { terminalReply: { text: "Half." } }));
  const common = { runId: "run-1", sessionKey: SESSION, agentId: "main", timestamp: "2026-11-24T06:44:00.000Z" };
  assert.deepEqual(sent, [
    { ...common, action: "start", eventType: "lifecycle:start", prompt: "How full is the disk?", source: undefined },
    { ...common, action: "progress", eventType: "tool:start", message: "Using tool: exec" },
    { ...common, action: "end", eventType: "lifecycle:end", response: "Half." },
  ]);
});

test("an end without a reply waits for the model's last answer", async () => {
  const { runs, sent } = record();
  input(runs, "hello");
  runs.onAgentEvent(lifecycle("end"));
  assert.deepEqual(actions(sent), ["start"]);
  runs.onOutput({ runId: "run-1", assistantTexts: ["one", "two"] }, {});
  assert.deepEqual(actions(sent), ["start", "end"]);
  assert.equal(sent[1].response, "one\ntwo");
  await sleep(60);
  assert.equal(sent.length, 2);
});

test("an end without any answer is sent after the time limit", async () => {
  const { runs, sent } = record();
  input(runs, "hello");
  runs.onAgentEvent(lifecycle("end"));
  await sleep(60);
  assert.deepEqual(actions(sent), ["start", "end"]);
  assert.equal(sent[1].response, undefined);
});

test("a run that fails before its first request to the model has a start too", () => {
  const { runs, sent } = record();
  runs.onAgentEvent(lifecycle("start"));
  runs.onAgentEvent(lifecycle("error", { error: "no such model" }));
  assert.deepEqual(actions(sent), ["start", "error"]);
  assert.equal(sent[1].error, "no such model");
});

test("late events do not start a run again", () => {
  const { runs, sent } = record();
  input(runs, "hello");
  runs.onAgentEvent(lifecycle("end", { terminalReply: { text: "hi" } }));
  runs.onOutput({ runId: "run-1", assistantTexts: ["hi"] }, {});
  runs.onAgentEvent(lifecycle("error", { error: "late" }));
  input(runs, "hello");
  assert.deepEqual(actions(sent), ["start", "end"]);
});

test("a heartbeat is not reported", () => {
  const { runs, sent } = record();
  runs.onAgentEvent(lifecycle("start"));
  input(runs, "Read HEARTBEAT.md", { trigger: "heartbeat" });
  runs.onAgentEvent(tool("start", "read"));
  runs.onAgentEvent(lifecycle("end", { terminalReply: { text: "HEARTBEAT_OK" } }));
  assert.deepEqual(sent, []);
});

test("a cron run is marked as such", () => {
  const { runs, sent } = record();
  input(runs, "[cron:7f3a Nightly] tidy up\nCurrent time: Tuesday\n\nThis is an unattended scheduled run.", { trigger: "cron" });
  assert.equal(sent[0].source, "cron");
  assert.equal(sent[0].prompt, "tidy up");
});

test("a run of a task in the page keeps the task's session, and has no source", () => {
  const { runs, sent } = record();
  const sessionKey = "agent:main:mission:k57d0";
  runs.onAgentEvent(lifecycle("start", {}, sessionKey));
  input(runs, "[cron:7f3a MissionControl] line one\nline two\nCurrent time: Tuesday", { trigger: "cron", sessionKey });
  assert.equal(sent[0].sessionKey, sessionKey);
  assert.equal(sent[0].source, undefined);
  assert.equal(sent[0].prompt, "line one\nline two");
});

test("a run in a loop does not fill its task", () => {
  const { runs, sent } = record();
  input(runs, "loop");
  for (let count = 0; count < 1000; count += 1) runs.onAgentEvent(tool("start", "exec"));
  runs.onAgentEvent(lifecycle("end", { terminalReply: { text: "done" } }));
  assert.equal(sent.filter((event) => event.action === "progress").length, 200);
  assert.equal(sent.at(-1).action, "end");
});

test("long texts are cut", () => {
  const { runs, sent } = record();
  input(runs, "x".repeat(10_000));
  assert.equal(sent[0].prompt.length, 4001);
});

test("runs without an end are dropped eventually", () => {
  const { runs, sent } = record();
  for (let number = 0; number < 2000; number += 1) runs.onInput({ runId: `run-${number}`, prompt: "x" }, { trigger: "user" });
  assert.equal(sent.length, 2000);
  // The first run was dropped, so this event starts a new one.
  runs.onInput({ runId: "run-0", prompt: "x" }, { trigger: "user" });
  assert.equal(sent.length, 2001);
});

test("other streams and events without a run are ignored", () => {
  const { runs, sent } = record();
  runs.onAgentEvent({ runId: "run-1", stream: "assistant", ts: TIME, data: { text: "hel" } });
  runs.onAgentEvent({ stream: "lifecycle", ts: TIME, data: { phase: "error" } });
  assert.deepEqual(sent, []);
});
