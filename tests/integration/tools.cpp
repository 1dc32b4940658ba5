// The example programs as a user runs them: mqtt_pub, mqtt_sub, publisher, subscriber and gateway, as processes.
//
// MQTT_EXAMPLES names the folder they are in (tests/meson.build sets it). The peer is the embedded broker, in this
// process; mosquitto's own tools where they are installed.
#include "tests/support/broker_tcp.hpp"
#include "tests/support/program.hpp"
#include "tests/support/testing.hpp"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

using test::eventually;
using test::examples;
using test::Program;
using test::text_of;
using test::Words;

namespace {

// Bytes of all values that do not repeat soon.
std::string noise(size_t size) {
    std::string text(size, '\0');
    uint32_t state = 1;
    for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return text;
}

struct Fixture {
    explicit Fixture(test::BrokerConfig config = {}) : broker(0, logged(std::move(config))) { broker.start(); }

    static test::BrokerConfig logged(test::BrokerConfig config) {
        config.log_publishes = true;
        return config;
    }
    // TOOL -h ... -p ... WORDS
    Words tool(const std::string& name, const Words& words) const {
        Words all{name, "-h", "127.0.0.1", "-p", std::to_string(broker.port())};
        all.insert(all.end(), words.begin(), words.end());
        return all;
    }
    // A subscriber that has subscribed.
    std::unique_ptr<Program> subscriber(Words words) {
        words.insert(words.end(), {"-d", "-W", "120"});
        auto program = std::make_unique<Program>(tool("mqtt_sub", words));
        REQUIRE(program->tells("subscribed"));
        return program;
    }
    int publish(const Words& words, const std::string& input_file = {}) {
        Program program(tool("mqtt_pub", words), input_file);
        const int status = program.ends();
        CAPTURE(program.err());
        CHECK(status == 0);
        return status;
    }
    // What clients published, in order.
    std::vector<test::Broker::LoggedPublish> log() {
        return broker.with([](test::Broker& b) { return b.log(); });
    }

    test::TcpBroker broker;
    test::TemporaryFolder folder;
};

const std::string all_qos[] = {"0", "1", "2"};

std::string bytes(std::initializer_list<int> list) {
    std::string out;
    for (const int b : list) out += static_cast<char>(b);
    return out;
}
// A string as it is on the wire.
std::string text(const std::string& value) { return bytes({0, static_cast<int>(value.size())}) + value; }

constexpr int CONNECT = 1, PUBLISH = 3, SUBSCRIBE = 8, UNSUBSCRIBE = 10, DISCONNECT = 14;
int type_of(const std::string& packet) { return static_cast<uint8_t>(packet[0]) >> 4; }

// A server of MQTT 5 and 3.1.1 on TCP that answers small packets (PUBLISH of QoS 0 or 1, SUBSCRIBE and UNSUBSCRIBE of one
// filter), or what the test says: one client after the other, and everything is kept.
class Server {
public:
    struct Answer {
        std::string bytes;
        bool close = false;   // after them
    };
    // The answer to a packet, or nothing: the usual one.
    using Script = std::function<std::optional<Answer>(const std::string& packet)>;

    explicit Server(Script script = [](const std::string&) { return std::nullopt; }) : script_(std::move(script)) {
        port_ = test::free_port(&listener_);
        REQUIRE(::listen(listener_, 10) == 0);
        REQUIRE(::pipe(wake_) == 0);
        thread_ = std::thread([this] { run(); });
    }
    ~Server() {
        CHECK(::write(wake_[1], "", 1) == 1);
        thread_.join();
        for (const int fd : {listener_, wake_[0], wake_[1]}) ::close(fd);
    }
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    Words tool(const std::string& name, const Words& words) const {
        Words all{name, "-h", "127.0.0.1", "-p", std::to_string(port_), "-W", "60"};
        all.insert(all.end(), words.begin(), words.end());
        return all;
    }
    std::vector<std::string> packets(int type) const {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<std::string> some;
        std::copy_if(packets_.begin(), packets_.end(), std::back_inserter(some),
                     [&](const std::string& packet) { return type_of(packet) == type; });
        return some;
    }
    std::string packet(int type) const {
        const auto all = packets(type);
        return all.empty() ? "" : all.back();
    }
    // The protocol levels of all CONNECT packets, as in "54".
    std::string levels() const {
        std::string all;
        for (const std::string& connect : packets(CONNECT)) all += std::to_string(connect.at(connect.find("MQTT") + 4));
        return all;
    }

private:
    Answer usual(const std::string& packet) {
        const auto id = [&](size_t at) { return packet.substr(at, 2); };
        switch (type_of(packet)) {
        case CONNECT:
            v5_ = packet.at(packet.find("MQTT") + 4) == 5;
            return {v5_ ? bytes({0x20, 3, 0, 0, 0}) : bytes({0x20, 2, 0, 0})};
        case PUBLISH:
            return {(packet[0] & 2) == 0 ? "" : bytes({0x40, 2}) + id(4 + static_cast<uint8_t>(packet[3]))};
        case SUBSCRIBE: return {v5_ ? bytes({0x90, 4}) + id(2) + bytes({0, 0}) : bytes({0x90, 3}) + id(2) + bytes({0})};
        case UNSUBSCRIBE: return {v5_ ? bytes({0xB0, 4}) + id(2) + bytes({0, 0}) : bytes({0xB0, 2}) + id(2)};
        default: return {""};
        }
    }
    void run() {
        int client = -1;
        std::string input;
        while (true) {
            pollfd entries[] = {{wake_[0], POLLIN, 0}, {client < 0 ? listener_ : client, POLLIN, 0}};
            if (::poll(entries, 2, -1) < 0) continue;
            if (entries[0].revents != 0) break;
            if (client < 0) {
                client = ::accept(listener_, nullptr, nullptr);
                input.clear();
                continue;
            }
            char piece[4096];
            const ssize_t n = ::recv(client, piece, sizeof piece, 0);
            if (n <= 0) {
                ::close(std::exchange(client, -1));
                continue;
            }
            input.append(piece, static_cast<size_t>(n));
            for (std::string packet = take(input); !packet.empty(); packet = take(input)) {
                {
                    const std::lock_guard<std::mutex> lock(mutex_);
                    packets_.push_back(packet);
                }
                const std::optional<Answer> scripted = script_(packet);
                const Answer answer = scripted ? *scripted : usual(packet);
                ::send(client, answer.bytes.data(), answer.bytes.size(), MSG_NOSIGNAL);
                if (answer.close) ::shutdown(client, SHUT_WR);   // the client does the rest
            }
        }
        if (client >= 0) ::close(client);
    }
    // The first packet, if it is all there.
    static std::string take(std::string& input) {
        mqtt::FixedHeader header;
        const mqtt::Bytes in(input);
        if (mqtt::read_fixed_header(in.data(), in.size(), header, mqtt::Version::v5) != mqtt::Error::ok) return {};
        if (header.size == 0 || in.size() < header.packet_size()) return {};
        const std::string packet = input.substr(0, header.packet_size());
        input.erase(0, packet.size());
        return packet;
    }

    const Script script_;
    uint16_t port_ = 0;
    int listener_ = -1;
    int wake_[2] = {-1, -1};
    bool v5_ = false;
    std::vector<std::string> packets_;
    mutable std::mutex mutex_;
    std::thread thread_;
};

// Ends with this status, and has told this.
void ends_with(const Words& command, int status, const std::string& told) {
    Program program(command);
    CHECK(program.ends() == status);
    CAPTURE(program.err());
    CHECK(program.err().find(told) != std::string::npos);
}

}  // namespace

