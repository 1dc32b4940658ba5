// tls: throughput over TLS, against a bare mbedTLS loop that sends (or receives) the same bytes in the same record sizes: of
// the port alone, and of the client on it, with all that MQTT costs. Each subject has a connection of its own, and they take
// turns; the network is memory, and the peer's part is not counted. Prints the best of the rounds, in processor time, and how
// they compare. Fails if the port is worse than 1.15 anywhere, or the client with messages of 256 bytes and more.
// tls SUBJECT CASE COUNT: only so many messages, for counting instructions: see tls.sh.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "mqtt.hpp"
#include "platform/mbedtls.hpp"

namespace {

constexpr char key[] = "a key of the bench only", name[] = "bench";
constexpr char topic[] = "sensors/room1/temp";

struct Case {
    const char* name;
    bool sends;        // else it receives
    size_t payload;
    size_t together;   // messages between two polls: what one record may have
};
constexpr Case cases[] = {{"send 16 B, each alone", true, 16, 1}, {"send 16 B", true, 16, 1000}, {"send 256 B", true, 256, 1000},
                          {"send 4 kB", true, 4096, 1000}, {"receive 16 B, each alone", false, 16, 1}, {"receive 16 B", false, 16, 400},
                          {"receive 256 B", false, 256, 57}, {"receive 4 kB", false, 4096, 3}};

// Both directions of a connection. What the client writes is dropped once the handshake is done.
struct Pipe {
    std::string to_client, to_server;
    size_t read_from = 0;
    bool drops = false;

    int open(std::string_view, uint16_t) { return 1; }
    int read(uint8_t* data, size_t size) {
        const size_t n = std::min(size, to_client.size() - read_from);
        memcpy(data, to_client.data() + read_from, n);
        read_from += n;
        return static_cast<int>(n);
    }
    int write(const uint8_t* data, size_t size) {
        if (!drops) to_server.append(reinterpret_cast<const char*>(data), size);
        return static_cast<int>(size);
    }
    void close() {}
    uint32_t now_ms() { return 0; }

    static int send(void* self, const unsigned char* data, size_t size) { return static_cast<Pipe*>(self)->write(data, size); }
    static int receive(void* self, unsigned char* data, size_t size) {
        const int n = static_cast<Pipe*>(self)->read(data, size);
        return n != 0 ? n : MBEDTLS_ERR_SSL_WANT_READ;
    }
};

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "tls: %s\n", what);
    std::exit(1);
}
void check(int code, const char* what) {
    if (code != 0) fail(what);
}

// The same numbers in each run, so that instructions can be compared. For nothing else.
int numbers(void* state, unsigned char* out, size_t size) {
    uint64_t& x = *static_cast<uint64_t*>(state);
    for (size_t i = 0; i != size; ++i) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        out[i] = static_cast<unsigned char>(x >> 32);
    }
    return 0;
}

// An end that uses mbedTLS directly.
struct Bare {
    explicit Bare(int endpoint) {
        mbedtls_ssl_init(&ssl);
        mbedtls_ssl_config_init(&config);
        check(mbedtls_ssl_config_defaults(&config, endpoint, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT), "defaults");
        check(mqtt::mbedtls::detail::prepare(config), "version");
        mbedtls_ssl_conf_rng(&config, numbers, &random);
        using mqtt::mbedtls::detail::bytes;
        check(mbedtls_ssl_conf_psk(&config, bytes(key), sizeof key - 1, bytes(name), sizeof name - 1), "key");
        check(mbedtls_ssl_setup(&ssl, &config), "setup");
        mbedtls_ssl_set_hostname(&ssl, nullptr);
    }
    Bare(const Bare&) = delete;
    Bare& operator=(const Bare&) = delete;
    ~Bare() {
        mbedtls_ssl_free(&ssl);
        mbedtls_ssl_config_free(&config);
    }
    // True: the handshake is done.
    bool step() {
        const int code = mbedtls_ssl_handshake(&ssl);
        if (code != 0 && code != MBEDTLS_ERR_SSL_WANT_READ) fail("handshake");
        return code == 0;
    }

    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    uint64_t random = 88172645463325252;
};

