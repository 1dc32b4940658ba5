# header.sh TARGET: mqtt.hpp can be included alone, and all of it compiles without a warning; so do the platforms'.
. "$(dirname "$0")/target.sh"

warnings="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror"
# Limits of the protocol are above the greatest 16-bit size_t, and comparing with them says so.
[ "$target" = msp430 ] && warnings="$warnings -Wno-tautological-constant-out-of-range-compare"
assertion='-DMQTT_ASSERT(condition)=static_cast<void>((condition)||(__builtin_trap(),false))'

echo '#include "mqtt.hpp"' >alone.cpp
for source in alone.cpp "$root/tests/build/everything.cpp"; do
    for standard in c++17 c++20; do
        $cxx -std=$standard $warnings -fno-exceptions -fno-rtti -fsyntax-only "$source"
        $cxx -std=$standard $warnings -fno-exceptions -fno-rtti -fsyntax-only "$assertion" "$source"
    done
    $cxx $warnings -fsyntax-only "$source"   # with exceptions
done
# The journal is for firmware, too.
$cxx $warnings -fno-exceptions -fno-rtti -fsyntax-only "$root/bench/journal_flash.cpp"
case $target in
    g++ | clang++)
        for header in "$root"/platform/*.hpp; do
            [ "${header##*/}" != lwip.hpp ] || continue   # by lwip.sh
            echo "#include \"$header\"" >platform.cpp
            $cxx $warnings -fno-exceptions -fno-rtti -fsyntax-only platform.cpp
            $cxx $warnings -std=c++20 -fsyntax-only platform.cpp
        done
        ;;
esac
# Some warnings come from the optimizer. (Clang's for msp430 is experimental.)
[ "$target" = msp430 ] || for level in -Os -O2 -O3; do
    $cxx $warnings $level -fno-exceptions -fno-rtti -c -o /dev/null "$root/tests/build/everything.cpp"
done
