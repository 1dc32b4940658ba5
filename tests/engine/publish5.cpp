// MQTT 5: messages at QoS 0, 1 and 2 in both directions with their properties, every form of their acknowledgements,
// refusals, what is sent again, and messages that are larger than the client's memory.

#include "tests/support/peer5.hpp"

#include <set>

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Retain;
using test::bytes;
using test::hex;
using test::packet;
using test::Session5;
namespace prop = mqtt::prop;

constexpr QoS qos0 = QoS::at_most_once, qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

std::string name(Error error) { return mqtt::to_string(error); }
int number(ReasonCode reason) { return static_cast<int>(reason); }

// A client that keeps its session, connected.
struct Kept : Session5 {
    explicit Kept(size_t rx_size = 256, size_t tx_size = 1024, uint16_t receive_maximum = 20, bool manual_ack = false)
        : Session5(rx_size, tx_size, receive_maximum) {
        options.clean_session = false;
        options.manual_ack = manual_ack;
        connect();
    }
    uint16_t publish(const char* payload, QoS qos) { return client.publish("t", payload, qos).packet_id; }
    Event acknowledged(int id, int reason = 0) {
        const Event event = expect_event(Event::acknowledged);
        CHECK(event.packet_id == id);
        CHECK(number(event.reason) == reason);
        return event;
    }
    Event received(const char* payload) {
        const Event event = expect_event(Event::received);
        CHECK(event.message.payload.text() == payload);
        return event;
    }
    void pubrec(int id) { CHECK(expect_event(Event::pubrec).packet_id == id); }
    void pubrel(int id) { CHECK(expect_event(Event::pubrel).packet_id == id); }
};

// Every property that a message may have, and its bytes.
PropertyBuffer<64> all_properties() {
    static const uint8_t correlation[] = {0, 0xFF};
    PropertyBuffer<64> p;
    p.add(prop::payload_format_indicator, 1).add(prop::message_expiry_interval, 100).add(prop::content_type, "ct");
    p.add(prop::response_topic, "r/s").add(prop::correlation_data, correlation);
    p.add(prop::user_property, {"a", "b"}).add(prop::user_property, {"a", ""});
    return p;
}
const std::string all_bytes = bytes({0x01, 1, 0x02, 0, 0, 0, 100, 0x03, 0, 2, 'c', 't', 0x08, 0, 3, 'r', '/', 's',
                                     0x09, 0, 2, 0, 0xFF, 0x26, 0, 1, 'a', 0, 1, 'b', 0x26, 0, 1, 'a', 0, 0});
void check_all_properties(const mqtt::Properties& p) {
    CHECK(p.get(prop::payload_format_indicator).value_or(9) == 1);
    CHECK(p.get(prop::message_expiry_interval).value_or(9) == 100);
    CHECK(p.get(prop::content_type).value_or("?") == "ct");
    CHECK(p.get(prop::response_topic).value_or("?") == "r/s");
    REQUIRE(p.get(prop::correlation_data).has_value());
    CHECK(hex(p.get(prop::correlation_data)->text()) == "00 ff ");
    mqtt::UserProperty pair;
    mqtt::Properties rest = p;
    REQUIRE(rest.next(prop::user_property, pair));
    CHECK(pair.name == "a");
    CHECK(pair.value == "b");
    REQUIRE(rest.next(prop::user_property, pair));
    CHECK(pair.name == "a");
    CHECK(pair.value == "");
    CHECK_FALSE(rest.next(prop::user_property, pair));
    CHECK_FALSE(p.get(prop::topic_alias).has_value());
    CHECK(hex(p.block().text()) == hex(all_bytes));
}

// Reason String "why", User Property "a" = "b".
const std::string explained = bytes({13, 0x1F, 0, 3, 'w', 'h', 'y', 0x26, 0, 1, 'a', 0, 1, 'b'});
void check_explained(const Event& event) {
    CHECK(event.properties.get(prop::reason_string).value_or("?") == "why");
    const auto pair = event.properties.get(prop::user_property);
    REQUIRE(pair.has_value());
    CHECK(pair->name == "a");
    CHECK(pair->value == "b");
}

// What may follow the packet id in an acknowledgement: nothing, a reason, a reason and no properties, both.
struct Form {
    int reason;
    std::string tail;
    bool is_explained;
};
std::vector<Form> forms(const std::vector<int>& reasons) {
    std::vector<Form> list = {{0, "", false}};
    for (const int reason : reasons) {
        list.push_back({reason, bytes({reason}), false});
        list.push_back({reason, bytes({reason, 0}), false});
        list.push_back({reason, bytes({reason}) + explained, true});
    }
    return list;
}
// Section 2.4.
const std::vector<int> no_refusals = {0x00, 0x10}, refusals = {0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
std::vector<int> all_reasons() {
    std::vector<int> list = no_refusals;
    list.insert(list.end(), refusals.begin(), refusals.end());
    return list;
}

}  // namespace

// ----------------------------------------------------------------------------------------------------- sending

