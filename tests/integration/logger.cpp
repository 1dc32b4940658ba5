// examples/logger.cpp as a user runs it, against mosquitto: brokers that go and come, SIGKILL, damaged stores, full memory.
//
// MQTT_EXAMPLES names the folder that it is in (tests/meson.build sets it).
#include "tests/support/device.hpp"
#include "tests/support/program.hpp"
#include "tests/support/testing.hpp"

#include <fstream>
#include <memory>
#include <string>
#include <vector>

using test::Mosquitto;
using test::Program;

namespace {

constexpr int exit_caller = 2, exit_storage = 5;

#define NEEDS_MOSQUITTO \
    if (Mosquitto::program().empty()) SKIP_TEST("mosquitto is not installed")

// A broker that keeps sessions when it is stopped, a logger with a store, and who reads what it publishes.
struct Fixture {
    Fixture() : broker("persistence true\npersistence_location " + folder.path.string() + "/\n"), owner(broker.port, "owner", 4096, 65536, 5000) {}

    std::unique_ptr<Program> logger(test::Words words) {
        test::Words all{"logger", "-h", "127.0.0.1", "-p", std::to_string(broker.port), "-t", "readings", "-i", "logger",
                        "--store", (folder.path / "store").string(), "--interval", "3", "-d"};
        all.insert(all.end(), words.begin(), words.end());
        return std::make_unique<Program>(std::move(all));
    }
    void subscribe() {
        owner.connect();
        owner.subscribe("readings");
    }
    // The number in the next message.
    unsigned long next() {
        const std::string text = owner.next().payload;
        return std::stoul(text.substr(text.find(' ') + 1));
    }
    std::filesystem::path log() const { return folder.path / "store" / "log"; }

    test::TemporaryFolder folder;
    Mosquitto broker;
    test::Device<mqtt::posix::Tcp> owner;
};

// The last reading that is durable, as -d tells it.
unsigned long stored(const Program& logger) {
    const std::string err = logger.err();
    const size_t end = err.rfind('\n'), at = err.rfind("\nstored ", end);
    return at == err.npos ? 0 : std::stoul(err.substr(at + 8));
}
unsigned long stores(const Program& logger, unsigned long number) {
    REQUIRE(test::eventually([&] { return stored(logger) >= number || test::pause(); }));
    return stored(logger);
}
void kill(Program& logger) {
    logger.signal(SIGKILL);
    CHECK(logger.ends() == 128 + SIGKILL);
}
void ends_in_order(Program& logger) {
    logger.signal(SIGTERM);
    CHECK(logger.ends() == 0);
}
bool says(const Program& logger, const std::string& text) { return logger.err().find(text) != std::string::npos; }

// What the statistics printed last say.
unsigned long statistic(const Program& logger, const std::string& name) {
    const std::string out = logger.out();
    const size_t end = out.rfind(" " + name + "\n");
    return end == out.npos ? 0 : std::stoul(out.substr(end - 10));
}

// How many readings are left in the store.
unsigned long left(Fixture& fixture) {
    const auto logger = fixture.logger({"--interval", "86400000", "-q", "0"});
    CHECK(logger->tells("cannot connect"));
    const std::string err = logger->err();
    const size_t at = err.find(" readings are left");
    ends_in_order(*logger);
    return at == err.npos ? 0 : std::stoul(err.substr(err.rfind(' ', at - 1) + 1));
}

void survives(const std::string& qos) {
    Fixture fixture;
    fixture.subscribe();
    std::vector<unsigned long> durable;   // of each run: its last reading that was told to be stored
    const auto killed_after = [&](unsigned long number, const auto& meanwhile) {
        const auto logger = fixture.logger({"-q", qos});
        stores(*logger, number);
        meanwhile(*logger);
        kill(*logger);
        durable.push_back(stored(*logger));
    };
    const auto nothing = [](Program&) {};
    killed_after(20, [](Program& logger) { CHECK(says(logger, "logger: connected")); });
    killed_after(5, nothing);
    fixture.broker.process.stop();
    killed_after(30, nothing);
    killed_after(30, [&](Program& logger) {
        CHECK(says(logger, "readings are left from before"));
        REQUIRE(fixture.broker.start());
        CHECK(logger.tells("logger: connected"));
        stores(logger, stored(logger) + 30);
    });
    for (unsigned long i = 1; i <= 10; ++i) killed_after(i, nothing);
    {
        const auto logger = fixture.logger({"-q", qos});
        stores(*logger, 10);
        ends_in_order(*logger);
        durable.push_back(stored(*logger));
        fixture.broker.process.stop();
        CHECK(left(fixture) == 0);
        REQUIRE(fixture.broker.start());
    }
    // Each run begins with 1, and goes on without a gap, as far at least as was told.
    unsigned long expected = 1, twice = 0, lost = 0;
    size_t run = 0;
    while (run + 1 != durable.size() || expected <= durable.back()) {
        const unsigned long number = fixture.next();
        if (number == expected) {
            ++expected;
        } else if (number == 1 && run + 1 != durable.size() && expected > durable[run]) {
            ++run;
            expected = 2;
        } else {
            if (number < expected) ++twice;
            else ++lost;
            if (qos == "2" || number >= expected) break;
        }
    }
    CAPTURE(run);
    CAPTURE(expected);
    CHECK(run + 1 == durable.size());
    CHECK(lost == 0);
    if (qos == "2") CHECK(twice == 0);
}

}  // namespace

