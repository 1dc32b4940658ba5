// A server that sends what it must not, and networks that cut packets anywhere.
#include "tests/support/peer.hpp"
#include "tests/support/testing.hpp"

#include <memory>

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::hex;
using test::Session;

namespace {

std::string name(Error error) { return mqtt::to_string(error); }

struct Bad {
    std::string what;
    std::string sent;
    Error error;
};
using List = std::vector<Bad>;

constexpr Error malformed = Error::malformed_packet, out_of_place = Error::protocol_error;

// Wrong in every state. `first` is a packet that may come.
List malformed_packets(int first) {
    List list = {
        {"reserved type 0", bytes({0x00, 0}), malformed},
        {"reserved type 0, only the first byte", bytes({0x0F}), malformed},
        {"reserved type 15", bytes({0xF0, 0}), malformed},
        {"reserved type 15, flags", bytes({0xFF}), malformed},
        {"length of five bytes", bytes({first, 0x80, 0x80, 0x80, 0x80, 0x01}), malformed},
        {"length of five bytes, the fifth has not come", bytes({first, 0xFF, 0xFF, 0xFF, 0xFF}), malformed},
        {"length 0 in two bytes", bytes({first, 0x80, 0x00}), malformed},
        {"length 2 in two bytes", bytes({first, 0x82, 0x00, 0, 1}), malformed},
        {"length 2 in three bytes", bytes({first, 0x82, 0x80, 0x00, 0, 1}), malformed},
        {"length 2 in four bytes", bytes({first, 0x82, 0x80, 0x80, 0x00, 0, 1}), malformed},
    };
    // Flags that a type must not have: table 2.2.
    for (int type = 1; type < 15; ++type) {
        if (type == 3) continue;
        const int right = type == 6 || type == 8 || type == 10 ? 2 : 0;
        for (int flags = 0; flags < 16; ++flags)
            if (flags != right) list.push_back({"flags", bytes({type << 4 | flags, 2, 0, 1}), malformed});
    }
    for (const int qos : {0x36, 0x37, 0x3E, 0x3F}) list.push_back({"QoS 3", bytes({qos, 5, 0, 1, 't', 0, 1}), malformed});
    for (const int dup : {0x38, 0x39}) list.push_back({"DUP with QoS 0", bytes({dup, 3, 0, 1, 't'}), malformed});
    return list;
}

// Well-formed, but not from a server, or not now.
List misplaced_packets() {
    return {
        {"CONNECT", bytes({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 1, 'c'}), out_of_place},
        {"CONNECT, only the first byte", bytes({0x10}), out_of_place},
        {"SUBSCRIBE", bytes({0x82, 6, 0, 1, 0, 1, 'f', 0}), out_of_place},
        {"UNSUBSCRIBE", bytes({0xA2, 5, 0, 1, 0, 1, 'f'}), out_of_place},
        {"PINGREQ", bytes({0xC0, 0}), out_of_place},
        {"DISCONNECT", bytes({0xE0, 0}), out_of_place},
    };
}

List before_connack() {
    List list = malformed_packets(0x20);
    for (Bad& bad : misplaced_packets()) list.push_back(bad);
    const List more = {
        {"PUBLISH QoS 0", bytes({0x30, 4, 0, 1, 't', 'x'}), out_of_place},
        {"PUBLISH QoS 1", bytes({0x32, 6, 0, 1, 't', 0, 1, 'x'}), out_of_place},
        {"PUBLISH QoS 2", bytes({0x34, 6, 0, 1, 't', 0, 1, 'x'}), out_of_place},
        {"PUBACK", bytes({0x40, 2, 0, 1}), out_of_place},
        {"PUBREC", bytes({0x50, 2, 0, 2}), out_of_place},
        {"PUBREL", bytes({0x62, 2, 0, 1}), out_of_place},
        {"PUBCOMP", bytes({0x70, 2, 0, 2}), out_of_place},
        {"SUBACK", bytes({0x90, 3, 0, 3, 0}), out_of_place},
        {"UNSUBACK", bytes({0xB0, 2, 0, 4}), out_of_place},
        {"PINGRESP", bytes({0xD0, 0}), out_of_place},
        {"CONNACK of length 0", bytes({0x20, 0}), malformed},
        {"CONNACK of length 1", bytes({0x20, 1, 0}), malformed},
        {"CONNACK of length 3", bytes({0x20, 3, 0, 0, 0}), malformed},
        {"CONNACK with a reserved flag", bytes({0x20, 2, 2, 0}), malformed},
        {"CONNACK with all flags", bytes({0x20, 2, 0xFF, 0}), malformed},
        {"CONNACK with code 6", bytes({0x20, 2, 0, 6}), malformed},
        {"CONNACK with code 255", bytes({0x20, 2, 0, 0xFF}), malformed},
        {"CONNACK that refuses and has a session", bytes({0x20, 2, 1, 5}), malformed},
        {"CONNACK larger than rx", bytes({0x20, 0xFF, 0x7F}), Error::oversize_packet},
    };
    list.insert(list.end(), more.begin(), more.end());
    return list;
}

// The client has unanswered: QoS 1 with id 1, QoS 2 with id 2, SUBSCRIBE of two filters with id 3, UNSUBSCRIBE with id 4,
// QoS 2 released with id 5.
List while_connected() {
    List list = malformed_packets(0x40);
    for (Bad& bad : malformed_packets(0x30)) list.push_back(bad);
    for (Bad& bad : malformed_packets(0x90)) list.push_back(bad);
    for (Bad& bad : misplaced_packets()) list.push_back(bad);
    const List more = {
        {"a second CONNACK", bytes({0x20, 2, 0, 0}), out_of_place},
        {"a second CONNACK that refuses", bytes({0x20, 2, 0, 5}), out_of_place},
        {"PUBLISH without topic", bytes({0x30, 0}), malformed},
        {"PUBLISH with half a topic length", bytes({0x30, 1, 0}), malformed},
        {"PUBLISH with an empty topic", bytes({0x30, 2, 0, 0}), malformed},
        {"PUBLISH with a topic beyond the packet", bytes({0x30, 4, 0, 3, 't', 't'}), malformed},
        {"PUBLISH with a topic far beyond the packet", bytes({0x30, 4, 0xFF, 0xFF, 't', 't'}), malformed},
        {"PUBLISH QoS 1 without id", bytes({0x32, 3, 0, 1, 't'}), malformed},
        {"PUBLISH QoS 1 with half an id", bytes({0x32, 4, 0, 1, 't', 0}), malformed},
        {"PUBLISH QoS 1 with id 0", bytes({0x32, 6, 0, 1, 't', 0, 0, 'x'}), malformed},
        {"PUBLISH QoS 2 with id 0", bytes({0x34, 6, 0, 1, 't', 0, 0, 'x'}), malformed},
        {"PUBLISH with topic +", bytes({0x30, 3, 0, 1, '+'}), malformed},
        {"PUBLISH with topic a/#", bytes({0x32, 7, 0, 3, 'a', '/', '#', 0, 1}), malformed},
        {"PUBLISH with a+b", bytes({0x34, 7, 0, 3, 'a', '+', 'b', 0, 1}), malformed},
        {"PUBLISH with U+0000", bytes({0x30, 5, 0, 3, 'a', 0, 'b'}), malformed},
        {"PUBLISH with overlong UTF-8", bytes({0x30, 4, 0, 2, 0xC0, 0x80}), malformed},
        {"PUBLISH with a surrogate", bytes({0x30, 5, 0, 3, 0xED, 0xA0, 0x80}), malformed},
        {"PUBLISH with a lone continuation", bytes({0x30, 3, 0, 1, 0x80}), malformed},
        {"PUBLISH with a cut character", bytes({0x30, 4, 0, 2, 't', 0xE2}), malformed},
        {"PUBLISH beyond U+10FFFF", bytes({0x30, 6, 0, 4, 0xF4, 0x90, 0x80, 0x80}), malformed},
        {"PUBACK of length 0", bytes({0x40, 0}), malformed},
        {"PUBACK of length 1", bytes({0x40, 1, 0}), malformed},
        {"PUBACK of length 3", bytes({0x40, 3, 0, 1, 0}), malformed},
        {"PUBACK with id 0", bytes({0x40, 2, 0, 0}), malformed},
        {"PUBREC of length 1", bytes({0x50, 1, 0}), malformed},
        {"PUBREC of length 4", bytes({0x50, 4, 0, 2, 0, 0}), malformed},
        {"PUBREC with id 0", bytes({0x50, 2, 0, 0}), malformed},
        {"PUBREL of length 0", bytes({0x62, 0}), malformed},
        {"PUBREL of length 3", bytes({0x62, 3, 0, 1, 0}), malformed},
        {"PUBREL with id 0", bytes({0x62, 2, 0, 0}), malformed},
        {"PUBCOMP of length 1", bytes({0x70, 1, 0}), malformed},
        {"PUBCOMP of length 3", bytes({0x70, 3, 0, 5, 0}), malformed},
        {"PUBCOMP with id 0", bytes({0x70, 2, 0, 0}), malformed},
        {"SUBACK of length 0", bytes({0x90, 0}), malformed},
        {"SUBACK of length 1", bytes({0x90, 1, 0}), malformed},
        {"SUBACK without codes", bytes({0x90, 2, 0, 3}), malformed},
        {"SUBACK with id 0", bytes({0x90, 4, 0, 0, 0, 0}), malformed},
        {"SUBACK with code 3", bytes({0x90, 4, 0, 3, 0, 3}), malformed},
        {"SUBACK with code 0x7F", bytes({0x90, 4, 0, 3, 0x7F, 0}), malformed},
        {"SUBACK with code 0x81", bytes({0x90, 4, 0, 3, 0, 0x81}), malformed},
        {"SUBACK with code 0xFF", bytes({0x90, 4, 0, 3, 0xFF, 0}), malformed},
        {"SUBACK with too few codes", bytes({0x90, 3, 0, 3, 0}), out_of_place},
        {"SUBACK with too many codes", bytes({0x90, 5, 0, 3, 0, 0, 0}), out_of_place},
        {"UNSUBACK of length 0", bytes({0xB0, 0}), malformed},
        {"UNSUBACK of length 3", bytes({0xB0, 3, 0, 4, 0}), malformed},
        {"UNSUBACK with id 0", bytes({0xB0, 2, 0, 0}), malformed},
        {"PINGRESP of length 1", bytes({0xD0, 1, 0}), malformed},
        {"PUBACK for a QoS 2 message", bytes({0x40, 2, 0, 2}), out_of_place},
        {"PUBREC for a QoS 1 message", bytes({0x50, 2, 0, 1}), out_of_place},
        {"PUBCOMP for a QoS 1 message", bytes({0x70, 2, 0, 1}), out_of_place},
        {"PUBCOMP before PUBREC", bytes({0x70, 2, 0, 2}), out_of_place},
        {"PUBACK for a PUBREL", bytes({0x40, 2, 0, 5}), out_of_place},
        {"PUBACK for a SUBSCRIBE", bytes({0x40, 2, 0, 3}), out_of_place},
        {"PUBCOMP for a SUBSCRIBE", bytes({0x70, 2, 0, 3}), out_of_place},
        {"SUBACK for a message", bytes({0x90, 3, 0, 1, 0}), out_of_place},
        {"SUBACK for an UNSUBSCRIBE", bytes({0x90, 3, 0, 4, 0}), out_of_place},
        {"UNSUBACK for a SUBSCRIBE", bytes({0xB0, 2, 0, 3}), out_of_place},
        {"UNSUBACK for a message", bytes({0xB0, 2, 0, 2}), out_of_place},
        {"SUBACK larger than rx", bytes({0x90, 0x81, 0x02, 0, 3}), Error::oversize_packet},
        {"PUBACK larger than rx", bytes({0x40, 0xFF, 0x7F}), Error::oversize_packet},
        {"UNSUBACK of the largest length", bytes({0xB0, 0xFF, 0xFF, 0xFF, 0x7F}), Error::oversize_packet},
        {"PINGRESP of the largest length", bytes({0xD0, 0xFF, 0xFF, 0xFF, 0x7F}), Error::oversize_packet},
    };
    list.insert(list.end(), more.begin(), more.end());
    return list;
}

// What `while_connected` says; all of it is written.
void fill(Session& s) {
    s.options.clean_session = false;
    s.connect();
    s.run();
    s.waiting.clear();
    CHECK(s.client.publish("p", "1", QoS::at_least_once).packet_id == 1);
    CHECK(s.client.publish("p", "2", QoS::exactly_once).packet_id == 2);
    CHECK(s.client.subscribe({{"f", QoS::at_least_once}, {"g", QoS::exactly_once}}).packet_id == 3);
    CHECK(s.client.unsubscribe("h").packet_id == 4);
    CHECK(s.client.publish("p", "5", QoS::exactly_once).packet_id == 5);
    s.expects({0x32, 6, 0, 1, 'p', 0, 1, '1', 0x34, 6, 0, 1, 'p', 0, 2, '2', 0x82, 10, 0, 3, 0, 1, 'f', 1,
               0,    1, 'g', 2, 0xA2, 5, 0, 4, 0, 1, 'h', 0x34, 6, 0, 1, 'p', 0, 5, '5'});
    s.sends({0x50, 2, 0, 5});
    (void)s.expect_event(Event::pubrec);
    s.expects({0x62, 2, 0, 5});
}
// On the next connection everything is there, and ends well.
void nothing_lost(Session& s) {
    s.port.read_limit = SIZE_MAX;
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(true);
    s.expects({0x3A, 6, 0, 1, 'p', 0, 1, '1', 0x3C, 6, 0, 1, 'p', 0, 2, '2', 0x82, 10, 0, 3, 0, 1, 'f', 1,
               0,    1, 'g', 2, 0xA2, 5, 0, 4, 0, 1, 'h', 0x62, 2, 0, 5});
    s.sends({0x40, 2, 0, 1, 0x50, 2, 0, 2, 0x90, 4, 0, 3, 0, 0x80, 0xB0, 2, 0, 4, 0x70, 2, 0, 5});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    CHECK(s.expect_event(Event::pubrec).packet_id == 2);
    const Event subscribed = s.expect_event(Event::subscribed);
    CHECK(subscribed.packet_id == 3);
    CHECK(subscribed.reason_codes.size() == 2);
    CHECK(s.expect_event(Event::unsubscribed).packet_id == 4);
    CHECK(s.expect_event(Event::acknowledged).packet_id == 5);
    s.expects({0x62, 2, 0, 2});
    s.sends({0x70, 2, 0, 2, 0x32, 6, 0, 1, 't', 0, 9, 'x'});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
    CHECK(s.expect_event(Event::received).message.packet_id == 9);
    s.expects({0x40, 2, 0, 9});
    s.quiet();
}
void ends_with(Session& s, Error error) {
    const Event event = s.expect_event(Event::disconnected);
    CHECK(name(event.error) == name(error));
    CHECK(mqtt::fault(event.error) == mqtt::Fault::server);
    CHECK(!s.port.is_open);
    CHECK(!s.client.connected());
    s.quiet();   // once
}

}  // namespace

