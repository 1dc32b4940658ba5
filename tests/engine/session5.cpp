// MQTT 5: the session and how long it is kept, the client identifier that a server assigns, what a server allows on one
// connection, DISCONNECT from either side, and other servers that it names. Sections 3.1.2, 3.2.2, 3.14, 4.1 and 4.11.
#include "tests/support/peer5.hpp"

#include <set>

namespace {

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

std::string name(Error error) { return mqtt::to_string(error); }

// A session that is kept for ever; CONNECT without and with Clean Start.
const std::string resumes = bytes({0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 8,
                                   0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 20, 0, 1, 'c'});
const std::string begins = bytes({0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 8,
                                  0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 20, 0, 1, 'c'});

struct Kept : Session5 {
    explicit Kept(const Memory& memory = {}) : Session5(memory) { options.clean_session = false; }
};

// What an event said, with copies of its views.
struct Told {
    Event event;
    std::string reason_string, server_reference, user_property;
};
Told disconnected(Session5& s) {
    Told told;
    told.event = s.expect_event(Event::disconnected);
    const mqtt::Properties& p = told.event.properties;
    told.reason_string = std::string(p.get(prop::reason_string).value_or(""));
    told.server_reference = std::string(p.get(prop::server_reference).value_or(""));
    told.user_property = std::string(p.get(prop::user_property).value_or(mqtt::UserProperty{}).value);
    return told;
}
void dropped(Session5& s, uint16_t id, Error error) {
    const Event event = s.expect_event(Event::dropped);
    CHECK(event.packet_id == id);
    CHECK(name(event.error) == name(error));
}
void stops(Session5& s) {
    CHECK(s.client.disconnect().ok());
    CHECK(s.expect_event(Event::disconnected).error == Error::ok);
    s.port.from_client.clear();
}

// Something of each kind that a session remembers: 1 (QoS 1) unanswered, 2 (QoS 2) released, 3 (QoS 2) unanswered, and
// QoS 2 message 7 of the server's, which it has not released.
void fill(Session5& s) {
    CHECK(s.client.publish("t", "1", QoS::at_least_once).packet_id == 1);
    CHECK(s.client.publish("t", "2", QoS::exactly_once).packet_id == 2);
    CHECK(s.client.publish("t", "3", QoS::exactly_once).packet_id == 3);
    s.expects({0x32, 7, 0, 1, 't', 0, 1, 0, '1', 0x34, 7, 0, 1, 't', 0, 2, 0, '2', 0x34, 7, 0, 1, 't', 0, 3, 0, '3'});
    s.sends({0x50, 2, 0, 2, 0x34, 7, 0, 1, 't', 0, 7, 0, 'x'});
    CHECK(s.expect_event(Event::pubrec).packet_id == 2);
    CHECK(s.expect_event(Event::received).message.packet_id == 7);
    s.expects({0x62, 2, 0, 2, 0x50, 2, 0, 7});
}
const std::string sent_again = bytes({0x3A, 7, 0, 1, 't', 0, 1, 0, '1', 0x3C, 7, 0, 1, 't', 0, 3, 0, '3', 0x62, 2, 0, 2});

}  // namespace

// ------------------------------------------------------------------------------------------------- the session

