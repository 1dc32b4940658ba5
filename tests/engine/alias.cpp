// MQTT 5: topic aliases in both directions (section 3.3.2.3.4).

#include "tests/support/peer5.hpp"

#include <map>

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::Retain;
using test::bytes;
using test::packet;
using test::Session5;
using test::text;
namespace prop = mqtt::prop;

constexpr QoS qos0 = QoS::at_most_once, qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

std::string name(Error error) { return mqtt::to_string(error); }

test::Memory sending(size_t size, size_t tx = 1024) {
    test::Memory memory;
    memory.sent_aliases = size;
    memory.tx = tx;
    return memory;
}
test::Memory receiving(uint16_t maximum, size_t size, size_t rx = 256) {
    test::Memory memory;
    memory.topic_alias_maximum = maximum;
    memory.received_aliases = size;
    memory.rx = rx;
    return memory;
}
// Topic Alias Maximum.
std::string allows(int maximum) { return bytes({0x22, maximum / 256, maximum % 256}); }

// PUBLISH at QoS 0 with a topic alias, and without.
std::string aliased(const std::string& topic, int alias, const std::string& payload = "x") {
    return packet(0x30, text(topic) + bytes({3, 0x23, alias / 256, alias % 256}) + payload);
}
std::string plain(const std::string& topic, const std::string& payload = "x") {
    return packet(0x30, text(topic) + bytes({0}) + payload);
}
std::string aliased(QoS qos, int id, const std::string& topic, int alias, const std::string& payload) {
    return packet(0x30 | static_cast<int>(qos) << 1, text(topic) + (qos == qos0 ? "" : bytes({id / 256, id % 256})) +
                                                         bytes({3, 0x23, alias / 256, alias % 256}) + payload);
}

}  // namespace

// ---------------------------------------------------------------------------------------------------- outgoing

TEST_CASE("MQTT 5 a topic is sent with an alias once, and afterwards only the alias is sent, at QoS 0") {
    Session5 s(sending(100));
    s.connect(allows(10));
    for (int i = 0; i < 3; ++i) {
        CHECK(s.client.publish("topic", "x").ok());
        s.expects(aliased(i == 0 ? "topic" : "", 1));
    }
    CHECK(s.client.publish("other", "y", qos0, Retain::yes).ok());
    CHECK(s.client.publish("topic", "z").ok());
    CHECK(s.client.publish("other", "").ok());
    s.expects(packet(0x31, text("other") + bytes({3, 0x23, 0, 2, 'y'})) + aliased("", 1, "z") + aliased("", 2, ""));
    s.quiet();
}

