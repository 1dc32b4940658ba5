// Counts the system calls that move data or wait for it, of this program and of the shared libraries in it: it defines
// libc's functions for them, and the dynamic linker finds these first. Nothing is slowed down, as it is by strace.
// Not seen: what libc does by itself, like waiting for a mutex.
#pragma once

#include <dlfcn.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>

namespace bench {
inline std::atomic<unsigned long> system_calls{0};
inline std::atomic<unsigned long> syncs{0};       // those of them that wait for a disk
inline std::atomic<bool> without_syncs{false};    // they do nothing then
}

#define BENCH_COUNTED(result, name, parameters, arguments)                                              \
    extern "C" __attribute__((visibility("default"))) result name parameters {                          \
        static const auto next = reinterpret_cast<result(*) parameters>(::dlsym(RTLD_NEXT, #name));     \
        bench::system_calls.fetch_add(1, std::memory_order_relaxed);                                    \
        return next arguments;                                                                          \
    }
BENCH_COUNTED(ssize_t, read, (int fd, void* data, size_t size), (fd, data, size))
BENCH_COUNTED(ssize_t, write, (int fd, const void* data, size_t size), (fd, data, size))
BENCH_COUNTED(ssize_t, readv, (int fd, const iovec* parts, int count), (fd, parts, count))
BENCH_COUNTED(ssize_t, writev, (int fd, const iovec* parts, int count), (fd, parts, count))
BENCH_COUNTED(ssize_t, recv, (int fd, void* data, size_t size, int flags), (fd, data, size, flags))
BENCH_COUNTED(ssize_t, send, (int fd, const void* data, size_t size, int flags), (fd, data, size, flags))
BENCH_COUNTED(ssize_t, recvmsg, (int fd, msghdr* message, int flags), (fd, message, flags))
BENCH_COUNTED(ssize_t, sendmsg, (int fd, const msghdr* message, int flags), (fd, message, flags))
BENCH_COUNTED(int, poll, (pollfd* list, nfds_t count, int timeout), (list, count, timeout))
BENCH_COUNTED(int, ppoll, (pollfd* list, nfds_t count, const timespec* timeout, const sigset_t* mask),
              (list, count, timeout, mask))
BENCH_COUNTED(int, select, (int count, fd_set* read, fd_set* write, fd_set* error, timeval* timeout),
              (count, read, write, error, timeout))
BENCH_COUNTED(int, pselect, (int count, fd_set* read, fd_set* write, fd_set* error, const timespec* timeout,
              const sigset_t* mask), (count, read, write, error, timeout, mask))
BENCH_COUNTED(int, epoll_wait, (int fd, epoll_event* events, int count, int timeout), (fd, events, count, timeout))
BENCH_COUNTED(ssize_t, pwritev, (int fd, const iovec* parts, int count, off_t at), (fd, parts, count, at))
#undef BENCH_COUNTED

#define BENCH_COUNTED(name)                                                                             \
    extern "C" __attribute__((visibility("default"))) int name(int fd) {                                \
        static const auto next = reinterpret_cast<int (*)(int)>(::dlsym(RTLD_NEXT, #name));             \
        if (bench::without_syncs) return 0;                                                             \
        bench::system_calls.fetch_add(1, std::memory_order_relaxed);                                    \
        bench::syncs.fetch_add(1, std::memory_order_relaxed);                                           \
        return next(fd);                                                                                \
    }
BENCH_COUNTED(fsync)
BENCH_COUNTED(fdatasync)
#undef BENCH_COUNTED
