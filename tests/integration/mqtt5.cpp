// The client with MQTT 5, over real TCP, against the brokers that have it: mosquitto 2.0.11 and ejabberd 23.01 (mod_mqtt).
#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "mqtt.hpp"
#include "platform/posix.hpp"
#include "platform/websocket.hpp"
#include "tests/support/brokers.hpp"
#include "tests/support/device.hpp"
#include "tests/support/testing.hpp"

using mqtt::Error;
using mqtt::Event;
using mqtt::PacketType;
using mqtt::Properties;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Result;
using mqtt::Retain;
using mqtt::RetainHandling;
using mqtt::Subscription;
using mqtt::posix::Tcp;
using test::all_qos;
using test::Ejabberd;
using test::eventually;
using test::running;

namespace prop = mqtt::prop;

namespace {

// What Ejabberd says of itself, so that both can be asked.
struct Mosquitto : test::Mosquitto {
    using test::Mosquitto::Mosquitto;
    static std::string missing() { return {}; }
    static std::string user(const std::string&) { return {}; }
};
template <class Broker> constexpr bool is_mosquitto = std::is_same_v<Broker, Mosquitto>;

}  // namespace

TYPE_TO_STRING(Mosquitto);
TYPE_TO_STRING(Ejabberd);

namespace {

template <class Port> struct DeviceOn : test::Device<test::Tap<Port>> {
    template <class Broker>
    explicit DeviceOn(Broker& broker, const std::string& id = "device", size_t rx_size = 4096, size_t tx_size = 65536,
                      uint16_t receive_maximum = 100, uint16_t aliases = 0)
        : test::Device<test::Tap<Port>>(broker.port, id, rx_size, tx_size, receive_maximum, aliases) {
        this->options.version = mqtt::Version::v5;
        this->options.session_expiry_interval = 300;   // the most that ejabberd grants unless told otherwise
        this->log_in(broker.user(id));
    }
};
using Device = DeviceOn<Tcp>;

// All that a message can have. The expiry interval is so long that what brokers take off it can be told from it.
constexpr uint32_t expiry = 100000;
constexpr uint8_t correlation[] = {0x00, 0xFF, 'c'};

template <size_t N> constexpr PropertyBuffer<N> everything(PropertyBuffer<N> buffer = {}) {
    buffer.add(prop::payload_format_indicator, 1).add(prop::message_expiry_interval, expiry);
    buffer.add(prop::content_type, "text/plain").add(prop::response_topic, "answers/here");
    buffer.add(prop::correlation_data, correlation);
    buffer.add(prop::user_property, {"b", "1"}).add(prop::user_property, {"a", "2"});
    return buffer.add(prop::user_property, {"b", "3"}).add(prop::user_property, {"", ""});
}
constexpr auto all_properties = everything(PropertyBuffer<128>());

// Brokers write them in an order of their own, but user properties among each other [5: MQTT-3.3.2-18].
std::string user_properties(Properties list) {
    std::string text;
    for (mqtt::UserProperty pair; list.next(prop::user_property, pair);)
        text += std::string(pair.name) + "=" + std::string(pair.value) + " ";
    return text;
}
void check_everything(Properties p) {
    const mqtt::Property none;
    size_t count = 0;
    for (auto [rest, property] = std::pair(p, none); rest.next(property);) ++count;
    CHECK(count == 9);
    CHECK(p.get(prop::payload_format_indicator).value_or(0) == 1);
    const uint32_t left = p.get(prop::message_expiry_interval).value_or(0);
    CHECK(left <= expiry);
    CHECK(left > expiry - 1000);   // seconds that it may have been on its way
    CHECK(p.get(prop::content_type).value_or("") == "text/plain");
    CHECK(p.get(prop::response_topic).value_or("") == "answers/here");
    CHECK(p.get(prop::correlation_data).value_or({}).text() == mqtt::Bytes(correlation).text());
    CHECK(user_properties(p) == "b=1 a=2 b=3 = ");
}

// Subscribes, and gives what the server granted.
int granted(Device& device, const Subscription& subscription) {
    REQUIRE(device.client.subscribe({subscription}).ok());
    REQUIRE(device.until(Event::subscribed));
    REQUIRE(device.codes[Event::subscribed].size() == 1);
    return static_cast<uint8_t>(device.codes[Event::subscribed][0]);
}

// Connects, in vain; the server's reason.
ReasonCode refusal(Device& device) {
    device.options.reconnect_max_ms = 0;
    REQUIRE(device.client.connect(device.options).ok());
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == Error::connection_refused);
    return device.last[Event::disconnected].reason;
}

// How many QoS 1 and 2 messages of ours were unanswered at once, at most.
template <class Port> int most_in_flight(const test::Tap<Port>& tap) {
    int now = 0, most = 0;
    for (const auto& packet : tap.packets) {
        const bool answered = packet.type() == PacketType::puback || packet.type() == PacketType::pubcomp;
        if (packet.is_ours && packet.type() == PacketType::publish && (packet.bytes[0] & 6) != 0) ++now;
        if (!packet.is_ours && answered) --now;
        if (now > most) most = now;
    }
    return most;
}

}  // namespace

// --------------------------------------------------------------------------------------------------- connecting

