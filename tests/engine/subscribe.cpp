// SUBSCRIBE and UNSUBSCRIBE, and what a server may answer.

#include "tests/support/peer.hpp"

#include <string>

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::Session;

constexpr QoS qos0 = QoS::at_most_once, qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

struct Connected : Session {
    explicit Connected(size_t rx_size = 256, size_t tx_size = 1024) : Session(rx_size, tx_size) {
        options.clean_session = false;
        connect();
    }
    // The codes that the next event tells, which has to be `subscribed` for this id.
    std::string subscribed(int id) {
        const Event event = expect_event(Event::subscribed);
        CHECK(event.packet_id == id);
        return std::string(event.reason_codes.text());
    }
    void unsubscribed(int id) {
        const Event event = expect_event(Event::unsubscribed);
        CHECK(event.packet_id == id);
    }
};

}  // namespace

TEST_CASE("[MQTT-3.8.3-1] [MQTT-3.8.3-3] [MQTT-3.8.3-4] SUBSCRIBE has one or several filters, each with its QoS") {
    Connected s;
    SUBCASE("one") {
        CHECK(s.client.subscribe("a/+", qos2).packet_id == 1);
        s.expects({0x82, 8, 0, 1, 0, 3, 'a', '/', '+', 2});
    }
    SUBCASE("a list") {
        CHECK(s.client.subscribe({{"a", qos0}, {"b/#", qos1}, {"\xC3\xA4", qos2}}).packet_id == 1);
        s.expects({0x82, 17, 0, 1, 0, 1, 'a', 0, 0, 3, 'b', '/', '#', 1, 0, 2, 0xC3, 0xA4, 2});
    }
    SUBCASE("an array") {
        const mqtt::Subscription list[] = {{"a", qos1}, {"b", qos2}};
        CHECK(s.client.subscribe(list, 2).packet_id == 1);
        s.expects({0x82, 10, 0, 1, 0, 1, 'a', 1, 0, 1, 'b', 2});
    }
    s.quiet();
}

TEST_CASE("[MQTT-3.10.3-1] [MQTT-3.10.3-2] UNSUBSCRIBE has one or several filters, back to back") {
    Connected s;
    SUBCASE("one") {
        CHECK(s.client.unsubscribe("a/+").packet_id == 1);
        s.expects({0xA2, 7, 0, 1, 0, 3, 'a', '/', '+'});
    }
    SUBCASE("a list") {
        CHECK(s.client.unsubscribe({"a", "b/#"}).packet_id == 1);
        s.expects({0xA2, 10, 0, 1, 0, 1, 'a', 0, 3, 'b', '/', '#'});
    }
    SUBCASE("an array") {
        const std::string_view list[] = {"a", "b"};
        CHECK(s.client.unsubscribe(list, 2).packet_id == 1);
        s.expects({0xA2, 8, 0, 1, 0, 1, 'a', 0, 1, 'b'});
    }
    s.quiet();
}

TEST_CASE("a filter may have 65,535 bytes, and more than 255 (vibe-mqtt)") {
    for (const size_t size : {size_t{256}, size_t{65535}}) {
        Connected s(256, 70000);
        const std::string filter(size, 'f');
        CHECK(s.client.subscribe(filter, qos0).ok());
        s.run();
        const size_t header = size == 256 ? 3 : 4;
        REQUIRE(s.port.from_client.size() == header + 2 + 2 + size + 1);
        CHECK(s.port.from_client.substr(0, header) == (size == 256 ? bytes({0x82, 0x85, 0x02}) : bytes({0x82, 0x84, 0x80, 0x04})));
        CHECK(s.port.from_client.substr(header, 4) == bytes({0, 1, static_cast<int>(size >> 8), static_cast<int>(size & 255)}));
        CHECK(s.port.from_client.substr(header + 4) == filter + std::string(1, '\0'));
        s.sends({0x90, 3, 0, 1, 0});
        CHECK(s.subscribed(1) == bytes({0}));
    }
}

TEST_CASE("[MQTT-3.8.4-5] [MQTT-3.9.3-1] SUBACK's codes are told, one per filter, in the order of the filters; a refused one is seen") {
    Connected s;
    CHECK(s.client.subscribe({{"a", qos0}, {"b", qos1}, {"c", qos2}, {"d", qos2}}).packet_id == 1);
    s.run();
    s.sends({0x90, 6, 0, 1, 0x00, 0x80, 0x02, 0x01});
    const Event event = s.expect_event(Event::subscribed);
    CHECK(event.packet_id == 1);
    REQUIRE(event.reason_codes.size() == 4);
    CHECK(event.reason_codes[0] == 0x00);
    CHECK(event.reason_codes[1] == 0x80);
    CHECK(event.reason_codes[2] == 0x02);
    CHECK(event.reason_codes[3] == 0x01);
    CHECK(mqtt::granted(event.reason_codes[0]));
    CHECK_FALSE(mqtt::granted(event.reason_codes[1]));
    s.port.from_client.clear();
    s.quiet();
}

