// mqtt::posix::Tcp against real sockets on the loopback. Nothing waits for luck: each wait is for a condition, with a
// generous deadline.

#include "../../platform/posix.hpp"

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/sockets.hpp"

namespace {

using mqtt::posix::Tcp;
using test::deadline_ms;
using test::Endpoint;
using test::Kind;
using test::Peer;
using Clock = std::chrono::steady_clock;

constexpr auto     deadline = std::chrono::seconds(30);
constexpr uint32_t for_ever = 0xFFFFFFFF;

bool has_ipv6() { return Endpoint(Kind::dead, AF_INET6).ok(); }

// A resolver in the test's hands. Names starting with "slow" are answered when the gate is opened. Its destructor waits
// until each thread that a port has started has ended, so that no test sees the descriptors of another.
class Names {
public:
    Names() { current = this; }
    Names(const Names&) = delete;
    Names& operator=(const Names&) = delete;
    ~Names() {
        open_gate();
        CHECK(threads_ended());
        CHECK(released_ == listed_);
        current = nullptr;
    }

    void serve(Tcp& tcp) {
        tcp.resolve = &Names::resolve;
        tcp.release = &Names::release;
        tcp.start_thread = &Names::start_thread;
    }
    void add(const std::string& name, Endpoint& endpoint) {
        const std::lock_guard<std::mutex> lock(mutex_);
        book_[name].push_back(&endpoint);
    }
    void open_gate() {
        const std::lock_guard<std::mutex> lock(mutex_);
        open_ = true;
        changed_.notify_all();
    }
    bool threads_ended() {
        return reaches([this] { return ended_ == started_; });
    }
    bool someone_waits() {
        return reaches([this] { return inside_ > 0; });
    }
    int started() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return started_;
    }
    int released() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return released_;
    }
    std::string service() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return service_;
    }
    int failure = EAI_NONAME;      // the answer for a name that is not in the book
    int failure_errno = 0;

private:
    struct Node {
        addrinfo         info{};
        sockaddr_storage address{};
    };

    template <class Condition> bool reaches(Condition condition) {
        std::unique_lock<std::mutex> lock(mutex_);
        return changed_.wait_for(lock, deadline, condition);
    }

    struct Start {
        void* (*run)(void*);
        void* argument;
    };

    static int start_thread(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*), void* argument) {
        {
            const std::lock_guard<std::mutex> lock(current->mutex_);
            ++current->started_;
        }
        return ::pthread_create(thread, attributes, &Names::counted, new Start{run, argument});
    }

    static void* counted(void* start) {
        {
            const std::unique_ptr<Start> it(static_cast<Start*>(start));
            it->run(it->argument);
        }
        const std::lock_guard<std::mutex> lock(current->mutex_);
        ++current->ended_;
        current->changed_.notify_all();
        return nullptr;
    }

    static int resolve(const char* host, const char* service, const addrinfo*, addrinfo** list) {
        Names&                       self = *current;
        std::unique_lock<std::mutex> lock(self.mutex_);
        ++self.inside_;
        self.service_ = service;
        self.changed_.notify_all();
        const std::string name = host;
        if (name.compare(0, 4, "slow") == 0) self.changed_.wait(lock, [&self] { return self.open_; });
        addrinfo** tail = list;
        for (Endpoint* endpoint : self.book_[name]) {
            Node* const node = new Node;
            ::memcpy(&node->address, endpoint->address(), endpoint->size());
            node->info.ai_family = node->address.ss_family;
            node->info.ai_socktype = SOCK_STREAM;
            node->info.ai_addr = reinterpret_cast<sockaddr*>(&node->address);
            node->info.ai_addrlen = endpoint->size();
            *tail = &node->info;
            tail = &node->info.ai_next;
        }
        const bool found = tail != list;
        if (found) ++self.listed_;
        --self.inside_;
        self.changed_.notify_all();
        errno = self.failure_errno;
        return found ? 0 : self.failure;
    }

    static void release(addrinfo* list) {
        while (list != nullptr) {
            Node* const node = reinterpret_cast<Node*>(list);
            list = list->ai_next;
            delete node;
        }
        const std::lock_guard<std::mutex> lock(current->mutex_);
        ++current->released_;
        current->changed_.notify_all();
    }

    static Names* current;

    std::mutex                                    mutex_;
    std::condition_variable                       changed_;
    std::map<std::string, std::vector<Endpoint*>> book_;
    std::string                                   service_;
    bool                                          open_ = false;
    int                                           started_ = 0;
    int                                           ended_ = 0;
    int                                           inside_ = 0;
    int                                           listed_ = 0;
    int                                           released_ = 0;
};