TEST_CASE("MQTT 5 an alias stands behind the message's own properties") {
    Session5 s(sending(100));
    s.connect(allows(10));
    PropertyBuffer<16> p;
    p.add(prop::content_type, "c");
    for (int i = 0; i < 2; ++i) {
        CHECK(s.client.publish("topic", "x", qos0, Retain::no, p).ok());
        s.expects(packet(0x30, text(i == 0 ? "topic" : "") + bytes({7, 3, 0, 1, 'c', 0x23, 0, 1, 'x'})));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-7] what is kept for a resend has its topic with it: no alias at QoS 1 and 2, also if the topic has one") {
    Session5 s(sending(100));
    s.options.clean_session = false;
    s.connect(allows(10));
    CHECK(s.client.publish("topic", "x").ok());
    CHECK(s.client.publish("topic", "x", qos1).ok());
    CHECK(s.client.publish("topic", "x", qos2).ok());
    s.expects(aliased("topic", 1) + packet(0x32, text("topic") + bytes({0, 1, 0, 'x'})) +
              packet(0x34, text("topic") + bytes({0, 2, 0, 'x'})));
    s.reconnect(allows(10), true);
    s.expects(packet(0x3A, text("topic") + bytes({0, 1, 0, 'x'})) + packet(0x3C, text("topic") + bytes({0, 2, 0, 'x'})));
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-18] without a Topic Alias Maximum of the server, or with 0, no alias is sent, nor without memory for them") {
    for (const std::string& maximum : {std::string(), allows(0)}) {
        Session5 s(sending(100));
        s.connect(maximum);
        for (int i = 0; i < 2; ++i) {
            CHECK(s.client.publish("topic", "x").ok());
            s.expects(plain("topic"));
        }
    }
    Session5 s;
    s.connect(allows(10));
    for (int i = 0; i < 2; ++i) {
        CHECK(s.client.publish("topic", "x").ok());
        s.expects(plain("topic"));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-17] [MQTT-3.3.2-9] [MQTT-3.3.2-8] no alias is ever 0 or above the server's maximum: then the remembering begins anew") {
    for (const int maximum : {1, 2, 3, 10}) {
        CAPTURE(maximum);
        Session5 s(sending(1000));
        s.connect(allows(maximum));
        std::map<int, std::string> server;   // what the server has learnt
        for (int i = 0; i < 200; ++i) {
            const std::string topic = "topic/" + std::to_string(i * i % 13);
            CHECK(s.client.publish(topic, "x").ok());
            s.run();
            std::string written;
            written.swap(s.port.from_client);
            bool right = false;
            for (int alias = 1; alias <= maximum && !right; ++alias) {
                const bool known = server.count(alias) != 0 && server[alias] == topic;
                right = written == aliased(topic, alias) || (known && written == aliased("", alias));
                if (written == aliased(topic, alias)) server[alias] = topic;
            }
            CHECK_MESSAGE(right, test::hex(written));
        }
    }
}

TEST_CASE("MQTT 5 when the server's maximum is reached, the remembering begins anew with 1") {
    Session5 s(sending(1000));
    s.connect(allows(2));
    for (const char* topic : {"aaaa", "bbbb", "cccc", "bbbb", "aaaa", "aaaa"}) CHECK(s.client.publish(topic, "x").ok());
    s.expects(aliased("aaaa", 1) + aliased("bbbb", 2) + aliased("cccc", 1) + aliased("bbbb", 2) + aliased("aaaa", 1) +
              aliased("", 1));
}

TEST_CASE("MQTT 5 each topic takes 4 bytes and its length of the memory; when it is full, the remembering begins anew") {
    for (size_t size = 0; size <= 40; ++size) {
        CAPTURE(size);
        Session5 s(sending(size));
        s.connect(allows(100));
        for (int round = 0; round < 2; ++round)
            for (const char* topic : {"aaaa", "bbbb", "cccc"}) CHECK(s.client.publish(topic, "x").ok());
        std::string wanted;
        if (size < 8)       // not even one
            for (const char* topic : {"aaaa", "bbbb", "cccc", "aaaa", "bbbb", "cccc"}) wanted += plain(topic);
        else if (size < 16) // one at a time
            for (const char* topic : {"aaaa", "bbbb", "cccc", "aaaa", "bbbb", "cccc"}) wanted += aliased(topic, 1);
        else if (size < 24) // two
            wanted = aliased("aaaa", 1) + aliased("bbbb", 2) + aliased("cccc", 1) + aliased("aaaa", 2) + aliased("bbbb", 1) +
                     aliased("cccc", 2);
        else
            wanted =
                aliased("aaaa", 1) + aliased("bbbb", 2) + aliased("cccc", 3) + aliased("", 1) + aliased("", 2) + aliased("", 3);
        s.expects(wanted);
    }
}

TEST_CASE("MQTT 5 a topic that is longer than the memory is sent without an alias") {
    Session5 s(sending(12));
    s.connect(allows(100));
    CHECK(s.client.publish("12345678", "x").ok());
    CHECK(s.client.publish("123456789", "x").ok());
    CHECK(s.client.publish("123456789", "x").ok());
    s.expects(aliased("12345678", 1) + plain("123456789") + plain("123456789"));
}

TEST_CASE("MQTT 5 topics of up to 3 bytes are shorter than their alias, and are sent as they are") {
    Session5 s(sending(100));
    s.connect(allows(10));
    for (int i = 0; i < 2; ++i)
        for (const char* topic : {"a", "ab", "abc", "abcd"}) CHECK(s.client.publish(topic, "x").ok());
    s.expects(plain("a") + plain("ab") + plain("abc") + aliased("abcd", 1) + plain("a") + plain("ab") + plain("abc") +
              aliased("", 1));
}

