// What happens to bytes between the client and the wrapped port: cut anywhere, held back, late, lost.
#include "tests/support/tls.hpp"

#include <memory>

#include "mqtt.hpp"

using mqtt::mbedtls::Error;
using test::Client;
using test::Server;
using test::ServerSettings;

namespace {

// Connected.
struct Pair {
    explicit Pair(uint16_t max_fragment_length = 0) {
        client.max_fragment_length = max_fragment_length;
        REQUIRE(test::open(client, server) == 1);
        CHECK(test::read_all(client) == "");   // of TLS 1.3: tickets
        REQUIRE(client.from_client.empty());
        client.reads = client.writes = 0;
    }
    // All that the server has said arrives: closed, truncated or what else.
    Error end() {
        int n = 0;
        test::read_all(client, 100, &n);
        CHECK(n == -1);
        return client.tls_error();
    }

    ServerSettings settings;
    Client client;
    Server server{settings, client};
};

}  // namespace

TEST_CASE("one byte at a time in both directions: the handshake, and what is said later") {
    ServerSettings settings;
    Client client;
    Server server(settings, client);
    client.read_limit = client.write_limit = 1;
    REQUIRE(test::open(client, server) == 1);
    const std::string text = test::pattern(5000);
    CHECK(test::write(client, text) == 5000);
    server.step();
    CHECK((server.received == text));
    server.send(text);
    CHECK((test::read_all(client, 7) == text));
    CHECK_FALSE(client.pending());
}

TEST_CASE("one write is one record, as large as can be") {
    Pair pair;
    for (const size_t size : {1u, 2u, 100u, 5000u, 16000u}) {
        CHECK(test::write(pair.client, test::pattern(size)) == static_cast<int>(size));
        CHECK(pair.client.writes == 1);
        pair.client.writes = 0;
        pair.server.step();
    }
    CHECK(pair.server.records == std::vector<size_t>{1, 2, 100, 5000, 16000});
    const int most = test::write(pair.client, test::pattern(100000));
    CHECK(most >= 16000);
    CHECK(most <= 16384);
    pair.server.step();
    CHECK(pair.server.records.back() == static_cast<size_t>(most));
    CHECK(pair.client.write(nullptr, 0) == 0);
    CHECK(pair.client.read(nullptr, 0) == 0);
    CHECK(pair.client.writes == 1);
}

TEST_CASE("a write that the network cuts, at each byte of its record: what was taken arrives as it was, once") {
    Pair pair;
    const std::string first = "first record, of 32 bytes in all";
    for (size_t room = 0; room < 80; ++room) {
        CAPTURE(room);
        Client& client = pair.client;
        client.room = room;
        CHECK(test::write(client, first) == 32);   // in mbedTLS: encrypted, and gone as far as there is room
        const bool whole = client.took_all;
        CHECK(client.to_write(false) == !whole);
        CHECK(client.events(false, true) == (whole ? 1 : 3));
        (void)client.wait(1000, false);
        CHECK(client.slept);
        CHECK(client.waited_for_room == !whole);
        if (!whole) {
            CHECK(test::write(client, "must not be taken") == 0);
            CHECK(test::write(client, "must not be taken, either") == 0);
        }
        pair.server.step();
        CHECK(pair.server.received == (whole ? first : ""));
        client.room = SIZE_MAX;
        CHECK(test::write(client, "second") == 6);
        CHECK_FALSE(client.to_write(false));
        pair.server.step();
        CHECK(pair.server.received == first + "second");
        pair.server.received.clear();
    }
}

TEST_CASE("the rest of a record goes out with the next read, though nothing else is written") {
    Pair pair;
    pair.client.room = 10;
    CHECK(test::write(pair.client, "text") == 4);
    pair.client.room = SIZE_MAX;
    CHECK(test::read_all(pair.client) == "");
    CHECK_FALSE(pair.client.to_write(false));
    pair.server.step();
    CHECK(pair.server.received == "text");
}

