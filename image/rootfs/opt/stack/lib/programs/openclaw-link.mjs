// Rewrites the pairing link of `openclaw dashboard --json` from the gateway's inner port to the address that browsers
// use.
import { text } from "node:stream/consumers";

const { reason, error, browserUrl } = JSON.parse(await text(process.stdin));
if (!browserUrl) {
  console.error(reason ?? error?.message ?? "the gateway returned no link; `status` shows its state");
  process.exit(1);
}
const { OPENCLAW_ORIGIN } = process.env;
const link = new URL(browserUrl);
const words = new URLSearchParams(link.hash.slice(1));
if (words.has("gatewayUrl")) words.set("gatewayUrl", OPENCLAW_ORIGIN.replace(/^http/, "ws"));
console.log(`${OPENCLAW_ORIGIN}${link.pathname}#${words}`);
console.error("Open it in the browser to pair it. The link works once, for a few minutes.");
