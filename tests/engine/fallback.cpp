// The version: which one is asked for, the fall-back from 5 to 3.1.1, and what waits in the outbox when it changes.
#include "tests/support/peer5.hpp"

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using mqtt::ReasonCode;
using mqtt::Retain;
using mqtt::Version;
using test::bytes;
using test::connack;
using test::Memory;
using test::packet;
using test::properties;
using test::Session5;
using test::text;
namespace prop = mqtt::prop;

std::string name(Error error) { return mqtt::to_string(error); }

// The same CONNECT in both versions.
const std::string connect_5 = bytes({0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 3, 0x21, 0, 20, 0, 1, 'c'});
const std::string connect_3 = bytes({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, 0, 1, 'c'});
const std::string kept_5 = bytes({0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x00, 0, 60, 8, 0x11, 0xFF, 0xFF, 0xFF, 0xFF,
                                  0x21, 0, 20, 0, 1, 'c'});
const std::string kept_3 = bytes({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x00, 0, 60, 0, 1, 'c'});
const std::string accepted_3 = bytes({0x20, 2, 0, 0}), resumed_3 = bytes({0x20, 2, 1, 0});

struct Either : Session5 {
    explicit Either(const Memory& memory = {}, Version version = Version::v5_or_v3_1_1) : Session5(memory) {
        options.version = version;
    }
    void begin() {
        REQUIRE(client.connect(options).ok());
        CHECK((client.version() == Version::v5) == (options.version != Version::v3_1_1));
        run();
    }
    bool asks_for(int version) {
        run();
        CHECK(port.is_open);
        const bool yes = port.from_client.size() > 8 && port.from_client[0] == 0x10 && port.from_client[8] == version;
        port.from_client.clear();
        return yes && client.version() == static_cast<Version>(version);
    }
    void answers(const std::string& answer) { sends(answer); }
    // What a server does that knows nothing of MQTT 5.
    void does_not_know() {
        CHECK(asks_for(5));
        sends({0x20, 2, 0, 1});
        CHECK(asks_for(4));
    }
    void accepts_3(bool session_present = false) {
        sends({0x20, 2, session_present ? 1 : 0, 0});
        const Event event = expect_event(Event::connected);
        CHECK(event.session_present == session_present);
        CHECK(event.properties.empty());
        CHECK(client.version() == Version::v3_1_1);
    }
    void wait() { port.clock += options.reconnect_max_ms; }
    Event ends(Error error) {
        const Event event = expect_event(Event::disconnected);
        CHECK(name(event.error) == name(error));
        CHECK_FALSE(port.is_open);
        return event;
    }
};

// A PUBLISH in either form; no id: QoS 0.
std::string publish(int version, int first, const std::string& topic, int id, const std::string& payload,
                    const std::string& list = {}) {
    return packet(first, text(topic) + (id != 0 ? bytes({id / 256, id % 256}) : "") +
                             (version == 5 ? properties(list) : "") + payload);
}

// All that can wait in an outbox: what is left of its properties in 3.1.1 is nothing.
struct Waiting {
    std::string in_5, in_3;
    void add(int first, const std::string& topic, int id, const std::string& payload, const std::string& list = {}) {
        in_5 += publish(5, first, topic, id, payload, list);
        in_3 += publish(4, first, topic, id, payload);
    }
};
Waiting queue_everything(Session5& s) {
    Waiting waiting;
    mqtt::PropertyBuffer<300> list;
    const std::string pair = bytes({0x26, 0, 1, 'k', 0, 2, 'v', 'w'}), kind = bytes({0x03, 0, 1, 't'});
    CHECK(s.client.publish("a", "0").ok());
    waiting.add(0x30, "a", 0, "0");
    list.add(prop::user_property, {"k", "vw"});
    CHECK(s.client.publish("b", "0", QoS::at_most_once, Retain::yes, list).ok());
    waiting.add(0x31, "b", 0, "0", pair);
    CHECK(s.client.publish("c", "1", QoS::at_least_once, Retain::no, list).packet_id == 1);
    waiting.add(0x32, "c", 1, "1", pair);
    list.clear();
    list.add(prop::content_type, "t").add(prop::user_property, {"k", "vw"});
    CHECK(s.client.publish("d", "", QoS::exactly_once, Retain::yes, list).packet_id == 2);
    waiting.add(0x35, "d", 2, "", kind + pair);
    CHECK(s.client.publish("e/f", "two", QoS::exactly_once).packet_id == 3);
    waiting.add(0x34, "e/f", 3, "two");

    list.clear();
    list.add(prop::subscription_identifier, 300).add(prop::user_property, {"k", "vw"});
    const mqtt::Subscription filters[] = {
        {"x/#", QoS::exactly_once, true, true, mqtt::RetainHandling::do_not_send},
        {"y", QoS::at_least_once, false, true, mqtt::RetainHandling::send_if_new},
        {"$share/g/z", QoS::at_most_once, false, false, mqtt::RetainHandling::send}};
    CHECK(s.client.subscribe(filters, 3, list).packet_id == 4);
    waiting.in_5 += packet(0x82, bytes({0, 4, 11, 0x0B, 0xAC, 2}) + pair + text("x/#") + bytes({0x2E}) + text("y") +
                                     bytes({0x19}) + text("$share/g/z") + bytes({0x00}));
    waiting.in_3 += packet(0x82, bytes({0, 4}) + text("x/#") + bytes({2}) + text("y") + bytes({1}) + text("$share/g/z") +
                                     bytes({0}));
    list.clear();
    CHECK(s.client.unsubscribe({"x/#", "y"}, list.add(prop::user_property, {"k", "vw"})).packet_id == 5);
    waiting.in_5 += packet(0xA2, bytes({0, 5, 8}) + pair + text("x/#") + text("y"));
    waiting.in_3 += packet(0xA2, bytes({0, 5}) + text("x/#") + text("y"));

    // Around the sizes at which the length takes another byte, in one version or the other.
    int id = 6;
    for (const size_t size : {120U, 121U, 122U, 123U, 124U, 16376U, 16377U, 16378U, 16379U, 16380U}) {
        const std::string payload(size, static_cast<char>('a' + id));
        CHECK(s.client.publish("l", payload, QoS::at_least_once).packet_id == id);
        waiting.add(0x32, "l", id++, payload);
    }
    const std::string value(130, 'v');   // the length of the properties takes two bytes
    list.clear();
    CHECK(s.client.publish("m", "x", QoS::at_least_once, Retain::no, list.add(prop::content_type, value)).packet_id == id);
    waiting.add(0x32, "m", id++, "x", bytes({0x03}) + text(value));
    CHECK(s.client.publish("n", "last").ok());
    waiting.add(0x30, "n", 0, "last");
    return waiting;
}

