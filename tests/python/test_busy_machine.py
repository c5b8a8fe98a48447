"""The server chooses how its threads wait and how many there are, and says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from emoji_model import EMOJI
from server_process import ServerProcess

VARIABLES = (
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "KMP_BLOCKTIME",
    "OMP_NUM_THREADS",
    "TIGHTFIT_OPENMP_WAITING",
)


@pytest.fixture(autouse=True)
def _no_word_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def said(server: ServerProcess) -> str:
    return next(line for line in server.log.splitlines() if "computing threads" in line)


def environment_of(server: ServerProcess) -> dict[str, str]:
    entries = Path(f"/proc/{server.process.pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def test_spinning_is_limited_without_the_users_environment(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, [f"{EMOJI},preload=false"]) as server:
        # OpenMP reads what the program was executed with, and nothing that it sets later.
        assert int(environment_of(server)["GOMP_SPINCOUNT"]) <= 50_000
        assert "waiting=GOMP_SPINCOUNT=" in said(server) and "waiting_by=server" in said(server)
        # The same process, under its own name.
        assert Path(f"/proc/{server.process.pid}/comm").read_text() == "tightfit-server"[:15] + "\n"


def test_the_users_waiting_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    with ServerProcess(tmp_path, [f"{EMOJI},preload=false"]) as server:
        assert "GOMP_SPINCOUNT" not in environment_of(server)
        assert "OMP_WAIT_POLICY=ACTIVE" in said(server)
        assert "waiting_by=environment" in said(server)


def test_threads_are_as_many_as_the_affinity_has_processors(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with ServerProcess(tmp_path, [f"{EMOJI},preload=false"]) as server:
            assert "threads=1 " in said(server) and "threads_by=affinity" in said(server)
    finally:
        os.sched_setaffinity(0, allowed)
    with ServerProcess(tmp_path, [f"{EMOJI},preload=false"], "--threads", "3") as server:
        assert "threads=3 " in said(server) and "threads_by=configuration" in said(server)
