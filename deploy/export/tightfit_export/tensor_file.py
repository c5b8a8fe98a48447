"""safetensors files, read one tensor at a time.

Read and not mapped: the pages of a mapped file count as memory of this process, and a checkpoint
has more of them than a small machine has memory.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tightfit_export.errors import SourceError

if TYPE_CHECKING:
    import torch

ELEMENT_BITS = {"C64": 64, "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "BOOL": 8}
ELEMENT_BITS |= {f"{kind}{bits}": bits for kind in "IU" for bits in (8, 16, 32, 64)}
ELEMENT_BITS |= {"F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8}
ELEMENT_BITS |= {"F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
_TORCH_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_TORCH_NAMES |= {"I8": "int8", "U8": "uint8", "I16": "int16", "I32": "int32", "I64": "int64"}
_TORCH_NAMES |= {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
READABLE_DTYPES = ("F64", "F32", "F16", "BF16")
_MAX_HEADER_BYTES = 100 << 20
_GGUF_MAGIC = b"GGUF"
# How a zip archive and the versions of pickle begin: what torch.save writes.
_PICKLE_MAGIC = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor's type and shape as its file's header tells them."""

    dtype: str
    shape: tuple[int, ...]
    kind: str = ""  # what a quantiser had made of it; "": nothing


def check_dtype(what: str, key: str, stored: StoredTensor) -> None:
    """Errors: SourceError where the values are of no type that can be exported."""
    if stored.dtype not in READABLE_DTYPES:
        raise SourceError(
            f"{what}: tensor {key} is stored as {stored.dtype}; {', '.join(READABLE_DTYPES)} can "
            "be exported: take a checkpoint of one of these"
        )


class TensorFile:
    """The header of a safetensors file; values come from `read`.

    `what` begins every message. Errors: SourceError where the file is none or is cut off.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._what = what
        self.tensors: dict[str, StoredTensor] = {}
        self.metadata: dict[str, str] = {}
        self._begins: dict[str, int] = {}
        try:
            self._file = path.open("rb")
            self.total_bytes = path.stat().st_size
            self._read_header()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error if isinstance(error, (OSError, ValueError)) else repr(error)
            raise SourceError(f"{what}: cannot read {path.name}: {reason}") from error

    def read(self, key: str) -> torch.Tensor:
        """The values as stored, in memory of their own. Errors: SourceError, OSError."""
        import torch

        check_dtype(self._what, key, self.tensors[key])
        return self.read_stored(key)

    def read_stored(self, key: str) -> torch.Tensor:
        """The same of codes, whatever their type. Errors: SourceError, OSError."""
        import torch

        stored = self.tensors[key]
        if stored.dtype not in _TORCH_NAMES:
            raise SourceError(f"{self._what}: tensor {key} is stored as {stored.dtype}")
        dtype = getattr(torch, _TORCH_NAMES[stored.dtype])
        values = torch.empty(math.prod(stored.shape), dtype=dtype)
        self._read_into(key, memoryview(values.view(torch.uint8).numpy()))
        return values.reshape(stored.shape)

    def read_bytes(self, key: str) -> bytes:
        """For small tensors that hold text. Errors: SourceError, OSError."""
        stored = self.tensors[key]
        buffer = bytearray(ELEMENT_BITS.get(stored.dtype, 0) * math.prod(stored.shape) // 8)
        self._read_into(key, memoryview(buffer))
        return bytes(buffer)

    def _read_into(self, key: str, buffer: memoryview) -> None:
        self._file.seek(self._begins[key])
        if self._file.readinto(buffer) != len(buffer):
            raise SourceError(f"{self._what}: {self.path.name} ends amid tensor {key}")

    def close(self) -> None:
        self._file.close()

    def _read_header(self) -> None:
        start = self._file.read(8)
        if start.startswith(_GGUF_MAGIC):
            raise ValueError("this is GGUF, which holds a UNet alone; give it with --unet")
        if start.startswith(_PICKLE_MAGIC):
            raise ValueError("this is a pickle under another name; the exporter reads no pickle")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(_MAX_HEADER_BYTES, self.total_bytes - 8):
            raise ValueError("this is no whole safetensors file")
        header = json.loads(self._file.read(length))
        # Absent and null are the same to the safetensors library.
        metadata = header.pop("__metadata__", None) or {}
        self.metadata = {key: text for key, text in metadata.items() if isinstance(text, str)}
        for key, entry in header.items():
            stored = StoredTensor(entry["dtype"], tuple(int(size) for size in entry["shape"]))
            begin, end = entry["data_offsets"]
            bits = ELEMENT_BITS.get(stored.dtype)
            if not 0 <= begin <= end <= self.total_bytes - 8 - length:
                raise ValueError(f"the file ends before its tensor {key}")
            if bits and 8 * (end - begin) != bits * math.prod(stored.shape):
                raise ValueError(f"tensor {key} has another size than its shape says")
            self.tensors[key] = stored
            self._begins[key] = 8 + length + begin
