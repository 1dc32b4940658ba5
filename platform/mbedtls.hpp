// mqtt::mbedtls::Tls - TLS with mbedTLS (2.28 or 3.x), as a port that wraps any other port.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
//     mqtt::mbedtls::Tls<mqtt::posix::Tcp> port;        // or mqtt::WebSocket<mqtt::mbedtls::Tls<mqtt::posix::Tcp>>
//     if (!port.add_ca(ca_pem)) std::fprintf(stderr, "%s\n", port.error_text());
//     mqtt::Client client(port, {rx, tx});              // and all the rest as with the port itself
//     // ...
//     case mqtt::Event::disconnected: std::fprintf(stderr, "lost: %s\n", port.error_text()); break;
//     default: port.wait(client.idle_ms(), client.wants_write());
//
// Link with -lmbedtls -lmbedx509 -lmbedcrypto. The wrapped port is a base class, so what it offers besides is there too:
// its settings, fd(), error() (what has the name of something here, through the base class).
//
// Who is trusted. The server must have a certificate that one of the CAs given by add_ca() stands behind, that is valid now
// (if mbedTLS was built with a clock), is not on a list of add_crl(), and is for the host that open() was told: for a name, its
// dNSName entries (or, without any subjectAltName, its common name); for an address, its iPAddress entries and nothing else.
// Or it must know the pre-shared key. With neither a CA nor a key, open() fails before it connects. The two switches that
// loosen this are named after what they do: accept_any_host_name and accept_any_certificate. TLS 1.2 is the oldest version
// that is spoken, and 1.3 is where mbedTLS has it (3.6). The name is sent along (SNI, RFC 6066), an address is not.
//
// Handshake. It is part of open(), which does one step of it per call: it takes at most one public-key operation and one
// record, and never waits. Sessions are resumed (by ticket, or by id) when the same host and port are opened again: a
// handshake without certificates and most of the arithmetic. The session can be kept over a restart: see save_session().
// Renegotiation is refused.
//
// Receiving. Each read() takes at most one record. What mbedTLS has decrypted and read() had no room for, the network does
// not tell of; wait() and pending() do.
//
// Sending. write() makes one record of all that it is given, up to the largest that the server takes (16 kB, or
// max_fragment_length). Encrypting cannot be undone, and the caller's bytes may move and change: so what is in a record
// counts as taken, though the wrapped port may not have had room for all of it. The rest goes out before the next record,
// with the next write(), read() or close(), and wait() knows that it waits for room. If close() comes while there still is
// none, that rest is lost - with it, perhaps, DISCONNECT - as if the network had failed: then the server publishes the will.
//
// The end. close() sends close-notify. If the server's came, read() tells Error::closed; without it, Error::truncated: the
// end may then be anybody's doing. (MQTT loses nothing by it: packets have a length.)
//
// Memory. An object has 3.6 kB (2.28.3, 64 bits; 2.1 kB on a Cortex-M) besides the wrapped port. All else is mbedTLS's and comes from
// mbedtls_calloc(): 0.8 kB for a CA (elliptic curves; RSA: 1.5), 1.8 kB for a session, sizeof(mbedtls_entropy_context) and 0.4 kB
// for the random generator (1.5 kB in all; Debian's build with HAVEGE: 38); from open() to close() two buffers for records of
// MBEDTLS_SSL_IN_CONTENT_LEN and MBEDTLS_SSL_OUT_CONTENT_LEN (16 kB each if not configured) and 3 kB. The most that a handshake
// needs is 46 kB with the certificates of the tests, P-256 and buffers of 16 kB (tests/tls/resumption.cpp measures it). Where
// that comes from is your choice, to be made before anything here is called: mbedtls_platform_set_calloc_free(), or
// mbedtls_memory_buffer_alloc_init() for one static array, of which 54 kB were enough for that, over any number of connections.
// (mbedTLS must be built with MBEDTLS_PLATFORM_MEMORY and MBEDTLS_MEMORY_BUFFER_ALLOC_C, which Debian's is not, and where
// pointers have 64 bits with MBEDTLS_MEMORY_ALIGN_MULTIPLE 8.) Nothing here calls malloc or new.
//
// AWS IoT Core. On port 8883 a client certificate is all; where only port 443 is open, ALPN tells MQTT from HTTPS:
//
//     (void)port.add_ca(amazon_root_ca_1_pem);                       // from amazontrust.com: RSA; "3" is the one for ECC
//     (void)port.set_certificate(device_certificate_pem, private_key_pem);
//     port.alpn = "x-amzn-mqtt-ca";
//     options.host = "PREFIX-ats.iot.REGION.amazonaws.com";          // without "-ats" it is another, older CA
//     options.port = 443;
//     options.keep_alive = 60;                                       // 30 to 1200 seconds
//     options.client_id = "thing";                                   // as the policy of the certificate allows
//
// It closes the connection without CONNACK if the policy does not allow iot:Connect for this client id, and goes by SNI: host
// must be the name.

#ifndef MQTT_PLATFORM_MBEDTLS_HPP
#define MQTT_PLATFORM_MBEDTLS_HPP

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crl.h>
#include <mbedtls/x509_crt.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if MBEDTLS_VERSION_MAJOR >= 3
#include <psa/crypto.h>
#endif

#include <string_view>
#include <utility>

#if !defined(MBEDTLS_PRIVATE)   // 2.28 hides nothing
#define MBEDTLS_PRIVATE(member) member
#define MQTT_UNDEFINE_MBEDTLS_PRIVATE
#endif

