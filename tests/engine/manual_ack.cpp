// ConnectOptions::manual_ack: a received message is acknowledged when the application says so.

#include "tests/support/peer.hpp"

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::Session;

struct Manual : Session {
    explicit Manual(uint16_t receive_maximum = 20, size_t tx_size = 1024) : Session(256, tx_size, receive_maximum) {
        options.clean_session = false;
        options.manual_ack = true;
        connect();
    }
    // The next event is a message with this id and payload.
    void received(int id, const char* payload) {
        const Event event = expect_event(Event::received);
        CHECK(event.message.packet_id == id);
        CHECK(event.message.payload.text() == payload);
    }
    void publishes(int first, int id, int payload) { sends({first, 6, 0, 1, 't', id >> 8, id & 255, payload}); }
};

}  // namespace

TEST_CASE("nothing is acknowledged until the application says so, however much time passes") {
    Manual s;
    s.publishes(0x32, 5, 'a');
    s.publishes(0x34, 6, 'b');
    s.sends({0x30, 4, 0, 1, 't', 'c'});
    s.received(5, "a");
    s.received(6, "b");
    s.received(0, "c");
    s.quiet();
    s.port.clock += 3600000;
    s.client.flush();
    CHECK(s.client.poll().kind == Event::none);
    CHECK(s.port.from_client == bytes({0xC0, 0}));   // only a ping
    s.sends({0xD0, 0});
    s.expect_event(Event::pingresp);
    s.port.from_client.clear();
    CHECK(s.client.acknowledge(5).ok());
    s.expects({0x40, 2, 0, 5});
    CHECK(s.client.acknowledge(6).ok());
    s.expects({0x50, 2, 0, 6});
    s.quiet();
}

TEST_CASE("acknowledge() while handling the event goes out with the next poll()") {
    Manual s;
    s.publishes(0x32, 5, 'a');
    s.received(5, "a");
    CHECK(s.client.acknowledge(5).ok());
    s.expects({0x40, 2, 0, 5});
}

TEST_CASE("[MQTT-4.6.0-2] [MQTT-4.6.0-3] answers go out in the order of the messages, in whatever order they are acknowledged") {
    const int orders[][4] = {{4, 3, 2, 1}, {2, 1, 4, 3}, {3, 1, 2, 4}, {1, 4, 3, 2}};
    for (const auto& order : orders) {
        Manual s;
        const std::string answers[] = {bytes({0x40, 2, 0, 1}), bytes({0x50, 2, 0, 2}), bytes({0x50, 2, 0, 3}), bytes({0x40, 2, 0, 4})};
        s.publishes(0x32, 1, 'a');
        s.publishes(0x34, 2, 'b');
        s.publishes(0x34, 3, 'c');
        s.publishes(0x32, 4, 'd');
        s.run();
        bool acknowledged[5] = {};
        int written = 0;
        for (const int id : order) {
            CHECK(s.client.acknowledge(static_cast<uint16_t>(id)).ok());
            acknowledged[id] = true;
            std::string wanted;
            while (written < 4 && acknowledged[written + 1]) wanted += answers[written++];
            s.expects(wanted);
        }
        CHECK(written == 4);
    }
}

TEST_CASE("unknown_packet_id: an id that never came, came with QoS 0, is acknowledged already, or has gone with its connection") {
    Manual s;
    CHECK(s.client.acknowledge(1).error == Error::unknown_packet_id);
    CHECK(s.client.acknowledge(0).error == Error::unknown_packet_id);
    s.sends({0x30, 4, 0, 1, 't', 'c'});
    s.received(0, "c");
    CHECK(s.client.acknowledge(0).error == Error::unknown_packet_id);
    s.publishes(0x32, 1, 'a');
    s.publishes(0x32, 2, 'b');
    s.publishes(0x34, 3, 'c');
    s.run();
    CHECK(s.client.acknowledge(2).ok());
    CHECK(s.client.acknowledge(2).error == Error::unknown_packet_id);   // also while it waits for 1
    CHECK(s.client.acknowledge(1).ok());
    CHECK(s.client.acknowledge(1).error == Error::unknown_packet_id);
    CHECK(s.client.acknowledge(4).error == Error::unknown_packet_id);
    s.expects({0x40, 2, 0, 1, 0x40, 2, 0, 2});
    s.reconnect(true);
    CHECK(s.client.acknowledge(3).error == Error::unknown_packet_id);
    while (s.next().kind != Event::none) {}
    s.quiet();
}

