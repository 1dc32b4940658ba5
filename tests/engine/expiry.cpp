// MQTT 5: the Message Expiry Interval (section 3.3.2.3.3) of messages that wait in the outbox.

#include "tests/support/peer5.hpp"

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::Retain;
using test::bytes;
using test::packet;
using test::Session5;
namespace prop = mqtt::prop;

constexpr QoS qos0 = QoS::at_most_once, qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

std::string name(Error error) { return mqtt::to_string(error); }

PropertyBuffer<8> expires_in(uint32_t seconds) { return PropertyBuffer<8>().add(prop::message_expiry_interval, seconds); }
// Its bytes, as a packet has them: property length, id, value.
std::string interval(uint32_t seconds) {
    return bytes({5, 0x02, static_cast<int>(seconds >> 24), static_cast<int>(seconds >> 16 & 255),
                  static_cast<int>(seconds >> 8 & 255), static_cast<int>(seconds & 255)});
}
// PUBLISH of topic "t"; id 0: QoS 0.
std::string published(int first_byte, int id, uint32_t seconds, const std::string& payload) {
    return packet(first_byte, bytes({0, 1, 't'}) + (id == 0 ? "" : bytes({id >> 8, id & 255})) + interval(seconds) + payload);
}

struct Kept : Session5 {
    explicit Kept(size_t tx_size = 1024, size_t aliases = 0) : Session5(memory(tx_size, aliases)) {
        options.clean_session = false;
        options.keep_alive = 0;   // no pings
    }
    explicit Kept(std::nullptr_t) : Kept() { connect(); }

    static test::Memory memory(size_t tx_size, size_t aliases) {
        test::Memory memory;
        memory.tx = tx_size;
        memory.sent_aliases = aliases;
        return memory;
    }
    uint16_t publish(const std::string& payload, QoS qos, uint32_t seconds) {
        const mqtt::Result result = client.publish("t", payload, qos, Retain::no, expires_in(seconds));
        CHECK(result.ok());
        return result.packet_id;
    }
    // Nobody takes anything, until connect(): then with the same session.
    void offline() {
        run();
        port.from_client.clear();
        if (port.is_open) lose();
        port.hang = true;
        port.clock += options.reconnect_max_ms;
    }
    void online(const std::string& connack = {}, bool session_present = true) {
        port.hang = false;
        accept(connack, session_present);
    }
    void dropped(int id) {
        const Event event = expect_event(Event::dropped);
        CHECK(event.packet_id == id);
        CHECK(name(event.error) == "message expired");
        CHECK(mqtt::fault(event.error) == mqtt::Fault::network);
    }
    // No event for `ms`, polled whenever idle_ms() says so.
    void nothing_for(uint32_t ms) {
        const uint32_t begin = port.clock;
        while (port.clock - begin != ms) {
            REQUIRE(next().kind == Event::none);
            const uint32_t idle = client.idle_ms();
            REQUIRE(idle != 0);
            port.clock += std::min(idle, ms - (port.clock - begin));
        }
    }
    // The next event tells this id as dropped, as many seconds after `since` as the message was given, and at most one
    // more; polled whenever idle_ms() says so.
    void drops(int id, uint32_t since, uint32_t seconds) {
        Event event = next();
        for (int i = 0; i < 10000 && event.kind == Event::none; ++i, event = next()) {
            REQUIRE(client.idle_ms() != 0);
            REQUIRE(client.idle_ms() != mqtt::forever);
            port.clock += client.idle_ms();
        }
        waiting.insert(waiting.begin(), event);
        dropped(id);
        CHECK(port.clock - since >= seconds * 1000);
        CHECK(port.clock - since <= seconds * 1000 + 1000);
    }
};

// connect() may take as long as it likes.
struct Patient : Kept {
    explicit Patient(size_t tx_size = 1024) : Kept(tx_size) {
        options.connect_timeout_ms = 0xFFFFFFFF;
        REQUIRE(client.connect(options).ok());
        port.hang = true;
        run();
    }
};

}  // namespace

TEST_CASE("MQTT 5 a message that is sent at once has the interval that it was given, at every QoS") {
    for (const uint32_t seconds : {0U, 1U, 2U, 100U, 0x01020304U, 0xFFFFFFFEU, 0xFFFFFFFFU}) {
        CAPTURE(seconds);
        Kept s(nullptr);
        CHECK(s.publish("a", qos0, seconds) == 0);
        CHECK(s.publish("b", qos1, seconds) == 1);
        CHECK(s.publish("c", qos2, seconds) == 2);
        s.expects(published(0x30, 0, seconds, "a") + published(0x32, 1, seconds, "b") + published(0x34, 2, seconds, "c"));
        s.quiet();
    }
}

