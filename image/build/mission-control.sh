#!/bin/bash
# Assembles Mission Control: mission-control.sh SOURCES OUT ARCH. OUT/dist is the built page from SOURCES, OUT/push has
# its functions and the Convex CLI.
set -euo pipefail
sources=$1
out=$2
arch=$3

cd "$sources"
mkdir -p "$out/push"
mv dist "$out/dist"

# The Convex CLI of the lockfile's version, with the esbuild of the image's architecture.
rm -rf node_modules
/build/npm-ci.sh "$arch"
node /build/keep-packages.mjs node_modules convex @convex-dev/auth
cp -a package.json convex node_modules "$out/push"/
test -e "$out/push/node_modules/convex/bin/main.js"
