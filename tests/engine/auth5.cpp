// MQTT 5: enhanced authentication, while connecting and anew (sections 3.15 and 4.12).
#include "tests/support/peer5.hpp"

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using mqtt::ReasonCode;
using test::bytes;
using test::connack;
using test::Memory;
using test::packet;
using test::properties;
using test::Session5;
using test::text;
namespace prop = mqtt::prop;

std::string name(Error error) { return mqtt::to_string(error); }

const std::string method = bytes({0x15, 0, 1, 'm'});

std::string data(const std::string& value) { return bytes({0x16}) + text(value); }
std::string auth(int reason, const std::string& list) { return packet(0xF0, bytes({reason}) + properties(list)); }

// A client whose authentication method is "m", and the properties that it answers with.
struct Authenticating : Session5 {
    explicit Authenticating(const Memory& memory = {}) : Session5(memory) {
        in_connect.add(prop::authentication_method, "m").add(prop::authentication_data, "0");
        options.properties = in_connect;
    }
    // CONNECT is written.
    void begin() {
        REQUIRE(client.connect(options).ok());
        expects({0x10, 25, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 11, 0x15, 0, 1, 'm', 0x16, 0, 1, '0', 0x21, 0, 20,
                 0, 1, 'c'});
    }
    void connect() {
        begin();
        sends(connack(method));
        expect_event(Event::connected);
    }
    mqtt::Result answer(const std::string& value) {
        own.clear();
        return client.authenticate(own.add(prop::authentication_method, "m").add(prop::authentication_data, value));
    }
    // AUTH comes, with this data.
    void asked(ReasonCode reason, const std::string& value) {
        const Event event = expect_event(Event::authentication);
        CHECK(event.reason == reason);
        CHECK(event.error == Error::ok);
        CHECK(event.properties.get(prop::authentication_method).value_or("") == "m");
        CHECK(event.properties.get(prop::authentication_data).value_or(mqtt::Bytes("none")).text() == value);
    }
    // The next attempt authenticates from its beginning.
    void starts_anew() {
        port.clock += options.reconnect_max_ms;
        port.write_limit = SIZE_MAX;
        expects({0x10, 25, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x02, 0, 60, 11, 0x15, 0, 1, 'm', 0x16, 0, 1, '0', 0x21, 0, 20,
                 0, 1, 'c'});
        CHECK(name(answer("x").error) == "not connected");
        sends(auth(0x18, method + data("1")));
        asked(ReasonCode::continue_authentication, "1");
        CHECK(answer("2").ok());
        expects(auth(0x18, method + data("2")));
        sends(connack(method));
        expect_event(Event::connected);
    }

    mqtt::PropertyBuffer<64> in_connect;
    mqtt::PropertyBuffer<400> own;
};

// What comes in place of the server's first AUTH or CONNACK.
void refused_while_connecting(const std::string& sent, int reason, Error error) {
    INFO(test::hex(sent));
    Authenticating s;
    s.begin();
    s.sends(sent);
    s.rejects_with(reason, error);
    s.starts_anew();
}
// The same when it is the server's turn on a connection, and when it is not.
void refused_when_connected(const std::string& sent, int reason, Error error, bool servers_turn = true) {
    INFO(test::hex(sent));
    Authenticating s;
    s.connect();
    if (servers_turn) {
        CHECK(s.answer("a").ok());
        s.expects(auth(0x19, method + data("a")));
    }
    s.sends(sent);
    s.rejects_with(reason, error);
    s.starts_anew();
}

}  // namespace

// -------------------------------------------------------------------------------------------- while connecting

