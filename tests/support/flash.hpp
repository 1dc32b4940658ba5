// A model of NOR flash for the journal: it counts, it is slow or fails when told to, and it tells of each program and
// erase before it happens, so that a test can try what a power cut there would leave behind.
#ifndef MQTT_TESTS_SUPPORT_FLASH_HPP
#define MQTT_TESTS_SUPPORT_FLASH_HPP

#include "platform/journal.hpp"
#include "tests/support/random.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace test {

// A promise that was not kept.
struct Failed {
    std::string why;
};
[[noreturn]] inline void fail(const std::string& why) { throw Failed{why}; }

inline void require(bool condition, const char* what) {
    if (!condition) throw std::logic_error(what);
}

// What the flash is asked to do.
struct Operation {
    bool erases = false;
    uint32_t address = 0;          // of the first byte
    std::vector<uint8_t> bytes;    // what should be there afterwards
};

struct Chip {
    explicit Chip(const mqtt::Geometry& of)
        : geometry(of), bytes(size_t{of.sector_size} * of.sector_count, 0xFF),
          used(bytes.size() / of.granularity, false), wear(of.sector_count, 0) {}

    mqtt::Geometry geometry;
    std::vector<uint8_t> bytes;
    std::vector<bool> used;        // granules that were programmed since they were erased, or tried to be
    std::vector<unsigned> wear;    // erases per sector
    uint64_t read = 0, programmed = 0, programs = 0, erases = 0;
    uint32_t last_end = 0;         // where the last program ended
    std::function<void(const Operation&)> before;   // this is about to happen
    std::function<int()> answer;                    // <= 0: instead of doing it
    const Operation* failing = nullptr;

    // It was tried, and did not come to its end: bytes are what `torn` says. `there`: there is a journal already; else what
    // reads as FF is as good as erased, as nothing can tell.
    void tear(const Operation& operation, const std::vector<uint8_t>& torn, bool there = true) {
        std::copy(torn.begin(), torn.end(), bytes.begin() + operation.address);
        const uint32_t size = static_cast<uint32_t>(torn.size()), unit = geometry.granularity;
        for (uint32_t at = operation.address; at != operation.address + size; at += unit) {
            const auto byte = bytes.begin() + at;
            const bool blank = std::all_of(byte, byte + unit, [](uint8_t value) { return value == 0xFF; });
            used[at / unit] = !blank || (there && (operation.erases || !geometry.resume));
        }
    }
};

// The four primitives.
struct Flash {
    Chip* chip = nullptr;
    mqtt::Geometry geometry = chip != nullptr ? chip->geometry : mqtt::Geometry{};

    Flash() = default;
    Flash(Chip& of) : chip(&of) {}

    int read(uint32_t address, uint8_t* data, size_t size) const {
        within_a_sector(address, size);
        std::copy_n(chip->bytes.begin() + address, size, data);
        chip->read += size;
        return 1;
    }
    int program(uint32_t address, const uint8_t* data, size_t size) const {
        within_a_sector(address, size);
        const uint32_t unit = geometry.granularity;
        require(size != 0 && size % unit == 0 && address % unit == 0, "not a multiple of the granularity");
        for (size_t i = 0; i != size; ++i) {
            require(!chip->used[(address + i) / unit], "programmed twice");
            require(chip->bytes[address + i] == 0xFF, "programmed without an erase");
        }
        const Operation operation{false, address, std::vector<uint8_t>(data, data + size)};
        const int result = begin(operation);
        if (result <= 0) return result;
        std::copy(data, data + size, chip->bytes.begin() + address);
        for (size_t i = 0; i != size; ++i) chip->used[(address + i) / unit] = true;
        chip->programmed += size;
        ++chip->programs;
        chip->last_end = address + static_cast<uint32_t>(size);
        return 1;
    }
    int erase(uint32_t sector) const {
        require(sector < geometry.sector_count, "no such sector");
        const uint32_t size = geometry.sector_size;
        const Operation operation{true, sector * size, std::vector<uint8_t>(size, 0xFF)};
        const int result = begin(operation);
        if (result <= 0) return result;
        std::fill_n(chip->bytes.begin() + operation.address, size, uint8_t{0xFF});
        std::fill_n(chip->used.begin() + operation.address / geometry.granularity, size / geometry.granularity, false);
        ++chip->wear[sector];
        ++chip->erases;
        return 1;
    }

private:
    void within_a_sector(uint32_t address, size_t size) const {
        require(size != 0 && address < chip->bytes.size() && address % geometry.sector_size + size <= geometry.sector_size,
                "crosses a sector");
    }
    int begin(const Operation& operation) const {
        chip->failing = &operation;
        const int result = chip->answer ? chip->answer() : 1;
        chip->failing = nullptr;
        if (result > 0 && chip->before) chip->before(operation);
        return result;
    }
};

