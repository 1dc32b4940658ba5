// A model of a disk for FileStore: it has what the system sees, what is durable, and what is on its way from the one to the
// other; it tells of each call that changes something, and fails when told to. And every state that a power cut may leave.
#ifndef MQTT_TESTS_SUPPORT_DISK_HPP
#define MQTT_TESTS_SUPPORT_DISK_HPP

#include "platform/file_store.hpp"
#include "tests/support/random.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace test {

using Bytes = std::vector<uint8_t>;

struct Write {
    size_t at = 0;
    Bytes bytes;
    bool truncates = false;   // to `at` bytes

    void apply(Bytes& file) const {
        if (truncates || file.size() < at + bytes.size()) file.resize(truncates ? at : at + bytes.size());
        std::copy(bytes.begin(), bytes.end(), file.begin() + static_cast<long>(at));
    }
};
struct File {
    Bytes bytes;                  // as the system sees it
    Bytes durable;                // as the disk has it
    std::vector<Write> pending;   // what makes the one of the other, not yet on the disk
};
using Folder = std::map<std::string, size_t>;   // names, and which file it is

struct NameChange {
    std::string gone;   // renamed from; empty: created
    std::string name;
    size_t file = 0;
};

struct World {
    std::vector<File> files;
    Folder names, durable_names;
    std::vector<NameChange> pending_names;
    std::vector<size_t> open_files;   // by descriptor - first_fd
    unsigned calls = 0;               // that change something
    std::function<void()> after;      // one of these, before it returns
    std::function<int(const char* call)> refuse;   // an errno: it fails instead
    size_t longest_write = SIZE_MAX;
    unsigned interrupted = 0;         // one call in so many fails with EINTR

    static constexpr int first_fd = 100, folder_fd = 50, parent_fd = 51;

    // After a power cut, when these were the states of the folder and of each file.
    static World after_cut(const Folder& names, const std::vector<Bytes>& files) {
        World world;
        world.names = world.durable_names = names;
        for (const Bytes& bytes : files) world.files.push_back({bytes, bytes, {}});
        return world;
    }
    // After the process was killed, the system and its memory live on.
    World after_kill() const {
        World world = *this;
        world.after = nullptr;
        world.refuse = nullptr;
        world.open_files.clear();
        return world;
    }
};

// The calls of mqtt::posix::Disk.
struct ModelDisk {
    World* world = nullptr;

    int refused(const char* call, bool changes) const {
        if (world->interrupted != 0 && ++interrupts % world->interrupted == 0) return errno = EINTR;
        if (changes) ++world->calls;
        errno = world->refuse && changes ? world->refuse(call) : 0;
        return errno;
    }
    int done(int result = 0) const {
        if (world->after) world->after();
        return result;
    }
    File& file(int fd) const { return world->files[world->open_files.at(static_cast<size_t>(fd - World::first_fd))]; }

    int open(const char*) const { return World::folder_fd; }
    int openat(int, const char* name, int flags) const {
        if (std::string(name) == "..") return World::parent_fd;
        if (refused("open", (flags & O_CREAT) != 0)) return -1;
        const auto found = world->names.find(name);
        if (found == world->names.end() && (flags & O_CREAT) == 0) return errno = ENOENT, -1;
        size_t number = world->files.size();
        if (found != world->names.end()) {
            number = found->second;
        } else {
            world->files.emplace_back();
            world->names[name] = number;
            world->pending_names.push_back({"", name, number});
        }
        if ((flags & O_TRUNC) != 0) change(world->files[number], {0, {}, true});
        world->open_files.push_back(number);
        const int fd = World::first_fd + static_cast<int>(world->open_files.size()) - 1;
        return (flags & O_CREAT) != 0 ? done(fd) : fd;
    }
    int close(int) const { return 0; }
    ssize_t pread(int fd, void* data, size_t size, uint32_t at) const {
        if (refused("read", false)) return -1;
        const Bytes& bytes = file(fd).bytes;
        if (at >= bytes.size()) return 0;
        const size_t n = std::min({size, bytes.size() - at, world->longest_write});
        std::copy_n(bytes.begin() + at, n, static_cast<uint8_t*>(data));
        return static_cast<ssize_t>(n);
    }
    ssize_t pwritev(int fd, const iovec* parts, int count, uint32_t at) const {
        if (refused("write", true)) return -1;
        Bytes bytes;
        for (int i = 0; i != count; ++i) {
            const uint8_t* const data = static_cast<const uint8_t*>(parts[i].iov_base);
            bytes.insert(bytes.end(), data, data + parts[i].iov_len);
        }
        if (bytes.size() > world->longest_write) bytes.resize(world->longest_write);
        change(file(fd), {at, bytes, false});
        return done(), static_cast<ssize_t>(bytes.size());
    }
    int ftruncate(int fd, uint32_t size) const {
        if (refused("truncate", true)) return -1;
        change(file(fd), {size, {}, true});
        return done();
    }
    int fdatasync(int fd) const {
        File& synced = file(fd);
        if (const int error = refused("sync", true)) {
            if (error != EINTR) synced.pending.clear();   // the system has given up on them, and says so once
            return -1;
        }
        for (const Write& write : synced.pending) write.apply(synced.durable);
        synced.pending.clear();
        return done();
    }
    int fsync(int fd) const {
        if (refused("sync folder", true)) return -1;
        if (fd == World::folder_fd) {
            world->durable_names = world->names;
            world->pending_names.clear();
        }
        return done();
    }
    int renameat(int, const char* from, const char* to) const {
        if (refused("rename", true)) return -1;
        world->names[to] = world->names.at(from);
        world->names.erase(from);
        world->pending_names.push_back({from, to, world->names[to]});
        return done();
    }
    int flock(int) const { return 0; }
    static int getpid() { return 1; }

