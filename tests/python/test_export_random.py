"""The random pipeline's images have contrast and answer to what they are asked with."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline


@pytest.fixture(scope="module")
def pipeline(tiny_pipeline_dir: Path) -> StableDiffusionXLPipeline:
    result = StableDiffusionXLPipeline.from_pretrained(tiny_pipeline_dir, use_safetensors=True)
    result.set_progress_bar_config(disable=True)
    return result.to(dtype=torch.float32)


def draw(
    pipeline: StableDiffusionXLPipeline,
    prompt: str = "a red apple",
    seed: int = 1,
    guidance: float = 5.0,
    steps: int = 8,
) -> np.ndarray:
    """A 64x64 image with values from 0 to 255."""
    images = pipeline(
        prompt,
        width=64,
        height=64,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    ).images
    return images[0].astype(np.float64) * 255


def difference(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.sqrt(((left - right) ** 2).mean()))


def test_images_have_contrast_and_coarse_structure(pipeline: StableDiffusionXLPipeline) -> None:
    for seed in (1, 2, 3):
        image = draw(pipeline, seed=seed)
        assert image.std() >= 30
        assert ((image < 1) | (image > 254)).mean() < 0.25
        # White noise would lose 7/8 of its deviation in means over 8x8 pixels.
        blocks = image.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
        assert blocks.std() >= 0.25 * image.std()


def test_images_answer_to_prompt_seed_guidance_and_steps(
    pipeline: StableDiffusionXLPipeline,
) -> None:
    image = draw(pipeline)
    assert difference(image, draw(pipeline)) == 0
    assert difference(image, draw(pipeline, prompt="a blue car")) >= 10
    assert difference(image, draw(pipeline, prompt="")) >= 10
    assert difference(image, draw(pipeline, seed=2)) >= 30
    assert difference(image, draw(pipeline, guidance=7.5)) >= 5
    assert difference(image, draw(pipeline, steps=9)) >= 5


def test_a_image_takes_less_than_a_second(pipeline: StableDiffusionXLPipeline) -> None:
    draw(pipeline)
    started = time.thread_time()
    draw(pipeline)
    assert time.thread_time() - started < 1.0


def test_weights_fit_the_packed_formats(pipeline: StableDiffusionXLPipeline) -> None:
    for component in (pipeline.unet, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.vae):
        for name, layer in component.named_modules():
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                assert layer.weight.abs().max() <= 0.6, name
                assert 0.02 <= layer.weight.square().mean().sqrt() <= 0.1, name
