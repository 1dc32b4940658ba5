// A meter with a store, its power, its network and a broker, in virtual time: a scenario is played, and the power is cut at
// chosen moments of it; then the meter starts again, a new client with new buffers on the same store, until the scenario is at
// its end and everything at rest.
//
//     test::Meter<test::FlashMedium> meter(scenario, seed);
//     meter.run({});                       // without a cut; throws test::Failed: what was wrong
//     test::cut_everywhere<test::FlashMedium>(scenario, seed, ...);   // at each moment, in each state that a cut may leave
//
// A moment is a call of the medium that changes something, or a call of the network that carries bytes. What is checked:
//
//   at the broker    QoS 1 at least once, QoS 2 exactly once, by payload; the order per QoS and topic; messages intact; no
//                    violation of the protocol, no repetition without DUP, no packet id in use
//   what was durable a message that stored() covered, or of which a byte was written, arrives
//   at the meter     connect() succeeds after each cut; QoS 1 at least once; QoS 2 once in a life, and never again once its
//                    record was durable (stored() covered it, or a byte of PUBREC was written); the order per QoS
//   at the end       a clean restart sends nothing and gets nothing again
#ifndef MQTT_TESTS_SUPPORT_METER_HPP
#define MQTT_TESTS_SUPPORT_METER_HPP

#include "mqtt.hpp"

#include "tests/support/broker.hpp"
#include "tests/support/disk.hpp"
#include "tests/support/flash.hpp"
#include "tests/support/random.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace test {

// Thrown through the client by a call of its port: nothing of it happens any more.
struct PowerCut {
    size_t written = 0;   // in a write(): so many bytes have gone out
};

// What happens to the meter. Each step begins so many ms after the one before it was done.
struct Step {
    enum Kind : uint8_t {
        publish,           // by the meter: `qos`, `size` bytes; repeated until it is accepted
        incoming,          // published for the meter, as soon as the broker has its subscription
        network_down,      // the connection is lost, and there is none for `size` ms
        broker_restarts,   // the same; it keeps its sessions
        broker_forgets,    // and here it does not
        stop, start,       // disconnect() to its end; connect() again
        rest,              // until nothing is to be done any more
        ignore, heed       // ignore_storage(true), and (false)
    };
    Kind kind;
    int qos = 0;
    uint32_t size = 0;
    uint32_t after = 10;
};
using Steps = std::vector<Step>;

struct Scenario {
    const char* name;
    Steps steps;
    mqtt::Version version = mqtt::Version::v3_1_1;
    bool clean_session = false;
    uint16_t in_flight = 4;
    mqtt::Geometry geometry{256, 8, 8};
    uint32_t limit = 700;            // FileStore::storage_limit
    unsigned slow = 0;               // of so many answers of the medium, one is not "not yet"; 0: none is
    size_t tx = 1200;
    const char* client_id = "meter";
    bool lossy() const {             // may the broker's part of the session end?
        if (clean_session) return true;
        for (const Step& step : steps)
            if (step.kind == Step::broker_forgets) return true;
        return false;
    }
};

// How often the things happened that a sweep is there for.
struct Coverage {
    uint64_t runs = 0, lives = 0, connections = 0, resent = 0, pubrels = 0, repeated = 0, delivered = 0, again = 0, lost = 0, dropped = 0,
             troubles = 0;

    void add(const Coverage& other) {
        const uint64_t* from = &other.runs;
        uint64_t* to = &runs;
        for (size_t i = 0; i != sizeof(Coverage) / sizeof(uint64_t); ++i) to[i] += from[i];
    }
};

// ---- media: what the store lies on

// At a moment, states() are what a cut may leave; apply() puts one in the place of what is there.
struct FlashMedium {
    using Store = mqtt::Journal<Flash>;
    using State = std::vector<uint8_t>;   // what the bytes of the operation have become

    Chip chip;
    std::function<void()> moment = [] {};
    std::function<bool()> fails = [] { return false; };   // the next program or erase, having changed some of its bytes

    explicit FlashMedium(const Scenario& scenario) : chip(scenario.geometry), slow_(scenario.slow) { arm(); }
    FlashMedium(const FlashMedium& other) : chip(other.chip), slow_(other.slow_), operation_(other.operation_) { arm(); }   // what is on it
    FlashMedium& operator=(const FlashMedium&) = delete;

    void plug(Store& store) { store.flash = Flash(chip); }
    template <class Leave> void states(wire::Random& random, Leave leave) const {
        for_each_cut(chip, operation_, is_journal(), random, 3, leave);
    }
    static std::string key(const State& state) { return {state.begin(), state.end()}; }   // equal: the same state
    State some_state(wire::Random&) { return mixture(operation_); }
    std::optional<State> between_operations(wire::Random&) { return {}; }   // it is as it is
    void apply(const State& state) { chip.tear(operation_, state, is_journal()); }
    void power_off() {}
    uint64_t changes() const { return chip.programs + chip.erases; }

private:
    void arm() {
        chip.before = [this](const Operation& operation) {
            operation_ = operation;
            moment();
        };
        chip.answer = [this] {
            if (slow_ != 0 && ++asked_ % slow_ != 0) return 0;
            if (!fails()) return 1;
            chip.tear(*chip.failing, mixture(*chip.failing));
            return -1;
        };
    }
    State mixture(const Operation& operation) {
        State bytes = operation.bytes;
        const size_t kinds = operation.erases && !is_journal() ? 2 : 3;   // new flash: nothing but FF comes of FF
        for (size_t i = 0; i != bytes.size(); ++i)
            if (const size_t kind = random_.below(kinds)) bytes[i] = kind == 1 ? chip.bytes[operation.address + i] : random_.octet();
        return bytes;
    }
    bool is_journal() const { return chip.programs != 0; }   // else it is as it came from the factory

