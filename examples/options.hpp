// What mqtt_pub, mqtt_sub and logger share: options, exit status, what they tell about events, and how they wait.
#ifndef MQTT_EXAMPLES_OPTIONS_HPP
#define MQTT_EXAMPLES_OPTIONS_HPP

#include "mqtt.hpp"
#include "examples/any_port.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

namespace tool {

using Port = AnyPort;
using Client = mqtt::Client<Port>;

// The exit status tells who is at fault; scripts rely on the numbers. -W has mosquitto's.
enum Exit : int {
    exit_ok = 0,
    exit_trouble = 1,     // this machine: a file, the output
    exit_caller = 2,
    exit_server = 3,
    exit_network = 4,
    exit_storage = 5,
    exit_timeout = 27
};
inline int exit_status(mqtt::Error error) {
    switch (mqtt::fault(error)) {
    case mqtt::Fault::none: return exit_ok;
    case mqtt::Fault::not_now: return exit_trouble;
    case mqtt::Fault::caller: return exit_caller;
    case mqtt::Fault::server: return exit_server;
    case mqtt::Fault::network: break;
    case mqtt::Fault::storage: return exit_storage;
    }
    return exit_network;
}

// ----------------------------------------------------------------------------------------------------- options

enum Tool : unsigned { pub = 1, sub = 2, log = 4, both = pub | sub, all = both | log };

using PropertyList = mqtt::PropertyBuffer<4096>;

struct Options {
    const char* program = "";
    Tool tool = pub;
    mqtt::ConnectOptions connect;
    Address address;
    std::optional<uint16_t> port;          // with -p
    TlsOptions tls;
    std::string client_id;                 // what connect.client_id points to
    std::vector<const char*> topics;       // of pub and log: exactly one
    mqtt::QoS qos = mqtt::QoS::at_most_once;
    uint32_t timeout_s = 0;                // 0: none
    bool debug = false;

    // MQTT 5.
    std::optional<mqtt::Version> version;
    const char* needs_v5 = nullptr;        // the first option that 3.1.1 does not have
    std::optional<uint32_t> session_expiry;
    uint16_t receive_maximum = 20, topic_alias_maximum = 0;
    PropertyList connect_properties, will_properties, publish_properties, subscribe_properties, unsubscribe_properties,
        disconnect_properties;

    // What mqtt_pub sends: exactly one of these.
    const char* message = nullptr;
    const char* file = nullptr;
    bool whole_input = false, lines = false, null_message = false;
    mqtt::Retain retain = mqtt::Retain::no;

    // What mqtt_sub does.
    std::vector<const char*> unsubscribe;
    uint32_t count = 0;                    // 0: no end
    bool verbose = false, no_newline = false, no_retained = false, exit_when_subscribed = false;
    bool properties = false, retain_as_published = false;

    // What logger does. Its reading is the first line of `file`.
    enum class Keep { all, latest, newest };
    Keep keep = Keep::all;
    const char* store = nullptr;
    uint32_t interval_ms = 1000, memory_kb = 1024;
    uint32_t age_s = 0;                    // 0: any
    bool erase_store = false;
};

// Prints "PROGRAM: what" and returns the status.
__attribute__((format(printf, 3, 4))) inline int complain(const Options& options, int status, const char* format, ...) {
    (void)fflush(stdout);
    fprintf(stderr, "%s: ", options.program);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return status;
}

template <class T> bool number(const char* text, unsigned long low, unsigned long high, T& value) {
    char* end = nullptr;
    errno = 0;
    const unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != 0 || errno != 0 || n < low || n > high) return false;
    value = static_cast<T>(n);
    return true;
}

// -V, with the words of mosquitto's tools.
inline bool take_version(Options& o, const char* v) {
    static constexpr struct {
        const char* word;
        mqtt::Version version;
    } words[] = {{"5", mqtt::Version::v5}, {"mqttv5", mqtt::Version::v5}, {"311", mqtt::Version::v3_1_1},
                 {"mqttv311", mqtt::Version::v3_1_1}, {"auto", mqtt::Version::v5_or_v3_1_1}};
    for (const auto& row : words)
        if (strcmp(v, row.word) == 0) o.version = row.version;
    return o.version.has_value() && (mqtt::has_v5 || *o.version == mqtt::Version::v3_1_1);
}

inline bool take_session_expiry(Options& o, const char* v) {
    uint32_t seconds = 0xFFFFFFFF;
    const bool for_ever = strcmp(v, "-1") == 0 || strcmp(v, "\xE2\x88\x9E") == 0;   // the sign for infinity
    if (!for_ever && !number(v, 0, 0xFFFFFFFF, seconds)) return false;
    o.session_expiry = seconds;
    return true;
}

inline bool take_psk(Options& o, const char* v) {
    const std::string_view digits = "0123456789abcdef0123456789ABCDEF";
    o.tls.psk.clear();
    for (; v[0] != 0; v += 2) {
        const size_t high = digits.find(v[0]), low = digits.find(v[1]);   // a 0 at the end is none
        if (high == digits.npos || low == digits.npos) return false;
        o.tls.psk += static_cast<char>(high % 16 * 16 + low % 16);
    }
    return !o.tls.psk.empty();
}

