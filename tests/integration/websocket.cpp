// The client over WebSocket, over real TCP, against mosquitto.
#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "platform/posix.hpp"
#include "platform/websocket.hpp"
#include "tests/support/device.hpp"
#include "tests/support/process.hpp"

using mqtt::Event;
using mqtt::QoS;
using mqtt::websocket::Error;
using test::all_qos;
using test::eventually;
using test::Mosquitto;

namespace {

struct Broker : test::TwoListeners {
    explicit Broker(const std::string& extra = "") : TwoListeners(extra, "protocol websockets\n") {}
};

template <size_t scratch_size = 512> using Device = test::Device<mqtt::WebSocket<mqtt::posix::Tcp, scratch_size>>;

// A server that sends `answer` to the first who connects, and then closes.
class OneAnswer {
public:
    explicit OneAnswer(const std::string& answer) {
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        void* const raw = &address;
        if (fd_ < 0 || ::bind(fd_, static_cast<sockaddr*>(raw), size) != 0 || ::listen(fd_, 5) != 0 ||
            ::getsockname(fd_, static_cast<sockaddr*>(raw), &size) != 0)
            throw std::runtime_error("no server");
        port = ntohs(address.sin_port);
        thread_ = std::thread([this, answer] {
            const int peer = ::accept(fd_, nullptr, nullptr);
            std::string request;
            char data[512];
            while (request.find("\r\n\r\n") == std::string::npos) {
                const ssize_t n = ::recv(peer, data, sizeof data, 0);
                if (n <= 0) break;
                request.append(data, static_cast<size_t>(n));
            }
            (void)::send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
            ::close(peer);
        });
    }
    ~OneAnswer() {
        ::shutdown(fd_, SHUT_RDWR);   // ends accept(), if nobody came
        thread_.join();
        ::close(fd_);
    }
    OneAnswer(const OneAnswer&) = delete;
    OneAnswer& operator=(const OneAnswer&) = delete;

    uint16_t port = 0;

private:
    int fd_ = -1;
    std::thread thread_;
};

// Connects once, in vain; `reason` has the port's text.
void fail_to_connect(Device<>& device) {
    REQUIRE(device.client.connect(device.options).ok());
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == mqtt::Error::connect_failed);
    CHECK(device.port.fd() == -1);
}

}  // namespace

TEST_CASE("mosquitto over WebSocket: messages of each QoS go both ways [MQTT-6.0.0-1] [MQTT-6.0.0-3]") {
    Broker broker;
    Device<> device(broker.port);
    device.connect();
    CHECK(device.port.http_status() == 101);
    device.subscribe("t/#");
    for (const QoS qos : all_qos) {
        CAPTURE(static_cast<int>(qos));
        for (const size_t size : {0u, 1u, 100u, 125u, 126u, 500u, 5000u}) {
            CAPTURE(size);
            const std::string text(size, 'x');
            const mqtt::Result result = device.client.publish("t/a", text, qos);
            REQUIRE(result.ok());
            REQUIRE(device.until([&] { return !device.messages.empty(); }));
            CHECK(device.messages[0].topic == "t/a");
            CHECK(device.messages[0].payload == text);
            CHECK(device.messages[0].qos == qos);
            if (qos != QoS::at_most_once) {
                CHECK(device.until([&] { return device.finished[result.packet_id] == 1; }));
                device.finished.clear();
            }
            device.messages.clear();
        }
    }
    device.disconnect();
    CHECK(device.ended.size() == 1);
}

TEST_CASE("mosquitto over WebSocket: many messages at once, in order") {
    Broker broker("max_inflight_messages 0\n");
    Device<> device(broker.port);
    device.connect();
    device.exchange_many(5000);
    device.disconnect();
    CHECK(device.messages.size() == 5000);
    CHECK(device.ended.size() == 1);
}

TEST_CASE_TEMPLATE("mosquitto over WebSocket: a message of 1 MB both ways, with small buffers [MQTT-6.0.0-2]", Made, Device<160>,
                   Device<512>, Device<16384>) {
    Broker broker;
    test::Waker waker(broker.plain());
    Made device(broker.port, "device", 512, 512);
    device.connect();
    std::string text(1000000, '\0');
    for (size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i * 7 + i / 251);
    device.exchange_large(text, [&] { waker.wake(); });
    device.disconnect();
    CHECK(device.ended.size() == 1);
}

