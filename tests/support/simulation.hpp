// A randomized simulation: real clients against the in-process broker, over a network that does what networks do, in
// virtual time. One seed is one run; the same seed gives the same run.
//
//     test::Simulation simulation(seed, trace);
//     simulation.run();                         // throws test::Failure: what was wrong, and when
//
// A run has two halves. In the first one applications publish, subscribe, hold acknowledgements back, disconnect and
// connect again, while links are slow, cut, half open, refused or stalled, and the broker restarts. In the second one
// nothing is broken any more, and everything has to come to rest: each accepted operation has ended in one event,
// nothing is on its way, and the clients sleep but for their pings.
//
// What is checked, and by whom:
//   the wire         observe_up() decodes what a client writes: CONNECT first and once, nothing behind DISCONNECT, packet
//                    ids, DUP, the order of PUBLISH, PUBREL, PUBACK and PUBREC, nothing twice on one connection,
//                    no acknowledgement before the application has had the message, in_flight_maximum
//   the broker       its log: what arrived, how often, in which order, intact; its statistics: no violation
//   the application  handle(): events for what was asked, once; messages intact, as often as their QoS allows, in order
// Profiles: `strict` has sessions that are kept on both sides; `lossy` has clean sessions and a broker that loses its
// memory; `calm` has a network without faults, where nothing may be sent twice.
// Half of the seeds have MQTT 5: clients of either version and some that fall back, a server whose limits are others for
// each connection and that disconnects and refuses, and messages with properties. There,
//   the wire         also nothing above what CONNACK allowed, and aliases that mean what they say
//   the application  also why something was dropped, and properties, which arrive unchanged and in order
#pragma once

#include "mqtt.hpp"

#include "tests/support/broker.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace test {

struct Failure {
    std::string text;
};

class Random {
public:
    explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U + 0x1234567) {}
    uint64_t next() {   // splitmix64
        uint64_t z = state_ += 0x9E3779B97F4A7C15U;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        return z ^ (z >> 31);
    }
    uint64_t below(uint64_t limit) { return limit == 0 ? 0 : next() % limit; }
    uint64_t between(uint64_t low, uint64_t high) { return low + below(high - low + 1); }
    bool chance(unsigned percent) { return below(100) < percent; }
    template <class T> T one_of(std::initializer_list<T> list) { return list.begin()[below(list.size())]; }

private:
    uint64_t state_;
};

// How often the things happened that the simulation is there for. A test asks that none of them is 0.
struct Coverage {
    uint64_t polls = 0, messages = 0, connections = 0, cuts = 0, half_open = 0, stalls = 0, refused_opens = 0, late = 0, restarts = 0,
             lost_sessions = 0, takeovers = 0, resent_publishes = 0, resent_pubrels = 0, repeated_at_broker = 0,
             repeated_to_client = 0, pieces = 0, skipped = 0, streams = 0, streams_resent = 0, dropped = 0, waited_at_gate = 0,
             no_space = 0, half_packets = 0, manual = 0, graceful = 0, unaware = 0;
    // MQTT 5
    uint64_t connections_v5 = 0, fell_back = 0, server_disconnects = 0, refusals = 0, session_unknown = 0, redirected = 0, assigned = 0,
             authentications = 0, limited = 0, limit_dropped = 0, expired = 0, refused_messages = 0, refused_by_us = 0, aliases_up = 0,
             aliases_down = 0, aliases_unknown = 0, aliases_missed = 0, stripped = 0, expired_at_broker = 0, too_large_for_client = 0, window_full = 0;
    void add(const Coverage& o) {
        const uint64_t* from = &o.polls;
        uint64_t* to = &polls;
        for (size_t i = 0; i < sizeof(Coverage) / sizeof(uint64_t); ++i) to[i] += from[i];
    }
};

class Simulation;

struct SimulatedPort {
    Simulation* simulation = nullptr;
    size_t owner = 0;

    inline int open(std::string_view host, uint16_t port);
    inline int read(uint8_t* data, size_t size);
    inline int write(const uint8_t* data, size_t size);
    inline void close();
    inline uint32_t now_ms();
    inline uint32_t random();
};

enum class Profile { strict, lossy, calm };

class Simulation {
public:
    static Profile profile_of(uint64_t seed) {
        const uint64_t k = seed % 8;
        return k < 4 ? Profile::strict : k < 7 ? Profile::lossy : Profile::calm;
    }
    static bool has_v5(uint64_t seed) { return mqtt::has_v5 && seed / 8 % 2 == 1; }

    Simulation(uint64_t seed, bool trace) : random_(seed), profile_(profile_of(seed)), v5_(has_v5(seed)), trace_(trace) { set_up(); }
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;

    void run() {
        tell("---- faults");
        while (now_ < faults_end_ && (budget_ != 0 || now_ < faults_min_) && now_ < hard_end_) step(faults_end_);
        heal();
        tell("---- healed");
        const uint64_t limit = now_ + settle_limit_;
        while (!at_rest()) {
            if (now_ >= limit) fail("not at rest in time: " + unrest());
            step(limit);
        }
        tell("---- at rest");
        hold();
        check_memory();
        part();
        check_end();
    }

    Coverage coverage;

private:
    friend struct SimulatedPort;
    static constexpr uint64_t never = ~uint64_t{0};

    // ------------------------------------------------------------------------------------------------------ data

    struct Chunk {
        uint64_t at;
        std::string data;
        bool end;            // of the stream: the connection is closed behind it
    };
    struct Pipe {
        std::deque<Chunk> chunks;
        uint64_t last = 0;           // arrival of the last one
        uint64_t stalled_until = 0;
        size_t bytes = 0;            // in flight
        bool dead = false;           // what is written from now on goes nowhere
        uint64_t gives_up_at = never;   // the system does, when nobody acknowledges
    };
    // What the broker sent on one connection as PUBLISH.
    struct Arrival {
        size_t publisher = ~size_t{0};
        uint32_t sequence = 0;
        int qos = 0;
        size_t total = 0;            // bytes of its payload
        bool too_long = false;       // what comes before that does not fit into rx
        bool unknown_alias = false;  // the client had no room for its topic
        std::string properties;
        mqtt::ReasonCode reason = mqtt::ReasonCode::success;   // with which the application took it
        uint64_t serial = 0;
        uint64_t polls = 0;          // the client's polls when the application got it
        bool handled = false;        // the application had it (with manual_ack: acknowledged it), on this connection
        bool answered = false;
    };
    // What the broker sent as the answer to a packet id, or as the end of a connection.
    struct Answer {
        mqtt::ReasonCode reason = mqtt::ReasonCode::success;
        std::string codes, properties;
    };
    struct Filter {
        std::string filter;
        int qos = 0;
        bool no_local = false, retain_as_published = false;
        mqtt::RetainHandling retain_handling = mqtt::RetainHandling::send;
    };
    struct Link {
        size_t owner = 0;
        uint64_t serial = 0;
        Broker::Id id = Broker::none;
        uint64_t opens_at = 0;
        bool refused = false;
        bool established = false;
        bool rogue = false;          // somebody else with the owner's client id
        Pipe up, down;
        std::string arrived;         // at the client, not read yet
        bool lost = false;           // the client sees it
        bool left = false;           // the client has closed it
        bool gone = false;           // the broker has, or sees that it is
        bool reset = false;          // what the client has not read by then is lost
        bool blind = false;          // a half-open link, as the client is concerned
        uint64_t unwritable_until = 0;
        // observers
        std::string up_part, down_part;
        bool anew = false;           // nothing of an earlier session may be sent
        bool connect_seen = false, disconnect_seen = false, connack_seen = false, present = false;
        uint64_t session = 0;        // the broker's session that CONNACK was for
        uint32_t last_publish = 0;   // sequence of the last PUBLISH of QoS 1 or 2
        uint64_t last_pubrel = 0, last_puback = 0, last_pubrec = 0;
        uint64_t arrivals = 0;
        std::map<uint16_t, Arrival> received;
        std::deque<Arrival> received_0;   // of QoS 0, not told yet
        std::map<uint16_t, int> pubrels;
        // MQTT 5
        bool v5 = false;             // by its CONNECT
        BrokerLimits limits;         // by its CONNACK
        uint16_t keep_alive = 0;
        bool session_kept = false;
        std::string connack_properties;
        std::map<uint16_t, std::string> aliases_up, aliases_down;
        std::map<uint16_t, bool> alias_known;   // of the latter, those that the client knows of: does it have the topic?
        bool alias_missed = false;   // one that it cannot know of was used
        std::map<uint16_t, Answer> answers, released;
        bool ended = false;          // the broker has refused it or said why it ends
        Answer end;
    };
    struct Message {
        size_t publisher = 0;
        uint32_t sequence = 0;
        int qos = 0;
        bool retain = false;
        std::string topic, payload;
        std::string properties;      // as they were given; forwarded: without the expiry
        std::string forwarded;
        mqtt::Optional<uint32_t> expiry;
        uint64_t published_at = 0;
        bool stripped = false;       // it lost its properties, as it went by 3.1.1
        bool turned_away = false;    // the broker refused it, at least once
        bool acknowledged = false, dropped = false;
        bool exempt = false;         // sent in a session that was lost without anybody being told: see unaware()
        int arrivals = 0;            // at the broker
        uint64_t arrived = 0;        // serial
        uint64_t written_on = 0;     // serial of the last link on which all of it was written
    };
    enum class What { publish, subscribe, unsubscribe };
    struct Operation {
        What what = What::publish;
        Message* message = nullptr;
        std::vector<Filter> filters;
        uint32_t identifier = 0;
        bool stripped = false;
        bool stable = false;
        uint64_t pubrec = 0;         // serial of the event
        uint64_t sent_on = 0, released_on = 0, written_on = 0;
    };
    struct Delivery {
        int count = 0, taken = 0;
    };
    struct Held {
        uint16_t packet_id;
        size_t publisher;
        uint32_t sequence;
        bool acknowledged;
    };
    struct Actor {
        size_t index = 0;
        std::string id, will_topic;
        std::vector<uint8_t> rx, tx;
        std::vector<uint8_t> received_aliases, sent_aliases, id_memory;
        uint16_t receive_maximum = 0, alias_maximum = 0;
        mqtt::PropertyBuffer<64> connect_properties;
        bool has_method = false;     // it authenticates by "test"
        bool anonymous = false;      // the server gives it an id
        std::set<std::string> ids;   // all that it gave
        SimulatedPort port;
        std::unique_ptr<mqtt::Client<SimulatedPort>> client;
        mqtt::ConnectOptions options;
        Link* link = nullptr;
        bool started = false, stopping = false, connected = false;
        std::map<uint16_t, Operation> outstanding;
        std::deque<Message> messages;                     // all accepted, by sequence - 1
        std::vector<Filter> stable;                       // filters that it always wants
        bool subscribe_due = false;
        uint64_t stable_since = never;                    // serial of `subscribed`
        // the message that is being streamed
        Message* stream = nullptr;
        uint16_t stream_id = 0;
        size_t stream_at = 0;
        bool stream_open = false;    // its payload is wanted
        // receiving
        std::deque<Held> held;         // open messages, in order; gone when it and all before are acknowledged
        bool partial = false;
        std::string partial_topic, partial_payload;
        uint32_t partial_total = 0;
        uint16_t partial_id = 0;
        std::map<std::pair<size_t, uint32_t>, Delivery> deliveries;
        std::map<std::tuple<size_t, std::string, int, int>, uint32_t> last_first;   // order of first deliveries
        // sessions
        uint64_t broker_session = 0; // serial of the one that the broker has
        uint64_t session = 0;        // serial of the one that the client knows
        bool session_clean = false;  // it began, or may have, with clean_session
        bool ever_clean = false;
        bool may_drop = false;       // the last `connected` had no session, or was told to begin anew
        bool confirmed_clean = false;
        bool drops_left = false;     // the connection ended before all were told
        uint64_t link_serial = 0;    // of the last `connected`
        bool unaware = false;
        std::vector<std::string> leftovers;   // half-written packets of earlier connections
        // scheduling
        uint64_t next_action = 0;
        uint64_t asleep_until = 0;
        bool asks = false;           // wants_read() also, and does not look for input in vain
        int style = 0;               // 0 precise, 1 eager, 2 lazy
        uint64_t eager_at = 0;
        uint64_t polls = 0;
        uint64_t spins = 0, spin_at = 0;
        uint64_t progress = 0;
        uint64_t disconnects = 0, stops = 0;
        mqtt::Error last_error = mqtt::Error::ok;
        // MQTT 5
        bool outbox_v5 = false;      // what waits is written in version 5
        bool start_clean = false;    // the next connection of version 5 begins a new session
        bool session_unknown = false;   // the last one ended for that
        BrokerLimits limits;         // of the last connection
        bool alias_missed = false;   // in it, the server used an alias that was set by a message that does not fit
        bool ended = false;          // by the server, as it said
        Answer end;
        bool went_silent = false;    // an attempt with version 5 ended without CONNACK, and none has succeeded,
        bool refused_v5 = false;     // or the server said that it does not know it
        bool settled_v5 = false;
        bool elsewhere = false;      // the next attempt goes to the server that was named ...
        bool was_elsewhere = false;  // ... and this one does,
        bool session_elsewhere = false;   // as did the one that the client's session is of
        mqtt::Disconnect farewell;   // what disconnect() was asked to send
        mqtt::PropertyBuffer<16> farewell_properties;
        std::string answer;          // to an AUTH, when there is room for it
        bool re_authenticating = false;
        bool resumed = false;        // it has told all that it drops
        bool gave_up = false;        // a message that had been sent, and the server's session has gone on
        std::map<std::pair<std::string, int>, uint32_t> last_at_broker;   // order at the broker, by topic and QoS
        uint32_t last_kept_at_broker = 0;
    };

    // ------------------------------------------------------------------------------------------------------ set up

