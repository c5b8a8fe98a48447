"""Checkpoints that people report trouble with elsewhere, in small: each is exported right, or
refused in one line that names the reason before any value is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from emoji_checkpoint import (
    DIFFUSERS,
    edited_directory,
    plain_tensors,
    save_checkpoint,
    with_scheduler,
)
from original_checkpoint import Tensors, component_weights, original_vae
from safetensors.torch import save_file

from tightfit_export import tensor_file
from tightfit_export.errors import SourceError
from tightfit_export.manifest import SamplingDefaults
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress
from tightfit_export.sampling_defaults import AskedDefaults, with_defaults

EULER = "EulerDiscreteScheduler"
SDXL = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
}
TEXT = "conditioner.embedders.0.transformer.text_model."
LINEAR = "model.diffusion_model.input_blocks.3.1.proj_in"
FP8 = torch.float8_e4m3fn

Maker = Callable[[Path], Path]


@dataclass(frozen=True)
class Report:
    """An input, and what must come of it."""

    make: Maker  # in a folder of its own; the source
    refused: tuple[str, ...] = ()  # words of the refusal; none: it is exported
    scheduler: dict[str, Any] = field(default_factory=dict)
    sampler: str = "euler"
    defaults: SamplingDefaults = SamplingDefaults()
    notes: tuple[str, ...] = ()  # words of the notes; none: there is no note
    source: dict[str, Any] = field(default_factory=dict)  # SourceOptions
    asked: dict[str, Any] = field(default_factory=dict)  # AskedDefaults
    vae: Maker | None = None


def file(
    change: Callable[[Tensors], Tensors] = lambda tensors: tensors,
    metadata: dict[str, str] | None = None,
    name: str = "emoji.safetensors",
) -> Maker:
    return lambda folder: save_checkpoint(folder / name, change(plain_tensors()), metadata)


def directory(**edits: dict[str, Any]) -> Maker:
    """`unet__config`: changes of unet/config.json."""
    named = {f"{key.replace('__', '/')}.json": changes for key, changes in edits.items()}
    return lambda folder: edited_directory(folder / "source", named)


def scheduler(class_name: str, *, indexed: bool = True, **settings: Any) -> Maker:
    config = {"_class_name": class_name, **settings}
    return lambda folder: with_scheduler(folder / "source", config, indexed=indexed)


def renamed(old: str, new: str) -> Callable[[Tensors], Tensors]:
    def change(tensors: Tensors) -> Tensors:
        return {
            new + key.removeprefix(old) if key.startswith(old) else key: each
            for key, each in tensors.items()
        }

    return change


def forge(tensors: Tensors) -> Tensors:
    tensors = renamed(TEXT, "text_encoders.clip_l.transformer.text_model.")(tensors)
    tensors = renamed("conditioner.embedders.1.model.", "text_encoders.clip_g.")(tensors)
    return renamed("first_stage_model.", "vae.")(tensors)


def fp8(tensors: Tensors) -> Tensors:
    return {
        key: each.to(FP8) if key.startswith("model.diff") and each.dim() == 2 else each
        for key, each in tensors.items()
    }


def weights_of(component: str, change: Callable[[Tensors], Tensors]) -> Maker:
    def make(folder: Path) -> Path:
        source = edited_directory(folder / "source", {})
        (path,) = (source / component).glob("*.safetensors")
        path.unlink()
        save_file(change(component_weights(DIFFUSERS, component)), path)
        return source

    return make


def nf4(tensors: Tensors) -> Tensors:
    key = "time_embedding.linear_1.weight"
    return tensors | {
        key: torch.zeros(18432, 1, dtype=torch.uint8),
        f"{key}.absmax": torch.ones(8),
        f"{key}.quant_state.bitsandbytes__nf4": torch.zeros(80, dtype=torch.uint8),
    }


def quanto(tensors: Tensors) -> Tensors:
    key = "time_embedding.linear_1.weight"
    weight = tensors.pop(key)
    return tensors | {f"{key}._data": weight.to(torch.int8), f"{key}._scale": torch.ones(384, 1)}


def vae_of(name: str = "vae", **config: Any) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        content = json.loads((DIFFUSERS / "vae/config.json").read_text()) | config
        (folder / name / "config.json").write_text(json.dumps(content))
        weights = component_weights(DIFFUSERS, "vae")
        save_file(weights, folder / name / "diffusion_pytorch_model.safetensors")
        return folder / name

    return make


def vae_file(name: str, channels: int = 4) -> Maker:
    def make(folder: Path) -> Path:
        weights = component_weights(DIFFUSERS, "vae")
        conv_in = weights["decoder.conv_in.weight"]
        weights["decoder.conv_in.weight"] = conv_in.repeat(1, channels // 4, 1, 1)
        save_file(
            {key: each.contiguous() for key, each in original_vae(weights, prefix="").items()},
            folder / name,
        )
        return folder / name

    return make


def null_metadata(folder: Path) -> Path:
    path = save_checkpoint(folder / "null.safetensors")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length]) | {"__metadata__": None}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return path


def gguf(folder: Path) -> Path:
    (folder / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    return folder / "model.gguf"


def unet_with(**changes: Any) -> Maker:
    return directory(unet__config=changes)


REPORTS: dict[str, Report] = {
    "few steps in one file, by name": Report(
        file(name="my-turbo.safetensors"), notes=("Turbo", "--defaults-from turbo")
    ),
    "few steps, with the flag": Report(
        file(name="my-turbo.safetensors"),
        asked={"defaults_from": "turbo"},
        scheduler={"timestep_spacing": "trailing"},
        defaults=SamplingDefaults(4, 0.0, "euler-a"),
        notes=("trailing",),
    ),
    "few steps, by hand": Report(
        file(),
        source={"timestep_spacing": "trailing"},
        asked={"step_count": 1, "guidance_scale": 0.0, "timestep_spacing": "trailing"},
        scheduler={"timestep_spacing": "trailing", "rescale_betas_zero_snr": False},
        defaults=SamplingDefaults(1, 0.0),
    ),
    "a directory of few steps": Report(
        lambda folder: scheduler(
            "EulerAncestralDiscreteScheduler", **SDXL | {"timestep_spacing": "trailing"}
        )(folder).rename(folder / "sdxl-turbo"),
        scheduler={"timestep_spacing": "trailing"},
        sampler="euler-a",
        notes=("25 steps, guidance 5;",),
    ),
    "lightning of one step": Report(
        file(name="sdxl_lightning_1step_x0.safetensors"), refused=("'sample'", "2, 4 or 8 steps")
    ),
    "v in the metadata alone": Report(
        file(metadata={"modelspec.prediction_type": "v"}),
        scheduler={"prediction_type": "v_prediction"},
        notes=("modelspec.prediction_type",),
    ),
    "a trainer's v and zero snr": Report(
        file(metadata={"ss_v_parameterization": "True", "ss_zero_terminal_snr": "True"}),
        scheduler={
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
        },
        notes=("ss_v_parameterization", "ss_zero_terminal_snr"),
    ),
    "comfyui's extra key": Report(
        file(
            lambda t: t
            | {TEXT.replace("text_model.", "text_projection.weight"): torch.zeros(64, 64)}
        )
    ),
    "the same beside text_model": Report(
        file(lambda t: t | {f"{TEXT}text_projection.weight": torch.zeros(64, 64)})
    ),
    "a flattened text encoder": Report(file(renamed(TEXT, TEXT.removesuffix("text_model.")))),
    "a flattened one with the extra key": Report(
        file(
            lambda t: renamed(TEXT, TEXT.removesuffix("text_model."))(t)
            | {TEXT.replace("text_model.", "text_projection.weight"): torch.zeros(64, 64)}
        )
    ),
    "a directory with the extra key": Report(
        weights_of("text_encoder", lambda t: t | {"text_projection.weight": torch.zeros(64, 64)})
    ),
    "flow matching": Report(
        scheduler("FlowMatchEulerDiscreteScheduler", shift=3.0), refused=("flow matching",)
    ),
    "flow matching beside the old index": Report(
        scheduler("FlowMatchEulerDiscreteScheduler", indexed=False, shift=3.0),
        refused=("flow matching",),
    ),
    "flow_prediction": Report(
        scheduler("UniPCMultistepScheduler", **SDXL | {"prediction_type": "flow_prediction"}),
        refused=("'flow_prediction'",),
    ),
    "euler without a key": Report(
        scheduler(EULER),
        scheduler={
            "beta_start": 0.0001,
            "beta_end": 0.02,
            "beta_schedule": "linear",
            "timestep_spacing": "linspace",
            "steps_offset": 0,
        },
    ),
    "ddim without clip_sample": Report(
        scheduler("DDIMScheduler", **SDXL),
        scheduler={"clip_sample": True, "clip_sample_range": 1.0},
        sampler="ddim",
    ),
    "ddim that clips": Report(
        scheduler("DDIMScheduler", **SDXL, clip_sample=True),
        scheduler={"clip_sample": True},
        sampler="ddim",
    ),
    "a solver's infinite limit": Report(
        scheduler("DPMSolverMultistepScheduler", **SDXL, lambda_min_clipped=float("-inf")),
        sampler="dpmpp-2m",
    ),
    "beta sigmas": Report(
        scheduler(EULER, **SDXL, use_beta_sigmas=True), refused=("use_beta_sigmas",)
    ),
    "cosine betas": Report(
        scheduler(EULER, **SDXL | {"beta_schedule": "squaredcos_cap_v2"}),
        refused=("squaredcos_cap_v2", "scaled_linear"),
    ),
    "an edm scheduler": Report(
        scheduler("EDMEulerScheduler", indexed=False, sigma_min=0.002), refused=("EDM",)
    ),
    "a vae that shifts": Report(
        directory(vae__config={"shift_factor": 0.1159}), refused=("shift_factor",)
    ),
    "fp8 with scales": Report(
        file(lambda t: fp8(t) | {f"{LINEAR}.scale_weight": torch.ones(1)}),
    ),
    "fp8 without scales": Report(file(fp8)),
    "a directory in fp8": Report(
        weights_of("unet", lambda t: {key: each.to(FP8) for key, each in t.items()}),
    ),
    "a directory with broken nf4": Report(
        weights_of("unet", nf4), refused=("time_embedding.linear_1.weight", "no JSON")
    ),
    "a directory of quanto": Report(weights_of("unet", quanto)),
    "a quantization_config alone": Report(
        unet_with(quantization_config={"quant_method": "torchao"}),
        refused=("is quantised", "torchao"),
    ),
    "forge's own names": Report(file(forge)),
    "sd 1.5's vae, a directory": Report(
        lambda _: DIFFUSERS, vae=vae_of(scaling_factor=0.18215), notes=("0.18215", "0.13025")
    ),
    "sd 1.5's vae in the source": Report(
        directory(vae__config={"scaling_factor": 0.18215}), notes=("0.18215", "1.x")
    ),
    "sd 1.5's vae, a file": Report(
        lambda _: DIFFUSERS,
        vae=vae_file("vae-ft-mse-840000-ema-pruned.safetensors"),
        notes=("Stable Diffusion 1.x",),
    ),
    "a vae of 16 channels": Report(
        lambda _: DIFFUSERS,
        vae=vae_file("ae.safetensors", channels=16),
        refused=("16 latent channels",),
    ),
    "sdxl's own other vae": Report(
        lambda _: DIFFUSERS, vae=vae_file("sdxl-vae-fp16-fix.safetensors")
    ),
    "a vae with mean and std": Report(
        directory(vae__config={"latents_mean": [0, 0, 0, 0]}), refused=("mean and std",)
    ),
    "an edm checkpoint": Report(
        file(lambda t: t | {"edm_mean": torch.zeros(4)}), refused=("EDM model",)
    ),
    "x0 prediction": Report(
        scheduler(EULER, **SDXL | {"prediction_type": "sample"}), refused=("'sample'",)
    ),
    "gguf": Report(gguf, refused=("GGUF", "--unet")),
    "a pag pipeline": Report(
        directory(model_index={"_class_name": "StableDiffusionXLPAGPipeline"}),
        refused=("StableDiffusionXLPAGPipeline",),
    ),
    "marks of v and zero snr": Report(
        file(lambda t: t | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}),
        scheduler={"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
        notes=("v_pred", "ztsnr"),
    ),
    "averages, schedules and position_ids": Report(
        file(
            lambda t: t
            | {
                "model_ema.decay": torch.zeros(1),
                "alphas_cumprod": torch.zeros(4, dtype=torch.float64),
                f"{TEXT}embeddings.position_ids": torch.arange(77)[None],
            }
        )
    ),
    "metadata that is null": Report(null_metadata),
    "two names of the scheduler": Report(
        directory(
            model_index={"scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"]},
            scheduler__scheduler_config={"_class_name": "DDIMScheduler"},
        ),
        sampler="euler-a",
        notes=("model_index.json",),
    ),
}


@pytest.mark.parametrize("name", REPORTS)
def test_a_reported_checkpoint(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = REPORTS[name]
    path = report.make(tmp_path)
    config = DIFFUSERS if path.is_file() else None
    vae = report.vae(tmp_path) if report.vae else None
    options = SourceOptions(str(path), config=config, vae=vae, **report.source)

    def refuse(*_: Any) -> None:
        raise AssertionError("values were read before the end of the checks")

    monkeypatch.setattr(tensor_file.TensorFile, "read", refuse)
    if report.refused:
        with pytest.raises(SourceError) as refused:
            open_source(options, Progress(quiet=True))
        assert "\n" not in str(refused.value)
        for word in report.refused:
            assert word in str(refused.value)
        return
    pipeline = open_source(options, Progress(quiet=True))
    pipeline, defaults = with_defaults(pipeline, AskedDefaults(**report.asked))
    assert pipeline.scheduler | report.scheduler == pipeline.scheduler
    assert defaults == report.defaults and pipeline.default_sampler == report.sampler
    json.dumps(pipeline.scheduler, allow_nan=False)
    told = "\n".join(pipeline.notes)
    assert bool(told) is bool(report.notes), told
    for word in report.notes:
        assert word in told
    from tightfit_export.component_export import plan_weights

    plan_weights(pipeline)  # every tensor is found, and none is foreign
