// The port for lwIP where lwIP has a thread of its own, as with an RTOS: the client in that thread, and in another one that
// takes lwIP's lock. lwIP's port for Unix gives the threads; it ends the program if lwIP is entered from anywhere else.
#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "lwip/tcpip.h"
#include "lwip/timeouts.h"
#include "mqtt.hpp"
#include "platform/lwip.hpp"

namespace {

using mqtt::Event;

// What one thread waits for and another one brings about.
class Signal {
public:
    void give() {
        const std::lock_guard<std::mutex> lock(mutex_);
        given_ = true;
        condition_.notify_all();
    }
    // False: not even within so many milliseconds.
    bool take(uint32_t ms = 60000) {
        std::unique_lock<std::mutex> lock(mutex_);
        const bool was = condition_.wait_for(lock, std::chrono::milliseconds(ms), [&] { return given_; });
        given_ = false;
        return was;
    }

private:
    std::mutex mutex_;
    std::condition_variable condition_;
    bool given_ = false;
};

// Starts lwIP's thread, once.
void start_lwip() {
    static const bool started = [] {
        Signal ready;
        tcpip_init([](void* signal) { static_cast<Signal*>(signal)->give(); }, &ready);
        return ready.take();
    }();
    REQUIRE(started);
}

// Does something in lwIP's thread, and waits until it is done.
void in_lwip(const std::function<void()>& work) {
    struct Call {
        const std::function<void()>& work;
        Signal done;
    } call{work, {}};
    REQUIRE(tcpip_callback([](void* argument) {
        static_cast<Call*>(argument)->work();
        static_cast<Call*>(argument)->done.give();
    }, &call) == ERR_OK);
    REQUIRE(call.done.take());
}

// In the same stack: takes any client, and sends back at QoS 0 what it publishes at QoS 1. All of it is for lwIP's thread.
class Server {
public:
    Server() {
        tcp_pcb* const pcb = tcp_new();
        REQUIRE(tcp_bind(pcb, IP_ADDR_ANY, 0) == ERR_OK);
        listener_ = tcp_listen(pcb);
        REQUIRE(listener_ != nullptr);
        tcp_arg(listener_, this);
        tcp_accept(listener_, [](void* self, tcp_pcb* client, err_t) {
            Server& server = *static_cast<Server*>(self);
            server.client_ = client;
            server.bytes_.clear();
            ++server.connections;
            tcp_arg(client, self);
            tcp_nagle_disable(client);
            tcp_err(client, [](void* of, err_t) { static_cast<Server*>(of)->client_ = nullptr; });
            tcp_recv(client, [](void* of, tcp_pcb* from, pbuf* data, err_t) {
                return data != nullptr ? static_cast<Server*>(of)->received(from, data) : static_cast<Server*>(of)->ended(from);
            });
            return static_cast<err_t>(ERR_OK);
        });
    }
    ~Server() {
        if (client_ != nullptr) cut();
        tcp_close(listener_);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    uint16_t port() const { return listener_->local_port; }
    void cut() {   // the client sees a reset
        tcp_pcb* const client = client_;
        client_ = nullptr;
        tcp_err(client, nullptr);
        tcp_abort(client);
    }
    bool has_client() const { return client_ != nullptr; }

    int connections = 0;
    bool disconnected = false;   // by DISCONNECT

private:
    err_t ended(tcp_pcb* client) {
        client_ = nullptr;
        tcp_err(client, nullptr);
        tcp_recv(client, nullptr);
        return tcp_close(client);
    }
    err_t received(tcp_pcb* client, pbuf* data) {
        for (const pbuf* part = data; part != nullptr; part = part->next)
            bytes_.append(static_cast<const char*>(part->payload), part->len);
        tcp_recved(client, data->tot_len);
        pbuf_free(data);
        while (true) {   // all packets here are shorter than 128 bytes
            if (bytes_.size() < 2 || bytes_.size() < 2U + static_cast<uint8_t>(bytes_[1])) break;
            const std::string packet = bytes_.substr(0, 2U + static_cast<uint8_t>(bytes_[1]));
            bytes_.erase(0, packet.size());
            switch (static_cast<uint8_t>(packet[0]) & 0xF0) {
            case 0x10: answer({'\x20', '\x02', connections > 1 ? '\x01' : '\x00', '\x00'}); break;   // the session is kept
            case 0x30: {
                const size_t id = 4U + static_cast<uint8_t>(packet[3]);
                std::string echo = packet;
                echo[0] = '\x30';
                echo.erase(id, 2);
                echo[1] = static_cast<char>(echo.size() - 2);
                answer(echo);
                answer(std::string("\x40\x02", 2) + packet.substr(id, 2));
                break;
            }
            case 0xC0: answer({"\xD0\x00", 2}); break;
            case 0xE0: disconnected = true; break;
            default: FAIL_CHECK("what is this?");
            }
        }
        tcp_output(client);
        return ERR_OK;
    }
    void answer(const std::string& packet) {
        CHECK(tcp_write(client_, packet.data(), static_cast<u16_t>(packet.size()), TCP_WRITE_FLAG_COPY) == ERR_OK);
    }

    tcp_pcb* listener_ = nullptr;
    tcp_pcb* client_ = nullptr;
    std::string bytes_;
};

// A device that publishes so many messages, five at a time, each until it is acknowledged and has come back.
struct Device {
    explicit Device(uint16_t server) {
        options.host = "127.0.0.1";
        options.port = server;
        options.client_id = "rtos";
        options.clean_session = false;
        options.reconnect_min_ms = 1;
        options.in_flight_maximum = 5;
        REQUIRE(client.connect(options).ok());
    }
    // One event. False: there is none.
    bool step() {
        while (next < wanted && client.publish("rtos/reading", std::to_string(next), mqtt::QoS::at_least_once).ok()) ++next;
        const Event event = client.poll();
        if (event.kind == Event::received) came.insert(std::string(event.message.payload.text()));
        if (event.kind == Event::acknowledged) ++acknowledged;
        if (event.kind == Event::disconnected) error = event.error;
        if (event.kind == Event::disconnected && event.error == mqtt::Error::ok) ended = true;
        return event.kind != Event::none;
    }
    bool done() const { return acknowledged == wanted && came.size() >= wanted; }

