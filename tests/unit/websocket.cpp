// MQTT over WebSocket: section 6 of the specification, and the client's side of RFC 6455 with its bytes by hand.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "platform/websocket.hpp"
#include "tests/support/bytes.hpp"

using mqtt::websocket::Error;

namespace {

std::string octets(std::initializer_list<int> list) {
    std::string out;
    for (const int b : list) out += static_cast<char>(b);
    return out;
}

// The wrapped port: a network under the test's control. What is read and written goes through blocks without a byte to
// spare. random() gives "the sample nonce", the key of RFC 6455's example, and then the example's mask 37 fa 21 3d.
struct Wire {
    std::string to_client, from_client;
    size_t read_limit = SIZE_MAX, write_limit = SIZE_MAX;
    wire::Random* cuts = nullptr;     // limits that change with each call, 0 among them
    bool cut = false;                 // lost, once what it holds has been read
    bool unwritable = false;          // write() fails
    int opening = 0;                  // open() answers "not yet" this many times
    bool refuse = false;
    bool is_open = false;
    int opens = 0, closes = 0, reads = 0, writes = 0, writes_after_loss = 0;
    size_t randoms = 0;
    uint32_t clock = 0;
    std::string host;
    uint16_t number = 0;

    int open(std::string_view h, uint16_t n) {
        host = std::string(h);
        number = n;
        if (refuse) return -1;
        if (opening > 0) return --opening, 0;
        if (!is_open) {
            ++opens;
            randoms = 0;
        }
        is_open = true;
        return 1;
    }
    int read(uint8_t* data, size_t size) {
        ++reads;
        if (!is_open || size == 0) FAIL("the wrapped port must not be called so");
        size_t n = std::min({size, read_limit, to_client.size()});
        if (cuts != nullptr) n = std::min(n, cuts->below(6));
        if (n == 0) return to_client.empty() && cut ? -1 : 0;
        memcpy(data, to_client.data(), n);
        to_client.erase(0, n);
        return static_cast<int>(n);
    }
    int write(const uint8_t* data, size_t size) {
        ++writes;
        if (!is_open || size == 0) FAIL("the wrapped port must not be called so");
        writes_after_loss += unwritable;
        if (cut || unwritable) return -1;
        size_t n = std::min(size, write_limit);
        if (cuts != nullptr) n = std::min(n, cuts->below(30));
        from_client.append(reinterpret_cast<const char*>(data), n);
        return static_cast<int>(n);
    }
    void close() {
        ++closes;
        is_open = false;
    }
    uint32_t now_ms() { return clock; }
    uint32_t random() {
        const std::string bytes = std::string("the sample nonce") + "\x37\xfa\x21\x3d";
        const size_t at = std::min<size_t>(randoms++, 4) * 4;
        uint32_t value = 0;
        memcpy(&value, bytes.data() + at, 4);
        return value;
    }
    const char* error_text() const { return "the wire is cut"; }
};

using Port = mqtt::WebSocket<Wire>;
using SmallPort = mqtt::WebSocket<Wire, 160>;

const std::string request =
    "GET /mqtt HTTP/1.1\r\n"
    "Host: server:8080\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: mqtt\r\n"
    "\r\n";

const std::string status_101 = "HTTP/1.1 101 Switching Protocols\r\n";
const std::string upgrade = "Upgrade: websocket\r\n";
const std::string connection = "Connection: Upgrade\r\n";
const std::string accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
const std::string protocol = "Sec-WebSocket-Protocol: mqtt\r\n";
const std::string answer = status_101 + upgrade + connection + accept + protocol + "\r\n";

// Opens with one answer; the result, and nothing written but the request.
template <class P> int open_with(P& port, const std::string& reply) {
    REQUIRE(port.open("server", 8080) == 0);
    CHECK(port.from_client == request);
    port.from_client.clear();
    port.to_client += reply;
    return port.open("server", 8080);
}
template <class P> void open(P& port) {
    REQUIRE(open_with(port, answer) == 1);
    CHECK(port.to_client.empty());
    port.reads = port.writes = 0;
}

// ---- frames as a server sends them

std::string header(int first, uint64_t size) {
    std::string out(1, static_cast<char>(first));
    const int extra = size < 126 ? 0 : size < 65536 ? 2 : 8;
    out += static_cast<char>(extra == 0 ? static_cast<int>(size) : extra == 2 ? 126 : 127);
    for (int i = extra - 1; i >= 0; --i) out += static_cast<char>(size >> (8 * i));
    return out;
}
std::string frame(int first, const std::string& payload) { return header(first, payload.size()) + payload; }
std::string binary(const std::string& payload) { return frame(0x82, payload); }

std::string pattern(size_t size) {
    std::string text(size, '\0');
    for (size_t i = 0; i != size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
    return text;
}

// ---- frames as a server reads them; all that a client must keep to is checked

struct Frame {
    int opcode;
    std::string payload;
};

// Takes the whole frames from `stream`.
std::vector<Frame> take_frames(std::string& stream) {
    std::vector<Frame> frames;
    while (true) {
        const auto octet = [&](size_t i) { return static_cast<unsigned>(static_cast<unsigned char>(stream[i])); };
        if (stream.size() < 2) return frames;
        CHECK((octet(0) & 0xF0) == 0x80);   // final, nothing reserved
        CHECK((octet(1) & 0x80) == 0x80);   // masked
        size_t size = octet(1) & 0x7F, at = 2;
        REQUIRE(size != 127);
        if (size == 126) {
            if (stream.size() < 4) return frames;
            size = octet(2) << 8 | octet(3);
            CHECK(size > 125);
            at = 4;
        }
        if (stream.size() < at + 4 + size) return frames;
        Frame next{static_cast<int>(octet(0) & 0x0F), {}};
        for (size_t i = 0; i != size; ++i) next.payload += static_cast<char>(octet(at + 4 + i) ^ octet(at + i % 4));
        frames.push_back(next);
        stream.erase(0, at + 4 + size);
    }
}
// The data in them; there must be no others.
std::string take_data(std::string& stream) {
    std::string data;
    for (const Frame& next : take_frames(stream)) {
        CHECK(next.opcode == 2);
        data += next.payload;
    }
    return data;
}

// Reads with a buffer of `size` until there is nothing more. `end`: what the last read() answered.
template <class P> std::string read_all(P& port, size_t size, int* end = nullptr) {
    std::string data;
    for (int idle = 0; idle < 100;) {
        const wire::Exact buffer(size);
        const int n = port.read(buffer.data(), size);
        REQUIRE(n <= static_cast<int>(size));
        if (end != nullptr) *end = n;
        if (n < 0) break;
        if (n == 0 && (port.to_client.empty() || ++idle == 99)) break;
        data.append(reinterpret_cast<const char*>(buffer.data()), static_cast<size_t>(n));
    }
    return data;
}

template <class P> int write(P& port, const std::string& data) {
    const wire::Exact block(wire::Octets(data.begin(), data.end()));
    return port.write(block.data(), block.size());
}

std::string hex(const std::string& data) { return wire::hex(data); }

std::string digest(const std::string& text) {
    const mqtt::websocket::detail::Digest d = mqtt::websocket::detail::sha1(text);
    std::string out;
    for (const uint8_t octet : d.bytes) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02X", octet);
        out += digits;
    }
    return out;
}

std::string base64(const std::string& data) {
    std::string out((data.size() + 2) / 3 * 4, '?');
    const wire::Exact block(wire::Octets(data.begin(), data.end()));
    mqtt::websocket::detail::base64(block.data(), block.size(), out.data());
    return out;
}

struct Bad {
    const char* what;
    Error error;
    std::string bytes;
    int code = 1002;   // of the close frame that answers
};

}  // namespace

