// Closes the door of Mission Control's events: guard-events.mjs FOLDER_OF_FUNCTIONS.
//
// Upstream takes them from anybody, by an HTTP action without authentication and by a public mutation. Here the action
// asks for the token that the gateway's plugin has, and only the action can call the mutation. Fails when upstream's
// functions are not the ones that this knows.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [folder] = process.argv.slice(2);

function change(name, pattern, replacement) {
  const file = join(folder, name);
  const before = readFileSync(file, "utf8");
  const found = before.match(new RegExp(pattern, "g"))?.length ?? 0;
  if (found !== 1) {
    console.error(`${name}: ${pattern} is there ${found} times instead of once. Upstream has changed: see how it takes events now, and change build/guard-events.mjs.`);
    process.exit(1);
  }
  writeFileSync(file, before.replace(pattern, replacement));
}

change(
  "http.ts",
  /(path: "\/openclaw\/event",\s+method: "POST",\s+handler: httpAction\w*\(async \(\w+, (\w+)\) => \{\n)/,
  `$1    const token = process.env.MISSION_CONTROL_EVENT_TOKEN;
    if (!token || $2.headers.get("authorization") !== \`Bearer \${token}\`) {
      return new Response('{"error": "events are taken from the gateway\\'s plugin only"}\\n', { status: 401, headers: { "Content-Type": "application/json" } });
    }
`,
);
change("openclaw.ts", /export const receiveAgentEvent = mutation\(/, "export const receiveAgentEvent = internalMutationGeneric(");
const file = join(folder, "openclaw.ts");
writeFileSync(file, `import { internalMutationGeneric } from "convex/server";\n${readFileSync(file, "utf8")}`);
