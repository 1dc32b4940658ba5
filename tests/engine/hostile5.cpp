// MQTT 5: a server that sends what it must not, and with which reason it is told so; callers that pass what they must not.

#include "tests/support/peer5.hpp"
#include "tests/support/testing.hpp"

#include <map>
#include <memory>
#include <set>

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::Properties;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::Retain;
using test::bytes;
using test::hex;
using test::packet;
using test::Session5;
using test::text;
namespace prop = mqtt::prop;

constexpr QoS qos0 = QoS::at_most_once, qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

std::string name(Error error) { return mqtt::to_string(error); }

struct Bad {
    std::string what;
    std::string sent;
    int reason;
};
using List = std::vector<Bad>;

// What the application is told when the server is told this.
Error error_of(int reason) {
    switch (reason) {
    case 0x81: return Error::malformed_packet;
    case 0x82: return Error::protocol_error;
    case 0x93: return Error::receive_maximum_exceeded;
    case 0x94: return Error::topic_alias_invalid;
    case 0x95: return Error::oversize_packet;
    default: return Error::ok;
    }
}

// Each property once, with a value that it may have.
const std::map<int, std::string>& each_property() {
    static const std::map<int, std::string> list = {
        {0x01, bytes({0x01, 1})},                   // Payload Format Indicator
        {0x02, bytes({0x02, 0, 0, 0, 99})},         // Message Expiry Interval
        {0x03, bytes({0x03, 0, 1, 'c'})},           // Content Type
        {0x08, bytes({0x08, 0, 1, 'r'})},           // Response Topic
        {0x09, bytes({0x09, 0, 1, 0})},             // Correlation Data
        {0x0B, bytes({0x0B, 1})},                   // Subscription Identifier
        {0x11, bytes({0x11, 0, 0, 0, 99})},         // Session Expiry Interval
        {0x12, bytes({0x12, 0, 1, 'i'})},           // Assigned Client Identifier
        {0x13, bytes({0x13, 0, 99})},               // Server Keep Alive
        {0x15, bytes({0x15, 0, 1, 'm'})},           // Authentication Method
        {0x16, bytes({0x16, 0, 1, 'd'})},           // Authentication Data
        {0x17, bytes({0x17, 1})},                   // Request Problem Information
        {0x18, bytes({0x18, 0, 0, 0, 99})},         // Will Delay Interval
        {0x19, bytes({0x19, 1})},                   // Request Response Information
        {0x1A, bytes({0x1A, 0, 1, 'i'})},           // Response Information
        {0x1C, bytes({0x1C, 0, 1, 's'})},           // Server Reference
        {0x1F, bytes({0x1F, 0, 1, 'w'})},           // Reason String
        {0x21, bytes({0x21, 0, 99})},               // Receive Maximum
        {0x22, bytes({0x22, 0, 99})},               // Topic Alias Maximum
        {0x23, bytes({0x23, 0, 1})},                // Topic Alias
        {0x24, bytes({0x24, 1})},                   // Maximum QoS
        {0x25, bytes({0x25, 1})},                   // Retain Available
        {0x26, bytes({0x26, 0, 1, 'a', 0, 1, 'b'})},   // User Property
        {0x27, bytes({0x27, 0, 0, 0, 99})},         // Maximum Packet Size
        {0x28, bytes({0x28, 1})},                   // Wildcard Subscription Available
        {0x29, bytes({0x29, 1})},                   // Subscription Identifier Available
        {0x2A, bytes({0x2A, 1})},                   // Shared Subscription Available
    };
    return list;
}

// A client with something of everything: unanswered PUBLISH 1 (QoS 1) and 2 (QoS 2), PUBREL 3, SUBSCRIBE 4 (two filters),
// UNSUBSCRIBE 5; the server has sent the QoS 2 message 6, which is all that the client takes, and has set the alias 1.
struct Busy : Session5 {
    Busy() : Session5(memory()) {
        options.clean_session = false;
        options.maximum_packet_size = 200;
        connect();
        CHECK(client.publish("t", "1", qos1).packet_id == 1);
        CHECK(client.publish("t", "2", qos2).packet_id == 2);
        CHECK(client.publish("t", "3", qos2).packet_id == 3);
        CHECK(client.subscribe({{"a", qos0}, {"b", qos2}}).packet_id == 4);
        CHECK(client.unsubscribe("c").packet_id == 5);
        run();
        sends({0x50, 2, 0, 3});
        expect_event(Event::pubrec);
        sends({0x30, 12, 0, 5, 't', 'o', 'p', 'i', 'c', 3, 0x23, 0, 1, 'x', 0x34, 7, 0, 1, 't', 0, 6, 0, '6'});
        expect_event(Event::received);
        expect_event(Event::received);
        run();
        port.from_client.clear();
    }
    static test::Memory memory() {
        test::Memory memory;
        memory.receive_maximum = 1;
        memory.topic_alias_maximum = 5;
        memory.received_aliases = 100;
        return memory;
    }
    // The next connection: all of it is there, and ends as it should.
    void nothing_lost() {
        port.read_limit = port.write_limit = SIZE_MAX;
        reconnect({}, true);
        expects({0x3A, 7, 0, 1, 't', 0, 1, 0, '1', 0x3C, 7, 0, 1, 't', 0, 2, 0, '2', 0x82, 11, 0, 4, 0, 0, 1, 'a', 0, 0, 1, 'b', 2,
                 0xA2, 6, 0, 5, 0, 0, 1, 'c', 0x62, 2, 0, 3});
        sends({0x3C, 7, 0, 1, 't', 0, 6, 0, '6', 0x62, 2, 0, 6, 0x40, 2, 0, 1, 0x50, 2,
               0, 2, 0x70, 2, 0, 3, 0x90, 5, 0, 4, 0, 0, 2, 0xB0, 4, 0, 5, 0, 0});
        CHECK(expect_event(Event::pubrel).packet_id == 6);
        CHECK(expect_event(Event::acknowledged).packet_id == 1);
        CHECK(expect_event(Event::pubrec).packet_id == 2);
        CHECK(expect_event(Event::acknowledged).packet_id == 3);
        CHECK(expect_event(Event::subscribed).packet_id == 4);
        CHECK(expect_event(Event::unsubscribed).packet_id == 5);
        expects({0x50, 2, 0, 6, 0x70, 2, 0, 6, 0x62, 2, 0, 2});
        sends({0x70, 2, 0, 2, 0x32, 7, 0, 1, 't', 0, 9, 0, 'x'});
        CHECK(expect_event(Event::acknowledged).packet_id == 2);
        CHECK(expect_event(Event::received).packet_id == 9);
        expects({0x40, 2, 0, 9});
        quiet();
        CHECK(client.unacknowledged() == 0);
    }
};