Memory large() {
    Memory memory;
    memory.tx = 100000;
    return memory;
}

}  // namespace

// ------------------------------------------------------------------------------------------------- which version

TEST_CASE("MQTT 5 [MQTT-3.1.2-2] the options say which version is asked for") {
    SUBCASE("5") {
        Either s({}, Version::v5);
        s.begin();
        s.expects(connect_5);
    }
    SUBCASE("3.1.1") {
        Either s({}, Version::v3_1_1);
        s.begin();
        s.expects(connect_3);
    }
    SUBCASE("either: 5 first, and 5 for ever if the server knows it") {
        Either s;
        s.begin();
        s.expects(connect_5);
        s.sends(connack(bytes({0x13, 0, 10})));
        CHECK(s.expect_event(Event::connected).properties.get(prop::server_keep_alive).value_or(0) == 10);
        CHECK(s.client.version() == Version::v5);
        for (int i = 0; i < 3; ++i) {
            s.lose();
            s.wait();
            s.expects(connect_5);
            s.sends(connack());
            s.expect_event(Event::connected);
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-1], [MQTT-3.1.2-2] a server that does not know version 5 is asked for 3.1.1: at once, without an event, and for ever if it said so") {
    enum Way { refused, refused_with_properties, old_form, new_code_in_old_form, closed, closed_early, closed_at_once };
    for (int way = refused; way <= closed_at_once; ++way) {
        CAPTURE(way);
        Either s;
        if (way == closed_early) s.port.write_limit = 5;
        if (way == closed_at_once) s.port.write_limit = 0;
        REQUIRE(s.client.connect(s.options).ok());
        if (way < closed_early) {
            s.expects(connect_5);
        } else {
            CHECK(s.client.poll().kind == Event::none);
            CHECK(s.port.is_open);
            CHECK(s.port.from_client == connect_5.substr(0, way == closed_early ? 5 : 0));
        }
        if (way == refused) s.sends(connack({}, 0, 0x84));
        if (way == refused_with_properties) s.sends(connack(bytes({0x1F, 0, 3, 'n', 'o', '5', 0x26, 0, 0, 0, 0}), 0, 0x84));
        if (way == old_form) s.sends({0x20, 2, 0, 1});
        if (way == new_code_in_old_form) s.sends({0x20, 2, 0, 0x84});
        if (way >= closed || way % 2 == 0) s.port.cut = true;
        s.port.write_limit = SIZE_MAX;
        const uint32_t begin = s.port.clock;
        s.expects(connect_3);
        CHECK(s.waiting.empty());
        CHECK(s.port.clock == begin);
        CHECK(s.port.closes == 1);
        CHECK(s.port.opens == 2);
        CHECK_FALSE(s.client.connected());
        s.accepts_3();
        for (int i = 0; i < 3; ++i) {   // later, one that refused is not asked again
            CHECK(s.client.publish("t", "x").ok());
            s.expects({0x30, 4, 0, 1, 't', 'x'});
            s.sends({0x30, 4, 0, 1, 't', 'x'});
            CHECK(s.expect_event(Event::received).message.payload.text() == "x");
            s.port.cut = true;
            const Event event = s.ends(Error::connection_lost);
            CHECK(event.reason == ReasonCode::success);
            CHECK(event.properties.empty());
            const size_t attempts = s.port.attempts.size();
            s.wait();
            if (way >= closed) {   // silence may have been the network's
                s.expects(connect_5);
                s.port.cut = true;
            }
            s.expects(connect_3);
            CHECK(s.port.attempts.size() == attempts + (way >= closed ? 2 : 1));
            s.accepts_3();
        }
        CHECK(s.client.disconnect().ok());
        s.expect_event(Event::disconnected);
        s.port.from_client.clear();
        s.begin();   // connect() asks again
        s.expects(connect_5);
    }
}

TEST_CASE("MQTT 5 what a server answers that is no word about the version does not change it") {
    struct Row {
        const char* what;
        std::string answer;
        bool closes;
        Error error;
        int reason;
        std::string written;
    };
    const std::string farewell = bytes({0xE0, 1, 0x81});
    const Row rows[] = {
        {"bad user name, in the form of 3.1.1", bytes({0x20, 2, 0, 4}), true, Error::connection_refused, 0x86, ""},
        {"not authorized, in the form of 3.1.1", bytes({0x20, 2, 0, 5}), false, Error::connection_refused, 0x87, ""},
        {"client id, in the form of 3.1.1", bytes({0x20, 2, 0, 2}), false, Error::connection_refused, 0x85, ""},
        {"unavailable, in the form of 3.1.1", bytes({0x20, 2, 0, 3}), false, Error::connection_refused, 0x88, ""},
        {"bad user name", connack({}, 0, 0x86), true, Error::connection_refused, 0x86, ""},
        {"unspecified error", connack({}, 0, 0x80), true, Error::connection_refused, 0x80, ""},
        {"protocol error", connack({}, 0, 0x82), true, Error::connection_refused, 0x82, ""},
        {"accepted, in the form of 3.1.1", bytes({0x20, 2, 0, 0}), false, Error::malformed_packet, 0x81, farewell},
        {"no return code of 3.1.1", bytes({0x20, 2, 0, 6}), false, Error::malformed_packet, 0x81, farewell},
        {"nonsense", bytes({0x48, 'T', 'T', 'P'}), false, Error::malformed_packet, 0x81, farewell},
        {"a part of CONNACK", bytes({0x20, 3, 0}), true, Error::connection_lost, 0, ""},
        {"one byte of it", bytes({0x20}), true, Error::connection_lost, 0, ""},
    };
    for (const Row& row : rows)
        for (const bool either : {false, true}) {
            CAPTURE(std::string(row.what));
            Either s({}, either ? Version::v5_or_v3_1_1 : Version::v5);
            s.begin();
            s.expects(connect_5);
            s.sends(row.answer);
            s.port.cut = row.closes;
            s.expects(row.written);
            const Event event = s.ends(row.error);
            CHECK(static_cast<int>(event.reason) == row.reason);
            CHECK(s.port.attempts.size() == 1);
            s.wait();
            s.expects(connect_5);
            s.sends(connack());
            s.expect_event(Event::connected);
        }
}

TEST_CASE("MQTT 5 nor does a network that is not there, or a server that says nothing") {
    Either s;
    SUBCASE("cannot be reached") {
        s.port.refuse = true;
        s.begin();
        s.ends(Error::connect_failed);
        s.port.refuse = false;
    }
    SUBCASE("does not open") {
        s.port.hang = true;
        s.begin();
        s.port.clock += s.options.connect_timeout_ms;
        s.ends(Error::connect_timeout);
        s.port.hang = false;
    }
    SUBCASE("does not answer") {
        s.begin();
        s.expects(connect_5);
        s.port.clock += s.options.connect_timeout_ms;
        s.ends(Error::connect_timeout);
    }
    SUBCASE("does not take CONNECT") {
        s.port.write_limit = 0;
        s.begin();
        s.port.clock += s.options.connect_timeout_ms;
        s.ends(Error::connect_timeout);
        s.port.write_limit = SIZE_MAX;
    }
    s.wait();
    CHECK(s.asks_for(5));
}

TEST_CASE("MQTT 5 with version v5 a server that does not know it is refused by, and asked again later") {
    for (const std::string& answer : {connack({}, 0, 0x84), bytes({0x20, 2, 0, 1}), bytes({0x20, 2, 0, 0x84})}) {
        Either s({}, Version::v5);
        s.begin();
        s.port.from_client.clear();
        s.sends(answer);
        CHECK(s.ends(Error::connection_refused).reason == ReasonCode::unsupported_protocol_version);
        s.quiet();
        CHECK(s.client.idle_ms() >= s.options.reconnect_max_ms / 2);
        s.wait();
        s.expects(connect_5);
        s.port.cut = true;
        s.ends(Error::connection_lost);
        s.wait();
        s.expects(connect_5);
    }
}

TEST_CASE("MQTT 5 with version v3_1_1 nothing changes it") {
    Either s({}, Version::v3_1_1);
    s.begin();
    s.expects(connect_3);
    s.sends({0x20, 2, 0, 1});
    CHECK(s.ends(Error::connection_refused).reason == ReasonCode::unsupported_protocol_version);
    s.wait();
    s.expects(connect_3);
    s.port.cut = true;
    s.ends(Error::connection_lost);
    s.wait();
    s.expects(connect_3);
    s.sends(connack({}, 0, 0x84));
    s.ends(Error::malformed_packet);
    s.expects("");
}

// --------------------------------------------------------------------------------------- after it was known

TEST_CASE("MQTT 5 a server that was connected with 5 knows it: that it closes is not a word about the version") {
    Either s;
    s.begin();
    CHECK(s.asks_for(5));
    s.sends(connack());
    s.expect_event(Event::connected);
    s.port.cut = true;
    s.ends(Error::connection_lost);
    for (int i = 0; i < 3; ++i) {
        s.wait();
        CHECK(s.asks_for(5));
        s.port.cut = true;
        s.ends(Error::connection_lost);
    }
    s.wait();
    CHECK(s.asks_for(5));
    SUBCASE("but a refusal is") { s.sends(connack({}, 0, 0x84)); }
    SUBCASE("also in the form of 3.1.1") { s.sends({0x20, 2, 0, 1}); }
    CHECK(s.asks_for(4));
    CHECK(s.waiting.empty());
    s.accepts_3();
    s.lose();
    s.wait();
    CHECK(s.asks_for(4));
}

TEST_CASE("MQTT 5 connect() knows nothing of what another server, or this one, knew before") {
    Either s;
    s.begin();
    CHECK(s.asks_for(5));
    s.sends(connack());
    s.expect_event(Event::connected);
    CHECK(s.client.disconnect().ok());
    s.ends(Error::ok);
    s.port.from_client.clear();
    SUBCASE("another") { s.options.host = "other"; }
    SUBCASE("the same") {}
    s.begin();
    CHECK(s.asks_for(5));
    s.port.cut = true;
    CHECK(s.asks_for(4));
}

TEST_CASE("MQTT 5 a server that has sent AUTH knows version 5, too") {
    Either s;
    static constexpr auto method = mqtt::PropertyBuffer<8>().add(prop::authentication_method, "m");
    s.options.properties = method;
    s.begin();
    CHECK(s.asks_for(5));
    s.sends({0xF0, 6, 0x18, 4, 0x15, 0, 1, 'm'});
    s.expect_event(Event::authentication);
    SUBCASE("closed before our answer") {}
    SUBCASE("closed after it") {
        CHECK(s.client.authenticate(method).ok());
        s.expects({0xF0, 6, 0x18, 4, 0x15, 0, 1, 'm'});
    }
    SUBCASE("closed in the middle of it") {
        s.port.write_limit = 3;
        CHECK(s.client.authenticate(method).ok());
        CHECK(s.client.poll().kind == Event::none);
    }
    s.port.cut = true;
    s.ends(Error::connection_lost);
    s.port.write_limit = SIZE_MAX;
    s.port.from_client.clear();
    s.wait();
    CHECK(s.asks_for(5));
}

// --------------------------------------------------------------------------------- when 3.1.1 does not help either

TEST_CASE("MQTT 5 if 3.1.1 does not help either, that is told, once, as one failed attempt; the next one begins with 5 again") {
    for (const bool known : {false, true}) {   // was there a connection with 5 before?
        CAPTURE(known);
        for (int way = 0; way < 5; ++way) {
            CAPTURE(way);
            Either s;
            s.begin();
            if (known) {
                CHECK(s.asks_for(5));
                s.sends(connack());
                s.expect_event(Event::connected);
                s.lose();
                s.wait();
            }
            for (int i = 0; i < 3; ++i) {
                CHECK(s.asks_for(5));
                s.sends(connack(bytes({0x1F, 0, 40}) + std::string(40, 'w'), 0, 0x84));
                ReasonCode reason = ReasonCode::success;
                Error error = Error::connection_lost;
                if (way == 0) {
                    s.port.refuse = true;
                    error = Error::connect_failed;
                } else {
                    CHECK(s.asks_for(4));
                }
                if (way == 1) s.sends({0x20, 2, 0, 1});
                if (way == 1) reason = ReasonCode::unsupported_protocol_version;
                if (way == 2) s.sends({0x20, 2, 0, 3});
                if (way == 2) reason = ReasonCode::server_unavailable;
                if (way == 1 || way == 2) error = Error::connection_refused;
                if (way == 3) s.port.cut = true;
                if (way == 4) {
                    s.port.clock += s.options.connect_timeout_ms;
                    error = Error::connect_timeout;
                }
                const Event event = s.ends(error);
                CHECK(static_cast<int>(event.reason) == static_cast<int>(reason));   // and not that of the first half
                CHECK(event.properties.empty());
                s.quiet();
                s.port.refuse = false;
                if (way == 1) CHECK(s.client.idle_ms() >= s.options.reconnect_max_ms / 2);
                else CHECK(s.client.idle_ms() <= s.options.reconnect_min_ms << (i + (known ? 1 : 0)));
                CHECK(s.client.idle_ms() > 0);
                s.wait();
            }
            CHECK(s.asks_for(5));
            s.sends(connack());
            s.expect_event(Event::connected);
        }
    }
}

TEST_CASE("MQTT 5 each half of an attempt has its own time-out") {
    Either s;
    s.options.connect_timeout_ms = 5000;
    s.begin();
    CHECK(s.asks_for(5));
    s.port.clock += 4000;
    s.port.cut = true;
    CHECK(s.asks_for(4));
    s.port.clock += 4999;
    s.quiet();
    s.port.clock += 1;
    s.ends(Error::connect_timeout);
}

TEST_CASE("MQTT 5 the fall-back is no reconnect: it happens without automatic reconnect, too") {
    Either s;
    s.options.reconnect_max_ms = 0;
    s.begin();
    s.does_not_know();
    SUBCASE("and works") {
        s.accepts_3();
        s.lose();
    }
    SUBCASE("and does not") {
        s.port.cut = true;
        s.ends(Error::connection_lost);
    }
    CHECK(s.next().kind == Event::none);
    CHECK(s.client.idle_ms() == mqtt::forever);
    CHECK(s.client.disconnect().error == Error::not_started);
    s.begin();
    CHECK(s.asks_for(5));
}

TEST_CASE("MQTT 5 disconnect() and abort() in either half stop it") {
    for (const bool abort : {false, true})
        for (const int half : {0, 1, 2}) {
            CAPTURE(abort);
            CAPTURE(half);
            Either s;
            s.begin();
            CHECK(s.asks_for(5));
            if (half > 0) s.sends({0x20, 2, 0, 1});
            if (half == 1) CHECK(s.client.poll().kind == Event::none);   // closed, and not opened again yet
            if (half == 2) CHECK(s.asks_for(4));
            CHECK(s.port.is_open == (half != 1));
            CHECK((abort ? s.client.abort() : s.client.disconnect()).ok());
            s.ends(Error::ok);
            s.pass(3600000);
            CHECK(s.port.opens == (half == 2 ? 2 : 1));
            CHECK(s.waiting.empty());
            s.begin();
            CHECK(s.asks_for(5));
        }
}

TEST_CASE("MQTT 5 a named server that does not know 5 is left for ours, which does") {
    for (const std::string& answer : {connack({}, 0, 0x84), bytes({0x20, 2, 0, 1}), std::string()}) {
        CAPTURE(test::hex(answer));
        Either s;
        s.options.follow_server_reference = true;
        s.begin();
        CHECK(s.asks_for(5));
        s.sends(connack(bytes({0x1C}) + text("other:1"), 0, 0x9C));
        CHECK(s.ends(Error::connection_refused).reason == ReasonCode::use_another_server);
        s.wait();
        CHECK(s.asks_for(5));
        CHECK(s.port.host == "other");
        s.sends(answer);
        s.port.cut = true;
        const Event event = s.ends(answer.empty() ? Error::connection_lost : Error::connection_refused);
        CHECK(event.reason == (answer.empty() ? ReasonCode::success : ReasonCode::unsupported_protocol_version));
        s.wait();
        CHECK(s.asks_for(5));
        CHECK(s.port.host == "server");
        CHECK(s.port.port == 1883);
    }
}

TEST_CASE("MQTT 5 a server that refuses in the form of 5, for another reason, knows it: that it closes later is not a word about the version") {
    for (const int reason : {0x80, 0x86, 0x88, 0x89, 0x97, 0x9F}) {
        Either s;
        s.begin();
        CHECK(s.asks_for(5));
        s.sends(connack({}, 0, reason));
        s.ends(Error::connection_refused);
        s.wait();
        CHECK(s.asks_for(5));
        s.port.cut = true;
        s.ends(Error::connection_lost);
        s.wait();
        CHECK(s.asks_for(5));
        s.sends({0x20, 2, 0, 1});   // but a word is a word
        CHECK(s.asks_for(4));
    }
    for (const int code : {2, 3, 4, 5}) {   // in the form of 3.1.1: not
        Either s;
        s.begin();
        CHECK(s.asks_for(5));
        s.sends({0x20, 2, 0, code});
        s.ends(Error::connection_refused);
        s.wait();
        CHECK(s.asks_for(5));
        s.port.cut = true;
        CHECK(s.asks_for(4));
    }
}

// ------------------------------------------------------------------------------------------- what is refused

TEST_CASE("MQTT 5 with either version the options have to be good for both") {
    Memory memory;
    memory.client_id = 23;
    const auto refused = [&](Either& s, Error error, Version version) {
        s.options.version = version;
        CHECK(name(s.client.connect(s.options).error) == name(error));
        if (error != Error::ok) CHECK(s.client.idle_ms() == mqtt::forever);
    };
    Either s(memory);
    mqtt::PropertyBuffer<100> list;
    SUBCASE("a password without a user name") {
        s.options.password = "p";
        refused(s, Error::invalid_argument, Version::v3_1_1);
        refused(s, Error::invalid_argument, Version::v5_or_v3_1_1);
        refused(s, Error::ok, Version::v5);
    }
    SUBCASE("a session to be kept, without a client id") {
        s.options.client_id = "";
        s.options.clean_session = false;
        refused(s, Error::invalid_client_id, Version::v3_1_1);
        refused(s, Error::invalid_client_id, Version::v5_or_v3_1_1);
        refused(s, Error::ok, Version::v5);
    }
    SUBCASE("properties that are not legal") {
        s.options.properties = list.add(prop::topic_alias, 1);
        refused(s, Error::invalid_properties, Version::v5);
        refused(s, Error::invalid_properties, Version::v5_or_v3_1_1);
        refused(s, Error::ok, Version::v3_1_1);   // which has none
    }
    SUBCASE("properties that the client sets by itself") {
        s.options.properties = list.add(prop::receive_maximum, 1);
        refused(s, Error::invalid_properties, Version::v5);
        refused(s, Error::invalid_properties, Version::v5_or_v3_1_1);
        refused(s, Error::ok, Version::v3_1_1);
    }
    SUBCASE("rx") {
        memory.rx = 15;
        Either small(memory);
        refused(small, Error::buffer_too_small, Version::v5);
        refused(small, Error::buffer_too_small, Version::v5_or_v3_1_1);
        refused(small, Error::ok, Version::v3_1_1);
    }
    SUBCASE("memory for received aliases") {
        memory.topic_alias_maximum = 1;
        Either small(memory);
        refused(small, Error::buffer_too_small, Version::v5);
        refused(small, Error::buffer_too_small, Version::v5_or_v3_1_1);
        refused(small, Error::ok, Version::v3_1_1);
    }
}

// ------------------------------------------------------------------------------------- what 3.1.1 does not have

TEST_CASE("MQTT 5 in 3.1.1 the will has no properties, there is no Clean Start, and reasons are left out") {
    Memory memory;
    memory.topic_alias_maximum = 2;
    memory.received_aliases = 100;
    memory.sent_aliases = 100;
    Either s(memory);
    static constexpr auto delay = mqtt::PropertyBuffer<8>().add(prop::will_delay_interval, 5);
    static constexpr auto user = mqtt::PropertyBuffer<8>().add(prop::user_property, {"k", "v"});
    s.options.clean_session = false;
    s.options.clean_start = true;
    s.options.session_expiry_interval = 10;
    s.options.maximum_packet_size = 20;
    s.options.properties = user;
    s.options.will = {"w", "b", QoS::at_least_once, Retain::yes, delay};
    s.begin();
    s.expects({0x10, 49, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x2E, 0, 60, 23, 0x26, 0, 1, 'k', 0, 1, 'v', 0x11, 0, 0, 0, 10,
               0x21, 0, 20, 0x27, 0, 0, 0, 20, 0x22, 0, 2, 0, 1, 'c', 5, 0x18, 0, 0, 0, 5, 0, 1, 'w', 0, 1, 'b'});
    s.port.cut = true;
    s.expects({0x10, 19, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x2C, 0, 60, 0, 1, 'c', 0, 1, 'w', 0, 1, 'b'});
    s.accepts_3(true);   // session present is not an error there

    // Messages: no properties, no aliases, no limits of ours or theirs.
    CHECK(s.client.publish("long/topic", "x", QoS::at_most_once, Retain::yes, user).ok());
    CHECK(s.client.publish("long/topic", "x", QoS::at_least_once, Retain::no, user).ok());
    mqtt::Subscription filter{"f", QoS::at_least_once, true, true, mqtt::RetainHandling::do_not_send};
    CHECK(s.client.subscribe(&filter, 1, user).ok());
    CHECK(s.client.unsubscribe("f", user).ok());
    s.expects(publish(4, 0x31, "long/topic", 0, "x") + publish(4, 0x32, "long/topic", 1, "x") +
              bytes({0x82, 6, 0, 2, 0, 1, 'f', 1, 0xA2, 5, 0, 3, 0, 1, 'f'}));
    s.sends(publish(4, 0x30, "t", 0, "more than twenty bytes"));
    const Event event = s.expect_event(Event::received);
    CHECK(event.message.payload.text() == "more than twenty bytes");
    CHECK(event.message.properties.empty());
    s.sends({0x40, 2, 0, 1, 0x90, 3, 0, 2, 1, 0xB0, 2, 0, 3});
    s.expect_event(Event::acknowledged);
    s.expect_event(Event::subscribed);
    const Event unsubscribed = s.expect_event(Event::unsubscribed);
    CHECK(unsubscribed.reason_codes.empty());

    // There is no AUTH, and the server has no DISCONNECT.
    SUBCASE("DISCONNECT from the server") {
        s.sends({0xE0, 0});
        s.ends(Error::protocol_error);
        s.expects("");
    }
    SUBCASE("DISCONNECT without a reason") {
        CHECK(s.client.disconnect(ReasonCode::success, user).ok());
        s.ends(Error::ok);
        s.expects({0xE0, 0});
    }
    SUBCASE("DISCONNECT with properties that 5 would refuse here") {
        mqtt::PropertyBuffer<16> list;
        CHECK(s.client.disconnect(ReasonCode::success, list.add(prop::server_reference, "x")).ok());
        s.ends(Error::ok);
        s.expects({0xE0, 0});
    }
    SUBCASE("with the will: just closed") {
        CHECK(s.client.disconnect(ReasonCode::disconnect_with_will_message).ok());
        s.ends(Error::ok);
        s.expects("");
    }
}

TEST_CASE("MQTT 5 in 3.1.1 a message that was to expire does not, and costs no polls") {
    Either s;
    mqtt::PropertyBuffer<8> list;
    list.add(prop::message_expiry_interval, 10);
    s.options.keep_alive = 0;
    s.begin();
    CHECK(s.client.publish("t", "x", QoS::at_least_once, Retain::no, list).packet_id == 1);
    s.does_not_know();
    s.accepts_3();
    s.expects({0x32, 6, 0, 1, 't', 0, 1, 'x'});
    CHECK(s.client.publish("t", "y", QoS::at_least_once, Retain::no, list).packet_id == 2);
    s.expects({0x32, 6, 0, 1, 't', 0, 2, 'y'});
    CHECK(s.live(60000) < 10);
    CHECK(s.waiting.empty());
    s.lose();
    s.port.refuse = true;
    CHECK(s.client.publish("t", "z", QoS::at_least_once, Retain::no, list).packet_id == 3);
    s.pass(60000);
    for (const Event& event : s.waiting) CHECK(event.kind == Event::disconnected);
}

// -------------------------------------------------------------------------- what waits when the version changes

TEST_CASE("MQTT 5 what was queued before the server was known arrives well-formed in the version that it knows") {
    for (const int version : {5, 4}) {
        CAPTURE(version);
        for (const size_t piece : {size_t(1), size_t(7), SIZE_MAX}) {
            Either s(large());
            s.begin();
            CHECK(s.asks_for(5));
            s.port.write_limit = piece;
            const Waiting waiting = queue_everything(s);
            if (version == 5) {
                s.sends(connack());
                s.expect_event(Event::connected);
            } else {
                s.sends({0x20, 2, 0, 1});
                CHECK(s.asks_for(4));
                s.accepts_3();
            }
            s.expects(version == 5 ? waiting.in_5 : waiting.in_3);
            // And all of it is answered.
            s.sends(version == 5 ? bytes({0x40, 2, 0, 1, 0x50, 2, 0, 2, 0x90, 6, 0, 4, 0, 0, 1, 2, 0xB0, 5, 0, 5, 0, 0, 0})
                                 : bytes({0x40, 2, 0, 1, 0x50, 2, 0, 2, 0x90, 5, 0, 4, 0, 1, 2, 0xB0, 2, 0, 5}));
            CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
            CHECK(s.expect_event(Event::pubrec).packet_id == 2);
            CHECK(s.expect_event(Event::subscribed).reason_codes.size() == 3);
            CHECK(s.expect_event(Event::unsubscribed).packet_id == 5);
            s.expects({0x62, 2, 0, 2});
            for (int id = 6; id < 17; ++id) {
                s.sends({0x40, 2, 0, id});
                CHECK(s.expect_event(Event::acknowledged).packet_id == id);
            }
            s.sends({0x70, 2, 0, 2, 0x50, 2, 0, 3});
            CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
            CHECK(s.expect_event(Event::pubrec).packet_id == 3);
            s.expects({0x62, 2, 0, 3});
            s.sends({0x70, 2, 0, 3});
            CHECK(s.expect_event(Event::acknowledged).packet_id == 3);
            CHECK(s.client.unacknowledged() == 0);
        }
    }
}

TEST_CASE("MQTT 5 connect() with the other version, and messages waiting: they arrive in that one, with their ids") {
    for (const Version first : {Version::v5, Version::v3_1_1})
        for (const bool back : {false, true}) {   // and back again, without a connection in between
            CAPTURE(first == Version::v5);
            CAPTURE(back);
            Either s(large(), first);
            s.port.refuse = true;
            REQUIRE(s.client.connect(s.options).ok());
            s.ends(Error::connect_failed);
            const Waiting waiting = queue_everything(s);
            CHECK(s.client.disconnect().ok());
            s.ends(Error::ok);
            Version now = first;
            for (int i = 0; i < (back ? 2 : 1); ++i) {
                now = now == Version::v5 ? Version::v3_1_1 : Version::v5;
                s.options.version = now;
                REQUIRE(s.client.connect(s.options).ok());
                if (i == 0 && back) {
                    s.expect_event(Event::disconnected);
                    CHECK(s.client.disconnect().ok());
                    s.ends(Error::ok);
                }
            }
            s.port.refuse = false;
            s.run();
            s.port.from_client.clear();
            s.sends(now == Version::v5 ? connack() : accepted_3);
            s.expect_event(Event::connected);
            // Properties and options that are gone do not come back.
            if (now == Version::v3_1_1) {
                s.expects(waiting.in_3);
            } else {
                std::string wanted = publish(5, 0x30, "a", 0, "0") + publish(5, 0x31, "b", 0, "0") +
                                     publish(5, 0x32, "c", 1, "1") + publish(5, 0x35, "d", 2, "") +
                                     publish(5, 0x34, "e/f", 3, "two") +
                                     packet(0x82, bytes({0, 4, 0}) + text("x/#") + bytes({2}) + text("y") + bytes({1}) +
                                                      text("$share/g/z") + bytes({0})) +
                                     packet(0xA2, bytes({0, 5, 0}) + text("x/#") + text("y"));
                int id = 6;
                for (const size_t size : {120U, 121U, 122U, 123U, 124U, 16376U, 16377U, 16378U, 16379U, 16380U}) {
                    wanted += publish(5, 0x32, "l", id, std::string(size, static_cast<char>('a' + id)));
                    ++id;
                }
                s.expects(wanted + publish(5, 0x32, "m", id, "x") + publish(5, 0x30, "n", 0, "last"));
            }
            CHECK(s.client.unacknowledged() == 14);
        }
}

TEST_CASE("MQTT 5 a session goes on in the other version: sent again with DUP, releases too, and QoS 2 stays exactly once") {
    for (const Version first : {Version::v5, Version::v3_1_1}) {
        const bool v5 = first == Version::v5;
        const int before = v5 ? 5 : 4, after = v5 ? 4 : 5;
        CAPTURE(v5);
        Either s({}, first);
        s.options.clean_session = false;
        s.begin();
        s.expects(v5 ? kept_5 : kept_3);
        s.sends(v5 ? connack() : accepted_3);
        s.expect_event(Event::connected);
        mqtt::PropertyBuffer<16> list;
        CHECK(s.client.publish("t", "1", QoS::at_least_once, Retain::no, list.add(prop::content_type, "c")).packet_id == 1);
        CHECK(s.client.publish("t", "2", QoS::exactly_once).packet_id == 2);
        CHECK(s.client.publish("t", "3", QoS::exactly_once).packet_id == 3);
        s.run();
        s.port.from_client.clear();
        s.sends(bytes({0x50, 2, 0, 2}) + publish(before, 0x34, "u", 7, "x"));
        s.expect_event(Event::pubrec);
        s.expect_event(Event::received);
        s.expects({0x62, 2, 0, 2, 0x50, 2, 0, 7});
        CHECK(s.client.disconnect().ok());
        s.ends(Error::ok);
        s.port.from_client.clear();
        s.options.version = v5 ? Version::v3_1_1 : Version::v5;
        s.begin();
        s.expects(v5 ? kept_3 : kept_5);
        s.sends(v5 ? resumed_3 : connack({}, 1));
        CHECK(s.expect_event(Event::connected).session_present);
        s.expects(publish(after, 0x3A, "t", 1, "1") + publish(after, 0x3C, "t", 3, "3") + bytes({0x62, 2, 0, 2}));
        s.sends(publish(after, 0x3C, "u", 7, "x"));
        s.expects({0x50, 2, 0, 7});
        s.sends({0x40, 2, 0, 1, 0x50, 2, 0, 3, 0x70, 2, 0, 2, 0x62, 2, 0, 7});
        CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
        CHECK(s.expect_event(Event::pubrec).packet_id == 3);
        CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
        CHECK(s.expect_event(Event::pubrel).packet_id == 7);
        s.expects({0x62, 2, 0, 3, 0x70, 2, 0, 7});
    }
}

TEST_CASE("MQTT 5 a message whose payload comes from elsewhere is asked for again in the other version, with a header of that one") {
    const std::string payload(300, 'p');
    for (const bool falls_back : {false, true})
        for (const bool v5 : {true, false}) {
            if (falls_back && !v5) continue;
            for (const size_t size : {122U, 123U, 124U, 300U}) {
                CAPTURE(falls_back);
                CAPTURE(v5);
                CAPTURE(size);
                const int before = v5 ? 5 : 4, after = v5 ? 4 : 5;
                Either s(Memory{}, falls_back ? Version::v5_or_v3_1_1 : v5 ? Version::v5 : Version::v3_1_1);
                s.options.clean_session = false;
                s.begin();
                s.port.from_client.clear();
                s.sends(v5 ? connack() : accepted_3);
                s.expect_event(Event::connected);
                mqtt::PropertyBuffer<16> list;
                list.add(prop::content_type, "c");
                CHECK(s.client.publish("t", "0", QoS::at_least_once, Retain::no, list).packet_id == 1);
                const uint32_t total = static_cast<uint32_t>(size);
                CHECK(s.client.begin_publish("t", total, QoS::at_least_once, Retain::no, list).packet_id == 2);
                CHECK(s.client.publish("t", "2", QoS::at_least_once, Retain::no, list).packet_id == 3);
                CHECK(s.client.write_payload(payload.substr(0, 100)).size == 100);
                const std::string kind = v5 ? bytes({0x03, 0, 1, 'c'}) : "";
                std::string begun = publish(before, 0x32, "t", 2, payload.substr(0, size), kind);
                begun.resize(begun.size() - (size - 100));
                s.expects(publish(before, 0x32, "t", 1, "0", kind) + begun);
                if (falls_back) {
                    s.lose();
                    s.wait();
                    s.run();
                    s.port.from_client.clear();
                    s.sends({0x20, 2, 0, 1});
                } else {
                    CHECK(s.client.abort().ok());
                    s.ends(Error::ok);
                    s.options.version = v5 ? Version::v3_1_1 : Version::v5;
                    REQUIRE(s.client.connect(s.options).ok());
                }
                s.run();
                CHECK(s.waiting.empty());
                s.port.from_client.clear();
                s.sends(v5 ? resumed_3 : connack({}, 1));
                s.expect_event(Event::connected);
                CHECK(s.expect_event(Event::resend_payload).packet_id == 2);
                CHECK(s.client.write_payload(payload.substr(0, size)).size == size);
                s.expects(publish(after, 0x3A, "t", 1, "0") + publish(after, 0x3A, "t", 2, payload.substr(0, size)) +
                          publish(after, 0x32, "t", 3, "2"));
                s.sends({0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3});
                for (const int id : {1, 2, 3}) CHECK(s.expect_event(Event::acknowledged).packet_id == id);
                CHECK(s.client.begin_publish("t", 1).ok());
            }
        }
}

TEST_CASE("MQTT 5 what was sent in 5 and is not in the session that 3.1.1 has is told as dropped") {
    Either s;
    s.options.clean_session = false;
    s.begin();
    s.port.from_client.clear();
    s.sends(connack());
    s.expect_event(Event::connected);
    CHECK(s.client.publish("t", "1", QoS::at_least_once).packet_id == 1);
    s.run();
    s.lose();
    CHECK(s.client.publish("t", "2", QoS::at_least_once).packet_id == 2);
    s.wait();
    s.does_not_know();
    s.accepts_3();
    const Event event = s.expect_event(Event::dropped);
    CHECK(event.packet_id == 1);
    CHECK(name(event.error) == "session lost");
    s.expects({0x32, 6, 0, 1, 't', 0, 2, '2'});
}

TEST_CASE("MQTT 5 what the limits of a connection with 5 would not let through goes out in 3.1.1") {
    Either s;
    s.begin();
    CHECK(s.asks_for(5));
    s.sends(connack(bytes({0x21, 0, 1, 0x24, 0, 0x25, 0, 0x27, 0, 0, 0, 20, 0x28, 0, 0x13, 0, 1})));
    s.expect_event(Event::connected);
    CHECK(s.client.publish("t", "x", QoS::exactly_once).error == Error::qos_not_supported);
    s.lose();
    s.wait();
    s.does_not_know();
    s.accepts_3();
    CHECK(s.client.publish("t", "x", QoS::exactly_once, Retain::yes).ok());
    CHECK(s.client.publish("t", "more than twenty bytes", QoS::at_least_once).ok());
    CHECK(s.client.subscribe("#", QoS::at_most_once).ok());
    s.expects(publish(4, 0x35, "t", 1, "x") + publish(4, 0x32, "t", 2, "more than twenty bytes") +
              bytes({0x82, 6, 0, 3, 0, 1, '#', 0}));
    s.pass(50000);   // nor is the server's keep alive that of the next one
    s.quiet();
}

TEST_CASE("MQTT 5 becoming 5, each packet grows by a byte or two: without room connect() says no_space, and nothing is lost") {
    Memory memory;
    memory.tx = 16 + 60 + 604;
    std::string in_3, in_5;
    bool full = false, fitted = false, refused = false;
    for (size_t wanted = 1; !full; ++wanted) {
        CAPTURE(wanted);
        Either s(memory, Version::v3_1_1);
        s.port.refuse = true;
        REQUIRE(s.client.connect(s.options).ok());
        s.ends(Error::connect_failed);
        const std::string middle(122, 'm');   // with which the length takes another byte, too
        CHECK(s.client.publish("t", middle, QoS::at_least_once).ok());
        in_3 = publish(4, 0x32, "t", 1, middle);
        in_5 = publish(5, 0x32, "t", 1, middle);
        int count = 1;
        while (count < static_cast<int>(wanted) && !full) {
            full = !s.client.publish("t", "x", QoS::at_least_once).ok();
            if (full) break;
            ++count;
            in_3 += publish(4, 0x32, "t", count, "x");
            in_5 += publish(5, 0x32, "t", count, "x");
        }
        CHECK(s.client.disconnect().ok());
        s.ends(Error::ok);
        s.port.refuse = false;

        // It may use all of tx but what is set aside: 60 for received messages, 16 for answers; and 4 of index for each.
        const bool fits = in_5.size() + 4 * static_cast<size_t>(count) <= memory.tx - 60 - 16;
        (fits ? fitted : refused) = true;
        s.options.version = wanted % 2 == 0 ? Version::v5 : Version::v5_or_v3_1_1;
        CHECK(name(s.client.connect(s.options).error) == (fits ? "ok" : "no space"));
        if (!fits) {
            s.quiet();
            CHECK(s.client.idle_ms() == mqtt::forever);
            CHECK(s.client.publish("t", "x").error == Error::not_started);
            s.options.version = Version::v3_1_1;
            REQUIRE(s.client.connect(s.options).ok());
        }
        s.run();
        s.port.from_client.clear();
        s.sends(fits ? connack() : accepted_3);
        s.expect_event(Event::connected);
        s.expects(fits ? in_5 : in_3);
        CHECK(s.client.unacknowledged() == count);
        for (int id = 1; id <= count; ++id) {
            s.sends({0x40, 2, 0, id});
            CHECK(s.expect_event(Event::acknowledged).packet_id == id);
        }
        CHECK(s.client.disconnect().ok());
        s.ends(Error::ok);
        s.options.version = Version::v5;
        CHECK(s.client.connect(s.options).ok());   // now there is
    }
    CHECK(fitted);
    CHECK(refused);
}