inline bool take_qos(Options& o, const char* v) { return number(v, 0, 2, o.qos); }

inline bool take_client_id(Options& o, const char* v) {
    o.client_id = v;
    return *v != 0 && mqtt::valid_length(v) && mqtt::valid_text(v);
}

inline bool take_keep(Options& o, const char* v) {
    static constexpr const char* words[] = {"all", "latest", "newest"};
    for (size_t i = 0; i < sizeof words / sizeof *words; ++i) {
        if (strcmp(v, words[i]) != 0) continue;
        o.keep = static_cast<Options::Keep>(i);
        return true;
    }
    return false;
}

struct Option {
    const char* name;
    const char* value;                             // null: it takes none
    unsigned tools;
    const char* help;
    bool (*take)(Options& o, const char* value);   // false: not such a value
    bool needs_v5 = false;
    bool for_tls = false;
};

// The order is that of --help. Letters and names are those of mosquitto's tools.
inline const Option option_table[] = {
    {"-h", "HOST", all, "the server's name or address, or more, as mqtts://HOST: see below; default: localhost",
     [](Options& o, const char* v) { return parse_address(v, o.address); }},
    {"-p", "PORT", all, "its TCP port; default: 1883, mqtts 8883, ws 80, wss 443",
     [](Options& o, const char* v) { return number(v, 1, 65535, o.port.emplace()); }},
    {"-t", "TOPIC", pub | log, "publish to this topic",
     [](Options& o, const char* v) { return o.topics.push_back(v), mqtt::valid_topic(v); }},
    {"-t", "FILTER", sub, "subscribe to this topic filter; may be repeated",
     [](Options& o, const char* v) { return o.topics.push_back(v), mqtt::valid_filter(v); }},
    {"-q", "QOS", both, "quality of service: 0, 1 or 2; default: 0", take_qos},
    {"-q", "QOS", log, "quality of service: 1, 2, or 0, at which nothing is stored; default: 2", take_qos},
    {"-m", "TEXT", pub, "send TEXT", [](Options& o, const char* v) { return o.message = v, true; }},
    {"-f", "FILE", pub, "send the content of FILE", [](Options& o, const char* v) { return o.file = v, true; }},
    {"-s", nullptr, pub, "send the standard input as one message",
     [](Options& o, const char*) { return o.whole_input = true; }},
    {"-l", nullptr, pub, "send each line of the standard input as a message",
     [](Options& o, const char*) { return o.lines = true; }},
    {"-n", nullptr, pub, "send an empty message", [](Options& o, const char*) { return o.null_message = true; }},
    {"-r", nullptr, pub | log, "let the server retain it",
     [](Options& o, const char*) { return o.retain = mqtt::Retain::yes, true; }},
    {"-M", "COUNT", pub | log, "at most so many messages of QoS 1 and 2 unanswered at once; default: 20",
     [](Options& o, const char* v) { return number(v, 1, 65535, o.connect.in_flight_maximum); }},
    {"-f", "FILE", log, "the reading: its first line; default: /proc/loadavg", [](Options& o, const char* v) { return o.file = v, true; }},
    {"--interval", "MS", log, "publish one each so many milliseconds; default: 1000",
     [](Options& o, const char* v) { return number(v, 1, 86400000, o.interval_ms); }},
    {"--store", "FOLDER", log, "keep there what is not delivered; it is made if it is not there; needed",
     [](Options& o, const char* v) { return o.store = v, *v != 0; }},
    {"--erase-store", nullptr, log, "if the store is damaged, or has what is for another server or client id, begin it anew",
     [](Options& o, const char*) { return o.connect.replace_session = o.erase_store = true; }},
    {"--memory", "KB", log, "keep so much at most; default: 1024",
     [](Options& o, const char* v) { return number(v, 1, 65536, o.memory_kb); }},
    {"--keep", "WHICH", log, "of those that wait: all, until no more fit; the latest that fit; the newest one; default: all", take_keep},
    {"--max-age", "SECONDS", log, "drop readings that have waited so long, or up to twice as long",
     [](Options& o, const char* v) { return number(v, 1, 2000000, o.age_s); }},
    {"-C", "COUNT", sub, "end after so many messages",
     [](Options& o, const char* v) { return number(v, 1, 4294967295, o.count); }},
    {"-v", nullptr, sub, "print the topic before each message", [](Options& o, const char*) { return o.verbose = true; }},
    {"-N", nullptr, sub, "print no end of line after a message",
     [](Options& o, const char*) { return o.no_newline = true; }},
    {"-R", nullptr, sub, "print no retained messages", [](Options& o, const char*) { return o.no_retained = true; }},
    {"-U", "FILTER", sub, "unsubscribe from this filter; may be repeated; without -t that is all that is done",
     [](Options& o, const char* v) { return o.unsubscribe.push_back(v), mqtt::valid_filter(v); }},
    {"-E", nullptr, sub, "end as soon as the server has answered the subscriptions",
     [](Options& o, const char*) { return o.exit_when_subscribed = true; }},
    {"-W", "SECONDS", all, "end after this time, with exit status 27",
     [](Options& o, const char* v) { return number(v, 1, 2000000, o.timeout_s); }},
    {"-i", "ID", both, "client id; default: a random one", take_client_id},
    {"-i", "ID", log, "client id, the same at each start, and nobody else's; needed", take_client_id},
    {"-c", nullptr, both, "keep the session on the server when this ends; needs -i",
     [](Options& o, const char*) { return o.connect.clean_session = false, true; }},
    {"-k", "SECONDS", all, "keep-alive; 0: none; default: 60",
     [](Options& o, const char* v) { return number(v, 0, 65535, o.connect.keep_alive); }},
    {"-u", "NAME", all, "user name",
     [](Options& o, const char* v) { return o.connect.user_name = v, mqtt::valid_length(v) && mqtt::valid_text(v); }},
    {"-P", "PASSWORD", all, "password; needs -u",
     [](Options& o, const char* v) { return o.connect.password = v, mqtt::valid_length(v); }},
    {"--will-topic", "TOPIC", all, "where the server tells that this client was lost",
     [](Options& o, const char* v) { return o.connect.will.topic = v, mqtt::valid_topic(v); }},
    {"--will-payload", "TEXT", all, "what it tells; default: an empty message",
     [](Options& o, const char* v) { return o.connect.will.message = v, mqtt::valid_length(v); }},
    {"--will-qos", "QOS", all, "at which quality of service; default: 0",
     [](Options& o, const char* v) { return number(v, 0, 2, o.connect.will.qos); }},
    {"--will-retain", nullptr, all, "and that it is retained",
     [](Options& o, const char*) { return o.connect.will.retain = mqtt::Retain::yes, true; }},
    {"--cafile", "FILE", all, "PEM certificates of the CAs to trust; default: those that the system trusts",
     [](Options& o, const char* v) { return o.tls.ca_file = v, *v != 0; }, false, true},
    {"--cert", "FILE", all, "our own certificate, PEM", [](Options& o, const char* v) { return o.tls.certificate_file = v, *v != 0; }, false, true},
    {"--key", "FILE", all, "its private key, PEM", [](Options& o, const char* v) { return o.tls.key_file = v, *v != 0; }, false, true},
    {"--psk", "HEX", all, "a pre-shared key instead of certificates", take_psk, false, true},
    {"--psk-identity", "NAME", all, "its name", [](Options& o, const char* v) { return o.tls.psk_identity = v, *v != 0; }, false, true},
    {"--tls-alpn", "NAME", all, "the protocol to ask for, as AWS wants it on port 443",
     [](Options& o, const char* v) { return o.tls.alpn = v, *v != 0; }, false, true},
    {"--insecure", nullptr, all, "accept a certificate for another host: whoever has one can pose as the server",
     [](Options& o, const char*) { return o.tls.accept_any_host_name = true; }, false, true},
    {"-V", "VERSION", all, "5, 311, or auto (5, and 311 if the server does not know 5); default: 311", take_version},
    {"-D", "PROPERTY", all, "a property, of three or four words: see below", nullptr, true},
    {"-x", "SECONDS", both, "the server keeps the session so long after this ended; -1: for ever, as -c alone",
     take_session_expiry, true},
    {"--properties", nullptr, sub, "print the properties of a message, one in a line, before it",
     [](Options& o, const char*) { return o.properties = true; }, true},
    {"--retain-as-published", nullptr, sub, "the retain flag tells what the publisher said, not whether it was stored",
     [](Options& o, const char*) { return o.retain_as_published = true; }, true},
    {"-d", nullptr, all, "print each event to the standard error output",
     [](Options& o, const char*) { return o.debug = true; }},
};

