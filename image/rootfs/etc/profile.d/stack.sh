# shellcheck shell=sh
# /etc/profile has set PATH anew: a login shell finds what every other one finds.
PATH=$HOME/.local/bin:/opt/stack/bin:/opt/node/bin:/opt/bun/bin:/opt/opencode/bin:$PATH:/usr/sbin:/sbin
