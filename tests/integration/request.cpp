// Requests and answers (examples/request_response.hpp): the example programs as processes, and the helper in this one.
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "examples/request_response.hpp"
#include "platform/posix.hpp"
#include "tests/support/broker_tcp.hpp"
#include "tests/support/device.hpp"
#include "tests/support/process.hpp"
#include "tests/support/testing.hpp"

using mqtt::Event;
using mqtt::QoS;
using test::eventually;

namespace {

using Port = mqtt::posix::Tcp;
using Device = test::Device<Port>;

std::string example(const std::string& name) {
    const char* const folder = std::getenv("MQTT_EXAMPLES");
    return std::string(folder != nullptr ? folder : "examples") + "/" + name;
}

// An example program, all of whose output is in one file.
class Program {
public:
    explicit Program(const std::vector<std::string>& command) {
        std::vector<std::string> words = command;
        words[0] = example(words[0]);
        process_.start(words, log_);
    }
    std::string output() const {
        std::ifstream file(log_);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    bool says(const std::string& text) const {
        return eventually([&] { return test::pause(), output().find(text) != std::string::npos; });
    }
    int ends() { return process_.stop(0); }   // signal 0 is none: by itself

private:
    test::TemporaryFolder folder_;
    const std::string log_ = (folder_.path / "log").string();
    test::Process process_;
};

// Its client, its requester, and how requests ended.
struct Asker {
    struct Ended {
        Response::Kind kind;
        std::string answer;
        mqtt::ReasonCode reason;
        mqtt::Error error;
    };

    explicit Asker(uint16_t broker, const std::string& id = "asker", size_t rx_size = 4096)
        : device(broker, id, rx_size), requester(device.client, device.options, 0xFFFFFFFE) {   // numbers wrap around
        device.options.version = mqtt::Version::v5;
        device.options.properties = ask_for_response_information;
    }
    void start() { REQUIRE(device.client.connect(device.options).ok()); }
    void connect() {
        start();
        REQUIRE(until([&] { return requester.ready(); }));
    }
    Event step() {
        const Event event = device.step();
        const Response response = requester.take(event, now_ms);
        if (response.kind == Response::none) return event;
        if (response.kind == Response::answered) text[response.number] += std::string(event.message.payload.text());
        if (response.kind == Response::answered && !event.message.complete()) return ++pieces, event;
        ended[response.number] = {response.kind, text[response.number], event.reason, event.error};
        ++count;
        return event;
    }
    template <class Condition> bool until(Condition condition) {
        return eventually([&] { return condition() || (step(), condition()); });
    }
    bool until_ended(size_t n) {
        return until([&] { return count >= n; });
    }
    bool until_sent() {
        return until([&] { return device.client.unacknowledged() == 0; });
    }
    Request ask(std::string_view payload, uint32_t timeout_ms = 1000) {
        return requester.request("service", payload, timeout_ms, now_ms);
    }

    Device device;
    Requester<Port, 4> requester;
    uint32_t now_ms = 0xFFFFFF00;   // of the time-outs; wraps around soon
    std::map<uint32_t, Ended> ended;
    std::map<uint32_t, std::string> text;
    size_t count = 0, pieces = 0;
};

// Keeps requests, and answers them when it is told to.
struct Answerer {
    struct Kept {
        std::string payload, properties;
        mqtt::Message message() const {
            mqtt::Message message;
            message.properties = mqtt::Properties(mqtt::Bytes(properties).data(), properties.size());
            return message;
        }
    };
    explicit Answerer(uint16_t broker) : device(broker, "answerer") {
        device.options.version = mqtt::Version::v5;
        device.connect();
        device.subscribe("service");
    }
    void step() {
        const Event event = device.step();
        if (event.kind != Event::received) return;
        kept.push_back({std::string(event.message.payload.text()), std::string(event.message.properties.block().text())});
    }
    bool until_kept(size_t n) {
        return eventually([&] { return kept.size() >= n || (step(), kept.size() >= n); });
    }
    void answer(size_t i, std::string_view text) {
        CHECK(respond(device.client, kept[i].message(), text).ok());
        REQUIRE(device.until(Event::acknowledged));
    }

