// scale [--only TEXT] [--quick]: what a message costs in the whole client, against the number in flight, the sizes of rx
// and tx, the length of the topic, the order of acknowledgements. Instructions, if run by callgrind (see bench/run.py),
// else nanoseconds.
//
// The port is memory, and the server behind it answers at once. What both do is not counted in instructions (but for some
// ten at each call of read() and write(), to say so); it is in the times.
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/measure.hpp"
#include "mqtt.hpp"

namespace {

using mqtt::Bytes;
using mqtt::Event;
using mqtt::QoS;
using mqtt::Version;

enum class Order { oldest_first, newest_first, random };

// What a case differs in from the ordinary one.
struct Load {
    Version version = Version::v3_1_1;
    QoS qos = QoS::at_least_once;
    size_t in_flight = 1;      // publishing: how many the server leaves unanswered
    size_t burst = 1;          // publishing: messages between two polls, answers in one read; 0: as many as fit
    Order order = Order::oldest_first;
    size_t topic = 18;
    size_t payload = 16;
    size_t rx = 1024;
    size_t tx = 0;             // 0: a quarter of slack
    bool one_by_one = false;   // receiving: one message in each read
};

struct Port {
    explicit Port(const Load& l) : load(l) {
        mqtt::Publish packet;
        const std::string name(load.topic, 't'), payload(load.payload, 'x');
        packet.topic = name;
        packet.payload = payload;
        packet.qos = load.qos;
        packet.packet_id = 1;
        message.resize(load.topic + load.payload + 16);
        message.resize(mqtt::encode(packet, {message.data(), message.size()}, load.version).size);
        id_at = message.size() - load.payload - (load.version == Version::v5 ? 1 : 0) - 2;
    }

    int open(std::string_view, uint16_t) { return 1; }
    void close() {}
    uint32_t now_ms() { return 0; }

    int write(const uint8_t* data, size_t size) {
        const bench::NotCounted pause;
        ++writes;
        if (load.qos != QoS::at_most_once && publishing)
            for (size_t at = 0; at < size; at += message.size()) unanswered.push_back(mqtt::load_u16(data + at + id_at));
        return static_cast<int>(size);
    }
    int read(uint8_t* data, size_t size) {
        const bench::NotCounted pause;
        return static_cast<int>(!connected ? connack(data) : publishing ? answer(data, size) : feed(data, size));
    }

    size_t connack(uint8_t* data) {
        if (writes == 0) return 0;
        constexpr uint8_t packet[] = {0x20, 3, 0, 0, 0};   // 5: a Receive Maximum of 65,535 is the default
        const size_t size = load.version == Version::v5 ? 5 : 4;
        memcpy(data, packet, size);
        data[1] = static_cast<uint8_t>(size - 2);
        connected = true;
        return size;
    }

    size_t answer(uint8_t* data, size_t size) {
        size_t n = 0;
        if (unanswered.size() - first < load.in_flight) return 0;
        for (size_t i = 0; i < load.burst && n + 4 <= size && first != unanswered.size(); ++i, n += 4) {
            uint16_t id = unanswered[first];
            if (load.order == Order::oldest_first) {
                ++first;
            } else {
                seed = seed * 1664525 + 1013904223;
                const size_t count = unanswered.size() - first;
                uint16_t& chosen = unanswered[first + (load.order == Order::random ? (seed >> 8) % count : count - 1)];
                id = chosen;
                chosen = unanswered.back();
                unanswered.pop_back();
            }
            data[n] = 0x40;
            data[n + 1] = 2;
            mqtt::store_u16(data + n + 2, id);
        }
        if (first > 100000) {
            unanswered.erase(unanswered.begin(), unanswered.begin() + static_cast<std::ptrdiff_t>(first));
            first = 0;
        }
        return n;
    }

    // The same message again and again, cut where the room ends.
    size_t feed(uint8_t* data, size_t size) {
        if (load.one_by_one && size > message.size()) size = message.size();
        if (stream.size() < size + message.size())
            while (stream.size() < size + message.size()) stream.insert(stream.end(), message.begin(), message.end());
        memcpy(data, stream.data() + at_message, size);
        at_message = (at_message + size) % message.size();
        return size;
    }

    const Load load;
    bool connected = false, publishing = false;
    std::vector<uint8_t> message, stream;
    size_t at_message = 0, id_at = 0;
    std::vector<uint16_t> unanswered;   // from `first` on
    size_t first = 0;
    uint32_t seed = 1;
    unsigned long writes = 0;
};

class Session {
public:
    explicit Session(const Load& load)
        : load_(load), topic_(load.topic, 't'), payload_(load.payload, 'x'), port_(load), rx_(load.rx),
          tx_(load.tx != 0 ? load.tx : mqtt::tx_size(load.in_flight + load.burst, load.topic + load.payload) * 4 / 3),
          client_(port_, {{rx_.data(), rx_.size()}, {tx_.data(), tx_.size()}}) {
        options_.version = load.version;
        options_.client_id = "bench";
        options_.in_flight_maximum = 65535;
    }

    bool connect() {
        if (!client_.connect(options_).ok()) return false;
        Event event;
        while (event.kind == Event::none) event = client_.poll();
        return event.kind == Event::connected;
    }

    // QoS 0, a burst between two flushes.
    bool publish(unsigned long count) {
        while (count != 0) {
            const unsigned long burst = load_.burst == 0 || load_.burst > count ? count : load_.burst;
            unsigned long done = 0;
            while (done < burst && client_.publish(topic_, payload_, QoS::at_most_once).ok()) ++done;
            if (done == 0 || (load_.burst != 0 && done != burst)) return false;
            client_.flush();
            count -= done;
        }
        return true;
    }

