"""Writes tests/golden/samplers.json: noise schedules and sampled latents of diffusers' schedulers.

Run: .venv/bin/python tests/python/make_sampler_golden.py
The UNet is replaced by the function in `predict_noise`, so no weights are needed.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

# Its file imports torchsde for a source of noise, in whose place ours is put.
sys.modules.setdefault("torchsde", types.ModuleType("torchsde"))
from diffusers.schedulers.scheduling_dpmsolver_sde import (  # noqa: E402
    DPMSolverSDEScheduler,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "samplers.json"

SDXL: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
LINEAR: dict[str, Any] = SDXL | {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
CONFIGS: dict[str, dict[str, Any]] = {
    "sdxl": SDXL,
    "trailing": SDXL | {"timestep_spacing": "trailing"},
    "linspace": SDXL | {"timestep_spacing": "linspace", "steps_offset": 0},
    "linear": LINEAR | {"steps_offset": 0},
    "short": LINEAR | {"num_train_timesteps": 50},
    "v": SDXL | {"prediction_type": "v_prediction"},
    "v trailing": SDXL | {"prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    "v zero snr": SDXL
    | {
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "rescale_betas_zero_snr": True,
    },
    "linspace offset": SDXL | {"timestep_spacing": "linspace"},
    "v linspace": SDXL | {"prediction_type": "v_prediction", "timestep_spacing": "linspace"},
    "v zero snr leading": SDXL
    | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True},
    "v zero snr linspace": SDXL
    | {
        "prediction_type": "v_prediction",
        "timestep_spacing": "linspace",
        "rescale_betas_zero_snr": True,
    },
    "last alpha trailing": SDXL | {"set_alpha_to_one": False, "timestep_spacing": "trailing"},
    "sigma_min trailing": SDXL
    | {"final_sigmas_type": "sigma_min", "timestep_spacing": "trailing"},
    "alpha one": SDXL | {"set_alpha_to_one": True},
    "last alpha": SDXL | {"set_alpha_to_one": False},
    "sigma_min": SDXL | {"final_sigmas_type": "sigma_min"},
    "clipped": SDXL | {"clip_sample": True},
    "v clipped": SDXL
    | {"prediction_type": "v_prediction", "clip_sample": True, "clip_sample_range": 0.4},
}
SCHEDULED = (
    *("sdxl", "trailing", "linspace", "linear", "short", "v", "v trailing", "v zero snr"),
    *("last alpha", "sigma_min"),
)
# Whose fields the model's config has, but that are not of the model.
KARRAS, EXPONENTIAL = {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}
SDE = {"algorithm_type": "sde-dpmsolver++"}
STEP_COUNTS = (1, 2, 3, 7, 8, 20, 25, 49)
# Latents of three images, 4 channels, 5 x 6; of two of 2 x 3 for samplers that joined later, which
# keeps the file small.
SHAPE = (3, 4, 5, 6)
SMALL_SHAPE = (2, 4, 2, 3)
SEED = 7
SAMPLERS: dict[str, tuple[type, dict[str, Any]]] = {
    "euler": (EulerDiscreteScheduler, {}),
    "euler-karras": (EulerDiscreteScheduler, KARRAS),
    "euler-exponential": (EulerDiscreteScheduler, EXPONENTIAL),
    "euler-a": (EulerAncestralDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False}),
    "dpmpp-2m": (DPMSolverMultistepScheduler, {}),
    "dpmpp-2m-karras": (DPMSolverMultistepScheduler, KARRAS),
    "dpmpp-2m-sde-karras": (DPMSolverMultistepScheduler, KARRAS | SDE),
    "dpmpp-sde": (DPMSolverSDEScheduler, {}),
    "dpmpp-sde-karras": (DPMSolverSDEScheduler, KARRAS),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "kdpm2": (KDPM2DiscreteScheduler, {}),
    "kdpm2-karras": (KDPM2DiscreteScheduler, KARRAS),
    "kdpm2-a": (KDPM2AncestralDiscreteScheduler, {}),
    "kdpm2-a-karras": (KDPM2AncestralDiscreteScheduler, KARRAS),
    "deis": (DEISMultistepScheduler, {}),
    "deis-karras": (DEISMultistepScheduler, KARRAS),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
    "ddpm": (DDPMScheduler, {"clip_sample": False}),
}
SMALL = (*tuple(SAMPLERS)[-8:], "dpmpp-3m-sde", "dpmpp-3m-sde-karras")
SAMPLED = (
    *(("sdxl", 8), ("sdxl", 3), ("sdxl", 20), ("trailing", 4), ("trailing", 17), ("linspace", 3)),
    *(("linspace", 9), ("linear", 1), ("linear", 2), ("v", 6), ("v", 16), ("v trailing", 5)),
    *(("v zero snr", 4), ("v zero snr", 15), ("last alpha", 5), ("sigma_min", 5)),
    *(("sigma_min", 16), ("short", 7), ("clipped", 3), ("clipped", 9), ("v clipped", 6)),
    *(("trailing", 1), ("trailing", 2), ("linspace offset", 5)),
    *(("v linspace", 4), ("v zero snr leading", 6), ("v zero snr linspace", 5)),
    *(("last alpha trailing", 5), ("sigma_min trailing", 5)),
)
# Of configurations that mean something to one sampler alone.
SAMPLED_ALONE = {"pndm": (("alpha one", 5),)}
# diffusers has no scheduler of these, or none for every configuration: k-diffusion's formulas. Its
# "dpmpp_3m_sde" is no DPMSolverMultistepScheduler with solver_order 3 and sde-dpmsolver++: that one
# weights second differences by 1 less, and takes its second step as 2M does.
FORMULAS = (
    *("dpmpp-2s-a", "dpmpp-2s-a-karras", "dpmpp-sde", "dpmpp-sde-karras"),
    *("dpmpp-3m-sde", "dpmpp-3m-sde-karras"),
)
# Classes that ignore rescale_betas_zero_snr: over Euler's noise levels of it. All in fp64, since
# what is cancelled out may be thousands of times what is left.
OVER_EULERS_LEVELS = (
    KDPM2DiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    DEISMultistepScheduler,
)


def predict_noise(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """A smooth function of both inputs in the place of the UNet."""
    return torch.tanh(0.7 * sample + 1e-3 * timestep)


def schedule(name: str, step_count: int) -> dict[str, Any]:
    scheduler = EulerDiscreteScheduler.from_config(CONFIGS[name])
    scheduler.set_timesteps(step_count)
    return {
        "config": name,
        "step_count": step_count,
        "timesteps": scheduler.timesteps.tolist(),
        "sigmas": scheduler.sigmas.tolist(),
        "init_noise_sigma": float(scheduler.init_noise_sigma),
    }


def shape_of(sampler: str) -> tuple[int, ...]:
    return SMALL_SHAPE if sampler in SMALL else SHAPE


def drawn(generators: list[torch.Generator], shape: tuple[int, ...]) -> torch.Tensor:
    return torch.cat([torch.randn((1, *shape[1:]), generator=g) for g in generators])


def first_noise(shape: tuple[int, ...]) -> tuple[list[torch.Generator], torch.Tensor]:
    """A generator for each image, and what each drew first."""
    generators = [torch.Generator().manual_seed(SEED + i) for i in range(shape[0])]
    return generators, drawn(generators, shape)


def made(sampler: str, name: str, step_count: int) -> Any:
    kind, settings = SAMPLERS[sampler]
    scheduler = kind.from_config(settings | CONFIGS[name])
    if kind in OVER_EULERS_LEVELS:
        scheduler.alphas_cumprod = EulerDiscreteScheduler.from_config(CONFIGS[name]).alphas_cumprod
    scheduler.set_timesteps(step_count)
    if kind in OVER_EULERS_LEVELS:
        scheduler.sigmas = scheduler.sigmas.double()
        if kind is not DEISMultistepScheduler:
            set_levels_again(scheduler)
    return scheduler


def set_levels_again(scheduler: Any) -> None:
    """In fp64, what a KDPM2 scheduler computed of its levels: where steps go, and their middles
    with the timesteps of these."""
    levels = scheduler.sigmas[::2]
    is_ancestral = isinstance(scheduler, KDPM2AncestralDiscreteScheduler)
    down = levels[1:] ** 2 / levels[:-1] if is_ancestral else levels[1:]
    middles = (levels[:-1] * down) ** 0.5
    if is_ancestral:
        scheduler.sigmas_up = by_call((levels[1:] ** 2 - down**2) ** 0.5)
        scheduler.sigmas_down = by_call(down)
        scheduler.sigmas_interpol = by_call(middles)
    else:
        scheduler.sigmas_interpol = by_call(torch.cat([levels[:1], middles]))
    logs = scheduler.log_sigmas.numpy()
    told = [scheduler._sigma_to_t(middle, logs) for middle in middles[:-1].numpy()]
    scheduler.timesteps = scheduler.timesteps.double()
    scheduler.timesteps[1::2] = torch.tensor(np.array(told))


def by_call(of_steps: torch.Tensor) -> torch.Tensor:
    return torch.cat([of_steps[:1], of_steps[1:].repeat_interleave(2), of_steps[-1:]])


def sampled(sampler: str, name: str, step_count: int) -> dict[str, Any]:
    scheduler = made(sampler, name, step_count)
    shape = shape_of(sampler)
    generators, noise = first_noise(shape)
    latents = noise.to(scheduler.sigmas.dtype) if hasattr(scheduler, "sigmas") else noise
    latents = latents * scheduler.init_noise_sigma
    takes_noise = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generators} if takes_noise else {}
    if isinstance(scheduler, DPMSolverSDEScheduler):
        scheduler.noise_sampler = brownian(lambda: drawn(generators, shape))
    for timestep in scheduler.timesteps:
        prediction = predict_noise(scheduler.scale_model_input(latents, timestep), timestep)
        prediction = prediction.float()  # whose dtype is that of the noise that is drawn
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **extra)[0]
    return {
        "sampler": sampler,
        "config": name,
        "step_count": step_count,
        "seed": SEED,
        "shape": list(shape),
        "latents": latents.float().flatten().tolist(),
    }


def brownian(draw: Callable[[], torch.Tensor]) -> Callable[[Any, Any], torch.Tensor]:
    """A Brownian path over noise levels, asked for from a level down to another, as both formulas
    of k-diffusion do: an increment over its deviation. What was asked for stays as it is."""
    from_level, half_level, to_half = None, None, None

    def increment(sigma: Any, sigma_next: Any) -> torch.Tensor:
        nonlocal from_level, half_level, to_half
        begin, end = float(sigma), float(sigma_next)
        if from_level is None or abs(begin - from_level) > 1e-5 * begin:
            from_level, half_level = begin, end
            to_half = draw() * (begin - end) ** 0.5
            return to_half / (begin - end) ** 0.5
        assert half_level is not None and to_half is not None
        whole = to_half + draw() * (half_level - end) ** 0.5
        from_level = None
        return whole / (begin - end) ** 0.5

    return increment


def third_order_step(
    latents: torch.Tensor, past: list[tuple[float, torch.Tensor]], end: float
) -> torch.Tensor:
    """k-diffusion's "dpmpp_3m_sde" with eta 1, before noise is added: what Newton's polynomial
    through the clean latents of up to three steps gives. `past`: -log(sigma) and those latents,
    newest first."""
    (begin, newest), older = past[0], past[1:]
    length = end - begin
    decay = np.exp(-2 * length)
    moved = decay * latents + (1 - decay) * newest
    if not older:
        return moved
    slope = (newest - older[0][1]) / (begin - older[0][0])
    weight = 1 - (1 - decay) / (2 * length)
    if len(older) > 1:
        older_slope = (older[0][1] - older[1][1]) / (older[0][0] - older[1][0])
        curve = (slope - older_slope) / (begin - older[1][0])
        slope = slope + (begin - older[0][0]) * curve
        moved = moved - (weight / (2 * length) - 0.5) * length**2 * curve
    return moved + weight * length * slope


def sampled_by_formula(sampler: str, name: str, step_count: int) -> dict[str, Any]:
    """In fp64, written from the formulas: k-diffusion's methods over Euler's noise levels."""
    config = CONFIGS[name] | (KARRAS if sampler.endswith("karras") else {})
    scheduler = EulerDiscreteScheduler.from_config(config | {"final_sigmas_type": "zero"})
    scheduler.set_timesteps(step_count)
    sigmas = scheduler.sigmas.double().numpy()
    alphas = scheduler.alphas_cumprod.double().numpy()
    training = np.log(np.sqrt((1 - alphas) / alphas))
    shape = shape_of(sampler)
    generators, noise = first_noise(shape)

    def draw() -> torch.Tensor:
        return drawn(generators, shape).double()

    def clean(latents: torch.Tensor, sigma: float) -> torch.Tensor:
        timestep = float(np.interp(np.log(sigma), training, np.arange(len(training))))
        output = predict_noise(latents / (sigma**2 + 1) ** 0.5, torch.tensor(timestep))
        if config.get("prediction_type") == "v_prediction":
            return latents / (sigma**2 + 1) - output * sigma / (sigma**2 + 1) ** 0.5
        return latents - output * sigma

    def moved(latents: torch.Tensor, data: torch.Tensor, begin: float, end: float) -> torch.Tensor:
        return end / begin * latents + (1 - end / begin) * data

    def ancestral(begin: float, end: float) -> tuple[float, float]:
        up = end * (1 - (end / begin) ** 2) ** 0.5
        return up, end**2 / begin

    increment = brownian(draw)
    past: list[tuple[float, torch.Tensor]] = []
    latents = noise.double() * float(scheduler.init_noise_sigma)
    for begin, end in zip(sigmas[:-1], sigmas[1:], strict=True):
        first = clean(latents, begin)
        if end == 0:
            latents = first
        elif sampler.startswith("dpmpp-3m-sde"):
            past = [(-np.log(begin), first), *past[:2]]
            latents = third_order_step(latents, past, -np.log(end))
            latents = latents + draw() * (end**2 - end**4 / begin**2) ** 0.5
        elif sampler.startswith("dpmpp-sde"):
            half = (begin * end) ** 0.5
            up, down = ancestral(begin, half)
            middle = moved(latents, first, begin, down) + increment(begin, half) * up
            up, down = ancestral(begin, end)
            latents = moved(latents, clean(middle, half), begin, down)
            latents = latents + increment(begin, end) * up
        else:
            up, down = ancestral(begin, end)
            half = (begin * down) ** 0.5
            middle = moved(latents, first, begin, half)
            latents = moved(latents, clean(middle, half), begin, down) + draw() * up
    return {
        "sampler": sampler,
        "config": name,
        "step_count": step_count,
        "seed": SEED,
        "shape": list(shape),
        "latents": latents.float().flatten().tolist(),
    }


def is_known(sampler: str, name: str, step_count: int) -> bool:
    """Whether diffusers itself samples it without dividing by zero or taking other steps."""
    if sampler == "lcm" and CONFIGS[name]["num_train_timesteps"] < 1000:
        return False
    zero_snr = CONFIGS[name].get("rescale_betas_zero_snr")
    if zero_snr and sampler in ("heun", "dpmpp-sde", "dpmpp-sde-karras", "pndm"):
        return False  # diffusers' scheduler ignores it
    if sampler == "deis-karras" and step_count == 1:
        return False  # diffusers' scheduler stays where it begins
    if sampler.startswith("kdpm2-a") and (name, step_count) == ("linear", 2):
        return False  # from far above to next to nothing: it makes 350 times of what fp32 rounds
    scheduler = made(sampler, name, step_count)
    calls = step_count
    if scheduler.order == 2:
        calls = 2 * step_count - 1
    elif sampler == "pndm" and step_count > 1:
        calls = step_count + 1
    return len(scheduler.timesteps) == calls


def main() -> None:
    golden = {
        "made_with": {"diffusers": diffusers.__version__, "torch": torch.__version__},
        "configs": CONFIGS,
        "noise": first_noise(SHAPE)[1].flatten().tolist(),
        "schedules": [schedule(name, n) for name in SCHEDULED for n in STEP_COUNTS],
        "sampled": [
            sampled(s, name, n)
            for s in SAMPLERS
            for name, n in (*SAMPLED, *SAMPLED_ALONE.get(s, ()))
            if is_known(s, name, n)
        ]
        + [
            sampled_by_formula(s, name, n)
            for s in FORMULAS
            for name, n in SAMPLED
            if s not in SAMPLERS or not is_known(s, name, n)
        ],
    }
    text = json.dumps(golden, separators=(",", ":"))
    GOLDEN.write_text(text.replace('},{"', '},\n{"') + "\n")


if __name__ == "__main__":
    main()
