// Memory at its limits, partial reads and writes, how often the port is called, and calls made at any moment.
#include "tests/support/peer.hpp"

#include <memory>

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::hex;
using test::Session;

namespace {

std::string name(Error error) { return mqtt::to_string(error); }

std::string taken(Session& s) {
    std::string out;
    s.run();
    out.swap(s.port.from_client);
    return out;
}
// A Session's CONNECT has 15 bytes: 14 and the client id "c".
constexpr size_t rx_least = 15;
// The formula at `Buffers`: 3 for each of receive_maximum and 16. With 4 of them, 28.
constexpr uint16_t few = 4;
constexpr size_t aside = 3 * few + 16, entry = 4;

// A client over memory of exactly these sizes, which begins `odd` bytes behind an aligned address.
struct Odd {
    Odd(size_t rx_size, size_t tx_size, size_t odd)
        : rx(new uint8_t[rx_size + odd]), tx(new uint8_t[tx_size + odd]),
          client(port, {{rx.get() + odd, rx_size}, {tx.get() + odd, tx_size}, few}) {
        options.host = "server";
        options.client_id = "c";
    }
    std::unique_ptr<uint8_t[]> rx, tx;
    test::ScriptedPort port;
    mqtt::ConnectOptions options;
    mqtt::Client<test::ScriptedPort> client;
};

// Publishes until there is no room, in all three QoS; then the server sends, a ping falls due, and all must be answered
// before the messages are: acknowledgements, pings and DISCONNECT never wait for room.
void scenario(Session& s, size_t write_limit) {
    s.connect();
    s.run();
    s.port.from_client.clear();
    s.port.write_limit = 0;
    size_t accepted = 0;
    for (bool room = true; room;) {
        room = false;
        for (const QoS qos : {QoS::exactly_once, QoS::at_least_once, QoS::at_most_once}) {
            const mqtt::Result result = s.client.publish("t", "x", qos);
            if (!result.ok()) {
                CHECK((result.error == Error::no_space || result.error == Error::packet_too_large));
                CHECK(result.packet_id == 0);
                continue;
            }
            room = true;
            ++accepted;
        }
    }
    const mqtt::Result subscribed = s.client.subscribe("f", QoS::at_most_once);
    CHECK((subscribed.error == Error::no_space || subscribed.error == Error::packet_too_large));
    // Nothing is taken, and the server goes on sending.
    for (int id = 1; id <= 3; ++id) s.sends({0x32, 6, 0, 1, 't', 0, id, 'x'});
    for (int id = 4; id <= 6; ++id) s.sends({0x34, 6, 0, 1, 't', 0, id, 'x'});
    s.sends({0x62, 2, 0, 77, 0xD0, 0});
    int received = 0;
    for (int i = 0; i < 50; ++i) {
        const Event event = s.client.poll();
        CHECK((event.kind == Event::none || event.kind == Event::received || event.kind == Event::pubrel ||
               event.kind == Event::pingresp));
        if (event.kind == Event::received) ++received;
    }
    CHECK(s.port.from_client.empty());
    s.port.clock += 52500;   // a ping is due
    for (int i = 0; i < 10; ++i)
        if (s.client.poll().kind == Event::received) ++received;
    // Now it takes something.
    s.port.write_limit = write_limit;
    for (int i = 0; i < 500; ++i)
        if (s.client.poll().kind == Event::received) ++received;
    CHECK(s.port.is_open);
    CHECK(received == 6);
    CHECK(s.port.to_client.empty());
    const std::string written = taken(s);
    const auto has = [&](std::initializer_list<int> packet) { return written.find(bytes(packet)) != std::string::npos; };
    for (int id = 1; id <= 3; ++id) CHECK(has({0x40, 2, 0, id}));
    for (int id = 4; id <= 6; ++id) CHECK(has({0x50, 2, 0, id}));
    CHECK(has({0x70, 2, 0, 77}));
    CHECK(has({0xC0, 0}));
    s.sends({0xD0, 0});
    (void)s.expect_event(Event::pingresp);
    // The server answers: then there is room again, as much as before.
    size_t again = 0, kept_messages = 0, finished = 0;
    std::string completed;
    for (size_t at = 0; at < written.size(); at += 2 + static_cast<size_t>(written[at + 1])) {
        if ((written[at] & 0xF0) != 0x30) continue;
        ++again;
        if (written[at] == 0x30) continue;
        ++kept_messages;
        const int id = static_cast<uint8_t>(written[at + 6]);
        s.sends({written[at] == 0x32 ? 0x40 : 0x50, 2, 0, id});
        if (written[at] == 0x34) completed += bytes({0x70, 2, 0, id});
    }
    CHECK(again == accepted);
    for (int round = 0; round < 2; ++round) {
        for (Event event = s.next(); event.kind != Event::none; event = s.next())
            if (event.kind == Event::acknowledged) ++finished;
        (void)taken(s);
        if (round == 0) s.sends(completed);
    }
    CHECK(finished == kept_messages);
    if (accepted != 0) CHECK(s.client.publish("t", "x", kept_messages == 0 ? QoS::at_most_once : QoS::at_least_once).ok());
    // A full outbox does not keep DISCONNECT back.
    s.port.write_limit = 0;
    while (s.client.publish("t", "").ok()) {}
    CHECK(s.client.disconnect().ok());
    s.port.write_limit = write_limit;
    for (int i = 0; i < 500 && s.port.is_open; ++i) (void)s.client.poll();
    CHECK(!s.port.is_open);
    REQUIRE(s.port.from_client.size() >= 2);
    CHECK(s.port.from_client.substr(s.port.from_client.size() - 2) == bytes({0xE0, 0}));
}

}  // namespace

