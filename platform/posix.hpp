// mqtt::posix::Tcp - a TCP connection on POSIX sockets (Linux, macOS, the BSDs), as a port for mqtt::Client.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
//     mqtt::posix::Tcp port;
//     mqtt::Client client(port, {rx, tx});
//     (void)client.connect(options);
//     while (true) {
//         switch (client.poll().kind) {
//         case mqtt::Event::disconnected: std::fprintf(stderr, "lost: %s\n", port.error_text()); break;
//         // ... the other events ...
//         default: port.wait(client.idle_ms(), client.wants_write());     // sleeps until there is work
//         }
//     }
//
// Link with -pthread. Nothing here blocks except wait(). IPv4 and IPv6; every address of a name is tried in order.
// A Tcp belongs to one thread at a time; different ones are independent. No SIGPIPE is ever raised.
//
// Names. getaddrinfo() may block for half a minute, and POSIX has no other resolver. So it runs in a detached thread
// of its own, on a small request object that the thread and the port share by reference count. When it is done it
// writes a byte into a pipe, which wakes wait(). close() just lets go of the request: getaddrinfo() cannot be
// cancelled, and joining would block. The thread then frees the request when getaddrinfo() returns; until then an
// abandoned request keeps its thread and the pipe's two descriptors.
//
// Memory. Only resolving allocates: the request (about 350 bytes), the thread's stack, and what getaddrinfo() itself
// takes, also for a numeric address. All of it is free again once the connection is open.

#ifndef MQTT_PLATFORM_POSIX_HPP
#define MQTT_PLATFORM_POSIX_HPP

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#if __has_include(<sys/random.h>)
#include <sys/random.h>
#endif

#include <atomic>
#include <new>
#include <string_view>

