// Accounts and sessions: the routes of better-auth for signing in.
import { Database } from "bun:sqlite";
import { createHmac, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";
import { env } from "@opencode-manager/shared/config/env";

const WEEK = 7 * 24 * 3600;
const COOKIE = `${env.auth.secureCookies ? "__Secure-" : ""}opencode.session_token`;

type User = { id: string; email: string; name: string };

const refuse = (status: number, code: string, message: string) => Response.json({ code, message }, { status });

export class Auth {
  constructor(private readonly database: Database) {
    database.run(`CREATE TABLE IF NOT EXISTS "user" (id TEXT PRIMARY KEY, email TEXT NOT NULL UNIQUE, name TEXT NOT NULL)`);
    database.run(`CREATE TABLE IF NOT EXISTS account ("userId" TEXT PRIMARY KEY, password TEXT NOT NULL)`);
    database.run(`CREATE TABLE IF NOT EXISTS session (token TEXT PRIMARY KEY, "userId" TEXT NOT NULL, "expiresAt" INTEGER NOT NULL)`);
  }

  private find(email: string): User | null {
    return this.database.query<User, [string]>(`SELECT id, email, name FROM "user" WHERE email = ?`).get(email.toLowerCase());
  }

  private async create(email: string, password: string, name: string): Promise<User> {
    const user = { id: randomUUID(), email: email.toLowerCase(), name };
    const hash = await Bun.password.hash(password);
    this.database.transaction(() => {
      this.database.run(`INSERT INTO "user" VALUES (?, ?, ?)`, [user.id, user.email, user.name]);
      this.database.run(`INSERT INTO account VALUES (?, ?)`, [user.id, hash]);
    })();
    return user;
  }

  // Creates the first admin from the environment, if set.
  async syncAdmin(): Promise<void> {
    const { adminEmail, adminPassword, adminReset } = env.auth;
    if (!adminEmail || !adminPassword) return;
    const user = this.find(adminEmail);
    if (!user) await this.create(adminEmail, adminPassword, "Admin");
    else if (adminReset) this.database.run(`UPDATE account SET password = ? WHERE "userId" = ?`, [await Bun.password.hash(adminPassword), user.id]);
  }

  info(): Response {
    const { count } = this.database.query<{ count: number }, []>(`SELECT count(*) AS count FROM "user"`).get() ?? { count: 0 };
    const adminConfigured = env.auth.adminEmail !== "" && env.auth.adminPassword !== "";
    return Response.json({ enabledProviders: ["credentials", "passkey"], registrationEnabled: !adminConfigured, isFirstUser: count === 0, adminConfigured });
  }

  private sign(token: string): string {
    return createHmac("sha256", env.auth.secret).update(token).digest("base64");
  }

  private token(request: Request): string | undefined {
    const cookies = (request.headers.get("cookie") ?? "").split(";").map((cookie) => cookie.trim());
    const value = cookies.find((cookie) => cookie.startsWith(`${COOKIE}=`))?.slice(COOKIE.length + 1);
    if (!value) return undefined;
    const [token, signature = ""] = decodeURIComponent(value).split(".");
    const [given, wanted] = [Buffer.from(signature), Buffer.from(this.sign(token))];
    return given.length === wanted.length && timingSafeEqual(given, wanted) ? token : undefined;
  }

  // The user of a request's session, or null.
  session(request: Request): User | null {
    const token = this.token(request);
    if (!token) return null;
    return this.database
      .query<User, [string, number]>(`SELECT id, email, name FROM session JOIN "user" ON id = "userId" WHERE token = ? AND "expiresAt" > ?`)
      .get(token, Date.now());
  }

  private signIn(user: User): Response {
    const token = randomBytes(24).toString("base64url");
    this.database.run(`INSERT INTO session VALUES (?, ?, ?)`, [token, user.id, Date.now() + WEEK * 1000]);
    return Response.json({ redirect: false, token, user }, { headers: { "set-cookie": this.cookie(`${token}.${this.sign(token)}`, WEEK) } });
  }

  private cookie(value: string, age: number): string {
    return `${COOKIE}=${encodeURIComponent(value)}; Max-Age=${age}; Path=/; HttpOnly; SameSite=Lax${env.auth.secureCookies ? "; Secure" : ""}`;
  }

  async handle(request: Request, path: string): Promise<Response> {
    const call = `${request.method} ${path}`;
    if (request.method === "POST") {
      const origin = request.headers.get("origin");
      if (origin !== null && !env.auth.origins.includes(origin)) return refuse(403, "INVALID_ORIGIN", "Invalid origin");
      // Browsers always send the origin of requests with cookies.
      if (origin === null && request.headers.has("cookie")) return refuse(403, "MISSING_OR_NULL_ORIGIN", "Missing or null Origin");
    }
    if (call === "GET /get-session") {
      const user = this.session(request);
      return Response.json(user && { user, session: { userId: user.id } });
    }
    if (call === "POST /sign-out") {
      const token = this.token(request);
      if (token) this.database.run(`DELETE FROM session WHERE token = ?`, [token]);
      return Response.json({ success: true }, { headers: { "set-cookie": this.cookie("", 0) } });
    }
    if (call !== "POST /sign-in/email" && call !== "POST /sign-up/email") return new Response(null, { status: 404 });
    const body = (await request.json().catch(() => ({}))) as Record<string, unknown>;
    const { email, password, name } = body;
    if (typeof email !== "string" || typeof password !== "string") return refuse(400, "VALIDATION_ERROR", "Invalid input: expected string, received undefined");
    const user = this.find(email);
    if (call === "POST /sign-in/email") {
      const stored = user && this.database.query<{ password: string }, [string]>(`SELECT password FROM account WHERE "userId" = ?`).get(user.id);
      if (!user || !stored || !(await Bun.password.verify(password, stored.password))) return refuse(401, "INVALID_EMAIL_OR_PASSWORD", "Invalid email or password");
      return this.signIn(user);
    }
    if (!/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(email)) return refuse(400, "INVALID_EMAIL", "Invalid email");
    if (password.length < 8) return refuse(400, "PASSWORD_TOO_SHORT", "Password too short");
    if (user) return refuse(422, "USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL", "User already exists. Use another email.");
    return this.signIn(await this.create(email, password, typeof name === "string" ? name : ""));
  }
}
