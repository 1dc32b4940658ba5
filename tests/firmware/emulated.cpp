// Firmware in QEMU, end to end: tests/firmware/image.cpp on the board of examples/firmware, against mosquitto and scripted
// peers, and the example itself. What the firmware checks comes as its exit code; here is what can be seen from outside.
//
// The network that QEMU gives to the firmware reaches whatever this machine does. So this program, the brokers and QEMU
// live in a network of their own, with nothing in it but the loopback; where that is not permitted, all is skipped.
//
// MQTT_FIRMWARE names the folder of the images (tests/firmware/meson.build sets it). What QEMU says on stderr is not looked at: a receive
// buffer that overflows is told there, and TCP makes up for it - after a second or so, thus all waits are generous.
#include "platform/posix.hpp"
#include "tests/support/certificates.hpp"
#include "tests/support/device.hpp"
#include "tests/support/namespace.hpp"
#include "tests/support/program.hpp"
#include "tests/support/random.hpp"
#include "tests/support/sockets.hpp"
#include "tests/support/testing.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "mqtt.hpp"

using test::eventually;
using test::Mosquitto;

namespace {

std::string images() {
    const char* const folder = std::getenv("MQTT_FIRMWARE");
    return folder != nullptr ? folder : "";
}

// Why the firmware cannot be run here; empty: it can.
const std::string& missing() {
    static const std::string reason = []() -> std::string {
        if (test::find_program("qemu-system-arm").empty()) return "qemu-system-arm is not installed";
        if (images().empty()) return "no image was built: arm-none-eabi-g++, its libraries, make or lwIP's source is missing";
        return test::enter_own_network();
    }();
    return reason;
}
#define NEEDS_FIRMWARE \
    if (!missing().empty()) SKIP_TEST(missing())
#define NEEDS_MOSQUITTO \
    NEEDS_FIRMWARE;     \
    if (Mosquitto::program().empty()) SKIP_TEST("mosquitto is not installed")

// An image that runs; `arguments` are the words after the port.
class Firmware {
public:
    Firmware(const std::string& arguments, uint16_t port, const std::string& machine = "mps2-an385",
             const std::string& image = "firmware.elf", const std::string& host = "10.0.2.2")
        : program_({test::find_program("qemu-system-arm"), "-M", machine, "-kernel", images() + "/" + image,
                    "-display", "none", "-monitor", "none", "-serial", "stdio", "-semihosting-config",
                    "enable=on,target=native,arg=fw,arg=" + host + ",arg=" + std::to_string(port) + ",arg=" + arguments,
                    "-nic", "user,model=lan9118"}) {}
    ~Firmware() {
        if (!ended_) MESSAGE("the firmware, which is killed, had printed: ", out());
    }
    // Waits until it has printed this.
    bool prints(const std::string& text) { return program_.prints(text); }
    // Ends its `waits_for_host()`.
    void go_on() { program_.write("."); }
    std::string out() const { return program_.out(); }
    // As if its power were cut.
    void kill() {
        ended_ = true;
        program_.signal(SIGKILL);
        (void)program_.ends();
    }
    // Waits until it ends.
    void passes() { ends_with(0); }
    void ends_with(int code) {
        const int status = program_.ends();
        ended_ = true;
        CAPTURE(program_.out());
        CAPTURE(program_.err());
        CHECK(status == code);
    }

private:
    test::Program program_;
    bool ended_ = false;
};

void passes_with(const Mosquitto& broker, const std::string& what, const std::string& machine = "mps2-an385") {
    Firmware firmware(what, broker.port, machine);
    firmware.passes();
}

// The server's side of a connection, byte by byte.
class Server : public test::Peer {
public:
    explicit Server(test::Endpoint& endpoint) : Peer(endpoint.accept()) { REQUIRE(there()); }

