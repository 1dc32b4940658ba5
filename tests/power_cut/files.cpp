// FileStore on a model of a disk: after each of its calls, every state that a power cut may leave is tried, or the process is
// killed there and another one goes on; calls fail; bytes are damaged.

#include "tests/support/disk.hpp"
#include "tests/support/flash.hpp"
#include "tests/support/process.hpp"
#include "tests/support/random.hpp"
#include "tests/support/testing.hpp"

#include <cstdio>
#include <optional>

namespace {

using test::Bytes;
using test::fail;
using test::Failed;
using test::for_each_crash_state;
using test::Records;
using test::World;
using wire::Random;
using Store = mqtt::posix::BasicFileStore<test::ModelDisk>;
namespace storage = mqtt::storage;

uint64_t cut_points, kills, damaged_bytes, damage_told;

std::string shown(const Records& records) {
    std::string text = std::to_string(records.size()) + ":";
    for (const std::string& record : records) text += " " + record.substr(0, 4);
    return text;
}

struct Promise {
    Records durable;      // synced or committed
    Records taken;        // saved after that
    Records generation;   // what a compaction is to keep, until commit() has returned
    bool committing = false;
    bool in_flight = false;   // save() has not returned yet for the last of `taken`

    // After a power cut: all that is durable, and the first ones of what was taken.
    std::vector<Records> images() const {
        std::vector<Records> allowed{durable};
        for (const std::string& record : taken) {
            allowed.push_back(allowed.back());
            allowed.back().push_back(record);
        }
        if (committing) allowed.push_back(generation);
        return allowed;
    }
};

Records mounted(World& world, const std::vector<Records>& allowed, const char* when) {
    Store store;
    store.disk.world = &world;
    store.storage_path = "model";
    Records records;
    const int result = test::load_all(store, records);
    if (result != 0) fail(std::string(when) + ": load() answers " + storage::to_string(result));
    if (std::find(allowed.begin(), allowed.end(), records) != allowed.end()) return records;
    std::string text = std::string(when) + ": there is " + shown(records);
    for (const Records& image : allowed) text += "\n  it may be  " + shown(image);
    fail(text);
}

// The power is cut here: every state that the disk may be in then. `then`: what to do with it and with what was in it.
template <class Then> void cut_here(const World& world, const Promise& promise, Random& random, const char* when, Then then) {
    const std::vector<Records> allowed = promise.images();
    for_each_crash_state(world, random, [&](World after) {
        const Records found = mounted(after, allowed, when);
        ++cut_points;
        then(after, found);
    });
}

class Device {
public:
    Device(World& world, uint64_t seed) : random(seed), world_(world) {}

    Promise promise;
    Random random;
    bool refuses = false;   // calls may fail: then they are repeated, or a compaction is made