TEST_CASE("MQTT 5 [MQTT-4.3.1-1] [MQTT-3.3.1-2] [MQTT-2.2.1-2] [MQTT-2.2.2-1] a QoS 0 message is written once, with DUP 0, no packet id and a property length of 0, and nothing is told") {
    Kept s;
    CHECK(s.publish("x", qos0) == 0);
    s.expects({0x30, 5, 0, 1, 't', 0, 'x'});
    s.quiet();
    CHECK(s.client.publish("t", "", qos0, Retain::yes).ok());
    s.expects({0x31, 4, 0, 1, 't', 0});
    s.reconnect({}, true);
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.2-3] a QoS 1 message is sent with an id of its own and DUP 0, is kept until PUBACK, and then forgotten") {
    Kept s;
    CHECK(s.publish("x", qos1) == 1);
    CHECK(s.publish("y", qos1) == 2);
    s.expects({0x32, 7, 0, 1, 't', 0, 1, 0, 'x', 0x32, 7, 0, 1, 't', 0, 2, 0, 'y'});
    s.reconnect({}, true);
    s.expects({0x3A, 7, 0, 1, 't', 0, 1, 0, 'x', 0x3A, 7, 0, 1, 't', 0, 2, 0, 'y'});
    s.sends({0x40, 2, 0, 1});
    s.acknowledged(1);
    CHECK(s.client.unacknowledged() == 1);
    s.reconnect({}, true);
    s.expects({0x3A, 7, 0, 1, 't', 0, 2, 0, 'y'});
    s.sends({0x40, 2, 0, 2});
    s.acknowledged(2);
    s.reconnect({}, true);
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.3.3-3] [MQTT-4.3.3-4] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-2.2.1-5] a QoS 2 message: PUBLISH until PUBREC, then PUBREL of the same id and never PUBLISH again, until PUBCOMP") {
    Kept s;
    CHECK(s.publish("a", qos2) == 1);
    CHECK(s.publish("b", qos2) == 2);
    s.expects({0x34, 7, 0, 1, 't', 0, 1, 0, 'a', 0x34, 7, 0, 1, 't', 0, 2, 0, 'b'});
    s.reconnect({}, true);
    s.expects({0x3C, 7, 0, 1, 't', 0, 1, 0, 'a', 0x3C, 7, 0, 1, 't', 0, 2, 0, 'b'});
    s.sends({0x50, 2, 0, 2});
    s.pubrec(2);
    s.expects({0x62, 2, 0, 2});
    for (int i = 0; i < 3; ++i) {
        s.reconnect({}, true);
        s.expects({0x3C, 7, 0, 1, 't', 0, 1, 0, 'a', 0x62, 2, 0, 2});
    }
    s.sends({0x70, 2, 0, 2});
    s.acknowledged(2);
    s.reconnect({}, true);
    s.expects({0x3C, 7, 0, 1, 't', 0, 1, 0, 'a'});
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-1] a message is written with all its properties, as they were added: every QoS") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        Kept s;
        const mqtt::Result result = s.client.publish("topic", "payload", qos, Retain::yes, all_properties());
        CHECK(result.ok());
        CHECK(result.packet_id == (qos == qos0 ? 0 : 1));
        s.expects(packet(0x31 | static_cast<int>(qos) << 1,
                         bytes({0, 5, 't', 'o', 'p', 'i', 'c'}) +
                             bytes(qos == qos0 ? std::initializer_list<int>{} : std::initializer_list<int>{0, 1}) +
                             test::properties(all_bytes) + "payload"));
        s.quiet();
    }
}

TEST_CASE("MQTT 5 [MQTT-2.2.2-1] a message without properties has a property length of 0, one with 127 bytes of them a length of one byte, with 128 of two") {
    for (const size_t size : {size_t{0}, size_t{127}, size_t{128}, size_t{300}}) {
        Kept s;
        PropertyBuffer<400> p;
        std::string wanted;
        if (size != 0) {
            const std::string value(size - 6, 'v');   // 1 + 2 + 1 + 2
            p.add(prop::user_property, {"n", value});
            wanted = bytes({0x26, 0, 1, 'n', static_cast<int>(value.size() / 256), static_cast<int>(value.size() % 256)}) + value;
        }
        CHECK(p.size() == size);
        CHECK(s.client.publish("t", "x", qos1, Retain::no, p).packet_id == 1);
        const std::string before = size == 0     ? bytes({0})
                                   : size == 127 ? bytes({127})
                                   : size == 128 ? bytes({0x80, 1})
                                                 : bytes({0xAC, 2});
        s.expects(packet(0x32, bytes({0, 1, 't', 0, 1}) + before + wanted + "x"));
    }
}

TEST_CASE("MQTT 5 a block of properties that never changes can be a constant") {
    static constexpr auto text = PropertyBuffer<16>().add(prop::payload_format_indicator, 1);
    static constexpr uint8_t raw[] = {0x03, 0, 1, 'j'};
    Kept s;
    CHECK(s.client.publish("t", "x", qos0, Retain::no, text).ok());
    CHECK(s.client.publish("t", "x", qos0, Retain::no, raw).ok());
    s.expects({0x30, 7, 0, 1, 't', 2, 1, 1, 'x', 0x30, 9, 0, 1, 't', 4, 3, 0, 1, 'j', 'x'});
}

TEST_CASE("MQTT 5 begin_publish() takes properties, too, and the payload follows from elsewhere") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        Kept s;
        s.run();
        const mqtt::Result result = s.client.begin_publish("t", 5, qos, Retain::no, all_properties());
        CHECK(result.ok());
        std::string_view rest = "12345";
        for (int i = 0; i < 10 && !rest.empty(); ++i) {
            const mqtt::Written written = s.client.write_payload(rest.substr(0, 2));
            CHECK(written.error == Error::ok);
            rest.remove_prefix(written.size);
            (void)s.client.poll();
        }
        s.expects(packet(0x30 | static_cast<int>(qos) << 1,
                         bytes({0, 1, 't'}) + (qos == qos0 ? "" : bytes({0, 1})) + test::properties(all_bytes) + "12345"));
        if (qos == qos1) {
            s.sends({0x40, 3, 0, 1, 0x97});
            s.acknowledged(1, 0x97);
        }
        if (qos == qos2) {
            s.sends({0x50, 3, 0, 1, 0x97});   // refused: no PUBREL
            s.acknowledged(1, 0x97);
        }
        s.quiet();
        s.reconnect({}, true);
        s.quiet();
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3] a topic name that is empty, too long, not UTF-8 or has a wildcard or U+0000 is refused before a byte is queued") {
    Kept s(256, 70000);
    const std::string_view null("a\0b", 3);
    for (const std::string_view topic :
         {std::string_view(), std::string_view("+"), std::string_view("#"), std::string_view("a/+/b"), std::string_view("a/#"),
          null, std::string_view("\xC3\x28"), std::string_view("\xED\xA0\x80"), std::string_view("\xC0\x80")})
        for (const QoS qos : {qos0, qos1, qos2}) {
            CAPTURE(hex(topic));
            CHECK(name(s.client.publish(topic, "x", qos).error) == "invalid topic");
            CHECK(name(s.client.publish(topic, "x", qos, Retain::no, all_properties()).error) == "invalid topic");
            CHECK(name(s.client.begin_publish(topic, 10, qos).error) == "invalid topic");
        }
    CHECK(name(s.client.publish(std::string(65536, 't'), "x").error) == "invalid topic");
    s.quiet();
    CHECK(s.client.publish(std::string(65535, 't'), "x").ok());
    s.expects(packet(0x30, bytes({0xFF, 0xFF}) + std::string(65535, 't') + bytes({0, 'x'})));
    CHECK(s.client.publish("\xEF\xBB\xBF$/", "x", qos1).packet_id == 1);   // no id was used up
}

