// subscriber [HOST [PORT [FILTER...]]]: subscribes to topics and prints what is published on them.
#include "mqtt.hpp"
#include "platform/posix.hpp"

#include <cstdio>
#include <cstdlib>

namespace {

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

}  // namespace

int main(int argc, char** argv) {
    uint8_t rx[1024], tx[2048];
    mqtt::posix::Tcp port;
    mqtt::Client client(port, {rx, tx});

    mqtt::ConnectOptions options;
    options.host = argc > 1 ? argv[1] : "127.0.0.1";
    options.port = static_cast<uint16_t>(argc > 2 ? std::atoi(argv[2]) : 1883);
    const mqtt::Result started = client.connect(options);
    if (!started.ok()) return std::fprintf(stderr, "cannot start: %s\n", mqtt::to_string(started.error)), 1;

    while (true) {
        const mqtt::Event event = client.poll();
        switch (event.kind) {
        case mqtt::Event::connected: {
            mqtt::Result result;
            if (argc <= 3) result = client.subscribe({{"demo/#", mqtt::QoS::exactly_once}, {"$SYS/broker/version"}});
            for (int i = 3; i < argc && result.ok(); ++i) result = client.subscribe(argv[i], mqtt::QoS::exactly_once);
            if (!result.ok()) return std::fprintf(stderr, "cannot subscribe: %s\n", mqtt::to_string(result.error)), 2;
            break;
        }
        case mqtt::Event::subscribed:
            for (const uint8_t code : event.reason_codes)
                std::printf(mqtt::granted(code) ? "subscribed with QoS %d\n" : "subscription refused: %d\n", code);
            break;
        case mqtt::Event::received:   // a message larger than rx comes in pieces
            if (event.message.offset == 0) {
                std::printf("QoS %d, ", static_cast<int>(event.message.qos));
                print(event.message.topic);
                print(": ");
            }
            print(event.message.payload.text());
            if (event.message.complete()) print("\n");
            break;
        case mqtt::Event::disconnected:
            std::fprintf(stderr, "%s: %s\n", mqtt::to_string(event.error), port.error_text());
            break;
        case mqtt::Event::none:
            std::fflush(stdout);
            port.wait(client.idle_ms(), client.wants_write());
            break;
        default: break;
        }
    }
}