// -------------------------------------------------------------------------------------------------- properties

// The names are those of the specification, with hyphens; what else is to be known of each is in mqtt::prop::rules.
inline constexpr struct {
    uint8_t id;
    const char* name;
} property_names[] = {
    {mqtt::prop::payload_format_indicator.id, "payload-format-indicator"},
    {mqtt::prop::message_expiry_interval.id, "message-expiry-interval"},
    {mqtt::prop::content_type.id, "content-type"},
    {mqtt::prop::response_topic.id, "response-topic"},
    {mqtt::prop::correlation_data.id, "correlation-data"},
    {mqtt::prop::subscription_identifier.id, "subscription-identifier"},
    {mqtt::prop::session_expiry_interval.id, "session-expiry-interval"},
    {mqtt::prop::assigned_client_identifier.id, "assigned-client-identifier"},
    {mqtt::prop::server_keep_alive.id, "server-keep-alive"},
    {mqtt::prop::authentication_method.id, "authentication-method"},
    {mqtt::prop::authentication_data.id, "authentication-data"},
    {mqtt::prop::request_problem_information.id, "request-problem-information"},
    {mqtt::prop::will_delay_interval.id, "will-delay-interval"},
    {mqtt::prop::request_response_information.id, "request-response-information"},
    {mqtt::prop::response_information.id, "response-information"},
    {mqtt::prop::server_reference.id, "server-reference"},
    {mqtt::prop::reason_string.id, "reason-string"},
    {mqtt::prop::receive_maximum.id, "receive-maximum"},
    {mqtt::prop::topic_alias_maximum.id, "topic-alias-maximum"},
    {mqtt::prop::topic_alias.id, "topic-alias"},
    {mqtt::prop::maximum_qos.id, "maximum-qos"},
    {mqtt::prop::retain_available.id, "retain-available"},
    {mqtt::prop::user_property.id, "user-property"},
    {mqtt::prop::maximum_packet_size.id, "maximum-packet-size"},
    {mqtt::prop::wildcard_subscription_available.id, "wildcard-subscription-available"},
    {mqtt::prop::subscription_identifier_available.id, "subscription-identifier-available"},
    {mqtt::prop::shared_subscription_available.id, "shared-subscription-available"},
};
static_assert(sizeof property_names / sizeof *property_names == sizeof mqtt::prop::rules / sizeof *mqtt::prop::rules,
              "each property has a name");

