// The container's network.
import { peek } from "../common.mjs";

/**
 * The source address of the host's own requests to a published port: the gateway, if the container's interface is one
 * end of a veth pair, as with bridges. On the host's own network the gateway is a router, and with a tunnel there is no
 * gateway: then the host's requests cannot be recognized, and the result is undefined.
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
