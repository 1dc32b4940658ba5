// Messages at QoS 0, 1 and 2 in both directions: what is written, what is told, what is kept, and what comes again.

#include "tests/support/peer.hpp"

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::Session;

constexpr QoS qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

// A client that keeps its session, connected.
struct Kept : Session {
    explicit Kept(size_t rx_size = 256, size_t tx_size = 1024, uint16_t receive_maximum = 20)
        : Session(rx_size, tx_size, receive_maximum) {
        options.clean_session = false;
        connect();
    }
    uint16_t publish(const char* payload, QoS qos) { return client.publish("t", payload, qos).packet_id; }
    // A new connection with what now stands in `options`; the server has the session.
    void restart() {
        REQUIRE(client.abort().ok());
        expect_event(Event::disconnected);
        connect(true);
    }
    void acknowledged(int id) {
        const Event event = expect_event(Event::acknowledged);
        CHECK(event.packet_id == id);
    }
    void received(const char* payload) {
        const Event event = expect_event(Event::received);
        CHECK(event.message.payload.text() == payload);
    }
};

// What comes until nothing more does, as text: "acknowledged 1, dropped 2".
std::string all_events(Session& s) {
    std::string text;
    for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
        const char* const names[] = {"none", "connected", "disconnected", "received", "acknowledged", "subscribed", "unsubscribed",
                                     "dropped", "resend_payload", "skipped", "storage_trouble", "authentication", "pubrec", "pubrel", "pingresp"};
        text += (text.empty() ? "" : ", ") + std::string(names[event.kind]) + " " + std::to_string(event.packet_id);
    }
    return text;
}

}  // namespace

// ----------------------------------------------------------------------------------------------------- sending

TEST_CASE("[MQTT-4.3.1-1] [MQTT-3.3.1-2] a QoS 0 message is written once, with DUP 0, and nothing is told") {
    Kept s;
    CHECK(s.publish("x", QoS::at_most_once) == 0);
    s.expects({0x30, 4, 0, 1, 't', 'x'});
    s.quiet();
    s.reconnect(true);
    s.quiet();
}

TEST_CASE("[MQTT-4.3.2-1] a QoS 1 message is sent with DUP 0, is told as acknowledged by PUBACK, and then forgotten") {
    Kept s;
    CHECK(s.publish("x", qos1) == 1);
    s.expects({0x32, 6, 0, 1, 't', 0, 1, 'x'});
    s.quiet();
    s.sends({0x40, 2, 0, 1});
    s.acknowledged(1);
    s.quiet();
    s.reconnect(true);
    s.quiet();
}

TEST_CASE("[MQTT-4.3.2-1] until its PUBACK a QoS 1 message is kept, through any number of connections") {
    Kept s;
    CHECK(s.publish("x", qos1) == 1);
    s.run();
    for (int i = 0; i < 5; ++i) {
        s.reconnect(true);
        s.expects({0x3A, 6, 0, 1, 't', 0, 1, 'x'});
    }
    s.sends({0x40, 2, 0, 1});
    s.acknowledged(1);
    s.reconnect(true);
    s.quiet();
}

TEST_CASE("[MQTT-4.3.3-1] [MQTT-2.3.1-6] a QoS 2 message: PUBLISH with DUP 0, PUBREL of the same id after PUBREC, done after PUBCOMP") {
    Kept s;
    CHECK(s.publish("a", qos1) == 1);
    CHECK(s.publish("x", qos2) == 2);
    s.expects({0x32, 6, 0, 1, 't', 0, 1, 'a', 0x34, 6, 0, 1, 't', 0, 2, 'x'});
    s.sends({0x50, 2, 0, 2});
    CHECK(s.expect_event(Event::pubrec).packet_id == 2);
    s.expects({0x62, 2, 0, 2});
    s.quiet();
    s.sends({0x70, 2, 0, 2});
    s.acknowledged(2);
    s.quiet();
    s.reconnect(true);
    s.expects({0x3A, 6, 0, 1, 't', 0, 1, 'a'});
}

TEST_CASE("many messages in flight go out in the order of publish(), whatever their QoS") {
    Kept s(256, 4096);
    std::string wanted;
    int id = 0;
    for (int i = 0; i < 60; ++i) {
        const QoS qos = static_cast<QoS>(i % 3);
        const char payload[] = {static_cast<char>('A' + i), 0};
        const uint16_t got = s.publish(payload, qos);
        if (qos == QoS::at_most_once) {
            CHECK(got == 0);
            wanted += bytes({0x30, 4, 0, 1, 't', 'A' + i});
        } else {
            CHECK(got == ++id);
            wanted += bytes({qos == qos1 ? 0x32 : 0x34, 6, 0, 1, 't', 0, id, 'A' + i});
        }
    }
    s.expects(wanted);
}

TEST_CASE("answers may come in any order; each is told for its message") {
    const int orders[][4] = {{1, 2, 3, 4}, {4, 3, 2, 1}, {2, 4, 1, 3}, {3, 1, 4, 2}, {1, 4, 2, 3}};
    for (const auto& order : orders) {
        Kept s;
        for (int i = 0; i < 4; ++i) CHECK(s.publish("x", i % 2 == 0 ? qos1 : qos2) == i + 1);
        s.run();
        s.port.from_client.clear();
        for (const int id : order) {
            if (id % 2 == 0) {
                s.sends({0x50, 2, 0, id});
                CHECK(s.expect_event(Event::pubrec).packet_id == id);
                s.expects({0x62, 2, 0, id});
                s.sends({0x70, 2, 0, id});
            } else {
                s.sends({0x40, 2, 0, id});
            }
            s.acknowledged(id);
        }
        s.quiet();
        s.reconnect(true);
        s.quiet();
    }
}

