// Every packet type of MQTT 5, byte by byte, as packets.cpp has those of 3.1.1. The bytes are written by hand from the
// specification: encoder and decoder share one list of fields, so a round trip alone would prove nothing. Those of whole
// short packets stand in tests/support/bytes5.hpp, because hostile5.cpp breaks them. What properties may be where, and
// which reason codes: properties.cpp.

#include "mqtt.hpp"

#include "../support/bytes5.hpp"
#include "../support/codec.hpp"

#include <doctest/doctest.h>

namespace {

using mqtt::Bytes;
using mqtt::Error;
using mqtt::PacketType;
using mqtt::Properties;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Retain;
using mqtt::RetainHandling;
using mqtt::Subscription;
using mqtt::Version;
using wire::decoded;
using wire::difference;
using wire::elsewhere;
using wire::encodes;
using wire::Exact;
using wire::Golden;
using wire::Octets;
namespace prop = mqtt::prop;
using namespace wire::golden5;

constexpr Version v5 = Version::v5;

// In this file all of it is about MQTT 5.
template <class Packet> bool refuses(const Packet& packet, Error error) { return wire::refuses(packet, error, v5); }
template <class Packet> Error verdict(const Octets& bytes) { return wire::verdict<Packet>(wire::view(bytes), v5); }
template <class Packet> bool malformed(const Octets& bytes) { return verdict<Packet>(bytes) == Error::malformed_packet; }
template <class Packet> bool protocol_error(const Octets& bytes) { return verdict<Packet>(bytes) == Error::protocol_error; }
template <class Packet> bool accepted(const Octets& bytes) { return verdict<Packet>(bytes) == Error::ok; }

mqtt::Connect new_connect() {
    mqtt::Connect packet;
    packet.protocol_level = 5;
    return packet;
}

}  // namespace

// ------------------------------------------------------------------------------------------ 3.1 CONNECT

TEST_CASE("MQTT 5 [MQTT-2.2.2-1], [MQTT-3.1.2-1], [MQTT-3.1.2-2] CONNECT with no more than it must have: the protocol name "
          "MQTT, version 5, and a property length of 0") {
    mqtt::Connect packet = new_connect();
    encodes(packet, connect_smallest, v5);

    packet = decoded<mqtt::Connect>(connect_smallest, v5);
    CHECK(packet.protocol_name == "MQTT");
    CHECK(packet.protocol_level == 5);
    CHECK(packet.flags == mqtt::Connect::clean_session);
    CHECK(packet.keep_alive == 0);
    CHECK(packet.properties.empty());
    CHECK(packet.will_properties.empty());
    CHECK(packet.client_id.empty());
    CHECK(packet.will_topic.data() == nullptr);
    CHECK(packet.user_name.data() == nullptr);
    CHECK(packet.password.data() == nullptr);

    packet = new_connect();
    packet.protocol_name = "MQIsdp";
    CHECK(refuses(packet, Error::invalid_argument));
    packet.protocol_name = "mqtt";
    CHECK(refuses(packet, Error::invalid_argument));
    packet.protocol_name = "MQTT";
    for (int level = 0; level < 256; ++level) {
        packet.protocol_level = static_cast<uint8_t>(level);
        CHECK(refuses(packet, Error::invalid_argument) == (level != 4 && level != 5));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-9], [MQTT-3.1.3-1], [MQTT-3.1.3-3] CONNECT has client id, will properties, will topic, will "
          "payload, user name, password, in this order") {
    const uint8_t high[] = {0x00, 0xFF}, correlation[] = {0x00, 0x80};
    PropertyBuffer<36> properties;
    properties.add(prop::session_expiry_interval, 3600).add(prop::receive_maximum, 20).add(prop::maximum_packet_size, 65536);
    properties.add(prop::topic_alias_maximum, 10).add(prop::request_response_information, 1);
    properties.add(prop::request_problem_information, 0).add(prop::user_property, {"k", "v"});
    properties.add(prop::authentication_method, "m").add(prop::authentication_data, high);
    PropertyBuffer<31> of_will;
    of_will.add(prop::will_delay_interval, 5).add(prop::payload_format_indicator, 1).add(prop::message_expiry_interval, 60);
    of_will.add(prop::content_type, "c").add(prop::response_topic, "r").add(prop::correlation_data, correlation);
    of_will.add(prop::user_property, {"a", ""});
    mqtt::Connect packet = new_connect();
    packet.flags = 0xEE;
    packet.keep_alive = 65535;
    packet.properties = properties;
    packet.client_id = "id";
    packet.will_properties = of_will;
    packet.will_topic = "last";
    packet.will_message = "gone";
    packet.user_name = "bob";
    packet.password = high;
    encodes(packet, connect_everything, v5);

    packet = decoded<mqtt::Connect>(connect_everything, v5);
    CHECK(packet.flags == 0xEE);
    CHECK(packet.will_qos() == QoS::at_least_once);
    CHECK(packet.keep_alive == 65535);
    CHECK(packet.client_id == "id");
    CHECK(packet.will_topic == "last");
    CHECK(packet.will_message.text() == "gone");
    CHECK(packet.user_name == "bob");
    CHECK(difference(high, packet.password) == "");
    CHECK(difference(properties.block(), packet.properties.block()) == "");
    CHECK(difference(of_will.block(), packet.will_properties.block()) == "");
    CHECK(packet.properties.get(prop::session_expiry_interval).value_or(0) == 3600);
    CHECK(packet.properties.get(prop::receive_maximum).value_or(0) == 20);
    CHECK(packet.properties.get(prop::maximum_packet_size).value_or(0) == 65536);
    CHECK(packet.properties.get(prop::topic_alias_maximum).value_or(0) == 10);
    CHECK(packet.properties.get(prop::request_response_information).value_or(9) == 1);
    CHECK(packet.properties.get(prop::request_problem_information).value_or(9) == 0);
    CHECK(packet.properties.get(prop::user_property)->name == "k");
    CHECK(packet.properties.get(prop::user_property)->value == "v");
    CHECK(*packet.properties.get(prop::authentication_method) == "m");
    CHECK(difference(high, *packet.properties.get(prop::authentication_data)) == "");
    CHECK(packet.will_properties.get(prop::will_delay_interval).value_or(0) == 5);
    CHECK(packet.will_properties.get(prop::payload_format_indicator).value_or(0) == 1);
    CHECK(packet.will_properties.get(prop::message_expiry_interval).value_or(0) == 60);
    CHECK(*packet.will_properties.get(prop::content_type) == "c");
    CHECK(*packet.will_properties.get(prop::response_topic) == "r");
    CHECK(difference(correlation, *packet.will_properties.get(prop::correlation_data)) == "");
    CHECK(packet.will_properties.get(prop::user_property)->name == "a");
    CHECK(packet.will_properties.get(prop::user_property)->value.empty());
}

TEST_CASE("MQTT 5 CONNECT with a will that has neither properties nor a payload") {
    mqtt::Connect packet = new_connect();
    packet.flags = 0x14;
    packet.keep_alive = 60;
    packet.client_id = "a\xC3\xA4";
    packet.will_topic = "w/t";
    encodes(packet, connect_will, v5);

    packet = decoded<mqtt::Connect>(connect_will, v5);
    CHECK(packet.will_qos() == QoS::exactly_once);
    CHECK(difference("a\xC3\xA4", packet.client_id) == "");
    CHECK(packet.will_topic == "w/t");
    CHECK(packet.will_properties.empty());
    CHECK(packet.will_message.empty());
    CHECK(packet.will_message.data() != nullptr);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-19] CONNECT with a password and no user name, which 3.1.1 does not allow") {
    PropertyBuffer<5> properties;
    properties.add(prop::session_expiry_interval, 0xFFFFFFFF);
    mqtt::Connect packet = new_connect();
    packet.flags = 0x40;
    packet.properties = properties;
    packet.client_id = "c";
    packet.password = "pw";
    encodes(packet, connect_password, v5);

    packet = decoded<mqtt::Connect>(connect_password, v5);
    CHECK(packet.flags == 0x40);
    CHECK(packet.user_name.data() == nullptr);
    CHECK(packet.password.text() == "pw");
    CHECK(packet.properties.get(prop::session_expiry_interval).value_or(0) == 0xFFFFFFFF);

    packet.protocol_level = 4;
    CHECK(refuses(packet, Error::invalid_argument));
}

TEST_CASE("MQTT 5 the protocol version in CONNECT decides, whatever version encode() and decode() are told") {
    PropertyBuffer<8> properties;
    properties.add(prop::receive_maximum, 7);
    const Octets old = {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 0, 0, 0};
    const Octets now = {0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 0, 3, 0x21, 0, 7, 0, 0};
    for (const Version told : {Version::v3_1_1, Version::v5}) {
        CAPTURE(static_cast<int>(told));
        mqtt::Connect packet;
        packet.properties = properties;
        encodes(packet, wire::view(old), told);
        packet.protocol_level = 5;
        encodes(packet, wire::view(now), told);

        packet = decoded<mqtt::Connect>(wire::view(old), told);
        CHECK(packet.protocol_level == 4);
        CHECK(packet.properties.empty());
        packet = decoded<mqtt::Connect>(wire::view(now), told);
        CHECK(packet.protocol_level == 5);
        CHECK(packet.properties.get(prop::receive_maximum).value_or(0) == 7);
    }
}

