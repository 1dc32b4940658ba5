/* lwIP for the tests on the host: small, IPv4 and IPv6, and every allocation comes from lwip_test_malloc(), so that it can
   be made to fail, and so that the address sanitizer watches each pcb, segment and pbuf. */
#ifndef TESTS_FIRMWARE_LWIPOPTS_H
#define TESTS_FIRMWARE_LWIPOPTS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif
void* lwip_test_malloc(size_t size);
void* lwip_test_calloc(size_t count, size_t size);
void lwip_test_free(void* memory);
unsigned lwip_test_random(void);
struct netif;
struct ip4_addr;
struct ip6_addr;
struct netif* lwip_test_route4(const struct ip4_addr* destination);
struct netif* lwip_test_route6(const struct ip6_addr* destination);
#ifdef __cplusplus
}
#endif

#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0

#if __has_include("lwip/acd.h")   /* 2.2 */
#define MEM_CUSTOM_ALLOCATOR 1
#define MEM_CUSTOM_MALLOC lwip_test_malloc
#define MEM_CUSTOM_CALLOC lwip_test_calloc
#define MEM_CUSTOM_FREE lwip_test_free
#else
#define MEM_LIBC_MALLOC 1
#define mem_clib_malloc lwip_test_malloc
#define mem_clib_calloc lwip_test_calloc
#define mem_clib_free lwip_test_free
#endif
#define MEMP_MEM_MALLOC 1
#define MEM_ALIGNMENT 8

#ifndef LWIP_IPV4
#define LWIP_IPV4 1
#endif
#ifndef LWIP_IPV6
#define LWIP_IPV6 1
#endif
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_IPV6_MLD 0
#define IPV6_FRAG_COPYHEADER 1   /* pointers of 64 bits */
#define LWIP_ARP 0
#define LWIP_ICMP 1
#define LWIP_UDP 1
#ifndef LWIP_DNS
#define LWIP_DNS 1
#endif
#define DNS_MAX_NAME_LENGTH 64
#define LWIP_TCP 1
#ifndef LWIP_ALTCP
#define LWIP_ALTCP 1
#endif

/* As on a small device. */
#define TCP_MSS 536
#define TCP_WND (4 * TCP_MSS)
#define TCP_SND_BUF (4 * TCP_MSS)
#define TCP_SND_QUEUELEN 16
#define MEMP_NUM_TCP_SEG 32
#define PBUF_POOL_SIZE 16
#define PBUF_POOL_BUFSIZE 640
#define TCP_OVERSIZE TCP_MSS

/* Two hosts in one stack: who the receiver is tells which of the two interfaces a packet leaves by. */
#define LWIP_HOOK_IP4_ROUTE_SRC(source, destination) lwip_test_route4(destination)
#define LWIP_HOOK_IP6_ROUTE(source, destination) lwip_test_route6(destination)

/* Makes a timer larger than anything else, by which an allocation for one is known: lwIP asserts that these succeed. */
#define LWIP_DEBUG_TIMERNAMES 1

#define LWIP_STATS 1
#define LWIP_STATS_DISPLAY 1   /* for the pools' names */
#define MEM_STATS 1
#define MEMP_STATS 1
#define TCP_STATS 1

#endif
