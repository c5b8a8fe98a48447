"""Checkpoints of one safetensors file in Stability's original layout, or what savers made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightfit_export.bundled_configs import bundled
from tightfit_export.errors import SourceError
from tightfit_export.families import SD1, SD2, SDXL, Family, family_of
from tightfit_export.foreign_layouts import refuse_foreign, refuse_pickle
from tightfit_export.original_layout import (
    TEXT_2_PREFIX,
    TEXT_2_TRANSFORMERS_PREFIX,
    TEXT_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    Place,
    places,
    present,
)
from tightfit_export.quantisation.restored import RestoredTensors
from tightfit_export.source_pipeline import (
    SourcePipeline,
    WeightOrigin,
    encoder_entry,
    file_identity,
    read_configuration,
)
from tightfit_export.stored_names import StandardFile, standard_name
from tightfit_export.tensor_file import StoredTensor, TensorFile
from tightfit_export.training_words import with_words_of_file

if TYPE_CHECKING:
    import torch
    from torch import nn

# Tensors that checkpoints carry beside the networks: the training's averages, noise schedules and
# losses, what the libraries compute themselves, and empty marks of the kind of training.
_IGNORED_PREFIXES = (
    "model_ema.",
    "first_stage_model.loss.",
    "denoiser.",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "alphas_cumprod",
    # CLIP's head that no UNet takes, and its images' side.
    f"{TEXT_PREFIX}text_projection",
    *(
        f"{prefix}{part}"
        for prefix in (TEXT_PREFIX, TEXT_2_PREFIX, TEXT_2_TRANSFORMERS_PREFIX)
        for part in ("vision_model.", "visual_projection.", "visual.")
    ),
)
_IGNORED_NAMES: tuple[str, ...] = ("position_ids", "logit_scale", "attn_mask", "betas")
_IGNORED_NAMES += ("v_pred", "ztsnr", "scale_factor", "global_step", "epoch")
# What a model without image inputs does without.
_ENCODER_PREFIXES = (f"{VAE_PREFIX}encoder.", f"{VAE_PREFIX}quant_conv.")
_PROJECTION = f"{TEXT_2_PREFIX}text_projection"
_NAMED = 3  # of missing or foreign tensors


class PlacedWeights:
    """A component's tensors under diffusers' names, out of a file with other names."""

    def __init__(self, file: RestoredTensors | StandardFile, placed: Mapping[str, Place]) -> None:
        self._file = file
        self._places = {name: place for name, place in placed.items() if place.key in file.tensors}
        self.tensors = {
            name: dataclasses.replace(file.tensors[place.key], shape=_shape(file, place))
            for name, place in self._places.items()
        }

    def read(self, key: str) -> torch.Tensor:
        """The values as stored. Errors: SourceError, OSError."""
        place = self._places[key]
        values = self._file.read(place.key)
        if place.third is not None:
            values = values.chunk(3)[place.third]
        return values.T if place.transposed else values

    def close(self) -> None:
        self._file.close()


def _shape(file: RestoredTensors | StandardFile, place: Place) -> tuple[int, ...]:
    shape = file.tensors[place.key].shape
    if place.third is not None and shape and shape[0] % 3 == 0:
        shape = (shape[0] // 3, *shape[1:])
    return shape[::-1] if place.transposed else shape


@dataclass
class Checkpoint:
    """The file, and which of its tensors are spoken for."""

    path: Path
    shown: str  # the model's family
    stored_keys: dict[str, str]  # by their standard names
    left_out: tuple[str, ...]  # prefixes of what nothing reads here
    used: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)

    def open(self, what: str) -> StandardFile:
        """The file's tensors, quantised ones put back. Errors: SourceError."""
        return _opened(TensorFile(self.path, what), self.left_out)

    def _has_projection_twice(self, key: str) -> bool:
        """Text encoder 2's projection as a matrix and as a linear layer, of which one is read."""
        return key == f"{_PROJECTION}.weight" and _PROJECTION in self.used

    def check_complete(self) -> None:
        """To be called when every component was opened.

        Errors: SourceError naming the first tensors that are missing or that nothing knows.
        """
        hint = "; --config takes the architecture from a diffusers directory"
        if self.missing:
            raise SourceError(
                f"{self.path.name} lacks {listed(self.missing)} of {self.shown}'s{hint}"
            )
        foreign = [
            stored
            for key, stored in self.stored_keys.items()
            if key not in self.used
            and not ignores(key, self.left_out)
            and not key.startswith(_ENCODER_PREFIXES)
            and not self._has_projection_twice(key)
        ]
        if foreign:
            raise SourceError(
                f"{self.path.name} holds {listed(foreign)} that {self.shown} does not have{hint}"
            )


def _opened(stored: TensorFile, left_out: tuple[str, ...]) -> StandardFile:
    name = stored.path.name
    restored = RestoredTensors(
        stored, name, wanted=lambda key: not ignores(standard_name(key), left_out)
    )
    return StandardFile(restored, name)


def ignores(key: str, left_out: tuple[str, ...]) -> bool:
    """Whether a tensor of that standard name is left out knowingly."""
    if key.startswith(left_out):
        return True
    return key.startswith(_IGNORED_PREFIXES) or key.rpartition(".")[2] in _IGNORED_NAMES


