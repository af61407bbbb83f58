// The layout of the stack's own pages. They load nothing and have no scripts, and all text in them is escaped.
import { createHash } from "node:crypto";

const STYLE = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0; }
table { border-collapse: collapse; width: 100%; margin-top: 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .5rem 1rem .5rem 0; border-top: 1px solid #8884; }
th { font-weight: 600; border: 0; }
small { display: block; opacity: .75; overflow-wrap: anywhere; }
.state { white-space: nowrap; }
.state::before { content: "\\25CF"; margin-right: .4rem; color: #888; }
.up::before { color: #2a9d4a; }
.starting::before { color: #d9a400; }
.failed::before { color: #d43c3c; }
.failed { font-weight: 600; }
code { font-size: .9em; overflow-wrap: anywhere; }
footer { margin-top: 1.5rem; opacity: .75; }
`;

const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

export const HEADERS = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'`,
  "Referrer-Policy": "same-origin",
  "X-Content-Type-Options": "nosniff",
};

export function escape(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return String(text).replace(/[&<>"']/g, (character) => names[character]);
}

/** A complete page; `head` is added to its head. */
export function document(title, body, head = "") {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
${head}<title>${escape(title)}</title>
<style>${STYLE}</style>
</head>
<body>
${body}
</body>
</html>
`;
}