// Section 2.1: what is wrong in the fixed header already.
List headers() {
    List list = {
        {"reserved type 0", bytes({0x00, 0}), 0x81},
        {"reserved type 0, only the first byte", bytes({0x0F}), 0x81},
        {"length of five bytes", bytes({0x40, 0x80, 0x80, 0x80, 0x80, 0x01}), 0x81},
        {"length of five bytes, the fifth has not come", bytes({0x40, 0xFF, 0xFF, 0xFF, 0xFF}), 0x81},
        {"length 0 in two bytes", bytes({0xD0, 0x80, 0x00}), 0x81},
        {"length 2 in two bytes", bytes({0x40, 0x82, 0x00, 0, 1}), 0x81},
        {"length 2 in four bytes", bytes({0x40, 0x82, 0x80, 0x80, 0x00, 0, 1}), 0x81},
        {"PINGRESP with a body", bytes({0xD0, 1, 0}), 0x81},
        {"CONNECT", bytes({0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 1, 'c'}), 0x82},
        {"CONNECT, only the first byte", bytes({0x10}), 0x82},
        {"a second CONNACK", bytes({0x20, 3, 0, 0, 0}), 0x82},
        {"SUBSCRIBE", bytes({0x82, 7, 0, 1, 0, 0, 1, 'f', 0}), 0x82},
        {"UNSUBSCRIBE", bytes({0xA2, 6, 0, 1, 0, 0, 1, 'f'}), 0x82},
        {"PINGREQ", bytes({0xC0, 0}), 0x82},
    };
    for (int type = 1; type < 16; ++type) {   // flags that a type must not have: table 2-2
        if (type == 3) continue;
        const int right = type == 6 || type == 8 || type == 10 ? 2 : 0;
        for (int flags = 0; flags < 16; ++flags)
            if (flags != right) list.push_back({"flags", bytes({type << 4 | flags, 2, 0, 1}), 0x81});
    }
    for (const int qos : {0x36, 0x37, 0x3E, 0x3F}) list.push_back({"QoS 3", bytes({qos, 6, 0, 1, 't', 0, 1, 0}), 0x81});
    for (const int dup : {0x38, 0x39}) list.push_back({"DUP with QoS 0", bytes({dup, 4, 0, 1, 't', 0}), 0x81});
    return list;
}

std::string publish(const std::string& properties) { return packet(0x30, text("t") + test::properties(properties) + "x"); }

List publishes() {
    List list = {
        {"of length 0", bytes({0x30, 0}), 0x81},
        {"of length 1", bytes({0x30, 1, 0}), 0x81},
        {"topic beyond the packet", bytes({0x30, 4, 0, 3, 't', 0}), 0x81},
        {"no property length", bytes({0x30, 3, 0, 1, 't'}), 0x81},
        {"property length beyond the packet", bytes({0x30, 5, 0, 1, 't', 2, 1}), 0x81},
        {"property length not in its shortest form", bytes({0x30, 6, 0, 1, 't', 0x80, 0x00, 'x'}), 0x81},
        {"property length of five bytes", bytes({0x30, 8, 0, 1, 't', 0x80, 0x80, 0x80, 0x80, 0x01}), 0x81},
        {"property length cut short", bytes({0x30, 4, 0, 1, 't', 0x80}), 0x81},
        {"QoS 1 without an id", bytes({0x32, 3, 0, 1, 't'}), 0x81},
        {"QoS 1, half an id", bytes({0x32, 4, 0, 1, 't', 0}), 0x81},
        {"QoS 1, id 0", bytes({0x32, 6, 0, 1, 't', 0, 0, 0}), 0x81},
        {"QoS 2, id 0", bytes({0x34, 6, 0, 1, 't', 0, 0, 0}), 0x81},
        {"QoS 1, no property length", bytes({0x32, 5, 0, 1, 't', 0, 1}), 0x81},
        {"topic with +", bytes({0x30, 4, 0, 1, '+', 0}), 0x81},
        {"topic with #", bytes({0x30, 6, 0, 3, 'a', '/', '#', 0}), 0x81},
        {"topic with U+0000", bytes({0x30, 4, 0, 1, 0, 0}), 0x81},
        {"topic that is not UTF-8", bytes({0x30, 4, 0, 1, 0xFF, 0}), 0x81},
        {"topic with a surrogate", bytes({0x30, 6, 0, 3, 0xED, 0xA0, 0x80, 0}), 0x81},
        {"neither topic nor alias", bytes({0x30, 4, 0, 0, 0, 'x'}), 0x82},
        {"neither topic nor alias, but another property", packet(0x30, bytes({0, 0, 2, 1, 0, 'x'})), 0x82},
        {"an alias that was not set", packet(0x30, bytes({0, 0, 3, 0x23, 0, 2})), 0x82},
        {"alias 0", publish(bytes({0x23, 0, 0})), 0x94},
        {"alias 0 without a topic", packet(0x30, bytes({0, 0, 3, 0x23, 0, 0})), 0x94},
        {"alias above the maximum", publish(bytes({0x23, 0, 6})), 0x94},
        {"alias above the maximum, without a topic", packet(0x30, bytes({0, 0, 3, 0x23, 0, 6})), 0x94},
        {"QoS 1 beyond the receive maximum", bytes({0x32, 7, 0, 1, 't', 0, 7, 0, 'x'}), 0x93},
        {"QoS 2 beyond the receive maximum", bytes({0x34, 7, 0, 1, 't', 0, 7, 0, 'x'}), 0x93},
        {"larger than the maximum", packet(0x30, text("t") + bytes({0}) + std::string(195, 'x')), 0x95},
        {"larger than the maximum, only its header", bytes({0x30, 0xC7, 0x01}), 0x95},
        {"larger than any memory", bytes({0x32, 0xFF, 0xFF, 0xFF, 0x7F}), 0x95},
        {"payload format 2", publish(bytes({0x01, 2})), 0x82},
        {"payload format 255", publish(bytes({0x01, 255})), 0x82},
        {"subscription identifier 0", publish(bytes({0x0B, 0})), 0x82},
        {"subscription identifier of five bytes", publish(bytes({0x0B, 0x80, 0x80, 0x80, 0x80, 0x01})), 0x81},
        {"subscription identifier not in its shortest form", publish(bytes({0x0B, 0x81, 0x00})), 0x81},
        {"content type that is not UTF-8", publish(bytes({0x03, 0, 1, 0xC0})), 0x81},
        {"content type with U+0000", publish(bytes({0x03, 0, 1, 0})), 0x81},
        {"response topic that is not UTF-8", publish(bytes({0x08, 0, 1, 0xC0})), 0x81},
        {"response topic with +", publish(bytes({0x08, 0, 1, '+'})), 0x81},
        {"response topic with #", publish(bytes({0x08, 0, 3, 'a', '/', '#'})), 0x81},
        {"empty response topic", publish(bytes({0x08, 0, 0})), 0x81},
        {"user property with a name that is not UTF-8", publish(bytes({0x26, 0, 1, 0x80, 0, 1, 'b'})), 0x81},
        {"user property with a value that is not UTF-8", publish(bytes({0x26, 0, 1, 'a', 0, 1, 0x80})), 0x81},
        {"user property without a value", publish(bytes({0x26, 0, 1, 'a'})), 0x81},
        {"property 0x00", publish(bytes({0x00, 0})), 0x81},
        {"property 0x04", publish(bytes({0x04, 0})), 0x81},
        {"property 0x2B", publish(bytes({0x2B, 0})), 0x81},
        {"property 0x7F", publish(bytes({0x7F, 0})), 0x81},
        {"property 0x81 0x00", publish(bytes({0x81, 0x00, 1})), 0x81},
        {"property 0xFF", publish(bytes({0xFF, 0xFF, 0xFF, 0x7F})), 0x81},
    };
    const std::set<int> legal = {0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26};
    for (const auto& [id, property] : each_property()) {
        if (legal.count(id) == 0) {
            list.push_back({"property " + std::to_string(id), publish(property), 0x81});
            continue;
        }
        if (id != 0x0B && id != 0x26) list.push_back({"twice " + std::to_string(id), publish(property + property), 0x82});
        for (size_t cut = 1; cut < property.size(); ++cut)
            list.push_back({"cut short " + std::to_string(id), publish(property.substr(0, cut)), 0x81});
    }
    return list;
}

