// The board: Arm's MPS2 with a Cortex-M3 (AN385), as QEMU emulates it (-M mps2-an385). Startup, clock, serial line, and
// what semihosting gives: arguments, files, the time, and an exit code. To move to another board, rewrite this folder.
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BOARD_REGISTER(address) (*(volatile uint32_t*)(uintptr_t)(address))

// Starts the clock and the serial line. Call it first.
void board_init(void);

// Milliseconds since board_init(); wraps around at 2^32.
uint32_t board_now_ms(void);

// Entropy for TCP's ports and MQTT's back-off, from how long things took. Not for keys: see
// emulated_entropy_unfit_for_use.c.
uint32_t board_random(void);

// Writes to the serial line, and waits until it has taken everything.
void board_write(const char* data, size_t size);
void board_print(const char* text);
// The next byte that came in on the serial line; -1: none.
int board_read(void);

// The words that QEMU was given as -semihosting-config arg=..., the program's name at 0. NULL: there are not so many.
const char* board_argument(unsigned index);
// Reads the beginning of a file of the machine that QEMU runs on, at most `size` bytes. How many; -1: it cannot be opened.
int board_read_file(const char* path, void* data, size_t size);
// Seconds since 1970, of that machine's clock; also into `out`, if it is not null.
int64_t board_time(int64_t* out);
// Ends the program; QEMU exits with this code. A product would reset here.
__attribute__((noreturn)) void board_exit(int code);
// For broken assertions: prints where, and exits with 98. Hardware faults (startup.c) exit with 99.
__attribute__((noreturn)) void board_fail(const char* text);

// How much of the stack has been used since the start, in bytes: startup.c has painted it.
size_t board_stack_used(void);

int main(void);

#ifdef __cplusplus
}
#endif

#endif
