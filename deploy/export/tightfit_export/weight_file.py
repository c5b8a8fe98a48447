"""Streams a component's weights into one safetensors file, one tensor in memory at a time."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tightfit_export import VAE_ENCODER
from tightfit_export.errors import SourceError
from tightfit_export.fp16_rounding import Rounding, all_finite, rounding
from tightfit_export.held_exactly import HeldExactly, RestoredWeights
from tightfit_export.source_weights import ComponentWeights
from tightfit_export.tensor_file import TensorFile

_UNUSED_KEYS = ("position_ids", "logit_scale")
_OTHER_HALF_OF_VAE = {
    "vae": ("encoder.", "quant_conv."),
    VAE_ENCODER: ("decoder.", "post_quant_conv."),
}
_OLD_VAE_ATTENTION = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}


@dataclass
class WeightReport:
    """What a weight file holds and what was remarkable in its source."""

    parameter_count: int = 0
    bytes: int = 0
    sha256: str = ""
    kept_fp32: list[str] = field(default_factory=list)  # too large for fp16
    kept_fp32_small: list[str] = field(default_factory=list)  # too small for fp16
    non_finite: dict[str, int] = field(default_factory=dict)  # values that are NaN or infinite
    # Over the tensors that became fp16: values that fp16 made 0 or rounded as subnormal numbers,
    # and the largest error of a tensor relative to its norm that came of it.
    to_zero: int = 0
    rounded_subnormal: int = 0
    worst_small_loss: float = 0.0
    # How many tensors were put back from what, and rows of such ones that came out as zeros.
    restored: dict[str, int] = field(default_factory=dict)
    zero_rows: dict[str, int] = field(default_factory=dict)
    # Format and scope that pack a UNet without a second loss.
    suggested: dict[str, str] = field(default_factory=dict)
    # The format that holds most of the restored weights bit for bit, and how many.
    held_exactly: dict[str, Any] = field(default_factory=dict)


def match_keys(
    component: str, source: ComponentWeights, expected: dict[str, torch.Size]
) -> dict[str, str]:
    """The source's key for each parameter of the network.

    Knows the names that older diffusers and transformers wrote. Errors: SourceError naming the
    first tensor that is missing, unknown, or of another shape.
    """
    by_name: dict[str, str] = {}
    for key in source.tensors:
        name = _current_name(component, key, expected)
        if name is not None:
            by_name[name] = key
    for name, shape in expected.items():
        if name not in by_name:
            raise SourceError(f"{component}: the weights lack {name}")
        stored = source.tensors[by_name[name]].shape
        if stored != tuple(shape) and stored != (*shape, 1, 1):
            raise SourceError(
                f"{component}: {name} has shape {list(stored)}, "
                f"the configuration says {list(shape)}"
            )
    unknown = sorted(set(by_name) - set(expected))
    if unknown:
        raise SourceError(f"{component}: the configuration knows no tensor {by_name[unknown[0]]}")
    return {name: by_name[name] for name in expected}


def _current_name(component: str, key: str, expected: dict[str, torch.Size]) -> str | None:
    """What the installed libraries call a stored tensor; None for one that is not exported."""
    if key.rpartition(".")[2] in _UNUSED_KEYS:
        return None
    if component in _OTHER_HALF_OF_VAE:
        if key.startswith(_OTHER_HALF_OF_VAE[component]):
            return None
        if key not in expected and ".attentions." in key:
            for old, new in _OLD_VAE_ATTENTION.items():
                key = key.replace(old, new)
    if component == "text_encoder" and key.rpartition("text_projection")[1]:
        return None  # of CLIP models that were saved whole
    if component.startswith("text_encoder") and key.startswith(("vision_model.", "visual_")):
        return None
    if component.startswith("text_encoder") and key not in expected:
        inner = key.removeprefix("text_model.")
        return inner if inner in expected else f"text_model.{key}"
    return key


def write_weights(
    path: Path,
    component: str,
    source: ComponentWeights,
    keys: dict[str, str],
    shapes: dict[str, torch.Size],
    on_bytes: Callable[[int], None],
) -> WeightReport:
    """Writes fp16, or fp32 where fp16 would lose too much of a tensor. Equal input, equal bytes.

    `on_bytes` is told of every block written.
    """
    report = WeightReport()
    for name, key in sorted(keys.items()):
        if source.tensors[key].dtype != "F16":
            _judge(report, name, rounding(source.read(key)))
    wide = {*report.kept_fp32, *report.kept_fp32_small}
    # fp32 first, so that every tensor starts at a multiple of its element's size.
    order = sorted(keys, key=lambda name: (name not in wide, name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        count = math.prod(shapes[name])
        begin, end = end, end + count * (4 if name in wide else 2)
        header[name] = {
            "dtype": "F32" if name in wide else "F16",
            "shape": list(shapes[name]),
            "data_offsets": [begin, end],
        }
        report.parameter_count += count
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    kinds = [source.tensors[keys[name]].kind for name in order]
    report.restored = {kind: kinds.count(kind) for kind in sorted(set(kinds)) if kind}
    held = None
    if component == "unet" and HeldExactly.is_asked(source.tensors):
        held = HeldExactly()
    restored = RestoredWeights()
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for part in (len(text).to_bytes(8, "little"), text):
            digest.update(part)
            file.write(part)
        for name in order:
            stored = source.read(keys[name])
            if not all_finite(stored):
                report.non_finite[name] = int((~torch.isfinite(stored)).sum())
            tensor = stored.to(torch.float32 if name in wide else torch.float16)
            if source.tensors[keys[name]].kind and tensor.dim() > 1:
                zeros = int((~tensor.flatten(1).any(dim=1)).sum())
                if zeros:
                    report.zero_rows[name] = zeros
                if name.endswith(".weight"):
                    restored.look_at(tensor.reshape(shapes[name]))
            if held is not None:
                held.look_at(name, tensor.reshape(shapes[name]))
            data = memoryview(tensor.contiguous().reshape(-1).numpy()).cast("B")
            digest.update(data)
            file.write(data)
            on_bytes(len(data))
    report.suggested = held.suggestion() if held is not None else {}
    report.held_exactly = restored.best()
    report.bytes = 8 + len(text) + end
    report.sha256 = digest.hexdigest()
    return report


def _judge(report: WeightReport, name: str, lost: Rounding) -> None:
    if lost.overflows:
        report.kept_fp32.append(name)
    elif lost.is_large:
        report.kept_fp32_small.append(name)
    else:
        report.to_zero += lost.to_zero
        report.rounded_subnormal += lost.rounded_subnormal
        report.worst_small_loss = max(report.worst_small_loss, lost.small_loss)


def read_weights(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """All tensors of a written weight file, in `dtype`."""
    file = TensorFile(path, path.name)
    try:
        return {key: file.read(key).to(dtype) for key in file.tensors}
    finally:
        file.close()