List answers() {
    List list = {
        {"PUBACK for a QoS 2 message", bytes({0x40, 2, 0, 2}), 0x82},
        {"PUBACK for a PUBREL", bytes({0x40, 2, 0, 3}), 0x82},
        {"PUBACK for SUBSCRIBE", bytes({0x40, 2, 0, 4}), 0x82},
        {"PUBACK for UNSUBSCRIBE, with a reason", bytes({0x40, 3, 0, 5, 0x80}), 0x82},
        {"PUBREC for a QoS 1 message", bytes({0x50, 2, 0, 1}), 0x82},
        {"PUBREC that refuses a QoS 1 message", bytes({0x50, 3, 0, 1, 0x87}), 0x82},
        {"PUBREC for SUBSCRIBE", bytes({0x50, 2, 0, 4}), 0x82},
        {"PUBCOMP for a QoS 1 message", bytes({0x70, 2, 0, 1}), 0x82},
        {"PUBCOMP for a QoS 2 message without PUBREC", bytes({0x70, 2, 0, 2}), 0x82},
        {"PUBCOMP 0x92 for a QoS 2 message without PUBREC", bytes({0x70, 3, 0, 2, 0x92}), 0x82},
        {"PUBCOMP for UNSUBSCRIBE", bytes({0x70, 2, 0, 5}), 0x82},
        {"SUBACK for a message", bytes({0x90, 4, 0, 1, 0, 0}), 0x82},
        {"SUBACK for UNSUBSCRIBE", bytes({0x90, 4, 0, 5, 0, 0}), 0x82},
        {"UNSUBACK for SUBSCRIBE", bytes({0xB0, 5, 0, 4, 0, 0, 0}), 0x82},
        {"UNSUBACK for a PUBREL", bytes({0xB0, 4, 0, 3, 0, 0}), 0x82},
        {"SUBACK with one code for two filters", bytes({0x90, 4, 0, 4, 0, 0}), 0x82},
        {"SUBACK with three codes for two filters", bytes({0x90, 6, 0, 4, 0, 0, 0, 0}), 0x82},
        {"UNSUBACK with two codes for one filter", bytes({0xB0, 5, 0, 5, 0, 0, 0}), 0x82},
        {"SUBACK without codes", bytes({0x90, 3, 0, 4, 0}), 0x82},
        {"UNSUBACK without codes, as in 3.1.1", bytes({0xB0, 3, 0, 5, 0}), 0x82},
        {"UNSUBACK of 3.1.1", bytes({0xB0, 2, 0, 5}), 0x81},
        {"SUBACK without a property length", bytes({0x90, 2, 0, 4}), 0x81},
        {"SUBACK of 3.1.1, whose code is read as a property length", bytes({0x90, 4, 0, 4, 2, 0}), 0x81},
        {"SUBACK with code 3", bytes({0x90, 5, 0, 4, 0, 0, 3}), 0x82},
        {"SUBACK with code 0x11", bytes({0x90, 5, 0, 4, 0, 0x11, 0}), 0x82},
        {"UNSUBACK with code 1", bytes({0xB0, 4, 0, 5, 0, 1}), 0x82},
        {"UNSUBACK with code 0xFF", bytes({0xB0, 4, 0, 5, 0, 0xFF}), 0x82},
        {"SUBACK larger than the maximum", bytes({0x90, 0xC7, 0x01}), 0x95},
        {"UNSUBACK larger than rx", bytes({0xB0, 0xFF, 0x7F}), 0x95},
        {"PUBACK larger than the maximum", bytes({0x40, 0xFF, 0x02}), 0x95},
    };
    const std::map<int, std::string> names = {{0x40, "PUBACK"}, {0x50, "PUBREC"}, {0x62, "PUBREL"},
                                              {0x70, "PUBCOMP"}, {0x90, "SUBACK"}, {0xB0, "UNSUBACK"}};
    for (const auto& entry : names) {
        const int type = entry.first;
        const std::string& what = entry.second;
        const bool suback = type == 0x90 || type == 0xB0;
        const int id = type == 0x40 ? 1 : type == 0x50 ? 2 : type == 0x62 ? 6 : type == 0x70 ? 3 : type == 0x90 ? 4 : 5;
        const std::string head = suback ? bytes({0, id}) : bytes({0, id, 0}),
                          tail = suback ? bytes({0}) + (id == 4 ? bytes({0}) : "") : "";
        const auto add = [&](const std::string& detail, const std::string& body, int reason) {
            list.push_back({what + detail, packet(type, body), reason});
        };
        add(" of length 0", "", 0x81);
        add(" of length 1", bytes({0}), 0x81);
        add(" with id 0", bytes({0, 0}) + (suback ? bytes({0, 0}) : ""), 0x81);
        if (!suback) add(" with code 1", bytes({0, id, 1}), 0x82);
        if (!suback) add(" with something behind its properties", bytes({0, id, 0, 0, 0}), 0x81);
        add(" with a property length beyond it", head + bytes({20}) + each_property().at(0x1F) + tail, 0x81);
        add(" with a property length cut short", head + bytes({0x80}), 0x81);
        add(" with a reason string that is not UTF-8", head + test::properties(bytes({0x1F, 0, 1, 0xFF})) + tail, 0x81);
        add(" with two reason strings", head + test::properties(each_property().at(0x1F) + each_property().at(0x1F)) + tail, 0x82);
        add(" with an unknown property", head + test::properties(bytes({0x05, 0})) + tail, 0x81);
        for (const auto& [property, block] : each_property())
            if (property != 0x1F && property != 0x26)
                add(" with property " + std::to_string(property), head + test::properties(block) + tail, 0x81);
    }
    return list;
}

List disconnects() {
    List list = {
        {"DISCONNECT with Session Expiry Interval", packet(0xE0, bytes({0}) + test::properties(each_property().at(0x11))),
         0x82},
        {"DISCONNECT with the reason to publish the will", bytes({0xE0, 1, 4}), 0x82},
        {"DISCONNECT with code 1", bytes({0xE0, 1, 1}), 0x82},
        {"DISCONNECT with code 0x84", bytes({0xE0, 1, 0x84}), 0x82},
        {"DISCONNECT with code 0xFF", bytes({0xE0, 2, 0xFF, 0}), 0x82},
        {"DISCONNECT with something behind its properties", bytes({0xE0, 3, 0, 0, 0}), 0x81},
        {"DISCONNECT with a property length beyond it", bytes({0xE0, 2, 0, 1}), 0x81},
        {"DISCONNECT with two reason strings",
         packet(0xE0, bytes({0x8B}) + test::properties(each_property().at(0x1F) + each_property().at(0x1F))), 0x82},
        {"DISCONNECT larger than the maximum", bytes({0xE0, 0xC7, 0x01}), 0x95},
        {"AUTH, for which nobody asked", bytes({0xF0, 0}), 0x82},
        {"AUTH that goes on", packet(0xF0, bytes({0x18}) + test::properties(each_property().at(0x15))), 0x82},
        {"AUTH with the client's reason", packet(0xF0, bytes({0x19}) + test::properties(each_property().at(0x15))), 0x82},
        {"AUTH with code 0x80", packet(0xF0, bytes({0x80}) + test::properties(each_property().at(0x15))), 0x82},
        {"AUTH without properties", bytes({0xF0, 1, 0x18}), 0x81},
    };
    const std::set<int> legal = {0x11, 0x1C, 0x1F, 0x26};
    for (const auto& [id, property] : each_property())
        if (legal.count(id) == 0)
            list.push_back({"DISCONNECT with property " + std::to_string(id),
                            packet(0xE0, bytes({0x8B}) + test::properties(property)), 0x81});
    return list;
}

void check(const List& list) {
    for (const Bad& bad : list)
        for (const bool piecewise : {false, true}) {
            CAPTURE(bad.what);
            CAPTURE(hex(bad.sent));
            CAPTURE(piecewise);
            Busy s;
            if (piecewise) s.port.read_limit = 1;
            s.sends(bad.sent);
            s.sends({0x30, 5, 0, 1, 't', 0, 'x', 0x40, 2, 0, 1});   // nobody listens any more
            const Event event = s.rejects_with(bad.reason, error_of(bad.reason));
            CHECK(mqtt::fault(event.error) == mqtt::Fault::server);
            s.quiet();   // once
            s.nothing_lost();
        }
}

}  // namespace

// ------------------------------------------------------------------------------------------------ wrong packets