    void set_up() {
        const bool calm = profile_ == Profile::calm;
        base_ = 0xFFFFFFFFU - random_.below(random_.chance(50) ? 5000 : 200000);
        latency_ = random_.one_of<uint64_t>({0, 1, 5, 50, calm ? 20U : 300U});
        window_ = random_.one_of<size_t>({40, 300, 3000, 1000000});
        short_writes_ = random_.chance(60);
        short_reads_ = random_.chance(50);
        action_gap_ = random_.one_of<uint64_t>({2, 20, 200, 1000});
        fault_gap_ = random_.one_of<uint64_t>({50, 300, 1500, 6000});
        faults_left_ = calm ? 0 : random_.between(3, 30);
        next_fault_ = random_.between(1, fault_gap_ * 2);
        budget_ = random_.between(20, random_.chance(20) ? 200 : 80);
        max_qos_ = static_cast<int>(random_.chance(70) ? 2 : random_.below(3));
        long_topics_ = random_.chance(20);
        big_messages_ = random_.chance(50);
        streams_ = random_.chance(40);
        if (v5_) {
            reason_strings_ = random_.chance(40);
            refuses_messages_ = random_.chance(40);
            if (random_.chance(30)) level_5_ = random_.one_of({BrokerConfig::refused_as_3_1_1, BrokerConfig::refused_as_5, BrokerConfig::closed});
        }
        const size_t count = random_.between(1, 4);
        uint16_t narrowest = 65535;
        for (size_t i = 0; i < count; ++i) {
            actors_.push_back(std::make_unique<Actor>());
            Actor& a = *actors_.back();
            a.index = i;
            a.id = "c" + std::to_string(i);
            a.rx.resize(random_.chance(30) ? random_.between(24, 40) : random_.between(24, 512));
            if (v5_) a.rx.resize(random_.chance(30) ? random_.between(64, 80) : random_.between(64, 512));   // for CONNACK
            a.receive_maximum = static_cast<uint16_t>(random_.chance(40) ? random_.between(1, 3) : random_.between(1, 20));
            narrowest = std::min(narrowest, a.receive_maximum);
            const size_t least = 3U * a.receive_maximum + 16 + 60;
            a.tx.resize(random_.chance(40) ? random_.between(std::max<size_t>(least, 100), std::max<size_t>(least, 100) + 60)
                                           : random_.between(least + 100, 4096));
            a.port.simulation = this;
            a.port.owner = i;
            mqtt::Buffers buffers{{a.rx.data(), a.rx.size()}, {a.tx.data(), a.tx.size()}, a.receive_maximum};
            if (v5_) set_up_v5(a, buffers);
            a.client = std::make_unique<mqtt::Client<SimulatedPort>>(a.port, buffers);
            a.options.host = "broker";
            if (!a.anonymous) a.options.client_id = a.id;
            a.options.keep_alive = random_.one_of<uint16_t>({0, 1, 2, 5, 30, 60, 600});
            a.options.connect_timeout_ms = static_cast<uint32_t>(random_.between(2000, 20000));
            a.options.response_timeout_ms = static_cast<uint32_t>(random_.between(1500, 10000));
            a.options.reconnect_min_ms = static_cast<uint32_t>(random_.between(1, 1000));
            a.options.reconnect_max_ms = static_cast<uint32_t>(random_.between(1000, 8000));
            a.options.stable_ms = static_cast<uint32_t>(random_.between(100, 20000));
            if (calm) a.options.response_timeout_ms = 60000;   // the last bytes may go out slowly
            if (!calm && random_.chance(5)) a.options.reconnect_max_ms = 0;
            a.options.manual_ack = random_.chance(30);
            if (a.options.manual_ack) ++coverage.manual;
            if (random_.chance(20) && a.rx.size() > (v5_ ? 100 : 60)) {
                a.will_topic = "w/" + std::to_string(i);
                a.options.will.topic = a.will_topic;
                a.options.will.message = "gone";
                a.options.will.qos = static_cast<mqtt::QoS>(random_.below(3));
            }
            vary_options(a);
            for (uint64_t n = random_.between(1, 2); n != 0; --n) {
                Filter f;
                f.filter = some_filter();
                if (!a.stable.empty() && a.stable[0].filter == f.filter) continue;
                f.qos = static_cast<int>(random_.below(static_cast<uint64_t>(max_qos_) + 1));
                a.stable.push_back(f);
            }
            a.asks = random_.chance(70);
            a.style = static_cast<int>(random_.below(3));
            a.next_action = random_.below(action_gap_ + 1);
            a.subscribe_due = true;
        }
        // A server that keeps to the smallest receive_maximum; more only if nothing is of QoS 2, where the client must
        // hold it back.
        broker_.config.max_inflight = static_cast<uint16_t>(random_.between(1, narrowest));
        if (random_.chance(30)) broker_.config.max_inflight = narrowest;
        if (max_qos_ < 2 && random_.chance(50)) broker_.config.max_inflight = static_cast<uint16_t>(random_.between(1, 60));
        broker_.config.dup_on_redelivery = !random_.chance(40);
        broker_.config.log_publishes = true;
        broker_.config.connect_timeout_ms = 30000;
        broker_.config.grant = [](const std::string&, std::string_view filter, mqtt::QoS qos) {
            return refused_filter(filter) ? static_cast<uint8_t>(mqtt::ReasonCode::not_authorized) : static_cast<uint8_t>(qos);
        };
        max_inflight_ = broker_.config.max_inflight;
        if (v5_) set_up_v5();
        if (trace_) broker_.config.trace = [this](const std::string& line) { tell("          broker: " + line); };
        faults_min_ = random_.between(500, 20000);
        faults_end_ = 600000;
        hard_end_ = 8000000;
        settle_limit_ = 400000;
    }
    static bool refused_filter(std::string_view filter) { return filter.substr(0, 2) == "no"; }

    void vary_options(Actor& a) {
        a.options.clean_session = profile_ == Profile::lossy ? random_.chance(40) : false;
        a.options.in_flight_maximum = random_.one_of<uint16_t>({1, 1, 2, 3, 5, 10, 65535});
        if (!v5_) return;
        // A server that is told of a maximum on a later connection only drops what it has begun to send.
        const bool needs_v5 = a.has_method || a.anonymous || a.options.maximum_packet_size != 0;
        a.options.version = needs_v5 || random_.chance(60) ? mqtt::Version::v5
                            : random_.chance(60)           ? mqtt::Version::v5_or_v3_1_1
                                                           : mqtt::Version::v3_1_1;
        if (profile_ == Profile::calm && level_5_ != BrokerConfig::served) a.options.version = mqtt::Version::v5_or_v3_1_1;
        if (profile_ != Profile::lossy) return;
        a.options.clean_start = random_.chance(20);
        a.options.session_expiry_interval = random_.one_of<uint32_t>({mqtt::forever, mqtt::forever, 0, 1, 5, 60});
    }

    // ---- MQTT 5

    void set_up_v5() {
        BrokerConfig& config = broker_.config;
        config.reason_strings = reason_strings_;
        config.accept_publish = [this](const std::string&, const mqtt::Publish& packet) {
            if (healed_ || !refuses_messages_ || !random_.chance(10) || !ours(packet.topic)) return mqtt::ReasonCode::success;
            const Message& found = identify(std::string(packet.payload.text()), packet.topic);
            actors_[found.publisher]->messages[found.sequence - 1].turned_away = true;
            return mqtt::ReasonCode::quota_exceeded;
        };
        vary_server(nullptr);
    }
    void set_up_v5(Actor& a, mqtt::Buffers& buffers) {
        // What answers the broker sends must fit.
        const bool narrow = a.rx.size() < 160;
        if ((reason_strings_ && narrow) || random_.chance(20)) a.options.maximum_packet_size = static_cast<uint32_t>(a.rx.size());
        const bool served = profile_ != Profile::calm || level_5_ == BrokerConfig::served;   // ever
        a.has_method = !narrow && served && random_.chance(15);
        if (a.has_method) a.connect_properties.add(mqtt::prop::authentication_method, "test");
        if (random_.chance(20)) a.connect_properties.add(mqtt::prop::request_problem_information, static_cast<uint8_t>(random_.below(2)));
        if (!narrow && random_.chance(20)) a.connect_properties.add(mqtt::prop::user_property, {"actor", "x"});
        a.options.properties = a.connect_properties;
        a.options.follow_server_reference = random_.chance(50);
        a.options.adopt_session = random_.chance(30);
        a.alias_maximum = static_cast<uint16_t>(random_.chance(50) ? 0 : random_.between(1, 4));
        if (profile_ == Profile::calm && long_topics_) a.alias_maximum = 0;   // what is skipped could set an alias
        a.received_aliases.resize(a.alias_maximum * 4U + (random_.chance(70) ? 200 : random_.below(20)));
        a.sent_aliases.resize(random_.chance(50) ? 0 : random_.between(1, 40));
        a.id_memory.resize(16);
        a.anonymous = served && random_.chance(10);
        buffers.topic_alias_maximum = a.alias_maximum;
        buffers.received_aliases = {a.received_aliases.data(), a.received_aliases.size()};
        buffers.sent_aliases = {a.sent_aliases.data(), a.sent_aliases.size()};
        if (a.anonymous) buffers.client_id = {a.id_memory.data(), a.id_memory.size()};
    }
    // What the broker is like to the connection that comes next; nobody's knows of the ones before.
    void vary_server(const Link* l) {
        BrokerConfig& config = broker_.config;
        config.limits = BrokerLimits{};
        config.limits.receive_maximum = random_.one_of<uint16_t>({1, 2, 3, 10, 65535});
        config.limits.topic_alias_maximum = random_.one_of<uint16_t>({0, 1, 2, 5});
        config.use_aliases = random_.one_of<uint16_t>({0, 1, 3, 10});
        config.max_inflight = l != nullptr && l->v5 ? random_.one_of<uint16_t>({0, 0, 1, 5}) : max_inflight_;
        config.server_keep_alive = std::nullopt;
        if (random_.chance(20)) config.server_keep_alive = random_.one_of<uint16_t>({0, 1, 3, 30, 60});
        config.level_5 = profile_ == Profile::calm || (!healed_ && random_.chance(50)) ? level_5_ : BrokerConfig::served;
        config.refuse_connect = mqtt::ReasonCode::success;
        config.session_expiry_maximum = profile_ == Profile::lossy ? random_.one_of<uint32_t>({mqtt::forever, mqtt::forever, 10, 0}) : mqtt::forever;
        config.server_reference = random_.chance(70) ? "other:1884 third" : "";
        if (healed_) return;
        config.limits.maximum_packet_size = random_.one_of<uint32_t>({0, 0, 64, 100, 400});
        config.limits.maximum_qos = static_cast<mqtt::QoS>(random_.chance(70) ? 2 : random_.below(3));
        config.limits.retain_available = random_.chance(70);
        if (profile_ != Profile::calm && random_.chance(4))
            config.refuse_connect = random_.one_of({mqtt::ReasonCode::server_unavailable, mqtt::ReasonCode::server_busy,
                                                    mqtt::ReasonCode::use_another_server, mqtt::ReasonCode::server_moved});
    }
    static std::string without_expiry(mqtt::Properties list) {
        std::string kept;
        mqtt::Property property;
        for (mqtt::Bytes before = list.block(); list.next(property); before = list.block())
            if (property.rule->id != mqtt::prop::message_expiry_interval.id) kept += before.text().substr(0, before.size() - list.block().size());
        return kept;
    }
    void add_properties(Message& m) {
        mqtt::PropertyBuffer<200> list;
        for (uint64_t n = random_.chance(40) ? 0 : random_.between(1, 4); n != 0; --n) {
            const uint64_t kind = random_.below(7);
            const size_t length = random_.below(6);   // on its own: arguments have no order
            const std::string text(length, static_cast<char>('a' + random_.below(26)));
            if (kind == 0 && !m.expiry) {
                m.expiry = random_.one_of<uint32_t>({0, 1, 2, 10, 3600, 0xF0000000});
                list.add(mqtt::prop::message_expiry_interval, *m.expiry);
            } else if (kind == 1 && !has(list, mqtt::prop::content_type)) {
                list.add(mqtt::prop::content_type, text);
            } else if (kind == 2 && !has(list, mqtt::prop::response_topic)) {
                list.add(mqtt::prop::response_topic, "r" + text);
            } else if (kind == 3 && !has(list, mqtt::prop::correlation_data)) {
                list.add(mqtt::prop::correlation_data, mqtt::Bytes(text));
            } else if (kind == 4 && !has(list, mqtt::prop::payload_format_indicator)) {
                list.add(mqtt::prop::payload_format_indicator, 0);
            } else {
                list.add(mqtt::prop::user_property, {text, std::to_string(n)});
            }
        }
        m.properties = list.block().text();
        m.forwarded = without_expiry(list);
    }
    template <class Key, size_t n> static bool has(const mqtt::PropertyBuffer<n>& list, Key key) { return mqtt::Properties(list).get(key).has_value(); }
    static mqtt::Properties view(const std::string& block) { return {mqtt::Bytes(block).data(), block.size()}; }

    // What waits is written in 3.1.1 from now on.
    void strip(Actor& a) {
        a.outbox_v5 = false;
        for (Message& m : a.messages) {
            if (m.acknowledged || m.dropped || (m.qos == 0 && m.written_on != 0)) continue;
            if (!m.stripped && !m.properties.empty()) ++coverage.stripped;
            m.stripped = true;
            m.expiry = {};
        }
        for (auto& entry : a.outstanding) entry.second.stripped = true;
    }
    uint16_t keep_alive(const Actor& a) const {
        return a.link != nullptr && a.link->connack_seen ? a.link->keep_alive : a.options.keep_alive;
    }
    bool connected_v5(const Actor& a) const { return a.connected && a.link != nullptr && a.link->v5; }
    // To the client, this is another server, with other sessions.
    static bool moved(const Actor& a) { return a.session != 0 && a.session_elsewhere != a.was_elsewhere; }
    // May the client think that it has no session there?
    static bool may_know_none(const Actor& a) {
        return a.session == 0 || a.session_clean || a.confirmed_clean || !a.resumed || moved(a);
    }
    static bool clean_attempt(const Actor& a) { return a.options.clean_session || a.start_clean; }   // or may be
    size_t window(const Actor& a) const {
        const size_t ours = a.options.in_flight_maximum;
        return connected_v5(a) ? std::min<size_t>(ours, a.link->limits.receive_maximum) : ours;
    }
    // Of a whole PUBLISH, as it waits in the outbox.
    static size_t wire_size(const Message& m, bool v5) { return wire_size(m, v5, m.stripped); }
    static size_t wire_size(const Message& m, bool v5, bool stripped) {
        mqtt::Publish packet;
        packet.topic = m.topic;
        packet.payload = m.payload;
        packet.qos = static_cast<mqtt::QoS>(m.qos);
        packet.packet_id = 1;
        if (!stripped) packet.properties = view(m.properties);
        return mqtt::encode(packet, {}, v5 ? mqtt::Version::v5 : mqtt::Version::v3_1_1).size;
    }
    // May the server keep it from this client? It expires, or is too large with what the server adds - when it comes for the
    // first time: sent again it may have no properties any more.
    static bool may_be_withheld(const Actor& a, const Message& m) {
        const uint32_t most = a.options.maximum_packet_size;
        return view(m.properties).get(mqtt::prop::message_expiry_interval) || (most != 0 && wire_size(m, true, false) + 16 > most);
    }
    // Is this why the server of a connection does not take a message?
    static bool refused_by(const BrokerLimits& limits, const Message& m, mqtt::Error error) {
        switch (error) {
        case mqtt::Error::qos_not_supported: return m.qos > static_cast<int>(limits.maximum_qos);
        case mqtt::Error::retain_not_supported: return m.retain && !limits.retain_available;
        case mqtt::Error::packet_too_large: return limits.maximum_packet_size != 0 && wire_size(m, true) > limits.maximum_packet_size;
        default: return false;
        }
    }

