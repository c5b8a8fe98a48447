"""What a tensor loses when it becomes fp16."""

from __future__ import annotations

from dataclasses import dataclass

import torch

# Below this fp16 has subnormal numbers, whose precision falls to nothing at 2^-25.
_SMALLEST_NORMAL = 2.0**-14

# Rounding of normal numbers costs a tensor at most 2^-11 of its norm. What loses more than this has
# lost it to values that are too small, and fp16 is no type for it.
LARGE_LOSS = 1e-3


@dataclass(frozen=True)
class Rounding:
    """Counts are of finite values."""

    overflows: bool  # some value would become infinite
    to_zero: int  # not 0, and 0 in fp16
    rounded_subnormal: int  # not exact among fp16's subnormal numbers, and not 0
    small_loss: float  # norm of the error of those two kinds, relative to the tensor's norm

    @property
    def is_large(self) -> bool:
        return self.small_loss > LARGE_LOSS


def rounding(values: torch.Tensor) -> Rounding:
    """What `values`, of any floating type, lose in fp16."""
    finite = torch.isfinite(values)
    half = values.to(torch.float16)
    overflows = bool((torch.isinf(half) & finite).any())
    small = finite & (values.abs() < _SMALLEST_NORMAL) & (half.to(values.dtype) != values)
    if overflows or not small.any():
        return Rounding(overflows, 0, 0, 0.0)
    to_zero = int((half[small] == 0).sum())
    error = (half[small].double() - values[small].double()).norm().item()
    norm = values[finite].double().norm().item()
    return Rounding(False, to_zero, int(small.sum()) - to_zero, error / norm)
