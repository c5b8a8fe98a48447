"""`tightfit models` in a pseudo-terminal: what stands on the screen, at every usual width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pyte
import pytest
from server_process import BUILD, ServerProcess

WIDTHS = [40, 80, 100, 130]
DEADLINE_SECONDS = 60


class TerminalRun:
    """`tightfit` with a terminal of this size; `screen` is what a user sees."""

    def __init__(self, arguments: list[str], columns: int, rows: int = 50) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._master, slave = pty.openpty()
        self.resize(columns, rows)
        self._process = subprocess.Popen(
            [BUILD / "bin" / "tightfit", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={"TERM": "xterm", "LC_ALL": "C.UTF-8"},
        )
        os.close(slave)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, done: Callable[[], bool]) -> None:
        """Returns at the end of the output too."""
        until = time.monotonic() + DEADLINE_SECONDS
        while not done():
            assert time.monotonic() < until, self.lines()
            if not select.select([self._master], [], [], 1)[0]:
                continue
            try:
                text = os.read(self._master, 65536)
            except OSError:  # EIO: the command has ended
                return
            if not text:
                return
            self.raw += text
            self._stream.feed(text)

    def lines(self) -> list[str]:
        """With what has left the screen at the top."""
        above = [
            "".join(row[x].data for x in range(self.screen.columns))
            for row in self.screen.history.top
        ]
        return [line.rstrip() for line in [*above, *self.screen.display] if line.strip()]

    def frames(self) -> int:
        return len(re.findall(rb"\x1b\[\d+A\x1b\[J", self.raw)) + 1

    def end(self, signal_number: int | None = None) -> int:
        if signal_number is not None:
            self._process.send_signal(signal_number)
        self.read_until(lambda: False)
        os.close(self._master)
        return self._process.wait(30)


def printed_lines(run: TerminalRun) -> list[str]:
    """Without colours, as the command wrote them."""
    text = re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", run.raw).decode()
    return [line for line in text.replace("\r", "").split("\n") if line.strip()]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("arguments", [["models"], ["models", "emoji-xl"]], ids=["all", "one"])
def test_no_line_is_wider_than_the_terminal(
    server: ServerProcess, arguments: list[str], columns: int
) -> None:
    run = TerminalRun([*arguments, "--server", server.address], columns, rows=100)
    assert run.end() == 0
    lines = printed_lines(run)
    assert max(map(len, lines)) <= columns
    # The terminal wrapped nothing by itself.
    assert [line.rstrip() for line in lines] == run.lines()
    text = " ".join(lines)
    for word in ("WEIGHTS", "SAVED", "emoji-xl"):
        assert word in text
    if arguments[1:]:
        assert "samplers" in text and "NOT PACKED" in text


def test_into_a_pipe_goes_every_row_on_one_line(server: ServerProcess) -> None:
    done = subprocess.run(
        [BUILD / "bin" / "tightfit", "models", "--server", server.address],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_watch_leaves_one_table_on_the_screen(server: ServerProcess, columns: int) -> None:
    run = TerminalRun(["models", "--watch", "--server", server.address], columns)
    run.read_until(lambda: run.frames() > 3)
    assert run.end(signal.SIGINT) == 0
    lines = run.lines()
    assert sum(line.startswith("NAME") for line in lines) == 1, lines
    assert sum(line.startswith("emoji-xl") for line in lines) == 1, lines
    assert max(map(len, lines)) <= columns


def test_a_watch_in_a_low_window_stays_one_table(
    server: ServerProcess,
) -> None:
    run = TerminalRun(["models", "--watch", "--server", server.address], 60, rows=4)
    run.read_until(lambda: run.frames() > 3)
    assert run.end(signal.SIGINT) == 0
    lines = run.lines()
    assert sum(line.startswith("NAME") for line in lines) == 1, lines
    assert any("more lines" in line for line in lines)
