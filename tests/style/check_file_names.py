#!/usr/bin/env python3
"""Checks that files and folders which comments and documents name are there.

A name counts if it ends in a suffix of sources or documents (`codec.h`, `rpc/limits_test.cc`). It
also counts if it stands in backticks, has a slash and begins with a folder of ours
(`engine/admission_plan`). It may be written from the root, from the file's own folder, or by its
last parts.

check_file_names.py            all tracked files
check_file_names.py --self-test
"""

from __future__ import annotations

import io
import posixpath
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from repository import ROOT, only_self_test, tracked

SUFFIXES = r"(?:h|cc|cu|cuh|py|sh|md|proto|toml|yaml|yml|cmake|service)"
NAME = re.compile(
    rf"(?<![\w./*{{}}$<-])((?:[\w.-]+/)*[\w-][\w.-]*\.{SUFFIXES})(?![\w*/(-])(?!\.\w)"
)
IN_BACKTICKS = re.compile(r"`([a-z_][\w.-]*(?:/[\w.-]+)+)`")
READ = {f".{suffix}" for suffix in SUFFIXES.strip("(?:)").split("|")}
BY_NAME = ("CMakeLists.txt", "Dockerfile")
# Not of this repository: made by a build or a run, or another project's.
ELSEWHERE = re.compile(
    r"|".join(
        (
            r".*_pb2(_grpc)?\.pyi?|.*\.pb\.(h|cc)|src/tightfit/v1",  # protoc's
            r"fidelity\.md",  # tightfit fidelity writes it
            r"(google|grpc|grpcpp)/.*|descriptor\.proto",  # gRPC's and protobuf's
            r"(c10|ATen|torch)/.*",  # LibTorch's
            r"(hwy|spdlog|openssl)/.*",
            r"sysexits\.h|(linux|sys|netinet)/.*",  # the C library's
        )
    )
)
# Stands for any name: `NAME.sh`, `tests/NAME_test.cc`.
PLACEHOLDER = re.compile(r"(^|[/_.-])NAME([/_.-]|$)")


def comments(path: str, text: str) -> Iterator[tuple[int, str]]:
    """Line numbers and lines of what is written for people."""
    lines = text.splitlines()
    suffix = PurePosixPath(path).suffix
    if suffix == ".md":
        yield from enumerate(lines, 1)
    elif suffix == ".py":
        before = tokenize.NEWLINE
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            is_docstring = token.type == tokenize.STRING and before in (
                tokenize.NEWLINE,
                tokenize.INDENT,
                tokenize.NL,
            )
            if token.type == tokenize.COMMENT or is_docstring:
                yield from enumerate(token.string.splitlines(), token.start[0])
            if token.type not in (tokenize.COMMENT, tokenize.DEDENT):
                before = token.type
    else:
        slashes = suffix in (".h", ".cc", ".cu", ".cuh", ".proto")
        mark = re.compile(r"(?:^|\s)//(.*)" if slashes else r"(?:^|\s)#(.*)")
        for number, line in enumerate(lines, 1):
            if found := mark.search(line):
                yield number, found[1]


class Tree:
    """The tracked files, and every way to write their names by their last parts."""

    def __init__(self, tracked: list[str]) -> None:
        self._endings = set()
        self.folders = set()
        for path in tracked:
            parts = PurePosixPath(path).parts
            whole = [parts, (*parts[:-1], PurePosixPath(path).stem)]
            whole += [parts[:depth] for depth in range(1, len(parts))]
            for each in whole:
                self._endings |= {"/".join(each[start:]) for start in range(len(each))}
            self.folders |= set(parts[:-1])

    def has(self, name: str, folder: PurePosixPath) -> bool:
        """`name` from the root, from `folder`, or by its last parts."""
        return any(
            posixpath.normpath(each) in self._endings for each in (name, str(folder / name))
        )


def complaints(path: str, text: str, tree: Tree) -> list[str]:
    found = []
    folder = PurePosixPath(path).parent
    for number, line in comments(path, text):
        line = re.sub(r"\w+://\S+", "", line)
        names = NAME.findall(line)
        names += [
            name
            for name in IN_BACKTICKS.findall(line)
            if name.split("/")[0] in tree.folders and name not in names
        ]
        for name in names:
            is_exempt = ELSEWHERE.fullmatch(name) or PLACEHOLDER.search(name)
            if not is_exempt and not tree.has(name, folder):
                found.append(f"{path}:{number}: {name} is not there")
    return found


def self_test() -> None:
    """Controls: a name that is not there is found, in each kind of file, and no other."""
    tree = Tree(["server/rpc/limits.cc", "server/rpc/limits.h", "docs/gpu.md", "deploy/run.sh"])
    cases = [
        ("server/rpc/a.cc", "// As limits.h, rpc/limits.cc and server/rpc/limits.h say.", 0),
        ("server/rpc/a.cc", "// See `rpc/limits` and ../rpc/limits.h; grpcpp/server.h.", 0),
        ("server/rpc/a.cc", "// https://example.org/other.h and NAME.cc, *_test.cc", 0),
        ("server/rpc/a.cc", '#include "server/rpc/gone.h"', 0),
        ("server/rpc/a.cc", "int x;  // gone.h says why", 1),
        ("server/rpc/a.cc", "// rpc/gone.cc, and `rpc/gone`", 2),
        ("server/rpc/a.cc", "// engine/limits.h", 1),
        ("docs/gpu.md", "./deploy/run.sh, ../deploy/run.sh and [a](gpu.md)", 0),
        ("docs/gpu.md", "`rpc/gone` and other.md", 2),
        ("deploy/run.sh", "x=gone.py  # gone.py", 1),
        ("tests/a.py", '"""gone.sh."""\nx = "gone.sh"  # run.sh\n', 1),
        ("tests/a.py", 'def f():\n    """gone.sh"""\n    return "gone.sh"\n', 1),
    ]
    for path, text, count in cases:
        found = complaints(path, text, tree)
        assert len(found) == count, (path, text, count, found)


def main() -> int:
    if only_self_test(__doc__, self_test):
        return 0
    files = [path for path in tracked() if (ROOT / path).is_file()]
    tree = Tree(files)
    read = [p for p in files if PurePosixPath(p).suffix in READ or p.endswith(BY_NAME)]
    found = [line for path in read for line in complaints(path, (ROOT / path).read_text(), tree)]
    print("\n".join(found) if found else f"{len(read)} files name nothing that is not there")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
