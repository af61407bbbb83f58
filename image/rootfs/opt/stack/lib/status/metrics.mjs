// Formats the status for Prometheus: text exposition format 0.0.4.
export const TYPE = "text/plain; version=0.0.4; charset=utf-8";

const STATES = ["up", "starting", "failed", "off", "not configured"];

const escapeHelp = (text) => text.replace(/\\/g, "\\\\").replace(/\n/g, "\\n");
const escapeLabel = (text) => escapeHelp(text).replace(/"/g, '\\"');

/** One metric with its samples `[labels, value]`. Samples without a value, and a metric without samples, are omitted. */
function metric(name, type, help, samples) {
  const lines = samples
    .filter(([, value]) => Number.isFinite(value))
    .map(([labels, value]) => {
      const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(String(text))}"`);
      return `${name}${pairs.length > 0 ? `{${pairs.join(",")}}` : ""} ${value}\n`;
    });
  return lines.length > 0 ? `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n${lines.join("")}` : "";
}

/** llama.cpp's own metrics, labelled with the model. */
function ofLlama(samples) {
  const names = [...new Set(samples.map(({ name }) => name))];
  return names.map((name) => {
    const own = samples.filter((sample) => sample.name === name);
    return metric(name, own[0].type, own[0].help ?? name, own.map(({ model, value }) => [{ model }, value]));
  });
}

/** Formats the result of `describeAll`. */
export function asMetrics({ healthy, services, machine, samples }) {
  const each = (valueOf) => services.map((service) => [{ service: service.name }, valueOf(service) ?? undefined]);
  const endpoints = services.flatMap(({ name, endpoints }) => endpoints.map((endpoint) => ({ service: name, ...endpoint })));
  const { memory, disk, tokensPerSecond } = machine;
  return [
    metric("stack_healthy", "gauge", "1 if all enabled services are up.", [[{}, healthy ? 1 : 0]]),
    metric("stack_service_up", "gauge", "1 if the service is up.", each(({ state }) => (state === "up" ? 1 : 0))),
    metric("stack_service_state", "gauge", "1 for the state that the service is in, 0 for the others.",
      services.flatMap(({ name, state }) => STATES.map((one) => [{ service: name, state: one }, state === one ? 1 : 0]))),
    metric("stack_service_info", "gauge", "Always 1; the labels contain the version that runs.",
      services.map(({ name, version, standIn }) => [{ service: name, version: version ?? "", stand_in: standIn }, 1])),
    metric("stack_service_restarts_total", "counter", "Times that the service exited by itself since the container started.", each(({ restarts }) => restarts)),
    metric("stack_service_uptime_seconds", "gauge", "Seconds since the service was started.", each(({ seconds }) => seconds)),
    metric("stack_service_memory_bytes", "gauge", "Resident memory of the service's processes.", each(({ memory }) => memory)),
    metric("stack_service_disk_bytes", "gauge", "Size of the service's folders below /data, measured every ten minutes.", each(({ disk }) => disk)),
    metric("stack_check_seconds", "gauge", "Response time of the service's health check.",
      endpoints.map(({ service, port, milliseconds }) => [{ service, port: port ?? "" }, milliseconds / 1000])),
    metric("stack_memory_bytes", "gauge", "Memory of the container, without cached files.", [[{}, memory?.used]]),
    metric("stack_memory_limit_bytes", "gauge", "Memory limit of the container, if there is one.", [[{}, memory?.limit ?? undefined]]),
    metric("stack_memory_kills_total", "counter", "Processes that the kernel killed because memory ran out.", [[{}, memory?.kills]]),
    metric("stack_disk_bytes", "gauge", "Size of the disk of /data.", [[{}, disk.total]]),
    metric("stack_disk_free_bytes", "gauge", "Free space on the disk of /data.", [[{}, disk.free]]),
    metric("stack_answer_tokens_per_second", "gauge", "Speed of llama.cpp's last answers.", [[{}, tokensPerSecond ?? undefined]]),
    ...ofLlama(samples),
  ].join("");
}
