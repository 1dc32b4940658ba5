// mqtt.hpp - an MQTT 3.1.1 client in one header, for firmware and for everything larger.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
// What it promises:
//   * no heap, no exceptions, no RTTI, no static mutable state, no floating point, no recursion, nothing blocks;
//   * all memory is yours: two buffers, `rx` and `tx`, and the client object; formulas at `Buffers`;
//   * QoS 1 and 2 messages that were accepted survive any number of lost connections, in order, QoS 2 exactly once;
//   * one `poll()` does a bounded amount of work and returns one event, by value: no callbacks, no re-entrancy;
//   * while packets lie in `rx` they are handed out without I/O; then one `write` flushes everything, one `read` refills.
//
//     uint8_t rx[1024], tx[8192];                       // the only memory the client uses
//     mqtt::posix::Tcp port;                            // platform/posix.hpp; a port for your RTOS is ten lines
//     mqtt::Client client(port, {rx, tx});
//     mqtt::ConnectOptions options;                     // must outlive the client
//     options.host = "127.0.0.1";
//     options.client_id = "demo";
//     if (!client.connect(options).ok()) return 1;      // and again by itself, with back-off, until disconnect()
//     while (true) {
//         const mqtt::Event event = client.poll();      // never blocks
//         if (event.kind == mqtt::Event::connected && !event.session_present)
//             (void)client.subscribe("demo/#", mqtt::QoS::exactly_once);
//         else if (event.kind == mqtt::Event::received)
//             use(event.message.topic, event.message.payload);
//         else if (event.kind == mqtt::Event::none)
//             port.wait(client.idle_ms(), client.wants_write());
//     }
//
// Words. Names are those of the specification (docs.oasis-open.org/mqtt/mqtt/v3.1.1); what it does not name:
//   packet     one MQTT control packet, fixed header included
//   record     a packet in the outbox (`tx`); it is *kept* while an answer to it is due, else *forgotten* once written
//   session    what both sides remember between connections: unanswered records, ids of QoS 2 messages received
//   engine     the protocol without I/O: bytes in, bytes out, time as an argument
//   port       your socket, clock and entropy: see "The port" near the end
//   view       a string_view or Bytes that points into a buffer: valid until the next poll()
//
// Map:  1 configuration   2 bytes   3 protocol constants   4 errors   5 what you pass and get   6 topics and text
//       7 cursors         8 packets   9 outbox   10 inbox   11 engine   12 the port, and Client
// To use the client, read 4, 5 and 12. To use the codec alone, read 8. The rest is how it works.

#ifndef MQTT_HPP
#define MQTT_HPP

#define MQTT_HPP_VERSION "0.1.0"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <initializer_list>
#include <string_view>
#include <type_traits>

// --------------------------------------------------------------------------------------------- 1 configuration

// MQTT_ASSERT(condition): what to do when one of *our own* invariants is broken; never used on input from outside.
// When it is defined, bytes that an event pointed to are overwritten at the next poll(), so that a view kept too
// long is seen in tests. The same definition must hold in all of a program: see MQTT_CONFIGURATION.
#ifdef MQTT_ASSERT
#define MQTT_CONFIGURATION v1_checked
#define MQTT_CHECKED true
#else
#define MQTT_CONFIGURATION v1
#define MQTT_CHECKED false
#define MQTT_ASSERT(condition) static_cast<void>(0)
#endif

namespace mqtt {
inline namespace MQTT_CONFIGURATION {

inline constexpr bool checked = MQTT_CHECKED;   // assertions are on

// The configuration is part of every symbol's name, so objects of two configurations never meet. And with GCC
// or Clang for ELF, a program that holds both does not link: each configuration defines this symbol, once.
#if defined(__GNUC__) && defined(__ELF__)
inline __attribute__((used, noinline)) void one_configuration() {
    __asm__(".globl two_configurations_of_mqtt_hpp_in_one_program\ntwo_configurations_of_mqtt_hpp_in_one_program:");
}
#endif

// ----------------------------------------------------------------------------------------------------- 2 bytes

// A view of bytes that somebody else owns.
class Bytes {
public:
    constexpr Bytes() = default;
    constexpr Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}
    template <size_t N> constexpr Bytes(const uint8_t (&array)[N]) : data_(array), size_(N) {}
    // From anything that is text: a literal, a string_view, a std::string. What is an array of char ends before its first 0,
    // which must be there: pass a buffer without one as Bytes(data, size).
    template <class Text, class = std::enable_if_t<std::is_convertible_v<const Text&, std::string_view>>>
    Bytes(const Text& text)
        : data_(reinterpret_cast<const uint8_t*>(std::string_view(text).data())), size_(std::string_view(text).size()) {}

    constexpr const uint8_t* data() const { return data_; }
    constexpr size_t size() const { return size_; }
    constexpr bool empty() const { return size_ == 0; }
    constexpr const uint8_t* begin() const { return data_; }
    constexpr const uint8_t* end() const { return data_ + size_; }
    constexpr uint8_t operator[](size_t i) const { return data_[i]; }
    std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

private:
    const uint8_t* data_ = nullptr;
    size_t size_ = 0;
};

// Memory that somebody else owns and lends for writing.
struct Buffer {
    constexpr Buffer() = default;
    constexpr Buffer(uint8_t* bytes, size_t count) : data(bytes), size(count) {}
    template <size_t N> constexpr Buffer(uint8_t (&array)[N]) : data(array), size(N) {}

    uint8_t* data = nullptr;
    size_t size = 0;
};

// Numbers on the wire are big-endian (section 1.5.2); they are never read through a cast.
inline uint16_t load_u16(const uint8_t* data) { return static_cast<uint16_t>(data[0] << 8 | data[1]); }
inline void store_u16(uint8_t* data, uint16_t value) {
    data[0] = static_cast<uint8_t>(value >> 8);
    data[1] = static_cast<uint8_t>(value);
}

// ---------------------------------------------------------------------------------------- 3 protocol constants

// Section 2.2.1. The upper half of a packet's first byte.
enum class PacketType : uint8_t {
    reserved, connect, connack, publish, puback, pubrec, pubrel, pubcomp,
    subscribe, suback, unsubscribe, unsuback, pingreq, pingresp, disconnect
};

enum class QoS : uint8_t { at_most_once, at_least_once, exactly_once };
enum class Retain : bool { no, yes };

// How a server answered. The numbers are those of MQTT 5, so that code written today needs no change for it;
// a 3.1.1 CONNACK is translated (section 3.2.2.3, see `Connack::reason`), its SUBACK has the same numbers already.
enum class ReasonCode : uint8_t {
    success = 0x00,                        // in SUBACK: granted QoS 0
    granted_qos_1 = 0x01,
    granted_qos_2 = 0x02,
    unspecified_error = 0x80,              // in a 3.1.1 SUBACK: the subscription was refused
    unsupported_protocol_version = 0x84,
    client_identifier_not_valid = 0x85,
    bad_user_name_or_password = 0x86,
    not_authorized = 0x87,
    server_unavailable = 0x88
};

constexpr uint32_t max_remaining_length = 268435455;   // section 2.2.3
constexpr size_t max_string_size = 65535;              // section 1.5.3
constexpr uint32_t forever = 0xFFFFFFFF;               // `idle_ms()`: no timer is running

// --------------------------------------------------------------------------------------------------- 4 errors

// Grouped by who is at fault: see `fault()`.
enum class Error : uint8_t {
    ok,
    // Not now: nothing was changed; the same call can succeed later.
    no_space,                   // `tx` (for the codec: the output) has no room
    receive_maximum_reached,    // as many QoS 1 and 2 messages are unanswered as `in_flight_maximum` allows
    publish_in_progress,        // a message begun with `begin_publish` is not finished
    not_connected,              // this call needs a connection, and there is none
    // The caller: nothing was changed; the same call fails again.
    not_started,                // `connect()` was not called, or `disconnect()` ended it
    already_started,            // `connect()` while it is still in force
    buffer_too_small,           // `rx` cannot hold the CONNECT packet, or `tx` not even its reserve
    packet_too_large,           // can never fit into `tx`, or is beyond what the protocol allows
    invalid_argument,           // QoS 3, an empty list, a password without a user name, a payload beyond its size ...
    invalid_client_id,          // empty with a session to be kept [MQTT-3.1.3-7]
    invalid_topic,              // empty, too long, not UTF-8, or with a wildcard [MQTT-3.3.2-2]
    invalid_filter,             // empty, too long, not UTF-8, or a wildcard out of place [MQTT-4.7.1-2, -3]
    invalid_string,             // too long, not UTF-8, or with U+0000 [MQTT-1.5.3-1, -2]
    unknown_packet_id,          // `acknowledge()` for no open message
    // The server, by what it sent: the connection is closed.
    malformed_packet,           // its bytes are against the specification
    protocol_error,             // a well-formed packet that must not come now, or not for this packet id
    oversize_packet,            // a packet other than PUBLISH that is larger than `rx`
    receive_maximum_exceeded,   // more QoS 2 messages open at once than `Buffers::receive_maximum`
    connection_refused,         // CONNACK says no; `Event::reason` says why
    // The network, or a server that is not there: the connection is closed.
    connect_failed,             // the port could not connect
    connect_timeout,            // no connection and CONNACK within `connect_timeout_ms`
    connection_lost,            // the port says so
    response_timeout            // no PINGRESP, or no end of a disconnect, within `response_timeout_ms`
};

enum class Fault : uint8_t { none, not_now, caller, server, network };

constexpr Fault fault(Error error) {
    return error == Error::ok                  ? Fault::none
           : error <= Error::not_connected     ? Fault::not_now
           : error <= Error::unknown_packet_id ? Fault::caller
           : error <= Error::connection_refused ? Fault::server
                                               : Fault::network;
}

// The error's name; a string of its own for each. Costs its flash only where it is called.
inline const char* to_string(Error error) {
    static constexpr const char* names[] = {
        "ok", "no space", "receive maximum reached", "publish in progress", "not connected",
        "not started", "already started", "buffer too small", "packet too large", "invalid argument",
        "invalid client id", "invalid topic", "invalid filter", "invalid string", "unknown packet id",
        "malformed packet", "protocol error", "oversize packet", "receive maximum exceeded", "connection refused",
        "connect failed", "connect timeout", "connection lost", "response timeout"};
    return static_cast<size_t>(error) < sizeof names / sizeof *names ? names[static_cast<size_t>(error)] : "?";
}

inline const char* to_string(ReasonCode reason) {
    switch (reason) {
    case ReasonCode::success: return "success";
    case ReasonCode::granted_qos_1: return "granted QoS 1";
    case ReasonCode::granted_qos_2: return "granted QoS 2";
    case ReasonCode::unspecified_error: return "unspecified error";
    case ReasonCode::unsupported_protocol_version: return "unsupported protocol version";
    case ReasonCode::client_identifier_not_valid: return "client identifier not valid";
    case ReasonCode::bad_user_name_or_password: return "bad user name or password";
    case ReasonCode::not_authorized: return "not authorized";
    case ReasonCode::server_unavailable: return "server unavailable";
    }
    return "?";
}

// What a call answers: whether it was accepted and, for what is answered by an event, under which packet id.
struct [[nodiscard]] Result {
    Error error = Error::ok;
    uint16_t packet_id = 0;   // 0 for QoS 0, and with an error

    constexpr bool ok() const { return error == Error::ok; }
};

// --------------------------------------------------------------------------------- 5 what you pass and get

// The client's memory. It must outlive the client; what lies in it is the client's.
struct Buffers {
    // Received bytes, and CONNECT while it is sent. At least the CONNECT packet (14 bytes + client id, and 2 + length
    // of each of will topic, will message, user name, password) and the longest packet other than PUBLISH that is
    // expected. A PUBLISH that is larger comes in pieces; one whose topic alone is larger is told as `skipped`.
    Buffer rx;
    // The outbox: unsent packets, and QoS 1 and 2 messages until they are answered. Of its bytes, 3 for each of
    // `receive_maximum` and 16 for acknowledgements, pings and the last DISCONNECT are set aside (and up to 6 are lost
    // to alignment if `tx` does not end at a multiple of 4, or 3 * receive_maximum is none). Each message takes
    // its packet (2 to 5 + 2 + topic + payload, + 2 with QoS 1 and 2) and with QoS 1 and 2 an index entry of 4 bytes
    // (2 where size_t has 16 bits). A quarter of slack keeps the moving of memory rare. When it is full:
    // Error::no_space.
    Buffer tx;
    // How many received QoS 1 and 2 messages may be unfinished at once: not yet acknowledged by the application, or
    // QoS 2 and not yet released by the server. A further one is not read until there is a place. If all places are
    // taken by unreleased QoS 2 messages, the release can only come behind it: after response_timeout_ms the connection
    // ends with Error::receive_maximum_exceeded, and the next one begins with the releases. Mosquitto and most others
    // have at most 20 unreleased, unless told otherwise.
    uint16_t receive_maximum = 20;
};

// Section 3.1.2.5: what the server publishes for us when the connection ends without our DISCONNECT.
struct Will {
    std::string_view topic;     // empty: no will
    Bytes message;
    QoS qos = QoS::at_most_once;
    Retain retain = Retain::no;
};

// All of it, and what its views point to, must stay as it is until Event::disconnected has told that the client is
// stopped: it is used at each reconnect.
struct ConnectOptions {
    std::string_view host;              // as the port understands it: a name, an address
    uint16_t port = 1883;
    std::string_view client_id;         // may be empty with clean_session [MQTT-3.1.3-7]
    bool clean_session = true;          // false: the session outlives connections, on both sides (section 3.1.2.4)
    uint16_t keep_alive = 60;           // seconds without traffic before a ping; 0: no pings, a dead link goes unnoticed
    Will will;
    std::string_view user_name;         // none if it has no data(); "" is an empty user name
    Bytes password;                     // none if it has no data(); needs a user name [MQTT-3.1.2-22]

