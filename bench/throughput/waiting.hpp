// For libraries that work in a thread of their own: to sleep until it tells of something.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

namespace bench {

class Waiting {
public:
    void tell() {   // costs next to nothing while nobody sleeps
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!sleeping_.load(std::memory_order_relaxed)) return;
        const std::lock_guard<std::mutex> lock(mutex_);
        woken_.notify_one();
    }
    // Until `ready()`, which what tells has made true before, or for some milliseconds.
    template <class Ready> void sleep_until(Ready ready) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.store(true, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (!ready()) woken_.wait_for(lock, std::chrono::milliseconds(5));
        sleeping_.store(false, std::memory_order_relaxed);
    }

private:
    std::mutex mutex_;
    std::condition_variable woken_;
    std::atomic<bool> sleeping_{false};
};

}  // namespace bench
