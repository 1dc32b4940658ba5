// Messages that are larger than the client's memory, in both directions, and packets at the borders of the remaining
// length.

#include "tests/support/peer.hpp"
#include "tests/support/testing.hpp"

namespace {

using mqtt::Bytes;
using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using mqtt::Written;
using test::bytes;
using test::Session;

constexpr QoS qos0 = QoS::at_most_once, qos1 = QoS::at_least_once, qos2 = QoS::exactly_once;

const std::string text = "0123456789abcdefghijklmnopqrstuvwxyzABCD";   // 40 bytes

// A client that keeps its session, connected.
struct Kept : Session {
    explicit Kept(size_t rx_size = 256, size_t tx_size = 1024) : Session(rx_size, tx_size) {
        options.clean_session = false;
        connect();
    }
};

// Polls until nothing more happens, and puts a message together from its pieces, which have to fit together.
struct Collector {
    std::string payload;
    int pieces = 0, complete = 0, others = 0, skipped = 0;
    Event last, last_skipped;

    void run(Session& s) {
        for (Event event = s.next(); event.kind != Event::none; event = s.next()) take(event);
    }
    void take(const Event& event) {
        if (event.kind == Event::skipped) {
            ++skipped;
            last_skipped = event;
            return;
        }
        if (event.kind != Event::received || event.message.topic == "n") {
            if (event.kind == Event::received && event.message.payload.text() != "x") return;
            ++others;
            return;
        }
        CHECK(event.message.topic == "topic");
        CHECK(event.message.offset == payload.size());
        CHECK(event.message.total == 40);
        CHECK(event.packet_id == event.message.packet_id);
        CHECK_FALSE(event.message.payload.empty());
        payload += event.message.payload.text();
        ++pieces;
        CHECK(event.message.complete() == (payload.size() == 40));
        complete += event.message.complete();
        last = event;
    }
};

// PUBLISH of "topic", id 0x0102, with the 40 bytes of `text`.
std::string publish40(QoS qos, bool dup = false) {
    const int first = 0x30 | static_cast<int>(qos) << 1 | (dup ? 8 : 0);
    if (qos == qos0) return bytes({first, 47, 0, 5, 't', 'o', 'p', 'i', 'c'}) + text;
    return bytes({first, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 1, 2}) + text;
}
std::string answer(QoS qos) {
    return qos == qos0 ? "" : bytes({qos == qos1 ? 0x40 : 0x50, 2, 1, 2});
}
const std::string next_message = bytes({0x30, 4, 0, 1, 'n', 'x'});

// Writes the rest of a payload, as an application does.
void write_all(Session& s, std::string_view payload) {
    for (int i = 0; i < 10000 && !payload.empty(); ++i) {
        const Written written = s.client.write_payload(payload);
        REQUIRE(written.error == Error::ok);
        payload.remove_prefix(written.size);
        if (written.size == 0) CHECK(s.client.wants_write());
        const Event event = s.client.poll();
        if (event.kind != Event::none) s.waiting.push_back(event);
    }
    CHECK(payload.empty());
}

}  // namespace

// ---------------------------------------------------------------------------------------------------- receiving

TEST_CASE("a PUBLISH larger than rx comes in pieces and is acknowledged after the last: every rx, every split, every QoS") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        const std::string packet = publish40(qos), stream = packet + next_message;
        for (size_t rx = 15; rx <= packet.size() + 4; ++rx) {
            for (size_t split = 0; split <= stream.size(); ++split) {
                CAPTURE(rx);
                CAPTURE(split);
                Session s(rx, 128);
                s.connect();
                Collector got;
                s.sends(stream.substr(0, split));
                got.run(s);
                if (split < packet.size()) {
                    CHECK(got.complete == 0);
                    CHECK(s.port.from_client == "");   // nothing is answered before the last byte
                }
                s.sends(stream.substr(split));
                got.run(s);
                CHECK(got.payload == text);
                CHECK(got.complete == 1);
                CHECK((got.pieces == 1) == (rx >= packet.size()));
                CHECK(got.last.message.qos == qos);
                CHECK(got.last.packet_id == (qos == qos0 ? 0 : 0x0102));
                CHECK(got.others == 1);
                s.expects(answer(qos));
                CHECK(s.client.connected());
            }
        }
    }
}