TEST_CASE("MQTT 5 [MQTT-2.1.3-1] [MQTT-3.3.1-4] [MQTT-3.2.0-2] [MQTT-3.1.0-2] [MQTT-3.6.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1] a wrong fixed header, or a packet that must not come: DISCONNECT says why, the client reconnects, nothing is lost") {
    check(headers());
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-3.3.2-19] [MQTT-2.2.1-4] [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] [MQTT-3.3.4-9] a wrong PUBLISH: DISCONNECT says why, the client reconnects, nothing is lost") {
    check(publishes());
}

TEST_CASE("MQTT 5 [MQTT-3.8.4-6] [MQTT-3.9.3-2] [MQTT-3.11.3-2] a wrong answer, or one for the wrong request: DISCONNECT says why, the client reconnects, nothing is lost") {
    check(answers());
}

TEST_CASE("MQTT 5 [MQTT-3.14.2-1] [MQTT-3.14.2-2] [MQTT-3.15.2-1] a wrong DISCONNECT or AUTH: DISCONNECT says why, the client reconnects, nothing is lost") {
    check(disconnects());
}

TEST_CASE("MQTT 5 what came before the wrong packet counts, and is answered before DISCONNECT if the server takes it") {
    Busy s;
    s.sends({0x40, 2, 0, 1, 0x30, 5, 0, 1, 't', 0, 'x', 0x62, 2, 0, 6, 0x32, 7, 0, 1, 't', 0, 7, 0, 'y'});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    CHECK(s.expect_event(Event::received).message.payload.text() == "x");
    CHECK(s.expect_event(Event::pubrel).packet_id == 6);
    CHECK(s.expect_event(Event::received).message.payload.text() == "y");
    s.expects({0x70, 2, 0, 6, 0x40, 2, 0, 7});
    s.sends({0xC0, 0, 0x30, 5, 0, 1, 't', 0, 'z'});
    s.rejects_with(0x82, Error::protocol_error);
    s.quiet();
}

TEST_CASE("MQTT 5 DISCONNECT is written also one byte at a time, and while the server goes on sending") {
    Busy s;
    s.port.write_limit = 1;
    s.port.read_limit = 1;
    s.sends({0xC0, 0});
    s.sends(std::string(1000, '\x30'));
    s.rejects_with(0x82, Error::protocol_error);
    s.nothing_lost();
}

TEST_CASE("MQTT 5 a server that takes no DISCONNECT is left after response_timeout_ms, one that closes at once; what was wrong is told all the same") {
    for (const bool closes : {false, true}) {
        Busy s;
        s.port.write_limit = 0;
        s.sends({0x00});
        CHECK(s.next().kind == Event::none);
        CHECK_FALSE(s.client.connected());
        CHECK(s.client.wants_write());
        CHECK(s.client.idle_ms() == s.options.response_timeout_ms);
        if (closes) {
            s.port.cut = true;
        } else {
            s.port.clock += s.options.response_timeout_ms - 1;
            CHECK(s.next().kind == Event::none);
            CHECK(s.port.is_open);
            s.port.clock += 1;
        }
        const Event event = s.expect_event(Event::disconnected);
        CHECK(name(event.error) == "malformed packet");
        CHECK(event.reason == mqtt::ReasonCode::malformed_packet);
        CHECK_FALSE(s.port.is_open);
        CHECK(s.port.from_client == "");
        s.nothing_lost();
    }
}

TEST_CASE("MQTT 5 no DISCONNECT stands in the middle of another packet: it is left out when one is half written, wherever it is cut") {
    for (size_t cut = 0; cut <= 9; ++cut) {
        CAPTURE(cut);
        Busy s;
        const std::string more = packet(0x30, text("t") + bytes({0}) + "more");   // 10 bytes
        CHECK(s.client.publish("t", "more").ok());
        s.port.write_limit = cut;
        CHECK(s.client.poll().kind == Event::none);
        s.port.write_limit = 0;
        s.sends({0xC0, 0});
        s.run();
        s.port.write_limit = SIZE_MAX;
        const Event event = s.expect_event(Event::disconnected);
        CHECK(name(event.error) == "protocol error");
        CHECK(event.reason ==
              (cut == 0 ? mqtt::ReasonCode::protocol_error : mqtt::ReasonCode::success));   // what the server was told
        CHECK(hex(s.port.from_client) == hex(cut == 0 ? bytes({0xE0, 1, 0x82}) : more.substr(0, cut)));
        s.port.from_client.clear();
        if (cut == 0) continue;   // then the message waits for the next connection
        s.nothing_lost();
    }
}

TEST_CASE("MQTT 5 nothing is sent behind DISCONNECT, and calls are taken as without a connection") {
    Busy s;
    s.port.write_limit = 0;
    s.sends({0xC0, 0});
    CHECK(s.next().kind == Event::none);
    CHECK(s.client.publish("t", "later", qos1).packet_id == 6);
    CHECK(name(s.client.begin_publish("t", 5, qos0).error) == "not connected");
    CHECK(s.client.write_payload("x").error == Error::not_connected);
    s.port.write_limit = SIZE_MAX;
    s.rejects_with(0x82, Error::protocol_error);
    s.reconnect({}, true);
    s.run();
    CHECK(s.port.from_client.find("later") != std::string::npos);
}

TEST_CASE("MQTT 5 a malformed message that is larger than rx: DISCONNECT says why, and nothing of it is delivered") {
    const std::string long_topic(120, 't'), list = bytes({2, 1, 1});
    const List bad = {
        {"topic beyond the packet, and beyond rx", bytes({0x30, 0xE8, 0x07, 0xEA, 0x60, 't'}), 0x81},
        {"topic just beyond the packet", bytes({0x30, 0xE8, 0x07, 0x03, 0xE7, 't'}), 0x81},
        {"topic that fills the packet", bytes({0x30, 0xE8, 0x07, 0x03, 0xE6, 't'}), 0x81},
        {"QoS 1, topic beyond the packet, and beyond rx", bytes({0x32, 0xE8, 0x07, 0xFF, 0xFF, 't'}), 0x81},
        {"QoS 1 id beyond the packet", bytes({0x32, 0xE8, 0x07, 0x03, 0xE5, 't'}), 0x81},
        {"QoS 2, topic beyond the packet", bytes({0x34, 0xE8, 0x07, 0x04, 0x00, 't'}), 0x81},
        {"properties beyond the packet", bytes({0x30, 0xE8, 0x07, 0, 1, 't', 0xFF, 0x7F}), 0x81},
        {"properties just beyond the packet", bytes({0x30, 0xE8, 0x07, 0, 1, 't', 0xE4, 0x07}), 0x81},
        {"QoS 1, properties beyond any memory", bytes({0x32, 0xE8, 0x07, 0, 1, 't', 0, 7, 0xFF, 0xFF, 0xFF, 0x7F}), 0x81},
        {"property length of five bytes", bytes({0x30, 0xE8, 0x07, 0, 1, 't', 0x80, 0x80, 0x80, 0x80, 0x01}), 0x81},
        {"property length not in its shortest form", bytes({0x30, 0xE8, 0x07, 0, 1, 't', 0x82, 0x00}) + list, 0x81},
        {"property length not in its shortest form, beyond rx", bytes({0x30, 0xE8, 0x07, 0, 1, 't', 0xE4, 0x80, 0x00}), 0x81},
        {"neither topic nor alias", bytes({0x30, 0xE8, 0x07, 0, 0}) + list, 0x82},
        {"wildcard", bytes({0x30, 0xE8, 0x07, 0, 1, '#', 0}), 0x81},
        {"U+0000", bytes({0x32, 0xE8, 0x07, 0, 1, 0, 0, 7, 0}), 0x81},
        {"not UTF-8", bytes({0x34, 0xE8, 0x07, 0, 1, 0xFF, 0, 7, 0}), 0x81},
        {"id 0", bytes({0x32, 0xE8, 0x07, 0, 1, 't', 0, 0, 0}), 0x81},
        {"id 0 behind a topic that does not fit", bytes({0x34, 0xE8, 0x07, 0, 120}) + long_topic + bytes({0, 0}), 0x81},
        {"property that is none", bytes({0x30, 0xE8, 0x07, 0, 1, 't', 2, 4, 0}), 0x81},
        {"property twice", bytes({0x30, 0xE8, 0x07, 0, 1, 't', 4, 1, 0, 1, 0}), 0x82},
        {"alias, when there is none", bytes({0x30, 0xE8, 0x07, 0, 1, 't', 3, 0x23, 0, 1}), 0x94},
    };
    for (const Bad& row : bad)
        for (const size_t piece : {size_t{1}, size_t{7}, size_t{64}, size_t{5000}}) {
            CAPTURE(row.what);
            CAPTURE(piece);
            Session5 s(64);
            s.options.clean_session = false;
            s.connect();
            CHECK(s.client.publish("t", "1", qos1).packet_id == 1);
            s.run();
            s.port.from_client.clear();
            s.port.read_limit = piece;
            s.sends(row.sent);
            s.sends(std::string(1003 - row.sent.size(), 'x'));
            s.rejects_with(row.reason, error_of(row.reason));
            s.port.read_limit = SIZE_MAX;
            s.reconnect({}, true);
            s.expects({0x3A, 7, 0, 1, 't', 0, 1, 0, '1'});
        }
}

