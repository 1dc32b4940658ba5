// Semihosting, by which the machine that QEMU runs on serves the board: Arm's "Semihosting for AArch32 and AArch64".
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>

enum {
    sys_open = 0x01, sys_close = 0x02, sys_write = 0x05, sys_read = 0x06, sys_seek = 0x0A, sys_flen = 0x0C, sys_time = 0x11,
    sys_get_cmdline = 0x15, sys_exit_extended = 0x20,
    read_binary = 1, update_binary = 3, create_binary = 7,   // sys_open: "rb", "r+b", "w+b"
    application_exit = 0x20026,
};

static inline uint32_t semihosting(uint32_t operation, const void* argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void* r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

#endif
