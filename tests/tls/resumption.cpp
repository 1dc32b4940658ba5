// Sessions: taken up again where that is safe, and nowhere else. And what all of it costs in memory, after 1,000 connections.
#include "tests/support/tls.hpp"

#include <memory>

#include "mqtt.hpp"
#include "tests/support/heap.hpp"
#include "tests/support/testing.hpp"

using mqtt::mbedtls::Error;
using test::certificates;
using test::Client;
using test::Server;
using test::ServerSettings;

namespace {

// A connection, from open() to close(); how many bytes the server needed for the handshake. 0: it failed.
size_t connect_once(Client& client, ServerSettings& settings, std::string_view host = "localhost", uint16_t port = 8883) {
    Server server(settings, client);
    const bool is_open = test::open(client, server, host, port) == 1;
    const size_t size = server.bytes_sent;
    if (is_open) {
        CHECK(test::write(client, "ping") == 4);
        server.step();
        CHECK(server.received == "ping");
        server.send("pong");
        CHECK(test::read_all(client) == "pong");
    }
    client.close();
    return is_open ? size : 0;
}

// How many handshakes of this server were short ones, by its own account.
int resumptions(const ServerSettings& settings) { return settings.tickets_taken + settings.sessions_found; }

// Connects twice; the second time `host` and `port`.
void connect_again(Client& client, ServerSettings& settings, bool resumed, std::string_view host = "localhost", uint16_t port = 8883) {
    const int before = resumptions(settings);
    REQUIRE(connect_once(client, settings, host, port) != 0);
    CHECK(resumptions(settings) - before == resumed);
    CHECK(client.resumed() == resumed);
}

std::string saved(const Client& client) {
    uint8_t bytes[8192];
    return {reinterpret_cast<const char*>(bytes), client.save_session(bytes, sizeof bytes)};
}
bool load(Client& client, const std::string& bytes) {
    const wire::Exact block(wire::Octets(bytes.begin(), bytes.end()));
    return client.load_session(block.data(), block.size());
}

}  // namespace

TEST_CASE("a reconnect takes up the session: by ticket and by id; the server says so, and its part is shorter") {
    for (const bool tickets : {true, false}) {
        if (!tickets && mqtt::mbedtls::detail::is_version_3) continue;   // TLS 1.3 has tickets only
        CAPTURE(tickets);
        ServerSettings settings;
        settings.tickets = tickets;
        settings.cache = !tickets;
        Client client;
        const size_t full = connect_once(client, settings);
        REQUIRE(full != 0);
        CHECK(client.has_session());
        CHECK_FALSE(client.resumed());
        CHECK(resumptions(settings) == 0);
        for (int i = 0; i != 3; ++i) {
            const size_t brief = connect_once(client, settings);
            CHECK(client.resumed());
            CHECK(brief < full / 2);
            CHECK(resumptions(settings) == i + 1);
        }
        CHECK(client.verify_flags() == 0);
    }
}

TEST_CASE("a session is for the host and port that it began with") {
    ServerSettings settings;
    settings.tickets = true;
    Client client;
    const auto begin = [&] {
        client.forget_session();
        REQUIRE(connect_once(client, settings) != 0);
        CHECK(client.has_session());
    };
    begin();
    connect_again(client, settings, true, "localhost");
    connect_again(client, settings, false, "broker.test");
    connect_again(client, settings, false, "localhost");
    connect_again(client, settings, false, "localhost", 8884);
    connect_again(client, settings, true, "localhost", 8884);
    connect_again(client, settings, false, "127.0.0.1", 8884);
    connect_again(client, settings, true, "127.0.0.1", 8884);
    begin();
    CHECK(connect_once(client, settings, "elsewhere.test") == 0);   // not the certificate's
    CHECK(client.tls_error() == Error::wrong_host);
}

TEST_CASE("a session that was less strictly checked, or with other certificates, is not taken up") {
    ServerSettings settings;
    settings.tickets = true;
    Client client;
    REQUIRE(connect_once(client, settings) != 0);
    client.accept_any_host_name = true;
    connect_again(client, settings, false);
    connect_again(client, settings, true);
    client.accept_any_host_name = false;
    connect_again(client, settings, false);
    client.accept_any_certificate = true;
    connect_again(client, settings, false);
    client.accept_any_certificate = false;
    connect_again(client, settings, false);
    REQUIRE(client.add_crl(certificates().text("ca.crl")));
    connect_again(client, settings, false);
    REQUIRE(client.add_ca(certificates().certificate("other_ca")));
    connect_again(client, settings, false);
    REQUIRE(client.set_certificate(certificates().certificate("client"), certificates().key("client")));
    connect_again(client, settings, false);
    connect_again(client, settings, true);
    client.resume = false;
    connect_again(client, settings, false);
    CHECK_FALSE(client.has_session());
}

TEST_CASE("a server that has forgotten the session gets a full handshake") {
    ServerSettings one, other;
    one.tickets = other.tickets = true;
    other.numbers = wire::Random(99);   // other keys for tickets
    Client client;
    REQUIRE(connect_once(client, one) != 0);
    connect_again(client, other, false);
    connect_again(client, other, true);
}

TEST_CASE("a handshake that fails with a session is a full one the next time") {
    ServerSettings settings;
    settings.tickets = true;
    Client client;
    REQUIRE(connect_once(client, settings) != 0);
    REQUIRE(client.open("localhost", 8883) == 0);
    while (client.pending()) REQUIRE(client.open("localhost", 8883) == 0);
    client.cut = true;
    CHECK(client.open("localhost", 8883) == -1);
    CHECK_FALSE(client.has_session());
    connect_again(client, settings, false);
}

