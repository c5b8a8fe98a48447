"""One finished picture, or its latents."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

import PIL.Image

from tightfit.latents import LATENTS_MIME_TYPE, read_latents


@dataclass(frozen=True)
class Image:
    """An encoded picture, or its latents, as the server sent it.

    content: the file's bytes, in the format that mime_type names
    """

    index: int
    seed: int
    mime_type: str
    content: bytes = field(repr=False)

    @property
    def png(self) -> bytes:
        """The bytes of the PNG file. Raises ValueError if the picture is of another type."""
        if self.mime_type != "image/png":
            raise ValueError(f"the picture is {self.mime_type}, not image/png")
        return self.content

    @property
    def pil(self) -> PIL.Image.Image:
        """Decoded anew at each access; the parameters are in its `text` unless switched off.

        Raises ValueError where latents were asked for.
        """
        if self.mime_type == LATENTS_MIME_TYPE:
            raise ValueError("these are latents, undecoded: there is no picture")
        picture = PIL.Image.open(io.BytesIO(self.content))
        picture.load()
        return picture

    @property
    def latents(self) -> memoryview[float]:
        """[channels, height, width] fp32, of a request for "application/x-safetensors".

        `numpy.asarray` and `torch.asarray` take it as it is, and `tolist()` gives lists. Raises
        ValueError for a picture.
        """
        if self.mime_type != LATENTS_MIME_TYPE:
            raise ValueError(f"the picture is {self.mime_type}, not {LATENTS_MIME_TYPE}")
        return read_latents(self.content)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the encoded file, whole or not at all; replaces what is there.

        Raises OSError where the file cannot be written.
        """
        place = Path(path)
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        try:
            part.write_bytes(self.content)
            part.replace(place)
        finally:
            part.unlink(missing_ok=True)
        return place
