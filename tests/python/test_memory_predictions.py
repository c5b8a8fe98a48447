"""What a request is predicted to take is never less than it takes, whatever its shape.

TIGHTFIT_FULL=1: with as many images as a request may have, and far more sizes.
"""

from __future__ import annotations

import os
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from client_sides import Client
from emoji_model import MODEL
from PIL import Image
from server_process import ServerProcess, metric_values

FULL = os.environ.get("TIGHTFIT_FULL") == "1"
RATIO = "tightfit_memory_prediction_error_ratio_sum"

# Width, height, images: inner levels of the UNet that are rounded up in one direction or both,
# images so slim that oneDNN is left out, squares between those that are measured.
ROUNDED = [
    (20, 2048, 1),
    (2048, 20, 1),
    (28, 1540, 1),
    (36, 1024, 1),
    (44, 1028, 1),
    (52, 516, 1),
    (68, 508, 1),
    (260, 132, 1),
    (20, 20, 8),
    (20, 36, 8),
    (28, 44, 4),
]
SLIM = [(16, 16, 8), (16, 84, 1), (16, 272, 1), (16, 1028, 1), (1028, 16, 1)]
SQUARES = [(48, 48, 1), (60, 60, 2), (68, 68, 1), (112, 112, 1), (200, 200, 1)]
GUIDANCE = (1.0, 5.0)
CHUNKS = [(32, 32, 1, 16), (32, 32, 8, 4), (64, 64, 4, 8), (20, 20, 8, 16), (128, 128, 2, 16)]
# Drawn over: what the encoder takes decides, but for many images.
DRAWN_OVER = [
    (16, 16, 1),
    (16, 400, 1),
    (400, 16, 1),
    (20, 28, 1),
    (20, 516, 1),
    (132, 260, 2),
    (252, 256, 1),
    (300, 404, 1),
    (48, 48, 8),
]
# The requests whose predictions were too low by up to 11.5 %.
TABLE = [
    (20, 2048, 8),
    (2048, 20, 8),
    (20, 2048, 4),
    (28, 1540, 8),
    (36, 2048, 8),
    (44, 1028, 8),
    (52, 2044, 8),
    (68, 2048, 4),
    (16, 2048, 8),
    (260, 516, 8),
    (508, 508, 4),
]
# More than these there must not be of what is wide enough for oneDNN, with guidance: then the
# smallest kernels' temporaries do not decide.
MAX_ERROR = {"fp32": 0.10, "bf16": 0.25}


class Measured:
    """A server with one model, and how far predictions lie above what requests take."""

    def __init__(self, server: ServerProcess, client: Client) -> None:
        self._server = server
        self._client = client
        self._sum = 0.0

    def error(
        self,
        size: tuple[int, int, int],
        guidance: float,
        chunks: int = 1,
        latents: bool = True,
        **more: Any,
    ) -> float:
        width_px, height_px, count = size
        self._client.generate(
            " BREAK ".join(["(a:1.2)"] * chunks),
            negative_prompt="b",
            width_px=width_px,
            height_px=height_px,
            image_count=count,
            guidance_scale=guidance,
            step_count=1,
            mime_type="application/x-safetensors" if latents else "image/png",
            timeout=600,
            **more,
        )
        total = sum(metric_values(self._server.metrics(), RATIO).values())
        error, self._sum = total - self._sum, total
        return error


@pytest.fixture(
    scope="module",
    params=[("fp32", "fp16"), ("bf16", "fp16"), ("bf16", "e2m5r")],
    ids=lambda param: "-".join(param),
)
def dtype_and_measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    dtype, weights = request.param
    model = f"a={MODEL},format={weights},compute_dtype={dtype}"
    folder = tmp_path_factory.mktemp("server")
    own = str(folder / "profiles")  # predictions are those of a load that measures
    with ServerProcess(folder, [model], "--profile-dir", own) as server:
        with Client(server.address) as client:
            yield dtype, Measured(server, client)


def test_of_every_shape_at_least_what_is_taken_is_predicted(dtype_and_measured) -> None:
    dtype, measured = dtype_and_measured
    too_low = []
    for size, guidance in product(ROUNDED + SLIM + SQUARES, GUIDANCE):
        error = measured.error(size, guidance)
        print(f"{dtype} {size} guidance {guidance}: {100 * error:+.1f} %")
        if error < 0:
            too_low.append((size, guidance, error))
        if guidance > 1 and size in ROUNDED and size[0] * size[1] > 16_384:
            assert error <= MAX_ERROR[dtype], size
    assert not too_low


def test_of_long_prompts_at_least_what_is_taken_is_predicted(dtype_and_measured) -> None:
    dtype, measured = dtype_and_measured
    for *size, chunks in CHUNKS:
        for guidance in GUIDANCE:
            error = measured.error(tuple(size), guidance, chunks)
            print(f"{dtype} {size} {chunks} chunks, guidance {guidance}: {100 * error:+.1f} %")
            assert error >= 0, (size, chunks, guidance)


def test_of_decoding_at_least_what_is_taken_is_predicted(dtype_and_measured) -> None:
    dtype, measured = dtype_and_measured
    for size in [(16, 16, 1), (24, 120, 1), (20, 516, 1), (112, 112, 1), (132, 260, 2)]:
        error = measured.error(size, 5.0, latents=False)
        print(f"{dtype} {size} decoded: {100 * error:+.1f} %")
        assert error >= 0, size


def test_of_images_that_are_drawn_over_at_least_what_is_taken_is_predicted(
    dtype_and_measured,
) -> None:
    dtype, measured = dtype_and_measured
    # The first of them loads the VAE's encoder.
    for width, height, count in [(64, 64, 1), *DRAWN_OVER]:
        image = Image.new("RGB", (width, height), (200, 120, 40))
        mask = Image.new("L", (width, height), 255)
        for more in ({"strength": 1.0}, {"strength": 1.0, "mask": mask}):
            for latents in (True, False):
                error = measured.error(
                    (width, height, count), 1.0, latents=latents, init_image=image, **more
                )
                print(f"{dtype} {width}x{height} {count} drawn over: {100 * error:+.1f} %")
                assert error >= 0, (width, height, count, more, latents)


@pytest.mark.skipif(not FULL, reason="takes many minutes: TIGHTFIT_FULL=1")
def test_of_many_shapes_at_least_what_is_taken_is_predicted(dtype_and_measured) -> None:
    _, measured = dtype_and_measured
    chosen = random.Random(24)
    sizes = list(TABLE)
    while len(sizes) < 300:
        width_px, height_px = (4 * chosen.randint(4, 512) for _ in range(2))
        count = chosen.choice((1, 1, 2, 4, 8))
        if width_px * height_px * count <= 300_000:
            sizes.append((width_px, height_px, count))
    for size in sizes:
        guidance = chosen.choice(GUIDANCE)
        chunks = chosen.choice((1, 1, 1, 2, 5, 16))
        error = measured.error(size, guidance, chunks, latents=chosen.random() < 0.7)
        assert error >= 0, (size, guidance, chunks, error)
