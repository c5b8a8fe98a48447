"""Another VAE in place of the source's own."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightfit_export.config_checks import Config, check_vae, vae_notes
from tightfit_export.errors import SourceError
from tightfit_export.families import SDXL, Family
from tightfit_export.file_metadata import refuse_foreign_architecture
from tightfit_export.foreign_layouts import refuse_pickle
from tightfit_export.original_layout import VAE_PREFIX, vae_places
from tightfit_export.quantisation.refusals import quantisation_of
from tightfit_export.quantisation.restored import RestoredTensors
from tightfit_export.single_file import PlacedWeights
from tightfit_export.source_pipeline import (
    SourcePipeline,
    WeightFiles,
    encoder_entry,
    file_identity,
    read_component_config,
    without_image_inputs,
)
from tightfit_export.source_weights import ComponentWeights, find_weight_files
from tightfit_export.tensor_file import TensorFile

if TYPE_CHECKING:
    from torch import nn

# One tensor of each layout that the other two do not have.
_DIFFUSERS_KEY = "decoder.conv_norm_out.weight"
_ORIGINAL_KEY = "decoder.norm_out.weight"
_KNOWN_FOREIGN = re.compile(
    r"vae-ft-(?:mse|ema)|kl-f8-anime|orangemix|clearvae|blessed|sd-?v?1[._-]?[45]|sd-?v?2[._-]?[01]"
    r"|stable-diffusion-v?[12]|nai\b|animevae|anything",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class VaeFile:
    """A VAE in a file of its own, in diffusers' layout or the original one."""

    path: Path
    config: Config
    prefix: str | None  # of the original layout's keys; None: diffusers' layout
    total_bytes: int
    has_encoder: bool

    def open(self, module: nn.Module) -> ComponentWeights:
        restored = RestoredTensors(TensorFile(self.path, "vae"), self.path.name)
        if self.prefix is None:
            return restored
        names = [name for name, _ in module.named_parameters()]
        return PlacedWeights(restored, vae_places(names, self.config, self.prefix))

    def identity(self) -> list[Any]:
        return file_identity(self.path)


def with_vae(
    pipeline: SourcePipeline, path: Path, variant: str | None, fp16_safe: bool
) -> SourcePipeline:
    """The pipeline with the VAE at `path`: a directory of diffusers', or a safetensors file.

    A directory brings its configuration; a file has the source's, and overflows in fp16
    (`force_upcast`) unless it is said to be `fp16_safe`. Errors: SourceError.
    """
    hashed = dict(pipeline.hashed_files)
    if path.is_dir():
        folder = (path if (path / "config.json").is_file() else path / "vae").resolve()
        config = read_component_config(folder)
        if config.get("_class_name") != "AutoencoderKL":
            raise SourceError(f"{path} is a {config.get('_class_name')}, not an AutoencoderKL")
        quantisation = quantisation_of("the VAE", config)
        files = find_weight_files(folder.parent, folder.name, variant)
        origin: WeightFiles | VaeFile = WeightFiles("the VAE", files, quantisation).checked()
        said: dict[str, Any] = {"kind": "diffusers", "name": path.resolve().name}
    elif path.is_file():
        config = pipeline.configs["vae"] | {"force_upcast": True}
        origin = _vae_file(path, config, pipeline.family)
        said = {"kind": "single_file", "name": path.name}
        hashed["vae"] = path
    else:
        raise SourceError(f"{path}: no such file or directory")
    if fp16_safe:
        config = config | {"force_upcast": False}
    check_vae(config, pipeline.configs["unet"], pipeline.family)
    if len(config["block_out_channels"]) != len(pipeline.configs["vae"]["block_out_channels"]):
        raise SourceError(f"{path} makes images of another size than the source's VAE")
    notes = vae_notes(config, pipeline.configs["vae"]["scaling_factor"], pipeline.family)
    is_sdxl = pipeline.family is SDXL
    if is_sdxl and said["kind"] == "single_file" and _names_another_model(path.name):
        notes += (
            f"by its name {path.name} is a VAE of Stable Diffusion 1.x or 2.x, whose latents are "
            "others than SDXL's: the images would be wrong; take a VAE of SDXL",
        )
    return dataclasses.replace(
        pipeline,
        notes=(*pipeline.notes, *notes),
        configs=pipeline.configs | {"vae": config},
        weights=without_image_inputs(pipeline).weights
        | {"vae": origin}
        | encoder_entry(origin, origin.has_encoder),
        description=pipeline.description | {"vae": said},
        hashed_files=hashed,
    )


def without_upcast(pipeline: SourcePipeline) -> SourcePipeline:
    """The pipeline with its own VAE, which is said not to overflow in fp16."""
    config = pipeline.configs["vae"] | {"force_upcast": False}
    return dataclasses.replace(pipeline, configs=pipeline.configs | {"vae": config})


def _names_another_model(file_name: str) -> bool:
    """Whether it is one of the well-known VAEs of SD 1.x and 2.x, which no shape tells."""
    return bool(_KNOWN_FOREIGN.search(file_name)) and "xl" not in file_name.lower()


def _vae_file(path: Path, config: Config, family: Family) -> VaeFile:
    refuse_pickle(path)
    stored = TensorFile(path, "vae")
    refuse_foreign_architecture(path.name, stored.metadata, family)
    file = RestoredTensors(stored, path.name)
    file.close()
    size = max(stored.total_bytes, file.fp16_bytes)
    for key, stored in file.tensors.items():
        if key.endswith("decoder.conv_in.weight") and len(stored.shape) == 4:
            if stored.shape[1] != config["latent_channels"]:
                raise SourceError(
                    f"{path.name} has {stored.shape[1]} latent channels, SDXL "
                    f"{config['latent_channels']}: it is the VAE of another kind of model"
                )

    def has_encoder(prefix: str) -> bool:
        return any(key.startswith(f"{prefix}encoder.") for key in file.tensors)

    if _DIFFUSERS_KEY in file.tensors:
        return VaeFile(path, config, None, size, has_encoder(""))
    for prefix in ("", VAE_PREFIX, "vae."):
        if prefix + _ORIGINAL_KEY in file.tensors:
            return VaeFile(path, config, prefix, size, has_encoder(prefix))
    raise SourceError(f"{path.name} holds no VAE of SDXL's kind (no {_ORIGINAL_KEY})")
