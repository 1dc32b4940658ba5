"""run.py: builds and runs the benches, prints rows, draws plots, writes the README's tables. See bench/run.sh."""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import plots
import readme_block

ROOT = pathlib.Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build" / "bench"
SCRIPTS = ["tls", "journal"]   # that print rows by themselves, and fail if their figures are too large; not with --quick
BENCHES = ["codec", "scale", "throughput", "persistence", "clients"] + SCRIPTS
SUBJECTS = {   # program: name. The order is that of plots and tables
    "mqtt_hpp": "mqtt.hpp", "libmosquitto": "libmosquitto", "paho_sync": "paho C, MQTTClient",
    "paho_async": "paho C, MQTTAsync", "raw": "plain socket",
}
FAST = ["mqtt_hpp", "raw"]   # so much faster where nothing else holds them up that they need more messages to be timed
HALVES = ", refills by halves"
MEMORY, SYNCED, FILES = ", in memory", ", files and fsync", ", files"   # where the session is kept
WINDOWS = {1: 200, 20: 3000, 100: 10000}   # in flight: messages, if each waits for a disk
LIMITS = {   # instructions with 3.1.1 and GCC 12, and no more: what other clients take, or a little less
    "encode PUBLISH QoS 1, 16 B, copied": 200, "decode PUBLISH QoS 1, 16 B": 200, "encode CONNECT": 300,
    "encode SUBSCRIBE(3)": 270, "decode PUBACK": 80, "decode SUBACK(3)": 95, "decode CONNACK": 80,
    "publish QoS 0, 20 in one write": 330, "publish QoS 1 and its ack, in flight 1": 900, "receive QoS 0, rx 1 KB": 330,
}
FLAT = 1.3   # what a QoS 1 message may cost more with 10,000 in flight: it must not grow with their number


def progress(text):
    print(f"[{time.monotonic() - START:4.0f} s] {text}", file=sys.stderr, flush=True)


START = time.monotonic()

# --------------------------------------------------------------------------------------------------------------- build


def build():
    progress("build")
    options = ["-Dbench=enabled", "-Dtests=disabled", "-Dexamples=disabled", "-Doptimization=2", "-Ddebug=false",
               "-Db_ndebug=true"]
    environment = dict(os.environ, CXX="g++", CC="gcc")
    here = BUILD / "meson-info" / "meson-info.json"
    if here.exists() and f'"source": "{ROOT}"' not in here.read_text(encoding="utf-8"):
        shutil.rmtree(BUILD)   # another tree's
    again = ["--reconfigure"] if here.exists() else []
    run(["meson", "setup", *again, BUILD, ROOT, *options], env=environment)
    run(["ninja", "-C", BUILD, "benches"])


def run(command, **options):
    result = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}:\n{result.stdout}{result.stderr}")
    return result.stdout


def program(name):
    return BUILD / "bench" / f"bench_{name}"


# ---------------------------------------------------------------------------------------------------- instructions, time


