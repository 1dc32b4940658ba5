// MQTT 5: SUBSCRIBE and UNSUBSCRIBE with options, identifiers and properties, what a server may answer, shared
// subscriptions, subscription identifiers in messages, and what a server may say without being asked.

#include "tests/support/peer5.hpp"

#include <set>

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::PropertyBuffer;
using mqtt::QoS;
using mqtt::RetainHandling;
using mqtt::Subscription;
using test::bytes;
using test::hex;
using test::packet;
using test::Session5;
using test::text;
namespace prop = mqtt::prop;

constexpr QoS qos0 = QoS::at_most_once, qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

std::string name(Error error) { return mqtt::to_string(error); }

Subscription wanted(std::string_view filter, QoS qos, bool no_local = false, bool as_published = false,
                    RetainHandling handling = RetainHandling::send) {
    Subscription s;
    s.filter = filter;
    s.qos = qos;
    s.no_local = no_local;
    s.retain_as_published = as_published;
    s.retain_handling = handling;
    return s;
}

struct Connected : Session5 {
    explicit Connected(size_t rx_size = 256, size_t tx_size = 1024) : Session5(rx_size, tx_size) {
        options.clean_session = false;
        connect();
        run();
    }
    // The codes that the next event tells, which has to be `subscribed` or `unsubscribed` for this id.
    std::string codes(Event::Kind kind, int id) {
        const Event event = expect_event(kind);
        CHECK(event.packet_id == id);
        return std::string(event.reason_codes.text());
    }
    std::string subscribed(int id) { return codes(Event::subscribed, id); }
    std::string unsubscribed(int id) { return codes(Event::unsubscribed, id); }
};

// Section 3.9.3 and 3.11.3.
const std::set<int> suback_codes = {0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2};
const std::set<int> unsuback_codes = {0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91};

}  // namespace

// -------------------------------------------------------------------------------------------------- what is sent

TEST_CASE("MQTT 5 [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.10.3-1] [MQTT-3.10.3-2] SUBSCRIBE and UNSUBSCRIBE: an id, a property length of 0, and one or several filters, with options or without") {
    Connected s;
    CHECK(s.client.subscribe("a/+", qos2).packet_id == 1);
    s.expects({0x82, 9, 0, 1, 0, 0, 3, 'a', '/', '+', 2});
    CHECK(s.client.subscribe({{"a", qos0}, {"b/#", qos1}, {"\xC3\xA4", qos2}}).packet_id == 2);
    s.expects({0x82, 18, 0, 2, 0, 0, 1, 'a', 0, 0, 3, 'b', '/', '#', 1, 0, 2, 0xC3, 0xA4, 2});
    CHECK(s.client.unsubscribe("a/+").packet_id == 3);
    s.expects({0xA2, 8, 0, 3, 0, 0, 3, 'a', '/', '+'});
    CHECK(s.client.unsubscribe({"a", "b/#"}).packet_id == 4);
    s.expects({0xA2, 11, 0, 4, 0, 0, 1, 'a', 0, 3, 'b', '/', '#'});
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-3] [MQTT-3.8.3-5] each subscription option has its bits, and the reserved ones are 0: every combination") {
    Connected s;
    int id = 0;
    for (int qos = 0; qos < 3; ++qos)
        for (int no_local = 0; no_local < 2; ++no_local)
            for (int as_published = 0; as_published < 2; ++as_published)
                for (int handling = 0; handling < 3; ++handling) {
                    const Subscription one = wanted("f", static_cast<QoS>(qos), no_local == 1, as_published == 1,
                                                    static_cast<RetainHandling>(handling));
                    CHECK(s.client.subscribe({one}).packet_id == ++id);
                    s.expects({0x82, 7, 0, id, 0, 0, 1, 'f', qos + 4 * no_local + 8 * as_published + 16 * handling});
                }
    CHECK(s.client
              .subscribe({wanted("a", qos1, true), wanted("b", qos2, false, true),
                          wanted("c", qos0, false, false, RetainHandling::do_not_send),
                          wanted("d", qos1, false, false, RetainHandling::send_if_new)})
              .packet_id == 37);
    s.expects({0x82, 19, 0, 37, 0, 0, 1, 'a', 0x05, 0, 1, 'b', 0x0A, 0, 1, 'c', 0x20, 0, 1, 'd', 0x11});
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-5] options out of their range are refused before a byte is queued") {
    Connected s;
    for (const int qos : {3, 4, 8, 16, 64, 255})
        CHECK(name(s.client.subscribe("f", static_cast<QoS>(qos)).error) == "invalid argument");
    for (const int handling : {3, 4, 16, 255})
        CHECK(name(s.client.subscribe({wanted("f", qos0, false, false, static_cast<RetainHandling>(handling))}).error) ==
              "invalid argument");
    s.quiet();
    CHECK(s.client.subscribe("f", qos0).packet_id == 1);
}

