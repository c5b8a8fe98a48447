"""A real Prometheus that scrapes real servers with the repository's configuration, only faster."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from server_process import ROOT

sys.path.insert(0, str(ROOT / "deploy" / "grafana"))

import prometheus_api  # noqa: E402

CONFIG = ROOT / "deploy" / "prometheus"


def program(name: str) -> str:
    """prometheus or promtool, which deploy/install.sh --tests fetches."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is missing: deploy/install.sh --tests"
    return found


class PrometheusProcess:
    """Use as a context manager; `url` once entered."""

    def __init__(self, folder: Path, targets: list[str], interval: str = "500ms") -> None:
        """`targets`: host:port of /metrics; `folder`: for its data, must be new."""
        folder.mkdir()
        config: dict[str, Any] = yaml.safe_load((CONFIG / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": interval, "evaluation_interval": "1s"}
        config["rule_files"] = [str(CONFIG / name) for name in config["rule_files"]]
        config["scrape_configs"][0]["static_configs"][0]["targets"] = targets
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._log = folder / "prometheus.log"
        self._folder = folder

    def __enter__(self) -> PrometheusProcess:
        # Prometheus does not tell the port that it chose for 0: ask the kernel for a free one, and
        # again should somebody take it in between.
        for _ in range(3):
            if self._start(free_port()):
                return self
        raise AssertionError(f"Prometheus did not start:\n{self._log.read_text()[-3000:]}")

    def __exit__(self, *exc_info: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self, port: int) -> bool:
        self.url = f"http://127.0.0.1:{port}"
        arguments = [
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program("prometheus"), *arguments], stdout=log, stderr=subprocess.STDOUT
            )
        until = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < until:
            try:
                prometheus_api.query(self.url, "vector(1)")
                return True
            except prometheus_api.PrometheusError:
                time.sleep(0.1)
        self.__exit__()
        return False

    def wait_for(self, expression: str, timeout: float = 20) -> list[prometheus_api.Series]:
        """Polls until the expression has a value."""
        until = time.monotonic() + timeout
        while not prometheus_api.has_value(found := prometheus_api.query(self.url, expression)):
            assert time.monotonic() < until, f"no value of {expression}"
            time.sleep(0.2)
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
