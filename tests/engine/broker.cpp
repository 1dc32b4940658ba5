// The test broker, held to the server's half of the specification by packets written out by hand.
//
// The names of these test cases say [server 3.1.4-4] for MQTT-3.1.4-4: the statements that the client holds are counted
// by name (tests/build/conformance.py), and that the broker holds one proves nothing about the client. Those that do
// count are at the end: there the client at the broker is the library's.

#include "tests/support/broker.hpp"
#include "tests/support/broker_tcp.hpp"
#include "tests/support/testing.hpp"

#include <doctest/doctest.h>

#include <poll.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using test::Broker;
using test::BrokerConfig;
using test::TcpBroker;

using Numbers = std::initializer_list<int>;

std::string raw(Numbers numbers) {
    std::string bytes;
    for (const int number : numbers) bytes += static_cast<char>(number);
    return bytes;
}

std::string hex(std::string_view bytes) {
    static const char digits[] = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        const unsigned byte = static_cast<unsigned char>(c);
        text += {digits[byte >> 4], digits[byte & 15], ' '};
    }
    return text;
}
std::string hex(Numbers numbers) { return hex(raw(numbers)); }

const uint8_t* data_of(const std::string& bytes) { return mqtt::Bytes(bytes).data(); }

// CONNECT without will, user and password; client ids here are of one letter.
std::string connect_packet(char client_id, bool clean = true, int keep_alive = 0) {
    return raw({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, clean ? 2 : 0, keep_alive >> 8, keep_alive & 255, 0, 1, client_id});
}
std::string publish_0(const std::string& topic, const std::string& payload) {
    return raw({0x30, static_cast<int>(2 + topic.size() + payload.size()), 0, static_cast<int>(topic.size())}) + topic + payload;
}

// A client of which only the bytes exist.
class Client {
public:
    explicit Client(Broker& broker, uint32_t now_ms = 0) : broker_(broker), now_(now_ms), id_(broker.accept(now_ms)) {}

    void sends(const std::string& bytes) { broker_.receive(id_, data_of(bytes), bytes.size(), now_); }
    void sends(Numbers numbers) { sends(raw(numbers)); }
    // What the broker said since the last time.
    std::string hears() { return hex(broker_.take_output(id_)); }
    void connects(char client_id, bool clean = true, int keep_alive = 0) {
        sends(connect_packet(client_id, clean, keep_alive));
        REQUIRE(hears().substr(0, 6) == "20 02 ");
        REQUIRE_FALSE(cut_off());
    }
    void subscribes(char topic, int qos) {
        sends({0x82, 6, 0, 9, 0, 1, topic, qos});
        REQUIRE(hears() == hex({0x90, 3, 0, 9, qos}));
    }
    bool cut_off() const { return broker_.wants_close(id_); }
    std::string reason() const { return broker_.close_reason(id_); }
    void is_gone() { broker_.closed(id_, now_); }
    void at(uint32_t now_ms) { now_ = now_ms; }
    Broker::Id id() const { return id_; }

private:
    Broker& broker_;
    uint32_t now_;
    Broker::Id id_;
};

const std::string nothing;

}  // namespace

TEST_SUITE_BEGIN("broker");

// ------------------------------------------------------------------------------------------------------- CONNECT

TEST_CASE("[server 3.1.4-4] CONNECT is answered by CONNACK") {
    Broker broker;
    Client a(broker);
    a.sends(connect_packet('a'));
    CHECK(a.hears() == hex({0x20, 2, 0, 0}));
    CHECK_FALSE(a.cut_off());
    CHECK(broker.session("a")->connection == a.id());
}

TEST_CASE("[server 3.1.0-1] something else before CONNECT closes the connection") {
    Broker broker;
    for (const std::string& bytes : {raw({0xC0, 0}), raw({0x30, 3, 0, 1, 't'}), raw({0x82}), raw({0xE0, 0})}) {
        Client a(broker);
        a.sends(bytes);
        CHECK(a.hears() == nothing);
        CHECK(a.cut_off());
    }
}

TEST_CASE("[server 3.1.0-2] a second CONNECT closes the connection") {
    Broker broker;
    Client a(broker);
    a.connects('a');
    a.sends(connect_packet('a'));
    CHECK(a.hears() == nothing);
    CHECK(a.reason() == "second CONNECT");
}

TEST_CASE("[server 3.1.2-1] another protocol name closes the connection without CONNACK") {
    Broker broker;
    Client a(broker);
    a.sends({0x10, 15, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 0, 0, 1, 'a'});
    CHECK(a.hears() == nothing);
    CHECK(a.cut_off());
}

