# shellcheck shell=bash
# @generated from templates/rootfs/opt/stack/lib/table.sh.j2 by `cargo xtask render`; do not edit by hand.
# The service table for the supervisor's scripts. Sourced by supervise.sh.

# row SERVICE: sets CRITICAL (true or false), NEEDS (services to wait for) and HUNG_AFTER (seconds).
row() {
	case $1 in
	model) CRITICAL=false NEEDS=() HUNG_AFTER=60 ;;
	llamacpp) CRITICAL=false NEEDS=(model) HUNG_AFTER=60 ;;
	manager) CRITICAL=false NEEDS=(opencode) HUNG_AFTER=60 ;;
	opencode) CRITICAL=false NEEDS=() HUNG_AFTER=60 ;;
	openclaw) CRITICAL=false NEEDS=() HUNG_AFTER=60 ;;
	convex) CRITICAL=true NEEDS=() HUNG_AFTER=60 ;;
	convex-setup) CRITICAL=false NEEDS=(convex) HUNG_AFTER=60 ;;
	front) CRITICAL=true NEEDS=() HUNG_AFTER=60 ;;
	status) CRITICAL=false NEEDS=() HUNG_AFTER=30 ;;
	esac
}

# is_up SERVICE: whether its health check succeeds.
is_up() {
	case $1 in
	model)
		test -e "$RUNTIME"/model/done
		;;
	llamacpp)
		answers 18080 /health 200 3
		;;
	manager)
		answers 15003 /api/health '200 401 403' 3
		;;
	opencode)
		answers 15551 /global/health '200 401' 2
		;;
	openclaw)
		answers 28789 /readyz 200 3
		;;
	convex)
		answers 13210 /version 200 3 &&
		answers 13211 / '200 404' 3
		;;
	convex-setup)
		test -e "$RUNTIME"/convex-setup/done
		;;
	front)
		socket_answers front/alive.sock /
		;;
	status)
		socket_answers status/http.sock /_stack/alive
		;;
	esac
}
