// The client over real TCP against brokers other than mosquitto: what is the same with each, and what is not.
#include <doctest/doctest.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "platform/posix.hpp"
#include "tests/support/brokers.hpp"
#include "tests/support/device.hpp"
#include "tests/support/testing.hpp"

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using mqtt::Retain;
using test::Aedes;
using test::Ejabberd;
using test::eventually;
using test::Nats;
using test::RabbitMq;

TYPE_TO_STRING(Aedes);
TYPE_TO_STRING(Ejabberd);
TYPE_TO_STRING(Nats);
TYPE_TO_STRING(RabbitMq);

namespace {

// One for all test cases until the program ends, for some take long to start. So client ids and topics are used once.
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

// Up to what the broker has.
template <class Broker> std::vector<QoS> each_qos() {
    std::vector<QoS> all = {QoS::at_most_once, QoS::at_least_once, QoS::exactly_once};
    all.resize(Broker::highest_qos + 1);
    return all;
}

// A client as this broker wants it.
template <class Broker> struct Device : test::Device<mqtt::posix::Tcp> {
    explicit Device(const std::string& id, size_t rx_size = 4096, size_t tx_size = 65536,
                    uint16_t receive_maximum = 100)
        : test::Device<mqtt::posix::Tcp>(running<Broker>().port, id, rx_size, tx_size, receive_maximum),
          user(Broker::user(id)) {
        if (user.empty()) return;
        options.user_name = user;
        options.password = "any";
    }
    // Publishes, and waits for the answer.
    void publish(std::string_view topic, std::string_view text, QoS qos, Retain retain = Retain::no) {
        const mqtt::Result result = client.publish(topic, text, qos, retain);
        REQUIRE(result.ok());
        if (qos != QoS::at_most_once) REQUIRE(until([&] { return finished[result.packet_id] != 0; }));
        finished.clear();
    }
    // Waits for the next message, and takes it from `messages`.
    Received next() {
        REQUIRE(until([&] { return !messages.empty(); }));
        const Received first = messages.front();
        messages.erase(messages.begin());
        return first;
    }

    std::string user;
};

}  // namespace

// ------------------------------------------------------------------------------------------- the same with each

TEST_CASE_TEMPLATE("messages of each QoS that the broker has go both ways", Broker, Aedes, Ejabberd, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device<Broker> device("both-ways");
    device.connect();
    CHECK(!device.session_present());
    device.subscribe("both/#", QoS::exactly_once);
    for (const QoS qos : each_qos<Broker>()) {
        CAPTURE(static_cast<int>(qos));
        device.publish("both/ways", "hello", qos);
        const auto message = device.next();
        CHECK(message.topic == "both/ways");
        CHECK(message.payload == "hello");
        CHECK(message.qos == qos);
        CHECK(!message.retain);
    }
    REQUIRE(device.client.unsubscribe("both/#").ok());
    CHECK(device.until(Event::unsubscribed));
    device.publish("both/ways", "nobody listens", QoS::at_least_once);
    device.disconnect();
    CHECK(device.messages.empty());
    CHECK(device.ended.size() == 1);
}

TEST_CASE_TEMPLATE("granted QoS and retained messages", Broker, Aedes, Ejabberd, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device<Broker> device("retained"), watcher("retained-watcher");
    device.connect();
    watcher.connect();
    watcher.subscribe("retained/a");
    device.publish("retained/a", "kept", QoS::at_least_once, Retain::yes);
    // aedes 0.51.3 acknowledges before it keeps the message; it passes it on afterwards.
    CHECK(!watcher.next().retain);
    watcher.disconnect();
    REQUIRE(device.client.subscribe({{"retained/a", QoS::at_least_once}, {"retained/x", QoS::at_most_once},
                                     {"retained/y", QoS::exactly_once}}).ok());
    std::string codes;
    REQUIRE(eventually([&] {
        const Event event = device.step();
        if (event.kind == Event::subscribed) codes = std::string(event.reason_codes.text());
        return event.kind == Event::subscribed;
    }));
    CHECK(codes == std::string{1, 0, static_cast<char>(Broker::highest_qos)});
    const auto message = device.next();
    CHECK(message.payload == "kept");
    CHECK(message.retain);
    device.disconnect();
}

