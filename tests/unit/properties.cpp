// The properties and the reason codes of MQTT 5: each of them in each packet, and in a will, driven by the tables of
// tests/support/bytes5.hpp, which are written by hand. And the typed view of properties, and the buffer that makes them.

#include "mqtt.hpp"

#include "../support/bytes5.hpp"
#include "../support/codec.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace {

using mqtt::Bytes;
using mqtt::Error;
using mqtt::Optional;
using mqtt::PacketType;
using mqtt::Properties;
using mqtt::Property;
using mqtt::PropertyBuffer;
using mqtt::ReasonCode;
using mqtt::UserProperty;
using mqtt::Version;
using wire::append;
using wire::difference;
using wire::Exact;
using wire::Kind;
using wire::Octets;
using wire::PropertyRow;
namespace in = wire::in;
namespace prop = mqtt::prop;

// ------------------------------------------------------------------------------------------ what the compiler knows

// The type of each of the 27, as section 2.2.2.2 says.
template <class T, class Key> constexpr bool is_of(Key) {
    return std::is_same_v<typename Key::Type, T> &&
           std::is_same_v<decltype(std::declval<const Properties&>().get(std::declval<Key>())), Optional<T>>;
}
static_assert(is_of<uint8_t>(prop::payload_format_indicator) && is_of<uint32_t>(prop::message_expiry_interval) &&
              is_of<std::string_view>(prop::content_type) && is_of<std::string_view>(prop::response_topic) &&
              is_of<Bytes>(prop::correlation_data) && is_of<uint32_t>(prop::subscription_identifier) &&
              is_of<uint32_t>(prop::session_expiry_interval) && is_of<std::string_view>(prop::assigned_client_identifier) &&
              is_of<uint16_t>(prop::server_keep_alive) && is_of<std::string_view>(prop::authentication_method) &&
              is_of<Bytes>(prop::authentication_data) && is_of<uint8_t>(prop::request_problem_information) &&
              is_of<uint32_t>(prop::will_delay_interval) && is_of<uint8_t>(prop::request_response_information) &&
              is_of<std::string_view>(prop::response_information) && is_of<std::string_view>(prop::server_reference) &&
              is_of<std::string_view>(prop::reason_string) && is_of<uint16_t>(prop::receive_maximum) &&
              is_of<uint16_t>(prop::topic_alias_maximum) && is_of<uint16_t>(prop::topic_alias) &&
              is_of<uint8_t>(prop::maximum_qos) && is_of<uint8_t>(prop::retain_available) &&
              is_of<UserProperty>(prop::user_property) && is_of<uint32_t>(prop::maximum_packet_size) &&
              is_of<uint8_t>(prop::wildcard_subscription_available) &&
              is_of<uint8_t>(prop::subscription_identifier_available) && is_of<uint8_t>(prop::shared_subscription_available));

// The number of each of the 27.
static_assert(prop::payload_format_indicator.id == 0x01 && prop::message_expiry_interval.id == 0x02 &&
              prop::content_type.id == 0x03 && prop::response_topic.id == 0x08 && prop::correlation_data.id == 0x09 &&
              prop::subscription_identifier.id == 0x0B && prop::session_expiry_interval.id == 0x11 &&
              prop::assigned_client_identifier.id == 0x12 && prop::server_keep_alive.id == 0x13 &&
              prop::authentication_method.id == 0x15 && prop::authentication_data.id == 0x16 &&
              prop::request_problem_information.id == 0x17 && prop::will_delay_interval.id == 0x18 &&
              prop::request_response_information.id == 0x19 && prop::response_information.id == 0x1A &&
              prop::server_reference.id == 0x1C && prop::reason_string.id == 0x1F && prop::receive_maximum.id == 0x21 &&
              prop::topic_alias_maximum.id == 0x22 && prop::topic_alias.id == 0x23 && prop::maximum_qos.id == 0x24 &&
              prop::retain_available.id == 0x25 && prop::user_property.id == 0x26 && prop::maximum_packet_size.id == 0x27 &&
              prop::wildcard_subscription_available.id == 0x28 && prop::subscription_identifier_available.id == 0x29 &&
              prop::shared_subscription_available.id == 0x2A);

// What does not have the type of the property does not compile.
template <class Key, class Value, class = void> struct Adds : std::false_type {};
template <class Key, class Value>
struct Adds<Key, Value,
            std::void_t<decltype(std::declval<PropertyBuffer<8>&>().add(std::declval<Key>(), std::declval<Value>()))>>
    : std::true_type {};
template <class Value, class Key> constexpr bool adds(Key) { return Adds<Key, Value>::value; }
template <class Key, class Value, class = void> struct Takes : std::false_type {};
template <class Key, class Value>
struct Takes<Key, Value,
             std::void_t<decltype(std::declval<Properties&>().next(std::declval<Key>(), std::declval<Value&>()))>>
    : std::true_type {};
template <class Value, class Key> constexpr bool takes(Key) { return Takes<Key, Value>::value; }

static_assert(adds<uint8_t>(prop::maximum_qos) && !adds<const char*>(prop::maximum_qos) &&
              !adds<std::string_view>(prop::maximum_qos) && !adds<Bytes>(prop::maximum_qos) &&
              !adds<UserProperty>(prop::maximum_qos) && !adds<mqtt::QoS>(prop::maximum_qos));
static_assert(adds<uint16_t>(prop::topic_alias) && !adds<const char*>(prop::topic_alias) &&
              !adds<std::string>(prop::topic_alias) && !adds<UserProperty>(prop::topic_alias));
static_assert(adds<uint32_t>(prop::message_expiry_interval) && !adds<const char*>(prop::message_expiry_interval) &&
              !adds<Bytes>(prop::message_expiry_interval));
static_assert(adds<uint32_t>(prop::subscription_identifier) && !adds<std::string_view>(prop::subscription_identifier));
static_assert(adds<const char*>(prop::content_type) && adds<std::string>(prop::content_type) &&
              adds<std::string_view>(prop::content_type) && !adds<int>(prop::content_type) &&
              !adds<uint32_t>(prop::content_type) && !adds<Bytes>(prop::content_type) &&
              !adds<UserProperty>(prop::content_type));
static_assert(adds<const char*>(prop::response_topic) && !adds<int>(prop::response_topic) &&
              !adds<Bytes>(prop::response_topic));
static_assert(adds<Bytes>(prop::correlation_data) && adds<const char*>(prop::correlation_data) &&
              adds<const uint8_t (&)[4]>(prop::correlation_data) && !adds<int>(prop::correlation_data) &&
              !adds<UserProperty>(prop::correlation_data));
static_assert(adds<UserProperty>(prop::user_property) && !adds<const char*>(prop::user_property) &&
              !adds<std::string_view>(prop::user_property) && !adds<int>(prop::user_property));
static_assert(takes<uint8_t>(prop::maximum_qos) && !takes<uint16_t>(prop::maximum_qos) && !takes<int>(prop::maximum_qos) &&
              takes<std::string_view>(prop::content_type) && !takes<Bytes>(prop::content_type) &&
              !takes<std::string>(prop::content_type) && takes<Bytes>(prop::correlation_data) &&
              takes<UserProperty>(prop::user_property) && !takes<std::string_view>(prop::user_property));

static_assert(std::is_trivially_copyable_v<Properties> && std::is_trivially_copyable_v<PropertyBuffer<8>> &&
              sizeof(Properties) == sizeof(Bytes));
static_assert(std::is_convertible_v<const PropertyBuffer<8>&, Properties> &&
              !std::is_convertible_v<const char*, Properties> && !std::is_convertible_v<Bytes, Properties>);

