// lwIP's configuration: no threads, IPv4, TCP, DNS, and where its memory goes. What is not here is as in lwip/opt.h.
#ifndef LWIPOPTS_H
#define LWIPOPTS_H

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0     // lwIP is never called from an interrupt
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_TCP 1
#define LWIP_UDP 1                 // for DNS
#define LWIP_DNS 1
#define DNS_LOCAL_HOSTLIST 1       // QEMU's network has no name server that we would ask; and a certificate wants a name
#define DNS_LOCAL_HOSTLIST_INIT { DNS_LOCAL_HOSTLIST_ELEM("broker.test", IPADDR4_INIT_BYTES(10, 0, 2, 2)) }
#define LWIP_ALTCP 1               // platform/lwip.hpp: so that TLS can come between
#define LWIP_STATS 1               // a few hundred bytes, and the first thing that you want when something is stuck
#define LWIP_STATS_DISPLAY 0
#define MEMP_STATS 1
#define MEM_STATS 1

#define MEM_ALIGNMENT 4
#define MEM_SIZE (16 * 1024)       // copies of what is sent, until it is acknowledged
#define PBUF_POOL_SIZE 12          // frames that have come: 12 * 1.5 KB
#define TCP_MSS 1460
#define TCP_WND (4 * TCP_MSS)      // no more than the controller's receive FIFO of 10.5 KB, which drops what is above
#define TCP_SND_BUF (4 * TCP_MSS)
#define TCP_SND_QUEUELEN 24
#define MEMP_NUM_TCP_SEG 24
#define MEMP_NUM_PBUF 24
#define MEMP_NUM_TCP_PCB 4
#define MEMP_NUM_TCP_PCB_LISTEN 1

#endif