    std::string some_filter() {
        const std::string p = std::to_string(random_.below(4));
        switch (random_.below(5)) {
        case 0: return "t/#";
        case 1: return "t/" + p + "/#";
        case 2: return "t/+/0";
        case 3: return "#";
        default: return "t/" + p + "/1";
        }
    }

    // ------------------------------------------------------------------------------------------------------ telling

    [[noreturn]] void fail(const std::string& text) const {
        throw Failure{"at " + std::to_string(now_) + " ms: " + text};
    }
    void check(bool condition, const char* text) const {
        if (!condition) fail(text);
    }
    void check(bool condition, const char* text, const Actor& a, uint64_t number = 0) const {
        if (!condition) fail(a.id + ": " + text + " (" + std::to_string(number) + ")");
    }
    void tell(const std::string& line) const {
        if (trace_) std::fprintf(stderr, "%9llu %s\n", static_cast<unsigned long long>(now_), line.c_str());
    }
    void tell(const Actor& a, const char* format, ...) const __attribute__((format(printf, 3, 4))) {
        if (!trace_) return;
        char text[200];
        va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        tell(a.id + " " + text);
    }

    // ------------------------------------------------------------------------------------------------------ one step

    // Everything that is due now, then time moves to what is next, at most to `limit`.
    void step(uint64_t limit) {
        if (++steps_ > 3000000) fail("endless: " + unrest());
        deliver();
        if (!healed_) faults();
        for (auto& a : actors_) {
            if (!healed_ && a->next_action <= now_ && a->asleep_until <= now_) act(*a);
            if (due(*a) <= now_) poll(*a);
            if (healed_) tidy(*a);
        }
        uint64_t next = limit;
        const auto earlier = [&](uint64_t at) { next = std::min(next, at); };
        for (auto& l : links_) {
            if (!l->up.chunks.empty()) earlier(l->up.chunks.front().at);
            if (!l->down.chunks.empty()) earlier(l->down.chunks.front().at);
            earlier(l->up.gives_up_at);
            earlier(l->down.gives_up_at);
        }
        for (auto& a : actors_) {
            earlier(due(*a));
            if (!healed_) earlier(std::max(a->next_action, a->asleep_until));
            else if (!a->started && !parting_) earlier(now_ + 1);   // it could not, with a link of before there
        }
        if (!healed_ && faults_left_ != 0) earlier(next_fault_);
        if (broker_down_until_ > now_) earlier(broker_down_until_);
        const uint32_t idle = broker_.idle_ms(clock());
        if (idle != mqtt::forever) earlier(now_ + idle);
        now_ = std::max(next, now_);
    }

    uint32_t clock() const { return static_cast<uint32_t>(base_ + now_); }

    // When the application polls the client next: what a loop around port.wait(idle_ms, wants_write) does.
    uint64_t due(Actor& a) {
        if (a.asleep_until > now_) return a.asleep_until;
        if (a.style == 1) return a.eager_at;
        uint64_t at = never;
        const uint32_t idle = a.client->idle_ms();
        if (idle != mqtt::forever) at = now_ + idle;
        if (const Link* l = a.link) {
            if (!l->established) {
                if (l->opens_at != never) at = std::min(at, std::max(now_, l->opens_at));
            } else if ((l->lost || !l->arrived.empty()) && (!a.asks || a.client->wants_read())) {
                at = now_;
            } else if (a.client->wants_write() && (l->lost || room(*l) != 0)) {
                at = std::min(at, std::max(now_, l->unwritable_until));
            }
        }
        return at;
    }
    size_t room(const Link& l) const { return l.up.bytes < window_ ? window_ - l.up.bytes : 0; }

    void poll(Actor& a) {
        const uint64_t progress = a.progress;
        bool events = false;
        for (int n = 0;; ++n) {
            if (n > 5000) fail(a.id + ": poll() never returns none");
            ++a.polls;
            ++coverage.polls;
            const mqtt::Event event = a.client->poll();
            if (event.kind == mqtt::Event::none) {
                a.resumed = a.connected;
                break;
            }
            events = true;
            handle(a, event);
            if (!healed_ && random_.chance(10)) act(a);
        }
        feed_stream(a);
        answer_auth(a);
        if (a.style == 1) a.eager_at = now_ + random_.between(1, 20);
        if (a.style == 2 && !healed_ && random_.chance(30)) a.asleep_until = now_ + random_.between(1, profile_ == Profile::calm ? 100 : random_.chance(10) ? 20000 : 500);
        // A loop that does nothing and is called again at once?
        if (events || a.progress != progress || a.style == 1) return;
        if (a.spin_at != now_) a.spins = 0;
        a.spin_at = now_;
        if (++a.spins < 4) return;
        // Only if input has to wait, and the application does not ask for that.
        if (a.asks || a.client->wants_read()) fail(a.id + ": a busy loop, with nothing done: " + unrest());
        a.asleep_until = now_ + random_.between(1, 20);
    }

    // ------------------------------------------------------------------------------------------------------ network

    uint64_t some_latency() { return latency_ == 0 ? 0 : !healed_ && profile_ != Profile::calm && random_.chance(3) ? random_.below(latency_ * 20) : random_.below(latency_ + 1); }

    void push(Pipe& pipe, const char* data, size_t size) {
        if (pipe.dead) {
            if (pipe.gives_up_at == never) pipe.gives_up_at = now_ + random_.between(3000, 60000);
            pipe.bytes += size;
            return;
        }
        while (size != 0) {
            const size_t n = random_.chance(30) ? random_.between(1, size) : size;
            pipe.last = std::max({pipe.last, pipe.stalled_until, now_ + some_latency()});
            pipe.chunks.push_back({pipe.last, std::string(data, n), false});
            pipe.bytes += n;
            data += n;
            size -= n;
        }
    }
    void push_end(Pipe& pipe) {
        if (pipe.dead) return;
        pipe.last = std::max({pipe.last, pipe.stalled_until, now_ + some_latency()});
        pipe.chunks.push_back({pipe.last, {}, true});
        pipe.dead = true;
    }

    // A part of what is on its way still arrives.
    void truncate(Pipe& pipe) {
        const bool ends = !pipe.chunks.empty() && pipe.chunks.back().end;
        if (ends) pipe.chunks.pop_back();
        size_t keep = random_.below(pipe.chunks.size() + 1);
        while (pipe.chunks.size() > keep) {
            pipe.bytes -= pipe.chunks.back().data.size();
            pipe.chunks.pop_back();
        }
        if (!pipe.chunks.empty() && random_.chance(50)) {
            std::string& data = pipe.chunks.back().data;
            const size_t n = random_.between(std::min<size_t>(data.size(), 1), data.size());
            pipe.bytes -= data.size() - n;
            data.resize(n);
        }
        pipe.last = pipe.chunks.empty() ? now_ : pipe.chunks.back().at;
        if (ends) pipe.chunks.push_back({pipe.last, {}, true});
    }

    void cut(Link& l, bool client_sees, bool broker_sees) {
        if (!l.established || l.up.dead || l.down.dead) return;
        truncate(l.up);
        truncate(l.down);
        if (broker_sees) push_end(l.up);
        if (client_sees) push_end(l.down);
        l.reset = random_.chance(30);
        l.up.dead = l.down.dead = true;
        if (!client_sees) l.blind = true;
    }

    void deliver() {
        broker_.tick(clock());
        pump_broker();
        for (size_t i = 0; i < links_.size(); ++i) {
            Link& l = *links_[i];
            while (!l.up.chunks.empty() && l.up.chunks.front().at <= now_) {
                const Chunk chunk = std::move(l.up.chunks.front());
                l.up.chunks.pop_front();
                l.up.bytes -= chunk.data.size();
                if (l.gone) continue;
                if (chunk.end) {
                    l.gone = true;
                    broker_.closed(l.id, clock());
                } else {
                    if (v5_ && !l.connack_seen) vary_server(&l);
                    broker_.receive(l.id, reinterpret_cast<const uint8_t*>(chunk.data.data()), chunk.data.size(), clock());
                    read_log();
                }
                pump_broker();
            }
            while (!l.down.chunks.empty() && l.down.chunks.front().at <= now_) {
                const Chunk chunk = std::move(l.down.chunks.front());
                l.down.chunks.pop_front();
                l.down.bytes -= chunk.data.size();
                if (l.left || l.lost) continue;
                if (!chunk.end) {
                    l.arrived += chunk.data;
                } else {
                    l.lost = true;
                    if (l.reset) l.arrived.clear();
                }
            }
            // A system gives up what nobody acknowledges.
            if (l.up.gives_up_at <= now_) {
                l.up.gives_up_at = never;
                if (!l.left) l.lost = true;
            }
            if (l.down.gives_up_at <= now_) {
                l.down.gives_up_at = never;
                if (!l.gone) {
                    l.gone = true;
                    broker_.closed(l.id, clock());
                    pump_broker();
                }
            }
        }
        const auto over = [](const std::unique_ptr<Link>& l) { return l->left && l->gone; };
        links_.erase(std::remove_if(links_.begin(), links_.end(), over), links_.end());
    }

    void pump_broker() {
        read_log();
        for (std::vector<Broker::Id> changed = broker_.take_changed(); !changed.empty(); changed = broker_.take_changed())
            for (const Broker::Id id : changed) {
                Link* const l = link_of(id);
                if (l == nullptr || l->gone) continue;
                const std::string out = broker_.take_output(id);
                observe_down(*l, out);
                push(l->down, out.data(), out.size());
                if (!broker_.wants_close(id)) continue;
                push_end(l->down);
                l->gone = true;
                broker_.closed(id, clock());
                read_log();
            }
    }
    Link* link_of(Broker::Id id) {
        for (auto& l : links_)
            if (l->id == id) return l.get();
        return nullptr;
    }

    // ---- the port

    int port_open(size_t owner, std::string_view host, uint16_t port) {
        Actor& a = *actors_[owner];
        if (a.link == nullptr) {
            check(host == (a.elsewhere ? "other" : "broker") && port == (a.elsewhere ? 1884 : 1883), "open() of another server", a, port);
            if (a.elsewhere) ++coverage.redirected;
            a.was_elsewhere = std::exchange(a.elsewhere, false);
            links_.push_back(std::make_unique<Link>());
            a.link = links_.back().get();
            a.link->owner = owner;
            a.link->serial = ++last_link_;
            a.link->opens_at = now_ + some_latency();
            ++a.progress;
            ++coverage.connections;
            if (!healed_ && profile_ != Profile::calm) {
                if (broker_down_until_ > now_ || random_.chance(8)) {
                    a.link->refused = true;
                    ++coverage.refused_opens;
                } else if (random_.chance(4)) {
                    a.link->opens_at = never;
                }
            }
        }
        Link& l = *a.link;
        check(!l.established, "open() of what is open", a);
        if (now_ < l.opens_at) return 0;
        if (l.refused) return -1;
        l.established = true;
        l.id = broker_.accept(clock());
        ++a.progress;
        return 1;
    }
    int port_read(size_t owner, uint8_t* data, size_t size) {
        Actor& a = *actors_[owner];
        check(a.link != nullptr && a.link->established, "read() without a connection", a);
        check(size != 0, "read() of nothing", a);
        Link& l = *a.link;
        if (l.arrived.empty()) return l.lost ? -1 : 0;
        size_t n = std::min(size, l.arrived.size());
        if (short_reads_ && random_.chance(50)) n = random_.between(1, n);
        memcpy(data, l.arrived.data(), n);
        l.arrived.erase(0, n);
        a.progress += n;
        return static_cast<int>(n);
    }
    int port_write(size_t owner, const uint8_t* data, size_t size) {
        Actor& a = *actors_[owner];
        check(a.link != nullptr && a.link->established, "write() without a connection", a);
        check(size != 0, "write() of nothing", a);
        Link& l = *a.link;
        if (l.lost) return -1;
        if (now_ < l.unwritable_until) return 0;
        if (short_writes_ && random_.chance(15)) {
            l.unwritable_until = now_ + random_.between(1, 40);
            return 0;
        }
        size_t n = std::min(size, room(l));
        if (n == 0) return 0;
        if (short_writes_ && random_.chance(50)) n = random_.chance(30) ? 1 : random_.between(1, n);
        a.progress += n;
        observe_up(l, data, n);
        push(l.up, reinterpret_cast<const char*>(data), n);
        return static_cast<int>(n);
    }
    void port_close(size_t owner) {
        Actor& a = *actors_[owner];
        ++a.progress;
        if (a.link == nullptr) return;
        Link& l = *a.link;
        a.link = nullptr;
        l.left = true;
        a.limits = l.limits;
        a.alias_missed = l.alias_missed;
        a.ended = l.ended;
        a.end = l.end;
        a.session_unknown = l.v5 && l.connack_seen && l.present && !a.connected;
        if (!a.connected && !a.settled_v5) a.went_silent = true;
        a.answer.clear();
        a.re_authenticating = false;
        if (!l.up_part.empty()) {
            a.leftovers.push_back(l.up_part);
            ++coverage.half_packets;
        }
        if (!l.established) {
            l.gone = true;
            return;
        }
        if (l.up.dead) return;
        // Sometimes what is under way is lost with a reset.
        if (profile_ != Profile::calm && !healed_ && random_.chance(20)) truncate(l.up);
        push_end(l.up);
    }

    // ------------------------------------------------------------------------------------------------------ faults

