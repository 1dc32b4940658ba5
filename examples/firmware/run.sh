#!/bin/sh
# sh examples/firmware/run.sh [--broker HOST:PORT | --tls | --journal]
#
# A thermostat on a Cortex-M3, in QEMU: builds the firmware with lwIP, starts a broker, and shows what the two tell each
# other, until the thermostat has obeyed and said goodbye; with --tls over TLS, with a CA made for the day; with --journal
# its power is cut meanwhile, which is QEMU's end, and all readings arrive. Installs what is
# missing (Debian and its relatives). The firmware and the broker are in a network of their own, where there is nothing
# else; only with --broker the firmware is in this machine's. Takes some ten seconds after the build; nothing is left
# running. Exit status 0: all went well.
set -eu
cd "$(dirname "$0")/../.."
script=examples/firmware/run.sh
. examples/script.sh
tls= journal=
case $* in
    --tls) tls=$1; shift ;;
    --journal) journal=$1; shift ;;
esac
takes_broker "$@"

PATH=$PATH:/usr/sbin:/sbin
export PATH
tools=.build/quickstart
out=.build/firmware
image=thermostat${tls:+_tls}${journal:+_journal}
mbedtls=${tls:+.build/mbedtls}

if [ -z "${MQTT_OWN_NETWORK-}" ]; then
    missing=
    needs() { has "$1" || missing="$missing $2"; }
    needs arm-none-eabi-gcc gcc-arm-none-eabi
    needs qemu-system-arm qemu-system-arm
    needs make make
    needs python3 python3
    needs xz xz-utils
    needs ip iproute2
    if [ -n "$tls" ]; then
        needs openssl openssl
        needs mosquitto mosquitto
    fi
    cross() { echo '#include <string_view>
                    #include <string.h>' | arm-none-eabi-g++ -std=c++17 -x c++ -fsyntax-only - 2>/dev/null; }
    cross || missing="$missing libstdc++-arm-none-eabi-newlib libnewlib-arm-none-eabi"
    [ -z "$missing" ] || installs $missing
    own_broker=
    [ -n "$port" ] || has mosquitto || own_broker=tests/support/broker_main.cpp
    has mosquitto_pub && has mosquitto_sub || builds examples/mqtt_sub.cpp examples/mqtt_pub.cpp
    [ -z "$own_broker" ] || builds $own_broker

    step "Building the firmware, into $out"
    sh tests/support/lwip.sh .build/lwip
    [ -z "$tls" ] || sh tests/support/mbedtls.sh $mbedtls
    make -s -j2 -f examples/firmware/Makefile MBEDTLS=$mbedtls JOURNAL=$journal
    python3 examples/firmware/sizes.py $out/$image.map

    if [ -z "$port" ]; then
        user=
        [ "$(id -u)" = 0 ] || user=--map-root-user
        unshare --net $user true || fail "no network namespace for the firmware is permitted here; see --broker"
        MQTT_OWN_NETWORK=yes exec unshare --net $user sh $script $tls $journal
    fi
fi

begins
if [ -z "$port" ]; then
    ip link set lo up
    if has mosquitto; then
        step "Starting mosquitto on $host"
        port=1883   # nobody else is here
        printf '%s\n' "listener $port $host" "allow_anonymous true" "user root" >"$work/mosquitto.conf"
        if [ -n "$tls" ]; then   # for the firmware; we look on without
            sh examples/firmware/certificates.sh "$work" ec
            printf '%s\n' "listener 8883 $host" "certfile $work/server.crt" "keyfile $work/server.key" >>"$work/mosquitto.conf"
        fi
        mosquitto -c "$work/mosquitto.conf" >"$work/broker" 2>&1 &
        started="$! $started"
        waits_for 10 "mosquitto" grep -q running "$work/broker"
    else
        starts_broker
    fi
fi
echo "broker: $host:$port"
pub=$tools/mqtt_pub sub=$tools/mqtt_sub
! has mosquitto_pub || pub=mosquitto_pub
! has mosquitto_sub || sub=mosquitto_sub

# QEMU's network has this machine as 10.0.2.2. The firmware has a fixed address and no DNS server.
case $host in
    127.* | localhost) address=10.0.2.2 ;;
    *) address=$(getent ahostsv4 "$host" | sed -n '1s/ .*//p') ;;
esac
[ -n "$address" ] || fail "$host has no IPv4 address"
arguments=arg=$address,arg=$port
[ -z "$tls" ] || arguments=arg=broker.test,arg=8883,arg=$work/ca.der
[ -z "$journal" ] || arguments=$arguments,arg=$work/flash

step "Starting the thermostat in QEMU"
shows "$work/messages" $sub -h "$host" -p "$port" -t 'thermostat/#' -v
watcher=$shown
powers_up() {   # FILE: where its serial line goes
    shows "$1" timeout 60 qemu-system-arm -M mps2-an385 -kernel $out/$image.elf \
        -display none -monitor none -serial stdio -nic user,model=lan9118 \
        -semihosting-config enable=on,target=native,arg=thermostat,"$arguments"
    firmware=$shown
}
powers_up "$work/serial"
says() { grep -q "^thermostat/$1\$" "$work/messages"; }
waits_for 20 "the thermostat" says "status online"
waits_for 10 "a temperature" says "temperature 20.*"

step "Setting it to 25 degrees"
$pub -h "$host" -p "$port" -t thermostat/set -q 2 -m warm
$pub -h "$host" -p "$port" -t thermostat/set -q 2 -m 25
waits_for 10 "it to obey" says "setpoint 25.00"
waits_for 10 "it to heat" says "heating on"
waits_for 20 "the room to become warmer" says "temperature 22.*"

if [ -n "$journal" ]; then
    step "Cutting its power"
    kill "$firmware"
    wait "$firmware" || true
    durable=$(sed -n 's/^on flash: readings up to //p' "$work/serial" | tail -n 1)
    step "Its power is back: the readings up to $durable come, each once"
    powers_up "$work/serial2"
    waits_for 20 "the reading of $durable" says "reading $durable .*"
    waits_for 20 "the thermostat" grep -q "on flash" "$work/serial2"
fi

step "Stopping it"
$pub -h "$host" -p "$port" -t thermostat/stop -q 2 -m now
wait "$firmware" || fail "the firmware ended with the exit code $?"
waits_for 10 "its goodbye" says "status offline"
[ -z "$(sed -n 's/^thermostat.reading //p' "$work/messages" | sort | uniq -d)" ] || fail "a reading has come twice"
kill "$watcher"
for topic in status setpoint heating; do   # leaves nothing behind
    $pub -h "$host" -p "$port" -t "thermostat/$topic" -r -n
done
step "It ended with the exit code 0. The source of what you saw: examples/firmware/main.cpp"
