"""How SDNQ puts whole numbers of 2 to 7 bits into bytes.

A group of codes begins with one code to a byte, in the low bits; what the bytes have left above
holds the bits of the remaining codes. `uint4` and `uint2` fill a byte from below.
"""

from __future__ import annotations

import torch

# By bits: for each code of a group its bits, lowest first, as (byte, bit) pairs.
_Places = tuple[tuple[tuple[int, int], ...], ...]


def _low(byte: int, bits: int, first: int = 0) -> tuple[tuple[int, int], ...]:
    return tuple((byte, first + bit) for bit in range(bits))


_GROUPS: dict[int, tuple[int, _Places]] = {  # bytes of a group, places
    2: (1, tuple(_low(0, 2, 2 * i) for i in range(4))),
    3: (
        3,
        (
            *(_low(i, 3) for i in range(3)),
            *(_low(i, 3, 3) for i in range(3)),
            ((0, 6), (0, 7), (2, 6)),
            ((1, 6), (1, 7), (2, 7)),
        ),
    ),
    4: (1, (_low(0, 4), _low(0, 4, 4))),
    5: (
        5,
        (
            *(_low(i, 5) for i in range(5)),
            ((0, 5), (0, 6), (0, 7), (3, 5), (3, 6)),
            ((1, 5), (1, 6), (1, 7), (4, 5), (4, 6)),
            ((2, 5), (2, 6), (2, 7), (4, 7), (3, 7)),
        ),
    ),
    6: (3, (*(_low(i, 6) for i in range(3)), ((2, 6), (2, 7), (1, 6), (1, 7), (0, 6), (0, 7)))),
    7: (7, (*(_low(i, 7) for i in range(7)), tuple((6 - i, 7) for i in range(7)))),
}


def packed_bytes(bits: int, count: int) -> int | None:
    """What `count` codes take; None where they fill no whole groups."""
    size, places = _GROUPS[bits]
    return None if count % len(places) else count // len(places) * size


def unpacked(stored: torch.Tensor, bits: int) -> torch.Tensor:
    """All codes in order, 0 to 2^bits − 1, as bytes."""
    size, places = _GROUPS[bits]
    groups = stored.reshape(-1, size)
    codes = torch.zeros((len(groups), len(places)), dtype=torch.uint8)
    for i, place in enumerate(places):
        for bit, (byte, shift) in enumerate(place):
            codes[:, i] |= (groups[:, byte] >> shift & 1) << bit
    return codes.flatten()