// ---- what a cut leaves behind

// Calls `leave` with every state that a cut at a byte of the operation may leave, as far as one per kind stands for
// many: bytes before it are new, those after it old, the byte itself old, new, any; or all bytes of the operation are
// any of these, as a chip that programs a page at once, or erases all bits at once, has it. `unruly`: erased bytes may
// be any, not just a mixture of old and erased bits.
template <class Leave>
void for_each_cut(const Chip& chip, const Operation& operation, bool unruly, wire::Random& random, unsigned kinds, Leave leave) {
    const size_t size = operation.bytes.size();
    const std::vector<uint8_t> old(chip.bytes.begin() + operation.address,
                                   chip.bytes.begin() + static_cast<long>(operation.address + size));
    const auto any = [&](size_t i) {
        const uint8_t mask = random.octet();
        const uint8_t mixed = static_cast<uint8_t>((old[i] & mask) | (operation.bytes[i] & ~mask));
        switch (random.below(operation.erases && !unruly ? 3 : 4)) {
        case 0:  return old[i];
        case 1:  return operation.bytes[i];
        case 2:  return mixed;
        default: return random.octet();
        }
    };
    std::vector<uint8_t> torn = old;
    for (size_t at = 0; at <= size; ++at) {
        leave(torn);   // nothing of it, all of it, or what is in between
        if (at == size) break;
        if (kinds > 1) {
            torn[at] = any(at);
            leave(torn);
        }
        if (kinds > 2) {
            std::vector<uint8_t> mixture = old;
            for (size_t i = 0; i != size; ++i) mixture[i] = any(i);
            leave(mixture);
        }
        torn[at] = operation.bytes[at];
    }
}

using Records = std::vector<std::string>;

inline const uint8_t* octets(const std::string& text) { return reinterpret_cast<const uint8_t*>(text.data()); }

// Reads a store to its end; the last answer of load(): 0, or an error.
template <class Store> int load_all(Store& store, Records& records) {
    static thread_local std::vector<uint8_t> room(size_t{1} << 16);
    records.clear();
    while (true) {
        const int size = store.load(room.data(), room.size());
        if (size <= 0) return size;
        records.emplace_back(room.begin(), room.begin() + size);
    }
}

// Calls until the answer is another one than "not yet".
template <class Call> int finish(Call call) {
    for (int tries = 0; tries != 1000; ++tries)
        if (const int result = call()) return result;
    throw std::logic_error("it never comes to an end");
}
template <class Store> int save(Store& store, const std::string& record) {
    return finish([&] { return store.save(octets(record), record.size()); });
}

// A compaction that keeps these records. < 0: why not; the new generation is not committed then.
template <class Store> int compact(Store& store, const Records& records) {
    int result = finish([&] { return store.compact(); });
    for (size_t i = 0; result > 0 && i != records.size(); ++i) result = save(store, records[i]);
    return result < 0 ? result : finish([&] { return store.commit(); });
}

}  // namespace test

#endif
