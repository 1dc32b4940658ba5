// The client as applications use it, over real TCP, against mosquitto.
#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "platform/posix.hpp"
#include "tests/support/device.hpp"
#include "tests/support/process.hpp"

using mqtt::Event;
using mqtt::QoS;
using mqtt::Retain;
using test::all_qos;
using test::eventually;
using test::Mosquitto;

namespace {

using Device = test::Device<mqtt::posix::Tcp>;

// Sends `count` messages of 64 bytes with at most 100 in flight, and checks what comes.
void flood(uint16_t broker, QoS qos, size_t count) {
    Device sender(broker, "sender"), receiver(broker, "receiver", 65536, 65536, 1000);
    sender.options.in_flight_maximum = 100;
    sender.connect();
    receiver.connect();
    receiver.subscribe("flood", qos);
    size_t sent = 0, came = 0, wrong = 0, acknowledged = 0;
    REQUIRE(eventually([&] {
        for (int burst = 0; burst < 100 && sent < count; ++burst) {
            char text[65];
            std::snprintf(text, sizeof text, "%064zu", sent);
            // QoS 0 has no window of its own: mosquitto drops what a slow receiver does not take, so stay close to it.
            if (qos == QoS::at_most_once && sent - came >= 1000) break;
            if (!sender.client.publish("flood", text, qos).ok()) break;
            ++sent;
        }
        for (Event event = sender.client.poll(); event.kind != Event::none; event = sender.client.poll())
            acknowledged += event.kind == Event::acknowledged;
        for (Event event = receiver.client.poll(); event.kind != Event::none; event = receiver.client.poll()) {
            if (event.kind != Event::received) continue;
            char text[65];
            std::snprintf(text, sizeof text, "%064zu", came);
            wrong += event.message.payload.text() != text;
            ++came;
        }
        sender.port.wait(0, sender.client.wants_write());
        return came >= count && (qos == QoS::at_most_once || acknowledged == count);
    }, std::chrono::seconds(240)));
    CHECK(wrong == 0);
    CHECK(came == count);
    CHECK(sender.ended.empty());
    CHECK(receiver.ended.empty());
    sender.disconnect();
    receiver.disconnect();
    CHECK(receiver.messages.empty());   // nothing came twice
}

}  // namespace

TEST_CASE("mosquitto: messages of each QoS go both ways [MQTT-7.1.2-1] [MQTT-7.0.0-2]") {
    Mosquitto broker;
    Device device(broker.port, "device");
    device.connect();
    CHECK(!device.session_present());
    device.subscribe("t/#", QoS::exactly_once);
    for (const QoS qos : all_qos) {
        CAPTURE(static_cast<int>(qos));
        const mqtt::Result result = device.client.publish("t/a", "hello", qos);
        REQUIRE(result.ok());
        REQUIRE(device.until([&] { return !device.messages.empty(); }));
        CHECK(device.messages[0].topic == "t/a");
        CHECK(device.messages[0].payload == "hello");
        CHECK(device.messages[0].qos == qos);
        if (qos != QoS::at_most_once) CHECK(device.until([&] { return device.finished[result.packet_id] == 1; }));
        device.messages.clear();
    }
    REQUIRE(device.client.unsubscribe("t/#").ok());
    CHECK(device.until(Event::unsubscribed));
    device.disconnect();
}

TEST_CASE("mosquitto: granted QoS and retained messages") {
    Mosquitto broker;
    Device device(broker.port, "device");
    device.connect();
    REQUIRE(device.client.publish("r", "kept", QoS::at_least_once, Retain::yes).ok());
    REQUIRE(device.until(Event::acknowledged));
    REQUIRE(device.client.subscribe({{"r", QoS::at_most_once}, {"x", QoS::at_least_once}, {"y", QoS::exactly_once}}).ok());
    std::string codes;
    REQUIRE(eventually([&] {
        const Event event = device.step();
        if (event.kind == Event::subscribed) codes = std::string(event.reason_codes.text());
        return event.kind == Event::subscribed;
    }));
    CHECK(codes == std::string("\0\1\2", 3));
    REQUIRE(device.until([&] { return !device.messages.empty(); }));
    CHECK(device.messages[0].payload == "kept");
    CHECK(device.messages[0].retain);
    device.disconnect();
}

