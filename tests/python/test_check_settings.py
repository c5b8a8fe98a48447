"""What every load of a model would refuse, `--check` refuses, and a start says it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from emoji_model import MODEL
from server_process import SERVER

WEIGHTS = MODEL / "unet.safetensors"


def check(*flags: str, model: str = str(MODEL)) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SERVER, f"--model=e={model}", *flags, "--check"],
        capture_output=True,
        text=True,
        timeout=120,
    )


def linked_model(folder: Path, *, without: str = "", cut: str = "") -> Path:
    """The model with one file missing or a byte short; all others are links."""
    for file in MODEL.rglob("*"):
        name = str(file.relative_to(MODEL))
        copy = folder / "model" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if name == cut:
            copy.write_bytes(file.read_bytes()[:-1])
        elif file.is_file() and name != without:
            copy.symlink_to(file)
    return folder / "model"


@pytest.mark.parametrize(
    "settings",
    [
        "",
        ",exclude=conv_in;down_blocks.0",
        ",vae_tile_px=64",
        ",scope=attention",
        ",format=fp16",
        f",vae={MODEL / 'vae.safetensors'}",
    ],
)
def test_settings_that_a_load_takes_are_valid(settings: str) -> None:
    done = check(model=f"{MODEL}{settings}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "The configuration is valid: 1 model.\n"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (",exclude=nope.nothing", 'the UNet has no module "nope.nothing"'),
        (",exclude=convin", 'no module "convin"; did you mean "conv_in"?'),
        (",exclude=down_blocks.0;mid_blok", 'did you mean "mid_block"?'),
        (",exclude=nope,format=fp16", 'no module "nope"'),
        (",vae_tile_px=1", "vae_tile_px must be a multiple of "),
        (f",vae={WEIGHTS}", "of the shape that this model has"),
        (",keep_alive_seconds=31622401", "(366 days)"),
        (",compute_dtype=fp16", 'compute_dtype "fp16" is not available'),
    ],
)
def test_a_setting_that_every_load_refuses_is_refused(settings: str, told: str) -> None:
    done = check(model=f"{MODEL}{settings}")
    assert done.returncode == 78, done.stdout
    assert told in done.stderr and done.stderr.count("\n") == 1
    assert done.stderr.startswith("tightfit-server: --model e: ")


def test_limits_under_which_nothing_can_be_drawn_are_refused() -> None:
    done = check("--memory-limit-mib=5")
    assert done.returncode == 78 and "the server may use 5 MiB" in done.stderr
    done = check("--min-side-px=17", "--max-side-px=17")
    assert done.returncode == 78 and "is a multiple of " in done.stderr
    assert check("--memory-limit-mib=4096").returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        "unet.safetensors",
        "vae.safetensors",
        "text_encoder_2.fp32.ts",
        "vae_encoder.fp32.ts",
        "vae_encoder.safetensors",
        "tokenizer/merges.txt",
        "tokenizer_2/vocab.json",
    ],
)
def test_a_file_that_is_missing_or_short_is_named(tmp_path: Path, name: str) -> None:
    for model in (
        linked_model(tmp_path / "a", without=name),
        linked_model(tmp_path / "b", cut=name),
    ):
        done = check(model=f"{model},compute_dtype=fp32")
        assert done.returncode == 78 and name in done.stderr, done.stderr


def test_a_start_says_the_same_of_a_name_that_the_model_lacks(tmp_path: Path) -> None:
    done = subprocess.run(
        [SERVER, f"--model=e={MODEL},exclude=convin", "--listen=127.0.0.1:0"]
        + ["--metrics-listen=none", f"--address-file={tmp_path / 'addresses'}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 78, done.stderr
    assert 'no module \\"convin\\"' in done.stderr or 'no module "convin"' in done.stderr
