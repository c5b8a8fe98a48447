"""Quantised weights are refused in one line that names what made them, from headers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from emoji_checkpoint import DIFFUSERS, edited_directory, plain_tensors, save_checkpoint
from original_checkpoint import Tensors, component_weights
from safetensors.torch import save_file

from tightfit_export import tensor_file
from tightfit_export.cli import main

LINEAR = "model.diffusion_model.input_blocks.3.1.proj_in"
FP8 = torch.float8_e4m3fn


@pytest.fixture(autouse=True)
def no_values_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("values were read before the refusal")

    monkeypatch.setattr(tensor_file.TensorFile, "read", refuse)


def refusal(source: Path, out: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["--source", str(source), "--out", str(out), "--quiet", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not out.exists()
    return line


def fp8(tensors: Tensors, *, dtype: torch.dtype = FP8) -> Tensors:
    """The UNet's matrices in 8 bits."""
    return {
        key: each.to(dtype) if key.startswith("model.diff") and each.dim() == 2 else each
        for key, each in tensors.items()
    }


def without_weight(tensors: Tensors, **parts: torch.Tensor) -> Tensors:
    """One Linear of the UNet under a quantiser's names."""
    result = dict(tensors)
    del result[f"{LINEAR}.weight"]
    return result | {LINEAR + name: part for name, part in parts.items()}


BYTES, SCALE = torch.zeros(64, 1, dtype=torch.uint8), torch.ones(64)
INT8 = torch.zeros(128, 128, dtype=torch.int8)
FILES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "fp8 with scale_weight": (
        lambda t: fp8(t)
        | {f"{LINEAR}.scale_weight": torch.ones(()), "scaled_fp8": torch.zeros(2).to(FP8)},
        ("fp8 with scales", "scale_weight"),
    ),
    "fp8 with the mark alone": (
        lambda t: fp8(t) | {"model.diffusion_model.scaled_fp8": torch.zeros(2).to(FP8)},
        ("fp8 with scales", "scaled_fp8"),
    ),
    "fp8 with weight_scale": (
        lambda t: fp8(t) | {f"{LINEAR}.weight_scale": torch.ones(())},
        ("fp8 with scales", "weight_scale"),
    ),
    "fp8 with comfy_quant": (
        lambda t: fp8(t)
        | {f"{LINEAR}.weight_scale": torch.ones(()), f"{LINEAR}.comfy_quant": BYTES},
        ("fp8 with scales", "comfy_quant"),
    ),
    "fp8 e4m3": (fp8, ("F8_E4M3", "without scales")),
    "fp8 e5m2": (lambda t: fp8(t, dtype=torch.float8_e5m2), ("F8_E5M2", "without scales")),
    "one fp8 text encoder": (
        lambda t: {
            key: each.to(FP8) if "embedders.1" in key and "proj_weight" in key else each
            for key, each in t.items()
        },
        ("F8_E4M3",),
    ),
    "nf4": (
        lambda t: without_weight(
            t,
            **{
                ".weight": BYTES,
                ".weight.absmax": SCALE,
                ".weight.quant_map": torch.zeros(16),
                ".weight.quant_state.bitsandbytes__nf4": BYTES,
            },
        ),
        ("nf4 of bitsandbytes",),
    ),
    "fp4": (
        lambda t: without_weight(
            t,
            **{".weight": BYTES, ".weight.quant_state.bitsandbytes__fp4": BYTES},
        ),
        ("fp4 of bitsandbytes",),
    ),
    "int8 of bitsandbytes": (
        lambda t: without_weight(t, **{".weight": INT8, ".SCB": SCALE}),
        ("int8 of bitsandbytes",),
    ),
    "quanto": (
        lambda t: without_weight(t, **{".weight._data": INT8, ".weight._scale": SCALE}),
        ("quanto",),
    ),
    "torchao": (
        lambda t: without_weight(t, **{"._weight_qdata": INT8, "._weight_scale": SCALE}),
        ("torchao",),
    ),
    "svdquant": (
        lambda t: without_weight(
            t, **{".qweight": INT8, ".wscales": SCALE, ".smooth_factor": SCALE.clone()}
        ),
        ("SVDQuant",),
    ),
    "gptq": (
        lambda t: without_weight(
            t, **{".qweight": torch.zeros(4, 4, dtype=torch.int32), ".qzeros": SCALE}
        ),
        ("GPTQ",),
    ),
    "nvfp4": (
        lambda t: without_weight(
            t, **{".weight": BYTES, ".weight_scale": SCALE, ".weight_scale_2": SCALE.clone()}
        ),
        ("NVFP4",),
    ),
    "int8 with scales": (
        lambda t: without_weight(t, **{".weight": INT8, ".weight_scale": SCALE}),
        ("8 bits with scales",),
    ),
    "sdnq": (lambda t: without_weight(t, **{".weight": INT8, ".scale": SCALE}), ("sdnq",)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_single_file_of_quantised_weights_is_named_by_kind(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = FILES[name]
    path = save_checkpoint(tmp_path / "model.safetensors", make(plain_tensors()))
    line = refusal(path, tmp_path / "out", capsys, "--config", str(DIFFUSERS))
    for word in ("model.safetensors is quantised", "fp16, bf16 or fp32", *words):
        assert word in line


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "nf4": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        "nf4 of bitsandbytes",
    ),
    "int8": ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8 of bitsandbytes"),
    "quanto": ({"quant_method": "quanto", "weights_dtype": "int8"}, "quanto"),
    "torchao": ({"quant_method": "torchao", "quant_type": {"default": {}}}, "torchao"),
    "sdnq": ({"quant_method": "sdnq", "weights_dtype": "int8"}, "sdnq"),
    "svdquant": ({"quant_method": "svdquant"}, "SVDQuant"),
    "gguf": ({"quant_method": "gguf"}, "GGUF"),
    "a method of tomorrow": ({"quant_method": "sparkle"}, "sparkle"),
    "without a name": ({"bits": 3}, "quantization_config"),
}


