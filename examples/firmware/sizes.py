"""sizes.py IMAGE.map: what each part of the image takes, in bytes, by the linker's map.

flash is code, constants and initial values; RAM is variables, buffers and the stack.
"""
import re
import sys

FLASH = {".text", ".ARM.exidx", ".data"}
RAM = {".data", ".bss", ".stack"}
PARTS = ["mqtt.hpp", "platform/lwip.hpp", "lwIP", "board", "application", "libc, libgcc", "stack"]


def part_of(section, file):
    if file.endswith(")"):   # a member of an archive
        return "libc, libgcc"
    if "/lwip/" in file:
        return "lwIP"
    if "/board/" in file or file.endswith("/network.o"):
        return "board"
    if "4mqtt4lwip" in section:
        return "platform/lwip.hpp"
    return "mqtt.hpp" if "4mqtt" in section else "application"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
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
    rows = [*sizes.items(), ("total", [sum(column) for column in zip(*sizes.values())])]
    print(f"{'':20}{'flash':>8}{'RAM':>8}")
    for part, (flash, ram) in rows:
        print(f"{part:20}{flash:8}{ram:8}")


main()