    const unsigned slow_;
    unsigned asked_ = 0;
    Operation operation_;
    wire::Random random_{7};
};

struct DiskMedium {
    using Store = mqtt::posix::BasicFileStore<ModelDisk>;
    using State = World;

    World world;
    std::function<void()> moment = [] {};
    std::function<bool()> fails = [] { return false; };   // the next call that changes something

    explicit DiskMedium(const Scenario& scenario) : limit_(scenario.limit) { arm(); }
    DiskMedium(const DiskMedium& other) : world(other.world.after_kill()), limit_(other.limit_) { arm(); }
    DiskMedium& operator=(const DiskMedium&) = delete;

    void plug(Store& store) {
        store.disk.world = &world;
        store.storage_path = "model";
        store.storage_limit = limit_;
    }
    template <class Leave> void states(wire::Random& random, Leave leave) const { for_each_crash_state(world, random, leave); }
    static std::string key(const State& state) {
        std::string text;
        for (const auto& [name, number] : state.names) {
            if (name == "lock") continue;
            const Bytes& bytes = state.files[number].bytes;
            text += name + ' ' + std::to_string(bytes.size()) + ' ' + std::string(bytes.begin(), bytes.end());
        }
        return text;
    }
    State some_state(wire::Random& random) {
        size_t count = 0, chosen = 0;
        states(random, [&](const State&) { ++count; });
        chosen = random.below(count);
        std::optional<State> found;
        states(random, [&](const State& state) {
            if (chosen-- == 0) found = state;
        });
        return *found;
    }
    std::optional<State> between_operations(wire::Random& random) { return some_state(random); }
    void apply(const State& state) {
        world = state;
        arm();
    }
    void power_off() {
        std::vector<Bytes> files;
        for (const File& file : world.files) files.push_back(file.durable);
        const Folder names = world.durable_names;
        apply(World::after_cut(names, files));
    }
    uint64_t changes() const { return world.calls; }
    int error = EIO;   // why it fails

private:
    void arm() {
        world.after = [this] { moment(); };
        world.refuse = [this](const char*) { return fails() ? error : 0; };
    }
    uint32_t limit_;
};

// What is on a medium, to be compared.
inline std::string image(const FlashMedium& medium) { return FlashMedium::key(medium.chip.bytes); }
inline std::string image(const DiskMedium& medium) { return DiskMedium::key(medium.world); }

// ---- what a packet is, as far as the observers ask

struct Sighting {
    unsigned type = 0;
    bool dup = false;
    int qos = 0;
    uint16_t packet_id = 0;
    std::string_view payload;   // of a PUBLISH
};
// Takes the first packet off; false: it is not all there.
inline bool take_packet(std::string_view& bytes, bool v5, Sighting& seen) {
    size_t at = 1;
    const auto number = [&] {   // a variable byte integer
        uint32_t value = 0;
        for (unsigned shift = 0; at < bytes.size(); shift += 7) {
            const uint8_t byte = static_cast<uint8_t>(bytes[at++]);
            value |= uint32_t{byte & 0x7FU} << shift;
            if (byte < 0x80) break;
        }
        return value;
    };
    const auto u16 = [&] {
        const uint16_t value = mqtt::load_u16(reinterpret_cast<const uint8_t*>(bytes.data()) + at);
        at += 2;
        return value;
    };
    if (bytes.size() < 2) return false;
    const size_t size = number();
    if (bytes.size() - at < size) return false;
    const size_t end = at + size;
    seen = {};
    seen.type = static_cast<uint8_t>(bytes[0]) >> 4;
    seen.dup = (bytes[0] & 8) != 0;
    seen.qos = bytes[0] >> 1 & 3;
    if (seen.type == 3) {
        const size_t topic = u16();
        at += topic;
        if (seen.qos != 0) seen.packet_id = u16();
        if (v5) {
            const size_t properties = number();
            at += properties;
        }
        seen.payload = bytes.substr(at, end - at);
    } else if (seen.type > 3 && seen.type < 12 && size >= 2) {
        seen.packet_id = u16();
    }
    bytes.remove_prefix(end);
    return true;
}

// ---- what is around the meter, and knows everything

class Site {
public:
    struct Outgoing {          // a message of the meter's
        int qos = 0;
        std::string topic, payload;
        bool durable = false, written = false, dropped = false;
        bool offered = false;  // there was a connection on which it may have been sent, as far as the client can know
        bool in_doubt = false; // so when the broker's session ended: it may have arrived or not
        unsigned arrivals = 0;
    };
    struct Incoming {          // a message for the meter
        int qos = 0;
        std::string payload;
        bool durable = false;  // it must not be given again
        bool lost = false;     // with the broker's session
        unsigned deliveries = 0, life = 0;
    };
    static constexpr uint32_t latency = 7;

    Site(const Scenario& scenario, uint64_t seed) : random(seed), scenario_(scenario), v5_(scenario.version == mqtt::Version::v5) {
        broker.config.log_publishes = true;
        broker.config.max_inflight = 5;
    }

