// A program that a test talks to: input, outputs, exit status.
#pragma once

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/process.hpp"

namespace test {

using Words = std::vector<std::string>;

// The folder of the example programs (tests/meson.build sets it).
inline std::string examples() {
    const char* const folder = std::getenv("MQTT_EXAMPLES");
    return folder != nullptr ? folder : "examples";
}

// A running program; a name without '/' is one of the examples. Its input is ours to write, or a file; its outputs go to
// files.
class Program {
public:
    explicit Program(Words command, const std::string& input_file = {}) {
        if (command[0].find('/') == std::string::npos) command[0] = examples() + "/" + command[0];
        std::vector<char*> arguments;
        for (std::string& word : command) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        const std::string out_file = (folder_.path / "out").string(), err_file = (folder_.path / "err").string();
        // A socket and not a pipe: writing to a program that has ended raises no signal.
        int ends[2] = {-1, -1};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        input_ = ends[0];
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
#ifdef __linux__
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);   // a test that crashes leaves nothing behind
#endif
            ::dup2(input_file.empty() ? ends[1] : ::open(input_file.c_str(), O_RDONLY | O_CLOEXEC), 0);
            ::dup2(::open(out_file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), 1);
            ::dup2(::open(err_file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), 2);
            ::execv(arguments[0], arguments.data());
            ::_exit(126);
        }
        ::close(ends[1]);
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() {
        end_input();
        if (pid_ > 0) ::kill(pid_, SIGKILL);
        if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    }

    std::string out() const { return text_of(folder_.path / "out"); }
    std::string err() const { return text_of(folder_.path / "err"); }
    bool prints(const std::string& text) {
        return eventually([&] { return pause(), out().find(text) != std::string::npos; });
    }
    bool tells(const std::string& text) {
        return eventually([&] { return pause(), err().find(text) != std::string::npos; });
    }

    void write(const std::string& text) {
        CHECK(::send(input_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
    }
    void end_input() {
        if (input_ >= 0) ::close(std::exchange(input_, -1));
    }
    void signal(int number) const { ::kill(pid_, number); }

    // Waits until it ends by itself: its exit status, or 128 + signal; -1: it does not end.
    int ends() {
        end_input();
        if (!eventually([&] { return pause(), ::waitpid(pid_, &status_, WNOHANG) == pid_; })) return -1;
        pid_ = -1;
        return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    }

private:
    static void pause() { ::poll(nullptr, 0, 2); }   // between two looks at a condition

    TemporaryFolder folder_;
    pid_t pid_ = -1;
    int input_ = -1;
    int status_ = 0;
};

}  // namespace test
