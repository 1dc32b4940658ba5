#!/bin/sh
# sh bench/firmware_tls.sh [--readme]
#
# What TLS costs a microcontroller: builds the thermostat of examples/firmware (Cortex-M3, lwIP) without TLS, with it, and
# with smaller buffers for records, and runs the image of tests/firmware in QEMU against mosquitto; see
# bench/firmware_tls.py. Prints a table; --readme writes it into the README. Takes a minute.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
export PATH
missing=
needs() { command -v "$1" >/dev/null || missing="$missing $2"; }
needs python3 python3
needs make make
needs arm-none-eabi-g++ gcc-arm-none-eabi
needs qemu-system-arm qemu-system-arm
needs mosquitto mosquitto
needs openssl openssl
needs xz xz-utils
echo '#include <string_view>' | arm-none-eabi-g++ -std=c++17 -x c++ -fsyntax-only - 2>/dev/null ||
    missing="$missing libstdc++-arm-none-eabi-newlib"
if [ -n "$missing" ]; then
    echo "firmware_tls.sh: please install these Debian packages:$missing" >&2
    exit 1
fi
sh tests/support/lwip.sh .build/lwip
sh tests/support/mbedtls.sh .build/mbedtls
user=
[ "$(id -u)" = 0 ] || user=--map-root-user
# Firmware and broker are in a network where there is nothing else.
exec unshare --net $user sh -c 'ip link set lo up && exec python3 bench/firmware_tls.py "$@"' sh "$@"