TEST_CASE("MQTT 5 CONNECT of another version is malformed, with its name and version told") {
    for (int level = 0; level < 256; ++level) {
        if (level == 4 || level == 5) continue;
        const Octets bytes = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', static_cast<uint8_t>(level), 2, 0, 0, 0, 0, 0};
        mqtt::Connect packet;
        CHECK(mqtt::decode(wire::view(bytes), packet, v5) == Error::malformed_packet);
        CHECK(packet.protocol_name == "MQTT");
        CHECK(packet.protocol_level == level);
    }
    const Octets bytes = {0x10, 13, 0, 4, 'm', 'q', 't', 't', 5, 2, 0, 0, 0, 0, 0};
    mqtt::Connect packet;
    CHECK(mqtt::decode(wire::view(bytes), packet, v5) == Error::malformed_packet);
    CHECK(packet.protocol_name == "mqtt");
    CHECK(packet.protocol_level == 5);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-16], [MQTT-3.1.2-17], [MQTT-3.1.2-18], [MQTT-3.1.2-19] each legal combination of connect "
          "flags has exactly its fields in the payload") {
    const uint8_t wills[] = {0x00, 0x04, 0x24, 0x0C, 0x2C, 0x14, 0x34};   // none; QoS 0, 1, 2, without and with retain
    int combinations = 0;
    for (const uint8_t will : wills) {
        for (const uint8_t credentials : Octets{0x00, 0x40, 0x80, 0xC0}) {
            for (const uint8_t clean : Octets{0x00, 0x02}) {
                const uint8_t flags = static_cast<uint8_t>(will | credentials | clean);
                CAPTURE(int{flags});
                ++combinations;
                const bool has_user_name = credentials >= 0x80, has_password = credentials % 0x80 != 0;
                Octets body = {0, 4, 'M', 'Q', 'T', 'T', 5, flags, 0, 5, 0};     // up to keep alive 5 s and no properties
                wire::append(body, {0, 2, 'i', 'd'});                            // client id
                if (will != 0) wire::append(body, {5, 0x18, 0, 0, 0, 9});        // will properties: delay 9 s
                if (will != 0) wire::append(body, {0, 3, 'w', '/', 't'});        // will topic
                if (will != 0) wire::append(body, {0, 3, 'b', 'y', 'e'});        // will payload
                if (has_user_name) wire::append(body, {0, 3, 'u', 's', 'r'});    // user name
                if (has_password) wire::append(body, {0, 2, 'p', 'w'});          // password
                const Octets bytes = wire::packet(0x10, body);

                PropertyBuffer<5> delay;
                delay.add(prop::will_delay_interval, 9);
                mqtt::Connect packet = new_connect();   // all fields are there to be sent; the flags choose
                packet.flags = flags;
                packet.keep_alive = 5;
                packet.client_id = "id";
                packet.will_properties = delay;
                packet.will_topic = "w/t";
                packet.will_message = "bye";
                packet.user_name = "usr";
                packet.password = "pw";
                encodes(packet, wire::view(bytes), v5);

                const Exact exact(bytes);
                packet = decoded<mqtt::Connect>(exact.view(), v5);
                CHECK(packet.flags == flags);
                CHECK(packet.will_qos() == static_cast<QoS>(will / 8 % 4));
                CHECK(packet.client_id == "id");
                CHECK(packet.will_properties.get(prop::will_delay_interval).has_value() == (will != 0));
                CHECK(packet.will_topic == (will != 0 ? "w/t" : ""));
                CHECK(packet.will_message.text() == (will != 0 ? "bye" : ""));
                CHECK(packet.user_name == (has_user_name ? "usr" : ""));
                CHECK(packet.password.text() == (has_password ? "pw" : ""));

                // A field more, or one less, than the flags say.
                Octets more = body;
                wire::append(more, {0, 2, 'p', 'w'});
                CHECK(malformed<mqtt::Connect>(wire::packet(0x10, more)));
                Octets less = body;
                less.resize(body.size() - (has_password ? 4 : has_user_name || will != 0 ? 5 : 4));
                CHECK(malformed<mqtt::Connect>(wire::packet(0x10, less)));
            }
        }
    }
    CHECK(combinations == 56);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-3], [MQTT-3.1.2-11], [MQTT-3.1.2-12], [MQTT-3.1.2-13] of the 256 connect flags 56 go "
          "together; all others are malformed, and not written") {
    int good = 0;
    for (int value = 0; value < 256; ++value) {
        CAPTURE(value);
        const uint8_t flags = static_cast<uint8_t>(value);
        Octets body = {0, 4, 'M', 'Q', 'T', 'T', 5, flags, 0, 60, 0, 0, 2, 'i', 'd'};
        if ((flags & 0x04) != 0) wire::append(body, {0, 0, 1, 't', 0, 1, 'm'});   // will properties, topic, payload
        if ((flags & 0x80) != 0) wire::append(body, {0, 1, 'u'});                 // user name
        if ((flags & 0x40) != 0) wire::append(body, {0, 1, 'p'});                 // password
        bool expected = (flags & 0x01) == 0;                                      // reserved
        if ((flags & 0x18) == 0x18) expected = false;                             // will QoS 3
        if ((flags & 0x04) == 0 && (flags & 0x18) != 0) expected = false;         // will QoS without will
        if ((flags & 0x04) == 0 && (flags & 0x20) != 0) expected = false;         // will retain without will
        CHECK(verdict<mqtt::Connect>(wire::packet(0x10, body)) == (expected ? Error::ok : Error::malformed_packet));
        mqtt::Connect packet = new_connect();
        packet.flags = flags;
        packet.will_topic = "t";
        CHECK(refuses(packet, Error::invalid_argument) != expected);
        if (expected) ++good;
    }
    CHECK(good == 56);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-9] CONNECT with a will that lacks its properties, its topic or its payload is malformed") {
    const Octets head = {0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 60, 0, 0, 2, 'i', 'd'};
    const auto with = [&](std::initializer_list<uint8_t> payload) {
        Octets body = head;
        wire::append(body, payload);
        return wire::packet(0x10, body);
    };
    CHECK(accepted<mqtt::Connect>(with({0, 0, 1, 't', 0, 1, 'm'})));
    CHECK(malformed<mqtt::Connect>(with({})));
    CHECK(malformed<mqtt::Connect>(with({0})));
    CHECK(malformed<mqtt::Connect>(with({0, 0, 1, 't'})));
    CHECK(malformed<mqtt::Connect>(with({0, 1, 't', 0, 1, 'm'})));      // as in 3.1.1: without properties
    CHECK(malformed<mqtt::Connect>(with({0, 0, 0, 0, 1, 'm'})));        // an empty topic
    CHECK(malformed<mqtt::Connect>(with({0, 0, 1, '+', 0, 1, 'm'})));   // a topic with a wildcard
    CHECK(malformed<mqtt::Connect>(with({5, 0x18, 0, 0, 0, 9})));       // properties only
    CHECK(malformed<mqtt::Connect>(with({2, 0x18, 0, 0, 0, 9, 0, 1, 't', 0, 1, 'm'})));   // cut in a value
    CHECK(accepted<mqtt::Connect>(with({0, 0, 1, 't', 0, 3, 0x00, 0xFF, '#'})));          // the payload may be anything
}

TEST_CASE("MQTT 5 [MQTT-1.5.4-1], [MQTT-3.1.3-4], [MQTT-3.1.3-11], [MQTT-3.1.3-12] client id, will topic and user name in "
          "CONNECT are UTF-8") {
    mqtt::Connect packet = new_connect();
    packet.flags = 0x86;   // user name, will, clean start
    packet.client_id = "\xC3\xA4";
    packet.will_topic = "\xE2\x82\xAC";
    packet.user_name = "\xF0\x9F\x90\xB8";
    const Octets bytes = {
        0x10, 29,                           // CONNECT, remaining length 29
        0, 4, 'M', 'Q', 'T', 'T', 5,        // protocol name and version
        0x86, 0, 0,                         // connect flags, keep alive
        0,                                  // no properties
        0, 2, 0xC3, 0xA4,                   // client id: "ä"
        0,                                  // no properties of the will
        0, 3, 0xE2, 0x82, 0xAC,             // will topic: "€"
        0, 0,                               // will payload
        0, 4, 0xF0, 0x9F, 0x90, 0xB8,       // user name: a frog
    };
    encodes(packet, wire::view(bytes), v5);
    const Exact exact(bytes);
    packet = decoded<mqtt::Connect>(exact.view(), v5);
    CHECK(difference("\xF0\x9F\x90\xB8", packet.user_name) == "");

    const size_t last_byte_of[] = {16, 22, 30};
    for (const size_t at : last_byte_of) {
        Octets broken = bytes;
        CHECK(broken[at] >= 0x80);
        broken[at] = 'x';   // the character is not finished
        CHECK(malformed<mqtt::Connect>(broken));
    }
    mqtt::Connect broken = packet;
    broken.client_id = "\xC3";
    CHECK(refuses(broken, Error::invalid_string));
    broken = packet;
    broken.will_topic = "\xE2\x82";
    CHECK(refuses(broken, Error::invalid_topic));
    broken = packet;
    broken.user_name = "\xF0\x9F\x90";
    CHECK(refuses(broken, Error::invalid_string));
}

TEST_CASE("MQTT 5 CONNECT can have its properties in two parts, which are written as one, and checked as one") {
    PropertyBuffer<16> first, second;
    first.add(prop::receive_maximum, 5).add(prop::user_property, {"a", "b"});
    second.add(prop::topic_alias_maximum, 6);
    mqtt::Connect packet = new_connect();
    packet.properties = first;
    packet.more = second;
    const Octets bytes = {
        0x10, 26,                           // CONNECT, remaining length 26
        0, 4, 'M', 'Q', 'T', 'T', 5,        // protocol name and version
        0x02, 0, 0,                         // connect flags: clean start; keep alive
        13,                                 // property length
        0x21, 0, 5,                         // receive maximum: 5
        0x26, 0, 1, 'a', 0, 1, 'b',         // user property: "a", "b"
        0x22, 0, 6,                         // topic alias maximum: 6
        0, 0,                               // client id
    };
    encodes(packet, wire::view(bytes), v5);
    packet.properties = Properties();
    packet.more = first;
    const Octets one = {0x10, 23, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 0,
                        10, 0x21, 0, 5, 0x26, 0, 1, 'a', 0, 1, 'b', 0, 0};
    encodes(packet, wire::view(one), v5);

    packet.properties = first;   // the receive maximum is there twice
    CHECK(refuses(packet, Error::invalid_properties));
    packet.properties = second;
    CHECK(mqtt::encode(packet, Exact(64).buffer(), v5).error == Error::ok);
    second.add(prop::content_type, "t");   // of a message
    packet.properties = first;
    packet.more = second;
    CHECK(refuses(packet, Error::invalid_properties));
}

// ------------------------------------------------------------------------------------------ 3.2 CONNACK

TEST_CASE("MQTT 5 CONNACK: success, with a session, refused, and with all properties") {
    mqtt::Connack packet;
    encodes(packet, connack_accepted, v5);
    packet.flags = 1;
    encodes(packet, connack_session_present, v5);
    packet = decoded<mqtt::Connack>(connack_accepted, v5);
    CHECK(!packet.session_present());
    CHECK(packet.reason == ReasonCode::success);
    CHECK(packet.properties.empty());
    CHECK(decoded<mqtt::Connack>(connack_session_present, v5).session_present());

    PropertyBuffer<5> why;
    why.add(prop::reason_string, "no");
    packet = mqtt::Connack();
    packet.reason = ReasonCode::not_authorized;
    packet.properties = why;
    encodes(packet, connack_refused, v5);
    packet = decoded<mqtt::Connack>(connack_refused, v5);
    CHECK(packet.reason == ReasonCode::not_authorized);
    CHECK(*packet.properties.get(prop::reason_string) == "no");

    const uint8_t data[] = {0xFF};
    PropertyBuffer<63> all;
    all.add(prop::session_expiry_interval, 30).add(prop::receive_maximum, 10).add(prop::maximum_qos, 1);
    all.add(prop::retain_available, 0).add(prop::maximum_packet_size, 1024).add(prop::assigned_client_identifier, "id");
    all.add(prop::topic_alias_maximum, 5).add(prop::reason_string, "ok").add(prop::user_property, {"k", "v"});
    all.add(prop::wildcard_subscription_available, 0).add(prop::subscription_identifier_available, 0);
    all.add(prop::shared_subscription_available, 0).add(prop::server_keep_alive, 60).add(prop::response_information, "r/");
    all.add(prop::server_reference, "s").add(prop::authentication_method, "m").add(prop::authentication_data, data);
    packet = mqtt::Connack();
    packet.flags = 1;
    packet.properties = all;
    encodes(packet, connack_everything, v5);
    packet = decoded<mqtt::Connack>(connack_everything, v5);
    CHECK(packet.session_present());
    CHECK(packet.properties.get(prop::session_expiry_interval).value_or(0) == 30);
    CHECK(packet.properties.get(prop::receive_maximum).value_or(0) == 10);
    CHECK(packet.properties.get(prop::maximum_qos).value_or(9) == 1);
    CHECK(packet.properties.get(prop::retain_available).value_or(9) == 0);
    CHECK(packet.properties.get(prop::maximum_packet_size).value_or(0) == 1024);
    CHECK(*packet.properties.get(prop::assigned_client_identifier) == "id");
    CHECK(packet.properties.get(prop::topic_alias_maximum).value_or(0) == 5);
    CHECK(*packet.properties.get(prop::reason_string) == "ok");
    CHECK(packet.properties.get(prop::wildcard_subscription_available).value_or(9) == 0);
    CHECK(packet.properties.get(prop::subscription_identifier_available).value_or(9) == 0);
    CHECK(packet.properties.get(prop::shared_subscription_available).value_or(9) == 0);
    CHECK(packet.properties.get(prop::server_keep_alive).value_or(0) == 60);
    CHECK(*packet.properties.get(prop::response_information) == "r/");
    CHECK(*packet.properties.get(prop::server_reference) == "s");
    CHECK(*packet.properties.get(prop::authentication_method) == "m");
    CHECK(difference(data, *packet.properties.get(prop::authentication_data)) == "");
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-1], [MQTT-3.2.2-6], [MQTT-3.2.2-8] of the 65536 pairs of flags and reason code in CONNACK those "
          "are good that table 3-1 has, with session present only with success") {
    int good = 0;
    for (int flags = 0; flags < 256; ++flags) {
        for (int code = 0; code < 256; ++code) {
            const Error expected = flags > 1 ? Error::malformed_packet   // reserved bits
                                   : !wire::may_have(wire::in::connack, static_cast<size_t>(code)) ? Error::protocol_error
                                   : flags == 1 && code != 0 ? Error::protocol_error
                                                             : Error::ok;
            const Octets bytes = {0x20, 3, static_cast<uint8_t>(flags), static_cast<uint8_t>(code), 0};
            const Error error = verdict<mqtt::Connack>(bytes);
            if (error != expected) FAIL_CHECK("flags " << flags << ", code " << code << ": " << mqtt::to_string(error));
            mqtt::Connack packet;
            packet.flags = static_cast<uint8_t>(flags);
            packet.reason = static_cast<ReasonCode>(code);
            if (refuses(packet, Error::invalid_argument) != (expected != Error::ok))
                FAIL_CHECK("written: flags " << flags << ", code " << code);
            if (expected == Error::ok) ++good;
        }
    }
    CHECK(good == 23);   // 22 reason codes, and a session
}

