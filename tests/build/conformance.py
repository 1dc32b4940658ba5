"""conformance.py [--table] [PROGRAM...]: which test case holds which normative statement of MQTT 3.1.1 and of MQTT 5.

PROGRAM is a doctest program (default: all that tests/run.sh has built with GCC); the names of its test cases carry the
ids, as in `[MQTT-3.3.1-2] DUP is 0 with QoS 0`. Both versions have ids of the same form: they are those of version 5 if
the name begins with `MQTT 5 `, else those of 3.1.1.
Fails if a statement that can be tested in a client (tests/spec/*.tsv) stands in no name, or a name has an id that is no
statement's. --table writes the statements and their tests in Markdown.
"""
import csv
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PREFIX = "MQTT 5 "


class Version:
    def __init__(self, name, file):
        self.name = name
        with open(ROOT / "tests" / "spec" / file, encoding="utf-8", newline="") as rows:
            statements = list(csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE))
        self.tests = {statement["id"]: [] for statement in statements}
        self.wanted = [statement for statement in statements if statement["testable_in_client"] == "yes"]

    def missing(self):
        return [statement for statement in self.wanted if not self.tests[statement["id"]]]

    def print_table(self):
        print(f"### MQTT {self.name}\n\n| clause | statement | tests |\n|---|---|---|")
        for statement in self.wanted:
            names = [re.sub(rf"^{PREFIX}|\[MQTT-[^]]*\],?\s*", "", name) for name in self.tests[statement["id"]]]
            cells = statement["id"], statement["statement"], "<br>".join(dict.fromkeys(names)) or "**none**"
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        print()


def test_cases(program):
    listing = subprocess.run([program, "--list-test-cases", "--no-version", "--no-colors=true"], check=True,
                             capture_output=True, text=True).stdout
    return [line.strip() for line in listing.splitlines() if line.strip() and not line.startswith("[doctest]")
            and not line.startswith("=====")]


def main():
    arguments = sys.argv[1:]
    table = "--table" in arguments
    programs = [argument for argument in arguments if argument != "--table"]
    if not programs:
        built = ROOT / ".build" / "gcc" / "tests"
        programs = sorted(str(file) for file in built.glob("*_*") if file.is_file() and os.access(file, os.X_OK))

    v3, v5 = versions = Version("3.1.1", "normative-mqtt311.tsv"), Version("5", "normative-mqtt5.tsv")
    unknown = []
    for program in programs:
        if not pathlib.Path(program).exists():
            print(f"not built: {program}")
            continue
        for name in test_cases(program):
            version = v5 if name.startswith(PREFIX) else v3
            for clause in dict.fromkeys(re.findall(r"MQTT-\d+(?:\.\d+)*-\d+", name)):
                if clause in version.tests:
                    version.tests[clause].append(name)
                else:
                    unknown.append(f"no such statement of MQTT {version.name}: {clause}, in the test case '{name}'")

    if table:
        for version in versions:
            version.print_table()
        return 0
    for version in versions:
        for statement in version.missing():
            clause = f"{statement['id']} ({statement['kind']})"
            print(f"MQTT {version.name}: no test case: {clause}: {statement['statement']}")
    print(*unknown, sep="\n", end="\n" if unknown else "")
    numbers = [f"MQTT {version.name}: {len(version.wanted) - len(version.missing())} of {len(version.wanted)}"
               for version in versions]
    print(f"note: statements that can be tested in a client and stand in the name of a test case: {', '.join(numbers)}")
    return 1 if unknown or any(version.missing() for version in versions) else 0


sys.exit(main())
