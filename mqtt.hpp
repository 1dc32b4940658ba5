// mqtt.hpp - an MQTT 5 and 3.1.1 client in one header, for firmware and for everything larger.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
// What it promises:
//   * no heap, no exceptions, no RTTI, no static mutable state, no floating point, no recursion, nothing blocks;
//   * all memory is yours: two buffers, `rx` and `tx`, and the client object; formulas at `Buffers`;
//   * QoS 1 and 2 messages that were accepted survive any number of lost connections, in order, QoS 2 exactly once;
//     and with storage, resets and power cuts at any moment;
//   * one `poll()` does a bounded amount of work and returns one event, by value: no callbacks, no re-entrancy;
//   * while packets lie in `rx` they are handed out without I/O; then one `write` flushes all, one `read` refills.
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
// Words. Names are those of the specifications (docs.oasis-open.org/mqtt/mqtt/v5.0 and v3.1.1). Clauses are cited from
// 3.1.1 where both have them, and with "5:" in front where MQTT 5 alone has them. What they do not name:
//   packet     one MQTT control packet, fixed header included
//   record     a packet in the outbox (`tx`); it is *kept* while an answer to it is due, else *forgotten* once written
//   session    what both sides remember between connections: unanswered records, ids of QoS 2 messages received
//   engine     the protocol without I/O: bytes in, bytes out, time as an argument
//   port       your socket, clock and entropy, perhaps storage: see section 14
//   view       a string_view or Bytes that points into a buffer: valid until the next poll()
//
// Map:  1 configuration    2 bytes    3 protocol constants   4 errors   5 properties   6 what you pass and get
//       7 topics and text  8 cursors  9 packets  10 outbox  11 inbox  12 aliases  13 engine  14 the port, and Client
// To use the client, read 4, 5, 6 and 14. To use the codec alone, read 9. The rest is how it works.

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
#define MQTT_CHECKED 1
#else
#define MQTT_CHECKED 0
#define MQTT_ASSERT(condition) static_cast<void>(0)
#endif

// MQTT_ENABLE_V5: with 0, MQTT 5 is left out: nothing of it is in the image, and Version::v5 is refused.
#ifndef MQTT_ENABLE_V5
#define MQTT_ENABLE_V5 1
#endif

// MQTT_SMALL: 0: the library is quick: text is looked at a word at a time, what reads or writes a packet is one function
// that has its cursor in registers, and so is what hands out a message. 1: it is small, and an answer is looked for
// among all that is in `tx`. The default is to be quick where words have 64 bits.
#if !defined(MQTT_SMALL) || !MQTT_SMALL
#undef MQTT_SMALL
#if defined(__GNUC__) && __SIZEOF_SIZE_T__ >= 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define MQTT_SMALL 0
#else
#define MQTT_SMALL 1
#endif
#endif

#define MQTT_NAME(v5, checked, small) v1_##v5##checked##small
#define MQTT_NAME_OF(v5, checked, small) MQTT_NAME(v5, checked, small)   // of their values
#define MQTT_CONFIGURATION MQTT_NAME_OF(MQTT_ENABLE_V5, MQTT_CHECKED, MQTT_SMALL)

namespace mqtt {
inline namespace MQTT_CONFIGURATION {

inline constexpr bool checked = MQTT_CHECKED != 0;    // assertions are on
inline constexpr bool has_v5 = MQTT_ENABLE_V5 != 0;   // MQTT 5 is built in
inline constexpr bool wide = MQTT_SMALL == 0;         // it is quick, not small

#if !MQTT_SMALL
#define MQTT_FLAT __attribute__((flatten))    // what it calls becomes a part of it,
#define MQTT_APART __attribute__((noinline))  // but not this
#define MQTT_HOT __attribute__((always_inline))   // on the way of every message: a part of what calls it
#define MQTT_PART MQTT_HOT
#define MQTT_ONCE MQTT_APART
#define MQTT_WHOLE MQTT_HOT
#define MQTT_LIKELY(condition) __builtin_expect(condition, true)
#define MQTT_RARELY __asm__ volatile("")      // where a branch shall stay one: not taken, it costs least
#else
#define MQTT_FLAT
#define MQTT_APART
#ifdef __GNUC__
#define MQTT_PART __attribute__((always_inline))   // a part of what calls it: one function, or with less code than a call
#define MQTT_ONCE MQTT_PART                        // one function, and where it shall be quick, seldom
#define MQTT_WHOLE __attribute__((noinline))       // a function of its own: no other one has its frame
#else
#define MQTT_PART
#define MQTT_ONCE
#define MQTT_WHOLE
#endif
#define MQTT_LIKELY(condition) (condition)
#define MQTT_RARELY
#define MQTT_HOT
#endif

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
    // From anything that is text: a literal, a string_view, a std::string. What is an array of char ends before its
    // first 0, which must be there: pass a buffer without one as Bytes(data, size).
    template <class Text, class = std::enable_if_t<std::is_convertible_v<const Text&, std::string_view>>>
    Bytes(const Text& text)
        : data_(reinterpret_cast<const uint8_t*>(std::string_view(text).data())),
          size_(std::string_view(text).size()) {}

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

// Also where they overlap, and for a size of 0 wherever they point to. Where it shall be small, the C library's is not
// needed: it is longer by far, and only for what is aligned quicker.
inline void copy(uint8_t* to, const uint8_t* from, size_t size) {
    if (wide) {
        if (size != 0) memmove(to, from, size);
        return;
    }
    const size_t step = to < from ? 1 : static_cast<size_t>(-1);
    for (size_t i = to < from ? 0 : size - 1; size != 0; --size, i += step) to[i] = from[i];
}

// Numbers on the wire are big-endian (section 1.5.2); they are never read through a cast.
inline uint16_t load_u16(const uint8_t* data) { return static_cast<uint16_t>(data[0] << 8 | data[1]); }
inline void store_u16(uint8_t* data, uint16_t value) {
    data[0] = static_cast<uint8_t>(value >> 8);
    data[1] = static_cast<uint8_t>(value);
}

inline uint32_t load_u32(const uint8_t* data) {
    return static_cast<uint32_t>(load_u16(data)) << 16 | load_u16(data + 2);
}
inline void store_u32(uint8_t* data, uint32_t value) {
    store_u16(data, static_cast<uint16_t>(value >> 16));
    store_u16(data + 2, static_cast<uint16_t>(value));
}

// Numbers of one to four bytes, seven bits in each, the lowest first (section 2.2.3; 5: 1.5.5). Reading gives the
// bytes taken; 0: they have not all come; malformed: more than four, or not the shortest form [5: MQTT-1.5.5-1].
constexpr size_t malformed = 5;
inline size_t load_variable(const uint8_t* data, size_t size, uint32_t& value) {
    if (wide && size != 0 && data[0] < 128) return value = data[0], 1;
    value = 0;
    for (unsigned i = 0; i < 4; ++i) {
        if (i == size) return 0;
        const uint8_t c = data[i];
        value |= static_cast<uint32_t>(c & 127) << (7 * i);
        if (c < 128) return c == 0 && i != 0 ? malformed : i + 1;
    }
    return malformed;
}
constexpr size_t variable_size(uint32_t value) {
    size_t size = 1;
    for (; value > 127; value >>= 7) ++size;
    return size;
}
inline uint8_t* store_variable(uint8_t* data, uint32_t value) {
    for (; value > 127; value >>= 7) *data++ = static_cast<uint8_t>(value | 128);
    *data++ = static_cast<uint8_t>(value);
    return data;
}

// A value that may be absent.
template <class T> class Optional {
public:
    constexpr Optional() = default;
    constexpr Optional(const T& value) : has_value_(true), value_(value) {}
    constexpr bool has_value() const { return has_value_; }
    constexpr explicit operator bool() const { return has_value_; }
    constexpr const T& operator*() const { return value_; }   // only if there is one
    constexpr const T* operator->() const { return &value_; }
    constexpr T value_or(const T& other) const { return has_value_ ? value_ : other; }

private:
    bool has_value_ = false;
    T value_{};
};

// A base that has a member, or nothing and no size.
template <bool there, class T> struct If {};
template <class T> struct If<true, T> {
    T log_;
};

// ---------------------------------------------------------------------------------------- 3 protocol constants

// Values are those on the wire (section 3.1.2.2). The first one is for ConnectOptions only.
enum class Version : uint8_t {
    v5_or_v3_1_1 = 0,   // 5, or 3.1.1 if the server does not know 5
    v3_1_1 = 4,
    v5 = 5
};

// Section 2.2.1. The upper half of a packet's first byte.
enum class PacketType : uint8_t {
    reserved, connect, connack, publish, puback, pubrec, pubrel, pubcomp,
    subscribe, suback, unsubscribe, unsuback, pingreq, pingresp, disconnect, auth   // auth: MQTT 5
};

constexpr uint16_t bit(PacketType type) { return static_cast<uint16_t>(1U << static_cast<unsigned>(type)); }

enum class QoS : uint8_t { at_most_once, at_least_once, exactly_once };
enum class Retain : bool { no, yes };

enum class RetainHandling : uint8_t { send, send_if_new, do_not_send };   // 5: section 3.8.3.1

// 5: section 2.4. From 0x80 on they say no. 3.1.1 has its own for CONNACK, which are translated (see `Connack`), and
// the first three and 0x80 in SUBACK.
enum class ReasonCode : uint8_t {
    success = 0x00,                        // in DISCONNECT: normal disconnection; in SUBACK: granted QoS 0
    granted_qos_1 = 0x01,
    granted_qos_2 = 0x02,
    disconnect_with_will_message = 0x04,
    no_matching_subscribers = 0x10,
    no_subscription_existed = 0x11,
    continue_authentication = 0x18,
    re_authenticate = 0x19,
    unspecified_error = 0x80,
    malformed_packet,
    protocol_error,
    implementation_specific_error,
    unsupported_protocol_version,
    client_identifier_not_valid,
    bad_user_name_or_password,
    not_authorized,
    server_unavailable,
    server_busy,
    banned,
    server_shutting_down,
    bad_authentication_method,
    keep_alive_timeout,
    session_taken_over,
    topic_filter_invalid,
    topic_name_invalid,
    packet_identifier_in_use,
    packet_identifier_not_found,
    receive_maximum_exceeded,
    topic_alias_invalid,
    packet_too_large,
    message_rate_too_high,
    quota_exceeded,
    administrative_action,
    payload_format_invalid,
    retain_not_supported,
    qos_not_supported,
    use_another_server,
    server_moved,
    shared_subscriptions_not_supported,
    connection_rate_exceeded,
    maximum_connect_time,
    subscription_identifiers_not_supported,
    wildcard_subscriptions_not_supported   // 0xA2
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
    receive_maximum_reached,    // as many QoS 1 and 2 messages are unanswered as in_flight_maximum (or the server) lets
    publish_in_progress,        // a message begun with `begin_publish` is not finished
    not_connected,              // this call needs a connection, and there is none
    // The caller: nothing was changed; the same call fails again.
    not_started,                // `connect()` was not called, or `disconnect()` ended it
    already_started,            // `connect()` while it is still in force
    buffer_too_small,           // `rx` cannot hold the CONNECT packet, or `tx` not even its reserve; see `Buffers`
    packet_too_large,           // can never fit into `tx`, or is beyond what the protocol allows
    invalid_argument,           // QoS 3, an empty list, a password without a user name, a payload beyond its size ...
    invalid_client_id,          // empty with a session to be kept [MQTT-3.1.3-7]
    invalid_topic,              // empty, too long, not UTF-8, or with a wildcard [MQTT-3.3.2-2]
    invalid_filter,             // empty, too long, not UTF-8, or a wildcard out of place [MQTT-4.7.1-2, -3]
    invalid_string,             // too long, not UTF-8, or with U+0000 [MQTT-1.5.3-1, -2]
    unknown_packet_id,          // `acknowledge()` for no open message
    other_session,              // storage has the session of another client id or server; see replace_session
    // MQTT 5:
    invalid_properties,         // not legal in this packet, malformed, or what the client sets by itself; see 5
    qos_not_supported,          // above the server's Maximum QoS [5: MQTT-3.2.2-11]
    retain_not_supported,       // the server keeps no retained messages [5: MQTT-3.2.2-14]
    wildcard_subscriptions_not_supported,     // by the server (5: section 3.2.2.3.11), and so on
    subscription_identifiers_not_supported,
    shared_subscriptions_not_supported,
    // The server, by what it sent: the connection is closed.
    malformed_packet,           // its bytes are against the specification
    protocol_error,             // a well-formed packet that must not come now, or not for this packet id
    oversize_packet,            // a packet other than PUBLISH that is larger than `rx`; any above maximum_packet_size
    receive_maximum_exceeded,   // more QoS 2 messages open at once than `Buffers::receive_maximum`
    connection_refused,         // CONNACK says no; `Event::reason` says why
    session_lost,               // in Event::dropped: it no longer has the session [MQTT-3.1.2-6]
    // MQTT 5:
    topic_alias_invalid,        // 0, or above `Buffers::topic_alias_maximum` [5: MQTT-3.1.2-26]
    session_unknown,            // it has a session of which we know nothing; the next connection begins a new one
                                // [5: MQTT-3.2.2-4]
    server_disconnected,        // it sent DISCONNECT; `Event::reason` says why
    // Storage, if the port has it: see "Storage" in section 14.
    storage_failed,             // the medium did not do what it was told
    storage_full,               // what is unfinished does not fit into it
    storage_corrupt,            // it was damaged, and not by a power cut
    storage_foreign,            // there is something else
    storage_too_large,          // in Event::dropped: the message is longer than storage can take
    storage_locked,             // another process uses it
    storage_misused,            // its settings are invalid
    // The network, or a server that is not there: the connection is closed.
    connect_failed,             // the port could not connect
    connect_timeout,            // no connection and CONNACK within `connect_timeout_ms`
    connection_lost,            // the port says so
    response_timeout,           // no PINGRESP, or no end of a disconnect, within `response_timeout_ms`
    message_expired             // in Event::dropped: it waited for longer than its Message Expiry Interval
};

enum class Fault : uint8_t { none, not_now, caller, server, storage, network };   // in Event::dropped, what `error` says counts

constexpr Fault fault(Error error) {
    return error == Error::ok                  ? Fault::none
           : error <= Error::not_connected     ? Fault::not_now
           : error <= Error::shared_subscriptions_not_supported ? Fault::caller
           : error <= Error::server_disconnected ? Fault::server
           : error <= Error::storage_misused   ? Fault::storage
                                               : Fault::network;
}

// The error's name; a string of its own for each. Costs its flash only where it is called.
inline const char* to_string(Error error) {
    static constexpr const char* names[] = {
        "ok", "no space", "receive maximum reached", "publish in progress", "not connected",
        "not started", "already started", "buffer too small", "packet too large", "invalid argument",
        "invalid client id", "invalid topic", "invalid filter", "invalid string", "unknown packet id", "other session",
        "invalid properties", "QoS not supported", "retain not supported", "wildcard subscriptions not supported",
        "subscription identifiers not supported", "shared subscriptions not supported",
        "malformed packet", "protocol error", "oversize packet", "receive maximum exceeded", "connection refused",
        "session lost", "topic alias invalid", "session unknown", "server disconnected",
        "storage failed", "storage full", "storage corrupt", "storage foreign", "storage too large", "storage locked",
        "storage misused",
        "connect failed", "connect timeout", "connection lost", "response timeout", "message expired"};
    return static_cast<size_t>(error) < sizeof names / sizeof *names ? names[static_cast<size_t>(error)] : "?";
}

inline const char* to_string(ReasonCode reason) {
    static constexpr const char* refusals[] = {
        "unspecified error", "malformed packet", "protocol error", "implementation specific error",
        "unsupported protocol version", "client identifier not valid", "bad user name or password", "not authorized",
        "server unavailable", "server busy", "banned", "server shutting down", "bad authentication method",
        "keep alive timeout", "session taken over", "topic filter invalid", "topic name invalid",
        "packet identifier in use", "packet identifier not found", "receive maximum exceeded", "topic alias invalid",
        "packet too large", "message rate too high", "quota exceeded", "administrative action",
        "payload format invalid", "retain not supported", "QoS not supported", "use another server", "server moved",
        "shared subscriptions not supported", "connection rate exceeded", "maximum connect time",
        "subscription identifiers not supported", "wildcard subscriptions not supported"};
    switch (reason) {
    case ReasonCode::success: return "success";
    case ReasonCode::granted_qos_1: return "granted QoS 1";
    case ReasonCode::granted_qos_2: return "granted QoS 2";
    case ReasonCode::disconnect_with_will_message: return "disconnect with will message";
    case ReasonCode::no_matching_subscribers: return "no matching subscribers";
    case ReasonCode::no_subscription_existed: return "no subscription existed";
    case ReasonCode::continue_authentication: return "continue authentication";
    case ReasonCode::re_authenticate: return "re-authenticate";
    default: break;
    }
    const size_t i = static_cast<size_t>(reason) - 0x80;
    return i < sizeof refusals / sizeof *refusals ? refusals[i] : "?";
}

// What a call answers: whether it was accepted and, for what is answered by an event, under which packet id.
struct [[nodiscard]] Result {
    Error error = Error::ok;
    uint16_t packet_id = 0;   // 0 for QoS 0, and with an error

    constexpr bool ok() const { return error == Error::ok; }
};

// ------------------------------------------------------------------------------------------------ 5 properties

// MQTT 5, section 2.2.2: what most packets can carry beside their fields. What the client sets by itself, and refuses
// from you: session_expiry_interval, receive_maximum, maximum_packet_size and topic_alias_maximum in CONNECT (there are
// members for them), topic_alias; and what is the server's: subscription_identifier in PUBLISH, server_reference.
//
//     mqtt::PropertyBuffer<64> properties;                                  // at least as long as you need it
//     properties.add(mqtt::prop::content_type, "text/plain").add(mqtt::prop::user_property, {"unit", "degrees"});
//     client.publish("t", "21.5", mqtt::QoS::at_least_once, mqtt::Retain::no, properties);
//     ...
//     if (const auto topic = event.message.properties.get(mqtt::prop::response_topic)) answer(*topic);
//     mqtt::UserProperty pair;
//     for (auto rest = event.message.properties; rest.next(mqtt::prop::user_property, pair);) use(pair);
//
// What does not change can lie in flash (correlation data, if it is an array of bytes):
//
//     static constexpr auto text = mqtt::PropertyBuffer<16>().add(mqtt::prop::payload_format_indicator, 1);

struct UserProperty {
    std::string_view name, value;
};

// The first ones have their size.
enum class Format : uint8_t { byte = 1, two_bytes = 2, four_bytes = 4, variable, binary, text, topic, pair };

// What may be where. For Will Properties, the packet is `reserved`.
struct PropertyRule {
    enum Flag : uint16_t {   // bits of packets that have no properties
        once = 0, not_zero = bit(PacketType::pingreq), repeats = bit(PacketType::pingresp),
        identifier = not_zero | repeats   // repeats in PUBLISH
    };
    uint8_t id;
    Format format;
    uint16_t packets;   // and flags
};

namespace prop {

// The type of a property is part of its key's, so that a wrong one does not compile.
template <Format format> struct Key {
    static constexpr auto value() {
        if constexpr (format == Format::byte) return uint8_t{};
        else if constexpr (format == Format::two_bytes) return uint16_t{};
        else if constexpr (format == Format::four_bytes || format == Format::variable) return uint32_t{};
        else if constexpr (format == Format::binary) return Bytes{};
        else if constexpr (format == Format::pair) return UserProperty{};
        else return std::string_view{};
    }
    using Type = decltype(value());
    uint8_t id;
};

inline constexpr uint16_t connect = bit(PacketType::connect), connack = bit(PacketType::connack),
    publish = bit(PacketType::publish), will = bit(PacketType::reserved), subscribe = bit(PacketType::subscribe),
    disconnect = bit(PacketType::disconnect), auth = bit(PacketType::auth), unsubscribe = bit(PacketType::unsubscribe),
    answers = bit(PacketType::puback) | bit(PacketType::pubrec) | bit(PacketType::pubrel) | bit(PacketType::pubcomp) |
              bit(PacketType::suback) | bit(PacketType::unsuback),
    all = connect | connack | publish | will | subscribe | disconnect | auth | unsubscribe | answers;

}  // namespace prop

// Table 2-4. Values: a byte is 0 or 1; `topic` is a text without wildcards.
#define MQTT_PROPERTIES(row)                                                                                    \
    row(payload_format_indicator,          0x01, byte,       once,       publish | will)                        \
    row(message_expiry_interval,           0x02, four_bytes, once,       publish | will)                        \
    row(content_type,                      0x03, text,       once,       publish | will)                        \
    row(response_topic,                    0x08, topic,      once,       publish | will)                        \
    row(correlation_data,                  0x09, binary,     once,       publish | will)                        \
    row(subscription_identifier,           0x0B, variable,   identifier, publish | subscribe)                   \
    row(session_expiry_interval,           0x11, four_bytes, once,       connect | connack | disconnect)        \
    row(assigned_client_identifier,        0x12, text,       once,       connack)                               \
    row(server_keep_alive,                 0x13, two_bytes,  once,       connack)                               \
    row(authentication_method,             0x15, text,       once,       connect | connack | auth)              \
    row(authentication_data,               0x16, binary,     once,       connect | connack | auth)              \
    row(request_problem_information,       0x17, byte,       once,       connect)                               \
    row(will_delay_interval,               0x18, four_bytes, once,       will)                                  \
    row(request_response_information,      0x19, byte,       once,       connect)                               \
    row(response_information,              0x1A, text,       once,       connack)                               \
    row(server_reference,                  0x1C, text,       once,       connack | disconnect)                  \
    row(reason_string,                     0x1F, text,       once,       connack | answers | disconnect | auth) \
    row(receive_maximum,                   0x21, two_bytes,  not_zero,   connect | connack)                     \
    row(topic_alias_maximum,               0x22, two_bytes,  once,       connect | connack)                     \
    row(topic_alias,                       0x23, two_bytes,  not_zero,   publish)                               \
    row(maximum_qos,                       0x24, byte,       once,       connack)                               \
    row(retain_available,                  0x25, byte,       once,       connack)                               \
    row(user_property,                     0x26, pair,       repeats,    all)                                   \
    row(maximum_packet_size,               0x27, four_bytes, not_zero,   connect | connack)                     \
    row(wildcard_subscription_available,   0x28, byte,       once,       connack)                               \
    row(subscription_identifier_available, 0x29, byte,       once,       connack)                               \
    row(shared_subscription_available,     0x2A, byte,       once,       connack)

namespace prop {
#define MQTT_KEY(name, id, format, flags, packets) inline constexpr Key<Format::format> name{id};
MQTT_PROPERTIES(MQTT_KEY)
#undef MQTT_KEY
#define MQTT_RULE(name, id, format, flags, packets) {id, Format::format, PropertyRule::flags | (packets)},
inline constexpr PropertyRule rules[] = {MQTT_PROPERTIES(MQTT_RULE)};
#undef MQTT_RULE

// The rule of an id, or nullptr. Searched for; where words are wide, there is a list by id.
struct Places {
    uint8_t of[256] = {};   // 0: no property
    constexpr Places() {
        uint8_t place = 0;
        for (const PropertyRule& rule : rules) of[rule.id] = ++place;
    }
};
inline const PropertyRule* rule_of(uint8_t id) {
    if constexpr (wide) {
        static constexpr Places places;
        return places.of[id] != 0 ? rules + places.of[id] - 1 : nullptr;
    }
    const PropertyRule* found = nullptr;
    for (const PropertyRule& rule : rules)
        if (rule.id == id) found = &rule;
    return found;
}

// A bit for each of these, in the order of the table.
constexpr uint32_t kind(const PropertyRule& rule) { return uint32_t{1} << (&rule - rules); }
template <class... Keys> constexpr uint32_t kinds(Keys... keys) {
    uint32_t found = 0;
    for (const PropertyRule& rule : rules)
        if (((rule.id == keys.id) || ...)) found |= kind(rule);
    return found;
}
}  // namespace prop
#undef MQTT_PROPERTIES

// One property, read.
struct Property {
    Property() {}   // as Event()

    const PropertyRule* rule = nullptr;
    uint32_t number = 0;           // byte to variable
    Bytes data;                    // text, topic, binary; a pair's value
    std::string_view name;         // of a pair
};

template <size_t N> class PropertyBuffer;

#if MQTT_ENABLE_V5
// A view of encoded properties, without the length in front of them. Those of a received packet are valid, and live as
// long as what else the packet points to; those that you pass are checked by the call that gets them. Give the buffer
// of what you keep (as in ConnectOptions) a name: a view of a temporary one points to nothing.
class Properties {
public:
    constexpr Properties() = default;
    constexpr Properties(const uint8_t* data, size_t size) : block_(data, size) {}
    template <size_t N> constexpr Properties(const uint8_t (&block)[N]) : block_(block, N) {}
    template <size_t N> constexpr Properties(const PropertyBuffer<N>& buffer) : block_(buffer.block()) {}

    constexpr Bytes block() const { return block_; }
    constexpr bool empty() const { return block_.empty(); }

    // The value of a property; the first one if it repeats.
    template <Format format> Optional<typename prop::Key<format>::Type> get(prop::Key<format> key) const {
        if (empty()) return {};
        Properties rest = *this;
        typename prop::Key<format>::Type value{};
        if (rest.next(key, value)) return value;
        return {};
    }
    template <Format format> bool has(prop::Key<format> key) const { return has(key.id); }
    bool has(uint8_t id) const {
        if (empty()) return false;
        Properties rest = *this;
        Property property;
        return rest.next(id, property);
    }
    // Any of these? has<prop::content_type, prop::response_topic>()
    template <const auto&... keys> bool has() const {
        constexpr uint32_t wanted = prop::kinds(keys...);
        return (kinds() & wanted) != 0;
    }
    uint32_t kinds() const {   // see prop::kinds()
        Properties rest = *this;
        Property property;
        uint32_t found = 0;
        if (wide && empty()) return found;
        while (rest.next(property)) found |= prop::kind(*property.rule);
        return found;
    }
    // That of a text, or of data; without data() if it is not there.
    template <Format format> Bytes bytes(prop::Key<format> key) const { return bytes(key.id); }
    Bytes bytes(uint8_t id) const {
        Property property;
        return Properties(*this).next(id, property) ? property.data : Bytes();
    }
    // That of a number, or `otherwise`.
    template <Format format> uint32_t number(prop::Key<format> key, uint32_t otherwise) const {
        return number(key.id, otherwise);
    }
    uint32_t number(uint8_t id, uint32_t otherwise) const {
        if (wide && empty()) return otherwise;
        Property property;
        return Properties(*this).next(id, property) ? property.number : otherwise;
    }
    // Takes properties off the list, up to and with the next one of this kind; false: there is none.
    template <Format format> bool next(prop::Key<format> key, typename prop::Key<format>::Type& value) {
        Property property;
        if (!next(key.id, property)) return false;
        if constexpr (format == Format::pair) value = {property.name, property.data.text()};
        else if constexpr (format == Format::binary) value = property.data;
        else if constexpr (format == Format::text || format == Format::topic) value = property.data.text();
        else value = static_cast<typename prop::Key<format>::Type>(property.number);
        return true;
    }
    // Takes the first property off, whatever it is; false: there is none, or what is left is malformed.
    bool next(Property& property) {
        if (block_.empty()) return false;
        property.number = 0;
        property.data = {};
        property.name = {};
        property.rule = prop::rule_of(block_[0]);
        if (property.rule == nullptr) return false;
        const uint8_t* const at = block_.data() + 1;
        const size_t left = block_.size() - 1;
        const Format format = property.rule->format;
        size_t size = 0;
        if (format > Format::variable) {
            for (unsigned strings = format == Format::pair ? 2 : 1; strings != 0; --strings) {
                if (left - size < 2 || left - size - 2 < load_u16(at + size)) return false;
                property.name = property.data.text();
                property.data = Bytes(at + size + 2, load_u16(at + size));
                size += 2 + property.data.size();
            }
        } else if (format == Format::variable) {
            size = load_variable(at, left, property.number);
            if (size == 0 || size == malformed) return false;
        } else {
            if (left < static_cast<size_t>(format)) return false;
            while (size < static_cast<size_t>(format)) property.number = property.number << 8 | at[size++];
        }
        block_ = Bytes(at + size, left - size);
        return true;
    }
    bool next(uint8_t id, Property& property) {
        while (next(property))
            if (property.rule->id == id) return true;
        return false;
    }

private:
    Bytes block_;
};
#else
// In 3.1.1 there are none.
class Properties {
public:
    constexpr Properties() = default;
    constexpr Properties(const uint8_t*, size_t) {}
    template <size_t N> constexpr Properties(const uint8_t (&)[N]) {}
    template <size_t N> constexpr Properties(const PropertyBuffer<N>&) {}
    constexpr Bytes block() const { return {}; }
    constexpr bool empty() const { return true; }
    template <Format format> constexpr Optional<typename prop::Key<format>::Type> get(prop::Key<format>) const {
        return {};
    }
    template <Format format> constexpr bool has(prop::Key<format>) const { return false; }
    template <const auto&...> constexpr bool has() const { return false; }
    template <Format format> constexpr bool next(prop::Key<format>, typename prop::Key<format>::Type&) {
        return false;
    }
    constexpr bool next(Property&) { return false; }
    constexpr bool next(uint8_t, Property&) { return false; }
    template <Format format> constexpr uint32_t number(prop::Key<format>, uint32_t otherwise) const { return otherwise; }
};
#endif

// Memory for up to N bytes of properties: 1 for each, and 1, 2 or 4 for a number (`variable`: 1 to 4), 2 and its length
// for each text. If it is too small, ok() is false, and calls refuse it with invalid_properties. What is not
// legal is told by the call, too.
template <size_t N> class PropertyBuffer {
public:
    template <Format format>
    constexpr PropertyBuffer& add(prop::Key<format> key, typename prop::Key<format>::Type value) {
        put(key.id);
        if constexpr (format == Format::pair) {
            string(value.name.data(), value.name.size());
            string(value.value.data(), value.value.size());
        } else if constexpr (format == Format::text || format == Format::topic || format == Format::binary) {
            string(value.data(), value.size());
        } else if constexpr (format == Format::variable) {
            for (; value > 127; value >>= 7) put(static_cast<uint8_t>(value | 128));
            put(static_cast<uint8_t>(value));
        } else {
            for (unsigned bits = 8 * sizeof value; bits != 0;) put(static_cast<uint8_t>(value >> (bits -= 8)));
        }
        return *this;
    }
    constexpr void clear() { size_ = 0; }
    constexpr bool ok() const { return size_ <= N; }
    constexpr size_t size() const { return size_; }   // bytes; with !ok(), what would have been needed up to there
    constexpr Bytes block() const { return ok() ? Bytes(data_.at, size_) : Bytes(refused, 1); }

private:
    static constexpr uint8_t refused[1] = {0};   // no property has this id

    constexpr void put(uint8_t value) {
        if (size_ < N) data_.at[size_] = value;
        ++size_;
    }
    template <class T> constexpr void string(const T* data, size_t size) {
        if (size > max_string_size) size_ = N;   // cannot be said
        put(static_cast<uint8_t>(size >> 8));
        put(static_cast<uint8_t>(size));
        for (size_t i = 0; i < size; ++i) put(static_cast<uint8_t>(data[i]));
    }

    // Constants are all 0 at first; at run time that is not needed, and would be memset(), which nothing else needs.
    struct Data {
        uint8_t at[N];
    };
    static Data any() {
        Data data;
        data.at[0] = 0;
        return data;
    }
    static constexpr Data none() {
#if defined(__GNUC__) && __GNUC__ >= 9
        if (!__builtin_is_constant_evaluated()) return any();
#endif
        return {};
    }

    Data data_ = none();
    size_t size_ = 0;
};

// --------------------------------------------------------------------------------- 6 what you pass and get

// The client's memory. It must outlive the client; what lies in it is the client's.
struct Buffers {
    // Received bytes, and CONNECT while it is sent. At least the CONNECT packet (see connect_size()) and the longest
    // packet other than PUBLISH that is expected: in MQTT 5, answers can have reason strings and user properties,
    // unless request_problem_information is 0 in ConnectOptions::properties. A PUBLISH that is larger comes in pieces;
    // one whose topic (and properties) alone are larger is told as `skipped`.
    Buffer rx;
    // The outbox: unsent packets, and QoS 1 and 2 messages until they are answered. Of its bytes, 3 for each of
    // `receive_maximum` and 16 for acknowledgements, pings and the last DISCONNECT are set aside. Each message takes its
    // packet (2 to 5 + 2 + topic + payload, + 2 with QoS 1 and 2) and with QoS 1 and 2, where the library is quick (see
    // MQTT_SMALL), an index entry of 4 bytes. A quarter of slack keeps the moving of memory rare. When it is full:
    // Error::no_space.
    Buffer tx;
    // How many received QoS 1 and 2 messages may be unfinished at once: not yet acknowledged by the application, or
    // QoS 2 and not yet released by the server. A further one is not read until there is a place. If all places are
    // taken by unreleased QoS 2 messages, the release can only come behind it: after response_timeout_ms the connection
    // ends with Error::receive_maximum_exceeded, and the next one begins with the releases. Mosquitto and most others
    // have at most 20 unreleased, unless told otherwise. In MQTT 5 the server is told, and has to keep to it on each
    // connection: unreleased ones of earlier connections make room, the oldest first. Mosquitto 2.0.11 does not keep to
    // it when messages wait for us: it takes a connection for every few of them, or a larger number here.
    uint16_t receive_maximum = 20;

    // MQTT 5 only; none by default. How many topic aliases the server may use, and memory for their topics: 4 bytes for
    // each, and what the topics need. Messages on a topic that found no room come as `skipped`. What was
    // skipped because it does not fit into rx may have set an alias: the next message that needs it ends the connection
    // (buffer_too_small), and comes again with its topic.
    uint16_t topic_alias_maximum = 0;
    Buffer received_aliases{};
    // With memory here, QoS 0 messages use topic aliases as far as the server allows: a topic (and 4 bytes) is
    // remembered when it is first sent, and after that left out. When it is full, the remembering begins anew. Messages
    // with an alias that have not been sent when the connection ends are gone.
    Buffer sent_aliases{};
    // Takes the client identifier that a server assigns, if ConnectOptions::client_id is empty, for the further
    // connections of this connect(), and of later ones as long as the session lives. `rx` must hold a CONNECT with all
    // of it; a longer identifier ends the connection (buffer_too_small).
    Buffer client_id{};
};

// Section 3.1.2.5: what the server publishes for us when the connection ends without our DISCONNECT.
struct Will {
    std::string_view topic;     // empty: no will
    Bytes message;
    QoS qos = QoS::at_most_once;
    Retain retain = Retain::no;
    Properties properties{};      // MQTT 5: will_delay_interval, and those of a message
};

// All of it, and what its views point to, must stay as it is until Event::disconnected has told that the client is
// stopped: it is used at each reconnect.
struct ConnectOptions {
    std::string_view host;              // as the port understands it: a name, an address
    uint16_t port = 1883;
    // v5_or_v3_1_1: a server that refuses version 5, or closes instead of answering, is asked for 3.1.1 at once (after
    // a refusal, at each later connection). What
    // 3.1.1 does not have (properties, subscription options ...) is then left out, also of messages that are waiting.
    Version version = Version::v3_1_1;
    std::string_view client_id;         // may be empty with clean_session [MQTT-3.1.3-7], or with Buffers::client_id
    bool clean_session = true;          // false: the session outlives connections, on both sides (section 3.1.2.4)
    // MQTT 5, with clean_session = false: the first connection begins a new session, further ones resume it; and for
    // how many seconds the server keeps it without a connection; 0xFFFFFFFF: for ever, which is what 3.1.1 does.
    bool clean_start = false;
    uint32_t session_expiry_interval = 0xFFFFFFFF;
    // MQTT 5: a session that the server has, and this client knows nothing of, as after a restart, ends the connection
    // (Error::session_unknown), and the next one begins a new one [5: MQTT-3.2.2-4]. true: it is taken up, as in 3.1.1,
    // with the messages that wait there; this says that nothing of ours was unfinished, or that it may be lost.
    bool adopt_session = false;
    // With storage: connect() refuses to touch the session of another client id, host or port that is there
    // (Error::other_session). true: it ends, Event::dropped tells each of its messages.
    bool replace_session = false;
    uint16_t keep_alive = 60;           // seconds without traffic before a ping; 0: none, a dead link goes unnoticed.
                                        // MQTT 5: the server may want another
    Will will;
    std::string_view user_name;         // none if it has no data(); "" is an empty user name
    Bytes password;                     // none if it has no data(); in 3.1.1 needs a user name [MQTT-3.1.2-22]
    Properties properties{};              // MQTT 5: of CONNECT, like user properties and the authentication method
    uint32_t maximum_packet_size = 0;   // MQTT 5: the server may send no larger packet; 0: any, they come in pieces
    // MQTT 5: after "use another server" or "server moved", the next attempt goes to the first server named (the one
    // after that to `host` again). It gets our credentials: say yes only if you trust the server, and let TLS verify
    // the name.
    bool follow_server_reference = false;

    bool manual_ack = false;            // true: nothing received is acknowledged before `acknowledge()` says so
    // QoS 1 and 2 messages sent and unanswered: publish() refuses further ones with receive_maximum_reached, and those
    // that were queued without a connection wait. mosquitto disconnects a client that has more than 20 of QoS 2, unless
    // its max_inflight_messages says otherwise.
    // MQTT 5: the server's Receive Maximum, if that is less.
    uint16_t in_flight_maximum = 20;

    uint32_t connect_timeout_ms = 30000;   // from opening the connection to CONNACK
    uint32_t response_timeout_ms = 10000;  // for PINGRESP, and for the last bytes of a disconnect
    // Back-off: the n-th attempt in a row waits a random part of min(reconnect_max_ms, reconnect_min_ms * 2^n), n from
    // 0; after a refusal of our identity or credentials, at least half of reconnect_max_ms. A connection that lasted
    // stable_ms starts the row anew. At most 2^20 (17 minutes); reconnect_max_ms = 0: no automatic reconnect.
    uint32_t reconnect_min_ms = 1000;
    uint32_t reconnect_max_ms = 120000;
    uint32_t stable_ms = 30000;
};

// The formulas of `Buffers` as constants. Bytes of the CONNECT packet, which `rx` must hold; at most. `assigned`: size
// of Buffers::client_id, if client_id is empty.
constexpr size_t connect_size(const ConnectOptions& options, size_t assigned = 0) {
    size_t size = 5 + 10 + 2 + options.client_id.size() + assigned;
    if (options.version != Version::v3_1_1) size += 4 + 16 + options.properties.block().size();
    if (!options.will.topic.empty()) size += 4 + options.will.topic.size() + options.will.message.size();
    if (!options.will.topic.empty()) size += 4 + options.will.properties.block().size();
    if (options.user_name.data() != nullptr) size += 2 + options.user_name.size();
    if (options.password.data() != nullptr) size += 2 + options.password.size();
    return size;
}
// Bytes of `tx` for this many QoS 1 or 2 messages, queued or unanswered at once, each of up to `message_size` bytes of
// topic, payload and (in MQTT 5; 4 bytes more if there are any) properties; at most.
constexpr size_t tx_size(size_t messages, size_t message_size, uint16_t receive_maximum = 20) {
    return 16 + size_t{3} * receive_maximum + messages * (message_size + 9 + (has_v5 ? 1 : 0) + (wide ? 4 : 0));
}

// Something published. Received whole (offset 0, total = payload.size()) or, if larger than `rx`, in pieces: same
// topic, ascending offset, the last one ends at total. A connection that ends in between takes the rest with it; with
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
    Properties properties{};      // MQTT 5

    constexpr bool complete() const { return offset + payload.size() == total; }
};

// What `poll()` returns. Each accepted publish (QoS 1, 2), subscribe and unsubscribe ends in exactly one event:
// acknowledged, subscribed, unsubscribed or dropped.
struct Event {
    enum Kind : uint8_t {
        none,            // nothing to tell; nothing to do before idle_ms(), input, or room for output
        connected,       // CONNACK: session_present (if not: subscribe again)
        disconnected,    // the connection, or an attempt at one, ended: error; reason if connection_refused or
                         // server_disconnected, or in MQTT 5 what we told the server.
                         // error ok: it was `disconnect()` or `abort()`. Else the next attempt follows by itself.
        received,        // PUBLISH: message (an enumerator cannot share the member's name)
        acknowledged,    // PUBACK or PUBCOMP: packet_id is done. MQTT 5: not granted(reason): the server refused it (or
                         // with packet_identifier_not_found, after pubrec, that it had finished with it already)
        subscribed,      // SUBACK: packet_id, reason_codes, one per filter in order; what is not granted() was refused
        unsubscribed,    // UNSUBACK: packet_id; MQTT 5: reason_codes
        dropped,         // packet_id will not be sent (any more), error says why: session_lost, it was sent but not
                         // answered when the server lost the session (or was asked to start a clean one), and may or
                         // may not have arrived [MQTT-3.1.2-6]. MQTT 5: message_expired, packet_too_large,
                         // ..._not_supported: it waited (or was sent on an earlier connection, and may have arrived),
                         // and the server does not take it. packet_id 0: a QoS 0 message
        resend_payload,  // packet_id, begun with begin_publish, must be sent again: write_payload from its first byte
        skipped,         // a message whose topic does not fit into rx (MQTT 5: and its properties; or its alias is of
                         // such a one) was acknowledged unread: message, without views; total includes properties
        storage_trouble, // error says what, once; it is tried again every second. Until it works, what was accepted
                         // does not go out, unless ignore_storage() says so; nothing is lost
        authentication,  // MQTT 5, AUTH: reason, properties. If it is continue_authentication: authenticate() answers
        // For information only:
        pubrec,          // packet_id: the server has the QoS 2 message
        pubrel,          // packet_id: the server released the QoS 2 message that it sent
        pingresp
    };
    Event() {}   // not constexpr: on small targets that is memset(), which nothing else needs

