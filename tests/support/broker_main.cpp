// embedded_broker: test::Broker as a program, on 127.0.0.1 only. For the demo and for trying things out. MQTT 5 clients
// may use topic aliases, and get some if they take them; reason strings say what went wrong.
//
//     embedded_broker [--port N] [--port-file FILE] [--verbose]
//
// Without --port (or with 0) the kernel chooses. FILE appears, complete, once connections are accepted. It runs until
// SIGTERM or SIGINT.

#include "tests/support/broker_tcp.hpp"

#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

namespace {

test::TcpBroker* running = nullptr;
volatile std::sig_atomic_t stopped = 0;

extern "C" void on_signal(int) {
    stopped = 1;
    if (running != nullptr) running->wake();
}

struct Arguments {
    uint16_t port = 0;
    std::string port_file;
    bool verbose = false;
};

bool parse(int argc, char** argv, Arguments& arguments) {
    for (int i = 1; i < argc; ++i) {
        const std::string option = argv[i];
        const bool has_value = i + 1 < argc;
        if (option == "--verbose") {
            arguments.verbose = true;
        } else if (option == "--port-file" && has_value) {
            arguments.port_file = argv[++i];
        } else if (option == "--port" && has_value) {
            char* end = nullptr;
            const unsigned long port = std::strtoul(argv[++i], &end, 10);
            if (end == argv[i] || *end != '\0' || port > 65535) return false;
            arguments.port = static_cast<uint16_t>(port);
        } else {
            return false;
        }
    }
    return true;
}

// By rename, so that who waits for the file never reads half of it.
bool write_port_file(const std::string& name, uint16_t port) {
    const std::string unfinished = name + ".new";
    std::FILE* file = std::fopen(unfinished.c_str(), "w");
    if (file == nullptr) return false;
    const bool written = std::fprintf(file, "%u\n", static_cast<unsigned>(port)) > 0;
    const bool closed = std::fclose(file) == 0;
    return written && closed && std::rename(unfinished.c_str(), name.c_str()) == 0;
}

// The default is 1024 descriptors; what may be raised without asking anybody is.
void allow_many_connections() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

void serve(const Arguments& arguments) {
    test::BrokerConfig config;
    config.limits.topic_alias_maximum = config.use_aliases = 16;
    config.reason_strings = true;
    if (arguments.verbose) config.trace = [](const std::string& line) { std::fprintf(stderr, "broker: %s\n", line.c_str()); };
    test::TcpBroker broker(arguments.port, config);
    running = &broker;
    std::signal(SIGTERM, on_signal);
    std::signal(SIGINT, on_signal);
    std::printf("listening on 127.0.0.1:%u\n", static_cast<unsigned>(broker.port()));
    std::fflush(stdout);
    if (!arguments.port_file.empty() && !write_port_file(arguments.port_file, broker.port()))
        throw std::runtime_error("cannot write " + arguments.port_file);
    while (stopped == 0) broker.run_once(-1);
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGINT, SIG_DFL);
    running = nullptr;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    if (!parse(argc, argv, arguments)) {
        std::fprintf(stderr, "usage: embedded_broker [--port N] [--port-file FILE] [--verbose]\n");
        return 2;
    }
    allow_many_connections();
    try {
        serve(arguments);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "embedded_broker: %s\n", error.what());
        return 1;
    }
    return 0;
}
