// PROGRAM CASE [--port N] [--qos Q] [--size BYTES] [--in-flight N] [--count N] [--halves] [--store FOLDER [--no-fsync]]
// PROGRAM --version
//
// Messages of one library (see subject.hpp), on the topic of all, and what they cost. CASE:
//
//   publish     to the server at --port. QoS 0: until the QoS 1 message behind them is acknowledged
//   receive     what a raw socket publishes to the server at --port
//   both        to itself, through the server at --port
//   round-trip  one at a time to the server at --port, QoS 1: from publish() until it is acknowledged
//   answered    to a process that answers all that it has read with one write (QoS 1)
//   sink        to a process that takes all, as fast as it comes, and answers nothing (QoS 0)
//   source      from a process that sends messages made beforehand in large writes
//
//   --halves    refills the window when half of it is acknowledged, not after each
//   --store     the library keeps the session in files there
//   --no-fsync  fsync(2) and fdatasync(2) do nothing: what is stored survives the process and not a power cut
//
// Prints rows `metric, value, unit`: rate; CPU time of this process, all threads; system calls that move data or wait; with
// --store, those that wait for the disk.
#include "bench/throughput/system_calls.hpp"

#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "bench/measure.hpp"
#include "bench/throughput/wire.hpp"
#include "tests/support/sockets.hpp"

// The same for all: no connection holds small packets back. paho does not ask for that, and so waits for the other side's
// delayed acknowledgements when it has to answer a message while it publishes. A listening socket's are its connections'.
extern "C" __attribute__((visibility("default"))) int socket(int family, int type, int protocol) {
    static const auto next = reinterpret_cast<int (*)(int, int, int)>(::dlsym(RTLD_NEXT, "socket"));
    const int fd = next(family, type, protocol), on = 1;
    if (fd >= 0) ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);   // fails where it is not TCP
    return fd;
}