TEST_CASE("tx of every size from the least: nothing gets stuck, acknowledgements, pings and DISCONNECT always go out") {
    for (size_t tx = aside; tx <= 200; ++tx)
        for (const size_t write_limit : {SIZE_MAX, size_t{1}, size_t{3}}) {
            CAPTURE(tx);
            CAPTURE(write_limit);
            Session s(64, tx, few);
            scenario(s, write_limit);
        }
}

TEST_CASE("[MQTT-3.12.4-1] tx full of messages and acknowledgements that the socket does not take: a ping and DISCONNECT find room, and the dead link is noticed") {
    for (size_t tx = aside; tx <= 200; ++tx)
        for (const bool disconnect : {false, true}) {
            CAPTURE(tx);
            CAPTURE(disconnect);
            Session s(64, tx, few);
            s.connect();
            s.run();
            s.port.from_client.clear();
            s.port.write_limit = 0;
            while (s.client.publish("t", "").ok()) {}
            for (int id = 1; id <= 12; ++id) s.sends({0x32, 6, 0, 1, 't', 0, id, 'x'});
            for (int i = 0; i < 20; ++i) (void)s.client.poll();
            CHECK(!s.port.to_client.empty());   // it does not read what it could not answer
            CHECK(s.client.idle_ms() != 0);
            const uint32_t begin = s.port.clock;
            s.port.clock += 52500;
            for (int i = 0; i < 5; ++i) (void)s.client.poll();
            CHECK(s.client.idle_ms() == 10000);   // for the answer to a ping that is queued
            if (disconnect) {
                CHECK(s.client.disconnect().ok());
                s.port.write_limit = SIZE_MAX;
                s.run();
                CHECK(!s.port.is_open);
                const std::string& written = s.port.from_client;
                REQUIRE(written.size() >= 4);
                CHECK(written.find(bytes({0xC0, 0})) != std::string::npos);
                CHECK(written.substr(written.size() - 2) == bytes({0xE0, 0}));
            } else {
                s.port.refuse = true;
                while (s.port.is_open && s.port.clock - begin < 3600000) {
                    s.port.clock += 500;
                    (void)s.client.poll();
                }
                CHECK(s.port.clock - begin == 62500);
            }
        }
}

