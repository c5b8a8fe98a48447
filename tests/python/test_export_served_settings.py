"""Whatever settings of a scheduler and a VAE the exporter takes, the server draws with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from emoji_model import MODEL
from server_process import ServerProcess

from tightfit_export.config_checks import check_vae
from tightfit_export.errors import SourceError
from tightfit_export.samplers import sampler_of
from tightfit_export.scheduler_classes import CLASS_DEFAULTS
from tightfit_export.scheduler_settings import ACCEPTED, resolved

SDXL: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
# Values to try of each setting; of flags true, false, null and a word.
FLAGS = (True, False, None, "true", 1)
NUMBERS = (0, 1, -1, 0.5, 1.0, 1.5, 1e7, math.inf, math.nan, None, "1")
VALUES: dict[str, tuple[Any, ...]] = {
    "num_train_timesteps": (1, 2, 50, 1000, 100000, 100001, 0, 1000.0, True, None, "1000"),
    "beta_start": (*NUMBERS, 1e-6),
    "beta_end": (*NUMBERS, 0.02),
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "exp", None, 1),
    "trained_betas": (None, [0.1, 0.2], [], 0.1),
    "prediction_type": ("epsilon", "v_prediction", "sample", "flow_prediction", None, 1),
    "timestep_spacing": ("leading", "trailing", "linspace", "sgm_uniform", None),
    "steps_offset": (0, 1, 7, 100000, 100001, -1, 1.0, None),
    "timestep_type": ("discrete", "continuous", None),
    "interpolation_type": ("linear", "log_linear", None),
    "final_sigmas_type": ("zero", "sigma_min", "max", None),
    "clip_sample_range": NUMBERS,
    "sigma_min": (None, 0.002, 0.0),
    "sigma_max": (None, 80.0, 0),
    "shift_terminal": (None, 0.1),
    "lambda_min_clipped": (-math.inf, -5.1, None),
    "original_inference_steps": (50, 100, 40, None),
    "timestep_scaling": (10.0, 10, 5.0, None),
    "solver_order": (1, 2, 3),
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++", "dpmsolver", "deis"),
    "solver_type": ("midpoint", "heun", "bh1", "bh2", "logrho"),
    "variance_type": (None, "learned"),
    "flow_shift": (1.0, math.inf),
}
# Two at once that mean something together.
TOGETHER: tuple[dict[str, Any], ...] = (
    {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    {"clip_sample": True, "clip_sample_range": 0.5},
    {"use_karras_sigmas": True, "use_exponential_sigmas": True},
    {"use_karras_sigmas": True, "num_train_timesteps": 1},
    {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"},
    {"timestep_spacing": "trailing", "num_train_timesteps": 2},
)
# What a class must say to have a sampler.
HAVING_A_SAMPLER: dict[str, dict[str, Any]] = {"PNDMScheduler": {"skip_prk_steps": True}}


def tried() -> list[dict[str, Any]]:
    """Every class that has a sampler with every value of every key that it takes, and all classes
    without any key."""
    configs: list[dict[str, Any]] = []
    for class_name, defaults in CLASS_DEFAULTS.items():
        named = {"_class_name": class_name, **HAVING_A_SAMPLER.get(class_name, {})}
        configs += [named, named | SDXL]
        if sampler_of(defaults | named) is None:
            continue  # drawn as euler, whose settings are tried
        for key in defaults:
            flags = FLAGS if isinstance(defaults[key], bool) else ()
            configs += [named | SDXL | {key: value} for value in VALUES.get(key, flags)]
        configs += [named | SDXL | both for both in TOGETHER if both.keys() <= defaults.keys()]
    return configs


def accepted() -> list[dict[str, Any]]:
    """The whole settings of those that the exporter takes, each once."""
    found: dict[str, dict[str, Any]] = {}
    for config in tried():
        try:
            settings = resolved(config)
        except SourceError:
            continue
        # Classes without a sampler of their own are drawn as euler: the rest of them is alike.
        sampler = sampler_of(settings) or "euler"
        read = {key: value for key, value in settings.items() if key in ACCEPTED}
        found.setdefault(json.dumps([sampler, read], sort_keys=True), settings)
    return list(found.values())


def model_directory(folder: Path, scheduler: dict[str, Any], vae: dict[str, Any]) -> Path:
    """emoji-xl with that scheduler, as the exporter would write it; files are links."""
    folder.mkdir()
    for path in MODEL.iterdir():
        if path.name != "model.json":
            (folder / path.name).symlink_to(path)
    content = json.loads((MODEL / "model.json").read_text("utf-8"))
    content["scheduler"] = scheduler
    content["prediction_type"] = scheduler["prediction_type"]
    content["defaults"]["sampler"] = sampler_of(scheduler) or "euler"
    content["vae"] |= vae
    (folder / "model.json").write_text(json.dumps(content, allow_nan=False), "utf-8")
    return folder


def test_every_key_of_the_table_is_tried() -> None:
    flags = {key for each in CLASS_DEFAULTS.values() for key in each if each[key] in (True, False)}
    assert set(ACCEPTED) <= set(VALUES) | flags


def test_what_the_exporter_takes_the_server_draws_with(tmp_path: Path) -> None:
    settings = accepted()
    assert len(settings) > 100
    models = {
        f"m{number}": model_directory(tmp_path / f"m{number}", each, {})
        for number, each in enumerate(settings)
    }
    failed = []
    specs = [f"{name}={folder},format=hf8,preload=false" for name, folder in models.items()]
    (tmp_path / "server").mkdir()
    with ServerProcess(tmp_path / "server", specs) as server:
        for number, name in enumerate(models):
            # Two steps, where they can be apart.
            count = "2" if settings[number]["num_train_timesteps"] > 2 else "1"
            image = str(tmp_path / "x.png")
            drawn = server.cli("generate", "x", "--model", name, "--steps", count, "-o", image)
            if drawn.returncode != 0:
                failed.append((settings[number], drawn.stderr))
    assert not failed, f"{len(failed)} of {len(settings)}, first {failed[0]}"


@pytest.mark.parametrize("value", [None, 0, 0.0, 0.1159, -0.5])
def test_a_shifting_vae_is_refused_unless_it_shifts_by_nothing(value: float | None) -> None:
    vae = {"latent_channels": 4, "scaling_factor": 0.13025, "shift_factor": value}
    if not value:
        check_vae(vae, {"in_channels": 4})
        return
    with pytest.raises(SourceError, match="shift_factor"):
        check_vae(vae, {"in_channels": 4})


@pytest.mark.parametrize("value", [None, 0, -1.0, math.inf, math.nan, "0.13", True, 1001])
def test_a_vae_without_a_scaling_is_refused(value: Any) -> None:
    vae = {"latent_channels": 4, "scaling_factor": value}
    with pytest.raises(SourceError, match="scaling_factor"):
        check_vae(vae, {"in_channels": 4})
