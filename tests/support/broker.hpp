// A small MQTT 3.1.1 broker over the codec of mqtt.hpp: the peer in tests and simulations, and of the demo.
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
// id kept until PUBREL.

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

// May be changed at any time; it holds for what comes then.
struct BrokerConfig {
    uint16_t max_inflight = 20;          // QoS 1 and 2 sent to a client and unanswered; 0: as many as there are packet ids
    bool dup_on_redelivery = true;       // false: like brokers that redeliver with DUP=0, against [MQTT-3.3.1-1]
    bool answer_pings = true;            // false: like a link that is dead in one direction
    uint8_t refuse_connect = 0;          // 1 to 5: every CONNECT is refused with it; above: closed without CONNACK
    uint32_t connect_timeout_ms = 10000; // from accept() to CONNECT; 0: none
    size_t qos0_output_limit = 0;        // bytes of output beyond which QoS 0 messages are dropped; 0: never

    // User name and password. Not empty: no user name is return code 5, a wrong one or a wrong password is 4.
    std::map<std::string, std::string> users;
    std::function<uint8_t(const mqtt::Connect&)> authorize;   // return code of CONNACK
    // Code of SUBACK: the granted QoS, or 0x80.
    std::function<uint8_t(const std::string& client_id, std::string_view filter, mqtt::QoS)> grant;

    bool log_publishes = false;                          // fill log()
    std::function<void(const std::string&)> trace;       // one line for each step worth telling
};

struct BrokerStatistics {
    uint64_t connections = 0;            // accepted by the transport
    uint64_t connects = 0;               // CONNECT answered with 0
    uint64_t refusals = 0;               // CONNECT answered with another code, or not at all
    uint64_t takeovers = 0;              // [MQTT-3.1.4-2]
    uint64_t violations = 0;             // connections closed for what the client sent
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
};

class Broker {
public:
    using Id = size_t;
    static constexpr Id none = 0;        // no connection has this id; ids are not used again

    struct LoggedPublish {
        std::string client_id;
        std::string topic;
        std::string payload;
        mqtt::QoS qos;
        bool retain;
        bool duplicate;
    };
    struct SessionInfo {
        Id connection;                   // none: the client is away
        bool clean;
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
                close(connection, connection.session == nullptr ? "no CONNECT" : "keep-alive");   // [MQTT-3.1.2-24]
            }
        }
    }
    // How long tick() has nothing to do; mqtt::forever: no timer is running.
    uint32_t idle_ms(uint32_t now_ms) const {
        if (alarms_.empty()) return mqtt::forever;
        const uint64_t now = unwrap(now_ms);
        const uint64_t due = alarms_.begin()->first;
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
        sessions_.clear();
    }

    // A message from the server itself.
    void publish(std::string_view topic, std::string_view payload, mqtt::QoS qos = mqtt::QoS::at_most_once,
                 mqtt::Retain retain = mqtt::Retain::no) {
        assert(mqtt::valid_topic(topic));
        publish(make_message(topic, payload, qos, retain));
    }

    const BrokerStatistics& statistics() const { return statistics_; }
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
        return SessionInfo{s.connection == nullptr ? none : s.connection->id, s.clean, s.subscriptions.size(),
                           s.in_flight.size(), s.queue.size(), s.received.size()};
    }

