// MQTT 5: what a server allows on a connection (receive maximum, maximum packet size, maximum QoS, retained messages, kinds
// of subscriptions), and what the client allows the server.

#include "tests/support/peer5.hpp"

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Retain;
using test::bytes;
using test::packet;
using test::Session5;
namespace prop = mqtt::prop;

constexpr QoS qos0 = QoS::at_most_once, qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

std::string name(Error error) { return mqtt::to_string(error); }

// Properties of CONNACK.
std::string receive_maximum(int n) { return bytes({0x21, n / 256, n % 256}); }
std::string maximum_packet_size(int n) { return bytes({0x27, 0, n >> 16, n >> 8 & 255, n & 255}); }
const std::string qos_0_only = bytes({0x24, 0}), qos_1_at_most = bytes({0x24, 1}), no_retain = bytes({0x25, 0}),
                  no_wildcards = bytes({0x28, 0}), no_identifiers = bytes({0x29, 0}), no_sharing = bytes({0x2A, 0});

// A client that keeps its session.
struct Kept : Session5 {
    explicit Kept(size_t tx_size = 1024, uint16_t maximum = 20) : Session5(256, tx_size, maximum) { options.clean_session = false; }
    explicit Kept(const std::string& connack) : Kept() { connect(connack); }

    // From here on nothing is connected until online().
    void offline() {
        if (port.is_open) lose();
        port.hang = true;
        run();
        port.from_client.clear();
    }
    void online(const std::string& connack = {}, bool session_present = true) {
        port.hang = false;
        port.clock += options.reconnect_max_ms;
        accept(connack, session_present);
    }
    uint16_t publish(const std::string& payload, QoS qos) {
        const mqtt::Result result = client.publish("t", payload, qos);
        CHECK(name(result.error) == "ok");
        return result.packet_id;
    }
    void full(QoS qos = qos1) {
        const mqtt::Result result = client.publish("t", "?", qos);
        CHECK(name(result.error) == "receive maximum reached");
        CHECK(mqtt::fault(result.error) == mqtt::Fault::not_now);
        CHECK(result.packet_id == 0);
    }
    void acknowledged(int id) { CHECK(expect_event(Event::acknowledged).packet_id == id); }
    void dropped(int id, Error error) {
        const Event event = expect_event(Event::dropped);
        CHECK(event.packet_id == id);
        CHECK(name(event.error) == name(error));
    }
};

// PUBLISH of "t" without properties.
std::string published(int first_byte, int id, const std::string& payload) {
    return packet(first_byte, bytes({0, 1, 't'}) + (id == 0 ? "" : bytes({id >> 8, id & 255})) + bytes({0}) + payload);
}
std::string ack(int type, int id) { return bytes({type, 2, id >> 8, id & 255}); }

}  // namespace

// ------------------------------------------------------------------------------------ the server's receive maximum

TEST_CASE("MQTT 5 [MQTT-3.3.4-7] [MQTT-4.9.0-1] [MQTT-4.9.0-2] no more QoS 1 and 2 messages are in flight than the server's receive maximum; a further one is refused, and nothing of it queued") {
    for (const int maximum : {1, 2, 3, 20}) {
        CAPTURE(maximum);
        Kept s(receive_maximum(maximum));
        std::string wanted;
        for (int id = 1; id <= maximum; ++id) {
            CHECK(s.publish("x", id % 2 == 0 ? qos1 : qos2) == id);
            wanted += published(id % 2 == 0 ? 0x32 : 0x34, id, "x");
        }
        s.full(qos1);
        s.full(qos2);
        CHECK(name(s.client.begin_publish("t", 5, qos1).error) == "receive maximum reached");
        s.expects(wanted);
        s.quiet();
        // PUBREC does not end a message, PUBCOMP and PUBACK do.
        s.sends({0x50, 2, 0, 1});
        CHECK(s.expect_event(Event::pubrec).packet_id == 1);
        s.expects({0x62, 2, 0, 1});
        s.full();
        s.sends({0x70, 2, 0, 1});
        s.acknowledged(1);
        CHECK(s.publish("y", qos1) == maximum + 1);
        s.full();
        s.expects(published(0x32, maximum + 1, "y"));
        s.sends(ack(0x40, maximum + 1));
        s.acknowledged(maximum + 1);
        CHECK(s.publish("z", qos2) == maximum + 2);
        s.full();
    }
}

TEST_CASE("MQTT 5 [MQTT-4.9.0-2] a refused message makes room in the window: PUBACK and PUBREC of 0x80 or more") {
    Kept s(receive_maximum(2));
    CHECK(s.publish("x", qos1) == 1);
    CHECK(s.publish("x", qos2) == 2);
    s.full();
    s.run();
    s.sends({0x50, 3, 0, 2, 0x97});
    s.acknowledged(2);
    CHECK(s.publish("x", qos2) == 3);
    s.full();
    s.run();
    s.sends({0x40, 3, 0, 1, 0x97});
    s.acknowledged(1);
    CHECK(s.publish("x", qos2) == 4);
    s.full();
}

TEST_CASE("MQTT 5 the window is the smaller one of in_flight_maximum, which is ours for ever, and the server's receive maximum, which is this connection's") {
    Kept s;
    s.options.in_flight_maximum = 3;
    s.connect(receive_maximum(2));
    CHECK(s.publish("a", qos1) == 1);
    CHECK(s.publish("b", qos1) == 2);
    s.full();
    s.reconnect(receive_maximum(65535), true);
    CHECK(s.publish("c", qos1) == 3);
    s.full();
    s.reconnect({}, true);   // absent: 65535
    s.full();
    s.sends(ack(0x40, 1) + ack(0x40, 2));
    s.acknowledged(1);
    s.acknowledged(2);
    CHECK(s.publish("d", qos1) == 4);
    CHECK(s.publish("e", qos1) == 5);
    s.full();
    s.reconnect(receive_maximum(1), true);
    s.sends(ack(0x40, 3));
    s.acknowledged(3);
    s.full();
    s.run();
    s.sends(ack(0x40, 4));
    s.acknowledged(4);
    s.full();
    s.run();
    s.sends(ack(0x40, 5));
    s.acknowledged(5);
    CHECK(s.publish("f", qos1) == 6);
    s.full();
}

#if !MQTT_SMALL   // else each new id is looked for among all of them, which takes a minute
TEST_CASE("MQTT 5 [MQTT-4.9.0-1] without a receive maximum of the server, 65,535 messages can be in flight") {
    for (const std::string& connack : {std::string(), receive_maximum(65535)}) {
        Kept s(65535 * 13 + 100);
        s.connect(connack);
        for (int id = 1; id <= 65535; ++id)
            if (s.client.publish("t", "", qos1).packet_id != id) FAIL("refused");
        s.full();
        s.run();
        CHECK(s.port.from_client.size() == 65535 * 8);
        s.sends(ack(0x40, 65535) + ack(0x40, 1) + ack(0x40, 30000));
        s.acknowledged(65535);
        s.acknowledged(1);
        s.acknowledged(30000);
        CHECK(s.publish("", qos1) == 1);
        CHECK(s.publish("", qos1) == 30000);
        CHECK(s.publish("", qos1) == 65535);
        s.full();
    }
}
#endif

