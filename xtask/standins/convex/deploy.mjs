// The endpoints of `convex deploy`: current state, changes of a push, start, wait, finish.
import { complaint } from "./values.mjs";
import { hashOf, Program } from "./program.mjs";
import { HttpError, sendJson } from "./http.mjs";

// What a push adds and removes. Values are compared by their JSON.
function difference(before, after) {
  const missingFrom = (others) => (one) => !others.some((other) => JSON.stringify(other) === JSON.stringify(one));
  return { added: after.filter(missingFrom(before)), removed: before.filter(missingFrom(after)) };
}

export class Deploy {
  // `backend` has store, runtime, folder, environment() and mustBeAdmin(key).
  constructor(backend) {
    this.backend = backend;
    this.pending = new Map();
    this.counter = 0;
  }

  // Answers, or returns false for unknown paths. The key is part of the body.
  async answer(call, response) {
    const steps = {
      "/api/get_config_hashes": () => this.configHashes(),
      "/api/deploy2/evaluate_push": (body) => this.evaluate(body),
      "/api/deploy2/evaluate_schema": (body) => this.evaluateSchema(body),
      "/api/deploy2/start_push": (body) => this.start(body),
      "/api/deploy2/wait_for_schema": (body) => this.wait(body),
      "/api/deploy2/finish_push": (body) => this.finish(body),
      "/api/deploy2/report_push_completed": () => null,
    };
    const step = call.method === "POST" ? steps[call.path] : undefined;
    if (!step) return false;
    const body = await call.json();
    if (typeof body?.adminKey !== "string") throw new HttpError(400, "BadJsonBody", "Failed to deserialize the JSON body into the target type: missing field `adminKey`");
    this.backend.mustBeAdmin(body.adminKey);
    sendJson(response, await step(body));
    return true;
  }

  configHashes() {
    const { store } = this.backend;
    return {
      config: { functions: store.meta("functions") ?? "convex/" },
      moduleHashes: store.modules().filter(({ path }) => path !== "schema.js").map(({ path, hash, environment }) => ({ path, hash, environment })),
      udfServerVersion: store.meta("udfServerVersion") ?? null,
      nodeVersion: null,
    };
  }

  // All modules of a push: changed ones as sent, the others as stored, by their hashes.
  modulesOf({ appDefinition, componentDefinitions }) {
    if (appDefinition === undefined) throw new HttpError(400, "BadJsonBody", "missing field `appDefinition`");
    if (componentDefinitions?.length > 0) throw new HttpError(400, "InvalidConfig", "the stand-in knows no components");
    const known = new Map(this.backend.store.modules().map((module) => [module.path, module]));
    const kept = appDefinition.unchangedModuleHashes.map(({ path, sha256 }) => {
      const module = known.get(path);
      if (module?.hash !== sha256) throw new HttpError(400, "RaceDetected", `the module ${path} changed while this push was made`);
      return module;
    });
    const sent = [...appDefinition.changedModules, ...(appDefinition.schema ? [appDefinition.schema] : [])];
    return [...kept, ...sent.map((module) => ({ ...module, hash: hashOf(module) }))];
  }

  async compile(body) {
    const environment = this.backend.environment();
    const modules = this.modulesOf(body);
    try {
      return { modules, environment, program: await Program.load(this.backend.folder, modules, environment) };
    } catch (error) {
      if (error instanceof HttpError) error.message = `Hit an error while pushing:\n${error.message}`;
      throw error;
    } finally {
      // Loading a program replaced the environment of the running one.
      process.env = environment;
    }
  }

  indexDiff(program) {
    const { added, removed } = difference(this.backend.runtime.program.indexes(), program.indexes());
    return { added_indexes: added, removed_indexes: removed, enabled_indexes: [], disabled_indexes: [] };
  }

  schemaChange(program, id) {
    return { allocatedComponentIds: {}, schemaIds: { "": id }, indexDiffs: { "": this.indexDiff(program) } };
  }

  async evaluate(body) {
    const { program } = await this.compile(body);
    program.unload();
    return { schemaChange: this.schemaChange(program, null) };
  }

  async evaluateSchema(body) {
    const { program } = await this.compile(body);
    program.unload();
    const { store } = this.backend;
    const { added_indexes, removed_indexes } = this.indexDiff(program);
    const predict = (change) => (index) => {
      const numDocs = store.documents(index.name.split(".")[0]).length;
      return { ...index, change, needsBackfill: change === "added" && numDocs > 0, numDocs };
    };
    const tables = (program.schema?.tables ?? []).map(({ tableName }) => {
      const documents = store.documents(tableName);
      return { name: tableName, outcome: program.schema.schemaValidation ? "mustWalk" : "notValidated", numDocs: documents.length, sizeBytes: JSON.stringify(documents).length };
    });
    const evaluation = {
      definitionPath: "",
      schemaValidation: program.schema?.schemaValidation ?? false,
      tables,
      indexes: [...added_indexes.map(predict("added")), ...removed_indexes.map(predict("dropped"))],
    };
    return { componentSchemaEvaluations: { "": evaluation }, newComponentDefinitions: [] };
  }

