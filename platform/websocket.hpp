// mqtt::WebSocket - MQTT over WebSocket, as a port that wraps any other port: TCP, or TLS.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
//     mqtt::WebSocket<mqtt::posix::Tcp> port;
//     port.path = "/mqtt";
//     mqtt::Client client(port, {rx, tx});              // and all the rest as with the port itself
//     // ...
//     case mqtt::Event::disconnected: std::fprintf(stderr, "lost: %s\n", port.error_text()); break;
//     default: port.wait(client.idle_ms(), client.wants_write());
//
// Section 6 of the MQTT specification, with the client's side of RFC 6455. The wrapped port is the base class, so what
// it offers besides is there too: its settings, fd(), error(), storage (what has the name of something here, through
// the base class). It must have random(): for the key, and for
// the mask of each frame. (Masks keep scripts in browsers from talking to proxies; they hide nothing. Use TLS for that.)
//
// Handshake. open() connects, sends the upgrade request, and reads the answer without reading beyond its end. It
// never blocks, and goes on with any number of bytes at a time. Redirections are not followed, no extension is offered.
//
// Receiving. Frames are unwrapped in place, in the caller's buffer, whatever its size: one read of the wrapped port,
// from which headers and control frames are taken out. Pings are answered between our own frames; if more come than
// can be answered, the last is (section 5.5.3). What a client must not accept ends the connection.
//
// Sending. Each write() begins a frame, of as many bytes as the scratch buffer has room for, and hands it on with one
// write of the wrapped port. What that does not take is not kept: write() tells so, and the bytes of the next write()
// go on in the same frame. So nothing that was accepted lies here, the frame stays whole whatever the next bytes are,
// and there is no flush(). But the caller must come back with as many bytes as it had offered, as a Client does:
// until then the server may not look at the frame that has begun.
//
// Memory. `scratch_size` (default 512), and besides it and the wrapped port some 290 bytes (330 where pointers have 64
// bits); about 500 bytes of stack in the handshake; no heap. A frame carries at most scratch_size - 8 bytes (65535 if that is less), and costs 6
// bytes, or 8 if it carries more than 125.

#ifndef MQTT_PLATFORM_WEBSOCKET_HPP
#define MQTT_PLATFORM_WEBSOCKET_HPP

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <string_view>
#include <type_traits>

