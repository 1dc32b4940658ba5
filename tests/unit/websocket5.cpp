// MQTT 5 over WebSocket (section 6): the same port as for 3.1.1; here the client on it speaks 5. All else is in websocket.cpp.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "platform/websocket.hpp"

namespace {

std::string octets(std::initializer_list<int> list) {
    std::string out;
    for (const int b : list) out += static_cast<char>(b);
    return out;
}

// A network in memory. random() gives the key and the masks of RFC 6455's examples.
struct Wire {
    std::string to_client, from_client;
    bool is_open = false;
    int opens = 0;
    size_t randoms = 0;
    uint32_t clock = 0;

    int open(std::string_view, uint16_t) {
        if (!is_open) ++opens, randoms = 0;
        is_open = true;
        return 1;
    }
    int read(uint8_t* data, size_t size) {
        const size_t n = std::min(size, to_client.size());
        memcpy(data, to_client.data(), n);
        to_client.erase(0, n);
        return static_cast<int>(n);
    }
    int write(const uint8_t* data, size_t size) {
        from_client.append(reinterpret_cast<const char*>(data), size);
        return static_cast<int>(size);
    }
    void close() { is_open = false; }
    uint32_t now_ms() { return clock; }
    uint32_t random() {
        const std::string bytes = std::string("the sample nonce") + "\x37\xfa\x21\x3d";
        uint32_t value = 0;
        memcpy(&value, bytes.data() + std::min<size_t>(randoms++, 4) * 4, 4);
        return value;
    }
};

using Port = mqtt::WebSocket<Wire>;

const std::string answer_head =
    "HTTP/1.1 101 Switching Protocols\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const std::string answer = answer_head + "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

const std::string connect = octets({
    0x10, 17,                    // CONNECT, remaining length 17
    0, 4, 'M', 'Q', 'T', 'T',    // protocol name
    5, 2, 0, 60,                 // version; clean start; keep alive: 60 s
    3, 0x21, 0, 20,              // Receive Maximum 20
    0, 1, 'c'});                 // client id
const std::string connack = octets({0x20, 6, 0, 0, 3, 0x13, 0, 30});                  // Server Keep Alive 30
const std::string publish = octets({0x32, 11, 0, 1, 't', 0, 7, 4, 0x03, 0, 1, 'c', 'x'});   // QoS 1, id 7, content type "c"

std::string frame(int first, const std::string& payload) {   // as a server sends a short one
    return octets({first, static_cast<int>(payload.size())}) + payload;
}

// The payload of a stream of short frames of a client, all of which must be binary, final and masked.
std::string unmasked(const std::string& stream) {
    std::string data;
    for (size_t at = 0; at < stream.size();) {
        REQUIRE(stream.size() - at >= 6);
        CHECK(static_cast<unsigned char>(stream[at]) == 0x82);
        const size_t size = static_cast<unsigned char>(stream[at + 1]) & 0x7F;
        CHECK(static_cast<unsigned char>(stream[at + 1]) == (size | 0x80));
        REQUIRE(size < 126);
        REQUIRE(stream.size() - at - 6 >= size);
        for (size_t i = 0; i != size; ++i) data += static_cast<char>(stream[at + 6 + i] ^ stream[at + 2 + i % 4]);
        at += 6 + size;
    }
    return data;
}

struct Device {
    Device() : client(port, {rx, tx}) {
        options.version = mqtt::Version::v5;
        options.host = "server";
        options.client_id = "c";
    }
    mqtt::Event until(mqtt::Event::Kind kind) {
        for (int i = 0; i < 1000; ++i) {
            const mqtt::Event event = client.poll();
            if (event.kind == kind) return event;
        }
        FAIL("the event does not come");
        return {};
    }
    std::string written() {
        for (int i = 0; i < 50; ++i) CHECK(client.poll().kind == mqtt::Event::none);
        std::string out;
        out.swap(port.from_client);
        return out;
    }
    // The handshake, and CONNECT.
    void begin() {
        REQUIRE(client.connect(options).ok());
        request = written();
        port.to_client = answer;
        CHECK(unmasked(written()) == connect);
    }