    bool manual_ack = false;            // true: nothing received is acknowledged before `acknowledge()` says so
    // QoS 1 and 2 messages sent and unanswered: publish() refuses further ones with receive_maximum_reached, and those
    // that were queued without a connection wait. mosquitto disconnects a client that has more than 20 of QoS 2, unless
    // its max_inflight_messages says otherwise.
    uint16_t in_flight_maximum = 20;

    uint32_t connect_timeout_ms = 30000;   // from opening the connection to CONNACK
    uint32_t response_timeout_ms = 10000;  // for PINGRESP, and for the last bytes of a disconnect
    // Back-off: the n-th attempt in a row waits a random part of min(reconnect_max_ms, reconnect_min_ms * 2^n), n from 0;
    // after a refusal of our identity or credentials, at least half of reconnect_max_ms. A connection that lasted
    // stable_ms starts the row anew. At most 2^20 (17 minutes); reconnect_max_ms = 0: no automatic reconnect.
    uint32_t reconnect_min_ms = 1000;
    uint32_t reconnect_max_ms = 120000;
    uint32_t stable_ms = 30000;
};

// The formulas of `Buffers` as constants. Bytes of the CONNECT packet, which `rx` must hold; at most.
constexpr size_t connect_size(const ConnectOptions& options) {
    size_t size = 5 + 10 + 2 + options.client_id.size();
    if (!options.will.topic.empty()) size += 4 + options.will.topic.size() + options.will.message.size();
    if (options.user_name.data() != nullptr) size += 2 + options.user_name.size();
    if (options.password.data() != nullptr) size += 2 + options.password.size();
    return size;
}
// Bytes of `tx` for this many QoS 1 or 2 messages, queued or unanswered at once, each of up to `message_size` bytes of
// topic and payload; at most.
constexpr size_t tx_size(size_t messages, size_t message_size, uint16_t receive_maximum = 20) {
    return 6 + 16 + size_t{3} * receive_maximum + messages * (message_size + 9 + 4);
}

// Something published. Received whole (offset 0, total = payload.size()) or, if larger than `rx`, in pieces: same topic,
// ascending offset, the last one ends at total. A connection that ends in between takes the rest with it; with
// QoS 1 and 2 the server sends the message again from the start. Views are valid until the next poll().
struct Message {
    std::string_view topic;
    Bytes payload;
    uint32_t offset = 0;        // of this piece, in bytes
    uint32_t total = 0;         // bytes of the whole payload
    uint16_t packet_id = 0;     // 0 with QoS 0; for `acknowledge()`
    QoS qos = QoS::at_most_once;
    bool retain = false;
    bool duplicate = false;     // DUP: the server sent it before. Not that we delivered it before (section 3.3.1.1)

    constexpr bool complete() const { return offset + payload.size() == total; }
};

// What `poll()` returns. Each accepted publish (QoS 1, 2), subscribe and unsubscribe ends in exactly one event:
// acknowledged, subscribed, unsubscribed or dropped.
struct Event {
    enum Kind : uint8_t {
        none,            // nothing to tell; nothing to do before idle_ms(), input, or room for output
        connected,       // CONNACK: session_present (if not: subscribe again)
        disconnected,    // the connection, or an attempt at one, ended: error; reason if connection_refused.
                         // error ok: it was `disconnect()`. Otherwise the next attempt follows by itself.
        received,        // PUBLISH: message (an enumerator cannot share the member's name)
        acknowledged,    // PUBACK or PUBCOMP: packet_id is done
        subscribed,      // SUBACK: packet_id, reason_codes, one per filter in order; granted() tells what was not refused
        unsubscribed,    // UNSUBACK: packet_id
        dropped,         // packet_id was sent but not answered when the server lost the session (or was asked to start a
                         // clean one): it may or may not have arrived [MQTT-3.1.2-6]
        resend_payload,  // packet_id, begun with begin_publish, must be sent again: write_payload from its first byte
        skipped,         // a message whose topic does not fit into rx was acknowledged unread: message, without views
        // For information only:
        pubrec,          // packet_id: the server has the QoS 2 message
        pubrel,          // packet_id: the server released the QoS 2 message that it sent
        pingresp
    };
    Kind kind = none;
    Error error = Error::ok;
    ReasonCode reason = ReasonCode::success;
    bool session_present = false;
    uint16_t packet_id = 0;
    Bytes reason_codes;         // a view
    Message message;
};

constexpr bool granted(uint8_t reason_code) { return reason_code < 0x80; }

// ----------------------------------------------------------------------------------------- 6 topics and text

// Well-formed UTF-8 without surrogates and U+0000 [MQTT-1.5.3-1, -2], and with `topic` without wildcards
// [MQTT-3.3.2-2]. U+FEFF is a character like any other [MQTT-1.5.3-3].
inline bool valid_text(std::string_view text, bool topic = false) {
    const uint8_t* p = reinterpret_cast<const uint8_t*>(text.data());
    size_t left = text.size();
    while (left != 0) {
        const uint8_t c = *p;
        size_t length = 1;
        if (c < 0x80) {
            if (c == 0 || (topic && (c == '+' || c == '#'))) return false;
        } else {
            length = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
            if (c < 0xC2 || c > 0xF4 || length > left) return false;
            // The second byte's range keeps out overlong forms (E0, F0), surrogates (ED) and what is above U+10FFFF (F4).
            const uint8_t low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
            const uint8_t high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
            if (p[1] < low || p[1] > high) return false;
            for (size_t i = 2; i < length; ++i)
                if ((p[i] & 0xC0) != 0x80) return false;
        }
        p += length;
        left -= length;
    }
    return true;
}

constexpr bool valid_length(std::string_view text) { return text.size() <= max_string_size; }

// A topic name: what is published to (section 4.7).
inline bool valid_topic(std::string_view topic) {
    return !topic.empty() && valid_length(topic) && valid_text(topic, true);
}

// A topic filter: what is subscribed to. '#' stands alone or behind '/', and last [MQTT-4.7.1-2]; '+' fills a level
// [MQTT-4.7.1-3].
inline bool valid_filter(std::string_view filter) {
    if (filter.empty() || !valid_length(filter) || !valid_text(filter)) return false;
    for (size_t i = 0; i < filter.size(); ++i) {
        if (filter[i] != '+' && filter[i] != '#') continue;
        if (i != 0 && filter[i - 1] != '/') return false;
        if (i + 1 != filter.size() && (filter[i] == '#' || filter[i + 1] != '/')) return false;
    }
    return true;
}

// Does a message on `topic` match `filter`? Both must be valid. Wildcards do not match a leading '$' [MQTT-4.7.2-1].
constexpr bool matches(std::string_view filter, std::string_view topic) {
    if (!topic.empty() && topic[0] == '$' && !filter.empty() && (filter[0] == '+' || filter[0] == '#')) return false;
    size_t f = 0, t = 0;
    while (f < filter.size()) {
        if (filter[f] == '#') return true;
        if (filter[f] == '+') {
            while (t < topic.size() && topic[t] != '/') ++t;
            ++f;
        } else if (t < topic.size() && filter[f] == topic[t]) {
            ++f, ++t;
        } else {
            // "a/#" also matches its parent "a" (section 4.7.1.2).
            return t == topic.size() && filter.size() - f == 2 && filter[f] == '/' && filter[f + 1] == '#';
        }
    }
    return t == topic.size();
}

// ------------------------------------------------------------------------------------------------- 7 cursors

// Both cursors have the same members, so that one list of fields serves both. They fail stickily: after the first
// failure each call does nothing, and error() tells it at the end.

// Writes a packet's body, leaving room for the smallest fixed header before it. Past the end of its memory it only
// counts, so that measuring is the same code.
class Writer {
public:
    static constexpr bool reading = false;
    static constexpr size_t header_room = 2;   // enough for bodies of up to 127 bytes; finish() makes room for longer ones

    explicit Writer(Buffer out) : out_(out) {}

    void u8(uint8_t value) { bytes(&value, 1); }
    void u16(uint16_t value) {
        uint8_t raw[2];
        store_u16(raw, value);
        bytes(raw, 2);
    }
    void packet_id(uint16_t value) {
        check(value != 0);   // [MQTT-2.3.1-1]
        u16(value);
    }
    void binary(Bytes value) {
        check(value.size() <= max_string_size);
        u16(static_cast<uint16_t>(value.size()));
        bytes(value.data(), value.size());
    }
    void utf8(std::string_view text) { string(text, valid_length(text) && valid_text(text), Error::invalid_string); }
    void topic(std::string_view text) { string(text, valid_topic(text), Error::invalid_topic); }
    void filter(std::string_view text) { string(text, valid_filter(text), Error::invalid_filter); }
    void rest(Bytes value) { rest_ = value; }   // the last field; copied by finish()

    void check(bool condition, Error error = Error::invalid_argument) {
        if (!condition && error_ == Error::ok) error_ = error;
    }

    struct Finished {
        Error error;
        uint32_t size;   // of the whole packet, also with no_space
    };
    // Puts the fixed header before the body and, unless it is sent from elsewhere, the rest behind it.
    Finished finish(uint8_t first_byte, bool with_rest) {
        check(size_ <= max_remaining_length && rest_.size() <= max_remaining_length - size_, Error::packet_too_large);
        if (error_ != Error::ok) return {error_, 0};
        const uint32_t remaining = static_cast<uint32_t>(size_) + static_cast<uint32_t>(rest_.size());
        const unsigned header = remaining < 128 ? 2 : remaining < 16384 ? 3 : remaining < 2097152 ? 4 : 5;
        const uint32_t stored = header + (with_rest ? remaining : static_cast<uint32_t>(size_));
        if (stored > out_.size) return {Error::no_space, stored};
        if (header != header_room) memmove(out_.data + header, out_.data + header_room, size_);
        uint8_t* p = out_.data;
        *p++ = first_byte;
        uint32_t left = remaining;   // section 2.2.3: seven bits a byte, the lowest first
        do {
            *p++ = static_cast<uint8_t>((left & 127) | (left > 127 ? 128 : 0));
            left >>= 7;
        } while (left != 0);
        if (with_rest && !rest_.empty()) memcpy(p + size_, rest_.data(), rest_.size());
        return {Error::ok, stored};
    }

private:
    void bytes(const uint8_t* data, size_t size) {
        const size_t at = header_room + size_;
        if (at <= out_.size && size <= out_.size - at && size != 0) memcpy(out_.data + at, data, size);
        size_ += size;
    }
    void string(std::string_view text, bool valid, Error error) {
        check(valid, error);
        if (error_ == Error::ok) binary(text);
    }

    Buffer out_;
    size_t size_ = 0;   // of the body, without its rest
    Bytes rest_;
    Error error_ = Error::ok;
};

// Reads a packet's body; what it yields are views into it.
class Reader {
public:
    static constexpr bool reading = true;

    explicit Reader(Bytes in) : at_(in.data()), left_(in.size()) {}

    size_t left() const { return left_; }
    Error error() const { return failed_ ? Error::malformed_packet : Error::ok; }

    void u8(uint8_t& value) {
        const uint8_t* p = take(1);
        value = p ? *p : 0;
    }
    void u16(uint16_t& value) {
        const uint8_t* p = take(2);
        value = p ? load_u16(p) : uint16_t{0};
    }
    void packet_id(uint16_t& value) {
        u16(value);
        check(value != 0);   // [MQTT-2.3.1-1]
    }
    void binary(Bytes& value) {
        uint16_t size;
        u16(size);
        const uint8_t* p = take(size);
        value = p ? Bytes(p, size) : Bytes();
    }
    void utf8(std::string_view& value) {
        string(value);
        check(valid_text(value));
    }
    void topic(std::string_view& value) {
        string(value);
        check(valid_topic(value));
    }
    void filter(std::string_view& value) {
        string(value);
        check(valid_filter(value));
    }
    void rest(Bytes& value) {
        value = Bytes(at_, left_);
        take(left_);
    }

    void check(bool condition) {
        if (!condition) {
            failed_ = true;
            left_ = 0;
        }
    }

private:
    const uint8_t* take(size_t size) {
        check(size <= left_);
        if (failed_) return nullptr;
        const uint8_t* p = at_;
        at_ += size;
        left_ -= size;
        return p;
    }
    void string(std::string_view& value) {
        Bytes raw;
        binary(raw);
        value = raw.text();
    }

