# shellcheck shell=bash
# What the supervisor's scripts of every service share: service/run and service/finish call these.
#
# /run/stack/state/NAME holds what is known of a service; it ends with the container. `begun` is there while its program
# runs, `ready` since its check first succeeded. `note` says what it is busy with until then. `why` holds the last words
# of its program, `unable` what it could not do when it ends before it is ready, `last` how it ended last, `deaths` the moment and weight of each death that may still count; `failed`
# is there since it could not stay up. Of all services, /run/stack has: `stopping` once the stop was asked for,
# `exit-code` when a critical service ends the container, and `pid`, the supervisor's. A oneshot that is done leaves
# /run/stack/NAME/done.
. /opt/stack/lib/service.sh
. /opt/stack/lib/table.sh

SCAN=$RUNTIME/scan
# Deaths count for this long. One of a service that had been ready for a while weighs 1, one of a service that did
# not get that far 2; at the limit the service cannot stay up.
WINDOW=300
LIMIT=10
A_WHILE=10
# Longest pause before a restart; then the shortest and the longest one of a service that cannot stay up.
LONGEST_PAUSE=30
SLOW_PAUSE=60
SLOWEST_PAUSE=600

# begin NAME: becomes the service's program. The first restart is immediate, later ones wait longer each.
begin() {
	STATE=$RUNTIME/state/$1
	if [ "${STACK_SERVICE:-}" != "$1" ]; then
		# Others see the environment that a process was started with, so that this shell starts again to bear its mark.
		STACK_SERVICE=$1 exec "$0"
	fi
	# stderr goes to the service's log too.
	exec 2>&1
	# Until `exec`, this shell is what s6 signals; it must not leave its children behind.
	trap 'kill "$(jobs -p)" 2>/dev/null || true; exit 0' TERM INT QUIT HUP
	# The supervisor itself was killed.
	if [ -e "$STATE/begun" ]; then end_leftovers "$1" 0; fi
	rm -f "$STATE"/{begun,ready,note,why,unable} "$RUNTIME/$1/done"
	row "$1"
	local pause
	pause=$(pause_before)
	if ((pause > 0)); then
		echo "starts again in $pause s"
		# What failed says why already.
		if [ -e "$STATE/failed" ]; then note "starts again in $pause s"; else note "starts again in $pause s; it $(<"$STATE/last")"; fi
		sleep "$pause" &
		wait $!
	fi
	if ((${#NEEDS[@]} > 0)); then wait_for "${NEEDS[@]}"; fi
	rm -f "$STATE/note"
	touch "$STATE/begun"
	# Twice a child, so that it is none of the program's.
	(tell_ready "$1" $$ &)
	exec /opt/stack/run/"$1" 3>&-
}

# The longer a service cannot stay up, the longer is the pause: as long as it has lasted.
pause_before() {
	local now weight pause=0
	weight=$(weigh)
	if [ -e "$STATE/failed" ]; then
		printf -v now '%(%s)T' -1
		pause=$((now - $(stat --format %Y "$STATE/failed")))
		((pause >= SLOW_PAUSE)) || pause=$SLOW_PAUSE
		((pause <= SLOWEST_PAUSE)) || pause=$SLOWEST_PAUSE
	elif ((weight > 2)); then
		pause=$((1 << (weight / 2 - 1)))
		((pause <= LONGEST_PAUSE)) || pause=$LONGEST_PAUSE
	fi
	printf '%s\n' "$pause"
}

# wait_for NAME...: until those are ready.
wait_for() {
	note "waits for $*"
	# It fails at once when the supervisor of one is not there yet.
	until s6-svwait -U "${@/#/$SCAN/}" & wait $!; do
		sleep 1 &
		wait $!
	done
}

# tell_ready NAME PID: tells s6 and `status` when the service is up. The status service, which restarts those that
# hang, is watched here.
tell_ready() {
	local pause failures=0
	exec {pause}<> <(:)
	trap '' PIPE
	until is_up "$1"; do read -rt 0.25 -u "$pause" || true; done
	touch "$STATE/ready"
	echo >&3
	if [ "$1" != status ]; then return; fi
	exec 3>&-
	while ((failures * 10 < HUNG_AFTER)); do
		read -rt 10 -u "$pause" || true
		if is_up "$1"; then failures=0; else failures=$((failures + 1)); fi
	done
	echo "it has not answered for $HUNG_AFTER s" >"$STATE/why"
	kill -KILL "$2"
}

# The weight of the deaths that still count.
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

# ended NAME EXIT-CODE SIGNAL FOLDER GROUP: what follows a death. The exit code tells s6 whether to start it again; 125
# means no.
ended() {
	local name=$1 code=$2 signal=$3 group=$5
	local now weight=2 reason
	STATE=$RUNTIME/state/$name
	end_leftovers "$name" "$group"
	if [ -e "$STATE/ready" ]; then
		rm -f "$STATE/unable"
		printf -v now '%(%s)T' -1
		if ((now - $(stat --format %Y "$STATE/ready") >= A_WHILE)); then
			weight=1
			# It was well for a while: what was before is another story.
			rm -f "$STATE/failed"
		fi
	fi
	rm -f "$STATE"/{begun,ready}
	if [ -e "$RUNTIME/stopping" ]; then
		exit 0
	fi
	# Somebody asked for it, with s6-svc -d.
	if [ "$(s6-svstat -o wantedup .)" = false ]; then
		rm -f "$STATE"/{deaths,failed}
		exit 0
	fi
	if [ -s "$STATE/why" ]; then
		# What its program said itself; the log has the whole of it.
		reason="ended: $(head --lines=1 "$STATE/why")"
	elif ((code < 256)); then
		reason="ended with exit code $code"
		if [ -s "$STATE/unable" ]; then reason+=": $(<"$STATE/unable")"; fi
	else
		reason="was killed by signal $signal ($(kill -l "$signal"))"
	fi
	printf '%(%s)T %s\n' -1 "$weight" >>"$STATE/deaths"
	echo "$reason"
	printf '%s\n' "$reason" >"$STATE/last"
	if (($(weigh) < LIMIT)); then
		exit 0
	fi
	row "$name"
	if [ ! -e "$STATE/failed" ]; then
		echo "cannot stay up: it $reason"
		touch "$STATE/failed"
	fi
	if [ "$CRITICAL" = true ]; then
		echo "it is critical, so the container ends"
		printf '1\n' >"$RUNTIME/exit-code"
		kill -TERM "$(<"$RUNTIME/pid")"
		exit 125
	fi
	exit 0
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

# answers PORT PATH CODES SECONDS: whether somebody answers with one of the codes. Without a program of its own: it is
# asked several times a second while everything starts.
answers() {
	local connection version code=
	{ exec {connection}<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
	printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$2" "$1" >&"$connection" 2>/dev/null &&
		read -rt "$4" -u "$connection" version code _ || true
	exec {connection}>&-
	[[ " $3 " == *" $code "* && $version == HTTP/* ]]
}

# socket_answers FILE PATH: the same for who listens on a socket below RUNTIME.
socket_answers() {
	curl --silent --fail --output /dev/null --max-time 3 --unix-socket "$RUNTIME/$1" "http://localhost$2"
}
