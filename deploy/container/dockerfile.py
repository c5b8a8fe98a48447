"""Reads the part of the Dockerfile language that ours uses, and refuses the rest by line.

Refusing is what keeps the two ways to build the image alike: an instruction that
deploy/container_check.sh could not run is an error of it, never left out.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

STEPS = ("RUN", "COPY", "WORKDIR")
SETTINGS = ("ARG", "ENV", "LABEL", "EXPOSE", "USER", "STOPSIGNAL", "HEALTHCHECK")
STARTS = ("ENTRYPOINT", "CMD")
_FLAGS = {
    "COPY": {"from"},
    "HEALTHCHECK": {"interval", "timeout", "start-period", "retries"},
}


class DockerfileError(Exception):
    """One line for people: where, what, what to do."""


@dataclass(frozen=True)
class Instruction:
    """value: what follows the keyword, comments and line breaks gone, flags and variables in it.

    arguments: `value` without its flags; flags: name -> value
    """

    line: int
    keyword: str
    value: str
    arguments: str
    flags: Mapping[str, str]

    def words(self) -> list[str]:
        return shlex.split(self.arguments)

    def command(self) -> list[str]:
        """Of the exec form, a JSON list; the shell form goes through /bin/sh as in Docker."""
        if not self.arguments.startswith("["):
            return ["/bin/sh", "-c", self.arguments]
        try:
            command = json.loads(self.arguments)
        except ValueError:
            raise self.error("is neither a JSON list nor a command for the shell") from None
        if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
            raise self.error("is no list of texts")
        return command

    def error(self, what: str) -> DockerfileError:
        return DockerfileError(f"Dockerfile:{self.line}: {self.keyword} {what}")


@dataclass
class Stage:
    """One FROM and what follows it. base: an image or the name of an earlier stage."""

    name: str
    base: str
    instructions: list[Instruction] = field(default_factory=list)


@dataclass(frozen=True)
class Dockerfile:
    """arguments: of the ARG instructions before the first FROM."""

    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]


def read_instructions(text: str) -> list[Instruction]:
    """Raises DockerfileError for an instruction or a flag that is not known here."""
    found = []
    pending: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("#") or (not stripped and pending):
            continue
        if not stripped:
            continue
        if not pending:
            first = number
        pending.append(line.rstrip().removesuffix("\\") if line.rstrip().endswith("\\") else line)
        if not line.rstrip().endswith("\\"):
            found.append(_instruction(first, "".join(pending)))
            pending = []
    if pending:
        raise DockerfileError(f"Dockerfile:{first}: the last line is continued by nothing")
    return found


def _instruction(line: int, text: str) -> Instruction:
    keyword, _, value = text.strip().partition(" ")
    keyword, value = keyword.upper(), value.strip()
    bare = Instruction(line, keyword, value, value, {})
    if keyword not in ("FROM", *STEPS, *SETTINGS, *STARTS):
        raise bare.error("is an instruction that deploy/container_check.sh cannot run")
    if not value:
        raise bare.error("has no value")
    if "<<" in value:
        raise bare.error("has a here-document, which deploy/container_check.sh cannot run")
    flags = {}
    arguments = value
    while match := re.match(r"--([a-z-]+)=(\S+)\s+", arguments):
        flags[match[1]] = match[2]
        arguments = arguments[match.end() :]
    if unknown := set(flags) - _FLAGS.get(keyword, set()):
        raise bare.error(f"has a flag --{min(unknown)} that deploy/container_check.sh cannot run")
    return Instruction(line, keyword, value, arguments, flags)


def read_dockerfile(path: Path) -> Dockerfile:
    return parse(path.read_text("utf-8"))


def parse(text: str) -> Dockerfile:
    """Raises DockerfileError; stages without a name are called by their number, as in Docker."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for each in read_instructions(text):
        if each.keyword == "FROM":
            words = each.words()
            if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
                raise each.error("is not IMAGE or IMAGE AS NAME")
            name = words[2] if len(words) == 3 else str(len(stages))
            stages.append(Stage(name, substitute(words[0], arguments)))
        elif stages:
            if each.keyword == "COPY":
                _check_copy(each, [stage.name for stage in stages[:-1]])
            stages[-1].instructions.append(each)
        elif each.keyword == "ARG":
            name, _, default = each.arguments.partition("=")
            arguments[name] = default
        else:
            raise each.error("stands before the first FROM")
    if not stages:
        raise DockerfileError("Dockerfile: there is no FROM")
    return Dockerfile(arguments, tuple(stages))


def _check_copy(each: Instruction, earlier: list[str]) -> None:
    words = each.words()
    if len(words) < 2 or any(letter in word for word in words for letter in "*?["):
        raise each.error("needs sources, without patterns, and a destination")
    if len(words) > 2 and not words[-1].endswith("/"):
        raise each.error("of several sources needs a destination that ends in /")
    if "from" in each.flags and each.flags["from"] not in earlier:
        raise each.error(f"takes from {each.flags['from']!r}, which is no earlier stage")


def substitute(text: str, values: Mapping[str, str]) -> str:
    """`$NAME` and `${NAME}` replaced; a name without a value becomes nothing, as in Docker."""
    return re.sub(
        r"\$(?:\{(\w+)\}|(\w+))", lambda match: values.get(match[1] or match[2], ""), text
    )