TEST_CASE("[MQTT-4.6.0-4] PUBRELs go out in the order of the PUBRECs") {
    Kept s;
    for (int i = 1; i <= 3; ++i) CHECK(s.publish("x", qos2) == i);
    s.run();
    s.port.from_client.clear();
    s.sends({0x50, 2, 0, 3, 0x50, 2, 0, 1, 0x50, 2, 0, 2});
    s.expects({0x62, 2, 0, 3, 0x62, 2, 0, 1, 0x62, 2, 0, 2});
    s.reconnect(true);
    s.expects({0x62, 2, 0, 3, 0x62, 2, 0, 1, 0x62, 2, 0, 2});   // and so again
}

// ------------------------------------------------------------------------------------------------- sending again

TEST_CASE("[MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-2.3.1-3] [MQTT-4.3.3-1] after a reconnect: PUBLISH with DUP, PUBREL and not PUBLISH, old ids, old order, once") {
    Kept s;
    CHECK(s.publish("1", qos1) == 1);
    CHECK(s.publish("2", qos2) == 2);
    CHECK(s.publish("3", qos1) == 3);
    CHECK(s.publish("4", qos2) == 4);
    CHECK(s.publish("5", qos1) == 5);
    s.run();
    s.sends({0x40, 2, 0, 3, 0x50, 2, 0, 4, 0x50, 2, 0, 2});
    s.acknowledged(3);
    s.expect_event(Event::pubrec);
    s.expect_event(Event::pubrec);
    s.run();
    s.lose();
    CHECK(s.publish("6", qos2) == 6);
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(true);
    s.expects({0x3A, 6, 0, 1, 't', 0, 1, '1', 0x3A, 6, 0, 1, 't', 0, 5, '5', 0x62, 2, 0, 4, 0x62, 2, 0, 2,
               0x34, 6, 0, 1, 't', 0, 6, '6'});
    s.quiet();   // once
}

TEST_CASE("nothing is sent again on the same connection, however much time passes") {
    Session s;
    s.options.keep_alive = 0;
    s.connect();
    CHECK(s.client.publish("t", "1", qos1).ok());
    CHECK(s.client.publish("t", "2", qos2).ok());
    CHECK(s.client.publish("t", "3", qos2).ok());
    CHECK(s.client.subscribe("f", QoS::at_most_once).ok());
    s.run();
    s.sends({0x50, 2, 0, 3});
    s.run();
    s.port.from_client.clear();
    s.pass(7 * 86400000U);
    s.expects("");
}

TEST_CASE("[MQTT-3.3.1-1] DUP is set if a single byte of the message may have been sent, and not before") {
    for (size_t written = 0; written <= 8; ++written) {
        CAPTURE(written);
        Kept s;
        CHECK(s.publish("x", qos1) == 1);
        s.port.write_limit = written;
        CHECK(s.client.poll().kind == Event::none);
        CHECK(s.port.from_client.size() == written);
        s.port.write_limit = 0;
        s.lose();
        s.port.write_limit = SIZE_MAX;
        s.port.clock += s.options.reconnect_max_ms;
        s.accept(true);
        s.expects({written == 0 ? 0x32 : 0x3A, 6, 0, 1, 't', 0, 1, 'x'});   // from its first byte
    }
}

TEST_CASE("[MQTT-4.4.0-1] whatever is lost, sending goes on where it was: PUBACK, PUBREC, PUBREL and PUBCOMP lost") {
    Kept s;
    SUBCASE("PUBACK") {
        CHECK(s.publish("x", qos1) == 1);
        s.run();
        s.reconnect(true);
        s.expects({0x3A, 6, 0, 1, 't', 0, 1, 'x'});
        s.sends({0x40, 2, 0, 1});
    }
    SUBCASE("PUBREC") {
        CHECK(s.publish("x", qos2) == 1);
        s.run();
        s.reconnect(true);
        s.expects({0x3C, 6, 0, 1, 't', 0, 1, 'x'});
        s.sends({0x50, 2, 0, 1});
        s.expect_event(Event::pubrec);
        s.expects({0x62, 2, 0, 1});
        s.sends({0x70, 2, 0, 1});
    }
    SUBCASE("PUBREL, never written") {
        CHECK(s.publish("x", qos2) == 1);
        s.run();
        s.port.write_limit = 0;
        s.sends({0x50, 2, 0, 1});
        s.expect_event(Event::pubrec);
        s.lose();
        s.port.write_limit = SIZE_MAX;
        s.port.clock += s.options.reconnect_max_ms;
        s.accept(true);
        s.expects({0x62, 2, 0, 1});
        s.sends({0x70, 2, 0, 1});
    }
    SUBCASE("PUBREL or PUBCOMP") {
        CHECK(s.publish("x", qos2) == 1);
        s.run();
        s.sends({0x50, 2, 0, 1});
        s.run();
        for (int i = 0; i < 3; ++i) {
            s.reconnect(true);
            s.expects({0x62, 2, 0, 1});
        }
        s.sends({0x70, 2, 0, 1});
    }
    s.acknowledged(1);
    s.quiet();
    s.reconnect(true);
    s.quiet();
    CHECK(s.publish("y", qos1) == 2);
}

TEST_CASE("each accepted message ends in one event, also if the session is lost") {
    Kept s;
    for (int i = 1; i <= 6; ++i) CHECK(s.publish("x", i % 2 == 0 ? qos2 : qos1) == i);
    s.run();
    s.sends({0x50, 2, 0, 4, 0x40, 2, 0, 5, 0x50, 2, 0, 2});
    CHECK(all_events(s) == "pubrec 4, acknowledged 5, pubrec 2");
    s.sends({0x70, 2, 0, 2});
    CHECK(all_events(s) == "acknowledged 2");
    s.reconnect(false);
    CHECK(all_events(s) == "dropped 1, dropped 3, dropped 6, dropped 4");
    s.quiet();
    s.sends({0x40, 2, 0, 1, 0x70, 2, 0, 4, 0x50, 2, 0, 6});   // late answers are for nobody
    s.quiet();
    s.reconnect(true);
    s.quiet();
    CHECK(s.publish("y", qos1) == 7);
}

