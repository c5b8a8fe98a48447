"""Copies of one-coloured emoji in other colours, so that colour words mean something alone.

A picture qualifies when most of its saturated pixels have about one hue; those pixels are turned
to the hue of another colour word, their shading kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

# Hues in degrees.
COLOURS = {
    "red": 0.0,
    "orange": 28.0,
    "yellow": 50.0,
    "green": 125.0,
    "blue": 215.0,
    "purple": 275.0,
    "pink": 330.0,
}

_SATURATED = 70
_HUE_WINDOW_DEGREES = 22.0
_MIN_SHARE_OF_PICTURE = 0.15
_MIN_SHARE_OF_SATURATED = 0.75
_MIN_TURN_DEGREES = 25.0
_OWN_TURN_DEGREES = 12.0
_BRIGHT = 170.0
_VIVID = 150.0


@dataclass(frozen=True)
class Recolouring:
    """The colour that a picture has, "" where no word is clearly right, and its copies."""

    own_colour: str
    copies: dict[str, np.ndarray]  # uint8 [h, w, 3], by colour


def recolour(picture: np.ndarray) -> Recolouring:
    """The picture, uint8 [h, w, 3], in each colour that it does not already have."""
    hsv = np.asarray(Image.fromarray(picture).convert("HSV")).astype(np.float32)
    hue = hsv[..., 0] * (360.0 / 256.0)
    saturated = (hsv[..., 1] > _SATURATED) & (hsv[..., 2] > 60)
    if saturated.mean() < _MIN_SHARE_OF_PICTURE:
        return Recolouring("", {})
    counts, edges = np.histogram(hue[saturated], bins=72, range=(0.0, 360.0))
    main = edges[np.argmax(counts)] + 2.5
    near = saturated & (np.abs(_turn(hue, main)) < _HUE_WINDOW_DEGREES)
    if near.sum() < _MIN_SHARE_OF_SATURATED * saturated.sum():
        return Recolouring("", {})
    vivid = hsv[..., 2][near].mean() > _BRIGHT and hsv[..., 1][near].mean() > _VIVID
    own = [name for name, at in COLOURS.items() if abs(_turn(main, at)) < _OWN_TURN_DEGREES]
    copies = {}
    for name, target in COLOURS.items():
        if abs(_turn(main, target)) < _MIN_TURN_DEGREES:
            continue
        turned = hsv.copy()
        turned[..., 0] = np.where(near, (hue + target - main) % 360.0, hue) * (256.0 / 360.0)
        image = Image.fromarray(turned.astype(np.uint8), mode="HSV").convert("RGB")
        copies[name] = np.asarray(image)
    return Recolouring(own[0] if own and vivid else "", copies)


def _turn(hue: Any, target: float) -> Any:
    """Signed degrees from `target` to `hue`, -180 to 180."""
    return (hue - target + 180.0) % 360.0 - 180.0