TEST_CASE_TEMPLATE("the will is published when the connection is cut, not after a disconnect", Broker,
                   Aedes, Ejabberd, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device<Broker> watcher("will-watcher"), device("will-device");
    watcher.connect();
    watcher.subscribe("will/+");
    for (const QoS qos : each_qos<Broker>()) {
        CAPTURE(static_cast<int>(qos));
        device.options.will = {"will/device", "gone", qos, Retain::no};
        device.connect();
        REQUIRE(device.client.abort().ok());
        REQUIRE(device.until(Event::disconnected));
        const auto message = watcher.next();
        CHECK(message.topic == "will/device");
        CHECK(message.payload == "gone");
        CHECK(message.qos == qos);

        device.connect();
        device.disconnect();
        watcher.publish("will/end", "", QoS::at_least_once);
        CHECK(watcher.next().topic == "will/end");
    }
    watcher.disconnect();
}

TEST_CASE_TEMPLATE("a session goes on after the connection was lost [MQTT-4.4.0-1]", Broker,
                   Aedes, Ejabberd, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device<Broker> device("session"), other("session-other");
    device.connect();
    device.subscribe("session/+");
    ::shutdown(device.port.fd(), SHUT_RDWR);
    REQUIRE(device.until(Event::disconnected));   // and does not reconnect as long as it is not polled
    other.connect();
    std::multiset<std::string> expected, came;
    for (const QoS qos : each_qos<Broker>()) {
        if (qos == QoS::at_most_once) continue;   // what is published to somebody absent at QoS 0, brokers may forget
        const std::string text = std::to_string(static_cast<int>(qos));
        REQUIRE(device.client.publish("session/own", "own " + text, qos).ok());
        other.publish("session/other", "other " + text, qos);
        expected.insert({"own " + text, "other " + text});
    }
    other.disconnect();
    REQUIRE(device.until(Event::connected));
    CHECK(device.session_present());
    REQUIRE(device.until([&] {
        return device.messages.size() >= expected.size() && device.finished.size() == expected.size() / 2;
    }));
    device.disconnect();
    for (const auto& message : device.messages) came.insert(message.payload);
    CHECK(came == expected);
    CHECK(device.counts[Event::dropped] == 0);
}

TEST_CASE_TEMPLATE("a stopped broker is noticed by keep-alive [MQTT-3.12.4-1]", Broker,
                   Aedes, Ejabberd, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device<Broker> device("keep-alive");
    device.options.keep_alive = 1;
    device.options.response_timeout_ms = 500;
    device.connect();
    device.subscribe("alive");   // aedes and RabbitMQ keep no session without a subscription
    REQUIRE(device.until(Event::pingresp));
    running<Broker>().process.signal(SIGSTOP);
    const bool noticed = device.until(Event::disconnected);
    running<Broker>().process.signal(SIGCONT);
    REQUIRE(noticed);
    CHECK(device.ended.back() == Error::response_timeout);
    REQUIRE(device.until(Event::connected));
    CHECK(device.session_present());
    device.disconnect();
}

TEST_CASE_TEMPLATE("1,000 messages, 100 in flight, in order, none lost, none twice", Broker,
                   Aedes, Ejabberd, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    constexpr size_t count = 1000;
    for (const QoS qos : each_qos<Broker>()) {
        if (qos == QoS::at_most_once) continue;   // nothing keeps the sender from being too fast
        CAPTURE(static_cast<int>(qos));
        const std::string topic = "order-" + std::to_string(static_cast<int>(qos));
        // aedes sends whatever it has, with no limit to what is unanswered.
        Device<Broker> sender(topic + "-sender"), receiver(topic + "-receiver", 65536, 65536, count);
        sender.options.in_flight_maximum = 100;
        sender.connect();
        receiver.connect();
        receiver.subscribe(topic, qos);
        size_t sent = 0, acknowledged = 0;
        const bool all = eventually([&] {
            while (sent < count && sender.client.publish(topic, std::to_string(sent), qos).ok()) ++sent;
            for (Event event = sender.client.poll(); event.kind != Event::none; event = sender.client.poll())
                acknowledged += event.kind == Event::acknowledged;
            receiver.step();
            return receiver.messages.size() >= count && acknowledged == count;
        });
        CHECK(all);
        CHECK(sender.ended.empty());
        CHECK(receiver.ended.empty());
        sender.disconnect();
        receiver.disconnect();
        std::string expected, came;
        for (size_t i = 0; i < count; ++i) expected += std::to_string(i) + " ";
        for (const auto& message : receiver.messages) came += message.payload + " ";
        CHECK(came == expected);
    }
}

