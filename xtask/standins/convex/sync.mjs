// The sync protocol of Convex's clients over a WebSocket: subscriptions, mutations, actions, identity.
import { FunctionError } from "./runtime.mjs";

function encodeTime(time) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(time);
  return bytes.toString("base64");
}

let clock = 0n;

// A logical time that increases with each response; clients wait for a transition at or after their mutation.
function tick() {
  const now = BigInt(Date.now()) * 1_000_000n;
  clock = now > clock ? now : clock + 1n;
  return clock;
}

export class SyncSession {
  // `backend` has runtime, callerOf(token) and adminCaller(key); `socket` sends text and closes.
  constructor(backend, send, fail) {
    this.backend = backend;
    this.send = (message) => send(JSON.stringify(message));
    this.fail = fail;
    this.queries = new Map();
    this.version = { querySet: 0, identity: 0, ts: encodeTime(0n) };
    this.caller = { identity: null, trusted: false };
    this.work = Promise.resolve();
    this.again = false;
    this.onChange = () => {
      if (this.again) return;
      this.again = true;
      this.enqueue(async () => {
        this.again = false;
        await this.transition(this.version, [...this.queries.keys()], []);
      });
    };
    backend.runtime.listeners.add(this.onChange);
  }

  close() {
    this.backend.runtime.listeners.delete(this.onChange);
    this.queries.clear();
  }

  enqueue(work) {
    this.work = this.work.then(work).catch((error) => {
      this.send({ type: "FatalError", error: error.message });
      this.fail();
    });
  }

  // Messages are answered in order, except for actions, which may take long.
  receive(text) {
    const message = JSON.parse(text);
    if (message.type === "Action") this.enqueue(() => void this.call(message));
    else this.enqueue(() => this.handle(message));
  }

  async handle(message) {
    switch (message.type) {
      case "Connect":
      case "Event":
        return undefined;
      case "Authenticate":
        return this.authenticate(message);
      case "ModifyQuerySet":
        return this.modify(message);
      case "Mutation":
        return this.call(message);
      default:
        throw new Error(`unknown message ${message.type}`);
    }
  }

  async authenticate({ tokenType, value, baseVersion, impersonating }) {
    try {
      if (tokenType === "Admin") this.caller = { ...this.backend.adminCaller(value), identity: impersonating ?? null };
      else if (tokenType === "User") this.caller = await this.backend.callerOf(value);
      else this.caller = { identity: null, trusted: false };
    } catch (error) {
      this.send({ type: "AuthError", error: error.message, baseVersion, authUpdateAttempted: true });
      this.fail();
      return;
    }
    await this.transition({ ...this.version, identity: baseVersion + 1 }, [...this.queries.keys()], []);
  }

  async modify({ newVersion, modifications }) {
    const [added, removed] = [[], []];
    for (const { type, queryId, udfPath, args } of modifications) {
      if (type === "Add") {
        this.queries.set(queryId, { udfPath, args: args[0] ?? {} });
        added.push(queryId);
      } else {
        this.queries.delete(queryId);
        removed.push({ type: "QueryRemoved", queryId });
      }
    }
    await this.transition({ ...this.version, querySet: newVersion }, added, removed);
  }

  // Runs queries and sends changed results.
  async transition(next, queryIds, modifications) {
    const startVersion = this.version;
    const ts = tick();
    for (const queryId of queryIds) {
      const query = this.queries.get(queryId);
      if (!query) continue;
      const update = await this.runQuery(queryId, query);
      const known = JSON.stringify(update);
      if (query.known !== known) modifications.push(update);
      query.known = known;
    }
    this.version = { ...next, ts: encodeTime(ts) };
    this.send({ type: "Transition", startVersion, endVersion: this.version, modifications });
  }

  async runQuery(queryId, { udfPath, args }) {
    try {
      const value = await this.backend.query(udfPath, args, this.caller);
      return { type: "QueryUpdated", queryId, value, logLines: [], journal: null };
    } catch (error) {
      return { type: "QueryFailed", queryId, ...failure(error, "errorMessage"), logLines: [], journal: null };
    }
  }

  // Runs a mutation or an action.
  async call({ type, requestId, udfPath, args }) {
    const base = { type: `${type}Response`, requestId, logLines: [] };
    try {
      const result = await this.backend.runtime.run(udfPath, type, args[0] ?? {}, this.caller);
      this.send({ ...base, success: true, result, ...(type === "Mutation" ? { ts: encodeTime(tick()) } : {}) });
      // The client completes a mutation when a transition at or after it arrives.
      if (type === "Mutation") this.onChange();
    } catch (error) {
      this.send({ ...base, success: false, ...failure(error, "result") });
    }
  }
}

function failure(error, field) {
  if (!(error instanceof FunctionError)) throw error;
  const result = { [field]: error.message };
  if (error.data !== undefined) result.errorData = error.data;
  return result;
}
