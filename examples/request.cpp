// request [HOST [PORT [TOPIC [TEXT]]]]: sends TEXT as a request, and prints the answer. Needs a server of MQTT 5.
//
// See responder.cpp for who answers. Exit status 1: there was no answer within ten seconds.
#include "examples/request_response.hpp"
#include "platform/posix.hpp"

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    const char* const topic = argc > 3 ? argv[3] : "demo/upper";
    const char* const text = argc > 4 ? argv[4] : "hello";
    constexpr uint32_t patience_ms = 10000;

    uint8_t rx[1024], tx[2048];
    mqtt::posix::Tcp port;
    mqtt::Client client(port, {rx, tx});

    mqtt::ConnectOptions options;   // without a client_id: the server assigns one
    options.host = argc > 1 ? argv[1] : "127.0.0.1";
    options.port = static_cast<uint16_t>(argc > 2 ? std::atoi(argv[2]) : 1883);
    options.version = mqtt::Version::v5;
    options.properties = ask_for_response_information;
    const mqtt::Result started = client.connect(options);
    if (!started.ok()) return std::fprintf(stderr, "cannot start: %s\n", mqtt::to_string(started.error)), 2;

    Requester requester(client, options, port.random());
    bool sent = false;
    int status = 1;
    while (true) {
        const mqtt::Event event = client.poll();
        const Response response = requester.take(event, port.now_ms());
        if (response.kind == Response::answered) {   // perhaps in pieces
            std::fwrite(event.message.payload.data(), 1, event.message.payload.size(), stdout);
            if (!event.message.complete()) continue;
            std::fputc('\n', stdout);
            status = 0;
        }
        if (response.kind == Response::timed_out) std::fprintf(stderr, "no answer in time\n");
        if (response.kind == Response::failed)
            std::fprintf(stderr, "no answer: %s\n", response.number == 0 ? "this server takes no requests"
                         : event.kind == mqtt::Event::dropped ? mqtt::to_string(event.error) : mqtt::to_string(event.reason));
        if (response.kind != Response::none) (void)client.disconnect();

        if (requester.ready() && !sent) {
            const Request request = requester.request(topic, text, patience_ms, port.now_ms());
            if (!request.ok()) return std::fprintf(stderr, "cannot ask: %s\n", mqtt::to_string(request.error)), 2;
            sent = true;
        }
        if (event.kind == mqtt::Event::disconnected) {
            if (event.error == mqtt::Error::ok) return status;   // it was us
            std::fprintf(stderr, "%s: %s\n", mqtt::to_string(event.error), port.error_text());
        }
        if (event.kind == mqtt::Event::none) port.wait(requester.idle_ms(port.now_ms()), client.wants_write());
    }
}
