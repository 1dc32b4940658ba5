// clients --port N [--clients N] [--messages N]: many clients in one process, in one thread, on one epoll(7), against the
// server at 127.0.0.1 --port. First all connect, then each publishes at QoS 1, one message in flight, its share of
// --messages. Prints rows `metric, value, unit`: memory and processor time of this process for each client and message. Under
// callgrind it dumps what publishing took, as bench/measure.hpp does.
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <queue>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/measure.hpp"
#include "mqtt.hpp"
#include "platform/posix.hpp"

namespace {

// What one costs: client, port, options, buffers. 256 bytes each way do for small messages, one at a time.
struct Device {
    Device(size_t number, uint16_t port_number) : index(number), id("device" + std::to_string(number)) {
        options.host = "127.0.0.1";
        options.port = port_number;
        options.client_id = id;
        options.reconnect_max_ms = 0;
    }
    const size_t index;
    const std::string id;
    uint8_t rx[256], tx[256];
    mqtt::posix::Tcp port;
    mqtt::Client<mqtt::posix::Tcp> client{port, {rx, tx, 1}};
    mqtt::ConnectOptions options;
    unsigned long to_send = 0;
    int watched_fd = -1;
    uint32_t watched_events = 0;
    uint32_t deadline = 0;
    bool has_timer = false;
};

size_t resident_bytes() {
    unsigned long all = 0, resident = 0;
    std::FILE* const file = std::fopen("/proc/self/statm", "r");
    if (file == nullptr || std::fscanf(file, "%lu %lu", &all, &resident) != 2) throw std::runtime_error("/proc/self/statm");
    std::fclose(file);
    return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

class Loop {
public:
    Loop(size_t count, uint16_t port) : poller_(::epoll_create1(EPOLL_CLOEXEC)), count_(count), port_(port) {
        devices_.reserve(count);
    }
    ~Loop() { ::close(poller_); }

    void connect_all() {
        while (connected_ != count_) {
            // Not more at a time than a listening socket's queue holds.
            while (devices_.size() != count_ && devices_.size() - connected_ < 100) {
                devices_.push_back(std::make_unique<Device>(devices_.size(), port_));
                Device& device = *devices_.back();
                if (!device.client.connect(device.options).ok()) throw std::runtime_error("connect");
                attend(device);
            }
            if (connected_ != count_) turn();
        }
    }
    void publish_all(unsigned long each) {
        for (const auto& device : devices_) {
            device->to_send = each;
            publish(*device);
            attend(*device);
        }
        while (acknowledged_ != each * count_) turn();
    }

private:
    struct Timer {
        uint32_t at;
        size_t index;
        bool operator<(const Timer& other) const { return static_cast<int32_t>(at - other.at) > 0; }   // earliest on top
    };

    // One wait, and what comes of it.
    void turn() {
        const uint32_t now = mqtt::posix::detail::monotonic_ms();
        int timeout = -1;
        if (!timers_.empty()) timeout = std::max(0, static_cast<int>(timers_.top().at - now));
        epoll_event events[256];
        const int n = ::epoll_wait(poller_, events, 256, timeout);
        for (int i = 0; i < n; ++i) attend(*devices_[events[i].data.u64]);
        for (const uint32_t later = mqtt::posix::detail::monotonic_ms();
             !timers_.empty() && static_cast<int32_t>(later - timers_.top().at) >= 0;) {
            Device& device = *devices_[timers_.top().index];
            timers_.pop();
            device.has_timer = false;
            attend(device);
        }
    }

    void attend(Device& device) {
        mqtt::Event event;
        while ((event = device.client.poll()).kind != mqtt::Event::none) {
            switch (event.kind) {
            case mqtt::Event::connected: ++connected_; break;
            case mqtt::Event::acknowledged: ++acknowledged_, publish(device); break;
            case mqtt::Event::disconnected: throw std::runtime_error(mqtt::to_string(event.error));
            default: break;
            }
        }
        watch(device);
        const uint32_t idle = device.client.idle_ms();
        device.deadline = mqtt::posix::detail::monotonic_ms() + idle;
        // A timer stays where it is when the deadline moves on: it finds nothing to do, and is set anew.
        if (idle == mqtt::forever || device.has_timer) return;
        device.has_timer = true;
        timers_.push({device.deadline, device.index});
    }
    void publish(Device& device) {
        if (device.to_send == 0) return;
        --device.to_send;
        if (!device.client.publish("sensors/room1/temp", "21.5 degrees", mqtt::QoS::at_least_once).ok())
            throw std::runtime_error("publish");
    }
    void watch(Device& device) {
        const int fd = device.port.fd();
        const short wanted = device.port.events(device.client.wants_write(), device.client.wants_read());
        const uint32_t events = static_cast<uint32_t>(wanted);   // EPOLLIN and EPOLLOUT are POLLIN and POLLOUT
        if (fd == device.watched_fd && events == device.watched_events) return;
        epoll_event event{};
        event.events = events;
        event.data.u64 = device.index;
        if (::epoll_ctl(poller_, fd == device.watched_fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
            throw std::runtime_error("epoll_ctl");
        device.watched_fd = fd;
        device.watched_events = events;
    }

    const int poller_;
    const size_t count_;
    const uint16_t port_;
    std::vector<std::unique_ptr<Device>> devices_;
    std::priority_queue<Timer> timers_;
    size_t connected_ = 0;
    unsigned long acknowledged_ = 0;
};

int run(size_t count, uint16_t port, unsigned long messages) {
    const unsigned long each = std::max(1UL, messages / count);
    const size_t before = resident_bytes();
    Loop loop(count, port);
    const double start = bench::cpu_seconds();
    loop.connect_all();
    const double connected = bench::cpu_seconds();
    const std::string label = std::to_string(count) + " clients in one process\tmqtt.hpp\t";
    const std::string before_it = label + "0", after_it = label + std::to_string(each * count);
    CALLGRIND_ZERO_STATS;
    CALLGRIND_DUMP_STATS_AT(before_it.c_str());
    loop.publish_all(each);
    CALLGRIND_DUMP_STATS_AT(after_it.c_str());
    const double published = bench::cpu_seconds();
    const double clients = static_cast<double>(count);
    std::printf("memory of client, port, options and buffers\t%zu\tbytes/client\n", sizeof(Device));
    std::printf("resident memory\t%.0f\tbytes/client\n", static_cast<double>(resident_bytes() - before) / clients);
    std::printf("cpu of connecting\t%.2f\tus/client\n", (connected - start) / clients * 1e6);
    std::printf("cpu\t%.3f\tus/message\n", (published - connected) / (clients * static_cast<double>(each)) * 1e6);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    unsigned long clients = 100, messages = 20000, port = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string option = argv[i];
        const unsigned long value = std::strtoul(argv[i + 1], nullptr, 10);
        if (option == "--clients") clients = value;
        if (option == "--messages") messages = value;
        if (option == "--port") port = value;
    }
    if (port == 0 || port > 65535 || clients == 0) {
        std::fprintf(stderr, "usage: clients --port N [--clients N] [--messages N]\n");
        return 2;
    }
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < clients + 20) {
        std::fprintf(stderr, "clients: no more than %lu files may be open here\n",
                     static_cast<unsigned long>(limit.rlim_cur));
        return 3;
    }
    ::alarm(120);
    try {
        return run(clients, static_cast<uint16_t>(port), messages);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "clients: %s\n", error.what());
        return 1;
    }
}
