"""The check that images of both sides have to pass, and that controls have to fail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .probe import Images

MAX_LATENT_ERROR = 1e-3  # largest difference over largest magnitude
MAX_PIXEL_ERROR = 2  # of 255
MIN_DEVIATION = 30  # of 255: a flat reference would agree with anything


@dataclass(frozen=True)
class Difference:
    latent_error: float
    pixel_error: int

    @property
    def within_limits(self) -> bool:
        return self.latent_error <= MAX_LATENT_ERROR and self.pixel_error <= MAX_PIXEL_ERROR


def difference(ours: Images, reference: Images) -> Difference:
    assert ours.latents.shape == reference.latents.shape
    assert ours.pixels.shape == reference.pixels.shape
    assert np.isfinite(ours.latents).all()
    latent_error = np.abs(ours.latents - reference.latents).max() / np.abs(reference.latents).max()
    pixel_error = np.abs(ours.pixels.astype(int) - reference.pixels.astype(int)).max()
    return Difference(float(latent_error), int(pixel_error))


def assert_same(ours: Images, reference: Images) -> None:
    for image in reference.pixels:
        assert image.std() >= MIN_DEVIATION, "the reference image is too flat to prove anything"
    found = difference(ours, reference)
    print(found)  # `pytest -rP` shows it
    assert found.within_limits, found


def assert_different(ours: Images, reference: Images) -> None:
    found = difference(ours, reference)
    assert not found.within_limits, found
