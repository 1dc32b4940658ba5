/* The compiler and the machine, for lwIP: hosted. A failed assertion ends the test. */
#ifndef TESTS_FIRMWARE_ARCH_CC_H
#define TESTS_FIRMWARE_ARCH_CC_H

#include <stdio.h>
#include <stdlib.h>

#define LWIP_RAND() lwip_test_random()
#define LWIP_PLATFORM_DIAG(x) do { printf x; } while (0)
#define LWIP_PLATFORM_ASSERT(x) do { fprintf(stderr, "lwIP: %s (%s:%d)\n", x, __FILE__, __LINE__); abort(); } while (0)

#endif