TEST_CASE("MQTT 5 a method goes out in CONNECT, and an authentication in one step is told with CONNACK's data") {
    Authenticating s;
    s.begin();
    s.sends(connack(method + data("final")));
    const Event event = s.expect_event(Event::connected);
    CHECK(event.properties.get(prop::authentication_method).value_or("") == "m");
    CHECK(event.properties.get(prop::authentication_data).value_or(mqtt::Bytes()).text() == "final");
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-4.12.0-2], [MQTT-4.12.0-3], [MQTT-3.1.2-30] an exchange of several rounds, in which nothing but AUTH is sent before CONNACK") {
    for (const size_t piece : {size_t(1), size_t(3), size_t(1000)}) {
        CAPTURE(piece);
        Authenticating s;
        s.port.read_limit = s.port.write_limit = piece;
        s.begin();
        CHECK(s.client.publish("t", "x", QoS::at_least_once).ok());
        CHECK(s.client.subscribe("f", QoS::at_most_once).ok());
        for (char round = 'a'; round < 'f'; ++round) {
            const std::string challenge(3, round), answer(5, round);
            s.sends(auth(0x18, method + data(challenge) + bytes({0x1F, 0, 1, 'w', 0x26, 0, 1, 'k', 0, 1, 'v'})));
            s.asked(ReasonCode::continue_authentication, challenge);
            s.quiet();   // the answer may take its time
            s.port.clock += 100;
            CHECK(s.answer(answer).ok());
            s.expects(auth(0x18, method + data(answer)));
            s.quiet();
            CHECK_FALSE(s.client.connected());
        }
        s.sends(connack(method + data("final")));
        const Event event = s.expect_event(Event::connected);
        CHECK(event.properties.get(prop::authentication_data).value_or(mqtt::Bytes()).text() == "final");
        s.expects({0x32, 7, 0, 1, 't', 0, 1, 0, 'x', 0x82, 7, 0, 2, 0, 0, 1, 'f', 0});
        s.reconnect(method);
    }
}

TEST_CASE("MQTT 5 an AUTH that is cut at any byte is understood, in rx of its very size, and answered from there") {
    const std::string challenge = auth(0x18, method + data("how are you today?"));
    for (size_t cut = 1; cut < challenge.size(); ++cut) {
        Memory memory;
        memory.rx = challenge.size();
        REQUIRE(memory.rx == 29);
        Authenticating s(memory);
        s.begin();
        s.sends(challenge.substr(0, cut));
        s.quiet();
        s.sends(challenge.substr(cut));
        s.asked(ReasonCode::continue_authentication, "how are you today?");
        CHECK(s.next().kind == Event::none);
        CHECK(s.answer("fine, and how are you?").error != Error::ok);   // 33 bytes
        CHECK(s.answer("fine, and you, too?").error != Error::ok);   // 30 bytes
        CHECK(s.answer("fine, and yourself").ok());   // 29 bytes
        s.expects(auth(0x18, method + data("fine, and yourself")));
        s.sends(connack(method));
        s.expect_event(Event::connected);
    }
}

TEST_CASE("MQTT 5 an answer that does not fit behind what is in rx yet has no space; after the next poll() it has") {
    Memory memory;
    memory.rx = 32;
    Authenticating s(memory);
    s.begin();
    s.sends(auth(0x18, method + data("challenge")));   // 20 bytes
    s.asked(ReasonCode::continue_authentication, "challenge");
    CHECK(name(s.answer("response").error) == "no space");
    CHECK(s.client.poll().kind == Event::none);
    CHECK(s.answer("response").ok());
    s.expects(auth(0x18, method + data("response")));
    s.sends(connack(method));
    s.expect_event(Event::connected);
}

TEST_CASE("MQTT 5 an answer that can never fit into rx is told to be too large") {
    Memory memory;
    memory.rx = 32;
    Authenticating s(memory);
    s.begin();
    s.sends(auth(0x18, method + data("1")));
    s.asked(ReasonCode::continue_authentication, "1");
    CHECK(s.client.poll().kind == Event::none);
    CHECK(name(s.answer(std::string(22, 'x')).error) == "buffer too small");   // 33 bytes
    CHECK(s.answer(std::string(21, 'x')).ok());
    s.expects(auth(0x18, method + data(std::string(21, 'x'))));
}

TEST_CASE("MQTT 5 the properties of the event may themselves be the answer") {
    Authenticating s;
    s.begin();
    const std::string list = method + data("echo") + bytes({0x26, 0, 1, 'k', 0, 1, 'v'});
    s.sends(auth(0x18, list));
    CHECK(s.client.authenticate(s.expect_event(Event::authentication).properties).ok());
    s.expects(auth(0x18, list));
}