namespace mqtt {
namespace mbedtls {

// Why a connection failed or ended, or a call was refused.
enum class Error : uint8_t {
    none,
    network,                // the wrapped port says so: ask that
    // The caller.
    no_trust,               // neither a CA nor a pre-shared key was given: there is nothing to know the server by
    invalid_host,           // cannot be the host of a certificate: empty, more than 253 characters, a 0 in it
    invalid_setting,        // max_fragment_length, or something that this mbedTLS was built without
    invalid_certificate,    // add_ca(), add_crl(), set_certificate(): neither PEM nor DER of such a thing
    invalid_key,            // set_certificate(): not a private key, or not with this password
    wrong_key,              // set_certificate(): the key is another certificate's
    in_use,                 // to be called after close()
    no_memory,
    no_entropy,             // mbedTLS has no source of randomness, or it failed
    // The server's certificate: see verify_flags().
    unknown_ca,             // no CA that is trusted stands behind it (also: it is self-signed)
    revoked,
    expired,
    not_yet_valid,          // or our clock is wrong
    wrong_host,             // it is for another host
    unusable_crl,           // a list of add_crl() is out of date, or not signed by the CA
    unacceptable,           // its key, signature or purpose is not good enough
    // The handshake.
    protocol_version,       // the server wants less than TLS 1.2 (or something else altogether)
    no_answer,              // the connection ended in the handshake: what a server without TLS does
    alert,                  // the server refuses, in the handshake or later: see alert()
    broken,                 // it breaks the protocol, or what came was changed on the way: see tls_code()
    // Later.
    closed,                 // by the server, in good order
    truncated               // the connection ended without close-notify
};

// For logs. error_text() says more.
inline const char* to_string(Error error) {
    switch (error) {
    case Error::none: return "no error";
    case Error::network: return "TLS: the connection was lost";
    case Error::no_trust: return "TLS: neither a CA nor a pre-shared key is set: there is nothing to know the server by";
    case Error::invalid_host: return "TLS: the host is neither a name nor an address";
    case Error::invalid_setting: return "TLS: a setting is invalid, or not in this build of mbedTLS";
    case Error::invalid_certificate: return "TLS: not a certificate (or CRL) in PEM or DER";
    case Error::invalid_key: return "TLS: not a private key in PEM or DER, or the password is wrong";
    case Error::wrong_key: return "TLS: the private key does not belong to the certificate";
    case Error::in_use: return "TLS: this cannot be changed while there is a connection";
    case Error::no_memory: return "TLS: not enough memory";
    case Error::no_entropy: return "TLS: there is no source of randomness";
    case Error::unknown_ca: return "TLS: no CA that is trusted stands behind the server's certificate";
    case Error::revoked: return "TLS: the server's certificate was revoked";
    case Error::expired: return "TLS: the server's certificate has expired";
    case Error::not_yet_valid: return "TLS: the server's certificate is not valid yet (is the clock right?)";
    case Error::wrong_host: return "TLS: the server's certificate is for another host";
    case Error::unusable_crl: return "TLS: the list of revoked certificates is out of date, or not the CA's";
    case Error::unacceptable: return "TLS: the server's certificate has a key, signature or purpose that is not acceptable";
    case Error::protocol_version: return "TLS: the server does not speak TLS 1.2 or later";
    case Error::no_answer: return "TLS: the connection ended in the handshake: does the server speak TLS?";
    case Error::alert: return "TLS: the server refuses";
    case Error::broken: return "TLS: what came is not valid";
    case Error::closed: return "TLS: the server closed the connection";
    case Error::truncated: return "TLS: the connection ended without close-notify";
    }
    return "?";
}

namespace detail {

constexpr bool is_version_3 = MBEDTLS_VERSION_MAJOR >= 3;

constexpr size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
inline const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

// ------------------------------------------------------------------------------- what 2.28 and 3.x have differently

using Random = int(void* context, unsigned char* out, size_t size);

inline int parse_key(mbedtls_pk_context& key, std::string_view text, std::string_view password, Random* random, void* context) {
    const unsigned char* const secret = password.empty() ? nullptr : bytes(password);
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_parse_key(&key, bytes(text), text.size(), secret, password.size(), random, context);
#else
    (void)random;
    (void)context;
    return mbedtls_pk_parse_key(&key, bytes(text), text.size(), secret, password.size());
#endif
}
inline int check_pair(const mbedtls_x509_crt& certificate, const mbedtls_pk_context& key, Random* random, void* context) {
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_pk_check_pair(&certificate.pk, &key, random, context);
#else
    (void)random;
    (void)context;
    return mbedtls_pk_check_pair(&certificate.pk, &key);
#endif
}

// TLS 1.2 and later. Where 3.x has TLS 1.3, that needs PSA, and tells of tickets only if asked to.
inline int prepare(mbedtls_ssl_config& config) {
#if MBEDTLS_VERSION_MAJOR >= 3
    mbedtls_ssl_conf_min_tls_version(&config, MBEDTLS_SSL_VERSION_TLS1_2);
#if defined(MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED) && defined(MBEDTLS_SSL_SESSION_TICKETS)
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(&config, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
#endif
#if defined(MBEDTLS_USE_PSA_CRYPTO) || defined(MBEDTLS_SSL_PROTO_TLS1_3)
    if (psa_crypto_init() != PSA_SUCCESS) return MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED;
#endif
#else
    mbedtls_ssl_conf_min_version(&config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
    return 0;
}

inline bool handshake_over(mbedtls_ssl_context& ssl) {
#if MBEDTLS_VERSION_MAJOR >= 3
    return mbedtls_ssl_is_handshake_over(&ssl) != 0;
#else
    return ssl.state == MBEDTLS_SSL_HANDSHAKE_OVER;
#endif
}

#if MBEDTLS_VERSION_MAJOR >= 3
constexpr int bad_protocol_version = MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION;
constexpr int bad_certificate = MBEDTLS_ERR_SSL_BAD_CERTIFICATE;
constexpr int new_ticket = MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET;
#else
constexpr int bad_protocol_version = MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION;
constexpr int bad_certificate = MBEDTLS_ERR_SSL_BAD_HS_CERTIFICATE;
constexpr int new_ticket = MBEDTLS_ERR_SSL_WANT_READ;      // never told: part of the handshake
#endif

// What from_network() and to_network() tell mbedTLS when the wrapped port has lost the connection: not one of its own codes.
constexpr int lost = -0x7FFF;

// -------------------------------------------------------------------------------------------------------- addresses

// "192.0.2.1"; 4, or 0: it is none.
inline uint8_t parse_ipv4(std::string_view text, uint8_t* out) {
    for (size_t i = 0; i != 4; ++i) {
        unsigned value = 0;
        size_t digits = 0;
        for (; digits != text.size() && text[digits] >= '0' && text[digits] <= '9' && digits != 3; ++digits)
            value = value * 10 + unsigned(text[digits] - '0');
        if (digits == 0 || value > 255 || (digits > 1 && text[0] == '0')) return 0;
        out[i] = uint8_t(value);
        text.remove_prefix(digits);
        if (i == 3) break;
        if (text.empty() || text[0] != '.') return 0;
        text.remove_prefix(1);
    }
    return text.empty() ? 4 : 0;
}

constexpr int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// RFC 4291, section 2.2; 16, or 0: it is none.
inline uint8_t parse_ipv6(std::string_view text, uint8_t* out) {
    constexpr size_t none = 17;
    size_t size = 0, gap = none;                           // gap: where "::" stands
    if (text.size() > 1 && text[0] == ':' && text[1] == ':') {
        gap = 0;
        text.remove_prefix(2);
    }
    while (!text.empty()) {
        const size_t end = smaller(text.find(':'), text.size());
        const std::string_view piece(text.data(), end);
        if (piece.find('.') != std::string_view::npos) {   // the last 32 bits may be an IPv4 address
            if (end != text.size() || size > 12 || parse_ipv4(piece, out + size) == 0) return 0;
            size += 4;
            break;
        }
        if (piece.empty() || piece.size() > 4 || size > 14) return 0;
        unsigned value = 0;
        for (const char c : piece) {
            if (hex_digit(c) < 0) return 0;
            value = value << 4 | unsigned(hex_digit(c));
        }
        out[size++] = uint8_t(value >> 8);
        out[size++] = uint8_t(value);
        text.remove_prefix(end);
        if (text.empty()) break;
        text.remove_prefix(1);
        if (text.empty()) return 0;
        if (text[0] != ':') continue;
        if (gap != none) return 0;
        gap = size;
        text.remove_prefix(1);
    }
    if (gap == none) return size == 16 ? 16 : 0;
    if (size > 14) return 0;
    const size_t tail = size - gap;
    memmove(out + 16 - tail, out + gap, tail);
    memset(out + gap, 0, 16 - size);
    return 16;
}

// ------------------------------------------------------------------------------------------------------------- texts

// RFC 8446, section 6.2, and RFC 5246, section 7.2.2.
inline const char* alert_name(uint8_t alert) {
    static constexpr struct {
        uint8_t number;
        const char* name;
    } names[] = {{10, "unexpected message"}, {20, "bad record MAC"}, {21, "decryption failed"}, {22, "record overflow"},
                 {40, "handshake failure"}, {41, "no certificate"}, {42, "bad certificate"}, {43, "unsupported certificate"},
                 {44, "certificate revoked"}, {45, "certificate expired"}, {46, "certificate unknown"},
                 {47, "illegal parameter"}, {48, "unknown CA"}, {49, "access denied"}, {50, "decode error"},
                 {51, "decrypt error"}, {70, "protocol version"}, {71, "insufficient security"}, {80, "internal error"},
                 {86, "inappropriate fallback"}, {90, "user canceled"}, {100, "no renegotiation"},
                 {109, "missing extension"}, {110, "unsupported extension"}, {112, "unrecognized name"},
                 {115, "unknown PSK identity"}, {116, "certificate required"}, {120, "no application protocol"}};
    for (const auto& row : names)
        if (row.number == alert) return row.name;
    return "alert";
}

// A text put together; what is too much is left out.
class Text {
public:
    void clear() { at_ = 0, text_[0] = '\0'; }
    bool empty() const { return at_ == 0; }
    Text& operator<<(const char* more) {
        while (*more != '\0' && at_ != sizeof text_ - 1) text_[at_++] = *more++;
        text_[at_] = '\0';
        return *this;
    }
    Text& put_number(unsigned value, unsigned base) {
        char digits[12];
        size_t at = sizeof digits;
        digits[--at] = '\0';
        do digits[--at] = "0123456789ABCDEF"[value % base];
        while ((value /= base) != 0);
        return *this << digits + at;
    }
    const char* data() const { return text_; }

private:
    size_t at_ = 0;
    char text_[160] = {};
};

// Which of several reasons is told: the gravest.
constexpr Error reason_of(uint32_t flags) {
    constexpr uint32_t crl = MBEDTLS_X509_BADCRL_NOT_TRUSTED | MBEDTLS_X509_BADCRL_EXPIRED | MBEDTLS_X509_BADCRL_FUTURE |
                             MBEDTLS_X509_BADCRL_BAD_MD | MBEDTLS_X509_BADCRL_BAD_PK | MBEDTLS_X509_BADCRL_BAD_KEY;
    if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0) return Error::unknown_ca;
    if ((flags & MBEDTLS_X509_BADCERT_REVOKED) != 0) return Error::revoked;
    if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0) return Error::expired;
    if ((flags & MBEDTLS_X509_BADCERT_FUTURE) != 0) return Error::not_yet_valid;
    if ((flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0) return Error::wrong_host;
    return (flags & crl) != 0 ? Error::unusable_crl : Error::unacceptable;
}

}  // namespace detail

// ---------------------------------------------------------------------------------- TLS, between two functions for bytes

// The client's side of TLS, without the port: settings, errors, the session. A base class of Tls.
class Layer {
public:
    // Whoever can place himself between this and the server then reads and changes everything. For tests; or while the
    // certificate is checked by other means: verify_flags() has what would have been wrong with it.
    bool accept_any_certificate = false;
    // The certificate must be one of a trusted CA, but may be for any host: whoever has one of these can pose as the server.
    bool accept_any_host_name = false;

