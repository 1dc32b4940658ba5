// mqtt.hpp on platform/posix.hpp, as an application uses it: one thread, poll(), and wait() when there is nothing to do.
#include "mqtt.hpp"

#include <stdexcept>
#include <vector>

#include "bench/throughput/subject.hpp"
#include "platform/file_store.hpp"
#include "platform/posix.hpp"

namespace bench {
namespace {

// Counts the system calls that a client makes.
struct CountingPort : mqtt::posix::Tcp {
    int read(uint8_t* data, size_t size) { return ++calls, Tcp::read(data, size); }
    int write(const uint8_t* data, size_t size) { return ++calls, Tcp::write(data, size); }
    bool wait(uint32_t idle_ms, bool wants_write) { return ++calls, Tcp::wait(idle_ms, wants_write); }

    unsigned long calls = 0;
};
struct StoringPort : CountingPort, mqtt::posix::FileStore {};

template <class Port> class MqttHpp final : public Subject {
public:
    explicit MqttHpp(const Settings& settings)
        : settings_(settings), payload_(settings.size, 'x'), rx_(65536),
          tx_(65536 + mqtt::tx_size(settings.in_flight, settings.size + sizeof topic)),
          client_(port_, {{rx_.data(), rx_.size()}, {tx_.data(), tx_.size()}, 1000}) {}

    bool connect() override {
        if constexpr (std::is_same_v<Port, StoringPort>) {
            port_.storage_path = settings_.store.c_str();
            options_.clean_session = false;
        }
        options_.host = "127.0.0.1";
        options_.port = settings_.port;
        options_.client_id = "mqtt.hpp";
        options_.keep_alive = 0;
        options_.in_flight_maximum = static_cast<uint16_t>(settings_.in_flight);
        if (!client_.connect(options_).ok()) return false;
        while (!client_.connected()) work();
        return true;
    }
    bool subscribe() override {
        if (!client_.subscribe(topic, static_cast<mqtt::QoS>(settings_.qos)).ok()) return false;
        while (!subscribed_) work();
        return true;
    }
    bool publish(int qos) override {
        const bool ok = client_.publish(topic, payload_, static_cast<mqtt::QoS>(qos)).ok();
        refused_ = !ok;
        return ok;
    }
    bool written() override { return client_.flush(), !client_.wants_write(); }
    void work() override {
        const mqtt::Event event = client_.poll();
        switch (event.kind) {
        case mqtt::Event::acknowledged: add(acknowledged_); break;
        case mqtt::Event::received: add(received_, event.message.complete()); break;
        case mqtt::Event::subscribed: subscribed_ = true; break;
        case mqtt::Event::disconnected: throw std::runtime_error(mqtt::to_string(event.error));
        case mqtt::Event::none:
            // Whoever has been refused for want of room tries again as soon as something has been written.
            if (!refused_ || client_.wants_write()) port_.wait(client_.idle_ms(), client_.wants_write());
            refused_ = false;
            break;
        default: break;
        }
    }
    unsigned long counted_calls() override { return port_.calls; }

private:
    const Settings settings_;
    const std::string payload_;
    std::vector<uint8_t> rx_, tx_;
    Port port_;
    mqtt::Client<Port> client_;
    mqtt::ConnectOptions options_;
    bool subscribed_ = false, refused_ = false;
};

}  // namespace

std::unique_ptr<Subject> make_subject(const Settings& settings) {
    if (!settings.store.empty()) return std::make_unique<MqttHpp<StoringPort>>(settings);
    return std::make_unique<MqttHpp<CountingPort>>(settings);
}
std::string subject_version() { return MQTT_HPP_VERSION; }

}  // namespace bench
