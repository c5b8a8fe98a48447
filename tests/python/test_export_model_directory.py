"""A model directory holds what MODEL_DIRECTORY.md promises and computes what diffusers computes."""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tightfit_export.cli import main
from transformers import CLIPTextModel, CLIPTextModelWithProjection

COMPONENTS = ("unet", "text_encoder", "text_encoder_2", "vae")
GRAPHS = ("unet", "text_encoder", "text_encoder_2", "vae_decoder")
ENCODER = "vae_encoder"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@pytest.fixture(scope="module")
def manifest(tiny_model_dir: Path) -> dict[str, Any]:
    return json.loads((tiny_model_dir / "model.json").read_text(encoding="utf-8"))


def listed_files(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    files = []
    for component in manifest["components"].values():
        files += [component["weights"], *component["graphs"].values()]
    for tokenizer in manifest["tokenizers"].values():
        files += tokenizer.values()
    return files


def load_graph(path: Path) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(str(path))


def test_every_file_is_listed_with_its_size_and_sha256(
    tiny_model_dir: Path, manifest: dict[str, Any]
) -> None:
    names = set()
    for entry in listed_files(manifest):
        data = (tiny_model_dir / entry["file"]).read_bytes()
        assert entry["bytes"] == len(data)
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        names.add(entry["file"])
    found = {str(p.relative_to(tiny_model_dir)) for p in tiny_model_dir.rglob("*") if p.is_file()}
    assert found == names | {"model.json"}
    assert {f"{graph}.{dtype}.ts" for graph in GRAPHS for dtype in DTYPES} <= names
    assert f"{ENCODER}.fp32.ts" in names
    assert {
        f"{tokenizer}/{file}"
        for tokenizer in ("tokenizer", "tokenizer_2")
        for file in ("vocab.json", "merges.txt", "tokenizer_config.json")
    } <= names


def test_manifest_says_what_the_source_says(
    tiny_pipeline_dir: Path, manifest: dict[str, Any]
) -> None:
    scheduler = json.loads((tiny_pipeline_dir / "scheduler/scheduler_config.json").read_text())
    assert manifest["schema_version"] == 3
    assert manifest["name"] == "model"
    assert manifest["family"] == "sdxl"
    assert manifest["source"] == {"kind": "random", "name": "tiny", "seed": 0}
    assert manifest["prediction_type"] == "epsilon"
    assert manifest["scheduler"] == scheduler
    assert manifest["vae"] == {
        "scaling_factor": 0.13025,
        "shift_factor": None,
        "force_upcast": False,
        "latent_channels": 4,
        "sample_size_px": 64,
    }
    assert manifest["pixels_per_latent"] == 8
    assert manifest["force_zeros_for_empty_prompt"] is True
    assert manifest["defaults"] == {
        "width_px": 64,
        "height_px": 64,
        "step_count": 25,
        "guidance_scale": 5.0,
        "sampler": "euler",
    }
    assert manifest["text"] == {
        "max_length": 77,
        "embedding_size": 80,
        "pooled_size": 48,
        "max_clip_skip": 2,
        "usual_clip_skip": 2,
        "encoders": [
            {"component": "text_encoder", "tokenizer": "tokenizer"},
            {"component": "text_encoder_2", "tokenizer": "tokenizer_2"},
        ],
    }


def test_hash_is_that_of_the_weight_files(tiny_model_dir: Path, manifest: dict[str, Any]) -> None:
    lines = ""
    for component in COMPONENTS:
        data = (tiny_model_dir / f"{component}.safetensors").read_bytes()
        lines += f"{component} {hashlib.sha256(data).hexdigest()}\n"
    assert manifest["hash"] == hashlib.sha256(lines.encode()).hexdigest()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("component", "graph"), list(zip(COMPONENTS, GRAPHS, strict=True)))
def test_weight_keys_are_the_paths_of_the_graphs_empty_parameters(
    tiny_model_dir: Path, manifest: dict[str, Any], component: str, graph: str, dtype: str
) -> None:
    weights = load_file(tiny_model_dir / f"{component}.safetensors")
    parameters = dict(load_graph(tiny_model_dir / f"{graph}.{dtype}.ts").named_parameters())
    assert set(parameters) == set(weights)
    assert {tuple(p.shape) for p in parameters.values()} == {(0,)}
    assert {p.dtype for p in parameters.values()} == {DTYPES[dtype]}
    assert {w.dtype for w in weights.values()} == {torch.float16}
    count = sum(weight.numel() for weight in weights.values())
    assert manifest["components"][component]["parameter_count"] == count