TEST_CASE("mqtt_pub -m, mqtt_sub -C: a text arrives at each QoS") {
    Fixture f;
    for (const std::string& qos : all_qos) {
        CAPTURE(qos);
        const auto sub = f.subscriber({"-t", "a/#", "-t", "b/+", "-q", qos, "-C", "2", "-v"});
        f.publish({"-t", "a/1", "-m", "hello", "-q", qos});
        f.publish({"-t", "b/2", "-m", "", "-q", qos});
        CHECK(sub->ends() == 0);
        CHECK(sub->out() == "a/1 hello\nb/2 (null)\n");
        CHECK(sub->err().find("QoS " + qos + ", bytes 0 to 5 of 5: a/1") != std::string::npos);
        CHECK(f.log().back().qos == static_cast<mqtt::QoS>(qos[0] - '0'));
    }
}

TEST_CASE("mqtt_pub -r, -n, mqtt_sub -R: retained messages come, are left out, and are removed") {
    Fixture f;
    f.publish({"-t", "r", "-m", "kept", "-r"});
    CHECK(f.broker.with([](test::Broker& b) { return b.retained("r"); }) == "kept");
    Program all(f.tool("mqtt_sub", {"-t", "r", "-C", "1"}));
    CHECK(all.ends() == 0);
    CHECK(all.out() == "kept\n");
    const auto fresh = f.subscriber({"-t", "r", "-R", "-C", "1"});
    f.publish({"-t", "r", "-n", "-r"});
    CHECK(f.broker.with([](test::Broker& b) { return b.retained_count(); }) == 0);
    CHECK(fresh->ends() == 0);   // to a subscription that is there already it comes without the flag
    CHECK(fresh->out().empty());
    CHECK(fresh->err().find("retained") != std::string::npos);
}

TEST_CASE("mqtt_pub -l: lines go out while the input stays open; the last one needs no end of line") {
    Fixture f;
    for (const std::string& qos : all_qos) {
        CAPTURE(qos);
        const auto sub = f.subscriber({"-t", "l", "-q", qos, "-C", "5"});
        Program pub(f.tool("mqtt_pub", {"-t", "l", "-l", "-q", qos}));
        pub.write("one\n");
        CHECK(sub->prints("one\n"));
        pub.write("two\n\nfo");
        CHECK(sub->prints("two\n"));
        pub.write("ur\nfive");
        CHECK(sub->prints("four\n"));
        CHECK(pub.ends() == 0);
        CHECK(sub->ends() == 0);
        CHECK(sub->out() == "one\ntwo\nfour\nfive\n");   // as mosquitto_sub: an empty message prints nothing
    }
}

TEST_CASE("mqtt_pub -l: more than there is memory for waits at the input, and nothing is lost") {
    Fixture f;
    std::string lines;
    for (int i = 0; i < 5000; ++i) lines += std::to_string(i) + std::string(1000, 'x') + "\n";
    const std::string file = f.folder.write("lines", lines);
    for (const Words& how : {Words{"-q", "0"}, Words{"-q", "1", "-M", "3"}, Words{"-q", "2", "-M", "60000"}}) {
        const auto sub = f.subscriber({"-t", "l", "-q", "0", "-C", "5000"});
        Words words{"-t", "l", "-l"};
        words.insert(words.end(), how.begin(), how.end());
        f.publish(words, file);
        CHECK(sub->ends() == 0);
        CHECK((sub->out() == lines));
    }
}

TEST_CASE("mqtt_pub -l: lines that are typed while the server is away arrive when it is back") {
    Fixture f;
    const auto sub = f.subscriber({"-t", "l", "-q", "1", "-C", "3", "-c", "-i", "sub"});
    Program pub(f.tool("mqtt_pub", {"-t", "l", "-l", "-q", "1", "-c", "-i", "pub"}));
    pub.write("one\n");
    CHECK(sub->prints("one\n"));
    f.broker.stop_accepting();
    f.broker.drop_all();
    CHECK(pub.tells("lost the connection"));
    pub.write("two\nthree\n");
    f.broker.start_accepting();
    CHECK(pub.ends() == 0);
    CHECK(sub->ends() == 0);
    CHECK(sub->out() == "one\ntwo\nthree\n");
}

TEST_CASE("mqtt_pub -s, -f: the whole input, a file, an empty file, and what is no regular file") {
    Fixture f;
    const std::string file = f.folder.write("file", "two\nlines"), empty = f.folder.write("empty", "");
    const auto sub = f.subscriber({"-t", "s", "-C", "4", "-N", "-v"});
    f.publish({"-t", "s", "-s"}, file);
    f.publish({"-t", "s", "-f", file});
    f.publish({"-t", "s", "-f", empty});
    {
        const std::string pipe = (f.folder.path / "pipe").string();
        REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
        Program pub(f.tool("mqtt_pub", {"-t", "s", "-f", pipe}));
        std::ofstream(pipe) << "from a pipe";
        CHECK(pub.ends() == 0);
    }
    CHECK(sub->ends() == 0);
    CHECK(sub->out() == "s two\nliness two\nliness (null)s from a pipe");
    Program pub(f.tool("mqtt_pub", {"-t", "s", "-f", (f.folder.path / "none").string()}));
    CHECK(pub.ends() == 1);
    CHECK(pub.err().find("No such file") != std::string::npos);
}

TEST_CASE("a message of 5 MB goes both ways, from a file, the input, and as one line") {
    Fixture f;
    std::string text = noise(5000000);
    const std::string file = f.folder.write("large", text);
    for (const std::string& qos : all_qos) {
        for (const Words& how : {Words{"-f", file}, Words{"-s"}, Words{"-l"}}) {
            CAPTURE(qos);
            CAPTURE(how[0]);
            std::string input = file, expected = text;
            if (how[0] == "-l") {
                std::replace(expected.begin(), expected.end(), '\n', ' ');
                input = f.folder.write("line", expected + "\n");
            }
            const auto sub = f.subscriber({"-t", "large", "-q", qos, "-C", "1", "-N"});
            Words words{"-t", "large", "-q", qos};
            words.insert(words.end(), how.begin(), how.end());
            f.publish(words, input);
            CHECK(sub->ends() == 0);
            CHECK((sub->out() == expected));   // in brackets: 5 MB are not to be printed
        }
    }
}

TEST_CASE("mqtt_sub -c: what came while it was away comes later, and -C takes no more than it prints") {
    Fixture f;
    for (const Words& how : {Words{"311", "1"}, Words{"311", "2"}, Words{"5", "1"}, Words{"5", "2"}}) {
        const std::string version = how[0], qos = how[1];
        CAPTURE(version);
        CAPTURE(qos);
        const Words session{"-V", version, "-t", "c", "-q", qos, "-c", "-i", "keeper" + version + qos};
        const auto with = [&](Words words) {
            words.insert(words.begin(), session.begin(), session.end());
            return f.tool("mqtt_sub", words);
        };
        Program first(with({"-E"}));
        CHECK(first.ends() == 0);
        for (const char* text : {"one", "two", "three"}) f.publish({"-t", "c", "-m", text, "-q", qos});
        for (const char* text : {"one\n", "two\n", "three\n"}) {
            Program next(with({"-C", "1"}));
            CHECK(next.ends() == 0);
            CHECK(next.out() == text);
        }
        Program none(with({"-W", "1"}));
        CHECK(none.ends() == 27);
        CHECK(none.out().empty());
    }
}

TEST_CASE("mqtt_sub -U: ends a subscription of the session") {
    Fixture f;
    const auto subscriptions = [&] {
        return f.broker.with([](test::Broker& b) { return b.session("u")->subscriptions; });
    };
    Program subscribe(f.tool("mqtt_sub", {"-c", "-i", "u", "-t", "a", "-t", "b", "-E"}));
    CHECK(subscribe.ends() == 0);
    CHECK(subscriptions() == 2);
    Program unsubscribe(f.tool("mqtt_sub", {"-c", "-i", "u", "-U", "a", "-d"}));
    CHECK(unsubscribe.ends() == 0);
    CHECK(unsubscribe.err().find("unsubscribed") != std::string::npos);
    CHECK(subscriptions() == 1);
}

