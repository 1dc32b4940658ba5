"""footprint.py: compiles the applications of this folder and prints what the client costs. See bench/footprint.sh.

flash_library, flash_libc   Bytes of flash (code, constants, initial values). Each application is linked twice, with the
    client and without (see application.hpp). flash_libc is what all members of libc and libgcc in the first image
    take, by the linker's map; flash_library is the rest of what the first image has more than the second.
ram_client   sizeof(mqtt::Client<Port>), and of the journal. Nothing else is static; the buffers are the application's. (lwIP's
    client has its buffers in it.)
stack   Bytes on the deepest path below main(): the application's functions, with the event that it gets, the library's
    and libc's. Calls are those of the linked image, frames those of -fcallgraph-info=su (of libc, what is pushed). A call
    through a pointer may reach what INDIRECT_CALLS names or else any function whose address is taken in the image, save
    one that is being run already: nothing here recurses.
    Not in it: the port's functions, main() itself, an interrupt.
painted   The part of it that was used when QEMU ran the same image, against the server of board.c and its script. The run
    tells that the image works; and a path that is shorter than this is wrong, and an error.
What cannot be told is `-`.

rv32imac   GCC's own code size, with the library headers for Cortex-M, as Debian has none for this machine: what the client
    uses of them are types, not code. It has no libc either, so calls of it stay open in the link. It is not run.
"""
import argparse
import collections
import concurrent.futures
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "bench"))
import readme_block   # noqa: E402
LWIP = ROOT / ".build" / "lwip"
BUDGETS = HERE / "budgets.tsv"
MACHINES = {   # what QEMU runs it on; microbit is a Cortex-M0, whose instructions are those of Cortex-M0+
    "cortex-m0plus": "microbit",
    "cortex-m3": "mps2-an385",
    "cortex-m4": "mps2-an386",
    "rv32imac": None,
}
CPUS = list(MACHINES)
REFERENCE = "lwip-mqtt-A"
CONFIGURATIONS = {   # name: application, options
    "3.1.1-A": ("set_a.cpp", ["-DMQTT_ENABLE_V5=0"]),
    "3.1.1-A+storage": ("set_a.cpp", ["-DMQTT_ENABLE_V5=0", "-DFOOTPRINT_STORE=1"]),
    "3.1.1-A+journal": ("set_a.cpp", ["-DMQTT_ENABLE_V5=0", "-DFOOTPRINT_STORE=2"]),
    "3.1.1-B": ("set_b.cpp", ["-DMQTT_ENABLE_V5=0"]),
    "5.0-A": ("set_a.cpp", ["-DMQTT_ENABLE_V5=1", "-DFOOTPRINT_VERSION=v5"]),
    "5.0+3.1.1-A": ("set_a.cpp", ["-DMQTT_ENABLE_V5=1", "-DFOOTPRINT_VERSION=v5_or_v3_1_1"]),
    "codec": ("codec.cpp", ["-DMQTT_ENABLE_V5=0"]),
    REFERENCE: ("set_a_lwip.c", [f"-I{HERE / 'lwip'}", f"-I{LWIP / 'src/include'}"]),
}
INDIRECT_CALLS = {   # configuration: which functions call which through a pointer, as regular expressions
    REFERENCE: [("board_tcp", r"mqtt_tcp_\w+|mqtt_cyclic_timer"), (r"mqtt_\w+", r"on_\w+")],
}
# The same for all others: what begins and ends a packet calls what writes, or reads, its fields.
OF_LIBRARY = [(r"\w*encode_with\w*", r"\w*7writing\w*"), (r"\w*decode_with\w*", r"\w*7reading\w*")]
COLUMNS = ["flash_library", "flash_libc", "ram_client", "stack", "painted"]
Row = collections.namedtuple("Row", COLUMNS)
NOTHING = Row(*[None] * len(COLUMNS))
GOALS = {   # of cortex-m0plus: what must be reached, and what is aimed at; `flash` is library and libc
    ("3.1.1-A", "flash"): (4096, 3300),
    ("3.1.1-B", "flash"): (3072, 2400),
    ("5.0-A", "flash"): (8192, 6500),
    ("3.1.1-A", "ram_client"): (160, 96),
    ("3.1.1-A", "stack"): (320, 200),
}
OPTIONS = ["-Os", "-ffunction-sections", "-fdata-sections", "-Wall", "-Wextra"]
CXX_OPTIONS = OPTIONS + ["-std=c++17", "-fno-exceptions", "-fno-rtti", "-I", str(ROOT)]
BOARD_OPTIONS = ["-Os", "-Wall", "-Wextra", "-ffreestanding", "-fno-jump-tables", "-fno-tree-loop-distribute-patterns"]
FLASH = [".text", ".rodata", ".ARM.extab", ".ARM.exidx", ".init_array", ".data"]   # output sections of the image


