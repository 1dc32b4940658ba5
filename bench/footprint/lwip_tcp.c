// More of the board: what lwIP's client calls of lwIP, over the script. So TCP is not counted, but is there.
#include "board.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"

const ip_addr_t ip_addr_any = {0};

static struct tcp_pcb connection = {.snd_buf = 200};
static uint8_t connecting, connected;
static uint16_t unsent;                    // written, but not told as sent
static sys_timeout_handler timer;
static void* timer_argument;
static uint32_t timer_at;

// Calls back(a, b, c, d), a function of the client's, on main()'s stack.
static void (*back)(void) __attribute__((used));
#ifdef __arm__
__asm__(".thumb\n.syntax unified\n.type call_back, %function\n.thumb_func\ncall_back:\n"
        "push {r4, lr}\nldr r4, 1f\nldr r4, [r4]\nmov ip, r3\nmovs r3, #2\nmsr control, r3\nisb\nmov r3, ip\nblx r4\n"
        "movs r3, #0\nmsr control, r3\nisb\npop {r4, pc}\n.align 2\n1: .word back\n.size call_back, . - call_back");
#else
__asm__("call_back:");
#endif
int call_back(void* a, void* b, void* c, int d);
#define CALL(function, a, b, c, d) (back = (void (*)(void))(function), (void)call_back(a, b, c, d))

void script_board_tcp(void) {
    if (connecting && script_board_open("", 0, 0) > 0) {
        connecting = 0;
        connected = 1;
        CALL(connection.connected, connection.callback_arg, &connection, NULL, ERR_OK);
    }
    if (timer != NULL && (int32_t)(script_board_now_ms() - timer_at) >= 0) {
        const sys_timeout_handler due = timer;
        timer = NULL;
        CALL(due, timer_argument, NULL, NULL, 0);
    }
    if (!connected) return;
    if (unsent != 0) {
        const int size = unsent;
        unsent = 0;
        CALL(connection.sent, connection.callback_arg, &connection, (void*)size, 0);
    }
    CALL(connection.poll, connection.callback_arg, &connection, NULL, 0);
    static uint8_t data[64];
    const int n = script_board_read(data, sizeof data);
    if (n < 0) {
        CALL(connection.recv, connection.callback_arg, &connection, NULL, ERR_OK);
    } else if (n > 0) {
        static struct pbuf in;
        in.payload = data;
        in.len = in.tot_len = (u16_t)n;
        CALL(connection.recv, connection.callback_arg, &connection, &in, ERR_OK);
    }
}

struct tcp_pcb* script_tcp_new_ip_type(u8_t type) { return (void)type, &connection; }
void script_tcp_arg(struct tcp_pcb* pcb, void* argument) { pcb->callback_arg = argument; }
err_t script_tcp_bind(struct tcp_pcb* pcb, const ip_addr_t* address, u16_t port) {
    return (void)pcb, (void)address, (void)port, ERR_OK;
}
err_t script_tcp_connect(struct tcp_pcb* pcb, const ip_addr_t* address, u16_t port, tcp_connected_fn function) {
    (void)address, (void)port;
    pcb->connected = function;
    connecting = 1;
    return ERR_OK;
}
void script_tcp_err(struct tcp_pcb* pcb, tcp_err_fn function) { pcb->errf = function; }
void script_tcp_recv(struct tcp_pcb* pcb, tcp_recv_fn function) { pcb->recv = function; }
void script_tcp_sent(struct tcp_pcb* pcb, tcp_sent_fn function) { pcb->sent = function; }
void script_tcp_poll(struct tcp_pcb* pcb, tcp_poll_fn function, u8_t interval) {
    (void)interval;
    pcb->poll = function;
}
void script_tcp_recved(struct tcp_pcb* pcb, u16_t size) { (void)pcb, (void)size; }
err_t script_tcp_write(struct tcp_pcb* pcb, const void* data, u16_t size, u8_t flags) {
    (void)pcb, (void)flags;
    for (u16_t written = 0; written < size;) {
        const int n = script_board_write((const uint8_t*)data + written, (size_t)(size - written));
        if (n < 0) return ERR_CONN;
        written = (u16_t)(written + n);
    }
    unsent = (u16_t)(unsent + size);
    return ERR_OK;
}
err_t script_tcp_output(struct tcp_pcb* pcb) { return (void)pcb, ERR_OK; }
err_t script_tcp_close(struct tcp_pcb* pcb) {
    (void)pcb;
    script_board_close();
    connected = 0;
    unsent = 0;
    return ERR_OK;
}
void script_tcp_abort(struct tcp_pcb* pcb) { (void)script_tcp_close(pcb); }

// One timer, and its next time is counted from when it was due.
void script_sys_timeout(u32_t ms, sys_timeout_handler handler, void* argument) {
    if (timer_at == 0) timer_at = script_board_now_ms();
    timer_at += ms;
    timer = handler;
    timer_argument = argument;
}
void script_sys_untimeout(sys_timeout_handler handler, void* argument) {
    (void)handler, (void)argument;
    timer = NULL;
    timer_at = 0;
}

u8_t script_pbuf_free(struct pbuf* p) { return (void)p, 1; }
u8_t script_pbuf_get_at(const struct pbuf* p, u16_t at) { return ((const u8_t*)p->payload)[at]; }
u16_t script_pbuf_copy_partial(const struct pbuf* p, void* to, u16_t size, u16_t from) {
    for (u16_t i = 0; i < size; ++i) ((u8_t*)to)[i] = ((const u8_t*)p->payload)[from + i];
    return size;
}

BOARD_FUNCTION(board_tcp);
BOARD_FUNCTION(tcp_new_ip_type);
BOARD_FUNCTION(tcp_arg);
BOARD_FUNCTION(tcp_bind);
BOARD_FUNCTION(tcp_connect);
BOARD_FUNCTION(tcp_err);
BOARD_FUNCTION(tcp_recv);
BOARD_FUNCTION(tcp_sent);
BOARD_FUNCTION(tcp_poll);
BOARD_FUNCTION(tcp_recved);
BOARD_FUNCTION(tcp_write);
BOARD_FUNCTION(tcp_output);
BOARD_FUNCTION(tcp_close);
BOARD_FUNCTION(tcp_abort);
BOARD_FUNCTION(sys_timeout);
BOARD_FUNCTION(sys_untimeout);
BOARD_FUNCTION(pbuf_free);
BOARD_FUNCTION(pbuf_get_at);
BOARD_FUNCTION(pbuf_copy_partial);