TEST_CASE("close() sends the rest of a record, and close-notify, as far as there is room") {
    Pair measured;
    CHECK(test::write(measured.client, "text") == 4);
    const size_t record = measured.client.from_client.size();
    Pair there_is;
    there_is.client.room = 10;
    CHECK(test::write(there_is.client, "text") == 4);
    there_is.client.room = SIZE_MAX;
    there_is.client.close();
    there_is.server.step();
    CHECK(there_is.server.received == "text");
    CHECK(there_is.server.code == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
    for (size_t room = 0; room != 60; ++room) {
        CAPTURE(room);
        Pair pair;
        pair.client.room = 10;
        CHECK(test::write(pair.client, "text") == 4);
        pair.client.room = room;
        pair.client.close();
        pair.client.close();
        CHECK(pair.client.closes == 1);
        pair.server.step();
        CHECK(pair.server.received == (room + 10 < record ? "" : "text"));
    }
}

TEST_CASE("random reads and writes, cut anywhere, with memory that changes: each stream stays what it was") {
    for (uint64_t seed = 1; seed != 30; ++seed) {
        CAPTURE(seed);
        Pair pair(seed % 3 == 0 ? 512 : 0);
        Client& client = pair.client;
        wire::Random random(seed);
        const std::string up = test::pattern(20000 + random.below(30000)), down = test::pattern(60000).substr(random.below(1000));
        size_t written = 0, sent = 0;
        std::string got;
        for (int step = 0; step != 100000 && (pair.server.received.size() != up.size() || got.size() != down.size()); ++step) {
            client.room = random.below(4) == 0 ? 0 : random.below(4000);
            client.read_limit = 1 + random.below(2000);
            client.write_limit = 1 + random.below(2000);
            const int n = written == up.size() ? 0 : test::write(client, std::string_view(up).substr(written, 1 + random.below(20000)));
            REQUIRE(n >= 0);
            written += static_cast<size_t>(n);
            uint8_t data[3000];
            const int m = client.read(data, 1 + random.below(sizeof data));
            REQUIRE(m >= 0);
            got.append(reinterpret_cast<const char*>(data), static_cast<size_t>(m));
            if (random.below(3) == 0 && sent != down.size()) {
                const size_t size = std::min(down.size() - sent, 1 + random.below(9000));
                pair.server.send(std::string_view(down).substr(sent, size));
                sent += size;
            }
            pair.server.step();
        }
        CHECK((pair.server.received == up));
        CHECK((got == down));
    }
}

TEST_CASE("what mbedTLS holds back does not stall: wait() does not sleep before the network has said that it has nothing") {
    Pair pair;
    Client& client = pair.client;
    CHECK_FALSE(client.pending());
    pair.server.send("0123456789");
    uint8_t data[4];
    CHECK(client.read(data, 4) == 4);
    CHECK(client.to_client.empty());   // the network has nothing to tell
    CHECK(client.pending());
    CHECK(client.wait(1000, false));
    CHECK_FALSE(client.slept);
    // Somebody who does not read, for he has no room, is not woken again.
    CHECK_FALSE(client.wait(1000, false));
    CHECK(client.slept);
    client.slept = false;
    CHECK(client.read(data, 4) == 4);
    CHECK(client.wait(1000, false));
    CHECK_FALSE(client.slept);
    // All of the record is read. But the wrapped port was not asked since, and may have told before that it has something.
    CHECK(client.read(data, 4) == 2);
    CHECK(client.wait(1000, false));
    CHECK_FALSE(client.slept);
    CHECK(client.read(data, 4) == 0);
    CHECK_FALSE(client.pending());
    CHECK_FALSE(client.wait(1000, false));
    CHECK(client.slept);
}

TEST_CASE("what mbedTLS holds back does not stall: ready() tells it, once, and what the wrapped port tells") {
    Pair pair;
    Client& client = pair.client;
    uint8_t data[4];
    CHECK(client.read(data, 4) == 0);
    CHECK_FALSE(client.ready());
    client.news = true;
    CHECK(client.ready());
    CHECK_FALSE(client.ready());
    pair.server.send("0123456789");
    CHECK(client.read(data, 4) == 4);
    CHECK(client.ready());
    CHECK_FALSE(client.ready());
    CHECK(client.read(data, 4) == 4);
    CHECK(client.ready());
}

TEST_CASE("a stream that ends without close-notify is told apart from one that was closed") {
    Pair closed;
    closed.server.send("last words");
    closed.server.close_notify();
    closed.client.cut = true;
    CHECK(test::read_all(closed.client) == "last words");
    CHECK(closed.end() == Error::closed);
    CHECK(closed.client.tls_code() == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
    CHECK(std::string(closed.client.error_text()) == "TLS: the server closed the connection");
    closed.client.close();   // answers with close-notify
    closed.server.step();
    CHECK(closed.server.code == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);

    Pair truncated;
    truncated.server.send("last words");
    truncated.client.cut = true;
    CHECK(test::read_all(truncated.client) == "last words");
    CHECK(truncated.end() == Error::truncated);
    CHECK(std::string(truncated.client.error_text()) == "TLS: the connection ended without close-notify");
    CHECK(truncated.client.open("localhost", 8883) == -1);   // until close()
    truncated.client.close();
    CHECK(truncated.client.tls_error() == Error::truncated);
}

TEST_CASE("a peer that stops in mid-record: nothing of it is handed out, and nobody spins") {
    Pair pair;
    pair.server.send("text");
    const std::string record = pair.client.to_client;
    pair.client.to_client.clear();
    for (size_t i = 0; i + 1 < record.size(); ++i) {
        pair.client.to_client = record.substr(i, 1);
        CHECK(test::read_all(pair.client) == "");
        CHECK_FALSE(pair.client.pending());
        CHECK_FALSE(pair.client.wait(1000, false));
    }
    pair.client.cut = true;
    CHECK(pair.end() == Error::truncated);
}

TEST_CASE("a byte that was changed on the way ends the connection, wherever it is") {
    for (size_t at = 0; at != 33; ++at) {
        CAPTURE(at);
        Pair pair;
        pair.server.send("text");
        if (at >= pair.client.to_client.size()) break;
        pair.client.to_client[at] = static_cast<char>(pair.client.to_client[at] ^ 0x10);
        pair.client.to_client += pair.client.to_client;   // if it was the length: there is more
        pair.client.cut = true;
        const Error error = pair.end();
        CHECK((error == Error::broken || (error == Error::truncated && (at == 3 || at == 4))));
        CHECK(pair.client.has_session());   // that began well
    }
}

TEST_CASE("once writing has failed there is no other attempt, and what has come can still be read") {
    bool cut = false;
    SUBCASE("and then nothing more comes") {}
    SUBCASE("and then the connection ends") { cut = true; }
    Pair pair;
    pair.server.send("last words");
    pair.client.unwritable = true;
    pair.client.cut = cut;
    CHECK(test::write(pair.client, "text") == -1);
    CHECK(test::write(pair.client, "text") == -1);
    CHECK(pair.client.writes_after_failure == 0);
    CHECK(pair.client.tls_error() == Error::network);
    CHECK(std::string(pair.client.error_text()) == "the wire is cut");
    int end = 0;
    CHECK(test::read_all(pair.client, 3, &end) == "last words");
    CHECK(end == -1);
    CHECK(pair.client.tls_error() == Error::network);
    pair.client.close();
    CHECK(pair.client.writes_after_failure == 0);
    CHECK(pair.client.closes == 1);
}

TEST_CASE("a rest that cannot be sent any more is told by read()") {
    Pair pair;
    pair.client.room = 5;
    CHECK(test::write(pair.client, "text") == 4);
    pair.client.unwritable = true;
    CHECK_FALSE(pair.client.pending());
    int end = 0;
    CHECK(test::read_all(pair.client, 3, &end) == "");
    CHECK(end == -1);
    CHECK(pair.client.tls_error() == Error::network);
    CHECK(pair.client.writes_after_failure == 0);
}

#if MBEDTLS_VERSION_MAJOR < 3   // TLS 1.3 has no renegotiation

TEST_CASE("renegotiation is refused, and the connection goes on") {
    Pair pair;
    mbedtls_ssl_conf_renegotiation(&pair.server.config, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
    REQUIRE(mbedtls_ssl_renegotiate(&pair.server.ssl) == 0);
    CHECK(test::read_all(pair.client) == "");
    REQUIRE(pair.client.from_client.size() > 5);
    CHECK(pair.client.from_client[0] == 21);   // an alert
    CHECK(pair.client.from_client.size() < 60);
    pair.server.step();
    CHECK(pair.server.code == 0);
    CHECK(test::write(pair.client, "text") == 4);
    pair.server.step();
    CHECK(pair.server.received == "text");
    pair.server.send("answer");
    CHECK(test::read_all(pair.client) == "answer");
    for (int i = 0; i != 20; ++i) {   // a server that insists ends it
        (void)test::write(pair.client, "more");
        pair.server.step();
    }
    CHECK(pair.server.code == MBEDTLS_ERR_SSL_UNEXPECTED_MESSAGE);
}

TEST_CASE("an answer of TLS that had no room is not taken for the application's bytes") {
    for (size_t room = 0; room != 40; ++room) {
        CAPTURE(room);
        Pair pair;
        mbedtls_ssl_conf_renegotiation(&pair.server.config, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
        REQUIRE(mbedtls_ssl_renegotiate(&pair.server.ssl) == 0);
        pair.client.room = room;
        CHECK(test::read_all(pair.client) == "");
        const bool whole = pair.client.took_all;
        CHECK(pair.client.to_write(false) == !whole);
        if (!whole) CHECK(test::write(pair.client, "too early") == 0);
        pair.client.room = SIZE_MAX;
        CHECK(test::write(pair.client, "text") == 4);
        pair.server.step();
        CHECK(pair.server.received == "text");
    }
}

#endif

TEST_CASE("a read takes no more than a record from the network, whatever the peer sends instead of data") {
    Pair pair;
    for (int i = 0; i != 20000; ++i) REQUIRE(mbedtls_ssl_send_alert_message(&pair.server.ssl, MBEDTLS_SSL_ALERT_LEVEL_WARNING, 90) == 0);
    pair.server.send("text");
    size_t calls = 0;
    std::string got;
    while (got.empty()) {
        const size_t before = pair.client.to_client.size();
        uint8_t data[10];
        const int n = pair.client.read(data, sizeof data);
        if (n < 0) break;   // TLS 1.3 does not pass over them for ever
        CHECK(before - pair.client.to_client.size() <= 20000);
        got.append(reinterpret_cast<const char*>(data), static_cast<size_t>(n));
        if (got.empty()) CHECK(pair.client.pending());
        REQUIRE(++calls < 100000);
    }
    CHECK(calls > 20);
}

TEST_CASE("a megabyte each way, in records of each size") {
    const std::string text = test::pattern(1000000);
    for (const int fragment : {0, 512}) {
        Pair pair(static_cast<uint16_t>(fragment));
        for (size_t at = 0; at != text.size();) {
            const int n = test::write(pair.client, std::string_view(text).substr(at));
            REQUIRE(n > 0);
            at += static_cast<size_t>(n);
            pair.server.step();
        }
        CHECK((pair.server.received == text));
        pair.server.send(text);
        CHECK((test::read_all(pair.client, 10000) == text));
    }
}

TEST_CASE("close() at any time: in the handshake, twice, without a connection; then open() begins anew") {
    ServerSettings settings;
    Client client;
    client.close();
    for (size_t stop = 0; stop != 12; ++stop) {
        Server server(settings, client);
        for (size_t i = 0; i != stop; ++i) {
            (void)client.open("localhost", 8883);
            server.step();
        }
        client.close();
        CHECK_FALSE(client.is_open);
        CHECK_FALSE(client.pending());
        CHECK(client.read(nullptr, 0) == -1);
    }
    Server server(settings, client);
    CHECK(test::open(client, server) == 1);
}
