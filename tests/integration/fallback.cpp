// Version::v5_or_v3_1_1 over real TCP, against brokers that know 3.1.1 only and against those that know both.
#include <doctest/doctest.h>

#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "mqtt.hpp"
#include "platform/posix.hpp"
#include "tests/support/brokers.hpp"
#include "tests/support/device.hpp"
#include "tests/support/testing.hpp"

using mqtt::Error;
using mqtt::Event;
using mqtt::PacketType;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::Retain;
using mqtt::Version;
using test::Aedes;
using test::Ejabberd;
using test::Nats;
using test::RabbitMq;
using test::running;

namespace prop = mqtt::prop;

namespace {

struct Mosquitto : test::Mosquitto {
    static constexpr int highest_qos = 2;
    static std::string missing() { return {}; }
    static std::string user(const std::string&) { return {}; }
};

}  // namespace

TYPE_TO_STRING(Aedes);
TYPE_TO_STRING(Ejabberd);
TYPE_TO_STRING(Mosquitto);
TYPE_TO_STRING(Nats);
TYPE_TO_STRING(RabbitMq);

namespace {

struct Device : test::Device<test::Tap<mqtt::posix::Tcp>> {
    template <class Broker>
    explicit Device(Broker& broker, const std::string& id, Version version = Version::v5_or_v3_1_1)
        : test::Device<test::Tap<mqtt::posix::Tcp>>(broker.port, id) {
        options.version = version;
        options.session_expiry_interval = 300;
        log_in(broker.user(id));
    }
    // The protocol levels of all CONNECT packets so far.
    std::string levels() const {
        std::string text;
        for (const std::string& connect : port.from_client(PacketType::connect)) text += static_cast<char>('0' + connect[8]);
        return text;
    }
};

const auto properties = PropertyBuffer<64>().add(prop::message_expiry_interval, 1000).add(prop::content_type, "text/plain")
                            .add(prop::user_property, {"unit", "degrees"});

// Queues a message of each QoS that the broker has, all with properties.
template <class Broker> void queue(Device& device, std::string_view topic) {
    for (int qos = 0; qos <= Broker::highest_qos; ++qos)
        REQUIRE(device.client.publish(topic, std::to_string(qos), static_cast<QoS>(qos), Retain::no, properties).ok());
}

}  // namespace

// aedes 0.51.3 and NATS 2.9.10 answer the CONNECT of version 5 in the form of 3.1.1, with return code 1. RabbitMQ 3.10.8
// just closes the connection: it is asked for 5 each time, for it may have been the network.
TEST_CASE_TEMPLATE("a broker that knows 3.1.1 only is asked for that at once, and if it says so, at all further connections",
                   Broker, Aedes, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "fallback"), listener(running<Broker>(), "fallback-listener", Version::v3_1_1);
    listener.connect();
    listener.subscribe("fallback/+");
    REQUIRE(device.client.connect(device.options).ok());
    queue<Broker>(device, "fallback/queued");
    mqtt::Subscription own;
    own.filter = "own";
    own.qos = QoS::at_least_once;
    own.no_local = true;   // 3.1.1 has no such thing
    REQUIRE(device.client.subscribe(&own, 1, PropertyBuffer<5>().add(prop::subscription_identifier, 7)).ok());
    REQUIRE(device.until(Event::connected));
    CHECK(device.client.version() == Version::v3_1_1);
    CHECK(device.levels() == "54");
    CHECK(device.ended.empty());
    CHECK(!device.session_present());
    CHECK(device.last[Event::connected].properties.empty());
    REQUIRE(device.until(Event::subscribed));
    CHECK(device.codes[Event::subscribed] == "\x01");
    REQUIRE(device.until([&] { return device.client.unacknowledged() == 0; }));
    queue<Broker>(device, "fallback/connected");
    device.publish("own", "mine", QoS::at_least_once, Retain::no, properties);
    CHECK(device.next().payload == "mine");
    REQUIRE(device.until([&] { return device.client.unacknowledged() == 0; }));   // aedes does not answer PUBREL twice

    device.cut();
    queue<Broker>(device, "fallback/later");
    REQUIRE(device.until(Event::connected));
    CHECK(device.client.version() == Version::v3_1_1);
    const std::string again = std::is_same_v<Broker, RabbitMq> ? "54" : "4";
    CHECK(device.levels() == "54" + again);
    CHECK(device.session_present());
    REQUIRE(device.until([&] { return device.client.unacknowledged() == 0; }));

    const size_t each = Broker::highest_qos + 1;
    std::multiset<std::string> came, expected;   // brokers may let one QoS overtake another
    REQUIRE(listener.until([&] { return listener.messages.size() >= 3 * each; }));
    for (const auto& message : listener.messages) came.insert(message.topic + " " + message.payload);
    for (const char* topic : {"fallback/queued ", "fallback/connected ", "fallback/later "})
        for (int qos = 0; qos <= Broker::highest_qos; ++qos) expected.insert(topic + std::to_string(qos));
    CHECK(came == expected);
    for (const std::string& packet : device.port.from_client(PacketType::publish))
        CHECK(packet.find("text/plain") == std::string::npos);

    // disconnect() ends that: the next connect() may be after an update of the broker.
    device.disconnect();
    device.connect();
    CHECK(device.client.version() == Version::v3_1_1);
    CHECK(device.levels() == "54" + again + "54");
    device.disconnect();
    listener.disconnect();
    CHECK(device.ended == std::vector<Error>{Error::connection_lost, Error::ok, Error::ok});
    CHECK(device.counts[Event::dropped] == 0);
}