// ---------------------------------------------------------------------------------------------------- receiving

TEST_CASE("[MQTT-3.3.4-1] [MQTT-2.3.1-6] QoS 0 is answered by nothing, QoS 1 by PUBACK, QoS 2 by PUBREC, with the message's id") {
    Kept s;
    s.sends({0x31, 4, 0, 1, 't', 'a', 0x32, 6, 0, 1, 't', 0x12, 0x34, 'b', 0x3D, 6, 0, 1, 't', 0xFF, 0xFF, 'c'});
    Event event = s.expect_event(Event::received);
    CHECK(event.message.topic == "t");
    CHECK(event.message.payload.text() == "a");
    CHECK(event.message.qos == QoS::at_most_once);
    CHECK(event.message.retain);
    CHECK_FALSE(event.message.duplicate);
    CHECK(event.message.packet_id == 0);
    event = s.expect_event(Event::received);
    CHECK(event.message.payload.text() == "b");
    CHECK(event.message.qos == qos1);
    CHECK_FALSE(event.message.retain);
    CHECK(event.message.packet_id == 0x1234);
    CHECK(event.packet_id == 0x1234);
    event = s.expect_event(Event::received);
    CHECK(event.message.payload.text() == "c");
    CHECK(event.message.qos == qos2);
    CHECK(event.message.retain);
    CHECK(event.message.duplicate);
    CHECK(event.message.packet_id == 0xFFFF);
    CHECK(event.message.complete());
    s.expects({0x40, 2, 0x12, 0x34, 0x50, 2, 0xFF, 0xFF});
    s.quiet();
}

TEST_CASE("an answer goes out when the application has seen the message: by the next poll(), and not before (vibe-mqtt)") {
    for (const int first : {0x32, 0x34}) {
        Kept s;
        s.sends({first, 6, 0, 1, 't', 0, 7, 'x'});
        Event event;
        do event = s.client.poll();
        while (event.kind == Event::none);
        CHECK(event.kind == Event::received);
        CHECK(s.port.from_client == "");
        s.client.flush();                                  // not even then
        CHECK(s.port.from_client == "");
        CHECK(event.message.payload.text() == "x");        // and the view is still good
        CHECK(s.client.poll().kind == Event::none);
        CHECK(test::hex(s.port.from_client) == test::hex(bytes({first == 0x32 ? 0x40 : 0x50, 2, 0, 7})));
    }
}

TEST_CASE("a message that the application was told of just before the connection is lost is not acknowledged on the next one") {
    Kept s;
    s.sends({0x32, 6, 0, 1, 't', 0, 7, 'x'});
    s.port.cut = true;
    s.received("x");
    s.expect_event(Event::disconnected);
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(true);
    s.quiet();
    s.sends({0x3A, 6, 0, 1, 't', 0, 7, 'x'});
    s.received("x");   // at least once
    s.expects({0x40, 2, 0, 7});
}

TEST_CASE("[MQTT-4.3.2-2] after PUBACK an id is that of a new message, whatever DUP says") {
    Kept s;
    for (const int first : {0x32, 0x32, 0x3A, 0x3A}) {
        s.sends({first, 6, 0, 1, 't', 0, 7, 'x'});
        s.received("x");
        s.expects({0x40, 2, 0, 7});
    }
}

TEST_CASE("[MQTT-4.3.3-2] until PUBREL a QoS 2 message that comes again is answered with PUBREC and not delivered, also with DUP 0; after PUBCOMP it is new") {
    Kept s;
    s.sends({0x34, 6, 0, 1, 't', 0, 7, 'x'});
    s.received("x");
    s.expects({0x50, 2, 0, 7});
    for (const int first : {0x34, 0x3C, 0x34}) {
        s.sends({first, 6, 0, 1, 't', 0, 7, 'x'});
        CHECK(s.next().kind == Event::none);
        s.expects({0x50, 2, 0, 7});
    }
    s.reconnect(true);
    s.quiet();   // nothing is due before the server asks
    for (const int first : {0x3C, 0x34}) {
        s.sends({first, 6, 0, 1, 't', 0, 7, 'x'});
        CHECK(s.next().kind == Event::none);
        s.expects({0x50, 2, 0, 7});
    }
    s.sends({0x62, 2, 0, 7});
    CHECK(s.expect_event(Event::pubrel).packet_id == 7);
    s.expects({0x70, 2, 0, 7});
    s.sends({0x3C, 6, 0, 1, 't', 0, 7, 'y'});
    s.received("y");
    s.expects({0x50, 2, 0, 7});
}

TEST_CASE("[MQTT-4.3.3-2] exactly once, whichever of PUBREC, PUBREL and PUBCOMP is lost with the connection") {
    Kept s;
    s.sends({0x34, 6, 0, 1, 't', 0, 7, 'x'});
    s.received("x");
    SUBCASE("PUBREC, never written") {
        s.port.write_limit = 0;
        s.lose();
        s.port.write_limit = SIZE_MAX;
        s.port.clock += s.options.reconnect_max_ms;
        s.accept(true);
        s.quiet();
    }
    SUBCASE("PUBREC, written") {
        s.run();
        s.reconnect(true);
        s.quiet();
    }
    SUBCASE("PUBREL") {
        s.expects({0x50, 2, 0, 7});
        s.reconnect(true);
    }
    s.sends({0x3C, 6, 0, 1, 't', 0, 7, 'x'});
    CHECK(s.next().kind == Event::none);
    s.expects({0x50, 2, 0, 7});
    s.sends({0x62, 2, 0, 7});
    s.expect_event(Event::pubrel);
    s.run();
    s.reconnect(true);   // PUBCOMP was lost: the server repeats PUBREL
    s.sends({0x62, 2, 0, 7});
    s.expect_event(Event::pubrel);
    s.expects({0x70, 2, 0, 7});
}

