// A client whose store is somebody else's, damaged, slow, failing or full: what it tells, that it changes nothing it was not
// told to, and that it goes on.

#include "tests/support/meter.hpp"
#include "tests/support/process.hpp"
#include "tests/support/testing.hpp"

#include <cstdio>
#include <map>
#include <optional>

namespace {

using mqtt::Error;
using mqtt::Event;
using mqtt::QoS;
using test::DiskMedium;
using test::FlashMedium;
using test::image;
using test::Scenario;

// Something that is no store of ours; and a byte changed in the middle of one.
void make_foreign(FlashMedium& medium) {
    wire::Random random(1);
    for (uint8_t& byte : medium.chip.bytes) byte = random.octet();
    medium.chip.used.assign(medium.chip.used.size(), true);
}
void make_foreign(DiskMedium& medium) {
    const std::string text = "what somebody wrote down here";
    medium.apply(test::World::after_cut({{"log", 0}}, {test::Bytes(text.begin(), text.end())}));
}
void damage(test::Bytes& bytes, const std::string& text) {
    const auto found = std::search(bytes.begin(), bytes.end(), text.begin(), text.end());
    REQUIRE(found != bytes.end());
    *found ^= 1;
}
void damage(FlashMedium& medium, const std::string& text) { damage(medium.chip.bytes, text); }
void damage(DiskMedium& medium, const std::string& text) { damage(medium.world.files[medium.world.names["log"]].bytes, text); }

// A meter that is led step by step.
template <class Medium> struct Rig {
    using Port = test::MeterPort<Medium>;

    explicit Rig(const Scenario& of = {"", {}}) : scenario(of), medium(scenario), site(scenario, 1) { power_on(); }

    struct Life {
        Life(Rig& rig, size_t tx_size)
            : rx(512), tx(tx_size), port(rig.site, rig.medium), client(port, {{rx.data(), rx.size()}, {tx.data(), tx.size()}, 6}) {
            options.host = "broker";
            options.client_id = rig.scenario.client_id;
            options.clean_session = false;
            options.reconnect_min_ms = 50;
            options.reconnect_max_ms = 1000;
        }
        std::vector<uint8_t> rx, tx;
        Port port;
        mqtt::ConnectOptions options;
        mqtt::Client<Port> client;
    };

    // Again, with new memory.
    void power_on(size_t tx_size = 1200) {
        site.power_lost();
        life.reset();
        medium.power_off();
        site.pass(50);
        ++site.life;
        counts.clear();
        life.emplace(*this, tx_size);
    }
    mqtt::Client<Port>& client() { return life->client; }
    mqtt::ConnectOptions& options() { return life->options; }
    Error connect() { return client().connect(options()).error; }

    // For so long, or until the condition holds; did it?
    template <class Condition> bool run(uint64_t ms, Condition enough) {
        const uint64_t end = site.now() + ms;
        while (true) {
            const Event event = client().poll();
            ++counts[event.kind];
            if (event.kind == Event::storage_trouble) trouble = event.error;
            if (event.kind == Event::dropped) dropped = event.error;
            if (event.kind == Event::received) (void)site.received(event.message);
            if (enough()) return true;
            if (event.kind != Event::none) continue;
            if (site.now() >= end) return false;
            const uint64_t until = std::min({end, site.next_arrival(), site.now() + client().idle_ms()});
            site.pass(std::max(until, site.now() + 1) - site.now());
        }
    }
    void run(uint64_t ms) {
        (void)run(ms, [] { return false; });
    }
    bool connected() {
        return run(10000, [&] { return client().connected(); });
    }
    bool at_rest() {
        return run(60000, [&] {
            return client().connected() && client().unacknowledged() == 0 && client().stored() && !client().wants_write() && site.quiet();
        });
    }
    Error publish(int qos, uint32_t size = 12) {
        test::Site::Outgoing message;
        message.qos = qos;
        message.topic = "t";
        message.payload = test::Site::payload('o', site.outgoing.size(), size);
        const mqtt::Result result = client().publish("t", message.payload, static_cast<QoS>(qos));
        if (result.ok()) site.accepted(message);
        return result.error;
    }
    unsigned arrivals(size_t number) const { return site.outgoing[number].arrivals; }

    const Scenario scenario;
    Medium medium;
    test::Site site;
    std::optional<Life> life;
    std::map<int, unsigned> counts;   // events
    Error trouble = Error::ok, dropped = Error::ok;
};

// Every state that a cut in `action` may leave. `action` gets a medium like `before`.
template <class Medium, class Action, class Leave> void for_each_cut_in(const Medium& before, Action action, Leave leave) {
    wire::Random random(1);
    for (size_t moment = 0;; ++moment) {
        Medium medium(before);
        std::vector<typename Medium::State> states;
        size_t count = 0;
        medium.moment = [&] {
            if (count++ != moment) return;
            medium.states(random, [&](const typename Medium::State& state) { states.push_back(state); });
            throw test::PowerCut{};
        };
        try {
            action(medium);
            return;
        } catch (const test::PowerCut&) {
        }
        for (const typename Medium::State& state : states) {
            Medium left(medium);
            left.apply(state);
            leave(left);
        }
    }
}

}  // namespace