TEST_CASE("MQTT 5 [MQTT-3.1.2-23], [MQTT-4.1.0-1], [MQTT-4.4.0-1], [MQTT-3.1.3-2] a session is kept through any number of connections, and through disconnect()") {
    Kept s;
    s.connect();
    fill(s);
    for (int i = 0; i < 4; ++i) {
        CAPTURE(i);
        if (i % 2 == 1) {
            s.lose();
            s.port.clock += s.options.reconnect_max_ms;
        } else {
            stops(s);
            REQUIRE(s.client.connect(s.options).ok());
        }
        s.expects(resumes);
        s.sends(connack({}, 1));
        CHECK(s.expect_event(Event::connected).session_present);
        s.expects(sent_again);
        s.sends({0x3C, 7, 0, 1, 't', 0, 7, 0, 'x'});   // not delivered again
        s.expects({0x50, 2, 0, 7});
        CHECK(s.next().kind == Event::none);
        CHECK(s.client.unacknowledged() == 3);
        s.pass(50000);   // and nothing is sent again while the connection is up
        s.quiet();
    }
    s.sends({0x40, 2, 0, 1, 0x50, 2, 0, 3, 0x70, 2, 0, 2, 0x62, 2, 0, 7});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    CHECK(s.expect_event(Event::pubrec).packet_id == 3);
    CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
    CHECK(s.expect_event(Event::pubrel).packet_id == 7);
    s.expects({0x62, 2, 0, 3, 0x70, 2, 0, 7});
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-5] a session that the server has lost is lost here, too: what was sent is told as dropped, what was not sent goes out") {
    Kept s;
    s.connect();
    fill(s);
    s.lose();
    CHECK(s.client.publish("t", "4", QoS::at_least_once).packet_id == 4);
    CHECK_FALSE(s.reconnect({}, false).session_present);
    dropped(s, 1, Error::session_lost);
    dropped(s, 3, Error::session_lost);
    dropped(s, 2, Error::session_lost);
    s.expects({0x32, 7, 0, 1, 't', 0, 4, 0, '4'});
    s.sends({0x34, 7, 0, 1, 't', 0, 7, 0, 'y', 0x40, 2, 0, 4});   // another message, with the same id
    CHECK(s.expect_event(Event::received).message.payload.text() == "y");
    CHECK(s.expect_event(Event::acknowledged).packet_id == 4);
    CHECK(s.client.unacknowledged() == 0);
    s.expects({0x50, 2, 0, 7});
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-4] Clean Start ends the session on both sides") {
    Kept s;
    s.connect();
    fill(s);
    stops(s);
    SUBCASE("clean_start") { s.options.clean_start = true; }
    SUBCASE("clean_session") { s.options.clean_session = true; }
    s.connect();
    dropped(s, 1, Error::session_lost);
    dropped(s, 3, Error::session_lost);
    dropped(s, 2, Error::session_lost);
    s.quiet();
    s.sends({0x34, 7, 0, 1, 't', 0, 7, 0, 'y'});
    CHECK(s.expect_event(Event::received).message.payload.text() == "y");
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-4] Clean Start ends the session as soon as it has been written, whether the server accepts or not") {
    for (const bool written : {false, true}) {
        CAPTURE(written);
        Kept s;
        s.connect();
        fill(s);
        stops(s);
        s.options.clean_start = true;
        REQUIRE(s.client.connect(s.options).ok());
        if (!written) s.port.write_limit = 0;
        s.expects(written ? begins : "");
        s.port.cut = true;
        s.expect_event(Event::disconnected);
        s.port.write_limit = SIZE_MAX;
        CHECK(s.client.disconnect().ok());
        s.expect_event(Event::disconnected);
        s.options.clean_start = false;
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(resumes);
        s.sends(connack({}, 1));   // if it was written, this is the one that it began
        if (written) {
            s.rejects_with(0, Error::session_unknown);
        } else {
            s.expect_event(Event::connected);
            s.expects(sent_again);
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-4] session present without a session of ours: the client closes, and begins a new one") {
    Kept s;
    SUBCASE("we have just started") {}
    SUBCASE("the session was with another server") {
        s.options.host = "other";
        s.connect();
        stops(s);
        s.options.host = "server";
    }
    SUBCASE("the session was of another client id") {
        s.options.client_id = "d";
        s.connect();
        stops(s);
        s.options.client_id = "c";
    }
    SUBCASE("ours was a clean one") {
        s.options.clean_session = true;
        s.connect();
        stops(s);
        s.options.clean_session = false;
    }
    SUBCASE("ours was to end with its connection") {
        s.options.session_expiry_interval = 0;
        s.connect();
        stops(s);
        s.options.session_expiry_interval = mqtt::forever;
    }
    CHECK(s.client.connect(s.options).ok());
    const uint16_t id = s.client.publish("t", "1", QoS::at_least_once).packet_id;
    s.expects(resumes);
    s.sends(connack({}, 1) + bytes({0x34, 7, 0, 1, 't', 0, 7, 0, 'x'}));
    s.rejects_with(0, Error::session_unknown);
    for (int i = 0; i < 2; ++i) {   // also if the next attempt fails
        s.port.clock += s.options.reconnect_max_ms;
        s.expects(begins);
        s.port.cut = i == 0;
        if (i == 0) s.expect_event(Event::disconnected);
    }
    s.sends(connack());
    CHECK_FALSE(s.expect_event(Event::connected).session_present);
    s.expects(packet(0x32, text("t") + bytes({0, id, 0, '1'})));
    s.lose();
    s.port.clock += s.options.reconnect_max_ms;
    s.expects(resumes);
    s.sends(connack({}, 1));
    CHECK(s.expect_event(Event::connected).session_present);
    s.expects(packet(0x3A, text("t") + bytes({0, id, 0, '1'})));
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-4] without automatic reconnect it is the next connect() that begins a new session, with that server and client id") {
    Kept s;
    s.options.reconnect_max_ms = 0;
    REQUIRE(s.client.connect(s.options).ok());
    s.expects(resumes);
    s.sends(connack({}, 1));
    s.rejects_with(0, Error::session_unknown);
    CHECK(s.next().kind == Event::none);
    CHECK(s.client.idle_ms() == mqtt::forever);
    SUBCASE("the same") {
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(begins);
        s.sends(connack());
        s.expect_event(Event::connected);
        s.lose();
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(resumes);
    }
    SUBCASE("another server") {
        s.options.host = "other";
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(resumes);
    }
}

TEST_CASE("MQTT 5 adopt_session: a session of which we know nothing is taken up, as in 3.1.1, and is ours from then on") {
    Kept s;
    s.options.adopt_session = true;
    CHECK(s.client.connect(s.options).ok());
    CHECK(s.client.publish("t", "1", QoS::at_least_once).packet_id == 1);
    s.expects(resumes);
    s.sends(connack({}, 1) + bytes({0x34, 7, 0, 1, 't', 0, 7, 0, 'x', 0x62, 2, 0, 9}));
    CHECK(s.expect_event(Event::connected).session_present);
    CHECK(s.expect_event(Event::received).message.packet_id == 7);
    CHECK(s.expect_event(Event::pubrel).packet_id == 9);
    s.expects({0x32, 7, 0, 1, 't', 0, 1, 0, '1', 0x50, 2, 0, 7, 0x70, 3, 0, 9, 0x92});   // which we did not know
    CHECK(s.reconnect({}, true).session_present);
    s.expects({0x3A, 7, 0, 1, 't', 0, 1, 0, '1'});
    s.sends({0x3C, 7, 0, 1, 't', 0, 7, 0, 'x'});
    s.expects({0x50, 2, 0, 7});
    s.quiet();
}

TEST_CASE("MQTT 5 adopt_session: what was unfinished in another session of ours is told as lost, and does not go into the adopted one") {
    Kept s;
    s.options.adopt_session = true;
    s.connect();
    fill(s);
    stops(s);
    s.options.host = "other";
    CHECK(s.connect({}, true).session_present);
    dropped(s, 1, Error::session_lost);
    dropped(s, 3, Error::session_lost);
    dropped(s, 2, Error::session_lost);
    s.sends({0x34, 7, 0, 1, 't', 0, 7, 0, 'y'});   // its message 7 is another one
    CHECK(s.expect_event(Event::received).message.payload.text() == "y");
    s.expects({0x50, 2, 0, 7});
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-2] adopt_session does not make session present right after Clean Start 1") {
    Session5 s;
    s.options.adopt_session = true;
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    s.port.from_client.clear();
    s.sends(connack({}, 1));
    s.rejects_with(0x82, Error::protocol_error);
}

TEST_CASE("MQTT 5 a Session Expiry Interval in CONNACK is in place of ours: 0 ends the session with the connection, on our side too") {
    Kept s;
    SUBCASE("0") {
        s.connect(bytes({0x11, 0, 0, 0, 0}));
        fill(s);
        s.lose();
        s.port.clock += s.options.reconnect_max_ms;
        s.expects(resumes);
        SUBCASE("and the server knows it") {
            s.sends(connack());
            s.expect_event(Event::connected);
            dropped(s, 1, Error::session_lost);
            dropped(s, 3, Error::session_lost);
            dropped(s, 2, Error::session_lost);
        }
        SUBCASE("and the server has one all the same") {
            s.sends(connack({}, 1));
            s.rejects_with(0, Error::session_unknown);
        }
    }
    SUBCASE("0, but only for that connection") {
        s.connect(bytes({0x11, 0, 0, 0, 0}));
        s.reconnect();
        fill(s);
        CHECK(s.reconnect({}, true).session_present);
        s.expects(sent_again);
    }
    SUBCASE("shorter") {
        s.connect(bytes({0x11, 0, 0, 0, 1}));
        fill(s);
        CHECK(s.reconnect({}, true).session_present);
        s.expects(sent_again);
    }
    SUBCASE("longer than our 0") {
        s.options.session_expiry_interval = 0;
        s.connect(bytes({0x11, 0, 0, 0, 100}));
        fill(s);
        CHECK(s.reconnect({}, true).session_present);
        s.expects(sent_again);
    }
}