// ------------------------------------------------------------------------------------- how messages are answered

TEST_CASE("MQTT 5 [MQTT-3.4.2-1] every form of PUBACK ends a QoS 1 message and is told with its reason, reason string and user properties") {
    for (const Form& form : forms(all_reasons())) {
        CAPTURE(hex(form.tail));
        Kept s;
        CHECK(s.publish("x", qos1) == 1);
        CHECK(s.publish("y", qos1) == 2);
        s.run();
        s.sends(packet(0x40, bytes({0, 1}) + form.tail));
        const Event event = s.acknowledged(1, form.reason);
        CHECK(mqtt::granted(event.reason) == (form.reason < 0x80));
        if (form.is_explained)
            check_explained(event);
        else
            CHECK(event.properties.empty());
        CHECK(s.client.unacknowledged() == 1);
        s.port.from_client.clear();
        s.quiet();
        s.reconnect({}, true);
        s.expects({0x3A, 7, 0, 1, 't', 0, 2, 0, 'y'});
    }
}

TEST_CASE("MQTT 5 [MQTT-3.5.2-1] [MQTT-4.3.3-4] every form of PUBREC that does not refuse is told and answered with PUBREL, and goes on to PUBCOMP") {
    for (const Form& form : forms(no_refusals)) {
        CAPTURE(hex(form.tail));
        Kept s;
        CHECK(s.publish("x", qos2) == 1);
        s.run();
        s.port.from_client.clear();
        s.sends(packet(0x50, bytes({0, 1}) + form.tail));
        const Event event = s.expect_event(Event::pubrec);
        CHECK(event.packet_id == 1);
        CHECK(number(event.reason) == form.reason);
        if (form.is_explained)
            check_explained(event);
        else
            CHECK(event.properties.empty());
        s.expects({0x62, 2, 0, 1});
        CHECK(s.client.unacknowledged() == 1);
        s.sends({0x70, 2, 0, 1});
        s.acknowledged(1);
        CHECK(s.client.unacknowledged() == 0);
    }
}

TEST_CASE("MQTT 5 [MQTT-4.4.0-2] [MQTT-4.3.3-4] a refused QoS 2 message is told as acknowledged with the reason, gets no PUBREL, and is never sent again") {
    for (const Form& form : forms(refusals)) {
        if (form.reason == 0) continue;
        CAPTURE(hex(form.tail));
        Kept s;
        CHECK(s.publish("x", qos2) == 1);
        CHECK(s.publish("y", qos2) == 2);
        s.run();
        s.port.from_client.clear();
        s.sends(packet(0x50, bytes({0, 1}) + form.tail));
        const Event event = s.acknowledged(1, form.reason);
        CHECK_FALSE(mqtt::granted(event.reason));
        if (form.is_explained)
            check_explained(event);
        else
            CHECK(event.properties.empty());
        CHECK(s.client.unacknowledged() == 1);
        s.quiet();
        s.sends({0x50, 2, 0, 1, 0x70, 2, 0, 1, 0x40, 2, 0, 1});   // too late, for nothing
        s.quiet();
        s.reconnect({}, true);
        s.expects({0x3C, 7, 0, 1, 't', 0, 2, 0, 'y'});
        s.sends({0x50, 2, 0, 2});
        s.pubrec(2);
        s.expects({0x62, 2, 0, 2});
    }
}

TEST_CASE("MQTT 5 [MQTT-4.4.0-2] a refused QoS 1 message is never sent again") {
    for (const int reason : refusals) {
        Kept s;
        CHECK(s.publish("x", qos1) == 1);
        s.run();
        s.port.from_client.clear();
        s.sends({0x40, 3, 0, 1, reason});
        s.acknowledged(1, reason);
        s.quiet();
        s.reconnect({}, true);
        s.quiet();
        s.reconnect({}, false);   // and it is not dropped
        s.quiet();
    }
}

TEST_CASE("MQTT 5 [MQTT-3.7.2-1] every form of PUBCOMP, also that the id was not found, ends a QoS 2 message") {
    for (const Form& form : forms({0x00, 0x92})) {
        CAPTURE(hex(form.tail));
        Kept s;
        CHECK(s.publish("x", qos2) == 1);
        s.run();
        s.sends({0x50, 2, 0, 1});
        s.pubrec(1);
        s.run();
        s.sends(packet(0x70, bytes({0, 1}) + form.tail));
        const Event event = s.acknowledged(1, form.reason);
        if (form.is_explained)
            check_explained(event);
        else
            CHECK(event.properties.empty());
        CHECK(s.client.unacknowledged() == 0);
        s.reconnect({}, true);
        s.quiet();
    }
}

