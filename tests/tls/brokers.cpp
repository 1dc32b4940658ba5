// The client over TLS, and over WebSocket in TLS, over real TCP: mosquitto (OpenSSL) and RabbitMQ (Erlang).
#include "tests/support/tls.hpp"

#if defined(MBEDTLS_MEMORY_BUFFER_ALLOC_C)
#include <mbedtls/memory_buffer_alloc.h>
#endif

#include <memory>

#include "mqtt.hpp"
#include "platform/posix.hpp"
#include "platform/websocket.hpp"
#include "tests/support/brokers.hpp"
#include "tests/support/device.hpp"
#include "tests/support/testing.hpp"

using mqtt::Event;
using mqtt::QoS;
using mqtt::mbedtls::Error;
using test::certificates;
using test::eventually;

namespace {

using Tls = mqtt::mbedtls::Tls<mqtt::posix::Tcp>;
using WebTls = mqtt::WebSocket<Tls>;
using Web = mqtt::WebSocket<mqtt::posix::Tcp>;

// What a listener has in its configuration.
std::string with(const std::string& certificate, const std::string& more = "") {
    return "certfile " + certificates().path(certificate + ".crt") + "\nkeyfile " + certificates().path(certificate + ".key") + "\n" + more;
}
std::string asks_for_certificates() { return "cafile " + certificates().path("ca.crt") + "\nrequire_certificate true\n"; }

struct Broker : test::TwoListeners {
    explicit Broker(const std::string& listener = with("server"), const std::string& extra = "") : TwoListeners(extra, listener) {}
};

// Trusts the CA.
template <class Port> struct Device : test::Device<Port> {
    explicit Device(uint16_t broker, size_t rx_size = 4096, size_t tx_size = 65536, const std::string& id = "device")
        : test::Device<Port>(broker, id, rx_size, tx_size) {
        if constexpr (!std::is_same_v<Port, Web>) REQUIRE(this->port.add_ca(certificates().certificate("ca")));
    }
};

template <class D> void fail_to_connect(D& device, Error error) {
    REQUIRE(device.client.connect(device.options).ok());
    REQUIRE(device.until(Event::disconnected));
    CHECK(device.ended.back() == mqtt::Error::connect_failed);
    CAPTURE(device.reason);
    CHECK(static_cast<int>(device.port.tls_error()) == static_cast<int>(error));
    CHECK(device.port.fd() == -1);
}

// Messages of each size that matters, at each QoS up to `highest`, there and back.
template <class D> void talk(D& device, int highest = 2) {
    device.connect();
    device.subscribe("t/#", static_cast<QoS>(highest));
    for (int qos = 0; qos <= highest; ++qos)
        for (const size_t size : {0u, 1u, 125u, 126u, 5000u, 16384u, 30000u}) {
            CAPTURE(qos);
            CAPTURE(size);
            const std::string text = test::pattern(size);
            CHECK(device.publish("t/a", text, static_cast<QoS>(qos)) == mqtt::ReasonCode::success);
            CHECK((device.next().payload == text));
        }
    device.disconnect();
    CHECK(device.ended.size() == 1);
}

// One of 1 MB.
template <class D> void talk_at_length(D& device, const std::function<void()>& meanwhile = [] {}) {
    device.connect();
    device.exchange_large(test::pattern(1000000), meanwhile);
    device.disconnect();
    CHECK(device.ended.size() == 1);
}

}  // namespace

TEST_CASE("mosquitto over TLS: messages of each QoS go both ways; by name and by address") {
    Broker broker;
    for (const char* host : {"127.0.0.1", "localhost"}) {
        Device<Tls> device(broker.port);
        device.options.host = host;
        talk(device);
    }
}

TEST_CASE("mosquitto over TLS: many messages at once, in order") {
    Broker broker(with("server"), "max_inflight_messages 0\n");
    Device<Tls> device(broker.port);
    device.connect();
    device.exchange_many(5000);
    device.disconnect();
}

TEST_CASE("mosquitto over TLS: a message of 1 MB both ways, with small buffers, while records are larger") {
    Broker broker;
    Device<Tls> device(broker.port, 512, 512);
    talk_at_length(device);
}

TEST_CASE("mosquitto over WebSocket over TLS: messages of each QoS, and one of 1 MB") {
    Broker broker(with("server", "protocol websockets\n"));
    Device<WebTls> device(broker.port);
    talk(device);
    test::Waker waker(broker.plain());
    Device<WebTls> small(broker.port, 512, 512);
    talk_at_length(small, [&] { waker.wake(); });
}