TEST_CASE("MQTT 5 with session_expiry_interval 0 an earlier session is resumed, and ends with that connection") {
    Kept s;
    s.connect();
    fill(s);
    stops(s);
    s.options.session_expiry_interval = 0;
    CHECK(s.connect({}, true).session_present);
    s.expects(sent_again);
    s.lose();
    s.port.clock += s.options.reconnect_max_ms;
    s.run();
    s.port.from_client.clear();
    s.sends(connack());
    s.expect_event(Event::connected);
    dropped(s, 1, Error::session_lost);
    dropped(s, 3, Error::session_lost);
    dropped(s, 2, Error::session_lost);
}

TEST_CASE("MQTT 5 [MQTT-3.1.3-2] an attempt to reach another server that fails does not end the session with the first one") {
    Kept s;
    s.connect();
    fill(s);
    stops(s);
    s.options.host = "backup";
    s.port.refuse = true;
    REQUIRE(s.client.connect(s.options).ok());
    s.expect_event(Event::disconnected);
    CHECK(s.client.disconnect().ok());
    s.expect_event(Event::disconnected);
    s.options.host = "server";
    s.port.refuse = false;
    CHECK(s.connect({}, true).session_present);
    s.expects(sent_again);
}

// ------------------------------------------------------------------------- the client identifier that is assigned

TEST_CASE("MQTT 5 [MQTT-3.1.3-7], [MQTT-3.2.2-16] an assigned client identifier is adopted, and used for all further connections") {
    Memory memory;
    memory.client_id = 3;
    Session5 s(memory);
    s.options.client_id = "";
    SUBCASE("a clean session") {
        REQUIRE(s.client.connect(s.options).ok());
        s.expects({0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 0});
        s.sends(connack(bytes({0x12, 0, 3, 'a', 'b', 'c'})));
        CHECK(s.expect_event(Event::connected).properties.get(prop::assigned_client_identifier).value_or("") == "abc");
        for (int i = 0; i < 3; ++i) {
            s.lose();
            s.port.clock += s.options.reconnect_max_ms;
            s.expects({0x10, 19, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 3, 'a', 'b', 'c'});
            s.sends(i == 0 ? connack() : connack(bytes({0x12, 0, 1, 'z'})));   // which is not an answer to ours
            s.expect_event(Event::connected);
        }
    }
    SUBCASE("no data at all") {
        s.options.client_id = {};
        s.connect(bytes({0x12, 0, 1, 'a'}));
        s.lose();
        s.port.clock += s.options.reconnect_max_ms;
        s.expects({0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'a'});
    }
    SUBCASE("a session that is kept, through disconnect() too") {
        s.options.clean_session = false;
        REQUIRE(s.client.connect(s.options).ok());
        s.expects({0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 8,
                   0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 20, 0, 0});
        s.sends(connack(bytes({0x12, 0, 3, 'a', 'b', 'c'})));
        s.expect_event(Event::connected);
        fill(s);
        for (int i = 0; i < 2; ++i) {
            if (i == 0) s.lose();
            else stops(s);
            if (i == 1) REQUIRE(s.client.connect(s.options).ok());
            s.port.clock += s.options.reconnect_max_ms;
            s.expects({0x10, 24, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 8,
                       0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 20, 0, 3, 'a', 'b', 'c'});
            s.sends(connack({}, 1));
            CHECK(s.expect_event(Event::connected).session_present);
            s.expects(sent_again);
        }
        stops(s);
        s.options.host = "other";   // knows nothing of it
        REQUIRE(s.client.connect(s.options).ok());
        s.expects({0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 8,
                   0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, 0, 20, 0, 0});
    }
    SUBCASE("through an attempt that fails") {
        s.connect(bytes({0x12, 0, 3, 'a', 'b', 'c'}));
        s.lose();
        s.port.refuse = true;
        s.port.clock += s.options.reconnect_max_ms;
        s.expect_event(Event::disconnected);
        s.port.refuse = false;
        s.port.clock += s.options.reconnect_max_ms;
        s.expects({0x10, 19, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 3, 'a', 'b', 'c'});
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-16] an empty client id that is not answered with an assigned one is a protocol error") {
    Memory memory;
    SUBCASE("with memory for it") { memory.client_id = 23; }
    SUBCASE("without") {}
    Session5 s(memory);
    s.options.client_id = "";
    REQUIRE(s.client.connect(s.options).ok());
    s.expects({0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 0});
    s.sends(connack());
    s.rejects_with(0x82, Error::protocol_error);
    s.port.clock += s.options.reconnect_max_ms;
    s.expects({0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 0});
}

TEST_CASE("MQTT 5 without memory for it an assigned client identifier is only told, and a session cannot be kept") {
    Session5 s;
    s.options.client_id = "";
    CHECK(s.connect(bytes({0x12, 0, 1, 'a'})).properties.get(prop::assigned_client_identifier).value_or("") == "a");
    s.lose();
    s.port.clock += s.options.reconnect_max_ms;
    s.expects({0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 0});
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
    s.options.clean_session = false;
    CHECK(s.client.connect(s.options).error == Error::invalid_client_id);
    s.quiet();
}

TEST_CASE("MQTT 5 an assigned client identifier that does not fit is an error of ours, and nothing of it is kept") {
    Memory memory;
    memory.client_id = 3;
    Session5 s(memory);
    s.options.client_id = "";
    const std::string empty = bytes({0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 0});
    REQUIRE(s.client.connect(s.options).ok());
    s.expects(empty);
    s.sends(connack(bytes({0x12, 0, 4, 'a', 'b', 'c', 'd'})));
    s.rejects_with(0x83, Error::buffer_too_small);
    s.port.clock += s.options.reconnect_max_ms;
    s.expects(empty);
    s.sends(connack(bytes({0x12, 0, 3, 'a', 'b', 'c'})));
    s.expect_event(Event::connected);

    for (const size_t rx : {20U, 21U}) {   // CONNECT has to fit into rx, too
        memory.rx = rx;
        Session5 t(memory);
        t.options.client_id = "";
        CHECK(t.client.connect(t.options).error == (rx == 20 ? Error::buffer_too_small : Error::ok));
        if (rx == 20) continue;
        t.expects(empty);
        t.sends(connack(bytes({0x12, 0, 3, 'a', 'b', 'c'})));
        t.expect_event(Event::connected);
    }
}

