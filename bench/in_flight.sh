#!/bin/sh
# sh bench/in_flight.sh: user-space instructions per QoS 1 message and its acknowledgement against the number in flight,
# counted by callgrind (the difference of two runs, so that the start cancels): publish(), a write of its own, a read
# of its own, and the polls. Needs g++, valgrind. Rows: bench, case, subject, metric, value, unit. Fails if the cost with
# many in flight is more than 1.3 times the smallest one.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
command -v valgrind >/dev/null || { echo "in_flight.sh: valgrind is not installed" >&2; exit 1; }
g++ -std=c++17 -O2 -I . bench/in_flight.cpp -o "$folder/in_flight"

# instructions VERSION IN_FLIGHT MESSAGES
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$folder/in_flight" "$@" 2>&1 |
        sed -n 's/.*Collected : //p'
}
"$folder/in_flight" 5 65535 200000
printf 'bench\tcase\tsubject\tmetric\tvalue\tunit\n'
printf 'in_flight\t65535 in flight\t5\tworks\t1\t-\n'
for version in 3.1.1 5; do
    least=0 most=0
    for count in 1 10 100 1000 10000; do
        few=$((count + 5000)) many=$((count + 25000))
        each=$((($(instructions $version $count $many) - $(instructions $version $count $few)) / (many - few)))
        printf 'in_flight\t%s in flight\t%s\tinstructions per message\t%s\tinstructions\n' $count $version $each
        [ $least != 0 ] && [ $least -le $each ] || least=$each
        [ $most -ge $each ] || most=$each
    done
    printf 'in_flight\tmost against least\t%s\tratio\t%s.%02d\t-\n' $version $((most / least)) $((most * 100 / least % 100))
    [ $((most * 10)) -le $((least * 13)) ] || { echo "in_flight.sh: it grows" >&2; exit 1; }
done
