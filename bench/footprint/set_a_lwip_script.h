// Of set_a_lwip.c. (lwIP 2.1.3 closes when a PUBLISH comes in two segments, so each packet comes in one.)
#undef PIECE
#define PIECE 64
#define ROOM 0, 6, 'r', 'o', 'o', 'm', '/', '#'
#define CONNECT                                                                                                        \
    CLIENT(0x10, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xEE, 0, 60, DEVICE,                                                     \
           0, 11, 'r', 'o', 'o', 'm', '/', 's', 't', 'a', 't', 'u', 's', 0, 4, 'g', 'o', 'n', 'e',                     \
           0, 4, 'u', 's', 'e', 'r', 0, 6, 's', 'e', 'c', 'r', 'e', 't')
#define TOPIC 'r', 'o', 'o', 'm', '/', 'x'

    OPENS, CONNECT, SERVER(0x20, 0, 0), CLIENT(0x82, 0, 1, ROOM, 2), SERVER(0x90, 0, 1, 2),

    COMMAND(0), CLIENT(0x30, 0, 16, TEMPERATURE, READING),
    COMMAND(1), CLIENT(0x32, 0, 16, TEMPERATURE, 0, 2, READING), SERVER(0x40, 0, 2),
    COMMAND(2), CLIENT(0x34, 0, 16, TEMPERATURE, 0, 3, READING), SERVER(0x50, 0, 3), CLIENT(0x62, 0, 3), SERVER(0x70, 0, 3),

    SERVER(0x30, 0, 6, TOPIC, '0'), SHOWS(TOPIC), SHOWS('0'),
    SERVER(0x32, 0, 6, TOPIC, 0, 1, '1'), SHOWS(TOPIC), SHOWS('1'), CLIENT(0x40, 0, 1),
    SERVER(0x34, 0, 6, TOPIC, 0, 2, '2'), SHOWS(TOPIC), SHOWS('2'), CLIENT(0x50, 0, 2), SERVER(0x62, 0, 2), CLIENT(0x70, 0, 2),

    CLOCK(65000), CLIENT(0xC0), SERVER(0xD0),

    LOSES, OPENS, CONNECT, SERVER(0x20, 0, 0), CLIENT(0x82, 0, 1, ROOM, 2), SERVER(0x90, 0, 1, 2),
    COMMAND(3), CLIENT(0xA2, 0, 2, ROOM), SERVER(0xB0, 0, 2),
    COMMAND(4), CLOSES,
