"""Reads .npy files of fp32 and bytes, and compares them, where there is no numpy."""

from __future__ import annotations

import array
import ast
import math
import sys
from dataclasses import dataclass
from pathlib import Path

_TYPES = {"<f4": "f", "|u1": "B"}


@dataclass(frozen=True)
class Array:
    shape: tuple[int, ...]
    values: array.array[float] | array.array[int]


def read(file: Path) -> Array:
    """Raises ValueError for what is no such file."""
    content = file.read_bytes()
    if content[:8] != b"\x93NUMPY\x01\x00" or sys.byteorder != "little":
        raise ValueError(f"{file.name} is no .npy file of version 1")
    end = 10 + int.from_bytes(content[8:10], "little")
    header = ast.literal_eval(content[10:end].decode("latin-1"))
    if header["descr"] not in _TYPES or header["fortran_order"]:
        raise ValueError(f"{file.name} holds {header['descr']}")
    values = array.array(_TYPES[header["descr"]])
    values.frombytes(content[end:])
    if len(values) != math.prod(header["shape"]):
        raise ValueError(f"{file.name} is cut")
    return Array(tuple(header["shape"]), values)


def largest_difference(one: Array, other: Array) -> float:
    """Raises ValueError where they have not one shape; what is not finite differs infinitely."""
    if one.shape != other.shape:
        raise ValueError(f"{one.shape} beside {other.shape}")
    if not all(map(math.isfinite, [*one.values, *other.values])):
        return math.inf
    return max(abs(a - b) for a, b in zip(one.values, other.values))


def largest(one: Array) -> float:
    return max(map(abs, one.values))
