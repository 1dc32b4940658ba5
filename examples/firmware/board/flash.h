// NOR flash for data, on which platform/journal.hpp keeps the session. The emulated board has none, so it is a file of the
// machine that QEMU runs on, which outlives QEMU as flash outlives a power cut.
#ifndef FLASH_H
#define FLASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { flash_sector_size = 4096, flash_sectors = 8, flash_granule = 8, flash_erase_ms = 20 };

// Chooses the file, and makes it, as erased flash, if it is not there. Ends the program if that cannot be.
void flash_open(const char* path);

// As mqtt::Journal wants them: > 0 done, 0 not yet. What flash does not allow ends the program: to program what is not
// erased, or to read while an erase takes its flash_erase_ms. Where QEMU is killed, some granules of what was being
// programmed are there and others not, and a sector is erased in part.
int flash_read(uint32_t address, uint8_t* data, size_t size);
int flash_program(uint32_t address, const uint8_t* data, size_t size);
int flash_erase(uint32_t sector);

#ifdef __cplusplus
}
#endif

#endif
