// Bytes of MQTT 5 that a peer should not send, as hostile.cpp has those of 3.1.1. Whatever they are: no read outside of them
// (each input lies in a heap block of its exact size, so run this under AddressSanitizer), accepted is what the
// specification allows and nothing else, and what is refused is refused for a reason that the packet gives.

#include "mqtt.hpp"

#include "../support/bytes5.hpp"
#include "../support/testing.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace {

using mqtt::Bytes;
using mqtt::Error;
using mqtt::Properties;
using mqtt::Property;
using mqtt::Version;
using wire::Exact;
using wire::Fields;
using wire::Golden;
using wire::Kind;
using wire::Octets;
using wire::PropertyRow;
namespace in = wire::in;

// ------------------------------------------------------------------------------------------ what is wrong with it
// All that is wrong with a packet, up to where it cannot be parsed any further; nothing: it is legal. Written from the
// specification, in another way than mqtt.hpp, and from the tables of bytes5.hpp. Where more than one thing is wrong, the
// specification does not say which of them an answer names.

enum Wrong : unsigned { nothing = 0, malformed = 1, protocol_error = 2, alias_invalid = 4 };

// Reads properties; false: malformed, and what follows cannot be found.
bool properties(Fields& from, in::Place place, unsigned& wrong, bool* has_alias = nullptr) {
    const auto cut = [&wrong] {
        wrong |= malformed;
        return false;
    };
    size_t size, id, value = 0;
    Fields rest{Bytes()};
    if (!from.variable(size) || !from.part(size, rest)) return cut();
    size_t times[128] = {};
    while (!rest.at_end()) {
        std::string_view text, name;
        if (!rest.number(1, id)) return cut();
        const PropertyRow* row = wire::property_row(id);
        if (row == nullptr || (row->places & place) == 0) return cut();
        switch (row->kind) {
        case Kind::byte: if (!rest.number(1, value)) return cut(); break;
        case Kind::two: if (!rest.number(2, value)) return cut(); break;
        case Kind::four: if (!rest.number(4, value)) return cut(); break;
        case Kind::variable: if (!rest.variable(value)) return cut(); break;
        case Kind::pair: if (!rest.field(name) || !rest.field(text)) return cut(); break;
        case Kind::text: case Kind::topic: case Kind::binary: if (!rest.field(text)) return cut(); break;
        }
        if (row->kind <= Kind::variable && (value < row->lowest || value > row->highest))
            wrong |= id == 35 ? alias_invalid : protocol_error;
        if (row->kind == Kind::topic && !wire::is_topic(text)) wrong |= malformed;
        if ((row->kind == Kind::text || row->kind == Kind::pair) && !(wire::is_text(name) && wire::is_text(text)))
            wrong |= malformed;
        if (++times[id] > 1 && (row->many & place) == 0) wrong |= protocol_error;
        if (id == 35 && has_alias != nullptr) *has_alias = true;
    }
    return true;
}

unsigned connect(Fields body) {
    unsigned wrong = nothing;
    std::string_view name, text;
    size_t level, flags, keep_alive;
    if (!body.field(name) || name != "MQTT" || !body.number(1, level) || level != 5) return malformed;
    if (!body.number(1, flags) || !body.number(2, keep_alive)) return malformed;
    const size_t will_bits = flags >> 2 & 15;   // retain, QoS, QoS, will
    const size_t legal_will_bits[] = {0, 1, 3, 5, 9, 11, 13};   // none, or will with QoS 0, 1, 2, without and with retain
    if (std::count(std::begin(legal_will_bits), std::end(legal_will_bits), will_bits) == 0) return malformed;
    if (flags % 2 != 0) return malformed;
    if (!properties(body, in::connect, wrong)) return wrong;
    if (!body.field(text) || !wire::is_text(text)) return wrong | malformed;
    if (will_bits != 0) {
        if (!properties(body, in::will, wrong)) return wrong;
        if (!body.field(text) || !wire::is_topic(text) || !body.field(text)) return wrong | malformed;
    }
    if (flags >= 128 && (!body.field(text) || !wire::is_text(text))) return wrong | malformed;
    if (flags / 64 % 2 == 1 && !body.field(text)) return wrong | malformed;
    return body.at_end() ? wrong : wrong | malformed;
}