TEST_CASE("MQTT 5 the interval of a message that waits is counted down by the whole seconds that it has waited") {
    struct {
        uint32_t given, waited_ms, sent;
    } const list[] = {{100, 0, 100},
                      {100, 999, 100},
                      {100, 1000, 99},
                      {100, 1999, 99},
                      {100, 60000, 40},
                      {100, 99999, 1},
                      {0x01000000, 256000, 0x00FFFF00},
                      {0xFFFFFFFE, 5000, 0xFFFFFFF9},
                      {5000000, 4194304000, 805696},
                      {90000, 86400000, 3600}};
    for (const auto& row : list)
        for (const QoS qos : {qos0, qos1, qos2})
            for (const bool steps : {false, true}) {
                CAPTURE(row.given);
                CAPTURE(row.waited_ms);
                CAPTURE(steps);
                Patient s;
                const int id = s.publish("x", qos, row.given);
                if (steps)   // polled now and then, at odd moments
                    for (uint32_t left = row.waited_ms; left != 0;) {
                        const uint32_t step = std::min<uint32_t>(left, 1 + row.waited_ms / 7);
                        s.port.clock += step;
                        left -= step;
                        CHECK(s.client.poll().kind == Event::none);
                    }
                else
                    s.port.clock += row.waited_ms;
                s.online({}, false);
                s.expects(published(0x30 | static_cast<int>(qos) << 1, id, row.sent, "x"));
                s.quiet();
            }
}

TEST_CASE("MQTT 5 a message that expires before it was sent is told as dropped, once, when idle_ms() says that it is time, and never sent: every QoS") {
    for (const uint32_t seconds : {1U, 2U, 5U, 61U, 100000U, 3000000U})
        for (const QoS qos : {qos0, qos1, qos2}) {
            CAPTURE(seconds);
            Patient s;
            const int id = s.publish("x", qos, seconds);
            CHECK(s.client.unacknowledged() == (qos == qos0 ? 0 : 1));
            s.drops(id, s.port.clock, seconds);
            CHECK(s.client.unacknowledged() == 0);
            s.quiet();
            CHECK(s.client.idle_ms() > 0x10000000);
            s.online({}, false);
            s.quiet();
            s.reconnect({}, false);
            s.quiet();
        }
}

TEST_CASE("MQTT 5 each message has its own time, counted from its own publish()") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        Patient s;
        const int step = qos == qos0 ? 0 : 1;
        const uint32_t begin = s.port.clock;
        CHECK(s.publish("a", qos, 10) == 1 * step);
        s.nothing_for(2600);
        CHECK(s.publish("b", qos, 5) == 2 * step);
        s.nothing_for(600);
        CHECK(s.publish("c", qos, 1) == 3 * step);
        s.nothing_for(700);
        CHECK(s.publish("d", qos, 100) == 4 * step);
        s.drops(3 * step, begin + 3200, 1);
        s.drops(2 * step, begin + 2600, 5);
        s.drops(1 * step, begin, 10);
        s.nothing_for(begin + 23900 - s.port.clock);   // 20 s after d
        s.online({}, false);
        // The second of what is left may be one of another message.
        s.run();
        const std::string written = s.port.from_client;
        CHECK((written == published(0x30 | static_cast<int>(qos) << 1, 4 * step, 80, "d") ||
               written == published(0x30 | static_cast<int>(qos) << 1, 4 * step, 79, "d")));
    }
}

TEST_CASE("MQTT 5 a message is never told as expired before its time, nor more than a second later, whenever others were published") {
    for (uint32_t apart = 0; apart <= 2000; apart += 125)
        for (const uint32_t seconds : {1U, 2U}) {
            CAPTURE(apart);
            Patient s;
            CHECK(s.publish("long", qos1, 1000) == 1);
            s.port.clock += apart;
            CHECK(s.publish("x", qos1, seconds) == 2);
            s.drops(2, s.port.clock, seconds);
            s.quiet();
        }
}

