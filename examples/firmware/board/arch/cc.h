// What lwIP wants to know about the compiler and the board.
#ifndef LWIP_ARCH_CC_H
#define LWIP_ARCH_CC_H

#include "board.h"

#define LWIP_NO_UNISTD_H 1
#define LWIP_RAND() board_random()
#define LWIP_PLATFORM_DIAG(message)
#define LWIP_PLATFORM_ASSERT(text) board_fail(text)   // LWIP_NOASSERT leaves them out: 9 KB

#endif
