// Connecting, the session, and the end of it: CONNECT with every option, CONNACK with every answer, what a session
// remembers and what it must not, disconnect(), and what is published while there is no connection.

#include "tests/support/peer.hpp"

#include <memory>

namespace {

using mqtt::Bytes;
using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Retain;
using test::bytes;
using test::Session;

// CONNECT of client id "c" with a clean session and 60 seconds of keep-alive, as Session has it.
const std::string plain_connect = bytes({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, 0, 1, 'c'});

// connect() is accepted, and CONNECT is `wanted`.
void writes_connect(Session& s, std::initializer_list<int> wanted) {
    REQUIRE(s.client.connect(s.options).ok());
    s.expects(wanted);
}

// connect() says `error`, and nothing has changed: no connection is opened, and connect() works afterwards.
void refuses_connect(Session& s, Error error) {
    const mqtt::ConnectOptions good = Session().options;
    CHECK(s.client.connect(s.options).error == error);
    CHECK(s.client.disconnect().error == Error::not_started);
    CHECK(s.client.idle_ms() == mqtt::forever);
    CHECK(s.next().kind == Event::none);
    CHECK(s.port.opens == 0);
    CHECK(s.client.connect(good).ok());
    s.expects(plain_connect);
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
}

}  // namespace

// ----------------------------------------------------------------------------------------------------- CONNECT

TEST_CASE("[MQTT-3.1.0-1] [MQTT-3.1.2-1] [MQTT-3.1.2-2] a connection begins with CONNECT, of MQTT level 4, and nothing else is written before CONNACK") {
    Session s;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.publish("t", "x").ok());
    CHECK(s.client.subscribe("f", QoS::at_most_once).ok());
    s.expects({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, 0, 1, 'c'});
    CHECK(s.port.host == "server");
    CHECK(s.port.port == 1883);
    s.pass(29000);
    s.quiet();
    CHECK_FALSE(s.client.connected());
    s.sends({0x20, 2, 0, 0});
    s.expect_event(Event::connected);
    CHECK(s.client.connected());
    s.expects({0x30, 4, 0, 1, 't', 'x', 0x82, 6, 0, 1, 0, 1, 'f', 0});
}

