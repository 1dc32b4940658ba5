// Instantiates the whole public interface, as firmware would. It is compiled and linked by the build checks, never run.
// What is added to the interface is used here too: see use_everything(), at the end.

#include "mqtt.hpp"

#include "tests/build/device.h"

namespace {

// ---- words

int use_vocabulary(mqtt::Bytes in) {
    const std::string_view text = in.text();
    int sum = mqtt::valid_text(text) + mqtt::valid_topic(text) + mqtt::valid_filter(text) + mqtt::matches(text, "a/b");
    const mqtt::Error error = static_cast<mqtt::Error>(in.empty() ? 0 : in[0]);
    const mqtt::ReasonCode reason = static_cast<mqtt::ReasonCode>(in.empty() ? 0 : in[0]);
    sum += mqtt::to_string(error)[0] + static_cast<int>(mqtt::fault(error)) + mqtt::granted(in.empty() ? 0 : in[0]);
    sum += mqtt::to_string(reason)[0] + mqtt::granted(reason);
    if constexpr (mqtt::has_v5) sum += mqtt::legal(reason, mqtt::PacketType::disconnect);
    sum += mqtt::valid_filter(text, true) + mqtt::is_shared(text);
    for (const uint8_t byte : in) sum += byte;
    return sum;
}

// ---- properties

constexpr auto in_flash = mqtt::PropertyBuffer<16>().add(mqtt::prop::payload_format_indicator, 1);
static_assert(in_flash.ok() && in_flash.size() == 2);

template <mqtt::Format format> int use_value(mqtt::Properties list, mqtt::prop::Key<format> key) {
    const auto found = list.get(key);
    typename mqtt::prop::Key<format>::Type value{};
    int sum = found.has_value() + (found ? 1 : 0) + list.next(key, value);
    if constexpr (format == mqtt::Format::binary || format == mqtt::Format::text || format == mqtt::Format::topic)
        return sum + static_cast<int>(value.size() + found->size() + found.value_or({}).size());
    else if constexpr (format == mqtt::Format::pair)
        return sum + static_cast<int>((*found).name.size() + found->value.size() + value.name.size());
    else
        return sum + static_cast<int>(value + *found + found.value_or(1));
}

int use_properties(mqtt::Properties list) {
    using namespace mqtt;
    int sum = use_value(list, prop::payload_format_indicator) + use_value(list, prop::message_expiry_interval) +
              use_value(list, prop::content_type) + use_value(list, prop::response_topic) +
              use_value(list, prop::correlation_data) + use_value(list, prop::subscription_identifier) +
              use_value(list, prop::session_expiry_interval) + use_value(list, prop::assigned_client_identifier) +
              use_value(list, prop::server_keep_alive) + use_value(list, prop::authentication_method) +
              use_value(list, prop::authentication_data) + use_value(list, prop::request_problem_information) +
              use_value(list, prop::will_delay_interval) + use_value(list, prop::request_response_information) +
              use_value(list, prop::response_information) + use_value(list, prop::server_reference) +
              use_value(list, prop::reason_string) + use_value(list, prop::receive_maximum) +
              use_value(list, prop::topic_alias_maximum) + use_value(list, prop::topic_alias) +
              use_value(list, prop::maximum_qos) + use_value(list, prop::retain_available) +
              use_value(list, prop::user_property) + use_value(list, prop::maximum_packet_size) +
              use_value(list, prop::wildcard_subscription_available) +
              use_value(list, prop::subscription_identifier_available) +
              use_value(list, prop::shared_subscription_available);
    uint32_t seen = 0;
    sum += static_cast<int>(validate(list, PacketType::publish, seen)) + list.empty();
    Property property;
    for (Properties rest = list; rest.next(property);)
        sum += static_cast<int>(property.rule->id + property.number + property.data.size() + property.name.size());
    for (Properties rest = list; rest.next(prop::user_property.id, property);) ++sum;
    return sum;
}

using Built = mqtt::PropertyBuffer<64>;
void build_properties(mqtt::Bytes in, Built& built) {
    if constexpr (!mqtt::has_v5) return;   // what the application builds is in its image, whatever it is good for
    built.add(mqtt::prop::message_expiry_interval, device_in).add(mqtt::prop::content_type, in.text());
    built.add(mqtt::prop::response_topic, in.text()).add(mqtt::prop::correlation_data, in);
    built.add(mqtt::prop::subscription_identifier, 300).add(mqtt::prop::server_keep_alive, 60);
    if (!built.ok()) built.clear();
    built.add(mqtt::prop::user_property, {"name", in.text()}).add(mqtt::prop::payload_format_indicator, 1);
}

// ---- the codec

template <class Packet> int use_packet(mqtt::Bytes in, mqtt::Buffer out, mqtt::Version version) {
    Packet packet;
    int sum = static_cast<int>(mqtt::decode(in, packet, version));
    sum += static_cast<int>(mqtt::decode(in, packet)) + static_cast<int>(mqtt::encode(packet, out).size);
    const mqtt::Encoded whole = mqtt::encode(packet, out, version);
    const mqtt::Encoded header = mqtt::encode(packet, out, version, false);
    Packet body;
    sum += static_cast<int>(mqtt::decode_body(in.empty() ? uint8_t{0} : in[0], in, body, version));
    return sum + static_cast<int>(whole.error) + static_cast<int>(whole.size + header.size);
}

int use_codec(mqtt::Bytes in, mqtt::Buffer out, mqtt::Version version) {
    mqtt::FixedHeader header;
    int sum = static_cast<int>(mqtt::read_fixed_header(in.data(), in.size(), header)) +
              static_cast<int>(mqtt::read_fixed_header(in.data(), in.size(), header, version)) +
              static_cast<int>(header.packet_size());
    sum += use_packet<mqtt::Connect>(in, out, version) + use_packet<mqtt::Connack>(in, out, version) +
           use_packet<mqtt::Publish>(in, out, version) + use_packet<mqtt::Ack>(in, out, version) +
           use_packet<mqtt::Subscribe>(in, out, version) + use_packet<mqtt::Suback>(in, out, version) +
           use_packet<mqtt::Empty>(in, out, version) + use_packet<mqtt::Disconnect>(in, out, version);

    mqtt::Subscribe subscribe;
    if (mqtt::decode(in, subscribe, version) == mqtt::Error::ok) {
        mqtt::Subscription subscription;
        for (mqtt::Subscriptions rest = subscribe.filters; rest.next(subscription);)
            sum += static_cast<int>(subscription.filter.size()) + static_cast<int>(subscription.retain_handling) +
                   subscription.no_local + subscription.retain_as_published;
    }
    mqtt::Connack connack;
    if (mqtt::decode(in, connack, version) == mqtt::Error::ok)
        sum += static_cast<int>(connack.reason) + connack.session_present() + use_properties(connack.properties);
    mqtt::Ack ack;
    if (mqtt::decode(in, ack, version) == mqtt::Error::ok)
        sum += static_cast<int>(ack.reason) + use_properties(ack.properties);
    mqtt::Connect connect;
    if (mqtt::decode(in, connect, version) == mqtt::Error::ok)
        sum += static_cast<int>(connect.will_qos()) + use_properties(connect.will_properties);
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

struct PortWithStorage : Port {
    mqtt::Statistics statistics;
    int load(uint8_t* record, size_t size) { return read(record, size); }
    int save(const uint8_t* record, size_t size) { return write(record, size); }
    int sync() { return device_in; }
    int compact() { return device_in; }
    int commit() { return device_in; }
    int erase_storage() { return device_in; }
};

constexpr size_t tx_for_ten = mqtt::tx_size(10, 100) + mqtt::tx_size(10, 100, 5);
constexpr size_t rx_for_default = mqtt::connect_size(mqtt::ConnectOptions{});
static_assert(tx_for_ten > 2000 && rx_for_default > 10);

template <class Port> int use_client(mqtt::Bytes in, mqtt::Buffer memory) {
    const size_t fifth = memory.size / 5;
    Port port;
    mqtt::Buffers buffers{{memory.data, fifth}, {memory.data + fifth, fifth}, 20};
    buffers.topic_alias_maximum = 4;
    buffers.received_aliases = {memory.data + 2 * fifth, fifth};
    buffers.sent_aliases = {memory.data + 3 * fifth, fifth};
    buffers.client_id = {memory.data + 4 * fifth, fifth};
    mqtt::Client client(port, buffers);
    Built built;
    build_properties(in, built);
    mqtt::ConnectOptions options;
    options.host = in.text();
    options.port = device_in;
    options.version = static_cast<mqtt::Version>(device_in);
    options.client_id = in.text();
    options.clean_session = options.clean_start = options.adopt_session = options.replace_session = device_in != 0;
    options.session_expiry_interval = device_in;
    options.keep_alive = device_in;
    options.will = {in.text(), in, mqtt::QoS::at_least_once, mqtt::Retain::yes, in_flash};
    options.user_name = in.text();
    options.password = in;
    options.properties = mqtt::Properties(in.data(), in.size());
    options.maximum_packet_size = device_in;
    options.follow_server_reference = options.manual_ack = device_in != 0;
    options.in_flight_maximum = device_in;
    options.connect_timeout_ms = options.response_timeout_ms = options.stable_ms = device_in;
    options.reconnect_min_ms = options.reconnect_max_ms = device_in;
    int sum = static_cast<int>(client.connect(options).error) + static_cast<int>(mqtt::connect_size(options));

    const mqtt::QoS qos = static_cast<mqtt::QoS>(device_in);
    const mqtt::Subscription list[] = {{in.text(), qos, true, true, mqtt::RetainHandling::send_if_new},
                                       {"#", mqtt::QoS::exactly_once}};
    const std::string_view filters[] = {in.text(), "#"};
    const mqtt::Result results[] = {
        client.subscribe(list, 2), client.subscribe({{in.text(), qos}}), client.subscribe(in.text(), qos),
        client.subscribe(list, 2, built), client.subscribe({{in.text(), qos}}, built), client.subscribe(in.text(), qos, built),
        client.unsubscribe(filters, 2), client.unsubscribe({"#", in.text()}), client.unsubscribe(in.text()),
        client.unsubscribe(filters, 2, built), client.unsubscribe({"#", in.text()}, built), client.unsubscribe(in.text(), built),
        client.publish(in.text(), in), client.publish(in.text(), "text", qos, mqtt::Retain::yes),
        client.publish(in.text(), in, qos, mqtt::Retain::no, built), client.begin_publish(in.text(), 1000000, qos),
        client.begin_publish(in.text(), 1000000, qos, mqtt::Retain::no, in_flash), client.authenticate(built),
        client.publish_newest(in.text(), in), client.publish_newest(in.text(), in, qos, mqtt::Retain::no, built)};
    for (const mqtt::Result& result : results)
        sum += static_cast<int>(result.packet_id) + static_cast<int>(result.error) + result.ok();

    while (device_in != 0) {
        const mqtt::Event event = client.poll();
        sum += event.kind + static_cast<int>(event.error) + static_cast<int>(event.reason);
        sum += static_cast<int>(event.packet_id) + event.session_present;
        sum += use_vocabulary(event.reason_codes) + use_vocabulary(event.message.payload);
        sum += use_properties(event.properties) + use_properties(event.message.properties);
        sum += event.message.complete() + static_cast<int>(event.message.topic.size());
        const mqtt::Written written = client.write_payload(in);
        sum += static_cast<int>(written.error) + static_cast<int>(written.size);
        sum += static_cast<int>(client.acknowledge(event.message.packet_id).error);
        sum += static_cast<int>(client.acknowledge(event.packet_id, mqtt::ReasonCode::quota_exceeded).error);
        client.flush();
        sum += static_cast<int>(client.idle_ms()) + client.wants_read() + client.wants_write() +
               client.connected() + static_cast<int>(client.unacknowledged()) + static_cast<int>(client.version());
        sum += static_cast<int>(client.drop_waiting() + client.drop_waiting(qos, in.text(), 1) + client.drop_aged());
        sum += client.stored() + client.busy();
        client.ignore_storage(device_in != 0);
    }
    mqtt::Shutdown off(client, 1000);
    for (; !off.done(); sum += static_cast<int>(off.idle_ms())) sum += off.poll().kind;
    if constexpr (std::is_same_v<Port, PortWithStorage>) sum += client.erase_storage();
    sum += client.disconnect(mqtt::ReasonCode::disconnect_with_will_message, built).ok();
    return sum + client.disconnect().ok() + client.abort().ok();
}

}  // namespace

extern "C" int use_everything(const uint8_t* in, size_t in_size, uint8_t* out, size_t out_size) {
    return use_vocabulary({in, in_size}) + use_codec({in, in_size}, {out, out_size}, mqtt::Version::v3_1_1) +
           use_codec({in, in_size}, {out, out_size}, mqtt::Version::v5) +
           use_client<Port>({in, in_size}, {out, out_size}) + use_client<PortWithEntropy>({in, in_size}, {out, out_size}) +
           use_client<PortWithStorage>({in, in_size}, {out, out_size});
}
