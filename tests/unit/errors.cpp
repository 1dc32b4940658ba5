// Facts about values: errors and who is at fault, views of bytes, and what the compiler can tell.

#include "mqtt.hpp"

#include "../support/bytes5.hpp"

#include <doctest/doctest.h>

#include <array>
#include <set>

namespace {

using mqtt::Buffer;
using mqtt::Bytes;
using mqtt::Error;
using mqtt::Fault;

// Known when compiled.
static_assert(mqtt::fault(Error::ok) == Fault::none);
static_assert(mqtt::fault(Error::no_space) == Fault::not_now);
static_assert(mqtt::Result().ok() && mqtt::Result().packet_id == 0);
static_assert(!mqtt::Result{Error::no_space, 0}.ok());
static_assert(mqtt::matches("a/+/#", "a/b") && !mqtt::matches("#", "$SYS") && !mqtt::matches("a", "b"));
static_assert(mqtt::valid_length("") && mqtt::max_string_size == 65535);
static_assert(mqtt::max_remaining_length == 128 * 128 * 128 * 128 - 1);
static_assert(mqtt::first_byte_of(mqtt::PacketType::connect) == 0x10);
static_assert(mqtt::first_byte_of(mqtt::PacketType::pubrel) == 0x62);
static_assert(mqtt::first_byte_of(mqtt::PacketType::subscribe) == 0x82);
static_assert(mqtt::first_byte_of(mqtt::PacketType::unsubscribe) == 0xA2);
static_assert(mqtt::first_byte_of(mqtt::PacketType::disconnect) == 0xE0);
static_assert(mqtt::Connect::valid_flags(0xEE, false) && !mqtt::Connect::valid_flags(0x01, false));
static_assert(mqtt::Connect::valid_flags(0x40, true) && !mqtt::Connect::valid_flags(0x40, false));   // password alone
static_assert(mqtt::first_byte_of(mqtt::PacketType::auth) == 0xF0);
static_assert(mqtt::granted(2) && !mqtt::granted(0x80));
static_assert(Bytes().empty() && Bytes().data() == nullptr && Bytes().begin() == Bytes().end());

constexpr uint8_t constant[] = {1, 2, 3};
static_assert(Bytes(constant).size() == 3 && Bytes(constant)[2] == 3 && !Bytes(constant).empty());
static_assert(Bytes(constant, 2).size() == 2 && Bytes(constant).end() - Bytes(constant).begin() == 3);

// The types of values are as small as what they hold, and copied as bytes.
static_assert(static_cast<int>(mqtt::Version::v3_1_1) == 4 && static_cast<int>(mqtt::Version::v5) == 5);
static_assert(sizeof(Error) == 1 && sizeof(Fault) == 1 && sizeof(mqtt::QoS) == 1 && sizeof(mqtt::ReasonCode) == 1 &&
              sizeof(mqtt::PacketType) == 1 && sizeof(mqtt::Retain) == 1 && sizeof(mqtt::Version) == 1 &&
              sizeof(mqtt::RetainHandling) == 1);
static_assert(sizeof(Bytes) == sizeof(void*) + sizeof(size_t) && sizeof(Buffer) == sizeof(Bytes));
static_assert(sizeof(mqtt::Result) == 4 && sizeof(mqtt::FixedHeader) == 8);
static_assert(std::is_trivially_copyable_v<Bytes> && std::is_trivially_copyable_v<Buffer> &&
              std::is_trivially_copyable_v<mqtt::Result> && std::is_trivially_copyable_v<mqtt::Message> &&
              std::is_trivially_copyable_v<mqtt::Event> && std::is_trivially_copyable_v<mqtt::Publish> &&
              std::is_trivially_copyable_v<mqtt::Connect> && std::is_trivially_copyable_v<mqtt::Subscribe>);
static_assert(std::is_trivially_destructible_v<mqtt::Event> && std::is_trivially_destructible_v<mqtt::Connect>);

// Text becomes bytes by itself; a number or an array of other things does not.
static_assert(std::is_convertible_v<const char*, Bytes> && std::is_convertible_v<std::string, Bytes> &&
              std::is_convertible_v<std::string_view, Bytes> && std::is_convertible_v<const char (&)[4], Bytes> &&
              std::is_convertible_v<uint8_t (&)[4], Bytes> && std::is_convertible_v<const uint8_t (&)[4], Bytes>);
static_assert(!std::is_convertible_v<int, Bytes> && !std::is_convertible_v<const uint16_t (&)[4], Bytes> &&
              !std::is_convertible_v<const uint8_t*, Bytes>);
static_assert(!std::is_convertible_v<const uint8_t (&)[4], Buffer> && !std::is_convertible_v<const char*, Buffer>);

std::string said(Bytes bytes) { return std::string(bytes.text()); }

}  // namespace

