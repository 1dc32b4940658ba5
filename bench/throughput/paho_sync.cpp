// paho C's synchronous library, MQTTClient: publishing writes in the calling thread, a thread of its own does the rest.
#include <MQTTClient.h>

#include <stdexcept>

#include "bench/throughput/subject.hpp"
#include "bench/throughput/waiting.hpp"

namespace bench {
namespace {

class PahoSync final : public Subject {
public:
    explicit PahoSync(const Settings& settings) : settings_(settings), payload_(settings.size, 'x') {}
    ~PahoSync() override { MQTTClient_destroy(&client_); }

    bool connect() override {
        const std::string url = "tcp://127.0.0.1:" + std::to_string(settings_.port);
        // Its files are written and never synchronized: they survive the process, and not a power cut.
        const bool stored = !settings_.store.empty();
        std::string folder = settings_.store;
        if (MQTTClient_create(&client_, url.c_str(), "paho-sync", stored ? MQTTCLIENT_PERSISTENCE_DEFAULT : MQTTCLIENT_PERSISTENCE_NONE,
                             stored ? folder.data() : nullptr) != 0)
            return false;
        const auto lost = [](void*, char*) {};
        const auto arrived = [](void* self, char* name, int, MQTTClient_message* message) {
            MQTTClient_freeMessage(&message);
            MQTTClient_free(name);
            return of(self).count(of(self).received_), 1;
        };
        const auto delivered = [](void* self, MQTTClient_deliveryToken) { of(self).count(of(self).acknowledged_); };
        MQTTClient_setCallbacks(client_, this, lost, arrived, delivered);
        MQTTClient_connectOptions options = MQTTClient_connectOptions_initializer;
        options.keepAliveInterval = 600;
        options.cleansession = !stored;
        options.reliable = 0;   // else one in flight
        options.maxInflightMessages = static_cast<int>(settings_.in_flight);
        return MQTTClient_connect(client_, &options) == MQTTCLIENT_SUCCESS;
    }
    bool subscribe() override { return MQTTClient_subscribe(client_, topic, settings_.qos) == MQTTCLIENT_SUCCESS; }
    bool publish(int qos) override {
        if (MQTTClient_publish(client_, topic, static_cast<int>(payload_.size()), payload_.data(), qos, 0, nullptr) != 0)
            throw std::runtime_error("MQTTClient_publish");
        return true;
    }
    bool written() override { return true; }
    void work() override {
        const unsigned long seen = progress_;
        waiting_.sleep_until([&] { return acknowledged() + received() != seen; });
        progress_ = acknowledged() + received();
    }

private:
    static PahoSync& of(void* self) { return *static_cast<PahoSync*>(self); }
    void count(std::atomic<unsigned long>& counter) { add(counter), waiting_.tell(); }

    const Settings settings_;
    const std::string payload_;
    MQTTClient client_ = nullptr;
    Waiting waiting_;
    unsigned long progress_ = 0;
};

}  // namespace

std::unique_ptr<Subject> make_subject(const Settings& settings) { return std::make_unique<PahoSync>(settings); }
std::string subject_version() {
    for (const MQTTClient_nameValue* info = MQTTClient_getVersionInfo(); info->name != nullptr; ++info)
        if (std::string(info->name) == "Version") return info->value;
    return "?";
}

}  // namespace bench