    // The next packet; empty: the connection has ended before it was whole.
    std::string packet() {
        std::string bytes = exactly(1);
        do bytes += exactly(1); while (bytes.size() < 5 && bytes.size() > 1 && (bytes.back() & 0x80) != 0);
        uint32_t length = 0;
        if (bytes.size() < 2 || mqtt::load_variable(mqtt::Bytes(bytes).data() + 1, bytes.size() - 1, length) == 0) return {};
        const std::string rest = exactly(length);
        return rest.size() == length ? bytes + rest : "";
    }
    std::string expects(mqtt::PacketType type) {
        const std::string bytes = packet();
        REQUIRE(!bytes.empty());
        CHECK((static_cast<uint8_t>(bytes[0]) >> 4) == static_cast<int>(type));
        return bytes;
    }
    // CONNECT, and that it is accepted.
    void accepts(bool session_present = false) {
        expects(mqtt::PacketType::connect);
        CHECK(sends(session_present ? std::string("\x20\x02\x01\x00", 4) : std::string("\x20\x02\x00\x00", 4)));
    }
    // DISCONNECT, and the end of the connection.
    void expects_disconnect() {
        expects(mqtt::PacketType::disconnect);
        CHECK(receives(1).empty());
        close();
    }

private:
    std::string exactly(size_t size) {
        std::string bytes;
        while (bytes.size() < size) {
            const std::string more = receives(size - bytes.size());
            if (more.empty()) break;
            bytes += more;
        }
        return bytes;
    }
};

void broker_is_killed(const std::string& listener = "", const std::string& arguments = "", const std::string& image = "firmware.elf",
                      const std::string& host = "10.0.2.2") {
    test::TemporaryFolder data;
    Mosquitto broker(listener + "persistence true\nautosave_on_changes true\nautosave_interval 1\npersistence_location " +
                     data.path.string() + "/\n");
    Firmware firmware("broker-killed" + arguments, broker.port, "mps2-an385", image, host);
    REQUIRE(firmware.prints("subscribed"));
    REQUIRE(eventually([&] {   // mosquitto has written down the subscription
        return test::text_of((data.path / "mosquitto.db").string()).find("test/#") != std::string::npos || test::pause();
    }));
    broker.process.signal(SIGSTOP);   // it takes and answers nothing more
    firmware.go_on();
    REQUIRE(firmware.prints("sent"));
    broker.process.signal(SIGKILL);
    broker.process.stop();
    REQUIRE(firmware.prints("offline"));
    REQUIRE(broker.start());
    firmware.passes();
}

// As image.cpp has it.
std::string content(uint32_t size) {
    std::string bytes(size, '\0');
    for (uint32_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i ^ i >> 8 ^ i >> 16);
    return bytes;
}

}  // namespace

TEST_CASE("firmware connects to mosquitto and disconnects, on a Cortex-M3") {
    NEEDS_MOSQUITTO;
    const Mosquitto broker;
    passes_with(broker, "connect");
    CHECK(broker.log().find("Client firmware disconnected.") != std::string::npos);   // in good order
}

TEST_CASE("firmware exchanges messages of each QoS, both ways, on a Cortex-M3") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "qos");
}

TEST_CASE("firmware exchanges messages of each QoS, both ways, on a Cortex-M4") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "qos", "mps2-an386");
}

TEST_CASE("firmware pings within the keep-alive time, and reconnects when there is no PINGRESP [MQTT-3.1.2-23]") {
    NEEDS_FIRMWARE;
    test::Endpoint endpoint(test::Kind::live);
    Firmware firmware("keep-alive", endpoint.port());
    {
        Server server(endpoint);
        server.accepts();
        for (int i = 0; i < 2; ++i) {
            const auto begin = std::chrono::steady_clock::now();
            server.expects(mqtt::PacketType::pingreq);
            const auto took = std::chrono::steady_clock::now() - begin;
            CHECK(took > std::chrono::milliseconds(100));   // it sleeps
            CHECK(server.sends(std::string("\xD0\0", 2)));
        }
        std::string last;
        for (std::string packet = server.packet(); !packet.empty(); packet = server.packet()) last = packet;
        CHECK(last == std::string("\xC0\0", 2));   // and then it gives up
    }
    Server server(endpoint);
    server.accepts();
    server.expects_disconnect();
    firmware.passes();
}

TEST_CASE("firmware that sleeps is woken by a frame") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "wakes");
}

