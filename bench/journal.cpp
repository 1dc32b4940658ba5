// journal [FOLDER]: what storage costs. Rows: bench, case, subject, metric, value, unit.
//   flash   on a model of flash: bytes programmed and erases per record, bytes read by a mount, against the size
//   client  the same per message of the whole client, whose server is in memory: what it saves, and when it compacts
//   files   FileStore in FOLDER (default: the current one; it makes and removes one of its own): records per second,
//           each made durable alone, and many with one sync()
// See also journal.sh.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "mqtt.hpp"
#include "platform/file_store.hpp"
#include "tests/support/flash.hpp"

namespace {

using Clock = std::chrono::steady_clock;

void row(const std::string& what, const std::string& subject, const char* metric, double value, const char* unit) {
    std::printf("journal\t%s\t%s\t%s\t%.6g\t%s\n", what.c_str(), subject.c_str(), metric, value, unit);
    std::fflush(stdout);
}
double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::string name_of(const mqtt::Geometry& geometry) {
    return std::to_string(geometry.sector_count) + " x " + std::to_string(geometry.sector_size) + ", granularity " +
           std::to_string(geometry.granularity) + (geometry.spare != 0 ? ", spare " + std::to_string(geometry.spare) : "");
}

// A QoS 1 message of 64 bytes in all: it is saved, and 3 bytes when it is answered; 10 are in flight at a compaction.
bool flash(const mqtt::Geometry& geometry) {
    test::Chip chip(geometry);
    mqtt::Journal<test::Flash> journal{test::Flash(chip)};
    test::Records records;
    if (test::load_all(journal, records) != 0) return false;
    const std::string publish(64, 'p'), ack(3, 'a');
    const unsigned messages = 20000;
    for (unsigned i = 0; i != messages; ++i)
        for (const std::string& record : {publish, ack}) {
            const int result = test::save(journal, record);
            if (result == mqtt::storage::full) {
                test::Records alive(10, publish);
                alive.push_back(record);
                if (test::compact(journal, alive) != 1) return false;
            } else if (result != 1) {
                return false;
            }
        }
    // Filled up, so that a mount has most to read.
    while (test::save(journal, publish) == 1) {}
    const std::string subject = name_of(geometry);
    row("flash", subject, "programmed per message (64 B, and 3 B for its ack)", double(chip.programmed) / messages, "bytes");
    row("flash", subject, "erases per 1000 messages", double(chip.erases) * 1000 / messages, "erases");
    row("flash", subject, "messages per sector and 10000 erases of it", 1e4 * messages * geometry.sector_count / double(chip.erases), "messages");
    const uint64_t read = chip.read;
    const auto begin = Clock::now();
    mqtt::Journal<test::Flash> next{test::Flash(chip)};
    if (test::load_all(next, records) != 0) return false;
    row("flash", subject, "read by a mount, and all records", double(chip.read - read), "bytes");
    row("flash", subject, "the same, on this machine", seconds_since(begin) * 1e6, "us");
    row("flash", subject, "RAM: sizeof(Journal), pointers of 8 bytes", sizeof(mqtt::Journal<test::Flash>) - sizeof(test::Flash), "bytes");
    return true;
}

// A server that answers each packet, and publishes `to_send` messages like the client's, one at a time; and flash.
struct Port : mqtt::Journal<test::Flash> {
    Port(test::Chip& chip, mqtt::QoS of) : Journal(test::Flash(chip)), qos(of) {}

    int open(std::string_view, uint16_t) { return 1; }
    void close() {}
    uint32_t now_ms() { return 0; }
    int write(const uint8_t* data, size_t size) {
        in.append(reinterpret_cast<const char*>(data), size);
        mqtt::FixedHeader header;
        while (mqtt::read_fixed_header(mqtt::Bytes(in).data(), in.size(), header, mqtt::Version::v3_1_1) == mqtt::Error::ok &&
               header.size != 0 && in.size() >= header.packet_size()) {
            answer(static_cast<uint8_t>(in[0]), in.substr(0, header.packet_size()));
            in.erase(0, header.packet_size());
        }
        return static_cast<int>(size);
    }
    int read(uint8_t* data, size_t size) {
        if (out.empty() && to_send != 0 && done == sent) {
            mqtt::Publish packet;
            packet.topic = topic;
            packet.payload = payload;
            packet.qos = qos;
            packet.packet_id = static_cast<uint16_t>(sent++ % 65535 + 1);
            uint8_t bytes[128];
            out.append(reinterpret_cast<char*>(bytes), mqtt::encode(packet, bytes, mqtt::Version::v3_1_1).size);
            --to_send;
        }
        const size_t n = std::min(size, out.size());
        std::copy_n(out.begin(), n, data);
        out.erase(0, n);
        return static_cast<int>(n);
    }

