// The tests' main(): doctest's, which says at the end how many test cases passed, failed and were skipped, for
// tests/support/summary.py. The exit status is 77 if all of them were skipped.

#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/support/testing.hpp"

#include <cstdio>
#include <string>

namespace {

int passed, failed, skipped;

// doctest's own count of skipped cases includes those that a filter left out, and not those that SKIP_TEST ended.
struct Count : doctest::IReporter {
    explicit Count(const doctest::ContextOptions&) {}

    void test_case_start(const doctest::TestCaseData& test) override {
        name_ = test.m_name;
        testing::skip_reason().clear();
        ended_ = false;
    }
    // Also called, before the end of the run, for a test case that crashes.
    void test_case_end(const doctest::CurrentTestCaseStats& stats) override {
        if (ended_) return;
        ended_ = true;
        if (!stats.testCaseSuccess) {
            ++failed;
        } else if (!testing::skip_reason().empty()) {
            skip(testing::skip_reason());
        } else {
            ++passed;
        }
    }
    void test_case_skipped(const doctest::TestCaseData& test) override {
        if (!test.m_skip) return;   // left out by a filter
        name_ = test.m_name;
        skip(test.m_description != nullptr ? test.m_description : "by its decorator");
    }
    void test_run_end(const doctest::TestRunStats&) override {
        std::fflush(stderr);
        std::printf("test cases: passed %d, failed %d, skipped %d\n", passed, failed, skipped);
        std::fflush(stdout);
    }

    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_case_reenter(const doctest::TestCaseData&) override {}
    void test_case_exception(const doctest::TestCaseException&) override {}
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}

private:
    void skip(const std::string& reason) const {
        ++skipped;
        std::printf("skipped: %s: %s\n", name_.c_str(), reason.c_str());
    }

    std::string name_;
    bool ended_ = false;
};

}  // namespace

DOCTEST_REGISTER_LISTENER("count", 0, Count);

int main(int argc, char** argv) {
    doctest::Context context(argc, argv);
    const int status = context.run();
    if (context.shouldExit()) return status;
    return status == 0 && passed == 0 && skipped != 0 ? 77 : status;
}
