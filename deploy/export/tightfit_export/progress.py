"""What an export says while it works: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

_REFRESH_SECONDS = 0.25
_PLAIN_LINE_SECONDS = 10.0  # between the lines of one stage where lines stay
_BAR_WIDTH = 24
_RATE_SECONDS = 1.0  # no time left is told before


class _Bytes:
    """How far a stage of known size is."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.start = time.monotonic()

    def text(self, with_bar: bool) -> str:
        part = min(1.0, self.done / self.total) if self.total else 1.0
        filled = int(part * _BAR_WIDTH)
        bar = f" [{'#' * filled}{'.' * (_BAR_WIDTH - filled)}]" if with_bar else ""
        sizes = f"{size_text(self.done)} of {size_text(self.total)}"
        return f" {part:4.0%}{bar} {sizes}{self._time_left()}"

    def _time_left(self) -> str:
        elapsed = time.monotonic() - self.start
        if elapsed < _RATE_SECONDS or not 0 < self.done < self.total:
            return ""
        seconds = round(elapsed / self.done * (self.total - self.done))
        return f", {seconds // 60}:{seconds % 60:02d} left"


def size_text(count: int) -> str:
    """A number of bytes for reading."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


class Progress:
    """Stages are named one after another; notes stay on the screen."""

    def __init__(self, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self.quiet = quiet
        self._live = not quiet and self._stream.isatty()
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._text = ""
        self._bytes: _Bytes | None = None
        self.notes: list[str] = []

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Shows `text` and the time since the start for as long as the block runs."""
        self._text = text
        if not self._live:
            self._plain_line(text)
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

    @contextmanager
    def bytes_stage(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        """The same with a bar; the block tells how many bytes were done since it last told."""
        counter = _Bytes(total)
        last_line = time.monotonic()

        def advance(count: int) -> None:
            nonlocal last_line
            counter.done += count
            if not self._live and time.monotonic() - last_line >= _PLAIN_LINE_SECONDS:
                last_line = time.monotonic()
                self._plain_line(text + counter.text(with_bar=False))

        self._bytes = counter
        try:
            with self.stage(text):
                yield advance
        finally:
            self._bytes = None

    @contextmanager
    def plain_stage(self, text: str) -> Iterator[None]:
        """A stage during which something else draws on the terminal."""
        self._plain_line(text)
        yield

    def note(self, text: str) -> None:
        """Something the person should know; shown even when quiet."""
        self.notes.append(text)
        with self._lock:
            self._stream.write(("\r\033[K" if self._live else "") + f"note: {text}\n")
            self._stream.flush()

    @property
    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._start

    def _plain_line(self, text: str) -> None:
        if not self.quiet:
            self._stream.write(f"[{self.elapsed_seconds:6.1f} s] {text}\n")
            self._stream.flush()

    def _tick(self, done: threading.Event) -> None:
        while not done.is_set():
            counter = self._bytes
            rest = counter.text(with_bar=True) if counter else ""
            with self._lock:
                self._stream.write(f"\r\033[K[{self.elapsed_seconds:6.1f} s] {self._text}{rest}")
                self._stream.flush()
            done.wait(_REFRESH_SECONDS)

    def _clear(self) -> None:
        with self._lock:
            self._stream.write("\r\033[K")
            self._stream.flush()
