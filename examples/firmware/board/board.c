#include "board.h"

#include <string.h>

#include "semihosting.h"

// ---- registers: Arm's "AN385 Application Note" and "Cortex-M System Design Kit" for the UART, ARMv7-M for SysTick

#define UART_DATA     BOARD_REGISTER(0x40004000)
#define UART_STATE    BOARD_REGISTER(0x40004004)
#define UART_CONTROL  BOARD_REGISTER(0x40004008)
#define UART_DIVIDER  BOARD_REGISTER(0x40004010)
#define SYST_CONTROL  BOARD_REGISTER(0xE000E010)
#define SYST_RELOAD   BOARD_REGISTER(0xE000E014)
#define SYST_CURRENT  BOARD_REGISTER(0xE000E018)

enum {
    clock_hz = 25000000,
    uart_tx_full = 1, uart_rx_full = 2,          // UART_STATE
    uart_tx_enable = 1, uart_rx_enable = 2,      // UART_CONTROL
    systick_enable = 1, systick_interrupt = 2, systick_cpu_clock = 4,
};

// ---- the clock

static volatile uint32_t now_ms;

void systick_handler(void);   // in the vector table
void systick_handler(void) { now_ms = now_ms + 1; }

uint32_t board_now_ms(void) { return now_ms; }

uint32_t board_random(void) {
    static uint32_t state = 2463534242u;
    state ^= SYST_CURRENT ^ now_ms << 24;
    if (state == 0) state = 1;
    state ^= state << 13;   // xorshift32
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

void board_init(void) {
    UART_DIVIDER = clock_hz / 115200;   // before it is enabled
    UART_CONTROL = uart_tx_enable | uart_rx_enable;
    SYST_RELOAD = clock_hz / 1000 - 1;
    SYST_CURRENT = 0;
    SYST_CONTROL = systick_enable | systick_interrupt | systick_cpu_clock;
}

// ---- the serial line

void board_write(const char* data, size_t size) {
    for (size_t i = 0; i < size; ++i) {
        while ((UART_STATE & uart_tx_full) != 0) {}
        UART_DATA = (uint8_t)data[i];
    }
}

void board_print(const char* text) { board_write(text, strlen(text)); }

int board_read(void) { return (UART_STATE & uart_rx_full) != 0 ? (int)(UART_DATA & 0xFF) : -1; }

// ---- what semihosting gives

const char* board_argument(unsigned index) {
    static char line[256];
    static const char* words[16];
    static unsigned count;
    if (count == 0) {
        const struct { char* data; uint32_t size; } request = {line, sizeof line};
        if (semihosting(sys_get_cmdline, &request) != 0) line[0] = 0;
        for (char* c = line; *c != 0 && count < sizeof words / sizeof *words;) {
            words[count++] = c;
            while (*c != 0 && *c != ' ') ++c;
            if (*c == ' ') *c++ = 0;
        }
    }
    return index < count ? words[index] : NULL;
}

int board_read_file(const char* path, void* data, size_t size) {
    const struct { const char* path; uint32_t mode, length; } file = {path, read_binary, strlen(path)};
    const uint32_t handle = semihosting(sys_open, &file);
    if (handle == UINT32_MAX) return -1;
    const struct { uint32_t handle; void* data; uint32_t size; } part = {handle, data, size};
    const uint32_t left = semihosting(sys_read, &part);   // what was not read
    (void)semihosting(sys_close, &handle);
    return left > size ? -1 : (int)(size - left);
}

int64_t board_time(int64_t* out) {
    const int64_t now = semihosting(sys_time, NULL);      // 32 bits without a sign: until 2106
    if (out != NULL) *out = now;
    return now;
}

void board_exit(int code) {
    const struct { uint32_t reason, code; } request = {application_exit, (uint32_t)code};
    (void)semihosting(sys_exit_extended, &request);
    for (;;) {}
}

void board_fail(const char* text) {
    board_print("assertion failed: ");
    board_print(text);
    board_print("\n");
    board_exit(98);
}
