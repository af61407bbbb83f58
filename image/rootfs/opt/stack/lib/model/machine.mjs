// Fits llama.cpp's parameters to the processors and memory of the container.
import { existsSync, readdirSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";
import { peek } from "../common.mjs";
import { memory } from "../status/measures.mjs";

/** The smallest processor quota of this process's cgroup and its parents; Infinity without one. */
export function quota(root = "") {
  const shares = [];
  const v2 = (folder) => peek(`${folder}/cpu.max`).split(" ");
  const v1 = (folder) => [peek(`${folder}/cpu.cfs_quota_us`), peek(`${folder}/cpu.cfs_period_us`)];
  for (const line of peek(`${root}/proc/self/cgroup`).split("\n")) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (path === undefined || !(controllers === "" || controllers.split(",").includes("cpu"))) continue;
    const [mount, limits] = controllers === "" ? ["", v2] : [`/${controllers}`, v1];
    // In a container, its own cgroup may be mounted at the top, whatever the path says.
    const names = path.split("/").filter(Boolean);
    for (let depth = names.length; depth >= 0; depth -= 1) {
      const [most, period] = limits([`${root}/sys/fs/cgroup${mount}`, ...names.slice(0, depth)].join("/"));
      if (Number(most) > 0 && Number(period) > 0) shares.push(Number(most) / Number(period));
    }
  }
  return Math.min(Infinity, ...shares);
}

/** The cores of the whole machine, as llama.cpp counts them for its threads. */
function cores(root = "") {
  const folder = `${root}/sys/devices/system/cpu`;
  const all = existsSync(folder) ? readdirSync(folder).filter((name) => /^cpu\d+$/.test(name)) : [];
  return new Set(all.map((name) => peek(`${folder}/${name}/topology/thread_siblings`)).filter(Boolean)).size || Infinity;
}

/** The number of processors that the container may use. */
const share = (root = "", allowed = availableParallelism()) => Math.max(1, Math.min(allowed, Math.ceil(quota(root))));

/** llama.cpp's threads if it may use fewer cores than it sees; otherwise undefined, which leaves the choice to it. */
export function threads(root, allowed) {
  return share(root, allowed) < cores(root) ? share(root, allowed) : undefined;
}

const hasGpu = () => existsSync("/dev/nvidia0") || existsSync("/dev/kfd") || existsSync("/dev/dri");

/** MiB for llama.cpp's prompt cache: its default of 8 GiB exceeds the memory of many containers. */
export function cacheOfPrompts(limit = memory()?.limit, all = totalmem()) {
  return Math.min(8192, Math.floor(Math.min(limit ?? Infinity, all) / 8 / 2 ** 20));
}

/**
 * The maximum length of an answer in tokens. A weak model may never stop by itself, so the default is what the
 * processors generate in a few minutes, and at most a quarter of the context.
 */
export function longestAnswer({ LLAMACPP_MAX_TOKENS: set, LLAMACPP_GPU_LAYERS: layers }, context) {
  const most = Number(set) || (layers !== "0" && hasGpu() ? 8192 : Math.min(8192, 1024 * Math.min(share(), cores())));
  return Math.min(most, Math.floor(context / 4));
}
