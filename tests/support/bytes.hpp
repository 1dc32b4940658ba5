// What the codec's tests share: heap blocks of an exact size, dumps that can be read, the golden packets of MQTT 3.1.1, and
// a reference for text, topics and fields that is written another way than mqtt.hpp is.

#ifndef MQTT_TESTS_SUPPORT_BYTES_HPP
#define MQTT_TESTS_SUPPORT_BYTES_HPP

#include "mqtt.hpp"
#include "tests/support/random.hpp"

#include <cstdio>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace wire {

using Octets = std::vector<uint8_t>;

// A block on the heap without a byte to spare: AddressSanitizer sees any access outside.
class Exact {
public:
    // A block of size 0 is the end of another one, because `new uint8_t[0]` has a byte that may be read.
    explicit Exact(size_t size) : block_(new uint8_t[size != 0 ? size : 8]), data_(block_.get()), size_(size) {
        if (size == 0) data_ += 8;
    }
    Exact(const uint8_t* data, size_t size) : Exact(size) {
        if (size != 0) memcpy(data_, data, size);
    }
    Exact(const Octets& bytes) : Exact(bytes.data(), bytes.size()) {}

    uint8_t* data() const { return data_; }
    size_t size() const { return size_; }
    mqtt::Bytes view() const { return {data_, size_}; }
    mqtt::Buffer buffer() const { return {data_, size_}; }
    std::string_view text() const { return view().text(); }

private:
    std::unique_ptr<uint8_t[]> block_;
    uint8_t* data_;
    size_t size_;
};

// "10 0c 00 04 4d 51 ..  |....MQ"
inline std::string hex(const uint8_t* data, size_t size) {
    std::string digits, letters;
    const size_t shown = size < 512 ? size : 512;
    for (size_t i = 0; i < shown; ++i) {
        char text[8];
        std::snprintf(text, sizeof text, "%02x ", data[i]);
        digits += text;
        letters += data[i] >= 0x20 && data[i] < 0x7F ? static_cast<char>(data[i]) : '.';
    }
    return digits + (shown < size ? ".. " : "") + " |" + letters + " (" + std::to_string(size) + " bytes)";
}
inline std::string hex(std::string_view text) { return hex(mqtt::Bytes(text).data(), text.size()); }

// "" if they are equal; else where they differ first, and both. For CHECK(difference(expected, got) == "").
inline std::string difference(mqtt::Bytes expected, mqtt::Bytes got) {
    size_t at = 0;
    while (at < expected.size() && at < got.size() && expected[at] == got[at]) ++at;
    if (at == expected.size() && at == got.size()) return "";
    return "differ at " + std::to_string(at) + "\n  expected " + hex(expected.data(), expected.size()) +
           "\n  got      " + hex(got.data(), got.size());
}

inline mqtt::Bytes view(const Octets& bytes) { return {bytes.data(), bytes.size()}; }

inline void append(Octets& to, std::initializer_list<uint8_t> bytes) { to.insert(to.end(), bytes); }
inline void append(Octets& to, size_t count, uint8_t value) { to.insert(to.end(), count, value); }
inline void append(Octets& to, std::string_view text) {
    for (const char c : text) to.push_back(static_cast<uint8_t>(c));
}

// A packet written by hand from the specification. Each is told, by being constructed, to those that want all of them.
struct Golden {
    using List = std::vector<const Golden*>;

    Golden(const char* what, std::initializer_list<uint8_t> octets, List& list = all())
        : name(what), bytes(Octets(octets)) {
        list.push_back(this);
    }
    Golden(const Golden&) = delete;
    Golden& operator=(const Golden&) = delete;

    static List& all() {
        static List list;
        return list;
    }

    const char* name;
    Exact bytes;
};

