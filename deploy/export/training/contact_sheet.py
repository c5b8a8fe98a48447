"""Images in rows with their prompts below, as one PNG to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_COLUMNS = 8
_IMAGE_PX = 128
_CAPTION_PX = 26


def write_contact_sheet(
    path: Path, images: Sequence[Image.Image], captions: Sequence[str], columns: int = _COLUMNS
) -> None:
    """One image a caption, each 128 px wide."""
    rows = -(-len(images) // columns)
    cell_height = _IMAGE_PX + _CAPTION_PX
    sheet = Image.new("RGB", (columns * (_IMAGE_PX + 8), rows * (cell_height + 6)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left = index % columns * (_IMAGE_PX + 8) + 4
        top = index // columns * (cell_height + 6)
        enlarged = image.resize((_IMAGE_PX, _IMAGE_PX), Image.Resampling.BICUBIC)
        sheet.paste(enlarged, (left, top))
        for line, text in enumerate(_wrapped(caption, 26)[:2]):
            pen.text((left, top + _IMAGE_PX + 12 * line), text, fill="black", font=font)
    partial = path.with_suffix(".partial.png")
    sheet.save(partial)
    partial.replace(path)


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
