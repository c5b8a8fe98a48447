"""Small pipelines of random weights, for trying and testing without a download.

Random weights draw no things, but the images have structure and contrast, and they change with
the prompt, the seed, the guidance scale and the number of steps. Weights of Linear and Conv2d
layers are small, as trained ones are, so that every packed format holds them.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tightfit_export.clip_parts import SCHEDULER, clip_tokenizer, text_config
from tightfit_export.families import SD1, SD2, SDXL

# Linear and Conv2d weights have a standard deviation of 1/sqrt(inputs), at most this, and a limited
# magnitude.
_WEIGHT_STD = 0.09
_WEIGHT_LIMIT = 0.5

_TEXT_WIDTH, _TEXT_WIDTH_2 = 32, 48
_TIME_EMBEDDING = 16

_UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 64, 96),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (2, 4, 6),  # diffusers' name for the number of heads
    "norm_num_groups": 8,
    "cross_attention_dim": _TEXT_WIDTH + _TEXT_WIDTH_2,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": _TIME_EMBEDDING,
    "projection_class_embeddings_input_dim": 6 * _TIME_EMBEDDING + _TEXT_WIDTH_2,
}
_VAE: dict[str, Any] = {
    "sample_size": 64,
    "latent_channels": 4,
    "block_out_channels": (16, 16, 32, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "scaling_factor": 0.13025,
    "force_upcast": False,
}

# A level more than SDXL's, as 1.x and 2.x have it; their heads are counted, not sized.
_SD_UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (32, 32, 64, 64),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "norm_num_groups": 8,
    "cross_attention_dim": _TEXT_WIDTH,
}
_SD2_UNET = _SD_UNET | {
    "attention_head_dim": (2, 2, 4, 4),
    "cross_attention_dim": _TEXT_WIDTH_2,
    "use_linear_projection": True,
    "upcast_attention": True,
}
_SD_VAE = _VAE | {"scaling_factor": 0.18215}
_SD_SCHEDULER = SCHEDULER | {"set_alpha_to_one": False}

# Scale of the normalisation before cross attention: it makes the prompt count in the result
# although the weights are small.
_CROSS_ATTENTION_SCALE = 4.0


def save_tiny_pipeline(
    folder: Path, seed: int, vocabulary: Path | None, kind: str = "tiny"
) -> None:
    """Writes a diffusers directory. Equal seeds give equal bytes.

    `kind`: a key of _MAKERS. `vocabulary` is a tokenizer's folder or a pipeline's; None takes the
    packaged one. Errors: SourceError.
    """
    diffusers_logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    pipeline = _MAKERS[kind](vocabulary)
    for name in ("vae", "text_encoder", "text_encoder_2", "unet"):
        module = getattr(pipeline, name, None)
        if module is not None:
            _fill(name, module, seed)
            module.to(torch.float16)
    pipeline.save_pretrained(str(folder), safe_serialization=True)


def _tiny_sdxl(vocabulary: Path | None) -> DiffusionPipeline:
    tokenizers = [
        clip_tokenizer(name, pad_token, vocabulary) for name, pad_token in SDXL.pad_tokens.items()
    ]
    return StableDiffusionXLPipeline(
        vae=AutoencoderKL(**_VAE),
        text_encoder=CLIPTextModel(text_config(_TEXT_WIDTH, 2, "quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(text_config(_TEXT_WIDTH_2, 3, "gelu")),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=UNet2DConditionModel(**_UNET),
        scheduler=EulerDiscreteScheduler(**SCHEDULER),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def _tiny_sd1(vocabulary: Path | None) -> DiffusionPipeline:
    return StableDiffusionPipeline(
        vae=AutoencoderKL(**_SD_VAE),
        text_encoder=CLIPTextModel(text_config(_TEXT_WIDTH, 2, "quick_gelu")),
        tokenizer=clip_tokenizer("tokenizer", SD1.pad_tokens["tokenizer"], vocabulary),
        unet=UNet2DConditionModel(**_SD_UNET),
        scheduler=PNDMScheduler(**_SD_SCHEDULER, skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _tiny_sd2(vocabulary: Path | None) -> DiffusionPipeline:
    scheduler = DDIMScheduler(**_SD_SCHEDULER, clip_sample=False, prediction_type="v_prediction")
    return StableDiffusionPipeline(
        vae=AutoencoderKL(**_SD_VAE),
        text_encoder=CLIPTextModel(text_config(_TEXT_WIDTH_2, 3, "gelu")),
        tokenizer=clip_tokenizer("tokenizer", SD2.pad_tokens["tokenizer"], vocabulary),
        unet=UNet2DConditionModel(**_SD2_UNET),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


_MAKERS: dict[str, Callable[[Path | None], DiffusionPipeline]] = {
    "tiny": _tiny_sdxl,
    "tiny-sd1": _tiny_sd1,
    "tiny-sd2": _tiny_sd2,
}


def _fill(component: str, module: nn.Module, seed: int) -> None:
    for path, layer in module.named_modules():
        for name, parameter in layer.named_parameters(recurse=False):
            values = random_tensor(component, path, name, layer, tuple(parameter.shape), seed)
            with torch.no_grad():
                parameter.copy_(values)


def random_tensor(
    component: str,
    path: str,
    name: str,
    layer: nn.Module,
    shape: tuple[int, ...],
    seed: int,
    single: bool = False,
) -> torch.Tensor:
    """Values for the parameter `name` of the layer at `path`; fp64, or fp32 if `single`."""
    key = f"{component}.{path}.{name}"
    # A generator for each tensor: its values do not depend on the order of the layers.
    generator = np.random.default_rng((seed, zlib.crc32(key.encode())))
    values = generator.standard_normal(shape, dtype=np.float32 if single else np.float64)
    return _shaped(key, layer, name, torch.from_numpy(values))


def _shaped(key: str, layer: nn.Module, name: str, values: torch.Tensor) -> torch.Tensor:
    if isinstance(layer, (nn.Linear, nn.Conv2d)):
        if name == "bias":
            return 0.05 * values
        std = min(_WEIGHT_STD, 1.0 / math.sqrt(values[0].numel()))
        return (std * values).clamp(-_WEIGHT_LIMIT, _WEIGHT_LIMIT)
    if isinstance(layer, nn.Embedding):
        return values if "token" in key else 0.3 * values
    if name == "bias":
        return 0.1 * values
    is_before_cross_attention = ".transformer_blocks." in key and key.endswith(".norm2.weight")
    return (_CROSS_ATTENTION_SCALE if is_before_cross_attention else 1.0) * (1.0 + 0.1 * values)