TEST_CASE("without manual_ack there is nothing to acknowledge: it has happened by the next poll()") {
    Session s;
    s.connect();
    s.sends({0x32, 6, 0, 1, 't', 0, 7, 'x'});
    s.expect_event(Event::received);
    s.expects({0x40, 2, 0, 7});
    CHECK(s.client.acknowledge(7).error == Error::unknown_packet_id);
    s.quiet();
}

TEST_CASE("with receive_maximum messages open nothing more is read; acknowledge() lets it go on") {
    for (const int first : {0x32, 0x34}) {
        Manual s(3);
        for (int id = 1; id <= 6; ++id) s.publishes(first, id, 'a' + id);
        s.received(1, "b");
        s.received(2, "c");
        s.received(3, "d");
        CHECK(s.next().kind == Event::none);
        s.sends(std::string(10000, '\xFF'));                    // not even garbage is seen
        CHECK(s.next().kind == Event::none);
        const size_t unread = s.port.to_client.size();
        for (int i = 0; i < 10; ++i) CHECK(s.client.poll().kind == Event::none);
        CHECK(s.port.to_client.size() == unread);
        CHECK(unread >= 10000 - 256);
        CHECK(s.client.connected());
        s.port.to_client.clear();
        CHECK(s.client.acknowledge(1).ok());
        CHECK(s.client.idle_ms() == 0);                         // poll() has something to do
        if (first == 0x34) {
            // An answered QoS 2 message keeps its place until PUBREL, which can only come behind the ones that wait.
            CHECK(s.client.acknowledge(2).ok());
            CHECK(s.client.acknowledge(3).ok());
            s.expects({0x50, 2, 0, 1, 0x50, 2, 0, 2, 0x50, 2, 0, 3});
            s.port.clock += 10000;
            CHECK(s.expect_event(Event::disconnected).error == Error::receive_maximum_exceeded);
            continue;
        }
        s.received(4, "e");
        s.expects({0x40, 2, 0, 1});
        CHECK(s.client.acknowledge(2).ok());
        CHECK(s.client.acknowledge(3).ok());
        s.received(5, "f");
        s.received(6, "g");
        s.expects({0x40, 2, 0, 2, 0x40, 2, 0, 3});
    }
}

TEST_CASE("an application that keeps receive_maximum messages open for long is not taken for a dead link") {
    Manual s(1);
    s.publishes(0x32, 1, 'a');
    s.publishes(0x32, 2, 'b');
    s.received(1, "a");
    CHECK(s.next().kind == Event::none);
    for (int i = 0; i < 100; ++i) {
        s.port.clock += 60000;
        for (Event event = s.client.poll(); event.kind != Event::none; event = s.client.poll())
            CHECK(event.kind != Event::disconnected);
        // The server answers pings, but nobody reads it.
        if (s.port.from_client.find(static_cast<char>(0xC0)) != std::string::npos) s.sends({0xD0, 0});
        s.port.from_client.clear();
    }
    CHECK(s.client.connected());
    CHECK(s.client.acknowledge(1).ok());
    s.received(2, "b");
    CHECK(s.client.acknowledge(2).ok());
    s.run();
    CHECK(s.client.connected());
    CHECK(test::hex(s.port.from_client).find(test::hex(bytes({0x40, 2, 0, 1}))) != std::string::npos);
}

TEST_CASE("[MQTT-4.3.3-2] QoS 2: answered when acknowledged, then not delivered again until it is released") {
    Manual s;
    s.publishes(0x34, 7, 'x');
    s.received(7, "x");
    CHECK(s.client.acknowledge(7).ok());
    s.expects({0x50, 2, 0, 7});
    s.publishes(0x3C, 7, 'x');
    CHECK(s.next().kind == Event::none);
    s.expects({0x50, 2, 0, 7});
    s.reconnect(true);
    s.publishes(0x34, 7, 'x');
    CHECK(s.next().kind == Event::none);
    s.expects({0x50, 2, 0, 7});
    s.sends({0x62, 2, 0, 7});
    CHECK(s.expect_event(Event::pubrel).packet_id == 7);
    s.expects({0x70, 2, 0, 7});
    s.publishes(0x34, 7, 'y');
    s.received(7, "y");
}

TEST_CASE("[MQTT-4.3.3-2] a QoS 2 message that comes again while it is open is not delivered twice, and is answered when it is acknowledged") {
    Manual s;
    s.publishes(0x34, 7, 'x');
    s.publishes(0x3C, 7, 'x');
    s.received(7, "x");
    s.quiet();
    CHECK(s.client.acknowledge(7).ok());
    s.run();
    CHECK(test::hex(s.port.from_client.substr(0, 4)) == test::hex(bytes({0x50, 2, 0, 7})));
    s.port.from_client.clear();
    s.sends({0x62, 2, 0, 7});
    s.expect_event(Event::pubrel);
    s.expects({0x70, 2, 0, 7});
}