TEST_CASE("MQTT 5 [MQTT-3.3.4-7] [MQTT-4.6.0-1] messages of earlier connections that are more than the server's receive maximum wait, in their order, and go out one for each that is finished") {
    for (const int maximum : {1, 2, 3, 5, 6}) {
        CAPTURE(maximum);
        Kept s{std::string()};
        for (int id = 1; id <= 3; ++id) CHECK(s.publish("x", id == 2 ? qos2 : qos1) == id);
        s.run();
        s.offline();
        for (int id = 4; id <= 6; ++id) CHECK(s.publish("y", id == 5 ? qos2 : qos1) == id);
        s.online(receive_maximum(maximum));
        std::vector<std::string> all;
        for (int id = 1; id <= 6; ++id)
            all.push_back(published((id == 2 || id == 5 ? 0x34 : 0x32) | (id <= 3 ? 8 : 0), id, id <= 3 ? "x" : "y"));
        std::string wanted;
        for (int id = 1; id <= maximum; ++id) wanted += all[static_cast<size_t>(id - 1)];
        s.expects(wanted);
        s.full();
        int next = maximum + 1;
        for (int id = 1; id <= 6; ++id) {
            if (id == 2 || id == 5) {
                s.sends(ack(0x50, id));
                CHECK(s.expect_event(Event::pubrec).packet_id == id);
                s.expects(ack(0x62, id));   // and no further message
                s.sends(ack(0x70, id));
            } else {
                s.sends(ack(0x40, id));
            }
            s.acknowledged(id);
            if (id + maximum <= 6) s.full();
            s.expects(next <= 6 ? all[static_cast<size_t>(next - 1)] : "");
            ++next;
        }
        CHECK(s.publish("z", qos1) == 7);
        s.expects(published(0x32, 7, "z"));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-7] PUBRELs of earlier connections count, and go out at once") {
    Kept s{std::string()};
    for (int id = 1; id <= 5; ++id) CHECK(s.publish("x", qos2) == id);
    s.run();
    s.sends(ack(0x50, 4) + ack(0x50, 2) + ack(0x50, 3));
    for (const int id : {4, 2, 3}) CHECK(s.expect_event(Event::pubrec).packet_id == id);
    s.run();
    s.offline();
    s.online(receive_maximum(2));
    s.expects(ack(0x62, 4) + ack(0x62, 2) + ack(0x62, 3));   // three: the server knows them
    s.quiet();
    s.sends(ack(0x70, 4));
    s.acknowledged(4);
    s.quiet();
    s.sends(ack(0x70, 3));
    s.acknowledged(3);
    s.expects(published(0x3C, 1, "x"));
    s.sends(ack(0x70, 2));
    s.acknowledged(2);
    s.expects(published(0x3C, 5, "x"));
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-8] [MQTT-4.9.0-3] while messages wait, QoS 0, acknowledgements, subscriptions and pings pass them") {
    for (const bool queued_before : {false, true}) {
        Kept s;
        if (queued_before) {
            REQUIRE(s.client.connect(s.options).ok());
            for (int id = 1; id <= 3; ++id) CHECK(s.publish("w", qos1) == id);
            s.accept(receive_maximum(1));
            s.expects(published(0x32, 1, "w"));
        } else {
            s.connect(receive_maximum(1));
            CHECK(s.publish("w", qos1) == 1);
            s.expects(published(0x32, 1, "w"));
        }
        const int id = queued_before ? 4 : 2;
        s.full();
        CHECK(s.client.publish("t", "0", qos0).ok());
        CHECK(s.client.subscribe("f", qos1).packet_id == id);
        CHECK(s.client.unsubscribe("f").packet_id == id + 1);
        s.expects(published(0x30, 0, "0") + bytes({0x82, 7, 0, id, 0, 0, 1, 'f', 1}) + bytes({0xA2, 6, 0, id + 1, 0, 0, 1, 'f'}));
        s.sends(published(0x32, 9, "q1") + published(0x34, 10, "q2"));
        CHECK(s.expect_event(Event::received).packet_id == 9);
        CHECK(s.expect_event(Event::received).packet_id == 10);
        s.expects(ack(0x40, 9) + ack(0x50, 10));
        s.sends(ack(0x62, 10));
        CHECK(s.expect_event(Event::pubrel).packet_id == 10);
        s.expects(ack(0x70, 10));
        s.port.clock += 52500;
        s.expects({0xC0, 0});
        s.sends({0xD0, 0});
        s.expect_event(Event::pingresp);
        s.sends(bytes({0x90, 4, 0, id, 0, 1}) + bytes({0xB0, 4, 0, id + 1, 0, 0}));
        CHECK(s.expect_event(Event::subscribed).packet_id == id);
        CHECK(s.expect_event(Event::unsubscribed).packet_id == id + 1);
        s.quiet();
        CHECK(s.client.disconnect().ok());
        s.expects({0xE0, 0});
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-8] with messages that wait, PUBREL is not held up by the window either") {
    Kept s;
    REQUIRE(s.client.connect(s.options).ok());
    for (int id = 1; id <= 3; ++id) CHECK(s.publish("w", qos2) == id);
    s.accept(receive_maximum(1));
    s.expects(published(0x34, 1, "w"));
    s.sends(ack(0x50, 1));
    CHECK(s.expect_event(Event::pubrec).packet_id == 1);
    s.expects(ack(0x62, 1));
    s.quiet();
    s.sends(ack(0x70, 1));
    s.acknowledged(1);
    s.expects(published(0x34, 2, "w"));
}

TEST_CASE("MQTT 5 subscriptions and unsubscriptions do not count in the window") {
    Kept s(receive_maximum(1));
    for (int id = 1; id <= 3; ++id) CHECK(s.client.subscribe("f", qos2).packet_id == id);
    CHECK(s.client.unsubscribe("f").packet_id == 4);
    CHECK(s.publish("x", qos1) == 5);
    s.full();
}

TEST_CASE("MQTT 5 the windows of successive connections are their own: none is ever exceeded") {
    Kept s(2048);
    REQUIRE(s.client.connect(s.options).ok());
    for (int id = 1; id <= 12; ++id) CHECK(s.publish("x", id % 3 == 0 ? qos2 : qos1) == id);
    int first = 1;
    bool present = false;
    for (const int maximum : {3, 1, 5, 2, 65535, 1, 12}) {
        CAPTURE(maximum);
        if (!present)
            s.accept(receive_maximum(maximum));
        else
            s.reconnect(receive_maximum(maximum), true);
        present = true;
        s.run();
        // Every packet has 9 bytes; what is answered with PUBREC becomes a PUBREL, which has 4.
        const size_t in_flight = std::min<size_t>(static_cast<size_t>(maximum), static_cast<size_t>(13 - first));
        CHECK(s.port.from_client.size() == in_flight * 9);
        s.port.from_client.clear();
        if (first % 3 == 0) {
            s.sends(ack(0x50, first));
            CHECK(s.expect_event(Event::pubrec).packet_id == first);
            s.sends(ack(0x70, first));
        } else {
            s.sends(ack(0x40, first));
        }
        s.acknowledged(first++);
    }
}

