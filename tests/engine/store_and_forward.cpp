// What waits and is not wanted any more, what is counted, and how to stop so that power may go.

#include "tests/support/store.hpp"

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::hex;
using test::Session;

struct CountingPort : test::StoringPort {
    mqtt::Statistics statistics;
};
using Counting = test::BasicSession<CountingPort>;

// PUBLISH on a topic of one letter.
std::string published(QoS qos, char topic, const std::string& payload, int id = 0) {
    const int size = static_cast<int>(3 + payload.size() + (id != 0 ? 2 : 0));
    return bytes({0x30 | static_cast<int>(qos) << 1, size, 0, 1, topic}) + (id != 0 ? bytes({id >> 8, id & 255}) : "") + payload;
}

}  // namespace

TEST_CASE("drop_waiting drops the oldest QoS 0 messages, and makes room") {
    Session s(256, 200);
    REQUIRE(s.client.connect(s.options).ok());
    int accepted = 0;
    while (s.client.publish("a", bytes({'0' + accepted}), QoS::at_most_once).ok()) ++accepted;
    CHECK(s.client.publish("b", "1", QoS::at_least_once).error == Error::no_space);
    CHECK(s.client.drop_waiting(QoS::at_most_once, {}, 0) == static_cast<size_t>(accepted));   // only counts
    CHECK(s.client.drop_waiting(QoS::at_most_once, {}, 3) == 3);
    CHECK(s.client.publish("b", "1", QoS::at_least_once).ok());
    CHECK(s.client.drop_waiting(QoS::at_most_once, {}, 0) == static_cast<size_t>(accepted - 3));
    s.accept();
    s.run();
    std::string wanted;
    for (int i = 3; i < accepted; ++i) wanted += published(QoS::at_most_once, 'a', bytes({'0' + i}));
    CHECK(hex(s.port.from_client) == hex(wanted + published(QoS::at_least_once, 'b', "1", 1)));
}

TEST_CASE("drop_waiting drops by topic and QoS, and never what has been sent") {
    Session s;
    s.options.clean_session = false;
    s.connect();
    CHECK(s.client.publish("a", "0", QoS::at_least_once).ok());
    s.run();
    s.port.from_client.clear();
    s.lose();
    CHECK(s.client.publish("a", "1", QoS::at_least_once).ok());
    CHECK(s.client.publish("b", "2", QoS::exactly_once).ok());
    CHECK(s.client.publish("a", "3", QoS::exactly_once).ok());
    CHECK(s.client.publish("a", "4").ok());
    CHECK(s.client.subscribe("a", QoS::at_most_once).ok());
    CHECK(s.client.drop_waiting(QoS::at_most_once, "b") == 0);
    CHECK(s.client.drop_waiting(QoS::at_least_once, "a") == 2);
    CHECK(s.client.drop_waiting(QoS::exactly_once, "a") == 1);
    CHECK(s.client.unacknowledged() == 2);
    s.port.clock += 120000;
    s.accept(true);
    s.expects(bytes({0x3A, 6, 0, 1, 'a', 0, 1, '0'}) + published(QoS::exactly_once, 'b', "2", 3) +
              bytes({0x82, 6, 0, 5, 0, 1, 'a', 0}));
    s.sends({0x40, 2, 0, 1, 0x50, 2, 0, 3, 0x90, 3, 0, 5, 0});
    s.expect_event(Event::acknowledged);
    s.expect_event(Event::pubrec);
    s.expect_event(Event::subscribed);
}

TEST_CASE("messages that waited for the window and are dropped free it for others") {
    Session s;
    s.options.in_flight_maximum = 2;
    REQUIRE(s.client.connect(s.options).ok());
    for (int i = 1; i <= 5; ++i) CHECK(s.client.publish("a", bytes({'0' + i}), QoS::at_least_once).ok());
    s.accept();
    s.expects(published(QoS::at_least_once, 'a', "1", 1) + published(QoS::at_least_once, 'a', "2", 2));
    CHECK(s.client.drop_waiting(QoS::at_least_once, {}, 2) == 2);
    s.sends({0x40, 2, 0, 1});
    s.expect_event(Event::acknowledged);
    s.expects(published(QoS::at_least_once, 'a', "5", 5));
    s.sends({0x40, 2, 0, 2, 0x40, 2, 0, 5});
    s.expect_event(Event::acknowledged);
    s.expect_event(Event::acknowledged);
    CHECK(s.client.unacknowledged() == 0);
}

TEST_CASE("publish_newest keeps one waiting message per topic, the last one") {
    for (const QoS qos : {QoS::at_most_once, QoS::at_least_once, QoS::exactly_once}) {
        Session s;
        REQUIRE(s.client.connect(s.options).ok());
        for (int i = 1; i <= 100; ++i) {
            CHECK(s.client.publish_newest("a", bytes({i, 'a'}), qos).ok());
            CHECK(s.client.publish_newest("b", bytes({i, 'b'}), qos).ok());
        }
        s.accept();
        const int first = qos == QoS::at_most_once ? 0 : 199;
        s.expects(published(qos, 'a', bytes({100, 'a'}), first) + published(qos, 'b', bytes({100, 'b'}), first == 0 ? 0 : 200));
    }
}