TEST_CASE("mosquitto: the will is published when the connection is cut, not after a disconnect") {
    Mosquitto broker;
    Device watcher(broker.port, "watcher");
    watcher.connect();
    watcher.subscribe("status/+", QoS::exactly_once);
    for (const QoS qos : all_qos) {
        Device device(broker.port, "device");
        device.options.will = {"status/device", "gone", qos, Retain::no};
        device.connect();
        REQUIRE(device.client.abort().ok());
        REQUIRE(device.until(Event::disconnected));
        REQUIRE(watcher.until([&] { return !watcher.messages.empty(); }));
        CHECK(watcher.messages[0].topic == "status/device");
        CHECK(watcher.messages[0].payload == "gone");
        CHECK(watcher.messages[0].qos == qos);
        watcher.messages.clear();

        device.connect();
        device.disconnect();
        REQUIRE(watcher.client.publish("status/end", "", QoS::at_least_once).ok());
        REQUIRE(watcher.until([&] { return !watcher.messages.empty(); }));
        CHECK(watcher.messages[0].topic == "status/end");
        watcher.messages.clear();
    }
}

TEST_CASE("mosquitto: a session goes on after the broker was killed and started again [MQTT-4.4.0-1]") {
    test::TemporaryFolder data;
    Mosquitto broker("persistence true\nautosave_on_changes true\nautosave_interval 1\npersistence_location " +
                     data.path.string() + "/\n");
    Device device(broker.port, "device");
    device.connect();
    device.subscribe("t", QoS::exactly_once);
    broker.process.stop();
    REQUIRE(device.until(Event::disconnected));
    for (const QoS qos : all_qos) REQUIRE(device.client.publish("t", "offline", qos).ok());
    REQUIRE(broker.start());
    REQUIRE(device.until(Event::connected));
    CHECK(device.session_present());
    REQUIRE(device.until([&] { return device.messages.size() == 3; }));
    REQUIRE(device.until([&] { return device.finished.size() == 2; }));
    device.disconnect();
    CHECK(device.messages.size() == 3);
}

TEST_CASE("mosquitto: connections cut at any moment lose nothing, and no QoS 2 packet is delivered twice") {
    // With a limit, mosquitto 2.0.11 counts what was in flight in a lost connection against the next one, and then refuses
    // messages (PUBACK with 151, which a 3.1.1 client does not see).
    Mosquitto broker("max_inflight_messages 0\n");
    Device sender(broker.port, "sender"), receiver(broker.port, "receiver", 4096, 65536, 1000);
    sender.connect();
    receiver.connect();
    receiver.subscribe("t/+", QoS::exactly_once);
    constexpr size_t count = 300;
    size_t accepted = 0, steps = 0;
    std::set<std::string> first;
    // The client delivers no packet id twice before its PUBREL: Device checks that. mosquitto 2.0.11 itself, when both
    // sides are cut, now and then sends a message once more after that; so the order is that of first deliveries.
    std::vector<std::string> once;
    std::set<std::string> seen;
    const bool all = eventually([&] {
        ++steps;
        if (accepted < count) {
            const std::string text = std::to_string(accepted);
            const bool twice = accepted % 2 != 0;
            accepted += sender.client.publish(twice ? "t/2" : "t/1", text, twice ? QoS::exactly_once : QoS::at_least_once).ok();
        }
        sender.step();
        receiver.step();
        // The network fails under the client, at moments that depend on nothing but the count of steps.
        if (accepted < count && steps % 23 == 7) ::shutdown(sender.port.fd(), SHUT_RDWR);
        if (accepted < count && steps % 31 == 11) ::shutdown(receiver.port.fd(), SHUT_RDWR);
        for (const Device::Received& message : receiver.messages)
            if (message.topic != "t/2")
                first.insert(message.payload);
            else if (seen.insert(message.payload).second)
                once.push_back(message.payload);
        receiver.messages.clear();
        return first.size() == count / 2 && once.size() >= count / 2 && sender.finished.size() == count;
    });
    CHECK(all);
    CHECK(sender.ended.size() > 2);
    CHECK(receiver.ended.size() > 2);
    std::vector<std::string> expected;
    for (size_t i = 1; i < count; i += 2) expected.push_back(std::to_string(i));
    std::string came;
    for (const std::string& text : once) came += text + " ";
    CHECK_MESSAGE(once == expected, came);
    for (const auto& finished : sender.finished) CHECK_MESSAGE(finished.second == 1, finished.first);
}