// --------------------------------------------------------------------------------------------- our receive maximum

TEST_CASE("MQTT 5 [MQTT-3.3.4-9] a server that sends more QoS 1 and 2 messages than our receive maximum before they are answered is disconnected with 0x93; up to it, it is not") {
    for (const uint16_t maximum : {uint16_t{1}, uint16_t{2}, uint16_t{5}, uint16_t{20}})
        for (const int kind : {1, 2, 3}) {   // QoS 1, QoS 2, both
            CAPTURE(maximum);
            CAPTURE(kind);
            Kept s(1024, maximum);
            s.options.manual_ack = true;
            s.connect();
            for (int id = 1; id <= maximum; ++id) {
                s.sends(published(kind == 3 ? 0x32 + 2 * (id % 2) : 0x30 | kind << 1, id, "x"));
                CHECK(s.expect_event(Event::received).packet_id == id);
            }
            s.quiet();
            s.sends(published(0x30, 0, "0"));   // does not count
            CHECK(s.expect_event(Event::received).message.payload.text() == "0");
            s.sends(published(kind == 1 ? 0x32 : 0x34, maximum + 1, "x"));
            s.rejects_with(0x93, Error::receive_maximum_exceeded);
            s.reconnect({}, true);
            for (int id = 1; id <= maximum; ++id) {   // sent again: new again
                s.sends(published(kind == 3 ? 0x3A + (id % 2) * 2 : 0x38 | kind << 1, id, "x"));
                CHECK(s.expect_event(Event::received).packet_id == id);
                CHECK(s.client.acknowledge(static_cast<uint16_t>(id)).ok());
            }
            s.run();
            CHECK(s.client.connected());
        }
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-9] what is answered does not count any more: PUBACK, PUBCOMP, and a PUBREC that refuses") {
    Kept s(1024, 2);
    s.options.manual_ack = true;
    s.connect();
    for (int id = 1; id < 200; id += 3) {
        s.sends(published(0x32, id, "x") + published(0x34, id + 1, "x"));
        s.expect_event(Event::received);
        s.expect_event(Event::received);
        CHECK(s.client.acknowledge(static_cast<uint16_t>(id)).ok());
        s.expects(ack(0x40, id));
        s.sends(published(0x34, id + 2, "x"));
        CHECK(s.expect_event(Event::received).packet_id == id + 2);
        CHECK(s.client.acknowledge(static_cast<uint16_t>(id + 1)).ok());
        CHECK(s.client.acknowledge(static_cast<uint16_t>(id + 2), ReasonCode::quota_exceeded).ok());
        s.expects(ack(0x50, id + 1) + bytes({0x50, 3, 0, id + 2, 0x97}));
        s.sends(published(0x32, 1000, "x"));
        CHECK(s.expect_event(Event::received).packet_id == 1000);
        CHECK(s.client.acknowledge(1000).ok());
        s.expects(ack(0x40, 1000));
        s.sends(ack(0x62, id + 1));
        CHECK(s.expect_event(Event::pubrel).packet_id == id + 1);
        s.expects(ack(0x70, id + 1));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-9] a QoS 2 message that the server has not released counts, also when the application has acknowledged it; a repeated one does not count twice") {
    Kept s(1024, 2);
    s.connect();
    s.sends(published(0x34, 1, "x") + published(0x34, 2, "x"));
    CHECK(s.expect_event(Event::received).packet_id == 1);
    CHECK(s.expect_event(Event::received).packet_id == 2);
    s.expects(ack(0x50, 1) + ack(0x50, 2));
    s.sends(published(0x3C, 1, "x") + published(0x3C, 2, "x"));
    s.expects(ack(0x50, 1) + ack(0x50, 2));
    s.sends(published(0x34, 3, "x"));
    s.rejects_with(0x93, Error::receive_maximum_exceeded);
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-9] QoS 2 messages of an earlier connection do not count: the server may send as many new ones before it has released all of the old ones") {
    for (const uint16_t maximum : {uint16_t{1}, uint16_t{2}, uint16_t{4}}) {
        CAPTURE(maximum);
        Kept s(1024, maximum);
        s.connect();
        for (int id = 1; id <= maximum; ++id) {
            s.sends(published(0x34, id, "x"));
            CHECK(s.expect_event(Event::received).packet_id == id);
        }
        s.run();
        s.reconnect({}, true);
        s.port.from_client.clear();
        // PUBRELs first, as a server does, and new messages at once behind the first of them.
        s.sends(ack(0x62, 1));
        for (int id = 1; id <= maximum; ++id) s.sends(published(0x32, 100 + id, "n"));
        for (int id = 2; id <= maximum; ++id) s.sends(ack(0x62, id));
        int received = 0, released = 0;
        for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
            received += event.kind == Event::received;
            released += event.kind == Event::pubrel;
        }
        CHECK(received == maximum);
        CHECK(released == maximum);
        CHECK(s.client.connected());
        // From now on all are of this connection.
        for (int id = 1; id <= maximum; ++id) s.sends(published(0x34, 200 + id, "m"));
        s.run();
        s.waiting.clear();
        s.port.from_client.clear();
        s.sends(published(0x34, 300, "m"));
        s.rejects_with(0x93, Error::receive_maximum_exceeded);
    }
}

// A server may give a message up between its PUBLISH and its PUBREL: without its topic alias, it is too large for us.
TEST_CASE("MQTT 5 [MQTT-3.1.2-25] [MQTT-4.9.0-1] a QoS 2 message that the server has given up, and never releases, keeps no place from those of a later connection") {
    for (const bool answered : {true, false})
        for (const uint16_t maximum : {uint16_t{1}, uint16_t{2}, uint16_t{20}}) {
            CAPTURE(answered);
            CAPTURE(maximum);
            Kept s(1024, maximum);
            s.options.manual_ack = true;
            s.connect();
            for (int id = 1; id <= maximum; ++id) {
                s.sends(published(0x34, id, "x"));
                CHECK(s.expect_event(Event::received).packet_id == id);
                if (!answered) s.port.write_limit = 0;   // acknowledged all the same: not to be told again
                CHECK(s.client.acknowledge(static_cast<uint16_t>(id)).ok());
            }
            s.run();
            s.port.write_limit = SIZE_MAX;
            s.reconnect({}, true);
            s.port.from_client.clear();
            for (int id = 101; id <= 100 + maximum; ++id) {   // all at once, as a server may
                s.sends(published(0x34, id, "n"));
                CHECK(s.expect_event(Event::received).packet_id == id);
            }
            CHECK(s.client.wants_read());
            s.quiet();
            for (int id = 101; id <= 100 + maximum; ++id) {
                CHECK(s.client.acknowledge(static_cast<uint16_t>(id)).ok());
                s.expects(ack(0x50, id));
                s.sends(ack(0x62, id));
                CHECK(s.expect_event(Event::pubrel).packet_id == id);
                s.expects(ack(0x70, id));
            }
            // A late release of the old ones is answered; they are not known any more.
            for (int id = 1; id <= maximum; ++id) s.sends(ack(0x62, id));
            std::string answers;
            for (int id = 1; id <= maximum; ++id) answers += bytes({0x70, 3, 0, id, 0x92});
            s.expects(answers);
        }
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-10] it is the oldest message of an earlier connection that makes room, and only when there is none; the others are still known") {
    Kept s(1024, 3);
    s.connect();
    for (int id = 1; id <= 3; ++id) {
        s.sends(published(0x34, id, "x"));
        CHECK(s.expect_event(Event::received).packet_id == id);
    }
    s.run();
    s.reconnect({}, true);
    s.port.from_client.clear();
    s.sends(published(0x32, 10, "n"));   // takes the place of 1, and gives it back with its PUBACK
    CHECK(s.expect_event(Event::received).packet_id == 10);
    s.expects(ack(0x40, 10));
    s.sends(published(0x34, 11, "n"));   // takes the free one
    CHECK(s.expect_event(Event::received).packet_id == 11);
    s.expects(ack(0x50, 11));
    s.sends(published(0x3C, 2, "x") + published(0x3C, 3, "x"));   // known, and of this connection from now on
    s.expects(ack(0x50, 2) + ack(0x50, 3));
    s.sends(published(0x34, 12, "n"));
    s.rejects_with(0x93, Error::receive_maximum_exceeded);
    // All three are of an earlier connection again, and released.
    s.reconnect({}, true);
    s.port.from_client.clear();
    s.sends(ack(0x62, 11) + ack(0x62, 2) + ack(0x62, 3));
    s.expects(ack(0x70, 11) + ack(0x70, 2) + ack(0x70, 3));
}

