// FileStore on a real disk, in a process that is killed (SIGKILL) again and again, wherever it is.

#include "platform/file_store.hpp"
#include "tests/support/flash.hpp"
#include "tests/support/process.hpp"
#include "tests/support/random.hpp"
#include "tests/support/testing.hpp"

#include <cstdio>

namespace {

using test::Records;
namespace storage = mqtt::storage;

constexpr unsigned alive = 5;         // a compaction keeps so many
constexpr unsigned at_once = 4;       // records between two calls of sync(), at most

std::string record(unsigned number) { return std::to_string(number) + std::string(number % 50, '.'); }

// The number of the last record, or 0; -1: records are missing, or not in order.
long last_of(const Records& records) {
    for (size_t i = 0; i != records.size(); ++i) {
        const unsigned number = static_cast<unsigned>(std::atol(records[i].c_str()));
        if (records[i] != record(number)) return -1;
        if (i != 0 && number != static_cast<unsigned>(std::atol(records[i - 1].c_str())) + 1) return -1;
    }
    return records.empty() ? 0 : std::atol(records.back().c_str());
}

// Saves one record after the other, and tells the number of the last one that is durable.
[[noreturn]] void writer(const std::string& path, int tell) {
    mqtt::posix::FileStore store;
    store.storage_path = path.c_str();
    store.storage_limit = 1500;
    Records records;
    if (test::load_all(store, records) != 0) ::_exit(1);
    const long last = last_of(records);
    if (last < 0) ::_exit(2);
    for (unsigned number = static_cast<unsigned>(last) + 1;; ++number) {
        const int result = test::save(store, record(number));
        if (result == storage::full) {
            Records kept;
            for (unsigned i = number > alive ? number - alive : 1; i <= number; ++i) kept.push_back(record(i));
            if (test::compact(store, kept) != 1) ::_exit(3);
        } else if (result != 1) {
            ::_exit(4);
        } else if (number % at_once != 0) {
            continue;
        } else if (store.sync() != 1) {
            ::_exit(5);
        }
        if (::write(tell, &number, sizeof number) != static_cast<ssize_t>(sizeof number)) ::_exit(6);
    }
}
// A process that does that, and where it tells.
pid_t started(const std::string& path, int& told) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::close(ends[0]);
        writer(path, ends[1]);
    }
    ::close(ends[1]);
    told = ends[0];
    return child;
}

}  // namespace

TEST_CASE("a process that is killed anywhere loses nothing that it was told to be durable") {
    const test::TemporaryFolder folder;
    const std::string path = folder.path / "store";
    wire::Random random(1);
    const unsigned kills = testing::long_run() ? 3000 : 300;
    unsigned durable = 0;
    long last = 0;
    for (unsigned i = 0; i != kills; ++i) {
        int told = -1;
        const pid_t child = started(path, told);
        unsigned number = 0;
        for (size_t more = random.below(12); more != 0 && ::read(told, &number, sizeof number) > 0; --more) durable = number;
        for (size_t spin = random.below(200000); spin != 0; --spin) asm volatile("");   // it is somewhere, then
        ::kill(child, SIGKILL);
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        REQUIRE(WIFSIGNALED(status));
        while (::read(told, &number, sizeof number) > 0) durable = number;
        ::close(told);

        mqtt::posix::FileStore store;   // its lock went with the process
        store.storage_path = path.c_str();
        Records records;
        REQUIRE(test::load_all(store, records) == 0);
        const long found = last_of(records);
        REQUIRE(found >= static_cast<long>(durable));
        REQUIRE(found >= last);
        REQUIRE(found <= std::max(last, static_cast<long>(durable)) + static_cast<long>(at_once));
        last = found;
    }
    std::printf("note: files: %u processes killed, %ld records\n", kills, last);
    CHECK(last > 1000);
}

TEST_CASE("a second process is refused while the first one has the store, and told which one that is") {
    const test::TemporaryFolder folder;
    const std::string path = folder.path / "store";
    int told = -1;
    const pid_t child = started(path, told);
    unsigned number = 0;
    REQUIRE(::read(told, &number, sizeof number) > 0);
    mqtt::posix::FileStore store;
    store.storage_path = path.c_str();
    uint8_t byte = 1;
    CHECK(store.load(&byte, 1) == storage::locked);
    CHECK(store.storage_holder() == child);
    CHECK(store.save(&byte, 1) == storage::misused);
    CHECK(store.erase_storage() == storage::locked);
    ::kill(child, SIGKILL);
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {}
    ::close(told);
    Records records;
    CHECK(test::load_all(store, records) == 0);   // now it is free
    CHECK(last_of(records) >= static_cast<long>(number));
}