class Failure(Exception):
    pass


def run(*command):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace")
    if done.returncode != 0:
        raise Failure(f"{done.stderr}{command[0]} ... {command[-1]}: exit status {done.returncode}")
    sys.stderr.write(done.stderr)
    return done.stdout


def size_of(name, file):
    found = re.search(rf"(?m)^\w+ (\w+) \w {name}$", run("arm-none-eabi-nm", "-S", file))
    return int(found.group(1), 16) if found else None


# ------------------------------------------------------------------------------------------------------------ images

class Images:
    """An application with the client (.elf, .map) and without (-without.elf), and what they are made of."""

    def __init__(self, cpu, configuration, folder):
        self.path = folder / f"{cpu}-{configuration}"
        self.cpu, self.configuration = cpu, configuration
        if cpu == "rv32imac":
            tool, self.machine = "riscv64-unknown-elf-", ["-march=rv32imac", "-mabi=ilp32"]
        else:
            tool, self.machine = "arm-none-eabi-", ["-mthumb", f"-mcpu={cpu}"]
        self.gcc, self.gxx, self.size_tool = tool + "gcc", tool + "g++", tool + "size"
        self.headers = headers_for_cortex_m() if cpu == "rv32imac" else []
        source, self.options = CONFIGURATIONS[configuration]
        script = f'-DSCRIPT="{pathlib.Path(source).stem}_script.h"'
        board = [self.gcc, *BOARD_OPTIONS]
        self.board = [self.compiled("board", HERE / "board.c", *board, script)]
        if configuration == REFERENCE:
            self.board.append(self.compiled("tcp-board", HERE / "lwip_tcp.c", *board))
            application = self.compiled("application", HERE / source, self.gcc, *OPTIONS)
            client = self.compiled("client", LWIP / "src/apps/mqtt/mqtt.c", self.gcc, *OPTIONS)
            self.objects, without = [application, client], application
        else:
            self.objects = [self.compiled("application", HERE / source, self.gxx, *CXX_OPTIONS)]
            without = self.compiled("without", HERE / source, self.gxx, *CXX_OPTIONS, "-DWITHOUT_CLIENT")
        self.link("", self.objects)
        self.link("-without", [without], "-Wl,--unresolved-symbols=ignore-all")

    def compiled(self, name, source, *compiler):
        out = pathlib.Path(f"{self.path}-{name}.o")
        run(*compiler, *self.machine, *self.options, *self.headers, "-fcallgraph-info=su", "-c", source, "-o", out)
        return out

    def link(self, name, objects, *options):
        path = f"{self.path}{name}"
        libraries = ["-specs=nano.specs"]
        if self.cpu == "rv32imac":
            libraries = ["-nostdlib", "-lgcc", "-Wl,--unresolved-symbols=ignore-all", "-Wl,--no-warn-rwx-segments"]
        run(self.gxx, *self.machine, "-nostartfiles", f"-Wl,-T,{HERE / 'board.ld'}", "-Wl,--gc-sections", *options,
            "-Wl,--emit-relocs", f"-Wl,-Map={path}.map", *self.board, *objects, *libraries, "-o", f"{path}.elf")

    def flash(self, name):
        """Bytes of its output sections, which `size` counts as text and data, without those of archives; and those."""
        text, data = run(self.size_tool, f"{self.path}{name}.elf").splitlines()[1].split()[:2]
        archives = list(self.of_archives(name))
        return int(text) + int(data) - sum(size + fill for _, size, fill in archives), sum(size for _, size, _ in archives)

    def of_archives(self, name):
        """Address and size of what members of archives have in the image's flash, and what is left empty before it: some
        of libc's functions begin at multiples of 64, which would make the figures jump."""
        placed = pathlib.Path(f"{self.path}{name}.map").read_text().split("Linker script and memory map")[1]
        output, fill = None, 0
        # Input sections with long names go over two lines.
        for line in re.sub(r"(?m)^( \S+)\n +(0x)", r"\1 \2", placed).splitlines():
            if re.match(r"\.\S", line):
                output = line.split()[0]
            match = re.match(r" (\S+) +0x(\w+) +0x(\w+)(?: (\S+))?", line)
            if not match or output not in FLASH:
                continue
            what, address, size, of = match.groups()
            if re.search(r"\.a\(\S+\)$", of or "") and int(size, 16) != 0:
                yield int(address, 16), int(size, 16), fill
            fill = int(size, 16) if what == "*fill*" else 0