// What is not named here is not in it.
TEST_CASE_TEMPLATE("MQTT 5 CONNACK tells what the server allows", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "connack");
    device.options.session_expiry_interval = 1000;
    device.connect();
    CHECK(device.client.version() == mqtt::Version::v5);
    CHECK(!device.session_present());
    Properties connack = device.properties(Event::connected);
    if (is_mosquitto<Broker>) {
        CHECK(connack.get(prop::topic_alias_maximum).value_or(0) == 10);   // max_topic_alias
        CHECK(connack.get(prop::receive_maximum).value_or(0) == 20);       // max_inflight_messages
        CHECK(connack.block().size() == 3 + 3);
    } else {
        CHECK(connack.get(prop::topic_alias_maximum).value_or(0) == 100);
        CHECK(connack.get(prop::shared_subscription_available).value_or(1) == 0);
        CHECK(connack.get(prop::session_expiry_interval).value_or(0) == 300);   // session_expiry: 5 minutes
        CHECK(connack.get(prop::server_keep_alive).value_or(0) == 60);          // as it was asked for
        CHECK(connack.block().size() == 3 + 2 + 5 + 3);
    }
    device.disconnect();
    CHECK(device.counts[Event::connected] == 1);
}

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.2.2-16] [MQTT-3.1.3-7] the client identifier that the server assigns is that of all "
                   "further connections, with its session", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "assigned"), other(running<Broker>(), "assigned-other");
    device.options.client_id = {};
    device.connect();
    const std::string id(device.properties(Event::connected).get(prop::assigned_client_identifier).value_or(""));
    REQUIRE(!id.empty());
    device.subscribe("assigned");
    device.cut();
    other.connect();
    other.publish("assigned", "while it was away", QoS::at_least_once);
    other.disconnect();
    REQUIRE(device.until(Event::connected));
    CHECK(device.session_present());
    CHECK(!device.properties(Event::connected).get(prop::assigned_client_identifier));
    CHECK(device.next().payload == "while it was away");
    const auto connects = device.port.from_client(PacketType::connect);
    REQUIRE(connects.size() == 2);
    CHECK(connects[0].find(id) == std::string::npos);
    CHECK(connects[1].find(id) != std::string::npos);
    device.disconnect();
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-7] mosquitto: refused credentials, and an authentication method, are told with their "
          "reason") {
    test::TemporaryFolder folder;
    Mosquitto broker("allow_anonymous false\npassword_file " + folder.write("passwords", "") + "\n");
    Device device(broker);
    CHECK(refusal(device) == ReasonCode::not_authorized);
    device.log_in("nobody");
    CHECK(refusal(device) == ReasonCode::not_authorized);   // not 0x86, bad user name or password
    PropertyBuffer<32> method;
    method.add(prop::authentication_method, "SCRAM-SHA-1");
    device.options.properties = method;
    CHECK(refusal(device) == ReasonCode::bad_authentication_method);
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-7] ejabberd: refused credentials, and an authentication method, are told with their "
          "reason") {
    if (!Ejabberd::missing().empty()) SKIP_TEST(Ejabberd::missing());
    Device device(running<Ejabberd>(), "refused");
    device.options.user_name = {};
    device.options.password = {};
    CHECK(refusal(device) == ReasonCode::not_authorized);
    device.log_in("refused@elsewhere");
    CHECK(refusal(device) == ReasonCode::server_unavailable);
    device.log_in("refused@localhost");
    PropertyBuffer<32> method;
    method.add(prop::authentication_method, "SCRAM-SHA-1");
    device.options.properties = method;
    CHECK(refusal(device) == ReasonCode::bad_authentication_method);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-21] [MQTT-3.2.2-21] mosquitto: the keep alive is the server's") {
    Mosquitto broker("max_keepalive 10\n");
    Device device(broker);
    device.options.keep_alive = 600;
    device.connect();
    CHECK(device.properties(Event::connected).get(prop::server_keep_alive).value_or(0) == 10);
    REQUIRE(eventually([&] { return device.step().kind == Event::none; }));
    const uint32_t idle_ms = device.client.idle_ms();
    CHECK(idle_ms > 0);
    CHECK(idle_ms <= 8750);
    CHECK(device.counts[Event::pingresp] == 0);
    device.port.ahead_ms += 8750;
    CHECK(device.until(Event::pingresp));
    CHECK(device.port.from_client(PacketType::pingreq).size() == 1);
    device.disconnect();
}

TEST_CASE_TEMPLATE("MQTT 5 a second client with the same id takes the session over", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device first(running<Broker>(), "taken-over"), second(running<Broker>(), "taken-over");
    first.options.reconnect_max_ms = 0;
    second.options.adopt_session = true;
    first.connect();
    first.subscribe("taken-over");
    second.connect();
    CHECK(second.session_present());
    REQUIRE(first.until(Event::disconnected));
    if (is_mosquitto<Broker>) {   // just closes, though [5: MQTT-3.1.4-3] says otherwise
        CHECK(first.ended.back() == Error::connection_lost);
    } else {
        CHECK(first.ended.back() == Error::server_disconnected);
        CHECK(first.last[Event::disconnected].reason == ReasonCode::session_taken_over);
        CHECK(first.properties(Event::disconnected).get(prop::reason_string).value_or("") ==
              "Resumed by another connection");
    }
    second.publish("taken-over", "mine", QoS::exactly_once);
    CHECK(second.next().payload == "mine");
    second.disconnect();
}

// ----------------------------------------------------------------------------------------------------- messages

TEST_CASE_TEMPLATE("MQTT 5 messages of each QoS arrive with all their properties, user properties in their order "
                   "[MQTT-3.3.2-18]", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "properties");
    device.connect();
    device.subscribe("properties/#");
    for (const QoS qos : all_qos) {
        CAPTURE(static_cast<int>(qos));
        CHECK(device.publish("properties/a", "hello", qos, Retain::no, all_properties) == ReasonCode::success);
        const auto message = device.next();
        CHECK(message.topic == "properties/a");
        CHECK(message.payload == "hello");
        CHECK(message.qos == qos);
        CHECK(!message.retain);
        check_everything(message.properties());
        device.publish("properties/a", "without", qos);
        CHECK(device.next().properties().empty());
    }
    device.disconnect();
    CHECK(device.ended.size() == 1);
    CHECK(device.messages.empty());
}

TEST_CASE_TEMPLATE("MQTT 5 messages larger than both buffers come in pieces, each with the properties", Broker,
                   Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "large", 512, 512, 20);
    device.connect();
    device.subscribe("large");
    std::string text(1000000, '\0');   // text, as the payload format indicator says
    for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>('!' + (i * 7 + i / 251) % 90);
    for (const QoS qos : all_qos) {
        CAPTURE(static_cast<int>(qos));
        REQUIRE(device.client.begin_publish("large", static_cast<uint32_t>(text.size()), qos, Retain::no,
                                            all_properties).ok());
        size_t at = 0, pieces = 0, complete = 0;
        REQUIRE(eventually([&] {
            if (at != text.size()) {
                const mqtt::Written written = device.client.write_payload(std::string_view(text).substr(at));
                CHECK(written.error == Error::ok);
                at += written.size;
            }
            const Event event = device.step();
            if (event.kind == Event::received) {
                ++pieces;
                const std::string_view block = event.message.properties.block().text();
                complete += user_properties(event.message.properties) == "b=1 a=2 b=3 = " &&
                            block.size() == all_properties.size();
            }
            return !device.messages.empty();
        }));
        const auto message = device.next();
        CHECK(message.payload == text);
        CHECK(message.qos == qos);
        CHECK(pieces > 1000);
        CHECK(complete == pieces);
        check_everything(message.properties());
        REQUIRE(device.until([&] { return device.counts[Event::acknowledged] == static_cast<int>(qos); }));
    }
    device.disconnect();
    CHECK(device.ended.size() == 1);
}

