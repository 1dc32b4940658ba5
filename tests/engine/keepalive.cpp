// Keep-alive, time-outs, the clock's wrap, and what idle_ms() and wants_write() promise (sections 3.1.2.10, 3.12).
#include "tests/support/peer.hpp"

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::Session;

namespace {

constexpr uint32_t minute = 60000, hour = 60 * minute;

// Each of these starts makes another of the sums of the next two minutes wrap around, or change its sign.
constexpr uint32_t clocks[] = {0,          1,          0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0x7FFF3000, 0xFFFFF000,
                               0xFFFFFFFF, 0xFFFFFFFE, 0xFFFF3300, 0xFFFF3000, 0xFFFFD8F0, 0xFFFFD000, 0xFFFF0000};

std::string taken(Session& s) {
    std::string out;
    out.swap(s.port.from_client);
    return out;
}
size_t pings(const std::string& written) {   // in what a client writes that publishes nothing with these bytes
    size_t count = 0;
    for (size_t at = written.find("\xC0"); at != std::string::npos; at = written.find("\xC0", at + 1)) ++count;
    return count;
}
// Sleeps and polls as told, until the client writes; how long that took.
uint32_t until_written(Session& s, uint32_t at_most) {
    const uint32_t begin = s.port.clock;
    (void)s.live(at_most, [&] { return !s.port.from_client.empty(); });
    return s.port.clock - begin;
}
bool lost_by(Session& s, Error error) {
    const Event event = s.next();
    CHECK(static_cast<int>(event.kind) == static_cast<int>(Event::disconnected));
    CHECK(mqtt::to_string(event.error) == std::string(mqtt::to_string(error)));
    return event.kind == Event::disconnected && event.error == error;
}
// A server that accepts each CONNECT and answers each PINGREQ.
void serve(Session& s) {
    s.server = [&s] {
        const std::string written = taken(s);
        if (written.empty() || !s.port.is_open) return;
        if (written[0] == 0x10) s.sends({0x20, 2, 0, 0});
        for (size_t i = pings(written); i != 0; --i) s.sends({0xD0, 0});
    };
}

}  // namespace

TEST_CASE("[MQTT-3.1.2-23] a silent connection is pinged after 7/8 of the keep-alive time, whatever the clock shows") {
    for (const uint32_t clock : clocks)
        for (const uint32_t keep_alive : {1U, 2U, 5U, 10U, 60U, 600U, 65535U}) {
            CAPTURE(clock);
            CAPTURE(keep_alive);
            Session s;
            s.port.clock = clock;
            s.options.keep_alive = static_cast<uint16_t>(keep_alive);
            s.connect();
            for (int i = 0; i < 3; ++i) {
                const uint32_t elapsed = until_written(s, keep_alive * 1000 + 1);
                CHECK(elapsed <= keep_alive * 1000);
                CHECK(elapsed == keep_alive * 875);
                s.expects({0xC0, 0});
                s.sends({0xD0, 0});
                (void)s.expect_event(Event::pingresp);
            }
        }
}

TEST_CASE("[MQTT-3.1.2-23] the server is told the keep-alive time that was asked for, and not 1.5 times as much") {
    for (const int keep_alive : {0, 1, 60, 255, 256, 43690, 65535}) {
        Session s;
        s.options.keep_alive = static_cast<uint16_t>(keep_alive);
        REQUIRE(s.client.connect(s.options).ok());
        s.expects({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, keep_alive >> 8, keep_alive & 255, 0, 1, 'c'});
    }
}

TEST_CASE("no PINGREQ while traffic goes both ways") {
    Session s;
    s.connect();
    for (int i = 1; i <= 60; ++i) {
        CHECK(s.client.publish("t", "x", QoS::at_least_once).ok());
        s.expects({0x32, 6, 0, 1, 't', 0, i, 'x'});
        s.sends({0x40, 2, 0, i});
        (void)s.expect_event(Event::acknowledged);
        s.pass(52000);
    }
    s.quiet();
}