    Broker broker;
    wire::Random random;
    Coverage coverage;
    std::function<void(size_t bytes)> moment = [](size_t) {};   // the network carries bytes now; may throw PowerCut
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    unsigned life = 0;
    bool ignoring = false;     // what is written proves nothing about the store
    uint64_t publishes_written = 0, deliveries = 0;

    // ---- time

    uint64_t now() const { return now_; }
    uint32_t clock() const { return static_cast<uint32_t>(now_ + 0xFFFFF000); }
    void pass(uint64_t ms) {
        const uint64_t end = now_ + ms;
        while (true) {
            now_ = std::min(end, std::max(now_, next_arrival()));
            deliver();
            if (now_ == end) return;
        }
    }
    uint64_t next_arrival() const {   // of bytes, or of a connection's being open
        uint64_t next = ~uint64_t{0};
        if (link_ != nullptr && link_->id == Broker::none && link_->opens_at > now_) next = link_->opens_at;
        for (const auto& link : links_)
            for (const Pipe* pipe : {&link->up, &link->down})
                if (!pipe->empty()) next = std::min(next, pipe->front().at);
        return next;
    }

    // ---- the port

    int open() {
        if (link_ == nullptr) {
            links_.push_back(std::make_unique<Link>());
            link_ = links_.back().get();
            link_->opens_at = now_ + latency;
        }
        if (now_ < link_->opens_at) return 0;
        if (now_ < network_back_) return -1;
        link_->id = broker.accept(clock());
        return 1;
    }
    int read(uint8_t* data, size_t size) {
        if (link_->arrived.empty()) return link_->lost ? -1 : 0;
        const size_t n = std::min(size, link_->arrived.size());
        moment(n);
        link_->heard = true;
        for (Outgoing& message : outgoing) message.offered = true;
        memcpy(data, link_->arrived.data(), n);
        link_->arrived.erase(0, n);
        return static_cast<int>(n);
    }
    int write(const uint8_t* data, size_t size) {
        if (link_->lost) return -1;
        const size_t n = short_writes && random.below(3) == 0 ? 1 + random.below(size) : size;
        const std::string_view offered(reinterpret_cast<const char*>(data), size);
        try {
            moment(n);
        } catch (const PowerCut& cut) {
            wrote(offered, cut.written);
            throw;
        }
        wrote(offered, n);
        return static_cast<int>(n);
    }
    bool short_writes = false;
    void close() {
        if (link_ == nullptr) return;
        if (link_->id == Broker::none)
            link_->gone = true;
        else
            send(link_->up, {}, true);
        leave();
    }

    // ---- what goes wrong

    void power_lost() {
        if (link_ == nullptr) return;
        if (random.below(2) == 0) truncate(link_->up);
        close();
    }
    void network_down(uint32_t ms) {
        network_back_ = std::max(network_back_, now_ + ms);
        for (auto& link : links_) {
            if (link->gone || link->id == Broker::none) continue;
            may_be_unaware(*link);
            if (random.below(3) != 0) truncate(link->up);
            if (random.below(3) != 0) truncate(link->down);
            if (link->up.empty() || !link->up.back().end) send(link->up, {}, true);
            send(link->down, {}, true);
        }
    }
    void broker_restarts(bool forgets) {
        for (auto& link : links_)
            if (!link->gone && link->id != Broker::none) {
                if (!forgets) may_be_unaware(*link);
                link->gone = true;
                truncate(link->down);
                send(link->down, {}, true);
                broker.closed(link->id, clock());
            }
        read_log();
        if (!forgets) return;
        ++coverage.lost;
        ++forgotten;
        broker.lose_sessions();
        session_ended();
    }
    // Nothing is left of the broker's session: what is waiting there is gone.
    void session_ended() {
        doubt();
        for (Incoming& message : incoming) message.lost = true;
        ids_.clear();
    }
    // How often the broker has forgotten, and how often of these the meter has learned of it, for good. If it loses its
    // connection before that, and the broker has made a new session for it, it can never know: "session present" then means
    // another one. So QoS 2 may come twice, and what is new may be taken for what had its packet id.
    unsigned forgotten = 0, learned = 0;
    bool unaware() const { return unaware_; }
    bool link_alive() const { return link_ != nullptr && !link_->gone; }
    void accepted(Outgoing message) {
        message.offered = link_ != nullptr && link_->heard;
        outgoing.push_back(std::move(message));
    }

    // ---- what is asked

    bool quiet() const {
        for (const auto& link : links_)
            if (!link->up.empty() || !link->down.empty() || (link.get() != link_ && !link->gone)) return false;
        if (link_ != nullptr && !link_->arrived.empty()) return false;
        const auto session = broker.session(scenario_.client_id);
        return session && session->in_flight == 0 && session->queued == 0 && session->received == 0;
    }
    bool subscribed() const {
        const auto session = broker.session(scenario_.client_id);
        return session && session->subscriptions != 0;
    }
    void publish_to_meter(int qos, uint32_t size) {
        Incoming message;
        message.qos = qos;
        message.payload = payload('i', incoming.size(), size);
        incoming.push_back(message);
        broker.publish("in", message.payload, static_cast<mqtt::QoS>(qos));
        pump_broker();
    }
    static std::string payload(char kind, size_t number, uint32_t size) {
        char text[16];
        std::snprintf(text, sizeof text, "%c%05zu", kind, number);
        std::string out = text;
        for (size_t i = out.size(); i < size; ++i) out += static_cast<char>('a' + (number + i) % 26);
        return out;
    }
    static size_t number_of(std::string_view text, char kind) {
        if (text.size() < 6 || text[0] != kind) fail("a message that nobody has sent: " + std::string(text));
        return std::strtoul(std::string(text.substr(1, 5)).c_str(), nullptr, 10);
    }

