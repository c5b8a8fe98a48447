"""What tells families of models apart. A new family is an entry here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tightfit_export.errors import SourceError

Config = dict[str, Any]

_SIZES = (
    "original_height",
    "original_width",
    "crop_top",
    "crop_left",
    "target_height",
    "target_width",
)
_TEXT = ("sample", "timestep", "encoder_hidden_states")


@dataclass(frozen=True)
class Family:
    """The models of one kind."""

    name: str  # model.json's `family`
    shown: str
    pipeline_classes: tuple[str, ...]
    classes: dict[str, str]  # of the components, in the order of model.json
    tokenizers: dict[str, str]  # by text encoder, in the order of their hidden states
    pad_tokens: dict[str, str]  # by tokenizer, of CLIP's own vocabulary
    unet_inputs: tuple[str, ...]  # of its graph
    scaling_factor: float  # of the VAE's latents
    guidance_scale: float  # of requests that name none
    time_ids: tuple[str, ...] = ()  # numbers that the UNet takes, by name
    # As diffusers' pipeline of the family: an absent negative prompt is zeros unless the source
    # says otherwise, and the VAE's force_upcast counts.
    forces_zeros: bool = False
    heeds_upcast: bool = False
    # Hidden states are those after the final norm, and before it is what clip_skip leaves out; else
    # they are the last but one, as they are.
    is_text_normed: bool = False

    @property
    def components(self) -> tuple[str, ...]:
        """Those that every model has, in the order of model.json."""
        return tuple(self.classes)

    @property
    def text_encoders(self) -> tuple[str, ...]:
        return tuple(self.tokenizers)

    @property
    def takes_pooled(self) -> bool:
        return "text_embeds" in self.unet_inputs


SD1 = Family(
    name="sd1",
    shown="Stable Diffusion 1.x",
    pipeline_classes=(
        "StableDiffusionPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline",
    ),
    classes={
        "unet": "UNet2DConditionModel",
        "text_encoder": "CLIPTextModel",
        "vae": "AutoencoderKL",
    },
    tokenizers={"text_encoder": "tokenizer"},
    pad_tokens={"tokenizer": "<|endoftext|>"},
    unet_inputs=_TEXT,
    scaling_factor=0.18215,
    guidance_scale=7.5,
    is_text_normed=True,
)
SD2 = replace(SD1, name="sd2", shown="Stable Diffusion 2.x", pad_tokens={"tokenizer": "!"})
SDXL = Family(
    name="sdxl",
    shown="SDXL",
    pipeline_classes=(
        "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline",
        "StableDiffusionXLInpaintPipeline",
    ),
    classes={
        "unet": "UNet2DConditionModel",
        "text_encoder": "CLIPTextModel",
        "text_encoder_2": "CLIPTextModelWithProjection",
        "vae": "AutoencoderKL",
    },
    tokenizers={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
    pad_tokens={"tokenizer": "<|endoftext|>", "tokenizer_2": "!"},
    unet_inputs=(*_TEXT, "text_embeds", "time_ids"),
    scaling_factor=0.13025,
    guidance_scale=5.0,
    time_ids=_SIZES,
    forces_zeros=True,
    heeds_upcast=True,
)
FAMILIES = (SD1, SD2, SDXL)


def family_of(pipeline_class: str, unet: Config) -> Family:
    """Errors: SourceError for a pipeline of no family that can be served."""
    found = [family for family in FAMILIES if pipeline_class in family.pipeline_classes]
    if not found:
        raise SourceError(f"model_index.json says {pipeline_class}, which is no family served here")
    if SD1 not in found:
        return found[0]
    # Both are StableDiffusionPipeline; 2.x projects with Linear layers, 1.x with convolutions.
    return SD2 if unet.get("use_linear_projection") else SD1


def takes_mask(unet: Config) -> bool:
    """Whether it is an inpainting UNet, which sees the mask and the image without what is in it."""
    return unet.get("in_channels") == 9


def guidance_embedding_size(unet: Config) -> int:
    """Of UNets that take the guidance scale as an embedding, as LCM distils them; else 0."""
    return unet.get("time_cond_proj_dim") or 0


def inputs_of(component: str, family: Family, config: Config) -> tuple[str, ...]:
    """Names of what the component's graphs take, in their order. `config`: the component's."""
    if component == "unet":
        names = family.unet_inputs
        names += ("mask", "masked_image_latents") if takes_mask(config) else ()
        return names + (("guidance_embedding",) if guidance_embedding_size(config) else ())
    return {"vae": ("latents",), "vae_encoder": ("image",)}.get(component, ("input_ids",))


def outputs_of(component: str, family: Family) -> tuple[str, ...]:
    """Names of what the component's graphs give, in their order."""
    if component in family.text_encoders:
        return ("hidden_states", "pooled") if family.takes_pooled else ("hidden_states",)
    return {"unet": ("prediction",), "vae": ("image",), "vae_encoder": ("moments",)}[component]