TEST_CASE("MQTT 5 [MQTT-2.2.2-1] CONNACK without a property length is malformed, as that of a server of 3.1.1 is") {
    CHECK(malformed<mqtt::Connack>({0x20, 2, 0, 0}));
    CHECK(malformed<mqtt::Connack>({0x20, 2, 1, 0}));
    CHECK(malformed<mqtt::Connack>({0x20, 2, 0, 0x84}));
    CHECK(!accepted<mqtt::Connack>({0x20, 2, 0, 1}));   // unacceptable protocol version
    CHECK(malformed<mqtt::Connack>({0x20, 1, 0}));
    CHECK(malformed<mqtt::Connack>({0x20, 0}));
    CHECK(malformed<mqtt::Connack>({0x20, 4, 0, 0, 0, 0}));
}

// ------------------------------------------------------------------------------------------ 3.3 PUBLISH

TEST_CASE("MQTT 5 [MQTT-2.2.1-2], [MQTT-2.2.2-1] PUBLISH with QoS 0 has no packet id, but a property length") {
    mqtt::Publish packet;
    packet.topic = "t";
    packet.packet_id = 77;   // not sent
    encodes(packet, publish_smallest, v5);
    packet = decoded<mqtt::Publish>(publish_smallest, v5);
    CHECK(packet.topic == "t");
    CHECK(packet.packet_id == 0);
    CHECK(packet.properties.empty());
    CHECK(packet.payload.empty());
    CHECK(malformed<mqtt::Publish>({0x30, 3, 0, 1, 't'}));                // the smallest of 3.1.1
    CHECK(malformed<mqtt::Publish>({0x30, 4, 0, 1, 't', 'x'}));           // 'x' as a property length
    CHECK(malformed<mqtt::Publish>({0x32, 6, 0, 1, 't', 0, 10, 1}));      // properties beyond the end
    CHECK(accepted<mqtt::Publish>({0x32, 6, 0, 1, 't', 0, 10, 0}));
}

TEST_CASE("MQTT 5 PUBLISH with QoS 1, and with QoS 2 and everything there is") {
    mqtt::Publish packet;
    packet.topic = "t";
    packet.qos = QoS::at_least_once;
    packet.packet_id = 10;
    packet.payload = "abc";
    encodes(packet, publish_qos_1, v5);
    packet = decoded<mqtt::Publish>(publish_qos_1, v5);
    CHECK(packet.qos == QoS::at_least_once);
    CHECK(packet.packet_id == 10);
    CHECK(!packet.duplicate);
    CHECK(packet.retain == Retain::no);
    CHECK(packet.payload.text() == "abc");

    const uint8_t correlation[] = {0x00, 0xFF};
    PropertyBuffer<45> properties;
    properties.add(prop::payload_format_indicator, 1).add(prop::message_expiry_interval, 256).add(prop::topic_alias, 65535);
    properties.add(prop::response_topic, "r/t").add(prop::correlation_data, correlation);
    properties.add(prop::user_property, {"k", "v"}).add(prop::user_property, {"k", ""});
    properties.add(prop::subscription_identifier, 1).add(prop::subscription_identifier, 268435455);
    properties.add(prop::content_type, "c");
    packet = mqtt::Publish();
    packet.topic = "q2";
    packet.qos = QoS::exactly_once;
    packet.retain = Retain::yes;
    packet.duplicate = true;
    packet.packet_id = 0x1234;
    packet.properties = properties;
    packet.payload = "!";
    encodes(packet, publish_everything, v5);
    packet = decoded<mqtt::Publish>(publish_everything, v5);
    CHECK(packet.topic == "q2");
    CHECK(packet.qos == QoS::exactly_once);
    CHECK(packet.retain == Retain::yes);
    CHECK(packet.duplicate);
    CHECK(packet.packet_id == 0x1234);
    CHECK(packet.payload.text() == "!");
    CHECK(difference(properties.block(), packet.properties.block()) == "");
    CHECK(packet.properties.get(prop::payload_format_indicator).value_or(0) == 1);
    CHECK(packet.properties.get(prop::message_expiry_interval).value_or(0) == 256);
    CHECK(packet.properties.get(prop::topic_alias).value_or(0) == 65535);
    CHECK(*packet.properties.get(prop::response_topic) == "r/t");
    CHECK(difference(correlation, *packet.properties.get(prop::correlation_data)) == "");
    CHECK(*packet.properties.get(prop::content_type) == "c");
}

TEST_CASE("MQTT 5 PUBLISH can have its properties in two parts, which are written as one, and checked as one") {
    PropertyBuffer<16> own, alias;
    own.add(prop::content_type, "c");
    alias.add(prop::topic_alias, 3);
    mqtt::Publish packet;
    packet.topic = "t";
    packet.properties = own;
    packet.more = alias;
    packet.payload = "xy";
    const Octets bytes = {
        0x30, 13,                           // PUBLISH, QoS 0, remaining length 13
        0, 1, 't',                          // topic
        7,                                  // property length
        0x03, 0, 1, 'c',                    // content type: "c"
        0x23, 0, 3,                         // topic alias: 3
        'x', 'y',                           // payload
    };
    encodes(packet, wire::view(bytes), v5);
    packet.topic = "";
    const Octets without = {0x30, 12, 0, 0, 7, 0x03, 0, 1, 'c', 0x23, 0, 3, 'x', 'y'};
    encodes(packet, wire::view(without), v5);   // the alias in `more` is one
    packet.properties = alias;
    CHECK(refuses(packet, Error::invalid_properties));
    packet.properties = alias;
    packet.more = own;
    const Octets turned = {0x30, 12, 0, 0, 7, 0x23, 0, 3, 0x03, 0, 1, 'c', 'x', 'y'};
    encodes(packet, wire::view(turned), v5);
}

TEST_CASE("MQTT 5 [MQTT-4.7.3-1] PUBLISH without a topic needs a topic alias, else it is a protocol error") {
    PropertyBuffer<3> alias;
    alias.add(prop::topic_alias, 1);
    mqtt::Publish packet;
    packet.retain = Retain::yes;
    packet.properties = alias;
    packet.payload = "x";
    encodes(packet, publish_alias, v5);
    packet = decoded<mqtt::Publish>(publish_alias, v5);
    CHECK(packet.topic.empty());
    CHECK(packet.properties.get(prop::topic_alias).value_or(0) == 1);
    CHECK(packet.payload.text() == "x");

    CHECK(protocol_error<mqtt::Publish>({0x30, 3, 0, 0, 0}));
    CHECK(protocol_error<mqtt::Publish>({0x30, 4, 0, 0, 0, 'x'}));
    CHECK(protocol_error<mqtt::Publish>({0x34, 5, 0, 0, 0, 1, 0}));
    CHECK(protocol_error<mqtt::Publish>({0x30, 5, 0, 0, 2, 0x01, 1}));   // another property
    CHECK(malformed<mqtt::Publish>({0x30, 2, 0, 0}));
    packet = mqtt::Publish();
    CHECK(refuses(packet, Error::invalid_topic));
    PropertyBuffer<4> other;
    other.add(prop::content_type, "c");
    packet.properties = other;
    CHECK(refuses(packet, Error::invalid_topic));
    packet.more = alias;
    CHECK(!refuses(packet, Error::invalid_topic));
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-8] a topic alias of 0 is not written, and received is topic_alias_invalid") {
    CHECK(verdict<mqtt::Publish>({0x30, 7, 0, 1, 't', 3, 0x23, 0, 0}) == Error::topic_alias_invalid);
    CHECK(verdict<mqtt::Publish>({0x30, 6, 0, 0, 3, 0x23, 0, 0}) == Error::topic_alias_invalid);
    CHECK(accepted<mqtt::Publish>({0x30, 7, 0, 1, 't', 3, 0x23, 0, 1}));
    CHECK(accepted<mqtt::Publish>({0x30, 7, 0, 1, 't', 3, 0x23, 1, 0}));
    PropertyBuffer<3> zero;
    zero.add(prop::topic_alias, 0);
    mqtt::Publish packet;
    packet.topic = "t";
    packet.properties = zero;
    CHECK(refuses(packet, Error::invalid_properties));
    packet.properties = Properties();
    packet.more = zero;
    CHECK(refuses(packet, Error::invalid_properties));
    packet.topic = "";
    CHECK(refuses(packet, Error::invalid_properties));
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-1], [MQTT-3.3.2-2], [MQTT-4.7.0-1], [MQTT-4.7.3-2] the variable header of PUBLISH begins with "
          "the topic, which is UTF-8 without U+0000 and wildcards") {
    const mqtt::Publish packet = decoded<mqtt::Publish>(publish_everything, v5);
    CHECK(packet.topic.data() == publish_everything.bytes.text().data() + 4);   // behind fixed header and length
    const std::string_view wrong[] = {"+", "#", "a/+", "a/#", "a+b", "a#", std::string_view("\0", 1),
                                      std::string_view("a\0b", 3), "\xC0\x80", "\xED\xA0\x80", "\xFF", "\xC3"};
    for (const std::string_view topic : wrong) {
        INFO(wire::hex(topic));
        Octets body = wire::string(topic);
        body.push_back(0);
        CHECK(malformed<mqtt::Publish>(wire::packet(0x30, body)));
        body = wire::string(topic);
        wire::append(body, {3, 0x23, 0, 1});   // an alias does not help
        CHECK(malformed<mqtt::Publish>(wire::packet(0x30, body)));
        mqtt::Publish broken;
        broken.topic = topic;
        CHECK(refuses(broken, Error::invalid_topic));
        mqtt::Connect connect = new_connect();
        connect.flags = 0x06;   // will, clean start
        connect.will_topic = topic;
        CHECK(refuses(connect, Error::invalid_topic));
    }
    mqtt::Connect connect = new_connect();
    connect.flags = 0x06;
    CHECK(refuses(connect, Error::invalid_topic));   // a will has no alias
}