TEST_CASE("MQTT 5 aliases above 255 have two bytes") {
    Session5 s(sending(8000, 16000));
    s.connect(allows(0x0102));
    for (int round = 0; round < 2; ++round)
        for (int i = 1; i <= 0x0102; ++i) {
            CHECK(s.client.publish("t" + std::to_string(1000 + i), "x").ok());
            s.expects(aliased(round == 0 ? "t" + std::to_string(1000 + i) : "", i));
        }
    CHECK(s.client.publish("another", "x").ok());
    s.expects(aliased("another", 1));
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-7] aliases end with their connection, and the next one has its own maximum") {
    Session5 s(sending(100));
    s.options.clean_session = false;
    s.connect(allows(10));
    CHECK(s.client.publish("topic", "x").ok());
    CHECK(s.client.publish("other", "x").ok());
    s.expects(aliased("topic", 1) + aliased("other", 2));
    s.reconnect(allows(1), true);
    CHECK(s.client.publish("other", "x").ok());
    CHECK(s.client.publish("other", "x").ok());
    CHECK(s.client.publish("topic", "x").ok());
    s.expects(aliased("other", 1) + aliased("", 1) + aliased("topic", 1));
    s.reconnect({}, true);
    CHECK(s.client.publish("topic", "x").ok());
    s.expects(plain("topic"));
    s.reconnect(allows(2), true);
    CHECK(s.client.publish("topic", "x").ok());
    CHECK(s.client.publish("topic", "x").ok());
    s.expects(aliased("topic", 1) + aliased("", 1));
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-7] what was queued without a connection has no alias, and an aliased message that was not written is not sent on the next connection") {
    Session5 s(sending(100));
    s.options.clean_session = false;
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.publish("topic", "0").ok());
    s.accept(allows(10));
    s.expects(plain("topic", "0"));
    CHECK(s.client.publish("topic", "1").ok());
    s.expects(aliased("topic", 1, "1"));
    s.port.write_limit = 0;
    CHECK(s.client.publish("topic", "2").ok());
    CHECK(s.client.publish("t", "3").ok());             // has none
    CHECK(s.client.publish("other", "4").ok());
    CHECK(s.client.publish("topic", "5", qos1).ok());
    s.lose();
    CHECK(s.client.publish("topic", "6").ok());
    s.port.write_limit = SIZE_MAX;
    s.reconnect(allows(10), true);
    s.expects(plain("t", "3") + packet(0x32, text("topic") + bytes({0, 1, 0, '5'})) + plain("topic", "6"));
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-7] what is published while a connection is ending, by us or by the server, goes out whole on the next one") {
    for (const bool by_us : {true, false}) {
        Session5 s(sending(100));
        s.options.clean_session = false;
        s.connect(allows(10));
        CHECK(s.client.publish("topic", "1").ok());
        s.expects(aliased("topic", 1, "1"));
        s.port.write_limit = 0;
        s.sends(by_us ? bytes({0xC0, 0}) : bytes({0xE0, 0}));   // PINGREQ, which is wrong; DISCONNECT
        for (int i = 0; i < 100 && s.client.connected(); ++i) (void)s.client.poll();
        CHECK(s.client.publish("topic", "2").ok());
        CHECK(s.client.publish("other", "3").ok());
        s.port.write_limit = SIZE_MAX;
        s.run();
        s.waiting.clear();
        s.reconnect(allows(10), true);
        s.expects(plain("topic", "2") + plain("other", "3"));
    }
}