    // A pre-shared key and its name, besides CAs or instead of them. Both must stay as they are while they stand here. After
    // a change, forget_session().
    std::string_view psk_identity, psk;

    // The protocol to ask for (RFC 7301), or null. A server that knows ALPN and not this refuses, with alert 120. It must
    // stay as it is.
    const char* alpn = nullptr;

    // Ask the server for smaller records (RFC 6066, section 4), so that smaller buffers will do: 512, 1024, 2048, 4096, or 0:
    // do not. Not every server does so; from one that does not, longer records than there is room for end the connection.
    uint16_t max_fragment_length = 0;

    // Resume sessions. False: each handshake is a full one.
    bool resume = true;

    // The random generator: fills `size` bytes and returns 0, or an error that is not 0. Null: CTR_DRBG, seeded from
    // mbedTLS's sources of entropy. Keys are only as good as this. (For TLS 1.3, 3.6 asks PSA's generator instead.)
    int (*rng)(void* context, unsigned char* out, size_t size) = nullptr;
    void* rng_context = nullptr;

    // ---- certificates. They forget the session. Those that can fail then answer false, and tls_error() says why; in_use
    // (which is told between open() and close()) and no_memory besides those that are named.

    // Adds CAs to trust: one DER certificate or any number in PEM, copied (PEM through a temporary copy). What is not to be
    // understood among several is left out. Errors: invalid_certificate.
    bool add_ca(std::string_view text) { return may_change() && added(parse(ca_, text)); }
    // The same without a copy, from DER that stays where it is: in flash, say. Some 500 bytes of heap less.
    bool add_ca_in_place(std::string_view der) {
        return may_change() && added(mbedtls_x509_crt_parse_der_nocopy(&ca_, detail::bytes(der), der.size()));
    }
    void clear_ca() {
        if (!may_change()) return;
        mbedtls_x509_crt_free(&ca_);
        mbedtls_x509_crt_init(&ca_);
    }
    // Adds a list of revoked certificates, PEM or DER, signed by one of the CAs. Where one is given it must be up to date.
    bool add_crl(std::string_view text) { return may_change() && added(parse(crl_, text)); }
    void clear_crl() {
        if (!may_change()) return;
        mbedtls_x509_crl_free(&crl_);
        mbedtls_x509_crl_init(&crl_);
    }
    // What the server knows us by: a certificate (in PEM, followed by those between it and the CA), and its private key, with
    // the password if it is encrypted (PEM with "Proc-Type", or PKCS #8 as far as mbedTLS knows it). Takes the place of an earlier
    // one, which is gone also if this fails. Errors: invalid_certificate, invalid_key, wrong_key, no_entropy.
    bool set_certificate(std::string_view certificate, std::string_view key, std::string_view password = {}) {
        if (!may_change() || !has_random()) return false;
        clear_certificate();
        if (!added(parse(own_, certificate))) return clear_certificate(), false;
        const int code = with_terminator(key, [&](std::string_view text) {
            return detail::parse_key(key_, text, password, fill_random, this);
        });
        if (code == 0 && detail::check_pair(own_, key_, fill_random, this) == 0) return true;
        clear_certificate();
        if (code == MBEDTLS_ERR_PK_ALLOC_FAILED) return fail(Error::no_memory, code), false;
        return fail(code != 0 ? Error::invalid_key : Error::wrong_key, code), false;
    }
    void clear_certificate() {
        if (!may_change()) return;
        mbedtls_x509_crt_free(&own_);
        mbedtls_x509_crt_init(&own_);
        mbedtls_pk_free(&key_);
        mbedtls_pk_init(&key_);
    }

