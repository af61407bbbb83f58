// Runs pushed functions: their calls into the backend, transactions, and permissions.
import asyncHooks from "node:async_hooks";
import { compareValues, complaint, evaluate, fieldOf } from "./values.mjs";

const TIME_LIMIT = 10_000;
const DOES_NOT = "the stand-in does not";

// The error of a function, which upstream distinguishes from its own.
export class FunctionError extends Error {
  constructor(message, data) {
    super(message);
    this.data = data;
  }
}

export class Runtime {
  constructor(store, log) {
    this.store = store;
    this.log = log;
    this.context = new asyncHooks.AsyncLocalStorage();
    this.turn = Promise.resolve();
    this.listeners = new Set();
    this.timers = new Map();
    globalThis.Convex = {
      syscall: (name, args) => JSON.stringify(this.call(name, JSON.parse(args))),
      asyncSyscall: async (name, args) => JSON.stringify((await this.callLater(name, JSON.parse(args))) ?? null),
      jsSyscall: (name) => {
        throw new Error(`${DOES_NOT} know ${name}`);
      },
    };
  }

  use(program) {
    this.program = program;
    this.changed();
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  isId = (id, table) => this.store.tableOf(id) === table;

  // One query or mutation at a time, because SQLite has one writer.
  exclusive(work) {
    const turn = this.turn.then(work);
    this.turn = turn.catch(() => undefined);
    return turn;
  }

  find(path, kind, { trusted }) {
    const [module, name = "default"] = path.split(":");
    const found = this.program.functions.get(`${module.replace(/\.js$/, "")}:${name}`);
    if (!found || !(found.isPublic || trusted)) {
      throw new FunctionError(`Could not find public function for '${path}'. Did you forget to run \`npx convex dev\` or \`npx convex deploy\`?`);
    }
    if (kind && found.kind !== kind) throw new FunctionError(`Trying to execute ${path} as ${kind}, but it is defined as ${found.kind}.`);
    return found;
  }

  // Runs a function and returns its encoded value. `caller` has `identity` (or null) and `trusted` (may call internal
  // ones).
  run(path, kind, args, caller) {
    const found = this.find(path, kind, caller);
    if (found.kind === "Action") return this.invoke(found, args, caller);
    return this.exclusive(() => this.transaction(found, args, caller));
  }

  async transaction(found, args, caller) {
    if (found.kind === "Query") return this.invoke(found, args, caller);
    const scheduled = [];
    const result = await this.store.atomic(() => this.invoke(found, args, { ...caller, scheduled }));
    for (const job of scheduled) this.arm(job);
    this.changed();
    return result;
  }

  async invoke(found, args, caller) {
    const wrong = complaint(found.args, args, this.isId);
    if (wrong) throw new FunctionError(`ArgumentValidationError: ${wrong}`);
    const context = { ...caller, kind: found.kind, streams: [], over: false };
    const invoke = found.value[`invoke${found.kind}`];
    // The first argument of actions is a request id.
    const words = found.kind === "Action" ? ["", JSON.stringify([args])] : [JSON.stringify([args])];
    let timer;
    const late = new Promise((_, reject) => {
      if (found.kind === "Action") return;
      timer = setTimeout(() => reject(new Error("Function execution timed out (maximum duration: 10s)")), TIME_LIMIT);
    });
    try {
      const text = await Promise.race([this.context.run(context, () => invoke(...words)), late]);
      const value = JSON.parse(text);
      const wrongReturn = found.returns && complaint(found.returns, value, this.isId);
      if (wrongReturn) throw new FunctionError(`ReturnsValidationError: ${wrongReturn}`);
      return value;
    } catch (error) {
      if (error instanceof FunctionError) throw error;
      const isConvexError = error?.ConvexErrorSymbol !== undefined;
      this.log(`${found.path} failed: ${error?.stack ?? error}`);
      throw new FunctionError(`Uncaught ${error?.name ?? "Error"}: ${error?.message ?? error}`, isConvexError ? JSON.parse(error.data) : undefined);
    } finally {
      clearTimeout(timer);
      context.over = true;
    }
  }

  // An HTTP action of the pushed router; undefined if there is none.
  async http(request, path, caller) {
    if (!this.program.router) return undefined;
    const match = this.program.router.lookup(path, request.method);
    if (!match) return new Response(`No matching routes found`, { status: 404 });
    const context = { ...caller, trusted: true, kind: "Action", streams: [], over: false };
    try {
      return await this.context.run(context, () => match[0].invokeHttpAction(request));
    } catch (error) {
      this.log(`the HTTP action of ${path} failed: ${error.stack}`);
      return Response.json({ code: `Uncaught ${error.name}: ${error.message}`, trace: error.stack }, { status: 500 });
    }
  }

  here() {
    const context = this.context.getStore();
    if (!context || context.over) throw new Error("a call into Convex from outside a function that runs");
    return context;
  }

  call(name, args) {
    const context = this.here();
    switch (name) {
      case "1.0/queryStream":
        context.streams.push(this.query(args.query)[Symbol.iterator]());
        return { queryId: context.streams.length - 1 };
      case "1.0/queryCleanup":
        return true;
      case "1.0/db/normalizeId":
        return { id: this.store.tableOf(args.idString) === args.table ? args.idString : null };
      default:
        throw new Error(`${DOES_NOT} know ${name}`);
    }
  }

  async callLater(name, args) {
    const context = this.here();
    const trusted = { identity: context.identity, trusted: true, scheduled: context.scheduled };
    switch (name) {
      case "1.0/getUserIdentity":
        return context.identity;
      case "1.0/get":
        this.owned(args);
        return this.store.document(args.id);
      case "1.0/queryStreamNext": {
        const { value, done } = context.streams[args.queryId].next();
        return { value: value ?? null, done };
      }
      case "1.0/queryPage":
        return this.page(args);
      case "1.0/count":
        return this.store.documents(args.table).length;
      case "1.0/runUdf":
        return this.nested(args, context, trusted);
      case "1.0/actions/query":
        return this.run(nameOf(args), "Query", args.args, trusted);
      case "1.0/actions/mutation":
        return this.run(nameOf(args), "Mutation", args.args, trusted);
      case "1.0/actions/action":
        return this.run(nameOf(args), "Action", args.args, trusted);
      case "1.0/schedule":
        return this.schedule(args, context);
      case "1.0/actions/schedule":
        return this.exclusive(async () => this.schedule(args, context));
      case "1.0/cancel_job":
        return this.cancel(args);
      case "1.0/actions/cancel_job":
        return this.exclusive(async () => this.cancel(args));
      default:
        return this.write(name, args, context);
    }
  }

  nested(args, context, trusted) {
    const kind = args.udfType === "query" ? "Query" : "Mutation";
    if (kind === "Mutation" && context.kind !== "Mutation") throw new Error("A query cannot run a mutation");
    const found = this.find(nameOf(args), kind, trusted);
    // Part of the caller's transaction; if the inner one fails, its writes are rolled back.
    return this.store.atomic(() => this.invoke(found, args.args, trusted));
  }

  write(name, args, context) {
    if (context.kind !== "Mutation") throw new Error(`${DOES_NOT} know ${name} in a ${context.kind.toLowerCase()}`);
    if (name === "1.0/insert") {
      const document = this.store.insert(args.table, this.checked(args.table, args.value));
      return { _id: document._id };
    }
    const table = this.owned(args);
    const document = this.store.document(args.id);
    if (!document) throw new Error(`Update on nonexistent document ID ${args.id}`);
    const { _id, _creationTime, ...fields } = document;
    if (name === "1.0/remove") {
      this.store.remove(_id);
      return document;
    }
    let next;
    if (name === "1.0/shallowMerge") next = { ...fields, ...args.value };
    else if (name === "1.0/replace") next = args.value;
    else throw new Error(`${DOES_NOT} know ${name}`);
    const replaced = { ...this.checked(table, next), _creationTime, _id };
    this.store.replace(replaced);
    return replaced;
  }

  // The table of an id in a call, which must be the expected one.
  owned({ id, table }) {
    const actual = this.store.tableOf(id);
    if (!actual) throw new Error(`Invalid argument \`id\`: Unable to decode ID: ${id}`);
    if (table !== undefined && table !== actual) throw new Error(`expected an ID of table '${table}', found one of '${actual}'`);
    return actual;
  }

  checked(table, value) {
    const fields = Object.fromEntries(Object.entries(value).filter(([name, item]) => !["_id", "_creationTime"].includes(name) && item?.$undefined === undefined));
    const type = this.program.documentType(table);
    const wrong = type && complaint(type, fields, this.isId);
    if (wrong) throw new Error(`Failed to insert or update a document in table "${table}" because it does not match the schema: ${wrong}`);
    return fields;
  }

  query({ source, operators }) {
    const [table, index] = source.type === "FullTableScan" ? [source.tableName, "by_creation_time"] : source.indexName.split(".");
    if (source.type === "Search") throw new Error(`${DOES_NOT} search`);
    const fields = this.program.indexFields(table, index);
    const within = (document) => (source.range ?? []).every(({ type, fieldPath, value }) => evaluate({ [`$${type.toLowerCase()}`]: [{ $field: fieldPath }, { $literal: value }] }, document));
    let documents = this.store.documents(table).filter(within);
    documents.sort((a, b) => {
      const field = fields.find((one) => compareValues(fieldOf(a, one), fieldOf(b, one)) !== 0);
      return field === undefined ? 0 : compareValues(fieldOf(a, field), fieldOf(b, field));
    });
    if (source.order === "desc") documents.reverse();
    for (const operator of operators) {
      documents = "limit" in operator ? documents.slice(0, operator.limit) : documents.filter((document) => evaluate(operator.filter, document) === true);
    }
    return documents;
  }

  page({ query, cursor, pageSize }) {
    const documents = this.query(query);
    // A cursor is the id of the last returned document.
    const start = cursor === null ? 0 : cursor === "_end" ? documents.length : documents.findIndex(({ _id }) => _id === cursor) + 1;
    const page = documents.slice(start, start + pageSize);
    const isDone = start + page.length >= documents.length;
    return { page, isDone, continueCursor: isDone ? "_end" : (page.at(-1)?._id ?? cursor), splitCursor: null, pageStatus: null };
  }

  // A scheduled call is stored as a document until it ran, so that it survives a restart.
  schedule(args, context) {
    const job = this.store.insert("_scheduled_functions", { name: nameOf(args), args: [args.args], scheduledTime: args.ts * 1000, state: { kind: "pending" } });
    // A failed mutation schedules nothing.
    if (context.scheduled) context.scheduled.push(job);
    else this.arm(job);
    return job._id;
  }

  cancel({ id }) {
    this.store.remove(id);
    clearTimeout(this.timers.get(id));
    return null;
  }

  arm(job) {
    const wait = Math.min(Math.max(0, job.scheduledTime - Date.now()), 2 ** 31 - 1);
    this.timers.set(job._id, setTimeout(() => this.runScheduled(job), wait));
  }

  armAll() {
    for (const job of this.store.documents("_scheduled_functions")) {
      if (job.state.kind === "pending") this.arm(job);
    }
  }

  async runScheduled(job) {
    let state = { kind: "success" };
    try {
      await this.run(job.name, undefined, job.args[0], { identity: null, trusted: true });
    } catch (error) {
      state = { kind: "failed", error: error.message };
    }
    this.timers.delete(job._id);
    await this.exclusive(async () => this.store.replace({ ...job, state, completedTime: Date.now() }));
  }
}

function nameOf(args) {
  if (args.name === undefined) throw new Error(`${DOES_NOT} know components and function handles`);
  return args.name;
}