namespace mqtt {
namespace websocket {

// Why a connection failed or ended.
enum class Error : uint8_t {
    none,
    network,                // the wrapped port says so: ask that
    // The caller.
    invalid_request,        // path, host or headers are not what can stand in a request
    // The server is none for MQTT over WebSocket, or not there.
    no_answer,              // it closed the connection instead of answering: what a plain MQTT server does
    not_http,               // it answered something else than HTTP/1.1
    http_status,            // another status than 101: see http_status(); 404 means another path
    no_upgrade,             // Upgrade or Connection are missing or wrong
    wrong_accept_key,       // Sec-WebSocket-Accept is missing or was not made from our key
    wrong_subprotocol,      // Sec-WebSocket-Protocol is not "mqtt" [MQTT-6.0.0-4]
    unexpected_extension,   // we have offered none
    answer_too_long,        // more than max_answer_size, or a line that matters is longer than scratch_size
    // The server, by what it sent later.
    non_binary_frame,       // a text frame [MQTT-6.0.0-1]
    masked_frame,           // section 5.1
    reserved_bits,          // RSV1 to RSV3, or a reserved opcode (section 5.2)
    bad_length,             // not in the shortest form, or 2^63 and more (section 5.2)
    bad_control_frame,      // longer than 125 bytes, fragmented, or a close frame without a valid code (section 5.5)
    bad_continuation,       // without a beginning, or a beginning within another message (section 5.4)
    closed                  // a close frame: see close_code()
};

// The answer to the handshake may have this many bytes; they are not stored.
constexpr size_t max_answer_size = 8192;

namespace detail {

template <class T> T& some();   // only for decltype

template <class Port, class = void> struct has_random : std::false_type {};
template <class Port>
struct has_random<Port, std::void_t<decltype(some<Port>().random())>>
    : std::is_same<decltype(some<Port>().random()), uint32_t> {};

template <class Port, class = void> struct has_error_text : std::false_type {};
template <class Port>
struct has_error_text<Port, std::void_t<decltype(some<const Port>().error_text())>> : std::true_type {};

constexpr size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// Copies a text that has four blanks at `at`, and puts a number there.
inline void put_text(char* out, std::string_view text, size_t at, unsigned number) {
    memcpy(out, text.data(), text.size());
    out[text.size()] = '\0';
    for (size_t i = 4; i != 0 && number != 0; number /= 10) out[at + --i] = char('0' + number % 10);
}

// ------------------------------------------------------------------------------------------ SHA-1 and base64

struct Digest {
    uint8_t bytes[20];
};

// RFC 3174, method 2 (a schedule of 16 words). In the handshake it proves that a WebSocket server answers, not more.
inline Digest sha1(std::string_view text) {
    const auto rotate = [](uint32_t x, unsigned by) { return x << by | x >> (32 - by); };
    uint32_t hash[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    const size_t padded = (text.size() + 9 + 63) / 64 * 64;   // a bit, zeros, and 8 bytes that tell the size in bits
    const uint64_t bits = uint64_t(text.size()) * 8;
    for (size_t begin = 0; begin != padded; begin += 64) {
        uint32_t w[16];
        uint32_t a = hash[0], b = hash[1], c = hash[2], d = hash[3], e = hash[4];
        for (unsigned t = 0; t != 80; ++t) {
            uint32_t& word = w[t & 15];
            if (t < 16) {
                word = 0;
                for (size_t at = begin + t * 4; at != begin + t * 4 + 4; ++at) {
                    uint8_t octet = 0;
                    if (at < text.size()) octet = uint8_t(text[at]);
                    else if (at == text.size()) octet = 0x80;
                    else if (padded - at <= 8) octet = uint8_t(bits >> ((padded - at - 1) * 8));
                    word = word << 8 | octet;
                }
            } else {
                word = rotate(w[(t + 13) & 15] ^ w[(t + 8) & 15] ^ w[(t + 2) & 15] ^ word, 1);
            }
            const uint32_t f = t < 20   ? ((b & c) | (~b & d)) + 0x5A827999
                               : t < 40 ? (b ^ c ^ d) + 0x6ED9EBA1
                               : t < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8F1BBCDC
                                        : (b ^ c ^ d) + 0xCA62C1D6;
            const uint32_t next = rotate(a, 5) + f + e + word;
            e = d;
            d = c;
            c = rotate(b, 30);
            b = a;
            a = next;
        }
        hash[0] += a;
        hash[1] += b;
        hash[2] += c;
        hash[3] += d;
        hash[4] += e;
    }
    Digest digest;
    for (unsigned i = 0; i != 20; ++i) digest.bytes[i] = uint8_t(hash[i / 4] >> (24 - i % 4 * 8));
    return digest;
}

// RFC 4648, section 4. `out` has room for 4 characters per 3 bytes begun.
inline void base64(const uint8_t* data, size_t size, char* out) {
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t group = uint32_t(data[i]) << 16 | (left > 1 ? uint32_t(data[i + 1]) << 8 : 0) |
                               (left > 2 ? uint32_t(data[i + 2]) : 0);
        for (unsigned k = 0; k != 4; ++k) {
            const unsigned six = group >> (18 - 6 * k) & 63;
            const unsigned code = six < 26   ? 'A' + six
                                  : six < 52 ? 'a' + (six - 26)
                                  : six < 62 ? '0' + (six - 52)
                                  : six == 62 ? '+'
                                              : '/';
            *out++ = k > left ? '=' : char(code);
        }
    }
}

// The key of the request, and what the server must make of it (section 4.2.2, number 5.4).
constexpr size_t key_size = 16;
constexpr size_t key_text_size = 24;
constexpr size_t accept_text_size = 28;

inline void accept_text(const uint8_t* key, char* out) {
    constexpr std::string_view guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char joined[key_text_size + guid.size()];
    base64(key, key_size, joined);
    memcpy(joined + key_text_size, guid.data(), guid.size());
    const Digest digest = sha1({joined, sizeof joined});
    base64(digest.bytes, sizeof digest.bytes, out);
}

// ------------------------------------------------------------------------------------------------- handshake

// As substr(), which refers to what throws.
constexpr std::string_view first_of(std::string_view text, size_t size) { return {text.data(), smaller(text.size(), size)}; }

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; }
constexpr bool blank(char c) { return c == ' ' || c == '\t'; }
constexpr bool digit(char c) { return c >= '0' && c <= '9'; }

// `b` in lower case.
inline bool same_word(std::string_view a, std::string_view b) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i != a.size(); ++i)
        if (lower(a[i]) != b[i]) return false;
    return true;
}

inline std::string_view trimmed(std::string_view text) {
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && blank(text.back())) text.remove_suffix(1);
    return text;
}

// Is `word` an element of the list, which has commas between its elements?
inline bool lists(std::string_view list, std::string_view word) {
    while (true) {
        const size_t comma = list.find(',');
        if (same_word(trimmed(first_of(list, comma)), word)) return true;
        if (comma == std::string_view::npos) return false;
        list.remove_prefix(comma + 1);
    }
}

constexpr bool control(char c) { return uint8_t(c) < 0x20 || c == 0x7F; }

// ASCII without blanks and control characters: can stand within the first line of a request or its Host.
inline bool printable(std::string_view text) {
    for (const char c : text)
        if (c == ' ' || control(c) || uint8_t(c) >= 0x80) return false;
    return true;
}