TEST_CASE("[MQTT-4.3.3-2] PUBREL for an id that is not known is answered with PUBCOMP") {
    Kept s;
    s.sends({0x62, 2, 0x12, 0x34});
    CHECK(s.expect_event(Event::pubrel).packet_id == 0x1234);
    s.expects({0x70, 2, 0x12, 0x34});
}

TEST_CASE("[MQTT-4.6.0-2] [MQTT-4.6.0-3] answers go out in the order in which the messages came") {
    Kept s;
    s.sends({0x32, 6, 0, 1, 't', 0, 9, 'a', 0x34, 6, 0, 1, 't', 0, 3, 'b', 0x32, 6, 0, 1, 't', 0, 5, 'c',
             0x34, 6, 0, 1, 't', 0, 8, 'd', 0x32, 6, 0, 1, 't', 0, 1, 'e', 0x34, 6, 0, 1, 't', 0, 2, 'f'});
    s.expects({0x40, 2, 0, 9, 0x50, 2, 0, 3, 0x40, 2, 0, 5, 0x50, 2, 0, 8, 0x40, 2, 0, 1, 0x50, 2, 0, 2});
}

TEST_CASE("[MQTT-4.3.3-2] ids of QoS 2 messages are remembered whatever order they come and are released in") {
    Kept s;
    const int ids[] = {5, 9, 3, 7, 1};
    for (const int id : ids) {
        s.sends({0x34, 6, 0, 1, 't', 0, id, 'x'});
        s.received("x");
    }
    s.run();
    s.port.from_client.clear();
    const int released[] = {3, 1, 5, 9, 7};
    std::string known = {5, 9, 3, 7, 1};
    for (const int id : released) {
        s.sends({0x62, 2, 0, id});
        s.expect_event(Event::pubrel);
        s.expects({0x70, 2, 0, id});
        known.erase(known.find(static_cast<char>(id)), 1);
        for (const char other : known) {
            s.sends({0x34, 6, 0, 1, 't', 0, other, 'x'});
            CHECK(s.next().kind == Event::none);
            s.expects({0x50, 2, 0, other});
        }
    }
    for (const int id : ids) {
        s.sends({0x34, 6, 0, 1, 't', 0, id, 'y'});
        s.received("y");
    }
}

TEST_CASE("[MQTT-4.3.3-2] the server's ids wrap around: 65534, 65535, 1, 2 are in sequence for nobody, and all remembered") {
    Kept s;
    const int ids[] = {65534, 65535, 1, 2};
    for (int round = 0; round < 3; ++round) {
        for (const int id : ids) {
            s.sends({round == 0 ? 0x34 : 0x3C, 6, 0, 1, 't', id >> 8, id & 255, 'x'});
            if (round == 0) s.received("x");
            CHECK(s.next().kind == Event::none);
            s.expects({0x50, 2, id >> 8, id & 255});
        }
        s.reconnect(true);
    }
}

TEST_CASE("[MQTT-4.3.3-2] as many QoS 2 messages as receive_maximum, and they may all come again") {
    for (const int maximum : {1, 2, 5}) {
        Kept s(256, 1024, static_cast<uint16_t>(maximum));
        for (int round = 0; round < 3; ++round) {
            for (int id = 1; id <= maximum; ++id) {
                s.sends({round == 0 ? 0x34 : 0x3C, 6, 0, 1, 't', 0, id, 'x'});
                if (round == 0) s.received("x");
                CHECK(s.next().kind == Event::none);
                s.expects({0x50, 2, 0, id});
            }
            s.sends({0x30, 4, 0, 1, 't', '0'});   // QoS 0 has no part in it
            s.received("0");
            s.reconnect(true);
        }
        s.sends({0x62, 2, 0, 1});
        s.expect_event(Event::pubrel);
        s.sends({0x34, 6, 0, 1, 't', 0, 77, 'y'});
        s.received("y");
        CHECK(s.client.connected());
    }
}

TEST_CASE("[MQTT-4.8.0-2] one QoS 2 message more than receive_maximum cannot be taken: the connection is closed, and it is not acknowledged") {
    Kept s(256, 1024, 2);
    s.sends({0x34, 6, 0, 1, 't', 0, 1, 'x', 0x34, 6, 0, 1, 't', 0, 2, 'x'});
    s.received("x");
    s.received("x");
    s.expects({0x50, 2, 0, 1, 0x50, 2, 0, 2});
    s.sends({0x34, 6, 0, 1, 't', 0, 3, 'x'});
    s.quiet();
    s.port.clock += 9999;   // the server gets response_timeout_ms to see the answers
    s.quiet();
    CHECK(s.client.connected());
    CHECK(s.client.idle_ms() == 1);
    s.port.clock += 1;
    CHECK(s.expect_event(Event::disconnected).error == Error::receive_maximum_exceeded);
    CHECK_FALSE(s.port.is_open);
    s.expects("");
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(true);
    s.sends({0x62, 2, 0, 1, 0x34, 6, 0, 1, 't', 0, 3, 'x'});   // now there is room
    s.expect_event(Event::pubrel);
    s.received("x");
    s.expects({0x70, 2, 0, 1, 0x50, 2, 0, 3});
}