TEST_CASE_TEMPLATE("a store that is somebody else's is told by connect(), and written only after erase_storage()", Medium, FlashMedium, DiskMedium) {
    Rig<Medium> rig;
    make_foreign(rig.medium);
    const std::string before = image(rig.medium);
    rig.power_on();
    for (int i = 0; i != 3; ++i) CHECK(rig.connect() == Error::storage_foreign);
    CHECK(mqtt::fault(Error::storage_foreign) == mqtt::Fault::storage);
    CHECK(rig.publish(1) == Error::not_started);
    rig.run(5000);
    CHECK(image(rig.medium) == before);
    CHECK(test::finish([&] { return rig.client().erase_storage(); }) == 1);
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.publish(2) == Error::ok);
    CHECK(rig.at_rest());
    CHECK(rig.arrivals(0) == 1);
    rig.power_on();
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.at_rest());
    CHECK(rig.arrivals(0) == 1);
}

TEST_CASE_TEMPLATE("a damaged store is told by connect(), and written only after erase_storage()", Medium, FlashMedium, DiskMedium) {
    Rig<Medium> rig;
    CHECK(rig.connect() == Error::ok);
    for (int i = 0; i != 3; ++i) {   // each is made durable by itself, so all but the last one are known to be whole
        CHECK(rig.publish(2) == Error::ok);
        CHECK(rig.run(1000, [&] { return rig.client().stored(); }));
    }
    rig.power_on();
    damage(rig.medium, rig.site.outgoing[0].payload);
    const std::string before = image(rig.medium);
    for (int i = 0; i != 3; ++i) CHECK(rig.connect() == Error::storage_corrupt);
    CHECK(rig.publish(1) == Error::not_started);
    rig.run(5000);
    CHECK(image(rig.medium) == before);
    damage(rig.medium, rig.site.outgoing[0].payload.replace(0, 1, 1, 'o' ^ 1));   // put right again
    rig.power_on();
    CHECK(rig.connect() == Error::ok);
    rig.site.outgoing[0].payload[0] = 'o';
    CHECK(rig.at_rest());
    for (size_t i = 0; i != 3; ++i) CHECK(rig.arrivals(i) == 1);
}

TEST_CASE_TEMPLATE("a damaged store is given up by erase_storage(): then there is a new session", Medium, FlashMedium, DiskMedium) {
    Rig<Medium> rig;
    CHECK(rig.connect() == Error::ok);
    for (int i = 0; i != 3; ++i) {   // each is made durable by itself, so all but the last one are known to be whole
        CHECK(rig.publish(2) == Error::ok);
        CHECK(rig.run(1000, [&] { return rig.client().stored(); }));
    }
    rig.power_on();
    damage(rig.medium, rig.site.outgoing[0].payload);
    CHECK(rig.connect() == Error::storage_corrupt);
    CHECK(test::finish([&] { return rig.client().erase_storage(); }) == 1);
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.publish(2) == Error::ok);
    CHECK(rig.run(1000, [&] { return rig.client().stored(); }));
    rig.power_on();
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.at_rest());
    CHECK(rig.arrivals(3) == 1);
}