private:
    // ------------------------------------------------------------------------------------------------------ data

    // What was published, once, however many clients get it.
    struct Message {
        std::string topic;
        std::string storage;             // the payload; or, if it was large, the packet it came in
        size_t payload_at = 0;
        mqtt::QoS qos = mqtt::QoS::at_most_once;
        mqtt::Retain retain = mqtt::Retain::no;

        std::string_view payload() const { return std::string_view(storage).substr(payload_at); }
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
        uint16_t packet_id = 0;          // 0: not sent yet
    };

    struct Session;

    struct Connection {
        Id id = none;
        Session* session = nullptr;      // from CONNECT until leave()
        bool closing = false;
        bool changed = false;            // it is in changed_
        const char* close_reason = "";
        uint16_t keep_alive = 0;
        uint64_t last_received = 0;
        uint64_t alarm = 0;              // its entry in alarms_; 0: none
        SharedMessage will;
        mqtt::FixedHeader header;        // of the packet in input; size 0: not complete
        std::string input;               // a packet of which a part has come; empty between packets
        Output output;
    };

    // Section 3.1.2.4. Present for each client that is connected or whose session is kept.
    struct Session {
        std::string client_id;
        uint64_t serial = 0;             // orders deliveries; pointers would differ from run to run
        bool clean = true;
        Connection* connection = nullptr;
        std::map<std::string, mqtt::QoS, std::less<>> subscriptions;
        // In the order in which they were first sent; a PUBREL counts from its own sending [MQTT-4.6.0-1], -4.
        std::list<Outgoing> in_flight;
        std::unordered_map<uint16_t, std::list<Outgoing>::iterator> by_packet_id;
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
            mqtt::QoS qos;
        };
        using Subscribers = std::map<uint64_t, Subscriber>;   // by Session::serial

        void add(const std::string& filter, Session& session, mqtt::QoS qos) {
            const size_t wildcard = filter.find_first_of("+#");
            Subscribers& subscribers = wildcard == std::string::npos
                                           ? exact_[filter]
                                           : wildcards_[wildcard][filter.substr(0, wildcard)][filter];
            subscribers[session.serial] = {&session, qos};
        }
        void remove(const std::string& filter, const Session& session) {
            const size_t wildcard = filter.find_first_of("+#");
            if (wildcard == std::string::npos) return remove_from(exact_, filter, session);
            auto by_length = wildcards_.find(wildcard);
            auto by_prefix = by_length->second.find(filter.substr(0, wildcard));
            remove_from(by_prefix->second, filter, session);
            if (by_prefix->second.empty()) by_length->second.erase(by_prefix);
            if (by_length->second.empty()) wildcards_.erase(by_length);
        }
        // Each session once, at its highest QoS [MQTT-3.3.5-1].
        void find(const std::string& topic, std::vector<Subscriber>& found) const {
            found.clear();
            size_t filters = 0;
            const auto take = [&](const Subscribers& subscribers) {
                ++filters;
                for (const auto& entry : subscribers) found.push_back(entry.second);
            };
            if (const auto exact = exact_.find(topic); exact != exact_.end()) take(exact->second);
            if (!wildcards_.empty()) {
                const std::string levels = topic + '/';   // "a/#" matches "a" also
                for (const auto& [length, prefixes] : wildcards_) {
                    if (length > levels.size()) break;
                    const auto candidates = prefixes.find(std::string_view(levels).substr(0, length));
                    if (candidates == prefixes.end()) continue;
                    for (const auto& [filter, subscribers] : candidates->second)
                        if (mqtt::matches(filter, topic)) take(subscribers);
                }
            }
            if (filters < 2) return;
            std::sort(found.begin(), found.end(), [](const Subscriber& a, const Subscriber& b) {
                return a.session->serial != b.session->serial ? a.session->serial < b.session->serial : a.qos > b.qos;
            });
            const auto same = [](const Subscriber& a, const Subscriber& b) { return a.session == b.session; };
            found.erase(std::unique(found.begin(), found.end(), same), found.end());
        }
        void clear() {
            exact_.clear();
            wildcards_.clear();
        }

    private:
        template <class Filters> static void remove_from(Filters& filters, const std::string& filter, const Session& session) {
            const auto found = filters.find(filter);
            found->second.erase(session.serial);
            if (found->second.empty()) filters.erase(found);
        }

        std::unordered_map<std::string, Subscribers> exact_;
        std::map<size_t, std::map<std::string, std::map<std::string, Subscribers>, std::less<>>> wildcards_;
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
        if (session.clean) forget(session);
        if (const SharedMessage will = std::exchange(connection.will, nullptr)) {
            ++statistics_.wills;
            publish(will);
        }
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

    void violation(Connection& connection, const char* reason) {   // [MQTT-4.8.0-1]
        ++statistics_.violations;
        close(connection, reason);
    }

    void forget(Session& session) {
        for (const auto& subscription : session.subscriptions) index_.remove(subscription.first, session);
        sessions_.erase(std::string(session.client_id));
    }

    // ------------------------------------------------------------------------------------------------ from clients

    bool header_allowed(Connection& connection, mqtt::Error error, const mqtt::FixedHeader& header) {
        if (error != mqtt::Error::ok) {
            violation(connection, "malformed fixed header");
        } else if (connection.session == nullptr && header.type() != mqtt::PacketType::connect) {
            violation(connection, "not CONNECT first");   // [MQTT-3.1.0-1]
        }
        return !connection.closing;
    }

    // Takes one packet, or all bytes if they are only a part of one. Returns how many it took.
    size_t take_packet(Connection& connection, const uint8_t* data, size_t size) {
        mqtt::FixedHeader header;
        const mqtt::Error error = mqtt::read_fixed_header(data, size, header);
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
            const mqtt::Error error = mqtt::read_fixed_header(bytes_of(input).data(), input.size(), header);
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
        switch (static_cast<mqtt::PacketType>(first_byte >> 4)) {
        case mqtt::PacketType::connect: return on_connect(connection, first_byte, body);
        case mqtt::PacketType::publish: return on_publish(connection, first_byte, body);
        case mqtt::PacketType::puback:
        case mqtt::PacketType::pubrec:
        case mqtt::PacketType::pubrel:
        case mqtt::PacketType::pubcomp: return on_ack(connection, first_byte, body);
        case mqtt::PacketType::subscribe: return on_subscribe(connection, first_byte, body);
        case mqtt::PacketType::unsubscribe: return on_unsubscribe(connection, first_byte, body);
        case mqtt::PacketType::pingreq:
        case mqtt::PacketType::disconnect: return on_empty(connection, first_byte, body);
        default: return violation(connection, "a packet that only servers send");
        }
    }

    void on_connect(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        if (connection.session != nullptr) return violation(connection, "second CONNECT");   // [MQTT-3.1.0-2]
        mqtt::Connect packet;
        const mqtt::Error error = mqtt::decode_body(first_byte, body, packet);
        if (error != mqtt::Error::ok) {
            // The level comes behind the seven bytes of the name, and the rest may be of another layout.
            if (body.size() >= 7 && packet.protocol_name == "MQTT" && packet.protocol_level != 4)
                return refuse(connection, 1);   // [MQTT-3.1.2-2]
            return violation(connection, "malformed CONNECT");   // [MQTT-3.1.4-1]
        }
        if (const uint8_t code = return_code(packet)) return refuse(connection, code);
        const bool clean = (packet.flags & mqtt::Connect::clean_session) != 0;
        const std::string client_id = packet.client_id.empty() ? unique_client_id() : std::string(packet.client_id);
        take_over(client_id);
        const bool session_present = open_session(connection, client_id, clean);
        ++statistics_.connects;
        connection.last_received = now_;
        connection.keep_alive = packet.keep_alive;
        disarm(connection);
        if (packet.keep_alive != 0) arm(connection, deadline(connection));
        if ((packet.flags & mqtt::Connect::has_will) != 0) {
            const bool retain = (packet.flags & mqtt::Connect::will_retain) != 0;
            connection.will = make_message(packet.will_topic, packet.will_message.text(), packet.will_qos(),
                                           static_cast<mqtt::Retain>(retain));
        }
        if (config.trace)
            trace(connection, "connected", session_present ? ", session present" : clean ? ", clean session" : "");
        mqtt::Connack answer;
        answer.flags = session_present ? 1 : 0;
        send(connection, answer);
        if (session_present) resend(*connection.session);
        send_queued(*connection.session);
    }

    uint8_t return_code(const mqtt::Connect& packet) const {
        if (packet.client_id.empty() && (packet.flags & mqtt::Connect::clean_session) == 0) return 2;   // [MQTT-3.1.3-8]
        if (config.refuse_connect != 0) return config.refuse_connect;
        if (!config.users.empty()) {
            if ((packet.flags & mqtt::Connect::has_user_name) == 0) return 5;
            const auto user = config.users.find(std::string(packet.user_name));
            if (user == config.users.end() || user->second != packet.password.text()) return 4;
        }
        return config.authorize ? config.authorize(packet) : uint8_t{0};
    }

    void refuse(Connection& connection, uint8_t code) {
        ++statistics_.refusals;
        mqtt::Connack answer;
        answer.return_code = code;
        if (code <= 5) send(connection, answer);   // [MQTT-3.2.2-6]
        close(connection, "refused");              // [MQTT-3.2.2-5]
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
        close(*found->second->connection, "taken over");
    }

    // Returns whether a session was there.
    bool open_session(Connection& connection, const std::string& client_id, bool clean) {
        auto found = sessions_.find(client_id);
        if (clean && found != sessions_.end()) {   // [MQTT-3.1.2-6]
            forget(*found->second);
            found = sessions_.end();
        }
        const bool present = found != sessions_.end();
        if (!present) {
            found = sessions_.emplace(client_id, std::make_unique<Session>()).first;
            found->second->client_id = client_id;
            found->second->serial = ++last_serial_;
            found->second->clean = clean;
        }
        found->second->connection = &connection;
        connection.session = found->second.get();
        return present;
    }

    void on_publish(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Publish packet;
        if (mqtt::decode_body(first_byte, body, packet) != mqtt::Error::ok)
            return violation(connection, "malformed PUBLISH");
        Session& session = *connection.session;
        const mqtt::QoS qos = packet.qos;
        const uint16_t packet_id = packet.packet_id;
        const bool known = qos != mqtt::QoS::at_most_once && session.received.count(packet_id) != 0;
        if (qos == mqtt::QoS::exactly_once && known) {
            ++statistics_.repeated;
            if (!packet.duplicate) ++statistics_.repeated_without_dup;
            if (config.trace) trace(connection, "repeated ", packet.topic);
            return acknowledge(connection, mqtt::PacketType::pubrec, packet_id);   // [MQTT-4.3.3-2]
        }
        if (known) ++statistics_.id_conflicts;
        ++statistics_.publishes_in[static_cast<size_t>(qos)];
        if (config.log_publishes)
            log_.push_back({session.client_id, std::string(packet.topic), std::string(packet.payload.text()), qos,
                            packet.retain == mqtt::Retain::yes, packet.duplicate});
        if (config.trace)
            trace(connection, "published ", packet.topic,
                  ", " + std::to_string(packet.payload.size()) + " bytes, QoS " + std::to_string(static_cast<int>(qos)));
        publish(keep(connection, packet));
        if (qos == mqtt::QoS::at_least_once) acknowledge(connection, mqtt::PacketType::puback, packet_id);
        if (qos != mqtt::QoS::exactly_once) return;
        session.received.insert(packet_id);
        acknowledge(connection, mqtt::PacketType::pubrec, packet_id);
    }

    // A large packet that was gathered is kept as it is, without a copy of its payload.
    static SharedMessage keep(Connection& connection, const mqtt::Publish& packet) {
        if (packet.payload.size() < large || connection.input.empty())
            return make_message(packet.topic, packet.payload.text(), packet.qos, packet.retain);
        auto message = std::make_shared<Message>(Message{std::string(packet.topic), {}, 0, packet.qos, packet.retain});
        message->payload_at = connection.input.size() - packet.payload.size();   // it is the packet's end
        message->storage = std::move(connection.input);
        return message;
    }

    static SharedMessage make_message(std::string_view topic, std::string_view payload, mqtt::QoS qos, mqtt::Retain retain) {
        return std::make_shared<Message>(Message{std::string(topic), std::string(payload), 0, qos, retain});
    }

    void on_ack(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Ack packet;
        if (mqtt::decode_body(first_byte, body, packet) != mqtt::Error::ok)
            return violation(connection, "malformed acknowledgement");
        Session& session = *connection.session;
        if (packet.type == mqtt::PacketType::pubrel) {
            // Also for an id that is not known: the client may not have seen our PUBCOMP.
            session.received.erase(packet.packet_id);
            return acknowledge(connection, mqtt::PacketType::pubcomp, packet.packet_id);
        }
        const auto found = session.by_packet_id.find(packet.packet_id);
        if (found == session.by_packet_id.end()) {
            ++statistics_.unknown_acks;
            // A client that has the message of a session that we lost could not get rid of it otherwise.
            if (packet.type == mqtt::PacketType::pubrec)
                acknowledge(connection, mqtt::PacketType::pubrel, packet.packet_id);
            return;
        }
        const auto outgoing = found->second;
        const bool released = outgoing->message == nullptr;
        if (packet.type == mqtt::PacketType::pubrec && outgoing->qos == mqtt::QoS::exactly_once) {
            outgoing->message.reset();
            if (!released) session.in_flight.splice(session.in_flight.end(), session.in_flight, outgoing);
            return acknowledge(connection, mqtt::PacketType::pubrel, packet.packet_id);
        }
        const bool done = outgoing->qos == mqtt::QoS::at_least_once ? packet.type == mqtt::PacketType::puback
                                                                    : packet.type == mqtt::PacketType::pubcomp && released;
        if (!done) return violation(connection, "an acknowledgement of another kind than is due");
        session.in_flight.erase(outgoing);
        session.by_packet_id.erase(found);
        send_queued(session);
    }

    void on_subscribe(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Subscribe packet;
        if (mqtt::decode_body(first_byte, body, packet) != mqtt::Error::ok)
            return violation(connection, "malformed SUBSCRIBE");
        Session& session = *connection.session;
        std::vector<uint8_t> codes;
        codes.reserve(packet.filters.size());
        mqtt::Subscription subscription;
        for (mqtt::Subscriptions rest = packet.filters; rest.next(subscription);) {
            const uint8_t wanted = static_cast<uint8_t>(subscription.qos);
            uint8_t code = config.grant ? config.grant(session.client_id, subscription.filter, subscription.qos) : wanted;
            if (code > 2) code = 0x80;   // [MQTT-3.9.3-2]
            codes.push_back(code);
            if (config.trace)
                trace(connection, code == 0x80 ? "refused " : "subscribed ", subscription.filter,
                      ", QoS " + std::to_string(wanted));
            if (code != 0x80) subscribe(session, subscription.filter, static_cast<mqtt::QoS>(code));
        }
        mqtt::Suback answer;
        answer.packet_id = packet.packet_id;
        answer.reason_codes = {codes.data(), codes.size()};
        send(connection, answer, answer.reason_codes);
        size_t i = 0;
        for (mqtt::Subscriptions rest = packet.filters; rest.next(subscription); ++i)
            if (codes[i] != 0x80) deliver_retained(session, subscription.filter, static_cast<mqtt::QoS>(codes[i]));
    }

    void subscribe(Session& session, std::string_view filter, mqtt::QoS qos) {
        const auto added = session.subscriptions.insert_or_assign(std::string(filter), qos);   // [MQTT-3.8.4-3]
        index_.add(added.first->first, session, qos);
    }

    void on_unsubscribe(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Subscribe packet;
        if (mqtt::decode_body(first_byte, body, packet) != mqtt::Error::ok)
            return violation(connection, "malformed UNSUBSCRIBE");
        Session& session = *connection.session;
        mqtt::Subscription subscription;
        for (mqtt::Subscriptions rest = packet.filters; rest.next(subscription);) {
            const auto found = session.subscriptions.find(subscription.filter);   // [MQTT-3.10.4-1]
            if (found == session.subscriptions.end()) continue;
            index_.remove(found->first, session);
            session.subscriptions.erase(found);
        }
        acknowledge(connection, mqtt::PacketType::unsuback, packet.packet_id);   // [MQTT-3.10.4-5]
    }

    void on_empty(Connection& connection, uint8_t first_byte, mqtt::Bytes body) {
        mqtt::Empty packet;
        if (mqtt::decode_body(first_byte, body, packet) != mqtt::Error::ok)
            return violation(connection, "malformed packet");
        if (packet.type == mqtt::PacketType::pingreq) {
            ++statistics_.pings;
            if (config.answer_pings) send(connection, mqtt::Empty{mqtt::PacketType::pingresp});   // [MQTT-3.12.4-1]
            return;
        }
        connection.will.reset();   // [MQTT-3.14.4-3]
        close(connection, "DISCONNECT");
    }

    // -------------------------------------------------------------------------------------------------- to clients

    void publish(const SharedMessage& message) {
        if (message->retain == mqtt::Retain::yes) {
            if (message->payload().empty()) retained_.erase(message->topic);   // [MQTT-3.3.1-10], -11
            else retained_[message->topic] = message;
        }
        index_.find(message->topic, matching_);
        for (const Index::Subscriber& subscriber : matching_)   // RETAIN is 0 here [MQTT-3.3.1-9]
            deliver(*subscriber.session, message, subscriber.qos, mqtt::Retain::no);
    }

    void deliver_retained(Session& session, std::string_view filter, mqtt::QoS granted) {   // [MQTT-3.3.1-6], -8
        const size_t wildcard = filter.find_first_of("+#");
        // What a filter matches begins with its levels before the wildcard; "a/#" matches "a" also.
        std::string_view prefix = filter.substr(0, wildcard);
        if (wildcard != std::string_view::npos && !prefix.empty()) prefix.remove_suffix(1);
        for (auto at = retained_.lower_bound(prefix); at != retained_.end(); ++at) {
            if (at->first.compare(0, prefix.size(), prefix) != 0) break;
            if (mqtt::matches(filter, at->first)) deliver(session, at->second, granted, mqtt::Retain::yes);
            else if (wildcard == std::string_view::npos) break;   // the topic itself would have been first
        }
    }

    // Everything goes through the session's queue, so that messages of different QoS keep their order also.
    void deliver(Session& session, const SharedMessage& message, mqtt::QoS granted, mqtt::Retain retain) {
        const mqtt::QoS qos = std::min(message->qos, granted);   // [MQTT-3.8.4-6]
        if (qos == mqtt::QoS::at_most_once) {
            if (session.connection == nullptr) return;   // [MQTT-3.1.2-5]: kept are QoS 1 and 2
            if (config.qos0_output_limit != 0 && session.connection->output.size() >= config.qos0_output_limit) {
                ++statistics_.dropped;
                return;
            }
            if (session.queue.empty()) return send_publish(*session.connection, {message, qos, retain, 0}, false);
        }
        session.queue.push_back({message, qos, retain, 0});
        send_queued(session);
    }

    void send_queued(Session& session) {
        const size_t window = config.max_inflight == 0 ? 65535 : config.max_inflight;
        while (session.connection != nullptr && !session.queue.empty()) {
            Outgoing& next = session.queue.front();
            if (next.qos == mqtt::QoS::at_most_once) {
                send_publish(*session.connection, next, false);
                session.queue.pop_front();
                continue;
            }
            if (session.in_flight.size() >= window) return;
            next.packet_id = free_packet_id(session);
            session.in_flight.splice(session.in_flight.end(), session.queue, session.queue.begin());
            session.by_packet_id.emplace(next.packet_id, std::prev(session.in_flight.end()));
            send_publish(*session.connection, next, false);
        }
    }

    static uint16_t free_packet_id(Session& session) {   // [MQTT-2.3.1-2]; there is one: the window is smaller
        do {
            session.last_packet_id = static_cast<uint16_t>(session.last_packet_id % 65535 + 1);
        } while (session.by_packet_id.count(session.last_packet_id) != 0);
        return session.last_packet_id;
    }

    void resend(Session& session) {   // [MQTT-4.4.0-1]
        for (const Outgoing& outgoing : session.in_flight) {
            ++statistics_.redeliveries;
            if (outgoing.message == nullptr)
                acknowledge(*session.connection, mqtt::PacketType::pubrel, outgoing.packet_id);
            else
                send_publish(*session.connection, outgoing, config.dup_on_redelivery);
        }
    }

    void send_publish(Connection& connection, const Outgoing& outgoing, bool duplicate) {
        mqtt::Publish packet;
        packet.topic = outgoing.message->topic;
        packet.payload = outgoing.message->payload();
        packet.qos = outgoing.qos;
        packet.retain = outgoing.retain;
        packet.duplicate = duplicate;
        packet.packet_id = outgoing.packet_id;
        ++statistics_.publishes_out[static_cast<size_t>(outgoing.qos)];
        send(connection, packet);
        connection.output.append_payload(outgoing.message);
    }

    void acknowledge(Connection& connection, mqtt::PacketType type, uint16_t packet_id) {
        send(connection, mqtt::Ack{type, packet_id});
    }

    // `rest` is what the codec leaves out of SUBACK: its codes.
    template <class Packet> void send(Connection& connection, const Packet& packet, mqtt::Bytes rest = {}) {
        const mqtt::Encoded encoded = mqtt::encode(packet, {scratch_.data(), scratch_.size()}, false);
        assert(encoded.error == mqtt::Error::ok);   // what came in valid goes out valid
        ++statistics_.packets_out;
        connection.output.append({scratch_.data(), encoded.size});
        connection.output.append(rest);
        mark_changed(connection);
    }

    // ------------------------------------------------------------------------------------------------------- small

    const Connection* find(Id id) const {
        const auto found = connections_.find(id);
        return found == connections_.end() ? nullptr : &found->second;
    }
    Connection* find(Id id) { return const_cast<Connection*>(std::as_const(*this).find(id)); }

    static mqtt::Bytes bytes_of(const std::string& text) { return mqtt::Bytes(text); }

    void trace(const Connection& connection, std::string_view what, std::string_view name = {}, std::string_view more = {}) {
        std::string line = connection.session != nullptr ? connection.session->client_id : "#" + std::to_string(connection.id);
        config.trace(line.append(" ").append(what).append(name).append(more));
    }

    std::unordered_map<Id, Connection> connections_;
    std::unordered_map<std::string, std::unique_ptr<Session>> sessions_;
    std::map<std::string, SharedMessage, std::less<>> retained_;
    Index index_;
    std::set<std::pair<uint64_t, Id>> alarms_;
    std::vector<Id> changed_;
    std::vector<Index::Subscriber> matching_;   // used by publish() only
    std::vector<uint8_t> scratch_ = std::vector<uint8_t>(mqtt::max_string_size + 16);   // for the longest topic
    BrokerStatistics statistics_;
    std::vector<LoggedPublish> log_;
    Id last_connection_ = none;
    uint64_t last_serial_ = 0;
    uint64_t last_generated_id_ = 0;
    uint64_t now_ = 1;                          // 0 is "no alarm"
    uint32_t last_ms_ = 0;
    bool started_ = false;
};

}  // namespace test
#endif