TEST_CASE("MQTT 5 a message that could not be queued sets no alias") {
    Session5 s(sending(100, 160));   // 76 bytes are set aside
    s.connect(allows(10));
    s.run();
    CHECK(name(s.client.publish("to/+", "x").error) == "invalid topic");
    CHECK(name(s.client.publish("to\xFF/", "x").error) == "invalid topic");
    CHECK(name(s.client.publish("topic", std::string(200, 'x')).error) == "packet too large");
    PropertyBuffer<4> bad;
    bad.add(prop::server_keep_alive, 1);
    CHECK(name(s.client.publish("topic", "x", qos0, Retain::no, bad).error) == "invalid properties");
    CHECK(name(s.client.publish("topic", "x", qos0, static_cast<Retain>(0), PropertyBuffer<1>().add(prop::content_type, "c"))
                   .error) == "invalid properties");
    s.port.write_limit = 0;
    const std::string large(50, 'l');
    CHECK(s.client.publish("t", large).ok());
    CHECK(name(s.client.publish("topic", large).error) == "no space");
    s.port.write_limit = SIZE_MAX;
    s.expects(plain("t", large));
    CHECK(s.client.publish("topic", "x").ok());
    CHECK(s.client.publish("topic", "x").ok());
    s.expects(aliased("topic", 1) + aliased("", 1));
}

TEST_CASE("MQTT 5 a message that fails after its alias was set leaves the alias as it is") {
    Session5 s(sending(100, 160));
    s.connect(allows(10));
    CHECK(s.client.publish("topic", "x").ok());
    s.expects(aliased("topic", 1));
    CHECK(name(s.client.publish("topic", std::string(200, 'x')).error) == "packet too large");
    CHECK(s.client.publish("topic", "x").ok());
    s.expects(aliased("", 1));
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-15] an alias that makes a message larger than the server takes is left out: every limit around its size") {
    // PUBLISH of "abcd" and 9 bytes has 2 + 6 + 1 + 9 = 18, with an alias 21, with only the alias 17.
    for (int limit = 16; limit <= 22; ++limit) {
        CAPTURE(limit);
        Session5 s(sending(100));
        s.connect(allows(10) + bytes({0x27, 0, 0, 0, limit}));
        const std::string payload = "123456789";
        const mqtt::Result first = s.client.publish("abcd", payload), second = s.client.publish("abcd", payload);
        CHECK(first.ok() == (limit >= 18));
        CHECK(second.ok() == (limit >= 18));
        if (limit < 18)
            CHECK(name(first.error) == "packet too large");
        s.expects(limit < 18   ? ""
                  : limit < 21 ? plain("abcd", payload) + plain("abcd", payload)
                               : aliased("abcd", 1, payload) + aliased("", 1, payload));
    }
}

TEST_CASE("MQTT 5 an alias does not keep a message out of an outbox in which it has room") {
    for (size_t size = 0; size <= 60; ++size) {
        Session5 with(sending(100, 130)), without(sending(0, 130));   // 76 set aside: 54 for messages
        with.connect(allows(10));
        without.connect(allows(10));
        const std::string payload(size, 'x');
        CAPTURE(size);
        CHECK(name(with.client.publish("topic", payload).error) == name(without.client.publish("topic", payload).error));
        with.run();
        CHECK(with.client.publish("topic", "x").ok());
    }
}

TEST_CASE("MQTT 5 begin_publish() sends its topic as it is") {
    Session5 s(sending(100));
    s.connect(allows(10));
    CHECK(s.client.publish("topic", "x").ok());
    CHECK(s.client.begin_publish("topic", 1).ok());
    CHECK(s.client.write_payload("y").size == 1);
    s.expects(aliased("topic", 1) + plain("topic", "y"));
}

TEST_CASE("MQTT 5 aliases and other packets keep their order while messages wait for the server's receive maximum") {
    Session5 s(sending(100));
    s.options.clean_session = false;
    REQUIRE(s.client.connect(s.options).ok());
    for (int i = 1; i <= 3; ++i) CHECK(s.client.publish("q", "w", qos1).packet_id == i);
    s.accept(allows(10) + bytes({0x21, 0, 1}));
    s.run();
    s.port.from_client.clear();
    CHECK(s.client.publish("topic", "1").ok());
    CHECK(s.client.publish("topic", "2").ok());
    CHECK(s.client.publish("other", "3").ok());
    CHECK(s.client.publish("topic", "4").ok());
    s.expects(aliased("topic", 1, "1") + aliased("", 1, "2") + aliased("other", 2, "3") + aliased("", 1, "4"));
    s.sends({0x40, 2, 0, 1});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    s.expects({0x32, 7, 0, 1, 'q', 0, 2, 0, 'w'});
}