TEST_CASE("MQTT 5 ejabberd: a payload that is no text, though its indicator says so, ends the connection with the reason") {
    if (!Ejabberd::missing().empty()) SKIP_TEST(Ejabberd::missing());
    Device device(running<Ejabberd>(), "no-text");
    device.connect();
    REQUIRE(device.client.publish("no-text", "\xFF", QoS::at_most_once, Retain::no, all_properties).ok());
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == Error::server_disconnected);
    CHECK(device.last[Event::disconnected].reason == ReasonCode::payload_format_invalid);
    CHECK(device.properties(Event::disconnected).get(prop::reason_string).value_or("") ==
          "PUBLISH payload format doesn't match its indicator");
    REQUIRE(device.until(Event::connected));
    device.disconnect();
}

// mosquitto 2.0.11 says it for QoS 1 only.
TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.4.2-1] [MQTT-3.5.2-1] that nobody has subscribed is told with the answer", Broker,
                   Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "nobody");
    device.connect();
    CHECK(device.publish("nobody/listens", "x", QoS::at_least_once) == ReasonCode::no_matching_subscribers);
    device.publish("nobody/listens", "x", QoS::exactly_once);
    CHECK(device.last[Event::pubrec].reason ==
          (is_mosquitto<Broker> ? ReasonCode::success : ReasonCode::no_matching_subscribers));
    device.subscribe("nobody/listens");
    CHECK(device.publish("nobody/listens", "x", QoS::at_least_once) == ReasonCode::success);
    device.publish("nobody/listens", "x", QoS::exactly_once);
    CHECK(device.last[Event::pubrec].reason == ReasonCode::success);
    device.disconnect();
}

// Neither broker uses aliases towards us (the receiver allows some).
TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.3.2-7] [MQTT-3.3.2-9] [MQTT-3.2.2-17] topics are left out where an alias says them, "
                   "on each connection anew", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device sender(running<Broker>(), "alias-sender", 4096, 65536, 100, 50);
    Device receiver(running<Broker>(), "alias-receiver", 4096, 65536, 100, 50);
    sender.connect();
    receiver.connect();
    receiver.subscribe("alias/+");
    std::string expected, came;
    // Topics sent so far on this connection: with their name, without it.
    const auto is_named = [](const std::string& packet) { return packet.find("alias/") != std::string::npos; };
    for (int i = 0; i < 60; ++i) {   // each topic three times in a row; there are more than mosquitto's 10 aliases
        const std::string topic = "alias/" + std::to_string(i / 3), text = std::to_string(i);
        REQUIRE(sender.client.publish(topic, text, QoS::at_most_once, Retain::no, all_properties).ok());
        expected += topic + " " + text + "\n";
    }
    REQUIRE(sender.client.publish("alias/19", "QoS 1", QoS::at_least_once).ok());
    REQUIRE(sender.until(Event::acknowledged));
    expected += "alias/19 QoS 1\n";
    auto packets = sender.port.from_client(PacketType::publish);
    REQUIRE(packets.size() == 61);
    for (size_t i = 0; i < 60; ++i) CHECK_MESSAGE(is_named(packets[i]) == (i % 3 == 0), i);
    CHECK(is_named(packets[60]));

    sender.cut();
    REQUIRE(sender.until(Event::connected));
    for (const char* text : {"again", "and again"}) {
        REQUIRE(sender.client.publish("alias/19", text).ok());
        expected += "alias/19 " + std::string(text) + "\n";
    }
    sender.disconnect();
    packets = sender.port.from_client(PacketType::publish);
    REQUIRE(packets.size() == 63);
    CHECK(is_named(packets[61]));
    CHECK(!is_named(packets[62]));
    REQUIRE(receiver.until([&] { return receiver.messages.size() >= 63; }));
    receiver.disconnect();
    for (const auto& message : receiver.messages) came += message.topic + " " + message.payload + "\n";
    CHECK(came == expected);
    check_everything(receiver.messages[1].properties());
}

