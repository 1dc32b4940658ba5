// gateway UPSTREAM_HOST UPSTREAM_PORT DEVICE_HOST DEVICE_PORT DEVICE...: forwards what devices publish.
//
// Each DEVICE gets a client of its own, which subscribes to `DEVICE/#` at the devices' server; one more client
// publishes all that comes as `gateway/DEVICE/...` at another server, upstream. They share one thread and one poll(2).
//
// Nothing is lost on the way: a message is acknowledged to the devices' server only when upstream has acknowledged it.
// (Where a connection breaks in between, it comes twice.) And nothing overflows: while as many messages are under way
// as there is memory for, the devices' clients are not polled, and TCP lets their server wait.
#include "mqtt.hpp"
#include "platform/posix.hpp"

#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace {

constexpr size_t message_size = 1024;       // of the whole packet; larger ones are not forwarded
constexpr uint16_t under_way_maximum = 20;
constexpr char prefix[] = "gateway/";

struct Link {
    Link(const char* host, const char* port_number, const char* device, size_t tx_size)
        : name(device), client_id(std::string("gateway-") + device), tx(tx_size) {
        options.host = host;
        options.port = static_cast<uint16_t>(std::atoi(port_number));
        options.client_id = client_id;
        options.clean_session = false;      // what is under way survives lost connections
        options.manual_ack = true;
        options.in_flight_maximum = under_way_maximum;
    }

    std::string name, client_id;
    std::vector<uint8_t> rx = std::vector<uint8_t>(message_size), tx;
    mqtt::ConnectOptions options;
    mqtt::posix::Tcp port;
    mqtt::Client<mqtt::posix::Tcp> client{port, {{rx.data(), rx.size()}, {tx.data(), tx.size()}}};
};

class Gateway {
public:
    explicit Gateway(char** argv)
        : upstream_(argv[1], argv[2], "upstream", under_way_maximum * (message_size + 32) * 5 / 4) {
        for (char** device = argv + 5; *device != nullptr; ++device)
            devices_.push_back(std::make_unique<Link>(argv[3], argv[4], *device, 1024));
    }

    int run() {
        if (!connect(upstream_)) return 2;
        for (const auto& device : devices_)
            if (!connect(*device)) return 2;
        while (true)
            if (!poll_clients()) sleep();
    }

private:
    struct UnderWay {
        uint16_t id;          // upstream
        Link* device;
        uint16_t device_id;   // 0: there is nothing to acknowledge
    };

    static bool connect(Link& link) {
        const mqtt::Result result = link.client.connect(link.options);
        if (!result.ok()) std::fprintf(stderr, "%s: %s\n", link.name.c_str(), mqtt::to_string(result.error));
        return result.ok();
    }
    bool full() const { return under_way_.size() == under_way_maximum; }

    // One event of each. False: nobody had one.
    bool poll_clients() {
        const mqtt::Event event = upstream_.client.poll();
        if (event.kind != mqtt::Event::none) on_upstream(event);
        bool any = event.kind != mqtt::Event::none;
        for (size_t i = 0; i < devices_.size() && !full(); ++i) {
            Link& device = *devices_[next_++ % devices_.size()];   // who comes first changes
            const mqtt::Event from_device = device.client.poll();
            if (from_device.kind == mqtt::Event::none) continue;
            on_device(device, from_device);
            any = true;
        }
        return any;
    }

    void sleep() {
        std::vector<pollfd> watched;
        uint32_t idle_ms = mqtt::forever;
        const auto watch = [&](Link& link) {
            watched.push_back({link.port.fd(), link.port.events(link.client.wants_write(), link.client.wants_read()), 0});
            idle_ms = std::min(idle_ms, link.client.idle_ms());
            if (!link.client.connected()) idle_ms = std::min(idle_ms, link.port.address_timeout_ms);
        };
        watch(upstream_);
        for (const auto& device : devices_)
            if (!full()) watch(*device);
        const int timeout_ms = idle_ms > 0x7FFFFFFF ? -1 : static_cast<int>(idle_ms);
        ::poll(watched.data(), static_cast<nfds_t>(watched.size()), timeout_ms);
    }

    void on_device(Link& device, const mqtt::Event& event) {
        switch (event.kind) {
        case mqtt::Event::connected:
            std::fprintf(stderr, "%s: connected\n", device.name.c_str());
            if (!event.session_present) (void)device.client.subscribe(device.name + "/#", mqtt::QoS::exactly_once);
            break;
        case mqtt::Event::received: forward(device, event.message); break;
        case mqtt::Event::disconnected:
            tell_disconnected(device, event);
            for (UnderWay& message : under_way_)   // will be sent again: their ids are void
                if (message.device == &device) message.device_id = 0;
            if (event.error == mqtt::Error::ok) connect(device);
            break;
        default: break;
        }
    }

    void forward(Link& device, const mqtt::Message& message) {
        if (!message.complete()) return;
        mqtt::Result result{mqtt::Error::packet_too_large};
        if (message.offset == 0)
            result = upstream_.client.publish(prefix + std::string(message.topic), message.payload,
                                              std::max(message.qos, mqtt::QoS::at_least_once),
                                              message.retain ? mqtt::Retain::yes : mqtt::Retain::no);
        if (result.ok()) {
            under_way_.push_back({result.packet_id, &device, message.packet_id});
            return;
        }
        std::fprintf(stderr, "%s: not forwarded: %s\n", device.name.c_str(), mqtt::to_string(result.error));
        if (mqtt::fault(result.error) == mqtt::Fault::not_now)
            (void)device.client.abort();                                  // reconnect, so that it is sent again
        else if (message.packet_id != 0)
            (void)device.client.acknowledge(message.packet_id);           // or it would come for ever
    }

    void on_upstream(const mqtt::Event& event) {
        if (event.kind == mqtt::Event::connected) std::fprintf(stderr, "upstream: connected\n");
        if (event.kind == mqtt::Event::disconnected) tell_disconnected(upstream_, event);
        if (event.kind != mqtt::Event::acknowledged && event.kind != mqtt::Event::dropped) return;
        const auto message = std::find_if(under_way_.begin(), under_way_.end(),
                                          [&](const UnderWay& m) { return m.id == event.packet_id; });
        if (message == under_way_.end()) return;
        if (message->device_id != 0) {
            if (event.kind == mqtt::Event::acknowledged)
                (void)message->device->client.acknowledge(message->device_id);
            else
                (void)message->device->client.abort();   // upstream forgot it: reconnect, so that it is sent again
        }
        under_way_.erase(message);
    }

    static void tell_disconnected(const Link& link, const mqtt::Event& event) {
        std::fprintf(stderr, "%s: %s (%s)\n", link.name.c_str(), mqtt::to_string(event.error), link.port.error_text());
    }

    Link upstream_;
    std::vector<std::unique_ptr<Link>> devices_;
    std::vector<UnderWay> under_way_;
    size_t next_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 6) {
        std::fprintf(stderr, "usage: gateway UPSTREAM_HOST UPSTREAM_PORT DEVICE_HOST DEVICE_PORT DEVICE...\n");
        return 2;
    }
    return Gateway(argv).run();
}