def headers_for_cortex_m():
    searched = subprocess.run(["arm-none-eabi-g++", "-E", "-v", "-x", "c++", "/dev/null"],
                              check=True, capture_output=True, text=True)
    folders = re.search(r"search starts here:\n((?: .*\n)+)End of", searched.stderr).group(1).split()
    return [option for folder in folders for option in ("-isystem", folder)]


# ------------------------------------------------------------------------------------------------------------- stack

def frames_of(objects):
    """Name of a function: bytes of its frame, or None if it is not always the same. From -fcallgraph-info=su."""
    node = r'node: { title: "(?:[^"]*:)?([^":]+)" label: "[^"]*\\n(\d+) bytes \(([\w,]+)\)'
    return {name: int(size) if kind in ("static", "dynamic,bounded") else None
            for each in objects for name, size, kind in re.findall(node, each.with_suffix(".ci").read_text())}


def functions_whose_address_is_taken(elf):
    """Addresses that relocations have put somewhere, save into the list of constructors."""
    image = pathlib.Path(elf).read_bytes()
    header, size, count = struct.unpack_from("<I10xHH", image, 28)
    segments = [struct.unpack_from("<5I", image, header + i * size) for i in range(count)]
    taken = set()
    section = None
    for line in run("arm-none-eabi-readelf", "-rW", elf).splitlines():
        head = re.match(r"Relocation section '\.rel(\S+)'", line)
        if head:
            section = head.group(1)
        entry = re.match(r"(\w{8})  \w{8} (R_ARM_\S+) +(\w{8}) ", line)
        if not entry or section not in FLASH or section == ".init_array":
            continue
        at, kind, value = int(entry.group(1), 16), entry.group(2), int(entry.group(3), 16)
        if kind == "R_ARM_ABS32":
            for _, offset, address, _, in_file in segments:
                if address <= at < address + in_file:
                    value = struct.unpack_from("<I", image, offset + at - address)[0]
            taken.add(value & ~1)
        elif "MOVW" in kind or "MOVT" in kind:
            taken.add(value & ~1)
    return taken


class Unknown(Exception):
    """Why the depth of a call cannot be told."""


def disassembled(elf):
    """By address: calls, jumps to other functions, bytes pushed, whether it calls through a pointer."""
    functions = {}
    for line in run("arm-none-eabi-objdump", "-d", "--no-show-raw-insn", elf).splitlines():
        head = re.match(r"(\w+) <\S+>:$", line)
        if head:
            function = {"calls": set(), "jumps": set(), "pushed": 0, "through_pointer": False}
            functions[int(head.group(1), 16)] = function
            popped = []   # by the last instructions
        code = re.match(r" *\w+:\t(\S+)(?:\t(.*))?$", line)
        if not code:
            continue
        operation, operands = code.group(1), code.group(2) or ""
        text = f"{operation} {operands}"
        target = re.match(r"(\w+) <[^+>]+>", operands)
        pushed_one = re.match(r"strd?(?:\.w)? .*\[sp, #-(\d+)\]!", text)
        if target and operation.startswith("b"):
            function["calls" if operation.split(".")[0] in ("bl", "blx") else "jumps"].add(int(target.group(1), 16))
        elif operation == "blx":
            function["through_pointer"] = True
        elif operation == "bx" and operands != "lr" and not any(operands in of for of in popped):   # else it returns
            function["through_pointer"] = True
        elif operation.startswith("push") or re.match(r"stmdb\s+sp!", text):
            for first, last in re.findall(r"(\w+)(?:-(\w+))?", operands[operands.index("{"):]):
                function["pushed"] += 4 * (int(last[1:]) - int(first[1:]) + 1 if last else 1)
        elif pushed_one:
            function["pushed"] += int(pushed_one.group(1))
        elif re.match(r"sub(\.w)? sp, (sp, )?#", text):
            function["pushed"] += int(re.search(r"#(\d+)", operands).group(1))
        popped = [re.findall(r"\w+", operands) if operation == "pop" else []] + popped[:1]
    return functions


