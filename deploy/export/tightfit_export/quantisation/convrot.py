"""ConvRot: weights that were rotated by Hadamard matrices before they were rounded.

Each run of `group` input channels was multiplied by the regular Hadamard matrix of that size, made
of H4 by Kronecker products and divided by the root of its size. H is symmetric and its own inverse,
so that the same rotation undoes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DEFAULT_GROUP = 256
_MAX_GROUP = 1 << 16
_H4 = ((1, 1, 1, -1), (1, 1, -1, 1), (1, -1, 1, 1), (-1, 1, 1, 1))


def is_group(size: object) -> bool:
    """Whether there is a regular Hadamard matrix of that size: a power of 4."""
    if type(size) is not int or not 4 <= size <= _MAX_GROUP:
        return False
    return size & (size - 1) == 0 and size.bit_length() % 2 == 1


def unrotated(codes: torch.Tensor, group: int) -> torch.Tensor:
    """`codes` are whole numbers in fp32, [out, in, ...]; exact while their sums are below 2^24.

    Four channels at a time instead of a product with H: as many sums as an FFT has, and nothing is
    rounded, since the root of a power of 4 is a power of 2.
    """
    import torch

    h4 = torch.tensor(_H4, dtype=codes.dtype)
    values = codes.movedim(1, -1)
    shape = values.shape
    values = values.reshape(-1, group)
    stride = 1
    while stride < group:
        parts = values.reshape(-1, group // (4 * stride), 4, stride)
        values = torch.einsum("ij,ngjs->ngis", h4, parts).reshape(-1, group)
        stride *= 4
    return (values / group**0.5).reshape(shape).movedim(-1, 1)
