#!/bin/bash
# Builds the Manager's pages: manager-pages.sh SOURCES OUT. They are the same on every architecture.
set -euo pipefail
sources=$1
out=$2
export PATH=/pnpm/node_modules/.bin:$PATH
# The version that the sources name is checked by us, not fetched by pnpm.
export npm_config_manage_package_manager_versions=false
wanted=$(node -p "require('$sources/package.json').packageManager.split('+')[0]")
test "$wanted" = "pnpm@$(pnpm --version)" || {
	echo "the Manager wants $wanted, image/npm/pnpm has $(pnpm --version)" >&2
	exit 1
}

cd "$sources"
/build/install.sh "pnpm native" pnpm install --frozen-lockfile --ignore-scripts
pnpm --filter frontend build
cp -a frontend/dist "$out"