TEST_CASE("-W: exit status 27, also while nobody answers") {
    Fixture f;
    Program sub(f.tool("mqtt_sub", {"-t", "a", "-W", "1"}));
    CHECK(sub.ends() == 27);
    CHECK(sub.err().find("-W") != std::string::npos);
    test::TcpBroker silent;   // nobody runs it: connections are made by the kernel, and then nothing
    const std::string port = std::to_string(silent.port());
    Program pub({"mqtt_pub", "-h", "127.0.0.1", "-p", port, "-t", "a", "-m", "x", "-W", "1"});
    CHECK(pub.ends() == 27);
}

TEST_CASE("mqtt_pub: ended by a signal before there was a connection, it says that nothing was sent") {
    Server silent([](const std::string&) { return Server::Answer{""}; });
    Program pub(silent.tool("mqtt_pub", {"-t", "a", "-m", "x"}));
    CHECK(eventually([&] { return !silent.packets(CONNECT).empty(); }));
    pub.signal(SIGINT);
    CHECK(pub.ends() == 1);
    CHECK(pub.err().find("ended before all messages were sent") != std::string::npos);
}

TEST_CASE("--will-*: the server tells when the client was killed, and only then") {
    Fixture f;
    const Words will{"-t", "x", "--will-topic", "w", "--will-payload", "gone", "--will-qos", "2", "--will-retain"};
    const auto watcher = f.subscriber({"-t", "w", "-q", "2", "-v", "-C", "2"});
    const auto ended = f.subscriber(will);
    ended->signal(SIGTERM);
    CHECK(ended->ends() == 0);
    const auto killed = f.subscriber(will);
    killed->signal(SIGKILL);
    CHECK(killed->ends() == 128 + SIGKILL);
    CHECK(watcher->prints("w gone\n"));
    CHECK(f.broker.with([](test::Broker& b) { return b.statistics().wills; }) == 1);
    CHECK(f.broker.with([](test::Broker& b) { return b.retained("w"); }) == "gone");
    CHECK(watcher->err().find("QoS 2, bytes 0 to 4 of 4: w") != std::string::npos);
    Program pub(f.tool("mqtt_pub", {"-t", "x", "-l", "--will-topic", "w", "-d"}));
    CHECK(pub.tells("connected"));
    pub.signal(SIGKILL);
    CHECK(pub.ends() == 128 + SIGKILL);
    CHECK(watcher->ends() == 0);
    CHECK(watcher->out() == "w gone\nw (null)\n");
}

TEST_CASE("-i, -u, -P, -k: who it is, and how often it pings") {
    test::BrokerConfig config;
    config.users = {{"bob", "secret"}};
    Fixture f(config);
    const auto status = [&](const Words& words, const std::string& text) {
        Program pub(f.tool("mqtt_pub", words));
        const int exit = pub.ends();
        CHECK(pub.err().find(text) != std::string::npos);
        return exit;
    };
    CHECK(status({"-t", "a", "-m", "x"}, "not authorized") == 3);
    CHECK(status({"-t", "a", "-m", "x", "-u", "bob", "-P", "wrong"}, "bad user name or password") == 3);
    CHECK(status({"-t", "a", "-m", "x", "-u", "bob", "-P", "secret", "-i", "me"}, "") == 0);
    CHECK(f.log().back().client_id == "me");
    const auto sub = f.subscriber({"-t", "a", "-u", "bob", "-P", "secret", "-k", "1"});
    CHECK(sub->tells("pingresp"));
    sub->signal(SIGINT);
    CHECK(sub->ends() == 0);
}

TEST_CASE("mqtt_sub: a refused subscription is told; it goes on only with the others") {
    test::BrokerConfig config;
    config.grant = [](const std::string&, std::string_view filter, mqtt::QoS) {
        return static_cast<uint8_t>(filter == "secret" ? 0x80 : 0);
    };
    Fixture f(config);
    Program none(f.tool("mqtt_sub", {"-t", "secret"}));
    CHECK(none.ends() == 3);
    CHECK(none.err().find("refuses the subscription to 'secret'") != std::string::npos);
    const auto other = f.subscriber({"-t", "secret", "-t", "open", "-q", "2", "-C", "1"});
    CHECK(other->err().find("refused, granted QoS 0") != std::string::npos);
    f.publish({"-t", "open", "-m", "x"});
    CHECK(other->ends() == 0);
    CHECK(other->out() == "x\n");
}

TEST_CASE("no server, no such host: the network is at fault") {
    const auto pub = [&](const std::string& host, uint16_t port, const std::string& text) {
        Program program({"mqtt_pub", "-h", host, "-p", std::to_string(port), "-t", "a", "-m", "x"});
        CHECK(program.ends() == 4);
        CAPTURE(program.err());
        CHECK(program.err().find(text) != std::string::npos);
    };
    pub("127.0.0.1", test::free_port(), "Connection refused");
    // A label of more than 63 characters: no resolver asks anybody about it.
    const std::string host(70, 'x');
    pub(host, 1883, "cannot connect to " + host + ":1883: ");
}

TEST_CASE("wrong options: exit status 2, and which one it is") {
    struct Row {
        Words command;
        const char* text;
    };
    const std::string long_text(70000, 'x');
    const Row rows[] = {
        {{"mqtt_pub", "--nonsense"}, "'--nonsense'"},
        {{"mqtt_pub", "-t", "a", "-m"}, "-m needs"},
        {{"mqtt_pub", "-t", "a"}, "exactly one of -m"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-n"}, "exactly one of -m"},
        {{"mqtt_pub", "-m", "x"}, "exactly one -t"},
        {{"mqtt_pub", "-t", "a", "-t", "b", "-m", "x"}, "exactly one -t"},
        {{"mqtt_pub", "-t", "a/#", "-m", "x"}, "'a/#'"},
        {{"mqtt_pub", "-t", "", "-m", "x"}, "-t"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-q", "3"}, "-q"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-q", "-1"}, "-q"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-p", "0"}, "-p"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-p", "65536"}, "-p"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-p", "1x"}, "-p"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-k", "65536"}, "-k"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-W", "0"}, "-W"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-M", "0"}, "-M"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-h", ""}, "-h"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-P", "secret"}, "-P needs -u"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-u", "\xFF"}, "-u"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-c"}, "-c needs -i"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "--will-payload", "x"}, "need --will-topic"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "--will-topic", "a/+"}, "--will-topic"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-C", "1"}, "'-C'"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-i", long_text}, "-i"},
        {{"mqtt_sub"}, "-t is missing"},
        {{"mqtt_sub", "-t", "a/#/b"}, "'a/#/b'"},
        {{"mqtt_sub", "-U", "a#"}, "'a#'"},
        {{"mqtt_sub", "-t", "a", "-C", "0"}, "-C"},
        {{"mqtt_sub", "-t", "a", "-m", "x"}, "'-m'"},
        {{"mqtt_pub", "-t", "a", "-m", "x", "-V", "31"}, "'31' is not a valid VERSION for -V"},
        {{"mqtt_sub", "-t", "a", "-V"}, "-V needs"},
    };
    for (const Row& row : rows) {
        Program program(row.command);
        CHECK(program.ends() == 2);
        CAPTURE(program.err().substr(0, 200));
        CHECK(program.err().find(row.text) != std::string::npos);
        CHECK(program.err().rfind(row.command[0] + ": ", 0) == 0);
        CHECK(program.out().empty());
    }
}