TEST_CASE("each error has a text of its own, and one who is at fault") {
    static const struct {
        Error error;
        Fault fault;
        std::string_view text;
    } rows[] = {
        {Error::ok,                       Fault::none,    "ok"},
        {Error::no_space,                 Fault::not_now, "no space"},
        {Error::receive_maximum_reached,  Fault::not_now, "receive maximum reached"},
        {Error::publish_in_progress,      Fault::not_now, "publish in progress"},
        {Error::not_connected,            Fault::not_now, "not connected"},
        {Error::not_started,              Fault::caller,  "not started"},
        {Error::already_started,          Fault::caller,  "already started"},
        {Error::buffer_too_small,         Fault::caller,  "buffer too small"},
        {Error::packet_too_large,         Fault::caller,  "packet too large"},
        {Error::invalid_argument,         Fault::caller,  "invalid argument"},
        {Error::invalid_client_id,        Fault::caller,  "invalid client id"},
        {Error::invalid_topic,            Fault::caller,  "invalid topic"},
        {Error::invalid_filter,           Fault::caller,  "invalid filter"},
        {Error::invalid_string,           Fault::caller,  "invalid string"},
        {Error::unknown_packet_id,        Fault::caller,  "unknown packet id"},
        {Error::other_session,            Fault::caller,  "other session"},
        {Error::invalid_properties,       Fault::caller,  "invalid properties"},
        {Error::qos_not_supported,        Fault::caller,  "QoS not supported"},
        {Error::retain_not_supported,     Fault::caller,  "retain not supported"},
        {Error::wildcard_subscriptions_not_supported,   Fault::caller, "wildcard subscriptions not supported"},
        {Error::subscription_identifiers_not_supported, Fault::caller, "subscription identifiers not supported"},
        {Error::shared_subscriptions_not_supported,     Fault::caller, "shared subscriptions not supported"},
        {Error::malformed_packet,         Fault::server,  "malformed packet"},
        {Error::protocol_error,           Fault::server,  "protocol error"},
        {Error::oversize_packet,          Fault::server,  "oversize packet"},
        {Error::receive_maximum_exceeded, Fault::server,  "receive maximum exceeded"},
        {Error::connection_refused,       Fault::server,  "connection refused"},
        {Error::session_lost,             Fault::server,  "session lost"},
        {Error::topic_alias_invalid,      Fault::server,  "topic alias invalid"},
        {Error::session_unknown,          Fault::server,  "session unknown"},
        {Error::server_disconnected,      Fault::server,  "server disconnected"},
        {Error::storage_failed,           Fault::storage, "storage failed"},
        {Error::storage_full,             Fault::storage, "storage full"},
        {Error::storage_corrupt,          Fault::storage, "storage corrupt"},
        {Error::storage_foreign,          Fault::storage, "storage foreign"},
        {Error::storage_too_large,        Fault::storage, "storage too large"},
        {Error::storage_locked,           Fault::storage, "storage locked"},
        {Error::storage_misused,          Fault::storage, "storage misused"},
        {Error::connect_failed,           Fault::network, "connect failed"},
        {Error::connect_timeout,          Fault::network, "connect timeout"},
        {Error::connection_lost,          Fault::network, "connection lost"},
        {Error::response_timeout,         Fault::network, "response timeout"},
        {Error::message_expired,          Fault::network, "message expired"},
    };
    std::set<std::string_view> texts;
    int number = 0;
    for (const auto& row : rows) {
        INFO(std::string(row.text));
        CHECK(static_cast<int>(row.error) == number++);   // no error is left out
        CHECK(mqtt::fault(row.error) == row.fault);
        CHECK(mqtt::to_string(row.error) == row.text);
        texts.insert(mqtt::to_string(row.error));
    }
    CHECK(texts.size() == sizeof rows / sizeof *rows);
    for (; number < 256; ++number) CHECK(std::string_view(mqtt::to_string(static_cast<Error>(number))) == "?");
}