// Lines of headers: nothing, or each ended by CR LF and not empty, so that none of them ends the request.
inline bool valid_headers(std::string_view text) {
    while (!text.empty()) {
        const size_t end = smaller(text.find('\r'), text.size());
        if (end == 0 || blank(text.front()) || text.size() - end < 2 || text[end + 1] != '\n') return false;
        for (const char c : first_of(text, end))
            if (control(c) && c != '\t') return false;
        text.remove_prefix(end + 2);
    }
    return true;
}

// Writes a text that is made anew each time, of which only the part from `begin` on is wanted, as far as it fits.
class Window {
public:
    Window(uint8_t* out, size_t size, size_t begin) : out_(out), room_(size), skip_(begin) {}
    void put(std::string_view text) {
        const size_t skipped = smaller(skip_, text.size());
        skip_ -= skipped;
        text.remove_prefix(skipped);
        const size_t taken = smaller(room_ - size_, text.size());
        if (taken != 0) memcpy(out_ + size_, text.data(), taken);
        size_ += taken;
    }
    void put_number(uint16_t value) {
        char digits[5];
        size_t at = sizeof digits;
        do {
            digits[--at] = char('0' + value % 10);
            value = uint16_t(value / 10);
        } while (value != 0);
        put({digits + at, sizeof digits - at});
    }
    size_t size() const { return size_; }

private:
    uint8_t* out_;
    size_t room_;
    size_t skip_;
    size_t size_ = 0;
};

// The server's answer (section 4.1 from "Once the client's opening handshake has been sent" on), byte by byte.
class Answer {
public:
    // `line` is memory for one line; `key` must stay as it is.
    void begin(uint8_t* line, size_t size, const uint8_t* key) {
        *this = Answer();
        line_ = line;
        room_ = size;
        key_ = key;
    }

    // How many bytes can be read without reading beyond the end: all up to the size of the shortest good answer, and
    // after that what is missing of the empty line.
    size_t wanted() const {
        constexpr size_t shortest =
            sizeof "HTTP/1.1 101\r\nUpgrade:websocket\r\nConnection:upgrade\r\n"
                   "Sec-WebSocket-Accept:0123456789012345678901234567\r\nSec-WebSocket-Protocol:mqtt\r\n\r\n" - 1;
        const size_t of_end = 4U - matched_;
        return shortest > count_ + of_end ? shortest - count_ : of_end;
    }

    // > 0: this was the last byte, and the answer is good; 0: go on; < 0: see error().
    int take(uint8_t octet) {
        const char c = char(octet);
        if (++count_ > max_answer_size) return fail(Error::answer_too_long);
        if (c == '\n') {
            if (matched_ % 2 == 0) return fail(Error::not_http);
            if (++matched_ == 4) return finish();
            const int result = first_ ? take_status() : take_field();
            first_ = false;
            size_ = 0;
            too_long_ = false;
            return result;
        }
        if (matched_ % 2 != 0) return fail(Error::not_http);   // CR without LF
        if (c == '\r') {
            ++matched_;
            return 0;
        }
        matched_ = 0;
        if (size_ == room_) {
            too_long_ = true;
            return 0;
        }
        constexpr std::string_view version = "HTTP/1.1 ";
        if (first_ && size_ < version.size() && c != version[size_]) return fail(Error::not_http);
        line_[size_++] = octet;
        return 0;
    }

    Error error() const { return error_; }
    uint16_t status() const { return status_; }

private:
    enum Field : uint8_t { upgrade = 1, connection = 2, accept = 4, protocol = 8 };

    int fail(Error error) {
        error_ = error;
        return -1;
    }
    std::string_view line() const { return {reinterpret_cast<const char*>(line_), size_}; }