TEST_CASE("rx of every size from the least: nothing gets stuck") {
    for (size_t rx = rx_least; rx <= 80; ++rx)
        for (const size_t read_limit : {SIZE_MAX, size_t{1}}) {
            CAPTURE(rx);
            CAPTURE(read_limit);
            Session s(rx, 120, few);
            s.port.read_limit = read_limit;
            scenario(s, SIZE_MAX);
        }
}

TEST_CASE("the least sizes: connect() says buffer_too_small one byte below them, and the client works with them") {
    for (const uint16_t maximum : {uint16_t{4}, uint16_t{8}, uint16_t{20}, uint16_t{100}}) {
        const size_t tx = 3 * size_t{maximum} + 16;
        Session small(rx_least, tx - 1, maximum);
        CHECK(name(small.client.connect(small.options).error) == "buffer too small");
        Session exact(rx_least, tx, maximum);
        exact.connect();
        exact.sends({0x30, 4, 0, 1, 't', 'x'});
        CHECK(exact.expect_event(Event::received).message.payload.text() == "x");
    }
    Session small(rx_least - 1, 1024);
    CHECK(name(small.client.connect(small.options).error) == "buffer too small");
    small.options.client_id = "";
    small.connect();
    // All of CONNECT: 14 + client id + 2 + length of each of the others.
    const size_t size = 14 + 3 + (2 + 4) + (2 + 5) + (2 + 6) + (2 + 7);
    for (const size_t rx : {size - 1, size}) {
        Session s(rx, 1024);
        s.options.client_id = "123";
        s.options.will = {"1234", "12345", QoS::at_most_once, mqtt::Retain::no};
        s.options.user_name = "123456";
        s.options.password = "1234567";
        CHECK(s.client.connect(s.options).ok() == (rx == size));
    }
    Session none(0, 0);
    CHECK(name(none.client.connect(none.options).error) == "buffer too small");
    CHECK(none.client.poll().kind == Event::none);
}

TEST_CASE("the formula at Buffers: what should fit fits, one byte more does not") {
    for (size_t packet = 5; packet < 300; ++packet)
        for (const QoS qos : {QoS::at_most_once, QoS::at_least_once}) {
            // 2 to 5 + 2 + topic + payload, + 2 with QoS 1
            const size_t id = qos == QoS::at_most_once ? 0 : 2;
            const size_t header = packet < 130 ? 2 : 3;
            if (packet == 130 || packet < header + 3 + id) continue;   // a packet of 130 bytes does not exist
            CAPTURE(packet);
            const std::string payload(packet - header - 3 - id, 'x');
            const size_t needed = packet + (id != 0 ? entry : 0) + aside;
            Session fits(64, needed, few);
            fits.connect();
            CHECK(fits.client.publish("t", payload, qos).ok());
            Session small(64, needed - 1, few);
            small.connect();
            CHECK(name(small.client.publish("t", payload, qos).error) == "packet too large");
            small.quiet();
        }
}

TEST_CASE("the formula at Buffers: as many messages fit as it says, the next one gives no_space, until there is room again") {
    for (const size_t count : {1U, 2U, 3U, 10U, 50U})
        for (const size_t payload : {0U, 1U, 4U, 100U, 200U}) {
            CAPTURE(count);
            CAPTURE(payload);
            const size_t packet = (payload < 123 ? 2 : 3) + 5 + payload;
            const size_t size = count * (packet + entry) + aside;
            Session s(64, (size + 3) / 4 * 4, few);
            s.connect();
            s.run();
            const std::string text(payload, 'x');
            for (size_t i = 1; i <= count; ++i) CHECK(s.client.publish("t", text, QoS::at_least_once).packet_id == i);
            for (int again = 0; again < 3; ++again) {
                CHECK(name(s.client.publish("t", text, QoS::at_least_once).error) == "no space");
                (void)taken(s);
            }
            for (size_t i = 1; i <= count; ++i) {
                s.sends({0x40, 2, 0, static_cast<int>(i)});
                CHECK(s.expect_event(Event::acknowledged).packet_id == i);
                CHECK(s.client.publish("t", text, QoS::at_least_once).packet_id == count + i);
                CHECK(name(s.client.publish("t", text, QoS::at_least_once).error) == "no space");
            }
        }
}