    void faults() {
        if (faults_left_ == 0 || next_fault_ > now_) return;
        --faults_left_;
        next_fault_ = now_ + random_.between(1, fault_gap_ * 2);
        Actor& a = *actors_[random_.below(actors_.size())];
        Link* const l = a.link;
        const uint64_t kind = random_.below(100);
        if (v5_ && random_.chance(15)) {
            if (l == nullptr || !l->connack_seen || l->gone) return;
            const mqtt::ReasonCode reason = random_.one_of({mqtt::ReasonCode::server_busy, mqtt::ReasonCode::server_shutting_down,
                                                            mqtt::ReasonCode::administrative_action, mqtt::ReasonCode::use_another_server});
            tell(a, "** disconnected by the server: %s", mqtt::to_string(reason));
            broker_.disconnect(l->id, reason, reason == mqtt::ReasonCode::use_another_server && random_.chance(80) ? "other:1884" : "");
            pump_broker();
        } else if (kind < 40) {
            if (l == nullptr || !l->established) return;
            tell(a, "** cut");
            ++coverage.cuts;
            cut(*l, true, true);
        } else if (kind < 58) {
            if (l == nullptr || !l->established) return;
            const bool client = random_.chance(50);
            tell(a, "** half open: only the %s sees it", client ? "client" : "broker");
            ++coverage.half_open;
            cut(*l, client, !client);
        } else if (kind < 72) {
            if (l == nullptr || !l->established) return;
            const uint64_t until = now_ + random_.between(1, 2000ULL * (keep_alive(a) == 0 || keep_alive(a) > 60 ? 10 : keep_alive(a)));
            tell(a, "** stalled until %llu", static_cast<unsigned long long>(until));
            ++coverage.stalls;
            if (random_.chance(60)) l->up.stalled_until = until;
            if (random_.chance(60)) l->down.stalled_until = until;
        } else if (kind < 84) {
            if (budget_ == 0 || a.asleep_until > now_) return;
            const bool hour = hours_ == 0 && random_.chance(15);
            if (hour) ++hours_;
            a.asleep_until = now_ + (hour ? 3600000 : random_.between(1000, 40000));
            tell(a, "** not polled until %llu", static_cast<unsigned long long>(a.asleep_until));
            if (hour) faults_end_ = std::max(faults_end_, a.asleep_until + 60000);
            ++coverage.late;
        } else if (kind < 92) {
            const bool lose = profile_ == Profile::lossy && random_.chance(60);
            tell(lose ? "** the broker restarts, and has lost its sessions" : "** the broker restarts");
            ++(lose ? coverage.lost_sessions : coverage.restarts);
            if (lose) broker_.lose_sessions();
            for (auto& other : links_) {
                if (!other->established || other->gone) continue;
                broker_.closed(other->id, clock());
                other->gone = true;
                truncate(other->down);
                push_end(other->down);
            }
            pump_broker();
            if (random_.chance(50)) broker_down_until_ = now_ + random_.between(1, 5000);
        } else {
            if (!broker_.session(a.id) || broker_down_until_ > now_) return;
            const auto session = broker_.session(a.id);
            if (session->expiry == 0) return;
            tell(a, "** taken over by somebody else");
            ++coverage.takeovers;
            take_over(a);
        }
    }

    // Somebody connects with the client's id and goes away again.
    void take_over(Actor& a) {
        links_.push_back(std::make_unique<Link>());
        Link& l = *links_.back();
        l.owner = a.index;
        l.serial = ++last_link_;
        l.established = l.rogue = l.left = true;
        l.id = broker_.accept(clock());
        mqtt::Connect packet;
        packet.flags = 0;
        packet.client_id = a.id;
        mqtt::PropertyBuffer<5> properties;
        properties.add(mqtt::prop::session_expiry_interval, mqtt::forever);
        packet.properties = properties;
        if (broker_.session(a.id)->version == mqtt::Version::v5) packet.protocol_level = 5;
        uint8_t buffer[64];
        const mqtt::Encoded out = mqtt::encode(packet, buffer);
        push(l.up, reinterpret_cast<const char*>(buffer), out.size);
        l.up.last += random_.below(50);
        push_end(l.up);
    }

    void heal() {
        healed_ = true;
        broker_down_until_ = 0;
        short_reads_ = short_writes_ = false;
        latency_ = std::min<uint64_t>(latency_, 20);
        for (auto& l : links_) {
            l->up.stalled_until = l->down.stalled_until = 0;
            // Nobody would ever notice, or not in the time that we grant.
            const uint16_t seconds = l->connack_seen ? l->keep_alive : actors_[l->owner]->options.keep_alive;
            if (l->blind && !l->left && (seconds == 0 || seconds > 60)) l->lost = true;
            // Without traffic the broker would not, and queue for a dead link; here its system does.
            const bool ends = !l->up.chunks.empty() && l->up.chunks.back().end;
            if (l->established && !l->gone && l->up.dead && !ends && l->down.gives_up_at == never)
                l->down.gives_up_at = now_ + random_.between(1000, 30000);
        }
        for (auto& a : actors_) {
            a->style = 0;
            a->asleep_until = 0;
        }
    }

    // ------------------------------------------------------------------------------------------------------ application

    void act(Actor& a) {
        if (a.next_action <= now_) a.next_action = now_ + random_.between(1, action_gap_ * 2);
        if (random_.chance(3)) a.style = static_cast<int>(random_.below(3));
        if (a.style == 1 && a.eager_at < now_) a.eager_at = now_;
        if (!a.started) {
            if (random_.chance(60)) start(a);
            return;
        }
        if (a.subscribe_due && random_.chance(70)) subscribe_stable(a);
        if (!a.held.empty() && random_.chance(50)) acknowledge(a, random_.below(a.held.size()));
        const uint64_t kind = random_.below(100);
        if (kind < 60) {
            publish(a);
        } else if (kind < 70) {
            if (streams_) begin_stream(a);
        } else if (kind < 76) {
            subscribe_some(a);
        } else if (kind < 80) {
            unsubscribe_some(a);
        } else if (kind < 83) {
            tell(a, "flush()");
            a.client->flush();
        } else if (kind < 86) {
            if (random_.chance(40)) stop(a);
        } else if (kind < 95) {
            feed_stream(a);
        } else if (a.has_method && connected_v5(a) && !a.stopping && a.answer.empty() && !a.re_authenticating) {
            const mqtt::Result result = authenticate(a, {});
            a.re_authenticating = result.ok();
            check(result.ok() || result.error == mqtt::Error::no_space, "authenticate() failed", a, static_cast<uint64_t>(result.error));
        }
    }
    mqtt::Result authenticate(Actor& a, const std::string& data) {
        mqtt::PropertyBuffer<64> properties;
        properties.add(mqtt::prop::authentication_method, "test");
        if (!data.empty()) properties.add(mqtt::prop::authentication_data, mqtt::Bytes(data));
        const mqtt::Result result = a.client->authenticate(properties);
        tell(a, "authenticate(%s): %s", data.c_str(), mqtt::to_string(result.error));
        return result;
    }
    // The answer to the server's AUTH, as soon as there is room.
    void answer_auth(Actor& a) {
        if (a.answer.empty() || a.link == nullptr || a.stopping) return;
        const mqtt::Result result = authenticate(a, a.answer);
        if (result.ok()) a.answer.clear();
        else check(result.error == mqtt::Error::no_space && a.connected, "authenticate() failed", a, static_cast<uint64_t>(result.error));
    }

    // In the second half: what an application does that wants to end its work.
    void tidy(Actor& a) {
        if (!a.started && !parting_) start(a);
        if (a.subscribe_due && a.started) subscribe_stable(a);
        if (a.held.empty()) return;
        if (random_.chance(50))   // the last one first
            for (size_t i = a.held.size(); i-- != 0;) acknowledge(a, i);
        while (!a.held.empty()) acknowledge(a, 0);
        check(a.held.empty(), "an open message cannot be acknowledged", a);
    }

    void start(Actor& a) {
        if (a.stopping) return;
        // Connections are not ordered among themselves: a CONNECT of before could still take over the new one.
        if (profile_ == Profile::calm)
            for (auto& l : links_)
                if (l->owner == a.index) return;
        vary_options(a);
        mqtt::Result result = a.client->connect(a.options);
        if (result.error == mqtt::Error::no_space) {   // what waits is larger in version 5
            check(!a.outbox_v5 && a.options.version != mqtt::Version::v3_1_1, "connect(): no space", a);
            if (a.options.version == mqtt::Version::v5 && !healed_) return;   // later
            a.options.version = mqtt::Version::v3_1_1;
            result = a.client->connect(a.options);
        }
        tell(a, "connect(%s, version %d, in flight %u): %s", a.options.clean_session ? "clean" : "kept", static_cast<int>(a.options.version),
             a.options.in_flight_maximum, mqtt::to_string(result.error));
        check(result.ok(), "connect() failed", a, static_cast<uint64_t>(result.error));
        const bool v5 = a.options.version != mqtt::Version::v3_1_1;
        if (!v5) strip(a);
        a.outbox_v5 = v5;
        a.start_clean = v5 && (a.options.clean_start || a.last_error == mqtt::Error::session_unknown);
        a.went_silent = a.refused_v5 = a.settled_v5 = a.elsewhere = false;
        a.started = true;
    }
    void stop(Actor& a) {
        const bool graceful = random_.chance(60);
        const mqtt::Disconnect farewell = a.farewell;
        const auto properties = a.farewell_properties;
        a.farewell = mqtt::Disconnect{};
        a.farewell_properties.clear();
        if (v5_ && random_.chance(30)) a.farewell.reason = mqtt::ReasonCode::disconnect_with_will_message;
        if (profile_ == Profile::lossy && connected_v5(a) && !a.options.clean_session && a.options.session_expiry_interval != 0 && random_.chance(40))
            a.farewell_properties.add(mqtt::prop::session_expiry_interval, random_.one_of<uint32_t>({0, 2, mqtt::forever}));
        const mqtt::Result result = graceful ? a.client->disconnect(a.farewell.reason, a.farewell_properties) : a.client->abort();
        tell(a, "%s: %s", graceful ? "disconnect()" : "abort()", mqtt::to_string(result.error));
        if (result.error == mqtt::Error::publish_in_progress || result.error == mqtt::Error::no_space) {
            check(graceful, "abort() failed", a);
            return;
        }
        if (a.stopping) {   // what was asked first counts
            a.farewell = farewell;
            a.farewell_properties = properties;
            return;
        }
        check(result.ok(), "disconnect() failed", a, static_cast<uint64_t>(result.error));
        if (graceful && mqtt::Properties(a.farewell_properties).get(mqtt::prop::session_expiry_interval).value_or(1) == 0) a.session_clean = true;
        a.stopping = true;
        ++a.stops;
        if (graceful) ++coverage.graceful;
    }

    static std::string payload_of(size_t publisher, uint32_t sequence, int qos, size_t size) {
        std::string payload(size, '\0');
        payload[0] = static_cast<char>(publisher);
        payload[1] = static_cast<char>(sequence >> 8);
        payload[2] = static_cast<char>(sequence);
        payload[3] = static_cast<char>(qos);
        for (size_t i = 4; i < size; ++i) payload[i] = static_cast<char>(sequence * 31 + i * 7 + (i >> 8) + publisher);
        return payload;
    }
    std::string some_topic(const Actor& a) {
        std::string topic = "t/" + std::to_string(a.index) + "/" + std::to_string(random_.below(2));
        if (long_topics_ && random_.chance(30)) topic += "/" + std::string(random_.between(1, v5_ ? 120 : 60), 'x');
        return topic;
    }
    size_t some_size(const Actor& a) {
        if (big_messages_ && random_.chance(20)) return random_.between(4, a.tx.size());
        return random_.between(4, 40);
    }
    size_t publishes_outstanding(const Actor& a) const {
        size_t count = 0;
        for (const auto& entry : a.outstanding) count += entry.second.what == What::publish ? 1 : 0;
        return count;
    }
    Message make_message(const Actor& a, int qos, size_t size) {
        Message m;
        m.publisher = a.index;
        m.sequence = static_cast<uint32_t>(a.messages.size() + 1);
        m.qos = qos;
        m.topic = some_topic(a);
        m.payload = payload_of(a.index, m.sequence, qos, size);
        m.published_at = now_;
        if (!v5_) return m;
        m.retain = random_.chance(6);
        if (m.retain) m.topic[0] = 'r';   // apart, as it would come once more to each new subscription
        add_properties(m);
        m.stripped = !a.outbox_v5;
        if (m.stripped) m.expiry = {};
        return m;
    }
    // An id that is given out is free, and new operations get the next ones.
    void accepted(Actor& a, const mqtt::Result& result, Operation operation) {
        check(result.packet_id != 0, "accepted without a packet id", a);
        check(a.outstanding.count(result.packet_id) == 0, "a packet id that is in use was given again", a, result.packet_id);
        a.outstanding.emplace(result.packet_id, std::move(operation));
    }
    // Whether it may be refused like this. True: accepted.
    bool judge(Actor& a, const mqtt::Result& result, const Message* m = nullptr) {
        switch (result.error) {
        case mqtt::Error::ok: return true;
        case mqtt::Error::no_space:
            ++coverage.no_space;
            a.next_action = now_ + random_.between(1, action_gap_ * 8);   // it tries again later
            break;
        case mqtt::Error::receive_maximum_reached:
            check(a.connected && publishes_outstanding(a) >= window(a), "receive_maximum_reached too early", a);
            if (publishes_outstanding(a) < a.options.in_flight_maximum) ++coverage.window_full;
            break;
        case mqtt::Error::not_started: check(!a.started || a.stopping, "not_started, but it is", a); break;
        case mqtt::Error::packet_too_large:
            if (m == nullptr || wire_size(*m, a.outbox_v5) + 3U * a.receive_maximum + 26 > a.tx.size()) break;   // for what it sets aside
            [[fallthrough]];
        case mqtt::Error::qos_not_supported:
        case mqtt::Error::retain_not_supported:
            check(m != nullptr && connected_v5(a) && refused_by(a.link->limits, *m, result.error), "the server takes it", a, static_cast<uint64_t>(result.error));
            ++coverage.limited;
            break;
        default: fail(a.id + ": refused with " + mqtt::to_string(result.error));
        }
        check(result.packet_id == 0, "refused, but with a packet id", a);
        return false;
    }

    void publish(Actor& a) {
        if (budget_ == 0) return;
        const int qos = static_cast<int>(random_.below(static_cast<uint64_t>(max_qos_) + 1));
        Message m = make_message(a, qos, some_size(a));
        const mqtt::Result result = a.client->publish(m.topic, m.payload, static_cast<mqtt::QoS>(qos), static_cast<mqtt::Retain>(m.retain), view(m.properties));
        tell(a, "publish %u, %s, QoS %d, %zu bytes, expires %ld: %s, id %u", m.sequence, m.topic.c_str(), qos, m.payload.size(), m.expiry ? static_cast<long>(*m.expiry) : -1L, mqtt::to_string(result.error), result.packet_id);
        if (!judge(a, result, &m)) return;
        --budget_;
        ++coverage.messages;
        a.messages.push_back(std::move(m));
        Operation operation;
        operation.message = &a.messages.back();
        if (qos != 0) accepted(a, result, std::move(operation));
    }

