// Reports the gateway's runs to Mission Control. Observes only: nothing here is awaited by a run.
import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";
import { Outbox } from "./outbox.mjs";
import { Runs } from "./runs.mjs";

// The gateway registers a plugin more than once. Events come to what the "full" registration listens with, but the
// hooks that a run calls may be those of a "discovery" one: so all share one queue and one memory of runs.
const SHARED = Symbol.for("mission-control.shared");

function makeShared(logger) {
  const token = process.env.MISSION_CONTROL_EVENT_TOKEN;
  const outbox = new Outbox({ token, warn: (message) => logger.warn(message), info: (message) => logger.info(message) });
  return { outbox, runs: new Runs({ send: (event) => outbox.put(event) }), stopListening: undefined };
}

export default definePluginEntry({
  id: "mission-control",
  name: "Mission Control",
  description: "Reports the gateway's runs to Mission Control",
  register(api) {
    if (api.registrationMode !== "full" && api.registrationMode !== "discovery") return;
    globalThis[SHARED] ??= makeShared(api.logger);
    const shared = globalThis[SHARED];
    api.on("llm_input", (event, context) => shared.runs.onInput(event, context));
    api.on("llm_output", (event, context) => shared.runs.onOutput(event, context));
    if (api.registrationMode !== "full") return;

    shared.outbox.url = api.pluginConfig.url;
    // Listened to once, or everything would be told twice.
    shared.stopListening?.();
    shared.stopListening = api.runtime.events.onAgentEvent((event) => shared.runs.onAgentEvent(event));
  },
});
