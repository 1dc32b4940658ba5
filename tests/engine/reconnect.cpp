// Losing connections and getting them back: back-off, jitter, and what is told (Event::disconnected).
#include "tests/support/peer.hpp"

#include <set>

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::Session;

namespace {

constexpr uint32_t hour = 3600000;
const std::string connect_packet = bytes({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 1, 'c'});
const std::string resume_packet = bytes({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 60, 0, 1, 'c'});

std::string name(Error error) { return mqtt::to_string(error); }

// Numbers that look random and are the same everywhere.
struct Random {
    uint64_t state;
    uint32_t next() {
        state = state * 6364136223846793005U + 1442695040888963407U;
        return static_cast<uint32_t>(state >> 32);
    }
};

// Until the connection or the attempt ends; checks that it is told once.
Event until_disconnected(Session& s) {
    const auto told = [&] { return !s.waiting.empty() && s.waiting.back().kind == Event::disconnected; };
    if (!told()) (void)s.live(hour, told);
    REQUIRE(told());
    const Event event = s.waiting.back();
    for (size_t i = 0; i + 1 < s.waiting.size(); ++i) CHECK(s.waiting[i].kind != Event::disconnected);
    s.waiting.clear();
    CHECK(static_cast<int>(event.kind) == static_cast<int>(Event::disconnected));
    CHECK(!s.port.is_open);
    CHECK(!s.client.connected());
    return event;
}
// The delay from the end of a connection to the next attempt.
uint32_t until_attempt(Session& s) {
    const uint32_t begin = s.port.clock;
    const size_t attempts = s.port.attempts.size();
    (void)s.live(hour, [&] { return s.port.attempts.size() != attempts; });
    REQUIRE(s.port.attempts.size() == attempts + 1);
    return s.port.clock - begin;
}
// The delays after the first `count` failures in a row.
std::vector<uint32_t> delays(Session& s, size_t count, Random* random = nullptr) {
    s.port.refuse = true;
    REQUIRE(s.client.connect(s.options).ok());
    std::vector<uint32_t> out;
    while (out.size() < count) {
        if (random != nullptr) s.port.random_value = random->next();
        CHECK(name(until_disconnected(s).error) == "connect failed");
        out.push_back(until_attempt(s));
    }
    return out;
}
// A value of random() with which delays are nearly as long as they may be, so that they show the limit.
uint32_t large_part() {
    for (uint32_t value = 0; value < 1000; ++value) {
        Session s;
        s.port.random_value = value * 4294967;
        if (delays(s, 1)[0] >= 900) return s.port.random_value;
    }
    FAIL("no value makes a long delay");
    return 0;
}
// 1000, 2000, 4000 ... from a delay that is a large part of it.
uint32_t limit_of(uint32_t delay) {
    for (uint32_t limit = 1000; limit < 120000; limit *= 2)
        if (delay <= limit) return limit;
    return 120000;
}
uint32_t limit_after_this(Session& s) { return limit_of(until_attempt(s)); }

void lives(Session& s, bool session_present = false) {   // and works
    s.port.refuse = s.port.hang = false;
    s.port.opening = 0;
    s.port.write_limit = s.port.read_limit = SIZE_MAX;
    s.waiting.clear();
    if (!s.port.is_open) {
        s.port.clock += s.options.reconnect_max_ms;
        s.run();
    }
    s.accept(session_present);
    s.run();
    s.waiting.clear();
    s.port.from_client.clear();
    CHECK(s.client.publish("t", "x").ok());
    s.expects({0x30, 4, 0, 1, 't', 'x'});
    s.sends({0x30, 4, 0, 1, 'u', 'y'});
    const Event event = s.expect_event(Event::received);
    CHECK(event.message.topic == "u");
}

}  // namespace