    void begin_stream(Actor& a) {
        if (budget_ == 0 || a.stream != nullptr) return;
        const int qos = static_cast<int>(random_.below(static_cast<uint64_t>(max_qos_) + 1));
        Message m = make_message(a, qos, random_.between(4, random_.chance(20) ? 6000 : 400));
        const mqtt::Result result = a.client->begin_publish(m.topic, static_cast<uint32_t>(m.payload.size()), static_cast<mqtt::QoS>(qos),
                                                            static_cast<mqtt::Retain>(m.retain), view(m.properties));
        tell(a, "begin_publish %u, QoS %d, %zu bytes, expires %ld: %s, id %u", m.sequence, qos, m.payload.size(), m.expiry ? static_cast<long>(*m.expiry) : -1L, mqtt::to_string(result.error), result.packet_id);
        if (result.error == mqtt::Error::not_connected) return check(!a.connected || a.stopping, "not_connected, but it is", a);
        if (result.error == mqtt::Error::publish_in_progress) return;
        if (!judge(a, result, &m)) return;
        --budget_;
        ++coverage.streams;
        a.messages.push_back(std::move(m));
        a.stream = &a.messages.back();
        a.stream_at = 0;
        a.stream_open = true;
        a.stream_id = result.packet_id;
        Operation operation;
        operation.message = a.stream;
        if (qos != 0) accepted(a, result, std::move(operation));
        if (random_.chance(70)) feed_stream(a);
    }
    // As far as it goes. What is not taken waits for the next time the client is polled.
    void feed_stream(Actor& a) {
        while (a.stream != nullptr && a.stream_open) {
            const std::string& payload = a.stream->payload;
            const size_t left = payload.size() - a.stream_at;
            const size_t n = random_.chance(40) ? left : random_.between(1, left);
            const mqtt::Written written = a.client->write_payload(std::string_view(payload).substr(a.stream_at, n));
            if (written.error == mqtt::Error::not_connected) return;   // an event will tell
            check(written.error == mqtt::Error::ok, "write_payload() failed", a, static_cast<uint64_t>(written.error));
            check(written.size <= n, "write_payload() took more than there was", a);
            a.stream_at += written.size;
            if (a.stream_at == payload.size()) {
                a.stream_open = false;
                if (a.stream->qos == 0) a.stream = nullptr;
                return;
            }
            if (written.size < n) return;
        }
    }

    void subscribe_stable(Actor& a) {
        Operation operation;
        operation.what = What::subscribe;
        operation.filters = a.stable;
        operation.stable = true;
        if (subscribe(a, std::move(operation))) a.subscribe_due = false;
    }
    void subscribe_some(Actor& a) {
        Operation operation;
        operation.what = What::subscribe;
        for (uint64_t n = random_.between(1, 3); n != 0; --n) {
            // Not one of the stable ones: those keep their QoS.
            Filter f;
            f.filter = random_.chance(20) ? "no/way" : "t/" + std::to_string(random_.below(4)) + "/0";
            bool own = true;
            for (const auto& s : a.stable) own = own && s.filter != f.filter;
            f.qos = std::min(static_cast<int>(random_.below(3)), max_qos_);
            if (v5_) f.no_local = random_.chance(30);
            if (own) operation.filters.push_back(f);
        }
        if (operation.filters.empty()) return;
        (void)subscribe(a, std::move(operation));
    }
    bool subscribe(Actor& a, Operation operation) {
        std::vector<mqtt::Subscription> list;
        mqtt::PropertyBuffer<8> properties;
        if (v5_ && random_.chance(40)) {
            operation.identifier = static_cast<uint32_t>(random_.between(1, 200));
            properties.add(mqtt::prop::subscription_identifier, operation.identifier);
        }
        for (Filter& f : operation.filters) {
            if (v5_) f.retain_as_published = random_.chance(30);
            if (v5_) f.retain_handling = static_cast<mqtt::RetainHandling>(random_.below(3));
            mqtt::Subscription s;
            s.filter = f.filter;
            s.qos = static_cast<mqtt::QoS>(f.qos);
            s.no_local = f.no_local;
            s.retain_as_published = f.retain_as_published;
            s.retain_handling = f.retain_handling;
            list.push_back(s);
        }
        operation.stripped = !a.outbox_v5;
        const mqtt::Result result = a.client->subscribe(list.data(), list.size(), properties);
        tell(a, "subscribe to %zu: %s, id %u", list.size(), mqtt::to_string(result.error), result.packet_id);
        if (!judge(a, result)) return false;
        accepted(a, result, std::move(operation));
        return true;
    }
    void unsubscribe_some(Actor& a) {
        Operation operation;
        operation.what = What::unsubscribe;
        const std::string filter = "t/" + std::to_string(random_.below(4)) + "/0";
        Filter f;
        f.filter = filter;
        operation.filters.push_back(f);
        const mqtt::Result result = a.client->unsubscribe(filter);
        tell(a, "unsubscribe: %s, id %u", mqtt::to_string(result.error), result.packet_id);
        if (judge(a, result)) accepted(a, result, std::move(operation));
    }

    void acknowledge(Actor& a, size_t i) {
        Held& held = a.held[i];
        if (held.acknowledged) return;
        const bool refuses = connected_v5(a) && random_.chance(10);
        const mqtt::ReasonCode reason = refuses ? mqtt::ReasonCode::payload_format_invalid : mqtt::ReasonCode::success;
        const mqtt::Result result = a.client->acknowledge(held.packet_id, reason);
        tell(a, "acknowledge %u, %s: %s", held.packet_id, mqtt::to_string(reason), mqtt::to_string(result.error));
        check(result.ok(), "acknowledge() of an open message failed", a, held.packet_id);
        held.acknowledged = true;
        if (a.link != nullptr) {
            const auto found = a.link->received.find(held.packet_id);
            if (found != a.link->received.end()) {
                found->second.handled = true;
                found->second.reason = reason;
            }
        }
        if (refuses) ++coverage.refused_by_us;   // the server may have it once more, if it does not hear of it
        else ++a.deliveries[{held.publisher, held.sequence}].taken;
        // Answers go out in the order of the messages: what is behind an open one takes its place until then.
        while (!a.held.empty() && a.held.front().acknowledged) a.held.pop_front();
    }

    // ------------------------------------------------------------------------------------------------------ events

    Operation& operation_of(Actor& a, const mqtt::Event& event, const char* text) {
        const auto found = a.outstanding.find(event.packet_id);
        check(found != a.outstanding.end(), text, a, event.packet_id);
        return found->second;
    }

    void handle(Actor& a, const mqtt::Event& event) {
        using mqtt::Event;
        if (trace_ && event.kind != Event::received) {
            static const char* const names[] = {"none", "connected", "disconnected", "received", "acknowledged", "subscribed", "unsubscribed",
                                                "dropped", "resend_payload", "skipped", "storage_trouble", "authentication", "pubrec", "pubrel", "pingresp"};
            tell(a, "<- %s, id %u, %s, %s%s", names[event.kind], event.packet_id, mqtt::to_string(event.error), mqtt::to_string(event.reason),
                 event.session_present ? ", present" : "");
        }
        switch (event.kind) {
        case Event::none: break;
        case Event::storage_trouble: return check(false, "trouble with storage that is not there", a);
        case Event::connected: return on_connected(a, event);
        case Event::disconnected: return on_disconnected(a, event);
        case Event::received: return on_received(a, event.message);
        case Event::acknowledged: {
            Operation& o = operation_of(a, event, "acknowledged what is not outstanding");
            check(o.what == What::publish, "acknowledged what is no message", a, event.packet_id);
            const bool refused = !mqtt::granted(event.reason);
            as_answered(a, event, a.link->answers);
            check(o.message->qos == 1 || o.pubrec != 0 || refused, "acknowledged without PUBREC", a, event.packet_id);
            check(!o.message->acknowledged && !o.message->dropped, "acknowledged twice", a);
            check(o.message->arrivals != 0 || o.message->turned_away, "acknowledged, but the broker has not seen it", a, event.packet_id);
            if (refused) ++coverage.refused_messages;
            o.message->acknowledged = true;
            return ended(a, event.packet_id);
        }
        case Event::pubrec: {
            Operation& o = operation_of(a, event, "pubrec for what is not outstanding");
            check(o.what == What::publish && o.message->qos == 2 && o.pubrec == 0, "pubrec out of place", a, event.packet_id);
            as_answered(a, event, a.link->answers);
            check(mqtt::granted(event.reason), "pubrec, and the server refused it [5: MQTT-4.3.3-4]", a, event.packet_id);
            o.pubrec = ++serial_;
            return;
        }
        case Event::subscribed: {
            Operation& o = operation_of(a, event, "subscribed for what is not outstanding");
            check(o.what == What::subscribe, "subscribed out of place", a, event.packet_id);
            check(event.reason_codes.size() == o.filters.size(), "as many codes as filters", a);
            as_answered(a, event, a.link->answers);
            for (size_t i = 0; i < o.filters.size(); ++i)
                check(event.reason_codes[i] == (refused_filter(o.filters[i].filter) ? (a.link->v5 ? 0x87 : 0x80) : o.filters[i].qos), "codes in the order of filters", a, i);
            if (o.stable && a.stable_since == never) a.stable_since = ++serial_;
            return ended(a, event.packet_id);
        }
        case Event::unsubscribed: {
            const Operation& o = operation_of(a, event, "unsubscribed for what is not outstanding");
            check(o.what == What::unsubscribe, "unsubscribed out of place", a, event.packet_id);
            as_answered(a, event, a.link->answers);
            check(event.reason_codes.size() == (a.link->v5 ? 1 : 0), "a code for each filter, or none in 3.1.1", a, event.packet_id);
            return ended(a, event.packet_id);
        }
        case Event::dropped: return on_dropped(a, event);
        case Event::authentication: {
            check(a.has_method && a.link != nullptr && a.link->v5, "authentication that nobody asked for", a);
            ++coverage.authentications;
            const std::string data(event.properties.get(mqtt::prop::authentication_data).value_or({}).text());
            check(data.empty() == (event.reason == mqtt::ReasonCode::success), "authentication: its data", a);
            if (event.reason == mqtt::ReasonCode::success) a.re_authenticating = false;
            a.answer.assign(data.rbegin(), data.rend());
            return answer_auth(a);
        }
        case Event::resend_payload:
            check(a.stream != nullptr && a.stream_id == event.packet_id, "resend_payload for what is not streamed", a, event.packet_id);
            check(!a.stream_open, "resend_payload, and it is still open", a);
            (void)operation_of(a, event, "resend_payload for what is not outstanding");
            a.stream_open = true;
            a.stream_at = 0;
            ++coverage.streams_resent;
            return;
        case Event::skipped: return on_skipped(a, event.message);
        case Event::pubrel: return as_answered(a, event, a.link->released);
        case Event::pingresp: break;
        }
    }
    // It tells what the broker said.
    void as_answered(const Actor& a, const mqtt::Event& event, const std::map<uint16_t, Answer>& answers) {
        const auto found = answers.find(event.packet_id);
        check(found != answers.end(), "an answer that nobody sent", a, event.packet_id);
        const Answer& answer = found->second;
        check(event.reason == answer.reason, "the reason of an answer", a, static_cast<uint64_t>(event.reason));
        check(event.reason_codes.text() == answer.codes, "the codes of an answer", a, event.packet_id);
        check(event.properties.block().text() == answer.properties, "the properties of an answer", a, event.packet_id);
    }
    void on_dropped(Actor& a, const mqtt::Event& event) {
        if (event.packet_id == 0) {   // of QoS 0: is there one that it can be?
            std::vector<Message*> candidates;
            for (Message& m : a.messages)
                if (m.qos == 0 && m.written_on == 0 && !m.dropped && may_be_dropped(a, m, event.error)) candidates.push_back(&m);
            check(!candidates.empty(), "dropped for no reason", a, static_cast<uint64_t>(event.error));
            if (candidates.size() == 1) candidates[0]->dropped = true;
            return;
        }
        Operation& o = operation_of(a, event, "dropped what is not outstanding");
        if (event.error == mqtt::Error::session_lost) {
            check(a.may_drop, "dropped, although the session was kept", a, event.packet_id);
            check(o.sent_on != 0 || o.written_on != 0 || !a.leftovers.empty(), "dropped what was never sent", a, event.packet_id);
            ++coverage.dropped;
            // The server had said that it keeps no session, and has kept it, as DISCONNECT asked for that.
            a.gave_up = a.gave_up || (o.sent_on != 0 && a.link != nullptr && a.link->present);
        } else {
            check(o.message != nullptr && may_be_dropped(a, *o.message, event.error), "dropped for no reason", a, static_cast<uint64_t>(event.error));
            a.gave_up = a.gave_up || o.sent_on != 0;
        }
        if (o.message != nullptr) o.message->dropped = true;
        if (o.stable) a.subscribe_due = true;
        ended(a, event.packet_id);
    }
    bool may_be_dropped(Actor& a, const Message& m, mqtt::Error error) {
        ++(error == mqtt::Error::message_expired ? coverage.expired : coverage.limit_dropped);
        if (error == mqtt::Error::message_expired) return m.expiry && m.written_on == 0 && now_ - m.published_at >= *m.expiry * 1000ULL;
        return refused_by(a.link != nullptr ? a.link->limits : a.limits, m, error);
    }
    void ended(Actor& a, uint16_t packet_id) {
        if (a.stream != nullptr && a.stream_id == packet_id && a.stream->qos != 0) {
            a.stream = nullptr;
            a.stream_open = false;
        }
        a.outstanding.erase(packet_id);
    }

