// Programs that a test starts: in a temporary folder, on free ports of 127.0.0.1, ended by process id.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace test {

// Waits until `condition()` holds; false: it did not within a time that is generous on a busy machine.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(60)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::yield();
    }
    return true;
}

// For a condition that takes long to hold, so that others have the processor: `condition || pause()`.
inline bool pause() {
    ::poll(nullptr, 0, 5);
    return false;
}

inline std::string text_of(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "mqtt-test-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
        path = name;
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(path / name) << text;
        return (path / name).string();
    }

    std::filesystem::path path;
};

// A TCP port of 127.0.0.1 that was free a moment ago. For servers that cannot choose one themselves.
inline uint16_t free_port(int* reserved = nullptr) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int yes = reserved != nullptr;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    void* const raw = &address;
    if (fd < 0 || ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        ::bind(fd, static_cast<sockaddr*>(raw), size) != 0 ||
        ::getsockname(fd, static_cast<sockaddr*>(raw), &size) != 0)
        throw std::runtime_error("no free port");
    if (reserved != nullptr)
        *reserved = fd;
    else
        ::close(fd);
    return ntohs(address.sin_port);
}

// One that stays ours, for servers that take long to say that somebody else was faster: bound with SO_REUSEADDR and
// not listened on, it is given to nobody else (Linux), but a server that sets SO_REUSEADDR, as all do, can have it.
class ReservedPort {
public:
    ReservedPort() = default;
    ReservedPort(const ReservedPort&) = delete;
    ReservedPort& operator=(const ReservedPort&) = delete;
    ~ReservedPort() { ::close(fd_); }
    operator uint16_t() const { return number_; }
    std::string text() const { return std::to_string(number_); }

private:
    int fd_ = -1;
    const uint16_t number_ = free_port(&fd_);
};

inline bool accepts(uint16_t port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    const void* const raw = &address;
    const bool ok = ::connect(fd, static_cast<const sockaddr*>(raw), sizeof address) == 0;
    ::close(fd);
    return ok;
}

// The full path of a program, also from the folders that only root's PATH has; empty: it is not installed.
inline std::string find_program(const std::string& name) {
    const char* const path = std::getenv("PATH");
    std::string folders = std::string(path == nullptr ? "" : path) + ":/usr/sbin:/usr/local/sbin";
    for (size_t begin = 0; begin <= folders.size();) {
        const size_t end = std::min(folders.find(':', begin), folders.size());
        const std::string file = folders.substr(begin, end - begin) + "/" + name;
        if (::access(file.c_str(), X_OK) == 0) return file;
        begin = end + 1;
    }
    return {};
}

class Process {
public:
    // Output goes to `log` if given, else nowhere. `environment`: NAME=VALUE, besides ours.
    void start(const std::vector<std::string>& command, const std::string& log = "/dev/null",
               const std::vector<std::string>& environment = {}) {
        stop();
        pid_ = ::fork();
        if (pid_ < 0) throw std::runtime_error("fork");
        if (pid_ > 0) return;
#ifdef __linux__
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);   // a test (its main thread) that crashes leaves nothing behind
#endif
        const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        ::dup2(::open("/dev/null", O_RDONLY), 0);
        ::dup2(out, 1);
        ::dup2(out, 2);
        for (const std::string& variable : environment) ::putenv(const_cast<char*>(variable.c_str()));
        std::vector<char*> arguments;
        for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
        arguments.push_back(nullptr);
        ::execv(arguments[0], arguments.data());
        ::_exit(127);
    }
    void signal(int number) const {
        if (pid_ > 0) ::kill(pid_, number);
    }
    bool running() const { return pid_ > 0; }
    // Ends it and waits until it has ended, if need be by SIGKILL; the exit status, or -1.
    int stop(int number = SIGTERM) {
        if (pid_ <= 0) return -1;
        ::kill(pid_, SIGCONT);
        ::kill(pid_, number);
        int status = 0;
        if (!eventually([&] { return ::waitpid(pid_, &status, WNOHANG) != 0 || pause(); })) {
            ::kill(pid_, SIGKILL);
            while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {}
        }
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }
    bool ended() {
        if (pid_ <= 0) return true;
        if (::waitpid(pid_, nullptr, WNOHANG) != pid_) return false;
        pid_ = -1;
        return true;
    }
    Process() = default;
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;
    ~Process() { stop(SIGKILL); }

private:
    pid_t pid_ = -1;
};

// mosquitto with a configuration and data of its own. It can be killed and started again on the same port.
class Mosquitto {
public:
    explicit Mosquitto(const std::string& extra = "") {
        for (int attempt = 0; attempt < 20; ++attempt) {   // somebody else may take the port first
            port = free_port();
            configuration_ = folder.write("mosquitto.conf",
                "listener " + std::to_string(port) + " 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
                "set_tcp_nodelay true\n" + (::geteuid() == 0 ? "user root\n" : "") +   // else it may not read our files
                (extra.find("persistence ") == std::string::npos ? "persistence false\n" : "") + extra);
            if (start()) return;
        }
        throw std::runtime_error("mosquitto does not start: " + log());
    }
    static std::string program() { return find_program("mosquitto"); }

    bool start() {
        process.start({program(), "-c", configuration_}, (folder.path / "log").string());
        return eventually([&] { return process.ended() || accepts(port); }) && process.running();
    }
    std::string log() const { return text_of(folder.path / "log"); }

    TemporaryFolder folder;
    uint16_t port = 0;
    Process process;

private:
    std::string configuration_;
};

// mosquitto with a plain listener, `plain`, and another one, `port`, which has `listener` in its configuration. (2.0.11 with
// one for WebSocket alone says "Unable to start any listening sockets" and ends.)
class TwoListeners {
public:
    explicit TwoListeners(const std::string& extra, const std::string& listener) {
        for (int attempt = 0; attempt < 20; ++attempt) {   // somebody else may take the port first
            port = free_port();
            mosquitto_ = std::make_unique<Mosquitto>(extra + "listener " + std::to_string(port) + " 127.0.0.1\n" + listener);
            if (listens()) return;
        }
        throw std::runtime_error("mosquitto does not listen: " + mosquitto_->log());
    }
    bool start() { return mosquitto_->start() && listens(); }
    Process& process() { return mosquitto_->process; }
    uint16_t plain() const { return mosquitto_->port; }
    std::string log() const { return mosquitto_->log(); }

    uint16_t port = 0;

private:
    bool listens() {
        return eventually([&] { return process().ended() || accepts(port); }) && process().running();
    }
    std::unique_ptr<Mosquitto> mosquitto_;
};

}  // namespace test
