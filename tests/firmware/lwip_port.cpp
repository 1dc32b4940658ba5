// platform/lwip.hpp alone, against a server that says what the test says. Built with LWIP_ALTCP=1, and =0.

#include "platform/lwip.hpp"

#include "tests/firmware/network.hpp"
#include "tests/support/testing.hpp"

#include "lwip/altcp_tcp.h"
#include "lwip/priv/altcp_priv.h"
#include "lwip/stats.h"

namespace {

using mqtt::lwip::Tcp;

// A pattern that shows what is lost, doubled or out of order.
std::string pattern(size_t size) {
    std::string text(size, '\0');
    uint32_t x = 1;
    for (char& c : text) {
        x = x * 1664525 + 1013904223;
        c = static_cast<char>(x >> 24);
    }
    return text;
}

struct World {
    explicit World(unsigned seed = 1, test::Weather weather = {}) : net(seed, weather), server(net) {}
    test::Network net;
    test::Server server;
    Tcp port;

    // What open() says in the end.
    int open(std::string_view host = test::address_b, uint16_t number = 1883) {
        int opened = 0;
        CHECK(net.until([&] { return opened != 0; }, [&] {
            opened = port.open(host, number);
            return port.ready() ? 0 : UINT32_MAX;
        }));
        return opened;
    }
    void connect(std::string_view host = test::address_b) {
        REQUIRE(open(host) > 0);
        REQUIRE(net.until([&] { return server.connected(); }));
    }
    // One read, at most `size`; "" is 0, and what read() tells stands in `result`.
    std::string read(size_t size = 4096) {
        std::vector<uint8_t> bytes(size);
        result = port.read(bytes.data(), size);
        return result > 0 ? std::string(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(result)) : "";
    }
    int write(std::string_view bytes) {
        return port.write(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
    }
    // Writes all of it, as there is room, sleeping in between.
    void write_all(std::string_view bytes) {
        REQUIRE(net.until([&] { return bytes.empty(); }, [&]() -> uint32_t {
            const int n = write(bytes);
            REQUIRE(n >= 0);
            bytes.remove_prefix(static_cast<size_t>(n));
            return port.ready() ? 0 : UINT32_MAX;
        }));
    }
    // Reads, at most `size` at once, until `total` bytes are there or the connection is lost, sleeping in between.
    std::string read_all(size_t total, size_t size = 512) {
        std::string all;
        net.until([&] { return all.size() >= total || result < 0; }, [&]() -> uint32_t {
            all += read(size);
            return port.ready() ? 0 : UINT32_MAX;
        });
        return all;
    }
    int result = 0;
};

bool receives(World& world, std::string_view bytes) {
    return world.net.until([&] { return world.server.received() == bytes; });
}

}  // namespace

// ------------------------------------------------------------------------------------------------------ connecting

TEST_CASE("lwIP: connects to an IPv4 address, and bytes go both ways") {
    World world;
    world.connect();
    CHECK(world.write("hello") == 5);
    CHECK(receives(world, "hello"));
    CHECK(world.read() == "");
    CHECK(world.result == 0);
    world.server.send("world");
    CHECK(world.read_all(5) == "world");
    CHECK(world.port.last_error() == ERR_OK);
}

TEST_CASE("lwIP: connects to an IPv6 address, also in brackets") {
    for (const char* host : {"fd00::2", "[fd00::2]"}) {
        World world;
        world.connect(host);
        world.write_all("six");
        CHECK(receives(world, "six"));
    }
}

TEST_CASE("lwIP: the host needs no 0 at its end, and is used up when open() returns") {
    World world;
    CHECK(world.open("a.name.that.does.not.exist") < 0);
    std::string host = "10.0.1.2:1883";
    REQUIRE(world.port.open(std::string_view(host).substr(0, 8), 1883) == 0);
    host = "nonsense";
    CHECK(world.open("ignored", 1) == 1);
}

TEST_CASE("lwIP: open() is 0 until the handshake is done, then > 0 whenever it is asked") {
    World world;
    CHECK(world.port.open(test::address_b, 1883) == 0);
    CHECK(world.port.open(test::address_b, 1883) == 0);
    CHECK(world.open() == 1);
    CHECK(world.port.open(test::address_b, 1883) == 1);
}

TEST_CASE("lwIP: read() and write() fail before there is a connection") {
    World world;
    uint8_t byte = 0;
    CHECK(world.port.read(&byte, 1) < 0);
    CHECK(world.port.write(&byte, 1) < 0);
    CHECK(world.port.open(test::address_b, 1883) == 0);
    CHECK(world.port.read(&byte, 1) < 0);
    CHECK(world.port.write(&byte, 1) < 0);
    CHECK(world.open() == 1);
    CHECK(world.port.read(&byte, 0) == 0);
    CHECK(world.port.write(&byte, 0) == 0);
    world.port.close();
    CHECK(world.port.read(&byte, 1) < 0);
    CHECK(world.port.write(&byte, 1) < 0);
}

TEST_CASE("lwIP: a refused connection is told as a reset, and the next open() works") {
    World world;
    world.server.stop_listening();
    CHECK(world.open() < 0);
    CHECK(world.port.last_error() == ERR_RST);
    world.server.listen();
    CHECK(world.open() > 0);
    CHECK(world.port.last_error() == ERR_RST);   // kept
}

TEST_CASE("lwIP: a host that does not answer is given up by lwIP in the end, or by close() at any time") {
    World world;
    world.net.up = false;
    SUBCASE("lwIP") {
        CHECK(world.open() < 0);
        CHECK(world.port.last_error() == ERR_ABRT);
    }
    SUBCASE("close()") {
        CHECK(world.port.open(test::address_b, 1883) == 0);
        world.net.pass(5000);
        world.port.close();
    }
    world.net.up = true;
    CHECK(world.open() > 0);
}

TEST_CASE("lwIP: an address of nobody's is a time-out and no crash") {
    World world;
    CHECK(world.open("10.0.1.77") < 0);
}

TEST_CASE("lwIP: hosts that are none are refused at once") {
    World world;
    const std::string too_long(DNS_MAX_NAME_LENGTH, 'x');
    const std::string with_zero("a\0b", 3);
    for (const std::string_view host : {std::string_view(), std::string_view(too_long), std::string_view(with_zero)}) {
        CHECK(world.port.open(host, 1883) < 0);
        CHECK(world.port.last_error() == ERR_ARG);
    }
    CHECK(world.net.questions == 0);
    CHECK(world.open() > 0);
}

// ----------------------------------------------------------------------------------------------------------- names

TEST_CASE("lwIP: a name is resolved to an IPv4 address, or to an IPv6 one if there is no other") {
    World world;
    world.net.names["broker.test"] = test::address_b;
    world.net.names["six.test"] = test::address_b6;
    CHECK(world.open("broker.test") > 0);
    world.port.close();
    CHECK(world.open("six.test") > 0);
    CHECK(world.net.questions == 3);
}

TEST_CASE("lwIP: address_type says which addresses of a name are asked for") {
    World world;
    world.net.names["four.test"] = test::address_b;
    world.port.address_type = LWIP_DNS_ADDRTYPE_IPV6;
    CHECK(world.open("four.test") < 0);
    CHECK(world.port.last_error() == ERR_VAL);
}

TEST_CASE("lwIP: the longest name is resolved") {
    World world;
    const std::string name(DNS_MAX_NAME_LENGTH - 1, 'y');
    world.net.names[name] = test::address_b;
    CHECK(world.open(name) > 0);
}

TEST_CASE("lwIP: a name that does not exist is told, and the next open() asks again") {
    World world;
    CHECK(world.open("late.test") < 0);
    CHECK(world.port.last_error() == ERR_VAL);
    world.net.names["late.test"] = test::address_b;
    CHECK(world.open("late.test") > 0);
}

TEST_CASE("lwIP: a name server that does not answer is a failure in the end, not a wait for ever") {
    World world;
    world.net.names_answered = false;
    CHECK(world.open("slow.test") < 0);
    CHECK(world.port.last_error() == ERR_VAL);
}

TEST_CASE("lwIP: an answer after close() does nothing") {
    World world;
    world.net.names["slow.test"] = test::address_b;
    world.net.names_answered = false;
    CHECK(world.port.open("slow.test", 1883) == 0);
    world.net.pass(10);
    world.port.close();
    world.net.answer_names();
    world.net.pass(10);
    CHECK_FALSE(world.port.ready());
    CHECK(world.server.connections.empty());
    CHECK(world.port.read(nullptr, 0) < 0);
    CHECK(world.open("slow.test") > 0);   // lwIP remembers it
    CHECK(world.net.questions == 1);
}

TEST_CASE("lwIP: an answer for an earlier open() is not taken for a later one") {
    World world;
    world.net.names["old.test"] = "10.0.1.77";
    world.net.names["new.test"] = test::address_b;
    world.net.names_answered = false;
    CHECK(world.port.open("old.test", 1883) == 0);
    world.net.pass(10);
    world.port.close();
    SUBCASE("while the later one waits for its own") {
        CHECK(world.port.open("new.test", 1883) == 0);
        world.net.pass(10);
        world.net.answer_names();
        world.connect();   // that of the old name does not exist
    }
    SUBCASE("while the later one connects") {
        CHECK(world.port.open(test::address_b, 1883) == 0);
        world.net.answer_names();
        CHECK(world.open() > 0);
    }
    SUBCASE("while the later one is open") {
        world.connect();
        world.net.answer_names();
        world.net.pass(10);
        world.write_all("still here");
        CHECK(receives(world, "still here"));
    }
}

TEST_CASE("lwIP: an answer for a port that is gone does nothing") {
    World world;
    world.net.names["slow.test"] = test::address_b;
    world.net.names_answered = false;
    {
        Tcp first, second, third;
        CHECK(first.open("slow.test", 1883) == 0);
        CHECK(second.open("slow.test", 1883) == 0);
        CHECK(third.open("slow.test", 1883) == 0);
        world.net.pass(10);
    }
    CHECK(world.port.open("slow.test", 1883) == 0);
    world.net.answer_names();
    CHECK(world.open() > 0);
}

TEST_CASE("lwIP: lookups given up fill lwIP's table: that is out of memory, until they have ended") {
    World world;
    world.net.names["slow.test"] = test::address_b;
    world.net.names_answered = false;
    int answers = 0;
    for (int i = 0; i < DNS_TABLE_SIZE + 1; ++i) {
        answers = world.port.open("slow.test", 1883);
        if (answers != 0) break;
        world.net.pass(10);
        world.port.close();
    }
    CHECK(answers < 0);
    CHECK(world.port.last_error() == ERR_MEM);
    world.net.answer_names();
    world.net.pass(100);
    CHECK(world.open("slow.test") > 0);
}

TEST_CASE("lwIP: two ports wait for names at once, each for its own") {
    World world;
    test::Server other(world.net, 1884);
    world.net.names["one.test"] = test::address_b;
    world.net.names_answered = false;
    Tcp second;
    CHECK(world.port.open("one.test", 1883) == 0);
    CHECK(second.open("none.test", 1884) == 0);
    world.net.pass(10);
    world.net.answer_names();
    CHECK(world.open() > 0);
    CHECK(second.open("none.test", 1884) < 0);
}

// ------------------------------------------------------------------------------------------------- bytes, both ways

TEST_CASE("lwIP: what is larger than the send buffer goes out in pieces, and nothing is lost or doubled") {
    World world;
    world.connect();
    const std::string bytes = pattern(100000);
    const int first = world.write(bytes);
    CHECK(first == TCP_SND_BUF);
    world.write_all(std::string_view(bytes).substr(static_cast<size_t>(first)));
    CHECK(receives(world, bytes));
}

TEST_CASE("lwIP: a full send buffer is 0, not yet, and ready() tells when there is room") {
    World world;
    world.connect();
    world.server.takes = false;
    const std::string bytes = pattern(100000);
    size_t sent = 0;
    for (int n = 1; n != 0; sent += static_cast<size_t>(n)) {
        n = world.write(std::string_view(bytes).substr(sent));
        REQUIRE(n >= 0);
        if (n == 0) world.net.pass(1000);
        if (n == 0) n = world.write(std::string_view(bytes).substr(sent));
    }
    CHECK(sent <= TCP_SND_BUF + TCP_WND);
    CHECK_FALSE((world.port.ready() && world.port.ready()));
    world.server.takes = true;
    const uint32_t begun = world.net.now();
    CHECK(world.net.until([&] { return world.port.ready(); }));
    CHECK(world.net.now() - begun < 20);   // at the first acknowledgement, and not only after 500 ms
    CHECK(world.write("x") == 1);
}

TEST_CASE("lwIP: the queue of segments may be full before the send buffer is") {
    World world;
    world.connect();
    world.net.up = false;
    size_t sent = 0;
    int n = 1;
    for (int i = 0; i < 1000 && n != 0; ++i) {
        n = world.write("x");
        REQUIRE(n >= 0);
        sent += static_cast<size_t>(n);
    }
    CHECK(n == 0);
    world.net.up = true;
    CHECK(receives(world, std::string(sent, 'x')));
    world.write_all("y");
    CHECK(receives(world, std::string(sent, 'x') + "y"));
}

TEST_CASE("lwIP: small packets are not held back until earlier ones are acknowledged") {
    World world;
    world.connect();
    world.net.pass(1000);
    const uint32_t begun = world.net.now();
    world.write("first");
    world.write("second");
    CHECK(receives(world, "firstsecond"));
    CHECK(world.net.now() - begun <= 2);
}

TEST_CASE("lwIP: one write() is one packet if it fits") {
    uint64_t from_client = 0;   // outlives the network
    World world;
    world.connect();
    world.net.pass(1000);
    world.net.filter = [&](bool from_a, std::string&) { return from_client += from_a, true; };
    world.write(pattern(500));
    CHECK(receives(world, pattern(500)));
    CHECK(from_client == 1);
}

TEST_CASE("lwIP: bytes that are not read close the window, and nothing of them is lost") {
    World world;
    world.connect();
    const std::string bytes = pattern(50000);
    world.server.send(bytes);
    world.net.pass(60000);
    // The server could not send more than the window.
    CHECK(bytes.size() - world.server.last().out.size() <= TCP_WND + TCP_SND_BUF);
    CHECK(world.read_all(bytes.size(), 7) == bytes);
    CHECK(world.server.connected());
}

TEST_CASE("lwIP: reading opens the window by what was read, and by no more") {
    World world;
    world.connect();
    const std::string bytes = pattern(4 * TCP_WND);
    // What the other side of the server's connection has taken.
    const auto arrived = [&] {
        return bytes.size() - world.server.last().out.size() - (TCP_SND_BUF - tcp_sndbuf(world.server.last().pcb));
    };
    world.server.send(bytes);
    world.net.pass(60000);
    CHECK(arrived() <= TCP_WND);
    std::string all = world.read_all(1000, 100);
    world.net.pass(60000);
    CHECK(arrived() > TCP_WND);
    CHECK(arrived() <= TCP_WND + 1000U);
    all += world.read_all(bytes.size() - all.size());
    CHECK(all == bytes);
}

TEST_CASE("lwIP: a megabyte in each direction, through 512 bytes, over a network that loses and reorders") {
    World world(7, {20, 20, 1, 30});
    world.connect();
    const std::string bytes = pattern(testing::long_run() ? 1000000 : 200000);
    world.server.send(bytes);
    CHECK(world.read_all(bytes.size()) == bytes);
    world.write_all(bytes);
    CHECK(receives(world, bytes));
}

TEST_CASE("lwIP: many tiny packets do not take all receive buffers: acknowledgements still come through") {
    World world;
    world.connect();
    world.server.takes = true;
    // Nothing is read. The server sends one byte per packet.
    const std::string bytes = pattern(200);
    for (const char c : bytes) {
        world.server.send(std::string_view(&c, 1));
        world.net.pass(20);
    }
    const size_t held = lwip_stats.memp[MEMP_PBUF_POOL]->used;
    CHECK(held <= world.port.max_pbufs + 1U);   // and one that lwIP offers again
    CHECK(held < PBUF_POOL_SIZE - 1U);
    world.write_all(pattern(20000));            // needs acknowledgements
    CHECK(receives(world, pattern(20000)));
    CHECK(world.read_all(bytes.size(), 3) == bytes);
}

// -------------------------------------------------------------------------------------------------------- the end

TEST_CASE("lwIP: what came before the peer's FIN is read first, then the end is told") {
    World world;
    world.connect();
    world.server.send("last words");
    world.server.finish();
    world.net.pass(1000);
    CHECK(world.read(4) == "last");
    CHECK(world.port.ready());
    CHECK(world.read() == " words");
    CHECK(world.port.ready());
    CHECK(world.read() == "");
    CHECK(world.result < 0);
    CHECK(world.port.last_error() == ERR_CLSD);
    world.port.close();
    CHECK(world.open() > 0);
}

TEST_CASE("lwIP: what came before the peer's RST is read first, then the reset is told") {
    World world;
    world.connect();
    world.server.send("last words");
    world.net.pass(1000);
    world.server.reset();
    world.net.pass(1000);
    CHECK(world.write("x") < 0);
    CHECK(world.read() == "last words");
    CHECK(world.read() == "");
    CHECK(world.result < 0);
    CHECK(world.port.last_error() == ERR_RST);
    CHECK(world.write("x") < 0);
}

TEST_CASE("lwIP: a FIN or RST that comes while open() is still asked is a failure, and leaves nothing") {
    World world;
    CHECK(world.port.open(test::address_b, 1883) == 0);
    REQUIRE(world.net.until([&] { return world.server.connected(); }));
    SUBCASE("FIN") { world.server.finish(); }
    SUBCASE("RST") { world.server.reset(); }
    world.net.pass(1000);
    CHECK(world.port.open(test::address_b, 1883) < 0);
    CHECK(world.open() > 0);
}

TEST_CASE("lwIP: the first cause of the end counts: an RST after the FIN does not change it") {
    World world;
    world.connect();
    world.server.send("bye");
    world.net.pass(100);
    tcp_shutdown(world.server.last().pcb, 0, 1);
    world.net.pass(100);
    world.server.reset();
    world.net.pass(100);
    CHECK(world.read() == "bye");
    CHECK(world.read() == "");
    CHECK(world.port.last_error() == ERR_CLSD);
}

TEST_CASE("lwIP: a server that falls silent is told by lwIP in the end") {
    World world;
    world.connect();
    world.net.up = false;
    CHECK(world.write("hello?") == 6);
    CHECK(world.net.until([&] { return world.port.ready(); }, {}, 3600000));
    CHECK(world.read() == "");
    CHECK(world.result < 0);
    CHECK(world.port.last_error() == ERR_ABRT);
}

// ----------------------------------------------------------------------------------------------------------- close()

TEST_CASE("lwIP: close() sends what was written, and FIN") {
    World world;
    world.connect();
    const std::string bytes = pattern(1500);
    CHECK(world.write(bytes) == 1500);
    world.port.close();
    world.port.close();
    CHECK(receives(world, bytes));
    CHECK(world.net.until([&] { return world.server.last().ended; }));
    CHECK(world.server.last().error == ERR_OK);
}

TEST_CASE("lwIP: close() with unread bytes still sends what was written, and FIN and not RST") {
    World world;
    world.connect();
    world.server.send(pattern(1000));
    world.net.pass(1000);
    CHECK(world.write("DISCONNECT") == 10);
    world.port.close();
    CHECK(receives(world, "DISCONNECT"));
    CHECK(world.net.until([&] { return world.server.last().ended; }));
    CHECK(world.server.last().error == ERR_OK);
}

TEST_CASE("lwIP: close() with more coming ends the connection all the same") {
    World world;
    world.connect();
    world.server.send(pattern(100000));
    world.net.pass(1000);
    world.read(100);
    world.port.close();
    CHECK(world.net.until([&] { return world.server.last().pcb == nullptr || world.server.last().ended; }));
}

TEST_CASE("lwIP: close() at every moment of a connection, by close() and by the destructor, leaves nothing") {
    for (const char* host : {test::address_b, "broker.test"}) {
        for (uint32_t moment = 0; moment < 40; ++moment) {
            CAPTURE(moment);
            World world(moment);
            world.net.names["broker.test"] = test::address_b;
            Tcp port;
            size_t read = 0, written = 0;
            const auto step = [&]() -> uint32_t {
                uint8_t bytes[100];
                if (port.open(host, 1883) > 0) {
                    if (world.server.connected() && world.server.last().out.empty() && read == 0) {
                        world.server.send(pattern(3000));
                        if (moment % 3 == 0) world.server.finish();
                    }
                    const int n = port.read(bytes, sizeof bytes);
                    if (n > 0) read += static_cast<size_t>(n);
                    const int m = port.write(bytes, sizeof bytes);
                    if (m > 0) written += static_cast<size_t>(m);
                }
                return 1;
            };
            world.net.pass(moment, step);
            if (moment % 2 == 0) port.close();
        }
    }
}

TEST_CASE("lwIP: a connection that was closed and lingers gives way to a new one when there is no room for both") {
    World world;
    world.connect();
    // The link dies; lwIP repeats for minutes what was not acknowledged.
    world.net.up = false;
    world.write("lost");
    world.port.close();
    world.server.reset();
    world.net.pass(10000);
    REQUIRE(lwip_stats.memp[MEMP_TCP_PCB]->used == 1);
    world.net.up = true;
    world.net.limit_connections(1);
    CHECK(world.port.open(test::address_b, 1883) == 0);
    world.net.limit_connections(2);
    CHECK(world.open() > 0);
}

TEST_CASE("lwIP: 200 connections leave no pcb, pbuf or heap byte") {
    World world;
    for (int i = 0; i < 200; ++i) {
        world.connect();
        world.server.send("welcome");
        CHECK(world.write("hello") == 5);
        if (i % 4 != 3) CHECK(world.read_all(7) == "welcome");
        if (i % 3 == 0) world.server.reset();
        if (i % 3 == 1) world.server.finish();
        if (i % 2 == 0) world.net.pass(5);
        world.port.close();
    }
}

// ----------------------------------------------------------------------------------------------- altcp, and its errors

#if LWIP_ALTCP
namespace {

// A kind of connection of our own: plain TCP whose close fails.
struct Stubborn {
    altcp_functions functions;
    altcp_allocator_t allocator{allocate, this};
    std::vector<uint8_t> made;   // IPADDR_TYPE_*

