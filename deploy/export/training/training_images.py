"""All images that are trained on: each class once, and copies of some in other colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.emoji_classes import EmojiClass
from training.recolouring import COLOURS, recolour

# Names with one of these words say a colour already.
_COLOUR_WORDS = {*COLOURS, "black", "white", "brown", "grey", "gray", "gold", "golden"}
_RECOLOURED_SHARE = 0.08


@dataclass(frozen=True)
class TrainingImages:
    """Row i of each field belongs to image i."""

    images: np.ndarray  # uint8 [n, 64, 64, 3]
    names: list[tuple[str, ...]]  # what to call it
    keywords: list[tuple[str, ...]]
    chances: np.ndarray  # float64 [n], sums to 1
    recoloured_count: int  # classes that have copies


def training_images(classes: Sequence[EmojiClass]) -> TrainingImages:
    images = [entry.image for entry in classes]
    names = [entry.names for entry in classes]
    keywords = [entry.keywords for entry in classes]
    recoloured_count = 0
    for index, entry in enumerate(classes):
        if any(word in _COLOUR_WORDS for name in entry.names[:2] for word in name.lower().split()):
            continue
        recolouring = recolour(entry.image)
        if recolouring.own_colour:
            names[index] = (*entry.names, f"{recolouring.own_colour} {entry.name}")
        recoloured_count += bool(recolouring.copies)
        for colour, copy in recolouring.copies.items():
            images.append(copy)
            names.append(tuple(f"{colour} {name}" for name in entry.names))
            keywords.append(())
    copies = len(images) - len(classes)
    chances = np.full(len(images), _RECOLOURED_SHARE / max(1, copies))
    chances[: len(classes)] = (1.0 - _RECOLOURED_SHARE) / len(classes)
    chances /= chances.sum()
    return TrainingImages(np.stack(images), names, keywords, chances, recoloured_count)
