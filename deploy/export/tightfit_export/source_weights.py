"""The weight files of one component of a diffusers directory: safetensors only, never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tightfit_export.errors import SourceError
from tightfit_export.tensor_file import StoredTensor, TensorFile

if TYPE_CHECKING:
    import torch

_STEMS = ("diffusion_pytorch_model", "model")
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


class ComponentWeights(Protocol):
    """Tensors under the names that the libraries gave them, read one by one."""

    tensors: Mapping[str, StoredTensor]

    def read(self, key: str) -> torch.Tensor:
        """The values as stored. Errors: SourceError, OSError."""

    def close(self) -> None:
        """Nothing is read afterwards."""


class SourceWeights:
    """All tensors of a component, over one file or several shards."""

    def __init__(self, component: str, files: list[Path]) -> None:
        self.tensors: dict[str, StoredTensor] = {}
        self.metadata: dict[str, str] = {}
        self._files: dict[str, TensorFile] = {}
        for path in files:
            file = TensorFile(path, component)
            self.metadata |= file.metadata
            for key, stored in file.tensors.items():
                if key in self.tensors:
                    raise SourceError(f"{component}: tensor {key} is in two weight files")
                self.tensors[key] = stored
                self._files[key] = file

    def read(self, key: str) -> torch.Tensor:
        """The values as stored. Errors: SourceError, OSError."""
        return self._files[key].read(key)

    def read_stored(self, key: str) -> torch.Tensor:
        """The same of codes, whatever their type. Errors: SourceError, OSError."""
        return self._files[key].read_stored(key)

    def read_bytes(self, key: str) -> bytes:
        """For small tensors that hold text. Errors: SourceError, OSError."""
        return self._files[key].read_bytes(key)

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def find_weight_files(
    directory: Path,
    component: str,
    variant: str | None,
    preferred: tuple[str | None, ...] = (None, "fp16"),
) -> list[Path]:
    """The safetensors files that hold a component's weights. Errors: SourceError."""
    folder = directory / component
    names = sorted(path.name for path in folder.iterdir())
    return _files_of(folder / choose_weights(names, component, variant, preferred), component)


def choose_weights(
    names: list[str],
    component: str,
    variant: str | None,
    preferred: tuple[str | None, ...] = (None, "fp16"),
) -> str:
    """Which of a folder's files has the weights, or is the index of its shards.

    Without `variant` the first of `preferred` (None: the plain files), then the only variant there
    is. Errors: SourceError.
    """
    choices: dict[str | None, str] = {}
    for name in sorted(names):
        for stem in _STEMS:
            found, its_variant = _variant_of(name, stem)
            # An index file comes before a single file of the same variant.
            if found and (its_variant not in choices or name.endswith(".json")):
                choices[its_variant] = name
    if variant is not None:
        if variant not in choices:
            raise SourceError(f"{component}: no safetensors weights of variant '{variant}'")
        return choices[variant]
    if not choices:
        _refuse_pickle(names, component)
        raise SourceError(f"{component}: no safetensors weights")
    for its_variant in preferred:
        if its_variant in choices:
            return choices[its_variant]
    if len(choices) > 1:
        listed = ", ".join(str(its_variant) for its_variant in choices)
        raise SourceError(f"{component}: several variants ({listed}); choose one with --variant")
    return next(iter(choices.values()))


def _variant_of(file_name: str, stem: str) -> tuple[bool, str | None]:
    """Whether this is a component's whole weight file or index, and of which variant."""
    if not file_name.startswith(stem + "."):
        return False, None
    rest = file_name[len(stem) + 1 :]
    if rest in ("safetensors", "safetensors.index.json"):
        return True, None
    if rest.startswith("safetensors.index.") and rest.endswith(".json"):
        return True, rest[len("safetensors.index.") : -len(".json")]
    if rest.endswith(".safetensors") and "-of-" not in rest:
        return True, rest[: -len(".safetensors")]
    return False, None


def _files_of(path: Path, component: str) -> list[Path]:
    if path.suffix != ".json":
        return [path]
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SourceError(f"{component}: {path.name} is not a shard index: {error!r}") from error
    files = []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise SourceError(
                f"{component}: {path.name} names a file outside of its folder: {name}"
            )
        if Path(name).suffix in PICKLE_SUFFIXES:
            raise SourceError(f"{component}: {name} is a pickle file; the exporter reads no pickle")
        if not (path.parent / name).is_file():
            raise SourceError(f"{component}: shard {name} is missing")
        files.append(path.parent / name)
    return files


def _refuse_pickle(names: list[str], component: str) -> None:
    for name in sorted(names):
        if Path(name).suffix in PICKLE_SUFFIXES:
            raise SourceError(
                f"{component}: weights only as {name}; the exporter reads no pickle "
                "(a pickle runs code when read); save the pipeline with safe_serialization=True"
            )
