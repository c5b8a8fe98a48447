"""Images that a request draws over, from what a program holds them in, as files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import PIL.Image
import PIL.ImageOps

INPUT_IMAGES = ("init_image", "mask")

# More than servers take unless told otherwise; they say how much.
MAX_FILE_BYTES = 64 << 20
# What PNG holds as it is; all else is RGB.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


def image_file(image: object) -> bytes:
    """The bytes of a file, read from its path, or a PNG of Pillow's image, upright.

    Raises TypeError for anything else, ValueError for a file that is too large, and OSError.
    """
    if isinstance(image, (bytes, bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, (str, os.PathLike)):
        return read_bounded(Path(image), MAX_FILE_BYTES)
    if isinstance(image, PIL.Image.Image):
        return _png(image)
    raise TypeError(f"{type(image).__name__} is no image")


def read_bounded(path: Path, max_bytes: int) -> bytes:
    """A pipe or a device may go on for ever. Raises ValueError beyond `max_bytes`, and OSError."""
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"{path} is larger than {max_bytes >> 20} MiB")
    return content


def _png(image: PIL.Image.Image) -> bytes:
    """As the server reads a file of it: turned by its EXIF."""
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.mode not in _PNG_MODES:
        upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    file = io.BytesIO()
    upright.save(file, "PNG", compress_level=1)
    return file.getvalue()
