// Bytes of MQTT 3.1.1 that a peer should not send (hostile5.cpp: of MQTT 5). Whatever they are: no read outside of them
// (each input lies in a heap block of its exact size, so run this under AddressSanitizer), and accepted is what the
// specification allows, and nothing else.

#include "mqtt.hpp"

#include "../support/bytes.hpp"
#include "../support/testing.hpp"

#include <doctest/doctest.h>

#include <algorithm>

namespace {

using mqtt::Bytes;
using mqtt::Error;
using mqtt::PacketType;
using wire::Exact;
using wire::Fields;
using wire::Golden;
using wire::Octets;

// ------------------------------------------------------------------------------------------ what is legal
// Is this one legal packet of MQTT 3.1.1 and nothing else? Written from the specification, in another way than mqtt.hpp:
// each first byte that exists is listed, and fields are cut off the front of a string.

bool legal_connect(Fields in) {
    std::string_view name, text;
    size_t level, flags, keep_alive;
    if (!in.field(name) || name != "MQTT" || !in.number(1, level) || level != 4) return false;
    if (!in.number(1, flags) || !in.number(2, keep_alive)) return false;
    const size_t will_bits = flags >> 2 & 15;   // retain, QoS, QoS, will
    const size_t legal_will_bits[] = {0, 1, 3, 5, 9, 11, 13};   // none, or will with QoS 0, 1, 2, without and with retain
    if (std::count(std::begin(legal_will_bits), std::end(legal_will_bits), will_bits) == 0) return false;
    if (flags % 2 != 0 || flags / 64 == 1) return false;        // reserved; a password without a user name
    if (!in.field(text) || !wire::is_text(text)) return false;
    if (will_bits != 0 && (!in.field(text) || !wire::is_topic(text) || !in.field(text))) return false;
    if (flags >= 128 && (!in.field(text) || !wire::is_text(text))) return false;
    if (flags >= 192 && !in.field(text)) return false;
    return in.at_end();
}

bool legal_subscribe(Fields in, bool with_qos) {
    if (!in.id() || in.at_end()) return false;
    while (!in.at_end()) {
        std::string_view filter;
        size_t qos = 0;
        if (!in.field(filter) || !wire::is_filter(filter)) return false;
        if (with_qos && (!in.number(1, qos) || qos > 2)) return false;
    }
    return true;
}

bool legal_suback(Fields in) {
    if (!in.id() || in.at_end()) return false;
    for (size_t code; in.number(1, code);)
        if (code != 0 && code != 1 && code != 2 && code != 128) return false;
    return true;
}

bool legal_publish(Fields in, bool with_id) {
    std::string_view topic;
    return in.field(topic) && wire::is_topic(topic) && (!with_id || in.id());
}

bool legal(Bytes packet) {
    size_t length = 0, factor = 1, at = 1;
    do {
        if (at > 4 || at >= packet.size()) return false;
        length += packet[at] % 128 * factor;
        factor *= 128;
    } while (packet[at++] >= 128);
    if (at > 2 && packet[at - 1] == 0) return false;   // the same length has a shorter form
    if (packet.size() != at + length) return false;
    const Bytes body(packet.data() + at, length);
    const Fields in(body);
    Fields ack(body);
    switch (packet[0]) {
    case 0x10: return legal_connect(in);
    case 0x20: return length == 2 && ((body[0] == 0 && body[1] < 6) || (body[0] == 1 && body[1] == 0));
    case 0x30: case 0x31: return legal_publish(in, false);
    case 0x32: case 0x33: case 0x34: case 0x35: case 0x3A: case 0x3B: case 0x3C: case 0x3D: return legal_publish(in, true);
    case 0x40: case 0x50: case 0x62: case 0x70: case 0xB0: return length == 2 && ack.id();
    case 0x82: return legal_subscribe(in, true);
    case 0xA2: return legal_subscribe(in, false);
    case 0x90: return legal_suback(in);
    case 0xC0: case 0xD0: case 0xE0: return length == 0;
    default: return false;
    }
}

// ------------------------------------------------------------------------------------------ what the codec says

// Decodes; looks at each byte of each view that came out; encodes again, into exactly the same size.
template <class Packet> std::string again(Bytes bytes, Error& error) {
    Packet packet;
    error = mqtt::decode(bytes, packet);
    if constexpr (mqtt::has_v5 && std::is_same_v<Packet, mqtt::Connect>) {
        // It says by itself that it is of MQTT 5, and is judged by hostile5.cpp.
        if (packet.protocol_name == "MQTT" && packet.protocol_level == 5) error = Error::malformed_packet;
    }
    if (error == Error::malformed_packet) return "";
    if (error != Error::ok) return "neither ok nor malformed: " + std::string(mqtt::to_string(error));
    const Exact out(bytes.size());
    const mqtt::Encoded encoded = mqtt::encode(packet, out.buffer());
    if (encoded.error != Error::ok || encoded.size != bytes.size())
        return "decoded, but does not encode: " + std::string(mqtt::to_string(encoded.error));
    return wire::difference(bytes, out.view());
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

// "" if the codec decodes exactly what is legal, and encodes it to the same bytes. `exact` is to have its exact size.
std::string judge(Bytes exact) {
    Error error = Error::ok;
    const std::string problem = again(exact, error);
    const bool expected = legal(exact);
    if (problem.empty() && expected == (error == Error::ok)) return "";
    return problem + (expected ? "\n  legal:   " : "\n  illegal: ") + wire::hex(exact.data(), exact.size()) + "\n  said: " +
           mqtt::to_string(error);
}
std::string judge(const Octets& bytes) { return judge(Exact(bytes).view()); }

bool malformed(const Octets& bytes) {
    const Exact exact(bytes);
    Error error = Error::ok;
    return again(exact.view(), error).empty() && error == Error::malformed_packet && !legal(exact.view());
}
bool accepted(const Octets& bytes) {
    const Exact exact(bytes);
    Error error = Error::malformed_packet;
    return again(exact.view(), error).empty() && error == Error::ok && legal(exact.view());
}

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

TEST_CASE("the golden packets are of all 14 types, and legal") {
    uint32_t types = 0;
    for (const Golden* golden : Golden::all()) {
        INFO(golden->name);
        CHECK(judge(golden->bytes.view()) == "");
        CHECK(accepted(octets(*golden)));
        types |= 1U << (golden->bytes.data()[0] >> 4);
    }
    CHECK(types == 0x7FFE);
}

TEST_CASE("every packet truncated at every length: not complete, malformed, and never a read outside") {
    for (const Golden* golden : Golden::all()) {
        INFO(golden->name);
        for (size_t size = 0; size < golden->bytes.size(); ++size) {
            const Exact cut(golden->bytes.data(), size);
            mqtt::FixedHeader header;
            CHECK(mqtt::read_fixed_header(cut.data(), size, header) == Error::ok);
            CHECK(header.size == (size < 2 ? 0 : 2));
            if (size >= 2) CHECK(header.packet_size() == golden->bytes.size());
            Error error = Error::ok;
            CHECK(again(cut.view(), error) == "");
            CHECK(error == Error::malformed_packet);
        }
    }
    mqtt::Ack ack;
    CHECK(mqtt::decode(Bytes(), ack) == Error::malformed_packet);
}

TEST_CASE("every body truncated at every length, or continued, with a header that says so") {
    Verdict verdict;
    for (const Golden* golden : Golden::all()) {
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

TEST_CASE("every packet with every byte set to every value: malformed, or legal and encoded to the same bytes") {
    Verdict verdict;
    for (const Golden* golden : Golden::all()) {
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

TEST_CASE("every body is read by the structs that are for its type, and by no other") {
    for (const Golden* golden : Golden::all()) {
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
        const Error errors[] = {mqtt::decode(bytes, connect), mqtt::decode(bytes, connack), mqtt::decode(bytes, publish),
                                mqtt::decode(bytes, ack), mqtt::decode(bytes, subscribe), mqtt::decode(bytes, suback),
                                mqtt::decode(bytes, empty), mqtt::decode(bytes, last)};
        CHECK(std::count(std::begin(errors), std::end(errors), Error::ok) == 1);
        CHECK(std::count(std::begin(errors), std::end(errors), Error::malformed_packet) == 7);
    }
}

// ------------------------------------------------------------------------------------------ 2.2 the fixed header

TEST_CASE("[MQTT-2.2.2-2] of the 256 first bytes the 23 of table 2.2 are good, at once; all others are malformed") {
    const uint8_t good[] = {
        0x10,                                                       // CONNECT
        0x20,                                                       // CONNACK
        0x30, 0x31,                                                 // PUBLISH, QoS 0; no DUP [MQTT-3.3.1-2]
        0x32, 0x33, 0x3A, 0x3B,                                     // QoS 1
        0x34, 0x35, 0x3C, 0x3D,                                     // QoS 2; QoS 3 does not exist [MQTT-3.3.1-4]
        0x40,                                                       // PUBACK
        0x50,                                                       // PUBREC
        0x62,                                                       // PUBREL
        0x70,                                                       // PUBCOMP
        0x82,                                                       // SUBSCRIBE
        0x90,                                                       // SUBACK
        0xA2,                                                       // UNSUBSCRIBE
        0xB0,                                                       // UNSUBACK
        0xC0,                                                       // PINGREQ
        0xD0,                                                       // PINGRESP
        0xE0,                                                       // DISCONNECT
    };
    CHECK(sizeof good == 23);
    for (int value = 0; value < 256; ++value) {
        CAPTURE(value);
        const uint8_t first = static_cast<uint8_t>(value);
        const bool is_good = std::count(std::begin(good), std::end(good), first) == 1;
        const Error expected = is_good ? Error::ok : Error::malformed_packet;
        const Octets inputs[] = {{first}, {first, 0}, {first, 0x80}, {first, 0xFF, 0xFF, 0xFF, 0x7F}};
        for (const Octets& input : inputs) {
            const Exact exact(input);
            mqtt::FixedHeader header;
            CHECK(mqtt::read_fixed_header(exact.data(), exact.size(), header) == expected);
        }
    }
}

TEST_CASE("packet types 0 and 15 are malformed, whatever their flags") {
    for (int flags = 0; flags < 16; ++flags) {
        CHECK(malformed({static_cast<uint8_t>(0x00 | flags), 2, 0, 1}));
        CHECK(malformed({static_cast<uint8_t>(0xF0 | flags), 2, 0, 1}));
        CHECK(malformed({static_cast<uint8_t>(0x00 | flags), 0}));
        CHECK(malformed({static_cast<uint8_t>(0xF0 | flags), 0}));
    }
}

TEST_CASE("a remaining length of five bytes is malformed, at the fourth that is continued") {
    const uint8_t last[] = {0x00, 0x01, 0x7F, 0x80, 0xFF};
    for (const uint8_t fifth : last) {
        const Octets bytes = {0x30, 0x80, 0x80, 0x80, 0x80, fifth};
        for (size_t size = 0; size <= bytes.size(); ++size) {
            const Exact exact(bytes.data(), size);
            mqtt::FixedHeader header;
            CHECK(mqtt::read_fixed_header(exact.data(), size, header) == (size < 5 ? Error::ok : Error::malformed_packet));
            CHECK(header.size == 0);
        }
        CHECK(malformed({0x30, 0xFF, 0xFF, 0xFF, 0xFF, fifth}));   // a shift that overflows, 2^32 - 1, and what it wraps to
        CHECK(malformed({0x30, 0x83, 0x80, 0x80, 0x80, fifth, 0, 1, 't'}));
    }
}

TEST_CASE("a remaining length that is not in its shortest form is malformed") {
    CHECK(malformed({0xC0, 0x80, 0x00}));
    CHECK(malformed({0xC0, 0x80, 0x80, 0x00}));
    CHECK(malformed({0xC0, 0x80, 0x80, 0x80, 0x00}));
    CHECK(malformed({0x40, 0x82, 0x00, 0, 1}));
    CHECK(malformed({0x40, 0x82, 0x80, 0x00, 0, 1}));
    CHECK(malformed({0x40, 0x82, 0x80, 0x80, 0x00, 0, 1}));
    Octets full = {0x30, 0xFF, 0x00, 0, 1, 't'};   // 127 in two bytes
    full.resize(3 + 127);
    CHECK(malformed(full));
    Octets larger = {0x30, 0xFF, 0xFF, 0x00, 0, 1, 't'};   // 16383 in three bytes
    larger.resize(4 + 16383);
    CHECK(malformed(larger));
    larger[3] = 0x01;   // 32767
    larger.resize(4 + 32767);
    CHECK(accepted(larger));
}

TEST_CASE("a remaining length beyond, or before, the end of what is there is malformed (CVE-2021-41036)") {
    const uint8_t lengths[] = {0, 1, 2, 3, 5, 6, 0x7F};
    for (const uint8_t length : lengths) CHECK(malformed({0x30, length, 0, 1, 't', '!'}));
    CHECK(accepted({0x30, 4, 0, 1, 't', '!'}));
    CHECK(malformed({0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 't', '!'}));
    CHECK(malformed({0x20, 0xFF, 0xFF, 0xFF, 0x7F}));
    CHECK(malformed({0x90, 0x80, 0x80, 0x80, 0x01, 0, 1, 0}));
}

TEST_CASE("a remaining length of 2,097,152 and more is accepted") {
    Octets bytes = {0x30, 0x80, 0x80, 0x80, 0x01, 0, 1, 't'};
    bytes.resize(5 + 2097152, 'x');
    CHECK(accepted(bytes));
    bytes[1] = 0x88;
    CHECK(malformed(bytes));
    bytes.resize(5 + 2097160, 'y');
    CHECK(accepted(bytes));
}

TEST_CASE("[MQTT-3.14.1-1] PINGREQ, PINGRESP and DISCONNECT with a body, and other packets without one, are malformed") {
    for (const uint8_t first : Octets{0xC0, 0xD0, 0xE0}) {
        CHECK(accepted({first, 0}));
        CHECK(malformed({first, 1, 0}));
        CHECK(malformed({first, 2, 0, 0}));
    }
    for (const uint8_t first : Octets{0x10, 0x20, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0})
        CHECK(malformed({first, 0}));
}

// ------------------------------------------------------------------------------------------ 3.1 CONNECT

namespace {

// CONNECT with these flags, client id "id", and then `payload`.
Octets connect_with(uint8_t flags, std::initializer_list<uint8_t> payload) {
    Octets bytes = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, flags, 0, 60, 0, 2, 'i', 'd'};
    wire::append(bytes, payload);
    return with_length(bytes);
}

struct Protocol {
    std::string name;
    int level;
};
// What decode() tells about a CONNECT of another protocol.
Protocol protocol(std::initializer_list<uint8_t> name_and_level) {
    Octets bytes = {0x10, 0};
    wire::append(bytes, name_and_level);
    wire::append(bytes, {0x02, 0, 60, 0, 0});   // connect flags, keep alive, client id
    const Exact exact(with_length(bytes));
    mqtt::Connect packet;
    packet.protocol_name = "?";
    packet.protocol_level = 0xFF;
    CHECK(mqtt::decode(exact.view(), packet) == Error::malformed_packet);
    return {std::string(packet.protocol_name), packet.protocol_level};
}

}  // namespace

TEST_CASE("[MQTT-3.1.2-3] [MQTT-3.1.2-13] [MQTT-3.1.2-14] [MQTT-3.1.2-15] [MQTT-3.1.2-22] "
          "of the 256 connect flags 42 go together; all others are malformed") {
    int good = 0;
    for (int value = 0; value < 256; ++value) {
        CAPTURE(value);
        const uint8_t flags = static_cast<uint8_t>(value);
        Octets bytes = connect_with(flags, {});
        if ((flags & 0x04) != 0) wire::append(bytes, {0, 1, 't', 0, 1, 'm'});   // will topic, will message
        if ((flags & 0x80) != 0) wire::append(bytes, {0, 1, 'u'});              // user name
        if ((flags & 0x40) != 0) wire::append(bytes, {0, 1, 'p'});              // password
        bytes = with_length(bytes);
        bool expected = (flags & 0x01) == 0;                                    // reserved
        if ((flags & 0x18) == 0x18) expected = false;                           // will QoS 3
        if ((flags & 0x04) == 0 && (flags & 0x18) != 0) expected = false;       // will QoS without will
        if ((flags & 0x04) == 0 && (flags & 0x20) != 0) expected = false;       // will retain without will
        if ((flags & 0x80) == 0 && (flags & 0x40) != 0) expected = false;       // password without user name
        CHECK(accepted(bytes) == expected);
        CHECK(malformed(bytes) != expected);
        if (expected) ++good;
    }
    CHECK(good == 42);
}

TEST_CASE("[MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.2-20] [MQTT-3.1.2-21] "
          "CONNECT with a field that its flags do not announce, or without one that they do, is malformed") {
    CHECK(accepted(connect_with(0x02, {})));
    CHECK(malformed(connect_with(0x02, {0, 1, 't', 0, 1, 'm'})));   // a will without its flag
    CHECK(malformed(connect_with(0x02, {0, 1, 'u'})));              // a user name without its flag
    CHECK(malformed(connect_with(0x82, {0, 1, 'u', 0, 1, 'p'})));   // a password without its flag
    CHECK(malformed(connect_with(0x06, {})));                       // no will
    CHECK(malformed(connect_with(0x06, {0, 1, 't'})));              // no will message
    CHECK(malformed(connect_with(0x82, {})));                       // no user name
    CHECK(malformed(connect_with(0xC2, {0, 1, 'u'})));              // no password
    CHECK(accepted(connect_with(0xC6, {0, 1, 't', 0, 0, 0, 0, 0, 0})));
    CHECK(malformed(connect_with(0xC6, {0, 0, 0, 0, 0, 0, 0, 0})));         // an empty will topic
    CHECK(malformed(connect_with(0x06, {0, 1, '#', 0, 0})));                // a will topic with a wildcard
    CHECK(malformed(connect_with(0x06, {0, 2, 't', 0x00, 0, 0})));          // a will topic with U+0000
    CHECK(accepted(connect_with(0x06, {0, 1, 't', 0, 3, 0x00, 0xFF, '#'})));   // a will message may be anything
    CHECK(malformed(connect_with(0x82, {0, 2, 0xC0, 0x80})));               // a user name with U+0000, overlong
    CHECK(accepted(connect_with(0xC2, {0, 1, 'u', 0, 2, 0xC0, 0x80})));     // a password may be anything
}

TEST_CASE("[MQTT-3.1.3-3] [MQTT-3.1.3-4] CONNECT without a client id, or with one that is not UTF-8, is malformed") {
    CHECK(malformed({0x10, 10, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60}));
    CHECK(malformed({0x10, 11, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0}));
    CHECK(malformed({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'i'}));   // longer than the packet
    CHECK(malformed({0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 0xC3, 0x28}));
    CHECK(malformed({0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'i', 0x00}));
    CHECK(accepted({0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'i', 'd'}));
    CHECK(accepted({0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 60, 0, 0}));   // whether it may be empty is no matter of bytes
}

TEST_CASE("[MQTT-3.1.2-1] [MQTT-3.1.2-2] CONNECT of another protocol is malformed, with its name and level told") {
    Protocol told = protocol({0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3});
    CHECK(told.name == "MQIsdp");
    CHECK(told.level == 3);
    told = protocol({0, 4, 'm', 'q', 't', 't', 4});
    CHECK(told.name == "mqtt");
    CHECK(told.level == 4);
    told = protocol({0, 0, 4});
    CHECK(told.name.empty());
    CHECK(told.level == 4);
    for (int level = 0; level < 256; ++level) {
        if (level == 4 || (mqtt::has_v5 && level == 5)) continue;
        told = protocol({0, 4, 'M', 'Q', 'T', 'T', static_cast<uint8_t>(level)});
        CHECK(told.name == "MQTT");
        CHECK(told.level == level);
    }
}

TEST_CASE("a client id, user name or password over 255 bytes is accepted") {
    for (const size_t length : {size_t{255}, size_t{256}, size_t{300}, size_t{4000}}) {
        const uint8_t high = static_cast<uint8_t>(length / 256), low = static_cast<uint8_t>(length % 256);
        const size_t remaining = 10 + 3 * (2 + length);   // 128 to 16383
        Octets bytes = {0x10, static_cast<uint8_t>(remaining % 128 + 128), static_cast<uint8_t>(remaining / 128)};
        wire::append(bytes, {0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 60});
        for (int i = 0; i < 3; ++i) {
            wire::append(bytes, {high, low});
            wire::append(bytes, length, 'x');
        }
        CHECK(accepted(bytes));
        bytes.pop_back();
        CHECK(malformed(bytes));
    }
}

// ------------------------------------------------------------------------------------------ 3.2 CONNACK

TEST_CASE("[MQTT-3.2.2-4] [MQTT-3.2.2-6] of the 65536 bodies of CONNACK 7 are legal: reserved flags, a session present with "
          "a refusal, and codes above 5 are malformed") {
    int good = 0;
    const Exact bytes(Octets{0x20, 2, 0, 0});
    for (int flags = 0; flags < 256; ++flags) {
        for (int code = 0; code < 256; ++code) {
            bytes.data()[2] = static_cast<uint8_t>(flags);
            bytes.data()[3] = static_cast<uint8_t>(code);
            const bool expected = (flags == 0 && code <= 5) || (flags == 1 && code == 0);
            mqtt::Connack packet;
            const Error error = mqtt::decode(bytes.view(), packet);
            if (error != (expected ? Error::ok : Error::malformed_packet)) FAIL_CHECK("flags " << flags << ", code " << code);
            if (error == Error::ok) ++good;
        }
    }
    CHECK(good == 7);
    CHECK(malformed({0x20, 0}));
    CHECK(malformed({0x20, 1, 0}));
    CHECK(malformed({0x20, 3, 0, 0, 0}));   // as long as one of MQTT 5
}

// ------------------------------------------------------------------------------------------ 3.3 PUBLISH

TEST_CASE("[MQTT-3.3.1-4] PUBLISH with QoS 3 is malformed") {
    for (const uint8_t first : Octets{0x36, 0x37, 0x3E, 0x3F}) {
        CHECK(malformed({first, 6, 0, 1, 't', 0, 1, 'x'}));
        mqtt::Publish packet;
        const uint8_t body[] = {0, 1, 't', 0, 1, 'x'};
        CHECK(mqtt::decode_body(first, body, packet) == Error::malformed_packet);
    }
    CHECK(accepted({0x34, 6, 0, 1, 't', 0, 1, 'x'}));
}

TEST_CASE("[MQTT-3.3.1-2] PUBLISH with QoS 0 and DUP is malformed") {
    CHECK(malformed({0x38, 4, 0, 1, 't', 'x'}));
    CHECK(malformed({0x39, 4, 0, 1, 't', 'x'}));
    CHECK(accepted({0x30, 4, 0, 1, 't', 'x'}));
    CHECK(accepted({0x3A, 6, 0, 1, 't', 0, 1, 'x'}));
}

TEST_CASE("[MQTT-3.3.2-2] [MQTT-4.7.1-1] [MQTT-4.7.3-1] PUBLISH with a wildcard in its topic, or an empty one, is malformed") {
    CHECK(malformed({0x30, 3, 0, 1, '+'}));
    CHECK(malformed({0x30, 3, 0, 1, '#'}));
    CHECK(malformed({0x30, 5, 0, 3, 'a', '/', '+'}));
    CHECK(malformed({0x30, 5, 0, 3, 'a', '/', '#'}));
    CHECK(malformed({0x30, 5, 0, 3, 'a', '+', 'b'}));
    CHECK(malformed({0x30, 4, 0, 2, 'a', '#'}));
    CHECK(malformed({0x30, 2, 0, 0}));
    CHECK(malformed({0x30, 3, 0, 0, 'x'}));
    CHECK(accepted({0x30, 3, 0, 1, '$'}));
    CHECK(accepted({0x30, 4, 0, 1, 't', '#'}));   // in the payload it is a byte
}

TEST_CASE("[MQTT-3.3.2-1] [MQTT-1.5.3-1] [MQTT-1.5.3-2] PUBLISH with a topic that is not UTF-8, or has U+0000 or a "
          "surrogate, is malformed") {
    CHECK(malformed({0x30, 3, 0, 1, 0x00}));
    CHECK(malformed({0x30, 5, 0, 3, 'a', 0x00, 'b'}));
    CHECK(malformed({0x30, 3, 0, 1, 0x80}));                      // a continuation
    CHECK(malformed({0x30, 3, 0, 1, 0xC3}));                      // nothing continues it
    CHECK(malformed({0x30, 5, 0, 1, 0xC3, 0xA4, 0xA4}));          // nor does the payload
    CHECK(malformed({0x30, 4, 0, 2, 0xC0, 0x80}));                // U+0000, overlong
    CHECK(malformed({0x30, 4, 0, 2, 0xC1, 0xBF}));                // U+007F, overlong
    CHECK(malformed({0x30, 5, 0, 3, 0xE0, 0x9F, 0xBF}));          // U+07FF, overlong
    CHECK(malformed({0x30, 6, 0, 4, 0xF0, 0x8F, 0xBF, 0xBF}));    // U+FFFF, overlong
    CHECK(malformed({0x30, 5, 0, 3, 0xED, 0xA0, 0x80}));          // U+D800
    CHECK(malformed({0x30, 5, 0, 3, 0xED, 0xBF, 0xBF}));          // U+DFFF
    CHECK(malformed({0x30, 6, 0, 4, 0xF4, 0x90, 0x80, 0x80}));    // U+110000
    CHECK(malformed({0x30, 3, 0, 1, 0xFF}));
    CHECK(accepted({0x30, 5, 0, 3, 0xED, 0x9F, 0xBF}));           // U+D7FF
    CHECK(accepted({0x30, 5, 0, 3, 0xEE, 0x80, 0x80}));           // U+E000
    CHECK(accepted({0x30, 6, 0, 4, 0xF4, 0x8F, 0xBF, 0xBF}));     // U+10FFFF
}

TEST_CASE("PUBLISH with a topic, or packet id, beyond its end is malformed (CVE-2019-17210, CVE-2026-54412)") {
    CHECK(malformed({0x30, 1, 0}));
    CHECK(malformed({0x30, 2, 0, 1}));
    CHECK(malformed({0x30, 3, 0, 2, 't'}));
    CHECK(malformed({0x30, 3, 0xFF, 0xFF, 't'}));
    CHECK(malformed({0x30, 3, 0x01, 0x01, 't'}));   // 1 in its lower byte
    CHECK(malformed({0x32, 3, 0, 1, 't'}));
    CHECK(malformed({0x32, 4, 0, 1, 't', 1}));
    CHECK(malformed({0x34, 6, 0, 4, 't', 'o', 'p', 1}));   // the topic takes the packet id with it
    CHECK(malformed({0x32, 7, 0, 5, 't', 'o', 'p', 0, 1}));
    CHECK(malformed({0x32, 7, 0, 4, 't', 'o', 'p', 'i', 1}));
}

// ------------------------------------------------------------------------------------------ 3.4 to 3.11

TEST_CASE("[MQTT-2.3.1-1] packet id 0 is malformed in every packet that has one") {
    const Octets packets[] = {
        {0x32, 6, 0, 1, 't', 0, 0, 'x'},      // PUBLISH, QoS 1
        {0x34, 5, 0, 1, 't', 0, 0},           // PUBLISH, QoS 2
        {0x40, 2, 0, 0},                      // PUBACK
        {0x50, 2, 0, 0},                      // PUBREC
        {0x62, 2, 0, 0},                      // PUBREL
        {0x70, 2, 0, 0},                      // PUBCOMP
        {0x82, 6, 0, 0, 0, 1, 't', 1},        // SUBSCRIBE
        {0x90, 3, 0, 0, 0},                   // SUBACK
        {0xA2, 5, 0, 0, 0, 1, 't'},           // UNSUBSCRIBE
        {0xB0, 2, 0, 0},                      // UNSUBACK
    };
    const size_t at[] = {5, 5, 2, 2, 2, 2, 2, 2, 2, 2};
    for (size_t i = 0; i < sizeof packets / sizeof *packets; ++i) {
        CAPTURE(i);
        CHECK(malformed(packets[i]));
        Octets good = packets[i];
        good[at[i] + 1] = 1;
        CHECK(accepted(good));
        good[at[i] + 1] = 0;
        good[at[i]] = 1;
        CHECK(accepted(good));
    }
}

TEST_CASE("acknowledgements with a byte less, or a byte more, are malformed") {
    for (const uint8_t first : Octets{0x40, 0x50, 0x62, 0x70, 0xB0}) {
        CHECK(accepted({first, 2, 0, 1}));
        CHECK(malformed({first, 0}));
        CHECK(malformed({first, 1, 1}));
        CHECK(malformed({first, 3, 0, 1, 0}));      // as an MQTT 5 reason code would be
        CHECK(malformed({first, 4, 0, 1, 0, 0}));
        CHECK(malformed({first, 2, 0, 1, 0}));      // a byte behind the packet
    }
}

TEST_CASE("[MQTT-3.8.3-3] [MQTT-3.10.3-2] SUBSCRIBE and UNSUBSCRIBE with an empty list are malformed") {
    CHECK(malformed({0x82, 2, 0, 1}));
    CHECK(malformed({0xA2, 2, 0, 1}));
    CHECK(malformed({0x82, 0}));
    CHECK(malformed({0xA2, 0}));
}

TEST_CASE("[MQTT-3.8.3-4] SUBSCRIBE with reserved bits in its options, or QoS 3, is malformed") {
    for (int options = 0; options < 256; ++options) {
        const uint8_t value = static_cast<uint8_t>(options);
        CHECK(accepted({0x82, 6, 0, 1, 0, 1, 't', value}) == (options <= 2));
        CHECK(malformed({0x82, 6, 0, 1, 0, 1, 't', value}) == (options > 2));
        CHECK(accepted({0x82, 10, 0, 1, 0, 1, 't', value, 0, 1, 'u', 0}) == (options <= 2));
        CHECK(accepted({0x82, 10, 0, 1, 0, 1, 't', 0, 0, 1, 'u', value}) == (options <= 2));
    }
}

TEST_CASE("SUBSCRIBE and UNSUBSCRIBE whose list is cut, or goes on behind its end, are malformed") {
    CHECK(malformed({0x82, 3, 0, 1, 0}));
    CHECK(malformed({0x82, 5, 0, 1, 0, 1, 't'}));                    // no QoS
    CHECK(malformed({0x82, 6, 0, 1, 0, 2, 't', 0}));                 // the filter takes the QoS
    CHECK(malformed({0x82, 7, 0, 1, 0, 1, 't', 0, 0}));
    CHECK(malformed({0x82, 9, 0, 1, 0, 1, 't', 0, 0, 1, 'u'}));
    CHECK(malformed({0x82, 6, 0, 1, 0xFF, 0xFF, 't', 0}));
    CHECK(malformed({0xA2, 3, 0, 1, 0}));
    CHECK(malformed({0xA2, 4, 0, 1, 0, 1}));
    CHECK(malformed({0xA2, 6, 0, 1, 0, 1, 't', 0}));                 // a QoS
    CHECK(malformed({0xA2, 7, 0, 1, 0, 1, 't', 0, 1}));
    CHECK(malformed({0xA2, 5, 0, 1, 0xFF, 0xFF, 't'}));
}

TEST_CASE("[MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1] SUBSCRIBE and UNSUBSCRIBE with a "
          "filter that is not UTF-8, empty, or has a wildcard out of place are malformed") {
    const std::string_view wrong[] = {"", "#/a", "a#", "##", "a+", "+a", "++", "a/+b", "a/b#", "a/#/",
                                      std::string_view("a\0", 2), "\xC0\x80", "\xED\xA0\x80", "\xFF", "a\xE2\x82"};
    const std::string_view right[] = {"#", "+", "/", "a/#", "+/+", "/+", "+/", "+/#", "$SYS/#", " ", "\xEF\xBB\xBF"};
    for (const bool good : {false, true}) {
        const std::vector<std::string_view> filters(good ? std::begin(right) : std::begin(wrong),
                                                    good ? std::end(right) : std::end(wrong));
        for (const std::string_view filter : filters) {
            INFO(wire::hex(filter));
            Octets subscribe = {0x82, 0, 0, 1, 0, static_cast<uint8_t>(filter.size())};
            wire::append(subscribe, filter);
            Octets unsubscribe = subscribe;
            unsubscribe[0] = 0xA2;
            subscribe.push_back(1);
            CHECK(accepted(with_length(subscribe)) == good);
            CHECK(malformed(with_length(subscribe)) != good);
            CHECK(accepted(with_length(unsubscribe)) == good);
            CHECK(malformed(with_length(unsubscribe)) != good);
        }
    }
}

TEST_CASE("a list of a SUBSCRIBE that was malformed can still be walked without a read outside") {
    const Exact exact(Octets{0x82, 11, 0, 1, 0, 1, 't', 1, 0, 9, 'u', 0, 0});
    mqtt::Subscribe packet;
    CHECK(mqtt::decode(exact.view(), packet) == Error::malformed_packet);
    mqtt::Subscription subscription;
    size_t count = 0;
    while (packet.filters.next(subscription)) ++count;
    CHECK(count <= 3);
}

TEST_CASE("SUBACK without codes is malformed (CVE-2024-10525)") {
    CHECK(malformed({0x90, 0}));
    CHECK(malformed({0x90, 1, 0}));
    CHECK(malformed({0x90, 2, 0, 1}));
    CHECK(accepted({0x90, 3, 0, 1, 0}));
}

TEST_CASE("SUBACK with any number of codes is a view of just these (CVE-2026-8686)") {
    Octets bytes = {0x90, 0x80, 0x80, 0x04, 0, 1};   // remaining length 65536
    bytes.resize(4 + 65536, 0x80);
    CHECK(accepted(bytes));
    const Exact exact(bytes);
    mqtt::Suback packet;
    CHECK(mqtt::decode(exact.view(), packet) == Error::ok);
    CHECK(packet.reason_codes.size() == 65534);
    CHECK(packet.reason_codes.end() == exact.data() + exact.size());
}

TEST_CASE("[MQTT-3.9.3-2] SUBACK with a code other than 0, 1, 2 and 0x80 is malformed, wherever it stands") {
    for (int code = 0; code < 256; ++code) {
        const uint8_t value = static_cast<uint8_t>(code);
        const bool good = code <= 2 || code == 0x80;
        CHECK(accepted({0x90, 3, 0, 1, value}) == good);
        CHECK(malformed({0x90, 3, 0, 1, value}) != good);
        CHECK(malformed({0x90, 5, 0, 1, value, 1, 2}) != good);
        CHECK(malformed({0x90, 5, 0, 1, 0x80, value, 2}) != good);
        CHECK(malformed({0x90, 5, 0, 1, 0, 1, value}) != good);
    }
}

// ------------------------------------------------------------------------------------------ anything

TEST_CASE("200,000 random packets: each is malformed, or legal and encoded to the same bytes") {
    constexpr uint64_t seed = 20260311;   // of the first; each has its own, so that one can be run alone
    static const uint8_t first_bytes[] = {0x10, 0x20, 0x30, 0x31, 0x32, 0x33, 0x3A, 0x3B, 0x34, 0x35, 0x3C, 0x3D,
                                          0x40, 0x50, 0x62, 0x70, 0x82, 0x82, 0x90, 0x90, 0xA2, 0xA2, 0xB0, 0xC0, 0xE0};
    static const uint8_t telling[] = {0, 0, 0, 1, 1, 2, 3, 4, '+', '#', '/', '$', 'a', 0x7F, 0x80, 0xBF, 0xC2, 0xE0, 0xED, 0xFF};
    const std::vector<const Golden*>& golden = Golden::all();
    const size_t runs = testing::long_run() ? 5000000 : 200000;
    size_t good = 0;
    std::string problem;
    Octets bytes;
    for (size_t run = 0; run < runs && problem.empty(); ++run) {
        wire::Random random(seed + run);
        bytes.clear();
        const auto octet = [&] { return random.below(2) == 0 ? random.octet() : telling[random.below(sizeof telling)]; };
        if (random.below(4) == 0) {
            // A header that exists, and anything behind it.
            bytes = {first_bytes[random.below(sizeof first_bytes)], 0};
            for (size_t left = random.below(24); left != 0; --left) bytes.push_back(octet());
            bytes = with_length(bytes);
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
        if (legal(exact.view())) ++good;
    }
    CHECK(problem == "");
    CHECK(good > runs / 10);   // else it tries only one side
    CHECK(good < runs / 10 * 9);
}
