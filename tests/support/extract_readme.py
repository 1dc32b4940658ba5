"""extract_readme.py README.md OUT.cpp: writes the first ```cpp block of README.md, so that it can be compiled."""
import re
import sys

readme, out = sys.argv[1:]
with open(readme, encoding="utf-8") as file:
    text = file.read()
block = re.search(r"^```cpp\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
if block is None:
    sys.exit(f"{readme}: there is no ```cpp block")
line = text.count("\n", 0, block.start(1)) + 1
with open(out, "w", encoding="utf-8") as file:
    file.write(f'#line {line} "README.md"\n{block.group(1)}')
