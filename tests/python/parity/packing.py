"""decode(encode(w)) by the golden tables, and of e2m5r by kernels/FORMATS.md: what packing does to
a weight, without our kernels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .jobs import Weights

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
NOT_REPRESENTABLE = 0xFFFF
# Planes of a format: bits of each code that lie in the low and in the high plane.
PLANE_BITS = {"hf8": (8, 0), "hf8x": (8, 0), "hf10": (8, 2), "hf12": (8, 4), "e2m5r": (8, 0)}
SCALE_BYTES_PER_ROW = {"e2m5r": 2}
ROW_ALIGNMENT_BYTES = 16

Singles = NDArray[np.float32]


def nearest_raw(y: Singles, exponent_bits: int, mantissa_bits: int) -> Singles:
    """The nearest raw number of a float, ties to even; y >= 0. FORMATS.md section 2."""
    largest = (2 - 2.0**-mantissa_bits) * 2.0 ** (2**exponent_bits - 16)
    exponent = np.maximum(np.frexp(y)[1] - 1, -14)
    step = np.ldexp(np.float32(1), exponent - mantissa_bits)
    return np.minimum(np.rint(y / step) * step, np.float32(largest))


def round_trip_by_rows(rows: Singles, exponent_bits: int, mantissa_bits: int) -> Singles:
    """A row-scaled float's values of fp16 weights: the candidate of least error for each row."""
    largest = (2 - 2.0**-mantissa_bits) * 2.0 ** (2**exponent_bits - 16)
    magnitude = np.abs(rows)
    most = magnitude.max(axis=1, keepdims=True)
    best = np.full_like(most, np.inf)
    values = np.zeros_like(rows)
    for candidate in range(32):
        factor = np.float32(2 ** (candidate / 32) / largest)
        scale = (most * factor).astype(np.float16).astype(np.float32)
        inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
        y = magnitude * inverse
        raw = nearest_raw(y, exponent_bits, mantissa_bits)
        squares = np.square(y - raw)
        parts = np.pad(squares, ((0, 0), (0, -squares.shape[1] % 16)))
        # Added up one after the other, as accumulate does and sum does not.
        parts = np.add.accumulate(parts.reshape(len(rows), -1, 16), axis=1)[:, -1]
        for half in (8, 4, 2, 1):
            parts = parts[:, :half] + parts[:, half : 2 * half]
        error = scale * scale * parts
        values = np.where(error < best, np.copysign(raw, rows) * scale, values)
        best = np.minimum(error, best)
    return values.astype(np.float16).astype(np.float32)


def round_trip(weight: torch.Tensor, weight_format: str) -> torch.Tensor | None:
    """The fp16 tensor after packing, in fp32; None where an element has no code."""
    if weight_format == "e2m5r":
        # A convolution's columns are kernel height, kernel width, input channel.
        ordered = weight.half().float().movedim(1, -1)
        values = round_trip_by_rows(ordered.reshape(len(weight), -1).numpy(), 2, 5)
        return torch.from_numpy(values).reshape(ordered.shape).movedim(-1, 1)
    encode = np.fromfile(GOLDEN / f"{weight_format}_encode.u16", dtype="<u2")
    decode = np.fromfile(GOLDEN / f"{weight_format}_decode.u16", dtype="<u2")
    codes = encode[weight.half().numpy().view(np.uint16)]
    if (codes == NOT_REPRESENTABLE).any():
        return None
    return torch.from_numpy(decode[codes].view(np.float16).astype(np.float32))


def selected_layers(unet: torch.nn.Module, scope: str) -> dict[str, torch.nn.Module]:
    """The layers of a scope, by name."""

    def wanted(name: str, module: torch.nn.Module) -> bool:
        if isinstance(module, torch.nn.Conv2d):
            return scope == "linear+conv"
        if not isinstance(module, torch.nn.Linear):
            return False
        return scope != "attention" or re.search(r"(^|\.)attn[12]\.", name) is not None

    return {name: module for name, module in unet.named_modules() if wanted(name, module)}


def layout_bytes(shape: torch.Size, weight_format: str) -> int:
    """Bytes of both planes, each row padded to 16 bytes, and the scales."""
    columns = int(np.prod(shape[1:]))
    scale_bytes = shape[0] * SCALE_BYTES_PER_ROW.get(weight_format, 0)
    total = -(-scale_bytes // ROW_ALIGNMENT_BYTES) * ROW_ALIGNMENT_BYTES
    for bits in PLANE_BITS[weight_format]:
        row_bytes = -(-columns * bits // 8)
        total += -(-row_bytes // ROW_ALIGNMENT_BYTES) * ROW_ALIGNMENT_BYTES * shape[0]
    return total


def pack_unet(unet: torch.nn.Module, weights: Weights) -> dict[str, torch.Size]:
    """Replaces each selected weight by its round trip; the shapes of those that have one."""
    packed = {}
    with torch.no_grad():
        for name, module in selected_layers(unet, weights.scope).items():
            value = round_trip(module.weight, weights.format)
            if value is not None:
                module.weight.copy_(value)
                packed[name] = module.weight.shape
    return packed
