// mqtt::posix::FileStore - storage (see storage.hpp) in files, on POSIX systems.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
//     struct Port : mqtt::posix::Tcp, mqtt::posix::FileStore {};
//     Port port;
//     port.storage_path = "/var/lib/meter/session";      // a folder; it is made if it is not there, its parent must be
//
// The folder belongs to one store and one process at a time. In it:
//
//   log       the generation that counts: 16 bytes of head, then records
//   log.new   the next one, until commit(); what is left of one that was not committed is of no meaning
//   lock      locked with flock() while the store is open; has the process id of who locked it last
//
//   head      "mqttlog1", 4 bytes number of the generation, 4 bytes CRC-32 of these twelve
//   record    see storage.hpp; one of size 0 is a mark: it was written when all that stands before it was durable
//
// Durable means: fdatasync() has returned (macOS: F_FULLFSYNC). save() only writes, so records saved between two calls of
// sync() share one fsync. commit() makes log.new durable, renames it over log, and makes the folder durable. These calls
// take as long as the disk does, milliseconds as a rule: what POSIX has for disks blocks, and so does this, in
// sync(), commit(), the last load(), and the first save() of all. Where that is too long, keep the log in
// a faster place, or save in a thread.
//
// A full disk (ENOSPC, EDQUOT, EFBIG) is `full`: told by the call that met it, and what was durable stays. save() is `full`,
// too, when the log has outgrown storage_limit: that is when to compact. Then there is room on the disk for what is alive
// a second time, until commit().
//
// After a reset. What a power cut left behind the last sync() may be lost, torn, or there in part; the log ends before the
// first record of it that is not whole. A mark after such a place proves that it once was whole: then it is
// damage, and `corrupt`. What is cut off is truncated, durably, before something else is written there.
//
// Memory: about 80 bytes, no heap; a few hundred bytes of stack. Nothing is read or written before load(). Closed by the
// destructor.

#ifndef MQTT_PLATFORM_FILE_STORE_HPP
#define MQTT_PLATFORM_FILE_STORE_HPP

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "storage.hpp"

