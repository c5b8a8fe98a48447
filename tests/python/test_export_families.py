"""Pipelines of SD 1.x's and 2.x's kind are exported, from directories and single files alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from original_checkpoint import sd_checkpoint
from safetensors.torch import load_file, save_file
from tightfit_export.bundled_configs import bundled
from tightfit_export.cli import main
from tightfit_export.families import SD1, SD2, SDXL, family_of
from tiny_model import tiny_root

KINDS = {"tiny-sd1": SD1, "tiny-sd2": SD2}


def manifest_of(model: Path) -> dict[str, Any]:
    return json.loads((model / "model.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_says_what_its_family_has(kind: str) -> None:
    manifest = manifest_of(tiny_root(kind) / "model")
    assert manifest["schema_version"] == 3 and manifest["family"] == KINDS[kind].name
    assert list(manifest["components"]) == ["unet", "text_encoder", "vae", "vae_encoder"]
    unet = manifest["components"]["unet"]
    assert unet["inputs"] == ["sample", "timestep", "encoder_hidden_states"]
    assert manifest["components"]["text_encoder"]["outputs"] == ["hidden_states"]
    assert list(manifest["tokenizers"]) == ["tokenizer"] and manifest["time_ids"] == []
    text = manifest["text"]
    assert text["encoders"] == [{"component": "text_encoder", "tokenizer": "tokenizer"}]
    assert text["pooled_size"] == 0 and text["usual_clip_skip"] == 1
    assert manifest["vae"]["scaling_factor"] == 0.18215
    assert manifest["vae"]["force_upcast"] is False
    assert manifest["force_zeros_for_empty_prompt"] is False
    assert manifest["defaults"]["guidance_scale"] == 7.5
    expected = "v_prediction" if kind == "tiny-sd2" else "epsilon"
    assert manifest["prediction_type"] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_file_gives_the_weights_of_its_directory(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tiny_root(kind)
    file = tmp_path / "model.safetensors"
    save_file(sd_checkpoint(root / "source"), file)
    arguments = ["--source", str(file), "--config", str(root / "source"), "--quiet"]
    assert main([*arguments, "--dtypes", "fp32", "--out", str(tmp_path / "model")]) == 0
    assert manifest_of(tmp_path / "model")["family"] == KINDS[kind].name
    for component in ("unet", "text_encoder", "vae", "vae_encoder"):
        name = f"{component}.safetensors"
        expected = load_file(root / "model" / name)
        found = load_file(tmp_path / "model" / name)
        assert found.keys() == expected.keys()
        assert all(found[key].equal(expected[key]) for key in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_size_names_its_own_family(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.safetensors"
    save_file(sd_checkpoint(tiny_root(kind) / "source"), file)
    assert main(["--source", str(file), "--out", str(tmp_path / "model"), "--quiet"]) == 2
    assert KINDS[kind].shown in capsys.readouterr().err


@pytest.mark.parametrize("family", [SD1, SD2, SDXL], ids=lambda family: family.name)
def test_the_bundled_configuration_is_of_its_family(family: Any) -> None:
    index, configs, _ = bundled(family)
    assert family_of(index["_class_name"], configs["unet"]) is family
    assert tuple(configs) == family.components


def test_bundled_networks_have_the_sizes_of_the_released_ones() -> None:
    from tightfit_export import architecture

    # As their model cards and diffusers tell.
    counts = [(SD1, 859_520_964, 123_060_480), (SD2, 865_910_724, 340_387_840)]
    for family, unet, text_encoder in counts:
        configs = bundled(family)[1]
        for component, count in (("unet", unet), ("text_encoder", text_encoder)):
            module = architecture.build(component, configs[component], family)
            assert sum(each.numel() for each in module.parameters()) == count, family.name