TEST_CASE("publish_newest makes room for itself, and with an error nothing is dropped") {
    Session s(256, 60 + 16 + 60);
    REQUIRE(s.client.connect(s.options).ok());
    CHECK(s.client.publish_newest("a", std::string(25, '1'), QoS::at_least_once).ok());
    CHECK(s.client.publish("b", "x", QoS::at_least_once).ok());
    CHECK(s.client.publish_newest("#", "2", QoS::at_least_once).error == Error::invalid_topic);
    CHECK(s.client.publish_newest("c", std::string(25, '2'), QoS::at_least_once).error == Error::no_space);
    CHECK(s.client.unacknowledged() == 2);
    CHECK(s.client.publish_newest("a", std::string(25, '2'), QoS::at_least_once).ok());
    s.accept();
    s.expects(published(QoS::at_least_once, 'b', "x", 2) + published(QoS::at_least_once, 'a', std::string(25, '2'), 3));
}

TEST_CASE("with storage, drop_aged drops what waited at the call before, and it is gone after a power cut, too") {
    test::StoringSession s;
    s.options.clean_session = false;
    REQUIRE(s.client.connect(s.options).ok());
    s.port.refuse = true;
    CHECK(s.client.publish("a", "1", QoS::at_least_once).ok());
    CHECK(s.client.publish("a", "2").ok());
    s.run();
    CHECK(s.client.drop_aged() == 0);
    CHECK(s.client.publish("a", "3", QoS::at_least_once).ok());
    CHECK(s.client.drop_aged() == 2);
    CHECK(s.client.publish("a", "4", QoS::at_least_once).ok());
    s.run();
    (void)s.client.stored();
    s.run();
    CHECK(s.client.stored());
    test::StoringSession t(s.port.medium);
    t.options = s.options;
    t.connect(false);
    t.expects(published(QoS::at_least_once, 'a', "3", 2) + published(QoS::at_least_once, 'a', "4", 3));
}

TEST_CASE("many messages dropped at once are gone after a power cut: a new log is written") {
    test::StoringSession s;
    s.options.clean_session = false;
    REQUIRE(s.client.connect(s.options).ok());
    s.port.refuse = true;
    for (int i = 0; i < 30; ++i) CHECK(s.client.publish("a", "x", QoS::at_least_once).ok());
    s.run();
    CHECK(s.client.drop_waiting(QoS::at_least_once, {}, 29) == 29);
    s.run();
    (void)s.client.stored();
    s.run();
    CHECK(s.port.medium->compactions == 2);
    test::StoringSession t(s.port.medium);
    t.options = s.options;
    t.connect(false);
    t.expects(published(QoS::at_least_once, 'a', "x", 30));
}

TEST_CASE("the statistics count what happened") {
    Counting s;
    s.options.clean_session = false;
    mqtt::Statistics& n = s.port.statistics;
    s.connect();
    CHECK(n.connects == 1);
    CHECK(s.client.publish("a", "1", QoS::at_least_once).ok());
    CHECK(s.client.publish("a", "2").ok());
    CHECK_FALSE(s.client.publish("#", "2").ok());
    s.run();
    CHECK(n.published == 2);
    CHECK(n.bytes_sent == 15 + 8 + 6);          // CONNECT, PUBLISH, PUBLISH
    CHECK(n.tx_most == 8 + 4 + 6);              // the packets, and an entry of the index
    s.port.clock += 70;
    s.sends({0x40, 2, 0, 1, 0x30, 4, 0, 1, 't', 'x'});
    s.expect_event(Event::acknowledged);
    s.expect_event(Event::received);
    CHECK(n.acknowledged == 1);
    CHECK(n.received == 1);
    CHECK(n.round_trip_ms == 70);
    CHECK(n.bytes_received == 4 + 4 + 6);
    CHECK(n.records_saved == 5);                // identity, waiting, session, sent, PUBLISH; not yet that it is finished
    CHECK(n.bytes_saved == 16 + 1 + 6 + 1 + 8);
    CHECK(n.compactions == 1);
    CHECK(n.storage_troubles == 0);
    CHECK(s.client.publish("a", "3", QoS::exactly_once).ok());
    s.run();
    s.lose();
    CHECK(n.disconnects == 1);
    CHECK(n.last_disconnect == Error::connection_lost);
    CHECK(s.client.publish("a", "4").ok());
    CHECK(s.client.drop_waiting() == 1);
    CHECK(n.dropped_waiting == 1);
    s.port.clock += 120000;
    s.accept(false);
    s.expect_event(Event::dropped);
    CHECK(n.dropped_session_lost == 1);
}

// -------------------------------------------------------------------------------------------- flush, then sleep

