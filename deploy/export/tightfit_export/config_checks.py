"""Tells from a pipeline's configuration files whether tightfit can serve it."""

from __future__ import annotations

import math
from typing import Any

from tightfit_export import MAX_TOKENS
from tightfit_export.errors import SourceError
from tightfit_export.foreign_layouts import LCM_UNET, REFINER, refuse_channels
from tightfit_export.quantisation.refusals import quantisation_of

Config = dict[str, Any]

_PIPELINE_CLASSES = (
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
)
_OTHER_PIPELINES = {
    "StableDiffusionXLInstructPix2PixPipeline": "InstructPix2Pix edits images",
    "StableDiffusionPipeline": "Stable Diffusion 1.x or 2.x",
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "FluxPipeline": "Flux",
}


# Of VAEs that have other latents than SDXL's.
_FOREIGN_SCALINGS = {
    0.18215: "Stable Diffusion 1.x and 2.x",
    0.41407: "PixArt",
    1.5305: "Stable Diffusion 3",
    0.3611: "Flux",
}
SDXL_SCALING = 0.13025
_MAX_SCALING = 1000.0  # the server's limit


def check_configs(configs: dict[str, Config]) -> None:
    """`configs` are by component. Errors: SourceError with the first thing wrong."""
    for component, config in configs.items():
        quantisation_of(component, config)
    check_unet(configs["unet"])
    check_vae(configs["vae"], configs["unet"])
    _check_text_encoders(configs)


def check_model_index(index: Config) -> None:
    class_name = index.get("_class_name")
    if class_name not in _PIPELINE_CLASSES:
        known = _OTHER_PIPELINES.get(str(class_name))
        raise SourceError(
            f"not an SDXL pipeline: model_index.json says {class_name}"
            + (f" ({known}); tightfit serves SDXL text-to-image models" if known else "")
        )
    text_encoder = index.get("text_encoder") or [None, None]
    if index.get("requires_aesthetics_score") or text_encoder[1] is None:
        raise SourceError(REFINER)
    expected = {
        "unet": "UNet2DConditionModel",
        "vae": "AutoencoderKL",
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
    }
    for component, wanted in expected.items():
        found = (index.get(component) or [None, None])[1]
        if found != wanted:
            raise SourceError(f"{component} is a {found}; SDXL has a {wanted}")


def check_unet(unet: Config) -> None:
    """Errors: SourceError where the UNet is none of SDXL's kind."""
    if unet.get("addition_embed_type") != "text_time":
        raise SourceError(
            f"not an SDXL UNet: addition_embed_type is {unet.get('addition_embed_type')}, "
            "not text_time"
        )
    if unet.get("time_cond_proj_dim") is not None:
        raise SourceError(LCM_UNET)
    refuse_channels(unet.get("in_channels", 0))
    if unet.get("in_channels") != 4 or unet.get("out_channels") != 4:
        raise SourceError(
            f"the UNet has {unet.get('in_channels')} input and {unet.get('out_channels')} output "
            "channels; SDXL has 4 and 4"
        )
    if unet.get("class_embed_type") is not None or unet.get("encoder_hid_dim_type") is not None:
        raise SourceError("the UNet wants class labels or image embeddings; SDXL has neither")


def check_vae(vae: Config, unet: Config) -> None:
    """Errors: SourceError where the VAE does not go with SDXL."""
    if vae.get("latent_channels") != unet["in_channels"]:
        raise SourceError(f"the VAE has {vae.get('latent_channels')} latent channels, the UNet 4")
    if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
        raise SourceError("the VAE normalises latents by mean and std; tightfit only scales them")
    scaling = vae.get("scaling_factor")
    if not scaling:
        raise SourceError("the VAE's scaling_factor is missing")
    if type(scaling) not in (int, float) or not 0 < scaling <= _MAX_SCALING:
        raise SourceError(f"the VAE's scaling_factor is {scaling}, no number above 0")
    # SDXL's pipeline in diffusers does not shift, so that 0 says nothing else.
    if vae.get("shift_factor"):
        raise SourceError(
            f"the VAE shifts latents (shift_factor {vae['shift_factor']}, as those of Stable "
            "Diffusion 3 and Flux do); SDXL's only scales them"
        )


def vae_notes(vae: Config, expected: float) -> tuple[str, ...]:
    """What to say of a VAE that has SDXL's shapes and another scaling of its latents."""
    scaling = vae["scaling_factor"]
    if math.isclose(scaling, expected, rel_tol=1e-4):
        return ()
    known = next((name for value, name in _FOREIGN_SCALINGS.items() if value == scaling), None)
    whose = f", as VAEs of {known} have it" if known else ""
    if known is None and expected == SDXL_SCALING:
        return ()  # a VAE that was trained with this UNet
    return (
        f"the VAE's scaling_factor is {scaling}{whose}, not {expected}: unless this model was "
        "trained with that VAE, its images will be wrong; take SDXL's own VAE",
    )


def _check_text_encoders(configs: dict[str, Config]) -> None:
    unet = configs["unet"]
    for component in ("text_encoder", "text_encoder_2"):
        config = configs[component]
        if config.get("max_position_embeddings", MAX_TOKENS) != MAX_TOKENS:
            raise SourceError(
                f"{component} takes {config['max_position_embeddings']} tokens; "
                f"CLIP takes {MAX_TOKENS}"
            )
    width_2 = configs["text_encoder_2"]["hidden_size"]
    pooled = configs["text_encoder_2"]["projection_dim"]
    time_ids_of = unet.get("addition_time_embed_dim", 0)
    # A refiner hears text encoder 2 alone and takes a score in place of a size.
    if unet.get("cross_attention_dim") == width_2 and (
        unet.get("projection_class_embeddings_input_dim") == 5 * time_ids_of + pooled
    ):
        raise SourceError(REFINER)
    hidden = configs["text_encoder"]["hidden_size"] + width_2
    if unet.get("cross_attention_dim") != hidden:
        raise SourceError(
            f"the UNet's cross_attention_dim is {unet.get('cross_attention_dim')}, "
            f"the text encoders' hidden states have {hidden}"
        )
    wanted = 6 * time_ids_of + pooled
    if unet.get("projection_class_embeddings_input_dim") != wanted:
        raise SourceError(
            "the UNet's projection_class_embeddings_input_dim is "
            f"{unet.get('projection_class_embeddings_input_dim')}, not {wanted} "
            "(six time ids and the pooled embedding)"
        )