    int take_status() {
        const std::string_view text = line();   // "HTTP/1.1 101 Switching Protocols"
        if (text.size() < 12 || !digit(text[9]) || !digit(text[10]) || !digit(text[11])) return fail(Error::not_http);
        if (text.size() > 12 && text[12] != ' ') return fail(Error::not_http);
        status_ = uint16_t((text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0'));
        return status_ == 101 ? 0 : fail(Error::http_status);
    }

    int take_field() {
        const std::string_view text = line();
        const size_t colon = text.find(':');
        if (colon == std::string_view::npos) return too_long_ ? 0 : fail(Error::not_http);
        if (colon == 0 || blank(text.front())) return fail(Error::not_http);   // RFC 7230: lines are not folded
        const std::string_view name = first_of(text, colon);
        const std::string_view value = trimmed({text.data() + colon + 1, text.size() - colon - 1});
        const bool matters = same_word(name, "upgrade") || same_word(name, "connection") ||
                             (name.size() > 14 && same_word(first_of(name, 14), "sec-websocket-"));
        if (!matters) return 0;
        if (too_long_) return fail(Error::answer_too_long);
        if (same_word(name, "upgrade")) return see(upgrade, same_word(value, "websocket"), Error::no_upgrade);
        if (same_word(name, "connection")) {             // a list, which may be spread over several lines
            if (lists(value, "upgrade")) seen_ |= connection;
            return 0;
        }
        if (same_word(name, "sec-websocket-accept")) {
            char expected[accept_text_size];
            accept_text(key_, expected);
            return see(accept, value == std::string_view(expected, sizeof expected), Error::wrong_accept_key);
        }
        if (same_word(name, "sec-websocket-protocol")) return see(protocol, value == "mqtt", Error::wrong_subprotocol);
        if (same_word(name, "sec-websocket-extensions") && !value.empty()) return fail(Error::unexpected_extension);
        return 0;
    }
    // A field that must come once, with one value.
    int see(Field field, bool right, Error error) {
        if (!right || (seen_ & field) != 0) return fail(error);
        seen_ = uint8_t(seen_ | field);
        return 0;
    }

    int finish() {
        if (first_) return fail(Error::not_http);
        if ((seen_ & upgrade) == 0 || (seen_ & connection) == 0) return fail(Error::no_upgrade);
        if ((seen_ & accept) == 0) return fail(Error::wrong_accept_key);
        if ((seen_ & protocol) == 0) return fail(Error::wrong_subprotocol);
        return 1;
    }

    uint8_t* line_ = nullptr;
    size_t room_ = 0;
    const uint8_t* key_ = nullptr;
    size_t size_ = 0;         // of the line so far
    size_t count_ = 0;        // of all so far
    uint16_t status_ = 0;
    uint8_t seen_ = 0;        // Field
    uint8_t matched_ = 0;     // of CR LF CR LF
    bool first_ = true;       // the line is the status line
    bool too_long_ = false;   // the line has more than there is room for
    Error error_ = Error::none;
};

// ---------------------------------------------------------------------------------------------------- frames

// Section 5.2.
enum Opcode : uint8_t { continuation = 0x0, text = 0x1, binary = 0x2, close_frame = 0x8, ping = 0x9, pong = 0xA };

constexpr uint8_t final_frame = 0x80;            // of the first byte; with our frames it is always set
constexpr uint8_t masked = 0x80;                 // of the second byte
constexpr size_t max_control_size = 125;
constexpr uint16_t no_close_code = 1005;         // section 7.4.1: stands for a close frame without a code

// XORs with the mask (section 5.3), of which byte `phase` is the first.
inline void apply_mask(uint8_t* out, const uint8_t* in, size_t size, const uint8_t* mask, unsigned phase) {
    uint8_t turned[4];
    for (unsigned i = 0; i != 4; ++i) turned[i] = mask[(phase + i) & 3];
    uint32_t key;
    memcpy(&key, turned, 4);
    size_t i = 0;
    for (; size - i >= 4; i += 4) {   // both as they lie in memory, so that the order of bytes does not matter
        uint32_t word;
        memcpy(&word, in + i, 4);
        word ^= key;
        memcpy(out + i, &word, 4);
    }
    for (; i != size; ++i) out[i] = uint8_t(in[i] ^ turned[i & 3]);
}

// Writes the header of a masked frame of up to 65535 bytes; returns its size.
constexpr size_t max_header_size = 8;
inline size_t put_header(uint8_t* out, Opcode opcode, size_t size, const uint8_t* mask) {
    size_t at = 0;
    out[at++] = uint8_t(final_frame | opcode);
    if (size <= 125) {
        out[at++] = uint8_t(masked | size);
    } else {
        out[at++] = masked | 126;
        out[at++] = uint8_t(size >> 8);
        out[at++] = uint8_t(size);
    }
    memcpy(out + at, mask, 4);
    return at + 4;
}

// Section 7.4: may stand in a close frame.
constexpr bool valid_close_code(unsigned code) {
    return code >= 1000 && code < 5000 && code != 1004 && code != no_close_code && code != 1006 && code != 1015;
}

// What the server sends after the handshake.
class Frames {
public:
    void begin() { *this = Frames(); }

    // Takes headers and control frames out of `size` bytes that have come; what is left, the MQTT bytes, begins at
    // `data` again. Returns how many. Stops at the first error, and behind a close frame.
    size_t unwrap(uint8_t* data, size_t size) {
        size_t in = 0;
        size_t out = 0;
        while (in != size && error_ == Error::none) {
            if (part_ != Part::payload) {
                take_header(data[in++]);
                continue;
            }
            const size_t piece = left_ < size - in ? size_t(left_) : size - in;
            if (is_control()) {
                keep_control(data + in, piece);
            } else {
                if (in != out) memmove(data + out, data + in, piece);
                out += piece;
            }
            in += piece;
            left_ -= piece;
            if (left_ == 0) end_frame();
        }
        return out;
    }

    Error error() const { return error_; }
    uint16_t close_code() const { return close_code_; }   // with Error::closed

    // The last ping that has not been answered: its payload, to be sent back. Answered by taking it.
    bool pong_due() const { return pong_due_; }
    size_t take_pong(const uint8_t*& data) {
        pong_due_ = false;
        data = control_;
        return control_size_;
    }

private:
    enum class Part : uint8_t { first, second, length, payload };

    bool is_control() const { return (opcode_ & 0x8) != 0; }
    void fail(Error error) { error_ = error; }

    void take_header(uint8_t octet) {
        switch (part_) {
        case Part::first: take_first(octet); break;
        case Part::second: take_second(octet); break;
        case Part::length: take_length(octet); break;
        case Part::payload: break;
        }
    }
    void take_first(uint8_t octet) {
        const bool final = (octet & final_frame) != 0;
        opcode_ = octet & 0x0F;
        if ((octet & 0x70) != 0) return fail(Error::reserved_bits);
        switch (opcode_) {
        case continuation:
            if (!in_message_) return fail(Error::bad_continuation);
            in_message_ = !final;
            break;
        case binary:
            if (in_message_) return fail(Error::bad_continuation);
            in_message_ = !final;
            break;
        case text: return fail(Error::non_binary_frame);         // [MQTT-6.0.0-1]
        case close_frame:
        case ping:
        case pong:
            if (!final) return fail(Error::bad_control_frame);
            break;
        default: return fail(Error::reserved_bits);
        }
        part_ = Part::second;
    }
    void take_second(uint8_t octet) {
        if ((octet & masked) != 0) return fail(Error::masked_frame);
        if (octet > 125 && is_control()) return fail(Error::bad_control_frame);
        length_size_ = length_left_ = uint8_t(octet < 126 ? 0 : octet == 126 ? 2 : 8);
        left_ = octet < 126 ? octet : 0;
        if (length_left_ != 0)
            part_ = Part::length;
        else
            begin_payload();
    }
    void take_length(uint8_t octet) {
        left_ = left_ << 8 | octet;
        if (--length_left_ != 0) return;
        const uint64_t least = length_size_ == 2 ? 126 : 65536;
        if (left_ < least || left_ >> 63 != 0) return fail(Error::bad_length);
        begin_payload();
    }
    void begin_payload() {
        part_ = Part::payload;
        // A ping takes the place of one that could not be answered yet.
        if (opcode_ == ping || opcode_ == close_frame) {
            pong_due_ = false;
            control_size_ = 0;
        }
        if (left_ == 0) end_frame();
    }
    void keep_control(const uint8_t* data, size_t size) {
        if (opcode_ == pong) return;   // of no use to us, and no error (section 5.5.3)
        memcpy(control_ + control_size_, data, size);
        control_size_ = uint8_t(control_size_ + size);
    }
    void end_frame() {
        part_ = Part::first;
        if (opcode_ == ping) pong_due_ = true;
        if (opcode_ == close_frame) on_close();
    }
    void on_close() {
        close_code_ = no_close_code;
        if (control_size_ != 0) {
            const unsigned code = control_size_ > 1 ? unsigned(control_[0]) << 8 | control_[1] : 0;
            if (!valid_close_code(code)) return fail(Error::bad_control_frame);
            close_code_ = uint16_t(code);
        }
        fail(Error::closed);
    }

    uint64_t left_ = 0;          // of the payload; in Part::length the length so far
    Part part_ = Part::first;
    uint8_t opcode_ = 0;
    uint8_t length_size_ = 0;    // of the extended length: 0, 2 or 8 bytes ...
    uint8_t length_left_ = 0;    // ... of which these are to come
    bool in_message_ = false;    // a message is in fragments, and the last one has not come
    bool pong_due_ = false;      // control_ is a ping to be answered
    Error error_ = Error::none;
    uint8_t control_size_ = 0;
    uint16_t close_code_ = 0;
    uint8_t control_[max_control_size] = {};   // payload of the last ping or close frame
};

}  // namespace detail
}  // namespace websocket

