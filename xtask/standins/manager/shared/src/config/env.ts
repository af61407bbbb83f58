// The Manager's settings, with upstream's names and defaults.
import { resolve } from "node:path";

const text = (name: string, fallback: string) => process.env[name] ?? fallback;
const number = (name: string, fallback: number) => (process.env[name] ? Number.parseInt(process.env[name], 10) : fallback);
const flag = (name: string, fallback: boolean) =>
  process.env[name] === undefined ? fallback : ["true", "1"].includes(process.env[name]);

export const production = process.env.NODE_ENV === "production";

export const env = {
  port: number("PORT", 5003),
  host: text("HOST", "0.0.0.0"),
  database: text("DATABASE_PATH", "./data/opencode.db"),
  workspace: resolve(text("WORKSPACE_PATH", "./workspace")),
  healthTimeout: number("HEALTH_CHECK_TIMEOUT_MS", 30_000),
  openCode: {
    port: number("OPENCODE_SERVER_PORT", 5551),
    host: text("OPENCODE_HOST", "127.0.0.1"),
    password: text("OPENCODE_SERVER_PASSWORD", ""),
    username: text("OPENCODE_SERVER_USERNAME", "opencode"),
    watch: flag("OPENCODE_HEALTH_WATCH_ENABLED", true),
    poll: number("OPENCODE_HEALTH_POLL_MS", 30_000),
    threshold: number("OPENCODE_HEALTH_FAILURE_THRESHOLD", 2),
  },
  auth: {
    secret: text("AUTH_SECRET", production ? "" : crypto.randomUUID()),
    origins: text("AUTH_TRUSTED_ORIGINS", "http://localhost:5173,http://localhost:5003")
      .split(",")
      .map((origin) => origin.trim()),
    secureCookies: flag("AUTH_SECURE_COOKIES", production),
    adminEmail: text("ADMIN_EMAIL", ""),
    adminPassword: text("ADMIN_PASSWORD", ""),
    adminReset: flag("ADMIN_PASSWORD_RESET", false),
  },
};
