// mqtt::lwip::Tcp - a TCP connection on lwIP's raw API, as a port for mqtt::Client. Tested with lwIP 2.1.3 and 2.2.1.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
//     mqtt::lwip::Tcp port;
//     mqtt::Client client(port, {rx, tx});
//     (void)client.connect(options);
//     while (true) {                                       // bare metal, NO_SYS=1
//         receive_frames(netif);                           // your driver: netif->input()
//         sys_check_timeouts();
//         switch (client.poll().kind) {
//         case mqtt::Event::disconnected: log("lost: ", port.last_error()); break;
//         // ... the other events ...
//         default: if (!port.ready()) sleep_until_interrupt(std::min(client.idle_ms(), sys_timeouts_sleeptime()));
//         }
//     }
//
// Where to call. The raw API is for one thread. With NO_SYS=1 call client and port where sys_check_timeouts() is
// called, never in an interrupt. With an RTOS call them in the tcpip thread (from tcpip_callback() or sys_timeout()),
// or with LOCK_TCPIP_CORE() held; `wake` tells when. lwIP's callbacks only note here what happened; the client is never
// called from them.
//
// Memory. Nothing of its own: lwIP's pools hold one connection (MEMP_TCP_PCB, MEMP_ALTCP_PCB), what is sent until it is
// acknowledged (TCP_SND_BUF, MEMP_TCP_SEG), and what came until read() copies it out, the only copy there is. Only what
// was read opens the window again, so a client that does not read stops the server (TCP_WND). Without memory nothing is
// lost: write() says "not yet", and open() fails, to be tried again.
//
// Names are resolved by lwIP (LWIP_DNS), whose lookups cannot be cancelled: lwIP calls back when the answer comes or
// after its own time-out, however long the port is closed, or gone, by then. So what lwIP gets is a number and not a
// pointer, and those ports that wait for a name are in a list (the only static variables here: its head, and the last
// number). An answer to a number for which no port waits any more does nothing, but lwIP remembers it for the next
// open(). Each lookup given up takes one of lwIP's DNS_MAX_REQUESTS until then; without a free one open() fails with
// ERR_MEM.
//
// TLS. An allocator for another kind of altcp connection can be given, such as lwIP's own altcp_tls_alloc() with its
// configuration. Beware: in 2.1.3 that accepts servers whose certificate is not theirs, unless a function of yours, to
// be given as the allocator's, calls altcp_tls_new() and then sets host name and MBEDTLS_SSL_VERIFY_REQUIRED in
// altcp_tls_context().

#ifndef MQTT_PLATFORM_LWIP_HPP
#define MQTT_PLATFORM_LWIP_HPP

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <string_view>

#include "lwip/altcp.h"
#include "lwip/dns.h"
#include "lwip/err.h"
#include "lwip/ip_addr.h"
#include "lwip/opt.h"
#include "lwip/pbuf.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"

namespace mqtt {
namespace lwip {

class Tcp {
public:
    // How many received pbufs it holds at most (one, if 0) until they are read; what comes beyond that is refused, and
    // lwIP or the server keeps it. A quarter of the pool is left, without which lwIP could not receive the
    // acknowledgements that the client waits for when many small packets have come and it cannot take them: the pool
    // counts packets, the window bytes. A driver with its own receive buffers (PBUF_REF) may want another number.
    uint16_t max_pbufs = PBUF_POOL_SIZE < 4 ? 1 : PBUF_POOL_SIZE - PBUF_POOL_SIZE / 4;

    // Called when lwIP has news for the port; ready() is true then. For a loop that sleeps where it cannot ask. It runs
    // in lwIP's callbacks, so it must not call the client or the port, and of lwIP only what is for later: it gives a
    // semaphore, or asks by tcpip_try_callback() to be called. May be null.
    void (*wake)(void* argument) = nullptr;
    void* wake_argument = nullptr;

#if LWIP_DNS
    // Which addresses of a name are asked for: LWIP_DNS_ADDRTYPE_*. One address is tried for each open().
    uint8_t address_type = LWIP_DNS_ADDRTYPE_DEFAULT;
#endif

