"""GGUF files, one tensor at a time: what the package `gguf` can dequantise."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightfit_export.errors import SourceError
from tightfit_export.quantisation.gguf_header import MAGIC, GgufHeader, read_header
from tightfit_export.tensor_file import StoredTensor, check_dtype

if TYPE_CHECKING:
    import torch

_FLOATS = {"F64": "F64", "F32": "F32", "F16": "F16", "BF16": "BF16"}
_WHOLE = ("I8", "I16", "I32", "I64")
# What a converter says of models of other kinds.
_FOREIGN = ("flux", "sd3", "aura", "ltxv", "hyvid", "wan", "lumina2", "qwen_image", "cosmos")
_FOREIGN += ("hidream", "llama", "t5", "t5encoder", "clip", "qwen2", "qwen3", "gemma")


def is_gguf(path: Path) -> bool:
    """By its first bytes or its name."""
    with path.open("rb") as file:
        return file.read(4) == MAGIC or path.suffix.lower() == ".gguf"


class GgufFile:
    """The header; values come from `read`. Errors: SourceError where the file is none or lies."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self.metadata: dict[str, str] = {}
        self.tensors: dict[str, StoredTensor] = {}
        self._what = what
        self._types = _types()
        try:
            self._file = path.open("rb")
            self.total_bytes = path.stat().st_size
            self._header = read_header(self._file, self.total_bytes, self._bytes_of)
            self._check()
        except (OSError, ValueError, OverflowError) as error:
            raise SourceError(f"{what}: cannot read {path.name}: {error}") from error

    def read(self, key: str) -> torch.Tensor:
        """Floats, in memory of their own. Errors: SourceError, OSError."""
        import numpy
        import torch
        from gguf.quants import dequantize

        stored, tensor = self.tensors[key], self._header.tensors[key]
        check_dtype(self._what, key, stored)
        count = math.prod(tensor.shape)
        rows = count // max(1, tensor.row)
        row_bytes = self._bytes_of(tensor.type_number, tensor.row)
        data = numpy.empty(rows * row_bytes, numpy.uint8)
        self._file.seek(tensor.begin)
        if self._file.readinto(data) != len(data):
            raise SourceError(f"{self._what}: {self.path.name} ends amid tensor {key}")
        if stored.kind and not count:
            values = torch.zeros(0)
        elif stored.kind:
            data = dequantize(data.reshape(rows, row_bytes), self._types[tensor.type_number])
            values = torch.from_numpy(numpy.ascontiguousarray(data, numpy.float32))
        else:
            dtypes = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16}
            values = torch.from_numpy(data).view(dtypes.get(stored.dtype, torch.bfloat16))
        if stored.kind and not bool(torch.isfinite(values).all()):
            raise SourceError(
                f"{self._what}: {key} is NaN or infinite once it is restored; the file is damaged"
            )
        return values.reshape(stored.shape)

    def read_stored(self, key: str) -> torch.Tensor:
        return self.read(key)

    def read_bytes(self, key: str) -> bytes:
        raise SourceError(f"{self._what}: {key} is no text")

    def close(self) -> None:
        self._file.close()

    def _bytes_of(self, type_number: int, count: int) -> int:
        """Errors: ValueError for a type that nobody knows, or a row that is not whole blocks."""
        from gguf.constants import GGML_QUANT_SIZES

        kind = self._types.get(type_number)
        if kind is None:
            raise ValueError(f"it holds tensors of type {type_number}, which gguf does not know")
        block, size = GGML_QUANT_SIZES[kind]
        if count % block:
            raise ValueError(f"a row of {count} values is no whole number of {kind.name}'s blocks")
        return count // block * size

    def _check(self) -> None:
        header: GgufHeader = self._header
        if header.architecture.lower() in _FOREIGN:
            raise ValueError(
                f"it says of itself that it is {header.architecture}, which tightfit does not serve"
            )
        for name, tensor in header.tensors.items():
            kind = self._types[tensor.type_number]
            shape = header.original_shapes.get(name, tensor.shape)
            if any(type(size) is not int or size < 0 for size in shape) or (
                math.prod(shape) != math.prod(tensor.shape)
            ):
                raise ValueError(
                    f"tensor {name} is {list(tensor.shape)} and was {str(shape)[:80]}, it says"
                )
            if kind.name in _FLOATS or kind.name in _WHOLE:
                self.tensors[name] = StoredTensor(_FLOATS.get(kind.name, kind.name), shape)
            elif _is_readable(kind):
                self.tensors[name] = StoredTensor("F32", shape, f"{kind.name} of GGUF")
            else:
                raise ValueError(f"tensor {name} is {kind.name}, which gguf does not dequantise")


@functools.cache
def _is_readable(kind: Any) -> bool:
    """Whether the package dequantises it, tried on a block of zeros."""
    import numpy
    from gguf.constants import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    try:
        dequantize(numpy.zeros((1, GGML_QUANT_SIZES[kind][1]), numpy.uint8), kind)
    except NotImplementedError:
        return False
    return True


def _types() -> dict[int, Any]:
    """What the package knows, by the numbers in files. Errors: SourceError without the package."""
    try:
        from gguf.constants import GGMLQuantizationType
    except ImportError as error:
        raise SourceError(f"GGUF needs the package gguf (pip install gguf): {error}") from error
    return {int(kind): kind for kind in GGMLQuantizationType}
