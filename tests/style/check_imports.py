#!/usr/bin/env python3
"""Finds circles among the imports of our Python packages, those inside functions included.

    check_imports.py             the packages of this repository
    check_imports.py --self-test
"""

from __future__ import annotations

import ast
import sys
import tempfile
from pathlib import Path

from repository import ROOT, only_self_test

PACKAGES = (ROOT / "deploy/export/tightfit_export", ROOT / "client/python/src/tightfit")


def imports_of(path: Path, package: str, modules: set[str]) -> set[str]:
    """Modules of `package` that the file names in an import."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom):
            prefix = f"{package}.{node.module}" if node.module else package
            names = [prefix, *(f"{prefix}.{alias.name}" for alias in node.names)]
        else:
            continue
        found |= {name.removeprefix(f"{package}.") for name in names} & modules
    return found


def circle_in(folder: Path) -> list[str]:
    """The modules of one circle, first and last the same; empty if there is none."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "__main__"}
    graph = {
        name: sorted(imports_of(folder / f"{name}.py", folder.name, modules)) for name in modules
    }
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in graph[name]:
            if circle := visit(other, [*way, name]):
                return circle
        done.add(name)
        return []

    for name in sorted(graph):
        if circle := visit(name, []):
            return circle
    return []


def self_test() -> None:
    """Control: a circle through an import inside a function is found, a chain is none."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pack"
        package.mkdir()
        (package / "a.py").write_text("from pack.b import x\n")
        (package / "b.py").write_text("import pack.c\n")
        (package / "c.py").write_text("x = 1\n")
        assert circle_in(package) == []
        (package / "c.py").write_text("def f():\n    from pack import a\n")
        assert circle_in(package) == ["a", "b", "c", "a"]


def main() -> int:
    if only_self_test(__doc__, self_test):
        return 0
    found = [f"{folder.name}: {' -> '.join(c)}" for folder in PACKAGES if (c := circle_in(folder))]
    print("\n".join(found) if found else f"{len(PACKAGES)} packages: no circle of imports")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
