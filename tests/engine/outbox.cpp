// mqtt::Outbox alone against a simple model, in millions of random steps: whatever it shows to be written must be packets
// that were appended and not yet written, byte for byte, in order, as many as may be in flight; whatever is free must be
// given; whatever is asked for must be found.
//
// MQTT_SEED=n runs only that seed. MQTT_TEST_LONG=1 runs 50 times as many.
#include "tests/support/testing.hpp"

#include "mqtt.hpp"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace {

using mqtt::Ack;
using mqtt::Bytes;
using mqtt::Empty;
using mqtt::Error;
using mqtt::Outbox;
using mqtt::PacketType;
using mqtt::Publish;
using mqtt::QoS;

struct Random {
    uint64_t state;
    uint64_t next() {
        uint64_t z = state += 0x9E3779B97F4A7C15U;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        return z ^ (z >> 31);
    }
    size_t below(size_t limit) { return static_cast<size_t>(next() % limit); }
    bool chance(unsigned percent) { return below(100) < percent; }
};

struct Item {
    std::string bytes;        // as they have to go out
    PacketType type;
    uint16_t id = 0;          // 0: forgotten once written
    bool message = false;     // QoS 1 or 2: counts against those in flight until PUBACK or PUBCOMP
    bool exactly_once = false;
    bool sent = false;        // on an earlier connection, or a part of it
    size_t written = 0;       // of bytes
    size_t payload = 0;       // of a stream: from elsewhere, behind bytes
    bool entered = false;     // a stream: its payload is due, or was written, on this connection
    bool done() const { return written == bytes.size(); }
};

class Check {
public:
    Check(uint64_t seed, size_t capacity, uint16_t start, uint16_t stuck)
        : random_{seed}, memory_(capacity), outbox_(memory_.data(), memory_.size()) {
        outbox_.resumed();   // as after the first CONNACK
        online_ = true;
        // The first ones stay unanswered for long: their ids are met again when all others have been used.
        maximum_ = 65535;
        for (uint16_t i = 0; i < stuck; ++i) append_message(QoS::at_least_once, 1);
        stuck_ = items_.size();
        write_all();
        maximum_ = static_cast<uint16_t>(stuck + (random_.chance(50) ? 1 + random_.below(3) : 1 + random_.below(40)));
        burn(start);
    }

    void run(size_t count) {
        for (size_t i = 0; i < count; ++i) {
            step();
            verify();
        }
    }
    uint64_t steps = 0, wraps = 0;

private:
    void need(bool condition, const char* text) {
        if (!condition) throw std::string(text);
    }

    // Many messages, so that the ids come near the end of their range.
    void burn(uint16_t start) {
        while (start != 0 && next_id_ != start) {
            const uint16_t id = outbox_.new_packet_id();
            need(id != 0, "no id");
            Publish p;
            p.topic = "t";
            p.qos = QoS::at_least_once;
            p.packet_id = id;
            need(outbox_.append(p, Outbox::for_message).error == Error::ok, "no room for one message");
            outbox_.admit(65535);
            outbox_.written(outbox_.unsent().size());
            const Outbox::Offset place = outbox_.find(id);
            need(place != Outbox::nowhere, "an id is not found");
            outbox_.erase(place);
            next_id_ = id == 65535 ? uint16_t{1} : static_cast<uint16_t>(id + 1);
        }
    }

    void step() {
        ++steps;
        if (!online_) {
            switch (random_.below(4)) {
            case 0: append_message(static_cast<QoS>(random_.below(3)), random_.below(30)); break;
            case 1: append_request(); break;
            default: resume(); break;
            }
            return;
        }
        const size_t kind = random_.below(100);
        if (kind < 25) {
            append_message(static_cast<QoS>(random_.below(3)), random_.chance(10) ? random_.below(300) : random_.below(12));
        } else if (kind < 30) {
            append_request();
        } else if (kind < 36) {
            append_plain(Ack{PacketType::puback, 7}, Outbox::for_answer);
        } else if (kind < 38) {
            append_plain(Empty{PacketType::pingreq}, Outbox::for_ping);
        } else if (kind < 42) {
            begin_stream();
        } else if (kind < 68) {
            write(random_.chance(50) ? 1 + random_.below(20) : 1000);
        } else if (kind < 72) {
            write_payload();
        } else if (kind < 96) {
            answer();
        } else if (kind < 97) {
            rewind();
        }
    }

    // ---- what the engine does

