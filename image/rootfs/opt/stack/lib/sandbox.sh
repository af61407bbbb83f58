# shellcheck shell=bash
# Landlock sandboxes for services that run or process untrusted code and text. Landlock needs no privilege;
# each service can access only what stack.toml lists. Sourced after service.sh.
. /opt/stack/lib/reach.sh

# The access rights that this kernel can restrict, written at start; empty without Landlock.
LANDLOCK=$RUNTIME/landlock
SYSTEM=execute,read-file,read-dir
FULL=execute,write-file,read-file,read-dir,remove-dir,remove-file,make-dir,make-reg,make-sock,make-fifo,make-sym,refer,truncate

# name_user: gives the current uid a name, which ssh requires. /etc/passwd and /etc/group of the image are links to
# these files. Podman may have mounted its own files there, with a name for this user.
name_user() {
	local uid gid
	uid=$(id -u) gid=$(id -g)
	if ! install -D --mode=0644 --target-directory="$RUNTIME/etc" /opt/stack/etc/{passwd,group} 2>/dev/null &&
		getent passwd "$uid" >/dev/null; then return; fi
	if ! getent group "$gid" >/dev/null; then echo "user:x:$gid:" >>"$RUNTIME/etc/group"; fi
	if ! getent passwd "$uid" >/dev/null; then
		echo "user:x:$uid:$gid:mission-control:/data/home:/bin/bash" >>"$RUNTIME/etc/passwd"
	fi
}

# find_landlock: finds the largest set of rights that the kernel supports. Without `refer` it refuses all renames
# between folders, without `truncate` it cannot restrict truncation.
find_landlock() {
	local base=${FULL%,refer,truncate},make-char,make-block more
	: >"$LANDLOCK"
	for more in ,refer,truncate ,refer ''; do
		if setpriv --no-new-privs --landlock-access "fs:$base$more" \
			--landlock-rule "path-beneath:$SYSTEM:/" -- /usr/bin/true 2>/dev/null; then
			printf '%s\n' "$base$more" >"$LANDLOCK"
			return
		fi
	done
	echo "[stack] this kernel has no Landlock: services and their agents can access each other's files"
}

# rule RIGHTS PATH: adds a rule with the rights that the kernel supports and that apply to a file or a folder.
RULES=()
rule() {
	local right kept=
	if [ ! -e "$2" ]; then return; fi
	for right in ${1//,/ }; do
		case $right in
		execute | read-file | write-file | truncate) ;;
		*) if [ ! -d "$2" ]; then continue; fi ;;
		esac
		case ,$HANDLED, in *,"$right",*) kept+=,$right ;; esac
	done
	RULES+=(--landlock-rule "path-beneath:${kept#,}:$2")
}

# Rules for all services. In /dev/shm and /dev/mqueue, only names are visible.
system_rules() {
	local path
	for path in /usr /etc /opt /sys "$RUNTIME/etc" "$LANDLOCK"; do rule "$SYSTEM" "$path"; done
	rule read-file,write-file,read-dir,truncate /proc
	rule read-dir /dev
	for path in /dev/*; do
		case $path in /dev/shm | /dev/mqueue) continue ;; esac
		if [ ! -L "$path" ]; then rule read-file,write-file,read-dir,truncate "$path"; fi
	done
}

# behind PROGRAM...: executes the program with the sandbox of RULES.
behind() {
	if [ -n "$HANDLED" ]; then
		exec setpriv --no-new-privs --landlock-access "fs:$HANDLED" "${RULES[@]}" -- "$@"
	else
		exec "$@"
	fi
}

# The service whose sandbox applies: this one, or that of a command.
SERVICE=${STACK_SERVICE:-${STACK_COMMAND:-}}

# inside: whether this script already runs in its service's sandbox.
inside() {
	[ "${STACK_INSIDE:-}" = "$SERVICE" ]
}

# go_to FOLDER: changes to the folder, unless the current one is below it.
go_to() {
	case $PWD/ in "$1"/*) ;; *) cd "$1" ;; esac
}

# confine PROGRAM...: executes the program in its service's sandbox, with a home and a temporary folder there, which is
# emptied for a service. Code that uses files writable by the service must run inside, because links could lead
# anywhere.
confine() {
	local path
	service_rules
	if [ -n "${STACK_SERVICE:-}" ]; then
		# Written by `die`, `fail` and `note`.
		for path in "$RUNTIME/state/$SERVICE"/{why,note}; do
			: >"$path"
			rule write-file,truncate "$path"
		done
	fi
	export HOME TMPDIR SHELL_TMPDIR SHELL=/opt/stack/shell/bash STACK_INSIDE=$SERVICE
	# shellcheck disable=SC2016 # the shell inside expands it
	behind /bin/bash -c '[ -z "${STACK_SERVICE:-}" ] || rm -rf -- "$TMPDIR"
		mkdir -p -- "$HOME" "$SHELL_TMPDIR" && exec "$@"' confine "$@"
}

# Sets HOME, TMPDIR and RULES from the table. FILES are additional paths that a service may read.
FILES=()
service_rules() {
	local path
	HANDLED=$(<"$LANDLOCK") RULES=()
	reach_of "$SERVICE"
	system_rules
	mkdir -p "$RUNTIME/$SERVICE"
	for path in "${REACH[@]}" "$RUNTIME/$SERVICE"; do rule "$FULL" "$path"; done
	for path in "${FILES[@]}"; do rule read-file,read-dir "$path"; done
	if [ -n "$CONTROLS" ]; then
		# Its status file is replaced with each change, so allow the folder.
		rule read-file "$RUNTIME/scan/$CONTROLS/supervise"
		rule write-file "$RUNTIME/scan/$CONTROLS/supervise/control"
	fi
}

# inherit_home: creates a missing home as a copy of /data/home, which all services shared in earlier releases.
inherit_home() {
	(
		service_rules
		if [ -e "$HOME" ]; then exit; fi
		rule "$SYSTEM" /data/home
		# shellcheck disable=SC2016 # the shell inside expands it
		behind /bin/bash -c 'mkdir -p "$0.new" && tar -C /data/home --exclude=./.cache --exclude=./.npm --exclude=./.bun -cf - . |
			tar -C "$0.new" -xf - && mv "$0.new" "$0"' "$HOME"
	) || echo "/data/home could not be copied (see the line above); the home of $SERVICE starts empty"
}

# confine_shell WORD...: executes bash with a stricter sandbox, without the service's own state and runtime folder.
confine_shell() {
	local path
	HANDLED=$(<"$LANDLOCK")
	reach_of "$SERVICE"
	system_rules
	# Read-only, because the service loads libraries and compiled code from there.
	rule "$SYSTEM" "$TMPDIR"
	for path in "$HOME" "$SHELL_TMPDIR" "${SHELL_REACH[@]}"; do
		if [ ! -L "$path" ]; then rule "$FULL" "$path"; fi
	done
	for path in "${SHELL_LISTS[@]}"; do rule read-dir "$path"; done
	export SHELL=/bin/bash TMPDIR=$SHELL_TMPDIR
	unset -v SHELL_TMPDIR
	behind /bin/bash "$@"
}

# within FOLDER... -- PROGRAM...: executes the program, which can access only these folders and the system.
within() {
	if [ ! -e "$LANDLOCK" ]; then
		# The services have not been started in this container.
		LANDLOCK=$(mktemp)
		find_landlock >&2
	fi
	HANDLED=$(<"$LANDLOCK") RULES=()
	system_rules
	while [ "$1" != -- ]; do
		rule "$FULL" "$1"
		shift
	done
	shift
	behind "$@"
}
