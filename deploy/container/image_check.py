"""Serves a picture from a built root as `docker run --read-only` would: a user of its own without
capabilities, a root that cannot be written, a network of its own that is reached from outside.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from image_build import ImageSettings
from stage_root import Entry, StageError, command_in

# Of a block that is reserved for documentation; it exists in the check's own network alone.
ADDRESS = "192.0.2.1"
_START_SECONDS = 180
_STOP_SECONDS = 40


@dataclass(frozen=True)
class Served:
    """What the check found. user: as the kernel tells; stop_seconds: from the signal to the end."""

    picture: Path
    version: str
    user: str
    start_seconds: float
    stop_seconds: float


@contextmanager
def own_network() -> Iterator[str]:
    """A network namespace with loopback and ADDRESS; its file."""
    name = f"tightfit-check-{os.getpid()}"
    _run(["ip", "netns", "add", name])
    try:
        _run(["ip", "-n", name, "link", "set", "lo", "up"])
        _run(["ip", "-n", name, "address", "add", f"{ADDRESS}/32", "dev", "lo"])
        yield f"/run/netns/{name}"
    finally:
        subprocess.run(["ip", "netns", "delete", name])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise StageError(f"{' '.join(command[:4])}: {done.stderr.strip() or done.returncode}")
    return done.stdout


class RunningImage:
    """One container. `execute` is `docker exec`."""

    def __init__(
        self, root: Path, settings: ImageSettings, model: Path, namespace: str, out: Path
    ) -> None:
        """model: a model directory, seen as /models/emoji-xl; out: seen as /tmp by `execute`."""
        self._root = root
        self._out = out
        self._entry = Entry(
            environment=settings.environment,
            folder=settings.folder,
            user=settings.user,
            read_only=True,
            binds={str(model): "/models/emoji-xl"},
            namespace=namespace,
        )
        self._settings = settings
        self.log = out / "server.log"

    def start(self, arguments: Sequence[str]) -> None:
        command = [*self._settings.entrypoint, *(arguments or self._settings.command)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command_in(self._root, command, self._entry),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def execute(
        self, command: Sequence[str], as_root: bool = False
    ) -> subprocess.CompletedProcess[str]:
        entry = Entry(
            environment=self._entry.environment,
            user=None if as_root else self._entry.user,
            read_only=True,
            binds={} if as_root else {str(self._out): "/tmp"},
            namespace=self._entry.namespace,
        )
        return subprocess.run(
            command_in(self._root, command, entry), capture_output=True, text=True, timeout=300
        )

    def server_pid(self) -> int:
        """nsenter becomes unshare, whose child is the first process inside."""
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + _START_SECONDS
        while not ready():
            if self._process.poll() is not None:
                raise StageError(f"the server ended with {self._process.returncode}:\n{self.told}")
            if time.monotonic() > until:
                raise StageError(f"{what} took more than {_START_SECONDS} s:\n{self.told}")
            time.sleep(0.2)

    @property
    def told(self) -> str:
        return self.log.read_text("utf-8", "replace")[-3000:]

    def stop(self) -> int:
        """The image's own signal to the first process, as Docker sends it; the exit code."""
        os.kill(self.server_pid(), signal.Signals[self._settings.stop_signal])
        return self._process.wait(timeout=_STOP_SECONDS)

    def close(self) -> None:
        """Kills what still runs: the inner process itself, for a change of user ends the kernel's
        promise to kill it with the outer one."""
        if not hasattr(self, "_process") or self._process.poll() is not None:
            return
        with suppress(OSError, IndexError):
            os.kill(self.server_pid(), signal.SIGKILL)
        self._process.kill()
        self._process.wait()


def serve_picture(
    root: Path,
    settings: ImageSettings,
    model: Path,
    work: Path,
    picture: Path,
    libraries: str = "/opt/tightfit/lib",
) -> Served:
    """`libraries`: the folder inside of those that came with the programs.

    Raises StageError where anything is not as an image must be.
    """
    if settings.user is None or settings.user.split(":")[0] in ("0", "root"):
        raise StageError("the image runs as root: it has no USER")
    out = work / "serving"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    uid = int(settings.user.split(":")[0])
    os.chown(out, uid, -1)
    with own_network() as namespace:
        image = RunningImage(root, settings, model, namespace, out)
        try:
            return _serve(image, settings, picture, libraries)
        finally:
            image.close()