TEST_CASE("pieces are as large as rx allows, however few bytes a read gives") {
    Kept s(31, 128);   // the head takes 11 bytes
    s.port.read_limit = 3;
    s.sends(publish40(qos1));
    Collector got;
    got.run(s);
    CHECK(got.pieces == 2);
    CHECK(got.payload == text);
    s.expects(answer(qos1));
}

TEST_CASE("a large message is not acknowledged before the application has seen its last piece") {
    for (const QoS qos : {qos1, qos2}) {
        Kept s(31, 128);
        s.sends(publish40(qos));
        Event event;
        do {
            do event = s.client.poll();
            while (event.kind == Event::none);
            CHECK(event.kind == Event::received);
            CHECK(s.port.from_client == "");
        } while (!event.message.complete());
        s.client.flush();
        CHECK(s.port.from_client == "");
        s.expects(answer(qos));
    }
}

TEST_CASE("with manual_ack a large message is open after its last piece") {
    for (const QoS qos : {qos1, qos2}) {
        Session s(31, 128);
        s.options.manual_ack = true;
        s.connect();
        s.sends(publish40(qos).substr(0, 50));
        Collector got;
        got.run(s);
        CHECK(got.complete == 0);
        CHECK(s.client.acknowledge(0x0102).error == Error::unknown_packet_id);
        s.sends(publish40(qos).substr(50));
        got.run(s);
        CHECK(got.complete == 1);
        s.quiet();
        CHECK(s.client.acknowledge(0x0102).ok());
        s.expects(answer(qos));
    }
}

TEST_CASE("[MQTT-4.3.3-2] [MQTT-4.5.0-2] a large QoS 2 message that comes again is acknowledged and not delivered again") {
    for (size_t rx = 15; rx < 56; ++rx) {
        CAPTURE(rx);
        Kept s(rx, 128);
        Collector got;
        s.sends(publish40(qos2));
        got.run(s);
        CHECK(got.complete == 1);
        s.expects(answer(qos2));
        s.sends(publish40(qos2, false) + next_message);
        got.run(s);
        s.expects(answer(qos2));
        s.reconnect(true);
        s.sends(publish40(qos2, true) + next_message);
        got.run(s);
        s.expects(answer(qos2));
        CHECK(got.payload == text);
        CHECK(got.complete == 1);
        CHECK(got.others == 2);
    }
}

TEST_CASE("a connection lost in the middle of a large message: it is not acknowledged, and comes again from its start") {
    for (const QoS qos : {qos1, qos2}) {
        const std::string packet = publish40(qos);
        for (size_t cut = 1; cut < packet.size(); ++cut) {
            CAPTURE(cut);
            Kept s(20, 128);
            Collector first, second;
            s.sends(packet.substr(0, cut));
            first.run(s);
            CHECK(first.complete == 0);
            s.reconnect(true);
            s.quiet();
            s.sends(publish40(qos, true) + next_message);
            second.run(s);
            CHECK(second.payload == text);
            CHECK(second.complete == 1);
            CHECK(second.last.message.duplicate);
            CHECK(second.others == 1);
            s.expects(answer(qos));
        }
    }
}

TEST_CASE("[MQTT-4.5.0-2] a message whose topic does not fit into rx is skipped and acknowledged, and the connection stays: every split") {
    const std::string topic = "a/topic/that/is/longer/than/rx";   // 30 bytes
    for (const QoS qos : {qos0, qos1, qos2}) {
        for (const size_t size : {size_t{0}, size_t{1}, size_t{25}}) {
            std::string packet = bytes({0x30 | static_cast<int>(qos) << 1, static_cast<int>(32 + (qos == qos0 ? 0 : 2) + size), 0, 30}) + topic;
            if (qos != qos0) packet += bytes({1, 2});
            packet += text.substr(0, size);
            const std::string stream = packet + next_message;
            for (size_t rx = 15; rx <= 37; ++rx) {
                // It is skipped if it does not fit, and its head leaves no byte of rx for the payload.
                const size_t head = 2 + 2 + 30 + (qos == qos0 ? 0U : 2U);
                const bool skipped = packet.size() > rx && head >= rx;
                for (size_t split = 0; split <= stream.size(); ++split) {
                    CAPTURE(size);
                    CAPTURE(rx);
                    CAPTURE(split);
                    Kept s(rx, 128);
                    Collector got;
                    std::string told;
                    for (int half = 0; half < 2; ++half) {
                        s.sends(half == 0 ? stream.substr(0, split) : stream.substr(split));
                        for (Event event = s.next(); event.kind != Event::none; event = s.next()) {
                            if (event.kind == Event::received && event.message.topic == topic)
                                told += event.message.payload.text();
                            else
                                got.take(event);
                        }
                    }
                    CHECK(got.others == 1);
                    CHECK(got.skipped == (skipped ? 1 : 0));
                    CHECK(told == (skipped ? "" : text.substr(0, size)));
                    if (skipped) {
                        CHECK(got.last_skipped.message.total == size);
                        CHECK(got.last_skipped.message.qos == qos);
                        CHECK(got.last_skipped.packet_id == (qos == qos0 ? 0 : 0x0102));
                        CHECK(got.last_skipped.message.topic.empty());
                        CHECK(got.last_skipped.message.payload.empty());
                    }
                    s.expects(answer(qos));
                    CHECK(s.client.connected());
                }
            }
        }
    }
}