    // ---- the session, for the next handshake

    // Was this connection's handshake a short one?
    bool resumed() const { return resumed_; }
    bool has_session() const { return has_session_; }
    void forget_session() {
        mbedtls_ssl_session_free(&session_);
        mbedtls_ssl_session_init(&session_);
        has_session_ = false;
    }
    // Writes the session, with the host and port that it is for; returns how many bytes, 0: there is none, or no room. Once
    // per connection is enough (TLS 1.3: a moment after it is open). They are as secret as a password: who has them can read
    // what is said in later connections.
    size_t save_session(uint8_t* out, size_t size) const {
        const size_t host_size = strlen(host_), head = host_size + 5;
        size_t written = 0;
        if (!has_session_ || size < head) return 0;
        if (mbedtls_ssl_session_save(&session_, out + head, size - head, &written) != 0) return 0;
        const uint8_t fields[5] = {session_format, strictness_, uint8_t(host_port_ >> 8), uint8_t(host_port_), uint8_t(host_size)};
        memcpy(out, fields, 5);
        memcpy(out + 5, host_, host_size);
        return head + written;
    }
    // Takes a session back, after a restart. It was checked when it began, with the CAs of then. False: these are no such
    // bytes, or another build of mbedTLS wrote them; then there is none, and the next handshake is a full one.
    bool load_session(const uint8_t* data, size_t size) {
        if (!may_change()) return false;
        const size_t head = size < 5 ? 5 : size_t(data[4]) + 5;
        if (size < head || data[0] != session_format) return false;
        has_session_ = mbedtls_ssl_session_load(&session_, data + head, size - head) == 0;
        if (!has_session_) return forget_session(), false;
        strictness_ = data[1];
        host_port_ = uint16_t(data[2] << 8 | data[3]);
        memcpy(host_, data + 5, head - 5);
        host_[head - 5] = '\0';
        return true;
    }

    // ---- errors, kept until the next

    Error tls_error() const { return error_; }
    int tls_code() const { return code_; }                   // mbedTLS's code, < 0; 0: it was not asked
    uint32_t verify_flags() const { return verify_flags_; }  // MBEDTLS_X509_BADCERT_... of the server's certificate; 0: good
    uint8_t alert() const { return alert_; }                 // with Error::alert: which (RFC 8446, section 6.2)

    // True: read() has something to do without the network telling of it. For another event loop than wait(): then do not
    // sleep, if the client wants to read, or is not connected yet.
    bool pending() const {
        return state_ == State::handshaking ? !dry_ && !blocked_ : state_ == State::open && !dry_;
    }

    Layer(const Layer&) = delete;
    Layer& operator=(const Layer&) = delete;

protected:
    enum class State : uint8_t { idle, connecting, handshaking, open, failed };

    // The wrapped port.
    struct Io {
        int (*read)(Layer& layer, uint8_t* data, size_t size);
        int (*write)(Layer& layer, const uint8_t* data, size_t size);
    };

