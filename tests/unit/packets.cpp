// Every packet type of MQTT 3.1.1, byte by byte; packets5.cpp has those of MQTT 5. The bytes are written by hand from the
// tables of the specification: encoder and decoder share one list of fields, so a round trip alone would prove nothing.
// Those of whole short packets stand in tests/support/bytes.hpp, under wire::golden, because hostile.cpp breaks them.

#include "mqtt.hpp"

#include "../support/bytes.hpp"
#include "../support/codec.hpp"

#include <doctest/doctest.h>

namespace {

using mqtt::Bytes;
using mqtt::Error;
using mqtt::PacketType;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Retain;
using mqtt::Version;
using wire::decoded;
using wire::difference;
using wire::elsewhere;
using wire::encodes;
using wire::Exact;
using wire::Golden;
using wire::malformed;
using wire::Octets;
using wire::refuses;
using namespace wire::golden;

}  // namespace

// ------------------------------------------------------------------------------------------ 3.1 CONNECT

TEST_CASE("CONNECT with no more than it must have") {
    mqtt::Connect packet;
    encodes(packet, connect_smallest);

    packet = decoded<mqtt::Connect>(connect_smallest);
    CHECK(packet.protocol_name == "MQTT");
    CHECK(packet.protocol_level == 4);
    CHECK(packet.flags == mqtt::Connect::clean_session);
    CHECK(packet.keep_alive == 0);
    CHECK(packet.client_id.empty());
    CHECK(packet.will_topic.data() == nullptr);
    CHECK(packet.user_name.data() == nullptr);
    CHECK(packet.password.data() == nullptr);
}

TEST_CASE("CONNECT with a session to be kept, a client id and a keep alive") {
    mqtt::Connect packet;
    packet.flags = 0;
    packet.keep_alive = 300;
    packet.client_id = "demo";
    encodes(packet, connect_kept);

    packet = decoded<mqtt::Connect>(connect_kept);
    CHECK(packet.flags == 0);
    CHECK(packet.keep_alive == 300);
    CHECK(packet.client_id == "demo");
}

TEST_CASE("[MQTT-3.1.3-1] [MQTT-3.1.3-3] CONNECT has client id, will topic, will message, user name, password, in this order") {
    const uint8_t secret[] = {0x00, 0xFF, 's', 0xC0, 0x80, 't'};
    mqtt::Connect packet;
    packet.flags = 0xEE;
    packet.keep_alive = 65535;
    packet.client_id = "id";
    packet.will_topic = "last";
    packet.will_message = "gone";
    packet.user_name = "bob";
    packet.password = secret;
    encodes(packet, connect_everything);

    packet = decoded<mqtt::Connect>(connect_everything);
    CHECK(packet.flags == 0xEE);
    CHECK(packet.will_qos() == QoS::at_least_once);
    CHECK(packet.keep_alive == 65535);
    CHECK(packet.client_id == "id");
    CHECK(packet.will_topic == "last");
    CHECK(packet.will_message.text() == "gone");
    CHECK(packet.user_name == "bob");
    CHECK(difference(secret, packet.password) == "");
}

TEST_CASE("CONNECT with a will whose message is empty") {
    mqtt::Connect packet;
    packet.flags = 0x14;
    packet.keep_alive = 60;
    packet.client_id = "a\xC3\xA4";
    packet.will_topic = "w/t";
    encodes(packet, connect_will);

    packet = decoded<mqtt::Connect>(connect_will);
    CHECK(packet.will_qos() == QoS::exactly_once);
    CHECK(difference("a\xC3\xA4", packet.client_id) == "");
    CHECK(packet.will_topic == "w/t");
    CHECK(packet.will_message.empty());
}

TEST_CASE("CONNECT tells an empty user name and password from none") {
    mqtt::Connect packet;
    packet.flags = 0xC2;
    packet.keep_alive = 10;
    packet.client_id = "c";
    encodes(packet, connect_empty_user);

    packet = decoded<mqtt::Connect>(connect_empty_user);
    CHECK(packet.flags == 0xC2);
    CHECK(packet.user_name.empty());
    CHECK(packet.user_name.data() != nullptr);
    CHECK(packet.password.empty());
    CHECK(packet.password.data() != nullptr);

    packet = mqtt::Connect();
    packet.flags = 0x82;
    packet.user_name = "me";
    encodes(packet, connect_user);
    CHECK(decoded<mqtt::Connect>(connect_user).user_name == "me");
    CHECK(decoded<mqtt::Connect>(connect_user).password.data() == nullptr);
}

