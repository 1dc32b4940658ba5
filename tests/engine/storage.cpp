// The session on storage: what is saved, before what, and what is left of it after a power cut. Records and packets are
// written by hand; the log's format stands in mqtt.hpp at `Note`.

#include "tests/support/store.hpp"

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::bytes;
using test::hex;
using test::Medium;
using test::StoringSession;

// Two hashes, FNV-1a: of port, host, 0xFF, client id and 0xFF; and of the port's complement, client id, 0xFF and host;
// both made odd. Of the server "server", port 1883, and the client id "c".
const std::string whose = bytes({0x8D, 0x38, 0x2D, 0xD7});
const std::string check = bytes({0xA9, 0xB1, 0xE3, 0xED});
const std::string none = bytes({0, 0, 0, 0});

struct Kept : StoringSession {
    using StoringSession::StoringSession;
    Kept() : StoringSession() { options.clean_session = false; }
    explicit Kept(std::shared_ptr<Medium> after, size_t rx_size = 256, size_t tx_size = 1024)
        : StoringSession(std::move(after), rx_size, tx_size) {
        options.clean_session = false;
    }
    void publishes(QoS qos, const char* payload = "x") { CHECK(client.publish("t", payload, qos).ok()); }
};

// What is published after a power cut, before anything else happens, in the order in which it goes out.
std::string after_cut(const std::shared_ptr<Medium>& medium, bool session_present) {
    Kept s(medium);
    s.connect(session_present);
    s.run();
    return s.port.from_client;
}

bool has(const Medium& medium, const std::string& record) {
    return std::find(medium.log.begin(), medium.log.end(), record) != medium.log.end();
}

const std::string publish_1 = bytes({0x32, 6, 0, 1, 't', 0, 1, 'x'});
const std::string publish_2 = bytes({0x34, 6, 0, 1, 't', 0, 1, 'x'});
std::string again(std::string publish) { publish[0] |= 8; return publish; }

}  // namespace

// ------------------------------------------------------------------------------------------------- what is saved

TEST_CASE("a log begins with whose it is, and CONNECT goes out when that is durable") {
    Kept s;
    s.port.medium->slow = 1000000;
    REQUIRE(s.client.connect(s.options).ok());
    for (int i = 0; i < 50; ++i) CHECK(s.client.poll().kind == Event::none);
    CHECK(s.port.from_client.empty());
    CHECK(s.client.idle_ms() == 0);
    s.port.medium->slow = 0;
    s.run();
    CHECK(s.port.from_client[0] == 0x10);
    REQUIRE(s.port.medium->log.size() == 2);
    CHECK(hex(s.port.medium->log[0]) == hex(bytes({0x10, 1}) + whose + check + none + bytes({0, 1})));
    CHECK(s.port.medium->log[1] == bytes({0xF1}));
}

TEST_CASE("a message is durable before its first byte goes out, and what was accepted later waits") {
    for (const QoS qos : {QoS::at_least_once, QoS::exactly_once}) {
        Kept s;
        s.connect();
        s.run();
        s.publishes(qos);
        CHECK(s.client.publish("q", "0").ok());
        s.port.medium->slow = 1000000;
        for (int i = 0; i < 50; ++i) CHECK(s.client.poll().kind == Event::none);
        CHECK(s.port.from_client.empty());
        CHECK_FALSE(s.client.stored());
        s.port.medium->slow = 0;
        const std::string message = qos == QoS::at_least_once ? publish_1 : publish_2;
        s.expects(message + bytes({0x30, 4, 0, 1, 'q', '0'}));
        CHECK(has(*s.port.medium, message));
        CHECK(s.client.stored());
    }
}

TEST_CASE("one sync() serves all that one poll() accepted") {
    Kept s;
    s.connect();
    s.run();
    const int before = s.port.medium->syncs;
    for (int i = 0; i < 10; ++i) s.publishes(QoS::at_least_once);
    s.run();
    CHECK(s.port.medium->syncs == before + 1);
    CHECK(s.port.from_client.size() == 80);
}

TEST_CASE("QoS 0 messages, subscriptions and pings are no records") {
    Kept s;
    s.connect();
    s.run();
    const size_t before = s.port.medium->log.size();
    s.publishes(QoS::at_most_once);
    CHECK(s.client.subscribe("f", QoS::at_least_once).ok());
    s.pass(60000);
    CHECK(s.port.medium->log.size() == before);
    CHECK(s.port.medium->cached.empty());
}