    size_t used() const {
        size_t sum = 0;
        for (const Item& item : items_) sum += item.bytes.size() + (item.id != 0 ? Outbox::entry_size : 0);
        return sum;
    }
    size_t messages() const {
        return static_cast<size_t>(std::count_if(items_.begin(), items_.end(), [](const Item& i) { return i.message; }));
    }
    size_t entries() const {
        return static_cast<size_t>(std::count_if(items_.begin(), items_.end(), [](const Item& i) { return i.id != 0; }));
    }
    const Item* find(uint16_t id) const {
        for (const Item& item : items_)
            if (item.id == id) return &item;
        return nullptr;
    }

    uint16_t new_id() {
        const uint16_t id = outbox_.new_packet_id();
        uint16_t wanted = next_id_;   // the next one in sequence that is not in use
        while (find(wanted) != nullptr) {
            wanted = wanted == 65535 ? uint16_t{1} : static_cast<uint16_t>(wanted + 1);
            ++wraps;
        }
        if (id == 0) {   // stepping over an id in use needs room for an entry, where there is an index
            need(mqtt::wide && wanted != next_id_ && used() + 2 * Outbox::entry_size + 4 > outbox_.capacity(), "no id, but there is room");
            return 0;
        }
        need(id == wanted, "an id out of sequence, or in use");
        next_id_ = id;
        return id;
    }
    // Appends; the model says whether there has to be room.
    template <class Packet> bool append(const Packet& packet, Item item, Outbox::Reserve reserve, bool with_rest = true) {
        uint8_t buffer[600];
        const mqtt::Encoded expected = mqtt::encode(packet, buffer, mqtt::Version::v3_1_1, with_rest);
        item.bytes.assign(reinterpret_cast<const char*>(buffer), expected.size);
        const size_t needs = expected.size + reserve + (item.id != 0 ? Outbox::entry_size : 0);
        const bool fits = used() + needs <= outbox_.capacity();
        const mqtt::Encoded out = outbox_.append(packet, reserve, with_rest);
        if (!fits) {
            need(out.error == (needs > outbox_.capacity() ? Error::packet_too_large : Error::no_space), "it took more than it has");
            return false;
        }
        need(out.error == Error::ok, "no space, but there is room");
        need(out.size == expected.size, "another size");
        if (item.id != 0) next_id_ = item.id == 65535 ? uint16_t{1} : static_cast<uint16_t>(item.id + 1);
        items_.push_back(std::move(item));
        return true;
    }
    void append_message(QoS qos, size_t size) {
        // The engine lets no more through than may be in flight; offline they pile up.
        if (online_ && qos != QoS::at_most_once && messages() >= maximum_) return;
        Publish p;
        const std::string payload(size, static_cast<char>('a' + random_.below(26)));
        p.topic = random_.chance(50) ? "t" : "a/longer";
        p.payload = payload;
        p.qos = qos;
        Item item{{}, PacketType::publish};
        if (qos != QoS::at_most_once) {
            item.id = p.packet_id = new_id();
            if (item.id == 0) return;
            item.message = true;
            item.exactly_once = qos == QoS::exactly_once;
        }
        (void)append(p, item, Outbox::for_message);
    }
    void append_request() {
        mqtt::Subscribe p;
        const mqtt::Subscription list[] = {{"f/#", QoS::at_least_once}, {"g", QoS::at_most_once}};
        p.type = random_.chance(50) ? PacketType::subscribe : PacketType::unsubscribe;
        p.filters = {list, 1 + random_.below(2)};
        Item item{{}, p.type};
        item.id = p.packet_id = new_id();
        if (item.id == 0) return;
        if (!append(p, item, Outbox::for_message)) return;
    }
    template <class Packet> void append_plain(const Packet& packet, Outbox::Reserve reserve) {
        (void)append(packet, Item{{}, packet.type}, reserve);
    }
    void begin_stream() {
        outbox_.admit(maximum_);
        if (!outbox_.can_stream()) return;
        for (const Item& item : items_) need(item.payload == 0 || (item.id == 0 && item.done()), "a second stream");
        const QoS qos = static_cast<QoS>(random_.below(3));
        if (qos != QoS::at_most_once && messages() >= maximum_) return;
        Publish p;
        p.topic = "stream";
        const size_t size = 1 + random_.below(100);
        p.payload = Bytes(nullptr, size);
        p.qos = qos;
        Item item{{}, PacketType::publish};
        item.payload = size;
        item.entered = true;
        if (qos != QoS::at_most_once) {
            item.id = p.packet_id = new_id();
            if (item.id == 0) return;
            item.message = true;
            item.exactly_once = qos == QoS::exactly_once;
        }
        if (!append(p, item, Outbox::for_message, false)) return;
        outbox_.begin_stream(static_cast<uint32_t>(items_.back().bytes.size()), static_cast<uint32_t>(size));
        payload_left_ = size;
    }
    void write_payload() {
        if (!outbox_.stream_ready()) return;
        need(payload_left_ != 0, "a payload that nobody owes");
        const size_t n = 1 + random_.below(payload_left_);
        outbox_.stream_written(static_cast<uint32_t>(n));
        payload_left_ -= n;
    }

