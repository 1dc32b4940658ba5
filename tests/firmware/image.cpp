// The firmware that the tests run in QEMU: one image, whose arguments say what to do.
//
//     fw HOST PORT CASE [CA] [FLASH [WORD ...]]
//
// HOST is 10.0.2.2, which is 127.0.0.1 of the machine that runs QEMU; broker.test is the same. CA: a file with the CA's
// certificate, if the firmware is built with TLS; then all goes through that. FLASH: the file that is its flash, if it is built
// with a journal; and what the case wants to know. The exit code says what came of it: 0 all is as it
// should be; 1 a check failed, or something was waited for in vain, and the serial line says which; 2 there is no such
// case; 98 an assertion of lwIP or the client failed, 99 a fault (examples/firmware/board). tests/firmware/emulated.cpp is
// the other side: it waits for what is printed here, and `waits_for_host()` for a byte from there.
#include "board.h"

#define MQTT_ASSERT(condition) ((condition) ? static_cast<void>(0) : board_fail(#condition))
#include "lan9118.h"
#include "mqtt.hpp"
#include "network.h"
#include "port.hpp"

#include "lwip/memp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using Text = std::string_view;

namespace {

// ---- printing

void print(Text text) { board_write(text.data(), text.size()); }
void print(const char* text) { board_print(text); }
void print(uint32_t number) {
    char text[10];
    size_t begin = sizeof text;
    do text[--begin] = static_cast<char>('0' + number % 10); while ((number /= 10) != 0);
    print(Text(text + begin, sizeof text - begin));
}
template <class... Parts> void print_line(Parts... parts) {
    (print(parts), ...);
    print("\n");
}

void check(bool ok, const char* what, int line) {
    if (ok) return;
    print_line("image.cpp:", static_cast<uint32_t>(line), ": FAILED: ", what);
    board_exit(1);
}
#define CHECK(condition) check(condition, #condition, __LINE__)

// ---- the client, as an application has it

uint8_t rx[512], tx[4096];
Port port;
mqtt::Client client(port, {rx, tx});
mqtt::ConnectOptions options;

struct Seen {
    uint32_t connected, disconnected, acknowledged, subscribed, pingresp, resend, pubrel, messages;
    uint32_t pieces, bytes, wrong_bytes;   // of messages: pieces of them, their payload, and what of it is not as in byte_at()
    bool session_present;
    Error error;                           // the last that ended a connection
    QoS qos;                               // of the last message
} seen;

constexpr uint8_t byte_at(uint32_t offset) { return static_cast<uint8_t>(offset ^ offset >> 8 ^ offset >> 16); }

// The message begun with begin_publish().
struct {
    uint32_t size, written;
} upload;

// Writes of its payload what is taken now.
void write_payload() {
    while (upload.written < upload.size) {
        uint8_t piece[512];
        uint32_t n = 0;
        for (; n < sizeof piece && upload.written + n < upload.size; ++n) piece[n] = byte_at(upload.written + n);
        const mqtt::Written taken = client.write_payload({piece, n});
        if (taken.error != Error::ok || taken.size == 0) return;
        upload.written += static_cast<uint32_t>(taken.size);
    }
}

// One turn of the main loop. What is not told of messages: they are counted, and compared with byte_at().
Event step() {
    network_poll();
    const Event event = client.poll();
    switch (event.kind) {
    case Event::connected:
        ++seen.connected;
        seen.session_present = event.session_present;
        break;
    case Event::disconnected:
        ++seen.disconnected;
        seen.error = event.error;
        break;
    case Event::acknowledged: ++seen.acknowledged; break;
    case Event::subscribed: ++seen.subscribed; break;
    case Event::pingresp: ++seen.pingresp; break;
    case Event::resend_payload:
        ++seen.resend;
        upload.written = 0;
        break;
    case Event::pubrel: ++seen.pubrel; break;
    case Event::received:
        for (uint32_t i = 0; i < event.message.payload.size(); ++i)
            seen.wrong_bytes += event.message.payload[i] != byte_at(event.message.offset + i);
        seen.bytes += static_cast<uint32_t>(event.message.payload.size());
        seen.messages += event.message.complete();
        seen.qos = event.message.qos;
        ++seen.pieces;
        break;
    case Event::none: {
        write_payload();
        const uint32_t idle_ms = client.idle_ms();
        if (!port.ready()) network_sleep(idle_ms < 10 ? idle_ms : 10);   // not longer: the serial line is looked at, too
        break;
    }
    default: break;
    }
    return event;
}

// Lives until the condition holds, which must be soon: that is more than any of TCP's timers, on a busy machine.
template <class Condition> void until(const char* what, int line, Condition condition) {
    const uint32_t begin = board_now_ms();
    while (!condition()) {
        (void)step();
        if (board_now_ms() - begin < 30000) continue;
        print_line("image.cpp:", static_cast<uint32_t>(line), ": FAILED: waited in vain for ", what, ", last error: ",
                   mqtt::to_string(seen.error));
        board_exit(1);
    }
}
#define UNTIL(condition) until(#condition, __LINE__, [&] { return condition; })
void live(uint32_t ms) {
    for (const uint32_t begin = board_now_ms(); board_now_ms() - begin < ms;) (void)step();
}

void waits_for_host(const char* text) {
    print_line(text);
    UNTIL(board_read() >= 0);
}

void connect() {
    const uint32_t before = seen.connected;
    CHECK(client.connect(options).ok());
    UNTIL(seen.connected != before);
}
void subscribe(Text filter) {
    const uint32_t before = seen.subscribed;
    CHECK(client.subscribe(filter, QoS::exactly_once).ok());
    UNTIL(seen.subscribed != before);
}
void disconnect() {
    const uint32_t before = seen.disconnected;
    CHECK(client.disconnect().ok());
    UNTIL(seen.disconnected != before);
    CHECK(seen.error == Error::ok);
}

// A message of `size` bytes as byte_at() has them; for up to 256 bytes.
bool publish(size_t size, QoS qos) {
    uint8_t payload[256];
    for (uint32_t i = 0; i < size; ++i) payload[i] = byte_at(i);
    return client.publish("test/topic", {payload, size}, qos).ok();
}

// ---- lwIP's memory: what of it is in use

class MemoryInUse {
public:
    MemoryInUse() {
        for (int i = 0; i < MEMP_MAX; ++i) pools_[i] = lwip_stats.memp[i]->used;
        heap_ = lwip_stats.mem.used;
    }
    // The same as now, once connections that have ended are forgotten? TIME_WAIT, two minutes long, is cut short.
    bool is_back() const {
        while (tcp_tw_pcbs != nullptr) tcp_abort(tcp_tw_pcbs);
        for (int i = 0; i < MEMP_MAX; ++i)
            if (lwip_stats.memp[i]->used != pools_[i]) return false;
        return lwip_stats.mem.used == heap_;
    }
    // Fails the test if it is not back within a few seconds, and says what is missing.
    void must_come_back() const {
        for (const uint32_t begin = board_now_ms(); !is_back() && board_now_ms() - begin < 10000;) (void)step();
        if (is_back()) return;
        for (int i = 0; i < MEMP_MAX; ++i)
            if (lwip_stats.memp[i]->used != pools_[i])
                print_line("pool ", static_cast<uint32_t>(i), ": ", lwip_stats.memp[i]->used, " instead of ", pools_[i]);
        print_line("heap: ", lwip_stats.mem.used, " instead of ", heap_, "\nFAILED: memory is lost");
        board_exit(1);
    }

private:
    uint32_t pools_[MEMP_MAX];
    uint32_t heap_;
};

// Takes all that there is of a pool of lwIP, and gives it back.
class Hog {
public:
    using Take = void*();
    using Give = void(void*);
    void take(Take* one, Give* give) {
        give_ = give;
        while (count_ < sizeof taken_ / sizeof *taken_ && (taken_[count_] = one()) != nullptr) ++count_;
        CHECK(count_ < sizeof taken_ / sizeof *taken_);
        CHECK(count_ != 0);
    }
    void give_back() {
        while (count_ != 0) give_(taken_[--count_]);
    }

private:
    void* taken_[600];
    size_t count_ = 0;
    Give* give_ = nullptr;
};
Hog hog;

template <memp_t pool> void* from_pool() { return memp_malloc(pool); }
template <memp_t pool> void to_pool(void* taken) { memp_free(pool, taken); }
void* frame_buffer() { return pbuf_alloc(PBUF_RAW, PBUF_POOL_BUFSIZE, PBUF_POOL); }
void free_frame_buffer(void* taken) { pbuf_free(static_cast<pbuf*>(taken)); }
void* heap_block() { return mem_malloc(32); }

// ---- the cases

void connects() {
    connect();
    print_line("connected after ", board_now_ms(), " ms");
    disconnect();
}

void qos() {
    connect();
    subscribe("test/#");
    for (const QoS each : {QoS::at_most_once, QoS::at_least_once, QoS::exactly_once}) {
        seen.messages = seen.acknowledged = 0;
        for (uint32_t i = 1; i <= 10; ++i) {
            CHECK(publish(i * 25, each));
            UNTIL(seen.messages == i);
            CHECK(seen.qos == each);
        }
        if (each != QoS::at_most_once) UNTIL(seen.acknowledged == 10);
        live(20);
        CHECK(seen.messages == 10);
    }
    CHECK(seen.wrong_bytes == 0);
    CHECK(seen.bytes == 3 * 55 * 25);
    disconnect();
}

void keep_alive() {
    options.keep_alive = 1;
    options.response_timeout_ms = 3000;
    connect();
    UNTIL(seen.pingresp == 2);
    UNTIL(seen.disconnected == 1);   // the server answers two pings and not the third
    CHECK(seen.error == Error::response_timeout);
    CHECK(seen.pingresp == 2);
    UNTIL(seen.connected == 2);
    disconnect();
}

// With the clock's interrupt off, only the controller's can end the sleep.
void wakes() {
    connect();
    subscribe("test/#");
    CHECK(publish(1, QoS::at_most_once));
    UNTIL(seen.messages == 1);                      // all is quiet now
    live(50);
    volatile uint32_t& systick = *reinterpret_cast<volatile uint32_t*>(0xE000E010);
    for (uint32_t i = 2; i <= 20; ++i) {
        CHECK(publish(1, QoS::at_most_once));
        while (client.wants_write()) (void)client.poll();
        const uint32_t control = systick;
        systick = control & ~2u;
        while (lan9118_wait()) {}
        systick = control;
        UNTIL(seen.messages == i);
    }
    disconnect();
}

// What the main loop costs while nothing happens: a turn for each time that it sleeps, which step() cuts to 10 ms.
void sleeps() {
    connect();
    live(1000);
    uint32_t turns = 0;
    for (const uint32_t begin = board_now_ms(); board_now_ms() - begin < 1000; ++turns) (void)step();
    CHECK(turns <= 200);   // frames and lwIP's timers end it early, a few times
    uint32_t waits = 0;
    for (const uint32_t begin = board_now_ms(); board_now_ms() - begin < 500; ++waits) (void)lan9118_wait();
    CHECK(waits <= 1000);  // the clock's interrupt ends each: the processor has slept
    disconnect();
}

void broker_killed() {
    options.clean_session = false;
    connect();
    subscribe("test/#");
    waits_for_host("subscribed");                   // the broker takes nothing from now on ...
    for (const QoS each : {QoS::at_least_once, QoS::exactly_once, QoS::at_least_once, QoS::exactly_once})
        CHECK(publish(100, each));
    UNTIL(!client.wants_write());
    live(100);                                      // it is on the wire
    CHECK(seen.acknowledged == 0);
    print_line("sent");                             // ... and is killed
    UNTIL(seen.disconnected != 0);
    CHECK(seen.error == Error::connection_lost);
    for (const QoS each : {QoS::at_most_once, QoS::at_least_once, QoS::exactly_once}) CHECK(publish(200, each));
    print_line("offline");
    UNTIL(seen.connected == 2);
    CHECK(seen.session_present);
    UNTIL(seen.messages == 7 && seen.acknowledged == 6);
    live(100);
    CHECK(seen.messages == 7);                      // nothing is lost, and nothing came twice
    CHECK(seen.bytes == 4 * 100 + 3 * 200);
    CHECK(seen.wrong_bytes == 0);
    CHECK(client.unacknowledged() == 0);
    disconnect();
}

void reset_in_mid_packet() {
    const MemoryInUse memory;
    options.clean_session = false;
    connect();
    UNTIL(seen.disconnected == 1);                  // a PUBLISH came by half, and a reset
    CHECK(seen.error == Error::connection_lost);
    CHECK(seen.messages == 0);
    UNTIL(seen.connected == 2);
    UNTIL(seen.messages == 1);                      // it came again
    CHECK(seen.qos == QoS::exactly_once);
    CHECK(seen.wrong_bytes == 0);
    UNTIL(seen.pubrel == 1);

    upload.size = 100000;
    CHECK(client.begin_publish("test/topic", upload.size, QoS::at_least_once).ok());
    UNTIL(seen.disconnected == 2);                  // the reset comes before all of it is written
    CHECK(seen.error == Error::connection_lost);
    CHECK(upload.written < upload.size);
    UNTIL(seen.resend == 1);
    UNTIL(seen.acknowledged == 1);
    CHECK(seen.messages == 1);
    disconnect();
    memory.must_come_back();
}

void large() {
    constexpr uint32_t size = 1u << 20;
    const MemoryInUse memory;
    connect();
    subscribe("test/#");
    upload.size = size;
    CHECK(client.begin_publish("test/topic", size, QoS::at_least_once).ok());
    UNTIL(seen.messages == 1);
    CHECK(seen.disconnected == 0);
    UNTIL(seen.acknowledged == 1);
    CHECK(seen.bytes == size);
    CHECK(seen.wrong_bytes == 0);
    CHECK(seen.pieces >= size / sizeof rx);
    print_line("1 MB both ways in ", board_now_ms(), " ms, ", seen.pieces, " pieces");
    disconnect();
    memory.must_come_back();
}

// The server ends each connection in another way; with session_present it leaves it to us. A message is the end.
void reconnects() {
    const MemoryInUse memory;
    options.clean_session = false;
    CHECK(client.connect(options).ok());
    for (uint32_t ours = 0; seen.messages == 0;) {
        UNTIL(seen.messages != 0 || seen.session_present);
        if (seen.messages != 0) break;
        seen.session_present = false;
        const uint32_t before = seen.disconnected;
        CHECK((++ours % 2 == 0 ? client.abort() : client.disconnect()).ok());
        UNTIL(seen.disconnected != before);
        CHECK(seen.error == Error::ok);
        CHECK(client.connect(options).ok());
    }
    print_line(seen.disconnected, " times, ", board_now_ms(), " ms");
    CHECK(seen.disconnected >= 200);
    disconnect();
    memory.must_come_back();
}

// A connection cannot be made, for a while.
void cannot_connect(Error error) {
    const MemoryInUse memory;
    CHECK(client.connect(options).ok());
    for (uint32_t i = 1; i <= 3; ++i) {
        UNTIL(seen.disconnected == i);
        CHECK(seen.error == error);
        CHECK(seen.connected == 0);
    }
    print_line("three times");   // the server may be there now
    UNTIL(seen.connected == 1);
    disconnect();
    memory.must_come_back();
}
void refused() { cannot_connect(Error::connect_failed); }
void silence() {
    options.connect_timeout_ms = 500;
    cannot_connect(Error::connect_timeout);
}
void no_dns() {
    const MemoryInUse memory;
    const Text address = options.host;
    options.host = "broker.example";
    CHECK(client.connect(options).ok());
    for (uint32_t i = 1; i <= 3; ++i) {
        UNTIL(seen.disconnected == i);
        CHECK(seen.error == Error::connect_failed);
    }
    (void)client.disconnect();
    UNTIL(seen.disconnected == 4);
    options.host = address;
    connect();
    disconnect();
    memory.must_come_back();
}

// No pbuf for what comes: frames are dropped, and TCP brings them again.
void out_of_pbufs() {
    const MemoryInUse memory;
    connect();
    subscribe("test/#");
    hog.take(frame_buffer, free_frame_buffer);
    CHECK(publish(100, QoS::exactly_once));
    live(500);
    CHECK(seen.messages == 0);
    CHECK(lwip_stats.link.memerr != 0);
    CHECK(seen.disconnected == 0);
    hog.give_back();
    UNTIL(seen.messages == 1 && seen.acknowledged == 1);
    CHECK(seen.disconnected == 0);
    CHECK(seen.wrong_bytes == 0);
    disconnect();
    memory.must_come_back();
}

// Nothing to send with, in the middle of a connection: it waits.
void cannot_send(Hog::Take* take, Hog::Give* give) {
    const MemoryInUse memory;
    connect();
    subscribe("test/#");
    hog.take(take, give);
    CHECK(publish(200, QoS::exactly_once));
    CHECK(publish(100, QoS::at_least_once));
    live(500);
    CHECK(seen.messages == 0);
    CHECK(seen.disconnected == 0);
    hog.give_back();
    UNTIL(seen.messages == 2 && seen.acknowledged == 2);
    CHECK(seen.disconnected == 0);
    CHECK(seen.wrong_bytes == 0);
    disconnect();
    memory.must_come_back();
}
void out_of_heap() { cannot_send(heap_block, mem_free); }
void out_of_segments() { cannot_send(from_pool<MEMP_TCP_SEG>, to_pool<MEMP_TCP_SEG>); }

// Nothing to connect with: it fails, and again until there is.
template <memp_t pool> void cannot_begin() {
    const MemoryInUse memory;
    hog.take(from_pool<pool>, to_pool<pool>);
    CHECK(client.connect(options).ok());
    UNTIL(seen.disconnected == 2);
    CHECK(seen.error == Error::connect_failed);
    CHECK(seen.connected == 0);
    hog.give_back();
    UNTIL(seen.connected == 1);
    disconnect();
    memory.must_come_back();
}

#if FIRMWARE_TLS
// A full handshake, and then a short one.
void tls_connects() {
    for (const bool resumed : {false, true}) {
        connect();
        CHECK(port.resumed() == resumed);
        CHECK(port.verify_flags() == 0);
        disconnect();
    }
}

// The broker is not the one that it should be. Nothing of MQTT is sent.
void tls_refuses() {
    CHECK(client.connect(options).ok());
    UNTIL(seen.disconnected == 1);
    const size_t in_use = Port::memory_in_use();
    UNTIL(seen.disconnected == 3);
    CHECK(Port::memory_in_use() == in_use);
    CHECK(seen.connected == 0);
    CHECK(seen.error == Error::connect_failed);
    print_line("refused: ", port.error_text());
}

// As often with a short handshake as with a full one, as often ended by abort() as by disconnect(), and now and then given up
// in the handshake, earlier and later.
void abort() {
    const uint32_t before = seen.disconnected;
    CHECK(client.abort().ok());
    UNTIL(seen.disconnected != before);
    CHECK(seen.error == Error::ok);
}
void tls_reconnects() {
    const MemoryInUse memory;
    connect();
    disconnect();
    const size_t in_use = Port::memory_in_use();   // the CA, the random generator, the session
    for (uint32_t i = 0; i < 50; ++i) {
        if (i % 2 == 0) port.forget_session();
        if (i % 5 == 4) {
            CHECK(client.connect(options).ok());
            const uint32_t before = seen.connected;
            for (uint32_t turns = 0; turns != i && seen.connected == before; ++turns) (void)step();
            abort();
            if (i % 2 == 0) port.forget_session();
        }
        connect();
        CHECK(port.resumed() == (i % 2 != 0));
        CHECK(publish(200, QoS::at_most_once));
        i % 4 < 2 ? disconnect() : abort();
        CHECK(Port::memory_in_use() == in_use);
    }
    memory.must_come_back();
}

// What it takes. Under QEMU's -icount the clock counts instructions: 40 to its tick.
uint64_t ticks() {
    const volatile uint32_t& systick = *reinterpret_cast<const volatile uint32_t*>(0xE000E018);
    uint32_t ms, counter;
    do {
        ms = board_now_ms();
        counter = systick;
    } while (ms != board_now_ms());
    return uint64_t{ms} * 25000 + 24999 - counter;
}
void tls_figures() {
    for (const char* kind : {"full", "resumed"}) {
        CHECK(client.connect(options).ok());
        uint64_t busy = 0;
        for (const uint32_t before = seen.connected; seen.connected == before;) {
            network_poll();
            const uint64_t begin = ticks();
            const Event event = client.poll();
            busy += ticks() - begin;
            seen.connected += event.kind == Event::connected;
            CHECK(event.kind != Event::disconnected);
            if (event.kind == Event::none && !port.ready()) network_sleep(10);
        }
        print_line(kind, " handshake: ", static_cast<uint32_t>(busy * 40 / 1000000), " million instructions");
        print_line("memory while connected: ", static_cast<uint32_t>(Port::memory_in_use()));
        disconnect();
    }
    print_line("memory between connections: ", static_cast<uint32_t>(Port::memory_in_use()));
    print_line("memory peak: ", static_cast<uint32_t>(Port::memory_peak()));
}
#endif

#if FIRMWARE_JOURNAL
unsigned next_argument;   // after FLASH
uint32_t argument(unsigned index) {
    uint32_t value = 0;
    for (const char* digit = board_argument(next_argument + index); digit != nullptr && *digit != 0; ++digit)
        value = value * 10 + static_cast<uint32_t>(*digit - '0');
    return value;
}

void start_session() {
    options.clean_session = false;
    CHECK(client.connect(options).ok());
}
void shut_down() {
    mqtt::Shutdown<Port> off(client, 10000);
    while (!off.done()) {
        network_poll();
        (void)off.poll();
    }
    CHECK(client.stored());
    CHECK(client.unacknowledged() == 0);
}

// One message of QoS 2: sent anew if argument 0 is 1, or else still in the journal. Until it is done.
void cut_in_sending() {
    start_session();
    const bool is_new = argument(0) == 1;
    CHECK(client.unacknowledged() == !is_new);
    if (is_new) CHECK(publish(10, QoS::exactly_once));
    UNTIL(seen.acknowledged == 1);
    shut_down();
}

// Takes as many messages as argument 0 says.
void cut_in_receiving() {
    start_session();
    for (uint32_t i = 1; i <= argument(0); ++i) {
        UNTIL(seen.messages == i);
        print_line("received");
    }
    UNTIL(seen.pubrel == argument(0));
    shut_down();
}

void programmed_twice() {
    const uint8_t granule[flash_granule] = {};
    for (int i = 0; i < 2; ++i) CHECK(flash_program(0, granule, sizeof granule) > 0);
}

// Publishes pairs of RUN and 1 to COUNT, with RUN and COUNT from the arguments, and tells which of them are durable.
void numbers() {
    const uint32_t run = argument(0), count = argument(1);
    start_session();
    for (uint32_t i = 1; i <= count; ++i) {
        uint8_t pair[8];
        mqtt::store_u32(pair, run);
        mqtt::store_u32(pair + 4, i);
        UNTIL(client.publish("test/number", pair, QoS::exactly_once).ok());
        UNTIL(client.stored());
        print_line("stored ", run, ".", i);
    }
    UNTIL(client.unacknowledged() == 0);
    shut_down();
}
#endif

void fault() { *reinterpret_cast<volatile uint32_t*>(0x50000000) = 1; }
void overflow() {   // of the stack
    uint8_t local[256];
    volatile uint8_t* bytes = local;
    for (size_t i = 0; i < sizeof local; ++i) bytes[i] = 1;
    volatile bool again = true;
    if (again) overflow();
    bytes[0] = 0;   // no tail call
}
void broken_assertion() { MQTT_ASSERT(options.port == 0); }

constexpr struct {
    Text name;
    void (*run)();
} cases[] = {
    {"connect", connects},
    {"qos", qos},
    {"keep-alive", keep_alive},
    {"wakes", wakes},
    {"sleeps", sleeps},
    {"broker-killed", broker_killed},
    {"reset", reset_in_mid_packet},
    {"large", large},
    {"reconnects", reconnects},
    {"refused", refused},
    {"silence", silence},
    {"no-dns", no_dns},
    {"out-of-pbufs", out_of_pbufs},
    {"out-of-heap", out_of_heap},
    {"out-of-segments", out_of_segments},
    {"out-of-pcbs", cannot_begin<MEMP_TCP_PCB>},
#if FIRMWARE_TLS
    {"tls-connects", tls_connects},
    {"tls-refuses", tls_refuses},
    {"tls-reconnects", tls_reconnects},
    {"tls-figures", tls_figures},
#endif
#if FIRMWARE_JOURNAL
    {"cut-in-sending", cut_in_sending},
    {"cut-in-receiving", cut_in_receiving},
    {"numbers", numbers},
    {"programmed-twice", programmed_twice},
#endif
    {"fault", fault},
    {"overflow", overflow},
    {"assertion", broken_assertion},
};

}  // namespace

int main() {
    board_init();
    network_start();
    const unsigned next = port.prepare(4);
#if FIRMWARE_JOURNAL
    next_argument = next;
#else
    (void)next;
#endif

    options.host = board_argument(1);
    for (const char* digit = board_argument(2); *digit != 0; ++digit)
        options.port = static_cast<uint16_t>((digit == board_argument(2) ? 0 : options.port * 10) + (*digit - '0'));
    options.client_id = "firmware";
    options.reconnect_min_ms = 1;
    options.reconnect_max_ms = 20;
    for (const auto& each : cases) {
        if (each.name != board_argument(3)) continue;
        each.run();
        print_line("stack: ", static_cast<uint32_t>(board_stack_used()));
        return 0;
    }
    return 2;
}