inline const char* name_of(const mqtt::PropertyRule& rule) {
    for (const auto& row : property_names)
        if (row.id == rule.id) return row.name;
    return "?";
}

struct Command {
    const char* name;
    unsigned tools;
    mqtt::PacketType packet;   // whose properties they are; a will's is `reserved`
    PropertyList Options::*list;
};
inline constexpr Command command_table[] = {
    {"connect", all, mqtt::PacketType::connect, &Options::connect_properties},
    {"will", all, mqtt::PacketType::reserved, &Options::will_properties},
    {"publish", pub | log, mqtt::PacketType::publish, &Options::publish_properties},
    {"subscribe", sub, mqtt::PacketType::subscribe, &Options::subscribe_properties},
    {"unsubscribe", sub, mqtt::PacketType::unsubscribe, &Options::unsubscribe_properties},
    {"disconnect", both, mqtt::PacketType::disconnect, &Options::disconnect_properties},
};

// Some that the table of the specification allows are not for a client, or not for the user.
inline const char* why_not(const Command& command, const mqtt::PropertyRule& rule) {
    if (command.packet == mqtt::PacketType::publish && rule.id == mqtt::prop::topic_alias.id)
        return "mqtt_pub uses topic aliases by itself, at QoS 0, if the server takes them";
    if ((command.packet == mqtt::PacketType::publish && rule.id == mqtt::prop::subscription_identifier.id) ||
        (command.packet == mqtt::PacketType::disconnect && rule.id == mqtt::prop::server_reference.id))
        return "only a server may send it";
    return nullptr;
}
inline bool is_for(const Command& command, const mqtt::PropertyRule& rule) {
    return (rule.packets & mqtt::bit(command.packet)) != 0 && why_not(command, rule) == nullptr;
}

// The properties of CONNECT that are not in a list of it: the client sets them from elsewhere.
inline bool take_as_option(Options& o, const mqtt::PropertyRule& rule, uint32_t value) {
    switch (rule.id) {
    case mqtt::prop::session_expiry_interval.id: o.session_expiry = value; return true;
    case mqtt::prop::maximum_packet_size.id: o.connect.maximum_packet_size = value; return true;
    case mqtt::prop::receive_maximum.id: o.receive_maximum = static_cast<uint16_t>(value); return true;
    case mqtt::prop::topic_alias_maximum.id: o.topic_alias_maximum = static_cast<uint16_t>(value); return true;
    default: return false;
    }
}

inline unsigned long highest(const mqtt::PropertyRule& rule) {
    switch (rule.format) {
    case mqtt::Format::byte: return 1;
    case mqtt::Format::two_bytes: return 0xFFFF;
    case mqtt::Format::variable: return mqtt::max_remaining_length;
    default: return 0xFFFFFFFF;
    }
}

inline void add_property(PropertyList& list, const mqtt::PropertyRule& rule, uint32_t value, char** words) {
    using mqtt::Format;
    using mqtt::prop::Key;
    switch (rule.format) {
    case Format::byte: list.add(Key<Format::byte>{rule.id}, static_cast<uint8_t>(value)); break;
    case Format::two_bytes: list.add(Key<Format::two_bytes>{rule.id}, static_cast<uint16_t>(value)); break;
    case Format::four_bytes: list.add(Key<Format::four_bytes>{rule.id}, value); break;
    case Format::variable: list.add(Key<Format::variable>{rule.id}, value); break;
    case Format::text: list.add(Key<Format::text>{rule.id}, words[0]); break;
    case Format::topic: list.add(Key<Format::topic>{rule.id}, words[0]); break;
    case Format::binary: list.add(Key<Format::binary>{rule.id}, words[0]); break;
    case Format::pair: list.add(Key<Format::pair>{rule.id}, {words[0], words[1]}); break;
    }
}