TEST_CASE("[MQTT-3.1.0-2] there is one CONNECT on a connection, however often connect() is called") {
    Session s;
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

TEST_CASE("[MQTT-3.1.2-4] without a clean session the flag is 0") {
    Session s;
    s.options.clean_session = false;
    writes_connect(s, {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x00, 0, 60, 0, 1, 'c'});
}

TEST_CASE("[MQTT-3.1.3-7] an empty client id goes out with a clean session, and is refused without one") {
    Session s;
    s.options.client_id = "";
    SUBCASE("clean") { writes_connect(s, {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, 0, 0}); }
    SUBCASE("no data at all") {
        s.options.client_id = {};
        writes_connect(s, {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, 0, 0});
    }
    SUBCASE("kept") {
        s.options.clean_session = false;
        refuses_connect(s, Error::invalid_client_id);
    }
}

TEST_CASE("the keep-alive time goes out in seconds, as it was given") {
    Session s;
    SUBCASE("none") {
        s.options.keep_alive = 0;
        writes_connect(s, {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 0, 0, 1, 'c'});
    }
    SUBCASE("the longest") {
        s.options.keep_alive = 65535;
        writes_connect(s, {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0xFF, 0xFF, 0, 1, 'c'});
    }
    SUBCASE("10 is not 15 (vibe-mqtt)") {
        s.options.keep_alive = 10;
        writes_connect(s, {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 10, 0, 1, 'c'});
    }
}

TEST_CASE("[MQTT-3.1.2-18] [MQTT-3.1.2-20] without user name and password both flags are 0, and the payload ends with the client id") {
    Session s;
    writes_connect(s, {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, 0, 1, 'c'});
}

TEST_CASE("[MQTT-3.1.2-19] [MQTT-3.1.2-21] user name and password go out with their flags, also when they are empty") {
    Session s;
    SUBCASE("both") {
        s.options.user_name = "u";
        s.options.password = "pw";
        writes_connect(s, {0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 60, 0, 1, 'c', 0, 1, 'u', 0, 2, 'p', 'w'});
    }
    SUBCASE("only a user name") {
        s.options.user_name = "u";
        writes_connect(s, {0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x82, 0, 60, 0, 1, 'c', 0, 1, 'u'});
    }
    SUBCASE("an empty user name") {
        s.options.user_name = "";
        writes_connect(s, {0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x82, 0, 60, 0, 1, 'c', 0, 0});
    }
    SUBCASE("both empty") {
        s.options.user_name = "";
        s.options.password = "";
        writes_connect(s, {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 60, 0, 1, 'c', 0, 0, 0, 0});
    }
    SUBCASE("a password is bytes, not text") {
        const uint8_t password[] = {0, 0xFF, 'p'};
        s.options.user_name = "u";
        s.options.password = password;
        writes_connect(s, {0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 60, 0, 1, 'c', 0, 1, 'u', 0, 3, 0, 0xFF, 'p'});
    }
}

TEST_CASE("[MQTT-3.1.2-22] a password without a user name is refused") {
    Session s;
    s.options.password = "p";
    refuses_connect(s, Error::invalid_argument);
}

TEST_CASE("[MQTT-3.1.3-11] a user name that is not UTF-8 is refused") {
    Session s;
    s.options.user_name = "\xC3(";
    refuses_connect(s, Error::invalid_string);
}

TEST_CASE("[MQTT-3.1.2-9] [MQTT-3.1.2-14] a will goes out as topic and message, with its flag, QoS and retain") {
    Session s;
    SUBCASE("QoS 0") {
        s.options.will = {"w", "bye", QoS::at_most_once, Retain::no};
        writes_connect(s, {0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x06, 0, 60, 0, 1, 'c', 0, 1, 'w', 0, 3, 'b', 'y', 'e'});
    }
    SUBCASE("QoS 1") {
        s.options.will = {"w", "bye", QoS::at_least_once, Retain::no};
        writes_connect(s, {0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x0E, 0, 60, 0, 1, 'c', 0, 1, 'w', 0, 3, 'b', 'y', 'e'});
    }
    SUBCASE("QoS 2 and retain") {
        s.options.will = {"w", "bye", QoS::exactly_once, Retain::yes};
        writes_connect(s, {0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x36, 0, 60, 0, 1, 'c', 0, 1, 'w', 0, 3, 'b', 'y', 'e'});
    }
    SUBCASE("an empty message") {
        s.options.will.topic = "w";
        writes_connect(s, {0x10, 18, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x06, 0, 60, 0, 1, 'c', 0, 1, 'w', 0, 0});
    }
    SUBCASE("everything at once") {
        s.options.clean_session = false;
        s.options.will = {"w", "b", QoS::at_least_once, Retain::yes};
        s.options.user_name = "u";
        s.options.password = "p";
        writes_connect(s, {0x10, 25, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xEC, 0, 60, 0, 1, 'c',
                           0, 1, 'w', 0, 1, 'b', 0, 1, 'u', 0, 1, 'p'});
    }
}

TEST_CASE("[MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15] without a will its QoS and retain bits are 0, and its message stays away") {
    Session s;
    s.options.will.message = "bye";   // but no topic: no will
    s.options.will.qos = QoS::exactly_once;
    s.options.will.retain = Retain::yes;
    writes_connect(s, {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, 0, 1, 'c'});
}

TEST_CASE("[MQTT-3.1.2-14] [MQTT-3.1.3-10] a will with QoS 3 or without a valid topic is refused") {
    Session s;
    s.options.will = {"w", "bye", QoS::at_most_once, Retain::no};
    SUBCASE("QoS 3") {
        s.options.will.qos = static_cast<QoS>(3);
        refuses_connect(s, Error::invalid_argument);
    }
    SUBCASE("wildcard") {
        s.options.will.topic = "w/#";
        refuses_connect(s, Error::invalid_topic);
    }
    SUBCASE("not UTF-8") {
        s.options.will.topic = "w\xFF";
        refuses_connect(s, Error::invalid_topic);
    }
    SUBCASE("too long a message") {
        const std::string message(65536, 'x');
        s.options.will.message = message;
        refuses_connect(s, Error::invalid_argument);
    }
}

TEST_CASE("a client id that is too long, not UTF-8, or has U+0000 is refused") {
    Session s;
    const std::string long_id(65536, 'c');
    SUBCASE("too long") { s.options.client_id = long_id; }
    SUBCASE("not UTF-8") { s.options.client_id = "\x80"; }
    SUBCASE("U+0000") { s.options.client_id = std::string_view("a\0b", 3); }
    refuses_connect(s, Error::invalid_string);
}

TEST_CASE("rx has to hold CONNECT, to the byte") {
    Session exact(15);
    REQUIRE(exact.client.connect(exact.options).ok());
    exact.expects(plain_connect);
    exact.sends({0x20, 2, 0, 0});
    exact.expect_event(Event::connected);

    Session small(14);
    CHECK(small.client.connect(small.options).error == Error::buffer_too_small);
    CHECK(small.client.idle_ms() == mqtt::forever);
    small.options.client_id = "";
    CHECK(small.client.connect(small.options).ok());   // 14 bytes: the smallest there is
    small.expects({0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, 0, 0});
}

TEST_CASE("tx has to hold its reserve of 16 bytes, and 3 for each of receive_maximum, rounded up to 4") {
    Session exact(256, 16 + 60, 20);
    CHECK(exact.client.connect(exact.options).ok());
    for (const size_t size : {0U, 1U, 15U, 16U, 59U, 75U}) {
        Session small(256, size, 20);
        CHECK(small.client.connect(small.options).error == Error::buffer_too_small);
        CHECK(small.client.publish("t", "x").error == Error::not_started);
        small.quiet();
    }
}

TEST_CASE("no memory at all is refused, and harmless") {
    test::ScriptedPort port;
    mqtt::Client client(port, mqtt::Buffers{});
    mqtt::ConnectOptions options;
    CHECK(client.connect(options).error == Error::buffer_too_small);
    CHECK(client.poll().kind == Event::none);
    CHECK(client.idle_ms() == mqtt::forever);
}

TEST_CASE("options that were refused are not looked at again") {
    Session s;
    {
        const auto options = std::make_unique<mqtt::ConnectOptions>();
        options->will.topic = "#";
        CHECK(s.client.connect(*options).error == Error::invalid_topic);
    }
    s.quiet();
}

TEST_CASE("options may go when the client is stopped") {
    Session s;
    {
        const auto options = std::make_unique<mqtt::ConnectOptions>();
        REQUIRE(s.client.connect(*options).ok());
        REQUIRE(s.client.abort().ok());
        s.expect_event(Event::disconnected);
    }
    s.quiet();
    s.connect();
}

TEST_CASE("CONNECT goes out whole, however few bytes the port takes") {
    for (size_t limit = 1; limit <= plain_connect.size(); ++limit) {
        Session s;
        s.port.write_limit = limit;
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(plain_connect);
        s.sends({0x20, 2, 0, 0});
        s.expect_event(Event::connected);
    }
}

// ----------------------------------------------------------------------------------------------------- CONNACK

TEST_CASE("[MQTT-3.2.2-2] [MQTT-3.2.2-3] session present is told as the server says it") {
    Session s;
    s.options.clean_session = false;
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    SUBCASE("yes") {
        s.sends({0x20, 2, 1, 0});
        CHECK(s.expect_event(Event::connected).session_present);
    }
    SUBCASE("no") {
        s.sends({0x20, 2, 0, 0});
        CHECK_FALSE(s.expect_event(Event::connected).session_present);
    }
    s.port.from_client.clear();
    s.quiet();
}

TEST_CASE("[MQTT-3.2.2-1] session present after asking for a clean session is a protocol error") {
    Session s;
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    s.sends({0x20, 2, 1, 0});
    CHECK(s.expect_event(Event::disconnected).error == Error::protocol_error);
    CHECK_FALSE(s.port.is_open);
}

TEST_CASE("[MQTT-3.2.2-5] each refusal is told with its reason, closes the connection, and is tried again later") {
    const ReasonCode reasons[] = {ReasonCode::unsupported_protocol_version, ReasonCode::client_identifier_not_valid,
                                  ReasonCode::server_unavailable, ReasonCode::bad_user_name_or_password,
                                  ReasonCode::not_authorized};
    for (int code = 1; code <= 5; ++code) {
        CAPTURE(code);
        Session s;
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        s.sends({0x20, 2, 0, code});
        s.port.cut = true;   // the server closes behind it
        const Event event = s.expect_event(Event::disconnected);
        CHECK(event.error == Error::connection_refused);
        CHECK(event.reason == reasons[code - 1]);
        CHECK_FALSE(s.port.is_open);
        CHECK_FALSE(s.client.connected());
        CHECK(s.next().kind == Event::none);
        s.port.clock += s.options.reconnect_max_ms;
        s.accept();
        CHECK(s.port.opens == 2);
        // The reason is not told again for the next loss.
        s.port.cut = true;
        CHECK(s.expect_event(Event::disconnected).reason == ReasonCode::success);
    }
}

TEST_CASE("[MQTT-3.2.2-4] a refusal with session present is malformed") {
    Session s;
    s.options.clean_session = false;
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    s.sends({0x20, 2, 1, 5});
    CHECK(s.expect_event(Event::disconnected).error == Error::malformed_packet);
}

TEST_CASE("[MQTT-3.2.2-6] a return code above 5 is malformed, and a server that closes without CONNACK has not accepted us") {
    Session s;
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    SUBCASE("code 6") {
        s.sends({0x20, 2, 0, 6});
        CHECK(s.expect_event(Event::disconnected).error == Error::malformed_packet);
    }
    SUBCASE("code 255") {
        s.sends({0x20, 2, 0, 255});
        CHECK(s.expect_event(Event::disconnected).error == Error::malformed_packet);
    }
    SUBCASE("reserved flags") {
        s.sends({0x20, 2, 2, 0});
        CHECK(s.expect_event(Event::disconnected).error == Error::malformed_packet);
    }
    SUBCASE("closed") {
        s.port.cut = true;
        CHECK(s.expect_event(Event::disconnected).error == Error::connection_lost);
    }
    SUBCASE("closed in mid-packet") {
        s.sends({0x20, 2, 0});
        s.port.cut = true;
        CHECK(s.expect_event(Event::disconnected).error == Error::connection_lost);
    }
    CHECK_FALSE(s.client.connected());
    CHECK_FALSE(s.port.is_open);
}

TEST_CASE("[MQTT-3.2.0-1] any packet but CONNACK before CONNACK is a protocol error, and is not answered") {
    const std::string packets[] = {
        bytes({0x30, 4, 0, 1, 't', 'x'}), bytes({0x32, 6, 0, 1, 't', 0, 1, 'x'}), bytes({0x34, 6, 0, 1, 't', 0, 1, 'x'}),
        bytes({0x40, 2, 0, 1}), bytes({0x50, 2, 0, 1}), bytes({0x62, 2, 0, 1}), bytes({0x70, 2, 0, 1}),
        bytes({0x90, 3, 0, 1, 0}), bytes({0xB0, 2, 0, 1}), bytes({0xD0, 0}),
        bytes({0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0}), bytes({0x82, 6, 0, 1, 0, 1, 'f', 0}),
        bytes({0xA2, 5, 0, 1, 0, 1, 'f'}), bytes({0xC0, 0}), bytes({0xE0, 0})};
    for (const std::string& packet : packets) {
        CAPTURE(test::hex(packet));
        Session s;
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(plain_connect);
        s.sends(packet);
        s.sends({0x20, 2, 0, 0});
        CHECK(s.expect_event(Event::disconnected).error == Error::protocol_error);
        CHECK_FALSE(s.port.is_open);
        s.expects("");
    }
}

TEST_CASE("[MQTT-4.8.0-1] what only a client may send, and a second CONNACK, close an established connection") {
    const std::string packets[] = {
        bytes({0x20, 2, 0, 0}), bytes({0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 0}),
        bytes({0x82, 6, 0, 1, 0, 1, 'f', 0}), bytes({0xA2, 5, 0, 1, 0, 1, 'f'}), bytes({0xC0, 0}), bytes({0xE0, 0})};
    for (const std::string& packet : packets) {
        CAPTURE(test::hex(packet));
        Session s;
        s.connect();
        s.sends(packet);
        s.sends({0x30, 4, 0, 1, 't', 'x'});
        CHECK(s.expect_event(Event::disconnected).error == Error::protocol_error);
        CHECK_FALSE(s.port.is_open);
        s.expects("");
        CHECK(s.port.closes == 1);
        s.port.clock += s.options.reconnect_max_ms;
        s.accept();   // and it tries again
    }
}

TEST_CASE("a server that does not send CONNACK is given up after connect_timeout_ms, counted from open()") {
    Session s;
    s.options.connect_timeout_ms = 5000;
    s.port.opening = 1000000;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.poll().kind == Event::none);
    s.port.clock += 3000;
    s.port.opening = 0;
    s.expects(plain_connect);
    s.port.clock += 1999;
    s.quiet();
    CHECK(s.client.idle_ms() == 1);
    s.port.clock += 1;
    CHECK(s.expect_event(Event::disconnected).error == Error::connect_timeout);
    CHECK_FALSE(s.port.is_open);
    CHECK(s.port.closes == 1);
}

