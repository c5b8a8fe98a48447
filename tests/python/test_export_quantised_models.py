"""Whole models whose weights are quantised: what is written, and what the person is told."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from emoji_checkpoint import DIFFUSERS, edited_directory, plain_tensors, save_checkpoint
from original_checkpoint import Tensors, component_weights
from quantised_files import described, golden, opened
from safetensors.torch import load_file, save_file
from server_process import BUILD

from tightfit_export.cli import main
from tightfit_export.component_export import plan_weights
from tightfit_export.errors import SourceError
from tightfit_export.held_exactly import formats_that_hold
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress

UNET = "model.diffusion_model."
FP8 = torch.float8_e4m3fn
WEIGHTS = BUILD / "bin" / "tightfit-weights"


def exported(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str], *flags: str
) -> dict[str, Any]:
    """The summary of an export without graphs."""
    arguments = ["--source", str(source), "--out", str(out), "--dtypes", "fp32", "--json", *flags]
    assert main([*arguments, "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)


def in_fp8(tensors: Tensors, prefix: str = UNET) -> Tensors:
    return {
        key: each.to(FP8) if key.startswith(prefix) and each.dim() > 1 else each
        for key, each in tensors.items()
    }


@pytest.mark.usefixtures("without_graphs")
def test_a_checkpoint_in_fp8_is_written_exactly_and_named_a_format_that_holds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = in_fp8(plain_tensors())
    path = save_checkpoint(tmp_path / "fp8.safetensors", tensors)
    summary = exported(path, tmp_path / "fp8", capsys, "--config", str(DIFFUSERS))
    assert summary["suggested_format"] == {"format": "fp8-e4m3", "scope": "linear+conv"}
    count = sum(each.dtype == FP8 for each in tensors.values())
    assert summary["restored"] == {"unet": {"fp8 (e4m3)": count}}
    assert any("fp8 (e4m3); they are written restored" in note for note in summary["notes"])
    written = load_file(tmp_path / "fp8" / "unet.safetensors")
    for name, each in component_weights(DIFFUSERS, "unet").items():
        meant = each.to(FP8).half() if each.dim() > 1 else each
        assert torch.equal(written[name], meant), name


@pytest.mark.usefixtures("without_graphs")
def test_a_whole_checkpoint_of_comfyui_with_scales_and_a_weight_of_zeros(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = plain_tensors()
    meant: Tensors = {}
    for key in [key for key, each in tensors.items() if each.dim() == 2 and key.startswith(UNET)]:
        weight = tensors[key].float()
        scale = (weight.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-9)
        layer = key.removesuffix(".weight")
        tensors[key] = (weight / scale).round().to(torch.int8)
        tensors[f"{layer}.weight_scale"] = scale
        tensors[f"{layer}.comfy_quant"] = described({"format": "int8_tensorwise"})
        meant[key] = (tensors[key].float() * scale).half()
    zeros = f"{UNET}time_embed.0"
    tensors[f"{zeros}.weight"] = torch.full((384, 96), float("nan")).to(FP8)
    tensors[f"{zeros}.weight_scale"] = torch.zeros(())
    tensors[f"{zeros}.comfy_quant"] = described({"format": "float8_e4m3fn"})
    path = save_checkpoint(tmp_path / "int8.safetensors", tensors)
    out = tmp_path / "out"
    summary = exported(path, out, capsys, "--config", str(DIFFUSERS))
    kinds = {"int8 with scales": len(meant) - 1, "fp8 (e4m3) with scales": 1}
    assert summary["restored"] == {"unet": kinds}
    told = [note for note in summary["notes"] if "rows of zeros" in note]
    assert len(told) == 1 and "time_embedding.linear_1.weight" in told[0] and "384" in told[0]
    written = load_file(out / "unet.safetensors")
    assert not bool(written["time_embedding.linear_1.weight"].any())
    assert torch.equal(
        written["time_embedding.linear_2.weight"], meant[f"{UNET}time_embed.2.weight"]
    )
    # Scales that are no fp16 numbers: nothing of the server's holds these values, but for zeros.
    assert summary["suggested_format"] == {}
    held = summary["held_exactly"]["unet"]
    assert held["restored_count"] == len(meant) and held["exact_count"] == 1


@pytest.mark.usefixtures("without_graphs")
def test_each_component_is_told_which_format_holds_its_restored_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """fp8 in the UNet; of a text encoder int8 with fp16 scales, but for one layer's of fp32."""
    tensors = in_fp8(plain_tensors())
    encoder = "conditioner.embedders.0.transformer."
    keys = [
        key
        for key, each in tensors.items()
        if key.startswith(encoder) and each.dim() == 2 and "embedding" not in key
    ]
    for number, key in enumerate(sorted(keys)):
        weight = tensors[key].float()
        scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-6) / 127
        scale = scale if number == 0 else scale.half().float()
        layer = key.removesuffix(".weight")
        tensors[key] = (weight / scale).round().clamp(-127, 127).to(torch.int8)
        tensors[f"{layer}.weight_scale"] = scale
        tensors[f"{layer}.comfy_quant"] = described({"format": "int8_tensorwise"})
    path = save_checkpoint(tmp_path / "mixed.safetensors", tensors)
    summary = exported(path, tmp_path / "out", capsys, "--config", str(DIFFUSERS))
    count = sum(each.dtype == FP8 for each in tensors.values())
    held = {"format": "q8", "exact_count": len(keys) - 1, "restored_count": len(keys)}
    assert summary["held_exactly"] == {
        "unet": {"format": "fp8-e4m3", "exact_count": count, "restored_count": count},
        "text_encoder": held,
    }
    notes = "\n".join(summary["notes"])
    assert f"unet: fp8-e4m3 holds {count:,} of its {count:,} restored weights bit for bit" in notes
    assert f"text_encoder: q8 holds {len(keys) - 1:,} of its {len(keys):,} restored" in notes
    assert "and rounds the others" in notes