    const uint8_t* at_;
    size_t left_;
    bool failed_ = false;
};

// ------------------------------------------------------------------------------------------------- 8 packets

// One struct per layout; where several packets share one, the struct has a `type`. fields() names the fields in the
// order of the specification, once, for writing and for reading.
//
//     uint8_t buffer[64];
//     const mqtt::Encoded out = mqtt::encode(mqtt::Ack{mqtt::PacketType::puback, 10}, buffer);   // {Error::ok, 4}
//     mqtt::Ack ack;
//     const mqtt::Error error = mqtt::decode({buffer, out.size}, ack);

// Flags of the fixed header that a type must have [MQTT-2.2.2-1]; those of PUBLISH have a meaning.
constexpr uint8_t first_byte_of(PacketType type) {
    const bool two = type == PacketType::pubrel || type == PacketType::subscribe || type == PacketType::unsubscribe;
    return static_cast<uint8_t>(static_cast<unsigned>(type) << 4 | (two ? 2U : 0U));
}

constexpr uint16_t bit(PacketType type) { return static_cast<uint16_t>(1U << static_cast<unsigned>(type)); }

// What the fixed header of a packet says (section 2.2).
struct FixedHeader {
    uint8_t first_byte = 0;
    uint8_t size = 0;                    // bytes of the fixed header; 0: it has not all come yet
    uint32_t remaining_length = 0;

    PacketType type() const { return static_cast<PacketType>(first_byte >> 4); }
    uint32_t packet_size() const { return size + remaining_length; }
};

// Reads a fixed header from the `size` bytes that have come. Malformed: a type that does not exist, flags that the
// type must not have [MQTT-2.2.2-2], QoS 3 [MQTT-3.3.1-4], DUP with QoS 0 [MQTT-3.3.1-2], a length of more than four
// bytes, or one not in its shortest form.
inline Error read_fixed_header(const uint8_t* data, size_t size, FixedHeader& header) {
    header = FixedHeader{};
    if (size == 0) return Error::ok;
    const uint8_t first = header.first_byte = data[0];
    const PacketType type = header.type();
    if (type == PacketType::publish) {
        if ((first & 0x06) == 0x06 || (first & 0x0E) == 0x08) return Error::malformed_packet;
    } else if (type == PacketType::reserved || type > PacketType::disconnect || first != first_byte_of(type)) {
        return Error::malformed_packet;
    }
    uint32_t value = 0;
    for (size_t i = 1; i < 5; ++i) {
        if (i >= size) return Error::ok;
        value |= static_cast<uint32_t>(data[i] & 127) << (7 * (i - 1));
        if (data[i] >= 128) continue;
        if (data[i] == 0 && i != 1) return Error::malformed_packet;
        header.size = static_cast<uint8_t>(i + 1);
        header.remaining_length = value;
        return Error::ok;
    }
    return Error::malformed_packet;
}

// Section 3.1.
struct Connect {
    static constexpr uint16_t types = bit(PacketType::connect);
    enum Flag : uint8_t {
        clean_session = 0x02, has_will = 0x04, will_retain = 0x20, has_password = 0x40, has_user_name = 0x80
    };

    std::string_view protocol_name = "MQTT";
    uint8_t protocol_level = 4;
    uint8_t flags = clean_session;           // Flag, and the will's QoS in bits 3 and 4
    uint16_t keep_alive = 0;                 // seconds
    std::string_view client_id;
    std::string_view will_topic;             // this and what follows only if its flag is set
    Bytes will_message;
    std::string_view user_name;
    Bytes password;

    QoS will_qos() const { return static_cast<QoS>(flags >> 3 & 3); }
    uint8_t first_byte() const { return first_byte_of(PacketType::connect); }

    // [MQTT-3.1.2-3], -11, -13, -14, -15, -22.
    static constexpr bool valid_flags(uint8_t flags) {
        if ((flags & 1) != 0 || (flags & 0x18) == 0x18) return false;
        if ((flags & has_will) == 0 && (flags & 0x38) != 0) return false;
        return (flags & has_user_name) != 0 || (flags & has_password) == 0;
    }
    // Another protocol decodes as malformed, but with protocol_name and protocol_level told: a server answers an
    // unknown level with return code 1 [MQTT-3.1.2-2].
    template <class Io, class Self> static void fields(Io& io, Self& p) {
        io.utf8(p.protocol_name);
        io.u8(p.protocol_level);
        io.check(p.protocol_name == "MQTT" && p.protocol_level == 4);
        io.u8(p.flags);
        io.check(valid_flags(p.flags));
        io.u16(p.keep_alive);
        io.utf8(p.client_id);
        if ((p.flags & has_will) != 0) {
            io.topic(p.will_topic);
            io.binary(p.will_message);
        }
        if ((p.flags & has_user_name) != 0) io.utf8(p.user_name);
        if ((p.flags & has_password) != 0) io.binary(p.password);
    }
};

// Section 3.2.
struct Connack {
    static constexpr uint16_t types = bit(PacketType::connack);

    uint8_t flags = 0;             // bit 0: session present
    uint8_t return_code = 0;       // 0 accepted, 1 to 5 refused (table 3.1)

    bool session_present() const { return flags != 0; }
    ReasonCode reason() const {
        constexpr uint8_t reasons[] = {0x00, 0x84, 0x85, 0x88, 0x86, 0x87};
        return static_cast<ReasonCode>(return_code < sizeof reasons ? reasons[return_code] : 0x80);
    }
    uint8_t first_byte() const { return first_byte_of(PacketType::connack); }

    template <class Io, class Self> static void fields(Io& io, Self& p) {
        io.u8(p.flags);
        io.u8(p.return_code);
        io.check(p.flags <= 1 && p.return_code <= 5);              // [MQTT-3.2.2-6]
        io.check(p.return_code == 0 || p.flags == 0);              // [MQTT-3.2.2-4]
    }
};

// Section 3.3.
struct Publish {
    static constexpr uint16_t types = bit(PacketType::publish);

    std::string_view topic;
    Bytes payload;
    QoS qos = QoS::at_most_once;
    Retain retain = Retain::no;
    bool duplicate = false;
    uint16_t packet_id = 0;        // not on the wire with QoS 0 [MQTT-2.3.1-5]

    uint8_t first_byte() const {
        const bool dup = duplicate && qos != QoS::at_most_once;   // [MQTT-3.3.1-2]
        return static_cast<uint8_t>(0x30 | (dup ? 8 : 0) | static_cast<int>(qos) << 1 | (retain == Retain::yes ? 1 : 0));
    }
    void set_first_byte(uint8_t first) {
        qos = static_cast<QoS>(first >> 1 & 3);
        retain = static_cast<Retain>(first & 1);
        duplicate = (first & 8) != 0;
    }
    template <class Io, class Self> static void fields(Io& io, Self& p) {
        io.check(p.qos <= QoS::exactly_once);                      // [MQTT-3.3.1-4]
        io.topic(p.topic);
        if (p.qos != QoS::at_most_once) io.packet_id(p.packet_id);
        io.rest(p.payload);
    }
};

// Sections 3.4 to 3.7 and 3.11: PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK.
struct Ack {
    static constexpr uint16_t types = bit(PacketType::puback) | bit(PacketType::pubrec) | bit(PacketType::pubrel) |
                                      bit(PacketType::pubcomp) | bit(PacketType::unsuback);

    PacketType type = PacketType::puback;
    uint16_t packet_id = 0;

    uint8_t first_byte() const { return first_byte_of(type); }
    template <class Io, class Self> static void fields(Io& io, Self& p) { io.packet_id(p.packet_id); }
};

struct Subscription {
    std::string_view filter;
    QoS qos = QoS::at_most_once;   // the highest QoS wanted; not used by UNSUBSCRIBE

    template <class Io, class Self> static void fields(Io& io, Self& s, bool options) {
        io.filter(s.filter);
        if (!options) return;
        uint8_t raw = static_cast<uint8_t>(s.qos);
        io.u8(raw);
        io.check(raw <= 2);                                        // [MQTT-3.8.3-4]
        if constexpr (Io::reading) s.qos = static_cast<QoS>(raw);
    }
};

// A list of subscriptions: an array of the caller's (of filters only, for UNSUBSCRIBE), or part of a decoded packet.
//     for (mqtt::Subscriptions rest = packet.filters; rest.next(subscription);) ...
class Subscriptions {
public:
    constexpr Subscriptions() = default;
    constexpr Subscriptions(const Subscription* list, size_t count) : list_(list), count_(count) {}
    constexpr Subscriptions(const std::string_view* filters, size_t count) : filters_(filters), count_(count) {}
    Subscriptions(Bytes wire, size_t count, bool options) : wire_(wire), count_(count), options_(options) {}

    constexpr size_t size() const { return count_; }

    // Takes the first one off the list; false: it is empty.
    bool next(Subscription& subscription) {
        if (count_ == 0) return false;
        --count_;
        if (list_ != nullptr) {
            subscription = *list_++;
        } else if (filters_ != nullptr) {
            subscription.filter = *filters_++;
        } else {
            Reader io(wire_);
            Subscription::fields(io, subscription, options_);
            wire_ = Bytes(wire_.end() - io.left(), io.left());
        }
        return true;
    }

private:
    const Subscription* list_ = nullptr;
    const std::string_view* filters_ = nullptr;
    Bytes wire_;
    size_t count_ = 0;
    bool options_ = true;
};

// Sections 3.8 and 3.10: SUBSCRIBE, UNSUBSCRIBE (whose entries have no QoS).
struct Subscribe {
    static constexpr uint16_t types = bit(PacketType::subscribe) | bit(PacketType::unsubscribe);

    PacketType type = PacketType::subscribe;
    uint16_t packet_id = 0;
    Subscriptions filters;

    uint8_t first_byte() const { return first_byte_of(type); }
    template <class Io, class Self> static void fields(Io& io, Self& p) {
        io.packet_id(p.packet_id);
        const bool options = p.type == PacketType::subscribe;
        if constexpr (Io::reading) {
            Reader entries = io;
            Bytes wire;
            io.rest(wire);
            size_t count = 0;
            for (Subscription s; entries.left() != 0; ++count) Subscription::fields(entries, s, options);
            io.check(entries.error() == Error::ok && count != 0);  // [MQTT-3.8.3-3], [MQTT-3.10.3-2]
            p.filters = Subscriptions(wire, count, options);
        } else {
            io.check(p.filters.size() != 0);
            Subscription s;
            for (Subscriptions rest = p.filters; rest.next(s);) Subscription::fields(io, s, options);
        }
    }
};

// Section 3.9.
struct Suback {
    static constexpr uint16_t types = bit(PacketType::suback);

    uint16_t packet_id = 0;
    Bytes reason_codes;            // 0, 1, 2: granted QoS; 0x80: refused; one per filter of the SUBSCRIBE, in its order

    uint8_t first_byte() const { return first_byte_of(PacketType::suback); }
    template <class Io, class Self> static void fields(Io& io, Self& p) {
        io.packet_id(p.packet_id);
        io.rest(p.reason_codes);
        io.check(!p.reason_codes.empty());
        for (const uint8_t code : p.reason_codes) io.check(code <= 2 || code == 0x80);   // [MQTT-3.9.3-2]
    }
};

// Sections 3.12 to 3.14: PINGREQ, PINGRESP, DISCONNECT, which are only a fixed header.
struct Empty {
    static constexpr uint16_t types = bit(PacketType::pingreq) | bit(PacketType::pingresp) | bit(PacketType::disconnect);

    PacketType type = PacketType::pingreq;