Names* Names::current = nullptr;

// Calls open() until it answers other than 0, and sleeps in wait() between.
int opened(Tcp& tcp, const char* host, uint16_t port) {
    const Clock::time_point end = Clock::now() + deadline;
    while (Clock::now() < end) {
        const int result = tcp.open(host, port);
        if (result != 0) return result;
        tcp.wait(deadline_ms, false);
    }
    return 0;
}

// Calls read() until it answers other than 0, and sleeps in wait() between.
int read_some(Tcp& tcp, uint8_t* data, size_t size) {
    const Clock::time_point end = Clock::now() + deadline;
    while (Clock::now() < end) {
        const int result = tcp.read(data, size);
        if (result != 0) return result;
        tcp.wait(deadline_ms, false);
    }
    return 0;
}

std::string text_from(Tcp& tcp) {
    uint8_t   data[256];
    const int n = read_some(tcp, data, sizeof data);
    return n > 0 ? std::string(reinterpret_cast<const char*>(data), size_t(n)) : "(failed)";
}

const uint8_t* bytes(const char* text) { return reinterpret_cast<const uint8_t*>(text); }

// A connection that is open on both sides.
struct Pair {
    explicit Pair(int receive_buffer = 0) : endpoint(Kind::live, AF_INET, receive_buffer) {
        if (endpoint.ok() && opened(tcp, "127.0.0.1", endpoint.port()) > 0)
            peer = std::make_unique<Peer>(endpoint.accept());
    }
    bool ok() const { return peer != nullptr && peer->there(); }

    Endpoint              endpoint;
    Tcp                   tcp;
    std::unique_ptr<Peer> peer;
};

// Counts a signal while it lives.
volatile sig_atomic_t signals_seen = 0;

class CountedSignal {
public:
    explicit CountedSignal(int signal) : signal_(signal) {
        signals_seen = 0;
        struct sigaction action {};
        action.sa_handler = [](int) { signals_seen = signals_seen + 1; };
        action.sa_flags = SA_RESTART;                      // poll(2) ends with EINTR all the same
        ::sigaction(signal, &action, &before_);
    }
    CountedSignal(const CountedSignal&) = delete;
    CountedSignal& operator=(const CountedSignal&) = delete;
    ~CountedSignal() { ::sigaction(signal_, &before_, nullptr); }

private:
    int              signal_;
    struct sigaction before_ {};
};

int open_descriptors() {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0;
    return count;
}

bool contains(const char* text, const char* part) { return ::strstr(text, part) != nullptr; }

}  // namespace

TEST_SUITE_BEGIN("posix::Tcp");

TEST_CASE("it connects to an IPv4 address, and bytes go both ways") {
    Endpoint endpoint(Kind::live);
    REQUIRE(endpoint.ok());
    Tcp tcp;
    CHECK(tcp.fd() == -1);
    CHECK(tcp.events(true) == 0);
    REQUIRE(opened(tcp, "127.0.0.1", endpoint.port()) > 0);
    CHECK(tcp.open("127.0.0.1", endpoint.port()) > 0);     // and says so again
    CHECK(tcp.error() == 0);
    CHECK(std::string(tcp.error_text()) == "no error");
    Peer peer(endpoint.accept());
    CHECK(tcp.write(bytes("hello"), 5) == 5);
    CHECK(peer.receives(100) == "hello");
    uint8_t data[8];
    CHECK(tcp.read(data, sizeof data) == 0);               // none yet
    REQUIRE(peer.sends("good day"));
    CHECK(text_from(tcp) == "good day");
}

