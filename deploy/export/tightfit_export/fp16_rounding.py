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


def all_finite(values: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite. Many times faster than looking at each."""
    if values.numel() == 0:
        return True
    return bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())  # NaN goes through


def rounding(values: torch.Tensor) -> Rounding:
    """What `values`, of any floating type, lose in fp16."""
    half = values.to(torch.float16)
    if not all_finite(half) and bool((torch.isinf(half) & torch.isfinite(values)).any()):
        return Rounding(True, 0, 0, 0.0)
    # Few values are this small, in a trained network; NaN is not among them.
    small = values.flatten()[(values.flatten().abs() < _SMALLEST_NORMAL).nonzero().squeeze(1)]
    rounded = small.to(torch.float16).to(small.dtype)
    lost = small[rounded != small].double()
    if lost.numel() == 0:
        return Rounding(False, 0, 0, 0.0)
    kept = lost.to(torch.float16).double()
    to_zero = int((kept == 0).sum())
    finite = values if all_finite(values) else values[torch.isfinite(values)]
    norm = torch.linalg.vector_norm(finite, dtype=torch.float64).item()
    return Rounding(False, to_zero, len(lost) - to_zero, (kept - lost).norm().item() / norm)
