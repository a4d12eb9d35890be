#!/bin/sh
# Installs strace, ip and unshare where that needs no question asked; never fails.

missing=""
command -v strace >/dev/null 2>&1 || missing="$missing strace"
command -v ip >/dev/null 2>&1 || missing="$missing iproute2"
command -v unshare >/dev/null 2>&1 || missing="$missing util-linux"
[ -z "$missing" ] && exit 0

if [ "$(id -u)" -eq 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing for the fault tests"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # the names are meant to be split
    if apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; then
        exit 0
    fi
    echo "notice: could not install$missing; the fault tests that need them will be skipped"
else
    echo "notice: not found:$missing; the fault tests that need them will be skipped"
fi
exit 0
