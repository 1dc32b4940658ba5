// Thousands of random runs of real clients against the in-process broker: see tests/support/simulation.hpp.
//
// MQTT_SEED=n runs only that seed, and prints what happens. MQTT_TEST_LONG=1 runs 50 times as many.
#include "tests/support/testing.hpp"

#include "tests/support/simulation.hpp"

#include <chrono>
#include <cstdlib>

namespace {

using test::Coverage;
using test::Failure;
using test::Profile;
using test::Simulation;

uint64_t only_seed() {   // 0: all of them
    const char* text = std::getenv("MQTT_SEED");
    return text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
}

// All seeds of a profile, with MQTT 5 or without; returns how many ran.
uint64_t run(Profile profile, bool v5, Coverage& coverage) {
    const uint64_t only = only_seed();
    const uint64_t limit = 4960 * (testing::long_run() ? 50U : 1U);
    uint64_t runs = 0, failures = 0;
    for (uint64_t seed = only != 0 ? only : 1; seed <= (only != 0 ? only : limit); ++seed) {
        if (Simulation::profile_of(seed) != profile || Simulation::has_v5(seed) != v5) continue;
        ++runs;
        CAPTURE(seed);   // also told when an assertion ends the program
        Simulation simulation(seed, only != 0);
        try {
            simulation.run();
        } catch (const Failure& failure) {
            FAIL_CHECK("MQTT_SEED=", seed, ": ", failure.text);
            if (++failures >= 5) break;
        }
        coverage.add(simulation.coverage);
    }
    const Coverage& c = coverage;
    MESSAGE(runs, " seeds: ", c.messages, " messages, ", c.polls, " polls, ", c.connections, " connections; cut ", c.cuts, ", half open ", c.half_open,
            ", stalled ", c.stalls, ", restarts ", c.restarts, ", sessions lost ", c.lost_sessions, ", taken over ", c.takeovers, ", late ", c.late,
            "; sent again: PUBLISH ", c.resent_publishes, ", PUBREL ", c.resent_pubrels, ", streams ", c.streams_resent, " of ", c.streams,
            "; twice at the broker ", c.repeated_at_broker, ", at a client ", c.repeated_to_client, "; pieces ", c.pieces, ", skipped ", c.skipped,
            ", dropped ", c.dropped, ", behind a full window ", c.waited_at_gate, ", no space ", c.no_space, ", half packets ", c.half_packets,
            ", unaware ", c.unaware);
    if (v5)
        MESSAGE("MQTT 5: connections ", c.connections_v5, ", fell back ", c.fell_back, ", disconnected ", c.server_disconnects, ", refused ", c.refusals,
                ", session unknown ", c.session_unknown, ", redirected ", c.redirected, ", ids assigned ", c.assigned, ", authentications ", c.authentications,
                "; messages refused for a limit ", c.limited, ", dropped for one ", c.limit_dropped, ", expired ", c.expired, ", refused by the server ",
                c.refused_messages, ", by us ", c.refused_by_us, ", without properties ", c.stripped, ", behind Receive Maximum ", c.window_full, "; aliases ",
                c.aliases_up, " up, ", c.aliases_down, " down, ", c.aliases_unknown, " without room, ", c.aliases_missed, " missed; at the broker expired ", c.expired_at_broker,
                ", too large ", c.too_large_for_client);
    return runs;
}

}  // namespace

TEST_CASE("[MQTT-4.1.0-1] [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-4.6.0-2] "
          "[MQTT-4.6.0-3] [MQTT-4.6.0-4] [MQTT-2.3.1-2] [MQTT-2.3.1-3] [MQTT-3.3.1-1] sessions that are kept survive any network") {
    Coverage c;
    if (run(Profile::strict, false, c) == 0 || only_seed() != 0) return;
    CHECK(c.cuts != 0);
    CHECK(c.half_open != 0);
    CHECK(c.stalls != 0);
    CHECK(c.late != 0);
    CHECK(c.restarts != 0);
    CHECK(c.takeovers != 0);
    CHECK(c.refused_opens != 0);
    CHECK(c.resent_publishes != 0);
    CHECK(c.resent_pubrels != 0);
    CHECK(c.repeated_at_broker != 0);
    CHECK(c.repeated_to_client != 0);
    CHECK(c.pieces != 0);
    CHECK(c.skipped != 0);
    CHECK(c.streams_resent != 0);
    CHECK(c.waited_at_gate != 0);
    CHECK(c.no_space != 0);
    CHECK(c.half_packets != 0);
    CHECK(c.manual != 0);
    CHECK(c.dropped == 0);
    CHECK(c.unaware == 0);
}