TEST_CASE("MQTT 5 a message in pieces, and one that is skipped, take the place of one message of an earlier connection, not of several") {
    for (const size_t topic : {size_t{1}, size_t{300}}) {   // with the longer one it does not fit into rx, and is skipped
        CAPTURE(topic);
        Kept s(1024, 2);
        s.connect();
        s.sends(published(0x34, 1, "x") + published(0x34, 2, "x"));
        s.expect_event(Event::received);
        s.expect_event(Event::received);
        s.run();
        s.reconnect({}, true);
        s.port.from_client.clear();
        s.sends(packet(0x34, test::text(std::string(topic, 't')) + bytes({0, 3, 0}) + std::string(1000, 'n')));
        size_t payload = 0;
        for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
            CHECK(event.packet_id == 3);
            CHECK((event.kind == Event::skipped) == (topic != 1));
            if (event.kind == Event::received) payload += event.message.payload.size();
        }
        CHECK(payload == (topic == 1 ? 1000 : 0));
        s.expects(ack(0x50, 3));
        s.sends(published(0x3C, 2, "x"));
        s.expects(ack(0x50, 2));
        s.quiet();
        CHECK(s.client.connected());
    }
}

TEST_CASE("MQTT 5 our receive maximum is told to the server, unless it is 65,535") {
    for (const uint16_t maximum : {uint16_t{1}, uint16_t{20}, uint16_t{0x0102}, uint16_t{65535}}) {
        Session5 s(256, 200000, maximum);
        REQUIRE(s.client.connect(s.options).ok());
        s.expects(maximum == 65535 ? bytes({0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 1, 'c'})
                                   : bytes({0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 3, 0x21, maximum / 256,
                                            maximum % 256, 0, 1, 'c'}));
    }
}

// ------------------------------------------------------------------------------------------- when memory is full

TEST_CASE("MQTT 5 [MQTT-4.9.0-3] tx of every size from the least, full of messages: acknowledgements with a reason, a ping and DISCONNECT with a reason find room, in their order") {
    constexpr uint16_t few = 4;
    for (size_t tx = 3 * few + 16; tx <= 120; ++tx)
        for (const size_t write_limit : {SIZE_MAX, size_t{1}, size_t{3}}) {
            CAPTURE(tx);
            CAPTURE(write_limit);
            Kept s(tx, few);
            s.options.manual_ack = true;
            s.connect();
            s.port.write_limit = 0;
            while (s.client.publish("t", "", qos0).ok()) {}
            std::string answers;
            for (int id = 1; id <= few; ++id) {
                s.sends(published(id % 2 == 0 ? 0x34 : 0x32, id, "x") + ack(0x62, 10 + id));
                answers += bytes({id % 2 == 0 ? 0x50 : 0x40, 3, 0, id, 0x97, 0x70, 3, 0, 10 + id, 0x92});
            }
            int received = 0;
            const auto poll = [&](int times) {
                for (int i = 0; i < times; ++i) {
                    const Event event = s.client.poll();
                    if (event.kind != Event::received) continue;
                    CHECK(event.packet_id == ++received);
                    CHECK(s.client.acknowledge(event.packet_id, ReasonCode::quota_exceeded).ok());
                }
            };
            poll(30);
            s.port.clock += 52500;   // a ping is due
            poll(30);
            CHECK(s.port.from_client == "");
            s.port.write_limit = write_limit;
            poll(500);
            CHECK(received == few);
            s.port.write_limit = SIZE_MAX;
            s.run();
            CHECK(s.client.connected());
            std::string written = s.port.from_client;
            const size_t at = written.find(bytes({0xC0, 0}));
            REQUIRE(at != std::string::npos);
            written.erase(at, 2);
            // Behind what was queued before.
            REQUIRE(written.size() >= answers.size());
            CHECK(test::hex(written.substr(written.size() - answers.size())) == test::hex(answers));
            CHECK((written.size() - answers.size()) % 6 == 0);
            CHECK(s.port.to_client.empty());
            s.port.from_client.clear();
            s.port.write_limit = 0;
            while (s.client.publish("t", "", qos0).ok()) {}
            CHECK(s.client.disconnect(ReasonCode::disconnect_with_will_message).ok());
            s.port.write_limit = write_limit;
            for (int i = 0; i < 500 && s.port.is_open; ++i) (void)s.client.poll();
            REQUIRE(s.port.from_client.size() >= 3);
            CHECK(s.port.from_client.substr(s.port.from_client.size() - 3) == bytes({0xE0, 1, 4}));
        }
}

