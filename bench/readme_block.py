"""Tables that scripts write into the README, each between two markers."""
import pathlib
import sys

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"


def write(name, script, text):
    """Replaces what stands between <!-- NAME: sh SCRIPT --readme --> and <!-- /NAME -->; each is a line of its own."""
    begin, end = f"<!-- {name}: sh {script} --readme -->\n", f"<!-- /{name} -->"
    readme = README.read_text(encoding="utf-8")
    if begin not in readme or end not in readme:
        sys.exit(f"{README}: the markers for the table are missing: {begin.strip()} and {end}")
    before, rest = readme.split(begin, 1)
    README.write_text(before + begin + text + end + rest.split(end, 1)[1], encoding="utf-8")
