"""Images to draw over, and masks, as files of bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# Width and height; the latents of the random pipeline are an eighth.
SIZES = [(64, 64), (104, 56), (72, 80)]


def wavy(width_px: int, height_px: int, seed: int) -> np.ndarray:
    """An image with structure, uint8 [height, width, 3]."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height_px, 0:width_px]
    image = np.zeros((height_px, width_px, 3))
    for channel in range(3):
        for _ in range(3):
            along, down = generator.uniform(-0.25, 0.25, 2)
            image[..., channel] += np.sin(along * x + down * y + generator.uniform(0, 6))
    return (image / np.abs(image).max() * 127.5 + 127.5).round().astype(np.uint8)


def slanted(width_px: int, height_px: int) -> np.ndarray:
    """A mask of 255 on one side of a line that no latent's edge follows."""
    y, x = np.mgrid[0:height_px, 0:width_px]
    return np.where(3 * x + 2 * y > 2 * width_px + 5, 255, 0).astype(np.uint8)


def path_of(folder: Path, name: str, size: tuple[int, int]) -> Path:
    return folder / f"{name}-{size[0]}x{size[1]}.raw"


def write_inputs(folder: Path) -> None:
    for number, size in enumerate(SIZES):
        mask = slanted(*size)
        for name, values in {
            "image": wavy(*size, number),
            "other": wavy(*size, 50 + number),
            "mask": mask,
            "inverted": 255 - mask,
            "black": np.zeros_like(mask),
            "white": np.full_like(mask, 255),
        }.items():
            values.tofile(path_of(folder, name, size))