TEST_CASE("MQTT 5 several messages that expire at once are told one by one, in their order, those between them are sent") {
    Patient s;
    for (int i = 1; i <= 9; ++i) CHECK(s.publish("x", i % 2 == 0 ? qos1 : qos2, i % 3 != 0 ? 7 : 20) == i);
    CHECK(s.client.publish("t", "none", qos1).packet_id == 10);
    CHECK(s.client.subscribe("f", qos0).packet_id == 11);
    const uint32_t begin = s.port.clock;
    s.drops(1, begin, 7);
    for (const int id : {2, 4, 5, 7, 8}) s.dropped(id);
    s.quiet();
    CHECK(s.client.unacknowledged() == 4);
    s.nothing_for(begin + 12000 - s.port.clock);
    s.online({}, false);
    s.expects(published(0x34, 3, 8, "x") + published(0x32, 6, 8, "x") + published(0x34, 9, 8, "x") +
              packet(0x32, bytes({0, 1, 't', 0, 10, 0}) + "none") + bytes({0x82, 7, 0, 11, 0, 0, 1, 'f', 0}));
    for (const int id : {3, 9}) {
        s.sends({0x50, 2, 0, id});
        CHECK(s.expect_event(Event::pubrec).packet_id == id);
        s.sends({0x70, 2, 0, id});
        CHECK(s.expect_event(Event::acknowledged).packet_id == id);
    }
    s.sends({0x40, 2, 0, 6, 0x40, 2, 0, 10, 0x90, 4, 0, 11, 0, 0});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 6);
    CHECK(s.expect_event(Event::acknowledged).packet_id == 10);
    CHECK(s.expect_event(Event::subscribed).packet_id == 11);
}

TEST_CASE("MQTT 5 first, last, all, every other or none of the messages that wait expire: the others are unharmed") {
    for (unsigned mask = 0; mask < 64; ++mask) {
        CAPTURE(mask);
        Patient s;
        std::string wanted;
        int id = 0;
        for (unsigned i = 0; i < 6; ++i) {
            const bool expires = (mask >> i & 1) != 0;
            const QoS qos = static_cast<QoS>(i % 3);
            const std::string payload(i * i, static_cast<char>('a' + i));
            const int got = s.publish(payload, qos, expires ? 2 : 51);
            if (qos != qos0) CHECK(got == ++id);
            if (!expires) wanted += published(0x30 | static_cast<int>(qos) << 1, got, 48, payload);
        }
        s.port.clock += 3000;
        int drops = 0;
        for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
            CHECK(event.kind == Event::dropped);
            ++drops;
        }
        CHECK(drops == __builtin_popcount(mask));
        s.online({}, false);
        s.expects(wanted);
        s.reconnect({}, true);
        std::string again;
        id = 0;
        for (unsigned i = 0; i < 6; ++i) {
            const QoS qos = static_cast<QoS>(i % 3);
            if (qos == qos0) continue;
            ++id;
            const std::string payload(i * i, static_cast<char>('a' + i));
            const uint32_t left = 48 - s.options.reconnect_max_ms / 1000 > 48 ? 0 : 48 - s.options.reconnect_max_ms / 1000;
            if ((mask >> i & 1) == 0) again += published(0x38 | static_cast<int>(qos) << 1, id, left, payload);
        }
        s.expects(again);
    }
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-7] a message whose PUBLISH has been sent does not expire, but its interval is reduced in what is sent again") {
    for (const QoS qos : {qos1, qos2}) {
        const int first = qos == qos1 ? 0x3A : 0x3C;
        Kept s(nullptr);
        CHECK(s.publish("x", qos, 300) == 1);
        s.expects(published(first & ~8, 1, 300, "x"));
        s.nothing_for(10000);
        s.reconnect({}, true);   // after 120 s
        s.expects(published(first, 1, 170, "x"));
        s.nothing_for(5500);
        s.reconnect({}, true);
        s.expects(published(first, 1, 45, "x"));   // 255.5 s
        s.reconnect({}, true);   // its time is over
        for (int i = 0; i < 2; ++i) {
            s.expects(published(first, 1, 0, "x"));
            s.nothing_for(86400000);
            s.reconnect({}, true);
        }
        s.port.from_client.clear();
        s.sends({qos == qos1 ? 0x40 : 0x50, 2, 0, 1});
        CHECK(s.next().kind == (qos == qos1 ? Event::acknowledged : Event::pubrec));
    }
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-7] neither does one that is alone, nor one whose interval is over while it is in flight; a later one that waits does") {
    Kept s(nullptr);
    CHECK(s.publish("x", qos2, 3) == 1);
    s.run();
    s.sends({0x50, 2, 0, 1});
    CHECK(s.expect_event(Event::pubrec).packet_id == 1);
    s.expects(published(0x34, 1, 3, "x") + bytes({0x62, 2, 0, 1}));
    CHECK(s.publish("y", qos1, 3) == 2);
    s.expects(published(0x32, 2, 3, "y"));
    s.port.write_limit = 0;
    CHECK(s.publish("z", qos1, 3) == 3);
    s.drops(3, s.port.clock, 3);
    s.port.write_limit = SIZE_MAX;
    s.quiet();
    s.reconnect({}, true);
    s.expects(bytes({0x62, 2, 0, 1}) + published(0x3A, 2, 0, "y"));
    s.quiet();
}