@pytest.mark.usefixtures("without_graphs")
def test_a_unet_of_its_own_takes_the_place_of_a_checkpoints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = save_checkpoint(tmp_path / "base.safetensors")
    changed = {key: (each * 1.5).half() for key, each in plain_tensors().items()}
    unet = {key: each for key, each in changed.items() if key.startswith(UNET)}
    unet |= {f"{UNET}v_pred": torch.zeros(0)}
    path = tmp_path / "unet.safetensors"
    save_file(unet, path)
    flags = ("--config", str(DIFFUSERS), "--unet", str(path))
    summary = exported(base, tmp_path / "out", capsys, *flags)
    written = load_file(tmp_path / "out" / "unet.safetensors")
    for name, each in component_weights(DIFFUSERS, "unet").items():
        assert torch.equal(written[name], (each * 1.5).half())
    # No longer the file that model sites know, and a model of v, as the UNet's file says.
    source = summary["source"]
    assert source["name"] == "base.safetensors" and "sha256" not in source
    assert source["unet"]["kind"] == "single_file" and len(source["unet"]["sha256"]) == 64
    content = json.loads((tmp_path / "out" / "model.json").read_text())
    assert content["prediction_type"] == "v_prediction"
    # Weights that nobody quantised get no suggestion.
    assert summary["suggested_format"] == {} and summary["restored"] == {}
    assert summary["held_exactly"] == {}


def refusal_of_unet(path: Path) -> str:
    with pytest.raises(SourceError) as raised:
        plan_weights(open_source(SourceOptions(str(DIFFUSERS), unet=path), Progress(quiet=True)))
    return str(raised.value)


def test_what_is_no_unet_alone_is_refused(tmp_path: Path) -> None:
    whole = save_checkpoint(tmp_path / "whole.safetensors")
    assert "whole.safetensors holds" in (line := refusal_of_unet(whole))
    assert "a whole checkpoint is given with --source" in line
    vae = tmp_path / "vae.safetensors"
    save_file(component_weights(DIFFUSERS, "vae"), vae)
    assert "vae.safetensors holds no UNet" in refusal_of_unet(vae)
    part = {key: each for key, each in plain_tensors().items() if key.startswith(UNET)}
    del part[f"{UNET}out.2.bias"]
    save_file(part, tmp_path / "part.safetensors")
    assert "the weights lack conv_out.bias" in refusal_of_unet(tmp_path / "part.safetensors")
    pickle = tmp_path / "unet.ckpt"
    pickle.write_bytes(b"x")
    assert "pickle" in refusal_of_unet(pickle)
    assert "no such file" in refusal_of_unet(tmp_path / "none.gguf")
    assert "is a None" in refusal_of_unet(save_config(tmp_path / "folder", {}))