// ------------------------------------------------------------------------------------------ the fourteen places

// What stands before the properties and behind them.
struct Frame {
    in::Place place;
    uint8_t first_byte;
    Octets before, behind;
};
const Frame frames[] = {
    {in::connect,     0x10, {0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 0},                  {0, 2, 'i', 'd'}},
    {in::will,        0x10, {0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 0, 0, 0, 2, 'i', 'd'}, {0, 1, 'w', 0, 2, 'm', 's'}},
    {in::connack,     0x20, {0, 0},                                                     {}},
    {in::publish,     0x34, {0, 1, 't', 0, 7},                                          {'x', 'y'}},
    {in::puback,      0x40, {0, 7, 0},                                                  {}},
    {in::pubrec,      0x50, {0, 7, 0},                                                  {}},
    {in::pubrel,      0x62, {0, 7, 0},                                                  {}},
    {in::pubcomp,     0x70, {0, 7, 0},                                                  {}},
    {in::subscribe,   0x82, {0, 7},                                                     {0, 1, 'f', 1}},
    {in::suback,      0x90, {0, 7},                                                     {1, 0x80}},
    {in::unsubscribe, 0xA2, {0, 7},                                                     {0, 1, 'f'}},
    {in::unsuback,    0xB0, {0, 7},                                                     {0x11, 0}},
    {in::disconnect,  0xE0, {0},                                                        {}},
    {in::auth,        0xF0, {0x18},                                                     {}},
};

Octets packet(const Frame& frame, const Octets& block) {
    Octets body = frame.before;
    append(body, wire::variable(block.size()));
    append(body, block);
    append(body, frame.behind);
    return wire::packet(frame.first_byte, body);
}

// What decode() says to a packet, and which properties it found, of what size.
struct Read {
    Error error;
    Octets block;
};
template <class Packet> Read read_as(Bytes bytes, Properties Packet::*member) {
    Packet packet;
    const Error error = mqtt::decode(bytes, packet, Version::v5);
    const Bytes block = (packet.*member).block();
    return {error, error == Error::ok ? Octets(block.begin(), block.end()) : Octets()};
}
Read read(const Frame& frame, const Octets& bytes) {
    const Exact exact(bytes);
    switch (frame.place) {
    case in::connect: return read_as(exact.view(), &mqtt::Connect::properties);
    case in::will: return read_as(exact.view(), &mqtt::Connect::will_properties);
    case in::connack: return read_as(exact.view(), &mqtt::Connack::properties);
    case in::publish: return read_as(exact.view(), &mqtt::Publish::properties);
    case in::subscribe: case in::unsubscribe: return read_as(exact.view(), &mqtt::Subscribe::properties);
    case in::suback: case in::unsuback: return read_as<mqtt::Suback>(exact.view(), &mqtt::Suback::properties);
    case in::disconnect: case in::auth: return read_as(exact.view(), &mqtt::Disconnect::properties);
    default: return read_as(exact.view(), &mqtt::Ack::properties);
    }
}

// What encode() says to the packet of this frame with these properties, and the bytes.
struct Written {
    Error error;
    Octets bytes;
};
template <class Packet> Written write_as(const Packet& packet) {
    static uint8_t buffer[70000];
    const mqtt::Encoded out = mqtt::encode(packet, buffer, Version::v5);
    return {out.error, out.error == Error::ok ? Octets(buffer, buffer + out.size) : Octets()};
}
Written write(const Frame& frame, Properties properties) {
    const mqtt::Subscription one{"f", mqtt::QoS::at_least_once};
    const uint8_t of_suback[] = {1, 0x80}, of_unsuback[] = {0x11, 0};
    mqtt::Connect connect;
    mqtt::Connack connack;
    mqtt::Publish publish;
    mqtt::Ack ack;
    mqtt::Subscribe subscribe;
    mqtt::Suback suback;
    mqtt::Disconnect last;
    connect.protocol_level = 5;
    connect.client_id = "id";
    connack.properties = publish.properties = ack.properties = subscribe.properties = suback.properties = last.properties =
        properties;
    publish.topic = "t";
    publish.qos = mqtt::QoS::exactly_once;
    publish.payload = "xy";
    publish.packet_id = ack.packet_id = subscribe.packet_id = suback.packet_id = 7;
    subscribe.filters = mqtt::Subscriptions(&one, 1);
    suback.reason_codes = of_suback;
    const PacketType type = static_cast<PacketType>(frame.first_byte / 16);
    switch (frame.place) {
    case in::connect:
        connect.properties = properties;
        return write_as(connect);
    case in::will:
        connect.flags = 0x06;
        connect.will_properties = properties;
        connect.will_topic = "w";
        connect.will_message = "ms";
        return write_as(connect);
    case in::connack: return write_as(connack);
    case in::publish: return write_as(publish);
    case in::unsubscribe: subscribe.type = type; return write_as(subscribe);
    case in::subscribe: return write_as(subscribe);
    case in::suback: return write_as(suback);
    case in::unsuback:
        suback.type = type;
        suback.reason_codes = of_unsuback;
        return write_as(suback);
    case in::auth:
        last.type = type;
        last.reason = ReasonCode::continue_authentication;
        return write_as(last);
    case in::disconnect: return write_as(last);
    default: ack.type = type; return write_as(ack);
    }
}

// ------------------------------------------------------------------------------------------ the twenty-seven kinds

Octets joined(std::initializer_list<Octets> parts) {
    Octets octets;
    for (const Octets& part : parts) append(octets, part);
    return octets;
}
Octets number(uint8_t id, Kind kind, uint32_t value) {
    if (kind == Kind::variable) return joined({{id}, wire::variable(value)});
    Octets octets = {id};
    for (int at = kind == Kind::byte ? 0 : kind == Kind::two ? 1 : 3; at >= 0; --at)
        octets.push_back(static_cast<uint8_t>(value >> (8 * at)));
    return octets;
}
bool is_number(Kind kind) { return kind <= Kind::variable; }

// One that is legal where this kind is.
Octets example(const PropertyRow& row) {
    if (row.kind == Kind::pair) return {row.id, 0, 2, 'n', 'm', 0, 3, 'v', 'a', 'l'};
    if (row.kind == Kind::binary) return {row.id, 0, 3, 0x00, 0xFF, 'b'};
    if (!is_number(row.kind)) return {row.id, 0, 3, 't', 'x', 't'};
    return number(row.id, row.kind, row.highest == 1 ? 1 : row.highest == 268435455 ? 0x1234567 : 0x1234 + row.lowest);
}

// Reads the properties in the frame; writes them, too: what is legal gives the same bytes, and what is not is refused.
// "" if both are as expected.
std::string judged(const Frame& frame, const Octets& block, Error expected) {
    const Octets bytes = packet(frame, block);
    const Read got = read(frame, bytes);
    std::string problem;
    if (got.error != expected) problem = "read: " + std::string(mqtt::to_string(got.error));
    if (expected == Error::ok && got.block != block) problem = "read: other properties";
    const Exact exact(block);
    const Written out = write(frame, Properties(exact.data(), exact.size()));
    if (out.error != (expected == Error::ok ? Error::ok : Error::invalid_properties))
        problem += " written: " + std::string(mqtt::to_string(out.error));
    // Where there are none, the tails of acknowledgements, of DISCONNECT and AUTH are left out: packets5.cpp.
    if (expected == Error::ok && !block.empty() && out.bytes != bytes)
        problem += " written: " + difference(wire::view(bytes), wire::view(out.bytes));
    if (problem.empty()) return "";
    return problem + "\n  expected " + mqtt::to_string(expected) + "\n  properties " + wire::hex(block.data(), block.size()) +
           "\n  packet " + wire::hex(bytes.data(), bytes.size());
}

