"""Which of the server's samplers draws as a diffusers scheduler does."""

from __future__ import annotations

from typing import Any

# By scheduler class and how it spreads its noise levels.
_SAMPLERS = {
    ("EulerDiscreteScheduler", ""): "euler",
    ("EulerDiscreteScheduler", "karras"): "euler-karras",
    ("EulerDiscreteScheduler", "exponential"): "euler-exponential",
    ("EulerAncestralDiscreteScheduler", ""): "euler-a",
    ("HeunDiscreteScheduler", ""): "heun",
    ("DDIMScheduler", ""): "ddim",
    ("DPMSolverSDEScheduler", ""): "dpmpp-sde",
    ("DPMSolverSDEScheduler", "karras"): "dpmpp-sde-karras",
    ("KDPM2DiscreteScheduler", ""): "kdpm2",
    ("KDPM2DiscreteScheduler", "karras"): "kdpm2-karras",
    ("KDPM2AncestralDiscreteScheduler", ""): "kdpm2-a",
    ("KDPM2AncestralDiscreteScheduler", "karras"): "kdpm2-a-karras",
    ("DEISMultistepScheduler", ""): "deis",
    ("DEISMultistepScheduler", "karras"): "deis-karras",
    ("UniPCMultistepScheduler", ""): "unipc",
    ("PNDMScheduler", ""): "pndm",
    ("DDPMScheduler", ""): "ddpm",
    ("LCMScheduler", ""): "lcm",
}
_DPM_SOLVERS = {
    ("dpmsolver++", ""): "dpmpp-2m",
    ("dpmsolver++", "karras"): "dpmpp-2m-karras",
    ("sde-dpmsolver++", "karras"): "dpmpp-2m-sde-karras",
}
_SPACINGS = ("karras", "exponential", "beta")
# Names of other classes' solvers, which these classes take for their own.
_MIDPOINT = ("midpoint", "logrho", "bh1", "bh2")
_BH2 = ("bh2", "midpoint", "heun", "logrho")
# One variance, said as itself and by its logarithm.
_SMALL_VARIANCE = ("fixed_small", "fixed_small_log")
# Most steps that a sampler takes, whatever the model.
MAX_STEPS = {"lcm": 50}
# What these cannot do: see `SaysWhatASamplerCannotDo` among the server's tests.
_NOT_FROM_PURE_NOISE = ("ddim", "lcm", "ddpm")
_NEVER_FROM_PURE_NOISE = ("pndm",)


def sampler_of(scheduler: dict[str, Any]) -> str | None:
    """The sampler of a scheduler's whole settings; None where the server has none of its own."""
    spacing = next((name for name in _SPACINGS if scheduler.get(f"use_{name}_sigmas")), "")
    if scheduler.get("solver_order", 2) != 2:
        return None
    if scheduler["_class_name"] == "DPMSolverMultistepScheduler":
        return _dpm_solver(scheduler, spacing)
    is_plain = _IS_PLAIN.get(scheduler["_class_name"])
    if is_plain is not None and not is_plain(scheduler):
        return None
    sampler = _SAMPLERS.get((scheduler["_class_name"], spacing))
    return sampler if sampler is None or can_draw(sampler, scheduler) else None


def can_draw(sampler: str, scheduler: dict[str, Any]) -> bool:
    """Whether a sampler can begin where the model's noise levels begin."""
    if not scheduler.get("rescale_betas_zero_snr"):
        return True
    if sampler in _NEVER_FROM_PURE_NOISE:
        return False
    predicts_noise = scheduler.get("prediction_type", "epsilon") == "epsilon"
    return not (predicts_noise and sampler in _NOT_FROM_PURE_NOISE)


def _dpm_solver(scheduler: dict[str, Any], spacing: str) -> str | None:
    if scheduler.get("euler_at_final") or scheduler.get("solver_type", "midpoint") not in _MIDPOINT:
        return None
    ends_clean = scheduler.get("final_sigmas_type", "zero") == "zero"
    if not ends_clean and not scheduler.get("lower_order_final", True):
        return None
    algorithm = scheduler.get("algorithm_type", "dpmsolver++")
    return _DPM_SOLVERS.get(("dpmsolver++" if algorithm == "deis" else algorithm, spacing))


def _is_plain_unipc(scheduler: dict[str, Any]) -> bool:
    return bool(
        scheduler.get("predict_x0", True)
        and scheduler.get("lower_order_final", True)
        and scheduler.get("solver_type", "bh2") in _BH2
        and not scheduler.get("disable_corrector")
        and scheduler.get("solver_p") is None
    )


def _is_plain_deis(scheduler: dict[str, Any]) -> bool:
    return bool(scheduler.get("lower_order_final", True))


def _is_plain_pndm(scheduler: dict[str, Any]) -> bool:
    return bool(scheduler.get("skip_prk_steps"))


def _is_plain_ddpm(scheduler: dict[str, Any]) -> bool:
    return scheduler.get("variance_type", "fixed_small") in _SMALL_VARIANCE


# Settings of a class that the sampler named after it does not have.
_IS_PLAIN = {
    "UniPCMultistepScheduler": _is_plain_unipc,
    "DEISMultistepScheduler": _is_plain_deis,
    "PNDMScheduler": _is_plain_pndm,
    "DDPMScheduler": _is_plain_ddpm,
}