TEST_CASE("a port that never opens is given up after connect_timeout_ms, and closed") {
    Session s;
    s.port.opening = 1000000;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.poll().kind == Event::none);
    CHECK(s.client.wants_write());
    s.port.clock += 29999;
    CHECK(s.client.poll().kind == Event::none);
    s.port.clock += 1;
    const Event event = s.client.poll();
    CHECK(event.kind == Event::disconnected);
    CHECK(event.error == Error::connect_timeout);
    CHECK(s.port.closes == 1);
}

TEST_CASE("a CONNACK that is looked at late counts") {
    Session s;
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    s.sends({0x20, 2, 0, 0});
    s.port.clock += 3600000;   // poll() is called an hour later
    s.expect_event(Event::connected);
    CHECK(s.client.connected());
}

TEST_CASE("a port that cannot connect is told, and tried again") {
    Session s;
    s.port.refuse = true;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.expect_event(Event::disconnected).error == Error::connect_failed);
    s.port.refuse = false;
    s.port.clock += s.options.reconnect_max_ms;
    s.expects(plain_connect);
}

// ------------------------------------------------------------------------------------------- calls out of place

TEST_CASE("before connect() and after disconnect() every call says not_started") {
    Session s;
    for (int round = 0; round < 2; ++round) {
        CHECK(s.client.disconnect().error == Error::not_started);
        CHECK(s.client.abort().error == Error::not_started);
        CHECK(s.client.publish("t", "x").error == Error::not_started);
        CHECK(s.client.publish("t", "x", QoS::exactly_once).error == Error::not_started);
        CHECK(s.client.begin_publish("t", 3).error == Error::not_started);
        CHECK(s.client.write_payload("x").error == Error::not_connected);
        CHECK(s.client.subscribe("f", QoS::at_most_once).error == Error::not_started);
        CHECK(s.client.unsubscribe("f").error == Error::not_started);
        CHECK(s.client.acknowledge(1).error == Error::unknown_packet_id);
        s.client.flush();
        CHECK(s.client.idle_ms() == mqtt::forever);
        CHECK_FALSE(s.client.wants_write());
        CHECK_FALSE(s.client.connected());
        s.quiet();
        if (round != 0) break;
        s.connect();
        CHECK(s.client.disconnect().ok());
        CHECK(s.client.publish("t", "x").error == Error::not_started);   // and while it is going on
        CHECK(s.client.begin_publish("t", 3).error != Error::ok);
        CHECK(s.client.subscribe("f", QoS::at_most_once).error == Error::not_started);
        CHECK(s.client.unsubscribe("f").error == Error::not_started);
        CHECK(s.client.connect(s.options).error == Error::already_started);
        CHECK(s.expect_event(Event::disconnected).error == Error::ok);
        s.expects({0xE0, 0});
    }
}

