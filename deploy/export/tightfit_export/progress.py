"""What an export says while it works: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_REFRESH_SECONDS = 0.5


class Progress:
    """Stages are named one after another; notes stay on the screen."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._quiet = quiet
        self._live = not quiet and self._stream.isatty()
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._text = ""
        self.notes: list[str] = []

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Shows `text` and the time since the start for as long as the block runs."""
        self._text = text
        if not self._live:
            if not self._quiet:
                self._stream.write(f"[{self.elapsed_seconds:6.1f} s] {text}\n")
                self._stream.flush()
            yield
            return
        done = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(done,), daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()
            self._clear()

    def detail(self, text: str) -> None:
        """Replaces the live line's text; says nothing where lines stay."""
        self._text = text

    def note(self, text: str) -> None:
        """Something the person should know; shown even when quiet."""
        self.notes.append(text)
        with self._lock:
            self._stream.write(("\r\033[K" if self._live else "") + f"note: {text}\n")
            self._stream.flush()

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._start

    def _tick(self, done: threading.Event) -> None:
        while not done.is_set():
            with self._lock:
                self._stream.write(f"\r\033[K[{self.elapsed_seconds:6.1f} s] {self._text}")
                self._stream.flush()
            done.wait(_REFRESH_SECONDS)

    def _clear(self) -> None:
        with self._lock:
            self._stream.write("\r\033[K")
            self._stream.flush()
