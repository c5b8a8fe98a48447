"""Tells from the names of its tensors what a file holds that is no checkpoint served here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tightfit_export.errors import SourceError
from tightfit_export.original_layout import TEXT_2_PREFIX, TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX
from tightfit_export.source_weights import PICKLE_SUFFIXES
from tightfit_export.tensor_file import StoredTensor

Tensors = Mapping[str, StoredTensor]

_FULL_CHECKPOINT = "take the full checkpoint (UNet, VAE and all text encoders in one file)"
_IN_CHANNELS = {
    8: "an InstructPix2Pix UNet (8 input channels) cannot be exported; take a text-to-image model",
}
_CONV_IN = f"{UNET_PREFIX}input_blocks.0.0.weight"
REFINER = (
    "an SDXL refiner cannot be exported: it has one text encoder and no use alone; "
    "take the base model"
)


def refuse_pickle(path: Path) -> None:
    """Errors: SourceError for a name that pickle goes by. The file is not opened."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise SourceError(
            f"{path} is a file of pickle, a program that runs when it is opened; the exporter "
            "reads no pickle: take the model's .safetensors file, or convert it where that is safe"
        )


def refuse_foreign(path: Path, tensors: Tensors) -> None:
    """Errors: SourceError saying what the file is instead, and what to do."""
    for holds, what in _LAYOUTS:
        if holds(tensors):
            raise SourceError(f"{path.name} is {what}")
    components = (UNET_PREFIX, VAE_PREFIX, "conditioner.")
    held = [prefix for prefix in components if any(key.startswith(prefix) for key in tensors)]
    if held == [UNET_PREFIX]:
        conv_in = tensors.get(_CONV_IN)
        if conv_in is None or len(conv_in.shape) != 4 or conv_in.shape[1] not in _IN_CHANNELS:
            raise SourceError(f"{path.name} is a UNet alone; {_FULL_CHECKPOINT}")
    if held == ["conditioner."]:
        raise SourceError(f"{path.name} holds text encoders alone; {_FULL_CHECKPOINT}")
    if UNET_PREFIX not in held:
        first = ", ".join(list(tensors)[:3]) or "none"
        raise SourceError(
            f"{path.name} is no checkpoint of Stable Diffusion; its first tensors are {first}"
        )
    conv_in = tensors.get(_CONV_IN)
    if conv_in is not None and len(conv_in.shape) == 4:
        refuse_channels(conv_in.shape[1])
    has_text, has_text_2 = (
        any(key.startswith(prefix) for key in tensors) for prefix in (TEXT_PREFIX, TEXT_2_PREFIX)
    )
    takes_pooled = any(key.startswith(f"{UNET_PREFIX}label_emb.") for key in tensors)
    if takes_pooled and not has_text:
        raise SourceError(f"{path.name} has no text encoder 1; {_FULL_CHECKPOINT}")
    if takes_pooled and not has_text_2:
        raise SourceError(f"{path.name} has no text encoder 2; {_FULL_CHECKPOINT}")
    if not has_text and not has_text_2:
        raise SourceError(f"{path.name} has no text encoder; {_FULL_CHECKPOINT}")


def refuse_channels(count: int) -> None:
    """Errors: SourceError where a UNet takes more than latents."""
    if count in _IN_CHANNELS:
        raise SourceError(_IN_CHANNELS[count])


def _begins(*prefixes: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(key.startswith(prefixes) for key in tensors)


def _contains(*parts: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(part in key for key in tensors for part in parts)


def _has(*keys: str) -> Callable[[Tensors], bool]:
    return lambda tensors: any(key in tensors for key in keys)


def _is_vae(tensors: Tensors) -> bool:
    parts = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "loss.", VAE_PREFIX)
    return bool(tensors) and all(key.startswith(parts) for key in tensors)


# The first that fits is named.
_LAYOUTS: tuple[tuple[Callable[[Tensors], bool], str], ...] = (
    (
        _contains("lora_up.", "lora_down.", "lora_A.", "lora_B.", ".hada_w1", ".lokr_w1", ".oft_"),
        "a LoRA, a change to a model and none by itself; merge it into its base model first",
    ),
    (
        _begins("control_model.", "controlnet_cond_embedding.", "input_hint_block."),
        f"a ControlNet, which cannot be exported; {_FULL_CHECKPOINT}",
    ),
    (_contains("double_blocks.0.img_"), "a Flux model, which tightfit does not serve"),
    (_contains("joint_blocks.0."), "a Stable Diffusion 3 model, which tightfit does not serve"),
    (_begins("conditioner.embedders.0.model."), f"no model for tightfit: {REFINER}"),
    (
        _has("edm_mean", "edm_std", "edm_vpred.sigma_max"),
        "an EDM model (as Playground v2.5 and CosXL are), with noise levels of its own; "
        "tightfit serves epsilon and v-prediction models alone",
    ),
    (_is_vae, "a VAE alone; export a whole model and give this one with --vae"),
    (
        _has("clip_g", "clip_l", "emb_params", "string_to_param"),
        f"a textual inversion, no model; {_FULL_CHECKPOINT}",
    ),
    (
        _begins("down_blocks.", "add_embedding.", "unet."),
        "a UNet in diffusers' layout; give the whole diffusers directory",
    ),
    (
        _begins("text_model.", "transformer.resblocks.", "encoder.layers.", "vision_model."),
        f"a text encoder alone; {_FULL_CHECKPOINT}",
    ),
)
