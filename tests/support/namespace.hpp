// A network of a test program's own, in which there is the loopback and nothing else (Linux).
#pragma once

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

namespace test {

// Puts the program, and what it starts from now on, into a network of its own. To be called while it has one thread.
// Needs no rights where users may have namespaces; they appear as root in there. Empty, or why it cannot be.
inline std::string enter_own_network() {
    const uid_t user = ::geteuid();
    const gid_t group = ::getegid();
    if (::unshare(user == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return std::string("no network namespace: unshare: ") + std::strerror(errno);
    const auto write = [](const char* file, const std::string& text) {
        const int fd = ::open(file, O_WRONLY | O_CLOEXEC);
        const bool ok = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
        ::close(fd);
        return ok;
    };
    if (user != 0 && !(write("/proc/self/setgroups", "deny") &&
                       write("/proc/self/uid_map", "0 " + std::to_string(user) + " 1") &&
                       write("/proc/self/gid_map", "0 " + std::to_string(group) + " 1")))
        return std::string("no user namespace: ") + std::strerror(errno);

    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq loopback{};
    std::strcpy(loopback.ifr_name, "lo");
    loopback.ifr_flags = IFF_UP;
    const bool up = fd >= 0 && ::ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
    ::close(fd);
    return up ? "" : std::string("no loopback: ") + std::strerror(errno);
}

}  // namespace test