def _serve(
    image: RunningImage, settings: ImageSettings, picture: Path, libraries: str
) -> Served:
    began = time.monotonic()
    model = "emoji-xl=/models/emoji-xl,format=e2m5r,preload=true"
    image.start(["--model", model])
    image.wait_until(
        lambda: image.execute(settings.health_check).returncode == 0, "the first good health check"
    )

    def resident() -> bool:
        done = image.execute(["tightfit", "models", "--json"])
        states = [each["state"] for each in json.loads(done.stdout)["models"]]
        if "failed" in states:
            raise StageError(f"the model could not be loaded:\n{image.told}")
        return states == ["resident"]

    image.wait_until(resident, "loading the model")
    started = time.monotonic() - began
    version = image.execute(["tightfit-server", "--version"]).stdout.strip()
    _check_libraries(image, libraries)
    user = _check_confinement(image, settings)
    asked = ["generate", "red apple", "--seed", "1", "--server", f"{ADDRESS}:50051"]
    done = image.execute(["tightfit", *asked, "--output", "/tmp/picture.png"])
    if done.returncode != 0:
        raise StageError(f"no picture: {done.stderr.strip()}\n{image.told}")
    drawn = image.log.with_name("picture.png")
    check_picture(drawn.read_bytes())
    picture.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(drawn, picture)
    stopped = time.monotonic()
    if (code := image.stop()) != 0:
        raise StageError(f"{settings.stop_signal} ended the server with {code}:\n{image.told}")
    return Served(picture, version, user, started, time.monotonic() - stopped)


def _check_libraries(image: RunningImage, folder: str) -> None:
    """Raises StageError for a library that would not load; CUDA's are loaded by name alone."""
    told = image.execute(["/bin/sh", "-c", f"ldd {folder}/*"]).stdout
    # The driver's own library comes with the driver.
    missing = {
        line.split()[0]
        for line in told.splitlines()
        if "not found" in line and not line.strip().startswith("libcuda.so.1 ")
    }
    if missing or not told:
        raise StageError(f"the image lacks {', '.join(sorted(missing)) or 'its libraries'}")


def _check_confinement(image: RunningImage, settings: ImageSettings) -> str:
    """The user that the server runs as. Raises StageError for any right that it should not have."""
    pid = image.server_pid()
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    uids, capabilities = status["Uid"].split(), int(status["CapBnd"], 16)
    if "0" in uids or capabilities or status["NoNewPrivs"] != "1":
        raise StageError(f"the server has rights: uids {uids}, capabilities {capabilities:#x}")
    for place in ("/opt/written", "/etc/written", "/tmp/written"):
        if image.execute(["touch", place], as_root=True).returncode == 0:
            raise StageError(f"{place} could be written: the root is not read-only")
    metrics = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    told = _run(
        ["ip", "netns", "exec", f"tightfit-check-{os.getpid()}"]
        + [sys.executable, "-c", metrics, f"http://{ADDRESS}:9400/metrics"]
    )
    if 'tightfit_model_state{model="emoji-xl",state="resident"} 1' not in told:
        raise StageError("/metrics does not tell that the model is resident")
    return uids[0]


def check_picture(content: bytes) -> None:
    """Raises StageError unless it is an RGB picture of 64 x 64 px with something on it."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        raise StageError("what was served is no PNG")
    width, height, depth, colour = struct.unpack(">IIBB", content[16:26])
    if (width, height, depth, colour) != (64, 64, 8, 2):
        raise StageError(f"the picture is {width} x {height}, depth {depth}, colour type {colour}")
    packed, place = b"", 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        if content[place + 4 : place + 8] == b"IDAT":
            packed += content[place + 8 : place + 8 + length]
        place += length + 12
    if len(set(zlib.decompress(packed))) < 64:
        raise StageError("the picture is empty")
