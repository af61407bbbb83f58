#!/bin/bash
# Changes Mission Control's sources and builds its page in their dist: mission-control-page.sh SOURCES. It is the same on
# every architecture.
set -euo pipefail
sources=$1

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