TEST_CASE("each written packet and each received one puts the ping off, and only in its own direction") {
    Session s;
    s.connect();
    s.pass(30000);
    CHECK(s.client.publish("t", "").ok());
    s.expects({0x30, 3, 0, 1, 't'});
    s.pass(22499);   // received last 52.499 s ago, sent last 22.499 s ago
    s.quiet();
    s.pass(1);
    s.expects({0xC0, 0});
    s.sends({0xD0, 0});
    (void)s.expect_event(Event::pingresp);
    s.pass(30000);
    s.sends({0x30, 3, 0, 1, 't'});
    (void)s.expect_event(Event::received);
    s.pass(22499);
    s.quiet();
    s.pass(1);
    s.expects({0xC0, 0});
}

TEST_CASE("a client that sends but hears nothing asks with a PINGREQ within the keep-alive time") {
    Session s;
    s.connect();
    std::string written;
    for (int i = 0; i < 53; ++i) {
        CHECK(pings(written) == 0);
        CHECK(s.client.publish("t", "").ok());
        s.pass(1000);
        written += taken(s);
    }
    CHECK(pings(written) == 1);
}

TEST_CASE("[MQTT-3.1.2-23] a client that receives but sends nothing never lets the keep-alive time pass") {
    Session s;
    s.connect();
    uint32_t last = s.port.clock;
    int count = 0;
    for (int i = 0; i < 600; ++i) {
        s.sends({0x30, 3, 0, 1, 't'});
        s.pass(1000);
        if (!s.port.from_client.empty()) {
            s.expects({0xC0, 0});
            CHECK(s.port.clock - last <= 60000);
            last = s.port.clock;
            ++count;
            s.sends({0xD0, 0});
        }
        s.waiting.clear();
    }
    CHECK(count >= 10);
}

TEST_CASE("[MQTT-3.1.2-23] messages that never stop coming do not keep the PINGREQ back") {
    for (const size_t rx : {64U, 256U, 4096U}) {
        CAPTURE(rx);
        Session s(rx);
        s.connect();
        uint32_t last = s.port.clock;
        int count = 0;
        for (int i = 0; i < 60000; ++i) {   // ten minutes; at each poll there is one more
            while (s.port.to_client.size() < 2 * rx) s.sends({0x30, 4, 0, 1, 't', 'x'});
            const Event event = s.client.poll();
            CHECK((event.kind == Event::received || event.kind == Event::pingresp || event.kind == Event::none));
            s.port.clock += 10;
            if (s.port.from_client.empty()) continue;
            CHECK(taken(s) == bytes({0xC0, 0}));
            CHECK(s.port.clock - last <= 60000);
            last = s.port.clock;
            ++count;
            s.sends({0xD0, 0});
        }
        CHECK(count >= 10);
    }
}

TEST_CASE("[MQTT-3.1.2-23] a client that the application keeps from reading pings all the same") {
    Session s(256, 1024, 1);
    s.options.manual_ack = true;
    s.connect();
    s.sends({0x32, 6, 0, 1, 't', 0, 1, 'x'});
    s.sends({0x32, 6, 0, 1, 't', 0, 2, 'x'});
    CHECK(s.expect_event(Event::received).message.packet_id == 1);
    for (int i = 0; i < 10; ++i) {
        s.pass(minute);
        CHECK(pings(taken(s)) >= 1);
        if (i < 5) s.sends({0xD0, 0});
    }
    CHECK(s.port.is_open);   // it is not the server's fault
    CHECK(s.client.acknowledge(1).ok());
    CHECK(s.expect_event(Event::received).message.packet_id == 2);
    CHECK(s.port.is_open);
}