TEST_CASE("MQTT 5 AUTH goes out whole, however few bytes the port takes; a connection that ends in the middle of it is begun again with CONNECT") {
    const std::string answer = auth(0x18, method + data("answer"));
    for (size_t written = 0; written <= answer.size(); ++written) {
        CAPTURE(written);
        Authenticating s;
        s.begin();
        s.sends(auth(0x18, method + data("1")));
        s.asked(ReasonCode::continue_authentication, "1");
        s.port.write_limit = written;
        CHECK(s.answer("answer").ok());
        if (written != 0) {
            CHECK(s.client.poll().kind == Event::none);
            CHECK(s.port.from_client == answer.substr(0, written));
        }
        s.port.cut = true;
        CHECK(name(s.expect_event(Event::disconnected).error) == "connection lost");
        s.port.from_client.clear();
        s.starts_anew();
    }
    for (size_t limit = 1; limit <= answer.size(); ++limit) {
        Authenticating s;
        s.begin();
        s.sends(auth(0x18, method + data("1")));
        s.asked(ReasonCode::continue_authentication, "1");
        s.port.write_limit = limit;
        CHECK(s.answer("answer").ok());
        s.expects(answer);
        s.sends(connack(method));
        s.expect_event(Event::connected);
    }
}

TEST_CASE("MQTT 5 [MQTT-4.12.0-5] AUTH and a successful CONNACK repeat our method: another one, or none, is a protocol error") {
    const std::string others[] = {"", bytes({0x15, 0, 1, 'n'}), bytes({0x15, 0, 1, 'M'}), bytes({0x15, 0, 0}),
                                  bytes({0x15, 0, 2, 'm', 'm'})};
    for (const std::string& other : others) {
        refused_while_connecting(auth(0x18, other), 0x82, Error::protocol_error);
        refused_while_connecting(auth(0x18, other + data("1")), 0x82, Error::protocol_error);
        refused_while_connecting(connack(other), 0x82, Error::protocol_error);
        refused_while_connecting(connack(other + data("1")), 0x82, Error::protocol_error);
        refused_when_connected(auth(0x18, other), 0x82, Error::protocol_error);
        refused_when_connected(auth(0x18, other + data("1")), 0x82, Error::protocol_error);
        refused_when_connected(auth(0x00, other + bytes({0x1F, 0, 1, 'w'})), 0x82, Error::protocol_error);
    }
}

