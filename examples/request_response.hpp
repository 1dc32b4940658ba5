// Requests and their answers (MQTT 5, section 4.10), over a client that may do other things, too.
//
// Who asks, with options.properties = ask_for_response_information, so that a server may say where answers are to go:
//
//     Requester requester(client, options, port.random());
//     while (true) {
//         const mqtt::Event event = client.poll();
//         const Response response = requester.take(event, port.now_ms());   // each event, also Event::none
//         if (response.kind == Response::answered) use(event.message.payload);
//         ...
//         if (requester.ready()) ... requester.request("demo/upper", "hello", 5000, port.now_ms()) ...
//         ...
//         port.wait(requester.idle_ms(port.now_ms()), client.wants_write());
//     }
//
// Who answers:
//
//     case mqtt::Event::received: (void)respond(client, event.message, "HELLO"); break;
//
// No heap: the requester is 130 bytes, and 16 for each of `most` requests that may be open at once.
#ifndef MQTT_EXAMPLES_REQUEST_RESPONSE_HPP
#define MQTT_EXAMPLES_REQUEST_RESPONSE_HPP

#include "mqtt.hpp"

inline constexpr auto ask_for_response_information =
    mqtt::PropertyBuffer<2>().add(mqtt::prop::request_response_information, 1);

struct Request {
    mqtt::Error error = mqtt::Error::ok;
    uint32_t number = 0;   // 0 with an error

    bool ok() const { return error == mqtt::Error::ok; }
};

// How a request ended.
struct Response {
    enum Kind : uint8_t {
        none,         // the event has nothing to do with requests
        answered,     // event.message is the answer; one that is larger than rx comes in pieces, each told as this
        timed_out,    // no answer in time
        failed        // the request was refused, or dropped, or there is nobody who would answer: see the event. With
                      // number 0: there can be no requests on this connection
    };
    Kind kind = none;
    uint32_t number = 0;   // the request's
};