TEST_CASE("[MQTT-3.1.2-23] a client that waits for a PINGRESP does not stay silent for longer than the keep-alive time") {
    Session s;
    s.options.keep_alive = 2;
    s.connect();
    uint32_t last = s.port.clock;
    (void)s.live(12000, [&] {
        if (!taken(s).empty()) last = s.port.clock;
        if (s.port.is_open) CHECK(s.port.clock - last <= 2000);
        return !s.port.is_open;
    });
    CHECK(lost_by(s, Error::response_timeout));   // the first one decides, not the latest
}

TEST_CASE("keep_alive 0: no ping ever, and no timer runs") {
    Session s;
    s.options.keep_alive = 0;
    s.connect();
    s.run();
    CHECK(s.client.idle_ms() == mqtt::forever);
    for (int i = 0; i < 100; ++i) {
        s.port.clock += 100 * hour;
        s.quiet();
    }
    CHECK(s.client.idle_ms() == mqtt::forever);
    s.sends({0x30, 3, 0, 1, 't'});
    (void)s.expect_event(Event::received);
}

TEST_CASE("[MQTT-3.12.4-1] a missing PINGRESP ends the connection with response_timeout, and the client reconnects") {
    for (const uint32_t clock : clocks)
        for (const uint32_t timeout : {1U, 1000U, 10000U, 100000U}) {
            CAPTURE(clock);
            CAPTURE(timeout);
            Session s;
            s.port.clock = clock;
            s.options.response_timeout_ms = timeout;
            s.connect();
            CHECK(until_written(s, hour) == 52500);
            (void)taken(s);
            const uint32_t begin = s.port.clock;
            (void)s.live(hour, [&] { return !s.port.is_open; });
            CHECK(s.port.clock - begin == timeout);
            CHECK(lost_by(s, Error::response_timeout));
            s.port.clock += s.options.reconnect_max_ms;
            s.accept();
            s.quiet();   // the old PINGREQ is nobody's business any more
            CHECK(until_written(s, hour) == 52500);
            s.expects({0xC0, 0});
        }
}

TEST_CASE("[MQTT-3.12.4-1] a server that sends messages but no PINGRESP is given up") {
    Session s;
    s.connect();
    s.port.refuse = true;
    uint32_t ping = 0;
    for (int i = 0; i < 100 && s.port.is_open; ++i) {
        s.sends({0x30, 3, 0, 1, 't'});
        s.pass(1000);
        if (ping == 0 && !taken(s).empty()) ping = s.port.clock;
    }
    REQUIRE(ping != 0);
    CHECK(s.port.clock - ping >= 9000);
    CHECK(s.port.clock - ping <= 12000);
    while (!s.waiting.empty() && s.waiting.front().kind == Event::received) s.waiting.erase(s.waiting.begin());
    CHECK(lost_by(s, Error::response_timeout));
}

TEST_CASE("[MQTT-3.12.4-1] a half-open link is noticed although the client goes on sending") {
    for (const QoS qos : {QoS::at_most_once, QoS::at_least_once, QoS::exactly_once}) {
        Session s;
        s.connect();
        s.port.refuse = true;
        const uint32_t begin = s.port.clock;
        while (s.port.is_open && s.port.clock - begin < hour) {
            (void)s.client.publish("t", "x", qos);
            s.pass(1000);
        }
        CHECK(s.port.clock - begin >= 60000);
        CHECK(s.port.clock - begin <= 65000);   // 52.5 s, and 10 s for the answer
        CHECK(lost_by(s, Error::response_timeout));
    }
}

TEST_CASE("[MQTT-3.12.4-1] a half-open link is noticed by a client that always has more to send than the socket takes") {
    Session s;
    s.connect();
    s.port.refuse = true;
    s.port.write_limit = 10;
    const uint32_t begin = s.port.clock;
    while (s.port.is_open && s.port.clock - begin < hour) {
        while (s.client.publish("topic", "0123456789").ok()) {}
        (void)s.client.poll();
        s.port.clock += 20;
        (void)taken(s);
    }
    CHECK(s.port.clock - begin <= 70000);   // 52.5 s, 2 s for what is queued before the PINGREQ, and 10 s for the answer
}

