// From reset to main(), and what happens on a fault.
#include "board.h"

#include <string.h>

// From mps2.ld.
extern uint32_t stack_guard[], stack_bottom[], stack_top[];
extern uint8_t data_begin[], data_end[], data_in_flash[], bss_begin[], bss_end[];
typedef void function(void);
extern function* const constructors_begin[];
extern function* const constructors_end[];

enum { paint = 0x57ACC0DE };

size_t board_stack_used(void) {
    const uint32_t* word = stack_bottom;
    while (*word == paint && word < stack_top) ++word;
    return (size_t)(stack_top - word) * sizeof *word;
}

// A store below the stack is a fault then, and not the end of some variable. ARMv7-M: the memory protection unit.
static void guard_stack(void) {
    BOARD_REGISTER(0xE000ED98) = 0;                                  // region 0
    BOARD_REGISTER(0xE000ED9C) = (uint32_t)(uintptr_t)stack_guard;
    BOARD_REGISTER(0xE000EDA0) = 7 << 1 | 1;                         // 2^(7 + 1) bytes, no access, on
    BOARD_REGISTER(0xE000ED94) = 1 << 2 | 1;                         // everything else as without it; on
}

void reset_handler(void);
void reset_handler(void) {
    for (uint32_t* word = stack_bottom; word < (uint32_t*)__builtin_frame_address(0) - 8; ++word) *word = paint;
    memcpy(data_begin, data_in_flash, (size_t)(data_end - data_begin));
    memset(bss_begin, 0, (size_t)(bss_end - bss_begin));
    for (function* const* each = constructors_begin; each != constructors_end; ++each) (*each)();
    guard_stack();
    board_exit(main());
}

// What C++ calls for each global that has a destructor. Firmware ends with a reset: nothing is ever destroyed.
int __aeabi_atexit(void* object, void (*destroy)(void*), void* module);
int __aeabi_atexit(void* object, void (*destroy)(void*), void* module) { return (void)object, (void)destroy, (void)module, 0; }
void* __dso_handle;

// ---- faults

static void print_register(const char* name, uint32_t value) {
    board_print(name);
    for (int shift = 28; shift >= 0; shift -= 4) board_write(&"0123456789abcdef"[value >> shift & 15], 1);
}

// `frame`: what the processor has pushed: r0-r3, r12, lr, pc, xpsr.
__attribute__((noreturn, used)) static void on_fault(const uint32_t* frame) {
    print_register("fault: CFSR ", BOARD_REGISTER(0xE000ED28));
    print_register(" HFSR ", BOARD_REGISTER(0xE000ED2C));
    print_register(" MMFAR ", BOARD_REGISTER(0xE000ED34));
    print_register(" BFAR ", BOARD_REGISTER(0xE000ED38));
    // After a stack overflow there is no frame to read.
    const int framed = frame >= stack_bottom && frame + 8 <= stack_top;
    print_register(" pc ", framed ? frame[6] : 0);
    print_register(" lr ", framed ? frame[5] : 0);
    board_print("\n");
    board_exit(99);
}

__attribute__((naked)) static void fault_handler(void) {
    __asm__ volatile("mrs r0, msp\n"
                     "ldr r1, =stack_bottom + 256\n"   // what on_fault() needs
                     "cmp r0, r1\n"
                     "itt lo\n"
                     "ldrlo r1, =stack_top\n"
                     "msrlo msp, r1\n"
                     "b on_fault\n");
}

// ---- the vector table

void systick_handler(void);    // board.c
void ethernet_handler(void);   // lan9118.c

__attribute__((section(".vectors"), used)) static const struct {
    void* stack;
    function* handlers[15 + 14];
} vectors = {
    stack_top,
    {
        reset_handler,
        fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,   // NMI, hard, memory, bus, usage
        0, 0, 0, 0,
        fault_handler, fault_handler, 0, fault_handler,                              // SVCall, debug, -, PendSV
        systick_handler,
        fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
        fault_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,   // interrupts 0 to 12
        ethernet_handler,                                                            // 13
    },
};