TEST_CASE_TEMPLATE("another client id, host or port gets nothing of a stored session, and changes nothing unless it is told to replace it",
                   Medium, FlashMedium, DiskMedium) {
    for (const int what : {0, 1, 2}) {
        CAPTURE(what);
        Rig<Medium> rig;
        CHECK(rig.connect() == Error::ok);
        CHECK(rig.publish(1) == Error::ok);
        CHECK(rig.publish(2) == Error::ok);
        CHECK(rig.run(1000, [&] { return rig.client().stored(); }));
        const auto another = [&] {
            if (what == 0) rig.options().client_id = "other";
            if (what == 1) rig.options().host = "elsewhere";
            if (what == 2) rig.options().port = 1884;
        };
        rig.power_on();
        another();
        const std::string before = image(rig.medium);
        for (int i = 0; i != 3; ++i) CHECK(rig.connect() == Error::other_session);
        CHECK(mqtt::fault(Error::other_session) == mqtt::Fault::caller);
        CHECK(rig.publish(1) == Error::not_started);
        rig.run(5000);
        CHECK(image(rig.medium) == before);

        rig.power_on();   // the one that it is for goes on
        CHECK(rig.connect() == Error::ok);
        CHECK(rig.client().unacknowledged() == 2);
        rig.power_on();   // and after other_session, too, without a reset
        another();
        CHECK(rig.connect() == Error::other_session);
        rig.options().client_id = rig.scenario.client_id;
        rig.options().host = "broker";
        rig.options().port = 1883;
        CHECK(rig.connect() == Error::ok);
        CHECK(rig.client().unacknowledged() == 2);

        rig.power_on();
        another();
        rig.options().replace_session = true;
        CHECK(rig.connect() == Error::ok);
        rig.run(3000);
        CHECK(rig.counts[Event::dropped] == 2);
        CHECK(rig.client().unacknowledged() == 0);
        CHECK(rig.dropped == Error::session_lost);
        CHECK(rig.client().connected());
        CHECK(rig.client().stored());
        for (size_t i = 0; i != 2; ++i) CHECK(rig.arrivals(i) == 0);

        rig.power_on();   // now it is this one's
        CHECK(rig.connect() == Error::other_session);
        another();
        CHECK(rig.connect() == Error::ok);
        rig.run(3000);
        CHECK(rig.client().connected());
        for (size_t i = 0; i != 2; ++i) CHECK(rig.arrivals(i) == 0);
    }
}

TEST_CASE_TEMPLATE("a cut while a session is replaced leaves either the old one, whole, or the new one, with nothing of the old", Medium,
                   FlashMedium, DiskMedium) {
    Rig<Medium> rig;
    CHECK(rig.connect() == Error::ok);
    for (int i = 0; i != 3; ++i) CHECK(rig.publish(1 + i % 2) == Error::ok);
    CHECK(rig.run(1000, [&] { return rig.client().stored(); }));
    rig.power_on();
    // What another client finds: its answer, and what is unfinished.
    const auto found = [](Medium& medium, const char* client_id, bool replaces) {
        test::OfflineClient<typename Medium::Store> rival(client_id);
        medium.plug(rival.port);
        rival.options.replace_session = replaces;
        const Error error = rival.connect();
        const unsigned unfinished = rival.client.unacknowledged();
        for (int i = 0; replaces && i != 100 && !rival.client.stored(); ++i) (void)rival.client.poll();
        if (replaces) CHECK(rival.client.stored());
        return std::make_pair(error, unfinished);
    };
    unsigned cut_points = 0, old = 0;
    for_each_cut_in(rig.medium, [&](Medium& medium) { (void)found(medium, "other", true); }, [&](Medium& left) {
        ++cut_points;
        Medium copy(left);
        const auto [error, unfinished] = found(copy, "meter", false);
        REQUIRE((error == Error::ok || error == Error::other_session));
        old += error == Error::ok;
        if (error == Error::ok) REQUIRE(unfinished == 3);
        // The other one, at a broker: it is refused, or has a session of its own.
        test::Site site(rig.scenario, 1);
        site.outgoing = rig.site.outgoing;
        test::MeterPort<Medium> port(site, left);
        uint8_t rx[256], tx[1200];
        mqtt::Client<test::MeterPort<Medium>> client(port, {rx, tx, 6});
        mqtt::ConnectOptions options;
        options.host = "broker";
        options.client_id = "other";
        options.clean_session = false;
        REQUIRE(client.connect(options).error == (error == Error::ok ? Error::other_session : Error::ok));
        if (error == Error::ok) return;
        for (int i = 0; i != 400 && !(client.connected() && client.unacknowledged() == 0); ++i) {
            (void)client.poll();
            site.pass(1);
        }
        REQUIRE(client.connected());
        REQUIRE(client.unacknowledged() == 0);
        REQUIRE(site.publishes_written == 0);
    });
    std::printf("note: a session replaced: %u cut points\n", cut_points);
    CHECK(old != 0);
    CHECK(old != cut_points);
}