// --------------------------------------------------------------------------------------------------- disconnect

TEST_CASE("[MQTT-3.14.4-1] disconnect() sends what is queued, DISCONNECT last, and closes") {
    for (const size_t limit : {SIZE_MAX, size_t{1}, size_t{5}}) {
        Session s;
        s.connect();
        CHECK(s.client.publish("t", "0").ok());
        CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
        CHECK(s.client.subscribe("f", QoS::at_most_once).ok());
        CHECK(s.client.disconnect().ok());
        CHECK(s.client.disconnect().ok());   // once more is not wrong, and not another one
        s.port.write_limit = limit;
        CHECK(s.expect_event(Event::disconnected).error == Error::ok);
        CHECK_FALSE(s.port.is_open);
        CHECK(s.port.closes == 1);
        s.expects({0x30, 4, 0, 1, 't', '0', 0x32, 6, 0, 1, 't', 0, 1, '1', 0x82, 6, 0, 2, 0, 1, 'f', 0, 0xE0, 0});
        s.pass(3600000);
        CHECK(s.port.opens == 1);
    }
}

TEST_CASE("[MQTT-4.5.0-2] disconnect() while a message is being handled acknowledges it, before DISCONNECT; what is open with manual_ack stays so") {
    for (const bool manual : {false, true}) {
        for (const int first : {0x32, 0x34}) {
            Session s;
            s.options.manual_ack = manual;
            s.connect();
            s.sends({first, 6, 0, 1, 't', 0, 7, 'x'});
            s.expect_event(Event::received);
            CHECK(s.client.disconnect().ok());
            CHECK(s.expect_event(Event::disconnected).error == Error::ok);
            if (manual)
                s.expects({0xE0, 0});
            else
                s.expects({first == 0x32 ? 0x40 : 0x50, 2, 0, 7, 0xE0, 0});
        }
    }
}

TEST_CASE("[MQTT-3.14.4-2] nothing is written after DISCONNECT, whatever comes meanwhile") {
    Session s;
    s.connect();
    s.port.write_limit = 0;
    CHECK(s.client.publish("t", "1", QoS::exactly_once).ok());
    CHECK(s.client.disconnect().ok());
    s.sends({0x32, 6, 0, 1, 't', 0, 7, 'x', 0x34, 6, 0, 1, 't', 0, 8, 'x', 0x62, 2, 0, 9, 0x50, 2, 0, 1, 0xFF});
    CHECK(s.next().kind == Event::none);
    s.port.write_limit = 1;
    CHECK(s.expect_event(Event::disconnected).error == Error::ok);
    s.expects({0x34, 6, 0, 1, 't', 0, 1, '1', 0xE0, 0});
}

