// Ends a service's program with the reason, as `die` of service.sh does: `status` shows its first line too.
import { writeFileSync } from "node:fs";

export function fail(message) {
  console.error(message);
  const { STACK_SERVICE } = process.env;
  if (STACK_SERVICE) {
    try {
      writeFileSync(`/run/stack/state/${STACK_SERVICE}/why`, `${message}\n`);
    } catch {
      // Then only the log has it.
    }
  }
  process.exit(1);
}