const Octets filler = {0x26, 0, 1, 'f', 0, 0};   // a user property, which may be anywhere

}  // namespace

TEST_CASE("MQTT 5 [MQTT-2.2.2-1] no properties are a property length of 0, in all fourteen places") {
    for (const Frame& frame : frames) {
        CAPTURE(frame.place);
        CHECK(judged(frame, {}, Error::ok) == "");
        // Without any length it is malformed, except where the rest can be left out.
        const bool optional = (frame.place & (in::puback | in::pubrec | in::pubrel | in::pubcomp | in::disconnect)) != 0;
        const Octets cut = wire::packet(frame.first_byte, frame.before);
        CHECK(read(frame, cut).error == (optional ? Error::ok : Error::malformed_packet));
    }
}

TEST_CASE("MQTT 5 a property is legal in the packets of table 2-4, and malformed in others and in the other's will; all 256 "
          "ids in all fourteen places") {
    size_t legal = 0;
    for (const Frame& frame : frames) {
        for (size_t id = 0; id < 256; ++id) {
            CAPTURE(frame.place);
            CAPTURE(id);
            const PropertyRow* row = wire::property_row(id);
            const bool good = row != nullptr && (row->places & frame.place) != 0;
            if (good) ++legal;
            const Error expected = good ? Error::ok : Error::malformed_packet;
            if (row != nullptr) {
                CHECK(judged(frame, example(*row), expected) == "");
                CHECK(judged(frame, joined({filler, example(*row), filler}), expected) == "");
            } else {
                // Whatever follows, as if it were of any of the types.
                const uint8_t unknown = static_cast<uint8_t>(id);
                const Octets values[] = {{}, {0}, {1}, {0, 0}, {0, 0, 0, 1}, {0, 1, 'x'}, {0, 1, 'x', 0, 1, 'y'},
                                         {0x80, 0x01}};
                for (const Octets& value : values) CHECK(judged(frame, joined({{unknown}, value}), expected) == "");
                CHECK(judged(frame, joined({filler, {unknown}, filler}), expected) == "");
            }
        }
    }
    CHECK(legal == 64);   // the packets named in table 2-4
}

TEST_CASE("MQTT 5 a property id of two and more bytes is malformed: there is none so large, and a small one has a shorter "
          "form") {
    for (const Frame& frame : frames) {
        CAPTURE(frame.place);
        for (size_t id = 0; id < 128; ++id) {
            const uint8_t low = static_cast<uint8_t>(0x80 | id);
            const PropertyRow* row = wire::property_row(id);
            Octets value = row != nullptr ? example(*row) : Octets{0, 0, 1, 'x'};
            value.erase(value.begin());
            CHECK(judged(frame, joined({{low, 0x00}, value}), Error::malformed_packet) == "");
            CHECK(judged(frame, joined({{low, 0x01}, value}), Error::malformed_packet) == "");   // 128 and more
            CHECK(judged(frame, {low, 0x7F, 0, 1, 'x'}, Error::malformed_packet) == "");
            CHECK(judged(frame, {low}, Error::malformed_packet) == "");
        }
    }
}

TEST_CASE("MQTT 5 the table of mqtt.hpp has the 27 properties, each once, in ascending order") {
    size_t count = 0;
    for (const mqtt::PropertyRule& rule : prop::rules) {
        REQUIRE(count < 27);
        CHECK(rule.id == wire::property_table[count++].id);
    }
    CHECK(count == 27);
    CHECK(sizeof wire::property_table / sizeof *wire::property_table == 27);
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-4] a property that is there twice is a protocol error, but user properties, and in PUBLISH "
          "subscription identifiers") {
    size_t may = 0;
    for (const Frame& frame : frames) {
        for (const PropertyRow& row : wire::property_table) {
            if ((row.places & frame.place) == 0) continue;
            CAPTURE(frame.place);
            CAPTURE(int{row.id});
            const bool repeats = (row.many & frame.place) != 0;
            if (repeats) ++may;
            const Error expected = repeats ? Error::ok : Error::protocol_error;
            const Octets one = example(row);
            CHECK(judged(frame, joined({one, one}), expected) == "");
            CHECK(judged(frame, joined({one, filler, one}), expected) == "");
            CHECK(judged(frame, joined({filler, one, one, one}), expected) == "");
            Octets other = one;
            other.back() = other.back() == 1 ? 0 : 1;   // with another value
            if (row.kind == Kind::byte || row.kind == Kind::binary) CHECK(judged(frame, joined({one, other}), expected) == "");
        }
    }
    CHECK(may == 15);
}

TEST_CASE("MQTT 5 each pair of different properties of a packet goes together, in either order") {
    for (const Frame& frame : frames) {
        CAPTURE(frame.place);
        Octets all, turned;
        for (const PropertyRow& a : wire::property_table) {
            if ((a.places & frame.place) == 0) continue;
            append(all, example(a));
            turned = joined({example(a), turned});
            for (const PropertyRow& b : wire::property_table)
                if ((b.places & frame.place) != 0 && a.id != b.id)
                    CHECK(judged(frame, joined({example(a), example(b)}), Error::ok) == "");
        }
        CHECK(judged(frame, all, Error::ok) == "");
        CHECK(judged(frame, turned, Error::ok) == "");
    }
}

TEST_CASE("MQTT 5 a property truncated at each byte is malformed: by the property length, and by the end of the packet") {
    for (const Frame& frame : frames) {
        for (const PropertyRow& row : wire::property_table) {
            if ((row.places & frame.place) == 0) continue;
            CAPTURE(frame.place);
            CAPTURE(int{row.id});
            const Octets whole = example(row);
            for (size_t size = 1; size < whole.size(); ++size) {
                CAPTURE(size);
                const Octets cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
                CHECK(judged(frame, cut, Error::malformed_packet) == "");
                CHECK(judged(frame, joined({filler, cut}), Error::malformed_packet) == "");

                // The property length ends in the value, and the value goes on.
                Octets body = frame.before;
                append(body, wire::variable(size));
                append(body, whole);
                append(body, frame.behind);
                CHECK(read(frame, wire::packet(frame.first_byte, body)).error == Error::malformed_packet);
                // The packet ends in the value.
                body = frame.before;
                append(body, wire::variable(whole.size()));
                append(body, cut);
                CHECK(read(frame, wire::packet(frame.first_byte, body)).error == Error::malformed_packet);
            }
            // The property length is one too large; what is behind is part of it, or there is nothing.
            Octets body = frame.before;
            append(body, wire::variable(whole.size() + 1));
            append(body, whole);
            append(body, frame.behind);
            CHECK(read(frame, wire::packet(frame.first_byte, body)).error == Error::malformed_packet);
        }
    }
}

