// logger -h HOST -t TOPIC -i ID --store FOLDER: publishes a reading once a second, and keeps those that the server has not
// acknowledged in FOLDER: while there is no connection, and also when the power is cut, or this is killed. --help lists the
// options.
//
// Each message is "TIME NUMBER READING": seconds since 1970, with milliseconds; a count that begins at 1 with each start of
// this program; and what was read. At QoS 2 every one that was stored arrives once, in order; at QoS 1 at least once. At QoS 0
// nothing is stored.
//
// SIGTERM, SIGINT and the end of -W: what can be delivered in ten seconds is; the rest stays in FOLDER for the next start.
// SIGUSR1 prints the statistics, which are also printed at the end.
#include "examples/options.hpp"
#include "platform/file_store.hpp"

#include <sys/time.h>

#include <cinttypes>

namespace {

struct Port : tool::AnyPort, mqtt::posix::FileStore {
    mqtt::Statistics statistics;   // a port that has this member gets it filled
};
using Client = mqtt::Client<Port>;

volatile sig_atomic_t statistics_wanted = 0;

class Logger {
public:
    explicit Logger(tool::Options& options)
        : options_(options), tx_(size_t{options.memory_kb} * 1024),
          client_(port_, tool::buffers(options, rx_, {tx_.data(), tx_.size()})) {
        port_.storage_path = options.store;
        port_.storage_limit = static_cast<uint32_t>(4 * tx_.size());
    }

    int run() {
        const std::string wrong = port_.choose(options_.address, options_.tls);
        if (!wrong.empty()) return tool::complain(options_, tool::exit_trouble, "%s", wrong.c_str());
        mqtt::Result result = client_.connect(options_.connect);
        if (options_.erase_store && (result.error == mqtt::Error::storage_corrupt || result.error == mqtt::Error::storage_foreign)) {
            while (client_.erase_storage() == 0) {}
            result = client_.connect(options_.connect);
        }
        if (!result.ok()) return cannot_start(result.error);
        if (client_.unacknowledged() != 0)
            tool::complain(options_, 0, "%u readings are left from before", static_cast<unsigned>(client_.unacknowledged()));
        due_ms_ = port_.now_ms();
        aged_ms_ = due_ms_ + options_.age_s * 1000;
        while (true) {
            const mqtt::Event event = off_ ? off_->poll() : client_.poll();
            if (options_.debug) tool::print(event, client_.version());
            on_event(event);
            if (!off_) work();
            if (statistics_wanted != 0) print_statistics();
            if (off_ && off_->done()) break;
            if (event.kind == mqtt::Event::none) (void)waiter_.wait(false, -1, off_ ? off_->idle_ms() : left_ms());
            if (const auto status = waiter_.told_to_end()) {
                status_ = *status;
                off_.emplace(client_, client_.connected() ? 10000 : 500);
            }
        }
        print_statistics();
        return status_;
    }

private:
    int cannot_start(mqtt::Error error) {
        const int status = tool::exit_status(error);
        switch (error) {
        case mqtt::Error::storage_locked:
            return tool::complain(options_, status, "another process, %d, uses '%s'", port_.storage_holder(), options_.store);
        case mqtt::Error::storage_corrupt:
        case mqtt::Error::storage_foreign:
        case mqtt::Error::other_session:
            return tool::complain(options_, status, "%s: '%s'. Nothing was changed; --erase-store begins it anew",
                                  mqtt::to_string(error), options_.store);
        case mqtt::Error::storage_failed:
        case mqtt::Error::storage_full:
            return tool::complain(options_, status, "cannot use '%s': %s", options_.store, strerror(port_.storage_errno()));
        case mqtt::Error::buffer_too_small:
            return tool::complain(options_, status, "'%s' has more than --memory %lu allows", options_.store,
                                  static_cast<unsigned long>(options_.memory_kb));
        default: return tool::complain(options_, status, "cannot start: %s", mqtt::to_string(error));
        }
    }

    void on_event(const mqtt::Event& event) {
        switch (event.kind) {
        case mqtt::Event::connected: tool::complain(options_, 0, "connected"); break;
        case mqtt::Event::disconnected:   // the next attempt follows by itself, whatever the reason is
            if (event.error != mqtt::Error::ok) (void)tool::explain(options_, event, port_);
            break;
        case mqtt::Event::storage_trouble:
            tool::complain(options_, 0, "cannot store in '%s': %s. Readings wait until that works", options_.store,
                           strerror(port_.storage_errno()));
            break;
        default: break;
        }
    }