TEST_CASE("firmware sleeps while nothing happens") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "sleeps");
}

TEST_CASE("firmware loses nothing when the broker is killed and started again") {
    NEEDS_MOSQUITTO;
    broker_is_killed();
}

TEST_CASE("firmware takes a reset in mid-packet, in either direction") {
    NEEDS_FIRMWARE;
    test::Endpoint endpoint(test::Kind::live);
    const std::string publish = std::string("\x34\x6F\x00\x09topic/abc\x00\x07", 15) + content(98);
    Firmware firmware("reset", endpoint.port());
    {
        Server server(endpoint);
        server.accepts();
        CHECK(server.sends(publish.substr(0, 60)));
        server.reset();
    }
    {
        Server server(endpoint);
        server.accepts(true);
        CHECK(server.sends(publish));
        CHECK(server.expects(mqtt::PacketType::pubrec) == std::string("\x50\x02\x00\x07", 4));
        CHECK(server.sends(std::string("\x62\x02\x00\x07", 4)));
        // And what the firmware sends is cut: a hundred kilobytes, of which a few are read.
        std::string begin;
        while (begin.size() < 20000) {
            const std::string more = server.receives(4096);
            REQUIRE(!more.empty());
            begin += more;
        }
        server.reset();
    }
    Server server(endpoint);
    server.accepts(true);
    const std::string again = server.expects(mqtt::PacketType::publish);
    CHECK(static_cast<uint8_t>(again[0]) == 0x3A);   // QoS 1, DUP [MQTT-3.3.1-1]
    REQUIRE(again.size() > 100000);
    CHECK(again.substr(again.size() - 100000) == content(100000));
    CHECK(server.sends("\x40\x02" + again.substr(again.size() - 100000 - 2, 2)));
    server.expects_disconnect();
    firmware.passes();
}

TEST_CASE("firmware sends and receives a message of 1 MB through an rx of 512 bytes") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "large");
}

TEST_CASE("firmware reconnects 200 times, however connections end, and has lost no pbuf") {
    NEEDS_FIRMWARE;
    test::Endpoint endpoint(test::Kind::live);
    Firmware firmware("reconnects", endpoint.port());
    for (int i = 0; i < 200; ++i) {
        CAPTURE(i);
        Server server(endpoint);
        switch (i % 7) {
        case 0: server.accepts(); break;                                        // closed
        case 1: server.accepts(); server.reset(); break;
        case 2: server.accepts(); CHECK(server.sends(std::string("\x34\x6F\x00\x05top", 7))); break;
        case 3: server.accepts(); CHECK(server.sends(std::string("\x34\x6F\x00\x05top", 7))); server.reset(); break;
        case 4: server.accepts(); CHECK(server.sends(std::string(5000, '\xFF'))); break;   // malformed: it closes
        default: server.accepts(true); CHECK(server.packet().size() < 3); break;           // it disconnects, or aborts
        }
    }
    Server server(endpoint);
    server.accepts();
    CHECK(server.sends(std::string("\x30\x04\x00\x01t!", 6)));
    server.expects_disconnect();
    firmware.passes();
}

TEST_CASE("firmware is refused, and connects once somebody listens") {
    NEEDS_FIRMWARE;
    test::Endpoint endpoint(test::Kind::dead);
    Firmware firmware("refused", endpoint.port());
    REQUIRE(firmware.prints("three times"));
    REQUIRE(endpoint.listen());
    Server server(endpoint);
    server.accepts();
    server.expects_disconnect();
    firmware.passes();
}

TEST_CASE("firmware is accepted and told nothing, and connects once there is an answer") {
    NEEDS_FIRMWARE;
    test::Endpoint endpoint(test::Kind::live);
    Firmware firmware("silence", endpoint.port());
    int silent = 0;
    for (; silent < 100; ++silent) {
        Server server(endpoint);
        server.expects(mqtt::PacketType::connect);
        if (firmware.out().find("three times") != std::string::npos) {
            CHECK(server.sends(std::string("\x20\x02\x00\x00", 4)));
            server.expects_disconnect();
            break;
        }
        CHECK(server.receives(1).empty());   // it gives up
    }
    CHECK(silent >= 3);
    firmware.passes();
}

