// in_flight VERSION IN_FLIGHT MESSAGES: publishes so many QoS 1 messages with so many unanswered at a time, to a server
// that answers in order and costs nothing. For counting instructions: see in_flight.sh.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "mqtt.hpp"

namespace {

struct Port {
    int open(std::string_view, uint16_t) { return 1; }
    int read(uint8_t* data, size_t size) {
        const size_t n = size < incoming.size() ? size : incoming.size();
        if (n != 0) memcpy(data, incoming.data(), n);
        incoming.erase(incoming.begin(), incoming.begin() + static_cast<std::ptrdiff_t>(n));
        return static_cast<int>(n);
    }
    int write(const uint8_t*, size_t size) { return static_cast<int>(size); }
    void close() {}
    uint32_t now_ms() { return 0; }

    std::vector<uint8_t> incoming;
};

constexpr char topic[] = "sensors/room1/temp";
constexpr char payload[] = "21.5 degrees";

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const bool v5 = std::strcmp(argv[1], "5") == 0;
    const long in_flight = std::atol(argv[2]), messages = std::atol(argv[3]);
    Port port;
    uint8_t rx[1024];
    const size_t size = sizeof topic - 1 + sizeof payload - 1;
    std::vector<uint8_t> tx(mqtt::tx_size(static_cast<size_t>(in_flight), size) * 4 / 3 + 64);
    mqtt::Client client(port, {rx, {tx.data(), tx.size()}});
    mqtt::ConnectOptions options;
    options.version = v5 ? mqtt::Version::v5 : mqtt::Version::v3_1_1;
    options.client_id = "bench";
    options.in_flight_maximum = 65535;
    if (!client.connect(options).ok()) return 1;
    while (!client.connected()) {
        if (client.poll().kind == mqtt::Event::disconnected) return 1;
        port.incoming = v5 ? std::vector<uint8_t>{0x20, 3, 0, 0, 0} : std::vector<uint8_t>{0x20, 2, 0, 0};
    }
    uint16_t oldest = 1;
    long unanswered = 0, acknowledged = 0;
    const auto answer = [&] {
        port.incoming = {0x40, 2, static_cast<uint8_t>(oldest >> 8), static_cast<uint8_t>(oldest)};
        oldest = oldest == 65535 ? uint16_t{1} : static_cast<uint16_t>(oldest + 1);
        --unanswered;
        for (mqtt::Event event = client.poll(); event.kind != mqtt::Event::none || !port.incoming.empty(); event = client.poll())
            if (event.kind == mqtt::Event::acknowledged) ++acknowledged;
    };
    for (long i = 0; i < messages; ++i) {
        if (unanswered == in_flight) answer();
        if (!client.publish(topic, payload, mqtt::QoS::at_least_once).ok()) return 1;
        ++unanswered;
        client.flush();
    }
    while (unanswered != 0) answer();
    return acknowledged == messages && client.unacknowledged() == 0 ? 0 : 1;
}
