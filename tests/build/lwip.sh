# lwip.sh TARGET LWIP: platform/lwip.hpp compiles without a warning with lwIP's source in the folder LWIP, however that
# is configured: with altcp and without, with and without names, with one IP version or both, bare or with an RTOS.
. "$(dirname "$0")/target.sh"
lwip=$2

cat >client.cpp <<'END'
#include "mqtt.hpp"
#include "platform/lwip.hpp"
int use(mqtt::lwip::Tcp& port, const mqtt::Buffers& buffers, const mqtt::ConnectOptions& options) {
    mqtt::Client client(port, buffers);
    if (!client.connect(options).ok()) return 1;
    while (client.poll().kind != mqtt::Event::disconnected && port.ready()) {}
    return port.last_error();
}
END
echo '#include "platform/lwip.hpp"' >alone.cpp
mkdir arch
cat >arch/cc.h <<'END'
#include <stdlib.h>
#define LWIP_RAND() rand()
typedef unsigned sys_prot_t;
END
echo 'typedef int sys_sem_t, sys_mutex_t, sys_mbox_t, sys_thread_t;' >arch/sys_arch.h

# compiles ALTCP DNS IPV4 IPV6 NO_SYS COMPILER-OPTION...
compiles() {
    printf '#define %s\n' "LWIP_ALTCP $1" "LWIP_DNS $2" "LWIP_IPV4 $3" "LWIP_IPV6 $4" "NO_SYS $5" >lwipopts.h
    shift 5
    $cxx -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast -Werror -fno-exceptions -fno-rtti \
        -I . -isystem "$lwip/src/include" "$@"
}
compiles 1 1 1 1 1 -Os -c client.cpp -o client.o
compiles 0 1 1 0 1 -fsyntax-only client.cpp
compiles 1 0 1 1 1 -fsyntax-only alone.cpp
compiles 1 1 0 1 0 -fsyntax-only alone.cpp
compiles 0 0 1 0 0 -fsyntax-only alone.cpp
compiles 1 1 1 1 1 -std=c++20 -fsyntax-only alone.cpp
echo "holds: $target"
