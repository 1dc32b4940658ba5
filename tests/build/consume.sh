# consume.sh subproject|pkg-config: a program of somebody else's is built with the library, as a subproject of theirs
# and as `meson install` leaves it.
set -eu
way=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
# Of the build that this check belongs to, nothing.
unset CFLAGS CXXFLAGS LDFLAGS MESON_TESTTHREADS DESTDIR MALLOC_PERTURB_

quietly() {
    "$@" >"$folder/log" 2>&1 || {
        cat "$folder/log"
        echo "FAILED: $*"
        exit 1
    }
}

# The repository without what may lie around in it.
mkdir "$folder/mqtt.hpp"
cp -r "$root/meson.build" "$root/meson_options.txt" "$root/mqtt.hpp" "$root/platform" "$folder/mqtt.hpp"

mkdir "$folder/consumer"
cd "$folder/consumer"
cat >program.cpp <<'END'
#include "mqtt.hpp"
#include "platform/posix.hpp"

int main() {
    uint8_t rx[256], tx[1024];
    mqtt::posix::Tcp port;
    mqtt::Client client(port, {rx, tx});
    return client.publish("topic", "payload").error == mqtt::Error::not_started ? 0 : 1;
}
END
cat >meson.build <<'END'
project('consumer', 'cpp', default_options: ['cpp_std=c++17', 'warning_level=3', 'werror=true'])
executable('program', 'program.cpp', dependencies: dependency('mqtt', fallback: ['mqtt.hpp', 'mqtt_dep']))
END

case $way in
    subproject)
        mkdir subprojects
        mv "$folder/mqtt.hpp" subprojects
        quietly meson setup build --force-fallback-for=mqtt
        quietly ninja -C build
        ./build/program
        # Only the library: not its tests, examples or benchmarks.
        [ "$(ninja -C build -t targets all | grep -c 'CXX_EXECUTABLE\|cpp_LINKER')" = 1 ] || {
            ninja -C build -t targets all
            echo "FAILED: the subproject builds something"
            exit 1
        }
        ;;
    pkg-config)
        quietly meson setup "$folder/installing" "$folder/mqtt.hpp" --prefix="$folder/prefix" \
            -Dtests=disabled -Dexamples=disabled
        quietly meson install -C "$folder/installing"
        (cd "$folder/prefix" && find . -type f | sort)
        export PKG_CONFIG_PATH="$folder/prefix/share/pkgconfig"
        quietly meson setup build --wrap-mode=nofallback
        quietly ninja -C build
        ./build/program
        # And without Meson.
        quietly ${CXX:-c++} -std=c++17 program.cpp $(pkg-config --cflags --libs mqtt) -o by_hand
        ./by_hand
        ;;
    *)
        echo "what is '$way'?"
        exit 1
        ;;
esac