TEST_CASE("MQTT 5 [MQTT-3.6.2-1] [MQTT-4.3.3-11] every form of PUBREL is told, and answered with PUBCOMP for the same id") {
    for (const Form& form : forms({0x00, 0x92})) {
        CAPTURE(hex(form.tail));
        Kept s;
        s.sends({0x34, 7, 0, 1, 't', 0, 9, 0, 'x'});
        s.received("x");
        s.expects({0x50, 2, 0, 9});
        s.sends(packet(0x62, bytes({0, 9}) + form.tail));
        const Event event = s.expect_event(Event::pubrel);
        CHECK(event.packet_id == 9);
        CHECK(number(event.reason) == form.reason);
        if (form.is_explained)
            check_explained(event);
        else
            CHECK(event.properties.empty());
        s.expects({0x70, 2, 0, 9});
    }
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-11] a PUBREL for an id that is not known is answered with PUBCOMP 0x92, packet identifier not found") {
    Kept s;
    s.sends({0x62, 2, 0, 9});
    s.pubrel(9);
    s.expects({0x70, 3, 0, 9, 0x92});
    s.sends({0x34, 7, 0, 1, 't', 0, 9, 0, 'x'});
    s.received("x");
    s.sends({0x62, 2, 0, 9, 0x62, 2, 0, 9, 0x62, 2, 0, 8});   // once known, then not any more; another one
    s.pubrel(9);
    s.pubrel(9);
    s.pubrel(8);
    s.expects({0x50, 2, 0, 9, 0x70, 2, 0, 9, 0x70, 3, 0, 9, 0x92, 0x70, 3, 0, 8, 0x92});
    CHECK(s.client.connected());
}

TEST_CASE("MQTT 5 a PUBREL for a message that the application has not acknowledged yet is answered with 0x92, and the message stays open") {
    Kept s(256, 1024, 20, true);
    s.sends({0x34, 7, 0, 1, 't', 0, 9, 0, 'x', 0x62, 2, 0, 9});
    s.received("x");
    s.pubrel(9);
    s.expects({0x70, 3, 0, 9, 0x92});
    CHECK(s.client.acknowledge(9).ok());
    s.expects({0x50, 2, 0, 9});
}

TEST_CASE("MQTT 5 answers for ids that wait for nothing are passed over, whatever their form") {
    Kept s;
    CHECK(s.publish("x", qos1) == 1);
    s.run();
    s.port.from_client.clear();
    for (const int type : {0x40, 0x50})
        for (const Form& form : forms(all_reasons())) s.sends(packet(type, bytes({0, 7}) + form.tail));
    for (const Form& form : forms({0x00, 0x92})) s.sends(packet(0x70, bytes({0, 7}) + form.tail));
    s.quiet();
    s.sends({0x40, 2, 0, 1});
    s.acknowledged(1);
}

TEST_CASE("MQTT 5 a second PUBREC is passed over, also one that refuses: PUBREL is on its way") {
    Kept s;
    CHECK(s.publish("x", qos2) == 1);
    s.run();
    s.port.from_client.clear();
    s.sends({0x50, 2, 0, 1, 0x50, 2, 0, 1, 0x50, 3, 0, 1, 0x80});
    s.pubrec(1);
    s.expects({0x62, 2, 0, 1});
    s.sends({0x50, 3, 0, 1, 0x91});
    s.quiet();
    s.sends({0x70, 2, 0, 1});
    s.acknowledged(1);
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-2.2.1-3] an id is not given again as long as its message is unfinished, and is free when it is finished or refused") {
    for (const QoS qos : {qos1, qos2})
        for (const bool refused : {false, true}) {
            Kept s;
            CHECK(s.publish("k", qos2) == 1);   // never answered
            CHECK(s.publish("x", qos) == 2);
            s.run();
            s.sends(bytes({qos == qos1 ? 0x40 : 0x50, 3, 0, 2, refused ? 0x97 : 0x00}));
            if (qos == qos2 && !refused) {
                s.pubrec(2);
                s.run();
                s.sends({0x70, 2, 0, 2});
            }
            s.acknowledged(2, refused ? 0x97 : 0);
            s.run();
            std::set<uint16_t> seen;
            for (int i = 0; i < 65533; ++i) {
                const uint16_t id = s.client.publish("t", "", qos1).packet_id;
                seen.insert(id);
                if (s.client.poll().kind != Event::none) FAIL("an event");
                s.sends({0x40, 2, id >> 8, id & 255});
                Event event;
                for (int polls = 0; polls < 5 && event.kind == Event::none; ++polls) event = s.client.poll();
                if (event.kind != Event::acknowledged || event.packet_id != id) FAIL("it is not acknowledged");
                s.port.from_client.clear();
            }
            CHECK(seen.size() == 65533);
            CHECK(seen.count(0) == 0);
            CHECK(seen.count(1) == 0);
            CHECK(seen.count(2) == 0);
            CHECK(s.publish("y", qos1) == 2);   // 1 is in use
        }
}

// ------------------------------------------------------------------------------------------------ sending again