    Layer() {
        mbedtls_ssl_init(&ssl_);
        mbedtls_ssl_config_init(&config_);
        mbedtls_x509_crt_init(&ca_);
        mbedtls_x509_crl_init(&crl_);
        mbedtls_x509_crt_init(&own_);
        mbedtls_pk_init(&key_);
        mbedtls_ssl_session_init(&session_);
    }
    ~Layer() {
        release();
        forget_session();
        mbedtls_pk_free(&key_);
        mbedtls_x509_crt_free(&own_);
        mbedtls_x509_crl_free(&crl_);
        mbedtls_x509_crt_free(&ca_);
        if (random_ == nullptr) return;
        mbedtls_ctr_drbg_free(&random_->generator);
        mbedtls_entropy_free(&random_->entropy);
        mbedtls_free(random_);
    }

    // All that can be said before there is a connection.
    bool start(std::string_view host, uint16_t port, Io io) {
        if (!accept_any_certificate && ca_.raw.p == nullptr && psk.empty()) return fail(Error::no_trust), false;
        if (!choose_host(host, port)) return fail(Error::invalid_host), false;
        if (!has_random()) return false;
        io_ = io;
        blocked_ = dry_ = told_ = broken_ = resumed_ = full_ = random_failed_ = false;
        alert_ = 0;
        verify_flags_ = 0;
        const int code = configure();
        if (code == 0) {
            state_ = State::connecting;
            return true;
        }
        release();
        fail(code == MBEDTLS_ERR_SSL_ALLOC_FAILED                   ? Error::no_memory
             : code == MBEDTLS_ERR_CTR_DRBG_ENTROPY_SOURCE_FAILED ? Error::no_entropy
                                                                  : Error::invalid_setting, code);
        return false;
    }

    // One step. > 0: the connection is open; 0: not yet; < 0: failed.
    int handshake() {
        begin_reading();
        const int code = mbedtls_ssl_handshake_step(&ssl_);
        full_ = full_ || ssl_.MBEDTLS_PRIVATE(state) == MBEDTLS_SSL_SERVER_CERTIFICATE;
        switch (code) {
        case 0: break;
        case MBEDTLS_ERR_SSL_WANT_READ:
        case MBEDTLS_ERR_SSL_WANT_WRITE:
        case MBEDTLS_ERR_SSL_CRYPTO_IN_PROGRESS: return broken_ && dry_ ? -1 : 0;
        case detail::lost:
        case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
        case MBEDTLS_ERR_SSL_CONN_EOF:
            if (!broken_) fail(Error::no_answer, code);
            return -1;
        default: fail_by(code); return -1;
        }
        if (!detail::handshake_over(ssl_)) return 0;
        if (broken_) return -1;
        verify_flags_ = mbedtls_ssl_get_verify_result(&ssl_);
        resumed_ = offered_ && !full_;
        remember();
        state_ = State::open;
        return 1;
    }

    int decrypt(uint8_t* data, size_t size) {
        if (blocked_ && !broken_) send_rest();
        begin_reading();
        int code = mbedtls_ssl_read(&ssl_, data, size);
        while (detail::is_version_3 && code == detail::new_ticket) {
            remember();
            code = mbedtls_ssl_read(&ssl_, data, size);
        }
        if (code > 0) return code;
        switch (code) {
        case MBEDTLS_ERR_SSL_WANT_READ:
        case MBEDTLS_ERR_SSL_WANT_WRITE:
        case MBEDTLS_ERR_SSL_CRYPTO_IN_PROGRESS:
            if (!broken_ || !dry_) return 0;
            fail(Error::network);
            break;
        case 0:
        case MBEDTLS_ERR_SSL_CONN_EOF:
        case detail::lost:
            if (!broken_) fail(Error::truncated, code);    // else it is known why
            break;
        case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY: fail(Error::closed, code); break;
        default: fail_by(code); break;
        }
        state_ = State::failed;
        return -1;
    }

    int encrypt(const uint8_t* data, size_t size) {
        if (blocked_ && !broken_) send_rest();
        if (broken_) return -1;
        if (blocked_) return 0;
        // From here on mbedTLS has nothing to send. Once it has made a record, WANT_WRITE only tells that it is not gone yet.
        const int most = mbedtls_ssl_get_max_out_record_payload(&ssl_);
        size = detail::smaller(size, most > 0 ? size_t(most) : 1);
        budget_ = max_input;                               // TLS 1.3 may look for a ticket
        int code = mbedtls_ssl_write(&ssl_, data, size);
        while (detail::is_version_3 && code == detail::new_ticket) {
            remember();
            code = mbedtls_ssl_write(&ssl_, data, size);
        }
        if (code > 0) return code;
        if (blocked_ && code == MBEDTLS_ERR_SSL_WANT_WRITE) return int(size);
        if (code == MBEDTLS_ERR_SSL_WANT_WRITE || code == MBEDTLS_ERR_SSL_WANT_READ) return 0;
        if (code != detail::lost) fail_by(code);
        broken_ = true;
        return -1;
    }

    // As far as it goes.
    void say_goodbye() {
        const bool in_order = state_ == State::open || (state_ == State::failed && error_ == Error::closed);
        if (!in_order || broken_) return;
        if (blocked_) send_rest();
        if (!blocked_) (void)mbedtls_ssl_close_notify(&ssl_);
    }
    // Keeps errors, certificates and the session.
    void release() {
        mbedtls_ssl_free(&ssl_);
        mbedtls_ssl_init(&ssl_);
        mbedtls_ssl_config_free(&config_);
        mbedtls_ssl_config_init(&config_);
        state_ = State::idle;
    }

    // wait() should not sleep: it is not known that there is nothing to read. Told once, for the client may not want to read.
    bool due() {
        if (!pending() || told_) return false;
        told_ = state_ == State::open;
        return true;
    }
    bool wants_flush() const { return blocked_ && !broken_; }

    void fail(Error error, int code = 0, const char* network = nullptr) {
        if (state_ == State::handshaking && error != Error::network) forget_session();   // it may be the reason
        error_ = error;
        code_ = code;
        text_.clear();
        if (error == Error::alert) {
            text_ << to_string(error) << ": " << detail::alert_name(alert_) << " (alert ";
            text_.put_number(alert_, 10) << ")";
        } else if (error == Error::broken || error == Error::invalid_setting) {
            text_ << to_string(error) << " (mbedTLS -0x";
            text_.put_number(unsigned(-code), 16) << ")";
        }
        if (network != nullptr) text_ << to_string(error) << ": " << network;
    }
    const char* tls_text() const { return text_.empty() ? to_string(error_) : text_.data(); }

