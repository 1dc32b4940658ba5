// A thermostat: publishes what it measures, is told the temperature it should keep, and says when it is gone.
//
//   thermostat/temperature   published each second, QoS 1             "19.25"
//   thermostat/heating       published when it changes, QoS 1, kept   "on", "off"
//   thermostat/setpoint      published when it changes, QoS 1, kept   "21.00"
//   thermostat/status        published, QoS 1, kept                   "online"; "offline" (also as its will)
//   thermostat/set           subscribed to, QoS 2                     "22.5": the temperature to keep, 5 to 30 degrees
//   thermostat/stop          subscribed to, QoS 2                     anything: says goodbye, and main() returns
//   thermostat/reading       with a journal: each second, QoS 2       "1795889331 19.25": seconds since 1970, temperature
//
// With a journal (see port.hpp) readings are taken without a network or a broker, too, and survive resets and power cuts: all
// arrive, in order and once, as long as there is room; then the oldest make place.
//
// Arguments (semihosting): the broker's address and port; with TLS a file with the CA of its certificate; with a journal
// the file that is its flash. Without a network, or a broker, it goes on heating.
#include "board.h"

#define MQTT_ENABLE_V5 0   // 3.1.1 is enough here; MQTT 5 would be twice the code
#include "mqtt.hpp"
#include "network.h"
#include "port.hpp"

namespace {

// ---- text and numbers, without a printf

using Text = std::string_view;

void print(Text text) { board_write(text.data(), text.size()); }

// A number as text; with two decimals it is in hundredths.
class Number {
public:
    explicit Number(uint32_t value, int decimals = 0) {
        for (int digits = 0; digits <= decimals || value != 0; ++digits, value /= 10) {
            if (digits != 0 && digits == decimals) text_[--begin_] = '.';
            text_[--begin_] = char('0' + value % 10);
        }
    }
    operator Text() const { return {text_ + begin_, sizeof text_ - begin_}; }

private:
    char text_[12];
    size_t begin_ = sizeof text_;
};

// "21", "21.5" or "21.50". False: it is something else, or outside of 5 to 30 degrees.
bool parse(Text text, uint32_t& hundredths) {
    uint32_t value = 0;
    int decimals = -1;
    for (const char c : text) {
        if (c == '.' && decimals < 0 && value != 0) {
            decimals = 0;
        } else if (c >= '0' && c <= '9' && value < 10000 && decimals < 2) {
            value = value * 10 + uint32_t(c - '0');
            decimals += decimals >= 0;
        } else {
            return false;
        }
    }
    if (decimals < 1) value *= 100;
    if (decimals == 1) value *= 10;
    if (decimals == 0 || value < 500 || value > 3000) return false;
    return hundredths = value, true;
}

uint16_t parse_port(const char* text) {
    uint32_t value = 0;
    while (*text >= '0' && *text <= '9') value = value * 10 + uint32_t(*text++ - '0');
    return uint16_t(value);
}

// ---- the control: what would be here without a network, too

struct Thermostat {
    uint32_t temperature = 2100, setpoint = 2000;   // in hundredths of a degree
    bool heating = false;