    void write_all() {
        for (Bytes out = shown(); !out.empty(); out = shown()) written(out.size());
    }
    void write(size_t limit) {
        const Bytes out = shown();
        if (!out.empty()) written(1 + random_.below(std::min(limit, out.size())));
    }
    Bytes shown() {
        outbox_.admit(maximum_);
        const uint16_t id = outbox_.stream_resends() ? outbox_.stream_id() : uint16_t{0};
        outbox_.told_to_resend();
        if (id != 0) {
            const Item* const item = find(id);
            need(item != nullptr && item->payload != 0, "a stream is to be sent again that is none");
            const_cast<Item*>(item)->entered = true;
            payload_left_ = item->payload;
        }
        return outbox_.unsent();
    }

    // Walks over packets that are to be written: which ones, in the model, they are.
    template <class Each> void walk(Bytes out, Each each) {
        size_t at = 0;
        while (at < out.size()) {
            // In mid-packet, or the oldest of a kind that fits.
            Item* found = nullptr;
            bool message_before = false, other_before = false;
            for (Item& item : items_)
                if (item.written != 0 && !item.done() && !walked(item)) found = &item;
            if (found == nullptr) {
                for (Item& item : items_) {
                    if (item.written != 0 || walked(item)) continue;
                    const bool message = item.message && item.type == PacketType::publish;
                    const bool before = message ? message_before : other_before;
                    (message ? message_before : other_before) = true;
                    if (before) continue;   // each kind in its own order
                    const size_t n = std::min(item.bytes.size(), out.size() - at);
                    if (memcmp(item.bytes.data(), out.data() + at, n) == 0) {
                        found = &item;
                        break;
                    }
                }
            }
            need(found != nullptr, "bytes that nobody appended, or out of order");
            const size_t n = std::min(found->bytes.size() - found->written, out.size() - at);
            need(memcmp(found->bytes.data() + found->written, out.data() + at, n) == 0, "bytes are not intact");
            walked_.push_back(found);
            each(*found, n);
            at += n;
        }
        walked_.clear();
    }
    bool walked(const Item& item) const { return std::find(walked_.begin(), walked_.end(), &item) != walked_.end(); }

    void written(size_t size) {
        std::vector<std::pair<Item*, size_t>> parts;
        walk(Bytes(outbox_.unsent().data(), size), [&](Item& item, size_t n) { parts.emplace_back(&item, n); });
        for (const auto& part : parts) part.first->written += part.second;
        outbox_.written(size);
        forget();
    }
    void forget() {
        items_.erase(std::remove_if(items_.begin(), items_.end(), [](const Item& i) { return i.id == 0 && i.done(); }), items_.end());
    }

