// A client with FileStore in a process of its own, and a real mosquitto, both killed (SIGKILL) again and again, wherever
// they are.
//
// What mosquitto 2.0.11 keeps over its own end: what its last save wrote. It saves when it ends in order (SIGTERM), when it is
// told to (SIGUSR1), and at times (autosave_interval), but an acknowledgement is sent before that. So a SIGKILL loses what it
// acknowledged since the last save, with any client. What can be asked of it:
//   - the client is killed first, then mosquitto saves, then it is killed: what it did after the save nobody has learned of;
//   - it ends in order while the client lives: it saves after its last acknowledgement.
// Both are done here, and nothing may be lost or come twice.

#include "platform/file_store.hpp"
#include "tests/support/device.hpp"
#include "tests/support/process.hpp"
#include "tests/support/random.hpp"
#include "tests/support/testing.hpp"

#include <sys/stat.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>

namespace {

using mqtt::Event;
using mqtt::QoS;
using test::eventually;

struct StoringPort : mqtt::posix::Tcp, mqtt::posix::FileStore {};

// What the client's process tells.
struct Report {
    enum What : uint32_t { accepts, durable, received, taken, rests } what;
    uint32_t number;   // of a message; durable: and all before it
};

QoS qos_of(unsigned number) { return number % 2 == 0 ? QoS::exactly_once : QoS::at_least_once; }
const char* topic_of(unsigned number) { return number % 2 == 0 ? "from/2" : "from/1"; }

// A process that publishes one message after the other, from `next` on and before `end`, and then rests and ends. It
// also takes what is published for it.
class Writer {
public:
    Writer(const std::string& path, uint16_t broker, unsigned next, unsigned end, int tell) : next_(next), end_(end), tell_(tell) {
        port_.storage_path = path.c_str();
        port_.storage_limit = 3000;
        options_.host = "127.0.0.1";
        options_.port = broker;
        options_.client_id = "writer";
        options_.clean_session = false;
        options_.reconnect_min_ms = 5;
        options_.reconnect_max_ms = 40;
    }
    [[noreturn]] void run() {
        const mqtt::Result result = client_.connect(options_);
        if (!result.ok()) ::_exit(10 + static_cast<int>(result.error));
        while (true) {
            publish();
            const Event event = client_.poll();
            if (client_.stored()) told_durable();
            switch (event.kind) {
            case Event::none:
                if (next_ >= end_ && !stopping_ && subscribed_ && client_.unacknowledged() == 0 && client_.stored()) {
                    stopping_ = true;
                    (void)client_.disconnect();
                }
                port_.wait(std::min<uint32_t>(client_.idle_ms(), 5), client_.wants_write());
                break;
            case Event::connected:
                if (!subscribed_) (void)client_.subscribe("to/+", QoS::exactly_once);
                break;
            case Event::subscribed: subscribed_ = true; break;
            case Event::received: {
                const unsigned number = static_cast<unsigned>(std::atoi(std::string(event.message.payload.text()).c_str()));
                tell(Report::received, number);
                given_.push_back(number);
                break;
            }
            case Event::disconnected:
                if (stopping_ && client_.stored()) tell(Report::rests, 0), ::_exit(0);
                break;
            case Event::dropped: ::_exit(3);
            case Event::storage_trouble: ::_exit(4);
            default: break;
            }
        }
    }

private:
    void publish() {
        while (next_ < end_ && client_.unacknowledged() < 12) {
            tell(Report::accepts, next_);   // even if it never comes to know that it did
            if (!client_.publish(topic_of(next_), std::to_string(next_), qos_of(next_)).ok()) ::_exit(5);
            ++next_;
        }
    }
    // Called after a poll(): what was accepted and given before it.
    void told_durable() {
        if (durable_ != next_) tell(Report::durable, next_ - 1);
        durable_ = next_;
        for (const unsigned number : given_) tell(Report::taken, number);
        given_.clear();
    }
    void tell(Report::What what, unsigned number) const {
        const Report report{what, number};
        if (::write(tell_, &report, sizeof report) != static_cast<ssize_t>(sizeof report)) ::_exit(6);
    }

