#!/bin/sh
# sh examples/quickstart.sh [--broker HOST:PORT]
#
# Builds the examples and lets messages flow at QoS 0, 1 and 2: through a small broker of this repository, on this
# machine only, or through the one that is named. Installs a C++ compiler if there is none (Debian and its relatives).
# Takes a few seconds after the build; nothing is left running. Exit status 0: all messages arrived.
set -eu
cd "$(dirname "$0")/.."

script=examples/quickstart.sh
own_broker=
. examples/script.sh
takes_broker "$@"
[ -n "$port" ] || own_broker=tests/support/broker_main.cpp
builds examples/subscriber.cpp examples/publisher.cpp examples/mqtt_sub.cpp examples/mqtt_pub.cpp $own_broker
begins
[ -n "$port" ] || starts_broker
echo "broker: $host:$port"
topic=mqtt.hpp/quickstart/$$

step "publisher -> subscriber: one message a second at QoS 0, 1 and 2, three times"
shows "$work/subscriber" $build/subscriber "$host" "$port" "$topic/#"
subscriber=$shown
subscribed() { grep -q '^subscribed' "$work/subscriber"; }
waits_for 15 "an answer of $host:$port" subscribed
publishers=
for qos in 0 1 2; do
    $build/publisher "$host" "$port" "$topic/qos$qos" $qos 3 &
    publishers="$publishers $!"
    started="$! $started"
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
    started="$sub $started"
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
