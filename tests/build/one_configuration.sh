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

# builds LABEL OPTION...: both sources, without and with assertions, linked in all combinations.
builds() {
    label=$1
    shift
    for source in a b; do
        $cxx "$@" -c $source.cpp -o $source.plain.o
        $cxx "$@" "$assertion" -c $source.cpp -o $source.checked.o
    done
    for kind in plain checked; do
        $cxx "$@" $link a.$kind.o b.$kind.o -o program >log 2>&1 || {
            cat log
            fail "$label: two sources of the configuration '$kind' do not link"
        }
        [ -n "$link" ] || ./program || fail "$label: the program of the configuration '$kind' does not work"
    done
    for pair in "plain checked" "checked plain"; do
        if $cxx "$@" $link a."${pair% *}".o b."${pair#* }".o -o program >log 2>&1; then
            fail "$label: two configurations link"
        fi
        grep -q $name log || {
            cat log
            fail "$label: the linker's message lacks '$name'"
        }
    done
    echo "holds: $label"
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
$cxx -O2 -flto -c a.cpp -o a.o
$cxx -O2 -c b.cpp -o b.o
$cxx -O2 -flto $mixed $link a.o b.o -o program || fail "$target: a source with -flto and one without do not link"
$cxx -O2 -c "$assertion" b.cpp -o b.o
if $cxx -O2 -flto $mixed $link a.o b.o -o program >log 2>&1; then fail "$target: two configurations link, one with -flto"; fi
grep -q $name log || fail "$target: one with -flto, one without: the linker's message lacks '$name'"
