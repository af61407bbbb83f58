#!/bin/bash
# Takes out of OpenClaw's packages, in the current folder, what nothing in the image reads: a driver for desktops, which
# a container does not have, and what compilers and debuggers read.
set -euo pipefail
rm -rf node_modules/@trycua/cua-driver-linux-*
find node_modules -type f \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' \) -delete