template <class Port, size_t most = 8> class Requester {
public:
    // `first` is the first request's number. If it differs from run to run, no answer of an earlier run is taken for one.
    Requester(mqtt::Client<Port>& client, const mqtt::ConnectOptions& options, uint32_t first)
        : client_(client), options_(options), last_(first - 1) {}

    // Answers would arrive: the server has granted the subscription to our response topic.
    bool ready() const { return ready_; }
    std::string_view response_topic() const { return {topic_, topic_size_}; }

    // Publishes a request at QoS 1, which expires with its time-out (of less than 2^31 ms).
    // Errors: not_connected (not ready), no_space (also: too many open requests), and those of publish().
    Request request(std::string_view topic, mqtt::Bytes payload, uint32_t timeout_ms, uint32_t now_ms) {
        Open* const free = find([](const Open& open) { return open.number == 0; });
        if (!ready_) return {mqtt::Error::not_connected};
        if (free == nullptr) return {mqtt::Error::no_space};
        const uint32_t number = last_ + 1 != 0 ? last_ + 1 : 1;
        uint8_t correlation[4];
        mqtt::store_u32(correlation, number);
        mqtt::PropertyBuffer<topic_maximum + 16> properties;
        properties.add(mqtt::prop::response_topic, response_topic())
            .add(mqtt::prop::correlation_data, correlation)
            .add(mqtt::prop::message_expiry_interval, timeout_ms / 1000 + 1);
        const mqtt::Result result =
            client_.publish(topic, payload, mqtt::QoS::at_least_once, mqtt::Retain::no, properties);
        if (!result.ok()) return {result.error};
        *free = {last_ = number, now_ms + timeout_ms, result.packet_id};
        return {mqtt::Error::ok, number};
    }

    // What an event means for the requests; Event::none, that it is time to look for those without an answer.
    Response take(const mqtt::Event& event, uint32_t now_ms) {
        switch (event.kind) {
        case mqtt::Event::connected: return {subscribe(event) ? Response::none : Response::failed};
        case mqtt::Event::disconnected: ready_ = false; return {};
        case mqtt::Event::subscribed:
            if (event.packet_id != subscribing_) return {};
            ready_ = mqtt::granted(event.reason_codes[0]);
            return {ready_ ? Response::none : Response::failed};
        case mqtt::Event::received: return on_message(event.message);
        case mqtt::Event::acknowledged:
        case mqtt::Event::dropped: {
            Open* const open = find([&](const Open& o) { return o.packet_id != 0 && o.packet_id == event.packet_id; });
            if (open == nullptr) return {};
            open->packet_id = 0;   // can become another message's
            const bool arrived = event.kind == mqtt::Event::acknowledged && event.reason == mqtt::ReasonCode::success;
            return arrived ? Response{} : end(*open, Response::failed);
        }
        case mqtt::Event::none: {
            Open* const open = find([&](const Open& o) { return o.number != 0 && left(o, now_ms) == 0; });
            return open == nullptr ? Response{} : end(*open, Response::timed_out);
        }
        default: return {};
        }
    }

    // The client's idle_ms(), or the time until a request times out.
    uint32_t idle_ms(uint32_t now_ms) const {
        uint32_t least = client_.idle_ms();
        for (const Open& open : open_)
            if (open.number != 0 && left(open, now_ms) < least) least = left(open, now_ms);
        return least;
    }

private:
    static constexpr size_t topic_maximum = 96;
    struct Open {
        uint32_t number = 0, deadline_ms = 0;   // number 0: a free place
        uint16_t packet_id = 0;                 // until it is acknowledged
    };

    template <class Condition> Open* find(Condition condition) {
        for (Open& open : open_)
            if (condition(open)) return &open;
        return nullptr;
    }
    static uint32_t left(const Open& open, uint32_t now_ms) {
        const uint32_t ms = open.deadline_ms - now_ms;
        return ms < uint32_t{1} << 31 ? ms : 0;
    }
    static Response end(Open& open, Response::Kind kind) {
        const Response response{kind, open.number};
        open = Open{};
        return response;
    }

    // To what the server says that answers should go to, or a topic of our own, and in it to our client identifier.
    bool subscribe(const mqtt::Event& connack) {
        const auto assigned = connack.properties.get(mqtt::prop::assigned_client_identifier);
        const std::string_view id = assigned.value_or(options_.client_id);
        if (!id.empty()) {   // else it is the one that was assigned before
            topic_size_ = 0;
            const auto where = connack.properties.get(mqtt::prop::response_information).value_or("responses/");
            const bool ends = where.empty() || where.back() == '/';
            for (const std::string_view part : {where, std::string_view(ends ? "" : "/"), id}) {
                if (part.size() > sizeof topic_ - topic_size_) return false;
                for (const char c : part) topic_[topic_size_++] = c;
            }
        }
        if (client_.version() != mqtt::Version::v5) return false;
        const mqtt::Result result = client_.subscribe(response_topic(), mqtt::QoS::at_least_once);
        subscribing_ = result.packet_id;
        return result.ok();
    }

    Response on_message(const mqtt::Message& message) {
        const auto data = message.properties.get(mqtt::prop::correlation_data);
        if (message.topic != response_topic() || !data || data->size() != 4) return {};
        const uint32_t number = mqtt::load_u32(data->data());
        Open* const open = find([&](const Open& o) { return o.number != 0 && o.number == number; });
        if (open == nullptr) return {};   // late, or once more
        return message.complete() ? end(*open, Response::answered) : Response{Response::answered, number};
    }

    mqtt::Client<Port>& client_;
    const mqtt::ConnectOptions& options_;
    uint32_t last_;                // request's number
    uint16_t subscribing_ = 0;     // packet id
    bool ready_ = false;
    size_t topic_size_ = 0;
    char topic_[topic_maximum] = {};
    Open open_[most];
};

// Answers a request that has been received whole. Errors: invalid_topic (nobody waits for an answer: there is no response
// topic), and those of publish().
template <class Port>
mqtt::Result respond(mqtt::Client<Port>& client, const mqtt::Message& request, mqtt::Bytes payload,
                     mqtt::QoS qos = mqtt::QoS::at_least_once) {
    const auto topic = request.properties.get(mqtt::prop::response_topic);
    const auto data = request.properties.get(mqtt::prop::correlation_data);
    if (!topic) return {mqtt::Error::invalid_topic};
    // Sent back as it came: with the three bytes before it, which tell what it is and its length.
    const mqtt::Properties same = data ? mqtt::Properties(data->data() - 3, data->size() + 3) : mqtt::Properties();
    return client.publish(*topic, payload, qos, mqtt::Retain::no, same);
}

#endif
