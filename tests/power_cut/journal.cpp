// The journal on a model of flash: the power is cut at every byte of every program and erase of whole scenarios, also
// while it recovers from a cut; any byte is damaged; the medium fails, is slow, or belongs to somebody else.

#include "tests/support/flash.hpp"
#include "tests/support/random.hpp"
#include "tests/support/testing.hpp"

#include <cstdio>
#include <optional>

namespace {

using test::Chip;
using test::fail;
using test::Failed;
using test::for_each_cut;
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

// ---- what a device does with its store, and what is tried

uint64_t cut_points, cuts_while_recovering, damaged_bytes, damage_told;

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
        for (int tries = 0; !compact(live(), &record); ++tries)
            if (tries == 3) fail("there is no room for a compaction");
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
        last_end = end_in_generation_;
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
        (promise.compacting ? end_in_generation_ : last_end) = chip_.last_end;
        return true;
    }
    static void expect(int result, const char* what) {
        if (result != 1) fail(std::string(what) + "() answers " + storage::to_string(result));
    }

    Chip& chip_;
    std::optional<Journal> journal_;
    bool smaller_ = false;   // compactions keep nothing old
    uint32_t end_in_generation_ = 0;
    unsigned number_ = 0;

public:
    Random random;
    uint32_t last_end = 0;   // of the record that was saved last
};

// Any byte is changed, one at a time. What was durable is there, or it is told; only the last record may be dropped.
void damage_everywhere(const Chip& chip, const Device& device, Random& random, unsigned kinds = testing::long_run() ? 9 : 2) {
    Chip scratch = chip;
    scratch.before = nullptr;
    const uint64_t work = scratch.programs + scratch.erases;
    const Records& durable = device.promise.durable;
    Records without_last = durable, records;
    uint32_t last_begin = device.last_end;
    if (!durable.empty()) {
        last_begin -= chip.geometry.record_size(static_cast<uint32_t>(durable.back().size()));
        without_last.pop_back();
    }
    for (uint32_t at = 0; at != chip.bytes.size(); ++at)
        for (unsigned kind = 0; kind != kinds; ++kind) {
            const unsigned bit = kinds == 9 ? kind : static_cast<unsigned>(random.below(8));
            const uint8_t change = kind == 0 ? static_cast<uint8_t>(1 + random.below(255)) : uint8_t(1U << bit % 8);
            scratch.bytes[at] = static_cast<uint8_t>(chip.bytes[at] ^ change);
            Journal journal{test::Flash(scratch)};
            const int result = test::load_all(journal, records);
            ++damaged_bytes;
            const bool in_last = !durable.empty() && at >= last_begin && at < device.last_end;
            if (result == 0 && records != durable && !(in_last && records == without_last))
                fail("byte " + std::to_string(at) + " is damaged: there is " + shown(records) + "\n  instead of " + shown(durable));
            if (result < 0) {
                if (result != storage::corrupt && !(durable.empty() && result == storage::foreign))
                    fail("byte " + std::to_string(at) + " is damaged: load() answers " + storage::to_string(result));
                ++damage_told;
                const uint8_t byte = 1;
                if (journal.load(nullptr, 0) != result || journal.save(&byte, 1) != result || journal.sync() != result ||
                    journal.compact() != result || journal.commit() != result || scratch.programs + scratch.erases != work)
                    fail("a damaged store is used");
            }
            scratch.bytes[at] = chip.bytes[at];
        }
}

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
            scratch.tear(operation, torn, !durable.empty());
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
            scratch.tear(operation, torn, there);
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

// erase_storage(), which answered so until now and gave these records. A cut anywhere in it: it is as before, or empty.
void erase_and_cut(Chip& chip, Journal& journal, int answer, const Records& records) {
    Random random(1);
    chip.before = [&](const Operation& operation) {
        for_each_cut(chip, operation, true, random, 3, [&](const std::vector<uint8_t>& torn) {
            Chip left = chip;
            left.before = nullptr;
            left.tear(operation, torn);
            Journal next{test::Flash(left)};
            Records found;
            const int result = test::load_all(next, found);
            ++cut_points;
            if (!(result == answer && (answer != 0 || found == records)) && !(result == 0 && found.empty()))
                fail("after a cut in erase_storage()");
        });
    };
    if (test::finish([&] { return journal.erase_storage(); }) != 1) fail("erase_storage() does not succeed");
    chip.before = nullptr;
    if (test::save(journal, "first") != 1) fail("an emptied store takes nothing");
    (void)mounted(chip, {{"first"}}, "after erase_storage()");
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
    unsigned number = 0;
    for (const uint32_t granularity : granularities)
        for (const uint32_t sectors : sector_counts)
            for (const bool resume : {false, true}) {
                if (testing::quick_run() && number++ % 5 != 0) continue;
                mqtt::Geometry geometry = small(granularity, sectors);
                geometry.resume = resume;
                REQUIRE(geometry.valid());
                try {
                    attempt(geometry);
                } catch (const Failed& failure) {
                    FAIL_CHECK(name(geometry), ": ", failure.why);
                } catch (const std::logic_error& error) {
                    FAIL_CHECK(name(geometry), ": ", std::string(error.what()));
                }
            }
}

}  // namespace