  async start(body) {
    const { modules, environment, program } = await this.compile(body);
    this.counter += 1;
    const id = `push-${process.pid}-${this.counter}`;
    for (const older of this.pending.values()) older.program.unload();
    this.pending.clear();
    const { udfServerVersion } = body.appDefinition;
    this.pending.set(id, { modules, program, udfServerVersion, functions: body.functions });
    const schema = program.schema && {
      tables: program.schema.tables.map(({ tableName, indexes, searchIndexes, vectorIndexes, documentType }) => ({ tableName, indexes, searchIndexes, vectorIndexes, documentType })),
      schemaValidation: program.schema.schemaValidation,
    };
    const routes = program.router?.getRoutes().map(([path, method]) => ({ method, path })) ?? null;
    return {
      environmentVariables: environment,
      externalDepsId: null,
      componentDefinitionPackages: { "": { storageKey: id } },
      appAuth: program.auth,
      analysis: {
        "": {
          definition: { path: "", definitionType: { type: "app" }, childComponents: [], httpMounts: {}, exports: { type: "branch", branch: [] } },
          schema,
          functions: program.analysis,
          udfConfig: { serverVersion: udfServerVersion, importPhaseRngSeed: null, importPhaseUnixTimestamp: null },
        },
      },
      app: { definitionPath: "", componentPath: "", args: {}, childComponents: {}, httpRoutes: { httpModuleRoutes: routes, mounts: [] }, exports: {} },
      schemaChange: this.schemaChange(program, id),
    };
  }

  taken(id) {
    const push = this.pending.get(id);
    if (!push) throw new HttpError(400, "RaceDetected", "Schema was overwritten by another push.");
    return push;
  }

  // Whether stored documents match the new schema.
  wait({ schemaChange }) {
    const id = schemaChange?.schemaIds?.[""];
    if (!this.pending.has(id)) return { type: "raceDetected" };
    const { program } = this.taken(id);
    const { store, runtime } = this.backend;
    for (const table of store.tableNames()) {
      const type = program.documentType(table);
      if (!type) continue;
      for (const { _id, _creationTime, ...fields } of store.documents(table)) {
        const wrong = complaint(type, fields, runtime.isId);
        if (wrong) return { type: "failed", error: `Document with ID "${_id}" in table "${table}" does not match the schema: ${wrong}`, componentPath: "", tableName: table };
      }
    }
    return { type: "complete" };
  }

  async finish({ startPush, dryRun }) {
    const nothing = { authDiff: { added: [], removed: [] }, definitionDiffs: {}, componentDiffs: {} };
    if (dryRun) return nothing;
    const id = startPush?.componentDefinitionPackages?.[""]?.storageKey;
    const push = this.taken(id);
    const { store, runtime } = this.backend;
    if (JSON.stringify(startPush.environmentVariables) !== JSON.stringify(this.backend.environment())) {
      throw new HttpError(400, "RaceDetected", "Environment variables have changed during push");
    }
    const before = store.modules().map(({ path }) => path);
    const auth = difference(runtime.program.auth, push.program.auth);
    const indexDiff = this.indexDiff(push.program);
    await runtime.exclusive(() => store.atomic(async () => {
      store.run("DELETE FROM modules");
      for (const { path, environment, hash, source } of push.modules) store.run("INSERT INTO modules VALUES (?, ?, ?, ?)", path, environment, hash, source);
      for (const { tableName } of push.program.schema?.tables ?? []) store.tableNumber(tableName);
      store.setMeta("udfServerVersion", push.udfServerVersion);
      store.setMeta("functions", push.functions);
      store.setMeta("pushes", [...(store.meta("pushes") ?? []), { at: new Date().toISOString(), version: push.udfServerVersion, modules: push.modules.length }].slice(-100));
    }));
    this.pending.delete(id);
    this.backend.activate(push.program);
    const changes = {
      diffType: { type: before.length === 0 ? "create" : "modify" },
      moduleDiff: difference(before, push.modules.map(({ path }) => path)),
      udfConfigDiff: null,
      cronDiff: { added: [], updated: [], deleted: [] },
      indexDiff,
      schemaDiff: null,
    };
    return {
      authDiff: { added: auth.added.map((one) => JSON.stringify(one)), removed: auth.removed.map((one) => JSON.stringify(one)) },
      definitionDiffs: {},
      componentDiffs: { "": changes },
    };
  }
}
