// The client on platform/lwip.hpp, against the embedded broker or a server that says what the test says: two hosts in
// one lwIP, and a loop that sleeps as a firmware's does, by ready() and idle_ms(). What wakes it too late ends a test
// by its limit of virtual time.

#include "platform/lwip.hpp"

#include "mqtt.hpp"
#include "tests/firmware/network.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr mqtt::QoS all_qos[] = {mqtt::QoS::at_most_once, mqtt::QoS::at_least_once, mqtt::QoS::exactly_once};

std::string text_of(size_t size) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
    return text;
}

struct Device {
    explicit Device(test::Network& network, size_t rx_size = 512, size_t tx_size = 4096)
        : net(network), rx(rx_size), tx(tx_size), client(port, {{rx.data(), rx.size()}, {tx.data(), tx.size()}}) {
        options.host = test::address_b;
        options.client_id = "device";
        options.clean_session = false;
        options.reconnect_min_ms = 100;
        options.reconnect_max_ms = 1000;
    }
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    // Polls once; how long it may sleep now.
    uint32_t step() {
        const mqtt::Event event = client.poll();
        ++counts[event.kind];
        switch (event.kind) {
        case mqtt::Event::none: return port.ready() ? 0 : client.idle_ms();
        case mqtt::Event::received:
            CHECK(event.message.offset == payload.size());
            payload += event.message.payload.text();
            if (event.message.complete()) messages.push_back(std::exchange(payload, {}));
            break;
        case mqtt::Event::disconnected:
            payload.clear();
            ended.push_back(event.error);
            causes.push_back(port.last_error());
            break;
        case mqtt::Event::acknowledged: ++acknowledged[event.packet_id]; break;
        default: break;
        }
        return 0;
    }
    bool until(const std::function<bool()>& condition, uint32_t limit_ms = 600000) {
        return net.until(condition, [&] { return step(); }, limit_ms);
    }
    bool until(mqtt::Event::Kind kind, uint32_t limit_ms = 600000) {
        const int before = counts[kind];
        return until([&, kind, before] { return counts[kind] != before; }, limit_ms);
    }
    void connect() {
        REQUIRE(client.connect(options).ok());
        REQUIRE(until(mqtt::Event::connected));
    }
    void subscribe(std::string_view filter, mqtt::QoS qos = mqtt::QoS::exactly_once) {
        REQUIRE(client.subscribe(filter, qos).ok());
        REQUIRE(until(mqtt::Event::subscribed));
    }
    void disconnect() {
        REQUIRE(client.disconnect().ok());
        REQUIRE(until(mqtt::Event::disconnected));
        CHECK(ended.back() == mqtt::Error::ok);
    }
    void pass(uint32_t ms) { net.pass(ms, [&] { return step(); }); }

    test::Network& net;
    std::vector<uint8_t> rx, tx;
    mqtt::lwip::Tcp port;
    mqtt::ConnectOptions options;
    mqtt::Client<mqtt::lwip::Tcp> client;
    std::string payload;
    std::vector<std::string> messages;
    std::vector<mqtt::Error> ended;
    std::vector<err_t> causes;               // last_error() at each end
    std::map<uint16_t, int> acknowledged;
    std::map<int, int> counts;
};

struct World {
    explicit World(unsigned seed = 1, test::Weather weather = {}, size_t rx_size = 512, size_t tx_size = 4096)
        : net(seed, weather), server(net), device(net, rx_size, tx_size) {}
    test::Network net;
    test::BrokerServer server;
    Device device;
};

}  // namespace

