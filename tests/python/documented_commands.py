"""The commands of the documents, and a repository as it is after its build, to type them in."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from server_process import BUILD, ROOT

COPIED = ("deploy", "proto", "client")
# Stamps of install.sh: what the tests' own environment has need not be installed again.
STAMPS = {
    "libtorch": ("deploy/requirements.txt",),
    "exporter": ("deploy/export/requirements.txt", "deploy/export/requirements-vocabulary.txt"),
}
ANY_PORT = "--metrics-listen 127.0.0.1:0 --address-file addresses.json"


def blocks(document: str, heading: str = "") -> list[tuple[str, str]]:
    """Language and text of the blocks of a document, or of the section with that heading."""
    text = (ROOT / document).read_text("utf-8")
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [
        (word or "sh", re.sub(rf"^{indent}", "", body, flags=re.M)) for indent, word, body in found
    ]


def spans(document: str) -> list[str]:
    """What stands in backticks outside of blocks."""
    text = (ROOT / document).read_text("utf-8")
    outside = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", outside)]


def commands(document: str, heading: str = "") -> list[str]:
    """The commands of its blocks of shell in order, each one line, without comments."""
    lines: list[str] = []
    for language, body in blocks(document, heading):
        if language in ("sh", "bash"):
            lines += body.replace("\\\n", " ").splitlines()
    plain = [re.sub(r"\s+#.*$", "", line).strip() for line in lines]
    return [" ".join(line.split()) for line in plain if line]


def make_clone(clone: Path) -> Path:
    """Cloned, installed and built: it has no models, no keys, and no command of the exporter."""
    for name in COPIED:
        ignored = shutil.ignore_patterns("models", "__pycache__", "*.egg-info", "v1")
        shutil.copytree(ROOT / name, clone / name, ignore=ignored if name != "proto" else None)
    (clone / "deploy" / "models").symlink_to(ROOT / "deploy" / "models")
    (clone / "build").mkdir()
    (clone / "build" / "release").symlink_to(BUILD)
    _make_environment(clone)
    return clone


def _make_environment(clone: Path) -> None:
    """A .venv of its own, whose packages are those of the tests' environment."""
    place = clone / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (site,) = place.glob("lib/python3*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = place / "bin" / "pip"
    pip.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m pip "$@"\n')
    # Nothing is fetched: what is missing is an error, and no question for a password.
    for name in ("apt-get", "sudo"):
        (place / "bin" / name).write_text("#!/bin/sh\nexit 9\n")
    for name in ("pip", "apt-get", "sudo"):
        (place / "bin" / name).chmod(0o755)
    for name, files in STAMPS.items():
        content = b"".join((clone / each).read_bytes() for each in ("deploy/install.sh", *files))
        stamp = hashlib.sha256(content).hexdigest()[:16]
        (place / f".tightfit-{name}").write_text(stamp)


class Terminal:
    """Types commands in a clone, as one shell after another; one server runs at a time."""

    def __init__(self, clone: Path) -> None:
        self.clone = clone
        self.port = ""
        self._server: subprocess.Popen[bytes] | None = None
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._environment = inherited | {
            "PATH": f"{clone}/.venv/bin:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: without it
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def type(self, command: str) -> str:
        """Both of its outputs. A server stays; what fails fails the test."""
        if "tightfit-server --" in command and "token new" not in command:
            self._serve(command)
            return ""
        if self.port:
            command = command.replace(":50051", f":{self.port}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.clone,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def python(self, code: str) -> str:
        (self.clone / "example.py").write_text(code)
        return self.type("python example.py")

    def close(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(60)
            self._server = None

    def _serve(self, command: str) -> None:
        """As printed, but on a free port."""
        self.close()
        if "--listen " in command:
            command = re.sub(r"(--listen [\w.]+):\d+", r"\1:0", command)
        else:
            command += " --listen 127.0.0.1:0"
        addresses = self.clone / "addresses.json"
        log = self.clone / "server.log"
        with log.open("wb") as output:
            self._server = subprocess.Popen(
                ["bash", "-c", f"exec {command} {ANY_PORT}"],
                cwd=self.clone,
                env=self._environment,
                stdout=output,
                stderr=output,
            )
        until = time.monotonic() + 180
        while not addresses.is_file():
            is_alive = self._server.poll() is None
            assert is_alive and time.monotonic() < until, log.read_text("utf-8", "replace")
            time.sleep(0.05)
        listen = json.loads(addresses.read_text())["listen"]
        self.port = listen.rpartition(":")[2]
        self._environment["TIGHTFIT_SERVER"] = f"127.0.0.1:{self.port}"