TEST_CASE("[server 3.1.2-2] an unknown protocol level is refused with code 1") {
    Broker broker;
    for (const int level : {3, 6}) {
        Client a(broker);
        a.sends({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', level, 2, 0, 0, 0, 1, 'a'});
        CHECK(a.hears() == hex({0x20, 2, 0, 1}));
        CHECK(a.cut_off());
    }
    Client b(broker);   // no level at all
    b.sends({0x10, 6, 0, 4, 'M', 'Q', 'T', 'T'});
    CHECK(b.hears() == nothing);
    CHECK(b.cut_off());
}

TEST_CASE("[server 3.1.4-1] a malformed CONNECT closes the connection without CONNACK") {
    Broker broker;
    const std::string malformed[] = {
        raw({0x11, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'a'}),                    // flags of the fixed header
        raw({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 3, 0, 0, 0, 1, 'a'}),                    // [MQTT-3.1.2-3]
        raw({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x42, 0, 0, 0, 1, 'a'}),                 // [MQTT-3.1.2-22]
        raw({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x0A, 0, 0, 0, 1, 'a'}),                 // [MQTT-3.1.2-13]
        raw({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x22, 0, 0, 0, 1, 'a'}),                 // [MQTT-3.1.2-15]
        raw({0x10, 18, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x1E, 0, 0, 0, 1, 'a', 0, 1, 'w', 0, 0}),   // [MQTT-3.1.2-14]
        raw({0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'a', 'b'}),               // a byte too many
        raw({0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1}),                         // a byte too few
        raw({0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 0}),                      // U+0000
    };
    for (const std::string& bytes : malformed) {
        CAPTURE(hex(bytes));
        Client a(broker);
        a.sends(bytes);
        CHECK(a.hears() == nothing);
        CHECK(a.cut_off());
    }
    CHECK(broker.session_count() == 0);
}

TEST_CASE("[server 3.1.3-8] an empty client id without clean session is refused with code 2") {
    Broker broker;
    Client a(broker);
    a.sends({0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 0, 0, 0, 0, 0});
    CHECK(a.hears() == hex({0x20, 2, 0, 2}));
    CHECK(a.cut_off());
}

TEST_CASE("[server 3.1.3-6] clients with an empty id get one each") {
    Broker broker;
    const auto anonymous = raw({0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0});
    Client a(broker), b(broker);
    a.sends(anonymous);
    b.sends(anonymous);
    CHECK(a.hears() == hex({0x20, 2, 0, 0}));
    CHECK(b.hears() == hex({0x20, 2, 0, 0}));
    CHECK_FALSE(a.cut_off());
    CHECK(broker.session_count() == 2);
}

TEST_CASE("user names and passwords: codes 4 and 5") {
    Broker broker;
    broker.config.users = {{"u", "p"}};
    const auto answer = [&](const std::string& bytes) {
        Client a(broker);
        a.sends(bytes);
        return a.hears();
    };
    const auto with = [](char user, char password) {
        return raw({0x10, 19, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xC2, 0, 0, 0, 1, 'a', 0, 1, user, 0, 1, password});
    };
    CHECK(answer(connect_packet('a')) == hex({0x20, 2, 0, 5}));
    CHECK(answer(raw({0x10, 16, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x82, 0, 0, 0, 1, 'a', 0, 1, 'u'})) == hex({0x20, 2, 0, 4}));
    CHECK(answer(with('x', 'p')) == hex({0x20, 2, 0, 4}));
    CHECK(answer(with('u', 'x')) == hex({0x20, 2, 0, 4}));
    CHECK(answer(with('u', 'p')) == hex({0x20, 2, 0, 0}));
    broker.config.authorize = [](const mqtt::Connect& packet) {
        return packet.client_id == "b" ? mqtt::ReasonCode::success : mqtt::ReasonCode::not_authorized;
    };
    broker.config.users.clear();
    CHECK(answer(connect_packet('a')) == hex({0x20, 2, 0, 5}));
    CHECK(answer(connect_packet('b')) == hex({0x20, 2, 0, 0}));
}

TEST_CASE("[server 3.2.2-5] [server 3.1.4-5] a refused client is cut off, and what it sent behind CONNECT ignored") {
    Broker broker;
    broker.config.refuse_connect = mqtt::ReasonCode::server_unavailable;
    Client a(broker);
    a.sends(connect_packet('a') + publish_0("t", "x"));
    CHECK(a.hears() == hex({0x20, 2, 0, 3}));
    CHECK(a.cut_off());
    CHECK(broker.statistics().publishes_in[0] == 0);
    broker.config.refuse_connect = mqtt::ReasonCode::server_busy;   // which 3.1.1 does not have [MQTT-3.2.2-6]
    Client b(broker);
    b.sends(connect_packet('b'));
    CHECK(b.hears() == nothing);
    CHECK(b.cut_off());
}

TEST_CASE("[server 3.1.4-2] a second connection with the same client id takes over") {
    Broker broker;
    Client first(broker), second(broker);
    first.connects('a', false);
    first.subscribes('t', 1);
    second.sends(connect_packet('a', false));
    CHECK(first.reason() == "taken over");
    CHECK(second.hears() == hex({0x20, 2, 1, 0}));
    first.sends(publish_0("t", "late"));   // ignored
    first.is_gone();                       // changes nothing for the second
    CHECK(second.hears() == nothing);
    second.sends(publish_0("t", "x"));
    CHECK(second.hears() == hex({0x30, 4, 0, 1, 't', 'x'}));
    CHECK(broker.statistics().takeovers == 1);
}

// ------------------------------------------------------------------------------------------------------ sessions

TEST_CASE("[server 3.2.2-2] [server 3.2.2-3] session present tells whether there was a session") {
    Broker broker;
    const auto connack = [&](bool clean) {
        Client a(broker);
        a.sends(connect_packet('a', clean));
        const std::string answer = a.hears();
        a.sends({0xE0, 0});
        CHECK(a.cut_off());
        a.is_gone();
        return answer;
    };
    CHECK(connack(false) == hex({0x20, 2, 0, 0}));
    CHECK(connack(false) == hex({0x20, 2, 1, 0}));
    CHECK(connack(true) == hex({0x20, 2, 0, 0}));    // [MQTT-3.2.2-1]; and it ends the session [MQTT-3.1.2-6]
    CHECK(connack(false) == hex({0x20, 2, 0, 0}));
    broker.lose_sessions();
    CHECK(connack(false) == hex({0x20, 2, 0, 0}));
}

TEST_CASE("[server 3.1.2-5] QoS 1 and 2 messages wait for a client that is away, QoS 0 do not") {
    Broker broker;
    Client a(broker), p(broker);
    a.connects('a', false);
    a.sends({0x82, 6, 0, 1, 0, 1, '#', 2});
    a.hears();
    a.is_gone();
    p.connects('p');
    p.sends(publish_0("t", "0"));
    p.sends({0x32, 6, 0, 1, 't', 0, 1, '1'});
    p.sends({0x34, 6, 0, 1, 't', 0, 2, '2'});
    CHECK(broker.session("a")->queued == 2);
    Client again(broker);
    again.sends(connect_packet('a', false));
    CHECK(again.hears() == hex({0x20, 2, 1, 0,                            //
                                0x32, 6, 0, 1, 't', 0, 1, '1',            // first sending: DUP 0
                                0x34, 6, 0, 1, 't', 0, 2, '2'}));
}

TEST_CASE("[server 4.4.0-1] [server 4.6.0-1] what is unanswered is sent again in order, with its id and DUP") {
    for (const bool dup : {true, false}) {
        Broker broker;
        broker.config.dup_on_redelivery = dup;
        Client a(broker), p(broker);
        a.connects('a', false);
        a.subscribes('t', 2);
        p.connects('p');
        p.sends({0x34, 6, 0, 1, 't', 0, 7, 'x'});
        p.sends({0x32, 6, 0, 1, 't', 0, 8, 'y'});
        p.sends({0x34, 6, 0, 1, 't', 0, 9, 'z'});
        CHECK(a.hears() == hex({0x34, 6, 0, 1, 't', 0, 1, 'x',   //
                                0x32, 6, 0, 1, 't', 0, 2, 'y',   //
                                0x34, 6, 0, 1, 't', 0, 3, 'z'}));
        a.sends({0x50, 2, 0, 1});
        CHECK(a.hears() == hex({0x62, 2, 0, 1}));
        a.is_gone();
        Client again(broker);
        again.sends(connect_packet('a', false));
        const int flag = dup ? 8 : 0;
        CHECK(again.hears() == hex({0x20, 2, 1, 0,                               //
                                    0x32 | flag, 6, 0, 1, 't', 0, 2, 'y',        //
                                    0x34 | flag, 6, 0, 1, 't', 0, 3, 'z',        //
                                    0x62, 2, 0, 1}));
        CHECK(broker.statistics().redeliveries == 3);
        again.sends({0x40, 2, 0, 2, 0x70, 2, 0, 1, 0x50, 2, 0, 3});
        CHECK(again.hears() == hex({0x62, 2, 0, 3}));
        again.sends({0x70, 2, 0, 3});
        CHECK(broker.session("a")->in_flight == 0);
    }
}

TEST_CASE("lose_sessions() cuts everybody without wills and forgets everything but retained messages") {
    Broker broker;
    Client a(broker), b(broker);
    a.sends({0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x26, 0, 0, 0, 1, 'a', 0, 1, 'w', 0, 2, 'n', 'o'});
    a.hears();
    b.connects('b', false);
    b.subscribes('t', 2);
    b.sends({0x31, 4, 0, 1, 'r', 'x'});
    broker.lose_sessions();
    CHECK(a.cut_off());
    CHECK(b.cut_off());
    a.is_gone();
    b.is_gone();
    CHECK(broker.session_count() == 0);
    CHECK(broker.connection_count() == 0);
    CHECK(broker.statistics().wills == 0);
    CHECK(broker.retained("r") == "x");
    Client again(broker);
    again.sends(connect_packet('b', false));
    CHECK(again.hears() == hex({0x20, 2, 0, 0}));
    again.sends(publish_0("t", "x"));
    CHECK(again.hears() == nothing);
}

// ----------------------------------------------------------------------------------------------------- publishing

TEST_CASE("[server 3.3.4-1] PUBLISH is answered as its QoS demands, and delivered") {
    Broker broker;
    Client a(broker), p(broker);
    a.connects('a');
    a.subscribes('t', 2);
    p.connects('p');
    p.sends({0x30, 4, 0, 1, 't', 'x'});
    CHECK(p.hears() == nothing);
    CHECK(a.hears() == hex({0x30, 4, 0, 1, 't', 'x'}));
    p.sends({0x32, 6, 0, 1, 't', 0, 10, 'y'});
    CHECK(p.hears() == hex({0x40, 2, 0, 10}));
    CHECK(a.hears() == hex({0x32, 6, 0, 1, 't', 0, 1, 'y'}));
    p.sends({0x34, 6, 0, 1, 't', 0, 11, 'z'});
    CHECK(p.hears() == hex({0x50, 2, 0, 11}));
    CHECK(a.hears() == hex({0x34, 6, 0, 1, 't', 0, 2, 'z'}));
    p.sends({0x62, 2, 0, 11});
    CHECK(p.hears() == hex({0x70, 2, 0, 11}));
    a.sends({0x40, 2, 0, 1, 0x50, 2, 0, 2});
    CHECK(a.hears() == hex({0x62, 2, 0, 2}));
    a.sends({0x70, 2, 0, 2});
    CHECK(a.hears() == nothing);
    CHECK(broker.session("a")->in_flight == 0);
    CHECK(broker.statistics().publishes_in[2] == 1);
    CHECK(broker.statistics().publishes_out[2] == 1);
}

TEST_CASE("[server 4.3.3-2] a repeated QoS 2 PUBLISH is acknowledged but not delivered again, until PUBREL") {
    Broker broker;
    Client a(broker), p(broker);
    a.connects('a');
    a.subscribes('t', 0);
    p.connects('p', false);
    p.sends({0x34, 6, 0, 1, 't', 0, 5, 'x'});
    CHECK(a.hears() == hex({0x30, 4, 0, 1, 't', 'x'}));
    p.is_gone();
    Client again(broker);
    again.connects('p', false);
    again.sends({0x3C, 6, 0, 1, 't', 0, 5, 'x'});
    CHECK(again.hears() == hex({0x50, 2, 0, 5}));
    CHECK(a.hears() == nothing);
    CHECK(broker.statistics().repeated == 1);
    CHECK(broker.statistics().repeated_without_dup == 0);
    again.sends({0x34, 6, 0, 1, 't', 0, 5, 'x'});
    CHECK(broker.statistics().repeated_without_dup == 1);
    again.sends({0x62, 2, 0, 5, 0x34, 6, 0, 1, 't', 0, 5, 'y'});
    CHECK(a.hears() == hex({0x30, 4, 0, 1, 't', 'y'}));
    CHECK(again.hears() == hex({0x50, 2, 0, 5, 0x70, 2, 0, 5, 0x50, 2, 0, 5}));
    again.sends({0x62, 2, 0, 99});   // an id that is not open: our PUBCOMP may have been lost
    CHECK(again.hears() == hex({0x70, 2, 0, 99}));
    again.sends({0x32, 6, 0, 1, 't', 0, 5, 'z'});   // 5 is open again
    CHECK(broker.statistics().id_conflicts == 1);
}

TEST_CASE("[server 3.3.1-3] DUP of the publisher is not passed on") {
    Broker broker;
    Client a(broker);
    a.connects('a');
    a.subscribes('t', 1);
    a.sends({0x3A, 6, 0, 1, 't', 0, 5, 'x'});
    CHECK(a.hears() == hex({0x32, 6, 0, 1, 't', 0, 1, 'x', 0x40, 2, 0, 5}));
}

TEST_CASE("[server 3.8.4-6] the effective QoS is the lower of the published and the granted one") {
    for (int published = 0; published <= 2; ++published) {
        for (int granted = 0; granted <= 2; ++granted) {
            Broker broker;
            Client a(broker), p(broker);
            a.connects('a');
            a.subscribes('t', granted);
            p.connects('p');
            if (published == 0) p.sends(publish_0("t", "x"));
            else p.sends({0x30 | published << 1, 6, 0, 1, 't', 0, 1, 'x'});
            const int effective = std::min(published, granted);
            CHECK(a.hears() == (effective == 0 ? hex({0x30, 4, 0, 1, 't', 'x'})
                                               : hex({0x30 | effective << 1, 6, 0, 1, 't', 0, 1, 'x'})));
        }
    }
}

TEST_CASE("the window of unanswered messages; what is beyond it waits, in order") {
    Broker broker;
    broker.config.max_inflight = 2;
    Client a(broker);
    a.connects('a');
    a.subscribes('t', 2);
    broker.publish("t", "1", mqtt::QoS::at_least_once);
    broker.publish("t", "2", mqtt::QoS::exactly_once);
    broker.publish("t", "3", mqtt::QoS::at_least_once);
    broker.publish("t", "4");   // does not overtake
    broker.publish("t", "5", mqtt::QoS::exactly_once);
    CHECK(a.hears() == hex({0x32, 6, 0, 1, 't', 0, 1, '1', 0x34, 6, 0, 1, 't', 0, 2, '2'}));
    CHECK(broker.session("a")->queued == 3);
    a.sends({0x50, 2, 0, 2});   // PUBREC frees no place
    CHECK(a.hears() == hex({0x62, 2, 0, 2}));
    a.sends({0x40, 2, 0, 1});
    CHECK(a.hears() == hex({0x32, 6, 0, 1, 't', 0, 3, '3', 0x30, 4, 0, 1, 't', '4'}));
    a.sends({0x70, 2, 0, 2});
    CHECK(a.hears() == hex({0x34, 6, 0, 1, 't', 0, 4, '5'}));
}

TEST_CASE("without a window every packet id is used once before one comes again") {
    Broker broker;
    broker.config.max_inflight = 0;
    Client a(broker);
    a.connects('a');
    a.subscribes('t', 1);
    for (int i = 0; i < 65536; ++i) broker.publish("t", "", mqtt::QoS::at_least_once);
    CHECK(broker.session("a")->in_flight == 65535);
    CHECK(broker.session("a")->queued == 1);
    const std::string all = broker.take_output(a.id());
    CHECK(all.size() == 65535 * 7);
    CHECK(hex(all.substr(all.size() - 7)) == hex({0x32, 5, 0, 1, 't', 0xFF, 0xFF}));
    a.sends({0x40, 2, 0x12, 0x34});
    CHECK(a.hears() == hex({0x32, 5, 0, 1, 't', 0x12, 0x34}));
}

TEST_CASE("[server 4.8.0-1] acknowledgements of another kind than is due close the connection; unknown ones do not") {
    const std::string wrong[] = {raw({0x50, 2, 0, 1}), raw({0x70, 2, 0, 1}), raw({0x40, 2, 0, 2}), raw({0x70, 2, 0, 2})};
    for (const std::string& bytes : wrong) {
        CAPTURE(hex(bytes));
        Broker broker;
        Client a(broker);
        a.connects('a');
        a.subscribes('t', 2);
        broker.publish("t", "1", mqtt::QoS::at_least_once);   // id 1
        broker.publish("t", "2", mqtt::QoS::exactly_once);    // id 2
        a.hears();
        a.sends({0x40, 2, 0, 77, 0x70, 2, 0, 77});
        CHECK(a.hears() == nothing);
        a.sends({0x50, 2, 0, 77});   // a session that we lost: let the client finish
        CHECK(a.hears() == hex({0x62, 2, 0, 77}));
        CHECK(broker.statistics().unknown_acks == 3);
        CHECK_FALSE(a.cut_off());
        a.sends(bytes);
        CHECK(a.cut_off());
    }
    Broker broker;
    Client a(broker);
    a.connects('a');
    a.subscribes('t', 2);
    broker.publish("t", "1", mqtt::QoS::exactly_once);
    a.hears();
    a.sends({0x50, 2, 0, 1, 0x50, 2, 0, 1});
    CHECK(a.hears() == hex({0x62, 2, 0, 1, 0x62, 2, 0, 1}));
    CHECK_FALSE(a.cut_off());
}

TEST_CASE("QoS 0 beyond the output limit is dropped; QoS 1 is not") {
    Broker broker;
    broker.config.qos0_output_limit = 10;
    Client a(broker);
    a.connects('a');
    a.subscribes('t', 1);
    for (int i = 0; i < 5; ++i) broker.publish("t", "x");
    CHECK(broker.statistics().dropped == 3);
    broker.publish("t", "y", mqtt::QoS::at_least_once);
    CHECK(a.hears() == hex({0x30, 4, 0, 1, 't', 'x', 0x30, 4, 0, 1, 't', 'x', 0x32, 6, 0, 1, 't', 0, 1, 'y'}));
}

TEST_CASE("the log tells what was received, from whom") {
    Broker broker;
    broker.config.log_publishes = true;
    std::vector<std::string> lines;
    broker.config.trace = [&](const std::string& line) { lines.push_back(line); };
    Client p(broker);
    p.connects('p');
    p.sends({0x35, 6, 0, 1, 't', 0, 1, 'x', 0x3D, 6, 0, 1, 't', 0, 1, 'x'});
    REQUIRE(broker.log().size() == 1);
    CHECK(broker.log()[0].client_id == "p");
    CHECK(broker.log()[0].topic == "t");
    CHECK(broker.log()[0].payload == "x");
    CHECK(broker.log()[0].qos == mqtt::QoS::exactly_once);
    CHECK(broker.log()[0].retain);
    CHECK_FALSE(broker.log()[0].duplicate);
    REQUIRE(lines.size() == 3);
    CHECK(lines[1] == "p published t, 1 bytes, QoS 2");
}

// ------------------------------------------------------------------------------------------------------- retained

TEST_CASE("[server 3.3.1-8] [server 3.3.1-9] RETAIN is 1 on delivery for a new subscription and 0 on a live one") {
    Broker broker;
    Client a(broker), p(broker);
    p.connects('p');
    p.sends({0x33, 8, 0, 3, 'a', '/', 'b', 0, 1, 'x'});   // QoS 1, RETAIN
    a.connects('a');
    a.sends({0x82, 8, 0, 1, 0, 3, 'a', '/', '+', 2});
    CHECK(a.hears() == hex({0x90, 3, 0, 1, 2, 0x33, 8, 0, 3, 'a', '/', 'b', 0, 1, 'x'}));
    p.sends({0x31, 6, 0, 3, 'a', '/', 'b', 'y'});
    CHECK(a.hears() == hex({0x30, 6, 0, 3, 'a', '/', 'b', 'y'}));
    CHECK(broker.retained("a/b") == "y");
    p.sends({0x30, 6, 0, 3, 'a', '/', 'b', 'z'});   // [MQTT-3.3.1-12]
    CHECK(a.hears() == hex({0x30, 6, 0, 3, 'a', '/', 'b', 'z'}));
    CHECK(broker.retained("a/b") == "y");
    a.sends({0x82, 8, 0, 2, 0, 3, 'a', '/', '+', 2});   // [MQTT-3.8.4-3]
    CHECK(a.hears() == hex({0x90, 3, 0, 2, 2, 0x31, 6, 0, 3, 'a', '/', 'b', 'y'}));
    p.sends({0x31, 5, 0, 3, 'a', '/', 'b'});   // [MQTT-3.3.1-10]
    CHECK(a.hears() == hex({0x30, 5, 0, 3, 'a', '/', 'b'}));
    CHECK(broker.retained_count() == 0);
    a.sends({0x82, 8, 0, 3, 0, 3, 'a', '/', '+', 2});
    CHECK(a.hears() == hex({0x90, 3, 0, 3, 2}));
}

TEST_CASE("retained messages are found by every filter that matches(), and by no other") {
    const std::vector<std::string> topics = {"a", "a/b", "a/b/c", "a/bc", "ab", "a b", "a!", "/", "/a", "$S", "$S/a", "b"};
    const std::vector<std::string> filters = {"a", "a/b", "a/#", "a/+", "+", "#", "+/b", "+/+",
                                              "/+", "/", "$S/#", "$S", "a/b/#", "a/+/c", "b/#", "c"};
    Broker broker;
    for (const std::string& topic : topics) broker.publish(topic, "x", mqtt::QoS::at_most_once, mqtt::Retain::yes);
    for (const std::string& filter : filters) {
        CAPTURE(filter);
        Client a(broker);
        a.connects('a');
        const int size = static_cast<int>(filter.size());
        const std::string subscribe = raw({0x82, 5 + size, 0, 1, 0, size}) + filter + raw({0});
        a.sends(subscribe);
        CHECK(broker.take_output(a.id()).substr(0, 5) == raw({0x90, 3, 0, 1, 0}));
        uint64_t expected = 0;
        for (const std::string& topic : topics) expected += mqtt::matches(filter, topic) ? 1 : 0;
        const uint64_t before = broker.statistics().publishes_out[0];
        a.sends(subscribe);
        CHECK(broker.statistics().publishes_out[0] - before == expected);
        // And live messages by the same filter.
        broker.take_output(a.id());
        for (const std::string& topic : topics) {
            CAPTURE(topic);
            broker.publish(topic, "y");
            CHECK(broker.take_output(a.id()).empty() != mqtt::matches(filter, topic));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------- wills

TEST_CASE("[server 3.1.2-8] the will is published when the connection ends without DISCONNECT") {
    Broker broker;
    Client watcher(broker);
    watcher.connects('w');
    watcher.subscribes('g', 2);
    // Will topic "g", message "no", QoS 1, RETAIN.
    const auto connect = raw({0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x2E, 0, 10, 0, 1, 'a', 0, 1, 'g', 0, 2, 'n', 'o'});
    const auto will = hex({0x32, 7, 0, 1, 'g', 0, 1, 'n', 'o'});
    Client a(broker);
    a.sends(connect);
    CHECK(a.hears() == hex({0x20, 2, 0, 0}));
    SUBCASE("the network fails") {
        a.is_gone();
        CHECK(watcher.hears() == will);
        CHECK(broker.retained("g") == "no");   // [MQTT-3.1.2-17]
    }
    SUBCASE("a violation") {
        a.sends({0x00});
        CHECK(watcher.hears() == will);
        a.is_gone();   // [MQTT-3.1.2-10]: once
        CHECK(watcher.hears() == nothing);
    }
    SUBCASE("keep-alive") {
        broker.tick(15000);
        CHECK(a.cut_off());
        CHECK(watcher.hears() == will);
    }
    SUBCASE("taken over") {
        Client again(broker);
        again.connects('a');
        CHECK(watcher.hears() == will);
    }
    SUBCASE("[server 3.14.4-3] not after DISCONNECT") {
        a.sends({0xE0, 0});
        CHECK(a.reason() == "DISCONNECT");
        a.is_gone();
        CHECK(watcher.hears() == nothing);
        CHECK(broker.retained_count() == 0);
    }
}

TEST_CASE("[server 3.1.2-16] a will without RETAIN is not retained; a client's own session may get its will") {
    Broker broker;
    const auto connect = raw({0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x0C, 0, 0, 0, 1, 'a', 0, 1, 'g', 0, 2, 'n', 'o'});
    Client a(broker);
    a.sends(connect);
    a.hears();
    a.subscribes('g', 1);
    a.is_gone();
    CHECK(broker.retained_count() == 0);
    Client again(broker);
    again.sends(connect);
    CHECK(again.hears() == hex({0x20, 2, 1, 0, 0x32, 7, 0, 1, 'g', 0, 1, 'n', 'o'}));
}

// -------------------------------------------------------------------------------------------------- subscriptions

TEST_CASE("[server 3.9.3-1] SUBACK tells the codes in the order of the filters, 0x80 for a refusal") {
    Broker broker;
    broker.config.grant = [](const std::string& client_id, std::string_view filter, mqtt::QoS qos) {
        CHECK(client_id == "a");
        return filter == "x" ? uint8_t{0x80} : filter == "y" ? uint8_t{0} : static_cast<uint8_t>(qos);
    };
    Client a(broker);
    a.connects('a');
    a.sends({0x82, 14, 0x12, 0x34, 0, 1, 'x', 2, 0, 1, 'y', 2, 0, 1, 'z', 2});
    CHECK(a.hears() == hex({0x90, 5, 0x12, 0x34, 0x80, 0, 2}));
    a.sends(publish_0("x", ""));
    CHECK(a.hears() == nothing);
    a.sends({0x32, 5, 0, 1, 'y', 0, 1});
    CHECK(a.hears() == hex({0x30, 3, 0, 1, 'y', 0x40, 2, 0, 1}));
}

TEST_CASE("[server 3.3.5-1] overlapping subscriptions: one delivery, at the highest QoS granted") {
    Broker broker;
    Client a(broker), p(broker);
    a.connects('a');
    a.sends({0x82, 21, 0, 1, 0, 3, 't', '/', 'x', 0, 0, 3, 't', '/', '+', 2, 0, 3, 't', '/', '#', 1, 0});   // cut short
    CHECK(a.cut_off());
    Client b(broker);
    b.connects('b');
    b.sends({0x82, 20, 0, 1, 0, 3, 't', '/', 'x', 0, 0, 3, 't', '/', '+', 2, 0, 3, 't', '/', '#', 1});
    CHECK(b.hears() == hex({0x90, 5, 0, 1, 0, 2, 1}));
    p.connects('p');
    p.sends({0x34, 7, 0, 3, 't', '/', 'x', 0, 1});
    CHECK(b.hears() == hex({0x34, 7, 0, 3, 't', '/', 'x', 0, 1}));
}

TEST_CASE("[server 3.8.4-3] subscribing again replaces the subscription") {
    Broker broker;
    Client a(broker);
    a.connects('a');
    a.subscribes('t', 2);
    a.subscribes('t', 0);
    CHECK(broker.session("a")->subscriptions == 1);
    broker.publish("t", "x", mqtt::QoS::exactly_once);
    CHECK(a.hears() == hex({0x30, 4, 0, 1, 't', 'x'}));
}

TEST_CASE("[server 3.10.4-1] UNSUBSCRIBE removes the identical filter only, and is always answered") {
    Broker broker;
    Client a(broker);
    a.connects('a');
    a.sends({0x82, 12, 0, 1, 0, 3, 't', '/', '#', 1, 0, 1, 'u', 1});
    CHECK(a.hears() == hex({0x90, 4, 0, 1, 1, 1}));
    broker.publish("u", "1", mqtt::QoS::at_least_once);
    CHECK(a.hears() == hex({0x32, 6, 0, 1, 'u', 0, 1, '1'}));
    a.sends({0xA2, 10, 0, 2, 0, 3, 't', '/', '+', 0, 1, 'u'});
    CHECK(a.hears() == hex({0xB0, 2, 0, 2}));   // [MQTT-3.10.4-5], -6
    broker.publish("u", "2");
    CHECK(a.hears() == nothing);                // [MQTT-3.10.4-2]
    broker.publish("t", "3");
    CHECK(a.hears() == hex({0x30, 4, 0, 1, 't', '3'}));
    CHECK(broker.session("a")->in_flight == 1);   // [MQTT-3.10.4-3]: id 1 is still to be finished
    a.sends({0x40, 2, 0, 1});
    CHECK(broker.session("a")->in_flight == 0);
    a.sends({0xA2, 7, 0, 3, 0, 3, 't', '/', '#'});
    CHECK(a.hears() == hex({0xB0, 2, 0, 3}));
    broker.publish("t", "4");
    CHECK(a.hears() == nothing);
    CHECK(broker.session("a")->subscriptions == 0);
}

TEST_CASE("deliveries go to subscribers in the order of their sessions, whatever the filters") {
    Broker broker;
    Client a(broker), b(broker), c(broker);
    a.connects('a');
    b.connects('b');
    c.connects('c');
    c.subscribes('t', 0);
    b.subscribes('#', 0);
    a.subscribes('+', 0);
    broker.take_changed();
    broker.publish("t", "x");
    CHECK(broker.take_changed() == std::vector<Broker::Id>{a.id(), b.id(), c.id()});
    CHECK(broker.take_changed().empty());
}

// ------------------------------------------------------------------------------------------------ time, violations

TEST_CASE("[server 3.1.2-24] after 1.5 times the keep-alive without a byte the client is cut off") {
    for (const uint32_t start : {0U, 0xFFFFF000U}) {   // the clock may wrap
        CAPTURE(start);
        Broker broker;
        Client a(broker, start), quiet(broker, start);
        quiet.connects('q', true, 0);
        a.connects('a', true, 4);
        CHECK(broker.idle_ms(start) == 6000);
        a.at(start + 5000);
        a.sends({0xC0, 0});
        CHECK(a.hears() == hex({0xD0, 0}));   // [MQTT-3.12.4-1]
        CHECK(broker.idle_ms(start + 5000) == 1000);
        broker.tick(start + 6000);
        CHECK_FALSE(a.cut_off());
        CHECK(broker.idle_ms(start + 6000) == 5000);
        broker.tick(start + 10999);
        CHECK_FALSE(a.cut_off());
        broker.tick(start + 11000);
        CHECK(a.reason() == "keep-alive");
        CHECK(broker.idle_ms(start + 11000) == mqtt::forever);
        broker.tick(start + 100000000);
        CHECK_FALSE(quiet.cut_off());
        CHECK(broker.statistics().timeouts == 1);
    }
}

TEST_CASE("a connection without CONNECT is closed after a while, also if it dawdles") {
    Broker broker;
    Client a(broker, 100);
    CHECK(broker.idle_ms(100) == 10000);
    a.at(9000);
    a.sends({0x10});
    broker.tick(10099);
    CHECK_FALSE(a.cut_off());
    broker.tick(10100);
    CHECK(a.reason() == "no CONNECT");
}

TEST_CASE("a broker that does not answer pings") {
    Broker broker;
    broker.config.answer_pings = false;
    Client a(broker);
    a.connects('a');
    a.sends({0xC0, 0});
    CHECK(a.hears() == nothing);
    CHECK(broker.statistics().pings == 1);
}

TEST_CASE("[server 4.8.0-1] malformed and misplaced packets close the connection") {
    const std::string packets[] = {
        raw({0x00, 0}),                                   // type 0
        raw({0xF0, 0}),                                   // type 15
        raw({0x20, 2, 0, 0}),                             // CONNACK
        raw({0x90, 3, 0, 1, 0}),                          // SUBACK
        raw({0xB0, 2, 0, 1}),                             // UNSUBACK
        raw({0xD0, 0}),                                   // PINGRESP
        raw({0x36, 5, 0, 1, 't', 0, 1}),                  // [MQTT-3.3.1-4]
        raw({0x38, 3, 0, 1, 't'}),                        // [MQTT-3.3.1-2]
        raw({0x32, 5, 0, 1, 't', 0, 0}),                  // [MQTT-2.3.1-1]
        raw({0x30, 3, 0, 1, '+'}),                        // [MQTT-3.3.2-2]
        raw({0x30, 2, 0, 0}),                             // [MQTT-4.7.3-1]
        raw({0x30, 3, 0, 2, 't'}),                        // topic beyond the packet
        raw({0x60, 2, 0, 1}),                             // [MQTT-3.6.1-1]
        raw({0x80, 6, 0, 1, 0, 1, 't', 0}),               // [MQTT-3.8.1-1]
        raw({0x82, 2, 0, 1}),                             // [MQTT-3.8.3-3]
        raw({0x82, 6, 0, 1, 0, 1, 't', 3}),               // [MQTT-3.8.3-4]
        raw({0x82, 6, 0, 1, 0, 1, 't', 4}),               // [MQTT-3.8.3-4]
        raw({0x82, 7, 0, 1, 0, 2, '#', 'a', 0}),          // [MQTT-4.7.1-2]
        raw({0xA0, 5, 0, 1, 0, 1, 't'}),                  // [MQTT-3.10.1-1]
        raw({0xA2, 2, 0, 1}),                             // [MQTT-3.10.3-2]
        raw({0x40, 3, 0, 1, 0}),                          // PUBACK too long
        raw({0xC0, 1, 0}),                                // PINGREQ too long
        raw({0xE1, 0}),                                   // [MQTT-3.14.1-1]
        raw({0x30, 0x80, 0x80, 0x80, 0x80}),              // length of five bytes
        raw({0xC0, 0x80, 0}),                             // length not in its shortest form
    };
    for (const std::string& bytes : packets) {
        CAPTURE(hex(bytes));
        Broker broker;
        Client a(broker);
        a.connects('a', false);
        a.subscribes('z', 0);
        a.sends(bytes + publish_0("z", "ignored"));
        CHECK(a.hears() == nothing);
        CHECK(a.cut_off());
        CHECK(broker.statistics().violations == 1);
        // And byte by byte.
        a.is_gone();
        Client again(broker);
        again.connects('a', false);
        for (const char byte : bytes) again.sends(std::string(1, byte));
        CHECK(again.hears() == nothing);
        CHECK(again.cut_off());
    }
}

// ---------------------------------------------------------------------------------------------------------- bytes

TEST_CASE("the same bytes in any two pieces, and byte by byte, give the same answers") {
    const auto script = connect_packet('a') +
                        raw({0x82, 6, 0, 1, 0, 1, 't', 2, 0x30, 4, 0, 1, 't', 'x', 0x34, 6, 0, 1, 't', 0, 7, 'y', 0xC0, 0,
                             0x62, 2, 0, 7, 0x30, 0x87, 1, 0, 1, 't'}) + std::string(132, 'p') +
                        raw({0xA2, 5, 0, 2, 0, 1, 't', 0xE0, 0});
    const auto answer = hex({0x20, 2, 0, 0, 0x90, 3, 0, 1, 2, 0x30, 4, 0, 1, 't', 'x', 0x34, 6, 0, 1, 't', 0, 1, 'y',
                             0x50, 2, 0, 7, 0xD0, 0, 0x70, 2, 0, 7, 0x30, 0x87, 1, 0, 1, 't'}) +
                        hex(std::string(132, 'p')) + hex({0xB0, 2, 0, 2});
    for (size_t cut = 0; cut <= script.size(); ++cut) {
        CAPTURE(cut);
        Broker broker;
        Client a(broker);
        a.sends(script.substr(0, cut));
        a.sends(script.substr(cut));
        CHECK(a.hears() == answer);
        CHECK(a.reason() == "DISCONNECT");
    }
    Broker broker;
    Client a(broker);
    for (const char byte : script) a.sends(std::string(1, byte));
    CHECK(a.hears() == answer);
}

TEST_CASE("output is consumed in any pieces") {
    Broker broker;
    Client a(broker);
    a.connects('a');
    a.sends({0x82, 6, 0, 1, 0, 1, 't', 0});
    a.hears();
    std::string expected, got;
    for (size_t i = 0; i < 40; ++i) {
        const std::string payload(i * i * i, static_cast<char>('a' + i % 26));
        broker.publish("t", payload);
        expected += payload;
    }
    const size_t total = broker.output_size(a.id());
    size_t consumed = 0;
    for (size_t step = 1; broker.output_size(a.id()) != 0; step = step % 9973 * 2 + 1) {
        const mqtt::Bytes bytes = broker.output(a.id());
        REQUIRE_FALSE(bytes.empty());
        const size_t n = std::min(step, bytes.size());
        got += bytes.text().substr(0, n);
        broker.consume(a.id(), n);
        consumed += n;
    }
    CHECK(consumed == total);
    CHECK(broker.output(a.id()).empty());
    size_t at = 0, messages = 0;
    std::string payloads;
    while (at < got.size()) {
        mqtt::FixedHeader header;
        mqtt::Publish packet;
        REQUIRE(mqtt::read_fixed_header(data_of(got) + at, got.size() - at, header) == mqtt::Error::ok);
        const mqtt::Bytes body(data_of(got) + at + header.size, header.remaining_length);
        REQUIRE(mqtt::decode_body(header.first_byte, body, packet) == mqtt::Error::ok);
        payloads += packet.payload.text();
        at += header.packet_size();
        ++messages;
    }
    CHECK(messages == 40);
    CHECK(payloads == expected);
}

TEST_CASE("a large message is kept once, whole, and comes again after a reconnect") {
    const size_t size = 3000000;
    const std::string payload(size, 'L');
    // QoS 1, remaining length 3000005 = 0xC5 0x8D 0xB7 0x01.
    const std::string packet = raw({0x33, 0xC5, 0x8D, 0xB7, 0x01, 0, 1, 't', 0, 1}) + payload;
    Broker broker;
    Client a(broker), p(broker);
    a.connects('a', false);
    a.subscribes('t', 1);
    p.connects('p');
    for (size_t at = 0; at < packet.size(); at += 65536) p.sends(packet.substr(at, 65536));
    CHECK(p.hears() == hex({0x40, 2, 0, 1}));
    CHECK(broker.take_output(a.id()) == raw({0x32, 0xC5, 0x8D, 0xB7, 0x01, 0, 1, 't', 0, 1}) + payload);
    a.is_gone();
    Client again(broker);
    again.sends(connect_packet('a', false));
    CHECK(broker.take_output(again.id()) == raw({0x20, 2, 1, 0, 0x3A, 0xC5, 0x8D, 0xB7, 0x01, 0, 1, 't', 0, 1}) + payload);
    CHECK(broker.retained("t") == payload);
}

TEST_CASE("a message with a length of four bytes; with --long, the longest one that the protocol allows") {
    const bool longest = testing::long_run();   // takes 600 MB
    const std::string head = longest ? raw({0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 't'}) : raw({0x30, 0x80, 0x80, 0x80, 0x01, 0, 1, 't'});
    const size_t remaining = longest ? 268435455 : 2097152;
    Broker broker;
    Client a(broker);
    a.connects('a');
    a.subscribes('t', 0);
    const std::string piece(1048576, 'x');
    broker.receive(a.id(), data_of(head), head.size(), 0);
    for (size_t left = remaining - 3; left != 0;) {
        const size_t n = std::min(left, piece.size());
        broker.receive(a.id(), data_of(piece), n, 0);
        left -= n;
    }
    CHECK(broker.output_size(a.id()) == remaining + 5);
    CHECK(broker.output(a.id()).text().substr(0, 8) == head);
    CHECK_FALSE(a.cut_off());
}

TEST_CASE("10,000 clients: a message costs what its subscribers cost") {
    Broker broker;
    const auto name = [](int i) { return std::to_string(10000 + i); };
    std::vector<Broker::Id> ids;
    for (int i = 0; i < 10000; ++i) {
        ids.push_back(broker.accept(0));
        const std::string packets = raw({0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 5}) + name(i) +   //
                                    raw({0x82, 12, 0, 1, 0, 7}) + name(i) + raw({'/', '#', 1});
        broker.receive(ids.back(), data_of(packets), packets.size(), 0);
    }
    CHECK(broker.session_count() == 10000);
    for (int i = 0; i < 50000; ++i) broker.publish(name(i % 10000) + "/x", "m");
    CHECK(broker.statistics().publishes_out[0] == 50000);
    CHECK(broker.output_size(ids[0]) == 4 + 5 + 5 * 12);
    CHECK(broker.take_changed().size() == 10000);
    broker.tick(90000);
    CHECK(broker.session_count() == 0);
    for (const Broker::Id id : ids) broker.closed(id, 90000);
    CHECK(broker.connection_count() == 0);
}

// --------------------------------------------------------------------------------------------------------- MQTT 5

namespace {

// CONNECT of MQTT 5 with these properties.
std::string connect_5(char client_id, const std::string& properties = {}, bool clean = true, int keep_alive = 0) {
    return raw({0x10, static_cast<int>(14 + properties.size()), 0, 4, 'M', 'Q', 'T', 'T', 5, clean ? 2 : 0, keep_alive >> 8, keep_alive & 255,
                static_cast<int>(properties.size())}) + properties + raw({0, 1, client_id});
}
const std::string for_ever = raw({0x11, 0xFF, 0xFF, 0xFF, 0xFF});   // Session Expiry Interval

// A client of version 5 that is connected, and has heard CONNACK.
struct Client5 : Client {
    Client5(Broker& broker, char client_id, const std::string& properties = {}, bool clean = true, uint32_t now_ms = 0)
        : Client(broker, now_ms) {
        sends(connect_5(client_id, properties, clean));
        connack = hears();
        REQUIRE_FALSE(cut_off());
    }
    void subscribes(char topic, int options) {
        sends({0x82, 7, 0, 9, 0, 0, 1, topic, options});
        REQUIRE(hears() == hex({0x90, 4, 0, 9, 0, options & 3}));
    }
    std::string connack;
};
// PUBLISH of QoS 0, and of QoS 1 with id 1, to a topic of one letter.
std::string publish_5(char topic, char payload, const std::string& properties = {}, int first_byte = 0x30) {
    const bool has_id = (first_byte & 6) != 0;
    return raw({first_byte, static_cast<int>(5 + (has_id ? 2 : 0) + properties.size()), 0, 1, topic}) + (has_id ? raw({0, 1}) : "") +
           raw({static_cast<int>(properties.size())}) + properties + raw({payload});
}

}  // namespace

TEST_CASE("MQTT 5 [server 3.1.2-2] what a server of 3.1.1, or one that is not, says to version 5") {
    Broker broker;
    using Level5 = BrokerConfig::Level5;
    const std::pair<Level5, std::string> answers[] = {{BrokerConfig::served, hex({0x20, 3, 0, 0, 0})},
                                                      {BrokerConfig::refused_as_3_1_1, hex({0x20, 2, 0, 1})},
                                                      {BrokerConfig::refused_as_5, hex({0x20, 3, 0, 0x84, 0})},
                                                      {BrokerConfig::closed, nothing}};
    for (const auto& [level, answer] : answers) {
        broker.config.level_5 = level;
        Client a(broker), old(broker);
        a.sends(connect_5('a'));
        CHECK(a.hears() == answer);
        CHECK(a.cut_off() == (level != BrokerConfig::served));
        old.sends(connect_packet('o'));   // each connection has its own version
        CHECK(old.hears() == hex({0x20, 2, 0, 0}));
    }
}

TEST_CASE("MQTT 5 [server 3.2.2-9] CONNACK tells what differs from the defaults, for the connections that begin then") {
    Broker broker;
    CHECK(Client5(broker, 'a').connack == hex({0x20, 3, 0, 0, 0}));
    broker.config.limits = {10, 1000, 5, mqtt::QoS::at_least_once, false, false, false, false};
    broker.config.server_keep_alive = 7;
    broker.config.session_expiry_maximum = 60;
    CHECK(Client5(broker, 'b', for_ever).connack == hex({0x20, 32, 0, 0, 29,              //
                                                         0x11, 0, 0, 0, 60,              // Session Expiry Interval
                                                         0x21, 0, 10, 0x24, 1, 0x25, 0,  // Receive Maximum, Maximum QoS, no RETAIN
                                                         0x27, 0, 0, 3, 0xE8,            // Maximum Packet Size
                                                         0x22, 0, 5,                     // Topic Alias Maximum
                                                         0x28, 0, 0x29, 0, 0x2A, 0,      // no wildcards, identifiers, sharing
                                                         0x13, 0, 7}));                  // Server Keep Alive
    broker.config.limits = {};
    broker.config.server_keep_alive = std::nullopt;
    broker.config.response_information = "r";
    CHECK(Client5(broker, 'c', raw({0x19, 1})).connack == hex({0x20, 7, 0, 0, 4, 0x1A, 0, 1, 'r'}));
    CHECK(Client5(broker, 'd').connack == hex({0x20, 3, 0, 0, 0}));   // [5: MQTT-3.1.2-28]
}

TEST_CASE("MQTT 5 [server 3.2.2-16] a client without an id gets one, and may keep its session") {
    Broker broker;
    Client a(broker);
    a.sends(raw({0x10, 18, 0, 4, 'M', 'Q', 'T', 'T', 5, 0, 0, 0, 5}) + for_ever + raw({0, 0}));
    CHECK(a.hears() == hex({0x20, 12, 0, 0, 9, 0x12, 0, 6, 'a', 'u', 't', 'o', '-', '1'}));
    a.is_gone();
    CHECK(broker.session("auto-1").has_value());
}

TEST_CASE("MQTT 5 [server 3.1.2-23] [server 4.1.0-2] a session is kept for its Session Expiry Interval") {
    Broker broker;
    const std::string ten = raw({0x11, 0, 0, 0, 10});
    {
        Client5 a(broker, 'a', ten, true, 1000), without(broker, 'w', {}, true, 1000);
        a.is_gone();
        without.is_gone();
        CHECK(broker.session_count() == 1);
    }
    CHECK(broker.idle_ms(1000) == 10000);
    SUBCASE("resumed in time") {
        Client5 again(broker, 'a', ten, false, 10999);
        CHECK(again.connack == hex({0x20, 3, 1, 0, 0}));
        broker.tick(100000);
        CHECK(broker.session_count() == 1);
    }
    SUBCASE("too late, whether the clock has been looked at or not") {
        SUBCASE("tick()") { broker.tick(11000); }
        Client5 again(broker, 'a', ten, false, 11000);
        CHECK(again.connack == hex({0x20, 3, 0, 0, 0}));
    }
    SUBCASE("[server 3.1.2-4] Clean Start ends it") {
        CHECK(Client5(broker, 'a', ten, true, 2000).connack == hex({0x20, 3, 0, 0, 0}));
    }
}

TEST_CASE("MQTT 5 DISCONNECT changes the Session Expiry Interval, but cannot ask for a session that CONNECT did not") {
    Broker broker;
    Client5 a(broker, 'a', for_ever);
    a.sends({0xE0, 7, 0, 5, 0x11, 0, 0, 0, 2});
    CHECK(a.reason() == "DISCONNECT");
    CHECK(broker.session("a")->expiry == 2);
    broker.tick(2000);
    CHECK_FALSE(broker.session("a").has_value());
    Client5 b(broker, 'b', {}, true, 2000);
    b.sends({0xE0, 7, 0, 5, 0x11, 0, 0, 0, 2});
    CHECK(b.hears() == hex({0xE0, 1, 0x82}));
    CHECK(broker.violations() == std::vector<std::string>{"b: a session that CONNECT did not ask for"});
}

TEST_CASE("MQTT 5 [server 3.1.2-22] [server 3.2.2-22] Server Keep Alive holds in place of the client's") {
    Broker broker;
    broker.config.server_keep_alive = 4;
    Client a(broker);
    a.sends(connect_5('a', {}, true, 100));
    CHECK(a.hears() == hex({0x20, 6, 0, 0, 3, 0x13, 0, 4}));
    CHECK(broker.idle_ms(0) == 6000);
    broker.tick(6000);
    CHECK(a.hears() == hex({0xE0, 1, 0x8D}));
    CHECK(a.reason() == "keep-alive");
}

TEST_CASE("MQTT 5 [server 3.1.2-8] [server 3.1.3-9] a will is published after its delay, or at the end of its session") {
    Broker broker;
    broker.config.max_inflight = 0;
    Client watcher(broker);
    watcher.connects('w');
    watcher.subscribes('g', 0);
    const std::string will = hex({0x30, 4, 0, 1, 'g', 'x'});
    // Session Expiry Interval 10; Will Delay Interval 5, will topic "g", message "x".
    const auto connect = [](int expiry) {
        return raw({0x10, 31, 0, 4, 'M', 'Q', 'T', 'T', 5, 4, 0, 0, 5, 0x11, 0, 0, 0, expiry, 0, 1, 'a', 5, 0x18, 0, 0, 0, 5, 0, 1, 'g', 0, 1, 'x'});
    };
    Client a(broker, 1000);
    a.sends(connect(10));
    CHECK(a.hears() == hex({0x20, 3, 0, 0, 0}));
    SUBCASE("after the delay") {
        a.is_gone();
        broker.tick(5999);
        CHECK(watcher.hears() == nothing);
        CHECK(broker.idle_ms(5999) == 1);
        broker.tick(6000);
        CHECK(watcher.hears() == will);
        broker.tick(11000);
        CHECK(watcher.hears() == nothing);
    }
    SUBCASE("not if the client is back in time") {
        a.is_gone();
        Client again(broker, 5000);
        again.sends(connect(10));
        broker.tick(20000);
        CHECK(watcher.hears() == nothing);
        again.at(20000);
        again.sends({0xE0, 1, 4});   // "disconnect with will message"
        CHECK(watcher.hears() == nothing);
        broker.tick(25000);
        CHECK(watcher.hears() == will);
    }
    SUBCASE("at once with the session") {
        a.is_gone();
        CHECK(Client5(broker, 'a', {}, true, 2000).connack == hex({0x20, 3, 0, 0, 0}));
        CHECK(watcher.hears() == will);
    }
    SUBCASE("the session is shorter than the delay") {
        Client b(broker, 1000);
        b.sends(connect(2));
        b.is_gone();
        broker.tick(3000);
        CHECK(watcher.hears() == will);
    }
    SUBCASE("[server 3.14.4-3] never after a normal DISCONNECT") {
        a.sends({0xE0, 0});
        broker.tick(20000);
        CHECK(watcher.hears() == nothing);
    }
}

TEST_CASE("MQTT 5 [server 3.3.4-9] the server keeps to the client's Receive Maximum, also when it sends again") {
    Broker broker;
    Client5 a(broker, 'a', for_ever + raw({0x21, 0, 2}));
    a.subscribes('t', 2);
    for (const char c : {'1', '2', '3'}) broker.publish("t", std::string(1, c), mqtt::QoS::exactly_once);
    CHECK(a.hears() == hex({0x34, 7, 0, 1, 't', 0, 1, 0, '1', 0x34, 7, 0, 1, 't', 0, 2, 0, '2'}));
    a.sends({0x50, 2, 0, 1});   // PUBREC frees no place
    CHECK(a.hears() == hex({0x62, 2, 0, 1}));
    a.sends({0x70, 2, 0, 1});
    CHECK(a.hears() == hex({0x34, 7, 0, 1, 't', 0, 3, 0, '3'}));
    a.is_gone();
    Client5 again(broker, 'a', for_ever + raw({0x21, 0, 1}), false);
    CHECK(again.connack == hex({0x20, 3, 1, 0, 0, 0x3C, 7, 0, 1, 't', 0, 2, 0, '2'}));
    again.sends({0x50, 3, 0, 2, 0x80});   // refused: that ends it [5: MQTT-4.4.0-2]
    CHECK(again.hears() == hex({0x3C, 7, 0, 1, 't', 0, 3, 0, '3'}));
    again.sends({0x50, 2, 0, 3});
    CHECK(again.hears() == hex({0x62, 2, 0, 3}));
    again.sends({0x70, 2, 0, 3});
    CHECK(broker.session("a")->in_flight == 0);
}

TEST_CASE("MQTT 5 a client that exceeds the server's Receive Maximum is disconnected") {
    Broker broker;
    broker.config.limits.receive_maximum = 1;
    Client5 a(broker, 'a');
    a.sends({0x34, 7, 0, 1, 't', 0, 1, 0, 'x', 0x62, 2, 0, 1, 0x34, 7, 0, 1, 't', 0, 2, 0, 'x'});
    CHECK(a.hears() == hex({0x50, 3, 0, 1, 0x10, 0x70, 2, 0, 1, 0x50, 3, 0, 2, 0x10}));
    a.sends({0x34, 7, 0, 1, 't', 0, 3, 0, 'x'});
    CHECK(a.hears() == hex({0xE0, 1, 0x93}));
    CHECK(a.reason() == "more than Receive Maximum");
}

TEST_CASE("MQTT 5 [server 3.1.2-24] [server 3.1.2-25] what is larger than the client takes is dropped as if it had been sent") {
    Broker broker;
    Client5 a(broker, 'a', raw({0x27, 0, 0, 0, 12}));
    a.subscribes('t', 1);
    broker.publish("t", "12345", mqtt::QoS::at_least_once);    // 13 bytes
    broker.publish("t", "1234", mqtt::QoS::at_least_once);
    broker.publish("t", "1234567", mqtt::QoS::at_most_once);   // 13 bytes
    CHECK(a.hears() == hex({0x32, 10, 0, 1, 't', 0, 2, 0, '1', '2', '3', '4'}));
    CHECK(broker.session("a")->in_flight == 1);
    CHECK(broker.statistics().too_large == 2);
}

TEST_CASE("MQTT 5 a packet above the server's Maximum Packet Size ends the connection") {
    Broker broker;
    broker.config.limits.maximum_packet_size = 20;
    Client5 a(broker, 'a');
    a.sends(raw({0x30, 18, 0, 1, 't', 0}) + std::string(14, 'x'));
    CHECK_FALSE(a.cut_off());
    a.sends({0x30, 19});   // its header is enough
    CHECK(a.hears() == hex({0xE0, 1, 0x95}));
}

TEST_CASE("MQTT 5 [server 3.3.2-12] topic aliases of a client") {
    Broker broker;
    broker.config.limits.topic_alias_maximum = 2;
    broker.config.log_publishes = true;
    Client5 a(broker, 'a');
    a.sends({0x30, 7, 0, 1, 't', 3, 0x23, 0, 1});   // "t" is 1
    a.sends({0x30, 6, 0, 0, 3, 0x23, 0, 1});
    a.sends({0x30, 7, 0, 1, 'u', 3, 0x23, 0, 1});   // now "u" is
    a.sends({0x30, 6, 0, 0, 3, 0x23, 0, 1});
    REQUIRE(broker.log().size() == 4);
    CHECK(broker.log()[1].topic == "t");
    CHECK(broker.log()[3].topic == "u");
    CHECK(broker.log()[3].properties.empty());      // an alias is not passed on
    const std::pair<std::string, int> wrong[] = {{raw({0x30, 7, 0, 1, 't', 3, 0x23, 0, 3}), 0x94},   // above the maximum
                                                 {raw({0x30, 7, 0, 1, 't', 3, 0x23, 0, 0}), 0x94},
                                                 {raw({0x30, 6, 0, 0, 3, 0x23, 0, 2}), 0x82}};       // unknown
    for (const auto& [bytes, reason] : wrong) {
        Client5 b(broker, 'b');
        b.sends(bytes);
        CHECK(b.hears() == hex({0xE0, 1, reason}));
    }
}

TEST_CASE("MQTT 5 [server 3.1.2-26] [server 3.1.2-27] topic aliases towards a client") {
    Broker broker;
    broker.config.use_aliases = 9;
    Client5 a(broker, 'a', raw({0x22, 0, 2})), none(broker, 'n');
    a.subscribes('+', 0);
    none.subscribes('+', 0);
    for (const char* topic : {"t", "t", "u", "v", "t"}) broker.publish(topic, "");
    CHECK(a.hears() == hex({0x30, 7, 0, 1, 't', 3, 0x23, 0, 1, 0x30, 6, 0, 0, 3, 0x23, 0, 1,         //
                            0x30, 7, 0, 1, 'u', 3, 0x23, 0, 2, 0x30, 7, 0, 1, 'v', 3, 0x23, 0, 1,    // which was "t"
                            0x30, 7, 0, 1, 't', 3, 0x23, 0, 2}));
    CHECK(none.hears().find("23") == std::string::npos);
    CHECK(broker.statistics().aliases_out == 1);
}

TEST_CASE("MQTT 5 what CONNACK does not allow ends the connection") {
    struct {
        void (*forbid)(test::BrokerLimits&);
        std::string packet;
        int reason;
    } const cases[] = {
        {[](test::BrokerLimits& l) { l.maximum_qos = mqtt::QoS::at_most_once; }, publish_5('t', 'x', {}, 0x32), 0x9B},
        {[](test::BrokerLimits& l) { l.maximum_qos = mqtt::QoS::at_least_once; }, publish_5('t', 'x', {}, 0x34), 0x9B},
        {[](test::BrokerLimits& l) { l.retain_available = false; }, publish_5('t', 'x', {}, 0x31), 0x9A},
        {[](test::BrokerLimits& l) { l.wildcards_available = false; }, raw({0x82, 7, 0, 1, 0, 0, 1, '#', 0}), 0xA2},
        {[](test::BrokerLimits& l) { l.identifiers_available = false; }, raw({0x82, 9, 0, 1, 2, 0x0B, 1, 0, 1, 't', 0}), 0xA1},
        {[](test::BrokerLimits& l) { l.shared_available = false; }, raw({0x82, 16, 0, 1, 0, 0, 10}) + "$share/s/t" + raw({0}), 0x9E},
    };
    for (const auto& c : cases) {
        CAPTURE(c.reason);
        Broker broker;
        Client5 before(broker, 'b');
        c.forbid(broker.config.limits);
        Client5 a(broker, 'a');
        a.sends(c.packet);
        CHECK(a.hears() == hex({0xE0, 1, c.reason}));
        CHECK(broker.violations().size() == 1);
        before.sends(c.packet);   // nobody told it so
        CHECK_FALSE(before.cut_off());
    }
}

TEST_CASE("MQTT 5 [server 3.2.2-10] [server 3.2.2-12] [server 3.2.2-13] a will beyond the limits is refused, a subscription is not") {
    Broker broker;
    broker.config.limits.maximum_qos = mqtt::QoS::at_most_once;
    broker.config.limits.retain_available = false;
    const auto with = [](int flags) {
        return raw({0x10, 21, 0, 4, 'M', 'Q', 'T', 'T', 5, flags, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 'g', 0, 1, 'x'});
    };
    Client a(broker), b(broker);
    a.sends(with(0x0E));
    CHECK(a.hears() == hex({0x20, 3, 0, 0x9B, 0}));
    b.sends(with(0x26));
    CHECK(b.hears() == hex({0x20, 3, 0, 0x9A, 0}));
    CHECK(broker.violations().empty());   // it could not know
    Client5 c(broker, 'c');
    c.subscribes('t', 2);
}

TEST_CASE("MQTT 5 [server 3.8.3-3] No Local keeps a client's own messages from it") {
    Broker broker;
    Client5 a(broker, 'a', for_ever), b(broker, 'b');
    a.subscribes('t', 4);
    b.sends(publish_5('t', '1'));
    a.sends(publish_5('t', '2'));
    CHECK(a.hears() == hex({0x30, 5, 0, 1, 't', 0, '1'}));
    a.sends({0x82, 7, 0, 1, 0, 0, 1, '#', 0});   // by another filter they come
    a.hears();
    a.sends(publish_5('t', '3'));
    CHECK(a.hears() == hex({0x30, 5, 0, 1, 't', 0, '3'}));
}

TEST_CASE("MQTT 5 [server 3.3.1-12] [server 3.3.1-13] Retain As Published") {
    Broker broker;
    Client5 a(broker, 'a');
    a.subscribes('t', 8);
    a.subscribes('u', 0);
    for (const char* topic : {"t", "u"}) broker.publish(topic, "x", mqtt::QoS::at_most_once, mqtt::Retain::yes);
    broker.publish("t", "y");
    CHECK(a.hears() == hex({0x31, 5, 0, 1, 't', 0, 'x', 0x30, 5, 0, 1, 'u', 0, 'x', 0x30, 5, 0, 1, 't', 0, 'y'}));
}

TEST_CASE("MQTT 5 [server 3.3.1-9] [server 3.3.1-10] [server 3.3.1-11] Retain Handling") {
    Broker broker;
    broker.publish("t", "x", mqtt::QoS::at_most_once, mqtt::Retain::yes);
    Client5 a(broker, 'a');
    const auto retained = [&](int handling) {
        a.sends({0x82, 7, 0, 1, 0, 0, 1, 't', handling << 4});
        return a.hears() == hex({0x90, 4, 0, 1, 0, 0, 0x31, 5, 0, 1, 't', 0, 'x'});
    };
    CHECK_FALSE(retained(2));
    CHECK_FALSE(retained(1));   // not new any more
    CHECK(retained(0));
    CHECK(retained(0));
    a.sends({0xA2, 6, 0, 1, 0, 0, 1, 't'});
    a.hears();
    CHECK(retained(1));
    a.sends(raw({0x82, 16, 0, 1, 0, 0, 10}) + "$share/s/t" + raw({0}));   // never for a shared one
    CHECK(a.hears() == hex({0x90, 4, 0, 1, 0, 0}));
}

TEST_CASE("MQTT 5 [server 3.3.4-2] [server 3.3.4-3] [server 3.3.4-4] overlapping subscriptions: one copy with the identifiers of all") {
    Broker broker;
    Client5 a(broker, 'a');
    a.sends({0x82, 9, 0, 1, 2, 0x0B, 7, 0, 1, 't', 0});
    a.sends({0x82, 10, 0, 2, 3, 0x0B, 0x80, 1, 0, 1, '#', 1});   // 128
    a.sends({0x82, 7, 0, 3, 0, 0, 1, '+', 0});                    // none
    a.hears();
    broker.publish("t", "x", mqtt::QoS::exactly_once);
    CHECK(a.hears() == hex({0x32, 12, 0, 1, 't', 0, 1, 5, 0x0B, 7, 0x0B, 0x80, 1, 'x'}));
    broker.publish("r", "x", mqtt::QoS::at_most_once, mqtt::Retain::yes);
    a.hears();
    a.sends({0x82, 9, 0, 4, 2, 0x0B, 9, 0, 1, 'r', 0});           // retained ones have them, too
    CHECK(a.hears() == hex({0x90, 4, 0, 4, 0, 0, 0x31, 7, 0, 1, 'r', 2, 0x0B, 9, 'x'}));
}

TEST_CASE("MQTT 5 [server 4.8.2-3] of those who share a subscription, one gets each message, by turns") {
    Broker broker;
    Client5 a(broker, 'a'), b(broker, 'b', for_ever), c(broker, 'c');
    const std::string subscribe = raw({0x82, 16, 0, 1, 0, 0, 10}) + "$share/s/+" + raw({1});
    a.sends(subscribe);
    b.sends(subscribe);
    c.subscribes('t', 0);
    a.hears();
    b.hears();
    for (const char payload : {'1', '2', '3'}) broker.publish("t", std::string(1, payload), mqtt::QoS::exactly_once);
    CHECK(a.hears() == hex({0x32, 7, 0, 1, 't', 0, 1, 0, '1', 0x32, 7, 0, 1, 't', 0, 2, 0, '3'}));
    CHECK(b.hears() == hex({0x32, 7, 0, 1, 't', 0, 1, 0, '2'}));
    CHECK(c.hears().size() == 3 * hex({0x30, 5, 0, 1, 't', 0, '1'}).size());
    b.is_gone();   // those who are there first
    broker.publish("t", "4");
    broker.publish("t", "5");
    CHECK(a.hears() == hex({0x30, 5, 0, 1, 't', 0, '4', 0x30, 5, 0, 1, 't', 0, '5'}));
    a.sends(raw({0xA2, 15, 0, 1, 0, 0, 10}) + "$share/s/+");
    CHECK(a.hears() == hex({0xB0, 4, 0, 1, 0, 0}));
    broker.publish("t", "6", mqtt::QoS::at_least_once);
    CHECK(broker.session("b")->queued == 1);
}

TEST_CASE("MQTT 5 [server 3.3.2-5] [server 3.3.2-6] a message that waits gets older, and expires") {
    Broker broker;
    Client5(broker, 'a', for_ever).subscribes('t', 1);
    broker.closed(1, 0);
    const std::string ten = raw({2, 0, 0, 0, 10});
    Client5 p(broker, 'p', {}, true, 0);
    p.sends(publish_5('t', 'x', ten, 0x33));   // retained
    p.at(3500);
    p.sends(publish_5('t', 'y', raw({2, 0, 0, 0, 2}), 0x32));
    Client5 a(broker, 'a', for_ever, false, 6000);
    CHECK(a.connack == hex({0x20, 3, 1, 0, 0, 0x32, 12, 0, 1, 't', 0, 1, 5, 2, 0, 0, 0, 4, 'x'}));
    CHECK(broker.statistics().expired == 1);
    a.is_gone();   // what has begun is sent again, however old it is
    Client5 again(broker, 'a', for_ever, false, 60000);
    CHECK(again.connack == hex({0x20, 3, 1, 0, 0, 0x3A, 12, 0, 1, 't', 0, 1, 5, 2, 0, 0, 0, 0, 'x'}));
    Client5 late(broker, 'l', {}, true, 60000);
    late.subscribes('t', 0);   // not the retained one
}

TEST_CASE("MQTT 5 [server 3.3.2-4] [server 3.3.2-15] [server 3.3.2-16] [server 3.3.2-17] [server 3.3.2-18] [server 3.3.2-20] properties "
          "are passed on unchanged and in order, and 3.1.1 gets none") {
    Broker broker;
    Client5 a(broker, 'a');
    Client old(broker);
    old.connects('o');
    a.subscribes('t', 0);
    old.subscribes('t', 0);
    const std::string properties = raw({0x26, 0, 1, 'b', 0, 1, '1', 0x26, 0, 1, 'a', 0, 0, 0x01, 1, 0x03, 0, 1, 'c', 0x26, 0, 1, 'b', 0, 1, '2',
                                        0x08, 0, 1, 'r', 0x09, 0, 2, 0, 255});
    broker.config.limits.topic_alias_maximum = 1;
    Client5 p(broker, 'p');
    p.sends(publish_5('t', 'x', raw({0x23, 0, 1}) + properties));
    CHECK(a.hears() == hex(publish_5('t', 'x', properties)));
    CHECK(old.hears() == hex({0x30, 4, 0, 1, 't', 'x'}));
    p.sends(publish_5('t', 'x', raw({0x0B, 1})));   // [5: MQTT-3.3.4-6]
    CHECK(p.hears() == hex({0xE0, 1, 0x82}));
}

TEST_CASE("MQTT 5 [server 3.1.3-10] a will has its properties, too") {
    Broker broker;
    Client5 watcher(broker, 'w');
    watcher.subscribes('g', 0);
    Client a(broker);
    a.sends({0x10, 29, 0, 4, 'M', 'Q', 'T', 'T', 5, 6, 0, 0, 0, 0, 1, 'a', 8, 0x26, 0, 1, 'u', 0, 1, 'v', 0x01, 1, 0, 1, 'g', 0, 1, 'x'});
    CHECK(a.cut_off());   // a byte too long for its properties
    a.is_gone();
    Client b(broker);
    b.sends({0x10, 30, 0, 4, 'M', 'Q', 'T', 'T', 5, 6, 0, 0, 0, 0, 1, 'b', 9, 0x26, 0, 1, 'u', 0, 1, 'v', 0x01, 1, 0, 1, 'g', 0, 1, 'x'});
    b.is_gone();
    CHECK(watcher.hears() == hex(publish_5('g', 'x', raw({0x26, 0, 1, 'u', 0, 1, 'v', 0x01, 1}))));
}

TEST_CASE("MQTT 5 reason codes of answers") {
    Broker broker;
    Client5 a(broker, 'a');
    a.sends(publish_5('t', 'x', {}, 0x32));
    CHECK(a.hears() == hex({0x40, 3, 0, 1, 0x10}));          // no matching subscribers
    a.sends({0x62, 2, 0, 5, 0x50, 2, 0, 6});
    CHECK(a.hears() == hex({0x70, 3, 0, 5, 0x92, 0x62, 3, 0, 6, 0x92}));
    a.sends({0xA2, 6, 0, 1, 0, 0, 1, 't'});
    CHECK(a.hears() == hex({0xB0, 4, 0, 1, 0, 0x11}));       // no subscription existed
    broker.config.grant = [](const std::string&, std::string_view, mqtt::QoS) { return uint8_t{0x97}; };
    a.sends({0x82, 7, 0, 1, 0, 0, 1, 't', 0});
    CHECK(a.hears() == hex({0x90, 4, 0, 1, 0, 0x97}));
    Client old(broker);
    old.connects('o');
    old.sends({0x82, 6, 0, 1, 0, 1, 't', 0});
    CHECK(old.hears() == hex({0x90, 3, 0, 1, 0x80}));        // which 3.1.1 does not have
}

TEST_CASE("MQTT 5 [server 4.3.3-9] a message that the server refuses is done with, and not published") {
    Broker broker;
    broker.config.accept_publish = [](const std::string& client_id, const mqtt::Publish& packet) {
        CHECK(client_id == "a");
        return packet.payload.text() == "n" ? mqtt::ReasonCode::quota_exceeded : mqtt::ReasonCode::success;
    };
    Client5 a(broker, 'a');
    a.subscribes('t', 0);
    a.sends(publish_5('t', 'n', {}, 0x34));
    CHECK(a.hears() == hex({0x50, 3, 0, 1, 0x97}));
    CHECK(broker.session("a")->received == 0);
    a.sends(publish_5('t', 'y', {}, 0x34));   // the same id, and new
    CHECK(a.hears() == hex({0x30, 5, 0, 1, 't', 0, 'y', 0x50, 2, 0, 1}));
    a.sends(publish_5('t', 'n'));
    CHECK(a.hears() == nothing);
}

TEST_CASE("MQTT 5 [server 3.1.2-29] [server 3.4.2-2] reason strings and user properties, if they are wanted and fit") {
    Broker broker;
    broker.config.reason_strings = true;
    Client5 a(broker, 'a'), quiet(broker, 'q', raw({0x17, 0})), narrow(broker, 'n', raw({0x27, 0, 0, 0, 40}));
    const std::string user = raw({0x26, 0, 4, 'f', 'r', 'o', 'm', 0, 6, 'b', 'r', 'o', 'k', 'e', 'r'});
    CHECK(a.connack == hex(raw({0x20, 28, 0, 0, 25, 0x1F, 0, 7}) + "welcome" + user));
    CHECK(quiet.connack == a.connack);   // CONNACK and DISCONNECT have them all the same
    CHECK(narrow.connack == a.connack);
    const std::string publish = publish_5('t', 'x', {}, 0x32);
    a.sends(publish);
    CHECK(a.hears() == hex(raw({0x40, 45, 0, 1, 0x10, 41, 0x1F, 0, 23}) + "no matching subscribers" + user));
    quiet.sends(publish);
    CHECK(quiet.hears() == hex({0x40, 3, 0, 1, 0x10}));
    narrow.sends(publish);
    CHECK(narrow.hears() == hex({0x40, 3, 0, 1, 0x10}));
    broker.disconnect(quiet.id(), mqtt::ReasonCode::server_busy);
    CHECK(quiet.hears() == hex(raw({0xE0, 31, 0x89, 29, 0x1F, 0, 11}) + "server busy" + user));
}

TEST_CASE("MQTT 5 [server 3.1.4-3] the server says why it disconnects, and where to go") {
    Broker broker;
    Client5 a(broker, 'a');
    Client5 second(broker, 'a');
    CHECK(a.hears() == hex({0xE0, 1, 0x8E}));
    CHECK(a.reason() == "taken over");
    broker.disconnect(second.id(), mqtt::ReasonCode::use_another_server, "b");
    CHECK(second.hears() == hex({0xE0, 6, 0x9C, 4, 0x1C, 0, 1, 'b'}));
    CHECK(second.reason() == "use another server");
    Client old(broker);
    old.connects('o');
    broker.disconnect(old.id(), mqtt::ReasonCode::server_busy, "b");   // 3.1.1 has no word for it
    CHECK(old.hears() == nothing);
    CHECK(old.cut_off());
    broker.config.refuse_connect = mqtt::ReasonCode::server_moved;
    broker.config.server_reference = "b";
    Client refused(broker);
    refused.sends(connect_5('r'));
    CHECK(refused.hears() == hex({0x20, 7, 0, 0x9D, 4, 0x1C, 0, 1, 'b'}));
    CHECK(broker.violations().empty());
}

TEST_CASE("MQTT 5 [server 4.12.0-2] [server 4.12.0-5] the method \"test\": what the server sends comes back reversed") {
    Broker broker;
    const std::string method = raw({0x15, 0, 4, 't', 'e', 's', 't'});
    const auto auth = [&](int reason, const std::string& data) {
        return raw({0xF0, static_cast<int>(2 + method.size() + (data.empty() ? 0 : 3 + data.size())), reason,
                    static_cast<int>(method.size() + (data.empty() ? 0 : 3 + data.size()))}) + method +
               (data.empty() ? "" : raw({0x16, 0, static_cast<int>(data.size())}) + data);
    };
    Client a(broker);
    a.sends(connect_5('a', method));
    CHECK(a.hears() == hex(auth(0x18, "challenge 1")));
    CHECK(broker.session_count() == 0);
    SUBCASE("right") {
        a.sends(auth(0x18, "1 egnellahc"));
        CHECK(a.hears() == hex(raw({0x20, 10, 0, 0, 7}) + method));
        SUBCASE("and once more, while messages go on") {
            a.sends(auth(0x19, {}) + publish_5('t', 'x', {}, 0x32));
            CHECK(a.hears() == hex(auth(0x18, "challenge 2")) + hex({0x40, 3, 0, 1, 0x10}));
            a.sends(auth(0x18, "2 egnellahc"));
            CHECK(a.hears() == hex(auth(0, {})));
            CHECK_FALSE(a.cut_off());
        }
        SUBCASE("[server 4.12.1-2] wrong the second time") {
            a.sends(auth(0x19, {}));
            a.hears();
            a.sends(auth(0x18, "2"));
            CHECK(a.hears() == hex({0xE0, 1, 0x87}));
        }
        SUBCASE("nobody asked") {
            a.sends(auth(0x18, "2"));
            CHECK(a.hears() == hex({0xE0, 1, 0x82}));
            CHECK(broker.violations() == std::vector<std::string>{"a: AUTH out of place"});
        }
    }
    SUBCASE("[server 4.12.0-4] wrong") {
        a.sends(auth(0x18, "1"));
        CHECK(a.hears() == hex({0x20, 3, 0, 0x87, 0}));
        CHECK(a.cut_off());
        CHECK(broker.violations().empty());
    }
    SUBCASE("something else than AUTH") {
        a.sends({0xC0, 0});
        CHECK(a.hears() == hex({0x20, 3, 0, 0x82, 0}));
        CHECK(broker.violations() == std::vector<std::string>{"#1: neither AUTH nor DISCONNECT"});
    }
    SUBCASE("DISCONNECT") {
        a.sends({0xE0, 0});
        CHECK(a.reason() == "DISCONNECT");
    }
    SUBCASE("[server 4.12.0-1] another method") {
        Client b(broker);
        b.sends(connect_5('b', raw({0x15, 0, 1, 'x'})));
        CHECK(b.hears() == hex({0x20, 3, 0, 0x8C, 0}));
    }
    SUBCASE("AUTH without a method in CONNECT") {
        Client5 b(broker, 'b');
        b.sends(auth(0x19, {}));
        CHECK(b.hears() == hex({0xE0, 1, 0x82}));
    }
}

TEST_CASE("MQTT 5 [server 4.13.1-1] malformed packets and protocol errors: the client is told which") {
    const std::pair<std::string, int> packets[] = {
        {raw({0x00, 0}), 0x81},
        {raw({0x36, 6, 0, 1, 't', 0, 1, 0}), 0x81},                     // QoS 3
        {raw({0x30, 4, 0, 1, 't', 1}), 0x81},                           // properties beyond the packet
        {raw({0x30, 5, 0, 1, 't', 1, 0x7F}), 0x81},                     // no such property
        {raw({0x30, 6, 0, 1, 't', 2, 0x17, 1}), 0x81},                  // not for PUBLISH
        {raw({0x30, 8, 0, 1, 't', 4, 0x01, 1, 0x01, 1}), 0x82},         // twice
        {raw({0x30, 4, 0, 0, 0, 'x'}), 0x82},                           // neither topic nor alias
        {raw({0x82, 3, 0, 1, 0}), 0x82},                                // no filter
        {raw({0x82, 7, 0, 1, 0, 0, 1, 't', 0x40}), 0x81},               // a reserved option
        {raw({0x82, 9, 0, 1, 2, 0x0B, 0, 0, 1, 't', 0}), 0x82},         // identifier 0
        {raw({0x82, 16, 0, 1, 0, 0, 10}) + "$share/s/t" + raw({4}), 0x82},   // No Local and shared
        {raw({0x40, 3, 0, 1, 0x92}), 0x82},                             // not a reason for PUBACK
        {raw({0x40, 3, 0, 1, 0x10}), 0x82},                             // only servers say that
        {raw({0xE0, 1, 0x8E}), 0x82},                                   // nor this
        {raw({0xE0, 6, 0x00, 4, 0x1C, 0, 1, 'b'}), 0x82},
        {raw({0x20, 3, 0, 0, 0}), 0x82},                                // CONNACK
        {connect_5('a'), 0x82},                                         // a second CONNECT
    };
    for (const auto& packet : packets) {
        CAPTURE(hex(packet.first));
        Broker broker;
        Client5 a(broker, 'a');
        a.sends(packet.first);
        CHECK(a.hears() == hex({0xE0, 1, packet.second}));
        CHECK(a.cut_off());
        CHECK(broker.violations().size() == 1);
    }
    Broker broker;
    Client a(broker);
    a.sends(connect_5('a', raw({0x21, 0, 0})));   // Receive Maximum 0
    CHECK(a.hears() == hex({0x20, 3, 0, 0x82, 0}));
    Client b(broker);
    b.sends(connect_5('b', raw({0x16, 0, 0})));   // data without a method
    CHECK(b.hears() == hex({0x20, 3, 0, 0x82, 0}));
}

// ------------------------------------------------------------------------------- MQTT 5, seen through the library

namespace {

// The library's client, in process with the broker. Time stands still unless a test moves it.
class Device {
public:
    explicit Device(Broker& broker, std::string_view client_id = "d") : port_{broker, now} {
        options.host = "home";
        options.client_id = client_id;
        options.version = mqtt::Version::v5;
        options.reconnect_min_ms = 0;
    }
    // With memory for topic aliases, both ways, and for a client id.
    mqtt::Client<Device>& client() {
        if (client_ == nullptr) client_ = std::make_unique<mqtt::Client<Device>>(*this, buffers);
        return *client_;
    }
    void connects() {
        REQUIRE(client().connect(options).ok());
        (void)until(mqtt::Event::connected);
    }
    // Polls until that happens; others are passed over. Views live until the next call.
    mqtt::Event until(mqtt::Event::Kind kind) {
        for (int i = 0; i < 1000; ++i) {
            const mqtt::Event event = client().poll();
            if (event.kind == kind) return event;
        }
        FAIL("it does not happen: ", static_cast<int>(kind));
        return {};
    }
    void runs() {   // until nothing happens any more
        for (int quiet = 0; quiet < 3; ++quiet)
            if (client().poll().kind != mqtt::Event::none) quiet = 0;
    }
    Broker::Id connection() const { return port_.id; }

    // ---- the port
    int open(std::string_view host, uint16_t port) {
        opened.push_back(std::string(host) + ":" + std::to_string(port));
        port_.id = port_.broker.accept(now);
        return 1;
    }
    int read(uint8_t* data, size_t size) {
        const mqtt::Bytes out = port_.broker.output(port_.id);
        const size_t n = std::min(size, out.size());
        std::copy(out.begin(), out.begin() + n, data);
        port_.broker.consume(port_.id, n);
        return n == 0 && port_.broker.wants_close(port_.id) ? -1 : static_cast<int>(n);
    }
    int write(const uint8_t* data, size_t size) {
        port_.broker.receive(port_.id, data, size, now);
        return static_cast<int>(size);
    }
    void close() { port_.broker.closed(port_.id, now); }
    uint32_t now_ms() { return now; }

    uint32_t now = 1000;
    mqtt::ConnectOptions options;
    std::vector<std::string> opened;

private:
    struct {
        Broker& broker;
        uint32_t& now;
        Broker::Id id = Broker::none;
    } port_;
    uint8_t rx_[512], tx_[2048], received_aliases_[64], sent_aliases_[64], client_id_[32];
    std::unique_ptr<mqtt::Client<Device>> client_;

public:
    mqtt::Buffers buffers{rx_, tx_, 20, 4, received_aliases_, sent_aliases_, client_id_};
};

}  // namespace

TEST_CASE("MQTT 5 [MQTT-3.1.2-21] [MQTT-3.2.2-21] the client pings by the server's keep-alive, whatever its own is") {
    Broker broker;
    broker.config.server_keep_alive = 4;
    Device d(broker);
    d.options.keep_alive = 0;
    d.connects();
    d.runs();
    CHECK(d.client().idle_ms() <= 4000);
    d.now += 4000;
    (void)d.until(mqtt::Event::pingresp);
    CHECK(broker.statistics().pings == 1);
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-7] [MQTT-3.3.4-8] [MQTT-4.9.0-2] no more messages at once than the server's Receive Maximum, which is not the next one's") {
    Broker broker;
    broker.config.limits.receive_maximum = 2;
    Device d(broker);
    d.options.clean_session = false;
    d.connects();
    CHECK(d.client().publish("t", "1", mqtt::QoS::exactly_once).ok());
    CHECK(d.client().publish("t", "2", mqtt::QoS::at_least_once).ok());
    CHECK(d.client().publish("t", "3", mqtt::QoS::at_least_once).error == mqtt::Error::receive_maximum_reached);
    CHECK(d.client().publish("t", "0").ok());
    CHECK(d.client().subscribe("s", mqtt::QoS::at_most_once).ok());   // nothing else is held back
    (void)d.until(mqtt::Event::acknowledged);
    CHECK(d.client().publish("t", "3", mqtt::QoS::at_least_once).ok());
    broker.config.limits.receive_maximum = 10;
    d.runs();
    broker.disconnect(d.connection(), mqtt::ReasonCode::server_busy);
    (void)d.until(mqtt::Event::connected);
    for (int i = 0; i < 10; ++i) CHECK(d.client().publish("t", "4", mqtt::QoS::at_least_once).ok());
    d.runs();
    CHECK(broker.violations().empty());
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-25] [MQTT-4.9.0-1] a QoS 2 message that is too large without its topic alias is given up on the next connection, and the client gets on") {
    Broker broker;
    broker.config.use_aliases = 1;
    Device d(broker);
    d.options.clean_session = false;
    d.options.maximum_packet_size = 24;
    d.buffers.receive_maximum = 1;
    d.connects();
    CHECK(d.client().subscribe("a/long/topic", mqtt::QoS::exactly_once).ok());
    (void)d.until(mqtt::Event::subscribed);
    broker.publish("a/long/topic", "1", mqtt::QoS::exactly_once);          // 23 bytes, with topic and alias
    (void)d.until(mqtt::Event::received);
    d.runs();
    broker.publish("a/long/topic", "12345678", mqtt::QoS::exactly_once);   // 18, with the alias, and 27 with the topic
    (void)d.until(mqtt::Event::received);
    broker.disconnect(d.connection(), mqtt::ReasonCode::server_busy);      // before PUBREC
    CHECK(d.until(mqtt::Event::connected).session_present);
    CHECK(broker.statistics().too_large == 1);
    CHECK(broker.session("d")->in_flight == 0);
    broker.publish("a/long/topic", "2", mqtt::QoS::exactly_once);
    CHECK(d.until(mqtt::Event::received).message.payload.text() == "2");
    d.runs();
    CHECK(broker.session("d")->in_flight == 0);
    CHECK(broker.violations().empty());
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-11] [MQTT-3.2.2-14] [MQTT-3.2.2-15] what the server does not take is refused, or told as dropped if it had been queued") {
    Broker broker;
    broker.config.limits.maximum_qos = mqtt::QoS::at_least_once;
    broker.config.limits.retain_available = false;
    broker.config.limits.maximum_packet_size = 40;
    const std::string large(100, 'x');
    const auto publish = [&](Device& d) {
        return std::vector<mqtt::Result>{d.client().publish("t", large, mqtt::QoS::at_least_once), d.client().publish("t", "x", mqtt::QoS::exactly_once),
                                         d.client().publish("t", "x", mqtt::QoS::at_least_once, mqtt::Retain::yes)};
    };
    const mqtt::Error errors[] = {mqtt::Error::packet_too_large, mqtt::Error::qos_not_supported, mqtt::Error::retain_not_supported};
    Device d(broker);
    REQUIRE(d.client().connect(d.options).ok());
    const auto queued = publish(d);   // nobody knows yet
    for (const mqtt::Result& result : queued) CHECK(result.ok());
    for (size_t i = 0; i < 3; ++i) {
        const mqtt::Event event = d.until(mqtt::Event::dropped);
        CHECK(event.error == errors[i]);
        CHECK(event.packet_id == queued[i].packet_id);
    }
    const auto refused = publish(d);
    for (size_t i = 0; i < 3; ++i) CHECK(refused[i].error == errors[i]);
    d.runs();
    CHECK(broker.violations().empty());
    CHECK(broker.statistics().publishes_in[1] + broker.statistics().publishes_in[2] == 0);
}

TEST_CASE("MQTT 5 [MQTT-3.2.2-17] [MQTT-3.2.2-18] [MQTT-3.3.2-7] [MQTT-3.3.2-8] topic aliases go out as far as the server allows, and end with the connection") {
    Broker broker;
    broker.config.log_publishes = true;
    Device d(broker);
    d.options.clean_session = false;
    d.connects();
    for (int i = 0; i < 3; ++i) CHECK(d.client().publish("topic", "x").ok());
    d.runs();
    CHECK(broker.statistics().aliases_in == 0);
    broker.config.limits.topic_alias_maximum = 1;
    broker.disconnect(d.connection(), mqtt::ReasonCode::server_busy);
    (void)d.until(mqtt::Event::connected);
    for (const char* topic : {"topic", "topic", "other", "other", "topic"}) CHECK(d.client().publish(topic, topic).ok());
    CHECK(d.client().publish("topic", "topic", mqtt::QoS::at_least_once).ok());   // would have to be sent again without
    d.runs();
    CHECK(broker.statistics().aliases_in == 2);
    broker.disconnect(d.connection(), mqtt::ReasonCode::server_busy);
    (void)d.until(mqtt::Event::connected);
    CHECK(d.client().publish("topic", "topic").ok());
    d.runs();
    REQUIRE(broker.log().size() == 10);
    for (size_t i = 3; i < 10; ++i) CHECK(broker.log()[i].topic == broker.log()[i].payload);
    CHECK(broker.violations().empty());
}

TEST_CASE("MQTT 5 [MQTT-3.3.2-10] a message that comes by an alias has its topic") {
    Broker broker;
    broker.config.use_aliases = 100;
    Device d(broker);
    d.connects();
    REQUIRE(d.client().subscribe("#", mqtt::QoS::at_least_once).ok());
    (void)d.until(mqtt::Event::subscribed);
    for (int i = 0; i < 12; ++i) {
        const std::string topic = "topic/" + std::to_string(i % 5);   // four aliases for them
        broker.publish(topic, topic, i % 2 == 0 ? mqtt::QoS::at_most_once : mqtt::QoS::at_least_once);
        broker.publish(topic, topic);
    }
    for (int i = 0; i < 24; ++i) {
        const mqtt::Event event = d.until(mqtt::Event::received);
        CHECK(event.message.topic == event.message.payload.text());
    }
    CHECK(broker.statistics().aliases_out == 12);
}

TEST_CASE("MQTT 5 [MQTT-3.3.4-4] [MQTT-1.5.5-1] a message tells all the subscriptions that it is for, and what it carries") {
    Broker broker;
    Device d(broker);
    d.connects();
    const auto subscribe = [&](std::string_view filter, uint32_t identifier) {
        mqtt::PropertyBuffer<8> properties;
        REQUIRE(d.client().subscribe(filter, mqtt::QoS::at_most_once, properties.add(mqtt::prop::subscription_identifier, identifier)).ok());
        (void)d.until(mqtt::Event::subscribed);
    };
    subscribe("t", 1);
    subscribe("#", 268435455);
    mqtt::PropertyBuffer<64> properties;
    properties.add(mqtt::prop::user_property, {"b", "1"}).add(mqtt::prop::user_property, {"a", ""}).add(mqtt::prop::user_property, {"b", "2"});
    properties.add(mqtt::prop::response_topic, "r").add(mqtt::prop::message_expiry_interval, 10);
    REQUIRE(d.client().publish("t", "x", mqtt::QoS::at_most_once, mqtt::Retain::no, properties).ok());
    const mqtt::Event event = d.until(mqtt::Event::received);
    std::vector<uint32_t> identifiers;
    uint32_t identifier;
    for (auto rest = event.message.properties; rest.next(mqtt::prop::subscription_identifier, identifier);) identifiers.push_back(identifier);
    CHECK(identifiers == std::vector<uint32_t>{1, 268435455});
    std::string pairs;
    mqtt::UserProperty pair;
    for (auto rest = event.message.properties; rest.next(mqtt::prop::user_property, pair);) pairs += std::string(pair.name) + "=" + std::string(pair.value) + " ";
    CHECK(pairs == "b=1 a= b=2 ");
    CHECK(event.message.properties.get(mqtt::prop::response_topic).value_or({}) == "r");
    CHECK(event.message.properties.get(mqtt::prop::message_expiry_interval).value_or(0) == 10);
}

TEST_CASE("MQTT 5 [MQTT-3.8.3-3] subscription options arrive") {
    Broker broker;
    Device d(broker);
    d.connects();
    mqtt::Subscription own, retained;
    own.filter = "own";
    own.no_local = true;
    retained.filter = "r";
    retained.retain_as_published = true;
    retained.retain_handling = mqtt::RetainHandling::do_not_send;
    broker.publish("r", "old", mqtt::QoS::at_most_once, mqtt::Retain::yes);
    REQUIRE(d.client().subscribe({own, retained}).ok());
    REQUIRE(d.client().publish("own", "x").ok());
    REQUIRE(d.client().publish("r", "new", mqtt::QoS::at_most_once, mqtt::Retain::yes).ok());
    const mqtt::Event event = d.until(mqtt::Event::received);
    CHECK(event.message.payload.text() == "new");
    CHECK(event.message.retain);
}

TEST_CASE("MQTT 5 [MQTT-4.4.0-2] [MQTT-3.5.2-1] messages that one side refuses are done with, on both sides") {
    Broker broker;
    broker.config.reason_strings = true;
    broker.config.accept_publish = [](const std::string&, const mqtt::Publish&) { return mqtt::ReasonCode::quota_exceeded; };
    Device d(broker);
    d.options.manual_ack = true;
    d.connects();
    for (const mqtt::QoS qos : {mqtt::QoS::at_least_once, mqtt::QoS::exactly_once}) {
        REQUIRE(d.client().publish("t", "x", qos).ok());
        const mqtt::Event event = d.until(mqtt::Event::acknowledged);
        CHECK(event.reason == mqtt::ReasonCode::quota_exceeded);
        CHECK(event.properties.get(mqtt::prop::reason_string).value_or({}) == "quota exceeded");
        CHECK(d.client().unacknowledged() == 0);
    }
    REQUIRE(d.client().subscribe("t", mqtt::QoS::exactly_once).ok());
    (void)d.until(mqtt::Event::subscribed);
    broker.publish("t", "x", mqtt::QoS::exactly_once);
    const mqtt::Event event = d.until(mqtt::Event::received);
    REQUIRE(d.client().acknowledge(event.message.packet_id, mqtt::ReasonCode::payload_format_invalid).ok());
    d.runs();
    CHECK(broker.session("d")->in_flight == 0);
    CHECK(broker.violations().empty());
}

TEST_CASE("MQTT 5 why the server ends it, and where it sends us") {
    Broker broker;
    Device d(broker);
    d.options.follow_server_reference = true;
    d.connects();
    {
        Device other(broker);
        other.connects();
    }
    mqtt::Event event = d.until(mqtt::Event::disconnected);
    CHECK(event.error == mqtt::Error::server_disconnected);
    CHECK(event.reason == mqtt::ReasonCode::session_taken_over);
    d.now += 200000;   // not at once: the two would alternate
    (void)d.until(mqtt::Event::connected);
    broker.disconnect(d.connection(), mqtt::ReasonCode::use_another_server, "away:1000 far");
    event = d.until(mqtt::Event::disconnected);
    CHECK(event.reason == mqtt::ReasonCode::use_another_server);
    CHECK(event.properties.get(mqtt::prop::server_reference).value_or({}) == "away:1000 far");
    broker.config.refuse_connect = mqtt::ReasonCode::server_busy;
    event = d.until(mqtt::Event::disconnected);
    CHECK(event.error == mqtt::Error::connection_refused);
    CHECK(event.reason == mqtt::ReasonCode::server_busy);
    broker.config.refuse_connect = mqtt::ReasonCode::success;
    d.now += 200000;
    (void)d.until(mqtt::Event::connected);
    CHECK(d.opened == std::vector<std::string>{"home:1883", "home:1883", "away:1000", "home:1883"});
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-30] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-4.12.1-1] a challenge is answered, and once more when we ask for it") {
    Broker broker;
    Device d(broker);
    mqtt::PropertyBuffer<16> method;
    d.options.properties = method.add(mqtt::prop::authentication_method, "test");
    const auto answers = [&] {
        const mqtt::Event event = d.until(mqtt::Event::authentication);
        REQUIRE(event.reason == mqtt::ReasonCode::continue_authentication);
        std::string data(event.properties.get(mqtt::prop::authentication_data).value_or({}).text());
        std::reverse(data.begin(), data.end());
        mqtt::PropertyBuffer<64> answer;
        answer.add(mqtt::prop::authentication_method, "test").add(mqtt::prop::authentication_data, mqtt::Bytes(data));
        REQUIRE(d.client().authenticate(answer).ok());
    };
    REQUIRE(d.client().connect(d.options).ok());
    answers();
    (void)d.until(mqtt::Event::connected);
    REQUIRE(d.client().authenticate(method).ok());
    answers();
    CHECK(d.until(mqtt::Event::authentication).reason == mqtt::ReasonCode::success);
    CHECK(d.client().connected());
    REQUIRE(d.client().authenticate(method).ok());
    (void)d.until(mqtt::Event::authentication);
    REQUIRE(d.client().authenticate(method).ok());   // without data, which is wrong
    CHECK(d.until(mqtt::Event::disconnected).reason == mqtt::ReasonCode::not_authorized);
    CHECK(broker.violations().empty());
}

