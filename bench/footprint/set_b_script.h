// Of set_b.cpp: connect, a message of each QoS, ping.
    OPENS, CLIENT(0x10, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0, 60, DEVICE), SERVER(0x20, 0, 0),
    SHOWS('c', 'o', 'n', 'n', 'e', 'c', 't', 'e', 'd'),
    COMMAND(0), CLIENT(0x30, 0, 16, TEMPERATURE, READING),
    COMMAND(1), CLIENT(0x32, 0, 16, TEMPERATURE, 0, 1, READING), SERVER(0x40, 0, 1),
    CLOCK(60000), CLIENT(0xC0), SERVER(0xD0), CLOCK(60000), CLIENT(0xC0),
