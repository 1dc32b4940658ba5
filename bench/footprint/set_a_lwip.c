// What lwIP's own client can do of set A: as set_a.cpp, but each connection begins a new session and ends without
// DISCONNECT, and it is the application that connects again. It is linked with and without lwIP's mqtt.c.
#include "board.h"
#include "lwip/apps/mqtt.h"
#include "lwip/apps/mqtt_priv.h"

static mqtt_client_t client;
static uint8_t is_connected, is_lost;

const char size_of_client[sizeof client] = {0};   // of which rx_buffer and output.buf are 384; our client is lent them

static void on_done(void* argument, err_t error) { (void)argument, (void)error; }
static void on_topic(void* argument, const char* topic, u32_t size) {
    size_t n = 0;
    while (topic[n] != 0) ++n;
    (void)argument, (void)size;
    board_show(topic, n);
}
static void on_payload(void* argument, const u8_t* data, u16_t size, u8_t flags) {
    (void)argument, (void)flags;
    board_show(data, size);
}
static void on_connection(mqtt_client_t* of, void* argument, mqtt_connection_status_t status) {
    (void)argument;
    is_connected = status == MQTT_CONNECT_ACCEPTED;
    is_lost = !is_connected;
    if (is_connected) (void)mqtt_subscribe(of, "room/#", 2, on_done, NULL);
}

static __attribute__((noinline)) void begin(void) {
    static const struct mqtt_connect_client_info_t options = {
        .client_id = "device", .client_user = "user", .client_pass = "secret", .keep_alive = 60,
        .will_topic = "room/status", .will_msg = "gone", .will_qos = 1, .will_retain = 1};
    static const ip_addr_t broker = {0};
    is_lost = 0;
    (void)mqtt_client_connect(&client, &broker, 1883, on_connection, NULL, &options);
    mqtt_set_inpub_callback(&client, on_topic, on_payload, NULL);
}

static __attribute__((noinline)) void step(void) {
    board_tcp();
    if (is_lost) begin();
    const int command = board_command();
    switch (command) {
    case 0:
    case 1:
    case 2:
        (void)mqtt_publish(&client, "room/temperature", board_reading, sizeof board_reading, (u8_t)command, 0, on_done, NULL);
        break;
    case 3: (void)mqtt_unsubscribe(&client, "room/#", on_done, NULL); break;
    case 4: mqtt_disconnect(&client); break;
    default: break;
    }
}

int main(void) {
    begin();
    for (;;) step();
}