TEST_CASE("MQTT 5 a refusing CONNACK needs no method; its reason decides how long the client waits") {
    for (const int reason : {0x87, 0x8C, 0x88}) {
        CAPTURE(reason);
        for (const bool after_auth : {false, true}) {
            Authenticating s;
            s.begin();
            if (after_auth) {
                s.sends(auth(0x18, method + data("1")));
                s.asked(ReasonCode::continue_authentication, "1");
                CHECK(s.answer("2").ok());
                s.expects(auth(0x18, method + data("2")));
            }
            s.sends(connack(bytes({0x1F, 0, 2, 'n', 'o'}), 0, reason));
            const Event event = s.expect_event(Event::disconnected);
            CHECK(name(event.error) == "connection refused");
            CHECK(static_cast<int>(event.reason) == reason);
            CHECK(event.properties.get(prop::reason_string).value_or("") == "no");
            s.quiet();
            CHECK((s.client.idle_ms() >= s.options.reconnect_max_ms / 2) == (reason != 0x88));
            s.starts_anew();
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-4.12.0-6], [MQTT-4.12.0-7] without a method in CONNECT there is no AUTH, and no method in CONNACK") {
    const auto refused = [](const std::string& sent) {
        CAPTURE(test::hex(sent));
        Session5 s;
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        s.port.from_client.clear();
        s.sends(sent);
        s.rejects_with(0x82, Error::protocol_error);
        if (sent[0] == 0x20) return;
        Session5 t;
        t.connect();
        t.sends(sent);
        t.rejects_with(0x82, Error::protocol_error);
    };
    refused(connack(method));
    refused(connack(method + data("d")));
    refused(auth(0x18, method));
    refused(auth(0x18, ""));
    refused(auth(0x19, method));
    refused(auth(0x00, method));
    refused(bytes({0xF0, 0}));

    Session5 s;
    s.connect();
    mqtt::PropertyBuffer<8> list;
    CHECK(name(s.client.authenticate(list.add(prop::authentication_method, "m")).error) == "invalid argument");
    CHECK(name(s.client.authenticate({}).error) == "invalid argument");
    s.quiet();
}

TEST_CASE("MQTT 5 [MQTT-3.15.2-1], [MQTT-4.12.0-2] while connecting, the server's AUTH says continue; anything else is a protocol error") {
    for (int reason = 0; reason < 256; ++reason)
        if (reason != 0x18) refused_while_connecting(auth(reason, method), 0x82, Error::protocol_error);
    refused_while_connecting(bytes({0xF0, 0}), 0x82, Error::protocol_error);   // which means success
}

TEST_CASE("MQTT 5 [MQTT-3.15.1-1] the reserved flags of AUTH are 0") {
    for (int flags = 1; flags < 16; ++flags) {
        const std::string sent = packet(0xF0 | flags, bytes({0x18}) + properties(method));
        refused_while_connecting(sent, 0x81, Error::malformed_packet);
        refused_when_connected(sent, 0x81, Error::malformed_packet);
    }
}

TEST_CASE("MQTT 5 an AUTH whose properties are not legal, or that ends too early or too late") {
    const std::string malformed[] = {
        bytes({0xF0, 1, 0x18}),                                          // no length of properties
        bytes({0xF0, 6, 0x18, 5, 0x15, 0, 1, 'm'}),                      // a byte is missing
        bytes({0xF0, 7, 0x18, 4, 0x15, 0, 1, 'm', 0}),                   // one too many
        bytes({0xF0, 6, 0x18, 4, 0x15, 0, 2, 'm'}),                      // the text goes on
        auth(0x18, method + bytes({0x1C, 0, 1, 's'})),                   // Server Reference
        auth(0x18, method + bytes({0x13, 0, 1})),                        // Server Keep Alive
        auth(0x18, method + bytes({0x2B})),                              // none
        auth(0x18, bytes({0x15, 0, 1, 0xFF})),                           // not UTF-8
        auth(0x18, method + bytes({0x1F, 0, 1, 0})),                     // U+0000
    };
    for (const std::string& sent : malformed) {
        refused_while_connecting(sent, 0x81, Error::malformed_packet);
        refused_when_connected(sent, 0x81, Error::malformed_packet);
    }
    const std::string twice[] = {auth(0x18, method + method), auth(0x18, method + data("1") + data("2")),
                                 auth(0x18, method + bytes({0x1F, 0, 1, 'a', 0x1F, 0, 1, 'b'}))};
    for (const std::string& sent : twice) {
        refused_while_connecting(sent, 0x82, Error::protocol_error);
        refused_when_connected(sent, 0x82, Error::protocol_error);
    }
}

TEST_CASE("MQTT 5 a server that goes on without our answer: a second AUTH is a protocol error, CONNACK ends the exchange") {
    for (const bool at_once : {false, true}) {   // the answer is given, or at least tried, before more is looked at
        CAPTURE(at_once);
        for (const bool whole : {false, true}) {
            Authenticating s;
            s.begin();
            const std::string second = auth(0x18, method + data("2"));
            s.sends(auth(0x18, method + data("1")) + second.substr(0, whole ? second.size() : 5));
            s.asked(ReasonCode::continue_authentication, "1");
            if (at_once) CHECK(name(s.answer("x").error) == "not connected");
            s.sends(second.substr(whole ? second.size() : 5));
            s.rejects_with(0x82, Error::protocol_error);
            s.starts_anew();
        }
        Authenticating s;
        s.begin();
        s.sends(auth(0x18, method + data("1")) + connack(method));
        s.asked(ReasonCode::continue_authentication, "1");
        if (at_once) CHECK(name(s.answer("x").error) == "not connected");
        s.expect_event(Event::connected);
        s.quiet();
    }
}

TEST_CASE("MQTT 5 there is one time-out for all of connecting") {
    Authenticating s;
    s.options.connect_timeout_ms = 5000;
    s.begin();
    for (int i = 0; i < 4; ++i) {
        s.port.clock += 1200;
        s.sends(auth(0x18, method + data("1")));
        s.asked(ReasonCode::continue_authentication, "1");
        CHECK(s.answer("2").ok());
        s.expects(auth(0x18, method + data("2")));
    }
    SUBCASE("the server is slow") {}
    SUBCASE("we are") {
        s.sends(auth(0x18, method + data("1")));
        s.asked(ReasonCode::continue_authentication, "1");
    }
    s.port.clock += 199;
    s.quiet();
    CHECK(s.client.idle_ms() == 1);
    s.port.clock += 1;
    CHECK(name(s.expect_event(Event::disconnected).error) == "connect timeout");
    s.expects("");
    s.starts_anew();
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-24], [MQTT-3.15.2-2], [MQTT-3.15.2-3] an AUTH larger than our Maximum Packet Size, or than rx, is refused") {
    const std::string with_reason = auth(0x18, method + bytes({0x1F, 0, 19}) + std::string(19, 'w'));
    const std::string with_pair = auth(0x18, method + bytes({0x26, 0, 1, 'k', 0, 16}) + std::string(16, 'v'));
    for (const std::string& sent : {with_reason, with_pair}) {
        REQUIRE(sent.size() == 30);
        for (const size_t size : {29U, 30U}) {
            Memory memory;
            SUBCASE("rx") { memory.rx = size; }
            SUBCASE("the server was told") {}
            const bool told = memory.rx != size;
            Authenticating s(memory);
            if (told) s.options.maximum_packet_size = static_cast<uint32_t>(size);
            REQUIRE(s.client.connect(s.options).ok());
            s.run();
            s.port.from_client.clear();
            s.sends(sent);
            if (size == 29) s.rejects_with(0x95, Error::oversize_packet);
            else s.expect_event(Event::authentication);
        }
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-29] without problem information, AUTH has neither reason string nor user properties") {
    for (const std::string& list : {bytes({0x1F, 0, 1, 'w'}), bytes({0x26, 0, 1, 'k', 0, 1, 'v'})})
        for (const bool quiet : {false, true})
            for (const bool connected : {false, true}) {
                CAPTURE(quiet);
                CAPTURE(connected);
                Authenticating s;
                if (quiet) s.in_connect.add(prop::request_problem_information, 0);
                s.options.properties = s.in_connect;
                REQUIRE(s.client.connect(s.options).ok());
                s.run();
                if (connected) {
                    s.sends(connack(method));
                    s.expect_event(Event::connected);
                    CHECK(s.answer("a").ok());
                    s.run();
                }
                s.port.from_client.clear();
                s.sends(auth(0x18, method + list));
                if (quiet) s.rejects_with(0x82, Error::protocol_error);
                else CHECK(s.expect_event(Event::authentication).properties.block().size() == 4 + list.size());
            }
}

