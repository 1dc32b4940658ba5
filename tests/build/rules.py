"""rules.py: what the headers for firmware may include, and words that stand nowhere in their code.

Comments and strings are taken out first. That no mutable static data is in it is asked of a compiler, by no_library.sh.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = ["mqtt.hpp", "platform/journal.hpp", "platform/storage.hpp"]

INCLUDES = {   # freestanding headers of C++17, and four more
    "stddef.h", "stdint.h", "limits.h", "cstddef", "cstdint", "climits", "limits", "new", "type_traits",
    "initializer_list", "string.h", "string_view",
}
WORDS = {
    r"\b(float|double)\b": "no floating point",
    r"\b(new|(?<!= )delete|malloc|calloc|realloc|free)\b": "no heap",   # `= delete` is something else
    r"\b(try|catch|throw)\b": "no exceptions",
    r"\b(dynamic_cast|typeid)\b": "no run-time type information",
    r"\bvirtual\b": "no virtual functions",
    r"\bstd::(function|string|vector|optional|unique_ptr|shared_ptr)\b": "nothing that allocates, or that no include is for",
    r"\b(goto|setjmp|longjmp|alloca)\b": "nothing that jumps or grows the stack",
    r"\b(thread_local|mutable)\b": "no hidden state",
    r"(?m)^\s*static (?!constexpr|const |_?assert|inline constexpr)[^(\n]*(=|;|\{)": "no mutable static data",
    r"(?m)^(inline |extern )(?!constexpr|namespace)[^(\n]*(=[^=]|;)": "no mutable global data",
    r"\bassert *\(": "MQTT_ASSERT, not assert",
}


def code_only(text):
    """The text with comments and what stands in quotes replaced by spaces, so that line numbers stay."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)

    def blank(match):
        found = match.group(0)
        # 65'535: a digit separator, not a character
        return found if found.startswith("'") and text[match.start() - 1].isdigit() else re.sub(r"[^\n]", " ", found)

    return token.sub(blank, text)


def broken_rules(text):
    code = code_only(text)
    for match in re.finditer(r"(?m)^\s*#\s*include\s*(\S+)", text):
        if match.group(1) == '"storage.hpp"':
            continue   # one of HEADERS
        if match.group(1).strip("<>") not in INCLUDES or match.group(1)[0] != "<":
            yield match.start(1), match.group(1), "not one of the headers that may be included"
    for pattern, rule in WORDS.items():
        for match in re.finditer(pattern, code):
            yield match.start(), match.group(0).strip(), rule


def main():
    samples = ["#include <vector>\n", "double d;\n", "auto p = new int;\n", "    static int calls = 0;\n",
               "inline int count;\n", "    throw 1;\n", "struct A { virtual ~A(); };\n"]
    for sample in samples:
        if not list(broken_rules(sample)):
            sys.exit(f"this check does not see: {sample}")
    failed = 0
    for header in HEADERS:
        text = (ROOT / header).read_text(encoding="utf-8")
        for position, found, rule in sorted(broken_rules(text)):
            print(f"{header}:{text.count(chr(10), 0, position) + 1}: '{found}': {rule}")
            failed = 1
    return failed


sys.exit(main())