TEST_CASE("MQTT 5 options that are wrong: exit status 2, and what is wrong [MQTT-3.3.2-14]") {
    struct Row {
        std::string tool;
        Words words;
        const char* text;
    };
    const std::string long_text(5000, 'x');
    const Row rows[] = {
        {"mqtt_pub", {"-D"}, "-D needs COMMAND NAME VALUE"},
        {"mqtt_pub", {"-D", "publish", "content-type"}, "-D needs COMMAND NAME VALUE"},
        {"mqtt_pub", {"-D", "publish", "user-property", "name"}, "needs a name and a value"},
        {"mqtt_pub", {"-D", "puback", "reason-string", "x"}, "'puback' is none of connect, will, publish, disconnect"},
        {"mqtt_pub", {"-D", "subscribe", "user-property", "a", "b"}, "'subscribe' is none of"},
        {"mqtt_sub", {"-D", "publish", "content-type", "x"}, "'publish' is none of connect, will, subscribe, unsubscribe"},
        {"mqtt_pub", {"-D", "publish", "colour", "red"}, "publish colour: no such property; there are payload-format-indicator,"},
        {"mqtt_pub", {"-D", "connect", "content-type", "x"}, "connect content-type: not a property for it; there are session-"},
        {"mqtt_pub", {"-D", "connect", "server-keep-alive", "1"}, "not a property for it"},
        {"mqtt_pub", {"-D", "publish", "topic-alias", "1"}, "uses topic aliases by itself"},
        {"mqtt_pub", {"-D", "publish", "subscription-identifier", "1"}, "only a server may send it"},
        {"mqtt_pub", {"-D", "disconnect", "server-reference", "x"}, "only a server may send it"},
        {"mqtt_pub", {"-D", "connect", "receive-maximum", "ten"}, "'ten' is not a number from 1 to 65535"},
        {"mqtt_pub", {"-D", "connect", "receive-maximum", "0"}, "from 1 to 65535"},
        {"mqtt_pub", {"-D", "connect", "receive-maximum", "65536"}, "from 1 to 65535"},
        {"mqtt_pub", {"-D", "connect", "maximum-packet-size", "0"}, "from 1 to 4294967295"},
        {"mqtt_pub", {"-D", "publish", "message-expiry-interval", "4294967296"}, "from 0 to 4294967295"},
        {"mqtt_pub", {"-D", "publish", "payload-format-indicator", "2"}, "from 0 to 1"},
        {"mqtt_sub", {"-D", "subscribe", "subscription-identifier", "0"}, "from 1 to 268435455"},
        {"mqtt_sub", {"-D", "subscribe", "subscription-identifier", "268435456"}, "from 1 to 268435455"},
        {"mqtt_pub", {"-D", "publish", "response-topic", "a/+"}, "'a/+' is not a topic without wildcards"},
        {"mqtt_pub", {"-D", "publish", "content-type", "\xFF"}, "is not UTF-8"},
        {"mqtt_pub", {"-D", "publish", "user-property", "a", "\xFF"}, "is not UTF-8"},
        {"mqtt_pub", {"-D", "publish", "correlation-data", long_text}, "more than there is memory for"},
        {"mqtt_pub", {"-D", "publish", "content-type", "a", "-D", "publish", "content-type", "b"}, "is there twice"},
        {"mqtt_pub", {"-D", "will", "content-type", "a"}, "-D will needs --will-topic"},
        {"mqtt_pub", {"-D", "connect", "authentication-data", "a"}, "needs authentication-method"},
        {"mqtt_pub", {"-D", "disconnect", "session-expiry-interval", "1"}, "needs -c or -x"},
        {"mqtt_pub", {"-V", "311", "-D", "connect", "user-property", "a", "b"}, "-D needs -V 5"},
        {"mqtt_sub", {"-V", "mqttv311", "--properties"}, "--properties needs -V 5"},
        {"mqtt_sub", {"-V", "311", "--retain-as-published"}, "--retain-as-published needs -V 5"},
        {"mqtt_sub", {"-V", "311", "-x", "1"}, "-x needs -V 5"},
        {"mqtt_sub", {"-V", "auto", "-x", "1"}, "-x needs -V 5, or -c"},
        {"mqtt_sub", {"-x", "-2"}, "-x"},
        {"mqtt_sub", {"-x", "-1"}, "-x -1 needs -i"},
        {"mqtt_sub", {"-V", "5", "-c"}, "-c needs -i"},
        {"mqtt_sub", {"-V", "auto", "-P", "secret"}, "-P needs -u, or -V 5"},
    };
    for (const Row& row : rows) {
        Words command{row.tool, "-h", "127.0.0.1", "-p", "1", "-t", "a"};
        if (row.tool == "mqtt_pub") command.insert(command.end(), {"-m", "x"});
        command.insert(command.end(), row.words.begin(), row.words.end());
        Program program(command);
        CHECK(program.ends() == 2);
        CAPTURE(program.err().substr(0, 400));
        CHECK(program.err().find(row.text) != std::string::npos);
        CHECK(program.err().rfind(row.tool + ": ", 0) == 0);
        CHECK(program.out().empty());
    }
}

TEST_CASE("--help names every option, --version the program") {
    for (const std::string name : {"mqtt_pub", "mqtt_sub"}) {
        Program help({name, "--help"}), version({name, "--version"});
        CHECK(help.ends() == 0);
        CHECK(version.ends() == 0);
        CHECK(version.out().rfind(name, 0) == 0);
        for (const char* option : {"-h", "-p", "-t", "-q", "-i", "-u", "-P", "-k", "-c", "-d", "-W", "-V", "-D", "-x",
                                   "--will-topic"})
            CHECK(help.out().find(std::string("  ") + option + " ") != std::string::npos);
        for (const char* property : {" session-expiry-interval", " will-delay-interval", " reason-string", " user-property"})
            CHECK(help.out().find(property) != std::string::npos);
        CHECK((help.out().find(" subscription-identifier") != std::string::npos) == (name == "mqtt_sub"));
        CHECK(help.out().find("server-reference") == std::string::npos);
    }
}

TEST_CASE("mosquitto's tools and ours understand each other, through mosquitto") {
    const std::string their_pub = test::find_program("mosquitto_pub"), their_sub = test::find_program("mosquitto_sub");
    if (test::Mosquitto::program().empty() || their_pub.empty() || their_sub.empty())
        SKIP_TEST("mosquitto or mosquitto-clients is not installed");
    test::Mosquitto broker("log_type all\n");
    const Words to{"-h", "127.0.0.1", "-p", std::to_string(broker.port)};
    const auto command = [&](const std::string& program, Words words) {
        words.insert(words.begin(), to.begin(), to.end());
        words.insert(words.begin(), program);
        return words;
    };
    const std::string text = noise(300000);
    test::TemporaryFolder folder;
    const std::string file = folder.write("file", text), lines = folder.write("lines", "one\ntwo\nthree\n");
    for (const std::string& qos : all_qos) {
        CAPTURE(qos);
        for (const bool theirs_publishes : {true, false}) {
            const std::string pub = theirs_publishes ? their_pub : "mqtt_pub", sub = theirs_publishes ? "mqtt_sub" : their_sub;
            const std::string id = (theirs_publishes ? "ours" : "theirs") + qos;
            Program subscriber(command(sub, {"-t", "t", "-q", qos, "-v", "-N", "-C", "5", "-W", "120", "-i", id}));
            CHECK(eventually([&] { return broker.log().find("Sending SUBACK to " + id) != std::string::npos; }));
            for (const Words& what : {Words{"-f", file}, Words{"-l"}, Words{"-m", "end"}}) {
                Words words{"-t", "t", "-q", qos};
                words.insert(words.end(), what.begin(), what.end());
                Program publisher(command(pub, words), lines);
                CHECK(publisher.ends() == 0);
            }
            CHECK(subscriber.ends() == 0);
            CHECK((subscriber.out() == "t " + text + "t onet twot threet end"));
        }
    }
}

// ------------------------------------------------------------------------------------------------------ MQTT 5

