"""decode(encode(w)) by the golden tables: what packing does to a weight, without our kernels."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

from .jobs import Weights

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
NOT_REPRESENTABLE = 0xFFFF
# Planes of a format: bits of each code that lie in the low and in the high plane.
PLANE_BITS = {"hf8": (8, 0), "hf8x": (8, 0), "hf10": (8, 2), "hf12": (8, 4)}
ROW_ALIGNMENT_BYTES = 16
HEADER_BYTES = 128


def round_trip(weight: torch.Tensor, weight_format: str) -> torch.Tensor | None:
    """The fp16 tensor after packing, in fp32; None where an element has no code."""
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
    """Bytes of the header and both planes, each row padded to 16 bytes."""
    columns = int(np.prod(shape[1:]))
    total = HEADER_BYTES
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
