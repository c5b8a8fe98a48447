"""What `docker build .` would send: the files of a folder that its .dockerignore leaves."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path


class IgnoreRules:
    """.dockerignore: the last pattern that matches a path or a folder of it decides."""

    def __init__(self, text: str) -> None:
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for line in text.splitlines():
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            ignored = not pattern.startswith("!")
            self._rules.append((ignored, _expression(pattern.removeprefix("!").strip("/"))))

    def ignores(self, path: str) -> bool:
        """`path`: relative to the folder, parts separated by /."""
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        ignored = False
        for rule, expression in self._rules:
            if any(expression.fullmatch(each) for each in above):
                ignored = rule
        return ignored


def _expression(pattern: str) -> re.Pattern[str]:
    expression = ""
    for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern):
        known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        expression += known.get(part, re.escape(part))
    return re.compile(expression)


class BuildContext:
    """The files of `folder`; `whole` also those that .dockerignore names, for roots of stages."""

    def __init__(self, folder: Path, whole: bool = False) -> None:
        self.folder = folder
        ignore = folder / ".dockerignore"
        text = "" if whole or not ignore.is_file() else ignore.read_text("utf-8")
        self._rules = IgnoreRules(text)

    def files(self, source: str) -> list[tuple[Path, str]]:
        """The files of one source of COPY, each with its place below the destination.

        A folder's place is that of its content; raises FileNotFoundError where there is nothing.
        """
        place = self.folder / source.lstrip("/")
        if place.is_file():
            found = [(place, place.name)]
        else:
            walked = (Path(folder) / name for folder, _, names in os.walk(place) for name in names)
            found = [(path, str(path.relative_to(place))) for path in walked]
        kept = [
            (path, target)
            for path, target in sorted(found)
            if not self._rules.ignores(str(path.relative_to(self.folder)))
        ]
        if not kept:
            raise FileNotFoundError(f"{source} is not in the build context (see .dockerignore)")
        return kept

    def digest(self, sources: list[str]) -> str:
        """Of names and contents, so that a changed source is copied again."""
        digest = hashlib.sha256()
        for source in sources:
            for path, target in self.files(source):
                content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
                digest.update(f"{target}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()

    def copy(self, sources: list[str], destination: Path, into: bool) -> None:
        """`into`: the destination is a folder; else a single file's own name."""
        for source in sources:
            is_file = (self.folder / source.lstrip("/")).is_file()
            for path, target in self.files(source):
                place = destination if is_file and not into else destination / target
                place.parent.mkdir(parents=True, exist_ok=True)
                place.unlink(missing_ok=True)
                shutil.copy2(path, place, follow_symlinks=False)