    uint8_t first_byte() const { return first_byte_of(type); }
    template <class Io, class Self> static void fields(Io&, Self&) {}
};

using Encoded = Writer::Finished;

// Writes a packet to `out`. With no_space, `size` says what is needed, and what `out` holds is undefined; other errors
// are the caller's, and nothing is sent that has one. with_rest = false leaves out a PUBLISH's payload (or a SUBACK's
// codes), which then has to follow from elsewhere: `size` is that of what was written.
template <class Packet> Encoded encode(const Packet& packet, Buffer out, bool with_rest = true) {
    Writer io(out);
    io.check((Packet::types & bit(static_cast<PacketType>(packet.first_byte() >> 4))) != 0);
    Packet::fields(io, packet);
    return io.finish(packet.first_byte(), with_rest);
}

// Reads the body of a packet whose fixed header has been read. `packet` must be new; it gets views into `body`.
// Malformed, too: a type that this struct is not for.
template <class Packet> Error decode_body(uint8_t first_byte, Bytes body, Packet& packet) {
    const PacketType type = static_cast<PacketType>(first_byte >> 4);
    if constexpr (std::is_same_v<Packet, Publish>)
        packet.set_first_byte(first_byte);
    else if constexpr ((Packet::types & (Packet::types - 1)) != 0)   // serves several types
        packet.type = type;
    Reader io(body);
    io.check((Packet::types & bit(type)) != 0);
    Packet::fields(io, packet);
    io.check(io.left() == 0);
    return io.error();
}

// Reads one packet, which is all of `in`; malformed also if it is longer or shorter than its header says.
template <class Packet> Error decode(Bytes in, Packet& packet) {
    packet = Packet{};
    FixedHeader header;
    const Error error = read_fixed_header(in.data(), in.size(), header);
    if (error != Error::ok) return error;
    if (header.size == 0 || in.size() - header.size != header.remaining_length) return Error::malformed_packet;
    return decode_body(header.first_byte, Bytes(in.data() + header.size, in.size() - header.size), packet);
}

// -------------------------------------------------------------------------------------------------- 9 outbox

// What answers a kept record, and what is told then. The whole of QoS 1 and 2 on the sending side, and of subscribing, is
// this table: a record's state is its packet type, and whether it has been written. All other packets are erased once
// they are written.
struct Transition {
    uint8_t record;       // its first byte, without DUP and RETAIN
    PacketType answer;
    Event::Kind event;
};
inline constexpr Transition transitions[] = {
    {0x32, PacketType::puback, Event::acknowledged},      // PUBLISH QoS 1 is erased              [MQTT-4.3.2-1]
    {0x34, PacketType::pubrec, Event::pubrec},            // PUBLISH QoS 2 becomes PUBREL         [MQTT-4.3.3-1]
    {0x62, PacketType::pubcomp, Event::acknowledged},     // PUBREL is erased                     [MQTT-4.3.3-1]
    {0x82, PacketType::suback, Event::subscribed},        // SUBSCRIBE is erased                  [MQTT-3.8.4-2]
    {0xA2, PacketType::unsuback, Event::unsubscribed},    // UNSUBSCRIBE is erased                [MQTT-3.10.4-4]
};

// Packets that go out, in the order in which they go out, in one piece of the caller's memory:
//
//   data_                                                                                    data_ + capacity_
//     | packets, live and dead ...  | written | half-written | not yet |    free    | ... index of kept records |
//       begin_                         mark: main        sent        end            entry(hi_ - 1)    entry(lo_)
//
// Unsent bytes are contiguous, so one write flushes them; packets carry their own length, so they need no list. The
// index has the place of each kept record, ordered by the age of its packet id: ids are given in sequence, so the place
// is guessed from the id, and found by bisection if records in between have gone. Neither sending nor an answer in
// order depends on how many are in flight. Dead packets are removed all at once when room is needed.
//
// After a reconnect there can be more QoS 1 and 2 messages than may be in flight. They wait, and what is not a message
// goes ahead of them: then there are two cursors, `main` at the first message that waits, `ahead` at the first other
// packet that has not been written, and what goes out is a run of either, up to `gate`. A message whose payload
// comes from elsewhere has the gate behind its header.
class Outbox {
public:
    using Offset = std::conditional_t<(sizeof(size_t) < 4), uint16_t, uint32_t>;
    static constexpr Offset nowhere = static_cast<Offset>(-1);
    static constexpr size_t entry_size = sizeof(Offset);

    // What each kind of packet must leave free, so that the ones below it always find room: a server that is waiting
    // for our acknowledgement or ping is never kept waiting by messages.
    enum Reserve : uint8_t { for_disconnect = 0, for_ping = 2, for_answer = 4, for_message = 16 };

    Outbox(uint8_t* data, size_t size) : data_(data) {
        // The index grows down from an aligned end.
        const size_t odd = reinterpret_cast<uintptr_t>(data + size) % entry_size;
        capacity_ = static_cast<Offset>(size > odd ? size - odd : 0);
    }

    // ---- appending

    // Encodes a packet at the end. A kept one has taken its id with new_packet_id() before. Nothing is changed by errors.
    template <class Packet> Encoded append(const Packet& packet, Reserve reserve, bool with_rest = true) {
        const bool kept = answer_to(packet.first_byte()) != nullptr;
        const size_t aside = reserve + (kept ? entry_size : 0);
        Encoded out = encode(packet, Buffer(data_ + at_[end], room(aside)), with_rest);
        if (out.error == Error::no_space) {
            if (out.size + aside > capacity_) return {Error::packet_too_large, 0};
            if (compact()) out = encode(packet, Buffer(data_ + at_[end], room(aside)), with_rest);
        }
        if (out.error == Error::ok) added(static_cast<Offset>(out.size), kept);
        return out;
    }

    // Room for an answer to whatever comes next? If not even after tidying up, nothing more is read.
    bool can_answer() { return room(for_answer) >= 4 || (compact() && room(for_answer) >= 4); }

    // The next id that is free, in sequence [MQTT-2.3.1-2]; 0: all 65,535 are in use, or no room. The oldest kept record
    // comes first in the index, so an id is in use only if that one has it; then it goes to the end, as if it were new.
    uint16_t new_packet_id() {
        Offset tries = count();
        while (lo_ != hi_ && id_at(entry(lo_)) == next_id_) {
            if (tries-- == 0 || (room(entry_size) == 0 && !compact())) return 0;
            set_entry(hi_++, entry(lo_++));
            drop_dead_entries();
            step_id();
        }
        return next_id_;
    }

    // ---- sending

    // Chooses what goes out next: messages as long as fewer than `maximum` are in flight, then others. Before unsent().
    void admit(uint16_t maximum) {
        if (mode_ == closed || stream_left_ != 0 || at_[lane()] != at_[sent]) return;   // not in mid-packet
        if (mode_ == open) {
            at_[gate] = nowhere;   // a stream has ended
            return;
        }
        if (at_[sent] < at_[gate]) return;
        while (at_[main] < at_[ahead] && !is_message(data_[at_[main]])) at_[main] += size_at(at_[main]);
        overtaking_ = false;
        if (at_[main] == at_[ahead] && kept_ <= maximum && !stream_pending()) {   // nobody has to wait any more
            mode_ = open;
            in_flight_ = kept_;
            at_[ahead] = at_[gate] = nowhere;
            at_[sent] = at_[main];
            return;
        }
        while (at_[ahead] < at_[end] && is_message(data_[at_[ahead]])) at_[ahead] += size_at(at_[ahead]);
        overtaking_ = at_[main] == at_[ahead] || in_flight_ >= maximum;
        Offset run = at_[lane()];
        while (run < at_[end] && is_message(data_[run]) != overtaking_ && (overtaking_ || in_flight_ < maximum)) {
            const Offset place = run;
            run += size_at(place);
            if (!overtaking_) ++in_flight_;
            if (place != at_[stream]) continue;
            stream_left_ = wire_size(place) - stream_size_;
            stream_resend_ = true;
            break;
        }
        at_[gate] = run;
        at_[sent] = at_[lane()];
    }

    // The bytes to write now. Valid until anything else is called.
    Bytes unsent() const {
        const Offset limit = at_[gate] < at_[end] ? at_[gate] : at_[end];
        return Bytes(data_ + at_[sent], static_cast<size_t>(limit - at_[sent]));
    }

    // The first `size` bytes of unsent() are written.
    void written(size_t size) {
        at_[sent] = static_cast<Offset>(at_[sent] + size);
        Offset& next = at_[lane()];
        Offset live_end = next;
        while (next < at_[sent]) {
            const Offset length = size_at(next);
            if (at_[sent] - next < length) break;
            if (next == at_[ping]) at_[ping] = nowhere;
            if (answer_to(data_[next]) != nullptr)
                live_end = next + length;
            else
                kill(next);
            next += length;
        }
        if (next == at_[end] && live_end < next) {   // what was forgotten at the very end is free at once
            if (at_[stream] >= live_end) at_[stream] = nowhere;
            for (Offset& mark : at_)
                if (mark != nowhere && mark > live_end) mark = live_end;
        }
        trim();
    }

    // One at a time: the next one is not due before this one has been written.
    bool append_ping() {
        if (append(Empty{PacketType::pingreq}, for_ping).error != Error::ok) return false;
        at_[ping] = at_[end] - 2;
        return true;
    }
    bool ping_waits() const { return at_[ping] != nowhere; }

    // ---- answers

    // The place of the record with this id that has been fully written and not been answered, or nowhere.
    Offset find(uint16_t id) const {
        const Offset k = locate(id);
        if (k == nowhere) return nowhere;
        const Offset place = entry(k);
        const bool incomplete = place >= at_[lane_of(place)] || (place == at_[stream] && stream_left_ != 0);
        return is_dead(data_[place]) || incomplete ? nowhere : place;
    }
    static const Transition* answer_to(uint8_t first_byte) {
        const uint8_t record = first_byte & ((first_byte >> 4) == 3 ? 0xF6 : 0xF7);
        for (const Transition& t : transitions)
            if (t.record == record) return &t;
        return nullptr;
    }
    uint8_t first_byte(Offset place) const { return data_[place]; }
    // How many filters a SUBSCRIBE has.
    size_t filters(Offset place) const {
        size_t count = 0;
        for (Offset p = id_place(place) + 2; p < place + size_at(place); ++count)
            p += static_cast<Offset>(3 + load_u16(data_ + p));
        return count;
    }

    void erase(Offset place) {
        if (counts(data_[place])) --in_flight_;
        kill(place);
        trim();
    }

    // PUBREC came: a PUBREL at the end takes the message's place in the index, and the payload's room is free.
    // Needs can_answer().
    void release(uint16_t id) {
        const Offset k = locate(id);
        uint8_t* p = data_ + at_[end];
        p[0] = first_byte_of(PacketType::pubrel);
        p[1] = 2;
        store_u16(p + 2, id);
        const Offset message = entry(k);
        set_entry(k, at_[end]);
        added(4, false);
        ++kept_;
        kill(message);
        trim();
    }

    // ---- connections

    // The connection is gone. What only it needed goes: answers, pings, a QoS 0 message that was cut in half. What
    // else was sent is marked, with the bit that DUP has in a PUBLISH. Nothing goes out until resume().
    void rewind() {
        uint16_t unreleased = 0;
        Offset length;
        for (Offset place = begin_; place < at_[end]; place += length) {
            length = size_at(place);
            const PacketType type = type_at(place);
            if (is_dead(data_[place])) continue;
            const bool begun = place < at_[lane_of(place)] || (lane_of(place) == lane() && place < at_[sent]);
            if (type == PacketType::pubrel) ++unreleased;
            if (answer_to(data_[place]) != nullptr) {
                if (begun || type == PacketType::pubrel) mark_sent(place, true);
            } else if (begun || type != PacketType::publish || place == at_[stream]) {
                kill(place);
            }
        }
        at_[ping] = nowhere;
        stream_left_ = 0;
        stream_resend_ = false;
        in_flight_ = unreleased;
        close();
    }

    // The server has (or has not) the session. Returns the id of a record that is dropped because it has not, one at a
    // call; 0: no more, and admit() may let messages out.
    uint16_t resume(bool session_present) {
        while (at_[gate] < at_[end]) {
            const Offset place = at_[gate];
            at_[gate] = place + size_at(place);
            if (is_dead(data_[place]) || answer_to(data_[place]) == nullptr || !was_sent(place)) continue;
            if (!session_present) {
                const uint16_t id = id_at(place);
                kill(place);
                return id;
            }
            if (type_at(place) != PacketType::publish) mark_sent(place, false);
        }
        close();
        if (!session_present) in_flight_ = 0;
        mode_ = waiting;
        return 0;
    }

    // ---- a message whose payload comes from elsewhere

    // Its header, of `size` bytes, has just been appended.
    void begin_stream(uint32_t size, uint32_t payload) {
        if (payload == 0) return;
        at_[stream] = static_cast<Offset>(at_[end] - size);
        stream_size_ = static_cast<Offset>(size);
        stream_left_ = payload;
        at_[gate] = at_[end];
    }
    // May there be one? One at a time, until it is answered; and none while messages wait.
    bool can_stream() {
        if (at_[stream] != nowhere && is_dead(data_[at_[stream]])) compact();
        return at_[stream] == nowhere && stream_left_ == 0 && mode_ == open;
    }
    uint32_t stream_left() const { return stream_left_; }
    bool stream_ready() const { return stream_left_ != 0 && at_[sent] == at_[gate]; }
    void stream_written(uint32_t size) { stream_left_ -= size; }
    bool stream_pending() const { return at_[stream] != nowhere && at_[stream] >= at_[main]; }   // its header is unsent
    uint16_t stream_to_resend() {
        if (!stream_resend_) return 0;
        stream_resend_ = false;
        return id_at(at_[stream]);
    }

    // ---- sizes

    Offset count() const { return static_cast<Offset>(hi_ - lo_); }   // of index entries
    uint16_t kept() const { return kept_; }                           // QoS 1 and 2 messages not finished
    Offset capacity() const { return capacity_; }
    void set_aside(uint32_t size) { capacity_ = static_cast<Offset>(capacity_ - size); }
    bool last_written() const { return at_[sent] == at_[end]; }       // the packet that was appended last

private:
    static constexpr uint8_t sent_before = 0x08;   // DUP in PUBLISH; cleared before it is sent in other types
    static constexpr uint8_t dead = 0x06;          // flags that no packet has

    // Every place that is remembered, so that the one function that moves bytes moves them, too.
    enum Mark : uint8_t {
        main,     // first packet not fully written
        ahead,    // the same for what is not a message, while messages wait
        sent,     // bytes before it are written, in the lane that is being sent
        gate,     // what goes out now ends here; nowhere: it goes on to `end`
        stream,   // the record whose payload comes from elsewhere
        ping,     // a PINGREQ that has not been written
        end,
        marks
    };

    static bool is_dead(uint8_t first) { return (first & dead) == dead; }
    // Does it count against the messages in flight?
    static bool counts(uint8_t first) { return (first >> 4) == 6 || ((first >> 4) == 3 && (first & dead) != 0); }
    // A live PUBLISH of QoS 1 or 2.
    static bool is_message(uint8_t first) { return (first >> 4) == 3 && (first & dead) != 0 && !is_dead(first); }
    Mark lane() const { return overtaking_ ? ahead : main; }
    Mark lane_of(Offset place) const { return mode_ == waiting && !is_message(data_[place]) ? ahead : main; }

