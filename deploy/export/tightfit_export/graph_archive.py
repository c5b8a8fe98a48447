"""TorchScript archives: equal bytes for equal graphs, and nothing of the exporting machine."""

from __future__ import annotations

import re
import struct
import zipfile
from io import BytesIO

_ALIGNMENT_BYTES = 64
_LOCAL_HEADER_BYTES = 30
_PADDING_FIELD = 0x4246  # the id that PyTorch's own writer gives its padding
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MANGLED = re.compile(rb"___torch_mangle_(\d+)")


def canonical(archive: bytes) -> bytes:
    """Rewrites what torch.jit.save wrote.

    Leaves out debug records (they hold source paths), traced inputs and the serialization id;
    numbers mangled type names from 0 (a process counts them over all its traces); stores
    uncompressed, each record at a multiple of 64 bytes, with a fixed time.
    """
    with zipfile.ZipFile(BytesIO(archive)) as source:
        records = [(name, source.read(name)) for name in source.namelist() if _is_needed(name)]
    numbers = {int(n) for name, data in records for n in _MANGLED.findall(name.encode() + data)}
    order = {number: index for index, number in enumerate(sorted(numbers))}

    def renumber(data: bytes) -> bytes:
        return _MANGLED.sub(lambda m: b"___torch_mangle_%d" % order[int(m.group(1))], data)

    # Records of tensors are raw bytes: only code and pickles hold type names.
    renamed = [
        (
            renumber(name.encode()).decode(),
            renumber(data) if name.endswith((".py", ".pkl")) else data,
        )
        for name, data in records
    ]
    result = BytesIO()
    with zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as target:
        # PyTorch reads the root folder's name from the first record.
        for name, data in sorted(renamed, key=_record_order):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 0
            info.external_attr = 0
            start = result.tell() + _LOCAL_HEADER_BYTES + len(name.encode())
            padding = -(start + 4) % _ALIGNMENT_BYTES
            info.extra = struct.pack("<HH", _PADDING_FIELD, padding) + bytes(padding)
            target.writestr(info, data)
    return result.getvalue()


def _is_needed(name: str) -> bool:
    if name.endswith((".debug_pkl", "/.data/serialization_id")):
        return False
    return "/traced_inputs" not in name


def _record_order(record: tuple[str, bytes]) -> tuple[bool, str]:
    return (not record[0].endswith("/data.pkl"), record[0])