def instructions(bench, command):
    """Rows of a program that dumps twice for each case (see bench/measure.hpp): the difference."""
    with tempfile.TemporaryDirectory() as folder:
        run(["valgrind", "--tool=callgrind", "--combine-dumps=yes", f"--callgrind-out-file={folder}/out", *command])
        counts, label = {}, None
        with open(f"{folder}/out", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("desc: Trigger: Client Request: "):
                    label = line.rstrip("\n").split(": ", 3)[3]
                elif line.startswith("totals: ") and label:
                    case, subject, count = label.split("\t")
                    counts.setdefault((case, subject), []).append((int(count), int(line.split()[1])))
                    label = None
    for (case, subject), ((few, less), (many, more)) in counts.items():
        yield bench, case, subject, "instructions", (more - less) / (many - few), "instructions"


def times(name, quick):
    for line in run([program(name), *quick]).splitlines():
        bench, case, subject, metric, value, unit = line.split("\t")
        yield bench, case, subject, metric, float(value), unit


def flatness(rows):
    """What QoS 1 costs with so many in flight, against one, and the largest of all against the smallest."""
    for version in ("3.1.1", "5"):
        pattern = re.compile(rf"publish QoS 1 and its ack, in flight (\d+), {re.escape(version)}$")
        curve = {}
        for _, case, _, metric, value, _ in rows:
            match = pattern.match(case)
            if match and metric == "instructions":
                curve[int(match[1])] = value
        for count in curve:
            if count > 1:
                ratio = curve[count] / curve[1]
                yield "scale", f"in flight {count} against 1, {version}", "mqtt.hpp", "ratio", ratio, "-"
        most = max(count for count in curve if count <= 10000)
        upto = [value for count, value in curve.items() if count <= most]
        case, ratio = f"in flight 1 to {most}, most against least, {version}", max(upto) / min(upto)
        yield "scale", case, "mqtt.hpp", "ratio", ratio, "-"


# -------------------------------------------------------------------------------------------------------------- servers


class Server:
    """A process that listens on 127.0.0.1, ended by its id."""

    def __init__(self, command, port):
        self.port = port
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def accepts(self):
        """Waits for it; False: it has ended."""
        while self.process.poll() is None:
            with socket.socket() as test:
                if test.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.02)
        return False


def free_port():
    with socket.socket() as test:
        test.bind(("127.0.0.1", 0))
        return test.getsockname()[1]


def mosquitto(folder):
    for _ in range(20):   # somebody else may take the port first
        port = free_port()
        configuration = pathlib.Path(folder) / "mosquitto.conf"
        configuration.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\nmax_queued_messages 0\n"
            "set_tcp_nodelay true\npersistence false\nlog_type none\n" + ("user root\n" if os.geteuid() == 0 else ""),
            encoding="utf-8")
        server = Server(["mosquitto", "-c", str(configuration)], port)
        if server.accepts():
            return server
    sys.exit("mosquitto does not start")


def embedded_broker():
    port = free_port()
    server = Server([BUILD / "embedded_broker", "--port", str(port)], port)
    if not server.accepts():
        sys.exit("embedded_broker does not start")
    return server


# ----------------------------------------------------------------------------------------------------------- throughput


