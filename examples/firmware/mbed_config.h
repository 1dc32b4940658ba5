// mbedTLS's configuration (2.28): a client of TLS 1.2 with ECDHE and AES-GCM, and certificates with RSA or P-256 and P-384.
// The sizes of its buffers are the Makefile's CONTENT.
#ifndef MBED_CONFIG_H
#define MBED_CONFIG_H

#include "board.h"

// ---- what it is given by us

// All memory from one static array: mbedtls_memory_buffer_alloc_init(). There is no other heap.
#define MBEDTLS_PLATFORM_C
#define MBEDTLS_PLATFORM_MEMORY
#define MBEDTLS_PLATFORM_NO_STD_FUNCTIONS            // not calloc(), in the first place
#define MBEDTLS_MEMORY_BUFFER_ALLOC_C
#define MBEDTLS_MEMORY_DEBUG                         // counts what is in use
#define MBEDTLS_PLATFORM_FPRINTF_MACRO(...) ((void)0) // and what else that would print
#define MBEDTLS_PLATFORM_EXIT_MACRO(code) board_fail("mbedTLS's memory is damaged")

// The time, so that certificates that are not valid yet, or no longer, are refused. A product must know it, too: from a
// clock with a battery, or asked of a server before it connects. Without (leave out these five) nobody looks at dates: a
// key that was stolen is then good for ever.
#define MBEDTLS_HAVE_TIME
#define MBEDTLS_HAVE_TIME_DATE
#define MBEDTLS_PLATFORM_TIME_TYPE_MACRO int64_t
#define MBEDTLS_PLATFORM_TIME_MACRO board_time
#define MBEDTLS_PLATFORM_GMTIME_R_ALT                // mbed_time.c

// Random numbers come from mbedtls_hardware_poll(), which is the board's. A product has a generator in hardware. What is
// there for QEMU is unfit for use, and does nothing without it: board/emulated_entropy_unfit_for_use.c.
#define MBEDTLS_NO_PLATFORM_ENTROPY
#define MBEDTLS_ENTROPY_HARDWARE_ALT
#define MBEDTLS_ENTROPY_C
#define MBEDTLS_CTR_DRBG_C

// ---- TLS

#define MBEDTLS_SSL_TLS_C
#define MBEDTLS_SSL_CLI_C
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_SSL_SERVER_NAME_INDICATION
#define MBEDTLS_SSL_MAX_FRAGMENT_LENGTH
#define MBEDTLS_SSL_SESSION_TICKETS                  // 0.6 KB, and a reconnect without public-key operations
#define MBEDTLS_SSL_EXTENDED_MASTER_SECRET
#define MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_RSA_ENABLED
// not MBEDTLS_SSL_KEEP_PEER_CERTIFICATE: 1 to 2 KB of RAM as long as there is a session

// ---- certificates

#define MBEDTLS_X509_USE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_X509_CRL_PARSE_C                     // platform/mbedtls.hpp knows of them
#define MBEDTLS_X509_CHECK_KEY_USAGE
#define MBEDTLS_X509_CHECK_EXTENDED_KEY_USAGE
#define MBEDTLS_PK_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_OID_C
#define MBEDTLS_ASN1_PARSE_C
#define MBEDTLS_ASN1_WRITE_C

// ---- arithmetic and ciphers; where there is a choice, the smaller code

#define MBEDTLS_HAVE_ASM
#define MBEDTLS_BIGNUM_C
#define MBEDTLS_MPI_MAX_SIZE 512                     // RSA keys of up to 4096 bits
#define MBEDTLS_RSA_C
#define MBEDTLS_PKCS1_V15
#define MBEDTLS_PKCS1_V21
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_DP_SECP384R1_ENABLED
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECP_WINDOW_SIZE 4                    // less memory than 6, and about as fast
#define MBEDTLS_ECP_FIXED_POINT_OPTIM 0              // the same
#define MBEDTLS_ECDH_C
#define MBEDTLS_ECDSA_C
#define MBEDTLS_CIPHER_C
#define MBEDTLS_AES_C
#define MBEDTLS_AES_ROM_TABLES
#define MBEDTLS_AES_FEWER_TABLES
#define MBEDTLS_GCM_C
#define MBEDTLS_MD_C
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA256_SMALLER
#define MBEDTLS_SHA512_C                             // SHA-384
#define MBEDTLS_SHA512_SMALLER

#include "mbedtls/check_config.h"

#endif