TEST_CASE("PUBREL is durable before it goes out, and takes the place of its message") {
    Kept s;
    s.connect();
    s.publishes(QoS::exactly_once);
    s.expects(publish_2);
    s.port.medium->slow = 20;
    s.sends({0x50, 2, 0, 1});
    s.expect_event(Event::pubrec);
    for (int i = 0; i < 10; ++i) CHECK(s.client.poll().kind == Event::none);
    CHECK(s.port.from_client.empty());
    s.expects({0x62, 2, 0, 1});
    CHECK(has(*s.port.medium, bytes({0x62, 2, 0, 1})));
    CHECK(hex(after_cut(s.port.medium, true)) == hex(bytes({0x62, 2, 0, 1})));
}

TEST_CASE("what is finished is not sent again after a power cut") {
    for (const QoS qos : {QoS::at_least_once, QoS::exactly_once}) {
        Kept s;
        s.connect();
        s.publishes(qos);
        s.run();
        s.sends({qos == QoS::exactly_once ? 0x50 : 0x40, 2, 0, 1});
        s.run();
        if (qos == QoS::exactly_once) s.sends({0x70, 2, 0, 1});
        s.run();
        (void)s.client.stored();   // asks for it
        s.run();
        CHECK(s.client.stored());
        CHECK(after_cut(s.port.medium, true).empty());
        CHECK(after_cut(s.port.medium, false).empty());
    }
}

TEST_CASE("a message that was accepted, durable and unanswered goes out again after a power cut, with DUP") {
    Kept s;
    s.connect();
    s.publishes(QoS::at_least_once, "1");
    s.publishes(QoS::exactly_once, "2");
    s.run();
    const std::string sent = s.port.from_client;
    CHECK(hex(after_cut(s.port.medium, true)) ==
          hex(bytes({0x3A, 6, 0, 1, 't', 0, 1, '1', 0x3C, 6, 0, 1, 't', 0, 2, '2'})));
}

TEST_CASE("packet ids go on where they were") {
    Kept s;
    s.connect();
    for (int i = 0; i < 3; ++i) s.publishes(QoS::at_least_once);
    s.sends({0x40, 2, 0, 1, 0x40, 2, 0, 2});
    s.run();
    Kept t(s.port.medium);
    t.connect(true);
    CHECK(t.client.publish("t", "y", QoS::at_least_once).packet_id == 4);
}

// ------------------------------------------------------------------------------------------- what was sent, or not

TEST_CASE("a message that was never sent is sent after a power cut as if for the first time, also if the session is lost") {
    Kept s;
    REQUIRE(s.client.connect(s.options).ok());
    s.publishes(QoS::at_least_once);
    s.port.refuse = true;
    s.run();
    CHECK(s.client.stored());
    s.port.medium->cut();
    Kept t(s.port.medium);
    t.connect(false);
    t.expects(publish_1);
}

TEST_CASE("a message that may have been sent is told as dropped after a power cut, if the session is lost") {
    Kept s;
    s.connect();
    s.publishes(QoS::at_least_once);
    s.run();
    Kept t(s.port.medium);
    t.connect(false);
    const Event event = t.expect_event(Event::dropped);
    CHECK(event.error == Error::session_lost);
    CHECK(event.packet_id == 1);
    t.expects(std::string());
    CHECK(t.client.stored());
    CHECK(after_cut(s.port.medium, true).empty());
}

TEST_CASE("of messages that waited, those that may have been sent are told apart from the others") {
    Kept s;
    s.options.in_flight_maximum = 2;
    REQUIRE(s.client.connect(s.options).ok());
    s.port.refuse = true;
    for (const char* payload : {"1", "2", "3", "4"}) s.publishes(QoS::at_least_once, payload);
    s.run();
    s.port.refuse = false;
    s.port.clock += 120000;
    s.accept(false);
    s.expects({0x32, 6, 0, 1, 't', 0, 1, '1', 0x32, 6, 0, 1, 't', 0, 2, '2'});
    CHECK(has(*s.port.medium, bytes({0xF2, 0, 2})));
    Kept t(s.port.medium);
    t.connect(false);
    CHECK(t.expect_event(Event::dropped).packet_id == 1);
    CHECK(t.expect_event(Event::dropped).packet_id == 2);
    t.expects({0x32, 6, 0, 1, 't', 0, 3, '3', 0x32, 6, 0, 1, 't', 0, 4, '4'});
}

