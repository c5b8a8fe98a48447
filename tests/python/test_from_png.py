"""A picture's own text draws it again, to the pixel: random parameters over all fields."""

from __future__ import annotations

import random
import subprocess
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_sides import Side, on_both_sides, tightfit
from emoji_model import EMOJI
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from server_process import ServerProcess
from tightfit import LATENTS_MIME_TYPE, Client, ImageParameters, Model

DRAWS = 40
# Not of the picture: what it is drawn on from, its file's type, whether the text is there, and how
# many others were drawn beside it.
BESIDE_THE_PICTURE = {"initial_latents", "mime_type", "embed_metadata", "image_count"}
BESIDE_THE_PICTURE |= {"init_image", "mask", "keep_unmasked_pixels"}
# Of what a picture is drawn over, which test_inpaint_requests draws again.
OVER_AN_IMAGE = {"strength", "mask_blur_px", "inpaint_area", "inpaint_padding_px", "outpaint"}
# Their defaults, which are left out of the text.
NOT_WRITTEN = {"guidance_rescale": 0, "denoising_end": 1, "comma_backtrack_tokens": 20}
PROMPTS = [
    "red apple",
    "",
    "a (red:1.3) apple, [blurry] \\(leaf\\)",
    "red apple BREAK green leaf",
    'a "quoted", colon: and backslash \\ apple',
    '"all of it quoted"',
    "first line\n\nthird line",
    "  blanks around \n and in lines \t",
    "\n\nlines around\n",
    "red apple\nNegative prompt: not negative",
    "Negative prompt: from the start",
    "Steps: 3, Sampler: Heun, CFG scale: 2, Seed: 9, Size: 16x16",
    "Prompt: x, Negative prompt: y, Version: z",
    "café 猫 🍎, naïve",
    "\u3000wide blanks\u3000",
    ", ".join(["ripe red apple with a leaf"] * 14),
    "x" * 300,
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    # oneDNN's convolutions in bf16 read what nobody wrote where a level is two latents wide.
    model = f"{EMOJI},compute_dtype=fp32"
    with ServerProcess(tmp_path_factory.mktemp("server"), [model]) as running:
        yield running


@pytest.fixture(scope="module")
def model(server: ServerProcess) -> Model:
    with Client(server.address) as client:
        return client.model("emoji-xl")


def random_parameters(rng: random.Random, model: Model) -> dict[str, Any]:
    """About half of the fields, each anywhere in its range."""

    def side() -> int:
        return model.pixels_per_latent * rng.randint(
            -(-16 // model.pixels_per_latent), 72 // model.pixels_per_latent
        )

    choices: dict[str, Any] = {
        "prompt_2": rng.choice(PROMPTS),
        "negative_prompt": rng.choice(PROMPTS),
        "negative_prompt_2": rng.choice(PROMPTS),
        "width_px": side(),
        "height_px": side(),
        "guidance_scale": rng.choice([0, 1, 1.1, 3.3333333, rng.uniform(0, 30)]),
        "guidance_rescale": rng.choice([0, 1, 0.7, rng.random()]),
        "sampler": rng.choice(model.samplers),
        "original_size": (rng.randint(1, 8192), rng.randint(1, 8192)),
        "target_size": (rng.randint(1, 8192), rng.randint(1, 8192)),
        "crop_top_left": (rng.randint(0, 8192), rng.randint(0, 8192)),
        "clip_skip": rng.randint(0, model.max_clip_skip),
        "denoising_end": rng.choice([1, 0.5, rng.uniform(0.5, 1)]),
        "timestep_spacing": rng.choice(["leading", "trailing", "linspace"]),
        "model": "emoji-xl",
    }
    if rng.random() < 0.3:
        choices["prompt_syntax"] = "plain"
    else:
        choices["prompt_syntax"] = "weighted"
        choices["comma_backtrack_tokens"] = rng.choice([0, 20, 74, rng.randint(0, 74)])
    chosen = {name: value for name, value in choices.items() if rng.random() < 0.6}
    return {
        **chosen,
        # Of fewer a part could be none.
        "step_count": 4 if "denoising_end" in chosen else rng.randint(1, 3),
        "seed": rng.choice([0, 2**63 - 10, rng.randrange(2**62)]),
    }


def again(server: ServerProcess, picture: Path, *flags: str) -> bytes:
    """The file that the command line draws from a picture."""
    file = picture.with_name("again.png")
    done = server.cli("generate", "--from-png", str(picture), "-o", str(file), "--quiet", *flags)
    assert done.returncode == 0, done.stderr
    assert "note:" not in done.stderr, done.stderr
    return file.read_bytes()


def test_every_parameter_is_drawn_again_to_the_pixel(
    server: ServerProcess, model: Model, tmp_path: Path
) -> None:
    rng = random.Random(20261130)
    given: set[str] = set()
    picture = tmp_path / "picture.png"
    with Client(server.address) as client:
        for number in range(DRAWS):
            prompt = PROMPTS[number % len(PROMPTS)]
            parameters = random_parameters(rng, model)
            if parameters.get("prompt_syntax") == "plain":
                parameters.pop("comma_backtrack_tokens", None)
            given |= parameters.keys()
            (drawn,) = client.generate(prompt, **parameters).images
            drawn.save(picture)
            # The whole file: pixels, and the text that the next one would be drawn from.
            assert again(server, picture) == drawn.png, (prompt, parameters, drawn.pil.text)
            # The Python client reads the same of it.
            read = client.parameters_from_png(drawn.png)
            assert read.prompt == prompt and read.notes == ()
            for name, value in parameters.items():
                told = read.parameters.get(name, NOT_WRITTEN.get(name))
                if isinstance(value, float):
                    assert told == pytest.approx(value, rel=1e-6), name
                else:
                    assert told == value, name
            if number % 10 == 0:
                result = client.generate_from_png(picture)
                assert result.images[0].png == drawn.png and result.notes == ()
    # A field that the contract gains must be written, read and drawn here.
    fields = set(typing.get_type_hints(ImageParameters))
    assert given == fields - BESIDE_THE_PICTURE - {"denoising_start"} - OVER_AN_IMAGE


def test_a_picture_of_several_is_drawn_alone(server: ServerProcess, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    with Client(server.address) as client:
        drawn = client.generate("red apple", seed=5, image_count=3, step_count=3).images
    for image in drawn:
        image.save(picture)
        assert f"Seed: {image.seed}," in image.pil.text["parameters"]
        Path(tmp_path / "alone.png").write_bytes(again(server, picture))
        alone = np.asarray(Image.open(tmp_path / "alone.png")).astype(int)
        assert np.abs(alone - np.asarray(image.pil)).max() <= 1  # a batch rounds elsewhere


def test_latents_that_it_was_drawn_on_from_must_be_given(
    server: ServerProcess, tmp_path: Path
) -> None:
    latents, picture = tmp_path / "latents.safetensors", tmp_path / "picture.png"
    same: dict[str, Any] = {"seed": 1, "step_count": 4, "sampler": "euler"}
    with Client(server.address) as client:
        (first,) = client.generate(
            "red apple", denoising_end=0.5, mime_type=LATENTS_MIME_TYPE, **same
        ).images
        first.save(latents)
        (drawn,) = client.generate(
            "red apple", denoising_start=0.5, initial_latents=[first.content], **same
        ).images
        drawn.save(picture)
        with pytest.raises(ValueError, match="give them as initial_latents"):
            client.generate_from_png(picture)
        (redrawn,) = client.generate_from_png(picture, initial_latents=[first.content]).images
        assert redrawn.png == drawn.png
    refused = server.cli("generate", "--from-png", str(picture))
    assert refused.returncode == 2 and "--initial-latents" in refused.stderr
    assert again(server, picture, "--initial-latents", str(latents)) == drawn.png


def with_text(file: Path, text: str) -> Path:
    info = PngInfo()
    info.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(file, pnginfo=info)
    return file


FOREIGN = (
    "red (apple:1.2)\nNegative prompt: blurry\nSteps: 3, Sampler: DPM++ 2M, Schedule type: Karras, "
    "CFG scale: 4, Seed: 965400086, Size: 48x64, Model hash: 31e35c80fc, Model: sd_xl_base_1.0, "
    'Clip skip: 2, Hires upscale: 2, Hires steps: 5, Lora hashes: "detail: 1a2b", Version: v1.10.1'
)


@on_both_sides
def test_text_of_a1111_is_drawn_as_it_means_it(
    server: ServerProcess, side: Side, tmp_path: Path
) -> None:
    picture = with_text(tmp_path / "foreign.png", FOREIGN)
    result = side.call(server.address, "generate_from_png", picture)
    told = result.parameters
    assert (told.sampler, told.seed, told.step_count) == ("dpmpp-2m-karras", 965400086, 3)
    assert (told.width_px, told.height_px, told.clip_skip) == (48, 64, 0)
    assert told.guidance_scale == 4 and told.model == "emoji-xl"
    document = server.cli_json("generate", "--from-png", str(picture), "-o", f"{tmp_path}/")
    assert document["notes"] == list(result.notes)
    for part in ("RNG: GPU", "Emphasis: Original", "Hires upscale: 2", "Lora hashes", "the only"):
        assert any(part in note for note in result.notes), part
    assert Path(document["images"][0]["file"]).read_bytes() == result.images[0].png
    other = side.call(
        server.address, "generate_from_png", picture, prompt="green pear", seed=None, width_px=64
    )
    assert other.parameters.seed != told.seed and other.parameters.width_px == 64
    assert "green pear\n" in other.images[0].pil.text["parameters"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        tightfit.png_text.SIGNATURE,
        tightfit.png_text.SIGNATURE + b"\xff\xff\xff\xffIHDR" + b"x" * 20,
    ],
)
def test_files_that_are_no_such_pictures_are_refused_in_one_line(
    server: ServerProcess, tmp_path: Path, content: bytes
) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(content)
    refused_alike(server, picture)


def test_pictures_without_such_text_are_refused_in_one_line(
    server: ServerProcess, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    refused_alike(server, picture)
    for text in ("a cat", '{"sui_image_params": {}}', "x\nSteps: many, Sampler: Euler, Seed: 1"):
        refused_alike(server, with_text(picture, text))
    info = PngInfo()
    info.add_text("parameters", "a" * (2 << 20), zip=True)
    Image.new("RGB", (8, 8)).save(picture, pnginfo=info)
    refused_alike(server, picture)


def refused_alike(server: ServerProcess, picture: Path) -> None:
    """In one line, and in the same words by both clients."""
    done: subprocess.CompletedProcess[str] = server.cli("generate", "--from-png", str(picture))
    assert done.returncode == 2, done.stderr
    assert [line[:6] for line in done.stderr.splitlines()] == ["error:", "Run ti"]
    with Client(server.address) as client, pytest.raises(ValueError) as caught:
        client.parameters_from_png(picture)
    if picture.stat().st_size > 0:
        assert str(caught.value) in done.stderr
