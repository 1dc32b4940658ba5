# . target.sh TARGET: what the build checks share. Sets cc and cxx, compilers with their options, and is in a
# temporary folder of its own afterwards; $root is the repository.

set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
target=$1

skip() {
    echo "skipped: $*"
    exit 77
}
fail() {
    echo "FAILED: $*"
    exit 1
}

case $target in
    g++) cc=gcc cxx=g++ ;;
    clang++) cc=clang cxx=clang++ ;;
    cortex-m0plus | cortex-m4)
        cc="arm-none-eabi-gcc -mthumb -mcpu=$target"
        cxx="arm-none-eabi-g++ -mthumb -mcpu=$target"
        ;;
    msp430)
        # size_t of 16 bits. Debian has no GCC for such a machine that knows C++17 (avr-gcc is 5.4), but its Clang has a
        # back end. Of the library, only headers are needed: those for Cortex-M do, as nothing is linked.
        cxx="clang++ --target=msp430"
        command -v arm-none-eabi-g++ >/dev/null || skip "no arm-none-eabi-g++, whose library headers are used"
        for folder in $(arm-none-eabi-g++ -E -v -x c++ /dev/null 2>&1 >/dev/null |
            sed -n '/search starts here/,/^End of/s/^ //p'); do
            cxx="$cxx -isystem $folder"
        done
        ;;
    *) fail "what is the target '$target'?" ;;
esac
command -v "${cxx%% *}" >/dev/null || skip "no ${cxx%% *}"
cxx="$cxx -std=c++17 -I $root"

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
cd "$folder"