TEST_CASE("[MQTT-3.12.4-1] a socket that takes nothing is noticed, with and without something to send, and without a busy loop") {
    for (const bool queued : {false, true}) {
        CAPTURE(queued);
        Session s;
        s.connect();
        s.port.write_limit = 0;
        if (queued) CHECK(s.client.publish("t", "x").ok());
        const uint32_t begin = s.port.clock;
        const int polls = s.live(hour, [&] { return !s.port.is_open; });
        CHECK(s.port.clock - begin <= 65000);
        CHECK(polls < 20);
        CHECK(lost_by(s, Error::response_timeout));
        CHECK(s.port.from_client.empty());
    }
}

TEST_CASE("a socket that takes nothing is noticed while acknowledgements find no room") {
    Session s(256, 15 * 4 + 20 + 56, 20);
    s.options.manual_ack = true;
    s.connect();
    for (int i = 1; i <= 12; ++i) {
        s.sends({0x32, 6, 0, 1, 't', 0, i, 'x'});
        (void)s.expect_event(Event::received);
    }
    s.port.write_limit = 0;
    while (s.client.publish("t", "").ok()) {}
    for (int i = 1; i <= 12; ++i) CHECK(s.client.acknowledge(static_cast<uint16_t>(i)).ok());
    s.sends({0x32, 6, 0, 1, 't', 0, 13, 'x'});
    const uint32_t begin = s.port.clock;
    (void)s.live(hour, [&] { return !s.port.is_open; });
    CHECK(s.port.clock - begin <= 65000);
}

TEST_CASE("poll() an hour late: a PINGRESP that waits in the socket counts") {
    for (const uint32_t clock : clocks) {
        Session s;
        s.port.clock = clock;
        s.connect();
        s.pass(52500);
        s.expects({0xC0, 0});
        s.sends({0xD0, 0});
        s.port.clock += hour;
        CHECK(s.client.poll().kind == Event::pingresp);
        CHECK(s.port.is_open);
        s.run();
        CHECK(s.port.is_open);
    }
}

TEST_CASE("poll() an hour late: a PINGREQ that is due goes out, and the server has all of the time to answer") {
    for (const bool polled_when_due : {false, true}) {
        CAPTURE(polled_when_due);
        Session s;
        s.connect();
        if (polled_when_due) {
            s.port.clock += 52500;
            CHECK(s.client.poll().kind == Event::none);
        }
        s.port.clock += hour;
        if (polled_when_due && !s.port.from_client.empty()) continue;   // it has had its time
        for (int i = 0; i < 3; ++i) CHECK(s.client.poll().kind == Event::none);
        CHECK(taken(s) == bytes({0xC0, 0}));
        s.port.clock += 9999;
        CHECK(s.client.poll().kind == Event::none);
        s.sends({0xD0, 0});
        (void)s.expect_event(Event::pingresp);
        s.quiet();
    }
}

TEST_CASE("poll() an hour late: a PINGRESP behind a backlog of messages counts, however the backlog comes") {
    for (const size_t rx : {20U, 32U, 64U, 256U, 4096U})
        for (const size_t piece : {1U, 3U, 7U, 100U, 100000U}) {
            CAPTURE(rx);
            CAPTURE(piece);
            Session s(rx);
            s.connect();
            s.pass(52500);
            s.expects({0xC0, 0});
            for (int i = 0; i < 300; ++i) s.sends({0x30, 10, 0, 1, 't', '1', '2', '3', '4', '5', '6', '7'});
            s.sends({0xD0, 0});
            s.port.clock += hour;
            s.port.read_limit = piece;
            int received = 0;
            Event event = s.next();
            for (; event.kind == Event::received; event = s.next()) ++received;
            CHECK(static_cast<int>(event.kind) == static_cast<int>(Event::pingresp));
            CHECK(received == 300);
            CHECK(s.port.is_open);
        }
}

