#!/bin/bash
# Creates the certificate bundle, like the maintainer script of ca-certificates: certificates.sh ROOT.
set -euo pipefail
root=$1

mkdir -p "$root/etc/ssl/certs"
find "$root/usr/share/ca-certificates" -name '*.crt' -print0 | LC_ALL=C sort -z |
	xargs -0 cat >"$root/etc/ssl/certs/ca-certificates.crt"
test -s "$root/etc/ssl/certs/ca-certificates.crt"