TEST_CASE("logger at QoS 2: each reading that was stored arrives once, in order, however logger and broker end") {
    NEEDS_MOSQUITTO;
    survives("2");
}

TEST_CASE("logger at QoS 1: each reading that was stored arrives, however logger and broker end") {
    NEEDS_MOSQUITTO;
    survives("1");
}

TEST_CASE("logger ends at SIGTERM without a broker at once, and keeps what it has") {
    NEEDS_MOSQUITTO;
    Fixture fixture;
    fixture.broker.process.stop();
    const auto logger = fixture.logger({"-q", "2"});
    stores(*logger, 10);
    ends_in_order(*logger);
    CHECK(left(fixture) >= 10);
}

TEST_CASE("logger with a store that another process has says which, and changes nothing") {
    NEEDS_MOSQUITTO;
    Fixture fixture;
    const auto logger = fixture.logger({"-q", "1"});
    stores(*logger, 1);
    const auto second = fixture.logger({});
    CHECK(second->ends() == exit_storage);
    CHECK(says(*second, "logger: another process, "));
    stores(*logger, stored(*logger) + 5);
    ends_in_order(*logger);
}

TEST_CASE("logger with a store that is damaged, or none of its own, changes nothing unless --erase-store says so") {
    NEEDS_MOSQUITTO;
    Fixture fixture;
    fixture.broker.process.stop();
    {
        const auto logger = fixture.logger({"-q", "1"});
        stores(*logger, 10);
        ends_in_order(*logger);
    }
    const std::string good = test::text_of(fixture.log());
    const auto refused = [&](const std::string& content, const test::Words& words, const char* why) {
        CAPTURE(why);
        std::ofstream(fixture.log(), std::ios::binary) << content;
        const auto logger = fixture.logger(words);
        CHECK(logger->ends() == exit_storage);
        CHECK(says(*logger, why));
        CHECK((test::text_of(fixture.log()) == content));
    };
    std::string damaged = good;
    damaged[40] = static_cast<char>(damaged[40] ^ 1);
    refused(damaged, {}, "--erase-store begins it anew");
    refused("something else, which is longer than a head", {}, "--erase-store begins it anew");
    std::ofstream(fixture.log(), std::ios::binary) << good;
    {
        const auto other = fixture.logger({"-i", "another"});
        CHECK(other->ends() == exit_caller);
        CHECK(says(*other, "--erase-store begins it anew"));
        CHECK((test::text_of(fixture.log()) == good));
    }
    CHECK(left(fixture) >= 10);
    for (const std::string& content : {damaged, std::string("something else, which is longer than a head")}) {
        std::ofstream(fixture.log(), std::ios::binary) << content;
        const auto logger = fixture.logger({"-q", "1", "--erase-store"});
        stores(*logger, 3);
        ends_in_order(*logger);
        CHECK(left(fixture) < 10000);
    }
}

