#!/bin/bash
# Installs packages, up to three times if it fails or a package is missing: install.sh "ARGUMENTS OF check-lockfile.mjs"
# COMMAND... Downloads stay in the cache, so that another attempt downloads only the rest.
set -euo pipefail
read -ra check <<<"$1"
shift

for try in 1 2 3; do
	if "$@" && node "$(dirname "$0")/check-lockfile.mjs" "${check[@]}"; then
		exit 0
	fi
	echo "installation $try of 3 failed or is incomplete" >&2
	find . -name node_modules -prune -exec rm -rf {} +
	if ((try < 3)); then sleep $((try * 4)); fi
done
exit 1
