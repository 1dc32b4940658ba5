# trimmed.sh TARGET: with MQTT_ENABLE_V5=0 nothing of MQTT 5 is in the image.
. "$(dirname "$0")/target.sh"

options="-Os -ffreestanding -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-stack-protector"
case $target in
    g++ | clang++) options="$options -fno-pie" link="-static" tools= ;;
    *) link= tools=arm-none-eabi- ;;
esac
# What a function with a single caller is called is not to be lost in that one. (Clang does not know the option.)
[ "$target" = clang++ ] || options="$options -fno-inline-functions-called-once"

# Two images of a program that uses everything, and what is in them: the library's functions and tables (without the name
# of the configuration, and what the compiler made of them, .isra or .part), and their bare names.
for v5 in 1 0; do
    $cc $options -fno-builtin -I "$root" -c "$root/tests/build/start.c" -o start.o
    $cxx $options -fno-exceptions -fno-rtti -DMQTT_ENABLE_V5=$v5 -c "$root/tests/build/everything.cpp" -o everything.o
    $cxx $link -nostdlib -Wl,--gc-sections -Wl,-e,_start start.o everything.o -lgcc -o image
    ${tools}nm -C image | sed 's/^[0-9a-f]* [A-Za-z] //; s/ \[clone [^]]*\]//g; s/mqtt::v1[a-z0-9_]*::/mqtt::/g' | awk '{
        name = $0
        while (gsub(/<[^<>]*>/, "", name)) {}
        while (gsub(/\([^()]*\)/, "", name)) {}
        sub(/ const$/, "", name)
        sub(/.* /, "", name)
        if (name ~ /^mqtt::/) print name
    }' | sort -u >names.$v5
done

only_v5='propert|prop::|authentica|alias|expiry|expired|mqtt::legal'
if grep -iE "$only_v5" names.0; then fail "with MQTT_ENABLE_V5=0 these of MQTT 5 are in the image"; fi
grep -qiE "$only_v5" names.1 || fail "with MQTT_ENABLE_V5=1 no such names are in the image: this check checks nothing"
echo "holds: $target: $(wc -l <names.0) functions and tables instead of $(wc -l <names.1)"