TEST_CASE("MQTT 5 [MQTT-3.3.1-1] [MQTT-4.6.0-1] [MQTT-4.3.3-6] what is sent again has DUP, its old id, all its properties and its old place; PUBREL comes instead of PUBLISH") {
    Kept s;
    PropertyBuffer<64> p;   // no interval, which would be reduced
    p.add(prop::content_type, "c").add(prop::user_property, {"a", "b"});
    const std::string list = test::properties(bytes({0x03, 0, 1, 'c', 0x26, 0, 1, 'a', 0, 1, 'b'}));
    CHECK(s.client.publish("t", "1", qos1, Retain::yes, p).packet_id == 1);
    CHECK(s.client.publish("t", "2", qos2, Retain::no, p).packet_id == 2);
    CHECK(s.client.publish("t", "3", qos2, Retain::no, p).packet_id == 3);
    CHECK(s.client.publish("t", "4", qos1).packet_id == 4);
    s.run();
    s.sends({0x50, 2, 0, 3});
    s.pubrec(3);
    s.run();
    s.lose();
    CHECK(s.client.publish("t", "5", qos2, Retain::no, p).packet_id == 5);
    for (int i = 0; i < 3; ++i) {
        s.reconnect({}, true);
        s.expects(packet(0x3B, bytes({0, 1, 't', 0, 1}) + list + "1") + packet(0x3C, bytes({0, 1, 't', 0, 2}) + list + "2") +
                  packet(0x3A, bytes({0, 1, 't', 0, 4, 0, '4'})) + bytes({0x62, 2, 0, 3}) +
                  packet(i == 0 ? 0x34 : 0x3C, bytes({0, 1, 't', 0, 5}) + list + "5"));
        s.quiet();   // once
    }
    s.sends({0x40, 2, 0, 4, 0x50, 3, 0, 2, 0x83, 0x70, 2, 0, 3, 0x50, 3, 0, 5, 0x10, 0x40, 3, 0, 1, 0x10});
    s.acknowledged(4);
    s.acknowledged(2, 0x83);
    s.acknowledged(3);
    s.pubrec(5);
    s.acknowledged(1, 0x10);
    s.expects({0x62, 2, 0, 5});
    s.reconnect({}, true);
    s.expects({0x62, 2, 0, 5});
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-5] if the server has lost the session, what was sent is told as dropped once, and what was not is sent, with its properties and without DUP") {
    Kept s;
    CHECK(s.client.publish("t", "1", qos1, Retain::no, all_properties()).packet_id == 1);
    CHECK(s.publish("2", qos2) == 2);
    s.run();
    s.sends({0x50, 2, 0, 2});
    s.pubrec(2);
    s.run();
    s.lose();
    PropertyBuffer<16> p;
    p.add(prop::payload_format_indicator, 0);
    CHECK(s.client.publish("t", "3", qos1, Retain::no, p).packet_id == 3);
    s.reconnect({}, false);
    for (const int id : {1, 2}) {
        const Event event = s.expect_event(Event::dropped);
        CHECK(event.packet_id == id);
        CHECK(name(event.error) == "session lost");
    }
    s.expects({0x32, 9, 0, 1, 't', 0, 3, 2, 1, 0, '3'});
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-4.6.0-4] PUBRELs go out in the order of the PUBRECs, refused ones left out") {
    Kept s;
    for (int id = 1; id <= 5; ++id) CHECK(s.publish("x", qos2) == id);
    s.run();
    s.port.from_client.clear();
    s.sends({0x50, 2, 0, 4, 0x50, 3, 0, 1, 0x87, 0x50, 3, 0, 5, 0x00, 0x50, 4, 0, 2, 0x10, 0, 0x50, 3, 0, 3, 0x99});
    s.expects({0x62, 2, 0, 4, 0x62, 2, 0, 5, 0x62, 2, 0, 2});
    s.reconnect({}, true);
    s.expects({0x62, 2, 0, 4, 0x62, 2, 0, 5, 0x62, 2, 0, 2});
}

// ---------------------------------------------------------------------------------------------------- receiving

TEST_CASE("MQTT 5 [MQTT-3.3.4-1] [MQTT-2.2.1-5] a message is delivered with all its properties, and answered by nothing, PUBACK or PUBREC with its id") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        Kept s;
        s.sends(packet(0x31 | static_cast<int>(qos) << 1, bytes({0, 3, 'a', '/', 'b'}) + (qos == qos0 ? "" : bytes({0x12, 0x34})) +
                           test::properties(all_bytes) + "payload"));
        const Event event = s.expect_event(Event::received);
        CHECK(event.message.topic == "a/b");
        CHECK(event.message.payload.text() == "payload");
        CHECK(event.message.offset == 0);
        CHECK(event.message.total == 7);
        CHECK(event.message.complete());
        CHECK(event.message.qos == qos);
        CHECK(event.message.retain);
        CHECK_FALSE(event.message.duplicate);
        CHECK(event.message.packet_id == (qos == qos0 ? 0 : 0x1234));
        CHECK(event.packet_id == event.message.packet_id);
        check_all_properties(event.message.properties);
        check_all_properties(event.properties);
        s.expects(qos == qos0 ? "" : bytes({qos == qos1 ? 0x40 : 0x50, 2, 0x12, 0x34}));
        s.quiet();
    }
}

TEST_CASE("MQTT 5 a message without properties has none, and an empty payload is not its properties") {
    Kept s;
    s.sends({0x30, 4, 0, 1, 't', 0});
    Event event = s.expect_event(Event::received);
    CHECK(event.message.payload.empty());
    CHECK(event.message.total == 0);
    CHECK(event.message.properties.empty());
    s.sends({0x30, 6, 0, 1, 't', 2, 1, 0});
    event = s.expect_event(Event::received);
    CHECK(event.message.payload.empty());
    CHECK(event.message.properties.get(prop::payload_format_indicator).value_or(9) == 0);
    s.sends({0x30, 4, 0, 1, 't', 0});   // nothing is left of the one before
    CHECK(s.expect_event(Event::received).message.properties.empty());
}

