"""A source whose scheduler leaves keys out is drawn as diffusers draws it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from emoji_checkpoint import with_scheduler
from PIL import Image
from server_process import ServerProcess
from test_export_served_settings import SDXL, model_directory

from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress

CONFIGS: dict[str, dict[str, Any]] = {
    "euler": {"_class_name": "EulerDiscreteScheduler"},
    "euler-a": {"_class_name": "EulerAncestralDiscreteScheduler", **SDXL},
    "heun": {"_class_name": "HeunDiscreteScheduler", "beta_schedule": "scaled_linear"},
    "ddim": {"_class_name": "DDIMScheduler", **SDXL},
    "ddim-unclipped": {"_class_name": "DDIMScheduler", **SDXL, "clip_sample": False},
    "dpmpp": {"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "scaled_linear"},
    "unipc": {"_class_name": "UniPCMultistepScheduler"},
    "lcm": {"_class_name": "LCMScheduler"},
    "pndm": {"_class_name": "PNDMScheduler", **SDXL, "skip_prk_steps": True},
    "pndm-alpha-one": {
        "_class_name": "PNDMScheduler",
        **SDXL,
        "skip_prk_steps": True,
        "set_alpha_to_one": True,
    },
    "ddpm": {"_class_name": "DDPMScheduler", **SDXL},
    "deis": {"_class_name": "DEISMultistepScheduler", "beta_schedule": "scaled_linear"},
    "kdpm2": {"_class_name": "KDPM2DiscreteScheduler", "beta_schedule": "scaled_linear"},
    "kdpm2-a": {"_class_name": "KDPM2AncestralDiscreteScheduler", **SDXL},
}
STEPS, GUIDANCE, SEED = 6, 4.0, 1


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("sources")
    return {name: with_scheduler(folder / name, config) for name, config in CONFIGS.items()}


@pytest.fixture(scope="module")
def ours(
    sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("models")
    specs = []
    for name, source in sources.items():
        pipeline = open_source(SourceOptions(str(source)), Progress(quiet=True))
        made = model_directory(folder / name, pipeline.scheduler, {})
        specs.append(f"{name}={made},format=fp16,compute_dtype=fp32,preload=false")
    (folder / "server").mkdir()
    images = {}
    with ServerProcess(folder / "server", specs) as server:
        for name in sources:
            path = folder / f"{name}.png"
            drawn = server.cli(
                *("generate", "red apple", "--model", name, "--prompt-syntax", "plain"),
                *("--steps", str(STEPS), "--guidance", str(GUIDANCE), "--seed", str(SEED)),
                *("--width", "64", "--height", "64", "-o", str(path)),
            )
            assert drawn.returncode == 0, drawn.stderr
            images[name] = np.asarray(Image.open(path)).astype(int)
    yield images


def theirs(source: Path) -> np.ndarray:
    pipeline = StableDiffusionXLPipeline.from_pretrained(source, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(
        "red apple",
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(SEED),
        width=64,
        height=64,
    )
    return np.asarray(drawn.images[0]).astype(int)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", CONFIGS)
def test_images_are_those_of_diffusers_with_its_own_scheduler(
    name: str, ours: dict[str, np.ndarray], sources: dict[str, Path]
) -> None:
    assert np.abs(ours[name] - theirs(sources[name])).max() <= 2


def test_clipping_changes_the_image(ours: dict[str, np.ndarray]) -> None:
    """A control: the two that differ in `clip_sample` alone."""
    assert np.abs(ours["ddim"] - ours["ddim-unclipped"]).max() > 30
