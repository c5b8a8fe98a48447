"""The header of a GGUF file, whose counts and lengths are held against the file before use.

The package `gguf` maps the whole file and makes an array for every number of the header: a file
that lies about a count takes it tens of times the header's size. Here a value that is not wanted is
skipped where it stands.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_HEADER_BYTES = 100 << 20
_MAX_NAME_BYTES = 1024
_MAX_TEXT_BYTES = 64 << 10
_MAX_DIMENSIONS = 8
_MAX_WANTED_VALUES = 64
_BYTES_OF = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_LETTERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_LETTERS |= {12: "d"}
_TEXT, _ARRAY = 8, 9
_ALIGNMENT, _ARCHITECTURE = "general.alignment", "general.architecture"
_SHAPE_PREFIX = "comfy.gguf.orig_shape."  # where a converter had to flatten a tensor


@dataclass(frozen=True)
class GgufTensor:
    """A tensor as the header tells it."""

    type_number: int
    shape: tuple[int, ...]  # the last one lies in a row
    begin: int  # in the file

    @property
    def row(self) -> int:
        """Values that lie in a row; blocks divide it."""
        return self.shape[-1] if self.shape else 1


@dataclass(frozen=True)
class GgufHeader:
    """What a file says of itself and its tensors."""

    architecture: str
    tensors: dict[str, GgufTensor]
    original_shapes: dict[str, tuple[int, ...]]


class _Reader:
    """Reads on from where it is, never beyond the file. Errors: ValueError."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = min(size, _MAX_HEADER_BYTES)

    def bytes(self, count: int) -> bytes:
        self.reserve(count)
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError("the file ends amid its header")
        return data

    def skip(self, count: int) -> None:
        self.reserve(count)
        self._file.seek(count, 1)

    def reserve(self, count: int) -> None:
        if count > self._left:
            raise ValueError("its header says that it is longer than the file, or than 100 MiB")
        self._left -= count

    def check_room(self, count: int, each: int, what: str) -> None:
        """Errors: ValueError where so many cannot stand in what is left."""
        if count * each > self._left:
            raise ValueError(f"its header tells of {count} {what}, more than it can hold")

    def number(self, kind: int) -> Any:
        return struct.unpack("<" + _LETTERS[kind], self.bytes(_BYTES_OF[kind]))[0]

    def text(self, limit: int, what: str) -> str:
        length = self.number(10)
        if length > limit:
            raise ValueError(f"{what} is {length} bytes long; at most {limit} are read")
        return self.bytes(length).decode("utf-8")


def read_header(file: BinaryIO, size: int, bytes_of: Callable[[int, int], int]) -> GgufHeader:
    """`bytes_of` gives the bytes of a row: of a type's number and a count of values.

    Errors: ValueError with the first thing wrong, naming the tensor where it is one.
    """
    reader = _Reader(file, size)
    if reader.bytes(4) != MAGIC:
        raise ValueError("this is no GGUF")
    version = reader.number(4)
    if version not in _VERSIONS:
        raise ValueError(f"GGUF of version {version}; versions 2 and 3 (little-endian) are read")
    tensor_count, value_count = reader.number(10), reader.number(10)
    reader.check_room(value_count, 13, "values")
    reader.check_room(tensor_count, 24, "tensors")
    values: dict[str, Any] = {}
    for _ in range(value_count):
        key = reader.text(_MAX_NAME_BYTES * 4, "the name of a value")
        is_wanted = key in (_ALIGNMENT, _ARCHITECTURE) or key.startswith(_SHAPE_PREFIX)
        found = _value(reader, reader.number(4), is_wanted)
        if is_wanted:
            values[key] = found
    alignment = values.get(_ALIGNMENT, 32)
    if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"{_ALIGNMENT} is {str(alignment)[:40]}, no power of 2")
    infos = [_tensor(reader) for _ in range(tensor_count)]
    start = -(-file.tell() // alignment) * alignment
    tensors: dict[str, GgufTensor] = {}
    for name, shape, kind, offset in infos:
        if name in tensors:
            raise ValueError(f"tensor {name} is there twice")
        tensor = GgufTensor(kind, shape, start + offset)
        count = math.prod(shape) // max(1, tensor.row) * bytes_of(kind, tensor.row)
        if tensor.begin + count > size:
            raise ValueError(f"the file ends before its tensor {name}")
        tensors[name] = tensor
    shapes = {
        key.removeprefix(_SHAPE_PREFIX): tuple(value)
        for key, value in values.items()
        if key.startswith(_SHAPE_PREFIX) and isinstance(value, list)
    }
    return GgufHeader(str(values.get(_ARCHITECTURE, "")), tensors, shapes)


def _value(reader: _Reader, kind: int, is_wanted: bool) -> Any:
    """None where nobody wants it."""
    if kind == _TEXT:
        if is_wanted:
            return reader.text(_MAX_TEXT_BYTES, "a value")
        reader.skip(reader.number(10))
        return None
    if kind == _ARRAY:
        inner, count = reader.number(4), reader.number(10)
        if inner == _TEXT:
            reader.check_room(count, 8, "texts")
            for _ in range(count):
                reader.skip(reader.number(10))
            return None
        if inner not in _BYTES_OF:
            raise ValueError(f"its header has an array of type {inner}, which is not read")
        if is_wanted and count <= _MAX_WANTED_VALUES:
            return [reader.number(inner) for _ in range(count)]
        reader.skip(count * _BYTES_OF[inner])
        return None
    if kind not in _BYTES_OF:
        raise ValueError(f"its header has a value of type {kind}, which is not read")
    if is_wanted:
        return reader.number(kind)
    reader.skip(_BYTES_OF[kind])
    return None


def _tensor(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape in this library's order, type and offset."""
    name = reader.text(_MAX_NAME_BYTES, "the name of a tensor")
    count = reader.number(4)
    if count > _MAX_DIMENSIONS:
        raise ValueError(f"tensor {name} has {count} dimensions")
    sizes = [reader.number(10) for _ in range(count)]
    if math.prod(sizes) >= 1 << 40:
        raise ValueError(f"tensor {name} has the shape {sizes[::-1]}, which no file holds")
    return name, tuple(sizes[::-1]), reader.number(4), reader.number(10)