TEST_CASE("MQTT 5 a server that does not know version 5 is asked for 3.1.1 at once") {
    for (const BrokerConfig::Level5 level : {BrokerConfig::refused_as_3_1_1, BrokerConfig::refused_as_5, BrokerConfig::closed}) {
        CAPTURE(static_cast<int>(level));
        Broker broker;
        broker.config.level_5 = level;
        broker.config.log_publishes = true;
        Device d(broker);
        d.options.version = mqtt::Version::v5_or_v3_1_1;
        REQUIRE(d.client().connect(d.options).ok());
        mqtt::PropertyBuffer<16> properties;
        properties.add(mqtt::prop::content_type, "c");
        REQUIRE(d.client().publish("t", "x", mqtt::QoS::at_least_once, mqtt::Retain::no, properties).ok());
        mqtt::Event event;
        do event = d.client().poll();
        while (event.kind == mqtt::Event::none);
        CHECK(event.kind == mqtt::Event::connected);
        CHECK(d.client().version() == mqtt::Version::v3_1_1);
        CHECK(d.opened.size() == 2);
        (void)d.until(mqtt::Event::acknowledged);
        REQUIRE(broker.log().size() == 1);
        CHECK(broker.log()[0].properties.empty());
        CHECK(broker.session("d")->version == mqtt::Version::v3_1_1);
    }
}

