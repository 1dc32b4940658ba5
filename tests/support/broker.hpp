// A small MQTT 5 and 3.1.1 broker over the codec of mqtt.hpp: the peer in tests and simulations, and of the demo.
//
// Host code: it allocates as it likes. No I/O, no clock, no threads, nothing random: the same calls give the same
// bytes. A transport (tests/support/broker_tcp.hpp is one) feeds it and asks for what came of it:
//
//     const Broker::Id id = broker.accept(now_ms);             // a network connection
//     broker.receive(id, data, size, now_ms);                  // bytes, cut anywhere
//     while (!broker.output(id).empty())                       // bytes for that client, cut anywhere
//         broker.consume(id, write(broker.output(id)));
//     if (broker.wants_close(id)) ...                          // close the connection when output() is empty
//     broker.closed(id, now_ms);                               // the connection is gone, whoever closed it
//     broker.tick(now_ms);                                     // at the latest after idle_ms(now_ms)
//
// What is not asked of a server that all clients could notice: it remembers nothing over its own destruction, and its
// queues have no limit but memory. QoS 2 is received by method A of section 4.3.3: delivered at PUBLISH, the packet
// id kept until PUBREL. It is strict: whatever a client must not do is told by violations(), and ends the connection.
//
// Clauses are cited from 3.1.1 where both versions have them, and with "5:" in front where MQTT 5 alone has them.

#ifndef TESTS_SUPPORT_BROKER_HPP
#define TESTS_SUPPORT_BROKER_HPP