def stack_below_main(images):
    """Bytes on the deepest path below main(), and the path: names and frames. Raises Unknown."""
    elf = f"{images.path}.elf"
    names = {}   # by address: one function can have several names
    for line in run("arm-none-eabi-nm", elf).splitlines():
        address, kind, name = line.split()
        if kind in "TtWw":
            names.setdefault(int(address, 16), set()).add(name)
    frames = frames_of(images.objects)
    indirect_calls = INDIRECT_CALLS.get(images.configuration, OF_LIBRARY)
    board = {line.split()[-1] for each in images.board
             for line in run("arm-none-eabi-nm", "--defined-only", each).splitlines()}
    functions = disassembled(elf)
    taken = {address for address in functions_whose_address_is_taken(elf)
             if address in functions and not names[address] & board}

    def is_named(address, pattern):   # without what the compiler makes of a name: .isra.0
        return any(re.fullmatch(pattern, name.split(".")[0]) for name in names.get(address, ()))

    def through_pointer(address):
        for caller, callees in indirect_calls:
            if is_named(address, caller):
                return {callee for callee in taken if is_named(callee, callees)}
        return taken

    known = {}   # what is below a function, if that does not depend on how it was reached

    def deepest(address, above):
        """Path from this function down, and whether it is the same from wherever it is called."""
        if address in known:
            return known[address], True
        function = functions.get(address)
        name = min(names.get(address, {hex(address)}))
        if function is None:
            raise Unknown(f"{name} is not in the image")
        if address in above:
            raise Unknown(f"{name} calls itself")
        on_board = bool(names[address] & board)
        frame = 0 if on_board else next((frames[each] for each in names[address] if each in frames), function["pushed"])
        if frame is None:
            raise Unknown(f"the frame of {name} varies")
        calls, jumps, pointed = function["calls"], function["jumps"] - {address}, set()
        if on_board:   # not followed, but the client may be called back
            calls, jumps, pointed = set(), set(), set()
            if any(is_named(address, caller) for caller, _ in indirect_calls):
                pointed = through_pointer(address)
        elif function["through_pointer"]:
            pointed = through_pointer(address) - above - {address}
            if not through_pointer(address):
                raise Unknown(f"{name} calls through a pointer, and no function's address is taken")
        # A function has given its frame back when it jumps to another one.
        best, same = [(name, frame)], not pointed and (on_board or not function["through_pointer"])
        for callees, own in ((calls | pointed, frame), (jumps, 0)):
            for callee in callees:
                below, below_same = deepest(callee, above | {address})
                same = same and below_same
                path = [(name, own)] + below
                if sum(size for _, size in path) > sum(size for _, size in best):
                    best = path
        if same:
            known[address] = best
        return best, same

    main = next(address for address, of in names.items() if "main" in of)
    called = functions[main]["calls"] | functions[main]["jumps"] - {main}
    paths = [deepest(callee, frozenset({main}))[0] for callee in called]
    path = max(paths, key=lambda each: sum(size for _, size in each))
    return sum(size for _, size in path), path


