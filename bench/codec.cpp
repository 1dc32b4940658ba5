// codec [--only TEXT] [--quick]: what it costs to encode and decode a packet, beside msgpack on the same fields and memcpy
// of the same bytes. Instructions, if run by callgrind (see bench/run.py), else nanoseconds.
//
// Decoding is that of a stream: first read_fixed_header() on bytes that go on behind the packet, then decode_body(). Both
// ways all checks of the specification are done. Properties are given as a block, which is how the library has them.
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/measure.hpp"
#include "mqtt.hpp"
#if __has_include(<msgpack.hpp>)
#define MSGPACK_NO_BOOST
#include <msgpack.hpp>
#endif

namespace {

using mqtt::Bytes;
using mqtt::PacketType;
using mqtt::Version;
namespace prop = mqtt::prop;

std::vector<bench::Case> cases;

// ------------------------------------------------------------------------------------------------------- properties

using Block = mqtt::PropertyBuffer<512>;

void add_users(Block& block, int count) {
    for (; count > 0; --count) block.add(prop::user_property, {"unit", "degrees"});
}
// 0, 3 or 10 properties that such a packet is likely to have.
Block properties_for(PacketType packet, int count) {
    Block block;
    if (count == 0) return block;
    switch (packet) {
    case PacketType::connect:
        block.add(prop::session_expiry_interval, 3600).add(prop::receive_maximum, 20).add(prop::maximum_packet_size, 65536);
        if (count == 3) break;
        block.add(prop::topic_alias_maximum, 10).add(prop::request_response_information, 1);
        block.add(prop::request_problem_information, 1);
        add_users(block, count - 6);
        break;
    case PacketType::publish:
        block.add(prop::payload_format_indicator, 1).add(prop::message_expiry_interval, 60);
        block.add(prop::content_type, "text/plain");
        if (count == 3) break;
        block.add(prop::response_topic, "answers/room1").add(prop::correlation_data, "12345678");
        add_users(block, count - 5);
        break;
    case PacketType::subscribe:
        block.add(prop::subscription_identifier, 7);
        add_users(block, count - 1);
        break;
    case PacketType::connack:
        block.add(prop::receive_maximum, 20).add(prop::topic_alias_maximum, 10).add(prop::maximum_packet_size, 65536);
        if (count == 3) break;
        block.add(prop::session_expiry_interval, 3600).add(prop::server_keep_alive, 60).add(prop::maximum_qos, 1);
        block.add(prop::retain_available, 1).add(prop::wildcard_subscription_available, 1);
        block.add(prop::subscription_identifier_available, 1).add(prop::shared_subscription_available, 1);
        break;
    default:   // PUBACK, SUBACK
        block.add(prop::reason_string, "no subscribers");
        add_users(block, count - 1);
    }
    return block;
}

// ----------------------------------------------------------------------------------------------------------- msgpack

#ifdef MSGPACK_NO_BOOST
// The same fields as arrays of msgpack. MQTT's first byte, which tells the other side what it is, comes first.
struct Pack {
    msgpack::packer<msgpack::sbuffer> out;

    template <class... Fields> void array(const Fields&... fields) {
        out.pack_array(sizeof...(fields));
        (out.pack(fields), ...);
    }
    void binary(Bytes bytes) {
        out.pack_bin(static_cast<uint32_t>(bytes.size()));
        out.pack_bin_body(reinterpret_cast<const char*>(bytes.data()), static_cast<uint32_t>(bytes.size()));
    }
    void properties(mqtt::Properties list, size_t count) {
        out.pack_array(static_cast<uint32_t>(count));
        for (mqtt::Property p; list.next(p);) {
            switch (p.rule->format) {
            case mqtt::Format::binary: out.pack_array(2); out.pack(p.rule->id); binary(p.data); break;
            case mqtt::Format::pair: array(p.rule->id, p.name, p.data.text()); break;
            case mqtt::Format::text:
            case mqtt::Format::topic: array(p.rule->id, p.data.text()); break;
            default: array(p.rule->id, p.number);
            }
        }
    }
    void packet(const mqtt::Connect& p, size_t count) {
        out.pack_array(11);
        out.pack(p.first_byte()); out.pack(p.protocol_level); out.pack(p.flags); out.pack(p.keep_alive);
        properties(p.properties, count);
        out.pack(p.client_id); out.pack(p.will_topic); binary(p.will_message); out.pack(p.user_name); binary(p.password);
        out.pack_nil();
    }
    void packet(const mqtt::Publish& p, size_t count) {
        out.pack_array(5);
        out.pack(p.first_byte()); out.pack(p.topic); out.pack(p.packet_id);
        properties(p.properties, count);
        binary(p.payload);
    }
    void packet(const mqtt::Subscribe& p, size_t count) {
        out.pack_array(4);
        out.pack(p.first_byte()); out.pack(p.packet_id);
        properties(p.properties, count);
        out.pack_array(static_cast<uint32_t>(p.filters.size()));
        mqtt::Subscription s;
        for (mqtt::Subscriptions rest = p.filters; rest.next(s);) array(s.filter, static_cast<uint8_t>(s.qos));
    }
    void packet(const mqtt::Ack& p, size_t count) {
        out.pack_array(5);
        out.pack(p.first_byte()); out.pack(p.packet_id); out.pack(static_cast<uint8_t>(p.reason));
        properties(p.properties, count);
        binary(p.reason_codes);
    }
    void packet(const mqtt::Connack& p, size_t count) {
        out.pack_array(4);
        out.pack(p.first_byte()); out.pack(p.flags); out.pack(static_cast<uint8_t>(p.reason));
        properties(p.properties, count);
    }
};

// Reads the fields back; what properties hold is left as msgpack has it.
struct Unpack {
    const msgpack::object* fields;
    const msgpack::object* end;