namespace golden {

// Section 3.1 CONNECT
inline const Golden connect_smallest{"CONNECT, clean session, no client id", {
    0x10, 12,                               // CONNECT, remaining length 12
    0, 4, 'M', 'Q', 'T', 'T',               // protocol name
    4,                                      // protocol level
    0x02,                                   // connect flags: clean session
    0, 0,                                   // keep alive: off
    0, 0,                                   // client id: ""
}};
inline const Golden connect_kept{"CONNECT, session kept, client id, keep alive", {
    0x10, 16,                               // CONNECT, remaining length 16
    0, 4, 'M', 'Q', 'T', 'T',               // protocol name
    4,                                      // protocol level
    0x00,                                   // connect flags: none
    0x01, 0x2C,                             // keep alive: 300 s
    0, 4, 'd', 'e', 'm', 'o',               // client id
}};
inline const Golden connect_everything{"CONNECT, will, user name and password", {
    0x10, 39,                               // CONNECT, remaining length 39
    0, 4, 'M', 'Q', 'T', 'T',               // protocol name
    4,                                      // protocol level
    0xEE,                                   // connect flags: user name, password, will retain, will QoS 1, will, clean
    0xFF, 0xFF,                             // keep alive: 65535 s
    0, 2, 'i', 'd',                         // client id
    0, 4, 'l', 'a', 's', 't',               // will topic
    0, 4, 'g', 'o', 'n', 'e',               // will message
    0, 3, 'b', 'o', 'b',                    // user name
    0, 6, 0x00, 0xFF, 's', 0xC0, 0x80, 't', // password: binary
}};
inline const Golden connect_will{"CONNECT, will with QoS 2 and an empty message", {
    0x10, 22,                               // CONNECT, remaining length 22
    0, 4, 'M', 'Q', 'T', 'T',               // protocol name
    4,                                      // protocol level
    0x14,                                   // connect flags: will QoS 2, will
    0, 60,                                  // keep alive: 60 s
    0, 3, 'a', 0xC3, 0xA4,                  // client id: "aä"
    0, 3, 'w', '/', 't',                    // will topic
    0, 0,                                   // will message: empty
}};
inline const Golden connect_empty_user{"CONNECT, empty user name and empty password", {
    0x10, 17,                               // CONNECT, remaining length 17
    0, 4, 'M', 'Q', 'T', 'T',               // protocol name
    4,                                      // protocol level
    0xC2,                                   // connect flags: user name, password, clean session
    0, 10,                                  // keep alive: 10 s
    0, 1, 'c',                              // client id
    0, 0,                                   // user name: ""
    0, 0,                                   // password: empty
}};
inline const Golden connect_user{"CONNECT, user name only", {
    0x10, 16,                               // CONNECT, remaining length 16
    0, 4, 'M', 'Q', 'T', 'T',               // protocol name
    4,                                      // protocol level
    0x82,                                   // connect flags: user name, clean session
    0, 0,                                   // keep alive: off
    0, 0,                                   // client id: ""
    0, 2, 'm', 'e',                         // user name
}};

// Section 3.2 CONNACK
inline const Golden connack_accepted{"CONNACK, accepted", {
    0x20, 2,                                // CONNACK, remaining length 2
    0x00,                                   // flags: no session present
    0,                                      // return code: accepted
}};
inline const Golden connack_session_present{"CONNACK, accepted, session present", {
    0x20, 2,                                // CONNACK, remaining length 2
    0x01,                                   // flags: session present
    0,                                      // return code: accepted
}};
inline const Golden connack_1{"CONNACK, unacceptable protocol version", {0x20, 2, 0, 1}};
inline const Golden connack_2{"CONNACK, identifier rejected", {0x20, 2, 0, 2}};
inline const Golden connack_3{"CONNACK, server unavailable", {0x20, 2, 0, 3}};
inline const Golden connack_4{"CONNACK, bad user name or password", {0x20, 2, 0, 4}};
inline const Golden connack_5{"CONNACK, not authorized", {0x20, 2, 0, 5}};

// Section 3.3 PUBLISH
inline const Golden publish_smallest{"PUBLISH, the smallest there is", {
    0x30, 3,                                // PUBLISH, QoS 0, remaining length 3
    0, 1, 't',                              // topic
}};
inline const Golden publish_qos_0{"PUBLISH, QoS 0", {
    0x30, 10,                               // PUBLISH, QoS 0, remaining length 10
    0, 3, 'a', '/', 'b',                    // topic
    'h', 'e', 'l', 'l', 'o',                // payload
}};
inline const Golden publish_qos_0_retain{"PUBLISH, QoS 0, retain", {
    0x31, 6,                                // PUBLISH, QoS 0, retain, remaining length 6
    0, 3, 'a', '/', 'b',                    // topic
    0x00,                                   // payload: one zero byte
}};
inline const Golden publish_qos_1{"PUBLISH, QoS 1", {
    0x32, 8,                                // PUBLISH, QoS 1, remaining length 8
    0, 1, 't',                              // topic
    0, 10,                                  // packet id
    'a', 'b', 'c',                          // payload
}};
inline const Golden publish_qos_1_again{"PUBLISH, QoS 1, dup, empty payload", {
    0x3A, 5,                                // PUBLISH, QoS 1, dup, remaining length 5
    0, 1, 't',                              // topic
    0xFF, 0xFF,                             // packet id
}};
inline const Golden publish_qos_1_retain{"PUBLISH, QoS 1, retain", {
    0x33, 6,                                // PUBLISH, QoS 1, retain, remaining length 6
    0, 1, '/',                              // topic
    0x01, 0x00,                             // packet id 256
    0xFF,                                   // payload
}};
inline const Golden publish_qos_2{"PUBLISH, QoS 2", {
    0x34, 9,                                // PUBLISH, QoS 2, remaining length 9
    0, 2, 'q', '2',                         // topic
    0x12, 0x34,                             // packet id
    0x00, 0x01, 0x02,                       // payload
}};
inline const Golden publish_qos_2_all{"PUBLISH, QoS 2, dup, retain", {
    0x3D, 11,                               // PUBLISH, QoS 2, dup, retain, remaining length 11
    0, 6, 0xEF, 0xBB, 0xBF, 0xC3, 0xA4, '$',// topic: U+FEFF, "ä$"
    0, 1,                                   // packet id
    0x80,                                   // payload
}};

// Sections 3.4 to 3.7 and 3.11: PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK
inline const Golden puback{"PUBACK", {
    0x40, 2,                                // PUBACK, remaining length 2
    0, 1,                                   // packet id
}};
inline const Golden pubrec{"PUBREC", {
    0x50, 2,                                // PUBREC, remaining length 2
    0x12, 0x34,                             // packet id
}};
inline const Golden pubrel{"PUBREL", {
    0x62, 2,                                // PUBREL with its flags 0010, remaining length 2
    0xAB, 0xCD,                             // packet id
}};
inline const Golden pubcomp{"PUBCOMP", {
    0x70, 2,                                // PUBCOMP, remaining length 2
    0xFF, 0xFF,                             // packet id
}};
inline const Golden unsuback{"UNSUBACK", {
    0xB0, 2,                                // UNSUBACK, remaining length 2
    0x01, 0x00,                             // packet id
}};

// Sections 3.8 to 3.10: SUBSCRIBE, UNSUBSCRIBE, SUBACK
inline const Golden subscribe_one{"SUBSCRIBE, one filter", {
    0x82, 6,                                // SUBSCRIBE with its flags 0010, remaining length 6
    0, 1,                                   // packet id
    0, 1, '#',                              // filter
    0,                                      // QoS 0
}};
inline const Golden subscribe_three{"SUBSCRIBE, three filters", {
    0x82, 24,                               // SUBSCRIBE with its flags 0010, remaining length 24
    0x12, 0x34,                             // packet id
    0, 3, 'a', '/', '+',                    // filter
    2,                                      // QoS 2
    0, 5, 0xC3, 0xA4, '/', 'b', '/',        // filter: "ä/b/"
    1,                                      // QoS 1
    0, 5, '$', 'S', 'Y', 'S', '/',          // filter
    0,                                      // QoS 0
}};
inline const Golden unsubscribe_one{"UNSUBSCRIBE, one filter", {
    0xA2, 5,                                // UNSUBSCRIBE with its flags 0010, remaining length 5
    0xFF, 0xFF,                             // packet id
    0, 1, '+',                              // filter
}};
inline const Golden unsubscribe_three{"UNSUBSCRIBE, three filters", {
    0xA2, 18,                               // UNSUBSCRIBE with its flags 0010, remaining length 18
    0, 7,                                   // packet id
    0, 3, 'a', '/', '#',                    // filter
    0, 1, '/',                              // filter
    0, 6, '+', '/', 0xF0, 0x90, 0x80, 0x80, // filter: "+/" and U+10000
}};
inline const Golden suback_one{"SUBACK, one code", {
    0x90, 3,                                // SUBACK, remaining length 3
    0, 1,                                   // packet id
    0,                                      // QoS 0 granted
}};
inline const Golden suback_four{"SUBACK, four codes", {
    0x90, 6,                                // SUBACK, remaining length 6
    0x12, 0x34,                             // packet id
    2,                                      // QoS 2 granted
    0x80,                                   // refused
    1,                                      // QoS 1 granted
    0,                                      // QoS 0 granted
}};

// Sections 3.12 to 3.14: PINGREQ, PINGRESP, DISCONNECT
inline const Golden pingreq{"PINGREQ", {0xC0, 0}};
inline const Golden pingresp{"PINGRESP", {0xD0, 0}};
inline const Golden disconnect{"DISCONNECT", {0xE0, 0}};

}  // namespace golden