    // Once a second. The room is simulated: a sensor would be read here, and a relay switched.
    void step() {
        temperature = heating ? temperature + 60 : temperature - 10;
        if (temperature < setpoint - 25) heating = true;
        if (temperature > setpoint + 25) heating = false;
    }
};

// ---- the application. All of its memory is here, and none of it on the stack or on a heap.

uint8_t rx[256], tx[has_journal ? 8192 : 1024];
Port port;   // TCP, or TLS over it: see port.hpp
mqtt::Client client(port, {rx, tx, 4});
mqtt::ConnectOptions options;

Thermostat thermostat;
bool stopping = false;

// What is to be asked and told as soon as it can be. Of a value that changes several times before that, the last is told.
struct {
    bool subscription, status, setpoint, heating, temperature;
} due;

// The client refuses what it has no room for now, and has forgotten it: so once more later.
void tell(bool& is_due, Text topic, Text payload, mqtt::Retain retain) {
    if (is_due) is_due = !client.publish(topic, payload, mqtt::QoS::at_least_once, retain).ok();
}

void publish() {
    if (!client.connected()) return;   // it would be queued; but who reads it then wants to know how it is then
    if (due.subscription)
        due.subscription = !client.subscribe({{"thermostat/set", mqtt::QoS::exactly_once},
                                              {"thermostat/stop", mqtt::QoS::exactly_once}}).ok();
    tell(due.status, "thermostat/status", stopping ? "offline" : "online", mqtt::Retain::yes);
    tell(due.setpoint, "thermostat/setpoint", Number(thermostat.setpoint, 2), mqtt::Retain::yes);
    tell(due.heating, "thermostat/heating", thermostat.heating ? "on" : "off", mqtt::Retain::yes);
    tell(due.temperature, "thermostat/temperature", Number(thermostat.temperature, 2), mqtt::Retain::no);
}

uint32_t recorded, durable;   // the last reading, and the last that survives a power cut: its time

// Becomes durable in one of the next calls of poll(), and is not sent before.
void record(uint32_t seconds) {
    recorded = seconds;
    constexpr Text topic = "thermostat/reading";
    char text[24];
    size_t size = 0;
    for (const Text part : {Text(Number(seconds)), Text(" "), Text(Number(thermostat.temperature, 2))})
        for (const char c : part) text[size++] = c;
    while (client.publish(topic, Text(text, size), mqtt::QoS::exactly_once).error == mqtt::Error::no_space)
        if (client.drop_waiting(mqtt::QoS::exactly_once, topic, 1) == 0) break;   // all of them are under way
}

// Steps the control once a second. Returns the milliseconds until the next time.
uint32_t control() {
    static uint32_t begin = board_now_ms(), seconds = uint32_t(board_time(nullptr));
    const uint32_t passed = board_now_ms() - begin;
    if (passed < 1000) return 1000 - passed;
    begin += 1000;
    ++seconds;
    const bool heating = thermostat.heating;
    thermostat.step();
    due.temperature = true;
    if (thermostat.heating != heating) due.heating = true;
    if constexpr (has_journal) record(seconds);
    return 0;
}

void obey(const mqtt::Message& message) {
    if (message.topic == "thermostat/stop") {
        stopping = due.status = true;
    } else if (message.offset == 0 && message.complete() && parse(message.payload.text(), thermostat.setpoint)) {
        due.setpoint = true;
    } else {   // one that is longer than rx comes in pieces
        print("not a temperature: ");
        print(message.payload.text());
        print("\n");
    }
}

void handle(const mqtt::Event& event) {
    switch (event.kind) {
    case mqtt::Event::connected:
        print("connected, ");
        print(Number(board_now_ms()));
        print(" ms after the start\n");
        due = {!event.session_present, true, true, true, true};
        break;
    case mqtt::Event::received: obey(event.message); break;
    case mqtt::Event::disconnected:   // the client connects again by itself, unless it was disconnect()
        print("disconnected: ");
        print(mqtt::to_string(event.error));
        if (event.error == mqtt::Error::connect_failed || event.error == mqtt::Error::connection_lost) print(port.reason());
        print("\n");
        break;
    default: break;
    }
}

void tell_durable() {
    if (durable == recorded || !client.stored()) return;
    durable = recorded;
    print("on flash: readings up to ");
    print(Number(durable));
    print("\n");
}

// With a journal: reads what is unfinished, which is sent first.
void start() {
    mqtt::Result started = client.connect(options);
#if FIRMWARE_JOURNAL
    // A journal that is damaged, or of another geometry: heating is more important. It is said, and begun anew. And what is left
    // of a session with another broker is of no use to this one.
    if (started.error == mqtt::Error::storage_corrupt || started.error == mqtt::Error::storage_foreign) {
        print(mqtt::to_string(started.error));
        print(": the journal is erased\n");
        while (client.erase_storage() == 0) {}
        started = client.connect(options);
    }
    if (started.error == mqtt::Error::other_session) {
        print("another broker: what was for the last one is dropped\n");
        options.replace_session = true;
        started = client.connect(options);
    }
#endif
    if (!started.ok()) board_fail(mqtt::to_string(started.error));
}

}  // namespace

int main() {
    board_init();
    network_start();
    port.prepare(3);

    options.host = board_argument(1) != nullptr ? board_argument(1) : "10.0.2.2";
    options.port = board_argument(2) != nullptr ? parse_port(board_argument(2)) : 1883;
    options.client_id = "thermostat";
    // Commands that come while we are away are kept for us. Without a journal the client has forgotten the session after a
    // reset, and the broker has not. That is well with what we do then: it publishes at QoS 1 at most, and to be told a
    // temperature twice does no harm.
    options.clean_session = false;
    options.keep_alive = 30;
    options.will = {"thermostat/status", "offline", mqtt::QoS::at_least_once, mqtt::Retain::yes};
    start();

    while (true) {
        const uint32_t next_ms = control();                // the application's own work
        publish();                                         // queues what is due
        if (stopping && !due.status && client.unacknowledged() == 0) (void)client.disconnect();

        network_poll();                                    // frames to lwIP, and lwIP's timers
        const mqtt::Event event = client.poll();           // reads what lwIP has, writes what is queued
        if constexpr (has_journal) tell_durable();
        if (event.kind == mqtt::Event::disconnected && event.error == mqtt::Error::ok) break;
        if (event.kind != mqtt::Event::none) {
            handle(event);
        } else if (!port.ready()) {                        // lwIP has nothing more for the client: until there is ...
            const uint32_t idle_ms = client.idle_ms();     // ... a frame, or one of the three has something to do
            network_sleep(idle_ms < next_ms ? idle_ms : next_ms);
        }
    }
    print("stopped; used ");
    print(Number(board_stack_used()));
    print(" bytes of the stack, ");
    print(Number(Port::memory_peak()));
    print(" of mbedTLS's memory\n");
    return 0;
}