def painted_below_main(images):
    """Bytes of stack that the image uses in QEMU. Raises Failure, if it does not come to the end of its script."""
    command = ["qemu-system-arm", "-M", MACHINES[images.cpu], "-kernel", f"{images.path}.elf", "-display", "none",
               "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise Failure("the image does not come to its end in QEMU") from None
    said = done.stdout + done.stderr
    found = re.search(r"painted=(\w+)", said)
    if done.returncode != 0 or not found:
        raise Failure(f"the image does not work in QEMU (exit status {done.returncode}): {' '.join(said.split())}; "
                      f"the script is {CONFIGURATIONS[images.configuration][0].split('.')[0]}_script.h")
    return int(found.group(1), 16) - frames_of(images.objects)["main"]


# -------------------------------------------------------------------------------------------------------------- rows

def measure(images):
    cpu, configuration = images.cpu, images.configuration
    flash, libc = images.flash("")
    library = flash - images.flash("-without")[0]
    ram = size_of("size_of_client", images.objects[0])
    if cpu == "rv32imac":
        return Row(library, None, ram, None, None)
    try:
        stack, _ = stack_below_main(images)
    except Unknown as why:
        print(f"footprint.sh: {cpu} {configuration}: stack: {why}", file=sys.stderr)
        stack = None
    painted = painted_below_main(images)
    if stack is not None and stack < painted:
        raise Failure(f"{painted} bytes of stack have been used, more than the {stack} of the deepest path")
    return Row(library, libc, ram, stack, painted)


def value_of(row, column):
    """None if it is not known; of `flash`, library and libc."""
    if column == "flash" and None in (row.flash_library, row.flash_libc):
        return None
    return row.flash_library + row.flash_libc if column == "flash" else getattr(row, column)


def shown(value):
    return "-" if value is None else str(value)


def compiler():
    return run("arm-none-eabi-g++", "-dumpfullversion").strip()


def what_is_missing(cpu, configuration):
    if cpu == "rv32imac" and shutil.which("riscv64-unknown-elf-g++") is None:
        return "there is no riscv64-unknown-elf-g++ (Debian: gcc-riscv64-unknown-elf)"
    if configuration == REFERENCE and subprocess.run(["sh", ROOT / "tests/support/lwip.sh", LWIP]).returncode != 0:
        return "lwIP's source cannot be had"
    return None


def measure_all(wanted, folder):
    """Yields cpu, configuration, row, in this order; a row is None if it has failed, which has been told."""
    def one(which):
        try:
            return measure(Images(*which, folder))
        except Failure as why:
            print(f"footprint.sh: {' '.join(which)}: {why}", file=sys.stderr)
            return None

    missing = {which: what_is_missing(*which) for which in wanted}
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        rows = {which: threads.submit(one, which) for which in wanted if not missing[which]}
        for which in wanted:
            if missing[which]:
                print(f"footprint.sh: {' '.join(which)} is not tried: {missing[which]}", file=sys.stderr)
            yield *which, (NOTHING if missing[which] else rows[which].result())


def tell_goals(rows):
    """For people: how far the figures are from what is wanted."""
    lines = []
    for (configuration, column), goals in GOALS.items():
        row = rows.get(("cortex-m0plus", configuration))
        value = value_of(row, column) if row else None
        if value is None:
            continue
        told = [f"{name} {limit}: " + ("met" if value <= limit else f"{value - limit} too many")
                for name, limit in zip(("must", "goal"), goals)]
        lines.append(f"  {configuration:10} {column:11}{value:6}   {told[0]:26} {told[1]}")
    if lines:
        print("\ncortex-m0plus, bytes (flash: library and libc):", *lines, sep="\n", file=sys.stderr)


# ----------------------------------------------------------------------------------------------------------- budgets

def read_budgets():
    """The version of the compiler that they are for, and [cpu, configuration, column, bytes]."""
    lines = BUDGETS.read_text().splitlines()
    version = re.search(r"arm-none-eabi-gcc ([\d.]*\d)", lines[0]).group(1)
    budgets = [line.split("\t") for line in lines if not line.startswith("#")][1:]
    return version, [(cpu, configuration, column, int(size)) for cpu, configuration, column, size in budgets]


def check(folder, tighten):
    version, budgets = read_budgets()
    if compiler() != version:
        print(f"skipped: the budgets are for arm-none-eabi-gcc {version}, here is {compiler()}")
        sys.exit(77)
    wanted = list(dict.fromkeys(budget[:2] for budget in budgets))
    rows = {(cpu, configuration): row for cpu, configuration, row in measure_all(wanted, folder)}
    failed = False
    kept = []
    for cpu, configuration, column, budget in budgets:
        row = rows[cpu, configuration]
        value = value_of(row, column) if row else None
        what = f"{cpu} {configuration}: {column}"
        if value is None:
            failed = True
            print(f"FAILED: {what} could not be measured; its budget is {budget}")
        elif value > budget:
            failed = True
            print(f"FAILED: {what} is {value} bytes, {value - budget} more than its budget")
        elif value < budget and not tighten:
            print(f"note: {what} is {value} bytes, {budget - value} less than its budget: "
                  "sh bench/footprint.sh --tighten")
        kept.append((cpu, configuration, column, budget if value is None else min(value, budget)))
    if tighten:
        before = BUDGETS.read_text()
        head = before.split("\n", 2)[:2]
        BUDGETS.write_text("\n".join(head + ["\t".join(map(str, each)) for each in kept]) + "\n")
    if failed:
        sys.exit(f"Budgets are in {BUDGETS.relative_to(ROOT)}: make the client smaller, or say in the commit why it grows.")
    print(f"holds: {len(budgets)} budgets")


# ------------------------------------------------------------------------------------------------------------- parts

PARTS = [   # of a function's name, without namespaces of the library
    ("Outbox", r"BasicOutbox::"),
    ("Inbox", r"Inbox::"),
    ("Engine", r"BasicEngine::"),
    ("Client", r"Client::"),
    ("Journal", r"Journal::|storage::"),
    ("packets", r"(BasicWriter|BasicReader|FixedHeader|Propert\w+|Connect|Connack|Publish|Subscribe|Suback|Disconnect|Ack)::"),
    ("packets", r"\w*(encode|decode|valid|load|store|read|write)_?\w*$"),
]


def bare(name):
    """mqtt::v1::Engine::sent(unsigned int) [clone .isra.0]: mqtt::Engine::sent"""
    name = re.sub(r" \[clone [^]]*\]", "", name).replace("(anonymous namespace)", "application")
    while re.search(r"<[^<>]*>|\([^()]*\)", name):
        name = re.sub(r"<[^<>]*>|\([^()]*\)", "", name)
    return re.sub(r"mqtt::v1\w*::", "mqtt::", re.sub(r" const$", "", name).split(" ")[-1])


def symbols_of(elf):
    """What has a name and takes flash: address, size, name."""
    for line in run("arm-none-eabi-nm", "-S", "-C", elf).splitlines():
        match = re.match(r"(\w{8}) (\w{8}) ([TtWwRrVvDd]) (.*)", line)
        if match:
            yield int(match.group(1), 16), int(match.group(2), 16), match.group(4)


def tell_parts(cpu, configuration, folder):
    images = Images(cpu, configuration, folder)
    row = measure(images)
    libc = list(images.of_archives(""))
    before = {name: size for _, size, name in symbols_of(f"{images.path}-without.elf")}
    sizes = collections.Counter()
    functions = []
    for address, size, name in {(address & ~1): (address & ~1, size, name) for address, size, name in
                                symbols_of(f"{images.path}.elf")}.values():
        if any(begin <= address < begin + length for begin, length, _ in libc):
            continue
        size -= before.get(name, 0)
        if size == 0:
            continue
        of = bare(name)
        part = next((part for part, pattern in PARTS if re.match(pattern, of.replace("mqtt::", ""))), "other functions")
        if name in before or of.startswith(("application::", "_GLOBAL__sub_I")):
            part = "inlined into the application"
        sizes[part] += size
        functions.append((size, part, name))
    sizes["constants without a name, padding"] = row.flash_library - sum(sizes.values())
    print(f"{cpu} {configuration}: {row.flash_library} bytes of the library, {shown(row.flash_libc)} of libc and libgcc\n")
    for part, size in sizes.most_common():
        print(f"{size:7} {part}")
    print("\nThe largest functions:")
    for size, part, name in sorted(functions, reverse=True)[:25]:
        print(f"{size:7} {part:30} {re.sub('mqtt::v1[a-z0-9_]*::', '', name)}")
    if cpu == "rv32imac":
        return
    print(f"\nThe deepest path, {shown(row.stack)} bytes of stack, {row.painted} of them seen in QEMU:")
    _, path = stack_below_main(images)
    names = run("arm-none-eabi-c++filt", *[name for name, _ in path]).splitlines()
    for (_, size), name in zip(path, names):
        print(f"{size:7} {re.sub('mqtt::v1[a-z0-9_]*::', '', name)}")


# ------------------------------------------------------------------------------------------------------------ README

def write_readme(rows):
    """A line for each configuration; flash as library + libc."""
    cpus = [cpu for cpu in CPUS if cpu != "rv32imac"]
    table = f"arm-none-eabi-gcc {compiler()}, `-Os`, no LTO. Bytes of flash as library + libc and libgcc:\n\n"
    table += "| | " + " | ".join(cpu.replace("cortex-m", "Cortex-M").replace("plus", "+") for cpu in cpus)
    table += " | client object | stack |\n|---|" + "---|" * (len(cpus) + 2) + "\n"
    for configuration in CONFIGURATIONS:
        here = {cpu: rows[cpu, configuration] for cpu in cpus}
        ram = {here[cpu].ram_client for cpu in cpus}
        stacks = [here[cpu].stack for cpu in cpus]
        cells = [f"{shown(here[cpu].flash_library)} + {shown(here[cpu].flash_libc)}" for cpu in cpus]
        cells += [shown(ram.pop() if len(ram) == 1 else None), shown(None if None in stacks else max(stacks))]
        table += f"| {configuration} | " + " | ".join(cells) + " |\n"
    flash = {name: value_of(rows["cortex-m0plus", name], "flash") for name in CONFIGURATIONS}
    if None not in flash.values():
        table += "\n`3.1.1-A+journal` keeps the session on flash, with the port and the client object that this takes: on Cortex-M0+ " \
                 f"{flash['3.1.1-A+storage'] - flash['3.1.1-A']} bytes\nmore in the client (`+storage`: where records go is not " \
                 f"counted) and {flash['3.1.1-A+journal'] - flash['3.1.1-A+storage']} in `platform/journal.hpp`.\n"
    table += f"\n`{REFERENCE}` is lwIP's own client, for comparison: it resumes no session, delivers QoS 2 twice, ends " \
             "without DISCONNECT,\nand has its buffers in its object.\n"
    readme_block.write("footprint", "bench/footprint.sh", table)


def main():
    parser = argparse.ArgumentParser(prog="footprint.sh")
    parser.add_argument("--keep", metavar="FOLDER", type=pathlib.Path)
    mode = parser.add_mutually_exclusive_group()
    for name in ("--readme", "--check", "--tighten", "--parts"):
        mode.add_argument(name, action="store_true")
    parser.add_argument("cpu", nargs="?", choices=CPUS)
    parser.add_argument("configuration", nargs="?", choices=CONFIGURATIONS)
    arguments = parser.parse_args()
    if arguments.cpu and (arguments.readme or arguments.check or arguments.tighten):
        parser.error("that needs all rows: no CPU")
    if arguments.parts and not arguments.configuration:
        parser.error("--parts needs CPU and CONFIGURATION")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or pathlib.Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.check or arguments.tighten:
            return check(folder, arguments.tighten)
        if arguments.parts:
            missing = what_is_missing(arguments.cpu, arguments.configuration)
            if missing:
                sys.exit(f"footprint.sh: {missing}")
            return tell_parts(arguments.cpu, arguments.configuration, folder)
        rows = {}
        failed = []
        print("cpu", "configuration", *COLUMNS, sep="\t")
        wanted = [(cpu, configuration) for cpu in ([arguments.cpu] if arguments.cpu else CPUS)
                  for configuration in ([arguments.configuration] if arguments.configuration else CONFIGURATIONS)]
        for cpu, configuration, row in measure_all(wanted, folder):
            if row is None:
                failed.append(f"{cpu} {configuration}")
            rows[cpu, configuration] = row or NOTHING
            print(cpu, configuration, *map(shown, row or NOTHING), sep="\t", flush=True)
    tell_goals(rows)
    if failed:
        sys.exit("footprint.sh: failed: " + ", ".join(failed))
    if arguments.readme:
        write_readme(rows)


main()
