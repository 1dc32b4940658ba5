// Who is trusted and who is not: each kind of server and each setting, against a server in this process.
#include "tests/support/tls.hpp"

#include "mqtt.hpp"

using mqtt::mbedtls::Error;
using test::certificates;
using test::Client;
using test::Server;
using test::ServerSettings;

namespace {

// 3.6 has TLS 1.3. As a server it sends the alerts that end a handshake with keys that the client does not have any more.
constexpr bool tls_1_3 = mqtt::mbedtls::detail::is_version_3;

// Connects in vain. Closed, and the same again when asked again.
void refuses(Client& client, Server& server, Error error, std::string_view host = "localhost") {
    CHECK(test::open(client, server, host) == -1);
    CHECK(static_cast<int>(client.tls_error()) == static_cast<int>(error));
    CHECK_FALSE(client.is_open);
    CHECK(client.closes == client.opens);
    CHECK_FALSE(client.has_session());
    uint8_t data[10];
    CHECK(client.read(data, sizeof data) == -1);
    CHECK(client.write(data, sizeof data) == -1);
}

// With a server that has this certificate.
struct Pair {
    explicit Pair(const std::string& certificate = "server", const char* ca = "ca") : settings(certificate), client(ca) {}
    Server& server() {
        if (server_ == nullptr) server_ = std::make_unique<Server>(settings, client);
        return *server_;
    }
    void refuses(Error error, std::string_view host = "localhost") { ::refuses(client, server(), error, host); }
    void accepts(std::string_view host = "localhost") {
        CHECK(test::open(client, server(), host) == 1);
        CHECK(static_cast<int>(client.tls_error()) == static_cast<int>(Error::none));
        CHECK(server().done);
        CHECK(client.verify_flags() == 0);
        talk();
    }
    void talk() {
        CHECK(test::write(client, "ping") == 4);
        server().step();
        CHECK(server().received == "ping");
        server().send("pong");
        CHECK(test::read_all(client) == "pong");
    }
    std::string text() const { return client.error_text(); }

    ServerSettings settings;
    Client client;

private:
    std::unique_ptr<Server> server_;
};

}  // namespace

TEST_CASE("the right certificate: bytes go both ways, and the server was told the name") {
    Pair pair;
    pair.accepts("localhost");
    REQUIRE(pair.settings.names.size() == 1);
    CHECK(pair.settings.names[0] == "localhost");
    CHECK(pair.client.open("localhost", 8883) == 1);
    CHECK_FALSE(pair.client.resumed());
}

TEST_CASE("a name is compared as RFC 6125 has it: any case, one label for a wildcard, without the dot at the end") {
    for (const char* host : {"broker.test", "BROKER.test", "broker.test.", "a.wild.test"}) {
        CAPTURE(host);
        Pair pair;
        pair.accepts(host);
        REQUIRE(pair.settings.names.size() == 1);
        CHECK(pair.settings.names[0] == (host[11] == '.' && host[0] == 'b' ? "broker.test" : host));
    }
    for (const char* host : {"a.b.wild.test", "wild.test", "xbroker.test", "broker.test.evil", "server"}) {
        CAPTURE(host);
        Pair pair;
        pair.refuses(Error::wrong_host, host);
    }
}

TEST_CASE("a certificate without subjectAltName is for its common name") {
    Pair(std::string("plain")).accepts("broker.test");
    Pair(std::string("plain")).refuses(Error::wrong_host, "localhost");
}

TEST_CASE("an address is looked for among the certificate's addresses only, and is not told to the server") {
    for (const char* host : {"127.0.0.1", "2001:db8::7", "[2001:db8::7]", "2001:DB8:0:0:0:0:0:7", "2001:db8::0.0.0.7", "2001:db8::7%eth0"}) {
        CAPTURE(host);
        Pair pair;
        pair.accepts(host);
        CHECK(pair.settings.names.empty());
    }
    for (const char* host : {"127.0.0.2", "2001:db8::8", "::1", "::ffff:127.0.0.1"}) {
        CAPTURE(host);
        Pair pair;
        pair.refuses(Error::wrong_host, host);
        CHECK(pair.text() == "TLS: the server's certificate is for another host");
    }
    // A dNSName or a common name that looks like the address is none.
    Pair(std::string("like_address")).refuses(Error::wrong_host, "127.0.0.1");
}

