#!/bin/bash
# Puts OpenCode Manager together: manager.sh SOURCES OUT ARCH. SOURCES holds its built pages; OUT is the folder that it
# runs in.
set -euo pipefail
sources=$1
out=$2
arch=$3
export PATH=/pnpm/node_modules/.bin:$PATH
export npm_config_manage_package_manager_versions=false

cd "$sources"
# What runs: the backend's sources, for Bun, its production dependencies, and the pages.
mkdir -p "$out/frontend"
cp -a package.json pnpm-workspace.yaml pnpm-lock.yaml "$out"/
cp -a shared backend "$out"/
cp -a frontend/package.json "$out/frontend"/
cp -a frontend/dist "$out/frontend/dist"
find "$out" -name node_modules -prune -exec rm -rf {} +
cd "$out"
/build/install.sh "pnpm $arch --prod backend shared" \
	pnpm install --frozen-lockfile --ignore-scripts --prod --os=linux --cpu="${arch/amd64/x64}" --libc=glibc \
	--filter backend --filter @opencode-manager/shared
# pnpm notes when it ran; two builds of one commit must be the same bytes.
find "$out" -path '*/node_modules/.modules.yaml' -delete
find "$out" -path '*/node_modules/.pnpm-workspace-state*.json' -delete
