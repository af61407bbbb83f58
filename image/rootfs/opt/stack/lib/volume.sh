# shellcheck shell=bash
# Checks and locks the volume. Sourced after service.sh.

# check_volume FOLDER...: ends with one error if /data or one of these folders cannot be written. Other folders, such as
# lost+found, are ignored.
check_volume() {
	local wrong=() path
	for path in /data "${@/#/\/data\/}" "$SECRETS"/*; do
		if [ -e "$path" ] && [ ! -w "$path" ]; then
			wrong+=("$path")
		fi
	done
	if ((${#wrong[@]} == 0)); then
		if [ -z "$(mount_field /data 5)" ]; then
			echo "[stack] WARNING: nothing is mounted on /data: all data and keys are lost when the container is removed." >&2
			echo "[stack] WARNING: give it a volume (-v NAME:/data) before you use it." >&2
		fi
		return
	fi
	if [ -z "$(mount_field /data 5)" ] && [[ ,$(mount_field / 6), == *,ro,* ]]; then
		echo "[stack] not started: nothing is mounted on /data, and the root is read-only; give it a volume (-v NAME:/data)"
	elif [[ ,$(mount_field /data 6), == *,ro,* ]]; then
		echo "[stack] not started: /data is mounted read-only, but state is kept there"
	else
		echo "[stack] not started: uid $(id -u) cannot write ${wrong[*]} (owner: uid $(stat --format %u "${wrong[0]}"))"
		if [ -n "${KUBERNETES_SERVICE_HOST:-}" ]; then
			echo "[stack] Give the pod an fsGroup in its securityContext: Kubernetes then makes the volume writable for that group"
		elif [ -e /run/.containerenv ]; then
			echo "[stack] Add U to the options of the volume (--volume NAME:/data:U): Podman then changes its owner to this user"
		else
			echo "[stack] Type this on the host, and start again:"
			echo "[stack]     $(remedy)"
		fi
	fi >&2
	# sysexits.h calls this EX_CANTCREAT.
	exit 73
}

# Prints the command that makes this user the owner of the volume.
remedy() {
	local path file container
	path=$(mount_field /data 4)
	file=$(mount_field /etc/hostname 4)
	container=$(basename "${file%/hostname}")
	container=${container:0:12}
	# mountinfo has paths relative to their file system. They are paths of the host if that is also the engine's file
	# system and the engine is not at its top; otherwise the same path might be another folder.
	if [ "$path" != / ] && [[ $file != /containers/* ]] &&
		[ "$(mount_field /data 3)" = "$(mount_field /etc/hostname 3)" ]; then
		# mountinfo writes a space as \040.
		path=$(printf '%b' "${path//\\/\\0}")
		printf 'sudo chown -R %s:%s %q\n' "$(outside uid_map "$(id -u)")" "$(outside gid_map "$(id -g)")" "$path"
	else
		# shellcheck disable=SC2016 # the host's shell expands it
		printf 'docker run --rm --user 0 --volumes-from %s --entrypoint chown "$(docker inspect -f {{.Image}} %s)" -R %s:%s /data\n' \
			"${container:-CONTAINER}" "${container:-CONTAINER}" "$(id -u)" "$(id -g)"
	fi
}

# mount_field MOUNT N: a field of its line in mountinfo: 3 is the device, 4 the path in the file system, 6 the options.
mount_field() {
	awk -v mount="$1" -v field="$2" '$5 == mount { found = $field } END { print found }' /proc/self/mountinfo
}

# outside MAP ID: the id on the host, if the engine maps ids.
outside() {
	awk -v id="$2" '$1 <= id && id < $1 + $3 { print $2 + id - $1; found = 1 } END { if (!found) print id }' "/proc/self/$1"
}

# lock_volume [SECONDS]: locks the volume, waiting that long, because two containers would write to the same database.
# The lock lasts until the last process that inherits it ends.
lock_volume() {
	exec 9</data
	local code=0
	flock --wait "${1:-0}" --conflict-exit-code 99 9 || code=$?
	if ((code == 99)); then
		echo "[stack] not started: another container runs on this volume" >&2
		exit 75
	fi
}

# alone: makes sure that neither another container nor a second restore or rollback changes the volume meanwhile.
alone() {
	private_umask
	mkdir -p /data/kept
	if [ ! -e "$RUNTIME/pid" ]; then lock_volume 10; fi
	exec 8</data/kept
	flock --nonblock 8 || die "another restore or rollback is running"
}

# private_umask: new files are private, except that group 0 shares them; see share_volume.
private_umask() {
	if (($(id -g) == 0)); then umask 007; else umask 077; fi
}

# share_volume: in group 0, gives the group the owner's permissions, because OpenShift may use another uid next time.
# ssh and gpg refuse keys that a group can read, so these stay private.
share_volume() {
	if (($(id -g) != 0)); then return; fi
	find /data -xdev \( -name .ssh -o -name .gnupg -o -name .restore \) -prune -o -user "$(id -u)" ! -type l -exec chmod g=u {} + 2>/dev/null || true
}