    void on_connected(Actor& a, const mqtt::Event& event) {
        check(a.started && !a.connected && a.link != nullptr, "connected out of place", a);
        Link& l = *a.link;
        check(l.connack_seen && l.present == event.session_present, "session_present is not what the broker said", a);
        check(l.v5 == (a.client->version() == mqtt::Version::v5), "the version is not that of CONNECT", a);
        check(event.properties.block().text() == l.connack_properties, "the properties of CONNACK", a);
        a.connected = true;
        if (l.v5) ++coverage.connections_v5;
        a.settled_v5 = l.v5;
        if (l.v5) a.start_clean = false;
        else strip(a);
        // A broker that lost a session and whose CONNACK that says so is lost, too, has a new one the next time: nobody can
        // tell. It is the protocol's hole, not the client's - unless the client knew that its session was a clean one.
        const bool doubtful = a.session_clean && !a.confirmed_clean;   // was our CONNECT with clean_session seen?
        if (event.session_present && a.session != 0 && !a.confirmed_clean && (doubtful || a.session != l.session || moved(a))) {
            tell(a, "unaware of a lost session");
            ++coverage.unaware;
            a.unaware = true;
            for (auto& entry : a.outstanding)
                if (entry.second.message != nullptr) entry.second.message->exempt = true;
        }
        a.may_drop = !event.session_present || a.session_clean || a.drops_left || moved(a);
        a.session_elsewhere = a.was_elsewhere;
        a.drops_left = false;
        a.link_serial = l.serial;
        l.anew = !event.session_present || a.confirmed_clean;
        a.session = l.session;
        a.session_clean = a.confirmed_clean = a.options.clean_session || !l.session_kept;
        if (a.may_drop && !parting_) {
            a.stable_since = never;
            bool asked = false;
            for (const auto& entry : a.outstanding) asked = asked || (entry.second.stable && entry.second.written_on == 0);
            if (!asked) a.subscribe_due = true;
        }
    }
    void on_disconnected(Actor& a, const mqtt::Event& event) {
        check(a.started, "disconnected without connect()", a);
        if (a.connected && a.may_drop)
            for (const auto& entry : a.outstanding)
                a.drops_left = a.drops_left || (entry.second.sent_on != 0 && entry.second.sent_on != a.link_serial && entry.second.released_on != a.link_serial);
        a.connected = false;
        a.held.clear();
        a.partial = false;
        if (clean_attempt(a)) a.session_clean = true;   // an attempt at one is enough to forget the old one
        a.last_error = event.error;
        ++a.disconnects;
        if (a.stream != nullptr) {
            a.stream_open = false;
            if (a.stream->qos == 0) a.stream = nullptr;
        }
        if (event.error == mqtt::Error::ok) check(a.stopping, "disconnected by nobody", a);
        if (event.error == mqtt::Error::buffer_too_small) {
            check(a.alias_missed, "buffer_too_small, and it is not", a);
            ++coverage.aliases_missed;
        } else {
            check(fault(event.error) != mqtt::Fault::caller, "the application was blamed", a, static_cast<uint64_t>(event.error));
        }
        if (fault(event.error) == mqtt::Fault::server) on_blamed(a, event);
        if (profile_ == Profile::calm && event.error != mqtt::Error::ok && fault(event.error) != mqtt::Fault::server) fail(a.id + ": lost without a fault: " + mqtt::to_string(event.error));
        if (a.stopping || a.options.reconnect_max_ms == 0) a.started = false;
        else if (a.options.version == mqtt::Version::v5_or_v3_1_1) a.outbox_v5 = a.client->version() == mqtt::Version::v5;   // it tries again
        a.stopping = false;
    }

    // The server refused, or ended it.
    void on_blamed(Actor& a, const mqtt::Event& event) {
        if (event.error == mqtt::Error::session_unknown) {   // [5: MQTT-3.2.2-4]
            check(a.session_unknown && may_know_none(a), "session_unknown, but it is known", a);
            check(!a.options.adopt_session, "session_unknown, but it was to be adopted", a);
            ++coverage.session_unknown;
            a.start_clean = true;
            return;
        }
        if (!a.ended || (event.error != mqtt::Error::connection_refused && event.error != mqtt::Error::server_disconnected))
            fail(a.id + ": the broker was blamed: " + mqtt::to_string(event.error));
        const bool old = event.reason == mqtt::ReasonCode::unsupported_protocol_version && a.options.version == mqtt::Version::v5_or_v3_1_1 && !a.was_elsewhere;
        check(!old, "refused for its version, and another was allowed", a);
        check(event.reason == a.end.reason, "the reason is not what the broker said", a, static_cast<uint64_t>(event.reason));
        check(event.properties.block().text() == a.end.properties, "the properties of the end", a);
        ++(event.error == mqtt::Error::connection_refused ? coverage.refusals : coverage.server_disconnects);
        const bool elsewhere = event.reason == mqtt::ReasonCode::use_another_server || event.reason == mqtt::ReasonCode::server_moved;
        a.elsewhere = elsewhere && a.options.follow_server_reference && event.properties.get(mqtt::prop::server_reference);
    }

    // What it can be that the application is told of.
    Arrival& arrival(Actor& a, const mqtt::Message& message, const char* text) {
        check(a.link != nullptr, text, a);
        if (message.qos == mqtt::QoS::at_most_once) {
            check(!a.link->received_0.empty(), text, a);
            return a.link->received_0.front();
        }
        const auto found = a.link->received.find(message.packet_id);
        check(found != a.link->received.end(), text, a, message.packet_id);
        return found->second;
    }
    void on_skipped(Actor& a, const mqtt::Message& message) {
        ++coverage.skipped;
        Arrival& r = arrival(a, message, "skipped what was not sent");
        check(r.too_long || r.unknown_alias, "skipped what would have fitted", a, message.packet_id);
        const size_t properties = r.too_long && a.link->v5 ? r.properties.size() + mqtt::variable_size(static_cast<uint32_t>(r.properties.size())) : 0;
        check(message.total == r.total + properties, "skipped with a wrong size", a, message.total);
        if (r.unknown_alias) ++coverage.aliases_unknown;
        r.handled = true;
        if (r.publisher < actors_.size()) {
            Delivery& d = a.deliveries[{r.publisher, r.sequence}];
            ++d.count;
            ++d.taken;
        }
        if (message.qos == mqtt::QoS::at_most_once) a.link->received_0.pop_front();
    }

    void on_received(Actor& a, const mqtt::Message& message) {
        check(a.connected, "received without a connection", a);
        if (trace_) tell(a, "<- received %.*s, id %u, QoS %d, %u + %zu of %u", static_cast<int>(message.topic.size()), message.topic.data(),
                         message.packet_id, static_cast<int>(message.qos), message.offset, message.payload.size(), message.total);
        const std::string piece(message.payload.text());
        const Arrival expected = arrival(a, message, "received what was not sent");
        check(message.properties.block().text() == expected.properties, "the properties of a message", a, message.packet_id);
        check(!expected.too_long && !expected.unknown_alias, "received, and it does not fit", a, message.packet_id);
        if (message.complete() && message.qos == mqtt::QoS::at_most_once) a.link->received_0.pop_front();
        if (message.offset != 0) check(a.partial, "a piece without the first one", a);
        if (a.partial) {
            check(message.offset == a.partial_payload.size(), "a piece out of place", a, message.offset);
            check(message.topic == a.partial_topic && message.total == a.partial_total && message.packet_id == a.partial_id, "a piece of something else", a);
        }
        if (!message.complete() && !a.partial) {
            check(message.total + message.topic.size() + expected.properties.size() + 8 > a.rx.size() - std::min<size_t>(a.rx.size(), 5), "in pieces, but it fits", a);
            a.partial = true;
            a.partial_topic = std::string(message.topic);
            a.partial_payload.clear();
            a.partial_total = message.total;
            a.partial_id = message.packet_id;
        }
        if (a.partial) {
            ++coverage.pieces;
            a.partial_payload += piece;
        }
        if (!message.complete()) return check(!piece.empty(), "an empty piece", a);
        const std::string payload = a.partial ? a.partial_payload : piece;
        a.partial = false;
        if (!ours(message.topic)) {
            if (tracked(message.topic)) (void)identify(payload, message.topic);
            else check(message.topic == "m" || payload == "gone", "a will is intact", a);
            return hold_or_handle(a, message, ~size_t{0}, 0);
        }
        const Message& m = identify(payload, message.topic);
        const int qos = static_cast<int>(message.qos);
        check(qos <= m.qos, "a higher QoS than it was published with", a);
        Delivery& d = a.deliveries[{m.publisher, m.sequence}];
        if (d.count != 0) ++coverage.repeated_to_client;
        if (qos == 0 && m.qos != 1 && !m.exempt) check(d.count == 0, "QoS 0 twice", a, m.sequence);
        if (qos == 2 && !a.unaware && !m.exempt) {
            if (a.options.manual_ack)
                check(d.taken == 0, "QoS 2 again, and it was acknowledged", a, m.sequence);
            else
                check(d.count == 0, "QoS 2 twice", a, m.sequence);
        }
        if (d.count++ == 0) {   // [MQTT-4.6.0-6]
            uint32_t& last = a.last_first[{m.publisher, m.topic, m.qos, qos}];
            // Sent again, QoS 1 may come for the first time to a client that was away, had not subscribed, or could not have it.
            const bool late = m.turned_away || actors_[m.publisher]->anonymous ||
                              (m.qos == 1 && (qos == 0 || m.arrived < a.stable_since || stable_qos(a, m) == 0 || may_be_withheld(a, m)));
            check(last < m.sequence || m.exempt || a.unaware || late, "out of order", a, m.sequence);
            last = m.sequence;
        }
        hold_or_handle(a, message, m.publisher, m.sequence);
    }
    void hold_or_handle(Actor& a, const mqtt::Message& message, size_t publisher, uint32_t sequence) {
        if (message.qos == mqtt::QoS::at_most_once) return;
        const auto found = a.link->received.find(message.packet_id);
        check(found != a.link->received.end(), "received what was not sent", a, message.packet_id);
        Arrival& r = found->second;
        if (publisher < actors_.size())
            check(r.publisher == publisher && r.sequence == sequence && r.qos == static_cast<int>(message.qos), "received under another packet id", a, message.packet_id);
        if (a.options.manual_ack) {
            a.held.push_back({message.packet_id, publisher, sequence, false});
            check(a.held.size() <= a.receive_maximum, "more open messages than receive_maximum", a, a.held.size());
            return;
        }
        r.handled = true;
        r.polls = a.polls;
        ++a.deliveries[{publisher, sequence}].taken;
    }

    // With which QoS it comes by the subscriptions that last.
    static int stable_qos(const Actor& a, const Message& m) {
        int granted = 0;
        for (const auto& f : a.stable)
            if (mqtt::matches(f.filter, m.topic)) granted = std::max(granted, f.qos);
        return granted;
    }
    // Wills, and what check_memory() sends, are not followed.
    static bool ours(std::string_view topic) { return topic.substr(0, 2) == "t/"; }
    // Retained ones come anew to each new subscription: they are followed up to the broker.
    static bool tracked(std::string_view topic) { return ours(topic) || topic.substr(0, 2) == "r/"; }
    const Message& identify(const std::string& payload, std::string_view topic) const {
        if (payload.size() < 4) fail("a message that nobody sent");
        const size_t publisher = static_cast<unsigned char>(payload[0]);
        const uint32_t sequence = static_cast<uint32_t>(static_cast<unsigned char>(payload[1]) << 8 | static_cast<unsigned char>(payload[2]));
        if (publisher >= actors_.size() || sequence == 0 || sequence > actors_[publisher]->messages.size()) fail("a message that nobody sent");
        const Message& m = actors_[publisher]->messages[sequence - 1];
        if (m.payload != payload) fail("a payload is not intact: message " + std::to_string(sequence));
        if (m.topic != topic) fail("a topic is not intact: message " + std::to_string(sequence));
        return m;
    }

    // ------------------------------------------------------------------------------------------------------ observers

    static mqtt::Version version(const Link& l) { return l.v5 ? mqtt::Version::v5 : mqtt::Version::v3_1_1; }
    template <class On> void split(const Link& l, std::string& part, const char* data, size_t size, On on) {
        part.append(data, size);
        size_t at = 0;
        while (at < part.size()) {
            mqtt::FixedHeader header;
            const uint8_t* const p = reinterpret_cast<const uint8_t*>(part.data()) + at;
            if (mqtt::read_fixed_header(p, part.size() - at, header, version(l)) != mqtt::Error::ok) {
                std::string bytes;
                for (size_t i = at; i < std::min(part.size(), at + 24); ++i) bytes += ' ' + std::to_string(static_cast<unsigned char>(part[i]));
                fail("the wire: a malformed fixed header:" + bytes);
            }
            if (header.size == 0 || part.size() - at < header.packet_size()) break;
            on(header.first_byte, mqtt::Bytes(p + header.size, header.remaining_length), mqtt::Bytes(p, header.packet_size()));
            at += header.packet_size();
        }
        part.erase(0, at);
    }