TEST_CASE("lwIP client: messages of each QoS go both ways") {
    World world;
    world.device.connect();
    world.device.subscribe("echo");
    for (const mqtt::QoS qos : all_qos) {
        const std::string text = "qos " + std::to_string(static_cast<int>(qos));
        REQUIRE(world.device.client.publish("echo", text, qos).ok());
        CHECK(world.device.until([&] { return world.device.messages.size() > size_t(qos); }));
        CHECK(world.device.messages.back() == text);
        CHECK(world.device.until([&] { return world.device.client.unacknowledged() == 0; }));
    }
    CHECK(world.device.messages.size() == 3);
    world.device.disconnect();
    world.net.pass(1000);
    CHECK(world.server.broker.violations().empty());
    CHECK(world.server.broker.statistics().wills == 0);
    CHECK(world.server.broker.connection_count() == 0);
}

TEST_CASE("lwIP client: DISCONNECT reaches the server although messages are on their way to us") {
    World world;
    world.device.options.will = {"will", "gone", mqtt::QoS::at_least_once};
    world.device.connect();
    world.device.subscribe("t");
    for (int i = 0; i < 20; ++i) world.server.broker.publish("t", text_of(200));
    world.net.pass(100);   // they are in the port, unread
    world.device.disconnect();
    world.net.pass(5000);
    CHECK(world.server.broker.statistics().wills == 0);
    CHECK(world.server.broker.connection_count() == 0);
}

TEST_CASE("lwIP client: by name, after the name server has been silent for a while") {
    World world;
    world.device.options.host = "broker.test";
    world.device.options.connect_timeout_ms = 2000;
    world.net.names_answered = false;
    REQUIRE(world.device.client.connect(world.device.options).ok());
    REQUIRE(world.device.until(mqtt::Event::disconnected));
    CHECK(world.device.ended.back() == mqtt::Error::connect_timeout);
    world.net.names["broker.test"] = test::address_b;
    world.net.answer_names();
    REQUIRE(world.device.until(mqtt::Event::connected));
    CHECK(world.server.broker.statistics().connects == 1);
}

TEST_CASE("lwIP client: a name that does not exist is connect_failed, again and again, until it does") {
    World world;
    world.device.options.host = "broker.test";
    REQUIRE(world.device.client.connect(world.device.options).ok());
    for (int i = 0; i < 10; ++i) {
        REQUIRE(world.device.until(mqtt::Event::disconnected));
        CHECK(world.device.ended.back() == mqtt::Error::connect_failed);
        CHECK(world.device.causes.back() == ERR_VAL);
    }
    world.net.names["broker.test"] = test::address_b;
    REQUIRE(world.device.until(mqtt::Event::connected));
}

TEST_CASE("lwIP client: a refused connection is connect_failed, and the next attempt follows by itself") {
    World world;
    world.server.stop_listening();
    REQUIRE(world.device.client.connect(world.device.options).ok());
    REQUIRE(world.device.until(mqtt::Event::disconnected));
    CHECK(world.device.ended.back() == mqtt::Error::connect_failed);
    CHECK(world.device.causes.back() == ERR_RST);
    world.server.listen();
    REQUIRE(world.device.until(mqtt::Event::connected));
}

TEST_CASE("lwIP client: nobody there is connect_timeout") {
    World world;
    world.net.up = false;
    world.device.options.connect_timeout_ms = 5000;
    REQUIRE(world.device.client.connect(world.device.options).ok());
    const uint32_t begun = world.net.now();
    REQUIRE(world.device.until(mqtt::Event::disconnected));
    CHECK(world.device.ended.back() == mqtt::Error::connect_timeout);
    CHECK(world.net.now() - begun >= 5000);
    CHECK(world.net.now() - begun <= 5500);
    world.net.up = true;
    REQUIRE(world.device.until(mqtt::Event::connected));
}

TEST_CASE("lwIP client: keep-alive holds an idle connection for an hour, and the device sleeps") {
    World world;
    world.device.options.keep_alive = 10;
    world.device.connect();
    world.device.counts.clear();
    world.device.pass(3600000);
    CHECK(world.device.client.connected());
    CHECK(world.device.ended.empty());
    CHECK(world.server.broker.statistics().pings >= 300);
    // lwIP wakes it every 250 ms while there is a connection, the network not much more often.
    CHECK(world.device.counts[mqtt::Event::none] < 4 * 3600 + 20 * 400);
}

