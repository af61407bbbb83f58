# shellcheck shell=bash
# What every service's program has at hand: `. /opt/stack/lib/service.sh`. Settings are in the environment, each
# under its own name, checked and with its default; secrets are asked for, so that no service sees another's.

# Generated configuration and everything else that ends with the container.
RUNTIME=/run/stack
# What is made once, and moves with the volume.
SECRETS=/data/secrets
readonly RUNTIME SECRETS

# Ends the program with the reason; that of a service is shown by `status` too.
die() {
	printf '%s\n' "$*" >&2
	if [ -n "${STACK_SERVICE:-}" ]; then
		printf '%s\n' "$*" >"$RUNTIME/state/$STACK_SERVICE/why" || true
	fi
	exit 1
}

# Prints a secret by the name of its setting: the one that was given, or else the one that was made.
# Ends with an error when there is neither.
secret() {
	local file
	file=$(secret_file "$1") || die "$1 was neither given nor made"
	cat "$file"
}

# OPENCLAW_GATEWAY_TOKEN is kept as openclaw-gateway-token. A file names it without its value reaching a command
# line.
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

# unable "could not load FILE": is reported with the exit code when the program ends before it is ready.
unable() {
	printf '%s\n' "$*" >"$RUNTIME/state/$STACK_SERVICE/unable"
}

# Says what a service is busy with until it is ready, for the status page: `note "downloading the model, 40 %"`.
note() {
	printf '%s\n' "$*" >"$RUNTIME/state/$STACK_SERVICE/note"
}

# For who asks models: FOUND_MODELS, what the service `model` found (it is waited for no longer than it takes to look
# into a folder), and ENDPOINT_API_KEY: under the setting's name, OpenClaw takes it for that of a provider of its own.
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

# Whether a host name or an address is this machine alone.
is_loopback() {
	[[ $1 =~ ^(localhost|127(\.[0-9]{1,3}){3}|::1|\[::1\])$ ]]
}

# The host of an origin: http://[::1]:3000 gives [::1].
host_of() {
	local rest=${1#*://}
	if [[ $rest == \[* ]]; then
		printf '%s]' "${rest%%]*}"
	else
		printf '%s' "${rest%%[:/]*}"
	fi
}

# An origin, the other spellings of the loopback when it is there (people type localhost or 127.0.0.1), and the same
# under every name of ALLOWED_HOSTS.
spellings_of() {
	local scheme=${1%%://*} host port other
	host=$(host_of "$1")
	port=${1#*://"$host"}
	printf '%s\n' "$1"
	if is_loopback "$host"; then
		for other in localhost 127.0.0.1 '[::1]'; do
			if [[ $other != "$host" ]]; then printf '%s\n' "$scheme://$other$port"; fi
		done
	fi
	for other in ${ALLOWED_HOSTS//,/ }; do printf '%s\n' "$scheme://$other$port"; done
}