TEST_CASE("a cut at any byte of any program or erase loses nothing durable and adds nothing, also while recovering from one") {
    cut_points = cuts_while_recovering = 0;
    for_each_geometry([](const mqtt::Geometry& geometry) {
        const unsigned rounds = testing::long_run() ? 10 : geometry.sector_count == 2 ? 3 : 2;
        cut_everywhere(geometry, geometry.sector_count * 100 + geometry.granularity, rounds, testing::long_run() ? 200 : 1500);
    });
    std::printf("note: flash: %llu cut points, %llu of them while recovering from a cut\n",
                static_cast<unsigned long long>(cut_points), static_cast<unsigned long long>(cuts_while_recovering));
    CHECK((cut_points > 100000 || testing::quick_run()));
}

TEST_CASE("any single byte that changes is without effect or told, save in the record that was saved last") {
    damaged_bytes = damage_told = 0;
    for_each_geometry([](const mqtt::Geometry& geometry) {
        Chip chip(geometry);
        Device device(chip, geometry.granularity);
        Random random(geometry.sector_count);
        device.start();
        while (chip.erases < 3 * geometry.sector_count) {
            if (random.below(6) == 0) damage_everywhere(chip, device, random);
            device.step();
        }
        damage_everywhere(chip, device, random);
    });
    std::printf("note: flash: %llu damaged bytes, %llu of them told as damage\n",
                static_cast<unsigned long long>(damaged_bytes), static_cast<unsigned long long>(damage_told));
    CHECK(damage_told > 1000);
}

TEST_CASE("a byte that changes is told also where a cut has left one copy of a head only") {
    for_each_geometry([](const mqtt::Geometry& geometry) {
        Chip chip(geometry);
        Device device(chip, geometry.granularity + 7);
        Random random(geometry.sector_count);
        unsigned tried = 0;
        chip.before = [&](const Operation& operation) {
            if (operation.erases || operation.address % geometry.sector_size != geometry.head_size() || ++tried > 12) return;
            Chip left = chip;
            left.before = nullptr;
            left.tear(operation, std::vector<uint8_t>(operation.bytes.size(), 0xAA));
            Device next(left, tried);
            next.promise.durable = mounted(left, device.promise.images(), "after a cut");
            next.start();
            for (size_t i = 1 + random.below(3); i != 0; --i) next.save(next.record());
            damage_everywhere(left, next, random, 1);
        };
        device.start();
        while (chip.erases < 3 * geometry.sector_count) device.step();
        CHECK(tried > 0);
    });
}

TEST_CASE("flash with something else on it is refused, and changed only by erase_storage()") {
    for_each_geometry([](const mqtt::Geometry& geometry) {
        Random random(geometry.sector_size);
        Chip other_store(geometry);   // another geometry's journal
        other_store.geometry.sector_size /= 2;
        other_store.geometry.sector_count *= 2;
        if (other_store.geometry.valid()) {
            Device device(other_store, 1);
            device.start();
            device.save("record");
        }
        for (unsigned kind = 0; kind != 5; ++kind) {
            Chip chip(geometry);
            if (kind == 0) chip.bytes[geometry.head_size()] = 0;
            if (kind == 1) chip.bytes.back() = 0x7F;
            if (kind == 2) std::fill(chip.bytes.begin(), chip.bytes.end(), uint8_t{0});
            if (kind == 3) for (uint8_t& byte : chip.bytes) byte = random.octet();
            if (kind == 4 && other_store.geometry.valid()) chip.bytes = other_store.bytes;
            if (kind == 4 && !other_store.geometry.valid()) continue;
            std::fill(chip.used.begin(), chip.used.end(), true);
            const std::vector<uint8_t> before = chip.bytes;
            Journal journal{test::Flash(chip)};
            Records records;
            const uint8_t byte = 1;
            CHECK(journal.save(&byte, 1) == storage::misused);   // nobody has looked at it yet
            CHECK(journal.compact() == storage::misused);
            CHECK(test::load_all(journal, records) == storage::foreign);
            CHECK(journal.load(nullptr, 0) == storage::foreign);
            CHECK(journal.save(&byte, 1) == storage::foreign);
            CHECK(journal.sync() == storage::foreign);
            CHECK(journal.compact() == storage::foreign);
            CHECK(journal.commit() == storage::foreign);
            CHECK(chip.bytes == before);

            erase_and_cut(chip, journal, storage::foreign, {});
        }
    });
}