// `Port`: any port's socket part, with now_ms() and random(). Objects of this class belong to one thread at a time,
// as those of Port.
template <class Port, size_t scratch_size = 512> class WebSocket : public Port {
    static_assert(websocket::detail::has_random<Port>::value,
                  "mqtt::WebSocket needs a port with: uint32_t random() (for the handshake's key and the masks)");
    static_assert(scratch_size >= 160, "mqtt::WebSocket: scratch_size must be 160 or more (a pong and a header lie in it)");

public:
    // The path on the server, query included, and further lines of the request, each ended by "\r\n", such as
    // "Authorization: Bearer ...\r\n". Both, and the host, must stay as they are while open() is at work.
    std::string_view path = "/mqtt";
    std::string_view headers;

    using Port::Port;
    WebSocket() = default;
    WebSocket(const WebSocket&) = delete;
    WebSocket& operator=(const WebSocket&) = delete;
    ~WebSocket() { close(); }

    // Connects, and goes through the handshake. > 0: open; 0: not yet, call again after wait(), with the same
    // arguments; < 0: failed, closed, see websocket_error().
    int open(std::string_view server, uint16_t server_port) {
        if (state_ == State::open) return 1;
        if (state_ == State::failed) return -1;
        if (state_ == State::idle) {
            if (!valid_request(server)) return end_handshake(websocket::Error::invalid_request);
            http_status_ = close_code_ = 0;
            state_ = State::connecting;
        }
        if (state_ == State::connecting) {
            const int n = Port::open(server, server_port);
            if (n < 0) return end_handshake(websocket::Error::network);
            if (n == 0) return 0;
            begin_handshake();
        }
        if (state_ == State::asking) {
            const int n = ask(server, server_port);
            if (n <= 0) return n;
        }
        return hear();
    }

    // Reads up to `size` bytes of MQTT. > 0: how many; 0: none yet, or `size` is 0; < 0: the connection is lost or
    // was ended, see websocket_error(), or was never open.
    int read(uint8_t* data, size_t size) {
        if (state_ != State::open) return -1;
        if (size == 0) return 0;
        // Headers and control frames are nothing to the caller: then read on. Not for ever: a server may send a lot.
        for (int i = 0; i != max_reads; ++i) {
            const int n = Port::read(data, size);
            if (n < 0) {
                state_ = State::failed;
                return lost();
            }
            const size_t got = frames_.unwrap(data, size_t(n));
            if (frames_.error() == websocket::Error::none)
                flush();
            else
                end_frames();
            if (got != 0) return int(got);
            if (state_ != State::open) return -1;
            if (n == 0) return 0;
        }
        return 0;
    }

    // Writes up to `size` bytes of MQTT, often fewer, with one write of the wrapped port. > 0: how many; 0: none now,
    // wait for room; < 0: the connection is lost, or was ended, or was never open. The bytes may move after the call.
    int write(const uint8_t* data, size_t size) {
        if (state_ != State::open || broken_) return -1;
        if (size == 0) return 0;
        queue_pong();
        // scratch_: what is queued, the header of a new frame if none has been begun, the payload.
        size_t before = queued_;
        size_t frame_left = frame_left_;
        if (frame_left == 0) {
            using websocket::detail::smaller;
            frame_left = smaller(smaller(size, 65535), scratch_size - queued_ - websocket::detail::max_header_size);
            make_mask();
            before += websocket::detail::put_header(scratch_ + queued_, websocket::detail::binary, frame_left, mask_);
        }
        const size_t payload = websocket::detail::smaller(websocket::detail::smaller(size, frame_left), scratch_size - before);
        websocket::detail::apply_mask(scratch_ + before, data, payload, mask_, mask_phase_);
        const int result = hand_on(before + payload);
        if (result < 0) return -1;
        const size_t n = size_t(result);
        if (frame_left_ == 0 && n <= queued_) {            // nothing of the new frame: begin it anew next time
            drop_queued(n);
            return 0;
        }
        frame_left_ = frame_left;
        if (n < before) {
            queued_ = before;
            drop_queued(n);
            return 0;
        }
        queued_ = 0;
        frame_left_ -= n - before;
        mask_phase_ = uint8_t((mask_phase_ + (n - before)) & 3);
        return int(n - before);
    }

    // Sends a close frame, if that can be done at once and in between frames, and closes the wrapped port. At any
    // time, also twice; does not block. Keeps websocket_error(). open() may follow at once.
    void close() {
        if (state_ == State::open) send_close(1000);
        state_ = State::idle;
        Port::close();
    }

    // The last failure, kept until the next.
    websocket::Error websocket_error() const { return error_; }
    uint16_t http_status() const { return http_status_; }   // of the last answer; 0: none
    uint16_t close_code() const { return close_code_; }     // of the server's close frame; 1005: it had none; 0: none came

    // The last failure as a text for logs; with Error::network the wrapped port's. Never null; valid until the next
    // call of something that is not const.
    const char* error_text() const {
        using websocket::Error;
        switch (error_) {
        case Error::none: break;
        case Error::network: return network_text();
        case Error::invalid_request: return "WebSocket: the path, the host or the headers are not valid";
        case Error::no_answer: return "WebSocket: the server closed the connection in the handshake: does it speak WebSocket?";
        case Error::not_http: return "WebSocket: the server's answer is not HTTP/1.1";
        case Error::http_status: return text_;
        case Error::no_upgrade: return "WebSocket: the server does not upgrade the connection";
        case Error::wrong_accept_key: return "WebSocket: the server's Sec-WebSocket-Accept is wrong";
        case Error::wrong_subprotocol: return "WebSocket: the server does not offer the subprotocol mqtt";
        case Error::unexpected_extension: return "WebSocket: the server uses an extension";
        case Error::answer_too_long: return "WebSocket: the server's answer is too long";
        case Error::non_binary_frame: return "WebSocket: the server sent a text frame";
        case Error::masked_frame: return "WebSocket: the server sent a masked frame";
        case Error::reserved_bits: return "WebSocket: the server sent a frame with reserved bits or opcode";
        case Error::bad_length: return "WebSocket: the server sent a frame with an invalid length";
        case Error::bad_control_frame: return "WebSocket: the server sent an invalid control frame";
        case Error::bad_continuation: return "WebSocket: the server sent fragments out of order";
        case Error::closed: return text_;
        }
        return "no error";
    }

    // As the wrapped port's, if it has them. In the handshake, and while the answer to a ping waits to be written,
    // they wait for what that needs.
    template <class P = Port>
    auto wait(uint32_t idle_ms, bool wants_write) -> decltype(websocket::detail::some<P>().wait(idle_ms, wants_write)) {
        if (news_) {
            news_ = false;
            return true;
        }
        return Port::wait(idle_ms, to_write(wants_write));
    }
    template <class P = Port>
    auto events(bool wants_write, bool wants_read = true) const
        -> decltype(websocket::detail::some<const P>().events(wants_write, wants_read)) {
        return Port::events(to_write(wants_write), to_read(wants_read));
    }

    // For another event loop than wait(): true: read() has something to do without the network telling of it, so do not sleep.
    bool pending() const { return (news_ && state_ == State::failed) || port_pending(static_cast<const Port&>(*this), 0); }

    // For a port without them: whether to wait until the wrapped port can be written, or read, if the client wants so.
    bool to_write(bool wants_write) const {
        switch (state_) {
        case State::asking: return true;
        case State::hearing: return false;                 // else waiting for the answer would be a busy loop
        case State::open: return wants_write || (!broken_ && frame_left_ == 0 && (queued_ != 0 || frames_.pong_due()));
        default: return wants_write;
        }
    }
    bool to_read(bool wants_read) const { return state_ == State::hearing || wants_read; }

private:
    enum class State : uint8_t {
        idle,
        connecting,   // the wrapped port
        asking,       // the request is being written
        hearing,      // the answer is being read
        open,
        failed        // lost, or ended by what the server sent; until close()
    };
    static constexpr int max_reads = 64;

    // ---- handshake

    bool valid_request(std::string_view server) const {
        using namespace websocket::detail;
        return !path.empty() && path.front() == '/' && printable(path) && !server.empty() && printable(server) && valid_headers(headers);
    }

    void begin_handshake() {
        for (size_t i = 0; i != websocket::detail::key_size; i += 4) store_random(key_ + i);
        done_ = 0;
        news_ = false;
        state_ = State::asking;
    }

    // Section 4.1. Makes the request, of which the first done_ bytes are written already.
    size_t make_request(std::string_view server, uint16_t server_port) {
        const bool brackets = server.front() != '[' && server.find(':') != std::string_view::npos;   // an IPv6 address
        char key[websocket::detail::key_text_size];
        websocket::detail::base64(key_, sizeof key_, key);
        websocket::detail::Window out(scratch_, scratch_size, done_);
        out.put("GET ");
        out.put(path);
        out.put(" HTTP/1.1\r\nHost: ");
        out.put(brackets ? "[" : "");
        out.put(server);
        out.put(brackets ? "]" : "");
        if (server_port != 80 && server_port != 443) {     // the schemes' own stay away: some servers compare
            out.put(":");
            out.put_number(server_port);
        }
        out.put("\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
        out.put({key, sizeof key});
        out.put("\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n");   // [MQTT-6.0.0-3]
        out.put(headers);
        out.put("\r\n");
        return out.size();
    }

    int ask(std::string_view server, uint16_t server_port) {
        while (const size_t size = make_request(server, server_port)) {
            const int n = Port::write(scratch_, size);
            if (n < 0) return end_handshake(websocket::Error::network);
            if (n == 0) return 0;
            done_ += size_t(n);
        }
        answer_.begin(scratch_, scratch_size, key_);
        state_ = State::hearing;
        return 1;
    }

    int hear() {
        while (true) {
            uint8_t data[160];
            const int n = Port::read(data, websocket::detail::smaller(answer_.wanted(), sizeof data));
            if (n < 0) return end_handshake(websocket::Error::no_answer);
            if (n == 0) return 0;
            for (int i = 0; i != n; ++i) {
                const int result = answer_.take(data[i]);
                http_status_ = answer_.status();
                if (result < 0) return end_handshake(answer_.error());
                if (result > 0) {                          // and that was the last byte: see Answer::wanted()
                    begin_frames();
                    return 1;
                }
            }
        }
    }

    int end_handshake(websocket::Error error) {
        fail(error);
        state_ = State::idle;
        Port::close();
        return -1;
    }

    // ---- frames

    void begin_frames() {
        frames_.begin();
        queued_ = 0;
        frame_left_ = 0;
        broken_ = false;
        state_ = State::open;
    }

    // The server has sent a close frame, or what it must not send. Nothing is read or written any more.
    void end_frames() {
        using websocket::Error;
        const Error error = frames_.error();
        close_code_ = error == Error::closed ? frames_.close_code() : uint16_t(0);
        // Section 7.4.1: the server's code comes back; 1003 for a type that is not accepted, 1002 for other violations.
        const unsigned protocol_error = 1002, unsupported_data = 1003;
        send_close(error == Error::closed ? close_code_ : error == Error::non_binary_frame ? unsupported_data : protocol_error);
        fail(error);
        state_ = State::failed;
        news_ = true;
    }

    void store_random(uint8_t* out) {
        const uint32_t bits = Port::random();
        memcpy(out, &bits, 4);
    }
    void make_mask() {
        store_random(mask_);
        mask_phase_ = 0;
    }

    // Puts a control frame behind what is queued. The caller sees to it that no frame is begun, and that there is room.
    void queue_control(websocket::detail::Opcode opcode, const uint8_t* data, size_t size) {
        make_mask();
        queued_ += websocket::detail::put_header(scratch_ + queued_, opcode, size, mask_);
        websocket::detail::apply_mask(scratch_ + queued_, data, size, mask_, 0);
        queued_ += size;
    }
    void queue_pong() {
        if (!frames_.pong_due() || frame_left_ != 0 || queued_ != 0) return;
        const uint8_t* data = nullptr;
        const size_t size = frames_.take_pong(data);
        queue_control(websocket::detail::pong, data, size);
    }
    // Best effort.
    void send_close(unsigned code) {
        if (broken_ || frame_left_ != 0) return;           // or it would be taken for that frame's payload
        const uint8_t data[2] = {uint8_t(code >> 8), uint8_t(code)};
        queue_control(websocket::detail::close_frame, data, code == websocket::detail::no_close_code ? 0 : 2);
        (void)Port::write(scratch_, queued_);
        queued_ = 0;
    }
    // What need not wait for write(). An error is told by the next read().
    void flush() {
        queue_pong();
        if (queued_ == 0 || broken_) return;
        const int n = hand_on(queued_);
        if (n > 0) drop_queued(size_t(n));
    }
    // Once it has failed there is no other attempt: a later error would hide why. What has come can still be read.
    int hand_on(size_t size) {
        const int n = Port::write(scratch_, size);
        if (n >= 0) return n;
        broken_ = true;
        return lost();
    }
    void drop_queued(size_t size) {
        queued_ -= size;
        memmove(scratch_, scratch_ + size, queued_);
    }

    // ---- errors

    // The wrapped port has lost the connection.
    int lost() {
        fail(websocket::Error::network);
        return -1;
    }
    void fail(websocket::Error error) {
        error_ = error;
        using websocket::detail::put_text;
        if (error == websocket::Error::http_status)
            put_text(text_, "WebSocket: HTTP status     instead of 101", 22, http_status_);
        if (error == websocket::Error::closed)
            put_text(text_, "WebSocket: closed by the server with code     ", 42, close_code_);
    }
    const char* network_text() const {
        if constexpr (websocket::detail::has_error_text<Port>::value)
            return Port::error_text();
        else
            return "the connection was lost";
    }

    // That of the wrapped port, if it has one (TLS): then the first is the better match.
    template <class P> static auto port_pending(const P& port, int) -> decltype(port.pending()) { return port.pending(); }
    template <class P> static bool port_pending(const P&, long) { return false; }

    State state_ = State::idle;
    websocket::Error error_ = websocket::Error::none;
    bool broken_ = false;                    // a write has failed
    bool news_ = false;                      // the next read() has an error to tell, whatever there is to read: do not sleep
    uint8_t mask_phase_ = 0;                 // which byte of mask_ is next
    uint8_t mask_[4] = {};                   // of the frame that has begun
    uint16_t http_status_ = 0;
    uint16_t close_code_ = 0;
    size_t frame_left_ = 0;                  // payload bytes of the frame that has begun, not yet written
    size_t queued_ = 0;                      // bytes of scratch_ that go first: control frames, or the rest of a header
    size_t done_ = 0;                        // bytes of the request that are written
    uint8_t key_[websocket::detail::key_size] = {};
    websocket::detail::Answer answer_;
    websocket::detail::Frames frames_;
    char text_[48] = {};
    uint8_t scratch_[scratch_size];          // between calls: what is queued; in the handshake: a line of the answer
};

}  // namespace mqtt

#endif