namespace {

using bench::Socket;
using bench::cpu_seconds;
using test::Endpoint;
using Clock = std::chrono::steady_clock;

double now() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

// A process of its own for the other side. It ends by itself when the connection does, or with us.
class Child {
public:
    explicit Child(const std::function<void()>& run) : pid_(::fork()) {
        if (pid_ < 0) throw std::runtime_error("fork");
        if (pid_ != 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        try {
            run();
        } catch (const std::exception& error) {
            std::fprintf(stderr, "the other side: %s\n", error.what());
        }
        ::_exit(0);
    }
    ~Child() {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

private:
    pid_t pid_;
};

// Memory that processes share: how the other side tells and is told.
struct Shared {
    std::atomic<bool> go{false};
    std::atomic<bool> done{false};
    std::atomic<double> done_at{0};
};
Shared& shared() {
    static void* const memory =
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    static Shared* const here = new (memory) Shared;
    return *here;
}
void nap() { ::usleep(200); }

Socket accept_client(Endpoint& listener) {
    Socket client(listener.accept());
    if (client.receive_packet().empty()) throw std::runtime_error("no CONNECT");
    constexpr uint8_t connack[] = {0x20, 2, 0, 0};
    client.send(connack, sizeof connack);
    return client;
}

// Takes `bytes` of messages, and what follows until the end.
void be_sink(Endpoint& listener, size_t bytes) {
    const Socket client = accept_client(listener);
    std::vector<uint8_t> in(1 << 20);
    while (const size_t n = client.receive(in.data(), in.size())) {
        if (bytes != 0 && n >= bytes) {
            shared().done_at = now();
            shared().done = true;
        }
        bytes -= std::min(bytes, n);
    }
}

// Acknowledges all messages of a read in one write.
void be_answering(Endpoint& listener, const bench::Settings& settings) {
    const Socket client = accept_client(listener);
    const size_t size = bench::Messages(1, settings.size, 1).size();
    std::vector<uint8_t> in(1 << 20), out;
    size_t have = 0;
    while (const size_t n = client.receive(in.data() + have, in.size() - have)) {
        have += n;
        out.clear();
        size_t at = 0;
        for (; have - at >= size; at += size) {
            const uint8_t* const id = in.data() + at + size - settings.size - 2;
            out.insert(out.end(), {0x40, 2, id[0], id[1]});
        }
        std::memmove(in.data(), in.data() + at, have - at);
        have -= at;
        if (!client.send(out)) return;
    }
}

void send_messages(const Socket& socket, const bench::Settings& settings, unsigned long count) {
    bench::Messages messages(settings.qos, settings.size);
    std::vector<uint8_t> in(65536);
    // At QoS 1 no more than so many unanswered, of which all the client sends is acknowledgements of four bytes.
    const unsigned long window = settings.qos == 0 ? count : 2000;
    const unsigned long piece = std::max(1UL, 65536 / static_cast<unsigned long>(messages.size()));
    unsigned long unanswered = 0;
    size_t answers = 0;
    while (count != 0) {
        unsigned long n = std::min({count, window - unanswered, piece});
        if (n == 0) {
            answers += socket.receive(in.data(), in.size());
            unanswered -= std::min(unanswered, static_cast<unsigned long>(answers / 4));
            answers %= 4;
            continue;
        }
        const uint8_t* const bytes = messages.next(n);
        if (!socket.send(bytes, n * messages.size())) return;
        count -= n;
        if (settings.qos != 0) unanswered += n;
    }
    while (socket.receive(in.data(), in.size()) != 0) {}
}

void be_source(Endpoint& listener, const bench::Settings& settings, unsigned long count) {
    const Socket client = accept_client(listener);
    const auto subscribe = client.receive_packet();
    if (subscribe.size() < 4) throw std::runtime_error("no SUBSCRIBE");
    const uint8_t suback[] = {0x90, 3, subscribe[2], subscribe[3], static_cast<uint8_t>(settings.qos)};
    client.send(suback, sizeof suback);
    while (!shared().go) nap();
    send_messages(client, settings, count);
}

// Publishes to a server, keeping its acknowledgements at QoS 1 and 2.
void be_publisher(const bench::Settings& settings, unsigned long count) {
    const Socket socket = bench::connected_to(settings.port);
    if (!bench::handshake(socket, "source")) throw std::runtime_error("no CONNACK");
    while (!shared().go) nap();
    if (settings.qos < 2) return send_messages(socket, settings, count);
    bench::Messages messages(2, settings.size);
    std::vector<uint8_t> in(65536), out;
    size_t have = 0;
    for (unsigned long sent = 0, done = 0; done < count;) {
        if (sent < count && sent - done < 500) {
            unsigned long n = std::min(count - sent, 1000 - (sent - done));
            const uint8_t* const bytes = messages.next(n);
            if (!socket.send(bytes, n * messages.size())) return;
            sent += n;
        }
        const size_t n = socket.receive(in.data() + have, in.size() - have);
        if (n == 0) return;
        have += n;
        out.clear();
        for (size_t at = 0; at + 4 <= have; at += 4) {
            if (in[at] == 0x50) out.insert(out.end(), {0x62, 2, in[at + 2], in[at + 3]});
            if (in[at] == 0x70) ++done;
        }
        std::memmove(in.data(), in.data() + (have & ~size_t{3}), have & 3);
        have &= 3;
        if (!socket.send(out)) return;
    }
    while (!shared().done) nap();
}

class Run {
public:
    Run(const bench::Settings& settings, unsigned long count, bool halves)
        : settings_(settings), count_(count), halves_(halves), subject_(bench::make_subject(settings)) {}

    void connect(bool subscribe) {
        if (!subject_->connect()) throw std::runtime_error("cannot connect");
        if (subscribe && !subject_->subscribe()) throw std::runtime_error("cannot subscribe");
        shared().go = true;
        begin_ = now(), cpu_ = cpu_seconds(), calls_ = bench::system_calls, counted_ = subject_->counted_calls();
        syncs_ = bench::syncs;
    }
    void publish() {
        if (settings_.qos == 0) {
            for (unsigned long sent = 0; sent < count_;) {
                while (sent < count_ && subject_->publish(0)) ++sent;
                if (sent < count_) subject_->work();
            }
        } else {
            const unsigned long window = settings_.in_flight;
            for (unsigned long sent = 0, acknowledged = 0; acknowledged < count_; acknowledged = subject_->acknowledged()) {
                if (!halves_ || sent - acknowledged <= window / 2)
                    while (sent < count_ && sent - acknowledged < window && subject_->publish(settings_.qos)) ++sent;
                if (subject_->acknowledged() == acknowledged) subject_->work();
            }
        }
    }
    void publish_marker() {
        while (!subject_->publish(1)) subject_->work();
        while (subject_->acknowledged() == 0) subject_->work();
    }
    void write_all() {
        while (!subject_->written()) subject_->work();
    }
    void receive() {
        while (subject_->received() < count_) subject_->work();
    }
    void both() {
        const auto may_publish = [&](unsigned long sent) {
            return sent < count_ && sent - subject_->received() < 4 * settings_.in_flight &&
                   (settings_.qos == 0 || sent - subject_->acknowledged() < settings_.in_flight);
        };
        for (unsigned long sent = 0; subject_->received() < count_; subject_->work())
            while (may_publish(sent) && subject_->publish(settings_.qos)) ++sent;
    }
    void round_trips() {
        std::vector<double> times;
        for (unsigned long i = 0; i < count_; ++i) {
            const double begin = now();
            while (!subject_->publish(1)) subject_->work();
            while (subject_->acknowledged() == i) subject_->work();
            times.push_back(now() - begin);
        }
        std::sort(times.begin(), times.end());
        std::printf("median\t%.2f\tus\n", times[times.size() / 2] * 1e6);
        std::printf("p99\t%.2f\tus\n", times[times.size() * 99 / 100] * 1e6);
    }
    // What the processor has been used for until the other side has all, and how long that took.
    void print(double end = now()) const {
        const double count = static_cast<double>(count_);
        const auto each = [&](unsigned long calls) { return static_cast<double>(calls) / count; };
        std::printf("cpu\t%.4f\tus/message\n", (cpu_seconds() - cpu_) / count * 1e6);
        std::printf("rate\t%.0f\tmessages/s\n", count / (end - begin_));
        std::printf("system_calls\t%.4f\tcalls/message\n", each(bench::system_calls - calls_));
        if (!settings_.store.empty()) std::printf("syncs\t%.4f\tcalls/message\n", each(bench::syncs - syncs_));
        if (subject_->counted_calls() != 0)
            std::printf("system_calls_of_port\t%.4f\tcalls/message\n", each(subject_->counted_calls() - counted_));
        std::fflush(stdout);
    }

private:
    const bench::Settings settings_;
    const unsigned long count_;
    const bool halves_;
    const std::unique_ptr<bench::Subject> subject_;
    double begin_ = 0, cpu_ = 0;
    unsigned long calls_ = 0, counted_ = 0, syncs_ = 0;
};

int run(const std::string& what, bench::Settings settings, unsigned long count, bool halves) {
    shared();
    if (what == "publish" || what == "both" || what == "round-trip") {
        Run run(settings, count, halves);
        run.connect(what == "both");
        if (what == "both") {
            run.both();
        } else if (what == "publish") {
            run.publish();
            if (settings.qos == 0) run.publish_marker();
        } else {
            run.round_trips();
        }
        run.print();
    } else if (what == "receive") {
        const Child publisher([&] { be_publisher(settings, count); });
        Run run(settings, count, halves);
        run.connect(true);
        run.receive();
        run.print();
        shared().done = true;
    } else if (what == "sink") {
        Endpoint listener(test::Kind::live);
        settings.port = listener.port();
        const size_t bytes = count * bench::Messages(0, settings.size, 1).size();
        const Child sink([&] { be_sink(listener, bytes); });
        Run run(settings, count, halves);
        run.connect(false);
        run.publish();
        run.write_all();
        while (!shared().done) nap();
        run.print(shared().done_at);
    } else if (what == "answered") {
        Endpoint listener(test::Kind::live);
        settings.port = listener.port();
        const Child server([&] { be_answering(listener, settings); });
        Run run(settings, count, halves);
        run.connect(false);
        run.publish();
        run.print();
    } else if (what == "source") {
        Endpoint listener(test::Kind::live);
        settings.port = listener.port();
        const Child source([&] { be_source(listener, settings, count); });
        Run run(settings, count, halves);
        run.connect(true);
        run.receive();
        run.print();
    } else {
        std::fprintf(stderr, "what is '%s'?\n", what.c_str());
        return 2;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    bench::Settings settings;
    unsigned long count = 100000;
    bool halves = false;
    for (int i = 2; i < argc; ++i) {
        const std::string option = argv[i];
        const auto number = [&] { return i + 1 < argc ? std::strtoul(argv[++i], nullptr, 10) : 0; };
        if (option == "--port") settings.port = static_cast<uint16_t>(number());
        else if (option == "--qos") settings.qos = static_cast<int>(number());
        else if (option == "--size") settings.size = number();
        else if (option == "--in-flight") settings.in_flight = number();
        else if (option == "--count") count = number();
        else if (option == "--halves") halves = true;
        else if (option == "--no-fsync") bench::without_syncs = true;
        else if (option == "--store" && i + 1 < argc) settings.store = argv[++i];
        else return std::fprintf(stderr, "what is '%s'?\n", argv[i]), 2;
    }
    if (argc > 1 && std::strcmp(argv[1], "--version") == 0) return std::puts(bench::subject_version().c_str()), 0;
    if (argc < 2 || settings.qos > 2 || settings.in_flight == 0 || settings.in_flight > 65535 || count == 0) {
        std::fprintf(stderr, "usage: see the beginning of bench/throughput/main.cpp\n");
        return 2;
    }
    std::signal(SIGPIPE, SIG_IGN);
    ::alarm(120);   // a case that hangs is a failure
    try {
        return run(argv[1], settings, count, halves);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
        return 1;
    }
}
