// What the benches share: counting instructions, measuring time, rows of output.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <sys/resource.h>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define BENCH_UNDER_VALGRIND (RUNNING_ON_VALGRIND != 0)
#else   // times only
#define BENCH_UNDER_VALGRIND false
#define CALLGRIND_ZERO_STATS
#define CALLGRIND_DUMP_STATS_AT(text) static_cast<void>(text)
#define CALLGRIND_TOGGLE_COLLECT
#endif

namespace bench {

// From here on the compiler knows nothing of what memory holds, and must have written what it holds back.
inline void touch(const void* data = nullptr) { __asm__ volatile("" : : "r"(data) : "memory"); }

// While one lives, callgrind does not count: for what stands in for the other side.
class NotCounted {
public:
    NotCounted() { CALLGRIND_TOGGLE_COLLECT; }
    ~NotCounted() { CALLGRIND_TOGGLE_COLLECT; }
    NotCounted(const NotCounted&) = delete;
    NotCounted& operator=(const NotCounted&) = delete;
};

// What this process, all its threads, has used.
inline double cpu_seconds() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

struct Case {
    std::string name, subject;
    std::function<bool(unsigned long)> run;   // so many operations; false: it does not work
    unsigned long period = 1;                 // operations after which the cost repeats, if it is not the same for each
    bool heavy = false;                       // left out by --quick
};

inline void row(const char* bench, const std::string& name, const std::string& subject, const char* metric, double value,
                const char* unit) {
    std::printf("%s\t%s\t%s\t%s\t%.6g\t%s\n", bench, name.c_str(), subject.c_str(), metric, value, unit);
    std::fflush(stdout);
}

// BENCH [--only TEXT] [--quick]: runs the cases (those whose name and subject hold TEXT). Under callgrind, once to reach the
// state in which it stays, then with two numbers of operations, and a dump `NAME\tSUBJECT\tOPERATIONS` of what was counted
// after each: bench/run.py takes the difference, in which all but the operations cancels. Without it, the median time per
// operation of several rounds, in which the cases take turns.
inline int run(const char* bench, std::vector<Case> cases, int argc, char** argv) {
    bool quick = false;
    std::string only;
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--quick") == 0) quick = true;
        if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) only = argv[++i];
    }
    const auto unwanted = [&](const Case& c) {
        return (quick && c.heavy) || (c.name + " " + c.subject).find(only) == std::string::npos;
    };
    cases.erase(std::remove_if(cases.begin(), cases.end(), unwanted), cases.end());

    const auto works = [&](const Case& c, unsigned long count) {
        const bool ok = c.run(count);
        if (!ok) std::fprintf(stderr, "%s: %s, %s: does not work\n", bench, c.name.c_str(), c.subject.c_str());
        return ok;
    };
    if (BENCH_UNDER_VALGRIND) {
        const unsigned long least = quick ? 100 : 1000;
        for (const Case& c : cases) {
            const unsigned long many = c.period * ((least + c.period - 1) / c.period);
            if (!works(c, c.period)) return 1;
            for (const unsigned long count : {0UL, many}) {
                const std::string label = c.name + "\t" + c.subject + "\t" + std::to_string(count);
                CALLGRIND_ZERO_STATS;
                if (!works(c, count)) return 1;
                CALLGRIND_DUMP_STATS_AT(label.c_str());
            }
        }
        return 0;
    }
    using Clock = std::chrono::steady_clock;
    const auto seconds = [&](const Case& c, unsigned long count, double& time) {
        const auto begin = Clock::now();
        const bool ok = works(c, count);
        time = std::chrono::duration<double>(Clock::now() - begin).count();
        return ok;
    };
    const double turn = quick ? 0.001 : 0.01;   // seconds of a case in a round
    const size_t rounds = quick ? 3 : 11;
    std::vector<unsigned long> counts;
    std::vector<std::vector<double>> times(cases.size());
    for (const Case& c : cases) {
        unsigned long count = c.period;
        double time = 0;
        while (true) {
            if (!seconds(c, count, time)) return 1;
            if (time >= turn) break;
            count *= 2;
        }
        counts.push_back(count);
    }
    for (size_t round = 0; round < rounds; ++round)
        for (size_t i = 0; i < cases.size(); ++i) {
            double time = 0;
            if (!seconds(cases[i], counts[i], time)) return 1;
            times[i].push_back(time * 1e9 / static_cast<double>(counts[i]));
        }
    for (size_t i = 0; i < cases.size(); ++i) {
        std::sort(times[i].begin(), times[i].end());
        row(bench, cases[i].name, cases[i].subject, "time", times[i][rounds / 2], "ns");
    }
    return 0;
}

}  // namespace bench