    // Another process goes on; without a power cut all is there that was taken.
    void start() {
        store_.emplace();
        store_->disk.world = &world_;
        store_->storage_path = "model";
        store_->storage_limit = 160;
        Records records, part;
        int result = 0, tries = 0;
        do {   // goes on where it failed
            result = test::load_all(*store_, part);
            records.insert(records.end(), part.begin(), part.end());
        } while (refuses && result == storage::failed && ++tries != 10);
        if (refuses && result == storage::failed) {   // it has read all, but cannot promise that it is durable
            do result = test::compact(*store_, records);
            while (result != 1 && ++tries != 50);
            result -= 1;
        }
        if (result != 0) fail(std::string("the next process: load() answers ") + storage::to_string(result));
        const std::vector<Records> allowed = promise.images();
        const size_t least = promise.durable.size() + promise.taken.size() - promise.in_flight;
        if (std::find(allowed.begin(), allowed.end(), records) == allowed.end() || (!promise.committing && records.size() < least))
            fail("the next process: there is " + shown(records) + "\n  instead of " + shown(allowed.back()));
        promise = Promise{};
        promise.durable = records;
    }
    void save(const std::string& record) {
        promise.taken.push_back(record);
        promise.in_flight = true;
        const int result = test::save(*store_, record);
        promise.in_flight = false;
        if (result == 1) return;
        promise.taken.pop_back();
        if (result != storage::full && !refuses) fail(std::string("save() answers ") + storage::to_string(result));
        compact(&record);
    }
    void sync() {
        int result = store_->sync();
        if (result != 1 && random.below(2) == 0) result = store_->sync();   // it may not say so then, if it is not
        if (result != 1 && !refuses) fail(std::string("sync() answers ") + storage::to_string(result));
        if (result != 1) return compact(nullptr);
        promise.durable.insert(promise.durable.end(), promise.taken.begin(), promise.taken.end());
        promise.taken.clear();
    }
    // Keeps the newest of what there is, and this one.
    void compact(const std::string* more) {
        Records alive = promise.durable;
        alive.insert(alive.end(), promise.taken.begin(), promise.taken.end());
        if (more != nullptr) alive.push_back(*more);
        if (alive.size() > 4) alive.erase(alive.begin(), alive.end() - 4);
        for (int tries = 0; tries != 50; ++tries) {
            promise.committing = true;   // from somewhere in commit() on it counts
            promise.generation = alive;
            const int result = test::compact(*store_, alive);
            if (result != 1 && !refuses) fail(std::string("a compaction answers ") + storage::to_string(result));
            if (result != 1) continue;
            promise.durable = alive;
            promise.taken.clear();
            promise.committing = false;
            return;
        }
        fail("no compaction succeeds");
    }
    std::string record() {
        std::string text = std::to_string(100 + number_++);
        text.resize(3 + random.below(10), random.below(2) == 0 ? '.' : char(0));
        if (random.below(16) == 0) text.resize(60, '-');
        return text;
    }
    void step() {
        switch (random.below(12)) {
        case 0: start(); break;
        case 1: compact(nullptr); break;
        default:
            for (size_t i = 1 + random.below(3); i != 0; --i) save(record());
            if (random.below(6) != 0) sync();
        }
    }
    Store& store() { return *store_; }

private:
    World& world_;
    std::optional<Store> store_;
    unsigned number_ = 0;
};

// Something is saved after a cut or a kill, and then it is cut again, after each call.
void go_on(World& world, const Promise& promise, uint64_t seed) {
    Device device(world, seed);
    device.promise = promise;
    Random random(seed + 1);
    world.after = [&] {
        cut_here(world, device.promise, random, "after another cut", [](World&, const Records&) {});
    };
    device.start();
    device.save(device.record());
    device.sync();
    device.save(device.record());
    if (random.below(3) == 0) device.compact(nullptr);
    world.after = nullptr;
}

template <class Try> void attempt(Try run) {
    try {
        run();
    } catch (const Failed& failure) {
        FAIL_CHECK(failure.why);
    } catch (const std::exception& error) {
        FAIL_CHECK(std::string(error.what()));
    }
}

}  // namespace

TEST_CASE("a power cut or a kill at any call leaves what was durable, in every state that the disk may be in") {
    cut_points = kills = 0;
    attempt([] {
        for (uint64_t seed = 1; seed <= (testing::long_run() ? 40 : 3); ++seed) {
            World world;
            world.longest_write = seed % 2 == 0 ? 7 : SIZE_MAX;
            world.interrupted = seed % 3 == 0 ? 5 : 0;
            Device device(world, seed);
            Random random(seed + 1);
            uint64_t countdown = 1;
            world.after = [&] {
                cut_here(world, device.promise, random, "after a cut", [&](World& left, const Records& found) {
                    if (--countdown != 0) return;
                    countdown = 1 + random.below(2000);
                    Promise promise;
                    promise.durable = found;
                    go_on(left, promise, seed + cut_points);
                });
                ++kills;
                if (random.below(8) != 0) return;
                World left = world.after_kill();   // what was not durable is not yet: the power may still take it
                go_on(left, device.promise, seed + kills);
            };
            device.start();
            while (world.calls < (testing::quick_run() ? 120 : 300)) device.step();
        }
    });
    std::printf("note: files: %llu cut points, and the process was killed at %llu calls\n",
                static_cast<unsigned long long>(cut_points), static_cast<unsigned long long>(kills));
    CHECK((cut_points > 50000 || testing::quick_run()));
}

