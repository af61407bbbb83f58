#!/bin/bash
# Builds the Manager's pages, which are the same on every architecture: manager-pages.sh SOURCES OUT.
set -euo pipefail
sources=$1
out=$2
export PATH=/pnpm/node_modules/.bin:$PATH
# Check the version that the sources require, instead of letting pnpm download it.
export npm_config_manage_package_manager_versions=false
wanted=$(node -p "require('$sources/package.json').packageManager.split('+')[0]")
test "$wanted" = "pnpm@$(pnpm --version)" || {
	echo "the Manager requires $wanted, image/npm/pnpm has $(pnpm --version)" >&2
	exit 1
}

cd "$sources"
/build/install.sh "pnpm native" pnpm install --frozen-lockfile --ignore-scripts
pnpm --filter frontend build
cp -a frontend/dist "$out"
