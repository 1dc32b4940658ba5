#include "flash.h"

#include <stdbool.h>
#include <string.h>

#include "board.h"
#include "semihosting.h"

enum { none = UINT32_MAX };

static uint32_t file;
static uint32_t erasing = none, erase_began_ms;   // the sector
static uint32_t erased = none;                    // the last one, as long as nothing else was done

static void transfer(uint32_t operation, uint32_t address, void* data, size_t size) {
    const struct { uint32_t file, position; } place = {file, address};
    const struct { uint32_t file; void* data; uint32_t size; } part = {file, data, size};
    // 0: nothing was left undone
    if (semihosting(sys_seek, &place) != 0 || semihosting(operation, &part) != 0) board_fail("flash: its file failed");
}

// Some bytes of a sector become FF.
static void blank(uint32_t sector, uint32_t from, uint32_t to) {
    uint8_t piece[256];
    memset(piece, 0xFF, sizeof piece);
    for (; from < to; from += sizeof piece) transfer(sys_write, sector * flash_sector_size + from, piece, sizeof piece);
}

void flash_open(const char* path) {
    if (path == NULL) board_fail("flash: no file");
    struct { const char* path; uint32_t mode, length; } request = {path, update_binary, strlen(path)};
    file = semihosting(sys_open, &request);
    if (file == none) {
        request.mode = create_binary;
        file = semihosting(sys_open, &request);
    }
    if (file == none) board_fail("flash: its file cannot be opened");
    // One that is too short was cut while it was made: nothing is in it yet.
    if (semihosting(sys_flen, &file) == flash_sectors * flash_sector_size) return;
    for (uint32_t sector = 0; sector < flash_sectors; ++sector) blank(sector, 0, flash_sector_size);
}

int flash_read(uint32_t address, uint8_t* data, size_t size) {
    if (erasing != none) board_fail("flash: read while it erases");
    transfer(sys_read, address, data, size);
    return 1;
}

// In the first half of the time the first half of the sector is erased.
static bool busy(void) {
    if (erasing == none) return false;
    if (board_now_ms() - erase_began_ms < flash_erase_ms) return true;
    blank(erasing, flash_sector_size / 2, flash_sector_size);
    erased = erasing;
    erasing = none;
    return false;
}

int flash_program(uint32_t address, const uint8_t* data, size_t size) {
    if (busy()) return 0;
    erased = none;
    for (; size != 0; address += flash_granule, data += flash_granule, size -= flash_granule) {
        uint8_t granule[flash_granule], all = 0xFF;
        transfer(sys_read, address, granule, sizeof granule);
        for (size_t i = 0; i < sizeof granule; ++i) all &= granule[i];
        if (all != 0xFF) board_fail("flash: programmed twice");
        memcpy(granule, data, sizeof granule);
        transfer(sys_write, address, granule, sizeof granule);
    }
    return 1;
}

int flash_erase(uint32_t sector) {
    if (busy()) return 0;
    if (erased == sector) return 1;
    erasing = sector;
    erase_began_ms = board_now_ms();
    blank(sector, 0, flash_sector_size / 2);
    return 0;
}
