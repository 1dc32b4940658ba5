// messages [--broker HOST:PORT] [--count N] [--size BYTES] [--in-flight N]: sends messages to itself at QoS 0, 1 and 2
// through a broker, by default one in this process on loopback, and prints tab-separated rows
//     bench, case, subject, metric, value, unit
// Times depend on the machine; system calls per message do not.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "platform/posix.hpp"
#include "tests/support/broker_tcp.hpp"

namespace {

// Counts the system calls that a client makes.
struct CountingPort : mqtt::posix::Tcp {
    int read(uint8_t* data, size_t size) { return ++calls, Tcp::read(data, size); }
    int write(const uint8_t* data, size_t size) { return ++calls, Tcp::write(data, size); }
    bool wait(uint32_t idle_ms, bool wants_write) { return ++calls, Tcp::wait(idle_ms, wants_write); }

    unsigned long calls = 0;
};

struct Settings {
    std::string host = "127.0.0.1";
    uint16_t port = 0;
    unsigned long count = 100000;
    size_t size = 64;
    uint16_t in_flight = 100;
};

bool run(const Settings& settings, mqtt::QoS qos) {
    std::vector<uint8_t> rx(65536), tx(65536 + 4 * settings.in_flight * (settings.size + 32));
    CountingPort port;
    mqtt::Client client(port, {{rx.data(), rx.size()}, {tx.data(), tx.size()}, 1000});
    mqtt::ConnectOptions options;
    options.host = settings.host;
    options.port = settings.port;
    options.client_id = "bench";
    options.in_flight_maximum = settings.in_flight;
    if (!client.connect(options).ok()) return false;

    const std::string payload(settings.size, 'x');
    unsigned long sent = 0, came = 0;
    auto begin = std::chrono::steady_clock::now();
    while (came < settings.count) {
        const mqtt::Event event = client.poll();
        switch (event.kind) {
        case mqtt::Event::connected: (void)client.subscribe("bench", qos); break;
        case mqtt::Event::subscribed:
            begin = std::chrono::steady_clock::now();
            port.calls = 0;
            sent = 1;
            (void)client.publish("bench", payload, qos);
            break;
        case mqtt::Event::received: came += event.message.complete(); break;
        case mqtt::Event::disconnected:
            std::fprintf(stderr, "messages: %s\n", mqtt::to_string(event.error));
            return false;
        case mqtt::Event::none: port.wait(client.idle_ms(), client.wants_write()); break;
        default: break;
        }
        // Brokers drop what is too much: mosquitto queues 1,000 messages for a client unless told otherwise.
        while (sent != 0 && sent < settings.count && sent - came < 4UL * settings.in_flight &&
               client.publish("bench", payload, qos).ok())
            ++sent;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const double count = static_cast<double>(settings.count);
    const int level = static_cast<int>(qos);
    std::printf("messages\tqos%d\tmqtt.hpp\trate\t%.0f\tmessages/s\n", level, count / seconds);
    std::printf("messages\tqos%d\tmqtt.hpp\tsystem_calls\t%.3f\tcalls/message\n", level, static_cast<double>(port.calls) / count);
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string name = argv[i], value = argv[i + 1];
        if (name == "--count") settings.count = std::strtoul(argv[i + 1], nullptr, 10);
        if (name == "--size") settings.size = std::strtoul(argv[i + 1], nullptr, 10);
        if (name == "--in-flight") settings.in_flight = static_cast<uint16_t>(std::strtoul(argv[i + 1], nullptr, 10));
        if (name != "--broker") continue;
        settings.host = value.substr(0, value.rfind(':'));
        settings.port = static_cast<uint16_t>(std::strtoul(value.c_str() + value.rfind(':') + 1, nullptr, 10));
    }
    test::TcpBroker broker;
    if (settings.port == 0) {
        settings.port = broker.port();
        broker.start();
    }
    std::printf("bench\tcase\tsubject\tmetric\tvalue\tunit\n");
    bool ok = true;
    for (const mqtt::QoS qos : {mqtt::QoS::at_most_once, mqtt::QoS::at_least_once, mqtt::QoS::exactly_once})
        ok = ok && run(settings, qos);
    return ok ? 0 : 1;
}
