#!/bin/sh
# sh bench/run.sh [--quick] [--readme] [BENCH...]
#
# Installs what is missing (Debian and its relatives), builds the benches with -O2 -DNDEBUG, and runs them: codec, scale,
# throughput, persistence, clients, tls, journal; all of them if none is named. Prints tab-separated rows `bench, case,
# subject, metric, value, unit`, and puts plots into .build/bench/plots; what it is doing comes on stderr. Takes about twenty
# minutes.
#
#   --quick     fewer cases and rounds: within a minute
#   --readme    writes the plots to bench/plots, and the README's tables
#
# Instructions are those of user space, counted by callgrind; they and system calls are the same on each run, as far as the
# other side is. Times depend on the machine, so compare them within one run: subjects take turns, and of several rounds
# the median is told. Fails if a QoS 1 message costs more than 1.3 times as much with 10,000 in flight as with few, if the
# instructions of the common cases are over their limits (LIMITS in bench/run.py), or tls or journal is over its own.
set -eu
cd "$(dirname "$0")/.."
. tests/support/install.sh

case " $* " in *" -h "* | *" --help "*) sed -n '2,17s/^# \{0,1\}//p' bench/run.sh; exit 0 ;; esac
PATH=$PATH:/usr/sbin:/sbin   # where Debian has mosquitto
missing= comparisons=
needs() { missing="$missing $1"; }
likes() { comparisons="$comparisons $1"; }   # what is compared with it is left out where it cannot be had
look() {
    missing= comparisons=
    has python3 || needs python3
    has meson || needs meson
    has ninja || needs ninja-build
    has g++ || needs g++
    has pkg-config || needs pkg-config
    has valgrind || needs valgrind
    has mosquitto || needs mosquitto
    compiles '#include <mosquitto.h>' g++ -c || likes libmosquitto-dev
    compiles '#include <MQTTAsync.h>' g++ -c || likes libpaho-mqtt-dev
    compiles '#define MSGPACK_NO_BOOST\n#include <msgpack.hpp>' g++ -c || likes libmsgpack-cxx-dev
    has strace || likes strace
    compiles '#include <mbedtls/ssl.h>' g++ -c || likes libmbedtls-dev
    has arm-none-eabi-g++ || likes gcc-arm-none-eabi
    compiles '#include <string_view>' arm-none-eabi-g++ -c || likes libstdc++-arm-none-eabi-newlib
}
look
if [ -n "$missing$comparisons" ]; then
    install_packages $missing $comparisons
    look
    [ -z "$comparisons" ] || echo "run.sh: not here, and what needs it is left out:$comparisons" >&2
    if [ -n "$missing" ]; then
        echo "run.sh: please install what these Debian packages contain:$missing" >&2
        exit 1
    fi
fi
exec python3 bench/run.py "$@"
