// What a test case can say besides doctest's own words.
#ifndef MQTT_TESTS_TESTING_HPP
#define MQTT_TESTS_TESTING_HPP

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

namespace testing {

// `sh tests/run.sh --long`: more seeds, larger messages.
inline bool long_run() {
    const char* text = std::getenv("MQTT_TEST_LONG");
    return text != nullptr && std::string(text) == "1";
}

// A test that is run many times over, as by tests/power_cut/guards.py: fewer cases of everything.
inline bool quick_run() { return std::getenv("MQTT_TEST_QUICK") != nullptr; }

inline std::string& skip_reason() {   // of the running test case; empty: it is not skipped
    static std::string reason;
    return reason;
}

}  // namespace testing

// Ends the test case, in its own body, as skipped: `if (!there) SKIP_TEST("no IPv6 on this machine");`
#define SKIP_TEST(reason)                   \
    do {                                    \
        testing::skip_reason() = (reason);  \
        return;                             \
    } while (false)

#endif
