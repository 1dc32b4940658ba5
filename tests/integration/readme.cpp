// The program that the README shows, as it is: it connects to 127.0.0.1:1883, so it runs in a network of its own.
#include <doctest/doctest.h>

#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <functional>
#include <string>

#include "tests/support/process.hpp"
#include "tests/support/testing.hpp"

namespace {

// A network namespace with nothing in it but loopback.
bool enter_empty_network() {
    if (::unshare(CLONE_NEWNET) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
    const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
    ifreq request{};
    request.ifr_name[0] = 'l';
    request.ifr_name[1] = 'o';
    request.ifr_flags = IFF_UP;
    const bool up = ::ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    ::close(fd);
    return up;
}

// What a terminal would show of a program: its standard output is buffered by the line only there.
class Terminal {
public:
    explicit Terminal(const std::string& program) {
        master_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
        if (master_ < 0 || ::grantpt(master_) != 0 || ::unlockpt(master_) != 0) throw std::runtime_error("no terminal");
        program_.start({program}, ::ptsname(master_));
    }
    ~Terminal() { ::close(master_); }
    bool shows(const std::string& text) {
        return test::eventually([&] {
            char piece[4096];
            const ssize_t n = ::read(master_, piece, sizeof piece);
            if (n > 0) shown_.append(piece, static_cast<size_t>(n));
            const size_t at = shown_.find(text);
            if (at == std::string::npos) return false;
            shown_.erase(0, at + text.size());
            return true;
        });
    }

private:
    int master_ = -1;
    std::string shown_;
    test::Process program_;
};

// 0: it went well; else the line where it did not.
int survives(const std::vector<std::string>& broker_command) {
    if (!enter_empty_network()) return -1;
    test::Process broker;
    const auto start = [&] {
        broker.start(broker_command);
        return test::eventually([] { return test::accepts(1883); });
    };
    const std::string program = std::string(std::getenv("MQTT_EXAMPLES")) + "/readme";
    if (!start()) return __LINE__;
    Terminal terminal(program);
    if (!terminal.shows("demo/status: here")) return __LINE__;
    broker.stop(SIGKILL);
    if (!terminal.shows("lost: ")) return __LINE__;
    if (!start()) return __LINE__;
    if (!terminal.shows("demo/status: here")) return __LINE__;
    return 0;
}

int in_a_child(const std::function<int()>& what) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        int line = 1;
        try {
            line = what();
        } catch (...) {
        }
        ::_exit(line < 0 ? 255 : line);
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

}  // namespace

TEST_CASE("the README's program runs against mosquitto, and survives the broker being killed and started again") {
    test::TemporaryFolder folder;
    const std::string configuration = folder.write("mosquitto.conf",
        std::string("listener 1883 127.0.0.1\nallow_anonymous true\npersistence false\n") +
        (::geteuid() == 0 ? "user root\n" : ""));
    const int line = in_a_child([&] { return survives({test::Mosquitto::program(), "-c", configuration}); });
    if (line == 255) SKIP_TEST("this machine lends no network namespace");
    CHECK(line == 0);
}

TEST_CASE("the README's program runs against the embedded broker, and survives its being killed and started again") {
    const int line = in_a_child([] { return survives({std::getenv("MQTT_EMBEDDED_BROKER"), "--port", "1883"}); });
    if (line == 255) SKIP_TEST("this machine lends no network namespace");
    CHECK(line == 0);
}
