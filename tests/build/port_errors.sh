# port_errors.sh TARGET: a port with a missing or wrong function is told by one error, the sentence that names the
# function's signature.
. "$(dirname "$0")/target.sh"

open='int open(std::string_view host, uint16_t port)'
read='int read(uint8_t* data, size_t size)'
write='int write(const uint8_t* data, size_t size)'
close='void close()'
now_ms='uint32_t now_ms()'
random='uint32_t random()'
load='int load(uint8_t* record, size_t size)'
save='int save(const uint8_t* record, size_t size)'
sync='int sync()'
compact='int compact()'
commit='int commit()'

# compiles FUNCTION...: a program with a port of these functions; the compiler's words are in `log`.
compiles() {
    {
        echo '#include "mqtt.hpp"'
        echo 'struct Port {'
        for function; do
            # The body is not asked for.
            echo "    $function;"
        done
        echo '};'
        echo 'int use(Port& port) {'
        echo '    static uint8_t rx[64], tx[512];'
        echo '    mqtt::Client client(port, {rx, tx});'
        echo '    static const mqtt::ConnectOptions options;'
        echo '    (void)client.connect(options);'
        echo '    (void)client.poll();'
        echo '    return static_cast<int>(client.idle_ms());'
        echo '}'
    } >port.cpp
    $cxx -fno-exceptions -fno-rtti -fsyntax-only port.cpp >log 2>&1
}

failed=0
# refused SIGNATURE FUNCTION...: a port of these functions is told that it lacks SIGNATURE, and nothing else.
refused() {
    signature=$1
    shift
    if compiles "$@"; then
        echo "compiles, but is not: $signature"
        failed=1
    elif ! grep -F "a port needs: $signature" log | grep -q 'error:'; then
        echo "told, but not the sentence 'a port needs: $signature':"
        cat log
        failed=1
    elif [ "$(grep -c 'error:' log)" != 1 ]; then
        echo "more than the one error 'a port needs: $signature':"
        grep 'error:' log
        failed=1
    fi
}

compiles "$open" "$read" "$write" "$close" "$now_ms" || { cat log; fail "the smallest port does not compile"; }
compiles "$open" "$read" "$write" "$close" "$now_ms" "$random" || { cat log; fail "a port with random() does not compile"; }
compiles "$open" "$read" "$write" "$close" "$now_ms" "$load" "$save" "$sync" "$compact" "$commit" ||
    { cat log; fail "a port with storage does not compile"; }
# What may be called in the same way is as good.
compiles "int open(std::string_view, uint32_t, int more = 0)" "int read(void*, size_t)" "static int write(const void*, size_t)" \
    "$close" "uint32_t now_ms() const" || { cat log; fail "a port that can be called as required does not compile"; }

# missing
refused "$open" "$read" "$write" "$close" "$now_ms"
refused "$read" "$open" "$write" "$close" "$now_ms"
refused "$write" "$open" "$read" "$close" "$now_ms"
refused "$close" "$open" "$read" "$write" "$now_ms"
refused "$now_ms" "$open" "$read" "$write" "$close"
# wrong argument, wrong number of them, wrong result
refused "$open" "int open(const char* host, uint16_t port)" "$read" "$write" "$close" "$now_ms"
refused "$open" "int open(std::string_view host)" "$read" "$write" "$close" "$now_ms"
refused "$open" "bool open(std::string_view host, uint16_t port)" "$read" "$write" "$close" "$now_ms"
refused "$open" "void open(std::string_view host, uint16_t port)" "$read" "$write" "$close" "$now_ms"
refused "$read" "$open" "int read(char* data, size_t size)" "$write" "$close" "$now_ms"
refused "$read" "$open" "size_t read(uint8_t* data, size_t size)" "$write" "$close" "$now_ms"
refused "$read" "$open" "int read(uint8_t* data)" "$write" "$close" "$now_ms"
refused "$write" "$open" "$read" "int write(uint8_t* data, size_t size)" "$close" "$now_ms"
refused "$write" "$open" "$read" "int write(const char* data, size_t size)" "$close" "$now_ms"
refused "$write" "$open" "$read" "bool write(const uint8_t* data, size_t size)" "$close" "$now_ms"
refused "$close" "$open" "$read" "$write" "int close()" "$now_ms"
refused "$close" "$open" "$read" "$write" "void close(int how)" "$now_ms"
refused "$now_ms" "$open" "$read" "$write" "$close" "uint64_t now_ms()"
refused "$now_ms" "$open" "$read" "$write" "$close" "int now_ms()"
# optional, but if it is there it has to be right
refused "$random" "$open" "$read" "$write" "$close" "$now_ms" "int random()"
refused "$random" "$open" "$read" "$write" "$close" "$now_ms" "uint32_t random(uint32_t limit)"
# storage: all of it, or neither load() nor save()
refused "$load" "$open" "$read" "$write" "$close" "$now_ms" "$save" "$sync" "$compact" "$commit"
refused "$save" "$open" "$read" "$write" "$close" "$now_ms" "$load" "$sync" "$compact" "$commit"
refused "$sync" "$open" "$read" "$write" "$close" "$now_ms" "$load" "$save" "$compact" "$commit"
refused "$compact" "$open" "$read" "$write" "$close" "$now_ms" "$load" "$save" "$sync" "$commit"
refused "$commit" "$open" "$read" "$write" "$close" "$now_ms" "$load" "$save" "$sync" "$compact"
refused "$save" "$open" "$read" "$write" "$close" "$now_ms" "$load" "int save(uint8_t* record, size_t size)" "$sync" "$compact" "$commit"
refused "$commit" "$open" "$read" "$write" "$close" "$now_ms" "$load" "$save" "$sync" "$compact" "void commit()"
# private
refused "$read" "$open" "private: $read; public: $write" "$close" "$now_ms"

[ "$failed" = 0 ] || fail "see above"