// ejabberd has one message in flight at a time, the first one also when the connection has just ended, and sends that
// one again as it was. mosquitto sends a message also in the very second in which its time is over.
TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.3.2-5] [MQTT-3.3.2-6] a message that expires at the broker does not come, and one "
                   "that does has less time left", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "expiry"), other(running<Broker>(), "expiry-other");
    device.connect();
    device.subscribe("expiry/message");
    device.cut();
    other.connect();
    PropertyBuffer<8> soon, later, late;
    soon.add(prop::message_expiry_interval, 1);
    later.add(prop::message_expiry_interval, 2);
    late.add(prop::message_expiry_interval, 1000);
    other.publish("expiry/message", "first", QoS::at_least_once);
    other.publish("expiry/message", "soon", QoS::at_least_once, Retain::no, soon);
    other.publish("expiry/message", "late", QoS::at_least_once, Retain::no, late);
    // The broker's clock: a retained message that expires a second later, until it is gone.
    other.publish("expiry/clock", "x", QoS::at_least_once, Retain::yes, later);
    REQUIRE(eventually([&] {
        other.messages.clear();
        other.subscribe("expiry/clock", QoS::at_most_once);
        REQUIRE(other.client.unsubscribe("expiry/clock").ok());
        REQUIRE(other.until(Event::unsubscribed));
        return other.messages.empty() || test::pause();
    }));
    REQUIRE(device.until(Event::connected));
    CHECK(device.session_present());
    other.publish("expiry/message", "last", QoS::at_least_once, Retain::no, late);
    CHECK(device.next().payload == "first");
    const auto message = device.next();
    CHECK(message.payload == "late");
    CHECK(message.properties().get(prop::message_expiry_interval).value_or(0) < 1000);
    CHECK(message.properties().get(prop::message_expiry_interval).value_or(0) > 900);
    CHECK(device.next().payload == "last");
    other.disconnect();
    device.disconnect();
}

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-4.4.0-2] a message that the application refuses does not come again", Broker, Mosquitto,
                   Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    // With a receive maximum of 1, so that there is room for another only if the one that was refused is forgotten.
    Device device(running<Broker>(), "refusing", 4096, 65536, 1), other(running<Broker>(), "refusing-other");
    device.options.manual_ack = true;
    device.connect();
    device.subscribe("refusing");
    other.connect();
    for (const QoS qos : {QoS::at_least_once, QoS::exactly_once}) {
        CAPTURE(static_cast<int>(qos));
        other.publish("refusing", "not wanted", qos);
        CHECK(device.next().payload == "not wanted");
        REQUIRE(device.client.acknowledge(device.last[Event::received].packet_id, ReasonCode::payload_format_invalid).ok());
        REQUIRE(device.until([&] {
            const auto answers = device.port.from_client(qos == QoS::at_least_once ? PacketType::puback : PacketType::pubrec);
            return !answers.empty() && answers.back().back() == '\x99';
        }));
        device.cut();
        device.unreleased.clear();   // what was refused is not released
        other.publish("refusing", "wanted", qos);
        REQUIRE(device.until(Event::connected));
        CHECK(device.session_present());
        CHECK(device.next().payload == "wanted");
        REQUIRE(device.client.acknowledge(device.last[Event::received].packet_id).ok());
        if (qos == QoS::exactly_once) REQUIRE(device.until(Event::pubrel));
    }
    device.disconnect();
    other.disconnect();
    CHECK(device.messages.empty());
}

// ------------------------------------------------------------------------------------------------ subscriptions

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.3.4-4] [MQTT-3.3.4-5] messages come with the identifiers of their subscriptions", Broker,
                   Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "identifiers");
    device.connect();
    const auto subscribe = [&](std::string_view filter, uint32_t identifier) {
        PropertyBuffer<5> properties;
        properties.add(prop::subscription_identifier, identifier);
        REQUIRE(device.client.subscribe(filter, QoS::at_least_once, properties).ok());
        REQUIRE(device.until(Event::subscribed));
    };
    subscribe("identifiers/#", 268435455);
    subscribe("identifiers/b", 1);
    device.subscribe("identifiers/none/#");
    std::multiset<uint32_t> identifiers;
    const auto take = [&] {
        const auto message = device.next();
        CHECK(message.payload == "x");
        Properties rest = message.properties();
        for (uint32_t identifier; rest.next(prop::subscription_identifier, identifier);) identifiers.insert(identifier);
    };
    device.publish("identifiers/a", "x", QoS::at_least_once);
    take();
    CHECK(identifiers == std::multiset<uint32_t>{268435455});
    identifiers.clear();
    device.publish("identifiers/b", "x", QoS::at_least_once);   // both send a copy for each subscription
    take();
    take();
    CHECK(identifiers == std::multiset<uint32_t>{1, 268435455});
    device.disconnect();
    CHECK(device.messages.empty());
}

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.8.3-3] [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.3.1-12] [MQTT-3.3.1-13] "
                   "subscription options: no local, retain as published, retain handling", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "options"), other(running<Broker>(), "options-other");
    device.connect();
    other.connect();
    device.subscribe("options/end");
    Subscription s;
    s.filter = "options/kept";
    s.qos = QoS::at_least_once;
    // What came since, until a message that is known to come.
    const auto came = [&] {
        other.publish("options/end", "", QoS::at_least_once);
        std::string text;
        for (auto message = device.next(); message.topic != "options/end"; message = device.next())
            text += message.payload + (message.retain ? " retained " : " ");
        return text;
    };
    const auto subscribe = [&](RetainHandling handling) {
        s.retain_handling = handling;
        CHECK(granted(device, s) == 1);
        return came();
    };
    const auto unsubscribe = [&] {
        REQUIRE(device.client.unsubscribe("options/kept").ok());
        REQUIRE(device.until(Event::unsubscribed));
    };
    other.publish("options/kept", "old", QoS::at_least_once, Retain::yes);
    CHECK(subscribe(RetainHandling::do_not_send) == "");
    CHECK(subscribe(RetainHandling::send) == "old retained ");
    CHECK(subscribe(RetainHandling::send_if_new) == "");
    unsubscribe();
    CHECK(subscribe(RetainHandling::send_if_new) == "old retained ");

    other.publish("options/kept", "new", QoS::at_least_once, Retain::yes);
    CHECK(came() == "new ");
    unsubscribe();   // for mosquitto 2.0.11 takes only the QoS and the identifier of what replaces a subscription
    s.retain_as_published = true;
    CHECK(subscribe(RetainHandling::do_not_send) == "");
    other.publish("options/kept", "new", QoS::at_least_once, Retain::yes);
    other.publish("options/kept", "not kept", QoS::at_least_once);
    CHECK(came() == "new retained not kept ");

    device.publish("options/kept", "mine", QoS::at_least_once);
    CHECK(came() == "mine ");
    unsubscribe();
    s.no_local = true;
    CHECK(subscribe(RetainHandling::do_not_send) == "");
    device.publish("options/kept", "mine", QoS::at_least_once);
    other.publish("options/kept", "another's", QoS::at_least_once);
    CHECK(came() == "another's ");
    device.disconnect();
    other.disconnect();
}

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.11.3-1] UNSUBACK has a reason for each filter", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "unsubscribing");
    device.connect();
    device.subscribe("unsubscribing/a");
    REQUIRE(device.client.unsubscribe({"unsubscribing/a", "unsubscribing/b"}).ok());
    REQUIRE(device.until(Event::unsubscribed));
    CHECK(device.codes[Event::unsubscribed] == (is_mosquitto<Broker> ? std::string("\0\x11", 2) : std::string(2, '\0')));
    device.disconnect();
}

