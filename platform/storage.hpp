// Storage: what keeps a session over resets and power cuts. The contract, and what its implementations share.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
// A store is a log of records, opaque bytes, in generations. A port has these functions beside socket and clock, all
// or none of them. mqtt::Journal (journal.hpp) gives them on raw flash, mqtt::posix::FileStore (file_store.hpp) on
// files; both are mix-ins: `struct Port : mqtt::posix::Tcp, mqtt::posix::FileStore {};`.
//
//     int load   (uint8_t* record, size_t size);
//     int save   (const uint8_t* record, size_t size);
//     int sync   ();
//     int compact();
//     int commit ();
//
// Each returns > 0: done; 0: not yet, call again with the same arguments (load: the end); < 0: one of storage::Error.
// Each call does a bounded amount of work. A call that has answered 0 is repeated until it answers something else; in
// between only compact() may be called, which gives up what is not finished. The bytes of a record may lie elsewhere when
// the call is repeated, but are the same.
//
//   load     After a reset, until it returns 0: the next record in the order of saving; returns its size. It changes
//            nothing in the store. What it has given is durable. `size`: room at `record`; a longer record is `too_large`,
//            and comes again with the next call, which may have more room. The bytes at `record` are overwritten in any
//            case. All other functions are `misused` before load() has returned 0, so that a store is never written
//            by somebody who has not read it.
//   save     Appends one record of 1 byte to the store's maximum (0 or more than that: `too_large`). > 0: it is taken.
//            After a power cut it is there whole, or not at all, with everything that was taken before it.
//            `full`: not taken; a compaction makes room, and is the only thing that does.
//   sync     > 0: all that was taken is durable now: it survives a power cut at any moment from here on. One sync() for
//            many records is what group commit is: on files it costs one fsync, on flash nothing.
//   compact  Begins a new, empty generation; the following records go there. Whoever calls it saves again, in as many
//            records as it likes, everything that is still needed. Until commit() the old generation is what
//            load() would give: of a record that is saved in between, nothing is durable, and sync() is `misused`.
//            Calling it once more drops what the new generation had and begins again. There is no way back to appending
//            to the old one, save a reset.
//   commit   > 0: from here on the new generation counts, it is durable, and records may be appended to it. The change is
//            atomic: a cut before that leaves the old generation whole, or already the new one whole, never a mixture.
//
// And outside of the port's contract, for the application:
//
//     int erase_storage();   // empties the store, atomically as commit() does; also one that is corrupt or foreign.
//                            // If it fails, repeat it: until it succeeds, or a reset, there is no store
//
// After < 0. `failed` (a program, an erase, a write did not succeed) and `full` lose nothing that is durable; the call may
// be repeated, and if that does not help, a compaction may, which begins elsewhere. `corrupt` and `foreign` are told by
// load(): nothing is given any more, nothing is written, and every call answers the same, until the application calls
// erase_storage(), or puts an image right.
//
// Damage. What a power cut leaves behind is recognised and dropped: it is at most what was not durable. Any other
// change of a single byte (bit rot) is either without effect or `corrupt`, with one exception that is in the nature of
// a log: what was saved last, where nothing after it proves that it was ever complete, counts as cut off and is dropped.
// On flash that is one record; in files it is what one sync() made durable, and only if the power was cut before
// the mark behind it came to the disk. Records before or after a damaged one are never dropped silently.

#ifndef MQTT_PLATFORM_STORAGE_HPP
#define MQTT_PLATFORM_STORAGE_HPP

#include <stddef.h>
#include <stdint.h>

namespace mqtt {
namespace storage {

enum Error : int {
    failed = -1,       // the medium: an operation did not succeed. Nothing durable is lost
    full = -2,         // no room: compact. In a compaction: what is needed is more than the store holds
    corrupt = -3,      // it is one of ours, and damaged in a way that no power cut explains
    foreign = -4,      // something else is there, or a store of another geometry or version
    too_large = -5,    // load: a record longer than `size`; save: an empty record, or one longer than the maximum
    locked = -6,       // another process has it
    misused = -7,      // the order of calls is wrong, or the geometry or path is not valid
};

// In English, for logs; never null.
inline const char* to_string(int result) {
    switch (result) {
    case failed:    return "the medium failed";
    case full:      return "the store is full";
    case corrupt:   return "the store is damaged";
    case foreign:   return "not a store of this kind and geometry";
    case too_large: return "the record is empty or too large";
    case locked:    return "another process uses the store";
    case misused:   return "storage: wrong order of calls, or invalid settings";
    default:        return "ok";
    }
}

// ---- how a record lies on the medium
//
//   3 bytes  size of the record, big-endian     4 bytes  CRC-32 of the four bytes before it and of the record, begun with
//   1 byte   check: their XOR, and 0xA5                  a seed: in files, it says where the record belongs
//   n bytes  the record
//
// The check finds a size that was damaged, so that nobody looks for the next record in the wrong place. Neither erased
// flash (FF) nor a hole in a file (00) is a frame.

inline constexpr size_t frame_head = 8;
inline constexpr uint32_t longest_record = sizeof(int) < 4 ? 0x7FFF : 0xFFFFFF;   // load() returns the size as an int

inline void put_u32(uint8_t* to, uint32_t value) {
    for (int i = 4; i-- != 0; value >>= 8) to[i] = static_cast<uint8_t>(value);
}
inline uint32_t get_u32(const uint8_t* from) {
    uint32_t value = 0;
    for (int i = 0; i != 4; ++i) value = value << 8 | from[i];
    return value;
}

// CRC-32 (IEEE 802.3), bit by bit, which is small: `crc` is the seed, or what the bytes before came to.
inline uint32_t crc32(uint32_t crc, const uint8_t* data, size_t size) {
    crc = ~crc;
    for (; size != 0; --size) {
        crc ^= *data++;
        for (int bit = 0; bit != 8; ++bit) crc = crc >> 1 ^ (0xEDB88320U & (0U - (crc & 1)));
    }
    return ~crc;
}

// Of two numbers that say what something belongs to.
inline constexpr uint32_t seed(uint32_t one, uint32_t other) { return one * 0x9E3779B1U ^ other; }

inline void put_frame(uint8_t* head, uint32_t seed, const uint8_t* record, size_t size) {
    put_u32(head, static_cast<uint32_t>(size) << 8);
    head[3] = static_cast<uint8_t>(head[0] ^ head[1] ^ head[2] ^ 0xA5);
    put_u32(head + 4, crc32(crc32(seed, head, 4), record, size));
}
// False: this is no head of a frame, so its size means nothing.
inline bool get_frame_size(const uint8_t* head, uint32_t& size) {
    size = get_u32(head) >> 8;
    return (head[0] ^ head[1] ^ head[2] ^ head[3]) == 0xA5;
}

}  // namespace storage
}  // namespace mqtt

#endif  // MQTT_PLATFORM_STORAGE_HPP