TEST_CASE("back-off: the n-th attempt in a row waits a random part, from none to all, of a limit that doubles up to its maximum") {
    constexpr size_t rows = 10, seeds = 1000;
    std::vector<uint32_t> least(rows, 0xFFFFFFFF), most(rows, 0);
    std::vector<uint64_t> sum(rows, 0);
    Random random{100000};
    for (size_t seed = 0; seed < seeds; ++seed) {
        Session s;
        const std::vector<uint32_t> row = delays(s, rows, &random);
        for (size_t n = 0; n < rows; ++n) {
            least[n] = std::min(least[n], row[n]);
            most[n] = std::max(most[n], row[n]);
            sum[n] += row[n];
        }
    }
    for (size_t n = 0; n < rows; ++n) {
        CAPTURE(n);
        const uint32_t limit = std::min<uint32_t>(120000, 1000U << n);
        CHECK(most[n] <= limit);
        CHECK(most[n] > limit / 20 * 19);
        CHECK(least[n] < limit / 20);
        CHECK(sum[n] / seeds > limit / 100 * 45);
        CHECK(sum[n] / seeds < limit / 100 * 55);
    }
}

TEST_CASE("back-off: any value of random() gives a delay within the limit, also after many attempts") {
    for (const uint32_t value : {0U, 1U, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFEU, 0xFFFFFFFFU}) {
        Session s;
        s.port.random_value = value;
        uint32_t limit = 1000;
        for (const uint32_t delay : delays(s, 300)) {
            CHECK(delay <= limit);
            limit = std::min<uint32_t>(120000, limit * 2);
        }
    }
}

TEST_CASE("back-off: clients that lose the same server at the same time do not come back together, even if random() is the same for all") {
    std::vector<int> quarters(4, 0);
    std::set<uint32_t> different;
    for (int i = 0; i < 200; ++i) {
        Session s;
        const std::string id = "device-" + std::to_string(i);
        s.options.client_id = id;
        const uint32_t delay = delays(s, 6)[5];   // of 32 s
        different.insert(delay);
        ++quarters[std::min<size_t>(3, delay / 8000)];
    }
    CHECK(different.size() > 150);
    for (const int count : quarters) CHECK(count > 20);
}

TEST_CASE("back-off: a port without random() is spread by client id and clock") {
    struct Plain {
        uint32_t clock = 0;
        int open(std::string_view, uint16_t) { return -1; }
        int read(uint8_t*, size_t) { return -1; }
        int write(const uint8_t*, size_t) { return -1; }
        void close() {}
        uint32_t now_ms() { return clock; }
    };
    std::set<uint32_t> different;
    for (int i = 0; i < 100; ++i) {
        Plain port;
        uint8_t rx[64], tx[256];
        mqtt::Client<Plain> client(port, {rx, tx});
        mqtt::ConnectOptions options;
        const std::string id = "device-" + std::to_string(i);
        options.client_id = id;
        options.reconnect_min_ms = 32000;
        REQUIRE(client.connect(options).ok());
        CHECK(client.poll().kind == Event::disconnected);
        CHECK(client.poll().kind == Event::none);
        CHECK(client.idle_ms() <= 32000);
        different.insert(client.idle_ms());
    }
    CHECK(different.size() > 80);
}

TEST_CASE("back-off: it starts anew only after a connection that lasted stable_ms") {
    const uint32_t large = large_part();
    for (const bool stable : {false, true}) {
        Session s;
        s.port.random_value = large;
        (void)delays(s, 3);
        s.port.refuse = false;
        CHECK(s.waiting.size() == 1);   // the fourth attempt failed, too
        s.waiting.clear();
        CHECK(limit_after_this(s) == 8000);
        s.accept();
        s.pass(stable ? 30000 : 29999);
        s.port.cut = true;
        CHECK(name(until_disconnected(s).error) == "connection lost");
        CHECK(limit_after_this(s) == (stable ? 1000 : 16000));
    }
}

TEST_CASE("back-off: a server that accepts and then kicks at once is asked less and less often") {
    Session s;
    s.port.random_value = large_part();
    REQUIRE(s.client.connect(s.options).ok());
    for (uint32_t limit = 1000; limit < 240000; limit *= 2) {
        s.accept();
        s.port.cut = true;
        CHECK(name(until_disconnected(s).error) == "connection lost");
        CHECK(limit_after_this(s) == std::min<uint32_t>(limit, 120000));
    }
}

