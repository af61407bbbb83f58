#!/bin/bash
# @generated from templates/start.sh.j2 by `cargo xtask render`; do not edit by hand.
#
# The entrypoint: checks settings and the volume, makes secrets once, builds the supervisor's folder, and hands over
# to it with `exec`. Everything that ends with the container is in /run/stack, everything that stays in /data.
set -euo pipefail

# A command of one's own instead: docker run IMAGE bash
if (($# > 0)); then
	exec "$@"
fi

. /opt/stack/lib/service.sh
. /opt/stack/lib/settings.sh
. /opt/stack/lib/secrets.sh
. /opt/stack/lib/volume.sh
umask 077

if (($(id -u) == 0)); then
	echo "[stack] not started: this image does not run as root, and nothing in it needs to; leave --user out" >&2
	exit 77
fi

# Settings.
setting address PUBLISH_ADDRESS ''
setting host PUBLIC_HOST 127.0.0.1
setting bool MISSION_CONTROL_ENABLED true
setting port MISSION_CONTROL_PORT 3000
setting origin MISSION_CONTROL_ORIGIN 'http://{PUBLIC_HOST}:{MISSION_CONTROL_PORT}'
setting bool CONVEX_ENABLED true
setting bool CONVEX_SETUP_ENABLED '{CONVEX_ENABLED}'
setting bool CONVEX_DASHBOARD_ENABLED '{CONVEX_ENABLED}'
setting port CONVEX_BACKEND_PORT 3210
setting port CONVEX_SITE_PORT 3211
setting port CONVEX_DASHBOARD_PORT 6791
setting origin CONVEX_CLOUD_ORIGIN 'http://{PUBLIC_HOST}:{CONVEX_BACKEND_PORT}'
setting origin CONVEX_SITE_ORIGIN 'http://127.0.0.1:{CONVEX_SITE_PORT}'
setting path CONVEX_DATA_DIR /data/convex
setting name CONVEX_INSTANCE_NAME mission-control
secret_setting hex64 CONVEX_INSTANCE_SECRET
setting url CONVEX_SELF_HOSTED_URL 'http://127.0.0.1:{CONVEX_BACKEND_PORT}'
secret_setting admin-key CONVEX_SELF_HOSTED_ADMIN_KEY
setting text CONVEX_ALLOW_DOWNGRADE_TO ''
secret_setting pem JWT_PRIVATE_KEY
setting bool LLAMACPP_ENABLED true
setting port LLAMACPP_PORT 8080
setting path LLAMACPP_MODEL ''
setting url LLAMACPP_MODEL_URL ''
setting sha256 LLAMACPP_MODEL_SHA256 ''
setting integer LLAMACPP_CTX_SIZE 32768
setting layers LLAMACPP_GPU_LAYERS auto
secret_setting token LLAMACPP_API_KEY
setting bool OPENCODE_ENABLED true
setting port OPENCODE_PORT 5551
secret_setting text OPENCODE_SERVER_PASSWORD
setting bool MANAGER_ENABLED '{OPENCODE_ENABLED}'
setting port MANAGER_PORT 5003
setting origin MANAGER_ORIGIN 'http://{PUBLIC_HOST}:{MANAGER_PORT}'
setting email MANAGER_ADMIN_EMAIL admin@mission-control.internal
secret_setting password MANAGER_ADMIN_PASSWORD
secret_setting text MANAGER_AUTH_SECRET
setting bool OPENCLAW_ENABLED true
setting port OPENCLAW_PORT 18789
setting origin OPENCLAW_ORIGIN 'http://{PUBLIC_HOST}:{OPENCLAW_PORT}'
secret_setting token OPENCLAW_GATEWAY_TOKEN
secret_setting token OPENCLAW_HOOKS_TOKEN
check_unknown
check_given_key

# A proxy for the way out gets nothing of what the services say to each other.
if [ -n "${HTTP_PROXY:-}${HTTPS_PROXY:-}${ALL_PROXY:-}${http_proxy:-}${https_proxy:-}${all_proxy:-}" ]; then
	NO_PROXY=${NO_PROXY:-${no_proxy:-}}
	NO_PROXY=${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1,::1
	export NO_PROXY no_proxy=$NO_PROXY
fi

# Services.
SWITCHES=(
	[llamacpp]=LLAMACPP_ENABLED
	[manager]=MANAGER_ENABLED
	[opencode]=OPENCODE_ENABLED
	[openclaw]=OPENCLAW_ENABLED
	[convex]=CONVEX_ENABLED
	[convex-setup]=CONVEX_SETUP_ENABLED
	[dashboard]=CONVEX_DASHBOARD_ENABLED
	[mission-control]=MISSION_CONTROL_ENABLED
)
requires manager opencode
requires convex-setup convex
requires dashboard convex
inner_port llamacpp LLAMACPP_PORT 18080
inner_port manager MANAGER_PORT 15003
inner_port opencode OPENCODE_PORT 15551
inner_port openclaw OPENCLAW_PORT 28789
inner_port convex CONVEX_BACKEND_PORT 13210
inner_port convex CONVEX_SITE_PORT 13211
port_of llamacpp LLAMACPP_PORT
port_of manager MANAGER_PORT
port_of opencode OPENCODE_PORT
port_of openclaw OPENCLAW_PORT
port_of convex CONVEX_BACKEND_PORT
port_of convex CONVEX_SITE_PORT
port_of dashboard CONVEX_DASHBOARD_PORT
port_of mission-control MISSION_CONTROL_PORT

# The model: a file, or an address with its digest, or none yet.
if [ -n "$LLAMACPP_MODEL" ] && [ -n "$LLAMACPP_MODEL_URL" ]; then
	problem "LLAMACPP_MODEL and LLAMACPP_MODEL_URL are both set: leave one of them out"
fi
if [ -n "$LLAMACPP_MODEL_URL" ] && [ -z "$LLAMACPP_MODEL_SHA256" ]; then
	problem "LLAMACPP_MODEL_URL is set without LLAMACPP_MODEL_SHA256: what is downloaded is checked, or not downloaded"
fi
if [ -z "$LLAMACPP_MODEL_URL" ] && [ -n "$LLAMACPP_MODEL_SHA256" ]; then
	problem "LLAMACPP_MODEL_SHA256 is set without LLAMACPP_MODEL_URL"
fi
if enabled llamacpp && [ -n "$LLAMACPP_MODEL" ] && [ ! -r "$LLAMACPP_MODEL" ]; then
	problem "LLAMACPP_MODEL=$LLAMACPP_MODEL: there is no file that uid $(id -u) can read; mount one, or copy it into /data/models"
fi

# Published beyond the loopback, browsers need to be told where everything is, and nothing may be open to all.
if [ -n "$PUBLISH_ADDRESS" ] && ! is_loopback "$PUBLISH_ADDRESS"; then
	if is_loopback "$PUBLIC_HOST"; then
		for pair in 'mission-control=MISSION_CONTROL_ORIGIN' 'convex=CONVEX_CLOUD_ORIGIN' 'manager=MANAGER_ORIGIN' 'openclaw=OPENCLAW_ORIGIN'; do
			name=${pair#*=}
			if enabled "${pair%%=*}" && [[ ${!name} == *://"$PUBLIC_HOST"* ]]; then
				problem "PUBLISH_ADDRESS=$PUBLISH_ADDRESS: $name is still ${!name}; set it, or PUBLIC_HOST for all of them, to what browsers use"
			fi
		done
	fi
	if enabled llamacpp && [ -z "${GIVEN[LLAMACPP_API_KEY]:-}" ]; then
		problem "PUBLISH_ADDRESS=$PUBLISH_ADDRESS: llama.cpp would be open to all; set LLAMACPP_API_KEY"
	fi
fi
tell_problems

# The volume.
folders=(secrets home logs models manager opencode openclaw convex)
check_volume "${folders[@]}"
lock_volume
if ! mkdir -p "${folders[@]/#//data/}" "$CONVEX_DATA_DIR"; then
	echo "[stack] not started: a folder of the volume cannot be made (see the line above)" >&2
	exit 73
fi

# What ends with the container: a tmpfs, or a folder of the image that a restart finds as it was.
if ! mkdir -p "$RUNTIME" || ! find "$RUNTIME" -mindepth 1 -delete || ! mkdir -p "$RUNTIME/scan/.s6-svscan" "$RUNTIME/state"; then
	echo "[stack] not started: $RUNTIME cannot be written; with a read-only root it has to be a tmpfs (--tmpfs $RUNTIME)" >&2
	exit 73
fi

# Secrets.
rm -f "$SECRETS"/.new.*
keep_given
generated hex64 CONVEX_INSTANCE_SECRET hex64
generated pem JWT_PRIVATE_KEY jwt
generated text OPENCODE_SERVER_PASSWORD token
generated password MANAGER_ADMIN_PASSWORD token
generated text MANAGER_AUTH_SECRET hex64
generated token OPENCLAW_GATEWAY_TOKEN token
generated token OPENCLAW_HOOKS_TOKEN token
tell_problems
derived jwks "$(secret JWT_PRIVATE_KEY)" make_jwks
if enabled convex && [ -z "${GIVEN[CONVEX_SELF_HOSTED_ADMIN_KEY]:-}" ]; then
	derived convex-self-hosted-admin-key "$CONVEX_INSTANCE_NAME $(secret CONVEX_INSTANCE_SECRET)" make_convex_admin_key
fi

# What `docker exec` needs to know about this start: `status` reads it.
for name in "${!KNOWN[@]}"; do
	if [ "${KNOWN[$name]}" = setting ]; then
		printf '%s=%s\n' "$name" "${!name}"
	fi
done >"$RUNTIME/settings"

# The supervisor's folder. It may be mounted noexec: its scripts are links to those of the image.
# supervise NAME SIGNAL SECONDS: which signal stops it, and when it is killed instead.
supervise() {
	local name=$1 folder=$RUNTIME/scan/$1 from=/opt/stack/services/$1
	mkdir -p "$folder/log" "$RUNTIME/state/$name"
	ln -s "$from/run" "$from/finish" "$from/data" "$folder/"
	ln -s "$from/log/run" "$folder/log/run"
	printf '3\n' >"$folder/notification-fd"
	printf '%s\n' "$2" >"$folder/down-signal"
	printf '%s\n' "$(($3 * 1000))" >"$folder/timeout-kill"
	if ! enabled "$name"; then
		: >"$folder/down"
	fi
}
supervise llamacpp SIGTERM 3
supervise manager SIGTERM 3
supervise opencode SIGTERM 3
supervise openclaw SIGTERM 5
supervise convex SIGINT 8
supervise convex-setup SIGTERM 3
supervise dashboard SIGTERM 2
supervise mission-control SIGTERM 2
supervise status SIGTERM 2
ln -s /opt/stack/svscan/finish /opt/stack/svscan/crash "$RUNTIME/scan/.s6-svscan/"
for signal in SIGTERM SIGINT SIGQUIT; do
	ln -s /opt/stack/lib/stop "$RUNTIME/scan/.s6-svscan/$signal"
done

echo "[stack] settings are right, services are starting; \`status\` in the container tells how far they are"
printf '%s\n' "$$" >"$RUNTIME/pid"
exec s6-svscan "$RUNTIME/scan" </dev/null