struct Server : Bare {
    explicit Server(Pipe& wire) : Bare(MBEDTLS_SSL_IS_SERVER), pipe(wire) { mbedtls_ssl_set_bio(&ssl, this, send, receive, nullptr); }
    static int send(void* self, const unsigned char* data, size_t size) {
        static_cast<Server*>(self)->pipe.to_client.append(reinterpret_cast<const char*>(data), size);
        return static_cast<int>(size);
    }
    static int receive(void* self, unsigned char* data, size_t size) {
        std::string& bytes = static_cast<Server*>(self)->pipe.to_server;
        const size_t n = std::min(size, bytes.size());
        memcpy(data, bytes.data(), n);
        bytes.erase(0, n);
        return n != 0 ? static_cast<int>(n) : MBEDTLS_ERR_SSL_WANT_READ;
    }
    void say(std::string_view text) {
        if (mbedtls_ssl_write(&ssl, mqtt::mbedtls::detail::bytes(text), text.size()) != static_cast<int>(text.size())) fail("a record was cut");
    }
    Pipe& pipe;
};

// The port, which notes what is written through it if told to.
struct Port : mqtt::mbedtls::Tls<Pipe> {
    std::vector<size_t>* sizes = nullptr;
    std::string* text = nullptr;
    int write(const uint8_t* data, size_t size) {
        const int n = Tls::write(data, size);
        if (sizes != nullptr && n > 0) {
            sizes->push_back(static_cast<size_t>(n));
            text->append(reinterpret_cast<const char*>(data), static_cast<size_t>(n));
        }
        return n;
    }
};

// The client, connected.
struct Client {
    Client() {
        port.rng = numbers;
        port.rng_context = &random;
        port.psk = {key, sizeof key - 1};
        port.psk_identity = {name, sizeof name - 1};
        options.client_id = "bench";
        options.host = "localhost";
        if (!client.connect(options).ok()) fail("connect");
        for (int i = 0; !client.connected(); ++i) {
            if (client.poll().kind == mqtt::Event::disconnected || i == 1000) fail(port.error_text());
            const bool was_done = done;
            done = server.step();
            if (done && !was_done) server.say(std::string_view("\x20\x02\x00\x00", 4));
        }
        port.drops = true;
    }
    void send(const Case& c, size_t count) {
        for (size_t i = 0; i != count;) {
            size_t n = 0;
            while (n != c.together && i + n != count && client.publish(topic, std::string_view(payload, c.payload)).ok()) ++n;
            i += n;
            (void)client.poll();
        }
        while (client.wants_write()) (void)client.poll();
    }
    void receive(size_t count) {
        while (count != 0) {
            const mqtt::Event event = client.poll();
            if (event.kind == mqtt::Event::disconnected) fail(port.error_text());
            if (event.kind == mqtt::Event::received && event.message.complete()) --count;
        }
    }

    uint8_t rx[32768], tx[40000];
    char payload[4096] = {};
    uint64_t random = 362436069;
    Port port;
    Server server{port};
    bool done = false;
    mqtt::ConnectOptions options;
    mqtt::Client<Port> client{port, {rx, tx}};
};

// A loop over the port.
struct PortLoop : Client {
    void send(std::string_view text, const std::vector<size_t>& sizes) {
        for (const size_t size : sizes) {
            if (port.write(mqtt::mbedtls::detail::bytes(text), size) != static_cast<int>(size)) fail("write");
            text.remove_prefix(size);
        }
    }
    void receive(size_t size) {
        while (size != 0) {
            const int n = port.read(rx, sizeof rx);
            if (n <= 0) fail("read");
            size -= static_cast<size_t>(n);
        }
    }
};

// A loop over mbedTLS.
struct Loop : Bare {
    Loop() : Bare(MBEDTLS_SSL_IS_CLIENT) {
        mbedtls_ssl_set_bio(&ssl, &pipe, Pipe::send, Pipe::receive, nullptr);
        for (int i = 0; !handshake_over(); ++i)
            if (i == 1000) fail("handshake");
        pipe.drops = true;
    }
    void send(std::string_view text, const std::vector<size_t>& sizes) {
        for (const size_t size : sizes) {
            if (mbedtls_ssl_write(&ssl, mqtt::mbedtls::detail::bytes(text), size) != static_cast<int>(size)) fail("write");
            text.remove_prefix(size);
        }
    }
    void receive(size_t size) {
        while (size != 0) {
            const int n = mbedtls_ssl_read(&ssl, buffer, sizeof buffer);
            if (n <= 0) fail("read");
            size -= static_cast<size_t>(n);
        }
    }

    bool handshake_over() {
        const bool ours = step(), theirs = server.step();
        return ours && theirs;
    }

