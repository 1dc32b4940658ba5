// For tests of TLS: a server of mbedTLS in this process, at the other end of a wire that is two strings.
#pragma once

#include <doctest/doctest.h>
#include <mbedtls/ssl_cache.h>
#include <mbedtls/ssl_ticket.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "platform/mbedtls.hpp"
#include "tests/support/bytes.hpp"
#include "tests/support/certificates.hpp"

namespace test {

// ------------------------------------------------------------------------------------------------------- random numbers

// Random enough for TLS within one process, and the same in each run. `random`: a wire::Random.
inline int fill(void* random, unsigned char* out, size_t size) {
    for (size_t i = 0; i != size; ++i) out[i] = static_cast<wire::Random*>(random)->octet();
    return 0;
}

// ------------------------------------------------------------------------------------------------------------- the wire

// The wrapped port: a network under the test's control.
struct Wire {
    std::string to_client, from_client;
    size_t read_limit = SIZE_MAX, write_limit = SIZE_MAX;   // per call
    size_t room = SIZE_MAX;                                 // for writes in all; then they answer "not now"
    bool cut = false;                                       // lost, once what it holds has been read
    bool unwritable = false;                                // write() fails
    bool refuse = false;                                    // open() fails
    bool is_open = false;
    int opens = 0, closes = 0, reads = 0, writes = 0, writes_after_failure = 0;
    bool took_all = true;                                   // the last write() did
    bool waited_for_room = false, slept = false;            // by the last wait()
    bool news = false;                                      // ready() tells it once
    uint32_t clock = 0;

    int open(std::string_view, uint16_t) {
        if (refuse) return -1;
        if (is_open) return 1;
        ++opens;
        is_open = true;
        cut = false;
        to_client.clear();
        from_client.clear();
        return 1;
    }
    int read(uint8_t* data, size_t size) {
        ++reads;
        if (!is_open || size == 0) FAIL("the wrapped port must not be called so");
        const size_t n = std::min({size, read_limit, to_client.size()});
        if (n == 0) return to_client.empty() && cut ? -1 : 0;
        std::copy_n(to_client.begin(), n, data);
        to_client.erase(0, n);
        return static_cast<int>(n);
    }
    int write(const uint8_t* data, size_t size) {
        ++writes;
        if (!is_open || size == 0) FAIL("the wrapped port must not be called so");
        writes_after_failure += unwritable && failed_;
        failed_ = failed_ || unwritable;
        if (unwritable) return -1;
        const size_t n = std::min({size, write_limit, room});
        from_client.append(reinterpret_cast<const char*>(data), n);
        if (room != SIZE_MAX) room -= n;
        took_all = n == size;
        return static_cast<int>(n);
    }
    void close() {
        closes += is_open;
        is_open = failed_ = false;
    }
    bool wait(uint32_t, bool wants_write) {
        slept = true;
        waited_for_room = wants_write;
        return false;
    }
    bool ready() { return std::exchange(news, false); }
    short events(bool wants_write, bool wants_read = true) const { return static_cast<short>(wants_read + 2 * wants_write); }
    uint32_t now_ms() { return clock; }
    uint32_t random() { return 4; }
    const char* error_text() const { return "the wire is cut"; }

private:
    bool failed_ = false;
};

// ----------------------------------------------------------------------------------------------------------- the server

// What a server is like; it must outlive its connections, and keeps tickets and sessions for them.
class ServerSettings {
public:
    const char* const* alpn = nullptr;
    std::string psk, psk_identity, client_ca;
    bool tickets = false, cache = false, old_version = false;
    size_t largest_record = 0;                      // 0: as large as can be

    explicit ServerSettings(const std::string& certificate = "server") {
        mbedtls_x509_crt_init(&certificate_);
        mbedtls_x509_crt_init(&client_ca_);
        mbedtls_pk_init(&key_);
        mbedtls_ssl_ticket_init(&tickets_);
        mbedtls_ssl_cache_init(&cache_);
        if (certificate.empty()) return;
        parse(certificate_, certificates().certificate(certificate));
        REQUIRE(mqtt::mbedtls::detail::parse_key(key_, zero_ended(certificates().key(certificate)), {}, fill, &numbers) == 0);
    }
    ServerSettings(const ServerSettings&) = delete;
    ServerSettings& operator=(const ServerSettings&) = delete;
    ~ServerSettings() {
        mbedtls_x509_crt_free(&certificate_);
        mbedtls_x509_crt_free(&client_ca_);
        mbedtls_pk_free(&key_);
        mbedtls_ssl_ticket_free(&tickets_);
        mbedtls_ssl_cache_free(&cache_);
    }

