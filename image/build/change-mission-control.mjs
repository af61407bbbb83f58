// Changes Mission Control's sources, and adds the files next to this one: change-mission-control.mjs SOURCES.
//
// - Upstream accepts events from anybody, by an HTTP action without authentication and by a public mutation. Here the
//   action requires the token of the gateway's plugin, and only the action can call the mutation.
// - Upstream's board acts as the agent named "Manish", if there is one. Here each signed-in person has an agent.
// - Upstream's columns overlap on screens narrower than 1850 pixels. Here the board scrolls instead.
//
// Fails if the sources do not match, because upstream has changed and a change here may no longer be needed.
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [sources] = process.argv.slice(2);

function change(name, pattern, replacement) {
  const file = join(sources, name);
  const before = readFileSync(file, "utf8");
  const found = before.match(new RegExp(pattern, "g"))?.length ?? 0;
  if (found !== 1) {
    console.error(`${name}: ${pattern} occurs ${found} times instead of once. Upstream has changed: check whether this change is still needed, and adapt build/change-mission-control.mjs.`);
    process.exit(1);
  }
  writeFileSync(file, before.replace(pattern, replacement));
}

function addImport(name, line) {
  const file = join(sources, name);
  writeFileSync(file, `${line}\n${readFileSync(file, "utf8")}`);
}

change(
  "convex/http.ts",
  /(path: "\/openclaw\/event",\s+method: "POST",\s+handler: httpAction\w*\(async \(\w+, (\w+)\) => \{\n)/,
  `$1    const token = process.env.MISSION_CONTROL_EVENT_TOKEN;
    if (!token || $2.headers.get("authorization") !== \`Bearer \${token}\`) {
      return new Response('{"error": "only events of the gateway\\'s plugin are accepted"}\\n', { status: 401, headers: { "Content-Type": "application/json" } });
    }
`,
);
change("convex/openclaw.ts", /export const receiveAgentEvent = mutation\(/, "export const receiveAgentEvent = internalMutationGeneric(");
addImport("convex/openclaw.ts", 'import { internalMutationGeneric } from "convex/server";');

for (const name of ["src/components/MissionQueue.tsx", "src/components/TaskDetailPanel.tsx"]) {
  change(name, /agents\?\.find\(\(?a\)? => a\.name === "Manish"\)/, "useOwnAgent(agents)");
  addImport(name, 'import { useOwnAgent } from "../lib/own-agent";');
}
change(
  "src/components/MissionQueue.tsx",
  /\? "grid-cols-6" : "grid-cols-5"/,
  '? "grid-cols-[repeat(6,minmax(250px,1fr))]" : "grid-cols-[repeat(5,minmax(250px,1fr))]"',
);
cpSync(join(import.meta.dirname, "mission-control"), sources, { recursive: true, errorOnExist: true, force: false });
