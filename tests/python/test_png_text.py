"""Pillow reads the PNG files that the server writes, and the server those of Pillow.

TIGHTFIT_PNG_ROUND_TRIP names the program png_round_trip of the build; ctest sets it.
"""

import os
import subprocess
from pathlib import Path

import numpy
import pytest
from a1111_text import parse
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PROGRAM = os.environ.get("TIGHTFIT_PNG_ROUND_TRIP")
pytestmark = pytest.mark.skipif(not PROGRAM, reason="TIGHTFIT_PNG_ROUND_TRIP is not set")


def image(mode: str) -> Image.Image:
    values = numpy.random.default_rng(1).integers(0, 256, (19, 23, 4), dtype=numpy.uint8)
    if mode == "RGBA":
        return Image.fromarray(values, "RGBA")
    rgb = Image.fromarray(values[:, :, :3].copy(), "RGB")
    return rgb.quantize(200) if mode == "P" else rgb.convert(mode)


def round_trip(source: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    target = source.with_suffix(".out.png")
    run = subprocess.run([PROGRAM, source, target], stdout=subprocess.PIPE, text=True, check=False)
    return run, target


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA"])
def test_pixels_are_those_of_pillow(mode: str, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    original = image(mode)
    original.save(source)
    run, target = round_trip(source)
    assert run.returncode == 0, run.stdout
    with Image.open(target) as result:
        assert result.mode == "RGB"
        assert result.tobytes() == original.convert("RGB").tobytes()


def test_palette_with_transparency_keeps_its_colours(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    original = image("P")
    original.save(source, transparency=0)
    run, target = round_trip(source)
    assert run.returncode == 0, run.stdout
    with Image.open(target) as result:
        assert result.tobytes() == original.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["1", "I;16"])
def test_other_depths_are_refused(mode: str, tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    if mode == "1":
        image("1").save(source)
    else:
        Image.fromarray(numpy.full((3, 3), 40000, dtype=numpy.uint16)).save(source)
    run, _ = round_trip(source)
    assert run.returncode == 1
    assert "8 bits" in run.stdout


def test_texts_come_through_in_every_chunk_type(tmp_path: Path) -> None:
    source = tmp_path / "in.png"
    text = PngInfo()
    text.add_text("Title", "caf\u00e9")  # Latin-1 in tEXt
    text.add_text("Packed", "x" * 5000, zip=True)
    text.add_itxt("Comment", "\u732b \U0001f600", lang="ja", tkey="\u732b")
    text.add_itxt("PackedComment", "\u732b" * 2000, zip=True)
    image("RGB").save(source, pnginfo=text, dpi=(72, 72))
    run, target = round_trip(source)
    assert run.returncode == 0, run.stdout
    with Image.open(target) as result:
        result.load()
        assert result.text["Title"] == "caf\u00e9"
        assert result.text["Packed"] == "x" * 5000
        assert result.text["Comment"] == "\u732b \U0001f600"
        assert result.text["PackedComment"] == "\u732b" * 2000


def test_parameters_text_is_read_field_by_field(tmp_path: Path) -> None:
    values = parse(parameters_text(tmp_path))
    version = values.pop("Version")
    assert version.startswith("tightfit ")
    assert values == {
        "Prompt": "caf\u00e9 \u732b\nsecond line",
        "Negative prompt": "blurry, bad",
        "Steps": "25",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "7.5",
        "Seed": "4294967296",
        "Size-1": "23",
        "Size-2": "19",
        "Model hash": "0123456789",
        "Model": "emoji: first, fine-tuned",
        "Clip skip": "3",
        "RNG": "CPU",
        "CFG Rescale": "0.7",
        "Emphasis": "No norm",
        "Comma backtrack": "0",
        "Timestep spacing": "trailing",
        "Crop top left": "4,8",
        "Weight format": "hf8",
        "Prompt 2": 'a "quoted", one\n',
    }


def test_a_reader_of_others_finds_prompts_sampler_and_model(tmp_path: Path) -> None:
    sd_parsers = pytest.importorskip("sd_parsers")
    parameters_text(tmp_path)
    found = sd_parsers.ParserManager().parse(tmp_path / "in.out.png")
    assert found is not None and found.generator.value == "AUTOMATIC1111"
    (sampler,) = found.samplers
    assert sampler.name == "DPM++ 2M"
    assert sampler.parameters["scheduler"] == "Karras"
    assert sampler.parameters["cfg_scale"] == "7.5" and sampler.parameters["seed"] == "4294967296"
    assert sampler.model.hash == "0123456789"
    assert [each.value for each in sampler.prompts] == ["caf\u00e9 \u732b\nsecond line"]
    assert [each.value for each in sampler.negative_prompts] == ["blurry, bad"]
    assert found.metadata["Clip skip"] == "3"


def parameters_text(folder: Path) -> str:
    """What the program writes into an image of 23 x 19 px."""
    source = folder / "in.png"
    image("RGB").save(source)
    run, target = round_trip(source)
    assert run.returncode == 0, run.stdout
    with Image.open(target) as result:
        return result.info["parameters"]