TEST_CASE("a session can be kept as bytes over a restart, with the host that it is for") {
    ServerSettings settings;
    settings.tickets = true;
    std::string bytes;
    {
        Client client;
        CHECK(saved(client).empty());
        REQUIRE(connect_once(client, settings) != 0);
        bytes = saved(client);
        CHECK(bytes.size() > 100);
        uint8_t small[4000];
        for (size_t size = 0; size != bytes.size(); ++size) {
            const wire::Exact exact(size);
            CHECK(client.save_session(exact.data(), size) == 0);
        }
        CHECK(client.save_session(small, bytes.size()) == bytes.size());
    }
    Client restarted;
    REQUIRE(load(restarted, bytes));
    connect_again(restarted, settings, true);
    Client elsewhere;
    REQUIRE(load(elsewhere, bytes));
    connect_again(elsewhere, settings, false, "broker.test");
    Client careless;
    careless.accept_any_certificate = true;
    REQUIRE(load(careless, bytes));
    connect_again(careless, settings, false);
    // And the other way round: what was not checked does not help one who checks.
    const std::string unchecked = saved(careless);
    Client strict;
    REQUIRE(load(strict, unchecked));
    connect_again(strict, settings, false);
}

TEST_CASE("bytes that are no session are refused; those that are changed lead to a full handshake at worst") {
    ServerSettings settings;
    settings.tickets = true;
    Client client;
    REQUIRE(connect_once(client, settings) != 0);
    const std::string bytes = saved(client);
    for (size_t size = 0; size != bytes.size(); ++size) {
        CAPTURE(size);
        CHECK_FALSE(load(client, bytes.substr(0, size)));
        CHECK_FALSE(client.has_session());
    }
    wire::Random random(1);
    for (size_t at = 0; at != bytes.size(); ++at) {
        CAPTURE(at);
        std::string changed = bytes;
        changed[at] = static_cast<char>(changed[at] ^ (1 << random.below(8)));
        if (load(client, changed) && random.below(10) == 0) (void)connect_once(client, settings);
    }
    client.forget_session();
    connect_again(client, settings, false);
}

TEST_CASE("what it takes of mbedTLS's heap is what is documented, and close() gives back what belongs to the connection") {
    if (!test::Heap::watch()) SKIP_TEST("built without AddressSanitizer");
    if (mqtt::mbedtls::detail::is_version_3) SKIP_TEST("the figures are those of 2.28");
    const std::string der = certificates().text("ca.der");
    ServerSettings settings;
    settings.tickets = true;
    Client client("");
    // What the client's calls leave allocated, and the most that they had; the server has the same heap.
    size_t held = 0, most = 0;
    const auto count = [&](auto call) {
        const size_t before = test::Heap::bytes;
        test::Heap::peak = before;
        const auto result = call();
        most = std::max(most, held + test::Heap::peak - before);
        held += test::Heap::bytes - before;
        return result;
    };
    REQUIRE(count([&] { return client.add_ca(der); }));
    const size_t ca = held;
    client.to_client.reserve(10000), client.from_client.reserve(10000);   // not its own
    Server server(settings, client);
    while (count([&] { return client.open("localhost", 8883); }) == 0) server.step();
    const size_t session_and_connection = held;
    count([&] { return client.close(), 0; });
    const size_t session = held - ca, connection = session_and_connection - held;
    count([&] { return client.forget_session(), 0; });
    CHECK(held == ca);
    count([&] { return client.clear_ca(), 0; });
    CHECK(held == 0);
    MESSAGE("object " << sizeof(mqtt::mbedtls::Layer) << ", CA " << ca << ", session " << session << ", connection " << connection
                      << ", at most " << most);
    CHECK(sizeof(mqtt::mbedtls::Layer) <= 3600);
    CHECK(ca <= 1000);
    CHECK(session <= 2000);
    CHECK(connection <= 37000);
    CHECK(most <= 48000);
}

TEST_CASE("1,000 reconnects with TLS leave nothing behind") {
    if (!test::Heap::watch()) SKIP_TEST("built without AddressSanitizer");
    ServerSettings settings, wrong("foreign");
    settings.tickets = true;
    Client client;
    // Those that succeed, by ticket and not; those that do not; and those that end somewhere in the middle.
    const auto round = [&](int i) {
        if (i % 10 == 0) client.forget_session();
        if (i % 10 != 9) {
            CHECK(connect_once(client, settings) != 0);
            CHECK(client.resumed() == (i % 10 != 0));
        } else if (i % 20 == 9) {
            CHECK(connect_once(client, wrong) == 0);
        } else {
            Server server(settings, client);
            for (int step = 0; step != i / 20 % 12; ++step) {
                (void)client.open("localhost", 8883);
                server.step();
            }
            client.close();
        }
    };
    size_t blocks = 0, bytes = 0;
    for (int i = 0; i != 1040; ++i) {
        if (i == 40) blocks = test::Heap::blocks, bytes = test::Heap::bytes;
        round(i);
        settings.names = wrong.names = {};
    }
    CHECK(test::Heap::blocks == blocks);
    CHECK(test::Heap::bytes < bytes + 1000);   // strings of the wire have capacities of their own
}
