// MQTT 5: CONNECT with every option, CONNACK with every answer, each rule of connecting that a server can break, with the
// reason code with which the client disconnects, and how that DISCONNECT is written; keep-alive and time-outs.
// Sections 3.1, 3.2, 3.12, 3.14 and 4.13 of MQTT 5.0.
#include "tests/support/peer5.hpp"

#include <set>

namespace {

using mqtt::Bytes;
using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Retain;
using test::bytes;
using test::connack;
using test::Memory;
using test::packet;
using test::properties;
using test::Session5;
using test::text;
namespace prop = mqtt::prop;

// CONNECT of client id "c" with a clean session, 60 seconds of keep-alive and Receive Maximum 20, as Session5 has it.
const std::string plain_connect =
    bytes({0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
const std::string accepted = bytes({0x20, 3, 0, 0, 0});

std::string name(Error error) { return mqtt::to_string(error); }

void writes_connect(Session5& s, std::initializer_list<int> wanted) {
    REQUIRE(s.client.connect(s.options).ok());
    s.expects(wanted);
    CHECK(s.client.version() == mqtt::Version::v5);
}

// connect() says `error`, and nothing has changed: no connection is opened, and connect() works afterwards.
void refuses_connect(Session5& s, Error error) {
    const mqtt::ConnectOptions good = Session5().options;
    CHECK(name(s.client.connect(s.options).error) == name(error));
    CHECK(s.client.disconnect().error == Error::not_started);
    CHECK(s.client.idle_ms() == mqtt::forever);
    CHECK(s.next().kind == Event::none);
    CHECK(s.port.opens == 0);
    CHECK(s.client.connect(good).ok());
    s.expects(plain_connect);
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
}

// CONNECT is written, and the server answers.
void answers(Session5& s, const std::string& answer) {
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    REQUIRE(!s.port.from_client.empty());
    s.port.from_client.clear();
    s.sends(answer);
}

// It still works, and nothing of what went wrong is left.
void lives(Session5& s) {
    s.reconnect();
    CHECK(s.client.publish("t", "x").ok());
    s.expects({0x30, 5, 0, 1, 't', 0, 'x'});
    s.sends({0x30, 5, 0, 1, 'u', 0, 'y'});
    CHECK(s.expect_event(Event::received).message.topic == "u");
    s.lose();
}

// This answer to CONNECT ends in DISCONNECT with this reason, whether it comes at once or byte by byte, and the next
// attempt is a good one.
void refuses_connack(const std::string& answer, int reason, Error error, const Memory& memory = {}) {
    INFO(test::hex(answer));
    for (const size_t piece : {size_t(1), size_t(1000)}) {
        Session5 s(memory);
        s.port.read_limit = piece;
        answers(s, answer);
        s.rejects_with(reason, error);
        lives(s);
    }
}
void is_malformed(const std::string& answer) { refuses_connack(answer, 0x81, Error::malformed_packet); }
void is_protocol_error(const std::string& answer) { refuses_connack(answer, 0x82, Error::protocol_error); }

struct Row {
    std::string what;
    std::string bytes;
};

// Every packet of MQTT 5 but CONNACK and AUTH, well-formed. Of each kind, what a server sends comes first.
const Row others[] = {
    {"PUBLISH, QoS 0", bytes({0x30, 5, 0, 1, 't', 0, 'x'})},
    {"PUBLISH, QoS 1", bytes({0x32, 7, 0, 1, 't', 0, 1, 0, 'x'})},
    {"PUBLISH, QoS 2", bytes({0x34, 7, 0, 1, 't', 0, 1, 0, 'x'})},
    {"PUBACK", bytes({0x40, 2, 0, 1})},
    {"PUBREC", bytes({0x50, 2, 0, 1})},
    {"PUBREL", bytes({0x62, 2, 0, 1})},
    {"PUBCOMP", bytes({0x70, 2, 0, 1})},
    {"SUBACK", bytes({0x90, 4, 0, 1, 0, 0})},
    {"UNSUBACK", bytes({0xB0, 4, 0, 1, 0, 0})},
    {"PINGRESP", bytes({0xD0, 0})},
    {"DISCONNECT", bytes({0xE0, 0})},
    {"DISCONNECT, server busy", bytes({0xE0, 1, 0x89})},
};
const Row only_of_clients[] = {
    {"CONNECT", bytes({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 0})},
    {"SUBSCRIBE", bytes({0x82, 7, 0, 1, 0, 0, 1, 'f', 0})},
    {"UNSUBSCRIBE", bytes({0xA2, 6, 0, 1, 0, 0, 1, 'f'})},
    {"PINGREQ", bytes({0xC0, 0})},
};

// Of the 27 properties, those that CONNACK may have, with a good value; and the others.
struct Known {
    std::string name;
    std::string bytes;
};
const Known of_connack[] = {
    {"Session Expiry Interval", bytes({0x11, 0, 0, 0, 10})},
    {"Assigned Client Identifier", bytes({0x12, 0, 1, 'a'})},
    {"Server Keep Alive", bytes({0x13, 0, 10})},
    {"Response Information", bytes({0x1A, 0, 1, 'r'})},
    {"Server Reference", bytes({0x1C, 0, 1, 's'})},
    {"Reason String", bytes({0x1F, 0, 1, 'w'})},
    {"Receive Maximum", bytes({0x21, 0, 10})},
    {"Topic Alias Maximum", bytes({0x22, 0, 10})},
    {"Maximum QoS", bytes({0x24, 1})},
    {"Retain Available", bytes({0x25, 1})},
    {"Maximum Packet Size", bytes({0x27, 0, 0, 1, 0})},
    {"Wildcard Subscription Available", bytes({0x28, 1})},
    {"Subscription Identifier Available", bytes({0x29, 1})},
    {"Shared Subscription Available", bytes({0x2A, 1})},
};
const Known not_of_connack[] = {
    {"Payload Format Indicator", bytes({0x01, 1})},
    {"Message Expiry Interval", bytes({0x02, 0, 0, 0, 10})},
    {"Content Type", bytes({0x03, 0, 1, 'c'})},
    {"Response Topic", bytes({0x08, 0, 1, 'r'})},
    {"Correlation Data", bytes({0x09, 0, 1, 'd'})},
    {"Subscription Identifier", bytes({0x0B, 1})},
    {"Request Problem Information", bytes({0x17, 1})},
    {"Will Delay Interval", bytes({0x18, 0, 0, 0, 10})},
    {"Request Response Information", bytes({0x19, 1})},
    {"Topic Alias", bytes({0x23, 0, 1})},
};

// CONNACK's reason codes (5: table 3-1), and those of DISCONNECT that a server may send (table 3-10; 0x8C stands in table
// 2-6 only).
const std::set<int> connack_codes = {0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
                                     0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F};

}  // namespace

// ----------------------------------------------------------------------------------------------------- CONNECT

TEST_CASE("MQTT 5 [MQTT-3.1.0-1], [MQTT-3.1.2-1], [MQTT-3.1.2-2], [MQTT-3.1.2-3] a connection begins with CONNECT of version 5, its reserved flag 0, and nothing else is written before CONNACK") {
    Session5 s;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.publish("t", "x").ok());
    CHECK(s.client.subscribe("f", QoS::at_most_once).ok());
    s.expects({0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
    CHECK(s.port.host == "server");
    CHECK(s.port.port == 1883);
    s.pass(29000);
    s.quiet();
    CHECK_FALSE(s.client.connected());
    s.sends(accepted);
    s.expect_event(Event::connected);
    CHECK(s.client.connected());
    s.expects({0x30, 5, 0, 1, 't', 0, 'x', 0x82, 7, 0, 1, 0, 0, 1, 'f', 0});
}

TEST_CASE("MQTT 5 [MQTT-3.1.0-2] there is one CONNECT on a connection, however often connect() is called") {
    Session5 s;
    s.connect();
    CHECK(s.client.connect(s.options).error == Error::already_started);
    s.quiet();
    s.lose();
    CHECK(s.client.connect(s.options).error == Error::already_started);
    s.port.clock += s.options.reconnect_max_ms;
    s.expects(plain_connect);
    CHECK(s.client.connect(s.options).error == Error::already_started);
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-2.2.2-1] a CONNECT and a will without properties still have their length, 0") {
    Memory memory;
    memory.tx = 16 + 3 * 65536;
    memory.receive_maximum = 65535;   // the default of the specification: it is not said
    Session5 s(memory);
    SUBCASE("CONNECT") {
        writes_connect(s, {0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 0, 0, 1, 'c'});
    }
    SUBCASE("will") {
        s.options.will = {"w", "bye", QoS::at_most_once, Retain::no};
        writes_connect(s, {0x10, 23, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 60, 0, 0, 1, 'c',
                           0, 0, 1, 'w', 0, 3, 'b', 'y', 'e'});
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-4], [MQTT-3.1.2-23] Clean Start and Session Expiry Interval are those of the options, the first with its first connection only") {
    Session5 s;
    SUBCASE("a clean session: Clean Start 1, and no expiry, which ends it with the connection") {
        writes_connect(s, {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
        s.sends(accepted);
        s.expect_event(Event::connected);
        s.lose();
        s.port.clock += s.options.reconnect_max_ms;
        s.expects({0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
    }
    SUBCASE("a clean session has no expiry, whatever else the options say") {
        s.options.session_expiry_interval = 100;
        s.options.clean_start = true;
        writes_connect(s, {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
    }
    SUBCASE("one that is kept, for ever: Clean Start 0") {
        s.options.clean_session = false;
        writes_connect(s, {0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 8,
                           0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 20, 0, 1, 'c'});
    }
    SUBCASE("for a day") {
        s.options.clean_session = false;
        s.options.session_expiry_interval = 86400;
        writes_connect(s, {0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 8,
                           0x11, 0x00, 0x01, 0x51, 0x80, 0x21, 0, 20, 0, 1, 'c'});
    }
    SUBCASE("resumed, and then not kept") {
        s.options.clean_session = false;
        s.options.session_expiry_interval = 0;
        writes_connect(s, {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
    }
    SUBCASE("begun anew, and then kept") {
        s.options.clean_session = false;
        s.options.clean_start = true;
        s.options.session_expiry_interval = 10;
        const std::initializer_list<int> clean = {0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 8,
                                                  0x11, 0, 0, 0, 10, 0x21, 0, 20, 0, 1, 'c'};
        const std::initializer_list<int> resumed = {0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 8,
                                                    0x11, 0, 0, 0, 10, 0x21, 0, 20, 0, 1, 'c'};
        writes_connect(s, clean);
        s.port.cut = true;   // until it has succeeded once
        s.expect_event(Event::disconnected);
        s.port.clock += s.options.reconnect_max_ms;
        s.expects(clean);
        s.sends(accepted);
        s.expect_event(Event::connected);
        for (int i = 0; i < 3; ++i) {
            s.lose();
            s.port.clock += s.options.reconnect_max_ms;
            s.expects(resumed);
            s.sends(connack({}, 1));
            CHECK(s.expect_event(Event::connected).session_present);
        }
        CHECK(s.client.disconnect().ok());
        s.expect_event(Event::disconnected);
        s.port.from_client.clear();
        writes_connect(s, clean);   // connect() begins one again
    }
}

TEST_CASE("MQTT 5 what the client can take goes out with CONNECT") {
    Memory memory;
    SUBCASE("Receive Maximum 1") {
        memory.receive_maximum = 1;
        Session5 s(memory);
        writes_connect(s, {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 1, 0, 1, 'c'});
    }
    SUBCASE("Receive Maximum 65534") {
        memory.receive_maximum = 65534;
        memory.tx = 16 + 3 * 65536;
        Session5 s(memory);
        writes_connect(s, {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0xFF, 0xFE, 0, 1, 'c'});
    }
    SUBCASE("Maximum Packet Size") {
        Session5 s(memory);
        s.options.maximum_packet_size = 0x00012345;
        writes_connect(s, {0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 8,
                           0x21, 0, 20, 0x27, 0, 1, 0x23, 0x45, 0, 1, 'c'});
    }
    SUBCASE("Topic Alias Maximum") {
        memory.topic_alias_maximum = 300;
        memory.received_aliases = 1200;
        Session5 s(memory);
        writes_connect(s, {0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 6,
                           0x21, 0, 20, 0x22, 1, 44, 0, 1, 'c'});
    }
    SUBCASE("everything at once, behind what the application adds") {
        memory.topic_alias_maximum = 2;
        memory.received_aliases = 8;
        Session5 s(memory);
        s.options.clean_session = false;
        s.options.session_expiry_interval = 1;
        s.options.maximum_packet_size = 1000;
        static constexpr auto added = mqtt::PropertyBuffer<16>()
                                          .add(prop::request_response_information, 1)
                                          .add(prop::request_problem_information, 0)
                                          .add(prop::user_property, {"k", "v"});
        s.options.properties = added;
        writes_connect(s, {0x10, 41, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 27,
                           0x19, 1, 0x17, 0, 0x26, 0, 1, 'k', 0, 1, 'v',
                           0x11, 0, 0, 0, 1, 0x21, 0, 20, 0x27, 0, 0, 3, 0xE8, 0x22, 0, 2, 0, 1, 'c'});
    }
}

TEST_CASE("MQTT 5 [MQTT-1.5.5-1] the length of 128 bytes of properties takes two bytes") {
    Session5 s;
    mqtt::PropertyBuffer<200> added;
    const std::string value(119, 'v');
    added.add(prop::user_property, {"k", value});   // 1 + 2 + 1 + 2 + 119, and 3 of Receive Maximum: 128
    SUBCASE("128") {
        s.options.properties = added;
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(packet(0x10, text("MQTT") + bytes({5, 0x02, 0, 60, 0x80, 1, 0x26, 0, 1, 'k', 0, 119}) + value +
                                   bytes({0x21, 0, 20, 0, 1, 'c'})));
    }
    SUBCASE("127") {
        added.clear();
        added.add(prop::user_property, {"", value});
        s.options.properties = added;
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(packet(0x10, text("MQTT") + bytes({5, 0x02, 0, 60, 127, 0x26, 0, 0, 0, 119}) + value +
                                   bytes({0x21, 0, 20, 0, 1, 'c'})));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-16], [MQTT-3.1.2-17], [MQTT-3.1.2-18], [MQTT-3.1.2-19] user name and password go out with their flags, a password also alone") {
    Session5 s;
    SUBCASE("neither") {
        writes_connect(s, {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
    }
    SUBCASE("both") {
        s.options.user_name = "u";
        s.options.password = "pw";
        writes_connect(s, {0x10, 24, 0, 4, 'M', 'Q', 'T', 'T', 5, 0xC2, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c',
                           0, 1, 'u', 0, 2, 'p', 'w'});
    }
    SUBCASE("only a user name") {
        s.options.user_name = "u";
        writes_connect(s, {0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x82, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c', 0, 1, 'u'});
    }
    SUBCASE("only a password, which is bytes and not text") {
        const uint8_t password[] = {0, 0xFF, 'p'};
        s.options.password = password;
        writes_connect(s, {0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x42, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c',
                           0, 3, 0, 0xFF, 'p'});
    }
    SUBCASE("both empty") {
        s.options.user_name = "";
        s.options.password = "";
        writes_connect(s, {0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 5, 0xC2, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c', 0, 0, 0, 0});
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-9], [MQTT-3.1.2-12] a will goes out as properties, topic and payload, with its flag, QoS and retain") {
    Session5 s;
    s.options.will = {"w", "bye", QoS::at_most_once, Retain::no};
    SUBCASE("QoS 0") {
        writes_connect(s, {0x10, 26, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c',
                           0, 0, 1, 'w', 0, 3, 'b', 'y', 'e'});
    }
    SUBCASE("QoS 1") {
        s.options.will.qos = QoS::at_least_once;
        writes_connect(s, {0x10, 26, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x0E, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c',
                           0, 0, 1, 'w', 0, 3, 'b', 'y', 'e'});
    }
    SUBCASE("QoS 2 and retain") {
        s.options.will.qos = QoS::exactly_once;
        s.options.will.retain = Retain::yes;
        writes_connect(s, {0x10, 26, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x36, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c',
                           0, 0, 1, 'w', 0, 3, 'b', 'y', 'e'});
    }
    SUBCASE("no payload") {
        s.options.will.message = {};
        writes_connect(s, {0x10, 23, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c',
                           0, 0, 1, 'w', 0, 0});
    }
    SUBCASE("all properties") {
        static constexpr uint8_t data[] = {'d'};
        static constexpr auto all = mqtt::PropertyBuffer<64>()
                                        .add(prop::will_delay_interval, 5)
                                        .add(prop::payload_format_indicator, 1)
                                        .add(prop::message_expiry_interval, 0x0A0B0C0D)
                                        .add(prop::content_type, "text")
                                        .add(prop::response_topic, "r/t")
                                        .add(prop::correlation_data, data)
                                        .add(prop::user_property, {"k", "v"})
                                        .add(prop::user_property, {"k", "w"});
        s.options.will.properties = all;
        writes_connect(s, {0x10, 69, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c',
                           43, 0x18, 0, 0, 0, 5, 0x01, 1, 0x02, 0x0A, 0x0B, 0x0C, 0x0D, 0x03, 0, 4, 't', 'e', 'x', 't',
                           0x08, 0, 3, 'r', '/', 't', 0x09, 0, 1, 'd', 0x26, 0, 1, 'k', 0, 1, 'v', 0x26, 0, 1, 'k', 0, 1, 'w',
                           0, 1, 'w', 0, 3, 'b', 'y', 'e'});
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-11], [MQTT-3.1.2-13] without a will its QoS and retain bits are 0, and its properties stay away") {
    Session5 s;
    static constexpr auto delay = mqtt::PropertyBuffer<8>().add(prop::will_delay_interval, 5);
    s.options.will.message = "bye";   // but no topic: no will
    s.options.will.qos = QoS::exactly_once;
    s.options.will.retain = Retain::yes;
    s.options.will.properties = delay;
    writes_connect(s, {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
}

TEST_CASE("MQTT 5 [MQTT-3.1.3-1], [MQTT-3.1.3-3] the payload is client id, will properties, will topic, will payload, user name, password") {
    Session5 s;
    static constexpr auto delay = mqtt::PropertyBuffer<8>().add(prop::will_delay_interval, 5);
    s.options.clean_session = false;
    s.options.client_id = "id";
    s.options.will = {"w", "b", QoS::at_least_once, Retain::yes, delay};
    s.options.user_name = "u";
    s.options.password = "p";
    writes_connect(s, {0x10, 41, 0, 4, 'M', 'Q', 'T', 'T', 5, 0xEC, 0, 60, 8, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 20,
                       0, 2, 'i', 'd', 5, 0x18, 0, 0, 0, 5, 0, 1, 'w', 0, 1, 'b', 0, 1, 'u', 0, 1, 'p'});
}

TEST_CASE("MQTT 5 [MQTT-3.1.3-4], [MQTT-3.1.3-11], [MQTT-3.1.3-12], [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.7-1] what is not valid text is refused before anything is sent") {
    const std::string bad[] = {"\xC3(", "\xED\xA0\x80", std::string("a\0b", 3), "\xC0\x80", "\xF4\x90\x80\x80"};
    for (const std::string& value : bad) {
        CAPTURE(test::hex(value));
        Session5 s;
        mqtt::PropertyBuffer<32> list;
        Error error = Error::invalid_string;
        SUBCASE("client id") { s.options.client_id = value; }
        SUBCASE("user name") { s.options.user_name = value; }
        SUBCASE("will topic") {
            s.options.will.topic = value;
            error = Error::invalid_topic;
        }
        SUBCASE("a user property's name") {
            s.options.properties = list.add(prop::user_property, {value, "v"});
            error = Error::invalid_properties;
        }
        SUBCASE("a user property's value") {
            s.options.properties = list.add(prop::user_property, {"k", value});
            error = Error::invalid_properties;
        }
        SUBCASE("the authentication method") {
            s.options.properties = list.add(prop::authentication_method, value);
            error = Error::invalid_properties;
        }
        SUBCASE("the will's content type") {
            s.options.will.topic = "w";
            s.options.will.properties = list.add(prop::content_type, value);
            error = Error::invalid_properties;
        }
        SUBCASE("the will's response topic") {
            s.options.will.topic = "w";
            s.options.will.properties = list.add(prop::response_topic, value);
            error = Error::invalid_properties;
        }
        refuses_connect(s, error);
    }
}

TEST_CASE("MQTT 5 [MQTT-1.5.4-3] U+FEFF is a character like any other") {
    Session5 s;
    s.options.client_id = "\xEF\xBB\xBF";
    writes_connect(s, {0x10, 19, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 3, 0xEF, 0xBB, 0xBF});
    s.sends(connack(bytes({0x1F, 0, 4, 0xEF, 0xBB, 0xBF, 'w'})));
    const auto why = s.expect_event(Event::connected).properties.get(prop::reason_string);
    REQUIRE(why.has_value());
    CHECK(*why == "\xEF\xBB\xBFw");
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-12] a will with QoS 3, a wildcard, or a payload that is too long is refused") {
    Session5 s;
    s.options.will = {"w", "bye", QoS::at_most_once, Retain::no};
    const std::string message(65536, 'x');
    SUBCASE("QoS 3") {
        s.options.will.qos = static_cast<QoS>(3);
        refuses_connect(s, Error::invalid_argument);
    }
    SUBCASE("wildcard") {
        s.options.will.topic = "w/#";
        refuses_connect(s, Error::invalid_topic);
    }
    SUBCASE("too long") {
        s.options.will.message = message;
        refuses_connect(s, Error::invalid_argument);
    }
}

TEST_CASE("MQTT 5 properties that the client sets by itself, that are not for CONNECT, or that are not legal there are refused") {
    const Row rows[] = {
        {"Session Expiry Interval", bytes({0x11, 0, 0, 0, 1})},
        {"Receive Maximum", bytes({0x21, 0, 1})},
        {"Maximum Packet Size", bytes({0x27, 0, 0, 1, 0})},
        {"Topic Alias Maximum", bytes({0x22, 0, 1})},
        {"authentication data without a method", bytes({0x16, 0, 1, 'd'})},
        {"a method twice", bytes({0x15, 0, 1, 'm', 0x15, 0, 1, 'm'})},
        {"Request Problem Information twice", bytes({0x17, 0, 0x17, 0})},
        {"Request Problem Information 2", bytes({0x17, 2})},
        {"Request Response Information 2", bytes({0x19, 2})},
        {"Request Response Information twice", bytes({0x19, 1, 0x19, 1})},
        {"Will Delay Interval, which is the will's", bytes({0x18, 0, 0, 0, 1})},
        {"Content Type", bytes({0x03, 0, 1, 't'})},
        {"Server Keep Alive, which is the server's", bytes({0x13, 0, 1})},
        {"Assigned Client Identifier", bytes({0x12, 0, 1, 'c'})},
        {"Reason String", bytes({0x1F, 0, 1, 'w'})},
        {"Topic Alias", bytes({0x23, 0, 1})},
        {"an unknown one", bytes({0x2B, 0})},
        {"the id 0", bytes({0x00})},
        {"a text cut short", bytes({0x15, 0, 2, 'm'})},
        {"a number cut short", bytes({0x17})},
        {"a pair without its value", bytes({0x26, 0, 1, 'k'})},
    };
    for (const Row& row : rows) {
        CAPTURE(row.what);
        Session5 s;
        s.options.properties = mqtt::Properties(reinterpret_cast<const uint8_t*>(row.bytes.data()), row.bytes.size());
        refuses_connect(s, Error::invalid_properties);
    }
}

TEST_CASE("MQTT 5 properties that a will must not have are refused") {
    const Row rows[] = {
        {"Topic Alias", bytes({0x23, 0, 1})},
        {"Subscription Identifier", bytes({0x0B, 1})},
        {"Session Expiry Interval", bytes({0x11, 0, 0, 0, 1})},
        {"Authentication Method", bytes({0x15, 0, 1, 'm'})},
        {"Will Delay Interval twice", bytes({0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1})},
        {"Payload Format Indicator 2", bytes({0x01, 2})},
        {"Response Topic with a wildcard", bytes({0x08, 0, 1, '#'})},
        {"an empty Response Topic", bytes({0x08, 0, 0})},
        {"an unknown one", bytes({0x2B, 0})},
    };
    for (const Row& row : rows) {
        CAPTURE(row.what);
        Session5 s;
        s.options.will.topic = "w";
        s.options.will.properties = mqtt::Properties(reinterpret_cast<const uint8_t*>(row.bytes.data()), row.bytes.size());
        refuses_connect(s, Error::invalid_properties);
    }
}

TEST_CASE("MQTT 5 a PropertyBuffer that was too small is refused") {
    Session5 s;
    mqtt::PropertyBuffer<6> list;
    s.options.properties = list.add(prop::user_property, {"k", "v"});   // takes 7
    CHECK_FALSE(list.ok());
    refuses_connect(s, Error::invalid_properties);
}

TEST_CASE("MQTT 5 rx has to hold CONNECT, to the byte, and connect_size() is enough") {
    Session5 exact(plain_connect.size());
    REQUIRE(exact.client.connect(exact.options).ok());
    exact.expects(plain_connect);
    exact.sends(accepted);
    exact.expect_event(Event::connected);
    Session5 small(plain_connect.size() - 1);
    CHECK(small.client.connect(small.options).error == Error::buffer_too_small);
    CHECK(small.client.idle_ms() == mqtt::forever);

    static constexpr auto user = mqtt::PropertyBuffer<16>().add(prop::user_property, {"k", "value"});
    static constexpr auto delay = mqtt::PropertyBuffer<8>().add(prop::will_delay_interval, 5);
    for (unsigned with = 0; with < 128; ++with) {
        CAPTURE(with);
        mqtt::ConnectOptions o = small.options;
        if ((with & 1) != 0) o.client_id = "twenty-three-characters";
        if ((with & 2) != 0) o.user_name = "user";
        if ((with & 4) != 0) o.password = "password";
        if ((with & 8) != 0) o.will = {"will/topic", "message", QoS::exactly_once, Retain::yes, delay};
        if ((with & 16) != 0) o.properties = user;
        if ((with & 32) != 0) o.clean_session = false;
        if ((with & 64) != 0) o.maximum_packet_size = 1000;
        Memory memory;
        memory.rx = mqtt::connect_size(o);
        memory.topic_alias_maximum = 10;
        memory.received_aliases = 40;
        Session5 s(memory);
        s.options = o;
        CHECK(s.client.connect(s.options).ok());
        s.run();
        CHECK(s.port.from_client.size() <= memory.rx);
    }
}

TEST_CASE("MQTT 5 memory for the topics of received aliases has to be 4 bytes each, at least") {
    Memory memory;
    memory.topic_alias_maximum = 10;
    memory.received_aliases = 39;
    Session5 s(memory);
    CHECK(s.client.connect(s.options).error == Error::buffer_too_small);
    CHECK(s.client.idle_ms() == mqtt::forever);
    s.quiet();
    s.options.version = mqtt::Version::v3_1_1;   // which has none
    CHECK(s.client.connect(s.options).ok());
}

TEST_CASE("MQTT 5 CONNECT goes out whole, however few bytes the port takes, and never half of it and then another") {
    for (size_t written = 1; written <= plain_connect.size(); ++written) {
        CAPTURE(written);
        Session5 s;
        s.port.write_limit = written;
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(plain_connect);
        s.sends(accepted);
        s.expect_event(Event::connected);

        Session5 t;
        t.port.write_limit = written;
        REQUIRE(t.client.connect(t.options).ok());
        (void)t.client.poll();
        CHECK(t.port.from_client == plain_connect.substr(0, written));
        t.port.cut = true;
        CHECK(name(t.expect_event(Event::disconnected).error) == "connection lost");
        t.port.clock += t.options.reconnect_max_ms;
        t.expects(plain_connect);
    }
}

// ----------------------------------------------------------------------------------------------------- CONNACK

TEST_CASE("MQTT 5 [MQTT-3.2.2-3] session present is told as the server says it, with all that it said") {
    static constexpr auto wish = mqtt::PropertyBuffer<4>().add(prop::request_response_information, 1);
    Session5 s;
    s.options.clean_session = false;
    s.options.properties = wish;
    CHECK_FALSE(s.connect().session_present);
    std::string all;
    for (const Known& known : of_connack) all += known.bytes;
    all += bytes({0x26, 0, 1, 'k', 0, 1, 'v', 0x26, 0, 1, 'k', 0, 2, 'w', 'w'});
    const Event event = s.reconnect(all, true);
    CHECK(event.session_present);
    CHECK(event.error == Error::ok);
    const mqtt::Properties& p = event.properties;
    CHECK(test::hex(p.block().text()) == test::hex(all));
    CHECK(p.get(prop::session_expiry_interval).value_or(0) == 10);
    CHECK(p.get(prop::assigned_client_identifier).value_or("") == "a");
    CHECK(p.get(prop::server_keep_alive).value_or(0) == 10);
    CHECK(p.get(prop::response_information).value_or("") == "r");
    CHECK(p.get(prop::server_reference).value_or("") == "s");
    CHECK(p.get(prop::reason_string).value_or("") == "w");
    CHECK(p.get(prop::receive_maximum).value_or(0) == 10);
    CHECK(p.get(prop::maximum_packet_size).value_or(0) == 256);
    mqtt::UserProperty pair;
    mqtt::Properties rest = p;
    REQUIRE(rest.next(prop::user_property, pair));
    CHECK(pair.value == "v");
    REQUIRE(rest.next(prop::user_property, pair));
    CHECK(pair.value == "ww");
    CHECK_FALSE(rest.next(prop::user_property, pair));
    CHECK(s.reconnect({}, true).properties.empty());   // they are those of one connection
}

TEST_CASE("MQTT 5 CONNACK is understood, cut at any byte, and in rx of its very size") {
    const std::string list = bytes({0x13, 0, 30, 0x1F, 0, 5, 'h', 'e', 'l', 'l', 'o', 0x26, 0, 1, 'k', 0, 1, 'v'});
    const std::string answer = connack(list);
    for (size_t cut = 1; cut < answer.size(); ++cut) {
        Session5 s(answer.size());
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(plain_connect);
        s.sends(answer.substr(0, cut));
        s.quiet();
        s.sends(answer.substr(cut));
        CHECK(s.expect_event(Event::connected).properties.get(prop::reason_string).value_or("") == "hello");
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-7], [MQTT-4.13.2-1] each refusal is told with its reason and properties, closes the connection without another word, and is tried again later") {
    for (const int code : connack_codes) {
        if (code == 0) continue;
        CAPTURE(code);
        Session5 s;
        const std::string list = bytes({0x1F, 0, 2, 'n', 'o', 0x26, 0, 1, 'k', 0, 1, 'v'});
        answers(s, connack(list, 0, code));
        if (code % 2 == 0) s.port.cut = true;   // the server closes behind it
        const Event event = s.expect_event(Event::disconnected);
        CHECK(name(event.error) == "connection refused");
        CHECK(static_cast<int>(event.reason) == code);
        CHECK(event.properties.get(prop::reason_string).value_or("") == "no");
        CHECK(event.properties.get(prop::user_property).value_or(mqtt::UserProperty{}).value == "v");
        CHECK_FALSE(s.port.is_open);
        s.quiet();
        lives(s);
        // Neither reason nor properties are told again for the next loss.
        s.reconnect();
        s.port.cut = true;
        const Event later = s.expect_event(Event::disconnected);
        CHECK(later.reason == ReasonCode::success);
        CHECK(later.properties.empty());
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-8] a reason code that is not one of CONNACK's is a protocol error") {
    for (int code = 1; code < 256; ++code)
        if (connack_codes.count(code) == 0) is_protocol_error(connack({}, 0, code));
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-1] the reserved flags of CONNACK are 0") {
    for (int flags = 2; flags < 256; ++flags) is_malformed(connack({}, flags));
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-2] session present after Clean Start 1 is a protocol error, on the first and on any other connection") {
    SUBCASE("a clean session") { is_protocol_error(connack({}, 1)); }
    SUBCASE("clean_start") {
        Session5 s;
        s.options.clean_session = false;
        s.options.clean_start = true;
        answers(s, connack({}, 1));
        s.rejects_with(0x82, Error::protocol_error);
        s.reconnect();
        s.reconnect({}, true);   // now it is not asked for
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-6] a refusal with session present is a protocol error") {
    Session5 s;
    s.options.clean_session = false;
    answers(s, connack({}, 1, 0x87));
    s.rejects_with(0x82, Error::protocol_error);
}

TEST_CASE("MQTT 5 a CONNACK that ends too early or too late is malformed") {
    is_malformed(bytes({0x20, 0}));
    is_malformed(bytes({0x20, 1, 0}));
    is_malformed(bytes({0x20, 2, 0, 0}));                 // as 3.1.1 accepts
    is_malformed(bytes({0x20, 3, 0, 0, 1}));              // one byte of properties is missing
    is_malformed(bytes({0x20, 4, 0, 0, 0, 0}));           // one byte behind them
    is_malformed(bytes({0x20, 5, 0, 0, 2, 0x13, 0}));     // a property cut short
    is_malformed(bytes({0x20, 6, 0, 0, 2, 0x13, 0, 10})); // by the length
    is_malformed(bytes({0x20, 6, 0, 0, 3, 0x1F, 0, 1}));
}

TEST_CASE("MQTT 5 [MQTT-1.5.5-1] lengths that are not in their shortest form, or too long, are malformed") {
    is_malformed(bytes({0x20, 0x83, 0x00, 0, 0, 0}));
    is_malformed(bytes({0x20, 4, 0, 0, 0x80, 0x00}));
    is_malformed(bytes({0x20, 0x83, 0x80, 0x80, 0x80, 0x01}));
    is_malformed(bytes({0x20, 8, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0}));
}

TEST_CASE("MQTT 5 [MQTT-1.5.4-1], [MQTT-1.5.4-2], [MQTT-1.5.7-1] bad text in CONNACK is malformed") {
    is_malformed(connack(bytes({0x1F, 0, 2, 0xC3, '('})));
    is_malformed(connack(bytes({0x1F, 0, 3, 0xED, 0xA0, 0x80})));
    is_malformed(connack(bytes({0x1F, 0, 1, 0})));
    is_malformed(connack(bytes({0x12, 0, 1, 0x80})));
    is_malformed(connack(bytes({0x26, 0, 1, 0xFF, 0, 1, 'v'})));
    is_malformed(connack(bytes({0x26, 0, 1, 'k', 0, 1, 0xFF})));
}

TEST_CASE("MQTT 5 a property in CONNACK that is not for it, or not known at all, is malformed") {
    for (const Known& known : not_of_connack) {
        CAPTURE(known.name);
        is_malformed(connack(known.bytes));
        is_malformed(connack(bytes({0x13, 0, 10}) + known.bytes));
    }
    std::set<int> unknown;
    for (int id = 0; id < 256; ++id) unknown.insert(id);
    for (const Known& known : of_connack) unknown.erase(known.bytes[0]);
    for (const Known& known : not_of_connack) unknown.erase(known.bytes[0]);
    for (const int id : {0x15, 0x16, 0x26}) unknown.erase(id);
    CHECK(unknown.size() == 256 - 27);
    for (const int id : unknown) is_malformed(connack(bytes({id, 0, 0, 0, 0})));
}

TEST_CASE("MQTT 5 a property twice in CONNACK is a protocol error, unless it is a user property") {
    for (const Known& known : of_connack) {
        CAPTURE(known.name);
        is_protocol_error(connack(known.bytes + known.bytes));
        is_protocol_error(connack(known.bytes + bytes({0x26, 0, 1, 'k', 0, 1, 'v'}) + known.bytes));
    }
}

TEST_CASE("MQTT 5 values that CONNACK's properties must not have are protocol errors") {
    is_protocol_error(connack(bytes({0x21, 0, 0})));                 // Receive Maximum 0
    is_protocol_error(connack(bytes({0x27, 0, 0, 0, 0})));           // Maximum Packet Size 0
    for (const int id : {0x24, 0x25, 0x28, 0x29, 0x2A})
        for (const int value : {2, 3, 255}) is_protocol_error(connack(bytes({id, value})));
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-28] Response Information that was not asked for is a protocol error") {
    is_protocol_error(connack(bytes({0x1A, 0, 1, 'r'})));
    Session5 s;
    mqtt::PropertyBuffer<2> wish;
    SUBCASE("asked not to") {
        s.options.properties = wish.add(prop::request_response_information, 0);
        answers(s, connack(bytes({0x1A, 0, 1, 'r'})));
        s.rejects_with(0x82, Error::protocol_error);
    }
    SUBCASE("asked to") {
        s.options.properties = wish.add(prop::request_response_information, 1);
        CHECK(s.connect(bytes({0x1A, 0, 1, 'r'})).properties.get(prop::response_information).value_or("") == "r");
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-29] without problem information, CONNACK and DISCONNECT still may have a reason string and user properties") {
    static constexpr auto quiet = mqtt::PropertyBuffer<2>().add(prop::request_problem_information, 0);
    const std::string list = bytes({0x1F, 0, 1, 'w', 0x26, 0, 1, 'k', 0, 1, 'v'});
    Session5 s;
    s.options.properties = quiet;
    CHECK(s.connect(list).properties.get(prop::reason_string).value_or("") == "w");
    s.sends(packet(0xE0, bytes({0x89}) + properties(list)));
    const Event event = s.expect_event(Event::disconnected);
    CHECK(name(event.error) == "server disconnected");
    CHECK(event.properties.get(prop::reason_string).value_or("") == "w");
}

TEST_CASE("MQTT 5 [MQTT-3.2.0-1], [MQTT-3.14.0-1] any packet but CONNACK before CONNACK, DISCONNECT too, is a protocol error, and is not answered otherwise") {
    for (const Row& row : others) {
        CAPTURE(row.what);
        is_protocol_error(row.bytes);
        is_protocol_error(row.bytes + accepted);
    }
    for (const Row& row : only_of_clients) {
        CAPTURE(row.what);
        is_protocol_error(row.bytes);
    }
    is_protocol_error(bytes({0xF0, 0}));   // AUTH, without an authentication method of ours
}

TEST_CASE("MQTT 5 [MQTT-3.2.0-2] a second CONNACK, and what only a client may send, is a protocol error") {
    const auto refused = [](const std::string& sent) {
        CAPTURE(test::hex(sent));
        Session5 s;
        s.connect();
        s.sends(sent + bytes({0x30, 5, 0, 1, 't', 0, 'x'}));
        s.rejects_with(0x82, Error::protocol_error);
        CHECK(s.port.closes == 1);
        lives(s);
    };
    refused(accepted);
    refused(connack({}, 0, 0x87));
    for (const Row& row : only_of_clients) refused(row.bytes);
}

TEST_CASE("MQTT 5 [MQTT-2.1.3-1], [MQTT-3.14.1-1], [MQTT-3.15.1-1] flags of the fixed header that a packet must not have are malformed, before and after CONNACK") {
    for (const int type : {0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0})
        for (int flags = 0; flags < 16; ++flags) {
            if (flags == (type == 0x60 ? 2 : 0)) continue;
            is_malformed(bytes({type | flags, 0}));
            Session5 s;
            s.connect();
            s.sends({type | flags, 2, 0, 1});
            s.rejects_with(0x81, Error::malformed_packet);
        }
    for (int first = 0; first < 16; ++first) {   // type 0
        Session5 s;
        s.connect();
        s.sends({first, 0});
        s.rejects_with(0x81, Error::malformed_packet);
    }
}

TEST_CASE("MQTT 5 PINGRESP has no body") {
    Session5 s;
    s.connect();
    s.sends({0xD0, 1, 0});
    s.rejects_with(0x81, Error::malformed_packet);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-24], [MQTT-3.2.2-19], [MQTT-3.2.2-20] a packet larger than our Maximum Packet Size, or than rx, is refused, CONNACK too") {
    const std::string reason_string = connack(bytes({0x1F, 0, 15}) + std::string(15, 'w'));
    const std::string user_property = connack(bytes({0x26, 0, 1, 'k', 0, 12}) + std::string(12, 'v'));
    CHECK(reason_string.size() == 23);
    CHECK(user_property.size() == 23);
    SUBCASE("the server was told") {
        for (const std::string& answer : {reason_string, user_property})
            for (const uint32_t maximum : {22U, 23U}) {
                Session5 s;
                s.options.maximum_packet_size = maximum;
                answers(s, answer);
                if (maximum == 22) s.rejects_with(0x95, Error::oversize_packet);
                else s.expect_event(Event::connected);
            }
    }
    SUBCASE("it was not, but there is no room") {
        for (const std::string& answer : {reason_string, user_property})
            for (const size_t rx : {22U, 23U}) {
                Session5 s(rx);
                answers(s, answer);
                if (rx == 22) s.rejects_with(0x95, Error::oversize_packet);
                else s.expect_event(Event::connected);
            }
    }
    SUBCASE("later, as soon as its length is known") {
        Session5 s;
        s.options.maximum_packet_size = 100;
        s.connect();
        s.sends(packet(0x30, bytes({0, 1, 't', 0}) + std::string(94, 'x')));   // 100 bytes in all
        CHECK(s.expect_event(Event::received).message.payload.size() == 94);
        s.sends({0x30, 99});
        s.rejects_with(0x95, Error::oversize_packet);
        lives(s);
    }
}

TEST_CASE("MQTT 5 a CONNACK with limits below what any answer needs is a protocol error") {
    for (int maximum = 1; maximum < 5; ++maximum) is_protocol_error(connack(bytes({0x27, 0, 0, 0, maximum})));
    Session5 s;
    s.connect(bytes({0x27, 0, 0, 0, 5}));
    s.sends({0x32, 7, 0, 1, 't', 0, 7, 0, 'x'});
    s.expect_event(Event::received);
    s.expects({0x40, 2, 0, 7});
}

TEST_CASE("MQTT 5 after its own DISCONNECT the client waits as long as after a lost connection, and longer each time") {
    Session5 s;
    s.port.random_value = 0x12345678;
    uint32_t longest = 0;
    REQUIRE(s.client.connect(s.options).ok());
    for (int i = 0; i < 12; ++i) {
        CAPTURE(i);
        s.run();
        s.port.from_client.clear();
        s.sends(connack({}, 2));
        s.rejects_with(0x81, Error::malformed_packet);
        s.quiet();
        const uint32_t limit = std::min<uint32_t>(s.options.reconnect_max_ms, 1000U << i);
        CHECK(s.client.idle_ms() <= limit);
        longest = std::max(longest, s.client.idle_ms());
        const size_t attempts = s.port.attempts.size();
        s.pass(s.client.idle_ms());
        CHECK(s.port.attempts.size() == attempts + 1);
    }
    CHECK(longest > 20000);
    CHECK(longest <= s.options.reconnect_max_ms);
}

TEST_CASE("MQTT 5 back-off starts anew after a connection that lasted stable_ms, also if it ended with our DISCONNECT") {
    for (const bool stable : {false, true}) {
        CAPTURE(stable);
        Session5 s;
        s.port.random_value = 0x12345678;
        s.port.refuse = true;
        REQUIRE(s.client.connect(s.options).ok());
        uint32_t after_failures = 0;
        for (int i = 0; i < 6; ++i) {
            s.expect_event(Event::disconnected);
            s.quiet();
            after_failures = s.client.idle_ms();
            s.port.clock += s.options.reconnect_max_ms;
        }
        CHECK(after_failures > 1000);
        s.port.refuse = false;
        s.accept();
        s.pass(stable ? 30000 : 29999);
        s.port.write_limit = 0;
        s.sends(accepted);
        CHECK(s.next().kind == Event::none);
        s.port.clock += 5000;   // which is not a part of the connection
        s.port.write_limit = SIZE_MAX;
        s.rejects_with(0x82, Error::protocol_error);
        s.quiet();
        CHECK((s.client.idle_ms() <= s.options.reconnect_min_ms) == stable);
    }
}

TEST_CASE("MQTT 5 refusals of identity or credentials, and bans, wait long at once; others do not") {
    for (const int code : connack_codes) {
        if (code == 0) continue;
        CAPTURE(code);
        const std::set<int> lasting = {0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C};
        Session5 s;
        answers(s, connack({}, 0, code));
        s.expect_event(Event::disconnected);
        s.quiet();
        if (lasting.count(code) != 0) CHECK(s.client.idle_ms() >= s.options.reconnect_max_ms / 2);
        else CHECK(s.client.idle_ms() <= s.options.reconnect_min_ms);
        CHECK(s.client.idle_ms() <= s.options.reconnect_max_ms);
    }
}

// --------------------------------------------------------------------------------- how DISCONNECT is written

TEST_CASE("MQTT 5 [MQTT-3.14.4-1], [MQTT-3.14.4-2] DISCONNECT for an error is the last thing that is written, byte by byte if need be, and then the connection is closed") {
    Session5 s;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());   // waits in the outbox, and is not sent any more
    s.port.write_limit = 0;
    s.sends(accepted);
    CHECK(s.next().kind == Event::none);
    CHECK_FALSE(s.client.connected());
    CHECK(s.port.is_open);
    CHECK(s.client.publish("t", "2", QoS::at_least_once).ok());   // nor is this one
    CHECK(s.client.begin_publish("t", 10).error == Error::not_connected);
    s.sends({0x32, 7, 0, 1, 't', 0, 7, 0, 'x', 0x62, 2, 0, 9});    // what still comes is not looked at
    CHECK(s.next().kind == Event::none);
    for (const size_t size : {1U, 2U}) {
        s.port.write_limit = 1;
        CHECK(s.client.poll().kind == Event::none);
        CHECK(s.port.from_client.size() == size);
        CHECK(s.port.is_open);
    }
    s.rejects_with(0x82, Error::protocol_error);
    s.port.write_limit = SIZE_MAX;
    s.reconnect();
    s.expects({0x32, 7, 0, 1, 't', 0, 1, 0, '1', 0x32, 7, 0, 1, 't', 0, 2, 0, '2'});
}

TEST_CASE("MQTT 5 a server that does not take the DISCONNECT is given up after response_timeout_ms, however much it sends") {
    for (const bool talks : {false, true}) {
        CAPTURE(talks);
        for (const size_t taken : {0U, 1U, 2U}) {
            Session5 s;
            s.options.response_timeout_ms = 5000;
            s.connect();
            s.port.write_limit = 0;
            s.sends(accepted);
            CHECK(s.next().kind == Event::none);
            s.port.write_limit = taken;
            if (taken != 0) CHECK(s.client.poll().kind == Event::none);
            s.port.write_limit = 0;
            for (int i = 0; i < 4; ++i) {
                s.port.clock += 1249;
                if (talks) s.sends({0xD0, 0});
                CHECK(s.next().kind == Event::none);
            }
            CHECK(s.client.idle_ms() == 4);
            s.port.clock += 4;
            if (talks) s.sends({0xD0, 0});
            const Event event = s.expect_event(Event::disconnected);
            CHECK(name(event.error) == "protocol error");
            CHECK(event.reason == ReasonCode::protocol_error);
            CHECK_FALSE(s.port.is_open);
            s.expects(bytes({0xE0, 1}).substr(0, taken));
            s.port.write_limit = SIZE_MAX;
            lives(s);
        }
    }
}

TEST_CASE("MQTT 5 the connection may end while the DISCONNECT is being written: it is the server's error that is told") {
    for (const size_t taken : {0U, 1U, 2U}) {
        Session5 s;
        s.connect();
        s.port.write_limit = 0;
        s.sends(accepted);
        CHECK(s.next().kind == Event::none);
        s.port.write_limit = taken;
        if (taken != 0) CHECK(s.client.poll().kind == Event::none);
        s.port.write_limit = 0;
        s.port.cut = true;
        CHECK(name(s.expect_event(Event::disconnected).error) == "protocol error");
        s.port.write_limit = SIZE_MAX;
        lives(s);
    }
}

TEST_CASE("MQTT 5 an error while another packet is half written closes without DISCONNECT, which would be taken for a part of it") {
    const std::string message = bytes({0x32, 8, 0, 1, 't', 0, 1, 0, 'x', 'y'});
    for (size_t written = 0; written <= message.size(); ++written) {
        CAPTURE(written);
        Session5 s;
        s.connect();
        s.run();
        s.port.write_limit = written;
        CHECK(s.client.publish("t", "xy", QoS::at_least_once).ok());
        if (written != 0) (void)s.client.poll();
        s.port.write_limit = 0;
        s.sends(accepted);
        CHECK((s.client.poll().kind == Event::none) == (written == 0 || written == message.size()));
        s.port.write_limit = SIZE_MAX;
        if (written == 0 || written == message.size()) {
            CHECK(s.port.from_client == message.substr(0, written));
            s.port.from_client.clear();
            s.rejects_with(0x82, Error::protocol_error);
        } else {
            CHECK(s.port.from_client == message.substr(0, written));
            CHECK_FALSE(s.port.is_open);
        }
    }
    Session5 s;
    s.connect();
    REQUIRE(s.client.begin_publish("t", 10).ok());
    CHECK(s.client.write_payload("12345").size == 5);
    s.port.from_client.clear();
    s.sends(accepted);
    const Event event = s.expect_event(Event::disconnected);
    CHECK(name(event.error) == "protocol error");
    s.expects("");
}

TEST_CASE("MQTT 5 disconnect() and abort() while the client's own DISCONNECT is being written stop it for good") {
    for (const bool abort : {false, true}) {
        CAPTURE(abort);
        Session5 s;
        s.connect();
        s.port.write_limit = 0;
        s.sends(accepted);
        CHECK(s.next().kind == Event::none);
        CHECK((abort ? s.client.abort() : s.client.disconnect()).ok());
        CHECK(s.expect_event(Event::disconnected).error == Error::ok);
        CHECK(s.next().kind == Event::none);
        CHECK(s.client.idle_ms() == mqtt::forever);
        CHECK_FALSE(s.port.is_open);
        s.port.write_limit = SIZE_MAX;
        s.connect();
    }
}

// ------------------------------------------------------------------------------------ keep-alive and time-outs

TEST_CASE("MQTT 5 [MQTT-3.1.2-20] a silent connection is pinged within its keep-alive time") {
    Session5 s;
    s.options.keep_alive = 16;
    s.connect();
    for (int i = 0; i < 3; ++i) {
        s.pass(13999);
        s.quiet();
        s.pass(1);
        s.expects({0xC0, 0});
        s.sends({0xD0, 0});
        s.expect_event(Event::pingresp);
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-21], [MQTT-3.2.2-21] a server keep alive is obeyed in place of ours, on its connection") {
    for (const uint32_t ours : {0U, 16U, 65535U})
        for (const uint32_t theirs : {1U, 16U, 300U, 65535U}) {
            CAPTURE(ours);
            CAPTURE(theirs);
            Session5 s;
            s.options.keep_alive = static_cast<uint16_t>(ours);
            s.connect(bytes({0x13, static_cast<int>(theirs >> 8), static_cast<int>(theirs & 255)}));
            s.pass(theirs * 875 - 1);
            s.quiet();
            s.pass(1);
            s.expects({0xC0, 0});
            s.sends({0xD0, 0});
            s.expect_event(Event::pingresp);
            s.reconnect();   // without one
            if (ours == 0) {
                s.pass(65535 * 1000);
                s.quiet();
            } else {
                s.pass(ours * 875 - 1);
                s.quiet();
                s.pass(1);
                s.expects({0xC0, 0});
            }
        }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-21] a server keep alive of 0 turns pings off") {
    Session5 s;
    s.options.keep_alive = 16;
    s.connect(bytes({0x13, 0, 0}));
    s.pass(100000000);
    s.quiet();
    CHECK(s.client.idle_ms() == mqtt::forever);
    s.reconnect();
    s.pass(14000);
    s.expects({0xC0, 0});
}

TEST_CASE("MQTT 5 [MQTT-3.12.4-1] a server that does not answer a ping is given up, without DISCONNECT") {
    Session5 s;
    s.options.keep_alive = 16;
    s.connect(bytes({0x13, 0, 8}));
    s.pass(7000);
    s.expects({0xC0, 0});
    s.pass(9999);
    CHECK(s.waiting.empty());
    s.port.from_client.clear();   // further pings
    s.port.clock += 1;
    CHECK(name(s.expect_event(Event::disconnected).error) == "response timeout");
    s.expects("");
    lives(s);
}

TEST_CASE("MQTT 5 a server that does not send CONNACK is given up after connect_timeout_ms") {
    Session5 s;
    s.options.connect_timeout_ms = 5000;
    answers(s, accepted.substr(0, 4));
    s.port.clock += 4999;
    s.quiet();
    CHECK(s.client.idle_ms() == 1);
    s.port.clock += 1;
    CHECK(name(s.expect_event(Event::disconnected).error) == "connect timeout");
    s.expects("");
    lives(s);
}

// --------------------------------------------------------------------------------------------- the byte stream

TEST_CASE("MQTT 5 [MQTT-4.2.0-1] the same conversation, whatever the pieces in which the byte stream is read and written") {
    for (size_t read = 1; read <= 12; ++read) {
        for (size_t write = 1; write <= 12; ++write) {
            CAPTURE(read);
            CAPTURE(write);
            Session5 s;
            s.port.read_limit = read;
            s.port.write_limit = write;
            s.connect(bytes({0x13, 0, 30, 0x1F, 0, 1, 'w'}));
            CHECK(s.client.subscribe("f", QoS::exactly_once).ok());
            CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
            CHECK(s.client.publish("t", "2", QoS::exactly_once).ok());
            s.expects({0x82, 7, 0, 1, 0, 0, 1, 'f', 2, 0x32, 7, 0, 1, 't', 0, 2, 0, '1', 0x34, 7, 0, 1, 't', 0, 3, 0, '2'});
            s.sends({0x90, 4, 0, 1, 0, 2, 0x40, 2, 0, 2, 0x50, 3, 0, 3, 0, 0x30, 5, 0, 1, 'f', 0, 'a',
                     0x32, 7, 0, 1, 'f', 0, 1, 0, 'b', 0x34, 7, 0, 1, 'f', 0, 2, 0, 'c'});
            CHECK(s.expect_event(Event::subscribed).reason_codes[0] == 2);
            CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
            CHECK(s.expect_event(Event::pubrec).packet_id == 3);
            CHECK(s.expect_event(Event::received).message.payload.text() == "a");
            CHECK(s.expect_event(Event::received).message.payload.text() == "b");
            CHECK(s.expect_event(Event::received).message.payload.text() == "c");
            s.expects({0x62, 2, 0, 3, 0x40, 2, 0, 1, 0x50, 2, 0, 2});
            s.sends({0x70, 4, 0, 3, 0, 0, 0x62, 4, 0, 2, 0, 0});
            CHECK(s.expect_event(Event::acknowledged).packet_id == 3);
            CHECK(s.expect_event(Event::pubrel).packet_id == 2);
            s.expects({0x70, 2, 0, 2});
            s.sends({0xE0, 8, 0x8B, 6, 0x1F, 0, 3, 'b', 'y', 'e'});
            const Event event = s.expect_event(Event::disconnected);
            CHECK(event.reason == ReasonCode::server_shutting_down);
            CHECK(event.properties.get(prop::reason_string).value_or("") == "bye");
            s.quiet();
        }
    }
}