TEST_CASE("firmware without a DNS server is told so, and connects to an address") {
    NEEDS_FIRMWARE;
    test::Endpoint endpoint(test::Kind::live);
    Firmware firmware("no-dns", endpoint.port());
    Server server(endpoint);
    server.accepts();
    server.expects_disconnect();
    firmware.passes();
}

TEST_CASE("firmware out of pbufs goes on when there are some") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "out-of-pbufs");
}

TEST_CASE("firmware out of lwIP's heap goes on when there is some") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "out-of-heap");
}

TEST_CASE("firmware out of TCP segments goes on when there are some") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "out-of-segments");
}

TEST_CASE("firmware out of TCP control blocks is told so, and connects when there is one") {
    NEEDS_MOSQUITTO;
    passes_with(Mosquitto(), "out-of-pcbs");
}

TEST_CASE("firmware that faults says where, and ends") {
    NEEDS_FIRMWARE;
    Firmware firmware("fault", 1);
    firmware.ends_with(99);
    CHECK(firmware.out().find("fault: CFSR 00008200") != std::string::npos);
    CHECK(firmware.out().find("BFAR 50000000") != std::string::npos);
}

TEST_CASE("firmware whose stack overflows faults, and does not go on") {
    NEEDS_FIRMWARE;
    Firmware firmware("overflow", 1);
    firmware.ends_with(99);
    CHECK(firmware.out().find("fault: CFSR ") != std::string::npos);
}

TEST_CASE("firmware with a broken assertion says which, and ends") {
    NEEDS_FIRMWARE;
    Firmware firmware("assertion", 1);
    firmware.ends_with(98);
    CHECK(firmware.out() == "assertion failed: options.port == 0\n");
}

TEST_CASE("firmware that is asked for what it does not know says so") {
    NEEDS_FIRMWARE;
    Firmware firmware("nothing", 1);
    firmware.ends_with(2);
}

// ---- over TLS

namespace {

using test::certificates;

#define NEEDS_TLS    \
    NEEDS_MOSQUITTO; \
    if (!std::filesystem::exists(images() + "/firmware_tls.elf")) SKIP_TEST("no image with TLS was built: mbedTLS's source is missing"); \
    if (test::find_program("openssl").empty()) SKIP_TEST("openssl is not installed")

// What a listener has in its configuration.
std::string with(const std::string& certificate) {
    return "certfile " + certificates().path(certificate + ".crt") + "\nkeyfile " + certificates().path(certificate + ".key") + "\n";
}

struct SecureFirmware : Firmware {
    SecureFirmware(const std::string& what, uint16_t port, const std::string& host = "broker.test", const std::string& ca = "ca",
                   const std::string& image = "firmware_tls.elf")
        : Firmware(what + ",arg=" + certificates().path(ca + ".der"), port, "mps2-an385", image, host) {}
};

// The firmware does not accept the broker, says why, and tells it nothing.
void refuses(const std::string& certificate, const std::string& reason, const std::string& host = "broker.test",
             const std::string& ca = "ca") {
    const Mosquitto broker(with(certificate));
    SecureFirmware firmware("tls-refuses", broker.port, host, ca);
    firmware.passes();
    CHECK(firmware.out().find("refused: TLS: " + reason) != std::string::npos);
    CHECK(broker.log().find("New client") == std::string::npos);
}

}  // namespace

TEST_CASE("firmware over TLS connects to a broker with a certificate with ECDSA, and resumes the session") {
    NEEDS_TLS;
    const Mosquitto broker(with("server"));
    SecureFirmware firmware("tls-connects", broker.port);
    firmware.passes();
    CHECK(broker.log().find("Client firmware disconnected.") != std::string::npos);
}

TEST_CASE("firmware over TLS connects to a broker with a certificate with RSA, and resumes the session") {
    NEEDS_TLS;
    const Mosquitto broker(with("rsa"));
    SecureFirmware("tls-connects", broker.port).passes();
}

