#include "network.h"

#include "board.h"
#include "lan9118.h"
#include "lwip/init.h"
#include "lwip/ip4_addr.h"
#include "lwip/netif.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

static struct netif ethernet;

u32_t sys_now(void) { return board_now_ms(); }   // lwIP's clock

void network_start(void) {
    ip4_addr_t address, mask, gateway;
    IP4_ADDR(&address, 10, 0, 2, 15);            // QEMU's network: it is 10.0.2.2, and behind that is the host
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 10, 0, 2, 2);
    lwip_init();
    if (netif_add(&ethernet, &address, &mask, &gateway, NULL, lan9118_init, ethernet_input) == NULL)
        board_fail("no Ethernet controller");
    netif_set_default(&ethernet);
    netif_set_up(&ethernet);                     // with dhcp_start(&ethernet) the addresses above would be 0
}

void network_poll(void) {
    lan9118_receive(&ethernet);
    sys_check_timeouts();                        // retransmissions, ARP, DNS ...
}

void network_sleep(uint32_t ms) {
    const uint32_t begin = board_now_ms(), timer_ms = sys_timeouts_sleeptime();
    if (ms > timer_ms) ms = timer_ms;
    // The tick ends the wait once a millisecond. A battery would like a timer that is set to `ms`, and no tick.
    while (board_now_ms() - begin < ms && lan9118_wait()) {}
}