    Pipe pipe;
    Server server{pipe};
    uint8_t buffer[32768];
};

double now() {
    timespec time{};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

// What a server sends: `together` messages in a record.
std::string messages(const Case& c) {
    std::vector<uint8_t> bytes(c.payload + 64);
    const std::string text(c.payload, 'x');
    mqtt::Publish packet;
    packet.topic = topic;
    packet.payload = text;
    const mqtt::Encoded encoded = mqtt::encode(packet, {bytes.data(), bytes.size()});
    if (encoded.error != mqtt::Error::ok) fail("encode");
    std::string all;
    for (size_t i = 0; i != c.together; ++i) all.append(reinterpret_cast<const char*>(bytes.data()), encoded.size);
    return all;
}

// `count` of them; how many bytes.
size_t say(Server& server, const Case& c, size_t count) {
    const std::string record = messages(c);
    for (size_t i = 0; i != count; i += c.together) server.say(record);
    return count / c.together * record.size();
}

// Seconds for `count` messages, of one of the subjects.
double run_client(const Case& c, size_t count, std::vector<size_t>* sizes = nullptr, std::string* text = nullptr) {
    auto client = std::make_unique<Client>();
    if (!c.sends) say(client->server, c, count);
    client->port.sizes = sizes;
    client->port.text = text;
    const double begin = now();
    if (c.sends)
        client->send(c, count);
    else
        client->receive(count);
    return now() - begin;
}
template <class Loop> double run_loop(const Case& c, size_t count, std::string_view text, const std::vector<size_t>& sizes) {
    auto loop = std::make_unique<Loop>();
    const size_t size = c.sends ? 0 : say(loop->server, c, count);
    const double begin = now();
    if (c.sends)
        loop->send(text, sizes);
    else
        loop->receive(size);
    return now() - begin;
}

}  // namespace

int main(int argc, char** argv) {
    const auto whole = [](const Case& c, size_t count) { return c.sends ? count : count / c.together * c.together; };   // of records
    if (argc == 4) {
        const Case& c = cases[std::atoi(argv[2])];
        const size_t count = whole(c, static_cast<size_t>(std::atol(argv[3])));
        std::vector<size_t> sizes;
        std::string text;
        if (std::strcmp(argv[1], "client") == 0) return run_client(c, count), 0;
        if (c.sends) {   // without the client, whose instructions would count: the records that it makes
            const size_t most = 16384, all = (c.payload + 22 + (c.payload > 125)) * count;
            const size_t each = c.together == 1 ? c.payload + 22 : most;
            for (size_t left = all; left != 0; left -= sizes.back()) sizes.push_back(std::min(left, each));
            text.assign(all, 'x');
        }
        if (std::strcmp(argv[1], "peer") == 0) return c.sends ? 0 : (say(std::make_unique<Client>()->server, c, count), 0);
        if (std::strcmp(argv[1], "port") == 0) return run_loop<PortLoop>(c, count, text, sizes), 0;
        return run_loop<Loop>(c, count, text, sizes), 0;
    }
    std::printf("bench\tcase\tsubject\tmetric\tvalue\tunit\n");
    bool good = true;
    for (const Case& c : cases) {
        const size_t count = whole(c, c.together == 1 ? 50000 : 20000000 / (c.payload + 22));
        std::vector<size_t> sizes;
        std::string text;
        if (c.sends) (void)run_client(c, count, &sizes, &text);
        const double mb = static_cast<double>(c.payload + 22) * static_cast<double>(count) / 1e6;
        const char* const names[] = {"bare mbedTLS", "port", "client"};
        double best[] = {1e9, 1e9, 1e9};
        for (int round = 0; round != 9; ++round) {
            best[2] = std::min(best[2], run_client(c, count));
            best[1] = std::min(best[1], run_loop<PortLoop>(c, count, text, sizes));
            best[0] = std::min(best[0], run_loop<Loop>(c, count, text, sizes));
        }
        for (int i = 0; i != 3; ++i) std::printf("tls\t%s\t%s\tthroughput\t%.1f\tMB/s\n", c.name, names[i], mb / best[i]);
        for (int i = 1; i != 3; ++i) std::printf("tls\t%s\t%s\ttime against bare mbedTLS\t%.3f\tratio\n", c.name, names[i], best[i] / best[0]);
        good = good && best[1] / best[0] <= 1.15 && (c.payload < 256 || best[2] / best[0] <= 1.15);
    }
    return good ? 0 : 1;
}
