// mqtt_pub and mqtt_sub over TLS and WebSocket, as a user runs them, against mosquitto.
#include "tests/support/tls.hpp"

#include <algorithm>
#include <memory>

#include "examples/any_port.hpp"
#include "tests/support/program.hpp"

using test::certificates;
using test::Program;
using test::Words;

namespace {

// A broker, and commands for it. SCHEME://localhost:PORT
struct Fixture {
    explicit Fixture(const std::string& listener, const std::string& extra = "") : broker(extra, listener) {}
    static std::string tls(const std::string& certificate = "server") {
        return "certfile " + certificates().path(certificate + ".crt") + "\nkeyfile " + certificates().path(certificate + ".key") + "\n";
    }
    std::string address(const std::string& scheme, const std::string& host = "localhost") const {
        return scheme + "://" + host + ":" + std::to_string(broker.port);
    }
    std::unique_ptr<Program> run(const char* tool, const std::string& host, const Words& more) const {
        Words words{tool, "-h", host, "-t", "t", "-W", "60"};
        words.insert(words.end(), more.begin(), more.end());
        return std::make_unique<Program>(words);
    }
    // A message goes from one to the other.
    void passes(const std::string& host, Words more, const std::string& message = "a message") const {
        more.insert(more.end(), {"-q", "2"});
        Words for_sub = more;
        for_sub.insert(for_sub.end(), {"-d", "-C", "1"});
        const auto sub = run("mqtt_sub", host, for_sub);
        REQUIRE(sub->tells("subscribed"));
        const std::string file = folder.write("message", message);
        more.insert(more.end(), {"-f", file});
        const auto pub = run("mqtt_pub", host, more);
        CHECK(pub->ends() == 0);
        CHECK(pub->err() == "");
        CHECK(sub->ends() == 0);
        CHECK((sub->out() == message + "\n"));
    }
    void fails(const std::string& host, const Words& more, int status, const std::string& text) const {
        Words words = more;
        words.insert(words.end(), {"-m", "x"});
        const auto pub = run("mqtt_pub", host, words);
        CHECK(pub->ends() == status);
        CAPTURE(pub->err());
        CHECK(pub->err().find(text) != std::string::npos);
    }

    test::TwoListeners broker;
    test::TemporaryFolder folder;
};

std::string file(const std::string& name) { return certificates().path(name); }

constexpr int network = 4;

}  // namespace

TEST_CASE("mqtts://: with a CA, also a large message; -h and -p with --cafile are the same") {
    Fixture f(Fixture::tls());
    f.passes(f.address("mqtts"), {"--cafile", file("ca.crt")});
    f.passes(f.address("mqtts", "127.0.0.1"), {"--cafile", file("ca.crt")}, test::pattern(3000000));
    f.passes("localhost", {"-p", std::to_string(f.broker.port), "--cafile", file("ca.crt")});
}

TEST_CASE("ws:// and wss://, with a path") {
    Fixture plain("protocol websockets\n");
    plain.passes(plain.address("ws"), {});
    plain.passes(plain.address("ws") + "/any/path", {});
    Fixture secure("protocol websockets\n" + Fixture::tls());
    secure.passes(secure.address("wss"), {"--cafile", file("ca.crt")});
}

TEST_CASE("mqtt://, and a port with -p") {
    Fixture f(Fixture::tls());
    f.passes("mqtt://localhost:" + std::to_string(f.broker.plain()), {});
    f.passes("mqtt://localhost", {"-p", std::to_string(f.broker.plain())});
}

TEST_CASE("--cert and --key; without them, the server's refusal is told") {
    Fixture f(Fixture::tls() + "cafile " + file("ca.crt") + "\nrequire_certificate true\n");
    f.passes(f.address("mqtts"), {"--cafile", file("ca.crt"), "--cert", file("client.crt"), "--key", file("client.key")});
    f.fails(f.address("mqtts"), {"--cafile", file("ca.crt")}, network, ": TLS: the server refuses: ");
}