TEST_CASE("MQTT 5 a subscription identifier has one to four bytes, from 1 to 268,435,455") {
    struct {
        uint32_t identifier;
        std::string wire;
    } const list[] = {{1, bytes({1})},
                      {127, bytes({0x7F})},
                      {128, bytes({0x80, 1})},
                      {16383, bytes({0xFF, 0x7F})},
                      {16384, bytes({0x80, 0x80, 1})},
                      {2097151, bytes({0xFF, 0xFF, 0x7F})},
                      {2097152, bytes({0x80, 0x80, 0x80, 1})},
                      {268435455, bytes({0xFF, 0xFF, 0xFF, 0x7F})}};
    for (const auto& row : list) {
        Connected s;
        CHECK(s.client.subscribe("f", qos1, PropertyBuffer<8>().add(prop::subscription_identifier, row.identifier)).packet_id == 1);
        s.expects(packet(0x82, bytes({0, 1}) + test::properties(bytes({0x0B}) + row.wire) + text("f") + bytes({1})));
    }
    Connected s;
    for (const uint32_t wrong : {0U, 268435456U, 0xFFFFFFFFU})
        CHECK(name(s.client.subscribe("f", qos1, PropertyBuffer<8>().add(prop::subscription_identifier, wrong)).error) ==
              "invalid properties");
    CHECK(name(s.client
                   .subscribe("f", qos1,
                              PropertyBuffer<8>().add(prop::subscription_identifier, 1).add(prop::subscription_identifier, 1))
                   .error) == "invalid properties");
    CHECK(name(s.client.unsubscribe("f", PropertyBuffer<8>().add(prop::subscription_identifier, 1)).error) == "invalid properties");
    s.quiet();
}

TEST_CASE("MQTT 5 user properties of SUBSCRIBE and UNSUBSCRIBE are sent in their order, also when the request is sent again") {
    Connected s;
    PropertyBuffer<32> p;
    p.add(prop::user_property, {"a", "1"}).add(prop::user_property, {"a", "2"});
    const std::string user = bytes({0x26, 0, 1, 'a', 0, 1, '1', 0x26, 0, 1, 'a', 0, 1, '2'});
    CHECK(s.client.unsubscribe({"x", "y"}, p).packet_id == 1);
    p.add(prop::subscription_identifier, 300);
    CHECK(s.client.subscribe({wanted("f", qos2, true, true, RetainHandling::send_if_new), wanted("g", qos0)}, p).packet_id == 2);
    const std::string both = packet(0xA2, bytes({0, 1}) + test::properties(user) + text("x") + text("y")) +
                             packet(0x82, bytes({0, 2}) + test::properties(user + bytes({0x0B, 0xAC, 2})) + text("f") +
                                              bytes({0x1E}) + text("g") + bytes({0}));
    s.expects(both);
    for (int i = 0; i < 2; ++i) {
        s.reconnect({}, true);
        s.expects(both);   // byte for byte: SUBSCRIBE has no DUP
    }
    s.sends({0xB0, 5, 0, 1, 0, 0, 0x11, 0x90, 5, 0, 2, 0, 2, 0});
    CHECK(s.unsubscribed(1) == bytes({0, 0x11}));
    CHECK(s.subscribed(2) == bytes({2, 0}));
    s.reconnect({}, true);
    s.quiet();
}

