// test::Broker on TCP, 127.0.0.1 only. Linux: epoll(7), so that 10,000 connections cost nothing while they are idle.
//
//     test::TcpBroker broker;                      // a free port: broker.port()
//     while (...) broker.run_once(10);             // in the thread of the test, or
//     broker.start(); ... broker.stop();           // in a thread of its own
//     broker.with([](test::Broker& b) { return b.statistics(); });
//
// Except run_once(), which is for one thread, everything may be called from any thread.
//
// Back-pressure: none by not reading. To stop reading from a client until it takes its output can deadlock with a
// client that, as mqtt.hpp does, stops reading until it can write its acknowledgements; to stop reading from
// publishers until a subscriber catches up can deadlock when they are the same client. Instead a slow client's
// QoS 1 and 2 messages wait in its session, shared and outside its output, as its window of unanswered ones is full;
// BrokerConfig::qos0_output_limit bounds QoS 0. Each client is read and written in bounded pieces, in turn.

#ifndef TESTS_SUPPORT_BROKER_TCP_HPP
#define TESTS_SUPPORT_BROKER_TCP_HPP

#include "tests/support/broker.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace test {

class TcpBroker {
public:
    // Port 0: a free one. Throws std::runtime_error if there is no listening on it.
    explicit TcpBroker(uint16_t port = 0, BrokerConfig configuration = {}) : broker_(std::move(configuration)), port_(port) {
        try {
            if (::pipe2(wake_, O_NONBLOCK | O_CLOEXEC) != 0) fail("pipe2");
            poller_ = ::epoll_create1(EPOLL_CLOEXEC);
            if (poller_ < 0) fail("epoll_create1");
            watch(EPOLL_CTL_ADD, wake_[0], EPOLLIN, wake_tag);
            listen();
        } catch (...) {
            close_all_of_ours();
            throw;
        }
    }
    TcpBroker(const TcpBroker&) = delete;
    TcpBroker& operator=(const TcpBroker&) = delete;
    ~TcpBroker() {
        stop();
        for (auto& [id, socket] : sockets_) ::close(socket.fd);
        close_all_of_ours();
    }

    uint16_t port() const { return port_; }

    // Runs `f(Broker&)` while the loop does not, and then sends what came of it.
    template <class F> auto with(F f) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const Flush flush{*this};
        return f(broker_);
    }

    // Waits at most timeout_ms (< 0: as long as it takes) for something to do, and does it. False: nothing came.
    bool run_once(int timeout_ms) {
        epoll_event events[256];
        const int count = ::epoll_wait(poller_, events, 256, patience(timeout_ms));
        const std::lock_guard<std::mutex> lock(mutex_);
        const Flush flush{*this};
        for (int i = 0; i < count; ++i) on_event(events[i].data.u64, events[i].events);   // EINTR: count is -1
        broker_.tick(now_ms());
        retry_accepting();
        end_lingering();
        return count > 0;
    }

    void start() {
        if (thread_.joinable()) return;
        stopping_ = false;
        thread_ = std::thread([this] {
            while (!stopped()) run_once(-1);
        });
    }
    void stop() {
        if (!thread_.joinable()) return;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            stopping_ = true;
        }
        wake();
        thread_.join();
    }

    // Makes run_once() return. One write(2): may be called in a signal handler.
    void wake() {
        const int saved = errno;
        const char byte = 0;
        const ssize_t ignored = ::write(wake_[1], &byte, 1);   // full: it wakes up already
        static_cast<void>(ignored);
        errno = saved;
    }

    // Cuts every connection; with `reset` by RST, else by FIN. Returns how many.
    size_t drop_all(bool reset = false) {
        const std::lock_guard<std::mutex> lock(mutex_);
        const size_t count = sockets_.size();
        while (!sockets_.empty()) cut(sockets_.begin()->first, reset);
        return count;
    }

    // New connections are refused, those that nobody accepted are reset; start_accepting() listens on the same port
    // again (throws as the constructor does). A broker that dies and comes back is stop_accepting(), drop_all(), perhaps
    // Broker::lose_sessions(), start_accepting().
    void stop_accepting() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (listener_ >= 0) ::close(std::exchange(listener_, -1));
        accept_paused_ = false;
    }
    void start_accepting() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (listener_ < 0) listen();
    }

