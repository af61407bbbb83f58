// Posts events one by one, in order, from a bounded queue.

const LARGEST_QUEUE = 500;
const POST_LIMIT = 3_000; // milliseconds
const PAUSES = [1_000, 3_000, 10_000]; // milliseconds between attempts of one event

export class Outbox {
  url;
  #options;
  #queue = [];
  #sending = false;
  #failing = false;
  #lost = 0;

  // `options` has the endpoint's `token`, and `warn` and `info`, which log a message.
  constructor(options) {
    this.#options = { pauses: PAUSES, limit: POST_LIMIT, largest: LARGEST_QUEUE, ...options };
  }

  // Adds an event and returns at once. A full queue drops progress events before starts and ends.
  put(event) {
    if (this.#queue.length >= this.#options.largest) {
      const progress = this.#queue.findIndex((queued) => queued.action === "progress");
      this.#queue.splice(progress === -1 ? 0 : progress, 1);
      this.#lost += 1;
    }
    this.#queue.push(event);
    if (!this.#sending) void this.#send();
  }

  get length() {
    return this.#queue.length;
  }

  async #send() {
    this.#sending = true;
    while (this.#queue.length > 0) {
      const event = this.#queue.shift();
      const problem = await this.#deliver(event);
      if (problem) this.#lost += 1;
      this.#log(problem);
    }
    this.#sending = false;
  }

  // Returns why an event could not be delivered, or undefined.
  async #deliver(event) {
    for (let attempt = 0; ; attempt += 1) {
      const { problem, final } = await this.#post(event);
      // During an outage each event gets only one attempt, so that the queue moves on.
      const pause = this.#failing ? undefined : this.#options.pauses[attempt];
      if (!problem || final || pause === undefined) return problem;
      await new Promise((resolve) => {
        setTimeout(resolve, pause).unref();
      });
    }
  }

  async #post(event) {
    try {
      const response = await fetch(this.url, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${this.#options.token}` },
        body: JSON.stringify(event),
        signal: AbortSignal.timeout(this.#options.limit),
      });
      await response.body?.cancel();
      if (response.ok) return {};
      // 404: the functions are not deployed yet. Other 4xx are final.
      return { problem: `it answered ${response.status}`, final: response.status < 500 && response.status !== 404 };
    } catch (error) {
      return { problem: error.cause?.message ?? error.message };
    }
  }

  // Logs the start and the end of an outage, not every event.
  #log(problem) {
    if (problem && !this.#failing) {
      this.#failing = true;
      this.#options.warn(`Mission Control does not accept the runs' events: ${problem}`);
    } else if (!problem && this.#failing) {
      this.#options.info(`Mission Control accepts the runs' events again; ${this.#lost} were lost`);
      this.#failing = false;
      this.#lost = 0;
    }
  }
}
