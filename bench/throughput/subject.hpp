// A client library under load. Each subject is a program of its own: main.cpp and one implementation of this.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace bench {

constexpr char topic[] = "sensors/room1/temp";   // of all messages

struct Settings {
    uint16_t port = 0;              // of the server, on 127.0.0.1
    int qos = 0;
    size_t size = 16;               // of the payload
    unsigned long in_flight = 100;
    std::string store;              // a folder to keep the session in, over the end of the process; empty: memory
};

// All blocks but publish(). 3.1.1, no keep-alive, clean session if there is no store. Without a way to store anything,
// connect() fails.
class Subject {
public:
    virtual ~Subject() = default;
    virtual bool connect() = 0;
    virtual bool subscribe() = 0;        // to the topic, with settings.qos
    virtual bool publish(int qos) = 0;   // false: not now
    virtual void work() = 0;             // does what is to do, or waits until there is something
    virtual bool written() = 0;          // all that was published has been given to the kernel
    virtual unsigned long counted_calls() { return 0; }   // system calls, if it can tell

    unsigned long acknowledged() const { return acknowledged_.load(std::memory_order_acquire); }   // QoS 1 and 2
    unsigned long received() const { return received_.load(std::memory_order_acquire); }

protected:
    // For one thread at a time.
    static void add(std::atomic<unsigned long>& counter, unsigned long count = 1) {
        counter.store(counter.load(std::memory_order_relaxed) + count, std::memory_order_release);
    }
    std::atomic<unsigned long> acknowledged_{0}, received_{0};
};

std::unique_ptr<Subject> make_subject(const Settings& settings);
std::string subject_version();

}  // namespace bench