TEST_CASE("MQTT 5 a request that was sent and not answered is dropped with the session, one that was not sent is not") {
    Connected s;
    CHECK(s.client.subscribe("f", qos0, PropertyBuffer<2>().add(prop::subscription_identifier, 1)).packet_id == 1);
    s.run();
    s.lose();
    CHECK(s.client.subscribe("g", qos0, PropertyBuffer<2>().add(prop::subscription_identifier, 2)).packet_id == 2);
    s.reconnect({}, false);
    const Event event = s.expect_event(Event::dropped);
    CHECK(event.packet_id == 1);
    CHECK(name(event.error) == "session lost");
    s.expects({0x82, 9, 0, 2, 2, 0x0B, 2, 0, 1, 'g', 0});
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-1] [MQTT-3.8.3-2] [MQTT-3.10.3-1] [MQTT-3.10.3-2] [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3] an empty list and a filter that is none are refused before a byte is queued") {
    Connected s(256, 70000);
    CHECK(name(s.client.subscribe({}).error) == "invalid argument");
    CHECK(name(s.client.unsubscribe({}).error) == "invalid argument");
    const std::string null("a\0b", 3), endless(65536, 'f');
    for (const std::string& filter : {std::string(), null, endless, std::string("\xFF"), std::string("\xED\xBF\xBF"),
                                      std::string("a#"), std::string("a/#/b"), std::string("#/"), std::string("a+"),
                                      std::string("+a"), std::string("a/+b/c"), std::string("++"), std::string("##")}) {
        CAPTURE(hex(filter.substr(0, 20)));
        CHECK(name(s.client.subscribe(filter, qos0).error) == "invalid filter");
        CHECK(name(s.client.subscribe({{"ok", qos0}, {filter, qos0}}).error) == "invalid filter");
        CHECK(name(s.client.unsubscribe(filter).error) == "invalid filter");
        CHECK(name(s.client.unsubscribe({"ok", filter}).error) == "invalid filter");
    }
    s.quiet();
    int id = 0;
    for (const std::string& filter : {std::string("#"), std::string("+"), std::string("/"), std::string("a/#"),
                                      std::string("+/a/+"), std::string("/+"), std::string("a//b"), endless.substr(1)}) {
        CHECK(s.client.subscribe(filter, qos0).packet_id == ++id);
        s.expects(packet(0x82, bytes({0, id, 0}) + text(filter) + bytes({0})));
        s.sends({0x90, 4, 0, id, 0, 0});
        CHECK(s.subscribed(id) == bytes({0}));
    }
}

// -------------------------------------------------------------------------------------------- shared subscriptions

TEST_CASE("MQTT 5 [MQTT-4.8.2-1] [MQTT-4.8.2-2] a shared subscription has a name without / + #, and a filter behind it") {
    Connected s;
    int id = 0;
    for (const char* filter :
         {"$share/g/t", "$share/g/#", "$share/g/+/a", "$share/group name/a/b/#", "$share/g//", "$share/g//t", "$share/$/t",
          "$share/\xC3\xA4/t", "$share", "$shared/+", "$SHARE//t", "/$share//t", "$share+x"}) {
        CAPTURE(std::string(filter));
        const bool valid = std::string(filter) != "$share+x";   // an ordinary filter, and no valid one
        const mqtt::Result result = s.client.subscribe(filter, qos1);
        CHECK(name(result.error) == (valid ? "ok" : "invalid filter"));
        if (!valid) continue;
        CHECK(result.packet_id == ++id);
        s.expects(packet(0x82, bytes({0, id, 0}) + text(filter) + bytes({1})));
        CHECK(s.client.unsubscribe(filter).packet_id == ++id);
        s.expects(packet(0xA2, bytes({0, id, 0}) + text(filter)));
    }
    for (const char* filter :
         {"$share/", "$share/g", "$share/g/", "$share//", "$share//t", "$share/+/t", "$share/#/t", "$share/a+b/t",
          "$share/a#/t", "$share/g/a+", "$share/g/#/a", "$share/g/a#", "$share/#", "$share/+"}) {
        CAPTURE(std::string(filter));
        CHECK(name(s.client.subscribe(filter, qos1).error) == "invalid filter");
        CHECK(name(s.client.unsubscribe(filter).error) == "invalid filter");
    }
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-4] No Local with a shared subscription is refused before a byte is queued") {
    Connected s;
    CHECK(name(s.client.subscribe({wanted("$share/g/t", qos1, true)}).error) == "invalid argument");
    CHECK(name(s.client.subscribe({wanted("t", qos1, true), wanted("$share/g/t", qos1, true)}).error) == "invalid argument");
    s.quiet();
    CHECK(s.client.subscribe({wanted("$share", qos1, true), wanted("$share/g/t", qos1, false, true)}).packet_id == 1);
    s.expects(packet(0x82, bytes({0, 1, 0}) + text("$share") + bytes({5}) + text("$share/g/t") + bytes({9})));
}