TEST_CASE("[MQTT-3.2.0-1] [MQTT-4.8.0-1] [MQTT-2.2.2-2] [MQTT-3.2.2-4] whatever is wrong before CONNACK closes the connection, is told once by its name, and the client reconnects") {
    for (const Bad& bad : before_connack())
        for (const bool piecewise : {false, true}) {
            CAPTURE(bad.what);
            CAPTURE(hex(bad.sent));
            CAPTURE(piecewise);
            Session s;
            REQUIRE(s.client.connect(s.options).ok());
            s.run();
            s.port.from_client.clear();
            if (piecewise) s.port.read_limit = 1;
            s.sends(bad.sent);
            s.sends({0x20, 2, 0, 0, 0x30, 4, 0, 1, 't', 'x'});   // too late
            ends_with(s, bad.error);
            s.port.read_limit = SIZE_MAX;
            s.port.clock += s.options.reconnect_max_ms;
            s.accept();
            s.quiet();
        }
}

TEST_CASE("[MQTT-4.8.0-1] [MQTT-2.2.2-2] [MQTT-3.3.1-4] [MQTT-3.9.3-2] [MQTT-3.6.1-1] [MQTT-3.8.4-5] [MQTT-3.3.2-2] [MQTT-1.5.3-1] [MQTT-1.5.3-2] whatever a server sends wrong closes the connection, is told once by its name, and nothing is lost") {
    for (const Bad& bad : while_connected())
        for (const bool piecewise : {false, true}) {
            CAPTURE(bad.what);
            CAPTURE(hex(bad.sent));
            CAPTURE(piecewise);
            Session s;
            fill(s);
            if (piecewise) s.port.read_limit = 1;
            s.sends(bad.sent);
            s.sends({0x30, 4, 0, 1, 't', 'x', 0x40, 2, 0, 1});   // nobody listens any more
            ends_with(s, bad.error);
            nothing_lost(s);
        }
}

