"""Images a few latents wide come out the same each time in bf16, and as in fp32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from client_sides import Client
from emoji_model import MODEL
from server_process import ServerProcess


@pytest.mark.parametrize("packed", ["fp16", "hf8"])
def test_narrow_images_are_the_same_each_time(tmp_path: Path, packed: str) -> None:
    models = [
        f"{dtype}={MODEL},format={packed},compute_dtype={dtype}" for dtype in ("bf16", "fp32")
    ]
    with ServerProcess(tmp_path, models) as server, Client(server.address) as client:

        def draw(model: str, width_px: int, height_px: int) -> np.ndarray:
            result = client.generate(
                "red apple",
                model=model,
                width_px=width_px,
                height_px=height_px,
                step_count=4,
                seed=5,
            )
            return np.asarray(result.images[0].pil, dtype=np.int16)

        for width_px, height_px in ((16, 72), (16, 68), (16, 20)):
            first = draw("bf16", width_px, height_px)
            for _ in range(3):
                assert np.array_equal(draw("bf16", width_px, height_px), first)
            apart = np.abs(first - draw("fp32", width_px, height_px))
            assert apart.mean() < 8, f"{width_px}x{height_px}: {apart.mean()}"
