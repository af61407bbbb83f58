// What this container's network says: where the host's own requests come from, and whether there is IPv6.
import { existsSync } from "node:fs";
import { peek } from "../common.mjs";

/**
 * The address that the host's own requests have when they reach a published port: the gateway, where the container's
 * interface is one half of a pair, as bridges have it. On the host's own network the gateway is some router; there, and
 * where a tunnel replaces the bridge, nobody can be told to be the host.
 */
export function hostAddress(routes = peek("/proc/net/route"), link = (name, what) => peek(`/sys/class/net/${name}/${what}`)) {
  for (const line of routes.split("\n").slice(1)) {
    const [name, destination, gateway] = line.split("\t");
    if (destination !== "00000000" || gateway === "00000000") continue;
    const index = link(name, "ifindex");
    if (index === "" || index === link(name, "iflink")) return undefined;
    return gateway.match(/../g).reverse().map((byte) => parseInt(byte, 16)).join(".");
  }
  return undefined;
}

/** Whether this kernel speaks IPv6; asking nginx to listen there otherwise is an error. */
export function hasIpv6() {
  return existsSync("/proc/net/if_inet6");
}