TEST_CASE("[MQTT-4.3.3-2] a skipped QoS 2 message goes through PUBREL and PUBCOMP like any other, also when it comes again") {
    Kept s(20, 128);
    const std::string packet = bytes({0x34, 34, 0, 30}) + std::string(30, 't') + bytes({1, 2});
    s.sends(packet);
    CHECK(s.expect_event(Event::skipped).packet_id == 0x0102);
    s.expects(answer(qos2));
    s.reconnect(true);
    s.sends(packet);
    s.expects(answer(qos2));
    s.sends({0x62, 2, 1, 2});
    while (s.next().kind != Event::none) {}
    s.expects({0x70, 2, 1, 2});
}

TEST_CASE("a large PUBLISH that is malformed closes the connection: topic beyond the packet, id 0, wildcard in the topic") {
    Session s(20, 128);
    s.connect();
    SUBCASE("the topic reaches beyond the packet") { s.sends(bytes({0x30, 40, 0, 60}) + std::string(60, 't')); }
    SUBCASE("the id does") { s.sends(bytes({0x32, 40, 0, 38}) + std::string(60, 't')); }
    SUBCASE("the id does by a byte") { s.sends(bytes({0x32, 40, 0, 37}) + std::string(60, 't')); }
    SUBCASE("id 0") { s.sends(bytes({0x32, 40, 0, 1, 't', 0, 0}) + std::string(35, 'x')); }
    SUBCASE("id 0, in a message that is skipped") { s.sends(bytes({0x32, 36, 0, 30}) + std::string(30, 't') + bytes({0, 0, 'x', 'x'})); }
    SUBCASE("wildcard") { s.sends(bytes({0x30, 40, 0, 1, '#'}) + std::string(37, 'x')); }
    SUBCASE("empty topic") { s.sends(bytes({0x30, 40, 0, 0}) + std::string(38, 'x')); }
    CHECK(s.expect_event(Event::disconnected).error == Error::malformed_packet);
    CHECK_FALSE(s.port.is_open);
    s.expects("");
}

TEST_CASE("[MQTT-4.8.0-2] a packet other than PUBLISH that is larger than rx is an oversize_packet and closes the connection") {
    for (size_t length = 19; length <= 30; ++length) {   // 19 is one byte too many for 20
        CAPTURE(length);
        Session s(20, 256);
        s.connect();
        const std::vector<mqtt::Subscription> list(length - 2, mqtt::Subscription{"f", qos0});
        CHECK(s.client.subscribe(list.data(), list.size()).ok());
        s.run();
        s.sends(bytes({0x90, static_cast<int>(length), 0, 1}) + std::string(length - 2, '\0'));
        CHECK(s.expect_event(Event::disconnected).error == Error::oversize_packet);
        CHECK_FALSE(s.port.is_open);
    }
    Session exact(20, 256);
    exact.connect();
    const std::vector<mqtt::Subscription> list(16, mqtt::Subscription{"f", qos0});
    CHECK(exact.client.subscribe(list.data(), list.size()).ok());
    exact.run();
    exact.sends(bytes({0x90, 18, 0, 1}) + std::string(16, '\0'));
    CHECK(exact.expect_event(Event::subscribed).reason_codes.size() == 16);
}

// ------------------------------------------------------------------------------------------------------ sending

