// Start code and stubs. All of it is one section, so that the linker keeps all of it in every image.
#include "board.h"

static volatile uint32_t reg;

int board_open(const char* host, size_t size, uint16_t port) { return reg = *host + size + port, (int)reg; }
int board_read(uint8_t* data, size_t size) { return *data = (uint8_t)reg, (int)(reg & size); }
int board_write(const uint8_t* data, size_t size) { return reg = *data, (int)(reg & size); }
void board_close(void) { reg = 0; }
uint32_t board_now_ms(void) { return reg; }
int board_command(void) { return (int)reg; }
void board_show(const void* memory, size_t size) { reg = *(const uint8_t*)memory + size; }
uint8_t board_reading[8] = {1};

typedef void constructor(void);
extern constructor* const __init_array_start[];
extern constructor* const __init_array_end[];

void _start(void) {
    for (constructor* const* each = __init_array_start; each != __init_array_end; ++each) (*each)();
    for (;;) reg = (uint32_t)main();
}