TEST_CASE("[MQTT-3.10.4-4] UNSUBACK is told for the request with its id") {
    Connected s;
    CHECK(s.client.unsubscribe("a").packet_id == 1);
    CHECK(s.client.unsubscribe("b").packet_id == 2);
    s.run();
    s.sends({0xB0, 2, 0, 2, 0xB0, 2, 0, 1});
    s.unsubscribed(2);
    s.unsubscribed(1);
}

TEST_CASE("[MQTT-2.3.1-7] [MQTT-3.8.4-2] two requests at once keep their ids, and each answer is told for its own (vibe-mqtt)") {
    Connected s;
    CHECK(s.client.subscribe("a", qos0).packet_id == 1);
    CHECK(s.client.subscribe({{"b", qos0}, {"c", qos0}}).packet_id == 2);
    CHECK(s.client.unsubscribe("d").packet_id == 3);
    CHECK(s.client.subscribe("e", qos1).packet_id == 4);
    s.expects({0x82, 6, 0, 1, 0, 1, 'a', 0, 0x82, 10, 0, 2, 0, 1, 'b', 0, 0, 1, 'c', 0, 0xA2, 5, 0, 3, 0, 1, 'd',
               0x82, 6, 0, 4, 0, 1, 'e', 1});
    s.sends({0x90, 3, 0, 4, 1});
    CHECK(s.subscribed(4) == bytes({1}));
    s.sends({0x90, 4, 0, 2, 0, 0x80});
    CHECK(s.subscribed(2) == bytes({0, 0x80}));
    s.sends({0xB0, 2, 0, 3});
    s.unsubscribed(3);
    s.sends({0x90, 3, 0, 1, 0});
    CHECK(s.subscribed(1) == bytes({0}));
    s.quiet();
}

TEST_CASE("[MQTT-2.3.1-7] SUBACK and UNSUBACK for an unknown id complete nothing") {
    Connected s;
    CHECK(s.client.subscribe("a", qos0).packet_id == 1);
    CHECK(s.client.unsubscribe("a").packet_id == 2);
    s.run();
    s.port.from_client.clear();
    s.sends({0x90, 3, 0, 3, 0, 0x90, 4, 0, 9, 0, 0, 0xB0, 2, 0, 7});
    s.quiet();
    s.sends({0x90, 3, 0, 1, 0, 0x90, 3, 0, 1, 0, 0xB0, 2, 0, 2, 0xB0, 2, 0, 2});   // twice: the second is unknown
    CHECK(s.subscribed(1) == bytes({0}));
    s.unsubscribed(2);
    s.quiet();
    CHECK(s.client.connected());
}

TEST_CASE("[MQTT-3.8.4-5] SUBACK with too few or too many codes is a protocol error, and the request is kept") {
    for (int wanted = 1; wanted <= 3; ++wanted) {
        for (int codes = 1; codes <= 4; ++codes) {
            if (codes == wanted) continue;
            CAPTURE(wanted);
            CAPTURE(codes);
            Connected s;
            const mqtt::Subscription list[] = {{"a", qos0}, {"b", qos0}, {"c", qos0}};
            CHECK(s.client.subscribe(list, static_cast<size_t>(wanted)).packet_id == 1);
            s.run();
            const std::string request = s.port.from_client;
            s.sends(bytes({0x90, 2 + codes, 0, 1}) + std::string(static_cast<size_t>(codes), '\0'));
            CHECK(s.expect_event(Event::disconnected).error == Error::protocol_error);
            CHECK_FALSE(s.port.is_open);
            s.port.clock += s.options.reconnect_max_ms;
            s.accept(true);
            s.expects(request);
        }
    }
}

TEST_CASE("[MQTT-3.9.3-2] SUBACK with a code that does not exist, or without any, is malformed") {
    for (const int code : {3, 0x7F, 0x81, 0x87, 0xFF, -1}) {
        CAPTURE(code);
        Connected s;
        CHECK(s.client.subscribe("a", qos0).packet_id == 1);
        s.run();
        if (code < 0)
            s.sends({0x90, 2, 0, 1});
        else
            s.sends({0x90, 3, 0, 1, code});
        CHECK(s.expect_event(Event::disconnected).error == Error::malformed_packet);
        CHECK_FALSE(s.port.is_open);
    }
}