// ----------------------------------------------------------------------------------- the server's maximum packet size

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] a message larger than the server takes is refused before a byte is queued, one of exactly its limit is sent: every size, every QoS") {
    for (int limit = 6; limit <= 140; limit += limit < 12 ? 1 : limit < 125 ? 20 : 1)
        for (int size = 1; size <= 140; ++size)
            for (const QoS qos : {qos0, qos1, qos2}) {
                const int more = qos == qos0 ? 4 : 6;   // topic, id, properties
                const std::string payload(static_cast<size_t>(size), 'x');
                const int whole = size + more + (size + more < 128 ? 2 : 3);
                if (whole < limit - 2 || whole > limit + 2) continue;
                CAPTURE(limit);
                CAPTURE(size);
                Kept s(maximum_packet_size(limit));
                const mqtt::Result result = s.client.publish("t", payload, qos),
                                   begun = s.client.begin_publish("t", static_cast<uint32_t>(size), qos);
                CHECK(name(result.error) == (whole <= limit ? "ok" : "packet too large"));
                CHECK(name(begun.error) == (whole <= limit ? "ok" : "packet too large"));
                if (whole <= limit) continue;
                CHECK(mqtt::fault(result.error) == mqtt::Fault::caller);
                CHECK(s.client.unacknowledged() == 0);
                s.quiet();
                CHECK(s.client.subscribe("", qos0).error == Error::invalid_filter);
                if (limit >= 10) CHECK(s.publish("", qos1) == 1);   // no id was used up
            }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] the properties of a message count, too") {
    PropertyBuffer<64> p;
    p.add(prop::content_type, "0123456789");   // 13 bytes
    Kept s(maximum_packet_size(20));
    CHECK(s.client.publish("t", "x", qos0, Retain::no, p).ok());   // 2 + 3 + 1 + 13 + 1 = 20
    CHECK(name(s.client.publish("t", "xy", qos0, Retain::no, p).error) == "packet too large");
    CHECK(name(s.client.publish("t", "x", qos1, Retain::no, p).error) == "packet too large");
    s.expects(packet(0x30, bytes({0, 1, 't', 13, 3, 0, 10}) + "0123456789x"));
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] a request larger than the server takes is refused before a byte is queued") {
    Kept s(maximum_packet_size(20));
    // SUBSCRIBE: 2 + 2 + 1 + 2 + filter + 1
    CHECK(s.client.subscribe("123456789012", qos0).packet_id == 1);
    CHECK(name(s.client.subscribe("1234567890123", qos0).error) == "packet too large");
    CHECK(name(s.client.subscribe({{"12345", qos0}, {"12345", qos0}}).error) == "packet too large");
    PropertyBuffer<8> p;
    p.add(prop::subscription_identifier, 1);
    CHECK(name(s.client.subscribe("12345678901", qos0, p).error) == "packet too large");
    CHECK(s.client.subscribe("1234567890", qos0, p).packet_id == 2);
    CHECK(s.client.unsubscribe("1234567890123").packet_id == 3);
    CHECK(name(s.client.unsubscribe("12345678901234").error) == "packet too large");
    s.expects(packet(0x82, bytes({0, 1, 0, 0, 12}) + "123456789012" + bytes({0})) +
              packet(0x82, bytes({0, 2, 2, 0x0B, 1, 0, 10}) + "1234567890" + bytes({0})) +
              packet(0xA2, bytes({0, 3, 0, 0, 13}) + "1234567890123"));
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] [MQTT-3.14.2-3] [MQTT-3.14.2-4] a DISCONNECT larger than the server takes is refused; without its properties it is sent") {
    PropertyBuffer<32> reason, user;
    reason.add(prop::reason_string, "1234");          // 7 bytes, DISCONNECT 2 + 1 + 1 + 7 = 11
    user.add(prop::user_property, {"1", "2"});        // 7 bytes
    for (const auto* p : {&reason, &user}) {
        Kept small(maximum_packet_size(10));
        CHECK(name(small.client.disconnect(ReasonCode::success, *p).error) == "packet too large");
        CHECK(small.client.connected());
        small.quiet();
        CHECK(small.client.disconnect(ReasonCode::disconnect_with_will_message).ok());
        small.expects({0xE0, 1, 4});
        Kept exact(maximum_packet_size(11));
        CHECK(exact.client.disconnect(ReasonCode::success, *p).ok());
        exact.run();
        CHECK(exact.port.from_client.size() == 11);
    }
}

TEST_CASE("MQTT 5 [MQTT-3.15.2-2] [MQTT-3.15.2-3] an AUTH larger than the server takes is refused") {
    PropertyBuffer<8> connect;
    connect.add(prop::authentication_method, "m");
    PropertyBuffer<32> reason, user;
    reason.add(prop::authentication_method, "m").add(prop::reason_string, "1234");   // 4 + 7: AUTH 2 + 1 + 1 + 11 = 15
    user.add(prop::authentication_method, "m").add(prop::user_property, {"1", "2"});
    for (const auto* p : {&reason, &user})
        for (const int limit : {14, 15}) {
            Kept s;
            s.options.properties = connect;
            s.connect(maximum_packet_size(limit) + bytes({0x15, 0, 1, 'm'}));
            CHECK(name(s.client.authenticate(*p).error) == (limit == 14 ? "packet too large" : "ok"));
            s.run();
            CHECK(s.port.from_client.size() == (limit == 14 ? 0 : 15));
        }
}

