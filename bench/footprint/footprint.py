"""footprint.py: compiles the applications of this folder and prints what the client costs. See bench/footprint.sh.

flash_library, flash_libc   Bytes of flash (code, constants, initial values). Each application is linked twice, with the
    client and without (see application.hpp). flash_libc is what all members of libc and libgcc in the first image
    take, by the linker's map; flash_library is the rest of what the first image has more than the second.
ram_client   sizeof(mqtt::Client<Port>). Nothing else is static; the buffers are the application's.
stack   Bytes on the deepest path below main(): the application's functions, with the event that it gets, the library's
    and libc's. Calls are those of the linked image, frames those of -fcallgraph-info=su (of libc, what is pushed).
    Not in it: the port's functions, main() itself, an interrupt.
What cannot be told is `-`.
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CPUS = ["cortex-m0plus", "cortex-m3", "cortex-m4", "rv32imac"]
CONFIGURATIONS = {   # name: source and options
    "3.1.1-A": ("set_a.cpp", ["-DMQTT_ENABLE_V5=0"]),
    "3.1.1-B": ("set_b.cpp", ["-DMQTT_ENABLE_V5=0"]),
    "5.0-A": ("set_a.cpp", ["-DMQTT_ENABLE_V5=1", "-DFOOTPRINT_VERSION=v5"]),
    "5.0+3.1.1-A": ("set_a.cpp", ["-DMQTT_ENABLE_V5=1", "-DFOOTPRINT_VERSION=v5_or_v3_1_1"]),
    "codec": ("codec.cpp", ["-DMQTT_ENABLE_V5=0"]),
}
COLUMNS = ["cpu", "configuration", "flash_library", "flash_libc", "ram_client", "stack"]
OPTIONS = ["-Os", "-ffunction-sections", "-fdata-sections"]
CXX_OPTIONS = OPTIONS + ["-std=c++17", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-I", str(ROOT)]
FLASH = [".text", ".rodata", ".ARM.extab", ".ARM.exidx", ".init_array", ".data"]   # output sections of the image


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def size_of_client(tool, file):
    found = re.search(r"(?m)^\w+ (\w+) \w size_of_client$", run(tool, "-S", file))
    return int(found.group(1), 16) if found else None


# ------------------------------------------------------------------------------------------------------------- flash

def flash_of_image(elf):
    """Bytes of its output sections, which `size` counts as text and data."""
    text, data = run("arm-none-eabi-size", elf).splitlines()[1].split()[:2]
    return int(text) + int(data)


def flash_of_archives(link_map):
    """Bytes that members of archives have in the image."""
    placed = link_map.read_text().split("Linker script and memory map")[1]
    total = 0
    output = None
    # Input sections with long names go over two lines.
    for line in re.sub(r"(?m)^( \S+)\n +(0x)", r"\1 \2", placed).splitlines():
        if re.match(r"\.\S", line):
            output = line.split()[0]
        match = re.match(r" \S+ +0x\w+ +0x(\w+) \S+\.a\(\S+\)$", line)
        if match and output in FLASH:
            total += int(match.group(1), 16)
    return total


# ------------------------------------------------------------------------------------------------------------- stack

def frames_of(callgraph):
    """Name of a function: bytes of its frame. From -fcallgraph-info=su."""
    node = r'node: { title: "(?:[^"]*:)?([^":]+)" label: "[^"]*\\n(\d+) bytes \((\w+)\)'
    nodes = re.findall(node, callgraph.read_text())
    return {name: int(size) for name, size, kind in nodes if kind == "static"}


def stack_below_main(elf, frames):
    """Bytes on the deepest path below main(); None if it cannot be told."""
    names = {}   # by address: one function can have several names
    for line in run("arm-none-eabi-nm", elf).splitlines():
        address, kind, name = line.split()
        if kind in "TtWw":
            names.setdefault(int(address, 16), set()).add(name)
    functions = {}   # by address: calls, jumps to other functions, bytes pushed, whether it calls what is not known
    for line in run("arm-none-eabi-objdump", "-d", "--no-show-raw-insn", elf).splitlines():
        head = re.match(r"(\w+) <\S+>:$", line)
        if head:
            function = {"calls": set(), "jumps": set(), "pushed": 0, "known": True}
            functions[int(head.group(1), 16)] = function
        code = re.match(r" *\w+:\t(\S+)(?:\t(.*))?$", line)
        if not code:
            continue
        operation, operands = code.group(1), code.group(2) or ""
        target = re.match(r"(\w+) <[^+>]+>", operands)
        if target and operation.startswith("b"):
            function["calls" if operation.startswith("bl") else "jumps"].add(int(target.group(1), 16))
        elif operation == "blx":
            function["known"] = False
        elif operation.startswith("push") or re.match(r"stmdb\s+sp!", operation + " " + operands):
            for first, last in re.findall(r"(\w+)(?:-(\w+))?", operands[operands.index("{"):]):
                function["pushed"] += 4 * (int(last[1:]) - int(first[1:]) + 1 if last else 1)
        elif re.match(r"sub(\.w)? sp, (sp, )?#", operation + " " + operands):
            function["pushed"] += int(re.search(r"#(\d+)", operands).group(1))

    def deepest(address, above):
        function = functions.get(address)
        if function is None or not function["known"] or address in above:   # no recursion
            return None
        known = [frames[name] for name in names[address] if name in frames]
        if any(name.startswith("board_") for name in names[address]):
            return 0
        frame = known[0] if known else function["pushed"]
        # A function has given its frame back when it jumps to another one.
        below = [(frame, deepest(callee, above | {address})) for callee in function["calls"]]
        below += [(0, deepest(callee, above | {address})) for callee in function["jumps"] - {address}]
        if any(size is None for _, size in below):
            return None
        return max([frame] + [own + size for own, size in below])

    main = next(address for address, of in names.items() if "main" in of)
    sizes = [deepest(callee, {main}) for callee in functions[main]["calls"] | functions[main]["jumps"] - {main}]
    return None if None in sizes else max(sizes)


# -------------------------------------------------------------------------------------------------------------- rows

def measure_arm(cpu, configuration, folder):
    source, options = CONFIGURATIONS[configuration]
    machine = ["-mthumb", f"-mcpu={cpu}"]
    link = ["arm-none-eabi-g++", *machine, "-nostartfiles", "-specs=nano.specs", "-Wl,--gc-sections"]
    board = folder / f"{cpu}-board.o"
    run("arm-none-eabi-gcc", *machine, "-Os", "-c", HERE / "board.c", "-o", board)

    def image(name, compile_options, link_options):
        path = folder / f"{cpu}-{configuration}{name}"
        run("arm-none-eabi-g++", *machine, *CXX_OPTIONS, *options, *compile_options, "-c", HERE / source,
            "-o", f"{path}.o")
        run(*link, *link_options, f"-Wl,-Map={path}.map", board, f"{path}.o", "-o", f"{path}.elf")
        return flash_of_image(f"{path}.elf"), flash_of_archives(pathlib.Path(f"{path}.map"))

    flash, libc = image("", ["-fcallgraph-info=su"], [])
    flash_without, libc_without = image("-without", ["-DWITHOUT_CLIENT"], ["-Wl,--unresolved-symbols=ignore-all"])
    path = folder / f"{cpu}-{configuration}"
    return [(flash - libc) - (flash_without - libc_without), libc, size_of_client("arm-none-eabi-nm", f"{path}.o"),
            stack_below_main(f"{path}.elf", frames_of(pathlib.Path(f"{path}.ci")))]


def measure_riscv(configuration, folder):
    """Only whether it compiles: with Clang, and with the library headers for Cortex-M (see tests/build/target.sh)."""
    if shutil.which("clang++") is None:
        print(f"footprint.sh: rv32imac {configuration} is not tried: there is no clang++", file=sys.stderr)
        return [None] * 4
    source, options = CONFIGURATIONS[configuration]
    searched = subprocess.run(["arm-none-eabi-g++", "-E", "-v", "-x", "c++", "/dev/null"],
                              check=True, capture_output=True, text=True)
    headers = re.search(r"search starts here:\n((?: .*\n)+)End of", searched.stderr).group(1).split()
    out = folder / f"rv32imac-{configuration}.o"
    run("clang++", "--target=riscv32", "-march=rv32imac", "-mabi=ilp32", *CXX_OPTIONS, *options,
        *[option for header in headers for option in ("-isystem", header)], "-c", HERE / source, "-o", out)
    return [None, None, size_of_client("arm-none-eabi-nm", out), None]


def measure(cpu, configuration, folder):
    return measure_riscv(configuration, folder) if cpu == "rv32imac" else measure_arm(cpu, configuration, folder)


def shown(value):
    return "-" if value is None else str(value)


def write_readme(rows):
    """A line for each configuration; flash as library + libc."""
    cpus = [cpu for cpu in CPUS if cpu != "rv32imac"]
    compiler = run("arm-none-eabi-g++", "-dumpfullversion").strip()
    table = f"arm-none-eabi-gcc {compiler}, `-Os`, no LTO. Bytes of flash as library + libc and libgcc:\n\n"
    table += "| | " + " | ".join(cpu.replace("cortex-m", "Cortex-M").replace("plus", "+") for cpu in cpus)
    table += " | client object | stack |\n|---|" + "---|" * (len(cpus) + 2) + "\n"
    for configuration in CONFIGURATIONS:
        here = {cpu: rows[cpu, configuration] for cpu in cpus}
        ram = {here[cpu][2] for cpu in cpus}
        stacks = [here[cpu][3] for cpu in cpus]
        cells = [f"{shown(here[cpu][0])} + {shown(here[cpu][1])}" for cpu in cpus]
        cells += [shown(ram.pop() if len(ram) == 1 else None), shown(None if None in stacks else max(stacks))]
        table += f"| {configuration} | " + " | ".join(cells) + " |\n"
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    begin, end = "<!-- footprint: sh bench/footprint.sh --readme -->\n", "<!-- /footprint -->"
    if begin not in text or end not in text:
        sys.exit(f"{readme}: the markers for the table are missing")
    before, rest = text.split(begin, 1)
    readme.write_text(before + begin + table + end + rest.split(end, 1)[1], encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(prog="footprint.sh")
    parser.add_argument("--keep", metavar="FOLDER", type=pathlib.Path)
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("cpu", nargs="?", choices=CPUS)
    parser.add_argument("configuration", nargs="?", choices=CONFIGURATIONS)
    arguments = parser.parse_args()
    if arguments.readme and arguments.cpu:
        parser.error("--readme needs all rows")
    rows = {}
    failed = []
    print(*COLUMNS, sep="\t")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for cpu in [arguments.cpu] if arguments.cpu else CPUS:
            for configuration in [arguments.configuration] if arguments.configuration else CONFIGURATIONS:
                try:
                    row = measure(cpu, configuration, folder)
                except subprocess.CalledProcessError as error:
                    print(error, file=sys.stderr)
                    failed.append(f"{cpu} {configuration}")
                    row = [None] * 4
                rows[cpu, configuration] = row
                print(cpu, configuration, *map(shown, row), sep="\t", flush=True)
    if failed:
        sys.exit("footprint.sh: failed: " + ", ".join(failed))
    if arguments.readme:
        write_readme(rows)


main()
