# shellcheck shell=bash
# Secrets are made once and kept in $SECRETS, so that they move with the volume. None is printed, and none stands on
# a command line where its program has another way. Sourced after service.sh and settings.sh.

# Puts standard input into a file of $SECRETS, whole or not at all: it gets its name when its last byte is on the
# disk, so that neither a full disk nor a power cut leaves half a secret.
keep() {
	local file=$SECRETS/$1 new
	new=$(mktemp "$SECRETS/.new.XXXXXX") || cannot_keep "$1"
	if ! { cat >"$new" && [ -s "$new" ] && sync "$new" && mv -f "$new" "$file"; }; then
		rm -f "$new"
		cannot_keep "$1"
	fi
}

cannot_keep() {
	echo "[stack] cannot keep $1 in $SECRETS (see the line above); nothing was left half done" >&2
	exit 74
}

# generated FORM NAME HOW: makes what was neither given nor made before. What was kept is checked: another one in its
# place would be a surprise later.
generated() {
	local form=$1 name=$2 how=$3 file=${2,,} made
	file=${file//_/-}
	if [ -n "${GIVEN[$name]:-}" ]; then
		return
	fi
	if [ ! -e "$SECRETS/$file" ]; then
		# First whole, then kept: what dies half way leaves nothing.
		made=$("make_$how")
		printf '%s\n' "$made" | keep "$file"
		return
	fi
	VALUE=$(cat "$SECRETS/$file") || exit 74
	if [ -z "$VALUE" ] || ! well_formed "$form"; then
		problem "$SECRETS/$file: ${ASKS:-is empty}; put the real one back, or remove the file to have a new one made"
	fi
	chmod 0600 "$SECRETS/$file"
}

make_hex64() {
	od --address-radix=n --format=x1 --read-bytes=32 /dev/urandom | tr --delete ' \n'
}

# 32 bytes in base64's alphabet for addresses, without padding.
make_token() {
	head --bytes=32 /dev/urandom | base64 --wrap=0 | tr '+/' '-_' | tr --delete '='
}

make_jwt() {
	node /opt/stack/lib/jwt.mjs new
}

# derived FILE SOURCE COMMAND...: what follows from something else is made again when that changed. What it was made
# from is remembered by its digest.
derived() {
	local file=$1 source=$2 digest made
	shift 2
	digest=$(sha256sum <<<"$source")
	digest=${digest%% *}
	if [ -s "$SECRETS/$file" ] && [ "$(cat "$SECRETS/$file.of" 2>/dev/null)" = "$digest" ]; then
		return
	fi
	# The digest goes first: without it, an old result would count as made from the new source.
	rm -f "$SECRETS/$file.of"
	made=$("$@")
	printf '%s\n' "$made" | keep "$file"
	printf '%s\n' "$digest" | keep "$file.of"
}

# The public half of the JWT key, as the key set that Convex's functions publish.
make_jwks() {
	secret JWT_PRIVATE_KEY | node /opt/stack/lib/jwt.mjs public
}

# Only the backend itself can make its admin key, and it takes the secret as a flag and in no other way: for the
# moment of this call, `ps` inside the container shows it.
make_convex_admin_key() {
	/opt/convex/bin/convex-local-backend keygen admin-key --instance-name "$CONVEX_INSTANCE_NAME" \
		--instance-secret "$(secret CONVEX_INSTANCE_SECRET)"
}

# A key of one's own must be one that can sign. (Its form was checked before.)
check_given_key() {
	local said
	if [ -n "${GIVEN[JWT_PRIVATE_KEY]:-}" ] &&
		! said=$(printf '%s\n' "${GIVEN[JWT_PRIVATE_KEY]}" | node /opt/stack/lib/jwt.mjs public 2>&1 >/dev/null); then
		problem "$said"
	fi
}

# What was given is kept for the time of this container only.
keep_given() {
	local name file
	mkdir -m 0700 "$RUNTIME/secrets"
	for name in "${!GIVEN[@]}"; do
		file=${name,,}
		printf '%s\n' "${GIVEN[$name]}" >"$RUNTIME/secrets/${file//_/-}"
	done
}
