#!/bin/sh
# sh bench/journal.sh [--check] [FOLDER]: what storage costs. Rows: bench, case, subject, metric, value, unit.
# Flash and RAM of the journal by cross-compiling bench/journal_flash.cpp with it and without; then bench/journal.cpp,
# with FileStore in FOLDER (default: .build, so that it is a disk and no tmpfs). Needs g++, gcc-arm-none-eabi.
# --check: only the flash; fails if it is more than 2048 bytes on a Cortex-M0+, or there are warnings.
set -eu
cd "$(dirname "$0")/.."
check=0
[ "${1:-}" != --check ] || { check=1; shift; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
command -v arm-none-eabi-g++ >/dev/null || { echo "skipped: no arm-none-eabi-g++"; exit 77; }

# image CPU NAME OPTION...: text and data of the linked program. Besides the flash's driver, it needs memcpy and libgcc
# only: anything else is a link error.
image() {
    cpu=$1 name=$2
    shift 2
    arm-none-eabi-g++ -std=c++17 -mthumb -mcpu="$cpu" -Os -ffunction-sections -fdata-sections -fno-exceptions -fno-rtti \
        -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror -I . "$@" -c bench/journal_flash.cpp -o "$folder/$name.o"
    arm-none-eabi-g++ -mthumb -mcpu="$cpu" -nostdlib -Wl,--gc-sections -Wl,-e,main $given "$folder/$name.o" -lgcc -o "$folder/$name.elf"
    arm-none-eabi-size "$folder/$name.elf" | awk 'NR == 2 { print $1 + $2 }'
}
given=
for symbol in flash_read flash_program flash_erase storage_of_nothing received memcpy; do
    given="$given -Wl,--defsym=$symbol=0"
done
printf 'bench\tcase\tsubject\tmetric\tvalue\tunit\n'
for cpu in cortex-m0plus cortex-m3 cortex-m4; do
    bytes=$(($(image $cpu with) - $(image $cpu without -DWITHOUT_JOURNAL)))
    printf 'journal\tflash of the code\t%s\t-Os\t%s\tbytes\n' $cpu $bytes
    ram=$((0x$(arm-none-eabi-nm -S "$folder/with.o" | awk '/ size_of_store$/ { print $2 }')))
    printf 'journal\tflash of the code\t%s\tRAM: sizeof(Journal)\t%s\tbytes\n' $cpu $ram
    [ $cpu != cortex-m0plus ] || [ $bytes -le 2048 ] || { echo "journal.sh: more than 2048 bytes" >&2; exit 1; }
done
[ $check = 0 ] || exit 0
mkdir -p .build
g++ -std=c++17 -O2 -I . bench/journal.cpp -o "$folder/journal"
"$folder/journal" "${1:-.build}" | tail -n +2