    template <class Packet> void decode(const Link& l, uint8_t first, mqtt::Bytes body, Packet& packet) {
        if (mqtt::decode_body(first, body, packet, version(l)) != mqtt::Error::ok) fail("the broker sent a malformed packet");
    }
    void observe_down(Link& l, const std::string& out) {
        if (l.rogue) return;
        split(l, l.down_part, out.data(), out.size(), [&](uint8_t first, mqtt::Bytes body, mqtt::Bytes whole) {
            using mqtt::PacketType;
            if (trace_) tell(*actors_[l.owner], "          down %llu: %s", static_cast<unsigned long long>(l.serial), hex(whole, 80).c_str());
            switch (static_cast<PacketType>(first >> 4)) {
            case PacketType::connack: return connack_on_wire(l, first, body);
            case PacketType::publish: return publish_to_client(l, first, body, whole);
            case PacketType::pubrel:
                ++l.pubrels[mqtt::load_u16(body.data())];
                [[fallthrough]];
            case PacketType::puback:
            case PacketType::pubrec:
            case PacketType::pubcomp: {
                mqtt::Ack packet;
                decode(l, first, body, packet);
                (packet.type == PacketType::pubrel ? l.released : l.answers)[packet.packet_id] = {packet.reason, {}, std::string(packet.properties.block().text())};
                return;
            }
            case PacketType::suback:
            case PacketType::unsuback: {
                mqtt::Suback packet;
                decode(l, first, body, packet);
                l.answers[packet.packet_id] = {mqtt::ReasonCode::success, std::string(packet.reason_codes.text()), std::string(packet.properties.block().text())};
                return;
            }
            case PacketType::disconnect: {
                mqtt::Disconnect packet;
                decode(l, first, body, packet);
                l.ended = true;
                l.end = {packet.reason, {}, std::string(packet.properties.block().text())};
                return;
            }
            default: return;
            }
        });
    }
    void connack_on_wire(Link& l, uint8_t first, mqtt::Bytes body) {
        Actor& a = *actors_[l.owner];
        const bool old_form = l.v5 && body.size() == 2;
        if (old_form) l.v5 = false;   // to be read as it was written, and there is no more
        mqtt::Connack packet;
        decode(l, first, body, packet);
        const mqtt::Properties& p = packet.properties;
        const std::string properties(p.block().text());
        if (packet.reason != mqtt::ReasonCode::success) {
            l.ended = true;
            l.end = {packet.reason, {}, properties};
            if (packet.reason == mqtt::ReasonCode::unsupported_protocol_version) a.refused_v5 = true;
            return;
        }
        l.connack_seen = true;
        l.present = packet.session_present();
        l.connack_properties = properties;
        if (!l.present) a.broker_session = ++serial_;
        l.session = a.broker_session;
        l.limits.receive_maximum = p.get(mqtt::prop::receive_maximum).value_or(65535);
        l.limits.maximum_packet_size = p.get(mqtt::prop::maximum_packet_size).value_or(0);
        l.limits.topic_alias_maximum = p.get(mqtt::prop::topic_alias_maximum).value_or(0);
        l.limits.maximum_qos = static_cast<mqtt::QoS>(p.get(mqtt::prop::maximum_qos).value_or(2));
        l.limits.retain_available = p.get(mqtt::prop::retain_available).value_or(1) != 0;
        l.keep_alive = p.get(mqtt::prop::server_keep_alive).value_or(a.options.keep_alive);
        l.session_kept = !a.options.clean_session && (!l.v5 || p.get(mqtt::prop::session_expiry_interval).value_or(a.options.session_expiry_interval) != 0);
        if (const auto id = p.get(mqtt::prop::assigned_client_identifier)) {
            if (a.link == &l) a.id = *id;   // else it is an answer to an attempt that was given up
            a.ids.insert(std::string(*id));
            ++coverage.assigned;
        }
    }
    // Does it find room in the client's memory? Four bytes are kept for each that may come.
    void set_alias(Link& l, uint16_t alias, const std::string& topic, bool skipped) {
        const Actor& a = *actors_[l.owner];
        l.aliases_down[alias] = topic;
        l.alias_known.erase(alias);
        size_t used = 4U * a.alias_maximum + topic.size();
        for (const auto& known : l.alias_known) used += known.second ? l.aliases_down[known.first].size() : 0;
        if (!skipped) l.alias_known[alias] = used <= a.received_aliases.size();
    }
    void publish_to_client(Link& l, uint8_t first, mqtt::Bytes body, mqtt::Bytes whole) {
        const size_t rx = actors_[l.owner]->rx.size();
        mqtt::Publish packet;
        decode(l, first, body, packet);
        Arrival arrival;
        arrival.too_long = whole.size() > rx && whole.size() - packet.payload.size() >= rx;
        if (arrival.too_long) l.alias_known.clear();
        std::string topic(packet.topic);
        if (const auto alias = packet.properties.get(mqtt::prop::topic_alias)) {
            if (topic.empty()) {
                topic = l.aliases_down[*alias];
                const auto known = l.alias_known.find(*alias);
                arrival.unknown_alias = known == l.alias_known.end() || !known->second;
                l.alias_missed = l.alias_missed || known == l.alias_known.end();
                ++coverage.aliases_down;
            } else {
                set_alias(l, *alias, topic, arrival.too_long);
            }
        }
        arrival.qos = static_cast<int>(packet.qos);
        arrival.total = packet.payload.size();
        arrival.properties = packet.properties.block().text();
        arrival.serial = ++l.arrivals;
        if (tracked(topic)) {
            const Message& m = identify(std::string(packet.payload.text()), topic);
            if (ours(topic)) arrival.publisher = m.publisher;
            arrival.sequence = m.sequence;
            const bool intact = arrival.properties.compare(0, m.forwarded.size(), m.forwarded) == 0;
            if (l.v5 && !intact && !m.stripped) fail("the broker has other properties for message " + std::to_string(m.sequence));
        }
        if (packet.qos == mqtt::QoS::at_most_once) l.received_0.push_back(arrival);
        else l.received[packet.packet_id] = arrival;
    }

    void observe_up(Link& l, const uint8_t* data, size_t size) {
        split(l, l.up_part, reinterpret_cast<const char*>(data), size,
              [&](uint8_t first, mqtt::Bytes body, mqtt::Bytes packet) { on_wire(l, first, body, packet); });
    }

    void on_wire(Link& l, uint8_t first, mqtt::Bytes body, mqtt::Bytes whole) {
        using mqtt::PacketType;
        Actor& a = *actors_[l.owner];
        const PacketType type = static_cast<PacketType>(first >> 4);
        if (trace_) {
            static const char* const names[] = {"?", "CONNECT", "?", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "?", "UNSUBSCRIBE", "?", "PINGREQ", "?", "DISCONNECT", "AUTH"};
            tell(a, "          wire %llu: %s%s%s, %zu bytes: %s", static_cast<unsigned long long>(l.serial), names[first >> 4],
                 type == PacketType::publish && (first & 8) != 0 ? " DUP" : "", id_text(type, first, body).c_str(), whole.size(), hex(whole, 80).c_str());
        }
        check(!l.disconnect_seen, "wire: a packet behind DISCONNECT", a);
        check(l.connect_seen == (type != PacketType::connect), "wire: CONNECT first, and once", a);
        if (type != PacketType::connect && type != PacketType::auth && !(l.v5 && type == PacketType::disconnect))
            check(l.connack_seen, "wire: a packet before CONNACK", a);
        const uint32_t largest = l.limits.maximum_packet_size;
        check(largest == 0 || whole.size() <= largest, "wire: a packet above Maximum Packet Size [5: MQTT-3.2.2-15]", a, whole.size());
        switch (type) {
        case PacketType::connect: return connect_on_wire(l, a, body);
        case PacketType::publish: return publish_on_wire(l, a, first, body, whole);
        case PacketType::pubrel: {
            const uint16_t id = mqtt::load_u16(body.data());
            const auto found = a.outstanding.find(id);
            check(found != a.outstanding.end(), "wire: PUBREL for nothing", a, id);
            Operation& o = found->second;
            check(o.what == What::publish && o.message->qos == 2 && o.pubrec != 0, "wire: PUBREL without PUBREC", a, id);
            check(o.released_on != l.serial, "wire: PUBREL twice on one connection", a, id);
            if (o.released_on != 0) ++coverage.resent_pubrels;
            check(o.pubrec > l.last_pubrel, "wire: PUBREL not in the order of PUBREC [MQTT-4.6.0-4]", a, id);
            l.last_pubrel = o.pubrec;
            o.released_on = l.serial;
            break;
        }
        case PacketType::subscribe:
        case PacketType::unsubscribe: {
            mqtt::Subscribe packet;
            check(mqtt::decode_body(first, body, packet, version(l)) == mqtt::Error::ok, "wire: malformed SUBSCRIBE", a);
            const auto found = a.outstanding.find(packet.packet_id);
            check(found != a.outstanding.end(), "wire: SUBSCRIBE or UNSUBSCRIBE for nothing", a, packet.packet_id);
            Operation& o = found->second;
            check(o.what == (type == PacketType::subscribe ? What::subscribe : What::unsubscribe), "wire: another operation under this packet id", a, packet.packet_id);
            check(o.sent_on != l.serial, "wire: SUBSCRIBE twice on one connection", a, packet.packet_id);
            size_t i = 0;
            mqtt::Subscription s;
            const bool plain = o.stripped || o.what == What::unsubscribe;
            for (mqtt::Subscriptions rest = packet.filters; rest.next(s); ++i) {
                check(i < o.filters.size() && s.filter == o.filters[i].filter, "wire: filters are intact", a);
                const Filter& f = o.filters[i];
                check(static_cast<int>(s.qos) == f.qos && s.no_local == (f.no_local && !plain) && s.retain_as_published == (f.retain_as_published && !plain) &&
                          s.retain_handling == (plain ? mqtt::RetainHandling::send : f.retain_handling), "wire: options are intact", a);
            }
            check(i == o.filters.size(), "wire: all filters", a);
            check(packet.properties.get(mqtt::prop::subscription_identifier).value_or(0) == (plain ? 0 : o.identifier), "wire: the subscription identifier", a);
            o.sent_on = o.written_on = l.serial;
            break;
        }
        case PacketType::puback:
        case PacketType::pubrec: {
            const uint16_t id = mqtt::load_u16(body.data());
            const auto found = l.received.find(id);
            check(found != l.received.end(), "wire: PUBACK or PUBREC for nothing", a, id);
            Arrival& r = found->second;
            check(r.qos == (type == PacketType::puback ? 1 : 2), "wire: an answer of the wrong kind", a, id);
            check(!r.answered, "wire: answered twice", a, id);
            r.answered = true;
            uint64_t& last = type == PacketType::puback ? l.last_puback : l.last_pubrec;
            check(r.serial > last, type == PacketType::puback ? "wire: PUBACK out of order [MQTT-4.6.0-2]" : "wire: PUBREC out of order [MQTT-4.6.0-3]", a, id);
            last = r.serial;
            const bool before = r.qos == 2 && taken(a, r);
            check((r.handled && a.polls > r.polls) || before || a.unaware, "wire: answered before the application had it", a, id);
            mqtt::Ack packet;
            check(mqtt::decode_body(first, body, packet, version(l)) == mqtt::Error::ok, "wire: malformed PUBACK or PUBREC", a);
            check(packet.reason == r.reason || (before && packet.reason == mqtt::ReasonCode::success), "wire: the reason of an answer", a, id);
            break;
        }
        case PacketType::pubcomp: {
            int& due = l.pubrels[mqtt::load_u16(body.data())];
            check(due-- > 0, "wire: PUBCOMP for nothing", a, mqtt::load_u16(body.data()));
            break;
        }
        case PacketType::pingreq: check(l.keep_alive != 0, "wire: PINGREQ, but no keep-alive", a); break;
        case PacketType::disconnect: {
            mqtt::Disconnect packet;
            check(mqtt::decode_body(first, body, packet, version(l)) == mqtt::Error::ok, "wire: malformed DISCONNECT", a);
            l.disconnect_seen = true;
            const bool unknown = l.v5 && !a.stopping && l.present && packet.reason == mqtt::ReasonCode::success && packet.properties.empty();
            if (unknown) break;   // a session of which it knows nothing; on_blamed() sees to it
            if (l.alias_missed && packet.reason == mqtt::ReasonCode::implementation_specific_error) break;   // on_disconnected() does
            check(a.stopping, "wire: DISCONNECT that nobody asked for", a, static_cast<uint64_t>(packet.reason));
            check(packet.reason == a.farewell.reason, "wire: the reason of DISCONNECT", a);
            check(!l.v5 || packet.properties.block().text() == mqtt::Properties(a.farewell_properties).block().text(), "wire: the properties of DISCONNECT", a);
            break;
        }
        case PacketType::auth: check(a.has_method && l.v5, "wire: AUTH without a method", a); break;
        default: fail(a.id + ": wire: a packet that only servers send");
        }
    }
    void connect_on_wire(Link& l, Actor& a, mqtt::Bytes body) {
        using mqtt::Version;
        mqtt::Connect packet;
        check(mqtt::decode_body(0x10, body, packet) == mqtt::Error::ok, "wire: malformed CONNECT", a);
        l.connect_seen = true;
        l.v5 = packet.protocol_level == 5;
        l.keep_alive = a.options.keep_alive;
        const Version wanted = a.options.version;
        check(l.v5 ? wanted != Version::v3_1_1 : wanted != Version::v5, "wire: CONNECT of another version", a, packet.protocol_level);
        if (!l.v5 && wanted == Version::v5_or_v3_1_1) {
            check(a.went_silent || a.refused_v5, "wire: 3.1.1, and nobody refused version 5", a);
            ++coverage.fell_back;
        }
        if (l.v5) a.went_silent = false;
        const bool clean = a.options.clean_session || (l.v5 && a.start_clean);
        check(((packet.flags & 2) != 0) == clean && packet.keep_alive == a.options.keep_alive, "wire: CONNECT as asked", a);
        check(packet.client_id == a.id || (a.anonymous && packet.client_id.empty() && may_know_none(a)), "wire: the client id", a);
        if (clean_attempt(a)) a.session_clean = true;   // the server may have forgotten the old one from here on
        if (!l.v5) return;
        const mqtt::Properties& p = packet.properties;
        const uint32_t expiry = a.options.clean_session ? 0 : a.options.session_expiry_interval;
        const bool own = p.get(mqtt::prop::receive_maximum).value_or(65535) == a.receive_maximum && p.get(mqtt::prop::topic_alias_maximum).value_or(0) == a.alias_maximum &&
                         p.get(mqtt::prop::maximum_packet_size).value_or(0) == a.options.maximum_packet_size && p.get(mqtt::prop::session_expiry_interval).value_or(0) == expiry;
        check(own, "wire: the limits in CONNECT", a);
        const std::string given(mqtt::Properties(a.connect_properties).block().text());
        check(p.block().text().compare(0, given.size(), given) == 0, "wire: the properties of CONNECT", a);
    }
    static std::string hex(mqtt::Bytes bytes, size_t most) {
        std::string text;
        char digits[4];
        for (size_t i = 0; i < std::min(bytes.size(), most); ++i) {
            std::snprintf(digits, sizeof digits, "%02x ", bytes[i]);
            text += digits;
        }
        return text;
    }
    static std::string id_text(mqtt::PacketType type, uint8_t first, mqtt::Bytes body) {
        using mqtt::PacketType;
        if (type == PacketType::connect || body.empty()) return "";
        size_t at = 0;
        if (type == PacketType::publish) {
            if ((first & 6) == 0) return " QoS 0";
            at = 2U + mqtt::load_u16(body.data());
        }
        return " id " + std::to_string(mqtt::load_u16(body.data() + at));
    }
    bool taken(Actor& a, const Arrival& r) {
        if (r.publisher >= actors_.size()) return true;   // a will: not followed over connections
        const auto found = a.deliveries.find({r.publisher, r.sequence});
        return found != a.deliveries.end() && (found->second.taken != 0 || (found->second.count != 0 && !a.options.manual_ack));
    }

