#!/bin/bash
# Unpacks Debian packages into a root, without running maintainer scripts: unpack-packages.sh DEBS ROOT.
set -euo pipefail
debs=$1
root=$2

# Scanners look here for packages that dpkg did not install, as in distroless images.
described=$root/var/lib/dpkg/status.d
mkdir -p "$described"
# Check all packages before writing the first file.
for deb in "$debs"/*.deb; do
	dpkg-deb --info "$deb" control >/dev/null
done
for deb in "$debs"/*.deb; do
	# `dpkg-deb --extract` would replace the symlinks of a merged /usr with folders.
	dpkg-deb --fsys-tarfile "$deb" | tar --extract --preserve-permissions --keep-directory-symlink \
		--exclude='./usr/share/doc/*/*' --exclude='./usr/share/man' --exclude='./usr/share/locale' \
		--exclude='./usr/share/info' --exclude='./usr/share/lintian' --directory "$root"
	dpkg-deb --field "$deb" >"$described/$(dpkg-deb --field "$deb" Package)"
done