TEST_CASE("no_space and packet_too_large change nothing: a client that is refused a lot writes the same as one that is not") {
    for (size_t tx = 60; tx < 140; tx += 4) {
        CAPTURE(tx);
        Session plain(64, tx, few), pushy(64, tx, few);
        std::string written[2];
        for (Session* s : {&plain, &pushy}) {
            const auto push = [&] {
                if (s != &pushy) return;
                const std::string huge(tx, 'x'), large(tx - aside - 12, 'x');
                CHECK(name(s->client.publish("t", huge).error) == "packet too large");
                CHECK(name(s->client.publish("t", huge, QoS::exactly_once).error) == "packet too large");
                CHECK(name(s->client.publish("t", large, QoS::exactly_once).error) == "no space");
                CHECK(name(s->client.subscribe(large, QoS::at_most_once).error) == "no space");
                CHECK(name(s->client.subscribe(huge, QoS::at_most_once).error) == "packet too large");
                CHECK(name(s->client.unsubscribe(huge).error) == "packet too large");
                CHECK(name(s->client.begin_publish(huge, 5, QoS::exactly_once).error) != "ok");
                CHECK(name(s->client.publish("#", "").error) == "invalid topic");
                CHECK(name(s->client.subscribe("a#", QoS::at_most_once).error) == "invalid filter");
            };
            s->options.clean_session = false;
            s->connect();
            std::string& out = written[s == &plain ? 0 : 1];
            CHECK(s->client.publish("t", "1", QoS::exactly_once).packet_id == 1);
            push();
            out += taken(*s);
            CHECK(s->client.publish("t", "2", QoS::at_least_once).packet_id == 2);
            push();
            out += taken(*s);
            s->reconnect(true);
            push();
            out += taken(*s);
            s->sends({0x40, 2, 0, 2});
            CHECK(s->expect_event(Event::acknowledged).packet_id == 2);
            push();
            CHECK(s->client.publish("t", "3", QoS::at_least_once).packet_id == 3);
            push();
            s->sends({0x50, 2, 0, 1});
            CHECK(s->expect_event(Event::pubrec).packet_id == 1);
            push();
            s->sends({0x70, 2, 0, 1, 0x40, 2, 0, 3});
            CHECK(s->expect_event(Event::acknowledged).packet_id == 1);
            CHECK(s->expect_event(Event::acknowledged).packet_id == 3);
            out += taken(*s);
        }
        CHECK(hex(written[0]) == hex(written[1]));
        CHECK(hex(written[0]) ==
              hex(bytes({0x34, 6, 0, 1, 't', 0, 1, '1', 0x32, 6, 0, 1, 't', 0, 2, '2', 0x3C, 6, 0, 1, 't', 0, 1, '1',
                         0x3A, 6, 0, 1, 't', 0, 2, '2', 0x32, 6, 0, 1, 't', 0, 3, '3', 0x62, 2, 0, 1})));
    }
}

TEST_CASE("partial writes of n bytes, and none for a while at each offset, leave the stream as it is") {
    const std::string all = bytes({0x30, 4, 0, 1, 't', '1', 0x32, 6, 0, 1, 't', 0, 1, '2', 0x34, 6, 0, 1, 't', 0, 2, '3',
                                   0x82, 6, 0, 3, 0, 1, 'f', 2, 0xA2, 5, 0, 4, 0, 1, 'g'});
    for (size_t first = 0; first <= all.size(); ++first)
        for (const size_t then : {size_t{1}, size_t{2}, size_t{5}, SIZE_MAX}) {
            Session s(64, 200, few);
            s.connect();
            s.run();
            CHECK(s.client.publish("t", "1").ok());
            CHECK(s.client.publish("t", "2", QoS::at_least_once).ok());
            CHECK(s.client.publish("t", "3", QoS::exactly_once).ok());
            CHECK(s.client.subscribe("f", QoS::exactly_once).ok());
            CHECK(s.client.unsubscribe("g").ok());
            s.port.write_limit = first;
            (void)s.client.poll();
            CHECK(s.port.from_client.size() == first);
            s.port.write_limit = 0;
            for (int i = 0; i < 3; ++i) (void)s.client.poll();
            // Memory is tidied up under the half-written packet.
            while (s.client.publish("t", "", QoS::at_most_once).ok()) {}
            CHECK(s.client.wants_write());
            s.port.write_limit = then;
            const std::string written = taken(s);
            CHECK(hex(written.substr(0, all.size())) == hex(all));
            CHECK((written.size() - all.size()) % 5 == 0);
            for (size_t at = all.size(); at < written.size(); at += 5)
                CHECK(written.substr(at, 5) == bytes({0x30, 3, 0, 1, 't'}));
            CHECK(written.size() > all.size());
        }
}