def listed(keys: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return f"{', '.join(keys[:_NAMED])}{more}"


@dataclass(frozen=True)
class CheckpointPart:
    """One component's weights in the checkpoint."""

    component: str
    config: dict[str, Any]
    checkpoint: Checkpoint
    total_bytes: int

    def open(self, module: nn.Module) -> PlacedWeights:
        names = [name for name, _ in module.named_parameters()]
        file = self.checkpoint.open(self.component)
        placed = {
            name: present(place, file.tensors)
            for name, place in places(self.component, names, self.config, file.tensors).items()
        }
        keys = dict.fromkeys(place.key for place in placed.values())
        self.checkpoint.used.update(keys)
        self.checkpoint.missing += [key for key in keys if key not in file.tensors]
        return PlacedWeights(file, placed)

    def identity(self) -> list[Any]:
        return file_identity(self.checkpoint.path)


def open_checkpoint(
    path: Path,
    name: str,
    config: Path | None,
    *,
    has_vae: bool = True,
    has_unet: bool = True,
    prediction_type: str | None = None,
    zero_terminal_snr: bool | None = None,
) -> SourcePipeline:
    """Reads the header and refuses what is no checkpoint of a family. Errors: SourceError.

    `config` is a diffusers directory in place of the family's own configuration. Without `has_vae`
    the file's VAE is not wanted, without `has_unet` its UNet: another one takes its place.
    `prediction_type` and `zero_terminal_snr` are the command line's, for the notes on what the file
    says itself.
    """
    refuse_pickle(path)
    if path.suffix == ".gguf":
        raise SourceError(
            f"{path.name} is GGUF, which holds a UNet alone; give it with --unet, and with "
            "--source the model that the rest is taken from"
        )
    if path.suffix != ".safetensors":
        raise SourceError(f"{path} is a file, but no .safetensors checkpoint")
    stored_file = TensorFile(path, "the checkpoint")
    refuse_foreign(
        path, {standard_name(key): stored for key, stored in stored_file.tensors.items()}
    )
    left_out = () if has_vae else (VAE_PREFIX,)
    left_out += () if has_unet else (UNET_PREFIX,)
    file = _opened(stored_file, left_out)
    file.close()
    if has_vae and not any(key.startswith("first_stage_model.decoder.") for key in file.tensors):
        raise SourceError(f"{path.name} has no VAE; give one with --vae")
    notes: tuple[str, ...] = ()
    if config is None:
        family = _family_of_file(file)
        index, configs, scheduler = bundled(family)
        configs["unet"] = _unet_as_stored(configs["unet"], file)
        tokenizers: dict[str, Path | None] = dict.fromkeys(family.tokenizers.values())
    else:
        index, configs, scheduler, tokenizers, notes = read_configuration(config)
        family = family_of(index["_class_name"], configs["unet"])
    left_out += _left_out_of_text(family, configs)
    checkpoint = Checkpoint(path, family.shown, file.stored_keys, left_out)
    # A component takes its share of the file; the sum is what counts.
    size = max(stored_file.total_bytes, file.fp16_bytes)
    beside = file.fp16_bytes_beside(UNET_PREFIX)
    sizes = dict.fromkeys(family.components, 0) | {"unet": size - beside, "text_encoder": beside}
    has_encoder = any(key.startswith(_ENCODER_PREFIXES[0]) for key in file.tensors)
    weights: dict[str, WeightOrigin] = {
        part: CheckpointPart(part, configs[part], checkpoint, sizes[part])
        for part in family.components
    }
    pipeline = SourcePipeline(
        name,
        index,
        configs,
        scheduler,
        weights | encoder_entry(weights["vae"], has_encoder),
        tokenizers,
        {"kind": "single_file", "name": path.name},
        hashed_files={"": path},
        family=family,
        notes=notes,
        check_complete=checkpoint.check_complete,
    )
    return with_words_of_file(
        pipeline,
        path.name,
        stored_file.metadata,
        file.tensors,
        prediction_type,
        zero_terminal_snr,
    )


def _family_of_file(file: StandardFile) -> Family:
    """By the networks that it holds."""

    def holds(prefix: str) -> bool:
        return any(key.startswith(prefix) for key in file.tensors)

    if holds(f"{UNET_PREFIX}label_emb.") or (holds(TEXT_PREFIX) and holds(TEXT_2_PREFIX)):
        return SDXL
    return SD1 if holds(TEXT_PREFIX) else SD2


def _unet_as_stored(config: dict[str, Any], file: StandardFile) -> dict[str, Any]:
    """With the inputs that the file's UNet has: for inpainting, or a distilled guidance scale."""
    conv_in = file.tensors.get(f"{UNET_PREFIX}input_blocks.0.0.weight")
    if conv_in is not None and len(conv_in.shape) == 4:
        config = config | {"in_channels": conv_in.shape[1]}
    embedding = file.tensors.get(f"{UNET_PREFIX}time_embed.cond_proj.weight")
    if embedding is not None and len(embedding.shape) == 2:
        config = config | {"time_cond_proj_dim": embedding.shape[1]}
    return config


def _left_out_of_text(family: Family, configs: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """What of SD 2.x's OpenCLIP encoder diffusers leaves out: its last layer, and the head."""
    if family is not SD2:
        return ()
    count = configs["text_encoder"]["num_hidden_layers"]
    return (f"{TEXT_2_PREFIX}transformer.resblocks.{count}.", _PROJECTION)