TEST_CASE("[MQTT-4.8.0-1] what came before the wrong packet counts") {
    Session s;
    fill(s);
    s.sends({0x40, 2, 0, 1, 0x30, 4, 0, 1, 't', 'x', 0x32, 6, 0, 1, 't', 0, 7, 'y', 0xC0, 0, 0x30, 4, 0, 1, 't', 'z'});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    CHECK(s.expect_event(Event::received).message.payload.text() == "x");
    CHECK(s.expect_event(Event::received).message.payload.text() == "y");
    const Event event = s.expect_event(Event::disconnected);
    CHECK(name(event.error) == "protocol error");
    s.quiet();
}

TEST_CASE("[MQTT-3.2.2-1] a session for a client that asked for a clean one is a violation") {
    Session s;
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    s.port.from_client.clear();
    s.sends({0x20, 2, 1, 0});
    ends_with(s, Error::protocol_error);
}

TEST_CASE("[MQTT-4.8.0-1] a malformed message that is larger than rx closes the connection, and nothing of it is delivered") {
    struct Large {
        std::string what;
        std::string head;
    };
    const std::string long_topic(120, 't');
    const Large list[] = {
        {"topic beyond the packet", bytes({0x30, 0xE8, 0x07, 0x03, 0xE7, 't'})},
        {"QoS 1 id beyond the packet", bytes({0x32, 0xE8, 0x07, 0x03, 0xE5, 't'})},
        {"empty topic", bytes({0x30, 0xE8, 0x07, 0, 0})},
        {"wildcard", bytes({0x30, 0xE8, 0x07, 0, 1, '#'})},
        {"U+0000", bytes({0x32, 0xE8, 0x07, 0, 1, 0, 0, 1})},
        {"not UTF-8", bytes({0x34, 0xE8, 0x07, 0, 1, 0xFF, 0, 1})},
        {"id 0", bytes({0x32, 0xE8, 0x07, 0, 1, 't', 0, 0})},
        {"id 0 behind a topic that does not fit", bytes({0x34, 0xE8, 0x07, 0, 120}) + long_topic + bytes({0, 0})},
    };
    for (const Large& large : list)
        for (const size_t piece : {1U, 7U, 64U, 5000U}) {
            CAPTURE(large.what);
            CAPTURE(piece);
            Session s(64);
            fill(s);
            s.port.read_limit = piece;
            s.sends(large.head);
            s.sends(std::string(1003 - large.head.size(), 'x'));
            ends_with(s, Error::malformed_packet);
            nothing_lost(s);
        }
}