TEST_CASE("what is accepted without a connection, after messages that were sent, has not been sent") {
    Kept s;
    s.connect();
    s.publishes(QoS::at_least_once, "1");
    s.run();
    s.lose();
    s.port.refuse = true;
    s.publishes(QoS::at_least_once, "2");
    s.run();
    Kept t(s.port.medium);
    t.connect(false);
    CHECK(t.expect_event(Event::dropped).packet_id == 1);
    t.expects({0x32, 6, 0, 1, 't', 0, 2, '2'});
}

// --------------------------------------------------------------------------------------------------- receiving

TEST_CASE("a received QoS 2 message is durable as taken over before PUBREC goes out, and is not delivered again") {
    Kept s;
    s.connect();
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'});
    s.expect_event(Event::received);
    s.port.medium->slow = 20;
    for (int i = 0; i < 10; ++i) CHECK(s.client.poll().kind == Event::none);
    CHECK(s.port.from_client.empty());
    s.expects({0x50, 2, 0, 9});
    CHECK(has(*s.port.medium, bytes({0x50, 2, 0, 9})));

    Kept t(s.port.medium);
    t.connect(true);
    t.sends({0x3C, 6, 0, 1, 't', 0, 9, 'x'});
    t.expects({0x50, 2, 0, 9});
    t.quiet();
    t.sends({0x62, 2, 0, 9});
    t.expect_event(Event::pubrel);
    t.expects({0x70, 2, 0, 9});
    CHECK(has(*s.port.medium, bytes({0x70, 2, 0, 9})));

    Kept u(s.port.medium);   // the id is free again
    u.connect(true);
    u.sends({0x34, 6, 0, 1, 't', 0, 9, 'y'});
    u.expect_event(Event::received);
}

TEST_CASE("PUBCOMP waits until it is durable that the message is over") {
    Kept s;
    s.connect();
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'});
    s.expect_event(Event::received);
    s.expects({0x50, 2, 0, 9});
    s.port.medium->slow = 20;
    s.sends({0x62, 2, 0, 9});
    s.expect_event(Event::pubrel);
    for (int i = 0; i < 10; ++i) CHECK(s.client.poll().kind == Event::none);
    CHECK(s.port.from_client.empty());
    s.expects({0x70, 2, 0, 9});
}

TEST_CASE("what was received in a session that the server has lost is forgotten, also after a power cut") {
    Kept s;
    s.connect();
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x'});
    s.expect_event(Event::received);
    s.run();
    s.lose();
    s.port.clock += 120000;
    s.accept(false);
    s.run();
    Kept t(s.port.medium);
    t.connect(true);
    t.sends({0x34, 6, 0, 1, 't', 0, 9, 'y'});
    t.expect_event(Event::received);
}

// --------------------------------------------------------------------------------------------------- identities

TEST_CASE("the session of another client id, host or port is neither sent nor overwritten") {
    for (int what = 0; what < 3; ++what) {
        Kept s;
        s.connect();
        s.publishes(QoS::at_least_once);
        s.run();
        const std::string before = s.log();
        Kept t(s.port.medium);
        const mqtt::ConnectOptions right = t.options;
        if (what == 0) t.options.client_id = "d";
        if (what == 1) t.options.host = "other";
        if (what == 2) t.options.port = 1884;
        CHECK(t.client.connect(t.options).error == Error::other_session);
        CHECK(mqtt::fault(Error::other_session) == mqtt::Fault::caller);
        t.run();
        CHECK(t.port.opens == 0);
        CHECK(t.log() == before);

        SUBCASE("with the right one, all is there") {
            t.options = right;
            t.connect(true);
            t.expects(again(publish_1));
        }
        SUBCASE("replace_session: it is dropped, and told") {
            t.options.replace_session = true;
            t.connect(false);
            const Event event = t.expect_event(Event::dropped);
            CHECK(event.error == Error::session_lost);
            CHECK(event.packet_id == 1);
            t.expects(std::string());
            CHECK(t.client.stored());
            Kept u(s.port.medium);
            u.options = right;
            CHECK(u.client.connect(u.options).error == Error::other_session);
        }
        SUBCASE("erase_storage: it is gone") {
            CHECK(t.client.erase_storage() > 0);
            t.connect(false);
            t.expects(std::string());
        }
    }
}

