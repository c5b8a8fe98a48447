"""Models of few steps get their trainers' defaults when asked for, and a note when not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from emoji_checkpoint import DIFFUSERS, edited_directory, save_checkpoint

from tightfit_export.errors import SourceError
from tightfit_export.few_step import kind_of, steps_in
from tightfit_export.manifest import SamplingDefaults
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress
from tightfit_export.sampling_defaults import AskedDefaults, with_defaults
from tightfit_export.source_pipeline import SourcePipeline


def opened(path: Path, **options: Any) -> SourcePipeline:
    config = DIFFUSERS if path.is_file() else None
    return open_source(SourceOptions(str(path), config=config, **options), Progress(quiet=True))


def chosen(
    path: Path, *, prediction_type: str | None = None, **asked: Any
) -> tuple[SourcePipeline, SamplingDefaults]:
    spacing = asked.get("timestep_spacing")
    pipeline = opened(path, timestep_spacing=spacing, prediction_type=prediction_type)
    return with_defaults(pipeline, AskedDefaults(**asked))


@pytest.mark.parametrize(
    ("name", "kind", "steps"),
    [
        ("sd_xl_turbo_1.0_fp16", "turbo", None),
        ("DreamShaperXL_Turbo_v2", "turbo", None),
        ("sdxl_lightning_4step", "lightning", 4),
        ("RealVisXL_V4.0_Lightning-8steps", "lightning", 8),
        ("Hyper-SDXL-8steps", "hyper", 8),
        ("realvisXL_Hyper_4-step", "hyper", 4),
        ("hyper-sd-12 Steps-CFG", "hyper", 12),
        ("model_LCM", "lcm", None),
        ("lcm-sdxl-merged", "lcm", None),
        ("bigLove_DMD2", "lcm", None),
        ("dmd2_sdxl_4step_merged", "lcm", 4),
        ("juggernautXL_v9", None, None),
        ("hyperrealisticXL", None, None),
        ("Hyper Realistic XL", None, None),
        ("HYPERREALISTIC_XL", None, None),
        ("lightningStruckPhotos", None, None),
        ("model_epoch10_steps_5000", None, None),
        ("x_epoch_1_steps_2000", None, None),
        ("calcmodel", None, None),
        ("model-step00012000", None, None),
        ("v10-step4000", None, None),
        ("000012000step", None, None),
        ("my-model-v1.4step", None, None),
        ("distilled_6steps", None, 6),
    ],
)
def test_names_tell_the_kind_and_the_steps(
    name: str, kind: str | None, steps: int | None
) -> None:
    found = kind_of(name)
    assert (found[1] if found else None, steps_in(name)) == (kind, steps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    first = save_checkpoint(folder / "plain.safetensors")
    for name in ("merge-lightning-8step", "hyper-8steps-CFG", "my-turbo", "x_4steps", "a-DMD2"):
        (folder / f"{name}.safetensors").symlink_to(first)
    titled = {"modelspec.title": "Some Lightning, 2 steps"}
    save_checkpoint(folder / "titled.safetensors", metadata=titled)
    return folder


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("turbo", SamplingDefaults(4, 0.0, "euler-a")),
        ("lightning", SamplingDefaults(4, 0.0, "euler")),
        ("hyper", SamplingDefaults(8, 0.0, "ddim")),
        ("lcm", SamplingDefaults(4, 1.0, "lcm")),
    ],
)
def test_defaults_from_a_kind_are_its_trainers_and_are_told(
    folder: Path, kind: str, expected: SamplingDefaults
) -> None:
    pipeline, defaults = chosen(folder / "plain.safetensors", defaults_from=kind)
    assert defaults == expected
    assert pipeline.scheduler["timestep_spacing"] == "trailing"
    assert pipeline.scheduler["rescale_betas_zero_snr"] is False
    (note,) = pipeline.notes
    for word in (f"{expected.step_count} steps", "trailing", str(expected.sampler)):
        assert word in note


def test_the_name_tells_how_many_steps(folder: Path) -> None:
    pipeline, defaults = chosen(
        folder / "merge-lightning-8step.safetensors", defaults_from="lightning"
    )
    assert defaults == SamplingDefaults(8, 0.0, "euler")
    assert "8 steps as the name tells" in pipeline.notes[0]
    assert chosen(folder / "titled.safetensors", defaults_from="lightning")[1].step_count == 2
    kept = chosen(folder / "hyper-8steps-CFG.safetensors", defaults_from="hyper")[1]
    assert kept == SamplingDefaults(8, 5.0, "ddim")


def test_other_flags_go_over_it(folder: Path) -> None:
    pipeline, defaults = chosen(
        folder / "merge-lightning-8step.safetensors",
        defaults_from="lightning",
        step_count=6,
        guidance_scale=1.5,
        timestep_spacing="linspace",
    )
    assert defaults == SamplingDefaults(6, 1.5, "euler")
    assert pipeline.scheduler["timestep_spacing"] == "linspace"
    assert "6 steps, guidance 1.5, linspace" in pipeline.notes[0]


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_the_spacing_can_be_said_alone(folder: Path, spacing: str) -> None:
    pipeline, defaults = chosen(folder / "plain.safetensors", timestep_spacing=spacing)
    assert pipeline.scheduler["timestep_spacing"] == spacing
    assert pipeline.scheduler["rescale_betas_zero_snr"] is False
    assert defaults == SamplingDefaults() and pipeline.notes == ()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-turbo", ("Turbo", "25 steps", "guidance 5", "leading", "--defaults-from turbo")),
        ("merge-lightning-8step", ("Lightning", "--defaults-from lightning")),
        ("a-DMD2", ("DMD2", "--defaults-from lcm")),
        ("titled", ("Lightning", "--defaults-from lightning")),
        ("x_4steps", ("for 4 steps", "--defaults-from turbo|lightning|hyper|lcm")),
    ],
)
def test_a_name_that_says_few_steps_gives_a_note(
    folder: Path, name: str, words: tuple[str, ...]
) -> None:
    pipeline, defaults = chosen(folder / f"{name}.safetensors")
    assert defaults == SamplingDefaults()
    (note,) = pipeline.notes
    for word in words:
        assert word in note


def test_no_note_where_all_is_said(folder: Path) -> None:
    pipeline, _ = chosen(
        folder / "my-turbo.safetensors",
        step_count=2,
        guidance_scale=0.0,
        timestep_spacing="trailing",
    )
    assert pipeline.notes == ()
    assert chosen(folder / "plain.safetensors")[0].notes == ()


def test_a_directory_of_such_a_model_brings_its_spacing_and_gets_a_note(tmp_path: Path) -> None:
    source = edited_directory(
        tmp_path / "sdxl-turbo",
        {
            "scheduler/scheduler_config.json": {
                "_class_name": "EulerAncestralDiscreteScheduler",
                "timestep_spacing": "trailing",
            },
            "model_index.json": {"scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"]},
        },
    )
    pipeline, defaults = chosen(source)
    assert pipeline.scheduler["timestep_spacing"] == "trailing"
    assert pipeline.default_sampler == "euler-a" and defaults == SamplingDefaults()
    (note,) = pipeline.notes
    assert "Turbo" in note and "25 steps, guidance 5;" in note and "leading" not in note
    defaults = chosen(source, defaults_from="turbo")[1]
    assert defaults == SamplingDefaults(4, 0.0, "euler-a")


def test_the_1_step_lightning_model_is_refused(folder: Path, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "sdxl_lightning_1step_x0.safetensors")
    with pytest.raises(SourceError, match="predicts the image itself .*2, 4 or 8 steps"):
        opened(path)
    # The person knows better.
    assert opened(path, prediction_type="epsilon").prediction_type == "epsilon"


def test_more_steps_than_the_sampler_takes_are_refused(folder: Path) -> None:
    with pytest.raises(SourceError, match="lcm takes at most 50"):
        chosen(folder / "plain.safetensors", defaults_from="lcm", step_count=51)
