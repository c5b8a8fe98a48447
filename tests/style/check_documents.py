#!/usr/bin/env python3
"""Checks that documents are short where they should be, and true where a program can tell.

Links lead to files and headings that are there, tables of contents are whole, blocks of shell parse
and name files that are there, README.md is small, lines are not wide.

check_documents.py            all tracked Markdown
check_documents.py --self-test
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from repository import ROOT, only_self_test, tracked

MAX_README_BYTES = 8192
MAX_COLUMNS = 100
# Documents for users: their blocks without a language are shell.
FOR_USERS = re.compile(r"(README|docs/.*|client/python/README|deploy/kubernetes/README)\.md")
WRAPPED = re.compile(r"(README|docs/.*|deploy/kubernetes/README)\.md")
# Written by a program, from comments that have a width of their own.
GENERATED = {"docs/reference.md"}
SHELL = {"", "sh", "bash"}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(#{1,6}) +(.+?) *#*$", re.MULTILINE)
# A path of the repository within a command; `*` matches as in a shell.
NAMED = re.compile(
    r"(?<![\w/.$}-])(?:\./)?"
    r"((?:client|deploy|docs|findings|kernels|proto|server|tests|\.ci)/[\w./*-]*[\w*])"
)


def without_blocks(text: str) -> str:
    """The text with its blocks of code blanked; lines keep their numbers."""
    return FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)


def anchors(text: str) -> set[str]:
    """What the hosts of repositories call the headings."""
    found: dict[str, int] = {}
    result = set()
    for _, title in HEADING.findall(without_blocks(text)):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        result.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return result


def link_complaints(path: str, text: str, read: Callable[[Path], str | None]) -> Iterator[str]:
    """`read` gives the text of a file or folder of the repository, None where there is none."""
    prose = re.sub(r"`[^`\n]*`", "", without_blocks(text))
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = Path(path).parent / file if file else Path(path)
        content = read(place)
        if content is None:
            yield f"{path}: a link to {target}, which is not there"
        elif anchor and anchor not in anchors(content):
            yield f"{path}: a link to {target}, which has no such heading"


def contents_complaints(path: str, text: str) -> Iterator[str]:
    """Pages of docs/ begin with a list of their sections."""
    if not re.fullmatch(r"docs/(?!README)[^/]+\.md", path):
        return
    plain = without_blocks(text)
    listed = re.findall(r"^- \[(.*)\]\(#.*\)$", plain.partition("\n## ")[0], re.MULTILINE)
    sections = re.findall(r"^## (.+)$", plain, re.MULTILINE)
    if listed != sections:
        missing = [title for title in sections if title not in listed] or listed
        yield f"{path}: the table of contents is not that of its sections: {missing[0]}"


def size_complaints(path: str, text: str) -> Iterator[str]:
    if path == "README.md" and len(text.encode()) > MAX_README_BYTES:
        yield f"{path}: {len(text.encode())} bytes, at most {MAX_README_BYTES}"
    if not WRAPPED.fullmatch(path) or path in GENERATED:
        return
    for number, line in enumerate(text.splitlines(), 1):
        is_table = line.startswith("|") and path != "README.md"
        if len(line) > MAX_COLUMNS and not is_table:
            yield f"{path}:{number}: {len(line)} columns, at most {MAX_COLUMNS}"


def shell_blocks(path: str, text: str) -> list[str]:
    if not FOR_USERS.fullmatch(path):
        return [body for language, body in FENCE.findall(text) if language in SHELL - {""}]
    return [body for language, body in FENCE.findall(text) if language in SHELL]


def shell_complaints(
    path: str, text: str, is_there: Callable[[str], bool]
) -> Iterator[str]:
    for block in shell_blocks(path, text):
        parsed = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        if parsed.returncode != 0 or parsed.stderr:
            yield f"{path}: a block that is no shell: {parsed.stderr.strip()[:100]}"
        for name in NAMED.findall(block):
            if not is_there(name):
                yield f"{path}: a command names {name}, which is not there"


def complaints(
    path: str, text: str, read: Callable[[Path], str | None], is_there: Callable[[str], bool]
) -> list[str]:
    return [
        *size_complaints(path, text),
        *contents_complaints(path, text),
        *link_complaints(path, text, read),
        *shell_complaints(path, text, is_there),
    ]


def self_test() -> None:
    """Controls: each rule fires on a document that breaks it, and only then."""
    files = {"docs/a.md": "# A\n## The `x` of B's\n## Same\n## Same\n", "LICENSE": ""}

    def read(place: Path) -> str | None:
        return files.get(str(place))

    def found(path: str, text: str) -> int:
        return len(complaints(path, text, read, lambda name: name == "deploy/there.sh"))

    cases = [
        ("README.md", "x" * 100, 0),
        ("README.md", "x" * 101, 1),
        ("README.md", ("x" * 99 + "\n") * 82, 1),
        ("README.md", "| " + "x" * 100, 1),
        ("docs/b.md", "# B\n| " + "x" * 100, 0),
        ("README.md", "[a](docs/a.md#the-x-of-bs) [b](docs/a.md#same-1) [c](LICENSE)", 0),
        ("README.md", "[a](https://example.org/no) `[a](no.md)`\n```\n# [a](no.md)\n```", 0),
        ("README.md", "[a](docs/no.md)", 1),
        ("README.md", "[a](docs/a.md#no)", 1),
        ("README.md", "![a](docs/no.png)", 1),
        ("docs/b.md", "# B\n\n- [One](#one)\n\n## One\n", 0),
        ("docs/b.md", "# B\n\n## One\n", 1),
        ("docs/b.md", "# B\n\n- [One](#one)\n\n## One\n## Two\n", 1),
        ("README.md", "```\n./deploy/there.sh && echo $PWD\n```", 0),
        ("README.md", "```\n./deploy/gone.sh\n```", 1),
        ("README.md", "```bash\nif true\n```", 1),
        ("README.md", "```python\nif true(\n```", 0),
        ("README.md", "```\necho 'open\n```", 1),
        ("kernels/FORMATS.md", "```\nif true(\n```", 0),
    ]
    files["docs/b.md"] = "## One\n## Two\n"
    for path, text, count in cases:
        assert found(path, text) == count, (path, text[:60], count, found(path, text))


def main() -> int:
    if only_self_test(__doc__, self_test):
        return 0
    files = tracked()

    def read(place: Path) -> str | None:
        file = (ROOT / place).resolve()
        if file.is_dir():
            return ""
        if not file.is_file():
            return None
        return file.read_text("utf-8") if file.suffix == ".md" else ""

    def is_there(name: str) -> bool:
        return any(ROOT.glob(name))

    documents = [path for path in files if path.endswith(".md") and (ROOT / path).is_file()]
    found = [
        line
        for path in documents
        for line in complaints(path, (ROOT / path).read_text("utf-8"), read, is_there)
    ]
    print("\n".join(found) if found else f"{len(documents)} documents: nothing to complain of")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
