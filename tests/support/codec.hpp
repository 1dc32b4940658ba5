// What the tests of packets ask the codec: to encode and decode, in memory of an exact size, and to refuse.

#ifndef MQTT_TESTS_SUPPORT_CODEC_HPP
#define MQTT_TESTS_SUPPORT_CODEC_HPP

#include "bytes.hpp"

#include <doctest/doctest.h>

namespace wire {

// `packet` is encoded to `expected`: into exactly as much memory as that takes, with nothing written behind it where
// there is more, and into no less, with the size that is missing told.
template <class Packet>
void encodes(const Packet& packet, mqtt::Bytes expected, mqtt::Version version = mqtt::Version::v3_1_1,
             bool with_rest = true) {
    const Exact exact(expected.size());
    const mqtt::Encoded out = mqtt::encode(packet, exact.buffer(), version, with_rest);
    CHECK(out.error == mqtt::Error::ok);
    CHECK(out.size == expected.size());
    CHECK(difference(expected, exact.view()) == "");

    Octets longer(expected.size() + 32, 0xEE);
    CHECK(mqtt::encode(packet, {longer.data(), longer.size()}, version, with_rest).error == mqtt::Error::ok);
    CHECK(difference(expected, {longer.data(), expected.size()}) == "");
    CHECK(Octets(longer.end() - 32, longer.end()) == Octets(32, 0xEE));

    size_t wrong = 0;
    for (size_t size = 0; size < expected.size(); ++size) {
        if (size == 64 && expected.size() > 1024) size = expected.size() - 8;   // of long ones: the first and the last
        const Exact smaller(size);
        const mqtt::Encoded refused = mqtt::encode(packet, smaller.buffer(), version, with_rest);
        if (refused.error != mqtt::Error::no_space || refused.size != expected.size()) ++wrong;
    }
    CHECK(wrong == 0);
}
template <class Packet>
void encodes(const Packet& packet, const Golden& expected, mqtt::Version version = mqtt::Version::v3_1_1) {
    INFO(expected.name);
    encodes(packet, expected.bytes.view(), version);
}

template <class Packet> Packet decoded(mqtt::Bytes bytes, mqtt::Version version = mqtt::Version::v3_1_1) {
    Packet packet;
    INFO(hex(bytes.data(), bytes.size()));
    CHECK(mqtt::decode(bytes, packet, version) == mqtt::Error::ok);
    return packet;
}
template <class Packet> Packet decoded(const Golden& golden, mqtt::Version version = mqtt::Version::v3_1_1) {
    return decoded<Packet>(golden.bytes.view(), version);
}

// A payload that must not be looked at.
inline mqtt::Bytes elsewhere(size_t size) { return {nullptr, size}; }

template <class Packet>
bool refuses(const Packet& packet, mqtt::Error error, mqtt::Version version = mqtt::Version::v3_1_1) {
    uint8_t buffer[256];
    const mqtt::Encoded out = mqtt::encode(packet, buffer, version);
    return out.error == error && out.size == 0;
}

// What decoding says, from a block of the exact size.
template <class Packet> mqtt::Error verdict(mqtt::Bytes bytes, mqtt::Version version = mqtt::Version::v3_1_1) {
    const Exact exact(bytes.data(), bytes.size());
    Packet packet;
    return mqtt::decode(exact.view(), packet, version);
}
template <class Packet> bool malformed(mqtt::Bytes bytes, mqtt::Version version = mqtt::Version::v3_1_1) {
    return verdict<Packet>(bytes, version) == mqtt::Error::malformed_packet;
}

}  // namespace wire
#endif