TEST_CASE("a burst of messages is answered by one write, in order, and read by as few reads as rx allows; at most one write and one read per poll") {
    for (const size_t rx : {64U, 128U, 256U, 1024U}) {
        CAPTURE(rx);
        Session s(rx, 1024, 100);
        s.connect();
        s.run();
        s.port.reads = s.port.writes = 0;
        std::string answers, stream;
        for (int id = 1; id <= 64; ++id) {   // 512 bytes
            stream += bytes({0x32, 6, 0, 1, 't', 0, id, 'x'});
            answers += bytes({0x40, 2, 0, id});
        }
        s.sends(stream);
        int received = 0, without_io = 0;
        while (received < 64) {
            const int reads = s.port.reads, writes = s.port.writes;
            const Event event = s.client.poll();
            CHECK(s.port.reads <= reads + 1);
            CHECK(s.port.writes <= writes + 1);
            if (s.port.reads == reads && s.port.writes == writes) ++without_io;
            if (event.kind == Event::received) ++received;
        }
        const int refills = static_cast<int>((512 + rx - 1) / rx);
        CHECK(s.port.reads == refills);
        CHECK(s.port.writes == refills - 1);
        CHECK(without_io == 64 - refills);
        (void)s.client.poll();
        CHECK(s.port.writes == refills);
        CHECK(hex(s.port.from_client) == hex(answers));
    }
}

TEST_CASE("a larger rx never needs more reads") {
    std::string stream;
    for (int i = 0; i < 50; ++i) stream += bytes({0x30, 20 + i, 0, 1, 't'}) + std::string(static_cast<size_t>(17 + i), 'x');
    int before = 1 << 30;
    for (size_t rx = 80; rx < 3000; rx += 13) {
        Session s(rx);
        s.connect();
        s.run();
        s.port.reads = 0;
        s.sends(stream);
        int received = 0;
        while (received < 50)
            if (s.client.poll().kind == Event::received) ++received;
        CHECK(s.port.reads <= before + 1);   // the last refill may end anywhere
        before = std::min(before, s.port.reads);
    }
    CHECK(before <= 2);
}

TEST_CASE("everything that is queued leaves by one write") {
    Session s;
    s.connect();
    s.run();
    s.port.writes = 0;
    for (int i = 0; i < 10; ++i) CHECK(s.client.publish("t", "x", static_cast<QoS>(i % 3)).ok());
    CHECK(s.client.subscribe("f", QoS::at_most_once).ok());
    (void)s.client.poll();
    CHECK(s.port.writes == 1);
    CHECK(!s.client.wants_write());
    CHECK(s.client.publish("t", "x").ok());
    s.client.flush();
    CHECK(s.port.writes == 2);
    s.client.flush();
    CHECK(s.port.writes == 2);
}

