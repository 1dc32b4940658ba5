// What mqtt_pub and mqtt_sub share: options, exit status, what they tell about events, and how they wait.
#ifndef MQTT_EXAMPLES_OPTIONS_HPP
#define MQTT_EXAMPLES_OPTIONS_HPP

#include "mqtt.hpp"
#include "platform/posix.hpp"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <vector>

namespace tool {

using Port = mqtt::posix::Tcp;   // what else can be connected through is chosen here
using Client = mqtt::Client<Port>;

// The exit status tells who is at fault, with the numbers of mqtt::Fault; -W has mosquitto's number.
enum Exit : int {
    exit_ok = 0,
    exit_trouble = 1,     // this machine: a file, the output
    exit_caller = static_cast<int>(mqtt::Fault::caller),
    exit_server = static_cast<int>(mqtt::Fault::server),
    exit_network = static_cast<int>(mqtt::Fault::network),
    exit_timeout = 27
};
inline int exit_status(mqtt::Error error) { return static_cast<int>(mqtt::fault(error)); }

// ----------------------------------------------------------------------------------------------------- options

enum Tool : unsigned { pub = 1, sub = 2, both = pub | sub };

struct Options {
    const char* program = "";
    Tool tool = pub;
    mqtt::ConnectOptions connect;
    std::string client_id;                 // what connect.client_id points to
    std::vector<const char*> topics;       // of pub: exactly one
    mqtt::QoS qos = mqtt::QoS::at_most_once;
    uint32_t timeout_s = 0;                // 0: none
    bool debug = false;

    // What mqtt_pub sends: exactly one of these.
    const char* message = nullptr;
    const char* file = nullptr;
    bool whole_input = false, lines = false, null_message = false;
    mqtt::Retain retain = mqtt::Retain::no;

