"""Numbers that callers pass: what is none, or not finite, is refused by its name."""

from __future__ import annotations

import math
import numbers

# What the clocks and the waits below this package can still add: 31 years.
LONGEST_SECONDS = 1e9
# The largest finite fp32, which the contract's numbers with fractions are.
_LARGEST_FP32 = 3.4028234663852886e38


def problem_of(value: object) -> str | None:
    """What keeps `value` from being used as a number of fp32; None where nothing does."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return "is no number"
    plain = float(value)
    if not math.isfinite(plain):
        return "is not finite"
    if abs(plain) > _LARGEST_FP32:
        return "is too large"
    if plain == 0 and math.copysign(1, plain) < 0:
        return "is a negative zero"
    return None


def seconds(name: str, value: float, *, positive: bool) -> float:
    """`value` for gRPC and for waits; infinity, and what is beyond a life, is the longest time.

    Raises TypeError for what is no number, ValueError for NaN and, where `positive`, for 0 or less.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {value!r}: a number of seconds is needed")
    plain = float(value)
    if math.isnan(plain):
        raise ValueError(f"{name} is {value}: a number of seconds is needed")
    if positive and plain <= 0:
        raise ValueError(f"{name} is {value}: more than 0 seconds")
    return min(plain, LONGEST_SECONDS)
