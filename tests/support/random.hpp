#ifndef MQTT_TESTS_SUPPORT_RANDOM_HPP
#define MQTT_TESTS_SUPPORT_RANDOM_HPP

#include <cstddef>
#include <cstdint>

namespace wire {

// Numbers that look random and are the same everywhere (splitmix64).
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = state_ += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
    size_t below(size_t limit) { return static_cast<size_t>(next() % limit); }
    uint8_t octet() { return static_cast<uint8_t>(next()); }

private:
    uint64_t state_;
};

}  // namespace wire

#endif