// -D COMMAND NAME VALUE, or COMMAND user-property NAME VALUE. Returns how many words it took; 0: it has told what is wrong.
inline int take_property(Options& o, char** words, int count) {
    const auto refuse = [&](const std::string& what) { return complain(o, 0, "-D %s", what.c_str()); };
    const auto list_of = [](const std::string& names, const char* name) { return names + (names.empty() ? "" : ", ") + name; };
    if (count < 3) return refuse("needs COMMAND NAME VALUE, as in: -D connect receive-maximum 10");

    const Command* command = nullptr;
    std::string there_are;
    for (const Command& row : command_table) {
        if ((row.tools & o.tool) == 0) continue;
        there_are = list_of(there_are, row.name);
        if (strcasecmp(words[0], row.name) == 0) command = &row;
    }
    if (command == nullptr) return refuse(std::string("'") + words[0] + "' is none of " + there_are);

    const mqtt::PropertyRule* rule = nullptr;
    there_are.clear();
    for (const mqtt::PropertyRule& row : mqtt::prop::rules) {
        if (is_for(*command, row)) there_are = list_of(there_are, name_of(row));
        if (strcmp(words[1], name_of(row)) == 0) rule = &row;
    }
    const std::string what = std::string(command->name) + " " + words[1];
    if (rule == nullptr) return refuse(what + ": no such property; there are " + there_are);
    if (const char* const why = why_not(*command, *rule)) return refuse(what + ": " + why);
    if (!is_for(*command, *rule)) return refuse(what + ": not a property for it; there are " + there_are);

    const int taken = rule->format == mqtt::Format::pair ? 4 : 3;
    if (count < taken) return refuse(what + " needs a name and a value");
    uint32_t value = 0;
    if (rule->format <= mqtt::Format::variable) {
        const unsigned long low = (rule->packets & mqtt::PropertyRule::not_zero) != 0 ? 1 : 0, high = highest(*rule);
        if (!number(words[2], low, high, value))
            return refuse(what + ": '" + words[2] + "' is not a number from " + std::to_string(low) + " to " +
                          std::to_string(high));
    }
    if (command->packet == mqtt::PacketType::connect && take_as_option(o, *rule, value)) return taken;

    PropertyList& list = o.*command->list;
    add_property(list, *rule, value, words + 2);
    if (!list.ok()) return refuse(what + ": more than there is memory for");
    uint32_t seen = 0;
    switch (mqtt::validate(list, command->packet, seen)) {
    case mqtt::Error::ok: return taken;
    case mqtt::Error::protocol_error: return refuse(what + " is there twice");
    default: break;
    }
    const bool topic = rule->format == mqtt::Format::topic;
    return refuse(what + ": '" + words[2] + (topic ? "' is not a topic without wildcards" : "' is not UTF-8"));
}

inline std::string printable(mqtt::Bytes bytes) {
    std::string text;
    const bool is_text = mqtt::valid_text(bytes.text());
    for (const uint8_t byte : bytes) {
        char escaped[5];
        snprintf(escaped, sizeof escaped, "\\x%02X", static_cast<unsigned>(byte));
        const bool plain = byte >= 0x80 ? is_text : byte >= 0x20 && byte != 0x7F && byte != '\\';
        text += plain ? std::string(1, static_cast<char>(byte)) : std::string(escaped);
    }
    return text;
}

// "  NAME: VALUE" for each, and "  user-property: NAME = VALUE".
inline void print(mqtt::Properties list, FILE* to) {
    mqtt::Property property;
    while (list.next(property)) {
        fprintf(to, "  %s: ", name_of(*property.rule));
        if (property.rule->format <= mqtt::Format::variable)
            fprintf(to, "%lu\n", static_cast<unsigned long>(property.number));
        else if (property.rule->format == mqtt::Format::pair)
            fprintf(to, "%s = %s\n", printable(property.name).c_str(), printable(property.data).c_str());
        else
            fprintf(to, "%s\n", printable(property.data).c_str());
    }
}

// ----------------------------------------------------------------------------------------------- the command line

struct ToolText {
    Tool tool;
    const char *name, *what, *id;   // id: of a client id that is made up
};
inline const ToolText& text_of(Tool tool) {
    static constexpr ToolText texts[] = {
        {pub, "mqtt_pub", "publishes messages to an MQTT server", "pub"},
        {sub, "mqtt_sub", "subscribes at an MQTT server and prints the messages", "sub"},
        {log, "logger", "publishes readings to an MQTT server, and keeps them while it is away, also without power", "log"},
    };
    return tool == pub ? texts[0] : tool == sub ? texts[1] : texts[2];
}

inline void print_help(const Options& options) {
    const ToolText& text = text_of(options.tool);
    printf("%s %s.\n\n", options.program, text.what);
    for (const Option& option : option_table)
        if ((option.tools & options.tool) != 0)
            option.value != nullptr ? printf("  %-14s %-8s  %s\n", option.name, option.value, option.help)
                                    : printf("  %-23s  %s\n", option.name, option.help);
    printf("  --help                   print this\n"
           "  --version                print which program this is\n\n"
           "HOST may also be SCHEME://HOST[:PORT][/PATH], where SCHEME is mqtt, mqtts (TLS), ws (WebSocket) or wss (both),\n"
           "and PATH (default: mqtt) is for WebSocket. With HOST alone, options for TLS choose mqtts:");
    for (const Option& option : option_table)
        if (option.for_tls) printf(" %s", option.name);
    printf(".\n\n"
           "Without -V, an option that only MQTT 5 has chooses it, as in mosquitto's tools:");
    for (const Option& option : option_table)
        if (option.needs_v5 && (option.tools & options.tool) != 0) printf(" %s", option.name);
    printf(".\nIf -V auto ends with 3.1.1, they are without effect.\n\n"
           "-D (or --property) COMMAND NAME VALUE, or -D COMMAND user-property NAME VALUE, adds a property:\n");
    for (const Command& command : command_table) {
        if ((command.tools & options.tool) == 0) continue;
        printf("  %s", command.name);
        int width = 80;
        for (const mqtt::PropertyRule& rule : mqtt::prop::rules) {
            if (!is_for(command, rule)) continue;
            if (width > 70) width = printf("\n    ");
            width += printf(" %s", name_of(rule));
        }
        printf("\n");
    }
    printf("\nExit status: 0 success, 1 trouble with a file or the output, %d wrong options, %d the server's fault,\n"
           "%d the network's (host not found, no connection), ", exit_caller, exit_server, exit_network);
    if (options.tool == log) printf("%d the store's, ", exit_storage);
    printf("%d end of the time of -W.\n", exit_timeout);
}

