// The board: start code, and a server that goes through a script, in memory. All of it is one section, so that the linker
// keeps all of it in every image, and it needs nothing of a library. QEMU runs the image that is measured: its exit status
// is 0 if the script came to its end, and it writes how much of main()'s stack was used.
#include "board.h"

// ------------------------------------------------------------------------------------------------------- the script

// What happens, in this order: what is sent and shown is compared byte by byte.
enum kind { opens, server, client, loses, closes, shows, command, clock, end };
struct item {
    enum kind kind;
    uint32_t value;
    const uint16_t* bytes;
};

enum { ANY = 0x100 };                                  // a byte of the client's that may have any value
#define COUNT(...) (sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t))
#define BYTES(...) COUNT(__VA_ARGS__), (const uint16_t[]){__VA_ARGS__}
#define PACKET(type, ...) BYTES(type, COUNT(__VA_ARGS__), ##__VA_ARGS__)   // of less than 128 bytes
#define OPENS {opens, 0, 0}                            // the client opens a connection
#define SERVER(...) {server, PACKET(__VA_ARGS__)}      // the server sends
#define CLIENT(...) {client, PACKET(__VA_ARGS__)}      // the client sends
#define LOSES {loses, 0, 0}                            // the connection breaks, and the client closes it
#define CLOSES {closes, 0, 0}                          // the client closes the connection
#define SHOWS(...) {shows, BYTES(__VA_ARGS__)}         // the application shows
#define COMMAND(number) {command, number, 0}           // the user wants
#define CLOCK(ms) {clock, ms, 0}                       // so much time passes

#define DEVICE 0, 6, 'd', 'e', 'v', 'i', 'c', 'e'
#define TEMPERATURE 'r', 'o', 'o', 'm', '/', 't', 'e', 'm', 'p', 'e', 'r', 'a', 't', 'u', 'r', 'e'
#define READING 1, 2, 3, 4, 5, 6, 7, 8
#define PIECE 5   // so many bytes are read or written at most, unless a script says otherwise

uint8_t board_reading[8] = {READING};

static const struct item script[] = {
#include SCRIPT
    {end, 0, 0},
};

static unsigned at;                        // this item is due ...
static uint32_t offset;                    // ... and so much of it has been done
static uint32_t now, waited;
static uint8_t is_open, opening, reading, writing;   // every other attempt at something does nothing yet

static void finished(void);

static void next(void) {
    offset = waited = 0;
    ++at;
    for (; script[at].kind == clock; ++at) now += script[at].value;
    if (script[at].kind == end) finished();
}

// Compares with what is due, and goes on.
static void compare(const uint8_t* data, uint32_t size, enum kind kind) {
    for (; size != 0; --size, ++data) {
        if (script[at].kind != kind) script_failed("not now");
        const uint16_t due = script[at].bytes[offset];
        if (due != *data && due != ANY) script_failed("another byte is due");
        if (++offset == script[at].value) next();
    }
}

int script_board_open(const char* host, size_t size, uint16_t port) {
    (void)host, (void)size, (void)port;
    if (script[at].kind != opens) script_failed("opens, but not now");
    if ((++opening & 1) != 0) return 0;
    is_open = 1;
    next();
    return 1;
}

int script_board_read(uint8_t* data, size_t size) {
    uint32_t n = 0;
    if (!is_open) script_failed("reads, but is not open");
    if (script[at].kind == loses) return -1;
    if ((++reading & 1) != 0) return 0;
    while (n < size && n < PIECE && script[at].kind == server) {
        data[n++] = (uint8_t)script[at].bytes[offset];
        if (++offset == script[at].value) {
            next();
            break;
        }
    }
    return (int)n;
}

int script_board_write(const uint8_t* data, size_t size) {
    if (!is_open) script_failed("writes, but is not open");
    if (script[at].kind == loses) return -1;
    if ((++writing & 1) != 0) return 0;
    if (size > PIECE) size = PIECE;
    compare(data, size, client);
    return (int)size;
}

void script_board_close(void) {
    if (!is_open) return;
    if (script[at].kind != loses && script[at].kind != closes) script_failed("closes, but not now");
    is_open = 0;
    next();
}

uint32_t script_board_now_ms(void) { return now; }

int script_board_command(void) {
    ++now;
    if (++waited > 100000) script_failed("nothing happens");
    if (script[at].kind != command) return -1;
    const int wanted = (int)script[at].value;
    next();
    return wanted;
}

