#!/bin/bash
# Installs production packages from the lockfile of the current folder: npm-ci.sh ARCH, as in platform.mjs. npm checks
# their integrity, install.sh that none is missing; no package scripts run.
set -euo pipefail
arch=$1

case $arch in
amd64) cpu=x64 ;;
native) cpu=$(node --print process.arch) ;;
any) cpu=none ;;
*) cpu=$arch ;;
esac
"$(dirname "$0")/install.sh" "npm $arch --prod" npm ci --ignore-scripts --omit=dev --os=linux --cpu="$cpu" --libc=glibc
