"""Tells from a pipeline's configuration files whether tightfit can serve it."""

from __future__ import annotations

from typing import Any

from tightfit_export import MAX_TOKENS
from tightfit_export.errors import SourceError
from tightfit_export.foreign_layouts import LCM_UNET, REFINER, refuse_channels

Config = dict[str, Any]

PREDICTION_TYPES = ("epsilon", "v_prediction")

_PIPELINE_CLASSES = (
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
)
_OTHER_PIPELINES = {
    "StableDiffusionXLInstructPix2PixPipeline": "InstructPix2Pix edits pictures",
    "StableDiffusionPipeline": "Stable Diffusion 1.x or 2.x",
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "FluxPipeline": "Flux",
}


def check_configs(configs: dict[str, Config], scheduler: Config) -> None:
    """`configs` are by component. Errors: SourceError with the first thing wrong."""
    _check_unet(configs["unet"])
    check_vae(configs["vae"], configs["unet"])
    _check_text_encoders(configs)
    check_scheduler(scheduler)


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


def _check_unet(unet: Config) -> None:
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
    if not vae.get("scaling_factor"):
        raise SourceError("the VAE's scaling_factor is missing")


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


def check_scheduler(scheduler: Config) -> None:
    """Errors: SourceError where no sampler of tightfit goes with it."""
    if "_class_name" not in scheduler:
        raise SourceError("scheduler/scheduler_config.json names no _class_name")
    prediction_type = scheduler.get("prediction_type", "epsilon")
    if prediction_type not in PREDICTION_TYPES:
        raise SourceError(
            f"prediction type '{prediction_type}' cannot be served, "
            "only 'epsilon' and 'v_prediction'"
        )
