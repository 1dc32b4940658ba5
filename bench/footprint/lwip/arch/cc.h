// As in a release: assertions are off, so that their texts are not counted.
#define LWIP_NOASSERT
#define LWIP_NO_UNISTD_H 1
#define LWIP_PLATFORM_ASSERT(text) ((void)(text))
