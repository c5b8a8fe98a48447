"""Latents as the contract carries them: a safetensors file of one fp32 tensor, "latents"."""

from __future__ import annotations

import json
import math
import sys
from array import array
from typing import Any

LATENTS_MIME_TYPE = "application/x-safetensors"

_NAME = "latents"
_LENGTH_BYTES = 8
_FLOAT_BYTES = 4


def read_latents(content: bytes) -> memoryview[float]:
    """[channels, height, width] fp32. Raises ValueError where `content` is anything else."""
    header_bytes = int.from_bytes(content[:_LENGTH_BYTES], "little")
    values = content[_LENGTH_BYTES + header_bytes :]
    try:
        header: Any = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + header_bytes])
        header.pop("__metadata__", None)
        tensor = header.pop(_NAME)
        shape = tuple(int(side) for side in tensor["shape"])
        wanted = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, len(values)]}
        size_bytes = _FLOAT_BYTES * math.prod(shape)
        if header or tensor != wanted or len(shape) != 3 or len(values) != size_bytes:
            raise ValueError(tensor)
        return memoryview(_native(values)).cast("B").cast("f", shape)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"these are no latents: a safetensors file of one F32 tensor {_NAME!r}"
            " [channels, height, width] is needed"
        ) from error


def write_latents(values: Any) -> bytes:
    """The file for an array [channels, height, width] of fp32: of numpy, a memoryview, any buffer.

    Raises ValueError for another shape or type.
    """
    view = memoryview(values)
    shape = list(view.shape or ())
    if view.format not in ("f", "<f") or len(shape) != 3:
        raise ValueError(f"latents are fp32 [channels, height, width], not {view.format} {shape}")
    content = bytes(_native(view.tobytes()))
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, len(content)]}
    header = json.dumps({_NAME: tensor}).encode()
    # Readers expect numbers to begin at a multiple of 8.
    header += b" " * (-len(header) % _LENGTH_BYTES)
    return len(header).to_bytes(_LENGTH_BYTES, "little") + header + content


def _native(values: bytes) -> bytes | array[float]:
    """Between the file's byte order, little endian, and this machine's, either way."""
    if sys.byteorder == "little":
        return values
    swapped = array("f", values)
    swapped.byteswap()
    return swapped