TEST_CASE("[MQTT-4.8.0-2] a server that leaves more QoS 2 messages open than there is memory for is disconnected") {
    for (const uint16_t maximum : {uint16_t{1}, uint16_t{2}, uint16_t{20}}) {
        CAPTURE(maximum);
        Session s(256, 1024, maximum);
        fill(s);
        std::string answers;
        for (int id = 1; id <= maximum; ++id) {
            s.sends({0x34, 6, 0, 1, 't', 0, id, 'x'});
            CHECK(s.expect_event(Event::received).message.packet_id == id);
            answers += bytes({0x50, 2, 0, id});
        }
        s.expects(answers);
        s.sends({0x34, 6, 0, 1, 't', 0, maximum, 'x'});   // again: known
        s.expects({0x50, 2, 0, maximum});
        s.sends({0x34, 6, 0, 1, 't', 0, 200, 'x'});
        s.quiet();
        s.pass(9999);   // so that it sees what we have answered, and releases something on the next connection
        s.quiet();
        s.pass(1);
        ends_with(s, Error::receive_maximum_exceeded);
        // Its messages are known on the next connection, and what is released makes room.
        s.port.clock += s.options.reconnect_max_ms;
        s.accept(true);
        s.port.from_client.clear();
        s.run();
        s.port.from_client.clear();
        for (int id = 1; id <= maximum; ++id) s.sends({0x34, 6, 0, 1, 't', 0, id, 'x'});
        s.expects(answers);
        s.sends({0x62, 2, 0, 1, 0x34, 6, 0, 1, 't', 0, 200, 'x'});
        CHECK(s.expect_event(Event::pubrel).packet_id == 1);
        CHECK(s.expect_event(Event::received).message.packet_id == 200);
        s.expects({0x70, 2, 0, 1, 0x50, 2, 0, 200});
    }
}

