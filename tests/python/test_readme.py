"""README's steps from a checkpoint to a picture work as they are written, on a clean clone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from emoji_checkpoint import DIFFUSERS, save_checkpoint
from PIL import Image
from server_process import BUILD, ROOT

SECTION = "## Your own SDXL checkpoint, step by step"
# A file that a user brings has SDXL base's architecture; the one of this test is small.
SMALL = {"--source my-model.safetensors": f"--source my-model.safetensors --config {DIFFUSERS}"}
ANY_PORT = " --listen 127.0.0.1:0 --metrics-listen 127.0.0.1:0 --address-file addresses.json"


def blocks() -> list[tuple[str, str]]:
    """Language and text of the section's code blocks, in order."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = text.partition(SECTION)[2].partition("\n## ")[0]
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    return [(word, re.sub(rf"^{indent}", "", body, flags=re.M)) for indent, word, body in found]


def commands(word: str) -> list[str]:
    """The lines of shell that have the word, without comments."""
    lines = [line for language, body in blocks() if not language for line in body.splitlines()]
    return [line.partition("    #")[0].strip() for line in lines if word in line]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that was cloned, installed and built: it has no folder of models."""
    clone = tmp_path_factory.mktemp("clone")
    for name in ("deploy", "proto", "client"):
        (clone / name).symlink_to(ROOT / name)
    (clone / "build").mkdir()
    (clone / "build" / "release").symlink_to(BUILD)
    save_checkpoint(clone / "my-model.safetensors")
    return clone


def environment() -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return inherited | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def shell(clone: Path, command: str, **more: str) -> subprocess.CompletedProcess[str]:
    for old, new in SMALL.items():
        command = command.replace(old, new)
    return subprocess.run(
        ["bash", "-c", command],
        cwd=clone,
        env=environment() | more,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def exported(clone: Path) -> Path:
    (command,) = commands("-m tightfit_export")
    assert "--out models/my-model" in command
    done = shell(clone, command)
    assert done.returncode == 0, done.stderr
    return clone / "models" / "my-model"


@pytest.fixture(scope="module")
def address(clone: Path, exported: Path) -> Iterator[str]:
    (command,) = commands("tightfit-server --model")
    # The other model of the example.
    (clone / "models" / "other").symlink_to(ROOT / "deploy" / "models" / "emoji-xl" / "model")
    with (clone / "server.log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {command}{ANY_PORT}"],
            cwd=clone,
            env=environment(),
            stdout=log,
            stderr=log,
        )
        try:
            until = time.monotonic() + 180
            while not (clone / "addresses.json").is_file():
                said = (clone / "server.log").read_text("utf-8", "replace")
                assert server.poll() is None and time.monotonic() < until, said
                time.sleep(0.1)
            yield json.loads((clone / "addresses.json").read_text())["listen"]
        finally:
            server.terminate()
            server.wait(60)


def test_the_checkpoint_is_exported(exported: Path) -> None:
    content = json.loads((exported / "model.json").read_text())
    assert content["name"] == "my-model"
    assert "bf16" in content["components"]["unet"]["graphs"]


def test_what_is_served_draws(clone: Path, address: str) -> None:
    lines = commands("tightfit generate")
    assert len(lines) >= 2
    for line in lines:
        done = shell(clone, line, TIGHTFIT_SERVER=address)
        assert done.returncode == 0, done.stderr
        if "--estimate" in line:
            assert "MiB" in done.stdout + done.stderr
    assert Image.open(clone / "lighthouse.png").size == (64, 64)


def test_the_table_of_models_is_live(clone: Path, address: str) -> None:
    (command,) = commands("tightfit models --watch")
    done = shell(clone, f"timeout --preserve-status 3 {command}", TIGHTFIT_SERVER=address)
    assert "my-model" in done.stdout and "other" in done.stdout, done.stderr


def test_the_python_example_draws(clone: Path, address: str) -> None:
    (making,) = commands("grpc_tools.protoc")
    done = shell(clone, making.partition("&& ")[2])
    assert done.returncode == 0, done.stderr
    (example,) = (body for language, body in blocks() if language == "python")
    (clone / "example.py").write_text(example.replace("127.0.0.1:50051", address))
    (clone / "lighthouse.png").unlink(missing_ok=True)
    done = shell(clone, "python example.py")
    assert done.returncode == 0, done.stderr
    assert "tokens" in done.stdout
    assert Image.open(clone / "lighthouse.png").size == (64, 64)