def save_config(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_directorys_shards_and_other_components_are_restored(tmp_path: Path) -> None:
    """A weight and its scale may lie in two files; a UNet directory is taken by --unet as well."""
    tensors: Tensors = {}
    for key, each in component_weights(DIFFUSERS, "unet").items():
        if each.dim() == 2:
            scale = each.float().abs().amax(dim=1, keepdim=True) / 127
            layer = key.removesuffix(".weight")
            tensors[f"{layer}._weight_qdata"] = (each.float() / scale).round().to(torch.int8)
            tensors[f"{layer}._weight_scale"] = scale
        else:
            tensors[key] = each
    config = {
        "quant_method": "torchao",
        "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}},
    }
    source = edited_directory(
        tmp_path / "source", {"unet/config.json": {"quantization_config": config}}
    )
    folder = source / "unet"
    next(folder.glob("*.safetensors")).unlink()
    names = ("a.safetensors", "b.safetensors")
    scales = {key: each for key, each in tensors.items() if key.endswith("_scale")}
    save_file(scales, folder / names[0])
    save_file({key: each for key, each in tensors.items() if key not in scales}, folder / names[1])
    index = {"weight_map": {key: names[key not in scales] for key in tensors}}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    for options in (
        SourceOptions(str(source)),
        SourceOptions(str(DIFFUSERS), unet=folder),
        SourceOptions(str(DIFFUSERS), unet=source),
    ):
        pipeline = open_source(options, Progress(quiet=True))
        numbers = sum(each.numel() for each in component_weights(DIFFUSERS, "unet").values())
        assert pipeline.weights["unet"].total_bytes >= 2 * numbers
    plan = plan_weights(pipeline)["unet"]
    name = "mid_block.attentions.0.proj_in.weight"
    layer = name.removesuffix(".weight")
    meant = tensors[f"{layer}._weight_qdata"].float() * tensors[f"{layer}._weight_scale"]
    assert torch.equal(plan.source.read(plan.keys[name]), meant)


@pytest.mark.parametrize("place", ["config.json", "quantization_config.json"])
def test_a_text_encoder_of_codes_of_4_bits_takes_its_shapes_from_the_network(
    place: str, tmp_path: Path
) -> None:
    """The program may write its configuration beside config.json, and `text_model.` or not."""
    config = {"quant_method": "sdnq", "weights_dtype": "uint4"}
    edits: dict[str, Any] = {"text_encoder/config.json": {"quantization_config": config}}
    source = edited_directory(tmp_path / "source", edits if place == "config.json" else {})
    folder = source / "text_encoder"
    if place != "config.json":
        (folder / place).write_text(json.dumps(config))
    (path,) = folder.glob("*.safetensors")
    tensors = component_weights(DIFFUSERS, "text_encoder")
    key = next(key for key in tensors if key.endswith("layers.0.mlp.fc1.weight"))
    rows, columns = tensors[key].shape
    codes = torch.randint(0, 16, (rows, columns), dtype=torch.uint8)
    scale, zero = torch.rand(rows, 1) / 99, torch.rand(rows, 1) / -20
    tensors[key] = codes.flatten()[::2] | codes.flatten()[1::2] << 4
    tensors |= {key.replace("weight", "scale"): scale, key.replace("weight", "zero_point"): zero}
    path.unlink()
    save_file(tensors, path)
    plan = plan_weights(open_source(SourceOptions(str(source)), Progress(quiet=True)))
    found = plan["text_encoder"].source.read(key)
    assert torch.allclose(found, codes * scale + zero, rtol=1e-5, atol=1e-7)


def packed_and_unpacked(values: torch.Tensor, name: str, folder: Path) -> torch.Tensor | None:
    """What the server's own codec makes of fp16 weights; None: it refuses them."""
    rows, columns = values.shape
    (folder / "in").write_bytes(values.numpy().tobytes())
    shape = f"{rows}x{columns}"
    encode = [WEIGHTS, "encode", "-q", "--format", name, "--shape", shape, "in", "packed"]
    if subprocess.run(encode, cwd=folder, stderr=subprocess.DEVNULL, check=False).returncode:
        return None
    subprocess.run([WEIGHTS, "decode", "-q", "packed", "out"], cwd=folder, check=True)
    data = np.frombuffer((folder / "out").read_bytes(), np.float16).reshape(rows, columns)
    return torch.from_numpy(data.copy())


def eight_bits(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-127, 128, (24, 96), generator=generator)
    codes[:, ::32] = 127
    return codes.float()


def q8_0(seed: int) -> torch.Tensor:
    """What GGUF's own package makes of random weights: 400 blocks, of which some hold ties."""
    weights = np.random.default_rng(seed).normal(0, 0.05, (40, 320)).astype(np.float32)
    kind = gguf.GGMLQuantizationType.Q8_0
    values = gguf.quants.dequantize(gguf.quants.quantize(weights, kind), kind)
    return torch.from_numpy(values).half()


def restored(name: str, key: str) -> torch.Tensor:
    """A layer that a quantiser's package stored, as the exporter writes it."""
    stored, expected, config = golden(name)
    shapes = {name: tuple(each.shape) for name, each in expected.items()}
    with tempfile.TemporaryDirectory() as folder:
        tensors = opened(Path(folder), stored, config, shapes)
        values = tensors.read(key).half()
        tensors.close()
    return values


GENERATOR = torch.Generator().manual_seed(1)
ROWS = torch.rand(24, 1, generator=GENERATOR) / 1000
# What files hold, as fp16, and the formats that hold it to the last bit.
HELD: dict[str, tuple[torch.Tensor, set[str]]] = {
    "fp8 e4m3": (
        (torch.randn(24, 96, generator=GENERATOR) / 30).to(FP8).half(),
        {"fp8-e4m3", "e4m3", "hf8x"},
    ),
    "fp8 e4m3 with weights above 1.875": (
        (torch.randn(24, 96, generator=GENERATOR) * 3).to(FP8).half(),
        {"fp8-e4m3", "e4m3"},
    ),
    "fp8 e5m2": (
        (torch.randn(24, 96, generator=GENERATOR) / 30).to(torch.float8_e5m2).half(),
        {"hf8x", "e4m3"},
    ),
    "fp8 e4m3 and a scale of 2^-9": (
        ((torch.randn(24, 96, generator=GENERATOR) * 99).to(FP8).float() / 512).half(),
        {"e4m3", "hf8x"},
    ),
    "fp8 e4m3 and another scale": (
        ((torch.randn(24, 96, generator=GENERATOR) * 99).to(FP8).float() / 500).half(),
        set(),
    ),
    "int8 and scales of fp32": ((eight_bits(0) * ROWS).half(), set()),
    "int8 and scales of 2^-n": ((eight_bits(0) / 2048).half(), {"q8", "q8b32"}),
    "Q8_0 without ties": (
        (eight_bits(0) * torch.linspace(1024, 1047, 24)[:, None] / 2**20).half(),
        {"q8", "q8b32"},
    ),
    # The usual scale of a row, from its largest weight, is one step of fp16 beside the right one.
    "Q8_0 whose scales are beside the usual ones": (
        (eight_bits(0) * torch.linspace(1216, 1239, 24)[:, None] / 2**20).half(),
        {"q8", "q8b32"},
    ),
    "Q8_0 of the gguf package": (q8_0(1), {"q8b32"}),
    "int8 and fp16 scales without a code of 127": (
        (eight_bits(0).clamp(-125, 125) * torch.linspace(1216, 1239, 24)[:, None] / 2**20).half(),
        set(),
    ),
    "qint8 of quanto, fp16": (restored("quanto_int8_float16", "0.weight"), {"q8"}),
    "qint8 of quanto, bf16": (restored("quanto_int8_bfloat16", "0.weight"), set()),
    "int8 of torchao": (restored("torchao_int8", "0.weight"), set()),
    "int8 of ComfyUI by rows": (restored("comfy", "row.weight"), set()),
    "int8 of ComfyUI": (restored("comfy", "tensor.weight"), set()),
    "int8 of bitsandbytes": (restored("bitsandbytes_int8", "l.weight"), set()),
    "int8 of SDNQ": (restored("sdnq_int8", "linear.weight"), set()),
    "bf16": (torch.randn(24, 96, generator=GENERATOR).bfloat16().half(), set()),
}


@pytest.mark.skipif(not os.access(WEIGHTS, os.X_OK), reason="tightfit-weights is not built")
@pytest.mark.parametrize("name", HELD)
def test_formats_that_hold_values_are_those_that_the_servers_codec_gives_back(
    name: str, tmp_path: Path
) -> None:
    values, held = HELD[name]
    formats = ("fp8-e4m3", "hf8x", "e4m3", "q8", "q8b32")
    for each in formats:
        found = packed_and_unpacked(values, each, tmp_path)
        assert (found is not None and torch.equal(found, values)) is (each in held), each
    assert set(formats_that_hold(values, formats)) == held
    # A convolution is looked at as it is packed, with its input channels last.
    if not held & {"q8b32"} and values.shape[1] == 96:
        conv = values.reshape(24, 2, 3, 16).permute(0, 3, 1, 2)
        assert set(formats_that_hold(conv, formats)) == held
