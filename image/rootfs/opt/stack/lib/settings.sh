# shellcheck shell=bash
# Reading and checking settings; start.sh has the table. Everything that is wrong is collected, so that people see
# all of it at once. Sourced after service.sh.

# What is wrong, a line each.
PROBLEMS=()
# Names of all settings, and the values of secrets that were given: those leave the environment here.
declare -A KNOWN=() GIVEN=()
# Where a form function puts the value in its own spelling, and what it asks for.
VALUE='' ASKS=''

problem() {
	PROBLEMS+=("$*")
}

# setting FORM NAME DEFAULT: the variable itself or its default, exported. DEFAULT may name earlier settings in
# braces. A value that was given is checked; a default's parts were.
setting() {
	local form=$1 name=$2
	KNOWN[$name]=setting
	VALUE=${!name:-}
	if [ -z "$VALUE" ]; then
		expand "$3"
	elif ! well_formed "$form"; then
		problem "$name=${VALUE@Q}: $ASKS"
		# Told once; what depends on it is not told as well.
		VALUE=
	fi
	export "$name=$VALUE"
}

# secret_setting FORM NAME: a variable, or the file that NAME_FILE names. Neither reaches a service's environment.
secret_setting() {
	local form=$1 name=$2 file_name=${2}_FILE
	local file=${!file_name:-}
	KNOWN[$name]=secret
	VALUE=${!name:-}
	unset "$name" "$file_name"
	if [ -n "$file" ]; then
		if [ -n "$VALUE" ]; then
			problem "$name and $file_name are both set: leave one of them out"
			return
		fi
		if [ ! -f "$file" ] || [ ! -r "$file" ]; then
			problem "$file_name=${file@Q}: there is no file that uid $(id -u) can read"
			return
		fi
		VALUE=$(<"$file")
		if [ -z "$VALUE" ]; then
			problem "$file_name=${file@Q}: the file is empty"
			return
		fi
	fi
	if [ -z "$VALUE" ]; then
		return
	fi
	if well_formed "$form"; then
		# shellcheck disable=SC2034 # secrets.sh and start.sh read it
		GIVEN[$name]=$VALUE
	else
		problem "$name: $ASKS (what was given is not shown)"
	fi
}

