#!/bin/bash
# Installs what runs, for the image's architecture, from the lockfile of the current folder: npm-ci.sh ARCH.
# npm checks the integrity of every package, and we that none is missing; no package's own script runs.
set -euo pipefail
arch=$1

/build/install.sh "npm $arch --prod" npm ci --ignore-scripts --omit=dev --os=linux --cpu="${arch/amd64/x64}" --libc=glibc