TEST_CASE("MQTT 5 an interval of 0 is sent as it is, with the next chance; without one the message is dropped") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        Kept s(nullptr);
        CHECK(s.publish("long", qos1, 1000) == 1);
        s.run();
        s.port.from_client.clear();
        s.port.clock += 900;
        const int id = s.publish("x", qos, 0);
        s.port.clock += 50;    // within the same second
        s.expects(published(0x30 | static_cast<int>(qos) << 1, id, 0, "x"));
        s.offline();
        const int late = s.publish("y", qos, 0);
        s.quiet();
        s.port.clock += 1001;
        s.dropped(late);
        s.online();
        s.run();
        CHECK(s.port.from_client.find('y') == std::string::npos);
    }
}

TEST_CASE("MQTT 5 an interval of 0 or 1 is not over because another one is") {
    Patient s;
    CHECK(s.publish("a", qos1, 1) == 1);
    s.port.clock += 2000;
    CHECK(s.publish("b", qos1, 0) == 2);
    CHECK(s.publish("c", qos1, 1) == 3);
    s.dropped(1);
    s.quiet();
    s.online({}, false);
    s.expects(published(0x32, 2, 0, "b") + published(0x32, 3, 1, "c"));
}

TEST_CASE("MQTT 5 an interval of 0xFFFFFFFF never ends, and starts no timer") {
    Patient s;
    CHECK(s.publish("x", qos1, 0xFFFFFFFF) == 1);
    CHECK(s.client.poll().kind == Event::none);
    CHECK(s.client.idle_ms() > 0xF0000000);   // that of connect_timeout_ms
    s.nothing_for(60000);
    CHECK(s.client.unacknowledged() == 1);
}

TEST_CASE("MQTT 5 the clock may wrap around while a message waits") {
    for (const uint32_t begin : {0xFFFFFFFFU, 0xFFFFFC18U, 0xFFFFF000U, 0U}) {
        CAPTURE(begin);
        Kept s;
        s.port.clock = begin;
        s.options.connect_timeout_ms = 0xFFFFFFFF;
        REQUIRE(s.client.connect(s.options).ok());
        s.port.hang = true;
        s.run();
        CHECK(s.publish("a", qos1, 10) == 1);
        CHECK(s.publish("b", qos1, 2) == 2);
        s.drops(2, begin, 2);
        s.nothing_for(begin + 5000 - s.port.clock);
        s.online({}, false);
        s.expects(published(0x32, 1, 5, "a"));
    }
}

TEST_CASE("MQTT 5 a message waits for longer than the clock counts, polled when idle_ms() says so") {
    Kept s(nullptr);
    s.offline();
    CHECK(s.publish("x", qos1, 10000000) == 1);   // 116 days; the clock counts 49.7
    CHECK(s.publish("y", qos1, 10000010) == 2);
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
    const uint32_t begin = s.port.clock;
    uint64_t waited = 0;
    Event event;
    for (int i = 0; i < 100 && event.kind == Event::none; ++i, event = s.next()) {
        REQUIRE(s.client.idle_ms() < 0x80000000);   // it has to see each round of the clock
        waited += s.client.idle_ms();
        s.port.clock = begin + static_cast<uint32_t>(waited);
    }
    CHECK(event.kind == Event::dropped);
    CHECK(event.packet_id == 1);
    CHECK(waited >= 10000000000);
    CHECK(waited <= 10000001000);
    s.port.hang = false;
    s.connect({}, true);
    s.expects(published(0x32, 2, static_cast<uint32_t>(10000010 - waited / 1000), "y"));
}