TEST_CASE("MQTT 5 [MQTT-4.3.2-4] [MQTT-4.3.2-5] after PUBACK a PUBLISH with the same id is a new message, whatever DUP says") {
    Kept s;
    for (const int first : {0x32, 0x3A, 0x32, 0x3A}) {
        s.sends({first, 7, 0, 1, 't', 0, 5, 0, 'x'});
        CHECK(s.received("x").message.duplicate == (first == 0x3A));
        s.expects({0x40, 2, 0, 5});
    }
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.3.3-12] until PUBREL a repeated QoS 2 PUBLISH is answered and not delivered, also on later connections; after PUBCOMP it is new") {
    Kept s;
    s.sends({0x34, 7, 0, 1, 't', 0, 5, 0, 'x'});
    s.received("x");
    s.expects({0x50, 2, 0, 5});
    for (const int first : {0x34, 0x3C}) {
        s.sends({first, 7, 0, 1, 't', 0, 5, 0, 'x'});
        s.expects({0x50, 2, 0, 5});
        s.quiet();
        s.reconnect({}, true);
        s.sends({first, 7, 0, 1, 't', 0, 5, 0, 'x'});
        s.expects({0x50, 2, 0, 5});
        s.quiet();
    }
    s.sends({0x62, 2, 0, 5});
    s.pubrel(5);
    s.expects({0x70, 2, 0, 5});
    s.sends({0x3C, 7, 0, 1, 't', 0, 5, 0, 'y'});
    s.received("y");
    s.expects({0x50, 2, 0, 5});
    s.reconnect({}, false);   // a new session: everything is new
    s.sends({0x3C, 7, 0, 1, 't', 0, 5, 0, 'z'});
    s.received("z");
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-13] a QoS 2 message that has expired on its way is delivered and its handshake finished all the same") {
    Kept s;
    s.sends({0x34, 12, 0, 1, 't', 0, 5, 5, 0x02, 0, 0, 0, 0, 'x'});
    CHECK(s.received("x").message.properties.get(prop::message_expiry_interval).value_or(9) == 0);
    s.expects({0x50, 2, 0, 5});
    s.pass(5000);
    s.sends({0x62, 2, 0, 5});
    s.pubrel(5);
    s.expects({0x70, 2, 0, 5});
}

TEST_CASE("MQTT 5 [MQTT-2.2.1-4] a message with the id 0 is malformed") {
    for (const int first : {0x32, 0x34}) {
        Kept s;
        s.sends({first, 7, 0, 1, 't', 0, 0, 0, 'x'});
        s.rejects_with(0x81, Error::malformed_packet);
    }
}

// --------------------------------------------------------------------------------------- refusing what is received

TEST_CASE("MQTT 5 with manual_ack a message is acknowledged with a reason; without one or with success it is the short form") {
    for (const int reason : {0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}) {
        CAPTURE(reason);
        Kept s(256, 1024, 20, true);
        s.sends({0x32, 7, 0, 1, 't', 0, 5, 0, 'x', 0x34, 7, 0, 1, 't', 0, 6, 0, 'y'});
        s.received("x");
        s.received("y");
        s.quiet();
        CHECK(s.client.acknowledge(5, static_cast<ReasonCode>(reason)).ok());
        s.expects(reason == 0 ? bytes({0x40, 2, 0, 5}) : bytes({0x40, 3, 0, 5, reason}));
        CHECK(s.client.acknowledge(6, static_cast<ReasonCode>(reason)).ok());
        s.expects(reason == 0 ? bytes({0x50, 2, 0, 6}) : bytes({0x50, 3, 0, 6, reason}));
        CHECK(name(s.client.acknowledge(5, static_cast<ReasonCode>(reason)).error) == "unknown packet id");
        CHECK(name(s.client.acknowledge(6).error) == "unknown packet id");
        s.quiet();
    }
}

TEST_CASE("MQTT 5 a reason that the client may not give in PUBACK and PUBREC is refused, and the message stays open") {
    const std::set<int> given = {0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};   // 0x10 is the server's alone (table 2-6)
    for (int reason = 0; reason < 256; ++reason) {
        if (given.count(reason) != 0) continue;
        CAPTURE(reason);
        Kept s(256, 1024, 20, true);
        s.sends({0x32, 7, 0, 1, 't', 0, 5, 0, 'x', 0x34, 7, 0, 1, 't', 0, 6, 0, 'y'});
        s.received("x");
        s.received("y");
        CHECK(name(s.client.acknowledge(5, static_cast<ReasonCode>(reason)).error) == "invalid argument");
        CHECK(name(s.client.acknowledge(6, static_cast<ReasonCode>(reason)).error) == "invalid argument");
        s.quiet();
        CHECK(s.client.acknowledge(6).ok());
        CHECK(s.client.acknowledge(5).ok());
        s.expects({0x40, 2, 0, 5, 0x50, 2, 0, 6});
    }
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-9] after a PUBREC that refuses, a PUBLISH with the same id is a new message, and PUBREL is for an unknown id") {
    Kept s(256, 1024, 20, true);
    s.sends({0x34, 7, 0, 1, 't', 0, 6, 0, 'x'});
    s.received("x");
    CHECK(s.client.acknowledge(6, ReasonCode::quota_exceeded).ok());
    s.expects({0x50, 3, 0, 6, 0x97});
    s.sends({0x62, 2, 0, 6});
    s.pubrel(6);
    s.expects({0x70, 3, 0, 6, 0x92});
    for (const int first : {0x3C, 0x34}) {
        s.sends({first, 7, 0, 1, 't', 0, 6, 0, 'y'});
        s.received("y");
        CHECK(s.client.acknowledge(6, ReasonCode::not_authorized).ok());
        s.expects({0x50, 3, 0, 6, 0x87});
    }
    s.sends({0x34, 7, 0, 1, 't', 0, 6, 0, 'z'});
    s.received("z");
    CHECK(s.client.acknowledge(6).ok());
    s.expects({0x50, 2, 0, 6});
    s.sends({0x3C, 7, 0, 1, 't', 0, 6, 0, 'z', 0x62, 2, 0, 6});   // taken over: known until PUBREL
    s.pubrel(6);
    s.expects({0x50, 2, 0, 6, 0x70, 2, 0, 6});
}

