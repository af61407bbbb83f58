// The output of `status`: versions, hints, measurements, and the text for Prometheus.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { asMetrics } from "../../../image/rootfs/opt/stack/lib/status/metrics.mjs";
import { hintFor } from "../../../image/rootfs/opt/stack/lib/status/hints.mjs";
import { listed, samples, speed } from "../../../image/rootfs/opt/stack/lib/status/llama.mjs";
import { lacksAvx2, memory } from "../../../image/rootfs/opt/stack/lib/status/measures.mjs";
import { missingGpu } from "../../../image/rootfs/opt/stack/lib/status/samples.mjs";
import { readJson, size, writeJson } from "../../../image/rootfs/opt/stack/lib/common.mjs";
import { asText } from "../../../image/rootfs/opt/stack/lib/status/text.mjs";
import { fits, short } from "../../../image/rootfs/opt/stack/lib/status/versions.mjs";
import { temporaryFolder } from "../../standins/tests/support.mjs";

test("only commits are shortened", () => {
  const table = {
    c56d5d5940b23921b0e817c97477293493da8d70: "c56d5d5",
    "precompiled-2026-09-11-157eb19": "precompiled-2026-09-11-157eb19",
    "v0.16.2": "v0.16.2",
  };
  for (const [version, shown] of Object.entries(table)) assert.equal(short(version), shown);
  assert.equal(short(null), null);
});

test("a version that differs from the pin is recognized", () => {
  const table = [
    ["v0.16.2", "0.16.2", true],
    ["1.18.21", "1.18.18", false],
    ["1.18.2", "1.18.21", false],
    ["b11146", "b11146-0123abc", true],
    ["b11146", "b0-unknown", false],
    ["precompiled-2026-09-11-157eb19", "unknown", true],
    ["1", undefined, true],
  ];
  for (const [pinned, running, same] of table) assert.equal(fits(pinned, running), same, `${pinned} ${running}`);
});

test("each state that can be fixed has a hint", () => {
  const openclaw = { name: "openclaw", switch: "OPENCLAW_ENABLED", site: false };
  const table = [
    ["off", "OPENCLAW_ENABLED=false", /OPENCLAW_ENABLED=true/],
    ["off", "stopped by hand", /s6-svc -u \/run\/stack\/scan\/openclaw$/],
    ["failed", "cannot stay up: it ended: /data/openclaw/openclaw.json cannot be read: x", /openclaw doctor --fix$/],
    ["failed", "port 28789 does not answer within 3 s", /s6-svc -r \/run\/stack\/scan\/openclaw$/],
    ["failed", "cannot stay up: it was killed by signal 9 (KILL)", /more memory/],
    ["starting", "starts again in 4 s; it was killed by signal 4 (ILL)", /newer processor/],
    ["failed", "cannot stay up: it ended: write: ENOSPC, x", /free space/],
    ["failed", "cannot stay up: it ended with exit code 3", /logs stack/],
    ["starting", "waits for convex", null],
    ["up", "ENOSPC", null],
  ];
  for (const [state, detail, wanted] of table) {
    const hint = hintFor(openclaw, { state, detail });
    if (wanted === null) assert.equal(hint, null, detail);
    else assert.match(hint, wanted, detail);
  }
  assert.match(hintFor({ name: "llamacpp" }, { state: "starting", detail: "ended with exit code 1: llama.cpp could not load /a.gguf" }), /another model/);
  assert.match(hintFor({ name: "dashboard", site: true }, { state: "failed", detail: "port 1 answers 500" }), /scan\/front$/);
});

test("memory is read from cgroup v1 and v2", () => {
  const from = (files) => memory((path) => files[path] ?? "");
  const v2 = { "memory.current": "1000\n", "memory.max": "max\n", "memory.stat": "anon 5\ninactive_file 300\n", "memory.events": "oom 1\noom_kill 2\n" };
  assert.deepEqual(from(Object.fromEntries(Object.entries(v2).map(([name, text]) => [`/sys/fs/cgroup/${name}`, text]))), { used: 700, limit: null, kills: 2 });
  const v1 = { usage_in_bytes: "1000\n", limit_in_bytes: "9223372036854771712\n", stat: "inactive_file 1\ntotal_inactive_file 300\n" };
  const files = Object.fromEntries(Object.entries(v1).map(([name, text]) => [`/sys/fs/cgroup/memory/memory.${name}`, text]));
  assert.deepEqual(from(files), { used: 700, limit: null, kills: 0 });
  files["/sys/fs/cgroup/memory/memory.limit_in_bytes"] = "2000\n";
  assert.equal(from(files).limit, 2000);
  assert.equal(from({}), null);
});

test("only an x86 processor can lack AVX2", () => {
  const flags = (text) => () => `processor: 0\nflags\t\t: ${text}\n`;
  assert.equal(lacksAvx2("x64", flags("fpu avx avx2 bmi2")), false);
  assert.equal(lacksAvx2("x64", flags("fpu sse4_2 avx2")), false);
  assert.equal(lacksAvx2("x64", flags("fpu sse4_2 avx avx2x")), true);
  assert.equal(lacksAvx2("arm64", () => "Features : fp"), null);
  assert.equal(lacksAvx2("x64", () => ""), null);
});