// --------------------------------------------------------------------------------------------- authenticating anew

TEST_CASE("MQTT 5 [MQTT-4.12.1-1] the client authenticates anew when it wants to, by AUTH 0x19, while other packets go their way") {
    for (const size_t piece : {size_t(1), size_t(1000)}) {
        Authenticating s;
        s.connect();
        s.port.read_limit = s.port.write_limit = piece;
        for (int i = 0; i < 2; ++i) {
            CHECK(s.answer("a").ok());
            CHECK(s.client.publish("t", "x").ok());
            s.expects(auth(0x19, method + data("a")) + bytes({0x30, 5, 0, 1, 't', 0, 'x'}));
            for (const char* round : {"1", "2", "3"}) {
                s.sends(bytes({0x30, 5, 0, 1, 'u', 0, 'y'}) + auth(0x18, method + data(round)));
                CHECK(s.expect_event(Event::received).message.topic == "u");
                s.asked(ReasonCode::continue_authentication, round);
                CHECK(s.client.connected());
                s.quiet();
                CHECK(s.client.publish("t", "x").ok());
                CHECK(s.answer(round).ok());
                s.expects(bytes({0x30, 5, 0, 1, 't', 0, 'x'}) + auth(0x18, method + data(round)));
            }
            s.sends(auth(0x00, method + data("final")));
            s.asked(ReasonCode::success, "final");
            s.quiet();
            CHECK(s.client.connected());
        }
    }
}