TEST_CASE("mosquitto: a stopped broker is noticed by keep-alive [MQTT-3.12.4-1] [MQTT-3.1.2-23]") {
    Mosquitto broker;
    Device device(broker.port, "device");
    device.options.keep_alive = 1;
    device.options.response_timeout_ms = 300;
    device.connect();
    REQUIRE(device.until(Event::pingresp));
    broker.process.signal(SIGSTOP);
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == mqtt::Error::response_timeout);
    broker.process.signal(SIGCONT);
    REQUIRE(device.until(Event::connected));
    CHECK(device.session_present());
    device.disconnect();
}

TEST_CASE("mosquitto: messages larger than both buffers, both ways") {
    Mosquitto broker;
    Device device(broker.port, "device", 512, 512, 20);
    device.connect();
    device.subscribe("large", QoS::exactly_once);
    std::string text(3000000, '\0');
    for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 251);
    for (const QoS qos : all_qos) {
        REQUIRE(device.client.begin_publish("large", static_cast<uint32_t>(text.size()), qos).ok());
        size_t at = 0;
        REQUIRE(device.until([&] {
            if (at == text.size()) return !device.messages.empty();
            const mqtt::Written written = device.client.write_payload(std::string_view(text).substr(at));
            CHECK(written.error == mqtt::Error::ok);
            at += written.size;
            return false;
        }));
        CHECK(device.messages[0].payload == text);
        CHECK(device.messages[0].qos == qos);
        device.messages.clear();
        if (qos != QoS::at_most_once) REQUIRE(device.until([&] { return device.counts[Event::acknowledged] == static_cast<int>(qos); }));
    }
    device.disconnect();
    CHECK(device.ended.size() == 1);
}

TEST_CASE("mosquitto: refused credentials are told with their reason [MQTT-3.2.2-5]") {
    test::TemporaryFolder folder;
    Mosquitto broker("allow_anonymous false\npassword_file " + folder.write("passwords", "") + "\n");
    Device device(broker.port, "device");
    device.options.user_name = "nobody";
    device.options.password = "wrong";
    REQUIRE(device.client.connect(device.options).ok());
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == mqtt::Error::connection_refused);
    CHECK(device.last[Event::disconnected].reason == mqtt::ReasonCode::not_authorized);
}

TEST_CASE("mosquitto: 200,000 messages at QoS 0, in order, none lost, none twice") {
    Mosquitto broker;
    flood(broker.port, QoS::at_most_once, 200000);
}

TEST_CASE("mosquitto: 50,000 messages at QoS 1, 100 in flight, in order, none lost, none twice") {
    Mosquitto broker("max_inflight_messages 0\n");
    flood(broker.port, QoS::at_least_once, 50000);
}

TEST_CASE("mosquitto: 50,000 messages at QoS 2, 100 in flight, in order, none lost, none twice") {
    Mosquitto broker("max_inflight_messages 100\n");
    flood(broker.port, QoS::exactly_once, 50000);
}