TEST_CASE("rx and tx may lie at any address") {
    for (size_t odd = 0; odd < 8; ++odd)
        for (size_t extra = 0; extra < 8; ++extra) {
            CAPTURE(odd);
            CAPTURE(extra);
            Odd s(15 + extra, 100 + extra, odd);
            REQUIRE(s.client.connect(s.options).ok());
            (void)s.client.poll();
            (void)s.client.poll();
            s.port.from_client.clear();
            s.port.to_client = bytes({0x20, 2, 0, 0});
            CHECK(s.client.poll().kind == Event::connected);
            int count = 0;
            while (s.client.publish("t", "x", QoS::exactly_once).ok()) ++count;
            CHECK(count == static_cast<int>((100 + extra - aside) / 12));   // each takes 8 bytes and an entry of 4
            (void)s.client.poll();
            CHECK(s.port.from_client.size() == static_cast<size_t>(count) * 8);
            int finished = 0;
            for (const int answer : {0x50, 0x70}) {
                for (int id = 1; id <= count; ++id) s.port.to_client += bytes({answer, 2, 0, id});
                for (int i = 0; i < 50; ++i)
                    if (s.client.poll().kind == Event::acknowledged) ++finished;
            }
            CHECK(finished == count);
            s.port.to_client = bytes({0x34, 6, 0, 1, 't', 0, 9, 'x'});
            CHECK(s.client.poll().kind == Event::received);
        }
}

TEST_CASE("views in an event are overwritten at the next poll(), so that one kept too long is seen") {
    if (!mqtt::checked) return;
    Session s;
    s.connect();
    s.run();
    s.sends({0x30, 8, 0, 3, 'a', 'b', 'c', 'x', 'y', 'z'});
    const Event event = s.expect_event(Event::received);
    CHECK(event.message.topic == "abc");
    CHECK(event.message.payload.text() == "xyz");
    (void)s.client.poll();
    CHECK(event.message.topic != "abc");
    CHECK(event.message.payload.text() != "xyz");
    // Also while more packets lie behind it.
    s.sends({0x30, 8, 0, 3, 'a', 'b', 'c', 'x', 'y', 'z', 0x30, 8, 0, 3, 'd', 'e', 'f', '1', '2', '3'});
    const Event first = s.expect_event(Event::received);
    CHECK(first.message.topic == "abc");
    const Event second = s.expect_event(Event::received);
    CHECK(first.message.topic != "abc");
    CHECK(first.message.payload.text() != "xyz");
    CHECK(second.message.topic == "def");
    CHECK(second.message.payload.text() == "123");
}

TEST_CASE("what the caller passes is copied: it may change as soon as the call returns") {
    Session s;
    s.connect();
    std::string topic = "topic", payload = "payload", filter = "filter";
    CHECK(s.client.publish(topic, payload, QoS::at_least_once).ok());
    CHECK(s.client.subscribe(filter, QoS::at_least_once).ok());
    topic = payload = filter = "*******";
    s.expects({0x32, 16, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 1, 'p', 'a', 'y', 'l', 'o', 'a', 'd',
               0x82, 11, 0, 2, 0, 6, 'f', 'i', 'l', 't', 'e', 'r', 1});
}

TEST_CASE("tx is moved and reused after write(): packets that have been written once are sent again whole") {
    Session s(64, aside + 5 * 12, few);
    s.options.clean_session = false;
    s.connect();
    for (int i = 1; i <= 40; ++i) {
        while (s.client.publish("t", "x", QoS::at_least_once).ok()) {}
        s.port.write_limit = static_cast<size_t>(1 + i % 11);
        (void)s.client.poll();
        s.port.write_limit = SIZE_MAX;
        const std::string written = taken(s);
        CHECK(written.size() % 8 == 0);
        // The second oldest is answered first, so there are holes.
        const int oldest = i == 1 ? 1 : 2 * i - 1;
        s.sends({0x40, 2, 0, oldest + 1, 0x40, 2, 0, oldest});
        (void)s.expect_event(Event::acknowledged);
        (void)s.expect_event(Event::acknowledged);
        if (i % 5 != 0) continue;
        s.reconnect(true);
        std::string again;
        for (int id = oldest + 2; id < oldest + 5; ++id) again += bytes({0x3A, 6, 0, 1, 't', 0, id, 'x'});
        s.expects(again);
    }
}

TEST_CASE("the size of the client object is bounded") {
    using Client = mqtt::Client<test::ScriptedPort>;
    MESSAGE("sizeof(mqtt::Client) = " << sizeof(Client));
    CHECK(sizeof(Client) <= (mqtt::has_v5 ? 54 : 30) * sizeof(void*) + 24);
    static_assert(!std::is_polymorphic_v<Client>);
}