unsigned connack(Fields body) {
    unsigned wrong = nothing;
    size_t flags, code;
    if (!body.number(1, flags) || !body.number(1, code)) return malformed;
    if (flags > 1) wrong |= malformed;
    if (!wire::may_have(in::connack, code) || (flags != 0 && code != 0)) wrong |= protocol_error;
    if (!properties(body, in::connack, wrong)) return wrong;
    return body.at_end() ? wrong : wrong | malformed;
}

unsigned publish(Fields body, bool with_id) {
    unsigned wrong = nothing;
    std::string_view topic;
    bool has_alias = false;
    if (!body.field(topic) || (!topic.empty() && !wire::is_topic(topic))) return malformed;
    if (with_id && !body.id()) return malformed;
    if (!properties(body, in::publish, wrong, &has_alias)) return wrong;
    return topic.empty() && !has_alias ? wrong | protocol_error : wrong;
}

// What may be left out at the end: the properties, or both.
unsigned tail(Fields body, in::Place place) {
    unsigned wrong = nothing;
    size_t code;
    if (body.at_end()) return nothing;
    if (!body.number(1, code)) return malformed;
    if (!wire::may_have(place, code)) wrong |= protocol_error;
    if (body.at_end()) return place == in::auth ? wrong | malformed : wrong;
    if (!properties(body, place, wrong)) return wrong;
    return body.at_end() ? wrong : wrong | malformed;
}
unsigned ack(Fields body, in::Place place) { return body.id() ? tail(body, place) : unsigned{malformed}; }

unsigned subscribe(Fields body, bool with_options) {
    unsigned wrong = nothing;
    if (!body.id()) return malformed;
    if (!properties(body, with_options ? in::subscribe : in::unsubscribe, wrong)) return wrong;
    if (body.at_end()) return wrong | protocol_error;
    while (!body.at_end()) {
        std::string_view filter;
        size_t options = 0;
        if (!body.field(filter) || !wire::is_filter5(filter)) return wrong | malformed;
        if (with_options && !body.number(1, options)) return wrong | malformed;
        if (options >= 64) wrong |= malformed;
        const size_t qos = options % 4, no_local = options / 4 % 2, handling = options / 16 % 4;
        if (qos == 3 || handling == 3) wrong |= protocol_error;
        if (no_local == 1 && filter.substr(0, 7) == "$share/") wrong |= protocol_error;
    }
    return wrong;
}

unsigned suback(Fields body, in::Place place) {
    unsigned wrong = nothing;
    if (!body.id()) return malformed;
    if (!properties(body, place, wrong)) return wrong;
    if (body.at_end()) wrong |= protocol_error;
    for (size_t code; body.number(1, code);)
        if (!wire::may_have(place, code)) wrong |= protocol_error;
    return wrong;
}

unsigned what_is_wrong(Bytes packet) {
    if (packet.empty()) return malformed;
    Fields rest(Bytes(packet.data() + 1, packet.size() - 1)), body{Bytes()};
    size_t length;
    if (!rest.variable(length) || !rest.part(length, body) || !rest.at_end()) return malformed;
    switch (packet[0]) {
    case 0x10: return connect(body);
    case 0x20: return connack(body);
    case 0x30: case 0x31: return publish(body, false);
    case 0x32: case 0x33: case 0x34: case 0x35: case 0x3A: case 0x3B: case 0x3C: case 0x3D: return publish(body, true);
    case 0x40: return ack(body, in::puback);
    case 0x50: return ack(body, in::pubrec);
    case 0x62: return ack(body, in::pubrel);
    case 0x70: return ack(body, in::pubcomp);
    case 0x82: return subscribe(body, true);
    case 0x90: return suback(body, in::suback);
    case 0xA2: return subscribe(body, false);
    case 0xB0: return suback(body, in::unsuback);
    case 0xC0: case 0xD0: return length == 0 ? nothing : malformed;
    case 0xE0: return tail(body, in::disconnect);
    case 0xF0: return tail(body, in::auth);
    default: return malformed;
    }
}