TEST_CASE("[MQTT-3.14.4-2] nor is a message that waited for its turn") {
    Session s;
    s.options.clean_session = false;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
    CHECK(s.client.publish("t", "2", QoS::at_least_once).ok());
    s.run();
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
    s.options.in_flight_maximum = 1;   // 2 waits until 1 is answered
    s.connect(true);
    s.expects({0x3A, 6, 0, 1, 't', 0, 1, '1'});
    SUBCASE("it still waits") {
        CHECK(s.client.disconnect().ok());
        CHECK(s.expect_event(Event::disconnected).error == Error::ok);
        s.expects({0xE0, 0});
    }
    SUBCASE("its turn comes while a packet and DISCONNECT are being written") {
        CHECK(s.client.publish("t", "0").ok());
        s.port.write_limit = 3;
        CHECK(s.client.poll().kind == Event::none);
        s.port.write_limit = 0;
        s.sends({0x40, 2, 0, 1});
        s.expect_event(Event::acknowledged);
        CHECK(s.client.disconnect().ok());
        s.port.write_limit = SIZE_MAX;
        CHECK(s.expect_event(Event::disconnected).error == Error::ok);
        CHECK(test::hex(s.port.from_client.substr(0, 6)) == test::hex(bytes({0x30, 4, 0, 1, 't', '0'})));
        CHECK(test::hex(s.port.from_client.substr(s.port.from_client.size() - 2)) == test::hex(bytes({0xE0, 0})));
        s.port.from_client.clear();
    }
    CHECK_FALSE(s.port.is_open);
    s.quiet();
}

TEST_CASE("a server may close as soon as it has DISCONNECT, and not before") {
    Session s;
    s.connect();
    s.port.write_limit = 1;
    CHECK(s.client.disconnect().ok());
    SUBCASE("after it") {
        CHECK(s.client.poll().kind == Event::none);
        CHECK(s.client.poll().kind == Event::disconnected);
        s.expects({0xE0, 0});
    }
    SUBCASE("in the middle of it") {
        CHECK(s.client.poll().kind == Event::none);
        s.port.cut = true;
        CHECK(s.expect_event(Event::disconnected).error == Error::connection_lost);
    }
    CHECK(s.client.disconnect().error == Error::not_started);   // in any case it is over
    s.pass(3600000);
    CHECK(s.port.opens == 1);
}

TEST_CASE("a server that does not take DISCONNECT is given up after response_timeout_ms") {
    Session s;
    s.connect();
    s.port.write_limit = 0;
    CHECK(s.client.disconnect().ok());
    s.port.clock += 9999;
    CHECK(s.next().kind == Event::none);
    CHECK(s.client.idle_ms() == 1);
    s.port.clock += 1;
    CHECK(s.expect_event(Event::disconnected).error == Error::response_timeout);
    CHECK_FALSE(s.port.is_open);
    s.pass(3600000);
    CHECK(s.port.opens == 1);
}

TEST_CASE("disconnect() and abort() without an established connection just stop, in every state") {
    for (const bool abort : {false, true}) {
        for (int state = 0; state < 5; ++state) {
            CAPTURE(abort);
            CAPTURE(state);
            Session s;
            if (state == 0) s.port.refuse = true;        // waiting for the next attempt
            if (state == 1) s.port.opening = 1000000;    // opening
            REQUIRE(s.client.connect(s.options).ok());
            if (state == 0) s.expect_event(Event::disconnected);
            if (state == 1) CHECK(s.client.poll().kind == Event::none);
            if (state == 2) {                            // CONNECT half-written
                s.port.write_limit = 5;
                CHECK(s.client.poll().kind == Event::none);
                CHECK(s.port.from_client == plain_connect.substr(0, 5));
            }
            if (state == 3) s.expects(plain_connect);    // no CONNACK yet
            // 4: not even polled
            const std::string written = s.port.from_client;
            CHECK((abort ? s.client.abort() : s.client.disconnect()).ok());
            const Event event = s.next();
            CHECK(event.kind == Event::disconnected);
            CHECK(event.error == Error::ok);
            CHECK(s.next().kind == Event::none);
            CHECK(s.port.from_client == written);
            CHECK_FALSE(s.port.is_open);
            CHECK(s.port.closes >= 1);
            const int opens = s.port.opens;
            s.port.refuse = false;
            s.port.opening = 0;
            s.port.write_limit = SIZE_MAX;
            s.pass(3600000);
            CHECK(s.port.opens == opens);
            s.connect();   // and on again
        }
    }
}

TEST_CASE("abort() closes at once, without DISCONNECT and without what is queued, of which nothing is lost") {
    Session s;
    s.options.clean_session = false;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
    CHECK(s.client.abort().ok());
    CHECK(s.client.abort().error == Error::not_started);
    CHECK(s.expect_event(Event::disconnected).error == Error::ok);
    CHECK_FALSE(s.port.is_open);
    s.expects("");
    s.connect(true);
    s.expects({0x32, 6, 0, 1, 't', 0, 1, '1'});
}

TEST_CASE("what had come before abort() is not handed out any more") {
    Session s;
    s.connect();
    s.sends({0x30, 4, 0, 1, 't', 'x', 0x30, 4, 0, 1, 't', 'y'});
    s.expect_event(Event::received);
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
    CHECK(s.next().kind == Event::none);
}

TEST_CASE("reconnect_max_ms = 0: one loss, and the client is stopped until connect()") {
    Session s;
    s.options.reconnect_max_ms = 0;
    s.connect();
    s.port.cut = true;
    CHECK(s.expect_event(Event::disconnected).error == Error::connection_lost);
    CHECK(s.next().kind == Event::none);
    CHECK(s.client.idle_ms() == mqtt::forever);
    CHECK(s.client.publish("t", "x").error == Error::not_started);
    s.connect();
}

// ------------------------------------------------------------------------------------------------- the session

