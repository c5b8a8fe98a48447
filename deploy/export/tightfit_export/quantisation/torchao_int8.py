"""torchao's int8: codes, scales and zero points in three tensors in place of a weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tightfit_export.errors import SourceError
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

_CODES, _SCALE, _ZERO_POINT = "._weight_qdata", "._weight_scale", "._weight_zero_point"
_READABLE = ("Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig")


def check_config(where: str, config: Mapping[str, Any]) -> None:
    """Errors: SourceError unless every module is said to be int8."""
    kinds = config.get("quant_type")
    kinds = kinds if isinstance(kinds, dict) else {"default": kinds}
    for module, said in kinds.items():
        kind = said.get("_type") if isinstance(said, dict) else said
        if kind not in _READABLE:
            raise SourceError(
                f"{where} is quantised: {str(kind)[:60]} of torchao ({str(module)[:60]}), which is "
                f"not read (only {_READABLE[0]}); take the model in fp16, bf16 or fp32"
            )


def plan_layers(plan: Plan) -> None:
    """Errors: SourceError naming the first tensor of another shape or type."""
    for key in [key for key in plan.rest if key.endswith(_CODES)]:
        _add(plan, key.removesuffix(_CODES))


def _add(plan: Plan, layer: str) -> None:
    codes_key, scale_key, zero_key = (layer + end for end in (_CODES, _SCALE, _ZERO_POINT))
    codes, scale = plan.need(codes_key, layer), plan.need(scale_key, codes_key)
    zero = plan.take(zero_key)
    if codes.dtype != "I8" or len(codes.shape) != 2:
        raise plan.error(f"tensor {codes_key} is {shown(codes)}; of torchao only int8 is read")
    check_floats(plan, scale_key, scale)
    rows, columns = codes.shape
    groups = scale.shape[1] if len(scale.shape) == 2 else 0
    if scale.shape != (rows, groups) or not groups or columns % groups:
        raise plan.error(f"tensor {scale_key} is {shown(scale)}, {codes_key} is {shown(codes)}")
    if zero is not None and (zero.dtype != "I8" or zero.shape != scale.shape):
        raise plan.error(f"tensor {zero_key} is {shown(zero)}, {scale_key} is {shown(scale)}")
    what = plan.what

    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        factors = finite_scale(what, scale_key, source.read_stored(scale_key))
        values = source.read_stored(codes_key).to(torch.float32).reshape(rows, groups, -1)
        if zero is not None:
            values -= source.read_stored(zero_key).to(torch.float32)[..., None]
        values = (values * factors[..., None]).reshape(rows, columns)
        return finite(what, codes_key, values)

    plan.add(f"{layer}.weight", Recipe("int8 of torchao", codes.shape, make))