// ---------------------------------------------------------------------------------------------------- incoming

namespace {

struct Receiver : Session5 {
    Receiver(uint16_t maximum, size_t size, size_t rx_size = 256) : Session5(receiving(maximum, size, rx_size)) {
        options.clean_session = false;
        connect();
        run();
        port.from_client.clear();
    }
    void received(const std::string& topic, const std::string& payload) {
        const Event event = expect_event(Event::received);
        CHECK(event.message.topic == topic);
        CHECK(event.message.payload.text() == payload);
    }
    void skipped(QoS qos, int id, uint32_t total) {
        const Event event = expect_event(Event::skipped);
        CHECK(event.message.qos == qos);
        CHECK(event.packet_id == id);
        CHECK(event.message.total == total);
        CHECK(event.message.topic.empty());
        CHECK(event.message.payload.empty());
    }
};

}  // namespace

TEST_CASE("MQTT 5 the server is told our Topic Alias Maximum, unless it is 0") {
    for (const uint16_t maximum : {uint16_t{0}, uint16_t{1}, uint16_t{0x0102}, uint16_t{65535}}) {
        Session5 s(receiving(maximum, size_t{4} * maximum));
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        const std::string property = bytes({0x22, maximum / 256, maximum % 256});
        CHECK((s.port.from_client.find(property) != std::string::npos) == (maximum != 0));
        CHECK((s.port.from_client.find('\x22') != std::string::npos) == (maximum != 0));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-10] an alias is set, used, and set anew by the server, every one up to our maximum") {
    Receiver s(10, 200);
    for (int alias = 1; alias <= 10; ++alias) {
        s.sends(aliased("topic" + std::to_string(alias), alias, "s"));
        s.received("topic" + std::to_string(alias), "s");
    }
    for (int alias = 10; alias >= 1; --alias) {
        s.sends(aliased("", alias, "u"));
        s.received("topic" + std::to_string(alias), "u");
    }
    s.sends(aliased("new", 3, "n") + aliased("", 3, "a") + aliased("", 4, "b") + aliased("", 1, "c") + aliased("", 10, "d"));
    s.received("new", "n");
    s.received("new", "a");
    s.received("topic4", "b");
    s.received("topic1", "c");
    s.received("topic10", "d");
    s.quiet();
}

TEST_CASE("MQTT 5 a message with an alias is told with its alias among its properties, and keeps its other ones") {
    Receiver s(1, 20);
    for (const char* topic : {"t", ""}) {
        s.sends(packet(0x30, text(topic) + bytes({7, 0x03, 0, 1, 'c', 0x23, 0, 1, 'x'})));
        const Event event = s.expect_event(Event::received);
        CHECK(event.message.topic == "t");
        CHECK(event.message.properties.get(prop::content_type).value_or("?") == "c");
        CHECK(event.message.properties.get(prop::topic_alias).value_or(0) == 1);
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-8] [MQTT-3.3.2-11] [MQTT-3.1.2-26] [MQTT-3.1.2-27] an alias of 0, or above our maximum, is refused with 0x94, one that was not set with 0x82") {
    struct {
        uint16_t maximum;
        int alias;
        const char* topic;
        int reason;
        Error error;
    } const list[] = {{0, 1, "t", 0x94, Error::topic_alias_invalid},  {0, 1, "", 0x94, Error::topic_alias_invalid},
                      {0, 0, "t", 0x94, Error::topic_alias_invalid},  {5, 0, "t", 0x94, Error::topic_alias_invalid},
                      {5, 0, "", 0x94, Error::topic_alias_invalid},   {5, 6, "t", 0x94, Error::topic_alias_invalid},
                      {5, 6, "", 0x94, Error::topic_alias_invalid},   {5, 65535, "t", 0x94, Error::topic_alias_invalid},
                      {5, 0x0100, "t", 0x94, Error::topic_alias_invalid}, {5, 2, "", 0x82, Error::protocol_error},
                      {65535, 65535, "", 0x82, Error::protocol_error}};
    for (const auto& row : list)
        for (const QoS qos : {qos0, qos1, qos2}) {
            CAPTURE(row.maximum);
            CAPTURE(row.alias);
            Receiver s(row.maximum, size_t{4} * row.maximum + 20);
            if (row.maximum != 0) {
                s.sends(aliased("topic", 1));   // another one
                s.received("topic", "x");
            }
            s.sends(aliased(qos, 7, row.topic, row.alias, "x"));
            s.rejects_with(row.reason, row.error);
            s.reconnect({}, true);
            s.sends(plain("t"));
            s.received("t", "x");
        }
}

