// The command that fixes a state, if there is one. The first matching row wins.
const compose = "docker compose exec stack";

const table = [
  { state: "off", says: /=false$/, line: ({ switch: setting }) => `set ${setting}=true in .env, then: docker compose up -d` },
  { state: "off", line: ({ name }) => `${compose} s6-svc -u /run/stack/scan/${name}` },
  { name: "model", says: /SHA-256|not enough space|answers 404|HF_TOKEN/, line: () => "fix what the message says, then: docker compose restart" },
  { says: /signal 4 /, line: () => "the program was built for a newer processor; in a virtual machine, set the processor type to `host`" },
  { says: /ENOSPC|no space left|disk (is )?full/i, line: () => `free space on the disk of /data; show what uses it: ${compose} du -xh --max-depth=2 /data` },
  { says: /signal 9 |out of memory|bad_alloc|failed to allocate/i, line: () => "give the container more memory, or llama.cpp a smaller model or LLAMACPP_CTX_SIZE" },
  { name: "llamacpp", says: /could not load/, line: () => "docker compose logs stack | grep -F '[llamacpp]' shows why; set another model in .env, then: docker compose up -d" },
  { state: "failed", name: "openclaw", says: /config|openclaw\.json|migrat/i, line: () => `${compose} openclaw doctor --fix` },
  { state: "failed", says: /answer|ECONNREFUSED|not ready/, line: ({ site, name }) => `${compose} s6-svc -r /run/stack/scan/${site ? "front" : name}` },
  { state: "failed", line: ({ name }) => `docker compose logs stack | grep -F '[${name}]'` },
];

/** What to type for a service in that state, or null. */
export function hintFor(service, { state, detail }) {
  const row = table.find((row) => {
    const fits = [[row.state, state], [row.name, service.name]].every(([wanted, is]) => wanted === undefined || wanted === is);
    return fits && state !== "up" && (!row.says || row.says.test(detail ?? ""));
  });
  return row?.line(service) ?? null;
}
