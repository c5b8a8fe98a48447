"""The server chooses how its threads wait and how many there are, and says so."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from emoji_model import EMOJI
from server_process import ServerProcess

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def _no_word_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def said(server: ServerProcess) -> str:
    return next(line for line in server.log.splitlines() if "computing threads" in line)


@pytest.mark.alone
def test_threads_sleep_while_others_want_the_processors(tmp_path: Path) -> None:
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * len(os.sched_getaffinity(0)))
    ]
    try:
        with ServerProcess(tmp_path, [EMOJI], "--log-level", "debug") as server:
            assert "waiting_by=server" in said(server)
            until = time.monotonic() + 120
            while "waiting=sleep" not in server.log and time.monotonic() < until:
                server.cli_json("generate", "red apple", "-o", str(tmp_path / "x.png"))
            assert "waiting=sleep" in server.log
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_images_do_not_depend_on_how_threads_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = []
    for policy in ("", "PASSIVE"):
        if policy:
            monkeypatch.setenv("OMP_WAIT_POLICY", policy)
        with ServerProcess(tmp_path, [EMOJI]) as server:
            out = tmp_path / f"{policy}.png"
            server.cli_json("generate", "red apple", "--seed", "4", "--steps", "3", "-o", str(out))
            images.append(out.read_bytes())
    assert images[0] == images[1]


def test_the_users_waiting_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    with ServerProcess(tmp_path, [f"{EMOJI},preload=false"]) as server:
        assert "OMP_WAIT_POLICY=PASSIVE" in said(server)
        assert "waiting_by=environment" in said(server)


def test_threads_are_as_many_as_the_affinity_has_processors(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with ServerProcess(tmp_path, [f"{EMOJI},preload=false"]) as server:
            assert "threads=1 " in said(server)
    finally:
        os.sched_setaffinity(0, allowed)
    with ServerProcess(tmp_path, [f"{EMOJI},preload=false"], "--threads", "3") as server:
        assert "threads=3 " in said(server) and "threads_by=configuration" in said(server)
