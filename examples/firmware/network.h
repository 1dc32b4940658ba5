// lwIP without threads: started, kept going, and asleep while there is nothing to do.
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Starts lwIP and the Ethernet controller, with a static address.
void network_start(void);
// To be called in each turn of the main loop, before mqtt::Client::poll(): hands frames to lwIP and runs its timers.
void network_poll(void);
// Sleeps for at most this long, and no longer than until a frame comes or one of lwIP's timers is due.
void network_sleep(uint32_t ms);

#ifdef __cplusplus
}
#endif

#endif