TEST_CASE("in 3.1.1 $share is a topic level like any other, and subscription options have no effect") {
    test::Session s;
    s.connect();
    CHECK(s.client.subscribe({wanted("$share/+", qos1, true, true, RetainHandling::do_not_send)}).packet_id == 1);
    s.expects(packet(0x82, bytes({0, 1}) + text("$share/+") + bytes({1})));
}

// ----------------------------------------------------------------------------------------------- what is answered

TEST_CASE("MQTT 5 [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] SUBACK: every code of the table is told, one per filter, in their order") {
    Connected s;
    std::vector<std::string> names;
    std::string codes;
    for (const int code : suback_codes) {
        names.push_back("f" + std::to_string(code));
        codes += static_cast<char>(code);
    }
    std::vector<Subscription> list;
    for (const std::string& filter : names) list.push_back(wanted(filter, qos2));
    CHECK(s.client.subscribe(list.data(), list.size()).packet_id == 1);
    s.run();
    s.sends(packet(0x90, bytes({0, 1, 0}) + codes));
    const Event event = s.expect_event(Event::subscribed);
    CHECK(event.packet_id == 1);
    CHECK(hex(event.reason_codes.text()) == hex(codes));
    CHECK(event.properties.empty());
    for (size_t i = 0; i < codes.size(); ++i) CHECK(mqtt::granted(event.reason_codes[i]) == (i < 3));
    for (const int code : suback_codes) {
        CHECK(s.client.subscribe("f", qos2).ok());
        s.run();
        const int id = 2 + static_cast<int>(std::distance(suback_codes.begin(), suback_codes.find(code)));
        s.sends({0x90, 4, 0, id, 0, code});
        CHECK(s.subscribed(id) == bytes({code}));
    }
}

TEST_CASE("MQTT 5 [MQTT-3.10.4-5] [MQTT-3.11.3-1] [MQTT-3.11.3-2] UNSUBACK: every code of the table is told, one per filter, in their order") {
    Connected s;
    std::vector<std::string_view> list;
    std::string codes;
    for (const int code : unsuback_codes) {
        list.push_back("f");
        codes += static_cast<char>(code);
    }
    CHECK(s.client.unsubscribe(list.data(), list.size()).packet_id == 1);
    s.run();
    s.sends(packet(0xB0, bytes({0, 1, 0}) + codes));
    const Event event = s.expect_event(Event::unsubscribed);
    CHECK(event.packet_id == 1);
    CHECK(hex(event.reason_codes.text()) == hex(codes));
    CHECK(event.properties.empty());
    for (size_t i = 0; i < codes.size(); ++i) CHECK(mqtt::granted(event.reason_codes[i]) == (i < 2));
}