#include "mqtt.hpp"

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace test {

// MQTT 5: what CONNACK tells the client, and what it is then held to. The defaults are those of the protocol.
struct BrokerLimits {
    uint16_t receive_maximum = 65535;
    uint32_t maximum_packet_size = 0;    // 0: none
    uint16_t topic_alias_maximum = 0;
    mqtt::QoS maximum_qos = mqtt::QoS::exactly_once;
    bool retain_available = true;
    bool wildcards_available = true;
    bool identifiers_available = true;
    bool shared_available = true;
};

// May be changed at any time; it holds for what comes then, and what CONNACK tells for the connections that begin then.
struct BrokerConfig {
    uint16_t max_inflight = 20;          // QoS 1 and 2 sent to a client and unanswered; 0: as many as there are packet ids
    bool dup_on_redelivery = true;       // false: like brokers that redeliver with DUP=0, against [MQTT-3.3.1-1]
    bool answer_pings = true;            // false: like a link that is dead in one direction
    // Not success: every CONNECT is refused with it; without CONNACK if CONNACK cannot say it.
    mqtt::ReasonCode refuse_connect = mqtt::ReasonCode::success;
    uint32_t connect_timeout_ms = 10000; // from accept() to CONNECT; 0: none
    size_t qos0_output_limit = 0;        // bytes of output beyond which QoS 0 messages are dropped; 0: never

    // User name and password. Not empty: no user name is not_authorized, a wrong one or a wrong password is
    // bad_user_name_or_password.
    std::map<std::string, std::string> users;
    std::function<mqtt::ReasonCode(const mqtt::Connect&)> authorize;   // the reason code of CONNACK
    // The reason code of SUBACK: the granted QoS, or from 0x80 on.
    std::function<uint8_t(const std::string& client_id, std::string_view filter, mqtt::QoS)> grant;

    // MQTT 5.
    enum Level5 : uint8_t { served, refused_as_3_1_1, refused_as_5, closed };
    Level5 level_5 = served;             // what a CONNECT of version 5 gets; not served: 20 02 00 01, or reason code 0x84
    BrokerLimits limits;
    uint16_t use_aliases = 0;            // topic aliases used towards a client, if it takes as many
    uint32_t session_expiry_maximum = mqtt::forever;   // a client that wants more gets this, and is told
    std::optional<uint16_t> server_keep_alive;
    bool reason_strings = false;         // a reason string and a user property in every answer that may have them
    std::string response_information;    // for those who ask
    std::string server_reference;        // if refuse_connect is use_another_server or server_moved
    std::string authentication_method = "test";   // the server sends something, the client sends it back reversed
    // The reason code of PUBACK and PUBREC; from 0x80 on the message is not published.
    std::function<mqtt::ReasonCode(const std::string& client_id, const mqtt::Publish&)> accept_publish;

    bool log_publishes = false;                          // fill log()
    std::function<void(const std::string&)> trace;       // one line for each step worth telling
};

struct BrokerStatistics {
    uint64_t connections = 0;            // accepted by the transport
    uint64_t connects = 0;               // CONNECT answered with 0
    uint64_t refusals = 0;               // CONNECT answered with another code, or not at all
    uint64_t takeovers = 0;              // [MQTT-3.1.4-2]
    uint64_t violations = 0;             // connections closed for what the client sent: see Broker::violations()
    uint64_t timeouts = 0;               // connections closed for what the client did not send
    uint64_t packets_in = 0;
    uint64_t packets_out = 0;
    uint64_t pings = 0;
    uint64_t publishes_in[3] = {0, 0, 0};    // by QoS; without those that were recognised as repeated
    uint64_t publishes_out[3] = {0, 0, 0};   // by QoS; redeliveries included
    uint64_t redeliveries = 0;           // PUBLISH and PUBREL sent again on resumption
    uint64_t repeated = 0;               // QoS 2 PUBLISH received again, and not delivered again
    uint64_t repeated_without_dup = 0;   // of these with DUP=0: against [MQTT-3.3.1-1], or a packet id in use
    uint64_t id_conflicts = 0;           // QoS 1 PUBLISH with the id of an open QoS 2 one, against [MQTT-2.3.1-2]
    uint64_t unknown_acks = 0;           // PUBACK, PUBREC, PUBCOMP for no packet of ours
    uint64_t wills = 0;
    uint64_t dropped = 0;                // QoS 0 beyond qos0_output_limit
    uint64_t expired = 0;                // by Message Expiry Interval, before they were sent to a client
    uint64_t too_large = 0;              // for a client's Maximum Packet Size
    uint64_t aliases_in = 0, aliases_out = 0;   // PUBLISH with a topic alias in place of the topic
};

class Broker {
public:
    using Id = size_t;
    using PacketType = mqtt::PacketType;
    using ReasonCode = mqtt::ReasonCode;
    static constexpr Id none = 0;        // no connection has this id; ids are not used again

    struct LoggedPublish {
        std::string client_id;
        std::string topic;
        std::string payload;
        mqtt::QoS qos;
        bool retain;
        bool duplicate;
        std::string properties;          // those that are passed on, and the Message Expiry Interval
    };
    struct SessionInfo {
        Id connection;                   // none: the client is away
        mqtt::Version version;           // of the connection, or the last one
        uint32_t expiry;                 // seconds; 3.1.1: 0 for a clean session, else for ever
        size_t subscriptions;
        size_t in_flight;                // sent and unanswered
        size_t queued;                   // waiting for a place in the window, or for the client
        size_t received;                 // QoS 2 packet ids waiting for PUBREL
    };

    explicit Broker(BrokerConfig configuration = {}) : config(std::move(configuration)) {}
    Broker(const Broker&) = delete;
    Broker& operator=(const Broker&) = delete;

    BrokerConfig config;

    // --------------------------------------------------------------------------------------------- the transport

    Id accept(uint32_t now_ms) {
        advance(now_ms);
        ++statistics_.connections;
        const Id id = ++last_connection_;
        Connection& connection = connections_[id];
        connection.id = id;
        connection.last_received = now_;
        if (config.connect_timeout_ms != 0) arm(connection, now_ + config.connect_timeout_ms);
        return id;
    }

    void receive(Id id, const uint8_t* data, size_t size, uint32_t now_ms) {
        advance(now_ms);
        Connection* connection = find(id);
        if (connection == nullptr) return;
        // Bytes count, not packets: a large one may need longer than the keep-alive. Not before CONNECT.
        if (connection->session != nullptr && size != 0) connection->last_received = now_;
        while (size != 0 && !connection->closing) {
            const size_t used = connection->input.empty() ? take_packet(*connection, data, size)
                                                          : gather_packet(*connection, data, size);
            data += used;
            size -= used;
        }
    }

    // The next bytes for that client; more may follow behind them. Valid until the next call that is not const.
    mqtt::Bytes output(Id id) const {
        const Connection* connection = find(id);
        return connection == nullptr ? mqtt::Bytes() : connection->output.front();
    }
    void consume(Id id, size_t size) {
        if (Connection* connection = find(id)) connection->output.consume(size);
    }
    size_t output_size(Id id) const {
        const Connection* connection = find(id);
        return connection == nullptr ? 0 : connection->output.size();
    }
    // All of it at once.
    std::string take_output(Id id) {
        std::string all;
        for (mqtt::Bytes bytes = output(id); !bytes.empty(); bytes = output(id)) {
            all += bytes.text();
            consume(id, bytes.size());
        }
        return all;
    }

    // The connection is to be closed after its output; what still comes in is ignored. True also for unknown ids.
    bool wants_close(Id id) const {
        const Connection* connection = find(id);
        return connection == nullptr || connection->closing;
    }
    // Why; empty while it is open.
    std::string close_reason(Id id) const {
        const Connection* connection = find(id);
        return connection == nullptr ? "gone" : connection->close_reason;
    }

    // The network connection is gone. Without a DISCONNECT before, the will is published [MQTT-3.1.2-8].
    void closed(Id id, uint32_t now_ms) {
        advance(now_ms);
        Connection* connection = find(id);
        if (connection == nullptr) return;
        leave(*connection);
        disarm(*connection);
        connections_.erase(id);
    }

    void tick(uint32_t now_ms) {
        advance(now_ms);
        while (!alarms_.empty() && alarms_.begin()->first <= now_) {
            Connection& connection = *find(alarms_.begin()->second);
            disarm(connection);
            const uint64_t due = deadline(connection);
            if (due > now_) {
                arm(connection, due);   // something came since the alarm was set
            } else {
                ++statistics_.timeouts;
                if (connection.session == nullptr) close(connection, "no CONNECT");
                else disconnect(connection, ReasonCode::keep_alive_timeout, "keep-alive");   // [MQTT-3.1.2-24]
            }
        }
        while (!away_.empty() && away_.begin()->first.first <= now_) settle(*away_.begin()->second);
    }
    // How long tick() has nothing to do; mqtt::forever: no timer is running.
    uint32_t idle_ms(uint32_t now_ms) const {
        uint64_t due = never;
        if (!alarms_.empty()) due = alarms_.begin()->first;
        if (!away_.empty()) due = std::min(due, away_.begin()->first.first);
        if (due == never) return mqtt::forever;
        const uint64_t now = unwrap(now_ms);
        return due <= now ? 0 : static_cast<uint32_t>(std::min<uint64_t>(due - now, mqtt::forever - 1));
    }

    // The connections that got output or the wish to be closed since the last call, in that order; some may be gone.
    std::vector<Id> take_changed() {
        for (const Id id : changed_)
            if (Connection* connection = find(id)) connection->changed = false;
        return std::exchange(changed_, {});
    }

    // ----------------------------------------------------------------------------------------------------- tests

    // As a crash that only retained messages survive: no session is left, open connections are cut, without wills.
    void lose_sessions() {
        for (auto& [id, connection] : connections_) {
            connection.session = nullptr;
            connection.will.reset();
            connection.output.clear();
            close(connection, "sessions lost");
        }
        index_.clear();
        away_.clear();
        sessions_.clear();
    }

    // A message from the server itself.
    void publish(std::string_view topic, std::string_view payload, mqtt::QoS qos = mqtt::QoS::at_most_once,
                 mqtt::Retain retain = mqtt::Retain::no, mqtt::Properties properties = {}) {
        assert(mqtt::valid_topic(topic));
        const auto message = make_message(topic, qos, retain, properties, {});
        message->storage = payload;
        publish(message);
    }

    // The server ends the connection; in MQTT 5 it says why, and perhaps where to go.
    void disconnect(Id id, ReasonCode reason, std::string_view server_reference = {}) {
        Connection* connection = find(id);
        if (connection == nullptr || connection->closing) return;
        if (!server_reference.empty()) properties_.add(mqtt::prop::server_reference, server_reference);
        disconnect(*connection, reason, mqtt::to_string(reason));
    }

    const BrokerStatistics& statistics() const { return statistics_; }
    const std::vector<std::string>& violations() const { return violations_; }   // who, and what
    const std::vector<LoggedPublish>& log() const { return log_; }
    void clear_log() { log_.clear(); }

    size_t connection_count() const { return connections_.size(); }
    size_t session_count() const { return sessions_.size(); }
    size_t retained_count() const { return retained_.size(); }
    std::optional<std::string> retained(std::string_view topic) const {
        const auto found = retained_.find(topic);
        if (found == retained_.end()) return std::nullopt;
        return std::string(found->second->payload());
    }
    std::optional<SessionInfo> session(const std::string& client_id) const {
        const auto found = sessions_.find(client_id);
        if (found == sessions_.end()) return std::nullopt;
        const Session& s = *found->second;
        return SessionInfo{s.connection == nullptr ? none : s.connection->id, s.version, s.expiry, s.subscriptions.size(),
                           s.in_flight.size(), s.queue.size(), s.received.size()};
    }

private:
    // ------------------------------------------------------------------------------------------------------ data

    static constexpr uint64_t never = ~uint64_t{0};

    // What was published, once, however many clients get it.
    struct Message {
        std::string topic;
        std::string storage;             // the payload; or, if it was large, the packet it came in
        size_t payload_at = 0;
        mqtt::QoS qos = mqtt::QoS::at_most_once;
        mqtt::Retain retain = mqtt::Retain::no;
        std::string publisher;           // the client id
        std::string properties;          // what is passed on as it is
        mqtt::Optional<uint32_t> expiry; // Message Expiry Interval ...
        uint64_t arrived = 0;            // ... from here on

        std::string_view payload() const { return std::string_view(storage).substr(payload_at); }
        bool expired(uint64_t now) const { return expiry && now - arrived > *expiry * 1000ULL; }
        uint32_t expiry_left(uint64_t now) const {   // [5: MQTT-3.3.2-6]
            const uint64_t waited = (now - arrived) / 1000;
            return waited < *expiry ? static_cast<uint32_t>(*expiry - waited) : 0;
        }
    };
    using SharedMessage = std::shared_ptr<const Message>;

    static constexpr size_t large = 16384;   // payloads from here on are shared, not copied

    // A queue of bytes that is consumed by offset. Large payloads stay where they are.
    class Output {
    public:
        void append(mqtt::Bytes bytes) {
            if (bytes.empty()) return;
            if (chunks_.empty() || chunks_.back().shared != nullptr || chunks_.back().own.size() >= 4 * large)
                chunks_.emplace_back();
            chunks_.back().own.append(bytes.text());
            size_ += bytes.size();
        }
        void append_payload(const SharedMessage& message) {
            if (message->payload().size() < large) return append(message->payload());
            chunks_.push_back({{}, message});
            size_ += message->payload().size();
        }
        mqtt::Bytes front() const {
            if (size_ == 0) return {};
            return std::string_view(chunks_.front().bytes()).substr(consumed_);
        }
        void consume(size_t count) {
            while (count != 0 && size_ != 0) {
                const size_t step = std::min(count, front().size());
                consumed_ += step;
                size_ -= step;
                count -= step;
                if (consumed_ != chunks_.front().bytes().size()) continue;
                consumed_ = 0;
                // The last small chunk is kept: most clients get one packet at a time.
                if (chunks_.size() == 1 && chunks_.front().own.capacity() <= 1024 && chunks_.front().shared == nullptr)
                    chunks_.front().own.clear();
                else
                    chunks_.pop_front();
            }
        }
        void clear() {
            chunks_.clear();
            consumed_ = size_ = 0;
        }
        size_t size() const { return size_; }

    private:
        struct Chunk {
            std::string own;
            SharedMessage shared;

            std::string_view bytes() const { return shared == nullptr ? std::string_view(own) : shared->payload(); }
        };
        std::list<Chunk> chunks_;
        size_t consumed_ = 0;            // of the first chunk
        size_t size_ = 0;
    };

    // A message on its way to one client.
    struct Outgoing {
        SharedMessage message;           // nullptr after PUBREC: only PUBREL is still to be sent again
        mqtt::QoS qos = mqtt::QoS::at_most_once;
        mqtt::Retain retain = mqtt::Retain::no;
        std::vector<uint32_t> identifiers;   // of the subscriptions that it is for
        uint16_t packet_id = 0;          // 0: not sent yet
        bool again = false;              // not sent yet on this connection, but on an earlier one
        bool counts = false;             // sent on this connection: it takes a part of the window
    };

    struct Options {                     // of a subscription
        mqtt::QoS qos = mqtt::QoS::at_most_once;
        bool no_local = false;
        bool retain_as_published = false;
        uint32_t identifier = 0;         // 0: none
    };

    struct Session;

    struct Connection {
        Id id = none;
        mqtt::Version version = mqtt::Version::v3_1_1;   // CONNECT tells
        Session* session = nullptr;      // from CONNACK until leave()
        bool closing = false;
        bool changed = false;            // it is in changed_
        const char* close_reason = "";
        uint16_t keep_alive = 0;
        uint64_t last_received = 0;
        uint64_t alarm = 0;              // its entry in alarms_; 0: none
        SharedMessage will;
        uint32_t will_delay = 0;
        uint16_t window = 0;             // QoS 1 and 2 sent on this connection and unanswered: at most ...
        uint16_t unanswered = 0;         // ... and now [5: MQTT-3.3.4-9]
        // MQTT 5. What the client asked for:
        uint32_t session_expiry = 0;
        uint32_t maximum_packet_size = mqtt::forever;
        uint16_t alias_maximum = 0;
        bool problem_information = true;
        // What it is held to:
        BrokerLimits limits;
        std::unordered_set<uint16_t> unfinished;         // QoS 2 messages that it sent on this connection
        std::map<uint16_t, std::string> aliases;         // as it defined them
        std::vector<std::string> own_aliases;            // as we did, from 1 on
        size_t next_alias = 0;
        std::string method, challenge;   // of enhanced authentication; what it has to send back
        std::string connect;             // the body of CONNECT, until it is answered

        mqtt::FixedHeader header;        // of the packet in input; size 0: not complete
        std::string input;               // a packet of which a part has come; empty between packets
        Output output;
    };

    // Section 3.1.2.4. Present for each client that is connected or whose session is kept.
    struct Session {
        std::string client_id;
        uint64_t serial = 0;             // orders deliveries; pointers would differ from run to run
        mqtt::Version version = mqtt::Version::v3_1_1;
        uint32_t expiry = 0;
        Connection* connection = nullptr;
        // While the client is away:
        SharedMessage will;
        uint64_t will_due = never, ends = never;
        uint64_t alarm = never;          // its entry in away_

        std::map<std::string, Options, std::less<>> subscriptions;
        // In the order in which they were first sent; a PUBREL counts from its own sending [MQTT-4.6.0-1], -4.
        std::list<Outgoing> in_flight;
        std::unordered_map<uint16_t, std::list<Outgoing>::iterator> by_packet_id;
        size_t again = 0;                // how many of them are to be sent again
        std::list<Outgoing> queue;
        uint16_t last_packet_id = 0;
        std::unordered_set<uint16_t> received;   // QoS 2 PUBLISH without PUBREL [MQTT-4.3.3-2]
    };

    // Which sessions want a topic. Filters without wildcards are found by hash; the others by the levels before their
    // first wildcard, so that "device/17/#" costs nothing to a message for device 18.
    class Index {
    public:
        struct Subscriber {
            Session* session;
            Options options;
        };
        // By share name ("" is not shared) and Session::serial.
        using Subscribers = std::map<std::pair<std::string, uint64_t>, Subscriber>;

        void add(const std::string& filter, Session& session, const Options& options) {
            const std::string levels = unshared(filter);
            const size_t wildcard = levels.find_first_of("+#");
            Subscribers& subscribers = wildcard == std::string::npos
                                           ? exact_[levels]
                                           : wildcards_[wildcard][levels.substr(0, wildcard)][levels];
            subscribers[{share_name(filter), session.serial}] = {&session, options};
        }
        void remove(const std::string& filter, const Session& session) {
            const std::string levels = unshared(filter);
            const std::pair<std::string, uint64_t> key(share_name(filter), session.serial);
            const size_t wildcard = levels.find_first_of("+#");
            if (wildcard == std::string::npos) return remove_from(exact_, levels, key);
            auto by_length = wildcards_.find(wildcard);
            auto by_prefix = by_length->second.find(levels.substr(0, wildcard));
            remove_from(by_prefix->second, levels, key);
            if (by_prefix->second.empty()) by_length->second.erase(by_prefix);
            if (by_length->second.empty()) wildcards_.erase(by_length);
        }
        // In the order of their sessions; once for each filter of a session, but one only of those who share one.
        void find(const std::string& topic, std::vector<Subscriber>& found) {
            found.clear();
            size_t filters = 0;
            if (const auto exact = exact_.find(topic); exact != exact_.end()) filters += take(exact->second, found);
            if (!wildcards_.empty()) {
                const std::string levels = topic + '/';   // "a/#" matches "a" also
                for (const auto& [length, prefixes] : wildcards_) {
                    if (length > levels.size()) break;
                    const auto candidates = prefixes.find(std::string_view(levels).substr(0, length));
                    if (candidates == prefixes.end()) continue;
                    for (const auto& [filter, subscribers] : candidates->second)
                        if (mqtt::matches(filter, topic)) filters += take(subscribers, found);
                }
            }
            if (filters < 2) return;
            std::stable_sort(found.begin(), found.end(), [](const Subscriber& a, const Subscriber& b) {
                return a.session->serial < b.session->serial;
            });
        }
        void clear() {
            exact_.clear();
            wildcards_.clear();
        }

    private:
        static size_t name_end(const std::string& filter) { return mqtt::is_shared(filter) ? filter.find('/', 7) : 0; }
        static std::string share_name(const std::string& filter) {
            return name_end(filter) == 0 ? std::string() : filter.substr(7, name_end(filter) - 7);
        }
        static std::string unshared(const std::string& filter) {
            return name_end(filter) == 0 ? filter : filter.substr(name_end(filter) + 1);
        }
        // Returns how many lists in the order of sessions it added.
        size_t take(const Subscribers& subscribers, std::vector<Subscriber>& found) {
            size_t lists = 1;
            for (auto at = subscribers.begin(); at != subscribers.end();) {
                const std::string& name = at->first.first;
                if (name.empty()) {
                    found.push_back(at++->second);
                    continue;
                }
                std::vector<Subscriber> group;   // (5: section 4.8.2) by turns, those who are there first
                for (; at != subscribers.end() && at->first.first == name; ++at) group.push_back(at->second);
                const auto away = std::stable_partition(group.begin(), group.end(), [](const Subscriber& s) {
                    return s.session->connection != nullptr;
                });
                const size_t there = static_cast<size_t>(away - group.begin());
                found.push_back(group[turn_++ % (there != 0 ? there : group.size())]);
                ++lists;
            }
            return lists;
        }
        template <class Filters>
        static void remove_from(Filters& filters, const std::string& filter, const std::pair<std::string, uint64_t>& key) {
            const auto found = filters.find(filter);
            found->second.erase(key);
            if (found->second.empty()) filters.erase(found);
        }

        std::unordered_map<std::string, Subscribers> exact_;
        std::map<size_t, std::map<std::string, std::map<std::string, Subscribers>, std::less<>>> wildcards_;
        size_t turn_ = 0;
    };

    // ------------------------------------------------------------------------------------------------------ time

    // Milliseconds since the first call, so that the caller's clock may wrap. It does not go back.
    uint64_t unwrap(uint32_t now_ms) const {
        const int32_t passed = static_cast<int32_t>(now_ms - last_ms_);
        return passed > 0 ? now_ + static_cast<uint32_t>(passed) : now_;
    }
    void advance(uint32_t now_ms) {
        if (!started_) last_ms_ = now_ms;
        started_ = true;
        const uint64_t now = unwrap(now_ms);
        if (now != now_) last_ms_ = now_ms;
        now_ = now;
    }

    // One alarm for each connection, which may be early: what comes in moves the deadline, not the alarm.
    uint64_t deadline(const Connection& connection) const {
        return connection.last_received +
               (connection.session == nullptr ? config.connect_timeout_ms : connection.keep_alive * 1500ULL);
    }
    void arm(Connection& connection, uint64_t due) {
        disarm(connection);
        connection.alarm = due;
        alarms_.emplace(due, connection.id);
    }
    void disarm(Connection& connection) {
        if (connection.alarm != 0) alarms_.erase({connection.alarm, connection.id});
        connection.alarm = 0;
    }

    // ------------------------------------------------------------------------------------- the end of a connection

    void mark_changed(Connection& connection) {
        if (connection.changed) return;
        connection.changed = true;
        changed_.push_back(connection.id);
    }

    // The session goes on without the connection, or ends with it; the will is due unless DISCONNECT took it away.
    void leave(Connection& connection) {
        if (connection.session == nullptr) return;
        Session& session = *std::exchange(connection.session, nullptr);
        session.connection = nullptr;
        session.will = std::exchange(connection.will, nullptr);
        session.will_due = now_ + connection.will_delay * 1000ULL;
        session.ends = session.expiry == mqtt::forever ? never : now_ + session.expiry * 1000ULL;
        settle(session);
    }
    // What is due of a session without connection: its will, its end. Then there may be no session any more.
    void settle(Session& session) {
        forget_alarm(session);
        const bool ended = session.ends <= now_;
        SharedMessage will;
        if (ended || session.will_due <= now_) will = std::exchange(session.will, nullptr);   // [5: MQTT-3.1.2-8]
        if (ended) {
            forget(session);
        } else {
            session.alarm = session.will == nullptr ? session.ends : std::min(session.ends, session.will_due);
            if (session.alarm != never) away_[{session.alarm, session.serial}] = &session;
        }
        if (will == nullptr) return;
        ++statistics_.wills;
        publish(will);
    }
    void forget_alarm(Session& session) {
        if (session.alarm != never) away_.erase({session.alarm, session.serial});
        session.alarm = never;
    }

    void close(Connection& connection, const char* reason) {
        if (connection.closing) return;
        connection.closing = true;
        connection.close_reason = reason;
        if (config.trace) trace(connection, "closed: ", reason);
        disarm(connection);
        leave(connection);
        mark_changed(connection);
    }
    // In MQTT 5 the client is told why, with what is in `properties_`.
    void disconnect(Connection& connection, ReasonCode reason, const char* text) {
        if (connection.version == mqtt::Version::v5) {
            if (connection.session == nullptr) return refuse(connection, reason);
            mqtt::Disconnect packet;
            packet.reason = reason;
            send(connection, packet, text);
        }
        properties_.clear();
        close(connection, text);
    }

    void violation(Connection& connection, ReasonCode reason, const char* text) {   // [MQTT-4.8.0-1]
        ++statistics_.violations;
        violations_.push_back(name_of(connection) + ": " + text);
        disconnect(connection, reason, text);
    }
    // By what the codec says of a packet.
    void violation(Connection& connection, mqtt::Error error, const char* text) {
        violation(connection,
                  error == mqtt::Error::protocol_error        ? ReasonCode::protocol_error
                  : error == mqtt::Error::topic_alias_invalid ? ReasonCode::topic_alias_invalid
                                                              : ReasonCode::malformed_packet, text);
    }

    void forget(Session& session) {
        for (const auto& subscription : session.subscriptions) index_.remove(subscription.first, session);
        sessions_.erase(std::string(session.client_id));
    }

    // ------------------------------------------------------------------------------------------------ from clients

    bool header_allowed(Connection& connection, mqtt::Error error, const mqtt::FixedHeader& header) {
        const PacketType type = header.type();
        const uint32_t limit = connection.limits.maximum_packet_size;
        if (error != mqtt::Error::ok) {
            violation(connection, error, "malformed fixed header");
        } else if (connection.session == nullptr && connection.connect.empty() && type != PacketType::connect) {
            violation(connection, ReasonCode::protocol_error, "not CONNECT first");   // [MQTT-3.1.0-1]
        } else if (!connection.connect.empty() && type != PacketType::auth && type != PacketType::disconnect) {
            violation(connection, ReasonCode::protocol_error, "neither AUTH nor DISCONNECT");   // [5: MQTT-3.1.2-30]
        } else if (limit != 0 && header.size != 0 && header.packet_size() > limit) {
            violation(connection, ReasonCode::packet_too_large, "more than Maximum Packet Size");   // [5: MQTT-3.2.2-15]
        }
        return !connection.closing;
    }

    // Takes one packet, or all bytes if they are only a part of one. Returns how many it took.
    size_t take_packet(Connection& connection, const uint8_t* data, size_t size) {
        mqtt::FixedHeader header;
        const mqtt::Error error = mqtt::read_fixed_header(data, size, header, connection.version);
        if (!header_allowed(connection, error, header)) return size;
        if (header.size == 0 || header.packet_size() > size) return gather_packet(connection, data, size);
        on_packet(connection, header.first_byte, {data + header.size, header.remaining_length});
        return header.packet_size();
    }

    // Adds to the part that is there, never beyond the packet's end, so that nothing has to be moved.
    size_t gather_packet(Connection& connection, const uint8_t* data, size_t size) {
        std::string& input = connection.input;
        mqtt::FixedHeader& header = connection.header;
        const size_t want = (header.size == 0 ? input.size() + 1 : header.packet_size()) - input.size();
        const size_t used = std::min(want, size);
        input.append(mqtt::Bytes(data, used).text());
        if (header.size == 0) {
            const mqtt::Error error = mqtt::read_fixed_header(bytes_of(input).data(), input.size(), header, connection.version);
            if (!header_allowed(connection, error, header)) return size;
            if (header.size == 0) return used;
        }
        // A length is only believed after a good part has come: a header of five bytes must not cost 256 MB.
        if (input.size() >= 64 * large && input.capacity() < header.packet_size()) input.reserve(header.packet_size());
        if (input.size() < header.packet_size()) return used;
        const mqtt::FixedHeader complete = std::exchange(header, mqtt::FixedHeader{});
        on_packet(connection, complete.first_byte, {bytes_of(input).data() + complete.size, complete.remaining_length});
        if (input.capacity() > 1024) std::string().swap(input);
        input.clear();
        return used;
    }

    void on_packet(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        ++statistics_.packets_in;
        switch (static_cast<PacketType>(first_byte >> 4)) {
        case PacketType::connect: return on_connect(connection, first_byte, body);
        case PacketType::publish: return on_publish(connection, first_byte, body);
        case PacketType::puback:
        case PacketType::pubrec:
        case PacketType::pubrel:
        case PacketType::pubcomp: return on_ack(connection, first_byte, body);
        case PacketType::subscribe: return on_subscribe(connection, first_byte, body);
        case PacketType::unsubscribe: return on_unsubscribe(connection, first_byte, body);
        case PacketType::pingreq: return on_ping(connection, first_byte, body);
        case PacketType::disconnect: return on_disconnect(connection, first_byte, body);
        case PacketType::auth: return on_auth(connection, first_byte, body);
        default: return violation(connection, ReasonCode::protocol_error, "a packet that only servers send");
        }
    }

    // False: it is against the specification, and the connection ends.
    template <class Packet>
    bool decodes(Connection& connection, uint8_t first_byte, mqtt::Bytes body, Packet& packet, const char* text) {
        const mqtt::Error error = mqtt::decode_body(first_byte, body, packet, connection.version);
        if (error != mqtt::Error::ok) violation(connection, error, text);
        return error == mqtt::Error::ok;
    }

    void on_connect(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        if (connection.session != nullptr)
            return violation(connection, ReasonCode::protocol_error, "second CONNECT");   // [MQTT-3.1.0-2]
        mqtt::Connect packet;
        const mqtt::Error error = mqtt::decode_body(first_byte, body, packet);
        // The level comes behind the seven bytes of the name, and the rest may be of another layout.
        if (body.size() >= 7 && packet.protocol_name == "MQTT" && packet.protocol_level != 4) {   // [MQTT-3.1.2-2]
            const auto answer = packet.protocol_level == 5 && mqtt::has_v5 ? config.level_5 : BrokerConfig::refused_as_3_1_1;
            if (answer == BrokerConfig::closed) ++statistics_.refusals;
            if (answer == BrokerConfig::closed) return close(connection, "refused");
            if (answer != BrokerConfig::refused_as_3_1_1) connection.version = mqtt::Version::v5;
            if (answer != BrokerConfig::served) return refuse(connection, ReasonCode::unsupported_protocol_version);
        }
        if (error != mqtt::Error::ok) return violation(connection, error, "malformed CONNECT");   // [MQTT-3.1.4-1]
        connection.maximum_packet_size = packet.properties.get(mqtt::prop::maximum_packet_size).value_or(mqtt::forever);
        connection.problem_information = packet.properties.get(mqtt::prop::request_problem_information).value_or(1) != 0;
        const ReasonCode reason = reason_for(packet);
        if (reason != ReasonCode::success) return refuse(connection, reason);
        connection.method = packet.properties.get(mqtt::prop::authentication_method).value_or({});
        if (connection.method.empty()) {
            if (!packet.properties.get(mqtt::prop::authentication_data)) return accept(connection, packet);
            return violation(connection, ReasonCode::protocol_error, "authentication data without a method");
        }
        if (connection.method != config.authentication_method)   // [5: MQTT-4.12.0-1]
            return refuse(connection, ReasonCode::bad_authentication_method);
        connection.connect = body.text();
        challenge(connection);
    }

    ReasonCode reason_for(const mqtt::Connect& packet) const {
        const bool has_will = (packet.flags & mqtt::Connect::has_will) != 0;
        const BrokerLimits limits = limits_for(packet);
        if (packet.client_id.empty() && !clean_start(packet) && packet.protocol_level == 4)
            return ReasonCode::client_identifier_not_valid;   // [MQTT-3.1.3-8]
        if (config.refuse_connect != ReasonCode::success) return config.refuse_connect;
        if (has_will && packet.will_qos() > limits.maximum_qos) return ReasonCode::qos_not_supported;   // [5: MQTT-3.2.2-12]
        if (has_will && (packet.flags & mqtt::Connect::will_retain) != 0 && !limits.retain_available)
            return ReasonCode::retain_not_supported;   // [5: MQTT-3.2.2-13]
        if (!config.users.empty()) {
            if ((packet.flags & mqtt::Connect::has_user_name) == 0) return ReasonCode::not_authorized;
            const auto user = config.users.find(std::string(packet.user_name));
            if (user == config.users.end() || user->second != packet.password.text())
                return ReasonCode::bad_user_name_or_password;
        }
        return config.authorize ? config.authorize(packet) : ReasonCode::success;
    }
    BrokerLimits limits_for(const mqtt::Connect& packet) const {
        return packet.protocol_level == 5 ? config.limits : BrokerLimits{};
    }
    static bool clean_start(const mqtt::Connect& packet) { return (packet.flags & mqtt::Connect::clean_session) != 0; }

    void accept(Connection& connection, const mqtt::Connect& packet) {
        using namespace mqtt;
        const bool v5 = connection.version == Version::v5;
        const Properties& wishes = packet.properties;
        const std::string client_id = packet.client_id.empty() ? unique_client_id() : std::string(packet.client_id);
        take_over(client_id);
        const bool session_present = open_session(connection, client_id, clean_start(packet));
        Session& session = *connection.session;
        ++statistics_.connects;
        connection.last_received = now_;
        connection.limits = limits_for(packet);
        connection.keep_alive = v5 ? config.server_keep_alive.value_or(packet.keep_alive) : packet.keep_alive;
        connection.session_expiry = v5                    ? wishes.get(prop::session_expiry_interval).value_or(0)
                                    : clean_start(packet) ? 0
                                                          : forever;
        connection.alias_maximum = std::min(wishes.get(prop::topic_alias_maximum).value_or(0), config.use_aliases);
        connection.window = std::min(config.max_inflight == 0 ? uint16_t{65535} : config.max_inflight,
                                     wishes.get(prop::receive_maximum).value_or(65535));
        session.version = connection.version;
        session.expiry = v5 ? std::min(connection.session_expiry, config.session_expiry_maximum) : connection.session_expiry;
        disarm(connection);
        if (connection.keep_alive != 0) arm(connection, deadline(connection));
        if ((packet.flags & Connect::has_will) != 0) {
            const bool retain = (packet.flags & Connect::will_retain) != 0;
            const auto will = make_message(packet.will_topic, packet.will_qos(), static_cast<Retain>(retain),
                                           packet.will_properties, client_id);
            will->storage = packet.will_message.text();
            connection.will = will;
            connection.will_delay = packet.will_properties.get(prop::will_delay_interval).value_or(0);
        }
        if (config.trace)
            trace(connection, "connected", session_present ? ", session present" : session.expiry == 0 ? ", clean session" : "");
        if (v5) announce(connection, packet);
        Connack answer;
        answer.flags = session_present ? 1 : 0;
        send(connection, answer, "welcome");
        if (session_present) resend(session);
        send_queued(session);
    }

    // What CONNACK tells beside the reason code.
    void announce(const Connection& connection, const mqtt::Connect& packet) {
        using namespace mqtt;
        const BrokerLimits& limits = connection.limits;
        const Session& session = *connection.session;
        if (session.expiry != connection.session_expiry) properties_.add(prop::session_expiry_interval, session.expiry);
        if (limits.receive_maximum != 65535) properties_.add(prop::receive_maximum, limits.receive_maximum);
        if (limits.maximum_qos != QoS::exactly_once) properties_.add(prop::maximum_qos, static_cast<uint8_t>(limits.maximum_qos));
        if (!limits.retain_available) properties_.add(prop::retain_available, 0);
        if (limits.maximum_packet_size != 0) properties_.add(prop::maximum_packet_size, limits.maximum_packet_size);
        if (packet.client_id.empty()) properties_.add(prop::assigned_client_identifier, session.client_id);
        if (limits.topic_alias_maximum != 0) properties_.add(prop::topic_alias_maximum, limits.topic_alias_maximum);
        if (!limits.wildcards_available) properties_.add(prop::wildcard_subscription_available, 0);
        if (!limits.identifiers_available) properties_.add(prop::subscription_identifier_available, 0);
        if (!limits.shared_available) properties_.add(prop::shared_subscription_available, 0);
        if (config.server_keep_alive) properties_.add(prop::server_keep_alive, *config.server_keep_alive);
        if (packet.properties.get(prop::request_response_information).value_or(0) != 0 && !config.response_information.empty())
            properties_.add(prop::response_information, config.response_information);
        if (!connection.method.empty()) properties_.add(prop::authentication_method, connection.method);   // [5: MQTT-4.12.0-5]
    }

    void refuse(Connection& connection, ReasonCode reason) {
        ++statistics_.refusals;
        mqtt::Connack answer;
        answer.reason = reason;
        if ((reason == ReasonCode::use_another_server || reason == ReasonCode::server_moved) && !config.server_reference.empty())
            properties_.add(mqtt::prop::server_reference, config.server_reference);
        const bool can_say = mqtt::encode(answer, {}, connection.version).error == mqtt::Error::no_space;
        if (can_say) send(connection, answer, mqtt::to_string(reason));   // [MQTT-3.2.2-6]
        properties_.clear();
        close(connection, "refused");   // [MQTT-3.2.2-5]
    }

    std::string unique_client_id() {   // [MQTT-3.1.3-6]
        std::string client_id;
        do {
            client_id = "auto-" + std::to_string(++last_generated_id_);
        } while (sessions_.count(client_id) != 0);
        return client_id;
    }

    void take_over(const std::string& client_id) {   // [MQTT-3.1.4-2]
        const auto found = sessions_.find(client_id);
        if (found == sessions_.end() || found->second->connection == nullptr) return;
        ++statistics_.takeovers;
        disconnect(*found->second->connection, ReasonCode::session_taken_over, "taken over");   // [5: MQTT-3.1.4-3]
    }

    // Returns whether a session was there.
    bool open_session(Connection& connection, const std::string& client_id, bool clean) {
        auto found = sessions_.find(client_id);
        if (found != sessions_.end() && (clean || found->second->ends <= now_)) {   // [MQTT-3.1.2-6]
            found->second->ends = now_;
            settle(*found->second);
            found = sessions_.end();
        }
        const bool present = found != sessions_.end();
        if (!present) {
            found = sessions_.emplace(client_id, std::make_unique<Session>()).first;
            found->second->client_id = client_id;
            found->second->serial = ++last_serial_;
        }
        Session& session = *found->second;
        forget_alarm(session);
        session.will.reset();   // [5: MQTT-3.1.3-9]
        session.connection = &connection;
        connection.session = &session;
        return present;
    }

    void on_publish(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Publish packet;
        if (!decodes(connection, first_byte, body, packet, "malformed PUBLISH")) return;
        if (!within_limits(connection, packet) || !resolve_alias(connection, packet)) return;
        Session& session = *connection.session;
        const mqtt::QoS qos = packet.qos;
        const uint16_t packet_id = packet.packet_id;
        const bool known = qos != mqtt::QoS::at_most_once && session.received.count(packet_id) != 0;
        if (qos == mqtt::QoS::exactly_once && known) {
            ++statistics_.repeated;
            if (!packet.duplicate) ++statistics_.repeated_without_dup;
            if (config.trace) trace(connection, "repeated ", packet.topic);
            return answer_publish(connection, packet, ReasonCode::success);   // [MQTT-4.3.3-2]
        }
        if (known) ++statistics_.id_conflicts;
        const bool v5 = connection.version == mqtt::Version::v5;
        ReasonCode reason = v5 && config.accept_publish ? config.accept_publish(session.client_id, packet) : ReasonCode::success;
        if (!mqtt::granted(reason)) {   // done with [5: MQTT-4.3.3-9]
            connection.unfinished.erase(packet_id);
            return answer_publish(connection, packet, reason);
        }
        ++statistics_.publishes_in[static_cast<size_t>(qos)];
        if (config.log_publishes)
            log_.push_back({session.client_id, std::string(packet.topic), std::string(packet.payload.text()), qos,
                            packet.retain == mqtt::Retain::yes, packet.duplicate, passed_on(packet.properties, true)});
        if (config.trace)
            trace(connection, "published ", packet.topic,
                  ", " + std::to_string(packet.payload.size()) + " bytes, QoS " + std::to_string(static_cast<int>(qos)));
        if (qos == mqtt::QoS::exactly_once) session.received.insert(packet_id);
        if (!publish(keep(connection, packet))) reason = ReasonCode::no_matching_subscribers;
        answer_publish(connection, packet, reason);
    }
    void answer_publish(Connection& connection, const mqtt::Publish& packet, ReasonCode reason) {
        if (packet.qos == mqtt::QoS::at_least_once) acknowledge(connection, PacketType::puback, packet.packet_id, reason);
        if (packet.qos == mqtt::QoS::exactly_once) acknowledge(connection, PacketType::pubrec, packet.packet_id, reason);
    }

    bool within_limits(Connection& connection, const mqtt::Publish& packet) {
        const BrokerLimits& limits = connection.limits;
        if (packet.qos == mqtt::QoS::exactly_once) connection.unfinished.insert(packet.packet_id);
        if (packet.qos > limits.maximum_qos)
            violation(connection, ReasonCode::qos_not_supported, "a QoS above the maximum");   // [5: MQTT-3.2.2-11]
        else if (packet.retain == mqtt::Retain::yes && !limits.retain_available)
            violation(connection, ReasonCode::retain_not_supported, "RETAIN, which is not available");   // [5: MQTT-3.2.2-14]
        else if (connection.unfinished.size() > limits.receive_maximum)
            violation(connection, ReasonCode::receive_maximum_exceeded, "more than Receive Maximum");   // [5: MQTT-3.3.4-7]
        else if (packet.properties.get(mqtt::prop::subscription_identifier))
            violation(connection, ReasonCode::protocol_error, "a subscription identifier from a client");   // [5: MQTT-3.3.4-6]
        return !connection.closing;
    }
    bool resolve_alias(Connection& connection, mqtt::Publish& packet) {
        const auto alias = packet.properties.get(mqtt::prop::topic_alias);
        if (!alias) return true;
        if (*alias > connection.limits.topic_alias_maximum) {
            violation(connection, ReasonCode::topic_alias_invalid, "an alias above the maximum");   // [5: MQTT-3.2.2-17]
            return false;
        }
        std::string& topic = connection.aliases[*alias];
        if (!packet.topic.empty()) {
            topic = packet.topic;
            return true;
        }
        if (topic.empty()) {
            violation(connection, ReasonCode::protocol_error, "an unknown topic alias");
            return false;
        }
        ++statistics_.aliases_in;
        packet.topic = topic;
        return true;
    }

    // A large packet that was gathered is kept as it is, without a copy of its payload.
    SharedMessage keep(Connection& connection, const mqtt::Publish& packet) const {
        const auto message = make_message(packet.topic, packet.qos, packet.retain, packet.properties,
                                          connection.session->client_id);
        if (packet.payload.size() < large || connection.input.empty()) {
            message->storage = packet.payload.text();
        } else {
            message->payload_at = connection.input.size() - packet.payload.size();   // it is the packet's end
            message->storage = std::move(connection.input);
        }
        return message;
    }

    std::shared_ptr<Message> make_message(std::string_view topic, mqtt::QoS qos, mqtt::Retain retain, mqtt::Properties properties,
                                          std::string_view publisher) const {
        const auto message = std::make_shared<Message>();
        message->topic = topic;
        message->qos = qos;
        message->retain = retain;
        message->publisher = publisher;
        message->properties = passed_on(properties, false);
        message->expiry = properties.get(mqtt::prop::message_expiry_interval);
        message->arrived = now_;
        return message;
    }
    // Unchanged and in order [5: MQTT-3.3.2-17], -18: all but those that are between two neighbours only.
    static std::string passed_on(mqtt::Properties list, bool with_expiry) {
        std::string kept;
        for (mqtt::Bytes before = list.block(); !before.empty(); before = list.block()) {
            mqtt::Property property;
            if (!list.next(property)) break;
            const auto is = [&](auto key) { return property.rule->id == key.id; };
            if (is(mqtt::prop::topic_alias) || is(mqtt::prop::subscription_identifier) || is(mqtt::prop::will_delay_interval) ||
                (is(mqtt::prop::message_expiry_interval) && !with_expiry))
                continue;
            kept += before.text().substr(0, before.size() - list.block().size());
        }
        return kept;
    }

    void on_ack(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Ack packet;
        if (!decodes(connection, first_byte, body, packet, "malformed acknowledgement")) return;
        if (packet.reason == ReasonCode::no_matching_subscribers)
            return violation(connection, ReasonCode::protocol_error, "a reason code that only servers send");
        Session& session = *connection.session;
        if (packet.type == PacketType::pubrel) {
            // Also for an id that is not known: the client may not have seen our PUBCOMP.
            connection.unfinished.erase(packet.packet_id);
            const bool known = session.received.erase(packet.packet_id) != 0;
            return acknowledge(connection, PacketType::pubcomp, packet.packet_id,
                               known ? ReasonCode::success : ReasonCode::packet_identifier_not_found);
        }
        const bool refused = packet.reason >= ReasonCode::unspecified_error;
        const auto found = session.by_packet_id.find(packet.packet_id);
        if (found == session.by_packet_id.end()) {
            ++statistics_.unknown_acks;
            // A client that has the message of a session that we lost could not get rid of it otherwise.
            if (packet.type == PacketType::pubrec && !refused)
                acknowledge(connection, PacketType::pubrel, packet.packet_id, ReasonCode::packet_identifier_not_found);
            return;
        }
        const auto outgoing = found->second;
        const bool released = outgoing->message == nullptr;
        if (packet.type == PacketType::pubrec && outgoing->qos == mqtt::QoS::exactly_once && !refused) {
            outgoing->message.reset();
            if (!released) session.in_flight.splice(session.in_flight.end(), session.in_flight, outgoing);
            return acknowledge(connection, PacketType::pubrel, packet.packet_id);
        }
        const PacketType due = outgoing->qos == mqtt::QoS::at_least_once ? PacketType::puback
                               : released                                ? PacketType::pubcomp
                                                                         : PacketType::pubrec;   // refused
        if (packet.type != due)
            return violation(connection, ReasonCode::protocol_error, "an acknowledgement of another kind than is due");
        finish(session, outgoing);
        send_queued(session);
    }
    void finish(Session& session, std::list<Outgoing>::iterator outgoing) {
        if (outgoing->again) --session.again;
        if (outgoing->counts) --session.connection->unanswered;
        session.by_packet_id.erase(outgoing->packet_id);
        session.in_flight.erase(outgoing);
    }

    void on_subscribe(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Subscribe packet;
        if (!decodes(connection, first_byte, body, packet, "malformed SUBSCRIBE") || !within_limits(connection, packet)) return;
        Session& session = *connection.session;
        const uint32_t identifier = packet.properties.get(mqtt::prop::subscription_identifier).value_or(0);
        std::vector<uint8_t> codes;
        std::vector<bool> is_new;
        mqtt::Subscription wanted;
        for (mqtt::Subscriptions rest = packet.filters; rest.next(wanted);) {
            const uint8_t qos = static_cast<uint8_t>(wanted.qos);
            uint8_t code = config.grant ? config.grant(session.client_id, wanted.filter, wanted.qos) : qos;
            const bool v5 = connection.version == mqtt::Version::v5;
            if (code > 2 && !(v5 && mqtt::legal(static_cast<ReasonCode>(code), PacketType::suback)))
                code = 0x80;   // [MQTT-3.9.3-2]
            codes.push_back(code);
            is_new.push_back(session.subscriptions.count(wanted.filter) == 0);
            if (config.trace)
                trace(connection, mqtt::granted(code) ? "subscribed " : "refused ", wanted.filter,
                      ", QoS " + std::to_string(qos));
            if (!mqtt::granted(code)) continue;
            const Options options{static_cast<mqtt::QoS>(code), wanted.no_local, wanted.retain_as_published, identifier};
            const auto added = session.subscriptions.insert_or_assign(std::string(wanted.filter), options);   // [MQTT-3.8.4-3]
            index_.add(added.first->first, session, options);
        }
        mqtt::Suback answer;
        answer.packet_id = packet.packet_id;
        answer.reason_codes = {codes.data(), codes.size()};
        send(connection, answer, "as asked");
        size_t i = 0;
        for (mqtt::Subscriptions rest = packet.filters; rest.next(wanted); ++i) {
            const bool wants = wanted.retain_handling == mqtt::RetainHandling::send ||
                               (wanted.retain_handling == mqtt::RetainHandling::send_if_new && is_new[i]);
            if (mqtt::granted(codes[i]) && wants && !(connection.version == mqtt::Version::v5 && mqtt::is_shared(wanted.filter)))
                deliver_retained(session, wanted.filter, session.subscriptions.find(wanted.filter)->second);
        }
    }
    bool within_limits(Connection& connection, const mqtt::Subscribe& packet) {
        const BrokerLimits& limits = connection.limits;
        if (!limits.identifiers_available && packet.properties.get(mqtt::prop::subscription_identifier))
            violation(connection, ReasonCode::subscription_identifiers_not_supported, "a subscription identifier");
        mqtt::Subscription wanted;
        for (mqtt::Subscriptions rest = packet.filters; rest.next(wanted) && !connection.closing;) {
            if (!limits.shared_available && mqtt::is_shared(wanted.filter))
                violation(connection, ReasonCode::shared_subscriptions_not_supported, "a shared subscription");
            else if (!limits.wildcards_available && wanted.filter.find_first_of("+#") != std::string_view::npos)
                violation(connection, ReasonCode::wildcard_subscriptions_not_supported, "a wildcard");
        }
        return !connection.closing;
    }

    void on_unsubscribe(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Subscribe packet;
        if (!decodes(connection, first_byte, body, packet, "malformed UNSUBSCRIBE")) return;
        Session& session = *connection.session;
        std::vector<uint8_t> codes;
        mqtt::Subscription subscription;
        for (mqtt::Subscriptions rest = packet.filters; rest.next(subscription);) {
            const auto found = session.subscriptions.find(subscription.filter);   // [MQTT-3.10.4-1]
            const bool existed = found != session.subscriptions.end();
            codes.push_back(static_cast<uint8_t>(existed ? ReasonCode::success : ReasonCode::no_subscription_existed));
            if (!existed) continue;
            index_.remove(found->first, session);
            session.subscriptions.erase(found);
        }
        mqtt::Suback answer;
        answer.type = PacketType::unsuback;
        answer.packet_id = packet.packet_id;
        answer.reason_codes = {codes.data(), codes.size()};
        send(connection, answer, "as asked");   // [MQTT-3.10.4-5]
    }

    void on_ping(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Empty packet;
        if (!decodes(connection, first_byte, body, packet, "malformed PINGREQ")) return;
        ++statistics_.pings;
        if (config.answer_pings) send(connection, mqtt::Empty{PacketType::pingresp});   // [MQTT-3.12.4-1]
    }

    void on_disconnect(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Disconnect packet;
        if (!decodes(connection, first_byte, body, packet, "malformed DISCONNECT")) return;
        constexpr ReasonCode servers_only[] = {
            ReasonCode::not_authorized, ReasonCode::server_busy, ReasonCode::server_shutting_down,
            ReasonCode::bad_authentication_method, ReasonCode::keep_alive_timeout, ReasonCode::session_taken_over,
            ReasonCode::topic_filter_invalid, ReasonCode::retain_not_supported};
        const bool servers = std::find(std::begin(servers_only), std::end(servers_only), packet.reason) != std::end(servers_only);
        if (servers || packet.reason > ReasonCode::qos_not_supported || packet.properties.get(mqtt::prop::server_reference))
            return violation(connection, ReasonCode::protocol_error, "a DISCONNECT as only servers send it");
        if (const auto expiry = packet.properties.get(mqtt::prop::session_expiry_interval)) {
            if (connection.session_expiry == 0 && *expiry != 0)   // 5: section 3.14.2.2.2
                return violation(connection, ReasonCode::protocol_error, "a session that CONNECT did not ask for");
            if (connection.session != nullptr) connection.session->expiry = std::min(*expiry, config.session_expiry_maximum);
        }
        if (packet.reason == ReasonCode::success) connection.will.reset();   // [MQTT-3.14.4-3]
        close(connection, "DISCONNECT");
    }

    // ---- 5: section 4.12

    void challenge(Connection& connection) {
        connection.challenge = "challenge " + std::to_string(++last_challenge_);
        send_auth(connection, ReasonCode::continue_authentication, connection.challenge);
    }
    void send_auth(Connection& connection, ReasonCode reason, std::string_view data) {
        mqtt::Disconnect packet;
        packet.type = PacketType::auth;
        packet.reason = reason;
        properties_.add(mqtt::prop::authentication_method, connection.method);
        if (!data.empty()) properties_.add(mqtt::prop::authentication_data, data);
        send(connection, packet, "as asked");
    }

    void on_auth(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Disconnect packet;
        if (!decodes(connection, first_byte, body, packet, "malformed AUTH")) return;
        const bool waiting = !connection.challenge.empty();
        if (connection.method.empty())   // [5: MQTT-4.12.0-7]
            return violation(connection, ReasonCode::protocol_error, "AUTH, and CONNECT had no method");
        if (packet.properties.get(mqtt::prop::authentication_method).value_or({}) != connection.method)   // [5: MQTT-4.12.0-5]
            return violation(connection, ReasonCode::protocol_error, "AUTH with another method");
        if (packet.reason == ReasonCode::re_authenticate && !waiting) return challenge(connection);
        if (packet.reason != ReasonCode::continue_authentication || !waiting)   // [5: MQTT-4.12.0-3]
            return violation(connection, ReasonCode::protocol_error, "AUTH out of place");
        const std::string expected(connection.challenge.rbegin(), connection.challenge.rend());
        connection.challenge.clear();
        if (packet.properties.get(mqtt::prop::authentication_data).value_or({}).text() != expected)
            return disconnect(connection, ReasonCode::not_authorized, "not authenticated");   // [5: MQTT-4.12.1-2]
        if (connection.session != nullptr) return send_auth(connection, ReasonCode::success, {});
        const std::string stored = std::exchange(connection.connect, {});
        mqtt::Connect connect;
        (void)mqtt::decode_body(mqtt::first_byte_of(PacketType::connect), bytes_of(stored), connect);
        accept(connection, connect);
    }

    // -------------------------------------------------------------------------------------------------- to clients

    // False: nobody wants it.
    bool publish(const SharedMessage& message) {
        if (message->retain == mqtt::Retain::yes) {
            if (message->payload().empty()) retained_.erase(message->topic);   // [MQTT-3.3.1-10], -11
            else retained_[message->topic] = message;
        }
        index_.find(message->topic, matching_);
        // One copy for each session, at its highest QoS [MQTT-3.3.5-1], with all its identifiers [5: MQTT-3.3.4-4].
        for (auto at = matching_.begin(); at != matching_.end();) {
            Session& session = *at->session;
            bool wanted = false;
            Outgoing copy;
            copy.message = message;
            for (; at != matching_.end() && at->session == &session; ++at) {
                if (at->options.no_local && message->publisher == session.client_id) continue;   // [5: MQTT-3.8.3-3]
                wanted = true;
                add_subscription(copy, at->options);
                if (at->options.retain_as_published) copy.retain = message->retain;   // else RETAIN is 0 here [MQTT-3.3.1-9]
            }
            if (wanted) deliver(session, std::move(copy));
        }
        return !matching_.empty();
    }
    static void add_subscription(Outgoing& copy, const Options& options) {
        copy.qos = std::max(copy.qos, std::min(copy.message->qos, options.qos));   // [MQTT-3.8.4-6]
        if (options.identifier != 0) copy.identifiers.push_back(options.identifier);
    }

    void deliver_retained(Session& session, std::string_view filter, const Options& options) {   // [MQTT-3.3.1-6], -8
        const size_t wildcard = filter.find_first_of("+#");
        // What a filter matches begins with its levels before the wildcard; "a/#" matches "a" also.
        std::string_view prefix = filter.substr(0, wildcard);
        if (wildcard != std::string_view::npos && !prefix.empty()) prefix.remove_suffix(1);
        for (auto at = retained_.lower_bound(prefix); at != retained_.end(); ++at) {
            if (at->first.compare(0, prefix.size(), prefix) != 0) break;
            if (mqtt::matches(filter, at->first)) {
                Outgoing copy;
                copy.message = at->second;
                copy.retain = mqtt::Retain::yes;
                add_subscription(copy, options);
                if (!options.no_local || at->second->publisher != session.client_id) deliver(session, std::move(copy));
            } else if (wildcard == std::string_view::npos) {
                break;   // the topic itself would have been first
            }
        }
    }

    // Everything goes through the session's queue, so that messages of different QoS keep their order also.
    void deliver(Session& session, Outgoing copy) {
        if (copy.qos == mqtt::QoS::at_most_once) {
            if (session.connection == nullptr) return;   // [MQTT-3.1.2-5]: kept are QoS 1 and 2
            if (config.qos0_output_limit != 0 && session.connection->output.size() >= config.qos0_output_limit) {
                ++statistics_.dropped;
                return;
            }
        }
        session.queue.push_back(std::move(copy));
        send_queued(session);
    }

    void send_queued(Session& session) {
        if (session.connection == nullptr) return;
        Connection& connection = *session.connection;
        for (auto at = session.in_flight.begin(); session.again != 0;) {
            const auto outgoing = at++;
            if (outgoing->again && !send_again(session, outgoing)) return;
        }
        while (!session.queue.empty()) {
            const auto next = session.queue.begin();
            if (next->message->expired(now_)) {   // [5: MQTT-3.3.2-5]
                ++statistics_.expired;
                session.queue.pop_front();
            } else if (next->qos == mqtt::QoS::at_most_once) {
                (void)send_publish(connection, *next, false);
                session.queue.pop_front();
            } else {
                if (connection.unanswered == connection.window) return;
                next->packet_id = free_packet_id(session);
                session.in_flight.splice(session.in_flight.end(), session.queue, next);
                session.by_packet_id.emplace(next->packet_id, next);
                if (!send_publish(connection, *next, false)) finish(session, next);
            }
        }
    }

    static uint16_t free_packet_id(Session& session) {   // [MQTT-2.3.1-2]; there is one: the window is smaller
        do {
            session.last_packet_id = static_cast<uint16_t>(session.last_packet_id % 65535 + 1);
        } while (session.by_packet_id.count(session.last_packet_id) != 0);
        return session.last_packet_id;
    }

    void resend(Session& session) {   // [MQTT-4.4.0-1]
        session.again = 0;
        bool waits = false;           // the client takes no more at once; those behind it keep their order
        for (auto at = session.in_flight.begin(); at != session.in_flight.end();) {
            const auto outgoing = at++;
            outgoing->again = outgoing->message != nullptr;
            outgoing->counts = false;
            if (outgoing->again) {
                ++session.again;
                waits = waits || !send_again(session, outgoing);
            } else {
                ++statistics_.redeliveries;
                acknowledge(*session.connection, PacketType::pubrel, outgoing->packet_id);
            }
        }
    }
    // False: it has to wait.
    bool send_again(Session& session, std::list<Outgoing>::iterator outgoing) {
        if (session.connection->unanswered == session.connection->window) return false;
        outgoing->again = false;
        --session.again;
        ++statistics_.redeliveries;
        if (!send_publish(*session.connection, *outgoing, config.dup_on_redelivery)) finish(session, outgoing);
        return true;
    }

    // False: it is larger than the client takes, and is thereby done with [5: MQTT-3.1.2-24], -25.
    bool send_publish(Connection& connection, Outgoing& outgoing, bool duplicate) {
        const Message& message = *outgoing.message;
        mqtt::Publish packet;
        packet.topic = message.topic;
        packet.payload = message.payload();
        packet.qos = outgoing.qos;
        packet.retain = outgoing.retain;
        packet.duplicate = duplicate;
        packet.packet_id = outgoing.packet_id;
        packet.properties = {bytes_of(message.properties).data(), message.properties.size()};
        if (message.expiry) properties_.add(mqtt::prop::message_expiry_interval, message.expiry_left(now_));
        for (const uint32_t identifier : outgoing.identifiers) properties_.add(mqtt::prop::subscription_identifier, identifier);
        packet.more = properties_;
        const auto fits = [&](const mqtt::Encoded& e) {
            return e.size + packet.payload.size() <= connection.maximum_packet_size;
        };
        const bool with_alias = connection.alias_maximum != 0;
        mqtt::Encoded encoded = with_alias ? write_with_alias(connection, packet) : write(connection, packet);
        if (with_alias && !fits(encoded)) encoded = write(connection, packet);
        properties_.clear();
        if (!fits(encoded)) {
            ++statistics_.too_large;
            return false;
        }
        outgoing.counts = outgoing.qos != mqtt::QoS::at_most_once;
        if (outgoing.counts) ++connection.unanswered;
        ++statistics_.publishes_out[static_cast<size_t>(outgoing.qos)];
        append(connection, encoded);
        connection.output.append_payload(outgoing.message);
        return true;
    }
    // Each topic gets the next alias, and takes it away from another one if all are used.
    mqtt::Encoded write_with_alias(Connection& connection, mqtt::Publish packet) {
        std::vector<std::string>& aliases = connection.own_aliases;
        const std::string topic(packet.topic);
        const size_t known = static_cast<size_t>(std::find(aliases.begin(), aliases.end(), topic) - aliases.begin());
        const bool is_known = known != aliases.size();
        const size_t i = is_known ? known : connection.next_alias;
        properties_.add(mqtt::prop::topic_alias, static_cast<uint16_t>(i + 1));
        packet.more = properties_;
        if (is_known) packet.topic = {};
        const mqtt::Encoded encoded = write(connection, packet);
        if (encoded.size + packet.payload.size() > connection.maximum_packet_size) return encoded;   // not with an alias
        if (is_known) {
            ++statistics_.aliases_out;
        } else {
            aliases.resize(std::max(aliases.size(), i + 1));
            aliases[i] = topic;
            connection.next_alias = (i + 1) % connection.alias_maximum;
        }
        return encoded;
    }

    void acknowledge(Connection& connection, PacketType type, uint16_t packet_id,
                     ReasonCode reason = ReasonCode::success) {
        send(connection, mqtt::Ack{type, packet_id, reason, {}}, mqtt::to_string(reason));
    }

    // With what is in `properties_`, and why: for people, if there is room [5: MQTT-3.4.2-2], and unless the client does
    // not want it [5: MQTT-3.1.2-29].
    template <class Packet> void send(Connection& connection, Packet packet, std::string_view why = {}) {
        if constexpr (!std::is_same_v<Packet, mqtt::Empty>) {
            const mqtt::Bytes all = properties_.block();
            const bool anyway = std::is_same_v<Packet, mqtt::Connack> ||
                                packet.first_byte() == mqtt::first_byte_of(PacketType::disconnect);
            packet.properties = {all.data(), all.size()};
            if (config.reason_strings && (anyway || connection.problem_information)) {
                properties_.add(mqtt::prop::reason_string, why).add(mqtt::prop::user_property, {"from", "broker"});
                packet.properties = properties_;
                if (mqtt::encode(packet, {}, connection.version).size > connection.maximum_packet_size)
                    packet.properties = {all.data(), all.size()};
            }
        }
        const mqtt::Encoded encoded = write(connection, packet);
        properties_.clear();
        // (It is against the rules to send it, and there is no other answer.)
        if (encoded.size > connection.maximum_packet_size) return close(connection, "an answer larger than the client takes");
        append(connection, encoded);
    }

    // Without a PUBLISH's payload.
    template <class Packet> mqtt::Encoded write(const Connection& connection, const Packet& packet) {
        constexpr bool with_rest = !std::is_same_v<Packet, mqtt::Publish>;
        mqtt::Encoded encoded = mqtt::encode(packet, {scratch_.data(), scratch_.size()}, connection.version, with_rest);
        if (encoded.error == mqtt::Error::no_space) {
            scratch_.resize(encoded.size + 8);
            encoded = mqtt::encode(packet, {scratch_.data(), scratch_.size()}, connection.version, with_rest);
        }
        assert(encoded.error == mqtt::Error::ok);   // what came in valid goes out valid
        return encoded;
    }
    void append(Connection& connection, const mqtt::Encoded& encoded) {
        ++statistics_.packets_out;
        connection.output.append({scratch_.data(), encoded.size});
        mark_changed(connection);
    }

    // ------------------------------------------------------------------------------------------------------- small

    const Connection* find(Id id) const {
        const auto found = connections_.find(id);
        return found == connections_.end() ? nullptr : &found->second;
    }
    Connection* find(Id id) { return const_cast<Connection*>(std::as_const(*this).find(id)); }

    static mqtt::Bytes bytes_of(const std::string& text) { return mqtt::Bytes(text); }

    static std::string name_of(const Connection& connection) {
        return connection.session != nullptr ? connection.session->client_id : "#" + std::to_string(connection.id);
    }
    void trace(const Connection& connection, std::string_view what, std::string_view name = {}, std::string_view more = {}) {
        config.trace(name_of(connection).append(" ").append(what).append(name).append(more));
    }

    std::unordered_map<Id, Connection> connections_;
    std::unordered_map<std::string, std::unique_ptr<Session>> sessions_;
    std::map<std::string, SharedMessage, std::less<>> retained_;
    Index index_;
    std::set<std::pair<uint64_t, Id>> alarms_;
    std::map<std::pair<uint64_t, uint64_t>, Session*> away_;   // by when their will or end is due, and their serial
    std::vector<Id> changed_;
    std::vector<Index::Subscriber> matching_;   // used by publish() only
    std::vector<uint8_t> scratch_ = std::vector<uint8_t>(1024);      // the packet that is being sent
    mqtt::PropertyBuffer<mqtt::max_string_size + 1024> properties_;   // of the packet that is being sent; empty between packets
    BrokerStatistics statistics_;
    std::vector<std::string> violations_;
    std::vector<LoggedPublish> log_;
    Id last_connection_ = none;
    uint64_t last_serial_ = 0;
    uint64_t last_generated_id_ = 0, last_challenge_ = 0;
    uint64_t now_ = 1;                          // 0 is "no alarm"
    uint32_t last_ms_ = 0;
    bool started_ = false;
};

}  // namespace test
#endif