    // What mqtt_sub does.
    std::vector<const char*> unsubscribe;
    uint32_t count = 0;                    // 0: no end
    bool verbose = false, no_newline = false, no_retained = false, exit_when_subscribed = false;
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

struct Option {
    const char* name;
    const char* value;                             // null: it takes none
    unsigned tools;
    const char* help;
    bool (*take)(Options& o, const char* value);   // false: not such a value
};

// The order is that of --help. Letters and names are those of mosquitto's tools.
inline const Option option_table[] = {
    {"-h", "HOST", both, "the server's name or address; default: localhost",
     [](Options& o, const char* v) { return o.connect.host = v, *v != 0; }},
    {"-p", "PORT", both, "its TCP port; default: 1883",
     [](Options& o, const char* v) { return number(v, 1, 65535, o.connect.port); }},
    {"-t", "TOPIC", pub, "publish to this topic",
     [](Options& o, const char* v) { return o.topics.push_back(v), mqtt::valid_topic(v); }},
    {"-t", "FILTER", sub, "subscribe to this topic filter; may be repeated",
     [](Options& o, const char* v) { return o.topics.push_back(v), mqtt::valid_filter(v); }},
    {"-q", "QOS", both, "quality of service: 0, 1 or 2; default: 0",
     [](Options& o, const char* v) { return number(v, 0, 2, o.qos); }},
    {"-m", "TEXT", pub, "send TEXT", [](Options& o, const char* v) { return o.message = v, true; }},
    {"-f", "FILE", pub, "send the content of FILE", [](Options& o, const char* v) { return o.file = v, true; }},
    {"-s", nullptr, pub, "send the standard input as one message",
     [](Options& o, const char*) { return o.whole_input = true; }},
    {"-l", nullptr, pub, "send each line of the standard input as a message",
     [](Options& o, const char*) { return o.lines = true; }},
    {"-n", nullptr, pub, "send an empty message", [](Options& o, const char*) { return o.null_message = true; }},
    {"-r", nullptr, pub, "let the server retain it",
     [](Options& o, const char*) { return o.retain = mqtt::Retain::yes, true; }},
    {"-M", "COUNT", pub, "at most so many messages of QoS 1 and 2 unanswered at once; default: 20",
     [](Options& o, const char* v) { return number(v, 1, 65535, o.connect.in_flight_maximum); }},
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
    {"-W", "SECONDS", both, "end after this time, with exit status 27",
     [](Options& o, const char* v) { return number(v, 1, 2000000, o.timeout_s); }},
    {"-i", "ID", both, "client id; default: a random one",
     [](Options& o, const char* v) { return o.client_id = v, *v != 0 && mqtt::valid_length(v) && mqtt::valid_text(v); }},
    {"-c", nullptr, both, "keep the session on the server when this ends; needs -i",
     [](Options& o, const char*) { return o.connect.clean_session = false, true; }},
    {"-k", "SECONDS", both, "keep-alive; 0: none; default: 60",
     [](Options& o, const char* v) { return number(v, 0, 65535, o.connect.keep_alive); }},
    {"-u", "NAME", both, "user name",
     [](Options& o, const char* v) { return o.connect.user_name = v, mqtt::valid_length(v) && mqtt::valid_text(v); }},
    {"-P", "PASSWORD", both, "password; needs -u",
     [](Options& o, const char* v) { return o.connect.password = v, mqtt::valid_length(v); }},
    {"--will-topic", "TOPIC", both, "where the server tells that this client was lost",
     [](Options& o, const char* v) { return o.connect.will.topic = v, mqtt::valid_topic(v); }},
    {"--will-payload", "TEXT", both, "what it tells; default: an empty message",
     [](Options& o, const char* v) { return o.connect.will.message = v, mqtt::valid_length(v); }},
    {"--will-qos", "QOS", both, "at which quality of service; default: 0",
     [](Options& o, const char* v) { return number(v, 0, 2, o.connect.will.qos); }},
    {"--will-retain", nullptr, both, "and that it is retained",
     [](Options& o, const char*) { return o.connect.will.retain = mqtt::Retain::yes, true; }},
    {"-d", nullptr, both, "print each event to the standard error output",
     [](Options& o, const char*) { return o.debug = true; }},
};

inline void print_help(const Options& options) {
    printf(options.tool == pub ? "%s publishes messages to an MQTT 3.1.1 server.\n\n"
                               : "%s subscribes at an MQTT 3.1.1 server and prints the messages.\n\n", options.program);
    for (const Option& option : option_table)
        if ((option.tools & options.tool) != 0)
            printf("  %-14s %-8s  %s\n", option.name, option.value != nullptr ? option.value : "", option.help);
    printf("  --help                   print this\n"
           "  --version                print which program this is\n\n"
           "Exit status: 0 success, 1 trouble with a file or the output, %d wrong options, %d the server's fault,\n"
           "%d the network's (host not found, no connection), %d end of the time of -W.\n",
           exit_caller, exit_server, exit_network, exit_timeout);
}

// What is wrong with the options as a whole, or null.
inline const char* contradiction(const Options& o) {
    const mqtt::Will& will = o.connect.will;
    const bool about_will = will.message.data() != nullptr || will.qos != mqtt::QoS::at_most_once ||
                            will.retain == mqtt::Retain::yes;
    if (o.connect.password.data() != nullptr && o.connect.user_name.data() == nullptr) return "-P needs -u";
    if (!o.connect.clean_session && o.client_id.empty()) return "-c needs -i: a session belongs to a client id";
    if (about_will && will.topic.empty()) return "--will-payload, --will-qos and --will-retain need --will-topic";
    if (o.tool == sub) return o.topics.empty() && o.unsubscribe.empty() ? "-t is missing: what to subscribe to" : nullptr;
    const int sources = (o.message != nullptr) + (o.file != nullptr) + o.whole_input + o.lines + o.null_message;
    if (o.topics.size() != 1) return "exactly one -t is needed: where to publish";
    if (sources != 1) return "exactly one of -m, -f, -s, -l and -n is needed: what to publish";
    return nullptr;
}

// Nothing: go on. Otherwise the exit status.
inline std::optional<int> parse(int argc, char** argv, Tool tool, Options& options) {
    options.program = tool == pub ? "mqtt_pub" : "mqtt_sub";
    options.tool = tool;
    options.connect.host = "localhost";
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--help") return print_help(options), exit_ok;
        if (name == "--version") return printf("%s of mqtt.hpp " MQTT_HPP_VERSION ", for MQTT 3.1.1\n", options.program), exit_ok;
        const Option* found = nullptr;
        for (const Option& option : option_table)
            if (name == option.name && (option.tools & tool) != 0) found = &option;
        if (found == nullptr) return complain(options, exit_caller, "unknown option '%s'; --help lists them", argv[i]);
        if (found->value != nullptr && ++i == argc)
            return complain(options, exit_caller, "%s needs a %s", found->name, found->value);
        if (!found->take(options, argv[i]))
            return complain(options, exit_caller, "'%s' is not a valid %s for %s (%s)", argv[i], found->value, found->name,
                            found->help);
    }
    if (const char* text = contradiction(options)) return complain(options, exit_caller, "%s", text);
    if (options.client_id.empty()) {
        // Each server takes up to 23 letters and digits [MQTT-3.1.3-5].
        char id[24];
        const unsigned long random = Port().random();
        snprintf(id, sizeof id, "mqtt%s%08lx", tool == pub ? "pub" : "sub", random);
        options.client_id = id;
    }
    options.connect.client_id = options.client_id;
    return std::nullopt;
}

// ------------------------------------------------------------------------------------------------------ events

// For -d.
inline void print(const mqtt::Event& event) {
    static constexpr const char* names[] = {"none", "connected", "disconnected", "received", "acknowledged", "subscribed",
        "unsubscribed", "dropped", "resend payload", "skipped", "pubrec", "pubrel", "pingresp"};
    const mqtt::Message& m = event.message;
    if (event.kind == mqtt::Event::none) return;
    fputs(names[event.kind], stderr);
    if (event.packet_id != 0) fprintf(stderr, ", id %u", static_cast<unsigned>(event.packet_id));
    switch (event.kind) {
    case mqtt::Event::connected: fputs(event.session_present ? ", session present" : ", new session", stderr); break;
    case mqtt::Event::disconnected: fprintf(stderr, ": %s", mqtt::to_string(event.error)); break;
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
}

// Why the connection ended, and who is at fault. Returns the exit status, should this be the end.
inline int explain(const Options& options, const mqtt::Event& event, const Port& port) {
    const std::string server = std::string(options.connect.host) + ":" + std::to_string(options.connect.port);
    const int status = exit_status(event.error);
    switch (event.error) {
    case mqtt::Error::connection_refused:
        return complain(options, status, "the server %s refuses the connection: %s", server.c_str(), mqtt::to_string(event.reason));
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
class Waiter {
public:
    Waiter(const Options& options, Port& port, Client& client)
        : options_(options), port_(port), client_(client), timeout_ms_(options.timeout_s * 1000), started_ms_(port.now_ms()) {
        (void)Signals::catch_them();
    }

    // `wants_write`: the application itself has something to write. `input`: another descriptor to read from, or -1.
    // True: there is something to read at `input`, if only its end.
    bool wait(bool wants_write = false, int input = -1) {
        uint32_t idle_ms = client_.idle_ms();
        if (!client_.connected() && idle_ms > port_.address_timeout_ms) idle_ms = port_.address_timeout_ms;
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
