// The limit: packets made beforehand, sent in large writes, and answers counted in large reads. It checks nothing.
#include <sys/uio.h>

#include "bench/throughput/wire.hpp"

namespace bench {
namespace {

class Raw final : public Subject {
public:
    explicit Raw(const Settings& settings)
        : settings_(settings), messages_(settings.qos, settings.size), marker_(1, settings.size, 1), in_(65536) {}

    bool connect() override {
        if (!settings_.store.empty()) return false;
        socket_ = connected_to(settings_.port);
        return handshake(socket_, "raw");
    }
    bool subscribe() override {
        std::vector<uint8_t> packet = {0x82, sizeof topic + 4, 0, 1, 0, sizeof topic - 1};
        packet.insert(packet.end(), topic, topic + sizeof topic - 1);
        packet.push_back(static_cast<uint8_t>(settings_.qos));
        return socket_.send(packet) && socket_.receive_packet().size() == 5;
    }
    bool publish(int qos) override {
        if (qos != settings_.qos) {   // the one that ends a row of QoS 0
            while (!written()) flush();
            unsigned long one = 1;
            return socket_.send(marker_.next(one), marker_.size());
        }
        if ((queued_ + 1) * messages_.size() > in_.size()) return false;
        ++queued_;
        return true;
    }
    bool written() override { return queued_ == 0 && replies_.empty(); }
    void work() override {
        if (!written()) return flush();
        const size_t n = socket_.receive(in_.data() + have_, in_.size() - have_);
        if (n == 0) throw std::runtime_error("raw: the connection is lost");
        have_ += n;
        size_t at = 0;
        while (at != have_) {
            const uint8_t* const packet = in_.data() + at;
            const bool message = (*packet & 0xF0) == 0x30;
            const size_t size = message ? messages_.size() : 4;
            if (have_ - at < size) break;
            at += size;
            const uint8_t* const id = message ? packet + size - settings_.size - 2 : packet + 2;
            switch (*packet & 0xF6) {   // without DUP and RETAIN
            case 0x30: add(received_); break;
            case 0x32: add(received_), reply(0x40, id); break;
            case 0x34: add(received_), reply(0x50, id); break;
            case 0x40:
            case 0x70: add(acknowledged_); break;
            case 0x50: reply(0x62, id); break;
            case 0x62: reply(0x70, id); break;
            default: throw std::runtime_error("raw: what is this?");
            }
        }
        std::memmove(in_.data(), in_.data() + at, have_ - at);
        have_ -= at;
    }

private:
    void reply(uint8_t first, const uint8_t* id) { replies_.insert(replies_.end(), {first, 2, id[0], id[1]}); }
    void flush() {
        unsigned long count = queued_;
        const uint8_t* const piece = messages_.next(count);
        queued_ -= count;
        iovec parts[] = {{replies_.data(), replies_.size()}, {const_cast<uint8_t*>(piece), count * messages_.size()}};
        for (size_t left = parts[0].iov_len + parts[1].iov_len; left != 0;) {
            const ssize_t n = ::writev(socket_.fd(), parts, 2);
            if (n < 0) throw std::runtime_error("raw: the connection is lost");
            left -= static_cast<size_t>(n);
            for (size_t i = 0, taken = static_cast<size_t>(n); i < 2; ++i) {
                const size_t part = std::min(taken, parts[i].iov_len);
                parts[i].iov_base = static_cast<uint8_t*>(parts[i].iov_base) + part;
                parts[i].iov_len -= part, taken -= part;
            }
        }
        replies_.clear();
    }

    const Settings settings_;
    Messages messages_, marker_;
    Socket socket_;
    std::vector<uint8_t> in_, replies_;
    size_t have_ = 0;
    unsigned long queued_ = 0;
};

}  // namespace

std::unique_ptr<Subject> make_subject(const Settings& settings) { return std::make_unique<Raw>(settings); }
std::string subject_version() { return "sockets"; }

}  // namespace bench
