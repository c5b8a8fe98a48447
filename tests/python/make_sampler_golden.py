"""Writes tests/golden/samplers.json: noise schedules and sampled latents of diffusers' schedulers.

Run: .venv/bin/python tests/python/make_sampler_golden.py
The UNet is replaced by the function in `predict_noise`, so no weights are needed.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
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
    "last alpha": SDXL | {"set_alpha_to_one": False},
    "sigma_min": SDXL | {"final_sigmas_type": "sigma_min"},
    "clipped": SDXL | {"clip_sample": True},
    "v clipped": SDXL
    | {"prediction_type": "v_prediction", "clip_sample": True, "clip_sample_range": 0.4},
}
# Whose fields the model's config has, but that are not of the model.
KARRAS, EXPONENTIAL = {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}
SDE = {"algorithm_type": "sde-dpmsolver++"}
STEP_COUNTS = (1, 2, 3, 7, 8, 20, 25, 49)
# Latents of three pictures, 4 channels, 5 x 6.
SHAPE = (3, 4, 5, 6)
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
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
}
SAMPLED = (
    *(("sdxl", 8), ("sdxl", 3), ("sdxl", 20), ("trailing", 4), ("trailing", 17), ("linspace", 3)),
    *(("linspace", 9), ("linear", 1), ("linear", 2), ("v", 6), ("v", 16), ("v trailing", 5)),
    *(("v zero snr", 4), ("v zero snr", 15), ("last alpha", 5), ("sigma_min", 5)),
    *(("sigma_min", 16), ("short", 7), ("clipped", 3), ("clipped", 9), ("v clipped", 6)),
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


def first_noise() -> tuple[list[torch.Generator], torch.Tensor]:
    """A generator for each picture, and what each drew first."""
    generators = [torch.Generator().manual_seed(SEED + i) for i in range(SHAPE[0])]
    return generators, torch.cat([torch.randn((1, *SHAPE[1:]), generator=g) for g in generators])


def sampled(sampler: str, name: str, step_count: int) -> dict[str, Any]:
    kind, settings = SAMPLERS[sampler]
    scheduler = kind.from_config(settings | CONFIGS[name])
    scheduler.set_timesteps(step_count)
    generators, noise = first_noise()
    latents = noise * scheduler.init_noise_sigma
    takes_noise = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generators} if takes_noise else {}
    for timestep in scheduler.timesteps:
        prediction = predict_noise(scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **extra)[0]
    return {
        "sampler": sampler,
        "config": name,
        "step_count": step_count,
        "seed": SEED,
        "shape": list(SHAPE),
        "latents": latents.flatten().tolist(),
    }


def is_known(sampler: str, name: str, step_count: int) -> bool:
    """Whether diffusers itself samples it without dividing by zero or taking other steps."""
    if sampler == "lcm" and CONFIGS[name]["num_train_timesteps"] < 1000:
        return False
    if sampler == "heun" and CONFIGS[name].get("rescale_betas_zero_snr"):
        return False  # diffusers' scheduler ignores it
    kind, settings = SAMPLERS[sampler]
    scheduler = kind.from_config(settings | CONFIGS[name])
    scheduler.set_timesteps(step_count)
    return len(scheduler.timesteps) == (2 * step_count - 1 if sampler == "heun" else step_count)


def main() -> None:
    golden = {
        "made_with": {"diffusers": diffusers.__version__, "torch": torch.__version__},
        "configs": CONFIGS,
        "noise": first_noise()[1].flatten().tolist(),
        "schedules": [schedule(name, n) for name in CONFIGS for n in STEP_COUNTS],
        "sampled": [
            sampled(s, name, n) for s in SAMPLERS for name, n in SAMPLED if is_known(s, name, n)
        ],
    }
    text = json.dumps(golden, separators=(",", ":"))
    GOLDEN.write_text(text.replace('},{"', '},\n{"') + "\n")


if __name__ == "__main__":
    main()
