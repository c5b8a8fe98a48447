"""Writes tests/golden/samplers.json: noise schedules and sampled latents of diffusers' schedulers.

Run: .venv/bin/python tests/python/make_sampler_golden.py
The UNet is replaced by the function in `predict_noise`, so no weights are needed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler

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
}
STEP_COUNTS = (1, 2, 3, 7, 8, 20, 25, 49)
# Latents of three pictures, 4 channels, 5 x 6.
SHAPE = (3, 4, 5, 6)
SEED = 7
SAMPLERS = {"euler": EulerDiscreteScheduler, "euler-a": EulerAncestralDiscreteScheduler}
SAMPLED = (("sdxl", 8), ("trailing", 4), ("linspace", 3), ("linear", 1))


def predict_noise(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """A smooth function of both inputs in the place of the UNet."""
    return torch.tanh(0.7 * sample + 1e-3 * timestep)


def schedule(name: str, step_count: int) -> dict[str, Any]:
    scheduler = EulerDiscreteScheduler(**CONFIGS[name])
    scheduler.set_timesteps(step_count)
    return {
        "config": name,
        "step_count": step_count,
        "timesteps": scheduler.timesteps.tolist(),
        "sigmas": scheduler.sigmas.tolist(),
        "init_noise_sigma": float(scheduler.init_noise_sigma),
    }


def sampled(sampler: str, name: str, step_count: int) -> dict[str, Any]:
    scheduler = SAMPLERS[sampler].from_config(CONFIGS[name])
    scheduler.set_timesteps(step_count)
    generators = [torch.Generator().manual_seed(SEED + i) for i in range(SHAPE[0])]
    noise = torch.cat([torch.randn((1, *SHAPE[1:]), generator=g) for g in generators])
    latents = noise * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        prediction = predict_noise(scheduler.scale_model_input(latents, timestep), timestep)
        latents = scheduler.step(
            prediction, timestep, latents, generator=generators, return_dict=False
        )[0]
    return {
        "sampler": sampler,
        "config": name,
        "step_count": step_count,
        "seed": SEED,
        "shape": list(SHAPE),
        "noise": noise.flatten().tolist(),
        "latents": latents.flatten().tolist(),
    }


def main() -> None:
    golden = {
        "made_with": {"diffusers": diffusers.__version__, "torch": torch.__version__},
        "configs": CONFIGS,
        "schedules": [schedule(name, n) for name in CONFIGS for n in STEP_COUNTS],
        "sampled": [sampled(s, name, n) for s in SAMPLERS for name, n in SAMPLED],
    }
    text = json.dumps(golden, separators=(",", ":"))
    GOLDEN.write_text(text.replace('},{"', '},\n{"') + "\n")


if __name__ == "__main__":
    main()