    void configure(mbedtls_ssl_config& config) {
        REQUIRE(mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) == 0);
        REQUIRE(mqtt::mbedtls::detail::prepare(config) == 0);
        mbedtls_ssl_conf_rng(&config, fill, &numbers);
        if (certificate_.raw.p != nullptr) REQUIRE(mbedtls_ssl_conf_own_cert(&config, &certificate_, &key_) == 0);
        if (!client_ca.empty()) {
            if (client_ca_.raw.p == nullptr) parse(client_ca_, certificates().certificate(client_ca));
            mbedtls_ssl_conf_ca_chain(&config, &client_ca_, nullptr);
            mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
        }
        using mqtt::mbedtls::detail::bytes;
        if (!psk.empty()) REQUIRE(mbedtls_ssl_conf_psk(&config, bytes(psk), psk.size(), bytes(psk_identity), psk_identity.size()) == 0);
        if (alpn != nullptr) REQUIRE(mbedtls_ssl_conf_alpn_protocols(&config, const_cast<const char**>(alpn)) == 0);
        mbedtls_ssl_conf_sni(&config, on_name, this);
        if (tickets && !ready_) REQUIRE(mbedtls_ssl_ticket_setup(&tickets_, fill, &numbers, MBEDTLS_CIPHER_AES_256_GCM, 86400) == 0);
        ready_ = true;
        if (tickets) mbedtls_ssl_conf_session_tickets_cb(&config, write_ticket, parse_ticket, this);
        if (cache) mbedtls_ssl_conf_session_cache(&config, this, find_session, keep_session);
#if MBEDTLS_VERSION_MAJOR < 3
        if (old_version) {
            mbedtls_ssl_conf_min_version(&config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_2);
            mbedtls_ssl_conf_max_version(&config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_2);
        }
#endif
    }

    // What it saw.
    std::vector<std::string> names;                 // SNI of each ClientHello that had it
    int tickets_written = 0, tickets_taken = 0, sessions_found = 0;
    wire::Random numbers{7};

private:
    static std::string_view zero_ended(const std::string& text) { return {text.c_str(), text.size() + 1}; }
    static void parse(mbedtls_x509_crt& chain, const std::string& text) {
        REQUIRE(mbedtls_x509_crt_parse(&chain, mqtt::mbedtls::detail::bytes(text), text.size() + 1) == 0);
    }
    static int on_name(void* self, mbedtls_ssl_context*, const unsigned char* name, size_t size) {
        static_cast<ServerSettings*>(self)->names.emplace_back(reinterpret_cast<const char*>(name), size);
        return 0;
    }
    static int write_ticket(void* self, const mbedtls_ssl_session* session, unsigned char* begin, const unsigned char* end, size_t* size,
                            uint32_t* lifetime) {
        ServerSettings& settings = *static_cast<ServerSettings*>(self);
        ++settings.tickets_written;
        return mbedtls_ssl_ticket_write(&settings.tickets_, session, begin, end, size, lifetime);
    }
    static int parse_ticket(void* self, mbedtls_ssl_session* session, unsigned char* data, size_t size) {
        ServerSettings& settings = *static_cast<ServerSettings*>(self);
        const int code = mbedtls_ssl_ticket_parse(&settings.tickets_, session, data, size);
        settings.tickets_taken += code == 0;
        return code;
    }
#if MBEDTLS_VERSION_MAJOR >= 3
    static int find_session(void* self, const unsigned char* id, size_t size, mbedtls_ssl_session* session) {
        ServerSettings& settings = *static_cast<ServerSettings*>(self);
        const int code = mbedtls_ssl_cache_get(&settings.cache_, id, size, session);
        settings.sessions_found += code == 0;
        return code;
    }
    static int keep_session(void* self, const unsigned char* id, size_t size, const mbedtls_ssl_session* session) {
        return mbedtls_ssl_cache_set(&static_cast<ServerSettings*>(self)->cache_, id, size, session);
    }
#else
    static int find_session(void* self, mbedtls_ssl_session* session) {
        ServerSettings& settings = *static_cast<ServerSettings*>(self);
        const int code = mbedtls_ssl_cache_get(&settings.cache_, session);
        settings.sessions_found += code == 0;
        return code;
    }
    static int keep_session(void* self, const mbedtls_ssl_session* session) {
        return mbedtls_ssl_cache_set(&static_cast<ServerSettings*>(self)->cache_, session);
    }
#endif

    mbedtls_x509_crt certificate_, client_ca_;
    mbedtls_pk_context key_;
    mbedtls_ssl_ticket_context tickets_;
    mbedtls_ssl_cache_context cache_;
    bool ready_ = false;
};