TEST_CASE("a call that fails is told, and loses nothing durable, nor anything that was taken and can be saved again") {
    unsigned failures = 0;
    attempt([&] {
        for (const int error : {ENOSPC, EIO, EDQUOT})
            for (const unsigned several : {1U, 4U})
                for (unsigned failing = 1; failing <= 120; failing += testing::quick_run() ? 5 : 1) {
                    World world;
                    world.longest_write = failing % 3 == 0 ? 5 : SIZE_MAX;
                    Device device(world, failing % 4 + 1);
                    Random random(failing);
                    device.refuses = true;
                    world.refuse = [&](const char*) {
                        if (world.calls < failing || world.calls >= failing + several) return 0;
                        ++failures;
                        cut_here(world, device.promise, random, "at a failure", [](World&, const Records&) {});
                        return error;
                    };
                    device.start();
                    while (world.calls < 130) {
                        device.step();
                        cut_here(world, device.promise, random, "after a failure", [](World&, const Records&) {});
                    }
                }
    });
    CHECK(failures > 100);
}

TEST_CASE("a full disk is told by each call, everything saved before stays, and with room again it goes on") {
    for (unsigned full_from = 1; full_from < 60; ++full_from) {
        CAPTURE(full_from);
        World world;
        Store store;
        store.disk.world = &world;
        store.storage_path = "model";
        store.storage_limit = 100;
        Records durable, records;
        CHECK(test::load_all(store, records) == 0);
        bool full = false;
        world.refuse = [&](const char* call) {
            const std::string name = call;
            full = full || world.calls >= full_from;
            return full && (name == "write" || name == "open") ? ENOSPC : 0;
        };
        for (int i = 0; i != 30 && !full; ++i) {
            const std::string record = "record " + std::to_string(i);
            int result = test::save(store, record);
            if (result == storage::full) {
                result = test::compact(store, {record});
                if (result == 1) durable = {record};
            } else if (result == 1 && store.sync() == 1) {
                durable.push_back(record);
            }
            CHECK((result == 1 || (full && result == storage::full)));
        }
        REQUIRE(full);
        CHECK(store.storage_errno() == ENOSPC);
        for (int i = 0; i != 3; ++i) {   // and again, and again
            CHECK(test::save(store, "more") == storage::full);
            CHECK(test::compact(store, {"more"}) == storage::full);
        }
        world.refuse = nullptr;
        World copy = world.after_kill();
        attempt([&] { (void)mounted(copy, {durable}, "with a full disk"); });
        Records alive = durable;
        alive.push_back("more");
        CHECK(test::compact(store, alive) == 1);
        CHECK(test::save(store, "and more") == 1);
        CHECK(store.sync() == 1);
        alive.push_back("and more");
        attempt([&] { (void)mounted(world, {alive}, "with room again"); });
    }
}

