# shellcheck shell=sh
# /etc/profile resets PATH in login shells.
PATH=$HOME/.local/bin:/opt/stack/bin:/opt/node/bin:/opt/bun/bin:/opt/opencode/bin:$PATH:/usr/sbin:/sbin