    // ---- packets in memory

    PacketType type_at(Offset place) const { return static_cast<PacketType>(data_[place] >> 4); }
    bool was_sent(Offset place) const { return (data_[place] & sent_before) != 0; }
    void mark_sent(Offset place, bool yes) {
        data_[place] = static_cast<uint8_t>((data_[place] & ~sent_before) | (yes ? sent_before : 0));
    }

    // Bytes of the fixed header; `remaining` is what it says to follow.
    Offset header_size(Offset place, Offset& remaining) const {
        Offset size = 1;
        unsigned shift = 0;
        uint8_t byte;
        remaining = 0;
        do {
            byte = data_[place + size++];
            remaining |= static_cast<Offset>(byte & 127) << shift;
            shift += 7;
        } while (byte >= 128);
        return size;
    }
    Offset wire_size(Offset place) const {
        Offset remaining;
        const Offset header = header_size(place, remaining);
        return header + remaining;
    }
    // Behind the fixed header, and in a PUBLISH behind the topic.
    Offset id_place(Offset place) const {
        Offset remaining;
        Offset p = place + header_size(place, remaining);
        if (type_at(place) == PacketType::publish) p += static_cast<Offset>(2 + load_u16(data_ + p));
        return p;
    }
    uint16_t id_at(Offset place) const { return load_u16(data_ + id_place(place)); }
    Offset size_at(Offset place) const { return place == at_[stream] ? stream_size_ : wire_size(place); }

    // ---- the index

    uint8_t* entry_address(Offset k) const { return data_ + capacity_ - (k + 1) * entry_size; }
    Offset entry(Offset k) const {
        Offset place;
        memcpy(&place, entry_address(k), entry_size);
        return place;
    }
    void set_entry(Offset k, Offset place) { memcpy(entry_address(k), &place, entry_size); }

    // The entry of a packet id, or nowhere. Ages count back from the next id, so they order the index also where the ids
    // wrap around; an entry that is out of date still has the bytes of its packet.
    Offset locate(uint16_t id) const {
        if (lo_ == hi_) return nowhere;
        const uint16_t age = static_cast<uint16_t>(next_id_ - id);
        Offset low = lo_, high = hi_;
        const uint16_t behind_first = static_cast<uint16_t>(id - id_at(entry(lo_)));
        Offset probe = behind_first < hi_ - lo_ ? lo_ + behind_first : hi_ - 1;
        while (low < high) {
            const uint16_t other = static_cast<uint16_t>(next_id_ - id_at(entry(probe)));
            if (other == age) return probe;
            if (other > age)
                low = probe + 1;
            else
                high = probe;
            probe = low + (high - low) / 2;
        }
        return nowhere;
    }

    // ---- memory

    size_t room(size_t aside) const {
        const size_t left = capacity_ - at_[end] - hi_ * entry_size;
        return left > aside ? left - aside : 0;
    }
    void added(Offset size, bool kept) {
        const Offset place = at_[end];
        if (kept) {
            set_entry(hi_++, place);
            step_id();
            if (counts(data_[place])) {
                ++kept_;
                if (mode_ == open) ++in_flight_;   // else when its turn comes
            }
        }
        at_[end] = place + size;
    }
    void step_id() { next_id_ = next_id_ == 65535 ? uint16_t{1} : static_cast<uint16_t>(next_id_ + 1); }

    void kill(Offset place) {
        if (counts(data_[place])) --kept_;
        data_[place] |= dead;
        holes_ = true;
        drop_dead_entries();
    }
    // The first entry of the index is always a live one.
    void drop_dead_entries() {
        while (lo_ != hi_ && is_dead(data_[entry(lo_)])) ++lo_;
    }
    // Dead packets in front cost nothing to remove.
    void trim() {
        while (begin_ < at_[end] && is_dead(data_[begin_])) {
            const Offset size = size_at(begin_);
            if (begin_ == at_[stream]) at_[stream] = nowhere;
            begin_ += size;
        }
        const bool empty = begin_ == at_[end];
        if (empty) {
            begin_ = lo_ = hi_ = 0;
            holes_ = false;
        }
        for (Offset& mark : at_)
            if (mark != nowhere && (empty || mark < begin_)) mark = begin_;
    }
    // All that is live is to be sent, from the front, and nothing goes out yet.
    void close() {
        mode_ = closed;
        overtaking_ = false;
        at_[main] = at_[ahead] = at_[sent] = at_[gate] = begin_;
        compact();
    }
    // The only function that moves bytes. False: there was nothing to gain.
    bool compact() {
        if (begin_ == 0 && lo_ == 0 && !holes_) return false;
        Offset live = 0;
        for (Offset k = lo_; k < hi_; ++k) {
            const Offset place = entry(k);
            if (!is_dead(data_[place])) set_entry(live++, place);
        }
        lo_ = 0;
        hi_ = live;
        Offset to = 0, size;
        const Offset old_end = at_[end];
        for (Offset from = begin_; from < old_end; from += size) {
            size = size_at(from);
            const bool keep = !is_dead(data_[from]);
            const Offset k = keep && answer_to(data_[from]) != nullptr ? locate(id_at(from)) : nowhere;
            for (Offset& mark : at_) {
                if (mark < from || mark - from >= size) continue;
                if (!keep && &mark == &at_[stream])
                    mark = nowhere;
                else
                    mark = keep ? mark - from + to : to;
            }
            if (!keep) continue;
            if (from != to) memmove(data_ + to, data_ + from, size);
            if (k != nowhere) set_entry(k, to);
            to += size;
        }
        for (Offset& mark : at_)
            if (mark == old_end) mark = to;
        begin_ = 0;
        holes_ = false;
        return true;
    }

    uint8_t* data_;
    Offset capacity_;
    Offset begin_ = 0;             // packets before it are dead
    Offset lo_ = 0, hi_ = 0;       // index entries
    Offset at_[marks] = {0, 0, 0, 0, nowhere, nowhere, 0};
    Offset stream_size_ = 0;       // bytes of the header at `stream`
    uint32_t stream_left_ = 0;     // payload bytes to come
    uint16_t next_id_ = 1;
    uint16_t kept_ = 0;            // QoS 1 and 2 messages not finished ...
    uint16_t in_flight_ = 0;       // ... and those of them that do not wait
    enum : uint8_t { closed, waiting, open } mode_ = closed;
    bool overtaking_ = false;      // it is the packets at `ahead` that are being sent
    bool holes_ = false;           // there is a dead packet somewhere
    bool stream_resend_ = false;
};

// --------------------------------------------------------------------------------------------------- 10 inbox

// Received QoS 1 and 2 messages that are not finished, in the order in which they came: first QoS 2 ids that were
// answered with PUBREC and wait for PUBREL [MQTT-4.3.3-2], then *open* messages, which the application has seen and
// we have not answered yet. Answers go out in the order of the messages [MQTT-4.6.0-2], [MQTT-4.6.0-3], so a later
// one that is acknowledged first waits. A ring of 3 bytes each in the caller's memory.
class Inbox {
public:
    static constexpr uint8_t entry_size = 3;

    void init(uint8_t* data, uint16_t capacity) {
        data_ = data;
        capacity_ = capacity;
    }
    bool exists() const { return capacity_ != 0; }
    bool full() const { return count_ == capacity_; }
    uint16_t open() const { return open_; }

    void push(uint16_t id, QoS qos) {
        // Servers number their messages in sequence: as long as they do, one look tells that an id is new.
        if (count_ == 0) in_sequence_ = true;
        in_sequence_ = in_sequence_ && beyond_last(id);
        uint8_t* p = at(count_++);
        store_u16(p, id);
        p[2] = static_cast<uint8_t>(qos);
        ++open_;
    }
    // Is this QoS 2 message one that we have, and the server has not released? DUP says nothing about it: servers
    // redeliver without it.
    bool has(uint16_t id) const { return !(in_sequence_ && beyond_last(id)) && position(id, count_) != none; }
    // It came once more: if it has been answered, it will be again, behind those that are open.
    void received_again(uint16_t id) {
        const uint16_t i = position(id, answered_count());
        if (i == none) return;
        remove(i);
        push(id, QoS::exactly_once);
        (void)acknowledge(id);
    }

    // PUBREL: the server may use the id anew as soon as it sees PUBCOMP.
    void released(uint16_t id) {
        const uint16_t i = position(id, answered_count());
        if (i != none) remove(i);
    }
    // The application took a message over. False: it is none of the open ones.
    bool acknowledge(uint16_t id) {
        for (uint16_t i = answered_count(); i < count_; ++i)
            if (load_u16(at(i)) == id && (at(i)[2] & acknowledged) == 0) {
                at(i)[2] = static_cast<uint8_t>(at(i)[2] | acknowledged);
                return true;
            }
        return false;
    }
    void acknowledge_all() {
        for (uint16_t i = answered_count(); i < count_; ++i)
            at(i)[2] = static_cast<uint8_t>(at(i)[2] | acknowledged);
    }
    // The answer that is due next: PUBACK or PUBREC, or a packet id of 0. answered() when it is queued.
    Ack due() const {
        if (open_ == 0) return {};
        const uint8_t* p = at(answered_count());
        if ((p[2] & acknowledged) == 0) return {};
        return {(p[2] & 3) == 2 ? PacketType::pubrec : PacketType::puback, load_u16(p)};
    }
    void answered() {
        const uint16_t i = answered_count();
        --open_;
        if ((at(i)[2] & 3) != 2) remove(i);
    }
    // The connection is gone: the server sends again what was not answered. What the application has taken over all the
    // same is not delivered again.
    void forget_open() {
        uint16_t kept = answered_count();
        for (uint16_t i = kept; i < count_; ++i)
            if (at(i)[2] == (acknowledged | 2)) memmove(at(kept++), at(i), entry_size);
        count_ = kept;
        open_ = 0;
    }
    void clear() { count_ = open_ = 0; }

private:
    static constexpr uint16_t none = 0xFFFF;
    static constexpr uint8_t acknowledged = 4;

    uint8_t* at(uint16_t i) const {
        const size_t k = static_cast<size_t>(head_) + i;
        return data_ + entry_size * (k < capacity_ ? k : k - capacity_);
    }
    bool beyond_last(uint16_t id) const {
        if (count_ == 0) return true;
        const uint16_t first = load_u16(at(0)), last = load_u16(at(static_cast<uint16_t>(count_ - 1)));
        return static_cast<uint16_t>(id - first) > static_cast<uint16_t>(last - first);
    }
    uint16_t answered_count() const { return static_cast<uint16_t>(count_ - open_); }
    // Of a QoS 2 message among the first `count`.
    uint16_t position(uint16_t id, uint16_t count) const {
        for (uint16_t i = 0; i < count; ++i)
            if (load_u16(at(i)) == id && (at(i)[2] & 2) != 0) return i;
        return none;
    }
    void remove(uint16_t i) {
        --count_;
        if (i == 0) {
            head_ = head_ + 1 == capacity_ ? uint16_t{0} : static_cast<uint16_t>(head_ + 1);
            return;
        }
        for (; i < count_; ++i) memcpy(at(i), at(static_cast<uint16_t>(i + 1)), entry_size);
    }

    uint8_t* data_ = nullptr;
    uint16_t capacity_ = 0;
    uint16_t head_ = 0, count_ = 0;
    uint16_t open_ = 0;            // the last ones of `count_`
    bool in_sequence_ = false;     // the ids ascend, modulo 2^16
};

// -------------------------------------------------------------------------------------------------- 11 engine

// The protocol without I/O. What a pump around it does (`Client` below is one):
//   tick(now)                   what is due by time: the next attempt, a ping
//   next(now)                   until it returns none: what has been received, as events
//   wants_open()                open the connection, then opened(now)
//   output(), sent(n, now)      write what output() shows, tell how much of it was taken
//   input(), received(n, now)   read into what input() shows, tell how much came
//   lost(error)                 the connection is gone, or could not be opened
//   expire(now, nothing_read)   time-outs
//   wants_close()               close the connection, then closed(now, random)
class Engine {
public:
    explicit Engine(const Buffers& buffers)
        : rx_(buffers.rx), outbox_(buffers.tx.data, buffers.tx.size) {
        const uint32_t inbox = (uint32_t{buffers.receive_maximum} * Inbox::entry_size + 3) & ~uint32_t{3};
        if (outbox_.capacity() < inbox + Outbox::for_message) return;   // told by connect()
        outbox_.set_aside(inbox);                                       // a multiple of 4 keeps the index aligned
        inbox_.init(buffers.tx.data + outbox_.capacity(), buffers.receive_maximum);
    }

    // ---- what the application asks for; documented at Client

