// Sockets of a test's own side, on the loopback.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/filter.h>
#endif

#include <cstdint>
#include <string>

namespace test {

constexpr uint32_t deadline_ms = 30000;   // generous, for what must come soon

// A socket of the test's own side.
class Peer {
public:
    explicit Peer(int fd) : fd_(fd) {}
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    ~Peer() { close(); }

    bool there() const { return fd_ >= 0; }
    void close() {
        if (fd_ >= 0) ::close(fd_);
        fd_ = -1;
    }
    void reset() {
        const linger at_once{1, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close();
    }
    bool sends(const std::string& text) {
        return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == ssize_t(text.size());
    }
    // What has arrived, at most `size` bytes; waits for the first.
    std::string receives(size_t size) {
        pollfd entry{fd_, POLLIN, 0};
        if (::poll(&entry, 1, int(deadline_ms)) != 1) return "(nothing came)";
        std::string   text(size, '\0');
        const ssize_t n = ::recv(fd_, &text[0], size, 0);
        text.resize(n > 0 ? size_t(n) : 0);
        return text;
    }

private:
    int fd_;
};

// A dead endpoint is bound and does not listen, so that it refuses and nobody else can have it; a silent one drops every
// packet, as a host behind a firewall does.
enum class Kind { live, dead, silent };

class Endpoint {
public:
    explicit Endpoint(Kind kind, int family = AF_INET, int receive_buffer = 0) {
        fd_ = ::socket(family, SOCK_STREAM, 0);
        size_ = family == AF_INET ? socklen_t(sizeof(sockaddr_in)) : socklen_t(sizeof(sockaddr_in6));
        address_.ss_family = sa_family_t(family);
        if (family == AF_INET) {
            reinterpret_cast<sockaddr_in*>(&address_)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        } else {
            reinterpret_cast<sockaddr_in6*>(&address_)->sin6_addr = in6addr_loopback;
        }
        ok_ = fd_ >= 0 && ::bind(fd_, address(), size_) == 0 && ::getsockname(fd_, address(), &size_) == 0;
        if (receive_buffer != 0)
            ok_ = ok_ && ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer) == 0;
        if (kind == Kind::silent) ok_ = ok_ && drop_packets();
        if (kind != Kind::dead) ok_ = ok_ && ::listen(fd_, 16) == 0;
    }
    Endpoint(const Endpoint&) = delete;
    Endpoint& operator=(const Endpoint&) = delete;
    ~Endpoint() {
        if (fd_ >= 0) ::close(fd_);
    }

    bool      ok() const { return ok_; }
    sockaddr* address() { return reinterpret_cast<sockaddr*>(&address_); }
    socklen_t size() const { return size_; }
    uint16_t  port() {
        return ntohs(address_.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&address_)->sin_port
                                                   : reinterpret_cast<sockaddr_in6*>(&address_)->sin6_port);
    }
    // A dead one comes to life.
    bool listen() { return ::listen(fd_, 16) == 0; }
    // The next connection; -1 if none comes within `timeout_ms`.
    int accept(uint32_t timeout_ms = deadline_ms) {
        pollfd entry{fd_, POLLIN, 0};
        return ::poll(&entry, 1, int(timeout_ms)) == 1 ? ::accept(fd_, nullptr, nullptr) : -1;
    }
    bool speaks_again() {
#if defined(SO_DETACH_FILTER)
        const int unused = 0;
        return ::setsockopt(fd_, SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused) == 0;
#else
        return false;
#endif
    }

private:
    bool drop_packets() {
#if defined(SO_ATTACH_FILTER)
        sock_filter      keep_nothing = {BPF_RET | BPF_K, 0, 0, 0};
        const sock_fprog program = {1, &keep_nothing};
        return ::setsockopt(fd_, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
#else
        return false;
#endif
    }

    int              fd_ = -1;
    bool             ok_ = false;
    sockaddr_storage address_{};
    socklen_t        size_ = 0;
};

}  // namespace test
