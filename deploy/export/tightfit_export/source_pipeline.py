"""A diffusers SDXL directory, checked as far as its configuration files tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightfit_export import COMPONENTS, MAX_TOKENS, TOKENIZERS, max_clip_skip
from tightfit_export.errors import SourceError
from tightfit_export.samplers import sampler_of
from tightfit_export.source_weights import find_weight_files

Config = dict[str, Any]

_PIPELINE_CLASSES = (
    "StableDiffusionXLPipeline",
    "StableDiffusionXLImg2ImgPipeline",
    "StableDiffusionXLInpaintPipeline",
)


@dataclass(frozen=True)
class SourcePipeline:
    """Configurations and weight files of a pipeline that tightfit can serve."""

    directory: Path
    name: str
    model_index: Config
    configs: dict[str, Config]  # by component
    scheduler: Config
    weight_files: dict[str, list[Path]]  # by component

    @property
    def pixels_per_latent(self) -> int:
        return 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1)

    @property
    def default_size_px(self) -> tuple[int, int]:
        """Width and height."""
        size = self.configs["unet"].get("sample_size") or 128
        height, width = size if isinstance(size, list) else (size, size)
        return width * self.pixels_per_latent, height * self.pixels_per_latent

    @property
    def embedding_size(self) -> int:
        return sum(self.configs[name]["hidden_size"] for name in ("text_encoder", "text_encoder_2"))

    @property
    def pooled_size(self) -> int:
        return self.configs["text_encoder_2"]["projection_dim"]

    @property
    def max_clip_skip(self) -> int:
        """Layers that both text encoders can leave out."""
        names = ("text_encoder", "text_encoder_2")
        return min(max_clip_skip(self.configs[name]["num_hidden_layers"]) for name in names)

    @property
    def default_sampler(self) -> str:
        return sampler_of(self.scheduler) or "euler"

    @property
    def prediction_type(self) -> str:
        return self.scheduler.get("prediction_type", "epsilon")

    @property
    def sampler_is_native(self) -> bool:
        """Whether the source's own scheduler is the default sampler."""
        return sampler_of(self.scheduler) is not None


def open_pipeline(directory: Path, name: str, variant: str | None) -> SourcePipeline:
    """Reads and checks the configurations. Errors: SourceError with the first thing wrong."""
    if directory.is_file():
        pickle = directory.suffix not in (".safetensors", ".json")
        why = "; the exporter reads no pickle" if pickle else ""
        raise SourceError(f"{directory} is a file, not a diffusers directory{why}")
    if not directory.is_dir():
        raise SourceError(f"{directory}: no such directory")
    if not (directory / "model_index.json").is_file():
        raise SourceError(f"{directory}: not a diffusers directory (no model_index.json)")
    model_index = _read_json(directory / "model_index.json")
    _check_model_index(model_index)
    configs: dict[str, Config] = {}
    for component in COMPONENTS:
        configs[component] = _read_json(directory / component / "config.json")
    scheduler = _read_json(directory / "scheduler" / "scheduler_config.json")
    for tokenizer in TOKENIZERS:
        if not (directory / tokenizer).is_dir():
            raise SourceError(f"{tokenizer}: no such folder in {directory}")
    _check_unet(configs["unet"])
    _check_vae(configs["vae"], configs["unet"])
    _check_text_encoders(configs)
    _check_scheduler(scheduler)
    files = {name: find_weight_files(directory, name, variant) for name in COMPONENTS}
    return SourcePipeline(directory, name, model_index, configs, scheduler, files)


def _read_json(path: Path) -> Config:
    where = f"{path.parent.name}/{path.name}"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceError(f"{where} is missing") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{where} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise SourceError(f"{where} holds no object")
    return value


def _check_model_index(index: Config) -> None:
    class_name = index.get("_class_name")
    if class_name not in _PIPELINE_CLASSES:
        raise SourceError(f"not an SDXL pipeline: model_index.json says {class_name}")
    text_encoder = index.get("text_encoder") or [None, None]
    if index.get("requires_aesthetics_score") or text_encoder[1] is None:
        raise SourceError(
            "an SDXL refiner cannot be exported: it has one text encoder and no use alone"
        )
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
        raise SourceError(
            "the UNet takes the guidance scale as an embedding (time_cond_proj_dim, as LCM does); "
            "tightfit does not serve such models"
        )
    if unet.get("in_channels") == 9:
        raise SourceError("an inpainting UNet (9 input channels) cannot be exported")
    if unet.get("in_channels") != 4 or unet.get("out_channels") != 4:
        raise SourceError(
            f"the UNet has {unet.get('in_channels')} input and {unet.get('out_channels')} output "
            "channels; SDXL has 4 and 4"
        )
    if unet.get("class_embed_type") is not None or unet.get("encoder_hid_dim_type") is not None:
        raise SourceError("the UNet wants class labels or image embeddings; SDXL has neither")


def _check_vae(vae: Config, unet: Config) -> None:
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
    hidden = sum(configs[name]["hidden_size"] for name in ("text_encoder", "text_encoder_2"))
    if unet.get("cross_attention_dim") != hidden:
        raise SourceError(
            f"the UNet's cross_attention_dim is {unet.get('cross_attention_dim')}, "
            f"the text encoders' hidden states have {hidden}"
        )
    pooled = configs["text_encoder_2"]["projection_dim"]
    wanted = 6 * unet.get("addition_time_embed_dim", 0) + pooled
    if unet.get("projection_class_embeddings_input_dim") != wanted:
        raise SourceError(
            "the UNet's projection_class_embeddings_input_dim is "
            f"{unet.get('projection_class_embeddings_input_dim')}, not {wanted} "
            "(six time ids and the pooled embedding)"
        )


def _check_scheduler(scheduler: Config) -> None:
    if "_class_name" not in scheduler:
        raise SourceError("scheduler/scheduler_config.json names no _class_name")
    prediction_type = scheduler.get("prediction_type", "epsilon")
    if prediction_type not in ("epsilon", "v_prediction"):
        raise SourceError(
            f"prediction type '{prediction_type}' cannot be served, "
            "only 'epsilon' and 'v_prediction'"
        )