TEST_CASE("MQTT 5 [MQTT-4.7.3-1] a message with neither a topic nor an alias is a protocol error") {
    for (const QoS qos : {qos0, qos1, qos2})
        for (const std::string& properties : {bytes({0}), bytes({2, 1, 0})}) {
            Receiver s(5, 100);
            s.sends(aliased("topic", 1));
            s.received("topic", "x");
            s.sends(packet(0x30 | static_cast<int>(qos) << 1,
                           bytes({0, 0}) + (qos == qos0 ? "" : bytes({0, 7})) + properties + "x"));
            s.rejects_with(0x82, Error::protocol_error);
        }
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-7] the server's aliases end with the connection") {
    Receiver s(5, 100);
    s.sends(aliased("topic", 1) + aliased("", 1));
    s.received("topic", "x");
    s.received("topic", "x");
    s.reconnect({}, true);
    s.sends(aliased("other", 2) + aliased("", 2) + aliased("", 1));
    s.received("other", "x");
    s.received("other", "x");
    s.rejects_with(0x82, Error::protocol_error);
}

TEST_CASE("MQTT 5 connect() refuses memory of less than 4 bytes for each alias, in MQTT 5") {
    for (const uint16_t maximum : {uint16_t{1}, uint16_t{10}, uint16_t{65535}})
        for (const int less : {0, 1}) {
            Session5 s(receiving(maximum, size_t{4} * maximum - static_cast<size_t>(less)));
            CHECK(name(s.client.connect(s.options).error) == (less == 0 ? "ok" : "buffer too small"));
            if (less == 0) continue;
            s.options.version = mqtt::Version::v5_or_v3_1_1;
            CHECK(name(s.client.connect(s.options).error) == "buffer too small");
            s.options.version = mqtt::Version::v3_1_1;
            CHECK(name(s.client.connect(s.options).error) == "ok");
        }
}

TEST_CASE("MQTT 5 [MQTT-4.5.0-2] a message whose alias is of a topic that found no room is skipped and its QoS handshake done; with its topic it is delivered") {
    for (const QoS qos : {qos0, qos1, qos2})
        for (size_t size = 4; size <= 10; ++size) {
            CAPTURE(size);
            Receiver s(1, size);
            const bool fits = size >= 4 + 5;
            const std::string answer = qos == qos0 ? "" : bytes({qos == qos1 ? 0x40 : 0x50, 2, 0, 7});
            s.sends(aliased(qos, 7, "topic", 1, "first"));
            s.received("topic", "first");
            s.expects(answer);
            if (qos == qos2) {
                s.sends({0x62, 2, 0, 7});
                s.expect_event(Event::pubrel);
                s.expects({0x70, 2, 0, 7});
            }
            s.sends(aliased(qos, 7, "", 1, "second"));
            if (fits)
                s.received("topic", "second");
            else
                s.skipped(qos, qos == qos0 ? 0 : 7, 6);
            s.expects(answer);
            if (qos == qos2) {
                s.sends(aliased(qos, 7, "", 1, "second"));   // again: known
                s.expects(answer);
                s.quiet();
                s.sends({0x62, 2, 0, 7});
                s.expect_event(Event::pubrel);
                s.expects({0x70, 2, 0, 7});
            }
            s.sends(aliased("abc", 1, "third") + aliased("", 1, "fourth"));   // 4 + 3 bytes
            s.received("abc", "third");
            if (size >= 7)
                s.received("abc", "fourth");
            else
                s.skipped(qos0, 0, 6);
            CHECK(s.client.connected());
        }
}