TEST_CASE("MQTT 5 [MQTT-3.1.3-7] [MQTT-3.2.2-16] the id that the server assigns is ours from then on") {
    Broker broker;
    Device d(broker, "");
    d.options.clean_session = false;
    d.options.reconnect_max_ms = 1;
    REQUIRE(d.client().connect(d.options).ok());
    mqtt::Event event = d.until(mqtt::Event::connected);
    CHECK(event.properties.get(mqtt::prop::assigned_client_identifier).value_or({}) == "auto-1");
    CHECK_FALSE(event.session_present);
    broker.disconnect(d.connection(), mqtt::ReasonCode::server_busy);
    (void)d.until(mqtt::Event::disconnected);
    d.now += 10;
    event = d.until(mqtt::Event::connected);
    CHECK(event.session_present);
    CHECK(broker.session_count() == 1);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-23] [MQTT-3.1.2-4] [MQTT-3.14.4-1] how long the session is kept") {
    Broker broker;
    Device d(broker);
    d.options.clean_session = false;
    d.options.session_expiry_interval = 60;
    d.options.will.topic = "w";
    d.options.will.message = "gone";
    d.options.will.retain = mqtt::Retain::yes;
    mqtt::PropertyBuffer<8> delay;
    d.options.will.properties = delay.add(mqtt::prop::will_delay_interval, 5);
    d.connects();
    CHECK(broker.session("d")->expiry == 60);
    mqtt::PropertyBuffer<8> properties;
    REQUIRE(d.client().disconnect(mqtt::ReasonCode::disconnect_with_will_message, properties.add(mqtt::prop::session_expiry_interval, 10)).ok());
    CHECK(d.until(mqtt::Event::disconnected).error == mqtt::Error::ok);
    CHECK_FALSE(broker.retained("w").has_value());
    broker.tick(d.now + 5000);
    CHECK(broker.retained("w") == "gone");
    CHECK(broker.session("d").has_value());
    broker.tick(d.now + 10000);
    CHECK_FALSE(broker.session("d").has_value());
    d.options.clean_session = true;
    d.connects();
    CHECK(broker.session("d")->expiry == 0);
    CHECK(broker.violations().empty());
}