TEST_CASE("MQTT 5 [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2] [MQTT-3.7.2-3] acknowledgements have neither reason string nor user properties, and no more than 5 bytes, which every limit allows") {
    for (const int limit : {5, 100}) {
        Kept s;
        s.options.manual_ack = true;
        REQUIRE(s.client.connect(s.options).ok());
        s.accept(maximum_packet_size(limit));
        s.sends(published(0x32, 1, "x") + published(0x34, 2, "x") + published(0x34, 3, "x"));
        for (int id = 1; id <= 3; ++id) s.expect_event(Event::received);
        CHECK(s.client.acknowledge(1, ReasonCode::quota_exceeded).ok());
        CHECK(s.client.acknowledge(2, ReasonCode::quota_exceeded).ok());
        CHECK(s.client.acknowledge(3).ok());
        s.expects(bytes({0x40, 3, 0, 1, 0x97, 0x50, 3, 0, 2, 0x97}) + ack(0x50, 3));
        s.sends(ack(0x62, 3) + ack(0x62, 4));
        s.expect_event(Event::pubrel);
        s.expect_event(Event::pubrel);
        s.expects(ack(0x70, 3) + bytes({0x70, 3, 0, 4, 0x92}));
        if (limit == 5) continue;
        CHECK(s.publish("x", qos2) == 1);
        s.run();
        s.port.from_client.clear();
        s.sends(ack(0x50, 1));
        s.expect_event(Event::pubrec);
        s.expects(ack(0x62, 1));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] a maximum packet size that leaves no room for an acknowledgement is a protocol error") {
    for (const int limit : {1, 2, 3, 4}) {
        Kept s;
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        s.port.from_client.clear();
        s.sends(test::connack(maximum_packet_size(limit)));
        s.rejects_with(0x82, Error::protocol_error);
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] what was queued without a connection and is larger than the server takes is told as dropped, and the rest is sent") {
    for (const bool sent_before : {false, true}) {
        CAPTURE(sent_before);
        Kept s;
        if (sent_before)
            s.connect();
        else
            REQUIRE(s.client.connect(s.options).ok());
        const std::string large(30, 'L');
        CHECK(s.publish("1", qos1) == 1);
        CHECK(s.publish(large, qos1) == 2);
        CHECK(s.publish("3", qos2) == 3);
        CHECK(s.publish(large, qos2) == 4);
        CHECK(s.client.subscribe("a/filter/that/is/much/too/long", qos0).packet_id == 5);
        CHECK(s.client.unsubscribe("a/filter/that/is/much/too/long").packet_id == 6);
        CHECK(s.client.subscribe("f", qos0).packet_id == 7);
        if (sent_before) {
            s.run();
            s.lose();
        }
        CHECK(s.publish(large, qos0) == 0);
        CHECK(s.publish("0", qos0) == 0);
        s.port.clock += s.options.reconnect_max_ms;
        s.accept(maximum_packet_size(20), sent_before);
        for (const int id : {2, 4, 5, 6, 0}) s.dropped(id, Error::packet_too_large);
        CHECK(s.client.unacknowledged() == 2);
        const int dup = sent_before ? 8 : 0;
        s.expects(published(0x32 | dup, 1, "1") + published(0x34 | dup, 3, "3") + bytes({0x82, 7, 0, 7, 0, 0, 1, 'f', 0}) +
                  published(0x30, 0, "0"));
        s.quiet();
        // Gone for good: also where there would be room.
        s.reconnect({}, true);
        s.expects(published(0x3A, 1, "1") + published(0x3C, 3, "3") + bytes({0x82, 7, 0, 7, 0, 0, 1, 'f', 0}));
        s.quiet();
        CHECK(s.publish(large, qos1) == 8);
        s.expects(published(0x32, 8, large));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] the limit is this connection's: without a connection everything may be queued, and the next server decides") {
    Kept s(maximum_packet_size(20));
    const std::string large(30, 'L');
    CHECK(name(s.client.publish("t", large, qos1).error) == "packet too large");
    s.offline();
    CHECK(s.publish(large, qos1) == 1);
    s.online(maximum_packet_size(38));   // 2 + 3 + 2 + 1 + 30
    s.expects(published(0x32, 1, large));
    s.quiet();
    s.reconnect(maximum_packet_size(37), true);
    s.dropped(1, Error::packet_too_large);
    s.quiet();
    CHECK(s.client.unacknowledged() == 0);
    s.reconnect({}, true);
    CHECK(s.publish(std::string(500, 'L'), qos1) == 2);
    s.expects(published(0x32, 2, std::string(500, 'L')));
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] a PUBREL is never too large, and its message, which was, does not come back") {
    Kept s{std::string()};
    CHECK(s.publish(std::string(100, 'L'), qos2) == 1);
    s.run();
    s.sends(ack(0x50, 1));
    s.expect_event(Event::pubrec);
    s.run();
    s.reconnect(maximum_packet_size(5), true);
    s.expects(ack(0x62, 1));
    s.sends(ack(0x70, 1));
    s.acknowledged(1);
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] a message begun with begin_publish() that the next server does not take is dropped, and the next one can be begun") {
    Kept s{std::string()};
    s.run();
    CHECK(s.client.begin_publish("t", 100, qos1).packet_id == 1);
    CHECK(s.client.write_payload(std::string(50, 'p')).size == 50);
    s.reconnect(maximum_packet_size(50), true);
    s.dropped(1, Error::packet_too_large);
    s.quiet();
    CHECK(name(s.client.begin_publish("t", 100, qos1).error) == "packet too large");
    CHECK(s.client.begin_publish("t", 10, qos1).packet_id == 2);
    CHECK(s.client.write_payload("0123456789").size == 10);
    s.expects(published(0x32, 2, "0123456789"));
}

TEST_CASE("MQTT 5 drops are told one by one while the application calls whatever it likes") {
    Kept s;
    REQUIRE(s.client.connect(s.options).ok());
    const std::string large(30, 'L');
    for (int id = 1; id <= 4; ++id) CHECK(s.publish(id % 2 == 0 ? "s" : large, qos1) == id);
    s.accept(maximum_packet_size(20));
    s.dropped(1, Error::packet_too_large);
    CHECK(s.publish("n", qos1) == 5);
    CHECK(name(s.client.publish("t", large, qos1).error) == "packet too large");
    CHECK(name(s.client.begin_publish("t", 1, qos1).error) == "publish in progress");
    CHECK(s.port.from_client == "");
    s.dropped(3, Error::packet_too_large);
    s.expects(published(0x32, 2, "s") + published(0x32, 4, "s") + published(0x32, 5, "n"));
    // Lost in the middle of the telling: the rest is told after the next CONNACK that asks for it.
    s.offline();
    for (int i = 0; i < 2; ++i) CHECK(s.publish(large, qos1) == 6 + i);
    s.online(maximum_packet_size(20));
    s.dropped(6, Error::packet_too_large);
    s.port.cut = true;
    std::vector<int> told;
    for (Event event = s.next(); event.kind != Event::disconnected; event = s.next()) {
        REQUIRE(event.kind == Event::dropped);
        told.push_back(event.packet_id);
    }
    s.reconnect(maximum_packet_size(20), true);
    for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
        REQUIRE(event.kind == Event::dropped);
        told.push_back(event.packet_id);
    }
    CHECK(told == std::vector<int>{7});
}

// ------------------------------------------------------------------------------------------ our maximum packet size

TEST_CASE("MQTT 5 [MQTT-3.1.2-24] a packet larger than our maximum packet size is answered with 0x95, one of exactly it is taken") {
    for (const uint32_t maximum : {20U, 50U, 200U, 300U}) {
        CAPTURE(maximum);
        for (const int more : {0, 1}) {
            Kept s;
            s.options.maximum_packet_size = maximum;
            s.connect();
            const size_t header = maximum + static_cast<uint32_t>(more) <= 129 ? 2 : 3;
            s.sends(packet(0x30, bytes({0, 1, 't', 0}) + std::string(maximum + static_cast<size_t>(more) - header - 4, 'x')));
            if (more == 1) {
                s.rejects_with(0x95, Error::oversize_packet);
                continue;
            }
            size_t got = 0;
            for (Event event = s.next(); event.kind != Event::none; event = s.next()) got += event.message.payload.size();
            CHECK(got == maximum - header - 4);
            CHECK(s.client.connected());
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-24] our maximum packet size is told to the server, unless it is 0") {
    for (const uint32_t maximum : {0U, 100U, 0x01020304U}) {
        Session5 s(256, 1024, 20);
        s.options.maximum_packet_size = maximum;
        REQUIRE(s.client.connect(s.options).ok());
        const std::string bytes_of_it = bytes({static_cast<int>(maximum >> 24), static_cast<int>(maximum >> 16 & 255),
                                               static_cast<int>(maximum >> 8 & 255), static_cast<int>(maximum & 255)});
        const std::string receive = bytes({0x21, 0, 20});
        s.expects(packet(0x10, bytes({0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60}) +
                                   test::properties(receive + (maximum == 0 ? "" : bytes({0x27}) + bytes_of_it)) + test::text("c")));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-24] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] every packet that is larger than our maximum is answered with 0x95, as soon as its length is known") {
    struct {
        const char* what;
        int first;
    } const list[] = {{"PUBLISH", 0x30}, {"PUBLISH QoS 1", 0x32}, {"PUBLISH QoS 2", 0x34}, {"PUBACK", 0x40},
                      {"PUBREC", 0x50}, {"PUBREL", 0x62}, {"PUBCOMP", 0x70}, {"SUBACK", 0x90},
                      {"UNSUBACK", 0xB0}, {"PINGRESP", 0xD0}, {"DISCONNECT", 0xE0}, {"AUTH", 0xF0}};
    for (const auto& row : list) {
        CAPTURE(std::string(row.what));
        Kept s;
        s.options.maximum_packet_size = 100;
        s.connect();
        CHECK(s.client.subscribe("f", qos0).packet_id == 1);
        CHECK(s.publish("x", qos1) == 2);
        s.run();
        s.port.from_client.clear();
        s.sends({row.first, 99});   // 101 bytes, of which 99 will never be there
        s.rejects_with(0x95, Error::oversize_packet);
        s.reconnect({}, true);
        s.expects(bytes({0x82, 7, 0, 1, 0, 0, 1, 'f', 0}) + published(0x3A, 2, "x"));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] SUBACK and UNSUBACK with a reason string or a user property that makes them larger than our maximum are answered with 0x95") {
    for (const int type : {0x90, 0xB0})
        for (const bool user : {false, true})
            for (const int more : {0, 1}) {
                Kept s;
                s.options.maximum_packet_size = 60;
                s.connect();
                CHECK((type == 0x90 ? s.client.subscribe("f", qos0) : s.client.unsubscribe("f")).packet_id == 1);
                s.run();
                s.port.from_client.clear();
                // 2 + 2 + 1 + properties + 1
                const std::string value(static_cast<size_t>(60 - 6 - (user ? 6 : 3) + more), 'v');
                const std::string list = user ? bytes({0x26, 0, 1, 'n'}) + test::text(value) : bytes({0x1F}) + test::text(value);
                s.sends(packet(type, bytes({0, 1}) + test::properties(list) + bytes({0})));
                if (more == 1)
                    s.rejects_with(0x95, Error::oversize_packet);
                else
                    CHECK(s.next().kind == (type == 0x90 ? Event::subscribed : Event::unsubscribed));
            }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-19] [MQTT-3.2.2-20] a CONNACK with a reason string or a user property that makes it larger than our maximum is answered with 0x95") {
    for (const bool user : {false, true})
        for (const int more : {0, 1}) {
            Kept s;
            s.options.maximum_packet_size = 60;
            REQUIRE(s.client.connect(s.options).ok());
            s.run();
            s.port.from_client.clear();
            // 2 + 2 + 1 + properties
            const std::string value(static_cast<size_t>(60 - 5 - (user ? 6 : 3) + more), 'v');
            s.sends(test::connack(user ? bytes({0x26, 0, 1, 'n'}) + test::text(value) : bytes({0x1F}) + test::text(value)));
            if (more == 1)
                s.rejects_with(0x95, Error::oversize_packet);
            else
                CHECK(s.next().kind == Event::connected);
        }
}