TEST_CASE("MQTT 5 in a full outbox the room of what has expired is free again, also in the middle") {
    Patient s(250);   // 76 of them are set aside
    int accepted = 0;
    while (s.client.publish("t", "1234567", qos1, Retain::no, expires_in(accepted % 2 == 0 ? 3 : 100)).ok()) ++accepted;
    REQUIRE(accepted >= 4);
    CHECK(name(s.client.publish("t", "1234567", qos1).error) == "no space");
    s.port.clock += 4000;
    int drops = 0;
    for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
        CHECK(event.kind == Event::dropped);
        CHECK(event.packet_id == 1 + 2 * drops);
        ++drops;
    }
    CHECK(drops == (accepted + 1) / 2);
    int again = 0;
    while (s.client.publish("t", "abcdefg", qos1, Retain::no, expires_in(100)).ok()) ++again;
    CHECK(again == drops);
    s.online({}, false);
    std::string wanted;
    for (int i = 1; i < accepted; i += 2) wanted += published(0x32, i + 1, 96, "1234567");
    for (int i = 0; i < again; ++i) wanted += published(0x32, accepted + 1 + i, 100, "abcdefg");
    s.expects(wanted);
}

TEST_CASE("MQTT 5 a message of which a byte is written does not expire: cut at every byte, the rest follows unchanged; those behind it expire") {
    const std::string x = published(0x32, 1, 2, "x");
    for (size_t cut = 0; cut <= x.size(); ++cut) {
        CAPTURE(cut);
        Kept s(nullptr);
        s.run();
        CHECK(s.publish("x", qos1, 2) == 1);
        CHECK(s.publish("y", qos2, 2) == 2);
        CHECK(s.publish("z", qos1, 50) == 3);
        s.port.write_limit = cut;
        CHECK(s.client.poll().kind == Event::none);
        s.port.write_limit = 0;
        s.port.clock += 3000;
        if (cut == 0) s.dropped(1);
        s.dropped(2);
        CHECK(s.next().kind == Event::none);
        CHECK(s.port.from_client.size() == cut);
        s.port.write_limit = SIZE_MAX;
        s.expects((cut == 0 ? "" : x) + published(0x32, 3, 47, "z"));
        s.reconnect({}, true);
        s.expects((cut == 0 ? "" : published(0x3A, 1, 0, "x")) + published(0x3A, 3, 0, "z"));
        s.quiet();
    }
}

TEST_CASE("MQTT 5 messages that wait for the receive maximum expire, and those that do not go on in their order") {
    Kept s(nullptr);
    s.offline();
    for (int i = 1; i <= 6; ++i) CHECK(s.publish("x", i % 2 == 1 ? qos1 : qos2, i == 3 || i == 5 ? 200 : 500) == i);
    s.online(bytes({0x21, 0, 1}));   // Receive Maximum 1
    s.expects(published(0x32, 1, 500, "x"));
    CHECK(s.client.publish("t", "0", qos0).ok());   // is not held up
    s.expects({0x30, 5, 0, 1, 't', 0, '0'});
    const uint32_t begin = s.port.clock;
    s.drops(3, begin, 200);
    s.dropped(5);
    s.quiet();
    s.nothing_for(begin + 210000 - s.port.clock);
    s.sends({0x40, 2, 0, 1});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    s.expects(published(0x34, 2, 290, "x"));
    s.sends({0x50, 3, 0, 2, 0x80});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
    s.expects(published(0x34, 4, 290, "x"));
    s.sends({0x50, 2, 0, 4});
    CHECK(s.expect_event(Event::pubrec).packet_id == 4);
    s.expects({0x62, 2, 0, 4});
    s.drops(6, begin, 500);
    s.sends({0x70, 2, 0, 4});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 4);
    CHECK(s.client.publish("t", "7", qos1).packet_id == 7);   // the window is free
    s.expects({0x32, 7, 0, 1, 't', 0, 7, 0, '7'});
    CHECK(name(s.client.publish("t", "8", qos1).error) == "receive maximum reached");
    s.quiet();
}

TEST_CASE("MQTT 5 an expired message makes room in the window while connected") {
    Kept s;
    s.options.in_flight_maximum = 2;
    s.connect();
    s.port.write_limit = 0;
    CHECK(s.publish("x", qos1, 5) == 1);
    CHECK(s.publish("y", qos2, 9) == 2);
    CHECK(name(s.client.publish("t", "z", qos1).error) == "receive maximum reached");
    const uint32_t begin = s.port.clock;
    s.drops(1, begin, 5);
    s.nothing_for(begin + 6000 - s.port.clock);
    CHECK(s.publish("z", qos1, 9) == 3);
    CHECK(name(s.client.publish("t", "w", qos1).error) == "receive maximum reached");
    s.port.write_limit = SIZE_MAX;
    s.expects(published(0x34, 2, 3, "y") + published(0x32, 3, 9, "z"));
    s.sends({0x40, 2, 0, 3});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 3);
    CHECK(s.publish("w", qos1, 9) == 4);
    s.expects(published(0x32, 4, 9, "w"));
}

