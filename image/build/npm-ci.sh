#!/bin/bash
# Installs production packages for the image's architecture from the lockfile of the current folder: npm-ci.sh ARCH. npm
# checks their integrity, install.sh that none is missing; no package scripts run.
set -euo pipefail
arch=$1

/build/install.sh "npm $arch --prod" npm ci --ignore-scripts --omit=dev --os=linux --cpu="${arch/amd64/x64}" --libc=glibc
