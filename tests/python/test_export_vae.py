"""--vae puts another VAE in the source's place, from any of its layouts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from original_checkpoint import (
    Tensors,
    component_weights,
    original_checkpoint,
    original_vae,
    save,
)

from tightfit_export.cli import main
from tightfit_export.component_export import plan_weights, write_component_weights
from tightfit_export.errors import SourceError
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress
from tightfit_export.source_pipeline import SourcePipeline
from tightfit_export.tensor_file import TensorFile

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def other_vae(tiny_pipeline_dir: Path) -> Tensors:
    """The VAE with all weights halved."""
    return {key: t / 2 for key, t in component_weights(tiny_pipeline_dir, "vae").items()}


def opened(source: Path, vae: Path, **options: Any) -> SourcePipeline:
    return open_source(SourceOptions(str(source), vae=vae, **options), QUIET)


def written_vae(pipeline: SourcePipeline, folder: Path) -> Tensors:
    """The exported weights, under diffusers' names."""
    path = folder / "written.safetensors"
    write_component_weights(path, "vae", plan_weights(pipeline)["vae"], QUIET)
    file = TensorFile(path, "written")
    return {key: file.read(key) for key in file.tensors}


def vae_directory(folder: Path, source: Path, tensors: Tensors, **changes: Any) -> Path:
    folder.mkdir()
    config = json.loads((source / "vae/config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    save(tensors, folder / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.mark.parametrize("layout", ["directory", "diffusers", "original", "with-prefix"])
def test_a_vae_of_any_layout_takes_the_sources_place(
    tiny_pipeline_dir: Path, other_vae: Tensors, tmp_path: Path, layout: str
) -> None:
    if layout == "directory":
        vae = vae_directory(tmp_path / "vae", tiny_pipeline_dir, other_vae)
        said: dict[str, Any] = {"kind": "diffusers", "name": "vae"}
    else:
        tensors = {
            "diffusers": lambda: other_vae,
            "original": lambda: original_vae(other_vae, prefix=""),
            "with-prefix": lambda: original_vae(other_vae),
        }[layout]()
        vae = save(tensors, tmp_path / "other.safetensors")
        said = {"kind": "single_file", "name": "other.safetensors"}
    pipeline = opened(tiny_pipeline_dir, vae)
    assert pipeline.description["vae"] == said
    assert pipeline.hashed_files == ({} if layout == "directory" else {"vae": vae})
    found = written_vae(pipeline, tmp_path)
    assert len(found) > 50
    for key, tensor in found.items():
        assert torch.equal(tensor, other_vae[key]), key


def test_a_single_file_without_a_vae_takes_one(
    tiny_pipeline_dir: Path, other_vae: Tensors, tmp_path: Path
) -> None:
    tensors = original_checkpoint(tiny_pipeline_dir)
    no_vae = {key: t for key, t in tensors.items() if not key.startswith("first_stage")}
    source = save(no_vae, tmp_path / "model.safetensors")
    vae = save(original_vae(other_vae, prefix=""), tmp_path / "vae.safetensors")
    pipeline = opened(source, vae, config=tiny_pipeline_dir)
    found = written_vae(pipeline, tmp_path)
    assert torch.equal(found["decoder.conv_in.weight"], other_vae["decoder.conv_in.weight"])
    # The same of a checkpoint that has a VAE, whose tensors are then no foreign ones.
    whole = save(tensors, tmp_path / "whole.safetensors")
    pipeline = opened(whole, vae, config=tiny_pipeline_dir)
    assert written_vae(pipeline, tmp_path).keys() == found.keys()


def test_whether_fp16_overflows_is_the_directorys_word_or_the_flags(
    tiny_pipeline_dir: Path, other_vae: Tensors, tmp_path: Path
) -> None:
    def upcasts(vae: Path, **options: Any) -> bool:
        return opened(tiny_pipeline_dir, vae, **options).configs["vae"]["force_upcast"]

    for force_upcast in (True, False):
        folder = tmp_path / f"vae-{force_upcast}"
        vae_directory(folder, tiny_pipeline_dir, other_vae, force_upcast=force_upcast)
        assert upcasts(folder) is force_upcast
        assert upcasts(folder, vae_fp16_safe=True) is False
    file = save(other_vae, tmp_path / "vae.safetensors")
    assert upcasts(file) is True
    assert upcasts(file, vae_fp16_safe=True) is False
    source = SourceOptions(str(tiny_pipeline_dir), vae_fp16_safe=True)
    assert open_source(source, QUIET).configs["vae"]["force_upcast"] is False


def test_the_manifest_names_the_other_vae_and_its_hash(
    without_graphs: None, copy_of_source: Callable[[], Path], other_vae: Tensors, tmp_path: Path
) -> None:
    vae = save(other_vae, tmp_path / "other.safetensors")
    out = tmp_path / "out"
    source = copy_of_source()
    arguments = ["--source", str(source), "--vae", str(vae), "--out", str(out)]
    assert main([*arguments, "--dtypes", "fp32", "--quiet"]) == 0
    content = json.loads((out / "model.json").read_text())
    digest = hashlib.sha256(vae.read_bytes()).hexdigest()
    assert content["source"] == {
        "kind": "diffusers",
        "name": source.name,
        "vae": {"kind": "single_file", "name": "other.safetensors", "sha256": digest},
    }
    assert content["vae"]["force_upcast"] is True
    # Another VAE changes images: a model without a file of its own gets another hash.
    assert content["hash"] != digest


def test_what_is_no_vae_for_sdxl_is_refused(
    tiny_pipeline_dir: Path, other_vae: Tensors, tmp_path: Path
) -> None:
    def refusal(vae: Path) -> str:
        with pytest.raises(SourceError) as refused:
            plan_weights(opened(tiny_pipeline_dir, vae))
        return str(refused.value)

    assert "no such file" in refusal(tmp_path / "no")
    pickle = tmp_path / "vae.pt"
    pickle.write_bytes(b"\x80\x02")
    assert "reads no pickle" in refusal(pickle)
    assert "no VAE" in refusal(save({"a": torch.zeros(1)}, tmp_path / "a.safetensors"))
    less = {key: t for key, t in other_vae.items() if key != "decoder.conv_out.bias"}
    assert "lack decoder.conv_out.bias" in refusal(save(less, tmp_path / "less.safetensors"))
    sixteen = vae_directory(tmp_path / "16", tiny_pipeline_dir, other_vae, latent_channels=16)
    assert "16 latent channels" in refusal(sixteen)
    levels = vae_directory(tmp_path / "3", tiny_pipeline_dir, {}, block_out_channels=[8, 8, 8])
    assert "another size" in refusal(levels)
    tiny_vae = vae_directory(tmp_path / "t", tiny_pipeline_dir, {}, _class_name="AutoencoderTiny")
    assert "AutoencoderTiny" in refusal(tiny_vae)
