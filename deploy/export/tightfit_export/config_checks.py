"""Tells from a pipeline's configuration files whether tightfit can serve it."""

from __future__ import annotations

import math
from typing import Any

from tightfit_export import MAX_TOKENS
from tightfit_export.errors import SourceError
from tightfit_export.families import FAMILIES, SDXL, Family
from tightfit_export.foreign_layouts import REFINER, refuse_channels
from tightfit_export.quantisation.refusals import quantisation_of

Config = dict[str, Any]

_PIPELINE_CLASSES = {name for family in FAMILIES for name in family.pipeline_classes}
_OTHER_PIPELINES = {
    "StableDiffusionXLInstructPix2PixPipeline": "InstructPix2Pix edits images",
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "FluxPipeline": "Flux",
}


# Of VAEs, which have latents of their own.
_KNOWN_SCALINGS = {
    0.18215: "Stable Diffusion 1.x and 2.x",
    0.13025: "SDXL",
    0.41407: "PixArt",
    1.5305: "Stable Diffusion 3",
    0.3611: "Flux",
}
_MAX_SCALING = 1000.0  # the server's limit


def check_configs(configs: dict[str, Config], family: Family = SDXL) -> None:
    """`configs` are by component. Errors: SourceError with the first thing wrong."""
    for component, config in configs.items():
        quantisation_of(component, config)
    check_unet(configs["unet"], family)
    check_vae(configs["vae"], configs["unet"], family)
    _check_text_encoders(configs, family)


def check_model_index(index: Config) -> None:
    """Errors: SourceError if it names a pipeline or a component that is served by nobody."""
    class_name = index.get("_class_name")
    families = [family for family in FAMILIES if class_name in family.pipeline_classes]
    if not families:
        known = _OTHER_PIPELINES.get(str(class_name))
        shown = ", ".join(family.shown for family in FAMILIES)
        raise SourceError(
            f"model_index.json says {class_name}"
            + (f" ({known})" if known else "")
            + f"; tightfit serves {shown}"
        )
    text_encoder = index.get("text_encoder") or [None, None]
    if index.get("requires_aesthetics_score") or text_encoder[1] is None:
        raise SourceError(REFINER)
    for component, wanted in families[0].classes.items():
        found = (index.get(component) or [None, None])[1]
        if found != wanted:
            raise SourceError(f"{component} is a {found}; {families[0].shown} has a {wanted}")


def index_notes(index: Config) -> tuple[str, ...]:
    """What to say of components that are left out."""
    left_out = ("safety_checker", "image_encoder")
    held = [name for name in left_out if (index.get(name) or [None])[0] is not None]
    return tuple(f"the pipeline's {name} is left out: the server has none" for name in held)


def check_unet(unet: Config, family: Family = SDXL) -> None:
    """Errors: SourceError where the UNet is none of the family's kind."""
    embeds = "text_time" if family.takes_pooled else None
    if unet.get("addition_embed_type") != embeds:
        raise SourceError(
            f"no UNet of {family.shown}: addition_embed_type is {unet.get('addition_embed_type')}, "
            f"not {embeds}"
        )
    refuse_channels(unet.get("in_channels", 0))
    if unet.get("in_channels") not in (4, 9) or unet.get("out_channels") != 4:
        raise SourceError(
            f"the UNet has {unet.get('in_channels')} input and {unet.get('out_channels')} output "
            f"channels; {family.shown} has 4 and 4, for inpainting 9 and 4"
        )
    if unet.get("class_embed_type") is not None or unet.get("encoder_hid_dim_type") is not None:
        raise SourceError(
            f"the UNet wants class labels or image embeddings; {family.shown} has neither"
        )


def check_vae(vae: Config, unet: Config, family: Family = SDXL) -> None:
    """Errors: SourceError where the VAE does not go with the family's UNets."""
    if vae.get("latent_channels") != unet.get("out_channels", 4):
        raise SourceError(f"the VAE has {vae.get('latent_channels')} latent channels, the UNet 4")
    if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
        raise SourceError("the VAE normalises latents by mean and std; tightfit only scales them")
    scaling = vae.get("scaling_factor")
    if not scaling:
        raise SourceError("the VAE's scaling_factor is missing")
    if type(scaling) not in (int, float) or not 0 < scaling <= _MAX_SCALING:
        raise SourceError(f"the VAE's scaling_factor is {scaling}, no number above 0")
    # The pipelines in diffusers do not shift, so that 0 says nothing else.
    if vae.get("shift_factor"):
        raise SourceError(
            f"the VAE shifts latents (shift_factor {vae['shift_factor']}, as those of Stable "
            f"Diffusion 3 and Flux do); {family.shown}'s only scales them"
        )


def vae_notes(vae: Config, expected: float, family: Family = SDXL) -> tuple[str, ...]:
    """What to say of a VAE that has the right shapes and another scaling than `expected`."""
    scaling = vae["scaling_factor"]
    if math.isclose(scaling, expected, rel_tol=1e-4):
        return ()
    known = _KNOWN_SCALINGS.get(scaling)
    whose = f", as VAEs of {known} have it" if known else ""
    if known is None and expected == family.scaling_factor:
        return ()  # a VAE that was trained with this UNet
    return (
        f"the VAE's scaling_factor is {scaling}{whose}, not {expected}: unless this model was "
        "trained with that VAE, its images will be wrong; take "
        f"{family.shown}'s own VAE",
    )


def _check_text_encoders(configs: dict[str, Config], family: Family) -> None:
    unet = configs["unet"]
    encoders = [configs[component] for component in family.text_encoders]
    for component, config in zip(family.text_encoders, encoders, strict=True):
        if config.get("max_position_embeddings", MAX_TOKENS) != MAX_TOKENS:
            raise SourceError(
                f"{component} takes {config['max_position_embeddings']} tokens; "
                f"CLIP takes {MAX_TOKENS}"
            )
    if family.takes_pooled:
        _check_pooled(unet, encoders[-1])
    hidden = sum(config["hidden_size"] for config in encoders)
    if unet.get("cross_attention_dim") != hidden:
        raise SourceError(
            f"the UNet's cross_attention_dim is {unet.get('cross_attention_dim')}, "
            f"the text encoders' hidden states have {hidden}"
        )
    if family.takes_pooled:
        wanted = len(family.time_ids) * unet.get("addition_time_embed_dim", 0)
        wanted += encoders[-1]["projection_dim"]
        if unet.get("projection_class_embeddings_input_dim") != wanted:
            raise SourceError(
                "the UNet's projection_class_embeddings_input_dim is "
                f"{unet.get('projection_class_embeddings_input_dim')}, not {wanted} "
                "(six time ids and the pooled embedding)"
            )


def _check_pooled(unet: Config, encoder: Config) -> None:
    """A refiner hears text encoder 2 alone and takes a score in place of a size."""
    score_input = 5 * unet.get("addition_time_embed_dim", 0) + encoder["projection_dim"]
    if unet.get("cross_attention_dim") == encoder["hidden_size"] and (
        unet.get("projection_class_embeddings_input_dim") == score_input
    ):
        raise SourceError(REFINER)
