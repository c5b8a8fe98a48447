"""Puts trained networks together as a diffusers pipeline."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline
from torch import nn

from training.denoiser_training import Denoiser
from training.networks import KnownTokens, new_scheduler, new_text_encoders
from training.prompts import PromptTokens


def assemble(
    vae: AutoencoderKL, denoiser: Denoiser, tokens: PromptTokens
) -> StableDiffusionXLPipeline:
    """An SDXL pipeline. The text encoders are copies with CLIP's whole vocabulary."""
    encoders = [
        _with_full_vocabulary(trained, full)
        for trained, full in zip(denoiser.text_encoders, new_text_encoders(), strict=True)
    ]
    pipeline = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=encoders[0],
        text_encoder_2=encoders[1],
        tokenizer=tokens.tokenizers[0],
        tokenizer_2=tokens.tokenizers[1],
        unet=denoiser.unet,
        scheduler=new_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _with_full_vocabulary(trained: nn.Module, full: nn.Module) -> nn.Module:
    state = trained.state_dict()
    known = trained.get_input_embeddings()
    assert isinstance(known, KnownTokens)
    name = next(name for name, module in trained.named_modules() if module is known)
    state[f"{name}.weight"] = known.full()
    full.load_state_dict(state)
    return full.eval()


@torch.no_grad()
def draw(
    pipeline: StableDiffusionXLPipeline,
    prompts: list[str],
    step_count: int = 20,
    guidance_scale: float = 4.0,
    seed: int = 1,
    batch: int = 16,
) -> list:
    """A PIL image for each prompt; image i is drawn from seed + i."""
    images = []
    for first in range(0, len(prompts), batch):
        some = prompts[first : first + batch]
        generators = [torch.Generator().manual_seed(seed + first + i) for i in range(len(some))]
        images += pipeline(
            some,
            height=64,
            width=64,
            num_inference_steps=step_count,
            guidance_scale=guidance_scale,
            generator=generators,
        ).images
    return images
