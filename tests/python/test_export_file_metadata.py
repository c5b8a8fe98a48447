"""What a single file's metadata says of the model is taken, told, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from emoji_checkpoint import DIFFUSERS, plain_tensors, save_checkpoint

from tightfit_export.errors import SourceError
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress
from tightfit_export.source_pipeline import SourcePipeline

V, EPSILON = "v_prediction", "epsilon"


def opened(
    folder: Path, metadata: dict[str, str] | None, marks: tuple[str, ...] = (), **options: Any
) -> SourcePipeline:
    tensors = plain_tensors() | {mark: torch.zeros(0) for mark in marks}
    path = save_checkpoint(folder / "model.safetensors", tensors, metadata)
    return open_source(SourceOptions(str(path), config=DIFFUSERS, **options), Progress(quiet=True))


TRAINING: list[tuple[dict[str, str], str, bool]] = [
    ({"modelspec.prediction_type": "v"}, V, False),
    ({"modelspec.prediction_type": "epsilon"}, EPSILON, False),
    ({"modelspec.prediction_type": "V_Prediction"}, V, False),
    ({"modelspec.prediction_type": "v-prediction"}, V, False),
    ({"modelspec.prediction_type": ""}, EPSILON, False),
    ({"modelspec.prediction_type": "None"}, EPSILON, False),
    ({"modelspec.prediction_type": "velocity", "modelspec.noise_process": "ddpm"}, V, False),
    ({"ss_v_parameterization": "True"}, V, False),
    ({"ss_v_parameterization": "1"}, V, False),
    ({"ss_v_parameterization": "true", "ss_zero_terminal_snr": "TRUE"}, V, True),
    ({"ss_v_parameterization": "False", "ss_zero_terminal_snr": "None"}, EPSILON, False),
    ({"ss_v_parameterization": "None"}, EPSILON, False),
    ({"SS_V_PARAMETERIZATION": "true"}, V, False),
    ({"prediction_type": "v_prediction", "zero_terminal_snr": "1"}, V, True),
    ({"v_pred": "true", "ztsnr": "true"}, V, True),
    ({"modelspec.prediction_type": "v", "modelspec.zsnr": "True"}, V, True),
    ({"ss_zero_terminal_snr": "True"}, EPSILON, True),
    ({"ot_config": json.dumps({"force_v_prediction": True})}, V, False),
    ({"ot_config": json.dumps({"rescale_noise_scheduler_to_zero_terminal_snr": True})}, V, True),
    ({"ot_config": json.dumps({"force_v_prediction": False})}, EPSILON, False),
    ({"ot_config": "no JSON"}, EPSILON, False),
    ({"modelspec.predict_key": "v"}, V, False),
    ({"modelspec.predict_key": "epsilon"}, EPSILON, False),
    ({"is_v_pred": "True"}, V, False),
    ({"scheduler_prediction_type": "v_prediction"}, V, False),
    ({"training_config": json.dumps({"v_parameterization": True})}, V, False),
    ({"workflow": json.dumps({"v_parameterization": True})}, EPSILON, False),
    ({"ss_base_model_version": "stabilityai/stable-diffusion-xl-base-1.0"}, EPSILON, False),
    ({"format": "pt", "comment": "v_prediction"}, EPSILON, False),
    ({"modelspec.description": "trained with v prediction"}, EPSILON, False),
    ({"notes": "x" * 200_000, "modelspec.prediction_type": "v"}, V, False),
]


@pytest.mark.parametrize(("metadata", "prediction_type", "zero_snr"), TRAINING)
def test_the_training_that_a_file_tells_is_the_models(
    tmp_path: Path, metadata: dict[str, str], prediction_type: str, zero_snr: bool
) -> None:
    pipeline = opened(tmp_path, metadata)
    assert pipeline.prediction_type == prediction_type
    assert pipeline.scheduler["rescale_betas_zero_snr"] is zero_snr
    assert pipeline.scheduler["timestep_spacing"] == ("trailing" if zero_snr else "leading")
    told = " ".join(pipeline.notes)
    assert ("says v_prediction of itself" in told) is (prediction_type == V)
    assert ("zero terminal SNR" in told) is zero_snr


def header_with(folder: Path, metadata: Any) -> Path:
    """A file whose `__metadata__` is anything, as no library would write it."""
    path = save_checkpoint(folder / "model.safetensors")
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length]) | {"__metadata__": metadata}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return path


@pytest.mark.parametrize("metadata", [None, {}, {"a": None}, {"a": 1}])
def test_metadata_that_is_null_or_empty_says_nothing(tmp_path: Path, metadata: Any) -> None:
    path = header_with(tmp_path, metadata)
    pipeline = open_source(SourceOptions(str(path), config=DIFFUSERS), Progress(quiet=True))
    assert pipeline.prediction_type == EPSILON and pipeline.notes == ()


@pytest.mark.parametrize(
    ("metadata", "marks", "options", "prediction_type", "words"),
    [
        ({"prediction_type": "v"}, (), {"prediction_type": EPSILON}, EPSILON, "goes over"),
        ({"modelspec.prediction_type": "v"}, (), {"prediction_type": V}, V, ""),
        ({"modelspec.prediction_type": "epsilon"}, (), {"prediction_type": V}, V, "goes over"),
        ({"prediction_type": "flow"}, (), {"prediction_type": EPSILON}, EPSILON, "goes over"),
        ({}, ("v_pred",), {"prediction_type": EPSILON}, EPSILON, "goes over"),
        ({"modelspec.title": "Some vPred 1.0"}, (), {}, EPSILON, "by its name"),
        ({"modelspec.title": "Some v-pred 1.0"}, (), {"prediction_type": EPSILON}, EPSILON, ""),
        ({"modelspec.prediction_type": "epsilon"}, ("v_pred",), {}, V, "the tensor v_pred says"),
        (
            {"modelspec.prediction_type": "epsilon", "ss_v_parameterization": "True"},
            (),
            {},
            V,
            "of itself; v-prediction is taken",
        ),
        ({}, (), {"prediction_type": V}, V, ""),
    ],
)
def test_what_contradicts_is_told(
    tmp_path: Path,
    metadata: dict[str, str],
    marks: tuple[str, ...],
    options: dict[str, Any],
    prediction_type: str,
    words: str,
) -> None:
    pipeline = opened(tmp_path, metadata, marks, **options)
    assert pipeline.prediction_type == prediction_type
    assert words in " ".join(pipeline.notes) and bool(words) is bool(pipeline.notes)


def test_the_flag_says_that_a_file_is_wrong_about_zero_snr(tmp_path: Path) -> None:
    pipeline = opened(tmp_path, {"ss_zero_terminal_snr": "True"}, zero_terminal_snr=False)
    assert pipeline.scheduler["rescale_betas_zero_snr"] is False
    assert pipeline.scheduler["timestep_spacing"] == "leading"
    assert "--no-zero-terminal-snr goes over it" in pipeline.notes[0]


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"modelspec.prediction_type": "flow"}, "'flow'"),
        ({"modelspec.prediction_type": "flow_prediction"}, "'flow_prediction'"),
        ({"modelspec.prediction_type": "x0"}, "'x0'"),
        ({"modelspec.prediction_type": "sample"}, "'sample'"),
        ({"modelspec.prediction_type": "sparkle"}, "'sparkle'"),
        ({"modelspec.prediction_type": "unknown"}, "'unknown'"),
        ({"modelspec.noise_process": "flow", "modelspec.prediction_type": "velocity"}, "'flow'"),
        ({"ss_flow_matching": "true"}, "'true'"),
        ({"modelspec.architecture": "stable-diffusion-v1"}, "those of SDXL"),
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "those of SDXL"),
        ({"modelspec.architecture": "Flux-1-dev"}, "those of SDXL"),
        ({"modelspec.architecture": "stable-diffusion-v3-medium"}, "those of SDXL"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "no whole model"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-base/textual-inversion"}, "no whole"),
        ({"modelspec.architecture": "stable-diffusion-xl-v1-refiner"}, "refiner"),
        ({"ss_base_model_version": "sd_v1"}, "those of SDXL"),
        ({"ss_base_model_version": "sd_v2_768_v"}, "those of SDXL"),
        ({"ss_base_model_version": "flux1"}, "those of SDXL"),
        ({"ss_v2": "True"}, "2.x"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    tmp_path: Path, metadata: dict[str, str], words: str
) -> None:
    with pytest.raises(SourceError) as refused:
        opened(tmp_path, metadata)
    assert words in str(refused.value) and "\n" not in str(refused.value)
    assert "metadata" in str(refused.value)


@pytest.mark.parametrize(
    "architecture", ["stable-diffusion-xl-v1-base", "SDXL", "sdxl_base_v1-0", "illustrious", ""]
)
def test_sdxl_by_any_name_is_exported(tmp_path: Path, architecture: str) -> None:
    metadata = {"modelspec.architecture": architecture, "ss_base_model_version": architecture}
    assert opened(tmp_path, metadata).prediction_type == EPSILON


@pytest.mark.parametrize(
    ("metadata", "size_px", "is_told"),
    [
        ({"modelspec.resolution": "128x96"}, (128, 96), True),
        ({"modelspec.resolution": "128X128"}, (128, 128), True),
        ({"modelspec.resolution": "128"}, (128, 128), True),
        ({"ss_resolution": "(128, 64)"}, (128, 64), True),
        ({"modelspec.resolution": "64x64"}, (64, 64), False),
        ({"modelspec.resolution": "63x64"}, (64, 64), True),
        ({"modelspec.resolution": "99999x64"}, (64, 64), True),
        ({"modelspec.resolution": "0x0"}, (64, 64), True),
        ({"modelspec.resolution": "large"}, (64, 64), False),
    ],
)
def test_the_resolution_is_the_default_size(
    tmp_path: Path, metadata: dict[str, str], size_px: tuple[int, int], is_told: bool
) -> None:
    pipeline = opened(tmp_path, metadata)
    assert pipeline.default_size_px == size_px
    assert bool(pipeline.notes) is is_told