TEST_CASE("MQTT 5 [MQTT-4.8.2-1] mosquitto: a shared subscription gives each message to one of its members") {
    Mosquitto broker;
    Device publisher(broker, "publisher"), a(broker, "a"), b(broker, "b");
    for (Device* member : {&a, &b}) {
        member->connect();
        member->subscribe("$share/members/shared/+");
    }
    publisher.connect();
    std::multiset<std::string> expected, came;
    for (int i = 0; i < 20; ++i) {
        publisher.publish("shared/x", std::to_string(i), i % 2 != 0 ? QoS::exactly_once : QoS::at_least_once);
        expected.insert(std::to_string(i));
    }
    REQUIRE(eventually([&] { return a.step(), b.step(), a.messages.size() + b.messages.size() >= expected.size(); }));
    for (Device* member : {&a, &b}) {
        CHECK(member->messages.size() == 10);   // in turn
        for (const auto& message : member->messages) came.insert(message.payload);
        member->disconnect();
    }
    CHECK(came == expected);
    publisher.disconnect();
}

TEST_CASE("MQTT 5 ejabberd: a shared subscription is refused, for the server has none") {
    if (!Ejabberd::missing().empty()) SKIP_TEST(Ejabberd::missing());
    Device device(running<Ejabberd>(), "not-shared");
    REQUIRE(device.client.connect(device.options).ok());
    const Result queued = device.client.subscribe("$share/members/t", QoS::at_least_once);
    REQUIRE(queued.ok());
    REQUIRE(device.until(Event::dropped));
    CHECK(device.last[Event::dropped].packet_id == queued.packet_id);
    CHECK(device.last[Event::dropped].error == Error::shared_subscriptions_not_supported);
    CHECK(device.client.subscribe("$share/members/t", QoS::at_least_once).error ==
          Error::shared_subscriptions_not_supported);
    device.disconnect();
    CHECK(device.port.from_client(PacketType::subscribe).empty());
}

// ----------------------------------------------------------------------------------------------------- sessions

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.1.2-23] [MQTT-4.1.0-1] a session goes on after the connection was lost, and ends with "
                   "the expiry interval 0 in DISCONNECT", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "session"), other(running<Broker>(), "session-other");
    device.connect();
    CHECK(!device.session_present());
    device.subscribe("session/+");
    device.cut();
    other.connect();
    std::multiset<std::string> expected, came;
    for (const QoS qos : {QoS::at_least_once, QoS::exactly_once}) {
        const std::string text = std::to_string(static_cast<int>(qos));
        REQUIRE(device.client.publish("session/own", "own " + text, qos, Retain::no, all_properties).ok());
        other.publish("session/other", "other " + text, qos, Retain::no, all_properties);
        expected.insert({"own " + text, "other " + text});
    }
    REQUIRE(device.until(Event::connected));
    CHECK(device.session_present());
    REQUIRE(device.until([&] { return device.messages.size() >= 4 && device.finished.size() == 2; }));
    device.disconnect();
    for (const auto& message : device.messages) {
        CAPTURE(message.payload);
        check_everything(message.properties());
        came.insert(message.payload);
    }
    CHECK(came == expected);

    device.connect();   // DISCONNECT alone does not end it
    CHECK(device.session_present());
    PropertyBuffer<5> at_once;
    at_once.add(prop::session_expiry_interval, 0);
    REQUIRE(device.client.disconnect(ReasonCode::success, at_once).ok());
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == Error::ok);
    device.connect();
    CHECK(!device.session_present());
    device.messages.clear();
    other.publish("session/other", "nobody listens", QoS::at_least_once);
    other.disconnect();
    device.disconnect();
    CHECK(device.messages.empty());
    CHECK(device.counts[Event::dropped] == 0);
}

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.2.2-4] [MQTT-3.1.2-4] a session that the client knows nothing of is ended, or adopted if "
                   "the options say so", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device other(running<Broker>(), "unknown-other");
    other.connect();
    for (const bool adopt : {false, true}) {
        CAPTURE(adopt);
        Device device(running<Broker>(), "unknown"), later(running<Broker>(), "unknown");
        device.options.adopt_session = adopt;   // there may be one from the round before
        device.connect();
        device.subscribe("unknown");
        device.disconnect();
        other.publish("unknown", "while it was away", QoS::at_least_once);
        later.options.adopt_session = adopt;
        later.connect();
        CHECK(later.session_present() == adopt);
        if (adopt) {
            CHECK(later.next().payload == "while it was away");
            CHECK(later.ended.empty());
        } else {
            REQUIRE(later.ended.size() == 1);
            CHECK(later.ended.back() == Error::session_unknown);
            later.subscribe("unknown");
            other.publish("unknown", "end", QoS::at_least_once);
            CHECK(later.next().payload == "end");
        }
        later.disconnect();
    }
    other.disconnect();
}

// When the session ends is seen by the will, which then comes before its delay is over.
TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.2.2-5] [MQTT-4.1.0-2] [MQTT-3.1.2-8] a session that has expired is gone, and what was "
                   "sent in it is told as dropped", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device device(running<Broker>(), "expired"), watcher(running<Broker>(), "expired-watcher");
    watcher.connect();
    watcher.subscribe("expired/will");
    PropertyBuffer<8> delay;
    delay.add(prop::will_delay_interval, 1000);
    device.options.will = {"expired/will", "gone", QoS::at_least_once, Retain::no, delay};
    device.options.session_expiry_interval = 1;
    device.connect();
    const Result sent = device.client.publish("expired/t", "sent", QoS::exactly_once);
    REQUIRE(sent.ok());
    device.client.flush();
    device.cut();
    CHECK(device.finished.empty());
    const Result unsent = device.client.publish("expired/t", "not sent", QoS::exactly_once);
    REQUIRE(unsent.ok());
    CHECK(watcher.next().payload == "gone");
    REQUIRE(device.until(Event::connected));
    CHECK(!device.session_present());
    REQUIRE(device.until(Event::acknowledged));
    CHECK(device.last[Event::acknowledged].packet_id == unsent.packet_id);
    CHECK(device.counts[Event::dropped] == 1);
    CHECK(device.last[Event::dropped].packet_id == sent.packet_id);
    CHECK(device.last[Event::dropped].error == Error::session_lost);
    device.disconnect();
    watcher.disconnect();
}