TEST_CASE("[MQTT-2.3.1-3] a request pending over a reconnect is sent again with its id, without flags that it must not have") {
    Connected s;
    CHECK(s.client.subscribe("a", qos1).packet_id == 1);
    CHECK(s.client.unsubscribe("b").packet_id == 2);
    s.run();
    for (int i = 0; i < 3; ++i) {
        s.reconnect(true);
        s.expects({0x82, 6, 0, 1, 0, 1, 'a', 1, 0xA2, 5, 0, 2, 0, 1, 'b'});
        s.quiet();
    }
    s.sends({0x90, 3, 0, 1, 1, 0xB0, 2, 0, 2});
    CHECK(s.subscribed(1) == bytes({1}));
    s.unsubscribed(2);
    s.reconnect(true);
    s.quiet();
}

TEST_CASE("a request pending when the session is lost is told as dropped, once, and not sent again") {
    Connected s;
    CHECK(s.client.subscribe("a", qos1).packet_id == 1);
    CHECK(s.client.unsubscribe("b").packet_id == 2);
    s.run();
    s.lose();
    CHECK(s.client.subscribe("c", qos1).packet_id == 3);   // never sent: part of no session
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(false);
    CHECK(s.expect_event(Event::dropped).packet_id == 1);
    CHECK(s.expect_event(Event::dropped).packet_id == 2);
    CHECK(s.next().kind == Event::none);
    s.expects({0x82, 6, 0, 3, 0, 1, 'c', 1});
    s.sends({0x90, 3, 0, 1, 1, 0xB0, 2, 0, 2});            // late answers are for nobody
    s.quiet();
    s.sends({0x90, 3, 0, 3, 1});
    CHECK(s.subscribed(3) == bytes({1}));
}

TEST_CASE("subscribing again when the session is not present, while handling the event, goes out behind nothing else") {
    Connected s;
    s.options.clean_session = false;
    s.reconnect(false);
    CHECK(s.client.subscribe("a", qos1).packet_id == 1);
    s.expects({0x82, 6, 0, 1, 0, 1, 'a', 1});
}

TEST_CASE("[MQTT-3.8.3-1] [MQTT-3.8.3-3] [MQTT-3.8.3-4] [MQTT-3.10.3-1] [MQTT-3.10.3-2] wrong filters, empty lists and QoS 3 are refused, and nothing has changed") {
    Connected s;
    const std::string long_filter(65536, 'f');
    const std::string_view wrong[] = {"", "a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "\xED\xA0\x80", "\xFF",
                                      std::string_view("a\0b", 3), long_filter};
    for (const std::string_view filter : wrong) {
        CAPTURE(filter.substr(0, 20));
        CHECK(s.client.subscribe(filter, qos0).error == Error::invalid_filter);
        CHECK(s.client.unsubscribe(filter).error == Error::invalid_filter);
        CHECK(s.client.subscribe({{"a", qos0}, {filter, qos0}}).error == Error::invalid_filter);
        CHECK(s.client.unsubscribe({"a", filter}).error == Error::invalid_filter);
    }
    CHECK(s.client.subscribe(nullptr, 0).error == Error::invalid_argument);
    CHECK(s.client.unsubscribe(nullptr, 0).error == Error::invalid_argument);
    CHECK(s.client.subscribe("a", static_cast<QoS>(3)).error == Error::invalid_argument);
    CHECK(s.client.subscribe({{"a", qos0}, {"b", static_cast<QoS>(3)}}).error == Error::invalid_argument);
    s.quiet();
    CHECK(s.client.subscribe("a", qos0).packet_id == 1);
    s.expects({0x82, 6, 0, 1, 0, 1, 'a', 0});
}

TEST_CASE("a SUBSCRIBE that can never fit is packet_too_large, one that does not fit now no_space") {
    Connected s(256, 256);
    CHECK(s.client.subscribe(std::string(300, 'f'), qos0).error == Error::packet_too_large);
    CHECK(s.client.subscribe(std::string(100, 'f'), qos0).packet_id == 1);
    CHECK(s.client.subscribe(std::string(100, 'g'), qos0).error == Error::no_space);
    s.run();
    s.sends({0x90, 3, 0, 1, 0});
    CHECK(s.subscribed(1) == bytes({0}));
    CHECK(s.client.subscribe(std::string(100, 'g'), qos0).packet_id == 2);
}

TEST_CASE("messages of a subscription may come before its SUBACK") {
    Connected s;
    CHECK(s.client.subscribe("t", qos1).packet_id == 1);
    s.run();
    s.port.from_client.clear();
    s.sends({0x33, 6, 0, 1, 't', 0, 1, 'x', 0x90, 3, 0, 1, 1});   // both have id 1: the two directions have nothing in common
    CHECK(s.expect_event(Event::received).message.retain);
    CHECK(s.subscribed(1) == bytes({1}));
    s.expects({0x40, 2, 0, 1});
}