// ------------------------------------------------------------------------------------------------------------ TCP

namespace {

// A client on a socket.
class Socket {
public:
    explicit Socket(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const sockaddr* const any = static_cast<sockaddr*>(static_cast<void*>(&address));
        // Loopback: the kernel has decided when this returns, but it may not say so.
        if (::connect(fd_, any, sizeof address) != 0 && errno != EINPROGRESS) close();
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() { close(); }

    void close() {
        if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    }
    bool there() const { return fd_ >= 0; }
    size_t sends(std::string_view bytes) {
        const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        return n > 0 ? static_cast<size_t>(n) : 0;
    }
    // Adds what has come to `bytes`. False: the connection has ended (`reset`: by RST).
    bool receives(std::string& bytes, size_t at_most = 65536) {
        std::string piece(at_most, '\0');
        const ssize_t n = ::recv(fd_, &piece[0], piece.size(), 0);
        if (n > 0) bytes.append(piece, 0, static_cast<size_t>(n));
        reset = n < 0 && errno == ECONNRESET;
        return n > 0 || (n < 0 && errno == EAGAIN);
    }
    bool reset = false;
    // Until something has come, for tests without a broker to run meanwhile.
    bool waits() const {
        pollfd entry{fd_, POLLIN, 0};
        return ::poll(&entry, 1, 30000) == 1;
    }

private:
    int fd_;
};

constexpr int patience = 20000;   // turns of up to 1 ms: a bound for what should take a few

void work(TcpBroker& broker, int timeout_ms = 1) { broker.run_once(timeout_ms); }

// Until `size` bytes or the end of the connection.
std::string read_from(Socket& socket, TcpBroker& broker, size_t size) {
    std::string bytes;
    for (int i = 0; i < patience && bytes.size() < size && socket.receives(bytes); ++i) work(broker);
    return bytes;
}

bool ends(Socket& socket, TcpBroker& broker) {
    std::string bytes;
    for (int i = 0; i < patience; ++i) {
        if (!socket.receives(bytes)) return true;
        work(broker);
    }
    return false;
}

std::string read_from_thread(Socket& socket, size_t size) {
    std::string bytes;
    while (bytes.size() < size && socket.waits() && socket.receives(bytes)) {}
    return bytes;
}

}  // namespace

TEST_CASE("TCP: a client connects, publishes to itself and is disconnected") {
    TcpBroker broker;
    CHECK(broker.port() != 0);
    Socket a(broker.port());
    REQUIRE(a.there());
    a.sends(connect_packet('a') + raw({0x82, 6, 0, 1, 0, 1, 't', 0}) + publish_0("t", "x"));
    CHECK(hex(read_from(a, broker, 15)) == hex({0x20, 2, 0, 0, 0x90, 3, 0, 1, 0, 0x30, 4, 0, 1, 't', 'x'}));
    a.sends(raw({0xE0, 0}));
    CHECK(ends(a, broker));
    a.close();
    for (int i = 0; i < patience && broker.with([](Broker& b) { return b.connection_count(); }) != 0; ++i) work(broker);
    CHECK(broker.with([](Broker& b) { return b.connection_count(); }) == 0);
}

TEST_CASE("TCP: a refusal arrives although the client had sent more behind CONNECT") {
    BrokerConfig config;
    config.refuse_connect = mqtt::ReasonCode::server_unavailable;
    TcpBroker broker(0, config);
    Socket a(broker.port());
    a.sends(connect_packet('a'));
    a.sends(publish_0("t", std::string(100, 'x')));
    CHECK(hex(read_from(a, broker, 100)) == hex({0x20, 2, 0, 3}));
    a.sends(publish_0("t", std::string(100, 'x')));
    work(broker);
    CHECK(ends(a, broker));
    CHECK_FALSE(a.reset);
}

TEST_CASE("TCP: 8 MB through sockets that take a little at a time, both ways") {
    TcpBroker broker;
    Socket a(broker.port());
    a.sends(connect_packet('a') + raw({0x82, 6, 0, 1, 0, 1, 't', 0}));
    REQUIRE(read_from(a, broker, 9).size() == 9);
    // Remaining length 8388611 = 0x83 0x80 0x80 0x04.
    std::string message = raw({0x30, 0x83, 0x80, 0x80, 0x04, 0, 1, 't'});
    for (size_t i = 0; message.size() < 8388616; ++i) message += static_cast<char>(i * 7 + i / 251);
    size_t sent = 0;
    while (sent < message.size()) {
        sent += a.sends(std::string_view(message).substr(sent, 100000));
        work(broker, 0);
    }
    // The client reads nothing so far; the broker has to keep the rest.
    std::string got;
    for (int i = 0; i < patience && got.size() < message.size(); ++i) {
        REQUIRE(a.receives(got, 50000));
        work(broker, 0);
    }
    CHECK(got == message);
}

TEST_CASE("TCP: drop_all() cuts everybody, by FIN or by RST, and wills are published") {
    for (const bool reset : {false, true}) {
        TcpBroker broker;
        Socket a(broker.port()), b(broker.port());
        a.sends(raw({0x10, 20, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x26, 0, 0, 0, 1, 'a', 0, 1, 'w', 0, 2, 'n', 'o'}));
        b.sends(connect_packet('b'));
        CHECK(read_from(a, broker, 4).size() == 4);
        CHECK(read_from(b, broker, 4).size() == 4);
        CHECK(broker.drop_all(reset) == 2);
        CHECK(ends(a, broker));
        CHECK(a.reset == reset);
        CHECK(ends(b, broker));
        CHECK(broker.with([](Broker& x) { return x.retained("w"); }) == "no");
        CHECK(broker.with([](Broker& x) { return x.connection_count(); }) == 0);
    }
}

TEST_CASE("TCP: stop_accepting() refuses, start_accepting() serves the same port again") {
    TcpBroker broker;
    const uint16_t port = broker.port();
    broker.stop_accepting();
    Socket a(port);
    CHECK((!a.there() || ends(a, broker)));
    broker.start_accepting();
    CHECK(broker.port() == port);
    Socket b(port);
    b.sends(connect_packet('b'));
    CHECK(hex(read_from(b, broker, 4)) == hex({0x20, 2, 0, 0}));
}

TEST_CASE("TCP: a port in use is an exception") {
    TcpBroker broker;
    CHECK_THROWS_AS(TcpBroker(broker.port()), std::runtime_error);
}

TEST_CASE("TCP: in a thread of its own, used from this one") {
    TcpBroker broker;
    broker.start();
    {
        Socket a(broker.port());
        a.sends(connect_packet('a') + raw({0x82, 6, 0, 1, 0, 1, 't', 0}));
        CHECK(read_from_thread(a, 9).size() == 9);
        broker.with([](Broker& b) { b.publish("t", "x"); });
        CHECK(hex(read_from_thread(a, 6)) == hex({0x30, 4, 0, 1, 't', 'x'}));
        CHECK(broker.drop_all() == 1);
        CHECK(read_from_thread(a, 1).empty());
    }
    broker.stop();
    broker.start();   // and once more
    Socket b(broker.port());
    b.sends(connect_packet('b'));
    CHECK(read_from_thread(b, 4).size() == 4);
    broker.with([](Broker& x) { x.lose_sessions(); });
    CHECK(read_from_thread(b, 1).empty());
    broker.stop();
}

TEST_CASE("TCP: wake() ends a wait without end") {
    TcpBroker broker;
    broker.wake();
    CHECK(broker.run_once(-1));
    CHECK_FALSE(broker.run_once(0));
}

TEST_SUITE_END();
