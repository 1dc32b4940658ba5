// The test broker, held to the server's half of the specification by packets written out by hand.
//
// The names of these test cases say [server 3.1.4-4] for MQTT-3.1.4-4: the statements that the client holds are counted
// by name (tests/build/conformance.py), and that the broker holds one proves nothing about the client.

#include "tests/support/broker.hpp"
#include "tests/support/broker_tcp.hpp"
#include "tests/support/testing.hpp"

#include <doctest/doctest.h>

#include <poll.h>

#include <algorithm>
#include <initializer_list>
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