namespace {

std::string told(const Event& event) {   // all of it, in a form that can be compared
    std::string text = std::to_string(event.kind) + ' ' + mqtt::to_string(event.error) + ' ' +
                       std::to_string(static_cast<int>(event.reason)) + ' ' + std::to_string(event.session_present) + ' ' +
                       std::to_string(event.packet_id) + ' ' + hex(event.reason_codes.text());
    if (event.kind == Event::received) {
        const mqtt::Message& m = event.message;
        text += hex(m.topic) + "| " + hex(m.payload.text()) + ' ' + std::to_string(m.offset) + '/' + std::to_string(m.total) +
                ' ' + std::to_string(static_cast<int>(m.qos)) + std::to_string(m.retain) + std::to_string(m.duplicate);
    }
    return text + '\n';
}
std::string all_told(Session& s) {
    std::string text;
    for (Event event = s.next(); event.kind != Event::none; event = s.next()) text += told(event);
    return text;
}

// One of each that a server may send while `fill` is unanswered.
const std::vector<std::string>& valid_packets() {
    static const std::vector<std::string> list = {
        bytes({0x30, 3, 0, 1, 't'}),
        bytes({0x31, 9, 0, 3, 'a', '/', 'b', 1, 2, 3, 4}),
        bytes({0x32, 6, 0, 1, 't', 0, 10, 'x'}),
        bytes({0x34, 6, 0, 1, 't', 0, 11, 'y'}),
        bytes({0x3D, 6, 0, 1, 't', 0, 12, 'z'}),
        bytes({0x32, 0x80, 0x01, 0, 1, 't', 0, 13}) + std::string(123, 'w'),   // a length of two bytes
        bytes({0x40, 2, 0, 1}),
        bytes({0x50, 2, 0, 2}),
        bytes({0x90, 4, 0, 3, 1, 0x80}),
        bytes({0xB0, 2, 0, 4}),
        bytes({0x70, 2, 0, 5}),
        bytes({0x62, 2, 0, 11}),
        bytes({0x62, 2, 0, 99}),
        bytes({0x40, 2, 0, 99}),   // for nothing: passed over
        bytes({0xD0, 0}),
    };
    return list;
}

struct Outcome {
    std::string events, written;
};
Outcome outcome(const std::vector<std::string>& pieces, size_t rx = 256) {
    Session s(rx);
    fill(s);
    Outcome out;
    for (const std::string& piece : pieces) {
        s.sends(piece);
        out.events += all_told(s);
    }
    s.run();
    CHECK(s.port.is_open);
    out.written = s.port.from_client;
    return out;
}

}  // namespace