TEST_CASE("MQTT 5 [MQTT-3.3.1-2], [MQTT-3.3.1-4] PUBLISH with QoS 3, or with QoS 0 and DUP, is malformed and not written") {
    for (int flags = 0; flags < 16; ++flags) {
        CAPTURE(flags);
        const int qos = flags / 2 % 4;
        const bool good = qos != 3 && !(qos == 0 && flags >= 8);
        Octets body = {0, 1, 't'};
        if (qos != 0) wire::append(body, {0, 1});
        wire::append(body, {0, 'x'});
        const uint8_t first = static_cast<uint8_t>(0x30 + flags);
        CHECK(verdict<mqtt::Publish>(wire::packet(first, body)) == (good ? Error::ok : Error::malformed_packet));
        mqtt::FixedHeader header;
        const uint8_t start[] = {first};
        CHECK(mqtt::read_fixed_header(start, 1, header, v5) == (good ? Error::ok : Error::malformed_packet));
        mqtt::Publish packet;
        if (qos == 3) CHECK(mqtt::decode_body(first, wire::view(body), packet, v5) == Error::malformed_packet);
    }
    mqtt::Publish packet;
    packet.topic = "t";
    packet.duplicate = true;
    encodes(packet, publish_smallest, v5);   // without DUP
    packet.packet_id = 1;
    for (int qos = 3; qos < 256; ++qos) {
        packet.qos = static_cast<QoS>(qos);
        if (!refuses(packet, Error::invalid_argument)) FAIL_CHECK("QoS " << qos);
    }
}

TEST_CASE("MQTT 5 PUBLISH without its payload: the header counts what follows from elsewhere") {
    PropertyBuffer<3> alias;
    alias.add(prop::topic_alias, 1);
    mqtt::Publish packet;
    packet.topic = "t";
    packet.qos = QoS::exactly_once;
    packet.packet_id = 9;
    packet.properties = alias;
    packet.payload = "abc";
    const Octets head = {
        0x34, 12,                           // PUBLISH, QoS 2, remaining length 9 + 3
        0, 1, 't',                          // topic
        0, 9,                               // packet id
        3, 0x23, 0, 1,                      // topic alias: 1
    };
    encodes(packet, wire::view(head), v5, false);
    packet.payload = elsewhere(200);
    const Octets longer = {
        0x34, 0xD1, 0x01,                   // PUBLISH, QoS 2, remaining length 9 + 200 = 81 + 1 * 128
        0, 1, 't',                          // topic
        0, 9,                               // packet id
        3, 0x23, 0, 1,                      // topic alias: 1
    };
    encodes(packet, wire::view(longer), v5, false);
}

TEST_CASE("MQTT 5 a PUBLISH on each side of each limit of the remaining length") {
    static const struct {
        uint32_t remaining;
        Octets header;
    } rows[] = {
        {127,     {0x32, 0x7F}},
        {128,     {0x32, 0x80, 0x01}},
        {16383,   {0x32, 0xFF, 0x7F}},
        {16384,   {0x32, 0x80, 0x80, 0x01}},
        {2097151, {0x32, 0xFF, 0xFF, 0x7F}},
        {2097152, {0x32, 0x80, 0x80, 0x80, 0x01}},
    };
    PropertyBuffer<4> type;
    type.add(prop::content_type, "c");
    for (const auto& row : rows) {
        CAPTURE(row.remaining);
        Octets payload(row.remaining - 12);
        for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<uint8_t>(i * 7);
        Octets bytes = row.header;
        wire::append(bytes, {0, 3, 't', 'o', 'p', 0xA1, 0xB2, 4, 0x03, 0, 1, 'c'});   // topic, packet id, content type
        wire::append(bytes, payload);
        mqtt::Publish packet;
        packet.topic = "top";
        packet.qos = QoS::at_least_once;
        packet.packet_id = 0xA1B2;
        packet.properties = type;
        packet.payload = wire::view(payload);
        encodes(packet, wire::view(bytes), v5);
        const Exact exact(bytes);
        packet = decoded<mqtt::Publish>(exact.view(), v5);
        CHECK(packet.topic == "top");
        CHECK(packet.packet_id == 0xA1B2);
        CHECK(*packet.properties.get(prop::content_type) == "c");
        CHECK(difference(wire::view(payload), packet.payload) == "");

        mqtt::FixedHeader header;
        CHECK(mqtt::read_fixed_header(exact.data(), exact.size(), header, v5) == Error::ok);
        CHECK(header.size == row.header.size());
        CHECK(header.remaining_length == row.remaining);
    }
    mqtt::Publish packet;
    packet.topic = "t";
    packet.properties = type;
    packet.payload = elsewhere(268435455 - 8);
    const Exact room(64);
    mqtt::Encoded out = mqtt::encode(packet, room.buffer(), v5);
    CHECK(out.error == Error::no_space);
    CHECK(out.size == 5 + 268435455);
    packet.payload = elsewhere(268435455 - 7);
    CHECK(refuses(packet, Error::packet_too_large));
    CHECK(mqtt::encode(packet, room.buffer(), v5, false).error == Error::packet_too_large);
}

TEST_CASE("MQTT 5 a PUBLISH on each side of each limit of the property length") {
    static const struct {
        uint32_t properties;
        Octets header, length;   // remaining length: 3 + that of the length + properties + 1
    } rows[] = {
        {0,       {0x30, 0x05},                   {0x00}},
        {3,       {0x30, 0x08},                   {0x03}},
        {121,     {0x30, 0x7E},                   {0x79}},                     // remaining length 126
        {122,     {0x30, 0x7F},                   {0x7A}},                     // 127
        {123,     {0x30, 0x80, 0x01},             {0x7B}},                     // 128
        {127,     {0x30, 0x84, 0x01},             {0x7F}},                     // 132
        {128,     {0x30, 0x86, 0x01},             {0x80, 0x01}},               // 134
        {16377,   {0x30, 0xFF, 0x7F},             {0xF9, 0x7F}},               // 16383
        {16378,   {0x30, 0x80, 0x80, 0x01},       {0xFA, 0x7F}},               // 16384
        {16383,   {0x30, 0x85, 0x80, 0x01},       {0xFF, 0x7F}},               // 16389
        {16384,   {0x30, 0x87, 0x80, 0x01},       {0x80, 0x80, 0x01}},         // 16391
        {65538,   {0x30, 0x89, 0x80, 0x04},       {0x82, 0x80, 0x04}},         // 65545: the largest property
    };
    for (const auto& row : rows) {
        CAPTURE(row.properties);
        const std::string content(row.properties < 3 ? 0 : row.properties - 3, 'x');
        static PropertyBuffer<65538> properties;
        properties.clear();
        if (row.properties != 0) properties.add(prop::correlation_data, content);
        CHECK(properties.ok());
        CHECK(properties.size() == row.properties);
        Octets bytes = row.header;
        wire::append(bytes, {0, 1, 't'});
        wire::append(bytes, row.length);
        if (row.properties != 0) {
            bytes.push_back(0x09);
            wire::append(bytes, wire::string(content));
        }
        bytes.push_back('!');
        mqtt::Publish packet;
        packet.topic = "t";
        packet.properties = properties;
        packet.payload = "!";
        encodes(packet, wire::view(bytes), v5);
        const Exact exact(bytes);
        packet = decoded<mqtt::Publish>(exact.view(), v5);
        CHECK(packet.payload.text() == "!");
        CHECK(packet.properties.block().size() == row.properties);
        CHECK(packet.properties.get(prop::correlation_data).value_or(Bytes()).size() == content.size());

        // In two parts, and with the property length one too long and one too short.
        packet.more = packet.properties;
        packet.properties = Properties();
        encodes(packet, wire::view(bytes), v5);
        const size_t at = row.header.size() + 3;
        if (row.length[0] % 128 != 127) {
            ++bytes[at];
            CHECK(malformed<mqtt::Publish>(bytes));   // the payload is no property
            --bytes[at];
        }
        if (row.length[0] % 128 > 0) {
            --bytes[at];
            CHECK(malformed<mqtt::Publish>(bytes));   // the property is cut
        }
    }
}

TEST_CASE("MQTT 5 property lengths on each side of 2 MiB, and beyond what a packet can hold") {
    // User properties of 65536 bytes each, and one of what is left.
    const auto block = [](size_t size) {
        const std::string value(65536 - 6, 'v');
        Octets octets;
        octets.reserve(size);
        while (octets.size() != size) {
            size_t length = size - octets.size() < 65536 ? size - octets.size() : 65536;
            if (size - octets.size() - length != 0 && size - octets.size() - length < 6) length -= 6;
            wire::append(octets, {0x26, 0, 1, 'k'});
            wire::append(octets, wire::string(std::string_view(value).substr(0, length - 6)));
        }
        return octets;
    };
    static const struct {
        size_t properties;
        Octets header, length;   // remaining length: 3 + that of the length + properties
    } rows[] = {
        {2097151, {0x30, 0x85, 0x80, 0x80, 0x01}, {0xFF, 0xFF, 0x7F}},         // 2097157
        {2097152, {0x30, 0x87, 0x80, 0x80, 0x01}, {0x80, 0x80, 0x80, 0x01}},   // 2097159
    };
    for (const auto& row : rows) {
        CAPTURE(row.properties);
        const Octets properties = block(row.properties);
        REQUIRE(properties.size() == row.properties);
        Octets bytes = row.header;
        wire::append(bytes, {0, 1, 't'});
        wire::append(bytes, row.length);
        wire::append(bytes, properties);
        mqtt::Publish packet;
        packet.topic = "t";
        packet.properties = Properties(properties.data(), properties.size());
        const Exact exact(bytes.size());
        const mqtt::Encoded out = mqtt::encode(packet, exact.buffer(), v5);
        CHECK(out.error == Error::ok);
        CHECK(out.size == bytes.size());
        CHECK(difference(wire::view(bytes), exact.view()) == "");
        CHECK(decoded<mqtt::Publish>(exact.view(), v5).properties.block().size() == row.properties);
        const Exact smaller(bytes.size() - 1);
        CHECK(mqtt::encode(packet, smaller.buffer(), v5).error == Error::no_space);
    }
    // What four bytes of property length cannot say is refused without being looked at, in one part or in two.
    const auto elsewhere = [](size_t size) { return Properties(nullptr, size); };
    mqtt::Publish packet;
    packet.topic = "t";
    packet.properties = elsewhere(268435456);
    CHECK(refuses(packet, Error::packet_too_large));
    packet.properties = elsewhere(SIZE_MAX);
    CHECK(refuses(packet, Error::packet_too_large));
    packet.more = elsewhere(1);   // the sum of the lengths wraps around
    CHECK(refuses(packet, Error::packet_too_large));
    packet.properties = elsewhere(134217728);
    packet.more = elsewhere(134217728);
    CHECK(refuses(packet, Error::packet_too_large));
    packet.properties = Properties();
    packet.more = elsewhere(268435456);
    CHECK(refuses(packet, Error::packet_too_large));
    packet.more = elsewhere(SIZE_MAX);
    CHECK(refuses(packet, Error::packet_too_large));
    packet.properties = elsewhere(16);
    packet.more = elsewhere(SIZE_MAX - 8);
    CHECK(refuses(packet, Error::packet_too_large));
    mqtt::Ack ack;
    ack.packet_id = 1;
    ack.properties = elsewhere(268435456);
    CHECK(refuses(ack, Error::packet_too_large));
}

// ------------------------------------------------------------------------- 3.4 to 3.7 PUBACK, PUBREC, PUBREL, PUBCOMP

