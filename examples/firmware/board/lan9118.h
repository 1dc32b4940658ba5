// SMSC's LAN9118 Ethernet controller as a netif of lwIP (NO_SYS): polled for frames, its interrupt only wakes.
#ifndef LAN9118_H
#define LAN9118_H

#include <stdbool.h>

#include "lwip/err.h"
#include "lwip/netif.h"

#ifdef __cplusplus
extern "C" {
#endif

// For netif_add(), with ethernet_input as the input. ERR_IF: there is no such controller.
err_t lan9118_init(struct netif* netif);
// Hands all frames that have come to lwIP. Without a pbuf for one it is dropped (TCP sends it again) and counted in
// lwip_stats.link.
void lan9118_receive(struct netif* netif);
// Sleeps until the next interrupt of any kind. Returns at once, and false, while a frame is waiting.
bool lan9118_wait(void);

#ifdef __cplusplus
}
#endif

#endif
