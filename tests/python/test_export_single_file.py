"""A single-file checkpoint exports to the same bytes as its diffusers directory."""

from __future__ import annotations

import hashlib
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.loaders import single_file_utils
from original_checkpoint import (
    Tensors,
    component_weights,
    original_checkpoint,
    save,
    with_extras,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from tightfit_export import architecture
from tightfit_export.bundled_configs import sdxl_base
from tightfit_export.cli import main
from tightfit_export.component_export import plan_weights
from tightfit_export.errors import SourceError
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.original_layout import places
from tightfit_export.progress import Progress
from tightfit_export.source_pipeline import SourcePipeline
from tightfit_export.tensor_file import TensorFile


@pytest.fixture(scope="module")
def tensors(tiny_pipeline_dir: Path) -> Tensors:
    return original_checkpoint(tiny_pipeline_dir)


@pytest.fixture(scope="module")
def checkpoint(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(with_extras(tensors), tmp_path_factory.mktemp("single") / "tiny.safetensors")


def opened(path: Path, config: Path | None, **options: Any) -> SourcePipeline:
    return open_source(SourceOptions(str(path), config=config, **options), Progress(quiet=True))


def test_a_single_file_exports_to_the_bytes_of_its_diffusers_directory(
    checkpoint: Path,
    tiny_pipeline_dir: Path,
    tiny_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    arguments = ["--source", str(checkpoint), "--config", str(tiny_pipeline_dir)]
    assert main([*arguments, "--out", str(out), "--dtypes", "fp32,bf16", "--name", "tiny"]) == 0
    names = {p.relative_to(tiny_model_dir) for p in tiny_model_dir.rglob("*") if p.is_file()}
    assert {p.relative_to(out) for p in out.rglob("*") if p.is_file()} == names
    for name in sorted(names - {Path("model.json")}):
        assert (out / name).read_bytes() == (tiny_model_dir / name).read_bytes(), name

    content = json.loads((out / "model.json").read_text(encoding="utf-8"))
    expected = json.loads((tiny_model_dir / "model.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    source = {"kind": "single_file", "name": "tiny.safetensors", "sha256": digest}
    # The hash is what web UIs show of the file.
    assert content == expected | {"name": "tiny", "source": source, "hash": digest}
    assert f"model hash {digest[:10]}, that of tiny.safetensors" in capsys.readouterr().out


def test_the_checkpoint_of_these_tests_is_what_diffusers_takes_for_original(
    tensors: Tensors, tiny_pipeline_dir: Path
) -> None:
    """A control: diffusers' own converters turn it back."""
    config = json.loads((tiny_pipeline_dir / "unet/config.json").read_text())
    unet = single_file_utils.convert_ldm_unet_checkpoint(dict(tensors), config)
    assert_equal(unet, component_weights(tiny_pipeline_dir, "unet"))
    config = json.loads((tiny_pipeline_dir / "vae/config.json").read_text())
    vae = single_file_utils.convert_ldm_vae_checkpoint(dict(tensors), config)
    assert_equal(vae, component_weights(tiny_pipeline_dir, "vae"))
    config = json.loads((tiny_pipeline_dir / "text_encoder_2/config.json").read_text())
    encoder = CLIPTextModelWithProjection(CLIPTextConfig.from_dict(config))
    text_2 = single_file_utils.convert_open_clip_checkpoint(
        encoder, dict(tensors), prefix="conditioner.embedders.1.model."
    )
    assert_equal(text_2, component_weights(tiny_pipeline_dir, "text_encoder_2"))


def assert_equal(found: Tensors, expected: Tensors) -> None:
    assert set(found) == set(expected)
    for key, tensor in expected.items():
        assert torch.equal(found[key], tensor), key


def test_diffusers_loads_the_single_file_as_we_do(
    checkpoint: Path, tiny_pipeline_dir: Path
) -> None:
    theirs = StableDiffusionXLPipeline.from_single_file(
        str(checkpoint), config=str(tiny_pipeline_dir), local_files_only=True, dtype=torch.float16
    )
    plans = plan_weights(opened(checkpoint, tiny_pipeline_dir))
    assert "vae_encoder" in plans
    for component, plan in plans.items():
        network = "vae" if component == "vae_encoder" else component
        state = getattr(theirs, network).state_dict()
        for name, key in plan.keys.items():
            assert torch.equal(plan.source.read(key).reshape(state[name].shape), state[name]), name


@pytest.mark.parametrize("component", ["unet", "vae", "vae_encoder"])
def test_every_key_of_full_size_is_where_diffusers_finds_it(component: str) -> None:
    config = sdxl_base()[1]["unet" if component == "unet" else "vae"]
    names = [name for name, _ in architecture.build(component, config).named_parameters()]
    placed = places(component, names, config)
    keys = [place.key for place in placed.values()]
    assert len(set(keys)) == len(names)
    # A tag in place of each tensor tells where diffusers moves it.
    tags = {key: torch.tensor([float(index)]) for index, key in enumerate(keys)}
    if component == "unet":
        assert len(names) == 1680
        converted = single_file_utils.convert_ldm_unet_checkpoint(dict(tags), config)
    else:
        converted = single_file_utils.convert_ldm_vae_checkpoint(dict(tags), config)
    assert set(converted) == set(names)
    for name in names:
        assert torch.equal(converted[name], tags[placed[name].key]), name


def test_the_bundled_configuration_is_sdxl_bases() -> None:
    counts = {}
    configs = sdxl_base()[1]
    for component, config in [*configs.items(), ("vae_encoder", configs["vae"])]:
        module = architecture.build(component, config)
        counts[component] = sum(parameter.numel() for parameter in module.parameters())
    assert counts == {
        "unet": 2_567_463_684,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
        "vae": 49_490_199,
        "vae_encoder": 34_163_664,
    }


def test_tensors_are_read_one_at_a_time(
    checkpoint: Path, tiny_pipeline_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tightfit_export.component_export import write_component_weights

    alive: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    most = 0
    read = TensorFile.read

    def counted(file: TensorFile, key: str) -> torch.Tensor:
        nonlocal most
        tensor = read(file, key)
        alive.add(tensor)
        most = max(most, len(alive))
        return tensor

    monkeypatch.setattr(TensorFile, "read", counted)
    plans = plan_weights(opened(checkpoint, tiny_pipeline_dir))
    write_component_weights(tmp_path / "u", "unet", plans["unet"], Progress(quiet=True))
    assert 1 <= most <= 2


def test_a_smaller_network_than_sdxl_base_needs_its_configuration(checkpoint: Path) -> None:
    with pytest.raises(SourceError, match="lacks .* more of SDXL's; --config"):
        plan_weights(opened(checkpoint, None))


def test_missing_and_foreign_tensors_are_named(
    tensors: Tensors, tiny_pipeline_dir: Path, tmp_path: Path
) -> None:
    def refusal(changed: Tensors) -> str:
        path = save(changed, tmp_path / "changed.safetensors")
        with pytest.raises(SourceError) as refused:
            plan_weights(opened(path, tiny_pipeline_dir))
        return str(refused.value)

    key = "model.diffusion_model.middle_block.1.proj_in.weight"
    less = {name: tensor for name, tensor in tensors.items() if name != key}
    assert refusal(less).startswith(f"changed.safetensors lacks {key} of SDXL's")
    extra = {f"model.diffusion_model.extra.{i}": torch.zeros(1) for i in range(5)}
    line = refusal(tensors | extra)
    assert "extra.0, model.diffusion_model.extra.1, " in line and "and 2 more that SDXL" in line
    wrong = tensors | {key: torch.zeros(3, 5)}
    assert "proj_in.weight has shape [3, 5]" in refusal(wrong)
    fused = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"
    assert "shape" in refusal(tensors | {fused: torch.zeros(100, 48)})


def test_a_projection_that_a_converter_wrote_as_a_linear_layer_is_the_same(
    tensors: Tensors, tiny_pipeline_dir: Path, tmp_path: Path
) -> None:
    key = "conditioner.embedders.1.model.text_projection"
    changed = dict(tensors)
    changed[f"{key}.weight"] = changed.pop(key).T
    plan = plan_weights(opened(save(changed, tmp_path / "x.safetensors"), tiny_pipeline_dir))
    expected = component_weights(tiny_pipeline_dir, "text_encoder_2")["text_projection.weight"]
    source = plan["text_encoder_2"].source
    assert torch.equal(source.read("text_projection.weight"), expected)


def test_types_that_cannot_be_exported_are_refused_before_anything_is_written(
    tensors: Tensors, tiny_pipeline_dir: Path, tmp_path: Path
) -> None:
    key = "model.diffusion_model.out.2.weight"
    changed = tensors | {key: tensors[key].to(torch.int8)}
    path = save(changed, tmp_path / "int8.safetensors")
    with pytest.raises(SourceError, match=r"is quantised: I8 without scales .*; take the model"):
        opened(path, tiny_pipeline_dir)


@pytest.mark.parametrize(
    ("marks", "flags", "prediction_type", "zero_snr"),
    [
        ((), {}, "epsilon", False),
        (("v_pred",), {}, "v_prediction", False),
        (("v_pred", "ztsnr"), {}, "v_prediction", True),
        ((), {"prediction_type": "v_prediction"}, "v_prediction", False),
        (("v_pred",), {"prediction_type": "epsilon"}, "epsilon", False),
        (
            (),
            {"prediction_type": "v_prediction", "zero_terminal_snr": True},
            "v_prediction",
            True,
        ),
    ],
)
def test_v_prediction_is_taken_from_the_files_marks_or_the_flag(
    tensors: Tensors,
    tmp_path: Path,
    tiny_pipeline_dir: Path,
    marks: tuple[str, ...],
    flags: dict[str, Any],
    prediction_type: str,
    zero_snr: bool,
) -> None:
    marked = tensors | {mark: torch.zeros(0) for mark in marks}
    path = save(marked, tmp_path / "marked.safetensors")
    pipeline = opened(path, tiny_pipeline_dir, **flags)
    plan_weights(pipeline)  # the marks are no foreign tensors
    assert pipeline.prediction_type == prediction_type
    assert pipeline.scheduler.get("rescale_betas_zero_snr", False) is zero_snr
    assert (pipeline.scheduler["timestep_spacing"] == "trailing") is zero_snr
