"""Small layers as other programs store them, and the ways that tests read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tightfit_export.quantisation.restored import RestoredTensors
from tightfit_export.tensor_file import TensorFile

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "quantised"
Tensors = dict[str, torch.Tensor]


def golden(name: str) -> tuple[Tensors, Tensors, dict[str, Any] | None]:
    """What a program stores, what it means by that, and its configuration."""
    stored: Tensors = {}
    expected: Tensors = {}
    with safe_open(GOLDEN / f"{name}.safetensors", "pt") as file:
        for key in file.keys():
            kind, _, inner = key.partition("/")
            (stored if kind == "stored" else expected)[inner] = file.get_tensor(key)
        config = (file.metadata() or {}).get("config")
    return stored, expected, None if config is None else json.loads(config)


def opened(
    folder: Path,
    stored: Tensors,
    config: dict[str, Any] | None = None,
    shapes: dict[str, tuple[int, ...]] | None = None,
    metadata: dict[str, str] | None = None,
) -> RestoredTensors:
    """The tensors as the exporter takes them, out of a file `x.safetensors` in `folder`."""
    path = folder / "x.safetensors"
    save_file({key: each.contiguous().clone() for key, each in stored.items()}, path, metadata)
    return RestoredTensors(TensorFile(path, "x.safetensors"), "x.safetensors", config, shapes)


def error_in_roundings(found: torch.Tensor, expected: torch.Tensor, scale: float = 0.0) -> float:
    """The largest difference in units of the expected type's rounding of each value.

    `scale` is how large values were that the program rounded on its way to small ones.
    """
    half_step = torch.finfo(expected.dtype).eps / 2
    size = expected.double().abs().clamp(min=max(scale, torch.finfo(expected.dtype).tiny))
    return float(((found.double() - expected.double()).abs() / (size * half_step)).max())


def described(words: object) -> torch.Tensor:
    """JSON as ComfyUI puts it into a tensor."""
    text = words if isinstance(words, bytes) else json.dumps(words).encode()
    return torch.tensor(list(text), dtype=torch.uint8)
