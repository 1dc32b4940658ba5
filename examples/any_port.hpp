// The port of mqtt_pub and mqtt_sub: TCP, WebSocket, TLS, or WebSocket over TLS, chosen when the program runs.
#ifndef MQTT_EXAMPLES_ANY_PORT_HPP
#define MQTT_EXAMPLES_ANY_PORT_HPP

#include "platform/posix.hpp"
#include "platform/websocket.hpp"
#if defined(MQTT_HAS_MBEDTLS)
#include "platform/mbedtls.hpp"
#endif

#include <stdint.h>
#include <stdio.h>

#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace tool {

#if defined(MQTT_HAS_MBEDTLS)
inline constexpr bool has_tls = true;
#else
inline constexpr bool has_tls = false;
#endif

// "SCHEME://HOST[:PORT][/PATH]", or a host alone.
struct Address {
    std::string_view scheme, host, path;
    std::optional<uint16_t> port;
    bool web = false, tls = false;
};

// False: it is none. All parts point into `text`.
inline bool parse_address(std::string_view text, Address& address) {
    static constexpr struct {
        const char* scheme;
        bool web, tls;
        uint16_t port;
    } schemes[] = {{"mqtt", false, false, 1883}, {"mqtts", false, true, 8883}, {"ws", true, false, 80}, {"wss", true, true, 443}};
    address = {};
    const size_t colon = text.find("://");
    if (colon == text.npos) {
        address.host = text;
        return !text.empty();
    }
    address.scheme = text.substr(0, colon);
    for (const auto& row : schemes) {
        if (row.scheme != address.scheme) continue;
        address.web = row.web;
        address.tls = row.tls;
        address.port = row.port;
    }
    if (!address.port) return false;
    text.remove_prefix(colon + 3);
    const size_t slash = std::min(text.find('/'), text.size());
    address.path = text.substr(slash);
    text = text.substr(0, slash);
    if (!address.web && address.path.size() > 1) return false;   // there a path means nothing
    if (text.find('@') != text.npos) return false;               // the user is told with -u and -P
    const size_t bracket = text.rfind(']');                      // an IPv6 address has colons itself
    const size_t number = text.find(':', bracket == text.npos ? 0 : bracket);
    if (number != text.npos) {
        unsigned value = 0;
        if (number + 1 == text.size()) return false;
        for (const char c : text.substr(number + 1)) {
            if (c < '0' || c > '9' || (value = value * 10 + static_cast<unsigned>(c - '0')) > 65535) return false;
        }
        if (value == 0) return false;
        address.port = static_cast<uint16_t>(value);
    }
    address.host = text.substr(0, number);
    return !address.host.empty();
}

// What TLS needs to know, as the command line has it.
struct TlsOptions {
    const char* ca_file = nullptr;
    const char* certificate_file = nullptr;
    const char* key_file = nullptr;
    std::string psk;                       // not in hexadecimal any more
    const char* psk_identity = nullptr;
    const char* alpn = nullptr;
    bool accept_any_host_name = false;

    bool any() const {
        return ca_file != nullptr || certificate_file != nullptr || key_file != nullptr || !psk.empty() || psk_identity != nullptr ||
               alpn != nullptr || accept_any_host_name;
    }
};

class AnyPort {
    template <class Use> decltype(auto) with(Use use) { return std::visit(use, port_); }
    template <class Use> decltype(auto) with(Use use) const { return std::visit(use, port_); }
    // All of them are one.
    mqtt::posix::Tcp& tcp() { return with([](auto& p) -> mqtt::posix::Tcp& { return p; }); }
    const mqtt::posix::Tcp& tcp() const { return with([](const auto& p) -> const mqtt::posix::Tcp& { return p; }); }

public:
    // Before it is used. Empty: good; else what is wrong. `address` and `options` must stay as they are.
    std::string choose(const Address& address, const TlsOptions& options) {
        if (address.web && !address.tls) use_path(port_.emplace<mqtt::WebSocket<mqtt::posix::Tcp>>(), address);
        if (!address.tls) return {};
#if defined(MQTT_HAS_MBEDTLS)
        if (!address.web) return configure(port_.emplace<Tls>(), options);
        auto& port = port_.emplace<mqtt::WebSocket<Tls>>();
        use_path(port, address);
        return configure(port, options);
#else
        (void)options;
        return "this program was built without TLS";
#endif
    }