TEST_CASE("MQTT 5 -V: each spelling, the default, and options that choose 5 as mosquitto's do") {
    struct Row {
        Words words;
        const char* levels;
    };
    const Row rows[] = {
        {{}, "4"}, {{"-V", "311"}, "4"}, {{"-V", "mqttv311"}, "4"}, {{"-V", "5"}, "5"}, {{"-V", "mqttv5"}, "5"},
        {{"-V", "auto"}, "5"}, {{"-D", "connect", "user-property", "a", "b"}, "5"},
        {{"--property", "CONNECT", "receive-maximum", "3"}, "5"}, {{"-x", "10"}, "5"}, {{"-V", "5", "-P", "secret"}, "5"},
    };
    for (const Row& row : rows) {
        CAPTURE(row.words.size() > 1 ? row.words[1] : "");
        for (const Words& base : {Words{"mqtt_pub", "-t", "t", "-m", "x", "-q", "1"}, Words{"mqtt_sub", "-t", "t", "-E"}}) {
            Server server;
            Words words(base.begin() + 1, base.end());
            words.insert(words.end(), row.words.begin(), row.words.end());
            ends_with(server.tool(base[0], words), 0, "");
            CHECK(server.levels() == row.levels);
        }
    }
}

TEST_CASE("MQTT 5 -V auto: a server that knows only 3.1.1 is asked for that, and properties are left out; -V 5 is refused") {
    const std::optional<Server::Answer> ways[] = {
        Server::Answer{bytes({0x20, 2, 0, 1}), true},         // as a server of 3.1.1 says it
        Server::Answer{bytes({0x20, 3, 0, 0x84, 0}), true},   // as one of 5 may say it
        Server::Answer{"", true},                             // it just closes
    };
    for (const auto& way : ways) {
        const auto script = [&](const std::string& packet) {
            const bool is_v5 = type_of(packet) == CONNECT && packet.at(packet.find("MQTT") + 4) == 5;
            return is_v5 ? way : std::nullopt;
        };
        Server server(script);
        Program pub(server.tool("mqtt_pub", {"-V", "auto", "-t", "t", "-m", "x", "-d", "-i", "me", "-q", "1",
                                             "-D", "publish", "content-type", "text", "-D", "connect", "user-property", "a", "b"}));
        CHECK(pub.ends() == 0);
        CHECK(pub.err().find("connected, MQTT 3.1.1, new session") != std::string::npos);
        CHECK(server.levels() == "54");
        CHECK(server.packet(CONNECT) == bytes({0x10, 14}) + text("MQTT") + bytes({4, 2, 0, 60}) + text("me"));
        CHECK(server.packet(PUBLISH) == bytes({0x32, 6}) + text("t") + bytes({0, 1, 'x'}));

        Server strict(script);
        const bool closes = way->bytes.empty();
        ends_with(strict.tool("mqtt_pub", {"-V", "5", "-t", "t", "-m", "x"}), closes ? 4 : 3,
                  closes ? "lost the connection" : "refuses the connection: unsupported protocol version");
        CHECK(strict.levels() == "5");
    }
}

TEST_CASE("MQTT 5 -D: each property is in the packet that it is for") {
    struct Row {
        std::string tool;
        int packet;
        Words property;          // without -D
        std::string bytes;
    };
    const std::string a_b = bytes({0x26}) + text("a") + text("b"), t = text("t"), w = text("w"), id = bytes({0, 1});
    const Row rows[] = {
        {"mqtt_pub", CONNECT, {"connect", "session-expiry-interval", "300"}, bytes({0x11, 0, 0, 1, 0x2C})},
        {"mqtt_pub", CONNECT, {"connect", "receive-maximum", "5"}, bytes({0x21, 0, 5})},
        {"mqtt_pub", CONNECT, {"connect", "maximum-packet-size", "1000"}, bytes({0x27, 0, 0, 3, 0xE8})},
        {"mqtt_pub", CONNECT, {"connect", "topic-alias-maximum", "65535"}, bytes({0x22, 0xFF, 0xFF})},
        {"mqtt_sub", CONNECT, {"connect", "receive-maximum", "65534"}, bytes({0x21, 0xFF, 0xFE})},
        {"mqtt_pub", CONNECT, {"connect", "authentication-method", "plain"}, bytes({0x15}) + text("plain")},
        {"mqtt_pub", CONNECT, {"connect", "authentication-data", "secret"}, bytes({0x16}) + text("secret")},
        {"mqtt_pub", CONNECT, {"connect", "request-problem-information", "0"}, bytes({0x17, 0})},
        {"mqtt_pub", CONNECT, {"connect", "request-response-information", "1"}, bytes({0x19, 1})},
        {"mqtt_pub", CONNECT, {"connect", "user-property", "a", "b"}, a_b},
        {"mqtt_pub", CONNECT, {"will", "payload-format-indicator", "1"}, bytes({2, 0x01, 1}) + w},
        {"mqtt_pub", CONNECT, {"will", "message-expiry-interval", "70000"}, bytes({5, 0x02, 0, 1, 0x11, 0x70}) + w},
        {"mqtt_pub", CONNECT, {"will", "content-type", "text"}, bytes({7, 0x03}) + text("text") + w},
        {"mqtt_pub", CONNECT, {"will", "response-topic", "r"}, bytes({4, 0x08}) + text("r") + w},
        {"mqtt_pub", CONNECT, {"will", "correlation-data", "c"}, bytes({4, 0x09}) + text("c") + w},
        {"mqtt_pub", CONNECT, {"will", "will-delay-interval", "5"}, bytes({5, 0x18, 0, 0, 0, 5}) + w},
        {"mqtt_pub", CONNECT, {"will", "user-property", "a", "b"}, bytes({7}) + a_b + w},
        {"mqtt_pub", PUBLISH, {"publish", "payload-format-indicator", "1"}, t + bytes({2, 0x01, 1, 'x'})},
        {"mqtt_pub", PUBLISH, {"publish", "message-expiry-interval", "0"}, t + bytes({5, 0x02, 0, 0, 0, 0, 'x'})},
        {"mqtt_pub", PUBLISH, {"publish", "content-type", ""}, t + bytes({3, 0x03, 0, 0, 'x'})},
        {"mqtt_pub", PUBLISH, {"publish", "response-topic", "r"}, t + bytes({4, 0x08}) + text("r") + "x"},
        {"mqtt_pub", PUBLISH, {"publish", "correlation-data", "\xFF"}, t + bytes({4, 0x09}) + text("\xFF") + "x"},
        {"mqtt_pub", PUBLISH, {"PUBLISH", "user-property", "a", "b"}, t + bytes({7}) + a_b + "x"},
        {"mqtt_pub", DISCONNECT, {"disconnect", "session-expiry-interval", "7"}, bytes({0xE0, 7, 0, 5, 0x11, 0, 0, 0, 7})},
        {"mqtt_pub", DISCONNECT, {"disconnect", "reason-string", "bye"}, bytes({0xE0, 8, 0, 6, 0x1F}) + text("bye")},
        {"mqtt_pub", DISCONNECT, {"disconnect", "user-property", "a", "b"}, bytes({0xE0, 9, 0, 7}) + a_b},
        {"mqtt_sub", SUBSCRIBE, {"subscribe", "subscription-identifier", "300"},
         bytes({0x82, 10}) + id + bytes({3, 0x0B, 0xAC, 2}) + t},
        {"mqtt_sub", SUBSCRIBE, {"subscribe", "user-property", "a", "b"}, bytes({0x82, 14}) + id + bytes({7}) + a_b + t},
        {"mqtt_sub", UNSUBSCRIBE, {"unsubscribe", "user-property", "a", "b"}, bytes({0xA2, 13}) + id + bytes({7}) + a_b + t},
        {"mqtt_sub", DISCONNECT, {"disconnect", "reason-string", "bye"}, bytes({0xE0, 8, 0, 6, 0x1F}) + text("bye")},
    };
    for (const Row& row : rows) {
        CAPTURE(row.property[0] + " " + row.property[1]);
        Server server([](const std::string& packet) -> std::optional<Server::Answer> {
            if (packet.find(text("plain")) == std::string::npos) return std::nullopt;
            return Server::Answer{bytes({0x20, 11, 0, 0, 8, 0x15}) + text("plain")};   // the method comes back in CONNACK
        });
        Words words = row.tool == "mqtt_pub" ? Words{"-m", "x", "-t", "t"}
                      : row.packet == UNSUBSCRIBE ? Words{"-U", "t"} : Words{"-t", "t", "-E"};
        if (row.property[0] == "will") words.insert(words.end(), {"--will-topic", "w"});
        if (row.property[0] == "disconnect") words.insert(words.end(), {"-x", "60"});
        if (row.property[1] == "authentication-data")
            words.insert(words.end(), {"-D", "connect", "authentication-method", "plain"});
        words.push_back("-D");
        words.insert(words.end(), row.property.begin(), row.property.end());
        ends_with(server.tool(row.tool, words), 0, "");
        CHECK(eventually([&] { return server.packet(row.packet).find(row.bytes) != std::string::npos; }));
    }
}