HALVES_OF_VAE = {"vae": ("decoder.", "post_quant_conv."), ENCODER: ("encoder.", "quant_conv.")}


@pytest.mark.parametrize("component", [*COMPONENTS, ENCODER])
def test_weights_are_the_sources_bit_for_bit(
    tiny_model_dir: Path, tiny_pipeline_dir: Path, component: str
) -> None:
    part = "vae" if component == ENCODER else component
    (source_file,) = (tiny_pipeline_dir / part).glob("*.safetensors")
    source, written = load_file(source_file), load_file(tiny_model_dir / f"{component}.safetensors")
    if component in HALVES_OF_VAE:
        kept = HALVES_OF_VAE[component]
        source = {k: v for k, v in source.items() if k.startswith(kept)}
    assert set(source) == set(written)
    for key, tensor in source.items():
        assert torch.equal(tensor, written[key]), key


def runnable(directory: Path, component: str, graph: str, dtype: str) -> torch.jit.ScriptModule:
    """The graph with the written weights, as a server would set them."""
    module = load_graph(directory / f"{graph}.{dtype}.ts")
    weights = load_file(directory / f"{component}.safetensors")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(False)
        parameter.data = weights[name].to(DTYPES[dtype])
    return module


# Batch, latent height and width: none is what the graphs were traced at.
SIZES = ((1, 8, 8), (3, 11, 20), (1, 24, 13))


@pytest.mark.parametrize("dtype", DTYPES)
def test_unet_graph_equals_diffusers(
    tiny_model_dir: Path, tiny_pipeline_dir: Path, dtype: str
) -> None:
    unet = UNet2DConditionModel.from_pretrained(
        tiny_pipeline_dir / "unet", dtype=DTYPES[dtype], use_safetensors=True
    )
    graph = runnable(tiny_model_dir, "unet", "unet", dtype)
    generator = torch.Generator().manual_seed(5)
    for batch, height, width in SIZES:
        sample = torch.randn(batch, 4, height, width, generator=generator).to(DTYPES[dtype])
        text = torch.randn(batch, 77, 80, generator=generator).to(DTYPES[dtype])
        pooled = torch.randn(batch, 48, generator=generator).to(DTYPES[dtype])
        timestep = torch.tensor([999.0, 1.0, 441.0])[:batch]
        time_ids = torch.tensor([[1031.0, 64.0, 0.0, 7.0, 1024.0, 999.0]]).repeat(batch, 1)
        added = {"text_embeds": pooled, "time_ids": time_ids}
        with torch.no_grad(), torch.jit.optimized_execution(False):
            expected = unet(sample, timestep, text, added_cond_kwargs=added).sample
            found = graph(sample, timestep, text, pooled, time_ids)
        assert found.dtype == DTYPES[dtype]
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("component", "network"),
    [("text_encoder", CLIPTextModel), ("text_encoder_2", CLIPTextModelWithProjection)],
)
def test_text_encoder_graph_equals_transformers(
    tiny_model_dir: Path, tiny_pipeline_dir: Path, component: str, network: type, dtype: str
) -> None:
    encoder = network.from_pretrained(
        tiny_pipeline_dir / component, dtype=DTYPES[dtype], use_safetensors=True
    )
    graph = runnable(tiny_model_dir, component, component, dtype)
    for batch in (1, 3):
        ids = torch.randint(0, 49406, (batch, 77), generator=torch.Generator().manual_seed(batch))
        ids[:, 0] = 49406
        for row in range(batch):
            ids[row, 9 + 20 * row :] = 49407
        with torch.no_grad(), torch.jit.optimized_execution(False):
            expected = encoder(ids, output_hidden_states=True)
            hidden, pooled = graph(ids)
        for skip, states in enumerate(hidden):
            assert torch.equal(states, expected.hidden_states[-2 - skip])
        assert len(hidden) == len(expected.hidden_states) - 1
        if component == "text_encoder_2":
            assert torch.equal(pooled, expected.text_embeds)


