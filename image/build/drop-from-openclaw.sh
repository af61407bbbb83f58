#!/bin/bash
# Removes unused files of OpenClaw's packages in the current folder: a driver for desktops, type declarations, source
# maps.
set -euo pipefail
rm -rf node_modules/@trycua/cua-driver-linux-*
# OpenClaw runs TypeScript's compiler, which needs its own declarations.
find node_modules -type f ! -path 'node_modules/typescript/*' \( -name '*.d.ts' -o -name '*.d.mts' -o -name '*.d.cts' -o -name '*.map' \) -delete
