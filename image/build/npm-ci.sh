#!/bin/bash
# Installs what runs, for the image's architecture, from the lockfile of the current folder: npm-ci.sh ARCH.
# npm checks the integrity of every package; no package's own script runs.
set -euo pipefail
arch=$1

npm ci --ignore-scripts --omit=dev --os=linux --cpu="${arch/amd64/x64}" --libc=glibc