    unsigned next_, end_, durable_ = next_;
    int tell_;
    bool subscribed_ = false, stopping_ = false;
    std::vector<unsigned> given_;
    uint8_t rx_[1024], tx_[4096];
    StoringPort port_;
    mqtt::Client<StoringPort> client_{port_, {rx_, tx_}};
    mqtt::ConnectOptions options_;
};

class Trial {
public:
    Trial() : broker_("persistence true\nautosave_interval 0\nmax_inflight_messages 0\npersistence_location " + data_.path.string() + "/\n") {}
    ~Trial() {
        if (child_ > 0) ::kill(child_, SIGKILL), ended();
    }

    test::Mosquitto& broker() { return broker_; }

    void start(unsigned more) {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        const std::string path = (data_.path / "store").string();
        child_ = ::fork();
        REQUIRE(child_ >= 0);
        if (child_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            ::close(ends[0]);
            Writer(path, broker_.port, next_, next_ + more, ends[1]).run();
        }
        ::close(ends[1]);
        told_ = ends[0];
        ::fcntl(told_, F_SETFL, O_NONBLOCK);
    }
    // Reads until so many reports have come, or the process has ended.
    void listen(size_t reports) {
        const size_t enough = reports_ + reports;
        REQUIRE(eventually([&] { return !read_report() ? reports_ >= enough || over_ || test::pause() : reports_ >= enough; }));
    }
    // False: it had come to its end.
    bool kill_client() {
        ::kill(child_, SIGKILL);
        const int status = ended();
        const bool killed = WIFSIGNALED(status);
        REQUIRE_MESSAGE((killed || WEXITSTATUS(status) == 0), "the client's process ended by itself: ", WEXITSTATUS(status));
        return killed;
    }
    void client_rests() {
        REQUIRE(eventually([&] { return read_report() || (!over_ && test::pause()) ? false : over_; }));
        CHECK(ended() == 0);
        CHECK(rests_);
    }
    // Nobody has learned what it does after this save, and then it is killed.
    void save_and_kill_broker() {
        const std::string file = (data_.path / "mosquitto.db").string();
        const auto which = [&] {   // it writes another file, and renames that
            struct stat status = {};
            (void)::stat(file.c_str(), &status);
            return std::make_pair(status.st_ino, status.st_mtim.tv_sec * 1000000000L + status.st_mtim.tv_nsec);
        };
        const auto before = which();
        broker_.process.signal(SIGUSR1);
        REQUIRE(eventually([&] { return which() != before || test::pause(); }));
        broker_.process.stop(SIGKILL);
        REQUIRE(broker_.start());
    }
    void restart_broker() {
        broker_.process.stop(SIGTERM);
        REQUIRE(broker_.start());
    }

    std::set<unsigned> durable;
    std::map<unsigned, unsigned> given;
    unsigned accepted() const { return next_; }
    unsigned again_after_taken = 0;

private:
    int ended() {
        while (read_report()) {}
        int status = 0;
        while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {}
        while (read_report()) {}
        ::close(told_);
        child_ = -1;
        over_ = false;
        unsure_.clear();   // those may be lost
        return status;
    }
    bool read_report() {
        Report report;
        const ssize_t n = ::read(told_, &report, sizeof report);
        over_ = n == 0;
        if (n != static_cast<ssize_t>(sizeof report)) return false;
        ++reports_;
        switch (report.what) {
        case Report::accepts: next_ = report.number + 1; unsure_.insert(report.number); break;
        case Report::durable:
            while (!unsure_.empty() && *unsure_.begin() <= report.number) durable.insert(unsure_.extract(unsure_.begin()));
            break;
        case Report::received:
            ++given[report.number];
            if (taken_.count(report.number) != 0 && qos_of(report.number) == QoS::exactly_once) ++again_after_taken;
            break;
        case Report::taken: taken_.insert(report.number); break;
        case Report::rests: rests_ = true; break;
        }
        return true;
    }

