"""Files with a few wrong bytes are read or refused in one line; nothing else comes of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from gguf_files import KINDS, blocks, write
from quantised_files import GOLDEN, golden
from safetensors.torch import save_file

from tightfit_export.errors import SourceError
from tightfit_export.quantisation.gguf_file import GgufFile
from tightfit_export.quantisation.restored import RestoredTensors
from tightfit_export.tensor_file import TensorFile

TRIES = 12  # for each file
LIKELY = b"0123456789,[]{}\":FUIB_ax"


def outcome(make: Any) -> str:
    """ "read" or "refused", which are all there is."""
    try:
        file = make()
        for key in file.tensors:
            file.read(key)
    except SourceError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return "refused"
    return "read"


def damaged(data: bytes, header: int, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if rng.random() < 0.7:
            changed[8 + rng.randrange(header)] = rng.choice(LIKELY)
        else:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.1 else changed)


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.safetensors")))
def test_a_damaged_file_of_another_program(name: str, tmp_path: Path) -> None:
    rng = random.Random(name)
    stored, expected, config = golden(name)
    shapes = {key: tuple(each.shape) for key, each in expected.items()}
    path = tmp_path / "x.safetensors"
    save_file({key: each.contiguous().clone() for key, each in stored.items()}, path)
    whole = path.read_bytes()
    header = int.from_bytes(whole[:8], "little")
    found = set()
    for _ in range(TRIES):
        path.write_bytes(damaged(whole, header, rng))
        said = config
        if config is not None and rng.random() < 0.3:
            words = [None, 1, "x", [], {"a": 1}, True]
            said = config | {rng.choice(sorted(config)): rng.choice(words)}
        known = shapes if rng.random() < 0.8 else None
        found.add(outcome(lambda: RestoredTensors(TensorFile(path, "x"), "x", said, known)))
    assert "refused" in found


def test_a_damaged_gguf(tmp_path: Path) -> None:
    rng = random.Random(0)
    tensors: dict[str, Any] = {kind.name: (blocks(kind, 2, 256), kind) for kind in KINDS}
    path = write(tmp_path / "x.gguf", tensors, {KINDS[0].name: (4, 128)})
    whole = path.read_bytes()
    found = set()
    for _ in range(100):
        changed = bytearray(whole)
        for _ in range(rng.choice((1, 2, 5))):
            changed[rng.randrange(1200)] = rng.choice((0, 255, 1, 128, rng.randrange(256)))
        path.write_bytes(changed)
        found.add(outcome(lambda: GgufFile(path, "x")))
    assert found == {"read", "refused"}