    Tcp() = default;
#if LWIP_ALTCP
    // Connections come from `allocator`, which must outlive the port; null: plain TCP.
    explicit Tcp(altcp_allocator_t* allocator) : allocator_(allocator) {}
#endif
    Tcp(const Tcp&) = delete;
    Tcp& operator=(const Tcp&) = delete;
    // Where close() may be called; also while a name is being resolved.
    ~Tcp() { close(); }

    // Starts connecting, and continues when called again. > 0: open; 0: not yet; < 0: failed, closed, see last_error().
    // Only the first call looks at the arguments. `host` is a name, an IPv4 or an IPv6 address, the latter also in
    // brackets; it need not outlive the call nor end in 0; shorter than DNS_MAX_NAME_LENGTH, of which there is an array
    // on the stack. `port`: 1 to 65535. How long it may take is for the caller to say, with close(): lwIP gives up
    // after TCP_SYNMAXRTX repetitions.
    int open(std::string_view host, uint16_t port) {
        if (state_ == State::idle) start(host, port);
        if (state_ == State::resolved) connect();
        if (state_ == State::open) return 1;
        if (state_ != State::ended) return 0;
        close();
        return -1;
    }

    // Reads up to `size` bytes. > 0: how many; 0: none yet, or `size` is 0; < 0: the connection is lost, see
    // last_error(), or was never open. What came before the end is read first.
    int read(uint8_t* data, size_t size) {
        if (state_ != State::open && state_ != State::ended) return -1;
        if (received_ == nullptr) return state_ == State::open ? 0 : -1;
        const uint16_t n = pbuf_copy_partial(received_, data, clamped(size), 0);
        received_ = pbuf_free_header(received_, n);
        if (pcb_ != nullptr && n != 0) altcp_recved(pcb_, n);
        if (received_ != nullptr || state_ != State::open) news_ = true;   // lwIP will not tell of it again
        return n;
    }

    // Writes up to `size` bytes, often fewer. > 0: how many; 0: no room in the send buffer, or no memory, now; < 0: the
    // connection is lost, see last_error(), or was never open; there may still be something to read. The bytes are
    // copied, and sent at once as far as the server's window goes.
    int write(const uint8_t* data, size_t size) {
        if (state_ != State::open) return -1;
        uint16_t n = clamped(size);
        if (n > altcp_sndbuf(pcb_)) n = altcp_sndbuf(pcb_);
        err_t error = ERR_OK;
        // ERR_MEM: neither all nor a part was taken. There may be memory, or room in the queue, for less.
        while (n != 0 && (error = altcp_write(pcb_, data, n, TCP_WRITE_FLAG_COPY)) == ERR_MEM)
            n = static_cast<uint16_t>(n / 2);
        if (n < size) blocked_ = true;
        if (n == 0) return 0;
        if (error != ERR_OK) {
            end(error);
            return -1;
        }
        // Its errors are such as no memory or no route for now; lwIP tries again by itself.
        (void)altcp_output(pcb_);
        return n;
    }

    // Closes what there is: the connection, an attempt to connect, the wait for a name. At any time, also twice, but
    // not in `wake`. What was written is still sent, by lwIP; what came and was not read is dropped. Keeps
    // last_error(). open() may follow at once.
    void close() {
        stop_waiting();
        if (altcp_pcb* const pcb = pcb_) {
            pcb_ = nullptr;
            attach(pcb, nullptr);
            // As if it had been read: lwIP resets a connection with unread data, and what was written (DISCONNECT)
            // would be lost with it.
            if (received_ != nullptr) altcp_recved(pcb, received_->tot_len);
            // If the other side is silent, lwIP repeats what is left for minutes. Should connections be short
            // (MEMP_NUM_TCP_PCB), a new one may have this one's place.
            altcp_setprio(pcb, TCP_PRIO_MIN);
            if (altcp_close(pcb) != ERR_OK) altcp_abort(pcb);   // ERR_MEM
        }
        if (received_ != nullptr) pbuf_free(received_);
        received_ = nullptr;
        state_ = State::idle;
    }

