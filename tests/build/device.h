// The hardware that tests/build/everything.cpp and tests/build/start.c pretend to have.
#ifndef MQTT_TESTS_DEVICE_H
#define MQTT_TESTS_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Volatile registers, so that no compiler foresees what is read.
extern volatile uint8_t device_in, device_out;
extern volatile uint32_t device_clock;

int use_everything(const uint8_t* in, size_t in_size, uint8_t* out, size_t out_size);

#ifdef __cplusplus
}
#endif

#endif
