"""bitsandbytes: nf4 and fp4 in blocks, nested or not, and int8 by rows.

A 4-bit weight carries its table (`quant_map`), its blocks' scales (`absmax`), and JSON in a tensor
whose name ends with the kind. Its own shape is in that JSON alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tightfit_export.quantisation.recipe import (
    Plan,
    Recipe,
    StoredTensors,
    check_floats,
    finite,
    finite_scale,
    shown,
)

if TYPE_CHECKING:
    import torch

_STATE = ".quant_state.bitsandbytes__"
_KINDS = ("nf4", "fp4")
_BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
_MAX_DIMENSIONS = 8


def plan_layers(plan: Plan) -> None:
    """Errors: SourceError naming the first tensor that is not as bitsandbytes writes it."""
    for key in [key for key in plan.rest if _STATE in key]:
        name, _, kind = key.partition(_STATE)
        if kind not in _KINDS:
            raise plan.error(f"{name} is quantised: {kind[:40]} of bitsandbytes, which is not read")
        _add_4bit(plan, name, kind, key)
    for key in [key for key in plan.rest if key.endswith(".SCB")]:
        _add_int8(plan, key.removesuffix(".SCB"))


def _add_4bit(plan: Plan, name: str, kind: str, state_key: str) -> None:
    state = plan.json_of(state_key)
    plan.take(state_key)
    shape, block = _shape(plan, name, state), state.get("blocksize")
    if block not in _BLOCK_SIZES or type(block) is not int or state.get("quant_type") != kind:
        raise plan.error(f"{state_key} tells no blocksize of bitsandbytes, or another kind")
    count = math.prod(shape)
    blocks = -(-count // block)
    packed = plan.need(name, f"of {state_key}")
    if 8 * -(-count // 2) != plan.stored_bits(packed):
        raise plan.error(f"tensor {name} is {shown(packed)}, no 4 bits each of {list(shape)}")
    table = plan.need(f"{name}.quant_map", name)
    if table.dtype != "F32" or table.shape != (16,):
        raise plan.error(f"tensor {name}.quant_map is {shown(table)}, not 16 values")
    absmax = plan.need(f"{name}.absmax", name)
    is_nested = f"{name}.nested_absmax" in plan.rest
    is_turned = len(absmax.shape) == 2 and not is_nested
    if math.prod(absmax.shape) != blocks or (is_turned and absmax.shape[1:] != shape[:1]):
        raise plan.error(f"tensor {name}.absmax is {shown(absmax)}, the weight has {blocks} blocks")
    nested = _nested(plan, name, state, blocks) if is_nested else None
    if is_nested != (absmax.dtype == "U8"):
        raise plan.error(f"tensor {name}.absmax is {shown(absmax)} and its nested scales disagree")
    if not is_nested:
        check_floats(plan, f"{name}.absmax", absmax)
    what = plan.what

    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        scales = source.read_stored(f"{name}.absmax")
        if nested is not None:
            inner_block, offset = nested
            scales = _by_block(
                source.read_stored(f"{name}.nested_quant_map")[scales.flatten().to(torch.int64)],
                source.read_stored(f"{name}.nested_absmax"),
                inner_block,
            ).add_(offset)
        else:
            # What was saved on a CPU with AVX-512 has a row's scales in a column.
            scales = (scales.T if is_turned else scales).flatten()
            scales = finite_scale(what, f"{name}.absmax", scales)
        codes = source.read_stored(name).flatten().view(torch.uint8)
        codes = torch.stack((codes >> 4, codes & 15), dim=1).flatten()[:count]
        values = source.read_stored(f"{name}.quant_map")[codes.to(torch.int32)]
        return finite(what, name, _by_block(values, scales, block)).reshape(shape)

    suffix = " (nested)" if is_nested else ""
    plan.add(name, Recipe(f"{kind} of bitsandbytes{suffix}", shape, make))


def _shape(plan: Plan, name: str, state: dict[str, Any]) -> tuple[int, ...]:
    sizes = state.get("shape")
    if (
        not isinstance(sizes, list)
        or not 1 <= len(sizes) <= _MAX_DIMENSIONS
        or any(type(size) is not int or not 0 < size < 1 << 31 for size in sizes)
    ):
        raise plan.error(f"the description of {name} tells no shape: {str(sizes)[:60]}")
    return tuple(sizes)


def _nested(plan: Plan, name: str, state: dict[str, Any], blocks: int) -> tuple[int, float]:
    """Block size and offset of scales that are quantised themselves."""
    size, offset = state.get("nested_blocksize"), state.get("nested_offset")
    if type(size) is not int or not 0 < size <= 1 << 20 or type(offset) not in (int, float):
        raise plan.error(f"the description of {name} tells no nested_blocksize and nested_offset")
    absmax = plan.need(f"{name}.nested_absmax", name)
    table = plan.need(f"{name}.nested_quant_map", name)
    if (absmax.dtype, absmax.shape) != ("F32", (-(-blocks // size),)):
        raise plan.error(f"tensor {name}.nested_absmax is {shown(absmax)}, it has {blocks} blocks")
    if (table.dtype, table.shape) != ("F32", (256,)):
        raise plan.error(f"tensor {name}.nested_quant_map is {shown(table)}, not 256 values")
    return size, float(offset)


def _by_block(values: torch.Tensor, scales: torch.Tensor, block: int) -> torch.Tensor:
    """Flat values times the scale of their block; the last block may be shorter."""
    whole = len(values) // block * block
    values[:whole].view(-1, block).mul_(scales[: whole // block, None])
    values[whole:] *= scales[whole // block :]
    return values


def _add_int8(plan: Plan, layer: str) -> None:
    name, scale_key = f"{layer}.weight", f"{layer}.SCB"
    scale = plan.need(scale_key, name)
    stored = plan.need(name, f"of {scale_key}")
    # Marks the order of the columns, of which only plain rows are written today.
    weight_format = plan.take(f"{layer}.weight_format")
    if stored.dtype != "I8" or len(stored.shape) != 2 or scale.shape != stored.shape[:1]:
        raise plan.error(
            f"tensor {name} is {shown(stored)} and its scales are {shown(scale)}, no int8 of "
            "bitsandbytes"
        )
    check_floats(plan, scale_key, scale)
    is_small = weight_format is None or math.prod(weight_format.shape) <= 1
    if not is_small or (weight_format and any(plan.stored.read_bytes(f"{layer}.weight_format"))):
        raise plan.error(f"{name} is int8 of bitsandbytes in another order than rows; not read")
    what = plan.what

    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        rows = finite_scale(what, scale_key, source.read_stored(scale_key))
        values = source.read_stored(name).to(torch.float32) * (rows / 127)[:, None]
        return finite(what, name, values)

    plan.add(name, Recipe("int8 of bitsandbytes", stored.shape, make))