namespace {

// Brings the client to an event of this kind, which is just being handled; false: it did not come.
bool reach(Session& s, Event::Kind kind) {
    s.options.clean_session = false;
    const auto until = [&](Event::Kind wanted) {
        for (int i = 0; i < 100; ++i)
            if (s.client.poll().kind == wanted) return true;
        return false;
    };
    if (kind == Event::disconnected) {
        s.port.refuse = true;
        REQUIRE(s.client.connect(s.options).ok());
        const bool there = until(kind);
        s.port.refuse = false;
        return there;
    }
    if (kind == Event::connected) {
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        s.port.from_client.clear();
        s.sends({0x20, 2, 0, 0});
        return until(kind);
    }
    s.connect();
    s.run();
    const auto sent = [&] {
        s.run();
        s.port.from_client.clear();
    };
    switch (kind) {
    case Event::received: s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'}); break;
    case Event::acknowledged:
        (void)s.client.publish("t", "x", QoS::at_least_once);
        sent();
        s.sends({0x40, 2, 0, 1});
        break;
    case Event::pubrec:
        (void)s.client.publish("t", "x", QoS::exactly_once);
        sent();
        s.sends({0x50, 2, 0, 1});
        break;
    case Event::subscribed:
        (void)s.client.subscribe("f", QoS::at_least_once);
        sent();
        s.sends({0x90, 3, 0, 1, 1});
        break;
    case Event::unsubscribed:
        (void)s.client.unsubscribe("f");
        sent();
        s.sends({0xB0, 2, 0, 1});
        break;
    case Event::dropped:
        (void)s.client.publish("t", "x", QoS::at_least_once);
        sent();
        s.lose();
        s.port.clock += s.options.reconnect_max_ms;
        s.run();
        s.port.from_client.clear();
        s.sends({0x20, 2, 0, 0});
        break;
    case Event::resend_payload: {
        (void)s.client.begin_publish("t", 3, QoS::at_least_once);
        (void)s.client.write_payload("xyz");
        sent();
        s.lose();
        s.port.clock += s.options.reconnect_max_ms;
        s.run();
        s.port.from_client.clear();
        s.sends({0x20, 2, 1, 0});
        break;
    }
    case Event::skipped: s.sends(bytes({0x32, 0xD0, 0x0F, 0x07, 0}) + std::string(1792, 't') + bytes({0, 9}) + std::string(204, 'x')); break;
    case Event::pubrel: s.sends({0x62, 2, 0, 9}); break;
    case Event::pingresp: s.sends({0xD0, 0}); break;
    default: return false;
    }
    return until(kind);
}

void finish(Session& s) {   // it works: until it is stopped, then again
    s.port.write_limit = SIZE_MAX;
    for (int i = 0; i < 20; ++i) (void)s.client.poll();
    s.waiting.clear();
    (void)s.client.abort();
    for (int i = 0; i < 5; ++i) (void)s.client.poll();
    CHECK(!s.port.is_open);
    CHECK(s.client.idle_ms() == mqtt::forever);
    s.port.to_client.clear();
    s.port.from_client.clear();
    s.waiting.clear();
    REQUIRE(s.client.connect(s.options).ok());
    s.accept();
    s.run();
    s.waiting.clear();
    s.port.from_client.clear();
    s.sends({0x32, 6, 0, 1, 't', 0, 20, 'x'});
    CHECK(s.expect_event(Event::received).message.packet_id == 20);
    s.run();
    CHECK(s.port.from_client == bytes({0x40, 2, 0, 20}));
}

}  // namespace

