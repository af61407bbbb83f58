// Converts the gateway's events about runs to Mission Control's.
//
// The gateway's lifecycle stream reports the end or error of each run, but not its prompt and trigger. Those come with
// the first request to the model.

const LONGEST_TEXT = 4000;
const RESPONSE_LIMIT = 3_000; // milliseconds that an end waits for the response
const MOST_RUNS = 1000;
const MOST_TOOLS = 200; // per run, so that a model in a loop does not fill the task with messages
// Automatic runs that are not tasks.
const UNREPORTED = new Set(["heartbeat"]);

export class Runs {
  #send;
  #responseLimit;
  #runs = new Map();

  constructor({ send, responseLimit = RESPONSE_LIMIT }) {
    this.#send = send;
    this.#responseLimit = responseLimit;
  }

  // A request to the model: { runId, prompt } with { trigger, sessionKey, agentId }.
  onInput(event, context) {
    const run = this.#find(event.runId ?? context.runId);
    if (!run) return;
    run.trigger ??= context.trigger;
    run.sessionKey ??= context.sessionKey;
    run.agentId ??= context.agentId;
    run.prompt ??= asWritten(event.prompt);
    this.#start(run);
  }

  // Its answer: { runId, assistantTexts }.
  onOutput(event, context) {
    const run = this.#find(event.runId ?? context.runId);
    if (!run) return;
    const text = (event.assistantTexts ?? []).join("\n").trim();
    if (text !== "") run.response = text;
    if (run.ending) this.#end(run);
  }

  onAgentEvent({ runId, stream, ts, data = {}, sessionKey, agentId }) {
    if (stream !== "lifecycle" && stream !== "tool") return;
    const run = this.#find(runId);
    if (!run) return;
    run.sessionKey ??= sessionKey;
    run.agentId ??= agentId;
    run.time = ts;
    if (stream === "tool") {
      if (data.phase === "start" && data.name) this.#tool(run, data.name);
    } else if (data.phase === "error") {
      this.#start(run);
      this.#finish(run, { action: "error", eventType: "lifecycle:error", error: textOf(data.error) ?? "unknown error" });
    } else if (data.phase === "end") {
      run.response = textOf(data.terminalReply?.text) ?? run.response;
      if (run.response !== undefined) this.#end(run);
      else if (!run.ending) {
        run.ending = setTimeout(() => this.#end(run), this.#responseLimit);
        run.ending.unref();
      }
    }
  }

  #find(runId) {
    if (typeof runId !== "string" || runId === "") return undefined;
    let run = this.#runs.get(runId);
    if (!run) {
      run = { runId };
      this.#runs.set(runId, run);
      // Runs whose end is never reported must not accumulate: drop the oldest.
      if (this.#runs.size > MOST_RUNS) {
        const [oldest] = this.#runs.values();
        clearTimeout(oldest.ending);
        this.#runs.delete(oldest.runId);
      }
    }
    return run.finished ? undefined : run;
  }

  #start(run) {
    if (run.started) return;
    run.started = true;
    // Runs of Mission Control's page have the trigger "cron" too, but they have a task.
    const automatic = run.trigger !== undefined && run.trigger !== "user" && !run.sessionKey?.includes("mission:");
    const source = automatic ? run.trigger : undefined;
    this.#emit(run, { action: "start", eventType: "lifecycle:start", prompt: shorten(run.prompt), source });
  }

  #tool(run, name) {
    this.#start(run);
    run.tools = (run.tools ?? 0) + 1;
    if (run.tools > MOST_TOOLS) return;
    this.#emit(run, { action: "progress", eventType: "tool:start", message: `Using tool: ${name}` });
  }

  #end(run) {
    this.#start(run);
    this.#finish(run, { action: "end", eventType: "lifecycle:end", response: shorten(run.response) });
  }

  #finish(run, event) {
    clearTimeout(run.ending);
    this.#emit(run, event);
    // Keep it as finished, so that late events do not start it again.
    run.finished = true;
    run.prompt = run.response = undefined;
  }

  #emit(run, event) {
    if (UNREPORTED.has(run.trigger)) return;
    const timestamp = new Date(run.time ?? Date.now()).toISOString();
    this.#send({ runId: run.runId, sessionKey: run.sessionKey, agentId: run.agentId, timestamp, ...event });
  }
}

// The user's text without the gateway's additions: "[Tue 2026-11-24 06:44 UTC] hello", and for automatic runs
// "[cron:ID NAME] hello" followed by the time and instructions.
function asWritten(prompt) {
  return textOf(prompt)
    ?.replace(/^\[\w{3} \d{4}-\d{2}-\d{2} \d{2}:\d{2}[^\]]*\] /, "")
    .replace(/^\[cron:[^\]]*\] ([\s\S]*?)(\nCurrent time: [\s\S]*)?$/, "$1");
}

function textOf(value) {
  return typeof value === "string" && value.trim() !== "" ? value.trim() : undefined;
}

function shorten(text) {
  return text !== undefined && text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}…` : text;
}