TEST_CASE("MQTT 5 PUBACK, PUBREC, PUBREL and PUBCOMP leave out properties if there are none, and success, too, if there are "
          "none") {
    PropertyBuffer<11> both;
    both.add(prop::reason_string, "r").add(prop::user_property, {"k", "v"});
    PropertyBuffer<11> turned;
    turned.add(prop::user_property, {"k", "v"}).add(prop::reason_string, "r");
    PropertyBuffer<4> why;
    why.add(prop::reason_string, "r");
    const struct {
        const Golden& golden;
        PacketType type;
        uint16_t packet_id;
        ReasonCode reason;
        Properties properties;
    } rows[] = {
        {puback, PacketType::puback, 1, ReasonCode::success, {}},
        {puback_reason, PacketType::puback, 65535, ReasonCode::no_matching_subscribers, {}},
        {puback_properties, PacketType::puback, 1, ReasonCode::quota_exceeded, both},
        {puback_success_properties, PacketType::puback, 1, ReasonCode::success, why},
        {pubrec, PacketType::pubrec, 0x1234, ReasonCode::success, {}},
        {pubrec_reason, PacketType::pubrec, 0x1234, ReasonCode::packet_identifier_in_use, {}},
        {pubrec_properties, PacketType::pubrec, 0x1234, ReasonCode::payload_format_invalid, turned},
        {pubrel, PacketType::pubrel, 0xABCD, ReasonCode::success, {}},
        {pubrel_reason, PacketType::pubrel, 0xABCD, ReasonCode::packet_identifier_not_found, {}},
        {pubrel_properties, PacketType::pubrel, 0xABCD, ReasonCode::packet_identifier_not_found, both},
        {pubcomp, PacketType::pubcomp, 0x0100, ReasonCode::success, {}},
        {pubcomp_reason, PacketType::pubcomp, 0x0100, ReasonCode::packet_identifier_not_found, {}},
        {pubcomp_properties, PacketType::pubcomp, 0x0100, ReasonCode::packet_identifier_not_found, both},
    };
    for (const auto& row : rows) {
        INFO(row.golden.name);
        mqtt::Ack packet;
        packet.type = row.type;
        packet.packet_id = row.packet_id;
        packet.reason = row.reason;
        packet.properties = row.properties;
        encodes(packet, row.golden, v5);
        packet = decoded<mqtt::Ack>(row.golden, v5);
        CHECK(packet.type == row.type);
        CHECK(packet.packet_id == row.packet_id);
        CHECK(packet.reason == row.reason);
        CHECK(difference(row.properties.block(), packet.properties.block()) == "");
        packet.packet_id = 0;
        CHECK(refuses(packet, Error::invalid_argument));
    }
}

TEST_CASE("MQTT 5 PUBACK, PUBREC, PUBREL and PUBCOMP are read with and without what may be left out") {
    for (const uint8_t first : Octets{0x40, 0x50, 0x62, 0x70}) {
        CAPTURE(int{first});
        const uint8_t code = first < 0x60 ? 0x91 : 0x92;
        const Octets forms[] = {
            {first, 2, 0, 7},                        // packet id
            {first, 3, 0, 7, 0x00},                  // and reason code
            {first, 4, 0, 7, 0x00, 0},               // and property length
            {first, 8, 0, 7, 0x00, 4, 0x1F, 0, 1, 'r'},
            {first, 3, 0, 7, code},
            {first, 4, 0, 7, code, 0},
            {first, 8, 0, 7, code, 4, 0x1F, 0, 1, 'r'},
        };
        for (const Octets& form : forms) {
            INFO(wire::hex(form.data(), form.size()));
            const Exact exact(form);
            const mqtt::Ack packet = decoded<mqtt::Ack>(exact.view(), v5);
            CHECK(packet.packet_id == 7);
            CHECK(static_cast<int>(packet.reason) == (form.size() > 4 ? form[4] : 0));
            CHECK(packet.properties.empty() == (form.size() < 10));
            CHECK(packet.properties.get(prop::reason_string).has_value() == (form.size() == 10));
        }
        CHECK(malformed<mqtt::Ack>({first, 0}));
        CHECK(malformed<mqtt::Ack>({first, 1, 7}));
        CHECK(malformed<mqtt::Ack>({first, 4, 0, 7, 0, 1}));                          // properties beyond the end
        CHECK(malformed<mqtt::Ack>({first, 5, 0, 7, 0, 0, 0}));                       // a byte behind them
        CHECK(malformed<mqtt::Ack>({first, 8, 0, 7, 0, 3, 0x1F, 0, 1, 'r'}));         // a value cut, and a byte left
        CHECK(malformed<mqtt::Ack>({first, 8, 0, 7, 0, 5, 0x1F, 0, 1, 'r'}));
        CHECK(malformed<mqtt::Ack>({first, 5, 0, 7, 0, 0x80, 0x00}));                 // a length not in its shortest form
        CHECK(malformed<mqtt::Ack>({first, 5, 0, 7, 0, 0x80, 0x80}));                 // that does not end
        CHECK(malformed<mqtt::Ack>({first, 8, 0, 7, 0, 0x80, 0x80, 0x80, 0x80, 0}));  // of five bytes
        CHECK(malformed<mqtt::Ack>({first, 2, 0, 0}));                                // packet id 0
        CHECK(malformed<mqtt::Ack>({first, 3, 0, 0, 0}));
        CHECK(protocol_error<mqtt::Ack>({first, 3, 0, 7, 0x01}));
        CHECK(protocol_error<mqtt::Ack>({first, 3, 0, 7, 0xFF}));
        CHECK(protocol_error<mqtt::Ack>({first, 4, 0, 7, 0xFF, 0}));
        CHECK(protocol_error<mqtt::Ack>({first, 12, 0, 7, 0x00, 8, 0x1F, 0, 1, 'r', 0x1F, 0, 1, 'r'}));
    }
}

// ---------------------------------------------------------------------------------- 3.8 and 3.9 SUBSCRIBE, SUBACK

TEST_CASE("MQTT 5 [MQTT-3.8.3-1], [MQTT-3.8.3-3] SUBSCRIBE has pairs of a filter, which is UTF-8, and its options, No Local "
          "among them") {
    const Subscription one{"#"};
    mqtt::Subscribe packet;
    packet.packet_id = 1;
    packet.filters = mqtt::Subscriptions(&one, 1);
    encodes(packet, subscribe_one, v5);

    Subscription three[] = {{"a/+", QoS::exactly_once}, {"$share/g/b", QoS::at_least_once}, {"\xC3\xA4/", QoS::at_most_once}};
    three[0].no_local = three[0].retain_as_published = true;
    three[0].retain_handling = RetainHandling::do_not_send;
    three[1].retain_as_published = true;
    three[1].retain_handling = RetainHandling::send_if_new;
    three[2].no_local = true;
    PropertyBuffer<10> properties;
    properties.add(prop::subscription_identifier, 128).add(prop::user_property, {"k", "v"});
    packet.packet_id = 0x1234;
    packet.properties = properties;
    packet.filters = mqtt::Subscriptions(three, 3);
    encodes(packet, subscribe_everything, v5);

    packet = decoded<mqtt::Subscribe>(subscribe_everything, v5);
    CHECK(packet.type == PacketType::subscribe);
    CHECK(packet.packet_id == 0x1234);
    CHECK(packet.properties.get(prop::subscription_identifier).value_or(0) == 128);
    CHECK(packet.filters.size() == 3);
    Subscription got;
    mqtt::Subscriptions rest = packet.filters;
    for (const Subscription& expected : three) {
        REQUIRE(rest.next(got));
        CHECK(difference(expected.filter, got.filter) == "");
        CHECK(got.qos == expected.qos);
        CHECK(got.no_local == expected.no_local);
        CHECK(got.retain_as_published == expected.retain_as_published);
        CHECK(got.retain_handling == expected.retain_handling);
    }
    CHECK(rest.size() == 0);
    CHECK(!rest.next(got));
    encodes(packet, subscribe_everything, v5);   // a decoded list can be sent on

    const std::string_view names[] = {"#"};   // filters only: with the default options
    packet = mqtt::Subscribe();
    packet.packet_id = 1;
    packet.filters = mqtt::Subscriptions(names, 1);
    encodes(packet, subscribe_one, v5);
}

TEST_CASE("MQTT 5 a list of a decoded packet can be sent on in a packet of the same type and version, what is left of it") {
    mqtt::Subscribe packet = decoded<mqtt::Subscribe>(subscribe_everything, v5);
    Subscription got;
    REQUIRE(packet.filters.next(got));
    packet.properties = Properties();
    const Octets rest = {
        0x82, 22,                           // SUBSCRIBE, remaining length 22
        0x12, 0x34,                         // packet id
        0,                                  // no properties
        0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'b', 0x19,
        0, 3, 0xC3, 0xA4, '/', 0x04,
    };
    encodes(packet, wire::view(rest), v5);
    CHECK(wire::refuses(packet, Error::invalid_argument, Version::v3_1_1));   // it has options that there are not
    packet.type = PacketType::unsubscribe;
    CHECK(refuses(packet, Error::invalid_argument));
    packet.type = PacketType::subscribe;
    REQUIRE(packet.filters.next(got));
    REQUIRE(packet.filters.next(got));
    CHECK(refuses(packet, Error::invalid_argument));   // nothing is left

    packet = decoded<mqtt::Subscribe>(unsubscribe_everything, v5);
    packet.type = PacketType::subscribe;
    CHECK(refuses(packet, Error::invalid_argument));
    packet = decoded<mqtt::Subscribe>(wire::golden::subscribe_three);
    CHECK(refuses(packet, Error::invalid_argument));
    encodes(packet, wire::golden::subscribe_three);
}

