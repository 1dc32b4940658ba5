// What the firmware connects with: TCP, or, if FIRMWARE_TLS is 1, TLS over it. The application is the same with either.
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

class Port : public mqtt::mbedtls::Tls<mqtt::lwip::Tcp> {
public:
    // To be called once, before anything else. `ca_file`: the certificate, in DER, of the CA that the broker's must be of; a
    // file of the machine that QEMU runs on, as a product would have it in flash. Without it the program ends.
    void prepare(const char* ca_file) {
        mbedtls_memory_buffer_alloc_init(memory_, sizeof memory_);
        if (MBEDTLS_SSL_IN_CONTENT_LEN < 16384) max_fragment_length = 4096;   // what the broker sends must fit
        const int size = ca_file != nullptr ? board_read_file(ca_file, ca_, sizeof ca_) : -1;
        if (size <= 0) board_fail("no CA: nobody to trust");
        if (!add_ca_in_place({reinterpret_cast<const char*>(ca_), size_t(size)})) board_fail(error_text());
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
class Port : public mqtt::lwip::Tcp {
public:
    void prepare(const char*) {}
    const char* reason() const { return ""; }
    static size_t memory_in_use() { return 0; }
    static size_t memory_peak() { return 0; }
};
#endif

#endif
