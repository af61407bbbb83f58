#!/bin/bash
# Gives all files of a tree one date: date.sh ROOT [SECONDS], of 1980 without SECONDS. So a layer is the same bytes on any
# day, and a new version of one component leaves the layers of the others as they are.
set -euo pipefail
root=$1
seconds=${2:-315532800}

# BuildKit copies what it has of a tree with the same contents, whatever its dates: the date is part of the contents.
mkdir -p "$root/opt/stack/dated"
echo "$seconds" >"$root/opt/stack/dated/$(basename "$root")"
find "$root" -exec touch --no-dereference --date="@$seconds" {} +
