// The backend behind its two ports: permissions, and upstream's endpoints.
import fs from "node:fs";
import nodePath from "node:path";
import { HttpError, sendJson, sendText } from "./http.mjs";
import { dashboardAnswer, dashboardQueries, onePage } from "./dashboard.mjs";
import { Deploy } from "./deploy.mjs";
import { identityOf } from "./identity.mjs";
import { isAdminKey } from "./keys.mjs";
import { KINDS, Program } from "./program.mjs";
import { FunctionError, Runtime } from "./runtime.mjs";
import { Store } from "./store.mjs";
import { SyncSession } from "./sync.mjs";
import { cleanValue, compareValues } from "./values.mjs";
import { acceptWebSocket } from "./websocket.mjs";

const LONGEST_BODY_KEPT = 64 * 1024;

export class Backend {
  static async open({ name, secret, version, cloud, site, database, storage, log }) {
    const backend = new Backend();
    Object.assign(backend, { name, secret, version, log });
    backend.system = { CONVEX_CLOUD_URL: cloud, CONVEX_SITE_URL: site };
    backend.store = new Store(database);
    backend.folder = nodePath.join(storage, "modules");
    fs.rmSync(backend.folder, { recursive: true, force: true });
    fs.mkdirSync(backend.folder, { recursive: true });
    backend.runtime = new Runtime(backend.store, log);
    backend.deploy = new Deploy(backend);
    backend.sockets = new Set();
    await backend.reload();
    backend.runtime.armAll();
    return backend;
  }

  close() {
    for (const socket of this.sockets) socket.close();
  }

  // The environment of functions: set variables override those of the system.
  environment() {
    return { ...this.system, ...this.store.environment() };
  }

  // Loads the stored modules with the current environment.
  async reload() {
    const program = await Program.load(this.folder, this.store.modules(), this.environment()).catch((error) => {
      this.log(`what was pushed does not load: ${error.message}`);
      return new Program();
    });
    this.activate(program);
  }

  activate(program) {
    const before = this.runtime.program;
    this.runtime.use(program);
    before?.unload();
  }

  mustBeAdmin(key) {
    if (key === undefined) {
      throw new HttpError(403, "BadDeployKey", "The provided deploy key was invalid for this deployment. Double check that the environment this key was generated for matches the desired deployment.");
    }
    if (!isAdminKey(this.secret, this.name, key)) {
      throw new HttpError(401, "BadAdminKey", "The provided admin key was invalid for this instance");
    }
  }

  adminCaller(key) {
    this.mustBeAdmin(key);
    return { identity: null, trusted: true };
  }

  async callerOf(token) {
    return { identity: await identityOf(token, this.runtime.program.auth), trusted: false };
  }

  // The caller of a request: `Authorization: Convex KEY`, `Authorization: Bearer TOKEN`, or anonymous.
  async caller({ headers }) {
    const [, scheme, credentials] = /^(convex|bearer)\s+(.*)$/i.exec(headers.authorization ?? "") ?? [];
    if (scheme?.toLowerCase() === "convex") return this.adminCaller(credentials);
    if (!scheme && headers.authorization !== undefined) throw new HttpError(400, "InvalidHeaderFailure", "Invalid authentication header");
    if (!scheme) return { identity: null, trusted: false };
    return this.callerOf(credentials).catch((error) => {
      throw new HttpError(401, "InvalidAuthHeader", error.message);
    });
  }

  async admin(call) {
    if (!(await this.caller(call)).trusted) this.mustBeAdmin(undefined);
  }

  async route(call, response) {
    if (call.path === "/http" || call.path.startsWith("/http/")) return this.httpAction(call, call.path.slice(5) || "/", response);
    if (await this.deploy.answer(call, response)) return true;
    switch (`${call.method} ${call.path}`) {
      case "GET /version":
      case "GET /instance_version":
        return sendText(response, this.version);
      case "GET /instance_name":
        return sendText(response, this.name);
      case "GET /":
        return sendText(response, "This Convex deployment is running. See https://docs.convex.dev/.");
      case "GET /api/check_admin_key":
        await this.admin(call);
        return sendJson(response, { success: true, allowedOps: [], isReadOnly: false });
      case "POST /api/update_environment_variables":
      case "POST /api/v1/update_environment_variables":
        await this.admin(call);
        await this.updateEnvironment((await call.json()).changes);
        return response.writeHead(200).end();
      case "GET /api/list_environment_variables":
      case "GET /api/v1/list_environment_variables":
        await this.admin(call);
        return sendJson(response, { environmentVariables: this.store.environment() });
      case "POST /api/query":
      case "POST /api/mutation":
      case "POST /api/action":
      case "POST /api/function":
        return sendJson(response, await this.publicFunction(call));
      case "GET /__standin__/pushes":
        await this.admin(call);
        return sendJson(response, this.store.meta("pushes") ?? []);
      case "GET /__standin__/http_calls":
        await this.admin(call);
        return sendJson(response, this.store.all("SELECT at, method, path, status, body FROM http_calls ORDER BY number"));
      default:
        return this.dashboard(call, response);
    }
  }

  async dashboard(call, response) {
    const answer = call.method === "GET" ? dashboardAnswer(this, call) : undefined;
    if (answer === undefined) return false;
    await this.admin(call);
    return sendJson(response, await answer);
  }