// What several options amount to.
inline void combine(Options& o) {
    mqtt::ConnectOptions& c = o.connect;
    c.version = o.version.value_or(o.needs_v5 != nullptr ? mqtt::Version::v5 : mqtt::Version::v3_1_1);
    c.session_expiry_interval = o.session_expiry.value_or(c.session_expiry_interval);
    if (c.clean_session && o.session_expiry.value_or(0) != 0) {   // -x without -c: a new session, which then stays
        c.clean_session = false;
        c.clean_start = true;
    }
    if (o.address.scheme.empty() && o.tls.any()) o.address.tls = true;
    c.host = o.address.host;
    c.port = o.port.value_or(o.address.port.value_or(static_cast<uint16_t>(o.address.tls ? 8883 : 1883)));
    if (o.tool == log) c.clean_session = false;
    c.adopt_session = o.tool != log;   // a subscriber left nothing unfinished; of a publisher, see the README's limits
    c.properties = o.connect_properties;
    c.will.properties = o.will_properties;
}

// What is wrong with the options as a whole, or null.
inline const char* contradiction(const Options& o) {
    const mqtt::Will& will = o.connect.will;
    if (o.tls.any() && !o.address.tls) return "--cafile, --cert and the like need TLS: mqtts:// or wss://";
    if ((o.tls.certificate_file == nullptr) != (o.tls.key_file == nullptr)) return "--cert and --key belong together";
    if (o.tls.psk.empty() != (o.tls.psk_identity == nullptr)) return "--psk and --psk-identity belong together";
    if (!has_tls && o.address.tls) return "this program was built without TLS";
    const bool about_will = will.message.data() != nullptr || will.qos != mqtt::QoS::at_most_once ||
                            will.retain == mqtt::Retain::yes;
    const bool v5_only = o.connect.version == mqtt::Version::v5;
    if (o.connect.password.data() != nullptr && o.connect.user_name.data() == nullptr && !v5_only)
        return "-P needs -u, or -V 5";
    if (o.tool == log && o.client_id.empty()) return "-i is missing: what is stored belongs to a client id";
    const bool stays = !o.connect.clean_session && (!v5_only || o.connect.session_expiry_interval == 0xFFFFFFFF);
    if (o.connect.clean_start && !v5_only) return "-x needs -V 5, or -c: in 3.1.1 the session would stay for ever";
    if (stays && o.client_id.empty())
        return o.connect.clean_start ? "-x -1 needs -i: a session belongs to a client id"
                                     : "-c needs -i: a session belongs to a client id";
    if (about_will && will.topic.empty()) return "--will-payload, --will-qos and --will-retain need --will-topic";
    if (!o.will_properties.block().empty() && will.topic.empty()) return "-D will needs --will-topic";
    const mqtt::Properties connect = o.connect_properties, disconnect = o.disconnect_properties;
    if (connect.get(mqtt::prop::authentication_data) && !connect.get(mqtt::prop::authentication_method))
        return "-D connect authentication-data needs authentication-method";
    if (o.connect.clean_session && disconnect.get(mqtt::prop::session_expiry_interval).value_or(0) != 0)
        return "-D disconnect session-expiry-interval needs -c or -x: the session ends with the connection";
    if (o.tool == sub) return o.topics.empty() && o.unsubscribe.empty() ? "-t is missing: what to subscribe to" : nullptr;
    if (o.topics.size() != 1) return "exactly one -t is needed: where to publish";
    if (o.tool == log) return o.store == nullptr ? "--store is missing: where to keep what is not delivered" : nullptr;
    const int sources = (o.message != nullptr) + (o.file != nullptr) + o.whole_input + o.lines + o.null_message;
    if (sources != 1) return "exactly one of -m, -f, -s, -l and -n is needed: what to publish";
    return nullptr;
}