    // The meter was given a message.
    size_t received(const mqtt::Message& message) {
        const size_t number = number_of(message.payload.text(), 'i');
        if (number >= incoming.size() || incoming[number].payload != message.payload.text()) fail("a message that was changed");
        Incoming& known = incoming[number];
        const std::string name = std::string(message.payload.text().substr(0, 6));
        if (known.qos != static_cast<int>(message.qos)) fail("another QoS: " + name);
        if (known.deliveries != 0) ++coverage.again;
        if (known.qos == 2 && known.deliveries != 0 && known.life == life) fail("QoS 2, given twice without a reset: " + name);
        if (known.qos == 2 && known.durable) fail("QoS 2, given again after its record was durable: " + name);
        size_t& last = last_in_[known.qos];
        if (known.deliveries == 0 && number + 1 < last) fail("not in order: " + name);
        if (known.deliveries == 0) last = number + 1;
        ++known.deliveries;
        ++deliveries;
        ++coverage.delivered;
        known.life = life;
        return number;
    }

    // After all: what must have happened?
    void check_end() {
        read_log();
        const BrokerStatistics& s = broker.statistics();
        if (s.violations != 0) fail("a violation of the protocol: " + broker.violations()[0]);
        if (s.id_conflicts != 0) fail("a packet id in use");
        if (s.repeated_without_dup != 0) fail("a repetition without DUP, or a packet id in use");
        coverage.repeated += s.repeated;
        for (const Outgoing& message : outgoing) {
            const std::string name = "QoS " + std::to_string(message.qos) + ", " + message.payload.substr(0, 6);
            if (message.dropped && !message.in_doubt) fail("dropped for no reason: " + name);
            if (message.durable && !message.in_doubt && message.arrivals == 0) fail("durable, and lost: " + name);
        }
        for (const Incoming& message : incoming)
            if (message.deliveries == 0 && !message.lost && !unaware_ && message.qos != 0) fail("never came to the meter: " + message.payload.substr(0, 6));
    }
    void forbid_again() { again_allowed_ = false; }   // from here on the broker gets nothing that it had

private:
    struct Chunk {
        uint64_t at;
        std::string data;
        bool end;
    };
    using Pipe = std::deque<Chunk>;
    struct Link {
        Broker::Id id = Broker::none;
        uint64_t opens_at = 0;
        Pipe up, down;
        std::string arrived;
        bool wrote = false, heard = false;   // the meter has, and has read, something
        bool lost = false;   // it sees that
        bool left = false;   // the meter has closed it, or has no power
        bool gone = false;   // for the broker
        size_t begun = 0;    // bytes of a packet that are still to be written
    };

