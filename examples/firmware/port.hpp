// What the firmware connects with: TCP, or, if FIRMWARE_TLS is 1, TLS over it. If FIRMWARE_JOURNAL is 1, it keeps the session
// on flash, over resets and power cuts. The client is used in the same way with any of them.
#ifndef PORT_HPP
#define PORT_HPP

#include "board.h"
#include "mqtt.hpp"
#include "platform/lwip.hpp"

#if FIRMWARE_TLS
#include <mbedtls/memory_buffer_alloc.h>

#include "platform/mbedtls.hpp"

#if !defined(TLS_MEMORY)   // what mbedTLS needs besides its buffers for records; longer chains of certificates want more
#define TLS_MEMORY (16 * 1024)
#endif

class Link : public mqtt::mbedtls::Tls<mqtt::lwip::Tcp> {
public:
    // To be called once, before anything else. The board's argument `next`: the certificate, in DER, of the CA that the
    // broker's must be of; a file of the machine that QEMU runs on, as a product would have it in flash. Without it the program
    // ends. Returns the number of the argument after it.
    unsigned prepare(unsigned next) {
        const char* const ca_file = board_argument(next);
        mbedtls_memory_buffer_alloc_init(memory_, sizeof memory_);
        if (MBEDTLS_SSL_IN_CONTENT_LEN < 16384) max_fragment_length = 4096;   // what the broker sends must fit
        const int size = ca_file != nullptr ? board_read_file(ca_file, ca_, sizeof ca_) : -1;
        if (size <= 0) board_fail("no CA: nobody to trust");
        if (!add_ca_in_place({reinterpret_cast<const char*>(ca_), size_t(size)})) board_fail(error_text());
        return next + 1;
    }
    // Why the connection failed or ended, for logs.
    const char* reason() const {
        return tls_error() == mqtt::mbedtls::Error::network ? "" : error_text();
    }

    // Bytes of mbedTLS's memory that are in use, and that have been at most.
    static size_t memory_in_use() { return counted(mbedtls_memory_buffer_alloc_cur_get); }
    static size_t memory_peak() { return counted(mbedtls_memory_buffer_alloc_max_get); }

private:
    static size_t counted(void (*get)(size_t*, size_t*)) {
        size_t bytes = 0, blocks = 0;
        get(&bytes, &blocks);
        return bytes + blocks * 32;   // the head that each has
    }

    alignas(8) static inline unsigned char memory_[MBEDTLS_SSL_IN_CONTENT_LEN + MBEDTLS_SSL_OUT_CONTENT_LEN + TLS_MEMORY];
    static inline unsigned char ca_[2048];
};
#else
class Link : public mqtt::lwip::Tcp {
public:
    unsigned prepare(unsigned next) { return next; }
    const char* reason() const { return ""; }
    static size_t memory_in_use() { return 0; }
    static size_t memory_peak() { return 0; }
};
#endif

#if !defined(FIRMWARE_JOURNAL)
#define FIRMWARE_JOURNAL 0
#endif
inline constexpr bool has_journal = FIRMWARE_JOURNAL != 0;

#if FIRMWARE_JOURNAL
#include "flash.h"
#include "platform/journal.hpp"

// All that a board has to give for it. 8 sectors of 4 KB, half of which can be in use at a time.
struct Flash {
    static constexpr mqtt::Geometry geometry{flash_sector_size, flash_sectors, flash_granule};
    static int read(uint32_t address, uint8_t* data, size_t size) { return flash_read(address, data, size); }
    static int program(uint32_t address, const uint8_t* data, size_t size) { return flash_program(address, data, size); }
    static int erase(uint32_t sector) { return flash_erase(sector); }
};
struct Port : Link, mqtt::Journal<Flash> {
    unsigned prepare(unsigned next) {
        next = Link::prepare(next);
        flash_open(board_argument(next));
        return next + 1;
    }
};
#else
using Port = Link;
#endif

#endif
