// The hardware and the network that the applications of bench/footprint pretend to have; board.c is in each image, whole.
#ifndef MQTT_BENCH_BOARD_H
#define MQTT_BENCH_BOARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

int board_open(const char* host, size_t size, uint16_t port);
int board_read(uint8_t* data, size_t size);
int board_write(const uint8_t* data, size_t size);
void board_close(void);
uint32_t board_now_ms(void);

int board_command(void);                             // what the user wants; < 0: nothing
void board_show(const void* memory, size_t size);    // to the user
extern uint8_t board_reading[8];                     // of a sensor

// Flash; and a place for records. Every other attempt at something does nothing yet.
enum { board_sector_size = 1024, board_sectors = 4, board_granule = 4 };
int board_flash_read(uint32_t address, uint8_t* data, size_t size);
int board_flash_program(uint32_t address, const uint8_t* data, size_t size);
int board_flash_erase(uint32_t sector);
int board_store(int what, const void* record, size_t size);   // what: load, save, sync (d), compact, commit (e)

void board_tcp(void);                                // the rest of lwIP, for its own client: calls it back

int main(void);

// How the board is called. Its functions have a stack of their own, so that what is seen of the other one, on which main()
// runs, is the application's and the client's alone: BOARD_FUNCTION(f) defines f, which calls script_f there. What is passed
// and returned are registers: up to four words, and one.
#ifdef __arm__
#define BOARD_FUNCTION(name)                                                                                           \
    __asm__(".thumb\n.syntax unified\n.global " #name "\n.type " #name ", %function\n.thumb_func\n" #name ":\n"        \
            "mov ip, r3\nmovs r3, #0\nmsr control, r3\nisb\nmov r3, ip\npush {r4, lr}\nbl script_" #name "\n"         \
            "pop {r2, r3}\nmov lr, r3\nmovs r3, #2\nmsr control, r3\nisb\nbx lr\n"                                     \
            ".size " #name ", . - " #name)
#else
#define BOARD_FUNCTION(name) __asm__(".global " #name "\n.set " #name ", script_" #name)
#endif

// What board.c tells another part of the board, in lwip_tcp.c.
void script_failed(const char* why);
int script_board_open(const char* host, size_t size, uint16_t port);
int script_board_read(uint8_t* data, size_t size);
int script_board_write(const uint8_t* data, size_t size);
void script_board_close(void);
uint32_t script_board_now_ms(void);

#ifdef __cplusplus
}
#endif

#endif