// Nothing: go on. Otherwise the exit status.
inline std::optional<int> parse(int argc, char** argv, Tool tool, Options& options) {
    options.program = text_of(tool).name;
    options.tool = tool;
    options.address.host = "localhost";
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = strcmp(argv[i], "--property") == 0 ? "-D" : argv[i];
        if (name == "--help") return print_help(options), exit_ok;
        if (name == "--version") return printf("%s of mqtt.hpp " MQTT_HPP_VERSION "\n", options.program), exit_ok;
        const Option* found = nullptr;
        for (const Option& option : option_table)
            if (name == option.name && (option.tools & tool) != 0) found = &option;
        if (found == nullptr) return complain(options, exit_caller, "unknown option '%s'; --help lists them", argv[i]);
        if (found->needs_v5 && options.needs_v5 == nullptr) options.needs_v5 = found->name;
        if (found->take == nullptr) {
            const int taken = take_property(options, argv + i + 1, argc - i - 1);
            if (taken == 0) return exit_caller;
            i += taken;
            continue;
        }
        if (found->value != nullptr && ++i == argc)
            return complain(options, exit_caller, "%s needs a %s", found->name, found->value);
        if (!found->take(options, argv[i]))
            return complain(options, exit_caller, "'%s' is not a valid %s for %s (%s)", argv[i], found->value, found->name,
                            found->help);
    }
    combine(options);
    if (options.needs_v5 != nullptr && (!mqtt::has_v5 || options.connect.version == mqtt::Version::v3_1_1))
        return complain(options, exit_caller, "%s needs -V 5%s", options.needs_v5,
                        mqtt::has_v5 ? "" : ", which this program was built without");
    if (const char* text = contradiction(options)) return complain(options, exit_caller, "%s", text);
    if (options.client_id.empty()) {
        // Each server takes up to 23 letters and digits [MQTT-3.1.3-5].
        char id[24];
        const unsigned long random = Port().random();
        snprintf(id, sizeof id, "mqtt%s%08lx", text_of(tool).id, random);
        options.client_id = id;
    }
    options.connect.client_id = options.client_id;
    return std::nullopt;
}

// ------------------------------------------------------------------------------------------------------ events

// For -d.
inline void print(const mqtt::Event& event, mqtt::Version version) {
    static constexpr const char* names[] = {"none", "connected", "disconnected", "received", "acknowledged", "subscribed",
        "unsubscribed", "dropped", "resend payload", "skipped", "storage trouble", "authentication", "pubrec", "pubrel",
        "pingresp"};
    const mqtt::Message& m = event.message;
    if (event.kind == mqtt::Event::none) return;
    fputs(names[event.kind], stderr);
    if (event.packet_id != 0) fprintf(stderr, ", id %u", static_cast<unsigned>(event.packet_id));
    if (event.reason != mqtt::ReasonCode::success) fprintf(stderr, ", %s", mqtt::to_string(event.reason));
    switch (event.kind) {
    case mqtt::Event::connected:
        fprintf(stderr, ", MQTT %s, %s session", version == mqtt::Version::v5 ? "5" : "3.1.1",
                event.session_present ? "resumed" : "new");
        break;
    case mqtt::Event::disconnected:
    case mqtt::Event::storage_trouble:
    case mqtt::Event::dropped: fprintf(stderr, ": %s", mqtt::to_string(event.error)); break;
    case mqtt::Event::subscribed:
        for (const uint8_t code : event.reason_codes) {
            if (mqtt::granted(code))
                fprintf(stderr, ", granted QoS %u", static_cast<unsigned>(code));
            else
                fputs(", refused", stderr);
        }
        break;
    case mqtt::Event::received:
    case mqtt::Event::skipped:
        fprintf(stderr, ", QoS %d%s%s, bytes %lu to %lu of %lu: %.*s", static_cast<int>(m.qos), m.retain ? ", retained" : "",
                m.duplicate ? ", DUP" : "", static_cast<unsigned long>(m.offset),
                static_cast<unsigned long>(m.offset + m.payload.size()), static_cast<unsigned long>(m.total),
                static_cast<int>(m.topic.size()), m.topic.data());
        break;
    default: break;
    }
    fputc('\n', stderr);
    print(event.properties, stderr);
    if (m.offset == 0) print(m.properties, stderr);
}

// What the server says about a reason code, if it says something.
inline std::string remark(const mqtt::Properties& properties) {
    std::string text;
    if (const auto reason = properties.get(mqtt::prop::reason_string)) text += " (" + printable(*reason) + ")";
    if (const auto server = properties.get(mqtt::prop::server_reference)) text += "; it refers to " + printable(*server);
    return text;
}

// A reason code by which the server refuses something.
inline void tell_refused(const Options& options, const std::string& what, mqtt::ReasonCode reason, const mqtt::Event& event) {
    complain(options, 0, "the server refuses %s: %s%s", what.c_str(), mqtt::to_string(reason), remark(event.properties).c_str());
}

// Is there no point in connecting again? A server that is only shutting down, say, comes back; one that has taken another
// client of our id would throw that one out next.
inline bool is_final(const mqtt::Event& event) {
    if (event.error == mqtt::Error::connection_refused) return true;
    if (event.error != mqtt::Error::server_disconnected) return false;
    switch (event.reason) {
    case mqtt::ReasonCode::success:
    case mqtt::ReasonCode::unspecified_error:
    case mqtt::ReasonCode::server_busy:
    case mqtt::ReasonCode::server_shutting_down:
    case mqtt::ReasonCode::keep_alive_timeout:
    case mqtt::ReasonCode::connection_rate_exceeded:
    case mqtt::ReasonCode::maximum_connect_time: return false;
    default: return true;
    }
}