TEST_CASE("MQTT 5 a success may leave out all it has to say") {
    Authenticating s;
    s.connect();
    CHECK(s.answer("a").ok());
    s.expects(auth(0x19, method + data("a")));
    s.sends({0xF0, 0});
    const Event event = s.expect_event(Event::authentication);
    CHECK(event.reason == ReasonCode::success);
    CHECK(event.properties.empty());
    CHECK(s.answer("b").ok());   // and then again
    s.expects(auth(0x19, method + data("b")));
}

TEST_CASE("MQTT 5 [MQTT-3.15.2-1], [MQTT-4.12.1-1] it is the client that begins, and the server answers once") {
    for (int reason = 0; reason < 256; ++reason)
        if (reason != 0x18 && reason != 0x00) refused_when_connected(auth(reason, method), 0x82, Error::protocol_error);
    for (const int reason : {0x00, 0x18, 0x19}) refused_when_connected(auth(reason, method), 0x82, Error::protocol_error, false);
    refused_when_connected(bytes({0xF0, 0}), 0x82, Error::protocol_error, false);
    refused_when_connected(bytes({0xF0, 0, 0xF0, 0}), 0x82, Error::protocol_error, false);
    Authenticating s;
    s.connect();
    CHECK(s.answer("a").ok());
    s.expects(auth(0x19, method + data("a")));
    SUBCASE("a second one before our answer") {
        s.sends(auth(0x18, method + data("1")));
        s.asked(ReasonCode::continue_authentication, "1");
        s.sends(auth(0x18, method + data("2")));
    }
    SUBCASE("success before our answer") {
        s.sends(auth(0x18, method + data("1")));
        s.asked(ReasonCode::continue_authentication, "1");
        s.sends(auth(0x00, method));
    }
    SUBCASE("more after success") {
        s.sends(auth(0x00, method + data("1")));
        s.asked(ReasonCode::success, "1");
        s.sends(auth(0x18, method + data("2")));
    }
    s.rejects_with(0x82, Error::protocol_error);
}

TEST_CASE("MQTT 5 [MQTT-4.12.1-1] after CONNACK an exchange is a new one, also if the server did not wait for our last answer") {
    Authenticating s;
    s.begin();
    s.sends(auth(0x18, method + data("1")));
    s.asked(ReasonCode::continue_authentication, "1");
    s.sends(connack(method));
    s.expect_event(Event::connected);
    CHECK(s.answer("a").ok());
    s.expects(auth(0x19, method + data("a")));
}

TEST_CASE("MQTT 5 [MQTT-4.12.1-2] a failed re-authentication ends the connection, by the server's DISCONNECT or by ours") {
    Authenticating s;
    s.connect();
    CHECK(s.answer("a").ok());
    s.expects(auth(0x19, method + data("a")));
    SUBCASE("the server's") {
        s.sends({0xE0, 8, 0x87, 6, 0x1F, 0, 3, 'n', 'o', '!'});
        const Event event = s.expect_event(Event::disconnected);
        CHECK(name(event.error) == "server disconnected");
        CHECK(event.reason == ReasonCode::not_authorized);
        CHECK(event.properties.get(prop::reason_string).value_or("") == "no!");
        s.quiet();
        CHECK(s.client.idle_ms() >= s.options.reconnect_max_ms / 2);
        s.starts_anew();
    }
    SUBCASE("ours") {
        s.sends(auth(0x18, method + data("nonsense")));
        s.asked(ReasonCode::continue_authentication, "nonsense");
        CHECK(s.client.disconnect(ReasonCode::unspecified_error).ok());
        s.expects({0xE0, 1, 0x80});
        CHECK(s.expect_event(Event::disconnected).error == Error::ok);
        CHECK_FALSE(s.port.is_open);
    }
}

