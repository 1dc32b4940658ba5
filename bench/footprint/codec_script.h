// Of codec.cpp: each packet is decoded, and encoded again to the same bytes.
#undef PIECE
#define PIECE 255
#define BOTH_WAYS(which, ...) SERVER(__VA_ARGS__), COMMAND(which), {shows, PACKET(__VA_ARGS__)}
    OPENS,
    BOTH_WAYS(0, 0x10, 0, 4, 'M', 'Q', 'T', 'T', 4, 0xEC, 0, 60, DEVICE,
              0, 1, 't', 0, 4, 'g', 'o', 'n', 'e', 0, 1, 'u', 0, 1, 'p'),
    BOTH_WAYS(1, 0x20, 1, 0),
    BOTH_WAYS(2, 0x3D, 0, 16, TEMPERATURE, 0, 9, READING),
    BOTH_WAYS(3, 0x62, 0, 9),
    BOTH_WAYS(4, 0x82, 0, 9, 0, 1, '#', 2),
    BOTH_WAYS(5, 0x90, 0, 9, 2, 0x80),
    BOTH_WAYS(6, 0xC0),
    BOTH_WAYS(7, 0xE0),
