"""summary.py LOG.json... [--failed-builds NAME...]: what the test runs that meson logged come to.

Prints the output of each test that failed, why others were skipped, lines that begin with `note: `, and last
`N passed, N failed, N skipped`. A doctest program counts as many as it says itself, any other test as one.
"""
import json
import os
import re
import sys

COUNTS = re.compile(r"^test cases: passed (\d+), failed (\d+), skipped (\d+)$", re.MULTILINE)


def counts(test):
    found = COUNTS.findall(test.get("stdout") or "")
    passed, failed, skipped = map(int, found[-1]) if found else (0, 0, 0)
    if test["result"] == "OK":
        return (passed, failed, skipped) if found else (1, 0, 0)
    if test["result"] == "SKIP":
        return (0, 0, skipped) if found else (0, 0, 1)
    return passed, max(failed, 1), skipped


def main():
    arguments = sys.argv[1:]
    at = arguments.index("--failed-builds") if "--failed-builds" in arguments else len(arguments)
    logs, broken = arguments[:at], arguments[at + 1:]

    total = [0, 0, 0]
    notes, failures = [], []
    for log in logs:
        compiler = log.split(os.sep)[-3]
        if not os.path.exists(log):
            continue   # no test in these suites
        with open(log, encoding="utf-8") as file:
            tests = [json.loads(line) for line in file]
        for test in tests:
            name = f"{compiler}: {test['name'].split(':', 1)[-1]}"
            passed, failed, skipped = counts(test)
            total = [total[0] + passed, total[1] + failed, total[2] + skipped]
            lines = (test.get("stdout") or "").splitlines()
            notes += [f"{name}: {line}" for line in lines if line.startswith(("note: ", "skipped: "))]
            if failed:
                failures.append((name, test))
    for name, test in failures:
        print(f"\n==== {name}: {test['result']}, exit status {test['returncode']}, {test['duration']:.1f} s")
        for stream in ("stdout", "stderr"):
            if test.get(stream):
                print(test[stream].rstrip())
    print()
    for line in notes:
        print(line)
    for name, test in failures:
        print(f"failed: {name}")
    for name in broken:
        print(f"failed: {name}: the build, see above")
    total[1] += len(broken)
    if sum(total) == 0:
        print("no test ran")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] != 0 or total[0] == 0 else 0


sys.exit(main())
