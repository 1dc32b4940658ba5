// Plain sockets and packets made beforehand: the raw subject, and the servers and senders that are not to be the bottleneck.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "bench/throughput/subject.hpp"

namespace bench {

class Socket {
public:
    explicit Socket(int fd = -1) : fd_(fd) {}
    Socket(Socket&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    Socket& operator=(Socket&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Socket() {
        if (fd_ >= 0) ::close(fd_);
    }
    int fd() const { return fd_; }

    bool send(const uint8_t* data, size_t size) const {
        while (size != 0) {
            const ssize_t n = ::send(fd_, data, size, MSG_NOSIGNAL);
            if (n < 0 && errno != EINTR) return false;
            if (n > 0) data += n, size -= static_cast<size_t>(n);
        }
        return true;
    }
    bool send(const std::vector<uint8_t>& bytes) const { return send(bytes.data(), bytes.size()); }
    size_t receive(uint8_t* data, size_t size) const {   // 0: the end
        ssize_t n;
        do n = ::recv(fd_, data, size, 0);
        while (n < 0 && errno == EINTR);
        return n > 0 ? static_cast<size_t>(n) : 0;
    }
    // One packet shorter than 130 bytes; empty: the end.
    std::vector<uint8_t> receive_packet() const {
        std::vector<uint8_t> packet(2);
        if (receive(packet.data(), 1) == 0 || receive(packet.data() + 1, 1) == 0) return {};
        packet.resize(2 + packet[1]);
        for (size_t at = 2; at != packet.size();) {
            const size_t n = receive(packet.data() + at, packet.size() - at);
            if (n == 0) return {};
            at += n;
        }
        return packet;
    }

private:
    int fd_;
};

inline Socket connected_to(uint16_t port) {
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    const void* const raw = &address;
    if (::connect(socket.fd(), static_cast<const sockaddr*>(raw), sizeof address) != 0)
        throw std::runtime_error("cannot connect");
    return socket;
}

// CONNECT with this client id, and CONNACK.
inline bool handshake(const Socket& socket, const std::string& id) {
    std::vector<uint8_t> packet = {0x10, static_cast<uint8_t>(12 + id.size()), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0,
                                   0, static_cast<uint8_t>(id.size())};
    packet.insert(packet.end(), id.begin(), id.end());
    const auto answer = (socket.send(packet), socket.receive_packet());
    return answer.size() == 4 && answer[0] == 0x20 && answer[3] == 0;
}

// Messages with ids from 1 on, one behind the other, again and again.
class Messages {
public:
    Messages(int qos, size_t payload, size_t count = 4000) : count_(count) {
        const size_t name = sizeof topic - 1, remaining = 2 + name + (qos != 0 ? 2 : 0) + payload;
        for (size_t i = 1; i <= count; ++i) {
            bytes_.push_back(static_cast<uint8_t>(0x30 | qos << 1));
            size_t left = remaining;
            for (; left > 127; left >>= 7) bytes_.push_back(static_cast<uint8_t>(left | 128));
            bytes_.push_back(static_cast<uint8_t>(left));
            bytes_.insert(bytes_.end(), {0, static_cast<uint8_t>(name)});
            bytes_.insert(bytes_.end(), topic, topic + name);
            if (qos != 0) bytes_.insert(bytes_.end(), {static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)});
            bytes_.resize(bytes_.size() + payload, 'x');
        }
        size_ = bytes_.size() / count;
    }
    size_t size() const { return size_; }   // bytes of one
    // The next `count` messages, or fewer, in one piece; `count` tells how many.
    const uint8_t* next(unsigned long& count) {
        if (count > count_ - at_) count = count_ - at_;
        const uint8_t* const piece = bytes_.data() + at_ * size_;
        at_ = (at_ + count) % count_;
        return piece;
    }

private:
    std::vector<uint8_t> bytes_;
    size_t count_, size_ = 0, at_ = 0;
};

}  // namespace bench