// A legal packet as the codec writes it: without the tail that says nothing.
Octets shortest(Bytes packet) {
    Octets bytes(packet.begin(), packet.end());
    const size_t fixed = bytes[0] == 0xE0 || bytes[0] == 0xF0 ? 0 : bytes[0] >= 0x40 && bytes[0] < 0x80 ? 2 : SIZE_MAX;
    if (fixed == SIZE_MAX || bytes[1] > fixed + 2 || bytes[1] == fixed) return bytes;   // long ones have properties
    const bool no_properties = bytes[1] == fixed + 1 || bytes[3 + fixed] == 0;
    if (no_properties && bytes[0] != 0xF0) bytes.resize(3 + fixed);
    if (no_properties && bytes[2 + fixed] == 0) bytes.resize(2 + fixed);
    bytes[1] = static_cast<uint8_t>(bytes.size() - 2);
    return bytes;
}

// ------------------------------------------------------------------------------------------ what the codec says

// Looks at each byte of each property.
size_t sum(Properties list) {
    size_t total = 0;
    for (Property property; list.next(property); total += property.number + property.rule->id) {
        for (const uint8_t byte : property.data) total += byte;
        for (const char c : property.name) total += static_cast<uint8_t>(c);
    }
    return total;
}
template <class Packet> size_t touch(const Packet& packet) {
    size_t total = 0;
    if constexpr (!std::is_same_v<Packet, mqtt::Empty>) total += sum(packet.properties);
    if constexpr (std::is_same_v<Packet, mqtt::Connect>) {
        total += sum(packet.will_properties);
        for (const std::string_view text : {packet.client_id, packet.will_topic, packet.will_message.text(), packet.user_name,
                                            packet.password.text()})
            for (const char c : text) total += static_cast<uint8_t>(c);
    }
    if constexpr (std::is_same_v<Packet, mqtt::Publish>) {
        for (const char c : packet.topic) total += static_cast<uint8_t>(c);
        for (const uint8_t byte : packet.payload) total += byte;
    }
    if constexpr (std::is_same_v<Packet, mqtt::Subscribe>) {
        mqtt::Subscription one;
        for (mqtt::Subscriptions rest = packet.filters; rest.next(one);)
            for (const char c : one.filter) total += static_cast<uint8_t>(c);
    }
    if constexpr (std::is_same_v<Packet, mqtt::Suback>)
        for (const uint8_t code : packet.reason_codes) total += code;
    return total;
}

volatile size_t touched;   // so that the looking is not left out

// Decodes; looks at each byte of each view that came out; encodes again: to the shortest form, which decodes and encodes
// to itself.
template <class Packet> std::string again(Bytes bytes, Error& error) {
    Packet packet;
    error = mqtt::decode(bytes, packet, Version::v5);
    if (error != Error::ok) {
        touched = touch(packet);   // what there is of it is no view to elsewhere, either
        return "";
    }
    touched = touch(packet);
    const Octets expected = shortest(bytes);
    const Exact out(expected.size());
    mqtt::Encoded encoded = mqtt::encode(packet, out.buffer(), Version::v5);
    if (encoded.error != Error::ok || encoded.size != expected.size())
        return "decoded, but does not encode: " + std::string(mqtt::to_string(encoded.error));
    std::string problem = wire::difference(wire::view(expected), out.view());
    if (!problem.empty()) return problem;
    Packet second;
    if (mqtt::decode(out.view(), second, Version::v5) != Error::ok) return "encoded, but does not decode";
    const Exact last(expected.size());
    if (mqtt::encode(second, last.buffer(), Version::v5).error != Error::ok) return "decoded again, but does not encode";
    return wire::difference(out.view(), last.view());
}

std::string again(Bytes bytes, Error& error) {
    switch (bytes.empty() ? 0 : bytes[0] >> 4) {
    case 1: return again<mqtt::Connect>(bytes, error);
    case 2: return again<mqtt::Connack>(bytes, error);
    case 3: return again<mqtt::Publish>(bytes, error);
    case 4: case 5: case 6: case 7: return again<mqtt::Ack>(bytes, error);
    case 8: case 10: return again<mqtt::Subscribe>(bytes, error);
    case 9: case 11: return again<mqtt::Suback>(bytes, error);
    case 14: case 15: return again<mqtt::Disconnect>(bytes, error);
    default: return again<mqtt::Empty>(bytes, error);
    }
}