    // Has something happened since it was last asked? Bytes or the end came, open() can go on, there is room for what
    // write() did not take; or read() left something. For a loop that sleeps: ask when there is nothing else to do,
    // poll (and write_payload()) again if it is true, and sleep if it is false. True now and then without need, never
    // false instead of true. What is not read because the client cannot take it (wants_read()) is told only once.
    bool ready() {
        const bool news = news_;
        news_ = false;
        return news;
    }

    // Milliseconds of sys_now().
    uint32_t now_ms() { return sys_now(); }

#ifdef LWIP_RAND
    // LWIP_RAND(), for reconnect jitter. Without it the client makes do with the time.
    uint32_t random() { return static_cast<uint32_t>(LWIP_RAND()); }
#endif

    // Why the last failure came, kept until the next: ERR_CLSD: the server closed in good order; ERR_RST: it reset the
    // connection, or refused it; ERR_ABRT: lwIP gave up (the server is silent, or lwIP needed the memory); ERR_VAL: the
    // name was not found, or there is no DNS server; ERR_ARG: a host that is none; ERR_MEM: out of memory, pcbs or DNS
    // requests; ERR_RTE: no route; others as lwIP tells them. ERR_OK: none yet.
    err_t last_error() const { return error_; }

private:
    enum class State : uint8_t {
        idle,         // nothing is held
        resolving,    // in the list of those that wait_
        resolved,     // address_
        connecting,   // pcb_
        open,         // pcb_
        ended         // error_; what came before may still be there; pcb_ is there unless lwIP has freed it
    };

    static uint16_t clamped(size_t size) {
        constexpr size_t most = INT_MAX < 0xFFFF ? size_t{INT_MAX} : size_t{0xFFFF};
        return static_cast<uint16_t>(size < most ? size : most);
    }

    // The first cause counts.
    void end(err_t error) {
        if (state_ == State::ended) return;
        error_ = error;
        state_ = State::ended;
    }

    // Something happened, says a callback.
    void tell() {
        news_ = true;
        if (wake != nullptr) wake(wake_argument);
    }

    // ---- the name

    void start(std::string_view host, uint16_t port) {
        if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
        char name[DNS_MAX_NAME_LENGTH];
        if (host.empty() || host.size() >= sizeof name) return end(ERR_ARG);
        if (host.find('\0') != std::string_view::npos) return end(ERR_ARG);
        memcpy(name, host.data(), host.size());
        name[host.size()] = '\0';
        port_ = port;
        look_up(name);
    }

#if LWIP_DNS
    void look_up(const char* name) {
        ticket_ = ++last_ticket_;
        next_ = waiting_;
        waiting_ = this;
        state_ = State::resolving;
        const err_t error = dns_gethostbyname_addrtype(name, &address_, on_found, to_argument(ticket_), address_type);
        if (error == ERR_INPROGRESS) return;
        stop_waiting();
        if (error != ERR_OK) return end(error);
        state_ = State::resolved;   // an address, or a name that lwIP remembers
    }
    void stop_waiting() {
        for (Tcp** link = &waiting_; *link != nullptr; link = &(*link)->next_)
            if (*link == this) {
                *link = next_;
                return;
            }
    }
    static void on_found(const char*, const ip_addr_t* address, void* argument) {
        Tcp* tcp = waiting_;
        while (tcp != nullptr && to_argument(tcp->ticket_) != argument) tcp = tcp->next_;
        if (tcp == nullptr) return;   // closed, or gone
        tcp->stop_waiting();
        if (address != nullptr) {
            tcp->address_ = *address;
            tcp->state_ = State::resolved;
        } else {
            tcp->end(ERR_VAL);
        }
        tcp->tell();
    }
    static void* to_argument(uint32_t ticket) { return reinterpret_cast<void*>(static_cast<uintptr_t>(ticket)); }
#else
    void look_up(const char* name) {
        if (ipaddr_aton(name, &address_) == 0) return end(ERR_ARG);
        state_ = State::resolved;
    }
    void stop_waiting() {}
#endif

    // ---- the connection