TEST_CASE("MQTT 5 without a maximum of ours, a PUBLISH larger than rx comes in pieces, and any other packet larger than rx is answered with 0x95") {
    for (const int first : {0x40, 0x50, 0x62, 0x70, 0x90, 0xB0, 0xD0, 0xE0, 0xF0}) {
        CAPTURE(first);
        Kept s{std::string()};
        s.sends({first, 0xFF, 0x01});   // 255 and a header of 3; rx has 256
        s.rejects_with(0x95, Error::oversize_packet);
    }
    Kept s{std::string()};
    s.sends(published(0x30, 0, std::string(1000, 'x')));
    size_t got = 0;
    for (Event event = s.next(); event.kind != Event::none; event = s.next()) got += event.message.payload.size();
    CHECK(got == 1000);
}

// ---------------------------------------------------------------------------------------- what a server does not have

TEST_CASE("MQTT 5 [MQTT-3.2.2-11] above the server's Maximum QoS nothing is published: refused before a byte is queued, at this connection") {
    for (const int maximum : {0, 1}) {
        Kept s(maximum == 0 ? qos_0_only : qos_1_at_most);
        s.run();
        for (const QoS qos : {qos2, qos1}) {
            const bool ok = static_cast<int>(qos) <= maximum;
            const mqtt::Result result = s.client.publish("t", "x", qos), begun = s.client.begin_publish("t", 1, qos);
            CHECK(name(result.error) == (ok ? "ok" : "QoS not supported"));
            CHECK(name(begun.error) == (ok ? "ok" : "QoS not supported"));
            if (!ok) CHECK(mqtt::fault(result.error) == mqtt::Fault::caller);
        }
        if (maximum == 1) CHECK(s.client.write_payload("y").size == 1);
        s.expects(maximum == 0 ? "" : published(0x32, 1, "x") + published(0x32, 2, "y"));
        const int id = maximum == 0 ? 1 : 3;
        CHECK(s.publish("x", qos0) == 0);
        CHECK(s.client.subscribe("f", qos2).packet_id == id);   // is not restricted
        s.expects(published(0x30, 0, "x") + bytes({0x82, 7, 0, id, 0, 0, 1, 'f', 2}));
        s.reconnect({}, false);
        s.run();
        s.port.from_client.clear();
        CHECK(s.publish("x", qos2) == id + 1);
        s.expects(published(0x34, id + 1, "x"));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-14] without Retain Available nothing is published with RETAIN") {
    Kept s(no_retain);
    for (const QoS qos : {qos0, qos1, qos2}) {
        const mqtt::Result result = s.client.publish("t", "x", qos, Retain::yes);
        CHECK(name(result.error) == "retain not supported");
        CHECK(mqtt::fault(result.error) == mqtt::Fault::caller);
        CHECK(name(s.client.begin_publish("t", 1, qos, Retain::yes).error) == "retain not supported");
    }
    s.quiet();
    CHECK(s.publish("x", qos1) == 1);
    s.expects(published(0x32, 1, "x"));
    s.reconnect({}, true);
    s.port.from_client.clear();
    CHECK(s.client.publish("t", "x", qos1, Retain::yes).packet_id == 2);
    s.run();
    CHECK(s.port.from_client.find(published(0x33, 2, "x")) != std::string::npos);
}