namespace mqtt {
namespace posix {

// What FileStore asks of the system: each as the call that it is named after, -1 and errno if it fails. EINTR and short
// reads and writes are the caller's to handle.
struct Disk {
    static int open(const char* folder) {
        if (::mkdir(folder, 0700) != 0 && errno != EEXIST) return -1;
        return ::open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    static int openat(int folder, const char* name, int flags) { return ::openat(folder, name, flags | O_CLOEXEC, 0600); }
    static int close(int fd) { return ::close(fd); }
    static ssize_t pread(int fd, void* data, size_t size, uint32_t at) { return ::pread(fd, data, size, static_cast<off_t>(at)); }
    static ssize_t pwritev(int fd, const iovec* parts, int count, uint32_t at) {
#if defined(__linux__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__)
        return ::pwritev(fd, parts, count, static_cast<off_t>(at));
#else
        return ::lseek(fd, static_cast<off_t>(at), SEEK_SET) < 0 ? -1 : ::writev(fd, parts, count);
#endif
    }
    static int ftruncate(int fd, uint32_t size) { return ::ftruncate(fd, static_cast<off_t>(size)); }
    static int fdatasync(int fd) {
#if defined(F_FULLFSYNC)
        return ::fcntl(fd, F_FULLFSYNC);
#elif defined(_POSIX_SYNCHRONIZED_IO) && _POSIX_SYNCHRONIZED_IO > 0
        return ::fdatasync(fd);
#else
        return ::fsync(fd);
#endif
    }
    static int fsync(int folder) { return ::fsync(folder); }
    static int renameat(int folder, const char* from, const char* to) { return ::renameat(folder, from, folder, to); }
    static int flock(int fd) { return ::flock(fd, LOCK_EX | LOCK_NB); }
    static int getpid() { return static_cast<int>(::getpid()); }
};

template <class Disk> class BasicFileStore {
public:
    Disk disk;

    // The folder. Must be set before the first call of load(), and stay until then.
    const char* storage_path = nullptr;
    // In bytes: from this size on save() asks for a compaction, by answering `full`; or, if that is more, from twice the
    // size on that the log had after the last one, so that what is alive is written twice at most. Up to 2^31 - 1.
    uint32_t storage_limit = 1U << 20;

    BasicFileStore() = default;
    BasicFileStore(const BasicFileStore&) = delete;
    BasicFileStore& operator=(const BasicFileStore&) = delete;
    ~BasicFileStore() {
        shut(log_);
        shut(lock_);
        shut(folder_);
    }

    // Why the last call failed: an errno. And after `locked`, the process that has the store; 0: not known.
    int storage_errno() const { return errno_; }
    int storage_holder() const { return holder_; }

    // These five, and erase_storage(), are described in storage.hpp. load() may also answer `locked`, or `failed` if
    // the folder cannot be used; both may be gone the next time. `failed` that stays, at the end of the records: they
    // cannot be made durable where they are; compact() and what follows still can.

    int load(uint8_t* record, size_t size) {
        if (state_ == closed) {
            const int result = mount();
            if (result < 0) return result;
        }
        while (state_ == loading) {
            const int result = load_next(record, size);
            if (result != 0) return result;
        }
        return state_ == refused || state_ == broken ? refusal_ : 0;
    }

    int save(const uint8_t* record, size_t size) {
        if (state_ < appending) return refusal_;
        if (size == 0 || size > storage::longest_record) return storage::too_large;
        if (log_ < 0) {   // the first of all
            int result = begin_generation();
            if (result > 0) result = commit_generation();
            if (result < 0) {
                shut(log_);
                state_ = appending;
                return result;
            }
        }
        if (state_ == appending && end_ >= limit()) return storage::full;
        if (end_ > longest_log - storage::frame_head - size) return storage::full;
        return append(record, size);
    }

    int sync() {
        if (state_ != appending) return refusal();
        if (synced_) return 1;
        if (!retried([&] { return disk.fdatasync(log_); })) return broken_by();   // what it did write nobody knows
        synced_ = true;
        mark();
        return 1;
    }

    int compact() { return state_ < broken ? refusal_ : begin_generation(); }
    int commit() { return state_ != compacting ? refusal() : commit_generation(); }

    int erase_storage() {
        if (state_ == closed) {
            const int result = mount();
            if (state_ == closed) return result;
        }
        const int result = begin_generation();
        return result < 0 ? result : commit_generation();
    }

private:
    enum State : uint8_t { closed, loading, refused, broken, appending, compacting };
    static constexpr uint32_t head_size = 16;
    static constexpr uint32_t longest_log = 0x7FFFFFFF;
    static constexpr char magic[9] = "mqttlog1";

    int refusal() const { return state_ < appending ? refusal_ : int{storage::misused}; }
    int refuse(State state, int why) {
        state_ = state;
        return refusal_ = why;
    }
    int failure() {
        errno_ = errno;
        return errno_ == ENOSPC || errno_ == EDQUOT || errno_ == EFBIG ? storage::full : storage::failed;
    }
    int not_read() {   // a full disk is none of load()'s business, even if it cannot make its lock because of that
        errno_ = errno;
        return storage::failed;
    }
    int broken_by() { return refuse(broken, failure()); }
    // Until no signal comes in between.
    template <class Call> static bool retried(Call call) {
        while (call() < 0)
            if (errno != EINTR) return false;
        return true;
    }
    // (No member has a name that a socket's port has, so that the two can be bases of one.)
    void shut(int& fd) {
        if (fd >= 0) disk.close(fd);
        fd = -1;
    }
    int open_file(const char* name, int flags) {
        int fd = -1;
        (void)retried([&] { return fd = disk.openat(folder_, name, flags); });
        return fd;
    }
    // Some file systems cannot make a folder durable, and say EINVAL; then it is not needed, or nothing helps.
    bool sync_folder(int folder) {
        return retried([&] { return disk.fsync(folder); }) || errno == EINVAL;
    }
    uint32_t seed() const { return storage::seed(generation_, end_); }
    uint32_t limit() const {
        const uint32_t grown = committed_ < longest_log / 2 ? 2 * committed_ : longest_log;
        return grown > storage_limit ? grown : storage_limit;
    }

    // ---- reading

    // How many bytes there are, up to `size`; < 0: it cannot be read.
    int64_t read_at(int fd, uint8_t* data, size_t size, uint32_t at) {
        size_t done = 0;
        while (done < size) {
            ssize_t n = 0;
            if (!retried([&] { return n = disk.pread(fd, data + done, size - done, at + static_cast<uint32_t>(done)); })) {
                errno_ = errno;
                return -1;
            }
            if (n == 0) break;
            done += static_cast<size_t>(n);
        }
        return static_cast<int64_t>(done);
    }

    int mount() {
        if (storage_path == nullptr) return storage::misused;
        if (folder_ < 0) {
            if (!retried([&] { return folder_ = disk.open(storage_path); })) return not_read();
        }
        if (lock_ < 0) {
            int fd = open_file("lock", O_RDWR | O_CREAT);
            if (fd < 0) return not_read();
            char text[12] = {};
            if (!retried([&] { return disk.flock(fd); })) {
                const bool other = errno == EWOULDBLOCK || errno == EAGAIN;
                const int result = other ? int{storage::locked} : not_read();
                holder_ = read_at(fd, reinterpret_cast<uint8_t*>(text), sizeof text - 1, 0) > 0 ? atoi(text) : 0;
                shut(fd);
                return result;
            }
            lock_ = fd;
            // For whoever is refused; it needs not be durable, and may fail.
            const int length = snprintf(text, sizeof text, "%d\n", disk.getpid());
            const iovec line{text, static_cast<size_t>(length)};
            (void)disk.ftruncate(lock_, 0);
            (void)disk.pwritev(lock_, &line, 1, 0);
        }
        log_ = open_file("log", O_RDWR);
        if (log_ < 0 && errno != ENOENT) return not_read();
        if (log_ < 0) {
            state_ = appending;
            return 0;
        }
        uint8_t head[head_size];
        const int64_t n = read_at(log_, head, sizeof head, 0);
        if (n < 0) return given_up();
        if (n != head_size || memcmp(head, magic, 8) != 0) return refuse(refused, storage::foreign);
        if (storage::get_u32(head + 12) != storage::crc32(0, head, 12)) return refuse(refused, storage::corrupt);
        generation_ = storage::get_u32(head + 8);
        end_ = committed_ = head_size;
        state_ = loading;
        return 1;
    }
    int given_up() {   // another attempt may succeed
        shut(log_);
        return storage::failed;
    }

    // > 0: the size of a record; 0: look again at state_.
    int load_next(uint8_t* record, size_t size) {
        uint8_t head[storage::frame_head];
        const int64_t n = read_at(log_, head, sizeof head, end_);
        if (n < 0) return storage::failed;
        uint32_t length = 0;
        if (n == sizeof head && storage::get_frame_size(head, length) && length <= longest_log - sizeof head - end_) {
            uint32_t crc = storage::crc32(seed(), head, 4);
            uint8_t piece[512];
            uint32_t done = 0;
            while (done != length) {
                uint8_t* const to = length <= size ? record + done : piece;
                const uint32_t most = length <= size ? length : sizeof piece;
                const uint32_t wanted = length - done < most ? length - done : most;
                const int64_t got = read_at(log_, to, wanted, end_ + uint32_t{sizeof head} + done);
                if (got < 0) return storage::failed;
                crc = storage::crc32(crc, to, static_cast<size_t>(got));
                done += static_cast<uint32_t>(got);
                if (got != wanted) break;
            }
            if (done == length && crc == storage::get_u32(head + 4)) {
                if (length > size) return storage::too_large;
                end_ += uint32_t{sizeof head} + length;
                return static_cast<int>(length);   // 0: a mark
            }
        }
        // No record, so here it ends: what follows was never durable, or else there is a mark after it.
        ragged_ = n != 0;
        if (ragged_) {
            const int found = mark_after();
            if (found < 0) return storage::failed;
            if (found > 0) return refuse(refused, storage::corrupt);
        }
        // It may be in the system's memory only, if a process ended and no power was cut. From here on it is relied on.
        // If that fails, it may be gone from the disk and yet be read; then only a new generation helps.
        if (!retried([&] { return disk.fdatasync(log_); }) || !sync_folder(folder_)) return refuse(broken, not_read());
        state_ = appending;
        return 0;
    }
    // Is there a mark anywhere behind this place?
    int mark_after() {
        uint8_t window[512];
        size_t have = 0;
        for (uint32_t at = end_ + 1;;) {   // of the window
            const int64_t n = read_at(log_, window + have, sizeof window - have, at + static_cast<uint32_t>(have));
            if (n < 0) return -1;
            have += static_cast<size_t>(n);
            if (have < storage::frame_head) return 0;
            size_t i = 0;
            for (; i + storage::frame_head <= have; ++i) {
                uint8_t expected[storage::frame_head];
                storage::put_frame(expected, storage::seed(generation_, at + static_cast<uint32_t>(i)), nullptr, 0);
                if (memcmp(expected, window + i, sizeof expected) == 0) return 1;
            }
            if (n == 0) return 0;
            memmove(window, window + i, have - i);
            at += static_cast<uint32_t>(i);
            have -= i;
        }
    }

    // ---- writing

    bool write_at(iovec* parts, int count, uint32_t at) {
        while (count != 0) {
            ssize_t n = 0;
            if (!retried([&] { return n = disk.pwritev(log_, parts, count, at); })) return false;
            at += static_cast<uint32_t>(n);
            size_t left = static_cast<size_t>(n);
            while (count != 0 && left >= parts->iov_len) {
                left -= parts->iov_len;
                ++parts;
                --count;
            }
            if (count == 0) break;
            parts->iov_base = static_cast<uint8_t*>(parts->iov_base) + left;
            parts->iov_len -= left;
        }
        return true;
    }
    int append(const uint8_t* record, size_t size) {
        if (ragged_) {   // else parts of what was cut off could come to stand behind what is written now
            if (!retried([&] { return disk.ftruncate(log_, end_); }) || !retried([&] { return disk.fdatasync(log_); }))
                return failure();
            ragged_ = false;
        }
        uint8_t head[storage::frame_head];
        storage::put_frame(head, seed(), record, size);
        iovec parts[2] = {{head, sizeof head}, {const_cast<uint8_t*>(record), size}};
        if (!write_at(parts, size != 0 ? 2 : 1, end_)) {
            ragged_ = true;
            return failure();
        }
        end_ += static_cast<uint32_t>(sizeof head + size);
        if (size != 0) synced_ = false;
        return 1;
    }
    // All that was written is durable. If it cannot be written, it is missed only if something is damaged.
    void mark() {
        if (!ragged_ && end_ <= longest_log - storage::frame_head) (void)append(nullptr, 0);
    }

    int begin_generation() {
        shut(log_);
        log_ = open_file("log.new", O_RDWR | O_CREAT | O_TRUNC);
        if (log_ < 0) return broken_by();
        ++generation_;
        uint8_t head[head_size];
        memcpy(head, magic, 8);
        storage::put_u32(head + 8, generation_);
        storage::put_u32(head + 12, storage::crc32(0, head, 12));
        iovec part{head, sizeof head};
        if (!write_at(&part, 1, 0)) return broken_by();
        end_ = head_size;
        ragged_ = false;
        state_ = compacting;
        return 1;
    }
    int commit_generation() {
        if (!retried([&] { return disk.fdatasync(log_); })) return broken_by();
        if (!retried([&] { return disk.renameat(folder_, "log.new", "log"); })) return broken_by();
        if (!sync_folder(folder_)) return broken_by();
        if (committed_ == 0) {   // the folder itself may be new
            int parent = open_file("..", O_RDONLY | O_DIRECTORY);
            const bool durable = parent < 0 || sync_folder(parent);
            if (!durable) {
                const int result = broken_by();
                shut(parent);
                return result;
            }
            shut(parent);
        }
        committed_ = end_;
        state_ = appending;
        synced_ = true;
        mark();
        return 1;
    }

    int folder_ = -1, lock_ = -1, log_ = -1;
    int errno_ = 0, holder_ = 0;
    uint32_t generation_ = 0;
    uint32_t end_ = 0;         // of what is whole in the log
    uint32_t committed_ = 0;   // the log's size after the last compaction
    State state_ = closed;
    int refusal_ = storage::misused;   // what is answered before `appending`
    bool synced_ = true;       // nothing was saved since sync()
    bool ragged_ = false;      // the file may go on behind end_
};

using FileStore = BasicFileStore<Disk>;

}  // namespace posix
}  // namespace mqtt

#endif  // MQTT_PLATFORM_FILE_STORE_HPP