// -------------------------------------------------------------------------------------------------------- wills

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.1.2-9] [MQTT-3.1.3-10] a will comes with its properties, and after its delay", Broker,
                   Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device watcher(running<Broker>(), "delay-watcher"), delayed(running<Broker>(), "delay-delayed"),
        immediate(running<Broker>(), "delay-immediate");
    watcher.connect();
    watcher.subscribe("delay/+");
    PropertyBuffer<160> properties;
    properties.add(prop::will_delay_interval, 2);
    const auto delay = everything(properties);
    delayed.options.will = {"delay/delayed", "gone", QoS::exactly_once, Retain::no, delay};
    immediate.options.will = {"delay/immediate", "gone", QoS::at_least_once, Retain::no, all_properties};
    delayed.connect();
    immediate.connect();
    // Nobody polls them from here on, so they do not come back.
    ::shutdown(delayed.port.fd(), SHUT_RDWR);
    ::shutdown(immediate.port.fd(), SHUT_RDWR);
    for (const char* topic : {"delay/immediate", "delay/delayed"}) {
        const auto message = watcher.next();
        CHECK(message.topic == topic);
        CHECK(message.payload == "gone");
        check_everything(message.properties());
    }
    watcher.disconnect();
}

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.1.3-9] a client that is back before the delay is over has no will published", Broker,
                   Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device watcher(running<Broker>(), "back-watcher"), back(running<Broker>(), "back-back"),
        gone(running<Broker>(), "back-gone");
    watcher.connect();
    watcher.subscribe("back/+");
    PropertyBuffer<8> delay;
    delay.add(prop::will_delay_interval, 2);
    back.options.will = {"back/back", "gone", QoS::at_least_once, Retain::no, delay};
    gone.options.will = {"back/gone", "gone", QoS::at_least_once, Retain::no, delay};
    back.connect();
    gone.connect();
    back.cut();
    REQUIRE(back.until(Event::connected));
    ::shutdown(gone.port.fd(), SHUT_RDWR);
    CHECK(watcher.next().topic == "back/gone");   // the other one would have been due before
    back.disconnect();
    watcher.disconnect();
    CHECK(watcher.messages.empty());
}

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-3.14.4-3] DISCONNECT with the reason 0x04 publishes the will, a normal one does not", Broker,
                   Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    Device watcher(running<Broker>(), "leaving-watcher"), device(running<Broker>(), "leaving");
    watcher.connect();
    watcher.subscribe("leaving/+");
    device.options.will = {"leaving/will", "gone", QoS::at_least_once, Retain::no, all_properties};
    for (const ReasonCode reason : {ReasonCode::success, ReasonCode::disconnect_with_will_message}) {
        CAPTURE(static_cast<int>(reason));
        device.connect();
        device.publish("leaving/now", "", QoS::at_least_once);
        REQUIRE(device.client.disconnect(reason).ok());
        REQUIRE(device.until(Event::disconnected));
        CHECK(device.ended.back() == Error::ok);
        CHECK(watcher.next().topic == "leaving/now");
        if (reason == ReasonCode::disconnect_with_will_message) {
            const auto message = watcher.next();
            CHECK(message.topic == "leaving/will");
            check_everything(message.properties());
        }
    }
    watcher.publish("leaving/end", "", QoS::at_least_once);
    CHECK(watcher.next().topic == "leaving/end");
    watcher.disconnect();
}

// ------------------------------------------------------------------------------------------- limits of the server

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] mosquitto: a packet above the server's maximum is refused, or dropped if it was queued "
          "before") {
    Mosquitto broker("max_packet_size 200\n");
    Device device(broker);
    // 1 + 2 fixed header, 2 + 1 topic, 2 packet id, 1 properties: 9 bytes besides the payload.
    const std::string fits(191, 'x'), too_long(192, 'x');
    REQUIRE(device.client.connect(device.options).ok());
    const Result queued = device.client.publish("t", too_long, QoS::at_least_once);
    const Result behind = device.client.publish("t", fits, QoS::at_least_once);
    REQUIRE(queued.ok());
    REQUIRE(behind.ok());
    REQUIRE(device.until([&] { return device.finished.size() == 2; }));
    CHECK(device.properties(Event::connected).get(prop::maximum_packet_size).value_or(0) == 200);
    CHECK(device.last[Event::dropped].packet_id == queued.packet_id);
    CHECK(device.last[Event::dropped].error == Error::packet_too_large);
    CHECK(device.last[Event::acknowledged].packet_id == behind.packet_id);
    CHECK(device.client.publish("t", too_long, QoS::at_least_once).error == Error::packet_too_large);
    CHECK(device.client.begin_publish("t", 192, QoS::at_least_once).error == Error::packet_too_large);
    CHECK(device.client.subscribe(std::string(200, 'f'), QoS::at_least_once).error == Error::packet_too_large);
    device.publish("t", fits, QoS::at_least_once);
    device.disconnect();
    CHECK(device.ended.size() == 1);
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-11] [MQTT-3.2.2-14] mosquitto: what is above the server's maximum QoS, and what is to be "
          "retained where nothing is, is refused, or dropped if it was queued before") {
    Mosquitto broker("max_qos 1\nretain_available false\n");
    Device device(broker);
    device.options.reconnect_max_ms = 0;
    device.options.will = {"will", "gone", QoS::at_least_once, Retain::yes};
    CHECK(refusal(device) == ReasonCode::retain_not_supported);
    device.options.will = {"will", "gone", QoS::exactly_once, Retain::no};
    CHECK(refusal(device) == ReasonCode::qos_not_supported);
    device.options.will = {};
    REQUIRE(device.client.connect(device.options).ok());
    const Result twice = device.client.publish("t", "x", QoS::exactly_once);
    const Result kept = device.client.publish("t", "x", QoS::at_least_once, Retain::yes);
    REQUIRE(twice.ok());
    REQUIRE(kept.ok());
    REQUIRE(device.until(Event::dropped));
    CHECK(device.last[Event::dropped].packet_id == twice.packet_id);
    CHECK(device.last[Event::dropped].error == Error::qos_not_supported);
    REQUIRE(device.until(Event::dropped));
    CHECK(device.last[Event::dropped].packet_id == kept.packet_id);
    CHECK(device.last[Event::dropped].error == Error::retain_not_supported);
    CHECK(device.client.publish("t", "x", QoS::exactly_once).error == Error::qos_not_supported);
    CHECK(device.client.publish("t", "x", QoS::at_most_once, Retain::yes).error == Error::retain_not_supported);
    device.subscribe("t", QoS::exactly_once);   // granted is what there is [5: MQTT-3.2.2-10]
    CHECK(device.codes[Event::subscribed] == "\x01");
    device.publish("t", "x", QoS::at_least_once);
    CHECK(device.next().qos == QoS::at_least_once);
    device.disconnect();
    CHECK(device.port.from_client(PacketType::publish).size() == 1);
}