  async updateEnvironment(changes) {
    if (!Array.isArray(changes)) throw new HttpError(400, "BadJsonBody", "missing field `changes`");
    for (const { name, value } of changes) {
      if (!/^[a-zA-Z_]+[a-zA-Z0-9_]*$/.test(name)) {
        throw new HttpError(400, "EnvironmentVariableNameInvalid", `The environment variable name ${name} is invalid. Environment variable names must begin with a letter and may only include characters a-z, A-Z, 0-9, and underscores.`);
      }
      if (name in this.system) throw new HttpError(400, "EnvVarNameForbidden", `Environment variable with name "${name}" is built-in and cannot be overridden`);
      if (value?.length > 8192) throw new HttpError(400, "EnvironmentVariableValueTooLarge", `The environment variable value is ${value.length} bytes, which is too large. (max size: 8192`);
    }
    await this.runtime.exclusive(() => this.store.atomic(async () => {
      for (const { name, value } of changes) {
        if (typeof value === "string") this.store.run("INSERT OR REPLACE INTO environment VALUES (?, ?)", name, value);
        else this.store.run("DELETE FROM environment WHERE name = ?", name);
      }
    }));
    await this.reload();
  }

  // A query by path, of the system or of pushed functions.
  query(path, args, caller) {
    if (!path.startsWith("_system/")) return this.runtime.run(path, "Query", args, caller);
    if (!caller.trusted) throw new FunctionError("Could not find public function for a system query: it needs an admin key");
    return this.systemQuery(path.replace(/:default$/, ""), args);
  }

  systemQuery(path, args) {
    const asked = dashboardQueries[path.replace("_system/frontend/", "")];
    if (asked && path.startsWith("_system/frontend/")) return asked(this, args);
    const { store } = this;
    switch (path) {
      case "_system/cli/queryEnvironmentVariables":
        return Object.entries(store.environment()).map(([name, value]) => ({ name, value }));
      case "_system/cli/queryEnvironmentVariables:get":
        return args.name in this.environment() ? { name: args.name, value: this.environment()[args.name] } : null;
      case "_system/cli/convexUrl:cloudUrl":
        return this.system.CONVEX_CLOUD_URL;
      case "_system/cli/modules:apiSpec":
        return this.apiSpec();
      case "_system/cli/tables":
        return onePage(store.tableNames().filter((name) => !name.startsWith("_")).map((name) => ({ name })));
      case "_system/cli/tableSize":
        return store.documents(args.tableName).length;
      case "_system/cli/tableData": {
        const documents = store.documents(args.table).sort((a, b) => compareValues(a._creationTime, b._creationTime));
        if (args.order === "desc") documents.reverse();
        return onePage(documents.slice(0, args.paginationOpts?.numItems));
      }
      default:
        throw new FunctionError(`Could not find public function for '${path}': the stand-in knows few system queries`);
    }
  }

  // All pushed functions and routes, in the format of `convex function-spec`.
  apiSpec() {
    return Object.entries(this.runtime.program.analysis).flatMap(([module, { functions, httpRoutes }]) => [
      ...functions.map(({ name, udfType, visibility, args, returns }) => ({ identifier: `${module}:${name}`, functionType: udfType, visibility, args: JSON.parse(args), returns: JSON.parse(returns) })),
      ...(httpRoutes ?? []).map(({ route: { method, path } }) => ({ functionType: "HttpAction", method, path })),
    ]);
  }

  async publicFunction(call) {
    const caller = await this.caller(call);
    const { path, args, format } = await call.json();
    if (typeof path !== "string") throw new HttpError(400, "BadJsonBody", "missing field `path`");
    const kind = KINDS[call.path.slice(5)]; // Undefined for /api/function, which calls any kind.
    const given = (Array.isArray(args) ? args[0] : args) ?? {};
    try {
      const value = path.startsWith("_system/") ? await this.query(path, given, caller) : await this.runtime.run(path, kind, given, caller);
      return { status: "success", value: format === "convex_encoded_json" ? value : cleanValue(value), logLines: [] };
    } catch (error) {
      if (!(error instanceof FunctionError)) throw error;
      return { status: "error", errorMessage: error.message, errorData: error.data, logLines: [] };
    }
  }

  // Runs an HTTP action and records it for tests.
  async httpAction(call, path, response) {
    // The action itself handles invalid tokens.
    const caller = await this.caller(call).catch(() => ({ identity: null }));
    const body = ["GET", "HEAD"].includes(call.method) ? undefined : await call.body();
    const url = `http://${call.headers.host ?? "localhost"}${path}${call.query.size > 0 ? `?${call.query}` : ""}`;
    const request = new Request(url, { method: call.method, headers: call.headers, body });
    const result = await this.runtime.http(request, path, { identity: caller.identity });
    const status = result?.status ?? 404;
    const kept = body?.subarray(0, LONGEST_BODY_KEPT).toString() ?? "";
    // In a later turn, because a running mutation may still be rolled back.
    await this.runtime.exclusive(async () => this.store.run("INSERT INTO http_calls (at, method, path, status, body) VALUES (?, ?, ?, ?, ?)", Date.now(), call.method, path, status, kept));
    if (!result) return sendText(response, "This Convex deployment does not have HTTP actions enabled.", 404);
    for (const [name, value] of result.headers) response.appendHeader(name, value);
    return response.writeHead(status).end(Buffer.from(await result.arrayBuffer()));
  }

  upgrade(request, socket) {
    if (!/^\/api(\/[^/]+)?\/sync$/.test(new URL(request.url, "http://stand-in").pathname)) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
      return;
    }
    const wire = acceptWebSocket(request, socket, {
      onText: (text) => session.receive(text),
      onClose: () => {
        session?.close();
        this.sockets.delete(wire);
      },
    });
    if (!wire) return;
    const session = new SyncSession(this, wire.send, wire.close);
    this.sockets.add(wire);
  }
}
