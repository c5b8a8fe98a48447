"""The option tables of a program, read from what its --help prints: there is no second list."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_OPTION = re.compile(r"  (?:(-\w),)?(--[a-z0-9][a-z0-9-]*)(?: (.*))?$")
_COMMAND = re.compile(r"  ([a-z][a-z0-9-]*)\s{2,}(\S.*)$")


@dataclass(frozen=True)
class Option:
    """short: "-o", or empty; value: "FILE", "leading|trailing", or empty for a flag"""

    short: str
    long: str
    value: str
    description: str

    @property
    def names(self) -> list[str]:
        return [name for name in (self.short, self.long) if name]

    @property
    def choices(self) -> list[str]:
        """The words among `a|b|N`; places for what the user makes up are written in capitals."""
        words = self.value.split("|")
        return [word for word in words if word == word.lower()] if len(words) > 1 else []

    @property
    def takes_path(self) -> bool:
        return self.value in ("FILE", "PATH", "DIR")


@dataclass(frozen=True)
class Command:
    """words: ("tightfit", "generate"); commands: those below it, in the order of its help"""

    words: tuple[str, ...]
    description: str
    options: tuple[Option, ...]
    commands: tuple[Command, ...]

    def below(self) -> Iterator[Command]:
        """All commands below this one, at any depth."""
        for each in self.commands:
            yield each
            yield from each.below()


def read_command(program: Path, words: Sequence[str] = ()) -> Command:
    """Asks `program WORDS --help`, and so for all commands below. Raises ValueError."""
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True)
    if done.returncode != 0 or not done.stdout:
        raise ValueError(f"{program.name} {' '.join(words)} --help: {done.stderr.strip()}")
    below = []
    for name, description in commands_of(done.stdout):
        try:
            below.append(read_command(program, (*words, name)))
        except ValueError:  # it has no help of its own
            below.append(Command((program.name, *words, name), description, (), ()))
    first, _, _ = done.stdout.partition("\n")
    return Command((program.name, *words), first.rstrip("."), options_of(done.stdout), tuple(below))


def options_of(text: str) -> tuple[Option, ...]:
    """Every option of a help text, in order."""
    lines = text.splitlines()
    column = _description_column(lines)
    found = []
    for number, line in enumerate(lines):
        left, right = line[: column - 1], line[column:]
        if line[column - 1 : column] not in ("", " "):  # the left side is wider than its column
            left, right = line, ""
        match = _OPTION.match(left.rstrip())
        if match is None:
            continue
        description = [right.strip()]
        for below in lines[number + 1 :]:
            if not below.startswith(" " * column):
                break
            description.append(below.strip())
        short, long, value = match.groups()
        # What stands behind the name of the value: its default, the variable, that it is needed.
        name = re.split(r"[ =]", value or "")[0] if "[" not in (value or "") else value
        found.append(Option(short or "", long, name, " ".join(description).strip()))
    return tuple(found)


def commands_of(text: str) -> list[tuple[str, str]]:
    """Names and descriptions below the heading of the commands."""
    _, _, rest = text.partition("\nSubcommands:\n")
    found = []
    for line in rest.splitlines():
        match = _COMMAND.match(line)
        if match is not None:
            found.append((match[1], match[2]))
        elif not line.startswith(" "):
            break
    return found


def _description_column(lines: list[str]) -> int:
    """Where most descriptions begin."""
    columns = Counter(
        match.end()
        for line in lines
        if (match := re.match(r"  -\S*(?: \S+)*\s{2,}(?=\S)", line)) is not None
    )
    return columns.most_common(1)[0][0] if columns else 10**6
