"""Where an export goes: directories above it are made, and only for an export that is whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from emoji_checkpoint import DIFFUSERS, edited_directory

from tightfit_export.cli import main


def arguments(out: Path, *flags: str) -> list[str]:
    return ["--source", str(DIFFUSERS), "--out", str(out), "--dtypes", "fp32", "--quiet", *flags]


def test_directories_above_are_made(tmp_path: Path, without_graphs: None) -> None:
    out = tmp_path / "models" / "small" / "emoji"
    assert main(arguments(out)) == 0
    assert (out / "model.json").is_file()
    assert [path.name for path in out.parent.iterdir()] == ["emoji"]


def test_a_relative_path_below_what_is_not_there(
    tmp_path: Path, without_graphs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments(Path("models/emoji"))) == 0
    assert (tmp_path / "models/emoji/model.json").is_file()


def test_an_export_that_fails_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tightfit_export import export
    from tightfit_export.errors import VerificationError

    def fail(*_: object) -> None:
        raise VerificationError("not equal")

    monkeypatch.setattr(export, "_write", fail)
    assert main(arguments(tmp_path / "models" / "emoji")) == 1
    assert list(tmp_path.iterdir()) == []
    assert "not equal" in capsys.readouterr().err


def test_a_directory_above_that_holds_something_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tightfit_export import export
    from tightfit_export.errors import VerificationError

    models = tmp_path / "models"

    def fail(*_: object) -> None:
        (models / "other").mkdir()
        raise VerificationError("not equal")

    monkeypatch.setattr(export, "_write", fail)
    assert main(arguments(models / "emoji")) == 1
    assert [path.name for path in models.iterdir()] == ["other"]


def test_a_refusal_makes_nothing(tmp_path: Path) -> None:
    missing = ["--source", str(tmp_path / "no"), "--out", str(tmp_path / "a" / "b"), "--quiet"]
    assert main(missing) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("edits", "flags", "words"),
    [
        ({}, ("--name", "n" * 256), "the model's name is longer than 255 bytes"),
        ({}, ("--license", "l" * 4097), "the licence is longer than 4096 bytes"),
        ({"vae/config.json": {"sample_size": 1023}}, (), "sample_size is 1023 px"),
        ({"unet/config.json": {"sample_size": 8192}}, (), "images of 32768 px"),
    ],
)
def test_what_no_server_would_load_is_refused_before_the_export(
    edits: dict[str, dict[str, Any] | None],
    flags: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = edited_directory(tmp_path / "source", edits)
    out = tmp_path / "out"
    assert main(["--source", str(source), "--out", str(out), "--quiet", *flags]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_notes_and_defaults_reach_the_summary_and_model_json(
    tmp_path: Path, without_graphs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(arguments(out, "--defaults-from", "lightning", "--json", "--name", "l")) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any(note.startswith("defaults of Lightning models: 4 steps") for note in notes)
    content = json.loads((out / "model.json").read_text())
    assert content["defaults"]["step_count"] == 4
    assert content["defaults"]["guidance_scale"] == 0.0
    assert content["defaults"]["sampler"] == "euler"
    assert content["scheduler"]["timestep_spacing"] == "trailing"


def told(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(list(flags)) == 2
    return capsys.readouterr().err


def test_a_wrong_source_is_told_before_a_wrong_destination(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    out = ["--out", str(taken / "model")]
    assert "no such file" in told(capsys, "--source", str(tmp_path / "no.safetensors"), *out)
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    assert "broken" in told(capsys, "--source", str(tmp_path / "broken.safetensors"), *out)
    assert "is no directory" in told(capsys, "--source", str(DIFFUSERS), *out)
    # Nothing is fetched, and nothing made, for a place that cannot be written to.
    assert "is no directory" in told(capsys, "--source", "OWNER/NAME", *out)
    assert "is no directory" in told(capsys, "--random", "tiny", *out)


@pytest.mark.parametrize(("out", "flags", "name"), [(".", (), "here"), ("a", ("--name", "b"), "b")])
def test_a_model_is_called_as_its_directory(
    tmp_path: Path,
    without_graphs: None,
    monkeypatch: pytest.MonkeyPatch,
    out: str,
    flags: tuple[str, ...],
    name: str,
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert main(arguments(Path(out), *flags)) == 0
    assert json.loads((folder / out / "model.json").read_text())["name"] == name


@pytest.mark.parametrize(
    ("out", "program", "command"),
    [
        ("models/my-model", "build/release/bin/tightfit-server", "my-model=models/my-model"),
        ("a model, two", "tightfit-server", r"'a-model--two=a model\, two'"),
    ],
)
def test_the_last_line_is_the_command_that_serves_it(
    tmp_path: Path,
    without_graphs: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    out: str,
    program: str,
    command: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "/" in program:
        Path(program).parent.mkdir(parents=True)
        Path(program).touch()
    assert main([flag for flag in arguments(Path(out)) if flag != "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"serve it: {program} --model {command}"
