// Instantiates the whole public interface, as firmware would. It is compiled and linked by the build checks, never run.
// What is added to the interface is used here too: see use_everything(), at the end.

#include "mqtt.hpp"

#include "tests/build/device.h"

namespace {

int use_vocabulary(mqtt::Bytes in) {
    const std::string_view text = in.text();
    int sum = mqtt::valid_text(text) + mqtt::valid_topic(text) + mqtt::valid_filter(text) + mqtt::matches(text, "a/b");
    const mqtt::Error error = static_cast<mqtt::Error>(in.empty() ? 0 : in[0]);
    sum += mqtt::to_string(error)[0] + static_cast<int>(mqtt::fault(error)) + mqtt::granted(in.empty() ? 0 : in[0]);
    for (const uint8_t byte : in) sum += byte;
    return sum;
}

template <class Packet> int use_packet(mqtt::Bytes in, mqtt::Buffer out) {
    Packet packet;
    int sum = static_cast<int>(mqtt::decode(in, packet));
    const mqtt::Encoded whole = mqtt::encode(packet, out);
    const mqtt::Encoded header = mqtt::encode(packet, out, false);
    return sum + static_cast<int>(whole.error) + static_cast<int>(whole.size + header.size);
}

int use_codec(mqtt::Bytes in, mqtt::Buffer out) {
    mqtt::FixedHeader header;
    int sum = static_cast<int>(mqtt::read_fixed_header(in.data(), in.size(), header)) +
              static_cast<int>(header.packet_size());
    sum += use_packet<mqtt::Connect>(in, out) + use_packet<mqtt::Connack>(in, out) + use_packet<mqtt::Publish>(in, out) +
           use_packet<mqtt::Ack>(in, out) + use_packet<mqtt::Subscribe>(in, out) + use_packet<mqtt::Suback>(in, out) +
           use_packet<mqtt::Empty>(in, out);

    mqtt::Subscribe subscribe;
    if (mqtt::decode(in, subscribe) == mqtt::Error::ok) {
        mqtt::Subscription subscription;
        for (mqtt::Subscriptions rest = subscribe.filters; rest.next(subscription);)
            sum += static_cast<int>(subscription.filter.size());
    }
    mqtt::Connack connack;
    if (mqtt::decode(in, connack) == mqtt::Error::ok)
        sum += static_cast<int>(connack.reason()) + connack.session_present();
    mqtt::Connect connect;
    if (mqtt::decode(in, connect) == mqtt::Error::ok) sum += static_cast<int>(connect.will_qos());
    return sum;
}

struct Port {
    int open(std::string_view host, uint16_t port) {
        for (const char c : host) device_out = static_cast<uint8_t>(c);
        device_out = static_cast<uint8_t>(port);
        return device_in;
    }
    int read(uint8_t* data, size_t size) {
        for (size_t i = 0; i < size; ++i) data[i] = device_in;
        return static_cast<int>(size);
    }
    int write(const uint8_t* data, size_t size) {
        for (size_t i = 0; i < size; ++i) device_out = data[i];
        return static_cast<int>(size);
    }
    void close() { device_out = 0; }
    uint32_t now_ms() { return device_clock; }
};
struct PortWithEntropy : Port {
    uint32_t random() { return device_clock; }
};

template <class Port> int use_client(mqtt::Bytes in, mqtt::Buffer memory) {
    const size_t half = memory.size / 2;
    Port port;
    mqtt::Client client(port, {{memory.data, half}, {memory.data + half, half}, 20});
    mqtt::ConnectOptions options;
    options.host = in.text();
    options.client_id = in.text();
    options.will = {in.text(), in, mqtt::QoS::at_least_once, mqtt::Retain::yes};
    options.user_name = in.text();
    options.password = in;
    options.manual_ack = device_in != 0;
    int sum = static_cast<int>(client.connect(options).error);

    const mqtt::QoS qos = static_cast<mqtt::QoS>(device_in);
    const mqtt::Subscription list[] = {{in.text(), qos}, {"#", mqtt::QoS::exactly_once}};
    const std::string_view filters[] = {in.text(), "#"};
    const mqtt::Result results[] = {
        client.subscribe(list, 2), client.subscribe({{in.text(), qos}}), client.subscribe(in.text(), qos),
        client.unsubscribe(filters, 2), client.unsubscribe({"#", in.text()}), client.unsubscribe(in.text()),
        client.publish(in.text(), in), client.publish(in.text(), "text", qos, mqtt::Retain::yes),
        client.begin_publish(in.text(), 1000000, qos)};
    for (const mqtt::Result& result : results)
        sum += static_cast<int>(result.packet_id) + static_cast<int>(result.error) + result.ok();

    while (device_in != 0) {
        const mqtt::Event event = client.poll();
        sum += event.kind + static_cast<int>(event.error) + static_cast<int>(event.reason);
        sum += static_cast<int>(event.packet_id) + event.session_present;
        sum += use_vocabulary(event.reason_codes) + use_vocabulary(event.message.payload);
        sum += event.message.complete() + static_cast<int>(event.message.topic.size());
        const mqtt::Written written = client.write_payload(in);
        sum += static_cast<int>(written.error) + static_cast<int>(written.size);
        sum += static_cast<int>(client.acknowledge(event.message.packet_id).error);
        client.flush();
        sum += static_cast<int>(client.idle_ms()) + client.wants_read() + client.wants_write() +
               client.connected() + static_cast<int>(client.unacknowledged());
    }
    return sum + client.disconnect().ok() + client.abort().ok();
}

}  // namespace

extern "C" int use_everything(const uint8_t* in, size_t in_size, uint8_t* out, size_t out_size) {
    return use_vocabulary({in, in_size}) + use_codec({in, in_size}, {out, out_size}) +
           use_client<Port>({in, in_size}, {out, out_size}) + use_client<PortWithEntropy>({in, in_size}, {out, out_size});
}
