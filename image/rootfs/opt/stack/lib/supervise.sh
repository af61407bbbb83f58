# shellcheck shell=bash
# What the supervisor's scripts of every service share: services/NAME/run and finish call these.
. /opt/stack/lib/service.sh

SCAN=$RUNTIME/scan
# Deaths count for this long. One of a service that had been ready for a while weighs 1, one of a service that did
# not get that far 2; at the limit the service cannot stay up.
WINDOW=300
LIMIT=10
A_WHILE=10
# Longest pause before a restart, and the pause of an optional service that cannot stay up.
LONGEST_PAUSE=30
SLOW_PAUSE=60

# begin NAME: everything before the program itself. The first restart is immediate, later ones wait longer each.
begin() {
	STATE=$RUNTIME/state/$1
	if [ "${STACK_SERVICE:-}" != "$1" ]; then
		# There are none, unless the supervisor itself was killed.
		end_leftovers "$1" 0
		# Others see the environment that a process was started with, so that this shell starts again to bear its mark.
		STACK_SERVICE=$1 exec "$0"
	fi
	# stderr goes to the service's log too.
	exec 2>&1
	# Until `exec`, this shell is what s6 signals; it must not leave its children behind.
	trap 'kill "$(jobs -p)" 2>/dev/null || true; exit 0' TERM INT QUIT HUP
	rm -f "$STATE/ready" "$STATE/note" "$STATE/why" "$RUNTIME/$1/done"
	local weight pause=0
	weight=$(weigh)
	if [ -e "$STATE/failed" ]; then
		pause=$SLOW_PAUSE
	elif ((weight > 2)); then
		pause=$((1 << (weight / 2 - 1)))
		((pause <= LONGEST_PAUSE)) || pause=$LONGEST_PAUSE
	fi
	if ((pause > 0)); then
		echo "starts again in $pause s"
		# What failed for good says why already.
		if [ -e "$STATE/failed" ] || [ ! -e "$STATE/last" ]; then
			note "starts again in $pause s"
		else
			note "starts again in $pause s; it $(<"$STATE/last")"
		fi
		sleep "$pause" &
		wait $!
		rm -f "$STATE/note"
	fi
}

# wait_for NAME...: until those are ready.
wait_for() {
	local name folders=()
	for name in "$@"; do
		folders+=("$SCAN/$name")
	done
	note "waits for $*"
	# It fails at once when one of them has given up for good, and when its supervisor is not there yet.
	until s6-svwait -U "${folders[@]}" & wait $!; do
		sleep 1 &
		wait $!
	done
	rm -f "$STATE/note"
}

# The weight of the deaths that still count; STATE/deaths has a line each: moment, weight.
weigh() {
	local now moment weight sum=0
	printf -v now '%(%s)T' -1
	if [ -e "$STATE/deaths" ]; then
		while read -r moment weight; do
			if ((now - moment < WINDOW)); then sum=$((sum + weight)); fi
		done <"$STATE/deaths"
	fi
	printf '%s\n' "$sum"
}

# ended NAME CRITICAL ONESHOT EXIT-CODE SIGNAL FOLDER GROUP: what follows a death. The exit code tells s6 whether to
# start it again; 125 means no.
ended() {
	local name=$1 critical=$2 oneshot=$3 code=$4 signal=$5 group=$7
	local now since=0 weight=2 reason
	STATE=$RUNTIME/state/$name
	end_leftovers "$name" "$group"
	if [ -e "$RUNTIME/stopping" ]; then
		exit 0
	fi
	# Somebody asked for it, with s6-svc -d.
	if [ "$(s6-svstat -o wantedup .)" = false ]; then
		rm -f "$STATE/deaths" "$STATE/failed"
		exit 0
	fi
	if [ -s "$STATE/why" ]; then
		# What its program said itself; the log has the whole of it.
		reason="ended: $(head --lines=1 "$STATE/why")"
	elif ((code < 256)); then
		reason="ended with exit code $code"
	else
		reason="was killed by signal $signal ($(kill -l "$signal"))"
	fi
	printf -v now '%(%s)T' -1
	if [ -e "$STATE/ready" ]; then
		since=$(stat --format %Y "$STATE/ready")
		if ((now - since >= A_WHILE)); then
			weight=1
			# It was well for a while: what was before is another story.
			rm -f "$STATE/failed"
		fi
	fi
	printf '%s %s\n' "$now" "$weight" >>"$STATE/deaths"
	echo "$reason"
	printf '%s\n' "$reason" >"$STATE/last"
	if [ "$oneshot" = true ] && ((code < 256)); then
		# Its program tried as often as makes sense.
		printf '%s\n' "$reason" >"$STATE/failed"
		exit 125
	fi
	if (($(weigh) < LIMIT)); then
		exit 0
	fi
	if [ "$critical" = true ]; then
		fail "cannot stay up: it $reason; it is critical, so the container ends"
		printf '1\n' >"$RUNTIME/exit-code"
		kill -TERM "$(cat "$RUNTIME/pid")"
		exit 125
	fi
	fail "cannot stay up: it $reason"
	exit 0
}

fail() {
	if [ ! -e "$STATE/failed" ]; then
		echo "$1"
	fi
	printf '%s\n' "$1" >"$STATE/failed"
}

# Nothing of a dead service may keep its port or its log: first its process group, then whoever left the group but
# still carries its name in the environment.
end_leftovers() {
	local name=$1 group=$2
	if ((group > 1)); then
		kill -KILL -- "-$group" 2>/dev/null || true
	fi
	end_marked --line-regexp "STACK_SERVICE=$name"
}

# end_marked OPTION TEXT: kills whose environment, as it was at their start, has a variable that fits.
end_marked() {
	local file pid
	while read -r file; do
		pid=${file#/proc/}
		kill -KILL "${pid%/environ}" 2>/dev/null || true
	done < <(grep --files-with-matches --null-data --no-messages "$1" -- "$2" /proc/[0-9]*/environ)
}

# probe NAME PORT PATH CODES SECONDS: whether somebody answers with one of the codes.
probe() {
	local code
	code=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time "$5" --noproxy '*' \
		"http://127.0.0.1:$2$3") || return 1
	[[ " $4 " == *" $code "* ]]
}

# probe_socket FILE PATH: the same for who listens on a socket below RUNTIME.
probe_socket() {
	curl --silent --fail --output /dev/null --max-time 3 --unix-socket "$RUNTIME/$1" "http://localhost$2"
}

# The last line of a check that succeeded.
ready() {
	touch "$RUNTIME/state/$1/ready"
}