    static constexpr char topic[] = "sensors/room1/temp";
    static inline const std::string payload = std::string(40, 'x');   // 64 bytes in all
    unsigned to_send = 0, sent = 0, done = 0;
    const mqtt::QoS qos;

private:
    void answer(uint8_t first, const std::string& packet) {
        const auto reply = [&](uint8_t type, const std::string& rest) { out += std::string{static_cast<char>(type), 2} + rest; };
        switch (first & 0xF6) {
        case 0x10: reply(0x20, std::string(2, '\0')); break;
        case 0x32: reply(0x40, packet.substr(2 + 2 + sizeof topic - 1, 2)); break;   // PUBLISH
        case 0x34: reply(0x50, packet.substr(2 + 2 + sizeof topic - 1, 2)); break;
        case 0x62: reply(0x70, packet.substr(2)); break;                             // PUBREL
        case 0x50: reply(0x62, packet.substr(2)); break;                             // PUBREC
        case 0x40:
        case 0x70: ++done; break;
        default: break;
        }
    }
    std::string in, out;
};

// Messages of the client with so many in flight, or to it.
bool client(const mqtt::Geometry& geometry, mqtt::QoS qos, bool publishes) {
    test::Chip chip(geometry);
    Port port(chip, qos);
    uint8_t rx[512], tx[4096];
    mqtt::Client<Port> device(port, {rx, tx});
    mqtt::ConnectOptions options;
    options.client_id = "bench";
    options.clean_session = false;
    if (!device.connect(options).ok()) return false;
    const unsigned messages = 20000;
    uint64_t programmed = 0, erases = 0;
    for (unsigned from = 0, to = messages / 10;; from = to, to = messages + messages / 10) {   // the first ones are not counted
        if (!publishes) port.to_send = to - from;
        unsigned begun = publishes ? from : to, ended = from;
        while (ended != to || !device.stored()) {
            while (begun != to && begun - ended < 10 && device.publish(Port::topic, Port::payload, qos).ok()) ++begun;
            const mqtt::Event event = device.poll();
            if (publishes) ended += event.kind == mqtt::Event::acknowledged;
            else ended = port.done;
            if (event.kind == mqtt::Event::storage_trouble || event.kind == mqtt::Event::disconnected) return false;
        }
        if (from != 0) break;
        programmed = chip.programmed;
        erases = chip.erases;
    }
    const std::string subject = name_of(geometry);
    const std::string what = std::string("client: ") + (publishes ? "publish" : "receive") + " QoS " + std::to_string(static_cast<int>(qos)) + ", 64 B";
    row(what, subject, "programmed per message", double(chip.programmed - programmed) / messages, "bytes");
    row(what, subject, "erases per 1000 messages", double(chip.erases - erases) * 1000 / messages, "erases");
    return true;
}

bool files(const std::string& folder, unsigned at_once, unsigned count) {
    const std::string path = folder + "/journal-bench-" + std::to_string(::getpid());
    bool ok = true;
    double seconds = 0;
    {
        mqtt::posix::FileStore store;
        store.storage_path = path.c_str();
        store.storage_limit = 1U << 30;
        test::Records records;
        ok = test::load_all(store, records) == 0 && test::save(store, "first") == 1 && store.sync() == 1;
        const std::string record(64, 'p');
        const auto begin = Clock::now();
        for (unsigned i = 1; ok && i <= count; ++i)
            ok = test::save(store, record) == 1 && (i % at_once != 0 || store.sync() == 1);
        seconds = seconds_since(begin);
    }
    for (const char* name : {"/log", "/log.new", "/lock"}) (void)::unlink((path + name).c_str());
    (void)::rmdir(path.c_str());
    if (ok) row("files", std::to_string(at_once) + " with one sync()", "records of 64 B", count / seconds, "per second");
    return ok;
}

}  // namespace

int main(int argc, char** argv) {
    std::printf("bench\tcase\tsubject\tmetric\tvalue\tunit\n");
    const std::string folder = argc > 1 ? argv[1] : ".";
    for (const uint32_t granularity : {1U, 8U, 32U})
        if (!flash({4096, 4, granularity})) return 1;
    for (const mqtt::Geometry& geometry : {mqtt::Geometry{2048, 2, 8}, {2048, 8, 8}, {4096, 16, 8}, {4096, 64, 8}, {4096, 256, 8}, {4096, 64, 8, 4}})
        if (!flash(geometry)) return 1;
    for (const mqtt::Geometry& geometry : {mqtt::Geometry{4096, 16, 1}, {4096, 16, 8}, {4096, 16, 32}, {2048, 4, 8}})
        for (const mqtt::QoS qos : {mqtt::QoS::at_least_once, mqtt::QoS::exactly_once})
            for (const bool publishes : {true, false})
                if (!client(geometry, qos, publishes)) {
                    std::fprintf(stderr, "journal: the client failed on %s\n", name_of(geometry).c_str());
                    return 1;
                }
    if (!files(folder, 1, 1000) || !files(folder, 10, 10000) || !files(folder, 100, 50000) || !files(folder, 1000, 200000)) {
        std::fprintf(stderr, "journal: FileStore failed in %s\n", folder.c_str());
        return 1;
    }
    return 0;
}
