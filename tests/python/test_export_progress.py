"""Progress is a bar on a terminal and plain lines elsewhere."""

from __future__ import annotations

import io
import time

import pytest

from tightfit_export import progress
from tightfit_export.progress import Progress, size_text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands in for time.monotonic in the exporter alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 100.0
        monkeypatch.setattr(progress, "time", self)

    def monotonic(self) -> float:
        return self.seconds


def test_a_terminal_gets_a_bar_with_bytes_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_REFRESH_SECONDS", 0.01)
    clock, stream = Clock(monkeypatch), Terminal()
    shown = Progress(stream)
    expected = "unet: weights  25% [######..................] 1.25 GB of 5.00 GB, 0:30 left"
    with shown.bytes_stage("unet: weights", 5_000_000_000) as advance:
        clock.seconds += 10
        advance(1_250_000_000)
        deadline = time.monotonic() + 10
        while expected not in stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert f"[  10.0 s] {expected}" in stream.getvalue()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\033[K")  # nothing stays


def test_elsewhere_a_long_stage_says_where_it_is_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    shown = Progress(stream)
    with shown.bytes_stage("unet: weights", 1000_000) as advance:
        for _ in range(10):
            clock.seconds += 3
            advance(100_000)
    assert stream.getvalue().splitlines() == [
        "[   0.0 s] unet: weights",
        "[  12.0 s] unet: weights  40% 400 kB of 1 MB, 0:18 left",
        "[  24.0 s] unet: weights  80% 800 kB of 1 MB, 0:06 left",
    ]


def test_quiet_says_nothing_but_notes() -> None:
    stream = Terminal()
    shown = Progress(stream, quiet=True)
    with shown.bytes_stage("unet: weights", 0) as advance:
        advance(5)
    shown.note("look")
    assert stream.getvalue() == "note: look\n"
    assert shown.notes == ["look"]


def test_sizes_read_well() -> None:
    assert size_text(5_138_375_192) == "5.14 GB"
    assert size_text(12_345_678) == "12 MB"
    assert size_text(999) == "1 kB"
