#!/bin/bash
# Changes Mission Control's sources and builds its page in dist, which is the same on every architecture:
# mission-control-page.sh SOURCES.
set -euo pipefail
sources=$1

cd "$sources"
node /build/change-mission-control.mjs .
# The page uses Convex through its own port. The build requires a URL, so replace it by the page's own origin
# afterwards.
placeholder=http://convex-url.placeholder.invalid:3210
/build/install.sh "npm native" npm ci --ignore-scripts
VITE_CONVEX_URL=$placeholder npx --no-install vite build
sed --in-place --regexp-extended "s|[\"'\`]${placeholder}[\"'\`]|location.origin|g" dist/assets/*.js
grep --quiet --fixed-strings location.origin dist/assets/*.js
if grep --recursive --files-with-matches --fixed-strings "$placeholder" dist; then
	echo "the page uses Convex's URL in an unknown way: adapt build/mission-control-page.sh" >&2
	exit 1
fi
# Upstream's style sheet loads a font from a server that would see who opens the page.
find dist -name '*.css' -exec sed --in-place 's|@import *"https://fonts.googleapis.com/[^"]*";||' {} +
