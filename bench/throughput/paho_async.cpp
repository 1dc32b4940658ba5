// paho C's asynchronous library, MQTTAsync: threads of its own write and read.
#include <MQTTAsync.h>

#include <stdexcept>

#include "bench/throughput/subject.hpp"
#include "bench/throughput/waiting.hpp"

namespace bench {
namespace {

class PahoAsync final : public Subject {
public:
    explicit PahoAsync(const Settings& settings) : settings_(settings), payload_(settings.size, 'x') {}
    ~PahoAsync() override { MQTTAsync_destroy(&client_); }

    bool connect() override {
        const std::string url = "tcp://127.0.0.1:" + std::to_string(settings_.port);
        // Its files are written and never synchronized: they survive the process, and not a power cut.
        const bool stored = !settings_.store.empty();
        std::string folder = settings_.store;
        if (MQTTAsync_create(&client_, url.c_str(), "paho-async", stored ? MQTTCLIENT_PERSISTENCE_DEFAULT : MQTTCLIENT_PERSISTENCE_NONE,
                             stored ? folder.data() : nullptr) != 0)
            return false;
        const auto lost = [](void*, char*) {};
        const auto arrived = [](void* self, char* name, int, MQTTAsync_message* message) {
            MQTTAsync_freeMessage(&message);
            MQTTAsync_free(name);
            return of(self).count(of(self).received_), 1;
        };
        MQTTAsync_setCallbacks(client_, this, lost, arrived, nullptr);
        MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
        options.keepAliveInterval = 600;
        options.cleansession = !stored;
        options.maxInflight = static_cast<int>(settings_.in_flight);
        options.context = this;
        options.onSuccess = [](void* self, MQTTAsync_successData*) { of(self).step(); };
        return MQTTAsync_connect(client_, &options) == MQTTASYNC_SUCCESS && next_step();
    }
    bool subscribe() override {
        MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
        options.context = this;
        options.onSuccess = [](void* self, MQTTAsync_successData*) { of(self).step(); };
        return MQTTAsync_subscribe(client_, topic, settings_.qos, &options) == MQTTASYNC_SUCCESS && next_step();
    }
    // What cannot be written yet is queued without limit, so keep to one.
    bool publish(int qos) override {
        if (qos == 0 && sent_ - written_.load(std::memory_order_acquire) >= 1000) return false;
        MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
        options.context = this;
        if (qos == 0) {
            ++sent_;
            options.onSuccess = [](void* self, MQTTAsync_successData*) { of(self).count(of(self).written_); };
        } else {
            options.onSuccess = [](void* self, MQTTAsync_successData*) { of(self).count(of(self).acknowledged_); };
        }
        if (MQTTAsync_send(client_, topic, static_cast<int>(payload_.size()), payload_.data(), qos, 0, &options) != 0)
            throw std::runtime_error("MQTTAsync_send");
        return true;
    }
    bool written() override { return written_.load(std::memory_order_acquire) == sent_; }
    void work() override {
        const unsigned long seen = seen_;
        waiting_.sleep_until([&] { return progress() != seen; });
        seen_ = progress();
    }

private:
    static PahoAsync& of(void* self) { return *static_cast<PahoAsync*>(self); }
    unsigned long progress() const {
        return acknowledged() + received() + written_.load(std::memory_order_acquire) +
               steps_.load(std::memory_order_acquire);
    }
    // Callbacks of what was sent come from one thread, those of what arrives from another.
    void count(std::atomic<unsigned long>& counter) { add(counter), waiting_.tell(); }
    void step() { count(steps_); }
    bool next_step() {
        const unsigned long wanted = ++wanted_;
        for (int i = 0; i < 2000 && steps_.load(std::memory_order_acquire) < wanted; ++i)
            waiting_.sleep_until([&] { return steps_.load(std::memory_order_acquire) >= wanted; });
        return steps_.load(std::memory_order_acquire) >= wanted;
    }

    const Settings settings_;
    const std::string payload_;
    MQTTAsync client_ = nullptr;
    Waiting waiting_;
    std::atomic<unsigned long> written_{0}, steps_{0};
    unsigned long sent_ = 0, seen_ = 0, wanted_ = 0;
};

}  // namespace

std::unique_ptr<Subject> make_subject(const Settings& settings) { return std::make_unique<PahoAsync>(settings); }
std::string subject_version() {
    for (const MQTTAsync_nameValue* info = MQTTAsync_getVersionInfo(); info->name != nullptr; ++info)
        if (std::string(info->name) == "Version") return info->value;
    return "?";
}

}  // namespace bench