TEST_CASE("lwIP client: a dead link is noticed within keep-alive and response_timeout_ms, and then it connects again") {
    World world;
    world.device.options.keep_alive = 10;
    world.device.connect();
    world.net.up = false;
    const uint32_t begun = world.net.now();
    REQUIRE(world.device.until(mqtt::Event::disconnected));
    CHECK(world.device.ended.back() == mqtt::Error::response_timeout);
    CHECK(world.net.now() - begun <= 20500);
    world.net.up = true;
    REQUIRE(world.device.until(mqtt::Event::connected));
}

TEST_CASE("lwIP client: a link that dies again and again leaves connections behind, and still has room for the next") {
    World world;
    world.net.limit_connections(4);   // of both hosts
    world.device.options.keep_alive = 5;
    world.device.connect();
    for (int i = 0; i < 10; ++i) {
        REQUIRE(world.device.client.publish("t", "x", mqtt::QoS::at_least_once).ok());
        world.net.up = false;
        REQUIRE(world.device.until(mqtt::Event::disconnected));
        world.server.reset();
        world.net.up = true;
        REQUIRE(world.device.until(mqtt::Event::connected, 60000));
    }
}

// ------------------------------------------------------------------------------------------------- large messages

TEST_CASE("lwIP client: a message of a megabyte comes through an rx of 512 bytes") {
    World world;
    world.device.connect();
    world.device.subscribe("big");
    const std::string big = text_of(1000000);
    world.server.broker.publish("big", big, mqtt::QoS::exactly_once);
    REQUIRE(world.device.until([&] { return !world.device.messages.empty(); }));
    CHECK(world.device.messages[0] == big);
    CHECK(world.device.until([&] { return world.server.broker.session("device")->in_flight == 0; }));
}

TEST_CASE("lwIP client: a message of a megabyte goes out from the application's memory, over a network that loses") {
    World world(3, {10, 10, 2, 20});
    world.server.broker.config.log_publishes = true;
    world.device.connect();
    const std::string big = text_of(1000000);
    const mqtt::Result begun = world.device.client.begin_publish("big", 1000000, mqtt::QoS::exactly_once);
    REQUIRE(begun.ok());
    std::string_view left = big;
    REQUIRE(world.net.until([&] { return left.empty(); }, [&]() -> uint32_t {
        const mqtt::Written written = world.device.client.write_payload(mqtt::Bytes(left));
        REQUIRE(written.error == mqtt::Error::ok);
        left.remove_prefix(written.size);
        return world.device.step();
    }));
    REQUIRE(world.device.until([&] { return world.device.acknowledged[begun.packet_id] == 1; }));
    REQUIRE(world.server.broker.log().size() == 1);
    CHECK(world.server.broker.log()[0].payload == big);
}

TEST_CASE("lwIP client: an application that does not poll stops the server, and loses nothing") {
    World world;
    world.device.options.keep_alive = 0;
    world.device.connect();
    world.device.subscribe("t");
    std::vector<std::string> sent;
    for (int i = 0; i < 100; ++i) {
        sent.push_back(std::to_string(i) + text_of(1000));
        world.server.broker.publish("t", sent.back());
    }
    world.net.pass(600000);
    CHECK(world.server.connected());
    REQUIRE(world.device.until([&] { return world.device.messages.size() == sent.size(); }));
    CHECK(world.device.messages == sent);
}

TEST_CASE("lwIP client: a manual_ack application that holds all it can stops reading without spinning, and goes on") {
    World world(1, {}, 512, 600);
    world.server.broker.config.max_inflight = 0;
    world.device.options.manual_ack = true;
    world.device.connect();
    world.device.subscribe("t", mqtt::QoS::at_least_once);
    for (int i = 0; i < 100; ++i) world.server.broker.publish("t", text_of(100), mqtt::QoS::at_least_once);
    world.device.pass(5000);
    const size_t held = world.device.messages.size();
    CHECK(held < 100);
    world.device.counts.clear();
    world.device.pass(10000);
    CHECK(world.device.counts[mqtt::Event::none] < 1000);
    CHECK(world.device.messages.size() == held);
}