TEST_CASE("[MQTT-3.1.2-4] [MQTT-3.1.2-6] [MQTT-3.2.2-2] [MQTT-3.2.2-3] what a lost or a clean session takes with it is told") {
    Coverage c;
    if (run(Profile::lossy, false, c) == 0 || only_seed() != 0) return;
    CHECK(c.lost_sessions != 0);
    CHECK(c.dropped != 0);
}

TEST_CASE("[MQTT-3.1.0-1] [MQTT-3.1.2-23] [MQTT-3.14.4-1] [MQTT-3.14.4-2] without faults nothing is sent twice and no connection ends") {
    Coverage c;
    if (run(Profile::calm, false, c) == 0 || only_seed() != 0) return;
    CHECK(c.graceful != 0);
    CHECK(c.dropped == 0);
}

TEST_CASE("MQTT 5 [MQTT-2.2.1-3] [MQTT-3.2.2-11] [MQTT-3.2.2-14] [MQTT-3.2.2-15] [MQTT-3.2.2-17] [MQTT-3.2.2-21] [MQTT-3.3.1-1] [MQTT-3.3.2-7] "
          "[MQTT-3.3.4-7] [MQTT-4.3.3-6] [MQTT-4.3.3-10] [MQTT-4.4.0-1] [MQTT-4.4.0-2] [MQTT-4.6.0-1] [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT-4.6.0-4] "
          "sessions that are kept survive any network, and a server that changes its mind") {
    Coverage c;
    if (run(Profile::strict, true, c) == 0 || only_seed() != 0) return;
    CHECK(c.resent_publishes != 0);
    CHECK(c.resent_pubrels != 0);
    CHECK(c.streams_resent != 0);
    CHECK(c.repeated_at_broker != 0);
    CHECK(c.repeated_to_client != 0);
    CHECK(c.connections_v5 != 0);
    CHECK(c.fell_back != 0);
    CHECK(c.stripped != 0);
    CHECK(c.server_disconnects != 0);
    CHECK(c.refusals != 0);
    CHECK(c.redirected != 0);
    CHECK(c.session_unknown != 0);
    CHECK(c.assigned != 0);
    CHECK(c.authentications != 0);
    CHECK(c.limited != 0);
    CHECK(c.limit_dropped != 0);
    CHECK(c.expired != 0);
    CHECK(c.window_full != 0);
    CHECK(c.refused_messages != 0);
    CHECK(c.refused_by_us != 0);
    CHECK(c.aliases_up != 0);
    CHECK(c.aliases_down != 0);
    CHECK(c.aliases_unknown != 0);
    CHECK(c.aliases_missed != 0);
    CHECK(c.expired_at_broker != 0);
    CHECK(c.too_large_for_client != 0);
}

TEST_CASE("MQTT 5 [MQTT-3.1.2-4] [MQTT-3.1.2-23] [MQTT-3.2.2-3] [MQTT-3.2.2-4] [MQTT-3.2.2-5] what a lost, an expired or a clean session takes with it is told") {
    Coverage c;
    if (run(Profile::lossy, true, c) == 0 || only_seed() != 0) return;
    CHECK(c.lost_sessions != 0);
    CHECK(c.session_unknown != 0);
    CHECK(c.dropped != 0);
}

TEST_CASE("MQTT 5 [MQTT-3.1.0-1] [MQTT-3.1.2-20] [MQTT-3.14.4-1] [MQTT-3.14.4-2] without faults nothing is sent twice and no connection ends") {
    Coverage c;
    if (run(Profile::calm, true, c) == 0 || only_seed() != 0) return;
    CHECK(c.graceful != 0);
    CHECK(c.fell_back != 0);
    CHECK(c.dropped == 0);
}
