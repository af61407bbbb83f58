# shellcheck shell=bash
# The volume: whether it can be written, and what to type when it cannot. Sourced after service.sh.

# Ends with one error when /data cannot be used.
check_volume() {
	local wrong=() path options
	for path in /data /data/*/ "$SECRETS" "$SECRETS"/*; do
		if [ -e "$path" ] && [ ! -w "$path" ]; then
			wrong+=("${path%/}")
		fi
	done
	if ((${#wrong[@]} == 0)); then
		return
	fi
	options=$(mount_field 6)
	if [[ ,$options, == *,ro,* ]]; then
		echo "[stack] not started: /data is mounted read-only; state is kept there" >&2
		exit 73
	fi
	{
		echo "[stack] not started: uid $(id -u) cannot write ${wrong[*]} (owner: uid $(stat --format %u "${wrong[0]}"))"
		echo "[stack] Type this on the host, and start again:"
		echo "[stack]     sudo chown -R $(outside uid_map "$(id -u)"):$(outside gid_map "$(id -g)") $(host_path)"
	} >&2
	# sysexits.h calls this EX_CANTCREAT.
	exit 73
}

# A field of /data's line in mountinfo: 4 is its path in the file system that it comes from, 6 its options.
mount_field() {
	awk -v field="$1" '$5 == "/data" { found = $field } END { print found }' /proc/self/mountinfo
}

# Where /data lies on the host, as far as it can be told from in here.
host_path() {
	local path
	path=$(mount_field 4)
	# mountinfo writes a space as \040.
	path=$(printf '%b' "${path//\\/\\0}")
	printf '%q\n' "${path:-/path/of/the/volume}"
}

# Which id this one has on the host, where an engine maps them.
outside() {
	awk -v id="$2" '$1 <= id && id < $1 + $3 { print $2 + id - $1; found = 1 } END { if (!found) print id }' "/proc/self/$1"
}

# One container a volume: two would write one database. The lock lives as long as the last process that inherits it.
lock_volume() {
	exec 9</data
	local code=0
	flock --nonblock --conflict-exit-code 99 9 || code=$?
	if ((code == 99)); then
		echo "[stack] not started: another container runs on this volume" >&2
		exit 75
	fi
}
