"""fp8, as it is or with scales for the whole tensor or its rows.

Without comfy_quant a scale is called `scale_weight` (ComfyUI's older files, which a tensor
`scaled_fp8` marks) or `weight_scale`. Scales of activations say nothing about weights.
"""

from __future__ import annotations

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
from tightfit_export.tensor_file import StoredTensor

if TYPE_CHECKING:
    import torch

NAMES = {"F8_E4M3": "e4m3", "F8_E5M2": "e5m2"}
WEIGHT_SCALES = ("weight_scale", "scale_weight")
_ACTIVATION_SCALES = ("input_scale", "scale_input")
_MARK = "scaled_fp8"


def plan_scaled(plan: Plan) -> None:
    """fp8 weights with scales and without a description. Errors: SourceError."""
    for key in [key for key in plan.rest if key.rpartition(".")[2] == _MARK]:
        plan.take(key)
    for key in list(plan.rest):
        layer, _, leaf = key.rpartition(".")
        stored = plan.rest.get(f"{layer}.weight")
        if leaf in WEIGHT_SCALES and stored is not None and stored.dtype in NAMES:
            plan.take(f"{layer}.weight")
            add_scaled(plan, layer, stored, stored.dtype)


def plan_plain(plan: Plan) -> None:
    """Whatever else is fp8 stands for itself, exactly, as fp16."""
    for key, stored in list(plan.rest.items()):
        if stored.dtype in NAMES:
            plan.take(key)
            plan.add(key, _plain(plan.what, key, stored))


def add_scaled(plan: Plan, layer: str, stored: StoredTensor, dtype: str) -> None:
    """`stored` is the layer's weight, whose bytes are fp8 of `dtype`. Errors: SourceError."""
    name = f"{layer}.weight"
    scale_key = take_scale(plan, layer, stored)
    if scale_key is None:
        plan.add(name, _plain(plan.what, name, StoredTensor(dtype, stored.shape)))
        return
    what = plan.what

    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        codes = source.read_stored(name)
        if codes.dtype == torch.uint8:
            codes = codes.view(_torch_dtype(dtype))
        scale = finite_scale(what, scale_key, source.read_stored(scale_key))
        values = codes.to(torch.float32)
        scale = scale.reshape(row_scale_shape(tuple(values.shape), tuple(scale.shape)))
        # A quantiser divides a weight of zeros by its scale of 0, and stores NaN.
        return finite(what, name, torch.where(scale == 0, torch.zeros(()), values * scale))

    plan.add(name, Recipe(f"fp8 ({NAMES[dtype]}) with scales", stored.shape, make))


def take_scale(plan: Plan, layer: str, stored: StoredTensor) -> str | None:
    """The key of the scale of a layer's weight. Errors: SourceError where its shape is wrong."""
    found = None
    for leaf in WEIGHT_SCALES:
        key = f"{layer}.{leaf}"
        scale = plan.take(key)
        if scale is None:
            continue
        if found is not None:
            raise plan.error(f"tensor {layer}.weight has two scales, {found} and {key}")
        found = key
        check_floats(plan, key, scale)
        if row_scale_shape(stored.shape, scale.shape) is None:
            raise plan.error(
                f"tensor {key} is {shown(scale)}, which is neither one scale nor one for each row "
                f"of {layer}.weight, {shown(stored)}"
            )
    for leaf in _ACTIVATION_SCALES:
        plan.take(f"{layer}.{leaf}")
    return found


def _plain(what: str, name: str, stored: StoredTensor) -> Recipe:
    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        codes = source.read_stored(name)
        if codes.dtype == torch.uint8:
            codes = codes.view(_torch_dtype(stored.dtype))
        return finite(what, name, codes.to(torch.float16))

    return Recipe(f"fp8 ({NAMES[stored.dtype]})", stored.shape, make, dtype="F16")


def _torch_dtype(dtype: str) -> torch.dtype:
    import torch

    return {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}[dtype]