TEST_CASE("MQTT 5 mosquitto: a publish that the access list forbids is told with its reason, and the connection goes on") {
    test::TemporaryFolder folder;
    // With max_queued_messages 0, mosquitto 2.0.11 closes the connection at the publish that follows a forbidden one.
    Mosquitto broker("acl_file " + folder.write("access", "topic readwrite allowed\ntopic read forbidden\n") +
                     "\nmax_queued_messages 1000\n");
    Device device(broker);
    device.connect();
    device.subscribe("#");   // mosquitto looks at what is sent to a subscriber, not at its filters
    for (const QoS qos : all_qos) {
        CAPTURE(static_cast<int>(qos));
        CHECK(device.publish("forbidden", "x", qos) ==
              (qos == QoS::at_most_once ? ReasonCode::success : ReasonCode::not_authorized));
        CHECK(device.publish("allowed", "x", qos) == ReasonCode::success);
        CHECK(device.next().topic == "allowed");
    }
    CHECK(device.port.from_client(PacketType::pubrel).size() == 1);   // none for what was refused
    CHECK(device.client.unacknowledged() == 0);
    device.disconnect();
    CHECK(device.messages.empty());
    CHECK(device.ended.size() == 1);
}

TEST_CASE("MQTT 5 [MQTT-3.8.4-7] ejabberd: publishes and subscriptions that the access rules forbid are told with their "
          "reason") {
    if (!Ejabberd::missing().empty()) SKIP_TEST(Ejabberd::missing());
    struct Guarded : Ejabberd {
        Guarded() {
            std::ifstream file(folder.path / "ejabberd.yml");
            std::string text{std::istreambuf_iterator<char>(file), {}};
            const std::string plain = "mod_mqtt: {}";
            text.replace(text.find(plain), plain.size(),
                         "mod_mqtt: {access_publish: {\"open\": all}, access_subscribe: {\"open\": all, \"forbidden\": all}}");
            folder.write("ejabberd.yml", text);
            process.stop();
            start();
        }
    } broker;
    Device device(broker);
    device.connect();
    REQUIRE(device.client.subscribe({{"open", QoS::at_least_once}, {"secret", QoS::at_least_once},
                                     {"forbidden", QoS::exactly_once}}).ok());
    REQUIRE(device.until(Event::subscribed));
    CHECK(device.codes[Event::subscribed] == "\x01\x8F\x02");   // topic filter invalid, not 0x87
    CHECK(device.publish("forbidden", "x", QoS::at_least_once) == ReasonCode::topic_name_invalid);
    CHECK(device.publish("forbidden", "x", QoS::exactly_once) == ReasonCode::topic_name_invalid);
    CHECK(device.port.from_client(PacketType::pubrel).empty());
    CHECK(device.publish("open", "x", QoS::at_least_once) == ReasonCode::success);
    CHECK(device.next().topic == "open");
    device.disconnect();
    CHECK(device.messages.empty());
}

// --------------------------------------------------------------------------------------------------------- flow

namespace {

// 200 messages wait when the connection begins, and then as many as the server's Receive Maximum of 20 are in flight.
template <class Port, class Broker> void two_hundred(Broker& broker) {
    DeviceOn<Port> sender(broker, "sender"), receiver(broker, "receiver");
    receiver.connect();
    receiver.subscribe("many/+");
    sender.options.in_flight_maximum = 200;
    REQUIRE(sender.client.connect(sender.options).ok());
    std::string expected[2], came[2];
    for (int i = 0; i < 200; ++i) {
        REQUIRE(sender.client.publish(i % 2 != 0 ? "many/2" : "many/1", std::to_string(i),
                                      i % 2 != 0 ? QoS::exactly_once : QoS::at_least_once, Retain::no, all_properties).ok());
        expected[i % 2] += std::to_string(i) + " ";
    }
    REQUIRE(eventually([&] {
        return sender.step(), receiver.step(), sender.finished.size() == 200 && receiver.messages.size() >= 200;
    }));
    CHECK(most_in_flight(sender.port) == 20);
    for (const auto& finished : sender.finished) CHECK(finished.second == 1);

    size_t accepted = 0;
    Result result;
    while ((result = sender.client.publish("many/1", "more", QoS::at_least_once)).ok()) ++accepted;
    CHECK(result.error == Error::receive_maximum_reached);
    CHECK(accepted == 20);
    REQUIRE(sender.until([&] { return sender.client.unacknowledged() == 0; }));
    for (size_t i = 0; i < accepted; ++i) expected[0] += "more ";
    REQUIRE(receiver.until([&] { return receiver.messages.size() >= 220; }));
    sender.disconnect();
    receiver.disconnect();
    CHECK(sender.ended.size() == 1);
    CHECK(receiver.ended.size() == 1);
    for (const auto& message : receiver.messages) came[message.topic == "many/2"] += message.payload + " ";
    CHECK(came[0] == expected[0]);
    CHECK(came[1] == expected[1]);
    check_everything(receiver.messages[0].properties());
}

}  // namespace

TEST_CASE("MQTT 5 [MQTT-3.3.4-7] [MQTT-4.9.0-1] [MQTT-4.9.0-2] mosquitto: 200 messages keep within the server's receive "
          "maximum") {
    Mosquitto broker;
    two_hundred<Tcp>(broker);
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-7] [MQTT-6.0.0-2] mosquitto: 200 messages keep within the server's receive maximum, over "
          "WebSocket") {
    test::ReservedPort port;
    Mosquitto broker("listener " + port.text() + " 127.0.0.1\nprotocol websockets\n");
    REQUIRE(eventually([&] { return test::accepts(port); }));
    broker.port = port;
    two_hundred<mqtt::WebSocket<Tcp>>(broker);
}

