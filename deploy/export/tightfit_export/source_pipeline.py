"""A pipeline to export: configurations that tightfit can serve, and where its weights are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tightfit_export import VAE_ENCODER, max_clip_skip
from tightfit_export.config_checks import (
    Config,
    check_configs,
    check_model_index,
    index_notes,
    vae_notes,
)
from tightfit_export.errors import SourceError
from tightfit_export.families import SDXL, Family, family_of
from tightfit_export.foreign_layouts import refuse_pickle
from tightfit_export.quantisation.refusals import quantisation_of
from tightfit_export.quantisation.restored import RestoredTensors
from tightfit_export.samplers import sampler_of
from tightfit_export.scheduler_settings import resolved
from tightfit_export.source_weights import ComponentWeights, SourceWeights, find_weight_files

if TYPE_CHECKING:
    from torch import nn


class WeightOrigin(Protocol):
    """Where one component's weights come from."""

    total_bytes: int  # at most what they take in fp16

    def open(self, module: nn.Module) -> ComponentWeights:
        """`module` is the network without weights. Errors: SourceError."""

    def identity(self) -> list[Any]:
        """Equal where the weights are: names, sizes and times of files, or seeds."""


@dataclass(frozen=True)
class WeightFiles:
    """A component's own files in a diffusers directory."""

    component: str
    files: list[Path]
    quantisation: Config | None = None  # what its config.json says of it
    total_bytes: int = 0
    has_encoder: bool = False  # of a VAE

    def open(self, module: nn.Module) -> ComponentWeights:
        shapes = {name: tuple(each.shape) for name, each in module.named_parameters()}
        return self._restored(shapes)

    def checked(self) -> WeightFiles:
        """Looked at headers and descriptions alone, and with its size in fp16.

        Errors: SourceError if something in it is quantised and cannot be put back.
        """
        restored = self._restored(None)
        restored.close()
        stored = sum(file.stat().st_size for file in self.files)
        return dataclasses.replace(
            self,
            total_bytes=max(stored, restored.fp16_bytes),
            has_encoder=any(key.startswith("encoder.") for key in restored.tensors),
        )

    def identity(self) -> list[Any]:
        return [[file_identity(file) for file in self.files], self.quantisation]

    def _restored(self, shapes: dict[str, tuple[int, ...]] | None) -> RestoredTensors:
        stored = SourceWeights(self.component, self.files)
        return RestoredTensors(stored, self.component, self.quantisation, shapes)


@dataclass(frozen=True)
class EncoderWeights:
    """The VAE's encoder, which lies where its decoder does."""

    vae: WeightOrigin
    total_bytes: int = 0  # the decoder's count both

    def open(self, module: nn.Module) -> ComponentWeights:
        return self.vae.open(module)

    def identity(self) -> list[Any]:
        return self.vae.identity()


def file_identity(file: Path) -> list[Any]:
    """What changes when a file does."""
    status = file.stat()
    return [str(file.resolve()), status.st_size, status.st_mtime_ns]


@dataclass(frozen=True)
class SourcePipeline:
    """Configurations and weights of a pipeline that tightfit can serve."""

    name: str
    model_index: Config
    configs: dict[str, Config]  # by component
    scheduler: Config
    weights: dict[str, WeightOrigin]  # by component; VAE_ENCODER may be missing
    tokenizers: dict[str, Path | None]  # folders; None is CLIP's own vocabulary
    description: dict[str, Any]  # what model.json says under `source`
    model_card: Path | None = None
    # Files whose SHA-256 is taken: where in `description` it goes, and the file. That of the
    # description itself ("") is the model's hash.
    hashed_files: dict[str, Path] = field(default_factory=dict)
    family: Family = SDXL
    title: str = ""  # what a single file's metadata calls the model
    size_px: tuple[int, int] | None = None  # width and height, if the source says them itself
    notes: tuple[str, ...] = ()  # what the person should know before anything is written
    # Called when the weights of every component were opened. Errors: SourceError.
    check_complete: Callable[[], None] = lambda: None

    @property
    def components(self) -> tuple[str, ...]:
        """In the order of model.json."""
        names = (*self.family.components, VAE_ENCODER)
        return tuple(name for name in names if name in self.weights)

    def config_of(self, component: str) -> Config:
        """Both halves of the VAE have one configuration."""
        return self.configs["vae" if component == VAE_ENCODER else component]

    @property
    def pixels_per_latent(self) -> int:
        return 2 ** (len(self.configs["vae"]["block_out_channels"]) - 1)

    @property
    def default_size_px(self) -> tuple[int, int]:
        """Width and height."""
        if self.size_px is not None:
            return self.size_px
        size = self.configs["unet"].get("sample_size") or 128
        height, width = size if isinstance(size, list) else (size, size)
        return width * self.pixels_per_latent, height * self.pixels_per_latent

    @property
    def embedding_size(self) -> int:
        return sum(self.configs[name]["hidden_size"] for name in self.family.text_encoders)

    @property
    def pooled_size(self) -> int:
        """0: the UNet takes no pooled embedding."""
        if not self.family.takes_pooled:
            return 0
        return self.configs[self.family.text_encoders[-1]]["projection_dim"]

    @property
    def max_clip_skip(self) -> int:
        """Layers that all text encoders can leave out."""
        configs = [self.configs[name] for name in self.family.text_encoders]
        return min(max_clip_skip(config["num_hidden_layers"]) for config in configs)

    @property
    def names(self) -> str:
        """What the source and its metadata call the model."""
        return f"{self.description.get('name', '')} {self.title}".strip()

    @property
    def train_timestep_count(self) -> int:
        return self.scheduler.get("num_train_timesteps", 1000)

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

    def identity(self) -> list[Any]:
        """What an interrupted export must have had in common to be continued."""
        weights = {component: self.weights[component].identity() for component in self.components}
        return [weights, self.configs]