namespace mqtt {
namespace posix {

// The signatures of ::getaddrinfo, ::freeaddrinfo and ::pthread_create.
using Resolve = int(const char* host, const char* service, const addrinfo* hints, addrinfo** addresses);
using Release = void(addrinfo* addresses);
using StartThread = int(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*), void* argument);

namespace detail {

#if defined(SOCK_CLOEXEC) && defined(SOCK_NONBLOCK)
inline constexpr int socket_flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
#else
inline constexpr int socket_flags = 0;                     // macOS: set afterwards, with fcntl
#endif

#if defined(MSG_NOSIGNAL)
inline constexpr int send_flags = MSG_NOSIGNAL;
#else
inline constexpr int send_flags = 0;
#endif

#if defined(SO_NOSIGPIPE)
inline constexpr int no_sigpipe_option = SO_NOSIGPIPE;
#else
inline constexpr int no_sigpipe_option = -1;
#endif

static_assert(send_flags != 0 || no_sigpipe_option != -1, "this system cannot send without SIGPIPE");

// recv() and send() tell a length that int must hold.
inline size_t clamped(size_t size) { return size < size_t(INT_MAX) ? size : size_t(INT_MAX); }

// EAGAIN and EWOULDBLOCK are one number on most systems, but need not be.
inline bool not_yet(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

inline bool set_nonblocking_cloexec(int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

inline bool make_pipe(int (&ends)[2]) {
#if defined(SOCK_CLOEXEC)                                  // whoever has this has pipe2(); macOS has neither
    return ::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0;
#else
    return ::pipe(ends) == 0 && set_nonblocking_cloexec(ends[0]) && set_nonblocking_cloexec(ends[1]);
#endif
}

// Polls one descriptor, and tells which events came; 0: none. A negative fd, or no events, only sleeps; a negative
// timeout_ms means for ever.
inline short poll_one(int fd, short events, int timeout_ms) {
    pollfd entry{};
    entry.fd = events != 0 ? fd : -1;
    entry.events = events;
    return ::poll(&entry, 1, timeout_ms) > 0 ? entry.revents : short(0);
}

inline uint32_t monotonic_ms() {
    timespec now{};
    (void)::clock_gettime(CLOCK_MONOTONIC, &now);
    return uint32_t(uint64_t(now.tv_sec) * 1000 + uint64_t(now.tv_nsec) / 1000000);
}

// Fills `data` from the kernel's generator without blocking, which early after boot getrandom() would.
inline bool system_entropy(void* data, size_t size) {
#if defined(GRND_NONBLOCK)
    return ::getrandom(data, size, GRND_NONBLOCK) == ssize_t(size);
#elif defined(__APPLE__) || defined(__OpenBSD__) || defined(__NetBSD__)
    return ::getentropy(data, size) == 0;
#else
    (void)data;
    (void)size;
    return false;
#endif
}

inline bool device_entropy(void* data, size_t size) {
    const int fd = ::open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool ok = ::read(fd, data, size) == ssize_t(size);
    ::close(fd);
    return ok;
}

// One name being resolved; shared by the port and the thread.
struct Lookup {
    std::atomic<int>  users{2};                            // the last to leave deletes it
    std::atomic<bool> done{false};                         // set once the fields of the answer hold
    // Both ends live as long as the object, so that the thread never writes into a pipe without a reader (SIGPIPE).
    // A byte and not just closing the end: a forked child would hold a copy of it open.
    int      wake[2] = {-1, -1};
    Resolve* resolve = nullptr;
    Release* release = nullptr;
    char     host[256] = {};                               // the longest name of the DNS is 253
    char     service[8] = {};
    // The answer.
    int       result = 0;                                  // 0 or EAI_*
    int       system_error = 0;                            // errno, for EAI_SYSTEM
    addrinfo* addresses = nullptr;

    Lookup() = default;
    Lookup(const Lookup&) = delete;
    Lookup& operator=(const Lookup&) = delete;
    ~Lookup() {
        if (wake[0] >= 0) ::close(wake[0]);
        if (wake[1] >= 0) ::close(wake[1]);
        if (addresses != nullptr) release(addresses);
    }

    void leave() {
        if (users.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
    }
};

inline addrinfo hints_for_tcp(int flags) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_protocol = IPPROTO_TCP;
    // Without AI_ADDRCONFIG: it hides 127.0.0.1 and ::1 on a host that is off the net. An address of a family without
    // a route fails at once anyway, and the next one is tried.
    hints.ai_flags = flags | AI_NUMERICSERV;
    return hints;
}

// The resolver thread.
inline void* look_up(void* argument) {
    Lookup* const  lookup = static_cast<Lookup*>(argument);
    const addrinfo hints = hints_for_tcp(0);
    addrinfo*      addresses = nullptr;
    lookup->result = lookup->resolve(lookup->host, lookup->service, &hints, &addresses);
    lookup->system_error = errno;
    if (lookup->result == 0) lookup->addresses = addresses;
    lookup->done.store(true, std::memory_order_release);
    const char byte = 0;
    while (::write(lookup->wake[1], &byte, 1) < 0 && errno == EINTR) {}
    lookup->leave();
    return nullptr;
}

// Starts a detached thread that takes no signals: those are for the application's threads, where they end wait().
// Returns 0 or an errno.
inline int start_detached(StartThread* start, void* (*run)(void*), void* argument) {
    pthread_attr_t attributes;
    const int      error = ::pthread_attr_init(&attributes);
    if (error != 0) return error;
    (void)::pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigset_t all;
    sigset_t before;
    (void)::sigfillset(&all);
    (void)::pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    const int started = start(&thread, &attributes, run, argument);
    (void)::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    (void)::pthread_attr_destroy(&attributes);
    return started;
}

}  // namespace detail

class Tcp {
public:
    // How long an address may stay silent, in ms, before the next one of the same name is tried. The last one is given
    // all the time that the caller and the system allow. 0: each open() that finds it still silent moves on.
    uint32_t address_timeout_ms = 3000;

    // What resolves names: replaceable, for tests and for another resolver. Read when open() starts. `resolve` is
    // called in a thread of its own, and only for what is not a numeric address; `release` in any thread, also after
    // this object is gone. `start_thread` gets the attributes of a detached thread.
    Resolve*     resolve = ::getaddrinfo;
    Release*     release = ::freeaddrinfo;
    StartThread* start_thread = ::pthread_create;

    Tcp() = default;
    Tcp(const Tcp&) = delete;
    Tcp& operator=(const Tcp&) = delete;
    ~Tcp() { close(); }

    // Starts connecting, and continues when called again. > 0: open; 0: not yet, call again after wait(); < 0: failed,
    // closed, see error(). Only the first call looks at the arguments. `host` is a name, an IPv4 or an IPv6 address,
    // the latter also in brackets; it need not outlive the call nor end in 0. `port`: 1 to 65535.
    int open(std::string_view host, uint16_t port) {
        if (state_ == State::open) return 1;
        if (state_ == State::idle && !start(host, port)) return -1;
        if (state_ == State::resolving) {
            if (!lookup_->done.load(std::memory_order_acquire)) return 0;
            if (!take_addresses()) return -1;
        }
        return continue_connecting();
    }

    // Reads up to `size` bytes. > 0: how many; 0: none yet, or `size` is 0; < 0: the connection is lost, see error(),
    // or was never open. What the peer sent before it closed is read first.
    int read(uint8_t* data, size_t size) {
        if (state_ != State::open) return -1;
        if (size == 0) return 0;                           // recv() would answer 0, as it does at the end
        unread_ = false;
        while (true) {
            const ssize_t n = ::recv(fd_, data, detail::clamped(size), 0);
            if (n > 0) return int(n);
            if (n == 0) return fail(Blame::peer, ENOTCONN);
            if (errno == EINTR) continue;
            return detail::not_yet(errno) ? 0 : fail(Blame::system, errno);
        }
    }

    // Writes up to `size` bytes, often fewer. > 0: how many; 0: none now, wait for room; < 0: the connection is lost,
    // see error(), or was never open; there may still be something to read. The bytes are the system's after the call.
    int write(const uint8_t* data, size_t size) {
        if (state_ != State::open) return -1;
        if (size == 0) return 0;
        while (true) {
            const ssize_t n = ::send(fd_, data, detail::clamped(size), detail::send_flags);
            if (n >= 0) return int(n);
            if (errno == EINTR) continue;
            return detail::not_yet(errno) ? 0 : fail(Blame::system, errno);
        }
    }

    // Closes what there is: the connection, an attempt to connect, the wait for a name. At any time, also twice; does
    // not block. What was written is still sent, unless bytes from the peer are left unread: then TCP resets the
    // connection, and what is under way may be lost. Keeps error(). open() may follow at once.
    void close() {
        if (lookup_ != nullptr) lookup_->leave();
        lookup_ = nullptr;
        close_socket();
        free_addresses();
        state_ = State::idle;
    }

    // Milliseconds of CLOCK_MONOTONIC: never goes back, wraps at 2^32.
    uint32_t now_ms() { return detail::monotonic_ms(); }

    // 32 bits from the kernel's generator; does not block. For reconnect jitter, not for keys: where the kernel gives
    // none (no system call and no /dev/urandom), time and process id must do.
    uint32_t random() {
        uint32_t value = 0;
        if (detail::system_entropy(&value, sizeof value)) return value;
        if (detail::device_entropy(&value, sizeof value)) return value;
        timespec now{};
        (void)::clock_gettime(CLOCK_REALTIME, &now);
        return (uint32_t(now.tv_nsec) ^ (uint32_t(now.tv_sec) << 20) ^ (uint32_t(::getpid()) << 12)) * 2654435761u;
    }

    // Sleeps in one poll(2) until there is something to do, at most `idle_ms` milliseconds (0xFFFFFFFF: for ever).
    // True: the connection is readable, or writable while `wants_write`; the attempt to connect has ended; the name is
    // resolved. False: the time is over, a signal handler ran (EINTR), or the next address is due. Without a socket,
    // as during back-off, it sleeps that long. Either way: poll the client again, then wait again.
    // A client that cannot take what has come does not read; then input does not wake it, either: what was readable at the
    // last wait() and has not been read since is not waited for.
    bool wait(uint32_t idle_ms, bool wants_write) {
        if (state_ == State::connecting && next_ != nullptr) {
            const uint32_t left = address_time_left_ms();
            if (left < idle_ms) idle_ms = left;
        }
        int timeout_ms = -1;
        if (idle_ms != 0xFFFFFFFF) timeout_ms = idle_ms < uint32_t(INT_MAX) ? int(idle_ms) : INT_MAX;
        const short came = detail::poll_one(fd(), events(wants_write, !unread_), timeout_ms);
        unread_ = unread_ || (state_ == State::open && (came & POLLIN) != 0);
        return came != 0;
    }

    // For another event loop than wait(): the descriptor to watch, and the poll(2) events to watch it for. fd() is the
    // socket; while a name is being resolved, the read end of a pipe, to be watched and never read; -1 when there is
    // none. Both change whenever open() or close() ran, so ask again after each poll of the client, and register
    // anew even if the number is the same: it may be another file. While connecting, poll the client every
    // address_timeout_ms at least.
    int fd() const { return state_ == State::resolving ? lookup_->wake[0] : fd_; }
    short events(bool wants_write, bool wants_read = true) const {
        switch (state_) {
        case State::idle:       return 0;
        case State::resolving:  return POLLIN;
        case State::connecting: return POLLOUT;
        case State::open:       break;
        }
        return short((wants_read ? POLLIN : 0) | (wants_write ? POLLOUT : 0));
    }

    // The last failure, kept until the next: an errno (ENOTCONN: the peer closed in good order), or EAI_* of <netdb.h>
    // if the name was not resolved; 0: none yet. After several addresses have failed, that of the last one.
    int error() const { return error_; }

    // The same as a text for logs; never null, valid until the next call of strerror().
    const char* error_text() const {
        switch (blame_) {
        case Blame::nobody:   return "no error";
        case Blame::system:   return ::strerror(error_);
        case Blame::resolver: return ::gai_strerror(error_);
        case Blame::thread:   return "cannot start a thread to resolve the name";
        case Blame::peer:     break;
        }
        return "the peer closed the connection";
    }

private:
    enum class State : uint8_t {
        idle,          // nothing is held
        resolving,     // lookup_
        connecting,    // fd_ and addresses_
        open           // fd_
    };
    enum class Blame : uint8_t { nobody, system, resolver, thread, peer };   // tells what error_ means

    // Finds the addresses of a numeric `host`, or starts to resolve a name.
    bool start(std::string_view host, uint16_t port) {
        const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
        if (brackets) host = host.substr(1, host.size() - 2);
        char name[sizeof(detail::Lookup::host)];
        char service[sizeof(detail::Lookup::service)];
        if (host.empty() || host.size() >= sizeof name || host.find('\0') != std::string_view::npos)
            return refuse(Blame::resolver, EAI_NONAME);
        ::memcpy(name, host.data(), host.size());
        name[host.size()] = '\0';
        (void)::snprintf(service, sizeof service, "%u", unsigned(port));

        const addrinfo hints = detail::hints_for_tcp(AI_NUMERICHOST);
        if (::getaddrinfo(name, service, &hints, &addresses_) == 0) {
            release_ = ::freeaddrinfo;
            next_ = addresses_;
            state_ = State::connecting;
            return true;
        }
        addresses_ = nullptr;
        if (brackets) return refuse(Blame::resolver, EAI_NONAME);   // RFC 3986: only addresses stand in brackets
        return start_lookup(name, service);
    }

    bool start_lookup(const char* name, const char* service) {
        detail::Lookup* const lookup = new (std::nothrow) detail::Lookup;
        if (lookup == nullptr) return refuse(Blame::system, ENOMEM);
        lookup->resolve = resolve;
        lookup->release = release;
        ::memcpy(lookup->host, name, ::strlen(name) + 1);
        ::memcpy(lookup->service, service, ::strlen(service) + 1);
        if (!detail::make_pipe(lookup->wake)) {
            const int error = errno;
            delete lookup;
            return refuse(Blame::system, error);
        }
        const int error = detail::start_detached(start_thread, detail::look_up, lookup);
        if (error != 0) {
            delete lookup;
            return refuse(Blame::thread, error);
        }
        lookup_ = lookup;
        state_ = State::resolving;
        return true;
    }

    // The resolver is done: takes over its answer.
    bool take_addresses() {
        const int result = lookup_->result;
        const int system_error = lookup_->system_error;
        addresses_ = lookup_->addresses;
        release_ = lookup_->release;
        lookup_->addresses = nullptr;
        lookup_->leave();
        lookup_ = nullptr;
        if (result == EAI_SYSTEM) return refuse(Blame::system, system_error);
        if (result != 0 || addresses_ == nullptr) return refuse(Blame::resolver, result != 0 ? result : EAI_NONAME);
        next_ = addresses_;
        state_ = State::connecting;
        return true;
    }

    // Goes from address to address until one is open, one is pending, or none is left.
    int continue_connecting() {
        while (true) {
            if (fd_ >= 0) {
                int error = connect_result();
                if (error == 0) {
                    free_addresses();
                    state_ = State::open;
                    return 1;
                }
                if (error == EINPROGRESS) {
                    if (next_ == nullptr || address_time_left_ms() > 0) return 0;
                    error = ETIMEDOUT;
                }
                (void)fail(Blame::system, error);
                close_socket();
            }
            if (next_ == nullptr) {
                close();
                return -1;
            }
            const addrinfo& address = *next_;
            next_ = address.ai_next;
            if (!start_connecting(address)) {
                (void)fail(Blame::system, errno);
                close_socket();
            }
        }
    }

    // False: failed at once, see errno.
    bool start_connecting(const addrinfo& address) {
        fd_ = ::socket(address.ai_family, address.ai_socktype | detail::socket_flags, address.ai_protocol);
        if (fd_ < 0) return false;
        if constexpr (detail::socket_flags == 0) {
            if (!detail::set_nonblocking_cloexec(fd_)) return false;
        }
        const int on = 1;
        // MQTT packets are small, and the client writes all it has at once: nothing is gained by waiting for more.
        (void)::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if constexpr (detail::no_sigpipe_option != -1)
            (void)::setsockopt(fd_, SOL_SOCKET, detail::no_sigpipe_option, &on, sizeof on);
        started_ms_ = detail::monotonic_ms();
        // After EINTR it goes on as after EINPROGRESS; calling it again would be an error (EALREADY).
        return ::connect(fd_, address.ai_addr, address.ai_addrlen) == 0 || errno == EINPROGRESS || errno == EINTR;
    }

    // 0: connected; EINPROGRESS: not yet; else why not.
    int connect_result() const {
        if (detail::poll_one(fd_, POLLOUT, 0) == 0) return EINPROGRESS;
        int       error = 0;
        socklen_t size = sizeof error;
        if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
        return error;
    }

    uint32_t address_time_left_ms() const {
        const uint32_t elapsed = detail::monotonic_ms() - started_ms_;
        return elapsed < address_timeout_ms ? address_timeout_ms - elapsed : 0;
    }

    int fail(Blame blame, int error) {
        blame_ = blame;
        error_ = error;
        return -1;
    }

    // open() has failed before there was an address to try.
    bool refuse(Blame blame, int error) {
        (void)fail(blame, error);
        close();
        return false;
    }

    // close() is not retried after EINTR: the descriptor is gone, and its number may be another thread's by now.
    void close_socket() {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
        unread_ = false;
    }

    void free_addresses() {
        if (addresses_ != nullptr) release_(addresses_);
        addresses_ = nullptr;
        next_ = nullptr;
    }

    State           state_ = State::idle;
    Blame           blame_ = Blame::nobody;
    int             error_ = 0;
    int             fd_ = -1;                // the socket
    bool            unread_ = false;         // wait() has told that it is readable, and nobody has read since
    detail::Lookup* lookup_ = nullptr;
    addrinfo*       addresses_ = nullptr;    // the whole list, freed by release_
    Release*        release_ = nullptr;
    const addrinfo* next_ = nullptr;         // the address to try after the present one; null: none is left
    uint32_t        started_ms_ = 0;         // when connecting to the present address began
};

}  // namespace posix
}  // namespace mqtt

#endif