TEST_CASE("MQTT 5 [MQTT-4.6.0-2] [MQTT-4.6.0-3] PUBACKs and PUBRECs go out in the order of the messages, each with its own reason, in whatever order the application decides") {
    const int orders[][4] = {{1, 2, 3, 4}, {4, 3, 2, 1}, {2, 4, 1, 3}, {3, 1, 4, 2}};
    for (const auto& order : orders) {
        Kept s(256, 1024, 20, true);
        const ReasonCode reasons[] = {ReasonCode::quota_exceeded, ReasonCode::success, ReasonCode::success,
                                      ReasonCode::payload_format_invalid};
        for (int id = 1; id <= 4; ++id) s.sends({id % 2 == 1 ? 0x32 : 0x34, 7, 0, 1, 't', 0, id, 0, 'x'});
        for (int id = 1; id <= 4; ++id) s.received("x");
        for (const int id : order) CHECK(s.client.acknowledge(static_cast<uint16_t>(id), reasons[id - 1]).ok());
        s.expects({0x40, 3, 0, 1, 0x97, 0x50, 2, 0, 2, 0x40, 2, 0, 3, 0x50, 3, 0, 4, 0x99});
        // 2 is remembered, 4 is not.
        s.sends({0x34, 7, 0, 1, 't', 0, 2, 0, 'y', 0x34, 7, 0, 1, 't', 0, 4, 0, 'z'});
        s.received("z");
        s.expects({0x50, 2, 0, 2});
    }
}

TEST_CASE("MQTT 5 a refusal that could not be sent before the connection was lost is void: the message comes again and is delivered") {
    Kept s(256, 1024, 20, true);
    s.sends({0x34, 7, 0, 1, 't', 0, 5, 0, 'x', 0x34, 7, 0, 1, 't', 0, 6, 0, 'y', 0x34, 7, 0, 1, 't', 0, 7, 0, 'z'});
    s.received("x");
    s.received("y");
    s.received("z");
    CHECK(s.client.acknowledge(6).ok());                              // waits for 5: taken over all the same
    CHECK(s.client.acknowledge(7, ReasonCode::quota_exceeded).ok());   // waits for 5
    s.quiet();
    s.reconnect({}, true);
    s.sends({0x3C, 7, 0, 1, 't', 0, 5, 0, 'x', 0x3C, 7, 0, 1, 't', 0, 6, 0, 'y', 0x3C, 7, 0, 1, 't', 0, 7, 0, 'z'});
    s.received("x");
    s.received("z");
    CHECK(s.client.acknowledge(7, ReasonCode::quota_exceeded).ok());
    CHECK(s.client.acknowledge(5).ok());
    s.run();
    std::string written;
    written.swap(s.port.from_client);
    CHECK(written.find(bytes({0x50, 2, 0, 6})) != std::string::npos);
    CHECK(written.find(bytes({0x50, 2, 0, 5})) < written.find(bytes({0x50, 3, 0, 7, 0x97})));
    CHECK(written.size() == 4 + 4 + 5);
}

TEST_CASE("a QoS 2 message that is refused on a connection of 3.1.1, which has no way to say so, is still delivered once") {
    test::Session s;
    s.options.clean_session = false;
    s.options.manual_ack = true;
    s.connect();
    s.sends({0x34, 6, 0, 1, 't', 0, 5, 'x'});
    CHECK(s.expect_event(Event::received).packet_id == 5);
    CHECK(s.client.acknowledge(5, ReasonCode::quota_exceeded).ok());
    s.expects({0x50, 2, 0, 5});
    s.sends({0x3C, 6, 0, 1, 't', 0, 5, 'x'});   // the server has our PUBREC or has not: it may send either
    s.expects({0x50, 2, 0, 5});
    s.sends({0x62, 2, 0, 5});
    CHECK(s.expect_event(Event::pubrel).packet_id == 5);
    s.expects({0x70, 2, 0, 5});
}

TEST_CASE("properties are left out on a connection of 3.1.1") {
    test::Session s;
    s.options.keep_alive = 0;
    s.connect();
    s.port.write_limit = 0;
    CHECK(s.client.publish("t", "x", qos1, Retain::no, all_properties()).packet_id == 1);
    s.pass(200000);   // longer than its Message Expiry Interval, which 3.1.1 does not have
    s.port.write_limit = SIZE_MAX;
    s.expects({0x32, 6, 0, 1, 't', 0, 1, 'x'});
    s.quiet();
}

// ------------------------------------------------------------------------- messages that are larger than memory

namespace {

const std::string text = "0123456789abcdefghijklmnopqrstuvwxyzABCD";   // 40 bytes
const std::string few = bytes({0x26, 0, 1, 'k', 0, 3, 'v', 'a', 'l', 0x03, 0, 1, 'c'});   // 13 bytes
const std::string next_message = bytes({0x30, 5, 0, 1, 'n', 0, 'x'});

std::string large(QoS qos, bool dup = false) {
    return packet(0x30 | static_cast<int>(qos) << 1 | (dup ? 8 : 0),
                  bytes({0, 5, 't', 'o', 'p', 'i', 'c'}) + (qos == qos0 ? "" : bytes({1, 2})) + test::properties(few) + text);
}
std::string answer(QoS qos) { return qos == qos0 ? "" : bytes({qos == qos1 ? 0x40 : 0x50, 2, 1, 2}); }

// Polls until nothing more happens, and puts the message together from its pieces, which have to fit together.
struct Collector {
    std::string payload;
    int pieces = 0, complete = 0, others = 0, skipped = 0;