namespace {

// Polls until done(), or until nothing more can happen without time passing.
template <class S> std::vector<Event::Kind> poll_all(S& s, mqtt::Shutdown<decltype(s.port)>& off) {
    std::vector<Event::Kind> events;
    for (int i = 0; i < 200 && !off.done(); ++i)
        if (const Event event = off.poll(); event.kind != Event::none) events.push_back(event.kind);
    (void)s;
    return events;
}

}  // namespace

TEST_CASE("a shutdown waits for what is unanswered, disconnects, and lets storage finish") {
    test::StoringSession s;
    s.options.clean_session = false;
    s.connect();
    CHECK(s.client.publish("a", "1", QoS::exactly_once).ok());
    mqtt::Shutdown<test::StoringPort> off(s.client, 5000);
    CHECK(poll_all(s, off).empty());
    CHECK_FALSE(off.done());
    CHECK(off.idle_ms() == 5000);
    CHECK(hex(s.port.from_client) == hex(published(QoS::exactly_once, 'a', "1", 1)));
    s.port.from_client.clear();
    s.sends({0x50, 2, 0, 1});
    CHECK(poll_all(s, off) == std::vector<Event::Kind>{Event::pubrec});
    CHECK(hex(s.port.from_client) == hex(bytes({0x62, 2, 0, 1})));
    s.port.from_client.clear();
    s.sends({0x70, 2, 0, 1});
    s.port.medium->slow = 3;
    CHECK(poll_all(s, off) == std::vector<Event::Kind>{Event::acknowledged, Event::disconnected});
    CHECK(off.done());
    CHECK(hex(s.port.from_client) == hex(bytes({0xE0, 0})));
    CHECK(s.client.unacknowledged() == 0);
    test::StoringSession t(s.port.medium);
    t.options = s.options;
    t.connect(true);
    t.expects(std::string());
}

TEST_CASE("a shutdown gives up after its time, and what is unanswered is in storage") {
    test::StoringSession s;
    s.options.clean_session = false;
    s.connect();
    CHECK(s.client.publish("a", "1", QoS::at_least_once).ok());
    mqtt::Shutdown<test::StoringPort> off(s.client, 5000);
    (void)poll_all(s, off);
    s.port.clock += 4999;
    (void)poll_all(s, off);
    CHECK_FALSE(off.done());
    s.port.clock += 1;
    CHECK(poll_all(s, off) == std::vector<Event::Kind>{Event::disconnected});
    CHECK(off.done());
    CHECK(s.client.unacknowledged() == 1);
    test::StoringSession t(s.port.medium);
    t.options = s.options;
    t.connect(true);
    t.expects({0x3A, 6, 0, 1, 'a', 0, 1, '1'});
}

TEST_CASE("a shutdown does not end before all is durable, however slow storage is, and its loop never sleeps for ever") {
    test::StoringSession s;
    s.options.clean_session = false;
    s.connect();
    CHECK(s.client.publish("a", "1", QoS::at_least_once).ok());
    mqtt::Shutdown<test::StoringPort> off(s.client, 5000);
    s.port.medium->slow = 1000000;
    (void)poll_all(s, off);
    s.port.clock += 5000;
    (void)poll_all(s, off);
    CHECK_FALSE(off.done());
    CHECK(off.idle_ms() == 0);
    s.port.medium->slow = 0;
    (void)poll_all(s, off);
    CHECK(off.done());
    CHECK(off.idle_ms() == 0);
    CHECK(s.client.stored());
}

TEST_CASE("what waited for storage wants to be written as soon as it need not wait, whatever is asked first") {
    test::StoringSession s;
    s.options.clean_session = false;
    s.connect();
    s.run();
    CHECK(s.client.disconnect().ok());
    CHECK(s.client.wants_write());
}

TEST_CASE("a shutdown without a connection, before connect(), within a streamed message, with storage that does not work") {
    test::StoringSession s;
    mqtt::Shutdown<test::StoringPort> before(s.client, 5000);
    (void)poll_all(s, before);
    CHECK(before.done());

    REQUIRE(s.client.connect(s.options).ok());
    s.port.refuse = true;
    CHECK(s.client.publish("a", "1", QoS::at_least_once).ok());
    mqtt::Shutdown<test::StoringPort> offline(s.client, 5000);
    (void)poll_all(s, offline);
    CHECK_FALSE(offline.done());
    s.port.clock += 5000;
    (void)poll_all(s, offline);
    CHECK(offline.done());

    test::StoringSession u;
    u.connect();
    u.run();
    CHECK(u.client.begin_publish("a", 10, QoS::at_least_once).ok());
    u.port.medium->fails = -1;
    CHECK(u.client.publish("a", "1", QoS::at_least_once).ok());
    mqtt::Shutdown<test::StoringPort> streaming(u.client, 5000);
    (void)poll_all(u, streaming);
    CHECK_FALSE(streaming.done());
    u.port.clock += 5000;
    (void)poll_all(u, streaming);
    CHECK(streaming.done());
}
