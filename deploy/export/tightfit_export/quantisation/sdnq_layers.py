"""SDNQ: whole numbers or fp8 with scales, as `quantization_config` says; never by names alone.

A Linear is [out, in] with a scale for each row, [out, groups, in / groups] with one for each group,
or, where SDNQ was told to multiply in 8 bits, [in, out] with a scale for each column. A Conv2d has
a scale for each place of its kernel. Fewer than 8 bits are packed and lose their shape, which the
network's configuration has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
from tightfit_export.tensor_file import StoredTensor

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]

_FLOAT8 = {"float8_e4m3fn": "F8_E4M3", "fp8": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
_WHOLE = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in range(2, 9)}
# What changes the stored values in a way that is not undone here, and what it is when switched off.
_OFF: dict[str, tuple[Any, ...]] = {
    "scale_dtype": (None, "none"),
    "zero_point_dtype": (None, "none"),
    "use_svd": (None, False),
    "use_hadamard": (None, False),
    "use_codebook": (None, False),
    "use_codebook_scale": (None, False),
    "use_dynamic_quantization": (None, False),
    "is_training": (None, False),
    "modules_dtype_dict": (None, {}),
    "modules_quant_config": (None, {}),
}
# What does not change the stored values, or is read here.
_HARMLESS = {"quant_method", "weights_dtype", "quantized_matmul_dtype", "hadamard_group_size"}
_HARMLESS |= {"group_size", "svd_rank", "svd_steps", "codebook_steps", "dynamic_loss_threshold"}
_HARMLESS |= {"use_grad_ckpt", "quant_conv", "quant_embedding", "use_quantized_matmul"}
_HARMLESS |= {"use_quantized_matmul_conv", "use_static_quantization", "use_stochastic_rounding"}
_HARMLESS |= {"dequantize_fp32", "non_blocking", "add_skip_keys", "minimum_allowed_numel"}
_HARMLESS |= {"minimum_allowed_channel_size", "modules_to_not_convert", "is_integer", "is_unsigned"}
_HARMLESS |= {"modules_to_not_use_matmul", "quantization_device", "return_device", "sdnq_version"}


@dataclass(frozen=True)
class _Format:
    name: str
    dtype: str  # of the stored tensor
    bits: int  # fewer than 8: packed
    is_unsigned: bool

    @property
    def lowest(self) -> int:
        """What the packed code 0 stands for."""
        return 0 if self.is_unsigned else -(1 << (self.bits - 1))


def check_config(where: str, config: Mapping[str, Any]) -> None:
    """Errors: SourceError naming the first option that is not undone here."""
    _format(where, config)
    for option, value in config.items():
        if option in _HARMLESS or (option in _OFF and value in _OFF[option]):
            continue
        raise SourceError(
            f"{where} is quantised: sdnq with {str(option)[:60]} {str(value)[:60]}, which is not "
            "read; take the model in fp16, bf16 or fp32"
        )


def _format(where: str, config: Mapping[str, Any]) -> _Format:
    name = config.get("weights_dtype", "int8")
    if isinstance(name, str) and name in _FLOAT8:
        return _Format(name, _FLOAT8[name], 8, False)
    if not isinstance(name, str) or name not in _WHOLE:
        raise SourceError(
            f"{where} is quantised: sdnq of {str(name)[:60]}, which is not read; take the model in "
            "fp16, bf16 or fp32"
        )
    is_unsigned = name.startswith("u")
    is_packed = _WHOLE[name] < 8
    return _Format(name, "U8" if is_packed or is_unsigned else "I8", _WHOLE[name], is_unsigned)


def plan_layers(plan: Plan, config: Mapping[str, Any]) -> None:
    """Errors: SourceError naming the first tensor that is not as `config` says."""
    check_config(plan.what, config)
    kind = _format(plan.what, config)
    for key in [key for key in plan.rest if key.endswith(".scale")]:
        layer = key.removesuffix(".scale")
        if f"{layer}.weight" in plan.rest:
            _add(plan, layer, kind, config)


def _add(plan: Plan, layer: str, kind: _Format, config: Mapping[str, Any]) -> None:
    name, scale_key, zero_key = (f"{layer}.{leaf}" for leaf in ("weight", "scale", "zero_point"))
    codes, scale = plan.need(name, layer), plan.need(scale_key, name)
    zero = plan.take(zero_key)
    if codes.dtype != kind.dtype:
        raise plan.error(f"tensor {name} is {shown(codes)}, its configuration says {kind.name}")
    check_floats(plan, scale_key, scale)
    if (zero is not None) != kind.is_unsigned or (zero is not None and zero.shape != scale.shape):
        raise plan.error(f"tensor {name} of {kind.name} has zero points that do not go with it")
    if zero is not None:
        check_floats(plan, zero_key, zero)
    shape, turned = _shape(plan, name, codes, scale, kind, config)
    layout = None if shape is None else _layout(shape, scale.shape, turned)
    if shape is not None and layout is None:
        raise plan.error(f"tensor {scale_key} is {shown(scale)}, {name} is {list(shape)}")
    if shape is not None and kind.bits == 8 and not turned and codes.shape not in (shape, layout):
        raise plan.error(
            f"tensor {name} is {shown(codes)}, the configuration says {kind.name} {list(shape)}"
        )
    what = plan.what

    def make(source: StoredTensors) -> torch.Tensor:
        import torch

        if shape is None or layout is None:
            raise SourceError(f"{what}: the configuration does not tell the shape of {name}")
        stored = source.read_stored(name)
        if kind.bits < 8:
            from tightfit_export.quantisation.sdnq_packing import unpacked

            stored = unpacked(stored, kind.bits)
        values = stored.to(torch.float32).reshape(layout)
        if kind.bits < 8:
            values += kind.lowest
        factors = finite_scale(what, scale_key, source.read_stored(scale_key))
        if zero is None:
            values *= factors
        else:
            values = torch.addcmul(source.read_stored(zero_key).to(torch.float32), values, factors)
        values = values.T if turned else values
        return finite(what, name, values).reshape(shape)

    plan.add(name, Recipe(f"{kind.name} of sdnq", shape or (math.prod(codes.shape),), make))


def _shape(
    plan: Plan,
    name: str,
    codes: StoredTensor,
    scale: StoredTensor,
    kind: _Format,
    config: Mapping[str, Any],
) -> tuple[Shape | None, bool]:
    """The weight's own shape (None before the network is known), and whether it lies transposed.

    Errors: SourceError where what is stored cannot have that shape.
    """
    wanted = plan.shape_of(name)
    turned = False
    if len(codes.shape) == 2 and kind.bits == 8 and scale.shape == (1, codes.shape[1]):
        option = "use_quantized_matmul"
        option += "_conv" if wanted is not None and len(wanted) == 4 else ""
        turned = scale.shape != (codes.shape[0], 1)
        if turned and not (config.get(option) or config.get("use_quantized_matmul")):
            raise plan.error(f"tensor {name} lies transposed, its configuration does not say so")
    if wanted is None:
        return None, turned
    count = math.prod(wanted)
    if kind.bits < 8:
        from tightfit_export.quantisation.sdnq_packing import packed_bytes

        is_whole = packed_bytes(kind.bits, count) == math.prod(codes.shape)
    else:
        is_whole = count == math.prod(codes.shape)
    flat = (wanted[0], math.prod(wanted[1:]))
    if turned:
        is_whole = codes.shape == flat[::-1]
    if not is_whole:
        raise plan.error(
            f"tensor {name} is {shown(codes)}, the configuration says {kind.name} {list(wanted)}"
        )
    return wanted, turned


def _layout(shape: Shape, scale: Shape, turned: bool) -> Shape | None:
    """The shape that codes have beside their scales; None where these do not fit."""
    flat = (shape[0], math.prod(shape[1:]))
    if turned:
        return flat[::-1]
    if math.prod(scale) == 1:
        return shape
    if scale == (shape[0], *(1,) * (len(shape) - 1)):
        return shape
    if scale == (shape[0], 1):
        return flat
    if len(shape) == 4 and scale == (shape[0], 1, *shape[2:]):
        return shape
    if len(scale) == len(shape) + 1 and scale[0] == shape[0] and scale[1] and scale[2] == 1:
        kernel = shape[2:] if len(shape) == 4 else ()
        if not shape[1] % scale[1] and scale[3:] == kernel:
            return (shape[0], scale[1], shape[1] // scale[1], *kernel)
    return None