TEST_CASE("MQTT 5 a message that is skipped for its alias is acknowledged by the client also with manual_ack") {
    for (const QoS qos : {qos1, qos2}) {
        Session5 s(receiving(1, 4));
        s.options.manual_ack = true;
        s.connect();
        s.sends(aliased("topic", 1, "a") + aliased(qos, 7, "", 1, "b"));
        CHECK(s.expect_event(Event::received).message.payload.text() == "a");
        CHECK(s.expect_event(Event::skipped).packet_id == 7);
        s.expects({qos == qos1 ? 0x40 : 0x50, 2, 0, 7});
        CHECK(name(s.client.acknowledge(7).error) == "unknown packet id");
    }
}

TEST_CASE("MQTT 5 an alias finds an entry whatever the others take: each of the maximum is known, delivered if there was room, else skipped") {
    for (size_t size = 12; size <= 40; ++size) {
        CAPTURE(size);
        Receiver s(3, size);
        size_t left = size - 12;   // behind the three entries
        bool room[4] = {};
        for (int alias = 1; alias <= 3; ++alias) {
            s.sends(aliased("topic", alias, "s"));
            s.received("topic", "s");
            room[alias] = left >= 5;
            if (room[alias]) left -= 5;
        }
        for (int alias = 3; alias >= 1; --alias) {
            s.sends(aliased("", alias, "u"));
            if (room[alias])
                s.received("topic", "u");
            else
                s.skipped(qos0, 0, 1);
        }
        // A shorter topic in the place of the first makes room for another.
        s.sends(aliased("t", 1, "s") + aliased("", 1, "u"));
        s.received("t", "s");
        if (size >= 13) s.received("t", "u"); else s.skipped(qos0, 0, 1);
        CHECK(s.client.connected());
    }
}

TEST_CASE("MQTT 5 an alias that is set again and again does not use up the memory") {
    Receiver s(4, 40);   // 24 behind the entries
    for (int i = 0; i < 200; ++i) {
        const std::string topic = "topic" + std::string(static_cast<size_t>(i % 2), 'x');
        s.sends(aliased(topic, 1 + i % 4, "s") + aliased("", 1 + i % 4, "u"));
        s.received(topic, "s");
        s.received(topic, "u");
    }
}

TEST_CASE("MQTT 5 an alias is set also by a QoS 2 message that is not delivered again") {
    Receiver s(2, 40);
    s.sends(aliased(qos2, 7, "topic", 1, "x"));
    s.received("topic", "x");
    s.expects({0x50, 2, 0, 7});
    s.reconnect({}, true);
    s.sends(aliased(qos2, 7, "topic", 2, "x"));   // on a new connection, with another alias
    s.expects({0x50, 2, 0, 7});
    s.sends(aliased("", 2, "y"));
    s.received("topic", "y");
    s.sends(aliased(qos2, 7, "", 2, "x") + aliased(qos2, 8, "", 2, "z"));
    s.received("topic", "z");
    s.expects({0x50, 2, 0, 7, 0x50, 2, 0, 8});
}