    mqtt::lwip::Tcp port;
    uint8_t rx[256], tx[1024];
    mqtt::Client<mqtt::lwip::Tcp> client{port, {rx, tx}};
    mqtt::ConnectOptions options;
    size_t wanted = 0, next = 0, acknowledged = 0;
    std::set<std::string> came;
    mqtt::Error error = mqtt::Error::ok;
    bool ended = false;
};

}  // namespace

TEST_CASE("lwIP with threads: a client in lwIP's own, woken by callbacks and a timer") {
    start_lwip();
    // `wake` asks to be called, and so does the client's next time-out.
    struct Application {
        explicit Application(uint16_t server) : device(server) {
            device.port.wake = [](void* self) { static_cast<Application*>(self)->ask(); };
            device.port.wake_argument = this;
        }
        ~Application() { sys_untimeout(on_time, this); }
        void ask() {
            if (asked) return;
            asked = tcpip_try_callback([](void* self) {
                static_cast<Application*>(self)->asked = false;
                static_cast<Application*>(self)->run();
            }, this) == ERR_OK;
        }
        static void on_time(void* self) { static_cast<Application*>(self)->run(); }
        void run() {
            do while (device.step());
            while (device.port.ready());
            sys_untimeout(on_time, this);
            const uint32_t idle = device.client.idle_ms();
            if (idle != mqtt::forever) sys_timeout(idle, on_time, this);
            news.give();
        }

        Device device;
        Signal news;
        bool asked = false;
    };
    std::unique_ptr<Server> server;
    std::unique_ptr<Application> application;
    in_lwip([&] {
        server = std::make_unique<Server>();
        application = std::make_unique<Application>(server->port());
        application->device.wanted = 200;
        application->run();
    });
    const auto until = [&](const std::function<bool()>& condition) {
        for (bool met = false; !met;) {
            in_lwip([&] { met = condition(); });
            if (!met && !application->news.take()) return false;
        }
        return true;
    };
    CHECK(until([&] { return application->device.done(); }));
    in_lwip([&] {
        REQUIRE(server->has_client());
        server->cut();
    });
    CHECK(until([&] { return application->device.error == mqtt::Error::connection_lost; }));
    in_lwip([&] {
        application->device.wanted = 300;
        application->run();
    });
    CHECK(until([&] { return application->device.done(); }));
    in_lwip([&] {
        CHECK(server->connections == 2);
        REQUIRE(application->device.client.disconnect().ok());
        application->run();
    });
    CHECK(until([&] { return application->device.ended; }));
    CHECK(until([&] { return server->disconnected; }));
    in_lwip([&] {
        application.reset();
        server.reset();
    });
}

TEST_CASE("lwIP with threads: a client in another one, under lwIP's lock, which sleeps until it is woken") {
    start_lwip();
    std::unique_ptr<Server> server;
    in_lwip([&] { server = std::make_unique<Server>(); });

    struct Lock {
        Lock() { LOCK_TCPIP_CORE(); }
        ~Lock() { UNLOCK_TCPIP_CORE(); }
        Lock(const Lock&) = delete;
        Lock& operator=(const Lock&) = delete;
    };
    Signal woken, finished;
    std::set<std::string> came;
    std::thread thread([&] {
        std::unique_ptr<Device> device;
        {
            const Lock lock;
            device = std::make_unique<Device>(server->port());
            device->wanted = 200;
            device->port.wake = [](void* signal) { static_cast<Signal*>(signal)->give(); };
            device->port.wake_argument = &woken;
        }
        bool cut = false, leaving = false;
        while (!device->ended) {
            uint32_t idle = 0;
            bool ready = false;
            {
                const Lock lock;
                while (device->step());
                if (device->done() && !cut) {
                    cut = true;
                    server->cut();
                    device->wanted = 300;
                } else if (device->done() && !leaving) {
                    leaving = device->client.disconnect().ok();
                }
                idle = device->client.idle_ms();
                ready = device->port.ready() || device->client.wants_write();
            }
            if (!ready && idle != 0 && !device->ended) (void)woken.take(idle);
        }
        const Lock lock;
        came = device->came;
        device.reset();
        finished.give();
    });
    CHECK(finished.take());
    thread.join();
    CHECK(came.size() == 300);
    in_lwip([&] {
        CHECK(server->connections == 2);
        CHECK(server->disconnected);
        server.reset();
    });
}