TEST_CASE("addresses are told from names") {
    using mqtt::mbedtls::detail::parse_ipv4;
    using mqtt::mbedtls::detail::parse_ipv6;
    const auto hex = [](const uint8_t* data, size_t size) {
        std::string text;
        for (size_t i = 0; i != size; ++i) {
            text += "0123456789abcdef"[data[i] >> 4];
            text += "0123456789abcdef"[data[i] & 15];
        }
        return text;
    };
    uint8_t out[16];
    const auto v4 = [&](std::string_view text) { return hex(out, parse_ipv4(text, out)); };
    const auto v6 = [&](std::string_view text) { return hex(out, parse_ipv6(text, out)); };
    CHECK(v4("192.0.2.1") == "c0000201");
    CHECK(v4("0.0.0.0") == "00000000");
    CHECK(v4("255.255.255.255") == "ffffffff");
    for (const char* none : {"", "1", "1.2.3", "1.2.3.", "1.2.3.4.", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.0004", "1..2.3", "a.b.c.d",
                             " 1.2.3.4", "1.2.3.4 "}) {
        CAPTURE(none);
        CHECK(v4(none) == "");
    }
    CHECK(v6("::") == "00000000000000000000000000000000");
    CHECK(v6("::1") == "00000000000000000000000000000001");
    CHECK(v6("1::") == "00010000000000000000000000000000");
    CHECK(v6("1:2:3:4:5:6:7:8") == "00010002000300040005000600070008");
    CHECK(v6("1:2:3::6:7:8") == "00010002000300000000000600070008");
    CHECK(v6("1:2:3:4:5:6:7::") == "00010002000300040005000600070000");
    CHECK(v6("::2:3:4:5:6:7:8") == "00000002000300040005000600070008");
    CHECK(v6("fe80::ABCD") == "fe80000000000000000000000000abcd");
    CHECK(v6("::ffff:192.0.2.1") == "00000000000000000000ffffc0000201");
    CHECK(v6("1:2:3:4:5:6:192.0.2.1") == "000100020003000400050006c0000201");
    for (const char* none : {"", ":", ":::", "1", "1:", ":1", "1:2", "1::2::3", "12345::", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:",
                             "g::", "::1.2.3", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", "host"}) {
        CAPTURE(none);
        CHECK(v6(none) == "");
    }
}

TEST_CASE("an unknown CA, a self-signed certificate") {
    for (const char* name : {"foreign", "self_signed"}) {
        CAPTURE(name);
        Pair pair{std::string(name)};
        pair.refuses(Error::unknown_ca);
        CHECK((pair.client.verify_flags() & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0);
        CHECK(pair.client.tls_code() == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED);
        CHECK(pair.text() == "TLS: no CA that is trusted stands behind the server's certificate");
        pair.server().step();
        CHECK(pair.server().code == (tls_1_3 ? MBEDTLS_ERR_SSL_INVALID_MAC : MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE));   // it was told
    }
}

TEST_CASE("expired, not yet valid, signed with SHA-1") {
    Pair expired{std::string("expired")};
    expired.refuses(Error::expired);
    CHECK(expired.text() == "TLS: the server's certificate has expired");
    Pair future{std::string("future")};
    future.refuses(Error::not_yet_valid);
    CHECK(future.text() == "TLS: the server's certificate is not valid yet (is the clock right?)");
    Pair weak{std::string("weak")};
    weak.refuses(Error::unacceptable);
    CHECK(weak.client.verify_flags() == MBEDTLS_X509_BADCERT_BAD_MD);
}

TEST_CASE("revoked by a CRL; another certificate is not; a CRL that is out of date helps nobody") {
    for (const char* file : {"ca.crl", "ca.crl.der"}) {
        CAPTURE(file);
        Pair revoked{std::string("revoked")};
        REQUIRE(revoked.client.add_crl(certificates().text(file)));
        revoked.refuses(Error::revoked);
        CHECK(revoked.text() == "TLS: the server's certificate was revoked");
        Pair good;
        REQUIRE(good.client.add_crl(certificates().text(file)));
        good.accepts();
    }
    Pair old;
    REQUIRE(old.client.add_crl(certificates().text("old.crl")));
    old.refuses(Error::unusable_crl);
    old.client.clear_crl();
    CHECK(test::open(old.client, *std::make_unique<Server>(old.settings, old.client)) == 1);
    Pair unlisted{std::string("revoked")};
    unlisted.accepts();
}

TEST_CASE("with nothing to know the server by, open() fails before there is a connection") {
    Pair pair("server", "");
    CHECK(pair.client.open("localhost", 8883) == -1);
    CHECK(pair.client.opens == 0);
    CHECK(pair.client.tls_error() == Error::no_trust);
    CHECK(pair.text() == "TLS: neither a CA nor a pre-shared key is set: there is nothing to know the server by");
    REQUIRE(pair.client.add_ca(certificates().certificate("ca")));
    pair.client.clear_ca();
    CHECK(pair.client.open("localhost", 8883) == -1);
    CHECK(pair.client.opens == 0);
}

TEST_CASE("the switches loosen what their names say, and nothing else") {
    SUBCASE("any host name") {
        Pair pair;
        pair.client.accept_any_host_name = true;
        pair.accepts("elsewhere.test");
        CHECK(pair.settings.names[0] == "elsewhere.test");
        Pair address;
        address.client.accept_any_host_name = true;
        address.accepts("192.0.2.9");
        for (const char* name : {"foreign", "self_signed"}) {
            Pair still{std::string(name)};
            still.client.accept_any_host_name = true;
            still.refuses(Error::unknown_ca);
        }
        Pair expired{std::string("expired")};
        expired.client.accept_any_host_name = true;
        expired.refuses(Error::expired);
    }
    SUBCASE("any certificate") {
        for (const char* name : {"foreign", "self_signed", "expired", "future"})
            for (const char* ca : {"ca", ""}) {
                CAPTURE(name);
                Pair pair(name, ca);
                pair.client.accept_any_certificate = true;
                CHECK(test::open(pair.client, pair.server(), "elsewhere.test") == 1);
                CHECK(pair.client.verify_flags() != 0);   // and it is told what is wrong with it
                pair.talk();
            }
    }
}

TEST_CASE("client certificates: asked for and there, missing, of another CA") {
    Pair good;
    good.settings.client_ca = "ca";
    REQUIRE(good.client.set_certificate(certificates().certificate("client"), certificates().key("client")));
    good.accepts();
    REQUIRE(mbedtls_ssl_get_peer_cert(&good.server().ssl) != nullptr);

    Pair missing;
    missing.settings.client_ca = "ca";
    test::open(missing.client, missing.server());
    int end = 0;
    if (missing.client.tls_error() == Error::none) test::read_all(missing.client, 100, &end);   // TLS 1.3 tells after the handshake
    CHECK(missing.server().code == MBEDTLS_ERR_SSL_NO_CLIENT_CERTIFICATE);
    CHECK(missing.client.tls_error() == (tls_1_3 ? Error::broken : Error::no_answer));   // this server just closes

    Pair foreign;
    foreign.settings.client_ca = "ca";
    REQUIRE(foreign.client.set_certificate(certificates().certificate("foreign_client"), certificates().key("foreign_client")));
    test::open(foreign.client, foreign.server());
    if (foreign.client.tls_error() == Error::none) test::read_all(foreign.client, 100, &end);
    CHECK(foreign.client.tls_error() == (tls_1_3 ? Error::broken : Error::alert));
    if (tls_1_3) return;
    CHECK(foreign.client.alert() == MBEDTLS_SSL_ALERT_MSG_UNKNOWN_CA);
    CHECK(foreign.text() == "TLS: the server refuses: unknown CA (alert 48)");
}

TEST_CASE("certificates and keys: what is none is refused with its reason, and changes nothing") {
    Client client("");
    const auto& made = certificates();
    const auto refused = [&](bool result, Error error) {
        CHECK_FALSE(result);
        CHECK(static_cast<int>(client.tls_error()) == static_cast<int>(error));
    };
    for (const std::string& nonsense : {std::string(), std::string("x"), std::string("-----BEGIN CERTIFICATE-----\nAAAA\n"), made.key("ca"),
                                        made.text("ca.der").substr(0, 100)}) {
        refused(client.add_ca(nonsense), Error::invalid_certificate);
        refused(client.add_ca_in_place(nonsense), Error::invalid_certificate);
        refused(client.add_crl(nonsense), Error::invalid_certificate);
        refused(client.set_certificate(nonsense, made.key("client")), Error::invalid_certificate);
    }
    refused(client.set_certificate(made.certificate("client"), "x"), Error::invalid_key);
    refused(client.set_certificate(made.certificate("client"), ""), Error::invalid_key);
    refused(client.set_certificate(made.certificate("client"), made.key("server")), Error::wrong_key);
    refused(client.set_certificate(made.certificate("client"), made.key("client_locked")), Error::invalid_key);
    refused(client.set_certificate(made.certificate("client"), made.key("client_locked"), "wrong"), Error::invalid_key);
    CHECK(client.set_certificate(made.certificate("client"), made.key("client_locked"), "secret"));
    CHECK(client.open("localhost", 8883) == -1);   // there is still no CA
    CHECK(client.tls_error() == Error::no_trust);
}

TEST_CASE("CAs: PEM without and with its 0, several in one, DER with and without a copy") {
    const auto& made = certificates();
    const std::string pem = made.certificate("ca"), der = made.text("ca.der");
    const std::string both = made.certificate("other_ca") + pem;
    for (int way = 0; way < 5; ++way) {
        CAPTURE(way);
        Pair pair("server", "");
        Client& client = pair.client;
        CHECK((way == 0   ? client.add_ca(pem)
               : way == 1 ? client.add_ca({pem.c_str(), pem.size() + 1})
               : way == 2 ? client.add_ca(both)
               : way == 3 ? client.add_ca(std::string(der))
                          : client.add_ca_in_place(der)));
        pair.accepts();
    }
    Pair added("foreign", "ca");   // one after the other
    REQUIRE(added.client.add_ca(made.certificate("other_ca")));
    added.accepts();
}

TEST_CASE("nothing is changed while there is a connection") {
    Pair pair;
    pair.accepts();
    CHECK_FALSE(pair.client.add_ca(certificates().certificate("other_ca")));
    CHECK(pair.client.tls_error() == Error::in_use);
    CHECK_FALSE(pair.client.add_crl(certificates().text("ca.crl")));
    CHECK_FALSE(pair.client.set_certificate(certificates().certificate("client"), certificates().key("client")));
    CHECK_FALSE(pair.client.load_session(nullptr, 0));
    pair.client.clear_ca();
    pair.client.clear_crl();
    pair.client.clear_certificate();
    pair.server().received.clear();
    pair.talk();
    pair.client.close();
    CHECK(pair.client.add_ca(certificates().certificate("other_ca")));
}

TEST_CASE("pre-shared keys: the right one; a wrong one, an unknown name, none on one of the sides") {
    const auto with_key = [](Pair& pair) {
        pair.settings.psk = pair.client.psk = "0123456789abcdef";
        pair.settings.psk_identity = pair.client.psk_identity = "device 1";
    };
    Pair good("", "");
    with_key(good);
    good.accepts();

    Pair wrong("", "");
    with_key(wrong);
    wrong.settings.psk = "0123456789abcdeX";
    wrong.refuses(Error::alert);
    CHECK(wrong.text().find("TLS: the server refuses: ") == 0);

    Pair unknown("", "");
    with_key(unknown);
    unknown.settings.psk_identity = "device 2";
    unknown.refuses(Error::alert);
    CHECK(unknown.text().find("TLS: the server refuses: ") == 0);

    // A server with a certificate, and a client that has only a key: it cannot know that server.
    Pair certificate("server", "");
    certificate.client.psk = "0123456789abcdef";
    certificate.client.psk_identity = "device 1";
    certificate.refuses(Error::unknown_ca);
    Pair only_ca("", "ca");
    with_key(only_ca);
    only_ca.client.psk = {};
    only_ca.refuses(Error::alert);
}

TEST_CASE("ALPN: agreed; no protocol in common; a server that does not know it") {
    static const char* const theirs[] = {"mqtt", "x-amzn-mqtt-ca", nullptr};
    Pair good;
    good.settings.alpn = theirs;
    good.client.alpn = "x-amzn-mqtt-ca";
    good.accepts();
    CHECK(std::string(mbedtls_ssl_get_alpn_protocol(&good.server().ssl)) == "x-amzn-mqtt-ca");

    Pair mismatch;
    mismatch.settings.alpn = theirs;
    mismatch.client.alpn = "h2";
    mismatch.refuses(Error::alert);
    CHECK(mismatch.client.alert() == 120);
    CHECK(mismatch.text() == "TLS: the server refuses: no application protocol (alert 120)");

    Pair ignorant;
    ignorant.client.alpn = "mqtt";
    ignorant.accepts();

    Pair impossible;
    impossible.client.alpn = "";
    CHECK(impossible.client.open("localhost", 8883) == -1);
    CHECK(impossible.client.tls_error() == Error::invalid_setting);
    CHECK(impossible.client.opens == 0);
}

TEST_CASE("a server that speaks nothing newer than TLS 1.1") {
#if MBEDTLS_VERSION_MAJOR >= 3
    return;   // has no such version
#endif
    Pair pair;
    pair.settings.old_version = true;
    pair.refuses(Error::protocol_version);
    CHECK(pair.text() == "TLS: the server does not speak TLS 1.2 or later");
}

TEST_CASE("a server that answers with TLS 1.1 whatever it was asked for") {
    Client client;
    REQUIRE(client.open("localhost", 8883) == 0);
    while (client.pending()) REQUIRE(client.open("localhost", 8883) == 0);
    // ServerHello: version 3.2, 32 random bytes, no session id, TLS_RSA_WITH_AES_128_CBC_SHA, no compression
    client.to_client = std::string("\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02", 11) + std::string(32, 'r') + std::string("\x00\x00\x2f\x00", 4);
    int result = 0;
    for (int i = 0; i != 10 && result == 0; ++i) result = client.open("localhost", 8883);
    CHECK(result == -1);
    CHECK(client.tls_error() == Error::protocol_version);
}

TEST_CASE("shorter records on request") {
    for (const int size : {512, 1024, 2048, 4096}) {
        CAPTURE(size);
        Pair pair;
        pair.client.max_fragment_length = static_cast<uint16_t>(size);
        REQUIRE(test::open(pair.client, pair.server()) == 1);
        const std::string text = test::pattern(10000);
        pair.server().send(text);
        CHECK(test::read_all(pair.client, 20000) == text);
        const int written = test::write(pair.client, text);
        CHECK(written == size - tls_1_3);   // there a byte tells of what kind a record is
        pair.server().step();
        CHECK((pair.server().received == text.substr(0, static_cast<size_t>(written))));
    }
    Pair wrong;
    wrong.client.max_fragment_length = 1000;
    CHECK(wrong.client.open("localhost", 8883) == -1);
    CHECK(wrong.client.tls_error() == Error::invalid_setting);
    CHECK(wrong.text().find("TLS: a setting is invalid, or not in this build of mbedTLS (mbedTLS -0x") == 0);
}

TEST_CASE("hosts that can be in no certificate are refused before there is a connection") {
    for (const std::string& host : {std::string(), std::string("."), std::string(254, 'a'), std::string("localhost\0.evil", 15)}) {
        Client client;
        CHECK(client.open(host, 8883) == -1);
        CHECK(client.tls_error() == Error::invalid_host);
        CHECK(client.opens == 0);
    }
    Client longest;
    CHECK(longest.open(std::string(253, 'a'), 8883) == 0);
}

TEST_CASE("random numbers: mbedTLS's own if no others are given; without any there is no connection") {
    Pair pair;
    pair.client.rng = nullptr;
    pair.accepts();
    Pair broken;
    broken.client.rng = [](void*, unsigned char*, size_t) { return MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED; };
    CHECK(test::open(broken.client, broken.server()) == -1);
    CHECK(broken.client.tls_error() == Error::no_entropy);
}

TEST_CASE("the wrapped port's failures are its own: refused, lost in the handshake, not TLS at all") {
    Client refused;
    refused.refuse = true;
    CHECK(refused.open("localhost", 8883) == -1);
    CHECK(refused.tls_error() == Error::network);
    CHECK(std::string(refused.error_text()) == "the wire is cut");

    Client unwritable;
    unwritable.unwritable = true;
    int result = 0;
    for (int i = 0; i != 10 && result == 0; ++i) result = unwritable.open("localhost", 8883);
    CHECK(result == -1);
    CHECK(unwritable.tls_error() == Error::network);
    CHECK(unwritable.writes_after_failure == 0);

    Client plain;
    for (int i = 0; i != 10; ++i) REQUIRE(plain.open("localhost", 8883) == 0);
    plain.to_client = "HTTP/1.1 400 Bad Request\r\n\r\n";
    for (int i = 0; i != 10 && result == 0; ++i) result = plain.open("localhost", 8883);
    result = plain.open("localhost", 8883);
    CHECK(plain.tls_error() == Error::broken);
    CHECK(std::string(plain.error_text()).find("TLS: what came is not valid (mbedTLS -0x") == 0);
}

TEST_CASE("a peer that stops in mid-handshake: open() waits wherever that is, and tells when the connection ends") {
    size_t whole = 0;
    {
        Pair pair;
        pair.accepts();
        whole = pair.server().bytes_sent;
    }
    for (size_t stop = 0; stop < whole; stop += stop < 20 ? 1 : 97) {
        CAPTURE(stop);
        Pair pair;
        Client& client = pair.client;
        std::string held;   // what the server has sent beyond that
        size_t passed = 0;
        for (int i = 0; i != 200; ++i) {
            if (client.open("localhost", 8883) != 0) break;
            pair.server().step();
            held += client.to_client;
            const size_t more = std::min(stop - passed, held.size());
            client.to_client = held.substr(0, more);
            held.erase(0, more);
            passed += more;
        }
        if (passed < stop) continue;   // the server waits for more, too
        if (client.open("localhost", 8883) == 1) continue;
        CHECK_FALSE(client.pending());
        CHECK(client.wait(1000, true) == false);   // sleeps, and not for room
        CHECK(client.slept);
        CHECK_FALSE(client.waited_for_room);
        CHECK(client.events(true, false) == 1);
        client.cut = true;
        CHECK(client.open("localhost", 8883) == -1);
        CHECK(client.tls_error() == Error::no_answer);
        CHECK(std::string(client.error_text()) == "TLS: the connection ended in the handshake: does the server speak TLS?: the wire is cut");
        CHECK(client.closes == 1);
    }
}

TEST_CASE("a server that closes in good order in the handshake has not answered, either") {
    Client client;
    REQUIRE(client.open("localhost", 8883) == 0);
    while (client.pending()) REQUIRE(client.open("localhost", 8883) == 0);
    client.to_client = std::string("\x15\x03\x03\x00\x02\x01\x00", 7);   // close-notify
    int result = 0;
    for (int i = 0; i != 10 && result == 0; ++i) result = client.open("localhost", 8883);
    CHECK(result == -1);
    CHECK(client.tls_error() == Error::no_answer);
    CHECK_FALSE(client.is_open);
}

TEST_CASE("each open() is one step, and takes no more than a record from the network") {
    Client client;
    REQUIRE(client.open("localhost", 8883) == 0);
    while (client.pending()) REQUIRE(client.open("localhost", 8883) == 0);
    // Alerts of level "warning", which TLS 1.2 passes over without end.
    for (int i = 0; i != 100000; ++i) client.to_client += std::string("\x15\x03\x03\x00\x02\x01\x5a", 7);
    const size_t before = client.to_client.size();
    (void)client.open("localhost", 8883);
    CHECK(before - client.to_client.size() <= 20000);
}

TEST_CASE("a server that refuses and closes while we are still writing: its alert is heard") {
    if (tls_1_3) return;   // there the client has the last word, and the alert comes later
    // The refusal of the client's certificate comes when three more messages are to be written.
    Pair pair;
    pair.settings.client_ca = "ca";
    REQUIRE(pair.client.set_certificate(certificates().certificate("foreign_client"), certificates().key("foreign_client")));
    Client& client = pair.client;
    int result = 0;
    for (int i = 0; i != 30 && result == 0; ++i) {
        result = client.open("localhost", 8883);
        if (!client.pending()) pair.server().step();
        if (client.writes == 2) {   // after ClientHello: our certificate
            pair.server().step();
            client.unwritable = true;
        }
    }
    CHECK(result == -1);
    CHECK(client.tls_error() == Error::alert);
    CHECK(client.writes_after_failure == 0);
    CHECK_FALSE(client.is_open);
}

TEST_CASE("a handshake of which some message cannot be written is none, whoever has the last word") {
    for (const bool resumed : {false, true}) {   // then it is the client
        CAPTURE(resumed);
        ServerSettings settings;
        settings.tickets = resumed;
        Client client;
        // Lets so many writes pass; how many there were.
        const auto connect = [&](int passing) {
            Server server(settings, client);
            client.unwritable = false;
            client.writes = 0;
            int result = 0;
            for (int i = 0; i != 40 && result == 0; ++i) {
                result = client.open("localhost", 8883);
                client.unwritable = client.writes >= passing;
                server.step();
            }
            CHECK(result == (client.writes == passing ? 1 : -1));
            if (result == 1 && resumed) test::read_all(client);   // of TLS 1.3: tickets
            const int writes = client.writes;
            client.unwritable = false;
            client.close();
            return writes;
        };
        const auto whole = [&] {
            Server server(settings, client);
            REQUIRE(test::open(client, server) == 1);
            if (resumed) test::read_all(client);
            client.close();
            client.writes = 0;
            Server again(settings, client);
            REQUIRE(test::open(client, again) == 1);
            CHECK(client.resumed() == resumed);
            const int writes = client.writes;
            if (resumed) test::read_all(client);
            client.close();
            return writes;
        };
        const int writes = whole();
        for (int passing = 1; passing != writes; ++passing) {
            CAPTURE(passing);
            CHECK(connect(passing) == passing + 1);
            CHECK(client.tls_error() == Error::network);
            CHECK(std::string(client.error_text()) == "the wire is cut");
            CHECK(client.writes_after_failure == 0);
            whole();
        }
    }
}