TEST_CASE("back-off: stable_ms is right whatever the clock shows") {
    const uint32_t large = large_part();
    for (const uint32_t clock : {0U, 0x7FFFFFF0U, 0x80000000U, 0xFFFFFFFFU, 0xFFFF8AD0U, 0xFFFF0000U}) {
        Session s;
        s.port.random_value = large;
        s.port.clock = clock;
        s.connect();
        s.pass(1000);
        s.port.cut = true;
        (void)until_disconnected(s);
        CHECK(limit_after_this(s) == 1000);
        s.accept();
        s.pass(31000);
        s.port.cut = true;
        (void)until_disconnected(s);
        CHECK(limit_after_this(s) == 1000);
        s.accept();
        s.pass(1000);
        s.port.cut = true;
        (void)until_disconnected(s);
        CHECK(limit_after_this(s) == 2000);
    }
}

TEST_CASE("back-off: a refusal of identity or credentials waits long at once, other refusals do not") {
    const mqtt::ReasonCode reasons[] = {mqtt::ReasonCode::success,
                                        mqtt::ReasonCode::unsupported_protocol_version,
                                        mqtt::ReasonCode::client_identifier_not_valid,
                                        mqtt::ReasonCode::server_unavailable,
                                        mqtt::ReasonCode::bad_user_name_or_password,
                                        mqtt::ReasonCode::not_authorized};
    Random random{100000};
    for (int i = 0; i < 200; ++i)
        for (const int code : {2, 3, 4, 5}) {
            CAPTURE(code);
            Session s;
            REQUIRE(s.client.connect(s.options).ok());
            for (int attempt = 0; attempt < 2; ++attempt) {
                s.run();
                s.expects(connect_packet);
                s.port.random_value = random.next();
                s.sends({0x20, 2, 0, code});
                const Event event = until_disconnected(s);
                CHECK(name(event.error) == "connection refused");
                CHECK(static_cast<int>(event.reason) == static_cast<int>(reasons[code]));
                const uint32_t delay = until_attempt(s);
                if (code == 3) {
                    CHECK(delay <= (attempt == 0 ? 1000U : 2000U));
                } else {
                    CHECK(delay >= 60000);
                    CHECK(delay <= 120000);
                }
            }
            // And then something else goes wrong: the old refusal does not count any more.
            s.run();
            s.port.cut = true;
            const Event event = until_disconnected(s);
            CHECK(name(event.error) == "connection lost");
            CHECK(event.reason == mqtt::ReasonCode::success);
            CHECK(until_attempt(s) <= 4000);
        }
}

TEST_CASE("reconnect_max_ms 0: no reconnect, the client is stopped, which is told, and can be started again") {
    for (const int how : {0, 1, 2, 3, 4}) {
        CAPTURE(how);
        Session s;
        s.options.reconnect_max_ms = 0;
        s.port.refuse = how == 0;
        s.port.hang = how == 1;
        REQUIRE(s.client.connect(s.options).ok());
        if (how >= 2) s.run();
        if (how == 2) s.port.cut = true;
        if (how == 3) s.sends({0x20, 2, 0, 5});
        if (how == 4) {
            s.accept();
            s.port.cut = true;
        }
        const char* const errors[] = {"connect failed", "connect timeout", "connection lost", "connection refused",
                                      "connection lost"};
        CHECK(name(until_disconnected(s).error) == errors[how]);
        const size_t attempts = s.port.attempts.size();
        CHECK(s.live(hour) < 5);
        CHECK(s.waiting.empty());
        CHECK(s.port.attempts.size() == attempts);
        CHECK(s.client.idle_ms() == mqtt::forever);
        CHECK(name(s.client.publish("t", "x").error) == "not started");
        CHECK(name(s.client.disconnect().error) == "not started");
        CHECK(name(s.client.abort().error) == "not started");
        REQUIRE(s.client.connect(s.options).ok());
        lives(s);
    }
}

