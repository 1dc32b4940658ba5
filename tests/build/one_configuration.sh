# one_configuration.sh TARGET: sources of one configuration link, those of two do not, and the linker's message says
# why. With link-time optimization, too, where there is one.
. "$(dirname "$0")/target.sh"

name=two_configurations_of_mqtt_hpp_in_one_program
cat >a.cpp <<'END'
#include "mqtt.hpp"
int a() { return mqtt::valid_topic("a") ? 0 : 1; }
END
cat >b.cpp <<'END'
#include "mqtt.hpp"
int a();
int main() { return a() + (mqtt::valid_topic("b") ? 0 : 1); }
END
assertion='-DMQTT_ASSERT(condition)=static_cast<void>((condition)||(__builtin_trap(),false))'

configurations="plain checked plain_311 checked_311"

# compiles SOURCE OPTION...: in all configurations.
compiles() {
    source=$1
    shift
    for configuration in $configurations; do
        case $configuration in *_311) v5=0 ;; *) v5=1 ;; esac
        case $configuration in
            checked*) $cxx "$@" -DMQTT_ENABLE_V5=$v5 "$assertion" -c $source.cpp -o $source.$configuration.o ;;
            *) $cxx "$@" -DMQTT_ENABLE_V5=$v5 -c $source.cpp -o $source.$configuration.o ;;
        esac
    done
}

# links LABEL OPTION...: a and b, in all combinations.
links() {
    label=$1
    shift
    for first in $configurations; do
        for second in $configurations; do
            if $cxx "$@" $link a.$first.o b.$second.o -o program >log 2>&1; then
                [ $first = $second ] || fail "$label: two configurations link: $first and $second"
                [ -n "$link" ] || ./program || fail "$label: the program of the configuration '$first' does not work"
            elif [ $first = $second ]; then
                cat log
                fail "$label: two sources of the configuration '$first' do not link"
            elif ! grep -q $name log; then
                cat log
                fail "$label: $first and $second: the linker's message lacks '$name'"
            fi
        done
    done
    echo "holds: $label"
}

# builds LABEL OPTION...
builds() {
    label=$1
    shift
    compiles a "$@"
    compiles b "$@"
    links "$label" "$@"
}

case $target in
    g++) link= ;;
    clang++) link= cxx="$cxx -Wno-unused-command-line-argument" ;;
    *) link="-specs=nosys.specs -specs=nano.specs" ;;
esac
builds "$target -O0" -O0
builds "$target -O2" -O2
builds "$target, sections" -Os -ffunction-sections -fdata-sections -Wl,--gc-sections
case $target in
    clang++)
        if command -v ld.lld >/dev/null; then
            builds "$target, lld" -O2 -fuse-ld=lld
            builds "$target, lld, -flto" -O2 -flto -fuse-ld=lld
            builds "$target, lld, -flto=thin" -O2 -flto=thin -fuse-ld=lld
            mixed="-fuse-ld=lld"
        else
            echo "note: not tried: -flto with $target, as there is no lld"
            exit 0
        fi
        ;;
    *)
        builds "$target, -flto" -O2 -flto
        mixed=
        ;;
esac

# One of the sources with -flto, the other without.
compiles a -O2 -flto
compiles b -O2
links "$target, one with -flto" -O2 -flto $mixed
