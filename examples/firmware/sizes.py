"""sizes.py IMAGE.map...: what each part of the images takes, in bytes, by the linker's maps.

flash is code, constants and initial values; RAM is variables, buffers and the stack. What the compiler has put into a caller
counts as that: some of the ports is in mqtt.hpp's, and in the application's.
"""
import pathlib
import re
import sys

FLASH = {".text", ".ARM.exidx", ".data"}
RAM = {".data", ".bss", ".stack"}
PARTS = ["mqtt.hpp", "platform/lwip.hpp", "platform/mbedtls.hpp", "platform/journal.hpp", "lwIP", "mbedTLS", "board", "application", "libc, libgcc",
         "stack"]


def part_of(section, file):
    if file.endswith(")"):   # a member of an archive
        return "libc, libgcc"
    if "/lwip/" in file:
        return "lwIP"
    if re.search(r"/mbedtls\d+/|/mbed_time.o$", file) or "4Link7memory_" in section:
        return "mbedTLS"
    if "/board/" in file or file.endswith("/network.o"):
        return "board"
    if "4mqtt4lwip" in section:
        return "platform/lwip.hpp"
    if "4mqtt7mbedtls" in section:
        return "platform/mbedtls.hpp"
    if "4mqtt7Journal" in section:
        return "platform/journal.hpp"
    return "mqtt.hpp" if "4mqtt" in section else "application"


def sizes_of(map_file):
    """By part: flash and RAM."""
    with open(map_file, encoding="utf-8") as file:
        placed = file.read().split("Linker script and memory map")[1]
    sizes = {part: [0, 0] for part in PARTS}
    output = None

    def count(part, size):
        sizes[part][0] += size if output in FLASH else 0
        sizes[part][1] += size if output in RAM else 0

    # Sections with long names go over two lines.
    for line in re.sub(r"(?m)^( ?\.\S+)\n +(0x)", r"\1 \2", placed).splitlines():
        words = line.split()
        if line.startswith("."):
            output = words[0]
            if output == ".stack":
                count("stack", int(words[2], 16))
        elif re.match(r" \S+ +0x\w+ +0x\w+ \S", line):
            count(part_of(words[0], words[3]), int(words[2], 16))
    sizes["total"] = [sum(column) for column in zip(*sizes.values())]
    return sizes


def main():
    images = [sizes_of(name) for name in sys.argv[1:]]
    names = [pathlib.Path(name).stem for name in sys.argv[1:]]
    if len(images) > 1:
        print(" " * 20 + "".join(f"{name:>20}" for name in names))
    print(" " * 20 + f"{'flash':>11}{'RAM':>9}" * len(images))
    for part in images[0]:
        if any(size != [0, 0] for size in (image[part] for image in images)):
            print(f"{part:20}" + "".join(f"{image[part][0]:11}{image[part][1]:9}" for image in images))


if __name__ == "__main__":
    main()