TEST_CASE("each end of a connection or of an attempt is told once, by an error that names it, and then the client reconnects") {
    struct Way {
        const char* error;
        void (*go)(Session&);
    };
    const Way ways[] = {
        {"connect failed", [](Session& s) { s.port.refuse = true; }},
        {"connect failed",   // after some time
         [](Session& s) {
             s.port.opening = 3;
             for (int i = 0; i < 3; ++i) (void)s.client.poll();
             s.port.refuse = true;
         }},
        {"connect timeout", [](Session& s) { s.port.hang = true; }},
        {"connect timeout", [](Session& s) { s.port.write_limit = 0; }},
        {"connect timeout", [](Session& s) { s.port.write_limit = 5, (void)s.client.poll(), s.port.write_limit = 0; }},
        {"connect timeout", [](Session& s) { s.run(); }},
        {"connect timeout", [](Session& s) { s.sends({0x20, 2, 0}); }},   // not all of CONNACK
        {"connection lost", [](Session& s) { s.port.write_limit = 0, (void)s.client.poll(), s.port.cut = true; }},
        {"connection lost", [](Session& s) { s.port.write_limit = 5, (void)s.client.poll(), s.port.cut = true; }},
        {"connection lost", [](Session& s) { s.run(), s.port.cut = true; }},
        {"connection lost", [](Session& s) { s.run(), s.sends({0x20, 2, 0}), s.port.cut = true; }},
        {"connection refused", [](Session& s) { s.run(), s.sends({0x20, 2, 0, 5}), s.port.cut = true; }},
        {"connection lost", [](Session& s) { s.accept(), s.port.cut = true; }},
        {"connection lost", [](Session& s) { s.accept(), s.sends({0x30, 9, 0}), s.port.cut = true; }},
        {"connection lost",
         [](Session& s) {
             s.accept();
             (void)s.client.publish("t", "x", QoS::at_least_once);
             s.port.write_limit = 3;
             (void)s.client.poll();
             s.port.cut = true;
         }},
        {"connection lost",   // found out by writing
         [](Session& s) {
             s.accept();
             (void)s.client.publish("t", "x");
             s.port.cut = true;
             s.client.flush();
         }},
        {"response timeout", [](Session& s) { s.accept(), s.pass(52500); }},
        {"connection lost", [](Session& s) { s.accept(), s.pass(52500), s.port.cut = true; }},
        {"protocol error", [](Session& s) { s.accept(), s.sends({0x20, 2, 0, 0}); }},
    };
    for (const Way& way : ways) {
        const size_t index = static_cast<size_t>(&way - ways);
        CAPTURE(index);
        Session s;
        REQUIRE(s.client.connect(s.options).ok());
        for (int again = 0; again < 3; ++again) {
            way.go(s);
            s.waiting.clear();
            const Event event = until_disconnected(s);
            CHECK(name(event.error) == way.error);
            const int closes = s.port.closes, writes = s.port.writes, reads = s.port.reads;
            CHECK(closes > 0);
            // Nothing more is told, or touched, before the next attempt.
            for (int i = 0; i < 3 && s.client.idle_ms() > 1; ++i) {
                CHECK(s.client.poll().kind == Event::none);
                s.client.flush();
            }
            CHECK(s.port.writes == writes);
            CHECK(s.port.reads == reads);
            s.port.refuse = s.port.hang = s.port.cut = false;
            s.port.opening = 0;
            s.port.write_limit = SIZE_MAX;
            s.port.to_client.clear();
            s.port.from_client.clear();
            s.port.clock += s.options.reconnect_max_ms;   // opens at the next poll(): the way decides how that goes
        }
        lives(s);
    }
}

TEST_CASE("no CONNECT is ever continued on another connection: cut after each of its bytes") {
    for (size_t written = 0; written <= connect_packet.size(); ++written) {
        Session s;
        REQUIRE(s.client.connect(s.options).ok());
        s.port.write_limit = written;
        (void)s.client.poll();
        CHECK(s.port.from_client == connect_packet.substr(0, written));
        s.port.cut = true;
        CHECK(name(until_disconnected(s).error) == "connection lost");
        s.port.clock += s.options.reconnect_max_ms;
        s.port.write_limit = SIZE_MAX;
        s.run();
        CHECK(s.port.from_client == connect_packet);
        lives(s);
    }
}