TEST_CASE("logger whose memory is full: --keep all refuses new readings, latest drops the oldest, newest has one, and tells them") {
    NEEDS_MOSQUITTO;
    Fixture fixture;
    fixture.subscribe();
    fixture.broker.process.stop();
    {
        const auto logger = fixture.logger({"-q", "2", "--memory", "1"});
        CHECK(logger->tells("logger: readings are refused: "));
        ends_in_order(*logger);
        CHECK(says(*logger, "refused"));
    }
    const unsigned long kept = left(fixture);
    CHECK(kept > 3);
    {
        const auto logger = fixture.logger({"-q", "2", "--memory", "1", "--keep", "latest"});
        stores(*logger, 3 * kept);
        CHECK_FALSE(says(*logger, "readings are refused"));
        ends_in_order(*logger);
        const unsigned long last = stored(*logger);
        REQUIRE(fixture.broker.start());
        const auto sender = fixture.logger({"--interval", "86400000", "--memory", "1", "-q", "0"});
        unsigned long number = fixture.next();
        CHECK(number + kept > last);
        for (unsigned long expected = number + 1; expected <= last; ++expected) CHECK(fixture.next() == expected);
        ends_in_order(*sender);
        fixture.broker.process.stop();
    }
    {
        const auto logger = fixture.logger({"-q", "2", "--keep", "newest"});
        stores(*logger, 20);
        ends_in_order(*logger);
        CHECK(left(fixture) == 1);
    }
}

TEST_CASE("logger --max-age drops readings that have waited too long, and SIGUSR1 prints the statistics") {
    NEEDS_MOSQUITTO;
    Fixture fixture;
    fixture.broker.process.stop();
    const auto logger = fixture.logger({"-q", "1", "--max-age", "1"});
    stores(*logger, 1);   // before that, the signal may come too early
    REQUIRE(test::eventually([&] {
        logger->signal(SIGUSR1);
        return statistic(*logger, "dropped: waited too long, or made place") > 0 || test::pause();
    }));
    const unsigned long last = stores(*logger, stored(*logger) + 1);
    ends_in_order(*logger);
    const unsigned long dropped = statistic(*logger, "dropped: waited too long, or made place");
    CHECK(statistic(*logger, "waiting") + dropped == statistic(*logger, "readings"));
    CHECK(statistic(*logger, "readings") >= last);
    CHECK(left(fixture) == statistic(*logger, "waiting"));
}

TEST_CASE("logger prints at its end how it went") {
    NEEDS_MOSQUITTO;
    Fixture fixture;
    fixture.subscribe();
    const auto logger = fixture.logger({"-q", "2"});
    CHECK(logger->tells("logger: connected"));
    const unsigned long last = stores(*logger, 10);
    ends_in_order(*logger);
    const unsigned long readings = statistic(*logger, "readings");
    CHECK(readings >= last);
    CHECK(statistic(*logger, "acknowledged") == readings);
    CHECK(statistic(*logger, "waiting") == 0);
    CHECK(statistic(*logger, "connects") == 1);
    CHECK(statistic(*logger, "records saved") >= 2 * readings);   // the message, and its PUBREL
    CHECK(statistic(*logger, "syncs") > 0);
    for (unsigned long expected = 1; expected <= readings; ++expected) CHECK(fixture.next() == expected);
}

TEST_CASE("logger says what is wrong with its options") {
    const auto refuses = [](test::Words words, const char* why) {
        words.insert(words.begin(), "logger");
        Program logger(words);
        CHECK(logger.ends() == exit_caller);
        CHECK(logger.err() == std::string("logger: ") + why + "\n");
    };
    refuses({}, "-i is missing: what is stored belongs to a client id");
    refuses({"-i", "x"}, "exactly one -t is needed: where to publish");
    refuses({"-i", "x", "-t", "t"}, "--store is missing: where to keep what is not delivered");
    refuses({"-i", "x", "-t", "t", "--store", "s", "--keep", "some"},
            "'some' is not a valid WHICH for --keep (of those that wait: all, until no more fit; the latest that fit; the newest "
            "one; default: all)");
}
