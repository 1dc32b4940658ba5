#!/bin/sh
# sh tests/run.sh [--long] [SUITE...]
#
# Installs what is missing (Debian and its relatives), builds with GCC and with Clang, sanitizers on and warnings as
# errors, and runs the suites: unit, engine, power-cut, integration, tls, firmware, build; all of them if none is named.
# --long: more seeds and larger messages. The last line is `N passed, N failed, N skipped`: doctest's test cases, and one
# for each check of the suite build, which runs once and calls both compilers itself.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)

usage() {
    sed -n '2,7s/^# \{0,1\}//p' tests/run.sh
    exit "$1"
}

long=0
suites=
for argument; do
    case $argument in
        --long) long=1 ;;
        unit | engine | power-cut | integration | tls | firmware | build) suites="$suites $argument" ;;
        -h | --help) usage 0 ;;
        *) echo "run.sh: what is '$argument'?" >&2; usage 2 >&2 ;;
    esac
done
: "${suites:= unit engine power-cut integration tls firmware build}"
wants() { case $suites in *" $1"*) true ;; *) false ;; esac }

# --------------------------------------------------------------------------------------------- what must be there

. tests/support/install.sh
PATH=$PATH:/usr/sbin:/sbin   # where Debian has mosquitto, and an ordinary user's PATH does not reach
missing= brokers=
lwip=.build/lwip         # its source, where it is or will be
lwip_other=.build/lwip-trixie   # that of a newer version
mbedtls=.build/mbedtls   # the same
aedes=.build/aedes       # where it is or will be, from npm
aedes_version=0.51.3
has_aedes() { grep -qs "\"version\": \"$aedes_version\"" $aedes/node_modules/aedes/package.json; }
needs() { missing="$missing $1"; }
likes() { brokers="$brokers $1"; }   # what is tested with it is skipped where it cannot be had
look() {
    missing= brokers=
    has python3 || needs python3
    has meson || needs meson
    has ninja || needs ninja-build
    has g++ || needs g++
    has clang++ || needs clang
    has pkg-config || needs pkg-config
    compiles 'int main() {}' clang++ -fsanitize=address,undefined || needs libclang-rt-dev
    compiles '#include <doctest/doctest.h>' g++ -c || needs doctest-dev
    if wants integration || wants firmware || wants power-cut; then
        has mosquitto || needs mosquitto
    fi
    if wants integration; then
        has mosquitto_pub || likes mosquitto-clients
        has nats-server || likes nats-server
        has ejabberdctl || likes ejabberd
        has rabbitmq-server || likes rabbitmq-server
        has node || likes nodejs
        has npm || has_aedes || likes npm
    fi
    if wants tls; then
        compiles '#include <mbedtls/ssl.h>' g++ -c || needs libmbedtls-dev
        has openssl || needs openssl
        has mosquitto || needs mosquitto
        has rabbitmq-server || likes rabbitmq-server
    fi
    if wants build || wants firmware; then
        has arm-none-eabi-g++ || needs gcc-arm-none-eabi
        compiles '#include <string.h>\n#include <string_view>' arm-none-eabi-g++ -c || needs libstdc++-arm-none-eabi-newlib
        has xz || needs xz-utils   # of lwIP's source package
    fi
    if wants build; then
        has ld.lld || needs lld
        has qemu-system-arm || needs qemu-system-arm
    fi
    if wants firmware; then
        has make || needs make
        has openssl || needs openssl
        has qemu-system-arm || needs qemu-system-arm
    fi
}
look
if [ -n "$missing$brokers" ]; then
    install_packages $missing $brokers
    look
    [ -z "$brokers" ] || echo "run.sh: not here, and what is tested with it is skipped:$brokers" >&2
    if [ -n "$missing" ]; then
        echo "run.sh: please install what these Debian packages contain:$missing" >&2
        exit 1
    fi
