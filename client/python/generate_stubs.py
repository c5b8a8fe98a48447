#!/usr/bin/env python3
"""Generates src/tightfit/v1, messages and services with their types, from the contract in proto/.

The wheel's build calls it; run it to work on the package from a checkout:
    python client/python/generate_stubs.py
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CONTRACT = PACKAGE.parents[1] / "proto"
STUBS = PACKAGE / "src" / "tightfit" / "v1"
_PLUGINS = {"mypy": "protoc-gen-mypy", "mypy_grpc": "protoc-gen-mypy_grpc"}


def _plugin(name: str) -> str:
    """An environment that is not activated has its programs beside its interpreter."""
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    found = shutil.which(name, path=search)
    if found is None:
        raise RuntimeError(f"{name} is missing: pip install mypy-protobuf")
    return found


def generate(contract: Path, out: Path) -> list[Path]:
    """Writes `out`/tightfit/v1 from `contract`/tightfit/v1/*.proto; the written files.

    Raises RuntimeError where protoc fails or a part of it is not installed.
    """
    if importlib.util.find_spec("grpc_tools") is None:
        raise RuntimeError("grpc_tools is missing: pip install grpcio-tools")
    protos = sorted((contract / "tightfit" / "v1").glob("*.proto"))
    if not protos:
        raise RuntimeError(f"no contract in {contract}/tightfit/v1")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{contract}"]
    command += [f"--{kind}_out={out}" for kind in ("python", "grpc_python", *_PLUGINS)]
    command += [f"--plugin={name}={_plugin(name)}" for name in _PLUGINS.values()]
    done = subprocess.run([*command, *map(str, protos)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"protoc failed: {done.stderr.strip()}")
    init = out / "tightfit" / "v1" / "__init__.py"
    init.write_text('"""Generated from proto/tightfit/v1: messages and services."""\n', "utf-8")
    return sorted(init.parent.iterdir())


def refresh() -> list[Path]:
    """Makes src/tightfit/v1 what the contract says, leaving files alone that say it already."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = {path.name: path.read_bytes() for path in generate(CONTRACT, Path(folder))}
    STUBS.mkdir(parents=True, exist_ok=True)
    for path in STUBS.glob("*.py*"):
        if path.is_file() and path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        place = STUBS / name
        if place.is_file() and place.read_bytes() == content:
            continue
        # Replaced whole: another process may be importing it.
        part = place.with_name(f".{name}.{os.getpid()}")
        part.write_bytes(content)
        part.replace(place)
    return sorted(STUBS / name for name in wanted)


def main() -> int:
    try:
        written = refresh()
    except RuntimeError as error:
        print(f"generate_stubs.py: {error}", file=sys.stderr)
        return 1
    print(f"{STUBS}: {len(written)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
