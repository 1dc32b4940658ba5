# Installs what is missing, for the scripts that source this: on Debian and its relatives, as root or with sudo.

has() { command -v "$1" >/dev/null 2>&1; }
# Runs something as root; fails if that cannot be.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        has sudo && sudo "$@"
    fi
}
# compiles SOURCE COMPILER [OPTION...]
compiles() {
    source=$1
    shift
    printf '%b\n' "$source" | "$@" -std=c++17 -x c++ - -o /dev/null >/dev/null 2>&1
}
apt_install() { as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" </dev/null; }

# install_packages PACKAGE...: as many of them as can be. Look again afterwards.
install_packages() {
    echo "Installing: $*" >&2
    if ! has apt-get || ! as_root true; then
        echo "$0: no apt-get here, or neither root nor sudo" >&2
        return
    fi
    # Debian starts the services that it installs. The scripts here start their own, on free ports.
    policy=/usr/sbin/policy-rc.d
    [ ! -e $policy ] || policy=
    if [ -n "$policy" ]; then
        trap 'as_root rm -f $policy' EXIT
        trap 'exit 1' HUP INT TERM
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod 755 $policy
    fi
    {
        as_root apt-get update -q </dev/null || true
        apt_install "$@" || for package; do apt_install "$package" || true; done   # one at a time, then
    } >&2
    [ -z "$policy" ] || as_root rm -f $policy
    trap - EXIT HUP INT TERM
    hash -r
}