    // QoS 1, with as many as the load says in flight, each until it is acknowledged.
    bool publish_and_wait(unsigned long count) {
        port_.publishing = true;
        while (count != 0) {
            for (; unanswered_ < load_.in_flight; ++unanswered_)
                if (!client_.publish(topic_, payload_, QoS::at_least_once).ok()) return false;
            for (size_t i = 0; i < load_.burst; ++i) {
                if (client_.poll().kind != Event::acknowledged) return false;
                --unanswered_, --count;
                if (count == 0) break;
            }
        }
        return true;
    }

    bool receive(unsigned long count) {
        while (count != 0) {
            const Event event = client_.poll();
            if (event.kind == Event::none || (load_.qos == QoS::exactly_once && event.kind == Event::pubrel)) continue;
            if (event.kind != Event::received || event.message.payload.size() != load_.payload) return false;
            --count;
        }
        return true;
    }

private:
    const Load load_;
    const std::string topic_, payload_;
    Port port_;
    std::vector<uint8_t> rx_, tx_;
    mqtt::Client<Port> client_;
    mqtt::ConnectOptions options_;
    size_t unanswered_ = 0;
};

std::vector<bench::Case> cases;

using Work = bool (Session::*)(unsigned long);

void add(const std::string& name, const Load& load, Work work) {
    const auto session = std::make_shared<std::unique_ptr<Session>>();   // takes memory only once it is its turn
    unsigned long period = 1;
    if (work == &Session::publish_and_wait)   // many times round tx
        period = static_cast<unsigned long>(load.in_flight < 125 ? 1000 : 8 * load.in_flight);
    if (work == &Session::receive) period = static_cast<unsigned long>(load.rx < 32768 ? 1000 : load.rx / 16);
    if (work == &Session::publish) period = 2000;
    const bool heavy = period > 100000 || load.topic > 1024 || (load.version == Version::v5 && period > 10000) ||
                       load.order == Order::newest_first || (load.order == Order::random && load.in_flight > 1000);
    const std::string version = load.version == Version::v5 ? ", 5" : ", 3.1.1";
    cases.push_back({name + version, "mqtt.hpp", [=](unsigned long count) {
        if (*session == nullptr) {
            *session = std::make_unique<Session>(load);
            if (!(*session)->connect()) return false;
        }
        return ((**session).*work)(count);
    }, period, heavy});
}

std::string bytes(size_t size) {
    if (size >= 1024 && size % 1024 == 0) return std::to_string(size / 1024) + " KB";
    return std::to_string(size) + " B";
}

void add_cases(Version version) {
    Load load;
    load.version = version;

    load.qos = QoS::at_most_once;
    add("publish QoS 0, each written at once", load, &Session::publish);
    load.burst = 20;
    add("publish QoS 0, 20 in one write", load, &Session::publish);
    load.burst = 0;
    load.tx = 65536;
    add("publish QoS 0, 64 KB in one write", load, &Session::publish);
    load.burst = 1;
    load.tx = 0;

    load.qos = QoS::at_least_once;
    for (const size_t count : {1UL, 10UL, 100UL, 1000UL, 10000UL, 65535UL}) {
        load.in_flight = count;
        add("publish QoS 1 and its ack, in flight " + std::to_string(count), load, &Session::publish_and_wait);
    }
    for (const size_t count : {100UL, 1000UL, 10000UL}) {
        load.in_flight = count;
        const std::string in_flight = ", in flight " + std::to_string(count);
        load.order = Order::random;
        add("publish QoS 1 and its ack, in random order" + in_flight, load, &Session::publish_and_wait);
        load.order = Order::newest_first;
        add("publish QoS 1 and its ack, newest first" + in_flight, load, &Session::publish_and_wait);
    }
    load.order = Order::oldest_first;
    load.in_flight = load.burst = 20;
    add("publish QoS 1 and its ack, 20 in one write", load, &Session::publish_and_wait);
    load.in_flight = load.burst = 1;
    for (size_t size = 256; size <= 1048576; size *= 4) {
        load.tx = size;
        add("publish QoS 1 and its ack, tx " + bytes(size), load, &Session::publish_and_wait);
    }
    load.tx = 0;

    for (const QoS qos : {QoS::at_most_once, QoS::at_least_once}) {
        load.qos = qos;
        const std::string name = "receive QoS " + std::to_string(static_cast<int>(qos));
        for (size_t size = 256; size <= 1048576; size *= 4) {
            load.rx = size;
            add(name + ", rx " + bytes(size), load, &Session::receive);
        }
        load.rx = 1024;
        load.one_by_one = true;
        add(name + ", one in each read", load, &Session::receive);
        load.one_by_one = false;
    }

    for (const size_t size : {4UL, 16UL, 64UL, 256UL, 1024UL, 4096UL}) {
        load.topic = size;
        load.rx = 16384;
        load.qos = QoS::at_least_once;
        add("publish QoS 1 and its ack, topic " + bytes(size), load, &Session::publish_and_wait);
        load.qos = QoS::at_most_once;
        add("receive QoS 0, topic " + bytes(size), load, &Session::receive);
    }
}

}  // namespace

int main(int argc, char** argv) {
    add_cases(Version::v3_1_1);
    add_cases(Version::v5);
    return bench::run("scale", std::move(cases), argc, argv);
}
