// journal [FOLDER]: what storage costs. Rows: bench, case, subject, metric, value, unit.
//   flash   on a model of flash: bytes programmed and erases per record, bytes read by a mount, against the size
//   files   FileStore in FOLDER (default: the current one; it makes and removes one of its own): records per second,
//           each made durable alone, and many with one sync()
// See also journal.sh.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "platform/file_store.hpp"
#include "tests/support/flash.hpp"

namespace {

using Clock = std::chrono::steady_clock;

void row(const std::string& what, const std::string& subject, const char* metric, double value, const char* unit) {
    std::printf("journal\t%s\t%s\t%s\t%.6g\t%s\n", what.c_str(), subject.c_str(), metric, value, unit);
    std::fflush(stdout);
}
double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// A QoS 1 message of 64 bytes in all: it is saved, and 3 bytes when it is answered; 10 are in flight at a compaction.
bool flash(const mqtt::Geometry& geometry) {
    test::Chip chip(geometry);
    mqtt::Journal<test::Flash> journal{test::Flash(chip)};
    test::Records records;
    if (test::load_all(journal, records) != 0) return false;
    const std::string publish(64, 'p'), ack(3, 'a');
    const unsigned messages = 20000;
    for (unsigned i = 0; i != messages; ++i)
        for (const std::string& record : {publish, ack}) {
            const int result = test::save(journal, record);
            if (result == mqtt::storage::full) {
                test::Records alive(10, publish);
                alive.push_back(record);
                if (test::compact(journal, alive) != 1) return false;
            } else if (result != 1) {
                return false;
            }
        }
    // Filled up, so that a mount has most to read.
    while (test::save(journal, publish) == 1) {}
    const std::string subject = std::to_string(geometry.sector_count) + " x " + std::to_string(geometry.sector_size) +
                                ", granularity " + std::to_string(geometry.granularity) +
                                (geometry.spare != 0 ? ", spare " + std::to_string(geometry.spare) : "");
    row("flash", subject, "programmed per message (64 B, and 3 B for its ack)", double(chip.programmed) / messages, "bytes");
    row("flash", subject, "erases per 1000 messages", double(chip.erases) * 1000 / messages, "erases");
    row("flash", subject, "messages per sector and 10000 erases of it", 1e4 * messages * geometry.sector_count / double(chip.erases), "messages");
    const uint64_t read = chip.read;
    const auto begin = Clock::now();
    mqtt::Journal<test::Flash> next{test::Flash(chip)};
    if (test::load_all(next, records) != 0) return false;
    row("flash", subject, "read by a mount, and all records", double(chip.read - read), "bytes");
    row("flash", subject, "the same, on this machine", seconds_since(begin) * 1e6, "us");
    row("flash", subject, "RAM: sizeof(Journal), pointers of 8 bytes", sizeof(mqtt::Journal<test::Flash>) - sizeof(test::Flash), "bytes");
    return true;
}

bool files(const std::string& folder, unsigned at_once, unsigned count) {
    const std::string path = folder + "/journal-bench-" + std::to_string(::getpid());
    bool ok = true;
    double seconds = 0;
    {
        mqtt::posix::FileStore store;
        store.storage_path = path.c_str();
        store.storage_limit = 1U << 30;
        test::Records records;
        ok = test::load_all(store, records) == 0 && test::save(store, "first") == 1 && store.sync() == 1;
        const std::string record(64, 'p');
        const auto begin = Clock::now();
        for (unsigned i = 1; ok && i <= count; ++i)
            ok = test::save(store, record) == 1 && (i % at_once != 0 || store.sync() == 1);
        seconds = seconds_since(begin);
    }
    for (const char* name : {"/log", "/log.new", "/lock"}) (void)::unlink((path + name).c_str());
    (void)::rmdir(path.c_str());
    if (ok) row("files", std::to_string(at_once) + " with one sync()", "records of 64 B", count / seconds, "per second");
    return ok;
}

}  // namespace

int main(int argc, char** argv) {
    std::printf("bench\tcase\tsubject\tmetric\tvalue\tunit\n");
    const std::string folder = argc > 1 ? argv[1] : ".";
    for (const uint32_t granularity : {1U, 8U, 32U})
        if (!flash({4096, 4, granularity})) return 1;
    for (const mqtt::Geometry& geometry : {mqtt::Geometry{2048, 2, 8}, {2048, 8, 8}, {4096, 16, 8}, {4096, 64, 8}, {4096, 256, 8}, {4096, 64, 8, 4}})
        if (!flash(geometry)) return 1;
    if (!files(folder, 1, 1000) || !files(folder, 10, 10000) || !files(folder, 100, 50000) || !files(folder, 1000, 200000)) {
        std::fprintf(stderr, "journal: FileStore failed in %s\n", folder.c_str());
        return 1;
    }
    return 0;
}