TEST_CASE("[MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20] [MQTT-3.1.2-21] "
          "each legal combination of connect flags has exactly its fields in the payload") {
    static const struct {
        uint8_t flags, remaining_length;
        bool clean, will;
        QoS will_qos;
        bool will_retain, user_name, password;
    } rows[] = {
        // flags, length, clean, will,  will QoS,           retain, user,  password
        {0x00, 14, false, false, QoS::at_most_once,  false, false, false},
        {0x02, 14, true,  false, QoS::at_most_once,  false, false, false},
        {0x80, 19, false, false, QoS::at_most_once,  false, true,  false},
        {0x82, 19, true,  false, QoS::at_most_once,  false, true,  false},
        {0xC0, 23, false, false, QoS::at_most_once,  false, true,  true},
        {0xC2, 23, true,  false, QoS::at_most_once,  false, true,  true},
        {0x04, 24, false, true,  QoS::at_most_once,  false, false, false},
        {0x06, 24, true,  true,  QoS::at_most_once,  false, false, false},
        {0x24, 24, false, true,  QoS::at_most_once,  true,  false, false},
        {0x26, 24, true,  true,  QoS::at_most_once,  true,  false, false},
        {0x0C, 24, false, true,  QoS::at_least_once, false, false, false},
        {0x0E, 24, true,  true,  QoS::at_least_once, false, false, false},
        {0x2C, 24, false, true,  QoS::at_least_once, true,  false, false},
        {0x2E, 24, true,  true,  QoS::at_least_once, true,  false, false},
        {0x14, 24, false, true,  QoS::exactly_once,  false, false, false},
        {0x16, 24, true,  true,  QoS::exactly_once,  false, false, false},
        {0x34, 24, false, true,  QoS::exactly_once,  true,  false, false},
        {0x36, 24, true,  true,  QoS::exactly_once,  true,  false, false},
        {0x84, 29, false, true,  QoS::at_most_once,  false, true,  false},
        {0x86, 29, true,  true,  QoS::at_most_once,  false, true,  false},
        {0xA4, 29, false, true,  QoS::at_most_once,  true,  true,  false},
        {0xA6, 29, true,  true,  QoS::at_most_once,  true,  true,  false},
        {0x8C, 29, false, true,  QoS::at_least_once, false, true,  false},
        {0x8E, 29, true,  true,  QoS::at_least_once, false, true,  false},
        {0xAC, 29, false, true,  QoS::at_least_once, true,  true,  false},
        {0xAE, 29, true,  true,  QoS::at_least_once, true,  true,  false},
        {0x94, 29, false, true,  QoS::exactly_once,  false, true,  false},
        {0x96, 29, true,  true,  QoS::exactly_once,  false, true,  false},
        {0xB4, 29, false, true,  QoS::exactly_once,  true,  true,  false},
        {0xB6, 29, true,  true,  QoS::exactly_once,  true,  true,  false},
        {0xC4, 33, false, true,  QoS::at_most_once,  false, true,  true},
        {0xC6, 33, true,  true,  QoS::at_most_once,  false, true,  true},
        {0xE4, 33, false, true,  QoS::at_most_once,  true,  true,  true},
        {0xE6, 33, true,  true,  QoS::at_most_once,  true,  true,  true},
        {0xCC, 33, false, true,  QoS::at_least_once, false, true,  true},
        {0xCE, 33, true,  true,  QoS::at_least_once, false, true,  true},
        {0xEC, 33, false, true,  QoS::at_least_once, true,  true,  true},
        {0xEE, 33, true,  true,  QoS::at_least_once, true,  true,  true},
        {0xD4, 33, false, true,  QoS::exactly_once,  false, true,  true},
        {0xD6, 33, true,  true,  QoS::exactly_once,  false, true,  true},
        {0xF4, 33, false, true,  QoS::exactly_once,  true,  true,  true},
        {0xF6, 33, true,  true,  QoS::exactly_once,  true,  true,  true},
    };
    for (const auto& row : rows) {
        CAPTURE(int{row.flags});
        Octets bytes = {0x10, row.remaining_length};                            // CONNECT
        wire::append(bytes, {0, 4, 'M', 'Q', 'T', 'T', 4, row.flags, 0, 5});    // name, level, flags, keep alive 5 s
        wire::append(bytes, {0, 2, 'i', 'd'});                                  // client id
        if (row.will) wire::append(bytes, {0, 3, 'w', '/', 't'});               // will topic
        if (row.will) wire::append(bytes, {0, 3, 'b', 'y', 'e'});               // will message
        if (row.user_name) wire::append(bytes, {0, 3, 'u', 's', 'r'});          // user name
        if (row.password) wire::append(bytes, {0, 2, 'p', 'w'});                // password

        mqtt::Connect packet;   // all fields are there to be sent; the flags choose
        packet.flags = row.flags;
        packet.keep_alive = 5;
        packet.client_id = "id";
        packet.will_topic = "w/t";
        packet.will_message = "bye";
        packet.user_name = "usr";
        packet.password = "pw";
        encodes(packet, wire::view(bytes));

        const Exact exact(bytes);
        packet = decoded<mqtt::Connect>(exact.view());
        CHECK(((packet.flags & mqtt::Connect::clean_session) != 0) == row.clean);
        CHECK(((packet.flags & mqtt::Connect::has_will) != 0) == row.will);
        CHECK(packet.will_qos() == row.will_qos);
        CHECK(((packet.flags & mqtt::Connect::will_retain) != 0) == row.will_retain);
        CHECK(packet.client_id == "id");
        CHECK(packet.will_topic == (row.will ? "w/t" : ""));
        CHECK(packet.will_message.text() == (row.will ? "bye" : ""));
        CHECK(packet.user_name == (row.user_name ? "usr" : ""));
        CHECK(packet.password.text() == (row.password ? "pw" : ""));

        // A field more, or one less, than the flags say.
        bytes[1] = static_cast<uint8_t>(row.remaining_length + 4);
        wire::append(bytes, {0, 2, 'p', 'w'});
        CHECK(malformed<mqtt::Connect>(wire::view(bytes)));
        bytes.resize(bytes.size() - (row.password ? 8 : row.user_name || row.will ? 9 : 8));
        bytes[1] = static_cast<uint8_t>(bytes.size() - 2);
        CHECK(malformed<mqtt::Connect>(wire::view(bytes)));
    }
    CHECK(sizeof rows / sizeof *rows == 42);   // 2 clean session * 3 credentials * (no will + 3 QoS * 2 retain)
}

TEST_CASE("[MQTT-3.1.2-1] [MQTT-3.1.2-2] CONNECT is written with the protocol name MQTT and level 4, and with no other") {
    encodes(mqtt::Connect(), connect_smallest);
    mqtt::Connect packet;
    packet.protocol_name = "MQIsdp";
    CHECK(refuses(packet, Error::invalid_argument));
    packet.protocol_name = "mqtt";
    CHECK(refuses(packet, Error::invalid_argument));
    packet.protocol_name = "MQTT";
    for (int level = 0; level < 256; ++level) {
        if (mqtt::has_v5 && level == 5) continue;   // packets5.cpp
        packet.protocol_level = static_cast<uint8_t>(level);
        CHECK(refuses(packet, Error::invalid_argument) == (level != 4));
    }
}