// mosquitto 2.0.11 keeps to it only until something is acknowledged: for each acknowledgement it sends as many of those
// that wait as the whole Receive Maximum. With 1 that comes to the same.
TEST_CASE("MQTT 5 [MQTT-3.3.4-9] [MQTT-3.3.4-10] mosquitto: the server keeps within the client's receive maximum") {
    Mosquitto broker;
    for (const uint16_t maximum : {uint16_t{5}, uint16_t{1}}) {
        CAPTURE(maximum);
        Device device(broker, "device", 4096, 65536, maximum), other(broker, "other");
        device.options.manual_ack = true;
        device.options.clean_session = true;
        device.connect();
        device.subscribe("t");
        other.connect();
        std::string expected, came;
        for (int i = 0; i < 10; ++i)
            other.publish("t", std::to_string(i), i % 2 != 0 ? QoS::exactly_once : QoS::at_least_once);
        other.publish("t", "passes", QoS::at_most_once);
        other.disconnect();
        const auto take = [&] {
            came += device.next().payload + " ";
            return device.last[Event::received].packet_id;
        };
        for (int i = 0; i < maximum; ++i) {
            expected += std::to_string(i) + " ";
            CHECK(take() != 0);
        }
        expected += "passes ";
        CHECK(take() == 0);
        CHECK(came == expected);
        if (maximum == 1) {
            uint16_t open = 1;   // the first packet id
            for (int i = 1; i < 10; ++i) {
                expected += std::to_string(i) + " ";
                CHECK(device.messages.empty());
                REQUIRE(device.client.acknowledge(open).ok());
                open = take();
            }
            CHECK(came == expected);
        }
        device.disconnect();
        CHECK(device.ended.size() == 1);
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-24] [MQTT-3.1.2-25] mosquitto: a message above the client's maximum packet size does not come") {
    Mosquitto broker;
    Device device(broker), other(broker, "other");
    device.options.maximum_packet_size = 100;
    device.connect();
    device.subscribe("t");
    other.connect();
    other.publish("t", std::string(100, 'x'), QoS::at_least_once);
    other.publish("t", "short", QoS::at_least_once);
    CHECK(device.next().payload == "short");
    device.disconnect();
    other.disconnect();
    CHECK(device.ended.size() == 1);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-24] ejabberd: a message above the client's maximum packet size, which it does not keep to, ends "
          "the connection") {
    if (!Ejabberd::missing().empty()) SKIP_TEST(Ejabberd::missing());
    Device device(running<Ejabberd>(), "too-large"), other(running<Ejabberd>(), "too-large-other");
    device.options.maximum_packet_size = 100;
    device.options.clean_session = true;
    device.options.reconnect_max_ms = 0;
    device.connect();
    device.subscribe("too-large");
    other.connect();
    other.publish("too-large", std::string(50, 'x'), QoS::at_least_once);
    CHECK(device.next().payload.size() == 50);
    other.publish("too-large", std::string(100, 'x'), QoS::at_least_once);
    other.disconnect();
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == Error::oversize_packet);
    CHECK(device.last[Event::disconnected].reason == ReasonCode::packet_too_large);
    const auto farewell = device.port.from_client(PacketType::disconnect);
    REQUIRE(farewell.size() == 1);
    CHECK(farewell[0] == "\xE0\x01\x95");
    CHECK(device.messages.empty());
}

TEST_CASE_TEMPLATE("MQTT 5 [MQTT-4.3.3-10] [MQTT-3.3.1-1] [MQTT-4.4.0-1] connections cut at any moment lose nothing, and no "
                   "QoS 2 packet is delivered twice", Broker, Mosquitto, Ejabberd) {
    if (!Broker::missing().empty()) SKIP_TEST(Broker::missing());
    // With a limit, mosquitto 2.0.11 counts what was in flight in a lost connection against the next one.
    std::unique_ptr<Mosquitto> own;
    if constexpr (is_mosquitto<Broker>) own = std::make_unique<Mosquitto>("max_inflight_messages 0\n");
    Broker& broker = [&]() -> Broker& {
        if constexpr (is_mosquitto<Broker>) return *own;
        else return running<Broker>();
    }();
    Device sender(broker, "cut-sender"), receiver(broker, "cut-receiver", 4096, 65536, 1000);
    sender.connect();
    receiver.connect();
    receiver.subscribe("cut/+");
    constexpr size_t count = 300;
    size_t accepted = 0, steps = 0;
    std::set<std::string> expected, came;
    std::map<ReasonCode, int> reasons;
    const bool all = eventually([&] {
        ++steps;
        if (accepted < count) {
            const std::string text = std::to_string(accepted);
            const bool is_odd = accepted % 2 != 0;
            if (sender.client.publish(is_odd ? "cut/2" : "cut/1", text, is_odd ? QoS::exactly_once : QoS::at_least_once,
                                      Retain::no, all_properties).ok()) {
                expected.insert(text);
                ++accepted;
            }
        }
        const Event event = sender.step();
        if (event.kind == Event::acknowledged) ++reasons[event.reason];
        receiver.step();
        // The network fails under the client, at moments that depend on nothing but the count of steps.
        if (accepted < count && steps % 23 == 7) ::shutdown(sender.port.fd(), SHUT_RDWR);
        if (accepted < count && steps % 31 == 11) ::shutdown(receiver.port.fd(), SHUT_RDWR);
        for (const auto& message : receiver.messages) {
            if (came.insert(message.payload).second) check_everything(message.properties());
        }
        receiver.messages.clear();
        return came.size() == count && sender.finished.size() == count;
    });
    CHECK(all);
    CHECK(came == expected);
    CHECK(sender.counts[Event::dropped] == 0);
    CHECK(sender.ended.size() > 2);
    CHECK(receiver.ended.size() > 2);
    for (const auto& finished : sender.finished) CHECK_MESSAGE(finished.second == 1, finished.first);
    // A PUBREL that is sent again may be for an id that ejabberd has finished with; mosquitto does not say so.
    for (const auto& told : reasons) {
        const ReasonCode reason = told.first;
        CAPTURE(told.second);
        const bool is_expected = reason == ReasonCode::success || reason == ReasonCode::packet_identifier_not_found;
        CHECK_MESSAGE(is_expected, std::string(mqtt::to_string(reason)));
    }
}