TEST_CASE("[MQTT-4.1.0-1] [MQTT-3.1.2-4] [MQTT-4.4.0-1] a session is kept through any number of connections, and through disconnect()") {
    Session s;
    s.options.clean_session = false;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).packet_id == 1);
    CHECK(s.client.publish("t", "2", QoS::exactly_once).packet_id == 2);
    CHECK(s.client.publish("t", "3", QoS::exactly_once).packet_id == 3);
    s.run();
    s.sends({0x50, 2, 0, 3});                          // 3: PUBREC
    s.expect_event(Event::pubrec);
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'});          // and an incoming one
    s.expect_event(Event::received);
    s.run();
    for (int round = 0; round < 6; ++round) {
        s.port.from_client.clear();
        if (round % 2 == 0) {
            s.reconnect(true);
        } else {
            CHECK(s.client.disconnect().ok());
            s.expect_event(Event::disconnected);
            s.connect(true);
        }
        s.expects({0x3A, 6, 0, 1, 't', 0, 1, '1', 0x3C, 6, 0, 1, 't', 0, 2, '2', 0x62, 2, 0, 3});
        s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'});      // is still known: answered, not delivered
        CHECK(s.next().kind == Event::none);
        s.expects({0x50, 2, 0, 9});
    }
}

TEST_CASE("[MQTT-4.1.0-2] a session does not end before its connection: an answer may come a day later") {
    Session s;
    s.options.keep_alive = 0;   // no pings to be answered
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::exactly_once).ok());
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'});
    s.expect_event(Event::received);
    s.pass(86400000);
    s.expects({0x34, 6, 0, 1, 't', 0, 1, '1', 0x50, 2, 0, 9});
    s.sends({0x3C, 6, 0, 1, 't', 0, 9, 'x'});
    CHECK(s.next().kind == Event::none);
    s.expects({0x50, 2, 0, 9});
    s.sends({0x50, 2, 0, 1});
    s.expect_event(Event::pubrec);
    s.expects({0x62, 2, 0, 1});
}

TEST_CASE("[MQTT-3.1.2-6] with clean sessions nothing is carried into the next connection: what was sent is dropped, and ids are new") {
    Session s;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).packet_id == 1);
    CHECK(s.client.publish("t", "2", QoS::exactly_once).packet_id == 2);
    CHECK(s.client.subscribe("f", QoS::at_most_once).packet_id == 3);
    s.run();
    s.sends({0x50, 2, 0, 2});
    s.expect_event(Event::pubrec);
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'});
    s.expect_event(Event::received);
    s.run();
    s.reconnect(false);
    int dropped = 0;
    for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
        CHECK(event.kind == Event::dropped);
        dropped = dropped * 10 + event.packet_id;
    }
    CHECK(dropped == 132);   // in the order of the outbox: the PUBREL of 2 came last
    s.expects("");
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'y'});   // another one: 9 was of the old session
    CHECK(s.expect_event(Event::received).message.payload.text() == "y");
}

TEST_CASE("[MQTT-3.1.2-6] a message that was never sent is not part of the lost session: it is sent now, without DUP") {
    Session s;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
    s.run();
    s.lose();
    CHECK(s.client.publish("t", "2", QoS::at_least_once).packet_id == 2);
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(false);
    CHECK(s.expect_event(Event::dropped).packet_id == 1);
    s.expects({0x32, 6, 0, 1, 't', 0, 2, '2'});
}

TEST_CASE("[MQTT-3.1.3-2] another client id or another server gets nothing of this session, even if it says session present") {
    Session s;
    s.options.clean_session = false;
    s.options.host = "server";
    s.options.client_id = "1c";
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
    CHECK(s.client.publish("t", "2", QoS::exactly_once).ok());
    s.run();
    s.sends({0x50, 2, 0, 2, 0x34, 6, 0, 1, 't', 0, 9, 'x'});
    s.expect_event(Event::pubrec);
    s.expect_event(Event::received);
    s.run();
    CHECK(s.client.disconnect().ok());
    s.expect_event(Event::disconnected);
    SUBCASE("another client id") { s.options.client_id = "d"; }
    SUBCASE("another server") { s.options.host = "other"; }
    SUBCASE("another port") { s.options.port = 1884; }
    SUBCASE("both, but the same letters") {
        s.options.host = "server1";
        s.options.client_id = "c";
    }
    s.connect(true);
    CHECK(s.expect_event(Event::dropped).packet_id == 1);
    CHECK(s.expect_event(Event::dropped).packet_id == 2);
    CHECK(s.next().kind == Event::none);
    s.expects("");
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'y'});   // its own message 9
    CHECK(s.expect_event(Event::received).message.payload.text() == "y");
    s.expects({0x50, 2, 0, 9});
    // From here on it has a session of its own.
    CHECK(s.client.publish("t", "3", QoS::at_least_once).packet_id == 3);
    s.run();
    s.reconnect(true);
    s.expects({0x3A, 6, 0, 1, 't', 0, 3, '3'});
    s.sends({0x3C, 6, 0, 1, 't', 0, 9, 'y'});
    CHECK(s.next().kind == Event::none);
}

TEST_CASE("[MQTT-3.1.3-2] the same client id at the same server gets its session back, through other attempts that fail") {
    Session s;
    s.options.clean_session = false;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
    s.run();
    CHECK(s.client.disconnect().ok());
    s.expect_event(Event::disconnected);
    s.port.refuse = true;
    REQUIRE(s.client.connect(s.options).ok());
    s.expect_event(Event::disconnected);
    s.port.refuse = false;
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(true);
    s.expects({0x3A, 6, 0, 1, 't', 0, 1, '1'});
}

TEST_CASE("[MQTT-4.1.0-1] a session with as many QoS 2 messages open as there may be can be resumed") {
    Session s(256, 1024, 1);
    s.options.clean_session = false;
    s.connect();
    s.sends({0x34, 6, 0, 1, 't', 0, 1, 'x'});
    s.expect_event(Event::received);
    s.expects({0x50, 2, 0, 1});
    CHECK(s.client.disconnect().ok());
    s.expect_event(Event::disconnected);
    s.connect(true);
    s.sends({0x3C, 6, 0, 1, 't', 0, 1, 'x'});
    CHECK(s.next().kind == Event::none);
    s.expects({0x50, 2, 0, 1});
    s.sends({0x62, 2, 0, 1});
    s.expect_event(Event::pubrel);
    s.expects({0x70, 2, 0, 1});
}

