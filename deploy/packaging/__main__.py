"""Writes the manual pages and the shells' completions of the programs, from their --help.

    python deploy/packaging BIN_DIR OUT [PROGRAM...]     without PROGRAM: all that lie in BIN_DIR

OUT/man/man1, OUT/bash, OUT/zsh, OUT/fish. Manual pages need help2man; without it there are none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import completions  # noqa: E402
from help_text import Command, read_command  # noqa: E402

PROGRAMS = ("tightfit", "tightfit-fidelity", "tightfit-pack", "tightfit-server", "tightfit-weights")
# The server is started by an administrator, but whoever tries it looks here first.
_SECTION = "1"


def main(arguments: list[str]) -> int:
    if len(arguments) < 2 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    folder, out = Path(arguments[0]).resolve(), Path(arguments[1])
    names = arguments[2:] or [name for name in PROGRAMS if (folder / name).is_file()]
    try:
        for name in names:
            program = read_command(folder / name)
            _write(out / "bash" / name, completions.bash(program))
            _write(out / "zsh" / f"_{name}", completions.zsh(program))
            _write(out / "fish" / f"{name}.fish", completions.fish(program))
            if shutil.which("help2man"):
                write_pages(folder, program, out / "man" / f"man{_SECTION}")
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"packaging: {getattr(error, 'stderr', None) or error}", file=sys.stderr)
        return 1
    return 0


def write_pages(folder: Path, program: Command, out: Path) -> None:
    """A page for the program and one for each of its commands that has a help of its own."""
    out.mkdir(parents=True, exist_ok=True)
    told = subprocess.run(
        [folder / program.words[0], "--version"], capture_output=True, text=True, check=True
    ).stdout
    version = re.search(r"\d+\.\d+\.\d+", told)
    if version is None:
        raise ValueError(f"{program.words[0]} --version tells no version")
    for command in (program, *program.below()):
        if not command.options:
            continue
        page = out / f"{'-'.join(command.words)}.{_SECTION}"
        name = command.description[:1].lower() + command.description[1:]
        subprocess.run(
            ["help2man", "--no-info", f"--section={_SECTION}", f"--name={name}"]
            + ["--source=tightfit", f"--version-string={version[0]}"]
            + [f"--output={page}", " ".join(command.words)],
            env={**os.environ, "PATH": f"{folder}:{os.environ.get('PATH', '')}", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=True,
        )


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