TEST_CASE("poll() an hour late: a PINGRESP behind packets that make no event counts") {
    Session s(64);
    s.options.clean_session = false;
    s.connect();
    for (int i = 1; i <= 19; ++i) {
        s.sends({0x34, 6, 0, 1, 't', 0, i, 'x'});
        (void)s.expect_event(Event::received);
    }
    s.run();
    s.pass(52500);
    (void)taken(s);
    for (int i = 1; i <= 19; ++i) s.sends({0x3C, 6, 0, 1, 't', 0, i, 'x'});   // again
    for (int i = 1; i <= 50; ++i) s.sends({0x40, 2, 1, i});                   // PUBACK for nothing
    s.sends({0x30, 100, 0, 80});                                             // a topic that does not fit into rx
    s.sends(std::string(98, 'x'));
    s.sends({0xD0, 0});
    s.port.clock += hour;
    (void)s.expect_event(Event::skipped);
    (void)s.expect_event(Event::pingresp);
    CHECK(s.port.is_open);
}

TEST_CASE("poll() an hour late: the CONNACK that waits in the socket counts") {
    Session s;
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    s.sends({0x20, 2, 0, 0});
    s.port.clock += hour;
    (void)s.expect_event(Event::connected);
    s.run();
    CHECK(s.port.is_open);
}

TEST_CASE("a slow uplink that does move is no missing PINGRESP") {
    Session s;
    s.connect();
    s.port.write_limit = 1;
    const uint32_t begin = s.port.clock;
    std::string written;
    while (s.port.clock - begin < 3 * minute) {
        while (s.client.publish("topic", "0123456789").ok()) {}
        REQUIRE(s.client.poll().kind != Event::disconnected);
        s.port.clock += 20;
        written += taken(s);
        const size_t at = written.find(bytes({0xC0, 0}));
        if (at == std::string::npos) continue;
        written.erase(0, at + 2);
        s.sends({0xD0, 0});
    }
    CHECK(s.port.is_open);
}

TEST_CASE("idle_ms() is exact: one millisecond earlier nothing happens, then the timer ends") {
    for (const uint32_t clock : clocks) {
        CAPTURE(clock);
        Session s;
        s.port.clock = clock;
        const auto ends = [&](uint32_t expected) {
            s.run();
            const uint32_t idle = s.client.idle_ms();
            CHECK(idle == expected);
            s.port.clock += idle - 1;
            CHECK(s.client.poll().kind == Event::none);
            CHECK(s.client.idle_ms() == 1);
            s.port.clock += 1;
            CHECK(s.client.idle_ms() == 0);
        };
        // Opening.
        s.port.hang = true;
        REQUIRE(s.client.connect(s.options).ok());
        ends(30000);
        CHECK(lost_by(s, Error::connect_timeout));
        // Waiting.
        s.run();
        const uint32_t delay = s.client.idle_ms();
        CHECK(delay <= 1000);
        const size_t attempts = s.port.attempts.size();
        if (delay != 0) ends(delay);
        s.run();
        CHECK(s.port.attempts.size() == attempts + 1);
        // Connecting: the time to open the connection counts.
        s.port.clock += 10000;
        s.port.hang = false;
        s.port.write_limit = 0;
        ends(20000);
        CHECK(lost_by(s, Error::connect_timeout));
        // Waiting for CONNACK.
        s.port.write_limit = SIZE_MAX;
        s.port.clock += s.options.reconnect_max_ms;
        ends(30000);
        CHECK(lost_by(s, Error::connect_timeout));
        // Connected, and waiting for PINGRESP.
        s.port.clock += s.options.reconnect_max_ms;
        s.accept();
        ends(52500);
        s.expects({0xC0, 0});
        ends(10000);
        CHECK(lost_by(s, Error::response_timeout));
        // Disconnecting.
        s.port.clock += s.options.reconnect_max_ms;
        s.accept();
        s.port.write_limit = 0;
        CHECK(s.client.disconnect().ok());
        ends(10000);
        CHECK(lost_by(s, Error::response_timeout));
        // Stopped.
        s.run();
        CHECK(s.client.idle_ms() == mqtt::forever);
    }
}