TEST_CASE("answers have room where messages have none, and reading stops while there is none for them") {
    for (size_t tx = 88; tx < 132; tx += 4) {
        CAPTURE(tx);
        Kept s(256, tx, 20);
        while (s.client.publish("t", "x", qos1).ok()) {}
        s.run();
        s.port.from_client.clear();
        s.port.write_limit = 0;
        std::string answers;
        for (int id = 1; id <= 20; ++id) {
            s.sends({0x62, 2, 0, id});
            answers += bytes({0x70, 2, 0, id});
        }
        s.sends({0x32, 6, 0, 1, 't', 0, 99, 'x'});
        std::string told;
        for (Event event = s.next(); event.kind != Event::none; event = s.next()) told += static_cast<char>(event.packet_id);
        CHECK(told.size() >= 3);
        CHECK(told.size() < 21);
        CHECK(s.client.connected());
        s.port.write_limit = SIZE_MAX;
        for (Event event = s.next(); event.kind != Event::none; event = s.next()) told += static_cast<char>(event.packet_id);
        CHECK(told.size() == 21);
        s.expects(answers + bytes({0x40, 2, 0, 99}));
    }
}

// ------------------------------------------------------------------------------------- answers that nobody waits for

TEST_CASE("answers for ids that wait for nothing are passed over; PUBREC gets no PUBREL (vibe-mqtt)") {
    Kept s;
    CHECK(s.publish("x", qos1) == 1);
    s.run();
    s.port.from_client.clear();
    s.sends({0x40, 2, 0, 9, 0x50, 2, 0, 9, 0x70, 2, 0, 9, 0x90, 3, 0, 9, 0, 0xB0, 2, 0, 9});
    s.quiet();
    CHECK(s.client.connected());
    s.sends({0x40, 2, 0, 1, 0x40, 2, 0, 1});   // a second PUBACK is one of them
    s.acknowledged(1);
    s.quiet();
}

TEST_CASE("a second PUBREC is passed over: PUBREL is on its way") {
    Kept s;
    CHECK(s.publish("x", qos2) == 1);
    s.run();
    s.port.from_client.clear();
    s.sends({0x50, 2, 0, 1, 0x50, 2, 0, 1});
    s.expect_event(Event::pubrec);
    s.expects({0x62, 2, 0, 1});
    s.sends({0x50, 2, 0, 1});
    s.quiet();
    s.sends({0x70, 2, 0, 1});
    s.acknowledged(1);
    s.quiet();
}

TEST_CASE("[MQTT-4.8.0-1] an answer of the wrong type is a protocol error, and the message is kept") {
    struct Case {
        int state;              // 1: QoS 1; 2: QoS 2; 3: PUBREL sent; 4: SUBSCRIBE; 5: UNSUBSCRIBE
        int right;              // first byte of the answer that is right
    };
    for (const Case& c : {Case{1, 0x40}, Case{2, 0x50}, Case{3, 0x70}, Case{4, 0x90}, Case{5, 0xB0}}) {
        for (const int answer : {0x40, 0x50, 0x70, 0x90, 0xB0}) {
            if (answer == c.right || (c.state == 3 && answer == 0x50)) continue;
            CAPTURE(c.state);
            CAPTURE(answer);
            Kept s;
            if (c.state == 1) CHECK(s.publish("x", qos1) == 1);
            if (c.state == 2 || c.state == 3) CHECK(s.publish("x", qos2) == 1);
            if (c.state == 4) CHECK(s.client.subscribe("f", QoS::at_most_once).packet_id == 1);
            if (c.state == 5) CHECK(s.client.unsubscribe("f").packet_id == 1);
            s.run();
            if (c.state == 3) {
                s.sends({0x50, 2, 0, 1});
                s.expect_event(Event::pubrec);
                s.run();
            }
            if (answer == 0x90)
                s.sends({0x90, 3, 0, 1, 0});
            else
                s.sends({answer, 2, 0, 1});
            CHECK(s.expect_event(Event::disconnected).error == Error::protocol_error);
            CHECK_FALSE(s.port.is_open);
            s.port.clock += s.options.reconnect_max_ms;
            s.accept(true);
            if (c.state == 1) s.expects({0x3A, 6, 0, 1, 't', 0, 1, 'x'});
            if (c.state == 2) s.expects({0x3C, 6, 0, 1, 't', 0, 1, 'x'});
            if (c.state == 3) s.expects({0x62, 2, 0, 1});
            if (c.state == 4) s.expects({0x82, 6, 0, 1, 0, 1, 'f', 0});
            if (c.state == 5) s.expects({0xA2, 5, 0, 1, 0, 1, 'f'});
        }
    }
}

TEST_CASE("an answer is not accepted before its packet has been written to the last byte") {
    for (const QoS qos : {qos1, qos2}) {
        const int answer = qos == qos1 ? 0x40 : 0x50;
        const std::string packet = bytes({qos == qos1 ? 0x32 : 0x34, 6, 0, 1, 't', 0, 1, 'x'});
        for (size_t written = 0; written < 8; ++written) {
            CAPTURE(written);
            Kept s;
            CHECK(s.publish("x", qos) == 1);
            s.port.write_limit = written;
            CHECK(s.client.poll().kind == Event::none);
            s.port.write_limit = 0;
            s.sends({answer, 2, 0, 1});
            CHECK(s.next().kind == Event::none);
            s.port.write_limit = SIZE_MAX;
            s.expects(packet);                       // nothing is cut out of the stream
            s.sends({answer, 2, 0, 1});
            CHECK(s.next().packet_id == 1);
        }
    }
}

