// The codec alone: all packets of MQTT 3.1.1 in both directions.
#include "application.hpp"

namespace {

uint8_t in[256], out[256];

template <class Packet> __attribute__((noinline)) void both_ways(size_t size) {
    Packet packet;
    if (library::decode(mqtt::Bytes(in, size), packet) != mqtt::Error::ok) return;
    const mqtt::Encoded encoded = library::encode(packet, mqtt::Buffer(out));
    board_show(out, encoded.error == mqtt::Error::ok ? encoded.size : 0);
}

}  // namespace

int main() {
    while (board_open("", 0, 0) <= 0) {}
    for (;;) {
        const size_t size = static_cast<size_t>(board_read(in, sizeof in));
        switch (board_command()) {
        case 0: both_ways<mqtt::Connect>(size); break;
        case 1: both_ways<mqtt::Connack>(size); break;
        case 2: both_ways<mqtt::Publish>(size); break;
        case 3: both_ways<mqtt::Ack>(size); break;
        case 4: both_ways<mqtt::Subscribe>(size); break;
        case 5: both_ways<mqtt::Suback>(size); break;
        case 6: both_ways<mqtt::Empty>(size); break;
        case 7: both_ways<mqtt::Disconnect>(size); break;
        default: break;
        }
    }
}
