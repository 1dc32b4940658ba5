// What the journal takes of a microcontroller's flash and RAM: this program, linked with the journal, and with a store that
// does nothing (-DWITHOUT_JOURNAL). The flash's driver is in both. See journal.sh.
#include "platform/journal.hpp"

extern "C" {
int flash_read(uint32_t address, uint8_t* data, size_t size);
int flash_program(uint32_t address, const uint8_t* data, size_t size);
int flash_erase(uint32_t sector);
int storage_of_nothing(const void* record, size_t size);
extern volatile size_t received;
}

namespace {

struct Flash {
    static constexpr mqtt::Geometry geometry{2048, 4, 8};
    static int read(uint32_t address, uint8_t* data, size_t size) { return flash_read(address, data, size); }
    static int program(uint32_t address, const uint8_t* data, size_t size) { return flash_program(address, data, size); }
    static int erase(uint32_t sector) { return flash_erase(sector); }
};

#ifdef WITHOUT_JOURNAL
struct Store {
    static int load(uint8_t* record, size_t size) { return storage_of_nothing(record, size); }
    static int save(const uint8_t* record, size_t size) { return storage_of_nothing(record, size); }
    static int sync() { return storage_of_nothing(nullptr, 0); }
    static int compact() { return storage_of_nothing(nullptr, 1); }
    static int commit() { return storage_of_nothing(nullptr, 2); }
    static int erase_storage() {
        uint8_t byte;
        return Flash::read(0, &byte, 1) + Flash::program(0, &byte, 1) + Flash::erase(0);
    }
};
#else
using Store = mqtt::Journal<Flash>;
#endif
Store store;
uint8_t record[256];

}  // namespace

extern "C" int main() {
    int sum = 0;
    while (store.load(record, sizeof record) > 0) ++sum;
    while (store.save(record, received) == 0) {}
    while (store.sync() == 0) {}
    while (store.compact() == 0) {}
    while (store.commit() == 0) {}
    while (store.erase_storage() == 0) {}
    return sum;
}
extern "C" const char size_of_store[sizeof(Store)] = {};