    void wrote(std::string_view offered, size_t n) {
        std::string_view rest = offered.substr(std::min(link_->begun, offered.size()));
        size_t begun = link_->begun;
        Sighting seen;
        while (begun < n) {
            const size_t before = rest.size();
            if (!take_packet(rest, v5_, seen)) fail("a packet is not offered whole");
            begun += before - rest.size();
            saw_up(seen);
        }
        link_->begun = begun - n;
        link_->wrote = link_->wrote || n != 0;
        if (n != 0) send(link_->up, std::string(offered.substr(0, n)));
    }
    // It loses this connection, on which it may have got, or may yet get, a new session.
    void may_be_unaware(const Link& link) {
        if (learned != forgotten && !link.gone && link.wrote) unaware_ = true;
    }
    void leave() {
        may_be_unaware(*link_);
        link_->left = true;
        link_ = nullptr;
        if (scenario_.clean_session) session_ended();
        else if (learned != forgotten) doubt();
    }
    // What may have been sent may have arrived or not; also if it was told as acknowledged: that may not be durable.
    void doubt() {
        for (Outgoing& message : outgoing) message.in_doubt = message.in_doubt || message.offered;
    }
    void send(Pipe& pipe, std::string data, bool end = false) { pipe.push_back({now_ + latency, std::move(data), end}); }
    // A part of what is on its way is lost.
    void truncate(Pipe& pipe) {
        if (pipe.empty() || pipe.back().end) return;
        pipe.resize(pipe.size() - random.below(pipe.size()));
        std::string& data = pipe.back().data;
        data.resize(random.below(data.size() + 1));
    }
    void deliver() {
        broker.tick(clock());
        pump_broker();
        for (size_t i = 0; i != links_.size(); ++i) {
            Link& link = *links_[i];
            while (!link.up.empty() && link.up.front().at <= now_) {
                const Chunk chunk = std::move(link.up.front());
                link.up.pop_front();
                if (link.gone) continue;
                if (chunk.end) {
                    link.gone = true;
                    broker.closed(link.id, clock());
                } else {
                    broker.receive(link.id, reinterpret_cast<const uint8_t*>(chunk.data.data()), chunk.data.size(), clock());
                }
                read_log();
                pump_broker();
            }
            while (!link.down.empty() && link.down.front().at <= now_) {
                const Chunk chunk = std::move(link.down.front());
                link.down.pop_front();
                if (chunk.end) link.lost = true;
                else if (!link.left && !link.lost) link.arrived += chunk.data;
            }
        }
        const auto over = [](const std::unique_ptr<Link>& link) { return link->left && link->gone; };
        links_.erase(std::remove_if(links_.begin(), links_.end(), over), links_.end());
    }
    void pump_broker() {
        for (std::vector<Broker::Id> changed = broker.take_changed(); !changed.empty(); changed = broker.take_changed())
            for (const Broker::Id id : changed)
                for (auto& link : links_) {
                    if (link->id != id || link->gone) continue;
                    const std::string out = broker.take_output(id);
                    std::string_view rest = out;
                    Sighting seen;
                    while (!rest.empty() && take_packet(rest, v5_, seen))
                        if (seen.type == 3 && seen.qos != 0) ids_[seen.packet_id] = number_of(seen.payload, 'i') + 1;
                    if (!out.empty()) send(link->down, out);
                    if (!broker.wants_close(id)) continue;
                    send(link->down, {}, true);
                    link->gone = true;
                    broker.closed(id, clock());
                }
    }
    // A first byte of this packet was written.
    void saw_up(const Sighting& seen) {
        if (seen.type == 3 && seen.qos != 0) {
            const size_t number = number_of(seen.payload, 'o');
            if (number >= outgoing.size() || outgoing[number].payload != seen.payload) fail("a message that nobody has published");
            Outgoing& message = outgoing[number];
            if (!again_allowed_) fail("sent again, though it was done: " + message.payload.substr(0, 6));
            if (!ignoring) message.durable = true;
            if (message.written) ++coverage.resent;
            message.written = true;
            ++publishes_written;
        }
        if (seen.type == 6) ++coverage.pubrels;
        if (seen.type == 6 && !again_allowed_) fail("PUBREL for what was done");
        if ((seen.type == 5 || seen.type == 7) && !ignoring) {
            const auto known = ids_.find(seen.packet_id);
            if (known != ids_.end()) incoming[known->second - 1].durable = true;
        }
    }
    void read_log() {
        for (const Broker::LoggedPublish& logged : broker.log()) {
            const size_t number = number_of(logged.payload, 'o');
            if (number >= outgoing.size()) fail("a message that nobody has published");
            Outgoing& message = outgoing[number];
            const std::string name = "QoS " + std::to_string(message.qos) + ", " + message.payload.substr(0, 6);
            if (logged.payload != message.payload || logged.topic != message.topic || static_cast<int>(logged.qos) != message.qos)
                fail("arrived, but changed: " + name);
            if (logged.client_id != scenario_.client_id) fail("sent in another session: " + name);
            ++message.arrivals;
            if (message.qos == 2 && message.arrivals > 1 && !tolerates_twice && !(unaware_ && message.in_doubt)) fail("arrived twice: " + name);
            size_t& last = last_out_[message.topic + char('0' + message.qos)];
            if (message.arrivals == 1 && number + 1 < last) fail("not in order: " + name);
            if (message.arrivals == 1) last = number + 1;
        }
        broker.clear_log();
    }

    const Scenario& scenario_;
    const bool v5_;
    bool again_allowed_ = true;
    bool unaware_ = false;
    uint64_t now_ = 0, network_back_ = 0;
    std::vector<std::unique_ptr<Link>> links_;
    Link* link_ = nullptr;
    std::map<uint16_t, size_t> ids_;              // of what the broker has sent: the number of the message, and 1
    std::map<int, size_t> last_in_;
    std::map<std::string, size_t> last_out_;

public:
    bool tolerates_twice = false;   // QoS 2 at the broker, when a cut takes what ignore_storage() did not save
};

template <class Medium> struct MeterPort : Medium::Store {
    Site& site;

    MeterPort(Site& of, Medium& medium) : site(of) { medium.plug(*this); }
    int open(std::string_view, uint16_t) { return site.open(); }
    int read(uint8_t* data, size_t size) { return site.read(data, size); }
    int write(const uint8_t* data, size_t size) { return site.write(data, size); }
    void close() { site.close(); }
    uint32_t now_ms() { return site.clock(); }
    uint32_t random() { return static_cast<uint32_t>(site.random.next()); }
};

// A client without a network, to see what it makes of its store.
template <class Store> struct OfflineClient {
    struct Port : Store {
        static int open(std::string_view, uint16_t) { return 0; }
        static int read(uint8_t*, size_t) { return 0; }
        static int write(const uint8_t*, size_t) { return 0; }
        static void close() {}
        static uint32_t now_ms() { return 0; }
    };
    explicit OfflineClient(const char* client_id) {
        options.host = "broker";
        options.client_id = client_id;
        options.clean_session = false;
    }
    mqtt::Error connect() { return client.connect(options).error; }

    Port port;
    uint8_t rx[256], tx[1200];
    mqtt::Client<Port> client{port, {rx, tx, 6}};
    mqtt::ConnectOptions options;
};

// A cut: at this moment of a life, and what it leaves.
template <class Medium> struct Cut {
    size_t moment = 0;
    size_t written = 0;                           // in a write(): so many bytes still go out
    std::optional<typename Medium::State> state;  // of the medium afterwards; none: as it is
    size_t number = 0;                            // of all that the cut may leave at this moment
};