    Error connect(const ConnectOptions& options, uint32_t now) {
        if (state_ != State::stopped) return Error::already_started;
        if (!inbox_.exists()) return Error::buffer_too_small;
        if (options.client_id.empty() && !options.clean_session) return Error::invalid_client_id;   // [MQTT-3.1.3-7]
        if (options.in_flight_maximum == 0) return Error::invalid_argument;
        const Encoded connect = encode_connect(options, {rx_.data, 0});
        if (connect.error != Error::no_space) return connect.error;
        if (connect.size > rx_.size) return Error::buffer_too_small;
        // Session state belongs to a client id at a server [MQTT-3.1.3-2]: another one's is never replayed.
        uint32_t identity = 2166136261U + options.port;   // FNV-1a
        for (const std::string_view text : {options.host, options.client_id}) {
            for (const char c : text) identity = (identity ^ static_cast<uint8_t>(c)) * 16777619U;
            identity = (identity ^ 0xFF) * 16777619U;   // which is not in UTF-8
        }
        identity_ = identity | 1;
        options_ = &options;
        attempts_ = 0;
        now_ = now;
        delay_ = 0;   // the time-out begins with the first poll()
        enter(State::waiting);
        return Error::ok;
    }

    Error disconnect(uint32_t now) {
        if (state_ == State::stopped || stopping_) return Error::not_started;
        if (state_ == State::disconnecting) return Error::ok;
        if (state_ != State::connected) return abort();
        if (outbox_.stream_left() != 0 || outbox_.stream_pending()) return Error::publish_in_progress;
        now_ = now;
        acknowledge_seen();   // what is being handled while this is called
        const Encoded out = outbox_.append(Empty{PacketType::disconnect}, Outbox::for_disconnect);
        if (out.error == Error::ok) enter(State::disconnecting);
        return out.error;
    }

    Error abort() {
        if (state_ == State::stopped || stopping_) return Error::not_started;
        stop();
        return Error::ok;
    }

    Result publish(Publish& message) { return enqueue_message(message, false, 0); }

    Result begin_publish(Publish& head, uint32_t size) {
        if (state_ != State::connected) return {state_ == State::stopped ? Error::not_started : Error::not_connected};
        (void)output();   // lets those go that wait for nothing
        if (!outbox_.can_stream()) return {Error::publish_in_progress};
        head.payload = Bytes(nullptr, static_cast<size_t>(size));   // only tells its size: with_rest is false
        if (head.payload.size() != size || size > Outbox::nowhere - head.topic.size() - 16)
            return {Error::packet_too_large};
        return enqueue_message(head, true, size);
    }

    Result subscribe(Subscribe& packet) {
        if (!accepting()) return {Error::not_started};
        packet.packet_id = outbox_.new_packet_id();
        if (packet.packet_id == 0) return {Error::no_space};
        const Error error = outbox_.append(packet, Outbox::for_message).error;
        return {error, error == Error::ok ? packet.packet_id : uint16_t{0}};
    }

    Error acknowledge(uint16_t packet_id) {
        if (!inbox_.acknowledge(packet_id)) return Error::unknown_packet_id;
        answer_open();
        drained_ = false;
        return Error::ok;
    }

    // ---- events

    // One event, or none: then more input is needed, or time has to pass. Releases what the previous event pointed to.
    Event next(uint32_t now) {
        now_ = now;
        drained_ = false;
        settle();
        Event event = told_later();
        if (event.kind != Event::none) return event;
        while (legal_packets() != 0) {
            blocked_ = false;
            const Step step = in_left_ == 0 ? receive(event) : topic_fits() ? receive_piece(event) : skip(event);
            if (event.kind != Event::none) return event;
            if (step == Step::wait) break;
        }
        drained_ = true;
        return event;
    }

    // What is due by time: the next attempt, or a PINGREQ; true: it is to be written at once.
    bool tick(uint32_t now) {
        now_ = now;
        if (state_ == State::waiting && left_of(since_, delay_) == 0) enter(State::opening);
        if (state_ != State::connected || ping_due() != 0) return false;
        if (!outbox_.append_ping()) return false;
        if (!pinging_) {   // a further one does not put off the time-out
            pinged_at_ = now_;
            ping_unseen_ = true;
        }
        pinging_ = true;
        return true;
    }

    // Time-outs. None while there is something to read, so that a packet that has come counts also if it is looked at late.
    void expire(uint32_t now, bool nothing_read) {
        now_ = now;
        if (time_left() != 0 || !(nothing_read || state_ == State::disconnecting)) return;
        fail(exceeded() ? Error::receive_maximum_exceeded
             : answering() ? Error::response_timeout : Error::connect_timeout);   // [MQTT-3.12.4-1]
    }

    // Milliseconds until tick() or expire() has something to do; 0: call next() at once; forever: no timer is running.
    uint32_t idle_ms(uint32_t now) {
        now_ = now;
        if (!drained_ || wants_close()) return 0;
        if (state_ == State::waiting) return left_of(since_, delay_);
        const uint32_t left = time_left();
        const uint32_t ping = state_ == State::connected ? ping_due() : forever;
        return left < ping ? left : ping;
    }

    // ---- the connection

    bool connected() const { return state_ == State::connected; }
    const ConnectOptions& options() const { return *options_; }
    uint16_t unacknowledged() const { return outbox_.kept(); }
    bool wants_open() const { return state_ == State::opening; }
    bool wants_close() const { return state_ == State::failed; }

    void opened(uint32_t now) {
        now_ = now;
        in_begin_ = 0;
        in_end_ = static_cast<size_t>(encode_connect(*options_, rx_).size);
        enter(State::connecting);
    }

    void lost(Error error) {
        // A server may close as soon as it has our DISCONNECT (section 3.14.4).
        fail(state_ == State::disconnecting && outbox_.last_written() ? Error::ok : error);
    }

    // The pump has closed it. `random` spreads the reconnects of many clients.
    void closed(uint32_t now, uint32_t random) {
        now_ = now;
        in_begin_ = in_end_ = 0;
        in_left_ = 0;
        outbox_.rewind();
        inbox_.forget_open();
        told_ = false;
        pinging_ = ping_unseen_ = payload_waits_ = false;
        if (dropped_ != 0) session_ = 0;   // the rest of it is told after the next CONNACK
        drained_ = false;
        if (stopping_ || options_->reconnect_max_ms == 0) {
            options_ = nullptr;
            enter(State::stopped);
        } else {
            delay_ = back_off(random);
            enter(State::waiting);
        }
        stopping_ = false;
    }

    // What to write now. Bytes may move after anything else is called.
    Bytes output() {
        if (state_ == State::connecting) return Bytes(rx_.data + in_begin_, in_end_ - in_begin_);
        if (!answering() || dropped_ != 0) return {};
        outbox_.admit(options_->in_flight_maximum);
        return outbox_.unsent();
    }
    void sent(size_t size, uint32_t now) {
        MQTT_ASSERT(size <= output().size());
        sent_at_ = now_ = now;
        if (state_ != State::connecting) {
            outbox_.written(size);
            if (blocked_) drained_ = false;   // what could not be taken before, perhaps can now
            if (ping_unseen_) pinged_at_ = now_;   // something moves, but the server cannot have seen the ping before
            ping_unseen_ = ping_unseen_ && outbox_.ping_waits();
            if (state_ == State::disconnecting && outbox_.last_written()) stop();   // [MQTT-3.14.4-1]
            return;
        }
        // From here on, what was before is gone; and a clean session ends with its connection [MQTT-3.1.2-6].
        if (options_->clean_session) session_ = 0;
        in_begin_ += size;
        if (in_begin_ != in_end_) return;
        in_begin_ = in_end_ = 0;
        enter(State::awaiting_connack);
    }

    // Where to read to; empty while what has come cannot be taken on.
    Buffer input() {
        // After DISCONNECT nothing may be answered [MQTT-3.14.4-2], so nothing is looked at; but what is left unread when
        // a socket is closed resets it, and the server might not see our last packets. So it is read and forgotten.
        if (state_ == State::disconnecting) return rx_;
        if (legal_packets() == 0) return {};
        if (in_begin_ != 0 && drained_ && !blocked_) {   // only an incomplete packet is left
            if (in_begin_ != in_end_) memmove(rx_.data, rx_.data + in_begin_, in_end_ - in_begin_);
            in_end_ -= in_begin_;
            in_begin_ = 0;
        }
        return {rx_.data + in_end_, blocked_ ? 0 : rx_.size - in_end_};
    }
    void received(size_t size, uint32_t now) {
        if (state_ == State::disconnecting) return;
        MQTT_ASSERT(size <= rx_.size - in_end_);
        received_at_ = now_ = now;
        in_end_ += size;
        drained_ = false;
    }

    // The payload of begin_publish(), written by the pump directly: bytes that may be written now, and that were.
    uint32_t payload_left() const { return outbox_.stream_left(); }
    bool payload_pending() const { return outbox_.stream_pending(); }
    bool payload_wanted() {
        (void)output();
        return connected() && outbox_.stream_ready();
    }
    void payload_sent(size_t size, size_t of, uint32_t now) {
        if (size != 0) sent_at_ = now_ = now;
        outbox_.stream_written(static_cast<uint32_t>(size));
        payload_waits_ = size != of;
    }
    // The port took less than was offered.
    bool payload_waits() const { return payload_waits_; }

private:
    // The one state of the connection; enter() is the only way from one to another.
    enum class State : uint8_t {
        stopped,            // before connect(), after disconnect()
        waiting,            // until it is time for the next attempt
        opening,            // the port is connecting
        connecting,         // CONNECT, which lies in rx, is being written
        awaiting_connack,
        connected,
        disconnecting,      // DISCONNECT is the last packet in the outbox
        failed              // to be closed
    };
    enum class Step : uint8_t { wait, go_on };

    // The packets that a server may send in each state [MQTT-3.2.0-1]; none: nothing is looked at.
    uint16_t legal_packets() const {
        constexpr uint16_t answers = bit(PacketType::publish) | bit(PacketType::puback) | bit(PacketType::pubrec) |
                                     bit(PacketType::pubrel) | bit(PacketType::pubcomp) | bit(PacketType::suback) |
                                     bit(PacketType::unsuback) | bit(PacketType::pingresp);
        if (state_ == State::awaiting_connack) return bit(PacketType::connack);
        return state_ == State::connected ? answers : uint16_t{0};
    }
    bool answering() const { return state_ == State::connected || state_ == State::disconnecting; }
    bool accepting() const {
        return state_ != State::stopped && state_ != State::disconnecting && !stopping_;
    }

    void enter(State state) {
        state_ = state;
        // There is one time-out for all of connecting.
        if (state != State::connecting && state != State::awaiting_connack) since_ = now_;
    }
    void fail(Error error) {
        if (state_ == State::stopped || state_ == State::failed) return;
        if (state_ == State::connected && now_ - since_ >= options_->stable_ms) attempts_ = 0;
        stopping_ = stopping_ || state_ == State::disconnecting;
        error_ = error;
        enter(State::failed);
    }
    void stop() {
        stopping_ = true;
        fail(Error::ok);
        error_ = Error::ok;
    }

    // Full jitter: a random part of a limit that doubles with each attempt.
    uint32_t back_off(uint32_t random) {
        random = (random ^ identity_) * 2654435761U;
        constexpr uint32_t longest = uint32_t{1} << 20;
        const uint32_t most = options_->reconnect_max_ms < longest ? options_->reconnect_max_ms : longest;
        const bool refused = reason_ == ReasonCode::not_authorized || reason_ == ReasonCode::bad_user_name_or_password ||
                             reason_ == ReasonCode::client_identifier_not_valid ||
                             reason_ == ReasonCode::unsupported_protocol_version;
        uint32_t limit = most, least = 0;
        if (error_ == Error::connection_refused && refused)
            least = most / 2;
        else if ((most >> attempts_) > options_->reconnect_min_ms)
            limit = options_->reconnect_min_ms << attempts_++;
        // (limit - least) * random / 2^32 without 64-bit arithmetic.
        return least + (((random >> 16) * ((limit - least) >> 4)) >> 12);
    }

    // ---- timers

    uint32_t left_of(uint32_t since, uint32_t duration) const {
        const uint32_t elapsed = now_ - since;   // right also when the clock has wrapped around
        return elapsed < duration ? duration - elapsed : 0;
    }
    // Until a time-out.
    uint32_t time_left() const {
        switch (state_) {
        case State::opening:
        case State::connecting:
        case State::awaiting_connack: return left_of(since_, options_->connect_timeout_ms);
        case State::disconnecting: return left_of(since_, options_->response_timeout_ms);
        case State::connected: break;
        default: return forever;
        }
        if (exceeded()) return left_of(received_at_, options_->response_timeout_ms);
        if (outbox_.stream_left() != 0 && options_->keep_alive != 0) {
            // No ping can be sent within a message; its payload has to move instead.
            const uint32_t limit = options_->keep_alive * uint32_t{875} + options_->response_timeout_ms;
            const uint32_t written = left_of(sent_at_, limit), read = left_of(received_at_, limit);
            return written > read ? written : read;
        }
        // Where it is the application that lets PINGRESP wait, there is none.
        const bool held = blocked_ && inbox_.full() && inbox_.due().packet_id == 0;
        return pinging_ && !held ? left_of(pinged_at_, options_->response_timeout_ms) : forever;
    }
    // Until a PINGREQ: 7/8 of the keep-alive time after we last sent something [MQTT-3.1.2-23], or after the server did,
    // which may be gone without our noticing.
    uint32_t ping_due() const {
        if (options_->keep_alive == 0 || outbox_.stream_left() != 0) return forever;
        const uint32_t limit = options_->keep_alive * uint32_t{875};
        const uint32_t until_sent = outbox_.ping_waits() ? forever : left_of(sent_at_, limit);
        const uint32_t until_received = pinging_ ? forever : left_of(received_at_, limit);
        return until_sent < until_received ? until_sent : until_received;
    }