TEST_CASE("any single byte of the log that changes is without effect or told, save in the record that was saved last") {
    damaged_bytes = damage_told = 0;
    attempt([] {
        for (uint64_t seed = 1; seed != 6; ++seed) {
            World world;
            Device device(world, seed);
            Random random(seed);
            device.start();
            while (world.calls < 60) device.step();
            device.sync();
            const Records durable = device.promise.durable;
            Bytes& log = world.files[world.names["log"]].bytes;
            for (size_t at = 0; at != log.size(); ++at)
                for (unsigned bit = 0; bit != 9; ++bit) {
                    const uint8_t change = bit == 8 ? static_cast<uint8_t>(1 + random.below(255)) : static_cast<uint8_t>(1U << bit);
                    log[at] ^= change;
                    Store store;
                    store.disk.world = &world;
                    store.storage_path = "model";
                    Records records;
                    const int result = test::load_all(store, records);
                    ++damaged_bytes;
                    if (result == 0 && records != durable) fail("byte " + std::to_string(at) + " is damaged: there is " + shown(records));
                    if (result < 0 && result != storage::corrupt && !(at < 8 && result == storage::foreign))
                        fail("byte " + std::to_string(at) + " is damaged: load() answers " + storage::to_string(result));
                    if (result < 0) {
                        ++damage_told;
                        const Bytes before = log;
                        const uint8_t byte = 1;
                        if (store.load(nullptr, 0) != result || store.save(&byte, 1) != result || store.sync() != result ||
                            store.compact() != result || store.commit() != result || log != before)
                            fail("a damaged store is used");
                    }
                    log[at] ^= change;
                }
        }
    });
    std::printf("note: files: %llu damaged bytes, %llu of them told as damage\n", static_cast<unsigned long long>(damaged_bytes),
                static_cast<unsigned long long>(damage_told));
    CHECK(damage_told > 1000);
}

TEST_CASE("a log that is something else is refused, and replaced only by erase_storage(), in one step") {
    for (const std::string& content : {std::string(), std::string("mqttlog"), std::string("what somebody wrote down here"), std::string(100, '\0')}) {
        World world = World::after_cut({{"log", 0}}, {Bytes(content.begin(), content.end())});
        Store store;
        store.disk.world = &world;
        store.storage_path = "model";
        Records records;
        const uint8_t byte = 1;
        CHECK(store.save(&byte, 1) == storage::misused);
        CHECK(test::load_all(store, records) == storage::foreign);
        CHECK(store.load(nullptr, 0) == storage::foreign);
        CHECK(store.save(&byte, 1) == storage::foreign);
        CHECK(store.sync() == storage::foreign);
        CHECK(store.compact() == storage::foreign);
        CHECK(store.commit() == storage::foreign);
        CHECK(world.files[0].bytes == Bytes(content.begin(), content.end()));
        CHECK(store.erase_storage() == 1);
        CHECK(test::save(store, "first") == 1);
        CHECK(store.sync() == 1);
        attempt([&] { (void)mounted(world, {{"first"}}, "after erase_storage()"); });
    }
}

TEST_CASE("with files, too: too large, too little room, wrong order, wrong path") {
    test::TemporaryFolder folder;
    const std::string path = folder.path / "store";
    std::optional<mqtt::posix::FileStore> store;
    store.emplace();
    uint8_t room[100];
    CHECK(store->load(room, 100) == storage::misused);
    const std::string nowhere = folder.path / "not" / "there";
    store->storage_path = nowhere.c_str();
    CHECK(store->load(room, 100) == storage::failed);
    CHECK(store->storage_errno() == ENOENT);
    store->storage_path = path.c_str();
    CHECK(store->load(room, 100) == 0);
    CHECK(store->save(room, 0) == storage::too_large);
    CHECK(store->save(room, storage::longest_record + size_t{1}) == storage::too_large);
    CHECK(store->commit() == storage::misused);
    CHECK(test::save(*store, std::string(100, 'x')) == 1);
    CHECK(store->sync() == 1);
    CHECK(store->sync() == 1);   // nothing new
    CHECK(store->compact() == 1);
    CHECK(store->sync() == storage::misused);
    CHECK(store->commit() == 1);
    CHECK(test::save(*store, std::string(100, 'y')) == 1);

    mqtt::posix::FileStore second;
    second.storage_path = path.c_str();
    CHECK(second.load(room, 100) == storage::locked);   // also within one process
    CHECK(second.storage_holder() == ::getpid());
    store.reset();
    CHECK(second.load(room, 99) == storage::too_large);
    CHECK(second.load(room, 100) == 100);
    CHECK(room[0] == 'y');
    CHECK(second.load(room, 100) == 0);
}