TEST_CASE("[MQTT-4.3.1-1] [MQTT-4.3.2-1] [MQTT-4.3.3-1] begin_publish and write_payload: header, then the payload, at every QoS and with every short write") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        for (size_t limit = 1; limit <= 52; ++limit) {
            CAPTURE(limit);
            Kept s(64, 96);
            s.port.write_limit = limit;
            const mqtt::Result result = s.client.begin_publish("topic", 40, qos, mqtt::Retain::yes);
            CHECK(result.ok());
            CHECK(result.packet_id == (qos == qos0 ? 0 : 1));
            write_all(s, text);
            if (qos == qos0) s.expects(bytes({0x31, 47, 0, 5, 't', 'o', 'p', 'i', 'c'}) + text);
            if (qos == qos1) s.expects(bytes({0x33, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 1}) + text);
            if (qos == qos2) s.expects(bytes({0x35, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 1}) + text);
            s.port.write_limit = SIZE_MAX;
            if (qos == qos1) s.sends({0x40, 2, 0, 1});
            if (qos == qos2) {
                s.sends({0x50, 2, 0, 1});
                CHECK(s.expect_event(Event::pubrec).packet_id == 1);
                s.expects({0x62, 2, 0, 1});
                s.sends({0x70, 2, 0, 1});
            }
            if (qos != qos0) CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
            s.quiet();
            // And the next one.
            CHECK(s.client.begin_publish("t", 1, qos).ok());
            write_all(s, "y");
        }
    }
}

TEST_CASE("the payload may come in pieces of any size, also of none") {
    for (size_t size = 1; size <= 40; ++size) {
        Kept s(64, 96);
        CHECK(s.client.begin_publish("topic", 40, qos0).ok());
        for (size_t at = 0; at < 40; at += size) {
            const Written nothing = s.client.write_payload("");
            CHECK(nothing.error == Error::ok);
            CHECK(nothing.size == 0);
            write_all(s, std::string_view(text).substr(at, size));
        }
        s.expects(bytes({0x30, 47, 0, 5, 't', 'o', 'p', 'i', 'c'}) + text);
    }
}

TEST_CASE("what is queued before a large message goes before it, what is queued meanwhile goes after it: messages, answers, requests, pings") {
    for (size_t limit = 1; limit <= 60; ++limit) {
        CAPTURE(limit);
        Kept s(64, 512);
        s.port.write_limit = limit;
        CHECK(s.client.publish("t", "1", qos1).packet_id == 1);
        CHECK(s.client.begin_publish("topic", 40, qos2).packet_id == 2);
        CHECK(s.client.publish("t", "0").ok());
        write_all(s, std::string_view(text).substr(0, 10));
        CHECK(s.client.publish("t", "3", qos1).packet_id == 3);
        CHECK(s.client.subscribe("f", qos0).packet_id == 4);
        s.sends({0x32, 6, 0, 1, 'n', 0, 9, 'x', 0x34, 6, 0, 1, 'n', 0, 8, 'x', 0x62, 2, 0, 8, 0x40, 2, 0, 1});
        Collector got;
        s.run();
        CHECK(s.waiting.size() == 4);   // two messages, pubrel, acknowledged: receiving goes on
        s.waiting.clear();
        write_all(s, std::string_view(text).substr(10));
        s.expects(bytes({0x32, 6, 0, 1, 't', 0, 1, '1', 0x34, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 2}) + text +
                  bytes({0x30, 4, 0, 1, 't', '0', 0x32, 6, 0, 1, 't', 0, 3, '3', 0x82, 6, 0, 4, 0, 1, 'f', 0,
                         0x40, 2, 0, 9, 0x50, 2, 0, 8, 0x70, 2, 0, 8}));
    }
}

TEST_CASE("a ping that becomes due during a large message does not cut it") {
    Kept s(64, 512);
    CHECK(s.client.begin_publish("topic", 40, qos0).ok());
    write_all(s, std::string_view(text).substr(0, 10));
    s.pass(60000);   // longer than keep_alive
    write_all(s, std::string_view(text).substr(10));
    s.run();
    const std::string message = bytes({0x30, 47, 0, 5, 't', 'o', 'p', 'i', 'c'}) + text;
    CHECK(s.port.from_client.substr(0, message.size()) == message);
}

TEST_CASE("a message whose payload rests, on a link that is silent, does not keep a dead connection for ever") {
    Kept s(64, 512);
    s.options.response_timeout_ms = 10000;
    CHECK(s.client.begin_publish("topic", 40, qos0).ok());
    write_all(s, std::string_view(text).substr(0, 10));
    s.pass(60 * 875 + 10000 - 1);
    CHECK(s.next().kind == Event::none);
    s.pass(1);
    CHECK(s.expect_event(Event::disconnected).error == Error::response_timeout);
}