// ---------------------------------------------------------------------------------------------- resets at each state

namespace {

// What a server that is not a broker says.
struct Scripted {
    explicit Scripted(size_t rx_size = 512) : server(net), device(net, rx_size) {}
    void connect() {
        REQUIRE(device.client.connect(device.options).ok());
        again();
    }
    // The next connection, up to CONNACK.
    void again() {
        const size_t before = served;
        const auto asked = [&] { return server.connections.size() > before && !server.last().in.empty(); };
        REQUIRE(device.until([&] { return asked() && server.connected(); }));
        served = server.connections.size();
        server.send(std::string_view(served == 1 ? "\x20\x02\x00\x00" : "\x20\x02\x01\x00", 4));   // CONNACK
        REQUIRE(device.until(mqtt::Event::connected));
        server.last().in.clear();
    }
    // The connection ends by `error` and lwIP's `cause`; once. Then the next one comes.
    void ends(mqtt::Error error, err_t cause) {
        REQUIRE(device.until(mqtt::Event::disconnected));
        CHECK(device.ended == std::vector<mqtt::Error>{error});
        CHECK(device.causes.back() == cause);
        server.takes = true;
        again();
        CHECK(device.ended.size() == 1);
    }
    test::Network net;
    test::Server server;
    Device device;
    size_t served = 0;
};

}  // namespace

TEST_CASE("lwIP client: the server resets, or closes, after CONNECT") {
    for (const bool reset : {true, false}) {
        Scripted world;
        REQUIRE(world.device.client.connect(world.device.options).ok());
        REQUIRE(world.device.until([&] { return !world.server.received().empty(); }));
        world.served = 1;
        reset ? world.server.reset() : world.server.finish();
        world.ends(mqtt::Error::connection_lost, reset ? ERR_RST : ERR_CLSD);
    }
}

TEST_CASE("lwIP client: the server resets, or closes, an idle connection") {
    for (const bool reset : {true, false}) {
        Scripted world;
        world.connect();
        world.device.pass(1000);
        reset ? world.server.reset() : world.server.finish();
        world.ends(mqtt::Error::connection_lost, reset ? ERR_RST : ERR_CLSD);
    }
}

TEST_CASE("lwIP client: the server resets, or closes, in the middle of a packet to us") {
    for (const bool reset : {true, false}) {
        Scripted world;
        world.connect();
        world.server.send(std::string("\x30\x10\x00\x01t", 5) + "half");
        world.device.pass(1000);
        reset ? world.server.reset() : world.server.finish();
        world.ends(mqtt::Error::connection_lost, reset ? ERR_RST : ERR_CLSD);
        CHECK(world.device.messages.empty());
    }
}

TEST_CASE("lwIP client: whole packets before the end are delivered, then the end") {
    for (const bool reset : {true, false}) {
        Scripted world;
        world.connect();
        world.server.send(std::string("\x30\x08\x00\x01tfirst\x30\x09\x00\x01tsecond\x30\x10\x00\x01t", 26) + "half");
        if (!reset) world.server.finish();
        world.net.pass(100);   // the device is asleep
        if (reset) world.server.reset();
        world.net.pass(100);
        world.ends(mqtt::Error::connection_lost, reset ? ERR_RST : ERR_CLSD);
        CHECK(world.device.messages == std::vector<std::string>{"first", "second"});
    }
}