TEST_CASE("an answer is not accepted for a packet that is not yet sent again") {
    Kept s;
    CHECK(s.publish("1", qos1) == 1);
    CHECK(s.publish("2", qos2) == 2);
    CHECK(s.publish("3", qos2) == 3);
    s.run();
    s.sends({0x50, 2, 0, 2});
    s.expect_event(Event::pubrec);
    s.run();
    s.lose();
    s.port.clock += s.options.reconnect_max_ms;
    s.run();
    s.port.from_client.clear();
    s.port.write_limit = 0;
    s.sends({0x20, 2, 1, 0, 0x40, 2, 0, 1, 0x70, 2, 0, 2, 0x50, 2, 0, 3});
    s.expect_event(Event::connected);
    CHECK(s.next().kind == Event::none);
    s.port.write_limit = SIZE_MAX;
    s.expects({0x3A, 6, 0, 1, 't', 0, 1, '1', 0x3C, 6, 0, 1, 't', 0, 3, '3', 0x62, 2, 0, 2});
}

// ------------------------------------------------------------------------------------------------------ packet ids

TEST_CASE("[MQTT-2.3.1-2] packet ids count from 1 for all that needs one, and a call that is refused uses none") {
    Kept s(256, 256);
    CHECK(s.publish("x", qos1) == 1);
    CHECK(s.client.subscribe("f", QoS::at_most_once).packet_id == 2);
    CHECK(s.client.publish("#", "x", qos1).packet_id == 0);
    CHECK(s.client.publish("t", std::string(150, 'x'), qos1).error == Error::no_space);
    CHECK(s.client.subscribe("f#", QoS::at_most_once).packet_id == 0);
    CHECK(s.client.unsubscribe("f").packet_id == 3);
    CHECK(s.publish("x", QoS::at_most_once) == 0);
    CHECK(s.publish("x", qos2) == 4);
}

TEST_CASE("[MQTT-2.3.1-2] [MQTT-2.3.1-3] ids wrap at 65535, and one that is stuck is skipped while 70,000 others pass") {
    for (int stuck = 0; stuck < 3; ++stuck) {   // awaiting PUBACK, PUBREC, PUBCOMP
        CAPTURE(stuck);
        Session s(64, 128, 1);
        s.options.clean_session = false;
        s.connect();
        CHECK(s.client.publish("t", "x", stuck == 0 ? qos1 : qos2).packet_id == 1);
        s.run();
        if (stuck == 2) {
            s.sends({0x50, 2, 0, 1});
            s.expect_event(Event::pubrec);
            s.run();
        }
        unsigned wanted = 1, wrong = 0;
        for (int i = 0; i < 70000; ++i) {
            wanted = wanted == 65535 ? 2 : wanted + 1;   // 1 is in use
            s.port.from_client.clear();
            const bool two = i % 16 == 0;
            const unsigned id = s.client.publish("t", "", two ? qos2 : qos1).packet_id;
            if (id != wanted) ++wrong;
            (void)s.client.poll();
            s.sends({two ? 0x50 : 0x40, 2, static_cast<int>(id >> 8), static_cast<int>(id & 255)});
            Event event = s.client.poll();
            if (two) {
                (void)s.client.poll();
                s.sends({0x70, 2, static_cast<int>(id >> 8), static_cast<int>(id & 255)});
                event = s.client.poll();
            }
            if (event.kind != Event::acknowledged || event.packet_id != id) ++wrong;
        }
        CHECK(wrong == 0);
        s.run();
        s.port.from_client.clear();
        s.reconnect(true);
        if (stuck == 0) s.expects({0x3A, 6, 0, 1, 't', 0, 1, 'x'});
        if (stuck == 1) s.expects({0x3C, 6, 0, 1, 't', 0, 1, 'x'});
        if (stuck == 2) s.expects({0x62, 2, 0, 1});
        s.sends({stuck == 0 ? 0x40 : stuck == 1 ? 0x50 : 0x70, 2, 0, 1});
        CHECK(s.next().packet_id == 1);
    }
}

TEST_CASE("[MQTT-2.3.1-2] the id of a SUBSCRIBE that is not answered is skipped, too") {
    Session s(64, 128, 1);
    s.connect();
    CHECK(s.client.subscribe("f", QoS::at_most_once).packet_id == 1);
    s.run();
    for (int i = 2; i <= 65535; ++i) {
        const uint16_t id = s.client.publish("t", "", qos1).packet_id;
        (void)s.client.poll();
        s.sends({0x40, 2, id >> 8, id & 255});
        (void)s.client.poll();
    }
    CHECK(s.client.publish("t", "", qos1).packet_id == 2);
    s.sends({0x90, 3, 0, 1, 0});
    CHECK(s.next().packet_id == 1);
}

TEST_CASE("[MQTT-2.3.1-2] with all 65,535 ids in use there is no_space, until one is answered: then that one is used") {
    Session s(64, 65600 * 12, 1);
    s.options.clean_session = false;
    s.connect();
    unsigned wrong = 0;
    CHECK(s.client.subscribe("f", QoS::at_most_once).packet_id == 1);   // so that messages are fewer than in_flight_maximum
    for (unsigned i = 2; i <= 65535; ++i)
        if (s.client.publish("t", "", i == 40000 ? qos2 : qos1).packet_id != i) ++wrong;
    CHECK(wrong == 0);
    CHECK(s.client.publish("t", "", qos1).error == Error::no_space);
    CHECK(s.client.publish("t", "", QoS::at_most_once).ok());   // needs none
    s.run();
    CHECK(s.client.publish("t", "", qos2).error == Error::no_space);
    CHECK(s.client.subscribe("f", QoS::at_most_once).error == Error::no_space);
    for (const int id : {30000, 65535, 2, 65535}) {
        s.sends({0x40, 2, id >> 8, id & 255});
        CHECK(s.expect_event(Event::acknowledged).packet_id == id);
        CHECK(s.client.publish("t", "", qos1).packet_id == id);
        CHECK(s.client.publish("t", "", qos1).error == Error::no_space);
        s.run();
    }
    s.sends({0x50, 2, 40000 >> 8, 40000 & 255});
    s.expect_event(Event::pubrec);
    CHECK(s.client.publish("t", "", qos1).error == Error::no_space);   // PUBREL still has it
    s.run();
    s.sends({0x70, 2, 40000 >> 8, 40000 & 255});
    s.expect_event(Event::acknowledged);
    CHECK(s.client.publish("t", "", qos1).packet_id == 40000);
}

