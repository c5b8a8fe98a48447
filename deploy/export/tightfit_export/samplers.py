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
    ("UniPCMultistepScheduler", ""): "unipc",
    ("LCMScheduler", ""): "lcm",
}
_DPM_SOLVERS = {
    ("dpmsolver++", ""): "dpmpp-2m",
    ("dpmsolver++", "karras"): "dpmpp-2m-karras",
    ("sde-dpmsolver++", "karras"): "dpmpp-2m-sde-karras",
}
_SPACINGS = ("karras", "exponential", "beta")


def sampler_of(scheduler: dict[str, Any]) -> str | None:
    """The sampler of a scheduler_config.json; None where the server has none of its own."""
    spacing = next((name for name in _SPACINGS if scheduler.get(f"use_{name}_sigmas")), "")
    if scheduler.get("solver_order", 2) != 2:
        return None
    if scheduler["_class_name"] != "DPMSolverMultistepScheduler":
        return _SAMPLERS.get((scheduler["_class_name"], spacing))
    if scheduler.get("euler_at_final") or scheduler.get("solver_type", "midpoint") != "midpoint":
        return None
    return _DPM_SOLVERS.get((scheduler.get("algorithm_type", "dpmsolver++"), spacing))