TEST_CASE("MQTT 5 the interval may be anywhere among the properties, and only it is changed") {
    const std::string before = bytes({0x26, 0, 4, 2, 2, 2, 2, 0, 1, 2, 0x01, 1}),
                      behind = bytes({0x09, 0, 5, 2, 0, 0, 0, 100, 0x03, 0, 1, 'c'});
    static const uint8_t correlation[] = {2, 0, 0, 0, 100};   // looks like one
    for (int where = 0; where < 3; ++where)
        for (const QoS qos : {qos0, qos1, qos2}) {
            PropertyBuffer<64> p;
            if (where == 0) p.add(prop::message_expiry_interval, 100);
            p.add(prop::user_property, {"\2\2\2\2", "\2"}).add(prop::payload_format_indicator, 1);
            if (where == 1) p.add(prop::message_expiry_interval, 100);
            p.add(prop::correlation_data, correlation).add(prop::content_type, "c");
            if (where == 2) p.add(prop::message_expiry_interval, 100);
            const std::string reduced = bytes({2, 0, 0, 0, 70});
            const std::string list = where == 0   ? reduced + before + behind
                                     : where == 1 ? before + reduced + behind
                                                  : before + behind + reduced;
            Patient s;
            const int id = s.client.publish("t", "x", qos, Retain::no, p).packet_id;
            PropertyBuffer<64> others;   // without an interval
            others.add(prop::correlation_data, correlation);
            CHECK(s.client.publish("t", "y", qos0, Retain::no, others).ok());
            s.port.clock += 30000;
            s.online({}, false);
            s.expects(packet(0x30 | static_cast<int>(qos) << 1,
                             bytes({0, 1, 't'}) + (id == 0 ? "" : bytes({0, id})) + test::properties(list) + "x") +
                      packet(0x30, bytes({0, 1, 't', 8, 0x09, 0, 5, 2, 0, 0, 0, 100, 'y'})));
        }
}

TEST_CASE("MQTT 5 a message of 128 bytes and more, and of 128 bytes of properties and more, is counted down, too") {
    for (const size_t size : {size_t{90}, size_t{120}, size_t{130}, size_t{300}}) {
        CAPTURE(size);
        PropertyBuffer<400> p;
        const std::string value(size, 'v');
        p.add(prop::content_type, value).add(prop::message_expiry_interval, 100);
        Patient s;
        CHECK(s.client.publish("topic", "payload", qos1, Retain::no, p).packet_id == 1);
        s.port.clock += 99999;
        s.online({}, false);
        s.expects(packet(0x32, test::text("topic") + bytes({0, 1}) +
                                   test::properties(bytes({0x03}) + test::text(value) + bytes({2, 0, 0, 0, 1})) + "payload"));
    }
}

TEST_CASE("MQTT 5 a message begun with begin_publish() keeps its interval on the way, does not expire, and has it reduced when it is sent again") {
    for (const QoS qos : {qos1, qos2})
        for (const bool another : {false, true}) {
            CAPTURE(another);
            Kept s(nullptr);
            s.run();
            if (another) {   // one whose interval is counted
                CHECK(s.publish("a", qos1, 5000) == 1);
                s.run();
                s.sends({0x40, 2, 0, 1});
                s.expect_event(Event::acknowledged);
                s.port.from_client.clear();
            }
            const int id = another ? 2 : 1, first = qos == qos1 ? 0x32 : 0x34;
            CHECK(s.client.begin_publish("t", 3, qos, Retain::no, expires_in(200)).packet_id == id);
            s.run();
            s.port.clock += 2000;
            CHECK(s.client.write_payload("123").size == 3);
            s.run();
            // Its header was written at once, or with the payload.
            const bool early = s.port.from_client == published(first, id, 200, "123");
            const bool late = s.port.from_client == published(first, id, 198, "123");
            CHECK((early || late));
            s.port.from_client.clear();
            s.reconnect({}, true);   // after 120 s
            CHECK(s.expect_event(Event::resend_payload).packet_id == id);
            CHECK(s.client.write_payload("123").size == 3);
            s.expects(published(first | 8, id, 78, "123"));
            s.reconnect({}, true);
            CHECK(s.expect_event(Event::resend_payload).packet_id == id);
            CHECK(s.client.write_payload("123").size == 3);
            s.expects(published(first | 8, id, 0, "123"));
            s.quiet();
        }
}

