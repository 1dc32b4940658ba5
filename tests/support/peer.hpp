// A scripted server for one client: a port in memory, a virtual clock, and a readable notation.
//
//     test::Session s;                                      // client with rx of 256 and tx of 1024 bytes
//     s.connect();                                          // CONNECT, CONNACK, Event::connected
//     (void)s.client.publish("t", "x", mqtt::QoS::at_least_once);
//     s.expects({0x32, 6, 0, 1, 't', 0, 1, 'x'});           // what the client must have written by now, exactly
//     s.sends({0x40, 2, 0, 1});                             // what the server answers
//     CHECK(s.next().kind == mqtt::Event::acknowledged);    // polls until there is an event
//     s.quiet();                                            // no event, nothing written
//
// Nothing here knows the protocol: every byte in a test is written by hand from the specification.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "mqtt.hpp"

namespace test {

// Bytes spelled out in a test: numbers and characters.
inline std::string bytes(std::initializer_list<int> list) {
    std::string out;
    for (const int b : list) out += static_cast<char>(b);
    return out;
}

inline std::string hex(std::string_view data) {
    std::string out;
    char text[8];
    for (const char c : data) {
        const unsigned char b = static_cast<unsigned char>(c);
        std::snprintf(text, sizeof text, b > 32 && b < 127 ? "%02x'%c " : "%02x ", b, b);
        out += text;
    }
    return out;
}

// The port: what a network and a clock can do to a client, under a test's control.
struct ScriptedPort {
    // ---- the test's side
    uint32_t clock = 0xFFFFF000;      // wraps around soon
    bool refuse = false;              // open() fails
    int opening = 0;                  // open() answers "not yet" this many times
    bool hang = false;                // open() answers "not yet" as long as this is set
    bool cut = false;                 // the connection is lost, once what it still holds has been read
    size_t write_limit = SIZE_MAX;    // bytes that one write() takes; 0: none for now
    size_t read_limit = SIZE_MAX;     // bytes that one read() gives
    std::string to_client, from_client;
    std::string host;
    uint16_t port = 0;
    int opens = 0, closes = 0, reads = 0, writes = 0;
    uint32_t random_value = 0x80000000;
    bool is_open = false;
    bool pending = false;             // open() has said "not yet": there is a socket that can be waited for
    bool ended = false;               // open() has answered: close() must come before the next attempt
    std::vector<uint32_t> attempts;   // when each attempt to connect began

