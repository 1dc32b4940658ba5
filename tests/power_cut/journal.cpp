// The journal on a model of flash: the power is cut at every byte of every program and erase of whole scenarios, also
// while it recovers from a cut; any byte is damaged; the medium fails, is slow, or belongs to somebody else.

#include "tests/support/flash.hpp"
#include "tests/support/random.hpp"
#include "tests/support/testing.hpp"

#include <cstdio>
#include <optional>

namespace {

using test::Chip;
using test::Operation;
using test::Records;
using wire::Random;
using Journal = mqtt::Journal<test::Flash>;
namespace storage = mqtt::storage;

using Images = std::vector<Records>;   // what load() may give

std::string shown(const Records& records) {
    std::string text = std::to_string(records.size()) + ":";
    for (const std::string& record : records) {
        char start[32];
        std::snprintf(start, sizeof start, " %02x(%zu)", static_cast<uint8_t>(record[0]), record.size());
        text += start;
    }
    return text;
}

// What the store has promised.
struct Promise {
    Records durable;      // saved, or committed
    Records generation;   // what the new one has, between compact() and commit()
    bool compacting = false;
    const std::string* in_flight = nullptr;   // is being saved
    bool committing = false;

    Images images() const {
        Images allowed{durable};
        if (committing) allowed.push_back(generation);
        if (in_flight != nullptr && !compacting) {
            allowed.push_back(durable);
            allowed.back().push_back(*in_flight);
        }
        return allowed;
    }
};

// ---- what a cut leaves behind

// Calls `leave` with every state that a cut at a byte of the operation may leave, as far as one per kind stands for
// many: bytes before it are new, those after it old, the byte itself old, new, any; or all bytes of the operation are
// any of these, as a chip that programs a page at once, or erases all bits at once, has it. `unruly`: erased bytes may
// be any, not just a mixture of old and erased bits.
template <class Leave>
void for_each_cut(const Chip& chip, const Operation& operation, bool unruly, Random& random, unsigned kinds, Leave leave) {
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

uint64_t cut_points, cuts_while_recovering, damaged_bytes;

struct Failed {
    std::string why;
};
[[noreturn]] void fail(const std::string& why) { throw Failed{why}; }

// After a reset: what is there must be one of the images. Returns which.
Records mounted(Chip& chip, const Images& allowed, const char* when) {
    Records records;
    const uint64_t read = chip.read;
    {
        Journal journal{test::Flash(chip)};
        const int result = test::load_all(journal, records);
        if (result != 0) fail(std::string(when) + ": load() answers " + storage::to_string(result));
    }
    const uint32_t limit = std::max(chip.geometry.mount_bytes(), chip.geometry.blank_bytes());
    if (chip.read - read > limit) fail("a mount reads " + std::to_string(chip.read - read) + " bytes");
    for (const Records& image : allowed)
        if (records == image) return records;
    std::string text = std::string(when) + ": there is " + shown(records);
    for (const Records& image : allowed) text += "\n  it may be  " + shown(image);
    fail(text);
}

// ---- what a device does with its store

class Device {
public:
    Device(Chip& chip, uint64_t seed) : chip_(chip), random(seed) {}

    Promise promise;

    void start() {   // a reset, without a cut in anything
        promise.compacting = promise.committing = false;
        promise.durable = mounted(chip_, {promise.durable}, "after a reset");
        journal_.emplace(test::Flash(chip_));
        Records records;
        if (test::load_all(journal(), records) != 0 || records != promise.durable) fail("two mounts differ");
    }

    void save(const std::string& record) {
        if (put(record)) return;
        while (!compact(live(), &record)) {}
    }

    // All that is alive, and perhaps one more, which the store had no room for.
    bool compact(Records records, const std::string* more) {
        if (more != nullptr) records.push_back(*more);
        expect(test::finish([&] { return journal().compact(); }), "compact");
        promise.compacting = true;
        promise.generation.clear();
        for (const std::string& record : records)
            if (!put(record)) {   // the last of a sector left too much room
                smaller_ = true;
                return false;
            }
        promise.committing = true;
        if (journal().sync() != storage::misused) fail("sync() in a compaction");
        expect(test::finish([&] { return journal().commit(); }), "commit");
        promise.durable = promise.generation;
        promise.compacting = promise.committing = smaller_ = false;
        return true;
    }

    std::string record() {
        const uint32_t longest = chip_.geometry.longest_record();
        size_t size = 1 + random.below(12);
        if (random.below(8) == 0) size = 1 + random.below(longest);
        if (random.below(40) == 0) size = longest;
        std::string text(size, char(random.below(4) == 0 ? 0xFF : 0));
        if (random.below(3) != 0)
            for (char& c : text) c = char(random.octet());
        text[0] = char(number_++);
        return text;
    }
    // The newest, as many as surely fit.
    Records live() {
        Records newest;
        uint32_t room = chip_.geometry.spare_sectors() * (chip_.geometry.sector_size - chip_.geometry.first_record()) / 3;
        for (size_t i = promise.durable.size(); !smaller_ && i-- != 0 && newest.size() != 8;) {
            const uint32_t size = chip_.geometry.record_size(static_cast<uint32_t>(promise.durable[i].size()));
            if (size > room) break;
            room -= size;
            newest.insert(newest.begin(), promise.durable[i]);
        }
        return newest;
    }
    // Something that a device may do.
    void step() {
        switch (random.below(24)) {
        case 0: start(); break;
        case 1: (void)(compact(live(), nullptr) || (start(), true)); break;
        case 2:   // a compaction that is given up: by another one, or by a reset
            expect(test::finish([&] { return journal().compact(); }), "compact");
            promise.compacting = true;
            promise.generation.clear();
            for (size_t i = random.below(3); i != 0 && put(record()); --i) {}
            if (random.below(2) == 0 || !compact(live(), nullptr)) start();
            break;
        default: save(record());
        }
    }
    Journal& journal() { return *journal_; }

private:
    // False: there is no room.
    bool put(const std::string& record) {
        promise.in_flight = &record;
        const int result = test::save(journal(), record);
        promise.in_flight = nullptr;
        if (result == storage::full) return false;
        expect(result, "save");
        if (!promise.compacting && journal().sync() != 1) fail("sync() does not answer 1");
        (promise.compacting ? promise.generation : promise.durable).push_back(record);
        return true;
    }
    static void expect(int result, const char* what) {
        if (result != 1) fail(std::string(what) + "() answers " + storage::to_string(result));
    }

    Chip& chip_;
    std::optional<Journal> journal_;
    bool smaller_ = false;   // compactions keep nothing old
    unsigned number_ = 0;

public:
    Random random;
};

// While it recovers: a device that starts with what a cut left saves something, and compacts; and is cut again, anywhere.
void cut_again(const Chip& left, const Records& durable, uint64_t seed) {
    Chip chip = left;
    Chip scratch = left;
    scratch.before = nullptr;
    scratch.answer = nullptr;
    Device device(chip, seed);
    device.promise.durable = durable;
    Random random(seed + 1);
    chip.answer = nullptr;
    chip.before = [&](const Operation& operation) {
        const Images images = device.promise.images();
        for_each_cut(chip, operation, !durable.empty(), random, 2, [&](const std::vector<uint8_t>& torn) {
            scratch.bytes = chip.bytes;
            scratch.used = chip.used;
            scratch.tear(operation, torn);
            const Records found = mounted(scratch, images, "after a second cut");
            ++cut_points;
            ++cuts_while_recovering;
            if (cuts_while_recovering % 64 != 0) return;
            Device third(scratch, seed + cut_points);   // and is still of use
            third.promise.durable = found;
            third.start();
            third.save(third.record());
            third.start();
        });
    };
    device.start();
    device.save(device.record());
    if (random.below(2) == 0) (void)device.compact(device.live(), nullptr);
    chip.before = nullptr;
    device.start();
}

void cut_everywhere(const mqtt::Geometry& geometry, uint64_t seed, unsigned rounds, unsigned again) {
    Chip chip(geometry);
    Chip scratch(geometry);
    Device device(chip, seed);
    Random random(seed + 1);
    uint64_t countdown = 1 + random.below(again);
    chip.before = [&](const Operation& operation) {
        const Images images = device.promise.images();
        const bool there = !device.promise.durable.empty();
        for_each_cut(chip, operation, there, random, 3, [&](const std::vector<uint8_t>& torn) {
            scratch.bytes = chip.bytes;
            scratch.used = chip.used;
            scratch.tear(operation, torn);
            const Records found = mounted(scratch, images, "after a cut");
            ++cut_points;
            if (--countdown != 0) return;
            countdown = 1 + random.below(again);
            cut_again(scratch, found, seed ^ cut_points);
        });
    };
    device.start();
    while (chip.erases < rounds * geometry.sector_count) device.step();
    device.start();
}

const uint32_t granularities[] = {1, 2, 4, 8, 16, 32};
const uint32_t sector_counts[] = {2, 3, 4, 7};

mqtt::Geometry small(uint32_t granularity, uint32_t sectors) {
    mqtt::Geometry geometry;
    geometry.sector_count = sectors;
    geometry.granularity = granularity;
    geometry.sector_size = granularity <= 4 ? 128 : granularity <= 16 ? 192 : 256;
    geometry.spare = sectors == 7 ? 2 : 0;
    return geometry;
}
std::string name(const mqtt::Geometry& geometry) {
    return std::to_string(geometry.sector_count) + " sectors of " + std::to_string(geometry.sector_size) +
           ", granularity " + std::to_string(geometry.granularity) + (geometry.resume ? ", resumed" : "");
}
// Each geometry, with either rule for the last sector.
template <class Try> void for_each_geometry(Try attempt) {
    for (const uint32_t granularity : granularities)
        for (const uint32_t sectors : sector_counts)
            for (const bool resume : {false, true}) {
                mqtt::Geometry geometry = small(granularity, sectors);
                geometry.resume = resume;
                REQUIRE(geometry.valid());
                try {
                    attempt(geometry);
                } catch (const Failed& failure) {
                    FAIL_CHECK(name(geometry), ": ", failure.why);
                } catch (const std::logic_error& error) {
                    FAIL_CHECK(name(geometry), ": ", error.what());
                }
            }
}

}  // namespace

TEST_CASE("a cut at any byte of any program or erase loses nothing durable and adds nothing, also while recovering from one") {
    cut_points = cuts_while_recovering = 0;
    for_each_geometry([](const mqtt::Geometry& geometry) {
        const unsigned rounds = testing::long_run() ? 10 : geometry.sector_count == 2 ? 3 : 2;
        cut_everywhere(geometry, geometry.sector_count * 100 + geometry.granularity, rounds, testing::long_run() ? 200 : 700);
    });
    std::printf("note: flash: %llu cut points, %llu of them while recovering from a cut\n",
                static_cast<unsigned long long>(cut_points), static_cast<unsigned long long>(cuts_while_recovering));
    CHECK(cut_points > 100000);
}