TEST_CASE("MQTT 5 SUBACK and UNSUBACK with a reason string and user properties: they are in the event") {
    for (const int type : {0x90, 0xB0}) {
        Connected s;
        CHECK((type == 0x90 ? s.client.subscribe("f", qos0) : s.client.unsubscribe("f")).packet_id == 1);
        s.run();
        s.sends(packet(type, bytes({0, 1, 20, 0x1F, 0, 3, 'w', 'h', 'y', 0x26, 0, 1,
                                    'a', 0, 1, 'b', 0x26, 0, 1, 'a', 0, 1, 'c', 0x87})));
        const Event event = s.next();
        CHECK(event.kind == (type == 0x90 ? Event::subscribed : Event::unsubscribed));
        CHECK(event.packet_id == 1);
        CHECK(hex(event.reason_codes.text()) == "87 ");
        CHECK(event.properties.get(prop::reason_string).value_or("?") == "why");
        mqtt::Properties rest = event.properties;
        mqtt::UserProperty pair;
        REQUIRE(rest.next(prop::user_property, pair));
        CHECK(pair.value == "b");
        REQUIRE(rest.next(prop::user_property, pair));
        CHECK(pair.value == "c");
        CHECK_FALSE(rest.next(prop::user_property, pair));
    }
}

TEST_CASE("MQTT 5 [MQTT-2.2.1-6] [MQTT-3.8.4-2] [MQTT-3.10.4-5] each answer is for the request with its id, in any order; one for an unknown id completes nothing") {
    Connected s;
    CHECK(s.client.subscribe("a", qos0).packet_id == 1);
    CHECK(
        s.client.subscribe({{"b", qos0}, {"c", qos0}}, PropertyBuffer<4>().add(prop::subscription_identifier, 200)).packet_id ==
        2);
    CHECK(s.client.unsubscribe({"d", "e", "f"}).packet_id == 3);
    s.run();
    s.port.from_client.clear();
    s.sends({0x90, 4, 0, 9, 0, 0, 0x90, 6, 0, 8, 0, 0, 0, 0, 0xB0, 4, 0, 7, 0, 0x11});
    s.quiet();
    s.sends({0xB0, 6, 0, 3, 0, 0, 0x11, 0x80, 0x90, 5, 0, 2, 0, 1, 0x80, 0x90, 4, 0, 1, 0, 2});
    CHECK(s.unsubscribed(3) == bytes({0, 0x11, 0x80}));
    CHECK(s.subscribed(2) == bytes({1, 0x80}));
    CHECK(s.subscribed(1) == bytes({2}));
    s.sends({0x90, 4, 0, 1, 0, 0, 0xB0, 6, 0, 3, 0, 0, 0, 0});   // once more
    s.quiet();
    CHECK(s.client.connected());
}

TEST_CASE("MQTT 5 [MQTT-3.8.4-6] [MQTT-3.9.3-2] [MQTT-3.11.3-2] an answer with too few or too many codes is a protocol error, and the request is kept") {
    for (const bool subscribing : {true, false})
        for (size_t filters = 1; filters <= 3; ++filters)
            for (size_t codes = 0; codes <= 5; ++codes) {
                if (codes == filters) continue;
                CAPTURE(subscribing);
                CAPTURE(filters);
                CAPTURE(codes);
                Connected s;
                const Subscription list[] = {wanted("a", qos0), wanted("bb", qos1), wanted("c", qos2)};
                const std::string_view names[] = {"a", "bb", "c"};
                PropertyBuffer<16> p;
                if (filters == 2) p.add(prop::user_property, {"n", "v"});   // is not a filter
                CHECK(
                    (subscribing ? s.client.subscribe(list, filters, p) : s.client.unsubscribe(names, filters, p)).packet_id ==
                    1);
                s.run();
                std::string request;
                request.swap(s.port.from_client);
                s.sends(packet(subscribing ? 0x90 : 0xB0, bytes({0, 1, 0}) + std::string(codes, '\0')));
                s.rejects_with(0x82, Error::protocol_error);
                s.reconnect({}, true);
                s.expects(request);
                s.sends(packet(subscribing ? 0x90 : 0xB0, bytes({0, 1, 0}) + std::string(filters, '\0')));
                CHECK(s.codes(subscribing ? Event::subscribed : Event::unsubscribed, 1).size() == filters);
            }
}