// CONNECT of 3.1.1 says by itself what it is, and is judged by hostile.cpp.
bool is_older(Bytes bytes, Error error) {
    mqtt::Connect packet;
    return error != Error::malformed_packet && !bytes.empty() && bytes[0] == 0x10 &&
           mqtt::decode(bytes, packet, Version::v5) != Error::malformed_packet && packet.protocol_level == 4;
}

// "" if the codec decodes exactly what is legal, refuses the rest with an error that is right for it, and encodes what it
// decoded. `exact` is to have its exact size.
std::string judge(Bytes exact) {
    Error error = Error::ok;
    const std::string problem = again(exact, error);
    const unsigned wrong = what_is_wrong(exact);
    if (is_older(exact, error)) return "";
    const unsigned said = error == Error::ok                    ? nothing
                          : error == Error::malformed_packet    ? malformed
                          : error == Error::protocol_error      ? protocol_error
                          : error == Error::topic_alias_invalid ? alias_invalid
                                                                : 8U;
    if (problem.empty() && (said == wrong || (said & wrong) != 0)) return "";
    return problem + "\n  wrong (1 malformed, 2 protocol error, 4 alias): " + std::to_string(wrong) + "\n  said: " +
           mqtt::to_string(error) + "\n  " + wire::hex(exact.data(), exact.size());
}
std::string judge(const Octets& bytes) { return judge(Exact(bytes).view()); }

// Of a packet of up to 127 + 2 bytes: its second byte set to what its length asks for.
Octets with_length(Octets bytes) {
    if (bytes.size() >= 2 && bytes.size() < 130) bytes[1] = static_cast<uint8_t>(bytes.size() - 2);
    return bytes;
}

// How the whole list was judged: the first problem, so that a bug does not print a million lines.
class Verdict {
public:
    void operator()(const std::string& problem) {
        if (first_.empty()) first_ = problem;
    }
    const std::string& first() const { return first_; }

private:
    std::string first_;
};

Octets octets(const Golden& golden) { return {golden.bytes.view().begin(), golden.bytes.view().end()}; }

}  // namespace

TEST_CASE("MQTT 5 the golden packets are of all 15 types, and legal") {
    uint32_t types = 0;
    for (const Golden* golden : wire::all5()) {
        INFO(golden->name);
        CHECK(what_is_wrong(golden->bytes.view()) == nothing);
        CHECK(judge(golden->bytes.view()) == "");
        types |= 1U << (golden->bytes.data()[0] >> 4);
    }
    CHECK(types == 0xFFFE);
}

TEST_CASE("MQTT 5 the reference itself: what is wrong with packets of which it is known") {
    static const struct {
        Octets bytes;
        unsigned wrong;
    } rows[] = {
        {{0x40, 4, 0, 1, 0x80, 0}, nothing},
        {{0x40, 3, 0, 1, 0x92}, protocol_error},
        {{0x40, 1, 0}, malformed},
        {{0x40, 6, 0, 1, 0x92, 2, 0x24, 0}, protocol_error | malformed},
        {{0x30, 7, 0, 1, 't', 3, 0x23, 0, 0}, alias_invalid},
        {{0x30, 3, 0, 0, 0}, protocol_error},
        {{0x20, 5, 0, 0, 2, 0x24, 2}, protocol_error},
        {{0x82, 7, 0, 1, 0, 0, 1, 't', 0x43}, malformed | protocol_error},
        {{0x82, 16, 0, 1, 0, 0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'b', 4}, protocol_error},
        {{0xF0, 1, 0x18}, malformed},
        {{0xE0, 1, 0x18}, protocol_error},
        {{0xC0, 1, 0}, malformed},
        {{0xF1, 0}, malformed},
        {{}, malformed},
    };
    for (const auto& row : rows) {
        INFO(wire::hex(row.bytes.data(), row.bytes.size()));
        CHECK(what_is_wrong(wire::view(row.bytes)) == row.wrong);
        CHECK(judge(row.bytes) == "");
    }
    CHECK(shortest(wire::view({0x40, 4, 0, 1, 0x80, 0})) == Octets{0x40, 3, 0, 1, 0x80});
    CHECK(shortest(wire::view({0x40, 4, 0, 1, 0x00, 0})) == Octets{0x40, 2, 0, 1});
    CHECK(shortest(wire::view({0x40, 3, 0, 1, 0x00})) == Octets{0x40, 2, 0, 1});
    CHECK(shortest(wire::view({0xE0, 2, 0x04, 0})) == Octets{0xE0, 1, 0x04});
    CHECK(shortest(wire::view({0xE0, 1, 0x00})) == Octets{0xE0, 0});
    CHECK(shortest(wire::view({0xF0, 2, 0x00, 0})) == Octets{0xF0, 0});
    CHECK(shortest(wire::view({0xF0, 2, 0x18, 0})) == Octets{0xF0, 2, 0x18, 0});
}

