// The scripted server of peer.hpp, speaking MQTT 5. Properties are written by hand, too, without the length before them:
//
//     test::Session5 s;                                     // as Session, with options.version = v5
//     s.connect(bytes({0x13, 0, 30}));                      // CONNACK has Server Keep Alive 30
//     s.sends(test::packet(0x30, bytes({0, 1, 't', 0, 'x'})));   // PUBLISH: topic "t", no properties, "x"
//     s.sends({0xF0, 0});                                   // AUTH, which must not come
//     s.rejects_with(0x82, mqtt::Error::protocol_error);    // DISCONNECT, the close, and Event::disconnected
//     s.reconnect({}, true);                                // the next attempt; CONNACK has session present
#pragma once

#include "tests/support/peer.hpp"

#include <new>

namespace test {

// A length as the specification writes it (5: section 1.5.5).
inline std::string length(size_t size) {
    std::string out;
    for (; size > 127; size /= 128) out += static_cast<char>(size % 128 + 128);
    return out + static_cast<char>(size);
}
// A packet: its first byte, the length of its body, its body.
inline std::string packet(int first_byte, const std::string& body) {
    return static_cast<char>(first_byte) + length(body.size()) + body;
}
// Properties as they stand in a packet: their length before them.
inline std::string properties(const std::string& list) { return length(list.size()) + list; }
// A text as it stands in a packet.
inline std::string text(const std::string& value) {
    return bytes({static_cast<int>(value.size() / 256), static_cast<int>(value.size() % 256)}) + value;
}
inline std::string connack(const std::string& list = {}, int flags = 0, int reason = 0) {
    return packet(0x20, bytes({flags, reason}) + properties(list));
}

// What the client is given; all that is of MQTT 5 alone is off.
struct Memory {
    size_t rx = 256, tx = 1024;
    uint16_t receive_maximum = 20;
    uint16_t topic_alias_maximum = 0;
    size_t received_aliases = 0, sent_aliases = 0, client_id = 0;
};

class Session5 : public Session {
public:
    explicit Session5(size_t rx_size = 256, size_t tx_size = 1024, uint16_t receive_maximum = 20)
        : Session(rx_size, tx_size, receive_maximum) {
        options.version = mqtt::Version::v5;
    }
    explicit Session5(const Memory& memory) : Session5(memory.rx, memory.tx, memory.receive_maximum) {
        received_aliases.resize(memory.received_aliases);
        sent_aliases.resize(memory.sent_aliases);
        client_id.resize(memory.client_id);
        mqtt::Buffers buffers{{rx.data(), rx.size()}, {tx.data(), tx.size()}, memory.receive_maximum};
        buffers.topic_alias_maximum = memory.topic_alias_maximum;
        buffers.received_aliases = {received_aliases.data(), received_aliases.size()};
        buffers.sent_aliases = {sent_aliases.data(), sent_aliases.size()};
        buffers.client_id = {client_id.data(), client_id.size()};
        client.~Client();   // it has done nothing yet
        new (&client) mqtt::Client<ScriptedPort>(port, buffers);
    }

    // Through CONNECT, whatever it contains, and an accepting CONNACK with these properties.
    mqtt::Event connect(const std::string& connack_properties = {}, bool session_present = false) {
        REQUIRE(client.connect(options).ok());
        return accept(connack_properties, session_present);
    }
    mqtt::Event accept(const std::string& connack_properties = {}, bool session_present = false) {
        run();
        REQUIRE(port.is_open);
        REQUIRE(!port.from_client.empty());
        CHECK(port.from_client[0] == 0x10);
        port.from_client.clear();
        sends(connack(connack_properties, session_present ? 1 : 0));
        for (mqtt::Event event = next();; event = next()) {
            REQUIRE(event.kind != mqtt::Event::none);
            if (event.kind == mqtt::Event::connected) return event;
        }
    }
    // The connection is lost (if it is not already); the client reconnects, and the server accepts.
    mqtt::Event reconnect(const std::string& connack_properties = {}, bool session_present = false) {
        if (port.is_open) lose();
        port.clock += options.reconnect_max_ms;
        return accept(connack_properties, session_present);
    }
    // DISCONNECT with this reason is all that the client has written; then it closes, and tells it. The event's views are
    // void.
    mqtt::Event rejects_with(int reason, mqtt::Error error) {
        expects(reason == 0 ? bytes({0xE0, 0}) : bytes({0xE0, 1, reason}));
        const mqtt::Event event = expect_event(mqtt::Event::disconnected);
        CHECK(std::string(mqtt::to_string(event.error)) == std::string(mqtt::to_string(error)));
        CHECK(static_cast<int>(event.reason) == reason);
        CHECK_FALSE(port.is_open);
        CHECK_FALSE(client.connected());
        return event;
    }

    std::vector<uint8_t> received_aliases, sent_aliases, client_id;
};

}  // namespace test
