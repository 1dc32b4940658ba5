// Set A: CONNECT with id, user name, password and will; publish QoS 0, 1 and 2; subscribe QoS 2, unsubscribe; receive QoS
// 0, 1 and 2; ping; disconnect; resend. With MQTT 5, which FOOTPRINT_VERSION chooses, the messages have a user property,
// and a property of those received is read.
#include "application.hpp"

namespace {

uint8_t rx[256], tx[512];
Port port;
library::Client<Port> client(port, {rx, tx});
mqtt::ConnectOptions options;

#ifdef FOOTPRINT_VERSION
void choose_version() { options.version = mqtt::Version::FOOTPRINT_VERSION; }
void publish(mqtt::QoS qos) {
    library::PropertyBuffer<16> properties;
    properties.add(mqtt::prop::user_property, {"unit", "degree"});
    (void)client.publish("room/temperature", board_reading, qos, mqtt::Retain::no, properties);
}
void show_property(const mqtt::Message& message) {
    const library::Properties properties = message.properties;
    if (const auto topic = properties.get(mqtt::prop::response_topic)) board_show(topic->data(), topic->size());
}
#else
void choose_version() {}
void publish(mqtt::QoS qos) { (void)client.publish("room/temperature", board_reading, qos); }
void show_property(const mqtt::Message&) {}
#endif

__attribute__((noinline)) void begin() {
    options.host = "broker";
    options.client_id = "device";
    options.clean_session = false;
    options.user_name = "user";
    options.password = "secret";
    options.will = {"room/status", "gone", mqtt::QoS::at_least_once, mqtt::Retain::yes};
    choose_version();
    (void)client.connect(options);
}

__attribute__((noinline)) void step() {
    const mqtt::Event event = client.poll();
    switch (event.kind) {
    case mqtt::Event::connected:
        if (!event.session_present) (void)client.subscribe("room/#", mqtt::QoS::exactly_once);
        break;
    case mqtt::Event::received:
        board_show(event.message.topic.data(), event.message.topic.size());
        board_show(event.message.payload.data(), event.message.payload.size());
        show_property(event.message);
        break;
    default: break;
    }
    const int command = board_command();
    switch (command) {
    case 0:
    case 1:
    case 2: publish(static_cast<mqtt::QoS>(command)); break;
    case 3: (void)client.unsubscribe("room/#"); break;
    case 4: (void)client.disconnect(); break;
    default: break;
    }
}

}  // namespace

FOOTPRINT_OF_CLIENT(library::Client<Port>);

int main() {
    begin();
    for (;;) step();
}