    Kind kind = none;
    Error error = Error::ok;
    ReasonCode reason = ReasonCode::success;
    bool session_present = false;
    uint16_t packet_id = 0;
    Properties properties{};      // MQTT 5: of the packet that was the cause; those of a message are in `message`, too
    Bytes reason_codes;         // a view
    Message message;
};

constexpr bool granted(uint8_t reason_code) { return reason_code < 0x80; }
constexpr bool granted(ReasonCode reason) { return granted(static_cast<uint8_t>(reason)); }

// ----------------------------------------------------------------------------------------- 7 topics and text

// '#' stands alone or behind '/', and last [MQTT-4.7.1-2]; '+' fills a level [MQTT-4.7.1-3].
constexpr bool wildcard_fits(const uint8_t* filter, size_t size, size_t i) {
    if (i != 0 && filter[i - 1] != '/') return false;
    return filter[i] == '+' ? i + 1 == size || filter[i + 1] == '/' : filter[i] == '#' && i + 1 == size;
}

// What most text is, said quickly: seven-bit characters other than U+0000. A topic and a filter are not empty; a topic
// has no wildcards, a filter has them where they fit, and nothing else below ','. False: look closer. Words are of eight
// characters, the last ones overlapped; all are copied to `to` on the way, if `copies`.
enum class Text : uint8_t { any, topic, filter };
template <Text kind, bool copies = false>
MQTT_HOT inline bool plain_text(const uint8_t* p, size_t size, uint8_t* to = nullptr) {
    constexpr uint64_t ones = 0x0101010101010101, highs = ones << 7;
    uint64_t odd = 0;   // the high bit of each byte: it is none, or there is one at or below it that is not plain
    const auto look = [&](size_t i, size_t count) {
        uint64_t word = ones * 'x';
        memcpy(&word, p + i, count);
        if (copies) memcpy(to + i, &word, count);
        odd |= word;
        if (kind != Text::filter) odd |= word - ones;
        if (kind == Text::topic) odd |= ((word | ones << 3) ^ ones * '+') - ones;   // '#' with this bit is '+'
        if constexpr (kind == Text::filter)
            for (uint64_t low = (word - ones * ',') & highs; low != 0; low &= low - 1)
                if (!wildcard_fits(p, size, i + static_cast<unsigned>(__builtin_ctzll(low)) / 8)) odd = highs;
    };
    if (MQTT_LIKELY(size - 8 <= max_string_size - 8)) {
        look(size - 8, 8);
        for (size_t i = 0; i < size - 8; i += 8) look(i, 8);
    } else if (size > 8 || (size == 0 && kind != Text::any)) {
        return false;
    } else if (size >= 4) {
        look(0, 4);
        look(size - 4, 4);
    } else {
        for (size_t i = 0; i < size; ++i) look(i, 1);
    }
    return (odd & highs) == 0;
}

constexpr bool valid_length(std::string_view text) { return text.size() <= max_string_size; }

// Well-formed UTF-8 without surrogates and U+0000 [MQTT-1.5.3-1, -2] that is not too long; a topic without wildcards
// [MQTT-3.3.2-2], a filter with them where they fit. U+FEFF is a character like any other [MQTT-1.5.3-3].
inline bool valid_text(std::string_view text, Text kind = Text::any) {
    const uint8_t* const p = Bytes(text).data();
    const size_t size = text.size();
    if (!valid_length(text)) return false;
    if (size == 0) return kind == Text::any;
    if constexpr (wide)
        if (kind == Text::any ? plain_text<Text::any>(p, size) : kind == Text::topic && plain_text<Text::topic>(p, size))
            return true;
    unsigned more = 0, least = 0x80, most = 0xBF;   // bytes of a character that follow, and the range of the next one
    for (size_t i = 0; i < size; ++i) {
        const unsigned c = p[i];
        if (more != 0) {
            if (c < least || c > most) return false;
            --more;
            least = 0x80;
            most = 0xBF;
        } else if (c < 0x80) {
            if (c == 0) return false;
            if (kind != Text::any && (c | 8) == '+')   // or '#'
                if (kind == Text::topic || !wildcard_fits(p, size, i)) return false;
        } else {
            if (c < 0xC2 || c > 0xF4) return false;
            more = c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
            if (c == 0xE0) least = 0xA0;   // else it would be a longer form than needed,
            if (c == 0xED) most = 0x9F;    // a surrogate,
            if (c == 0xF0) least = 0x90;
            if (c == 0xF4) most = 0x8F;    // or above U+10FFFF
        }
    }
    return more == 0;
}

// A topic name: what is published to (section 4.7).
inline bool valid_topic(std::string_view topic) { return valid_text(topic, Text::topic); }

// The first bytes of a text; substr() can throw.
constexpr std::string_view front(std::string_view text, size_t size) {
    return {text.data(), size < text.size() ? size : text.size()};
}
// Where the first of two characters is; the text's size: nowhere. This and what follows needs no memchr() and memcmp().
constexpr size_t find(std::string_view text, char c, char or_this) {
    size_t i = 0;
    while (i < text.size() && text[i] != c && text[i] != or_this) ++i;
    return i;
}
constexpr size_t find(std::string_view text, char c) { return find(text, c, c); }
constexpr bool has_wildcard(std::string_view filter) { return find(filter, '+', '#') != filter.size(); }
constexpr bool equal(std::string_view a, std::string_view b) {
    if (wide) return a == b;
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); ++i)
        if (a[i] != b[i]) return false;
    return true;
}

// A topic filter: what is subscribed to. '#' stands alone or behind '/', and last [MQTT-4.7.1-2]; '+' fills a level
// [MQTT-4.7.1-3]. In MQTT 5 a shared subscription is "$share/NAME/FILTER" [5: MQTT-4.8.2-1, -2].
constexpr bool is_shared(std::string_view filter) { return equal(front(filter, 7), "$share/"); }
inline bool valid_share(std::string_view filter) {
    if (!is_shared(filter)) return true;
    filter.remove_prefix(7);
    const size_t name = find(filter, '/');
    return name != 0 && name + 1 < filter.size() && !has_wildcard(front(filter, name));
}
inline bool valid_filter(std::string_view filter, bool v5 = false) {
    return valid_text(filter, Text::filter) && (!v5 || valid_share(filter));
}