TEST_CASE("what another client id never sent is not sent either, when its store is erased or replaced") {
    for (const bool erase : {true, false}) {
        Kept s;
        REQUIRE(s.client.connect(s.options).ok());
        s.port.refuse = true;
        s.publishes(QoS::at_least_once);
        s.run();
        Kept t(s.port.medium);
        t.options.client_id = "d";
        t.options.replace_session = !erase;
        if (erase) {
            CHECK(t.client.connect(t.options).error == Error::other_session);
            CHECK(t.client.erase_storage() > 0);
        }
        t.connect(false);
        if (!erase) CHECK(t.expect_event(Event::dropped).error == Error::session_lost);
        t.expects(std::string());
        CHECK(t.client.unacknowledged() == 0);
    }
}

TEST_CASE("a session to be kept needs a client id that is known after a reset") {
    Kept s;
    s.options.client_id = "";
    CHECK(s.client.connect(s.options).error == Error::invalid_client_id);
}

TEST_CASE("a store that is corrupt, foreign, locked or fails is told by connect(), and not written to") {
    const std::pair<int, Error> codes[] = {{-1, Error::storage_failed}, {-2, Error::storage_full},
                                           {-3, Error::storage_corrupt}, {-4, Error::storage_foreign},
                                           {-6, Error::storage_locked}, {-7, Error::storage_misused},
                                           {-8, Error::storage_failed}, {-100, Error::storage_failed}};
    for (const auto& [code, error] : codes) {
        Kept s;
        s.port.medium->refuses = code;
        CHECK(s.client.connect(s.options).error == error);
        CHECK(mqtt::fault(error) == mqtt::Fault::storage);
        s.run();
        CHECK(s.port.medium->compactions == 0);
        s.port.medium->refuses = 0;
        s.connect();
    }
}

TEST_CASE("records that are none of ours are told as foreign or corrupt, again and again, until the store is erased") {
    const std::string identity = bytes({0x10, 1}) + std::string(12, 'h') + bytes({0, 1});
    const std::pair<std::vector<std::string>, Error> stores[] = {
        {{"something else"}, Error::storage_corrupt},
        {{bytes({0x10, 2}) + std::string(14, 'h')}, Error::storage_foreign},   // of a later version
        {{bytes({0x10, 1})}, Error::storage_foreign},
        {{identity, identity}, Error::storage_foreign},
        {{identity, bytes({0x32, 6, 0, 9, 't', 0, 1, 'x'})}, Error::storage_corrupt},
        {{identity, bytes({0x32, 6, 0, 1, 't', 0, 0, 'x'})}, Error::storage_corrupt},
        {{identity, bytes({0x32, 5, 0, 1, 't', 0, 1, 'x'})}, Error::storage_corrupt},
        {{identity, bytes({0x32, 7, 0, 1, 't', 0, 1, 'x'})}, Error::storage_corrupt},
        {{identity, bytes({0x30, 4, 0, 1, 't', 'x'})}, Error::storage_corrupt},
        {{identity, bytes({0x32, 6, 0, 1, '#', 0, 1, 'x'})}, Error::storage_corrupt},
        {{identity, bytes({0x62, 2, 0})}, Error::storage_corrupt},
        {{identity, bytes({0x82, 2, 0, 1})}, Error::storage_corrupt},
        {{identity, bytes({0x00, 2, 0, 1})}, Error::storage_corrupt},
        {{identity, bytes({0x62, 2, 0, 0})}, Error::storage_corrupt},
        {{identity, bytes({0x50, 2, 1})}, Error::storage_corrupt},
        {{identity, bytes({0x70, 2, 1})}, Error::storage_corrupt},
        {{identity, bytes({0xF2, 2})}, Error::storage_corrupt},
        {{identity, bytes({0x18, 0, 1})}, Error::storage_corrupt},
        {{identity, bytes({0xFF})}, Error::storage_corrupt},
    };
    for (const auto& [log, error] : stores) {
        Kept s;
        s.port.medium->log = log;
        for (int i = 0; i < 3; ++i) CHECK(s.client.connect(s.options).error == error);
        CHECK(s.port.medium->log == log);
        CHECK(s.client.erase_storage() > 0);
        s.connect();
        s.publishes(QoS::at_least_once);
        s.expects(publish_1);
    }
}

