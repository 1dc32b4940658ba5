// mbedTLS splits a time into date and hour with gmtime(), which takes memory from the C library's heap: there is none.
#include <stdint.h>
#include <time.h>

struct tm* mbedtls_platform_gmtime_r(const int64_t* time, struct tm* parts);
struct tm* mbedtls_platform_gmtime_r(const int64_t* time, struct tm* parts) {
    const time_t seconds = (time_t)*time;
    return gmtime_r(&seconds, parts);
}
