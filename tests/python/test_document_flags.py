"""Programs, commands and flags that README.md and docs/ name are those that the programs know."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator

import pytest
from documented_commands import commands, spans
from server_process import BUILD, ROOT

from tightfit_export.cli_options import parser

PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
PROGRAM = re.compile(
    r"(?:\S*/)?(tightfit(?:-server|-weights|-export|-fidelity|-pack)?)((?: [a-z]+\b(?![=./-]))*)"
)
OURS = re.compile(r"--|\./")
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
# Of programs that are not ours.
FOREIGN = {"--build-arg", "--gpus"}


@functools.cache
def help_of(program: str, words: str = "") -> str:
    """What the program says of itself, or of a command of it. Empty where there is none."""
    if program == "tightfit-export":
        return parser().format_help()
    told = subprocess.run(
        [BUILD / "bin" / program, *words.split(), "--help"], capture_output=True, text=True
    ).stdout
    # An unknown command before --help is answered with the help of all.
    return told if re.search(rf"Usage: \S*{program} {words}".strip(), told) else ""


@functools.cache
def every_flag() -> set[str]:
    """Those of all programs and scripts."""
    text = help_of("tightfit-server") + help_of("tightfit-export") + help_of("tightfit-weights")
    text += help_of("tightfit", "fidelity") + help_of("tightfit", "pack")
    listed = re.findall(r"^  ([a-z]+)  ", help_of("tightfit"), re.MULTILINE)
    assert {"generate", "models", "load"} <= set(listed), listed
    for program, names in (("tightfit", listed), ("tightfit-weights", ["report", "encode"])):
        text += "".join(help_of(program, name) for name in names)
    for folder in ("deploy", "tests/bench", "tests/fuzz", "tests/gpu"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".sh", ".py") and path.is_file():
                text += path.read_text("utf-8")
    text += (ROOT / "tests" / "run.sh").read_text("utf-8")
    return set(FLAG.findall(text))


def wrong_in(line: str) -> Iterator[str]:
    found = PROGRAM.match(line)
    known = every_flag()
    if found and found[2]:
        # What follows a command may be its argument: `tightfit load my-model`.
        words = found[2].split()
        helps = [help_of(found[1], " ".join(words[:n])) for n in range(len(words), 0, -1)]
        told = next((each for each in helps if each), "")
        if not told:
            yield f"{line}: no such command"
        known = set(FLAG.findall(told))
    elif found and found[1] != "tightfit":
        known = set(FLAG.findall(help_of(found[1])))
    unknown = set(FLAG.findall(line)) - known - FOREIGN
    yield from (f"{line}: {flag}" for flag in sorted(unknown))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_what_there_is(page: str) -> None:
    lines = [part for line in commands(page) for part in re.split(r" (?:&&|\|) ", line)]
    ours = [line for line in (*lines, *spans(page)) if OURS.match(line) or PROGRAM.match(line)]
    wrong = [each for line in ours for each in wrong_in(line)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "line",
    [
        "tightfit draw x",
        "tightfit generate x --scheduler euler",
        "build/release/bin/tightfit-weights report x --format hf8",
        "--no-such-flag",
        "tightfit-export --source x --output y",
    ],
)
def test_what_there_is_not_would_be_noticed(line: str) -> None:
    assert list(wrong_in(line))