    uint8_t rx[64] = {}, tx[512] = {};
    Port port;
    mqtt::ConnectOptions options;
    mqtt::Client<Port> client;
    std::string request;
};

}  // namespace

TEST_CASE("MQTT 5 [MQTT-6.0.0-3] the request offers the subprotocol mqtt") {
    Device d;
    d.begin();
    CHECK(d.request.find("\r\nSec-WebSocket-Protocol: mqtt\r\n") != std::string::npos);
}

TEST_CASE("MQTT 5 [MQTT-6.0.0-4] a server that does not select mqtt is refused, before CONNECT") {
    for (const char* selected : {"", "Sec-WebSocket-Protocol: mqttv3.1\r\n", "Sec-WebSocket-Protocol: amqp\r\n"}) {
        Device d;
        REQUIRE(d.client.connect(d.options).ok());
        (void)d.written();
        d.port.to_client = answer_head + selected + "\r\n" + frame(0x82, connack);
        CHECK(d.until(mqtt::Event::disconnected).error == mqtt::Error::connect_failed);
        CHECK(d.port.from_client.empty());
        CHECK_FALSE(d.port.is_open);
    }
}

TEST_CASE("MQTT 5 [MQTT-6.0.0-1], [MQTT-6.0.0-2] packets go out in binary frames, and come in however they are cut into such") {
    const std::string packets = connack + publish;
    for (size_t first = 0; first <= packets.size(); ++first)
        for (size_t second = first; second <= packets.size(); ++second) {
            Device d;
            d.begin();
            d.port.to_client = frame(0x82, packets.substr(0, first)) + frame(0x82, packets.substr(first, second - first)) +
                               frame(0x82, packets.substr(second));
            CHECK(d.until(mqtt::Event::connected).properties.get(mqtt::prop::server_keep_alive).value_or(0) == 30);
            const mqtt::Event event = d.until(mqtt::Event::received);
            CHECK(event.message.payload.text() == "x");
            CHECK(event.message.properties.get(mqtt::prop::content_type).value_or("") == "c");
            CHECK(unmasked(d.written()) == octets({0x40, 2, 0, 7}));
        }
}

TEST_CASE("MQTT 5 [MQTT-6.0.0-1] a frame that is not binary closes the connection, without a DISCONNECT, and the client connects again") {
    Device d;
    d.begin();
    d.port.to_client = frame(0x82, connack);
    (void)d.until(mqtt::Event::connected);
    d.port.to_client = frame(0x81, octets({0xD0, 0}));
    CHECK(d.until(mqtt::Event::disconnected).error == mqtt::Error::connection_lost);
    CHECK(d.port.websocket_error() == mqtt::websocket::Error::non_binary_frame);
    CHECK_FALSE(d.port.is_open);
    d.port.from_client.clear();
    d.port.to_client.clear();
    d.port.clock += 200000;
    (void)d.written();
    d.port.to_client = answer;
    CHECK(unmasked(d.written()) == connect);
    CHECK(d.port.opens == 2);
}

TEST_CASE("MQTT 5 [MQTT-6.0.0-1] DISCONNECT for an error of the server's goes out in a frame of its own, before the close frame") {
    Device d;
    d.begin();
    d.port.to_client = frame(0x82, connack + connack);
    (void)d.until(mqtt::Event::connected);
    const mqtt::Event event = d.until(mqtt::Event::disconnected);
    CHECK(event.error == mqtt::Error::protocol_error);
    const std::string all = d.port.from_client;
    REQUIRE(all.size() == 9 + 8);   // two headers of 6 bytes, DISCONNECT, and the code of the close frame
    CHECK(unmasked(all.substr(0, 9)) == octets({0xE0, 1, 0x82}));
    CHECK(static_cast<unsigned char>(all[9]) == 0x88);
    CHECK_FALSE(d.port.is_open);
}
