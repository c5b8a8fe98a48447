"""`text_kv`: when keys and values of prompts are computed changes memory, never an image."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from client_sides import Client
from emoji_model import MODEL
from server_process import CLI, SERVER, ServerProcess, metric_values

RATIO = "tightfit_memory_prediction_error_ratio_sum"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed") / "model"
    command = [CLI, "pack", MODEL, "--format", "unet=e2m5r", "--out", out, "--quiet"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


def test_images_are_the_same_however_keys_and_values_are_computed(
    packed: Path, tmp_path: Path
) -> None:
    requests: list[dict[str, Any]] = [
        {"seed": 3, "step_count": 4},
        {"seed": 4, "step_count": 3, "guidance_scale": 1.0},
        {"seed": 5, "step_count": 3, "image_count": 3, "negative_prompt": "blue"},
        {"seed": 6, "step_count": 2, "sampler": "heun", "prompt": "red BREAK (apple:1.3)"},
    ]
    images: dict[str, list[bytes]] = {}
    bytes_of: dict[str, int] = {}
    layers: dict[str, int] = {}
    for when in ("step", "request", "streamed"):
        model = f"a={packed},text_kv={when}"
        with ServerProcess(tmp_path, [model]) as server, Client(server.address) as client:
            images[when] = []
            before = 0.0
            for request in requests:
                options = {"prompt": "red apple", **request}
                result = client.generate(options.pop("prompt"), embed_metadata=False, **options)
                images[when] += [image.content for image in result.images]
                ratios = metric_values(server.metrics(), RATIO)
                total = sum(ratios.values())
                assert ratios and total >= before, ("predicted less than it took", request)
                before = total
            bytes_of[when] = server.cli_json("models", "a")["model"]["weight_bytes"]
            components = server.cli_json("models", "a", "--layers")["model"]["components"]
            layers[when] = sum(len(component.get("layers", [])) for component in components)
    assert images["step"] == images["request"] == images["streamed"]
    assert len({*images["step"]}) == len(images["step"]), "a control: requests differ"
    assert bytes_of["step"] == bytes_of["request"] > bytes_of["streamed"] > 0
    assert layers["streamed"] == layers["step"] > 0, "layers that are streamed are still listed"


def test_a_directory_that_is_not_packed_cannot_be_streamed() -> None:
    for model, words in (
        (f"{MODEL},text_kv=streamed", "tightfit pack"),
        (f"{MODEL},text_kv=sometimes", "step"),
    ):
        done = subprocess.run(
            [SERVER, f"--model=a={model}", "--check"], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 78 and done.stderr.count("\n") == 1, done.stderr
        assert "text_kv" in done.stderr and words in done.stderr
