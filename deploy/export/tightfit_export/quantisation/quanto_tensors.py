"""quanto: qint8 and qfloat8 by rows, qint4 and qint2 in groups.

A weight in groups is stored without its shape: the network's configuration has it. Codes that share
a byte lie apart by the number of bytes' rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tightfit_export.quantisation.recipe import (
    Plan,
    Recipe,
    StoredTensors,
    check_floats,
    finite,
    finite_scale,
    row_scale_shape,
    shown,
)

if TYPE_CHECKING:
    import torch

_PACKED, _DATA, _SCALE, _SHIFT = "._data._data", "._data", "._scale", "._shift"
_EIGHT_BITS = {"I8": "qint8", "F8_E4M3": "qfloat8 (e4m3)", "F8_E5M2": "qfloat8 (e5m2)"}


def plan_tensors(plan: Plan) -> None:
    """Errors: SourceError naming the first tensor of another shape or type."""
    for key in [key for key in plan.rest if key.endswith(_PACKED)]:
        _add_groups(plan, key.removesuffix(_PACKED))
    for key in [key for key in plan.rest if key.endswith(_DATA)]:
        _add_rows(plan, key.removesuffix(_DATA))


def _take_activation_scales(plan: Plan, name: str) -> None:
    for leaf in ("input_scale", "output_scale"):
        plan.take(f"{name.rpartition('.')[0]}.{leaf}")


def _add_rows(plan: Plan, name: str) -> None:
    codes_key, scale_key = name + _DATA, name + _SCALE
    codes, scale = plan.need(codes_key, name), plan.need(scale_key, name)
    _take_activation_scales(plan, name)
    if codes.dtype not in _EIGHT_BITS:
        raise plan.error(f"tensor {codes_key} is {shown(codes)}, no weight of quanto")
    check_floats(plan, scale_key, scale)
    if row_scale_shape(codes.shape, scale.shape) is None:
        raise plan.error(f"tensor {scale_key} is {shown(scale)}, {codes_key} is {shown(codes)}")
    what = plan.what

    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        factors = finite_scale(what, scale_key, source.read_stored(scale_key))
        values = source.read_stored(codes_key).to(torch.float32)
        factors = factors.reshape(row_scale_shape(codes.shape, tuple(factors.shape)))
        return finite(what, name, values * factors)

    plan.add(name, Recipe(f"{_EIGHT_BITS[codes.dtype]} of quanto", codes.shape, make))


def _add_groups(plan: Plan, name: str) -> None:
    codes_key, scale_key, shift_key = name + _PACKED, name + _SCALE, name + _SHIFT
    codes, scale = plan.need(codes_key, name), plan.need(scale_key, name)
    shift = plan.need(shift_key, name)
    _take_activation_scales(plan, name)
    if codes.dtype != "U8" or len(codes.shape) < 2 or not math.prod(codes.shape):
        raise plan.error(f"tensor {codes_key} is {shown(codes)}, no weight of quanto")
    check_floats(plan, scale_key, scale)
    groups = scale.shape[0] if scale.shape else 0
    per_byte = -(-groups // codes.shape[0])
    ones = (1,) * (len(codes.shape) - 1)
    if scale.shape != (groups, *ones) or per_byte not in (2, 4) or shift.shape != scale.shape:
        raise plan.error(
            f"tensors {scale_key} {shown(scale)} and {shift_key} {shown(shift)} do not go with "
            f"{codes_key} {shown(codes)}"
        )
    if shift.dtype not in ("I8", "U8"):
        check_floats(plan, shift_key, shift)
    # A Linear in groups has another shape than this, which is not known before the network is.
    stored_shape = (groups, *codes.shape[1:])
    count = math.prod(stored_shape)
    shape = plan.shape_of(name) or stored_shape
    if math.prod(shape) != count:
        raise plan.error(f"tensor {name} holds {count} codes, its configuration says {list(shape)}")
    bits, what = 8 // per_byte, plan.what

    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        stored = source.read_stored(codes_key)
        rows = [stored >> (bits * i) & ((1 << bits) - 1) for i in range(per_byte)]
        values = torch.cat(rows)[:groups].to(torch.float32)
        factors = finite_scale(what, scale_key, source.read_stored(scale_key))
        shifts = source.read_stored(shift_key)
        if shifts.is_floating_point():
            values = values * factors - shifts.to(torch.float32)
        else:
            values = (values - shifts.view(torch.int8).to(torch.float32)) * factors
        return finite(what, name, values).reshape(shape)

    plan.add(name, Recipe(f"qint{bits} of quanto", tuple(shape), make))