// ------------------------------------------------------------------------------------------------- reference
// UTF-8 by decoding to code points: take the bits that the first byte promises, then judge the number.

// The code point at `p`, and `p` moved behind it; 0 for what is no character that MQTT allows.
inline uint32_t code_point(const uint8_t*& p, const uint8_t* end) {
    const uint32_t lead = *p++;
    uint32_t following = 0;
    for (uint32_t mask = 0x80; following < 7 && (lead & mask) != 0; mask >>= 1) ++following;
    if (following == 0) return lead;              // 0xxxxxxx
    if (following == 1 || following > 4) return 0;   // 10xxxxxx is no beginning; 11111xxx does not exist
    uint32_t value = lead & (0x7FU >> following);
    for (uint32_t i = 1; i < following; ++i) {
        if (p == end || *p / 64 != 2) return 0;
        value = value * 64 + *p++ % 64;
    }
    const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < smallest[following]) return 0;    // overlong
    if (value >= 0xD800 && value <= 0xDFFF) return 0;
    return value <= 0x10FFFF ? value : 0;
}

inline bool is_text(std::string_view text) {
    const mqtt::Bytes bytes(text);
    for (const uint8_t* p = bytes.begin(); p != bytes.end();)
        if (code_point(p, bytes.end()) == 0) return false;
    return true;
}

