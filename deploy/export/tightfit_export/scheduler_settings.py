"""What of a scheduler_config.json the server can draw with, and what it means in full.

`ACCEPTED` is the one table of the server's limits; a test tries every key of it on a real server.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tightfit_export.errors import SourceError
from tightfit_export.scheduler_classes import CLASS_DEFAULTS, Settings

PREDICTION_TYPES = ("epsilon", "v_prediction")
TIMESTEP_SPACINGS = ("leading", "trailing", "linspace")


@dataclass(frozen=True)
class Rule:
    """Which values of a setting can be served, and how to say so."""

    accepts: Callable[[Any], bool]
    wanted: str


def _one_of(*names: str) -> Rule:
    return Rule(lambda value: value in names, " or ".join(names))


def _whole(low: int, high: int) -> Rule:
    def accepts(value: Any) -> bool:
        return type(value) is int and low <= value <= high

    return Rule(accepts, f"a whole number from {low} to {high}")


def _number(high: float) -> Rule:
    def accepts(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value) and 0 < value <= high

    return Rule(accepts, f"a number above 0, at most {high:g}")


def _exactly(wanted: float) -> Rule:
    return Rule(lambda value: type(value) in (int, float) and value == wanted, f"{wanted:g}")


_FLAG = Rule(lambda value: type(value) is bool, "true or false")
_OFF = Rule(lambda value: value is False, "false")
_ABSENT = Rule(lambda value: value is None, "absent")
# Of the image's variance. Below it noise levels are infinite in fp32.
_LEAST_SIGNAL = 1e-30
_SPREADS = ("use_karras_sigmas", "use_exponential_sigmas")
# JSON has no word for it; Python writes -Infinity.
_NO_CUT = Rule(lambda value: value in (None, -math.inf, "-Infinity", "-inf"), "absent")

ACCEPTED: dict[str, Rule] = {
    "num_train_timesteps": _whole(1, 100000),
    "beta_start": _number(1.0),
    "beta_end": _number(1.0),
    "beta_schedule": _one_of("linear", "scaled_linear"),
    "trained_betas": _ABSENT,
    "prediction_type": _one_of(*PREDICTION_TYPES),
    "timestep_spacing": _one_of(*TIMESTEP_SPACINGS),
    "steps_offset": _whole(0, 100000),
    "timestep_type": _one_of("discrete"),
    "interpolation_type": _one_of("linear"),
    "final_sigmas_type": _one_of("zero", "sigma_min"),
    "rescale_betas_zero_snr": _FLAG,
    "set_alpha_to_one": _FLAG,
    "clip_sample": _FLAG,
    "clip_sample_range": _number(1e6),
    "thresholding": _OFF,
    "sigma_min": _ABSENT,
    "sigma_max": _ABSENT,
    "shift_terminal": _ABSENT,
    "use_karras_sigmas": _FLAG,
    "use_exponential_sigmas": _FLAG,
    "use_beta_sigmas": _OFF,
    "use_flow_sigmas": _OFF,
    "use_lu_lambdas": _OFF,
    "use_dynamic_shifting": _OFF,
    "lambda_min_clipped": _NO_CUT,
    "original_inference_steps": _exactly(50),
    "timestep_scaling": _exactly(10.0),
}


def resolved(config: Settings, class_name: str | None = None) -> Settings:
    """The settings that diffusers' class goes by: absent keys take that class's own defaults.

    `class_name` is model_index.json's, which goes over the file's own. Errors: SourceError for what
    the server cannot draw with.
    """
    own_class = config.get("_class_name")
    if own_class is None:
        raise SourceError("scheduler/scheduler_config.json names no _class_name")
    for name in (own_class, class_name or own_class):
        _check_class(str(name))
    class_name = class_name or str(own_class)
    defaults = CLASS_DEFAULTS[class_name]
    settings = defaults | {key: value for key, value in config.items() if key in defaults}
    settings = {key: _without_null(key, value) for key, value in settings.items()}
    for key, value in settings.items():
        check_setting(key, value)
    spreads = [key for key in _SPREADS if settings.get(key)]
    if len(spreads) > 1:
        raise SourceError(f"the scheduler has {' and '.join(spreads)}, which exclude each other")
    _check_signal(settings)
    # Keys that the class does not take are kept for requests that name another sampler, as
    # diffusers keeps them for another scheduler.
    foreign = CLASS_DEFAULTS[str(own_class)] if class_name != own_class else {}
    others = {
        key: value
        for key, value in config.items()
        if key not in defaults and key not in foreign and _is_harmless(key, value)
    }
    # Of a class that takes no such key: it lays its steps out so by itself.
    unspaced = {"timestep_spacing": "linspace", "steps_offset": 0}
    result = unspaced | others | settings | {"_class_name": class_name}
    return {key: result[key] for key in sorted(result) if _has_json(result[key])}


def check_setting(key: str, value: Any) -> None:
    """Errors: SourceError if the server cannot draw with it."""
    if key not in ACCEPTED or ACCEPTED[key].accepts(value):
        return
    if key == "prediction_type":
        raise SourceError(
            f"prediction type '{value}' cannot be served, only 'epsilon' and 'v_prediction'"
        )
    raise SourceError(
        f"the scheduler's {key} is {_shown(value)}, which cannot be served; "
        f"it must be {ACCEPTED[key].wanted}"
    )


def _check_signal(settings: Settings) -> None:
    """Errors: SourceError if so little signal is left at the last timestep that fp32 loses it, or
    if all steps lie beyond it."""
    count = settings["num_train_timesteps"]
    if settings.get("timestep_spacing") == "leading" and settings["steps_offset"] >= count:
        raise SourceError(
            f"the scheduler's steps_offset is {settings['steps_offset']}, beyond the last of "
            f"{count} timesteps"
        )
    is_scaled = settings["beta_schedule"] == "scaled_linear"
    first, last = settings["beta_start"], settings["beta_end"]
    if is_scaled:
        first, last = math.sqrt(first), math.sqrt(last)
    log_signal = 0.0
    for index in range(count):
        beta = first + (last - first) * index / max(1, count - 1)
        beta = beta * beta if is_scaled else beta
        log_signal += math.log1p(-beta) if beta < 1 else -math.inf
    if log_signal < math.log(_LEAST_SIGNAL):
        raise SourceError(
            f"the scheduler's betas from {settings['beta_start']} to {settings['beta_end']} leave "
            f"nothing of an image after {count} timesteps; SDXL's go from 0.00085 to 0.012 over "
            "1000, scaled_linear"
        )


def _check_class(name: str) -> None:
    if name in CLASS_DEFAULTS:
        return
    why = "is none whose noise levels tightfit knows"
    if "Flow" in name:
        why = "is for models trained by flow matching"
    elif name.startswith("EDM"):
        why = "is for EDM models (as Playground v2.5 and CosXL are)"
    raise SourceError(
        f"the scheduler {name} {why}; tightfit serves epsilon and v-prediction models alone"
    )


def _without_null(key: str, value: Any) -> Any:
    """diffusers takes null for false where it asks for a flag."""
    is_flag = ACCEPTED.get(key) in (_FLAG, _OFF)
    return False if value is None and is_flag else value


def _is_harmless(key: str, value: Any) -> bool:
    return value is None or key not in ACCEPTED or ACCEPTED[key].accepts(value)


def _has_json(value: Any) -> bool:
    """JSON has neither infinity nor NaN, also inside of lists."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, (list, tuple)):
        return all(_has_json(each) for each in value)
    if isinstance(value, dict):
        return all(_has_json(each) for each in value.values())
    return True


def _shown(value: Any) -> str:
    text = str(value)
    return f"{text[:40]}..." if len(text) > 40 else text