TEST_CASE("MQTT 5 each property in each packet of a server, legal or not: taken, or refused with 0x81") {
    struct {
        int type;
        std::string head, tail;
        std::set<int> legal;
    } const rows[] = {{0x30, text("t"), "x", {0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26}},
                      {0x40, bytes({0, 99, 0}), "", {0x1F, 0x26}},
                      {0x50, bytes({0, 99, 0}), "", {0x1F, 0x26}},
                      {0x62, bytes({0, 99, 0}), "", {0x1F, 0x26}},
                      {0x70, bytes({0, 99, 0}), "", {0x1F, 0x26}},
                      {0x90, bytes({0, 99}), bytes({0}), {0x1F, 0x26}},
                      {0xB0, bytes({0, 99}), bytes({0}), {0x1F, 0x26}}};
    for (const auto& row : rows)
        for (const auto& entry : each_property()) {
            const int id = entry.first;
            const std::string& property = entry.second;
            CAPTURE(row.type);
            CAPTURE(id);
            Busy s;
            s.sends(packet(row.type, row.head + test::properties(property) + row.tail));
            if (row.legal.count(id) == 0) {
                s.rejects_with(0x81, Error::malformed_packet);
                continue;
            }
            s.run();
            CHECK(s.client.connected());
        }
}

TEST_CASE("MQTT 5 a server that is wrong each time is met with longer and longer pauses, and each time is told once") {
    Busy s;
    int closes = s.port.closes;
    for (int i = 0; i < 10; ++i) {
        s.sends({0xC0, 0});
        s.rejects_with(0x82, Error::protocol_error);
        CHECK(s.port.closes == ++closes);
        s.reconnect({}, true);
        s.run();
        s.port.from_client.clear();
    }
    REQUIRE(s.port.attempts.size() == 11);
    s.nothing_lost();
}

// --------------------------------------------------------------------------------------------- every way to cut it

namespace {

std::string told(const Event& event) {   // all of it, in a form that can be compared
    std::string out = std::to_string(event.kind) + ' ' + mqtt::to_string(event.error) + ' ' +
                      std::to_string(static_cast<int>(event.reason)) + ' ' + std::to_string(event.packet_id) + ' ' +
                      hex(event.reason_codes.text()) + "| " + hex(event.properties.block().text());
    if (event.kind == Event::received) {
        const mqtt::Message& m = event.message;
        out += hex(m.topic) + "| " + hex(m.payload.text()) + "| " + hex(m.properties.block().text()) +
               std::to_string(m.offset) + '/' + std::to_string(m.total) + ' ' + std::to_string(static_cast<int>(m.qos)) +
               std::to_string(m.retain) + std::to_string(m.duplicate);
    }
    return out + '\n';
}

// What a server may send while all is unanswered as in `Busy`, with a receive maximum of 20.
const std::vector<std::string>& valid_packets() {
    static const std::vector<std::string> list = {
        bytes({0x30, 4, 0, 1, 't', 0}),
        packet(0x31, text("a/b") +
                         test::properties(each_property().at(0x01) + each_property().at(0x02) + each_property().at(0x03) +
                                          each_property().at(0x26)) +
                         "payload"),
        packet(0x32, text("t") + bytes({0, 10}) + test::properties(each_property().at(0x08) + each_property().at(0x09)) + "x"),
        packet(0x34, text("topic") + bytes({0, 11, 3, 0x23, 0, 2}) + "y"),
        packet(0x30, bytes({0, 0, 3, 0x23, 0, 2}) + "by alias"),
        packet(0x3D, text("t") + bytes({0, 12, 4, 0x0B, 1, 0x0B, 2}) + "z"),
        packet(0x32, text("t") + bytes({0, 13, 0}) + std::string(123, 'w')),   // a length of two bytes
        packet(0x30,
               text("t") + test::properties(bytes({0x03}) + text(std::string(125, 'c'))) + "v"),   // the same of its properties
        bytes({0x40, 4, 0, 1, 0x10, 0}),
        packet(0x50, bytes({0, 2, 0}) + test::properties(each_property().at(0x1F) + each_property().at(0x26))),
        bytes({0x90, 5, 0, 4, 0, 1, 0x80}),
        packet(0xB0, bytes({0, 5}) + test::properties(each_property().at(0x26)) + bytes({0x11})),
        bytes({0x70, 3, 0, 3, 0x92}),
        bytes({0x62, 3, 0, 11, 0}),
        bytes({0x62, 2, 0, 99}),
        bytes({0x40, 2, 0, 99}),   // for nothing: passed over
        bytes({0xD0, 0}),
    };
    return list;
}

struct Outcome {
    std::string events, written;
};
Outcome outcome(const std::vector<std::string>& pieces) {
    test::Memory memory = Busy::memory();
    memory.receive_maximum = 20;
    Session5 s(memory);
    s.options.clean_session = false;
    s.connect();
    (void)s.client.publish("t", "1", qos1);
    (void)s.client.publish("t", "2", qos2);
    (void)s.client.publish("t", "3", qos2);
    (void)s.client.subscribe({{"a", qos0}, {"b", qos2}});
    (void)s.client.unsubscribe("c");
    s.run();
    s.sends({0x50, 2, 0, 3});
    s.run();
    s.waiting.clear();
    s.sends(packet(0x30, bytes({0, 1, 't', 3, 0x23, 0, 2})));
    s.expect_event(Event::received);
    s.run();
    s.port.from_client.clear();
    Outcome out;
    for (const std::string& piece : pieces) {
        s.sends(piece);
        for (Event event = s.next(); event.kind != Event::none; event = s.next()) out.events += told(event);
    }
    s.run();
    CHECK(s.port.is_open);
    out.written = s.port.from_client;
    return out;
}

}  // namespace

TEST_CASE("MQTT 5 every valid packet gives the same events and the same answers in one piece, byte by byte, and at every split in two") {
    std::string all;
    for (const std::string& packet : valid_packets()) all += packet;
    std::vector<std::string> streams = valid_packets();
    streams.push_back(all);
    for (const std::string& stream : streams) {
        CAPTURE(hex(stream));
        const Outcome whole = outcome({stream});
        CHECK((whole.events.size() != 0 || stream == bytes({0x40, 2, 0, 99})));
        for (size_t i = 1; i < stream.size(); ++i) {
            const Outcome split = outcome({stream.substr(0, i), stream.substr(i)});
            CHECK(split.events == whole.events);
            CHECK(hex(split.written) == hex(whole.written));
        }
        std::vector<std::string> single;
        for (const char c : stream) single.emplace_back(1, c);
        const Outcome bytewise = outcome(single);
        CHECK(bytewise.events == whole.events);
        CHECK(hex(bytewise.written) == hex(whole.written));
    }
    CHECK(hex(outcome({all}).written) == hex(bytes({0x40, 2, 0, 10, 0x50, 2, 0, 11, 0x50, 2, 0, 12, 0x40, 2, 0,
                                                    13, 0x62, 2, 0, 2, 0x70, 2, 0, 11, 0x70, 3, 0, 99, 0x92})));
}