def throughput_cases(quick):
    """(name, arguments, number of messages, which programs)."""
    everyone = [name for name in SUBJECTS if program(f"throughput_{name}").exists()]

    def case(name, what, count, qos, size=16, in_flight=100):
        arguments = [what, "--qos", str(qos), "--size", str(size), "--in-flight", str(in_flight)]
        return name, arguments, count, everyone

    def every(sizes):
        return sizes[:1] if quick else sizes

    sizes = every([16, 64, 1024])
    windows = [20, 100] if quick else [1, 20, 100, 1000]
    for size in sizes:
        yield case(f"into a sink, QoS 0, {size} B", "sink", 20000, 0, size)
    for qos in [0] if quick else [0, 1]:
        for size in sizes:
            yield case(f"from a source, QoS {qos}, {size} B", "source", 20000, qos, size)
    for window in windows[:1] if quick else windows:
        yield case(f"answered in batches, QoS 1, 16 B, in flight {window}", "answered", 10000, 1, in_flight=window)
    yield case("round trip to mosquitto, QoS 1, 16 B", "round-trip", 1000 if quick else 5000, 1, in_flight=1)
    for qos in [1] if quick else [0, 1, 2]:
        for size in sizes:
            for window in [100] if qos == 0 else windows[1:] if quick else windows:
                name = f"to mosquitto, QoS {qos}, {size} B" + ("" if qos == 0 else f", in flight {window}")
                count = 5000 if quick or window == 1 or qos == 2 else 10000
                yield case(name, "publish", count, qos, size, window)
    if not quick:
        for qos in (0, 1, 2):
            for size in sizes:
                yield case(f"from mosquitto, QoS {qos}, {size} B", "receive", 10000 // (1 + qos), qos, size)
        for qos in (0, 1, 2):
            yield case(f"through mosquitto to itself, QoS {qos}, 16 B", "both", 5000, qos)


def one(subject, arguments, count, port, prefix=()):
    """The output of a program of bench/throughput."""
    command = [*prefix, program(f"throughput_{subject}"), *arguments, "--count", str(count), "--port", str(port)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {result.returncode}\n{result.stderr}")
    return result.stdout


def throughput(quick):
    cases = list(throughput_cases(quick))
    rounds = 3 if quick else 5
    got = {}

    versions = {subject: run([program(f"throughput_{subject}"), "--version"]).strip() for subject in cases[0][3]}
    with tempfile.TemporaryDirectory() as folder, mosquitto(folder) as server:
        for turn in range(rounds):
            for name, arguments, count, subjects in cases:
                progress(f"throughput, round {turn + 1} of {rounds}: {name}")
                for subject in subjects:
                    many = count * (25 if subject in FAST and arguments[0] in ("sink", "source") else 1)
                    variants = {SUBJECTS[subject]: []}
                    if subject == "raw":
                        variants = {SUBJECTS[subject]: ["--halves"]}
                    elif subject == "mqtt_hpp" and arguments[0] == "publish" and "1" in arguments[2:3]:
                        variants[SUBJECTS[subject] + HALVES] = ["--halves"]
                    for shown, more in variants.items():
                        for line in one(subject, arguments + more, many, server.port).splitlines():
                            metric, value, unit = line.split("\t")
                            got.setdefault((name, shown, metric, unit), []).append(float(value))
        if shutil.which("strace") and subprocess.run(["strace", "-o", "/dev/null", "true"], check=False,
                                                     capture_output=True).returncode == 0:   # not in every container
            for name, arguments, count, subjects in cases:
                if arguments[0] not in ("sink", "source", "answered") or "16" not in arguments:
                    continue
                progress(f"throughput, under strace: {name}")
                for subject in subjects:
                    more = ["--halves"] if subject == "raw" else []
                    base = 200 if quick else 1000
                    few, many = (traced_calls(folder, lambda prefix, count=count: one(
                        subject, arguments + more, count, server.port, prefix)) for count in (base, 3 * base))
                    each = max(0, many - few) / (2 * base)
                    got[name, SUBJECTS[subject], "system_calls_by_strace", "calls/message"] = [each]
    for subject, version in versions.items():
        yield "throughput", "version", SUBJECTS[subject], "version", version, "-"
    for (name, shown, metric, unit), values in got.items():
        yield "throughput", name, shown, metric, statistics.median(values), unit


def traced_calls(folder, call):
    """All system calls of a program's threads, without those of the process that is the other side."""
    traces = pathlib.Path(tempfile.mkdtemp(dir=folder))
    call(["strace", "-ff", "-qq", "-o", str(traces / "trace")])
    calls = 0
    for trace in traces.iterdir():
        lines = trace.read_text(errors="replace").splitlines()
        if not any("PR_SET_PDEATHSIG" in line for line in lines[:10]):
            calls += len(lines)
    shutil.rmtree(traces)
    return calls


# ---------------------------------------------------------------------------------------------------------- persistence


def appended_durably(folder):
    """Times of fdatasync after appending what a message's record is long: the disk's limit, if each is waited for."""
    times = []
    with open(pathlib.Path(folder) / "appended", "wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(64))
            begin = time.monotonic()
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - begin)
    return times


def persistence(quick):
    """What it costs to keep the session in files, on the disk that this tree is on."""
    subjects = [("mqtt_hpp", MEMORY), ("mqtt_hpp", SYNCED), ("mqtt_hpp", SYNCED + HALVES), ("mqtt_hpp", FILES),
                ("paho_sync", FILES), ("paho_async", FILES), ("libmosquitto", MEMORY)]
    options = {MEMORY: [], SYNCED: ["--store"], SYNCED + HALVES: ["--halves", "--store"], FILES: ["--no-fsync", "--store"]}
    rounds = 1 if quick else 3
    got, waits = {}, []
    with tempfile.TemporaryDirectory() as folder, mosquitto(folder) as server, \
            tempfile.TemporaryDirectory(dir=BUILD) as disk:
        for turn in range(rounds):
            waits += appended_durably(disk)
            for qos in (1, 2):
                for window in [20] if quick else WINDOWS:
                    name = f"to mosquitto, QoS {qos}, 16 B, in flight {window}"
                    progress(f"persistence, round {turn + 1} of {rounds}: {name}")
                    for subject, how in subjects:
                        if not program(f"throughput_{subject}").exists():
                            continue
                        count = WINDOWS[window] if "fsync" in how else 4000
                        with tempfile.TemporaryDirectory(dir=disk) as store:
                            arguments = ["publish", "--qos", str(qos), "--in-flight", str(window)]
                            arguments += options[how] + ([store] if options[how] else [])
                            for line in one(subject, arguments, count, server.port).splitlines():
                                metric, value, unit = line.split("\t")
                                got.setdefault((name, SUBJECTS[subject] + how, metric, unit), []).append(float(value))
    yield "persistence", "append 64 B, and fdatasync", "the disk", "median", statistics.median(waits) * 1e6, "us"
    for (name, shown, metric, unit), values in got.items():
        yield "persistence", name, shown, metric, statistics.median(values), unit


# -------------------------------------------------------------------------------------------------------------- clients


def clients(quick):
    got = {}
    rounds = 1 if quick else 3
    counts = (1, 100, 1000) if quick else (1, 100, 1000, 10000)

    def command(server, count, messages):
        return [program("clients"), "--port", str(server.port), "--clients", str(count), "--messages", str(messages)]

    for turn in range(rounds):
        for count in counts:
            progress(f"clients, round {turn + 1} of {rounds}: {count}")
            with embedded_broker() as server:   # a new one, so that all find it the same
                messages = max(10000 if quick else 50000, 5 * count)
                result = subprocess.run(command(server, count, messages), capture_output=True, text=True, check=False)
            if result.returncode == 3:   # more files than may be open here
                print(result.stderr, end="", file=sys.stderr)
                counts = tuple(less for less in counts if less < count)
                break
            if result.returncode != 0:
                sys.exit(f"clients {count}: {result.stderr}")
            for line in result.stdout.splitlines():
                metric, value, unit = line.split("\t")
                got.setdefault((f"{count} clients in one process", metric, unit), []).append(float(value))
    for (case, metric, unit), values in got.items():
        yield "scale", case, "mqtt.hpp", metric, statistics.median(values), unit
    for count in counts:
        progress(f"clients, instructions: {count}")
        with embedded_broker() as server:
            yield from instructions("scale", command(server, count, 20 * count))


# -------------------------------------------------------------------------------------------------------------- scripts


def script(name, failures):
    progress(name)
    result = subprocess.run(["sh", f"bench/{name}.sh"], cwd=ROOT, capture_output=True, text=True, check=False)
    for line in result.stdout.splitlines():
        columns = line.split("\t")
        if len(columns) == 6 and columns[0] != "bench":
            yield tuple(columns)
    if result.returncode == 77:   # it says so when what it needs is not here
        print(result.stdout, end="", file=sys.stderr)
    elif result.returncode != 0:
        failures.append(f"{name}: {result.stderr.strip() or 'its figures are too large'}")


# --------------------------------------------------------------------------------------------------------------- README


def value_of(rows, bench, case, subject="mqtt.hpp", metric="instructions"):
    for row in rows:
        if row[:4] == (bench, case, subject, metric):
            return row[4]
    return None


def shown(value):
    if value is None:
        return "-"
    value = float(value)   # a script's is text
    if value >= 1e6:
        return f"{value / 1e6:.3g} M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def persistence_table(rows):
    """Lines of the README."""
    def cells(subject, metric):
        return [shown(value_of(rows, "persistence", f"to mosquitto, QoS {qos}, 16 B, in flight {window}", subject, metric))
                for qos in (1, 2) for window in WINDOWS]

    wait = value_of(rows, "persistence", "append 64 B, and fdatasync", "the disk", "median")
    lines = ["", "Messages/s to mosquitto, with the session kept on a disk, whose `fdatasync` takes "
             f"{shown(wait / 1000)} ms (median). A message survives a",
             "power cut only with `fsync`; without, it survives the end of the process. paho's file persistence has none, and",
             "libmosquitto keeps what is unanswered in memory.", "",
             "| in flight | " + " | ".join(f"QoS {qos}: {window}" for qos in (1, 2) for window in WINDOWS) + " |",
             "|---|" + "---|" * 2 * len(WINDOWS)]
    for subject in dict.fromkeys(row[2] for row in rows if row[0] == "persistence" and row[3] == "rate"):
        lines.append(f"| {subject} | " + " | ".join(cells(subject, "rate")) + " |")
        if "fsync" in subject:
            lines.append("| ... fsyncs per message | " + " | ".join(cells(subject, "syncs")) + " |")
    lines += ["", "The whole client with `platform/journal.hpp`, messages of 64 bytes, on 16 sectors of 4 KB that are programmed 8 bytes",
              "at a time; compactions included:", "", "| | publish QoS 1 | publish QoS 2 | receive QoS 1 | receive QoS 2 |",
              "|---|---|---|---|---|"]
    for shown_name, metric in [("bytes programmed per message", "programmed per message"),
                               ("erases per 1,000 messages, of all sectors", "erases per 1000 messages")]:
        figures = [shown(value_of(rows, "journal", f"client: {case}, 64 B", "16 x 4096, granularity 8", metric))
                   for case in ("publish QoS 1", "publish QoS 2", "receive QoS 1", "receive QoS 2")]
        lines.append(f"| {shown_name} | " + " | ".join(figures) + " |")
    return lines


def tables(rows):
    """The README's tables, all from `rows`."""
    def counts(bench, case, tail_5="", subject_3=None):
        cells = [value_of(rows, bench, f"{case}, 3.1.1"), value_of(rows, bench, f"{case}, 5{tail_5}")]
        cells += [value_of(rows, bench, f"{case}, 3.1.1", subject_3)] if subject_3 else []
        return " | ".join(map(shown, cells)) + ("" if subject_3 else " |")

    lines = ["x86-64, GCC, `-O2`: instructions in user space, which no noise of the machine changes. Payload of 16 bytes, topic of",
             "18, all checks of the specification:", "", "| | 3.1.1 | 5 | msgpack, same fields |", "|---|---|---|---|"]
    for shown_name, case in [
            ("encode PUBLISH QoS 1", "encode PUBLISH QoS 1, 16 B, copied"),
            ("decode PUBLISH QoS 1", "decode PUBLISH QoS 1, 16 B"),
            ("encode CONNECT", "encode CONNECT"), ("encode SUBSCRIBE, 3 filters", "encode SUBSCRIBE(3)"),
            ("decode PUBACK", "decode PUBACK"), ("decode SUBACK, 3 codes", "decode SUBACK(3)"),
            ("decode CONNACK", "decode CONNACK")]:
        lines.append(f"| {shown_name} | {counts('codec', case, ', 0 properties', 'msgpack')} |")
    for shown_name, case in [
            ("client: publish QoS 0, each written at once", "publish QoS 0, each written at once"),
            ("client: publish QoS 0, 20 in one write", "publish QoS 0, 20 in one write"),
            ("client: publish QoS 1 and its ack, 1 in flight", "publish QoS 1 and its ack, in flight 1"),
            ("the same, 1,000 in flight", "publish QoS 1 and its ack, in flight 1000"),
            ("client: message received, QoS 0, `rx` of 256 B", "receive QoS 0, rx 256 B"),
            ("the same, `rx` of 64 KB", "receive QoS 0, rx 64 KB")]:
        lines.append(f"| {shown_name} | {counts('scale', case)} |")

    def versions(subject):
        return value_of(rows, "throughput", "version", subject, "version")

    names = [name for name in SUBJECTS.values() if versions(name) is not None]
    titles = [name if name in ("mqtt.hpp", "plain socket") else f"{name} {versions(name)}" for name in names]
    lines += ["", "Side by side on one machine, in one run, the median of several rounds. The plain socket is the limit: packets made",
              "beforehand, in large writes, and nothing is checked.", "", "| | " + " | ".join(titles) + " |",
              "|---|" + "---|" * len(names)]
    for shown_name, case, metric in [
            ("messages/s, QoS 0, into a process that takes all", "into a sink, QoS 0, 16 B", "rate"),
            ("messages/s received, QoS 0", "from a source, QoS 0, 16 B", "rate"),
            ("system calls per QoS 0 publish", "into a sink, QoS 0, 16 B", "system_calls"),
            ("... per QoS 1 publish, 20 in flight, answered in batches", "answered in batches, QoS 1, 16 B, in flight 20",
             "system_calls"),
            ("... per message received", "from a source, QoS 0, 16 B", "system_calls"),
            ("CPU time per QoS 1 publish to mosquitto, 100 in flight, µs", "to mosquitto, QoS 1, 16 B, in flight 100",
             "cpu"),
            ("round trip QoS 1 to mosquitto, median, µs", "round trip to mosquitto, QoS 1, 16 B", "median")]:
        cells = [shown(value_of(rows, "throughput", case, name, metric)) for name in names]
        lines.append(f"| {shown_name} | " + " | ".join(cells) + " |")
    lines += persistence_table(rows)
    lines += ["", "![instructions per message against the number in flight](bench/plots/in_flight.svg)",
              "![messages per second](bench/plots/rate.svg)"]
    return "\n".join(lines) + "\n"


# ----------------------------------------------------------------------------------------------------------------- main


def main():
    parser = argparse.ArgumentParser(prog="run.sh")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("bench", nargs="*", metavar="BENCH", help=", ".join(BENCHES))
    arguments = parser.parse_args()
    unknown = set(arguments.bench) - set(BENCHES)
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    if arguments.readme and (arguments.quick or arguments.bench):
        parser.error("--readme is for all of them, in full")
    wanted = arguments.bench or [name for name in BENCHES if not (arguments.quick and name in SCRIPTS)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))   # ends what has been started, too

    build()
    rows = []
    print("bench\tcase\tsubject\tmetric\tvalue\tunit", flush=True)

    def tell(more):
        for row in more:
            rows.append(row)
            value = row[4] if isinstance(row[4], str) else f"{row[4]:.6g}"
            print(*row[:4], value, row[5], sep="\t", flush=True)

    quick = ["--quick"] if arguments.quick else []
    driven = [name for name in ("codec", "scale") if name in wanted]
    if driven:
        progress(f"instructions: {', '.join(driven)}")   # of all benches only these do not mind company
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for result in pool.map(lambda name: list(instructions(name, [program(name), *quick])), driven):
            tell(result)
    if "scale" in wanted:
        tell(list(flatness(rows)))
    for name in driven:
        progress(f"times: {name}")
        tell(times(name, quick))
    if "throughput" in wanted:
        tell(throughput(arguments.quick))
    if "persistence" in wanted:
        tell(persistence(arguments.quick))
    if "clients" in wanted:
        tell(clients(arguments.quick))
    failures = []
    for name in SCRIPTS:
        if name in wanted:
            tell(script(name, failures))
    folder = ROOT / "bench" / "plots" if arguments.readme else BUILD / "plots"
    progress(f"plots in {folder.relative_to(ROOT)}")
    plots.draw(rows, folder)
    if arguments.readme:
        readme_block.write("bench", "bench/run.sh", tables(rows))
    failures += [f"it grows: {row[1]}: {row[4]:.3g}" for row in rows if "most against least" in row[1] and row[4] > FLAT]
    failures += [f"too slow: {row[1]}: {row[4]:.0f} instructions, and not {limit}" for case, limit in LIMITS.items()
                 for row in rows if row[1:4] == (f"{case}, 3.1.1", "mqtt.hpp", "instructions") and row[4] > limit]
    failures += [f"not durable: {row[1]}: {row[4]:.3g} fsyncs per message" for row in rows
                 if row[2].endswith(SYNCED) and row[3] == "syncs" and row[1].endswith("in flight 1")
                 and row[4] < int(re.search(r"QoS (\d)", row[1])[1])]
    for failure in failures:
        print(f"run.sh: {failure}", file=sys.stderr)
    progress("done")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
