// Text, topics, filters, and which matches which. valid_text() is compared with a reference that decodes to code points
// (tests/support/bytes.hpp), also in the midst of longer text, where a faster version may work by words.

#include "mqtt.hpp"

#include "../support/bytes.hpp"
#include "../support/bytes5.hpp"

#include <doctest/doctest.h>

#include <bitset>

namespace {

using wire::Exact;

// Sequences are put into longer ASCII text, in blocks that end where the text ends. `before` and `behind` are the number
// of its bytes on either side; `skipped` bytes before it are not part of the text and move its start in memory.
class Frame {
public:
    Frame(size_t skipped, size_t before, size_t size, size_t behind)
        : block_(skipped + before + size + behind), at_(skipped + before), size_(size),
          text_(block_.text().substr(skipped)) {
        memset(block_.data(), 'a', block_.size());
    }
    std::string_view put(const uint8_t* sequence) {
        memcpy(block_.data() + at_, sequence, size_);
        return text_;
    }

private:
    Exact block_;
    size_t at_, size_;
    std::string_view text_;
};

// Compares valid_text() and the reference on many texts; tells the first that they do not agree on.
class Comparison {
public:
    void operator()(std::string_view text) { (*this)(text, wire::is_text(text)); }
    void operator()(std::string_view text, bool expected) {
        ++count_;
        if (mqtt::valid_text(text) == expected) return;
        ++wrong_;
        if (first_.empty()) first_ = (expected ? "refused: " : "accepted: ") + wire::hex(text);
    }
    void check(size_t count) const {
        CHECK(first_ == "");
        CHECK(wrong_ == 0);
        CHECK(count_ == count);
    }

private:
    size_t count_ = 0, wrong_ = 0;
    std::string first_;
};

// The code point as UTF-8 of `length` bytes, also where that is too long, or the code point not allowed.
std::string utf8(uint32_t value, size_t length) {
    const uint32_t mark[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    char text[4];
    for (size_t i = length - 1; i != 0; --i, value >>= 6) text[i] = static_cast<char>(0x80 | (value & 0x3F));
    text[0] = static_cast<char>(mark[length] | value);
    return {text, length};
}

// "" if valid_text() holds the text for valid, or not, as expected - wherever it stands in longer text.
std::string everywhere(std::string_view sequence, bool expected) {
    for (size_t before = 0; before <= 17; ++before) {
        for (size_t behind = 0; behind <= 17; ++behind) {
            for (size_t skipped = 0; skipped < 8; skipped += before < 9 && behind < 9 ? 1 : 8) {
                Frame frame(skipped, before, sequence.size(), behind);
                const std::string_view text = frame.put(mqtt::Bytes(sequence).data());
                if (mqtt::valid_text(text) != expected)
                    return "behind " + std::to_string(before) + " and before " + std::to_string(behind) + ", moved by " +
                           std::to_string(skipped) + ": " + wire::hex(text);
            }
        }
    }
    return "";
}

}  // namespace

TEST_CASE("the reference itself: it accepts the code points but U+0000 and surrogates, and nothing else of 4 bytes") {
    size_t good = 0;
    for (uint32_t value = 0; value < 0x200000; ++value) {
        const size_t length = value < 0x80 ? 1 : value < 0x800 ? 2 : value < 0x10000 ? 3 : 4;
        if (wire::is_text(utf8(value, length))) ++good;
    }
    CHECK(good == 0x110000 - 1 - 0x800);
    CHECK(!wire::is_text("\xC0\x80"));
    CHECK(!wire::is_text("\xF8\x88\x80\x80\x80"));
    CHECK(!wire::is_text("\xC3"));
    CHECK(wire::is_text(""));
}

TEST_CASE("[MQTT-1.5.3-1] [MQTT-1.5.3-2] all texts of 1 and 2 bytes, at every place in longer text") {
    Comparison compare;
    size_t count = 0;
    for (size_t before = 0; before <= 17; ++before) {
        for (const size_t behind : {size_t{0}, size_t{1}, size_t{7}, 17 - before}) {
            Frame one(before % 8, before, 1, behind), two(before % 8, before, 2, behind);
            for (uint32_t value = 0; value < 0x10000; ++value) {
                const uint8_t bytes[] = {static_cast<uint8_t>(value >> 8), static_cast<uint8_t>(value)};
                // The ASCII around it changes nothing, so the reference need not see that.
                const bool expected = wire::is_text({reinterpret_cast<const char*>(bytes), 2});
                compare(two.put(bytes), expected);
                if (bytes[0] == 0) compare(one.put(bytes + 1));
                count += bytes[0] == 0 ? 2 : 1;
            }
        }
    }
    compare.check(count);
}

TEST_CASE("[MQTT-1.5.3-1] [MQTT-1.5.3-2] all texts of 3 bytes") {
    // Which are good is told by writing all of them: 1 + 1 + 1, 1 + 2, 2 + 1, and 3 bytes.
    static std::bitset<1 << 24> good;
    good.reset();
    const auto mark = [](const std::string& text) {
        const mqtt::Bytes bytes(text);
        good.set(static_cast<size_t>(bytes[0] << 16 | bytes[1] << 8 | bytes[2]));
    };
    for (uint32_t a = 1; a < 0x80; ++a) {
        for (uint32_t b = 1; b < 0x80; ++b)
            for (uint32_t c = 1; c < 0x80; ++c) good.set(a << 16 | b << 8 | c);
        for (uint32_t value = 0x80; value < 0x800; ++value) {
            mark(utf8(a, 1) + utf8(value, 2));
            mark(utf8(value, 2) + utf8(a, 1));
        }
    }
    for (uint32_t value = 0x800; value < 0x10000; ++value)
        if (value < 0xD800 || value > 0xDFFF) mark(utf8(value, 3));
    CHECK(good.count() == 127U * 127 * 127 + 2U * 127 * 1920 + 63488 - 2048);

    Comparison compare;
    Frame alone(0, 0, 3, 0);
    for (uint32_t value = 0; value < 0x1000000; ++value) {
        const uint8_t bytes[] = {static_cast<uint8_t>(value >> 16), static_cast<uint8_t>(value >> 8),
                                 static_cast<uint8_t>(value)};
        compare(alone.put(bytes), good[value]);
    }
    compare.check(0x1000000);
}

TEST_CASE("[MQTT-1.5.3-1] texts of 3 and 4 bytes on each side of each limit, at every place in longer text") {
    static const uint8_t first[] = {0x00, 0x61, 0x7F, 0x80, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE,
                                    0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFC, 0xFE, 0xFF};
    static const uint8_t second[] = {0x00, 0x61, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE1, 0xF1};
    static const uint8_t later[] = {0x00, 0x61, 0x7F, 0x80, 0xBF, 0xC0, 0xC2, 0xFF};
    Comparison compare;
    size_t count = 0;
    for (size_t before = 0; before <= 17; ++before) {
        Frame three_last(before % 8, before, 3, 0), three(0, before, 3, 17 - before);
        Frame four_last(before % 8, before, 4, 0), four(0, before, 4, 17 - before);
        for (const uint8_t a : first) {
            for (const uint8_t b : second) {
                for (const uint8_t c : later) {
                    for (const uint8_t d : later) {
                        const uint8_t bytes[] = {a, b, c, d};
                        const char* chars = reinterpret_cast<const char*>(bytes);
                        const bool expected = wire::is_text({chars, 4});
                        compare(four_last.put(bytes), expected);
                        compare(four.put(bytes), expected);
                        count += 2;
                        if (d != later[0]) continue;
                        compare(three_last.put(bytes), wire::is_text({chars, 3}));
                        compare(three.put(bytes), wire::is_text({chars, 3}));
                        count += 2;
                    }
                }
            }
        }
    }
    compare.check(count);
}

TEST_CASE("[MQTT-1.5.3-1] each code point of 4 bytes, and what lies beyond") {
    Comparison compare;
    Frame frame(0, 0, 4, 0);
    for (uint32_t value = 0; value < 0x200000; ++value) {
        const uint8_t bytes[] = {static_cast<uint8_t>(0xF0 | value >> 18), static_cast<uint8_t>(0x80 | (value >> 12 & 63)),
                                 static_cast<uint8_t>(0x80 | (value >> 6 & 63)), static_cast<uint8_t>(0x80 | (value & 63))};
        compare(frame.put(bytes), value >= 0x10000 && value <= 0x10FFFF);
    }
    compare.check(0x200000);
}

TEST_CASE("[MQTT-1.5.3-2] U+0000 is refused at every place") {
    CHECK(everywhere(std::string_view("\0", 1), false) == "");
    CHECK(everywhere("\xC0\x80", false) == "");           // overlong
    CHECK(everywhere("\xE0\x80\x80", false) == "");
    CHECK(everywhere("\xF0\x80\x80\x80", false) == "");
    CHECK(everywhere("\x01", true) == "");
    CHECK(everywhere("\x7F", true) == "");                // a control character, which should not, but may, be there
    CHECK(everywhere(std::string_view("\xC4\x80\0", 3), false) == "");
}

TEST_CASE("[MQTT-1.5.3-1] surrogates, overlong forms, what is above U+10FFFF and lone bytes are refused at every place") {
    for (uint32_t value = 0xD800; value <= 0xDFFF; value += 0xFF) CHECK(everywhere(utf8(value, 3), false) == "");
    CHECK(everywhere(utf8(0xD7FF, 3), true) == "");
    CHECK(everywhere(utf8(0xE000, 3), true) == "");
    CHECK(everywhere("\xED\xA0\x80\xED\xB0\x80", false) == "");   // U+10000 as a pair of surrogates
    for (const uint32_t value : {0x01U, 0x2FU, 0x7FU}) CHECK(everywhere(utf8(value, 2), false) == "");
    for (const uint32_t value : {0x01U, 0x7FU, 0x80U, 0x7FFU}) CHECK(everywhere(utf8(value, 3), false) == "");
    for (const uint32_t value : {0x01U, 0x7FFU, 0x800U, 0xFFFFU}) CHECK(everywhere(utf8(value, 4), false) == "");
    for (const uint32_t value : {0x80U, 0x7FFU}) CHECK(everywhere(utf8(value, 2), true) == "");
    for (const uint32_t value : {0x800U, 0xFFFDU, 0xFFFFU}) CHECK(everywhere(utf8(value, 3), true) == "");
    for (const uint32_t value : {0x10000U, 0x10FFFFU}) CHECK(everywhere(utf8(value, 4), true) == "");
    for (const uint32_t value : {0x110000U, 0x1FFFFFU}) CHECK(everywhere(utf8(value, 4), false) == "");
    CHECK(everywhere("\x80", false) == "");
    CHECK(everywhere("\xBF", false) == "");
    CHECK(everywhere("\xC3", false) == "");
    CHECK(everywhere("\xE2\x82", false) == "");
    CHECK(everywhere("\xF0\x9F\x90", false) == "");
    CHECK(everywhere("\xE2\x82\xE2\x82\xAC", false) == "");
    CHECK(everywhere("\xC3\xA4\xA4", false) == "");
    CHECK(everywhere("\xFE", false) == "");
    CHECK(everywhere("\xFF", false) == "");
}

TEST_CASE("[MQTT-1.5.3-3] EF BB BF is U+FEFF wherever it stands, and stays") {
    CHECK(everywhere("\xEF\xBB\xBF", true) == "");
    CHECK(everywhere("\xEF\xBB\xBF\xEF\xBB\xBF", true) == "");
    const uint8_t bytes[] = {
        0x30, 12,                                          // PUBLISH, QoS 0, remaining length 12
        0, 7, 0xEF, 0xBB, 0xBF, 't', 0xEF, 0xBB, 0xBF,     // topic: U+FEFF, "t", U+FEFF
        0xEF, 0xBB, 0xBF,                                  // payload
    };
    mqtt::Publish packet;
    CHECK(mqtt::decode(bytes, packet) == mqtt::Error::ok);
    CHECK(wire::difference("\xEF\xBB\xBFt\xEF\xBB\xBF", packet.topic) == "");
    CHECK(packet.payload.size() == 3);
    uint8_t again[sizeof bytes];
    CHECK(mqtt::encode(packet, again).error == mqtt::Error::ok);
    CHECK(wire::difference(bytes, again) == "");
    CHECK(!mqtt::matches("t", "\xEF\xBB\xBFt"));
}

TEST_CASE("random texts of up to 64 bytes, with and without an accident in them, topics and filters among them") {
    constexpr uint64_t seed = 311;
    static const char* const pieces[] = {"a", "b", "xyz", "/", "+", "#", "$", "\x7F", "12345678", "\xC3\xA4", "\xDF\xBF",
                                         "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEF\xBB\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
    size_t texts = 0, topics = 0, filters = 0;
    std::string problem;
    for (uint64_t run = 0; run < 60000 && problem.empty(); ++run) {
        wire::Random random(seed + run);
        std::string content;
        for (size_t left = random.below(14); left != 0; --left) content += pieces[random.below(sizeof pieces / sizeof *pieces)];
        if (random.below(2) == 0 && !content.empty()) content[random.below(content.size())] = static_cast<char>(random.octet());
        const Exact exact(mqtt::Bytes(content).data(), content.size());
        const std::string_view text = exact.text();
        if (mqtt::valid_text(text) != wire::is_text(text)) problem = "valid_text";
        if (mqtt::valid_topic(text) != wire::is_topic(text)) problem = "valid_topic";
        if (mqtt::valid_filter(text) != wire::is_filter(text)) problem = "valid_filter";
        if (mqtt::valid_filter(text, true) != wire::is_filter5(text)) problem = "valid_filter of MQTT 5";
        if (!problem.empty()) problem += " of " + wire::hex(text) + ", seed " + std::to_string(seed + run);
        texts += wire::is_text(text);
        topics += wire::is_topic(text);
        filters += wire::is_filter(text);
    }
    CHECK(problem == "");
    CHECK(texts > 20000);
    CHECK(texts < 55000);
    CHECK(topics > 5000);
    CHECK(filters > 5000);
}

// ------------------------------------------------------------------------------------------ 4.7 topics and filters

TEST_CASE("[MQTT-4.7.1-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2] a topic is text without wildcards and not empty") {
    const std::string_view good[] = {"a", "/", "//", "/finance", "finance/", "sport/tennis/player1", "$SYS/monitor/Clients",
                                     "Accounts payable", " ", "$", "*", "a\\b", "\x01", "\xC3\xA4/\xE2\x82\xAC"};
    for (const std::string_view topic : good) {
        INFO(wire::hex(topic));
        CHECK(mqtt::valid_topic(topic));
        CHECK(mqtt::valid_filter(topic));
    }
    const std::string_view wrong[] = {"", "+", "#", "a/+", "a/#", "a+b", "#a", "sport/tennis/#", "\xC3\xA4#",
                                      std::string_view("\0", 1), std::string_view("a\0b", 3), std::string_view("a\0", 2),
                                      "\xC0\x80", "\xED\xA0\x80", "\xFF"};
    for (const std::string_view topic : wrong) {
        INFO(wire::hex(topic));
        CHECK(!mqtt::valid_topic(topic));
    }
    CHECK(!mqtt::valid_topic({}));
    for (size_t at = 0; at < 40; ++at) {
        for (const char wildcard : {'+', '#'}) {
            std::string topic(40, 'a');
            topic[at] = wildcard;
            CHECK(!mqtt::valid_topic(topic));
            CHECK(mqtt::valid_text(topic));
        }
    }
}

TEST_CASE("[MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1] [MQTT-4.7.3-2] where wildcards may stand in a filter") {
    const std::string_view good[] = {
        "#", "sport/tennis/player1/#", "sport/#", "sport/tennis/#",                        // section 4.7.1.2
        "+", "+/tennis/#", "sport/+/player1", "sport/tennis/+", "sport/+", "+/+", "/+",     // section 4.7.1.3
        "$SYS/#", "$SYS/monitor/+", "+/monitor/Clients",                                   // section 4.7.2
        "/", "//", "/#", "/+/", "+/", "+/+/+", "+/#", "a/+/+/b", "a//#", "a//+", " ", "\xC3\xA4/#"};
    for (const std::string_view filter : good) {
        INFO(wire::hex(filter));
        CHECK(mqtt::valid_filter(filter));
    }
    const std::string_view wrong[] = {
        "sport/tennis#", "sport/tennis/#/ranking",                                         // section 4.7.1.2
        "sport+",                                                                          // section 4.7.1.3
        "", "##", "#/", "#/a", "#a", "a#", "a/#/", "a/#b", "a/b#", "/#/", "+#", "#+",
        "++", "+a", "a+", "a/+b", "a/b+", "a+/b", "+a/b", "a/+b/c", "a/b+/c", "a/++", "+/+a", "\xC3\xA4+", "+\xC3\xA4",
        std::string_view("\0", 1), std::string_view("a/\0", 3), std::string_view("+/\0", 3), "\xC0\x80", "\xED\xA0\x80/#"};
    for (const std::string_view filter : wrong) {
        INFO(wire::hex(filter));
        CHECK(!mqtt::valid_filter(filter));
    }
    CHECK(!mqtt::valid_filter({}));
}

TEST_CASE("[MQTT-4.7.1-2] [MQTT-4.7.1-3] all filters of up to 6 of the characters a / + # are judged as level by level") {
    Exact block(6);
    size_t wrong = 0;
    for (size_t size = 1; size <= 6; ++size) {
        for (size_t number = 0; number < size_t{1} << (2 * size); ++number) {
            for (size_t i = 0; i < size; ++i) block.data()[6 - size + i] = static_cast<uint8_t>("a/+#"[number >> (2 * i) & 3]);
            const std::string_view filter = block.text().substr(6 - size);
            if (mqtt::valid_filter(filter) != wire::is_filter(filter)) ++wrong;
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("MQTT 5 [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.3-1] filters that are not shared are judged as in 3.1.1") {
    Exact block(6);
    size_t wrong = 0;
    for (size_t size = 0; size <= 6; ++size) {
        for (size_t number = 0; number < size_t{1} << (2 * size); ++number) {
            for (size_t i = 0; i < size; ++i) block.data()[6 - size + i] = static_cast<uint8_t>("a/+#"[number >> (2 * i) & 3]);
            const std::string_view filter = block.text().substr(6 - size);
            if (mqtt::valid_filter(filter, true) != wire::is_filter(filter)) ++wrong;
            if (mqtt::is_shared(filter)) ++wrong;
        }
    }
    CHECK(wrong == 0);
    CHECK(mqtt::valid_filter(std::string(65535, 'x'), true));
    CHECK(!mqtt::valid_filter(std::string(65536, 'x'), true));
    CHECK(!mqtt::valid_filter("\xC3", true));
    CHECK(!mqtt::valid_filter(std::string_view("a\0", 2), true));
}

TEST_CASE("MQTT 5 [MQTT-4.8.2-1], [MQTT-4.8.2-2] a shared subscription is $share, a name that is not empty and has no "
          "wildcard, and a filter") {
    const std::string_view good[] = {
        "$share/consumer1/sport/tennis/+", "$share/consumer2//finance", "$share/consumer1//finance",   // section 4.8.2
        "$share/a/b", "$share/a/#", "$share/a/+", "$share/a/+/#", "$share/a//", "$share/a//#", "$share/ / ", "$share/$/$",
        "$share/a/$share/b/c", "$share/a/$SYS/#", "$share/\xC3\xA4/\xE2\x82\xAC"};
    for (const std::string_view filter : good) {
        INFO(wire::hex(filter));
        CHECK(mqtt::is_shared(filter));
        CHECK(mqtt::valid_filter(filter, true));
        CHECK(mqtt::valid_filter(filter));
    }
    const std::string_view wrong[] = {   // in MQTT 5; in 3.1.1 there is nothing special about them
        "$share/", "$share//", "$share///", "$share//a", "$share//a/b", "$share/a", "$share/a/", "$share/+/a", "$share/#",
        "$share/+", "$share/+/+", "$share/+/#"};
    for (const std::string_view filter : wrong) {
        INFO(wire::hex(filter));
        CHECK(mqtt::is_shared(filter));
        CHECK(!mqtt::valid_filter(filter, true));
        CHECK(mqtt::valid_filter(filter));
    }
    const std::string_view neither[] = {"$share/#/a", "$share/a+/b", "$share/a#/b", "$share/a/b#", "$share/a/#/b",
                                        "$share/a/+b", "$share/\xFF/a", "$share/a/\xFF"};
    for (const std::string_view filter : neither) {
        INFO(wire::hex(filter));
        CHECK(!mqtt::valid_filter(filter, true));
        CHECK(!mqtt::valid_filter(filter));
    }
    const std::string_view not_shared[] = {"", "$", "$share", "$shar/", "$shared/a", "$Share/a/b", "$share\\a/b",
                                           "/$share/a/b", "a/$share//b", "share/a/b", "$sharex//b", "$share+"};
    for (const std::string_view filter : not_shared) {
        INFO(wire::hex(filter));
        CHECK(!mqtt::is_shared(filter));
        CHECK(mqtt::valid_filter(filter, true) == mqtt::valid_filter(filter));
    }
}

TEST_CASE("MQTT 5 [MQTT-4.8.2-1], [MQTT-4.8.2-2] $share/ and all endings of up to 6 of the characters a / + # are judged as "
          "level by level") {
    size_t wrong = 0, good = 0;
    for (size_t size = 0; size <= 6; ++size) {
        for (size_t number = 0; number < size_t{1} << (2 * size); ++number) {
            Exact block(7 + size);
            memcpy(block.data(), "$share/", 7);
            for (size_t i = 0; i < size; ++i) block.data()[7 + i] = static_cast<uint8_t>("a/+#"[number >> (2 * i) & 3]);
            const bool expected = wire::is_filter5(block.text());
            if (mqtt::valid_filter(block.text(), true) != expected) ++wrong;
            if (expected) ++good;
        }
    }
    CHECK(wrong == 0);
    CHECK(good > 100);
    CHECK(mqtt::valid_filter("$share/a/" + std::string(65526, 'x'), true));
    CHECK(!mqtt::valid_filter("$share/a/" + std::string(65527, 'x'), true));
}

TEST_CASE("[MQTT-4.7.3-3] topics and filters have at most 65535 bytes") {
    const std::string longest(65535, 'x'), longer(65536, 'x');
    CHECK(mqtt::valid_topic(longest));
    CHECK(mqtt::valid_filter(longest));
    CHECK(!mqtt::valid_topic(longer));
    CHECK(!mqtt::valid_filter(longer));
    CHECK(mqtt::valid_length(longest));
    CHECK(!mqtt::valid_length(longer));

    std::string umlauts;   // 32767 characters, 65534 bytes
    for (int i = 0; i < 32767; ++i) umlauts += "\xC3\xA4";
    CHECK(mqtt::valid_topic(umlauts + "x"));
    CHECK(!mqtt::valid_topic(umlauts + "xy"));
    CHECK(mqtt::valid_filter(umlauts + "x"));
    CHECK(!mqtt::valid_filter(umlauts + "xy"));
    CHECK(mqtt::valid_filter(std::string(65533, 'x') + "/#"));
    CHECK(!mqtt::valid_filter(std::string(65534, 'x') + "/#"));
}

TEST_CASE("[MQTT-4.7.2-1] [MQTT-4.7.3-4] which filter matches which topic") {
    static const struct {
        std::string_view filter, topic;
        bool match;
    } rows[] = {
        // section 4.7.1.2
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player2", false},
        {"sport/tennis/player1/#", "sport/tennis/player10", false},
        {"sport/tennis/player1/#", "sport/tennis", false},
        {"sport/#", "sport", true},
        {"sport/#", "sport/", true},
        {"sport/#", "sports", false},
        {"#", "sport", true},
        {"#", "/", true},
        {"#", "/finance", true},
        {"#", "a/b/c/d/e/f", true},
        {"sport/tennis/#", "sport/tennis/x", true},
        // section 4.7.1.3
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player2", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/tennis/+", "sport/tennis", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+", "sport", true},
        {"+", "sport/", false},
        {"+/tennis/#", "sport/tennis", true},
        {"+/tennis/#", "sport/tennis/player1", true},
        {"+/tennis/#", "sport/golf/player1", false},
        {"sport/+/player1", "sport/tennis/player1", true},
        {"sport/+/player1", "sport/player1", false},
        {"sport/+/player1", "sport/a/b/player1", false},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        // section 4.7.2
        {"#", "$SYS", false},
        {"#", "$SYS/monitor/Clients", false},
        {"+", "$SYS", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"+/#", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/monitor/Clients", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        {"$SYS/+/Clients", "$SYS/monitor/Clients", true},
        {"$SYS/monitor/Clients", "$SYS/monitor/Clients", true},
        {"$SYS", "$SYS", true},
        {"$", "$", true},
        {"#", "a/$SYS", true},
        {"+/+", "a/$SYS", true},
        {"/+", "/$SYS", true},
        {"/#", "/$SYS", true},
        // section 4.7.3: as they are, nothing normalised
        {"ACCOUNTS", "Accounts", false},
        {"Accounts payable", "Accounts payable", true},
        {"/finance", "finance", false},
        {"finance", "/finance", false},
        {"finance", "finance/", false},
        {"finance/", "finance", false},
        {"a//b", "a/b", false},
        {"a/b", "a//b", false},
        {"a//b", "a//b", true},
        {"a/./b", "a/b", false},
        {"a ", "a", false},
        {"\xC3\xA4", "a\xCC\x88", false},             // "ä", composed and not
        {"\xC3\x85", "\xE2\x84\xAB", false},          // U+00C5, and the angstrom sign
        {"\xEF\xBB\xBF" "a", "a", false},
        {"*", "a", false},
        {"a/*", "a/b", false},
        {"a/?", "a/b", false},
        {"%", "%", true},
        // empty levels
        {"/", "/", true},
        {"/", "//", false},
        {"//", "//", true},
        {"+/", "/", true},
        {"/+", "/", true},
        {"+/+", "/", true},
        {"+/+/+", "/", false},
        {"+/+/+", "//", true},
        {"+/#", "/", true},
        {"/#", "/", true},
        {"/#", "//", true},
        {"/#", "a", false},
        {"/#", "a/", false},
        {"//#", "/", true},
        {"//#", "//", true},
        {"//#", "/a", false},
        {"a//#", "a/", true},
        {"a//#", "a", false},
        {"a/+/#", "a/", true},
        {"a/+/#", "a", false},
        {"a/+/#", "a/b", true},
        {"a/+/#", "a/b/c/d", true},
        {"+/#", "a", true},
        {"+/+/#", "a", false},
        {"+/+/#", "a/", true},
        // lengths that differ
        {"a", "a", true},
        {"a", "b", false},
        {"a", "ab", false},
        {"ab", "a", false},
        {"a/b", "a", false},
        {"a", "a/b", false},
        {"a/b/#", "a", false},
        {"a/b/#", "a/bc", false},
        {"a/b/#", "ab", false},
        {"a/+", "a/bc", true},
        {"+/b", "aaaa/b", true},
        {"+/b", "aaaa/bb", false},
        {"+/b/+/d", "a/b/c/d", true},
        {"+/b/+/d", "a/b/c/c/d", false},
        {"+/b/+/d", "a/b//d", true},
        {"+/\xC3\xA4/#", "\xE2\x82\xAC/\xC3\xA4", true},
    };
    for (const auto& row : rows) {
        INFO("filter ", std::string(row.filter), ", topic ", std::string(row.topic));
        CHECK(mqtt::valid_filter(row.filter));
        CHECK(mqtt::valid_topic(row.topic));
        const Exact filter(mqtt::Bytes(row.filter).data(), row.filter.size());
        const Exact topic(mqtt::Bytes(row.topic).data(), row.topic.size());
        CHECK(mqtt::matches(filter.text(), topic.text()) == row.match);
        CHECK(wire::is_match(row.filter, row.topic) == row.match);
    }
}

TEST_CASE("MQTT 5 a shared subscription gets what matches the filter in it") {
    static const struct {
        std::string_view filter, topic;
        bool match;
    } rows[] = {
        {"$share/g/a", "a", true},
        {"$share/g/a", "b", false},
        {"$share/g/a", "g/a", false},
        {"$share/g/a", "$share/g/a", false},
        {"$share/g/a/b", "a/b", true},
        {"$share/g/a/b", "b", false},
        {"$share/g/+", "a", true},
        {"$share/g/+", "g", true},
        {"$share/g/+/b", "a/b", true},
        {"$share/g/#", "a/b/c", true},
        {"$share/g/#", "$SYS/a", false},       // wildcards and a leading '$', here, too
        {"$share/g/+/a", "$SYS/a", false},
        {"$share/g/$SYS/#", "$SYS/a", true},
        {"$share/g//a", "/a", true},
        {"$share/g//a", "a", false},
        {"$share/g/a/#", "a", true},
        {"$share/consumer1//finance", "/finance", true},
        {"$shared/g/a", "a", false},
        {"$shared/g/a", "$shared/g/a", true},
        {"$share", "$share", true},
    };
    for (const auto& row : rows) {
        INFO("filter ", std::string(row.filter), ", topic ", std::string(row.topic));
        CHECK(mqtt::valid_filter(row.filter, true));
        const Exact filter(mqtt::Bytes(row.filter).data(), row.filter.size());
        const Exact topic(mqtt::Bytes(row.topic).data(), row.topic.size());
        CHECK(mqtt::matches(filter.text(), topic.text()) == row.match);
    }
    static_assert(mqtt::matches("$share/g/a/+", "a/b") && !mqtt::matches("$share/g/a/+", "g/a/b"));
}

TEST_CASE("[MQTT-4.7.2-1] random filters and topics match as level by level") {
    constexpr uint64_t seed = 47;
    static const char* const filter_levels[] = {"", "a", "a", "b", "ab", "$", "$a", "+", "+", "#"};
    static const char* const topic_levels[] = {"", "a", "a", "b", "ab", "$", "$a", "c"};
    size_t matched = 0, refused = 0;
    std::string problem;
    for (uint64_t run = 0; run < 100000 && problem.empty(); ++run) {
        wire::Random random(seed + run);
        std::string filter, topic;
        for (size_t left = 1 + random.below(4); left != 0; --left) {
            const std::string level = filter_levels[random.below(10)];
            filter += level + (level != "#" && left != 1 ? "/" : "");
            if (level == "#") break;
        }
        for (size_t left = 1 + random.below(4); left != 0; --left)
            topic += std::string(topic_levels[random.below(8)]) + (left != 1 ? "/" : "");
        if (filter.empty() || topic.empty()) continue;
        const Exact f(mqtt::Bytes(filter).data(), filter.size()), t(mqtt::Bytes(topic).data(), topic.size());
        const bool expected = wire::is_match(filter, topic);
        (expected ? matched : refused) += 1;
        if (!mqtt::valid_filter(filter) || !mqtt::valid_topic(topic) || mqtt::matches(f.text(), t.text()) != expected)
            problem = "filter " + filter + ", topic " + topic + ", seed " + std::to_string(seed + run);
    }
    CHECK(problem == "");
    CHECK(matched > 10000);
    CHECK(refused > 10000);
}

// Text that is plain is checked and copied in a shorter way: it must be the same to whoever reads and writes packets.
TEST_CASE("[MQTT-4.7.1-2] [MQTT-4.7.1-3] random topics and filters are written and read as level by level") {
    constexpr uint64_t seed = 53;
    static const char* const pieces[] = {"/", "/", "a", "b", "cd", "efghi", "/+/", "+", "/#", "#",
                                         ",", "$share/", "$", " ", "*", "\x01", "\x7F", "\xC3\xA4", "\xC3"};
    size_t good = 0, bad = 0;
    std::string problem;
    for (uint64_t run = 0; run < 200000 && problem.empty(); ++run) {
        wire::Random random(seed + run);
        const size_t kinds = run % 2 != 0 ? 7 : sizeof pieces / sizeof *pieces;   // the first ones make good text
        std::string text;
        for (size_t left = random.below(9); left != 0; --left) text += pieces[random.below(kinds)];
        if (random.below(16) == 0) text.insert(random.below(text.size() + 1), 1, '\0');
        const Exact given(mqtt::Bytes(text).data(), text.size());
        for (const mqtt::Version version : {mqtt::Version::v3_1_1, mqtt::Version::v5}) {
            const bool v5 = version == mqtt::Version::v5;
            const size_t size = text.size();
            const bool topic = wire::is_topic(text), filter = v5 ? wire::is_filter5(text) : wire::is_filter(text);
            if (mqtt::valid_topic(text) != topic || mqtt::valid_filter(text, v5) != filter) problem = "valid: ";
            ((topic ? 1 : 0) + (filter ? 1 : 0) != 0 ? good : bad) += 1;

            mqtt::Publish publish;
            publish.topic = given.text();
            const Exact message(4 + size + (v5 ? 1 : 0));
            mqtt::Encoded out = mqtt::encode(publish, {message.data(), message.size()}, version);
            if (out.error != (topic ? mqtt::Error::ok : mqtt::Error::invalid_topic)) problem = "written: topic ";
            const std::string wire = {static_cast<char>(size >> 8), static_cast<char>(size)};
            const auto put = [&](const Exact& packet, uint8_t first, const std::string& body) {
                const std::string bytes = std::string{static_cast<char>(first), static_cast<char>(body.size())} + body;
                if (bytes.size() != packet.size()) std::abort();
                const bool same = memcmp(packet.data(), bytes.data(), bytes.size()) == 0;
                memcpy(packet.data(), bytes.data(), bytes.size());
                return same;
            };
            if (!put(message, 0x30, wire + text + std::string(v5 ? 1 : 0, '\0')) && topic) problem = "wrong: topic ";
            mqtt::Publish got;
            const mqtt::Error read = mqtt::decode({message.data(), message.size()}, got, version);
            const bool aliased = v5 && text.empty();   // the topic may be empty, but not without an alias
            if ((read == mqtt::Error::ok) != topic || (aliased && read != mqtt::Error::protocol_error))
                problem = "read: topic ";
            if (topic && got.topic != text) problem = "changed: topic ";

            const mqtt::Subscription one[] = {{given.text(), mqtt::QoS::exactly_once}};
            mqtt::Subscribe subscribe;
            subscribe.packet_id = 0x0102;
            subscribe.filters = mqtt::Subscriptions(one, 1);
            const Exact request(7 + size + (v5 ? 1 : 0));
            out = mqtt::encode(subscribe, {request.data(), request.size()}, version);
            if (out.error != (filter ? mqtt::Error::ok : mqtt::Error::invalid_filter)) problem = "written: filter ";
            const std::string head = std::string("\x01\x02") + std::string(v5 ? 1 : 0, '\0');
            if (!put(request, 0x82, head + wire + text + "\x02") && filter) problem = "wrong: filter ";
            mqtt::Subscribe asked;
            if ((mqtt::decode({request.data(), request.size()}, asked, version) == mqtt::Error::ok) != filter)
                problem = "read: filter ";
        }
        if (!problem.empty()) problem += wire::hex(text) + ", seed " + std::to_string(seed + run);
    }
    CHECK(problem == "");
    CHECK(good > 50000);
    CHECK(bad > 50000);
}