TEST_CASE("mosquitto over TLS: a broker that stops reading for a while; nothing is lost, nothing spins") {
    Broker broker(with("server"), "max_inflight_messages 0\n");
    Device<Tls> device(broker.port, 65536, 1 << 20);
    device.connect();
    device.subscribe("t");
    broker.process().signal(SIGSTOP);
    const std::string text = test::pattern(10000);
    size_t accepted = 0;
    // Until the system takes no more, and mbedTLS and the client are full.
    for (int idle = 0; idle != 5;) {
        if (device.client.publish("t", text, QoS::at_most_once).ok()) {
            ++accepted;
            idle = 0;
            continue;
        }
        if (device.client.poll().kind == Event::none && !device.port.wait(100, device.client.wants_write())) ++idle;
    }
    CHECK(accepted > 100);
    broker.process().signal(SIGCONT);
    REQUIRE(device.until([&] { return device.messages.size() == accepted; }));
    size_t wrong = 0;
    for (const auto& message : device.messages) wrong += message.payload != text;
    CHECK(wrong == 0);
    device.disconnect();
}

TEST_CASE("mosquitto over TLS: waiting costs no time of the processor: in the handshake, and when idle") {
    Broker broker;
    broker.process().signal(SIGSTOP);
    Device<Tls> device(broker.port);
    device.options.connect_timeout_ms = 500;
    REQUIRE(device.client.connect(device.options).ok());
    int polls = 0;
    const auto until = [&](Event::Kind kind) {
        for (Event event = device.client.poll(); event.kind != kind; event = device.client.poll()) {
            if (event.kind == Event::none) device.port.wait(device.client.idle_ms(), device.client.wants_write());
            REQUIRE(++polls < 50);
        }
    };
    until(Event::disconnected);
    broker.process().signal(SIGCONT);
    device.options.connect_timeout_ms = 30000;
    device.options.keep_alive = 1;
    REQUIRE(device.client.abort().ok());
    REQUIRE(device.until([&] { return !device.client.connected() && device.client.connect(device.options).ok(); }));
    REQUIRE(device.until(Event::connected));
    polls = 0;
    until(Event::pingresp);
    device.disconnect();
}

TEST_CASE("mosquitto over TLS: how connections end: cut, closed by the broker, killed; sessions of TLS and of MQTT go on") {
    Broker broker;
    Device<Tls> device(broker.port);
    device.connect();
    device.subscribe("t");
    CHECK_FALSE(device.port.resumed());
    device.cut();
    CHECK(device.port.tls_error() == Error::truncated);
    CHECK(device.reason == "TLS: the connection ended without close-notify");
    REQUIRE(device.until(Event::connected));
    CHECK(device.port.resumed());
    CHECK(device.session_present());
    for (const int signal : {SIGTERM, SIGKILL}) {
        broker.process().stop(signal);
        REQUIRE(device.until(Event::disconnected));
        CHECK(device.ended.back() == mqtt::Error::connection_lost);
        CHECK(device.port.tls_error() == (signal == SIGTERM ? Error::closed : Error::truncated));
        REQUIRE(broker.start());
        REQUIRE(device.until(Event::connected));
        CHECK_FALSE(device.port.resumed());   // it has forgotten its keys
    }
    device.disconnect();
}

TEST_CASE("mosquitto over TLS: the session is taken up by another object, from bytes") {
    Broker broker;
    uint8_t bytes[8192];
    size_t size = 0;
    {
        Device<Tls> device(broker.port);
        device.connect();
        size = device.port.save_session(bytes, sizeof bytes);
        CHECK(size != 0);
        device.disconnect();
    }
    Device<Tls> device(broker.port);
    REQUIRE(device.port.load_session(bytes, size));
    device.connect();
    CHECK(device.port.resumed());
    device.disconnect();
}

TEST_CASE("mosquitto over TLS: its certificate is of an unknown CA, expired, for another host") {
    const struct {
        const char* certificate;
        const char* host;
        Error error;
    } rows[] = {{"foreign", "localhost", Error::unknown_ca}, {"expired", "localhost", Error::expired},
                {"future", "localhost", Error::not_yet_valid}, {"plain", "localhost", Error::wrong_host},
                {"plain", "127.0.0.1", Error::wrong_host}};
    for (const auto& row : rows) {
        CAPTURE(row.certificate);
        Broker broker(with(row.certificate));
        Device<Tls> device(broker.port);
        device.options.host = row.host;
        fail_to_connect(device, row.error);
    }
}

