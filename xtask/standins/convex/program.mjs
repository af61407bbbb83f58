// Loads the pushed modules into this process, and their definitions.
import crypto from "node:crypto";
import fs from "node:fs";
import nodePath from "node:path";
import nodeUrl from "node:url";
import { HttpError } from "./http.mjs";

export const KINDS = { query: "Query", mutation: "Mutation", action: "Action" };

let loads = 0;

export function hashOf(module) {
  return crypto.createHash("sha256").update(module.source).update(module.sourceMap ?? "").digest("hex");
}

export class Program {
  constructor() {
    this.functions = new Map();
    this.analysis = {};
    this.router = undefined;
    this.schema = null;
    this.auth = [];
  }

  // Loads modules with an environment. Each load has a new folder, because Node.js caches imports.
  static async load(folder, modules, environment) {
    const program = new Program();
    loads += 1;
    program.folder = nodePath.join(folder, `${process.pid}-${loads}`);
    fs.mkdirSync(program.folder, { recursive: true });
    fs.writeFileSync(nodePath.join(program.folder, "package.json"), '{"type":"module"}');
    for (const { path, source } of modules) {
      const target = nodePath.join(program.folder, path);
      if (!target.startsWith(`${program.folder}/`)) throw new HttpError(400, "InvalidModules", `${path} is not the path of a module`);
      fs.mkdirSync(nodePath.dirname(target), { recursive: true });
      fs.writeFileSync(target, source);
    }
    process.env = environment;
    for (const { path, source } of modules) {
      if (path === "auth.config.js") await program.takeAuth(source, environment);
      else if (!path.startsWith("_deps/")) await program.take(path);
    }
    return program;
  }

  unload() {
    if (this.folder) fs.rmSync(this.folder, { recursive: true, force: true });
  }

  async take(path) {
    let module;
    try {
      module = await import(nodeUrl.pathToFileURL(nodePath.join(this.folder, path)).href);
    } catch (error) {
      throw new HttpError(400, "InvalidModules", `Loading the pushed modules encountered the following error:\nFailed to analyze ${path}: Uncaught ${error.stack}`);
    }
    if (path === "schema.js") {
      this.schema = JSON.parse(module.default.export());
      return;
    }
    if (path === "crons.js") throw new HttpError(400, "InvalidModules", "the stand-in runs no crons");
    const analyzed = { functions: [], httpRoutes: null, cronSpecs: null, sourceMapped: null };
    if (path === "http.js") {
      if (!module.default?.isRouter) throw new HttpError(400, "InvalidModules", "The default export of `convex/http.js` is not a Router.");
      this.router = module.default;
      analyzed.httpRoutes = this.router.getRoutes().map(([route, method]) => ({ route: { path: route, method }, pos: null }));
    } else {
      for (const [name, value] of Object.entries(module)) {
        const kind = Object.values(KINDS).find((one) => value?.[`is${one}`] === true);
        if (kind) analyzed.functions.push(this.takeFunction(`${path.replace(/\.js$/, "")}:${name}`, name, value, kind));
      }
    }
    this.analysis[path] = analyzed;
  }

  takeFunction(path, name, value, kind) {
    const [args, returns] = [value.exportArgs(), value.exportReturns()];
    this.functions.set(path, { path, kind, isPublic: value.isPublic === true, args: JSON.parse(args), returns: JSON.parse(returns), value });
    return { name, pos: null, udfType: kind, visibility: { kind: value.isPublic ? "public" : "internal" }, args, returns };
  }

  // Upstream refuses an auth.config that reads an unset variable.
  async takeAuth(source, environment) {
    const missing = [...source.matchAll(/process\.env\.(\w+)/g)].map(([, name]) => name).find((name) => !(name in environment));
    if (missing) {
      throw new HttpError(400, "AuthConfigMissingEnvironmentVariable", `Environment variable ${missing} is used in auth config file but its value was not set`);
    }
    const module = await import(nodeUrl.pathToFileURL(nodePath.join(this.folder, "auth.config.js")).href);
    this.auth = module.default?.providers ?? [];
    for (const provider of this.auth) {
      if (provider.type !== "customJwt" && !URL.canParse(provider.domain)) throw new HttpError(400, "InvalidAuthConfig", `auth.config: ${provider.domain} is no address`);
    }
  }

  // The validator of a table's documents, if the schema has one and is enforced.
  documentType(table) {
    if (!this.schema?.schemaValidation) return undefined;
    return this.schema.tables.find(({ tableName }) => tableName === table)?.documentType;
  }

  // The fields of an index. Like upstream, adds `_creationTime` at the end.
  indexFields(table, index) {
    if (index === "by_creation_time") return ["_creationTime"];
    if (index === "by_id") return ["_id"];
    const found = this.schema?.tables.find(({ tableName }) => tableName === table)?.indexes.find(({ indexDescriptor }) => indexDescriptor === index);
    if (!found) throw new Error(`Index ${table}.${index} not found.`);
    return [...found.fields.filter((field) => field !== "_creationTime"), "_creationTime"];
  }

  indexes() {
    return (this.schema?.tables ?? []).flatMap(({ tableName, indexes }) => indexes.map(({ indexDescriptor, fields }) => ({ name: `${tableName}.${indexDescriptor}`, type: "database", fields })));
  }
}