TEST_CASE("Bytes are made from text of any kind, without the 0 that ends a literal") {
    const char* pointer = "pointer";
    const std::string string = "a string that is too long to lie within the object";
    const std::string_view part = std::string_view(string).substr(2, 6);
    CHECK(said("literal") == "literal");
    CHECK(Bytes("literal").size() == 7);
    CHECK(Bytes("").empty());
    CHECK(Bytes("").data() != nullptr);   // an empty text is not none
    CHECK(said(pointer) == "pointer");
    CHECK(said(string) == string);
    CHECK(Bytes(string).text().data() == string.data());
    CHECK(said(part) == "string");
    CHECK(Bytes(part).text().data() == string.data() + 2);
    CHECK(Bytes(std::string_view()).data() == nullptr);
    CHECK(said(std::string_view("a\0b", 3)) == std::string("a\0b", 3));
    const Bytes high = "\xFF\x80";
    CHECK(high[0] == 0xFF);
    CHECK(high[1] == 0x80);
}

TEST_CASE("Bytes are made from arrays, and from a pointer and a size") {
    uint8_t array[] = {'a', 0, 'b'};
    const Bytes whole = array;
    CHECK(whole.data() == array);
    CHECK(whole.size() == 3);
    CHECK(whole[1] == 0);
    CHECK(whole.end() - whole.begin() == 3);
    CHECK(whole.text() == std::string_view("a\0b", 3));

    const std::vector<uint8_t> vector = {1, 2, 3, 4};
    const Bytes tail(vector.data() + 1, vector.size() - 1);
    CHECK(tail.size() == 3);
    uint32_t sum = 0;
    for (const uint8_t byte : tail) sum += byte;
    CHECK(sum == 9);

    const std::array<uint8_t, 2> pair = {5, 6};
    CHECK(Bytes(pair.data(), pair.size())[1] == 6);

    Buffer buffer = array;
    CHECK(buffer.data == array);
    CHECK(buffer.size == 3);
    buffer = Buffer();
    CHECK(buffer.data == nullptr);
    CHECK(buffer.size == 0);
}

TEST_CASE("numbers are loaded and stored with the higher byte first, at any address") {
    uint8_t bytes[4] = {0xEE, 0xEE, 0xEE, 0xEE};
    for (size_t at = 0; at < 3; ++at) {
        for (uint32_t value = 0; value < 0x10000; value += 0x0FF1) {
            mqtt::store_u16(bytes + at, static_cast<uint16_t>(value));
            if (bytes[at] != value / 256 || bytes[at + 1] != value % 256) FAIL_CHECK(value);
            if (mqtt::load_u16(bytes + at) != value) FAIL_CHECK(value);
        }
    }
    const wire::Exact exact(wire::Octets{0x12, 0x34});
    CHECK(mqtt::load_u16(exact.data()) == 0x1234);
    mqtt::store_u16(exact.data(), 0xFEDC);
    CHECK(exact.data()[0] == 0xFE);
    CHECK(exact.data()[1] == 0xDC);
}

TEST_CASE("numbers of four bytes are loaded and stored with the highest byte first, at any address") {
    for (size_t at = 0; at < 4; ++at) {
        uint8_t bytes[8] = {0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE, 0xEE};
        mqtt::store_u32(bytes + at, 0x12345678);
        CHECK(bytes[at] == 0x12);
        CHECK(bytes[at + 1] == 0x34);
        CHECK(bytes[at + 2] == 0x56);
        CHECK(bytes[at + 3] == 0x78);
        CHECK(bytes[at + 4] == 0xEE);
        CHECK(mqtt::load_u32(bytes + at) == 0x12345678);
    }
    const wire::Exact exact(wire::Octets{0xFE, 0xDC, 0xBA, 0x98});
    CHECK(mqtt::load_u32(exact.data()) == 0xFEDCBA98);
    mqtt::store_u32(exact.data(), 0xFFFFFFFF);
    CHECK(exact.data()[0] == 0xFF);
    CHECK(mqtt::load_u32(exact.data()) == 0xFFFFFFFF);
}