    // ---- sending

    static Encoded encode_connect(const ConnectOptions& o, Buffer out) {
        Connect packet;
        unsigned flags = 0;
        if (o.clean_session) flags |= Connect::clean_session;
        packet.keep_alive = o.keep_alive;
        packet.client_id = o.client_id;
        if (!o.will.topic.empty()) {
            flags |= Connect::has_will | static_cast<unsigned>(o.will.qos) << 3;
            if (o.will.retain == Retain::yes) flags |= Connect::will_retain;
            packet.will_topic = o.will.topic;
            packet.will_message = o.will.message;
        }
        if (o.user_name.data() != nullptr) flags |= Connect::has_user_name;
        if (o.password.data() != nullptr) flags |= Connect::has_password;
        packet.user_name = o.user_name;
        packet.password = o.password;
        packet.flags = static_cast<uint8_t>(flags);
        return encode(packet, out);
    }

    Result enqueue_message(Publish& message, bool stream, uint32_t size) {
        if (!accepting()) return {Error::not_started};
        message.packet_id = 0;
        if (message.qos != QoS::at_most_once) {
            if (connected() && outbox_.kept() >= options_->in_flight_maximum) return {Error::receive_maximum_reached};
            message.packet_id = outbox_.new_packet_id();
            if (message.packet_id == 0) return {Error::no_space};
        }
        const Encoded out = outbox_.append(message, Outbox::for_message, !stream);
        if (out.error != Error::ok) return {out.error};
        if (stream) outbox_.begin_stream(out.size, size);
        return {Error::ok, message.packet_id};
    }

    // PUBACK and PUBREC for what the application has taken over, as far as there is room.
    void answer_open() {
        for (Ack due = inbox_.due(); due.packet_id != 0; due = inbox_.due()) {
            // Without a connection there is nobody to answer; a QoS 2 id is remembered all the same.
            if (connected() && outbox_.append(due, Outbox::for_answer).error != Error::ok) return;
            inbox_.answered();
        }
    }

    // The application has seen the previous event: what it was told of is acknowledged now, and not before.
    void acknowledge_seen() {
        if (options_ != nullptr && !options_->manual_ack) inbox_.acknowledge_all();
        answer_open();
    }
    void settle() {
        acknowledge_seen();
        // Views that are kept too long are seen in tests.
        if (checked && options_ != nullptr && state_ != State::connecting) {
            memset(rx_.data, 0xDD, in_begin_);
            memset(rx_.data + in_end_, 0xDD, rx_.size - in_end_);
        }
    }

    // ---- receiving

    Event make(Event::Kind kind, uint16_t packet_id = 0) const {
        Event event;
        event.kind = kind;
        event.packet_id = packet_id;
        return event;
    }

    // Events that are not a packet.
    Event told_later() {
        if (state_ == State::failed) return {};
        if (!told_ && (state_ == State::waiting || state_ == State::stopped)) {
            told_ = true;
            Event event = make(Event::disconnected);
            event.error = error_;
            event.reason = reason_;
            reason_ = ReasonCode::success;
            return event;
        }
        if (dropped_ != 0) {
            const Event event = make(Event::dropped, dropped_);
            dropped_ = answering() ? outbox_.resume(false) : uint16_t{0};
            return event;
        }
        const uint16_t id = outbox_.stream_to_resend();
        if (id != 0) return make(Event::resend_payload, id);
        return {};
    }

    // The first packet in rx, if it is all there.
    Step receive(Event& event) {
        const uint8_t* const packet = rx_.data + in_begin_;
        const size_t size = in_end_ - in_begin_;
        FixedHeader header;
        if (read_fixed_header(packet, size, header) != Error::ok) return reject(Error::malformed_packet);
        if (size == 0) return Step::wait;
        if ((bit(header.type()) & legal_packets()) == 0) return reject(Error::protocol_error);
        if (header.size == 0) return Step::wait;
        if (size - header.size < header.remaining_length) {
            if (header.packet_size() <= rx_.size) return Step::wait;
            if (header.type() != PacketType::publish) return reject(Error::oversize_packet);
            return size < rx_.size ? Step::wait : begin_message(header);
        }
        if (!can_answer(header.first_byte)) return Step::wait;
        const Bytes body(packet + header.size, static_cast<size_t>(header.remaining_length));
        if (header.type() == PacketType::publish) return on_publish(header, body, event);
        in_begin_ += header.packet_size();
        switch (header.type()) {
        case PacketType::connack: return on_connack(body, event);
        case PacketType::pubrel: return on_pubrel(body, event);
        case PacketType::pingresp:
            if (!body.empty()) return reject(Error::malformed_packet);
            pinging_ = false;
            event = make(Event::pingresp);
            return Step::go_on;
        default: return on_answer(header.first_byte, body, event);
        }
    }
    Step reject(Error error) {
        fail(error);
        return Step::wait;
    }
    // A packet is not looked at before there is room for the answer to it; until then TCP holds the server back.
    bool can_answer(uint8_t first_byte) {
        constexpr uint16_t answered = bit(PacketType::publish) | bit(PacketType::pubrec) | bit(PacketType::pubrel);
        blocked_ = (bit(static_cast<PacketType>(first_byte >> 4)) & answered) != 0 && !outbox_.can_answer();
        return !blocked_;
    }
    // The same for a message that has to be remembered.
    bool can_remember(QoS qos, uint16_t packet_id) {
        if (qos == QoS::at_most_once || !inbox_.full()) return true;
        if (qos == QoS::exactly_once && inbox_.has(packet_id)) return true;
        blocked_ = true;
        return false;
    }
    // All received messages wait for a PUBREL, which can only come behind the one that cannot be taken. It gets the time
    // that an answer has, so that the server sees ours: then it begins the next connection with PUBREL.
    bool exceeded() const { return blocked_ && inbox_.full() && inbox_.open() == 0; }

    Step on_connack(Bytes body, Event& event) {
        Connack connack;
        if (decode_body(first_byte_of(PacketType::connack), body, connack) != Error::ok)
            return reject(Error::malformed_packet);
        reason_ = connack.reason();
        if (reason_ != ReasonCode::success) return reject(Error::connection_refused);
        const bool present = connack.session_present();
        if (present && options_->clean_session) return reject(Error::protocol_error);   // [MQTT-3.2.2-1]
        const bool ours = present && session_ == identity_;
        session_ = options_->clean_session ? 0 : identity_;
        if (!ours) inbox_.clear();
        dropped_ = outbox_.resume(ours);
        enter(State::connected);
        event = make(Event::connected);
        event.session_present = present;
        return Step::go_on;
    }

    Step on_publish(const FixedHeader& header, Bytes body, Event& event) {
        Publish packet;
        if (decode_body(header.first_byte, body, packet) != Error::ok) return reject(Error::malformed_packet);
        if (!can_remember(packet.qos, packet.packet_id)) return Step::wait;
        in_begin_ += header.packet_size();
        deliver(packet, packet.payload, 0, static_cast<uint32_t>(packet.payload.size()), event);
        return Step::go_on;
    }
    // One more piece of a message, or all of it. A QoS 2 message that we have already is only answered.
    void deliver(const Publish& packet, Bytes payload, uint32_t offset, uint32_t total, Event& event) {
        const bool complete = offset + payload.size() == total;
        if (packet.qos == QoS::exactly_once && inbox_.has(packet.packet_id)) {
            if (complete) answer_again(packet.packet_id);
            return;
        }
        if (complete && packet.qos != QoS::at_most_once) inbox_.push(packet.packet_id, packet.qos);
        event = make(Event::received, packet.packet_id);
        event.message = {packet.topic, payload, offset, total, packet.packet_id, packet.qos,
                         packet.retain == Retain::yes, packet.duplicate};
    }

    void answer_again(uint16_t packet_id) {
        inbox_.received_again(packet_id);
        answer_open();
    }

    Step on_pubrel(Bytes body, Event& event) {
        Ack ack;
        if (decode_body(first_byte_of(PacketType::pubrel), body, ack) != Error::ok) return reject(Error::malformed_packet);
        inbox_.released(ack.packet_id);
        // Also for an id that we do not know: the server may not have seen our PUBCOMP.
        (void)outbox_.append(Ack{PacketType::pubcomp, ack.packet_id}, Outbox::for_answer);
        event = make(Event::pubrel, ack.packet_id);
        return Step::go_on;
    }

    // PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK. One for an id that waits for nothing is passed over.
    Step on_answer(uint8_t first_byte, Bytes body, Event& event) {
        const PacketType type = static_cast<PacketType>(first_byte >> 4);
        Suback answer;
        if (type == PacketType::suback) {
            if (decode_body(first_byte, body, answer) != Error::ok) return reject(Error::malformed_packet);
        } else {
            Ack ack;
            if (decode_body(first_byte, body, ack) != Error::ok) return reject(Error::malformed_packet);
            answer.packet_id = ack.packet_id;
        }
        const Outbox::Offset place = outbox_.find(answer.packet_id);
        if (place == Outbox::nowhere) return Step::go_on;
        const Transition* const transition = Outbox::answer_to(outbox_.first_byte(place));
        if (transition->answer != type) {
            // A second PUBREC: our PUBREL is on its way.
            const bool again = type == PacketType::pubrec && transition->answer == PacketType::pubcomp;
            return again ? Step::go_on : reject(Error::protocol_error);
        }
        if (type == PacketType::suback && outbox_.filters(place) != answer.reason_codes.size())
            return reject(Error::protocol_error);   // [MQTT-3.8.4-5]
        if (type == PacketType::pubrec)
            outbox_.release(answer.packet_id);
        else
            outbox_.erase(place);
        event = make(transition->event, answer.packet_id);
        event.reason_codes = answer.reason_codes;
        return Step::go_on;
    }

    // ---- messages larger than rx

    // rx is full of the beginning of one. Its header and topic stay in front; the payload passes behind them.
    Step begin_message(const FixedHeader& header) {
        const uint32_t head = message_head();
        if (head > header.packet_size()) return reject(Error::malformed_packet);
        in_left_ = header.packet_size() - (topic_fits() ? head : header.size + 2U);
        return Step::go_on;
    }
    // Bytes before the payload, fixed header included, of the message in front of rx; 2 of its topic's length are there.
    uint32_t message_head() const {
        FixedHeader header;
        (void)read_fixed_header(rx_.data, in_end_, header);
        return header.size + 2U + load_u16(rx_.data + header.size) + ((header.first_byte & 0x06) != 0 ? 2U : 0U);
    }
    bool topic_fits() const { return message_head() < rx_.size; }

    Step receive_piece(Event& event) {
        const size_t head = static_cast<size_t>(message_head());
        size_t size = in_end_ - head;
        if (size < in_left_ && in_end_ != rx_.size) return Step::wait;
        if (size > in_left_) size = static_cast<size_t>(in_left_);
        if (!can_answer(rx_.data[0])) return Step::wait;
        FixedHeader header;
        (void)read_fixed_header(rx_.data, in_end_, header);
        Publish packet;
        if (decode_body(header.first_byte, Bytes(rx_.data + header.size, head - header.size), packet) != Error::ok)
            return reject(Error::malformed_packet);
        if (!can_remember(packet.qos, packet.packet_id)) return Step::wait;
        const uint32_t total = static_cast<uint32_t>(header.packet_size() - head);
        deliver(packet, Bytes(rx_.data + head, size), total - in_left_, total, event);
        in_left_ -= static_cast<uint32_t>(size);
        if (in_left_ == 0)
            in_begin_ = head + size;
        else
            in_end_ = head;
        return Step::go_on;
    }

    // Even the topic does not fit: read past the message, but answer it, so that it does not come again and again.
    Step skip(Event& event) {
        FixedHeader header;
        (void)read_fixed_header(rx_.data, in_end_, header);
        const size_t keep = header.size + 2U;
        const QoS qos = static_cast<QoS>(header.first_byte >> 1 & 3);
        const uint32_t id_size = qos != QoS::at_most_once ? 2 : 0;
        const uint32_t total = header.packet_size() - message_head();
        const uint32_t behind_topic = total + id_size;
        const bool at_id = id_size != 0 && in_left_ == behind_topic;
        size_t size = in_end_ - keep;
        if (in_left_ > behind_topic) {
            if (size > in_left_ - behind_topic) size = static_cast<size_t>(in_left_ - behind_topic);
        } else if (at_id) {
            if (size < id_size || !can_answer(header.first_byte)) return Step::wait;
            if (!can_remember(qos, load_u16(rx_.data + keep))) return Step::wait;
            size = static_cast<size_t>(id_size);
        } else if (size > in_left_) {
            size = static_cast<size_t>(in_left_);
        }
        if (size == 0) return Step::wait;
        uint16_t id = 0;
        bool again = false;
        if (at_id) {
            id = load_u16(rx_.data + keep);
            if (id == 0) return reject(Error::malformed_packet);
            again = qos == QoS::exactly_once && inbox_.has(id);
            if (again) {
                answer_again(id);
            } else {
                inbox_.push(id, qos);
                (void)inbox_.acknowledge(id);
                answer_open();
            }
        }
        in_left_ -= static_cast<uint32_t>(size);
        in_end_ -= size;
        memmove(rx_.data + keep, rx_.data + keep + size, in_end_ - keep);
        if (in_left_ == 0) in_begin_ = keep;
        if (!again && (id != 0 || (id_size == 0 && in_left_ == behind_topic))) {
            event = make(Event::skipped, id);
            event.message.packet_id = id;
            event.message.qos = qos;
            event.message.total = total;
        }
        return Step::go_on;
    }