TEST_CASE("MQTT 5 every valid packet cut short at each length by the end of the connection delivers nothing and loses nothing") {
    for (const std::string& packet : valid_packets())
        for (size_t size = 0; size < packet.size(); ++size) {
            CAPTURE(hex(packet));
            CAPTURE(size);
            Busy s;
            if ((packet[0] & 0xF0) == 0x30 && (packet[0] & 6) != 0) s.sends({0x62, 2, 0, 6});   // it may send one more
            if (packet.size() > 20 && packet.find('\x23') != packet.npos) continue;
            s.sends(packet.substr(0, size));
            s.port.cut = true;
            for (Event event = s.next(); event.kind != Event::disconnected; event = s.next()) REQUIRE(event.kind == Event::pubrel);
            CHECK_FALSE(s.port.is_open);
        }
}

// --------------------------------------------------------------------------------------------------- random bytes

namespace {

// Faster than test::ScriptedPort: a hundred thousand clients of it.
struct Wire {
    const uint8_t* data = nullptr;
    size_t left = 0, piece = SIZE_MAX, taken = SIZE_MAX;
    bool is_open = false, cut = false;
    size_t faults = 0;
    uint32_t clock = 0xFFFFF000;
    std::string out;

    int open(std::string_view, uint16_t) {
        is_open = true;
        cut = false;
        left = 0;
        return 1;
    }
    int read(uint8_t* to, size_t size) {
        faults += is_open ? 0 : 1;
        if (left == 0) return cut ? -1 : 0;
        const size_t n = std::min({size, left, piece});
        memcpy(to, data, n);
        data += n;
        left -= n;
        return static_cast<int>(n);
    }
    int write(const uint8_t* from, size_t size) {
        faults += is_open && size != 0 ? 0 : 1;
        if (cut) return -1;
        const size_t n = std::min(size, taken);
        out.append(reinterpret_cast<const char*>(from), n);
        return static_cast<int>(n);
    }
    void close() { is_open = false; }
    uint32_t now_ms() { return clock; }
    uint32_t random() { return 7; }
};

struct Random {
    uint64_t state;
    uint64_t next() {   // splitmix64
        uint64_t z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
    size_t below(size_t n) { return static_cast<size_t>(next() % n); }
};

struct Block {
    explicit Block(size_t bytes) : memory(new uint8_t[bytes]), size(bytes) {}
    bool holds(const void* data, size_t n) const {
        const uint8_t* const p = static_cast<const uint8_t*>(data);
        return n == 0 || (p >= memory.get() && p + n <= memory.get() + size);
    }
    mqtt::Buffer buffer() const { return {memory.get(), size}; }
    std::unique_ptr<uint8_t[]> memory;
    size_t size;
};

bool valid(Properties list, mqtt::PacketType type) {
    uint32_t seen = 0;
    return mqtt::validate(list, type, seen) == Error::ok;
}

// A client with unanswered packets, in memory blocks of an exact size, and a server that sends `stream`. Returns what is
// wrong with what happens, or nullptr.
const char* survives(const std::string& stream, Random& random) {
    const Block rx(40 + random.below(random.below(4) == 0 ? 300 : 30)), tx(60 + 16 + 80 + random.below(100));
    const uint16_t aliases = static_cast<uint16_t>(random.below(4));
    const Block received(size_t{4} * aliases + random.below(40)), sent(random.below(40)), input(stream.size() + 1);
    memcpy(input.memory.get(), stream.data(), stream.size());
    Wire wire;
    if (random.below(2) == 0) wire.piece = 1 + random.below(20);
    if (random.below(4) == 0) wire.taken = 1 + random.below(5);
    mqtt::ConnectOptions options;
    options.version = mqtt::Version::v5;
    options.client_id = "c";
    options.clean_session = random.below(2) == 0;
    options.manual_ack = random.below(4) == 0;
    if (random.below(4) == 0) options.maximum_packet_size = 30 + static_cast<uint32_t>(random.below(100));
    mqtt::Buffers buffers{rx.buffer(), tx.buffer(), static_cast<uint16_t>(1 + random.below(20))};
    buffers.topic_alias_maximum = aliases;
    buffers.received_aliases = received.buffer();
    buffers.sent_aliases = sent.buffer();
    mqtt::Client<Wire> client(wire, buffers);
    if (!client.connect(options).ok()) return "connect";
    PropertyBuffer<8> expiry;
    expiry.add(prop::message_expiry_interval, 5);
    (void)client.publish("t", "x", qos1);
    (void)client.publish("t", "x", qos2, Retain::no, expiry);
    (void)client.subscribe("t", qos2);
    (void)client.unsubscribe("t");
    for (int i = 0; i < 60 && wire.out.size() < 2; ++i)
        if (client.poll().kind != Event::none) return "an event before CONNACK";
    for (int i = 0; i < 60 && wire.out.size() < 2U + static_cast<size_t>(wire.out[1]); ++i)
        if (client.poll().kind != Event::none) return "an event before CONNACK";
    if (wire.out.size() < 2U + static_cast<size_t>(wire.out[1])) return "CONNECT is not written";
    std::string connack = bytes({0, 0});
    std::string granted;
    if (random.below(3) == 0) granted += bytes({0x22, 0, 2});
    if (random.below(3) == 0) granted += bytes({0x21, 0, 1});
    if (random.below(3) == 0) granted += bytes({0x27, 0, 0, 0, 20});
    connack = packet(0x20, connack + test::properties(granted));
    const bool early = random.below(8) == 0;
    if (!early) {
        wire.data = reinterpret_cast<const uint8_t*>(connack.data());
        wire.left = connack.size();
        for (int polls = 0; client.poll().kind != Event::connected;)
            if (++polls > 40) return "CONNACK is not told";
    }
    wire.out.clear();
    wire.data = input.memory.get();
    wire.left = stream.size();
    size_t disconnected = 0;
    uint16_t open = 0;
    const size_t limit = 200 + 20 * stream.size();
    for (size_t polls = 0; wire.is_open && (wire.left != 0 || client.idle_ms() == 0 || client.wants_write()); ++polls) {
        const Event event = client.poll();
        const mqtt::Message& m = event.message;
        if (!rx.holds(event.properties.block().data(), event.properties.block().size())) return "properties outside rx";
        if (!rx.holds(event.reason_codes.data(), event.reason_codes.size())) return "codes outside rx";
        if (event.kind == Event::received) {
            if (!mqtt::valid_topic(m.topic)) return "an invalid topic is delivered";
            if (!rx.holds(m.topic.data(), m.topic.size()) && !received.holds(m.topic.data(), m.topic.size()))
                return "a topic outside its memory";
            if (!rx.holds(m.payload.data(), m.payload.size())) return "a payload outside rx";
            if (!rx.holds(m.properties.block().data(), m.properties.block().size())) return "properties outside rx";
            if (!valid(m.properties, mqtt::PacketType::publish)) return "invalid properties are delivered";
            if (m.offset + m.payload.size() > m.total) return "more than its total";
            if (m.total > stream.size() && m.total > mqtt::max_remaining_length) return "a total that cannot be";
            if ((m.qos == qos0) != (m.packet_id == 0)) return "a wrong packet id";
            if (m.complete() && m.qos != qos0) open = m.packet_id;
        }
        if (event.kind == Event::skipped && m.total > mqtt::max_remaining_length) return "a total that cannot be";
        if (event.kind == Event::disconnected) {
            ++disconnected;
            // An alias may have been set by what was too long for rx.
            const bool forgotten = event.error == Error::buffer_too_small && aliases != 0 && stream.size() > rx.size;
            if (mqtt::fault(event.error) != mqtt::Fault::server && !forgotten) return mqtt::to_string(event.error);
            // DISCONNECT, if there was one, is the last that was written.
            const bool ours = event.error != Error::server_disconnected && event.error != Error::connection_refused;
            if (ours && event.reason != mqtt::ReasonCode::success) {
                const std::string farewell = bytes({0xE0, 1, static_cast<int>(event.reason)});
                if (wire.out.size() < 3 || wire.out.substr(wire.out.size() - 3) != farewell) return "DISCONNECT was not written";
            }
        }
        if (event.kind == Event::none && options.manual_ack && open != 0) {
            (void)client.acknowledge(open, random.below(4) == 0 ? mqtt::ReasonCode::quota_exceeded : mqtt::ReasonCode::success);
            open = 0;
        }
        if (event.kind == Event::none && random.below(16) == 0) (void)client.publish("topic", "x");
        if (event.kind == Event::none && polls > limit / 2) break;   // the application keeps it from reading
        if (polls > limit) return "it never comes to rest";
    }
    if (disconnected == 0) {
        wire.cut = true;
        wire.left = 0;
        for (int polls = 0; disconnected == 0; ++polls) {
            wire.clock += polls > 20 ? 10000 : 0;   // when its memory is full of what is not released, it does not read
            if (client.poll().kind == Event::disconnected) ++disconnected;
            if (polls == 10 && wire.is_open && options.manual_ack) return nullptr;   // it does not read
            if (polls > 300) return "the end of the connection is not noticed";
        }
    }
    wire.clock += options.reconnect_max_ms;
    wire.piece = wire.taken = SIZE_MAX;
    wire.out.clear();
    for (int polls = 0; wire.out.size() < 15; ++polls) {
        const Event::Kind kind = client.poll().kind;
        if (kind != Event::none && kind != Event::dropped) return "an event while it reconnects";
        if (polls > 20) return "it does not reconnect";
    }
    wire.data = reinterpret_cast<const uint8_t*>(connack.data());
    wire.left = connack.size();
    for (int polls = 0; client.poll().kind != Event::connected; ++polls)
        if (polls > 40) return "it does not work any more";
    return wire.faults == 0 ? nullptr : "the port is used when it is closed";
}

}  // namespace

TEST_CASE("MQTT 5 random bytes from the server: nothing outside the buffers is touched, everything ends, and the client works again") {
    const size_t runs = testing::long_run() ? 2000000 : 40000;
    for (size_t seed = 1; seed <= runs; ++seed) {
        Random random{seed};
        std::string stream(1 + random.below(80), '\0');
        for (char& c : stream) c = static_cast<char>(random.next());
        // Often something that begins like a packet.
        if (random.below(3) != 0) {
            stream[0] = static_cast<char>(random.below(2) == 0 ? 0x30 | random.below(6) : random.next() & 0xF0);
            if (stream.size() > 2) stream[1] = static_cast<char>(random.below(stream.size()));
            if (stream.size() > 4) stream[2] = 0, stream[3] = static_cast<char>(random.below(40));
        }
        const char* const wrong = survives(stream, random);
        if (wrong == nullptr) continue;
        CAPTURE(seed);
        CAPTURE(hex(stream));
        FAIL(std::string(wrong));
    }
}

TEST_CASE("MQTT 5 mutated streams of valid packets: nothing outside the buffers is touched, everything ends, and the client works again") {
    const size_t runs = testing::long_run() ? 2000000 : 40000;
    for (size_t seed = 1; seed <= runs; ++seed) {
        Random random{seed * 7919};
        std::string stream;
        for (size_t i = 1 + random.below(12); i != 0; --i) stream += valid_packets()[random.below(valid_packets().size())];
        for (size_t i = random.below(4); i != 0; --i) {
            const size_t at = random.below(stream.size());
            switch (random.below(6)) {
            case 0: stream[at] = static_cast<char>(random.next()); break;
            case 1: stream[at] = static_cast<char>(stream[at] ^ 1 << random.below(8)); break;
            case 2: stream.erase(at, 1 + random.below(4)); break;
            case 3: stream.insert(at, std::string(1 + random.below(4), static_cast<char>(random.next()))); break;
            case 4: stream.insert(at, stream.substr(random.below(stream.size()), random.below(30))); break;
            default: stream[at] = static_cast<char>(random.below(2) == 0 ? 0 : 0xFF); break;
            }
            if (stream.empty()) stream = "x";
        }
        const char* const wrong = survives(stream, random);
        if (wrong == nullptr) continue;
        CAPTURE(seed);
        CAPTURE(hex(stream));
        FAIL(std::string(wrong));
    }
}

// ----------------------------------------------------------------------------------------------- the caller's errors

namespace {

// What a call may carry; the rest is refused.
struct Call {
    const char* what;
    std::set<int> legal;
    std::function<Error(Session5&, Properties)> make;
    std::string before;   // what must be there in any case
};
std::vector<Call> calls() {
    return {
        {"publish QoS 0",
         {0x01, 0x02, 0x03, 0x08, 0x09, 0x26},
         [](Session5& s, Properties p) { return s.client.publish("topic", "x", qos0, Retain::no, p).error; },
         ""},
        {"publish QoS 1",
         {0x01, 0x02, 0x03, 0x08, 0x09, 0x26},
         [](Session5& s, Properties p) { return s.client.publish("topic", "x", qos1, Retain::no, p).error; },
         ""},
        {"publish QoS 2",
         {0x01, 0x02, 0x03, 0x08, 0x09, 0x26},
         [](Session5& s, Properties p) { return s.client.publish("topic", "x", qos2, Retain::no, p).error; },
         ""},
        {"begin_publish",
         {0x01, 0x02, 0x03, 0x08, 0x09, 0x26},
         [](Session5& s, Properties p) { return s.client.begin_publish("topic", 5, qos1, Retain::no, p).error; },
         ""},
        {"subscribe", {0x0B, 0x26}, [](Session5& s, Properties p) { return s.client.subscribe("f", qos1, p).error; }, ""},
        {"unsubscribe", {0x26}, [](Session5& s, Properties p) { return s.client.unsubscribe("f", p).error; }, ""},
        {"disconnect",
         {0x11, 0x1F, 0x26},
         [](Session5& s, Properties p) { return s.client.disconnect(mqtt::ReasonCode::success, p).error; },
         ""},
        {"authenticate",
         {0x16, 0x1F, 0x26},
         [](Session5& s, Properties p) { return s.client.authenticate(p).error; },
         bytes({0x15, 0, 1, 'm'})},
    };
}

// Two clients in one: alias memory, a session, an authentication method, all of it used by someone.
struct Caller : Session5 {
    Caller() : Session5(memory()) {
        options.clean_session = false;
        properties.add(prop::authentication_method, "m");
        options.properties = properties;
        connect(bytes({0x15, 0, 1, 'm', 0x22, 0, 9}));
        run();
        port.from_client.clear();
    }
    static test::Memory memory() {
        test::Memory memory;
        memory.sent_aliases = 100;
        return memory;
    }
    // Nothing was queued, no id taken, no alias set, no authentication begun, no timer started.
    void untouched() {
        quiet();
        CHECK(client.connected());
        CHECK(client.unacknowledged() == 0);
        CHECK(client.idle_ms() > 50000);
        CHECK(client.publish("topic", "x").ok());
        CHECK(client.publish("t", "x", qos1).packet_id == 1);
        CHECK(client.authenticate(properties).ok());
        expects(packet(0x30, text("topic") + bytes({3, 0x23, 0, 1, 'x'})) + packet(0x32, text("t") + bytes({0, 1, 0, 'x'})) +
                packet(0xF0, bytes({0x19, 4, 0x15, 0, 1, 'm'})));
    }
    PropertyBuffer<8> properties;
};
Properties view(const std::string& block) { return {reinterpret_cast<const uint8_t*>(block.data()), block.size()}; }

}  // namespace

TEST_CASE("MQTT 5 [MQTT-3.3.4-6] [MQTT-3.3.2-13] [MQTT-3.3.2-14] [MQTT-3.3.2-19] [MQTT-3.15.2-1] each property in each call: taken if it is legal there and not ours to set, else refused before a byte is queued") {
    for (const Call& call : calls())
        for (const auto& entry : each_property())
            for (const bool twice : {false, true}) {
                const int id = entry.first;
                const std::string& property = entry.second;
                CAPTURE(std::string(call.what));
                CAPTURE(id);
                CAPTURE(twice);
                if (id == 0x15 && call.before != "") continue;   // is there already
                Caller s;
                const std::string block = call.before + property + (twice ? property : "");
                const bool legal = call.legal.count(id) != 0 && (!twice || id == 0x26);
                const Error error = call.make(s, view(block));
                CHECK(name(error) == (legal ? "ok" : "invalid properties"));
                if (!legal) {
                    s.untouched();
                    continue;
                }
                s.run();
                CHECK(s.port.from_client.find(block) != std::string::npos);
            }
}

TEST_CASE("MQTT 5 [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.7-1] malformed properties are refused by each call before a byte is queued") {
    const std::vector<std::string> blocks = {
        bytes({0x00}), bytes({0x04, 0}), bytes({0x7F}), bytes({0x80}), bytes({0xFF, 0xFF}), bytes({0x2B, 0}),
        bytes({0xA6, 0x00, 0, 1, 'a', 0, 1, 'b'}), bytes({0x26}), bytes({0x26, 0}), bytes({0x26, 0, 1}),
        bytes({0x26, 0, 1, 'a'}), bytes({0x26, 0, 1, 'a', 0}), bytes({0x26, 0, 1, 'a', 0, 1}),
        bytes({0x26, 0, 1, 'a', 0xFF, 0xFF, 'b'}), bytes({0x26, 0, 1, 0xFF, 0, 1, 'b'}), bytes({0x26, 0, 1, 'a', 0, 1, 0xFF}),
        bytes({0x26, 0, 1, 0, 0, 1, 'b'}), bytes({0x26, 0, 3, 0xED, 0xA0, 0x80, 0, 1, 'b'}),
        bytes({0x26, 0, 1, 'a', 0, 1, 'b', 0}), bytes({0x26, 0, 1, 'a', 0, 1, 'b', 0x26, 0}),
    };
    for (const Call& call : calls())
        for (const std::string& block : blocks) {
            CAPTURE(std::string(call.what));
            CAPTURE(hex(block));
            // In a block of its own, so that not a byte behind it is read.
            const std::string whole = call.before + block;
            const std::unique_ptr<uint8_t[]> memory(new uint8_t[whole.size()]);
            memcpy(memory.get(), whole.data(), whole.size());
            Caller s;
            CHECK(name(call.make(s, Properties(memory.get(), whole.size()))) == "invalid properties");
            s.untouched();
        }
    // What has a range.
    struct {
        size_t call;
        std::string block;
    } const ranges[] = {{0, bytes({0x01, 2})},
                        {1, bytes({0x01, 255})},
                        {0, bytes({0x08, 0, 0})},
                        {1, bytes({0x08, 0, 1, '#'})},
                        {2, bytes({0x08, 0, 3, 'a', '/', '+'})},
                        {3, bytes({0x08, 0, 1, 0xFF})},
                        {0, bytes({0x03, 0, 1, 0})},
                        {1, bytes({0x03, 0, 1, 0x80})},
                        {0, bytes({0x02, 0, 0, 0})},
                        {4, bytes({0x0B, 0})},
                        {4, bytes({0x0B, 0x80, 0x00})},
                        {4, bytes({0x0B, 0x80, 0x80, 0x80, 0x80, 0x01})},
                        {4, bytes({0x0B, 0x80})},
                        {6, bytes({0x1F, 0, 1, 0xFF})}};
    for (const auto& row : ranges) {
        CAPTURE(hex(row.block));
        Caller s;
        CHECK(name(calls()[row.call].make(s, view(row.block))) == "invalid properties");
        s.untouched();
    }
}

TEST_CASE("MQTT 5 a PropertyBuffer that was too small is refused by each call, by whatever it was exceeded") {
    for (const Call& call : calls()) {
        CAPTURE(std::string(call.what));
        PropertyBuffer<6> one_less;   // a user property "a" = "b" takes 7
        one_less.add(prop::user_property, {"a", "b"});
        CHECK_FALSE(one_less.ok());
        CHECK(one_less.size() == 7);
        PropertyBuffer<20> too_many;
        for (int i = 0; i < 3; ++i) too_many.add(prop::user_property, {"a", "b"});
        CHECK_FALSE(too_many.ok());
        PropertyBuffer<10> then_small;   // once too small, it stays so
        then_small.add(prop::user_property, {"a", "bcdefghijklm"}).add(prop::payload_format_indicator, 1);
        const std::string endless(65536, 'e');
        PropertyBuffer<70000> too_long;
        too_long.add(prop::user_property, {"a", endless});
        CHECK_FALSE(too_long.ok());
        for (const Properties& p : {Properties(one_less), Properties(too_many), Properties(then_small), Properties(too_long)}) {
            Caller s;
            CHECK(name(call.make(s, p)) == "invalid properties");
            s.untouched();
        }
        one_less.clear();
        CHECK(one_less.ok());
    }
    PropertyBuffer<7> exact;
    exact.add(prop::user_property, {"a", "b"});
    CHECK(exact.ok());
    Caller s;
    CHECK(s.client.publish("t", "x", qos1, Retain::no, exact).packet_id == 1);
    s.expects(packet(0x32, text("t") + bytes({0, 1, 7, 0x26, 0, 1, 'a', 0, 1, 'b', 'x'})));
}

TEST_CASE("MQTT 5 disconnect() does not prolong a session that ends with the connection, nor has it a server reference, and nothing is queued then") {
    Session5 s;   // a clean one
    s.connect();
    PropertyBuffer<8> p;
    p.add(prop::session_expiry_interval, 1);
    CHECK(name(s.client.disconnect(mqtt::ReasonCode::success, p).error) == "invalid properties");
    CHECK(name(s.client.disconnect(mqtt::ReasonCode::success, view(each_property().at(0x1C))).error) == "invalid properties");
    for (const int reason : {0x01, 0x10, 0x84, 0x91, 0xFF})
        CHECK(name(s.client.disconnect(static_cast<mqtt::ReasonCode>(reason)).error) == "invalid argument");
    s.quiet();
    CHECK(s.client.connected());
    CHECK(s.client.disconnect(mqtt::ReasonCode::success, view(bytes({0x11, 0, 0, 0, 0}))).ok());
    s.expects({0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0});
}

TEST_CASE("MQTT 5 wrong properties are refused without a connection, too, and none is left out instead") {
    Session5 s;
    REQUIRE(s.client.connect(s.options).ok());
    for (const int id : {0x23, 0x0B, 0x1F}) {
        CHECK(name(s.client.publish("topic", "x", qos1, Retain::no, view(each_property().at(id))).error) == "invalid properties");
        CHECK(name(s.client.subscribe("f", qos1, view(each_property().at(id) + each_property().at(id))).error) ==
              "invalid properties");
        CHECK(name(s.client.unsubscribe("f", view(each_property().at(id))).error) == "invalid properties");
    }
    s.accept();
    s.quiet();
}
