"""Kinds of trouble that users report of tools for the same job: what images and clients say."""

from __future__ import annotations

from pathlib import Path

import pytest
from a1111_text import parse
from PIL import Image
from server_process import ServerProcess


# Flags -> what a reader of A1111's text finds; None: nothing under this name.
WRITTEN: dict[str, tuple[list[str], dict[str, str | None]]] = {
    "SDXL's usual layer is A1111's clip skip 2": ([], {"Clip skip": "2"}),
    "a layer more is 3": (["--clip-skip", "1"], {"Clip skip": "3"}),
    "two layers more are 4": (["--clip-skip", "2"], {"Clip skip": "4"}),
    "all that was asked for": (
        [
            *("--guidance-rescale", "0.7", "--prompt-syntax", "plain"),
            *("--original-size", "128x96", "--crop-top-left", "4,8", "--sampler", "euler-karras"),
        ],
        {
            "CFG Rescale": "0.7",
            "Emphasis": "None",
            "Prompt syntax": "plain",
            "Original size-1": "128",
            "Original size-2": "96",
            "Crop top left": "4,8",
            "Sampler": "Euler",
            "Schedule type": "Karras",
            "RNG": "CPU",
        },
    ),
    "a part of the denoising": (["--denoising-end", "0.5"], {"Denoising end": "0.5"}),
    "weights as they are applied": ([], {"Emphasis": "No norm", "RNG": "CPU"}),
    "no more than was asked for": (
        [],
        {
            "CFG Rescale": None,
            "Prompt syntax": None,
            "Original size": None,
            "Crop top left": None,
            "Denoising end": None,
            "Schedule type": None,
            "Comma backtrack": None,
        },
    ),
    "exponential levels": (
        ["--sampler", "euler-exponential"],
        {"Sampler": "Euler", "Schedule type": "Exponential"},
    ),
    "levels that A1111 would not take by itself": (
        ["--sampler", "dpmpp-2m"],
        {"Sampler": "DPM++ 2M", "Schedule type": "Uniform"},
    ),
    "Karras' levels": (
        ["--sampler", "dpmpp-2m-sde-karras"],
        {"Sampler": "DPM++ 2M SDE", "Schedule type": "Karras"},
    ),
    "where chunks are cut": (["--comma-backtrack", "5"], {"Prompt": "red apple"}),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_images_say_how_they_were_drawn(server: ServerProcess, tmp_path: Path, kind: str) -> None:
    flags, wanted = WRITTEN[kind]
    file = tmp_path / "image.png"
    asked = ["--seed", "1", "--steps", "2", "--sampler", "euler", "-o", str(file), *flags]
    if "--sampler" in flags:
        at = asked.index("--sampler")
        del asked[at : at + 2]
    server.cli_json("generate", "red apple", *asked)
    found = parse(Image.open(file).text["parameters"])
    assert {name: found.get(name) for name in wanted} == wanted
    for name in ("Steps", "Sampler", "CFG scale", "Seed", "Size-1", "Model hash", "Version"):
        assert found[name]


@pytest.mark.parametrize("seed", ["-1", "random"])
def test_a_seed_may_be_random(server: ServerProcess, tmp_path: Path, seed: str) -> None:
    def drawn() -> int:
        arguments = ["--seed", seed, "--steps", "1", "-o", f"{tmp_path}/"]
        return int(server.cli_json("generate", "red apple", *arguments)["parameters"]["seed"])

    first, second = drawn(), drawn()
    assert first != second and min(first, second) >= 0


@pytest.mark.parametrize("seed", ["Random", "-2", "1.5", ""])
def test_other_seeds_are_refused_by_name(server: ServerProcess, tmp_path: Path, seed: str) -> None:
    done = server.cli("generate", "red apple", "--seed", seed, "-o", f"{tmp_path}/")
    assert done.returncode in (1, 2) and "seed" in done.stderr.splitlines()[0], done.stderr
    assert not list(tmp_path.iterdir())


def test_a_model_cards_clip_skip_is_explained(server: ServerProcess) -> None:
    told = " ".join(server.cli("generate", "--help").stdout.split())
    assert "clip skip 2 is 0 here" in told and "N|random" in told