// ------------------------------------------------------------------------------------------------ in_flight_maximum

TEST_CASE("with in_flight_maximum messages unanswered a further one is refused, and QoS 0 and subscribe() are not") {
    Kept s;
    s.options.in_flight_maximum = 2;
    s.restart();
    CHECK(s.publish("1", qos1) == 1);
    CHECK(s.publish("2", qos2) == 2);
    for (int i = 0; i < 2; ++i) {
        CHECK(s.client.publish("t", "x", qos1).error == Error::receive_maximum_reached);
        CHECK(s.client.publish("t", "x", qos2).error == Error::receive_maximum_reached);
        CHECK(s.client.begin_publish("t", 1, qos1).error == Error::receive_maximum_reached);
        s.run();
    }
    CHECK(s.publish("0", QoS::at_most_once) == 0);
    CHECK(s.client.subscribe("f", QoS::at_most_once).packet_id == 3);
    s.expects({0x32, 6, 0, 1, 't', 0, 1, '1', 0x34, 6, 0, 1, 't', 0, 2, '2', 0x30, 4, 0, 1, 't', '0', 0x82, 6, 0, 3, 0, 1, 'f', 0});
    s.sends({0x50, 2, 0, 2});
    s.expect_event(Event::pubrec);
    CHECK(s.client.publish("t", "x", qos1).error == Error::receive_maximum_reached);   // not before PUBCOMP
    s.run();
    s.sends({0x70, 2, 0, 2});
    s.acknowledged(2);
    CHECK(s.publish("4", qos1) == 4);
    CHECK(s.client.publish("t", "x", qos1).error == Error::receive_maximum_reached);
    s.sends({0x40, 2, 0, 1});
    s.acknowledged(1);
    CHECK(s.publish("5", qos1) == 5);
}

TEST_CASE("messages queued offline beyond in_flight_maximum wait for their turn, in order") {
    Session s;
    s.options.in_flight_maximum = 2;
    REQUIRE(s.client.connect(s.options).ok());
    for (int i = 1; i <= 5; ++i) CHECK(s.client.publish("t", "x", i % 2 == 0 ? qos2 : qos1).packet_id == i);
    s.accept();
    s.expects({0x32, 6, 0, 1, 't', 0, 1, 'x', 0x34, 6, 0, 1, 't', 0, 2, 'x'});
    s.sends({0x50, 2, 0, 2});
    s.expect_event(Event::pubrec);
    s.expects({0x62, 2, 0, 2});                       // PUBREL goes past those that wait
    s.sends({0x40, 2, 0, 1});
    s.expect_event(Event::acknowledged);
    s.expects({0x32, 6, 0, 1, 't', 0, 3, 'x'});
    s.sends({0x70, 2, 0, 2});
    s.expect_event(Event::acknowledged);
    s.expects({0x34, 6, 0, 1, 't', 0, 4, 'x'});
    s.sends({0x40, 2, 0, 3});
    s.expect_event(Event::acknowledged);
    s.expects({0x32, 6, 0, 1, 't', 0, 5, 'x'});
}

TEST_CASE("what comes while messages wait for their turn is not held behind them: QoS 0, SUBSCRIBE, answers, PUBREL, PINGREQ (vibe-mqtt)") {
    for (const size_t limit : {SIZE_MAX, size_t{1}, size_t{3}}) {
        Kept s;
        CHECK(s.publish("1", qos2) == 1);
        for (int i = 2; i <= 4; ++i) CHECK(s.publish("x", qos1) == i);
        s.run();
        s.options.in_flight_maximum = 1;
        s.restart();
        s.port.write_limit = limit;
        s.expects({0x3C, 6, 0, 1, 't', 0, 1, '1'});
        CHECK(s.publish("0", QoS::at_most_once) == 0);
        s.expects({0x30, 4, 0, 1, 't', '0'});
        CHECK(s.client.subscribe("f", QoS::at_most_once).packet_id == 5);
        CHECK(s.client.unsubscribe("g").packet_id == 6);
        s.expects({0x82, 6, 0, 5, 0, 1, 'f', 0, 0xA2, 5, 0, 6, 0, 1, 'g'});
        s.sends({0x32, 6, 0, 1, 't', 0, 7, 'a', 0x34, 6, 0, 1, 't', 0, 8, 'b', 0x62, 2, 0, 8});
        s.expects({0x40, 2, 0, 7, 0x50, 2, 0, 8, 0x70, 2, 0, 8});
        s.expect_event(Event::received);
        s.expect_event(Event::received);
        s.expect_event(Event::pubrel);
        s.sends({0x50, 2, 0, 1});
        s.expect_event(Event::pubrec);
        s.expects({0x62, 2, 0, 1});
        s.sends({0x90, 3, 0, 5, 0, 0xB0, 2, 0, 6});   // and their answers are accepted
        CHECK(s.expect_event(Event::subscribed).packet_id == 5);
        CHECK(s.expect_event(Event::unsubscribed).packet_id == 6);
        s.port.clock += 60000;
        s.expects({0xC0, 0});
        s.sends({0xD0, 0});
        s.expect_event(Event::pingresp);
        CHECK(s.client.publish("t", "x", qos1).error == Error::receive_maximum_reached);
        for (int i = 1; i <= 4; ++i) {                // and then it is their turn, one by one, with DUP
            s.quiet();
            s.sends({i == 1 ? 0x70 : 0x40, 2, 0, i});
            s.acknowledged(i);
            if (i != 4) s.expects({0x3A, 6, 0, 1, 't', 0, i + 1, 'x'});
        }
        CHECK(s.publish("y", qos1) == 7);
        s.expects({0x32, 6, 0, 1, 't', 0, 7, 'y'});
    }
}