TEST_CASE("it connects to an IPv6 address, with and without brackets") {
    if (!has_ipv6()) {
        MESSAGE("no IPv6 loopback on this machine: not tested");
        return;
    }
    Endpoint endpoint(Kind::live, AF_INET6);
    REQUIRE(endpoint.ok());
    for (const char* host : {"::1", "[::1]"}) {
        CAPTURE(host);
        Tcp tcp;
        REQUIRE(opened(tcp, host, endpoint.port()) > 0);
        Peer peer(endpoint.accept());
        CHECK(tcp.write(bytes("six"), 3) == 3);
        CHECK(peer.receives(100) == "six");
    }
}

TEST_CASE("the socket does not block, is not inherited, and does not wait for more before it sends") {
    Pair pair;
    REQUIRE(pair.ok());
    CHECK((::fcntl(pair.tcp.fd(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(pair.tcp.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    int       no_delay = 0;
    socklen_t size = sizeof no_delay;
    REQUIRE(::getsockopt(pair.tcp.fd(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size) == 0);
    CHECK(no_delay != 0);
    CHECK(pair.tcp.events(false) == POLLIN);
    CHECK(pair.tcp.events(true) == (POLLIN | POLLOUT));
}

TEST_CASE("a numeric address never starts the resolver") {
    Endpoint endpoint(Kind::live);
    REQUIRE(endpoint.ok());
    Names names;
    Tcp   tcp;
    names.serve(tcp);
    CHECK(opened(tcp, "127.0.0.1", endpoint.port()) > 0);
    tcp.close();
    for (const char* host : {"::1", "[::1]", "[127.0.0.1]"}) {
        (void)tcp.open(host, endpoint.port());
        tcp.close();
    }
    CHECK(names.started() == 0);
}

TEST_CASE("the host need not end in 0") {
    Endpoint endpoint(Kind::live);
    REQUIRE(endpoint.ok());
    Tcp                    tcp;
    const std::string_view host = std::string_view("127.0.0.123").substr(0, 9);
    int                    result = tcp.open(host, endpoint.port());
    if (result == 0) result = opened(tcp, "", 0);          // only the first call looks at the arguments
    CHECK(result > 0);
    CHECK(Peer(endpoint.accept()).there());
}

TEST_CASE("a refused connection fails, says why, and leaves nothing open") {
    Endpoint dead(Kind::dead);
    REQUIRE(dead.ok());
    Tcp tcp;
    CHECK(opened(tcp, "127.0.0.1", dead.port()) < 0);
    CHECK(tcp.error() == ECONNREFUSED);
    CHECK(std::string(tcp.error_text()) == ::strerror(ECONNREFUSED));
    CHECK(tcp.fd() == -1);
    uint8_t byte = 0;
    CHECK(tcp.read(&byte, 1) < 0);
    CHECK(tcp.write(&byte, 1) < 0);
    CHECK(tcp.error() == ECONNREFUSED);                    // still why it is not open
}

TEST_CASE("after a failure and after close() it can open again") {
    Endpoint dead(Kind::dead);
    Endpoint live(Kind::live);
    REQUIRE(dead.ok());
    REQUIRE(live.ok());
    Tcp tcp;
    CHECK(opened(tcp, "127.0.0.1", dead.port()) < 0);
    for (int i = 0; i < 3; ++i) {
        CHECK(opened(tcp, "127.0.0.1", live.port()) > 0);
        Peer peer(live.accept());
        CHECK(tcp.write(bytes("again"), 5) == 5);
        CHECK(peer.receives(100) == "again");
        tcp.close();
        CHECK(peer.receives(100) == "");                   // the end
    }
}

TEST_CASE("read tells that the peer has closed, after everything that it sent") {
    Pair pair;
    REQUIRE(pair.ok());
    REQUIRE(pair.peer->sends("bye"));
    pair.peer->close();
    CHECK(text_from(pair.tcp) == "bye");
    uint8_t data[8];
    CHECK(pair.tcp.read(data, 0) == 0);                    // no room is not the end
    CHECK(read_some(pair.tcp, data, sizeof data) < 0);
    CHECK(pair.tcp.error() == ENOTCONN);
    CHECK(std::string(pair.tcp.error_text()) == "the peer closed the connection");
    CHECK(pair.tcp.fd() >= 0);                             // until close()
    pair.tcp.close();
    CHECK(pair.tcp.fd() == -1);
    CHECK(pair.tcp.error() == ENOTCONN);                   // still there for the log
}

TEST_CASE("read tells that the peer has reset the connection") {
    Pair pair;
    REQUIRE(pair.ok());
    pair.peer->reset();
    uint8_t data[8];
    CHECK(read_some(pair.tcp, data, sizeof data) < 0);
    CHECK(pair.tcp.error() == ECONNRESET);
}

TEST_CASE("writing after the peer has closed fails without SIGPIPE, and what it sent can still be read") {
    CountedSignal count(SIGPIPE);
    Pair          pair;
    REQUIRE(pair.ok());
    REQUIRE(pair.peer->sends("bye"));
    pair.peer->close();
    const Clock::time_point end = Clock::now() + deadline;
    int                     result = 0;
    while (result >= 0 && Clock::now() < end) {
        result = pair.tcp.write(bytes("x"), 1);
        pair.tcp.wait(1, false);
    }
    CHECK(result < 0);
    CHECK((pair.tcp.error() == EPIPE || pair.tcp.error() == ECONNRESET));
    CHECK(pair.tcp.write(bytes("x"), 1) < 0);              // and again
    CHECK(signals_seen == 0);
#if defined(__linux__)
    CHECK(text_from(pair.tcp) == "bye");
#endif
}

TEST_CASE("a full socket buffer gives short writes, then 0; drained, every byte has come through") {
    Pair pair(4096);
    REQUIRE(pair.ok());
    const int small = 4096;
    REQUIRE(::setsockopt(pair.tcp.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);

    constexpr size_t     total = 1 << 20;
    const auto           byte_at = [](size_t i) { return uint8_t(i * 7 + i / 251); };
    std::vector<uint8_t> chunk;
    size_t               sent = 0;
    size_t               received = 0;
    bool                 was_short = false;
    bool                 was_full = false;
    bool                 intact = true;
    while (received < total) {
        // Write until nothing more goes in; the bytes move after each call.
        while (sent < total) {
            chunk.resize(total - sent < 100000 ? total - sent : 100000);
            for (size_t i = 0; i < chunk.size(); ++i) chunk[i] = byte_at(sent + i);
            const int n = pair.tcp.write(chunk.data(), chunk.size());
            std::fill(chunk.begin(), chunk.end(), uint8_t(0xAA));
            REQUIRE(n >= 0);
            if (n == 0) {
                was_full = true;
                break;
            }
            if (size_t(n) < chunk.size()) was_short = true;
            sent += size_t(n);
        }
        const std::string got = pair.peer->receives(65536);
        REQUIRE(!got.empty());
        for (size_t i = 0; i < got.size(); ++i) intact = intact && uint8_t(got[i]) == byte_at(received + i);
        received += got.size();
    }
    CHECK(sent == total);
    CHECK(received == total);
    CHECK(intact);
    CHECK(was_short);
    CHECK(was_full);
    CHECK(pair.tcp.wait(deadline_ms, true));               // room again
    CHECK(pair.tcp.write(chunk.data(), 0) == 0);
}

TEST_CASE("sizes above INT_MAX are as good as INT_MAX") {
    if constexpr (sizeof(size_t) > 4) {
        const size_t size = size_t(INT_MAX) + 4096;
        void* const  room = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (room == MAP_FAILED) {
            MESSAGE("no address space for it: not tested");
            return;
        }
        CHECK(mqtt::posix::detail::clamped(size) == size_t(INT_MAX));
        CHECK(mqtt::posix::detail::clamped(5) == 5);
        Pair pair;
        REQUIRE(pair.ok());
        CHECK(pair.tcp.write(static_cast<const uint8_t*>(room), size) > 0);
        REQUIRE(pair.peer->sends("abc"));
        CHECK(read_some(pair.tcp, static_cast<uint8_t*>(room), size) == 3);
        ::munmap(room, size);
    }
}

TEST_CASE("close() does nothing the second time") {
    Tcp tcp;
    tcp.close();
    tcp.close();
    Pair pair;
    REQUIRE(pair.ok());
    pair.tcp.close();
    const int reused = ::socket(AF_INET, SOCK_STREAM, 0);  // gets the number that has become free
    pair.tcp.close();
    CHECK(::fcntl(reused, F_GETFD) >= 0);
    ::close(reused);
    CHECK(pair.peer->receives(1) == "");
    uint8_t byte = 0;
    CHECK(pair.tcp.read(&byte, 1) < 0);
    CHECK(pair.tcp.write(&byte, 1) < 0);
}

TEST_CASE("close() while connecting drops the attempt") {
    Endpoint silent(Kind::silent);
    if (!silent.ok()) {
        MESSAGE("this system has no socket filters: not tested");
        return;
    }
    const int before = open_descriptors();
    Tcp       tcp;
    CHECK(tcp.open("127.0.0.1", silent.port()) == 0);
    CHECK(tcp.open("127.0.0.1", silent.port()) == 0);
    CHECK(tcp.fd() >= 0);
    CHECK(tcp.events(false) == POLLOUT);
    uint8_t byte = 0;
    CHECK(tcp.read(&byte, 1) < 0);                         // not open yet
    CHECK_FALSE(tcp.wait(10, false));
    tcp.close();
    CHECK(tcp.fd() == -1);
    CHECK(open_descriptors() == before);
    Endpoint live(Kind::live);
    CHECK(opened(tcp, "127.0.0.1", live.port()) > 0);
}

TEST_CASE("wait() wakes when the attempt to connect ends") {
    Endpoint silent(Kind::silent);
    if (!silent.ok()) {
        MESSAGE("this system has no socket filters: not tested");
        return;
    }
    Tcp tcp;
    CHECK(tcp.open("127.0.0.1", silent.port()) == 0);
    REQUIRE(silent.speaks_again());                        // the system repeats its SYN after a second
    CHECK(tcp.wait(deadline_ms, false));
    CHECK(tcp.open("127.0.0.1", silent.port()) > 0);
}

TEST_CASE("a name is resolved in the background, and wait() wakes when it is") {
    Endpoint endpoint(Kind::live);
    REQUIRE(endpoint.ok());
    Names names;
    names.add("slow.test", endpoint);
    Tcp tcp;
    names.serve(tcp);
    CHECK(tcp.open("slow.test", 1883) == 0);
    REQUIRE(names.someone_waits());
    CHECK(tcp.open("slow.test", 1883) == 0);
    CHECK(names.service() == "1883");
    CHECK(tcp.fd() >= 0);
    CHECK(tcp.events(true) == POLLIN);
    CHECK((::fcntl(tcp.fd(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK_FALSE(tcp.wait(10, true));
    std::thread opener([&names] { names.open_gate(); });
    CHECK(tcp.wait(deadline_ms, false));
    opener.join();
    CHECK(opened(tcp, "slow.test", 1883) > 0);
    CHECK(names.released() == 1);                          // no memory is held while open
    CHECK(Peer(endpoint.accept()).there());
}

TEST_CASE("close() while resolving returns at once; the thread cleans up when the resolver answers") {
    const int before = open_descriptors();
    Endpoint  endpoint(Kind::live);
    REQUIRE(endpoint.ok());
    Names names;
    names.add("slow.test", endpoint);
    Tcp tcp;
    names.serve(tcp);
    CHECK(tcp.open("slow.test", 1883) == 0);
    REQUIRE(names.someone_waits());
    tcp.close();
    CHECK(tcp.fd() == -1);
    tcp.close();
    CHECK(names.released() == 0);
    names.open_gate();
    CHECK(names.threads_ended());
    CHECK(names.released() == 1);
    CHECK(open_descriptors() == before + 1);               // the endpoint's
    CHECK(endpoint.accept(0) == -1);
}

TEST_CASE("the destructor while resolving does not wait either") {
    Endpoint endpoint(Kind::live);
    REQUIRE(endpoint.ok());
    Names names;
    names.add("slow.test", endpoint);
    {
        Tcp tcp;
        names.serve(tcp);
        CHECK(tcp.open("slow.test", 1883) == 0);
        REQUIRE(names.someone_waits());
    }
    CHECK(names.released() == 0);
    names.open_gate();
    CHECK(names.threads_ended());
    CHECK(names.released() == 1);
}

TEST_CASE("the answer to an abandoned question is not taken for the next one's") {
    Endpoint first(Kind::live);
    Endpoint second(Kind::live);
    REQUIRE(first.ok());
    REQUIRE(second.ok());
    Names names;
    names.add("slow.test", first);
    names.add("fast.test", second);
    Tcp tcp;
    names.serve(tcp);
    CHECK(tcp.open("slow.test", 1883) == 0);
    REQUIRE(names.someone_waits());
    tcp.close();
    CHECK(opened(tcp, "fast.test", 1883) > 0);
    names.open_gate();
    CHECK(names.threads_ended());
    CHECK(tcp.open("fast.test", 1883) > 0);
    CHECK(Peer(second.accept()).there());
    CHECK(first.accept(0) == -1);
}

TEST_CASE("close() at any moment of resolving leaks nothing") {
    const int before = open_descriptors();
    Endpoint  endpoint(Kind::live);
    REQUIRE(endpoint.ok());
    Names names;
    names.add("fast.test", endpoint);
    Tcp tcp;
    names.serve(tcp);
    for (int i = 0; i < 200; ++i) {
        int result = tcp.open("fast.test", 1883);
        for (int j = i % 4; j > 0 && result == 0; --j) {   // from at once to connected
            tcp.wait(deadline_ms, false);
            result = tcp.open("fast.test", 1883);
        }
        CHECK(result >= 0);
        tcp.close();
        const int connection = endpoint.accept(0);
        if (connection >= 0) ::close(connection);
    }
    CHECK(names.threads_ended());
    CHECK(names.released() == 200);
    CHECK(open_descriptors() == before + 1);               // the endpoint's
}

TEST_CASE("every address of a name is tried, in order, until one answers") {
    Endpoint dead(Kind::dead);
    Endpoint live(Kind::live);
    Endpoint later(Kind::live);
    REQUIRE(dead.ok());
    REQUIRE(live.ok());
    REQUIRE(later.ok());
    Names names;
    names.add("many.test", dead);
    names.add("many.test", dead);
    names.add("many.test", live);
    names.add("many.test", later);
    Tcp tcp;
    names.serve(tcp);
    CHECK(opened(tcp, "many.test", 1883) > 0);
    Peer peer(live.accept());
    CHECK(tcp.write(bytes("third"), 5) == 5);
    CHECK(peer.receives(100) == "third");
    CHECK(later.accept(0) == -1);
    CHECK(names.released() == 1);
}

TEST_CASE("the addresses of a name may be of both families") {
    if (!has_ipv6()) {
        MESSAGE("no IPv6 loopback on this machine: not tested");
        return;
    }
    Endpoint dead6(Kind::dead, AF_INET6);
    Endpoint dead4(Kind::dead, AF_INET);
    Endpoint live6(Kind::live, AF_INET6);
    Endpoint live4(Kind::live, AF_INET);
    Names    names;
    names.add("six-four.test", dead6);
    names.add("six-four.test", live4);
    names.add("four-six.test", dead4);
    names.add("four-six.test", live6);
    Tcp tcp;
    names.serve(tcp);
    CHECK(opened(tcp, "six-four.test", 1883) > 0);
    CHECK(Peer(live4.accept()).there());
    tcp.close();
    CHECK(opened(tcp, "four-six.test", 1883) > 0);
    CHECK(Peer(live6.accept()).there());
}

TEST_CASE("when every address refuses, open() fails with the last reason") {
    Endpoint dead(Kind::dead);
    REQUIRE(dead.ok());
    Names names;
    names.add("dead.test", dead);
    names.add("dead.test", dead);
    Tcp tcp;
    names.serve(tcp);
    CHECK(opened(tcp, "dead.test", 1883) < 0);
    CHECK(tcp.error() == ECONNREFUSED);
    CHECK(tcp.fd() == -1);
    CHECK(names.released() == 1);
}

TEST_CASE("a silent address is left for the next one after address_timeout_ms, even in a wait() for ever") {
    Endpoint silent(Kind::silent);
    Endpoint live(Kind::live);
    if (!silent.ok()) {
        MESSAGE("this system has no socket filters: not tested");
        return;
    }
    REQUIRE(live.ok());
    Names names;
    names.add("mixed.test", silent);
    names.add("mixed.test", silent);
    names.add("mixed.test", live);
    Tcp tcp;
    CHECK(tcp.address_timeout_ms == 3000);
    tcp.address_timeout_ms = 50;
    names.serve(tcp);
    const uint32_t began = tcp.now_ms();
    int            result = 0;
    while ((result = tcp.open("mixed.test", 1883)) == 0) tcp.wait(for_ever, false);
    CHECK(result > 0);
    CHECK(tcp.now_ms() - began >= 100);
    CHECK(Peer(live.accept()).there());
    CHECK(tcp.error() == ETIMEDOUT);                       // what the one before ended with
}

TEST_CASE("the last address is given all the time") {
    Endpoint silent(Kind::silent);
    if (!silent.ok()) {
        MESSAGE("this system has no socket filters: not tested");
        return;
    }
    Names names;
    names.add("silent.test", silent);
    Tcp tcp;
    tcp.address_timeout_ms = 0;
    names.serve(tcp);
    while (tcp.open("silent.test", 1883) == 0 && tcp.events(false) != POLLOUT) tcp.wait(for_ever, false);
    for (int i = 0; i < 3; ++i) {
        CHECK_FALSE(tcp.wait(2, false));
        CHECK(tcp.open("silent.test", 1883) == 0);
    }
    tcp.close();
    CHECK(names.released() == 1);
}

TEST_CASE("close() between two addresses releases the list") {
    Endpoint silent(Kind::silent);
    if (!silent.ok()) {
        MESSAGE("this system has no socket filters: not tested");
        return;
    }
    Names names;
    names.add("silent.test", silent);
    names.add("silent.test", silent);
    Tcp tcp;
    names.serve(tcp);
    while (tcp.open("silent.test", 1883) == 0 && tcp.events(false) != POLLOUT) tcp.wait(for_ever, false);
    CHECK(names.released() == 0);
    tcp.close();
    CHECK(names.released() == 1);
}

TEST_CASE("a name that does not resolve fails with the resolver's text") {
    Names names;
    Tcp   tcp;
    names.serve(tcp);
    CHECK(opened(tcp, "nowhere.test", 1883) < 0);
    CHECK(tcp.error() == EAI_NONAME);
    CHECK(std::string(tcp.error_text()) == ::gai_strerror(EAI_NONAME));
    CHECK(tcp.fd() == -1);

    names.failure = EAI_SYSTEM;
    names.failure_errno = ENFILE;
    CHECK(opened(tcp, "nowhere.test", 1883) < 0);
    CHECK(tcp.error() == ENFILE);
    CHECK(std::string(tcp.error_text()) == ::strerror(ENFILE));

    names.failure = 0;                                     // success, and no address
    CHECK(opened(tcp, "nowhere.test", 1883) < 0);
    CHECK(tcp.error() == EAI_NONAME);
}

TEST_CASE("what cannot be a name fails without the resolver") {
    Names names;
    Tcp   tcp;
    names.serve(tcp);
    const std::string hosts[] = {"", std::string(256, 'a'), std::string("a\0b", 3), "[localhost]", "[]x]"};
    for (const std::string& host : hosts) {
        CAPTURE(host);
        CHECK(tcp.open(host, 1883) < 0);
        CHECK(tcp.error() == EAI_NONAME);
    }
    CHECK(names.started() == 0);
    CHECK(opened(tcp, std::string(255, 'a').c_str(), 1883) < 0);
    CHECK(names.started() == 1);
}

TEST_CASE("without a thread open() fails, and says so") {
    const int before = open_descriptors();
    Tcp       tcp;
    tcp.start_thread = [](pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) { return EAGAIN; };
    CHECK(tcp.open("nowhere.test", 1883) < 0);
    CHECK(tcp.error() == EAGAIN);
    CHECK(contains(tcp.error_text(), "thread"));
    CHECK(tcp.fd() == -1);
    CHECK(open_descriptors() == before);
}

TEST_CASE("the system's own resolver knows localhost") {
    bool        listed = false;                            // else the question would leave this machine
    FILE* const hosts = ::fopen("/etc/hosts", "r");
    char        line[256];
    while (hosts != nullptr && ::fgets(line, sizeof line, hosts) != nullptr)
        listed = listed || (line[0] != '#' && contains(line, "localhost"));
    if (hosts != nullptr) ::fclose(hosts);
    if (!listed) {
        MESSAGE("no localhost in /etc/hosts: not tested");
        return;
    }
    Endpoint endpoint(Kind::live);
    REQUIRE(endpoint.ok());
    Names names;
    Tcp   tcp;
    names.serve(tcp);
    tcp.resolve = ::getaddrinfo;
    tcp.release = ::freeaddrinfo;
    REQUIRE(opened(tcp, "localhost", endpoint.port()) > 0);
    CHECK(names.started() == 1);
}

TEST_CASE("wait() wakes when there is something to read") {
    Pair pair;
    REQUIRE(pair.ok());
    CHECK_FALSE(pair.tcp.wait(10, false));
    CHECK_FALSE(pair.tcp.wait(0, false));
    std::thread sender([&pair] { (void)pair.peer->sends("!"); });
    CHECK(pair.tcp.wait(for_ever, false));
    sender.join();
    CHECK(text_from(pair.tcp) == "!");
}

TEST_CASE("wait() does not wake again for what nobody has read: a client that cannot take it does not spin") {
    Pair pair;
    REQUIRE(pair.ok());
    REQUIRE(pair.peer->sends("!"));
    CHECK(pair.tcp.wait(deadline_ms, false));
    CHECK_FALSE(pair.tcp.wait(10, false));
    CHECK(pair.tcp.wait(deadline_ms, true));               // there is room to write
    CHECK_FALSE(pair.tcp.wait(10, false));
    uint8_t byte = 0;
    CHECK(pair.tcp.read(&byte, 1) == 1);
    REQUIRE(pair.peer->sends("?"));
    CHECK(pair.tcp.wait(deadline_ms, false));
}

TEST_CASE("wait() wakes when there is room to write, if that is wanted") {
    Pair pair;
    REQUIRE(pair.ok());
    CHECK(pair.tcp.wait(deadline_ms, true));
    CHECK_FALSE(pair.tcp.wait(10, false));
}

TEST_CASE("wait() wakes when the peer closes") {
    Pair pair;
    REQUIRE(pair.ok());
    pair.peer->close();
    CHECK(pair.tcp.wait(deadline_ms, false));
}

TEST_CASE("without a socket wait() sleeps its time") {
    Tcp            tcp;
    const uint32_t began = tcp.now_ms();
    CHECK_FALSE(tcp.wait(30, true));
    CHECK(tcp.now_ms() - began >= 30);
}

TEST_CASE("a signal ends wait()") {
    CountedSignal     count(SIGUSR1);
    Tcp               tcp;
    const pthread_t   waiter = ::pthread_self();
    std::atomic<bool> back{false};
    std::thread       sender([&back, waiter] {             // repeated: the first may come before poll(2)
        while (!back.load()) {
            ::pthread_kill(waiter, SIGUSR1);
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    });
    CHECK_FALSE(tcp.wait(for_ever, false));
    back = true;
    sender.join();
    CHECK(signals_seen > 0);
}

TEST_CASE("signals do not run in the resolver thread") {
    Names names;
    Tcp   tcp;
    names.serve(tcp);
    tcp.resolve = [](const char*, const char*, const addrinfo*, addrinfo**) {
        sigset_t blocked;
        ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
        return ::sigismember(&blocked, SIGINT) == 1 && ::sigismember(&blocked, SIGPIPE) == 1 ? EAI_FAIL : EAI_AGAIN;
    };
    CHECK(opened(tcp, "nowhere.test", 1883) < 0);
    CHECK(tcp.error() == EAI_FAIL);
    sigset_t blocked;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    CHECK(::sigismember(&blocked, SIGINT) == 0);           // and are as before in this one
}

TEST_CASE("now_ms() never goes back") {
    Tcp      tcp;
    uint32_t last = tcp.now_ms();
    bool     forward = true;
    for (int i = 0; i < 100000; ++i) {
        const uint32_t now = tcp.now_ms();
        forward = forward && int32_t(now - last) >= 0;
        last = now;
    }
    CHECK(forward);
}

TEST_CASE("random() differs from call to call, by each of its ways") {
    Tcp            tcp;
    const uint32_t first = tcp.random();
    bool           differs = false;
    for (int i = 0; i < 8; ++i) differs = differs || tcp.random() != first;
    CHECK(differs);

    uint64_t a = 0;
    uint64_t b = 0;
    CHECK(mqtt::posix::detail::device_entropy(&a, sizeof a));
    CHECK(mqtt::posix::detail::device_entropy(&b, sizeof b));
    CHECK(a != b);
}

TEST_SUITE_END();
