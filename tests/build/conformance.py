"""conformance.py [--table] [PROGRAM...]: which test case holds which normative statement of MQTT 3.1.1.

PROGRAM is a doctest program (default: all that tests/run.sh has built with GCC); the names of its test cases carry the ids, as in `[MQTT-3.3.1-2] DUP is 0 with QoS 0`.
Fails if a statement that can be tested in a client (tests/spec/normative-mqtt311.tsv) stands in no name, or a name
has an id that is no statement's. --table writes the statements and their tests in Markdown.
"""
import csv
import os
import pathlib
import re
import subprocess
import sys

SPEC = pathlib.Path(__file__).resolve().parents[1] / "spec" / "normative-mqtt311.tsv"


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
        built = SPEC.parents[2] / ".build" / "gcc" / "tests"
        programs = sorted(str(file) for file in built.glob("*_*") if file.is_file() and os.access(file, os.X_OK))
    with open(SPEC, encoding="utf-8", newline="") as file:
        statements = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))

    tests = {statement["id"]: [] for statement in statements}
    unknown = []
    for program in programs:
        if not pathlib.Path(program).exists():
            print(f"not built: {program}")
            continue
        for name in test_cases(program):
            for clause in dict.fromkeys(re.findall(r"MQTT-\d+(?:\.\d+)*-\d+", name)):
                if clause in tests:
                    tests[clause].append(name)
                else:
                    unknown.append((clause, name))

    wanted = [statement for statement in statements if statement["testable_in_client"] == "yes"]
    missing = [statement for statement in wanted if not tests[statement["id"]]]
    if table:
        print("| clause | statement | tests |")
        print("|---|---|---|")
        for statement in wanted:
            names = [re.sub(r"\[MQTT-[^]]*\]\s*", "", name) for name in tests[statement["id"]]]
            cells = statement["id"], statement["statement"], "<br>".join(dict.fromkeys(names)) or "**none**"
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        return 0
    for statement in missing:
        print(f"no test case: {statement['id']} ({statement['kind']}): {statement['statement']}")
    for clause, name in unknown:
        print(f"no such statement: {clause}, in the test case '{name}'")
    print(f"note: {len(wanted) - len(missing)} of {len(wanted)} statements that can be tested in a client stand in the "
          "name of a test case")
    return 1 if missing or unknown else 0


sys.exit(main())