TEST_CASE("MQTT 5 every packet truncated at every length: not complete, malformed, and never a read outside") {
    for (const Golden* golden : wire::all5()) {
        INFO(golden->name);
        for (size_t size = 0; size < golden->bytes.size(); ++size) {
            const Exact cut(golden->bytes.data(), size);
            mqtt::FixedHeader header;
            CHECK(mqtt::read_fixed_header(cut.data(), size, header, Version::v5) == Error::ok);
            CHECK(header.size == (size < 2 ? 0 : 2));
            if (size >= 2) CHECK(header.packet_size() == golden->bytes.size());
            Error error = Error::ok;
            CHECK(again(cut.view(), error) == "");
            CHECK(error == Error::malformed_packet);
        }
    }
}

TEST_CASE("MQTT 5 every body truncated at every length, or continued, with a header that says so") {
    Verdict verdict;
    for (const Golden* golden : wire::all5()) {
        const Octets bytes = octets(*golden);
        for (size_t size = 2; size < bytes.size(); ++size)
            verdict(judge(with_length(Octets(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)))));
        for (int added = 0; added < 256; ++added) {
            Octets longer = bytes;
            longer.push_back(static_cast<uint8_t>(added));
            verdict(judge(longer));
            verdict(judge(with_length(longer)));
        }
    }
    CHECK(verdict.first() == "");
}

TEST_CASE("MQTT 5 every packet with every byte set to every value: refused for what is wrong with it, or legal and encoded to "
          "the same") {
    Verdict verdict;
    for (const Golden* golden : wire::all5()) {
        const Exact mutant(octets(*golden));
        for (size_t at = 0; at < mutant.size(); ++at) {
            const uint8_t original = mutant.data()[at];
            for (int value = 0; value < 256; ++value) {
                mutant.data()[at] = static_cast<uint8_t>(value);
                verdict(judge(mutant.view()));
            }
            mutant.data()[at] = original;
        }
    }
    CHECK(verdict.first() == "");
}

TEST_CASE("MQTT 5 every packet without each of its bytes, and with each of them twice") {
    Verdict verdict;
    for (const Golden* golden : wire::all5()) {
        const Octets bytes = octets(*golden);
        for (size_t at = 0; at < bytes.size(); ++at) {
            Octets shorter = bytes, longer = bytes;
            shorter.erase(shorter.begin() + static_cast<ptrdiff_t>(at));
            longer.insert(longer.begin() + static_cast<ptrdiff_t>(at), uint8_t{bytes[at]});
            verdict(judge(shorter));
            verdict(judge(with_length(shorter)));
            verdict(judge(longer));
            verdict(judge(with_length(longer)));
        }
    }
    CHECK(verdict.first() == "");
}

TEST_CASE("MQTT 5 every body is read by the structs that are for its type, and by no other") {
    for (const Golden* golden : wire::all5()) {
        INFO(golden->name);
        const Bytes bytes = golden->bytes.view();
        mqtt::Connect connect;
        mqtt::Connack connack;
        mqtt::Publish publish;
        mqtt::Ack ack;
        mqtt::Subscribe subscribe;
        mqtt::Suback suback;
        mqtt::Empty empty;
        mqtt::Disconnect last;
        const Version v5 = Version::v5;
        const Error errors[] = {mqtt::decode(bytes, connect, v5), mqtt::decode(bytes, connack, v5),
                                mqtt::decode(bytes, publish, v5), mqtt::decode(bytes, ack, v5),
                                mqtt::decode(bytes, subscribe, v5), mqtt::decode(bytes, suback, v5),
                                mqtt::decode(bytes, empty, v5), mqtt::decode(bytes, last, v5)};
        CHECK(std::count(std::begin(errors), std::end(errors), Error::ok) == 1);
        CHECK(std::count(std::begin(errors), std::end(errors), Error::malformed_packet) == 7);
    }
}

