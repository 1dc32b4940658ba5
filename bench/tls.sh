#!/bin/sh
# sh bench/tls.sh: throughput over TLS against a bare mbedTLS loop (bench/tls.cpp), and, where valgrind is, the instructions of
# each, counted by callgrind (the difference of two runs, so that the handshake cancels). Needs g++, libmbedtls-dev. Rows:
# bench, case, subject, metric, value, unit. Fails if the port's time or instructions are more than 1.15 times the bare loop's.
set -eu
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
g++ -std=c++17 -O2 -I . bench/tls.cpp -o "$folder/tls" -lmbedtls -lmbedx509 -lmbedcrypto
status=0
"$folder/tls" || status=1
command -v valgrind >/dev/null || exit $status

# instructions SUBJECT CASE COUNT
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$folder/tls" "$@" 2>&1 | sed -n 's/.*Collected : //p'
}
# each CASE NAME MESSAGES
each() {
    bare= peer=0
    for subject in peer bare port client; do
        cost=$((($(instructions $subject "$1" $((3 * $3))) - $(instructions $subject "$1" "$3")) / (2 * $3) - peer))
        [ $subject != peer ] || { peer=$cost; continue; }   # what the others have in them, too: the server's part
        printf 'tls\t%s\t%s\tinstructions per message\t%s\tinstructions\n' "$2" $subject $cost
        : "${bare:=$cost}"
        printf 'tls\t%s\t%s\tinstructions against bare mbedTLS\t%s.%03d\tratio\n' "$2" $subject $((cost / bare)) $((cost * 1000 / bare % 1000))
        [ $subject != port ] || [ $((cost * 100)) -le $((bare * 115)) ] || status=1
    done
}
each 0 'send 16 B, each alone' 1000
each 2 'send 256 B' 1000
each 3 'send 4 kB' 200
each 4 'receive 16 B, each alone' 1000
each 6 'receive 256 B' 1140
each 7 'receive 4 kB' 150
exit $status
