"""--random sdxl-base: SDXL's own shapes, weights made one by one, activations that stay finite."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tightfit_export import COMPONENTS, architecture, random_base
from tightfit_export.bundled_configs import sdxl_base
from tightfit_export.cli import main
from tightfit_export.random_base import RandomTensors
from tightfit_export.source_pipeline import SourcePipeline


def tensors_of(component: str, seed: int = 0) -> RandomTensors:
    module = architecture.build(component, sdxl_base()[1][component])
    return RandomTensors(component, module, seed)


def test_values_depend_on_seed_and_name_alone() -> None:
    first, second = tensors_of("vae"), tensors_of("vae")
    names = [name for name in first.tensors if ".resnets.0.conv1.weight" in name]
    assert len(names) > 3
    forward = [first.read(name) for name in names]
    backward = [second.read(name) for name in reversed(names)][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert one.dtype == torch.float16 and torch.equal(one, other)
    assert not torch.equal(forward[0], tensors_of("vae", seed=1).read(names[0]))


def test_layers_neither_grow_nor_shrink_what_passes_them() -> None:
    unet = tensors_of("unet")
    for name in ("mid_block.attentions.0.transformer_blocks.3.attn1.to_q.weight", "conv_in.weight"):
        weight = unet.read(name).float()
        expected = min(0.09, 1 / math.sqrt(weight[0].numel()))
        assert weight.std().item() == pytest.approx(expected, rel=0.03), name
        assert weight.abs().max() <= 0.5
    norm = unet.read("mid_block.resnets.0.norm1.weight").float()
    assert norm.mean().item() == pytest.approx(1, abs=0.02)


@pytest.fixture
def small_base(tiny_pipeline_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small pipeline's configurations in place of SDXL base's."""

    def read(name: str) -> dict[str, Any]:
        return json.loads((tiny_pipeline_dir / name).read_text(encoding="utf-8"))

    configs = {component: read(f"{component}/config.json") for component in COMPONENTS}
    small = (read("model_index.json"), configs, read("scheduler/scheduler_config.json"))
    monkeypatch.setattr(random_base, "bundled", lambda family: small)


def test_bf16_graphs_alone_are_exported_with_an_fp32_vae(
    small_base: None, tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--random", "sdxl-base", "--seed", "3", "--dtypes", "bf16", "--out", str(out)]
    assert main([*arguments, "--quiet", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["source"] == {"kind": "random", "name": "sdxl-base", "seed": 3}
    assert summary["peak_memory_bytes"] > 100e6 and summary["notes"] == []
    content = json.loads((out / "model.json").read_text(encoding="utf-8"))
    assert content["name"] == "out"
    graphs = {name: list(part["graphs"]) for name, part in content["components"].items()}
    assert graphs == {
        "unet": ["bf16"],
        "text_encoder": ["bf16"],
        "text_encoder_2": ["bf16"],
        "vae": ["fp32", "bf16"],
        "vae_encoder": ["fp32"],
    }
    # The packaged vocabulary is CLIP's.
    for tokenizer in ("tokenizer", "tokenizer_2"):
        for path in sorted((tiny_model_dir / tokenizer).iterdir()):
            assert (out / tokenizer / path.name).read_bytes() == path.read_bytes()


def test_half_of_the_width_is_a_pipeline_of_its_own() -> None:
    half = random_base.random_base(0, random_base.HALF)
    base = random_base.random_base(0)

    def count(part: str, pipeline: SourcePipeline) -> int:
        module = architecture.build(part, pipeline.configs[part])
        return sum(parameter.numel() for parameter in module.parameters())

    assert count("unet", half) < 0.3 * count("unet", base)
    total = sum(count(part, half) for part in COMPONENTS if part != "vae")
    assert 2 * total == pytest.approx(2.4e9, rel=0.02)
    assert half.identity() != base.identity()


def test_activations_of_a_full_size_block_are_finite_in_16_bits() -> None:
    config = sdxl_base()[1]["text_encoder"]
    module = architecture.build("text_encoder", config)
    source = RandomTensors("text_encoder", module, 0)
    weights = {name: source.read(name).to(torch.bfloat16) for name in source.tensors}
    architecture.set_weights(module, weights)
    inputs = architecture.example_inputs(
        "text_encoder",
        config,
        dtype=torch.bfloat16,
        batch=1,
        latent_size=(8, 8),
        pooled_size=1,
        seed=1,
    )
    with torch.no_grad():
        hidden = module(*inputs)[0]
    assert torch.isfinite(hidden).all()
    assert 0.1 < hidden.float().std() < 100
