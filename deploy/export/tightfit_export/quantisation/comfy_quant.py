"""ComfyUI's layers: a description of each one beside it (`comfy_quant`) or in the header.

`_quantization_metadata` of the header names layers with or without the UNet's prefix.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tightfit_export.errors import SourceError
from tightfit_export.quantisation import float8
from tightfit_export.quantisation.convrot import DEFAULT_GROUP, is_group, unrotated
from tightfit_export.quantisation.recipe import (
    Plan,
    Recipe,
    StoredTensors,
    finite,
    finite_scale,
    row_scale_shape,
    shown,
)
from tightfit_export.tensor_file import StoredTensor

if TYPE_CHECKING:
    import torch

METADATA = "_quantization_metadata"
_DESCRIPTION = ".comfy_quant"
# Which program computes a module's attention; nothing of its weights.
_PREFERENCE = ".comfy_attention.config"
_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.")
_FLOAT8 = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
_INT8 = "int8_tensorwise"
# Of layers that more tensors belong to than a weight and its scale.
_UNKNOWN_PARTS = ("weight_scale_2", "pre_quant_scale", "weight_zeros", "weight_codebook")
_UNKNOWN_PARTS += ("weight_s_rel", "weight_s_channel")
# What says nothing about the values, or is read here.
_KNOWN_WORDS = {"format", "params", "convrot", "convrot_groupsize", "full_precision_matrix_mult"}
_KNOWN_WORDS |= {"per_row", "per_channel", "orig_dtype", "orig_shape"}

Words = dict[str, Any]


def plan_layers(plan: Plan) -> None:
    """Errors: SourceError naming the first layer that cannot be read."""
    for key in [key for key in plan.rest if key.endswith(_PREFERENCE)]:
        plan.take(key)
    for layer, words in _descriptions(plan).items():
        kind = words.get("format")
        if not isinstance(kind, str) or kind not in (*_FLOAT8, _INT8):
            raise refusal(plan, layer, str(kind))
        for part in _UNKNOWN_PARTS:
            if f"{layer}.{part}" in plan.rest:
                raise refusal(plan, layer, f"{kind} with {part}")
        unknown = sorted(set(words) - _KNOWN_WORDS)
        if unknown:
            raise refusal(plan, layer, f"{kind} with the option {unknown[0][:60]}")
        is_rotated = words.get("convrot", False)
        if type(is_rotated) is not bool:
            raise plan.error(f"{layer}: convrot is {str(is_rotated)[:40]}, neither yes nor no")
        name = f"{layer}.weight"
        stored = plan.need(name, f"of {layer}{_DESCRIPTION}")
        if kind == _INT8:
            _add_int8(plan, layer, stored, words)
            continue
        if is_rotated:
            raise refusal(plan, layer, f"{kind} with ConvRot")
        if stored.dtype not in (_FLOAT8[kind], "U8"):
            raise plan.error(f"tensor {name} is {shown(stored)}, its comfy_quant says {kind}")
        float8.add_scaled(plan, layer, stored, _FLOAT8[kind])


def refusal(plan: Plan, layer: str, kind: str) -> SourceError:
    """Names what ComfyUI reads and the exporter does not."""
    readable = ", ".join((*_FLOAT8, _INT8))
    return plan.error(
        f"{layer} is quantised: {kind} of ComfyUI, which is not read (only {readable}); take the "
        "model in one of these, or in fp16, bf16 or fp32"
    )


def _descriptions(plan: Plan) -> dict[str, Words]:
    """What is said of each layer, by the layer's name as its tensors have it."""
    result: dict[str, Words] = {}
    for key in [key for key in plan.rest if key.endswith(_DESCRIPTION)]:
        result[key.removesuffix(_DESCRIPTION)] = _flat(plan.json_of(key))
        plan.take(key)
    text = plan.stored.metadata.get(METADATA)
    if text is None:
        return result
    layers = plan.parsed(METADATA, text).get("layers")
    if not isinstance(layers, dict):
        raise plan.error(f"{METADATA} names no layers")
    for said, words in layers.items():
        words = {"format": words} if isinstance(words, str) else words
        layer = next(
            (p + said for p in _PREFIXES if f"{p}{said}.weight" in plan.stored.tensors), None
        )
        if layer is not None and f"{layer}.weight" not in plan.rest:
            continue  # of a component that is not wanted
        if layer is None:
            raise plan.error(f"{METADATA} names the layer {said[:200]}, which has no weight")
        if not isinstance(words, dict):
            raise plan.error(f"{METADATA} says nothing readable of the layer {layer}")
        words = _flat(words)
        if _meant(result.setdefault(layer, words)) != _meant(words):
            raise plan.error(f"{layer}{_DESCRIPTION} and {METADATA} say different things")
    return result


def _flat(words: Words) -> Words:
    """With the options that some write one level below; those above go over them."""
    params = words.get("params")
    return (params | words) if isinstance(params, dict) else words


def _meant(words: Words) -> tuple[Any, ...]:
    """What of a description decides the values."""
    return words.get("format"), bool(words.get("convrot")), words.get("convrot_groupsize")


def _add_int8(plan: Plan, layer: str, stored: StoredTensor, words: Words) -> None:
    name = f"{layer}.weight"
    if stored.dtype != "I8":
        raise plan.error(f"tensor {name} is {shown(stored)}, its comfy_quant says {_INT8}")
    scale_key = float8.take_scale(plan, layer, stored)
    if scale_key is None:
        raise plan.error(f"tensor {name} lacks its scale, {layer}.weight_scale")
    group = words.get("convrot_groupsize", DEFAULT_GROUP) if words.get("convrot") else None
    if group is not None:
        if not is_group(group):
            raise plan.error(f"{layer}: convrot_groupsize is {str(group)[:40]}, no power of 4")
        is_whole = len(stored.shape) in (2, 4) and math.prod(stored.shape) > 0
        if not is_whole or stored.shape[1] % group:
            raise plan.error(
                f"tensor {name} is {shown(stored)}, whose inputs are no multiple of "
                f"convrot_groupsize {group}"
            )
    what = plan.what

    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        values = source.read_stored(name).to(torch.float32)
        scale = finite_scale(what, scale_key, source.read_stored(scale_key))
        scale = scale.reshape(row_scale_shape(tuple(values.shape), tuple(scale.shape)))
        if group is not None:
            values = unrotated(values, group)
        return finite(what, name, values * scale)

    kind = "int8 with scales" + (" and ConvRot" if group is not None else "")
    plan.add(name, Recipe(kind, stored.shape, make))