# Fills in the settings that a default names, into VALUE.
expand() {
	local rest=$1 done='' name
	while [[ $rest =~ ^([^{]*)\{([A-Z0-9_]+)\}(.*)$ ]]; do
		name=${BASH_REMATCH[2]}
		done+=${BASH_REMATCH[1]}${!name}
		rest=${BASH_REMATCH[3]}
	done
	VALUE=$done$rest
}

# Whether VALUE has that form; sets it to its one spelling, or ASKS to what would have it.
well_formed() {
	if [ "$1" != pem ] && [[ $VALUE =~ [[:cntrl:]] ]]; then
		ASKS='has a line break or another control character in it'
		return 1
	fi
	"form_${1//-/_}"
}

form_text() {
	ASKS='is longer than 4096 characters'
	((${#VALUE} <= 4096))
}

# What stands in headers and configuration files as it is.
form_token() {
	ASKS='is not made of letters, digits and - . _ ~ + / = only'
	[[ $VALUE =~ ^[A-Za-z0-9._~+/=-]{1,4096}$ ]]
}

# An admin key of Convex: the name of the instance, a bar, and the key.
form_admin_key() {
	ASKS='is no admin key of Convex: a name, a bar, and letters and digits'
	[[ $VALUE =~ ^[A-Za-z0-9._:/-]+\|[A-Za-z0-9+/=_-]+$ ]]
}

form_name() {
	ASKS='is no name of lowercase letters, digits and hyphens that begins with a letter'
	[[ $VALUE =~ ^[a-z][a-z0-9-]{0,62}$ ]]
}

form_bool() {
	ASKS='is neither true nor false'
	case ${VALUE,,} in
	true | yes | on | 1) VALUE=true ;;
	false | no | off | 0) VALUE=false ;;
	*) return 1 ;;
	esac
}

form_integer() {
	ASKS='is no whole number'
	[[ $VALUE =~ ^(0|[1-9][0-9]{0,8})$ ]]
}

form_layers() {
	if [[ $VALUE == auto || $VALUE == all ]]; then
		return 0
	fi
	form_integer || {
		ASKS='is neither auto nor all nor a whole number'
		return 1
	}
}

form_port() {
	ASKS='is no port (1 to 65535)'
	[[ $VALUE =~ ^[1-9][0-9]{0,4}$ ]] && ((VALUE <= 65535))
}

form_path() {
	ASKS='is no absolute path of plain characters, without two dots in a row'
	[[ $VALUE =~ ^/[A-Za-z0-9._/@+,=:\ -]*$ && ! $VALUE =~ (^|/)\.\.(/|$) ]] || return 1
	# /data/convex/ is /data/convex.
	while [[ $VALUE == ?*/ ]]; do VALUE=${VALUE%/}; done
}

host_pattern='([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])'

form_host() {
	ASKS='is no host name or address (an IPv6 address stands in brackets)'
	[[ $VALUE =~ ^${host_pattern}$ ]]
}

form_origin() {
	ASKS='is no origin: http:// or https://, a host, a port if need be, and nothing after it'
	[[ $VALUE =~ ^https?://${host_pattern}(:([1-9][0-9]{0,4}))?$ ]] &&
		{ [ -z "${BASH_REMATCH[4]}" ] || ((BASH_REMATCH[4] <= 65535)); }
}

form_url() {
	ASKS='is no address that begins with http:// or https://'
	# A bracket stands first in a bracket expression, and a pattern in a variable is taken as it is.
	local other='[^]A-Za-z0-9._~:/?#@!$&()*+,;=%[-]'
	[[ $VALUE =~ ^https?://[^/?#]+([/?#].*)?$ && ! $VALUE =~ $other ]]
}

form_address() {
	ASKS='is no address of this machine, such as 127.0.0.1, 0.0.0.0 or ::'
	[[ $VALUE =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ || $VALUE =~ ^[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$ ]]
}

form_email() {
	ASKS='is no e-mail address'
	[[ $VALUE =~ ^[A-Za-z0-9._%+-]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.[A-Za-z]{2,}$ ]]
}

form_password() {
	ASKS='is not 8 to 128 characters long'
	((${#VALUE} >= 8 && ${#VALUE} <= 128))
}

form_sha256() {
	ASKS='is no SHA-256 (64 hexadecimal digits)'
	[[ $VALUE =~ ^[0-9A-Fa-f]{64}$ ]] && VALUE=${VALUE,,}
}

form_hex64() {
	ASKS='is not 64 hexadecimal digits'
	[[ $VALUE =~ ^[0-9A-Fa-f]{64}$ ]] && VALUE=${VALUE,,}
}

form_pem() {
	ASKS='is no PKCS #8 key: it begins with -----BEGIN PRIVATE KEY-----'
	[[ $VALUE == '-----BEGIN PRIVATE KEY-----'*'-----END PRIVATE KEY-----' ]]
}

# A variable that looks like one of ours and is none is most likely mistyped. A wrong NAME_FILE would silently leave
# its secret out, so that it is an error; others may be meant for one of the programs.
check_unknown() {
	local name of
	while read -r name; do
		case $name in
		LLAMACPP_* | MANAGER_* | MISSION_CONTROL_* | CONVEX_* | OPENCODE_* | OPENCLAW_* | JWT_* | PUBLISH_* | PUBLIC_*) ;;
		*) continue ;;
		esac
		if [ -n "${KNOWN[$name]:-}" ]; then
			continue
		fi
		of=${name%_FILE}
		if [ "$of" != "$name" ]; then
			if [ -z "${!name}" ]; then
				unset "$name"
			elif [ "${KNOWN[$of]:-}" = setting ]; then
				problem "$name: $of is no secret and is read from no file; set $of itself"
			else
				problem "$name: there is no secret of the name $of"
			fi
			continue
		fi
		echo "[stack] $name is no setting of this image; it is passed on to the services as it is"
	done < <(compgen -e)
}

declare -A PORT_OWNERS=()

# inner_port SERVICE SETTING PORT: where the program itself listens, on the loopback, behind the front. Services find it
# as X_INNER_PORT.
inner_port() {
	export "${2%_PORT}_INNER_PORT=$3"
	if enabled "$1"; then
		PORT_OWNERS[$3]="the program behind $2"
	fi
}

# port_of SERVICE SETTING: two services that are on cannot have one port.
port_of() {
	local port=${!2}
	if [ -z "$port" ] || ! enabled "$1"; then
		return
	fi
	if [ -n "${PORT_OWNERS[$port]:-}" ]; then
		problem "$2=$port: ${PORT_OWNERS[$port]} has this port already"
	fi
	PORT_OWNERS[$port]=$2
}

# Services that are on; start.sh fills it from the switches.
declare -A SWITCHES=()
enabled() {
	local switch=${SWITCHES[$1]:-}
	[ -z "$switch" ] || [ "${!switch}" = true ]
}

# requires SERVICE OTHER
requires() {
	if enabled "$1" && ! enabled "$2"; then
		problem "${SWITCHES[$1]}=true: it is of no use without ${SWITCHES[$2]}=true; turn both on or both off"
	fi
}

# Ends with the list of all that is wrong, if anything is.
tell_problems() {
	if ((${#PROBLEMS[@]} == 0)); then
		return
	fi
	echo "[stack] not started, because of ${#PROBLEMS[@]} wrong setting(s):" >&2
	printf '[stack]   - %s\n' "${PROBLEMS[@]}" >&2
	# sysexits.h calls this EX_CONFIG.
	exit 78
}
