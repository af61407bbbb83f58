#!/bin/bash
# Builds Mission Control: mission-control.sh SOURCES OUT ARCH. OUT/dist is the page, OUT/push what pushes its
# functions to Convex.
set -euo pipefail
sources=$1
out=$2
arch=$3

cd "$sources"
node /build/change-mission-control.mjs .
# The page reaches Convex through the port that it comes from: its build wants an address, whose place the page's own
# takes.
placeholder=http://convex-url.placeholder.invalid:3210
/build/install.sh "npm native" npm ci --ignore-scripts
VITE_CONVEX_URL=$placeholder npx --no-install vite build
sed --in-place --regexp-extended "s|[\"'\`]${placeholder}[\"'\`]|location.origin|g" dist/assets/*.js
grep --quiet --fixed-strings location.origin dist/assets/*.js
if grep --recursive --files-with-matches --fixed-strings "$placeholder" dist; then
	echo "the page names Convex's address in a way that this build does not know" >&2
	exit 1
fi
# Upstream's style sheet fetches a font, by which its server would learn who opens the page and when.
find dist -name '*.css' -exec sed --in-place 's|@import *"https://fonts.googleapis.com/[^"]*";||' {} +
mkdir -p "$out/push"
mv dist "$out/dist"

# Convex's command line in the version of their lockfile, with the esbuild of the image's architecture.
rm -rf node_modules
/build/npm-ci.sh "$arch"
node /build/keep-packages.mjs node_modules convex @convex-dev/auth
cp -a package.json convex node_modules "$out/push"/
test -e "$out/push/node_modules/convex/bin/main.js"
