"""diffusers' scheduler classes that tightfit reads, each with what it takes where a key is absent.

Written down here, so that a source is refused before the libraries are loaded; a test holds the
table against the installed diffusers.
"""

from __future__ import annotations

from typing import Any

Settings = dict[str, Any]

_BETAS: Settings = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "trained_betas": None,
    "prediction_type": "epsilon",
}
_SDXL_BETAS: Settings = _BETAS | {"beta_start": 0.00085, "beta_end": 0.012}
_SCALED_BETAS: Settings = _SDXL_BETAS | {"beta_schedule": "scaled_linear"}
_SPREAD: Settings = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
}
_LINSPACE: Settings = {"timestep_spacing": "linspace", "steps_offset": 0}
_LEADING: Settings = {"timestep_spacing": "leading", "steps_offset": 0}
_CLIPPING: Settings = {"clip_sample_range": 1.0, "sample_max_value": 1.0}
_THRESHOLDING: Settings = {"thresholding": False, "dynamic_thresholding_ratio": 0.995}
_ZERO_SNR: Settings = {"rescale_betas_zero_snr": False}
_FLOW: Settings = {
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
}
_MULTISTEP: Settings = (
    _BETAS
    | _SPREAD
    | _THRESHOLDING
    | _FLOW
    | {"solver_order": 2, "sample_max_value": 1.0, "lower_order_final": True}
)
_DPM: Settings = _MULTISTEP | {
    "algorithm_type": "dpmsolver++",
    "solver_type": "midpoint",
    "final_sigmas_type": "zero",
    "lambda_min_clipped": float("-inf"),
    "variance_type": None,
}
_CONSISTENCY: Settings = (
    _SCALED_BETAS
    | _LEADING
    | _CLIPPING
    | _THRESHOLDING
    | _ZERO_SNR
    | {
        "original_inference_steps": 50,
        "clip_sample": False,
        "set_alpha_to_one": True,
        "timestep_scaling": 10.0,
    }
)
_DDIM: Settings = (
    _BETAS
    | _LEADING
    | _CLIPPING
    | _THRESHOLDING
    | _ZERO_SNR
    | {"clip_sample": True, "set_alpha_to_one": True}
)
_DDPM: Settings = (
    _BETAS
    | _LEADING
    | _CLIPPING
    | _THRESHOLDING
    | _ZERO_SNR
    | {"clip_sample": True, "variance_type": "fixed_small"}
)

CLASS_DEFAULTS: dict[str, Settings] = {
    # Those that a sampler of the server is named after.
    "EulerDiscreteScheduler": _BETAS
    | _SPREAD
    | _LINSPACE
    | _ZERO_SNR
    | {
        "interpolation_type": "linear",
        "sigma_min": None,
        "sigma_max": None,
        "timestep_type": "discrete",
        "final_sigmas_type": "zero",
    },
    "EulerAncestralDiscreteScheduler": _BETAS | _LINSPACE | _ZERO_SNR,
    "HeunDiscreteScheduler": _SDXL_BETAS
    | _SPREAD
    | _LINSPACE
    | {"clip_sample": False, "clip_sample_range": 1.0},
    "DDIMScheduler": _DDIM,
    "DPMSolverMultistepScheduler": _DPM
    | _LINSPACE
    | _ZERO_SNR
    | {"euler_at_final": False, "use_lu_lambdas": False},
    "UniPCMultistepScheduler": _MULTISTEP
    | _LINSPACE
    | _ZERO_SNR
    | {
        "predict_x0": True,
        "solver_type": "bh2",
        "disable_corrector": [],
        "solver_p": None,
        "final_sigmas_type": "zero",
        "sigma_min": None,
        "sigma_max": None,
        "shift_terminal": None,
    },
    "LCMScheduler": _CONSISTENCY,
    "DDPMScheduler": _DDPM,
    "DEISMultistepScheduler": _MULTISTEP
    | _LINSPACE
    | {"algorithm_type": "deis", "solver_type": "logrho"},
    "DPMSolverSDEScheduler": _SDXL_BETAS | _SPREAD | _LINSPACE | {"noise_sampler_seed": None},
    "KDPM2AncestralDiscreteScheduler": _SDXL_BETAS | _SPREAD | _LINSPACE,
    "KDPM2DiscreteScheduler": _SDXL_BETAS | _SPREAD | _LINSPACE,
    "PNDMScheduler": _BETAS | _LEADING | {"skip_prk_steps": False, "set_alpha_to_one": False},
    # Those whose noise levels the server knows, to be drawn with another sampler.
    "DDIMParallelScheduler": _DDIM,
    "DDPMParallelScheduler": _DDPM,
    "DPMSolverSinglestepScheduler": _DPM | {"lower_order_final": False},
    "LMSDiscreteScheduler": _BETAS | _SPREAD | _LINSPACE,
    "TCDScheduler": _CONSISTENCY,
}