TEST_CASE("firmware over TLS connects to an address that stands in the certificate") {
    NEEDS_TLS;
    const Mosquitto broker(with("server"));
    SecureFirmware("tls-connects", broker.port, "10.0.2.2").passes();
}

TEST_CASE("firmware over TLS exchanges messages of each QoS, both ways") {
    NEEDS_TLS;
    const Mosquitto broker(with("server"));
    SecureFirmware("qos", broker.port).passes();
}

TEST_CASE("firmware over TLS sends and receives a message of 1 MB, through records of 16 KB and of 4 KB") {
    NEEDS_TLS;
    const Mosquitto broker(with("server"));
    for (const char* image : {"firmware_tls.elf", "firmware_tls4.elf"}) SecureFirmware("large", broker.port, "broker.test", "ca", image).passes();
}

TEST_CASE("firmware over TLS connects with buffers for records of 4 KB") {
    NEEDS_TLS;
    const Mosquitto broker(with("rsa"));
    SecureFirmware("tls-connects", broker.port, "broker.test", "ca", "firmware_tls4.elf").passes();
}

TEST_CASE("firmware over TLS refuses a broker whose certificate is for another host") {
    NEEDS_TLS;
    refuses("like_address", "the server's certificate is for another host");
    refuses("plain", "the server's certificate is for another host", "10.0.2.2");
}

TEST_CASE("firmware over TLS refuses a broker that no CA of its own stands behind") {
    NEEDS_TLS;
    refuses("server", "no CA that is trusted stands behind the server's certificate", "broker.test", "other_ca");
    refuses("self_signed", "no CA that is trusted stands behind the server's certificate");
}

TEST_CASE("firmware over TLS refuses a broker whose certificate has expired, or is not valid yet: it knows the time") {
    NEEDS_TLS;
    refuses("expired", "the server's certificate has expired");
    refuses("future", "the server's certificate is not valid yet");
}

TEST_CASE("firmware over TLS without a CA ends before it connects") {
    NEEDS_TLS;
    SecureFirmware firmware("tls-connects", 1, "broker.test", "no such file");
    firmware.ends_with(98);
    CHECK(firmware.out() == "assertion failed: no CA: nobody to trust\n");
}

TEST_CASE("firmware over TLS says that its random numbers are unfit for use, before it connects") {
    NEEDS_TLS;
    test::Endpoint endpoint(test::Kind::live);
    SecureFirmware firmware("tls-connects", endpoint.port());
    const Server server(endpoint);
    CHECK(firmware.out().find("UNFIT FOR USE") != std::string::npos);
    firmware.kill();
}

TEST_CASE("firmware over TLS loses nothing when the broker is killed and started again") {
    NEEDS_TLS;
    broker_is_killed(with("server"), ",arg=" + certificates().path("ca.der"), "firmware_tls.elf", "broker.test");
}

TEST_CASE("firmware over TLS reconnects 50 times, and has lost no pbuf and no byte of mbedTLS's memory") {
    NEEDS_TLS;
    const Mosquitto broker(with("server"));
    SecureFirmware("tls-reconnects", broker.port).passes();
}

TEST_CASE("firmware over TLS goes on when lwIP is out of memory for a while") {
    NEEDS_TLS;
    const Mosquitto broker(with("server"));
    for (const char* what : {"out-of-pbufs", "out-of-heap", "out-of-segments", "out-of-pcbs"}) {
        CAPTURE(what);
        SecureFirmware(what, broker.port).passes();
    }
}

TEST_CASE("firmware over TLS sleeps while nothing happens, and is woken by a frame") {
    NEEDS_TLS;
    const Mosquitto broker(with("server"));
    for (const char* what : {"sleeps", "wakes"}) {
        CAPTURE(what);
        SecureFirmware(what, broker.port).passes();
    }
}

// ---- with a journal on flash, which is a file: QEMU is killed, and started again with the same one

namespace {

struct Powered : Firmware {
    Powered(const std::string& what, uint16_t port, const test::TemporaryFolder& folder, const std::string& more)
        : Firmware(what + ",arg=" + (folder.path / "flash").string() + ",arg=" + more, port, "mps2-an385", "firmware_journal.elf") {}
};

std::string acknowledgement(int first_byte, const std::string& packet_id) {
    return std::string{static_cast<char>(first_byte), 2} + packet_id;
}

}  // namespace

