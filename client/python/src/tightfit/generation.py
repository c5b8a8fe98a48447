"""What a request is told: its events in order, and the result that they add up to."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TypeAlias

from tightfit.image import Image
from tightfit.parameters import InpaintArea, Margins, Offset, PromptSyntax, Size


@dataclass(frozen=True)
class ResolvedParameters:
    """The parameters with every default filled in: asking with them gives the same images.

    format, scope: how the weights of the model's UNet are packed
    vae_tile_px: side of the tiles that images are decoded in; 0: decoded whole
    strength: of init_image; 0 without one
    inpaint_area: UNSPECIFIED without a mask; with MASKED width_px x height_px is what is drawn, and
        each image has a size of its own
    inpaint_padding_px: 0 without MASKED
    """

    model: str
    model_hash: str
    width_px: int
    height_px: int
    step_count: int
    guidance_scale: float
    guidance_rescale: float
    sampler: str
    seed: int
    image_count: int
    original_size: Size
    target_size: Size
    crop_top_left: Offset
    format: str
    scope: str
    compute_dtype: str
    prompt_syntax: PromptSyntax
    clip_skip: int
    denoising_start: float
    denoising_end: float
    vae_tile_px: int
    timestep_spacing: str
    comma_backtrack_tokens: int
    strength: float
    mask_blur_px: int
    inpaint_area: InpaintArea
    inpaint_padding_px: int
    outpaint: Margins


@dataclass(frozen=True)
class RequestWarning:
    """Something in a request that is allowed but is probably not what was meant.

    reason: stable, "LORA_IGNORED"
    field: of ImageParameters; text: the part of it that is meant, from byte offset_bytes on
    message: for people, what was done with it and what to do instead
    """

    reason: str
    field: str
    offset_bytes: int
    text: str
    message: str


class Stage(str, enum.Enum):
    UNSPECIFIED = "unspecified"
    TEXT_ENCODE = "text_encode"
    DENOISE = "denoise"
    VAE_DECODE = "vae_decode"
    IMAGE_ENCODE = "image_encode"
    MODEL_LOAD = "model_load"


@dataclass(frozen=True)
class Queued:
    """position: requests ahead of this one."""

    position: int


@dataclass(frozen=True)
class Started:
    request_id: str
    parameters: ResolvedParameters
    warnings: tuple[RequestWarning, ...]


@dataclass(frozen=True)
class Progress:
    """step: finished steps of step_count; elapsed since the request started.

    remaining_seconds is None before the first step.
    """

    stage: Stage
    step: int
    step_count: int
    elapsed_seconds: float
    remaining_seconds: float | None


@dataclass(frozen=True)
class ImageReady:
    image: Image


@dataclass(frozen=True)
class ImageMetadata:
    index: int = field(metadata={"message_field": "image_index"})
    seed: int
    mime_type: str
    width_px: int
    height_px: int
    size_bytes: int


@dataclass(frozen=True)
class Timings:
    """total_seconds: from start to the last image's last byte."""

    queued_seconds: float
    text_encode_seconds: float
    denoise_seconds: float
    vae_decode_seconds: float
    image_encode_seconds: float
    total_seconds: float
    model_load_seconds: float


@dataclass(frozen=True)
class PromptTokens:
    """What became of one prompt: fewer used tokens than it has mean that its end was cut off.

    field: of ImageParameters, "prompt", "negative_prompt", ...
    chunk_count: chunks of up to 75 tokens that they were encoded in
    """

    field: str
    token_count: int
    used_token_count: int
    chunk_count: int


@dataclass(frozen=True)
class Completed:
    """prompt_tokens: of the prompts that the request gave."""

    images: tuple[ImageMetadata, ...]
    timings: Timings
    prompt_tokens: tuple[PromptTokens, ...]


class Admission(str, enum.Enum):
    """NOW: once evicted_models are gone; LATER: when running requests have ended; NEVER."""

    UNSPECIFIED = "unspecified"
    NOW = "now"
    LATER = "later"
    NEVER = "never"


@dataclass(frozen=True)
class Estimate:
    """What a request would take; nothing was done for it.

    weight_bytes, load_scratch_bytes: to load its model, 0 where it is resident
    request_bytes: set aside for the request, the larger of denoise_bytes and decode_bytes
    is_measured: False before the model's first load; then these are 0
    evictable_bytes: that idle models would free; evicted_models: those that would go
    """

    parameters: ResolvedParameters
    admission: Admission
    weight_bytes: int
    load_scratch_bytes: int
    denoise_bytes: int
    decode_bytes: int
    request_bytes: int
    is_measured: bool
    free_bytes: int
    evictable_bytes: int
    limit_bytes: int
    evicted_models: tuple[str, ...]
    expected_wait_seconds: float
    warnings: tuple[RequestWarning, ...]


Event: TypeAlias = Queued | Started | Progress | ImageReady | Completed
"""Order: Queued*, Started, Progress and ImageReady mixed, Completed."""


@dataclass(frozen=True)
class GenerationResult:
    """All images of one request, in the order of their seeds.

    warnings: what is probably not what was meant
    notes: of `generate_from_png`, what the image was drawn with and is not done here
    """

    request_id: str
    parameters: ResolvedParameters
    images: tuple[Image, ...]
    timings: Timings
    prompt_tokens: tuple[PromptTokens, ...]
    warnings: tuple[RequestWarning, ...] = ()
    notes: tuple[str, ...] = ()
