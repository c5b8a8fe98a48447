"""What the checks of this folder share: the tracked files, and how a check is called."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[str]:
    """The files that git knows, relative to the root."""
    return subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def only_self_test(documentation: str | None, self_test: Callable[[], None]) -> bool:
    """Reads the command line and runs the controls; whether they were all that was asked for."""
    parser = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    self_test()
    return bool(arguments.self_test)
