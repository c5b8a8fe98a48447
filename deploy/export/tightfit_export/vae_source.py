"""Another VAE in place of the source's own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightfit_export.config_checks import Config, check_vae
from tightfit_export.errors import SourceError
from tightfit_export.foreign_layouts import refuse_pickle
from tightfit_export.original_layout import VAE_PREFIX, vae_places
from tightfit_export.single_file import PlacedWeights
from tightfit_export.source_pipeline import SourcePipeline, WeightFiles, file_identity, read_json
from tightfit_export.source_weights import ComponentWeights, SourceWeights, find_weight_files
from tightfit_export.tensor_file import TensorFile

if TYPE_CHECKING:
    from torch import nn

# One tensor of each layout that the other two do not have.
_DIFFUSERS_KEY = "decoder.conv_norm_out.weight"
_ORIGINAL_KEY = "decoder.norm_out.weight"


@dataclass(frozen=True)
class VaeFile:
    """A VAE in a file of its own, in diffusers' layout or the original one."""

    path: Path
    config: Config
    prefix: str | None  # of the original layout's keys; None: diffusers' layout

    @property
    def total_bytes(self) -> int:
        return self.path.stat().st_size

    def open(self, module: nn.Module) -> ComponentWeights:
        if self.prefix is None:
            return SourceWeights("vae", [self.path])
        names = [name for name, _ in module.named_parameters()]
        return PlacedWeights(
            TensorFile(self.path, "vae"), vae_places(names, self.config, self.prefix)
        )

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
        config = read_json(folder / "config.json")
        if config.get("_class_name") != "AutoencoderKL":
            raise SourceError(f"{path} is a {config.get('_class_name')}; SDXL has an AutoencoderKL")
        files = find_weight_files(folder.parent, folder.name, variant)
        origin: WeightFiles | VaeFile = WeightFiles("vae", files)
        said: dict[str, Any] = {"kind": "diffusers", "name": path.resolve().name}
    elif path.is_file():
        config = pipeline.configs["vae"] | {"force_upcast": True}
        origin = _vae_file(path, config)
        said = {"kind": "single_file", "name": path.name}
        hashed["vae"] = path
    else:
        raise SourceError(f"{path}: no such file or directory")
    if fp16_safe:
        config = config | {"force_upcast": False}
    check_vae(config, pipeline.configs["unet"])
    if len(config["block_out_channels"]) != len(pipeline.configs["vae"]["block_out_channels"]):
        raise SourceError(f"{path} makes pictures of another size than the source's VAE")
    return dataclasses.replace(
        pipeline,
        configs=pipeline.configs | {"vae": config},
        weights=pipeline.weights | {"vae": origin},
        description=pipeline.description | {"vae": said},
        hashed_files=hashed,
    )


def without_upcast(pipeline: SourcePipeline) -> SourcePipeline:
    """The pipeline with its own VAE, which is said not to overflow in fp16."""
    config = pipeline.configs["vae"] | {"force_upcast": False}
    return dataclasses.replace(pipeline, configs=pipeline.configs | {"vae": config})


def _vae_file(path: Path, config: Config) -> VaeFile:
    refuse_pickle(path)
    file = TensorFile(path, "vae")
    file.close()
    if _DIFFUSERS_KEY in file.tensors:
        return VaeFile(path, config, None)
    for prefix in ("", VAE_PREFIX):
        if prefix + _ORIGINAL_KEY in file.tensors:
            return VaeFile(path, config, prefix)
    raise SourceError(f"{path.name} holds no VAE of SDXL's kind (no {_ORIGINAL_KEY})")