TEST_CASE("erase_storage() that fails can be repeated, and until it succeeds nothing else is possible") {
    for_each_geometry([](const mqtt::Geometry& geometry) {
        for (unsigned failing = 1; failing != 4; ++failing) {   // the erase, either copy of the head
            Chip chip(geometry);
            std::fill(chip.bytes.begin(), chip.bytes.end(), uint8_t{0});
            std::fill(chip.used.begin(), chip.used.end(), true);
            Journal journal{test::Flash(chip)};
            Records records;
            CHECK(test::load_all(journal, records) == storage::foreign);
            unsigned asked = 0;
            chip.answer = [&] {
                if (++asked != failing) return 1;
                chip.tear(*chip.failing, std::vector<uint8_t>(chip.failing->bytes.size(), 0x5A));
                return -1;
            };
            const uint8_t byte = 1;
            CHECK(test::finish([&] { return journal.erase_storage(); }) == storage::failed);
            CHECK(journal.save(&byte, 1) == storage::failed);
            CHECK(journal.compact() == storage::failed);
            CHECK(journal.load(nullptr, 0) == storage::failed);
            CHECK(test::finish([&] { return journal.erase_storage(); }) == 1);
            CHECK(test::save(journal, "first") == 1);
            CHECK(mounted(chip, {{"first"}}, "after erase_storage()").size() == 1);
        }
    });
}

TEST_CASE("erase_storage() empties a store, damaged or not, in one step") {
    for_each_geometry([](const mqtt::Geometry& geometry) {
        for (const bool damaged : {false, true}) {
            Chip chip(geometry);
            Device device(chip, geometry.granularity);
            device.start();
            while (chip.erases < 2 * geometry.sector_count) device.step();
            while (damaged) {   // in a record that another one follows, in the same sector
                device.save("damaged");
                const uint32_t at = device.last_end - geometry.record_size(7) + uint32_t{storage::frame_head};
                const uint64_t erases = chip.erases;
                device.save("x");
                if (chip.erases != erases) continue;
                REQUIRE(chip.bytes[at] == 'd');
                chip.bytes[at] ^= 1;
                break;
            }
            Journal journal{test::Flash(chip)};
            Records records;
            CHECK(test::load_all(journal, records) == (damaged ? int{storage::corrupt} : 0));
            erase_and_cut(chip, journal, damaged ? int{storage::corrupt} : 0, damaged ? Records{} : device.promise.durable);
        }
    });
}

TEST_CASE("a slow medium answers \"not yet\", and each call programs or erases once at most") {
    for_each_geometry([](const mqtt::Geometry& geometry) {
        Chip chip(geometry);
        Device device(chip, geometry.granularity);
        unsigned asked = 0;
        chip.answer = [&] { return ++asked % 3 == 0 ? 1 : 0; };
        device.start();
        while (chip.erases < 2 * geometry.sector_count) device.step();
        for (int i = 0; i != 20; ++i) {   // one call
            const uint64_t before = chip.programs + chip.erases;
            const std::string record(geometry.longest_record() - 1, 'x');
            if (device.journal().save(test::octets(record), record.size()) < 0) break;
            if (chip.programs + chip.erases > before + 1) fail("more than one program or erase in a call");
        }
    });
}

TEST_CASE("a program or an erase that fails loses nothing durable, and the next attempt goes elsewhere") {
    unsigned failures_in_all = 0;
    for_each_geometry([&](const mqtt::Geometry& geometry) {
        for (unsigned failing = 1; failing != 200; ++failing) {   // each of this number
            Chip chip(geometry);
            Random random(failing);
            unsigned asked = 0, failures = 0;
            chip.answer = [&] {
                if (++asked % failing != 0 || failures == 5) return 1;
                ++failures;
                std::vector<uint8_t> torn = chip.failing->bytes;
                for (uint8_t& byte : torn) byte = random.below(2) == 0 ? random.octet() : byte;
                chip.tear(*chip.failing, torn);
                return -1;
            };
            Journal journal{test::Flash(chip)};
            Records durable, records;
            CHECK(test::load_all(journal, records) == 0);
            const auto retry = [&](auto call, int also) {
                int result = call();
                for (int i = 0; i != 20 && (result == storage::failed || result == also); ++i) result = call();
                return result;
            };
            for (unsigned i = 0; i != 40; ++i) {
                const std::string record = "record " + std::to_string(i);
                int result = retry([&] { return test::save(journal, record); }, storage::failed);
                if (result == 1) durable.push_back(record);
                if (result == storage::full) {
                    Records alive{record};
                    if (!durable.empty()) alive.insert(alive.begin(), durable.back());
                    result = retry([&] { return test::compact(journal, alive); }, storage::full);
                    durable = alive;
                }
                if (result != 1) fail(std::string("after a failure: ") + storage::to_string(result));
                if (failures == 5 || i % 8 == 0) (void)mounted(chip, {durable}, "after a failure");
            }
            failures_in_all += failures;
            if (failures == 0) break;
        }
    });
    CHECK(failures_in_all > 200);
}

