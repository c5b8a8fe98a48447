"""Emoji as small images: the bitmaps of Noto Color Emoji (Debian's fonts-noto-color-emoji)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")

SIZE_PX = 64

# The only size that the font has bitmaps for: they are 136 x 128.
_STRIKE = 109
# Room around the bitmap, so that nothing touches the image's border.
_CANVAS_PX = 144


class EmojiFont:
    """Draws emoji, sequences of several code points included."""

    def __init__(self, path: Path = FONT) -> None:
        self._font = ImageFont.truetype(str(path), _STRIKE, layout_engine=ImageFont.Layout.RAQM)

    def draw(self, emoji: str) -> np.ndarray:
        """uint8 [64, 64, 3], on white. Errors: ValueError where the font lacks the emoji."""
        left, top, right, bottom = self._font.getbbox(emoji)
        if right - left > _CANVAS_PX or right == left:
            raise ValueError(f"the font has no single image for {emoji!r}")
        canvas = Image.new("RGBA", (_CANVAS_PX, _CANVAS_PX), "white")
        corner = ((_CANVAS_PX - right - left) // 2, (_CANVAS_PX - bottom - top) // 2)
        layer = Image.new("RGBA", canvas.size)
        ImageDraw.Draw(layer).text(corner, emoji, font=self._font, embedded_color=True)
        canvas.alpha_composite(layer)
        image = canvas.convert("RGB").resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)
        return np.asarray(image)
