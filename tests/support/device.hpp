// A client as an application has it, for tests against real brokers: it keeps what its events told.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "tests/support/process.hpp"

namespace test {

constexpr mqtt::QoS all_qos[] = {mqtt::QoS::at_most_once, mqtt::QoS::at_least_once, mqtt::QoS::exactly_once};

template <class Port> struct Device {
    explicit Device(uint16_t broker, const std::string& id = "device", size_t rx_size = 4096, size_t tx_size = 65536,
                    uint16_t receive_maximum = 100)
        : name(id), rx(rx_size), tx(tx_size),
          client(port, {{rx.data(), rx.size()}, {tx.data(), tx.size()}, receive_maximum}) {
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
                messages.push_back({std::string(event.message.topic), payload, event.message.qos, event.message.retain});
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
        case mqtt::Event::dropped: ++finished[event.packet_id]; break;
        default: break;
        }
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
    bool session_present() { return last[mqtt::Event::connected].session_present; }

    struct Received {
        std::string topic, payload;
        mqtt::QoS qos;
        bool retain;
    };
    std::string name;
    std::vector<uint8_t> rx, tx;
    Port port;
    mqtt::ConnectOptions options;
    mqtt::Client<Port> client;
    std::string payload, reason;
    std::vector<Received> messages;
    std::vector<mqtt::Error> ended;
    std::map<uint16_t, int> finished;
    std::set<uint16_t> unreleased;     // QoS 2 ids that were delivered
    std::map<int, int> counts;
    std::map<int, mqtt::Event> last;   // its views are void
};

}  // namespace test
