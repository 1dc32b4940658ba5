/* lwIP with threads, as on an RTOS: its own one, and those that take its lock. It checks that one of the two is so. */
#ifndef TESTS_FIRMWARE_RTOS_LWIPOPTS_H
#define TESTS_FIRMWARE_RTOS_LWIPOPTS_H

#ifdef __cplusplus
extern "C" {
#endif
void sys_mark_tcpip_thread(void);
void sys_check_core_locking(void);
void sys_lock_tcpip_core(void);
void sys_unlock_tcpip_core(void);
#ifdef __cplusplus
}
#endif

#define NO_SYS 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_TCPIP_CORE_LOCKING 1
#define LOCK_TCPIP_CORE() sys_lock_tcpip_core()
#define UNLOCK_TCPIP_CORE() sys_unlock_tcpip_core()
#define LWIP_MARK_TCPIP_THREAD() sys_mark_tcpip_thread()
#define LWIP_ASSERT_CORE_LOCKED() sys_check_core_locking()
#define TCPIP_MBOX_SIZE 64
#define TCPIP_THREAD_STACKSIZE 0

#define LWIP_HAVE_LOOPIF 1   /* both sides are in this stack, on 127.0.0.1 */
#define LWIP_LOOPIF_MULTICAST 0
#define LWIP_NETIF_LOOPBACK 1

#define MEM_ALIGNMENT 8
#define MEM_SIZE 65536
#define MEMP_NUM_SYS_TIMEOUT (LWIP_NUM_SYS_TIMEOUT_INTERNAL + 1)   /* the client's */
#define MEMP_NUM_TCP_PCB 8
#define MEMP_NUM_TCPIP_MSG_INPKT 32
#define LWIP_DNS 0
#define LWIP_ARP 0
#define LWIP_ALTCP 1
#define LWIP_IPV6 0
#define TCP_MSS 536
#define TCP_WND (4 * TCP_MSS)
#define TCP_SND_BUF (4 * TCP_MSS)
#define MEMP_NUM_TCP_SEG 32

#endif