template <class Medium> class Meter {
public:
    using Port = MeterPort<Medium>;
    using Client = mqtt::Client<Port>;
    using Cuts = std::vector<Cut<Medium>>;

    Meter(const Scenario& scenario, uint64_t seed) : medium(scenario), site(scenario, seed), scenario_(scenario) {
        options_.host = "broker";
        options_.client_id = scenario.client_id;
        options_.version = scenario.version;
        options_.clean_session = scenario.clean_session;
        options_.in_flight_maximum = scenario.in_flight;
        options_.reconnect_min_ms = 50;
        options_.reconnect_max_ms = 1000;
        medium.moment = [this] { at_moment(false, 0); };
        site.moment = [this](size_t bytes) { at_moment(true, bytes); };
    }

    Medium medium;
    Site site;
    // Storage may fail: events of it are no fault then.
    bool troubled = false;
    // Called before each poll().
    std::function<void(Client&)> before_poll;
    // With the medium as a cut has left it.
    std::function<void(const Medium&)> after_cut;
    // Is the power cut at this moment?
    std::function<bool()> power_goes = [] { return false; };

    // Lives until the end, with these cuts; one more reset at the end.
    void run(const Cuts& cuts) {
        for (size_t i = 0; i <= cuts.size(); ++i) {
            cut_ = i < cuts.size() ? &cuts[i] : nullptr;
            if (!live()) continue;
            if (cut_ != nullptr) fail("the moment of the cut never comes");
        }
        finish();
    }
    // All that a cut at this moment of the life after these cuts may leave; nothing: there is no such moment.
    Cuts explore(const Cuts& cuts, size_t moment, wire::Random& random) {
        Cuts found;
        explore_ = [&](bool network, size_t bytes) {
            Cut<Medium> cut;
            cut.moment = moment;
            if (network) {
                for (const size_t written : {size_t{0}, size_t{1}, bytes / 2, bytes}) {
                    if (!found.empty() && found.back().written >= written) continue;
                    cut.written = written;
                    cut.state = medium.between_operations(random);
                    found.push_back(cut);
                }
                return;
            }
            std::unordered_set<std::string> seen;   // many bytes are written as they were
            medium.states(random, [&](const typename Medium::State& state) {
                if (!seen.insert(Medium::key(state)).second) return;
                cut.state.emplace(state);
                found.push_back(cut);
            });
        };
        explore_at_ = moment;
        for (size_t i = 0; i <= cuts.size(); ++i) {
            cut_ = i < cuts.size() ? &cuts[i] : nullptr;
            exploring_ = i == cuts.size();
            if (live()) break;
        }
        exploring_ = false;
        for (size_t i = 0; i != found.size(); ++i) found[i].number = i;
        return found;
    }
    // With cuts where power_goes() says so.
    void run_randomly() {
        while (!live()) {}
        finish();
    }

private:
    void at_moment(bool network, size_t bytes) {
        const size_t here = moment_++;
        if (exploring_ && here == explore_at_) {
            explore_(network, bytes);
            throw PowerCut{};
        }
        if (cut_ == nullptr && power_goes()) {
            Cut<Medium>& cut = random_cut_.emplace();
            if (network) cut.written = site.random.below(bytes + 1);
            cut.state = network ? medium.between_operations(site.random) : medium.some_state(site.random);
            cut_ = &cut;
            throw PowerCut{cut.written};
        }
        if (cut_ == nullptr || here != cut_->moment) return;
        throw PowerCut{cut_->written};
    }

    // From power on to the end: true, or to the cut.
    bool live() {
        moment_ = 0;
        ++site.life;
        ++site.coverage.lives;
        site.ignoring = false;
        try {
            Life life(*this);
            life.run();
            return true;
        } catch (const PowerCut&) {
        }
        power_lost();
        return false;
    }
    void power_lost() {
        site.power_lost();
        if (cut_ != nullptr && cut_->state) medium.apply(*cut_->state);
        if (random_cut_) cut_ = nullptr;
        if (after_cut) after_cut(medium);
        site.pass(site.random.below(3) == 0 ? 1 : site.random.below(2000));
    }
    // Everything is at rest, and stored: power may go. Nothing may come again.
    void finish() {
        site.power_lost();
        medium.power_off();
        site.pass(100);
        if (!scenario_.lossy() && !site.tolerates_twice) site.forbid_again();
        const uint64_t deliveries = site.deliveries;
        cut_ = nullptr;
        (void)live();
        if (!scenario_.lossy() && site.deliveries != deliveries) fail("given again, though all was stored");
        site.check_end();
        ++site.coverage.runs;
    }

    class Life {
    public:
        explicit Life(Meter& of) : meter_(of), site_(of.site), rx_(256), tx_(of.scenario_.tx), port_(of.site, of.medium),
                                   client_(port_, {{rx_.data(), rx_.size()}, {tx_.data(), tx_.size()}, 6}) {}

        void run() {
            connect();
            uint64_t idle_since = site_.now();
            for (unsigned polls = 0;; ++polls) {
                if (polls > 20000 || site_.now() - idle_since > 1000000) fail("it never comes to rest: " + unrest());
                if (step()) idle_since = site_.now();
                if (meter_.done_ == meter_.scenario_.steps.size() && at_rest()) return;
                if (meter_.before_poll) meter_.before_poll(client_);
                const mqtt::Event event = client_.poll();
                after_poll();
                if (event.kind != mqtt::Event::none) handle(event);
                else sleep();
            }
        }

    private:
        void connect() {
            const mqtt::Result result = client_.connect(meter_.options_);
            if (meter_.troubled && result.error == mqtt::Error::storage_failed) {   // FileStore: it may stay so until a reset
                meter_.medium.power_off();
                throw PowerCut{};
            }
            if (!result.ok()) fail(std::string("connect(): ") + mqtt::to_string(result.error));
            started_ = true;
        }
        // What the scenario has next; false: it is not its time yet.
        bool step() {
            if (subscribe_due_) {
                const mqtt::Result result = client_.subscribe("in", mqtt::QoS::exactly_once);
                if (result.ok()) subscribe_due_ = !subscriptions_.insert(result.packet_id).second;
            }
            const Steps& steps = meter_.scenario_.steps;
            if (meter_.done_ == steps.size()) return false;
            const Step& step = steps[meter_.done_];
            if (site_.now() < meter_.last_step_ + step.after) return false;
            if (!take(step)) return false;
            ++meter_.done_;
            meter_.last_step_ = site_.now();
            return true;
        }
        bool take(const Step& step) {
            switch (step.kind) {
            case Step::publish: return publish(step.qos, step.size);
            case Step::incoming:
                if (!site_.subscribed()) return site_.unaware();   // else it subscribes, sooner or later
                site_.publish_to_meter(step.qos, step.size);
                return true;
            case Step::network_down: site_.network_down(step.size); return true;
            case Step::broker_restarts: site_.broker_restarts(false); return true;
            case Step::broker_forgets: site_.broker_restarts(true); return true;
            case Step::stop:
                if (!stopping_ && started_ && !client_.disconnect().ok()) return false;
                stopping_ = started_;
                return !started_;
            case Step::start:
                if (!started_) connect();
                return true;
            case Step::rest: return at_rest();
            case Step::ignore:
            case Step::heed:
                ignores_ = step.kind == Step::ignore;
                client_.ignore_storage(ignores_);
                site_.ignoring = true;   // until all is stored
                return true;
            }
            return true;
        }
        bool publish(int qos, uint32_t size) {
            if (!started_) connect();   // after a reset
            Site::Outgoing message;
            message.qos = qos;
            message.topic = site_.outgoing.size() % 3 == 0 ? "a" : "b/c";
            message.payload = Site::payload('o', site_.outgoing.size(), size);
            const mqtt::Result result = client_.publish(message.topic, message.payload, static_cast<mqtt::QoS>(qos));
            if (result.error == mqtt::Error::no_space || result.error == mqtt::Error::receive_maximum_reached) return false;
            if (!result.ok()) fail(std::string("publish(): ") + mqtt::to_string(result.error));
            by_id()[result.packet_id].push_back(site_.outgoing.size());
            site_.accepted(message);
            if (qos != 0) accepted_.push_back(site_.outgoing.size() - 1);
            return true;
        }
        bool at_rest() {
            return started_ && client_.connected() && !subscribe_due_ && subscriptions_.empty() && client_.unacknowledged() == 0 &&
                   !client_.wants_write() && client_.stored() && site_.quiet();
        }
        std::string unrest() {
            return std::string(client_.connected() ? "connected" : "not connected") + ", unacknowledged " +
                   std::to_string(client_.unacknowledged()) + (client_.stored() ? "" : ", not stored") +
                   (client_.wants_write() ? ", wants to write" : "") + (site_.quiet() ? "" : ", not quiet") +
                   (subscribe_due_ || !subscriptions_.empty() ? ", not subscribed" : "") + ", step " + std::to_string(meter_.done_) +
                   ", idle " + std::to_string(client_.idle_ms());
        }
        // What was given before this poll() is taken over by it.
        void after_poll() {
            if (!client_.stored() || ignores_) return;
            site_.ignoring = false;
            site_.learned = std::max(site_.learned, learned_);
            for (const size_t number : accepted_) site_.outgoing[number].durable = true;
            for (const size_t number : given_) site_.incoming[number].durable = true;
            accepted_.clear();
            given_.clear();
        }
        void handle(const mqtt::Event& event) {
            switch (event.kind) {
            case mqtt::Event::connected:
                ++site_.coverage.connections;
                // Of a connection that the broker has closed already, CONNACK may be from before it forgot.
                if (!event.session_present && site_.link_alive()) learned_ = site_.forgotten;
                if (subscriptions_.empty() && (!event.session_present || !subscribed_)) subscribe_due_ = true;
                return;
            case mqtt::Event::disconnected:
                if (stopping_) started_ = false;
                stopping_ = false;
                return;
            case mqtt::Event::subscribed:
                subscriptions_.erase(event.packet_id);
                subscribed_ = true;
                return;
            case mqtt::Event::received: given_.push_back(site_.received(event.message)); return;
            case mqtt::Event::acknowledged: {
                Site::Outgoing& message = of(event.packet_id, [](const Site::Outgoing& m) { return m.arrivals != 0; });
                if (message.arrivals == 0) fail("acknowledged, but it has not arrived: " + message.payload.substr(0, 6));
                return;
            }
            case mqtt::Event::dropped:
                if (subscriptions_.erase(event.packet_id) != 0) {
                    subscribe_due_ = true;
                    return;
                }
                ++site_.coverage.dropped;
                if (event.error != mqtt::Error::session_lost) fail(std::string("dropped: ") + mqtt::to_string(event.error));
                of(event.packet_id, [](const Site::Outgoing& m) { return m.in_doubt; }).dropped = true;
                return;
            case mqtt::Event::storage_trouble:
                ++site_.coverage.troubles;
                if (!meter_.troubled) fail(std::string("trouble: ") + mqtt::to_string(event.error));
                return;
            default: return;
            }
        }
        // Until there is something to do.
        void sleep() {
            uint64_t until = site_.next_arrival();
            const uint32_t idle = client_.idle_ms();
            if (idle != mqtt::forever) until = std::min(until, site_.now() + idle);
            if (meter_.done_ != meter_.scenario_.steps.size()) {
                const uint64_t due = meter_.last_step_ + meter_.scenario_.steps[meter_.done_].after;
                if (due > site_.now()) until = std::min(until, due);
                else until = std::min(until, site_.now() + 50);   // it is tried again
            }
            if (until == ~uint64_t{0}) fail("it would sleep for ever: " + unrest());
            site_.pass(std::max<uint64_t>(until, site_.now() + 1) - site_.now());
        }
        // The messages that had a packet id. That of one that a cut took is given anew, also if it was that of one which is
        // still unfinished as far as the store knows.
        std::map<uint16_t, std::vector<size_t>>& by_id() { return meter_.by_id_; }
        // The last of them for which this may be, or else the last one.
        template <class May> Site::Outgoing& of(uint16_t packet_id, May may) {
            const std::vector<size_t>& numbers = by_id()[packet_id];
            if (numbers.empty()) fail("an event for packet id " + std::to_string(packet_id));
            for (size_t i = numbers.size(); i-- != 0;)
                if (may(site_.outgoing[numbers[i]])) return site_.outgoing[numbers[i]];
            return site_.outgoing[numbers.back()];
        }

        Meter& meter_;
        Site& site_;
        std::vector<uint8_t> rx_, tx_;
        Port port_;
        Client client_;
        bool started_ = false, stopping_ = false, subscribed_ = false, subscribe_due_ = false, ignores_ = false;
        unsigned learned_ = 0;
        std::set<uint16_t> subscriptions_;     // packet ids of unanswered SUBSCRIBEs
        std::vector<size_t> accepted_, given_; // since stored()
    };

    const Scenario& scenario_;
    mqtt::ConnectOptions options_;
    std::map<uint16_t, std::vector<size_t>> by_id_;
    size_t done_ = 0;              // steps
    uint64_t last_step_ = 0;
    size_t moment_ = 0, explore_at_ = 0;
    bool exploring_ = false;
    std::function<void(bool network, size_t bytes)> explore_;
    const Cut<Medium>* cut_ = nullptr;
    std::optional<Cut<Medium>> random_cut_;
};

