#!/bin/bash
# Installs those packages of the current folder's lockfile that only one architecture needs, at their paths below OUT:
# native-packages.sh ARCH OUT. The others (`npm-ci.sh any`) are the same on every architecture.
set -euo pipefail
arch=$1
out=$2
build=$(cd "$(dirname "$0")" && pwd)

mkdir -p native "$out/node_modules"
node "$build/native-lock.mjs" "$arch" native >native/paths
(cd native && "$build/npm-ci.sh" "$arch")
while IFS=$'\t' read -r alias path; do
	mkdir -p "$out/$(dirname "$path")"
	mv "native/node_modules/$alias" "$out/$path"
done <native/paths