TEST_CASE("each operation that is dropped is told once, also if the connection ends while they are being told") {
    for (const bool abort : {true, false}) {
        for (int told = 0; told <= 3; ++told) {
            CAPTURE(abort);
            CAPTURE(told);
            Session s;
            s.options.clean_session = false;
            s.connect();
            for (int i = 0; i < 3; ++i) CHECK(s.client.publish("t", "x", QoS::at_least_once).ok());
            s.run();
            s.lose();
            CHECK(s.client.publish("t", "4", QoS::at_least_once).ok());
            s.port.clock += s.options.reconnect_max_ms;
            s.accept(false);
            std::string dropped;
            for (int i = 0; i < told; ++i) dropped += static_cast<char>('0' + s.expect_event(Event::dropped).packet_id);
            CHECK((abort ? s.client.abort() : s.client.disconnect()).ok());
            for (Event e = s.next(); e.kind != Event::none; e = s.next()) {
                if (e.kind == Event::dropped) dropped += static_cast<char>('0' + e.packet_id);
                if (e.kind == Event::disconnected) CHECK(e.error == Error::ok);
            }
            CHECK_FALSE(s.port.is_open);
            // Nothing of the lost session is written; the message that was never sent may be, before DISCONNECT.
            const std::string written = s.port.from_client, message = bytes({0x32, 6, 0, 1, 't', 0, 4, '4'});
            if (abort)
                CHECK(test::hex(written) == "");
            else if (written.size() == 2)
                CHECK(test::hex(written) == test::hex(bytes({0xE0, 0})));
            else
                CHECK(test::hex(written) == test::hex(message + bytes({0xE0, 0})));
            REQUIRE(s.client.connect(s.options).ok());
            s.run();
            s.sends({0x20, 2, written.size() == 10 ? 1 : 0, 0});
            for (Event e = s.next(); e.kind != Event::none; e = s.next())
                if (e.kind == Event::dropped) dropped += static_cast<char>('0' + e.packet_id);
            if (dropped == "1234") continue;   // it was sent, and what was dropped earlier took its session with it
            CHECK(dropped == "123");
            s.sends({0x40, 2, 0, 4});
            CHECK(s.expect_event(Event::acknowledged).packet_id == 4);
        }
    }
}

TEST_CASE("[MQTT-3.1.2-6] nothing of a clean session is carried into one that is kept, whatever the server says") {
    Session s;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'});
    s.expect_event(Event::received);
    s.run();
    CHECK(s.client.disconnect().ok());
    s.expect_event(Event::disconnected);
    s.options.clean_session = false;
    s.connect(true);
    CHECK(s.expect_event(Event::dropped).packet_id == 1);
    s.expects("");
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'y'});
    CHECK(s.expect_event(Event::received).message.payload.text() == "y");
}

// ------------------------------------------------------------------------------------------------------ offline

TEST_CASE("what is published while there is no connection goes out after CONNACK, in order, QoS 0 too") {
    Session s;
    s.port.refuse = true;
    REQUIRE(s.client.connect(s.options).ok());
    s.expect_event(Event::disconnected);
    CHECK(s.client.publish("t", "a").packet_id == 0);
    CHECK(s.client.publish("t", "b", QoS::at_least_once).packet_id == 1);
    CHECK(s.client.publish("t", "c", QoS::exactly_once, Retain::yes).packet_id == 2);
    s.port.refuse = false;
    s.port.clock += s.options.reconnect_max_ms;
    s.expects(plain_connect);
    CHECK(s.client.publish("t", "d").ok());                                    // between CONNECT and CONNACK
    CHECK(s.client.unsubscribe("f").packet_id == 3);
    s.quiet();
    s.sends({0x20, 2, 0, 0});
    s.expect_event(Event::connected);
    CHECK(s.client.publish("t", "e", QoS::at_least_once).packet_id == 4);      // and behind them
    s.expects({0x30, 4, 0, 1, 't', 'a', 0x32, 6, 0, 1, 't', 0, 1, 'b', 0x35, 6, 0, 1, 't', 0, 2, 'c',
               0x30, 4, 0, 1, 't', 'd', 0xA2, 5, 0, 3, 0, 1, 'f', 0x32, 6, 0, 1, 't', 0, 4, 'e'});
}

TEST_CASE("offline messages survive attempts that are refused or cut before CONNACK, and stay without DUP") {
    Session s;
    s.options.clean_session = false;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.publish("t", "a").ok());
    CHECK(s.client.publish("t", "b", QoS::at_least_once).ok());
    s.run();
    s.sends({0x20, 2, 0, 3});
    s.expect_event(Event::disconnected);
    s.port.clock += s.options.reconnect_max_ms;
    s.run();
    s.lose();
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(true);
    s.expects({0x30, 4, 0, 1, 't', 'a', 0x32, 6, 0, 1, 't', 0, 1, 'b'});
}

TEST_CASE("a QoS 0 message that was written is forgotten; one that was only queued goes out on the next connection") {
    Session s;
    s.connect();
    CHECK(s.client.publish("t", "a").ok());
    s.run();
    s.port.write_limit = 3;
    CHECK(s.client.publish("t", "b").ok());
    CHECK(s.client.publish("t", "c").ok());
    CHECK(s.client.poll().kind == Event::none);   // half of b, which is lost with the connection
    s.port.write_limit = SIZE_MAX;
    s.reconnect(false);
    s.expects({0x30, 4, 0, 1, 't', 'c'});
}

