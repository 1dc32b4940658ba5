#!/bin/sh
# sh examples/quickstart.sh [--broker HOST:PORT]
#
# Builds the examples and lets messages flow at QoS 0, 1 and 2: through a small broker of this repository, on this
# machine only, or through the one that is named. Installs a C++ compiler if there is none (Debian and its relatives).
# Takes a few seconds after the build; nothing is left running. Exit status 0: all messages arrived.
set -eu
cd "$(dirname "$0")/.."

host=127.0.0.1
port=
case "$#:${1-}" in
    0:) ;;
    2:--broker)
        host=${2%:*}
        port=${2##*:}
        if [ "$host" = "$2" ] || [ -z "$host" ] || [ -z "$port" ]; then
            echo "quickstart.sh: --broker needs HOST:PORT" >&2
            exit 2
        fi
        ;;
    1:-h | 1:--help) sed -n '2,6s/^# \{0,1\}//p' examples/quickstart.sh; exit 0 ;;
    *) echo "usage: sh examples/quickstart.sh [--broker HOST:PORT]" >&2; exit 2 ;;
esac

step() { printf '\n== %s\n' "$*"; }
fail() {
    echo "quickstart.sh: $*" >&2
    exit 1
}

# ------------------------------------------------------------------------------------------------------- build

find_compiler() {
    for compiler in ${CXX:-} g++ clang++ c++; do
        if echo '#include <string_view>' | "$compiler" -std=c++17 -x c++ -fsyntax-only - 2>/dev/null; then return; fi
    done
    compiler=
}
find_compiler
if [ -z "$compiler" ]; then
    step "Installing a C++ compiler"
    command -v apt-get >/dev/null || fail "please install a C++17 compiler; there is no apt-get here"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "please install g++ (neither root nor sudo here)"
        as_root=sudo
    fi
    $as_root apt-get update -q </dev/null
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends g++ libc6-dev </dev/null
    find_compiler
    [ -n "$compiler" ] || fail "there is still no C++17 compiler"
fi

build=.build/quickstart
mkdir -p $build
# builds SOURCE...: each is one program, and all of it is its source and the headers
builds() {
    for source; do
        program=$build/$(basename "$source" .cpp)
        [ "$source" != tests/support/broker_main.cpp ] || program=$build/embedded_broker
        newer=$(find mqtt.hpp platform examples tests/support -name '*.[ch]pp' -newer "$program" 2>/dev/null || echo all)
        [ -n "$newer" ] || continue
        echo "$program"
        "$compiler" -std=c++17 -O1 -I. -pthread "$source" -o "$program.new" || fail "$source does not compile"
        mv "$program.new" "$program"
    done
}
step "Building with $compiler, into $build"
builds examples/subscriber.cpp examples/publisher.cpp examples/mqtt_sub.cpp examples/mqtt_pub.cpp
[ -n "$port" ] || builds tests/support/broker_main.cpp
echo "done"

# --------------------------------------------------------------------------------------------------------- run

work=$(mktemp -d)
started=
end() {
    status=$?
    trap - EXIT
    for process in $started; do kill "$process" 2>/dev/null || true; done
    for process in $started; do wait "$process" 2>/dev/null || true; done
    rm -rf "$work"
    exit $status
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# waits_for SECONDS WHAT COMMAND...: until the command succeeds
waits_for() {
    tenths=$(($1 * 10))
    what=$2
    shift 2
    while ! "$@" 2>/dev/null; do
        tenths=$((tenths - 1))
        [ $tenths -gt 0 ] || fail "waited in vain for $what"
        sleep 0.1
    done
}

if [ -z "$port" ]; then
    step "Starting the embedded broker on $host"
    $build/embedded_broker --port-file "$work/port" >"$work/broker" 2>&1 &
    started="$started $!"
    waits_for 10 "the broker" test -s "$work/port"
    port=$(cat "$work/port")
fi
echo "broker: $host:$port"
topic=mqtt.hpp/quickstart/$$

step "publisher -> subscriber: one message a second at QoS 0, 1 and 2, three times"
mkfifo "$work/pipe"
tee "$work/subscriber" <"$work/pipe" &
started="$started $!"
$build/subscriber "$host" "$port" "$topic/#" >"$work/pipe" &
subscriber=$!
started="$started $subscriber"
subscribed() { grep -q '^subscribed' "$work/subscriber"; }
waits_for 15 "an answer of $host:$port" subscribed
publishers=
for qos in 0 1 2; do
    $build/publisher "$host" "$port" "$topic/qos$qos" $qos 3 &
    publishers="$publishers $!"
    started="$started $!"
done
all_arrived() { [ "$(grep -c "^QoS [0-2], $topic/qos[0-2]: message [1-3] " "$work/subscriber")" -ge 9 ]; }
waits_for 20 "the messages" all_arrived
for publisher in $publishers; do wait "$publisher" || fail "a publisher failed"; done
kill "$subscriber"

step "mqtt_pub -> mqtt_sub: lines at QoS 0, 1 and 2, and what is retained"
$build/mqtt_pub -h "$host" -p "$port" -t "$topic/tools" -q 1 -r -m "retained: told to whoever subscribes later"
printf '%s\n' "retained: told to whoever subscribes later" >"$work/expected"
for qos in 0 1 2; do
    : >"$work/out"   # before anything looks into it
    $build/mqtt_sub -h "$host" -p "$port" -t "$topic/tools" -q 2 -v -C 4 -W 15 >"$work/out" &
    sub=$!
    started="$started $sub"
    # Subscribed, and the retained message is here: from now on nothing is missed.
    waits_for 10 "the retained message" test -s "$work/out"
    for n in one two three; do echo "line $n at QoS $qos"; done >"$work/lines"
    $build/mqtt_pub -h "$host" -p "$port" -t "$topic/tools" -q $qos -l <"$work/lines"
    wait "$sub" || fail "mqtt_sub did not get all messages"
    cat "$work/out"
    cat "$work/expected" "$work/lines" | sed "s|^|$topic/tools |" >"$work/wanted"
    cmp -s "$work/wanted" "$work/out" || fail "other messages were expected"
done
$build/mqtt_pub -h "$host" -p "$port" -t "$topic/tools" -r -n   # leaves nothing behind

step "All messages arrived. The source of what you saw: examples/publisher.cpp, examples/subscriber.cpp"