TEST_CASE("MQTT 5 next() of a list gives what the list has, and defaults for what it has not, whatever was in the variable") {
    const Subscription old{"?", static_cast<QoS>(7), true, true, static_cast<RetainHandling>(9)};
    const Exact subscribe(Octets{0x82, 11, 0, 1, 0, 0, 1, 't', 0x01, 0, 1, 'u', 0x02});
    const Exact unsubscribe(Octets{0xA2, 9, 0, 1, 0, 0, 1, 't', 0, 1, 'u'});
    const Exact older(Octets{0x82, 10, 0, 1, 0, 1, 't', 0x01, 0, 1, 'u', 0x02});   // of 3.1.1
    const std::string_view names[] = {"t", "u"};
    const Subscription list[] = {{"t", QoS::at_least_once}, {"u", QoS::exactly_once}};
    const struct {
        mqtt::Subscriptions list;
        bool has_qos;
    } rows[] = {
        {decoded<mqtt::Subscribe>(subscribe.view(), v5).filters, true},
        {decoded<mqtt::Subscribe>(unsubscribe.view(), v5).filters, false},
        {decoded<mqtt::Subscribe>(older.view()).filters, true},
        {mqtt::Subscriptions(names, 2), false},
        {mqtt::Subscriptions(list, 2), true},
    };
    for (const auto& row : rows) {
        CAPTURE(&row - rows);
        mqtt::Subscriptions rest = row.list;
        for (const QoS qos : {QoS::at_least_once, QoS::exactly_once}) {
            Subscription got = old;
            REQUIRE(rest.next(got));
            CHECK(got.filter == (qos == QoS::at_least_once ? "t" : "u"));
            CHECK(got.qos == (row.has_qos ? qos : QoS::at_most_once));
            CHECK(!got.no_local);
            CHECK(!got.retain_as_published);
            CHECK(got.retain_handling == RetainHandling::send);
        }
        Subscription got;
        CHECK(!rest.next(got));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-5] of the 256 subscription options 36 are good; reserved bits are malformed, QoS 3 and retain "
          "handling 3 protocol errors") {
    int good = 0;
    for (int value = 0; value < 256; ++value) {
        CAPTURE(value);
        const uint8_t options = static_cast<uint8_t>(value);
        const Error expected = options >= 0x40                                    ? Error::malformed_packet
                               : options % 4 == 3 || options / 16 % 4 == 3 ? Error::protocol_error
                                                                                  : Error::ok;
        CHECK(verdict<mqtt::Subscribe>({0x82, 7, 0, 1, 0, 0, 1, 't', options}) == expected);
        CHECK(verdict<mqtt::Subscribe>({0x82, 11, 0, 1, 0, 0, 1, 't', options, 0, 1, 'u', 0}) == expected);
        CHECK(verdict<mqtt::Subscribe>({0x82, 11, 0, 1, 0, 0, 1, 't', 0x2E, 0, 1, 'u', options}) == expected);
        if (expected != Error::ok) continue;
        ++good;
        const Exact exact(Octets{0x82, 7, 0, 1, 0, 0, 1, 't', options});
        mqtt::Subscribe packet = decoded<mqtt::Subscribe>(exact.view(), v5);
        mqtt::Subscriptions rest = packet.filters;
        Subscription got;
        REQUIRE(rest.next(got));
        CHECK(got.qos == static_cast<QoS>(options % 4));
        CHECK(got.no_local == (options / 4 % 2 == 1));
        CHECK(got.retain_as_published == (options / 8 % 2 == 1));
        CHECK(got.retain_handling == static_cast<RetainHandling>(options / 16));
        packet.filters = mqtt::Subscriptions(&got, 1);
        encodes(packet, exact.view(), v5);
    }
    CHECK(good == 36);   // 3 QoS * 2 * 2 * 3 retain handling
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-5] SUBSCRIBE is not written with a QoS or a retain handling that does not exist, whose bits are "
          "those of other options") {
    Subscription one{"t"};
    mqtt::Subscribe packet;
    packet.packet_id = 1;
    packet.filters = mqtt::Subscriptions(&one, 1);
    for (int value = 0; value < 256; ++value) {
        CAPTURE(value);
        one = Subscription{"t"};
        one.qos = static_cast<QoS>(value);
        CHECK(refuses(packet, Error::invalid_argument) == (value > 2));
        one = Subscription{"t"};
        one.retain_handling = static_cast<RetainHandling>(value);
        CHECK(refuses(packet, Error::invalid_argument) == (value > 2));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-4] No Local with a shared subscription is a protocol error, and not written") {
    const Octets share = {0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'b'};
    for (int value = 0; value < 0x30; ++value) {
        CAPTURE(value);
        if (value % 4 == 3) continue;
        Octets body = {0, 1, 0};
        wire::append(body, share);
        body.push_back(static_cast<uint8_t>(value));
        const bool no_local = value / 4 % 2 == 1;
        CHECK(verdict<mqtt::Subscribe>(wire::packet(0x82, body)) == (no_local ? Error::protocol_error : Error::ok));
    }
    Subscription one{"$share/g/b"};
    mqtt::Subscribe packet;
    packet.packet_id = 1;
    packet.filters = mqtt::Subscriptions(&one, 1);
    CHECK(!refuses(packet, Error::invalid_argument));
    one.no_local = true;
    CHECK(refuses(packet, Error::invalid_argument));
    one.filter = "$shared/g/b";   // not a shared one
    CHECK(!refuses(packet, Error::invalid_argument));
    const Octets like = {0x82, 18, 0, 1, 0, 0, 12, '$', 's', 'h', 'a', 'r', 'e', 'd', '/', 'g', '/', 'b', 'c', 0x04};
    CHECK(accepted<mqtt::Subscribe>(like));
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-2], [MQTT-3.10.3-2] SUBSCRIBE and UNSUBSCRIBE with an empty list are protocol errors, and not "
          "written") {
    for (const uint8_t first : Octets{0x82, 0xA2}) {
        CHECK(protocol_error<mqtt::Subscribe>({first, 3, 0, 1, 0}));
        CHECK(protocol_error<mqtt::Subscribe>({first, 10, 0, 1, 7, 0x26, 0, 1, 'k', 0, 1, 'v'}));
        CHECK(malformed<mqtt::Subscribe>({first, 2, 0, 1}));   // no property length
        CHECK(malformed<mqtt::Subscribe>({first, 0}));
    }
    mqtt::Subscribe packet;
    packet.packet_id = 1;
    CHECK(refuses(packet, Error::invalid_argument));
    packet.type = PacketType::unsubscribe;
    CHECK(refuses(packet, Error::invalid_argument));
}

TEST_CASE("MQTT 5 [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-3.8.3-1], [MQTT-3.10.3-1], [MQTT-4.7.1-1], [MQTT-4.7.1-2], "
          "[MQTT-4.7.3-1], [MQTT-4.7.3-2], [MQTT-4.8.2-1], [MQTT-4.8.2-2] SUBSCRIBE and UNSUBSCRIBE with a filter that is not "
          "UTF-8, empty, not well shared, or has a wildcard out of place are malformed, and not written") {
    const std::string_view wrong[] = {"", "#/a", "a#", "##", "a+", "+a", "++", "a/+b", "a/b#", "a/#/",
                                      std::string_view("a\0", 2), "\xC0\x80", "\xED\xA0\x80", "\xFF", "a\xE2\x82",
                                      "$share/", "$share//", "$share//a", "$share/g", "$share/g/", "$share/+/a",
                                      "$share/#/a", "$share/g+/a", "$share/#", "$share/+", "$share/g/a#", "$share/g/#/a"};
    const std::string_view right[] = {"#", "+", "/", "a/#", "+/+", "/+", "+/", "+/#", "$SYS/#", " ", "\xEF\xBB\xBF",
                                      "$share/g/a", "$share/g//", "$share/g/#", "$share/g/+/a", "$share", "$sharex//a",
                                      "a/$share//b", "$Share//a"};
    for (const bool good : {false, true}) {
        const std::vector<std::string_view> filters(good ? std::begin(right) : std::begin(wrong),
                                                    good ? std::end(right) : std::end(wrong));
        for (const std::string_view filter : filters) {
            INFO(wire::hex(filter));
            Octets body = {0, 1, 0};
            wire::append(body, wire::string(filter));
            CHECK(verdict<mqtt::Subscribe>(wire::packet(0xA2, body)) == (good ? Error::ok : Error::malformed_packet));
            body.push_back(1);
            CHECK(verdict<mqtt::Subscribe>(wire::packet(0x82, body)) == (good ? Error::ok : Error::malformed_packet));
            const Subscription list[] = {{"good"}, {filter}};
            mqtt::Subscribe packet;
            packet.packet_id = 1;
            packet.filters = mqtt::Subscriptions(list, 2);
            CHECK(refuses(packet, Error::invalid_filter) != good);
            packet.type = PacketType::unsubscribe;
            CHECK(refuses(packet, Error::invalid_filter) != good);
        }
    }
    // In 3.1.1 there is nothing special about $share.
    const Octets older = {0xA2, 12, 0, 1, 0, 8, '$', 's', 'h', 'a', 'r', 'e', '/', '/'};
    CHECK(wire::verdict<mqtt::Subscribe>(wire::view(older)) == Error::ok);
}

TEST_CASE("MQTT 5 SUBSCRIBE and UNSUBSCRIBE whose list is cut, or goes on behind its end, are malformed") {
    CHECK(malformed<mqtt::Subscribe>({0x82, 4, 0, 1, 0, 0}));
    CHECK(malformed<mqtt::Subscribe>({0x82, 6, 0, 1, 0, 0, 1, 't'}));             // no options
    CHECK(malformed<mqtt::Subscribe>({0x82, 7, 0, 1, 0, 0, 2, 't', 0}));          // the filter takes the options
    CHECK(malformed<mqtt::Subscribe>({0x82, 8, 0, 1, 0, 0, 1, 't', 0, 0}));
    CHECK(malformed<mqtt::Subscribe>({0xA2, 7, 0, 1, 0, 0, 1, 't', 0}));          // options
    CHECK(malformed<mqtt::Subscribe>({0xA2, 6, 0, 1, 0, 0xFF, 0xFF, 't'}));
    CHECK(malformed<mqtt::Subscribe>({0x82, 7, 0, 0, 0, 0, 1, 't', 0}));          // packet id 0
    CHECK(malformed<mqtt::Subscribe>({0xA2, 6, 0, 0, 0, 0, 1, 't'}));
}

TEST_CASE("MQTT 5 SUBACK and UNSUBACK have properties and a code for each filter") {
    const uint8_t zero[] = {0}, no_subscription[] = {0x11};
    const uint8_t of_suback[] = {0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2};
    const uint8_t of_unsuback[] = {0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91};
    PropertyBuffer<11> properties;
    properties.add(prop::reason_string, "r").add(prop::user_property, {"k", "v"});
    mqtt::Suback packet;
    packet.packet_id = 1;
    packet.reason_codes = zero;
    encodes(packet, suback_one, v5);
    packet.packet_id = 0x1234;
    packet.properties = properties;
    packet.reason_codes = of_suback;
    encodes(packet, suback_everything, v5);
    packet = decoded<mqtt::Suback>(suback_everything, v5);
    CHECK(packet.type == PacketType::suback);
    CHECK(packet.packet_id == 0x1234);
    CHECK(difference(of_suback, packet.reason_codes) == "");
    CHECK(*packet.properties.get(prop::reason_string) == "r");
    CHECK(mqtt::granted(packet.reason_codes[2]));
    CHECK(!mqtt::granted(packet.reason_codes[3]));

    const Octets head = {0x90, 26, 0x12, 0x34, 11, 0x1F, 0, 1, 'r', 0x26, 0, 1, 'k', 0, 1, 'v'};
    encodes(packet, wire::view(head), v5, false);   // the codes follow from elsewhere

    packet = mqtt::Suback();
    packet.type = PacketType::unsuback;
    packet.packet_id = 1;
    packet.reason_codes = no_subscription;
    encodes(packet, unsuback_one, v5);
    packet.packet_id = 0x0100;
    packet.properties = properties;
    packet.reason_codes = of_unsuback;
    encodes(packet, unsuback_everything, v5);
    packet = decoded<mqtt::Suback>(unsuback_everything, v5);
    CHECK(packet.type == PacketType::unsuback);
    CHECK(packet.packet_id == 0x0100);
    CHECK(difference(of_unsuback, packet.reason_codes) == "");
    CHECK(*packet.properties.get(prop::reason_string) == "r");
    const Octets unsuback_head = {0xB0, 21, 0x01, 0x00, 11, 0x1F, 0, 1, 'r', 0x26, 0, 1, 'k', 0, 1, 'v'};
    encodes(packet, wire::view(unsuback_head), v5, false);

    for (const uint8_t first : Octets{0x90, 0xB0}) {
        CHECK(!accepted<mqtt::Suback>({first, 3, 0, 1, 0}));        // without codes
        CHECK(malformed<mqtt::Suback>({first, 2, 0, 1}));           // the UNSUBACK of 3.1.1
        CHECK(malformed<mqtt::Suback>({first, 0}));
        CHECK(malformed<mqtt::Suback>({first, 4, 0, 0, 0, 0}));     // packet id 0
        CHECK(malformed<mqtt::Suback>({first, 4, 0, 1, 1, 0}));     // the code as a property
        CHECK(accepted<mqtt::Suback>({first, 4, 0, 1, 0, 0}));
    }
    mqtt::Suback none;
    none.packet_id = 1;
    CHECK(refuses(none, Error::invalid_argument));
    none.type = PacketType::unsuback;
    CHECK(refuses(none, Error::invalid_argument));
    none.reason_codes = zero;
    none.packet_id = 0;
    CHECK(refuses(none, Error::invalid_argument));
}

// ----------------------------------------------------------------------------- 3.10 UNSUBSCRIBE, 3.12 PINGREQ, PINGRESP

