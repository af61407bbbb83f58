#!/opt/stack/lib/init
# @generated from templates/start.sh.j2 by `cargo xtask render`; do not edit by hand.
# shellcheck shell=bash
#
# The entrypoint: locks the volume, checks settings, generates secrets, and executes the supervisor. Temporary files are
# in /run/stack, persistent ones in /data.
set -euo pipefail

. /opt/stack/lib/service.sh
. /opt/stack/lib/sandbox.sh

# A custom command: docker run IMAGE bash
if (($# > 0)); then
	name_user 2>/dev/null || true
	exec "$@"
fi

. /opt/stack/lib/volume.sh
private_umask

if (($(id -u) == 0)); then
	echo "[stack] not started: this image does not run as root, and nothing in it needs to; leave --user out" >&2
	exit 77
fi
check_volume secrets kept home logs models llamacpp manager opencode openclaw convex access
lock_volume
share_volume
node /opt/stack/lib/start.mjs
name_user
find_landlock

# Services get all settings with their values, and no secrets.
mapfile -t settings <"$RUNTIME/settings"
export "${settings[@]}"
unset ACCESS_PASSWORD ACCESS_PASSWORD_FILE
unset ACCESS_SECRET ACCESS_SECRET_FILE
unset MISSION_CONTROL_EVENT_TOKEN MISSION_CONTROL_EVENT_TOKEN_FILE
unset METRICS_TOKEN METRICS_TOKEN_FILE
unset CONVEX_INSTANCE_SECRET CONVEX_INSTANCE_SECRET_FILE
unset CONVEX_SELF_HOSTED_ADMIN_KEY CONVEX_SELF_HOSTED_ADMIN_KEY_FILE
unset JWT_PRIVATE_KEY JWT_PRIVATE_KEY_FILE
unset MODEL_API_KEY MODEL_API_KEY_FILE
unset HF_TOKEN HF_TOKEN_FILE
unset LLAMACPP_API_KEY LLAMACPP_API_KEY_FILE
unset OPENCODE_SERVER_PASSWORD OPENCODE_SERVER_PASSWORD_FILE
unset MANAGER_ADMIN_PASSWORD MANAGER_ADMIN_PASSWORD_FILE
unset MANAGER_AUTH_SECRET MANAGER_AUTH_SECRET_FILE
unset OPENCLAW_GATEWAY_TOKEN OPENCLAW_GATEWAY_TOKEN_FILE
unset OPENCLAW_HOOKS_TOKEN OPENCLAW_HOOKS_TOKEN_FILE
# An HTTP proxy must not get the requests between services.
if [ -n "${HTTP_PROXY:-}${HTTPS_PROXY:-}${ALL_PROXY:-}${http_proxy:-}${https_proxy:-}${all_proxy:-}" ]; then
	NO_PROXY=${NO_PROXY:-${no_proxy:-}}
	NO_PROXY=${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1,::1
	export NO_PROXY no_proxy=$NO_PROXY
fi

echo "[stack] settings are valid, services are starting; \`status\` in the container shows their progress"
printf '%s\n' "$$" >"$RUNTIME/pid"
exec s6-svscan "$RUNTIME/scan" </dev/null
