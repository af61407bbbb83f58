#!/bin/bash
# Installs packages, and again where one is missing: install.sh "ARGUMENTS OF check-lockfile.mjs" COMMAND...
# What was downloaded stays in the cache, so that another try asks for the rest only.
set -euo pipefail
read -ra check <<<"$1"
shift

for try in 1 2 3; do
	"$@"
	if node "$(dirname "$0")/check-lockfile.mjs" "${check[@]}"; then
		exit 0
	fi
	echo "installation $try of 3 is not whole" >&2
	find . -name node_modules -prune -exec rm -rf {} +
done
exit 1
