"""What cannot be exported is refused in one line, with exit code 2, before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tightfit_export.cli import main
from tightfit_export.source_pipeline import open_pipeline

CopyOfSource = Callable[[], Path]


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def refusal(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The error line of an export that must be refused and leave nothing."""
    before = sorted(out.parent.iterdir())
    assert main([*arguments, "--out", str(out), "--quiet"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert sorted(out.parent.iterdir()) == before
    return line


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("model_index.json", {"_class_name": "FluxPipeline"}, "(Flux)"),
        ("model_index.json", {"_class_name": "StableDiffusion3Pipeline"}, "(Stable Diffusion 3)"),
        ("model_index.json", {"_class_name": "StableDiffusionPipeline"}, "no UNet of"),
        (
            "model_index.json",
            {"_class_name": "StableDiffusionXLInstructPix2PixPipeline"},
            "InstructPix2Pix",
        ),
        ("model_index.json", {"requires_aesthetics_score": True}, "refiner"),
        ("model_index.json", {"text_encoder": [None, None]}, "refiner"),
        ("model_index.json", {"vae": ["diffusers", "AutoencoderTiny"]}, "AutoencoderTiny"),
        ("unet/config.json", {"addition_embed_type": None}, "no UNet of SDXL"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "time_embedding.cond_proj"),
        ("unet/config.json", {"in_channels": 9}, "conv_in"),
        ("unet/config.json", {"in_channels": 7}, "for inpainting 9 and 4"),
        ("unet/config.json", {"in_channels": 8}, "InstructPix2Pix"),
        (
            "unet/config.json",
            {"cross_attention_dim": 48, "projection_class_embeddings_input_dim": 128},
            "refiner",
        ),
        ("unet/config.json", {"cross_attention_dim": 96}, "cross_attention_dim"),
        ("unet/config.json", {"projection_class_embeddings_input_dim": 128}, "six time ids"),
        ("vae/config.json", {"latents_mean": [0, 0, 0, 0]}, "mean and std"),
        ("vae/config.json", {"latent_channels": 16}, "16 latent channels"),
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "'sample'"),
    ],
)
def test_pipelines_that_cannot_be_served(
    copy_of_source: CopyOfSource,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file: str,
    changes: dict[str, Any],
    reason: str,
) -> None:
    source = copy_of_source()
    edit(source / file, **changes)
    assert reason in refusal(["--source", str(source)], tmp_path / "out", capsys)


def test_directories_that_are_no_pipeline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out"
    assert "not a diffusers directory" in refusal(["--source", str(empty)], out, capsys)
    assert "no such file or directory" in refusal(["--source", str(tmp_path / "no")], out, capsys)
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04")
    line = refusal(["--source", str(tmp_path / "model.ckpt")], out, capsys)
    assert "is a file of pickle" in line and "reads no pickle" in line


def test_missing_and_broken_files(
    copy_of_source: CopyOfSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    source = copy_of_source()
    (source / "vae/config.json").unlink()
    assert "vae/config.json is missing" in refusal(["--source", str(source)], out, capsys)

    source = copy_of_source()
    (source / "unet/config.json").write_text("{")
    assert "unet/config.json cannot be read" in refusal(["--source", str(source)], out, capsys)

    source = copy_of_source()
    weights = next((source / "unet").glob("*.safetensors"))
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data[: len(data) // 2])
    assert "unet: cannot read" in refusal(["--source", str(source)], out, capsys)


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.ckpt"])
def test_pickle_is_never_read(
    copy_of_source: CopyOfSource, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    source = copy_of_source()
    next((source / "unet").glob("*.safetensors")).unlink()
    (source / "unet" / name).write_bytes(b"\x80\x04")
    line = refusal(["--source", str(source)], tmp_path / "out", capsys)
    assert name in line and "reads no pickle" in line


def test_shards_that_are_pickle_missing_or_elsewhere(
    copy_of_source: CopyOfSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {
        "model-00001-of-00001.bin": "reads no pickle",
        "model-00001-of-00001.safetensors": "is missing",
        "../vae/diffusion_pytorch_model.safetensors": "outside of its folder",
    }
    for shard, reason in cases.items():
        source = copy_of_source()
        index = {"metadata": {}, "weight_map": {"conv_in.weight": shard}}
        path = source / "unet" / "diffusion_pytorch_model.safetensors.index.json"
        path.write_text(json.dumps(index))
        assert reason in refusal(["--source", str(source)], tmp_path / "out", capsys)


def test_unknown_dtypes_and_wrong_flags(
    tiny_pipeline_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--source", str(tiny_pipeline_dir)]
    out = tmp_path / "out"
    line = refusal([*source, "--dtypes", "fp32,int8"], out, capsys)
    assert "'int8'" in line and "fp32, bf16, fp16" in line
    assert "--dtypes" in refusal([*source, "--dtypes", ","], out, capsys)
    assert "--seed goes with --random" in refusal([*source, "--seed", "3"], out, capsys)
    assert "variant 'ema'" in refusal([*source, "--variant", "ema"], out, capsys)
    with pytest.raises(SystemExit) as ended:
        main(["--out", str(out)])
    assert ended.value.code == 2


def test_destinations_that_hold_something(
    tiny_pipeline_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("keep")
    source = ["--source", str(tiny_pipeline_dir)]
    assert "not empty" in refusal(source, out, capsys)
    assert "holds no model.json" in refusal([*source, "--overwrite"], out, capsys)
    assert (out / "precious.txt").read_text() == "keep"
    assert "is no directory" in refusal(source, out / "precious.txt", capsys)
    assert main([*source, "--out", str(out / "precious.txt" / "out"), "--quiet"]) == 2
    assert "precious.txt is no directory" in capsys.readouterr().err


def test_too_little_disk_space(
    tiny_pipeline_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    line = refusal(["--source", str(tiny_pipeline_dir)], tmp_path / "out", capsys)
    assert "0.0 GB free" in line


@pytest.mark.parametrize(
    ("settings", "sampler", "is_native"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, "euler", True),
        (
            {"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True},
            "euler-karras",
            True,
        ),
        ({"_class_name": "EulerAncestralDiscreteScheduler"}, "euler-a", True),
        ({"_class_name": "DPMSolverMultistepScheduler"}, "dpmpp-2m", True),
        (
            {
                "_class_name": "DPMSolverMultistepScheduler",
                "algorithm_type": "sde-dpmsolver++",
                "use_karras_sigmas": True,
            },
            "dpmpp-2m-sde-karras",
            True,
        ),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, "euler", False),
        ({"_class_name": "PNDMScheduler"}, "euler", False),
        ({"_class_name": "PNDMScheduler", "skip_prk_steps": True}, "pndm", True),
    ],
)
def test_the_default_sampler_follows_the_scheduler(
    copy_of_source: CopyOfSource, settings: dict[str, Any], sampler: str, is_native: bool
) -> None:
    source = copy_of_source()
    edit(source / "scheduler/scheduler_config.json", **settings)
    edit(source / "model_index.json", scheduler=["diffusers", settings["_class_name"]])
    edit(source / "unet/config.json", sample_size=[12, 10])
    pipeline = open_pipeline(source, "name", None)
    assert pipeline.default_sampler == sampler
    assert pipeline.sampler_is_native is is_native
    assert pipeline.default_size_px == (80, 96)  # the list is height, width


def test_help_teaches_by_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--source ./sdxl-base --out ./models/sdxl-base" in text
    assert "exit codes" in text