TEST_CASE("[MQTT-3.1.3-4] [MQTT-3.1.3-10] [MQTT-3.1.3-11] client id, will topic and user name in CONNECT are UTF-8") {
    mqtt::Connect packet;
    packet.flags = 0x86;   // user name, will, clean session
    packet.client_id = "\xC3\xA4";
    packet.will_topic = "\xE2\x82\xAC";
    packet.user_name = "\xF0\x9F\x90\xB8";
    const Octets bytes = {
        0x10, 27,                           // CONNECT, remaining length 27
        0, 4, 'M', 'Q', 'T', 'T', 4,        // protocol name and level
        0x86, 0, 0,                         // connect flags, keep alive
        0, 2, 0xC3, 0xA4,                   // client id: "ä"
        0, 3, 0xE2, 0x82, 0xAC,             // will topic: "€"
        0, 0,                               // will message
        0, 4, 0xF0, 0x9F, 0x90, 0xB8,       // user name: a frog
    };
    encodes(packet, wire::view(bytes));

    const size_t last_byte_of[] = {15, 20, 28};
    for (const size_t at : last_byte_of) {
        Octets broken = bytes;
        CHECK(broken[at] >= 0x80);
        broken[at] = 'x';   // the character is not finished
        CHECK(malformed<mqtt::Connect>(wire::view(broken)));
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

// ------------------------------------------------------------------------------------------ 3.2 CONNACK

TEST_CASE("CONNACK that accepts, without and with a session") {
    mqtt::Connack packet;
    encodes(packet, connack_accepted);
    packet.flags = 1;
    encodes(packet, connack_session_present);

    packet = decoded<mqtt::Connack>(connack_accepted);
    CHECK(!packet.session_present());
    CHECK(packet.reason == ReasonCode::success);
    packet = decoded<mqtt::Connack>(connack_session_present);
    CHECK(packet.session_present());
    CHECK(packet.reason == ReasonCode::success);
}

TEST_CASE("[MQTT-3.2.2-6] CONNACK that refuses: each return code of table 3.1 is told as the reason code of MQTT 5 that "
          "says the same, and written from it") {
    const struct {
        const Golden& golden;
        ReasonCode reason;
    } rows[] = {
        {connack_1, ReasonCode::unsupported_protocol_version},
        {connack_2, ReasonCode::client_identifier_not_valid},
        {connack_3, ReasonCode::server_unavailable},
        {connack_4, ReasonCode::bad_user_name_or_password},
        {connack_5, ReasonCode::not_authorized},
    };
    for (const auto& row : rows) {
        mqtt::Connack packet;
        packet.reason = row.reason;
        encodes(packet, row.golden);
        packet = decoded<mqtt::Connack>(row.golden);
        CHECK(packet.reason == row.reason);
        CHECK(!packet.session_present());
        CHECK(!mqtt::granted(static_cast<uint8_t>(packet.reason)));
    }
}

// ------------------------------------------------------------------------------------------ 3.3 PUBLISH

TEST_CASE("[MQTT-2.3.1-5] PUBLISH with QoS 0 has no packet id") {
    mqtt::Publish packet;
    packet.topic = "t";
    packet.packet_id = 77;   // not sent
    encodes(packet, publish_smallest);
    packet.topic = "a/b";
    packet.payload = "hello";
    encodes(packet, publish_qos_0);

    packet = decoded<mqtt::Publish>(publish_qos_0);
    CHECK(packet.topic == "a/b");
    CHECK(packet.payload.text() == "hello");
    CHECK(packet.qos == QoS::at_most_once);
    CHECK(packet.retain == Retain::no);
    CHECK(!packet.duplicate);
    CHECK(packet.packet_id == 0);

    packet = decoded<mqtt::Publish>(publish_smallest);
    CHECK(packet.topic == "t");
    CHECK(packet.payload.empty());
}

TEST_CASE("PUBLISH with QoS 0 and retain") {
    const uint8_t zero[] = {0};
    mqtt::Publish packet;
    packet.topic = "a/b";
    packet.payload = zero;
    packet.retain = Retain::yes;
    encodes(packet, publish_qos_0_retain);

    packet = decoded<mqtt::Publish>(publish_qos_0_retain);
    CHECK(packet.retain == Retain::yes);
    CHECK(packet.qos == QoS::at_most_once);
    CHECK(difference(zero, packet.payload) == "");
}

TEST_CASE("PUBLISH with QoS 1: first, again, retained") {
    const uint8_t ff[] = {0xFF};
    mqtt::Publish packet;
    packet.topic = "t";
    packet.qos = QoS::at_least_once;
    packet.packet_id = 10;
    packet.payload = "abc";
    encodes(packet, publish_qos_1);
    packet.duplicate = true;
    packet.packet_id = 65535;
    packet.payload = Bytes();
    encodes(packet, publish_qos_1_again);
    packet.topic = "/";
    packet.duplicate = false;
    packet.retain = Retain::yes;
    packet.packet_id = 256;
    packet.payload = ff;
    encodes(packet, publish_qos_1_retain);

    packet = decoded<mqtt::Publish>(publish_qos_1);
    CHECK(packet.qos == QoS::at_least_once);
    CHECK(packet.packet_id == 10);
    CHECK(!packet.duplicate);
    CHECK(packet.retain == Retain::no);
    CHECK(packet.payload.text() == "abc");
    packet = decoded<mqtt::Publish>(publish_qos_1_again);
    CHECK(packet.duplicate);
    CHECK(packet.packet_id == 65535);
    CHECK(packet.payload.empty());
    packet = decoded<mqtt::Publish>(publish_qos_1_retain);
    CHECK(packet.retain == Retain::yes);
    CHECK(!packet.duplicate);
    CHECK(packet.packet_id == 256);
    CHECK(packet.topic == "/");
}

TEST_CASE("PUBLISH with QoS 2: first, and with every flag") {
    const uint8_t numbers[] = {0, 1, 2}, high[] = {0x80};
    mqtt::Publish packet;
    packet.topic = "q2";
    packet.qos = QoS::exactly_once;
    packet.packet_id = 0x1234;
    packet.payload = numbers;
    encodes(packet, publish_qos_2);
    packet.topic = "\xEF\xBB\xBF\xC3\xA4$";
    packet.duplicate = true;
    packet.retain = Retain::yes;
    packet.packet_id = 1;
    packet.payload = high;
    encodes(packet, publish_qos_2_all);

    packet = decoded<mqtt::Publish>(publish_qos_2);
    CHECK(packet.qos == QoS::exactly_once);
    CHECK(packet.packet_id == 0x1234);
    CHECK(!packet.duplicate);
    CHECK(difference(numbers, packet.payload) == "");
    packet = decoded<mqtt::Publish>(publish_qos_2_all);
    CHECK(packet.duplicate);
    CHECK(packet.retain == Retain::yes);
    CHECK(packet.packet_id == 1);
    CHECK(difference("\xEF\xBB\xBF\xC3\xA4$", packet.topic) == "");
}

TEST_CASE("[MQTT-3.3.2-1] the variable header of PUBLISH begins with the topic, which is UTF-8") {
    const mqtt::Publish packet = decoded<mqtt::Publish>(publish_qos_2);
    CHECK(packet.topic.data() == publish_qos_2.bytes.text().data() + 4);   // behind fixed header and length

    CHECK(malformed<mqtt::Publish>(wire::view({0x30, 4, 0, 2, 0xC3, 0x28})));         // a character that is not finished
    CHECK(malformed<mqtt::Publish>(wire::view({0x30, 5, 0, 3, 0xED, 0xA0, 0x80})));   // U+D800
    mqtt::Publish broken;
    broken.topic = "\xC3(";
    CHECK(refuses(broken, Error::invalid_topic));
}

TEST_CASE("[MQTT-3.3.1-2] PUBLISH with QoS 0 is never written with DUP") {
    mqtt::Publish packet;
    packet.topic = "t";
    packet.duplicate = true;
    encodes(packet, publish_smallest);
}

TEST_CASE("PUBLISH without its payload: the header counts what follows from elsewhere") {
    mqtt::Publish packet;
    packet.topic = "t";
    packet.payload = "abc";
    const Octets qos_0 = {
        0x30, 6,                            // PUBLISH, QoS 0, remaining length 3 + 3
        0, 1, 't',                          // topic
    };
    encodes(packet, wire::view(qos_0), Version::v3_1_1, false);
    packet.qos = QoS::exactly_once;
    packet.retain = Retain::yes;
    packet.packet_id = 9;
    const Octets qos_2 = {
        0x35, 8,                            // PUBLISH, QoS 2, retain, remaining length 5 + 3
        0, 1, 't',                          // topic
        0, 9,                               // packet id
    };
    encodes(packet, wire::view(qos_2), Version::v3_1_1, false);
    packet.payload = elsewhere(200);
    const Octets longer = {
        0x35, 0xCD, 0x01,                   // PUBLISH, QoS 2, retain, remaining length 5 + 200 = 77 + 1 * 128
        0, 1, 't',                          // topic
        0, 9,                               // packet id
    };
    encodes(packet, wire::view(longer), Version::v3_1_1, false);
}

// ------------------------------------------------------------- 3.4 to 3.7, 3.11: PUBACK to PUBCOMP, UNSUBACK

TEST_CASE("[MQTT-2.2.2-1] [MQTT-3.6.1-1] PUBACK, PUBREC, PUBREL and PUBCOMP are a packet id; PUBREL has flags 0010") {
    const struct {
        const Golden& golden;
        PacketType type;
        uint16_t packet_id;
    } rows[] = {
        {puback, PacketType::puback, 1},
        {pubrec, PacketType::pubrec, 0x1234},
        {pubrel, PacketType::pubrel, 0xABCD},
        {pubcomp, PacketType::pubcomp, 0xFFFF},
    };
    for (const auto& row : rows) {
        mqtt::Ack packet;
        packet.type = row.type;
        packet.packet_id = row.packet_id;
        encodes(packet, row.golden);

        packet = decoded<mqtt::Ack>(row.golden);
        CHECK(packet.type == row.type);
        CHECK(packet.packet_id == row.packet_id);
        CHECK(packet.reason == ReasonCode::success);
        CHECK(packet.properties.empty());
        packet.packet_id = 0;
        CHECK(refuses(packet, Error::invalid_argument));
    }
    for (int flags = 0; flags < 16; ++flags) {
        const Octets bytes = {static_cast<uint8_t>(0x60 | flags), 2, 0xAB, 0xCD};
        CHECK(malformed<mqtt::Ack>(wire::view(bytes)) == (flags != 2));
    }
}

// ---------------------------------------------------------------------------- 3.8 to 3.10: SUBSCRIBE and others

TEST_CASE("[MQTT-3.8.1-1] [MQTT-3.8.3-1] [MQTT-3.8.3-4] SUBSCRIBE has flags 0010 and pairs of a filter and its QoS") {
    const mqtt::Subscription one{"#", QoS::at_most_once};
    mqtt::Subscribe packet;
    packet.packet_id = 1;
    packet.filters = mqtt::Subscriptions(&one, 1);
    encodes(packet, subscribe_one);

    const mqtt::Subscription three[] = {
        {"a/+", QoS::exactly_once}, {"\xC3\xA4/b/", QoS::at_least_once}, {"$SYS/", QoS::at_most_once}};
    packet.packet_id = 0x1234;
    packet.filters = mqtt::Subscriptions(three, 3);
    encodes(packet, subscribe_three);

    packet = decoded<mqtt::Subscribe>(subscribe_three);
    CHECK(packet.type == PacketType::subscribe);
    CHECK(packet.packet_id == 0x1234);
    CHECK(packet.filters.size() == 3);
    mqtt::Subscription got;
    mqtt::Subscriptions rest = packet.filters;
    for (const mqtt::Subscription& expected : three) {
        REQUIRE(rest.next(got));
        CHECK(difference(expected.filter, got.filter) == "");
        CHECK(got.qos == expected.qos);
    }
    CHECK(rest.size() == 0);
    CHECK(!rest.next(got));
    encodes(packet, subscribe_three);   // a decoded list can be sent on

    packet = decoded<mqtt::Subscribe>(subscribe_one);
    CHECK(packet.packet_id == 1);
    CHECK(packet.filters.size() == 1);
    REQUIRE(packet.filters.next(got));
    CHECK(got.filter == "#");
    CHECK(got.qos == QoS::at_most_once);

    for (int flags = 0; flags < 16; ++flags) {
        const Octets bytes = {static_cast<uint8_t>(0x80 | flags), 6, 0, 1, 0, 1, '#', 0};
        CHECK(malformed<mqtt::Subscribe>(wire::view(bytes)) == (flags != 2));
    }
}

TEST_CASE("[MQTT-3.10.1-1] [MQTT-3.10.3-1] UNSUBSCRIBE has flags 0010 and filters one behind the other, without a QoS") {
    const mqtt::Subscription one{"+", QoS::exactly_once};   // its QoS is not sent
    mqtt::Subscribe packet;
    packet.type = PacketType::unsubscribe;
    packet.packet_id = 65535;
    packet.filters = mqtt::Subscriptions(&one, 1);
    encodes(packet, unsubscribe_one);

    const mqtt::Subscription three[] = {{"a/#"}, {"/"}, {"+/\xF0\x90\x80\x80"}};
    packet.packet_id = 7;
    packet.filters = mqtt::Subscriptions(three, 3);
    encodes(packet, unsubscribe_three);

    packet = decoded<mqtt::Subscribe>(unsubscribe_three);
    CHECK(packet.type == PacketType::unsubscribe);
    CHECK(packet.packet_id == 7);
    CHECK(packet.filters.size() == 3);
    mqtt::Subscription got;
    mqtt::Subscriptions rest = packet.filters;
    for (const mqtt::Subscription& expected : three) {
        REQUIRE(rest.next(got));
        CHECK(difference(expected.filter, got.filter) == "");
    }
    CHECK(!rest.next(got));
    encodes(packet, unsubscribe_three);
    CHECK(decoded<mqtt::Subscribe>(unsubscribe_one).packet_id == 65535);

    for (int flags = 0; flags < 16; ++flags) {
        const Octets bytes = {static_cast<uint8_t>(0xA0 | flags), 5, 0, 1, 0, 1, '+'};
        CHECK(malformed<mqtt::Subscribe>(wire::view(bytes)) == (flags != 2));
    }
}

TEST_CASE("SUBACK has a code for each filter") {
    const uint8_t one[] = {0}, four[] = {2, 0x80, 1, 0};
    mqtt::Suback packet;
    packet.packet_id = 1;
    packet.reason_codes = one;
    encodes(packet, suback_one);
    packet.packet_id = 0x1234;
    packet.reason_codes = four;
    encodes(packet, suback_four);

    packet = decoded<mqtt::Suback>(suback_four);
    CHECK(packet.packet_id == 0x1234);
    CHECK(difference(four, packet.reason_codes) == "");
    CHECK(mqtt::granted(packet.reason_codes[0]));
    CHECK(!mqtt::granted(packet.reason_codes[1]));
    CHECK(decoded<mqtt::Suback>(suback_one).packet_id == 1);
    CHECK(decoded<mqtt::Suback>(suback_one).reason_codes.size() == 1);

    const Octets head = {0x90, 6, 0x12, 0x34};   // SUBACK, remaining length 2 + 4, packet id
    packet.reason_codes = four;
    encodes(packet, wire::view(head), Version::v3_1_1, false);
}

TEST_CASE("UNSUBACK is a packet id, without codes, also where the caller gives some") {
    const uint8_t codes[] = {0, 17};
    mqtt::Suback packet;
    packet.type = PacketType::unsuback;
    packet.packet_id = 0x0100;
    encodes(packet, unsuback);
    packet.reason_codes = codes;
    encodes(packet, unsuback);

    packet = decoded<mqtt::Suback>(unsuback);
    CHECK(packet.type == PacketType::unsuback);
    CHECK(packet.packet_id == 0x0100);
    CHECK(packet.reason_codes.empty());
    packet.packet_id = 0;
    CHECK(refuses(packet, Error::invalid_argument));
    for (int flags = 0; flags < 16; ++flags) {
        const Octets bytes = {static_cast<uint8_t>(0xB0 | flags), 2, 1, 0};
        CHECK(malformed<mqtt::Suback>(wire::view(bytes)) == (flags != 0));
    }
}

// -------------------------------------------------------------------- 3.12 to 3.14: PINGREQ, PINGRESP, DISCONNECT

TEST_CASE("[MQTT-2.2.2-1] [MQTT-3.14.1-1] DISCONNECT is a fixed header, without flags") {
    mqtt::Disconnect packet;
    encodes(packet, disconnect);
    packet = decoded<mqtt::Disconnect>(disconnect);
    CHECK(packet.type == PacketType::disconnect);
    CHECK(packet.reason == ReasonCode::success);
    CHECK(packet.properties.empty());
    for (int flags = 0; flags < 16; ++flags) {
        const Octets bytes = {static_cast<uint8_t>(0xE0 | flags), 0};
        CHECK(malformed<mqtt::Disconnect>(wire::view(bytes)) == (flags != 0));
    }
}

TEST_CASE("[MQTT-2.2.2-1] PINGREQ and PINGRESP are a fixed header, without flags") {
    const struct {
        const Golden& golden;
        PacketType type;
    } rows[] = {{pingreq, PacketType::pingreq}, {pingresp, PacketType::pingresp}};
    for (const auto& row : rows) {
        mqtt::Empty packet;
        packet.type = row.type;
        encodes(packet, row.golden);
        CHECK(decoded<mqtt::Empty>(row.golden).type == row.type);
        for (int flags = 0; flags < 16; ++flags) {
            const Octets bytes = {static_cast<uint8_t>(row.golden.bytes.data()[0] | flags), 0};
            CHECK(malformed<mqtt::Empty>(wire::view(bytes)) == (flags != 0));
        }
    }
}

// ------------------------------------------------------------------------------------------ 2.2.3 remaining length

TEST_CASE("the remaining length takes one to four bytes, the lowest seven bits first") {
    static const struct {
        uint32_t remaining;
        Octets header;
    } rows[] = {
        {3,         {0x30, 0x03}},                           // the smallest PUBLISH
        {127,       {0x30, 0x7F}},                           // table 2.4 of the specification: 1 byte
        {128,       {0x30, 0x80, 0x01}},                     // 2 bytes, from
        {321,       {0x30, 0xC1, 0x02}},                     // its example: 65 + 2 * 128
        {16383,     {0x30, 0xFF, 0x7F}},                     // to
        {16384,     {0x30, 0x80, 0x80, 0x01}},               // 3 bytes, from
        {2097151,   {0x30, 0xFF, 0xFF, 0x7F}},               // to
        {2097152,   {0x30, 0x80, 0x80, 0x80, 0x01}},         // 4 bytes, from
        {268435455, {0x30, 0xFF, 0xFF, 0xFF, 0x7F}},         // to
    };
    for (const auto& row : rows) {
        CAPTURE(row.remaining);
        // Written: a header whose payload follows from elsewhere.
        mqtt::Publish packet;
        packet.topic = "t";
        packet.payload = elsewhere(row.remaining - 3);
        Octets bytes = row.header;
        wire::append(bytes, {0, 1, 't'});   // topic
        encodes(packet, wire::view(bytes), Version::v3_1_1, false);

        // Read: from each beginning of it.
        mqtt::FixedHeader header;
        for (size_t size = 0; size < row.header.size(); ++size) {
            const Exact exact(row.header.data(), size);
            CHECK(mqtt::read_fixed_header(exact.data(), size, header) == Error::ok);
            CHECK(header.size == 0);
        }
        for (size_t size = row.header.size(); size <= bytes.size(); ++size) {
            const Exact exact(bytes.data(), size);
            CHECK(mqtt::read_fixed_header(exact.data(), size, header) == Error::ok);
            CHECK(header.size == row.header.size());
            CHECK(header.first_byte == 0x30);
            CHECK(header.type() == PacketType::publish);
            CHECK(header.remaining_length == row.remaining);
            CHECK(header.packet_size() == row.header.size() + row.remaining);
        }
    }
    mqtt::FixedHeader header;
    const uint8_t ping[] = {0xC0, 0};
    CHECK(mqtt::read_fixed_header(ping, 2, header) == Error::ok);
    CHECK(header.size == 2);
    CHECK(header.remaining_length == 0);
    CHECK(header.packet_size() == 2);
}

TEST_CASE("a PUBLISH on each side of each limit of the remaining length, remaining length >= 2,097,152 among them") {
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
        {2097153, {0x32, 0x81, 0x80, 0x80, 0x01}},
    };
    for (const auto& row : rows) {
        CAPTURE(row.remaining);
        Octets payload(row.remaining - 7);
        for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<uint8_t>(i * 7);
        Octets bytes = row.header;
        wire::append(bytes, {0, 3, 't', 'o', 'p', 0xA1, 0xB2});   // topic, packet id
        bytes.insert(bytes.end(), payload.begin(), payload.end());

        mqtt::Publish packet;
        packet.topic = "top";
        packet.qos = QoS::at_least_once;
        packet.packet_id = 0xA1B2;
        packet.payload = wire::view(payload);
        encodes(packet, wire::view(bytes));

        const Exact exact(bytes);
        packet = decoded<mqtt::Publish>(exact.view());
        CHECK(packet.topic == "top");
        CHECK(packet.packet_id == 0xA1B2);
        CHECK(difference(wire::view(payload), packet.payload) == "");
    }
}

TEST_CASE("what is beyond the largest remaining length is packet_too_large; the largest is only no_space") {
    uint8_t buffer[64];
    mqtt::Publish packet;
    packet.topic = "t";
    packet.payload = elsewhere(268435455 - 3);
    mqtt::Encoded out = mqtt::encode(packet, buffer);
    CHECK(out.error == Error::no_space);
    CHECK(out.size == 5 + 268435455);
    packet.payload = elsewhere(268435455 - 2);
    CHECK(refuses(packet, Error::packet_too_large));
    CHECK(mqtt::encode(packet, buffer, Version::v3_1_1, false).error == Error::packet_too_large);
    packet.payload = elsewhere(SIZE_MAX);   // the sum of the lengths wraps around
    CHECK(refuses(packet, Error::packet_too_large));
    CHECK(mqtt::encode(packet, buffer, Version::v3_1_1, false).error == Error::packet_too_large);
}

// ------------------------------------------------------------------------------------------ long strings and bodies

TEST_CASE("strings over 255 bytes, up to 65535, are written and read, in bodies with every size of fixed header") {
    static const struct {
        uint16_t length;
        Octets connect, subscribe;   // their fixed headers; remaining lengths length + 12 and length + 5
    } rows[] = {
        {115,   {0x10, 0x7F},             {0x82, 0x78}},               // 127, 120
        {116,   {0x10, 0x80, 0x01},       {0x82, 0x79}},               // 128, 121
        {123,   {0x10, 0x87, 0x01},       {0x82, 0x80, 0x01}},         // 135, 128
        {255,   {0x10, 0x8B, 0x02},       {0x82, 0x84, 0x02}},         // 267, 260
        {256,   {0x10, 0x8C, 0x02},       {0x82, 0x85, 0x02}},         // 268, 261
        {16371, {0x10, 0xFF, 0x7F},       {0x82, 0xF8, 0x7F}},         // 16383, 16376
        {16372, {0x10, 0x80, 0x80, 0x01}, {0x82, 0xF9, 0x7F}},         // 16384, 16377
        {16379, {0x10, 0x87, 0x80, 0x01}, {0x82, 0x80, 0x80, 0x01}},   // 16391, 16384
        {65535, {0x10, 0x8B, 0x80, 0x04}, {0x82, 0x84, 0x80, 0x04}},   // 65547, 65540
    };
    for (const auto& row : rows) {
        CAPTURE(row.length);
        std::string text(row.length, 'x');
        text.front() = '<';
        text.back() = '>';
        const uint8_t high = static_cast<uint8_t>(row.length / 256), low = static_cast<uint8_t>(row.length % 256);

        mqtt::Connect connect;
        connect.client_id = text;
        Octets bytes = row.connect;
        wire::append(bytes, {0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, high, low});
        wire::append(bytes, text);
        encodes(connect, wire::view(bytes));
        const Exact connect_bytes(bytes);
        CHECK(difference(text, decoded<mqtt::Connect>(connect_bytes.view()).client_id) == "");

        const mqtt::Subscription one{text, QoS::exactly_once};
        mqtt::Subscribe subscribe;
        subscribe.packet_id = 5;
        subscribe.filters = mqtt::Subscriptions(&one, 1);
        bytes = row.subscribe;
        wire::append(bytes, {0, 5, high, low});
        wire::append(bytes, text);
        wire::append(bytes, {2});
        encodes(subscribe, wire::view(bytes));
        const Exact subscribe_bytes(bytes);
        subscribe = decoded<mqtt::Subscribe>(subscribe_bytes.view());
        mqtt::Subscription got;
        REQUIRE(subscribe.filters.next(got));
        CHECK(difference(text, got.filter) == "");
        CHECK(got.qos == QoS::exactly_once);
    }
}

TEST_CASE("each field of CONNECT and PUBLISH may have 65535 bytes, and none 65536") {
    const std::string longest(65535, 'x'), longer(65536, 'x');
    mqtt::Connect connect;
    connect.flags = 0xC6;   // user name, password, will, clean session
    connect.client_id = connect.will_topic = connect.user_name = longest;
    connect.will_message = connect.password = longest;
    Octets bytes = {0x10, 0x8F, 0x80, 0x14};   // remaining length 10 + 5 * 65537 = 327695 = 15 + 0 * 128 + 20 * 16384
    wire::append(bytes, {0, 4, 'M', 'Q', 'T', 'T', 4, 0xC6, 0, 0});
    for (int i = 0; i < 5; ++i) {
        wire::append(bytes, {0xFF, 0xFF});
        wire::append(bytes, longest);
    }
    encodes(connect, wire::view(bytes));
    CHECK(decoded<mqtt::Connect>(wire::view(bytes)).password.size() == 65535);

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
    bytes = {0x30, 0x81, 0x80, 0x04, 0xFF, 0xFF};   // remaining length 65537, topic
    wire::append(bytes, longest);
    encodes(publish, wire::view(bytes));
    CHECK(difference(longest, decoded<mqtt::Publish>(wire::view(bytes)).topic) == "");
    publish.topic = longer;
    CHECK(refuses(publish, Error::invalid_topic));

    const mqtt::Subscription one{longer, QoS::at_most_once};
    mqtt::Subscribe subscribe;
    subscribe.packet_id = 1;
    subscribe.filters = mqtt::Subscriptions(&one, 1);
    CHECK(refuses(subscribe, Error::invalid_filter));
}

TEST_CASE("a SUBSCRIBE beyond 2 MiB, whose body has to make room for a fixed header of five bytes") {
    const std::string text(65535, 'y');
    const std::vector<mqtt::Subscription> list(32, {text, QoS::at_least_once});
    mqtt::Subscribe packet;
    packet.packet_id = 0x0203;
    packet.filters = mqtt::Subscriptions(list.data(), list.size());
    Octets bytes = {0x82, 0xC2, 0x80, 0x80, 0x01};   // remaining length 2 + 32 * 65538 = 2097218 = 66 + 1 * 2097152
    wire::append(bytes, {2, 3});
    for (int i = 0; i < 32; ++i) {
        wire::append(bytes, {0xFF, 0xFF});
        wire::append(bytes, text);
        wire::append(bytes, {1});
    }
    const Exact exact(bytes.size());
    const mqtt::Encoded out = mqtt::encode(packet, exact.buffer());
    CHECK(out.error == Error::ok);
    CHECK(out.size == bytes.size());
    CHECK(difference(wire::view(bytes), exact.view()) == "");
    const Exact smaller(bytes.size() - 1);
    CHECK(mqtt::encode(packet, smaller.buffer()).error == Error::no_space);
    CHECK(decoded<mqtt::Subscribe>(exact.view()).filters.size() == 32);
}

// ------------------------------------------------------------------------------------------ what is not written

TEST_CASE("[MQTT-3.1.2-3] [MQTT-3.1.2-13] [MQTT-3.1.2-14] [MQTT-3.1.2-15] [MQTT-3.1.2-22] "
          "CONNECT is not written with flags that are reserved or do not go together") {
    static const uint8_t wrong[] = {
        0x03,   // reserved bit 0
        0x0A,   // will QoS 1 without will
        0x12,   // will QoS 2 without will
        0x1A,   // will QoS 3 without will
        0x1E,   // will QoS 3
        0x3E,   // will QoS 3, retained
        0x22,   // will retain without will
        0x42,   // password without user name
        0x46,   // the same, with a will
    };
    for (const uint8_t flags : wrong) {
        mqtt::Connect packet;
        packet.flags = flags;
        packet.will_topic = "t";
        CHECK(refuses(packet, Error::invalid_argument));
    }
}

TEST_CASE("[MQTT-3.2.2-4] CONNACK is not written with reserved flags, an unknown code, or a session and a refusal") {
    for (int flags = 0; flags < 256; ++flags) {
        for (int code = 0; code < 256; ++code) {
            mqtt::Connack packet;
            packet.flags = static_cast<uint8_t>(flags);
            packet.reason = static_cast<ReasonCode>(code);
            const bool known = code == 0 || (code >= 0x84 && code <= 0x88);   // those that table 3.1 has a code for
            const bool legal = (flags == 0 && known) || (flags == 1 && code == 0);
            if (refuses(packet, Error::invalid_argument) == legal) FAIL_CHECK("flags " << flags << ", code " << code);
        }
    }
}

TEST_CASE("[MQTT-2.3.1-1] no packet that has a packet id is written with id 0") {
    mqtt::Publish publish;
    publish.topic = "t";
    publish.qos = QoS::at_least_once;
    CHECK(refuses(publish, Error::invalid_argument));
    publish.qos = QoS::exactly_once;
    CHECK(refuses(publish, Error::invalid_argument));
    publish.qos = static_cast<QoS>(3);
    publish.packet_id = 1;
    CHECK(refuses(publish, Error::invalid_argument));   // [MQTT-3.3.1-4]

    const mqtt::Subscription one{"t", QoS::at_most_once};
    mqtt::Subscribe subscribe;
    subscribe.filters = mqtt::Subscriptions(&one, 1);
    CHECK(refuses(subscribe, Error::invalid_argument));
    subscribe.type = PacketType::unsubscribe;
    CHECK(refuses(subscribe, Error::invalid_argument));

    const uint8_t code[] = {0};
    mqtt::Suback suback;
    suback.reason_codes = code;
    CHECK(refuses(suback, Error::invalid_argument));
}

TEST_CASE("[MQTT-3.3.2-2] [MQTT-4.7.1-1] PUBLISH and the will are not written with a wildcard, or without a topic") {
    mqtt::Publish publish;
    mqtt::Connect connect;
    connect.flags = 0x06;   // will, clean session
    const std::string_view wrong[] = {"", "+", "#", "a/+", "a/#", "a+b", "a#", std::string_view("a\0b", 3), "\xFF"};
    for (const std::string_view topic : wrong) {
        publish.topic = connect.will_topic = topic;
        CHECK(refuses(publish, Error::invalid_topic));
        CHECK(refuses(connect, Error::invalid_topic));
    }
}

TEST_CASE("[MQTT-3.8.3-3] [MQTT-3.8.3-4] [MQTT-3.10.3-2] SUBSCRIBE and UNSUBSCRIBE are not written with an empty list, "
          "a filter that is none, or QoS 3") {
    mqtt::Subscribe packet;
    packet.packet_id = 1;
    for (const PacketType type : {PacketType::subscribe, PacketType::unsubscribe}) {
        packet.type = type;
        packet.filters = mqtt::Subscriptions();
        CHECK(refuses(packet, Error::invalid_argument));
        const std::string_view wrong[] = {"", "a#", "#/a", "a+", "+a", std::string_view("\0", 1), "\xC0\x80", "\xED\xA0\x80"};
        for (const std::string_view filter : wrong) {
            const mqtt::Subscription list[] = {{"good"}, {filter}};
            packet.filters = mqtt::Subscriptions(list, 2);
            CHECK(refuses(packet, Error::invalid_filter));
        }
    }
    packet.type = PacketType::subscribe;
    for (int qos = 0; qos < 256; ++qos) {
        const mqtt::Subscription one{"t", static_cast<QoS>(qos)};
        packet.filters = mqtt::Subscriptions(&one, 1);
        CHECK(refuses(packet, Error::invalid_argument) == (qos > 2));
    }
}

TEST_CASE("[MQTT-3.9.3-2] SUBACK is not written without codes, or with others than 0, 1, 2 and 0x80") {
    mqtt::Suback packet;
    packet.packet_id = 1;
    CHECK(refuses(packet, Error::invalid_argument));
    for (int code = 0; code < 256; ++code) {
        const uint8_t codes[] = {1, static_cast<uint8_t>(code), 0x80};
        packet.reason_codes = codes;
        CHECK(refuses(packet, Error::invalid_argument) == (code > 2 && code != 0x80));
    }
}

TEST_CASE("what only MQTT 5 has, reason codes and properties and options, is not written in 3.1.1, whatever it is") {
    static const uint8_t wrong[] = {0xFF, 0xFF};   // no property, either
    const mqtt::Properties properties = wrong;
    mqtt::Connect connect;
    connect.properties = connect.more = connect.will_properties = properties;
    encodes(connect, connect_smallest);
    mqtt::Connack connack;
    connack.properties = properties;
    encodes(connack, connack_accepted);
    mqtt::Publish publish;
    publish.topic = "t";
    publish.properties = publish.more = properties;
    encodes(publish, publish_smallest);
    mqtt::Ack ack;
    ack.packet_id = 1;
    ack.reason = ReasonCode::quota_exceeded;
    ack.properties = properties;
    encodes(ack, puback);
    mqtt::Subscription one{"#", QoS::at_most_once};
    one.no_local = one.retain_as_published = true;
    one.retain_handling = mqtt::RetainHandling::do_not_send;
    mqtt::Subscribe subscribe;
    subscribe.packet_id = 1;
    subscribe.properties = properties;
    subscribe.filters = mqtt::Subscriptions(&one, 1);
    encodes(subscribe, subscribe_one);
    const uint8_t code[] = {0};
    mqtt::Suback suback;
    suback.packet_id = 1;
    suback.properties = properties;
    suback.reason_codes = code;
    encodes(suback, suback_one);
    mqtt::Disconnect last;
    last.reason = ReasonCode::server_busy;
    last.properties = properties;
    encodes(last, disconnect);
}

TEST_CASE("a packet is not written by a struct that is for other types, or under a version that is none") {
    for (int value = 0; value < 16; ++value) {
        CAPTURE(value);
        const PacketType type = static_cast<PacketType>(value);
        const mqtt::Subscription one{"t", QoS::at_most_once};
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
        CHECK(refuses(last, Error::invalid_argument) == (value != 14));
    }
    mqtt::Empty empty;
    for (int version = 0; version < 256; ++version) {
        if (version == 4 || (mqtt::has_v5 && version == 5)) continue;
        if (!refuses(empty, Error::invalid_argument, static_cast<Version>(version))) FAIL_CHECK("version " << version);
        if (!malformed<mqtt::Empty>(pingreq.bytes.view(), static_cast<Version>(version))) FAIL_CHECK("version " << version);
    }
}

TEST_CASE("the first thing that is wrong decides about the error, also when there is no space") {
    mqtt::Connect packet;
    packet.flags = 0x06;   // will, clean session
    packet.client_id = "\xFF";
    packet.will_topic = "#";
    CHECK(refuses(packet, Error::invalid_string));
    const mqtt::Encoded out = mqtt::encode(packet, mqtt::Buffer());
    CHECK(out.error == Error::invalid_string);
    CHECK(out.size == 0);
}