TEST_CASE("MQTT 5 [MQTT-3.9.3-2] [MQTT-3.11.3-2] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1] a reason code that is not of a packet's table is a protocol error: every code in every answer, also for an unknown id") {
    const std::set<int> answer = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, release = {0x00, 0x92};
    struct {
        int type;
        const std::set<int>& legal;
        bool list;
    } const rows[] = {{0x40, answer, false}, {0x50, answer, false}, {0x62, release, false},
                      {0x70, release, false}, {0x90, suback_codes, true}, {0xB0, unsuback_codes, true}};
    for (const auto& row : rows)
        for (int code = 0; code < 256; ++code) {
            CAPTURE(row.type);
            CAPTURE(code);
            Session5 s;
            s.connect();
            s.run();
            s.sends(row.list ? bytes({row.type, 4, 0, 99, 0, code}) : bytes({row.type, 3, 0, 99, code}));
            if (row.legal.count(code) == 0) {
                s.rejects_with(0x82, Error::protocol_error);
                continue;
            }
            s.run();
            CHECK(s.client.connected());
        }
}

// ---------------------------------------------------------------------------------- what comes with a message, or not

TEST_CASE("MQTT 5 [MQTT-3.3.4-4] the identifiers of all matching subscriptions are told with a message, also twice the same, in the order in which they came") {
    for (const int first : {0x30, 0x32, 0x34}) {
        Connected s;
        s.sends(packet(first, text("t") + (first == 0x30 ? "" : bytes({0, 7})) +
                                  test::properties(bytes({0x0B, 5, 0x0B, 0x80, 1, 0x26, 0, 1, 'a', 0, 1, 'b', 0x0B, 5, 0x0B,
                                                          0xFF, 0xFF, 0xFF, 0x7F})) +
                                  "x"));
        const Event event = s.expect_event(Event::received);
        std::vector<uint32_t> got;
        mqtt::Properties rest = event.message.properties;
        for (uint32_t identifier = 0; rest.next(prop::subscription_identifier, identifier);) got.push_back(identifier);
        CHECK(got == std::vector<uint32_t>{5, 128, 5, 268435455});
        CHECK(event.message.properties.get(prop::subscription_identifier).value_or(0) == 5);
        CHECK(event.message.properties.get(prop::user_property)->value == "b");
        CHECK(event.message.payload.text() == "x");
    }
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-6] a message of the client never has a subscription identifier") {
    Connected s;
    for (const QoS qos : {qos0, qos1, qos2}) {
        PropertyBuffer<8> p;
        p.add(prop::subscription_identifier, 1);
        CHECK(name(s.client.publish("t", "x", qos, mqtt::Retain::no, p).error) == "invalid properties");
        CHECK(name(s.client.begin_publish("t", 1, qos, mqtt::Retain::no, p).error) == "invalid properties");
    }
    s.quiet();
}

namespace {

// A client that asked, or did not, for reason strings and user properties, with something to be answered: PUBLISH 1 (QoS 1)
// and 2 (QoS 2), PUBREL 3, SUBSCRIBE 4, UNSUBSCRIBE 5, PUBREC 6 given, AUTH sent.
struct Asking : Session5 {
    explicit Asking(int request) {
        options.clean_session = false;
        if (request >= 0) properties.add(prop::request_problem_information, static_cast<uint8_t>(request));
        properties.add(prop::authentication_method, "m");
        options.properties = properties;
        connect(bytes({0x15, 0, 1, 'm'}));
        CHECK(client.publish("t", "x", qos1).packet_id == 1);
        CHECK(client.publish("t", "x", qos2).packet_id == 2);
        CHECK(client.publish("t", "x", qos2).packet_id == 3);
        CHECK(client.subscribe("f", qos0).packet_id == 4);
        CHECK(client.unsubscribe("f").packet_id == 5);
        CHECK(client.authenticate(PropertyBuffer<8>().add(prop::authentication_method, "m")).ok());
        run();
        sends(bytes({0x50, 2, 0, 3}) + bytes({0x34, 7, 0, 1, 't', 0, 6, 0, 'x'}));
        expect_event(Event::pubrec);
        expect_event(Event::received);
        run();
        port.from_client.clear();
    }
    PropertyBuffer<16> properties;
};

}  // namespace

