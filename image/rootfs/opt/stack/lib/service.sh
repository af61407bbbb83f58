# shellcheck shell=bash
# Functions for the scripts of services: `. /opt/stack/lib/service.sh`. Validated settings with their defaults are in
# the environment. Secrets are read by name, so that no service has those of another one.

# Generated configuration and everything else that is lost with the container.
RUNTIME=/run/stack
# Generated secrets, which move with the volume.
SECRETS=/data/secrets
readonly RUNTIME SECRETS

# Ends the program with a message; `status` shows that of a service too.
die() {
	printf '%s\n' "$*" >&2
	if [ -n "${STACK_SERVICE:-}" ]; then
		printf '%s\n' "$*" >"$RUNTIME/state/$STACK_SERVICE/why" || true
	fi
	exit 1
}

# Prints a secret by the name of its setting: the one that was set, or the generated one. Fails if there is neither.
secret() {
	local file
	file=$(secret_file "$1") || die "$1 is neither set nor generated"
	cat "$file"
}

# Prints the file of a secret: openclaw-gateway-token for OPENCLAW_GATEWAY_TOKEN.
secret_file() {
	local name=${1,,} folder
	name=${name//_/-}
	for folder in "$RUNTIME/secrets" "$SECRETS"; do
		if [ -f "$folder/$name" ]; then
			printf '%s\n' "$folder/$name"
			return 0
		fi
	done
	return 1
}

# unable "could not load FILE": a message to report with the exit code if the program exits before it is ready.
unable() {
	printf '%s\n' "$*" >"$RUNTIME/state/$STACK_SERVICE/unable"
}

# note "downloading the model, 40 %": what a service is doing until it is ready, for the status page.
note() {
	printf '%s\n' "$*" >"$RUNTIME/state/$STACK_SERVICE/note"
}

# Exports variables for clients of models: FOUND_MODELS, the result of the service `model` (waits up to 2 s for it), and
# ENDPOINT_API_KEY, which has another name than its setting because OpenClaw would use MODEL_API_KEY for its own
# providers.
name_models() {
	local tries found=$RUNTIME/model/state.json
	ENDPOINT_API_KEY=$(secret_file MODEL_API_KEY >/dev/null && secret MODEL_API_KEY || echo none)
	FOUND_MODELS=
	export ENDPOINT_API_KEY FOUND_MODELS
	for ((tries = 0; tries < 20; tries++)); do
		if [[ -e $found ]]; then FOUND_MODELS=$(<"$found"); fi
		if [[ -e $found || $LLAMACPP_ENABLED == false || -s $RUNTIME/state/model/note ]]; then return; fi
		sleep 0.1
	done
}

# Prints the host of an origin: [::1] for http://[::1]:3000.
host_of() {
	local rest=${1#*://}
	if [[ $rest == \[* ]]; then
		printf '%s]' "${rest%%]*}"
	else
		printf '%s' "${rest%%[:/]*}"
	fi
}

# Prints an origin, the same for the other loopback names if it has one, and for every name of ALLOWED_HOSTS.
spellings_of() {
	local scheme=${1%%://*} host port other
	host=$(host_of "$1")
	port=${1#*://"$host"}
	printf '%s\n' "$1"
	if [[ $host =~ ^(localhost|127(\.[0-9]{1,3}){3}|\[::1\])$ ]]; then
		for other in localhost 127.0.0.1 '[::1]'; do
			if [[ $other != "$host" ]]; then printf '%s\n' "$scheme://$other$port"; fi
		done
	fi
	for other in ${ALLOWED_HOSTS//,/ }; do printf '%s\n' "$scheme://$other$port"; done
}
