// A port that stores: the scripted one, and a log in memory that outlives it, under a test's control.
#pragma once

#include "tests/support/peer.hpp"

#include <memory>

namespace test {

// What would be on the medium.
struct Medium {
    std::vector<std::string> log;        // what load() gives after a reset
    std::vector<std::string> cached;     // taken, and not durable
    std::vector<std::string> next;       // of a generation that is not committed
    bool compacting = false;
    int compactions = 0, syncs = 0;

    // ---- what it does
    int slow = 0;                        // this many calls answer "not yet"
    int left = 1000000;                  // after this many calls, all answer "not yet"
    int fails = 0;                       // what save, sync, compact and commit answer instead, if < 0
    size_t most = SIZE_MAX;              // records that it holds
    size_t longest = SIZE_MAX;
    int refuses = 0;                     // what load() answers instead, if < 0

    std::string half;                    // a record that save() has answered "not yet" to

    // The power is cut: what is not durable is gone.
    void cut() {
        cached.clear();
        next.clear();
        half.clear();
        compacting = false;
    }
};

struct StoringPort : ScriptedPort {
    std::shared_ptr<Medium> medium = std::make_shared<Medium>();
    size_t at = 0;
    bool all_read = false;

    int load(uint8_t* record, size_t size) {
        if (medium->refuses < 0) return medium->refuses;
        if (at == medium->log.size()) return all_read = true, 0;
        const std::string& next = medium->log[at];
        memset(record, 0xEE, size);
        if (next.size() > size) return -5;
        memcpy(record, next.data(), next.size());
        ++at;
        return static_cast<int>(next.size());
    }
    int save(const uint8_t* record, size_t size) {
        CHECK(all_read);
        CHECK(size != 0);
        const std::string bytes(reinterpret_cast<const char*>(record), size);
        if (!medium->half.empty()) CHECK_MESSAGE(hex(medium->half) == hex(bytes), "the same bytes");
        medium->half = bytes;
        if (const int result = busy(); result <= 0) return result;
        medium->half.clear();
        if (size > medium->longest) return -5;
        std::vector<std::string>& to = medium->compacting ? medium->next : medium->cached;
        const size_t there = medium->compacting ? medium->next.size() : medium->log.size() + medium->cached.size();
        if (there >= medium->most) return -2;
        to.push_back(bytes);
        return 1;
    }
    int sync() {
        CHECK(medium->half.empty());
        if (medium->compacting) return -7;
        if (const int result = busy(); result <= 0) return result;
        ++medium->syncs;
        medium->log.insert(medium->log.end(), medium->cached.begin(), medium->cached.end());
        medium->cached.clear();
        return 1;
    }
    int compact() {
        if (const int result = busy(); result <= 0) return result;
        medium->half.clear();
        medium->next.clear();
        medium->compacting = true;
        ++medium->compactions;
        return 1;
    }
    int commit() {
        CHECK(medium->half.empty());
        if (!medium->compacting) return -7;
        if (const int result = busy(); result <= 0) return result;
        medium->log = medium->next;
        medium->cached.clear();
        medium->next.clear();
        medium->compacting = false;
        return 1;
    }
    int erase_storage() {
        medium->cut();
        medium->log.clear();
        medium->refuses = 0;
        all_read = false;
        at = 0;
        return 1;
    }

private:
    int busy() {
        if (medium->fails < 0) return medium->half.clear(), medium->fails;
        if (medium->left == 0) return 0;
        if (medium->slow == 0) return --medium->left, 1;
        --medium->slow;
        return 0;
    }
};

// A session that can be switched off and on again.
class StoringSession : public BasicSession<StoringPort> {
public:
    using BasicSession::BasicSession;
    // After a power cut: the same medium, everything else is new.
    explicit StoringSession(std::shared_ptr<Medium> after, size_t rx_size = 256, size_t tx_size = 1024)
        : BasicSession(rx_size, tx_size) {
        after->cut();
        port.medium = std::move(after);
    }
    std::string log() const {
        std::string out;
        for (const std::string& record : port.medium->log) out += hex(record) + "| ";
        return out;
    }
};

}  // namespace test