TEST_CASE("tx that cannot hold what the store has is too small, and with a larger one nothing is lost") {
    Kept s;
    s.connect();
    for (int i = 0; i < 20; ++i) s.publishes(QoS::at_least_once, "0123456789");
    s.run();
    Kept small(s.port.medium, 256, 200);
    CHECK(small.client.connect(small.options).error == Error::buffer_too_small);
    Kept t(s.port.medium);
    t.connect(true);
    t.run();
    CHECK(t.port.from_client.size() == 20 * 17);
}

// ------------------------------------------------------------------------------------------- trouble with storage

TEST_CASE("a full store is compacted: what is left comes first, and the rest is as before") {
    Kept s;
    s.port.medium->most = 12;
    s.options.in_flight_maximum = 4;
    s.connect();
    for (int i = 1; i <= 200; ++i) {
        s.publishes(i % 2 == 0 ? QoS::at_least_once : QoS::exactly_once);
        s.run();
        s.port.from_client.clear();
        if (i == 200) break;
        s.sends(bytes({i % 2 == 0 ? 0x40 : 0x50, 2, i >> 8, i & 255}));
        s.run();
        if (i % 2 != 0) s.sends(bytes({0x70, 2, i >> 8, i & 255}));
        s.run();
    }
    CHECK(s.port.medium->compactions > 20);
    CHECK(hex(after_cut(s.port.medium, true)) == hex(bytes({0x3A, 6, 0, 1, 't', 0, 200, 'x'})));
}

TEST_CASE("a compaction keeps received QoS 2 messages, releases and what waits") {
    Kept s;
    s.connect();
    s.sends({0x34, 6, 0, 1, 't', 0, 9, 'x', 0x34, 6, 0, 1, 't', 0, 10, 'x'});
    s.expect_event(Event::received);
    s.expect_event(Event::received);
    s.publishes(QoS::exactly_once, "1");
    s.publishes(QoS::exactly_once, "2");
    s.run();
    s.sends({0x50, 2, 0, 1});
    s.run();
    s.lose();
    s.port.refuse = true;
    s.publishes(QoS::at_least_once, "3");
    s.run();
    CHECK(s.client.stored());
    s.port.medium->most = s.port.medium->log.size();
    s.publishes(QoS::at_least_once, "4");
    s.run();
    CHECK(s.port.medium->compactions == 2);
    for (const bool present : {true, false}) {
        const auto copy = std::make_shared<Medium>(*s.port.medium);
        copy->most = SIZE_MAX;
        Kept t(copy);
        t.connect(present);
        t.run();
        if (present) {
            CHECK(hex(t.port.from_client) ==
                  hex(bytes({0x3C, 6, 0, 1, 't', 0, 2, '2', 0x62, 2, 0, 1, 0x32, 6, 0, 1, 't', 0, 3, '3', 0x32, 6, 0, 1,
                             't', 0, 4, '4'})));
            t.port.from_client.clear();
            t.sends({0x34, 6, 0, 1, 't', 0, 9, 'x', 0x34, 6, 0, 1, 't', 0, 10, 'x'});
            t.expects({0x50, 2, 0, 9, 0x50, 2, 0, 10});
            CHECK(t.next().kind == Event::none);
        } else {
            CHECK(hex(t.port.from_client) == hex(bytes({0x32, 6, 0, 1, 't', 0, 3, '3', 0x32, 6, 0, 1, 't', 0, 4, '4'})));
        }
    }
}

TEST_CASE("a compaction that is due when PUBREL has to be saved loses neither the message nor its release") {
    // The store is full when PUBREL comes; the power is cut after each of the calls that follow.
    for (int calls = 0;; ++calls) {
        Kept s;
        s.connect();
        s.publishes(QoS::exactly_once);
        s.expects(publish_2);
        s.port.medium->most = s.port.medium->log.size();
        s.port.medium->left = calls;
        s.sends({0x50, 2, 0, 1});
        for (int i = 0; i < 20; ++i) (void)s.client.poll();
        const bool through = !s.port.from_client.empty();
        const auto after = std::make_shared<Medium>(*s.port.medium);
        after->most = SIZE_MAX;
        after->left = 1000000;
        const std::string sent = after_cut(after, true);
        INFO(calls);
        const bool one_of_both = hex(sent) == hex(again(publish_2)) || hex(sent) == hex(bytes({0x62, 2, 0, 1}));
        CHECK(one_of_both);
        if (through) {
            CHECK(hex(sent) == hex(bytes({0x62, 2, 0, 1})));
            break;
        }
    }
}