TEST_CASE("a store that another process has is told by connect(), until it is free") {
    const test::TemporaryFolder folder;
    const std::string path = folder.path / "store";
    using Client = test::OfflineClient<mqtt::posix::FileStore>;
    std::optional<Client> first;
    first.emplace("meter").port.storage_path = path.c_str();
    CHECK(first->connect() == Error::ok);
    Client second("meter");
    second.port.storage_path = path.c_str();
    CHECK(second.connect() == Error::storage_locked);
    CHECK(second.connect() == Error::storage_locked);
    first.reset();
    CHECK(second.connect() == Error::ok);
    Client nowhere("meter");
    CHECK(nowhere.connect() == Error::storage_misused);
}

TEST_CASE_TEMPLATE("what a store has does not fit into a smaller tx: told by connect(), changed is nothing, and with enough it goes on",
                   Medium, FlashMedium, DiskMedium) {
    Rig<Medium> rig;
    CHECK(rig.connect() == Error::ok);
    for (int i = 0; i != 6; ++i) CHECK(rig.publish(1 + i % 2, 30) == Error::ok);
    CHECK(rig.run(1000, [&] { return rig.client().stored(); }));
    rig.power_on(150);
    const std::string before = image(rig.medium);
    CHECK(rig.connect() == Error::buffer_too_small);
    CHECK(rig.publish(1) == Error::not_started);
    rig.run(3000);
    CHECK(image(rig.medium) == before);
    rig.power_on();
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.client().unacknowledged() == 6);
    CHECK(rig.at_rest());
    for (size_t i = 0; i != 6; ++i) CHECK(rig.arrivals(i) == 1);
}

TEST_CASE("a message that is longer than the store's longest record is dropped, and told; the others go on") {
    Rig<FlashMedium> rig;
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.publish(2) == Error::ok);
    CHECK(rig.publish(1, 260) == Error::ok);
    CHECK(rig.publish(2) == Error::ok);
    CHECK(rig.at_rest());
    CHECK(rig.counts[Event::dropped] == 1);
    CHECK(rig.dropped == Error::storage_too_large);
    CHECK(rig.arrivals(0) == 1);
    CHECK(rig.arrivals(1) == 0);
    CHECK(rig.arrivals(2) == 1);
}