    State state_ = State::idle;

private:
    static constexpr uint8_t session_format = 1;
    // One call of open() or read() takes no more than this from the network: one record and what may stand around it.
    static constexpr size_t max_input = MBEDTLS_SSL_IN_CONTENT_LEN + 2048;

    struct Generator {
        mbedtls_entropy_context entropy;
        mbedtls_ctr_drbg_context generator;
    };

    bool may_change() {
        if (state_ != State::idle) return fail(Error::in_use), false;
        forget_session();
        return true;
    }

    // ---- certificates

    // PEM has to end in 0 for mbedTLS. Calls `parse` with such a copy, if it is PEM and does not.
    template <class Parse> static int with_terminator(std::string_view text, Parse parse) {
        if (text.find("-----BEGIN ") == std::string_view::npos || text.back() == '\0') return parse(text);
        char* const copy = static_cast<char*>(mbedtls_calloc(1, text.size() + 1));
        if (copy == nullptr) return MBEDTLS_ERR_PK_ALLOC_FAILED;
        memcpy(copy, text.data(), text.size());
        const int code = parse(std::string_view(copy, text.size() + 1));
        volatile char* const secret = copy;                // it may be a key
        for (size_t i = 0; i != text.size(); ++i) secret[i] = 0;
        mbedtls_free(copy);
        return code;
    }
    static int parse(mbedtls_x509_crt& chain, std::string_view text) {
        return with_terminator(text, [&](std::string_view t) { return mbedtls_x509_crt_parse(&chain, detail::bytes(t), t.size()); });
    }
    static int parse(mbedtls_x509_crl& list, std::string_view text) {
        return with_terminator(text, [&](std::string_view t) { return mbedtls_x509_crl_parse(&list, detail::bytes(t), t.size()); });
    }
    // mbedTLS: > 0: how many of several could not be read.
    bool added(int code) {
        if (code >= 0) return true;
        const bool full = code == MBEDTLS_ERR_PK_ALLOC_FAILED || code == MBEDTLS_ERR_X509_ALLOC_FAILED;
        fail(full ? Error::no_memory : Error::invalid_certificate, code);
        return false;
    }

    // ---- randomness

    bool has_random() {
        if (rng != nullptr || random_ != nullptr) return true;
        random_ = static_cast<Generator*>(mbedtls_calloc(1, sizeof(Generator)));
        if (random_ == nullptr) return fail(Error::no_memory), false;
        mbedtls_entropy_init(&random_->entropy);
        mbedtls_ctr_drbg_init(&random_->generator);
        const int code = mbedtls_ctr_drbg_seed(&random_->generator, mbedtls_entropy_func, &random_->entropy, nullptr, 0);
        if (code == 0) return true;
        mbedtls_ctr_drbg_free(&random_->generator);
        mbedtls_entropy_free(&random_->entropy);
        mbedtls_free(random_);
        random_ = nullptr;
        return fail(Error::no_entropy, code), false;
    }
    static int fill_random(void* self, unsigned char* out, size_t size) {
        Layer& layer = *static_cast<Layer*>(self);
        const int code = layer.rng != nullptr ? layer.rng(layer.rng_context, out, size)
                                              : mbedtls_ctr_drbg_random(&layer.random_->generator, out, size);
        layer.random_failed_ = layer.random_failed_ || code != 0;
        return code;
    }

    // ---- the beginning

    uint8_t strictness() const { return uint8_t(accept_any_certificate * 2 + accept_any_host_name); }

    // Keeps the host as a certificate has it: an address without brackets and zone, a name without the dot at its end. A
    // session of another host or port, or one that was less strictly checked, is forgotten.
    bool choose_host(std::string_view host, uint16_t port) {
        if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = {host.data() + 1, host.size() - 2};
        const std::string_view without_zone(host.data(), detail::smaller(host.find('%'), host.size()));
        address_size_ = detail::parse_ipv4(host, address_);
        if (address_size_ == 0) address_size_ = detail::parse_ipv6(without_zone, address_);
        if (address_size_ == 16) host = without_zone;
        if (address_size_ == 0 && !host.empty() && host.back() == '.') host.remove_suffix(1);
        if (host.empty() || host.size() > 253 || host.find('\0') != std::string_view::npos) return false;
        if (host != host_ || port != host_port_ || strictness() != strictness_ || !resume) forget_session();
        memcpy(host_, host.data(), host.size());
        host_[host.size()] = '\0';
        host_port_ = port;
        strictness_ = strictness();
        return true;
    }