void script_board_show(const void* memory, size_t size) {
    if (script[at].kind != shows) script_failed("shows, but not now");
    if (size != script[at].value) script_failed("shows more or less");
    compare(memory, size, shows);
}

// ---- storage

static uint8_t flash[board_sectors * board_sector_size];   // its complement, so that it is erased at the start
static uint8_t storing;

int script_board_flash_read(uint32_t address, uint8_t* data, size_t size) {
    for (size_t i = 0; i < size; ++i) data[i] = (uint8_t)~flash[address + i];
    return 1;
}
int script_board_flash_program(uint32_t address, const uint8_t* data, size_t size) {
    if ((++storing & 1) != 0) return 0;
    if (((address | size) & (board_granule - 1)) != 0 || size == 0) script_failed("programs a part of a granule");
    for (size_t i = 0; i < size; ++i) {
        if (flash[address + i] != 0) script_failed("programs what is not erased");
        flash[address + i] = (uint8_t)~data[i];
    }
    return 1;
}
int script_board_flash_erase(uint32_t sector) {
    if ((++storing & 1) != 0) return 0;
    for (size_t i = 0; i < board_sector_size; ++i) flash[sector * board_sector_size + i] = 0;
    return 1;
}
int script_board_store(int what, const void* record, size_t size) {
    (void)record;
    if (what == 'l') return 0;
    if (what == 's' && size == 0) script_failed("saves nothing");
    return ++storing & 1;
}

BOARD_FUNCTION(board_flash_read);
BOARD_FUNCTION(board_flash_program);
BOARD_FUNCTION(board_flash_erase);
BOARD_FUNCTION(board_store);
BOARD_FUNCTION(board_open);
BOARD_FUNCTION(board_read);
BOARD_FUNCTION(board_write);
BOARD_FUNCTION(board_close);
BOARD_FUNCTION(board_now_ms);
BOARD_FUNCTION(board_command);
BOARD_FUNCTION(board_show);

// ------------------------------------------------------------------------------------------------------ the machine

typedef void constructor(void);
extern constructor* const __init_array_start[];
extern constructor* const __init_array_end[];

#ifdef __arm__

enum { stack_words = 1024, paint = 0x5AA5C33C };
static uint32_t stack[stack_words] __attribute__((aligned(8)));

static uint32_t semihosting(uint32_t operation, const void* argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void* r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
static void say(const char* text) { (void)semihosting(0x04, text); }
static void say_number(const char* name, uint32_t number) {   // in hexadecimal: there is no division
    static char digits[] = "=00000000\n";
    say(name);
    for (unsigned i = 0; i < 8; ++i) digits[8 - i] = "0123456789abcdef"[number >> (4 * i) & 15];
    say(digits);
}
static void leave(uint32_t status) {
    const uint32_t exit[2] = {0x20026, status};   // ADP_Stopped_ApplicationExit
    (void)semihosting(0x20, exit);
    for (;;) {}
}

static void finished(void) {
    unsigned untouched = 0;
    while (stack[untouched] == paint) ++untouched;
    if (untouched == 0) script_failed("the stack is too small");
    say_number("painted", 4 * (stack_words - untouched));
    leave(0);
}
void script_failed(const char* why) {
    say(why);
    say_number("\nitem", at);
    say_number("offset", offset);
    leave(1);
}
static void fault(void) {
    say("a fault\n");
    say_number("item", at);
    leave(99);
}

void start(void);
extern uint32_t data_begin[], data_end[], data_values[], bss_begin[], bss_end[], board_stack[];

void start(void) {
    const uint32_t* value = data_values;
    for (uint32_t* to = data_begin; to != data_end; ++to) *to = *value++;
    for (uint32_t* to = bss_begin; to != bss_end; ++to) *(volatile uint32_t*)to = 0;
    for (unsigned i = 0; i < stack_words; ++i) stack[i] = paint;
    for (constructor* const* each = __init_array_start; each != __init_array_end; ++each) (*each)();
    __asm__ volatile("msr psp, %0\nmovs r3, #2\nmsr control, r3\nisb\nbl main\n" : : "r"(stack + stack_words) : "r3");
    leave(2);   // main() has returned
}

__attribute__((section(".vectors"), used)) static const void* const vectors[16] = {
    board_stack, start, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault};

#else   // linked, but not run

static volatile uint32_t reg;
static void finished(void) { reg = at; }
void script_failed(const char* why) { reg = (uint32_t)*why; }
void start(void) {
    for (constructor* const* each = __init_array_start; each != __init_array_end; ++each) (*each)();
    for (;;) reg = (uint32_t)main();
}

#endif
