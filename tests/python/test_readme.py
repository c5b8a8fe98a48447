"""The commands of README.md and of docs/ work as they are printed, in order, on a fresh clone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from documented_commands import Terminal, blocks, commands, make_clone
from PIL import Image
from server_process import ROOT

FULL = os.environ.get("TIGHTFIT_FULL", "0") not in ("", "0")
# Both need the network of an installation: CI types them itself.
TYPED_BY_CI = ("./deploy/quickstart.sh", "./tests/run.sh")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    opened = Terminal(make_clone(tmp_path_factory.mktemp("clone")))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def readme(terminal: Terminal) -> dict[str, str]:
    """What each command of README.md said, typed from the first to the last."""
    said = {}
    for command in commands("README.md"):
        if not command.startswith(TYPED_BY_CI):
            said[command] = terminal.type(command)
    return said


def said_of(readme: dict[str, str], words: str) -> str:
    (found,) = [said for command, said in readme.items() if words in command]
    return found


def test_ci_types_what_needs_the_network() -> None:
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert all(command in ci for command in TYPED_BY_CI)
    assert [c for c in commands("README.md") if c.startswith(TYPED_BY_CI)] == [
        './deploy/quickstart.sh "red apple"',
        "./tests/run.sh",
    ]


def test_the_exporter_is_installed_as_a_command(terminal: Terminal, readme: dict[str, str]) -> None:
    assert said_of(readme, "install.sh").endswith("== all there\n")
    place = terminal.clone / ".venv" / "bin" / "tightfit-export"
    assert place.is_file() and "tightfit" in terminal.type("tightfit-export --version")
    # It is not installed twice.
    assert terminal.type("./deploy/install.sh --export") == "== all there\n"


def test_the_checkpoint_is_exported_and_the_next_command_is_told(
    terminal: Terminal, readme: dict[str, str]
) -> None:
    content = json.loads((terminal.clone / "models" / "my-model" / "model.json").read_text())
    assert content["name"] == "my-model"
    assert "bf16" in content["components"]["unet"]["graphs"]
    (serve,) = [c for c in commands("README.md") if "tightfit-server --" in c]
    assert f"serve it: {serve}" in said_of(readme, "tightfit-export").splitlines()


def test_what_is_served_draws_and_tells_its_bytes(
    terminal: Terminal, readme: dict[str, str]
) -> None:
    assert Image.open(terminal.clone / "apple.png").size == (64, 64)
    assert "unet e2m5r" in " ".join(said_of(readme, "tightfit models").split())


def test_the_python_example_draws_the_same(terminal: Terminal, readme: dict[str, str]) -> None:
    drawn = (terminal.clone / "apple.png").read_bytes()
    (terminal.clone / "apple.png").unlink()
    (example,) = (body for language, body in blocks("README.md") if language == "python")
    assert len(example.splitlines()) <= 10
    assert "unet e2m5r" in terminal.python(example)
    assert (terminal.clone / "apple.png").read_bytes() == drawn


def test_keys_and_tokens_are_made_used_and_kept_from_others(
    terminal: Terminal, readme: dict[str, str]
) -> None:
    page = "docs/security.md"
    making = commands(page, "Make keys and tokens")
    terminal.type("\n".join(making))
    for command in (*commands(page, "Serve with them"), *commands(page, "Call it")):
        terminal.type(command)
    made = sorted((terminal.clone / "tls").iterdir())
    assert {"ca.key", "key.pem", "tokens", "alice.token", "bob.token"} <= {p.name for p in made}
    for path in (terminal.clone / "tls", *made):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    ignored = subprocess.run(["git", "check-ignore", "-q", "tls/ca.key"], cwd=ROOT)
    assert ignored.returncode == 0
    # Nothing lands beside it, in the repository's root.
    assert not [p for p in terminal.clone.iterdir() if p.suffix in (".pem", ".key", ".token")]


@pytest.mark.skipif(not FULL, reason="minutes: TIGHTFIT_FULL=1")
@pytest.mark.parametrize("page", ["models", "prompts", "formats", "fidelity"])
def test_every_command_of_a_page_works(
    terminal: Terminal, readme: dict[str, str], page: str
) -> None:
    (serve,) = [c for c in commands("README.md") if "tightfit-server --" in c]
    terminal.type(serve)
    for command in commands(f"docs/{page}.md"):
        # The whole table of formats takes up to an hour.
        if "--classes" not in command:
            terminal.type(command)