TEST_CASE("nor is what was queued behind them before the connection: QoS 0, SUBSCRIBE (vibe-mqtt)") {
    Session s;
    s.options.in_flight_maximum = 1;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.publish("t", "1", qos1).packet_id == 1);
    CHECK(s.client.publish("t", "2", qos1).packet_id == 2);
    CHECK(s.client.publish("t", "0").ok());
    CHECK(s.client.subscribe("f", QoS::at_most_once).packet_id == 3);
    CHECK(s.client.publish("t", "4", qos1).packet_id == 4);
    s.accept();
    s.expects({0x32, 6, 0, 1, 't', 0, 1, '1', 0x30, 4, 0, 1, 't', '0', 0x82, 6, 0, 3, 0, 1, 'f', 0});
    s.sends({0x40, 2, 0, 1});
    s.expect_event(Event::acknowledged);
    s.expects({0x32, 6, 0, 1, 't', 0, 2, '2'});
    s.sends({0x40, 2, 0, 2});
    s.expect_event(Event::acknowledged);
    s.expects({0x32, 6, 0, 1, 't', 0, 4, '4'});
}

TEST_CASE("[MQTT-4.4.0-1] nor is a PUBREL of the earlier connection, which counts as in flight") {
    Kept s;
    CHECK(s.publish("1", qos2) == 1);
    CHECK(s.publish("2", qos1) == 2);
    CHECK(s.publish("3", qos1) == 3);
    s.run();
    s.sends({0x50, 2, 0, 1});
    s.expect_event(Event::pubrec);
    s.run();
    s.options.in_flight_maximum = 1;
    s.restart();
    s.expects({0x62, 2, 0, 1});
    s.sends({0x70, 2, 0, 1});
    s.acknowledged(1);
    s.expects({0x3A, 6, 0, 1, 't', 0, 2, '2'});
    s.sends({0x40, 2, 0, 2});
    s.acknowledged(2);
    s.expects({0x3A, 6, 0, 1, 't', 0, 3, '3'});
}

TEST_CASE("a turn that comes in the middle of another packet waits for the end of it") {
    for (size_t written = 1; written < 12; ++written) {
        CAPTURE(written);
        Kept s;
        CHECK(s.publish("1", qos1) == 1);
        CHECK(s.publish("2", qos1) == 2);
        s.run();
        s.options.in_flight_maximum = 1;
        s.restart();
        s.expects({0x3A, 6, 0, 1, 't', 0, 1, '1'});
        CHECK(s.publish("first", QoS::at_most_once) == 0);
        CHECK(s.publish("other", QoS::at_most_once) == 0);
        s.port.write_limit = written;
        CHECK(s.client.poll().kind == Event::none);
        s.port.write_limit = 0;
        s.sends({0x40, 2, 0, 1});
        s.acknowledged(1);
        s.port.write_limit = SIZE_MAX;
        s.run();
        const std::string a = bytes({0x30, 8, 0, 1, 't', 'f', 'i', 'r', 's', 't'}), b = bytes({0x30, 8, 0, 1, 't', 'o', 't', 'h', 'e', 'r'});
        const std::string two = bytes({0x3A, 6, 0, 1, 't', 0, 2, '2'});
        CHECK((s.port.from_client == a + b + two || s.port.from_client == a + two + b));
    }
}

TEST_CASE("in_flight_maximum may be smaller, then larger on the next connections; the order stays") {
    Kept s;
    for (int i = 1; i <= 5; ++i) CHECK(s.publish("x", qos1) == i);
    s.run();
    s.options.in_flight_maximum = 2;
    s.restart();
    s.expects({0x3A, 6, 0, 1, 't', 0, 1, 'x', 0x3A, 6, 0, 1, 't', 0, 2, 'x'});
    s.sends({0x40, 2, 0, 1});
    s.acknowledged(1);
    s.expects({0x3A, 6, 0, 1, 't', 0, 3, 'x'});
    s.options.in_flight_maximum = 3;
    s.restart();
    s.expects({0x3A, 6, 0, 1, 't', 0, 2, 'x', 0x3A, 6, 0, 1, 't', 0, 3, 'x', 0x3A, 6, 0, 1, 't', 0, 4, 'x'});
    s.options.in_flight_maximum = 65535;
    s.restart();
    s.expects({0x3A, 6, 0, 1, 't', 0, 2, 'x', 0x3A, 6, 0, 1, 't', 0, 3, 'x', 0x3A, 6, 0, 1, 't', 0, 4, 'x', 0x3A, 6, 0, 1, 't', 0, 5, 'x'});
    s.sends({0x40, 2, 0, 5, 0x40, 2, 0, 4, 0x40, 2, 0, 3, 0x40, 2, 0, 2});
    for (int i = 5; i >= 2; --i) s.acknowledged(i);
    s.reconnect(true);
    s.quiet();
}

TEST_CASE("an answer for a message that waits for its turn is not accepted") {
    Kept s;
    CHECK(s.publish("1", qos1) == 1);
    CHECK(s.publish("2", qos1) == 2);
    s.run();
    s.options.in_flight_maximum = 1;
    s.restart();
    s.expects({0x3A, 6, 0, 1, 't', 0, 1, '1'});
    s.sends({0x40, 2, 0, 2});
    s.quiet();
    s.sends({0x40, 2, 0, 1});
    s.acknowledged(1);
    s.expects({0x3A, 6, 0, 1, 't', 0, 2, '2'});
}
