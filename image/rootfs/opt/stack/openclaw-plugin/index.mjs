// Reports the gateway's runs to Mission Control. Observes only: nothing here is awaited by a run.
import { definePluginEntry } from "openclaw/plugin-sdk/plugin-entry";
import { Outbox } from "./outbox.mjs";
import { Runs } from "./runs.mjs";

// The gateway registers a plugin twice when it starts, and again when its configuration changes: only the last
// registration may listen.
const CURRENT = Symbol.for("mission-control.current");

export default definePluginEntry({
  id: "mission-control",
  name: "Mission Control",
  description: "Reports the gateway's runs to Mission Control",
  register(api) {
    if (api.registrationMode !== "full") return;
    globalThis[CURRENT]?.stop();

    const outbox = new Outbox({
      url: api.pluginConfig.url,
      warn: (message) => api.logger.warn(message),
      info: (message) => api.logger.info(message),
    });
    const runs = new Runs({ send: (event) => outbox.put(event) });
    const stopListening = api.runtime.events.onAgentEvent((event) => runs.onAgentEvent(event));
    api.on("llm_input", (event, context) => runs.onInput(event, context));
    api.on("llm_output", (event, context) => runs.onOutput(event, context));
    globalThis[CURRENT] = {
      stop() {
        stopListening();
        runs.close();
        outbox.close();
      },
    };
  },
});
