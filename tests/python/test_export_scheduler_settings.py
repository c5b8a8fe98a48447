"""model.json has the scheduler's settings as diffusers resolves them, or the source is refused."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import pytest
from emoji_checkpoint import edited_directory, with_scheduler

from tightfit_export.bundled_configs import sdxl_base
from tightfit_export.errors import SourceError
from tightfit_export.open_source import SourceOptions, open_source
from tightfit_export.progress import Progress
from tightfit_export.samplers import sampler_of
from tightfit_export.scheduler_classes import CLASS_DEFAULTS
from tightfit_export.scheduler_settings import ACCEPTED, resolved
from tightfit_export.source_pipeline import SourcePipeline

EULER = "EulerDiscreteScheduler"
SDXL: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def opened(directory: Path) -> SourcePipeline:
    return open_source(SourceOptions(str(directory)), Progress(quiet=True))


def installed_defaults() -> dict[str, dict[str, Any]]:
    """What the scheduler classes of the installed diffusers take; read, not imported: some need
    packages that are not here."""
    spec = importlib.util.find_spec("diffusers")
    assert spec is not None and spec.origin is not None
    found = {}
    for path in Path(spec.origin).parent.glob("schedulers/scheduling_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name in CLASS_DEFAULTS:
                (init,) = (n for n in node.body if getattr(n, "name", "") == "__init__")
                assert isinstance(init, ast.FunctionDef)
                names = [argument.arg for argument in init.args.args[1:]]
                values = [_value(default) for default in init.args.defaults]
                found[node.name] = dict(zip(names, values, strict=True))
    return found


def _value(node: ast.expr) -> Any:
    return -math.inf if "inf" in ast.unparse(node) else ast.literal_eval(node)


def test_the_table_is_that_of_the_installed_diffusers() -> None:
    assert installed_defaults() == CLASS_DEFAULTS


# Two cannot be made here, for want of packages; one changes its settings once it was made.
_NOT_MADE = ("DPMSolverSDEScheduler", "LMSDiscreteScheduler", "DEISMultistepScheduler")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("class_name", [name for name in CLASS_DEFAULTS if name not in _NOT_MADE])
def test_settings_are_those_of_the_object_that_diffusers_makes(class_name: str) -> None:
    import diffusers

    for config in ({}, SDXL, SDXL | {"prediction_type": "v_prediction", "steps_offset": 3}):
        said = {"_class_name": class_name, **config}
        theirs = dict(getattr(diffusers, class_name).from_config(said).config)
        ours = resolved(said)
        for key in CLASS_DEFAULTS[class_name]:
            if key in ours:
                assert ours[key] == theirs[key], key
            else:
                assert not math.isfinite(theirs[key]), key


def test_absent_keys_take_the_class_own_defaults(tmp_path: Path) -> None:
    euler = opened(with_scheduler(tmp_path / "euler", {"_class_name": EULER})).scheduler
    assert (euler["beta_start"], euler["beta_end"]) == (0.0001, 0.02)
    assert (euler["beta_schedule"], euler["timestep_spacing"]) == ("linear", "linspace")
    ddim = opened(with_scheduler(tmp_path / "ddim", {"_class_name": "DDIMScheduler", **SDXL}))
    assert ddim.scheduler["clip_sample"] is True and ddim.scheduler["clip_sample_range"] == 1.0
    assert ddim.default_sampler == "ddim"
    said = {"_class_name": "DDIMScheduler", "clip_sample": False, **SDXL}
    assert opened(with_scheduler(tmp_path / "said", said)).scheduler["clip_sample"] is False


def test_the_bundled_settings_are_whole() -> None:
    scheduler = sdxl_base()[2]
    assert resolved(scheduler) == scheduler
    assert scheduler.keys() >= CLASS_DEFAULTS[EULER].keys()


def test_what_json_cannot_say_is_left_out(tmp_path: Path) -> None:
    """Python writes -Infinity, which no other reader takes."""
    config = {"_class_name": "DPMSolverMultistepScheduler", "lambda_min_clipped": -math.inf}
    scheduler = opened(with_scheduler(tmp_path / "dpm", config)).scheduler
    assert "Infinity" not in json.dumps(scheduler)
    assert scheduler["solver_order"] == 2


def test_null_is_false_where_a_flag_is_meant() -> None:
    said = {"_class_name": EULER, "rescale_betas_zero_snr": None, "use_beta_sigmas": None}
    assert resolved(said)["rescale_betas_zero_snr"] is False
    assert resolved(said)["use_beta_sigmas"] is False


def test_keys_that_the_class_does_not_take_are_no_reason_to_refuse() -> None:
    said = {"_class_name": EULER, "thresholding": True, "rho": 7.0, "set_alpha_to_one": False}
    settings = resolved(said)
    assert "thresholding" not in settings
    # Of use to a request that names ddim.
    assert settings["set_alpha_to_one"] is False and settings["rho"] == 7.0


def test_the_class_is_model_indexs(tmp_path: Path) -> None:
    source = edited_directory(
        tmp_path / "two",
        {
            "model_index.json": {"scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"]},
            "scheduler/scheduler_config.json": {"_class_name": "DDIMScheduler"},
        },
    )
    pipeline = opened(source)
    assert pipeline.default_sampler == "euler-a"
    assert pipeline.scheduler["_class_name"] == "EulerAncestralDiscreteScheduler"
    (note,) = pipeline.notes
    assert "EulerAncestralDiscreteScheduler" in note and "DDIMScheduler" in note


def test_keys_of_the_class_that_is_not_taken_go_with_it(tmp_path: Path) -> None:
    """As diffusers drops them."""
    config = {"_class_name": "DDIMScheduler", "clip_sample": True, **SDXL}
    folder = with_scheduler(tmp_path / "x", config, indexed=False)
    assert "clip_sample" not in opened(folder).scheduler


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, "flow matching"),
    ("FlowMatchHeunDiscreteScheduler", {}, "flow matching"),
    ("FlowMatchLCMScheduler", {}, "flow matching"),
    ("EDMEulerScheduler", {"sigma_min": 0.002}, "EDM models"),
    ("EDMDPMSolverMultistepScheduler", {}, "EDM models"),
    ("CosineDPMSolverMultistepScheduler", {}, "none whose noise levels"),
    ("SparkleScheduler", {}, "none whose noise levels"),
    ("FlaxDDIMScheduler", {}, "none whose noise levels"),
    (EULER, {"use_karras_sigmas": "true"}, "use_karras_sigmas"),
    (EULER, {"use_beta_sigmas": True}, "use_beta_sigmas is True"),
    (EULER, {"beta_schedule": "squaredcos_cap_v2"}, "linear or scaled_linear"),
    (EULER, {"beta_schedule": "exp"}, "beta_schedule"),
    (EULER, {"trained_betas": [0.1, 0.2]}, "trained_betas"),
    (EULER, {"sigma_min": 0.002}, "sigma_min"),
    (EULER, {"sigma_max": 80.0}, "sigma_max"),
    (EULER, {"timestep_type": "continuous"}, "discrete"),
    (EULER, {"timestep_spacing": "sgm_uniform"}, "leading or trailing or linspace"),
    (EULER, {"interpolation_type": "log_linear"}, "interpolation_type"),
    (EULER, {"final_sigmas_type": "max"}, "final_sigmas_type"),
    (EULER, {"prediction_type": "sample"}, "'sample'"),
    (EULER, {"prediction_type": None}, "'None'"),
    (EULER, {"num_train_timesteps": 1000.5}, "num_train_timesteps"),
    (EULER, {"num_train_timesteps": 0}, "num_train_timesteps"),
    (EULER, {"num_train_timesteps": True}, "num_train_timesteps"),
    (EULER, {"steps_offset": -1}, "steps_offset"),
    (EULER, {"beta_start": 0}, "beta_start"),
    (EULER, {"beta_end": math.nan}, "beta_end"),
    (EULER, {"beta_end": "0.02"}, "beta_end"),
    (EULER, {"steps_offset": 1000}, "beyond the last of 1000 timesteps"),
    (EULER, {"beta_start": 0.5}, "nothing of an image"),
    (EULER, {"beta_end": 1.0}, "nothing of an image"),
    (EULER, {"num_train_timesteps": 100000}, "after 100000 timesteps"),
    (EULER, {"rescale_betas_zero_snr": "true"}, "rescale_betas_zero_snr"),
    (EULER, {"use_karras_sigmas": True, "use_exponential_sigmas": True}, "exclude each other"),
    ("DDIMScheduler", {"thresholding": True}, "thresholding"),
    ("DDIMScheduler", {"clip_sample_range": 0}, "clip_sample_range"),
    ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True}, "use_flow_sigmas"),
    ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}, "use_lu_lambdas"),
    ("DPMSolverMultistepScheduler", {"prediction_type": "flow_prediction"}, "'flow_prediction'"),
    ("DPMSolverMultistepScheduler", {"lambda_min_clipped": -5.1}, "lambda_min_clipped"),
    ("UniPCMultistepScheduler", {"use_flow_sigmas": True}, "use_flow_sigmas"),
    ("UniPCMultistepScheduler", {"use_dynamic_shifting": True}, "use_dynamic_shifting"),
    ("UniPCMultistepScheduler", {"shift_terminal": 0.1}, "shift_terminal"),
    ("LCMScheduler", {"original_inference_steps": 40}, "original_inference_steps"),
    ("LCMScheduler", {"timestep_scaling": 5.0}, "timestep_scaling"),
]


# Also where model_index.json still names the class that was there before, unless that class does
# not read the key.
REFUSED_CASES = [(*row, True) for row in REFUSED] + [
    (*row, False) for row in REFUSED if row[0] == EULER or row[0] not in CLASS_DEFAULTS
]


@pytest.mark.parametrize(("class_name", "settings", "words", "indexed"), REFUSED_CASES)
def test_what_the_server_cannot_draw_is_refused_before_any_weight_is_read(
    class_name: str, settings: dict[str, Any], words: str, indexed: bool, tmp_path: Path
) -> None:
    config = {"_class_name": class_name, **SDXL, **settings}
    source = with_scheduler(tmp_path / "source", config, indexed=indexed)
    for weights in source.rglob("*.safetensors"):
        weights.unlink()
    with pytest.raises(SourceError) as refused:
        opened(source)
    assert words in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "sampler"),
    [
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_type": "bh2"}, "dpmpp-2m"),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_type": "heun"}, None),
        ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "deis"}, "dpmpp-2m"),
        ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}, None),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, None),
        ({"_class_name": "DPMSolverMultistepScheduler", "lower_order_final": False}, "dpmpp-2m"),
        (
            {
                "_class_name": "DPMSolverMultistepScheduler",
                "lower_order_final": False,
                "final_sigmas_type": "sigma_min",
            },
            None,
        ),
        ({"_class_name": "UniPCMultistepScheduler", "solver_type": "midpoint"}, "unipc"),
        ({"_class_name": "UniPCMultistepScheduler", "solver_type": "bh1"}, None),
        ({"_class_name": "UniPCMultistepScheduler", "predict_x0": False}, None),
        ({"_class_name": "UniPCMultistepScheduler", "disable_corrector": [0]}, None),
        ({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": True}, None),
        (
            {
                "_class_name": "DDIMScheduler",
                "rescale_betas_zero_snr": True,
                "prediction_type": "v_prediction",
            },
            "ddim",
        ),
        ({"_class_name": "TCDScheduler"}, None),
        # Stable Diffusion 1.5's own.
        ({"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1}, "pndm"),
        ({"_class_name": "PNDMScheduler"}, None),
        (
            {
                "_class_name": "PNDMScheduler",
                "skip_prk_steps": True,
                "rescale_betas_zero_snr": True,
                "prediction_type": "v_prediction",
            },
            None,
        ),
        ({"_class_name": "DDPMScheduler"}, "ddpm"),
        ({"_class_name": "DDPMScheduler", "variance_type": "fixed_small_log"}, "ddpm"),
        ({"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}, None),
        ({"_class_name": "DDPMScheduler", "rescale_betas_zero_snr": True}, None),
        ({"_class_name": "DEISMultistepScheduler"}, "deis"),
        ({"_class_name": "DEISMultistepScheduler", "use_karras_sigmas": True}, "deis-karras"),
        ({"_class_name": "DEISMultistepScheduler", "use_exponential_sigmas": True}, None),
        ({"_class_name": "DEISMultistepScheduler", "solver_order": 3}, None),
        ({"_class_name": "DEISMultistepScheduler", "lower_order_final": False}, None),
        ({"_class_name": "KDPM2DiscreteScheduler"}, "kdpm2"),
        ({"_class_name": "KDPM2DiscreteScheduler", "use_karras_sigmas": True}, "kdpm2-karras"),
        ({"_class_name": "KDPM2AncestralDiscreteScheduler"}, "kdpm2-a"),
        (
            {"_class_name": "KDPM2AncestralDiscreteScheduler", "use_karras_sigmas": True},
            "kdpm2-a-karras",
        ),
        # k-diffusion's "DPM++ 3M SDE" is another method: see make_sampler_golden.py.
        (
            {
                "_class_name": "DPMSolverMultistepScheduler",
                "algorithm_type": "sde-dpmsolver++",
                "solver_order": 3,
            },
            None,
        ),
    ],
)
def test_a_sampler_is_named_only_if_it_draws_as_the_class_does(
    changes: dict[str, Any], sampler: str | None
) -> None:
    assert sampler_of(resolved(changes)) == sampler


def test_every_key_of_the_table_is_one_of_a_class() -> None:
    known = {key for defaults in CLASS_DEFAULTS.values() for key in defaults}
    assert set(ACCEPTED) <= known


def test_a_class_without_a_spacing_lays_its_steps_out_evenly() -> None:
    settings = resolved({"_class_name": "DPMSolverSinglestepScheduler"})
    assert (settings["timestep_spacing"], settings["steps_offset"]) == ("linspace", 0)