    Buffer rx_;
    Outbox outbox_;
    Inbox inbox_;
    const ConnectOptions* options_ = nullptr;

    size_t in_begin_ = 0, in_end_ = 0;     // what has come (or is left of CONNECT), in rx_
    uint32_t in_left_ = 0;                 // of a message that is larger than rx: bytes to come

    uint32_t now_ = 0;
    uint32_t since_ = 0;                   // when this state began
    uint32_t delay_ = 0;                   // of State::waiting
    uint32_t sent_at_ = 0, received_at_ = 0, pinged_at_ = 0;

    uint16_t dropped_ = 0;                 // the session was lost: the id to be told next; nothing is sent meanwhile
    uint32_t identity_ = 0;                // hash of server and client id, never 0
    uint32_t session_ = 0;                 // whose session outbox and inbox belong to; 0: to one that has ended
    State state_ = State::stopped;
    Error error_ = Error::ok;              // why the last connection ended
    ReasonCode reason_ = ReasonCode::success;
    uint8_t attempts_ = 0;
    bool told_ = true;                     // the application knows that the connection ended
    bool stopping_ = false;                // disconnect() or abort(): no further attempt
    bool pinging_ = false;                 // a PINGREQ is not answered ...
    bool ping_unseen_ = false;             // ... and none has been written yet
    bool payload_waits_ = false;           // the port took less of a payload than it was offered
    bool drained_ = true;                  // nothing that has come is left to be looked at
    bool blocked_ = false;                 // a packet cannot be taken yet: no room for its answer
};

// ---------------------------------------------------------------------------------- 12 the port, and the client

// What your platform gives: a type with these functions. None may block.
//
//     // Socket: > 0 progress (bytes, or "open"), 0 not yet, < 0 the connection is lost.
//     int open(std::string_view host, uint16_t port);   // starts, and called again with the same continues, connecting
//     int read(uint8_t* data, size_t size);
//     int write(const uint8_t* data, size_t size);      // may take less: the rest comes again, from other memory
//     void close();                                     // at any time, also twice
//     // Clock: any start, wraps around at 2^32, never goes back.
//     uint32_t now_ms();
//     // Entropy, so that many clients do not reconnect in step; optional.
//     uint32_t random();
//
// After < 0 what was received before can still be read; then comes close(). Ports come with the library in platform/. A
// wrong or missing function is told by one static_assert.
namespace detail {

template <class T> T& some();   // only for decltype

#define MQTT_PORT_HAS(name, result, call)                                                                              \
    template <class Port, class = void> struct name : std::false_type {};                                              \
    template <class Port>                                                                                              \
    struct name<Port, std::void_t<decltype(call)>> : std::is_same<decltype(call), result> {}
MQTT_PORT_HAS(has_open, int, some<Port>().open(std::string_view(), uint16_t{}));
MQTT_PORT_HAS(has_read, int, some<Port>().read(some<uint8_t*>(), size_t{}));
MQTT_PORT_HAS(has_write, int, some<Port>().write(some<const uint8_t*>(), size_t{}));
MQTT_PORT_HAS(has_close, void, some<Port>().close());
MQTT_PORT_HAS(has_now_ms, uint32_t, some<Port>().now_ms());
MQTT_PORT_HAS(has_random, uint32_t, some<Port>().random());
#undef MQTT_PORT_HAS
template <class Port, class = void> struct names_random : std::false_type {};
template <class Port> struct names_random<Port, std::void_t<decltype(&Port::random)>> : std::true_type {};

}  // namespace detail

// How far a write_payload() came.
struct [[nodiscard]] Written {
    Error error = Error::ok;
    size_t size = 0;   // bytes taken; 0 and ok: not now, try again when wants_write() is due
};

// The client: an engine, a port, and poll(). Everything may be called at any time from the code that calls poll(), also
// while it handles an event; for use from several threads, lock around it.
template <class Port> class Client {
    static_assert(detail::has_open<Port>::value, "a port needs: int open(std::string_view host, uint16_t port)");
    static_assert(detail::has_read<Port>::value, "a port needs: int read(uint8_t* data, size_t size)");
    static_assert(detail::has_write<Port>::value, "a port needs: int write(const uint8_t* data, size_t size)");
    static_assert(detail::has_close<Port>::value, "a port needs: void close()");
    static_assert(detail::has_now_ms<Port>::value, "a port needs: uint32_t now_ms()");
    static_assert(detail::has_random<Port>::value || !detail::names_random<Port>::value,
                  "a port needs: uint32_t random()");

public:
    // Port and memory must outlive the client.
    Client(Port& port, const Buffers& buffers) : engine_(buffers), port_(port) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    // Starts connecting; goes on, and connects again whenever the connection is lost, until disconnect(). `options` must
    // stay as they are until then. Unanswered messages of an earlier connect() are sent again if the server still has
    // the session of this client id, else dropped (Event::dropped); unsent ones are sent in any case.
    // Errors: already_started; invalid_client_id, invalid_topic (the will's), invalid_string, invalid_argument,
    // buffer_too_small.
    Result connect(const ConnectOptions& options) { return {engine_.connect(options, port_.now_ms())}; }

    // Sends what is queued and DISCONNECT, so that the server forgets the will, and closes; then Event::disconnected with
    // Error::ok, or response_timeout if the server takes no more; until then `options` are used. Without a connection
    // it just stops. What waits for in_flight_maximum, and what is not acknowledged, stays for the next connect().
    // Errors: not_started; publish_in_progress (also if a message begun earlier is still to be sent again).
    Result disconnect() { return {engine_.disconnect(port_.now_ms())}; }

    // Closes at once, without DISCONNECT: the server publishes the will. Errors: not_started.
    Result abort() { return {engine_.abort()}; }

    // Does a bounded amount of work: hands out what has been received; if nothing is left, writes all that is queued with
    // one write, and reads once. Views in an event are valid until the next call, and a received QoS 1 or 2 message
    // is acknowledged by the next call, unless `manual_ack` is set.
    Event poll() {
        const uint32_t now = port_.now_ms();
        if (engine_.tick(now)) (void)write(now);   // also while messages keep coming
        Event event = engine_.next(now);
        if (event.kind != Event::none) return event;
        const bool nothing_read = !exchange(now);
        event = engine_.next(now);
        if (event.kind != Event::none) return event;
        engine_.expire(now, nothing_read);
        if (!engine_.wants_close()) return event;
        broken_ = false;
        port_.close();
        engine_.closed(now, random());
        return engine_.next(now);
    }

    // How long nothing has to be done unless the port can be read (or written, if wants_write()): 0 means poll() at once,
    // `forever` that no timer is running.
    uint32_t idle_ms() { return broken_ ? 0 : engine_.idle_ms(port_.now_ms()); }
    bool wants_write() { return engine_.wants_open() || engine_.payload_waits() || !engine_.output().empty(); }
    // False while what has come cannot be taken yet: nothing is read, so do not wait for the port to be readable.
    bool wants_read() { return engine_.input().size != 0; }
    bool connected() const { return engine_.connected(); }
    // QoS 1 and 2 messages that were accepted and have not been acknowledged yet.
    uint16_t unacknowledged() const { return engine_.unacknowledged(); }

    // Writes what is queued, as far as it goes; poll() does it when nothing received is left. For an application that
    // stops polling for a while.
    void flush() { (void)write(port_.now_ms()); }

    // Queues a message; copies topic and payload. Also without a connection: it is sent after the next one. QoS 1 and 2
    // are kept until answered, then Event::acknowledged has the packet id that is returned here.
    // Errors: no_space, receive_maximum_reached; not_started, invalid_topic, invalid_argument, packet_too_large.
    Result publish(std::string_view topic, Bytes payload, QoS qos = QoS::at_most_once, Retain retain = Retain::no) {
        Publish packet;
        packet.topic = topic;
        packet.payload = payload;
        packet.qos = qos;
        packet.retain = retain;
        return engine_.publish(packet);
    }

    // Begins a message of `size` payload bytes, which write_payload() sends piece by piece, from your memory and without a
    // copy; until the last piece nothing else can be sent, pings neither: if it rests for longer than the keep-alive
    // time, the server (and after response_timeout_ms more, the client) ends the connection. One at a time; with QoS 1
    // and 2 it has to be acknowledged before the next one. If the connection ends before that, a QoS 0 message is gone,
    // and for the others the event resend_payload asks for the payload again, from its first byte (or dropped tells that
    // the session is lost).
    // Errors: publish_in_progress (also while messages wait for in_flight_maximum, or drops are being told: try again
    // later), not_connected, and those of publish().
    Result begin_publish(std::string_view topic, uint32_t size, QoS qos = QoS::at_most_once, Retain retain = Retain::no) {
        Publish packet;
        packet.topic = topic;
        packet.qos = qos;
        packet.retain = retain;
        return engine_.begin_publish(packet, size);
    }
    // Errors: not_connected (or the turn of a message to be sent again has not come yet: wait for resend_payload);
    // invalid_argument (none was begun, or more than its size).
    Written write_payload(Bytes piece) {
        if (!engine_.connected()) return {Error::not_connected};
        if (engine_.payload_left() == 0 && engine_.payload_pending()) return {Error::not_connected};
        if (engine_.payload_left() == 0 || piece.size() > engine_.payload_left()) return {Error::invalid_argument};
        const uint32_t now = port_.now_ms();
        bool alive = engine_.payload_wanted() || write(now);   // first what is queued before it, and its header
        int n = 0;
        if (alive && engine_.payload_wanted() && !piece.empty()) n = port_.write(piece.data(), piece.size());
        broken_ = !alive || n < 0;                             // poll() tells
        if (broken_) return {Error::not_connected};
        engine_.payload_sent(static_cast<size_t>(n), piece.size(), now);
        return {Error::ok, static_cast<size_t>(n)};
    }

    // Subscribes to filters, or to one; Event::subscribed has the answers. Again whenever `connected` comes without
    // session_present. Also without a connection, as publish(). Errors: no_space (as after a long time offline: try again
    // when something has been acknowledged); not_started, invalid_filter, invalid_argument (none, or QoS 3),
    // packet_too_large.
    Result subscribe(const Subscription* list, size_t count) { return request(PacketType::subscribe, {list, count}); }
    Result subscribe(std::initializer_list<Subscription> list) { return subscribe(list.begin(), list.size()); }
    Result subscribe(std::string_view filter, QoS qos) {
        const Subscription subscription{filter, qos};
        return subscribe(&subscription, 1);
    }

    // The same for the end of subscriptions; Event::unsubscribed.
    Result unsubscribe(const std::string_view* list, size_t count) {
        return request(PacketType::unsubscribe, {list, count});
    }
    Result unsubscribe(std::initializer_list<std::string_view> list) { return unsubscribe(list.begin(), list.size()); }
    Result unsubscribe(std::string_view filter) { return unsubscribe(&filter, 1); }

    // With `manual_ack`: the application has taken over the received QoS 1 or 2 message of this id. Answers go out in the
    // order of the messages. After a disconnected event the ids of open messages are void: the server sends them again.
    // Errors: unknown_packet_id.
    Result acknowledge(uint16_t packet_id) { return {engine_.acknowledge(packet_id)}; }

private:
    Result request(PacketType type, Subscriptions filters) {
        Subscribe packet;
        packet.type = type;
        packet.filters = filters;
        return engine_.subscribe(packet);
    }

    // One write. False: the connection is lost.
    bool write(uint32_t now) {
        const Bytes out = engine_.output();
        if (out.empty()) return !broken_;
        const int n = port_.write(out.data(), out.size());
        if (n > 0) engine_.sent(static_cast<size_t>(n), now);
        return n >= 0 && !broken_;
    }
    // Continues to open, writes once, reads once. Was something read?
    bool exchange(uint32_t now) {
        if (engine_.wants_open()) {
            const int n = port_.open(engine_.options().host, engine_.options().port);
            if (n < 0) engine_.lost(Error::connect_failed);
            if (n > 0) engine_.opened(now);
        }
        bool alive = write(now);
        const Buffer in = engine_.input();
        const int n = in.size != 0 ? port_.read(in.data, in.size) : 0;
        if (n > 0) engine_.received(static_cast<size_t>(n), now);
        // What a server said before it closed comes first, also if writing fails already.
        if (n < 0 || (n == 0 && !alive)) engine_.lost(Error::connection_lost);
        return n > 0;
    }
    uint32_t random() {
        if constexpr (detail::has_random<Port>::value)
            return port_.random();
        else
            return port_.now_ms();
    }

    Engine engine_;
    Port& port_;
    bool broken_ = false;   // writing a payload failed
};

}  // inline namespace
}  // namespace mqtt

#undef MQTT_CHECKED

#endif  // MQTT_HPP