    // What is due, and what is to be told.
    void work() {
        if (left_ms(due_ms_) == 0) {
            due_ms_ += options_.interval_ms;
            if (left_ms(due_ms_) == 0) due_ms_ = port_.now_ms() + options_.interval_ms;   // it was asleep for longer
            publish();
        }
        if (options_.age_s != 0 && left_ms(aged_ms_) == 0) {
            aged_ms_ += options_.age_s * 1000;
            (void)client_.drop_aged();
        }
        if (options_.debug && stored_ != number_ && client_.stored()) fprintf(stderr, "stored %" PRIu32 "\n", stored_ = number_);
    }

    void publish() {
        char text[1200];
        const int size = compose(text, sizeof text);
        const mqtt::Bytes message(reinterpret_cast<const uint8_t*>(text), static_cast<size_t>(size));
        const mqtt::Properties properties = options_.publish_properties;
        const char* const topic = options_.topics[0];
        const mqtt::QoS qos = options_.qos;
        mqtt::Result result;
        do {
            result = options_.keep == tool::Options::Keep::newest
                         ? client_.publish_newest(topic, message, qos, options_.retain, properties)
                         : client_.publish(topic, message, qos, options_.retain, properties);
        } while (result.error == mqtt::Error::no_space && options_.keep == tool::Options::Keep::latest &&
                 client_.drop_waiting(qos, topic, 1) != 0);
        if (result.ok()) ++number_;
        else ++refused_;
        if (result.ok() == refusing_) tool::complain(options_, 0, refusing_ ? "readings are taken again" : "readings are refused: %s",
                                                     mqtt::to_string(result.error));
        refusing_ = !result.ok();
    }
    // "TIME NUMBER READING"; returns its size.
    int compose(char* text, size_t size) {
        timeval now{};
        ::gettimeofday(&now, nullptr);
        char reading[1024] = "";
        FILE* const file = fopen(options_.file, "r");
        if (file == nullptr || fgets(reading, sizeof reading, file) == nullptr) reading[0] = 0;
        if (file != nullptr) (void)fclose(file);
        reading[strcspn(reading, "\r\n")] = 0;
        return snprintf(text, size, "%lld.%03d %" PRIu32 " %s", static_cast<long long>(now.tv_sec), static_cast<int>(now.tv_usec / 1000),
                        number_ + 1, reading);
    }

    uint32_t left_ms(uint32_t due_ms) {
        const int32_t left = static_cast<int32_t>(due_ms - port_.now_ms());
        return left > 0 ? static_cast<uint32_t>(left) : 0;
    }
    uint32_t left_ms() {
        const uint32_t reading = left_ms(due_ms_), aged = options_.age_s != 0 ? left_ms(aged_ms_) : mqtt::forever;
        return reading < aged ? reading : aged;
    }

    void print_statistics() {
        statistics_wanted = 0;
        const mqtt::Statistics& s = port_.statistics;
        const struct {
            const char* name;
            uint32_t value;
        } rows[] = {
            {"connects", s.connects}, {"disconnects and failed attempts", s.disconnects}, {"readings", s.published},
            {"readings refused", refused_}, {"acknowledged", s.acknowledged}, {"bytes sent", s.bytes_sent},
            {"bytes received", s.bytes_received}, {"dropped: waited too long, or made place", s.dropped_waiting},
            {"dropped: the server lost the session", s.dropped_session_lost}, {"dropped: expired", s.dropped_expired},
            {"dropped: refused", s.dropped_refused}, {"waiting", client_.unacknowledged()}, {"memory, most bytes", s.tx_most},
            {"last round trip, ms", s.round_trip_ms}, {"records saved", s.records_saved}, {"bytes saved", s.bytes_saved},
            {"syncs", s.syncs}, {"compactions", s.compactions}, {"storage troubles", s.storage_troubles},
        };
        for (const auto& row : rows) printf("%10" PRIu32 " %s\n", row.value, row.name);
        printf("%10s last disconnect: %s\n", "", mqtt::to_string(s.last_disconnect));
        (void)fflush(stdout);
    }

    tool::Options& options_;
    uint8_t rx_[65536];
    std::vector<uint8_t> tx_;
    Port port_;
    Client client_;
    tool::Waiter<Client> waiter_{options_, port_, client_};
    std::optional<mqtt::Shutdown<Port>> off_;
    uint32_t due_ms_ = 0, aged_ms_ = 0;   // the next reading; the next look at those that wait
    uint32_t number_ = 0, stored_ = 0;    // of the last reading; of the last that is known to be durable
    uint32_t refused_ = 0;
    bool refusing_ = false;
    int status_ = tool::exit_ok;
};

}  // namespace

int main(int argc, char** argv) {
    tool::Options options;
    options.file = "/proc/loadavg";
    options.qos = mqtt::QoS::exactly_once;
    if (const auto status = tool::parse(argc, argv, tool::log, options)) return *status;
    struct sigaction action {};
    action.sa_handler = [](int) { statistics_wanted = 1; };
    (void)::sigaction(SIGUSR1, &action, nullptr);
    return Logger(options).run();
}