@pytest.mark.parametrize("dtype", DTYPES)
def test_vae_graph_equals_diffusers(
    tiny_model_dir: Path, tiny_pipeline_dir: Path, dtype: str
) -> None:
    vae = AutoencoderKL.from_pretrained(
        tiny_pipeline_dir / "vae", dtype=DTYPES[dtype], use_safetensors=True
    )
    graph = runnable(tiny_model_dir, "vae", "vae_decoder", dtype)
    for batch, height, width in ((1, 8, 8), (3, 5, 12)):
        generator = torch.Generator().manual_seed(batch)
        latents = torch.randn(batch, 4, height, width, generator=generator).to(DTYPES[dtype])
        with torch.no_grad(), torch.jit.optimized_execution(False):
            expected, found = vae.decode(latents).sample, graph(latents)
        assert found.shape == (batch, 3, 8 * height, 8 * width)
        assert torch.equal(found, expected)


def test_vae_encoder_graph_equals_diffusers(
    tiny_model_dir: Path, tiny_pipeline_dir: Path, manifest: dict[str, Any]
) -> None:
    vae = AutoencoderKL.from_pretrained(
        tiny_pipeline_dir / "vae", dtype=torch.float32, use_safetensors=True
    )
    graph = runnable(tiny_model_dir, ENCODER, ENCODER, "fp32")
    entry = manifest["components"][ENCODER]
    assert list(entry["graphs"]) == ["fp32"]
    weights = load_file(tiny_model_dir / f"{ENCODER}.safetensors")
    assert set(dict(graph.named_parameters())) == set(weights)
    assert entry["parameter_count"] == sum(weight.numel() for weight in weights.values())
    for batch, height, width in ((1, 64, 64), (3, 40, 96), (1, 8, 136)):
        images = torch.rand(batch, 3, height, width) * 2 - 1
        with torch.no_grad(), torch.jit.optimized_execution(False):
            expected, found = vae.encode(images).latent_dist.parameters, graph(images)
        assert found.shape == (batch, 8, height // 8, width // 8)
        assert torch.equal(found, expected)
        assert found.std() > 0.01


def test_without_image_inputs_the_encoder_is_left_out_and_all_else_is_equal(
    tiny_pipeline_dir: Path, tiny_model_dir: Path, tmp_path: Path, without_graphs: None
) -> None:
    out = tmp_path / "out"
    arguments = ["--source", str(tiny_pipeline_dir), "--out", str(out), "--quiet"]
    assert main([*arguments, "--no-image-inputs"]) == 0
    content = json.loads((out / "model.json").read_text())
    assert tuple(content["components"]) == COMPONENTS
    whole = json.loads((tiny_model_dir / "model.json").read_text())
    assert tuple(whole["components"]) == (*COMPONENTS, ENCODER)
    assert content["hash"] == whole["hash"]
    for component in COMPONENTS:
        weights = content["components"][component]["weights"]
        assert weights == whole["components"][component]["weights"]
    assert not list(out.glob(f"{ENCODER}*"))


def test_a_vae_without_an_encoder_is_exported_with_a_note(
    copy_of_source: Callable[[], Path],
    tmp_path: Path,
    without_graphs: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = copy_of_source()
    (file,) = (source / "vae").glob("*.safetensors")
    decoder = {k: v for k, v in load_file(file).items() if k.startswith(HALVES_OF_VAE["vae"])}
    file.unlink()
    save_file(decoder, file)
    arguments = ["--source", str(source), "--out", str(tmp_path / "out"), "--json", "--quiet"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["notes"] == ["the VAE has no encoder: the model will take no images as inputs"]
    content = json.loads((tmp_path / "out" / "model.json").read_text())
    assert tuple(content["components"]) == COMPONENTS


@pytest.mark.parametrize("graph", GRAPHS)
def test_graph_archives_hold_nothing_of_the_exporting_machine(
    tiny_model_dir: Path, graph: str
) -> None:
    path = tiny_model_dir / f"{graph}.fp32.ts"
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
            assert not info.filename.endswith(".debug_pkl")
            assert "traced_inputs" not in info.filename
            data = archive.read(info)
            assert b"site-packages" not in data and b"/home" not in data and b"/root" not in data
            start = info.header_offset + 30 + len(info.filename) + len(info_extra(path, info))
            assert start % 64 == 0


def info_extra(path: Path, info: zipfile.ZipInfo) -> bytes:
    """The extra field of a record's local header."""
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name_length = int.from_bytes(file.read(2), "little")
        extra_length = int.from_bytes(file.read(2), "little")
        file.seek(name_length, 1)
        return file.read(extra_length)