inline std::vector<std::string> levels(std::string_view text) {
    std::vector<std::string> list(1);
    for (const char c : text) {
        if (c == '/')
            list.emplace_back();
        else
            list.back() += c;
    }
    return list;
}

inline bool is_topic(std::string_view text) {
    return text.size() >= 1 && text.size() <= 65535 && is_text(text) &&
           text.find_first_of("+#") == std::string_view::npos;
}

inline bool is_filter(std::string_view text) {
    if (text.size() < 1 || text.size() > 65535 || !is_text(text)) return false;
    const std::vector<std::string> list = levels(text);
    for (size_t i = 0; i < list.size(); ++i) {
        if (list[i] == "+" || (list[i] == "#" && i + 1 == list.size())) continue;
        if (list[i].find_first_of("+#") != std::string::npos) return false;
    }
    return true;
}

// Section 4.7, level by level.
inline bool is_match(std::string_view filter, std::string_view topic) {
    const std::vector<std::string> f = levels(filter), t = levels(topic);
    if (topic[0] == '$' && (f[0] == "+" || f[0] == "#")) return false;
    for (size_t i = 0; i < f.size(); ++i) {
        if (f[i] == "#") return true;   // it was compared up to here; the parent level has none left, and matches too
        if (i == t.size()) return false;
        if (f[i] != "+" && f[i] != t[i]) return false;
        if (i + 1 == t.size() && i + 2 == f.size() && f[i + 1] == "#") return true;
    }
    return f.size() == t.size();
}

// A body, from the front of which fields are cut off; false: it has no such field.
class Fields {
public:
    explicit Fields(mqtt::Bytes body) : rest_(body.text()) {}

    bool number(size_t octets, size_t& value) {
        if (rest_.size() < octets) return false;
        value = 0;
        for (size_t i = 0; i < octets; ++i) value = value * 256 + static_cast<uint8_t>(rest_[i]);
        rest_.remove_prefix(octets);
        return true;
    }
    bool id() {
        size_t value;
        return number(2, value) && value >= 1;
    }
    bool field(std::string_view& text) {
        size_t length;
        if (!number(2, length) || rest_.size() < length) return false;
        text = rest_.substr(0, length);
        rest_.remove_prefix(length);
        return true;
    }
    // Seven bits in each byte, the lowest first; at most four of them, and no more than it takes.
    bool variable(size_t& value) {
        value = 0;
        for (size_t octets = 0, factor = 1; octets < 4 && !rest_.empty(); ++octets, factor *= 128) {
            const size_t octet = static_cast<uint8_t>(rest_.front());
            rest_.remove_prefix(1);
            value += octet % 128 * factor;
            if (octet < 128) return octets == 0 || octet != 0;
        }
        return false;
    }
    bool part(size_t length, Fields& text) {
        if (rest_.size() < length) return false;
        text = Fields(mqtt::Bytes(rest_.substr(0, length)));
        rest_.remove_prefix(length);
        return true;
    }
    bool at_end() const { return rest_.empty(); }

private:
    std::string_view rest_;
};

}  // namespace wire
#endif