    // ---- the client's side
    int open(std::string_view h, uint16_t p) {
        host = std::string(h);
        port = p;
        CHECK(!ended);
        if (!pending) attempts.push_back(clock);
        pending = false;
        ended = refuse;
        if (refuse) return -1;
        if (hang) return pending = true, 0;
        if (opening > 0) return --opening, pending = true, 0;
        ++opens;
        ended = true;
        is_open = true;
        cut = false;
        to_client.clear();
        from_client.clear();
        return 1;
    }
    int read(uint8_t* data, size_t size) {
        ++reads;
        CHECK(is_open);
        if (to_client.empty()) return cut ? -1 : 0;
        const size_t n = std::min({size, read_limit, to_client.size()});
        memcpy(data, to_client.data(), n);
        to_client.erase(0, n);
        return static_cast<int>(n);
    }
    int write(const uint8_t* data, size_t size) {
        ++writes;
        CHECK(is_open);
        CHECK(size != 0);
        if (cut) return -1;
        const size_t n = std::min(size, write_limit);
        from_client.append(reinterpret_cast<const char*>(data), n);
        return static_cast<int>(n);
    }
    void close() {
        ++closes;
        is_open = false;
        pending = false;
        ended = false;
    }
    uint32_t now_ms() { return clock; }
    uint32_t random() { return random_value; }
};

template <class Port> class BasicSession {
public:
    explicit BasicSession(size_t rx_size = 256, size_t tx_size = 1024, uint16_t receive_maximum = 20)
        : rx(rx_size), tx(tx_size), client(port, {{rx.data(), rx.size()}, {tx.data(), tx.size()}, receive_maximum}) {
        options.host = "server";
        options.client_id = "c";
        options.in_flight_maximum = 65535;
    }

    // ---- notation

    void expects(std::initializer_list<int> list) { expects(bytes(list)); }
    void expects(const std::string& wanted) {
        run();
        CHECK_MESSAGE(hex(port.from_client) == hex(wanted), "the client wrote, and the test expects");
        port.from_client.clear();
    }
    void sends(std::initializer_list<int> list) { sends(bytes(list)); }
    void sends(const std::string& data) { port.to_client += data; }

    // Polls until there is an event, or until there is nothing left to do. Advances no time.
    mqtt::Event next() {
        for (int i = 0; i < 100000; ++i) {
            if (!waiting.empty()) {
                const mqtt::Event event = waiting.front();
                waiting.erase(waiting.begin());
                return event;
            }
            const mqtt::Event event = client.poll();
            if (event.kind != mqtt::Event::none) return event;
            if (idle()) return event;
        }
        FAIL("the client never comes to rest");
        return {};
    }
    // Polls until there is nothing left to do; events are kept for next() - without their views, which are void then.
    void run() {
        for (int i = 0; i < 100000; ++i) {
            const mqtt::Event event = client.poll();
            if (event.kind != mqtt::Event::none) waiting.push_back(event);
            if (event.kind == mqtt::Event::none && idle()) return;
        }
        FAIL("the client never comes to rest");
    }
    // Nothing to tell, nothing written.
    void quiet() {
        CHECK(next().kind == mqtt::Event::none);
        expects(std::string());
    }
    // Moves the clock on, in steps in which the client is polled when it wants to be.
    void pass(uint32_t ms) {
        while (ms != 0) {
            run();
            const uint32_t step = std::min(ms, std::max<uint32_t>(client.idle_ms(), 1));
            port.clock += step;
            ms -= step;
        }
        run();
    }
    // What an application does for `ms`: polls, and sleeps until idle_ms(), input or room for output. Events are kept for
    // next(), without their views; `server`, if there is one, runs after each poll; `enough` ends it. Returns the polls.
    int live(uint32_t ms, const std::function<bool()>& enough = nullptr) {
        const uint32_t begin = port.clock;
        int polls = 0;
        for (int at_once = 0; at_once < 10000; ++at_once) {
            const size_t unread = port.to_client.size();
            const mqtt::Event event = client.poll();
            ++polls;
            if (event.kind != mqtt::Event::none) waiting.push_back(event);
            if (server) server();
            if (enough && enough()) return polls;
            if (event.kind != mqtt::Event::none) continue;
            // What the client does not read, for want of memory, does not wake it.
            const bool readable = port.is_open && (port.to_client.empty() ? port.cut : port.to_client.size() != unread);
            const bool writable = port.is_open ? port.write_limit != 0 : port.pending && !port.hang;
            if (readable || (client.wants_write() && writable)) continue;
            const uint32_t idle = client.idle_ms(), left = ms - (port.clock - begin);
            if (left == 0) return polls;
            if (idle == 0) continue;
            port.clock += std::min(idle, left);
            at_once = 0;
        }
        FAIL("the client never sleeps");
        return polls;
    }
    mqtt::Event expect_event(mqtt::Event::Kind kind) {
        const mqtt::Event event = next();
        CHECK(static_cast<int>(event.kind) == static_cast<int>(kind));
        return event;
    }
    // Through CONNECT, whatever it contains, and an accepting CONNACK.
    void connect(bool session_present = false) {
        REQUIRE(client.connect(options).ok());
        accept(session_present);
    }
    void accept(bool session_present = false) {
        run();
        REQUIRE(port.is_open);
        REQUIRE(!port.from_client.empty());
        CHECK(port.from_client[0] == 0x10);
        port.from_client.clear();
        sends({0x20, 2, session_present ? 1 : 0, 0});
        for (mqtt::Event event = next(); event.kind != mqtt::Event::connected; event = next())
            REQUIRE(event.kind != mqtt::Event::none);
    }
    // The connection is lost; the client reconnects, and the server accepts.
    void reconnect(bool session_present) {
        lose();
        port.clock += options.reconnect_max_ms;
        accept(session_present);
    }
    void lose() {
        port.cut = true;
        for (mqtt::Event event = next(); event.kind != mqtt::Event::disconnected; event = next())
            REQUIRE(event.kind != mqtt::Event::none);
    }

    std::vector<uint8_t> rx, tx;
    Port port;
    mqtt::ConnectOptions options;
    mqtt::Client<Port> client;
    std::vector<mqtt::Event> waiting;
    std::function<void()> server;   // for live()

private:
    // Nothing that the client would do by itself without time passing.
    bool idle() {
        const bool readable = port.is_open && (!port.to_client.empty() || port.cut);
        const bool writable = client.wants_write() && (port.is_open ? port.write_limit != 0 : !port.hang);
        return client.idle_ms() != 0 && ((!readable && !writable) || stuck());
    }
    bool stuck() {
        // It may refuse to read, or wait for the application to go on with a payload: then nothing changes however often it
        // is polled.
        const size_t to = port.to_client.size(), from = port.from_client.size();
        const int opens = port.opens;
        for (int i = 0; i < 3; ++i) {
            const mqtt::Event event = client.poll();
            if (event.kind != mqtt::Event::none) {
                waiting.push_back(event);
                return false;
            }
        }
        return to == port.to_client.size() && from == port.from_client.size() && opens == port.opens && !port.cut;
    }
};
using Session = BasicSession<ScriptedPort>;

}  // namespace test