// Does a message on `topic` match `filter`? Both must be valid. Wildcards do not match a leading '$' [MQTT-4.7.2-1]. A
// shared subscription gets what matches the filter in it.
constexpr bool matches(std::string_view filter, std::string_view topic) {
    if (is_shared(filter) && filter.find('/', 7) != filter.npos) filter.remove_prefix(filter.find('/', 7) + 1);
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

// ------------------------------------------------------------------------------------------------- 8 cursors

// Are these properties legal in this packet (`reserved`: in a will)? Malformed: an id that is unknown or not for this
// packet, a value cut short, bad text (5: section 2.2.2.2). Protocol errors: twice what may be there once, a value
// beyond its range. `seen` has a bit for each kind that occurred: see prop::kinds().
inline Error validate(Properties list, PacketType packet, uint32_t& seen) {
    Property property;
    while (list.next(property)) {
        const PropertyRule& rule = *property.rule;
        if ((rule.packets & bit(packet)) == 0) return Error::malformed_packet;
        const uint32_t kind = prop::kind(rule);
        const bool not_zero = (rule.packets & PropertyRule::not_zero) != 0;
        const bool repeats =
            (rule.packets & PropertyRule::repeats) != 0 && !(not_zero && packet != PacketType::publish);
        if ((seen & kind) != 0 && !repeats) return Error::protocol_error;
        seen |= kind;
        if (not_zero && property.number == 0)
            return rule.id == prop::topic_alias.id ? Error::topic_alias_invalid : Error::protocol_error;
        if (rule.format == Format::byte && property.number > 1) return Error::protocol_error;
        const Text text = rule.format == Format::topic ? Text::topic : Text::any;
        if (rule.format >= Format::text && !valid_text(property.data.text(), text)) return Error::malformed_packet;
        if (rule.format == Format::pair && !valid_text(property.name))   // [5: MQTT-1.5.7-1]
            return Error::malformed_packet;
    }
    return list.empty() ? Error::ok : Error::malformed_packet;
}

// Both cursors have the same members, so that one list of fields serves both. They fail stickily: after the first
// failure each call does nothing, and error() tells it at the end. check() is for what cannot be parsed, rule() for
// what can be, but must not be: in MQTT 5 the first is a Malformed Packet, the second a Protocol Error (5: section
// 1.2).
//
// A quick cursor is for what most packets are: text that is plain, a list that is an array, an answer that says yes.
// At anything else, right or wrong, it fails; then the other kind begins anew, and its word counts.

struct Encoded {
    Error error;
    uint32_t size;   // of the whole packet, also with no_space
};

constexpr bool is_built_in(Version version) {
    return version == Version::v3_1_1 || (has_v5 && version == Version::v5);
}

// Writes a packet's body, leaving room for the smallest fixed header before it. Past the end of its memory it only
// counts, so that measuring is the same code.
template <bool is_quick> class BasicWriter {
public:
    static constexpr bool reading = false, quick = is_quick;
    static constexpr uint8_t header_room = 2;   // enough for bodies of up to 127 bytes; finish() makes more room
    using View = std::conditional_t<quick, std::string_view, const std::string_view&>;   // in registers, or where it is

    BasicWriter(const Buffer& out, Version version)
        : end_(out.data + out.size), size_(out.size), at_(header_room - static_cast<Distance>(out.size)) {
        set(version);
    }

    void set(Version version) {
        v5_ = version == Version::v5;
        check(version == Version::v3_1_1 || v5());
    }
    bool v5() const { return has_v5 && v5_; }

    void u8(uint8_t value) {
        if (take(1)) end_[at_ - 1] = value;
    }
    void u16(uint16_t value) {
        if (take(2)) store_u16(end_ + (at_ - 2), value);
    }
    void reason(ReasonCode value) { u8(static_cast<uint8_t>(value)); }
    void packet_id(uint16_t value) {
        check(value != 0);   // [MQTT-2.3.1-1]
        u16(value);
    }
    void binary(Bytes value) {
        check(value.size() <= max_string_size);
        u16(static_cast<uint16_t>(value.size()));
        bytes(value.data(), value.size());
    }
    void utf8(View text) {
        if constexpr (quick) return plain<Text::any>(text);
        else string(text, Text::any);
    }
    void topic(View text, bool may_be_empty = false) {
        if constexpr (quick) return plain<Text::topic>(text);
        else string(text, may_be_empty && text.empty() ? Text::any : Text::topic);
    }
    void filter(View text) {
        if constexpr (quick) return plain<Text::filter>(text);
        if (v5()) check(valid_share(text), Error::invalid_filter);
        string(text, Text::filter);
    }
    // One list, of which the second part may be left out; MQTT 5 only.
    void properties(const Properties& list, PacketType packet) {
        if (v5()) properties(list, packet, Properties());
    }
    void properties(const Properties& list, PacketType packet, const Properties& more) {
        if (!v5()) return;
        if (wide && list.empty() && more.empty()) return u8(0);
        if constexpr (quick)
            check(false);
        else
            put_properties(list, packet, more);
    }
    void put_properties(const Properties& list, PacketType packet, const Properties& more) {
        const size_t size = list.block().size() + more.block().size();
        check(list.block().size() <= max_remaining_length && more.block().size() <= max_remaining_length &&
              size <= max_remaining_length, Error::packet_too_large);
        if (error_ != Error::ok) return;
        uint32_t seen = 0;
        check(validate(list, packet, seen) == Error::ok && validate(more, packet, seen) == Error::ok,
              Error::invalid_properties);
        uint8_t raw[4];
        bytes(raw, static_cast<size_t>(store_variable(raw, static_cast<uint32_t>(size)) - raw));
        bytes(list.block().data(), list.block().size());
        bytes(more.block().data(), more.block().size());
    }
    void rest(Bytes value) { rest_ = value; }   // the last field; copied by finish()

    MQTT_PART void check(bool condition, Error error = Error::invalid_argument) {
        if (!MQTT_LIKELY(condition)) fail(error);
    }
    void rule(bool condition, Error error = Error::invalid_argument) { check(condition, error); }
    void fail(Error error) {
        if (quick) { MQTT_RARELY; }
        if (quick || error_ == Error::ok) error_ = error;
    }

    // Puts the fixed header before the body and, unless it is sent from elsewhere, the rest behind it.
    Encoded finish(uint8_t first_byte, bool with_rest) {
        const uint32_t size = static_cast<uint32_t>(static_cast<Distance>(size_) + at_ - header_room);   // of the body
        const uint32_t remaining = size + static_cast<uint32_t>(rest_.size());
        if (remaining > most || rest_.size() > most) fail(Error::packet_too_large);
        if (!MQTT_LIKELY(error_ == Error::ok)) return {error_, 0};
        const uint32_t header = 1 + static_cast<uint32_t>(variable_size(remaining));
        const uint32_t stored = header + (with_rest ? remaining : size);
        if (stored > size_) return {Error::no_space, stored};
        uint8_t* const out = end_ - size_;
        if (header != header_room) copy(out + header, out + header_room, static_cast<size_t>(size));
        out[0] = first_byte;
        uint8_t* const body = store_variable(out + 1, remaining);
        if (with_rest) copy(body + size, rest_.data(), rest_.size());
        return {Error::ok, stored};
    }

private:
    bool take(size_t size) {   // true: there is room for that, behind which at_ is now
        at_ += static_cast<Distance>(size);
        if (MQTT_LIKELY(at_ <= 0)) return true;
        if (quick) fail(Error::no_space);
        return false;
    }
    void bytes(const uint8_t* data, size_t size) {
        if (take(size)) copy(end_ + (at_ - static_cast<Distance>(size)), data, size);
        else if (at_ > most) at_ = most;   // too large anyway, and so it does not wrap around
    }
    template <Text kind> void plain(std::string_view text) {
        const Distance begin = at_;
        if (!take(2 + text.size())) return;
        uint8_t* const to = end_ + begin;
        check(plain_text<kind, true>(Bytes(text).data(), text.size(), to + 2));
        store_u16(to, static_cast<uint16_t>(text.size()));
    }
    void string(View text, Text kind) {
        if (valid_text(text, kind)) return binary(text);
        fail(kind == Text::any     ? Error::invalid_string
             : kind == Text::topic ? Error::invalid_topic : Error::invalid_filter);
    }

    using Distance = std::conditional_t<(sizeof(size_t) > 4), int64_t, int32_t>;
    static constexpr Distance most = max_remaining_length;

    uint8_t* end_;   // of the memory
    size_t size_;    // of it
    Distance at_;    // where the body goes on, from the end; above 0 it is what is missing
    Bytes rest_;
    Error error_ = Error::ok;
    bool v5_;
};

using Writer = BasicWriter<false>;

// Reads a packet's body; what it yields are views into it.
template <bool is_quick> class BasicReader {
public:
    static constexpr bool reading = true, quick = is_quick;

    BasicReader(const Bytes& in, Version version)
        : at_(in.data()), left_(in.size()), v5_(version == Version::v5) {}

    void set(Version version) {
        v5_ = version == Version::v5;
        check(version == Version::v3_1_1 || v5());
    }
    bool v5() const { return has_v5 && v5_; }
    size_t left() const { return left_; }
    Error error() const { return error_; }

    void u8(uint8_t& value) {
        value = take(1) ? at_[-1] : uint8_t{0};
    }
    void u16(uint16_t& value) {
        value = take(2) ? load_u16(at_ - 2) : uint16_t{0};
    }
    void reason(ReasonCode& value) {
        uint8_t raw;
        u8(raw);
        value = static_cast<ReasonCode>(raw);
    }
    void packet_id(uint16_t& value) {
        u16(value);
        check(value != 0);   // [MQTT-2.3.1-1]
    }
    void binary(Bytes& value) {
        uint16_t size;
        u16(size);
        value = take(size) ? Bytes(at_ - size, size) : Bytes();
    }
    void utf8(std::string_view& value) { string<Text::any>(value); }
    void topic(std::string_view& value, bool may_be_empty = false) { string<Text::topic>(value, may_be_empty); }
    void filter(std::string_view& value) {
        string<Text::filter>(value);
        if (!quick && v5()) check(valid_share(value));
    }
    void properties(Properties& list, PacketType packet, const Properties& = {}) {
        if (!v5()) return;
        if constexpr (quick) {
            if (left_ != 0 && *at_ == 0) return static_cast<void>(take(1));
            if (packet == PacketType::connack) return check(false);   // comes once: let it be simple
            BasicReader io = *this;   // no addresses of this one and of the list are taken: they stay in registers
            Properties taken;
            io.take_properties(taken, packet);
            *this = io;
            list = taken;
        } else {
            take_properties(list, packet);
        }
    }
    MQTT_APART void take_properties(Properties& list, PacketType packet) {
        uint32_t size = 0;
        const size_t length = load_variable(at_, left_, size);
        check(length != 0 && length != malformed && static_cast<size_t>(size) == size);
        take(length);
        if (!take(static_cast<size_t>(size))) return;
        list = Properties(at_ - size, static_cast<size_t>(size));
        uint32_t seen = 0;
        const Error error = validate(list, packet, seen);
        check(error == Error::ok, error);
    }
    void rest(Bytes& value) {
        value = Bytes(at_, left_);
        take(left_);
    }

    MQTT_PART void check(bool condition, Error error = Error::malformed_packet) {
        if (!MQTT_LIKELY(condition)) fail(error);
    }
    void fail(Error error) {
        if (quick) { MQTT_RARELY; }
        if (quick || error_ == Error::ok) error_ = error;
        left_ = 0;
    }
    void rule(bool condition, Error = Error::ok) {
        check(condition, v5() ? Error::protocol_error : Error::malformed_packet);
    }

private:
    bool take(size_t size) {   // after a failure, nothing is left
        if (!MQTT_LIKELY(size <= left_)) return fail(Error::malformed_packet), false;
        at_ += size;
        left_ -= size;
        return true;
    }
    template <Text kind> void string(std::string_view& value, bool may_be_empty = false) {
        Bytes raw;
        binary(raw);
        value = raw.text();
        const Text asked = may_be_empty && raw.empty() ? Text::any : kind;
        check(quick ? plain_text<kind>(raw.data(), raw.size()) : valid_text(value, asked));
    }

    const uint8_t* at_;
    size_t left_;
    Error error_ = Error::ok;
    bool v5_;
};

using Reader = BasicReader<false>;

// ------------------------------------------------------------------------------------------------- 9 packets

// One struct per layout; where several packets share one, the struct has a `type`. fields() names the fields in the
// order of the specification, once, for writing and for reading, for 3.1.1 and for 5. What only 5 has, reason codes and
// properties, is left out in 3.1.1.
//
//     uint8_t buffer[64];
//     const mqtt::Encoded out = mqtt::encode(mqtt::Ack{mqtt::PacketType::puback, 10}, buffer);   // {Error::ok, 4}
//     mqtt::Ack ack;
//     const mqtt::Error error = mqtt::decode({buffer, out.size}, ack);
//     const mqtt::Error error = mqtt::decode({buffer, out.size}, ack, mqtt::Version::v5);        // the same for MQTT 5

// Flags of the fixed header that a type must have [MQTT-2.2.2-1]; those of PUBLISH have a meaning.
constexpr uint8_t first_byte_of(PacketType type) {
    constexpr unsigned two = bit(PacketType::pubrel) | bit(PacketType::subscribe) | bit(PacketType::unsubscribe);
    const unsigned i = static_cast<unsigned>(type);
    return static_cast<uint8_t>(i << 4 | (two >> i & 1) << 1);
}

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
MQTT_HOT inline Error read_fixed_header(const uint8_t* data, size_t size, FixedHeader& header,
                               Version version = Version::v3_1_1) {
    header = FixedHeader{};
    if (size == 0) return Error::ok;
    const unsigned first = header.first_byte = data[0];
    // For each type a bit for each value of the flags.
    static constexpr uint16_t flags[] = {0, 1, 1, 0x3C3F, 1, 1, 4, 1, 4, 1, 4, 1, 1, 1, 1, has_v5 ? 1 : 0};
    if ((flags[first >> 4] >> (first & 15) & 1) == 0 || (has_v5 && first >= 0xF0 && version != Version::v5))
        return Error::malformed_packet;
    if (wide && size > 1 && data[1] < 128) {
        header.remaining_length = data[1];
        header.size = 2;
        return Error::ok;
    }
    uint32_t remaining;   // of its own, so that the address of `header` is not taken
    const size_t length = load_variable(data + 1, size - 1, remaining);
    if (length == malformed) return Error::malformed_packet;
    header.remaining_length = remaining;
    header.size = length != 0 ? static_cast<uint8_t>(1 + length) : uint8_t{0};
    return Error::ok;
}

// May a packet have this reason code (5: table 2-6)?
inline bool legal(ReasonCode reason, PacketType packet) {
    constexpr uint16_t connack = bit(PacketType::connack), suback = bit(PacketType::suback),
                       unsuback = bit(PacketType::unsuback), disconnect = bit(PacketType::disconnect),
                       auth = bit(PacketType::auth), answer = bit(PacketType::puback) | bit(PacketType::pubrec),
                       release = bit(PacketType::pubrel) | bit(PacketType::pubcomp);
    static constexpr struct {
        ReasonCode reason;
        uint16_t packets;
    } low[] = {
        {ReasonCode::success, connack | answer | release | suback | unsuback | disconnect | auth},
        {ReasonCode::granted_qos_1, suback},
        {ReasonCode::granted_qos_2, suback},
        {ReasonCode::disconnect_with_will_message, disconnect},
        {ReasonCode::no_matching_subscribers, answer},
        {ReasonCode::no_subscription_existed, unsuback},
        {ReasonCode::continue_authentication, auth},
        {ReasonCode::re_authenticate, auth},
    };
    static constexpr uint16_t high[] = {
        connack | answer | suback | unsuback | disconnect,   // 0x80 unspecified error
        connack | disconnect,                                // 0x81 malformed packet
        connack | disconnect,                                // 0x82 protocol error
        connack | answer | suback | unsuback | disconnect,   // 0x83 implementation specific error
        connack,                                             // 0x84 unsupported protocol version
        connack,                                             // 0x85 client identifier not valid
        connack,                                             // 0x86 bad user name or password
        connack | answer | suback | unsuback | disconnect,   // 0x87 not authorized
        connack,                                             // 0x88 server unavailable
        connack | disconnect,                                // 0x89 server busy
        connack,                                             // 0x8A banned
        disconnect,                                          // 0x8B server shutting down
        connack | disconnect,                                // 0x8C bad authentication method
        disconnect,                                          // 0x8D keep alive timeout
        disconnect,                                          // 0x8E session taken over
        suback | unsuback | disconnect,                      // 0x8F topic filter invalid
        connack | answer | disconnect,                       // 0x90 topic name invalid
        answer | suback | unsuback,                          // 0x91 packet identifier in use
        release,                                             // 0x92 packet identifier not found
        disconnect,                                          // 0x93 receive maximum exceeded
        disconnect,                                          // 0x94 topic alias invalid
        connack | disconnect,                                // 0x95 packet too large
        disconnect,                                          // 0x96 message rate too high
        connack | answer | suback | disconnect,              // 0x97 quota exceeded
        disconnect,                                          // 0x98 administrative action
        connack | answer | disconnect,                       // 0x99 payload format invalid
        connack | disconnect,                                // 0x9A retain not supported
        connack | disconnect,                                // 0x9B QoS not supported
        connack | disconnect,                                // 0x9C use another server
        connack | disconnect,                                // 0x9D server moved
        suback | disconnect,                                 // 0x9E shared subscriptions not supported
        connack | disconnect,                                // 0x9F connection rate exceeded
        disconnect,                                          // 0xA0 maximum connect time
        suback | disconnect,                                 // 0xA1 subscription identifiers not supported
        suback | disconnect,                                 // 0xA2 wildcard subscriptions not supported
    };
    for (const auto& row : low)
        if (row.reason == reason) return (row.packets & bit(packet)) != 0;
    const size_t i = static_cast<size_t>(reason) - 0x80;
    return i < sizeof high / sizeof *high && (high[i] & bit(packet)) != 0;
}

template <class Io> void check_reason(Io& io, ReasonCode reason, PacketType packet) {
    if constexpr (Io::quick)
        io.check(reason == ReasonCode::success);
    else
        io.rule(legal(reason, packet));
}

// Section 3.1.
struct Connect {
    static constexpr uint16_t types = bit(PacketType::connect);
    enum Flag : uint8_t {
        clean_session = 0x02, has_will = 0x04, will_retain = 0x20, has_password = 0x40, has_user_name = 0x80
    };

    Connect() {}   // as Event()

    std::string_view protocol_name{"MQTT", 4};
    uint8_t protocol_level = 4;              // 4 or 5; it decides the version, whatever encode() and decode() are told
    uint8_t flags = clean_session;           // Flag (in 5, Clean Start), and the will's QoS in bits 3 and 4
    uint16_t keep_alive = 0;                 // seconds
    Properties properties{};
    Properties more{};                         // written as if they were part of `properties`
    std::string_view client_id;
    Properties will_properties{};              // this and what follows only if its flag is set
    std::string_view will_topic;
    Bytes will_message;
    std::string_view user_name;
    Bytes password;

    QoS will_qos() const { return static_cast<QoS>(flags >> 3 & 3); }
    uint8_t first_byte() const { return first_byte_of(PacketType::connect); }

    // [MQTT-3.1.2-3], -11, -13, -14, -15, -22; in 5, a password needs no user name.
    static constexpr bool valid_flags(uint8_t flags, bool v5) {
        if ((flags & 1) != 0 || (flags & 0x18) == 0x18) return false;
        if ((flags & has_will) == 0 && (flags & 0x38) != 0) return false;
        return v5 || (flags & has_user_name) != 0 || (flags & has_password) == 0;
    }
    // Another protocol decodes as malformed, but with protocol_name and protocol_level told: a server answers an
    // unknown level with return code 1 [MQTT-3.1.2-2].
    template <class Io, class Self> static void fields(Io& io, Self& p) {
        layout(io, p, p.protocol_name, p.properties, p.client_id, p.will_properties, p.will_topic, p.will_message,
               p.user_name, p.password);
    }
    // The same, with most of them from elsewhere.
    template <class Io, class Self, class Text, class List, class Blob>
    static void layout(Io& io, Self& p, Text& protocol_name, List& properties, Text& client_id, List& will_properties,
                       Text& will_topic, Blob& will_message, Text& user_name, Blob& password) {
        if constexpr (Io::quick && !Io::reading)
            io.utf8("MQTT");   // as is checked below
        else
            io.utf8(protocol_name);
        io.u8(p.protocol_level);
        io.check(protocol_name.size() == 4 && load_u32(Bytes(protocol_name).data()) == 0x4D515454);   // "MQTT"
        io.set(static_cast<Version>(p.protocol_level));
        io.u8(p.flags);
        io.check(valid_flags(p.flags, io.v5()));
        io.u16(p.keep_alive);
        io.properties(properties, PacketType::connect, p.more);
        io.utf8(client_id);
        if ((p.flags & has_will) != 0) {
            io.properties(will_properties, PacketType::reserved);
            io.topic(will_topic);
            io.binary(will_message);
        }
        if ((p.flags & has_user_name) != 0) io.utf8(user_name);
        if ((p.flags & has_password) != 0) io.binary(password);
    }
};

// CONNECT, straight from the options.
struct OwnConnect {
    static constexpr uint16_t types = Connect::types;
    static constexpr std::string_view protocol_name{"MQTT", 4};

    const ConnectOptions& options;
    std::string_view client_id;
    uint8_t protocol_level;
    uint8_t flags;
    uint16_t keep_alive;
    Properties more;

    uint8_t first_byte() const { return first_byte_of(PacketType::connect); }
    template <class Io> static void fields(Io& io, const OwnConnect& p) {
        const ConnectOptions& o = p.options;
        Connect::layout(io, p, protocol_name, o.properties, p.client_id, o.will.properties, o.will.topic, o.will.message,
                        o.user_name, o.password);
    }
};

// Section 3.2.
struct Connack {
    static constexpr uint16_t types = bit(PacketType::connack);

    Connack() {}   // as Event()

    uint8_t flags = 0;             // bit 0: session present
    ReasonCode reason = ReasonCode::success;   // in 3.1.1, of these: success, 0x84, 0x85, 0x88, 0x86, 0x87
    Properties properties{};

    bool session_present() const { return flags != 0; }
    uint8_t first_byte() const { return first_byte_of(PacketType::connack); }

    template <class Io, class Self> static void fields(Io& io, Self& p) {
        io.u8(p.flags);
        if (io.v5())
            io.reason(p.reason);
        else
            return_code(io, p.reason);
        io.check(p.flags <= 1);
        if (io.v5()) check_reason(io, p.reason, PacketType::connack);            // [5: MQTT-3.2.2-8]
        io.rule(p.reason == ReasonCode::success || p.flags == 0);                // [MQTT-3.2.2-4]
        io.properties(p.properties, PacketType::connack);
    }
    // 3.1.1, table 3.1: 0 accepted, 1 to 5 refused [MQTT-3.2.2-6].
    template <class Io, class Reason> static void return_code(Io& io, Reason& reason) {
        static constexpr ReasonCode reasons[] = {
            ReasonCode::success, ReasonCode::unsupported_protocol_version, ReasonCode::client_identifier_not_valid,
            ReasonCode::server_unavailable, ReasonCode::bad_user_name_or_password, ReasonCode::not_authorized};
        uint8_t code = 0;
        if constexpr (Io::reading) {
            io.u8(code);
            io.check(code < (Io::quick ? 1 : sizeof reasons));
            if (Io::quick) return;
            reason = reasons[code < sizeof reasons ? code : 0];
        } else {
            while (code < sizeof reasons && reasons[code] != reason) ++code;
            io.check(code < sizeof reasons);
            io.u8(code);
        }
    }
};

// Section 3.3.
struct Publish {
    static constexpr uint16_t types = bit(PacketType::publish);

    Publish() {}   // as Event()

    std::string_view topic;        // in 5 it may be empty, if there is a topic alias
    Bytes payload;
    QoS qos = QoS::at_most_once;
    Retain retain = Retain::no;
    bool duplicate = false;
    uint16_t packet_id = 0;        // not on the wire with QoS 0 [MQTT-2.3.1-5]
    Properties properties{};
    Properties more{};               // written as if they were part of `properties`

    uint8_t first_byte() const {
        const bool dup = duplicate && qos != QoS::at_most_once;   // [MQTT-3.3.1-2]
        return static_cast<uint8_t>(0x30 | (dup ? 8 : 0) | static_cast<int>(qos) << 1 | static_cast<int>(retain));
    }
    template <class Self> static void set_first_byte(Self& p, uint8_t first) {   // also of a Message
        p.qos = static_cast<QoS>(first >> 1 & 3);
        p.retain = static_cast<decltype(p.retain)>((first & 1) != 0);
        p.duplicate = (first & 8) != 0;
    }
    template <class Io, class Self> MQTT_PART static void fields(Io& io, Self& p) {
        io.check(p.qos <= QoS::exactly_once);                      // [MQTT-3.3.1-4]
        io.topic(p.topic, io.v5());
        if (p.qos != QoS::at_most_once) io.packet_id(p.packet_id);
        Properties more;
        if constexpr (!Io::reading) more = p.more;
        io.properties(p.properties, PacketType::publish, more);
        if (io.v5() && p.topic.empty())                            // 5: section 3.3.2.1
            io.rule(p.properties.number(prop::topic_alias, 0) != 0 || more.number(prop::topic_alias, 0) != 0,
                    Error::invalid_topic);
        io.rest(p.payload);
    }
};

// What ends a packet of 5 that has no more to say than how it went: left out as far as it says nothing.
template <class Io, class Self> void reason_tail(Io& io, Self& p) {
    if (!io.v5()) return;
    const bool short_form = p.type != PacketType::auth;   // AUTH has both or none (5: section 3.15.2.1)
    if constexpr (Io::reading) {
        if (io.left() == 0) return;
    } else if (p.reason == ReasonCode::success && p.properties.empty()) {
        return;
    }
    io.reason(p.reason);
    check_reason(io, p.reason, p.type);
    if constexpr (Io::reading) {
        if (short_form && io.left() == 0) return;
    } else if (short_form && p.properties.empty()) {
        return;
    }
    io.properties(p.properties, p.type);
}

// What answers a packet id. Sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP; and 3.9, 3.11: see Suback.
struct Ack {
    static constexpr uint16_t types = bit(PacketType::puback) | bit(PacketType::pubrec) | bit(PacketType::pubrel) |
                                      bit(PacketType::pubcomp);

    PacketType type = PacketType::puback;
    uint16_t packet_id = 0;
    ReasonCode reason = ReasonCode::success;   // not in SUBACK and UNSUBACK
    Properties properties{};
    Bytes reason_codes{};   // SUBACK, UNSUBACK: one per filter of the request, in its order (3.1.1: UNSUBACK has none)

    uint8_t first_byte() const { return first_byte_of(type); }
    template <class Io, class Self> static void fields(Io& io, Self& p) {
        io.packet_id(p.packet_id);
        constexpr bool always = (Self::types & ~types) == 0, never = (Self::types & types) == 0;
        if (always || (!never && (bit(p.type) & types) != 0)) return reason_tail(io, p);
        io.properties(p.properties, p.type);
        if constexpr (Io::quick) {
            io.rest(p.reason_codes);
            if (p.type != PacketType::suback || p.reason_codes.empty()) return io.check(false);
            size_t i = p.reason_codes.size();
            do io.check(p.reason_codes[--i] <= 2);
            while (i != 0);
            return;
        }
        if (!io.v5() && p.type == PacketType::unsuback) return;
        io.rest(p.reason_codes);
        io.rule(!p.reason_codes.empty());
        for (const uint8_t code : p.reason_codes)                  // [MQTT-3.9.3-2], [5: MQTT-3.11.3-2]
            io.rule(io.v5() ? legal(static_cast<ReasonCode>(code), p.type) : code <= 2 || code == 0x80);
    }
};

// Sections 3.9 and 3.11: SUBACK, UNSUBACK.
struct Suback : Ack {
    static constexpr uint16_t types = bit(PacketType::suback) | bit(PacketType::unsuback);
    Suback() { type = PacketType::suback; }
};

// Any of them.
struct Answer : Ack {
    static constexpr uint16_t types = Ack::types | Suback::types;
};

struct Subscription {
    std::string_view filter;
    QoS qos = QoS::at_most_once;   // the highest QoS wanted. This and what follows is not used by UNSUBSCRIBE
    // MQTT 5 (section 3.8.3.1), without effect in 3.1.1:
    bool no_local = false;              // not what this client published; not with a shared subscription
    bool retain_as_published = false;   // messages keep the RETAIN flag of their publisher
    RetainHandling retain_handling = RetainHandling::send;   // retained messages when subscribing

    template <class Io, class Self> static void fields(Io& io, Self& s, bool options) {
        io.filter(s.filter);
        if (!options) return;
        uint8_t byte = 0;
        if constexpr (!Io::reading) {
            io.check(s.qos <= QoS::exactly_once && s.retain_handling <= RetainHandling::do_not_send);
            unsigned raw = static_cast<unsigned>(s.qos);
            if (io.v5()) {
                raw |= (s.no_local ? 4U : 0U) | (s.retain_as_published ? 8U : 0U) |
                       static_cast<unsigned>(s.retain_handling) << 4;
                io.rule(!s.no_local || !is_shared(s.filter));                  // [5: MQTT-3.8.3-4]
            }
            byte = static_cast<uint8_t>(raw);
        }
        io.u8(byte);
        if constexpr (Io::reading) {
            io.check((byte & (io.v5() ? 0xC0 : 0xFC)) == 0);                   // [MQTT-3.8.3-4], [5: MQTT-3.8.3-5]
            io.rule((byte & 0x03) != 0x03);
            s.qos = static_cast<QoS>(byte & 3);
            if (io.v5()) {
                io.rule((byte & 0x30) != 0x30);
                s.no_local = (byte & 4) != 0;
                s.retain_as_published = (byte & 8) != 0;
                s.retain_handling = static_cast<RetainHandling>(byte >> 4 & 3);
                io.rule(!s.no_local || !is_shared(s.filter));
            }
        }
    }
};

// A list of subscriptions: an array of the caller's (of filters only, for UNSUBSCRIBE), or part of a decoded packet.
//     for (mqtt::Subscriptions rest = packet.filters; rest.next(subscription);) ...
class Subscriptions {
public:
    constexpr Subscriptions() = default;
    constexpr Subscriptions(const Subscription* list, size_t count) : list_(list), count_(count) {}
    constexpr Subscriptions(const std::string_view* filters, size_t count)
        : form_(of_filters), filters_(filters), count_(count) {}
    Subscriptions(Bytes wire, size_t count, bool options, Version version)
        : form_(of_wire), options_(options), version_(version), wire_(wire.data()), wire_size_(wire.size()),
          count_(count) {}

    constexpr size_t size() const { return count_; }

    // Takes the first one off the list; false: it is empty.
    bool next(Subscription& subscription) {
        subscription = Subscription{};
        if (form_ != of_wire) return next_of_array(subscription);
        if (count_ == 0) return false;
        Reader io(wire(), version_);
        Subscription::fields(io, subscription, options_);
        wire_ += wire_size_ - io.left();
        wire_size_ = io.left();
        --count_;
        return true;
    }

    // The same for arrays only: what is not decoded needs no Reader.
    bool next_of_array(Subscription& subscription) {
        if (count_ == 0) return false;
        --count_;
        if (form_ == of_subscriptions) subscription = *list_++;
        else subscription.filter = *filters_++;
        return true;
    }

private:
    friend struct Subscribe;

    Bytes wire() const { return {wire_, wire_size_}; }

    enum : uint8_t { of_subscriptions, of_filters, of_wire } form_ = of_subscriptions;
    bool options_ = true;                 // of_wire: those of the packet that it is a part of
    Version version_ = Version::v3_1_1;
    union {
        const Subscription* list_ = nullptr;
        const std::string_view* filters_;
        const uint8_t* wire_;
    };
    size_t wire_size_ = 0;
    size_t count_ = 0;
};

// Sections 3.8 and 3.10: SUBSCRIBE, UNSUBSCRIBE (whose entries have no options).
struct Subscribe {
    static constexpr uint16_t types = bit(PacketType::subscribe) | bit(PacketType::unsubscribe);

    Subscribe() {}   // as Event()

    PacketType type = PacketType::subscribe;
    uint16_t packet_id = 0;
    Properties properties{};
    Subscriptions filters;

    uint8_t first_byte() const { return first_byte_of(type); }
    template <class Io, class Self> MQTT_PART static void fields(Io& io, Self& p) {
        io.packet_id(p.packet_id);
        io.properties(p.properties, p.type);
        const bool options = p.type == PacketType::subscribe;
        if constexpr (Io::reading) {
            Io entries = io;
            Bytes wire;
            io.rest(wire);
            size_t count = 0;
            for (Subscription s; entries.left() != 0; ++count) Subscription::fields(entries, s, options);
            io.check(entries.error() == Error::ok, entries.error());
            io.rule(count != 0);                                   // [MQTT-3.8.3-3], [MQTT-3.10.3-2]
            if (io.error() != Error::ok) return;
            p.filters = Subscriptions(wire, count, options, io.v5() ? Version::v5 : Version::v3_1_1);
        } else {
            io.check(p.filters.size() != 0);
            if constexpr (Io::quick) {
                if (p.filters.form_ != Subscriptions::of_subscriptions || !options) return io.check(false);
                const Subscription *s = p.filters.list_, *const end = s + p.filters.count_;
                for (; s != end; ++s) Subscription::fields(io, *s, true);
            } else {
                Subscriptions rest = p.filters;
                if (rest.form_ == Subscriptions::of_wire) {   // one that has been decoded
                    io.check(rest.options_ == options && (!has_v5 || (rest.version_ == Version::v5) == io.v5()));
                    return io.rest(rest.wire());
                }
                for (Subscription s; rest.next_of_array(s);) Subscription::fields(io, s, options);
            }
        }
    }
};

// Sections 3.12 and 3.13: PINGREQ, PINGRESP, which are only a fixed header.
struct Empty {
    static constexpr uint16_t types = bit(PacketType::pingreq) | bit(PacketType::pingresp);

    PacketType type = PacketType::pingreq;

    uint8_t first_byte() const { return first_byte_of(type); }
    template <class Io, class Self> static void fields(Io&, Self&) {}
};

// Section 3.14, and 5: 3.15: DISCONNECT, AUTH.
struct Disconnect {
    static constexpr uint16_t types = bit(PacketType::disconnect) | bit(PacketType::auth);

    PacketType type = PacketType::disconnect;
    ReasonCode reason = ReasonCode::success;
    Properties properties{};

    uint8_t first_byte() const { return first_byte_of(type); }
    template <class Io, class Self> static void fields(Io& io, Self& p) {
        io.check(io.v5() || p.type == PacketType::disconnect);
        reason_tail(io, p);
    }
};

// What writes and reads the fields of a packet: where it shall be quick, a type of its own for each packet; where it shall
// be small, one type for all of them, so that what is around the fields is there once.
template <class Packet> constexpr bool is_several = (Packet::types & (Packet::types - 1)) != 0;
template <class Packet> constexpr auto writing() {
    const auto fields = [](auto& io, const void* packet) {
        const Packet& p = *static_cast<const Packet*>(packet);
        Packet::fields(io, p);
        if constexpr (is_several<Packet>) io.check((Packet::types >> static_cast<unsigned>(p.type) & 1) != 0);
    };
    if constexpr (wide) return fields;
    else return static_cast<void (*)(Writer&, const void*)>(fields);
}
template <class Packet, class Layout = Packet> constexpr auto reading() {
    const auto fields = [](auto& io, void* packet, uint8_t first_byte) MQTT_HOT {
        Packet& p = *static_cast<Packet*>(packet);
        if constexpr (std::is_same_v<Layout, Publish>) Publish::set_first_byte(p, first_byte);
        else if constexpr (is_several<Layout>) p.type = static_cast<PacketType>(first_byte >> 4);
        Layout::fields(io, p);
    };
    if constexpr (wide) return fields;
    else return static_cast<void (*)(Reader&, void*, uint8_t)>(fields);
}

template <class Io, class Fields>
Encoded encode_with(Fields fields, const void* packet, uint8_t first_byte, const Buffer& out, Version version,
                    bool with_rest) {
    Io io(out, version);
    fields(io, packet);
    return io.finish(first_byte, with_rest);
}
template <class Fields>
MQTT_APART Encoded encode_slowly(Fields fields, const void* packet, uint8_t first_byte, const Buffer& out, Version version,
                                 bool with_rest) {
    return encode_with<Writer>(fields, packet, first_byte, out, version, with_rest);
}
template <class Fields>
MQTT_FLAT Encoded encode_by(Fields fields, const void* packet, uint8_t first_byte, const Buffer& out, Version version,
                            bool with_rest) {
    if constexpr (wide) {
        const Encoded quick = encode_with<BasicWriter<true>>(fields, packet, first_byte, out, version, with_rest);
        if (quick.error == Error::ok) return quick;
    }
    return encode_slowly(fields, packet, first_byte, out, version, with_rest);
}

// Writes a packet to `out`, in which nothing may lie that the packet points to. With no_space, `size` says what is
// needed, and what `out` holds is undefined; other errors are the caller's, and nothing is sent that has one. with_rest =
// false leaves out a PUBLISH's payload (or a SUBACK's codes), which then has to follow from elsewhere: `size` is that of
// what was written.
template <class Packet>
MQTT_FLAT inline Encoded encode(const Packet& packet, Buffer out, Version version = Version::v3_1_1,
                                bool with_rest = true) {
    if constexpr (wide) {   // as encode_by(), with less to be kept meanwhile
        BasicWriter<true> io(out, version);
        writing<Packet>()(io, &packet);
        const Encoded quick = io.finish(packet.first_byte(), with_rest);
        if (quick.error == Error::ok) return quick;
    }
    const Buffer again = out;   // of which the address may be taken
    return encode_slowly(writing<Packet>(), &packet, packet.first_byte(), again, version, with_rest);
}

template <class Io, class Fields>
MQTT_HOT inline Error decode_with(Fields fields, uint8_t first_byte, const Bytes& body, void* packet, Version version) {
    Io io(body, version);
    fields(io, packet, first_byte);
    io.check(io.left() == 0);
    return io.error();
}
template <class Fields>
MQTT_APART Error decode_slowly(Fields fields, uint8_t first_byte, const Bytes& body, void* packet, Version version) {
    return decode_with<Reader>(fields, first_byte, body, packet, version);
}

// Reads the body of a packet whose fixed header has been read. `packet` must be new; it gets views into `body`.
// Errors: malformed_packet (also a type that this struct is not for); in MQTT 5 protocol_error and topic_alias_invalid.
template <class Packet>
MQTT_HOT inline Error decode_body(uint8_t first_byte, const Bytes& body, Packet& packet,
                                  Version version = Version::v3_1_1) {
    if ((Packet::types >> (first_byte >> 4) & 1) == 0 || !is_built_in(version)) return Error::malformed_packet;
    const auto fields = reading<Packet>();
    if constexpr (wide)
        if (decode_with<BasicReader<true>>(fields, first_byte, body, &packet, version) == Error::ok) return Error::ok;
    return decode_slowly(fields, first_byte, body, &packet, version);
}

// Reads one packet, which is all of `in`; malformed also if it is longer or shorter than its header says.
template <class Packet> Error decode(Bytes in, Packet& packet, Version version = Version::v3_1_1) {
    packet = Packet{};
    FixedHeader header;
    const Error error = read_fixed_header(in.data(), in.size(), header, version);
    if (error != Error::ok) return error;
    if (header.size == 0 || in.size() - header.size != header.remaining_length) return Error::malformed_packet;
    return decode_body(header.first_byte, Bytes(in.data() + header.size, in.size() - header.size), packet, version);
}

// -------------------------------------------------------------------------------------------------- 10 outbox

// What answers a kept record, and what is told then. The whole of QoS 1 and 2 on the sending side, and of subscribing,
// is this table: a record's state is its packet type, and whether it has been written. All other packets are erased
// once they are written.
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
inline const Transition& transition_by(PacketType answer) {   // which is in the table
    const Transition* t = transitions;
    while (t->answer != answer) ++t;
    return *t;
}
// Is it in the table? These two flags are 0 in all that is not (section 2.2.2).
constexpr bool awaits_answer(uint8_t first_byte) { return (first_byte & 0x06) != 0; }

// What an outbox remembers for storage, where there is one.
struct OutboxLog {
    static constexpr uint16_t finished_size = 8;
    uint16_t finished[finished_size] = {};   // ids of messages that storage has, and may forget ...
    uint16_t finished_count = 0;             // ... more than that: too many to be told
    bool unanswered = false;                 // a PUBREC has gone that storage has not taken: the message has been taken over
    uint16_t admitted = 0;                   // of the last message that was let out while others waited
};

// Packets that go out, in the order in which they go out, in one piece of the caller's memory:
//
//   data_                                                                                    data_ + capacity_
//     | packets, live and dead ...  | written | half-written | not yet |    free    | ... index of kept records |
//       begin_                         mark: main        sent        end            entry(hi_ - 1)    entry(lo_)
//
// Unsent bytes are contiguous, so one write flushes them; packets carry their own length, so they need no list. Dead
// packets are removed all at once when room is needed.
//
// Where it shall be quick, the index has the place of each kept record, ordered by the age of its packet id: ids are
// given in sequence, so the place is guessed from the id, and found by bisection if records in between have gone. Neither
// sending nor an answer in order depends on how many are in flight. Where it shall be small, there is no index, and
// `begin_` is 0: a record is looked for from the first packet on.
//
// After a reconnect there can be more QoS 1 and 2 messages than may be in flight. Then what goes out ends at `gate`,
// where those begin that wait, and what comes behind them and is not a message changes places with them. A message whose
// payload comes from elsewhere has the gate behind its header.
//
// `storing`: nothing goes out before `durable`, and what is before `taken` has been handed to storage; see Log.
template <bool storing> class BasicOutbox : private If<storing, OutboxLog> {
public:
    using Offset = std::conditional_t<(sizeof(size_t) < 4), uint16_t, uint32_t>;
    static constexpr Offset nowhere = static_cast<Offset>(-1);
    static constexpr size_t entry_size = wide ? sizeof(uint32_t) : 0;

    // What each kind of packet must leave free, so that the ones below it always find room: a server that is waiting
    // for our acknowledgement or ping is never kept waiting by messages.
    enum Reserve : uint8_t { for_disconnect = 0, for_ping = 2, for_answer = 4, for_message = 16 };
    size_t answer_size() const { return v5_ ? 5 : 4; }   // with a reason code

    BasicOutbox(uint8_t* data, size_t size) : data_(data), capacity_(static_cast<Offset>(size)) {}

    // ---- appending

    // Encodes a packet at the end. A kept one has taken its id with new_packet_id() before. Nothing is changed by
    // errors.
    template <class Packet>
    MQTT_HOT Encoded append(const Packet& packet, Reserve reserve, bool with_rest = true) {
        return append_by(writing<Packet>(), &packet, packet.first_byte(), reserve, with_rest);
    }
    // A packet that is a fixed header and, unless that is 0, a packet id; in MQTT 5, a reason code if it is not success.
    // False: there is no room.
    bool append(uint8_t first_byte, uint16_t id, Reserve reserve, ReasonCode reason = ReasonCode::success) {
        if (!v5_) reason = ReasonCode::success;
        Offset size = 2;
        if (id != 0) size += 2;
        if (reason != ReasonCode::success) ++size;
        if (!make_room(size, reserve)) return false;
        uint8_t* const p = data_ + at_[end];
        p[0] = first_byte;
        p[1] = static_cast<uint8_t>(size - 2);
        if (id != 0) store_u16(p + 2, id);
        if (reason != ReasonCode::success) p[size - 1] = static_cast<uint8_t>(reason);
        added(size, 0);   // also a PUBREL, which takes the place of its message
        return true;
    }

    // Room for an answer to whatever comes next? If not even after tidying up, nothing more is read.
    bool can_answer() { return make_room(answer_size(), for_answer); }

    // The next id that is free, in sequence [MQTT-2.3.1-2]; 0: all 65,535 are in use, or no room.
    MQTT_HOT uint16_t new_packet_id() {
        for (uint16_t tries = 65535; in_use(next_id_); --tries) {
            if (tries == 0 || !pass_over()) return 0;
            step_id();
        }
        return next_id_;
    }

    // ---- sending

    // Lets go out what may: messages as long as fewer than `maximum` are in flight, and what is none. Before unsent().
    MQTT_HOT void admit(uint16_t maximum) {
        if (mode_ == closed || !between_packets()) return;
        if (mode_ == open) at_[gate] = nowhere;   // a stream has ended
        if (at_[sent] < at_[gate]) return;
        Offset to = at_[gate];
        for (Offset place = to, next; place < at_[end] && stream_left_ == 0; place = next) {
            next = place + size_at(place);
            if (is_message(data_[place])) {
                if (in_flight_ >= maximum) {
                    if (wide) next = at_[looked] = at_[looked] > next ? at_[looked] : next;
                    continue;
                }
                ++in_flight_;
                if constexpr (storing) log().admitted = id_at(place);
                if (place == at_[stream]) {
                    stream_left_ = wire_size(place) - stream_size_;
                    stream_resend_ = true;
                }
            } else if (place != to) {
                if (!may_go_ahead(next)) break;
                while (next < at_[end] && !is_message(data_[next]) && may_go_ahead(next + size_at(next)))
                    next += size_at(next);   // all of them at once
                move_ahead(to, place, next - place);
            }
            to += next - place;
        }
        at_[gate] = to;
        if (to != at_[end]) return;
        mode_ = open;   // nobody has to wait any more
        if (wide) at_[looked] = nowhere;
    }

    // The bytes to write now. Valid until anything else is called.
    Bytes unsent() const {
        Offset limit = at_[gate] < at_[end] ? at_[gate] : at_[end];
        if constexpr (storing)
            if (at_[durable] < limit) limit = at_[durable] > at_[sent] ? at_[durable] : at_[sent];
        return Bytes(data_ + at_[sent], static_cast<size_t>(limit - at_[sent]));
    }

    // The first `size` bytes of unsent() are written. Was a DISCONNECT among them?
    MQTT_HOT bool written(size_t size) {
        at_[sent] = static_cast<Offset>(at_[sent] + size);
        Offset& next = at_[main];
        uint8_t gone = 0;   // the first byte of what is not kept
        Offset live_end = next;
        bool holes = holes_;   // before live_end
        while (next < at_[sent]) {
            const Offset place = next, length = size_at(place);
            if (at_[sent] - place < length) break;
            next += length;
            if (awaits_answer(data_[place])) {
                live_end = next;
                holes = holes_;
                continue;
            }
            gone = data_[place];
            if (gone == first_byte_of(PacketType::pingreq)) ping_waits_ = false;
#if !MQTT_SMALL
            if (place == begin_ && place != at_[stream]) {
                begin_ = next;   // nothing before it, nothing to remember
                continue;
            }
#endif
            forget(place);
        }
        // What was forgotten at the very end is free at once; where it shall be small, when room is needed.
        if (wide && next == at_[end] && live_end < next && begin_ < next) {
            if (at_[stream] >= live_end) at_[stream] = nowhere;
            for (Offset& mark : at_)
                if (mark != nowhere && mark > live_end) mark = live_end;
            holes_ = holes;
        }
        if (gone != 0) trim();
        return gone == first_byte_of(PacketType::disconnect);
    }

    // One at a time: the next one is not due before this one has been written.
    bool append_ping() {
        return ping_waits_ = append(first_byte_of(PacketType::pingreq), 0, for_ping);
    }
    bool ping_waits() const { return ping_waits_; }

    // ---- answers

    // The place of the record with this id that has been fully written and not been answered, or nowhere.
    MQTT_HOT Offset find(uint16_t id) const {
        const Offset place = place_of(id);
        return place < at_[main] && (place != at_[stream] || stream_left_ == 0) ? place : nowhere;
    }
    uint8_t first_byte(Offset place) const { return data_[place]; }
    // Takes the next filter of a SUBSCRIBE or UNSUBSCRIBE; `at` is 0 before the first one. False: there is no more.
    bool next_filter(Offset place, Offset& at, std::string_view& filter) const {
        if (at == 0) at = behind_properties(id_place(place) + 2);
        if (at >= place + size_at(place)) return false;
        filter = Bytes(data_ + at + 2, load_u16(data_ + at)).text();
        at += static_cast<Offset>((type_at(place) == PacketType::subscribe ? 3 : 2) + filter.size());
        return true;
    }
    MQTT_APART size_t filters(Offset place) const {
        size_t count = 0;
        std::string_view filter;
        for (Offset at = 0; next_filter(place, at, filter);) ++count;
        return count;
    }
    // Bytes on the wire, also of a payload that comes from elsewhere.
    Offset wire_size(Offset place) const {
        if (wide && data_[place + 1] < 128) return 2U + data_[place + 1];
        const Offset body = body_of(place);
        Offset remaining = 0;
        for (Offset p = body - 1; p != place; --p) remaining = remaining << 7 | (data_[p] & 127);
        return body - place + remaining;
    }
    bool has_property(Offset place, uint8_t id) const { return find_property(place, id) != nowhere; }
    uint16_t id_of(Offset place) const { return awaits_answer(data_[place]) ? id_at(place) : uint16_t{0}; }
    bool was_sent(Offset place) const { return (data_[place] & sent_before) != 0; }   // on an earlier connection

    MQTT_HOT void erase(Offset place) {
        if (counts(data_[place])) --in_flight_;
        drop(place);
    }

    // PUBREC came: a PUBREL at the end takes the message's place, of which the room is free. Needs can_answer().
    MQTT_APART void release(Offset message) {
        const uint16_t id = id_at(message);
        set_entry(locate(id), at_[end]);
        (void)append(first_byte_of(PacketType::pubrel), id, for_answer);
        forget(message);
        trim();
    }

    // ---- connections

    // The connection is gone. What only it needed goes: answers, pings, a QoS 0 message that was cut in half. What
    // else was sent is marked, with the bit that DUP has in a PUBLISH. Nothing goes out until resume().
    void rewind() {
        Offset length;
        for (Offset place = begin_; place < at_[end]; place += length) {
            length = size_at(place);
            const PacketType type = type_at(place);
            if (awaits_answer(data_[place])) {   // or is dead
                if (begun(place) || type == PacketType::pubrel) data_[place] |= sent_before;
            } else if (begun(place) || type != PacketType::publish || place == at_[stream] || has_alias(place)) {
                if constexpr (storing)
                    if (type == PacketType::pubrec && place >= at_[taken]) log().unanswered = true;
                forget(place);   // a topic alias ends with its connection [5: MQTT-3.3.2-7]
            }
        }
        stream_left_ = 0;
        ping_waits_ = stream_resend_ = false;
        in_flight_ = 0;
        if constexpr (storing) log().admitted = 0;
        close();
    }

    // After rewind() and before resumed(): what is live, in order, each until drop() or resume(); nowhere: no more.
    Offset next_to_resume() {
        Offset place = at_[gate];
        while (place < at_[end] && is_dead(data_[place])) place += size_at(place);
        at_[gate] = place;
        return place < at_[end] ? place : nowhere;
    }
    MQTT_HOT void drop(Offset place) {
        finish(place);
        trim();
    }
    // It goes out as if for the first time, but for DUP in a PUBLISH.
    void resume(Offset place) {
        if (type_at(place) == PacketType::pubrel) ++in_flight_;
        if (type_at(place) != PacketType::publish) data_[place] &= static_cast<uint8_t>(~sent_before);
        at_[gate] = place + size_at(place);
    }
    // admit() may let messages out.
    void resumed() {
        close();
        mode_ = waiting;
    }

    // ---- MQTT 5

#if MQTT_ENABLE_V5
    // Rewrites what waits for the other version; only after rewind(). What 3.1.1 does not have is left out. False:
    // becoming MQTT 5, each packet grows by the length of its properties, which is 0, and there is no room for that.
    bool set_version(bool v5) {
        if (v5 == v5_) return true;
        compact();
        Offset growth = 0;
        for (Offset place = 0; v5 && place < at_[end]; place += size_at(place)) {
            const Offset header = body_of(place) - place, remaining = wire_size(place) - header;
            if (remaining >= max_remaining_length) return false;
            if (has_properties(place)) growth += static_cast<Offset>(2 + variable_size(remaining + 1U) - header);
        }
        if (growth > room(for_message)) return false;
        copy(data_ + growth, data_, at_[end]);   // from there, each is written to where it belongs
        move_entries(growth);
        for (Offset& mark : at_)
            if (mark != nowhere) mark += growth;
        pack(growth, at_[end], v5);
        v5_ = v5;
        close();
        return true;
    }

    // The packet that was appended last, and is taken back if it is a request.
    Offset last() const { return last_; }
    void take_back() {
        at_[end] = last_;
        next_id_ = id_at(last_);
        drop_last_entry();
    }

    // Message Expiry Interval (5: section 3.3.2.3.3): each message here holds what was left of its own at aged_at_, a
    // message that has just been appended gets what has passed since on top. Full seconds count, so it has up to one
    // more.
    void last_expires(uint32_t now) {
        const Offset value = find_property(last_, prop::message_expiry_interval.id);
        if (value == nowhere) return;
        if (expiry_ == never) aged_at_ = now;
        const uint32_t passed = seconds_since(aged_at_, now);
        uint32_t seconds = load_u32(data_ + value);
        seconds = seconds < never - passed ? seconds + passed : never;
        store_u32(data_ + value, seconds);
        if (seconds < expiry_) expiry_ = seconds;
    }
    bool may_expire(uint32_t now) const { return expiry_ != never && now - aged_at_ >= 1000; }
    // A message that has expired before it was sent. nowhere: there is none, and all of them hold what is left now.
    Offset expired(uint32_t now) { return may_expire(now) ? first_expired(now) : nowhere; }
    MQTT_APART Offset first_expired(uint32_t now) {
        const uint32_t passed = seconds_since(aged_at_, now);
        uint32_t least = never;
        for (unsigned pass = 0; pass < 2; ++pass)   // the second one takes off what has passed
            for (Offset place = begin_, size; place < at_[end]; place += size) {
                size = size_at(place);
                if (is_dead(data_[place])) continue;
                const Offset value = find_property(place, prop::message_expiry_interval.id);
                if (value == nowhere) continue;
                const bool waits = is_waiting(place);
                uint32_t left = load_u32(data_ + value);
                if (pass == 0 && waits && left < passed) return place;
                if (pass == 0) continue;
                left = left > passed ? left - passed : 0;
                const bool half_written = place == at_[main] && place < at_[sent];
                if (!half_written) store_u32(data_ + value, left);
                if (!waits || left == never) left = never - 1;
                if (left < least) least = left;
            }
        expiry_ = least;
        aged_at_ += passed * 1000;
        if (purge_) compact();   // else what has expired would be sent
        purge_ = false;
        return nowhere;
    }
    void expire(Offset place) {
        drop(place);
        purge_ = true;
    }
    // When expired() has to be asked: `ms` after `since`.
    uint32_t expiry_ms(uint32_t& since) const {
        constexpr uint32_t longest = uint32_t{1} << 21;
        since = aged_at_;
        return expiry_ >= never - 1 ? forever : (expiry_ < longest ? expiry_ + 1 : longest) * 1000;
    }
    static uint32_t seconds_since(uint32_t since, uint32_t now) {
        uint32_t seconds = 0;
        for (uint32_t ms = now - since, some; ms >= 1000; ms -= some * 1000)   // a division, by 1024 and again
            seconds += some = (ms - 1000) / 1024 + 1;
        return seconds;
    }
#endif

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
    // Has its payload to be sent again, and has that not been told?
    bool stream_resends() const { return stream_resend_; }
    uint16_t stream_id() const { return id_at(at_[stream]); }
    void told_to_resend() { stream_resend_ = false; }

    // ---- what waits, and is not wanted any more

    // Removes the oldest messages that have not been sent: up to this QoS, on this topic (empty: any), at most `count`
    // of them. How many it were; with `count` 0, how many there are.
    size_t drop_waiting(QoS most, std::string_view topic, size_t count) {
        return drop_waiting(most, topic, count, at_[end]);
    }
    // Those that were there already at the last call.
    size_t drop_aged() {
        const size_t dropped = drop_waiting(QoS::exactly_once, {}, static_cast<size_t>(-1), at_[aged]);
        at_[aged] = at_[end];
        return dropped;
    }
    // Bytes in use, of capacity().
    size_t used() {
        if (!wide) compact();
        return at_[end] - begin_ + count() * entry_size;
    }

    // ---- storage

    // The next packet that storage has to have before anything behind it, or it, may go out; empty: none. QoS 1 and 2
    // messages, and what says how far a QoS 2 exchange has come: PUBREL, and for received ones PUBREC and PUBCOMP. A
    // message whose payload comes from elsewhere cannot be sent again; but the server may have its id, so with QoS 2 its
    // header is a record, of which a PUBREL is made.
    Bytes untaken() {
        for (Offset size; at_[taken] < at_[end]; at_[taken] += size) {
            const Offset place = at_[taken];
            size = size_at(place);
            const uint8_t first = data_[place];
            const bool refusal = first >> 4 == 5 && size > 4 && !granted(data_[place + 4]);
            const bool exchange = first >> 4 == 6 || first >> 4 == 5 || first >> 4 == 7;
            if (is_dead(first) || refusal || !(exchange || is_message(first))) continue;
            if (place == at_[stream] && (first & 0x06) == 0x02) continue;
            return Bytes(data_ + place, size);
        }
        return {};
    }
    void take() { at_[taken] += size_at(at_[taken]); }
    void all_durable() {
        if (at_[durable] != nowhere) at_[durable] = at_[taken];
    }
    // For a new log, to which what is durable in the old one is handed again; or, ignoring storage, nothing ever is.
    void hand_again(bool ignore, bool nothing_durable) {
        at_[taken] = begin_;
        if (ignore) at_[durable] = nowhere;
        else if (nothing_durable || at_[durable] == nowhere) at_[durable] = begin_;
        log().finished_count = 0;
    }
    bool told_unanswered() {
        const bool was = log().unanswered;
        log().unanswered = false;
        return was;
    }
    bool untaken_is_message() { return is_message(untaken().empty() ? uint8_t{0} : data_[at_[taken]]); }
    // Removes it: storage can never take it. Its id.
    uint16_t drop_untaken() {
        const uint16_t id = id_at(at_[taken]);
        discard(at_[taken]);
        return id;
    }
    bool is_open() const { return mode_ == open; }
    bool is_closed() const { return mode_ == closed; }   // between rewind() and resumed(): nothing goes out
    bool is_taken(uint16_t id) const {
        const Offset place = place_of(id);
        return place == nowhere || place < at_[taken];
    }
    uint16_t admitted_last() const { return mode_ == waiting ? log().admitted : uint16_t{0}; }
    Bytes finished_ids(uint8_t* out) {   // 2 bytes each
        const size_t count = log().finished_count;
        for (size_t i = 0; i != count; ++i) store_u16(out + 2 * i, log().finished[i]);
        log().finished_count = 0;
        return Bytes(out, 2 * count);
    }
    uint16_t finished() const { return log().finished_count; }
    static constexpr uint16_t finished_most = OutboxLog::finished_size;

    // After a reset: records are put behind the end, into all that is free, and taken over one by one.
    Buffer restoring() { return Buffer(data_ + at_[end], room(entry_size)); }
    bool more_room() { return compact(); }
    // A message, or a PUBREL. `may_be_sent`: it may have been sent. `newest`: ids go on from here. False: it is not valid.
    bool restore(size_t size, bool may_be_sent, bool newest) {
        const Offset place = at_[end];
        uint8_t* const packet = data_ + place;
        uint16_t id = size == 4 ? load_u16(packet + 2) : uint16_t{0};
        if (packet[0] >> 4 == 3) {
            Publish message;
            FixedHeader header;
            if (read_fixed_header(packet, size, header, version()) != Error::ok || header.size == 0 ||
                header.packet_size() < size || !is_message(packet[0]) ||
                decode_body(packet[0], Bytes(packet + header.size, size - header.size), message, version()) !=
                    Error::ok)
                return false;
            id = message.packet_id;
            // Also one that was accepted while the log was begun, after its identity.
            if (newest || static_cast<uint16_t>(id - next_id_) < 0x8000) {
                next_id_ = id;
                step_id();
            }
            if (may_be_sent) packet[0] |= sent_before;
            if (header.packet_size() > size) {   // only the header
                if (message.qos != QoS::exactly_once) return false;
                store_u16(packet + 2, id);
                size = 4;
                packet[0] = first_byte_of(PacketType::pubrel);
            }
        }
        if (id == 0) return false;
        if (packet[0] >> 4 == 6) {
            packet[0] = first_byte_of(PacketType::pubrel);
            packet[1] = 2;
        } else if (packet[0] >> 4 != 3) {
            return false;
        }
        kill_record(id);   // PUBREL comes instead of its message
        at_[end] += static_cast<Offset>(size);
        insert_entry(id, place);
        ++kept_;
        trim();
        return true;
    }
    void restore_next_id(uint16_t id) { next_id_ = id != 0 ? id : uint16_t{1}; }
    uint16_t next_id() const { return next_id_; }
    void restore_finished(uint16_t id) {
        kill_record(id);
        trim();
    }
    // All messages up to this id, by age, may have been sent.
    void restore_sent(uint16_t id) {
        for (Offset place = begin_; place < at_[end]; place += size_at(place))
            if (is_message(data_[place]) && age_of(id_at(place)) >= age_of(id)) data_[place] |= sent_before;
    }
    void restore_all_sent() { restore_sent(next_id_); }
    void forget_all() {
        clear();
        kept_ = 0;
        next_id_ = 1;
    }
    // The version of the packets that follow. False: it is not built in.
    bool restore_version(bool v5) {
#if MQTT_ENABLE_V5
        v5_ = v5;
        return true;
#else
        return !v5;
#endif
    }
    bool is_v5() const { return v5_; }
    void restored(uint32_t now) {
        rewind();
        at_[taken] = at_[durable] = at_[end];
#if MQTT_ENABLE_V5
        if (begin_ != at_[end]) expiry_ = 0;   // expired() looks what there is
        aged_at_ = now;
#else
        (void)now;
#endif
    }

    // ---- sizes

    Offset count() const { return hi_ - lo_; }                        // of index entries
    uint16_t kept() const { return kept_; }                           // QoS 1 and 2 messages not finished
    Offset capacity() const { return capacity_; }
    void set_aside(uint32_t size) { capacity_ = static_cast<Offset>(capacity_ - size); }
    bool between_packets() const { return at_[main] == at_[sent] && stream_left_ == 0; }

private:
    static constexpr uint8_t sent_before = 0x08;   // DUP in PUBLISH; cleared before it is sent in other types
    static constexpr uint8_t dead = 0x06;          // flags that no packet has

    // Every place that is remembered, so that what moves bytes moves them, too.
    enum Mark : uint8_t {
        main,     // first packet not fully written
        sent,     // bytes before it are written
        gate,     // what goes out now ends here; nowhere: it goes on to `end`
        looked = wide ? gate + 1 : gate,   // only messages that wait are before it, from the gate on
        stream,   // the record whose payload comes from elsewhere
        end,
        taken,    // storing: what is before it needs no record, or storage has taken it
        durable,  // storing: nothing goes out behind it; nowhere: storage is ignored
        aged,     // storing: what is before it was there at the last but one drop_aged()
        marks = storing ? aged + 1 : taken
    };

    size_t drop_waiting(QoS most, std::string_view topic, size_t count, Offset until) {
        size_t found = 0, dropped = 0;
        for (Offset place = begin_, size; place < until; place += size) {
            size = size_at(place);
            const uint8_t first = data_[place];
            if (type_at(place) != PacketType::publish || is_dead(first)) continue;
            if (static_cast<QoS>(first >> 1 & 3) > most) continue;
            const Offset at = body_of(place);
            if (!topic.empty() && topic != Bytes(data_ + at + 2, load_u16(data_ + at)).text()) continue;
            if (!is_waiting(place)) continue;
            ++found;
            if (dropped == count) continue;
            finish(place);
            ++dropped;
        }
        if (dropped != 0) compact();   // else it would be sent
        return count == 0 ? found : dropped;
    }

    OutboxLog& log() { return this->log_; }
    const OutboxLog& log() const { return this->log_; }

    static bool is_dead(uint8_t first) { return (first & dead) == dead; }
    // Does it count against the messages in flight?
    static bool counts(uint8_t first) { return awaits_answer(first) && first < 0x70; }
    // A PUBLISH of QoS 1 or 2.
    static bool is_message(uint8_t first) { return awaits_answer(first) && first < 0x40; }

    // ---- packets in memory

    PacketType type_at(Offset place) const { return static_cast<PacketType>(data_[place] >> 4); }

    // Behind the fixed header.
    MQTT_HOT Offset body_of(Offset place) const {
        if (wide && data_[place + 1] < 128) return place + 2;
        do ++place;
        while (data_[place] > 127);
        return place + 1;
    }
    // Behind the fixed header, and in a PUBLISH behind the topic.
    MQTT_HOT Offset id_place(Offset place) const {
        Offset p = body_of(place);
        if (type_at(place) == PacketType::publish) p += static_cast<Offset>(2 + load_u16(data_ + p));
        return p;
    }
    MQTT_HOT uint16_t id_at(Offset place) const { return load_u16(data_ + id_place(place)); }
    Offset size_at(Offset place) const { return place == at_[stream] ? stream_size_ : wire_size(place); }
    // Has a byte of it been written on this connection?
    bool begun(Offset place) const { return place < at_[sent]; }
    // Not sent yet, also on an earlier connection [5: MQTT-4.3.3-7], nor about to be.
    bool is_waiting(Offset place) const {
        const bool in_turn = mode_ == waiting && place < at_[gate];
        return !in_turn && !begun(place) && !was_sent(place) && place != at_[stream] && !has_alias(place);
    }
    Version version() const { return v5_ ? Version::v5 : Version::v3_1_1; }
    bool has_properties(Offset place) const {
        constexpr unsigned types = bit(PacketType::publish) | bit(PacketType::subscribe) | bit(PacketType::unsubscribe);
        return (types & bit(type_at(place))) != 0;
    }
    Offset properties_at(Offset place) const {
        const bool has_id = type_at(place) != PacketType::publish || counts(data_[place]);
        return id_place(place) + (has_id ? 2 : 0);
    }
    // The value of a property, of which it must be the last four bytes.
    Offset find_property(Offset place, uint8_t id) const {
        if (!v5_ || !has_properties(place)) return nowhere;
        const uint8_t* const at = data_ + properties_at(place);
        uint32_t size;
        const size_t length = load_variable(at, 4, size);
        Properties list(at + length, static_cast<size_t>(size));
        Property property;
        return list.next(id, property) ? static_cast<Offset>(list.block().data() - data_ - 4) : nowhere;
    }
    bool has_alias(Offset place) const { return has_property(place, prop::topic_alias.id); }
    Offset behind_properties(Offset at) const {
        if (!v5_) return at;
        uint32_t size;
        const size_t length = load_variable(data_ + at, 4, size);
        return static_cast<Offset>(at + length + size);
    }

    // ---- the index

    uint16_t age_of(uint16_t id) const { return static_cast<uint16_t>(next_id_ - id); }

#if MQTT_SMALL
    // Of the live record with this id; or nowhere.
    Offset place_of(uint16_t id) const {
        for (Offset place = 0; place < at_[end]; place += size_at(place))
            if (!is_dead(data_[place]) && id_of(place) == id) return place;
        return nowhere;
    }
    bool in_use(uint16_t id) const { return place_of(id) != nowhere; }
    // There is none to be kept in order.
    static bool pass_over() { return true; }
    static Offset locate(uint16_t) { return nowhere; }
    static void set_entry(Offset, Offset) {}
    static void move_entries(Offset) {}
    static void swap_entries(Offset, Offset, Offset) {}
    static void append_entry(Offset) {}
    static void drop_last_entry() {}
    static void insert_entry(uint16_t, Offset) {}
    static void trim() {}
    static bool slide() { return false; }
    void clear() {
        for (Offset& mark : at_)
            if (mark != nowhere) mark = 0;
        holes_ = false;
    }
#else
    uint8_t* entry_address(Offset k) const { return data_ + capacity_ - (k + 1) * entry_size; }
    Offset entry(Offset k) const { return load_u32(entry_address(k)); }
    void set_entry(Offset k, Offset place) { store_u32(entry_address(k), place); }
    void move_entries(Offset by) {
        for (Offset k = lo_; k < hi_; ++k) set_entry(k, entry(k) + by);
    }
    void swap_entries(Offset to, Offset from, Offset size) {
        for (Offset k = lo_; k < hi_; ++k) {
            const Offset place = entry(k);
            if (place >= to && place < from + size) set_entry(k, place < from ? place + size : place - (from - to));
        }
    }
    void append_entry(Offset place) { set_entry(hi_++, place); }
    void drop_last_entry() { --hi_; }
    // Where its age puts it, instead of the one of this id.
    void insert_entry(uint16_t id, Offset place) {
        Offset k = locate(id);
        if (k != nowhere)
            for (--hi_; k < hi_; ++k) set_entry(k, entry(k + 1));
        for (k = hi_++; k > lo_ && age_of(id_at(entry(k - 1))) < age_of(id); --k) set_entry(k, entry(k - 1));
        set_entry(k, place);
    }
    // The entry of a packet id, or nowhere. How far ids are behind the oldest one orders the index also where they wrap
    // around; an entry that is out of date still has the bytes of its packet. The first look is as far behind.
    Offset locate(uint16_t id) const {
        Offset place;
        return locate(id, place);
    }
    MQTT_HOT Offset locate(uint16_t id, Offset& place) const {   // and its place
        if (lo_ == hi_) return nowhere;
        place = entry(lo_);
        const uint16_t first = id_at(place), behind = static_cast<uint16_t>(id - first);
        Offset low = lo_, high = hi_, probe = lo_;
        if (behind == 0) return probe;
        if (behind < hi_ - lo_) probe += behind;
        for (; low < high; probe = low + (high - low) / 2) {
            place = entry(probe);
            const uint16_t other = static_cast<uint16_t>(id_at(place) - first);
            if (other == behind) return probe;
            if (other < behind)
                low = probe + 1;
            else
                high = probe;
        }
        return nowhere;
    }
    // Of the live record with this id; or nowhere.
    MQTT_HOT Offset place_of(uint16_t id) const {
        Offset place;
        return locate(id, place) == nowhere || is_dead(data_[place]) ? nowhere : place;
    }
    // The oldest record comes first, so an id is in use only if that one has it; then it goes to the end, as if it were
    // new.
    MQTT_HOT bool in_use(uint16_t id) const { return lo_ != hi_ && id_at(entry(lo_)) == id; }
    bool pass_over() {
        if (!make_room(1, entry_size)) return false;
        append_entry(entry(lo_++));
        drop_dead_entries();
        return true;
    }
    // Behind trim(), the first entry of the index is a live one.
    MQTT_HOT void drop_dead_entries() {
        while (lo_ != hi_ && is_dead(data_[entry(lo_)])) ++lo_;
    }
    // Dead packets and entries in front cost nothing to remove.
    MQTT_HOT void trim() {
        while (begin_ < at_[end] && is_dead(data_[begin_])) {
            const Offset size = size_at(begin_);
            if (begin_ == at_[stream]) at_[stream] = nowhere;
            begin_ += size;
        }
        if (begin_ == at_[end]) return clear();
        drop_dead_entries();
        if (storing || at_[main] < begin_ || at_[looked] < begin_) {
            for (Offset& mark : at_)
                if (mark != nowhere && mark < begin_) mark = begin_;
        }
    }
    MQTT_HOT void clear() {
        at_[main] = at_[sent] = at_[end] = 0;
        for (unsigned m = taken; m < marks; ++m)
            if (at_[m] != nowhere) at_[m] = 0;
        if (at_[gate] != nowhere) at_[gate] = 0;
        if (at_[looked] != nowhere) at_[looked] = 0;
        begin_ = lo_ = hi_ = 0;
        holes_ = false;
    }
    // Only live entries are left, from 0 on. If no packet in between is dead, all of them move at once. True: they have.
    bool slide() {
        const Offset by = holes_ ? 0 : begin_;
        Offset live = 0;
        for (Offset k = lo_; k < hi_; ++k) {
            const Offset place = entry(k);
            if (place >= begin_ && !is_dead(data_[place])) set_entry(live++, place - by);
        }
        lo_ = 0;
        hi_ = live;
        if (!holes_) {
            copy(data_, data_ + by, at_[end] - by);
            for (Offset& mark : at_)
                if (mark != nowhere) mark -= by;
            begin_ = 0;
        }
        return !holes_;
    }
#endif

    // ---- memory

    size_t room(size_t aside) const {
        const size_t left = capacity_ - at_[end] - hi_ * entry_size;
        return left > aside ? left - aside : 0;
    }
    MQTT_HOT bool make_room(size_t size, size_t aside) {
        while (room(aside) < size)
            if (!compact()) return false;
        return true;
    }

    template <class Fields>
    MQTT_HOT Encoded append_by(Fields fields, const void* packet, uint8_t first_byte, Reserve reserve, bool with_rest) {
        const size_t aside = reserve + (awaits_answer(first_byte) ? entry_size : 0);
        Encoded out;
        while (true) {
            out = encode_by(fields, packet, first_byte, Buffer(data_ + at_[end], room(aside)), version(), with_rest);
            if (out.error == Error::ok) break;
            if (out.error != Error::no_space) return out;
            if (out.size + aside > capacity_) return {Error::packet_too_large, 0};
            if (!compact()) return out;
        }
        if (has_v5 && (with_rest ? out.size : wire_size(at_[end])) > maximum_packet_size)
            return {Error::packet_too_large, 0};   // [5: MQTT-3.2.2-15]
        added(static_cast<Offset>(out.size), first_byte);
        return out;
    }
    MQTT_HOT void added(Offset size, uint8_t first_byte) {
        const Offset place = at_[end];
#if MQTT_ENABLE_V5
        last_ = place;
#endif
        if (awaits_answer(first_byte)) {
            append_entry(place);
            step_id();
            if (counts(first_byte)) ++kept_;
        }
        at_[end] = place + size;
    }
    // The same for what has not been sent, and is not to be.
    void discard(Offset place) {
        if (mode_ == waiting && is_message(data_[place]) && place < at_[gate]) --in_flight_;
        finish(place);
        compact();
    }
    void step_id() {
        if (++next_id_ == 0) next_id_ = 1;
    }

    // An answer has come for it, or it is given up. The index may begin with a dead entry until trim().
    MQTT_HOT void kill(Offset place) {
        if (counts(data_[place])) --kept_;
        forget(place);
    }
    void kill_record(uint16_t id) {
        const Offset place = place_of(id);
        if (place != nowhere) kill(place);
    }
    // The same for good: storage may forget it, too.
    MQTT_HOT void finish(Offset place) {
        if constexpr (storing)
            if (counts(data_[place]) && (place < at_[taken] || data_[place] >> 4 == 6)) {
                if (log().finished_count < log().finished_size) log().finished[log().finished_count] = id_at(place);
                if (log().finished_count <= log().finished_size) ++log().finished_count;
            }
        kill(place);
    }
    // The same for what has no entry in the index.
    void forget(Offset place) {
        data_[place] |= dead;
        if (!wide || place != begin_) holes_ = true;
    }
    // May what ends there be sent before it would be in the log?
    bool may_go_ahead(Offset behind) const {
        if constexpr (storing) return at_[durable] == nowhere || (behind <= at_[durable] && behind <= at_[taken]);
        return true;
    }
    // Packets change places with the messages in front of them, which wait.
    void move_ahead(Offset to, Offset from, Offset size) {
        swap_entries(to, from, size);
        if (wide) at_[looked] = from + size;
        if (at_[stream] >= to && at_[stream] < from) at_[stream] += size;
        if constexpr (storing)
            if (at_[aged] > to && at_[aged] <= from) at_[aged] += size;
        uint8_t part[wide ? 128 : 1];   // as many answers as mostly come at once
        if (wide && size <= sizeof part) {
            copy(part, data_ + from, size);
            copy(data_ + to + size, data_ + to, from - to);
            copy(data_ + to, part, size);
        } else {   // each by itself, then all of it
            reverse(to, from);
            reverse(from, from + size);
            reverse(to, from + size);
        }
    }
    void reverse(Offset from, Offset to) {
        for (; from + 1 < to; ++from) {
            const uint8_t c = data_[from];
            data_[from] = data_[--to];
            data_[to] = c;
        }
    }
    // All that is live is to be sent, from the front, and nothing goes out yet.
    void close() {
        mode_ = closed;
        at_[main] = at_[sent] = at_[gate] = begin_;
        at_[looked] = begin_;
        compact();
    }
    // Moves what is live to the front. False: there was nothing to gain.
    bool compact() {
        const Offset old_end = at_[end];
        trim();
        if (begin_ == 0 && lo_ == 0 && !holes_) return at_[end] != old_end;
        if (!slide()) pack(begin_, old_end, v5_);
        return true;
    }
    // Moves what is live to the front, in this version; what is before `old_end` is not trimmed.
    void pack(Offset from, Offset old_end, bool v5) {
        Offset to = 0;
        for (Offset size; from < old_end; from += size) {
            size = size_at(from);
            const bool keep = !is_dead(data_[from]);
            const Offset k = wide && keep && awaits_answer(data_[from]) ? locate(id_at(from)) : nowhere;
            for (Offset& mark : at_) {
                if (mark < from || mark - from >= size) continue;
                if (!keep && &mark == &at_[stream])
                    mark = nowhere;
                else
                    mark = keep ? mark - from + to : to;
            }
            if (!keep) continue;
            if (k != nowhere) set_entry(k, to);
            if (has_v5 && v5 != v5_ && has_properties(from)) {
                to = rewrite(from, size, to);
            } else {
                if (from != to) copy(data_ + to, data_ + from, size);
                to += size;
            }
        }
        for (Offset& mark : at_)
            if (mark == old_end) mark = to;
#if !MQTT_SMALL
        begin_ = 0;
#endif
        holes_ = false;
    }
    // Writes a packet for the other version, not behind where it is; the new end.
    Offset rewrite(Offset from, Offset size, Offset to) {
        const Offset body = body_of(from), front = properties_at(from) - body, rest = behind_properties(body + front);
        const Offset behind = from + size;
        const Offset remaining = wire_size(from) - (rest - from) + front + (v5_ ? 0 : 1);
        if (v5_ && type_at(from) == PacketType::subscribe)
            for (Offset p = rest; p < behind; ++p) {
                p += 2 + load_u16(data_ + p);
                data_[p] &= 3;   // of the options, only QoS is left
            }
        uint8_t* out = data_ + to;
        *out = data_[from];
        out = store_variable(out + 1, remaining);
        copy(out, data_ + body, front);
        out += front;
        if (!v5_) *out++ = 0;   // the length of the properties
        copy(out, data_ + rest, behind - rest);
        const Offset end_of_it = static_cast<Offset>(out - data_) + behind - rest;
        if (to == at_[stream]) stream_size_ = end_of_it - to;
        return end_of_it;
    }

    // Small ones first: on a Cortex-M0 a byte beyond offset 31 takes a longer way.
    enum : uint8_t { closed, waiting, open } mode_ = closed;
    bool holes_ = false;           // there may be a dead packet behind `begin_`
    bool stream_resend_ = false;
    bool ping_waits_ = false;      // a PINGREQ has not been written
#if MQTT_ENABLE_V5
    bool v5_ = false;              // the version in which all of it is written
    bool purge_ = false;           // something that has expired is still among what has not been sent
#else
    static constexpr bool v5_ = false;
#endif
    uint16_t next_id_ = 1;
    uint16_t kept_ = 0;            // QoS 1 and 2 messages not finished ...
    uint16_t in_flight_ = 0;       // ... and, while some of them wait, those that do not
    uint8_t* data_;
    Offset capacity_;
#if MQTT_SMALL
    static constexpr Offset begin_ = 0, lo_ = 0, hi_ = 0;
#else
    Offset begin_ = 0;             // packets before it are dead
    Offset lo_ = 0, hi_ = 0;       // index entries
#endif
    Offset at_[marks] = {0, 0, 0, wide ? 0 : nowhere, wide ? nowhere : 0};
    Offset stream_size_ = 0;       // bytes of the header at `stream`
    uint32_t stream_left_ = 0;     // payload bytes to come

#if MQTT_ENABLE_V5
    static constexpr uint32_t never = 0xFFFFFFFF;
    uint32_t aged_at_ = 0;
    uint32_t expiry_ = never;      // the least that is left of one that has not been sent; never: there are none at all
    Offset last_ = 0;              // the packet appended last

public:
    uint32_t maximum_packet_size = 0xFFFFFFFF;   // the server's, on this connection
#else
public:
    static constexpr uint32_t maximum_packet_size = 0xFFFFFFFF;
#endif
};
using Outbox = BasicOutbox<false>;

// --------------------------------------------------------------------------------------------------- 11 inbox

// Received QoS 1 and 2 messages that are not finished, in the order in which they came: first QoS 2 ids that were
// answered with PUBREC and wait for PUBREL [MQTT-4.3.3-2], then *open* messages, which the application has seen and
// we have not answered yet. Answers go out in the order of the messages [MQTT-4.6.0-2], [MQTT-4.6.0-3], so a later
// one that is acknowledged first waits. A list of 3 bytes each in the caller's memory; where it shall be quick, a ring.
class Inbox {
public:
    static constexpr uint8_t entry_size = 3;

    void init(uint8_t* data, uint16_t capacity) {
        data_ = data;
        capacity_ = capacity;
    }
    uint16_t capacity() const { return capacity_; }
    bool full() const { return count_ == capacity_; }
    bool has_open() const { return answered_ != count_; }
    uint16_t answered_count() const { return answered_; }
    uint16_t id(uint16_t i) const { return load_u16(at(i)); }

    void push(uint16_t id, QoS qos) {
        note_sequence(id);
        uint8_t* p = at(count_++);
        store_u16(p, id);
        p[2] = qos == QoS::exactly_once ? qos_2 | open : open;
    }
    // Is this QoS 2 message one that we have, and the server has not released? DUP says nothing about it: servers
    // redeliver without it.
    bool has(uint16_t id) const { return !is_next(id) && position(id, count_, qos_2) != none; }
    // It came once more: if it has been answered, it will be again, behind those that are open.
    void received_again(uint16_t id) {
        const size_t i = position(id, answered_, qos_2);
        if (i == none) return;
        remove(i);
        push(id, QoS::exactly_once);
        (void)acknowledge(id);
    }

    // PUBREL: the server may use the id anew as soon as it sees PUBCOMP. False: there is no such id.
    bool released(uint16_t id) {
        const size_t i = position(id, answered_, qos_2);
        if (i != none) remove(i);
        return i != none;
    }
    // The application took a message over, or refuses it. False: it is none of the open ones.
    bool acknowledge(uint16_t id, ReasonCode reason = ReasonCode::success) {
        const size_t i = position(id, count_, open);
        if (i == none) return false;
        // Of a client, the reason codes of PUBACK and PUBREC are 0x00 and 0x80 to 0x9F.
        const unsigned code = has_v5 ? static_cast<unsigned>(reason) : 0;
        at(i)[2] = static_cast<uint8_t>((at(i)[2] & qos_2) | (code >> 7) * refused | code << 3);
        return true;
    }
    void acknowledge_all() {
        for (size_t i = answered_; i < count_; ++i) at(i)[2] &= static_cast<uint8_t>(~open);
    }
    // Of what is to be answered next: its entry; nullptr: nothing is. answered() when that is queued.
    const uint8_t* due() const {
        const uint8_t* const p = at(answered_);
        return has_open() && (p[2] & open) == 0 ? p : nullptr;
    }
    static uint8_t answer(const uint8_t* entry) {
        return first_byte_of((entry[2] & qos_2) != 0 ? PacketType::pubrec : PacketType::puback);
    }
    static ReasonCode reason(const uint8_t* entry) {
        return static_cast<ReasonCode>(has_v5 ? entry[2] >> 3 | ((entry[2] & refused) != 0 ? 0x80 : 0) : 0);
    }
    void answered() {
        const size_t i = answered_++;
        if ((at(i)[2] & (qos_2 | refused)) != qos_2) remove(i);   // [5: MQTT-4.3.3-9]
    }
    // The connection is gone: the server sends again what was not answered. What the application has taken over all the
    // same is not delivered again.
    void forget_open() {
        uint16_t kept = answered_;
        for (uint16_t i = kept; i < count_; ++i)
            if ((at(i)[2] & (open | qos_2 | refused)) == qos_2)
                copy(at(kept++), at(i), entry_size);
        count_ = answered_ = carried_ = kept;
    }
    void clear() { count_ = answered_ = carried_ = 0; }
    // From storage: this QoS 2 message has been taken over. False: there is no place.
    bool restore(uint16_t id) {
        if (has(id)) return true;
        if (full()) return false;
        push(id, QoS::exactly_once);
        (void)acknowledge(id);
        answered();
        return true;
    }
    // In MQTT 5 the server may send as many on each connection (section 4.9), and may never release those of earlier
    // ones: it gives up what is now too large for us, without its topic alias, say [5: MQTT-3.1.2-25]. What it has not
    // given up comes first, in the original order [MQTT-4.6.0-1]: so the oldest one makes room for what it sends.
    // False: all are of this connection.
    bool forget_carried() {
        if (carried_ == 0) return false;
        remove(0);
        return true;
    }

private:
    static constexpr size_t none = static_cast<size_t>(-1);
    // An entry's third byte; the upper five bits are those of the reason code.
    static constexpr uint8_t qos_2 = 1, open = 2, refused = 4;

#if MQTT_SMALL
    static bool is_next(uint16_t) { return false; }   // all of them are looked at
    static void note_sequence(uint16_t) {}
    uint8_t* at(size_t i) const { return data_ + entry_size * i; }
    void close_gap(size_t i) { copy(at(i), at(i + 1), entry_size * (count_ - i)); }
#else
    // Servers number their messages in sequence: as long as they do, one look tells that an id is new.
    bool is_next(uint16_t id) const { return in_sequence_ && beyond_last(id); }
    void note_sequence(uint16_t id) { in_sequence_ = beyond_last(id) && (in_sequence_ || count_ == 0); }
    bool beyond_last(uint16_t id) const {
        if (count_ == 0) return true;
        const uint16_t first = load_u16(at(0)), last = load_u16(at(count_ - 1U));
        return static_cast<uint16_t>(id - first) > static_cast<uint16_t>(last - first);
    }
    uint8_t* at(size_t i) const {
        if ((i += head_) >= capacity_) i -= capacity_;
        return data_ + entry_size * i;
    }
    void close_gap(size_t i) {
        if (i == 0) head_ = head_ + 1 == capacity_ ? uint16_t{0} : static_cast<uint16_t>(head_ + 1);
        else for (; i < count_; ++i) copy(at(i), at(i + 1), entry_size);
    }
    uint16_t head_ = 0;            // where the ring begins
    bool in_sequence_ = false;     // the ids ascend, modulo 2^16
#endif
    // Of an entry with this id and flag among the first `count`.
    MQTT_APART size_t position(uint16_t id, size_t count, uint8_t flag) const {
        for (size_t i = wide && flag == open ? answered_ : 0; i < count; ++i)
            if (load_u16(at(i)) == id && (at(i)[2] & flag) != 0) return i;
        return none;
    }
    void remove(size_t i) {
        if (has_v5 && i < carried_) --carried_;
        if (i < answered_) --answered_;
        --count_;
        close_gap(i);
    }

    uint8_t* data_ = nullptr;
    uint16_t capacity_ = 0;
    uint16_t count_ = 0;
    uint16_t answered_ = 0;        // the first ones of `count_`; the others are open
    uint16_t carried_ = 0;         // the first ones of `count_`: from before this connection
};

// ------------------------------------------------------------------------------------------------ 12 aliases

// The topic aliases of one direction (5: section 3.3.2.3.4): a list of alias, length and topic in the caller's memory.
// An alias whose topic found no room is in the list with a length of 0.
class Aliases {
public:
    static constexpr size_t entry_head = 4;

    explicit Aliases(Buffer memory) : memory_(memory) {}
    void clear() {
        forget();
        forgotten_ = false;
    }
    // None can be told any more, until it is set again.
    void forget() {
        end_ = memory_.data;
        count_ = 0;
        forgotten_ = true;
    }
    uint16_t count() const { return count_; }
    bool can_be(uint16_t maximum) const { return memory_.size >= entry_head * maximum; }

    // False: it has not been set, or it has been forgotten. An empty topic: there was no room for it.
    bool find(uint16_t alias, std::string_view& topic) const {
        const uint8_t* const at = place_of(alias);
        if (at != end_) topic = topic_at(at);
        return at != end_;
    }
    bool forgotten() const { return forgotten_; }
    // 0: it is none.
    uint16_t find(const std::string_view& topic) const {
        for (const uint8_t* at = memory_.data; at != end_; at += size_at(at))
            if (equal(topic_at(at), topic)) return load_u16(at);
        return 0;
    }
    bool has_room(std::string_view topic, size_t aside = 0) const {
        return entry_head + topic.size() + aside <= memory_.size - static_cast<size_t>(end_ - memory_.data);
    }
    // Sets an alias, or sets it anew. Of `maximum` aliases, each finds room for an entry at least.
    void set(uint16_t alias, std::string_view topic, size_t maximum = 0) {
        uint8_t* const at = place_of(alias);
        if (at != end_) {
            const size_t size = size_at(at);
            end_ -= size;
            copy(at, at + size, static_cast<size_t>(end_ - at));
            --count_;
        }
        if (!has_room(topic, maximum > count_ ? entry_head * (maximum - count_ - 1) : 0)) topic = {};
        store_u16(end_, alias);
        store_u16(end_ + 2, static_cast<uint16_t>(topic.size()));
        copy(end_ + entry_head, Bytes(topic).data(), topic.size());
        end_ += entry_head + topic.size();
        ++count_;
    }

private:
    uint8_t* place_of(uint16_t alias) const {   // end_: nowhere
        uint8_t* at = memory_.data;
        while (at != end_ && load_u16(at) != alias) at += size_at(at);
        return at;
    }
    static size_t size_at(const uint8_t* at) { return entry_head + load_u16(at + 2); }
    static std::string_view topic_at(const uint8_t* at) { return Bytes(at + entry_head, load_u16(at + 2)).text(); }

    Buffer memory_;
    uint8_t* end_;   // of the entries. This and what follows is set by clear()
    uint16_t count_;
    bool forgotten_;
};

// -------------------------------------------------------------------------------------------------- 13 engine

// What a server allows on one connection (5: section 3.2.2.3); its Maximum Packet Size is with the outbox. The client's
// own limits are in the options.
struct Limits {
    enum Name : uint8_t {
        receive_maximum, topic_alias_maximum, keep_alive, maximum_qos, retain_available,
        wildcard_subscription_available, subscription_identifier_available, shared_subscription_available, names
    };
    static constexpr uint8_t properties[names] = {
        prop::receive_maximum.id, prop::topic_alias_maximum.id, prop::server_keep_alive.id, prop::maximum_qos.id,
        prop::retain_available.id, prop::wildcard_subscription_available.id, prop::subscription_identifier_available.id,
        prop::shared_subscription_available.id};
    constexpr uint16_t operator[](Name name) const { return of[name]; }

    uint16_t of[names];   // keep_alive: ours, unless the server has its own
    bool session_kept;    // its Session Expiry Interval is not 0
};
inline constexpr Limits no_limits{{65535, 0, 0, 2, 1, 1, 1, 1}, true};

// What the pump has to do with storage next; see "Storage" at the port.
enum class StorageCall : uint8_t { none, compact, save, sync, commit };

// The session on storage: a log, which after a reset is read from its beginning. Records are packets as they lie in the
// outbox, and notes, which begin with what no packet of ours begins with:
//
//   PUBLISH QoS 1, 2     it was accepted. Before it goes out
//   PUBREL               instead of the message of this id. Before it goes out
//   PUBREC               a message of this id has been taken over by the application. Before it goes out
//   PUBCOMP              that one is over. Before it goes out, because then the server may use the id anew
//   finished ids         these messages are over
//   identity             begins a log: whose it is, in which version its packets are, the session, the next packet id
//   session              the session is another one, or there is none any more. Before CONNECT, or what follows CONNACK
//   sent through id      of the messages so far, those up to this one may have been sent. Before they go out
//   sent                 so may all of them, and those that follow. What cannot have been sent survives the
//   waiting              end of a session; those that follow cannot have been sent
//
// A log grows until storage is full; then a new one is written, in which what is left of the old one comes first
// (without the last three kinds of notes: DUP says it), and at last it takes the place of the old one, at once.
struct Note {
    static constexpr uint8_t identity = 0x10, session = 0x18, finished = 0x40, sent = 0xF0, waiting = 0xF1,
                             sent_through = 0xF2;
    static constexpr uint8_t format = 1;                // of the log; the next bit says that packets are MQTT 5
    static constexpr size_t longest = 2 + 3 * 4 + 2;    // identity; finished has 1 + 2 * 8
};

// What the engine remembers for it.
struct Log {
    enum class Phase : uint8_t { identity, inbox, messages, written, committed } phase = Phase::committed;
    enum class Sending : uint8_t { unknown, waiting, sent } sending = Sending::unknown;   // what the log says last
    bool loaded = false;          // all of it has been read
    bool others = false;          // ... and connect() has not taken it over yet
    bool ready = false;           // there is a session
    bool ignored = false;
    bool begin = false;           // a new log is due
    bool session_due = false, inbox_cleared = false;
    bool barrier = false;         // something has to be durable before anything goes out
    bool unsynced = false;        // something has to be durable before more goes out
    bool untidy = false;          // something is not durable that need not be
    bool asked = false;           // sync or commit has answered "not yet"
    bool repeated = false;        // a save or sync has failed since one succeeded
    bool said_sent = false;       // while a new log is written: the old one says `sent`
    Error refused = Error::ok;    // it was read, and is none of ours
    bool tell = false;
    bool v5 = false;              // the version of the packets in it
    Error trouble = Error::ok, told = Error::ok;
    uint8_t note_size = 0;        // bytes of the note that is being saved
    uint8_t note[Note::longest + 1] = {};
    Error drop_error = Error::ok; // why a message has been dropped, which has to be told ...
    uint16_t dropped = 0;         // ... and its id
    uint16_t covered = 0;         // the last id of "sent through id"
    uint16_t inbox_at = 0;
    uint32_t saving = 0;          // hash of a packet that storage has taken in part; 0: none
    uint32_t check = 0;           // a second hash of server and client id
    uint32_t failed_at = 0;
};

// The protocol without I/O. What a pump around it does (`Client` below is one):
//   at(now_ms)             before anything that depends on time: it is this late
//   tick()                 what is due by time: the next attempt, a ping
//   next(event)            until it returns false: what has been received, as events
//   wants_open()           open the connection, then opened(n)
//   output(), sent(n)      write what output() shows, tell how much of it was taken
//   input(), received(n)   read into what input() shows, tell how much came
//   expire()               time-outs
//   wants_close()          close the connection, then closed(random, event)
// where `n` is what the port answered: below 0 the connection is lost, or could not be opened; 0: not yet. And
// with `storing`, after a reset restoring() and restored(n) until is_loaded(), and before output() is written:
//   storage_due()          call this function of the port's, save() with unsaved(); then stored(call, n)
template <bool storing> class BasicEngine : private If<storing, Log> {
    using Outbox = BasicOutbox<storing>;
    using Offset = typename Outbox::Offset;

public:
    explicit BasicEngine(const Buffers& buffers)
        : rx_(buffers.rx), outbox_(buffers.tx.data, buffers.tx.size)
#if MQTT_ENABLE_V5
          , received_aliases_(buffers.received_aliases), sent_aliases_(buffers.sent_aliases),
          topic_alias_maximum_(buffers.topic_alias_maximum), client_id_memory_(buffers.client_id)
#endif
    {
#if MQTT_ENABLE_V5
        forget_server();
#endif
        const uint32_t inbox = uint32_t{buffers.receive_maximum} * Inbox::entry_size;
        if (outbox_.capacity() < inbox + Outbox::for_message) return;   // told by connect()
        outbox_.set_aside(inbox);
        inbox_.init(buffers.tx.data + outbox_.capacity(), buffers.receive_maximum);
    }

    void at(uint32_t now_ms) { now_ = now_ms; }

    // ---- what the application asks for; documented at Client

    Error connect(const ConnectOptions& options) {
        if (state_ != State::stopped) return Error::already_started;
        if (inbox_.capacity() == 0) return Error::buffer_too_small;
        if (options.client_id.empty() && !options.clean_session && !assigns_client_id(options))
            return Error::invalid_client_id;   // [MQTT-3.1.3-7]
        if (options.in_flight_maximum == 0) return Error::invalid_argument;
        Error error = fits(options, options.version == Version::v5 ? Version::v5 : Version::v3_1_1);
        if (has_v5 && options.version == Version::v5_or_v3_1_1 && error == Error::ok) error = fits(options, Version::v5);
        if (error != Error::ok) return error;
        const uint32_t identity = identity_of(options.host, options.port, options.client_id);
        if constexpr (storing) {
            if (options.client_id.empty() && !options.clean_session) return Error::invalid_client_id;
            if (is_others(identity, options) && !options.replace_session) return Error::other_session;
        }
#if MQTT_ENABLE_V5
        error = prepare_v5(options, identity);
        if (error != Error::ok) return error;
#endif
        if constexpr (storing) begin_storing(identity, options);
        identity_ = identity;
        options_ = &options;
        attempts_ = 0;
        enter(State::waiting);
        timer_ = 0;   // the time-out begins with the first poll()
        return Error::ok;
    }

    Error disconnect(const Disconnect& packet) {
        if (state_ == State::disconnecting) return Error::ok;
        if (state_ != State::connected) return abort();
        if (outbox_.stream_left() != 0 || outbox_.stream_pending()) return Error::publish_in_progress;
        if (!v5_ && packet.reason != ReasonCode::success) return abort();   // the server publishes the will, at least
        if constexpr (has_v5)
            if (v5_ && !may_send(packet)) return Error::invalid_properties;
        acknowledge_seen();   // what is being handled while this is called
        if constexpr (has_v5) {
            const Error error = outbox_.append(packet, Outbox::for_disconnect).error;
            if (error != Error::ok) return error;
            if (v5_) ended_by(packet);
        } else {
            (void)outbox_.append(packet.first_byte(), 0, Outbox::for_disconnect);   // it has a reserve
        }
        enter(State::disconnecting);
        return Error::ok;
    }

    Error abort() {
        if (state_ <= State::stopping) return Error::not_started;
        stop();
        return Error::ok;
    }

    MQTT_HOT Result publish(Publish& message) {
        if constexpr (has_v5) {
            if (!may_have(message.properties)) return {Error::invalid_properties};
            return limits_[Limits::topic_alias_maximum] != 0 ? publish_aliased(message)
                                                             : enqueue_expiring(message, false, 0);
        } else {
            return enqueue_message(message, false, 0);
        }
    }

    Result begin_publish(Publish& head, uint32_t size) {
        if (state_ != State::connected) return {state_ == State::stopped ? Error::not_started : Error::not_connected};
        (void)output();   // lets those go that wait for nothing
        if (!outbox_.can_stream()) return {Error::publish_in_progress};
        if constexpr (has_v5)
            if (!may_have(head.properties)) return {Error::invalid_properties};
        head.payload = Bytes(nullptr, static_cast<size_t>(size));   // only tells its size: with_rest is false
        const size_t aside = head.topic.size() + head.properties.block().size() + 24;
        if (head.payload.size() != size || aside > Outbox::nowhere || size > Outbox::nowhere - aside)
            return {Error::packet_too_large};
        if constexpr (has_v5) return enqueue_expiring(head, true, size);
        else return enqueue_message(head, true, size);
    }

    Result subscribe(Subscribe& packet) {
        if (!accepting()) return {Error::not_started};
        packet.packet_id = outbox_.new_packet_id();
        if (packet.packet_id == 0) return {Error::no_space};
        Error error = outbox_.append(packet, Outbox::for_message).error;
        if constexpr (has_v5)
            if (v5_ && error == Error::ok) error = request_supported();
        return {error, error == Error::ok ? packet.packet_id : uint16_t{0}};
    }

    Error acknowledge(uint16_t packet_id, ReasonCode reason) {
        const bool refused = reason != ReasonCode::success;
        if (has_v5 && refused && (granted(reason) || !legal(reason, PacketType::puback)))
            return Error::invalid_argument;
        if (!inbox_.acknowledge(packet_id, v5_ ? reason : ReasonCode::success)) return Error::unknown_packet_id;
        answer_open();
        drained_ = false;
        return Error::ok;
    }

    // Answers an AUTH of the server's, or begins to authenticate anew (5: section 4.12).
    Error authenticate(Properties properties) {
#if MQTT_ENABLE_V5
        if (!accepting()) return Error::not_started;
        if (!v5_ || !(connected() || (state_ == State::awaiting_connack && authentication_ == client)))
            return Error::not_connected;
        if (!options_->properties.has<prop::authentication_method>() || authentication_ == server)
            return Error::invalid_argument;   // [5: MQTT-4.12.0-7]
        if (!is_method(properties)) return Error::invalid_properties;
        Disconnect packet;
        packet.type = PacketType::auth;
        packet.reason = authentication_ == client ? ReasonCode::continue_authentication : ReasonCode::re_authenticate;
        packet.properties = properties;
        if (connected()) {
            const Error error = outbox_.append(packet, Outbox::for_answer).error;
            if (error == Error::ok) authentication_ = server;
            return error;
        }
        if (in_begin_ != in_end_) return Error::not_connected;   // the server has gone on
        const Encoded out = encode(packet, Buffer(rx_.data + in_end_, rx_.size - in_end_), Version::v5);
        if (out.error == Error::no_space && out.size > rx_.size) return Error::buffer_too_small;
        if (out.error != Error::ok) return out.error;
        authentication_ = none;
        in_end_ += static_cast<size_t>(out.size);
        enter(State::connecting);
        return Error::ok;
#else
        (void)properties;
        return Error::not_connected;
#endif
    }

    // ---- what waits

    size_t drop_waiting(QoS most, std::string_view topic, size_t count) {
        return outbox_.drop_waiting(most, topic, count);
    }
    size_t drop_aged() { return outbox_.drop_aged(); }
    size_t used() { return outbox_.used(); }

    // ---- events

    // One event, into a new one; or false: then more input is needed, or time has to pass. Releases what the previous
    // event pointed to.
    MQTT_HOT bool next(Event& event) {
        drained_ = again_ = false;
        if constexpr (storing)
            if (storage_first()) return again_ = true, drained_ = true, false;
        settle();
        told_later(event);
        while (event.kind == Event::none && in_begin_ != in_end_ && legal_packets() != 0) {
            blocked_ = false;
            const Step step = head_ == 0 ? receive(event) : receive_piece(event);
            if (step == Step::wait) break;
        }
        drained_ = event.kind == Event::none;
        return !drained_;
    }

    // Has next() nothing to tell, as far as is known?
    bool drained() const { return drained_ && !again_ && !outbox_.stream_resends(); }
    // ... or by now, as time has passed?
    bool to_tell() const {
#if MQTT_ENABLE_V5
        if (outbox_.may_expire(now_)) return true;
#endif
        return !drained();
    }

    // What is due by time: the next attempt, or a PINGREQ; true: it is to be written at once.
    MQTT_PART bool tick() {
        if (state_ != State::connected) {
            if (state_ == State::waiting && since(since_) >= timer_) enter(State::opening);
            return false;
        }
        if ((wide && !ping_may_be_due()) || ping_due() != 0) return false;
        if (!outbox_.append_ping()) return false;
        if (!pinging_) {   // a further one does not put off the time-out
            timer_ = now_;
            ping_unseen_ = true;
        }
        pinging_ = true;
        return true;
    }

    // Time-outs. None while there is something to read, so that a packet that has come counts also if it is looked at
    // late.
    MQTT_WHOLE void expire() {
        Error error;
        if (state_ > State::waiting && drained_ && time_left(error) == 0) fail(error);
    }

    // Milliseconds until tick() or expire() has something to do; 0: call next() at once; forever: no timer is running.
    uint32_t idle_ms() {
        if (!drained() || wants_close() || broken_) return 0;
        Error error;
        uint32_t left = time_left(error);
        const uint32_t ping = state_ == State::connected ? ping_due() : forever;
        if constexpr (storing) left = least(left, storage_idle_ms());
#if MQTT_ENABLE_V5
        uint32_t from;
        const uint32_t ms = outbox_.expiry_ms(from);
        return least(least(left, ping), left_of(ms, since(from)));
#else
        return least(left, ping);
#endif
    }

    // ---- the connection

    bool connected() const { return state_ == State::connected; }
    Version version() const { return v5_ ? Version::v5 : Version::v3_1_1; }
    // Where to connect to.
    std::string_view host() const {
#if MQTT_ENABLE_V5
        if (!server_reference_.empty()) return server_reference_;
#endif
        return options_->host;
    }
    uint16_t port() const {
#if MQTT_ENABLE_V5
        if (!server_reference_.empty()) return reference_port_;
#endif
        return options_->port;
    }
    uint16_t unacknowledged() const { return outbox_.kept(); }
    bool busy() { return outbox_.used() != 0 || inbox_.has_open(); }
    bool wants_open() const { return state_ == State::opening; }
    bool wants_close() const { return state_ == State::stopping || state_ == State::failed; }

    void opened(int n) {
        if (n < 0) fail(Error::connect_failed);
        if (n <= 0) return;
        in_begin_ = 0;
#if MQTT_ENABLE_V5
        limits_.of[Limits::keep_alive] = options_->keep_alive;
        // A server that another one named may share its sessions, or have older ones of its own.
        referred_ = !server_reference_.empty();
        server_identity_ =
            referred_ ? identity_of(server_reference_, reference_port_, options_->client_id) : identity_;
        server_reference_ = {};
#endif
        if constexpr (storing)
            if (starts_clean()) session_is(0);   // has to be known before CONNECT goes out
        in_end_ = static_cast<size_t>(encode_connect(*options_, version(), rx_).size);
        enter(State::connecting);
    }

    // The pump has closed it. `random` spreads the reconnects of many clients. It is told by a new event.
    void closed(uint32_t random, Event& event) {
        in_begin_ = in_end_ = head_ = 0;
        outbox_.rewind();
        if constexpr (storing) log().begin = outbox_.told_unanswered() || log().begin;   // it tells of all that were
        inbox_.forget_open();
        pinging_ = ping_unseen_ = payload_waits_ = broken_ = blocked_ = false;
        drained_ = false;
        if (state_ == State::stopping || (options_->reconnect_max_ms == 0 && !falling_back())) {
            enter(State::stopped);
        } else {
            enter(State::waiting);
            timer_ = falling_back() ? 0 : back_off(random);
        }
#if MQTT_ENABLE_V5
        if (!closed_v5()) return;
        event.properties = last_properties_;
        last_properties_ = {};
#endif
        tell(event, Event::disconnected);
        event.error = error_;
        event.reason = reason_;
        reason_ = ReasonCode::success;
    }

    // What to write now. Bytes may move after anything else is called.
    MQTT_HOT Bytes output() {
        if constexpr (storing)
            if (state_ == State::connecting && held()) return {};
        if (state_ == State::connecting || rejecting())
            return Bytes(rx_.data + in_begin_, in_end_ - in_begin_);
        if (!answering() || outbox_.is_closed()) return {};
#if MQTT_ENABLE_V5
        if (outbox_.expired(now_) != Outbox::nowhere) return {};   // next() tells
#endif
        outbox_.admit(window());
        if constexpr (storing)
            if (held()) return {};
        return outbox_.unsent();
    }
    MQTT_HOT void sent(int n) {
        if (n < 0) broken_ = true;
        if (n <= 0) return;
        const size_t size = static_cast<size_t>(n);
        MQTT_ASSERT(size <= output().size());
        sent_at_ = now_;
        if (rejecting()) {
            in_begin_ += size;
            if (in_begin_ == in_end_) fail(error_);
            return;
        }
        if (state_ != State::connecting) {
            const bool last = outbox_.written(size);
            if (last) return stop();   // [MQTT-3.14.4-1]
            if (state_ == State::disconnecting) return;
            if (blocked_) drained_ = false;   // what had no room before, perhaps has now
            if (!wide || inbox_.has_open()) again_ = true;
            if (ping_unseen_) timer_ = now_;   // something moves, but the server cannot have seen the ping before
            ping_unseen_ = ping_unseen_ && outbox_.ping_waits();
            return;
        }
        // From here on, what was before is gone; and a clean session ends with its connection [MQTT-3.1.2-6].
        if (starts_clean()) session_is(0);
        in_begin_ += size;
        if (in_begin_ != in_end_) return;
        in_begin_ = in_end_ = 0;
        enter(State::awaiting_connack);
    }

    // Where to read to; empty while what has come cannot be taken on.
    MQTT_HOT Buffer input() {
        // After DISCONNECT nothing may be answered [MQTT-3.14.4-2], so nothing is looked at; but what is left unread
        // when a socket is closed resets it, and the server might not see our last packets. So it is read and
        // forgotten.
        if (state_ == State::disconnecting) return Buffer(rx_.data, rx_.size);
        if (rejecting()) return {rx_.data + farewell_size, rx_.size - farewell_size};
        if (legal_packets() == 0 || blocked_) return {};
        if (in_begin_ != 0 && drained_) {   // only an incomplete packet is left
            copy(rx_.data, rx_.data + in_begin_, in_end_ - in_begin_);
            in_end_ -= in_begin_;
            in_begin_ = 0;
        }
        return {rx_.data + in_end_, rx_.size - in_end_};
    }
    void received(int n) {
        // What a server said before it closed comes first, also if writing fails already.
        if (n < 0 || (n == 0 && broken_)) return fail(rejecting() ? error_ : Error::connection_lost);
        if (n == 0 || state_ == State::disconnecting || rejecting()) return;
        MQTT_ASSERT(static_cast<size_t>(n) <= rx_.size - in_end_);
        received_at_ = now_;
        in_end_ += static_cast<size_t>(n);
        drained_ = false;
    }

    // The payload of begin_publish(), written by the pump directly: bytes that may be written now, and that were.
    uint32_t payload_left() const { return outbox_.stream_left(); }
    bool payload_pending() const { return outbox_.stream_pending(); }
    bool payload_wanted() {
        (void)output();
        return connected() && !broken_ && outbox_.stream_ready();
    }
    void payload_sent(int n, size_t of) {
        if (n != 0) sent_at_ = now_;
        if (n < 0) broken_ = true;
        else outbox_.stream_written(static_cast<uint32_t>(n));
        payload_waits_ = static_cast<size_t>(n) != of;
    }
    // Has writing failed? Then the connection ends as soon as nothing more can be read.
    bool broken() const { return broken_; }
    // The port took less than was offered.
    bool payload_waits() const { return payload_waits_; }

    // ---- storage: after a reset

    // Has all been read? Until then, read a record into this, and restored().
    bool is_loaded() const { return log().loaded; }
    Buffer restoring() { return inbox_.capacity() != 0 ? outbox_.restoring() : Buffer(); }
    Error restored(int result) {
        if (inbox_.capacity() == 0) return Error::buffer_too_small;
        constexpr int too_large = -5;
        if (result == too_large) return outbox_.more_room() ? Error::ok : Error::buffer_too_small;
        if (result != 0) {
            const Error error = result < 0 ? error_of(result)
                                           : restore(outbox_.restoring().data, static_cast<size_t>(result));
            if (error == Error::storage_corrupt || error == Error::storage_foreign) forget_restored();
            if (result > 0) log().refused = error;
            return error;
        }
        outbox_.restored(now_);
        inbox_.forget_open();
        log().loaded = true;
        return Error::ok;
    }

    // ---- storage: what is to be done, and what came of it

    StorageCall storage_due() {
        using Phase = Log::Phase;
        if (!log().ready || log().ignored) return StorageCall::none;
        if (log().trouble != Error::ok && left_of(storage_retry_ms, since(log().failed_at)) != 0) return StorageCall::none;
        if (log().asked) return log().phase == Phase::committed ? StorageCall::sync : StorageCall::commit;
        const bool message_next = log().phase == Phase::committed && outbox_.untaken_is_message();
        if (outbox_.finished() > Outbox::finished_most || (message_next && log().v5 != v5_packets()) ||
            (log().saving != 0 && hash(1, outbox_.untaken()) != log().saving))   // it has changed meanwhile
            log().begin = true;
        if (log().begin && log().unsynced && log().saving == 0 && log().trouble == Error::ok &&
            log().phase == Phase::committed)
            return StorageCall::sync;   // what has been taken goes out, whatever becomes of the new log
        if (log().begin) return StorageCall::compact;
        if (!unsaved().empty()) return StorageCall::save;
        if (log().phase == Phase::written) return StorageCall::commit;
        if (log().unsynced) return StorageCall::sync;
        outbox_.all_durable();
        log().told = log().trouble = Error::ok;
        return StorageCall::none;
    }
    // The record that is to be saved next; empty: none.
    Bytes unsaved() {
        if (log().note_size == 0 && log().saving == 0) compose();
        if (log().note_size != 0) return Bytes(log().note, log().note_size);
        return log().phase == Log::Phase::written ? Bytes() : outbox_.untaken();
    }
    void stored(StorageCall call, int result) {
        using Phase = Log::Phase;
        if (result < 0) return not_stored(call, result);
        if (result == 0) {
            if (call == StorageCall::save && log().note_size == 0) log().saving = hash(1, outbox_.untaken());
            log().asked = call == StorageCall::sync || call == StorageCall::commit;
            return;
        }
        log().asked = false;
        switch (call) {
        case StorageCall::compact:
            if (log().phase == Phase::committed) log().said_sent = log().sending == Log::Sending::sent;
            log().phase = Phase::identity;
            log().sending = Log::Sending::unknown;
            log().begin = false;
            log().note_size = 0;
            log().saving = log().covered = 0;
            log().inbox_at = 0;
            outbox_.hand_again(false, false);
            break;
        case StorageCall::save:
            log().saving = 0;
            log().untidy = true;
            log().unsynced = log().unsynced || log().note_size == 0 || log().note[0] != Note::finished;
            if (log().note_size == 0) outbox_.take();
            log().note_size = 0;
            if (log().phase == Phase::committed) works();
            break;
        case StorageCall::commit:
            log().phase = Phase::committed;
            [[fallthrough]];
        case StorageCall::sync:
            outbox_.all_durable();
            log().unsynced = log().untidy = false;
            log().barrier = log().barrier && log().note_size != 0;   // a note that found no room is still to come
            log().trouble = Error::ok;
            break;
        case StorageCall::none: break;
        }
    }
    Error storage_error() const { return log().trouble; }
    void erased() {
        if (log().others) forget_restored();   // what was read is nobody's
        this->log_ = Log();
    }
    Error refused() const { return log().refused; }   // by an earlier restored()
    // Before next() can go on: it tells one thing at a time, and there is no room to remember that it is over; or it
    // would change what is being saved.
    bool storage_first() const {
        return log().ready && !log().ignored && log().trouble == Error::ok &&
               (outbox_.finished() >= Outbox::finished_most || log().phase < Log::Phase::messages);
    }
    // Also what need not be durable yet shall be.
    bool all_stored() {
        log().unsynced = log().unsynced || log().untidy;
        return log().trouble == Error::ok && storage_due() == StorageCall::none;
    }
    void ignore_storage(bool ignore) {
        if (log().ignored == ignore) return;
        log().ignored = ignore;
        log().trouble = Error::ok;
        log().asked = false;
        log().begin = log().barrier = !ignore;
        outbox_.hand_again(ignore, true);
    }

private:
    // The one state of the connection; enter() is the only way from one to another.
    enum class State : uint8_t {
        stopped,            // before connect(), after disconnect()
        stopping,           // to be closed, and then stopped
        failed,             // to be closed
        waiting,            // until it is time for the next attempt
        opening,            // the port is connecting
        connecting,         // CONNECT (or its AUTH), which lies in rx, is being written
        rejecting,          // MQTT 5: DISCONNECT, which lies in rx, is being written; error_ says what the server did
        awaiting_connack,
        connected,
        disconnecting       // DISCONNECT is the last packet that goes out
    };
    enum class Step : uint8_t { wait, go_on };
    static constexpr size_t farewell_size = 4;   // bytes of rx for a DISCONNECT with a reason

    // The packets that a server may send in each state [MQTT-3.2.0-1]; none: nothing is looked at.
    MQTT_HOT uint16_t legal_packets() const {
        constexpr uint16_t answers = bit(PacketType::publish) | bit(PacketType::puback) | bit(PacketType::pubrec) |
                                     bit(PacketType::pubrel) | bit(PacketType::pubcomp) | bit(PacketType::suback) |
                                     bit(PacketType::unsuback) | bit(PacketType::pingresp);
        constexpr uint16_t auth = bit(PacketType::auth), disconnect = bit(PacketType::disconnect);
        constexpr uint16_t connack = bit(PacketType::connack);
        if (state_ == State::awaiting_connack) return static_cast<uint16_t>(connack | (v5_ ? auth : 0));
        if (state_ == State::connected) return static_cast<uint16_t>(answers | (v5_ ? auth | disconnect : 0));
        return 0;
    }
    bool answering() const { return state_ == State::connected || state_ == State::disconnecting; }
    bool rejecting() const { return has_v5 && state_ == State::rejecting; }
    bool accepting() const {
        return state_ > State::stopping && state_ < State::disconnecting;
    }
    // [5: MQTT-3.1.2-21]
    uint16_t keep_alive() const { return has_v5 ? limits_[Limits::keep_alive] : options_->keep_alive; }
    uint16_t window() const {
        const uint16_t ours = options_->in_flight_maximum;
        return ours < limits_[Limits::receive_maximum] ? ours : limits_[Limits::receive_maximum];   // [5: MQTT-3.3.4-7]
    }

    // Session state belongs to a client id at a server [MQTT-3.1.3-2]: another one's is never replayed.
    static uint32_t identity_of(std::string_view host, uint16_t port, std::string_view client_id) {
        return hash_of(hash_of(2166136261U + port, host), client_id) | 1;
    }
    static uint32_t hash_of(uint32_t seed, std::string_view text) {
        return (hash(seed, text) ^ 0xFF) * 16777619U;   // 0xFF is not in UTF-8
    }
    static uint32_t hash(uint32_t seed, const Bytes& bytes) {   // FNV-1a
        for (const uint8_t c : bytes) seed = (seed ^ c) * 16777619U;
        return seed;
    }

    void enter(State state) {
        state_ = state;
        if (state == State::connecting || state == State::awaiting_connack) return;   // one time-out for all of connecting
        if (wants_close()) return;   // and none for this
        since_ = now_;
        timer_ = state == State::opening ? options_->connect_timeout_ms
                 : state == State::disconnecting || state == State::rejecting ? options_->response_timeout_ms : forever;
    }
    void leave() {
        if (state_ == State::connected && now_ - since_ >= options_->stable_ms) attempts_ = 0;
    }
    MQTT_APART void fail(Error error) {
        if (wants_close()) return;
        leave();
#if MQTT_ENABLE_V5
        if (state_ == State::opening) server_reference_ = {};
        fall_back_ = v5_ && options_->version == Version::v5_or_v3_1_1 && does_not_know_v5(error);
#endif
        error_ = error;
        enter(state_ == State::disconnecting ? State::stopping : State::failed);
    }
    void stop() {
        fail(Error::ok);
        enter(State::stopping);
        error_ = Error::ok;
        reason_ = ReasonCode::success;
    }

    // Reasons that will hardly be gone in a moment; also another client with our id, with which we would alternate.
    static bool lasting(ReasonCode reason) {
        return (reason >= ReasonCode::unsupported_protocol_version && reason <= ReasonCode::not_authorized) ||
               (has_v5 && (reason == ReasonCode::banned || reason == ReasonCode::bad_authentication_method ||
                           reason == ReasonCode::session_taken_over));
    }
    // Full jitter: a random part of a limit that doubles with each attempt.
    uint32_t back_off(uint32_t random) {
        random = (random ^ identity_) * 2654435761U;
        constexpr uint32_t longest = uint32_t{1} << 20;
        const uint32_t most = options_->reconnect_max_ms < longest ? options_->reconnect_max_ms : longest;
        uint32_t limit = most, least = 0;
        if (lasting(reason_))   // where it is no refusal, it is none of these
            least = most / 2;
        else if ((most >> attempts_) > options_->reconnect_min_ms)
            limit = options_->reconnect_min_ms << attempts_++;
        // (limit - least) * random / 2^32 without 64-bit arithmetic.
        return least + (((random >> 16) * ((limit - least) >> 4)) >> 12);
    }

    // ---- timers

    static uint32_t left_of(uint32_t duration, uint32_t elapsed) {
        return duration == forever ? forever : elapsed < duration ? duration - elapsed : 0;
    }
    uint32_t since(uint32_t then) const { return now_ - then; }   // right also when the clock has wrapped around
    // Until a time-out, which is this error, or the next attempt.
    uint32_t time_left(Error& error) const {
        uint32_t then = since_, duration = timer_;
        error = rejecting() ? error_ : state_ < State::connected ? Error::connect_timeout : Error::response_timeout;
        if (state_ == State::connected) {
            then = received_at_;
            duration = options_->response_timeout_ms;
            const bool full = blocked_ && inbox_.full();
            if (full && !inbox_.has_open()) {
                // All received messages wait for a PUBREL, which can only come behind the one that cannot be taken. It
                // gets the time that an answer has, so that the server sees ours: then it begins the next connection
                // with PUBREL.
                error = Error::receive_maximum_exceeded;
            } else if (outbox_.stream_left() != 0 && keep_alive() != 0) {
                // No ping can be sent within a message; its payload has to move instead.
                if (since(sent_at_) < since(then)) then = sent_at_;
                duration += ping_interval();
            } else {
                // Where it is the application that lets PINGRESP wait, there is none.
                if (!pinging_ || (full && inbox_.due() == nullptr)) return forever;
                then = timer_;   // [MQTT-3.12.4-1]
            }
        }
        return left_of(duration, since(then));
    }
    static uint32_t most(uint32_t a, uint32_t b) { return a > b ? a : b; }
    static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
    uint32_t ping_interval() const { return keep_alive() * uint32_t{875}; }
    // Until a PINGREQ: 7/8 of the keep-alive time after we last sent something [MQTT-3.1.2-23], or after the server
    // did, which may be gone without our noticing.
    uint32_t ping_due() const {
        if (keep_alive() == 0 || outbox_.stream_left() != 0) return forever;
        const uint32_t silent = outbox_.ping_waits() ? 0 : since(sent_at_), deaf = pinging_ ? 0 : since(received_at_);
        return left_of(ping_interval(), most(silent, deaf));
    }
    bool ping_may_be_due() const {   // a quick look
        return now_ - sent_at_ >= ping_interval() || now_ - received_at_ >= ping_interval();
    }

    // ---- sending

    Encoded encode_connect(const ConnectOptions& o, Version version, const Buffer& out) const {
        unsigned flags = 0;
        if (!o.will.topic.empty()) {
            flags |= Connect::has_will | static_cast<unsigned>(o.will.qos) << 3;
            if (o.will.retain == Retain::yes) flags |= Connect::will_retain;
        }
        if (o.user_name.data() != nullptr) flags |= Connect::has_user_name;
        if (o.password.data() != nullptr) flags |= Connect::has_password;
        OwnConnect packet{o, o.client_id, static_cast<uint8_t>(version), 0, o.keep_alive, {}};
#if MQTT_ENABLE_V5
        // What is the default is not said.
        uint8_t own[16];
        size_t size = 0;
        const auto add = [&](uint8_t id, uint32_t value, unsigned bits) {
            if (value == 0) return;
            for (own[size++] = id; bits != 0;) own[size++] = static_cast<uint8_t>(value >> (bits -= 8));
        };
        add(prop::session_expiry_interval.id, o.clean_session ? 0 : o.session_expiry_interval, 32);
        add(prop::receive_maximum.id, inbox_.capacity() != 65535 ? inbox_.capacity() : 0, 16);
        add(prop::maximum_packet_size.id, o.maximum_packet_size, 32);
        add(prop::topic_alias_maximum.id, topic_alias_maximum_, 16);
        packet.more = Properties(own, size);
        if (packet.client_id.empty() && version == Version::v5) packet.client_id = client_id_;
        if (o.clean_session || (version == Version::v5 && start_clean_)) flags |= Connect::clean_session;
#else
        if (o.clean_session) flags |= Connect::clean_session;
#endif
        packet.flags = static_cast<uint8_t>(flags);
        return encode(packet, out, version);
    }
    // Can it be said in this version, and does it fit into rx?
    Error fits(const ConnectOptions& options, Version version) const {
        const Encoded connect = encode_connect(options, version, {rx_.data, 0});
        if (connect.error != Error::no_space) return connect.error;
        const uint32_t more = version == Version::v5 ? room_for_client_id(options) : 0;
        const size_t longer = variable_size(connect.size + more - 2) - variable_size(connect.size - 2);
        return connect.size + more + longer > rx_.size ? Error::buffer_too_small : Error::ok;
    }
    bool starts_clean() const {
#if MQTT_ENABLE_V5
        if (v5_ && start_clean_) return true;
#endif
        return options_->clean_session;
    }

    MQTT_HOT Result enqueue_message(Publish& message, bool stream, uint32_t size) {
        if (!accepting()) return {Error::not_started};
        const Error refused = supported(message.qos, message.retain == Retain::yes);
        if (refused != Error::ok) return {refused};
        message.packet_id = 0;
        if (message.qos != QoS::at_most_once) {
            if (connected() && outbox_.kept() >= window()) return {Error::receive_maximum_reached};
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
        while (const uint8_t* const due = inbox_.due()) {
            // Without a connection there is nobody to answer; a QoS 2 id is remembered all the same.
            if (connected() && !outbox_.append(Inbox::answer(due), load_u16(due), Outbox::for_answer, Inbox::reason(due)))
                return;
            inbox_.answered();
        }
    }

    // The application has seen the previous event: what it was told of is acknowledged now, and not before.
    MQTT_HOT void acknowledge_seen() {
        if (!inbox_.has_open()) return;
        if (!options_->manual_ack) inbox_.acknowledge_all();
        answer_open();
    }
    MQTT_HOT void settle() {
        acknowledge_seen();
        // Views that are kept too long are seen in tests.
        if (checked && legal_packets() != 0) {
            memset(rx_.data, 0xDD, in_begin_);
            memset(rx_.data + in_end_, 0xDD, rx_.size - in_end_);
        }
    }

    // ---- receiving

    static void tell(Event& event, Event::Kind kind, uint16_t packet_id = 0) {
        event.kind = kind;
        event.packet_id = packet_id;
    }
    static void tell_dropped(Event& event, uint16_t packet_id, Error error) {
        tell(event, Event::dropped, packet_id);
        event.error = error;
    }

    // Events that are not a packet.
    MQTT_HOT void told_later(Event& event) {
        if constexpr (storing) {
            if (log().tell) {
                log().tell = false;
                tell(event, Event::storage_trouble);
                event.error = log().trouble;
                return;
            }
            if (log().drop_error != Error::ok && !wants_close()) {
                tell_dropped(event, log().dropped, log().drop_error);
                log().drop_error = Error::ok;
                return;
            }
        }
        if (outbox_.is_closed() && answering()) {
            resume(event);
            if (event.kind != Event::none) return;
        }
#if MQTT_ENABLE_V5
        const Offset expired = outbox_.expired(now_);
        if (expired != Outbox::nowhere && !wants_close()) {
            tell_dropped(event, outbox_.id_of(expired), Error::message_expired);
            return outbox_.expire(expired);
        }
#endif
        if (!outbox_.stream_resends() || wants_close()) return;
        outbox_.told_to_resend();
        tell(event, Event::resend_payload, outbox_.stream_id());
    }

    // After CONNACK: what is left of earlier connections goes out again, up to something that has to be told as
    // dropped: by this event, or if that tells something else already, by the next one.
    void resume(Event& event) {
        const bool ours = session_ != 0;
        for (Offset place; (place = outbox_.next_to_resume()) != Outbox::nowhere;) {
            const Error error = !ours && outbox_.was_sent(place) ? Error::session_lost : v5_ ? sendable(place) : Error::ok;
            if (error == Error::ok) {
                outbox_.resume(place);
                continue;
            }
            if (event.kind != Event::none) return;
            tell_dropped(event, outbox_.id_of(place), error);
            outbox_.drop(place);
        }
        outbox_.resumed();
        if (!session_kept()) session_is(0);
        else if (!ours) session_is(server_identity());
    }
    bool session_kept() const { return !options_->clean_session && limits_.session_kept; }

    // The first packet in rx, if it is all there.
    MQTT_PART Step receive(Event& event) {
        const uint8_t* const packet = rx_.data + in_begin_;
        const size_t size = in_end_ - in_begin_;
        FixedHeader header;
        if (read_fixed_header(packet, size, header, version()) != Error::ok) return reject(Error::malformed_packet);
        if ((bit(header.type()) & legal_packets()) == 0) return reject(Error::protocol_error);
        if (header.size == 0) return Step::wait;
        if (has_v5 && v5_ && options_->maximum_packet_size != 0 && header.packet_size() > options_->maximum_packet_size)
            return reject(Error::oversize_packet);   // [5: MQTT-3.1.2-24]
        if (size - header.size < header.remaining_length) {
            if (header.packet_size() <= rx_.size) return Step::wait;
            if (header.type() != PacketType::publish) return reject(Error::oversize_packet);
            return size < rx_.size ? Step::wait : begin_message(header);
        }
        if (!can_answer(header.first_byte)) return Step::wait;
        const Bytes body(packet + header.size, static_cast<size_t>(header.remaining_length));
        if (header.type() == PacketType::publish) return on_publish(header.size, body.size(), event);
        in_begin_ += header.packet_size();
        if ((bit(header.type()) & Answer::types) != 0) return on_answer(header.first_byte, body, event);
        switch (header.type()) {
        case PacketType::connack: return on_connack(body, event);
#if MQTT_ENABLE_V5
        case PacketType::disconnect:
        case PacketType::auth: return on_disconnect(header.first_byte, body, event);
#endif
        default:   // PINGRESP
            if (!body.empty()) return reject(Error::malformed_packet);
            pinging_ = false;
            tell(event, Event::pingresp);
            return Step::go_on;
        }
    }
    // The connection ends by the server's fault. In MQTT 5 it is told why, if that can be written now.
    MQTT_APART Step reject(Error error) {
#if MQTT_ENABLE_V5
        if (v5_ && (state_ == State::awaiting_connack || outbox_.between_packets())) {
            leave();
            error_ = error;
            reason_ = reason_of(error);
            rx_.data[0] = first_byte_of(PacketType::disconnect);
            rx_.data[1] = reason_ != ReasonCode::success ? 1 : 0;
            rx_.data[2] = static_cast<uint8_t>(reason_);
            in_begin_ = head_ = 0;
            in_end_ = rx_.data[1] + 2U;
            enter(State::rejecting);
            return Step::wait;
        }
#endif
        fail(error);
        return Step::wait;
    }
    // A packet is not looked at before there is room for the answer to it; until then TCP holds the server back.
    MQTT_HOT bool can_answer(uint8_t first_byte) {
        constexpr unsigned always = bit(PacketType::pubrec) | bit(PacketType::pubrel);
        const bool answered = first_byte >> 4 == 3 ? (first_byte & 0x06) != 0 : (always >> (first_byte >> 4) & 1) != 0;
        blocked_ = answered && !outbox_.can_answer();
        return !blocked_;
    }
    // The same for a message that has to be remembered, and finds the inbox full.
    MQTT_APART bool finds_place() {
        if (v5_ && inbox_.forget_carried()) return true;
        // [5: MQTT-3.3.4-9], but first our answers go out, so that each connection gets on: mosquitto 2.0.11 sends more
        // than it may whenever messages wait there.
        if (v5_ && output().empty())
            (void)reject(Error::receive_maximum_exceeded);
        else
            blocked_ = true;
        return false;
    }

    MQTT_APART Step on_connack(const Bytes& body, Event& event) {
        Connack connack;
        // Servers that do not know MQTT 5 answer in the form of 3.1.1, which 5 does not have.
        const bool old_form = has_v5 && v5_ && body.size() == 2;
        if (old_form && body[1] == static_cast<uint8_t>(ReasonCode::unsupported_protocol_version)) {
            connack.reason = ReasonCode::unsupported_protocol_version;
        } else {
            const Error error = decode_body(first_byte_of(PacketType::connack), body, connack,
                                            old_form ? Version::v3_1_1 : version());
            if (error != Error::ok) return reject(error);
            if (old_form && connack.reason == ReasonCode::success) return reject(Error::malformed_packet);
        }
        if (connack.reason != ReasonCode::success) {
            reason_ = connack.reason;
#if MQTT_ENABLE_V5
            settled_ = settled_ || (v5_ && !old_form && reason_ != ReasonCode::unsupported_protocol_version);
            refused_v5(connack.properties);
#endif
            fail(Error::connection_refused);
            return Step::wait;
        }
        const bool present = connack.session_present();
        if (present && starts_clean()) return reject(Error::protocol_error);   // [MQTT-3.2.2-1]
        const bool ours = present && (session_ == identity_ || session_ == server_identity());
#if MQTT_ENABLE_V5
        const Error error = accepted(connack, ours);
        if (error != Error::ok) return reject(error);
#endif
        if (!ours) {
            if constexpr (storing) log().inbox_cleared = log().inbox_cleared || inbox_.answered_count() != 0;
            inbox_.clear();
            session_is(0);
        }
        enter(State::connected);
        tell(event, Event::connected);
        event.session_present = present;
        event.properties = connack.properties;
        resume(event);
        return Step::go_on;
    }

    // decode_body() to where nothing takes an address, so that it need not be in memory.
    template <class Layout, class Packet>
    MQTT_HOT Error decode_own(uint8_t first_byte, const Bytes& body, Packet& packet) const {
        const auto fields = reading<Packet, Layout>();
        if constexpr (wide) {
            if (decode_with<BasicReader<true>>(fields, first_byte, body, &packet, version()) == Error::ok) return Error::ok;
            Packet slow;
            const Error error = decode_slowly(fields, first_byte, body, &slow, version());
            return packet = slow, error;
        } else {
            return decode_slowly(fields, first_byte, body, &packet, version());
        }
    }
    // A message is put together where the event has it: this is what decoding does not set.
    static Message& new_message(Event& event) {
        event.message.packet_id = 0;
        event.message.properties = Properties();
        return event.message;
    }
    MQTT_FLAT MQTT_APART Step on_publish(size_t header_size, size_t body_size, Event& event) {
        const uint8_t* const data = rx_.data + in_begin_;
        Message& message = new_message(event);
        const Error error = decode_own<Publish>(data[0], Bytes(data + header_size, body_size), message);
        if (error != Error::ok) return reject(error);
        message.offset = 0;
        message.total = static_cast<uint32_t>(message.payload.size());
        if (!deliver(event)) return Step::wait;
        in_begin_ += header_size + body_size;
        return Step::go_on;
    }
    // One more piece of a message, or all of it. A QoS 2 message that we have already is only answered. False: not now.
    MQTT_HOT bool deliver(Event& event) {
        Message& message = event.message;
        const bool known = message.qos == QoS::exactly_once && inbox_.has(message.packet_id);
        if (message.qos != QoS::at_most_once && !known && inbox_.full() && !finds_place()) return false;
        if constexpr (has_v5)
            if (v5_ && !message.properties.empty() && !resolve(message)) return false;
        const bool complete = message.complete();
        if (known) {
            if (complete) answer_again(message.packet_id);
            return true;
        }
        if (complete && message.qos != QoS::at_most_once) inbox_.push(message.packet_id, message.qos);
        if (message.topic.empty()) {   // there was no room for it, here or when its alias was set
            if (complete) tell_skipped(event);
            return true;
        }
        tell(event, Event::received, message.packet_id);
        event.properties = message.properties;
        return true;
    }
    // A message that the application cannot get is taken over in its place, so that it does not come again and again.
    MQTT_APART void tell_skipped(Event& event) {
        Message& message = event.message;
        if (message.packet_id != 0 && inbox_.acknowledge(message.packet_id)) answer_open();
        tell(event, Event::skipped, message.packet_id);
        message.offset = 0;
        message.payload = Bytes();
        message.properties = Properties();
    }

    MQTT_APART void answer_again(uint16_t packet_id) {
        inbox_.received_again(packet_id);
        answer_open();
    }

    // PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK. One for an id that waits for nothing is passed over.
    MQTT_FLAT MQTT_APART Step on_answer(uint8_t first_byte, Bytes body, Event& event) {
        Answer answer;
        const Error error = decode_own<Answer>(first_byte, body, answer);
        if (error != Error::ok) return reject(error);
        if constexpr (has_v5)
            if (unasked(answer.properties)) return reject(Error::protocol_error);   // [5: MQTT-3.1.2-29]
        Event::Kind kind = Event::pubrel;
        if (answer.type == PacketType::pubrel) {
            // Also for an id that we do not know: the server may not have seen our PUBCOMP.
            const bool known = inbox_.released(answer.packet_id);
            (void)outbox_.append(first_byte_of(PacketType::pubcomp), answer.packet_id, Outbox::for_answer,
                                 known ? ReasonCode::success : ReasonCode::packet_identifier_not_found);
        } else {
            const Offset place = outbox_.find(answer.packet_id);
            if (place == Outbox::nowhere) return Step::go_on;
            const Transition& transition = transition_by(answer.type);
            const bool pubrec = answer.type == PacketType::pubrec;
            const uint8_t record = outbox_.first_byte(place);
            if ((record & 0xF6) != transition.record) {
                if (pubrec && record >> 4 == 6) return Step::go_on;   // our PUBREL is on its way
                return reject(Error::protocol_error);
            }
            if (!answer.reason_codes.empty() && outbox_.filters(place) != answer.reason_codes.size())
                return reject(Error::protocol_error);   // [MQTT-3.8.4-5]
            kind = transition.event;
            if (pubrec && granted(answer.reason)) {
                outbox_.release(place);
            } else {
                if (pubrec) kind = Event::acknowledged;   // refused [5: MQTT-4.4.0-2]
                outbox_.erase(place);
            }
        }
        tell(event, kind, answer.packet_id);
        event.reason = answer.reason;
        event.reason_codes = answer.reason_codes;
        event.properties = answer.properties;
        return Step::go_on;
    }

    // ---- MQTT 5

    // Does the server take it? Without a connection, everything may be queued; resume() asks again. In 3.1.1 it does.
    Error supported(QoS qos, bool retain) const {
        if (qos > QoS::exactly_once) return Error::ok;
        if (static_cast<unsigned>(qos) > limits_[Limits::maximum_qos]) return Error::qos_not_supported;
        return retain && limits_[Limits::retain_available] == 0 ? Error::retain_not_supported : Error::ok;
    }
    Error supported(std::string_view filter) const {
        if (limits_[Limits::shared_subscription_available] == 0 && is_shared(filter))
            return Error::shared_subscriptions_not_supported;
        return limits_[Limits::wildcard_subscription_available] == 0 && has_wildcard(filter)
                   ? Error::wildcard_subscriptions_not_supported : Error::ok;
    }
    Error sendable(Offset place) const {
        if (outbox_.wire_size(place) > outbox_.maximum_packet_size) return Error::packet_too_large;
        const uint8_t first = outbox_.first_byte(place);
        if (first >> 4 == 3) return supported(static_cast<QoS>(first >> 1 & 3), (first & 1) != 0);
        if (first >> 4 != 8) return Error::ok;
        if (limits_[Limits::subscription_identifier_available] == 0 &&
            outbox_.has_property(place, prop::subscription_identifier.id))
            return Error::subscription_identifiers_not_supported;
        Error error = Error::ok;
        std::string_view filter;
        for (Offset at = 0; error == Error::ok && outbox_.next_filter(place, at, filter);)
            error = supported({filter.data(), filter.size()});   // else a Cortex-M0 makes a memcpy()
        return error;
    }

#if MQTT_ENABLE_V5
    // The request that was appended last, which else is gone again.
    Error request_supported() {
        const Error error = sendable(outbox_.last());
        if (error != Error::ok) outbox_.take_back();
        return error;
    }
    bool assigns_client_id(const ConnectOptions& o) const {
        return o.version == Version::v5 && client_id_memory_.size != 0;
    }
    bool falling_back() const { return fall_back_; }
    uint32_t server_identity() const { return server_identity_; }

    Error prepare_v5(const ConnectOptions& o, uint32_t identity) {
        const bool v5 = o.version != Version::v3_1_1;
        const Properties& p = o.properties;
        if (v5 && !received_aliases_.can_be(topic_alias_maximum_)) return Error::buffer_too_small;
        if (v5 && (p.has<prop::session_expiry_interval, prop::receive_maximum, prop::maximum_packet_size,
                         prop::topic_alias_maximum>() ||
                   (p.has<prop::authentication_data>() && !p.has<prop::authentication_method>())))
            return Error::invalid_properties;
        if (!outbox_.set_version(v5)) return Error::no_space;
        v5_ = v5;
        settled_ = refuses_v5_ = false;
        const bool unknown = error_ == Error::session_unknown && identity == identity_;
        start_clean_ = o.clean_session || o.clean_start || unknown;
        server_reference_ = {};
        if (session_ != identity) client_id_ = {};
        return Error::ok;
    }

    // A refusal is clear. Some servers just close, but a connection that was up once shows that this one does not.
    bool does_not_know_v5(Error error) const {
        if (referred_) return false;   // the second half would be at another server
        if (error == Error::connection_refused) return reason_ == ReasonCode::unsupported_protocol_version;
        const bool silent = state_ == State::connecting || (state_ == State::awaiting_connack && in_begin_ == in_end_);
        return error == Error::connection_lost && silent && !settled_;
    }

    // What is known of a server ends with the connection.
    void forget_server() {
        received_aliases_.clear();
        sent_aliases_.clear();
        authentication_ = none;
        for (unsigned i = 0; i < Limits::names; ++i) limits_.of[i] = no_limits.of[i];
        limits_.session_kept = true;
        outbox_.maximum_packet_size = 0xFFFFFFFF;
    }
    // False: it is not to be told.
    bool closed_v5() {
        forget_server();
        if (state_ == State::stopped) return true;
        if (fall_back_) {   // of one attempt, this was the first half
            refuses_v5_ = error_ == Error::connection_refused;
            settled_ = v5_ = false;
            reason_ = ReasonCode::success;
            last_properties_ = {};
            return false;
        }
        if (!v5_ && options_->version == Version::v5_or_v3_1_1 && !(settled_ && refuses_v5_)) {
            v5_ = outbox_.set_version(true);   // silence may have been the network's
            settled_ = !v5_;
        }
        return true;
    }

    static ReasonCode reason_of(Error error) {
        switch (error) {
        case Error::malformed_packet: return ReasonCode::malformed_packet;
        case Error::protocol_error: return ReasonCode::protocol_error;
        case Error::oversize_packet: return ReasonCode::packet_too_large;
        case Error::receive_maximum_exceeded: return ReasonCode::receive_maximum_exceeded;
        case Error::topic_alias_invalid: return ReasonCode::topic_alias_invalid;
        case Error::session_unknown: return ReasonCode::success;   // nobody's fault
        default: return ReasonCode::implementation_specific_error;
        }
    }

    // The successful CONNACK.
    Error accepted(const Connack& connack, bool ours) {
        settled_ = true;
        if (!v5_) {
            (void)outbox_.set_version(false);   // becomes smaller
            return Error::ok;
        }
        const Properties& p = connack.properties;
        if (!is_method(p)) return Error::protocol_error;
        authentication_ = none;
        if (connack.session_present() && !ours && !options_->adopt_session) {
            start_clean_ = true;
            return Error::session_unknown;
        }
        if (p.has<prop::response_information>() &&
            options_->properties.number(prop::request_response_information, 0) == 0)
            return Error::protocol_error;   // [5: MQTT-3.1.2-28]
        const Error error = adopt(p.bytes(prop::assigned_client_identifier));
        if (error != Error::ok) return error;
        for (unsigned i = 0; i < Limits::names; ++i)
            limits_.of[i] = static_cast<uint16_t>(p.number(Limits::properties[i], limits_.of[i]));
        limits_.session_kept = p.number(prop::session_expiry_interval, options_->session_expiry_interval) != 0;
        outbox_.maximum_packet_size = p.number(prop::maximum_packet_size, outbox_.maximum_packet_size);
        if (outbox_.maximum_packet_size < outbox_.answer_size()) return Error::protocol_error;   // it wants no answers
        start_clean_ = false;
        return Error::ok;
    }
    Error adopt(const Bytes& assigned) {
        if (!options_->client_id.empty() || !client_id_.empty()) return Error::ok;
        if (assigned.data() == nullptr) return Error::protocol_error;   // [5: MQTT-3.2.2-16]
        if (client_id_memory_.size == 0) return Error::ok;
        if (assigned.size() > client_id_memory_.size) return Error::buffer_too_small;
        copy(client_id_memory_.data, assigned.data(), assigned.size());
        client_id_ = Bytes(client_id_memory_.data, assigned.size()).text();
        return Error::ok;
    }
    uint32_t room_for_client_id(const ConnectOptions& o) const {
        return o.client_id.empty() ? static_cast<uint32_t>(client_id_memory_.size - client_id_.size()) : 0;
    }
    // The same authentication method as in CONNECT, or none [5: MQTT-4.12.0-5, -6].
    bool is_method(const Properties& properties) const {
        const Bytes ours = options_->properties.bytes(prop::authentication_method);
        const Bytes theirs = properties.bytes(prop::authentication_method);
        return (ours.data() == nullptr) == (theirs.data() == nullptr) && equal(ours.text(), theirs.text());
    }

    // The server ends it: CONNACK or DISCONNECT.
    void refused_v5(const Properties& properties) {
        last_properties_ = properties;
        const bool elsewhere = reason_ == ReasonCode::use_another_server || reason_ == ReasonCode::server_moved;
        if (elsewhere && options_->follow_server_reference) follow(properties.bytes(prop::server_reference).text());
    }
    // The first of a list of NAME, NAME:PORT, [ADDRESS] and [ADDRESS]:PORT (5: section 4.11). It stays in rx until
    // then.
    void follow(std::string_view reference) {
        const bool brackets = !reference.empty() && reference[0] == '[';
        size_t i = find(reference, brackets ? ']' : ':', ' ');
        std::string_view name = front(reference, i);
        if (brackets) {
            if (i == reference.size() || reference[i++] != ']') return;
            name.remove_prefix(1);
        }
        uint32_t port = options_->port;
        if (i != reference.size() && reference[i] != ' ') {
            if (reference[i] != ':') return;
            for (port = 0; ++i != reference.size() && reference[i] != ' ';) {
                const unsigned digit = static_cast<unsigned>(reference[i]) - '0';
                if (digit > 9 || port > 6553) return;
                port = port * 10 + digit;
            }
        }
        if (port == 0 || port > 65535) return;
        server_reference_ = name;
        reference_port_ = static_cast<uint16_t>(port);
    }
    MQTT_APART Step on_disconnect(uint8_t first_byte, const Bytes& body, Event& event) {   // or AUTH
        Disconnect packet;
        const Error error = decode_body(first_byte, body, packet, Version::v5);
        if (error != Error::ok) return reject(error);
        if (packet.type == PacketType::auth) return on_auth(packet, body.empty(), event);
        if (packet.reason == ReasonCode::disconnect_with_will_message ||
            packet.properties.has<prop::session_expiry_interval>())   // only a client has these [5: MQTT-3.14.2-2]
            return reject(Error::protocol_error);
        reason_ = packet.reason;
        refused_v5(packet.properties);
        fail(Error::server_disconnected);
        return Step::wait;
    }
    bool may_send(const Disconnect& packet) const {
        const bool kept = !options_->clean_session && options_->session_expiry_interval != 0;
        return (kept || packet.properties.number(prop::session_expiry_interval, 0) == 0) &&   // section 3.14.2.2.2
               !packet.properties.has<prop::server_reference>();
    }

    void ended_by(const Disconnect& packet) {
        if (packet.properties.number(prop::session_expiry_interval, 1) != 0) return;
        limits_.session_kept = false;
        if (!outbox_.is_closed()) session_is(0);
    }

    // Section 4.12.
    Step on_auth(const Disconnect& packet, bool short_form, Event& event) {
        const bool starting = state_ == State::awaiting_connack;
        const bool expected = packet.reason == ReasonCode::continue_authentication ||
                              (packet.reason == ReasonCode::success && !starting);
        if (!expected || !options_->properties.has<prop::authentication_method>() ||
            authentication_ != (starting ? none : server) ||
            !(is_method(packet.properties) || short_form) ||   // what is left out altogether is a success
            (quiet() && packet.properties.has<prop::reason_string, prop::user_property>()))
            return reject(Error::protocol_error);
        settled_ = true;
        authentication_ = packet.reason == ReasonCode::success ? none : client;
        tell(event, Event::authentication);
        event.reason = packet.reason;
        event.properties = packet.properties;
        return Step::go_on;
    }
    // Request Problem Information 0: only some packets may have reason strings and user properties [5: MQTT-3.1.2-29].
    bool quiet() const { return options_->properties.number(prop::request_problem_information, 1) == 0; }
    bool unasked(const Properties& properties) const { return !properties.empty() && quiet(); }

    // Topic aliases are ours to set, identifiers the server's [5: MQTT-3.3.4-6].
    static bool may_have(const Properties& p) {
        return p.empty() || !p.has<prop::topic_alias, prop::subscription_identifier>();
    }
    // Section 3.3.2.3.3.
    MQTT_HOT Result enqueue_expiring(Publish& message, bool stream, uint32_t size) {
        const Result result = enqueue_message(message, stream, size);
        if (!message.properties.empty() && result.ok()) outbox_.last_expires(now_);
        return result;
    }
    // Only QoS 0: what may be sent again on another connection has its topic with it.
    Result publish_aliased(Publish& message) {
        const bool possible = connected() && message.qos == QoS::at_most_once && message.topic.size() > 3;
        if (!possible) return enqueue_expiring(message, false, 0);
        const std::string_view topic = message.topic;
        uint16_t alias = sent_aliases_.find(topic);
        const bool is_new = alias == 0;
        if (is_new && (sent_aliases_.count() == limits_[Limits::topic_alias_maximum] || !sent_aliases_.has_room(topic)))
            sent_aliases_.clear();
        if (is_new && !sent_aliases_.has_room(topic)) return enqueue_expiring(message, false, 0);
        if (is_new) alias = static_cast<uint16_t>(sent_aliases_.count() + 1);
        uint8_t own[3];
        own[0] = prop::topic_alias.id;
        store_u16(own + 1, alias);
        message.more = own;
        if (!is_new) message.topic = {};
        const Result result = enqueue_expiring(message, false, 0);
        if (!is_new) return result;
        if (result.ok()) sent_aliases_.set(alias, topic);
        if (result.error != Error::no_space && result.error != Error::packet_too_large) return result;
        message.more = {};   // without the alias, it may fit
        return enqueue_expiring(message, false, 0);
    }
    // Puts the topic in the place of its alias. False: the server must not use it, or we have missed what it is for.
    MQTT_APART bool resolve(Message& message) {
        const uint16_t alias = static_cast<uint16_t>(message.properties.number(prop::topic_alias, 0));
        if (alias == 0) return true;
        Error error = alias > topic_alias_maximum_ ? Error::topic_alias_invalid : Error::ok;
        if (error == Error::ok) {
            if (!message.topic.empty())
                received_aliases_.set(alias, message.topic, topic_alias_maximum_);
            else if (!received_aliases_.find(alias, message.topic))   // begins anew, so that nothing is lost
                error = received_aliases_.forgotten() ? Error::buffer_too_small : Error::protocol_error;
        }
        if (error == Error::ok) return true;
        (void)reject(error);
        return false;
    }
#else
    static bool assigns_client_id(const ConnectOptions&) { return false; }
    static uint32_t room_for_client_id(const ConnectOptions&) { return 0; }
    static bool falling_back() { return false; }
    uint32_t server_identity() const { return identity_; }
    Error request_supported();
    void ended_by(const Disconnect&);
    bool may_send(const Disconnect&) const;        // what is not called need not be there
    bool unasked(const Properties&) const;
    bool resolve(Message&);
    Result publish_aliased(Publish&);
    static bool may_have(const Properties&);
    Result enqueue_expiring(Publish&, bool, uint32_t);
#endif

    // ---- messages larger than rx

    // rx is full of the beginning of one. What comes before its payload stays in front, which passes behind it. If that
    // does not fit, the topic is passed over, so that the packet id comes into sight, and all behind that is payload.
    MQTT_APART Step begin_message(const FixedHeader& header) {
        const uint32_t topic = load_u16(rx_.data + header.size), id_size = (header.first_byte & 0x06) != 0 ? 2 : 0;
        uint32_t head = header.size + 2U + topic + id_size;
        uint32_t behind = v5_ ? 1 : 0, properties;   // the properties and their length
        bool fits = head < rx_.size;
        if (v5_ && fits) {
            const size_t length = load_variable(rx_.data + head, rx_.size - static_cast<size_t>(head), properties);
            if (length == malformed) return reject(Error::malformed_packet);
            if (length != 0) behind = static_cast<uint32_t>(length) + properties;
            fits = length != 0 && head + behind < rx_.size;
        }
        if (head + behind > header.packet_size()) return reject(Error::malformed_packet);
        if (fits) head += behind;
        to_skip_ = fits ? uint16_t{0} : static_cast<uint16_t>(topic);
        total_ = in_left_ = header.packet_size() - head;
        header_size_ = header.size;
        skipping_ = to_skip_ != 0;
        head_ = static_cast<size_t>(head - to_skip_);
#if MQTT_ENABLE_V5
        // A topic alias may be among what is not looked at, also one that we know already.
        if (skipping_) received_aliases_.forget();
#endif
        return Step::go_on;
    }

    // One more piece of it.
    MQTT_ONCE Step receive_piece(Event& event) {
        Message& message = new_message(event);
        Publish::set_first_byte(message, rx_.data[0]);
        if (to_skip_ != 0) {
            uint8_t* const topic = rx_.data + header_size_ + 2;
            size_t size = static_cast<size_t>(rx_.data + in_end_ - topic);
            if (size > to_skip_) size = to_skip_;
            in_end_ -= size;
            copy(topic, topic + size, static_cast<size_t>(rx_.data + in_end_ - topic));
            to_skip_ = static_cast<uint16_t>(to_skip_ - size);
            if (to_skip_ != 0) return Step::wait;
        }
        if (in_end_ < head_) return Step::wait;   // the packet id
        size_t size = in_end_ - head_;
        if (size < in_left_ && in_end_ != rx_.size && !skipping_) return Step::wait;
        if (size > in_left_) size = static_cast<size_t>(in_left_);
        if (!can_answer(rx_.data[0])) return Step::wait;
        Error error = Error::ok;
        message.topic = {};
        if (!skipping_)
            error = decode_own<Publish>(rx_.data[0], Bytes(rx_.data + header_size_, head_ - header_size_), message);
        else if (message.qos != QoS::at_most_once && (message.packet_id = load_u16(rx_.data + head_ - 2)) == 0)
            error = Error::malformed_packet;
        if (error != Error::ok) return reject(error);
        message.payload = Bytes(rx_.data + head_, size);
        message.offset = total_ - in_left_;
        message.total = total_;
        if (!deliver(event)) return Step::wait;
        in_left_ -= static_cast<uint32_t>(size);
        if (in_left_ != 0) {
            in_end_ = head_;
            return skipping_ ? Step::wait : Step::go_on;
        }
        in_begin_ = head_ + size;
        head_ = 0;
        return Step::go_on;
    }

    void session_is(uint32_t session) {
        if constexpr (storing) log().session_due = log().session_due || log().inbox_cleared || session != session_;
        session_ = session;
    }

    // ---- storage

    Log& log() { return this->log_; }
    const Log& log() const { return this->log_; }

    // A hash that collides where the other one does would do as little as none: it takes the texts the other way round.
    static uint32_t check_of(const ConnectOptions& o) {
        return hash(hash(~uint32_t{o.port}, o.client_id) ^ 0xFF, o.host) | 1;
    }
    bool is_others(uint32_t identity, const ConnectOptions& o) const {
        return log().others && (identity != identity_ || check_of(o) != log().check);
    }
    void begin_storing(uint32_t identity, const ConnectOptions& o) {
        if (is_others(identity, o)) {
            outbox_.restore_all_sent();   // so that all of it is dropped
            inbox_.clear();
            session_ = 0;
        }
        if (identity != identity_ || check_of(o) != log().check) log().begin = log().barrier = true;
        log().check = check_of(o);
        log().others = false;
        log().ready = true;
    }

    // Must what is queued wait for storage? Apart from packets that are no records yet: those are behind `durable`.
    bool held() {
        if (!log().ready || log().ignored) return false;
        const bool said = log().phase == Log::Phase::committed ? sending_due() == 0 : log().said_sent;
        return log().barrier || log().session_due || !said;
    }
    // What the log does not say yet about which messages may have been sent: a note's kind; 0: nothing.
    uint8_t sending_due() {
        using Sending = Log::Sending;
        const bool message_next = log().phase == Log::Phase::committed && outbox_.untaken_is_message();
        if (outbox_.is_open()) return log().sending != Sending::sent && outbox_.kept() != 0 ? Note::sent : uint8_t{0};
        if (log().sending == Sending::sent) return message_next ? Note::waiting : uint8_t{0};
        const uint16_t admitted = outbox_.admitted_last();
        if (admitted != 0 && admitted != log().covered) return Note::sent_through;
        return log().sending == Sending::unknown && message_next ? Note::waiting : uint8_t{0};
    }
    void note(uint8_t kind) {
        log().note[0] = kind;
        log().note_size = 1;
    }
    void note_u16(uint16_t value) {
        store_u16(log().note + log().note_size, value);
        log().note_size = static_cast<uint8_t>(log().note_size + 2);
    }
    void note_u32(uint32_t value) {
        note_u16(static_cast<uint16_t>(value >> 16));
        note_u16(static_cast<uint16_t>(value));
    }
    void note_sending(uint8_t kind) {
        note(kind);
        log().sending = kind == Note::sent ? Log::Sending::sent : Log::Sending::waiting;
        if (kind == Note::sent_through) note_u16(log().covered = outbox_.admitted_last());
        log().barrier = log().barrier || log().phase == Log::Phase::committed;
    }
    // The next note, if one is due.
    void compose() {
        using Phase = Log::Phase;
        switch (log().phase) {
        case Phase::identity:
            note(Note::identity);
            log().note[log().note_size++] = static_cast<uint8_t>(Note::format | (v5_packets() ? 2 : 0));
            note_u32(identity_);
            note_u32(log().check);
            note_u32(session_);
            note_u16(outbox_.next_id());
            log().v5 = v5_packets();
            log().barrier = log().barrier || log().session_due;
            log().session_due = log().inbox_cleared = false;
            log().phase = Phase::inbox;
            return;
        case Phase::inbox:
            if (log().inbox_at < inbox_.answered_count()) {
                note(first_byte_of(PacketType::pubrec));
                log().note[log().note_size++] = 2;
                return note_u16(inbox_.id(log().inbox_at++));
            }
            log().phase = Phase::messages;
            [[fallthrough]];
        case Phase::messages:
            // All that is there, not just what the old log has: a PUBREL may have its message there.
            if (!outbox_.untaken().empty()) return;
            // What the log does not know the session of yet has not been sent in it.
            note_sending(log().session_due ? Note::waiting
                         : outbox_.is_open() ? Note::sent
                         : outbox_.admitted_last() != 0 ? Note::sent_through : Note::waiting);
            log().phase = Phase::written;
            return;
        case Phase::written: return;
        case Phase::committed: break;
        }
        if (log().session_due) {
            note(Note::session);
            log().note[log().note_size++] = log().inbox_cleared;
            note_u32(session_);
            log().session_due = log().inbox_cleared = false;
            log().barrier = true;
        } else if (outbox_.finished() != 0) {
            note(Note::finished);
            log().note_size = static_cast<uint8_t>(1 + outbox_.finished_ids(log().note + 1).size());
        } else if (const uint8_t kind = sending_due()) {
            // "Sent through" speaks of messages before it: first comes that one's record.
            if (kind != Note::sent_through || outbox_.is_taken(outbox_.admitted_last())) note_sending(kind);
            else if (log().sending == Log::Sending::unknown) note_sending(Note::waiting);
        }
    }
    bool v5_packets() const { return has_v5 && outbox_.is_v5(); }
    // From storage. A code of "Storage" at the port.
    static Error error_of(int result) {
        const int codes = static_cast<int>(Error::storage_misused) - static_cast<int>(Error::storage_failed);
        return result < -1 - codes ? Error::storage_failed
                                   : static_cast<Error>(static_cast<int>(Error::storage_failed) - 1 - result);
    }
    void works() {
        log().repeated = false;
        log().trouble = Error::ok;
    }
    void not_stored(StorageCall call, int result) {
        using Phase = Log::Phase;
        const Error error = error_of(result);
        const bool packet = call == StorageCall::save && log().note_size == 0;
        log().saving = 0;
        log().asked = false;
        if (error == Error::storage_too_large && packet && outbox_.untaken_is_message()) {
            if (log().drop_error != Error::ok) return;   // later
            log().dropped = outbox_.drop_untaken();
            log().drop_error = error;
            again_ = true;
            return;
        }
        const bool writing = log().phase != Phase::committed;
        if (error == Error::storage_full && call == StorageCall::save && !writing && !log().repeated) {
            log().begin = log().repeated = true;
            return;
        }
        log().begin = log().begin || writing || log().repeated;   // beginning elsewhere may help
        log().repeated = true;
        log().tell = log().tell || log().told != error;
        log().told = error;
        log().trouble = error;
        log().failed_at = now_;
        again_ = again_ || log().tell;
    }
    void forget_restored() {
        outbox_.forget_all();
        inbox_.clear();
        log().sending = Log::Sending::unknown;
        log().others = false;
        identity_ = session_ = 0;
    }
    // One record, which lies behind the outbox's end.
    Error restore(const uint8_t* record, size_t size) {
        using Sending = Log::Sending;
        const bool sent = log().sending == Sending::sent, newest = log().sending != Sending::unknown;
        if (!log().others && record[0] != Note::identity) return Error::storage_corrupt;
        switch (record[0]) {
        case Note::identity:
            if (size != Note::longest || log().others || (record[1] & ~2) != Note::format) return Error::storage_foreign;
            if (!outbox_.restore_version((record[1] & 2) != 0)) return Error::storage_foreign;
            log().v5 = (record[1] & 2) != 0;
            identity_ = load_u32(record + 2);
            log().check = load_u32(record + 6);
            session_ = load_u32(record + 10);
            outbox_.restore_next_id(load_u16(record + 14));
            log().others = true;
            return Error::ok;
        case Note::session:
            if (size != 6) return Error::storage_corrupt;
            if (record[1] != 0) inbox_.clear();
            session_ = load_u32(record + 2);
            return Error::ok;
        case Note::sent: outbox_.restore_all_sent(); log().sending = Sending::sent; return Error::ok;
        case Note::waiting: log().sending = Sending::waiting; return Error::ok;
        case Note::sent_through:
            if (size != 3) return Error::storage_corrupt;
            outbox_.restore_sent(load_u16(record + 1));
            log().sending = Sending::waiting;
            return Error::ok;
        case Note::finished:
            for (size_t i = 1; i + 1 < size; i += 2) outbox_.restore_finished(load_u16(record + i));
            return Error::ok;
        case first_byte_of(PacketType::pubrec):
            if (size < 4) return Error::storage_corrupt;
            return inbox_.restore(load_u16(record + 2)) ? Error::ok : Error::buffer_too_small;
        case first_byte_of(PacketType::pubcomp):
            if (size < 4) return Error::storage_corrupt;
            (void)inbox_.released(load_u16(record + 2));
            return Error::ok;
        default: return outbox_.restore(size, sent, newest) ? Error::ok : Error::storage_corrupt;
        }
    }
    uint32_t storage_idle_ms() {
        const uint32_t left = left_of(storage_retry_ms, since(log().failed_at));
        if (log().trouble != Error::ok && left != 0) return log().ready && !log().ignored ? left : forever;
        return storage_due() != StorageCall::none ? 0 : forever;
    }
    static constexpr uint32_t storage_retry_ms = 1000;
    // Small ones first: on a Cortex-M0 a byte beyond offset 31 takes a longer way.
    State state_ = State::stopped;
    Error error_ = Error::ok;              // why the last connection ended
    ReasonCode reason_ = ReasonCode::success;
    uint8_t attempts_ = 0;
    uint8_t header_size_ = 0;              // of a message that is larger than rx
    bool skipping_ = false;                // ... whose topic does not fit either
    bool pinging_ = false;                 // a PINGREQ is not answered ...
    bool ping_unseen_ = false;             // ... and none has been written yet
    bool payload_waits_ = false;           // the port took less of a payload than it was offered
    bool broken_ = false;                  // writing has failed
    bool drained_ = true;                  // nothing that has come is left to be looked at ...
    bool again_ = false;                   // ... but something may be possible that was not
    bool blocked_ = false;                 // a packet cannot be taken yet: no room for its answer
#if MQTT_ENABLE_V5
    bool v5_ = false;                      // the version of this connection, or attempt
    bool settled_ = false;                 // the server has shown that it knows it
    bool fall_back_ = false;               // it seems that it does not
    bool refuses_v5_ = false;              // it said so
    bool start_clean_ = false;             // the next CONNECT begins a new session
    bool referred_ = false;                // another server named the one of this connection
    enum : uint8_t { none, server, client } authentication_;   // whose turn it is
#else
    static constexpr bool v5_ = false;
#endif
    uint16_t to_skip_ = 0;                 // bytes of a topic that does not fit, to be passed over

    const ConnectOptions* options_ = nullptr;
    Buffer rx_;
    size_t in_begin_ = 0, in_end_ = 0;     // what has come (or is left of CONNECT), in rx_
    // A message that is larger than rx:
    size_t head_ = 0;                      // bytes of it that stay in front of rx; 0: there is none
    uint32_t total_ = 0, in_left_ = 0;     // bytes of its payload, and those to come

    uint32_t now_ = 0;
    uint32_t since_ = 0;                   // when this state began
    uint32_t timer_ = forever;             // what it has, in ms; connected: when the unanswered PINGREQ went out
    uint32_t sent_at_ = 0, received_at_ = 0;

    uint32_t identity_ = 0;                // hash of server and client id, never 0
    uint32_t session_ = 0;                 // whose session outbox and inbox belong to; 0: to one that has ended
    Outbox outbox_;
    Inbox inbox_;
#if MQTT_ENABLE_V5
    Limits limits_;
    Aliases received_aliases_, sent_aliases_;
    uint16_t topic_alias_maximum_;         // ours
    uint16_t reference_port_ = 0;
    Buffer client_id_memory_;
    std::string_view client_id_;           // what the server assigned
    std::string_view server_reference_;    // where to connect to next, in rx; empty: to options_->host
    Properties last_properties_;           // of the packet that ended the connection, in rx
    uint32_t server_identity_ = 0;         // identity_, but for a server that another one named (referred_)
#else
    static constexpr Limits limits_ = no_limits;
#endif
};

// ---------------------------------------------------------------------------------- 14 the port, and the client

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
//     // Storage, all of these or none: an append-only log of records. > 0 done, 0 not yet, < 0 it failed.
//     int load   (uint8_t* record, size_t size);        // after a reset: the next record, its size; 0: the end
//     int save   (const uint8_t* record, size_t size);  // takes one more
//     int sync   ();                                    // all that was taken is durable now
//     int compact();                                    // begins a new log, which counts from ...
//     int commit ();                                    // ... this on; until then the old one does
//
//     mqtt::Statistics statistics;                      // optional: the client counts in it
//
// After < 0 what was received before can still be read; then comes close(). Ports come with the library in platform/. A
// wrong or missing function is told by one static_assert.
//
// Storage. platform/storage.hpp has the contract to the letter, platform/journal.hpp gives it on flash, file_store.hpp
// on files. Codes below 0: -1 failed, -2 full, -3 corrupt, -4 foreign, -5 too large, -6 locked, -7 misused; as Error
// they are storage_failed to storage_misused. With it the client does this:
//   * The first connect() reads the log, and goes on where it ended. Nothing of it depends on time: what was on its way
//     when the power went is sent again with DUP, what was never sent goes out as if nothing had been.
//   * A QoS 1 or 2 message is durable before its first byte goes out, and each step of a QoS 2 exchange before the packet
//     that tells the server of it. All that one poll() accepted shares one sync(). stored() tells when all is durable.
//   * A received QoS 2 message counts as taken over by the application from the poll() after its event on (or from
//     acknowledge() on), once that is durable; when the power goes before, it comes again, and never after that.
//   * While storage is busy poll() goes on: what has come is told, what was queued before goes out. idle_ms() is 0 then.
//   * Trouble is told by Event::storage_trouble, and loses nothing; see there.
// Room: storage must hold twice what `tx` does, and a little more (20 bytes and the overhead of each record); with less, it
// can be full until messages are dropped. Pings, too, wait behind an unsaved message: storage that does not work for longer
// than the keep-alive time costs the connection. QoS 0
// messages, subscriptions and messages of begin_publish() are not kept: after a restart, subscribe anew. The session is
// that of client id, host and port, and no other one is ever sent there. MQTT 5: the time without power does not
// count for message_expiry_interval.
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
MQTT_PORT_HAS(has_load, int, some<Port>().load(some<uint8_t*>(), size_t{}));
MQTT_PORT_HAS(has_save, int, some<Port>().save(some<const uint8_t*>(), size_t{}));
MQTT_PORT_HAS(has_sync, int, some<Port>().sync());
MQTT_PORT_HAS(has_compact, int, some<Port>().compact());
MQTT_PORT_HAS(has_commit, int, some<Port>().commit());
#undef MQTT_PORT_HAS
template <class Port, class = void> struct has_statistics : std::false_type {};
template <class Port> struct has_statistics<Port, std::void_t<decltype(&Port::statistics)>> : std::true_type {};
template <class Port, class = void> struct names_random : std::false_type {};
template <class Port> struct names_random<Port, std::void_t<decltype(&Port::random)>> : std::true_type {};

}  // namespace detail

// What the client counts if the port has a public member `mqtt::Statistics statistics;`. Plain numbers, yours to read and
// to set to 0; they wrap around.
struct Statistics {
    uint32_t connects = 0, disconnects = 0;       // the latter with attempts that failed
    Error last_disconnect = Error::ok;            // of the last Event::disconnected
    uint32_t published = 0;                       // accepted by publish()
    uint32_t acknowledged = 0, received = 0;      // messages
    uint32_t bytes_sent = 0, bytes_received = 0;  // that the port took and gave
    uint32_t dropped_session_lost = 0, dropped_expired = 0, dropped_refused = 0;   // Event::dropped; the last: others
    uint32_t dropped_waiting = 0;                 // by drop_waiting(), publish_newest() and drop_aged()
    uint32_t tx_most = 0;                         // high-water mark of the outbox: bytes of packets and index, at publish()
    uint32_t round_trip_ms = 0;                   // from publish() to PUBACK or PUBREC, of the last message measured
    uint32_t records_saved = 0, bytes_saved = 0;  // in storage, without its own overhead
    uint32_t syncs = 0, compactions = 0, storage_troubles = 0;
    uint32_t erases = 0;                          // of flash: for your Flash::erase() to count

    // The client's part.
    void count(const Result& result, size_t used, bool connected, uint32_t now) {
        if (!result.ok()) return;
        ++published;
        if (used > tx_most) tx_most = static_cast<uint32_t>(used);
        if (result.packet_id == 0 || timed_id_ != 0 || !connected) return;
        timed_id_ = result.packet_id;
        timed_at_ = now;
    }
    void count(const Event& event, uint32_t now) {
        switch (event.kind) {
        case Event::connected: ++connects; break;
        case Event::disconnected:
            ++disconnects;
            last_disconnect = event.error;
            timed_id_ = 0;
            break;
        case Event::received: received += event.message.complete() ? 1 : 0; break;
        case Event::acknowledged: ++acknowledged; [[fallthrough]];
        case Event::pubrec:
            if (event.packet_id != timed_id_) break;
            round_trip_ms = now - timed_at_;
            timed_id_ = 0;
            break;
        case Event::dropped:
            ++(event.error == Error::session_lost ? dropped_session_lost
               : event.error == Error::message_expired ? dropped_expired : dropped_refused);
            break;
        case Event::storage_trouble: ++storage_troubles; break;
        default: break;
        }
    }
    void count(StorageCall done, size_t size) {
        if (done == StorageCall::commit) ++compactions;
        if (done == StorageCall::sync) ++syncs;
        if (done != StorageCall::save) return;
        ++records_saved;
        bytes_saved += static_cast<uint32_t>(size);
    }

private:
    uint16_t timed_id_ = 0;   // the message that is being timed
    uint32_t timed_at_ = 0;
};

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
    static constexpr bool storing = detail::has_load<Port>::value || detail::has_save<Port>::value;
    static constexpr bool counting = detail::has_statistics<Port>::value;
    static_assert(!storing || detail::has_load<Port>::value,
                  "a port needs: int load(uint8_t* record, size_t size)");
    static_assert(!storing || detail::has_save<Port>::value,
                  "a port needs: int save(const uint8_t* record, size_t size)");
    static_assert(!storing || detail::has_sync<Port>::value, "a port needs: int sync()");
    static_assert(!storing || detail::has_compact<Port>::value, "a port needs: int compact()");
    static_assert(!storing || detail::has_commit<Port>::value, "a port needs: int commit()");

public:
    // Port and memory must outlive the client.
    Client(Port& port, const Buffers& buffers) : engine_(buffers), port_(port) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    // Starts connecting; goes on, and connects again whenever the connection is lost, until disconnect(). `options`
    // must stay as they are until then. Unanswered messages of an earlier connect() are sent again if the server still
    // has the session of this client id, else dropped (Event::dropped); unsent ones are sent in any case.
    // Errors: already_started; invalid_client_id, invalid_topic (the will's), invalid_string, invalid_argument,
    // invalid_properties, buffer_too_small; no_space (what waits from a connect() with 3.1.1 becomes a byte or two
    // longer in MQTT 5, and that does not fit into `tx`).
    Result connect(const ConnectOptions& options) {
        engine_.at(port_.now_ms());
        const Error error = load();
        if (error != Error::ok) return {error};
        return {engine_.connect(options)};
    }

    // Sends what is queued and DISCONNECT, so that the server forgets the will, and closes; then Event::disconnected
    // with Error::ok, or response_timeout if the server takes no more; until then `options` are used. Without a
    // connection it just stops. What waits for in_flight_maximum, and what is not acknowledged, stays for the next
    // connect().
    // Errors: not_started; publish_in_progress (also if a message begun earlier is still to be sent again).
    // MQTT 5: the reason, of which disconnect_with_will_message lets the server publish the will (3.1.1 just closes for
    // any), and properties, of which session_expiry_interval changes how long the session is kept.
    // Errors there: invalid_argument (not a reason for DISCONNECT), invalid_properties (also: a session that was to end
    // with the connection cannot be kept), packet_too_large (for the server), no_space.
    Result disconnect(ReasonCode reason = ReasonCode::success, Properties properties = {}) {
        Disconnect packet;
        packet.reason = reason;
        packet.properties = properties;
        engine_.at(port_.now_ms());
        return {engine_.disconnect(packet)};
    }

    // Closes at once, without DISCONNECT: the server publishes the will.
    // Errors: not_started.
    Result abort() { return {engine_.abort()}; }

    // Does a bounded amount of work: hands out what has been received; if nothing is left, writes all that is queued
    // with one write, and reads once. Views in an event are valid until the next call, and a received QoS 1 or 2
    // message is acknowledged by the next call, unless `manual_ack` is set.
    Event poll() {
        if constexpr (!counting) return advance();
        const Event event = advance();
        count(event);
        return event;
    }

    // How long nothing has to be done unless the port can be read (or written, if wants_write()): 0 means poll() at
    // once, `forever` that no timer is running.
    uint32_t idle_ms() {
        engine_.at(port_.now_ms());
        return engine_.idle_ms();
    }
    bool wants_write() {
        if constexpr (storing) (void)engine_.storage_due();   // what need not wait for it any more
        return engine_.wants_open() || engine_.payload_waits() || !engine_.output().empty();
    }
    // False while what has come cannot be taken yet: nothing is read, so do not wait for the port to be readable.
    bool wants_read() { return engine_.input().size != 0; }
    bool connected() const { return engine_.connected(); }
    // That of this connection, or of the attempt at one.
    Version version() const { return engine_.version(); }
    // QoS 1 and 2 messages that were accepted and have not been acknowledged yet.
    uint16_t unacknowledged() const { return engine_.unacknowledged(); }

    // Is anything to be sent, or unanswered, or to be acknowledged?
    bool busy() { return engine_.busy(); }
    uint32_t now_ms() { return port_.now_ms(); }

    // Writes what is queued, as far as it goes; poll() does it when nothing received is left. For an application that
    // stops polling for a while.
    void flush() {
        engine_.at(port_.now_ms());
        write();
    }

    // Queues a message; copies topic and payload. Also without a connection: it is sent after the next one. QoS 1 and 2
    // are kept until answered, then Event::acknowledged has the packet id that is returned here.
    // Errors: no_space, receive_maximum_reached; not_started, invalid_topic, invalid_argument, packet_too_large (also
    // for the server, in MQTT 5), invalid_properties, qos_not_supported, retain_not_supported.
    MQTT_HOT Result publish(std::string_view topic, Bytes payload, QoS qos = QoS::at_most_once, Retain retain = Retain::no,
                   Properties properties = {}) {
        Publish packet;
        packet.topic = topic;
        packet.payload = payload;
        packet.qos = qos;
        packet.retain = retain;
        packet.properties = properties;
        if (!properties.empty()) engine_.at(port_.now_ms());   // they may have a Message Expiry Interval
        const Result result = engine_.publish(packet);
        if constexpr (counting)
            port_.statistics.count(result, engine_.used(), engine_.connected(), port_.now_ms());
        return result;
    }

    // Store and forward: what to do when messages wait, without a connection or behind in_flight_maximum, and `tx` is
    // full, or they are of no use any more. publish() says no_space, and these make room. They drop only messages that
    // were never sent; for those the call is the end, and no event follows. They return how many it were.

    // The oldest that wait: up to this QoS, on this topic (empty: any), at most `count`. With count = 0: how many wait.
    size_t drop_waiting(QoS most = QoS::at_most_once, std::string_view topic = {}, size_t count = static_cast<size_t>(-1)) {
        const size_t n = engine_.drop_waiting(most, topic, count);
        if constexpr (counting) port_.statistics.dropped_waiting += count != 0 ? static_cast<uint32_t>(n) : 0;
        return n;
    }
    // publish(), and the message takes the place of those that wait on the same topic. With an error, they stay; unless
    // it is no_space even when they are gone.
    Result publish_newest(std::string_view topic, Bytes payload, QoS qos = QoS::at_most_once, Retain retain = Retain::no,
                          Properties properties = {}) {
        Result result = publish(topic, payload, qos, retain, properties);
        if (result.error == Error::no_space && drop_waiting(QoS::exactly_once, topic) != 0)
            result = publish(topic, payload, qos, retain, properties);
        const size_t waiting = result.ok() ? drop_waiting(QoS::exactly_once, topic, 0) : 0;
        if (waiting > 1) (void)drop_waiting(QoS::exactly_once, topic, waiting - 1);
        return result;
    }
    // With storage: messages that waited already when this was called the last time. Called every T, it lets none wait
    // for longer than 2 T, and all for T. (MQTT 5 has message_expiry_interval, too.)
    size_t drop_aged() {
        size_t n = 0;
        if constexpr (storing) n = engine_.drop_aged();
        if constexpr (counting) port_.statistics.dropped_waiting += static_cast<uint32_t>(n);
        return n;
    }

    // Begins a message of `size` payload bytes, which write_payload() sends piece by piece, from your memory and
    // without a copy; until the last piece nothing else can be sent, pings neither: if it rests for longer than the
    // keep-alive time, the server (and after response_timeout_ms more, the client) ends the connection. One at a time;
    // with QoS 1 and 2 it has to be acknowledged before the next one. If the connection ends before that, a QoS 0
    // message is gone, and for the others the event resend_payload asks for the payload again, from its first byte (or
    // dropped tells that the session is lost).
    // Errors: publish_in_progress (also while messages wait for in_flight_maximum, or drops are being told: try again
    // later), not_connected, and those of publish().
    Result begin_publish(std::string_view topic, uint32_t size, QoS qos = QoS::at_most_once, Retain retain = Retain::no,
                         Properties properties = {}) {
        Publish packet;
        packet.topic = topic;
        packet.qos = qos;
        packet.retain = retain;
        packet.properties = properties;
        engine_.at(port_.now_ms());
        return engine_.begin_publish(packet, size);
    }
    // Errors: not_connected (or the turn of a message to be sent again has not come yet: wait for resend_payload);
    // invalid_argument (none was begun, or more than its size).
    Written write_payload(Bytes piece) {
        if (!engine_.connected()) return {Error::not_connected};
        if (engine_.payload_left() == 0 && engine_.payload_pending()) return {Error::not_connected};
        if (engine_.payload_left() == 0 || piece.size() > engine_.payload_left()) return {Error::invalid_argument};
        engine_.at(port_.now_ms());
        if (!engine_.payload_wanted()) write();   // first what is queued before it, and its header
        int n = 0;
        if (engine_.payload_wanted() && !piece.empty()) n = port_.write(piece.data(), piece.size());
        engine_.payload_sent(n, piece.size());
        if (engine_.broken()) return {Error::not_connected};   // poll() tells
        if constexpr (counting) port_.statistics.bytes_sent += static_cast<uint32_t>(n);
        return {Error::ok, static_cast<size_t>(n)};
    }

    // Subscribes to filters, or to one; Event::subscribed has the answers. Again whenever `connected` comes without
    // session_present. Also without a connection, as publish().
    // Errors: no_space (as after a long time offline: try again when something has been acknowledged); not_started,
    // invalid_filter, invalid_argument (none, QoS 3, or in
    // MQTT 5 no_local for a shared subscription), packet_too_large, invalid_properties, ..._not_supported.
    Result subscribe(const Subscription* list, size_t count, Properties properties = {}) {
        return request(PacketType::subscribe, {list, count}, properties);
    }
    Result subscribe(std::initializer_list<Subscription> list, Properties properties = {}) {
        return subscribe(list.begin(), list.size(), properties);
    }
    Result subscribe(std::string_view filter, QoS qos, Properties properties = {}) {
        Subscription subscription;
        subscription.filter = filter;
        subscription.qos = qos;
        return subscribe(&subscription, 1, properties);
    }

    // The same for the end of subscriptions; Event::unsubscribed.
    Result unsubscribe(const std::string_view* list, size_t count, Properties properties = {}) {
        return request(PacketType::unsubscribe, {list, count}, properties);
    }
    Result unsubscribe(std::initializer_list<std::string_view> list, Properties properties = {}) {
        return unsubscribe(list.begin(), list.size(), properties);
    }
    Result unsubscribe(std::string_view filter, Properties properties = {}) {
        const std::string_view list[] = {filter};   // of &filter, a Cortex-M0 makes a memcpy(), which nothing else needs
        return unsubscribe(list, 1, properties);
    }

    // Storage. Is all that was accepted and received durable? If not, poll() goes on; true without storage.
    bool stored() {
        if constexpr (storing) {
            engine_.at(port_.now_ms());
            return engine_.all_stored();
        } else {
            return true;
        }
    }
    // What is wrong with it; ok: nothing, as far as is known.
    Error storage_error() const {
        if constexpr (storing) return engine_.storage_error();
        else return Error::ok;
    }
    // After Event::storage_trouble: true: goes on without it, as if the port had none. What storage has is then out of
    // date, and a reset would send again what has been sent. false: writes all of it anew.
    void ignore_storage(bool ignore) {
        if constexpr (storing) engine_.ignore_storage(ignore);
    }
    // Empties storage that is corrupt or foreign, or whose session is not wanted; then connect() begins with nothing.
    // Only while there is no connect() in force. > 0: done; 0: not yet, call again; < 0: it failed, see the port.
    template <class With = Port> int erase_storage() {
        const int result = static_cast<With&>(port_).erase_storage();
        if (result > 0) engine_.erased();
        return result;
    }

    // With `manual_ack`: the application has taken over the received QoS 1 or 2 message of this id. Answers go out in
    // the order of the messages. After a disconnected event the ids of open messages are void: the server sends them
    // again. MQTT 5: with a reason code from 0x80 on, it refuses the message, which ends it for the server, too.
    // Errors: unknown_packet_id; invalid_argument (not a reason for PUBACK and PUBREC).
    Result acknowledge(uint16_t packet_id, ReasonCode reason = ReasonCode::success) {
        return {engine_.acknowledge(packet_id, reason)};
    }

    // MQTT 5, enhanced authentication (section 4.12): the answer to Event::authentication, or, between messages of a
    // connection, the wish to authenticate anew. `properties` have the authentication_method of ConnectOptions, and
    // data. While connecting, the answer is put behind what is in `rx`: with no_space, try again after the next poll().
    // Errors: no_space; not_connected (also when it is 3.1.1, or not our turn), not_started; buffer_too_small (`rx`),
    // packet_too_large; invalid_argument (no
    // method in ConnectOptions, or the server has not answered yet), invalid_properties (another method).
    Result authenticate(Properties properties) {
        engine_.at(port_.now_ms());
        return {engine_.authenticate(properties)};
    }

private:
    MQTT_PART Result request(PacketType type, const Subscriptions& filters, const Properties& properties) {
        Subscribe packet;
        packet.type = type;
        packet.properties = properties;
        packet.filters = filters;
        return engine_.subscribe(packet);
    }

    MQTT_WHOLE Event advance() {
        Event event;
        engine_.at(port_.now_ms());
        if constexpr (storing)
            if (engine_.storage_first()) store();
        if (engine_.tick()) write();   // also while messages keep coming
        if ((!wide || engine_.to_tell()) && engine_.next(event)) return event;
        exchange();
        engine_.expire();
        if ((!wide || !engine_.drained()) && engine_.next(event)) return event;
        if (engine_.wants_close()) {
            port_.close();
            engine_.closed(random(), event);
        }
        return event;
    }
    void count(const Event& event) {
        if constexpr (counting) port_.statistics.count(event, port_.now_ms());
    }
    // One write.
    MQTT_HOT void write() {
        if constexpr (storing) (void)engine_.output();   // may let messages go, which storage has to know first
        store();
        const Bytes out = engine_.output();
        if (out.empty()) return;
        const int n = port_.write(out.data(), out.size());
        engine_.sent(n);
        if constexpr (counting) port_.statistics.bytes_sent += n > 0 ? static_cast<uint32_t>(n) : 0;
    }
    // Continues to open, writes once, reads once.
    MQTT_ONCE void exchange() {
        if (engine_.wants_open()) engine_.opened(port_.open(engine_.host(), engine_.port()));
        write();
        const Buffer in = engine_.input();
        const int n = in.size != 0 ? port_.read(in.data, in.size) : 0;
        engine_.received(n);
        if constexpr (counting) port_.statistics.bytes_received += n > 0 ? static_cast<uint32_t>(n) : 0;
    }
    // Reads what storage has.
    Error load() {
        Error error = Error::ok;
        if constexpr (storing) {
            error = engine_.refused();
            while (error == Error::ok && !engine_.is_loaded()) {
                const Buffer record = engine_.restoring();
                error = engine_.restored(record.data != nullptr ? port_.load(record.data, record.size) : 0);
            }
        }
        return error;
    }
    // Saves what is unsaved, as far as it goes, and makes it durable.
    void store() {
        if constexpr (storing)
            for (StorageCall call; (call = engine_.storage_due()) != StorageCall::none;) {
                const Bytes record = call == StorageCall::save ? engine_.unsaved() : Bytes();
                const int n = call == StorageCall::save      ? port_.save(record.data(), record.size())
                              : call == StorageCall::sync    ? port_.sync()
                              : call == StorageCall::compact ? port_.compact() : port_.commit();
                if constexpr (counting)
                    if (n > 0) port_.statistics.count(call, record.size());
                engine_.stored(call, n);
                if (n == 0) return;
            }
    }
    uint32_t random() {
        if constexpr (detail::has_random<Port>::value)
            return port_.random();
        else
            return port_.now_ms();
    }

    BasicEngine<storing> engine_;
    Port& port_;
};