TEST_CASE("while any event is handled, the application may call anything") {
    const Event::Kind kinds[] = {Event::connected,  Event::disconnected,   Event::received, Event::acknowledged,
                                 Event::subscribed, Event::unsubscribed,   Event::dropped,  Event::resend_payload,
                                 Event::skipped,    Event::pubrec,         Event::pubrel,   Event::pingresp};
    for (const Event::Kind kind : kinds) {
        const int number = kind;
        CAPTURE(number);
        const bool offline = kind == Event::disconnected;
        {   // publish, subscribe, unsubscribe: all go out, in order
            Session s;
            REQUIRE(reach(s, kind));
            s.port.from_client.clear();
            const int id = s.client.publish("p", "1", QoS::at_least_once).packet_id;
            CHECK(id != 0);
            CHECK(s.client.publish("p", "0").ok());
            CHECK(s.client.subscribe("f", QoS::exactly_once).packet_id == id + 1);
            CHECK(s.client.unsubscribe("f").packet_id == id + 2);
            if (offline) {
                s.port.clock += s.options.reconnect_max_ms;
                s.accept();
            }
            if (kind == Event::resend_payload) {   // these wait for the payload
                CHECK(s.client.write_payload("xyz").size == 3);
            }
            const std::string written = taken(s);
            const std::string wanted = bytes({0x32, 6, 0, 1, 'p', 0, id, '1', 0x30, 4, 0, 1, 'p', '0', 0x82, 6, 0, id + 1, 0,
                                              1, 'f', 2, 0xA2, 5, 0, id + 2, 0, 1, 'f'});
            CHECK_MESSAGE(written.find(wanted) != std::string::npos, hex(written));
            finish(s);
        }
        {   // disconnect
            Session s;
            REQUIRE(reach(s, kind));
            s.port.from_client.clear();
            const mqtt::Result result = s.client.disconnect();
            if (kind == Event::resend_payload) {
                CHECK(name(result.error) == "publish in progress");
            } else {
                CHECK(result.ok());
                const Event event = s.expect_event(Event::disconnected);
                CHECK(name(event.error) == "ok");
                if (!offline) {
                    REQUIRE(s.port.from_client.size() >= 2);
                    CHECK(s.port.from_client.substr(s.port.from_client.size() - 2) == bytes({0xE0, 0}));
                }
                CHECK(!s.port.is_open);
                s.run();
                CHECK(s.client.idle_ms() == mqtt::forever);
                CHECK(name(s.client.disconnect().error) == "not started");
            }
            finish(s);
        }
        {   // abort
            Session s;
            REQUIRE(reach(s, kind));
            s.port.from_client.clear();
            CHECK(s.client.abort().ok());
            CHECK(name(s.client.abort().error) == "not started");
            CHECK(name(s.client.publish("t", "x").error) == "not started");
            CHECK(name(s.client.subscribe("t", QoS::at_most_once).error) == "not started");
            CHECK(name(s.client.connect(s.options).error) == "already started");   // until that is told
            const Event event = s.expect_event(Event::disconnected);
            CHECK(name(event.error) == "ok");
            CHECK(s.client.connect(s.options).ok());   // while that is handled
            finish(s);
        }
        {   // connect again, and acknowledge what is not there
            Session s;
            REQUIRE(reach(s, kind));
            CHECK(name(s.client.connect(s.options).error) == "already started");
            CHECK(name(s.client.acknowledge(4711).error) == "unknown packet id");
            s.client.flush();
            CHECK(s.client.connected() == !offline);
            finish(s);
        }
    }
}

TEST_CASE("connect_size() and tx_size() are enough, and constants") {
    static constexpr mqtt::ConnectOptions nothing{};
    static_assert(mqtt::connect_size(nothing) == 17, "5 + 10 + 2");
    static_assert(mqtt::tx_size(10, 100) == 16 + 60 + 10 * (109 + (mqtt::has_v5 ? 1 : 0) + (mqtt::wide ? 4 : 0)), "the formula at Buffers");
    Session s(64, mqtt::tx_size(7, 1 + 300));
    s.options.will = {"will", "message", mqtt::QoS::at_least_once, mqtt::Retain::no};
    s.options.user_name = "user";
    s.options.password = "password";
    CHECK(mqtt::connect_size(s.options) <= 64);
    REQUIRE(s.client.connect(s.options).ok());
    const std::string payload(300, 'x');
    for (int i = 0; i < 7; ++i) CHECK(s.client.publish("t", payload, mqtt::QoS::exactly_once).ok());
}
