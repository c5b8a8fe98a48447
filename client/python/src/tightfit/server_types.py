"""What a server tells about itself and its models, field by field as in the contract."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime


class ModelState(str, enum.Enum):
    UNSPECIFIED = "unspecified"
    UNLOADED = "unloaded"
    LOADING = "loading"
    RESIDENT = "resident"
    FAILED = "failed"
    EVICTING = "evicting"


@dataclass(frozen=True)
class PurposeBytes:
    """Tensor bytes. purpose: "weights", "activations" or "scratch"."""

    purpose: str
    current_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class ModuleLeft:
    """A module in scope that stayed unpacked, and why."""

    module: str
    reason: str


@dataclass(frozen=True)
class Layer:
    """The weight of a Linear or Conv2d and how it is held. format: its dtype where unpacked."""

    module: str
    format: str
    parameter_count: int
    weight_bytes: int


@dataclass(frozen=True)
class Component:
    """One part of the pipeline. modules_left and layers are filled by `model(name)` only.

    holder_count: models on the device that use its weights; each bears an equal part of `memory`
    """

    name: str
    format: str
    parameter_count: int
    fp16_bytes: int
    weight_bytes: int
    packed_bytes: int
    packed_parameter_count: int
    packed_module_count: int
    modules_left: tuple[ModuleLeft, ...]
    memory: tuple[PurposeBytes, ...]
    holder_count: int
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class ModelDefaults:
    width_px: int
    height_px: int
    step_count: int
    guidance_scale: float
    sampler: str
    timestep_spacing: str


@dataclass(frozen=True)
class Model:
    """One configured model. components and load_seconds are set while it is resident.

    vae_tile_px: side of the tiles that large images are decoded in
    state_reason: why it is in its state: "request", "evicted for NAME", "idle", ...
    pinned, keep_alive_seconds, priority: how long it stays on the device; see `update_model`
    weight_bytes: what its weights take on the device, or would take at most
    shared_weight_bytes: the part of them that other models on the device use too
    host_cached_bytes: of an unloaded model, what is packed in host memory, to come back from
    """

    name: str
    state: ModelState
    state_time: datetime | None
    failure_reason: str
    failure_message: str
    loaded_bytes: int
    total_bytes: int
    format: str
    scope: str
    compute_dtype: str
    device: str
    family: str
    hash: str
    license: str
    defaults: ModelDefaults | None
    samplers: tuple[str, ...]
    pixels_per_latent: int
    components: tuple[Component, ...]
    load_seconds: float | None
    max_clip_skip: int
    vae_tile_px: int
    state_reason: str
    pinned: bool
    keep_alive_seconds: float
    priority: int
    last_used_time: datetime | None
    running_request_count: int
    weight_bytes: int
    shared_weight_bytes: int
    host_cached_bytes: int
    takes_init_image: bool

    def __repr__(self) -> str:
        """Short: the whole is hundreds of lines, and `dataclasses.asdict` gives it."""
        packed = f", format={self.format!r}, scope={self.scope!r}" if self.format else ""
        return f"Model(name={self.name!r}, state={self.state.value!r}{packed}, ...)"


@dataclass(frozen=True)
class Device:
    """unattributed_bytes: used ones that are no tensors of a model.

    limit_bytes: what models and requests may take together; reserved_bytes: what is set aside
    host_cache_bytes: host memory of weights that left the device and can come back
    """

    name: str
    description: str
    total_bytes: int
    used_bytes: int
    attributed_bytes: int
    unattributed_bytes: int
    limit_bytes: int
    reserved_bytes: int
    host_cache_bytes: int


@dataclass(frozen=True)
class ServerInfo:
    version: str
    build_commit: str
    libtorch_version: str
    start_time: datetime | None
    device: Device
    queued_request_count: int
    running_request_count: int


@dataclass(frozen=True)
class WeightFormat:
    name: str
    bits_per_weight: float
    max_value: float


@dataclass(frozen=True)
class Capabilities:
    """The limits of a request, and the names that it may use."""

    min_side_px: int
    max_side_px: int
    max_area_px: int
    max_image_count: int
    max_step_count: int
    max_guidance_scale: float
    max_prompt_bytes: int
    max_pixel_steps: int
    max_unary_reply_bytes: int
    max_queued_requests: int
    samplers: tuple[str, ...]
    mime_types: tuple[str, ...]
    formats: tuple[WeightFormat, ...]
    scopes: tuple[str, ...]
    max_input_image_bytes: int
    max_input_image_px: int
