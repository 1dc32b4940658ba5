// responder [HOST [PORT [FILTER]]]: answers requests, with their text in capital letters. Needs a server of MQTT 5.
//
// Several of them share the work with a FILTER like $share/upper/demo/upper. See request.cpp for who asks.
#include "examples/request_response.hpp"
#include "platform/posix.hpp"

#include <cctype>
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    uint8_t rx[1024], tx[8192];
    mqtt::posix::Tcp port;
    mqtt::Client client(port, {rx, tx});

    mqtt::ConnectOptions options;
    options.host = argc > 1 ? argv[1] : "127.0.0.1";
    options.port = static_cast<uint16_t>(argc > 2 ? std::atoi(argv[2]) : 1883);
    options.version = mqtt::Version::v5;
    const mqtt::Result started = client.connect(options);
    if (!started.ok()) return std::fprintf(stderr, "cannot start: %s\n", mqtt::to_string(started.error)), 2;

    while (true) {
        const mqtt::Event event = client.poll();
        switch (event.kind) {
        case mqtt::Event::connected: {
            const mqtt::Result result = client.subscribe(argc > 3 ? argv[3] : "demo/upper", mqtt::QoS::at_least_once);
            if (!result.ok()) return std::fprintf(stderr, "cannot subscribe: %s\n", mqtt::to_string(result.error)), 2;
            break;
        }
        case mqtt::Event::subscribed:
            if (!mqtt::granted(event.reason_codes[0])) return std::fprintf(stderr, "subscription refused\n"), 3;
            std::fprintf(stderr, "ready\n");
            break;
        case mqtt::Event::received: {
            if (event.message.payload.size() != event.message.total) break;   // larger than rx: not for us
            char answer[sizeof rx];
            size_t size = 0;
            for (const uint8_t c : event.message.payload) answer[size++] = static_cast<char>(std::toupper(c));
            const mqtt::Result result = respond(client, event.message, std::string_view(answer, size));
            if (!result.ok()) std::fprintf(stderr, "not answered: %s\n", mqtt::to_string(result.error));
            break;
        }
        case mqtt::Event::disconnected:
            std::fprintf(stderr, "%s: %s\n", mqtt::to_string(event.error), port.error_text());
            break;
        case mqtt::Event::none: port.wait(client.idle_ms(), client.wants_write()); break;
        default: break;
        }
    }
}
