"""A trained pipeline, exported and served: the pictures are those that its authors got.

The pipeline (64x64 px emoji, 317 classes, with a contact sheet of 24 prompts) is not part of the
repository; set
TIGHTFIT_EMOJI_FIRST to its folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from server_process import ROOT, ServerProcess
from test_main_job import SERVED, model_name

SOURCE = Path(
    os.environ.get("TIGHTFIT_EMOJI_FIRST", ROOT.parent / "shared" / "models" / "emoji-first")
)
PROMPTS = [
    "red apple",
    "green apple",
    "banana",
    "a picture of a strawberry",
    "dog face",
    "grinning cat",
    "lion",
    "cute panda",
    "butterfly",
    "blue heart",
    "broken heart",
    "pizza",
    "hamburger",
    "an ice cream cone",
    "a red car",
    "rocket",
    "sailboat",
    "rainbow",
    "christmas tree",
    "soccer ball",
    "a happy smiling face",
    "guitar",
    "a photograph of a yellow lemon",
    "sunflower in a garden",
]
SHEET_COLUMNS = 6
Pixels = NDArray[np.float64]

pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason=f"no trained pipeline at {SOURCE.name}")


def sheet_cells() -> list[Pixels]:
    """The sheet's pictures without their labels, 32x32x3, 0 to 1."""
    sheet = Image.open(SOURCE / "sheet.png").convert("RGB")
    width, height = sheet.width / SHEET_COLUMNS, sheet.height / (len(PROMPTS) / SHEET_COLUMNS)
    cells = []
    for index in range(len(PROMPTS)):
        left, top = index % SHEET_COLUMNS * width, index // SHEET_COLUMNS * height
        side = min(width, height) * 0.82
        middle = left + width / 2
        box = (round(middle - side / 2), round(top), round(middle + side / 2), round(top + side))
        cells.append(np.asarray(sheet.crop(box).resize((32, 32), Image.Resampling.BOX)) / 255.0)
    return cells


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("emoji") / "model"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "tightfit_export",
            "--source",
            str(SOURCE),
            "--out",
            str(target),
            "--dtypes",
            "fp32,bf16",
            "--quiet",
        ],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "deploy" / "export")},
    )
    return target


def draw_sheet(server: ServerProcess, model: str, folder: Path) -> list[Image.Image]:
    """The 24 prompts with the sheet's settings: Euler 25 steps, guidance 4, seeds 1 to 8."""
    folder.mkdir()
    pictures = []
    for index, prompt in enumerate(PROMPTS):
        file = folder / f"{index:02d}.png"
        server.cli_json(
            "generate",
            "--model",
            model,
            "--prompt",
            prompt,
            "--steps",
            "25",
            "--guidance",
            "4",
            "--sampler",
            "euler",
            "--seed",
            str(1 + index % 8),
            "--output",
            str(file),
        )
        pictures.append(Image.open(file).convert("RGB"))
    return pictures


def contact_sheet(pictures: list[Image.Image], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = len(pictures) // SHEET_COLUMNS
    sheet = Image.new("RGB", (SHEET_COLUMNS * 132, rows * 132), "white")
    for index, picture in enumerate(pictures):
        place = (index % SHEET_COLUMNS * 132 + 2, index // SHEET_COLUMNS * 132 + 2)
        sheet.paste(picture.resize((128, 128), Image.Resampling.BICUBIC), place)
    sheet.save(file)


def own_cell_wins(pictures: list[Image.Image]) -> list[str]:
    """Prompts whose picture is nearer to another cell of the authors' sheet than to its own."""
    cells = sheet_cells()
    wrong = []
    for index, picture in enumerate(pictures):
        pixels = np.asarray(picture.resize((32, 32), Image.Resampling.BOX)) / 255.0
        distances = [float(np.mean((pixels - cell) ** 2)) for cell in cells]
        if int(np.argmin(distances)) != index:
            wrong.append(PROMPTS[index])
    return wrong


def psnr(a: Image.Image, b: Image.Image) -> float:
    error = np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255.0**2 / error))


def test_the_trained_pictures_come_out_in_every_format_and_scope(
    model_dir: Path, tmp_path: Path
) -> None:
    models = [
        f"{model_name(f, s)}={model_dir},format={f},scope={s},compute_dtype=fp32" for f, s in SERVED
    ]
    with ServerProcess(tmp_path, models) as server:
        unpacked = draw_sheet(server, model_name("fp16", "linear+conv"), tmp_path / "fp16")
        packed = draw_sheet(server, model_name("hf8", "linear+conv"), tmp_path / "hf8")
        contact_sheet(unpacked, ROOT / "out" / "sheet-fp16.png")
        contact_sheet(packed, ROOT / "out" / "sheet-hf8-linear-conv.png")
        assert own_cell_wins(unpacked) == []
        assert own_cell_wins(packed) == []
        # A rotated order of prompts must not pass.
        assert len(own_cell_wins(unpacked[1:] + unpacked[:1])) == len(PROMPTS)
        for weight_format, scope in SERVED:
            name = model_name(weight_format, scope)
            model = server.cli_json("models", name)["model"]
            unet = next(c for c in model["components"] if c["name"] == "unet")
            assert not unet["modules_left"], (name, unet["modules_left"])
            file = tmp_path / f"{name}.png"
            server.cli_json(
                "generate",
                "--model",
                name,
                "--prompt",
                PROMPTS[0],
                "--steps",
                "25",
                "--guidance",
                "4",
                "--seed",
                "1",
                "--output",
                str(file),
            )
            # hf8 in all layers has its worst of eight pictures at 28.2 dB after 20 steps,
            # measured with diffusers.
            assert psnr(unpacked[0], Image.open(file).convert("RGB")) > 26, name
