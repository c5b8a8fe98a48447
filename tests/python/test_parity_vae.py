"""Decoding in tiles, with another VAE, and again in fp32 where 16 bits are not enough."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from diffusers.image_processor import VaeImageProcessor
from parity.jobs import Job, Weights
from parity.probe import Images, load_status, probe_binary, run_probe
from safetensors.torch import load_file, save_file
from server_process import ServerProcess
from tightfit_export.cli import main as export

pytestmark = pytest.mark.skipif(not probe_binary().is_file(), reason="pipeline_probe is not built")

UNPACKED = Weights()
# Latents are an eighth: no side is a multiple of a tile's stride of 3 or 6 latents.
WIDE = Job(width_px=136, height_px=80, step_count=2, image_count=2, seed=3)


@pytest.fixture(scope="module")
def vae(tiny_pipeline_dir: Path) -> AutoencoderKL:
    return AutoencoderKL.from_pretrained(tiny_pipeline_dir / "vae", dtype=torch.float32).eval()


def decoded(vae: AutoencoderKL, latents: np.ndarray) -> np.ndarray:
    """What diffusers makes of latents, one image after the other: uint8 [images, h, w, 3]."""
    processor = VaeImageProcessor()
    with torch.no_grad():
        decoded_images = [
            vae.decode(image[None] / vae.config.scaling_factor).sample
            for image in torch.from_numpy(latents)
        ]
    images = processor.postprocess(torch.cat(decoded_images), output_type="pil")
    return np.stack([np.asarray(image) for image in images])


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("tile_px", [32, 64])
def test_tiled_images_are_those_of_diffusers(
    tiny_model_dir: Path, vae: AutoencoderKL, tmp_path: Path, tile_px: int
) -> None:
    ours: Images = run_probe(
        tiny_model_dir,
        [(UNPACKED, WIDE)],
        tmp_path,
        vae_tiling="always",
        vae_tile_px=tile_px,
    ).images[UNPACKED, WIDE]
    whole = decoded(vae, ours.latents)
    vae.enable_tiling()
    vae.tile_sample_min_size = tile_px
    vae.tile_latent_min_size = tile_px // 8
    tiled = decoded(vae, ours.latents)
    vae.disable_tiling()
    assert largest_difference(ours.pixels, tiled) <= 1
    # Whole images look otherwise, at the seams and through the tiles' own normalisation.
    assert largest_difference(tiled, whole) > 10
    assert tiled.std() > 30


@pytest.fixture(scope="module")
def half_model_dir(tiny_pipeline_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small random model with fp16 graphs."""
    out = tmp_path_factory.mktemp("half") / "model"
    arguments = ["--source", str(tiny_pipeline_dir), "--out", str(out), "--dtypes", "fp16"]
    assert export([*arguments, "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def overflowing_vae(tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VAE whose activations pass fp16's range, in a file with an encoder beside the decoder."""
    weights = load_file(tiny_model_dir / "vae.safetensors")
    weights["decoder.conv_in.weight"] = weights["decoder.conv_in.weight"].float() * 5e5
    weights["encoder.conv_in.bias"] = torch.zeros(7)
    path = tmp_path_factory.mktemp("vae") / "overflowing.safetensors"
    save_file(weights, path)
    return path


def test_another_vae_is_decoded_with_and_fp32_helps_where_fp16_overflows(
    half_model_dir: Path, vae: AutoencoderKL, overflowing_vae: Path, tmp_path: Path
) -> None:
    job = Job(step_count=1, image_count=2, seed=5)
    (tmp_path / "other").mkdir()
    (tmp_path / "own").mkdir()
    ours = run_probe(
        half_model_dir,
        [(UNPACKED, job)],
        tmp_path / "other",
        compute_dtype="fp16",
        vae=str(overflowing_vae),
    ).images[UNPACKED, job]
    own = run_probe(
        half_model_dir, [(UNPACKED, job)], tmp_path / "own", compute_dtype="fp16"
    ).images[UNPACKED, job]
    assert np.array_equal(own.latents, ours.latents)
    assert largest_difference(own.pixels, ours.pixels) > 10

    original = {name: value.clone() for name, value in vae.state_dict().items()}
    weights = load_file(overflowing_vae)
    weights.pop("encoder.conv_in.bias")
    vae.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    reference = decoded(vae, ours.latents)
    vae.half()
    with torch.no_grad():
        latents = torch.from_numpy(ours.latents[:1]).half() / vae.config.scaling_factor
        assert not torch.isfinite(vae.decode(latents).sample).all(), "fp16 must not suffice"
    vae.float().load_state_dict(original)
    assert largest_difference(ours.pixels, reference) <= 1


def test_falling_back_to_fp32_is_counted(
    half_model_dir: Path, overflowing_vae: Path, tmp_path: Path
) -> None:
    model = f"half={half_model_dir},compute_dtype=fp16,vae={overflowing_vae}"
    with ServerProcess(tmp_path, [model]) as server:
        out = ["-o", str(tmp_path / "house.png")]
        server.cli_json("generate", "a house", "--steps", "1", "--count", "2", *out)
        metrics = server.metrics()
    assert 'tightfit_vae_fp32_fallbacks_total{model="half"} 2' in metrics


def test_a_file_that_is_no_vae_of_the_model_is_refused(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    status = load_status(tiny_model_dir, tmp_path, vae=str(tiny_model_dir / "unet.safetensors"))
    assert not status["ok"]
    assert status["reason"] == "BAD_MODEL_DIRECTORY"
    assert "tightfit_export --vae" in status["message"]
    assert str(tmp_path) not in status["message"]