TEST_CASE("firmware with a journal goes on with a QoS 2 message wherever the power was cut [MQTT-4.4.0-1]") {
    NEEDS_FIRMWARE;
    test::Endpoint endpoint(test::Kind::live);
    const test::TemporaryFolder folder;
    std::string id, publish;
    {
        Powered firmware("cut-in-sending", endpoint.port(), folder, "1");
        Server server(endpoint);
        server.accepts();
        publish = server.expects(mqtt::PacketType::publish);
        id = publish.substr(14, 2);
        firmware.kill();
    }
    {
        Powered firmware("cut-in-sending", endpoint.port(), folder, "0");
        Server server(endpoint);
        server.accepts(true);
        std::string again = server.expects(mqtt::PacketType::publish);
        CHECK((again[0] & 8) != 0);   // [MQTT-3.3.1-1]
        again[0] = publish[0];
        CHECK((again == publish));
        CHECK(server.sends(acknowledgement(0x50, id)));
        CHECK((server.expects(mqtt::PacketType::pubrel) == acknowledgement(0x62, id)));
        firmware.kill();
    }
    for (int i = 0; i < 2; ++i) {
        Powered firmware("cut-in-sending", endpoint.port(), folder, "0");
        Server server(endpoint);
        server.accepts(true);
        CHECK((server.expects(mqtt::PacketType::pubrel) == acknowledgement(0x62, id)));
        if (i == 0) {
            firmware.kill();
            continue;
        }
        CHECK(server.sends(acknowledgement(0x70, id)));
        server.expects_disconnect();
        firmware.passes();
    }
    Powered firmware("cut-in-sending", endpoint.port(), folder, "1");   // nothing is left of it
    Server server(endpoint);
    server.accepts(true);
    const std::string next = server.expects(mqtt::PacketType::publish);
    CHECK((next[0] & 8) == 0);
    CHECK((next.substr(14, 2) != id));   // ids go on where they were
    const std::string next_id = next.substr(14, 2);
    CHECK(server.sends(acknowledgement(0x50, next_id)));
    server.expects(mqtt::PacketType::pubrel);
    CHECK(server.sends(acknowledgement(0x70, next_id)));
    server.expects_disconnect();
    firmware.passes();
}

TEST_CASE("firmware with a journal is told a QoS 2 message once, wherever the power was cut [MQTT-4.3.3-2]") {
    NEEDS_FIRMWARE;
    test::Endpoint endpoint(test::Kind::live);
    const test::TemporaryFolder folder;
    const std::string publish("\x34\x06\x00\x01t\x00\x07!", 8), id = publish.substr(5, 2);
    {
        Powered firmware("cut-in-receiving", endpoint.port(), folder, "2");
        Server server(endpoint);
        server.accepts();
        CHECK(server.sends(publish));
        CHECK((server.expects(mqtt::PacketType::pubrec) == acknowledgement(0x50, id)));
        CHECK(firmware.prints("received"));
        firmware.kill();
    }
    {
        Powered firmware("cut-in-receiving", endpoint.port(), folder, "1");
        Server server(endpoint);
        server.accepts(true);
        CHECK(server.sends("\x3C" + publish.substr(1)));
        CHECK((server.expects(mqtt::PacketType::pubrec) == acknowledgement(0x50, id)));
        CHECK(server.sends(acknowledgement(0x62, id)));
        CHECK((server.expects(mqtt::PacketType::pubcomp) == acknowledgement(0x70, id)));
        CHECK(firmware.out().find("received") == std::string::npos);
        firmware.kill();
    }
    Powered firmware("cut-in-receiving", endpoint.port(), folder, "1");
    Server server(endpoint);
    server.accepts(true);
    CHECK(server.sends(publish));        // another one, with an id that is free again
    CHECK(firmware.prints("received"));
    CHECK((server.expects(mqtt::PacketType::pubrec) == acknowledgement(0x50, id)));
    CHECK(server.sends(acknowledgement(0x62, id)));
    CHECK((server.expects(mqtt::PacketType::pubcomp) == acknowledgement(0x70, id)));
    server.expects_disconnect();
    firmware.passes();
}