TEST_CASE("MQTT 5 packets read as 3.1.1, and those of 3.1.1 read as MQTT 5, are never read outside") {
    size_t both = 0;
    for (const bool newer : {false, true}) {
        for (const Golden* golden : newer ? wire::all5() : Golden::all()) {
            INFO(golden->name);
            const Bytes bytes = golden->bytes.view();
            const Version other = newer ? Version::v3_1_1 : Version::v5;
            mqtt::Connack connack;
            mqtt::Publish publish;
            mqtt::Ack ack;
            mqtt::Subscribe subscribe;
            mqtt::Suback suback;
            mqtt::Disconnect last;
            size_t good = 0;
            if (mqtt::decode(bytes, connack, other) == Error::ok) ++good;
            if (mqtt::decode(bytes, publish, other) == Error::ok) ++good;
            if (mqtt::decode(bytes, ack, other) == Error::ok) ++good;
            if (mqtt::decode(bytes, subscribe, other) == Error::ok) ++good;
            if (mqtt::decode(bytes, suback, other) == Error::ok) ++good;
            if (mqtt::decode(bytes, last, other) == Error::ok) ++good;
            touched = touch(connack) + touch(publish) + touch(ack) + touch(subscribe) + touch(suback) + touch(last);
            CHECK(good <= 1);
            both += good;
        }
    }
    CHECK(both != 0);   // acknowledgements are the same in both
}

TEST_CASE("MQTT 5 a list of a SUBSCRIBE that was refused can still be walked without a read outside, and is not sent on") {
    const Octets packets[] = {
        {0x82, 12, 0, 1, 0, 0, 1, 't', 1, 0, 9, 'u', 0, 0},   // the second filter is longer than the packet
        {0x82, 11, 0, 1, 0, 0, 1, 't', 0x43, 0, 1, 'u', 0},   // reserved bits
        {0x82, 11, 0, 1, 0, 0, 1, 't', 3, 0, 1, 'u', 0},      // QoS 3
        {0x82, 11, 0, 1, 0, 0, 1, 't', 0x30, 0, 1, 'u', 3},
        {0xA2, 9, 0, 1, 0, 0, 1, 't', 0, 9, 'u'},
    };
    for (const Octets& bytes : packets) {
        const Exact exact(bytes);
        mqtt::Subscribe packet;
        CHECK(mqtt::decode(exact.view(), packet, Version::v5) != Error::ok);
        uint8_t out[64];
        CHECK(mqtt::encode(packet, out, Version::v5).error == Error::invalid_argument);
        mqtt::Subscription subscription;
        size_t count = 0;
        while (packet.filters.next(subscription)) ++count;
        CHECK(count <= 3);
    }
}

