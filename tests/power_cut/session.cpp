// Whole sessions over power cuts: a client with its store plays a scenario against the in-process broker (see
// tests/support/meter.hpp), and the power is cut at every byte of every write and erase, and at each call of the network;
// the same on flash and on files, also while recovering from a cut.

#include "tests/support/meter.hpp"
#include "tests/support/testing.hpp"

#include <cstdio>

namespace {

using test::DiskMedium;
using test::Failed;
using test::FlashMedium;
using test::Scenario;
using test::Step;
using test::Steps;
using test::Sweep;

constexpr auto v5 = mqtt::Version::v5;

Step publish(int qos, uint32_t size = 12, uint32_t after = 10) { return {Step::publish, qos, size, after}; }
Step incoming(int qos, uint32_t after = 10) { return {Step::incoming, qos, 10, after}; }
Step down(uint32_t ms, uint32_t after = 10) { return {Step::network_down, 0, ms, after}; }
Step just(Step::Kind kind, uint32_t after = 10) { return {kind, 0, 0, after}; }

// Publishes both kinds, one after the other without waiting for answers.
const Steps online = {just(Step::rest), publish(1), publish(2), publish(2, 20, 0), publish(1, 8, 0), publish(2, 8, 0), just(Step::rest),
                      publish(2), publish(1)};
const Steps offline = {down(2000, 0), publish(1), publish(2), publish(1), publish(2), just(Step::rest), down(3000, 0), publish(2),
                       publish(2), publish(1)};
const Steps reconnects = {just(Step::rest), publish(2, 12, 0), publish(1, 12, 0), down(0, 5), publish(2), publish(1), down(200, 9),
                          publish(2, 12, 15), down(0, 18), publish(1), just(Step::broker_restarts, 16), publish(2)};
const Steps both_ways = {just(Step::rest), incoming(2), incoming(1, 0), publish(2, 8, 0), incoming(2, 4), publish(1, 8, 0), incoming(2, 9),
                         down(100, 13), incoming(1, 0), incoming(2, 0), publish(2, 8, 4), just(Step::rest), incoming(2), down(0, 15), incoming(2),
                         incoming(2), incoming(2)};   // more than there is room for at once
const Steps forgetful = {just(Step::rest), incoming(2), publish(2, 12, 0), publish(1, 12, 0), publish(2, 12, 0), just(Step::broker_forgets, 12),
                         publish(2), publish(1), incoming(2), down(200), publish(2), publish(1), just(Step::broker_forgets, 30), publish(2),
                         incoming(2), incoming(1)};
const Steps sleeps = {just(Step::rest), publish(2, 8, 0), publish(1, 8, 0), just(Step::stop, 0), just(Step::start, 500), incoming(2, 0),
                      publish(2), just(Step::rest), just(Step::stop), just(Step::start, 100), publish(1)};
Steps many() {
    Steps steps;
    for (int i = 0; i != 9; ++i) {
        steps.push_back(publish(2, 20, i % 4 == 0 ? 60 : 0));
        steps.push_back(publish(1, 6, 5));
        if (i % 3 == 2) steps.push_back(just(Step::rest));
        if (i % 3 == 1) steps.push_back(down(50, 20));
    }
    return steps;
}

mqtt::Geometry flash(uint32_t sector_size, uint32_t sectors, uint32_t granularity, bool resume = false) {
    mqtt::Geometry geometry{sector_size, sectors, granularity};
    geometry.resume = resume;
    return geometry;
}

std::vector<Scenario> scenarios() {
    std::vector<Scenario> list;
    const auto add = [&](const char* name, const Steps& steps) -> Scenario& {
        list.push_back({name, steps});
        return list.back();
    };
    add("online", online);
    Scenario& online_v5 = add("online, MQTT 5", online);
    online_v5.version = v5;
    online_v5.geometry = flash(512, 4, 1);
    add("offline", offline).geometry = flash(512, 4, 16);
    Scenario& offline_v5 = add("offline, MQTT 5", offline);
    offline_v5.version = v5;
    offline_v5.geometry = flash(256, 8, 1, true);
    offline_v5.in_flight = 2;
    add("reconnects", reconnects);
    Scenario& reconnects_v5 = add("reconnects, MQTT 5", reconnects);
    reconnects_v5.version = v5;
    reconnects_v5.geometry = flash(512, 4, 32);
    add("both ways", both_ways);
    Scenario& both_v5 = add("both ways, MQTT 5", both_ways);
    both_v5.version = v5;
    both_v5.geometry = flash(256, 7, 4, true);
    add("a broker that forgets", forgetful);
    add("a broker that forgets, MQTT 5", forgetful).version = v5;
    Scenario& clean = add("clean sessions", reconnects);
    clean.clean_session = true;
    Scenario& clean_v5 = add("clean sessions, MQTT 5", both_ways);
    clean_v5.clean_session = true;
    clean_v5.version = v5;
    add("stop and start", sleeps).geometry = flash(512, 2, 8);
    Scenario& compacts = add("compactions", many());
    compacts.geometry = flash(256, 6, 4);
    compacts.limit = 300;
    Scenario& slow = add("slow storage", both_ways);
    slow.slow = 4;
    return list;
}

// A client of another name on what a cut has left: if there is anything at all, it is refused, and changes nothing.
template <class Medium> void try_another(const Medium& left) {
    Medium medium(left);
    bool empty = false;
    {
        typename Medium::Store store;
        medium.plug(store);
        test::Records records;
        if (test::load_all(store, records) != 0) test::fail("a cut leaves what load() does not take");
        empty = records.empty();
    }
    const std::string before = image(medium);
    test::OfflineClient<typename Medium::Store> other("other");
    medium.plug(other.port);
    const mqtt::Error expected = empty ? mqtt::Error::ok : mqtt::Error::other_session;
    if (const mqtt::Error error = other.connect(); error != expected)
        test::fail(std::string("another client's connect(): ") + mqtt::to_string(error));
    if (empty) return;
    for (int i = 0; i != 3; ++i) (void)other.client.poll();
    if (image(medium) != before) test::fail("a client that was refused has written");
}

// A cut at each moment of each scenario.
template <class Medium> void sweep(const char* where, unsigned again, unsigned recovery) {
    Sweep sweep;
    uint64_t seed = 0;
    for (const Scenario& scenario : scenarios()) {
        ++seed;
        try {
            test::CutEverywhere<Medium> cuts(scenario, seed, sweep);
            uint64_t count = 0;
            cuts.look = [&](const Medium& left) {
                if (++count % 8 == 0) try_another(left);
            };
            cuts.run(again, recovery);
        } catch (const Failed& failure) {
            FAIL_CHECK(failure.why);
        } catch (const std::logic_error& error) {
            FAIL_CHECK(scenario.name, ": ", std::string(error.what()));
        }
    }
    std::printf("note: sessions on %s: %llu cut points, %llu of them while recovering from a cut\n", where,
                static_cast<unsigned long long>(sweep.cut_points), static_cast<unsigned long long>(sweep.while_recovering));
    if (testing::quick_run()) return;
    const test::Coverage& c = sweep.coverage;
    MESSAGE(std::string(where), ": ", c.lives, " lives, ", c.connections, " connections; PUBLISH again ", c.resent, ", repeated at the broker ", c.repeated,
            ", PUBREL ", c.pubrels, "; to the meter ", c.delivered, ", again ", c.again, "; sessions lost ", c.lost, ", dropped ", c.dropped);
    CHECK(sweep.cut_points > 45000);
    CHECK(sweep.while_recovering > 1000);
    CHECK(c.resent > 0);
    CHECK(c.repeated > 0);
    CHECK(c.again > 0);
    CHECK(c.lost > 0);
    CHECK(c.dropped > 0);
}

}  // namespace

TEST_CASE("a cut at any byte of any program or erase of the flash: QoS 1 at least once, QoS 2 exactly once, in order") {
    sweep<FlashMedium>("flash", testing::quick_run() ? 0 : testing::long_run() ? 100 : 5000, 25);
}

TEST_CASE("a cut at any call of a file system, in every state that the disk may be in: the same") {
    sweep<DiskMedium>("files", testing::quick_run() ? 0 : testing::long_run() ? 100 : 5000, 25);
}
