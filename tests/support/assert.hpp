// Included before everything else in every source of the tests (-include): turns the library's assertions on.
#ifndef MQTT_TESTS_ASSERT_HPP
#define MQTT_TESTS_ASSERT_HPP

#include <cstdio>
#include <cstdlib>

[[noreturn]] inline void assertion_failed(const char* condition, const char* file, int line) {
    std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
    std::abort();   // doctest then names the test case
}

#define MQTT_ASSERT(condition) \
    (static_cast<bool>(condition) ? static_cast<void>(0) : assertion_failed(#condition, __FILE__, __LINE__))

#endif