fi
if wants integration && has npm && ! has_aedes; then
    echo "Installing: aedes $aedes_version, from npm"
    rm -rf $aedes
    mkdir -p $aedes
    npm install --prefix $aedes --ignore-scripts --no-audit --no-fund --loglevel=error "aedes@$aedes_version" \
        </dev/null || echo "run.sh: not here, and what is tested with it is skipped: aedes" >&2
fi

if wants firmware || wants build; then
    sh tests/support/lwip.sh $lwip || exit 1
fi
if wants firmware; then
    sh tests/support/lwip.sh $lwip_other trixie || echo "run.sh: not here, and not tested with: lwIP 2.2" >&2
    sh tests/support/mbedtls.sh $mbedtls || echo "run.sh: not here, and what is tested with it is skipped: mbedTLS's source" >&2
fi

# ------------------------------------------------------------------------------------------------- build, and run

logs=
failed_builds=

# builds NAME OPTION...: in .build/NAME, with the compiler in CXX. Begun anew if it is another tree's.
builds() {
    folder=.build/$1
    log=.build/$1.log
    shift
    mkdir -p .build
    grep -qs "\"source\": \"$root\"" "$folder/meson-info/meson-info.json" || rm -rf "$folder"
    set -- "$@" -Dtests=enabled -Dexamples=enabled -Dwerror=true -Ddebug=true -Db_sanitize=address,undefined \
        -Db_lundef=false "-Dlwip=$root/$lwip" "-Dlwip_other=$root/$lwip_other" \
        "-Dmbedtls_source=$root/$mbedtls"
    [ -f "$folder/build.ninja" ] && set -- --reconfigure "$@"
    if ! meson setup "$folder" "$@" >"$log" 2>&1; then
        cat "$log"
        return 1
    fi
    ninja -C "$folder" -k 0
}

# runs NAME SUITE...: what could be built of them.
runs() {
    folder=.build/$1
    shift
    rm -f "$folder/meson-logs/run.json"
    meson introspect "$folder" --tests | python3 -c '
import json, os, sys
built = {}   # names, each once: two suites may have the same
for test in json.load(sys.stdin):
    if any(suite.split(":")[-1] in sys.argv[1:] for suite in test["suite"]) and os.path.exists(test["cmd"][0]):
        built[test["name"]] = True
print(*built, sep="\n")' "$@" >"$folder/chosen"
    filter=
    for suite; do filter="$filter --suite $suite"; done
    # Its exit status is not asked for: the log tells more. Of what it prints, a line for each test is enough.
    [ ! -s "$folder/chosen" ] || tr '\n' '\0' <"$folder/chosen" |
        { xargs -0 meson test -C "$folder" --no-rebuild --logbase run $filter \
            --timeout-multiplier $((long ? 8 : 1)) || true; } |
        awk '/^ *[0-9]+\/[0-9]+ / || /^ERROR|encountered an error|does not exist/ { sub(/mqtt.hpp:/, ""); print; fflush() }'
    logs="$logs $folder/meson-logs/run.json"
}

export MQTT_TEST_LONG=$long
export MQTT_AEDES="$root/$aedes"
export MALLOC_PERTURB_=85   # as meson would, but the same in each run
for name in gcc clang; do
    case $name in
        gcc)
            # GCC takes five times as long with -O2; in suite build it compiles the header with that, too.
            export CC=gcc CXX=g++
            options="-Doptimization=g -Dcpp_args=-fno-var-tracking"
            chosen=$suites
            ;;
        clang)
            export CC=clang CXX=clang++
            options="-Doptimization=2 -Dbench=enabled"
            chosen=$(echo "$suites" | sed 's/ build//')
            ;;
    esac
    [ -n "$chosen" ] || continue
    echo "== $name:$chosen"
    builds $name $options || failed_builds="$failed_builds $name"
    [ ! -f .build/$name/build.ninja ] || runs $name $chosen
done
exec python3 tests/support/summary.py $logs --failed-builds $failed_builds