TEST_CASE("a full outbox says no_space, loses nothing, and is usable again") {
    for (size_t tx = 96; tx < 140; ++tx) {
        CAPTURE(tx);
        Session s(256, tx, 4);
        REQUIRE(s.client.connect(s.options).ok());
        std::string wanted;
        int accepted = 0;
        for (;; ++accepted) {
            REQUIRE(accepted < 100);
            const int id = accepted + 1;
            const mqtt::Result result = s.client.publish("t", "x", QoS::at_least_once);
            if (!result.ok()) {
                CHECK(result.error == Error::no_space);
                CHECK(result.packet_id == 0);
                break;
            }
            CHECK(result.packet_id == id);
            wanted += bytes({0x32, 6, 0, 1, 't', 0, id, 'x'});
        }
        CHECK(accepted == static_cast<int>((tx - 12 - 16) / (mqtt::wide ? 12 : 8)));   // 8 bytes, and where it is quick an index entry of 4 each
        CHECK(s.client.publish("t", std::string(40, 'x')).error == Error::no_space);
        CHECK(s.client.subscribe("filter", QoS::at_most_once).error == Error::no_space);
        s.accept();
        s.expects(wanted);
        CHECK(s.client.publish("t", "x", QoS::at_least_once).error == Error::no_space);
        for (int id = 1; id <= accepted; ++id) {
            s.sends({0x40, 2, 0, id});
            CHECK(s.expect_event(Event::acknowledged).packet_id == id);
            const mqtt::Result again = s.client.publish("t", "x", QoS::at_least_once);
            CHECK(again.ok());
            CHECK(again.packet_id == accepted + id);
        }
    }
}

TEST_CASE("a message that cannot ever fit is packet_too_large, not no_space") {
    Session s(256, 256);
    s.connect();
    CHECK(s.client.publish("t", std::string(300, 'x')).error == Error::packet_too_large);
    CHECK(s.client.publish("t", "x", QoS::at_least_once).packet_id == 1);
}

TEST_CASE("[MQTT-3.3.2-1] publish() refuses wrong topics and QoS 3, and changes nothing") {
    Session s;
    s.connect();
    const std::string long_topic(65536, 't');
    for (const QoS qos : {QoS::at_most_once, QoS::at_least_once, QoS::exactly_once}) {
        CHECK(s.client.publish("", "x", qos).error == Error::invalid_topic);
        CHECK(s.client.publish("a/+", "x", qos).error == Error::invalid_topic);
        CHECK(s.client.publish("a/#", "x", qos).error == Error::invalid_topic);
        CHECK(s.client.publish("\xC0\x80", "x", qos).error == Error::invalid_topic);
        CHECK(s.client.publish(std::string_view("a\0b", 3), "x", qos).error == Error::invalid_topic);
        CHECK(s.client.publish(long_topic, "x", qos).error == Error::invalid_topic);
    }
    CHECK(s.client.publish("t", "x", static_cast<QoS>(3)).error == Error::invalid_argument);
    s.quiet();
    CHECK(s.client.publish("t", "x", QoS::at_least_once).packet_id == 1);
    s.expects({0x32, 6, 0, 1, 't', 0, 1, 'x'});
}

// --------------------------------------------------------------------------------------------- the byte stream

TEST_CASE("[MQTT-7.1.2-1] the same conversation, whatever the pieces in which the byte stream is read and written") {
    for (size_t read = 1; read <= 12; ++read) {
        for (size_t write = 1; write <= 12; ++write) {
            CAPTURE(read);
            CAPTURE(write);
            Session s;
            s.port.read_limit = read;
            s.port.write_limit = write;
            s.connect();
            CHECK(s.client.subscribe("f", QoS::exactly_once).ok());
            CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
            CHECK(s.client.publish("t", "2", QoS::exactly_once).ok());
            s.expects({0x82, 6, 0, 1, 0, 1, 'f', 2, 0x32, 6, 0, 1, 't', 0, 2, '1', 0x34, 6, 0, 1, 't', 0, 3, '2'});
            s.sends({0x90, 3, 0, 1, 2, 0x40, 2, 0, 2, 0x50, 2, 0, 3, 0x30, 4, 0, 1, 'f', 'a', 0x32, 6, 0, 1, 'f', 0, 1, 'b',
                     0x34, 6, 0, 1, 'f', 0, 2, 'c'});
            CHECK(s.expect_event(Event::subscribed).reason_codes[0] == 2);
            CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
            CHECK(s.expect_event(Event::pubrec).packet_id == 3);
            CHECK(s.expect_event(Event::received).message.payload.text() == "a");
            CHECK(s.expect_event(Event::received).message.payload.text() == "b");
            CHECK(s.expect_event(Event::received).message.payload.text() == "c");
            s.expects({0x62, 2, 0, 3, 0x40, 2, 0, 1, 0x50, 2, 0, 2});
            s.sends({0x70, 2, 0, 3, 0x62, 2, 0, 2});
            CHECK(s.expect_event(Event::acknowledged).packet_id == 3);
            CHECK(s.expect_event(Event::pubrel).packet_id == 2);
            s.expects({0x70, 2, 0, 2});
            s.quiet();
        }
    }
}

TEST_CASE("[MQTT-3.1.3-2] an attempt to reach another server that fails does not end the session with the first one") {
    Session s;
    s.options.clean_session = false;
    s.connect();
    s.sends({0x34, 6, 0, 1, 't', 0, 7, 'x'});   // QoS 2, id 7
    s.expect_event(Event::received);
    s.expects({0x50, 2, 0, 7});
    (void)s.client.disconnect();
    s.expect_event(Event::disconnected);
    s.options.host = "backup";
    s.port.refuse = true;
    REQUIRE(s.client.connect(s.options).ok());
    s.expect_event(Event::disconnected);
    (void)s.client.disconnect();
    s.expect_event(Event::disconnected);
    s.options.host = "server";
    s.port.refuse = false;
    s.connect(true);
    s.sends({0x3C, 6, 0, 1, 't', 0, 7, 'x'});
    s.expects({0x50, 2, 0, 7});                 // answered, and not delivered again
    s.quiet();
}