    int open(std::string_view host, uint16_t port) { return with([&](auto& p) { return p.open(host, port); }); }
    int read(uint8_t* data, size_t size) { return with([&](auto& p) { return p.read(data, size); }); }
    int write(const uint8_t* data, size_t size) { return with([&](auto& p) { return p.write(data, size); }); }
    void close() { with([](auto& p) { p.close(); }); }
    bool pending() const { return with([](const auto& p) { return pending(p, 0); }); }
    short events(bool wants_write, bool wants_read) const { return with([&](const auto& p) { return p.events(wants_write, wants_read); }); }
    const char* error_text() const { return with([](const auto& p) { return p.error_text(); }); }
    uint32_t now_ms() { return tcp().now_ms(); }
    uint32_t random() { return tcp().random(); }
    int fd() const { return tcp().fd(); }
    uint32_t address_timeout_ms() const { return tcp().address_timeout_ms; }

private:
    template <class P> static auto pending(const P& port, int) -> decltype(port.pending()) { return port.pending(); }
    template <class P> static bool pending(const P&, long) { return false; }

    template <class P> static void use_path(P& port, const Address& address) {
        if (address.path.size() > 1) port.path = address.path;   // else the usual "/mqtt"
    }

#if defined(MQTT_HAS_MBEDTLS)
    using Tls = mqtt::mbedtls::Tls<mqtt::posix::Tcp>;

    static bool read_file(const char* name, std::string& text) {
        FILE* const file = fopen(name, "rb");
        if (file == nullptr) return false;
        char piece[4096];
        text.clear();
        for (size_t n = 0; (n = fread(piece, 1, sizeof piece, file)) != 0;) text.append(piece, n);
        const bool good = ferror(file) == 0;
        return fclose(file) == 0 && good;
    }
    // Without --cafile and --psk: the CAs that this system trusts.
    static const char* system_ca_file() {
        for (const char* name : {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}) {
            FILE* const file = fopen(name, "rb");
            if (file == nullptr) continue;
            (void)fclose(file);
            return name;
        }
        return nullptr;
    }
    static std::string configure(mqtt::mbedtls::Layer& tls, const TlsOptions& options) {
        const auto wrong = [](const char* name, const std::string& why) { return "cannot use '" + std::string(name) + "': " + why; };
        tls.accept_any_host_name = options.accept_any_host_name;
        tls.alpn = options.alpn;
        tls.psk = options.psk;
        if (options.psk_identity != nullptr) tls.psk_identity = options.psk_identity;
        std::string text, key;
        const char* const ca_file = options.ca_file == nullptr && options.psk.empty() ? system_ca_file() : options.ca_file;
        if (ca_file != nullptr) {
            if (!read_file(ca_file, text)) return wrong(ca_file, "it cannot be read");
            if (!tls.add_ca(text)) return wrong(ca_file, mqtt::mbedtls::to_string(tls.tls_error()));
        }
        if (options.certificate_file != nullptr) {
            if (!read_file(options.certificate_file, text)) return wrong(options.certificate_file, "it cannot be read");
            if (!read_file(options.key_file, key)) return wrong(options.key_file, "it cannot be read");
            if (!tls.set_certificate(text, key)) {
                const bool about_key = tls.tls_error() != mqtt::mbedtls::Error::invalid_certificate;
                return wrong(about_key ? options.key_file : options.certificate_file, mqtt::mbedtls::to_string(tls.tls_error()));
            }
        }
        return {};
    }

    std::variant<mqtt::posix::Tcp, mqtt::WebSocket<mqtt::posix::Tcp>, Tls, mqtt::WebSocket<Tls>> port_;
#else
    std::variant<mqtt::posix::Tcp, mqtt::WebSocket<mqtt::posix::Tcp>> port_;
#endif
};

}  // namespace tool

#endif