TEST_CASE("idle_ms() is 0 while there is more to hand out, or an end to tell") {
    Session s;
    s.connect();
    s.run();
    s.sends({0x30, 3, 0, 1, 't', 0x30, 3, 0, 1, 't', 0x30, 3, 0, 1, 't', 0x30, 3, 0});
    for (int i = 0; i < 3; ++i) {
        CHECK(s.client.poll().kind == Event::received);
        CHECK(s.client.idle_ms() == 0);
    }
    CHECK(s.client.poll().kind == Event::none);
    CHECK(s.client.idle_ms() == 52500);
    CHECK(s.client.abort().ok());
    CHECK(s.client.idle_ms() == 0);
    CHECK(s.client.poll().kind == Event::disconnected);
}

TEST_CASE("idle_ms() is 0 until a due attempt has called open()") {
    Session s;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.idle_ms() == 0);
    s.port.refuse = true;
    (void)s.expect_event(Event::disconnected);
    s.port.refuse = false;
    s.run();
    s.port.clock += s.client.idle_ms();
    (void)s.client.poll();
    CHECK((s.port.opens == 1 || s.client.idle_ms() == 0));
}

TEST_CASE("no state polls in a busy loop: polls are counted over an hour") {
    SUBCASE("connected, pings are answered") {
        Session s;
        serve(s);
        s.connect();
        CHECK(s.live(hour) < 70 * 6);
        CHECK(s.port.is_open);
        CHECK(s.port.opens == 1);
    }
    SUBCASE("connected, without keep-alive") {
        Session s;
        s.options.keep_alive = 0;
        s.connect();
        CHECK(s.live(hour) < 5);
    }
    SUBCASE("nobody listens") {
        Session s;
        s.port.refuse = true;
        REQUIRE(s.client.connect(s.options).ok());
        CHECK(s.live(hour) < 2000);
        CHECK(s.port.attempts.size() > 30);
    }
    SUBCASE("the connection is never established") {
        Session s;
        s.port.hang = true;
        REQUIRE(s.client.connect(s.options).ok());
        CHECK(s.live(hour) < 1000);
        CHECK(s.port.attempts.size() > 20);
    }
    SUBCASE("CONNECT is never taken") {
        Session s;
        s.port.write_limit = 0;
        REQUIRE(s.client.connect(s.options).ok());
        CHECK(s.live(hour) < 1000);
        CHECK(s.port.attempts.size() > 20);
    }
    SUBCASE("CONNACK never comes") {
        Session s;
        REQUIRE(s.client.connect(s.options).ok());
        CHECK(s.live(hour) < 1000);
        CHECK(s.port.attempts.size() > 20);
    }
    SUBCASE("pings are never answered") {
        Session s;
        s.server = [&] {
            const std::string written = taken(s);
            if (!written.empty() && written[0] == 0x10) s.sends({0x20, 2, 0, 0});
        };
        s.connect();
        CHECK(s.live(hour) < 1000);
        CHECK(s.port.attempts.size() > 20);
    }
    SUBCASE("credentials are refused") {
        Session s;
        s.server = [&] {
            if (!taken(s).empty()) s.sends({0x20, 2, 0, 5});
        };
        REQUIRE(s.client.connect(s.options).ok());
        CHECK(s.live(hour) < 1000);
        CHECK(s.port.attempts.size() >= 30);
    }
    SUBCASE("messages wait for their acknowledgements") {
        Session s;
        serve(s);
        s.options.in_flight_maximum = 2;
        REQUIRE(s.client.connect(s.options).ok());
        for (int i = 0; i < 5; ++i) CHECK(s.client.publish("t", "x", QoS::at_least_once).ok());
        CHECK(s.live(hour) < 70 * 6);
        CHECK(s.port.opens == 1);
    }
    SUBCASE("half a packet has come") {
        Session s;
        serve(s);
        s.options.keep_alive = 0;
        s.connect();
        s.sends({0x30, 100, 0, 1, 't', 'x'});
        CHECK(s.live(hour) < 10);
    }
    SUBCASE("stopped") {
        Session s;
        CHECK(s.client.idle_ms() == mqtt::forever);
        CHECK(s.live(hour) < 3);
        s.connect();
        CHECK(s.client.disconnect().ok());
        CHECK(s.live(hour) < 6);
    }
}