TEST_CASE("[MQTT-7.1.2-1] every valid packet gives the same events and the same answers in one piece, byte by byte, and at every split in two") {
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
}

TEST_CASE("the golden answers to all valid packets at once") {
    std::string all;
    for (const std::string& packet : valid_packets()) all += packet;
    CHECK(hex(outcome({all}).written) ==
          hex(bytes({0x40, 2, 0, 10, 0x50, 2, 0, 11, 0x50, 2, 0, 12, 0x40, 2, 0, 13, 0x62, 2, 0, 2, 0x70, 2, 0, 11,
                     0x70, 2, 0, 99})));
}

TEST_CASE("CONNACK gives the same in every piece") {
    for (size_t i = 0; i <= 4; ++i) {
        Session s;
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        s.port.from_client.clear();
        const std::string connack = bytes({0x20, 2, 0, 0});
        s.sends(connack.substr(0, i));
        s.run();
        CHECK(s.client.connected() == (i == 4));
        s.sends(connack.substr(i));
        (void)s.expect_event(Event::connected);
        s.quiet();
    }
}

TEST_CASE("[MQTT-4.8.0-2] every valid packet cut short at each length by the end of the connection delivers nothing and loses nothing") {
    for (const std::string& packet : valid_packets())
        for (size_t size = 0; size < packet.size(); ++size) {
            CAPTURE(hex(packet));
            CAPTURE(size);
            Session s;
            fill(s);
            s.sends(packet.substr(0, size));
            s.port.cut = true;
            const Event event = s.expect_event(Event::disconnected);
            CHECK(name(event.error) == "connection lost");
            s.quiet();
            nothing_lost(s);
        }
}