    void answer() {
        // Any id: also one that is not there, and one that is not written yet.
        std::vector<uint16_t> ids;
        for (const Item& item : items_)
            if (item.id != 0) ids.push_back(item.id);
        if (ids.size() > stuck_ && stuck_ != 0 && !random_.chance(2)) ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(stuck_));
        const uint16_t id = ids.empty() || random_.chance(5) ? static_cast<uint16_t>(1 + random_.below(65535)) : ids[random_.chance(50) ? 0 : random_.below(ids.size())];
        const bool can_answer = outbox_.can_answer();
        const Outbox::Offset place = outbox_.find(id);
        const auto item = std::find_if(items_.begin(), items_.end(), [&](const Item& i) { return i.id == id; });
        const bool there = item != items_.end() && item->done() && (item->payload == 0 || (item->entered && payload_left_ == 0));
        need((place != Outbox::nowhere) == there, there ? "not found" : "found what is not there");
        if (!there) return;
        need(memcmp(memory_.data() + place, item->bytes.data(), item->bytes.size()) == 0, "found something else");
        if (item->type == PacketType::publish && item->exactly_once) {
            if (!can_answer) {
                need(used() + 4 + Outbox::for_answer > outbox_.capacity(), "no room for an answer, but there is");
                return;
            }
            outbox_.release(place);
            Item release{std::string{'\x62', '\x02', static_cast<char>(id >> 8), static_cast<char>(id)}, PacketType::pubrel};
            release.id = id;
            release.message = true;
            items_.erase(item);
            items_.push_back(release);
        } else {
            outbox_.erase(place);
            items_.erase(item);
        }
    }

    void rewind() {
        outbox_.rewind();
        std::deque<Item> kept;
        for (Item& item : items_) {
            const bool begun = item.written != 0;
            if (item.id == 0 && (begun || item.type != PacketType::publish || item.payload != 0)) continue;
            if (begun || item.type == PacketType::pubrel) item.sent = true;
            if (item.sent && item.type == PacketType::publish) item.bytes[0] = static_cast<char>(item.bytes[0] | 8);
            item.written = 0;
            item.entered = false;
            kept.push_back(item);
        }
        items_ = kept;
        payload_left_ = 0;
        online_ = false;
    }
    void resume() {
        const bool present = random_.chance(70);
        maximum_ = static_cast<uint16_t>(random_.chance(60) ? 1 + random_.below(3) : 1 + random_.below(60));
        for (Outbox::Offset place = outbox_.next_to_resume(); place != Outbox::nowhere; place = outbox_.next_to_resume()) {
            if (present || !outbox_.was_sent(place)) {
                outbox_.resume(place);
                continue;
            }
            const bool message = outbox_.first_byte(place) >> 4 == 3;   // others may have gone ahead of them
            const auto first = std::find_if(items_.begin(), items_.end(), [message](const Item& i) {
                return i.id != 0 && i.sent && (i.type == PacketType::publish) == message;
            });
            need(first != items_.end() && first->id == outbox_.id_of(place), "to be dropped is something else");
            outbox_.drop(place);
            items_.erase(first);
            verify_counts();
        }
        outbox_.resumed();
        for (const Item& item : items_) need(present || !item.sent, "not dropped");
        for (Item& item : items_)
            if (item.type != PacketType::publish) item.sent = false;
        online_ = true;
    }

    // ---- after each step

    void verify_counts() {
        need(outbox_.kept() == messages(), "kept()");
        need(!mqtt::wide || outbox_.count() >= entries(), "count()");
    }
    void verify() {
        verify_counts();
        if (!online_) return;
        const Bytes out = shown();
        need(outbox_.stream_left() == payload_left_, "stream_left()");
        size_t in_flight = 0;   // written, at least in part
        for (const Item& item : items_) in_flight += item.message && item.written != 0 ? 1 : 0;
        bool stream = false;
        walk(out, [&](const Item& item, size_t) {
            need(!stream, "something in the middle of a stream");
            stream = item.payload != 0;
            if (!item.message || item.written != 0) return;
            need(item.type != PacketType::publish || in_flight < maximum_, "more in flight than the maximum");
            ++in_flight;
        });
        // If nothing is shown, nothing may go.
        if (!out.empty()) return;
        if (payload_left_ != 0) {
            need(outbox_.stream_ready(), "a stream that stands still");
            return;
        }
        for (const Item& item : items_) {
            if (item.done()) continue;
            need(item.message && item.type == PacketType::publish && in_flight >= maximum_, "something stands still");
        }
    }

    Random random_;
    std::vector<uint8_t> memory_;
    Outbox outbox_;
    std::deque<Item> items_;
    std::vector<const Item*> walked_;
    uint16_t next_id_ = 1;
    uint16_t maximum_ = 1;
    size_t payload_left_ = 0;
    size_t stuck_ = 0;        // oldest records that are seldom answered
    bool online_ = false;
};

}  // namespace

TEST_CASE("[MQTT-2.3.1-2] [MQTT-2.3.1-3] [MQTT-4.4.0-1] [MQTT-4.6.0-1] the outbox does what a simple model does, at all capacities") {
    const char* text = std::getenv("MQTT_SEED");
    const uint64_t only = text == nullptr ? 0 : std::strtoull(text, nullptr, 10);
    const auto budget = std::chrono::seconds(testing::long_run() ? 500 : 10);
    const auto begin = std::chrono::steady_clock::now();
    uint64_t steps = 0, wraps = 0, failures = 0;
    // All capacities from 40 to 300 in turn; every so often ids near the end of their range, some with a stuck message.
    for (uint64_t seed = only != 0 ? only : 1; only == 0 || seed == only; ++seed) {
        if (only == 0 && seed > 261 && std::chrono::steady_clock::now() - begin > budget) break;
        const size_t capacity = 40 + seed % 261;
        const bool high = seed % 7 == 0 && capacity >= 60;
        const uint16_t start = high ? static_cast<uint16_t>(65535 - seed / 7 % 5) : uint16_t{0};
        const uint16_t stuck = high ? static_cast<uint16_t>(seed / 7 % (capacity < 140 ? 2 : 7)) : uint16_t{0};
        CAPTURE(seed);
        try {
            Check check(seed, capacity, start, stuck);
            check.run(1000);
            steps += check.steps;
            wraps += check.wraps;
        } catch (const std::string& failure) {
            FAIL_CHECK("MQTT_SEED=", seed, ", capacity ", capacity, ": ", failure);
            if (++failures >= 5) break;
        }
    }
    if (only != 0) return;
    MESSAGE("steps: ", steps, ", ids stepped over: ", wraps);
    CHECK(wraps != 0);
}
