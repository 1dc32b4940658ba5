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

int board_command(void);                             // what the user wants
void board_show(const void* memory, size_t size);    // to the user
extern uint8_t board_reading[8];                     // of a sensor

int main(void);

#ifdef __cplusplus
}
#endif

#endif
