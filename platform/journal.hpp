// mqtt::Journal - storage (see storage.hpp) on raw NOR flash, internal or external.
//
// Copyright the mqtt.hpp authors. Distributed under the Boost Software License, Version 1.0 (see LICENSE).
//
// The porter writes four functions, which may be static. > 0: done; 0: not yet, it is called again with the same
// arguments (the bytes perhaps elsewhere in memory); < 0: it did not succeed.
//
//     struct Flash {
//         static constexpr mqtt::Geometry geometry{2048, 4, 8};                // or not static: found at run time
//         int read   (uint32_t address, uint8_t* data, size_t size);           // any address and size; never "not yet"
//         int program(uint32_t address, const uint8_t* data, size_t size);     // both multiples of the granularity
//         int erase  (uint32_t sector);                                        // 0 to sector_count - 1
//     };
//     struct Port : MyTcp, mqtt::Journal<Flash> {};
//
//   address   in bytes from the journal's first sector: sector * sector_size + offset. Nothing crosses a sector.
//   read      What the hardware refuses to read (ECC) may come as any bytes. Never while a program or erase is not done.
//             What a cut has left must read alike each time: a bit that does not is beyond what a journal can do.
//   program   At most the size of a record at once; `data` has any alignment. The bytes were erased before, and are never
//             programmed a second time until they are erased again; within a sector the order is free.
//   erase     Makes all of a sector 0xFF. (Flash that is 0x00 when erased: invert in read and program.)
//
// A port for a microcontroller whose flash is mapped into memory, 4 sectors of 2 KB, 8 bytes at a time:
//
//     struct Flash {
//         static constexpr mqtt::Geometry geometry{2048, 4, 8};
//         static int read(uint32_t address, uint8_t* data, size_t size) {
//             memcpy(data, reinterpret_cast<const void*>(base + address), size);
//             return 1;
//         }
//         static int program(uint32_t address, const uint8_t* data, size_t size) {
//             for (size_t i = 0; i < size; i += 8)
//                 if (!flash_program_doubleword(base + address + i, data + i)) return -1;
//             return 1;
//         }
//         static int erase(uint32_t sector) {
//             if (idle && !erase_begins(base + 2048 * sector)) return -1;
//             ...
//         }
//     };
//
// What it does. No heap, recursion, floating point; no waiting: a call of save(), compact(), commit(), erase_storage()
// calls program or erase at most once. load() only reads: the first call looks at the head of each sector, each
// further one reads one record, the last one the rest of a sector (of flash without a journal, the first call reads all).
//
// How it lies on the flash. Sectors are a ring, and are used in turn, so all of them wear alike. A generation is a run of
// sectors; each begins with two copies of a head, then come records, each begun at a multiple of the granularity:
//
//   head     4 bytes  generation                       4 bytes  where the records of the sector before it end
//            2 bytes  number in the generation; the    4 bytes  CRC-32, begun with the geometry
//                     highest bit: was it committed
//            2 bytes  "mJ"
//   record   see storage.hpp
//
// - A sector is erased right before it is used, even if it looks as if it were: so nothing depends on what an erase that
//   was cut short has left. The one exception is flash that is FF all over, on which there never was a journal.
// - Two copies of the head: one may be damaged. The second is written after the first, records after both.
// - The first sector of a new generation gets its head last: that is commit(). The generation with the highest number
//   whose first sector has a head is the one that counts.
// - A sector tells where the one before it ends: there and before it, what is no record is damage. In the last sector
//   what is no record is where a cut was, if nothing comes after it; else damage.
// - A record that was cut off is not written over. After a reset, the first record that is saved begins a new sector (and
//   so costs an erase), because a program that was cut short may have left bytes that still read as FF, and nothing in the
//   flash can tell. Geometry::resume has another rule.

#ifndef MQTT_PLATFORM_JOURNAL_HPP
#define MQTT_PLATFORM_JOURNAL_HPP


#include <type_traits>

#include "storage.hpp"