TEST_CASE_TEMPLATE("storage that fails is told once; what is not saved does not go out, what comes in is not acknowledged; then all goes on",
                   Medium, FlashMedium, DiskMedium) {
    Rig<Medium> rig;
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.at_rest());
    CHECK(rig.client().subscribe("in", QoS::exactly_once).ok());
    CHECK(rig.run(1000, [&] { return rig.site.subscribed(); }));
    CHECK(rig.at_rest());
    bool broken = true;
    rig.medium.fails = [&] { return broken; };
    CHECK(rig.publish(1) == Error::ok);
    CHECK(rig.publish(2) == Error::ok);
    rig.site.publish_to_meter(2, 10);
    rig.run(30000);
    CHECK(rig.counts[Event::storage_trouble] == 1);
    CHECK(rig.trouble == Error::storage_failed);
    CHECK(rig.counts[Event::disconnected] == 0);
    CHECK(rig.counts[Event::received] == 1);
    CHECK(rig.client().connected());
    CHECK(!rig.client().stored());
    CHECK(rig.client().unacknowledged() == 2);
    CHECK(rig.site.publishes_written == 0);
    CHECK(rig.site.broker.session("meter")->in_flight == 1);
    CHECK(rig.publish(1) == Error::ok);   // it is of use
    broken = false;
    CHECK(rig.at_rest());
    for (size_t i = 0; i != 3; ++i) CHECK(rig.arrivals(i) == 1);
    broken = true;   // and told again when it fails again
    CHECK(rig.publish(1) == Error::ok);
    rig.run(5000);
    CHECK(rig.counts[Event::storage_trouble] == 2);
    broken = false;
    CHECK(rig.at_rest());
    rig.site.forbid_again();
    rig.power_on();
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.at_rest());
    CHECK(rig.counts[Event::received] == 0);
    rig.site.check_end();
}

TEST_CASE_TEMPLATE("ignore_storage(): without a store that works everything goes out; and afterwards it is saved again",
                   Medium, FlashMedium, DiskMedium) {
    Rig<Medium> rig;
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.at_rest());
    bool broken = true;
    rig.medium.fails = [&] { return broken; };
    CHECK(rig.publish(1) == Error::ok);
    CHECK(rig.publish(2) == Error::ok);
    CHECK(rig.run(5000, [&] { return rig.counts[Event::storage_trouble] != 0; }));
    rig.client().ignore_storage(true);
    rig.site.ignoring = true;
    CHECK(rig.run(60000, [&] { return rig.client().unacknowledged() == 0; }));
    for (size_t i = 0; i != 2; ++i) CHECK(rig.arrivals(i) == 1);
    rig.site.network_down(1000);
    CHECK(rig.publish(2) == Error::ok);
    CHECK(rig.publish(2) == Error::ok);
    broken = false;
    rig.client().ignore_storage(false);
    CHECK(rig.run(60000, [&] { return rig.client().stored(); }));
    rig.power_on();
    rig.site.ignoring = false;
    CHECK(rig.connect() == Error::ok);
    CHECK(rig.at_rest());
    for (size_t i = 0; i != 4; ++i) CHECK(rig.arrivals(i) == 1);
    rig.site.check_end();
}

TEST_CASE_TEMPLATE("a store that is too small for what is alive is told; with more room, or less that waits, all goes on", Medium, FlashMedium, DiskMedium) {
    Scenario small{"", {}};
    small.geometry = {128, 4, 1};
    Rig<Medium> rig(small);
    int room = 20;
    if constexpr (std::is_same_v<Medium, DiskMedium>) {
        rig.medium.error = ENOSPC;
        rig.medium.fails = [&] { return room-- <= 0; };
    }
    rig.site.network_down(20000);
    CHECK(rig.connect() == Error::ok);
    unsigned accepted = 0;
    while (rig.publish(1, 20) == Error::ok) ++accepted;
    CHECK(accepted > 10);
    rig.run(15000);
    CHECK(rig.counts[Event::storage_trouble] == 1);
    CHECK(rig.trouble == Error::storage_full);
    CHECK(!rig.client().stored());
    room = 1000000;
    const size_t dropped = std::is_same_v<Medium, FlashMedium> ? rig.client().drop_waiting(QoS::exactly_once, {}, accepted - 3) : 0;
    CHECK(rig.run(200000, [&] { return rig.client().connected() && rig.client().unacknowledged() == 0 && rig.client().stored(); }));
    for (size_t i = 0; i != dropped; ++i) rig.site.outgoing[i].in_doubt = true;   // these are not to arrive
    for (size_t i = 0; i != accepted; ++i) CHECK(rig.arrivals(i) == (i < dropped ? 0 : 1));
    rig.site.check_end();
}