    void run(Session5& s, QoS qos) {
        for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
            if (event.kind == Event::skipped) {
                ++skipped;
                CHECK(event.packet_id == (qos == qos0 ? 0 : 0x0102));
                CHECK(event.message.packet_id == event.packet_id);
                CHECK(event.message.qos == qos);
                CHECK(event.message.total == 1 + 13 + 40);   // with its properties and their length
                CHECK(event.message.topic.empty());
                CHECK(event.message.payload.empty());
                continue;
            }
            REQUIRE(event.kind == Event::received);
            if (event.message.topic == "n") {
                ++others;
                CHECK(event.message.properties.empty());
                continue;
            }
            CHECK(event.message.topic == "topic");
            CHECK(event.message.offset == payload.size());
            CHECK(event.message.total == 40);
            CHECK_FALSE(event.message.payload.empty());
            CHECK(event.message.properties.get(prop::content_type).value_or("?") == "c");
            CHECK(event.message.properties.get(prop::user_property).has_value());
            CHECK(event.message.properties.block().size() == 13);
            payload += event.message.payload.text();
            ++pieces;
            complete += event.message.complete();
        }
    }
};

}  // namespace

TEST_CASE("MQTT 5 [MQTT-4.5.0-2] a PUBLISH larger than rx comes in pieces, each with its properties, or is skipped if they do not fit, and is acknowledged: every rx, every split, every QoS") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        const std::string whole = large(qos), stream = whole + next_message;
        const size_t head = 2 + 7 + (qos == qos0 ? 0 : 2) + 1 + 13;
        for (size_t rx = 24; rx <= whole.size() + 4; ++rx) {
            // Cut in two at every place, at a few sizes of rx; one byte at a time at all of them.
            const bool thorough = rx < 28 || (rx + 3 > head && rx < head + 4) || rx + 3 > whole.size();
            for (size_t split = 0; split <= (thorough ? stream.size() : 0); ++split) {
                CAPTURE(rx);
                CAPTURE(split);
                Session5 s(rx, 128);
                s.connect();
                if (split == 0) s.port.read_limit = 1;
                Collector got;
                s.sends(stream.substr(0, split));
                got.run(s, qos);
                if (split < whole.size()) {
                    CHECK(got.complete == 0);
                    if (got.skipped == 0) CHECK(s.port.from_client == "");
                }
                s.sends(stream.substr(split));
                got.run(s, qos);
                const bool skipped = whole.size() > rx && head >= rx;
                CHECK(got.skipped == (skipped ? 1 : 0));
                CHECK(got.payload == (skipped ? "" : text));
                CHECK(got.complete == (skipped ? 0 : 1));
                if (!skipped) CHECK((got.pieces == 1) == (rx >= whole.size()));
                CHECK(got.others == 1);
                s.expects(answer(qos));
                CHECK(s.client.connected());
            }
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-4.3.3-10] a large QoS 2 message that comes again is acknowledged and not delivered again, whether it came in pieces or was skipped") {
    for (size_t rx = 24; rx <= 70; ++rx) {
        CAPTURE(rx);
        Kept s(rx, 128);
        Collector got;
        s.sends(large(qos2));
        got.run(s, qos2);
        s.expects(answer(qos2));
        s.sends(large(qos2) + next_message);
        got.run(s, qos2);
        s.expects(answer(qos2));
        s.reconnect({}, true);
        s.sends(large(qos2, true) + next_message);
        got.run(s, qos2);
        s.expects(answer(qos2));
        CHECK(got.complete + got.skipped == 1);
        CHECK(got.others == 2);
        s.sends({0x62, 2, 1, 2});
        CHECK(s.expect_event(Event::pubrel).packet_id == 0x0102);
        s.expects({0x70, 2, 1, 2});
    }
}

TEST_CASE("MQTT 5 a large message is open after its last piece, and may be refused") {
    for (const QoS qos : {qos1, qos2}) {
        Session5 s(32, 128);
        s.options.manual_ack = true;
        s.connect();
        s.sends(large(qos));
        Collector got;
        got.run(s, qos);
        CHECK(got.complete == 1);
        CHECK(got.pieces > 3);
        s.quiet();
        CHECK(s.client.acknowledge(0x0102, ReasonCode::payload_format_invalid).ok());
        s.expects(bytes({qos == qos1 ? 0x40 : 0x50, 3, 1, 2, 0x99}));
        s.sends(large(qos));   // a new message
        got.payload.clear();
        got.run(s, qos);
        CHECK(got.complete == 2);
    }
}

TEST_CASE("MQTT 5 a message whose properties are longer than rx, as long as a length can say, is skipped: every split, every QoS") {
    for (const QoS qos : {qos0, qos1, qos2})
        for (const size_t size : {size_t{100}, size_t{127}, size_t{200}, size_t{17000}}) {
            std::string list =
                bytes({0x26, 0, 1, 'n', static_cast<int>((size - 6) / 256), static_cast<int>((size - 6) % 256)}) +
                std::string(size - 6, 'v');
            const std::string whole =
                packet(0x30 | static_cast<int>(qos) << 1,
                       bytes({0, 1, 't'}) + (qos == qos0 ? "" : bytes({1, 2})) + test::properties(list) + "payload");
            const size_t total = whole.size() - (size < 125 ? 2U : size > 16000 ? 4U : 3U) - 3U - (qos == qos0 ? 0U : 2U);
            for (size_t split = 0; split <= 40; ++split) {
                CAPTURE(size);
                CAPTURE(split);
                Session5 s(32, 128);
                s.connect();
                Event told;
                int skipped = 0, others = 0;
                for (const std::string& part : {whole.substr(0, split), whole.substr(split) + next_message}) {
                    s.sends(part);
                    for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
                        if (event.kind == Event::skipped) ++skipped, told = event;
                        if (event.kind == Event::received && event.message.topic == "n") ++others;
                    }
                }
                CHECK(skipped == 1);
                CHECK(others == 1);
                CHECK(told.message.total == total);
                CHECK(told.message.qos == qos);
                s.expects(answer(qos));
            }
        }
}