// Why the connection ended, and who is at fault. Returns the exit status, should this be the end.
inline int explain(const Options& options, const mqtt::Event& event, const Port& port) {
    const std::string server = std::string(options.connect.host) + ":" + std::to_string(options.connect.port);
    const int status = exit_status(event.error);
    switch (event.error) {
    case mqtt::Error::connection_refused:
        return complain(options, status, "the server %s refuses the connection: %s%s", server.c_str(),
                        mqtt::to_string(event.reason), remark(event.properties).c_str());
    case mqtt::Error::server_disconnected:
        return complain(options, status, "the server %s ends the connection: %s%s", server.c_str(),
                        mqtt::to_string(event.reason), remark(event.properties).c_str());
    case mqtt::Error::connect_failed:
        return complain(options, status, "cannot connect to %s: %s", server.c_str(), port.error_text());
    case mqtt::Error::connection_lost:
        return complain(options, status, "lost the connection to %s: %s", server.c_str(), port.error_text());
    case mqtt::Error::connect_timeout:
        return complain(options, status, "%s does not answer", server.c_str());
    case mqtt::Error::response_timeout:
        return complain(options, status, "%s does not answer any more", server.c_str());
    default:
        return complain(options, status, "the server %s breaks the protocol: %s", server.c_str(), mqtt::to_string(event.error));
    }
}

// An exchange that only the application could go on with.
inline int explain_authentication(const Options& options) {
    return complain(options, exit_caller, "the server wants to go on authenticating, which this program cannot");
}

// Ends the connection; what cannot be said at the end is not worth staying for.
template <class Client> void disconnect(const Options& options, Client& client) {
    if (client.disconnect(mqtt::ReasonCode::success, options.disconnect_properties).ok()) return;
    if (!client.disconnect().ok()) (void)client.abort();
}

// ------------------------------------------------------------------------------------------------------ memory

inline uint8_t received_aliases[1 << 20], sent_aliases[mqtt::max_string_size + 5];

inline mqtt::Buffers buffers(const Options& options, mqtt::Buffer rx, mqtt::Buffer tx) {
    return {rx, tx, options.receive_maximum, options.topic_alias_maximum, received_aliases, sent_aliases};
}

// ----------------------------------------------------------------------------------------------------- waiting

// SIGINT and SIGTERM end the tools in good order; a second one ends them at once.
struct Signals {
    static inline volatile sig_atomic_t came = 0;
    static inline int ends[2] = {-1, -1};   // a pipe: a signal just before poll(2) also wakes it up

    static void on_signal(int) {
        came = 1;
        if (::write(ends[1], "", 1) < 0) came = 1;   // full: it wakes up already
    }
    static bool catch_them() {
        struct sigaction action {};
        action.sa_handler = on_signal;
        action.sa_flags = static_cast<int>(SA_RESETHAND);
        return ::pipe(ends) == 0 && ::sigaction(SIGINT, &action, nullptr) == 0 && ::sigaction(SIGTERM, &action, nullptr) == 0;
    }
};

// Sleeps in one poll(2) until there is something to do: for the connection, for -W, for a signal, or at `input`.
template <class Client> class Waiter {
public:
    Waiter(const Options& options, Port& port, Client& client)
        : options_(options), port_(port), client_(client), timeout_ms_(options.timeout_s * 1000), started_ms_(port.now_ms()) {
        (void)Signals::catch_them();
    }

    // `wants_write`: the application itself has something to write. `input`: another descriptor to read from, or -1. `limit_ms`:
    // the application has something to do then. True: there is something to read at `input`, if only its end.
    bool wait(bool wants_write = false, int input = -1, uint32_t limit_ms = mqtt::forever) {
        uint32_t idle_ms = client_.idle_ms();
        if (idle_ms > limit_ms) idle_ms = limit_ms;
        if (!client_.connected() && idle_ms > port_.address_timeout_ms()) idle_ms = port_.address_timeout_ms();
        if (port_.pending() && (client_.wants_read() || !client_.connected())) idle_ms = 0;
        if (!ending_ && idle_ms > time_left_ms()) idle_ms = time_left_ms();
        pollfd entries[3] = {};
        entries[0].fd = port_.fd();
        entries[0].events = port_.events(wants_write || client_.wants_write(), client_.wants_read());
        entries[1].fd = input;
        entries[1].events = POLLIN;
        entries[2].fd = ending_ ? -1 : Signals::ends[0];
        entries[2].events = POLLIN;
        const int timeout_ms = idle_ms > 0x7FFFFFFF ? -1 : static_cast<int>(idle_ms);
        return ::poll(entries, 3, timeout_ms) > 0 && entries[1].revents != 0;
    }

    // The exit status, once, if it is time to end: -W is over, or a signal came.
    std::optional<int> told_to_end() {
        if (ending_) return std::nullopt;
        ending_ = Signals::came != 0 || time_left_ms() == 0;
        if (!ending_) return std::nullopt;
        return Signals::came != 0 ? exit_ok : complain(options_, exit_timeout, "the time of -W is over");
    }

private:
    uint32_t time_left_ms() const {
        if (timeout_ms_ == 0) return mqtt::forever;
        const uint32_t elapsed = port_.now_ms() - started_ms_;
        return elapsed < timeout_ms_ ? timeout_ms_ - elapsed : 0;
    }

    const Options& options_;
    Port& port_;
    Client& client_;
    const uint32_t timeout_ms_;   // 0: none
    const uint32_t started_ms_;
    bool ending_ = false;
};

}  // namespace tool

#endif