TEST_CASE_TEMPLATE("a broker that knows both stays with 5, and what was queued before the first connection has its properties",
                   Broker, Ejabberd, Mosquitto) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "stays"), listener(running<Broker>(), "stays-listener");
    listener.connect();
    listener.subscribe("stays");
    REQUIRE(device.client.connect(device.options).ok());
    queue<Broker>(device, "stays");
    REQUIRE(device.until(Event::connected));
    CHECK(device.client.version() == Version::v5);
    CHECK(!device.properties(Event::connected).empty());
    device.cut();
    REQUIRE(device.until(Event::connected));
    CHECK(device.client.version() == Version::v5);
    CHECK(device.session_present());
    CHECK(device.levels() == "55");
    REQUIRE(device.until([&] { return device.client.unacknowledged() == 0; }));
    for (int qos = 0; qos <= 2; ++qos) {
        const auto message = listener.next();
        CHECK(message.payload == std::to_string(qos));
        CHECK(message.properties().get(prop::content_type).value_or("") == "text/plain");
        CHECK(message.properties().get(prop::user_property).value_or({}).value == "degrees");
        CHECK(message.properties().get(prop::message_expiry_interval).value_or(0) > 900);
    }
    device.disconnect();
    listener.disconnect();
    CHECK(device.ended == std::vector<Error>{Error::connection_lost, Error::ok});
}

TEST_CASE_TEMPLATE("with version 5 alone, a broker that does not know it is told as such, and asked for nothing else", Broker,
                   Aedes, Nats, RabbitMq) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "alone", Version::v5);
    REQUIRE(device.client.connect(device.options).ok());
    for (int attempt = 0; attempt < 2; ++attempt) {
        REQUIRE(device.until(Event::disconnected));
        if (std::is_same_v<Broker, RabbitMq>) {
            CHECK(device.ended.back() == Error::connection_lost);
        } else {
            CHECK(device.ended.back() == Error::connection_refused);
            CHECK(device.last[Event::disconnected].reason == mqtt::ReasonCode::unsupported_protocol_version);
        }
    }
    CHECK(device.levels() == "55");
    CHECK(device.counts[Event::connected] == 0);
    REQUIRE(device.client.abort().ok());
    REQUIRE(device.until(Event::disconnected));
}

TEST_CASE("a broker that is not there is no reason to fall back") {
    Mosquitto both;
    Device device(both, "device");
    both.process.stop();
    REQUIRE(device.client.connect(device.options).ok());
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == Error::connect_failed);
    REQUIRE(both.start());
    REQUIRE(device.until(Event::connected));
    CHECK(device.client.version() == Version::v5);
    CHECK(device.levels() == "5");
    device.disconnect();
}

TEST_CASE("a broker that has refused 5 is not asked for it again when it was stopped and started") {
    if (!Nats::missing().empty()) SKIP_TEST(Nats::missing());
    Nats broker;
    Device device(broker, "device");
    device.connect();
    CHECK(device.levels() == "54");
    broker.process.stop();
    REQUIRE(device.until([&] { return device.last[Event::disconnected].error == Error::connect_failed; }));
    broker.start();
    REQUIRE(device.until(Event::connected));
    CHECK(device.client.version() == Version::v3_1_1);
    CHECK(device.levels() == "544");
    device.disconnect();
}