    Device device;
    std::vector<Kept> kept;
};

void several_at_once(uint16_t broker) {
    Asker asker(broker);
    asker.connect();
    Answerer answerer(broker);
    std::map<uint32_t, std::string> expected;
    for (const char* text : {"one", "two", "three", "four"}) {
        const Request request = asker.ask(text);
        REQUIRE(request.ok());
        CHECK(expected.count(request.number) == 0);
        expected[request.number] = std::string(text) + "!";
    }
    CHECK(expected.count(0) == 0);   // which is no request's number
    CHECK(asker.ask("five").error == mqtt::Error::no_space);
    REQUIRE(asker.until_sent());
    REQUIRE(answerer.until_kept(4));
    for (const size_t i : {2U, 0U, 3U, 1U}) answerer.answer(i, answerer.kept[i].payload + "!");
    REQUIRE(asker.until_ended(4));
    for (const auto& [number, answer] : expected) {
        CHECK(asker.ended[number].kind == Response::answered);
        CHECK(asker.ended[number].answer == answer);
    }
    answerer.answer(0, "once more");   // nobody waits for it any more
    REQUIRE(asker.until([&] { return asker.device.messages.size() == 5; }));
    CHECK(asker.count == 4);
    CHECK(asker.ask("six").ok());
    asker.device.disconnect();
    answerer.device.disconnect();
}

void programs(uint16_t broker) {
    const std::string port = std::to_string(broker);
    {
        Program request({"request", "127.0.0.1", port});
        CHECK(request.ends() == 1);
        CHECK(request.output() == "no answer: no matching subscribers\n");
    }
    Program first({"responder", "127.0.0.1", port, "$share/upper/demo/upper"});
    Program second({"responder", "127.0.0.1", port, "$share/upper/demo/upper"});
    CHECK(first.says("ready"));
    CHECK(second.says("ready"));
    for (const std::string text : {"hello", "", "x=1"}) {
        Program request({"request", "127.0.0.1", port, "demo/upper", text});
        CHECK(request.ends() == 0);
        CHECK(request.output() == (text == "hello" ? "HELLO\n" : text.empty() ? "\n" : "X=1\n"));
    }
}

}  // namespace

TEST_CASE("MQTT 5 request and responder: two processes, through mosquitto") {
    if (test::Mosquitto::program().empty()) SKIP_TEST("mosquitto is not installed");
    test::Mosquitto broker;
    programs(broker.port);
}

TEST_CASE("MQTT 5 request and responder: two processes, through the embedded broker") {
    test::TcpBroker broker;
    broker.start();
    programs(broker.port());
}

TEST_CASE("MQTT 5 requests: several at once, answered in any order, through mosquitto [MQTT-3.3.2-15] [MQTT-3.3.2-16]") {
    if (test::Mosquitto::program().empty()) SKIP_TEST("mosquitto is not installed");
    test::Mosquitto broker;
    several_at_once(broker.port);
}

TEST_CASE("MQTT 5 requests: several at once, answered in any order, through the embedded broker") {
    test::TcpBroker broker;
    broker.start();
    several_at_once(broker.port());
}

TEST_CASE("MQTT 5 requests: where answers go: what the server says, else a topic of our own, and our client identifier") {
    struct Row {
        std::string information, id, topic;
    };
    const std::string long_text(90, 'x');
    for (const Row& row : {Row{"", "me", "responses/me"}, Row{"of/you", "me", "of/you/me"}, Row{"of/you/", "me", "of/you/me"},
                           Row{"", "", ""}, Row{long_text, "me", long_text + "/me"}}) {
        test::BrokerConfig config;
        config.response_information = row.information;
        test::TcpBroker broker(0, config);
        broker.start();
        Asker asker(broker.port(), row.id);
        asker.device.options.clean_session = row.id.empty();
        asker.connect();
        const std::string topic(asker.requester.response_topic());
        if (!row.id.empty()) CHECK(topic == row.topic);
        else CHECK((topic.rfind("responses/", 0) == 0 && topic.size() > 10));   // the server has assigned the rest
        Answerer answerer(broker.port());
        const Request request = asker.ask("x");
        REQUIRE(request.ok());
        REQUIRE(asker.until_sent());
        REQUIRE(answerer.until_kept(1));
        CHECK(answerer.kept[0].message().properties.get(mqtt::prop::response_topic).value_or("") == topic);
        CHECK(answerer.kept[0].message().properties.get(mqtt::prop::message_expiry_interval).value_or(0) == 2);
        answerer.answer(0, "y");
        CHECK(asker.until_ended(1));
        CHECK(asker.ended[request.number].answer == "y");
    }
}

TEST_CASE("MQTT 5 requests: where there can be none, it is told") {
    test::BrokerConfig config;
    config.grant = [](const std::string& id, std::string_view, QoS qos) {
        return id == "banned" ? uint8_t{0x87} : static_cast<uint8_t>(qos);
    };
    config.response_information = std::string(100, 'x');
    test::TcpBroker broker(0, config);
    broker.start();
    const auto fails = [&](Asker& asker) {
        CHECK(asker.ask("too early").error == mqtt::Error::not_connected);
        asker.start();
        REQUIRE(asker.until_ended(1));
        CHECK(asker.ended[0].kind == Response::failed);
        CHECK_FALSE(asker.requester.ready());
        CHECK(asker.ask("x").error == mqtt::Error::not_connected);
    };
    Asker too_long(broker.port());
    fails(too_long);
    broker.with([](test::Broker& b) { b.config.response_information.clear(); });
    Asker banned(broker.port(), "banned"), old(broker.port());
    fails(banned);
    old.device.options.version = mqtt::Version::v3_1_1;
    old.device.options.properties = {};
    fails(old);
}

TEST_CASE("MQTT 5 requests: an answer is the one to the request, in time, on the response topic") {
    test::TcpBroker broker;
    broker.start();
    Asker asker(broker.port());
    asker.connect();
    Answerer answerer(broker.port());
    const Request slow = asker.ask("slow", 5000), quick = asker.ask("quick", 1000);
    REQUIRE(slow.ok());
    REQUIRE(quick.ok());
    REQUIRE(asker.until_sent());
    REQUIRE(answerer.until_kept(2));
    REQUIRE(asker.until([&] { return asker.device.client.idle_ms() > 5000; }));
    CHECK(asker.requester.idle_ms(asker.now_ms) == 1000);

    // What looks like an answer, and is none.
    const std::string topic(asker.requester.response_topic());
    const auto send = [&](const std::string& to, const mqtt::PropertyBuffer<16>& properties) {
        REQUIRE(answerer.device.client.publish(to, "no", QoS::at_least_once, mqtt::Retain::no, properties).ok());
    };
    uint8_t number[4];
    mqtt::store_u32(number, quick.number + 100);
    send(topic, mqtt::PropertyBuffer<16>().add(mqtt::prop::correlation_data, number));
    send(topic, mqtt::PropertyBuffer<16>().add(mqtt::prop::correlation_data, mqtt::Bytes(number, 3)));
    send(topic, mqtt::PropertyBuffer<16>().add(mqtt::prop::correlation_data, mqtt::Bytes()));
    send(topic, {});
    mqtt::store_u32(number, 0);   // a free place
    send(topic, mqtt::PropertyBuffer<16>().add(mqtt::prop::correlation_data, number));
    asker.device.subscribe("other");
    mqtt::store_u32(number, quick.number);
    send("other", mqtt::PropertyBuffer<16>().add(mqtt::prop::correlation_data, number));
    REQUIRE(answerer.device.until([&] { return answerer.device.client.unacknowledged() == 0; }));
    REQUIRE(asker.until([&] { return asker.device.messages.size() == 6; }));
    CHECK(asker.count == 0);

    asker.now_ms += 999;
    for (int i = 0; i < 3; ++i) asker.step();
    CHECK(asker.count == 0);
    CHECK(asker.requester.idle_ms(asker.now_ms) <= 1);
    asker.now_ms += 1;
    REQUIRE(asker.until_ended(1));
    CHECK(asker.ended[quick.number].kind == Response::timed_out);
    answerer.answer(1, "late");
    answerer.answer(0, "in time");
    REQUIRE(asker.until_ended(2));
    CHECK(asker.ended[slow.number].kind == Response::answered);
    CHECK(asker.ended[slow.number].answer == "in time");
    asker.now_ms += 10000;
    for (int i = 0; i < 3; ++i) asker.step();
    CHECK(asker.count == 2);
}

TEST_CASE("MQTT 5 requests: one that is refused, finds nobody, or is dropped, fails at once") {
    test::BrokerConfig config;
    config.accept_publish = [](const std::string&, const mqtt::Publish& packet) {
        return packet.payload.text() == "secret" ? mqtt::ReasonCode::not_authorized : mqtt::ReasonCode::success;
    };
    test::TcpBroker broker(0, config);
    broker.start();
    Asker asker(broker.port());
    asker.connect();
    const Request secret = asker.ask("secret"), unheard = asker.ask("unheard");
    REQUIRE(asker.until_ended(2));
    CHECK(asker.ended[secret.number].kind == Response::failed);
    CHECK(asker.ended[secret.number].reason == mqtt::ReasonCode::not_authorized);
    CHECK(asker.ended[unheard.number].kind == Response::failed);
    CHECK(asker.ended[unheard.number].reason == mqtt::ReasonCode::no_matching_subscribers);
    CHECK(asker.requester.request("a/+", "x", 1000, 0).error == mqtt::Error::invalid_topic);

    Request lost;
    broker.with([&](test::Broker&) {   // which meanwhile does nothing
        lost = asker.ask("lost");
        for (int i = 0; i < 3; ++i) asker.step();
    });
    broker.with([](test::Broker& b) { b.lose_sessions(); });
    REQUIRE(lost.ok());
    REQUIRE(asker.until_ended(3));
    CHECK(asker.ended[lost.number].kind == Response::failed);
}

TEST_CASE("MQTT 5 requests: an answer finds its request also on the next connection, and in pieces if it is large") {
    test::TcpBroker broker;
    broker.start();
    Asker asker(broker.port(), "asker", 256);
    asker.connect();
    Answerer answerer(broker.port());
    const Request request = asker.ask("x"), second = asker.ask("y");
    REQUIRE(asker.until_sent());
    REQUIRE(answerer.until_kept(2));
    broker.with([](test::Broker& b) { b.lose_sessions(); });   // and every connection
    REQUIRE(asker.until([&] { return !asker.requester.ready(); }));
    CHECK(asker.ask("z").error == mqtt::Error::not_connected);
    REQUIRE(asker.until([&] { return asker.requester.ready(); }));   // has subscribed again
    REQUIRE(answerer.device.until([&] { return !answerer.device.ended.empty() && answerer.device.client.connected(); }));
    const std::string large(1000, 'L');
    answerer.answer(0, large);
    answerer.answer(1, "small");
    REQUIRE(asker.until_ended(2));
    CHECK(asker.pieces > 2);
    CHECK(asker.ended[request.number].answer == large);
    CHECK(asker.ended[second.number].answer == "small");
}

TEST_CASE("MQTT 5 respond(): correlation data goes back as it came, whatever it is; without a response topic there is no answer") {
    test::TcpBroker broker;
    broker.start();
    Answerer answerer(broker.port());
    Device asker(broker.port(), "raw");
    asker.options.version = mqtt::Version::v5;
    asker.connect();
    asker.subscribe("answers");
    std::string binary(1500, '\0');
    for (size_t i = 0; i < binary.size(); ++i) binary[i] = static_cast<char>(i);
    size_t n = 0;
    for (const std::string& correlation : {std::string(), std::string("x"), binary}) {
        mqtt::PropertyBuffer<2000> properties;
        properties.add(mqtt::prop::user_property, {"before", "it"}).add(mqtt::prop::response_topic, "answers");
        properties.add(mqtt::prop::correlation_data, correlation).add(mqtt::prop::content_type, "text");
        REQUIRE(asker.client.publish("service", "x", QoS::exactly_once, mqtt::Retain::no, properties).ok());
        REQUIRE(asker.until(Event::acknowledged));
        REQUIRE(answerer.until_kept(++n));
        answerer.answer(n - 1, "y");
        Event event;
        REQUIRE(eventually([&] { return (event = asker.step()).kind == Event::received; }));
        CHECK(event.message.topic == "answers");
        const mqtt::Properties list = event.message.properties;
        REQUIRE(list.get(mqtt::prop::correlation_data));
        CHECK((list.get(mqtt::prop::correlation_data)->text() == correlation));
        CHECK(list.block().size() == 3 + correlation.size());   // and nothing else
    }
    const auto without = mqtt::PropertyBuffer<16>().add(mqtt::prop::response_topic, "answers");
    REQUIRE(asker.client.publish("service", "x", QoS::at_least_once, mqtt::Retain::no, without).ok());
    REQUIRE(asker.client.publish("service", "x", QoS::at_least_once).ok());
    REQUIRE(asker.until([&] { return asker.client.unacknowledged() == 0; }));
    REQUIRE(answerer.until_kept(++n + 1));
    answerer.answer(n - 1, "z");
    CHECK(respond(answerer.device.client, answerer.kept[n].message(), "z").error == mqtt::Error::invalid_topic);
    REQUIRE(asker.until([&] { return asker.messages.back().payload == "z"; }));
    CHECK(asker.messages.size() == n);
}
