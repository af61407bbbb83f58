#!/bin/bash
# Assembles OpenCode Manager: manager.sh SOURCES OUT ARCH. SOURCES contains its built pages; OUT is the folder to run it
# in.
set -euo pipefail
sources=$1
out=$2
arch=$3
export PATH=/pnpm/node_modules/.bin:$PATH
export npm_config_manage_package_manager_versions=false

cd "$sources"
# The backend's sources, which Bun runs, its production dependencies, and the pages.
mkdir -p "$out/frontend"
cp -a package.json pnpm-workspace.yaml pnpm-lock.yaml "$out"/
cp -a shared backend "$out"/
cp -a frontend/package.json "$out/frontend"/
cp -a frontend/dist "$out/frontend/dist"
find "$out" -name node_modules -prune -exec rm -rf {} +
cd "$out"
cpu=$(node /build/cpu.mjs "$arch")
/build/install.sh "pnpm $arch --prod backend shared" \
	pnpm install --frozen-lockfile --ignore-scripts --prod --os=linux --cpu="$cpu" --libc=glibc \
	--filter backend --filter @opencode-manager/shared
# pnpm records the time of its run, but builds must be reproducible.
find "$out" -path '*/node_modules/.modules.yaml' -delete
find "$out" -path '*/node_modules/.pnpm-workspace-state*.json' -delete
