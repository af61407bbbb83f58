// Processors and memory of a container, read from the files of its cgroup.
import assert from "node:assert/strict";
import { test } from "node:test";
import { cacheOfPrompts, longestAnswer, quota, threads } from "../../../image/rootfs/opt/stack/lib/model/machine.mjs";
import { temporaryFolder } from "../../standins/tests/support.mjs";

const siblings = (count) =>
  Object.fromEntries(Array.from({ length: count }, (_, cpu) => [`sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings`, `${cpu % (count / 2)}\n`]));

test("the processor quota of a container, with cgroup v1 and v2", (context) => {
  for (const [files, expected] of [
    [{}, Infinity],
    [{ "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n" }, Infinity],
    [{ "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n" }, 1.5],
    // The path has the engine's groups, which are not mounted.
    [{ "proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "50000 100000\n" }, 0.5],
    // A pod's limit is in the group above.
    [{ "proc/self/cgroup": "0::/pod/one\n", "sys/fs/cgroup/pod/one/cpu.max": "max 100000\n", "sys/fs/cgroup/pod/cpu.max": "200000 100000\n" }, 2],
    [{ "proc/self/cgroup": "4:cpu:/docker/abc\n3:cpuset:/docker/abc\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n" }, 1],
    [{ "proc/self/cgroup": "4:cpu,cpuacct:/\n0::/\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n" }, Infinity],
  ]) assert.equal(quota(temporaryFolder(context, files)), expected, JSON.stringify(files));
});

test("threads are set only if llama.cpp would start too many", (context) => {
  const limited = { "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n" };
  for (const [files, allowed, expected] of [
    [siblings(16), 16, undefined],
    [siblings(16), 8, undefined],
    [siblings(16), 3, 3],
    [{ ...siblings(16), ...limited }, 16, 2],
    [{ ...siblings(4), ...limited }, 4, undefined],
    [limited, 1, 1],
  ]) assert.equal(threads(temporaryFolder(context, files), allowed), expected);
});

test("the maximum answer is the setting, and at most a quarter of the context", () => {
  assert.equal(longestAnswer({ LLAMACPP_MAX_TOKENS: "5000" }, 32768), 5000);
  assert.equal(longestAnswer({ LLAMACPP_MAX_TOKENS: "50000" }, 32768), 8192);
  const here = longestAnswer({ LLAMACPP_GPU_LAYERS: "0" }, 10 ** 9);
  assert.ok(here >= 1024 && here <= 8192 && here % 1024 === 0, String(here));
});

test("the prompt cache takes an eighth of the memory, and at most llama.cpp's default", () => {
  const GiB = 2 ** 30;
  for (const [limit, all, expected] of [[null, 24 * GiB, 3072], [4 * GiB, 24 * GiB, 512], [null, 512 * GiB, 8192], [undefined, 2 * GiB, 256]]) {
    assert.equal(cacheOfPrompts(limit, all), expected);
  }
});