TEST_CASE("lwIP client: the server resets in the middle of a packet from us; it is sent again, whole") {
    Scripted world;
    world.connect();
    world.server.takes = false;
    const std::string text = text_of(3500);
    REQUIRE(world.device.client.publish("t", text_of(100), mqtt::QoS::at_least_once).ok());
    REQUIRE(world.device.client.publish("t", text, mqtt::QoS::at_least_once).ok());
    REQUIRE(world.device.until([&] { return world.server.received().size() > 1000; }));
    CHECK(world.server.received().size() < text.size());
    world.server.reset();
    world.ends(mqtt::Error::connection_lost, ERR_RST);
    REQUIRE(world.device.until([&] { return world.server.received().size() >= text.size() + 100; }));
    CHECK(world.server.received().find(text) != std::string::npos);
}

TEST_CASE("lwIP client: the server resets while we disconnect: that is the end that was asked for") {
    Scripted world;
    world.connect();
    world.server.takes = false;
    for (int i = 0; i < 5; ++i) {
        while (world.device.client.publish("t", text_of(500)).ok()) {}
        world.device.pass(100);
    }
    REQUIRE(world.device.client.disconnect().ok());
    world.device.pass(1000);
    world.server.reset();
    REQUIRE(world.device.until(mqtt::Event::disconnected));
    world.device.pass(60000);
    CHECK(world.device.ended.size() == 1);
    CHECK(world.server.connections.size() == 1);
}

TEST_CASE("lwIP client: the network resets the handshake") {
    bool once = true;   // outlives the network
    World world;
    // SYN and ACK of the server, turned into RST and ACK.
    world.net.filter = [&](bool from_a, std::string& packet) {
        constexpr size_t ip_header = 20, flags = ip_header + 13, checksum = ip_header + 16;
        if (from_a || !once || packet.size() < ip_header + 20 || packet[9] != 6 || packet[flags] != 0x12) return true;
        once = false;
        packet[flags] = 0x14;
        // RFC 1624: the checksum is the complement of a sum in ones' complement, so it changes the other way.
        uint8_t* const at = reinterpret_cast<uint8_t*>(packet.data()) + checksum;
        const uint32_t sum = mqtt::load_u16(at) + 0x12U + (0xFFFFU - 0x14U);
        mqtt::store_u16(at, static_cast<uint16_t>((sum & 0xFFFF) + (sum >> 16)));
        return true;
    };
    REQUIRE(world.device.client.connect(world.device.options).ok());
    REQUIRE(world.device.until(mqtt::Event::disconnected));
    CHECK(world.device.ended.back() == mqtt::Error::connect_failed);
    CHECK(world.device.causes.back() == ERR_RST);
    REQUIRE(world.device.until(mqtt::Event::connected));
}

// ------------------------------------------------------------------------------------------------- again and again

TEST_CASE("lwIP client: a broker that is killed and comes back finds the session, and what was published meanwhile") {
    World world;
    world.server.broker.config.log_publishes = true;
    world.device.connect();
    world.server.stop_listening();
    world.server.reset();
    REQUIRE(world.device.until(mqtt::Event::disconnected));
    for (const mqtt::QoS qos : all_qos) REQUIRE(world.device.client.publish("t", "meanwhile", qos).ok());
    world.device.pass(30000);
    world.server.listen();
    REQUIRE(world.device.until([&] { return world.server.broker.log().size() == 3; }));
    CHECK(world.device.until([&] { return world.device.client.unacknowledged() == 0; }));
}

TEST_CASE("lwIP client: 200 connections, ended by either side, leave no pcb, pbuf or heap byte") {
    World world;
    REQUIRE(world.device.client.connect(world.device.options).ok());
    for (int i = 0; i < 200; ++i) {
        REQUIRE(world.device.until(mqtt::Event::connected));
        REQUIRE(world.device.client.publish("t", "x", mqtt::QoS::at_least_once).ok());
        if (i % 5 != 4) REQUIRE(world.device.until(mqtt::Event::acknowledged));
        switch (i % 4) {
        case 0: world.server.reset(); break;
        case 1: world.server.finish(); break;
        case 2: REQUIRE(world.device.client.abort().ok()); break;
        default: REQUIRE(world.device.client.disconnect().ok()); break;
        }
        REQUIRE(world.device.until(mqtt::Event::disconnected));
        if (i % 4 >= 2) REQUIRE(world.device.client.connect(world.device.options).ok());
    }
    CHECK(world.server.broker.violations().empty());
}

