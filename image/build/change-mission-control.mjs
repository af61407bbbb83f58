// Changes Mission Control's sources, and adds the files beside this one: change-mission-control.mjs SOURCES.
//
// - Upstream takes events from anybody, by an HTTP action without authentication and by a public mutation. Here the
//   action asks for the token that the gateway's plugin has, and only the action can call the mutation.
// - Upstream's board lets act whoever is called "Manish" among its agents, and nobody when there is none. Here the
//   signed-in person acts as an agent of their own.
// - Upstream's columns cover each other on screens narrower than 1850 pixels. Here the board is scrolled instead.
//
// Fails when the sources are not the ones that this knows: upstream has changed, and a change here may not be needed.
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const [sources] = process.argv.slice(2);

function change(name, pattern, replacement) {
  const file = join(sources, name);
  const before = readFileSync(file, "utf8");
  const found = before.match(new RegExp(pattern, "g"))?.length ?? 0;
  if (found !== 1) {
    console.error(`${name}: ${pattern} is there ${found} times instead of once. Upstream has changed: see whether this change is still needed, and mend build/change-mission-control.mjs.`);
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
      return new Response('{"error": "events are taken from the gateway\\'s plugin only"}\\n', { status: 401, headers: { "Content-Type": "application/json" } });
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
