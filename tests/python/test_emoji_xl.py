"""The default model draws what it is asked for, in fp32 and packed, as it is committed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from server_process import CLI, ROOT, ServerProcess
from test_main_job import SERVED, model_name

EMOJI_XL = ROOT / "deploy" / "models" / "emoji-xl"
PROMPTS = EMOJI_XL / "prompts.txt"
HF8, UNPACKED = model_name("hf8", "linear+conv"), model_name("fp16", "linear+conv")
# Of the images in hf12, all weights packed, against the unpacked ones.
HF12_MEAN_PSNR_DB, HF12_WORST_PSNR_DB = 45.0, 35.0


def wanted() -> dict[str, str]:
    """The twelve prompts, each with the name of its class."""
    lines = PROMPTS.read_text("utf-8").splitlines()
    pairs = [line.split(" = ") for line in lines if line and not line.startswith("#")]
    assert len(pairs) == 12
    return dict(pairs)


def fidelity(folder: Path, prompts: Path, *flags: str) -> dict[str, Any]:
    """Runs `tightfit fidelity` with euler alone; its document."""
    done = subprocess.run(
        [
            *(str(CLI), "fidelity", "--model", str(EMOJI_XL / "model"), "--prompts", str(prompts)),
            *("--classes", str(EMOJI_XL / "classes.json"), "--scopes", "linear+conv"),
            *("--samplers", "euler", "--out", str(folder), "--json", "--quiet", *flags),
        ],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The rows of hf8 and hf12 and of their floors, by name."""
    folder = tmp_path_factory.mktemp("fidelity")
    document = fidelity(folder, PROMPTS, "--formats", "hf8,hf12")
    assert document["class_count"] >= 300 and document["labelled_prompt_count"] == 12
    assert json.loads((folder / "fidelity.json").read_text()) == document
    assert "| hf12 | linear+conv |" in (folder / "fidelity.md").read_text()
    assert Image.open(folder / "contact-sheet.png").width > 12 * 128
    return {row["name"]: row for row in document["rows"]}


@pytest.mark.parametrize("row", ["unpacked", "hf8", "hf12", "computed in bf16"])
def test_twelve_of_twelve_images_are_recognised(
    measured: dict[str, dict[str, Any]], row: str
) -> None:
    assert measured[row]["samplers"][0]["recognised_count"] == 12


def test_wrong_prompts_are_not_recognised(tmp_path: Path) -> None:
    pairs = list(wanted().items())
    turned = [f"{pairs[i][0]} = {pairs[i - 1][1]}" for i in range(len(pairs))]
    prompts = tmp_path / "turned.txt"
    prompts.write_text("\n".join(turned))
    document = fidelity(tmp_path, prompts, "--formats", "none", "--no-floors")
    assert document["rows"][0]["samplers"][0]["recognised_count"] == 0


def test_hf12_images_stay_close(measured: dict[str, dict[str, Any]]) -> None:
    psnr = measured["hf12"]["samplers"][0]["picture_psnr"]
    assert psnr["different_count"] == 12
    assert psnr["mean_db"] > HF12_MEAN_PSNR_DB and psnr["worst_db"] > HF12_WORST_PSNR_DB
    # hf8 would not pass.
    assert measured["hf8"]["samplers"][0]["picture_psnr"]["mean_db"] < HF12_MEAN_PSNR_DB


def test_the_floors_are_what_they_should_be(measured: dict[str, dict[str, Any]]) -> None:
    def psnr(row: str) -> dict[str, Any]:
        return measured[row]["samplers"][0]["picture_psnr"]

    assert psnr("the same again")["identical_count"] == 12
    assert psnr("the next seed")["identical_count"] == 0
    assert psnr("computed in bf16")["identical_count"] == 0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = [
        f"{model_name(f, s)}={EMOJI_XL / 'model'},format={f},scope={s},compute_dtype=fp32"
        for f, s in SERVED
    ]
    with ServerProcess(tmp_path_factory.mktemp("server"), models) as running:
        yield running


def draw(
    server: ServerProcess, model: str, prompt: str, file: Path, seed: int = 1
) -> np.ndarray:
    server.cli_json(
        *("generate", "--model", model, "--prompt", prompt),
        *("--seed", str(seed), "--output", str(file)),
    )
    return np.asarray(Image.open(file).convert("RGB"))