@pytest.mark.parametrize("component", ["unet", "text_encoder_2", "vae"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_directory_says_it_in_its_configuration(
    name: str, component: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, words = CONFIGS[name]
    # Also where the weights beside it look plain.
    source = edited_directory(
        tmp_path / "source", {f"{component}/config.json": {"quantization_config": config}}
    )
    line = refusal(source, tmp_path / "out", capsys)
    assert f"{component} is quantised: " in line and words in line


def test_a_directory_without_that_word_is_known_by_its_tensors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = edited_directory(tmp_path / "source", {})
    path = source / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = component_weights(DIFFUSERS, "unet")
    weight = tensors.pop("mid_block.attentions.0.proj_in.weight")
    quanto = tensors | {"mid_block.attentions.0.proj_in.weight._data": weight.to(torch.int8)}
    in_fp8 = {key: each.to(FP8) for key, each in tensors.items()}
    for made, words in ((quanto, "quanto"), (in_fp8, "fp8 (F8_E4M3)")):
        path.unlink()
        save_file(made, path)
        assert f"unet is quantised: {words}" in refusal(source, tmp_path / "out", capsys)


def test_gguf_is_named_whatever_its_file_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("model.gguf", "model.safetensors"):
        path = tmp_path / name
        path.write_bytes(b"GGUF" + bytes(100))
        assert "GGUF, which is quantised" in refusal(path, tmp_path / "out", capsys)


def test_another_vae_that_is_quantised_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae = {key: each.to(FP8) for key, each in component_weights(DIFFUSERS, "vae").items()}
    path = tmp_path / "vae.safetensors"
    save_file(vae, path)
    line = refusal(DIFFUSERS, tmp_path / "out", capsys, "--vae", str(path))
    assert "vae.safetensors is quantised: fp8" in line
    folder = tmp_path / "vae"
    folder.mkdir()
    config = json.loads((DIFFUSERS / "vae/config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "quanto"}})
    )
    save_file(component_weights(DIFFUSERS, "vae"), folder / "diffusion_pytorch_model.safetensors")
    line = refusal(DIFFUSERS, tmp_path / "out", capsys, "--vae", str(folder))
    assert "the VAE is quantised: quanto" in line
