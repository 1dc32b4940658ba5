"""firmware_tls.py [--readme]: what TLS costs a microcontroller. See bench/firmware_tls.sh, which prepares what this needs.

flash, RAM   of examples/firmware, by the linker's maps (examples/firmware/sizes.py). What the client's port takes is what the
    image has more with TLS than without, save what is mbedTLS's and libc's.
memory       of the one array that is mbedTLS's heap, by mbedTLS's own count: an upper limit, for it counts the most bytes and
    the most blocks, though that may not be at once.
stack        painted; of the program with an exchange of messages (without TLS) or three connections.
instructions of a handshake, in the calls of poll() until CONNACK, counted by QEMU (-icount). A Cortex-M3 needs more than a
    cycle for most. They vary a little, for keys are random.
"""
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

import readme_block

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / ".build" / "firmware"
EXAMPLE = ROOT / "examples" / "firmware"
TEST = ROOT / "tests" / "firmware" / "image.cpp"
PORT = 1883   # nobody else is in this network
sys.path.insert(0, str(EXAMPLE))
import sizes   # noqa: E402

CONTENTS = {"": 0, "_tls": 16384, "_tls4": 4096}   # images, by the ends of their names: buffers for records, in bytes


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def build(name, application, content):
    mbedtls = [f"MBEDTLS={ROOT / '.build/mbedtls'}", f"CONTENT={content}"] if content else []
    run("make", "-s", "-j2", "-f", EXAMPLE / "Makefile", f"OUT={OUT}", f"IMAGE={name}", f"APPLICATION={application}", *mbedtls)


class Broker:
    """mosquitto, with a certificate for a key of this kind, or without TLS."""

    def __init__(self, key):
        self.folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self.folder.name)
        configuration = f"listener {PORT} 127.0.0.1\nallow_anonymous true\nuser root\n"
        if key:
            run("sh", EXAMPLE / "certificates.sh", folder, key)
            configuration += f"certfile {folder}/server.crt\nkeyfile {folder}/server.key\n"
        (folder / "mosquitto.conf").write_text(configuration)
        self.ca = folder / "ca.der"
        self.process = subprocess.Popen(["mosquitto", "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", PORT)) == 0:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit("mosquitto does not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def figures(image, what, key):
    """What the firmware prints: numbers by their names."""
    with Broker(key) as broker:
        said = run("timeout", "120", "qemu-system-arm", "-M", "mps2-an385", "-kernel", OUT / image, "-display", "none",
                   "-monitor", "none", "-serial", "stdio", "-nic", "user,model=lan9118", "-icount", "shift=0,sleep=off",
                   "-semihosting-config",
                   f"enable=on,target=native,arg=fw,arg=broker.test,arg={PORT},arg={what},arg={broker.ca}")
    return {name: int(number) for name, number in re.findall(r"(?m)^([\w ]+): (\d+)", said)}


def main():
    for end, content in CONTENTS.items():
        build("thermostat" + end, EXAMPLE / "main.cpp", content)
        build("firmware" + end, TEST, content)
    images = [sizes.sizes_of(OUT / f"thermostat{end}.map") for end in CONTENTS]
    seen = [{key: figures(f"firmware{end}.elf", "tls-figures" if content else "qos", key)
             for key in (("ec", "rsa") if content else (None,))} for end, content in CONTENTS.items()]

    def of_port(image, column):
        return sum(image[part][column] for part in ("mqtt.hpp", "platform/mbedtls.hpp", "application"))

    def flash(*parts):
        return [sum(image[part][0] for part in parts) for image in images]

    def either(name):   # with the two kinds of certificates
        return ["-"] + [" / ".join(str(each[key][name]) for key in ("ec", "rsa")) for each in seen[1:]]

    def both(name):   # the larger of the two
        return [max(of_key.get(name, 0) for of_key in each.values()) or "-" for each in seen]

    base = images[0]
    rows = [
        ("**flash**", [image["total"][0] for image in images]),
        ("`platform/mbedtls.hpp`, its texts, its set-up", [of_port(image, 0) - of_port(base, 0) or "-" for image in images]),
        ("mbedTLS", [size or "-" for size in flash("mbedTLS")]),
        ("thermostat, `mqtt.hpp`, lwIP, board, libc", [image["total"][0] - image["mbedTLS"][0] - of_port(image, 0) + of_port(base, 0)
                                                       for image in images]),
        ("**RAM**, with stack and reserves", [image["total"][1] for image in images]),
        ("`platform/mbedtls.hpp`, with 2048 for the CA", [of_port(image, 1) - of_port(base, 1) or "-" for image in images]),
        ("mbedTLS, in a handshake: ECDSA / RSA", either("memory peak")),
        ("mbedTLS, connected", both("memory while connected")),
        ("mbedTLS, between connections", both("memory between connections")),
        ("stack, used", both("stack")),
        ("**handshake**: ECDSA / RSA, million instructions", either("full handshake")),
        ("resumed, million instructions", both("resumed handshake")),
    ]
    table = f"Cortex-M3, arm-none-eabi-gcc {run('arm-none-eabi-gcc', '-dumpfullversion').strip()}, `-Os`; mbedTLS 2.28.3; bytes:\n\n"
    table += "| | TCP | TLS, records of 16 KB | TLS, records of 4 KB |\n|---|---|---|---|\n"
    table += "".join(f"| {name} | " + " | ".join(map(str, cells)) + " |\n" for name, cells in rows)
    print(table, end="")
    if sys.argv[1:] == ["--readme"]:
        readme_block.write("firmware-tls", "bench/firmware_tls.sh", table)
    elif sys.argv[1:]:
        sys.exit("usage: sh bench/firmware_tls.sh [--readme]")


main()
