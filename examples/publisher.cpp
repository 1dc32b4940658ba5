// publisher [HOST [PORT [TOPIC [QOS [COUNT]]]]]: publishes a number and the time once a second.
//
// It goes on while the server is away: what was published meanwhile is sent when it is back. With COUNT it ends after so
// many messages, when all of them have been acknowledged.
#include "mqtt.hpp"
#include "platform/posix.hpp"

#include <cstdio>
#include <cstdlib>
#include <ctime>

int main(int argc, char** argv) {
    const char* const topic = argc > 3 ? argv[3] : "demo/clock";
    const mqtt::QoS qos = static_cast<mqtt::QoS>(argc > 4 ? std::atoi(argv[4]) : 1);
    const int count = argc > 5 ? std::atoi(argv[5]) : 0;

    uint8_t rx[512], tx[8192];
    mqtt::posix::Tcp port;
    mqtt::Client client(port, {rx, tx});

    mqtt::ConnectOptions options;
    options.host = argc > 1 ? argv[1] : "127.0.0.1";
    options.port = static_cast<uint16_t>(argc > 2 ? std::atoi(argv[2]) : 1883);
    const mqtt::Result started = client.connect(options);
    if (!started.ok()) return std::fprintf(stderr, "cannot start: %s\n", mqtt::to_string(started.error)), 1;

    int published = 0;
    uint32_t due_ms = port.now_ms();
    while (true) {
        const mqtt::Event event = client.poll();
        switch (event.kind) {
        case mqtt::Event::disconnected:
            if (event.error == mqtt::Error::ok) return 0;   // it was us
            std::fprintf(stderr, "%s: %s\n", mqtt::to_string(event.error), port.error_text());
            break;
        case mqtt::Event::none: {
            const bool all = count != 0 && published == count;
            if (all && client.unacknowledged() == 0 && client.connected()) (void)client.disconnect();
            const int32_t wait_ms = static_cast<int32_t>(due_ms - port.now_ms());
            if (all || wait_ms > 0) {
                const uint32_t idle_ms = client.idle_ms(), left_ms = static_cast<uint32_t>(wait_ms);
                port.wait(all || idle_ms < left_ms ? idle_ms : left_ms, client.wants_write());
                break;
            }
            due_ms += 1000;
            char text[64], clock[16];
            const std::time_t now = std::time(nullptr);
            std::strftime(clock, sizeof clock, "%H:%M:%S", std::localtime(&now));
            std::snprintf(text, sizeof text, "message %d at %s", published + 1, clock);
            const mqtt::Result result = client.publish(topic, text, qos);
            if (result.ok()) ++published;
            else std::fprintf(stderr, "not published: %s\n", mqtt::to_string(result.error));
            if (mqtt::fault(result.error) == mqtt::Fault::caller) return 2;
            break;
        }
        default: break;
        }
    }
}