TEST_CASE("disconnect() before a large message has been sent again is refused: it would cut it") {
    Kept s(64, 512);
    CHECK(s.client.begin_publish("topic", 40, qos1).ok());
    write_all(s, std::string_view(text).substr(0, 10));
    s.reconnect(true);
    CHECK(s.client.disconnect().error == Error::publish_in_progress);
    s.expect_event(Event::resend_payload);
    write_all(s, text);
    CHECK(s.client.disconnect().ok());
    s.expect_event(Event::disconnected);
}

TEST_CASE("wants_write() is due while the port takes less of the payload than it was given") {
    Session s;
    s.connect();
    CHECK(s.client.begin_publish("t", 10).ok());
    s.run();
    s.port.from_client.clear();
    s.port.write_limit = 0;
    Written written = s.client.write_payload("0123456789");
    CHECK(written.error == Error::ok);
    CHECK(written.size == 0);
    CHECK(s.client.wants_write());
    s.port.write_limit = 4;
    written = s.client.write_payload("0123456789");
    CHECK(written.size == 4);
    CHECK(s.client.wants_write());
    s.port.write_limit = SIZE_MAX;
    written = s.client.write_payload("456789");
    CHECK(written.size == 6);
    s.expects("0123456789");
    CHECK_FALSE(s.client.wants_write());
}

TEST_CASE("[MQTT-3.3.1-1] [MQTT-4.4.0-1] a large message whose connection is lost is sent again: header with DUP, resend_payload, all of the payload") {
    for (const QoS qos : {qos1, qos2}) {
        for (size_t sent = 0; sent <= 40; sent += 5) {
            CAPTURE(sent);
            Kept s(64, 256);
            CHECK(s.client.begin_publish("topic", 40, qos).packet_id == 1);
            CHECK(s.client.publish("t", "2", qos1).packet_id == 2);
            s.run();
            write_all(s, std::string_view(text).substr(0, sent));
            s.reconnect(true);
            for (int again = 0; again < 2; ++again) {
                CHECK(s.expect_event(Event::resend_payload).packet_id == 1);
                s.expects({qos == qos1 ? 0x3A : 0x3C, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 1});
                CHECK(s.next().kind == Event::none);   // told once
                write_all(s, std::string_view(text).substr(0, 7));
                if (again == 0) s.reconnect(true);     // and lost once more
            }
            write_all(s, std::string_view(text).substr(7));
            s.expects(text + bytes({sent == 40 ? 0x3A : 0x32, 6, 0, 1, 't', 0, 2, '2'}));
            if (qos == qos2) {
                s.sends({0x50, 2, 0, 1});
                s.expect_event(Event::pubrec);
                s.reconnect(true);                     // now it is PUBREL that is sent again
                s.expects({0x3A, 6, 0, 1, 't', 0, 2, '2', 0x62, 2, 0, 1});
                s.sends({0x70, 2, 0, 1});
            } else {
                s.sends({0x40, 2, 0, 1});
            }
            CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
            CHECK(s.client.begin_publish("t", 1, qos).packet_id == 3);
        }
    }
}

TEST_CASE("a large message whose header was never written is sent without DUP") {
    Kept s(64, 256);
    s.port.write_limit = 0;
    CHECK(s.client.begin_publish("topic", 40, qos1).packet_id == 1);
    s.lose();
    s.port.write_limit = SIZE_MAX;
    s.port.clock += s.options.reconnect_max_ms;
    s.accept(true);
    CHECK(s.expect_event(Event::resend_payload).packet_id == 1);
    write_all(s, text);
    s.expects(bytes({0x32, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 1}) + text);
}

TEST_CASE("a large message ends in one event when the session is lost: dropped; a QoS 0 one goes with its connection") {
    for (const QoS qos : {qos0, qos1, qos2}) {
        for (const size_t sent : {size_t{0}, size_t{10}, size_t{39}}) {
            for (const bool present : {false, true}) {
                if (qos != qos0 && present) continue;
                Kept s(64, 256);
                CHECK(s.client.begin_publish("topic", 40, qos).ok());
                s.run();
                write_all(s, std::string_view(text).substr(0, sent));
                CHECK(s.client.publish("t", "0").ok());
                s.lose();
                const Written written = s.client.write_payload("x");
                CHECK(written.error == Error::not_connected);
                s.port.clock += s.options.reconnect_max_ms;
                s.accept(present);
                if (qos != qos0) CHECK(s.expect_event(Event::dropped).packet_id == 1);
                CHECK(s.next().kind == Event::none);
                s.expects({0x30, 4, 0, 1, 't', '0'});
                CHECK(s.client.write_payload("x").error == Error::invalid_argument);
                CHECK(s.client.begin_publish("t", 1, qos).ok());
                write_all(s, "y");
            }
        }
    }
}