TEST_CASE("a packet cut short without the end of the connection delivers nothing until the rest comes") {
    for (const std::string& packet : valid_packets())
        for (size_t size = 1; size < packet.size(); ++size) {
            Session s;
            fill(s);
            s.sends(packet.substr(0, size));
            s.quiet();
            s.port.clock += 50000;
            s.quiet();
        }
}

namespace {

// Faster than test::ScriptedPort: a hundred thousand clients of it.
struct Wire {
    const uint8_t* data = nullptr;
    size_t left = 0, piece = SIZE_MAX, taken = SIZE_MAX;
    bool is_open = false, cut = false;
    size_t faults = 0, writes = 0;
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
        ++writes;
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

// A client with unanswered packets, in memory blocks of an exact size, and a server that sends `stream`. Returns what is
// wrong with what happens, or nullptr.
const char* survives(const std::string& stream, Random& random) {
    const size_t rx_size = 15 + random.below(random.below(4) == 0 ? 300 : 30);
    const size_t tx_size = 60 + 16 + 30 + random.below(100);
    const std::unique_ptr<uint8_t[]> rx(new uint8_t[rx_size]), tx(new uint8_t[tx_size]);
    const std::unique_ptr<uint8_t[]> input(new uint8_t[stream.size() + 1]);
    memcpy(input.get(), stream.data(), stream.size());
    Wire wire;
    if (random.below(2) == 0) wire.piece = 1 + random.below(20);
    if (random.below(4) == 0) wire.taken = 1 + random.below(5);
    mqtt::ConnectOptions options;
    options.client_id = "c";
    options.clean_session = random.below(2) == 0;
    options.manual_ack = random.below(4) == 0;
    mqtt::Client<Wire> client(wire, {{rx.get(), rx_size}, {tx.get(), tx_size}, static_cast<uint16_t>(1 + random.below(20))});
    if (!client.connect(options).ok()) return "connect";
    (void)client.publish("t", "x", QoS::at_least_once);
    (void)client.publish("t", "x", QoS::exactly_once);
    (void)client.subscribe("t", QoS::exactly_once);
    (void)client.unsubscribe("t");
    for (int i = 0; i < 40 && wire.out.size() < 15; ++i)
        if (client.poll().kind != Event::none) return "an event before CONNACK";
    if (wire.out.size() < 15) return "CONNECT is not written";
    const uint8_t connack[] = {0x20, 2, 0, 0};
    const bool early = random.below(8) == 0;
    if (!early) {
        wire.data = connack;
        wire.left = sizeof connack;
        int polls = 0;
        while (client.poll().kind != Event::connected)
            if (++polls > 20) return "CONNACK is not told";
    }
    wire.data = input.get();
    wire.left = stream.size();
    size_t disconnected = 0;
    uint16_t open = 0;
    const size_t limit = 200 + 20 * stream.size();
    for (size_t polls = 0; wire.is_open && (wire.left != 0 || client.idle_ms() == 0); ++polls) {
        const Event event = client.poll();
        if (event.kind == Event::received) {
            const mqtt::Message& m = event.message;
            if (!mqtt::valid_topic(m.topic)) return "an invalid topic is delivered";
            const uint8_t* const topic = reinterpret_cast<const uint8_t*>(m.topic.data());
            if (topic < rx.get() || topic + m.topic.size() > rx.get() + rx_size) return "a topic outside rx";
            if (m.payload.data() < rx.get() || m.payload.end() > rx.get() + rx_size) return "a payload outside rx";
            if (m.offset + m.payload.size() > m.total) return "more than its total";
            if ((m.qos == QoS::at_most_once) != (m.packet_id == 0)) return "a wrong packet id";
            if (m.complete() && m.qos != QoS::at_most_once) open = m.packet_id;
        }
        if (event.kind == Event::disconnected) {
            ++disconnected;
            if (mqtt::fault(event.error) != mqtt::Fault::server) return mqtt::to_string(event.error);
        }
        if (event.kind == Event::none && options.manual_ack && open != 0) {
            (void)client.acknowledge(open);
            open = 0;
        }
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
        if (client.poll().kind != Event::none) return "an event while it reconnects";
        if (polls > 20) return "it does not reconnect";
    }
    wire.data = connack;
    wire.left = sizeof connack;
    for (int polls = 0; client.poll().kind != Event::connected; ++polls)
        if (polls > 20) return "it does not work any more";
    return wire.faults == 0 ? nullptr : "the port is used when it is closed";
}

}  // namespace

TEST_CASE("random bytes from the server: nothing outside the buffers is touched, everything ends, and the client works again") {
    const size_t runs = testing::long_run() ? 2000000 : 60000;
    for (size_t seed = 1; seed <= runs; ++seed) {
        Random random{seed};
        std::string stream(1 + random.below(80), '\0');
        for (char& c : stream) c = static_cast<char>(random.next());
        // Often something that begins like a packet.
        if (random.below(3) != 0) {
            stream[0] = static_cast<char>(random.below(2) == 0 ? 0x30 | random.below(6) : random.next());
            if (stream.size() > 2) stream[1] = static_cast<char>(random.below(stream.size()));
            if (stream.size() > 4) stream[2] = 0, stream[3] = static_cast<char>(random.below(40));
        }
        const char* const wrong = survives(stream, random);
        if (wrong == nullptr) continue;
        CAPTURE(seed);
        FAIL(wrong);
    }
}

TEST_CASE("mutated streams of valid packets: nothing outside the buffers is touched, everything ends, and the client works again") {
    const size_t runs = testing::long_run() ? 2000000 : 60000;
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
        FAIL(wrong);
    }
}
