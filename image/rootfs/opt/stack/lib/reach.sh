# shellcheck shell=bash
# @generated from templates/rootfs/opt/stack/lib/reach.sh.j2 by `cargo xtask render`; do not edit by hand.
# What each sandboxed service can access besides the system, for sandbox.sh.

# reach_of SERVICE: sets HOME, TMPDIR, REACH, CONTROLS (a service that it may start and stop), and for its agents'
# shells SHELL_TMPDIR, SHELL_REACH, and SHELL_LISTS, in which they see names only.
reach_of() {
	case $1 in
	model)
		HOME=/data/models/.stack TMPDIR=/data/models/.stack/tmp CONTROLS=''
		REACH=(/data/models)
		SHELL_TMPDIR=/data/models/.stack/tmp
		SHELL_REACH=()
		SHELL_LISTS=()
		;;
	llamacpp)
		HOME=/data/llamacpp TMPDIR=/data/llamacpp/tmp CONTROLS=''
		REACH=(/data/llamacpp)
		SHELL_TMPDIR=/data/llamacpp/tmp
		SHELL_REACH=()
		SHELL_LISTS=()
		;;
	manager)
		HOME=/data/opencode/.home TMPDIR=/data/manager/tmp CONTROLS=opencode
		REACH=(/data/manager /data/opencode)
		SHELL_TMPDIR=/data/manager/tmp
		SHELL_REACH=()
		SHELL_LISTS=()
		;;
	opencode)
		HOME=/data/opencode/.home TMPDIR=/data/opencode/.tmp CONTROLS=''
		REACH=(/data/opencode)
		SHELL_TMPDIR=/data/opencode/.tmp/opencode
		SHELL_REACH=(/data/opencode/* /data/opencode/.opencode/state/opencode/worktree /data/opencode/.opencode/state/opencode/tool-output)
		SHELL_LISTS=(/data/opencode)
		;;
	openclaw)
		HOME=/data/openclaw/home TMPDIR=/data/openclaw/tmp CONTROLS=''
		REACH=(/data/openclaw /tmp /dev/shm)
		SHELL_TMPDIR=/data/openclaw/tmp/shell
		SHELL_REACH=(/data/openclaw/workspace* /data/openclaw/media /data/openclaw/skills /tmp /dev/shm)
		SHELL_LISTS=()
		;;
	*) die "$1 has no sandbox in stack.toml" ;;
	esac
}