TEST_CASE_TEMPLATE("connections cut at any moment lose nothing", Broker, Aedes, Ejabberd, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    // aedes 0.51.3 closes the connection at a PUBREL that it has answered before, and so again after each reconnect.
    constexpr bool twice = Broker::highest_qos == 2 && !std::is_same_v<Broker, Aedes>;
    Device<Broker> sender("cut-sender"), receiver("cut-receiver");
    sender.connect();
    sender.subscribe("cut-session");   // aedes and RabbitMQ keep no session without a subscription
    receiver.connect();
    receiver.subscribe("cut/+", QoS::exactly_once);
    constexpr size_t count = 200;
    size_t accepted = 0, steps = 0;
    std::set<std::string> expected, came;
    const bool all = eventually([&] {
        ++steps;
        if (accepted < count) {
            const std::string text = std::to_string(accepted);
            const bool is_odd = accepted % 2 != 0;
            if (sender.client.publish(is_odd ? "cut/odd" : "cut/even", text,
                                      twice && is_odd ? QoS::exactly_once : QoS::at_least_once).ok()) {
                expected.insert(text);
                ++accepted;
            }
        }
        sender.step();
        receiver.step();
        // The network fails under the client, at moments that depend on nothing but the count of steps.
        if (accepted < count && steps % 23 == 7) ::shutdown(sender.port.fd(), SHUT_RDWR);
        if (accepted < count && steps % 31 == 11) ::shutdown(receiver.port.fd(), SHUT_RDWR);
        for (const auto& message : receiver.messages) came.insert(message.payload);
        receiver.messages.clear();
        return came.size() == count && sender.finished.size() == count;
    });
    CHECK(all);
    CHECK(came == expected);
    CHECK(sender.counts[Event::dropped] == 0);
    CHECK(sender.ended.size() > 2);
    CHECK(receiver.ended.size() > 2);
}

TEST_CASE_TEMPLATE("messages larger than both buffers, both ways", Broker, Aedes, Ejabberd, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device<Broker> device("large", 512, 512);
    device.connect();
    device.subscribe("large");
    std::string text(1000000, '\0');   // NATS takes a MiB at most
    for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 251);
    for (const QoS qos : each_qos<Broker>()) {
        CAPTURE(static_cast<int>(qos));
        REQUIRE(device.client.begin_publish("large", static_cast<uint32_t>(text.size()), qos).ok());
        size_t at = 0;
        REQUIRE(device.until([&] {
            if (at == text.size()) return !device.messages.empty();
            const mqtt::Written written = device.client.write_payload(std::string_view(text).substr(at));
            CHECK(written.error == Error::ok);
            at += written.size;
            return false;
        }));
        const auto message = device.next();
        CHECK(message.payload == text);
        CHECK(message.qos == qos);
        REQUIRE(device.until([&] { return device.counts[Event::acknowledged] == static_cast<int>(qos); }));
    }
    device.disconnect();
    CHECK(device.ended.size() == 1);
}

// ---------------------------------------------------------------------------------------- not the same with each

TEST_CASE("ejabberd: no user name is not authorized, one of another host is not served [MQTT-3.2.2-5]") {
    if (!Ejabberd::missing().empty()) SKIP_TEST(Ejabberd::missing());
    const auto refusal = [](std::string_view user, std::string_view password) {
        Device<Ejabberd> device("refused");
        device.options.user_name = user;
        device.options.password = password;
        REQUIRE(device.client.connect(device.options).ok());
        REQUIRE(device.until(Event::disconnected));
        CHECK(device.ended.back() == Error::connection_refused);
        return device.last[Event::disconnected].reason;
    };
    CHECK(refusal({}, {}) == mqtt::ReasonCode::not_authorized);
    CHECK(refusal("refused@elsewhere", "any") == mqtt::ReasonCode::server_unavailable);
}

// A broker without QoS 2 breaks the protocol when it gets such a message, and there is no answer that would end it. A
// clean session is the way out.
TEST_CASE_TEMPLATE("a QoS 2 message to a broker without QoS 2 ends the connection", Broker, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device<Broker> device("no-qos-2");
    device.connect();
    const mqtt::Result result = device.client.publish("no-qos-2", "x", QoS::exactly_once);
    REQUIRE(result.ok());
    REQUIRE(device.until(Event::disconnected));
    // NATS 2.9.10 closes the connection, RabbitMQ 3.10.8 answers PUBACK.
    CHECK(device.ended.back() == (std::is_same_v<Broker, Nats> ? Error::connection_lost : Error::protocol_error));
    REQUIRE(device.client.abort().ok());
    REQUIRE(device.until(Event::disconnected));
    device.options.clean_session = true;
    device.connect();
    CHECK(device.until(Event::dropped));
    CHECK(device.last[Event::dropped].packet_id == result.packet_id);
    device.publish("no-qos-2", "x", QoS::at_least_once);
    device.disconnect();
}