TEST_CASE("MQTT 5 aliases in messages that are larger than rx: set with pieces, used with pieces, one byte or all at a time") {
    const std::string payload = "0123456789abcdefghijklmnopqrstuvwxyz0123456789";   // 46 bytes
    for (size_t rx = 27; rx <= 70; ++rx)
        for (const size_t read_limit : {size_t{1}, SIZE_MAX})
            for (const QoS qos : {qos0, qos1, qos2}) {
                CAPTURE(rx);
                Receiver s(2, 40, rx);
                s.port.read_limit = read_limit;
                s.sends(aliased(qos, 7, "topic", 1, payload) + aliased(qos, 8, "", 1, payload) + aliased("", 1, "small") +
                        aliased("other", 1, "o") + aliased(qos, 9, "", 1, payload));
                std::string log, expected;
                for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
                    REQUIRE(event.kind == Event::received);
                    if (event.message.offset == 0) log += " " + std::string(event.message.topic) + ":";
                    CHECK(log.rfind(" " + std::string(event.message.topic) + ":") == log.rfind(' '));   // in each piece
                    log += event.message.payload.text();
                }
                CHECK(log == " topic:" + payload + " topic:" + payload + " topic:small other:o other:" + payload);
                const int type = qos == qos1 ? 0x40 : 0x50;
                s.expects(qos == qos0 ? "" : bytes({type, 2, 0, 7, type, 2, 0, 8, type, 2, 0, 9}));
            }
}

TEST_CASE("MQTT 5 a large message whose alias found no room is skipped, once, and acknowledged") {
    const std::string payload(100, 'p');
    for (const QoS qos : {qos0, qos1, qos2}) {
        Receiver s(1, 4, 40);
        s.sends(aliased("topic", 1, "x") + aliased(qos, 7, "", 1, payload) + plain("t"));
        s.received("topic", "x");
        s.skipped(qos, qos == qos0 ? 0 : 7, 100);
        s.received("t", "x");
        s.expects(qos == qos0 ? "" : bytes({qos == qos1 ? 0x40 : 0x50, 2, 0, 7}));
    }
}

TEST_CASE("MQTT 5 a message that is skipped because it is too long for rx may have set an alias: with the next use of it the connection begins anew") {
    struct {
        std::string topic, list;
    } const rows[] = {{std::string(60, 't'), bytes({3, 0x23, 0, 1})},   // the topic is too long
                      {"topic",
                       bytes({50, 0x23, 0, 1, 0x03, 0, 44}) + std::string(44, 'c')},   // its properties, the alias first
                      {"topic", bytes({50, 0x03, 0, 44}) + std::string(44, 'c') + bytes({0x23, 0, 1})}};   // the alias last
    for (const auto& row : rows)
        for (const QoS qos : {qos0, qos1, qos2})
            for (const bool anew : {false, true}) {
                CAPTURE(row.topic);
                CAPTURE(anew);
                Receiver s(2, 100, 40);
                if (anew) {
                    s.sends(aliased("before", 1));
                    s.received("before", "x");
                }
                s.sends(packet(0x30 | static_cast<int>(qos) << 1,
                               text(row.topic) + (qos == qos0 ? "" : bytes({0, 7})) + row.list + "payload"));
                CHECK(s.expect_event(Event::skipped).packet_id == (qos == qos0 ? 0 : 7));
                s.expects(qos == qos0 ? "" : bytes({qos == qos1 ? 0x40 : 0x50, 2, 0, 7}));
                s.sends(aliased("", 1, "x"));   // which the server may do: it is not its fault
                s.rejects_with(0x83, Error::buffer_too_small);
            }
}

TEST_CASE("MQTT 5 a wrong alias in a message that is larger than rx is refused, too") {
    const std::string payload(300, 'p');
    for (const QoS qos : {qos0, qos1, qos2}) {
        Receiver above(2, 40, 40);
        above.sends(aliased(qos, 7, "topic", 3, payload));
        above.rejects_with(0x94, Error::topic_alias_invalid);
        Receiver zero(2, 40, 40);
        zero.sends(aliased(qos, 7, "topic", 0, payload));
        zero.rejects_with(0x94, Error::topic_alias_invalid);
        Receiver unknown(2, 40, 40);
        unknown.sends(aliased(qos, 7, "", 2, payload));
        unknown.rejects_with(0x82, Error::protocol_error);
        Receiver without(2, 40, 40);
        without.sends(packet(0x30 | static_cast<int>(qos) << 1,
                             bytes({0, 0}) + (qos == qos0 ? "" : bytes({0, 7})) + bytes({0}) + payload));
        without.rejects_with(0x82, Error::protocol_error);
    }
}