TEST_CASE("firmware with a journal whose power is cut again and again: nothing durable is lost, and nothing comes twice") {
    NEEDS_MOSQUITTO;
    const Mosquitto broker;
    const test::TemporaryFolder folder;
    // It does not look until the end, and mosquitto 2.0.11 sends as many QoS 2 messages as come, whatever was acknowledged.
    test::Device<mqtt::posix::Tcp> owner(broker.port, "owner", 4096, 65536, 5000);
    owner.connect();
    owner.subscribe("test/number");
    wire::Random random(1);
    std::vector<std::string> durable;   // in order
    const unsigned cuts = testing::long_run() ? 400 : 40;
    for (unsigned run = 1; run <= cuts + 1; ++run) {
        CAPTURE(run);
        Powered firmware("numbers", broker.port, folder, std::to_string(run) + (run <= cuts ? ",arg=60" : ",arg=20"));
        const std::string begin = "stored " + std::to_string(run) + ".";
        if (run > cuts) {
            firmware.passes();
        } else {
            REQUIRE(firmware.prints(begin + std::to_string(1 + random.below(12)) + "\n"));
            for (size_t spin = random.below(1000000); spin != 0; --spin) asm volatile("");
            firmware.kill();
        }
        const std::string out = firmware.out();
        for (size_t at = out.find(begin); at != out.npos; at = out.find(begin, at + 1)) {
            const size_t end = out.find('\n', at);
            if (end != out.npos) durable.push_back(out.substr(at + 7, end - at - 7));
        }
    }
    size_t found = 0, twice = 0;
    std::set<std::string> seen;
    for (std::string last; last != std::to_string(cuts + 1) + ".20";) {
        const std::string pair = owner.next().payload;
        const uint8_t* const bytes = mqtt::Bytes(pair).data();
        last = std::to_string(mqtt::load_u32(bytes)) + "." + std::to_string(mqtt::load_u32(bytes + 4));
        twice += !seen.insert(last).second;
        found += found != durable.size() && last == durable[found];
    }
    CHECK(twice == 0);
    CHECK(found == durable.size());      // all of them, in order
    CHECK(durable.size() >= cuts);
}

TEST_CASE("firmware whose flash is used in a way that flash does not allow says so, and ends") {
    NEEDS_FIRMWARE;
    const test::TemporaryFolder folder;
    Powered firmware("programmed-twice", 1, folder, "");
    firmware.ends_with(98);
    CHECK(firmware.out() == "assertion failed: flash: programmed twice\n");
}

// ---- examples/firmware

namespace {

// Whoever looks after the thermostat.
struct Owner : test::Device<mqtt::posix::Tcp> {
    explicit Owner(uint16_t broker) : Device(broker, "owner") {
        connect();
        subscribe("thermostat/#");
    }
    // Waits for the next message on this topic; forgets those before.
    std::string next(const std::string& topic) {
        while (true) {
            const Received message = Device::next();
            if (message.topic == "thermostat/" + topic) return message.payload;
        }
    }
    // The temperature comes to these degrees.
    void sees(const std::string& degrees) {
        while (next("temperature").substr(0, degrees.size()) != degrees) {}
    }
    void tells(const std::string& topic, const std::string& text) {
        publish("thermostat/" + topic, text, mqtt::QoS::exactly_once);
    }
};

}  // namespace

