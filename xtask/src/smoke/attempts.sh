# Access attempts of an agent: attempts.sh PID OTHER, a process of its own service and one of another. Prints a line for each that succeeds.
try() {
	local name=$1
	shift
	if "$@" >/dev/null 2>&1; then echo "reached: $name"; fi
}
try secrets cat /data/secrets/jwt-private-key
try "Convex's data" ls /data/convex
try "the Manager's database" head -c 1 /data/manager/manager.db
try "OpenCode's database" head -c 1 /data/opencode/.opencode/state/opencode/opencode.db
try "OpenCode's configuration" bash -c ': >>/data/opencode/.config/opencode/opencode.json'
try "OpenCode's temp folder" bash -c ': >>/data/opencode/.tmp/smoke'
try "OpenClaw's temp folder" bash -c ': >>/data/openclaw/tmp/smoke'
try "OpenClaw's configuration" head -c 1 /data/openclaw/openclaw.json
try "OpenClaw's state" ls /data/openclaw/state
try "people's home" bash -c ': >>/data/home/.smoke'
try "the stack's folder" ls /run/stack
try "its settings" cat /run/stack/settings
try "its front" cat /run/stack/front/nginx.conf
try "its supervisor" s6-svc -u /run/stack/scan/convex
try "its own service's environment" cat "/proc/$1/environ"
try "another service's environment" cat "/proc/$2/environ"
try "the supervisor's environment" cat /proc/1/environ
env