TEST_CASE("mosquitto over WebSocket: a session goes on after the broker was killed and started again") {
    test::TemporaryFolder data;
    Broker broker("persistence true\nautosave_on_changes true\nautosave_interval 1\npersistence_location " +
                  data.path.string() + "/\n");
    Device<> device(broker.port);
    device.connect();
    device.subscribe("t");
    for (const int signal : {SIGTERM, SIGKILL}) {
        CAPTURE(signal);
        if (signal == SIGKILL) {   // the subscription must be on the disk before
            REQUIRE(eventually([&] { return std::filesystem::exists(data.path / "mosquitto.db"); }));
        }
        broker.process().stop(signal);
        REQUIRE(device.until(Event::disconnected));
        for (const QoS qos : all_qos) REQUIRE(device.client.publish("t", "offline", qos).ok());
        REQUIRE(broker.start());
        REQUIRE(device.until(Event::connected));
        CHECK(device.session_present());
        REQUIRE(device.until([&] { return device.messages.size() == 3; }));
        REQUIRE(device.until([&] { return device.client.unacknowledged() == 0; }));
        device.messages.clear();
    }
    device.disconnect();
}

TEST_CASE("mosquitto over WebSocket: pings keep an idle connection, and a stopped broker is noticed") {
    Broker broker;
    Device<> device(broker.port);
    device.options.keep_alive = 1;
    device.options.response_timeout_ms = 300;
    device.connect();
    REQUIRE(device.until(Event::pingresp));
    REQUIRE(device.until(Event::pingresp));
    broker.process().signal(SIGSTOP);
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == mqtt::Error::response_timeout);
    broker.process().signal(SIGCONT);
    REQUIRE(device.until(Event::connected));
    device.disconnect();
}

TEST_CASE("waiting costs no time of the processor: in the handshake, and when idle") {
    // A listener that never answers: the client sleeps until connect_timeout_ms.
    Broker broker;
    broker.process().signal(SIGSTOP);
    Device<> device(broker.port);
    device.options.connect_timeout_ms = 500;
    REQUIRE(device.client.connect(device.options).ok());
    int polls = 0;
    for (Event event = device.client.poll(); event.kind != Event::disconnected; event = device.client.poll()) {
        if (event.kind == Event::none) device.port.wait(device.client.idle_ms(), device.client.wants_write());
        REQUIRE(++polls < 50);
    }
    broker.process().signal(SIGCONT);
    device.options.connect_timeout_ms = 30000;
    polls = 0;
    device.options.keep_alive = 1;
    REQUIRE(device.client.abort().ok());
    REQUIRE(device.until([&] { return !device.client.connected() && device.client.connect(device.options).ok(); }));
    REQUIRE(device.until(Event::connected));
    for (Event event = device.client.poll(); event.kind != Event::pingresp; event = device.client.poll()) {
        if (event.kind == Event::none) device.port.wait(device.client.idle_ms(), device.client.wants_write());
        REQUIRE(++polls < 50);
    }
    device.disconnect();
}

TEST_CASE("a plain MQTT listener is told as such") {
    Broker broker;
    Device<> device(broker.plain());
    fail_to_connect(device);
    CHECK(device.port.websocket_error() == Error::no_answer);
    CHECK(device.reason == "WebSocket: the server closed the connection in the handshake: does it speak WebSocket?");
}

TEST_CASE("nobody there: the text is that of the wrapped port") {
    Device<> device(test::free_port());
    fail_to_connect(device);
    CHECK(device.port.websocket_error() == Error::network);
    CHECK(device.reason == std::strerror(ECONNREFUSED));
}

TEST_CASE("another subprotocol and another status than 101 are told [MQTT-6.0.0-4]") {
    {
        OneAnswer server("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        Device<> device(server.port);
        fail_to_connect(device);
        CHECK(device.port.http_status() == 404);
        CHECK(device.reason == "WebSocket: HTTP status 404 instead of 101");
    }
    {
        OneAnswer server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n");
        Device<> device(server.port);
        fail_to_connect(device);
        CHECK(device.port.websocket_error() == Error::wrong_subprotocol);
    }
}