    int configure() {
        int code = mbedtls_ssl_config_defaults(&config_, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                               MBEDTLS_SSL_PRESET_DEFAULT);
        if (code == 0) code = detail::prepare(config_);
        if (code != 0) return code;
        mbedtls_ssl_conf_rng(&config_, fill_random, this);
        mbedtls_ssl_conf_authmode(&config_, accept_any_certificate ? MBEDTLS_SSL_VERIFY_OPTIONAL : MBEDTLS_SSL_VERIFY_REQUIRED);
        mbedtls_ssl_conf_verify(&config_, verify, this);
        if (ca_.raw.p != nullptr) mbedtls_ssl_conf_ca_chain(&config_, &ca_, crl_.raw.p != nullptr ? &crl_ : nullptr);
        if (own_.raw.p != nullptr) code = mbedtls_ssl_conf_own_cert(&config_, &own_, &key_);
        if (code == 0 && !psk.empty()) code = use_psk();
        if (code == 0 && max_fragment_length != 0) code = use_max_fragment_length();
        if (code == 0 && alpn != nullptr) code = use_alpn();
        if (code == 0) code = mbedtls_ssl_setup(&ssl_, &config_);
        // For an address, null: it is not for SNI, and mbedTLS 2.28 takes it for a name; verify() looks at it.
        if (code == 0) code = mbedtls_ssl_set_hostname(&ssl_, address_size_ == 0 ? host_ : nullptr);
        mbedtls_ssl_set_bio(&ssl_, this, to_network, from_network, nullptr);
        offered_ = code == 0 && has_session_ && mbedtls_ssl_set_session(&ssl_, &session_) == 0;
        if (!offered_) forget_session();
        return code;
    }
    int use_psk() {
#if defined(MBEDTLS_KEY_EXCHANGE_SOME_PSK_ENABLED) || defined(MBEDTLS_KEY_EXCHANGE__SOME__PSK_ENABLED) || \
    defined(MBEDTLS_SSL_HANDSHAKE_WITH_PSK_ENABLED)
        return mbedtls_ssl_conf_psk(&config_, detail::bytes(psk), psk.size(), detail::bytes(psk_identity), psk_identity.size());
#else
        return MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE;
#endif
    }
    int use_max_fragment_length() {
#if defined(MBEDTLS_SSL_MAX_FRAGMENT_LENGTH)
        switch (max_fragment_length) {
        case 512: return mbedtls_ssl_conf_max_frag_len(&config_, MBEDTLS_SSL_MAX_FRAG_LEN_512);
        case 1024: return mbedtls_ssl_conf_max_frag_len(&config_, MBEDTLS_SSL_MAX_FRAG_LEN_1024);
        case 2048: return mbedtls_ssl_conf_max_frag_len(&config_, MBEDTLS_SSL_MAX_FRAG_LEN_2048);
        case 4096: return mbedtls_ssl_conf_max_frag_len(&config_, MBEDTLS_SSL_MAX_FRAG_LEN_4096);
        default: return MBEDTLS_ERR_SSL_BAD_INPUT_DATA;
        }
#else
        return MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE;
#endif
    }
    int use_alpn() {
#if defined(MBEDTLS_SSL_ALPN)
        alpn_list_[0] = alpn;
        return mbedtls_ssl_conf_alpn_protocols(&config_, alpn_list_);
#else
        return MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE;
#endif
    }

    // mbedTLS asks for each certificate of the chain, from the CA to the server's (depth 0), with what it has found wrong.
    static int verify(void* self, mbedtls_x509_crt* certificate, int depth, uint32_t* flags) {
        const Layer& layer = *static_cast<Layer*>(self);
        if (depth != 0) return 0;
        if (layer.address_size_ != 0 && !layer.is_for_address(*certificate)) *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
        if (layer.accept_any_host_name) *flags &= ~uint32_t(MBEDTLS_X509_BADCERT_CN_MISMATCH);
        return 0;
    }
    // RFC 5280, section 4.2.1.6: iPAddress [7], 4 or 16 bytes.
    bool is_for_address(const mbedtls_x509_crt& certificate) const {
        for (const mbedtls_x509_sequence* entry = &certificate.subject_alt_names; entry != nullptr; entry = entry->next) {
            const mbedtls_x509_buf& name = entry->buf;
            if (name.p != nullptr && name.tag == (MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7) && name.len == address_size_ &&
                memcmp(name.p, address_, address_size_) == 0)
                return true;
        }
        return false;
    }

    // ---- between mbedTLS and the wrapped port

    void begin_reading() {
        budget_ = max_input;
        dry_ = told_ = false;
    }
    static int from_network(void* self, unsigned char* data, size_t size) {
        Layer& layer = *static_cast<Layer*>(self);
        if (layer.budget_ == 0) return MBEDTLS_ERR_SSL_WANT_READ;
        const int n = layer.io_.read(layer, data, detail::smaller(size, layer.budget_));
        if (n < 0) return detail::lost;
        layer.dry_ = n == 0;
        layer.budget_ -= size_t(n);
        return n > 0 ? n : MBEDTLS_ERR_SSL_WANT_READ;
    }
    // mbedTLS has nothing left to send if, and only if, the last call of this took all.
    static int to_network(void* self, const unsigned char* data, size_t size) {
        Layer& layer = *static_cast<Layer*>(self);
        // Once it has failed there is no other attempt: a later error would hide why.
        const int n = layer.broken_ ? -1 : layer.io_.write(layer, data, size);
        if (n < 0 && !layer.broken_) layer.fail(Error::network);
        layer.broken_ = layer.broken_ || n < 0;
        // In the handshake, go on as if nothing had happened, to the next time that the server has the word: it may have said
        // why it closed the connection.
        layer.blocked_ = n >= 0 ? size_t(n) != size : layer.state_ != State::handshaking;
        if (n < 0 && !layer.blocked_) return int(size);
        if (n < 0) return detail::lost;
        return n > 0 ? n : MBEDTLS_ERR_SSL_WANT_WRITE;
    }
    // Sends the rest of a record, which must be there: else this would be an alert. (mbedtls_ssl_write() would do it too; but
    // what it returns does not tell whether it has made a record of its argument besides.)
    void send_rest() {
        (void)mbedtls_ssl_send_alert_message(&ssl_, MBEDTLS_SSL_ALERT_LEVEL_WARNING, MBEDTLS_SSL_ALERT_MSG_USER_CANCELED);
    }

    void remember() {
        if (!resume) return;
        forget_session();
        has_session_ = mbedtls_ssl_get_session(&ssl_, &session_) == 0;
        if (!has_session_) forget_session();
    }

    // mbedTLS ends it.
    void fail_by(int code) {
        if (random_failed_) return fail(Error::no_entropy, code);
        if (code == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE) {
            alert_ = ssl_.MBEDTLS_PRIVATE(in_msg)[1];
            return fail(alert_ == MBEDTLS_SSL_ALERT_MSG_PROTOCOL_VERSION ? Error::protocol_version : Error::alert, code);
        }
        const uint32_t flags = state_ == State::handshaking ? mbedtls_ssl_get_verify_result(&ssl_) : 0;
        if (code == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED || (code == detail::bad_certificate && flags != 0 && flags != 0xFFFFFFFF)) {
            verify_flags_ = flags;
            return fail(detail::reason_of(flags), code);
        }
        switch (code) {
        case MBEDTLS_ERR_SSL_CA_CHAIN_REQUIRED: return fail(Error::unknown_ca, code);
        case detail::bad_protocol_version: return fail(Error::protocol_version, code);
        case MBEDTLS_ERR_SSL_ALLOC_FAILED:
        case MBEDTLS_ERR_X509_ALLOC_FAILED:
        case MBEDTLS_ERR_MPI_ALLOC_FAILED:
        case MBEDTLS_ERR_PK_ALLOC_FAILED: return fail(Error::no_memory, code);
        default: return fail(Error::broken, code);
        }
    }