TEST_CASE("MQTT 5 subscriptions of a kind that the server does not have are refused before a byte is queued, at this connection") {
    PropertyBuffer<8> identifier;
    identifier.add(prop::subscription_identifier, 5);
    struct {
        std::string connack;
        const char* error;
    } const list[] = {{no_wildcards, "wildcard subscriptions not supported"},
                      {no_identifiers, "subscription identifiers not supported"},
                      {no_sharing, "shared subscriptions not supported"}};
    for (const auto& row : list) {
        CAPTURE(std::string(row.error));
        Kept s(row.connack);
        const bool wildcards = row.connack != no_wildcards, identifiers = row.connack != no_identifiers,
                   sharing = row.connack != no_sharing;
        int id = 0;
        const auto check = [&](const mqtt::Result& result, bool ok) {
            CHECK(name(result.error) == (ok ? "ok" : row.error));
            if (!ok) CHECK(mqtt::fault(result.error) == mqtt::Fault::caller);
            CHECK(result.packet_id == (ok ? ++id : 0));
        };
        s.run();
        check(s.client.subscribe("+", qos0), wildcards);
        check(s.client.subscribe("a/#", qos0), wildcards);
        check(s.client.subscribe("a/+/b", qos0), wildcards);
        check(s.client.subscribe({{"a", qos0}, {"#", qos0}}), wildcards);
        check(s.client.subscribe("a", qos0, identifier), identifiers);
        check(s.client.subscribe("$share/g/a", qos0), sharing);
        check(s.client.subscribe({{"a", qos0}, {"$share/g/b", qos0}}), sharing);
        check(s.client.subscribe("a", qos2), true);
        check(s.client.subscribe("$share", qos0), true);
        check(s.client.subscribe("$shared/g/a", qos0), true);
        check(s.client.unsubscribe("#"), true);
        check(s.client.unsubscribe("$share/g/a"), true);
        s.run();
        s.reconnect({}, true);
        s.port.from_client.clear();
        check(s.client.subscribe("$share/g/#", qos0, identifier), true);
        s.run();
        const std::string last = packet(0x82, bytes({0, id, 2, 0x0B, 5}) + test::text("$share/g/#") + bytes({0}));
        REQUIRE(s.port.from_client.size() >= last.size());
        CHECK(test::hex(s.port.from_client.substr(s.port.from_client.size() - last.size())) == test::hex(last));
        s.reconnect(row.connack, true);   // and now it is dropped
        while (true) {
            const Event event = s.next();
            REQUIRE(event.kind == Event::dropped);
            CHECK(name(event.error) == row.error);
            if (event.packet_id == id) break;
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-11] [MQTT-3.2.2-14] what was queued without a connection and the server does not have is told as dropped with the error, the rest is sent") {
    PropertyBuffer<8> identifier;
    identifier.add(prop::subscription_identifier, 5);
    const auto queue = [&](Kept& s) {
        CHECK(s.publish("q0", qos0) == 0);
        CHECK(s.publish("q1", qos1) == 1);
        CHECK(s.publish("q2", qos2) == 2);
        CHECK(s.client.publish("t", "r0", qos0, Retain::yes).ok());
        CHECK(s.client.publish("t", "r1", qos1, Retain::yes).packet_id == 3);
        CHECK(s.client.publish("t", "r2", qos2, Retain::yes).packet_id == 4);
        CHECK(s.client.subscribe("a/+", qos0).packet_id == 5);
        CHECK(s.client.subscribe("a", qos0, identifier).packet_id == 6);
        CHECK(s.client.subscribe("$share/g/a", qos0).packet_id == 7);
        CHECK(s.client.subscribe({{"a", qos0}, {"b", qos1}}).packet_id == 8);
        CHECK(s.client.unsubscribe("#").packet_id == 9);
    };
    const std::vector<std::string> packets = {published(0x30, 0, "q0"),
                                              published(0x32, 1, "q1"),
                                              published(0x34, 2, "q2"),
                                              published(0x31, 0, "r0"),
                                              published(0x33, 3, "r1"),
                                              published(0x35, 4, "r2"),
                                              packet(0x82, bytes({0, 5, 0}) + test::text("a/+") + bytes({0})),
                                              packet(0x82, bytes({0, 6, 2, 0x0B, 5}) + test::text("a") + bytes({0})),
                                              packet(0x82, bytes({0, 7, 0}) + test::text("$share/g/a") + bytes({0})),
                                              packet(0x82, bytes({0, 8, 0}) + test::text("a") + bytes({0}) + test::text("b") +
                                                               bytes({1})),
                                              packet(0xA2, bytes({0, 9, 0}) + test::text("#"))};
    const std::vector<int> ids = {0, 1, 2, 0, 3, 4, 5, 6, 7, 8, 9};
    struct {
        std::string connack;
        Error error;
        std::vector<size_t> dropped;   // which of the packets
    } const list[] = {{"", Error::ok, {}},
                      {qos_0_only, Error::qos_not_supported, {1, 2, 4, 5}},
                      {qos_1_at_most, Error::qos_not_supported, {2, 5}},
                      {no_retain, Error::retain_not_supported, {3, 4, 5}},
                      {no_wildcards, Error::wildcard_subscriptions_not_supported, {6}},
                      {no_identifiers, Error::subscription_identifiers_not_supported, {7}},
                      {no_sharing, Error::shared_subscriptions_not_supported, {8}}};
    for (const auto& row : list) {
        CAPTURE(name(row.error));
        Kept s;
        REQUIRE(s.client.connect(s.options).ok());
        queue(s);
        s.accept(row.connack);
        for (const size_t i : row.dropped) s.dropped(ids[i], row.error);
        std::string wanted;
        for (size_t i = 0; i < packets.size(); ++i)
            if (std::find(row.dropped.begin(), row.dropped.end(), i) == row.dropped.end()) wanted += packets[i];
        s.expects(wanted);
        s.quiet();
    }
}

TEST_CASE("MQTT 5 a message that was sent is dropped if the server of the next connection does not take its QoS any more; a PUBREL goes on") {
    Kept s{std::string()};
    CHECK(s.publish("a", qos2) == 1);
    CHECK(s.publish("b", qos2) == 2);
    CHECK(s.publish("c", qos1) == 3);
    s.run();
    s.sends(ack(0x50, 2));
    s.expect_event(Event::pubrec);
    s.run();
    s.reconnect(qos_0_only, true);
    s.dropped(1, Error::qos_not_supported);
    s.dropped(3, Error::qos_not_supported);
    s.expects(ack(0x62, 2));
    s.sends(ack(0x70, 2));
    s.acknowledged(2);
}

TEST_CASE("MQTT 5 everything a server may restrict at once, and nothing of it left on the next connection") {
    const std::string all =
        receive_maximum(1) + maximum_packet_size(30) + qos_1_at_most + no_retain + no_wildcards + no_identifiers + no_sharing;
    for (int round = 0; round < 2; ++round) {
        Kept s(all);
        CHECK(name(s.client.publish("t", "x", qos2).error) == "QoS not supported");
        CHECK(name(s.client.publish("t", "x", qos1, Retain::yes).error) == "retain not supported");
        CHECK(name(s.client.subscribe("#", qos0).error) == "wildcard subscriptions not supported");
        CHECK(name(s.client.subscribe("$share/g/a", qos0).error) == "shared subscriptions not supported");
        CHECK(name(s.client.subscribe("a", qos0, PropertyBuffer<2>().add(prop::subscription_identifier, 1)).error) ==
              "subscription identifiers not supported");
        CHECK(name(s.client.publish("t", std::string(30, 'x'), qos1).error) == "packet too large");
        CHECK(s.publish("x", qos1) == 1);
        s.full();
        s.expects(published(0x32, 1, "x"));
        if (round == 0) {
            s.reconnect({}, true);
        } else {   // by the client's own wish
            CHECK(s.client.disconnect().ok());
            s.run();
            s.expect_event(Event::disconnected);
            s.port.from_client.clear();
            s.connect({}, true);
        }
        s.expects(published(0x3A, 1, "x"));
        CHECK(s.client.publish("t", "x", qos2, Retain::yes).packet_id == 2);
        CHECK(s.client.subscribe("$share/g/#", qos0, PropertyBuffer<2>().add(prop::subscription_identifier, 1)).packet_id == 3);
        CHECK(s.client.publish("t", std::string(30, 'x'), qos1).packet_id == 4);
        s.expects(published(0x35, 2, "x") + packet(0x82, bytes({0, 3, 2, 0x0B, 1}) + test::text("$share/g/#") + bytes({0})) +
                  published(0x32, 4, std::string(30, 'x')));
    }
}