TEST_CASE("MQTT 5 [MQTT-3.15.2-2], [MQTT-3.15.2-3], [MQTT-3.2.2-15] an AUTH that is too large for the server is refused, so that it can be repeated without its texts") {
    Authenticating s;
    s.begin();
    s.sends(connack(method + bytes({0x27, 0, 0, 0, 12})));
    s.expect_event(Event::connected);
    s.own.add(prop::authentication_method, "m").add(prop::authentication_data, "a");   // 12 bytes in all
    mqtt::PropertyBuffer<64> more = {};
    more.add(prop::authentication_method, "m").add(prop::reason_string, "ab");
    CHECK(name(s.client.authenticate(more).error) == "packet too large");
    more.clear();
    more.add(prop::authentication_method, "m").add(prop::user_property, {"", ""});
    CHECK(name(s.client.authenticate(more).error) == "packet too large");
    s.quiet();
    CHECK(s.client.authenticate(s.own).ok());
    s.expects(auth(0x19, method + data("a")));
}

TEST_CASE("MQTT 5 an AUTH that was not sent when the connection ended is not sent on the next one") {
    for (size_t written = 0; written < 12; ++written) {
        CAPTURE(written);
        Authenticating s;
        s.connect();
        s.port.write_limit = written;
        CHECK(s.answer("a").ok());
        if (written != 0) CHECK(s.client.poll().kind == Event::none);
        s.port.cut = true;
        s.expect_event(Event::disconnected);
        s.port.from_client.clear();
        s.starts_anew();
        s.quiet();
        CHECK(s.answer("b").ok());
        s.expects(auth(0x19, method + data("b")));
    }
}

TEST_CASE("MQTT 5 an AUTH waits for the end of a payload that is being written") {
    Authenticating s;
    s.connect();
    REQUIRE(s.client.begin_publish("t", 4).ok());
    CHECK(s.client.write_payload("12").size == 2);
    CHECK(s.answer("a").ok());
    s.expects({0x30, 8, 0, 1, 't', 0, '1', '2'});
    CHECK(s.client.write_payload("34").size == 2);
    s.expects(bytes({'3', '4'}) + auth(0x19, method + data("a")));
}

// ---------------------------------------------------------------------------------------------- at wrong times

TEST_CASE("MQTT 5 authenticate() at wrong times says why, and sends nothing") {
    Authenticating s;
    CHECK(name(s.answer("x").error) == "not started");
    SUBCASE("after disconnect()") {
        s.connect();
        CHECK(s.client.disconnect().ok());
        CHECK(name(s.answer("x").error) == "not started");   // while DISCONNECT is being written
        s.expects({0xE0, 0});
        s.expect_event(Event::disconnected);
        CHECK(name(s.answer("x").error) == "not started");
    }
    SUBCASE("while connecting") {
        s.port.refuse = true;
        REQUIRE(s.client.connect(s.options).ok());
        CHECK(name(s.answer("x").error) == "not connected");
        s.expect_event(Event::disconnected);
        CHECK(name(s.answer("x").error) == "not connected");   // waiting
        s.port.refuse = false;
        s.port.opening = 1;
        s.port.clock += s.options.reconnect_max_ms;
        CHECK(s.client.poll().kind == Event::none);
        CHECK(name(s.answer("x").error) == "not connected");   // opening
        s.port.write_limit = 5;
        CHECK(s.client.poll().kind == Event::none);
        CHECK(s.port.is_open);
        CHECK(name(s.answer("x").error) == "not connected");   // writing CONNECT
        s.port.write_limit = SIZE_MAX;
        s.run();
        s.port.from_client.clear();
        CHECK(name(s.answer("x").error) == "not connected");   // the server has not asked
        s.sends(auth(0x18, method + data("1")));
        s.asked(ReasonCode::continue_authentication, "1");
        s.port.write_limit = 5;
        CHECK(s.answer("2").ok());
        CHECK(name(s.answer("x").error) == "not connected");   // has been answered
        CHECK(s.client.poll().kind == Event::none);
        CHECK(name(s.answer("x").error) == "not connected");
        s.expects(auth(0x18, method + data("2")));
        CHECK(name(s.answer("x").error) == "not connected");
        s.quiet();
        s.sends(connack(method));
        s.expect_event(Event::connected);
    }
    SUBCASE("connected, and the server has not answered yet") {
        s.connect();
        CHECK(s.answer("a").ok());
        CHECK(name(s.answer("x").error) == "invalid argument");
        s.expects(auth(0x19, method + data("a")));
        CHECK(name(s.answer("x").error) == "invalid argument");
        s.sends(auth(0x18, method + data("1")));
        s.asked(ReasonCode::continue_authentication, "1");
        CHECK(s.answer("2").ok());
        CHECK(name(s.answer("x").error) == "invalid argument");
        s.expects(auth(0x18, method + data("2")));
        s.quiet();
    }
    SUBCASE("while the client's DISCONNECT for an error is being written") {
        s.connect();
        s.port.write_limit = 0;
        s.sends({0xF0, 0});
        CHECK(s.next().kind == Event::none);
        CHECK(name(s.answer("x").error) == "not connected");
        s.port.write_limit = SIZE_MAX;
        s.rejects_with(0x82, Error::protocol_error);
    }
    SUBCASE("3.1.1, which does not have it") {
        s.options.version = mqtt::Version::v3_1_1;
        REQUIRE(s.client.connect(s.options).ok());
        s.run();
        s.sends({0x20, 2, 0, 0});
        s.expect_event(Event::connected);
        s.port.from_client.clear();
        CHECK(name(s.answer("x").error) == "not connected");
        s.quiet();
        s.sends(auth(0x18, method));   // malformed there
        CHECK(name(s.expect_event(Event::disconnected).error) == "malformed packet");
        s.expects("");
    }
}

