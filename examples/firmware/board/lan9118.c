#include "lan9118.h"

#include <string.h>

#include "board.h"
#include "lwip/etharp.h"
#include "lwip/pbuf.h"
#include "lwip/stats.h"

// ---- registers: the LAN9118's data sheet, section 5; what stands in the NVIC is ARMv7-M's

#define REGISTER(offset) BOARD_REGISTER(0x40200000u + (offset))
#define RX_DATA      REGISTER(0x00)
#define TX_DATA      REGISTER(0x20)
#define RX_STATUS    REGISTER(0x40)
#define TX_STATUS    REGISTER(0x48)
#define IRQ_CFG      REGISTER(0x54)
#define INT_STS      REGISTER(0x58)
#define INT_EN       REGISTER(0x5C)
#define BYTE_TEST    REGISTER(0x64)
#define FIFO_INT     REGISTER(0x68)
#define RX_CFG       REGISTER(0x6C)
#define TX_CFG       REGISTER(0x70)
#define HW_CFG       REGISTER(0x74)
#define RX_FIFO_INF  REGISTER(0x7C)
#define TX_FIFO_INF  REGISTER(0x80)
#define MAC_CMD      REGISTER(0xA4)
#define MAC_DATA     REGISTER(0xA8)

#define NVIC_ENABLE   BOARD_REGISTER(0xE000E100)
#define NVIC_DISABLE  BOARD_REGISTER(0xE000E180)
#define NVIC_UNPEND   BOARD_REGISTER(0xE000E280)

enum {
    ethernet_irq = 1 << 13,
    rx_frame_waits = 1 << 3,        // INT_STS and INT_EN: RSFL, the RX status FIFO is above its level of 0
    rx_error = 1 << 15,             // RX_STATUS: error summary
    crc_size = 4, frame_size = 1514,
    mac_cr = 1, mac_addrh = 2, mac_addrl = 3,
};
_Static_assert(PBUF_POOL_BUFSIZE >= (frame_size + 3) / 4 * 4, "a frame is one pbuf, in whole words");

// ---- registers of the MAC, which are behind others

static void mac_run(uint32_t command) {
    MAC_CMD = 1u << 31 | command;
    while ((MAC_CMD >> 31) != 0) {}
}
static uint32_t mac_read(uint32_t which) {
    mac_run(1u << 30 | which);
    return MAC_DATA;
}
static void mac_write(uint32_t which, uint32_t value) {
    MAC_DATA = value;
    mac_run(which);
}

// ---- sending

static err_t send_frame(struct netif* netif, struct pbuf* frame) {
    (void)netif;
    while ((TX_FIFO_INF >> 16 & 0xFF) != 0) (void)TX_STATUS;   // a full status FIFO would stop the transmitter
    const uint32_t size = frame->tot_len;
    if ((TX_FIFO_INF & 0xFFFF) < size + 12) {
        LINK_STATS_INC(link.drop);
        return ERR_MEM;   // lwIP sends again what has to arrive
    }
    TX_DATA = 1u << 13 | 1u << 12 | size;   // first and last segment
    TX_DATA = size << 16 | size;
    uint32_t word = 0, filled = 0;
    for (const struct pbuf* part = frame; part != NULL; part = part->next) {
        for (uint32_t i = 0; i < part->len; ++i) {
            word |= (uint32_t)((const uint8_t*)part->payload)[i] << filled;
            filled += 8;
            if (filled != 32) continue;
            TX_DATA = word;
            word = filled = 0;
        }
    }
    if (filled != 0) TX_DATA = word;
    LINK_STATS_INC(link.xmit);
    return ERR_OK;
}

// ---- receiving

static uint32_t frames_waiting(void) { return RX_FIFO_INF >> 16 & 0xFF; }

static struct pbuf* read_frame(void) {
    const uint32_t status = RX_STATUS, with_crc = status >> 16 & 0x3FFF, size = with_crc - crc_size;
    struct pbuf* frame = NULL;
    if ((status & rx_error) != 0 || with_crc <= crc_size || size > frame_size) {
        LINK_STATS_INC(link.lenerr);
    } else {
        frame = pbuf_alloc(PBUF_RAW, (uint16_t)size, PBUF_POOL);
        if (frame == NULL) LINK_STATS_INC(link.memerr);
    }
    for (uint32_t i = 0; i < with_crc; i += 4) {   // of a frame that is dropped, too
        const uint32_t word = RX_DATA;
        if (frame != NULL && i < size) memcpy((uint8_t*)frame->payload + i, &word, sizeof word);
    }
    if (frame == NULL)
        LINK_STATS_INC(link.drop);
    else
        LINK_STATS_INC(link.recv);
    return frame;
}

void lan9118_receive(struct netif* netif) {
    while (frames_waiting() != 0) {
        struct pbuf* const frame = read_frame();
        if (frame != NULL && netif->input(frame, netif) != ERR_OK) pbuf_free(frame);
    }
}

// ---- sleeping

// The request stays up as long as a frame waits: so the handler switches it off, until the next wait.
void ethernet_handler(void);   // in the vector table
void ethernet_handler(void) { NVIC_DISABLE = ethernet_irq; }

bool lan9118_wait(void) {
    // With interrupts masked, one that comes between the look and the wfi still ends the wfi, and is not missed.
    __asm__ volatile("cpsid i" ::: "memory");
    INT_STS = rx_frame_waits;
    NVIC_UNPEND = ethernet_irq;
    NVIC_ENABLE = ethernet_irq;
    if (frames_waiting() == 0) __asm__ volatile("wfi" ::: "memory");
    __asm__ volatile("cpsie i" ::: "memory");
    return frames_waiting() == 0;
}

// ---- the start

err_t lan9118_init(struct netif* netif) {
    if (BYTE_TEST != 0x87654321) return ERR_IF;
    HW_CFG = 1;   // soft reset
    while ((HW_CFG & 1) != 0) {}
    HW_CFG = (HW_CFG & 4) | 5u << 16;   // 5 KB for sending, the rest, 10.5 KB, for receiving
    TX_CFG = 1u << 15 | 1u << 14;       // discard what is in the FIFOs
    TX_CFG = 1u << 1;                   // transmitter on
    RX_CFG = 1u << 15;
    RX_CFG = 0;
    FIFO_INT = 0;
    INT_STS = ~0u;
    INT_EN = rx_frame_waits;
    IRQ_CFG = 0x111;                    // the interrupt line on, active high, push-pull
    mac_write(mac_cr, 1u << 20 | 1u << 3 | 1u << 2);   // full duplex, transmitter and receiver on

    const uint32_t low = mac_read(mac_addrl), high = mac_read(mac_addrh);   // from the EEPROM
    netif->hwaddr_len = ETH_HWADDR_LEN;
    memcpy(netif->hwaddr, &low, 4);
    memcpy(netif->hwaddr + 4, &high, 2);
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->mtu = 1500;
    netif->output = etharp_output;
    netif->linkoutput = send_frame;
    // A product asks the PHY, and tells lwIP when the cable comes and goes: netif_set_link_up(), netif_set_link_down().
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}