TEST_CASE("wants_write() is true while there is something to write or to open, and only then") {
    Session s;
    CHECK(!s.client.wants_write());
    REQUIRE(s.client.connect(s.options).ok());
    CHECK((s.client.wants_write() || s.client.idle_ms() == 0));
    s.port.hang = true;
    (void)s.client.poll();
    CHECK(s.client.wants_write());
    s.port.hang = false;
    s.port.write_limit = 5;
    (void)s.client.poll();
    CHECK(s.client.wants_write());   // of CONNECT's 15 bytes, 5 are gone
    (void)s.client.poll();
    CHECK(s.client.wants_write());
    (void)s.client.poll();
    CHECK(!s.client.wants_write());
    CHECK(s.client.publish("t", "1").ok());
    CHECK(!s.client.wants_write());   // it has to wait for CONNACK
    s.accept();
    s.run();
    CHECK(!s.client.wants_write());
    s.expects({0x30, 4, 0, 1, 't', '1'});
    s.port.write_limit = 0;
    CHECK(s.client.publish("t", "2").ok());
    CHECK(s.client.wants_write());
    (void)s.client.poll();
    CHECK(s.client.wants_write());
    s.port.write_limit = 100;
    (void)s.client.poll();
    CHECK(!s.client.wants_write());
    s.sends({0x32, 6, 0, 1, 't', 0, 1, 'x'});
    CHECK(s.client.poll().kind == Event::received);
    s.port.write_limit = 0;
    (void)s.client.poll();
    CHECK(s.client.wants_write());   // PUBACK
    s.port.cut = true;
    CHECK(s.client.poll().kind == Event::disconnected);
    CHECK(!s.client.wants_write());
    CHECK(s.client.abort().ok());
    CHECK(s.client.poll().kind == Event::disconnected);
    CHECK(!s.client.wants_write());
}

TEST_CASE("[MQTT-3.1.2-23] pings go on while messages wait for in_flight_maximum and the server sends") {
    Session s;
    s.options.keep_alive = 10;
    s.options.in_flight_maximum = 2;
    REQUIRE(s.client.connect(s.options).ok());
    for (int i = 0; i < 20; ++i) REQUIRE(s.client.publish("t", "x", mqtt::QoS::at_least_once).ok());
    s.accept();
    s.run();
    s.port.from_client.clear();
    int pings = 0;
    for (int second = 0; second < 60; ++second) {
        s.sends({0x30, 4, 0, 1, 't', 'x'});
        s.port.write_limit = second == 9 ? 1 : SIZE_MAX;   // the first PINGREQ is cut in half
        s.pass(1000);
        while (s.next().kind != Event::none) {}
        for (size_t at = s.port.from_client.find("\xC0"); at != std::string::npos; at = s.port.from_client.find("\xC0", at + 1)) {
            ++pings;
            s.sends({0xD0, 0});
        }
        s.port.from_client.clear();
    }
    CHECK(pings >= 6);
}