TEST_CASE("storage that fails is told once, tried again every second, and loses nothing") {
    for (const int code : {-1, -2}) {
        Kept s;
        s.connect();
        s.run();
        s.port.medium->fails = code;
        s.publishes(QoS::at_least_once);
        const Event event = s.expect_event(Event::storage_trouble);
        CHECK(event.error == (code == -1 ? Error::storage_failed : Error::storage_full));
        s.quiet();
        CHECK_FALSE(s.client.stored());
        CHECK(s.client.idle_ms() == 1000);
        s.pass(10000);
        s.quiet();
        s.port.medium->fails = 0;
        s.pass(1000);
        s.expects(publish_1);
        CHECK(s.client.stored());
        CHECK(hex(after_cut(s.port.medium, true)) == hex(again(publish_1)));
    }
}

TEST_CASE("a store in which what is unfinished has no room is told as full, and goes on when something is finished") {
    Kept s;
    s.options.in_flight_maximum = 20;
    s.port.medium->most = 10;
    s.connect();
    for (int i = 0; i < 12; ++i) s.publishes(QoS::at_least_once);
    CHECK(s.expect_event(Event::storage_trouble).error == Error::storage_full);
    s.run();
    const size_t sent = s.port.from_client.size() / 8;
    CHECK(sent > 4);
    CHECK(sent < 10);
    for (size_t i = 1; i <= sent; ++i) s.sends(bytes({0x40, 2, 0, static_cast<int>(i)}));
    s.run();
    s.pass(3000);
    CHECK(s.port.from_client.size() == 12 * 8);
}

TEST_CASE("ignore_storage goes on without it, and back to it") {
    Kept s;
    s.connect();
    s.run();
    s.port.medium->fails = -1;
    s.publishes(QoS::at_least_once, "1");
    s.expect_event(Event::storage_trouble);
    s.client.ignore_storage(true);
    s.expects({0x32, 6, 0, 1, 't', 0, 1, '1'});
    s.publishes(QoS::at_least_once, "2");
    s.expects({0x32, 6, 0, 1, 't', 0, 2, '2'});
    s.sends({0x40, 2, 0, 1});
    s.expect_event(Event::acknowledged);
    s.port.medium->fails = 0;
    s.client.ignore_storage(false);
    s.publishes(QoS::at_least_once, "3");
    s.expects({0x32, 6, 0, 1, 't', 0, 3, '3'});
    CHECK(s.client.stored());
    CHECK(hex(after_cut(s.port.medium, true)) ==
          hex(bytes({0x3A, 6, 0, 1, 't', 0, 2, '2', 0x3A, 6, 0, 1, 't', 0, 3, '3'})));
}

TEST_CASE("a message that is longer than a record can be is dropped, and told") {
    Kept s;
    s.connect();
    s.port.medium->longest = 20;
    s.publishes(QoS::at_least_once, "0123456789012345678901234567890123456789");
    s.publishes(QoS::at_least_once);
    const Event event = s.expect_event(Event::dropped);
    CHECK(event.error == Error::storage_too_large);
    CHECK(event.packet_id == 1);
    s.expects({0x32, 6, 0, 1, 't', 0, 2, 'x'});
    s.sends({0x40, 2, 0, 2});
    CHECK(s.expect_event(Event::acknowledged).packet_id == 2);
}

// ------------------------------------------------------------------------------------------------------- streams

TEST_CASE("of a QoS 2 message whose payload comes from elsewhere, the id is released after a power cut") {
    Kept s;
    s.connect();
    s.run();
    const auto begun = s.client.begin_publish("t", 1000, QoS::exactly_once);
    REQUIRE(begun.ok());
    s.run();
    CHECK(hex(s.port.from_client) == hex(bytes({0x34, 0xED, 7, 0, 1, 't', 0, 1})));
    CHECK(s.client.write_payload(std::string(100, 'p')).size == 100);
    Kept t(s.port.medium);
    t.connect(true);
    CHECK(t.client.publish("t", "y", QoS::exactly_once).packet_id == 2);
    t.expects({0x62, 2, 0, 1, 0x34, 6, 0, 1, 't', 0, 2, 'y'});
}
