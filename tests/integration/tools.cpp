// The example programs as a user runs them: mqtt_pub, mqtt_sub, publisher, subscriber and gateway, as processes.
//
// MQTT_EXAMPLES names the folder they are in (tests/meson.build sets it). The peer is the embedded broker, in this
// process; mosquitto's own tools where they are installed.
#include "tests/support/broker_tcp.hpp"
#include "tests/support/process.hpp"
#include "tests/support/testing.hpp"

#include <poll.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

using test::eventually;

namespace {

using Words = std::vector<std::string>;

std::string examples() {
    const char* const folder = std::getenv("MQTT_EXAMPLES");
    return folder != nullptr ? folder : "examples";
}

std::string text_of(const std::string& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

// Bytes of all values that do not repeat soon.
std::string noise(size_t size) {
    std::string text(size, '\0');
    uint32_t state = 1;
    for (char& c : text) c = static_cast<char>((state = state * 1664525 + 1013904223) >> 24);
    return text;
}

// A running program. Its input is ours to write, or a file; its outputs go to files.
class Program {
public:
    explicit Program(Words command, const std::string& input_file = {}) {
        if (command[0].find('/') == std::string::npos) command[0] = examples() + "/" + command[0];
        std::vector<char*> arguments;
        for (std::string& word : command) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        const std::string out_file = (folder_.path / "out").string(), err_file = (folder_.path / "err").string();
        // A socket and not a pipe: writing to a program that has ended raises no signal.
        int ends[2] = {-1, -1};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        input_ = ends[0];
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            ::dup2(input_file.empty() ? ends[1] : ::open(input_file.c_str(), O_RDONLY | O_CLOEXEC), 0);
            ::dup2(::open(out_file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), 1);
            ::dup2(::open(err_file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), 2);
            ::execv(arguments[0], arguments.data());
            ::_exit(126);
        }
        ::close(ends[1]);
    }
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;
    ~Program() {
        end_input();
        if (pid_ > 0) ::kill(pid_, SIGKILL);
        if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
    }

    std::string out() const { return text_of((folder_.path / "out").string()); }
    std::string err() const { return text_of((folder_.path / "err").string()); }
    bool prints(const std::string& text) {
        return eventually([&] { return pause(), out().find(text) != std::string::npos; });
    }
    bool tells(const std::string& text) {
        return eventually([&] { return pause(), err().find(text) != std::string::npos; });
    }

    void write(const std::string& text) {
        CHECK(::send(input_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
    }
    void end_input() {
        if (input_ >= 0) ::close(std::exchange(input_, -1));
    }
    void signal(int number) const { ::kill(pid_, number); }

    // Waits until it ends by itself: its exit status, or 128 + signal; -1: it does not end.
    int ends() {
        end_input();
        if (!eventually([&] { return pause(), ::waitpid(pid_, &status_, WNOHANG) == pid_; })) return -1;
        pid_ = -1;
        return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
    }

private:
    static void pause() { ::poll(nullptr, 0, 2); }   // between two looks at a condition

    test::TemporaryFolder folder_;
    pid_t pid_ = -1;
    int input_ = -1;
    int status_ = 0;
};

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
    for (const std::string qos : {"1", "2"}) {
        CAPTURE(qos);
        const Words session{"-t", "c", "-q", qos, "-c", "-i", "keeper" + qos};
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

TEST_CASE("--help names every option, --version the program") {
    for (const std::string name : {"mqtt_pub", "mqtt_sub"}) {
        Program help({name, "--help"}), version({name, "--version"});
        CHECK(help.ends() == 0);
        CHECK(version.ends() == 0);
        CHECK(version.out().rfind(name, 0) == 0);
        for (const char* option : {"-h", "-p", "-t", "-q", "-i", "-u", "-P", "-k", "-c", "-d", "-W", "--will-topic"})
            CHECK(help.out().find(std::string("  ") + option + " ") != std::string::npos);
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