TEST_CASE("the example in mqtt.hpp, section 9") {
    uint8_t buffer[64];
    const mqtt::Encoded out = mqtt::encode(mqtt::Ack{mqtt::PacketType::puback, 10}, buffer);
    CHECK(out.error == Error::ok);
    CHECK(out.size == 4);
    mqtt::Ack ack;
    CHECK(mqtt::decode({buffer, out.size}, ack) == Error::ok);
    CHECK(ack.packet_id == 10);
    if constexpr (mqtt::has_v5) {
        ack = mqtt::Ack();
        CHECK(mqtt::decode({buffer, out.size}, ack, mqtt::Version::v5) == Error::ok);
        CHECK(ack.packet_id == 10);
    }
}

TEST_CASE("MQTT 5 each reason code has its value, and a text of its own") {
    using mqtt::ReasonCode;
    static const struct {
        ReasonCode reason;
        uint8_t value;
    } rows[] = {
        {ReasonCode::success, 0x00},
        {ReasonCode::granted_qos_1, 0x01},
        {ReasonCode::granted_qos_2, 0x02},
        {ReasonCode::disconnect_with_will_message, 0x04},
        {ReasonCode::no_matching_subscribers, 0x10},
        {ReasonCode::no_subscription_existed, 0x11},
        {ReasonCode::continue_authentication, 0x18},
        {ReasonCode::re_authenticate, 0x19},
        {ReasonCode::unspecified_error, 0x80},
        {ReasonCode::malformed_packet, 0x81},
        {ReasonCode::protocol_error, 0x82},
        {ReasonCode::implementation_specific_error, 0x83},
        {ReasonCode::unsupported_protocol_version, 0x84},
        {ReasonCode::client_identifier_not_valid, 0x85},
        {ReasonCode::bad_user_name_or_password, 0x86},
        {ReasonCode::not_authorized, 0x87},
        {ReasonCode::server_unavailable, 0x88},
        {ReasonCode::server_busy, 0x89},
        {ReasonCode::banned, 0x8A},
        {ReasonCode::server_shutting_down, 0x8B},
        {ReasonCode::bad_authentication_method, 0x8C},
        {ReasonCode::keep_alive_timeout, 0x8D},
        {ReasonCode::session_taken_over, 0x8E},
        {ReasonCode::topic_filter_invalid, 0x8F},
        {ReasonCode::topic_name_invalid, 0x90},
        {ReasonCode::packet_identifier_in_use, 0x91},
        {ReasonCode::packet_identifier_not_found, 0x92},
        {ReasonCode::receive_maximum_exceeded, 0x93},
        {ReasonCode::topic_alias_invalid, 0x94},
        {ReasonCode::packet_too_large, 0x95},
        {ReasonCode::message_rate_too_high, 0x96},
        {ReasonCode::quota_exceeded, 0x97},
        {ReasonCode::administrative_action, 0x98},
        {ReasonCode::payload_format_invalid, 0x99},
        {ReasonCode::retain_not_supported, 0x9A},
        {ReasonCode::qos_not_supported, 0x9B},
        {ReasonCode::use_another_server, 0x9C},
        {ReasonCode::server_moved, 0x9D},
        {ReasonCode::shared_subscriptions_not_supported, 0x9E},
        {ReasonCode::connection_rate_exceeded, 0x9F},
        {ReasonCode::maximum_connect_time, 0xA0},
        {ReasonCode::subscription_identifiers_not_supported, 0xA1},
        {ReasonCode::wildcard_subscriptions_not_supported, 0xA2},
    };
    CHECK(sizeof rows / sizeof *rows == 43);
    for (const auto& row : rows) CHECK(static_cast<int>(row.reason) == row.value);

    std::set<std::string_view> texts;
    for (int value = 0; value < 256; ++value) {
        CAPTURE(value);
        std::string_view expected = "?";
        for (const wire::ReasonRow& row : wire::reason_table)
            if (row.code == value) expected = row.name;
        const ReasonCode reason = static_cast<ReasonCode>(value);
        CHECK(mqtt::to_string(reason) == expected);
        CHECK(mqtt::granted(static_cast<uint8_t>(value)) == (value < 128));
        texts.insert(mqtt::to_string(reason));
    }
    CHECK(texts.size() == 43 + 1);
}

TEST_CASE("a message is complete when its last piece has come") {
    const uint8_t piece[] = {1, 2, 3};
    mqtt::Message message;
    CHECK(message.complete());
    message.payload = piece;
    message.total = 5;
    CHECK(!message.complete());
    message.offset = 2;
    CHECK(message.complete());
}
