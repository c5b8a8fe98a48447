"""The real server and the real command line, as a user runs them: processes on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TIGHTFIT_BUILD_DIR", ROOT / "build" / "release"))
# Where models compute; tests/gpu/run.sh sets it.
DEVICE = os.environ.get("TIGHTFIT_DEVICE", "cpu")
SERVER = BUILD / "bin" / "tightfit-server"
CLI = BUILD / "bin" / "tightfit"


def profile_dir() -> Path:
    """Where servers of this very program keep what models were measured to take."""
    status = SERVER.stat()
    return BUILD / "test-profiles" / f"{status.st_size}-{status.st_mtime_ns}"


class ServerProcess:
    """A running tightfit-server. Use as a context manager: leaving stops it with SIGTERM."""

    def __init__(
        self,
        folder: Path,
        models: list[str],
        *flags: str,
        listen: str = "127.0.0.1:0",
        metrics_listen: str = "127.0.0.1:0",
        device: str = DEVICE,
    ) -> None:
        """`models`: values of --model, loaded at the start unless they say otherwise.

        `folder`: for its log and address file, must exist.
        """
        self.log_file = folder / "server.log"
        self._models = models
        self._address_file = folder / "addresses.json"
        arguments = [
            str(SERVER),
            "--listen",
            listen,
            "--metrics-listen",
            metrics_listen,
            "--device",
            device,
            "--address-file",
            str(self._address_file),
            *flags,
        ]
        if "--profile-dir" not in flags:
            arguments += ["--profile-dir", str(profile_dir())]
        for model in models:
            loading = "" if "preload=" in model else ",preload=true"
            arguments += ["--model", model + loading]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> ServerProcess:
        try:
            self._wait_until_listening()
            self._wait_until_loaded()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    @property
    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def cli(self, *arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Runs `tightfit ARGUMENTS` against this server."""
        return subprocess.run(
            [str(CLI), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment(),
        )

    def cli_json(self, *arguments: str, timeout: float = 300) -> Any:
        """Runs `tightfit ARGUMENTS --json`, which must succeed; the parsed document."""
        done = self.cli(*arguments, "--json", timeout=timeout)
        assert (
            done.returncode == 0
        ), f"{arguments}: {done.returncode}\n{done.stderr}\n{self.log[-3000:]}"
        return json.loads(done.stdout)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "TIGHTFIT_SERVER": self.address}

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as reply:
            return reply.read().decode()

    def _wait_until_listening(self) -> None:
        self._poll(self._address_file.exists, "its address file")
        addresses = json.loads(self._address_file.read_text())
        self.address: str = addresses["listen"]
        self.metrics_address: str = addresses["metrics_listen"]

    def _wait_until_loaded(self) -> None:
        # Not by the command line: a process ten times a second would take its share of starting.
        def settled() -> bool:
            reached = {
                (dict(labels)["model"], dict(labels)["state"])
                for labels, value in metric_values(self.metrics(), "tightfit_model_state").items()
                if value == 1
            }
            waits = [spec.split("=")[0] for spec in self._models if "preload=false" not in spec]
            return all({(name, "resident"), (name, "failed")} & reached for name in waits)

        self._poll(settled, "its models", 180 + 30 * len(self._models))

    def _poll(self, ready: Any, what: str, seconds: float = 180) -> None:
        until = time.monotonic() + seconds
        while not ready():
            assert self.process.poll() is None, f"the server ended:\n{self.log[-3000:]}"
            assert time.monotonic() < until, f"no sign of {what}:\n{self.log[-3000:]}"
            time.sleep(0.1)


def metric_values(text: str, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """Labels -> value of one family of a text exposition without escapes in its labels."""
    values = {}
    for line in text.splitlines():
        if not line.startswith((name + "{", name + " ")):
            continue
        labels, _, value = line.removeprefix(name).rpartition(" ")
        pairs = [pair.split("=", 1) for pair in labels.strip("{}").split(",") if pair]
        values[frozenset((key, val.strip('"')) for key, val in pairs)] = float(value)
    return values