TEST_CASE("MQTT 5 300,000 random packets: each is legal and encoded to the same, or refused for what is wrong with it") {
    constexpr uint64_t seed = 20190307;   // of the first; each has its own, so that one can be run alone
    static const uint8_t first_bytes[] = {0x10, 0x20, 0x20, 0x30, 0x31, 0x32, 0x33, 0x3B, 0x34, 0x3D, 0x40, 0x50, 0x62, 0x70,
                                          0x82, 0x82, 0x90, 0x90, 0xA2, 0xA2, 0xB0, 0xB0, 0xC0, 0xE0, 0xE0, 0xF0, 0xF0};
    static const uint8_t telling[] = {0, 0, 0, 1, 1, 2, 3, 4, 0x26, 0x1F, 0x23, 0x0B, 0x11, 0x15, 0x21, 0x27,
                                      '+', '#', '/', '$', 'a', 0x7F, 0x80, 0x87, 0x92, 0xC2, 0xED, 0xFF};
    const Golden::List& golden = wire::all5();
    const size_t runs = testing::long_run() ? 5000000 : 300000;
    size_t good = 0, kinds[8] = {};
    std::string problem;
    Octets bytes;
    for (size_t run = 0; run < runs && problem.empty(); ++run) {
        wire::Random random(seed + run);
        bytes.clear();
        const auto octet = [&] { return random.below(2) == 0 ? random.octet() : telling[random.below(sizeof telling)]; };
        const size_t way = random.below(4);
        if (way == 0) {
            // A header that exists, and anything behind it.
            bytes = {first_bytes[random.below(sizeof first_bytes)], 0};
            for (size_t left = random.below(24); left != 0; --left) bytes.push_back(octet());
            bytes = with_length(bytes);
        } else if (way == 1) {
            // A few properties, most of them where they may be.
            const in::Place place = in::places[random.below(14)];
            Octets block;
            for (size_t left = random.below(5); left != 0; --left) {
                const PropertyRow& row = wire::property_table[random.below(27)];
                if ((row.places & place) == 0 && random.below(8) != 0) continue;
                block.push_back(row.id);
                switch (row.kind) {
                case Kind::byte: block.push_back(random.below(8) == 0 ? octet() : random.octet() & 1); break;
                case Kind::two: wire::append(block, {octet(), octet()}); break;
                case Kind::four: wire::append(block, {octet(), octet(), octet(), octet()}); break;
                case Kind::variable: wire::append(block, wire::variable(random.below(size_t{1} << random.below(29)))); break;
                case Kind::pair: wire::append(block, {0, 1, octet(), 0, 0}); break;
                default: wire::append(block, {0, 1, octet()}); break;
                }
            }
            Octets body;
            uint8_t first = 0;
            switch (place) {
            case in::connect: first = 0x10; body = {0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 0}; break;
            case in::will: first = 0x10; body = {0, 4, 'M', 'Q', 'T', 'T', 5, 0x06, 0, 0, 0, 0, 0}; break;
            case in::connack: first = 0x20; body = {0, octet()}; break;
            case in::publish: first = 0x30; body = {0, 0}; break;
            case in::puback: first = 0x40; body = {0, 1, octet()}; break;
            case in::pubrec: first = 0x50; body = {0, 1, octet()}; break;
            case in::pubrel: first = 0x62; body = {0, 1, octet()}; break;
            case in::pubcomp: first = 0x70; body = {0, 1, octet()}; break;
            case in::subscribe: first = 0x82; body = {0, 1}; break;
            case in::suback: first = 0x90; body = {0, 1}; break;
            case in::unsubscribe: first = 0xA2; body = {0, 1}; break;
            case in::unsuback: first = 0xB0; body = {0, 1}; break;
            case in::disconnect: first = 0xE0; body = {octet()}; break;
            case in::auth: first = 0xF0; body = {octet()}; break;
            }
            wire::append(body, wire::variable(block.size()));
            wire::append(body, block);
            switch (place) {
            case in::connect: wire::append(body, {0, 0}); break;
            case in::will: wire::append(body, {0, 1, 'w', 0, 0}); break;
            case in::publish: wire::append(body, {octet()}); break;
            case in::subscribe: wire::append(body, {0, 1, 'f', octet()}); break;
            case in::unsubscribe: wire::append(body, {0, 1, octet()}); break;
            case in::suback: case in::unsuback: wire::append(body, {octet()}); break;
            default: break;
            }
            bytes = wire::packet(first, body);
        } else {
            // A golden packet, and up to four accidents.
            bytes = octets(*golden[random.below(golden.size())]);
            for (size_t left = random.below(5); left != 0; --left) {
                const ptrdiff_t at = static_cast<ptrdiff_t>(random.below(bytes.size()));
                switch (random.below(5)) {
                case 0: bytes[static_cast<size_t>(at)] = octet(); break;
                case 1: bytes[static_cast<size_t>(at)] ^= static_cast<uint8_t>(1U << random.below(8)); break;
                case 2: bytes.insert(bytes.begin() + at, octet()); break;
                case 3: bytes.erase(bytes.begin() + at); break;
                default: bytes.push_back(uint8_t{bytes[static_cast<size_t>(at)]}); break;
                }
                if (bytes.empty()) bytes.push_back(octet());
            }
            if (random.below(4) != 0) bytes = with_length(bytes);
        }
        const Exact exact(bytes);
        problem = judge(exact.view());
        if (!problem.empty()) problem += "\n  seed " + std::to_string(seed + run);
        const unsigned wrong = what_is_wrong(exact.view());
        ++kinds[wrong];
        if (wrong == nothing) ++good;
    }
    CHECK(problem == "");
    CHECK(good > runs / 10);   // else it tries only one side
    CHECK(good < runs / 10 * 9);
    CHECK(kinds[protocol_error] > runs / 100);
    CHECK(kinds[alias_invalid] != 0);
}