test("a required GPU that is missing gives a notice", () => {
  const asked = (layers, seen) => missingGpu({ LLAMACPP_ENABLED: "true", LLAMACPP_GPU_LAYERS: layers }, seen);
  assert.match(asked("all", []), /^LLAMACPP_GPU_LAYERS=all, but llama.cpp sees no GPU/);
  assert.match(asked("20", []), /=20/);
  for (const [layers, seen] of [["auto", []], ["0", []], ["all", ["CUDA0: x"]], ["all", null], ["all", undefined]]) assert.equal(asked(layers, seen), null);
  assert.deepEqual(listed("ggml_cuda_init: found 1\nAvailable devices:\n  CUDA0: NVIDIA (24135 MiB, 23886 MiB free)\n"), ["CUDA0: NVIDIA (24135 MiB, 23886 MiB free)"]);
  assert.deepEqual(listed("Available devices:\n  (none)\n"), []);
  assert.equal(listed("unknown argument"), null);
});

const LLAMA = `# HELP llamacpp:tokens_predicted_total Number of generation tokens processed
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 20
# HELP llamacpp:tokens_predicted_seconds_total Total time spent generating tokens
# TYPE llamacpp:tokens_predicted_seconds_total counter
llamacpp:tokens_predicted_seconds_total 4.5
# HELP llamacpp:predicted_tokens_seconds Average generation throughput in tokens/s
# TYPE llamacpp:predicted_tokens_seconds gauge
llamacpp:predicted_tokens_seconds 1.04
`;

test("the speed is that of the last answer", () => {
  const at = (tokens, seconds) => samples(LLAMA.replace("total 20", `total ${tokens}`).replace("total 4.5", `total ${seconds}`));
  let known = speed(undefined, at(0, 0));
  assert.equal(known.last, null);
  known = speed(known, at(20, 4));
  assert.equal(known.last, 5);
  known = speed(known, at(20, 4));
  assert.equal(known.last, 5, "nothing was generated since");
  known = speed(known, at(30, 5));
  assert.equal(known.last, 10);
  assert.equal(speed(known, at(4, 2)).last, 2, "a restarted server counts from zero");
});

// A strict parser of text format 0.0.4: each metric has one HELP and one TYPE before its samples.
function parse(text) {
  const label = String.raw`[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*"`;
  const sample = new RegExp(String.raw`^([a-zA-Z_:][\w:]*)(\{${label}(?:,${label})*\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$`);
  assert.ok(text.endsWith("\n"), "the last line has no end");
  const seen = new Map();
  const found = new Map();
  let current;
  for (const line of text.slice(0, -1).split("\n")) {
    const [, what, name, rest] = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)$/.exec(line) ?? [];
    if (what === "HELP") {
      assert.ok(!seen.has(name), `${name} comes twice`);
      seen.set(name, null);
      current = name;
    } else if (what === "TYPE") {
      assert.equal(name, current, line);
      assert.match(rest, /^(counter|gauge)$/);
      seen.set(name, rest);
    } else {
      const [, own, labels = "", value] = sample.exec(line) ?? [];
      assert.ok(own === current && seen.get(own), `no sample of ${current}: ${line}`);
      assert.ok(!found.has(own + labels), `${own}${labels} comes twice`);
      found.set(own + labels, Number(value));
    }
  }
  return found;
}

const hostile = 'a"b\\c\nd';
const service = (more) => ({ name: "a", state: "up", version: "1", standIn: false, detail: null, hint: null, endpoints: [], ...more });
const status = {
  healthy: true,
  notices: [],
  services: [
    service({ endpoints: [{ port: 1, milliseconds: 12 }, { port: 2, milliseconds: 3 }], restarts: 2, memory: 5, disk: null }),
    service({ name: hostile, state: "not configured", version: null, standIn: true, memory: null }),
  ],
  machine: { memory: { used: 1e21, limit: null, kills: 0 }, disk: { total: 9, free: 4 }, tokensPerSecond: 2.5, devices: [] },
  samples: ["local", hostile].flatMap((model) => samples(LLAMA).map((sample) => ({ ...sample, model }))),
};

test("Prometheus can parse the metrics", () => {
  const found = parse(asMetrics(status));
  assert.equal(found.get("stack_healthy"), 1);
  assert.equal(found.get('stack_service_up{service="a"}'), 1);
  assert.equal(found.get('stack_service_state{service="a\\"b\\\\c\\nd",state="not configured"}'), 1);
  assert.equal(found.get('stack_service_info{service="a",version="1",stand_in="false"}'), 1);
  assert.equal(found.get('stack_service_restarts_total{service="a"}'), 2);
  assert.equal(found.get('stack_check_seconds{service="a",port="1"}'), 0.012);
  assert.equal(found.get('llamacpp:tokens_predicted_total{model="local"}'), 20);
  const names = [...found.keys()].join(" ");
  assert.doesNotMatch(names, /limit_bytes|service_disk_bytes|predicted_tokens_seconds/, "unknown values are omitted");
  assert.equal(parse(asMetrics({ ...status, healthy: false, samples: [] })).get("stack_healthy"), 0);
});

test("the terminal shows problems and what to type", () => {
  const text = asText({ ...status, services: [service({ state: "failed", detail: "it broke", hint: "do this" })], notices: ["mind this"] });
  for (const wanted of [/^a +failed +1$/m, /^ +it broke$/m, /^ +fix: do this$/m, /4 B free of 9 B/, /2\.5 tokens\/s/, /the processor only/, /^mind this$/m]) assert.match(text, wanted);
  assert.deepEqual([0, 1023, 1536, 1.5 * 2 ** 20, 200 * 2 ** 30, 2 ** 50].map(size), ["0 B", "1023 B", "2 KiB", "1.5 MiB", "200 GiB", "1024 TiB"]);
});

test("a JSON file that is missing or damaged has no value", (context) => {
  const file = join(temporaryFolder(context), "file.json");
  assert.equal(readJson(file), undefined);
  writeJson(file, { a: [1] });
  assert.deepEqual(readJson(file), { a: [1] });
  writeFileSync(file, '{"a": [1');
  assert.equal(readJson(file), undefined);
});
