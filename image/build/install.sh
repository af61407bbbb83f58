#!/bin/bash
# Installs packages, and again where it fails or one is missing: install.sh "ARGUMENTS OF check-lockfile.mjs" COMMAND...
# What was downloaded stays in the cache, so that another try asks for the rest only.
set -euo pipefail
read -ra check <<<"$1"
shift

for try in 1 2 3; do
	if "$@" && node "$(dirname "$0")/check-lockfile.mjs" "${check[@]}"; then
		exit 0
	fi
	echo "installation $try of 3 failed, or is not whole" >&2
	find . -name node_modules -prune -exec rm -rf {} +
	if ((try < 3)); then sleep $((try * 4)); fi
done
exit 1
