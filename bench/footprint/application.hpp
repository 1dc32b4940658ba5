// What the applications share. Each is linked twice: with the client, and with WITHOUT_CLIENT against declarations of it
// whose definitions are nowhere, so that a call goes to address 0. What the first image has more is the price of the
// client: the application's own code, its strings, its options and what it does with an event, is in both, and what the
// compiler inlines of the library into it is counted.
#include "board.h"
#include "mqtt.hpp"

#if FOOTPRINT_STORE == 2   // the session is kept on flash
#include "platform/journal.hpp"

struct Flash {
    static constexpr mqtt::Geometry geometry{board_sector_size, board_sectors, board_granule};
    static int read(uint32_t address, uint8_t* data, size_t size) { return board_flash_read(address, data, size); }
    static int program(uint32_t address, const uint8_t* data, size_t size) { return board_flash_program(address, data, size); }
    static int erase(uint32_t sector) { return board_flash_erase(sector); }
};
using Store = mqtt::Journal<Flash>;
#elif FOOTPRINT_STORE == 1   // it is given to the board
struct Store {
    int load(uint8_t* record, size_t size) { return board_store('l', record, size); }
    int save(const uint8_t* record, size_t size) { return board_store('s', record, size); }
    int sync() { return board_store('d', nullptr, 0); }
    int compact() { return board_store('c', nullptr, 0); }
    int commit() { return board_store('e', nullptr, 0); }
};
#else
struct Store {};
#endif

struct Port : Store {
    int open(std::string_view host, uint16_t port) { return board_open(host.data(), host.size(), port); }
    int read(uint8_t* data, size_t size) { return board_read(data, size); }
    int write(const uint8_t* data, size_t size) { return board_write(data, size); }
    void close() { board_close(); }
    uint32_t now_ms() { return board_now_ms(); }
};

#ifdef WITHOUT_CLIENT
namespace nothing {
using namespace mqtt;

template <class Port> struct Client {
    Client(Port& port, const Buffers& buffers);
    Result connect(const ConnectOptions& options);
    Result disconnect();
    Event poll();
    Result publish(std::string_view topic, Bytes payload, QoS qos);
    Result subscribe(std::string_view filter, QoS qos);
    Result unsubscribe(std::string_view filter);
#ifdef FOOTPRINT_VERSION
    Result publish(std::string_view topic, Bytes payload, QoS qos, Retain retain, Properties properties);
#endif
};
#ifdef FOOTPRINT_VERSION
struct Properties : mqtt::Properties {
    Properties(const mqtt::Properties& properties) : mqtt::Properties(properties) {}
    template <class Key> Optional<typename Key::Type> get(Key key) const;
};
template <size_t N> struct PropertyBuffer {
    template <class Key> void add(Key key, typename Key::Type value);
    operator mqtt::Properties() const { return {data, size}; }
    uint8_t data[N];
    size_t size;
};
#endif
template <class Packet> Error decode(Bytes in, Packet& packet);
template <class Packet> Encoded encode(const Packet& packet, Buffer out);
}  // namespace nothing
namespace library = nothing;
#else
namespace library = mqtt;
#endif

// Its size, where nm finds it, is what the client takes of RAM, besides the buffers that it is lent; and the journal, if
// there is one.
#define FOOTPRINT_OF_CLIENT(Client)                                                                                    \
    extern "C" const char size_of_client[sizeof(Client) + (std::is_empty_v<Store> ? 0 : sizeof(Store))] = {}