TEST_CASE("an acknowledgement that comes before the payload has been written is not accepted") {
    for (const QoS qos : {qos1, qos2}) {
        for (size_t sent = 0; sent < 40; ++sent) {
            CAPTURE(sent);
            Kept s(64, 256);
            CHECK(s.client.begin_publish("topic", 40, qos).packet_id == 1);
            s.run();
            write_all(s, std::string_view(text).substr(0, sent));
            s.sends({qos == qos1 ? 0x40 : 0x50, 2, 0, 1});
            CHECK(s.next().kind == Event::none);
            write_all(s, std::string_view(text).substr(sent));
            s.expects(bytes({qos == qos1 ? 0x32 : 0x34, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 1}) + text);
            s.sends({qos == qos1 ? 0x40 : 0x50, 2, 0, 1});
            CHECK(s.next().packet_id == 1);
        }
    }
}

TEST_CASE("a connection lost during write_payload is told by poll()") {
    Kept s;
    CHECK(s.client.begin_publish("topic", 40, qos1).ok());
    s.run();
    s.port.cut = true;
    CHECK(s.client.write_payload(text).error == Error::not_connected);
    CHECK(s.expect_event(Event::disconnected).error == Error::connection_lost);
}

TEST_CASE("wrong calls around begin_publish and write_payload change nothing") {
    Session s(64, 256);
    CHECK(s.client.begin_publish("t", 3).error == Error::not_started);
    REQUIRE(s.client.connect(s.options).ok());
    s.run();
    CHECK(s.client.begin_publish("t", 3).error == Error::not_connected);
    CHECK(s.client.write_payload("x").error == Error::not_connected);
    s.accept();
    CHECK(s.client.write_payload("x").error == Error::invalid_argument);        // none was begun
    CHECK(s.client.begin_publish("#", 3).error == Error::invalid_topic);
    CHECK(s.client.begin_publish("t", 3, static_cast<QoS>(3)).error == Error::invalid_argument);
    CHECK(s.client.begin_publish("t", 268435453).error == Error::packet_too_large);          // and 3 for the topic
    CHECK(s.client.begin_publish("t", 268435451, qos1).error == Error::packet_too_large);
    CHECK(s.client.begin_publish("t", 0xFFFFFFFF, qos1).error == Error::packet_too_large);
    CHECK(s.client.begin_publish(std::string(300, 't'), 3).error == Error::packet_too_large);
    s.quiet();

    CHECK(s.client.begin_publish("t", 3, qos1).packet_id == 1);
    CHECK(s.client.begin_publish("t", 3).error == Error::publish_in_progress);
    CHECK(s.client.disconnect().error == Error::publish_in_progress);
    CHECK(s.client.write_payload("abcd").error == Error::invalid_argument);      // more than was said
    write_all(s, "ab");
    CHECK(s.client.write_payload("cd").error == Error::invalid_argument);
    CHECK(s.client.begin_publish("t", 3).error == Error::publish_in_progress);
    write_all(s, "c");
    CHECK(s.client.write_payload("d").error == Error::invalid_argument);         // it is complete
    CHECK(s.client.begin_publish("t", 3).error == Error::publish_in_progress);   // and not acknowledged
    s.expects({0x32, 8, 0, 1, 't', 0, 1, 'a', 'b', 'c'});
    s.sends({0x40, 2, 0, 1});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    CHECK(s.client.begin_publish("t", 0, qos1).packet_id == 2);                  // no payload: an ordinary message
    CHECK(s.client.begin_publish("t", 0, qos1).packet_id == 3);
    s.expects({0x32, 5, 0, 1, 't', 0, 2, 0x32, 5, 0, 1, 't', 0, 3});
    CHECK(s.client.disconnect().ok());
    s.expect_event(Event::disconnected);
    s.expects({0xE0, 0});
}