    void connect() {
        pcb_ = allocate();
        if (pcb_ == nullptr) return end(ERR_MEM);
        attach(pcb_, this);
        // The client writes all it has at once, and small packets are the rule: Nagle's algorithm would hold them back
        // until what was sent before is acknowledged, which servers delay.
        altcp_nagle_disable(pcb_);
        state_ = State::connecting;
        const err_t error = altcp_connect(pcb_, &address_, port_, on_connected);
        if (error != ERR_OK) end(error);
    }
    altcp_pcb* allocate() {
#if LWIP_ALTCP
        return altcp_new_ip_type(allocator_, IP_GET_TYPE(&address_));
#else
        return tcp_new_ip_type(IP_GET_TYPE(&address_));
#endif
    }
    // Null: lwIP calls nobody any more.
    static void attach(altcp_pcb* pcb, Tcp* tcp) {
        altcp_arg(pcb, tcp);
        altcp_recv(pcb, tcp != nullptr ? on_received : nullptr);
        altcp_sent(pcb, tcp != nullptr ? on_sent : nullptr);
        altcp_poll(pcb, tcp != nullptr ? on_poll : nullptr, 1);   // every 500 ms
        altcp_err(pcb, tcp != nullptr ? on_error : nullptr);
    }

    // lwIP calls these. None of them closes or aborts, so none has to tell lwIP so with ERR_ABRT.
    static err_t on_connected(void* self, altcp_pcb*, err_t error) {
        Tcp& tcp = *static_cast<Tcp*>(self);
        if (error == ERR_OK)
            tcp.state_ = State::open;
        else
            tcp.end(error);
        tcp.tell();
        return ERR_OK;
    }
    static err_t on_received(void* self, altcp_pcb*, pbuf* bytes, err_t) {
        Tcp& tcp = *static_cast<Tcp*>(self);
        if (bytes == nullptr) {
            tcp.end(ERR_CLSD);
        } else if (tcp.received_ == nullptr) {
            tcp.received_ = bytes;
        } else {
            if (!tcp.has_room_for(*bytes)) return ERR_MEM;   // it is still lwIP's, which offers it again
            pbuf_cat(tcp.received_, bytes);
        }
        tcp.tell();
        return ERR_OK;
    }
    static err_t on_sent(void* self, altcp_pcb*, uint16_t) {
        Tcp& tcp = *static_cast<Tcp*>(self);
        if (tcp.blocked_) {
            tcp.blocked_ = false;
            tcp.tell();
        }
        return ERR_OK;
    }
    // If nothing was on the way when memory was short, nothing will be acknowledged: so look again.
    static err_t on_poll(void* self, altcp_pcb* pcb) { return on_sent(self, pcb, 0); }
    static void on_error(void* self, err_t error) {
        Tcp& tcp = *static_cast<Tcp*>(self);
        tcp.pcb_ = nullptr;   // freed
        tcp.end(error);
        tcp.tell();
    }

    bool has_room_for(const pbuf& bytes) const {
        if (size_t{received_->tot_len} + bytes.tot_len > 0xFFFF) return false;   // a chain counts in 16 bits
        return size_t{pbuf_clen(received_)} + pbuf_clen(&bytes) <= max_pbufs;
    }

    State state_ = State::idle;
    bool news_ = false;             // see ready()
    bool blocked_ = false;          // a write() could not take all, and room has not been told since
    err_t error_ = ERR_OK;
    uint16_t port_ = 0;
    ip_addr_t address_{};
    altcp_pcb* pcb_ = nullptr;
    pbuf* received_ = nullptr;      // a chain
#if LWIP_ALTCP
    altcp_allocator_t* allocator_ = nullptr;
#endif
#if LWIP_DNS
    uint32_t ticket_ = 0;           // of the last lookup; 32 bits outlive any lookup of lwIP's
    Tcp* next_ = nullptr;           // of those that wait
    inline static Tcp* waiting_ = nullptr;
    inline static uint32_t last_ticket_ = 0;
#endif
};

}  // namespace lwip
}  // namespace mqtt

#endif
