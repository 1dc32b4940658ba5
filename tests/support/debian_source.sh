#!/bin/sh
# sh tests/support/debian_source.sh PACKAGE FOLDER FILE [RELEASE]
#
# Puts the source that Debian's source package has (without Debian's changes) into FOLDER; FILE is one that must be among
# it; RELEASE is one of Debian's that is not this machine's, for another version. Does nothing if it is there already. Needs apt-get, tar, gzip and xz, but neither root nor dpkg-dev, and leaves the
# machine's own apt configuration as it is: the list of sources is made from that of the binary packages.
set -eu

package=$1 destination=$2 file=$3 release=${4-}
[ -e "$destination/.complete" ] && exit 0
fail() {
    echo "debian_source.sh: $*" >&2
    exit 1
}
command -v apt-get >/dev/null || fail "no apt-get here; put the source of $package into $destination, and a file .complete"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ ! -e $keys ] || signed="[signed-by=$keys] "
apt-get indextargets --format "deb-src ${signed-}\$(REPO_URI) \$(RELEASE) \$(COMPONENT)" \
    'Created-By: Packages' 'Component: main' 'Origin: Debian' | sort -u >"$folder/sources.list"
if [ -n "$release" ]; then   # of what is neither updates nor security
    sed -n "s/ [^- ]* main\$/ $release main/p" "$folder/sources.list" >"$folder/other.list"
    mv "$folder/other.list" "$folder/sources.list"
fi
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
own source --download-only "$package"
set -- "$package"_*.orig.tar.*
[ -f "$1" ] || fail "the source package $package has no .orig.tar"
mkdir source
tar -xf "$1" -C source --strip-components=1
[ -f "source/$file" ] || fail "$1 is not as expected"
touch source/.complete
cd - >/dev/null
mkdir -p "$(dirname "$destination")"
rm -rf "$destination"
mv "$folder/source" "$destination"
