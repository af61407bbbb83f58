// Ends a service's program with a message, like `die` in service.sh. `status` shows its first line too.
import { writeFileSync } from "node:fs";

export function fail(message) {
  console.error(message);
  const { STACK_SERVICE } = process.env;
  if (STACK_SERVICE) {
    try {
      writeFileSync(`/run/stack/state/${STACK_SERVICE}/why`, `${message}\n`);
    } catch {
      // The log has it anyway.
    }
  }
  process.exit(1);
}
