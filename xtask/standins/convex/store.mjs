// The persistent state, in one SQLite file.
import crypto from "node:crypto";
import sqlite from "node:sqlite";

const LETTERS = "0123456789abcdefghjkmnpqrstvwxyz";

export class Store {
  constructor(path) {
    this.db = new sqlite.DatabaseSync(path);
    this.db.exec(`
      PRAGMA journal_mode = WAL;
      CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
      CREATE TABLE IF NOT EXISTS environment (name TEXT PRIMARY KEY, value TEXT NOT NULL);
      CREATE TABLE IF NOT EXISTS modules (path TEXT PRIMARY KEY, environment TEXT NOT NULL, hash TEXT NOT NULL, source TEXT NOT NULL);
      CREATE TABLE IF NOT EXISTS tables (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
      CREATE TABLE IF NOT EXISTS documents (id TEXT PRIMARY KEY, tbl TEXT NOT NULL, created REAL NOT NULL, body TEXT NOT NULL);
      CREATE INDEX IF NOT EXISTS documents_by_table ON documents (tbl, created);
      CREATE TABLE IF NOT EXISTS http_calls (number INTEGER PRIMARY KEY, at REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL);
    `);
    this.statements = new Map();
    this.lastCreated = 0;
    this.depth = 0;
  }

  close() {
    this.db.close();
  }

  statement(sql) {
    if (!this.statements.has(sql)) this.statements.set(sql, this.db.prepare(sql));
    return this.statements.get(sql);
  }

  all(sql, ...values) {
    return this.statement(sql).all(...values);
  }

  first(sql, ...values) {
    return this.statement(sql).get(...values);
  }

  run(sql, ...values) {
    this.statement(sql).run(...values);
  }

  // Runs `work` in a transaction. Calls can be nested.
  async atomic(work) {
    this.depth += 1;
    const mark = `s${this.depth}`;
    this.db.exec(`SAVEPOINT ${mark}`);
    try {
      const result = await work();
      this.db.exec(`RELEASE ${mark}`);
      return result;
    } catch (error) {
      this.db.exec(`ROLLBACK TO ${mark}; RELEASE ${mark}`);
      throw error;
    } finally {
      this.depth -= 1;
    }
  }

  meta(name) {
    const row = this.first("SELECT value FROM meta WHERE name = ?", name);
    return row && JSON.parse(row.value);
  }

  setMeta(name, value) {
    this.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, JSON.stringify(value));
  }

  environment() {
    return Object.fromEntries(this.all("SELECT name, value FROM environment ORDER BY name").map(({ name, value }) => [name, value]));
  }

  modules() {
    return this.all("SELECT path, environment, hash, source FROM modules ORDER BY path");
  }

  tableNames() {
    return this.all("SELECT name FROM tables ORDER BY name").map(({ name }) => name);
  }

  tableNumber(name) {
    const known = this.first("SELECT number FROM tables WHERE name = ?", name);
    if (known) return known.number;
    this.run("INSERT INTO tables (name) VALUES (?)", name);
    return this.tableNumber(name);
  }

  // An id contains its table, like upstream's: two letters for the table, thirty random ones.
  newId(table) {
    const number = this.tableNumber(table);
    const drawn = Array.from({ length: 30 }, () => LETTERS[crypto.randomInt(32)]).join("");
    return LETTERS[number >> 5] + LETTERS[number & 31] + drawn;
  }

  // The table of an id, even if its document does not exist.
  tableOf(id) {
    if (typeof id !== "string" || !/^[0-9a-hjkmnp-tv-z]{32}$/.test(id)) return undefined;
    return this.first("SELECT name FROM tables WHERE number = ?", LETTERS.indexOf(id[0]) * 32 + LETTERS.indexOf(id[1]))?.name;
  }

  documents(table) {
    return this.all("SELECT body FROM documents WHERE tbl = ? ORDER BY created, id", table).map(({ body }) => JSON.parse(body));
  }

  document(id) {
    const row = this.first("SELECT body FROM documents WHERE id = ?", id);
    return row ? JSON.parse(row.body) : null;
  }

  insert(table, fields) {
    // Creation times are unique, so that they define an order.
    this.lastCreated = Math.max(Date.now(), this.lastCreated + 0.001);
    const document = { ...fields, _creationTime: this.lastCreated, _id: this.newId(table) };
    this.run("INSERT INTO documents VALUES (?, ?, ?, ?)", document._id, table, document._creationTime, JSON.stringify(document));
    return document;
  }

  replace(document) {
    this.run("UPDATE documents SET body = ? WHERE id = ?", JSON.stringify(document), document._id);
  }

  remove(id) {
    this.run("DELETE FROM documents WHERE id = ?", id);
  }
}
