#!/bin/sh
# sh tests/support/lwip.sh FOLDER
#
# Puts lwIP's source, as Debian's source package has it (without Debian's changes), into FOLDER: FOLDER/src/include and
# so on. Does nothing if it is there already. Needs apt-get, tar and xz, but neither root nor dpkg-dev, and leaves the
# machine's own apt configuration as it is: the list of sources is made from that of the binary packages.
set -eu

destination=$1
[ -e "$destination/.complete" ] && exit 0
fail() {
    echo "lwip.sh: $*" >&2
    exit 1
}
command -v apt-get >/dev/null || fail "no apt-get here; put lwIP's source into $destination, and a file .complete"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ ! -e $keys ] || signed="[signed-by=$keys] "
apt-get indextargets --format "deb-src ${signed-}\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
    'Created-By: Packages' 'Component: main' 'Origin: Debian' | sort -u >"$folder/sources.list"
[ -s "$folder/sources.list" ] || fail "apt knows no Debian sources"

own() {
    command=$1
    shift
    # As the user that calls: apt's own has no right to this folder.
    apt-get "$command" -q -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$folder/lists" -o Dir::Cache="$folder/cache" -o APT::Sandbox::User= "$@" \
        >"$folder/log" 2>&1 </dev/null || {
        cat "$folder/log" >&2
        fail "apt-get $command failed"
    }
}
cd "$folder"
own update
own source --download-only lwip
set -- lwip_*.orig.tar.*
[ -f "$1" ] || fail "the source package lwip has no .orig.tar"
mkdir lwip
tar -xf "$1" -C lwip --strip-components=1
[ -f lwip/src/include/lwip/tcp.h ] || fail "$1 is not as expected"
touch lwip/.complete
cd - >/dev/null
mkdir -p "$(dirname "$destination")"
rm -rf "$destination"
mv "$folder/lwip" "$destination"