TEST_CASE("lwIP client: over networks that lose, delay, reorder and duplicate, and cut connections, QoS 2 comes once") {
    const unsigned seeds = testing::long_run() ? 1000 : 100;
    uint64_t cuts = 0;
    for (unsigned seed = 1; seed <= seeds; ++seed) {
        CAPTURE(seed);
        std::mt19937 random(seed);
        const auto below = [&random](uint32_t limit) { return static_cast<uint32_t>(random() % limit); };
        test::Weather weather;
        weather.loss = below(100);
        weather.duplicates = below(50);
        weather.delay_ms = 1 + below(50);
        weather.jitter_ms = below(100);
        const size_t rx_size = 128 + below(512);
        const size_t tx_size = 1500 + below(3000);
        World world(seed, weather, rx_size, tx_size);
        world.server.broker.config.log_publishes = true;
        world.device.options.keep_alive = 20;
        REQUIRE(world.device.client.connect(world.device.options).ok());
        REQUIRE(world.device.client.subscribe("echo", mqtt::QoS::exactly_once).ok());
        const size_t count = 30;
        size_t published = 0;
        std::vector<std::string> sent;
        REQUIRE(world.device.until([&] {
            if (published < count) {
                const std::string text = std::to_string(published) + text_of(below(600));
                if (world.device.client.publish("echo", text, mqtt::QoS::exactly_once).ok()) {
                    sent.push_back(text);
                    ++published;
                }
            }
            if (below(400) == 0 && cuts < 20 * seed) {
                ++cuts;
                below(2) == 0 ? world.server.reset() : world.server.finish();
            }
            const bool settled = world.device.client.unacknowledged() == 0;
            return published == count && world.device.messages.size() >= count && settled;
        }, 3600000));
        world.device.pass(60000);
        CHECK(world.device.messages == sent);
        REQUIRE(world.server.broker.log().size() == count);
        for (size_t i = 0; i < count; ++i) CHECK(world.server.broker.log()[i].payload == sent[i]);
        CHECK(world.server.broker.violations().empty());
    }
    CHECK(cuts > seeds);
}

TEST_CASE("lwIP client: whichever allocation of lwIP's fails, every message arrives, QoS 2 once") {
    bool reached = true;
    for (uint64_t n = 1; reached; ++n) {
        CAPTURE(n);
        World world(static_cast<unsigned>(n));
        world.net.names["broker.test"] = test::address_b;
        world.device.options.host = "broker.test";
        world.server.broker.config.log_publishes = true;
        const uint64_t before = world.net.allocations();
        world.net.fail_allocations(n, n + 2 * (n % 4));
        REQUIRE(world.device.client.connect(world.device.options).ok());
        REQUIRE(world.device.client.subscribe("echo", mqtt::QoS::exactly_once).ok());
        std::vector<std::string> sent;
        for (const mqtt::QoS qos : {mqtt::QoS::at_least_once, mqtt::QoS::exactly_once}) {
            sent.push_back(text_of(700 + 300 * static_cast<size_t>(qos)));
            REQUIRE(world.device.client.publish("echo", sent.back(), qos).ok());
        }
        REQUIRE(world.device.until([&] { return world.device.messages.size() == 2; }));
        REQUIRE(world.device.until([&] { return world.device.client.unacknowledged() == 0; }));
        CHECK(world.device.messages == sent);
        CHECK(world.server.broker.log().size() == 2);
        world.device.disconnect();
        reached = world.net.allocations() - before >= n;
    }
}