// ---- a cut at each moment

struct Sweep {
    uint64_t cut_points = 0, while_recovering = 0;
    Coverage coverage;
};

template <class Medium> class CutEverywhere {
public:
    using Cuts = typename Meter<Medium>::Cuts;

    // Called with what each cut leaves.
    std::function<void(const Medium&)> look;

    // One in about `again` cuts is followed by further ones, at each moment of the recovery from it, as far as
    // `recovery` moments. again = 0: none is, and of all that a cut at a moment may leave three are tried: nothing, all of
    // it, and any.
    CutEverywhere(const Scenario& scenario, uint64_t seed, Sweep& sweep)
        : scenario_(scenario), seed_(seed), random_(seed + 1), sweep_(sweep) {}

    void run(unsigned again, unsigned recovery) {
        play({});
        uint64_t countdown = again == 0 ? 0 : 1 + random_.below(again);
        for (size_t moment = 0;; ++moment) {
            const Cuts cuts = explore({}, moment);
            if (cuts.empty()) return;
            const size_t any = random_.below(cuts.size());
            for (const Cut<Medium>& cut : cuts) {
                if (again == 0 && cut.number != 0 && cut.number != any && cut.number + 1 != cuts.size()) continue;
                play({cut});
                ++sweep_.cut_points;
                if (again == 0 || --countdown != 0) continue;
                countdown = 1 + random_.below(again);
                for (size_t then = 0; then != recovery; ++then)
                    for (const Cut<Medium>& second : explore({cut}, then)) {
                        play({cut, second});
                        ++sweep_.cut_points;
                        ++sweep_.while_recovering;
                    }
            }
        }
    }

private:
    template <class Run> void attempt(const Cuts& cuts, Run run) {
        try {
            run();
        } catch (const Failed& failure) {
            std::string where = std::string(scenario_.name) + ", seed " + std::to_string(seed_);
            for (const Cut<Medium>& cut : cuts)
                where += ", cut at moment " + std::to_string(cut.moment) + " in state " + std::to_string(cut.number);
            fail(where + ": " + failure.why);
        }
    }
    void play(const Cuts& cuts) {
        attempt(cuts, [&] {
            Meter<Medium> meter(scenario_, seed_);
            if (look) meter.after_cut = look;
            meter.run(cuts);
            sweep_.coverage.add(meter.site.coverage);
        });
    }
    Cuts explore(const Cuts& cuts, size_t moment) {
        Cuts found;
        attempt(cuts, [&] { found = Meter<Medium>(scenario_, seed_).explore(cuts, moment, random_); });
        return found;
    }

    const Scenario& scenario_;
    const uint64_t seed_;
    wire::Random random_;
    Sweep& sweep_;
};

}  // namespace test

#endif