namespace mqtt {

// The flash, and what follows from it. All sizes in bytes. valid() tells whether the journal takes it: check it with
// static_assert where it is constant. An image of another sector_size, sector_count or granularity is `foreign`.
struct Geometry {
    // What one erase clears, or a multiple if the erase function erases several: 64 to 2^24, a multiple of granularity.
    // The longest record fits into one sector, so this bounds it.
    uint32_t sector_size = 0;
    // 2 to 32767; at most 2^32 bytes in all. Twice as many: half the wear of each, and fewer compactions.
    uint32_t sector_count = 0;
    // What is programmed at least, and only once: 1, 2, 4, 8, 16 or 32. Each record is filled up to a multiple.
    uint32_t granularity = 1;
    // Sectors that are kept free for the next compaction: what is alive must fit into these. 1 to sector_count / 2;
    // 0, the default: sector_count / 2. Fewer: fewer compactions. May be changed between two resets.
    uint32_t spare = 0;
    // What to do with the last sector after a reset. false: it is left as it is, and the first save() after a reset
    // erases the next one: no granule is ever programmed twice, whatever was cut. true: if nothing but FF follows its
    // last record, it is filled up; for flash that allows programming what reads as FF, even if an earlier attempt to
    // program it was cut short; a reset then costs no erase, which a device that is switched off between two readings
    // needs.
    bool resume = false;

    static constexpr uint32_t longest_granule = 32;

    constexpr uint32_t rounded(uint32_t size) const { return (size + granularity - 1) & ~(granularity - 1); }
    constexpr uint32_t head_size() const { return rounded(16); }                       // one copy of a sector's head
    constexpr uint32_t first_record() const { return 2 * head_size(); }                // where it is in a sector
    constexpr uint32_t spare_sectors() const { return spare != 0 ? spare : sector_count / 2; }

    constexpr bool valid() const {
        return granularity != 0 && granularity <= longest_granule && (granularity & (granularity - 1)) == 0 &&
               sector_size >= 64 && sector_size <= 0x1000000 && sector_size % granularity == 0 &&
               sector_size >= first_record() + rounded(storage::frame_head + 1) && sector_count >= 2 &&
               sector_count <= 32767 && spare <= sector_count / 2 && sector_size <= 0xFFFFFFFF / sector_count;
    }

    // The longest record.
    constexpr uint32_t longest_record() const {
        const uint32_t room = sector_size - first_record() - uint32_t{storage::frame_head};
        return room < storage::longest_record ? room : storage::longest_record;
    }
    // What a record of `size` bytes takes.
    constexpr uint32_t record_size(uint32_t size) const { return rounded(uint32_t{storage::frame_head} + size); }
    // How many records of `size` bytes fit into a sector, at least may be alive at the same time, and fit into a
    // generation before save() answers `full`. For records of mixed sizes: a sector takes less than the longest record of
    // them less than it has room.
    constexpr uint32_t per_sector(uint32_t size) const { return (sector_size - first_record()) / record_size(size); }
    constexpr uint32_t alive(uint32_t size) const { return spare_sectors() * per_sector(size); }
    constexpr uint32_t per_generation(uint32_t size) const { return (sector_count - spare_sectors()) * per_sector(size); }

