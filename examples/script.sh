# . examples/script.sh: what the scripts of the examples share, in the repository's top folder. `script` is the path of the one that runs.

step() { printf '\n== %s\n' "$*"; }
fail() {
    echo "$script: $*" >&2
    exit 1
}

# takes_broker "$@": sets host and port from --broker HOST:PORT; port is empty without.
takes_broker() {
    host=127.0.0.1
    port=
    case "$#:${1-}" in
        0:) ;;
        2:--broker)
            host=${2%:*}
            port=${2##*:}
            if [ "$host" = "$2" ] || [ -z "$host" ] || [ -z "$port" ]; then
                echo "$script: --broker needs HOST:PORT" >&2
                exit 2
            fi
            ;;
        1:-h | 1:--help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$script"; exit 0 ;;
        *) echo "usage: sh $script [--broker HOST:PORT]" >&2; exit 2 ;;
    esac
}

# ------------------------------------------------------------------------------------------------------- build

has() { command -v "$1" >/dev/null 2>&1; }
# installs PACKAGE...: of Debian and its relatives
installs() {
    step "Installing:" "$@"
    has apt-get || fail "please install these: there is no apt-get here"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        has sudo || fail "please install these: neither root nor sudo here"
        as_root=sudo
    fi
    $as_root apt-get update -q </dev/null
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" </dev/null
}

find_compiler() {
    for compiler in ${CXX:-} g++ clang++ c++; do
        if echo '#include <string_view>' | "$compiler" -std=c++17 -x c++ -fsyntax-only - 2>/dev/null; then return; fi
    done
    compiler=
}
# builds SOURCE...: into .build/quickstart; each is one program, and all of it is its source and the headers
builds() {
    find_compiler
    if [ -z "$compiler" ]; then
        installs g++ libc6-dev
        find_compiler
        [ -n "$compiler" ] || fail "there is still no C++17 compiler"
    fi
    build=.build/quickstart
    step "Building with $compiler, into $build"
    mkdir -p $build
    for source; do
        program=$build/$(basename "$source" .cpp)
        [ "$source" != tests/support/broker_main.cpp ] || program=$build/embedded_broker
        newer=$(find mqtt.hpp platform examples tests/support -name '*.[ch]pp' -newer "$program" 2>/dev/null || echo all)
        [ -n "$newer" ] || continue
        echo "$program"
        "$compiler" -std=c++17 -O1 -I. -pthread "$source" -o "$program.new" || fail "$source does not compile"
        mv "$program.new" "$program"
    done
    echo "done"
}

# --------------------------------------------------------------------------------------------------------- run

# begins: a temporary folder, work; it and the processes in `started` go with the script.
begins() {
    work=$(mktemp -d)
    started=
    trap end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}
end() {
    status=$?
    trap - EXIT
    for process in $started; do kill "$process" 2>/dev/null || true; done
    for process in $started; do wait "$process" 2>/dev/null || true; done
    rm -rf "$work"
    exit $status
}

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

# starts_broker: that of this repository, on a free port of 127.0.0.1, which is then `port`
starts_broker() {
    step "Starting the embedded broker on $host"
    .build/quickstart/embedded_broker --port-file "$work/port" >"$work/broker" 2>&1 &
    started="$! $started"
    waits_for 10 "the broker" test -s "$work/port"
    port=$(cat "$work/port")
}

# shows FILE COMMAND...: starts it; what it prints is shown, and goes to FILE. Its process id is in `shown`.
shows() {
    file=$1
    shift
    mkfifo "$file.pipe"
    tee "$file" <"$file.pipe" &
    started="$! $started"
    "$@" >"$file.pipe" &
    shown=$!
    started="$shown $started"
}
