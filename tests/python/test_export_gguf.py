"""GGUF: every kind that the package reads, in the shapes that converters write, and no lie."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from emoji_checkpoint import DIFFUSERS, plain_tensors
from gguf_files import KINDS, blocks, write
from original_checkpoint import Tensors, component_weights

from tightfit_export.component_export import plan_weights
from tightfit_export.errors import SourceError
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress
from tightfit_export.quantisation.gguf_file import GgufFile

PREFIX = "model.diffusion_model."


def test_every_kind_is_read_as_the_package_reads_it(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {kind.name: (blocks(kind, 3, 512), kind) for kind in KINDS}
    tensors["F16"] = np.random.default_rng(0).normal(size=(8, 4, 3, 5)).astype(np.float16)
    tensors["F32"] = np.random.default_rng(1).normal(size=7).astype(np.float32)
    path = write(tmp_path / "x.gguf", tensors)
    file = GgufFile(path, "x")
    other = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    assert set(file.tensors) == set(other)
    for name, tensor in other.items():
        assert file.tensors[name].shape == tuple(tensor.shape[::-1].tolist())
        meant = gguf.dequantize(tensor.data, tensor.tensor_type)
        found = file.read(name).double()
        assert np.array_equal(found.numpy().ravel(), meant.astype(np.float64).ravel()), name
        assert bool(found.any())


def test_blocks_of_8_and_4_bits_are_what_their_definition_says(tmp_path: Path) -> None:
    """Apart from the package: Q8_0 is d · q, Q4_0 is d · (q − 8), 32 values to a block."""
    kinds = [gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0]
    data = {kind.name: (blocks(kind, 2, 64), kind) for kind in kinds}
    file = GgufFile(write(tmp_path / "x.gguf", data), "x")
    rows = data["Q8_0"][0].reshape(4, 34)
    meant = rows[:, :2].copy().view(np.float16).astype(float) * rows[:, 2:].view(np.int8)
    assert np.array_equal(file.read("Q8_0").double().numpy(), meant.reshape(2, 64))
    rows = data["Q4_0"][0].reshape(4, 18)
    codes = np.concatenate([rows[:, 2:] & 15, rows[:, 2:] >> 4], axis=1).astype(float) - 8
    meant = rows[:, :2].copy().view(np.float16).astype(float) * codes
    assert np.array_equal(file.read("Q4_0").double().numpy(), meant.reshape(2, 64))


def quantised(tensors: Tensors, kind: str) -> tuple[dict[str, Any], dict[str, Any], Tensors]:
    """As converters make files: matrices in blocks, flattened where rows are no whole blocks."""
    number = gguf.GGMLQuantizationType[kind]
    made: dict[str, Any] = {}
    shapes: dict[str, Any] = {}
    meant: Tensors = {}
    for key, each in tensors.items():
        values = each.float().numpy()
        if each.dim() < 2 or values.size % 256:
            made[key] = values
            meant[key] = each.float()
            continue
        if values.shape[-1] % 32:
            shapes[key] = values.shape
            values = values.reshape(-1, 256)
        made[key] = (gguf.quantize(values, number), number)
        restored = gguf.dequantize(made[key][0], number)
        meant[key] = torch.from_numpy(restored.astype(np.float32)).reshape(each.shape)
    return made, shapes, meant


def unet_of(path: Path) -> dict[str, torch.Tensor]:
    """What the exporter takes for the UNet of emoji-xl with that file in its place."""
    options = SourceOptions(str(DIFFUSERS), unet=path)
    plan = plan_weights(open_source(options, Progress(quiet=True)))["unet"]
    return {name: plan.source.read(key) for name, key in plan.keys.items()}


@pytest.mark.parametrize(
    ("layout", "kind"), [("original", "Q8_0"), ("prefixed", "Q5_0"), ("diffusers", "Q8_0")]
)
def test_a_unet_takes_the_place_of_the_bases(kind: str, layout: str, tmp_path: Path) -> None:
    names = component_weights(DIFFUSERS, "unet")
    original = {
        key.removeprefix(PREFIX): each
        for key, each in plain_tensors().items()
        if key.startswith(PREFIX)
    }
    if layout == "prefixed":
        original = {PREFIX + key: each for key, each in original.items()}
    source = names if layout == "diffusers" else original
    made, shapes, meant = quantised(source, kind)
    found = unet_of(write(tmp_path / "unet.gguf", made, shapes))
    assert set(found) == set(names) and shapes
    if layout == "diffusers":
        assert all(torch.equal(found[name].float(), meant[name]) for name in names)
    # The other layouts: the same tensors under other names, each as near as 8 or 5 bits are.
    for name, each in found.items():
        error = (each.float() - names[name].float()).norm() / names[name].float().norm()
        assert each.shape == names[name].shape and error < (0.02 if kind == "Q8_0" else 0.1), name


def header(values: int = 0, tensors: int = 0, body: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, values) + body


def text(words: str) -> bytes:
    return struct.pack("<Q", len(words)) + words.encode()


def tensor(name: str, sizes: list[int], kind: int, offset: int = 0) -> bytes:
    packed = struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes)
    return text(name) + packed + struct.pack("<IQ", kind, offset)


ONE = tensor("w", [32, 2], 8)
BAD: dict[str, tuple[bytes, str]] = {
    "nothing behind the magic": (b"GGUF", "longer than the file"),
    "a version of tomorrow": (header(version=4), "version 4"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version"),
    "2^60 values": (header(values=1 << 60), "values, more than it can hold"),
    "2^60 tensors": (header(tensors=1 << 60), "tensors, more than it can hold"),
    "a name of 2^62 bytes": (header(1, 0, struct.pack("<Q", 1 << 62) + bytes(20)), "name"),
    "a text of 2^63 bytes": (
        header(1, 0, text("k") + struct.pack("<IQ", 8, (1 << 63) + 9)),
        "longer than the file",
    ),
    "an array of 2^61": (
        header(1, 0, text("k") + struct.pack("<IIQ", 9, 10, 1 << 61)),
        "longer than the file",
    ),
    "2^40 texts": (header(1, 0, text("k") + struct.pack("<IIQ", 9, 8, 1 << 40)), "texts"),
    "an array of arrays": (
        header(1, 0, text("k") + struct.pack("<IIQ", 9, 9, 1)),
        "array of type 9",
    ),
    "a value of no type": (header(1, 0, text("k") + struct.pack("<I", 77) + bytes(9)), "type 77"),
    "an odd alignment": (
        header(1, 0, text("general.alignment") + struct.pack("<II", 4, 3)),
        "no power of 2",
    ),
    "100 dimensions": (header(0, 1, text("w") + struct.pack("<I", 100) + bytes(99)), "dimensions"),
    "2^60 weights": (header(0, 1, tensor("w", [1 << 60], 0)), "tensor w has the shape"),
    "an unknown kind": (header(0, 1, tensor("w", [32], 999)), "type 999"),
    "half a block": (header(0, 1, tensor("w", [33], 8)), "whole number of Q8_0's blocks"),
    "cut off": (header(0, 1, ONE) + bytes(50), "ends before its tensor w"),
    "far away": (
        header(0, 1, tensor("w", [32], 8, 1 << 62)) + bytes(99),
        "ends before its tensor w",
    ),
    "twice": (header(0, 2, ONE + ONE) + bytes(400), "tensor w is there twice"),
    "another shape before": (
        header(
            1,
            1,
            text("comfy.gguf.orig_shape.w") + struct.pack("<IIQ2i", 9, 5, 2, 7, 9) + ONE,
        )
        + bytes(400),
        "tensor w is [2, 32] and was (7, 9)",
    ),
    "a Flux model": (
        header(1, 0, text("general.architecture") + struct.pack("<I", 8) + text("flux")),
        "flux, which tightfit does not serve",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_a_header_says_is_held_against_the_file(name: str, tmp_path: Path) -> None:
    content, words = BAD[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(SourceError) as raised:
        GgufFile(path, "unet")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert words in str(raised.value) and "\n" not in str(raised.value)
    assert peak < 200_000  # the machinery; what is lied about would be gigabytes


def test_a_good_header_is_read(tmp_path: Path) -> None:
    """A control for the bad ones."""
    path = tmp_path / "good.gguf"
    path.write_bytes(header(0, 1, ONE).ljust(96, b"\0") + bytes(68))
    assert GgufFile(path, "unet").tensors["w"].shape == (2, 32)