// One connection of it, at the other end of a wire. Its own side of the wire always has room.
class Server {
public:
    Server(ServerSettings& settings, Wire& wire) : wire_(wire) {
        mbedtls_ssl_init(&ssl);
        mbedtls_ssl_config_init(&config);
        settings.configure(config);
        REQUIRE(mbedtls_ssl_setup(&ssl, &config) == 0);
        mbedtls_ssl_set_bio(&ssl, this, send_bytes, receive_bytes, nullptr);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    ~Server() {
        mbedtls_ssl_free(&ssl);
        mbedtls_ssl_config_free(&config);
    }

    // Does what can be done with what has come. When it ends, it closes.
    void step() {
        if (code == 0) go_on();
        wire_.cut = wire_.cut || code != 0;
    }
    // As one record, or several if it is too long for one.
    void send(std::string_view text) {
        while (!text.empty()) {
            const int n = mbedtls_ssl_write(&ssl, mqtt::mbedtls::detail::bytes(text), text.size());
            REQUIRE(n > 0);
            text.remove_prefix(static_cast<size_t>(n));
        }
    }
    void close_notify() { REQUIRE(mbedtls_ssl_close_notify(&ssl) == 0); }

    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    bool done = false;                              // the handshake
    int code = 0;                                   // why it ended; 0: it goes on
    std::string received;
    std::vector<size_t> records;                    // sizes of those that had it
    size_t bytes_sent = 0;

private:
    void go_on() {
        if (!done) {
            const int result = mbedtls_ssl_handshake(&ssl);
            if (result == MBEDTLS_ERR_SSL_WANT_READ) return;
            if (result != 0) code = result;
            done = result == 0;
            if (!done) return;
        }
        unsigned char data[20000];
        int n = 0;
        do {   // after a warning it says "more is needed"
            while ((n = mbedtls_ssl_read(&ssl, data, sizeof data)) > 0) {
                received.append(reinterpret_cast<const char*>(data), static_cast<size_t>(n));
                records.push_back(static_cast<size_t>(n));
            }
        } while (n == MBEDTLS_ERR_SSL_WANT_READ && !wire_.from_client.empty());
        if (n != MBEDTLS_ERR_SSL_WANT_READ) code = n == 0 ? MBEDTLS_ERR_SSL_CONN_EOF : n;
    }
    static int send_bytes(void* self, const unsigned char* data, size_t size) {
        Server& server = *static_cast<Server*>(self);
        server.wire_.to_client.append(reinterpret_cast<const char*>(data), size);
        server.bytes_sent += size;
        return static_cast<int>(size);
    }
    static int receive_bytes(void* self, unsigned char* data, size_t size) {
        std::string& bytes = static_cast<Server*>(self)->wire_.from_client;
        const size_t n = std::min(size, bytes.size());
        std::copy_n(bytes.begin(), n, data);
        bytes.erase(0, n);
        return n != 0 ? static_cast<int>(n) : MBEDTLS_ERR_SSL_WANT_READ;
    }
    Wire& wire_;
};

// ----------------------------------------------------------------------------------------------------------- the client

// A port with random numbers of its own, which trusts the CA.
template <class Port> struct TestPort : mqtt::mbedtls::Tls<Port> {
    explicit TestPort(const char* ca = "ca") {
        this->rng = fill;
        this->rng_context = &numbers;
        if (*ca != 0) REQUIRE(this->add_ca(certificates().certificate(ca)));
    }
    wire::Random numbers{3};
};
using Client = TestPort<Wire>;

// Opens; what open() said last. A handshake that stands still is 0.
inline int open(Client& client, Server& server, std::string_view host = "localhost", uint16_t port = 8883) {
    for (int idle = 0; idle < 3; ++idle) {
        const size_t moved = client.to_client.size() + client.from_client.size();
        const int result = client.open(host, port);
        if (result != 0) return server.step(), result;
        if (client.pending()) idle = 0;
        server.step();
        if (client.to_client.size() + client.from_client.size() != moved) idle = 0;
    }
    return 0;
}

// Reads all there is, `size` bytes at a time. `end`: what the last read() answered.
inline std::string read_all(Client& client, size_t size = 4096, int* end = nullptr) {
    std::string all;
    std::vector<uint8_t> data(size);
    int n = 0;
    while ((n = client.read(data.data(), size)) > 0 || (n == 0 && client.pending()))
        all.append(reinterpret_cast<const char*>(data.data()), static_cast<size_t>(n));
    if (end != nullptr) *end = n;
    return all;
}

// Writes from memory that is scribbled over right after the call.
inline int write(Client& client, std::string_view text) {
    std::vector<uint8_t> block(text.begin(), text.end());
    const int n = client.write(block.data(), block.size());
    std::fill(block.begin(), block.end(), uint8_t{0xEE});
    return n;
}

inline std::string pattern(size_t size) {
    std::string text(size, '\0');
    for (size_t i = 0; i != size; ++i) text[i] = static_cast<char>(i * 7 + i / 251);
    return text;
}

}  // namespace test
