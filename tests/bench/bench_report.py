"""What the benches of a running server have in common: a word on stderr, a process's memory."""

from __future__ import annotations

import sys
import time
from pathlib import Path


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def memory_mib(pid: int, field: str) -> float:
    """A field of the process's status: VmRSS, what is resident; RssAnon, its anonymous part."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0
