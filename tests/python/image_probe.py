"""input_image_probe of the build: what the server makes of images, asked line by line.

TIGHTFIT_INPUT_IMAGE_PROBE names the program; ctest sets it.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

PROGRAM = os.environ.get("TIGHTFIT_INPUT_IMAGE_PROBE")
NOT_BUILT = "TIGHTFIT_INPUT_IMAGE_PROBE is not set"


@dataclass
class Answer:
    message: str  # empty: it was decoded
    size: tuple[int, int]
    pixels: bytes
    seconds: float
    peak_kib: int


class Probe:
    def __init__(self, folder: Path) -> None:
        self.file = folder / "in"
        self.out = folder / "out"
        self.process = subprocess.Popen(
            [str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, command: str, content: bytes) -> Answer:
        self.file.write_bytes(content)
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{command} {self.file} {self.out}\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().rstrip("\n").split(" ")
        if words[0] == "refused":
            text = " ".join(words[3:])
            return Answer(text, (0, 0), b"", int(words[1]) / 1e6, int(words[2]))
        assert words[0] == "ok", words
        width, height, microseconds, kib = map(int, words[1:])
        return Answer("", (width, height), self.out.read_bytes(), microseconds / 1e6, kib)

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(60) == 0


def smooth(width: int, height: int, channels: int = 3) -> numpy.ndarray[Any, Any]:
    """Waves and noise, as in a photo."""
    rng = numpy.random.default_rng(width * 1000 + height)
    y, x = numpy.mgrid[0:height, 0:width]
    waves = [127 + 90 * numpy.sin((x + c) / 7 + y / (3 + c)) for c in range(channels)]
    noise = rng.integers(-30, 31, (height, width, channels))
    return numpy.clip(numpy.stack(waves, -1) + noise, 0, 255).astype(numpy.uint8)