TEST_CASE("mosquitto over TLS: client certificates: the right one, none, one of another CA") {
    Broker broker(with("server", asks_for_certificates() + "use_identity_as_username true\n"));
    Device<Tls> good(broker.port);
    REQUIRE(good.port.set_certificate(certificates().certificate("client"), certificates().key("client")));
    talk(good);
    Device<Tls> none(broker.port);
    fail_to_connect(none, Error::alert);
    CHECK(none.reason.find("TLS: the server refuses: ") == 0);
    Device<Tls> foreign(broker.port);
    REQUIRE(foreign.port.set_certificate(certificates().certificate("foreign_client"), certificates().key("foreign_client")));
    fail_to_connect(foreign, Error::alert);
    CHECK(foreign.reason == "TLS: the server refuses: unknown CA (alert 48)");
}

TEST_CASE("mosquitto over TLS with pre-shared keys: the right one, a wrong one, a name that it does not know") {
    const test::TemporaryFolder folder;
    Broker broker("psk_hint any\n", "psk_file " + folder.write("keys", "device:30313233343536373839\n") + "\n");
    const auto use = [](test::Device<Tls>& device, std::string_view name, std::string_view key) {
        device.port.psk_identity = name;
        device.port.psk = key;
    };
    test::Device<Tls> good(broker.port);
    use(good, "device", "0123456789");
    talk(good);
    good.port.forget_session();
    use(good, "device", "012345678X");
    fail_to_connect(good, Error::alert);
    CHECK(good.reason == "TLS: the server refuses: bad record MAC (alert 20)");
    test::Device<Tls> unknown(broker.port);
    use(unknown, "stranger", "0123456789");
    fail_to_connect(unknown, Error::alert);
    CHECK(unknown.reason == "TLS: the server refuses: unknown PSK identity (alert 115)");
}

TEST_CASE("a listener without TLS is told as such; nobody there is the wrapped port's text") {
    Broker broker;
    Device<Tls> device(broker.plain());
    fail_to_connect(device, Error::no_answer);
    CHECK(device.reason.find("TLS: the connection ended in the handshake: does the server speak TLS?: ") == 0);
    Device<Tls> nobody(test::free_port());
    fail_to_connect(nobody, Error::network);
    CHECK(nobody.reason == strerror(ECONNREFUSED));
    Device<WebTls> web(broker.plain());
    fail_to_connect(web, Error::no_answer);
    CHECK(web.port.websocket_error() == mqtt::websocket::Error::network);
    CHECK(web.reason.find("TLS: the connection ended in the handshake") == 0);
}

// Debian's build has no such allocator: there, the firmware's tests hold it (tests/firmware), whose mbedTLS is built with it.
#if defined(MBEDTLS_MEMORY_BUFFER_ALLOC_C)
TEST_CASE("one static array can be all of mbedTLS's memory") {
    Broker broker;
    for (const size_t size : {60000u, 20000u}) {   // as documented; and with too little, which is told
        std::vector<unsigned char> arena(size);
        mbedtls_memory_buffer_alloc_init(arena.data(), arena.size());
        {
            Device<Tls> device(broker.port);
            if (size > 50000) {
                device.connect();
                for (int i = 0; i != 20; ++i) {
                    device.cut();
                    REQUIRE(device.until(Event::connected));
                    CHECK(device.port.resumed());
                }
                device.disconnect();
                device.ended.clear();
                device.port.forget_session();
                talk(device);
            } else {
                fail_to_connect(device, Error::no_memory);
            }
        }
        mbedtls_memory_buffer_alloc_free();
    }
}
#endif

TEST_CASE("RabbitMQ's web-mqtt: over WebSocket, and over WebSocket over TLS") {
    const std::string missing = test::RabbitMq::missing();
    if (!missing.empty()) SKIP_TEST(missing);
    test::RabbitMqWeb broker(certificates().path("ca.crt"), certificates().path("server.crt"), certificates().path("server.key"));
    Device<Web> plain(broker.web, 65536, 65536, "plain");
    plain.port.path = "/ws";
    talk(plain, 1);
    Device<WebTls> secure(broker.secure_web, 65536, 65536, "secure");
    secure.port.path = "/ws";
    talk(secure, 1);
}