TEST_CASE("MQTT 5 [MQTT-4.12.0-5] authenticate() refuses properties that are not legal, or of another method, and can be called again") {
    const std::string refused[] = {"", data("x"), bytes({0x15, 0, 1, 'n'}), method + method, method + data("1") + data("2"),
                                   method + bytes({0x1C, 0, 1, 's'}), method + bytes({0x2B}), method + bytes({0x1F, 0, 1, 0xFF}),
                                   method + bytes({0x16, 0, 2, 'x'}), bytes({0x15, 0, 2, 'm'})};
    for (const std::string& list : refused)
        for (const bool connected : {false, true}) {
            CAPTURE(test::hex(list));
            Authenticating s;
            if (connected) {
                s.connect();
            } else {
                s.begin();
                s.sends(auth(0x18, method + data("1")));
                s.asked(ReasonCode::continue_authentication, "1");
            }
            const mqtt::Properties own(reinterpret_cast<const uint8_t*>(list.data()), list.size());
            CHECK(name(s.client.authenticate(own).error) == "invalid properties");
            s.quiet();
            CHECK(s.answer("a").ok());
            s.expects(auth(connected ? 0x19 : 0x18, method + data("a")));
        }
}

TEST_CASE("MQTT 5 an AUTH that finds no room in tx can be repeated") {
    Memory memory;
    memory.tx = 16 + 60 + 40;
    Authenticating s(memory);
    s.connect();
    s.port.write_limit = 0;
    CHECK(s.client.publish("t", "12345678901234", QoS::at_least_once).ok());   // takes 22, and 4
    CHECK(name(s.answer(std::string(20, 'x')).error) == "no space");
    s.port.write_limit = SIZE_MAX;
    s.run();
    s.port.from_client.clear();
    s.sends({0x40, 2, 0, 1});
    s.expect_event(Event::acknowledged);
    CHECK(s.answer(std::string(20, 'x')).ok());
    s.expects(auth(0x19, method + data(std::string(20, 'x'))));
}

TEST_CASE("MQTT 5 a short AUTH finds room when messages do not any more") {
    Memory memory;
    memory.tx = 16 + 60 + 200;
    Authenticating s(memory);
    s.connect();
    s.port.write_limit = 0;
    for (size_t size = 100; size != 0; --size)
        while (s.client.publish("t", std::string(size, 'x'), QoS::at_least_once).ok()) {}
    while (s.client.publish("t", "").ok()) {}   // takes 6
    CHECK(name(s.client.publish("t", "").error) == "no space");
    CHECK(s.answer("a").ok());   // 12 bytes
    s.port.write_limit = SIZE_MAX;
    s.run();
    REQUIRE(s.port.from_client.size() > 12);
    CHECK(s.port.from_client.substr(s.port.from_client.size() - 12) == auth(0x19, method + data("a")));
}
