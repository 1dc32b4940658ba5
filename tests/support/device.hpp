// A client as an application has it, for tests against real brokers: it keeps what its events told.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "platform/posix.hpp"
#include "tests/support/process.hpp"

namespace test {

constexpr mqtt::QoS all_qos[] = {mqtt::QoS::at_most_once, mqtt::QoS::at_least_once, mqtt::QoS::exactly_once};

// One broker for all test cases until the program ends, for some take long to start. So client ids and topics are used
// once.
template <class Broker> Broker& running() {
    static const std::unique_ptr<Broker> broker = [] {
        try {
            return std::make_unique<Broker>();
        } catch (const std::exception& problem) {
            MESSAGE(problem.what());
            return std::unique_ptr<Broker>();
        }
    }();
    REQUIRE(broker != nullptr);
    return *broker;
}

// A port that remembers which packets passed it, and whose clock can be put forward.
template <class Port> struct Tap : Port {
    struct Packet {
        bool is_ours;        // from the client
        std::string bytes;
        mqtt::PacketType type() const { return static_cast<mqtt::PacketType>(static_cast<uint8_t>(bytes[0]) >> 4); }
    };
    std::vector<Packet> packets;
    uint32_t ahead_ms = 0;

    int open(std::string_view host, uint16_t number) {
        outgoing_.clear();
        incoming_.clear();
        return Port::open(host, number);
    }
    int read(uint8_t* data, size_t size) { return note(false, data, Port::read(data, size)); }
    int write(const uint8_t* data, size_t size) { return note(true, data, Port::write(data, size)); }
    uint32_t now_ms() { return Port::now_ms() + ahead_ms; }

    std::vector<std::string> from_client(mqtt::PacketType type) const {
        std::vector<std::string> found;
        for (const Packet& packet : packets)
            if (packet.is_ours && packet.type() == type) found.push_back(packet.bytes);
        return found;
    }

private:
    int note(bool is_ours, const uint8_t* data, int n) {
        std::string& bytes = is_ours ? outgoing_ : incoming_;
        for (int i = 0; i < n; ++i) bytes += static_cast<char>(data[i]);
        for (uint32_t length; bytes.size() > 1;) {
            const size_t taken = mqtt::load_variable(mqtt::Bytes(bytes).data() + 1, bytes.size() - 1, length);
            if (taken == 0 || bytes.size() - 1 - taken < length) break;
            packets.push_back({is_ours, bytes.substr(0, 1 + taken + length)});
            bytes.erase(0, 1 + taken + length);
        }
        return n;
    }
    std::string outgoing_, incoming_;   // what has passed of packets that are not whole yet
};

template <class Port> struct Device {
    // `aliases`: of MQTT 5, with memory for topics of 60 bytes; in both directions.
    explicit Device(uint16_t broker, const std::string& id = "device", size_t rx_size = 4096, size_t tx_size = 65536,
                    uint16_t receive_maximum = 100, uint16_t aliases = 0)
        : name(id), rx(rx_size), tx(tx_size), received_aliases(aliases * size_t{64}), sent_aliases(aliases * size_t{64}),
          client(port, {{rx.data(), rx.size()}, {tx.data(), tx.size()}, receive_maximum, aliases,
                        {received_aliases.data(), received_aliases.size()}, {sent_aliases.data(), sent_aliases.size()},
                        {assigned_id}}) {
        options.host = "127.0.0.1";
        options.port = broker;
        options.client_id = name;
        options.clean_session = false;
        options.reconnect_min_ms = 20;
        options.reconnect_max_ms = 100;
    }

    // Polls once, and waits a moment if there was nothing to do.
    mqtt::Event step() {
        const mqtt::Event event = client.poll();
        switch (event.kind) {
        case mqtt::Event::none: port.wait(std::min<uint32_t>(client.idle_ms(), 5), client.wants_write()); break;
        case mqtt::Event::received:
            if (event.message.offset == 0) {
                payload.clear();
                if (event.message.qos == mqtt::QoS::exactly_once) {
                    const bool is_new = unreleased.insert(event.packet_id).second;
                    CHECK(is_new);   // [MQTT-4.3.3-2]: not delivered again before PUBREL
                }
            }
            payload.append(event.message.payload.text());
            if (event.message.complete())
                messages.push_back({std::string(event.message.topic), payload, event.message.qos, event.message.retain,
                                    std::string(event.message.properties.block().text())});
            break;
        case mqtt::Event::pubrel: unreleased.erase(event.packet_id); break;
        case mqtt::Event::connected:
            if (!event.session_present) unreleased.clear();
            break;
        case mqtt::Event::disconnected:
            ended.push_back(event.error);
            reason = port.error_text();
            break;
        case mqtt::Event::acknowledged:
        case mqtt::Event::dropped:
            ++finished[event.packet_id];
            reasons[event.packet_id] = event.reason;
            break;
        default: break;
        }
        codes[event.kind] = event.reason_codes.text();
        blocks[event.kind] = event.properties.block().text();
        ++counts[event.kind];
        last[event.kind] = event;
        return event;
    }
    bool until(mqtt::Event::Kind kind) {
        const int before = counts[kind];
        return eventually([&] { return step(), counts[kind] != before; });
    }
    bool until(const std::function<bool()>& condition) {
        return eventually([&] { return condition() || (step(), condition()); });
    }
    void connect() {
        REQUIRE(client.connect(options).ok());
        REQUIRE(until(mqtt::Event::connected));
    }
    void subscribe(std::string_view filter, mqtt::QoS qos = mqtt::QoS::exactly_once) {
        REQUIRE(client.subscribe(filter, qos).ok());
        REQUIRE(until(mqtt::Event::subscribed));
        REQUIRE(last[mqtt::Event::subscribed].reason_codes.size() == 1);
    }
    void disconnect() {
        REQUIRE(client.disconnect().ok());
        REQUIRE(until(mqtt::Event::disconnected));
        CHECK(ended.back() == mqtt::Error::ok);
    }
    // Waits for the next message, and takes it from `messages`.
    auto next() {
        REQUIRE(until([&] { return !messages.empty(); }));
        const Received first = messages.front();
        messages.erase(messages.begin());
        return first;
    }
    // Publishes, and waits for the answer; its reason code.
    mqtt::ReasonCode publish(std::string_view topic, std::string_view text, mqtt::QoS qos,
                             mqtt::Retain retain = mqtt::Retain::no, mqtt::Properties properties = {}) {
        const mqtt::Result result = client.publish(topic, text, qos, retain, properties);
        REQUIRE(result.ok());
        if (qos == mqtt::QoS::at_most_once) return mqtt::ReasonCode::success;
        REQUIRE(until([&] { return finished[result.packet_id] != 0; }));
        finished.clear();
        return reasons[result.packet_id];
    }
    // Publishes `count` small messages with many under way at once, and gets them back in order.
    void exchange_many(size_t count) {
        subscribe("many");
        size_t accepted = 0;
        REQUIRE(until([&] {
            while (accepted < count && accepted < messages.size() + 200 &&
                   client.publish("many", std::to_string(accepted), mqtt::QoS::exactly_once).ok())
                ++accepted;
            return messages.size() == count && finished.size() == count;
        }));
        size_t wrong = 0;
        for (size_t i = 0; i != count; ++i) wrong += messages[i].payload != std::to_string(i);
        CHECK(wrong == 0);
    }
    // Publishes `text` in pieces, at each QoS, and gets it back. `meanwhile` is called again and again.
    void exchange_large(const std::string& text, const std::function<void()>& meanwhile = [] {}) {
        subscribe("large");
        for (const mqtt::QoS qos : all_qos) {
            REQUIRE(client.begin_publish("large", static_cast<uint32_t>(text.size()), qos).ok());
            size_t at = 0;
            REQUIRE(until([&] {
                meanwhile();
                if (at == text.size()) return !messages.empty();
                const mqtt::Written written = client.write_payload(std::string_view(text).substr(at));
                CHECK(written.error == mqtt::Error::ok);
                at += written.size;
                return false;
            }));
            CHECK((messages[0].payload == text));
            CHECK(messages[0].qos == qos);
            messages.clear();
            if (qos != mqtt::QoS::at_most_once)
                REQUIRE(until([&] { return counts[mqtt::Event::acknowledged] == static_cast<int>(qos); }));
        }
    }
    // With a user name as the broker wants it; empty: none.
    void log_in(const std::string& user_name) {
        if (user_name.empty()) return;
        user = user_name;
        options.user_name = user;
        options.password = "any";
    }
    // The network fails under the client.
    void cut() {
        ::shutdown(port.fd(), SHUT_RDWR);
        REQUIRE(until(mqtt::Event::disconnected));
    }
    // Of the last event of this kind.
    mqtt::Properties properties(mqtt::Event::Kind kind) { return view(blocks[kind]); }
    static mqtt::Properties view(const std::string& block) {
        const mqtt::Bytes bytes = block;
        return {bytes.data(), bytes.size()};
    }
    bool session_present() { return last[mqtt::Event::connected].session_present; }

    struct Received {
        std::string topic, payload;
        mqtt::QoS qos;
        bool retain;
        std::string block;   // its properties, as they came
        mqtt::Properties properties() const { return view(block); }
    };
    std::string name, user;
    uint8_t assigned_id[64];
    std::vector<uint8_t> rx, tx, received_aliases, sent_aliases;
    Port port;
    mqtt::ConnectOptions options;
    mqtt::Client<Port> client;
    std::string payload, reason;
    std::vector<Received> messages;
    std::vector<mqtt::Error> ended;
    std::map<uint16_t, int> finished;
    std::map<uint16_t, mqtt::ReasonCode> reasons;   // of acknowledged packet ids
    std::set<uint16_t> unreleased;     // QoS 2 ids that were delivered
    std::map<int, int> counts;
    std::map<int, mqtt::Event> last;                // by kind; their views are void, so ...
    std::map<int, std::string> codes, blocks;       // ... reason codes and properties
};

// Traffic on the plain listener. mosquitto 2.0.11 sends at most 4096 bytes over WebSocket per round of its loop, and a
// round without other events lasts 100 ms: 40 kB/s.
class Waker {
public:
    explicit Waker(uint16_t broker) : client_(port_, {rx_, tx_}) {
        options_.host = "127.0.0.1";
        options_.port = broker;
        options_.client_id = "waker";
        REQUIRE(client_.connect(options_).ok());
    }
    void wake() {
        if (client_.poll().kind == mqtt::Event::none) (void)client_.publish("wake", "");
    }

private:
    uint8_t rx_[256], tx_[1024];
    mqtt::posix::Tcp port_;
    mqtt::ConnectOptions options_;
    mqtt::Client<mqtt::posix::Tcp> client_;
};

}  // namespace test