    template <class T> void take(T& value) { fields->convert(value), ++fields; }
    void take(Bytes& value) {
        value = Bytes(reinterpret_cast<const uint8_t*>(fields->via.bin.ptr), fields->via.bin.size), ++fields;
    }
    template <class Enum> void take_enum(Enum& value) {
        uint8_t raw;
        take(raw), value = static_cast<Enum>(raw);
    }
    void properties(size_t& count) { count = fields->via.array.size, ++fields; }
    bool packet(mqtt::Publish& p, size_t& count) {
        uint8_t first;
        take(first), mqtt::Publish::set_first_byte(p, first), take(p.topic), take(p.packet_id), properties(count), take(p.payload);
        return fields == end;
    }
    bool packet(mqtt::Ack& p, size_t& count) {
        uint8_t first;
        take(first), p.type = static_cast<PacketType>(first >> 4);
        take(p.packet_id), take_enum(p.reason), properties(count), take(p.reason_codes);
        return fields == end;
    }
    bool packet(mqtt::Connack& p, size_t& count) {
        uint8_t first;
        take(first), take(p.flags), take_enum(p.reason), properties(count);
        return fields == end;
    }
};

template <class Packet> void pack_case(const std::string& name, const Packet& packet, int count) {
    cases.push_back({name, "msgpack", [=, buffer = std::make_shared<msgpack::sbuffer>()](unsigned long n) {
        while (n-- != 0) {
            bench::touch(&packet);
            buffer->clear();
            Pack{msgpack::packer<msgpack::sbuffer>(*buffer)}.packet(packet, static_cast<size_t>(count));
            bench::touch(buffer->data());
        }
        return true;
    }});
}
template <class Packet> void unpack_case(const std::string& name, const Packet& packet, int count) {
    msgpack::sbuffer buffer;
    Pack{msgpack::packer<msgpack::sbuffer>(buffer)}.packet(packet, static_cast<size_t>(count));
    const std::vector<char> in(buffer.data(), buffer.data() + buffer.size());
    cases.push_back({name, "msgpack", [in](unsigned long n) {
        bool ok = true;
        msgpack::zone zone;
        while (n-- != 0) {
            bench::touch(in.data());
            zone.clear();
            const msgpack::object object =   // strings and bytes stay where they are, as with us
                msgpack::unpack(zone, in.data(), in.size(),
                                [](msgpack::type::object_type, size_t, void*) { return true; });
            Packet decoded;
            size_t properties = 0;
            const msgpack::object_array& fields = object.via.array;
            ok = Unpack{fields.ptr, fields.ptr + fields.size}.packet(decoded, properties) && ok;
            bench::touch(&decoded);
        }
        return ok;
    }});
}
#else
template <class Packet> void pack_case(const std::string&, const Packet&, int) {}
template <class Packet> void unpack_case(const std::string&, const Packet&, int) {}
#endif

// ------------------------------------------------------------------------------------------------------------- cases

template <class Packet>
std::vector<uint8_t> encoded(const Packet& packet, Version version, bool with_rest = true) {
    std::vector<uint8_t> out(8192);
    const mqtt::Encoded result = mqtt::encode(packet, {out.data(), out.size()}, version, with_rest);
    if (result.error != mqtt::Error::ok) std::abort();
    out.resize(result.size);
    return out;
}

void memcpy_case(const std::string& name, const std::vector<uint8_t>& bytes) {
    cases.push_back({name, "memcpy", [bytes, out = std::vector<uint8_t>(bytes.size())](unsigned long n) mutable {
        while (n-- != 0) {
            bench::touch(bytes.data());
            std::memcpy(out.data(), bytes.data(), bytes.size());
            bench::touch(out.data());
        }
        return true;
    }});
}

template <class Packet>
void encode_case(const std::string& name, const Packet& packet, Version version, int count, bool with_rest = true) {
    const std::vector<uint8_t> bytes = encoded(packet, version, with_rest);
    cases.push_back({name, "mqtt.hpp", [=, out = std::vector<uint8_t>(8192)](unsigned long n) mutable {
        const mqtt::Buffer room(out.data(), out.size());   // in registers: the loop itself is to cost next to nothing
        const size_t expected = bytes.size();
        size_t wrong = 0;
        while (n-- != 0) {
            bench::touch(&packet);
            const mqtt::Encoded result = mqtt::encode(packet, room, version, with_rest);
            bench::touch(room.data);
            wrong |= static_cast<size_t>(result.error) | (result.size ^ expected);
        }
        return wrong == 0;
    }});
    if (with_rest) pack_case(name, packet, count);
    memcpy_case(name, bytes);
}

template <class Packet> void decode_case(const std::string& name, const Packet& packet, Version version, int count) {
    const std::vector<uint8_t> bytes = encoded(packet, version);
    std::vector<uint8_t> stream = bytes;   // and one more behind it
    stream.insert(stream.end(), bytes.begin(), bytes.end());
    cases.push_back({name, "mqtt.hpp", [=](unsigned long n) {
        const uint8_t* const data = stream.data();
        const size_t size = stream.size(), expected = bytes.size();
        size_t wrong = 0;
        while (n-- != 0) {
            bench::touch(data);
            mqtt::FixedHeader header;
            Packet decoded;
            mqtt::Error error = mqtt::read_fixed_header(data, size, header, version);
            if (error == mqtt::Error::ok && header.size != 0 && header.remaining_length <= size - header.size)
                error = mqtt::decode_body(header.first_byte, {data + header.size, header.remaining_length}, decoded, version);
            bench::touch(&decoded);
            wrong |= static_cast<size_t>(error) | (header.packet_size() ^ expected);
        }
        return wrong == 0;
    }});
    unpack_case(name, packet, count);
    memcpy_case(name, bytes);
}

constexpr char topic[] = "sensors/room1/temp";
const mqtt::Subscription filters[] = {{"sensors/+/temp", mqtt::QoS::at_least_once},
                                      {"alarms/#", mqtt::QoS::exactly_once},
                                      {"config/room1", mqtt::QoS::at_most_once}};
constexpr uint8_t granted[] = {1, 2, 0};
const std::string payload(4096, 'x');

void add_cases(Version version, int count) {
    std::string tail = version == Version::v5 ? ", 5" : ", 3.1.1";
    if (version == Version::v5) tail += ", " + std::to_string(count) + " properties";
    static std::vector<std::unique_ptr<Block>> blocks;   // what packets point to
    const auto block = [&](PacketType type) {
        blocks.push_back(std::make_unique<Block>(properties_for(type, count)));
        if (!blocks.back()->ok()) std::abort();
        return mqtt::Properties(*blocks.back());
    };

    mqtt::Connect connect;
    connect.protocol_level = static_cast<uint8_t>(version);
    connect.keep_alive = 60;
    connect.flags = mqtt::Connect::clean_session | mqtt::Connect::has_will | mqtt::Connect::has_user_name |
                    mqtt::Connect::has_password;
    connect.client_id = "room1-sensor";       // 12 bytes
    connect.will_topic = "room1/gone";        // 10
    connect.will_message = "connection lost!";   // 16
    connect.user_name = "operator";           // 8
    connect.password = "password";            // 8
    connect.properties = block(PacketType::connect);
    encode_case("encode CONNECT" + tail, connect, version, count);

    mqtt::Publish publish;
    publish.topic = topic;
    publish.properties = block(PacketType::publish);
    for (const int qos : {0, 1}) {
        publish.qos = static_cast<mqtt::QoS>(qos);
        publish.packet_id = static_cast<uint16_t>(qos * 4711);
        for (const size_t size : {16UL, 256UL, 4096UL}) {
            publish.payload = Bytes(Bytes(payload).data(), size);
            const std::string name = " PUBLISH QoS " + std::to_string(qos) + ", " + std::to_string(size) + " B";
            encode_case("encode" + name + ", copied" + tail, publish, version, count);
            encode_case("encode" + name + ", header only" + tail, publish, version, count, false);
            if (size <= 256) decode_case("decode" + name + tail, publish, version, count);
        }
    }

    mqtt::Subscribe subscribe;
    subscribe.packet_id = 4711;
    subscribe.filters = mqtt::Subscriptions(filters, 3);
    subscribe.properties = block(PacketType::subscribe);
    encode_case("encode SUBSCRIBE(3)" + tail, subscribe, version, count);

    mqtt::Ack puback;
    puback.packet_id = 4711;
    puback.properties = block(PacketType::puback);
    decode_case("decode PUBACK" + tail, puback, version, count);

    mqtt::Suback suback;
    suback.packet_id = 4711;
    suback.reason_codes = granted;
    suback.properties = block(PacketType::suback);
    decode_case("decode SUBACK(3)" + tail, suback, version, count);

    mqtt::Connack connack;
    connack.properties = block(PacketType::connack);
    decode_case("decode CONNACK" + tail, connack, version, count);
}

}  // namespace

int main(int argc, char** argv) {
    add_cases(Version::v3_1_1, 0);
    for (const int count : {0, 3, 10}) add_cases(Version::v5, count);
    return bench::run("codec", std::move(cases), argc, argv);
}
