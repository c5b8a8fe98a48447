"""One finished image, or its latents."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import PIL.Image

from tightfit.latents import LATENTS_MIME_TYPE, read_latents


@dataclass(frozen=True)
class Image:
    """An encoded image, or its latents, as the server sent it.

    content: the file's bytes, in the format that mime_type names
    """

    index: int
    seed: int
    mime_type: str
    content: bytes = field(repr=False)

    @property
    def png(self) -> bytes:
        """The bytes of the PNG file. Raises ValueError if the image is of another type."""
        if self.mime_type != "image/png":
            raise ValueError(f"the image is {self.mime_type}, not image/png")
        return self.content

    @property
    def pil(self) -> PIL.Image.Image:
        """Decoded anew at each access; the parameters are in its `text` unless switched off.

        Raises ValueError where latents were asked for.
        """
        if self.mime_type == LATENTS_MIME_TYPE:
            raise ValueError("these are latents, undecoded: there is no image")
        image = PIL.Image.open(io.BytesIO(self.content))
        image.load()
        return image

    @property
    def latents(self) -> memoryview[float]:
        """[channels, height, width] fp32, of a request for "application/x-safetensors".

        `numpy.asarray` and `torch.asarray` take it as it is, and `tolist()` gives lists. Raises
        ValueError for an image.
        """
        if self.mime_type != LATENTS_MIME_TYPE:
            raise ValueError(f"the image is {self.mime_type}, not {LATENTS_MIME_TYPE}")
        return read_latents(self.content)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the encoded file, whole or not at all; replaces the file that is there.

        A link is followed; a device or a FIFO is written into, never replaced. Raises OSError where
        it cannot be written.
        """
        place = Path(path)
        if _is_stream(place):
            with place.open("wb", buffering=0) as stream:
                rest = memoryview(self.content)
                while rest:
                    rest = rest[stream.write(rest) or 0 :]
            return place
        file = Path(os.path.realpath(place))
        part = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            part.write_bytes(self.content)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
        return place


def _is_stream(place: Path) -> bool:
    """No regular file, or one that this process has open under a name such as /dev/stdout."""
    if os.path.abspath(place).startswith(("/dev/", "/proc/")):
        return True
    try:
        return not stat.S_ISREG(place.stat().st_mode)
    except FileNotFoundError:
        return False