TEST_CASE("a large message that has to be sent again waits for its turn, too") {
    Kept s(64, 512);
    CHECK(s.client.publish("t", "1", qos1).packet_id == 1);
    CHECK(s.client.begin_publish("topic", 40, qos1).packet_id == 2);
    s.run();
    write_all(s, text);
    CHECK(s.client.publish("t", "3", qos1).packet_id == 3);
    s.run();
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
    s.options.in_flight_maximum = 1;
    s.connect(true);
    s.expects({0x3A, 6, 0, 1, 't', 0, 1, '1'});
    CHECK(s.client.begin_publish("t", 1).error == Error::publish_in_progress);
    CHECK(s.client.publish("t", "0").ok());
    s.expects({0x30, 4, 0, 1, 't', '0'});
    s.sends({0x40, 2, 0, 1});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 1);
    CHECK(s.expect_event(Event::resend_payload).packet_id == 2);
    write_all(s, std::string_view(text).substr(0, 20));
    CHECK(s.client.publish("t", "0").ok());
    write_all(s, std::string_view(text).substr(20));
    s.expects(bytes({0x3A, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 2}) + text + bytes({0x30, 4, 0, 1, 't', '0'}));
    s.sends({0x40, 2, 0, 2});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
    s.expects({0x3A, 6, 0, 1, 't', 0, 3, '3'});
    s.sends({0x40, 2, 0, 3});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 3);
    CHECK(s.client.begin_publish("t", 1).ok());
}

TEST_CASE("abort() in the middle of a large message") {
    Kept s;
    CHECK(s.client.begin_publish("topic", 40, qos1).ok());
    s.run();
    write_all(s, "0123");
    CHECK(s.client.abort().ok());
    s.expect_event(Event::disconnected);
    s.connect(true);
    CHECK(s.expect_event(Event::resend_payload).packet_id == 1);
    s.expects({0x3A, 49, 0, 5, 't', 'o', 'p', 'i', 'c', 0, 1});
}

// ------------------------------------------------------------------------------------------------ remaining length

namespace {

struct Length {
    uint32_t remaining;
    std::initializer_list<int> encoded;
};
const Length lengths[] = {
    {127, {0x7F}},
    {128, {0x80, 0x01}},
    {16383, {0xFF, 0x7F}},
    {16384, {0x80, 0x80, 0x01}},
    {2097151, {0xFF, 0xFF, 0x7F}},
    {2097152, {0x80, 0x80, 0x80, 0x01}},
};

uint8_t payload_byte(uint64_t i) { return static_cast<uint8_t>(i * 31 ^ i >> 11); }

// What a server sends is `head`, `count` bytes of payload made on the fly, and `tail`; of what it gets it keeps what comes
// before and after a payload of `expected` bytes, which are compared on the fly.
struct EndlessPort {
    std::string head, tail;
    uint64_t count = 0, given = 0;
    std::string written;
    size_t payload_at = 0;       // of the payload in what is written; 0: there is none
    uint64_t expected = 0, got = 0, wrong = 0;
    uint32_t clock = 0;

    int open(std::string_view, uint16_t) { return 1; }
    void close() {}
    uint32_t now_ms() { return clock; }
    int read(uint8_t* data, size_t size) {
        if (!head.empty()) return take(head, data, size);
        if (given < count) {
            const size_t n = std::min<uint64_t>(size, count - given);
            for (size_t i = 0; i < n; ++i) data[i] = payload_byte(given + i);
            given += n;
            return static_cast<int>(n);
        }
        return tail.empty() ? 0 : take(tail, data, size);
    }
    int write(const uint8_t* data, size_t size) {
        for (size_t i = 0; i < size; ++i) {
            if (payload_at != 0 && written.size() == payload_at && got < expected) {
                if (data[i] != payload_byte(got++)) ++wrong;
            } else {
                written += static_cast<char>(data[i]);
            }
        }
        return static_cast<int>(size);
    }
    static int take(std::string& from, uint8_t* data, size_t size) {
        const size_t n = std::min(size, from.size());
        memcpy(data, from.data(), n);
        from.erase(0, n);
        return static_cast<int>(n);
    }
};

struct Endless {
    EndlessPort port;
    uint8_t rx[4096], tx[512];
    mqtt::Client<EndlessPort> client{port, {rx, tx}};
    mqtt::ConnectOptions options;