TEST_CASE("MQTT 5 [MQTT-3.10.3-1] UNSUBSCRIBE has filters one behind the other, without options") {
    Subscription one{"+", QoS::exactly_once};   // its options are not sent
    one.no_local = one.retain_as_published = true;
    one.retain_handling = RetainHandling::do_not_send;
    mqtt::Subscribe packet;
    packet.type = PacketType::unsubscribe;
    packet.packet_id = 65535;
    packet.filters = mqtt::Subscriptions(&one, 1);
    encodes(packet, unsubscribe_one, v5);

    PropertyBuffer<7> properties;
    properties.add(prop::user_property, {"k", "v"});
    const std::string_view two[] = {"a/#", "$share/g/b"};
    packet.packet_id = 7;
    packet.properties = properties;
    packet.filters = mqtt::Subscriptions(two, 2);
    encodes(packet, unsubscribe_everything, v5);

    packet = decoded<mqtt::Subscribe>(unsubscribe_everything, v5);
    CHECK(packet.type == PacketType::unsubscribe);
    CHECK(packet.packet_id == 7);
    CHECK(packet.properties.get(prop::user_property)->name == "k");
    CHECK(packet.filters.size() == 2);
    Subscription got;
    mqtt::Subscriptions rest = packet.filters;
    for (const std::string_view expected : two) {
        REQUIRE(rest.next(got));
        CHECK(got.filter == expected);
        CHECK(got.qos == QoS::at_most_once);
        CHECK(!got.no_local);
    }
    CHECK(!rest.next(got));
    encodes(packet, unsubscribe_everything, v5);
}

TEST_CASE("MQTT 5 PINGREQ and PINGRESP are a fixed header") {
    mqtt::Empty packet;
    encodes(packet, pingreq, v5);
    packet.type = PacketType::pingresp;
    encodes(packet, pingresp, v5);
    CHECK(decoded<mqtt::Empty>(pingreq, v5).type == PacketType::pingreq);
    CHECK(decoded<mqtt::Empty>(pingresp, v5).type == PacketType::pingresp);
    for (const uint8_t first : Octets{0xC0, 0xD0}) {
        CHECK(malformed<mqtt::Empty>({first, 1, 0}));
        CHECK(malformed<mqtt::Empty>({first, 2, 0, 0}));
    }
}

// -------------------------------------------------------------------------------------- 3.14 DISCONNECT, 3.15 AUTH

TEST_CASE("MQTT 5 DISCONNECT leaves out properties if there are none, and a normal disconnection, too, if there are none") {
    mqtt::Disconnect packet;
    encodes(packet, disconnect, v5);
    packet.reason = ReasonCode::disconnect_with_will_message;
    encodes(packet, disconnect_reason, v5);
    PropertyBuffer<20> properties;
    properties.add(prop::session_expiry_interval, 0).add(prop::reason_string, "r").add(prop::user_property, {"k", "v"});
    properties.add(prop::server_reference, "s");
    packet.reason = ReasonCode::server_moved;
    packet.properties = properties;
    encodes(packet, disconnect_everything, v5);
    packet = decoded<mqtt::Disconnect>(disconnect_everything, v5);
    CHECK(packet.type == PacketType::disconnect);
    CHECK(packet.reason == ReasonCode::server_moved);
    CHECK(packet.properties.get(prop::session_expiry_interval).value_or(9) == 0);
    CHECK(*packet.properties.get(prop::server_reference) == "s");

    PropertyBuffer<5> expiry;
    expiry.add(prop::session_expiry_interval, 1);
    packet = mqtt::Disconnect();
    packet.properties = expiry;
    const Octets normal = {0xE0, 7, 0x00, 5, 0x11, 0, 0, 0, 1};   // then the reason code cannot be left out
    encodes(packet, wire::view(normal), v5);

    const Octets forms[] = {{0xE0, 0}, {0xE0, 1, 0x00}, {0xE0, 2, 0x00, 0}, {0xE0, 1, 0x8E}, {0xE0, 2, 0x8E, 0},
                            {0xE0, 6, 0x8E, 4, 0x1F, 0, 1, 'r'}};
    for (const Octets& form : forms) {
        INFO(wire::hex(form.data(), form.size()));
        const Exact exact(form);
        packet = decoded<mqtt::Disconnect>(exact.view(), v5);
        CHECK(static_cast<int>(packet.reason) == (form.size() > 2 ? form[2] : 0));
        CHECK(packet.properties.get(prop::reason_string).has_value() == (form.size() > 4));
    }
    CHECK(malformed<mqtt::Disconnect>({0xE0, 2, 0x00, 1}));                       // properties beyond the end
    CHECK(malformed<mqtt::Disconnect>({0xE0, 3, 0x00, 0, 0}));                    // a byte behind them
    CHECK(malformed<mqtt::Disconnect>({0xE0, 6, 0x00, 3, 0x1F, 0, 1, 'r'}));      // a value cut
    CHECK(protocol_error<mqtt::Disconnect>({0xE0, 1, 0x01}));
}

TEST_CASE("MQTT 5 AUTH has a reason code and a property length, or neither") {
    mqtt::Disconnect packet;
    packet.type = PacketType::auth;
    encodes(packet, auth, v5);
    packet.reason = ReasonCode::re_authenticate;
    encodes(packet, auth_bare, v5);
    const uint8_t data[] = {0x00, 0xFF};
    PropertyBuffer<20> properties;
    properties.add(prop::authentication_method, "m").add(prop::authentication_data, data).add(prop::reason_string, "r");
    properties.add(prop::user_property, {"k", "v"});
    packet.reason = ReasonCode::continue_authentication;
    packet.properties = properties;
    encodes(packet, auth_continue, v5);
    packet = decoded<mqtt::Disconnect>(auth_continue, v5);
    CHECK(packet.type == PacketType::auth);
    CHECK(packet.reason == ReasonCode::continue_authentication);
    CHECK(*packet.properties.get(prop::authentication_method) == "m");
    CHECK(difference(data, *packet.properties.get(prop::authentication_data)) == "");
    CHECK(*packet.properties.get(prop::reason_string) == "r");

    PropertyBuffer<4> method;
    method.add(prop::authentication_method, "m");
    packet = mqtt::Disconnect();
    packet.type = PacketType::auth;
    packet.properties = method;
    const Octets success = {0xF0, 6, 0x00, 4, 0x15, 0, 1, 'm'};
    encodes(packet, wire::view(success), v5);

    CHECK(decoded<mqtt::Disconnect>(auth, v5).reason == ReasonCode::success);
    CHECK(decoded<mqtt::Disconnect>(auth, v5).type == PacketType::auth);
    CHECK(accepted<mqtt::Disconnect>({0xF0, 2, 0x00, 0}));
    CHECK(decoded<mqtt::Disconnect>(auth_bare, v5).reason == ReasonCode::re_authenticate);
    CHECK(malformed<mqtt::Disconnect>({0xF0, 1, 0x00}));   // section 3.15.2.1: only both can be left out
    CHECK(malformed<mqtt::Disconnect>({0xF0, 1, 0x18}));
    CHECK(malformed<mqtt::Disconnect>({0xF0, 2, 0x18, 1}));
    CHECK(malformed<mqtt::Disconnect>({0xF0, 3, 0x18, 0, 0}));
    CHECK(protocol_error<mqtt::Disconnect>({0xF0, 2, 0x80, 0}));
    CHECK(!accepted<mqtt::Disconnect>({0xF0, 1, 0x80}));
}

TEST_CASE("MQTT 5 AUTH does not exist in 3.1.1") {
    mqtt::Disconnect packet;
    packet.type = PacketType::auth;
    CHECK(wire::refuses(packet, Error::invalid_argument, Version::v3_1_1));
    CHECK(wire::malformed<mqtt::Disconnect>(auth.bytes.view(), Version::v3_1_1));
    CHECK(mqtt::decode_body(0xF0, Bytes(), packet, Version::v3_1_1) == Error::malformed_packet);
    mqtt::FixedHeader header;
    const uint8_t first[] = {0xF0};
    CHECK(mqtt::read_fixed_header(first, 1, header) == Error::malformed_packet);
    CHECK(mqtt::read_fixed_header(first, 1, header, Version::v3_1_1) == Error::malformed_packet);
    CHECK(mqtt::read_fixed_header(first, 1, header, v5) == Error::ok);
}

// ------------------------------------------------------------------------------------------ 2.1 the fixed header