TEST_CASE("a connection that is cut after each byte that the client writes: whole packets follow on the next one, marked if they were begun") {
    const std::string first = bytes({0x32, 6, 0, 1, 't', 0, 1, 'a'}), second = bytes({0x34, 6, 0, 1, 't', 0, 2, 'b'}),
                      third = bytes({0x82, 6, 0, 3, 0, 1, 'f', 1}), all = first + second + third;
    for (size_t written = 0; written <= all.size(); ++written) {
        CAPTURE(written);
        Session s;
        s.options.clean_session = false;
        s.connect();
        s.run();
        CHECK(s.client.publish("t", "a", QoS::at_least_once).ok());
        CHECK(s.client.publish("t", "b", QoS::exactly_once).ok());
        CHECK(s.client.subscribe("f", QoS::at_least_once).ok());
        s.port.write_limit = written;
        if (written != 0) (void)s.client.poll();
        CHECK(s.port.from_client == all.substr(0, written));
        s.port.cut = true;
        (void)until_disconnected(s);
        s.port.write_limit = SIZE_MAX;
        s.port.clock += s.options.reconnect_max_ms;
        s.expects(resume_packet);
        s.sends({0x20, 2, 1, 0});
        (void)s.expect_event(Event::connected);
        std::string again = all;
        if (written > 0) again[0] = 0x3A;
        if (written > first.size()) again[first.size()] = 0x3C;
        s.expects(again);
        s.sends({0x40, 2, 0, 1, 0x50, 2, 0, 2, 0x90, 3, 0, 3, 1});
        CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
        CHECK(s.expect_event(Event::pubrec).packet_id == 2);
        CHECK(s.expect_event(Event::subscribed).packet_id == 3);
        s.expects({0x62, 2, 0, 2});
        s.sends({0x70, 2, 0, 2});
        CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
        s.quiet();
    }
}

TEST_CASE("a connection that is cut after each byte that the server writes: half a packet is forgotten, a whole one counts") {
    const std::string message = bytes({0x34, 8, 0, 1, 't', 0, 9, 'a', 'b', 'c'});
    for (size_t sent = 0; sent <= message.size(); ++sent) {
        Session s;
        s.options.clean_session = false;
        s.connect();
        s.run();
        s.sends(message.substr(0, sent));
        s.port.cut = true;
        int received = 0;
        for (Event event = s.next(); event.kind != Event::disconnected; event = s.next()) {
            REQUIRE(event.kind == Event::received);
            ++received;
        }
        CHECK(received == (sent == message.size() ? 1 : 0));
        s.port.clock += s.options.reconnect_max_ms;
        s.accept(true);
        s.sends(message);   // without DUP, as some servers do
        const Event event = s.next();
        if (received == 0) {
            REQUIRE(event.kind == Event::received);
            CHECK(event.message.payload.text() == "abc");
        }
        s.expects({0x50, 2, 0, 9});
    }
}

TEST_CASE("extreme options: a client with any of them works, and is never undefined") {
    for (const uint32_t extreme : {0U, 1U, 15U, 16U, 1U << 20, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU})
        for (const int which : {0, 1, 2, 3, 4, 5}) {
            CAPTURE(extreme);
            CAPTURE(which);
            Session s;
            Random random{extreme};
            if (which == 0) s.options.reconnect_min_ms = extreme;
            if (which == 1) s.options.reconnect_max_ms = extreme;
            if (which == 2) s.options.stable_ms = extreme;
            if (which == 3) s.options.reconnect_min_ms = s.options.reconnect_max_ms = extreme;
            if (which == 4) s.options.response_timeout_ms = extreme;
            if (which == 5 && extreme != 0) s.options.connect_timeout_ms = extreme;
            REQUIRE(s.client.connect(s.options).ok());
            for (int i = 0; i < 80; ++i) {
                s.port.random_value = random.next();
                s.port.refuse = i % 2 == 0;
                const int how_often = s.options.reconnect_max_ms < 16 ? 1 : 4;   // else it never rests, as it was told
                for (int poll = 0; poll < how_often; ++poll) (void)s.client.poll();
                if (s.port.is_open) {
                    s.sends({0x20, 2, 0, 0});
                    for (int poll = 0; poll < 4; ++poll) (void)s.client.poll();
                    s.port.cut = true;
                    for (int poll = 0; poll < 4 && s.port.is_open; ++poll) (void)s.client.poll();
                    CHECK(!s.port.is_open);
                }
                if (s.options.reconnect_max_ms == 0) {
                    (void)s.client.poll();
                    REQUIRE(s.client.connect(s.options).ok());
                    continue;
                }
                const uint32_t most = std::min(s.options.reconnect_max_ms, 1U << 20);
                CHECK(s.client.idle_ms() <= most);
                s.port.clock += most;
            }
            s.port.refuse = false;
            if (s.options.reconnect_max_ms != 0) s.port.clock += std::min(s.options.reconnect_max_ms, 1U << 20);
            s.run();
            s.waiting.clear();
            s.accept();
            CHECK(s.client.connected());
            // Its ping, too: with a server that answers at once.
            (void)s.live(52500, [&] { return s.port.from_client == bytes({0xC0, 0}); });
            s.run();
            CHECK((s.port.from_client == bytes({0xC0, 0}) || (which == 4 && extreme <= 16)));
            s.waiting.clear();
            CHECK(s.client.abort().ok());
            CHECK(name(until_disconnected(s).error) == "ok");
        }
}

