// Of set_a.cpp: connect, messages of each QoS in both directions, subscribe, unsubscribe, ping, a connection lost with
// messages open in both directions and resumed, disconnect. Bytes are those of the specifications.

#ifdef FOOTPRINT_VERSION
#define LEVEL 5
#define NO_PROPERTIES , 0
#define OWN_PROPERTIES , 8, 0x11, 0xFF, 0xFF, 0xFF, 0xFF, 0x21, ANY, ANY   // session expiry, receive maximum
#define UNIT , 15, 0x26, 0, 4, 'u', 'n', 'i', 't', 0, 6, 'd', 'e', 'g', 'r', 'e', 'e'
#define RESPONSE_TOPIC , 4, 0x08, 0, 1, 'r'
#define SHOWS_RESPONSE_TOPIC SHOWS('r'),
#define UNSUBACK_CODE , 0
#else
#define LEVEL 4
#define NO_PROPERTIES
#define OWN_PROPERTIES
#define UNIT
#define RESPONSE_TOPIC
#define SHOWS_RESPONSE_TOPIC
#define UNSUBACK_CODE
#endif
#define ROOM 0, 6, 'r', 'o', 'o', 'm', '/', '#'
#define CONNECT                                                                                                        \
    CLIENT(0x10, 0, 4, 'M', 'Q', 'T', 'T', LEVEL, 0xEC, 0, 60 OWN_PROPERTIES, DEVICE NO_PROPERTIES,                    \
           0, 11, 'r', 'o', 'o', 'm', '/', 's', 't', 'a', 't', 'u', 's', 0, 4, 'g', 'o', 'n', 'e',                     \
           0, 4, 'u', 's', 'e', 'r', 0, 6, 's', 'e', 'c', 'r', 'e', 't')
#define MESSAGE(...) 0, 6, 'r', 'o', 'o', 'm', '/', 'x', __VA_ARGS__ RESPONSE_TOPIC
#define SHOWS_MESSAGE(...) SHOWS('r', 'o', 'o', 'm', '/', 'x'), SHOWS(__VA_ARGS__), SHOWS_RESPONSE_TOPIC

    OPENS, CONNECT, SERVER(0x20, 0, 0 NO_PROPERTIES),
    CLIENT(0x82, 0, 1 NO_PROPERTIES, ROOM, 2), SERVER(0x90, 0, 1 NO_PROPERTIES, 2),

    // publish
    COMMAND(0), CLIENT(0x30, 0, 16, TEMPERATURE UNIT, READING),
    COMMAND(1), CLIENT(0x32, 0, 16, TEMPERATURE, 0, 2 UNIT, READING), SERVER(0x40, 0, 2),
    COMMAND(2), CLIENT(0x34, 0, 16, TEMPERATURE, 0, 3 UNIT, READING), SERVER(0x50, 0, 3),
    CLIENT(0x62, 0, 3), SERVER(0x70, 0, 3),

    // receive
    SERVER(0x30, 0, 6, 'r', 'o', 'o', 'm', '/', 'x' RESPONSE_TOPIC, '0'), SHOWS_MESSAGE('0')
    SERVER(0x32, MESSAGE(0, 1), '1'), SHOWS_MESSAGE('1') CLIENT(0x40, 0, 1),
    SERVER(0x34, MESSAGE(0, 2), '2'), SHOWS_MESSAGE('2') CLIENT(0x50, 0, 2), SERVER(0x62, 0, 2), CLIENT(0x70, 0, 2),

    CLOCK(60000), CLIENT(0xC0), SERVER(0xD0),

    // A connection is lost while a message of QoS 1 and 2 each are not answered, one of QoS 2 is not complete, and one of
    // QoS 2 received is not released: the client sends again what it has to (the PUBREL might as well stand before a
    // PUBLISH), and what comes again is not shown again.
    COMMAND(1), CLIENT(0x32, 0, 16, TEMPERATURE, 0, 4 UNIT, READING),
    COMMAND(2), CLIENT(0x34, 0, 16, TEMPERATURE, 0, 5 UNIT, READING),
    COMMAND(2), CLIENT(0x34, 0, 16, TEMPERATURE, 0, 6 UNIT, READING), SERVER(0x50, 0, 5), CLIENT(0x62, 0, 5),
    SERVER(0x34, MESSAGE(0, 3), '3'), SHOWS_MESSAGE('3') CLIENT(0x50, 0, 3),
    LOSES, OPENS, CONNECT, SERVER(0x20, 1, 0 NO_PROPERTIES),
    CLIENT(0x3A, 0, 16, TEMPERATURE, 0, 4 UNIT, READING), CLIENT(0x3C, 0, 16, TEMPERATURE, 0, 6 UNIT, READING),
    CLIENT(0x62, 0, 5), SERVER(0x40, 0, 4), SERVER(0x50, 0, 6), CLIENT(0x62, 0, 6), SERVER(0x70, 0, 5), SERVER(0x70, 0, 6),
    SERVER(0x3C, MESSAGE(0, 3), '3'), CLIENT(0x50, 0, 3), SERVER(0x62, 0, 3), CLIENT(0x70, 0, 3),

    COMMAND(3), CLIENT(0xA2, 0, 7 NO_PROPERTIES, ROOM), SERVER(0xB0, 0, 7 NO_PROPERTIES UNSUBACK_CODE),
    COMMAND(4), CLIENT(0xE0), CLOSES,
