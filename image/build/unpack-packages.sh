#!/bin/bash
# Unpacks Debian packages into a root: unpack-packages.sh DEBS ROOT. No maintainer script runs.
set -euo pipefail
debs=$1
root=$2

# Where scanners look for packages that dpkg did not install, as distroless images have it.
described=$root/var/lib/dpkg/status.d
mkdir -p "$described"
# Every package is opened before the first file is written: a broken one must not leave half a tree.
for deb in "$debs"/*.deb; do
	dpkg-deb --info "$deb" control >/dev/null
done
for deb in "$debs"/*.deb; do
	# Plain `dpkg-deb --extract` would replace the symlinks of a merged /usr by folders.
	dpkg-deb --fsys-tarfile "$deb" | tar --extract --preserve-permissions --keep-directory-symlink \
		--exclude='./usr/share/doc/*/*' --exclude='./usr/share/man' --exclude='./usr/share/locale' \
		--exclude='./usr/share/info' --exclude='./usr/share/lintian' --directory "$root"
	dpkg-deb --field "$deb" >"$described/$(dpkg-deb --field "$deb" Package)"
done