TEST_CASE("MQTT 5 [MQTT-2.1.3-1], [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1], [MQTT-3.14.1-1], [MQTT-3.15.1-1] of the "
          "256 first bytes the 24 of table 2-2 are good, at once; all others are malformed") {
    const Octets good = {
        0x10,                                                       // CONNECT
        0x20,                                                       // CONNACK
        0x30, 0x31, 0x32, 0x33, 0x3A, 0x3B, 0x34, 0x35, 0x3C, 0x3D, // PUBLISH; no DUP with QoS 0, no QoS 3
        0x40,                                                       // PUBACK
        0x50,                                                       // PUBREC
        0x62,                                                       // PUBREL
        0x70,                                                       // PUBCOMP
        0x82,                                                       // SUBSCRIBE
        0x90,                                                       // SUBACK
        0xA2,                                                       // UNSUBSCRIBE
        0xB0,                                                       // UNSUBACK
        0xC0,                                                       // PINGREQ
        0xD0,                                                       // PINGRESP
        0xE0,                                                       // DISCONNECT
        0xF0,                                                       // AUTH
    };
    CHECK(good.size() == 24);
    for (int value = 0; value < 256; ++value) {
        CAPTURE(value);
        const uint8_t first = static_cast<uint8_t>(value);
        bool is_good = false;
        for (const uint8_t one : good) is_good = is_good || one == first;
        const Octets inputs[] = {{first}, {first, 0}, {first, 0x80}, {first, 0xFF, 0xFF, 0xFF, 0x7F}};
        for (const Octets& input : inputs) {
            const Exact exact(input);
            mqtt::FixedHeader header;
            const Error error = mqtt::read_fixed_header(exact.data(), exact.size(), header, v5);
            CHECK(error == (is_good ? Error::ok : Error::malformed_packet));
        }
    }
    // Whole packets: with other flags they are malformed.
    for (const Golden* golden : wire::all5()) {
        INFO(golden->name);
        const uint8_t type = golden->bytes.data()[0] >> 4;
        if (type == 3) continue;
        for (uint8_t flags = 0; flags < 16; ++flags) {
            Octets bytes(golden->bytes.view().begin(), golden->bytes.view().end());
            if (bytes[0] % 16 == flags) continue;
            bytes[0] = static_cast<uint8_t>(type * 16 + flags);
            mqtt::Connect connect;
            mqtt::Connack connack;
            mqtt::Ack ack;
            mqtt::Subscribe subscribe;
            mqtt::Suback suback;
            mqtt::Empty empty;
            mqtt::Disconnect last;
            const Bytes view = wire::view(bytes);
            const Error error = type == 1                ? mqtt::decode(view, connect, v5)
                                : type == 2              ? mqtt::decode(view, connack, v5)
                                : type < 8               ? mqtt::decode(view, ack, v5)
                                : type == 8 || type == 10 ? mqtt::decode(view, subscribe, v5)
                                : type == 9 || type == 11 ? mqtt::decode(view, suback, v5)
                                : type < 14              ? mqtt::decode(view, empty, v5)
                                                         : mqtt::decode(view, last, v5);
            if (error != Error::malformed_packet) FAIL_CHECK("flags " << int{flags} << ": " << mqtt::to_string(error));
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-1.5.5-1] a remaining length is in its shortest form, of at most four bytes; so is a property "
          "length") {
    const Octets wrong[] = {{0x80, 0x00}, {0x80, 0x80, 0x00}, {0x80, 0x80, 0x80, 0x00}, {0x80, 0x80, 0x80, 0x80, 0x00},
                            {0x80, 0x80, 0x80, 0x80, 0x01}, {0xFF, 0xFF, 0xFF, 0xFF, 0x7F}};
    for (const Octets& length : wrong) {
        INFO(wire::hex(length.data(), length.size()));
        Octets bytes = {0xC0};
        wire::append(bytes, length);
        CHECK(malformed<mqtt::Empty>(bytes));
        mqtt::FixedHeader header;
        CHECK(mqtt::read_fixed_header(bytes.data(), bytes.size(), header, v5) == Error::malformed_packet);
        // In place of the property length 0; what follows would be the payload.
        Octets body = {0, 1, 't'};
        wire::append(body, length);
        CHECK(malformed<mqtt::Publish>(wire::packet(0x30, body)));
        wire::append(body, 300, 0x26);
        CHECK(malformed<mqtt::Publish>(wire::packet(0x30, body)));
        body = {0, 0};
        wire::append(body, length);
        CHECK(malformed<mqtt::Connack>(wire::packet(0x20, body)));
        body = {0, 7, 0};
        wire::append(body, length);
        CHECK(malformed<mqtt::Ack>(wire::packet(0x40, body)));
    }
    // 2 in two bytes, with a property that has this length.
    CHECK(malformed<mqtt::Publish>({0x30, 7, 0, 1, 't', 0x82, 0x00, 0x01, 1}));
    CHECK(accepted<mqtt::Publish>({0x30, 6, 0, 1, 't', 0x02, 0x01, 1}));
}

// ------------------------------------------------------------------------------------------ strings

TEST_CASE("MQTT 5 [MQTT-1.5.4-1], [MQTT-1.5.4-2] ill-formed UTF-8, surrogates and U+0000 are malformed in every string of "
          "every packet, and not written") {
    const std::string_view wrong[] = {std::string_view("\0", 1), std::string_view("a\0b", 3), "\x80", "\xC3", "\xC0\x80",
                                      "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF4\x90\x80\x80", "\xFF"};
    for (const std::string_view text : wrong) {
        INFO(wire::hex(text));
        const Octets field = wire::string(text);
        const auto between = [&](std::initializer_list<uint8_t> before, std::initializer_list<uint8_t> behind) {
            Octets body = before;
            wire::append(body, field);
            wire::append(body, behind);
            return body;
        };
        // protocol name, client id, will topic, user name
        const auto connect = [&](uint8_t flags, std::initializer_list<uint8_t> before, std::initializer_list<uint8_t> behind) {
            Octets body = {0, 4, 'M', 'Q', 'T', 'T', 5, flags, 0, 0, 0};
            wire::append(body, between(before, behind));
            return wire::packet(0x10, body);
        };
        CHECK(malformed<mqtt::Connect>(wire::packet(0x10, between({}, {5, 0x02, 0, 0, 0, 0, 0}))));
        CHECK(malformed<mqtt::Connect>(connect(0x02, {}, {})));
        CHECK(malformed<mqtt::Connect>(connect(0x06, {0, 0, 0}, {0, 0})));
        CHECK(malformed<mqtt::Connect>(connect(0x82, {0, 0}, {})));
        // topic, filters
        CHECK(malformed<mqtt::Publish>(wire::packet(0x30, between({}, {0}))));
        CHECK(malformed<mqtt::Subscribe>(wire::packet(0x82, between({0, 1, 0}, {0}))));
        CHECK(malformed<mqtt::Subscribe>(wire::packet(0xA2, between({0, 1, 0}, {}))));
        // The password, the will payload, and a payload are not strings.
        CHECK(accepted<mqtt::Connect>(connect(0x42, {0, 0}, {})));
        CHECK(accepted<mqtt::Connect>(connect(0x06, {0, 0, 0, 0, 1, 't'}, {})));
        CHECK(accepted<mqtt::Publish>(wire::packet(0x30, between({0, 1, 't', 0}, {}))));

        mqtt::Connect good = new_connect();
        good.flags = 0xC6;   // user name, password, will, clean start
        good.will_topic = "t";
        mqtt::Connect broken = good;
        broken.client_id = text;
        CHECK(refuses(broken, Error::invalid_string));
        broken = good;
        broken.user_name = text;
        CHECK(refuses(broken, Error::invalid_string));
        broken = good;
        broken.password = broken.will_message = text;
        CHECK(mqtt::encode(broken, Exact(64).buffer(), v5).error == Error::ok);
    }
}

TEST_CASE("MQTT 5 [MQTT-1.5.4-3] EF BB BF is U+FEFF wherever it stands, and stays") {
    const Octets bytes = {
        0x30, 25,                                          // PUBLISH, QoS 0, remaining length 25
        0, 7, 0xEF, 0xBB, 0xBF, 't', 0xEF, 0xBB, 0xBF,     // topic: U+FEFF, "t", U+FEFF
        12,                                                // property length
        0x03, 0, 3, 0xEF, 0xBB, 0xBF,                      // content type: U+FEFF
        0x08, 0, 3, 0xEF, 0xBB, 0xBF,                      // response topic: U+FEFF
        0xEF, 0xBB, 0xBF,                                  // payload
    };
    const Exact exact(bytes);
    const mqtt::Publish packet = decoded<mqtt::Publish>(exact.view(), v5);
    CHECK(difference("\xEF\xBB\xBFt\xEF\xBB\xBF", packet.topic) == "");
    CHECK(difference("\xEF\xBB\xBF", *packet.properties.get(prop::content_type)) == "");
    CHECK(difference("\xEF\xBB\xBF", *packet.properties.get(prop::response_topic)) == "");
    CHECK(packet.payload.size() == 3);
    encodes(packet, wire::view(bytes), v5);
}

TEST_CASE("MQTT 5 [MQTT-4.7.3-3] each field may have 65535 bytes, and none 65536") {
    const std::string longest(65535, 'x'), longer(65536, 'x');
    mqtt::Connect connect = new_connect();
    connect.flags = 0xC6;   // user name, password, will, clean start
    connect.client_id = connect.will_topic = connect.user_name = longest;
    connect.will_message = connect.password = longest;
    Octets body = {0, 4, 'M', 'Q', 'T', 'T', 5, 0xC6, 0, 0, 0};
    for (int i = 0; i < 5; ++i) {
        if (i == 1) body.push_back(0);   // will properties
        wire::append(body, {0xFF, 0xFF});
        wire::append(body, longest);
    }
    const Octets bytes = wire::packet(0x10, body);
    encodes(connect, wire::view(bytes), v5);
    CHECK(decoded<mqtt::Connect>(wire::view(bytes), v5).password.size() == 65535);
    mqtt::Connect broken = connect;
    broken.client_id = longer;
    CHECK(refuses(broken, Error::invalid_string));
    broken = connect;
    broken.will_topic = longer;
    CHECK(refuses(broken, Error::invalid_topic));
    broken = connect;
    broken.will_message = longer;
    CHECK(refuses(broken, Error::invalid_argument));
    broken = connect;
    broken.user_name = longer;
    CHECK(refuses(broken, Error::invalid_string));
    broken = connect;
    broken.password = longer;
    CHECK(refuses(broken, Error::invalid_argument));

    mqtt::Publish publish;
    publish.topic = longest;
    body = {0xFF, 0xFF};
    wire::append(body, longest);
    body.push_back(0);
    const Octets published = wire::packet(0x30, body);
    encodes(publish, wire::view(published), v5);
    CHECK(decoded<mqtt::Publish>(wire::view(published), v5).topic.size() == 65535);
    publish.topic = longer;
    CHECK(refuses(publish, Error::invalid_topic));

    Subscription one{longest};
    mqtt::Subscribe subscribe;
    subscribe.packet_id = 1;
    subscribe.filters = mqtt::Subscriptions(&one, 1);
    const Exact room(70000);
    CHECK(mqtt::encode(subscribe, room.buffer(), v5).error == Error::ok);
    one.filter = longer;
    CHECK(refuses(subscribe, Error::invalid_filter));
    subscribe.type = PacketType::unsubscribe;
    CHECK(refuses(subscribe, Error::invalid_filter));
}

// ------------------------------------------------------------------------------------------ what is not written

TEST_CASE("MQTT 5 [MQTT-2.2.1-4] a packet id of 0 is malformed in every packet that has one, and not written") {
    const Octets packets[] = {
        {0x32, 7, 0, 1, 't', 0, 0, 0, 'x'},      // PUBLISH, QoS 1
        {0x34, 6, 0, 1, 't', 0, 0, 0},           // PUBLISH, QoS 2
        {0x40, 2, 0, 0},                         // PUBACK
        {0x50, 3, 0, 0, 0},                      // PUBREC
        {0x62, 4, 0, 0, 0, 0},                   // PUBREL
        {0x70, 2, 0, 0},                         // PUBCOMP
        {0x82, 7, 0, 0, 0, 0, 1, 't', 1},        // SUBSCRIBE
        {0x90, 4, 0, 0, 0, 0},                   // SUBACK
        {0xA2, 6, 0, 0, 0, 0, 1, 't'},           // UNSUBSCRIBE
        {0xB0, 4, 0, 0, 0, 0},                   // UNSUBACK
    };
    for (const Octets& bytes : packets) {
        INFO(wire::hex(bytes.data(), bytes.size()));
        const size_t at = bytes[0] < 0x40 ? 5 : 2;
        for (const uint8_t id : Octets{0, 1}) {
            Octets changed = bytes;
            changed[at + 1] = id;
            const Error error = bytes[0] < 0x40                            ? verdict<mqtt::Publish>(changed)
                                : bytes[0] < 0x80                          ? verdict<mqtt::Ack>(changed)
                                : bytes[0] == 0x82 || bytes[0] == 0xA2 ? verdict<mqtt::Subscribe>(changed)
                                                                           : verdict<mqtt::Suback>(changed);
            CHECK(error == (id == 0 ? Error::malformed_packet : Error::ok));
        }
    }
    mqtt::Publish publish;
    publish.topic = "t";
    publish.qos = QoS::at_least_once;
    CHECK(refuses(publish, Error::invalid_argument));
    publish.qos = QoS::exactly_once;
    CHECK(refuses(publish, Error::invalid_argument));
    const Subscription one{"t"};
    mqtt::Subscribe subscribe;
    subscribe.filters = mqtt::Subscriptions(&one, 1);
    CHECK(refuses(subscribe, Error::invalid_argument));
    subscribe.type = PacketType::unsubscribe;
    CHECK(refuses(subscribe, Error::invalid_argument));
}

TEST_CASE("MQTT 5 a packet is not written by a struct that is for other types") {
    for (int value = 0; value < 16; ++value) {
        CAPTURE(value);
        const PacketType type = static_cast<PacketType>(value);
        const Subscription one{"t"};
        const uint8_t code[] = {0};
        mqtt::Ack ack;
        mqtt::Subscribe subscribe;
        mqtt::Suback suback;
        mqtt::Empty empty;
        mqtt::Disconnect last;
        ack.type = subscribe.type = suback.type = empty.type = last.type = type;
        ack.packet_id = subscribe.packet_id = suback.packet_id = 1;
        subscribe.filters = mqtt::Subscriptions(&one, 1);
        suback.reason_codes = code;
        CHECK(refuses(ack, Error::invalid_argument) == (value < 4 || value > 7));
        CHECK(refuses(subscribe, Error::invalid_argument) == (value != 8 && value != 10));
        CHECK(refuses(suback, Error::invalid_argument) == (value != 9 && value != 11));
        CHECK(refuses(empty, Error::invalid_argument) == (value != 12 && value != 13));
        CHECK(refuses(last, Error::invalid_argument) == (value != 14 && value != 15));
    }
}

TEST_CASE("MQTT 5 the first thing that is wrong decides about the error, also when there is no space") {
    PropertyBuffer<4> wrong;
    wrong.add(prop::content_type, "c");   // of a message
    mqtt::Connect packet = new_connect();
    packet.flags = 0x06;   // will, clean start
    packet.properties = wrong;
    packet.client_id = "\xFF";
    packet.will_topic = "#";
    CHECK(refuses(packet, Error::invalid_properties));
    const mqtt::Encoded out = mqtt::encode(packet, mqtt::Buffer(), v5);
    CHECK(out.error == Error::invalid_properties);
    CHECK(out.size == 0);
    packet.properties = Properties();
    packet.will_properties = wrong;   // here it is right
    CHECK(refuses(packet, Error::invalid_string));
    packet.client_id = "";
    CHECK(refuses(packet, Error::invalid_topic));
}
