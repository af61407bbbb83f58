#!/bin/bash
# Installs production packages from the lockfile of the current folder: npm-ci.sh ARCH, as in platform.mjs. npm checks
# their integrity, install.sh that none is missing; no package scripts run.
set -euo pipefail
arch=$1
build=$(dirname "$0")

cpu=$(node "$build/cpu.mjs" "$arch")
"$build/install.sh" "npm $arch --prod" npm ci --ignore-scripts --omit=dev --os=linux --cpu="$cpu" --libc=glibc