    Io io_ = {};
    mbedtls_ssl_context ssl_;
    mbedtls_ssl_config config_;              // from start() to release(), as ssl_
    mbedtls_x509_crt ca_, own_;
    mbedtls_x509_crl crl_;
    mbedtls_pk_context key_;
    mbedtls_ssl_session session_;            // if has_session_: of host_, host_port_ and strictness_
    Generator* random_ = nullptr;
    const char* alpn_list_[2] = {};

    Error error_ = Error::none;
    uint8_t alert_ = 0;
    uint8_t strictness_ = 0;
    uint16_t host_port_ = 0;
    int code_ = 0;
    uint32_t verify_flags_ = 0;
    size_t budget_ = 0;                      // how much this call may still take from the wrapped port
    bool blocked_ = false;                   // mbedTLS has bytes to send that the wrapped port did not take yet
    bool dry_ = false;                       // the wrapped port has said that there is nothing to read
    bool told_ = false;                      // wait() has told of pending(), and nobody has read since
    bool broken_ = false;                    // writing has failed
    bool offered_ = false;                   // session_ stands in this connection's ClientHello
    bool full_ = false;                      // the server has sent certificates, or would have
    bool resumed_ = false;
    bool random_failed_ = false;
    bool has_session_ = false;
    uint8_t address_size_ = 0;
    uint8_t address_[16] = {};               // of the host, if it is one
    char host_[256] = {};
    detail::Text text_;
};

// ------------------------------------------------------------------------------------------------------------- the port

// `Port`: any port's socket part, with now_ms(). Objects of this class belong to one thread at a time, as those of Port.
template <class Port> class Tls : public Port, public Layer {
public:
    using Port::Port;
    Tls() = default;
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;
    ~Tls() { close(); }

    // Connects, and goes through the handshake, one step per call. > 0: open; 0: not yet, call again after wait(), with the
    // same arguments; < 0: failed, closed, see tls_error().
    int open(std::string_view server, uint16_t server_port) {
        switch (state_) {
        case State::open: return 1;
        case State::failed: return -1;
        case State::idle:
            if (!start(server, server_port, {read_port, write_port})) return -1;
            [[fallthrough]];
        case State::connecting: {
            const int n = Port::open(server, server_port);
            if (n == 0) return 0;
            if (n < 0) {
                fail(Error::network);
                return end_handshake();
            }
            state_ = State::handshaking;
            break;
        }
        case State::handshaking: break;
        }
        const int n = handshake();
        if (n >= 0) return n;
        if (tls_error() == Error::no_answer) fail(Error::no_answer, tls_code(), port_text());
        return end_handshake();
    }

    // Reads up to `size` bytes, of one record. > 0: how many; 0: none yet, or `size` is 0; < 0: the connection is lost or was
    // ended, see tls_error(), or was never open.
    int read(uint8_t* data, size_t size) {
        if (state_ != State::open) return -1;
        return size == 0 ? 0 : decrypt(data, size);
    }

    // Writes up to `size` bytes, as one record. > 0: how many, which may move and change then; 0: none now, wait for room;
    // < 0: the connection is lost, or was ended, or was never open; there may still be something to read.
    int write(const uint8_t* data, size_t size) {
        if (state_ != State::open) return -1;
        return size == 0 ? 0 : encrypt(data, size);
    }

    // Sends what is left of the last record, and close-notify, as far as that can be done at once, and closes the wrapped
    // port. At any time, also twice; does not block. Keeps tls_error() and the session. open() may follow at once.
    void close() {
        say_goodbye();
        release();
        Port::close();
    }

    // The last failure as a text for logs; with Error::network the wrapped port's. Never null; valid until the next call of
    // something that is not const.
    const char* error_text() const { return tls_error() == Error::network ? port_text() : tls_text(); }

    // As the wrapped port's, if it has them. In the handshake they wait for what that needs, and then for room for the rest of
    // a record. wait() and ready() know of pending(), but tell it only once if nobody reads. events() cannot say it: see
    // pending().
    template <class P = Port>
    auto wait(uint32_t idle_ms, bool wants_write) -> decltype(std::declval<P&>().wait(idle_ms, wants_write)) {
        return due() || Port::wait(idle_ms, to_write(wants_write));
    }
    template <class P = Port> auto ready() -> decltype(std::declval<P&>().ready()) { return due() || Port::ready(); }
    template <class P = Port>
    auto events(bool wants_write, bool wants_read = true) const
        -> decltype(std::declval<const P&>().events(wants_write, wants_read)) {
        return Port::events(to_write(wants_write), to_read(wants_read));
    }

    // For a port without them: whether to wait until the wrapped port can be written, or read, if the client wants so.
    bool to_write(bool wants_write) const {
        switch (state_) {
        case State::handshaking: return wants_flush();   // else waiting for the answer would be a busy loop
        case State::open: return wants_write || wants_flush();
        default: return wants_write;
        }
    }
    bool to_read(bool wants_read) const { return state_ == State::handshaking || wants_read; }

private:
    static int read_port(Layer& layer, uint8_t* data, size_t size) { return static_cast<Tls&>(layer).Port::read(data, size); }
    static int write_port(Layer& layer, const uint8_t* data, size_t size) { return static_cast<Tls&>(layer).Port::write(data, size); }

    int end_handshake() {
        release();
        Port::close();
        return -1;
    }

    // The wrapped port's, if it has one: then the first is the better match.
    template <class P> static auto text_of(const P& port, int) -> decltype(port.error_text()) { return port.error_text(); }
    template <class P> static const char* text_of(const P&, long) { return "the connection was lost"; }
    const char* port_text() const { return text_of(static_cast<const Port&>(*this), 0); }
};

}  // namespace mbedtls
}  // namespace mqtt

#if defined(MQTT_UNDEFINE_MBEDTLS_PRIVATE)
#undef MBEDTLS_PRIVATE
#undef MQTT_UNDEFINE_MBEDTLS_PRIVATE
#endif

#endif