TEST_CASE("--psk and --psk-identity") {
    const test::TemporaryFolder folder;
    Fixture f("psk_hint any\n", "psk_file " + folder.write("keys", "me:00ff10\n") + "\n");
    f.passes(f.address("mqtts"), {"--psk", "00fF10", "--psk-identity", "me"});
    f.fails(f.address("mqtts"), {"--psk", "00ff11", "--psk-identity", "me"}, network, "bad record MAC (alert 20)");
}

TEST_CASE("who is not trusted is told; --insecure is for the host's name only") {
    Fixture wrong_host(Fixture::tls("plain"));   // for broker.test
    wrong_host.fails(wrong_host.address("mqtts"), {"--cafile", file("ca.crt")}, network, "the server's certificate is for another host");
    wrong_host.passes(wrong_host.address("mqtts"), {"--cafile", file("ca.crt"), "--insecure"});
    wrong_host.fails(wrong_host.address("mqtts"), {"--cafile", file("other_ca.crt"), "--insecure"}, network, "no CA that is trusted");
    wrong_host.fails("mqtts://localhost:" + std::to_string(wrong_host.broker.plain()), {"--cafile", file("ca.crt")}, network,
                     "does the server speak TLS?");
}

TEST_CASE("wrong options are told before anything is sent") {
    Fixture f(Fixture::tls());
    const std::string address = f.address("mqtts");
    constexpr int trouble = 1, caller = 2;
    f.fails(address, {"--cafile", "/nowhere"}, trouble, "cannot use '/nowhere': it cannot be read");
    f.fails(address, {"--cafile", file("ca.key")}, trouble, "ca.key': TLS: not a certificate (or CRL) in PEM or DER");
    f.fails(address, {"--cafile", file("ca.crt"), "--cert", file("client.crt"), "--key", file("server.key")}, trouble,
            "server.key': TLS: the private key does not belong to the certificate");
    f.fails(address, {"--cafile", file("ca.crt"), "--cert", file("client.crt"), "--key", file("client_locked.key")}, trouble,
            "client_locked.key': TLS: not a private key in PEM or DER, or the password is wrong");
    f.fails(address, {"--cert", file("client.crt")}, caller, "--cert and --key belong together");
    f.fails(address, {"--psk", "00"}, caller, "--psk and --psk-identity belong together");
    f.fails(address, {"--psk", "0"}, caller, "'0' is not a valid HEX for --psk");
    f.fails(address, {"--psk", "0x"}, caller, "'0x' is not a valid HEX for --psk");
    f.fails("mqtt://localhost", {"--cafile", file("ca.crt")}, caller, "need TLS: mqtts:// or wss://");
    f.fails("http://localhost", {}, caller, "'http://localhost' is not a valid HOST for -h");
}

TEST_CASE("addresses are taken apart") {
    const auto parts = [](std::string_view text) -> std::string {
        tool::Address a;
        if (!tool::parse_address(text, a)) return "none";
        return std::string(a.tls ? "tls " : "") + (a.web ? "web " : "") + std::string(a.host) + " " +
               (a.port ? std::to_string(*a.port) : "-") + " " + std::string(a.path);
    };
    CHECK(parts("host") == "host - ");
    CHECK(parts("::1") == "::1 - ");
    CHECK(parts("mqtt://host") == "host 1883 ");
    CHECK(parts("mqtts://host") == "tls host 8883 ");
    CHECK(parts("mqtts://host:1/") == "tls host 1 /");
    CHECK(parts("ws://host") == "web host 80 ");
    CHECK(parts("wss://host:65535/a/b?c=d") == "tls web host 65535 /a/b?c=d");
    CHECK(parts("wss://[2001:db8::7]/x") == "tls web [2001:db8::7] 443 /x");
    CHECK(parts("mqtts://[::1]:8884") == "tls [::1] 8884 ");
    for (const char* none : {"", "mqtt://", "mqtt://:1", "x://host", "MQTT://host", "mqtt://host:", "mqtt://host:0", "mqtt://host:65536",
                             "mqtt://host:1x", "mqtt://host/topic", "mqtt://me:secret@host", "://host", "ws:///path"}) {
        CAPTURE(none);
        CHECK(parts(none) == "none");
    }
}