TEST_CASE("MQTT 5 the interval that is sent is never more than the one that was given, however it is sent, and however long nothing was polled before") {
    for (const uint32_t idle : {0U, 999U, 1000U, 10500U, 3000000U})
        for (const bool another : {false, true}) {
            CAPTURE(idle);
            CAPTURE(another);
            Kept s(nullptr);
            s.run();
            if (another) CHECK(s.publish("a", qos1, 5000) == 1);   // one whose interval is counted
            s.run();
            s.port.from_client.clear();
            const int id = another ? 2 : 1;
            s.port.clock += idle;
            CHECK(s.publish("b", qos1, 500) == id);
            s.client.flush();   // without a poll() in between
            CHECK(test::hex(s.port.from_client) == test::hex(published(0x32, id, 500, "b")));
            s.port.from_client.clear();
            s.port.clock += idle;
            CHECK(s.client.begin_publish("t", 1, qos2, Retain::no, expires_in(500)).packet_id == id + 1);
            CHECK(s.client.write_payload("c").size == 1);
            CHECK(test::hex(s.port.from_client) == test::hex(published(0x34, id + 1, 500, "c")));
            s.port.from_client.clear();
            s.reconnect({}, true);   // after 120 s
            CHECK(s.expect_event(Event::resend_payload).packet_id == id + 1);
            CHECK(s.client.write_payload("c").size == 1);
            s.run();
            const uint32_t b = idle + 120000 < 500000 ? 500 - (idle + 120000) / 1000 : 0;
            // The seconds may be another one's.
            const std::string rest = s.port.from_client.substr(another ? published(0x3A, 1, 0, "a").size() : 0);
            bool found = false;
            for (const uint32_t less : {0U, 1U})
                for (const uint32_t more : {0U, 1U})
                    found = found || rest == published(0x3A, id, b > less ? b - less : 0, "b") +
                                                 published(0x3C, id + 1, 380 - more, "c");
            CHECK_MESSAGE(found, test::hex(rest));
        }
}

TEST_CASE("MQTT 5 flush() and write_payload() send nothing that has expired since the last poll(), and reduce what they send") {
    for (const bool flush : {true, false}) {
        Kept s(nullptr);
        s.run();
        if (!flush) CHECK(s.client.begin_publish("t", 1, qos0).ok());
        CHECK(s.publish("a", qos1, 3) == 1);
        CHECK(s.publish("b", qos1, 100) == 2);
        s.port.clock += 10000;
        if (flush)
            s.client.flush();
        else
            CHECK(s.client.write_payload("0").error == Error::ok);   // it may have to be told first
        CHECK(s.port.from_client.find('a') == std::string::npos);
        s.dropped(1);
        if (!flush) (void)s.client.write_payload("0");
        s.expects((flush ? "" : bytes({0x30, 5, 0, 1, 't', 0, '0'})) + published(0x32, 2, 90, "b"));
    }
}

TEST_CASE("MQTT 5 a message begun with begin_publish() does not expire before its first byte is written either, on this connection or the next one") {
    for (const QoS qos : {qos0, qos1, qos2})
        for (const bool lost : {false, true}) {
            const int first = 0x30 | static_cast<int>(qos) << 1, id = qos == qos0 ? 0 : 1;
            CAPTURE(first);
            CAPTURE(lost);
            Kept s(nullptr);
            s.run();
            s.port.write_limit = 0;
            CHECK(s.client.begin_publish("t", 3, qos, Retain::no, expires_in(2)).ok());
            CHECK(s.publish("behind", qos1, 1000) == id + 1);
            s.nothing_for(10000);
            if (lost) {
                s.lose();
                s.port.write_limit = SIZE_MAX;
                s.reconnect({}, true);   // after 120 s
                if (qos != qos0) {
                    CHECK(s.expect_event(Event::resend_payload).packet_id == id);
                    s.nothing_for(10000);
                    CHECK(s.client.write_payload("123").size == 3);
                }
            } else {
                s.port.write_limit = SIZE_MAX;
                CHECK(s.client.write_payload("123").size == 3);
            }
            s.expects((lost && qos == qos0 ? "" : published(first, id, 0, "123")) +
                      published(0x32, id + 1, lost ? (qos == qos0 ? 870 : 860) : 990, "behind"));
            CHECK(s.next().kind == Event::none);
        }
}

