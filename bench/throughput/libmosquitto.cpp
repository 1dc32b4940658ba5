// libmosquitto, in one thread: mosquitto_publish() writes at once, mosquitto_loop() does the rest.
#include <mosquitto.h>

#include <stdexcept>

#include "bench/throughput/subject.hpp"

namespace bench {
namespace {

class Libmosquitto final : public Subject {
public:
    explicit Libmosquitto(const Settings& settings) : settings_(settings), payload_(settings.size, 'x') {
        mosquitto_lib_init();
        client_ = mosquitto_new("libmosquitto", true, this);
        mosquitto_int_option(client_, MOSQ_OPT_TCP_NODELAY, 1);
        mosquitto_max_inflight_messages_set(client_, 0);   // no limit; we keep ours
        const auto connected = [](mosquitto*, void* self, int code) { of(self).connected_ = code == 0; };
        const auto subscribed = [](mosquitto*, void* self, int, int, const int*) { of(self).subscribed_ = true; };
        const auto published = [](mosquitto*, void* self, int) { of(self).done(); };
        const auto arrived = [](mosquitto*, void* self, const mosquitto_message*) { add(of(self).received_); };
        mosquitto_connect_callback_set(client_, connected);
        mosquitto_subscribe_callback_set(client_, subscribed);
        mosquitto_publish_callback_set(client_, published);
        mosquitto_message_callback_set(client_, arrived);
    }
    ~Libmosquitto() override {
        mosquitto_destroy(client_);
        mosquitto_lib_cleanup();
    }

    bool connect() override {
        if (!settings_.store.empty()) return false;   // it keeps messages in memory only
        if (mosquitto_connect(client_, "127.0.0.1", settings_.port, 600) != MOSQ_ERR_SUCCESS) return false;
        while (!connected_) work();
        return true;
    }
    bool subscribe() override {
        if (mosquitto_subscribe(client_, nullptr, topic, settings_.qos) != MOSQ_ERR_SUCCESS) return false;
        while (!subscribed_) work();
        return true;
    }
    // What does not go out at once is queued without limit, so do not add to it.
    bool publish(int qos) override {
        if (mosquitto_want_write(client_)) return false;
        if (mosquitto_publish(client_, nullptr, topic, static_cast<int>(payload_.size()), payload_.data(), qos, false) != 0)
            throw std::runtime_error("mosquitto_publish");
        if (qos != 0) ++unanswered_;
        return true;
    }
    bool written() override { return !mosquitto_want_write(client_); }
    void work() override {
        const int error = mosquitto_loop(client_, -1, 1);
        if (error != MOSQ_ERR_SUCCESS) throw std::runtime_error(mosquitto_strerror(error));
    }

private:
    static Libmosquitto& of(void* self) { return *static_cast<Libmosquitto*>(self); }
    void done() {   // is told of QoS 0 as well
        if (unanswered_ != 0) --unanswered_, add(acknowledged_);
    }

    const Settings settings_;
    const std::string payload_;
    mosquitto* client_ = nullptr;
    bool connected_ = false, subscribed_ = false;
    unsigned long unanswered_ = 0;
};

}  // namespace

std::unique_ptr<Subject> make_subject(const Settings& settings) { return std::make_unique<Libmosquitto>(settings); }
std::string subject_version() {
    int major, minor, revision;
    mosquitto_lib_version(&major, &minor, &revision);
    return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(revision);
}

}  // namespace bench