TEST_CASE("MQTT 5 an assigned client identifier does not take the place of ours") {
    Memory memory;
    memory.client_id = 23;
    Session5 s(memory);
    s.connect(bytes({0x12, 0, 1, 'z'}));
    s.lose();
    s.port.clock += s.options.reconnect_max_ms;
    s.expects({0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
}

// --------------------------------------------------------------------------------- what a connection allows

TEST_CASE("MQTT 5 what a server allows holds for one connection; without a connection everything may be queued") {
    Kept s;
    const std::string stingy = bytes({0x21, 0, 1, 0x24, 0, 0x25, 0, 0x27, 0, 0, 0, 30, 0x28, 0, 0x29, 0, 0x2A, 0});
    mqtt::PropertyBuffer<2> identifier;
    identifier.add(prop::subscription_identifier, 1);
    const std::string large(40, 'x');
    const auto refused = [&](bool yes) {
        const auto answer = [&](const mqtt::Result& result) { return name(result.error); };
        CHECK(answer(s.client.publish("t", "x", QoS::at_least_once)) == (yes ? "QoS not supported" : "ok"));
        CHECK(answer(s.client.publish("t", "x", QoS::at_most_once, Retain::yes)) == (yes ? "retain not supported" : "ok"));
        CHECK(answer(s.client.publish("t", large)) == (yes ? "packet too large" : "ok"));
        CHECK(answer(s.client.subscribe("f/#", QoS::at_most_once)) == (yes ? "wildcard subscriptions not supported" : "ok"));
        CHECK(answer(s.client.subscribe("$share/g/f", QoS::at_most_once)) ==
              (yes ? "shared subscriptions not supported" : "ok"));
        CHECK(answer(s.client.subscribe("f", QoS::at_most_once, identifier)) ==
              (yes ? "subscription identifiers not supported" : "ok"));
    };
    s.connect(stingy);
    refused(true);
    s.quiet();
    s.lose();
    refused(false);
    s.port.clock += s.options.reconnect_max_ms;
    s.run();
    s.port.from_client.clear();
    s.sends(connack({}, 1));
    s.expect_event(Event::connected);
    CHECK(s.client.unacknowledged() == 1);
    s.expects(bytes({0x32, 7, 0, 1, 't', 0, 1, 0, 'x', 0x31, 5, 0, 1, 't', 0, 'x', 0x30, 44, 0, 1, 't', 0}) + large +
              bytes({0x82, 9, 0, 2, 0, 0, 3, 'f', '/', '#', 0, 0x82, 16, 0, 3, 0, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/',
                     'g', '/', 'f', 0, 0x82, 9, 0, 4, 2, 0x0B, 1, 0, 1, 'f', 0}));
    refused(false);
    s.run();
    s.reconnect(stingy, true);
    // What waited, and is not taken, is told; what was sent before, and must not be, too.
    std::multiset<std::string> errors;
    for (Event event = s.next(); event.kind == Event::dropped; event = s.next()) errors.insert(name(event.error));
    CHECK(errors.count("QoS not supported") == 2);
    CHECK(errors.count("wildcard subscriptions not supported") == 2);
    CHECK(errors.count("shared subscriptions not supported") == 2);
    CHECK(errors.count("subscription identifiers not supported") == 2);
    CHECK(errors.size() == 8);
    s.quiet();
    refused(true);
}

// ------------------------------------------------------------------------------------ DISCONNECT from the server

namespace {

// Those that a server may send (table 3-10; 0x8C stands in table 2-6 only, but brokers send it).
const std::set<int> server_reasons = {0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E,
                                      0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B,
                                      0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2};

void refuses(const std::string& sent, int reason, Error error) {
    INFO(test::hex(sent));
    for (const size_t piece : {size_t(1), size_t(1000)}) {
        Session5 s;
        s.connect();
        s.port.read_limit = piece;
        s.sends(sent);
        s.rejects_with(reason, error);
        s.reconnect();
    }
}

}  // namespace

TEST_CASE("MQTT 5 [MQTT-4.13.2-1] a server's DISCONNECT is told with its reason and properties, and closes the connection without another word") {
    const std::string list = bytes({0x1F, 0, 3, 'b', 'y', 'e', 0x1C, 0, 3, 'x', ':', '1', 0x26, 0, 1, 'k', 0, 1, 'v'});
    for (const int code : server_reasons)
        for (const size_t piece : {size_t(1), size_t(1000)}) {
            CAPTURE(code);
            Session5 s;
            s.connect();
            s.port.read_limit = piece;
            s.sends(packet(0xE0, bytes({code}) + properties(list)));
            s.sends({0x30, 5, 0, 1, 't', 0, 'x'});   // behind it nothing counts
            if (code % 2 == 0) s.port.cut = true;
            const Told told = disconnected(s);
            CHECK(name(told.event.error) == "server disconnected");
            CHECK(static_cast<int>(told.event.reason) == code);
            CHECK(told.reason_string == "bye");
            CHECK(told.server_reference == "x:1");
            CHECK(told.user_property == "v");
            CHECK_FALSE(s.port.is_open);
            CHECK(s.port.closes == 1);
            s.quiet();
            s.reconnect();
            CHECK(s.port.host == "server");   // it is not followed unless that is asked for
            s.port.cut = true;
            const Told later = disconnected(s);
            CHECK(later.event.reason == ReasonCode::success);
            CHECK(later.event.properties.empty());
        }
}

TEST_CASE("MQTT 5 a server's DISCONNECT may leave out its properties, or say nothing at all") {
    const std::string forms[] = {bytes({0xE0, 0}), bytes({0xE0, 1, 0}), bytes({0xE0, 2, 0, 0}), bytes({0xE0, 1, 0x89}),
                                 bytes({0xE0, 2, 0x89, 0})};
    for (const std::string& form : forms) {
        CAPTURE(test::hex(form));
        Session5 s;
        s.connect();
        s.sends(form);
        const Told told = disconnected(s);
        CHECK(name(told.event.error) == "server disconnected");
        CHECK(told.event.reason == (form.size() > 2 && form[2] != 0 ? ReasonCode::server_busy : ReasonCode::success));
        CHECK(told.event.properties.empty());
        s.quiet();
    }
}

TEST_CASE("MQTT 5 [MQTT-3.14.2-1] a DISCONNECT with a reason that is not one of its own, or with 0x04 of a client, is a protocol error") {
    for (int code = 1; code < 256; ++code)
        if (server_reasons.count(code) == 0) refuses(bytes({0xE0, 1, code}), 0x82, Error::protocol_error);
}

TEST_CASE("MQTT 5 [MQTT-3.14.2-2] a server's DISCONNECT with a Session Expiry Interval is a protocol error") {
    refuses(bytes({0xE0, 7, 0x89, 5, 0x11, 0, 0, 0, 10}), 0x82, Error::protocol_error);
    refuses(bytes({0xE0, 7, 0x00, 5, 0x11, 0, 0, 0, 0}), 0x82, Error::protocol_error);
}

TEST_CASE("MQTT 5 a DISCONNECT with properties that are not legal is malformed or a protocol error") {
    refuses(bytes({0xE0, 5, 0x89, 3, 0x13, 0, 10}), 0x81, Error::malformed_packet);              // Server Keep Alive
    refuses(bytes({0xE0, 6, 0x89, 4, 0x15, 0, 1, 'm'}), 0x81, Error::malformed_packet);          // Authentication Method
    refuses(bytes({0xE0, 3, 0x89, 1, 0x2B}), 0x81, Error::malformed_packet);                     // none
    refuses(bytes({0xE0, 10, 0x89, 8, 0x1F, 0, 1, 'a', 0x1F, 0, 1, 'b'}), 0x82, Error::protocol_error);
    refuses(bytes({0xE0, 10, 0x89, 8, 0x1C, 0, 1, 'a', 0x1C, 0, 1, 'b'}), 0x82, Error::protocol_error);
    refuses(bytes({0xE0, 6, 0x89, 4, 0x1F, 0, 1, 0xFF}), 0x81, Error::malformed_packet);
    refuses(bytes({0xE0, 5, 0x89, 4, 0x1F, 0, 1}), 0x81, Error::malformed_packet);
    refuses(bytes({0xE0, 7, 0x89, 4, 0x1F, 0, 1, 'a', 0}), 0x81, Error::malformed_packet);
    refuses(bytes({0xE0, 2, 0x89, 1}), 0x81, Error::malformed_packet);
}

TEST_CASE("MQTT 5 [MQTT-3.14.1-1] the reserved flags of DISCONNECT are 0") {
    for (int flags = 1; flags < 16; ++flags) refuses(bytes({0xE0 | flags, 0}), 0x81, Error::malformed_packet);
}

TEST_CASE("MQTT 5 [MQTT-3.14.2-3], [MQTT-3.14.2-4] a server's DISCONNECT larger than our Maximum Packet Size is refused") {
    const std::string with_reason = packet(0xE0, bytes({0x89}) + properties(bytes({0x1F, 0, 13}) + std::string(13, 'w')));
    const std::string with_pair =
        packet(0xE0, bytes({0x89}) + properties(bytes({0x26, 0, 1, 'k', 0, 10}) + std::string(10, 'v')));
    for (const std::string& sent : {with_reason, with_pair})
        for (const uint32_t maximum : {19U, 20U}) {
            Session5 s;
            s.options.maximum_packet_size = maximum;
            s.connect();
            REQUIRE(sent.size() == 20);
            s.sends(sent);
            if (maximum == 19) s.rejects_with(0x95, Error::oversize_packet);
            else CHECK(name(disconnected(s).event.error) == "server disconnected");
        }
}

TEST_CASE("MQTT 5 a DISCONNECT that comes while we write, or wait for an answer, counts at once") {
    Session5 s;
    s.connect();
    SUBCASE("in the middle of a packet") {
        CHECK(s.client.publish("t", "x", QoS::at_least_once).ok());
        s.port.write_limit = 3;
        CHECK(s.client.poll().kind == Event::none);
        s.port.write_limit = 0;
    }
    SUBCASE("while a ping is unanswered") { s.pass(53000); }
    SUBCASE("in the middle of a payload") {
        REQUIRE(s.client.begin_publish("t", 10).ok());
        CHECK(s.client.write_payload("12345").size == 5);
    }
    const std::string before = s.port.from_client;
    s.sends({0xE0, 1, 0x8B});
    CHECK(disconnected(s).event.reason == ReasonCode::server_shutting_down);
    CHECK(s.port.from_client == before);
    CHECK_FALSE(s.port.is_open);
}

TEST_CASE("MQTT 5 a DISCONNECT is told before the loss that follows it, and behind what came before it") {
    Session5 s;
    s.connect();
    s.sends({0x30, 5, 0, 1, 't', 0, 'x', 0xE0, 1, 0x8B});
    s.port.cut = true;
    CHECK(s.expect_event(Event::received).message.topic == "t");
    CHECK(disconnected(s).event.reason == ReasonCode::server_shutting_down);
}

TEST_CASE("MQTT 5 after a DISCONNECT for a reason that lasts the client waits long at once, so that two with one id do not alternate") {
    for (const int code : server_reasons) {
        CAPTURE(code);
        Session5 s;
        s.connect();
        s.sends({0xE0, 1, code});
        s.expect_event(Event::disconnected);
        s.quiet();
        if (code == 0x87 || code == 0x8C || code == 0x8E) CHECK(s.client.idle_ms() >= s.options.reconnect_max_ms / 2);
        else CHECK(s.client.idle_ms() <= s.options.reconnect_min_ms);
        CHECK(s.client.idle_ms() > 0);
        CHECK(s.client.idle_ms() <= s.options.reconnect_max_ms);
    }
}

TEST_CASE("MQTT 5 a session goes on after the server's DISCONNECT") {
    Kept s;
    s.connect();
    fill(s);
    s.sends({0xE0, 1, 0x8B});
    s.expect_event(Event::disconnected);
    CHECK(s.reconnect({}, true).session_present);
    s.expects(sent_again);
}

// ----------------------------------------------------------------------------------- DISCONNECT from the client

TEST_CASE("MQTT 5 [MQTT-3.14.4-1], [MQTT-3.14.4-2] disconnect() sends what is queued, DISCONNECT last, and closes") {
    Session5 s;
    s.connect();
    CHECK(s.client.publish("t", "1", QoS::at_least_once).ok());
    s.port.write_limit = 1;
    CHECK(s.client.disconnect().ok());
    s.sends({0x32, 7, 0, 1, 't', 0, 7, 0, 'x', 0x62, 2, 0, 9, 0xFF});   // is not answered any more
    CHECK(s.expect_event(Event::disconnected).error == Error::ok);
    s.expects({0x32, 7, 0, 1, 't', 0, 1, 0, '1', 0xE0, 0});
    CHECK_FALSE(s.port.is_open);
    CHECK(s.next().kind == Event::none);
    CHECK(s.client.idle_ms() == mqtt::forever);
}

TEST_CASE("MQTT 5 disconnect() with a reason and properties") {
    Kept s;
    s.connect();
    const auto leaves = [&](ReasonCode reason, mqtt::Properties list, std::initializer_list<int> wanted) {
        CHECK(s.client.disconnect(reason, list).ok());
        s.expects(wanted);
        const Event event = s.expect_event(Event::disconnected);
        CHECK(event.error == Error::ok);
        CHECK_FALSE(s.port.is_open);
    };
    mqtt::PropertyBuffer<32> list;
    SUBCASE("none") { leaves(ReasonCode::success, {}, {0xE0, 0}); }
    SUBCASE("the will is to be published") {
        leaves(ReasonCode::disconnect_with_will_message, {}, {0xE0, 1, 0x04});
    }
    SUBCASE("an error") { leaves(ReasonCode::unspecified_error, {}, {0xE0, 1, 0x80}); }
    SUBCASE("another session expiry") {
        leaves(ReasonCode::success, list.add(prop::session_expiry_interval, 10), {0xE0, 7, 0, 5, 0x11, 0, 0, 0, 10});
    }
    SUBCASE("everything") {
        list.add(prop::session_expiry_interval, 0x01020304).add(prop::reason_string, "bye").add(prop::user_property, {"k", "v"});
        leaves(ReasonCode::disconnect_with_will_message, list,
               {0xE0, 20, 0x04, 18, 0x11, 1, 2, 3, 4, 0x1F, 0, 3, 'b', 'y', 'e', 0x26, 0, 1, 'k', 0, 1, 'v'});
    }
}

TEST_CASE("MQTT 5 a DISCONNECT with properties goes out whole, however few bytes the port takes") {
    for (size_t limit = 1; limit < 10; ++limit) {
        Kept s;
        s.connect();
        s.port.write_limit = limit;
        mqtt::PropertyBuffer<8> list;
        CHECK(s.client.disconnect(ReasonCode::success, list.add(prop::session_expiry_interval, 10)).ok());
        list.clear();
        s.expects({0xE0, 7, 0, 5, 0x11, 0, 0, 0, 10});
        CHECK(s.expect_event(Event::disconnected).error == Error::ok);
    }
    for (size_t taken = 0; taken < 9; ++taken) {
        Kept s;
        s.connect();
        s.port.write_limit = taken;
        mqtt::PropertyBuffer<8> list;
        CHECK(s.client.disconnect(ReasonCode::success, list.add(prop::session_expiry_interval, 10)).ok());
        if (taken != 0) CHECK(s.client.poll().kind == Event::none);
        s.port.write_limit = 0;
        CHECK(s.next().kind == Event::none);
        s.port.clock += s.options.response_timeout_ms;
        CHECK(name(s.expect_event(Event::disconnected).error) == "response timeout");
        CHECK(s.client.disconnect().error == Error::not_started);
    }
}

TEST_CASE("MQTT 5 session_expiry_interval in disconnect(): 0 ends the session, anything else keeps it") {
    Kept s;
    s.connect();
    fill(s);
    mqtt::PropertyBuffer<8> list;
    SUBCASE("0") {
        CHECK(s.client.disconnect(ReasonCode::success, list.add(prop::session_expiry_interval, 0)).ok());
        s.expects({0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0});
        s.expect_event(Event::disconnected);
        SUBCASE("and the server knows it") {
            s.connect();
            dropped(s, 1, Error::session_lost);
            dropped(s, 3, Error::session_lost);
            dropped(s, 2, Error::session_lost);
        }
        SUBCASE("and the server has it still") {
            REQUIRE(s.client.connect(s.options).ok());
            s.expects(resumes);
            s.sends(connack({}, 1));
            s.rejects_with(0, Error::session_unknown);
        }
    }
    SUBCASE("1") {
        CHECK(s.client.disconnect(ReasonCode::success, list.add(prop::session_expiry_interval, 1)).ok());
        s.expects({0xE0, 7, 0, 5, 0x11, 0, 0, 0, 1});
        s.expect_event(Event::disconnected);
        CHECK(s.connect({}, true).session_present);
        s.expects(sent_again);
    }
    SUBCASE("other properties than that") {
        CHECK(s.client.disconnect(ReasonCode::success, list.add(prop::reason_string, "bye")).ok());
        s.expects({0xE0, 8, 0, 6, 0x1F, 0, 3, 'b', 'y', 'e'});
        s.expect_event(Event::disconnected);
        CHECK(s.connect({}, true).session_present);
        s.expects(sent_again);
    }
}

TEST_CASE("MQTT 5 [MQTT-3.14.2-1] disconnect() refuses what is not legal, and the connection goes on") {
    Kept s;
    mqtt::PropertyBuffer<300> list;
    Error error = Error::invalid_properties;
    ReasonCode reason = ReasonCode::success;
    SUBCASE("a session that was to end with the connection cannot be kept") {
        s.options.session_expiry_interval = 0;
        list.add(prop::session_expiry_interval, 1);
    }
    SUBCASE("nor a clean one") {
        s.options.clean_session = true;
        list.add(prop::session_expiry_interval, 1);
    }
    SUBCASE("Server Reference is the server's") { list.add(prop::server_reference, "x"); }
    SUBCASE("a property of another packet") { list.add(prop::server_keep_alive, 1); }
    SUBCASE("one twice") { list.add(prop::reason_string, "a").add(prop::reason_string, "b"); }
    SUBCASE("bad text") { list.add(prop::reason_string, "\xFF"); }
    SUBCASE("a reason of another packet") {
        error = Error::invalid_argument;
        SUBCASE("0x01") { reason = ReasonCode::granted_qos_1; }
        SUBCASE("0x85") { reason = ReasonCode::client_identifier_not_valid; }
        SUBCASE("0x18") { reason = ReasonCode::continue_authentication; }
        SUBCASE("none") { reason = static_cast<ReasonCode>(0xA3); }
    }
    s.connect();
    CHECK(name(s.client.disconnect(reason, list).error) == name(error));
    s.quiet();
    CHECK(s.client.connected());
    CHECK(s.client.disconnect().ok());
    s.expects({0xE0, 0});
    CHECK(s.expect_event(Event::disconnected).error == Error::ok);
}

TEST_CASE("MQTT 5 [MQTT-3.14.2-3], [MQTT-3.14.2-4] a DISCONNECT that is too large for the server, or for tx, is refused, so that it can be repeated without its texts") {
    Session5 s(256, 16 + 60 + 44);
    mqtt::PropertyBuffer<100> list;
    const std::string value(48, 'v');
    SUBCASE("the server: a reason string") {
        s.connect(bytes({0x27, 0, 0, 0, 9}));
        CHECK(name(s.client.disconnect(ReasonCode::success, list.add(prop::reason_string, "byes")).error) == "packet too large");
        list.clear();
        CHECK(s.client.disconnect(ReasonCode::success, list.add(prop::reason_string, "by")).ok());
        s.expects({0xE0, 7, 0, 5, 0x1F, 0, 2, 'b', 'y'});
    }
    SUBCASE("the server: a user property") {
        s.connect(bytes({0x27, 0, 0, 0, 10}));
        list.add(prop::user_property, {"k", "v"});
        CHECK(name(s.client.disconnect(ReasonCode::success, list).error) == "packet too large");
        CHECK(s.client.disconnect(ReasonCode::unspecified_error).ok());
        s.expects({0xE0, 1, 0x80});
    }
    SUBCASE("tx") {
        s.connect();
        s.port.write_limit = 0;
        CHECK(s.client.publish("t", "x", QoS::at_least_once).ok());
        list.add(prop::user_property, {"k", value});
        CHECK(name(s.client.disconnect(ReasonCode::success, list).error) == "no space");
        CHECK(s.client.disconnect().ok());
        s.port.write_limit = SIZE_MAX;
        s.expects({0x32, 7, 0, 1, 't', 0, 1, 0, 'x', 0xE0, 0});
    }
    CHECK(s.expect_event(Event::disconnected).error == Error::ok);
}

TEST_CASE("MQTT 5 disconnect() without a connection just stops, whatever its reason") {
    Session5 s;
    s.port.refuse = true;
    REQUIRE(s.client.connect(s.options).ok());
    s.expect_event(Event::disconnected);
    mqtt::PropertyBuffer<8> list;
    CHECK(s.client.disconnect(ReasonCode::disconnect_with_will_message, list.add(prop::session_expiry_interval, 0)).ok());
    CHECK(s.expect_event(Event::disconnected).error == Error::ok);
    CHECK(s.client.disconnect().error == Error::not_started);
    s.quiet();
}

// ------------------------------------------------------------------------------------------- another server

namespace {

struct Follower : Session5 {
    Follower() { options.follow_server_reference = true; }

    // CONNECT, and a refusal that names another server.
    void refused(const std::string& reference, int reason = 0x9C) {
        run();
        REQUIRE(port.is_open);
        port.from_client.clear();
        sends(connack(bytes({0x1C}) + text(reference), 0, reason));
        const Event event = expect_event(Event::disconnected);
        CHECK(event.properties.get(prop::server_reference).value_or("") == reference);
    }
    // The next attempt goes there.
    void goes_to(const std::string& host, int number) {
        port.clock += options.reconnect_max_ms;
        run();
        CHECK(port.is_open);
        CHECK(port.host == host);
        CHECK(port.port == number);
        CHECK(port.from_client.substr(0, 1) == "\x10");
    }
};

}  // namespace

TEST_CASE("MQTT 5 a server that is named instead of the refusing one is followed, if that is asked for, in every form") {
    const struct {
        std::string reference, host;
        int port;
    } rows[] = {
        {"other", "other", 1883},
        {"other.example.org:8883", "other.example.org", 8883},
        {"10.20.151.7:1884", "10.20.151.7", 1884},
        {"[fe80::9610:3eff:fe1c]:1884", "fe80::9610:3eff:fe1c", 1884},
        {"[fe80::9610:3eff:fe1c]", "fe80::9610:3eff:fe1c", 1883},
        {"first:1 second:2 [::3]:3", "first", 1},
        {"first second", "first", 1883},
        {"[::1] second", "::1", 1883},
        {"x:65535", "x", 65535},
        {"x:00001", "x", 1},
    };
    for (const auto& row : rows)
        for (const int reason : {0x9C, 0x9D}) {
            CAPTURE(row.reference);
            Follower s;
            REQUIRE(s.client.connect(s.options).ok());
            s.refused(row.reference, reason);
            s.goes_to(row.host, row.port);
            s.accept();
            // Refused by DISCONNECT:
            s.sends(packet(0xE0, bytes({reason}) + properties(bytes({0x1C}) + text(row.reference))));
            CHECK(disconnected(s).server_reference == row.reference);
            s.goes_to(row.host, row.port);
            s.accept();
            // And the connection after that goes to ours again.
            s.lose();
            s.goes_to("server", 1883);
            s.accept();
        }
}

TEST_CASE("MQTT 5 references that make no sense are not followed") {
    const std::string references[] = {"", " ", " other", ":1884", "other:", "other:0", "other:65536", "other:99999",
                                      "other:1883x", "other:x", "other:-1", "other:+1", "other:1:2", "fe80::1", "::1",
                                      "[::1", "[]", "[]:1884", "[::1]1884", "[::1]x1884", "[::1]:", "[::1]:0",
                                      "[::1]:65536", "other:4294968179", "other:18446744073709553499", "["};
    for (const std::string& reference : references) {
        CAPTURE(reference);
        Follower s;
        REQUIRE(s.client.connect(s.options).ok());
        s.refused(reference);
        s.goes_to("server", 1883);
        s.accept();
    }
}

TEST_CASE("MQTT 5 a reference is followed only when it is asked for, and with a reason that says so") {
    const std::string list = bytes({0x1C}) + text("other:1");
    SUBCASE("not asked for") {
        Follower s;
        s.options.follow_server_reference = false;
        REQUIRE(s.client.connect(s.options).ok());
        s.refused("other:1");
        s.goes_to("server", 1883);
    }
    SUBCASE("another reason in CONNACK") {
        for (const int reason : {0x80, 0x87, 0x88, 0x89, 0x9B, 0x9F}) {
            Follower s;
            REQUIRE(s.client.connect(s.options).ok());
            s.refused("other:1", reason);
            s.goes_to("server", 1883);
        }
    }
    SUBCASE("another reason in DISCONNECT") {
        for (const int reason : {0x00, 0x89, 0x8B, 0x98, 0xA0}) {
            Follower s;
            s.connect();
            s.sends(packet(0xE0, bytes({reason}) + properties(list)));
            CHECK(disconnected(s).server_reference == "other:1");
            s.goes_to("server", 1883);
        }
    }
    SUBCASE("in a CONNACK that accepts") {
        Follower s;
        s.connect(list);
        s.lose();
        s.goes_to("server", 1883);
    }
    SUBCASE("the reason, but no reference") {
        Follower s;
        s.connect();
        s.sends({0xE0, 1, 0x9C});
        s.expect_event(Event::disconnected);
        s.goes_to("server", 1883);
    }
}

TEST_CASE("MQTT 5 a named server that does not work is left for ours") {
    Follower s;
    REQUIRE(s.client.connect(s.options).ok());
    s.refused("other:1");
    SUBCASE("it cannot be reached") {
        s.port.refuse = true;
        s.port.clock += s.options.reconnect_max_ms;
        CHECK(name(s.expect_event(Event::disconnected).error) == "connect failed");
        CHECK(s.port.host == "other");
        s.port.refuse = false;
    }
    SUBCASE("it does not answer") {
        s.port.hang = true;
        s.port.clock += s.options.reconnect_max_ms;
        CHECK(s.next().kind == Event::none);
        CHECK(s.port.host == "other");
        s.port.clock += s.options.connect_timeout_ms;
        CHECK(name(s.expect_event(Event::disconnected).error) == "connect timeout");
        s.port.hang = false;
    }
    SUBCASE("it closes") {
        s.goes_to("other", 1);
        s.port.cut = true;
        CHECK(name(s.expect_event(Event::disconnected).error) == "connection lost");
    }
    SUBCASE("it refuses us") {
        s.goes_to("other", 1);
        s.sends(connack({}, 0, 0x87));
        CHECK(s.expect_event(Event::disconnected).reason == ReasonCode::not_authorized);
    }
    SUBCASE("it breaks the rules") {
        s.goes_to("other", 1);
        s.port.from_client.clear();
        s.sends(connack({}, 2));
        s.rejects_with(0x81, Error::malformed_packet);
    }
    s.goes_to("server", 1883);
    s.accept();
    CHECK(s.client.connected());
}

TEST_CASE("MQTT 5 the name of the server stays until the port has opened, however often open() is called") {
    Follower s;
    REQUIRE(s.client.connect(s.options).ok());
    s.refused("a-rather-long-name.example.org:8883");
    CHECK(s.client.publish("some/topic", std::string(300, 'x'), QoS::at_least_once).ok());
    s.port.opening = 5;
    s.port.clock += s.options.reconnect_max_ms;
    for (int i = 0; i < 5; ++i) {
        s.port.host.clear();
        CHECK(s.client.poll().kind == Event::none);
        CHECK(s.port.host == "a-rather-long-name.example.org");
        CHECK(s.port.port == 8883);
        CHECK_FALSE(s.port.is_open);
    }
    s.accept();
    CHECK(s.port.host == "a-rather-long-name.example.org");
    CHECK(s.port.port == 8883);
}

TEST_CASE("MQTT 5 connect() begins with its own server, whatever was named before") {
    Follower s;
    REQUIRE(s.client.connect(s.options).ok());
    s.refused("other:1");
    SUBCASE("after disconnect()") { CHECK(s.client.disconnect().ok()); }
    SUBCASE("after disconnect() while connecting to it") {
        s.goes_to("other", 1);
        s.port.from_client.clear();
        CHECK(s.client.disconnect().ok());
    }
    SUBCASE("after disconnect() while it is being opened") {
        s.port.hang = true;
        s.port.clock += s.options.reconnect_max_ms;
        CHECK(s.next().kind == Event::none);
        s.port.hang = false;
        CHECK(s.client.disconnect().ok());
    }
    CHECK(s.expect_event(Event::disconnected).error == Error::ok);
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    CHECK(s.port.host == "server");
    CHECK(s.port.port == 1883);
}

TEST_CASE("MQTT 5 without automatic reconnect a reference is told, and not followed") {
    Follower s;
    s.options.reconnect_max_ms = 0;
    REQUIRE(s.client.connect(s.options).ok());
    s.refused("other:1");
    s.pass(3600000);
    CHECK(s.port.opens == 1);
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    CHECK(s.port.host == "server");
}

TEST_CASE("MQTT 5 servers that send us round in circles are asked less and less often") {
    Follower s;
    int asked = 0;
    std::set<std::string> hosts;
    s.server = [&] {
        if (s.port.from_client.empty() || !s.port.is_open) return;
        s.port.from_client.clear();
        ++asked;
        s.port.random_value = s.port.random_value * 1664525 + 1013904223;
        hosts.insert(s.port.host);
        s.sends(connack(bytes({0x1C}) + text(s.port.host == "a" ? "b" : "a"), 0, 0x9C));
    };
    REQUIRE(s.client.connect(s.options).ok());
    (void)s.live(3600000);
    CHECK(asked > 20);
    CHECK(asked < 100);
    CHECK(hosts == std::set<std::string>{"server", "a", "b"});
}

TEST_CASE("MQTT 5 the session goes along to the named server") {
    Follower s;
    s.options.clean_session = false;
    s.connect();
    fill(s);
    s.sends(packet(0xE0, bytes({0x9D}) + properties(bytes({0x1C}) + text("other"))));
    s.expect_event(Event::disconnected);
    s.goes_to("other", 1883);
    s.port.from_client.clear();
    s.sends(connack({}, 1));
    CHECK(s.expect_event(Event::connected).session_present);
    s.expects(sent_again);
}
