// Random numbers for mbedTLS in QEMU, whose board has no source of them. UNFIT FOR USE in anything else: they come from
// the machine that QEMU runs on, through semihosting. Nowhere else is there anybody to ask; so this then fails, and TLS
// with it, rather than make up keys that can be guessed. It says so on the serial line before it gives the first one.
#include "board.h"

#if !defined(BOARD_IS_EMULATED)
#error "emulated_entropy_unfit_for_use.c is for QEMU: a product needs mbedtls_hardware_poll() of its own generator"
#endif

// As mbedtls/entropy_poll.h has it. 0, or MBEDTLS_ERR_ENTROPY_SOURCE_FAILED.
int mbedtls_hardware_poll(void* context, unsigned char* out, size_t size, size_t* written);
int mbedtls_hardware_poll(void* context, unsigned char* out, size_t size, size_t* written) {
    static int told;
    (void)context;
    if (!told) board_print("random numbers: those of the emulator's host, UNFIT FOR USE in a product\n");
    told = 1;
    *written = 0;
    if (board_read_file("/dev/urandom", out, size) != (int)size) return -0x003C;
    *written = size;
    return 0;
}