TEST_CASE("MQTT 5 a property length beyond the packet is malformed, up to the largest there is") {
    const Octets lengths[] = {{1}, {0x7F}, {0x80, 0x01}, {0xFF, 0x7F}, {0x80, 0x80, 0x01}, {0xFF, 0xFF, 0xFF, 0x7F}};
    for (const Frame& frame : frames) {
        CAPTURE(frame.place);
        for (const Octets& length : lengths) {
            const Octets body = joined({frame.before, length});
            CHECK(read(frame, wire::packet(frame.first_byte, body)).error == Error::malformed_packet);
            // One more than there is, with properties that are good.
            const size_t size = length.size() == 1 ? length[0] : 128;
            Octets good;
            while (good.size() + 6 < size) append(good, filler);
            CHECK(read(frame, wire::packet(frame.first_byte, joined({frame.before, length, good}))).error ==
                  Error::malformed_packet);
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-8] numbers: what is legal is taken, at both ends of the range; what is not is a protocol error, "
          "and topic_alias_invalid for a topic alias of 0") {
    size_t refused = 0;
    for (const Frame& frame : frames) {
        for (const PropertyRow& row : wire::property_table) {
            if ((row.places & frame.place) == 0 || !is_number(row.kind)) continue;
            CAPTURE(frame.place);
            CAPTURE(int{row.id});
            CHECK(judged(frame, number(row.id, row.kind, row.lowest), Error::ok) == "");
            CHECK(judged(frame, number(row.id, row.kind, row.highest), Error::ok) == "");
            if (row.lowest == 1) {
                ++refused;
                const Error zero = row.id == 35 ? Error::topic_alias_invalid : Error::protocol_error;
                CHECK(judged(frame, number(row.id, row.kind, 0), zero) == "");
                CHECK(judged(frame, joined({filler, number(row.id, row.kind, 0), filler}), zero) == "");
            }
            if (row.kind == Kind::byte) {
                ++refused;
                for (uint32_t value = 2; value < 256; ++value)
                    CHECK(judged(frame, number(row.id, row.kind, value), Error::protocol_error) == "");
            }
        }
    }
    // Subscription Identifier in PUBLISH and SUBSCRIBE, Receive Maximum and Maximum Packet Size in CONNECT and CONNACK,
    // Topic Alias; and ten bytes: Payload Format Indicator in two places, two in CONNECT, five in CONNACK.
    CHECK(refused == 2 + 2 + 2 + 1 + 2 + 2 + 5);
}

TEST_CASE("MQTT 5 [MQTT-1.5.5-1] a variable byte integer has one to four bytes and its shortest form; others are malformed") {
    static const struct {
        Octets bytes;
        Error error;
        uint32_t value;
    } rows[] = {
        {{0x01}, Error::ok, 1},
        {{0x7F}, Error::ok, 127},                                       // table 1-1: the limits
        {{0x80, 0x01}, Error::ok, 128},
        {{0xFF, 0x7F}, Error::ok, 16383},
        {{0x80, 0x80, 0x01}, Error::ok, 16384},
        {{0xFF, 0xFF, 0x7F}, Error::ok, 2097151},
        {{0x80, 0x80, 0x80, 0x01}, Error::ok, 2097152},
        {{0xFF, 0xFF, 0xFF, 0x7F}, Error::ok, 268435455},
        {{0x00}, Error::protocol_error, 0},                             // section 3.8.2.1.2
        {{0x80, 0x00}, Error::malformed_packet, 0},                     // longer than it must be
        {{0x81, 0x00}, Error::malformed_packet, 0},
        {{0xFF, 0x80, 0x00}, Error::malformed_packet, 0},
        {{0xFF, 0xFF, 0xFF, 0x00}, Error::malformed_packet, 0},
        {{0x80, 0x80, 0x80, 0x80, 0x01}, Error::malformed_packet, 0},   // five bytes
        {{0xFF, 0xFF, 0xFF, 0xFF, 0x7F}, Error::malformed_packet, 0},
        {{0xFF, 0xFF, 0xFF, 0xFF, 0xFF}, Error::malformed_packet, 0},
        {{0x80}, Error::malformed_packet, 0},                           // it does not end
        {{0x80, 0x80}, Error::malformed_packet, 0},
        {{0x80, 0x80, 0x80}, Error::malformed_packet, 0},
        {{0x80, 0x80, 0x80, 0x80}, Error::malformed_packet, 0},
    };
    for (const auto& row : rows) {
        INFO(wire::hex(row.bytes.data(), row.bytes.size()));
        const Octets block = joined({{0x0B}, row.bytes});
        for (const Frame& frame : frames) {
            if (frame.place != in::publish && frame.place != in::subscribe) continue;
            CHECK(judged(frame, block, row.error) == "");
            if (row.bytes.back() < 0x80) CHECK(judged(frame, joined({filler, block, filler}), row.error) == "");
        }
        // The functions underneath, from each beginning of it.
        for (size_t size = 0; size <= row.bytes.size(); ++size) {
            const Exact exact(row.bytes.data(), size);
            uint32_t value = 77;
            const size_t taken = mqtt::load_variable(exact.data(), size, value);
            if (row.error == Error::malformed_packet && row.bytes.back() < 0x80 && (size == row.bytes.size() || size == 4)) {
                CHECK(taken == mqtt::malformed);
            } else if (row.error != Error::malformed_packet && size == row.bytes.size()) {
                CHECK(taken == size);
                CHECK(value == row.value);
            } else if (size < 4) {
                CHECK(taken == 0);
            } else {
                CHECK(taken == mqtt::malformed);
            }
        }
        if (row.error == Error::malformed_packet) continue;
        uint8_t stored[5] = {0xEE, 0xEE, 0xEE, 0xEE, 0xEE};
        CHECK(mqtt::store_variable(stored, row.value) - stored == static_cast<ptrdiff_t>(row.bytes.size()));
        CHECK(std::equal(row.bytes.begin(), row.bytes.end(), stored));
        CHECK(stored[row.bytes.size()] == 0xEE);
        CHECK(mqtt::variable_size(row.value) == row.bytes.size());
    }
}

TEST_CASE("MQTT 5 [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.4-3], [MQTT-1.5.7-1], [MQTT-3.3.2-13], [MQTT-3.3.2-19] texts in "
          "properties are UTF-8 without surrogates and U+0000, both of a pair; others are malformed, and not written") {
    const std::string_view wrong[] = {std::string_view("\0", 1), std::string_view("a\0b", 3), "\x80", "\xC3", "\xC0\x80",
                                      "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xFF", "abcdefgh\xC3(", "\xE2\x82"};
    const std::string_view right[] = {"a", "\x01", "\x7F", "\xC2\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xEF\xBB\xBF",
                                      "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "a b"};
    for (const bool good : {false, true}) {
        const std::vector<std::string_view> texts(good ? std::begin(right) : std::begin(wrong),
                                                  good ? std::end(right) : std::end(wrong));
        const Error expected = good ? Error::ok : Error::malformed_packet;
        for (const std::string_view text : texts) {
            INFO(wire::hex(text));
            const Octets field = wire::string(text), empty = {0, 0}, name = {0, 1, 'n'};
            for (const Frame& frame : frames) {
                for (const PropertyRow& row : wire::property_table) {
                    if ((row.places & frame.place) == 0 || is_number(row.kind)) continue;
                    CAPTURE(frame.place);
                    CAPTURE(int{row.id});
                    if (row.kind == Kind::pair) {
                        CHECK(judged(frame, joined({{row.id}, field, name}), expected) == "");
                        CHECK(judged(frame, joined({{row.id}, name, field}), expected) == "");
                        CHECK(judged(frame, joined({{row.id}, field, empty}), expected) == "");
                        CHECK(judged(frame, joined({{row.id}, empty, field}), expected) == "");
                    } else {   // binary data may be anything
                        CHECK(judged(frame, joined({{row.id}, field}), row.kind == Kind::binary ? Error::ok : expected) == "");
                    }
                }
            }
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-14], [MQTT-4.7.0-1], [MQTT-4.7.3-1] texts may be empty, and have wildcards; a response topic "
          "is a topic name, which may not") {
    for (const std::string_view text : {"", "+", "#", "a/+", "a/#", "a+b", "#a"}) {
        INFO(wire::hex(text));
        for (const Frame& frame : frames) {
            for (const PropertyRow& row : wire::property_table) {
                if ((row.places & frame.place) == 0 || is_number(row.kind)) continue;
                CAPTURE(frame.place);
                CAPTURE(int{row.id});
                Octets block = joined({{row.id}, wire::string(text)});
                if (row.kind == Kind::pair) append(block, wire::string(text));
                CHECK(judged(frame, block, row.kind == Kind::topic ? Error::malformed_packet : Error::ok) == "");
            }
        }
    }
}

TEST_CASE("MQTT 5 texts and binary data of 65535 bytes, in all fourteen places") {
    const std::string longest(65535, 'x');
    for (const Frame& frame : frames) {
        for (const PropertyRow& row : wire::property_table) {
            if ((row.places & frame.place) == 0 || is_number(row.kind)) continue;
            CAPTURE(frame.place);
            CAPTURE(int{row.id});
            Octets block = joined({{row.id}, wire::string(longest)});
            if (row.kind == Kind::pair) append(block, {0, 0});
            CHECK(judged(frame, block, Error::ok) == "");
            block.pop_back();
            CHECK(judged(frame, block, Error::malformed_packet) == "");
        }
    }
}

TEST_CASE("MQTT 5 the first property that is wrong decides whether it is malformed or a protocol error") {
    const Frame& publish = frames[3];
    const Octets twice = {0x01, 1, 0x01, 1}, unknown = {0x04, 1}, cut = {0x02, 0}, zero_alias = {0x23, 0, 0};
    CHECK(judged(publish, joined({twice, unknown}), Error::protocol_error) == "");
    CHECK(judged(publish, joined({unknown, twice}), Error::malformed_packet) == "");
    CHECK(judged(publish, joined({twice, cut}), Error::protocol_error) == "");
    CHECK(judged(publish, joined({zero_alias, cut}), Error::topic_alias_invalid) == "");
    CHECK(judged(publish, joined({twice, zero_alias}), Error::protocol_error) == "");
}

TEST_CASE("MQTT 5 properties of the packet and of its will are apart: what is once in each is not twice") {
    const Octets bytes = {
        0x10, 38,                                   // CONNECT, remaining length 38
        0, 4, 'M', 'Q', 'T', 'T', 5,                // protocol name and version
        0x06, 0, 0,                                 // connect flags: will, clean start; keep alive
        7, 0x26, 0, 1, 'k', 0, 1, 'v',              // user property
        0, 0,                                       // client id
        7, 0x26, 0, 1, 'k', 0, 1, 'w',              // user property of the will
        0, 1, 't', 0, 5, 'h', 'e', 'l', 'l', 'o',   // will topic, will payload
    };
    const Exact exact(bytes);
    mqtt::Connect packet;
    CHECK(mqtt::decode(exact.view(), packet, Version::v5) == Error::ok);
    CHECK(packet.properties.get(prop::user_property)->value == "v");
    CHECK(packet.will_properties.get(prop::user_property)->value == "w");
    CHECK(packet.will_message.text() == "hello");
}

// ------------------------------------------------------------------------------------------ reading them

TEST_CASE("MQTT 5 get() gives each property as what it is, and nothing where there is none") {
    const Octets block = {
        0x01, 1, 0x02, 0x12, 0x34, 0x56, 0x78, 0x03, 0, 1, 'c', 0x08, 0, 1, 'r', 0x09, 0, 2, 0x00, 0xFF,
        0x0B, 0x85, 0x86, 0x87, 0x08, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x12, 0, 2, 'i', 'd', 0x13, 0xAB, 0xCD,
        0x15, 0, 1, 'm', 0x16, 0, 1, 0x80, 0x17, 0, 0x18, 0, 0, 0, 9, 0x19, 1, 0x1A, 0, 1, 'i', 0x1C, 0, 1, 's',
        0x1F, 0, 2, 'o', 'k', 0x21, 0xFF, 0xFE, 0x22, 0x01, 0x02, 0x23, 0x03, 0x04, 0x24, 1, 0x25, 0,
        0x26, 0, 1, 'k', 0, 2, 'v', 'w', 0x27, 0x00, 0x01, 0x00, 0x02, 0x28, 1, 0x29, 0, 0x2A, 1,
    };
    const Exact exact(block);
    const Properties all(exact.data(), exact.size());
    CHECK(all.get(prop::payload_format_indicator).value_or(99) == 1);
    CHECK(all.get(prop::message_expiry_interval).value_or(99) == 0x12345678);
    CHECK(all.get(prop::content_type).value_or("?") == "c");
    CHECK(all.get(prop::response_topic).value_or("?") == "r");
    CHECK(difference(wire::view({0x00, 0xFF}), all.get(prop::correlation_data).value_or("?")) == "");
    CHECK(all.get(prop::subscription_identifier).value_or(99) == 5 + 6 * 128 + 7 * 128 * 128 + 8 * 128 * 128 * 128);
    CHECK(all.get(prop::session_expiry_interval).value_or(99) == 0xFFFFFFFF);
    CHECK(all.get(prop::assigned_client_identifier).value_or("?") == "id");
    CHECK(all.get(prop::server_keep_alive).value_or(99) == 0xABCD);
    CHECK(all.get(prop::authentication_method).value_or("?") == "m");
    CHECK(difference(wire::view({0x80}), all.get(prop::authentication_data).value_or("?")) == "");
    CHECK(all.get(prop::request_problem_information).value_or(99) == 0);
    CHECK(all.get(prop::will_delay_interval).value_or(99) == 9);
    CHECK(all.get(prop::request_response_information).value_or(99) == 1);
    CHECK(all.get(prop::response_information).value_or("?") == "i");
    CHECK(all.get(prop::server_reference).value_or("?") == "s");
    CHECK(all.get(prop::reason_string).value_or("?") == "ok");
    CHECK(all.get(prop::receive_maximum).value_or(99) == 0xFFFE);
    CHECK(all.get(prop::topic_alias_maximum).value_or(99) == 0x0102);
    CHECK(all.get(prop::topic_alias).value_or(99) == 0x0304);
    CHECK(all.get(prop::maximum_qos).value_or(99) == 1);
    CHECK(all.get(prop::retain_available).value_or(99) == 0);
    CHECK(all.get(prop::user_property)->name == "k");
    CHECK(all.get(prop::user_property)->value == "vw");
    CHECK(all.get(prop::maximum_packet_size).value_or(99) == 0x00010002);
    CHECK(all.get(prop::wildcard_subscription_available).value_or(99) == 1);
    CHECK(all.get(prop::subscription_identifier_available).value_or(99) == 0);
    CHECK(all.get(prop::shared_subscription_available).value_or(99) == 1);

    const Properties none;
    CHECK(none.empty());
    CHECK(!none.get(prop::payload_format_indicator).has_value());
    CHECK(none.get(prop::payload_format_indicator).value_or(99) == 99);
    CHECK(!none.get(prop::content_type));
    CHECK(!none.get(prop::user_property));
    const Properties other(exact.data(), 2);
    CHECK(!other.empty());
    CHECK(!other.get(prop::content_type).has_value());
    CHECK(other.get(prop::content_type).value_or("?") == "?");
    CHECK(other.get(prop::payload_format_indicator).has_value());
}

TEST_CASE("MQTT 5 an Optional has a value, or not") {
    constexpr Optional<uint16_t> none, seven = uint16_t{7};
    static_assert(!none.has_value() && !none && none.value_or(3) == 3);
    static_assert(seven.has_value() && seven && *seven == 7 && seven.value_or(3) == 7);
    const Optional<std::string_view> empty = std::string_view();
    CHECK(empty.has_value());
    CHECK(empty->empty());
    CHECK(empty.value_or("?").empty());
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-4] next() takes those of one kind off the list, in their order, and passes the others over") {
    const uint8_t bytes[] = {
        0x26, 0, 1, 'a', 0, 1, '1',         // user property
        0x0B, 5,                            // subscription identifier
        0x26, 0, 1, 'b', 0, 0,
        0x03, 0, 1, 'c',                    // content type
        0x0B, 0x80, 0x01,
        0x0B, 5,                            // the same again
        0x26, 0, 1, 'a', 0, 1, '1',         // the same again
        0x26, 0, 0, 0, 1, '2',              // without a name
    };
    const Exact exact(Octets(bytes, bytes + sizeof bytes));
    const Properties list(exact.data(), exact.size());

    std::string pairs;
    UserProperty pair;
    for (Properties rest = list; rest.next(prop::user_property, pair);)
        pairs += std::string(pair.name) + "=" + std::string(pair.value) + ";";
    CHECK(pairs == "a=1;b=;a=1;=2;");

    std::vector<uint32_t> identifiers;
    uint32_t identifier = 0;
    for (Properties rest = list; rest.next(prop::subscription_identifier, identifier);) identifiers.push_back(identifier);
    CHECK(identifiers == std::vector<uint32_t>{5, 128, 5});

    CHECK(list.get(prop::user_property)->name == "a");   // the first one
    CHECK(list.get(prop::subscription_identifier).value_or(0) == 5);

    Properties rest = list;
    CHECK(rest.next(prop::subscription_identifier, identifier));
    CHECK(rest.block().size() == sizeof bytes - 9);
    std::string_view text = "untouched";
    CHECK(rest.next(prop::content_type, text));
    CHECK(text == "c");
    CHECK(!rest.next(prop::content_type, text));
    CHECK(text == "c");   // left as it was
    CHECK(rest.empty());
    CHECK(list.block().size() == sizeof bytes);   // the list itself is as before
}

TEST_CASE("MQTT 5 next() takes whatever comes, with its rule and its value") {
    const Octets block = {0x24, 1, 0x21, 0x01, 0x02, 0x27, 1, 2, 3, 4, 0x0B, 0x81, 0x02, 0x1F, 0, 2, 'n', 'o',
                          0x08, 0, 1, 't', 0x16, 0, 2, 0, 0xFF, 0x26, 0, 1, 'k', 0, 2, 'v', 'w'};
    const Exact exact(block);
    Properties rest(exact.data(), exact.size());
    Property property;
    REQUIRE(rest.next(property));
    CHECK(property.rule->id == 0x24);
    CHECK(property.number == 1);
    REQUIRE(rest.next(property));
    CHECK(property.rule->id == 0x21);
    CHECK(property.number == 0x0102);
    REQUIRE(rest.next(property));
    CHECK(property.rule->id == 0x27);
    CHECK(property.number == 0x01020304);
    REQUIRE(rest.next(property));
    CHECK(property.rule->id == 0x0B);
    CHECK(property.number == 257);
    CHECK(property.data.empty());
    REQUIRE(rest.next(property));
    CHECK(property.rule->id == 0x1F);
    CHECK(property.data.text() == "no");
    CHECK(property.name.empty());
    CHECK(property.number == 0);
    REQUIRE(rest.next(property));
    CHECK(property.rule->id == 0x08);
    CHECK(property.data.text() == "t");
    REQUIRE(rest.next(property));
    CHECK(property.rule->id == 0x16);
    CHECK(difference(wire::view({0, 0xFF}), property.data) == "");
    REQUIRE(rest.next(property));
    CHECK(property.rule->id == 0x26);
    CHECK(property.name == "k");
    CHECK(property.data.text() == "vw");
    CHECK(rest.empty());
    CHECK(!rest.next(property));
    CHECK(!rest.next(property));
}

TEST_CASE("MQTT 5 a list that is malformed is read up to where it is, and never outside") {
    // Your own block, before a call has refused it.
    for (const PropertyRow& row : wire::property_table) {
        const Octets whole = joined({filler, example(row), filler});
        for (size_t size = 0; size <= whole.size(); ++size) {
            const Exact cut(whole.data(), size);
            Properties rest(cut.data(), size);
            Property property;
            size_t count = 0;
            while (rest.next(property)) ++count;
            const size_t first = filler.size(), second = first + example(row).size();
            CHECK(count == (size < first ? 0 : size < second ? 1 : size < whole.size() ? 2 : 3));
            CHECK(rest.empty() == (size == 0 || size == first || size == second || size == whole.size()));
            const Properties list(cut.data(), size);
            CHECK(list.get(prop::user_property).has_value() == (size >= first));
            CHECK(!list.get(prop::server_keep_alive).has_value() == (row.id != 0x13 || size < second));
        }
    }
    const uint8_t unknown[] = {0x04, 1, 0x01, 1};
    const Properties list = unknown;
    CHECK(!list.get(prop::payload_format_indicator).has_value());
    Property property;
    Properties rest = list;
    CHECK(!rest.next(property));
    CHECK(rest.block().size() == sizeof unknown);   // nothing was taken off
}

// ------------------------------------------------------------------------------------------ writing them

namespace {

// Each of the 27, with the value that is in `example()`.
template <size_t N> void add_example(PropertyBuffer<N>& buffer, uint8_t id) {
    const uint8_t bytes[] = {0x00, 0xFF, 'b'};
    switch (id) {
    case 1: buffer.add(prop::payload_format_indicator, 1); break;
    case 2: buffer.add(prop::message_expiry_interval, 0x1234); break;
    case 3: buffer.add(prop::content_type, "txt"); break;
    case 8: buffer.add(prop::response_topic, "txt"); break;
    case 9: buffer.add(prop::correlation_data, bytes); break;
    case 11: buffer.add(prop::subscription_identifier, 0x1234567); break;
    case 17: buffer.add(prop::session_expiry_interval, 0x1234); break;
    case 18: buffer.add(prop::assigned_client_identifier, "txt"); break;
    case 19: buffer.add(prop::server_keep_alive, 0x1234); break;
    case 21: buffer.add(prop::authentication_method, "txt"); break;
    case 22: buffer.add(prop::authentication_data, bytes); break;
    case 23: buffer.add(prop::request_problem_information, 1); break;
    case 24: buffer.add(prop::will_delay_interval, 0x1234); break;
    case 25: buffer.add(prop::request_response_information, 1); break;
    case 26: buffer.add(prop::response_information, "txt"); break;
    case 28: buffer.add(prop::server_reference, "txt"); break;
    case 31: buffer.add(prop::reason_string, "txt"); break;
    case 33: buffer.add(prop::receive_maximum, 0x1235); break;
    case 34: buffer.add(prop::topic_alias_maximum, 0x1234); break;
    case 35: buffer.add(prop::topic_alias, 0x1235); break;
    case 36: buffer.add(prop::maximum_qos, 1); break;
    case 37: buffer.add(prop::retain_available, 1); break;
    case 38: buffer.add(prop::user_property, {"nm", "val"}); break;
    case 39: buffer.add(prop::maximum_packet_size, 0x1235); break;
    case 40: buffer.add(prop::wildcard_subscription_available, 1); break;
    case 41: buffer.add(prop::subscription_identifier_available, 1); break;
    case 42: buffer.add(prop::shared_subscription_available, 1); break;
    default: FAIL("no such property");
    }
}

// Bytes of flash: a compile-time constant.
static constexpr auto in_flash = PropertyBuffer<28>()
                                     .add(prop::payload_format_indicator, 1)
                                     .add(prop::message_expiry_interval, 0x01020304)
                                     .add(prop::topic_alias, 0x0506)
                                     .add(prop::subscription_identifier, 300)
                                     .add(prop::content_type, "ab")
                                     .add(prop::user_property, {"k", "v"});
static_assert(in_flash.ok() && in_flash.size() == 25 && in_flash.block().size() == 25);
static_assert(in_flash.block()[0] == 0x01 && in_flash.block()[1] == 1 && in_flash.block()[2] == 0x02 &&
              in_flash.block()[3] == 1 && in_flash.block()[6] == 4 && in_flash.block()[7] == 0x23 &&
              in_flash.block()[10] == 0x0B && in_flash.block()[11] == 0xAC && in_flash.block()[12] == 0x02);
static constexpr uint8_t some_bytes[] = {7, 0, 8};
static constexpr auto bytes_in_flash = PropertyBuffer<6>().add(prop::correlation_data, some_bytes);
static_assert(bytes_in_flash.ok() && bytes_in_flash.size() == 6 && bytes_in_flash.block()[0] == 0x09 &&
              bytes_in_flash.block()[2] == 3 && bytes_in_flash.block()[5] == 8);
static constexpr Properties view_of_flash = in_flash;
static_assert(view_of_flash.block().size() == 25 && !view_of_flash.empty());
static constexpr auto too_small = PropertyBuffer<3>().add(prop::payload_format_indicator, 1).add(prop::maximum_qos, 1);
static_assert(!too_small.ok() && too_small.size() == 4);
static_assert(PropertyBuffer<4>().ok() && PropertyBuffer<4>().size() == 0 && PropertyBuffer<4>().block().empty());

}  // namespace

TEST_CASE("MQTT 5 PropertyBuffer has the bytes of each property, and needs no more memory than these") {
    for (const PropertyRow& row : wire::property_table) {
        CAPTURE(int{row.id});
        const Octets expected = example(row);
        PropertyBuffer<64> buffer;
        add_example(buffer, row.id);
        CHECK(buffer.ok());
        CHECK(buffer.size() == expected.size());
        CHECK(difference(wire::view(expected), buffer.block()) == "");
        add_example(buffer, row.id);
        add_example(buffer, 38);
        const Octets three = joined({expected, expected, {0x26, 0, 2, 'n', 'm', 0, 3, 'v', 'a', 'l'}});
        CHECK(difference(wire::view(three), buffer.block()) == "");
        buffer.clear();
        CHECK(buffer.ok());
        CHECK(buffer.size() == 0);
        CHECK(buffer.block().empty());
        add_example(buffer, row.id);
        CHECK(difference(wire::view(expected), buffer.block()) == "");
    }
    const uint8_t expected[] = {0x01, 1, 0x02, 1, 2, 3, 4, 0x23, 5, 6, 0x0B, 0xAC, 0x02, 0x03, 0, 2, 'a', 'b',
                                0x26, 0, 1, 'k', 0, 1, 'v'};
    CHECK(difference(expected, in_flash.block()) == "");
    CHECK(view_of_flash.get(prop::message_expiry_interval).value_or(0) == 0x01020304);
}

TEST_CASE("MQTT 5 PropertyBuffer writes numbers of all sizes: two and four bytes with the highest first, variable ones with "
          "the lowest first") {
    PropertyBuffer<64> buffer;
    buffer.add(prop::receive_maximum, 1).add(prop::receive_maximum, 0xFF00).add(prop::maximum_packet_size, 0xFF000001);
    buffer.add(prop::maximum_qos, 0).add(prop::maximum_qos, 255);
    const Octets fixed = {0x21, 0, 1, 0x21, 0xFF, 0, 0x27, 0xFF, 0, 0, 1, 0x24, 0, 0x24, 255};
    CHECK(difference(wire::view(fixed), buffer.block()) == "");

    buffer.clear();
    for (const uint32_t value : {0U, 1U, 127U, 128U, 16383U, 16384U, 2097151U, 2097152U, 268435455U})
        buffer.add(prop::subscription_identifier, value);
    const Octets variable = {
        0x0B, 0x00, 0x0B, 0x01, 0x0B, 0x7F, 0x0B, 0x80, 0x01, 0x0B, 0xFF, 0x7F, 0x0B, 0x80, 0x80, 0x01,
        0x0B, 0xFF, 0xFF, 0x7F, 0x0B, 0x80, 0x80, 0x80, 0x01, 0x0B, 0xFF, 0xFF, 0xFF, 0x7F,
    };
    CHECK(difference(wire::view(variable), buffer.block()) == "");
}

TEST_CASE("MQTT 5 a value that no property can have is told by the call that gets it: a subscription identifier above "
          "268435455, a text of 65536 bytes") {
    const Frame &publish = frames[3], &subscribe = frames[8];
    for (const uint32_t value : {268435456U, 0xFFFFFFFFU}) {
        PropertyBuffer<16> buffer;
        buffer.add(prop::subscription_identifier, value);
        CHECK(write(publish, buffer).error == Error::invalid_properties);
        CHECK(write(subscribe, buffer).error == Error::invalid_properties);
    }
    const std::string longest(65535, 'x'), longer(65536, 'x'), far_longer(65537 + 65536, 'x');
    static PropertyBuffer<70000> buffer;
    buffer.add(prop::content_type, longest);
    CHECK(buffer.ok());
    CHECK(buffer.size() == 65538);
    CHECK(write(publish, buffer).error == Error::ok);
    for (const std::string& text : {longer, far_longer}) {
        buffer.clear();
        buffer.add(prop::content_type, text);
        CHECK(!buffer.ok());
        CHECK(write(publish, buffer).error == Error::invalid_properties);
        buffer.add(prop::payload_format_indicator, 1);
        CHECK(!buffer.ok());
        buffer.clear();
        CHECK(buffer.ok());
        buffer.add(prop::correlation_data, text);
        CHECK(!buffer.ok());
        buffer.clear();
        buffer.add(prop::user_property, {"k", text});
        CHECK(!buffer.ok());
        buffer.clear();
        buffer.add(prop::user_property, {text, "v"});
        CHECK(!buffer.ok());
        buffer.clear();
    }
}

namespace {

// Of N bytes: ok as long as what was added fits, to the byte; then refused, whatever is added further.
template <size_t N> void check_room() {
    CAPTURE(N);
    struct Guarded {   // a write behind the buffer's memory would be seen here, too
        PropertyBuffer<N> buffer;
        uint8_t guard[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    } guarded;
    PropertyBuffer<N>& buffer = guarded.buffer;
    size_t used = 0;
    for (const uint8_t id : {uint8_t{1}, uint8_t{38}, uint8_t{11}, uint8_t{9}, uint8_t{2}}) {
        add_example(buffer, id);
        used += example(*wire::property_row(id)).size();   // 2, 10, 5, 6, 5
        CHECK(buffer.size() == used);
        CHECK(buffer.ok() == (used <= N));
        CHECK(write(frames[3], buffer).error == (used <= N ? Error::ok : Error::invalid_properties));
        CHECK(buffer.block().size() == (used <= N ? used : 1));
    }
    for (uint8_t i = 0; i < 8; ++i) CHECK(guarded.guard[i] == i + 1);
    buffer.clear();
    CHECK(buffer.ok());
    CHECK(write(frames[3], buffer).error == Error::ok);
}
template <size_t... N> void check_rooms(std::index_sequence<N...>) { (check_room<N + 1>(), ...); }

}  // namespace

TEST_CASE("MQTT 5 PropertyBuffer that is too small, by however many bytes, is not ok, and refused with invalid_properties in "
          "all fourteen places") {
    check_rooms(std::make_index_sequence<30>());
    for (const Frame& frame : frames) {
        CAPTURE(frame.place);
        PropertyBuffer<9> buffer;
        buffer.add(prop::user_property, {"nm", "val"});
        CHECK(!buffer.ok());
        CHECK(write(frame, buffer).error == Error::invalid_properties);
        PropertyBuffer<10> enough;
        enough.add(prop::user_property, {"nm", "val"});
        CHECK(write(frame, enough).error == Error::ok);
    }
}

TEST_CASE("MQTT 5 what is in flash is sent as it is, and a block of your own, too, if it is well-formed") {
    mqtt::Publish packet;
    packet.topic = "t";
    packet.properties = in_flash;
    packet.payload = "!";
    const Octets bytes = {
        0x30, 30,                                            // PUBLISH, QoS 0, remaining length 30
        0, 1, 't',                                           // topic
        25,                                                  // property length
        0x01, 1, 0x02, 1, 2, 3, 4, 0x23, 5, 6, 0x0B, 0xAC, 0x02,
        0x03, 0, 2, 'a', 'b', 0x26, 0, 1, 'k', 0, 1, 'v',
        '!',                                                 // payload
    };
    wire::encodes(packet, wire::view(bytes), Version::v5);
    static constexpr uint8_t block[] = {0x03, 0, 1, 'c'};
    static constexpr Properties own = block;
    static_assert(own.block().size() == 4);
    packet.properties = own;
    const Octets shorter = {0x30, 9, 0, 1, 't', 4, 0x03, 0, 1, 'c', '!'};
    wire::encodes(packet, wire::view(shorter), Version::v5);
}

TEST_CASE("MQTT 5 the example in mqtt.hpp, section 5") {
    PropertyBuffer<64> properties;
    properties.add(prop::content_type, "text/plain").add(prop::user_property, {"unit", "degrees"});
    static constexpr auto text = PropertyBuffer<16>().add(prop::payload_format_indicator, 1);
    CHECK(properties.ok());
    CHECK(properties.size() == 3 + 10 + 5 + 4 + 7);
    const Properties list = properties;
    CHECK(!list.get(prop::response_topic));
    if (const auto type = list.get(prop::content_type)) CHECK(*type == "text/plain");
    UserProperty pair;
    size_t pairs = 0;
    for (auto rest = list; rest.next(prop::user_property, pair);) {
        CHECK(pair.name == "unit");
        CHECK(pair.value == "degrees");
        ++pairs;
    }
    CHECK(pairs == 1);
    CHECK(text.size() == 2);
}

// ------------------------------------------------------------------------------------------ reason codes

namespace {

// A packet of the place whose reason code is this one.
Octets with_reason(in::Place place, uint8_t code) {
    switch (place) {
    case in::connack: return {0x20, 3, 0, code, 0};
    case in::puback: return {0x40, 3, 0, 7, code};
    case in::pubrec: return {0x50, 3, 0, 7, code};
    case in::pubrel: return {0x62, 3, 0, 7, code};
    case in::pubcomp: return {0x70, 3, 0, 7, code};
    case in::suback: return {0x90, 4, 0, 7, 0, code};
    case in::unsuback: return {0xB0, 4, 0, 7, 0, code};
    case in::disconnect: return {0xE0, 1, code};
    default: return {0xF0, 2, code, 0};
    }
}
const in::Place with_reasons[] = {in::connack, in::puback, in::pubrec, in::pubrel, in::pubcomp,
                                  in::suback, in::unsuback, in::disconnect, in::auth};

}  // namespace

TEST_CASE("MQTT 5 [MQTT-3.2.2-8], [MQTT-3.4.2-1], [MQTT-3.5.2-1], [MQTT-3.6.2-1], [MQTT-3.7.2-1], [MQTT-3.9.3-2], "
          "[MQTT-3.11.3-2], [MQTT-3.14.2-1], [MQTT-3.15.2-1] of the 256 reason codes each packet has those of table 2-6; "
          "others are a protocol error, and not written") {
    size_t good = 0;
    for (const in::Place place : with_reasons) {
        for (size_t code = 0; code < 256; ++code) {
            CAPTURE(place);
            CAPTURE(code);
            const bool legal = wire::may_have(place, code);
            if (legal) ++good;
            const uint8_t value = static_cast<uint8_t>(code);
            const ReasonCode reason = static_cast<ReasonCode>(code);
            const Exact bytes(with_reason(place, value));
            const PacketType type = static_cast<PacketType>(bytes.data()[0] / 16);
            CHECK(mqtt::legal(reason, type) == legal);

            mqtt::Connack connack;
            mqtt::Ack ack;
            mqtt::Suback suback;
            mqtt::Disconnect last;
            Error read = Error::ok, written = Error::ok;
            ReasonCode got = reason;
            const uint8_t codes[] = {value};
            if (place == in::connack) {
                read = mqtt::decode(bytes.view(), connack, Version::v5);
                got = connack.reason;
                connack = mqtt::Connack();
                connack.reason = reason;
                written = write_as(connack).error;
            } else if (place == in::suback || place == in::unsuback) {
                read = mqtt::decode(bytes.view(), suback, Version::v5);
                if (read == Error::ok) got = static_cast<ReasonCode>(suback.reason_codes[0]);
                suback = mqtt::Suback();
                suback.type = type;
                suback.packet_id = 7;
                suback.reason_codes = codes;
                written = write_as(suback).error;
            } else if (place == in::disconnect || place == in::auth) {
                read = mqtt::decode(bytes.view(), last, Version::v5);
                got = last.reason;
                last = mqtt::Disconnect();
                last.type = type;
                last.reason = reason;
                written = write_as(last).error;
            } else {
                read = mqtt::decode(bytes.view(), ack, Version::v5);
                got = ack.reason;
                ack = mqtt::Ack();
                ack.type = type;
                ack.packet_id = 7;
                ack.reason = reason;
                written = write_as(ack).error;
            }
            CHECK(read == (legal ? Error::ok : Error::protocol_error));
            CHECK(written == (legal ? Error::ok : Error::invalid_argument));
            if (legal) CHECK(got == reason);
        }
    }
    CHECK(good == 22 + 9 + 9 + 2 + 2 + 12 + 7 + 30 + 3);
    for (size_t code = 0; code < 256; ++code)   // those that have none
        for (const PacketType type : {PacketType::reserved, PacketType::connect, PacketType::publish, PacketType::subscribe,
                                      PacketType::unsubscribe, PacketType::pingreq, PacketType::pingresp})
            if (mqtt::legal(static_cast<ReasonCode>(code), type)) FAIL_CHECK("code " << code);
}

TEST_CASE("MQTT 5 [MQTT-3.9.3-2], [MQTT-3.11.3-2] a reason code that SUBACK or UNSUBACK must not have is a protocol error "
          "wherever it stands") {
    for (const in::Place place : {in::suback, in::unsuback}) {
        const uint8_t first = place == in::suback ? 0x90 : 0xB0;
        for (size_t code = 0; code < 256; ++code) {
            const uint8_t value = static_cast<uint8_t>(code);
            const Error expected = wire::may_have(place, code) ? Error::ok : Error::protocol_error;
            for (const Octets& codes : {Octets{value, 0, 0x80}, Octets{0x80, value, 0}, Octets{0, 0x80, value}}) {
                const Octets bytes = wire::packet(first, joined({{0, 7, 0}, codes}));
                if (wire::verdict<mqtt::Suback>(wire::view(bytes), Version::v5) != expected) FAIL_CHECK("code " << code);
                mqtt::Suback packet;
                packet.type = static_cast<PacketType>(first / 16);
                packet.packet_id = 7;
                packet.reason_codes = wire::view(codes);
                if (write_as(packet).error != (expected == Error::ok ? Error::ok : Error::invalid_argument))
                    FAIL_CHECK("written: code " << code);
            }
        }
    }
}