TEST_CASE("MQTT 5 of messages that wait for the receive maximum, those whose turn has come do not expire, even if nothing of them is written yet; the window stays right") {
    Kept s(nullptr);
    s.offline();
    for (int id = 1; id <= 4; ++id) CHECK(s.publish("x", id % 2 == 0 ? qos2 : qos1, 200) == id);
    s.port.hang = false;
    s.port.clock += s.options.reconnect_max_ms;
    s.run();
    s.port.from_client.clear();
    s.port.write_limit = 0;
    s.sends(test::connack(bytes({0x21, 0, 2}), 1));
    CHECK(s.expect_event(Event::connected).session_present);
    s.nothing_for(1000);
    const Event event = [&] {
        for (int i = 0; i < 1000; ++i) {
            const Event next = s.next();
            if (next.kind != Event::none) return next;
            s.port.clock += 1000;
        }
        return Event();
    }();
    CHECK(event.kind == Event::dropped);
    CHECK(event.packet_id == 3);
    s.dropped(4);
    s.nothing_for(10000);
    s.port.write_limit = SIZE_MAX;
    s.expects(published(0x32, 1, 0, "x") + published(0x34, 2, 0, "x"));
    CHECK(name(s.client.publish("t", "y", qos1).error) == "receive maximum reached");
    s.sends({0x40, 2, 0, 1});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    CHECK(s.publish("y", qos1, 9) == 5);
    CHECK(name(s.client.publish("t", "y", qos1).error) == "receive maximum reached");
    s.expects(published(0x32, 5, 9, "y"));
}

TEST_CASE("MQTT 5 while a payload is being written, those behind it expire") {
    Kept s(nullptr);
    s.run();
    CHECK(s.client.begin_publish("t", 3, qos1, Retain::no, expires_in(2)).packet_id == 1);
    CHECK(s.client.write_payload("1").size == 1);
    CHECK(s.publish("x", qos1, 2) == 2);
    CHECK(s.publish("y", qos1, 9) == 3);
    const uint32_t begin = s.port.clock;
    s.drops(2, begin, 2);
    s.nothing_for(begin + 4000 - s.port.clock);
    CHECK(s.client.write_payload("23").size == 2);
    s.expects(published(0x32, 1, 2, "123") + published(0x32, 3, 5, "y"));
    s.sends({0x40, 2, 0, 1, 0x40, 2, 0, 3});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    CHECK(s.expect_event(Event::acknowledged).packet_id == 3);
}

TEST_CASE("MQTT 5 messages expire also while the client is stopped, and those that are left are counted down for the next connect()") {
    Kept s(nullptr);
    s.offline();
    CHECK(s.publish("x", qos1, 200) == 1);
    CHECK(s.publish("y", qos2, 1000) == 2);
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
    const uint32_t begin = s.port.clock;
    s.drops(1, begin, 200);
    s.quiet();
    s.nothing_for(begin + 300000 - s.port.clock);
    s.port.hang = false;
    s.connect({}, true);
    s.expects(published(0x34, 2, 700, "y"));
}

TEST_CASE("MQTT 5 a QoS 0 message with a topic alias is not expired, as the ones behind it may need what it says, but counted down") {
    Kept s(1024, 100);
    s.connect(bytes({0x22, 0, 5}));   // Topic Alias Maximum 5
    s.port.write_limit = 0;
    CHECK(s.client.publish("topic", "1", qos0, Retain::no, expires_in(2)).ok());
    CHECK(s.client.publish("topic", "2", qos0, Retain::no, expires_in(2)).ok());
    CHECK(s.client.publish("t", "3", qos0, Retain::no, expires_in(2)).ok());
    CHECK(s.client.publish("topic", "4").ok());
    s.drops(0, s.port.clock, 2);   // "3", which has none
    s.quiet();
    s.port.write_limit = SIZE_MAX;
    s.expects(packet(0x30, test::text("topic") + bytes({8, 2, 0, 0, 0, 0, 0x23, 0, 1, '1'})) +
              packet(0x30, bytes({0, 0, 8, 2, 0, 0, 0, 0, 0x23, 0, 1, '2'})) + packet(0x30, bytes({0, 0, 3, 0x23, 0, 1, '4'})));
}
