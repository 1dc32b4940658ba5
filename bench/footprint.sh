#!/bin/sh
# sh bench/footprint.sh [--keep FOLDER] [CPU [CONFIGURATION]]
# sh bench/footprint.sh --parts CPU CONFIGURATION | --check | --tighten | --readme
#
# Cross-compiles small applications, runs them in QEMU against a scripted server, and prints what the client takes of
# flash, RAM and stack, as tab-separated rows; all of them, or those of one CPU (cortex-m0plus, cortex-m3, cortex-m4,
# rv32imac) and one configuration (see bench/footprint/footprint.py, which also says how it is counted). How far that is
# from the goals comes on stderr.
#
#   --keep      leaves images and maps in FOLDER
#   --parts     where it goes: by part, the largest functions, the deepest path
#   --check     fails if a figure has grown past its budget, in bench/footprint/budgets.tsv
#   --tighten   the same, and lowers budgets to what is taken now
#   --readme    writes the rows into the README's table
set -eu

missing=
command -v python3 >/dev/null || missing="$missing python3"
command -v arm-none-eabi-g++ >/dev/null || missing="$missing gcc-arm-none-eabi"
echo '#include <string_view>' | arm-none-eabi-g++ -std=c++17 -x c++ -fsyntax-only - 2>/dev/null ||
    missing="$missing libstdc++-arm-none-eabi-newlib"
command -v qemu-system-arm >/dev/null || missing="$missing qemu-system-arm"
if [ -n "$missing" ]; then
    echo "footprint.sh: please install these Debian packages:$missing" >&2
    exit 1
fi
export CCACHE_DISABLE=1   # it keeps objects, and not the call graphs beside them
exec python3 "$(dirname "$0")/footprint/footprint.py" "$@"
