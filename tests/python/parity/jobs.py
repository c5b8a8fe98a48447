"""What is drawn, and with which weights; shared by diffusers' side and ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

FORMATS = ("hf8", "hf8x", "hf10", "hf12", "e2m5r")
SCOPES = ("attention", "linear", "linear+conv")


@dataclass(frozen=True)
class Weights:
    """How the UNet's weights are held. "fp16" is unpacked."""

    format: str = "fp16"
    scope: str = "linear+conv"


@dataclass(frozen=True)
class Job:
    """One request. Sizes and offsets are (height, width) as in diffusers; None is absent."""

    prompt: str = "a red apple on a table"
    negative_prompt: str | None = None
    prompt_2: str | None = None
    negative_prompt_2: str | None = None
    width_px: int = 64
    height_px: int = 64
    step_count: int = 4
    guidance_scale: float = 5.0
    guidance_rescale: float = 0.0
    sampler: str = "euler"
    seed: int = 1
    image_count: int = 1
    original_size: tuple[int, int] | None = None
    target_size: tuple[int, int] | None = None
    crop_top_left: tuple[int, int] | None = None
    prompt_syntax: str = "plain"  # what diffusers does; or "weighted"
    comma_backtrack_tokens: int = 20
    timestep_spacing: str | None = None
    clip_skip: int = 0
    denoising_start: float = 0.0
    denoising_end: float = 1.0
    initial_latents: Path | None = None  # a file of fp32 [images, channels, h, w]
    init_image: Path | None = None  # a file of bytes [height, width, 3]
    mask: Path | None = None  # a file of bytes [height, width], 255 or 0
    strength: float = 1.0
    keep_unmasked_pixels: bool = False  # what diffusers does; ours is true by default

    def but(self, **changes: Any) -> Job:
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