    test::TemporaryFolder data_;
    test::Mosquitto broker_;
    pid_t child_ = -1;
    int told_ = -1;
    bool over_ = false, rests_ = false;
    size_t reports_ = 0;
    unsigned next_ = 1;
    std::set<unsigned> unsure_, taken_;   // accepted, but not durable yet; and taken over, for good
};

}  // namespace

TEST_CASE("client and mosquitto are killed again and again: QoS 1 arrives at least once, QoS 2 exactly once") {
    if (test::Mosquitto::program().empty()) SKIP_TEST("mosquitto is not installed");
    const unsigned kills = testing::long_run() ? 2000 : 400;
    Trial trial;
    using Plain = test::Device<mqtt::posix::Tcp>;
    {   // both have their sessions before anything is published
        Plain reader(trial.broker().port, "reader");
        reader.connect();
        reader.subscribe("from/+");
        reader.disconnect();
        trial.start(0);
        trial.client_rests();
    }
    wire::Random random(1);
    unsigned client_kills = 0, broker_kills = 0, broker_ends = 0, sent = 0;
    while (client_kills + broker_kills < kills) {
        if (random.below(3) == 0) {   // something for the client
            Plain sender(trial.broker().port, "sender");
            sender.connect();
            for (size_t i = 1 + random.below(4); i != 0; --i, ++sent)
                (void)sender.publish(qos_of(sent) == QoS::exactly_once ? "to/2" : "to/1", std::to_string(sent), qos_of(sent));
            sender.disconnect();
        }
        trial.start(static_cast<unsigned>(random.below(100)));
        trial.listen(random.below(120));
        if (random.below(12) == 0) {
            trial.restart_broker();
            ++broker_ends;
            trial.listen(random.below(60));
        }
        for (size_t spin = random.below(200000); spin != 0; --spin) asm volatile("");   // it is somewhere, then
        client_kills += trial.kill_client();
        if (random.below(4) != 0) continue;
        trial.save_and_kill_broker();
        ++broker_kills;
    }
    trial.start(0);
    trial.client_rests();

    Plain reader(trial.broker().port, "reader", 4096, 1U << 19, 65535);   // mosquitto sends all of it at once
    reader.connect();
    CHECK(reader.session_present());
    REQUIRE(reader.client.publish("from/end", "0", QoS::exactly_once).ok());   // comes behind all that there is
    std::map<unsigned, unsigned> arrived;
    std::set<unsigned> missing = trial.durable;
    CHECK(reader.until([&] {
        for (const Plain::Received& message : reader.messages) {
            const unsigned number = static_cast<unsigned>(std::stoul(message.payload));
            if (number != 0) CHECK(message.topic == topic_of(number));
            ++arrived[number];
            missing.erase(number);
        }
        reader.messages.clear();
        return arrived.count(0) != 0;
    }));
    reader.disconnect();
    arrived.erase(0);
    unsigned twice = 0, never_accepted = 0;
    for (const auto& [number, count] : arrived) {
        twice += qos_of(number) == QoS::exactly_once && count != 1;
        never_accepted += number >= trial.accepted();
    }
    unsigned not_given = 0;
    for (unsigned number = 0; number != sent; ++number) not_given += trial.given[number] == 0;
    CHECK(missing.empty());
    CHECK(twice == 0);
    CHECK(never_accepted == 0);
    CHECK(not_given == 0);
    CHECK(trial.again_after_taken == 0);
    CHECK(trial.durable.size() > 1000);
    std::printf("note: mosquitto: client killed %u times, mosquitto %u times, and ended %u times; %zu messages, %zu of them durable at the end; %u for the client\n",
                client_kills, broker_kills, broker_ends, arrived.size(), trial.durable.size(), sent);
}
