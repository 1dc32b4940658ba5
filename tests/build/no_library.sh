# no_library.sh TARGET: a program that uses everything links with nothing but memcpy, memmove, memset, memcmp, memchr,
# strlen and the compiler's own libgcc: so no malloc, free, operator new, __cxa_*, libstdc++ or libc is needed.
. "$(dirname "$0")/target.sh"

options="-Os -ffreestanding -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-stack-protector"
case $target in
    g++ | clang++) options="$options -fno-pie" link="-static" ;;
    *) link= ;;
esac
$cc $options -fno-builtin -I "$root" -c "$root/tests/build/start.c" -o start.o
$cxx $options -fno-exceptions -fno-rtti -c "$root/tests/build/everything.cpp" -o everything.o
$cxx $link -nostdlib -Wl,--gc-sections -Wl,-e,_start start.o everything.o -lgcc -o image ||
    fail "something of a library is needed, see above"

# A link error that cannot happen would prove nothing.
echo 'extern "C" void* malloc(unsigned long); extern "C" int use_everything() { return malloc(1) != nullptr; }' >bad.cpp
$cxx $options -fno-exceptions -c bad.cpp -o bad.o 2>/dev/null
if $cxx $link -nostdlib -Wl,--gc-sections -Wl,-e,_start start.o bad.o -lgcc -o bad 2>/dev/null; then
    fail "a program with malloc links as well: this check checks nothing"
fi

case $target in
    cortex-*)
        text=$(arm-none-eabi-size everything.o | awk 'NR == 2 { print $1 }')
        data=$(arm-none-eabi-size everything.o | awk 'NR == 2 { print $2 + $3 }')
        [ "$data" = 0 ] || fail "$data bytes of .data and .bss"
        echo "note: $target, -Os: $text bytes of .text and .rodata for everything in the header"
        ;;
esac