@pytest.mark.parametrize("model", [UNPACKED, HF8])
def test_served_images_are_nearest_to_their_class(
    served: ServerProcess, tmp_path: Path, model: str
) -> None:
    from training.emoji_classes import load_classes
    from training.recognition import NearestEmoji

    classes = load_classes()
    nearest = NearestEmoji([entry.image for entry in classes])
    for number, (prompt, name) in enumerate(wanted().items()):
        image = draw(served, model, prompt, tmp_path / f"{number}.png")
        assert classes[nearest.find(image)].name == name, prompt


@pytest.mark.parametrize(("weight_format", "scope"), SERVED)
def test_every_format_and_scope_draws_the_red_apple(
    served: ServerProcess, tmp_path: Path, weight_format: str, scope: str
) -> None:
    name = model_name(weight_format, scope)
    unpacked = draw(served, UNPACKED, "red apple", tmp_path / "unpacked.png").astype(float)
    packed = draw(served, name, "red apple", tmp_path / "packed.png")
    assert np.sqrt(np.square(packed - unpacked).mean()) < 20, name
    unet = next(
        c for c in served.cli_json("models", name)["model"]["components"] if c["name"] == "unet"
    )
    # One weight of the time embedding is as large as hf8's largest value, and a little larger.
    is_left = weight_format == "hf8" and scope != "attention"
    left = ["mid_block.resnets.0.time_emb_proj"] if is_left else []
    assert [entry["module"] for entry in unet["modules_left"]] == left


def test_a_prompt_and_a_seed_give_the_same_pixels_after_a_restart(
    served: ServerProcess, tmp_path: Path
) -> None:
    first = draw(served, HF8, "red apple", tmp_path / "first.png")
    again = draw(served, HF8, "red apple", tmp_path / "again.png")
    folder = tmp_path / "restarted"
    folder.mkdir()
    model = f"{HF8}={EMOJI_XL / 'model'},format=hf8,scope=linear+conv,compute_dtype=fp32"
    with ServerProcess(folder, [model]) as restarted:
        later = draw(restarted, HF8, "red apple", tmp_path / "later.png")
    assert np.array_equal(first, again) and np.array_equal(first, later)
    other = draw(served, HF8, "red apple", tmp_path / "other.png", seed=2)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("empty", ""),
        ("long", "red apple " * 1000),
        ("one long word", "a" * 10_000),
        ("unknown words", "zorglub quixotry fnord"),
        ("other scripts", "красное яблоко 红苹果 تفاحة 🍎"),
        ("control characters", "red\tapple\x07"),
    ],
)
def test_any_prompt_gives_a_image_or_a_clear_refusal(
    served: ServerProcess, tmp_path: Path, name: str, prompt: str
) -> None:
    file = tmp_path / "image.png"
    done = served.cli("generate", "--model", HF8, "--prompt", prompt, "--output", str(file))
    if done.returncode == 0:
        assert Image.open(file).size == (64, 64)
    else:
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert done.returncode == 1 and len(lines) == 1 and "prompt" in lines[0], done.stderr
        assert not file.exists()
    # Nothing else is disturbed.
    assert draw(served, HF8, "red apple", tmp_path / "apple.png").shape == (64, 64, 3)


def test_the_model_directory_is_what_the_diffusers_directory_exports_to(tmp_path: Path) -> None:
    from training.commands import export_command

    out = tmp_path / "model"
    subprocess.run(
        [*export_command(EMOJI_XL / "diffusers", out), "--quiet"],
        check=True,
        cwd=ROOT / "deploy" / "export",
    )
    committed = json.loads((EMOJI_XL / "model" / "model.json").read_text())
    exported = json.loads((out / "model.json").read_text())
    # Measured afterwards, on these weights.
    del committed["sensitivity"]
    sensitivity = json.loads((EMOJI_XL / "model" / "sensitivity.json").read_text())
    weights = committed["components"]["unet"]["weights"]
    assert sensitivity["weights_sha256"] == weights["sha256"]
    # Graphs hold no weights; their bytes depend on the machine that traced them.
    for content in (committed, exported):
        for component in content["components"].values():
            del component["graphs"]
    assert exported == committed


def test_the_committed_model_is_small() -> None:
    files = [path for path in EMOJI_XL.rglob("*") if path.is_file()]
    weights = {path.read_bytes() for path in files if path.suffix == ".safetensors"}
    others = sum(p.stat().st_size for p in files if p.suffix != ".safetensors")
    # Git keeps equal files once, and compresses.
    assert sum(len(weight) for weight in weights) + others < 70_000_000
