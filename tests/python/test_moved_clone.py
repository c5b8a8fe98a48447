"""A clone that was moved after its build works in its new place, not in the old one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from documented_commands import Terminal, make_clone
from server_process import ROOT

CACHE = """\
CMAKE_HOME_DIRECTORY:INTERNAL={}
TIGHTFIT_BUILD_TESTS:BOOL=OFF
TIGHTFIT_NVCC:FILEPATH=x
"""


def build(place: Path, told_home: Path) -> tuple[list[str], str]:
    """The calls of cmake, and what was said, for a tree that was configured for `told_home`."""
    tree = place / "build" / "release"
    tree.mkdir(parents=True)
    (tree / "CMakeCache.txt").write_text(CACHE.format(told_home))
    (tree / "build.ninja").touch()
    (tree / "CMakeFiles").mkdir()
    (tree / "kept.o").touch()
    programs = place / "programs"
    programs.mkdir()
    (programs / "cmake").write_text(f'#!/bin/sh\necho "$*" >> {place}/calls\n')
    (programs / "cmake").chmod(0o755)
    done = subprocess.run(
        ["bash", "-euc", f"source {ROOT}/deploy/build.sh; build_targets tightfit"],
        cwd=place,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tree / "kept.o").exists()
    return (place / "calls").read_text().splitlines(), done.stderr


def test_a_tree_of_another_place_is_configured_anew_and_says_so(tmp_path: Path) -> None:
    calls, said = build(tmp_path, tmp_path.parent / "old")
    assert calls == [
        "--preset release -DTIGHTFIT_BUILD_TESTS=OFF",
        "--build build/release --target tightfit",
    ]
    assert f"{tmp_path.parent}/old" in said
    assert not (tmp_path / "build" / "release" / "CMakeCache.txt").exists()


def test_a_tree_of_this_place_is_built_as_it_is(tmp_path: Path) -> None:
    calls, said = build(tmp_path, tmp_path)
    assert calls == ["--build build/release --target tightfit"] and said == ""


def test_an_environment_that_moved_runs_its_own_programs(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    Terminal(make_clone(old)).type("./deploy/install.sh --export")
    assert str(old) in (old / ".venv" / "bin" / "tightfit-export").read_text()
    place = old.rename(tmp_path / "new place")
    said = Terminal(place).type("./deploy/install.sh --export && source .venv/bin/activate")
    assert "mending" in said
    version = Terminal(place).type("source .venv/bin/activate; tightfit-export --version")
    assert "tightfit" in version
    code = "import tightfit_export; print(tightfit_export.__file__)"
    assert str(place) in Terminal(place).type(f"cd /; '{place}/.venv/bin/python' -c '{code}'")
    scripts = [path for path in (place / ".venv" / "bin").glob("[a-z]*") if not path.is_symlink()]
    assert not [path for path in scripts if f"{old}/" in path.read_text()]