TEST_CASE("connect() long before the first poll(): the time-out counts from open()") {
    Session s;
    REQUIRE(s.client.connect(s.options).ok());
    s.port.clock += hour;
    s.run();
    CHECK(s.port.is_open);
    s.port.clock += 29999;
    s.accept();
}

TEST_CASE("reconnecting is the client's business only between connect() and disconnect() or abort()") {
    Session s;
    CHECK(s.client.poll().kind == Event::none);
    CHECK(s.port.attempts.empty());
    CHECK(name(s.client.disconnect().error) == "not started");
    CHECK(name(s.client.abort().error) == "not started");
    for (const bool graceful : {true, false}) {
        CAPTURE(graceful);
        const auto stop = [&] { CHECK((graceful ? s.client.disconnect() : s.client.abort()).ok()); };
        const auto stopped = [&] {
            CHECK(name(until_disconnected(s).error) == "ok");
            const size_t attempts = s.port.attempts.size();
            CHECK(s.live(hour) < 5);
            CHECK(s.waiting.empty());
            CHECK(s.port.attempts.size() == attempts);
            s.port.from_client.clear();
        };
        REQUIRE(s.client.connect(s.options).ok());   // before the first poll
        CHECK(name(s.client.connect(s.options).error) == "already started");
        stop();
        stopped();
        s.port.hang = true;   // while it opens
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        stop();
        stopped();
        s.port.hang = false;   // CONNECT half-written
        s.port.write_limit = 4;
        REQUIRE(s.client.connect(s.options).ok());
        (void)s.client.poll();
        stop();
        stopped();
        s.port.write_limit = SIZE_MAX;   // before CONNACK
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        stop();
        stopped();
        s.port.refuse = true;   // while it waits
        REQUIRE(s.client.connect(s.options).ok());
        CHECK(name(until_disconnected(s).error) == "connect failed");
        stop();
        stopped();
        s.port.refuse = false;   // connected
        s.connect();
        s.run();
        stop();
        s.run();
        CHECK(s.port.from_client == (graceful ? bytes({0xE0, 0}) : std::string()));
        CHECK(s.waiting.size() == 1);
        CHECK(name(s.waiting.at(0).error) == "ok");
        s.waiting.clear();
        s.port.from_client.clear();
        CHECK(!s.port.is_open);
    }
    REQUIRE(s.client.connect(s.options).ok());
    lives(s);
}

TEST_CASE("[MQTT-7.1.2-1] [MQTT-3.1.0-1] the byte stream may come and go in any pieces: each connection begins with CONNECT and goes on in order") {
    for (size_t in = 1; in < 20; ++in)
        for (size_t out = 1; out < 20; ++out) {
            CAPTURE(in);
            CAPTURE(out);
            Session s;
            s.port.read_limit = in;
            s.port.write_limit = out;
            REQUIRE(s.client.connect(s.options).ok());
            s.expects(connect_packet);
            s.sends({0x20, 2, 0, 0});
            (void)s.expect_event(Event::connected);
            CHECK(s.client.publish("topic", "payload", QoS::exactly_once).ok());
            CHECK(s.client.publish("topic", "payload").ok());
            s.expects({0x34, 16, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 1, 'p', 'a', 'y', 'l', 'o', 'a', 'd',
                       0x30, 14, 0, 5, 't', 'o', 'p', 'i', 'c', 'p', 'a', 'y', 'l', 'o', 'a', 'd'});
            s.sends({0x50, 2, 0, 1, 0x32, 6, 0, 1, 't', 0, 7, 'x'});
            (void)s.expect_event(Event::pubrec);
            (void)s.expect_event(Event::received);
            s.expects({0x62, 2, 0, 1, 0x40, 2, 0, 7});
        }
}