    Endless() {
        options.host = "server";
        options.client_id = "c";
        REQUIRE(client.connect(options).ok());
        CHECK(client.poll().kind == Event::none);
        port.written.clear();
        port.head = bytes({0x20, 2, 0, 0});
        CHECK(client.poll().kind == Event::connected);
    }

    void receive(const Length& length) {
        port.head = bytes({0x32}) + bytes(length.encoded) + bytes({0, 1, 't', 0, 7});
        port.count = length.remaining - 5;
        port.given = 0;
        port.tail = bytes({0x30, 4, 0, 1, 'n', 'x'});
        uint64_t at = 0, wrong = 0;
        bool complete = false, behind = false;
        for (uint64_t i = 0; i < length.remaining && !behind; ++i) {
            const Event event = client.poll();
            if (event.kind == Event::none) continue;
            REQUIRE(event.kind == Event::received);
            behind = event.message.topic == "n";
            if (behind) break;
            if (event.message.offset != at || event.message.total != length.remaining - 5 || event.message.topic != "t") ++wrong;
            for (const uint8_t byte : event.message.payload)
                if (byte != payload_byte(at++)) ++wrong;
            complete = event.message.complete();
        }
        CHECK(behind);
        CHECK(complete);
        CHECK(at == length.remaining - 5);
        CHECK(wrong == 0);
        CHECK(client.poll().kind == Event::none);
        CHECK(test::hex(port.written) == test::hex(bytes({0x40, 2, 0, 7})));
        port.written.clear();
    }

    void send(const Length& length, int id) {
        const std::string header = bytes({0x32}) + bytes(length.encoded) + bytes({0, 1, 't', 0, id});
        port.expected = length.remaining - 5;
        port.got = port.wrong = 0;
        port.payload_at = header.size();
        CHECK(client.begin_publish("t", length.remaining - 5, qos1).packet_id == id);
        uint8_t piece[4096];
        for (uint64_t at = 0; at < port.expected;) {
            const size_t size = std::min<uint64_t>(sizeof piece, port.expected - at);
            for (size_t i = 0; i < size; ++i) piece[i] = payload_byte(at + i);
            const Written written = client.write_payload(Bytes(piece, size));
            REQUIRE(written.error == Error::ok);
            at += written.size;
        }
        CHECK(client.publish("t", "x").ok());
        CHECK(client.poll().kind == Event::none);
        CHECK(port.got == port.expected);
        CHECK(port.wrong == 0);
        CHECK(test::hex(port.written) == test::hex(header + bytes({0x30, 4, 0, 1, 't', 'x'})));
        port.written.clear();
        port.payload_at = 0;
        port.tail = bytes({0x40, 2, 0, id});
        CHECK(client.poll().kind == Event::acknowledged);
    }
};

}  // namespace

TEST_CASE("remaining lengths at the borders of their encoding, in and out, in 4 KB of rx and 512 bytes of tx (vibe-mqtt: 2,097,152)") {
    Endless endless;
    int id = 0;
    for (const Length& length : lengths) {
        CAPTURE(length.remaining);
        endless.receive(length);
        endless.send(length, ++id);
    }
}

TEST_CASE("a message as large as the protocol allows, in and out, in the same memory") {
    Endless endless;
    if (testing::long_run()) {
        const Length most = {268435455, {0xFF, 0xFF, 0xFF, 0x7F}};
        endless.receive(most);
        endless.send(most, 1);
    } else {
        const Length half = {16777216, {0x80, 0x80, 0x80, 0x08}};
        endless.receive(half);
        endless.send(half, 1);
    }
}

TEST_CASE("remaining lengths at the borders of their encoding, with buffers that hold the whole message") {
    for (const Length& length : lengths) {
        CAPTURE(length.remaining);
        Session s(length.remaining + 5, length.remaining + 200);
        s.connect();
        std::string payload(length.remaining - 5, '\0');
        for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<char>(payload_byte(i));
        const std::string body = bytes({0, 1, 't', 0, 1}) + payload;

        CHECK(s.client.publish("t", payload, qos1).packet_id == 1);
        s.run();
        CHECK((s.port.from_client == bytes({0x32}) + bytes(length.encoded) + body));
        s.port.from_client.clear();

        s.sends(bytes({0x32}) + bytes(length.encoded) + body);
        const Event event = s.expect_event(Event::received);
        CHECK(event.message.payload.size() == payload.size());
        CHECK((event.message.payload.text() == payload));
        s.expects({0x40, 2, 0, 1});
    }
}
