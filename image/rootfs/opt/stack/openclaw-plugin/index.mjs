// Reports the gateway's runs to Mission Control. It only observes: no run waits for it.
import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";
import { Outbox } from "./outbox.mjs";
import { Runs } from "./runs.mjs";

// The gateway registers a plugin several times. Events go to the "full" registration, but runs may call the hooks of a
// "discovery" one, so all registrations share one queue and one map of runs.
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
    // Listen only once, or every event would be sent twice.
    shared.stopListening?.();
    shared.stopListening = api.runtime.events.onAgentEvent((event) => shared.runs.onAgentEvent(event));
  },
});
