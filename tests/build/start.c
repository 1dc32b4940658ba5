// All that a program of mqtt.hpp is given in the link without libraries: the entry, and these six functions.
#include "tests/build/device.h"

volatile uint8_t device_in, device_out;
volatile uint32_t device_clock;

void* memcpy(void* to, const void* from, size_t size) {
    for (size_t i = 0; i < size; ++i) ((char*)to)[i] = ((const char*)from)[i];
    return to;
}
void* memmove(void* to, const void* from, size_t size) {
    if ((uintptr_t)to < (uintptr_t)from) return memcpy(to, from, size);
    for (size_t i = size; i-- != 0;) ((char*)to)[i] = ((const char*)from)[i];
    return to;
}
void* memset(void* to, int byte, size_t size) {
    for (size_t i = 0; i < size; ++i) ((char*)to)[i] = (char)byte;
    return to;
}
int memcmp(const void* left, const void* right, size_t size) {
    for (size_t i = 0; i < size; ++i) {
        const int difference = ((const unsigned char*)left)[i] - ((const unsigned char*)right)[i];
        if (difference != 0) return difference;
    }
    return 0;
}
void* memchr(const void* memory, int byte, size_t size) {
    for (size_t i = 0; i < size; ++i)
        if (((const unsigned char*)memory)[i] == (unsigned char)byte) return (char*)(uintptr_t)memory + i;
    return 0;
}
size_t strlen(const char* text) {
    size_t size = 0;
    while (text[size] != 0) ++size;
    return size;
}

void _start(void) {
    uint8_t in[64], out[64];
    for (size_t i = 0; i < sizeof in; ++i) in[i] = device_in;
    device_out = (uint8_t)use_everything(in, sizeof in, out, sizeof out);
    for (;;) device_out = out[device_in % sizeof out];
}
