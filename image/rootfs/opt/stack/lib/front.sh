# shellcheck shell=bash
# What the web fronts share. Sourced after service.sh.

# 1 when nobody but this machine's user can be on the other side: ports are published on the loopback, and no
# public origin says that a proxy passes others on. What needs no password hangs on this.
only_local() {
	if [[ -n ${PUBLISH_ADDRESS:-} ]] && is_loopback "$PUBLISH_ADDRESS" &&
		is_loopback "$(host_of "$CONVEX_CLOUD_ORIGIN")" && is_loopback "$(host_of "$MISSION_CONTROL_ORIGIN")"; then
		printf 1
	else
		printf 0
	fi
}

# Address from which the host's own requests reach a published port: the container's gateway.
gateway_address() {
	local gateway
	gateway=$(awk '$2 == "00000000" && $3 != "00000000" { print $3; exit }' /proc/net/route)
	if [[ -n $gateway ]]; then
		printf '%d.%d.%d.%d' "0x${gateway:6:2}" "0x${gateway:4:2}" "0x${gateway:2:2}" "0x${gateway:0:2}"
	else
		printf '127.0.0.1'
	fi
}

# Puts the variable NAME where a file says @NAME@: fill_in TEMPLATE OUT NAME...
fill_in() {
	local template=$1 out=$2 text name
	# A bracket stands first in a bracket expression; escaped, it would end it.
	local other='[^]A-Za-z0-9._~:/@%+=[-]'
	shift 2
	text=$(<"$template")
	for name in "$@"; do
		# A quote or a semicolon in a value would end the directive that it stands in.
		if [[ ${!name} =~ $other ]]; then die "$name: its value cannot stand in nginx's configuration"; fi
		text=${text//"@$name@"/"${!name}"}
	done
	if [[ $text =~ @([A-Z_]+)@ ]]; then die "$template wants ${BASH_REMATCH[1]}, which it was not given"; fi
	(umask 077 && printf '%s\n' "$text" >"$out")
}

# Makes the configuration of a service's nginx, with its variables: prepare_front SERVICE NAME... All that nginx
# writes goes below the service's folder.
prepare_front() {
	local service=$1
	shift
	mkdir -p "$RUNTIME/$service/temporary"
	fill_in "/opt/stack/nginx/$service.conf" "$RUNTIME/$service/nginx.conf" "$@"
}

# Adds what nginx tells local requests by: prepare_local_request SERVICE PORT.
prepare_local_request() {
	# fill_in reads them by name.
	# shellcheck disable=SC2034
	local PORT=$2 GATEWAY ONLY_LOCAL
	# shellcheck disable=SC2034
	GATEWAY=$(gateway_address)
	# shellcheck disable=SC2034
	ONLY_LOCAL=$(only_local)
	fill_in /opt/stack/nginx/local-request.conf "$RUNTIME/$1/local-request.conf" PORT GATEWAY ONLY_LOCAL
}

# Becomes the nginx of a service: run_front SERVICE.
run_front() {
	exec nginx -e stderr -p "$RUNTIME/$1" -c "$RUNTIME/$1/nginx.conf"
}
