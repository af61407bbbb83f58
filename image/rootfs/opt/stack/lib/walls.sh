# shellcheck shell=bash
# Walls around services that run other people's code or read their words: Landlock, which needs no privilege, lets
# each reach what stack.toml gives it and nothing else. Sourced after service.sh.
. /opt/stack/lib/reach.sh

# What this kernel can refuse, found once at start; empty when it has no Landlock.
LANDLOCK=$RUNTIME/landlock
SYSTEM=execute,read-file,read-dir
FULL=execute,write-file,read-file,read-dir,remove-dir,remove-file,make-dir,make-reg,make-sock,make-fifo,make-sym,refer,truncate

# name_user: whoever runs this gets a name; ssh refuses a user without one. The image's /etc/passwd and /etc/group are
# links to these files. Podman may have mounted its own there, with a name for this user.
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

# find_landlock: the newest set of rights that the kernel takes. Without `refer` it refuses renames between folders,
# without `truncate` it cannot refuse truncation.
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
	echo "[stack] this kernel has no Landlock: services and their agents are not kept from each other's files"
}

# rule RIGHTS PATH: those of the rights that the kernel knows, and that fit a file or a folder.
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

# What everybody needs. Of /dev/shm names are seen, as of all in /dev: what programs keep there is theirs.
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

# Runs a program behind what RULES says: behind exec PROGRAM..., or behind PROGRAM...
behind() {
	local before=()
	if [ "$1" = exec ]; then
		before=(exec)
		shift
	fi
	if [ -n "$HANDLED" ]; then
		"${before[@]}" setpriv --no-new-privs --landlock-access "fs:$HANDLED" "${RULES[@]}" -- "$@"
	else
		"${before[@]}" "$@"
	fi
}

# Whose walls these are: those of a service, or of a command in its surroundings.
SERVICE=${STACK_SERVICE:-${STACK_COMMAND:-}}

# inside: whether this script runs behind its service's walls already.
inside() {
	[ "${STACK_INSIDE:-}" = "$SERVICE" ]
}

# go_to FOLDER: there, unless a command was called from a folder below it.
go_to() {
	case $PWD/ in "$1"/*) ;; *) cd "$1" ;; esac
}

# confine PROGRAM...: becomes the program behind its service's walls, with a home and a temp folder there, which a
# service finds empty.
# Whatever touches files that the service can write belongs inside: links in them could lead anywhere.
confine() {
	local path
	service_rules
	if [ -n "${STACK_SERVICE:-}" ]; then
		# What `die`, `fail` and `note` write.
		for path in "$RUNTIME/state/$SERVICE"/{why,note}; do
			: >"$path"
			rule write-file,truncate "$path"
		done
	fi
	export HOME TMPDIR SHELL_TMPDIR SHELL=/opt/stack/shell/bash STACK_INSIDE=$SERVICE
	# shellcheck disable=SC2016 # the shell inside expands it
	behind exec /bin/bash -c '[ -z "${STACK_SERVICE:-}" ] || rm -rf -- "$TMPDIR"
		mkdir -p -- "$HOME" "$SHELL_TMPDIR" && exec "$@"' confine "$@"
}

# Sets HOME, TMPDIR and RULES from the table. FILES are some more that a service is told to read.
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
		# Its status is another file with each change.
		rule read-file "$RUNTIME/scan/$CONTROLS/supervise"
		rule write-file "$RUNTIME/scan/$CONTROLS/supervise/control"
	fi
}

# inherit_home: a home that does not exist yet begins with what people kept in the one that all services once shared.
inherit_home() {
	(
		service_rules
		if [ -e "$HOME" ]; then exit; fi
		rule "$SYSTEM" /data/home
		# shellcheck disable=SC2016 # the shell inside expands it
		behind /bin/bash -c 'mkdir -p "$0.new" && tar -C /data/home --exclude=./.cache --exclude=./.npm --exclude=./.bun -cf - . |
			tar -C "$0.new" -xf - && mv "$0.new" "$0"' "$HOME"
	) || echo "/data/home could not be copied (see the line above); the home of $SERVICE begins empty"
}

# confine_shell WORD...: becomes bash with less still: neither its service's own state nor its runtime folder.
confine_shell() {
	local path
	HANDLED=$(<"$LANDLOCK")
	reach_of "$SERVICE"
	system_rules
	# The service loads libraries and compiled code from its temp folder.
	rule "$SYSTEM" "$TMPDIR"
	for path in "$HOME" "$SHELL_TMPDIR" "${SHELL_REACH[@]}"; do
		if [ ! -L "$path" ]; then rule "$FULL" "$path"; fi
	done
	for path in "${SHELL_LISTS[@]}"; do rule read-dir "$path"; done
	export SHELL=/bin/bash TMPDIR=$SHELL_TMPDIR
	unset -v SHELL_TMPDIR
	behind exec /bin/bash "$@"
}

# within FOLDER... -- PROGRAM...: becomes the program, which reaches these folders beside the system.
within() {
	if [ ! -e "$LANDLOCK" ]; then
		# Started in the place of the services.
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
	behind exec "$@"
}