TEST_CASE("the formulas of Geometry hold: room, bytes and erases per record, bytes read by a mount") {
    const uint32_t sizes[] = {1, 7, 23, 24, 40};
    for_each_geometry([&](const mqtt::Geometry& geometry) {
        if (geometry.resume) return;
        for (const uint32_t size : sizes) {
            if (geometry.alive(size) == 0) continue;
            Chip chip(geometry);
            Journal journal{test::Flash(chip)};
            Records records;
            CHECK(test::load_all(journal, records) == 0);
            const std::string record(size, 'x');
            uint32_t saved = 0;
            while (test::save(journal, record) == 1) ++saved;
            CHECK(saved == geometry.per_generation(size));

            const uint32_t live = std::min(geometry.alive(size), geometry.per_generation(size) - 1);
            CHECK(test::compact(journal, Records(live, record)) == 1);
            const unsigned cycles = 2 * geometry.sector_count;
            while (test::save(journal, record) == 1) {}
            const uint64_t programmed = chip.programmed, erases = chip.erases;
            const mqtt::Geometry::Cycle cycle = geometry.cycle(size, live);
            for (unsigned i = 0; i != cycles; ++i) {
                CHECK(test::compact(journal, Records(live, record)) == 1);
                for (saved = 0; test::save(journal, record) == 1;) ++saved;
                CHECK(saved == cycle.saves);
            }
            CHECK(chip.programmed - programmed == uint64_t{cycle.bytes} * cycles);
            CHECK(chip.erases - erases == uint64_t{cycle.erases} * cycles);

            const auto wear = std::minmax_element(chip.wear.begin(), chip.wear.end());   // even
            CHECK(*wear.second - *wear.first <= 2);

            const uint64_t read = chip.read;
            Journal again{test::Flash(chip)};
            CHECK(test::load_all(again, records) == 0);
            CHECK(records.size() == geometry.per_generation(size));
            CHECK(chip.read - read <= geometry.mount_bytes());
            CHECK(chip.read - read >= geometry.mount_bytes() / 3);   // nor is it too high
        }
    });
}

TEST_CASE("records of one byte to the longest are taken, others are refused, and a reader with too little room is told") {
    for_each_geometry([&](const mqtt::Geometry& geometry) {
        Chip chip(geometry);
        Journal journal{test::Flash(chip)};
        Records records;
        CHECK(test::load_all(journal, records) == 0);
        const std::string longest(geometry.longest_record(), 'l');
        CHECK(test::save(journal, longest) == 1);
        CHECK(journal.save(test::octets(longest), longest.size() + 1) == storage::too_large);
        CHECK(journal.save(test::octets(longest), 0) == storage::too_large);
        CHECK(journal.commit() == storage::misused);   // nothing was begun
        Journal next{test::Flash(chip)};
        std::vector<uint8_t> room(longest.size());
        CHECK(next.load(room.data(), longest.size() - 1) == storage::too_large);
        CHECK(next.load(nullptr, 0) == storage::too_large);
        CHECK(next.load(room.data(), room.size()) == static_cast<int>(longest.size()));
        CHECK(std::string(room.begin(), room.end()) == longest);
        CHECK(next.load(room.data(), room.size()) == 0);
        CHECK(next.load(room.data(), room.size()) == 0);
    });
    const mqtt::Geometry wrong[] = {{}, {128, 1, 1}, {128, 2, 0}, {128, 2, 3}, {128, 2, 64}, {100, 2, 8}, {32, 2, 1}, {128, 2, 1, 2},
                                    {0x1000000, 32767, 1}, {128, 40000, 1}, {64, 2, 32}};
    for (const mqtt::Geometry& geometry : wrong) {
        CHECK(!geometry.valid());
        test::Flash flash;
        flash.geometry = geometry;
        Journal journal{flash};
        uint8_t byte = 0;
        CHECK(journal.load(&byte, 1) == storage::misused);
        CHECK(journal.save(&byte, 1) == storage::misused);
        CHECK(journal.erase_storage() == storage::misused);
    }
}

TEST_CASE("CRC-32 is the one of IEEE 802.3") {
    const std::string text = "123456789";
    CHECK(storage::crc32(0, test::octets(text), text.size()) == 0xCBF43926);
}
