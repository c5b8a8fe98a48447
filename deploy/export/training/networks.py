"""The networks of emoji-xl: SDXL's classes and wiring, small enough for two CPU cores.

Pixels are four times the latents: three levels in the VAE, so 64 px are latents of 16 x 16.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from tightfit_export.clip_parts import SCHEDULER, text_config
from tightfit_export.vocabulary import CLIP_VOCABULARY_SIZE
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

_TEXT_WIDTHS = (64, 96)
_TIME_EMBEDDING = 32

_UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (96, 128, 192),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1, 1),
    "attention_head_dim": (3, 4, 6),  # diffusers' name for the number of heads
    "norm_num_groups": 16,
    "cross_attention_dim": sum(_TEXT_WIDTHS),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": _TIME_EMBEDDING,
    "projection_class_embeddings_input_dim": 6 * _TIME_EMBEDDING + _TEXT_WIDTHS[1],
}
_VAE: dict[str, Any] = {
    "sample_size": 64,
    "latent_channels": 4,
    "block_out_channels": (32, 64, 128),
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "scaling_factor": 0.13025,
    "force_upcast": False,
}


def new_vae() -> AutoencoderKL:
    return AutoencoderKL(**_VAE)


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(**_UNET)


def new_scheduler() -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(**SCHEDULER)


def new_text_encoders() -> tuple[CLIPTextModel, CLIPTextModelWithProjection]:
    return (
        CLIPTextModel(text_config(_TEXT_WIDTHS[0], 2, "quick_gelu")),
        CLIPTextModelWithProjection(text_config(_TEXT_WIDTHS[1], 3, "gelu")),
    )


class KnownTokens(nn.Module):
    """A token embedding with rows for some tokens and one row that all others share.

    Stands in for a CLIP text model's `token_embedding` while it is trained: tokens that no caption
    holds could not learn anything, and an unknown word should mean "unknown", not noise.
    """

    def __init__(self, token_ids: list[int], width: int) -> None:
        super().__init__()
        rows = torch.zeros(CLIP_VOCABULARY_SIZE, dtype=torch.long)
        rows[torch.tensor(token_ids)] = torch.arange(1, len(token_ids) + 1)
        self.register_buffer("rows", rows, persistent=False)
        self.weight = nn.Parameter(0.02 * torch.randn(len(token_ids) + 1, width))

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(self.rows[token_ids], self.weight)

    def full(self) -> torch.Tensor:
        """The embedding as CLIP has it: one row a token of the vocabulary."""
        return self.weight.detach()[self.rows]