    // What it costs to save records of `size` bytes of which `live` are alive at each compaction (less than
    // per_generation()), from one compaction to the next. Write amplification is bytes / (saves * size), and each sector
    // is erased erases / (saves * sector_count) times per record.
    struct Cycle {
        uint32_t saves;    // records taken, without those that the compaction saves again
        uint32_t bytes;    // programmed in all
        uint32_t erases;
    };
    constexpr Cycle cycle(uint32_t size, uint32_t live) const {
        const uint32_t records = per_generation(size), sectors = sector_count - spare_sectors();
        return {records - live, records * record_size(size) + sectors * first_record(), sectors};
    }
    // What all calls of load() together read at most, of a journal that is there; and of flash without one.
    constexpr uint32_t mount_bytes() const {
        return sector_count * 4 * 16 + (sector_count - spare_sectors()) * (sector_size + 2 * 16) + uint32_t{storage::frame_head};
    }
    constexpr uint32_t blank_bytes() const { return sector_count * (sector_size + 2 * 16) + sector_size; }
};

namespace storage {
// Is the geometry a constant of the type? Then a wrong one does not compile.
template <class Flash, bool = std::is_pointer_v<decltype(&Flash::geometry)>> struct Checked : std::false_type {};
template <class Flash> struct Checked<Flash, true> : std::true_type {
    static_assert(Flash::geometry.valid(), "Flash::geometry: see the limits at mqtt::Geometry");
};
}  // namespace storage

// 72 bytes, and Flash, if that has members. Nothing is read before load() is called.
template <class Flash> class Journal {
public:
    Flash flash;

    Journal() = default;
    explicit Journal(const Flash& of) : flash(of) {}
    Journal(const Journal&) = delete;
    Journal& operator=(const Journal&) = delete;

    // These five, and erase_storage(), are described in storage.hpp.

    int load(uint8_t* record, size_t size) {
        if (state_ == unmounted) {
            const int result = mount();
            if (result < 0) return result;
        }
        while (state_ == loading) {
            const int result = load_next(record, size);
            if (result != 0) return result;
        }
        return state_ == refused ? refusal() : 0;
    }

    int save(const uint8_t* record, size_t size) {
        if (state_ < appending) return refusal();
        if (size == 0 || size > geometry().longest_record()) return storage::too_large;
        const uint32_t total = geometry().record_size(static_cast<uint32_t>(size));
        if (step_ == filling && total > geometry().sector_size - at_) close_sector();
        if (step_ != filling) return open_sector();
        uint32_t piece = geometry().rounded(storage::frame_head);
        const uint8_t* bytes = buffer_;
        if (done_ == 0) {   // the head, and what of the record is in the same granule: all that is unsure if it is cut
            fill(storage::frame_head, record, size);
            storage::put_frame(buffer_, 0, record, size);
        } else {            // then the middle, as it lies in memory; then the last bytes
            bytes = record + (done_ - storage::frame_head);
            const uint32_t left = static_cast<uint32_t>(size + storage::frame_head - done_);
            piece = left & ~(geometry().granularity - 1);
            if (piece == 0) {
                fill(0, bytes, static_cast<size_t>(left));
                bytes = buffer_;
                piece = geometry().granularity;
            }
        }
        const int result = flash.program(address() + done_, bytes, static_cast<size_t>(piece));
        if (result < 0) close_sector();   // and the next attempt in another one
        if (result <= 0) return sign(result);
        done_ += piece;
        if (done_ < total) return 0;
        at_ += total;
        done_ = 0;
        return 1;
    }

    int sync() { return state_ == appending ? 1 : refusal(); }

    int compact() {
        if (state_ < broken) return refusal();
        if (count_ == 0) {   // the very first: then there is always a head that tells whose flash it is
            const int result = open_sector();
            if (count_ == 0) return result;
        }
        begin_generation();
        return 1;
    }

    int commit() {
        if (state_ != compacting) return refusal();
        if (index_ == 0 && step_ != filling) return open_sector();
        const int result = program_head(0, done_);
        if (result < 0) {   // it may count or not, after a reset; here only another attempt helps
            state_ = broken;
            refusal_ = storage::failed;
        }
        if (result <= 0) return result;
        if (++done_ < 2) return 0;
        first_ = first();
        count_ = step_ == filling ? index_ + 1 : index_;
        done_ = 0;
        state_ = appending;
        return 1;
    }

    int erase_storage() {
        if (state_ == unmounted) {
            const int result = mount();
            if (state_ == unmounted) return result;
        }
        if (!emptying_) begin_generation();
        const int result = commit();
        emptying_ = result == 0;
        return result < 0 ? refuse(result) : result;
    }

private:
    // No member has a name that a socket's port has, so that the two can be bases of one.
    enum State : uint8_t { unmounted, loading, refused, broken, appending, compacting };
    enum Step : uint8_t { erasing, first_head, second_head, filling };   // of the sector index_ of the generation being written
    static constexpr uint16_t was_committed = 0x8000;

    const Geometry& geometry() const { return flash.geometry; }
    static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
    static int sign(int result) { return result < 0 ? int{storage::failed} : result; }
    int refusal() const { return state_ < appending && refusal_ != 0 ? int{refusal_} : int{storage::misused}; }
    int refuse(int why) {
        state_ = refused;
        return refusal_ = static_cast<int8_t>(why);
    }

    // ---- places

    uint32_t wrapped(uint32_t sector) const {
        return sector < geometry().sector_count ? sector : sector - geometry().sector_count;
    }
    // The first sector of the generation that is read or written.
    uint32_t first() const { return state_ == compacting ? wrapped(first_ + count_) : first_; }
    uint32_t sector() const { return wrapped(first() + index_); }
    uint32_t address() const { return sector() * geometry().sector_size + at_; }

    // ---- reading

    bool read_at(uint32_t address, uint8_t* data, uint32_t size) {
        return flash.read(address, data, static_cast<size_t>(size)) >= 0;
    }

    uint32_t head_crc(const uint8_t* head) const {
        const Geometry& g = geometry();
        return storage::crc32(storage::seed(g.sector_size, g.sector_count << 8 ^ g.granularity), head, 12);
    }
    // How many copies of a sector's head are valid; a valid one is in the buffer then. < 0: it cannot be read.
    int read_head(uint32_t sector) {
        int valid = 0;
        for (uint32_t copy = 2; copy-- != 0;) {
            uint8_t head[16];
            if (!read_at(sector * geometry().sector_size + copy * geometry().head_size(), head, sizeof head)) return -1;
            if (storage::get_u32(head + 12) != head_crc(head)) continue;
            // By twos, for of single bytes the compiler makes a memcpy(), which nothing else needs.
            for (unsigned i = 0; i != sizeof head; i += 2) buffer_[i] = head[i], buffer_[i + 1] = head[i + 1];
            ++valid;
        }
        return valid;
    }
    // The fields of the head in the buffer.
    uint32_t head_generation() const { return storage::get_u32(buffer_); }
    uint32_t head_index() const { return storage::get_u32(buffer_ + 4) >> 16 & (was_committed - 1U); }
    bool head_committed() const { return (buffer_[4] & was_committed >> 8) != 0; }

    // Is it erased, from here to the sector's end? < 0: it cannot be read.
    int blank(uint32_t sector, uint32_t from) {
        const uint32_t size = geometry().sector_size;
        while (from < size) {
            const uint32_t piece = least(sizeof buffer_, size - from);
            if (!read_at(sector * size + from, buffer_, piece)) return -1;
            from += piece;
            for (uint32_t i = 0; i != piece; ++i)
                if (buffer_[i] != 0xFF) return 0;
        }
        return 1;
    }

    // Finds the generation that counts.
    int mount() {
        if (!storage::Checked<Flash>::value && !geometry().valid()) return storage::misused;
        const uint32_t sectors = geometry().sector_count;
        uint32_t counts = 0, newest = 0;
        for (uint32_t i = 0; i != sectors; ++i) {
            const int copies = read_head(i);
            if (copies < 0) return storage::failed;
            const uint32_t generation = copies == 0 ? 0 : head_generation();
            if (generation > newest) newest = generation;
            if (generation <= counts || head_index() != 0) continue;
            counts = generation;
            first_ = i;
        }
        generation_ = counts;
        newest_ = newest;
        if (newest == 0) return mount_blank();
        // Its sectors follow one another. What else has its number, or a later one that was committed, has lost a sector.
        bool damaged = counts == 0;
        uint32_t count = 0;
        whole_ = true;
        for (uint32_t i = 0; i != sectors; ++i) {
            const int copies = read_head(wrapped(first_ + i));
            if (copies < 0) return storage::failed;
            const uint32_t generation = copies == 0 ? 0 : head_generation();
            if (generation != 0 && generation == counts && head_index() == i && count == i) {
                ++count;
                if (copies == 1) whole_ = false;
            } else if (generation > counts ? head_committed() : generation == counts && generation != 0) {
                damaged = true;
            }
        }
        count_ = count;
        if (damaged) return refuse(storage::corrupt);
        state_ = loading;
        index_ = 0;
        return begin_reading();
    }
    // No sector has a head: nobody's yet, or somebody else's. The first head of all may have been cut off.
    int mount_blank() {
        for (uint32_t i = 0; i != geometry().sector_count; ++i) {
            const int result = blank(i, i == 0 ? geometry().head_size() : 0);
            if (result < 0) return storage::failed;
            if (result == 0) return refuse(storage::foreign);
        }
        const int result = blank(0, 0);
        if (result < 0) return storage::failed;
        generation_ = newest_ = 1;
        step_ = result > 0 ? first_head : erasing;
        index_ = at_ = 0;
        state_ = appending;
        return 0;
    }

    bool is_last() const { return index_ + 1 == count_; }
    // Of the sector index_: where its records begin and end.
    int begin_reading() {
        end_ = geometry().sector_size;
        if (!is_last()) {
            if (read_head(wrapped(sector() + 1)) < 0) return storage::failed;
            end_ = storage::get_u32(buffer_ + 8);
            if (end_ > geometry().sector_size || end_ < geometry().first_record()) return refuse(storage::corrupt);
        }
        at_ = geometry().first_record();
        return 1;
    }
    // > 0: the size of a record; 0: nothing here, look again at state_.
    int load_next(uint8_t* record, size_t size) {
        if (!is_last() && at_ == end_) {
            ++index_;
            const int result = begin_reading();
            if (result < 0 && state_ != refused) --index_;
            return result < 0 ? result : 0;
        }
        uint8_t head[storage::frame_head];
        const uint32_t place = address();
        uint32_t length = 0, extent = geometry().rounded(storage::frame_head);
        if (end_ - at_ >= extent) {
            if (!read_at(place, head, sizeof head)) return storage::failed;
            if (storage::get_frame_size(head, length) && length != 0 && length <= geometry().longest_record() &&
                geometry().record_size(length) <= end_ - at_) {
                extent = geometry().record_size(length);
                uint32_t crc = storage::crc32(0, head, 4);
                for (uint32_t i = 0; i != length;) {   // too long for the caller? then it may still be no record at all
                    const uint32_t piece = least(sizeof buffer_, length - i);
                    uint8_t* const to = length <= size ? record + i : buffer_;
                    if (!read_at(place + uint32_t{storage::frame_head} + i, to, piece)) return storage::failed;
                    crc = storage::crc32(crc, to, static_cast<size_t>(piece));
                    i += piece;
                }
                if (crc == storage::get_u32(head + 4)) {
                    if (length > size) return storage::too_large;
                    at_ += extent;
                    return static_cast<int>(length);
                }
            }
        } else {
            extent = 0;
        }
        // No record. Nothing is behind what a cut leaves: the rest of the head or of the record was not programmed yet.
        if (!is_last()) return refuse(storage::corrupt);
        const int after = blank(sector(), at_ + extent);
        if (after < 0) return storage::failed;
        if (after == 0) return refuse(storage::corrupt);
        const int all = geometry().resume && whole_ ? blank(sector(), at_) : 0;
        if (all < 0) return storage::failed;
        state_ = appending;
        step_ = filling;
        if (all == 0) close_sector();
        return 0;
    }

    // ---- writing

    void begin_generation() {
        state_ = compacting;
        generation_ = ++newest_;
        index_ = at_ = done_ = 0;
        step_ = erasing;
    }
    void close_sector() {   // what follows goes into the next one
        ++index_;
        done_ = 0;
        step_ = erasing;
    }
    // The buffer, from `from` on: bytes, and FF.
    void fill(size_t from, const uint8_t* bytes, size_t size) {
        for (size_t i = 0; i != sizeof buffer_ - from; ++i) buffer_[from + i] = i < size ? bytes[i] : uint8_t{0xFF};
    }
    // Of this sector of the generation.
    int program_head(uint32_t index, uint32_t copy) {
        fill(0, buffer_, 0);
        storage::put_u32(buffer_, generation_);
        const bool committed = state_ == appending || index == 0;
        storage::put_u32(buffer_ + 4, (index | (committed ? was_committed : 0U)) << 16 | uint32_t{'m'} << 8 | 'J');
        storage::put_u32(buffer_ + 8, index != 0 ? end_ : 0);
        storage::put_u32(buffer_ + 12, head_crc(buffer_));
        const uint32_t size = geometry().head_size();
        const uint32_t place = wrapped(first() + index) * geometry().sector_size + copy * size;
        return sign(flash.program(place, buffer_, static_cast<size_t>(size)));
    }
    // One step towards an open sector; 0: call again.
    int open_sector() {
        if (step_ == erasing) {
            const uint32_t spare = geometry().spare_sectors(), unused = geometry().sector_count - count_;
            if (index_ >= (state_ == appending ? geometry().sector_count - spare : least(spare, unused))) return storage::full;
            if (index_ != 0 && at_ != 0) end_ = at_;
            const int result = flash.erase(sector());
            if (result <= 0) return sign(result);
            at_ = 0;
            step_ = first_head;
            if (state_ == compacting && index_ == 0) sector_is_open();   // its head is commit()'s
            return 0;
        }
        const int result = program_head(index_, step_ == first_head ? 0 : 1);
        if (result < 0) {
            step_ = erasing;
            return result;
        }
        if (result == 0) return 0;
        step_ = step_ == first_head ? second_head : filling;
        if (step_ == filling) sector_is_open();
        return 0;
    }
    void sector_is_open() {
        step_ = filling;
        at_ = geometry().first_record();
        if (state_ == appending) count_ = index_ + 1;
    }

    // The small ones first: on a Cortex-M0 that is 60 bytes of code less.
    State state_ = unmounted;
    Step step_ = erasing;
    bool whole_ = false;        // all sectors of the generation have both copies of their heads
    bool emptying_ = false;
    int8_t refusal_ = 0;        // what is answered before `appending`; 0: misused
    uint32_t generation_ = 0;   // that is read or written
    uint32_t newest_ = 0;       // the highest number in any head
    uint32_t first_ = 0, count_ = 0;   // the sectors of the generation that counts
    uint32_t index_ = 0;        // of the sector that is read or written, in its generation
    uint32_t at_ = 0;           // where in it
    uint32_t end_ = 0;          // reading: where the sector's records end; writing: where those of the one before it end
    uint32_t done_ = 0;         // bytes of the record, or copies of the head, that are programmed
    uint8_t buffer_[Geometry::longest_granule] = {};
};

}  // namespace mqtt

#endif  // MQTT_PLATFORM_JOURNAL_HPP
