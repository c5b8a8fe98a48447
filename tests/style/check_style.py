#!/usr/bin/env python3
"""Checks habits that a compiler does not: file lengths, names, comments, formatting.

check_style.py            all tracked files
check_style.py --self-test
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from repository import ROOT, only_self_test, tracked

SOURCE_SUFFIXES = {".h", ".cc", ".cu", ".cuh", ".py", ".proto", ".cmake", ".sh"}
MAX_LINES = 600
BANNED_WORDS_IN_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "stuff"}
LOOSE_ENDS = re.compile(
    r"\b(" + "|".join(("FIX" + "ME", "X" + "XX", "HA" + "CK", "TO" + "DO")) + r")\b"
)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|home|root|tmp/[a-z])/")


def complaints(path: str, text: str) -> list[str]:
    """What is wrong with one file; `path` is relative to the root."""
    found = []
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        found.append(f"{path}: {len(lines)} lines, at most {MAX_LINES}: split it by idea")
    words = set(re.split(r"[_\W]+", Path(path).stem))
    if banned := words & BANNED_WORDS_IN_NAMES:
        found.append(f"{path}: name says nothing: {', '.join(sorted(banned))}")
    for number, line in enumerate(lines, 1):
        if LOOSE_ENDS.search(line):
            found.append(f"{path}:{number}: a loose end: {line.strip()[:60]}")
        if MACHINE_PATHS.search(line):
            found.append(f"{path}:{number}: a path of one machine: {line.strip()[:60]}")
        if len(line) > 100 and not path.endswith((".proto", ".sh")) and "http" not in line:
            found.append(f"{path}:{number}: {len(line)} columns, at most 100")
        if line != line.rstrip():
            found.append(f"{path}:{number}: trailing space")
    if path.endswith(".h") and not path.endswith("-inl.h"):  # read once per SIMD target
        guard = "TIGHTFIT_" + re.sub(r"\W", "_", path).upper() + "_"
        if f"#ifndef {guard}" not in text:
            found.append(f"{path}: include guard is not {guard}")
        if not text.startswith("//"):
            found.append(f"{path}: no comment on top that says what it is for")
    return found


def self_test() -> None:
    """Controls: each rule fires on a file that breaks it."""
    guard = "#ifndef TIGHTFIT_A_B_H_\n"
    assert not complaints("a/b.h", "// What it is.\n" + guard)
    assert complaints("a/b.h", guard)
    assert complaints("a/b.h", "// What it is.\n")
    assert complaints("a/b.cc", "\n" * 601) and complaints("tests/b.cc", "\n" * 601)
    assert complaints("a/string_util.cc", "")
    assert complaints("a/b.cc", "x" * 101) and not complaints("a/b.cc", "x" * 100)
    assert complaints("a/b.py", "# TO" + "DO: later")
    assert complaints("a/b.py", "open('/wo" + "rk/x')")
    assert complaints("a/b.cc", "int x; ")


def main() -> int:
    if only_self_test(__doc__, self_test):
        return 0
    sources = [p for p in tracked() if Path(p).suffix in SOURCE_SUFFIXES and (ROOT / p).is_file()]
    found = [line for p in sources for line in complaints(p, (ROOT / p).read_text("utf-8"))]
    if shutil.which("clang-format"):
        cxx = [str(ROOT / p) for p in sources if p.endswith((".h", ".cc"))]
        result = subprocess.run(["clang-format", "--dry-run", *cxx], capture_output=True, text=True)
        unformatted = sorted(
            {
                line.split(":")[0].removeprefix(f"{ROOT}/")
                for line in result.stderr.splitlines()
                if "clang-format-viol" in line
            }
        )
        found += [f"{p}: not formatted: run clang-format -i" for p in unformatted]
    print("\n".join(found) if found else f"{len(sources)} files keep the habits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