// Flush, then sleep: sends what waits, up to `timeout_ms` after the first poll(), also if there is no connection yet; then
// disconnects, with the session kept, and lets storage finish. When done(), power may go:
//
//     mqtt::Shutdown off(client, 5000);
//     while (!off.done()) {
//         handle(off.poll());                           // instead of client.poll(); do not publish any more
//         port.wait(off.idle_ms(), client.wants_write());
//     }
//     // client.unacknowledged() messages are left: 0, or they wait in storage, unless storage does not work:
//     // then it ends after its time all the same, and client.stored() is false
template <class Port> class Shutdown {
public:
    Shutdown(Client<Port>& client, uint32_t timeout_ms) : client_(client), timeout_(timeout_ms) {}

    Event poll() {
        if (step_ == begun) since_ = client_.now_ms();
        if (step_ == begun) step_ = draining;
        const Event event = client_.poll();
        const bool late = left() == 0;
        if (step_ == draining && event.kind == Event::none && (late || !client_.busy())) {
            const Error error = client_.disconnect().error;
            if (error == Error::not_started) step_ = storing;
            else if (error == Error::ok || (late && client_.abort().ok())) step_ = disconnecting;
        } else if (step_ == disconnecting && event.kind == Event::disconnected) {
            step_ = storing;
        }
        if (step_ == storing && (client_.stored() || (late && client_.storage_error() != Error::ok))) step_ = finished;
        return event;
    }
    bool done() const { return step_ == finished; }
    uint32_t idle_ms() {
        const uint32_t idle = client_.idle_ms(), rest = step_ == draining ? left() : forever;
        return step_ == begun || step_ == finished ? 0 : idle < rest ? idle : rest;
    }

private:
    uint32_t left() {
        const uint32_t elapsed = client_.now_ms() - since_;
        return elapsed < timeout_ ? timeout_ - elapsed : 0;
    }

    Client<Port>& client_;
    uint32_t timeout_, since_ = 0;
    enum : uint8_t { begun, draining, disconnecting, storing, finished } step_ = begun;
};

}  // inline namespace
}  // namespace mqtt

#undef MQTT_CHECKED
#undef MQTT_FLAT
#undef MQTT_APART
#undef MQTT_HOT
#undef MQTT_LIKELY
#undef MQTT_WHOLE
#undef MQTT_ONCE
#undef MQTT_PART
#undef MQTT_RARELY

#endif  // MQTT_HPP
