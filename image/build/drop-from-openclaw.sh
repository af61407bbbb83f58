#!/bin/bash
# Takes out of OpenClaw's packages, in the current folder, what nothing in the image reads: a driver for desktops, which
# a container does not have, and what compilers and debuggers read.
set -euo pipefail
rm -rf node_modules/@trycua/cua-driver-linux-*
# OpenClaw compiles with TypeScript, which brings declarations of its own.
find node_modules -type f ! -path 'node_modules/typescript/*' \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' \) -delete