    static altcp_pcb* allocate(void* self, uint8_t type) {
        Stubborn& stubborn = *static_cast<Stubborn*>(self);
        altcp_pcb* const pcb = altcp_tcp_new_ip_type(type);
        if (pcb == nullptr) return nullptr;
        stubborn.made.push_back(type);
        stubborn.functions = *pcb->fns;
        stubborn.functions.close = [](altcp_pcb*) -> err_t { return ERR_MEM; };
        pcb->fns = &stubborn.functions;
        return pcb;
    }
};

// Another one, which is nothing but what the test says.
struct Fake {
    altcp_functions functions{};
    altcp_allocator_t allocator{allocate, this};
    altcp_connected_fn connected = nullptr;
    altcp_pcb* pcb = nullptr;
    err_t connecting = ERR_OK, writing = ERR_OK;
    size_t recved = 0;
    int writes = 0, outputs = 0;

    static Fake& of(altcp_pcb* pcb) { return *static_cast<Fake*>(pcb->state); }
    static altcp_pcb* allocate(void* self, uint8_t) {
        Fake& fake = *static_cast<Fake*>(self);
        fake.functions.connect = [](altcp_pcb* conn, const ip_addr_t*, u16_t, altcp_connected_fn tell) {
            of(conn).connected = tell;
            return of(conn).connecting;
        };
        fake.functions.recved = [](altcp_pcb* conn, u16_t size) { of(conn).recved += size; };
        fake.functions.sndbuf = [](altcp_pcb*) { return u16_t{1000}; };
        fake.functions.write = [](altcp_pcb* conn, const void*, u16_t, u8_t) {
            return ++of(conn).writes, of(conn).writing;
        };
        fake.functions.output = [](altcp_pcb* conn) { return ++of(conn).outputs, err_t{ERR_OK}; };
        fake.functions.close = [](altcp_pcb* conn) { return of(conn).pcb = nullptr, altcp_free(conn), err_t{ERR_OK}; };
        fake.pcb = altcp_alloc();
        fake.pcb->fns = &fake.functions;
        fake.pcb->state = self;
        return fake.pcb;
    }
    void connect(Tcp& port) {
        REQUIRE(port.open(test::address_b, 1883) == 0);
        REQUIRE(connected(pcb->arg, pcb, ERR_OK) == ERR_OK);
        REQUIRE(port.open("", 0) == 1);
    }
    // What lwIP does with bytes that came.
    err_t receive(size_t size) {
        pbuf* const bytes = pbuf_alloc(PBUF_RAW, static_cast<u16_t>(size), PBUF_RAM);
        REQUIRE(bytes != nullptr);
        const err_t error = pcb->recv(pcb->arg, pcb, bytes, ERR_OK);
        if (error != ERR_OK) pbuf_free(bytes);
        return error;
    }
};

}  // namespace

TEST_CASE("lwIP: an error of altcp_connect() is told, and nothing is kept") {
    test::Network net;
    Fake fake;
    Tcp port(&fake.allocator);
    fake.connecting = ERR_RTE;
    CHECK(port.open(test::address_b, 1883) < 0);
    CHECK(port.last_error() == ERR_RTE);
    CHECK(fake.pcb == nullptr);
}

TEST_CASE("lwIP: an altcp connection that ends in an error instead of being connected is a failure of open()") {
    test::Network net;
    Fake fake;
    Tcp port(&fake.allocator);
    CHECK(port.open(test::address_b, 1883) == 0);
    CHECK(fake.connected(fake.pcb->arg, fake.pcb, ERR_CLSD) == ERR_OK);
    CHECK(port.ready());
    CHECK(port.open(test::address_b, 1883) < 0);
    CHECK(port.last_error() == ERR_CLSD);
}

TEST_CASE("lwIP: another error than ERR_MEM of altcp_write() ends the connection, and what came can be read") {
    test::Network net;
    Fake fake;
    Tcp port(&fake.allocator);
    fake.connect(port);
    CHECK(fake.receive(3) == ERR_OK);
    fake.writing = ERR_CONN;
    uint8_t bytes[10]{};
    CHECK(port.write(bytes, sizeof bytes) < 0);
    CHECK(port.write(bytes, sizeof bytes) < 0);
    CHECK(port.last_error() == ERR_CONN);
    CHECK(fake.writes == 1);
    CHECK(port.read(bytes, sizeof bytes) == 3);
    CHECK(port.read(bytes, sizeof bytes) < 0);
}

TEST_CASE("lwIP: each write() is sent by one altcp_output(), and one that took nothing by none") {
    test::Network net;
    Fake fake;
    Tcp port(&fake.allocator);
    fake.connect(port);
    std::vector<uint8_t> bytes(5000);
    CHECK(port.write(bytes.data(), bytes.size()) == 1000);
    CHECK(fake.writes == 1);
    CHECK(fake.outputs == 1);
    fake.writing = ERR_MEM;
    CHECK(port.write(bytes.data(), bytes.size()) == 0);
    CHECK(fake.outputs == 1);
}

TEST_CASE("lwIP: altcp_recved() is told what was read, when it was read; the rest when the port closes") {
    test::Network net;
    Fake fake;
    Tcp port(&fake.allocator);
    fake.connect(port);
    uint8_t bytes[100]{};
    CHECK(fake.receive(150) == ERR_OK);
    CHECK(fake.recved == 0);
    CHECK(port.read(bytes, 40) == 40);
    CHECK(fake.recved == 40);
    CHECK(port.read(bytes, 100) == 100);
    CHECK(fake.recved == 140);
    port.close();
    CHECK(fake.recved == 150);
}

TEST_CASE("lwIP: no more is held than a chain of pbufs can count, and no more pbufs than max_pbufs") {
    test::Network net;
    Fake fake;
    Tcp port(&fake.allocator);
    fake.connect(port);
    std::vector<uint8_t> bytes(70000);
    CHECK(fake.receive(40000) == ERR_OK);
    CHECK(fake.receive(25535) == ERR_OK);
    CHECK(fake.receive(1) == ERR_MEM);
    CHECK(port.read(bytes.data(), bytes.size()) == 65535);
    port.max_pbufs = 2;
    CHECK(fake.receive(1) == ERR_OK);
    CHECK(fake.receive(1) == ERR_OK);
    CHECK(fake.receive(1) == ERR_MEM);
    CHECK(port.read(bytes.data(), bytes.size()) == 2);
    port.max_pbufs = 0;
    CHECK(fake.receive(1) == ERR_OK);   // one, always
    CHECK(fake.receive(1) == ERR_MEM);
}

TEST_CASE("lwIP: connections come from the allocator that was given") {
    World world;
    Stubborn stubborn;
    altcp_allocator_t none{[](void*, uint8_t) -> altcp_pcb* { return nullptr; }, nullptr};
    Tcp port(&stubborn.allocator), poor(&none);
    CHECK(port.open(test::address_b, 1883) == 0);
    port.close();
    CHECK(port.open(test::address_b6, 1883) == 0);
    CHECK(stubborn.made == std::vector<uint8_t>{IPADDR_TYPE_V4, IPADDR_TYPE_V6});
    CHECK(poor.open(test::address_b, 1883) < 0);
    CHECK(poor.last_error() == ERR_MEM);
}

TEST_CASE("lwIP: a connection that cannot be closed for lack of memory is aborted") {
    World world;
    Stubborn stubborn;
    Tcp port(&stubborn.allocator);
    CHECK(world.net.until([&] { return port.open(test::address_b, 1883) > 0 && world.server.connected(); }));
    world.server.send("unread");
    world.net.pass(100);
    port.close();
    CHECK(port.last_error() == ERR_OK);
    CHECK(world.net.until([&] { return world.server.last().error == ERR_RST; }));
    CHECK(port.open(test::address_b, 1883) == 0);
    port.close();   // while connecting
    CHECK(port.open("10.0.1.2", 1883) == 0);
}

#endif

// --------------------------------------------------------------------------------------------------- more

TEST_CASE("lwIP: `wake` is called when ready() becomes true, and never by the port's own functions") {
    World world;
    int woken = 0;
    world.port.wake = [](void* count) { ++*static_cast<int*>(count); };
    world.port.wake_argument = &woken;
    CHECK(world.port.open(test::address_b, 1883) == 0);
    CHECK(woken == 0);
    CHECK(world.net.until([&] { return woken != 0; }));
    CHECK(world.port.ready());
    CHECK_FALSE(world.port.ready());
    CHECK(world.open() > 0);
    woken = 0;
    CHECK(world.net.until([&] { return world.server.connected(); }));
    world.server.send("x");
    CHECK(world.net.until([&] { return woken != 0; }));
    CHECK(world.port.ready());
    CHECK(world.read() == "x");
    woken = 0;
    world.port.close();
    CHECK(world.port.open("", 1) < 0);
    CHECK(woken == 0);
}

// ------------------------------------------------------------------------------------------------------------ memory

TEST_CASE("lwIP: without memory at any one allocation nothing is lost: write() and open() say so, and it goes on") {
    const std::string bytes = pattern(3000);
    bool reached = true;
    int failures = 0;
    for (uint64_t n = 1; reached; ++n) {
        CAPTURE(n);
        World world(static_cast<unsigned>(n));
        world.net.names["broker.test"] = test::address_b;
        world.net.fail_allocations(n, n + n % 3);   // one, two or three in a row
        const uint64_t before = world.net.allocations();
        int result = 0;
        for (int tries = 0; tries < 5 && result <= 0; ++tries) {
            result = world.open("broker.test");
            if (result < 0) {
                ++failures;
                // ERR_MEM told, or a SYN or a question that got lost for lack of it.
                CHECK(world.port.last_error() != ERR_OK);
            }
        }
        REQUIRE(result > 0);
        REQUIRE(world.net.until([&] { return world.server.connected(); }));
        world.server.send(bytes);
        world.write_all(bytes);
        CHECK(world.read_all(bytes.size(), 200) == bytes);
        CHECK(receives(world, bytes));
        world.port.close();
        CHECK(world.net.until([&] { return world.server.last().ended; }));
        reached = world.net.allocations() - before >= n;
    }
    CHECK(failures > 0);
}

TEST_CASE("lwIP: write() without memory is 0, and ready() asks to try again even if nothing is on its way") {
    World world;
    world.connect();
    world.net.pass(5000);
    world.net.fail_allocations(1, ~uint64_t{0} >> 1);
    CHECK(world.write("hello") == 0);
    CHECK(world.port.last_error() == ERR_OK);
    world.net.fail_allocations(1, 0);
    CHECK(world.net.until([&] { return world.port.ready(); }));
    CHECK(world.write("hello") == 5);
    CHECK(receives(world, "hello"));
}

TEST_CASE("lwIP: write() takes less if there is memory for less only") {
    World world;
    world.connect();
    world.net.pass(1000);
    // Room for some segments: the first allocation fails, then the smaller attempt succeeds.
    world.net.fail_allocations(1, 1);
    const std::string bytes = pattern(1000);
    const int n = world.write(bytes);
    CHECK(n > 0);
    CHECK(n < 1000);
    CHECK(receives(world, bytes.substr(0, static_cast<size_t>(n))));
}

TEST_CASE("lwIP: open() without a free connection fails with ERR_MEM, and works when there is one") {
    World world;
    world.net.limit_connections(0);
    CHECK(world.port.open(test::address_b, 1883) < 0);
    CHECK(world.port.last_error() == ERR_MEM);
    world.net.limit_connections(10);
    CHECK(world.open() > 0);
}

TEST_CASE("lwIP: now_ms() is lwIP's clock, random() LWIP_RAND") {
    World world;
    const uint32_t before = world.port.now_ms();
    world.net.pass(1234);
    CHECK(world.port.now_ms() - before >= 1234);
    const uint32_t random = world.port.random();
    CHECK(random == world.net.last_random());
}
