# shellcheck shell=bash
# Functions for service/run and service/finish, which the supervisor runs for every service.
#
# Files in /run/stack/state/NAME, which is lost with the container:
#   begun    exists while the program runs
#   ready    exists since its check first succeeded
#   note     what it is doing until then
#   why      the last message of the program
#   unable   what it could not do, to report if it exits before it is ready
#   last     how it exited last
#   deaths   time and weight of each exit that may still count
#   failed   exists since it could not stay up
# Files in /run/stack: `stopping` exists once the stop was requested, `exit-code` if a critical service ends the
# container, `pid` is the supervisor's, and NAME/done exists once a oneshot is done.
. /opt/stack/lib/service.sh
. /opt/stack/lib/table.sh

SCAN=$RUNTIME/scan
# Exits count for WINDOW seconds: 1 if the service had been ready for A_WHILE seconds, otherwise 2. At LIMIT the service
# cannot stay up.
WINDOW=300
LIMIT=10
A_WHILE=10
# Seconds: the longest pause before a restart; then the shortest and longest for a service that cannot stay up.
LONGEST_PAUSE=30
SLOW_PAUSE=60
SLOWEST_PAUSE=600

# begin NAME: waits for dependencies and executes the service's program. The first restart is immediate, later ones
# wait.
begin() {
	STATE=$RUNTIME/state/$1
	if [ "${STACK_SERVICE:-}" != "$1" ]; then
		# /proc shows the environment of a process at its start, so start this shell again with the mark.
		STACK_SERVICE=$1 exec "$0"
	fi
	# stderr goes to the service's log too.
	exec 2>&1
	# Until `exec`, s6 signals this shell, which must end its children.
	trap 'kill "$(jobs -p)" 2>/dev/null || true; exit 0' TERM INT QUIT HUP
	# The supervisor itself was killed.
	if [ -e "$STATE/begun" ]; then end_leftovers "$1" 0; fi
	rm -f "$STATE"/{begun,ready,note,why,unable} "$RUNTIME/$1/done"
	row "$1"
	local pause
	pause=$(pause_before)
	if ((pause > 0)); then
		echo "starts again in $pause s"
		# `failed` already shows how it exited.
		if [ -e "$STATE/failed" ]; then note "starts again in $pause s"; else note "starts again in $pause s; it $(<"$STATE/last")"; fi
		sleep "$pause" &
		wait $!
	fi
	if ((${#NEEDS[@]} > 0)); then wait_for "${NEEDS[@]}"; fi
	rm -f "$STATE/note"
	touch "$STATE/begun"
	# In a double fork, so that it is not a child of the program.
	(tell_ready "$1" $$ &)
	exec /opt/stack/run/"$1" 3>&-
}

# Prints the pause in seconds. For a service that cannot stay up, it is as long as that has lasted.
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

# wait_for NAME...: waits until these services are ready.
wait_for() {
	note "waits for $*"
	# s6-svwait fails at once if a service is not supervised yet.
	until s6-svwait -U "${@/#/$SCAN/}" & wait $!; do
		sleep 1 &
		wait $!
	done
}

# tell_ready NAME PID: reports to s6 and `status` that the service is up. The status service restarts hung services;
# this function watches the status service itself.
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

# Prints the sum of the weights of the exits that still count.
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

# ended NAME EXIT-CODE SIGNAL FOLDER GROUP: handles an exit of the service. Exit code 125 tells s6 not to restart it.
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
			# It was up for a while, so earlier failures no longer matter.
			rm -f "$STATE/failed"
		fi
	fi
	rm -f "$STATE"/{begun,ready}
	if [ -e "$RUNTIME/stopping" ]; then
		exit 0
	fi
	# Stopped by hand, with s6-svc -d.
	if [ "$(s6-svstat -o wantedup .)" = false ]; then
		rm -f "$STATE"/{deaths,failed}
		exit 0
	fi
	if [ -s "$STATE/why" ]; then
		# The first line of the program's own message; the log has all of it.
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

# Kills what is left of a service, so that nothing keeps its port or log open: its process group, then processes that
# left the group but still have its name in their environment.
end_leftovers() {
	local name=$1 group=$2
	if ((group > 1)); then
		kill -KILL -- "-$group" 2>/dev/null || true
	fi
	end_marked --line-regexp "STACK_SERVICE=$name"
}

# end_marked OPTION TEXT: kills processes whose environment, as of their start, has a matching variable.
end_marked() {
	local file pid
	while read -r file; do
		pid=${file#/proc/}
		kill -KILL "${pid%/environ}" 2>/dev/null || true
	done < <(grep --files-with-matches --null-data --no-messages "$1" -- "$2" /proc/[0-9]*/environ)
}

# answers PORT PATH CODES SECONDS: whether the port answers with one of the codes. In bash itself, because it runs
# several times a second while everything starts.
answers() {
	local connection version code=
	{ exec {connection}<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 1
	printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$2" "$1" >&"$connection" 2>/dev/null &&
		read -rt "$4" -u "$connection" version code _ || true
	exec {connection}>&-
	[[ " $3 " == *" $code "* && $version == HTTP/* ]]
}

# socket_answers FILE PATH: the same for a unix socket below RUNTIME.
socket_answers() {
	curl --silent --fail --output /dev/null --max-time 3 --unix-socket "$RUNTIME/$1" "http://localhost$2"
}
