"""Which of the server's weight formats hold a tensor's fp16 values without another loss.

The server packs what the exporter wrote. Weights that come out of 8 bits may lie on the grid of one
of its own 8-bit formats; packed in that one they lose nothing. kernels/FORMATS.md says what the
formats hold; here each one encodes and decodes, in fp32 as it says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from tightfit_export.tensor_file import StoredTensor

_Q8_BLOCK = 32
_E4M3_BIASES = range(23)
_FIRST_ROWS = 4


def _is_fp8_e4m3(rows: torch.Tensor) -> bool:
    return torch.equal(rows.to(torch.float8_e4m3fn).to(torch.float16), rows)


def _is_hf8x(rows: torch.Tensor) -> bool:
    """fp16 without the top bit of the exponent and the low seven of the mantissa."""
    return not bool((rows.view(torch.int16) & 0x407F).any())


def _is_e4m3(rows: torch.Tensor) -> bool:
    """hf8x times a power of 2 for the tensor, the largest that its largest value allows."""
    largest = float(rows.abs().max()) if rows.numel() else 0.0
    for bias in reversed(_E4M3_BIASES):
        if largest * 2.0 ** (bias - 15) < 2:
            scaled = rows.to(torch.float32) * 2.0 ** (bias - 15)
            half = scaled.to(torch.float16)
            return torch.equal(half.to(torch.float32), scaled) and _is_hf8x(half)
    return False


def _rows_off_the_grid(rows: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Which rows lose something as whole numbers times these fp16 scales."""
    exact, scale = rows.to(torch.float32), scale.to(torch.float32)
    factor = torch.where(scale > 0, 128 / scale, torch.zeros(()))
    codes = (exact * factor).round_().clamp_(-127, 127)
    return ((codes / 128 * scale).to(torch.float16) != rows).any(dim=-1)


def _is_q8(rows: torch.Tensor) -> bool:
    """A whole number for each weight, an fp16 number for each row.

    The server takes the usual scale or one of its neighbours among the numbers of fp16, whichever
    is exact. Most rows are by the usual one; the others are tried again.
    """
    largest = rows.to(torch.float32).abs().amax(dim=-1, keepdim=True)
    usual = (largest * torch.tensor(128 / 127, dtype=torch.float32)).to(torch.float16)
    off = _rows_off_the_grid(rows, usual)
    for step in (-1, 1):
        rows, usual = rows[off], usual[off]
        if not rows.numel():
            return True
        beside = (usual.view(torch.int16) + step).view(torch.float16)
        off = _rows_off_the_grid(rows, beside)
    return not bool(off.any())


def _is_q8b32(rows: torch.Tensor) -> bool:
    padding = -rows.shape[-1] % _Q8_BLOCK
    return _is_q8(torch.nn.functional.pad(rows, (0, padding)).reshape(-1, _Q8_BLOCK))


_FORMATS: dict[str, Callable[[torch.Tensor], bool]] = {
    "fp8-e4m3": _is_fp8_e4m3,
    "hf8x": _is_hf8x,
    "e4m3": _is_e4m3,
    "q8": _is_q8,
    "q8b32": _is_q8b32,
}


def formats_that_hold(values: torch.Tensor, among: tuple[str, ...]) -> tuple[str, ...]:
    """`values` are fp16, of a Linear or Conv2d."""
    if values.dim() == 4:
        values = values.permute(0, 2, 3, 1)
    rows = values.reshape(values.shape[0], -1).contiguous()
    # What a format holds of a tensor it holds of some of its rows, which soon tell the others.
    likely = [name for name in among if _FORMATS[name](rows[:_FIRST_ROWS])]
    return tuple(name for name in likely if _FORMATS[name](rows))


@dataclass
class RestoredWeights:
    """How many of a component's weights that came out of fewer bits each format holds."""

    count: int = 0
    held: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_FORMATS, 0))

    def look_at(self, values: torch.Tensor) -> None:
        """`values` as they are written: fp16, or fp32, which no format holds."""
        self.count += 1
        if values.dtype == torch.float16:
            for name in formats_that_hold(values, tuple(_FORMATS)):
                self.held[name] += 1

    def best(self) -> dict[str, Any]:
        """The format that holds most of them, and how many; empty where there are none."""
        if not self.count:
            return {}
        name = max(self.held, key=lambda each: self.held[each])
        held = self.held[name]
        return {
            "format": name if held else None,
            "exact_count": held,
            "restored_count": self.count,
        }


@dataclass
class HeldExactly:
    """Looks at a UNet's weights as they are written, and gives up as soon as no format is left."""

    _left: dict[int, tuple[str, ...]] = field(
        default_factory=lambda: {2: tuple(_FORMATS), 4: tuple(_FORMATS)}  # by dimensions
    )

    @staticmethod
    def is_asked(tensors: Mapping[str, StoredTensor]) -> bool:
        """Whether some weight of these came out of fewer bits."""
        return any(stored.kind and len(stored.shape) > 1 for stored in tensors.values())

    def look_at(self, name: str, values: torch.Tensor) -> None:
        """`values` as they are written: fp16, or fp32, which no format holds."""
        if name.endswith(".weight") and self._left.get(values.dim()):
            left = self._left[values.dim()]
            is_half = values.dtype == torch.float16
            self._left[values.dim()] = formats_that_hold(values, left) if is_half else ()

    def suggestion(self) -> dict[str, str]:
        """What to serve the model with; empty where that would lose something."""
        both = [name for name in self._left[2] if name in self._left[4]]
        if both:
            return {"format": both[0], "scope": "linear+conv"}
        return {"format": self._left[2][0], "scope": "linear"} if self._left[2] else {}