    static void change(File& file, Write write) {
        write.apply(file.bytes);
        file.pending.push_back(std::move(write));
    }
    static inline unsigned interrupts = 0;
};
// ---- every state that a power cut may leave

// Of a file: each subset of what was not synced; each write torn at each byte, and behind that as it was, or anything.
inline void states_of(const File& file, wire::Random& random, std::vector<Bytes>& states) {
    const size_t count = file.pending.size();
    const auto some = [&](uint64_t which, size_t torn, size_t at, bool garbage) {
        Bytes bytes = file.durable;
        for (size_t i = 0; i != count; ++i) {
            Write write = file.pending[i];
            if ((which >> i & 1) == 0) continue;
            if (i == torn && garbage)
                for (size_t k = at; k < write.bytes.size(); ++k) write.bytes[k] = random.octet();
            if (i == torn && !garbage) {
                if (write.truncates) continue;
                write.bytes.resize(at);
            }
            write.apply(bytes);
        }
        states.push_back(bytes);
    };
    const uint64_t all = (uint64_t{1} << count) - 1;
    if (count <= 6) {
        for (uint64_t which = 0; which <= all; ++which) some(which, count, 0, false);
    } else {
        for (int i = 0; i != 64; ++i) some(random.next() & all, count, 0, false);
        some(all, count, 0, false);
    }
    for (size_t torn = 0; torn != count; ++torn)
        for (size_t at = 0; at < file.pending[torn].bytes.size(); ++at) {
            some((uint64_t{2} << torn) - 1, torn, at, false);   // those before it are there, later ones are not
            some((uint64_t{2} << torn) - 1, torn, at, true);
            some(all, torn, at, random.below(2) == 0);
        }
    if (count == 0 || file.bytes.size() <= file.durable.size()) return;
    Bytes longer = file.durable;   // it has its size, but not its bytes
    longer.resize(file.bytes.size());
    states.push_back(longer);
}
inline std::vector<Folder> states_of_names(const World& world) {
    std::vector<Folder> states;
    for (uint64_t which = 0; which != uint64_t{1} << world.pending_names.size(); ++which) {
        Folder names = world.durable_names;
        for (size_t i = 0; i != world.pending_names.size(); ++i) {
            const NameChange& change = world.pending_names[i];
            if ((which >> i & 1) == 0) continue;
            names.erase(change.gone);
            names[change.name] = change.file;
        }
        states.push_back(names);
    }
    return states;
}

// Calls `leave` with every state that the disk may be in if the power is cut now.
template <class Leave> void for_each_crash_state(const World& world, wire::Random& random, Leave leave) {
    for (const Folder& names : states_of_names(world)) {
        const auto log = names.find("log");
        std::vector<Bytes> states;
        if (log == names.end())
            states.emplace_back();
        else
            states_of(world.files[log->second], random, states);
        std::vector<Bytes> files;
        for (const File& file : world.files) files.push_back(file.durable);
        for (const Bytes& state : states) {
            if (log != names.end()) files[log->second] = state;
            leave(World::after_cut(names, files));
        }
    }
}

}  // namespace test

#endif