TEST_CASE("MQTT 5 [MQTT-3.1.2-29] with Request Problem Information 0, a reason string or a user property in anything but PUBLISH, CONNACK and DISCONNECT is a protocol error") {
    const std::string why = bytes({0x1F, 0, 1, 'w'}), user = bytes({0x26, 0, 1, 'a', 0, 1, 'b'});
    for (const std::string& list : {why, user, why + user}) {
        struct {
            const char* what;
            std::string sent;
            Event::Kind kind;
        } const rows[] = {
            {"PUBACK", packet(0x40, bytes({0, 1, 0}) + test::properties(list)), Event::acknowledged},
            {"PUBREC", packet(0x50, bytes({0, 2, 0}) + test::properties(list)), Event::pubrec},
            {"PUBREC that refuses", packet(0x50, bytes({0, 2, 0x97}) + test::properties(list)), Event::acknowledged},
            {"PUBREL", packet(0x62, bytes({0, 6, 0}) + test::properties(list)), Event::pubrel},
            {"PUBCOMP", packet(0x70, bytes({0, 3, 0}) + test::properties(list)), Event::acknowledged},
            {"SUBACK", packet(0x90, bytes({0, 4}) + test::properties(list) + bytes({0})), Event::subscribed},
            {"UNSUBACK", packet(0xB0, bytes({0, 5}) + test::properties(list) + bytes({0})), Event::unsubscribed},
            {"AUTH", packet(0xF0, bytes({0}) + test::properties(bytes({0x15, 0, 1, 'm'}) + list)), Event::authentication},
            {"PUBACK for an unknown id", packet(0x40, bytes({0, 99, 0}) + test::properties(list)), Event::none},
        };
        for (const auto& row : rows)
            for (const int request : {-1, 0, 1}) {   // -1: not said, which is 1
                CAPTURE(std::string(row.what));
                CAPTURE(request);
                Asking s(request);
                s.sends(row.sent);
                if (request == 0) {
                    s.rejects_with(0x82, Error::protocol_error);
                    continue;
                }
                const Event event = s.next();
                CHECK(event.kind == row.kind);
                if (row.kind == Event::none) continue;
                CHECK(event.properties.get(prop::reason_string).has_value() == (list.find(why) == 0));
                CHECK(event.properties.get(prop::user_property).has_value() == (list != why));
                CHECK(s.client.connected());
            }
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-29] with Request Problem Information 0, PUBLISH, CONNACK and DISCONNECT may have them, and what has none is taken") {
    const std::string why = bytes({0x1F, 0, 1, 'w'}), user = bytes({0x26, 0, 1, 'a', 0, 1, 'b'});
    Asking s(0);
    s.sends(packet(0x30, text("t") + test::properties(user) + "x"));
    CHECK(s.expect_event(Event::received).message.properties.get(prop::user_property).has_value());
    s.sends({0x40, 4, 0, 1, 0, 0, 0x50, 4, 0, 2, 0, 0, 0x90, 4, 0, 4, 0, 0, 0xB0, 4, 0, 5, 0, 0, 0x62, 4, 0, 6, 0, 0});
    s.expect_event(Event::acknowledged);
    s.expect_event(Event::pubrec);
    s.expect_event(Event::subscribed);
    s.expect_event(Event::unsubscribed);
    s.expect_event(Event::pubrel);
    s.sends(packet(0xE0, bytes({0x8B}) + test::properties(why + user)));
    Event event = s.expect_event(Event::disconnected);
    CHECK(name(event.error) == "server disconnected");
    CHECK(event.properties.get(prop::reason_string).value_or("?") == "w");
    CHECK(event.properties.get(prop::user_property).has_value());
    event = s.reconnect(bytes({0x15, 0, 1, 'm'}) + why + user, true);
    CHECK(event.properties.get(prop::reason_string).value_or("?") == "w");
    CHECK(event.properties.get(prop::user_property).has_value());
    CHECK(s.client.connected());
}