TEST_CASE("a reconnect voids what is open: the server sends it again, and it is delivered again") {
    Manual s;
    s.publishes(0x32, 1, 'a');
    s.publishes(0x34, 2, 'b');
    s.received(1, "a");
    s.received(2, "b");
    s.reconnect(true);
    CHECK(s.client.acknowledge(1).error == Error::unknown_packet_id);
    CHECK(s.client.acknowledge(2).error == Error::unknown_packet_id);
    s.publishes(0x3A, 1, 'a');
    s.publishes(0x3C, 2, 'b');
    s.received(1, "a");
    s.received(2, "b");
    s.quiet();
    CHECK(s.client.acknowledge(1).ok());
    CHECK(s.client.acknowledge(2).ok());
    s.expects({0x40, 2, 0, 1, 0x50, 2, 0, 2});
}

TEST_CASE("[MQTT-4.3.3-2] a QoS 2 message that was acknowledged behind an open one is not delivered again after a reconnect") {
    Manual s;
    s.publishes(0x34, 1, 'a');
    s.publishes(0x34, 2, 'b');
    s.received(1, "a");
    s.received(2, "b");
    CHECK(s.client.acknowledge(2).ok());
    s.quiet();
    s.reconnect(true);
    s.publishes(0x3C, 1, 'a');
    s.publishes(0x3C, 2, 'b');
    s.received(1, "a");
    CHECK(s.next().kind == Event::none);
    CHECK(s.client.acknowledge(1).ok());
    s.run();
    s.sends({0x62, 2, 0, 1, 0x62, 2, 0, 2});
    s.expect_event(Event::pubrel);
    s.expect_event(Event::pubrel);
    s.publishes(0x34, 2, 'c');
    s.received(2, "c");
}

TEST_CASE("[MQTT-4.3.3-2] a QoS 2 message acknowledged between the loss and its event is not delivered again") {
    Manual s;
    s.publishes(0x34, 7, 'x');
    s.received(7, "x");
    s.port.cut = true;
    CHECK(s.client.acknowledge(7).ok());
    s.expect_event(Event::disconnected);
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(true);
    s.publishes(0x3C, 7, 'x');
    CHECK(s.next().kind == Event::none);
    s.expects({0x50, 2, 0, 7});
}

TEST_CASE("a lost session voids what is open, and ids are new") {
    Manual s;
    s.publishes(0x34, 1, 'a');
    s.publishes(0x34, 2, 'b');
    s.run();
    CHECK(s.client.acknowledge(1).ok());
    s.run();
    s.reconnect(false);
    while (s.next().kind != Event::none) {}
    CHECK(s.client.acknowledge(2).error == Error::unknown_packet_id);
    s.publishes(0x34, 1, 'c');
    s.received(1, "c");
    CHECK(s.client.acknowledge(1).ok());
    s.expects({0x50, 2, 0, 1});
}

TEST_CASE("[MQTT-4.5.0-2] a message that is skipped because its topic does not fit is acknowledged unasked, behind those that are open") {
    for (const int first : {0x32, 0x34}) {
        Manual s;
        s.publishes(0x32, 1, 'a');
        s.received(1, "a");
        s.sends(bytes({first, 0xB0, 0x02, 1, 0x2C}) + std::string(300, 't') + bytes({0, 2}));   // a topic of 300 bytes
        CHECK(s.expect_event(Event::skipped).packet_id == 2);
        s.quiet();
        CHECK(s.client.acknowledge(2).error == Error::unknown_packet_id);
        CHECK(s.client.acknowledge(1).ok());
        s.expects({0x40, 2, 0, 1, first == 0x32 ? 0x40 : 0x50, 2, 0, 2});
    }
}

TEST_CASE("acknowledged while there is no room for answers: they go out when there is, in order") {
    Manual s(10, 96);
    while (s.client.publish("t", "x", QoS::at_least_once).ok()) {}
    s.run();
    s.port.from_client.clear();
    std::string wanted;
    for (int id = 1; id <= 8; ++id) {
        s.publishes(0x32, id, 'a');
        s.received(id, "a");
        wanted += bytes({0x40, 2, 0, id});
    }
    s.port.write_limit = 0;
    for (uint16_t id = 1; id <= 8; ++id) CHECK(s.client.acknowledge(id).ok());
    CHECK(s.next().kind == Event::none);
    s.port.write_limit = SIZE_MAX;
    s.expects(wanted);
}
