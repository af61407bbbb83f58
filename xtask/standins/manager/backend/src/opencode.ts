// The OpenCode server of the Manager: adopts a healthy one, or starts one.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { env, production } from "@opencode-manager/shared/config/env";

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class OpenCode {
  readonly url = `http://127.0.0.1:${env.openCode.port}`;
  version: string | null = null;
  error: string | null = null;
  private pid: number | null = null;
  private child: ChildProcess | null = null;
  private failures = 0;
  private timer: Timer | undefined;

  private get authorization(): Record<string, string> {
    const { username, password } = env.openCode;
    return password ? { authorization: `Basic ${btoa(`${username}:${password}`)}` } : {};
  }

  async healthy(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/global/health`, { headers: this.authorization, signal: AbortSignal.timeout(env.healthTimeout) });
      const body = (await response.json()) as { healthy?: boolean; version?: string };
      if (!response.ok || !body.healthy) return false;
      this.version = body.version ?? null;
      return true;
    } catch {
      return false;
    }
  }

  // The processes that use the port, from `lsof` like upstream; none if it is not installed.
  private found(): number[] {
    const listed = spawnSync("lsof", [`-ti:${env.openCode.port}`], { encoding: "utf8" });
    return (listed.stdout ?? "").split("\n").filter(Boolean).map(Number).filter((pid) => pid !== process.pid);
  }

  async start(): Promise<void> {
    const { host, password } = env.openCode;
    if (!["127.0.0.1", "localhost"].includes(host) && !password) {
      this.error = `OPENCODE_HOST=${host} exposes the OpenCode server externally but no password is configured. Set OPENCODE_SERVER_PASSWORD env var`;
      console.error(this.error);
      return;
    }
    const found = this.found();
    if (found.length > 0) {
      if (production && (await this.healthy())) {
        console.log(`OpenCode server already running on port ${env.openCode.port}`);
        this.pid = found[0];
        this.error = null;
        return;
      }
      for (const pid of found) process.kill(pid, "SIGKILL");
      await sleep(1000);
    }
    this.spawn();
    const deadline = Date.now() + 30_000;
    while (Date.now() < deadline) {
      if (await this.healthy()) {
        this.error = null;
        return;
      }
      await sleep(500);
    }
    this.error = "Server failed to become healthy after 30s";
  }

  private spawn(): void {
    const state = join(env.workspace, ".opencode/state");
    const { port, host } = env.openCode;
    this.child = spawn("opencode", ["serve", "--port", String(port), "--hostname", host], {
      cwd: env.workspace,
      detached: production,
      stdio: "inherit",
      env: {
        ...process.env,
        XDG_DATA_HOME: state,
        XDG_STATE_HOME: state,
        XDG_CONFIG_HOME: join(env.workspace, ".config"),
        OPENCODE_CONFIG: join(env.workspace, ".config/opencode/opencode.json"),
      },
    });
    this.child.on("error", (error) => {
      this.error = `cannot start opencode: ${error.message}`;
    });
    this.child.on("exit", (code, signal) => {
      this.error = signal ? `Server terminated by signal ${signal}` : `Server exited with code ${code}`;
    });
    this.pid = this.child.pid ?? null;
    console.log(`OpenCode server started with PID ${this.pid}`);
  }

  // Restarts it after the same number of consecutive failures as upstream.
  watch(): void {
    if (!env.openCode.watch) return;
    this.timer = setInterval(async () => {
      this.failures = (await this.healthy()) ? 0 : this.failures + 1;
      if (this.failures < env.openCode.threshold) return;
      this.failures = 0;
      await this.end();
      await this.start();
    }, env.openCode.poll);
  }

  async stop(): Promise<void> {
    clearInterval(this.timer);
    await this.end();
  }

  // Ends the server, also an adopted one: SIGTERM, and SIGKILL after two seconds.
  private async end(): Promise<void> {
    const { pid } = this;
    this.pid = null;
    if (pid === null) return;
    const signal = (name: "SIGTERM" | "SIGKILL" | 0) => {
      try {
        return process.kill(pid, name);
      } catch {
        return false; // It has ended.
      }
    };
    signal("SIGTERM");
    for (let waited = 0; waited < 2000 && signal(0); waited += 50) await sleep(50);
    signal("SIGKILL");
  }

  // Forwards a request with OpenCode's password instead of the browser's credentials.
  async forward(request: Request, path: string): Promise<Response> {
    const headers = new Headers(request.headers);
    for (const name of ["host", "connection", "authorization", "cookie"]) headers.delete(name);
    for (const [name, value] of Object.entries(this.authorization)) headers.set(name, value);
    const body = ["GET", "HEAD"].includes(request.method) ? undefined : await request.arrayBuffer();
    try {
      const response = await fetch(this.url + path, { method: request.method, headers, body });
      const answered = new Headers(response.headers);
      for (const name of ["connection", "content-length", "content-encoding", "transfer-encoding"]) answered.delete(name);
      return new Response(response.body, { status: response.status, headers: answered });
    } catch {
      return Response.json({ error: "Proxy request failed" }, { status: 502 });
    }
  }
}
