// A small world for tests of platform/lwip.hpp: two hosts in one lwIP, a network between them that loses, delays,
// reorders and duplicates packets as its seed says, a name server, and a clock that jumps to whatever comes next.
//
//     test::Network net;                                   // checks at its end that lwIP has got everything back
//     test::Server server(net);                            // on host B, port 1883
//     mqtt::lwip::Tcp port;                                // on host A
//     REQUIRE(net.until([&] { return port.open("10.0.1.2", 1883) != 0; }));
//
// lwIP has one state per process, so there is one Network at a time.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "lwip/ip_addr.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"

#include "tests/support/broker.hpp"

namespace test {

constexpr const char* address_a = "10.0.1.1";
constexpr const char* address_b = "10.0.1.2";
constexpr const char* address_b6 = "fd00::2";

// What the network does to each packet.
struct Weather {
    unsigned loss = 0;             // in 1000
    unsigned duplicates = 0;       // in 1000
    uint32_t delay_ms = 1;         // at least
    uint32_t jitter_ms = 0;        // and up to so much more: packets overtake each other
};

class Network {
public:
    explicit Network(unsigned seed = 1, Weather weather = {});
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;
    ~Network();   // CHECKs that nothing leaked

    uint32_t now() const;
    uint32_t last_random() const;                              // that lwIP, or the port, was given
    Weather weather;
    bool up = true;                                            // false: every packet is lost
    // False: this packet is lost; it may be changed. Called until the network is gone: what it refers to must outlive it.
    std::function<bool(bool from_a, std::string& packet)> filter;

    // Runs until `condition` (asked again and again), at most limit_ms of virtual time; false: that was too short.
    // `step` is the application: it does something, and tells for how long it has nothing more to do (0: ask again at
    // once).
    bool until(const std::function<bool()>& condition, const std::function<uint32_t()>& step = {},
               uint32_t limit_ms = 600000);
    void pass(uint32_t ms, const std::function<uint32_t()>& step = {}) {
        (void)until([] { return false; }, step, ms);
    }

    // The name server on host B: answers by name; what it does not know does not exist.
    std::map<std::string, std::string> names;   // to an IPv4 or IPv6 address
    bool names_answered = true;                 // false: questions are kept ...
    void answer_names();                        // ... until now
    unsigned questions = 0;

    // Memory: allocations of lwIP from the `first` to the `last` from now on fail; 1 is the next. (1, 0): none.
    void fail_allocations(uint64_t first, uint64_t last);
    uint64_t allocations() const;               // so far
    // How many tcp_pcbs there may be; more are refused.
    void limit_connections(unsigned count);

    // Called once in each round, in order of registration: servers.
    std::list<std::function<uint32_t()>> servers;

private:
    friend class Wire;
    bool settle(uint32_t limit_ms);
    struct Question {
        ip_addr_t from;
        uint16_t port;
        std::string bytes;
    };
    void answer(const Question& question);
    std::vector<Question> kept_;
    udp_pcb* dns_ = nullptr;
    std::string statistics_before_;
};

// A TCP server on host B. It takes everything at once, unless told otherwise; what it is to send goes out as there is
// room.
class Server {
public:
    struct Connection {
        tcp_pcb* pcb = nullptr;      // null: gone
        std::string in;              // what came, until the test takes it
        std::string out;             // what is still to be sent
        size_t untaken = 0;          // bytes whose room in the window was not given back
        bool ended = false;          // the other side closed
        bool closing = false;        // closes after `out`
        err_t error = ERR_OK;        // why it is gone
        bool told = false;           // on_gone() was called
        Broker::Id id = Broker::none;
    };

    explicit Server(Network& net, uint16_t port = 1883);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    virtual ~Server();

    void listen();
    void stop_listening();           // new connections are refused
    bool listening() const { return listener_ != nullptr; }
    bool takes = true;               // false: leaves the window closed behind what comes

    std::list<Connection> connections;
    Connection& last() {
        REQUIRE(!connections.empty());
        return connections.back();
    }
    bool connected() const { return !connections.empty() && connections.back().pcb != nullptr; }
    std::string received() const { return connections.empty() ? std::string() : connections.back().in; }
    void send(std::string_view bytes) { last().out += bytes; }
    void finish() {                                    // FIN behind what is to be sent, for all connections
        for (Connection& connection : connections) connection.closing = true;
    }
    void reset();                                      // RST, for all connections
    void take();                                       // opens the window again for what was not taken

protected:
    virtual void on_accept(Connection&) {}
    virtual void on_receive(Connection&, std::string_view) {}
    virtual void on_gone(Connection&) {}
    virtual uint32_t before_sending() { return UINT32_MAX; }   // milliseconds until it has to be called again
    Network& net_;

private:
    uint32_t pump();
    static err_t on_accept(void* self, tcp_pcb* pcb, err_t error);
    static err_t on_received(void* connection, tcp_pcb* pcb, pbuf* bytes, err_t error);
    static void on_error(void* connection, err_t error);

    uint16_t port_;
    tcp_pcb* listener_ = nullptr;
    std::list<std::function<uint32_t()>>::iterator place_;
};

// The embedded broker behind it.
class BrokerServer : public Server {
public:
    explicit BrokerServer(Network& net) : Server(net) {}
    Broker broker;

protected:
    void on_accept(Connection& connection) override { connection.id = broker.accept(net_.now()); }
    void on_receive(Connection& connection, std::string_view bytes) override {
        broker.receive(connection.id, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), net_.now());
        connection.in.clear();
    }
    void on_gone(Connection& connection) override { broker.closed(connection.id, net_.now()); }
    uint32_t before_sending() override {
        broker.tick(net_.now());
        for (Connection& connection : connections) {
            if (connection.pcb == nullptr) continue;
            // Not more than is soon sent: what the broker has not handed out it can still order anew.
            while (connection.out.size() < 16384 && !broker.output(connection.id).empty()) {
                const mqtt::Bytes bytes = broker.output(connection.id);
                connection.out += bytes.text().substr(0, 16384);
                broker.consume(connection.id, std::min<size_t>(bytes.size(), 16384));
            }
            if (broker.output(connection.id).empty() && broker.wants_close(connection.id)) connection.closing = true;
        }
        return broker.idle_ms(net_.now());
    }
};

}  // namespace test