namespace {

// What mqtt_pub is told arrives at mqtt_sub, through this server: of a message, a retained one and a will.
void properties_arrive(const Words& server) {
    const auto tool = [&](const std::string& name, const Words& words) {
        Words all{name};
        all.insert(all.end(), server.begin(), server.end());
        all.insert(all.end(), words.begin(), words.end());
        return all;
    };
    // Mosquitto 2.0.11 takes text with control characters for malformed; binary data may have them.
    const Words list{"payload-format-indicator", "1", "content-type", "text/plain; charset=utf-8", "response-topic",
                     "answers/here", "correlation-data", "line\none\x01", "message-expiry-interval", "100000"};
    const Words pairs{"unit", "degrees", "unit", "twice", "", "=", "gr\xC3\xBC\xC3\x9F", "\\"};   // names repeat, in order
    const auto with_properties = [&](const std::string& command, Words words) {
        for (size_t i = 0; i < list.size(); i += 2) words.insert(words.end(), {"-D", command, list[i], list[i + 1]});
        for (size_t i = 0; i < pairs.size(); i += 2)
            words.insert(words.end(), {"-D", command, "user-property", pairs[i], pairs[i + 1]});
        return words;
    };
    const auto check = [](const Program& sub, const std::string& last) {
        CAPTURE(sub.err());
        const std::string out = sub.out();
        CAPTURE(out);
        const Words lines{"  payload-format-indicator: 1\n", "  content-type: text/plain; charset=utf-8\n",
                          "  response-topic: answers/here\n", "  correlation-data: line\\x0Aone\\x01\n",
                          "  message-expiry-interval: ", "  subscription-identifier: 300\n", last};
        for (const std::string& line : lines) CHECK(out.find(line) != std::string::npos);
        size_t at = 0;
        for (const std::string line : {"unit = degrees", "unit = twice", " = =", "gr\xC3\xBC\xC3\x9F = \\x5C"}) {
            at = out.find("  user-property: " + line + "\n", at);
            CHECK(at != std::string::npos);
        }
        CHECK(out.substr(out.size() - last.size()) == last);
    };
    const Words ours{"-q", "2", "-v", "--properties", "-C", "1", "-W", "120", "-d",
                     "-D", "subscribe", "subscription-identifier", "300"};
    const auto subscriber = [&](const std::string& filter) {
        Words words{"-t", filter};
        words.insert(words.end(), ours.begin(), ours.end());
        auto program = std::make_unique<Program>(tool("mqtt_sub", words));
        REQUIRE(program->tells("subscribed"));
        return program;
    };
    for (const std::string& qos : all_qos) {
        CAPTURE(qos);
        const auto sub = subscriber("t");
        ends_with(tool("mqtt_pub", with_properties("publish", {"-t", "t", "-m", "hello", "-q", qos, "-r"})), 0, "");
        CHECK(sub->ends() == 0);
        check(*sub, "t hello\n");
        const auto late = subscriber("t");   // it has been retained with its properties
        CHECK(late->ends() == 0);
        check(*late, "t hello\n");
    }
    const auto watcher = subscriber("w");
    Program lost(tool("mqtt_sub", with_properties("will", {"-t", "x", "--will-topic", "w", "--will-payload", "gone", "-d",
                                                           "-D", "will", "will-delay-interval", "0"})));
    CHECK(lost.tells("subscribed"));
    lost.signal(SIGKILL);
    CHECK(lost.ends() == 128 + SIGKILL);
    CHECK(watcher->ends() == 0);
    check(*watcher, "w gone\n");

    // Larger than memory: they come once, before the first piece.
    test::TemporaryFolder folder;
    const std::string large = noise(200000), file = folder.write("large", large);
    const auto sub = subscriber("large");
    ends_with(tool("mqtt_pub", {"-t", "large", "-f", file, "-q", "1", "-D", "publish", "content-type", "noise"}), 0, "");
    CHECK(sub->ends() == 0);
    const std::string out = sub->out(), head = out.substr(0, out.find("large "));
    CHECK(head.find("  content-type: noise\n") != std::string::npos);
    CHECK((out == head + "large " + large + "\n"));
}

}  // namespace

TEST_CASE("MQTT 5 -D, --properties: what is published with a message or a will arrives, through the embedded broker") {
    Fixture f;
    properties_arrive({"-h", "127.0.0.1", "-p", std::to_string(f.broker.port()), "-V", "5"});
}

TEST_CASE("MQTT 5 -D, --properties: the same through mosquitto, with -V auto") {
    if (test::Mosquitto::program().empty()) SKIP_TEST("mosquitto is not installed");
    test::Mosquitto broker;
    properties_arrive({"-h", "127.0.0.1", "-p", std::to_string(broker.port), "-V", "auto"});
}

TEST_CASE("MQTT 5: mosquitto's tools and ours show each other's properties") {
    const std::string their_pub = test::find_program("mosquitto_pub"), their_sub = test::find_program("mosquitto_sub");
    if (test::Mosquitto::program().empty() || their_pub.empty() || their_sub.empty())
        SKIP_TEST("mosquitto or mosquitto-clients is not installed");
    test::Mosquitto broker("log_type all\n");
    const std::string port = std::to_string(broker.port);
    const Words message{"-h", "127.0.0.1", "-p", port, "-t", "t", "-m", "hello", "-q", "1",
                        "-D", "publish", "content-type", "text", "-D", "PUBLISH", "response-topic", "r",
                        "-D", "publish", "correlation-data", "c", "-D", "publish", "user-property", "a", "b"};
    const auto command = [&](const std::string& program) {
        Words words{program};
        words.insert(words.end(), message.begin(), message.end());
        return words;
    };
    Program ours({"mqtt_sub", "-h", "127.0.0.1", "-p", port, "-t", "t", "-C", "2", "-W", "120", "--properties", "-i", "ours"});
    Program theirs({their_sub, "-h", "127.0.0.1", "-p", port, "-t", "t", "-C", "2", "-W", "120", "-V", "5", "-i", "theirs",
                    "-F", "%t|%p|%C|%R|%D|%P"});
    for (const char* id : {"ours", "theirs"})
        CHECK(eventually([&] { return broker.log().find(std::string("Sending SUBACK to ") + id) != std::string::npos; }));
    ends_with(command("mqtt_pub"), 0, "");
    ends_with(command(their_pub), 0, "");
    CHECK(ours.ends() == 0);
    CHECK(theirs.ends() == 0);
    CHECK(theirs.out() == "t|hello|text|r|c|a:b\nt|hello|text|r|c|a:b\n");
    for (const char* line : {"  content-type: text\n", "  response-topic: r\n", "  correlation-data: c\n",
                             "  user-property: a = b\n"}) {
        const std::string out = ours.out();
        CHECK(out.find(line) != std::string::npos);
        CHECK(out.find(line) != out.rfind(line));
    }
}