def open_pipeline(
    directory: Path,
    name: str,
    variant: str | None,
    preferred: tuple[str | None, ...] = (None, "fp16"),
) -> SourcePipeline:
    """A diffusers directory. Errors: SourceError with the first thing wrong."""
    if directory.is_file():
        refuse_pickle(directory)
        raise SourceError(f"{directory} is a file, not a diffusers directory")
    index, configs, scheduler, tokenizers, notes = read_configuration(directory)
    family = family_of(index["_class_name"], configs["unet"])
    files = {
        component: WeightFiles(
            component,
            find_weight_files(directory, component, variant, preferred),
            quantisation_of(component, configs[component]),
        ).checked()
        for component in family.components
    }
    return SourcePipeline(
        name,
        index,
        configs,
        scheduler,
        {**files, **encoder_entry(files["vae"], files["vae"].has_encoder)},
        tokenizers,
        {"kind": "diffusers", "name": directory.resolve().name},
        directory / "README.md",
        family=family,
        notes=notes,
    )


def read_configuration(
    directory: Path,
) -> tuple[Config, dict[str, Config], Config, dict[str, Path | None], tuple[str, ...]]:
    """Index, configurations, scheduler and tokenizers of a diffusers directory, and notes on it.

    The scheduler's settings are whole: absent keys have what diffusers takes for them.
    """
    if not directory.is_dir():
        raise SourceError(f"{directory}: no such directory")
    if not (directory / "model_index.json").is_file():
        raise SourceError(
            f"{directory}: not a diffusers directory (no model_index.json){_instead(directory)}"
        )
    index = read_json(directory / "model_index.json")
    check_model_index(index)
    unet = read_component_config(directory / "unet")
    family = family_of(index["_class_name"], unet)
    configs = {
        name: unet if name == "unet" else read_component_config(directory / name)
        for name in family.components
    }
    check_configs(configs, family)
    scheduler, notes = _read_scheduler(directory, index)
    notes += vae_notes(configs["vae"], family.scaling_factor, family)
    notes += index_notes(index)
    tokenizers: dict[str, Path | None] = {}
    for tokenizer in family.tokenizers.values():
        if not (directory / tokenizer).is_dir():
            raise SourceError(f"{tokenizer}: no such folder in {directory}")
        tokenizers[tokenizer] = directory / tokenizer
    return index, configs, scheduler, tokenizers, notes


def _read_scheduler(directory: Path, index: Config) -> tuple[Config, tuple[str, ...]]:
    """The whole settings, of the class that diffusers would make."""
    config = read_json(directory / "scheduler" / "scheduler_config.json")
    entry = index.get("scheduler")
    class_name = entry[1] if isinstance(entry, list) and len(entry) == 2 else None
    own_class = config.get("_class_name")
    scheduler = resolved(config, class_name)
    if class_name in (None, own_class):
        return scheduler, ()
    return scheduler, (
        f"model_index.json names {class_name}, scheduler_config.json {own_class}; as diffusers "
        f"does, {class_name} is taken",
    )


def _instead(directory: Path) -> str:
    """What else the directory may be."""
    if any(directory.glob("pytorch_lora_weights.*")):
        return ": it holds a LoRA, which has to be merged into its base model first"
    if (directory / "config.json").is_file():
        class_name = str(read_json(directory / "config.json").get("_class_name"))
        if class_name.startswith("Autoencoder"):
            return ": it holds a VAE alone; export a whole model and give this one with --vae"
        return f": it holds a {class_name} alone; give the whole pipeline's directory"
    files = sorted(path.name for path in directory.glob("*.safetensors"))
    if files:
        return f"; to export a single-file checkpoint name the file, such as {files[0]}"
    return ""


def encoder_entry(vae: WeightOrigin, is_there: bool) -> dict[str, WeightOrigin]:
    """What SourcePipeline.weights has of the encoder beside that decoder."""
    return {VAE_ENCODER: EncoderWeights(vae)} if is_there else {}


def without_image_inputs(pipeline: SourcePipeline) -> SourcePipeline:
    """The same without the VAE's encoder."""
    weights = {name: origin for name, origin in pipeline.weights.items() if name != VAE_ENCODER}
    return dataclasses.replace(pipeline, weights=weights)


def with_scheduler(pipeline: SourcePipeline, **changes: Any) -> SourcePipeline:
    """The same with other settings of the scheduler."""
    return dataclasses.replace(pipeline, scheduler=pipeline.scheduler | changes)


def read_component_config(folder: Path) -> Config:
    """A component's config.json, with what SDNQ may have written beside it.

    Errors: SourceError.
    """
    config = read_json(folder / "config.json")
    beside = folder / "quantization_config.json"
    if not config.get("quantization_config") and beside.is_file():
        config["quantization_config"] = read_json(beside)
    return config


def read_json(path: Path) -> Config:
    """Errors: SourceError."""
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
