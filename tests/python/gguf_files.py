"""Small GGUF files, as converters write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import _type_traits

KINDS = sorted(_type_traits, key=lambda kind: kind.name)


def blocks(kind: gguf.GGMLQuantizationType, rows: int, columns: int) -> np.ndarray:
    """Random bytes that are all finite numbers."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = np.random.default_rng(int(kind)).integers(0, 256, (rows * columns // block, size))
    data = data.astype(np.uint8)
    with np.errstate(all="ignore"):
        values = gguf.dequantize(data, kind)
    data[~np.isfinite(values).all(axis=1) | (np.abs(values) > 100).any(axis=1)] = 0
    return data.reshape(rows, -1)


def write(path: Path, tensors: dict[str, Any], shapes: dict[str, Any] | None = None) -> Path:
    """`tensors`: arrays, or bytes with their kind. `shapes`: what those had before."""
    writer = gguf.GGUFWriter(path, "sdxl")
    writer.add_array("some.words", ["a", "bc"])
    for key, shape in (shapes or {}).items():
        writer.add_array(f"comfy.gguf.orig_shape.{key}", [int(size) for size in shape])
    for key, each in tensors.items():
        data, kind = each if isinstance(each, tuple) else (each, None)
        writer.add_tensor(key, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