TEST_CASE("examples/firmware: the thermostat reports, obeys, refuses nonsense, and says goodbye") {
    NEEDS_MOSQUITTO;
    const Mosquitto broker;
    Owner owner(broker.port);
    Firmware thermostat("", broker.port, "mps2-an385", "thermostat.elf");
    CHECK(owner.next("status") == "online");
    CHECK(owner.next("setpoint") == "20.00");
    CHECK(owner.next("heating") == "off");
    owner.sees("20.");
    owner.tells("set", "warm");
    owner.tells("set", "99");
    owner.tells("set", std::string(1000, '0') + "29");   // comes in pieces, of which the last would be a temperature
    owner.tells("set", "25.5");
    CHECK(owner.next("setpoint") == "25.50");
    CHECK(owner.next("heating") == "on");
    owner.sees("22.");
    CHECK(thermostat.out().find("not a temperature: warm") != std::string::npos);
    owner.tells("stop", "");
    CHECK(owner.next("status") == "offline");
    thermostat.passes();
    CHECK(broker.log().find("Client thermostat disconnected.") != std::string::npos);   // it was not the will
}

TEST_CASE("examples/firmware: the will tells that the thermostat is gone, and what it was told meanwhile is kept for it") {
    NEEDS_MOSQUITTO;
    const Mosquitto broker;
    Owner owner(broker.port);
    {
        Firmware thermostat("", broker.port, "mps2-an385", "thermostat.elf");
        CHECK(owner.next("status") == "online");
        CHECK(owner.next("temperature") != "");          // it has subscribed
        thermostat.kill();
        CHECK(owner.next("status") == "offline");
    }
    owner.tells("set", "21");
    Firmware thermostat("", broker.port, "mps2-an385", "thermostat.elf");
    CHECK(owner.next("status") == "online");
    std::string setpoint = owner.next("setpoint");
    if (setpoint == "20.00") setpoint = owner.next("setpoint");   // told before the command came
    CHECK(setpoint == "21.00");
    owner.tells("stop", "");
    thermostat.passes();
}

TEST_CASE("examples/firmware: the thermostat does the same over TLS") {
    NEEDS_TLS;
    const test::TwoListeners broker("", with("server"));
    Owner owner(broker.plain());
    Firmware thermostat(certificates().path("ca.der"), broker.port, "mps2-an385", "thermostat_tls.elf", "broker.test");
    CHECK(owner.next("status") == "online");
    owner.tells("set", "25.5");
    while (owner.next("setpoint") != "25.50") {}
    owner.tells("stop", "");
    CHECK(owner.next("status") == "offline");
    thermostat.passes();
    CHECK(broker.log().find("Client thermostat disconnected.") != std::string::npos);
}

TEST_CASE("examples/firmware: readings that were on flash when the power was cut arrive, once and in order, broker or not") {
    NEEDS_MOSQUITTO;
    const test::TemporaryFolder data;
    Mosquitto broker("persistence true\npersistence_location " + data.path.string() + "/\n");
    Owner owner(broker.port);
    struct Run {
        long first, last;   // readings that were said to be durable
    };
    const auto powered_until = [&](size_t told) {
        Firmware thermostat((data.path / "flash").string(), broker.port, "mps2-an385", "thermostat_journal.elf");
        std::vector<long> durable;
        REQUIRE(eventually([&] {
            durable.clear();
            const std::string out = thermostat.out(), begin = "on flash: readings up to ";
            for (size_t at = out.find(begin); at != out.npos && out.find('\n', at) != out.npos; at = out.find(begin, at + 1))
                durable.push_back(std::atol(out.c_str() + at + begin.size()));
            return durable.size() >= told || test::pause();
        }));
        thermostat.kill();
        return Run{durable.front(), durable.back()};
    };
    std::vector<Run> runs{powered_until(2)};
    broker.process.stop();
    runs.push_back(powered_until(3));
    runs.push_back(powered_until(3));
    REQUIRE(broker.start());
    runs.push_back(powered_until(3));
    Firmware thermostat((data.path / "flash").string(), broker.port, "mps2-an385", "thermostat_journal.elf");
    std::vector<long> readings;
    while (readings.empty() || readings.back() <= runs.back().last) readings.push_back(std::stol(owner.next("reading")));
    for (size_t i = 1; i < readings.size(); ++i) CHECK(readings[i] > readings[i - 1]);
    for (const Run& run : runs)
        for (long second = run.first; second <= run.last; ++second)
            CHECK(std::count(readings.begin(), readings.end(), second) == 1);
    owner.tells("stop", "");
    thermostat.passes();
}
