"""Files that are no checkpoint are refused in one line that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from original_checkpoint import Tensors, component_weights, original_checkpoint, original_vae, save
from safetensors.torch import save_file

from tightfit_export.cli import main

UNET = "model.diffusion_model."


def refusal(source: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The error line of a source that must be refused, leaving nothing."""
    before = sorted(source.parent.iterdir())
    out = source.parent / "out"
    assert main(["--source", str(source), "--out", str(out), "--quiet", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert sorted(source.parent.iterdir()) == before
    return line


def sdxl_marks(in_channels: int = 4) -> dict[str, tuple[int, ...]]:
    """Enough of an SDXL checkpoint to be taken for one."""
    return {
        f"{UNET}input_blocks.0.0.weight": (8, in_channels, 3, 3),
        f"{UNET}label_emb.0.0.weight": (4, 4),
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight": (4,),
        "conditioner.embedders.1.model.ln_final.weight": (4,),
        "first_stage_model.decoder.conv_in.weight": (4,),
    }


def without(shapes: dict[str, tuple[int, ...]], prefix: str) -> dict[str, tuple[int, ...]]:
    return {key: shape for key, shape in shapes.items() if not key.startswith(prefix)}


FOREIGN: dict[str, tuple[dict[str, tuple[int, ...]], tuple[str, ...]]] = {
    "instruct-pix2pix": (sdxl_marks(8), ("InstructPix2Pix", "text-to-image")),
    "refiner": (
        without(sdxl_marks(), "conditioner")
        | {"conditioner.embedders.0.model.text_projection": (4, 4)},
        ("refiner", "take the base model"),
    ),
    "sd15-without-text": (
        {
            f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3),
            "first_stage_model.decoder.conv_in.weight": (4,),
        },
        ("has no text encoder", "full checkpoint"),
    ),
    "flux": ({"double_blocks.0.img_attn.norm.key_norm.scale": (4,)}, ("Flux",)),
    "flux-in-comfy": ({f"{UNET}double_blocks.0.img_mod.lin.bias": (4,)}, ("Flux",)),
    "sd3": ({f"{UNET}joint_blocks.0.x_block.attn.qkv.bias": (4,)}, ("Stable Diffusion 3",)),
    "lora-kohya": (
        {"lora_unet_input_blocks_4_1_proj_in.lora_down.weight": (4, 4)},
        ("a LoRA", "merge it"),
    ),
    "lora-peft": ({"unet.down_blocks.1.attentions.0.proj_in.lora_A.weight": (4, 4)}, ("a LoRA",)),
    "controlnet": ({"control_model.input_blocks.0.0.weight": (4, 4)}, ("ControlNet",)),
    "playground": (sdxl_marks() | {"edm_mean": (4,)}, ("EDM",)),
    "cosxl": (sdxl_marks() | {"edm_vpred.sigma_max": (1,)}, ("EDM",)),
    "embedding": ({"clip_g": (2, 1280), "clip_l": (2, 768)}, ("textual inversion",)),
    "unet-diffusers": ({"down_blocks.0.resnets.0.norm1.weight": (4,)}, ("diffusers directory",)),
    "unet-original": ({"input_blocks.0.0.weight": (4, 4, 3, 3)}, ("a UNet alone",)),
    "no-vae": (without(sdxl_marks(), "first_stage_model"), ("has no VAE", "--vae")),
    "no-text": (without(sdxl_marks(), "conditioner.embedders.1"), ("no text encoder 2", "full")),
    "unknown": ({"a.b": (1,), "c": (1,)}, ("no checkpoint of Stable Diffusion", "a.b, c")),
    "empty": ({}, ("no checkpoint of Stable Diffusion", "none")),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_is_something_else_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shapes, expected = FOREIGN[name]
    path = tmp_path / f"{name}.safetensors"
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, path)
    line = refusal(path, capsys)
    for part in expected:
        assert part in line


def test_a_vae_alone_is_no_source(
    tiny_pipeline_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vae = component_weights(tiny_pipeline_dir, "vae")
    for index, tensors in enumerate((vae, original_vae(vae), original_vae(vae, prefix=""))):
        path = save(tensors, tmp_path / f"{index}.safetensors")
        assert "is a VAE alone" in (line := refusal(path, capsys)) and "--vae" in line


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".pkl", ".CKPT"])
def test_a_pickle_checkpoint_is_refused_unread(
    suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"\x80\x04")
    opened: list[Path] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda p, *rest: opened.append(p) or real(p, *rest))
    line = refusal(path, capsys)
    assert "reads no pickle" in line and ".safetensors" in line
    assert path not in opened


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\x80\x02", b"\x80\x04"])
def test_pickle_under_a_safetensors_name_is_refused(
    magic: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(magic + bytes(100))
    assert "pickle under another name" in refusal(path, capsys)


def test_broken_headers_are_refused(
    tiny_pipeline_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors: Tensors = original_checkpoint(tiny_pipeline_dir)
    whole = save(tensors, tmp_path / "whole.safetensors").read_bytes()
    path = tmp_path / "broken.safetensors"
    length = int.from_bytes(whole[:8], "little")
    shape = whole.index(b'"shape":[')
    cases = {
        b"": "no whole safetensors file",
        whole[:4]: "no whole safetensors file",
        whole[: length // 2]: "no whole safetensors file",
        whole[: len(whole) // 2]: "the file ends before its tensor",
        whole[:8] + b"}" * length + whole[8 + length :]: "cannot read broken.safetensors",
        whole[: shape + 9] + b"9" + whole[shape + 10 :]: "another size than its shape",
    }
    for data, reason in cases.items():
        path.write_bytes(data)
        assert reason in refusal(path, capsys)


def test_directories_that_are_something_else_are_named(
    tiny_pipeline_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--vae" in refusal_of_directory(tiny_pipeline_dir / "vae", tmp_path, capsys)
    line = refusal_of_directory(tiny_pipeline_dir / "unet", tmp_path, capsys)
    assert "UNet2DConditionModel alone" in line
    lora = tmp_path / "lora"
    lora.mkdir()
    (lora / "pytorch_lora_weights.safetensors").touch()
    assert "LoRA" in refusal(lora, capsys)
    holder = tmp_path / "holder"
    holder.mkdir()
    (holder / "sdxl.safetensors").touch()
    assert "such as sdxl.safetensors" in refusal(holder, capsys)


def refusal_of_directory(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> str:
    assert main(["--source", str(source), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    return capsys.readouterr().err


def test_flags_that_say_nothing_about_the_source_are_refused(
    tiny_pipeline_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    assert "--variant does not go with a single file" in refusal(path, capsys, "--variant", "fp16")
    out = ["--out", str(tmp_path / "out"), "--quiet"]
    config = ["--config", str(tiny_pipeline_dir)]
    assert main(["--source", str(tiny_pipeline_dir), *config, *out]) == 2
    assert "--config does not go with a diffusers pipeline" in capsys.readouterr().err
    assert main(["--random", "tiny", "--vae-fp16-safe", *out]) == 2
    assert "--vae-fp16-safe goes with --source" in capsys.readouterr().err
    assert main(["--random", "sdxl-base", "--save-source", str(tmp_path / "s"), *out]) == 2
    assert "--save-source goes with --random tiny" in capsys.readouterr().err