    void publish_on_wire(Link& l, Actor& a, uint8_t first, mqtt::Bytes body, mqtt::Bytes whole) {
        mqtt::Publish packet;
        check(mqtt::decode_body(first, body, packet, version(l)) == mqtt::Error::ok, "wire: malformed PUBLISH", a);
        std::string topic(packet.topic);
        if (const auto alias = packet.properties.get(mqtt::prop::topic_alias)) {
            check(packet.qos == mqtt::QoS::at_most_once, "wire: an alias in what may be sent again", a, packet.packet_id);
            check(*alias <= l.limits.topic_alias_maximum, "wire: an alias above the maximum [5: MQTT-3.2.2-17]", a, *alias);
            if (topic.empty()) ++coverage.aliases_up;
            if (topic.empty()) topic = l.aliases_up[*alias];
            else l.aliases_up[*alias] = topic;
        }
        if (!tracked(topic)) return check(parting_, "wire: a message that nobody sent", a);
        const Message& found_message = identify(std::string(packet.payload.text()), topic);
        check(found_message.publisher == a.index, "wire: somebody else's message", a);
        Message& m = a.messages[found_message.sequence - 1];
        check(m.qos == static_cast<int>(packet.qos) && m.retain == (packet.retain == mqtt::Retain::yes), "wire: QoS and RETAIN as asked", a, m.sequence);
        check(packet.qos <= l.limits.maximum_qos, "wire: a QoS above the maximum [5: MQTT-3.2.2-11]", a, m.sequence);
        check(!m.retain || l.limits.retain_available, "wire: RETAIN, which is not available [5: MQTT-3.2.2-14]", a, m.sequence);
        check(!m.dropped, "wire: it was told as dropped", a, m.sequence);
        properties_on_wire(a, m, packet.properties);
        if (m.qos == 0) {
            check(m.written_on == 0, "wire: QoS 0 twice", a, m.sequence);
            m.written_on = l.serial;
            return;
        }
        const auto found = a.outstanding.find(packet.packet_id);
        check(found != a.outstanding.end(), "wire: PUBLISH for nothing", a, packet.packet_id);
        Operation& o = found->second;
        check(o.message == &m, "wire: another message under this packet id", a, packet.packet_id);
        check(o.pubrec == 0, "wire: PUBLISH after PUBREC [MQTT-4.3.3-1]", a, packet.packet_id);
        check(o.sent_on != l.serial, "wire: PUBLISH twice on one connection", a, packet.packet_id);
        if (m.written_on != 0) {
            check(packet.duplicate, "wire: sent again without DUP [MQTT-3.3.1-1]", a, packet.packet_id);
            ++coverage.resent_publishes;
        } else if (packet.duplicate) {
            bool half = false;
            for (const std::string& part : a.leftovers)
                half = half || (part.size() <= whole.size() && memcmp(part.data() + 1, whole.data() + 1, part.size() - 1) == 0) ||
                       (v5_ && part[0] == static_cast<char>(whole[0] & ~8) && (m.expiry || m.stripped));   // then it has changed
            check(half, "wire: DUP, and it was never sent", a, packet.packet_id);
        }
        check(!l.anew || !packet.duplicate, "wire: sent again in a new session", a, packet.packet_id);
        check(m.sequence > l.last_publish, "wire: PUBLISH not in the original order [MQTT-4.6.0-1]", a, packet.packet_id);
        l.last_publish = m.sequence;
        size_t in_flight = 0;
        for (const auto& entry : a.outstanding) {
            const Operation& other = entry.second;
            if (other.what == What::publish && (other.sent_on == l.serial || other.released_on == l.serial)) ++in_flight;
        }
        check(in_flight < a.options.in_flight_maximum, "wire: more in flight than in_flight_maximum", a, in_flight);
        check(in_flight < l.limits.receive_maximum, "wire: more in flight than Receive Maximum [5: MQTT-3.3.4-7]", a, in_flight);
        if (publishes_outstanding(a) > a.options.in_flight_maximum) ++coverage.waited_at_gate;
        o.sent_on = m.written_on = l.serial;
        o.written_on = l.serial;
    }

    // Those that were given, in order; the expiry less the time that has passed, by seconds.
    void properties_on_wire(Actor& a, const Message& m, mqtt::Properties list) {
        std::string plain = without_expiry(list);
        if (list.get(mqtt::prop::topic_alias)) plain.resize(plain.size() - 3);   // the last one
        check(plain == (m.stripped ? "" : m.forwarded), "wire: properties are intact", a, m.sequence);
        const auto left = list.get(mqtt::prop::message_expiry_interval);
        check(left.has_value() == m.expiry.has_value(), "wire: the expiry of a message", a, m.sequence);
        if (!left) return;
        const uint64_t passed = (now_ - m.published_at + 999) / 1000 + 1;
        check(*left <= *m.expiry && *left + passed >= *m.expiry, "wire: the expiry of a message, less what has passed", a, *left);
    }

    // What the broker took for new.
    void read_log() {
        for (const Broker::LoggedPublish& entry : broker_.log()) {
            if (!tracked(entry.topic)) continue;
            const Message& found = identify(entry.payload, entry.topic);
            Actor& a = *actors_[found.publisher];
            Message& m = a.messages[found.sequence - 1];
            check((entry.client_id == a.id || a.ids.count(entry.client_id) != 0) && static_cast<int>(entry.qos) == m.qos, "the broker has it from somebody else", a);
            if (m.arrivals++ == 0) {
                m.arrived = ++serial_;
                if (m.turned_away || entry.client_id != a.id) continue;
                uint32_t& last = a.last_at_broker[{m.topic, m.qos}];
                check(last < m.sequence, "the broker has it out of order", a, m.sequence);
                last = std::max(last, m.sequence);
                if (m.qos == 0) continue;
                check(a.last_kept_at_broker < m.sequence, "the broker has messages of QoS 1 and 2 out of order", a, m.sequence);
                a.last_kept_at_broker = m.sequence;
            } else {
                ++coverage.repeated_at_broker;
                check(m.qos == 1 || m.exempt, "the broker has it twice", a, m.sequence);
                check(profile_ != Profile::calm || a.stops != 0, "sent twice without a fault", a, m.sequence);
            }
        }
        broker_.clear_log();
    }

    // ------------------------------------------------------------------------------------------------------ the end

    bool at_rest() {
        for (auto& a : actors_)
            if (!a->connected || a->stopping || !a->outstanding.empty() || !a->held.empty() || a->subscribe_due || a->stream != nullptr ||
                a->client->wants_write() || a->client->idle_ms() == 0)
                return false;
        for (auto& l : links_)
            if (l->left || l->lost || l->up.dead || l->down.dead || !l->arrived.empty() || !l->up.chunks.empty() || !l->down.chunks.empty()) return false;
        for (auto& a : actors_) {
            const auto session = broker_.session(a->id);
            if (!session || session->queued != 0 || session->in_flight != 0) return false;
            if (session->received != 0 && !a->unaware && !a->gave_up) return false;   // else those that the client gave up
        }
        return true;
    }
    std::string unrest() {
        std::string text;
        for (auto& a : actors_) {
            text += "\n    " + a->id + (a->connected ? " connected" : a->started ? " not connected" : " stopped");
            text += ", outstanding " + std::to_string(a->outstanding.size()) + ", held " + std::to_string(a->held.size());
            text += a->stream != nullptr ? a->stream_open ? ", a stream open" : ", a stream" : "";
            text += ", idle_ms " + std::to_string(a->client->idle_ms()) + (a->client->wants_write() ? ", wants_write" : "");
            if (a->subscribe_due) text += ", not subscribed";
            if (const auto s = broker_.session(a->id))
                text += "; broker: in flight " + std::to_string(s->in_flight) + ", queued " + std::to_string(s->queued) + ", received " + std::to_string(s->received);
        }
        for (auto& l : links_)
            text += "\n    link " + std::to_string(l->serial) + " of c" + std::to_string(l->owner) + (l->established ? "" : " opening") + (l->lost ? " lost" : "") +
                    (l->left ? " left" : "") + (l->gone ? " gone" : "") + (l->blind ? " blind" : "") + ", unread " + std::to_string(l->arrived.size()) +
                    ", up " + std::to_string(l->up.chunks.size()) + ", down " + std::to_string(l->down.chunks.size());
        return text;
    }

    // Nothing happens any more but pings.
    void hold() {
        uint64_t longest = 1000;
        for (auto& a : actors_) longest = std::max<uint64_t>(longest, keep_alive(*a) * 2500ULL);
        longest = std::min<uint64_t>(longest, 150000);
        const uint64_t end = now_ + longest;
        std::vector<uint64_t> polls, disconnects;
        for (auto& a : actors_) {
            polls.push_back(a->polls);
            disconnects.push_back(a->disconnects);
        }
        const uint64_t timeouts = broker_.statistics().timeouts;
        while (now_ < end) step(end);
        for (auto& a : actors_) {
            check(a->disconnects == disconnects[a->index], "lost, and all was well", *a);
            const uint64_t per_ping = keep_alive(*a) == 0 ? 0 : longest / (keep_alive(*a) * 500ULL) + 1;
            check(a->polls - polls[a->index] <= 12 + per_ping * 12, "polled too often while nothing happens", *a, a->polls - polls[a->index]);
        }
        check(broker_.statistics().timeouts == timeouts, "the broker waited in vain for a ping");
    }

    // At rest all of the outbox is free: a message that just fits is taken.
    void check_memory() {
        for (auto& a : actors_) {
            const size_t capacity = a->tx.size() - a->receive_maximum * size_t{3};
            const size_t free = capacity - mqtt::Outbox::for_message;
            const size_t header = (free - 2 < 128 ? 2 : 3) + (a->outbox_v5 ? 1U : 0U);
            const std::string payload(free - header - 3, 'm');
            if (a->link->limits.maximum_packet_size != 0) continue;   // told of before
            check(a->client->publish("m", payload + "m").error == mqtt::Error::packet_too_large, "the outbox is larger than said", *a, capacity);
            if (payload.size() + 3 < 128 && header >= 3) continue;
            const mqtt::Result result = a->client->publish("m", payload);
            check(result.ok(), "the outbox is not empty at rest", *a, static_cast<uint64_t>(result.error));
        }
    }

    void part() {
        parting_ = true;
        // The broker would not know the large messages; they were only to see whether there is room.
        for (auto& a : actors_) {
            const mqtt::Result result = a->client->abort();
            check(result.ok(), "abort() at the end", *a);
            a->stopping = true;
        }
        run_until_stopped();
        // Once more, for a farewell in good order.
        for (auto& a : actors_) {
            a->options.clean_session = true;
            if (!a->outbox_v5) a->options.version = mqtt::Version::v3_1_1;   // what waits fills the memory
            check(a->client->connect(a->options).ok(), "connect() at the end", *a);
            a->farewell = mqtt::Disconnect{};
            a->farewell_properties.clear();
            a->started = true;
        }
        const uint64_t limit = now_ + 60000;
        for (bool all = false; !all && now_ < limit;) {
            step(limit);
            all = true;
            for (auto& a : actors_) all = all && a->connected && !a->client->wants_write();
        }
        for (auto& a : actors_) {
            check(a->connected, "not connected at the end", *a);
            const mqtt::Result result = a->client->disconnect();
            check(result.ok(), "disconnect() at the end", *a, static_cast<uint64_t>(result.error));
            a->stopping = true;
        }
        run_until_stopped();
        for (auto& a : actors_) check(a->last_error == mqtt::Error::ok, "a farewell in good order", *a, static_cast<uint64_t>(a->last_error));
    }
    void run_until_stopped() {
        const uint64_t limit = now_ + 60000;
        for (bool any = true; any;) {
            any = false;
            for (auto& a : actors_) any = any || a->started;
            if (!any) return;
            if (now_ >= limit) fail("not stopped in time: " + unrest());
            step(limit);
        }
    }

    void check_end() {
        const BrokerStatistics& s = broker_.statistics();
        if (s.violations != 0) fail("the broker saw a violation of the protocol: " + broker_.violations()[0]);
        check(s.id_conflicts == 0, "the broker saw a packet id in use");
        coverage.expired_at_broker += s.expired;
        coverage.too_large_for_client += s.too_large;
        for (auto& a : actors_)
            if (a->unaware) return;
        check(s.repeated_without_dup == 0, "the broker saw a repetition without DUP");
        check(s.unknown_acks == 0 || profile_ != Profile::calm, "the broker saw an answer to nothing");
        for (auto& a : actors_) {
            for (const Message& m : a->messages) {
                if (m.qos == 0) continue;
                check(m.acknowledged != m.dropped, "a message that has not ended", *a, m.sequence);
                if (m.acknowledged) check(m.arrivals >= 1 || m.turned_away, "acknowledged, but it never arrived", *a, m.sequence);
            }
            if (profile_ == Profile::lossy) continue;
            // What the broker got after a subscription that lasts is with its subscribers.
            for (auto& publisher : actors_)
                for (const Message& m : publisher->messages) {
                    if (m.arrived == 0 || m.arrived < a->stable_since || m.retain) continue;
                    if (may_be_withheld(*a, m)) continue;
                    if (std::min(stable_qos(*a, m), m.qos) == 0) continue;
                    const auto found = a->deliveries.find({m.publisher, m.sequence});
                    check(found != a->deliveries.end() && found->second.count != 0, "a message that never came", *a, m.sequence);
                }
        }
    }

    Random random_;
    Profile profile_;
    bool v5_;                        // clients and broker know MQTT 5
    bool trace_;
    Broker broker_;
    std::vector<std::unique_ptr<Actor>> actors_;
    std::vector<std::unique_ptr<Link>> links_;
    uint64_t now_ = 0, base_ = 0, steps_ = 0, serial_ = 0, last_link_ = 0;
    uint64_t latency_ = 0, action_gap_ = 0, fault_gap_ = 0, next_fault_ = 0, faults_left_ = 0;
    uint64_t faults_min_ = 0, faults_end_ = 0, hard_end_ = 0, settle_limit_ = 0, broker_down_until_ = 0;
    size_t window_ = 0;
    uint64_t budget_ = 0, hours_ = 0;
    int max_qos_ = 2;
    bool short_writes_ = false, short_reads_ = false, long_topics_ = false, big_messages_ = false, streams_ = false;
    bool healed_ = false, parting_ = false;
    // MQTT 5
    uint16_t max_inflight_ = 0;      // for connections of 3.1.1
    BrokerConfig::Level5 level_5_ = BrokerConfig::served;   // at times
    bool reason_strings_ = false, refuses_messages_ = false;
};

int SimulatedPort::open(std::string_view host, uint16_t port) { return simulation->port_open(owner, host, port); }
int SimulatedPort::read(uint8_t* data, size_t size) { return simulation->port_read(owner, data, size); }
int SimulatedPort::write(const uint8_t* data, size_t size) { return simulation->port_write(owner, data, size); }
void SimulatedPort::close() { simulation->port_close(owner); }
uint32_t SimulatedPort::now_ms() { return simulation->clock(); }
uint32_t SimulatedPort::random() { return static_cast<uint32_t>(simulation->random_.next()); }

}  // namespace test
