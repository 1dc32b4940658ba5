// Set B: CONNECT, publish QoS 0 and 1, ping.
#include "application.hpp"

namespace {

uint8_t rx[256], tx[512];
Port port;
library::Client<Port> client(port, {rx, tx});
mqtt::ConnectOptions options;

__attribute__((noinline)) void begin() {
    options.host = "broker";
    options.client_id = "device";
    (void)client.connect(options);
}

__attribute__((noinline)) void step() {
    const mqtt::Event event = client.poll();
    if (event.kind == mqtt::Event::connected) board_show("connected", 9);
    const int command = board_command();
    if (command == 0 || command == 1)
        (void)client.publish("room/temperature", board_reading, static_cast<mqtt::QoS>(command));
}

}  // namespace

FOOTPRINT_OF_CLIENT(library::Client<Port>);

int main() {
    begin();
    for (;;) step();
}