TEST_CASE("MQTT 5: what the server refuses is told, with its reason string; exit status 3") {
    const std::string reason_string = bytes({7, 0x1F}) + text("nope");
    const auto refusing = [&](int type, const std::string& answer, bool close = false) {
        return [=](const std::string& packet) -> std::optional<Server::Answer> {
            if (type_of(packet) != type) return std::nullopt;
            const std::string id = type == PUBLISH ? packet.substr(5, 2) : packet.substr(2, 2);
            return Server::Answer{answer.substr(0, 2) + (type == CONNECT ? "" : id) + answer.substr(2), close};
        };
    };
    const Words pub{"-V", "5", "-t", "t", "-m", "x", "-q", "1"}, sub{"-V", "5", "-t", "t"};
    {
        Server server(refusing(CONNECT, bytes({0x20, 10, 0, 0x87}) + reason_string, true));
        ends_with(server.tool("mqtt_pub", pub), 3, "refuses the connection: not authorized (nope)");
        ends_with(server.tool("mqtt_sub", sub), 3, "refuses the connection: not authorized (nope)");
    }
    {
        Server server(refusing(PUBLISH, bytes({0x40, 11, 0x87}) + reason_string));
        ends_with(server.tool("mqtt_pub", pub), 3, "refuses a message: not authorized (nope)");
    }
    {
        Server server(refusing(PUBLISH, bytes({0x50, 3, 0x97})));
        ends_with(server.tool("mqtt_pub", {"-V", "5", "-t", "t", "-m", "x", "-q", "2"}), 3, "refuses a message: quota exceeded");
    }
    {
        Server server(refusing(PUBLISH, bytes({0x40, 3, 0x10})));   // no matching subscribers: that is all right
        ends_with(server.tool("mqtt_pub", pub), 0, "");
    }
    {
        Server server(refusing(SUBSCRIBE, bytes({0x90, 11}) + reason_string + bytes({0x8F})));
        ends_with(server.tool("mqtt_sub", sub), 3, "refuses the subscription to 't': topic filter invalid (nope)");
    }
    {
        Server server(refusing(UNSUBSCRIBE, bytes({0xB0, 11}) + reason_string + bytes({0x87})));
        ends_with(server.tool("mqtt_sub", {"-V", "5", "-U", "t"}), 3, "to end the subscription to 't': not authorized (nope)");
    }
    {
        Server server([&](const std::string& packet) -> std::optional<Server::Answer> {   // AUTH: continue
            if (type_of(packet) != CONNECT) return std::nullopt;
            return Server::Answer{bytes({0xF0, 10, 0x18, 8, 0x15}) + text("plain")};
        });
        for (const char* tool : {"mqtt_pub", "mqtt_sub"})
            ends_with(server.tool(tool, {"-t", "t", "-D", "connect", "authentication-method", "plain",
                                         std::string(tool) == "mqtt_pub" ? "-n" : "-v"}), 2, "wants to go on authenticating");
    }
}

TEST_CASE("MQTT 5: the server ends the connection and says why; where that may pass, the tools connect again") {
    const std::string reason_string = bytes({7, 0x1F}) + text("nope");
    const auto ends_connection = [&](int reason, const std::string& properties) {
        return [=](const std::string& packet) -> std::optional<Server::Answer> {
            if (type_of(packet) != SUBSCRIBE && type_of(packet) != PUBLISH) return std::nullopt;
            const int size = 1 + static_cast<int>(properties.size());
            return Server::Answer{bytes({0xE0, size, reason}) + properties, true};
        };
    };
    for (const Words& words : {Words{"mqtt_sub", "-t", "t"}, Words{"mqtt_pub", "-t", "t", "-m", "x", "-q", "1"}}) {
        Words rest(words.begin() + 1, words.end());
        rest.insert(rest.end(), {"-V", "5"});
        Server taken(ends_connection(0x8E, reason_string));
        ends_with(taken.tool(words[0], rest), 3, "ends the connection: session taken over (nope)");
        Server moved(ends_connection(0x9D, bytes({13, 0x1C}) + text("other:1883")));
        ends_with(moved.tool(words[0], rest), 3, "ends the connection: server moved; it refers to other:1883");

        int connections = 0;
        Server busy([&, script = ends_connection(0x8B, reason_string)](const std::string& packet) -> std::optional<Server::Answer> {
            if (type_of(packet) == CONNECT) ++connections;
            if (connections == 1) return script(packet);
            if (type_of(packet) == CONNECT && packet.find(text("me")) != std::string::npos)
                return Server::Answer{bytes({0x20, 3, 1, 0, 0})};   // the session is still there
            if (type_of(packet) != SUBSCRIBE) return std::nullopt;
            return Server::Answer{bytes({0x90, 4}) + packet.substr(2, 2) + bytes({0, 0, 0x30, 5, 0, 1, 't', 0, 'x'})};
        });
        if (words[0] == "mqtt_sub") rest.insert(rest.end(), {"-C", "1"});
        else rest.insert(rest.end(), {"-c", "-i", "me"});
        ends_with(busy.tool(words[0], rest), 0, "ends the connection: server shutting down (nope)");
        CHECK(busy.levels() == "55");
    }
}

TEST_CASE("MQTT 5 mqtt_pub: what was not sent before it expired is told as dropped; exit status 3") {
    Fixture f;
    const auto sub = f.subscriber({"-t", "l", "-q", "1", "-c", "-i", "sub", "-C", "2"});
    Program pub(f.tool("mqtt_pub", {"-t", "l", "-l", "-q", "1", "-D", "publish", "message-expiry-interval", "1"}));
    pub.write("one\n");
    CHECK(sub->prints("one\n"));
    f.broker.stop_accepting();
    f.broker.drop_all();
    CHECK(pub.tells("lost the connection"));
    pub.write("two\n");
    CHECK(pub.tells("a message was dropped: message expired"));
    f.broker.start_accepting();
    CHECK(pub.ends() == 3);
    CHECK(pub.err().find("1 messages may not have arrived") != std::string::npos);
    f.publish({"-t", "l", "-m", "three", "-q", "1"});
    CHECK(sub->ends() == 0);
    CHECK(sub->out() == "one\nthree\n");
}

TEST_CASE("MQTT 5: what the server does not support is told, and not sent") {
    test::BrokerConfig config;
    config.limits.maximum_qos = mqtt::QoS::at_least_once;
    config.limits.retain_available = false;
    config.limits.maximum_packet_size = 100;
    config.limits.wildcards_available = config.limits.shared_available = config.limits.identifiers_available = false;
    Fixture f(config);
    const std::string large = f.folder.write("large", noise(100000));
    ends_with(f.tool("mqtt_pub", {"-V", "5", "-t", "t", "-m", "x", "-q", "2"}), 2, "cannot publish: QoS not supported");
    ends_with(f.tool("mqtt_pub", {"-V", "5", "-t", "t", "-m", "x", "-r"}), 2, "cannot publish: retain not supported");
    ends_with(f.tool("mqtt_pub", {"-V", "5", "-t", "t", "-m", std::string(200, 'x')}), 2, "cannot publish: packet too large");
    ends_with(f.tool("mqtt_pub", {"-V", "5", "-t", "t", "-f", large}), 2, "cannot publish: packet too large");
    ends_with(f.tool("mqtt_sub", {"-V", "5", "-t", "a/+"}), 2, "cannot subscribe: wildcard subscriptions not supported");
    ends_with(f.tool("mqtt_sub", {"-V", "5", "-t", "$share/a/b"}), 2, "shared subscriptions not supported");
    ends_with(f.tool("mqtt_sub", {"-t", "a", "-D", "subscribe", "subscription-identifier", "1"}), 2,
              "subscription identifiers not supported");
    CHECK(f.broker.with([](test::Broker& b) { return b.violations(); }).empty());
    CHECK(f.log().empty());
}

