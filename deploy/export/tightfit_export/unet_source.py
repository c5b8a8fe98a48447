"""Another UNet in place of the source's own, mostly one that was made smaller."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightfit_export.config_checks import Config, check_unet
from tightfit_export.errors import SourceError
from tightfit_export.foreign_layouts import refuse_channels, refuse_pickle
from tightfit_export.original_layout import UNET_PREFIX, Place, places
from tightfit_export.quantisation.gguf_file import GgufFile, is_gguf
from tightfit_export.quantisation.refusals import quantisation_of
from tightfit_export.quantisation.restored import RestoredTensors, Shapes
from tightfit_export.single_file import PlacedWeights, listed
from tightfit_export.source_pipeline import (
    SourcePipeline,
    WeightFiles,
    file_identity,
    read_component_config,
)
from tightfit_export.source_weights import ComponentWeights, find_weight_files
from tightfit_export.stored_names import StandardFile
from tightfit_export.tensor_file import TensorFile
from tightfit_export.training_words import with_words_of_file

if TYPE_CHECKING:
    from torch import nn

# A tensor that each layout has under a name of its own, and what may stand before it.
_DIFFUSERS_KEY = "conv_in.weight"
_ORIGINAL_KEY = "input_blocks.0.0.weight"
_PREFIXES = ("", "unet.", UNET_PREFIX, "diffusion_model.")
# Marks of the kind of training, which hold no weights.
_MARKS = ("v_pred", "ztsnr")


@dataclass(frozen=True)
class UnetFile:
    """A UNet in a file of its own, in diffusers' layout or the original one."""

    path: Path
    config: Config
    prefix: str | None  # of diffusers' names; None: the original layout
    total_bytes: int

    def open(self, module: nn.Module) -> ComponentWeights:
        shapes = {name: tuple(each.shape) for name, each in module.named_parameters()}
        if self.prefix is None:
            placed = places("unet", shapes, self.config)
            file = StandardFile(_opened(self.path), self.path.name)
        else:
            placed = {name: Place(self.prefix + name) for name in shapes}
            file = _opened(self.path, {self.prefix + name: shapes[name] for name in shapes})
        used = {place.key for place in placed.values()}
        foreign = [key for key in file.tensors if key not in used and not _is_mark(key)]
        if foreign:
            raise SourceError(
                f"{self.path.name} holds {listed(foreign)} that the UNet does not have; --unet "
                "takes a UNet alone, a whole checkpoint is given with --source"
            )
        return PlacedWeights(file, placed)

    def identity(self) -> list[Any]:
        return file_identity(self.path)


def with_unet(
    pipeline: SourcePipeline,
    path: Path,
    variant: str | None,
    prediction_type: str | None = None,
    zero_terminal_snr: bool | None = None,
) -> SourcePipeline:
    """The pipeline with the UNet at `path`: a GGUF or safetensors file, or diffusers' directory.

    A directory brings its configuration; a file has the source's. Its hash is that of the written
    weights: it is no longer the source's file. Errors: SourceError.
    """
    hashed = {part: file for part, file in pipeline.hashed_files.items() if part}
    config = pipeline.configs["unet"]
    if path.is_dir():
        folder = (path if (path / "config.json").is_file() else path / "unet").resolve()
        config = read_component_config(folder)
        if config.get("_class_name") != "UNet2DConditionModel":
            raise SourceError(f"{path} is a {config.get('_class_name')}, no UNet2DConditionModel")
        quantisation = quantisation_of("the UNet", config)
        check_unet(config, pipeline.family)
        files = find_weight_files(folder.parent, folder.name, variant)
        origin: WeightFiles | UnetFile = WeightFiles("the UNet", files, quantisation).checked()
        said: dict[str, Any] = {"kind": "diffusers", "name": path.resolve().name}
    elif path.is_file():
        refuse_pickle(path)
        file = _opened(path)
        file.close()
        origin = _unet_file(path, config, file)
        said = {"kind": "gguf" if is_gguf(path) else "single_file", "name": path.name}
        hashed["unet"] = path
        pipeline = with_words_of_file(
            pipeline, path.name, file.metadata, file.tensors, prediction_type, zero_terminal_snr
        )
    else:
        raise SourceError(f"{path}: no such file or directory")
    return dataclasses.replace(
        pipeline,
        configs=pipeline.configs | {"unet": config},
        weights=pipeline.weights | {"unet": origin},
        description=pipeline.description | {"unet": said},
        hashed_files=hashed,
    )


def _opened(path: Path, shapes: Shapes | None = None) -> RestoredTensors:
    """Errors: SourceError."""
    stored = GgufFile(path, "unet") if is_gguf(path) else TensorFile(path, "unet")
    return RestoredTensors(stored, path.name, shapes=shapes)


def _unet_file(path: Path, config: Config, file: RestoredTensors) -> UnetFile:
    size = max(path.stat().st_size, file.fp16_bytes)
    for prefix in _PREFIXES:
        for key, layout in ((_DIFFUSERS_KEY, prefix), (_ORIGINAL_KEY, None)):
            stored = file.tensors.get(prefix + key)
            if stored is not None:
                if len(stored.shape) == 4:
                    refuse_channels(stored.shape[1])
                return UnetFile(path, config, layout, size)
    first = listed(list(file.tensors)) or "none"
    raise SourceError(
        f"{path.name} holds no UNet of SDXL's kind (no {_ORIGINAL_KEY}); its tensors are {first}"
    )


def _is_mark(key: str) -> bool:
    return key.rpartition(".")[2] in _MARKS