// -------------------------------------------------------------------------------------------- SHA-1, base64

TEST_CASE("SHA-1: the vectors of RFC 3174, section 7.3") {
    CHECK(digest("abc") == "A9993E364706816ABA3E25717850C26C9CD0D89D");
    CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") == "84983E441C3BD26EBAAE4AA1F95129E5E54670F1");
    CHECK(digest(std::string(1000000, 'a')) == "34AA973CD4C4DAA4F61EEB2BDBAD27316534016F");
    std::string eighty;
    for (int i = 0; i != 80; ++i) eighty += "01234567";
    CHECK(digest(eighty) == "DEA356A2CDDD90C7A7ECEDC5EBB563934F460452");
    CHECK(digest("") == "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709");
    // Where the padding begins another block (values of sha1sum).
    CHECK(digest(std::string(55, 'a')) == "C1C8BBDC22796E28C0E15163D20899B65621D65A");
    CHECK(digest(std::string(56, 'a')) == "C2DB330F6083854C99D4B5BFB6E8F29F201BE699");
    CHECK(digest(std::string(64, 'a')) == "0098BA824B5C16427BD7A1122A5A442A25EC644D");
}

TEST_CASE("base64: the vectors of RFC 4648, section 10") {
    const std::string in[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    const std::string out[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
    for (size_t i = 0; i != 7; ++i) CHECK(base64(in[i]) == out[i]);
    CHECK(base64("the sample nonce") == "dGhlIHNhbXBsZSBub25jZQ==");
    CHECK(base64(octets({0x00, 0x10, 0x83, 0x10, 0x51, 0x87, 0x20, 0x92, 0x8B, 0x30, 0xD3, 0x8F, 0x41, 0x14, 0x93, 0x51, 0x55,
                         0x97, 0x61, 0x96, 0x9B, 0x71, 0xD7, 0x9F, 0x82, 0x18, 0xA3, 0x92, 0x59, 0xA7, 0xA2, 0x9A, 0xAB, 0xB2,
                         0xDB, 0xAF, 0xC3, 0x1C, 0xB3, 0xD3, 0x5D, 0xB7, 0xE3, 0x9E, 0xBB, 0xF3, 0xDF, 0xBF})) ==
          "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
}

TEST_CASE("the accept key of RFC 6455, section 1.3") {
    const std::string key = "the sample nonce";
    char text[28];
    mqtt::websocket::detail::accept_text(reinterpret_cast<const uint8_t*>(key.data()), text);
    CHECK(std::string(text, 28) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

// ------------------------------------------------------------------------------------------------ handshake

TEST_CASE("[MQTT-6.0.0-3] the request offers the subprotocol mqtt, and its bytes are those of RFC 6455") {
    Port port;
    CHECK(port.open("server", 8080) == 0);
    CHECK(port.from_client == request);
    CHECK(port.host == "server");
    CHECK(port.number == 8080);
    CHECK(port.open("server", 8080) == 0);   // still nothing: and nothing is written again
    CHECK(port.from_client == request);
    port.to_client = answer;
    CHECK(port.open("server", 8080) == 1);
    CHECK(port.open("server", 8080) == 1);
    CHECK(port.http_status() == 101);
    CHECK(port.websocket_error() == Error::none);
    CHECK(std::string(port.error_text()) == "no error");
}

TEST_CASE("the request: path, headers, and every kind of host") {
    const auto asked = [](const std::string& host, uint16_t number, const std::string& path, const std::string& headers) {
        Port port;
        port.path = path;
        port.headers = headers;
        (void)port.open(host, number);
        return port.from_client;
    };
    const std::string rest = request.substr(request.find("\r\nUpgrade"));
    CHECK(asked("a.example", 80, "/", "") == "GET / HTTP/1.1\r\nHost: a.example" + rest);
    CHECK(asked("a.example", 443, "/", "") == "GET / HTTP/1.1\r\nHost: a.example" + rest);
    CHECK(asked("127.0.0.1", 1, "/x?y=z", "") == "GET /x?y=z HTTP/1.1\r\nHost: 127.0.0.1:1" + rest);
    CHECK(asked("::1", 65535, "/", "") == "GET / HTTP/1.1\r\nHost: [::1]:65535" + rest);
    CHECK(asked("[::1]", 9001, "/", "") == "GET / HTTP/1.1\r\nHost: [::1]:9001" + rest);
    const std::string lines = "Authorization: Bearer x\r\nOrigin: http://a\r\n";
    CHECK(asked("h", 9001, "/", lines) == "GET / HTTP/1.1\r\nHost: h:9001" + rest.substr(0, rest.size() - 2) + lines + "\r\n");
    // Much longer than the scratch buffer.
    const std::string path = "/" + std::string(5000, 'p');
    CHECK(asked("h", 9001, path, "") == "GET " + path + " HTTP/1.1\r\nHost: h:9001" + rest);
}

TEST_CASE("a request that could not be one is refused before connecting") {
    const auto refused = [](const std::string& host, const std::string& path, const std::string& headers) {
        Port port;
        port.path = path;
        port.headers = headers;
        const int n = port.open(host, 9001);
        CHECK(port.opens == (n < 0 ? 0 : 1));
        CHECK((port.websocket_error() == Error::invalid_request) == (n < 0));
        return n < 0;
    };
    CHECK(!refused("h", "/", ""));
    CHECK(!refused("h", "/", "A: b\tc\r\n"));
    CHECK(!refused("h", "/", "A: \xC3\xA4\r\n"));
    for (const char* path : {"", "mqtt", "/a b", "/a\r\nB: c", "/a\n", "/\x7F"}) CHECK(refused("h", path, ""));
    for (const char* host : {"", "a b", "a\r\nB: c", "a\tb"}) CHECK(refused(host, "/", ""));
    for (const char* lines : {"A: b", "A: b\n", "\r\n", "A: b\r\n\r\n", "A: b\r\nC", " A: b\r\n", "A: b\rC: d\r\n", "A\n: b\r\n"})
        CHECK(refused("h", "/", lines));
}

TEST_CASE("the handshake goes on with any number of bytes at a time, both ways") {
    for (const size_t read_limit : {1u, 2u, 3u, 7u, 100u}) {
        for (const size_t write_limit : {1u, 2u, 5u, 64u, 100u}) {
            SmallPort port;
            port.opening = 3;
            port.read_limit = read_limit;
            int calls = 0;
            for (; calls < 4; ++calls) {
                port.write_limit = calls % 2 == 0 ? 0 : write_limit;
                CHECK(port.open("server", 8080) == 0);
            }
            port.write_limit = write_limit;
            CHECK(port.open("server", 8080) == 0);
            CHECK(port.from_client == request);
            for (size_t i = 0; i + 1 < answer.size(); ++i) {
                port.to_client += answer[i];
                REQUIRE(port.open("server", 8080) == 0);
            }
            port.to_client += answer.back();
            CHECK(port.open("server", 8080) == 1);
            CHECK(port.from_client == request);
            CHECK(port.opens == 1);
        }
    }
}

TEST_CASE("the answer split at every byte, with frames right behind it: nothing is read beyond its end") {
    const std::string behind = binary("MQTT");
    const std::string shortest = "HTTP/1.1 101\r\nUpgrade:WebSocket\r\nConnection:UPGRADE\r\n"
                                 "sec-websocket-accept:s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSEC-WEBSOCKET-PROTOCOL:mqtt\r\n\r\n";
    const std::string longer = status_101 + "Server: a\r\nDate: \r\nX:y\r\n" + upgrade + connection + accept + protocol +
                               "Set-Cookie: " + std::string(3000, 'c') + "\r\nZ: z\r\n\r\n";
    for (const std::string& good : {answer, shortest, longer}) {
        for (size_t split = 0; split <= good.size(); ++split) {
            Port port;
            REQUIRE(port.open("server", 8080) == 0);
            port.to_client = good.substr(0, split);
            REQUIRE(port.open("server", 8080) == (split == good.size() ? 1 : 0));
            port.to_client += good.substr(split) + behind;
            REQUIRE(port.open("server", 8080) == 1);
            REQUIRE(port.to_client == behind);
            REQUIRE(read_all(port, 64) == "MQTT");
        }
    }
}

TEST_CASE("answers that are good though they look unusual") {
    const std::string good[] = {
        status_101 + "upgrade:  WebSocket \t\r\nCONNECTION: keep-alive , UPGRADE\r\n" + accept + protocol + "\r\n",
        status_101 + upgrade + "Connection: keep-alive\r\n" + connection + accept + protocol + "\r\n",
        status_101 + upgrade + connection + accept + protocol + "Sec-WebSocket-Extensions: \r\n\r\n",
        status_101 + upgrade + connection + accept + protocol + "Sec-WebSocket-Other: x\r\n\r\n",
        status_101 + protocol + accept + connection + upgrade + "\r\n",
        "HTTP/1.1 101 \r\n" + upgrade + connection + accept + protocol + "\r\n",
    };
    for (const std::string& reply : good) {
        CAPTURE(reply);
        Port port;
        CHECK(open_with(port, reply) == 1);
        CHECK(port.to_client.empty());
    }
}

TEST_CASE("[MQTT-6.0.0-4] each handshake that must be refused is, with its reason") {
    const std::string tail = upgrade + connection + accept + protocol + "\r\n";
    const std::string without_protocol = status_101 + upgrade + connection + accept;
    const std::string without_accept = status_101 + upgrade + connection + protocol;
    const std::string long_line(600, 'l');
    const Bad list[] = {
        {"an MQTT server", Error::not_http, octets({0x20, 2, 0, 1})},
        {"HTTP/1.0", Error::not_http, "HTTP/1.0 101 Switching Protocols\r\n" + tail},
        {"HTTP/2", Error::not_http, "HTTP/2 101\r\n" + tail},
        {"lower case", Error::not_http, "http/1.1 101\r\n" + tail},
        {"no status", Error::not_http, "HTTP/1.1 \r\n" + tail},
        {"a status of letters", Error::not_http, "HTTP/1.1 1x1 \r\n" + tail},
        {"a status of two digits", Error::not_http, "HTTP/1.1 10\r\n" + tail},
        {"a status of four digits", Error::not_http, "HTTP/1.1 1011\r\n" + tail},
        {"an empty line first", Error::not_http, "\r\n" + status_101 + tail},
        {"two empty lines first", Error::not_http, "\r\n\r\n"},
        {"LF without CR", Error::not_http, "HTTP/1.1 101 x\n" + tail},
        {"CR without LF", Error::not_http, status_101 + "A: b\rC: d\r\n" + tail},
        {"two CR", Error::not_http, status_101 + "A: b\r\r\n" + tail},
        {"a line without a colon", Error::not_http, status_101 + "nonsense\r\n" + tail},
        {"a line without a name", Error::not_http, status_101 + ": x\r\n" + tail},
        {"a folded line", Error::not_http, status_101 + "A: b\r\n c: d\r\n" + tail},
        {"200", Error::http_status, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
        {"404", Error::http_status, "HTTP/1.1 404 Not Found\r\n\r\n"},
        {"a redirection", Error::http_status, "HTTP/1.1 301 Moved\r\nLocation: /\r\n\r\n"},
        {"100 first", Error::http_status, "HTTP/1.1 100 Continue\r\n\r\n" + answer},
        {"no Upgrade", Error::no_upgrade, status_101 + connection + accept + protocol + "\r\n"},
        {"another Upgrade", Error::no_upgrade, status_101 + "Upgrade: h2c\r\n" + connection + accept + protocol + "\r\n"},
        {"two Upgrades", Error::no_upgrade, status_101 + upgrade + tail},
        {"no Connection", Error::no_upgrade, status_101 + upgrade + accept + protocol + "\r\n"},
        {"another Connection", Error::no_upgrade, status_101 + upgrade + "Connection: upgrades, xupgrade\r\n" + accept + protocol + "\r\n"},
        {"only a status", Error::no_upgrade, status_101 + "\r\n"},
        {"no accept", Error::wrong_accept_key, without_accept + "\r\n"},
        {"an empty accept", Error::wrong_accept_key, without_accept + "Sec-WebSocket-Accept:\r\n\r\n"},
        {"the key itself", Error::wrong_accept_key, without_accept + "Sec-WebSocket-Accept: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"},
        {"accept in another case", Error::wrong_accept_key, without_accept + "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"},
        {"accept with more", Error::wrong_accept_key, without_accept + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=x\r\n\r\n"},
        {"accept without its end", Error::wrong_accept_key, without_accept + "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n\r\n"},
        {"accept twice", Error::wrong_accept_key, without_accept + accept + accept + "\r\n"},
        {"no subprotocol", Error::wrong_subprotocol, without_protocol + "\r\n"},
        {"another subprotocol", Error::wrong_subprotocol, without_protocol + "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n"},
        {"in capitals", Error::wrong_subprotocol, without_protocol + "Sec-WebSocket-Protocol: MQTT\r\n\r\n"},
        {"a list", Error::wrong_subprotocol, without_protocol + "Sec-WebSocket-Protocol: mqtt, chat\r\n\r\n"},
        {"an empty one", Error::wrong_subprotocol, without_protocol + "Sec-WebSocket-Protocol:\r\n\r\n"},
        {"two", Error::wrong_subprotocol, without_protocol + protocol + protocol + "\r\n"},
        {"an extension", Error::unexpected_extension, without_protocol + protocol + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"},
        {"a long line that matters", Error::answer_too_long, without_protocol + "Sec-WebSocket-Protocol: " + long_line + "\r\n\r\n"},
        {"a long Upgrade", Error::answer_too_long, status_101 + "Upgrade: " + long_line + "\r\n" + tail},
        {"no end", Error::answer_too_long, without_protocol + protocol + "A: " + std::string(9000, 'a')},
    };
    for (const Bad& bad : list) {
        CAPTURE(bad.what);
        for (const size_t limit : {size_t(1), size_t(1000)}) {
            Port port;
            port.read_limit = limit;
            CHECK(open_with(port, bad.bytes) == -1);
            CHECK(port.websocket_error() == bad.error);
            CHECK(port.from_client.empty());   // no frame before there is a WebSocket
            CHECK(!port.is_open);
            CHECK(std::string(port.error_text()).find("WebSocket: ") == 0);
            uint8_t octet = 0;
            CHECK(port.read(&octet, 1) == -1);
            CHECK(port.write(&octet, 1) == -1);
            // And once more, to a better server.
            port.to_client.clear();
            open(port);
            port.close();
        }
    }
}

TEST_CASE("the longest answer that is read, and one byte more") {
    const std::string front = status_101 + upgrade + connection + accept + protocol + "A: ";
    for (const size_t more : {size_t(0), size_t(1)}) {
        Port port;
        const std::string filler(mqtt::websocket::max_answer_size - front.size() - 4 + more, 'a');
        CHECK(open_with(port, front + filler + "\r\n\r\n") == (more == 0 ? 1 : -1));
    }
}

TEST_CASE("a failed handshake tells the HTTP status, and a lost connection the wrapped port's reason") {
    Port port;
    CHECK(open_with(port, "HTTP/1.1 404 Not Found\r\n") == -1);
    CHECK(port.http_status() == 404);
    CHECK(std::string(port.error_text()) == "WebSocket: HTTP status 404 instead of 101");
    port.to_client.clear();

    port.refuse = true;
    CHECK(port.open("server", 8080) == -1);
    CHECK(port.websocket_error() == Error::network);
    CHECK(port.http_status() == 0);
    CHECK(std::string(port.error_text()) == "the wire is cut");
    port.refuse = false;

    port.unwritable = true;
    CHECK(port.open("server", 8080) == -1);
    CHECK(port.websocket_error() == Error::network);
    CHECK(!port.is_open);
    port.unwritable = false;

    // What a plain MQTT server does with a request.
    CHECK(port.open("server", 8080) == 0);
    port.to_client = "HTTP/1.1 10";
    port.cut = true;
    CHECK(port.open("server", 8080) == -1);
    CHECK(port.websocket_error() == Error::no_answer);
    CHECK(!port.is_open);
}

TEST_CASE("close() in every state of the handshake, and then open() again") {
    for (int state = 0; state != 4; ++state) {
        Port port;
        port.opening = state == 1 ? 1 : 0;
        port.write_limit = state == 2 ? 5 : SIZE_MAX;
        if (state != 0) CHECK(port.open("server", 8080) == (0));
        if (state == 3) port.to_client = answer.substr(0, 60);
        if (state == 3) CHECK(port.open("server", 8080) == 0);
        const std::string before = port.from_client;
        port.close();
        port.close();
        CHECK(port.from_client == before);
        CHECK(!port.is_open);
        port.from_client.clear();
        port.to_client.clear();
        port.write_limit = SIZE_MAX;
        open(port);
    }
}

// -------------------------------------------------------------------------------------------------- reading

TEST_CASE("the frames of RFC 6455, section 5.7, that a server may send") {
    Port port;
    open(port);
    port.to_client = octets({0x82, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f});                          // "Hello"
    CHECK(read_all(port, 64) == "Hello");
    port.to_client = octets({0x02, 0x03, 0x48, 0x65, 0x6c, 0x80, 0x02, 0x6c, 0x6f});             // in two fragments
    CHECK(read_all(port, 64) == "Hello");
    port.to_client = octets({0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f});                          // a ping
    CHECK(read_all(port, 64).empty());
    CHECK(hex(port.from_client) == hex(octets({0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58})));
    port.to_client = octets({0x82, 0x7E, 0x01, 0x00}) + pattern(256);
    CHECK(read_all(port, 1000) == pattern(256));
    port.to_client = octets({0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0}) + pattern(65536);
    CHECK(read_all(port, 1000) == pattern(65536));
}

TEST_CASE("[MQTT-6.0.0-2] frames of every length class, whatever the buffer and however they come") {
    for (const size_t size : {0u, 1u, 125u, 126u, 127u, 65535u, 65536u}) {
        CAPTURE(size);
        const std::string payload = pattern(size);
        const std::string stream = binary(payload) + binary("end");
        // Every size of buffer for the small ones.
        for (size_t buffer = 1; buffer < (size > 200 ? 8 : 140); ++buffer) {
            Port port;
            open(port);
            port.to_client = stream;
            REQUIRE(read_all(port, buffer) == payload + "end");
        }
        // Split at every byte: of the large ones, around the headers.
        for (size_t split = 0; split <= stream.size(); split += split == 40 && size > 200 ? size - 40 : 1) {
            Port port;
            open(port);
            port.to_client = stream.substr(0, split);
            std::string got = read_all(port, 4096);
            port.to_client = stream.substr(split);
            got += read_all(port, 4096);
            REQUIRE(got == payload + "end");
        }
    }
}

TEST_CASE("a read takes headers out in place: one read of the wrapped port for many frames") {
    Port port;
    open(port);
    std::string stream, expected;
    for (size_t i = 0; i != 20; ++i) {
        stream += binary(pattern(i)) + frame(0x8A, "unasked pong");
        expected += pattern(i);
    }
    port.to_client = stream;
    const wire::Exact buffer(4096);
    const int n = port.read(buffer.data(), buffer.size());
    CHECK(n == static_cast<int>(expected.size()));
    CHECK(wire::difference(mqtt::Bytes(expected), {buffer.data(), static_cast<size_t>(n)}) == "");
    CHECK(port.reads == 1);
    CHECK(port.writes == 0);
}

TEST_CASE("reads that yield only headers read on, but not for ever") {
    Port port;
    open(port);
    for (int i = 0; i != 1000; ++i) port.to_client += octets({0x82, 0});
    port.to_client += binary("x");
    uint8_t octet = 0;
    CHECK(port.read(&octet, 1) == 0);
    CHECK(port.reads == 64);
    CHECK(read_all(port, 1) == "x");
    CHECK(port.read(&octet, 0) == 0);
}

TEST_CASE("lengths of 2^32 and more are counted, not stored") {
    Port port;
    open(port);
    port.to_client = octets({0x82, 0x7F, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF}) + pattern(100);   // 2^63 - 1
    CHECK(read_all(port, 64) == pattern(100));
    port.to_client = frame(0x88, "");   // still payload
    CHECK(read_all(port, 64) == octets({0x88, 0}));
    CHECK(port.websocket_error() == Error::none);
}

TEST_CASE("[MQTT-6.0.0-1] [MQTT-6.0.0-2] what a server must not send ends the connection, behind what came before it") {
    const Bad list[] = {
        {"a text frame", Error::non_binary_frame, octets({0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f}), 1003},
        {"an empty text frame", Error::non_binary_frame, octets({0x81, 0}), 1003},
        {"the beginning of a text message", Error::non_binary_frame, octets({0x01, 1, 'x'}), 1003},
        {"text among fragments", Error::non_binary_frame, octets({0x02, 0, 0x81, 0}), 1003},
        {"a masked frame", Error::masked_frame, octets({0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58})},
        {"a masked ping", Error::masked_frame, octets({0x89, 0x80, 0, 0, 0, 0})},
        {"RSV1", Error::reserved_bits, octets({0xC2, 0})},
        {"RSV2", Error::reserved_bits, octets({0xA2, 0})},
        {"RSV3", Error::reserved_bits, octets({0x92, 0})},
        {"RSV1 of a ping", Error::reserved_bits, octets({0xC9, 0})},
        {"opcode 3", Error::reserved_bits, octets({0x83, 0})},
        {"opcode 7", Error::reserved_bits, octets({0x87, 0})},
        {"opcode 11", Error::reserved_bits, octets({0x8B, 0})},
        {"opcode 15", Error::reserved_bits, octets({0x8F, 0})},
        {"125 in 16 bits", Error::bad_length, octets({0x82, 126, 0, 125})},
        {"0 in 16 bits", Error::bad_length, octets({0x82, 126, 0, 0})},
        {"65535 in 64 bits", Error::bad_length, octets({0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF})},
        {"0 in 64 bits", Error::bad_length, octets({0x82, 127, 0, 0, 0, 0, 0, 0, 0, 0})},
        {"2^63", Error::bad_length, octets({0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0})},
        {"2^64 - 1", Error::bad_length, octets({0x82, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF})},
        {"a ping of 126 bytes", Error::bad_control_frame, frame(0x89, pattern(126))},
        {"a ping of 65536 bytes", Error::bad_control_frame, header(0x89, 65536)},
        {"a pong of 126 bytes", Error::bad_control_frame, frame(0x8A, pattern(126))},
        {"a close frame of 126 bytes", Error::bad_control_frame, frame(0x88, pattern(126))},
        {"a ping in fragments", Error::bad_control_frame, octets({0x09, 0})},
        {"a pong in fragments", Error::bad_control_frame, octets({0x0A, 0})},
        {"a close frame in fragments", Error::bad_control_frame, octets({0x08, 0})},
        {"a close frame with half a code", Error::bad_control_frame, octets({0x88, 1, 3})},
        {"a close frame with code 0", Error::bad_control_frame, octets({0x88, 2, 0, 0})},
        {"a close frame with code 999", Error::bad_control_frame, octets({0x88, 2, 0x03, 0xE7})},
        {"a close frame with code 1004", Error::bad_control_frame, octets({0x88, 2, 0x03, 0xEC})},
        {"a close frame with code 1005", Error::bad_control_frame, octets({0x88, 2, 0x03, 0xED})},
        {"a close frame with code 1006", Error::bad_control_frame, octets({0x88, 2, 0x03, 0xEE})},
        {"a close frame with code 1015", Error::bad_control_frame, octets({0x88, 2, 0x03, 0xF7})},
        {"a close frame with code 5000", Error::bad_control_frame, octets({0x88, 2, 0x13, 0x88})},
        {"a continuation of nothing", Error::bad_continuation, octets({0x80, 1, 'x'})},
        {"a continuation that goes on of nothing", Error::bad_continuation, octets({0x00, 1, 'x'})},
        {"a continuation behind the last", Error::bad_continuation, octets({0x02, 0, 0x80, 0, 0x80, 0})},
        {"a message within a message", Error::bad_continuation, octets({0x02, 0, 0x82, 0})},
        {"a fragmented message within a message", Error::bad_continuation, octets({0x02, 0, 0x00, 0, 0x02, 0})},
    };
    for (const Bad& bad : list) {
        CAPTURE(bad.what);
        for (const size_t before : {size_t(0), size_t(5)}) {
            for (const size_t limit : {size_t(1), size_t(7), size_t(1000)}) {
                Port port;
                open(port);
                port.read_limit = limit;
                port.to_client = (before != 0 ? binary(pattern(before)) : "") + bad.bytes + binary("never read");
                int end = 0;
                CHECK(read_all(port, 64, &end) == pattern(before));
                CHECK(end == -1);
                CHECK(port.websocket_error() == bad.error);
                CHECK(std::string(port.error_text()).find("WebSocket: the server sent ") == 0);
                const std::vector<Frame> frames = take_frames(port.from_client);
                REQUIRE(frames.size() == 1);
                CHECK(frames[0].opcode == 8);
                CHECK(hex(frames[0].payload) == hex(octets({bad.code >> 8, bad.code & 255})));
                uint8_t octet = 0;
                CHECK(port.read(&octet, 1) == -1);
                CHECK(port.write(&octet, 1) == -1);
                CHECK(port.open("server", 8080) == -1);   // not before close()
                port.close();
                CHECK(port.from_client.empty());          // one close frame is enough
                CHECK(!port.is_open);
                CHECK(port.websocket_error() == bad.error);
                port.to_client.clear();
                open(port);
            }
        }
    }
}

TEST_CASE("fragments with control frames between them") {
    const std::string payload = pattern(300);
    for (size_t cut = 0; cut <= 300; cut += 50) {
        Port port;
        open(port);
        port.to_client = frame(0x02, payload.substr(0, cut)) + frame(0x89, "a") + frame(0x00, "") + frame(0x8A, "b") +
                         frame(0x89, pattern(125)) + frame(0x80, payload.substr(cut)) + frame(0x89, "");
        port.read_limit = 10;
        CHECK(read_all(port, 16) == payload);
        const std::vector<Frame> pongs = take_frames(port.from_client);
        REQUIRE(pongs.size() == 3);
        const std::string expected[] = {"a", pattern(125), ""};
        for (size_t i = 0; i != 3; ++i) {
            CHECK(pongs[i].opcode == 10);
            CHECK(pongs[i].payload == expected[i]);
        }
    }
}

TEST_CASE("pings split at every byte are answered once, with their payload") {
    for (const size_t size : {0u, 1u, 5u, 125u}) {
        const std::string stream = frame(0x89, pattern(size));
        for (size_t split = 1; split < stream.size(); ++split) {
            Port port;
            open(port);
            port.to_client = stream.substr(0, split);
            CHECK(read_all(port, 64).empty());
            CHECK(port.from_client.empty());
            port.to_client = stream.substr(split) + binary("x");
            CHECK(read_all(port, 64) == "x");
            const std::vector<Frame> pongs = take_frames(port.from_client);
            REQUIRE(pongs.size() == 1);
            CHECK(pongs[0].opcode == 10);
            CHECK(pongs[0].payload == pattern(size));
        }
    }
}

TEST_CASE("a pong that cannot be written waits; of several pings the last is answered") {
    SmallPort port;
    open(port);
    port.write_limit = 0;
    CHECK(!port.to_write(false));
    for (const char* text : {"one", "two", "three"}) {
        port.to_client = frame(0x89, text);
        CHECK(read_all(port, 64).empty());
    }
    CHECK(port.from_client.empty());
    CHECK(port.to_write(false));
    port.write_limit = 4;                       // the first pong is begun, and has to be finished
    uint8_t octet = 0;
    CHECK(port.read(&octet, 1) == 0);
    port.to_client = frame(0x89, "four") + frame(0x89, pattern(125));
    CHECK(read_all(port, 64).empty());
    for (int i = 0; i != 60 && port.to_write(false); ++i) CHECK(port.read(&octet, 1) == 0);
    CHECK(!port.to_write(false));
    const std::vector<Frame> pongs = take_frames(port.from_client);
    CHECK(port.from_client.empty());
    REQUIRE(pongs.size() == 2);
    CHECK(pongs[0].payload == "one");           // was in the scratch buffer already
    CHECK(pongs[1].payload == pattern(125));
}

TEST_CASE("a pong goes between frames, never into one") {
    SmallPort port;
    open(port);
    const std::string payload = pattern(100);
    port.write_limit = 50;
    const int first = write(port, payload);
    REQUIRE(first == 44);
    port.to_client = frame(0x89, "ping") + binary("x");
    CHECK(read_all(port, 64) == "x");
    CHECK(port.from_client.size() == 50);       // the frame is not finished
    CHECK(!port.to_write(false));               // and its bytes must come first
    port.write_limit = SIZE_MAX;
    CHECK(write(port, payload.substr(44)) == 56);
    uint8_t octet = 0;
    CHECK(port.read(&octet, 1) == 0);
    const std::vector<Frame> frames = take_frames(port.from_client);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].opcode == 2);
    CHECK(frames[0].payload == payload);
    CHECK(frames[1].opcode == 10);
    CHECK(frames[1].payload == "ping");
}

TEST_CASE("half a ping is not answered, also if another one waits for its answer") {
    Port port;
    open(port);
    port.write_limit = 8;
    CHECK(write(port, "within a frame") == 2);
    const std::string second = frame(0x89, "second");
    port.to_client = frame(0x89, "first") + second.substr(0, 5);
    CHECK(read_all(port, 64).empty());
    port.write_limit = SIZE_MAX;
    CHECK(write(port, "thin a frame") == 12);
    CHECK(read_all(port, 64).empty());
    CHECK(take_data(port.from_client) == "within a frame");
    port.to_client = second.substr(5);
    CHECK(read_all(port, 64).empty());
    const std::vector<Frame> frames = take_frames(port.from_client);
    REQUIRE(frames.size() == 1);
    CHECK(frames[0].payload == "second");
}

TEST_CASE("a waiting pong and data go out with one write") {
    Port port;
    open(port);
    port.write_limit = 0;
    port.to_client = frame(0x89, "ping");
    CHECK(read_all(port, 64).empty());
    port.write_limit = SIZE_MAX;
    port.writes = 0;
    CHECK(write(port, "data") == 4);
    CHECK(port.writes == 1);
    const std::vector<Frame> frames = take_frames(port.from_client);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].payload == "ping");
    CHECK(frames[1].payload == "data");
}

TEST_CASE("the server's close frame is answered with its code, and then the connection is lost") {
    for (const int code : {1000, 1001, 1011, 3000, 4999, 1005}) {
        CAPTURE(code);
        const std::string payload = code == 1005 ? "" : octets({code >> 8, code & 255});
        for (const bool with_reason : {false, true}) {
            Port port;
            open(port);
            port.to_client = binary("last") + frame(0x88, payload + (with_reason && code != 1005 ? "bye" : "")) + binary("not read");
            int end = 0;
            CHECK(read_all(port, 64, &end) == "last");
            CHECK(end == -1);
            CHECK(port.websocket_error() == Error::closed);
            CHECK(port.close_code() == code);
            CHECK(std::string(port.error_text()) == "WebSocket: closed by the server with code " + std::to_string(code));
            const std::vector<Frame> frames = take_frames(port.from_client);
            REQUIRE(frames.size() == 1);
            CHECK(frames[0].opcode == 8);
            CHECK(hex(frames[0].payload) == hex(payload));
            port.close();
            CHECK(port.from_client.empty());
        }
    }
}

TEST_CASE("close() says goodbye with 1000, once, and only in between frames") {
    {
        Port port;
        open(port);
        port.close();
        port.close();
        CHECK(hex(port.from_client) == hex(octets({0x88, 0x82, 0x37, 0xfa, 0x21, 0x3d, 0x37 ^ 0x03, 0xfa ^ 0xE8})));
        CHECK(!port.is_open);
        CHECK(port.websocket_error() == Error::none);
    }
    {
        Port port;
        open(port);
        port.write_limit = 10;
        CHECK(write(port, "within a frame") == 4);
        port.close();
        CHECK(port.from_client.size() == 10);
    }
    {
        Port port;
        open(port);
        port.write_limit = 0;
        port.close();                           // does not block
        CHECK(port.from_client.empty());
    }
    std::string written;
    {
        Port port;
        open(port);
        port.unwritable = true;
        uint8_t octet = 0;
        CHECK(port.write(&octet, 1) == -1);
        CHECK(port.write(&octet, 1) == -1);
        port.to_client = frame(0x89, "") + binary("x");
        CHECK(read_all(port, 64) == "x");       // what has come can be read
        CHECK(!port.to_write(false));
        port.close();
        CHECK(port.writes_after_loss == 1);     // so that a later error does not hide the first
    }
}

TEST_CASE("a lost connection is told behind what came before") {
    Port port;
    open(port);
    port.to_client = binary("x") + octets({0x82, 5, 'y'});
    port.cut = true;
    int end = 0;
    CHECK(read_all(port, 64, &end) == "xy");
    uint8_t octet = 0;
    CHECK(port.read(&octet, 1) == -1);
    CHECK(port.websocket_error() == Error::network);
    CHECK(std::string(port.error_text()) == "the wire is cut");
    port.writes = 0;
    port.close();
    CHECK(port.writes == 0);
}

// -------------------------------------------------------------------------------------------------- writing

TEST_CASE("[MQTT-6.0.0-1] each write is one masked binary frame, in one write of the wrapped port") {
    Port port;
    open(port);
    CHECK(write(port, "Hello") == 5);
    CHECK(hex(port.from_client) == hex(octets({0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58})));
    CHECK(port.writes == 1);
    CHECK(port.randoms == 5);
    port.from_client.clear();
    for (const size_t size : {1u, 2u, 3u, 4u, 124u, 125u, 126u, 127u, 503u, 504u}) {
        port.writes = 0;
        CHECK(write(port, pattern(size)) == static_cast<int>(size));
        CHECK(port.writes == 1);
        CHECK(port.from_client.size() == size + (size <= 125 ? 6 : 8));
        CHECK(take_data(port.from_client) == pattern(size));
        CHECK(port.from_client.empty());
    }
    CHECK(write(port, pattern(10000)) == 504);
    CHECK(take_data(port.from_client) == pattern(504));
    CHECK(port.write(nullptr, 0) == 0);
}

TEST_CASE("a large scratch buffer makes frames of up to 65535 bytes") {
    const std::string payload = pattern(100000);
    static mqtt::WebSocket<Wire, 100000> port;   // too large for the stack
    open(port);
    CHECK(write(port, payload) == 65535);
    CHECK(hex(port.from_client.substr(0, 4)) == hex(octets({0x82, 0xFE, 0xFF, 0xFF})));
    CHECK(take_data(port.from_client) == payload.substr(0, 65535));
    port.close();
}

TEST_CASE("every mask is another") {
    struct Random : Wire {
        uint32_t random() { return ++value; }
        uint32_t value = 0;
    };
    mqtt::WebSocket<Random> port;
    REQUIRE(port.open("server", 8080) == 0);
    // Key 01000000 02000000 ... on a little-endian machine; the accept key is worked out with the parts tested above.
    const size_t at = port.from_client.find("Key: ") + 5;
    const std::string key = port.from_client.substr(at, 24);
    const mqtt::websocket::detail::Digest d = mqtt::websocket::detail::sha1(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    port.to_client = status_101 + upgrade + connection + protocol + "Sec-WebSocket-Accept: " +
                     base64(std::string(reinterpret_cast<const char*>(d.bytes), 20)) + "\r\n\r\n";
    REQUIRE(port.open("server", 8080) == 1);
    port.from_client.clear();
    std::vector<std::string> masks;
    for (int i = 0; i != 10; ++i) {
        CHECK(write(port, "x") == 1);
        masks.push_back(port.from_client.substr(2, 4));
        port.from_client.clear();
    }
    std::sort(masks.begin(), masks.end());
    CHECK(std::unique(masks.begin(), masks.end()) == masks.end());
}

TEST_CASE("partial writes of every size keep frames whole, and nothing is taken that was not sent") {
    const std::string payload = pattern(700);
    for (size_t limit = 1; limit < 180; ++limit) {
        CAPTURE(limit);
        SmallPort port;
        open(port);
        port.write_limit = limit;
        size_t taken = 0;
        std::string stream;
        for (int calls = 0; taken != payload.size(); ++calls) {
            REQUIRE(calls < 3000);
            const int n = write(port, payload.substr(taken));
            REQUIRE(n >= 0);
            taken += static_cast<size_t>(n);
        }
        REQUIRE(take_data(port.from_client) == payload);
        REQUIRE(port.from_client.empty());
    }
}

TEST_CASE("bytes that were not taken may be others in the next call: they go on in the same frame") {
    // What a client does whose PUBACK overtakes its PUBLISH.
    for (size_t limit = 0; limit < 40; ++limit) {
        CAPTURE(limit);
        Port port;
        open(port);
        port.write_limit = limit;
        const int n = write(port, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        REQUIRE(n >= 0);
        port.write_limit = SIZE_MAX;
        const std::string expected = std::string(static_cast<size_t>(n), 'a') + std::string(50, 'b');
        std::string rest(50, 'b');
        while (!rest.empty()) rest.erase(0, static_cast<size_t>(write(port, rest)));
        CHECK(take_data(port.from_client) == expected);
        CHECK(port.from_client.empty());
    }
}

TEST_CASE("a frame of which nothing went out is not begun: the next may be larger, or smaller, and a pong may go first") {
    Port port;
    open(port);
    port.write_limit = 0;
    CHECK(write(port, "a hundred bytes, say") == 0);
    port.to_client = frame(0x89, "ping");
    CHECK(read_all(port, 64).empty());
    CHECK(write(port, "abc") == 0);
    port.write_limit = SIZE_MAX;
    CHECK(write(port, "x") == 1);
    const std::vector<Frame> frames = take_frames(port.from_client);
    CHECK(port.from_client.empty());
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].payload == "ping");
    CHECK(frames[1].payload == "x");
}

// ----------------------------------------------------------------------------------- waiting, errors of use

namespace {

struct Waiting : Wire {
    bool wait(uint32_t idle_ms, bool wants_write) {
        waited = {idle_ms, wants_write};
        return false;
    }
    short events(bool wants_write, bool wants_read = true) const { return static_cast<short>((wants_read ? 1 : 0) | (wants_write ? 4 : 0)); }
    struct {
        uint32_t idle_ms;
        bool wants_write;
    } waited = {};
};

template <class P, class = void> struct has_wait : std::false_type {};
template <class P> struct has_wait<P, std::void_t<decltype(std::declval<P&>().wait(0, true))>> : std::true_type {};
static_assert(has_wait<mqtt::WebSocket<Waiting>>::value && !has_wait<Port>::value, "wait() is there if the wrapped port has it");

}  // namespace

TEST_CASE("wait() and events() wait for what the handshake and a pong need") {
    mqtt::WebSocket<Waiting> port;
    const auto waits = [&](bool wants_write, bool wants_read) {
        const int events = port.events(wants_write, wants_read);
        CHECK(!port.wait(7, wants_write));
        CHECK(port.waited.idle_ms == 7);
        CHECK(port.waited.wants_write == ((events & 4) != 0));
        return events;
    };
    port.opening = 1;
    port.write_limit = 0;
    CHECK(port.open("server", 8080) == 0);      // the wrapped port is connecting
    CHECK(waits(true, false) == 4);
    CHECK(port.open("server", 8080) == 0);      // the request cannot be written
    CHECK(waits(false, false) == 4);
    port.write_limit = SIZE_MAX;
    CHECK(port.open("server", 8080) == 0);      // waiting for the answer: not for room to write, which there is
    CHECK(waits(true, false) == 1);
    port.to_client = answer;
    CHECK(port.open("server", 8080) == 1);
    CHECK(waits(false, true) == 1);
    CHECK(waits(true, true) == 5);
    CHECK(waits(false, false) == 0);
    port.write_limit = 0;
    port.to_client = frame(0x89, "");
    CHECK(read_all(port, 64).empty());
    CHECK(waits(false, true) == 5);             // a pong is due
    port.to_client = binary("x") + octets({0x81, 0});
    uint8_t data[64];
    CHECK(port.read(data, sizeof data) == 1);
    CHECK(port.pending());
    CHECK(port.wait(1000, false));              // the error is told by the next read(): no sleep before that ...
    CHECK(!port.wait(1000, false));             // ... but one that does not read then sleeps, and does not spin
    CHECK(port.read(data, sizeof data) == -1);
    port.close();
    CHECK(waits(false, true) == 1);
}

TEST_CASE("read and write before open, and after close, fail") {
    Port port;
    uint8_t octet = 0;
    CHECK(port.read(&octet, 1) == -1);
    CHECK(port.write(&octet, 1) == -1);
    port.close();
    CHECK(port.open("server", 8080) == 0);
    CHECK(port.read(&octet, 1) == -1);
    CHECK(port.write(&octet, 1) == -1);
    port.to_client = answer;
    CHECK(port.open("server", 8080) == 1);
    port.close();
    CHECK(port.read(&octet, 1) == -1);
    CHECK(port.write(&octet, 1) == -1);
}

// ----------------------------------------------------------------------------------------------------- fuzz

TEST_CASE("fuzz: good frames in any mixture, in pieces of any size, and writes between them") {
    for (uint64_t seed = 1; seed <= 400; ++seed) {
        CAPTURE(seed);
        wire::Random random(seed);
        SmallPort port;
        open(port);
        port.cuts = &random;
        std::string expected, stream, sent, got, last_ping;
        bool in_message = false;
        for (int i = 0; i != 40; ++i) {
            const size_t kind = random.below(6);
            const std::string payload = pattern(random.below(10) == 0 ? 120 + random.below(300) : random.below(20));
            if (kind == 0) {
                last_ping = payload.substr(0, 125);
                stream += frame(0x89, last_ping);
            } else if (kind == 1) {
                stream += frame(0x8A, payload.substr(0, 125));
            } else {
                const bool final = random.below(2) == 0;
                stream += frame((final ? 0x80 : 0) | (in_message ? 0 : 2), payload);
                in_message = !final;
                expected += payload;
            }
        }
        port.to_client = stream;
        for (int i = 0; i < 20000 && (got.size() != expected.size() || !port.to_client.empty() || sent.size() < 2000); ++i) {
            const wire::Exact buffer(1 + random.below(40));
            const int n = port.read(buffer.data(), buffer.size());
            REQUIRE(n >= 0);
            got.append(reinterpret_cast<const char*>(buffer.data()), static_cast<size_t>(n));
            if (sent.size() >= 2000) continue;
            // As many bytes as are left at least, and other ones each time.
            std::string out(200, static_cast<char>(random.octet()));
            const int taken = write(port, out);
            REQUIRE(taken >= 0);
            sent += out.substr(0, static_cast<size_t>(taken));
        }
        REQUIRE(got == expected);
        port.cuts = nullptr;
        while (true) {   // the last frame, and the last pong
            const int n = write(port, "z");
            REQUIRE(n == 1);
            sent += "z";
            uint8_t octet = 0;
            REQUIRE(port.read(&octet, 1) == 0);
            std::string copy = port.from_client;
            (void)take_frames(copy);
            if (copy.empty() && !port.to_write(false)) break;
        }
        std::string data, last_pong;
        for (const Frame& next : take_frames(port.from_client)) {
            if (next.opcode == 2) data += next.payload;
            else last_pong = next.payload;
        }
        REQUIRE(data == sent);
        REQUIRE(last_pong == last_ping);
    }
}

TEST_CASE("fuzz: any bytes as answer and as frames do no harm") {
    for (uint64_t seed = 1; seed <= 3000; ++seed) {
        CAPTURE(seed);
        wire::Random random(seed);
        SmallPort port;
        if (seed % 4 == 0) {
            REQUIRE(port.open("server", 8080) == 0);
            port.to_client = answer;
            for (size_t i = 1 + random.below(3); i != 0; --i) port.to_client[random.below(answer.size())] = static_cast<char>(random.octet());
            const int n = port.open("server", 8080);
            if (n != 1) continue;
            port.from_client.clear();
        } else {
            open(port);
        }
        port.cuts = seed % 2 == 0 ? &random : nullptr;
        std::string stream;
        for (int i = 0; i != 20; ++i) {
            std::string next = frame(0x80 | static_cast<int>(random.below(3) == 0 ? 8 + random.below(3) : 2), pattern(random.below(130)));
            if (random.below(4) == 0) next[random.below(next.size())] = static_cast<char>(random.octet());
            stream += next;
        }
        port.to_client = stream;
        size_t total = 0;
        for (int i = 0; i < 3000; ++i) {
            const wire::Exact buffer(1 + random.below(200));
            const int n = port.read(buffer.data(), buffer.size());
            REQUIRE(n <= static_cast<int>(buffer.size()));
            if (n < 0) break;
            total += static_cast<size_t>(n);
            const int taken = write(port, "some bytes to write");
            if (taken < 0) CHECK(port.websocket_error() != Error::none);
        }
        REQUIRE(total <= stream.size());
        port.cuts = nullptr;
        port.close();
        (void)take_frames(port.from_client);
        CHECK(port.from_client.size() < 160);   // at most one frame that was begun
    }
}

// ----------------------------------------------------------------------------------------------- the client

namespace {

// The frames that carry `packets` when these are cut into payloads of the given sizes.
std::string cut_into_frames(const std::string& packets, size_t first, size_t then) {
    std::string out;
    for (size_t at = 0; at < packets.size();) {
        const size_t size = std::min(at == 0 ? first : then, packets.size() - at);
        out += binary(packets.substr(at, size));
        at += size;
    }
    return out;
}

struct Device {
    explicit Device(size_t rx_size = 64) : rx(rx_size), client(port, {{rx.data(), rx.size()}, tx}) {
        options.host = "server";
        options.port = 8080;
        options.client_id = "c";
        options.keep_alive = 10;
    }
    // Polls until `kind` comes, or nothing more happens.
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
        return take_data(port.from_client);
    }

    std::vector<uint8_t> rx;
    uint8_t tx[512] = {};
    Port port;
    mqtt::ConnectOptions options;
    mqtt::Client<Port> client;
};

const std::string connect = octets({
    0x10, 13,                    // CONNECT, remaining length 13
    0, 4, 'M', 'Q', 'T', 'T',    // protocol name
    4, 2, 0, 10,                 // level; clean session; keep alive: 10 s
    0, 1, 'c'});                 // client id
const std::string connack = octets({0x20, 2, 0, 0});
const std::string publish = octets({0x32, 7, 0, 1, 't', 0, 1, 'h', 'i'});   // QoS 1, topic "t", packet id 1
const std::string puback = octets({0x40, 2, 0, 1});

}  // namespace

TEST_CASE("[MQTT-6.0.0-1] [MQTT-6.0.0-2] a client over WebSocket: packets cut into frames at every position") {
    const std::string packets = connack + octets({0x32, 9, 0, 2, 'i', 'n', 0, 7, 'y', 'o', '!'});
    for (size_t first = 1; first <= packets.size(); ++first) {
        for (const size_t then : {size_t(1), size_t(3), packets.size()}) {
            CAPTURE(first);
            Device d(32);
            REQUIRE(d.client.connect(d.options).ok());
            CHECK(d.client.poll().kind == mqtt::Event::none);
            CHECK(d.port.from_client == request);
            d.port.from_client.clear();
            d.port.to_client = answer;
            CHECK(hex(d.written()) == hex(connect));
            d.port.to_client = cut_into_frames(packets, first, then);
            CHECK(!d.until(mqtt::Event::connected).session_present);
            const mqtt::Event event = d.until(mqtt::Event::received);
            CHECK(event.message.topic == "in");
            CHECK(event.message.payload.text() == "yo!");
            CHECK(hex(d.written()) == hex(octets({0x40, 2, 0, 7})));
            REQUIRE(d.client.publish("t", "hi", mqtt::QoS::at_least_once).ok());
            CHECK(hex(d.written()) == hex(publish));
            d.port.to_client = cut_into_frames(puback, first % 4 + 1, then);
            CHECK(d.until(mqtt::Event::acknowledged).packet_id == 1);
            REQUIRE(d.client.disconnect().ok());
            CHECK(d.until(mqtt::Event::disconnected).error == mqtt::Error::ok);
            const std::vector<Frame> last = take_frames(d.port.from_client);
            REQUIRE(last.size() == 2);
            CHECK(last[0].opcode == 2);
            CHECK(hex(last[0].payload) == hex(octets({0xE0, 0})));              // DISCONNECT
            CHECK(last[1].opcode == 8);                                          // close frame
            CHECK(hex(last[1].payload) == hex(octets({0x03, 0xE8})));            // 1000
            CHECK(!d.port.is_open);
        }
    }
}

TEST_CASE("a client over WebSocket: a message larger than all buffers, with partial writes and pings") {
    Device d(32);
    wire::Random random(7);
    REQUIRE(d.client.connect(d.options).ok());
    d.port.to_client = answer + binary(connack);
    (void)d.until(mqtt::Event::connected);
    d.port.from_client.erase(0, request.size());
    CHECK(take_data(d.port.from_client) == connect);
    d.port.cuts = &random;
    const std::string payload = pattern(20000);
    REQUIRE(d.client.begin_publish("t", 20000).ok());
    size_t at = 0;
    int pings = 0;
    while (at != payload.size()) {
        const mqtt::Written written = d.client.write_payload(std::string_view(payload).substr(at));
        REQUIRE(written.error == mqtt::Error::ok);
        at += written.size;
        if (++pings % 50 == 0) d.port.to_client += frame(0x89, "ping");
        CHECK(d.client.poll().kind == mqtt::Event::none);
    }
    d.port.cuts = nullptr;
    for (int i = 0; i != 10; ++i) CHECK(d.client.poll().kind == mqtt::Event::none);
    std::string data;
    size_t pongs = 0;
    for (const Frame& next : take_frames(d.port.from_client)) {
        if (next.opcode == 2) data += next.payload;
        else ++pongs;
    }
    CHECK(pongs > 0);
    CHECK(wire::difference(mqtt::Bytes(octets({0x30, 0xA3, 0x9C, 0x01, 0, 1, 't'}) + payload), mqtt::Bytes(data)) == "");
    CHECK(d.port.from_client.empty());
}

TEST_CASE("[MQTT-6.0.0-1] a client over WebSocket closes the connection on a text frame, and connects again") {
    Device d;
    REQUIRE(d.client.connect(d.options).ok());
    d.port.to_client = answer + binary(connack);
    (void)d.until(mqtt::Event::connected);
    d.port.to_client = frame(0x81, octets({0xD0, 0}));
    CHECK(d.until(mqtt::Event::disconnected).error == mqtt::Error::connection_lost);
    CHECK(!d.port.is_open);
    CHECK(d.port.websocket_error() == Error::non_binary_frame);
    d.port.to_client.clear();
    d.port.clock += 200000;
    (void)d.client.poll();
    d.port.to_client = answer + binary(connack);
    (void)d.until(mqtt::Event::connected);
    CHECK(d.port.opens == 2);
}

TEST_CASE("[MQTT-6.0.0-4] a client over WebSocket tells a refused handshake as connect_failed") {
    Device d;
    REQUIRE(d.client.connect(d.options).ok());
    d.port.to_client = status_101 + upgrade + connection + accept + "Sec-WebSocket-Protocol: amqp\r\n\r\n";
    CHECK(d.until(mqtt::Event::disconnected).error == mqtt::Error::connect_failed);
    CHECK(d.port.websocket_error() == Error::wrong_subprotocol);
    CHECK(!d.port.is_open);
}
