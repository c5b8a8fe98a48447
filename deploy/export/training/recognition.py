"""Recognition by the nearest neighbour: which emoji is a drawn image most like?

The same measure as `tightfit fidelity --classes`: the mean squared difference at 32 x 32.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from training.emoji_classes import EmojiClass

_SIDE = 32
_COLUMNS = 25


def reduced(image: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3], sides multiples of 32, averaged to float32 [32, 32, 3]."""
    height, width, _ = image.shape
    parts = image.reshape(_SIDE, height // _SIDE, _SIDE, width // _SIDE, 3)
    return parts.mean(axis=(1, 3), dtype=np.float64).astype(np.float32)


class NearestEmoji:
    """Finds the class whose image is nearest."""

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        known = np.stack([reduced(image) for image in images])
        self._known = known.reshape(len(images), -1)

    def find(self, image: np.ndarray) -> int:
        errors = self._known - reduced(image).reshape(1, -1)
        return int(np.square(errors).sum(axis=1).argmin())


def write_classes(folder: Path, classes: Sequence[EmojiClass]) -> None:
    """Writes classes.png and classes.json, which `tightfit fidelity --classes` reads."""
    tile = classes[0].image.shape[0]
    rows = -(-len(classes) // _COLUMNS)
    sheet = np.full((rows * tile, _COLUMNS * tile, 3), 255, np.uint8)
    for index, entry in enumerate(classes):
        top, left = index // _COLUMNS * tile, index % _COLUMNS * tile
        sheet[top : top + tile, left : left + tile] = entry.image
    Image.fromarray(sheet).save(folder / "classes.png", optimize=True)
    content = {
        "picture": "classes.png",
        "tile_px": tile,
        "columns": _COLUMNS,
        "names": [entry.name for entry in classes],
    }
    text = json.dumps(content, ensure_ascii=False, indent=1)
    (folder / "classes.json").write_text(text + "\n", encoding="utf-8")