TEST_CASE("MQTT 5 -x: how long the session stays; -c takes it up") {
    Fixture f;
    const auto session = [&] { return f.broker.with([](test::Broker& b) { return b.session("k"); }); };
    const Words sub{"-t", "c", "-q", "1", "-i", "k", "-W", "60"};
    const auto run = [&](const Words& more) {
        Words words = sub;
        words.insert(words.end(), more.begin(), more.end());
        Program program(f.tool("mqtt_sub", words));
        const int status = program.ends();
        return std::to_string(status) + " " + program.out() + program.err();
    };
    const auto is_kept_for = [&](uint32_t seconds) {   // once the client is gone
        return eventually([&] { return session() && session()->connection == test::Broker::none && session()->expiry == seconds; });
    };
    CHECK(run({"-x", "60", "-E"}) == "0 ");
    CHECK(is_kept_for(60));
    CHECK(session()->version == mqtt::Version::v5);
    CHECK(run({"-x", "60", "-E", "-D", "disconnect", "session-expiry-interval", "1000"}) == "0 ");
    CHECK(is_kept_for(1000));
    CHECK(run({"-x", "-1", "-E"}) == "0 ");
    CHECK(is_kept_for(mqtt::forever));
    f.publish({"-t", "c", "-m", "kept", "-q", "1"});
    CHECK(session()->queued == 1);
    CHECK(run({"-c", "-V", "5", "-C", "1"}) == "0 kept\n");
    CHECK(run({"-V", "5", "-E"}) == "0 ");   // neither -c nor -x: no session is left
    CHECK(eventually([&] { return !session().has_value(); }));
}

TEST_CASE("MQTT 5: topic aliases are used both ways, and nothing of it is seen") {
    test::BrokerConfig config;
    config.limits.topic_alias_maximum = 5;
    config.use_aliases = 5;
    Fixture f(config);
    const auto sub = f.subscriber({"-t", "topic/#", "-v", "-C", "6", "-D", "connect", "topic-alias-maximum", "3"});
    const std::string lines = f.folder.write("lines", "one\ntwo\nthree\n");
    for (const char* qos : {"0", "1"}) f.publish({"-t", "topic/a", "-l", "-V", "5", "-q", qos}, lines);   // only at QoS 0
    CHECK(sub->ends() == 0);
    CHECK(sub->out() == "topic/a one\ntopic/a two\ntopic/a three\ntopic/a one\ntopic/a two\ntopic/a three\n");
    const auto statistics = f.broker.with([](test::Broker& b) { return b.statistics(); });
    CHECK(statistics.aliases_in == 2);
    CHECK(statistics.aliases_out == 5);
}

TEST_CASE("MQTT 5 mqtt_sub -R, --retain-as-published: stored messages are not sent; the flag tells what the publisher said") {
    Fixture f;
    f.publish({"-t", "r", "-m", "stored", "-r"});
    const auto plain = f.subscriber({"-V", "5", "-t", "r", "-R", "-C", "1"});
    const auto flagged = f.subscriber({"-t", "r", "-R", "-C", "1", "--retain-as-published"});
    f.publish({"-t", "r", "-m", "fresh", "-r"});
    for (const auto* sub : {&plain, &flagged}) {
        CHECK((*sub)->ends() == 0);
        CHECK((*sub)->out() == "fresh\n");
        CHECK((*sub)->err().find("received, QoS 0, ") != std::string::npos);
        CHECK(((*sub)->err().find("retained") != std::string::npos) == (sub == &flagged));
    }
}

TEST_CASE("publisher and subscriber: what the examples do") {
    Fixture f;
    const std::string port = std::to_string(f.broker.port());
    Program subscriber({"subscriber", "127.0.0.1", port, "demo/#", "other"});
    CHECK(eventually([&] { return subscriber.out() == "subscribed with QoS 2\nsubscribed with QoS 2\n"; }));
    for (const std::string& qos : all_qos) {
        Program publisher({"publisher", "127.0.0.1", port, "demo/clock", qos, "2"});
        CHECK(publisher.ends() == 0);
        CHECK(subscriber.prints("QoS " + qos + ", demo/clock: message 1 at "));
        CHECK(subscriber.prints("QoS " + qos + ", demo/clock: message 2 at "));
    }
}

TEST_CASE("gateway: forwards what devices publish, also over lost connections on both sides") {
    Fixture upstream, field;
    const auto sub = upstream.subscriber({"-t", "gateway/#", "-q", "2", "-v"});
    Program gateway({"gateway", "127.0.0.1", std::to_string(upstream.broker.port()), "127.0.0.1",
                     std::to_string(field.broker.port()), "pump", "fan"});
    CHECK(eventually([&] {
        return field.broker.with([](test::Broker& b) {
            const auto pump = b.session("gateway-pump"), fan = b.session("gateway-fan");
            return pump && fan && pump->subscriptions == 1 && fan->subscriptions == 1;
        });
    }));
    field.publish({"-t", "pump/speed", "-m", "1", "-q", "0"});
    field.publish({"-t", "fan/speed", "-m", "2", "-q", "2"});
    field.publish({"-t", "nobody/speed", "-m", "3", "-q", "2"});
    CHECK(sub->prints("gateway/pump/speed 1\n"));
    CHECK(sub->prints("gateway/fan/speed 2\n"));
    // More than can be under way, while upstream is away.
    upstream.broker.stop_accepting();
    upstream.broker.drop_all();
    std::string lines;
    for (int i = 0; i < 200; ++i) lines += "value " + std::to_string(i) + "\n";
    field.publish({"-t", "pump/many", "-l", "-q", "1"}, field.folder.write("lines", lines));
    upstream.broker.start_accepting();
    CHECK(sub->tells("lost the connection"));
    // The subscriber has no persistent session: of what came before it was back it got nothing. So ask the log.
    CHECK(eventually([&] { return upstream.log().size() >= 202; }));
    const auto log = upstream.log();
    REQUIRE(log.size() == 202);
    for (int i = 0; i < 200; ++i) CHECK(log[static_cast<size_t>(i) + 2].payload == "value " + std::to_string(i));
    CHECK(log[5].topic == "gateway/pump/many");
    CHECK(eventually([&] { return field.broker.with([](test::Broker& b) { return b.session("gateway-pump")->in_flight == 0; }); }));
    // Two devices at once, each with more than can be under way, while upstream is connected and does not answer.
    upstream.broker.with([&](test::Broker&) {
        for (const char* topic : {"pump/both", "fan/both"})
            field.publish({"-t", topic, "-l", "-q", "1"}, field.folder.write("lines", lines));
        CHECK(eventually([&] {
            return field.broker.with([](test::Broker& b) {
                return b.session("gateway-pump")->in_flight == 20 && b.session("gateway-fan")->in_flight == 20;
            });
        }));
    });
    CHECK(eventually([&] {
        const auto all = upstream.log();
        return std::count_if(all.begin(), all.end(), [](const auto& m) { return m.topic == "gateway/fan/both"; }) == 200 &&
               std::count_if(all.begin(), all.end(), [](const auto& m) { return m.topic == "gateway/pump/both"; }) == 200;
    }));
    // The devices' connections are cut; the sessions stay.
    field.broker.drop_all();
    field.publish({"-t", "fan/speed", "-m", "later", "-q", "1"});
    CHECK(eventually([&] { return upstream.log().back().payload == "later"; }));
}
