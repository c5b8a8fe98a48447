"""Trains the VAE: pictures of emoji to latents and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from training.networks import new_vae
from training.run_state import Checkpoint, TrainingLog, learning_rate

_BATCH = 8
_PEAK_LEARNING_RATE = 1.5e-3
_CHECKPOINT_STEPS = 500


def train_vae(
    folder: Path, pictures: np.ndarray, weights: np.ndarray, step_count: int, seed: int
) -> AutoencoderKL:
    """Trains, or goes on from the checkpoint in `folder`, and returns the finished network.

    `pictures` is uint8 [n, 64, 64, 3]; `weights` [n] says how often each is drawn. Latents of the
    result have mean 0 and deviation 1 in each channel once multiplied by `scaling_factor`.
    """
    torch.manual_seed(seed)
    vae = new_vae().to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=0.0, weight_decay=1e-4)
    checkpoint = Checkpoint(folder / "vae.checkpoint")
    start = 0
    state = checkpoint.load()
    if state is not None:
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    chances = torch.from_numpy(weights / weights.sum())
    log = TrainingLog("vae", folder, step_count)
    for step in range(start, step_count):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        index = torch.multinomial(chances, _BATCH, generator=generator)
        images = to_input(pictures[index.numpy()])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(_PEAK_LEARNING_RATE, step, step_count, 50, 0.3)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator)
            decoded = vae.decode(posterior.mean + posterior.std * noise).sample.float()
        error = functional.mse_loss(decoded, images)
        loss = (
            functional.l1_loss(decoded, images)
            + 2.0 * error
            + 0.25 * _edge_loss(decoded, images)
            + 5e-4 * posterior.kl().mean() / posterior.mean[0].numel()
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        psnr = 10.0 * np.log10(4.0 / error.item())
        log.step(step + 1, _BATCH, {"loss": loss.item(), "psnr_db": psnr})
        if (step + 1) % _CHECKPOINT_STEPS == 0 or step + 1 == step_count:
            checkpoint.save(
                {
                    "vae": vae.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                }
            )
    vae.eval()
    _normalise_latents(vae, pictures)
    return vae


def to_input(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [n, h, w, 3] to fp32 [n, 3, h, w] from -1 to 1."""
    images = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2)
    return (images.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each picture's latents, fp32 [n, 4, 16, 16], scaled for the UNet."""
    means, deviations = [], []
    for first in range(0, len(pictures), 64):
        posterior = vae.encode(to_input(pictures[first : first + 64])).latent_dist
        means.append(posterior.mean.contiguous())
        deviations.append(posterior.std.contiguous())
    factor = vae.config.scaling_factor
    return torch.cat(means) * factor, torch.cat(deviations) * factor


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: torch.Tensor) -> np.ndarray:
    """Scaled latents to uint8 [n, 64, 64, 3]."""
    pixels = vae.decode(latents / vae.config.scaling_factor).sample
    pixels = (pixels.clamp(-1.0, 1.0) * 127.5 + 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().numpy()


def _edge_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean difference of neighbouring pixels' differences: what makes outlines sharp."""
    difference = decoded - images
    across = difference[..., :, 1:] - difference[..., :, :-1]
    down = difference[..., 1:, :] - difference[..., :-1, :]
    return across.abs().mean() + down.abs().mean()


@torch.no_grad()
def _normalise_latents(vae: AutoencoderKL, pictures: np.ndarray) -> None:
    """Folds the latents' mean and deviation into the two 1 x 1 convolutions at the latents.

    So SDXL's scaling factor stays what it is, and the UNet sees channels of unit variance.
    """
    means, deviations = encode(vae, pictures)
    factor = vae.config.scaling_factor
    means, deviations = means / factor, deviations / factor
    centre = means.mean(dim=(0, 2, 3))
    spread = (means.var(dim=(0, 2, 3)) + (deviations**2).mean(dim=(0, 2, 3))).sqrt()
    scale = 1.0 / (spread * factor)
    channels = len(scale)
    into, out_of = vae.quant_conv, vae.post_quant_conv
    # The first half of quant_conv's channels is the mean, the second the logarithm of the variance.
    into.weight[:channels] *= scale[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - centre) * scale
    into.bias[channels:] += 2.0 * scale.log()
    # post_quant_conv(latent / scale + centre), its padding being none.
    out_of.bias += out_of.weight[:, :, 0, 0] @ centre
    out_of.weight /= scale[None, :, None, None]