private:
    using Id = Broker::Id;
    // Tags of events: connections have their ids, which are never used again, so that an event for a connection that
    // was cut meanwhile finds nothing.
    static constexpr uint64_t wake_tag = ~uint64_t{0};
    static constexpr uint64_t listener_tag = wake_tag - 1;
    static constexpr size_t read_size = 65536;
    static constexpr size_t write_size = 1048576;   // at most, before others have their turn
    static constexpr uint32_t linger_ms = 1000;

    struct Socket {
        int fd = -1;
        bool wants_write = false;
        bool closing = false;   // the broker is done with it
        bool shut = false;      // our side is closed; waiting for the other, so that no RST eats our last bytes
    };

    struct Flush {
        TcpBroker& self;
        ~Flush() { self.flush(); }
    };

    [[noreturn]] static void fail(const char* what) {
        throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
    }
    void close_all_of_ours() {
        for (int* fd : {&listener_, &poller_, &wake_[0], &wake_[1]})
            if (*fd >= 0) ::close(std::exchange(*fd, -1));
    }

    static uint32_t now_ms() {
        const auto now = std::chrono::steady_clock::now().time_since_epoch();
        return static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
    }

    static uint32_t left_until(uint32_t time_ms) {
        const int32_t left = static_cast<int32_t>(time_ms - now_ms());
        return left > 0 ? static_cast<uint32_t>(left) : 0;
    }

    bool stopped() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return stopping_;
    }

    void watch(int operation, int fd, uint32_t events, uint64_t tag) {
        epoll_event event{};
        event.events = events;
        event.data.u64 = tag;
        ::epoll_ctl(poller_, operation, fd, &event);
    }

    void listen() {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) fail("socket");
        const int one = 1;
        ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port_);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        // The sockets API has one address type for all families.
        sockaddr* const any = static_cast<sockaddr*>(static_cast<void*>(&address));
        if (::bind(fd, any, size) != 0 || ::listen(fd, SOMAXCONN) != 0 || ::getsockname(fd, any, &size) != 0) {
            const int cause = errno;
            ::close(fd);
            errno = cause;
            fail("listen on 127.0.0.1");
        }
        port_ = ntohs(address.sin_port);
        listener_ = fd;
        watch(EPOLL_CTL_ADD, listener_, EPOLLIN, listener_tag);
    }

    int patience(int timeout_ms) {
        const std::lock_guard<std::mutex> lock(mutex_);
        uint32_t idle = broker_.idle_ms(now_ms());
        if (accept_paused_) idle = std::min(idle, left_until(accept_again_ms_));
        if (!lingering_.empty()) idle = std::min(idle, left_until(lingering_.front().first));
        if (timeout_ms >= 0) idle = std::min(idle, static_cast<uint32_t>(timeout_ms));
        return idle == mqtt::forever ? -1 : static_cast<int>(std::min<uint32_t>(idle, 3600000));
    }

    void on_event(uint64_t tag, uint32_t events) {
        if (tag == wake_tag) return drain_wake();
        if (tag == listener_tag) return accept_all();
        const Id id = static_cast<Id>(tag);
        if ((events & EPOLLOUT) != 0) write(id);
        if ((events & ~static_cast<uint32_t>(EPOLLOUT)) != 0) read(id);   // errors and hang-ups also: read tells them
    }

    void drain_wake() {
        char bytes[64];
        while (::read(wake_[0], bytes, sizeof bytes) > 0) {}
    }

    void accept_all() {
        while (listener_ >= 0) {
            const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd >= 0) {
                const int one = 1;
                ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                const Id id = broker_.accept(now_ms());
                sockets_[id].fd = fd;
                watch(EPOLL_CTL_ADD, fd, EPOLLIN, id);
            } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                // The waiting connection would be told again and again: look away for a while.
                watch(EPOLL_CTL_MOD, listener_, 0, listener_tag);
                accept_paused_ = true;
                accept_again_ms_ = now_ms() + 50;
                return;
            } else if (errno != EINTR && errno != ECONNABORTED) {
                return;   // EAGAIN: that was all
            }
        }
    }
    void retry_accepting() {
        if (!accept_paused_ || left_until(accept_again_ms_) != 0) return;
        accept_paused_ = false;
        watch(EPOLL_CTL_MOD, listener_, EPOLLIN, listener_tag);
    }

    void read(Id id) {
        const auto found = sockets_.find(id);
        if (found == sockets_.end()) return;
        const ssize_t n = ::recv(found->second.fd, input_.data(), input_.size(), 0);
        if (n > 0) {
            if (!found->second.closing) broker_.receive(id, input_.data(), static_cast<size_t>(n), now_ms());
        } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            if (n == 0 && !found->second.shut) write(id);   // it may have closed only its side: the last bytes, if they fit
            cut(id, false);
        }
    }

    void write(Id id) {
        const auto found = sockets_.find(id);
        if (found == sockets_.end() || found->second.shut) return;
        Socket& socket = found->second;
        size_t left = write_size;
        bool blocked = false;
        for (mqtt::Bytes bytes = broker_.output(id); !bytes.empty() && !blocked && left != 0; bytes = broker_.output(id)) {
            const ssize_t n = ::send(socket.fd, bytes.data(), std::min(bytes.size(), left), MSG_NOSIGNAL);
            if (n > 0) {
                broker_.consume(id, static_cast<size_t>(n));
                left -= static_cast<size_t>(n);
            } else if (errno != EINTR) {
                blocked = true;   // EAGAIN; or it is lost, and read() will say so
            }
        }
        want_write(id, socket, !broker_.output(id).empty());
        if (socket.closing && !socket.wants_write) {
            ::shutdown(socket.fd, SHUT_WR);
            socket.shut = true;
        }
    }

    void want_write(Id id, Socket& socket, bool wanted) {
        if (socket.wants_write == wanted) return;
        socket.wants_write = wanted;
        watch(EPOLL_CTL_MOD, socket.fd, EPOLLIN | (wanted ? uint32_t{EPOLLOUT} : 0U), id);
    }

    void flush() {
        std::vector<Id> changed;
        while (!(changed = broker_.take_changed()).empty()) {
            for (const Id id : changed) {
                const auto found = sockets_.find(id);
                if (found == sockets_.end()) continue;
                if (broker_.wants_close(id) && !found->second.closing) {
                    found->second.closing = true;
                    lingering_.emplace_back(now_ms() + linger_ms, id);
                }
                // Who waits for room gets more when there is room.
                if (!found->second.wants_write) write(id);
            }
        }
    }

    // A peer that does not close its side is cut.
    void end_lingering() {
        while (!lingering_.empty() && left_until(lingering_.front().first) == 0) {
            cut(lingering_.front().second, false);
            lingering_.pop_front();
        }
    }

    void cut(Id id, bool reset) {
        const auto found = sockets_.find(id);
        if (found == sockets_.end()) return;
        if (reset) {
            const linger at_once{1, 0};
            ::setsockopt(found->second.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        }
        ::close(found->second.fd);
        sockets_.erase(found);
        broker_.closed(id, now_ms());
    }

    Broker broker_;
    std::mutex mutex_;
    std::thread thread_;
    bool stopping_ = false;
    bool accept_paused_ = false;         // no descriptors left; never while listener_ is closed
    uint32_t accept_again_ms_ = 0;
    uint16_t port_;
    int listener_ = -1;
    int poller_ = -1;
    int wake_[2] = {-1, -1};
    std::unordered_map<Id, Socket> sockets_;
    std::deque<std::pair<uint32_t, Id>> lingering_;   // with the time at which patience ends
    std::vector<uint8_t> input_ = std::vector<uint8_t>(read_size);
};

}  // namespace test
#endif
